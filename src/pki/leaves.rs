// SPDX-License-Identifier: Apache-2.0
//! Which certificates a role or a host must hold: one table, and the names it is filled with.
//!
//! Names and addresses come from the cluster file and from nowhere else, so the VIP cannot be
//! forgotten and a new host shows which certificates change.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr},
};

use super::{Ca, Error};
use crate::{
    cluster::{Cluster, Delivery, Host, Proxy},
    kubernetes::bootstrap::HEALTH_CHECK,
};

/// The role that runs API server, controller-manager and scheduler.
pub const MASTER: &str = "master";
/// The role that runs workloads.
pub const NODE: &str = "node";
/// The role that passes calls of the API to the masters.
pub const BALANCER: &str = "lb";

/// For whom a set of certificates is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// One set for all hosts of a role; its names are those of all of them.
    Role(String),
    /// A set of its own for one host.
    Host(String),
}

/// A name or an address that a server is called by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum San {
    Dns(String),
    Ip(IpAddr),
}

/// What TLS role a certificate may play.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Usage {
    Client,
    Server,
    Both,
}

/// Who a certificate's owner says to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The user, to Kubernetes.
    pub common_name: String,
    /// The group, to Kubernetes.
    pub organization: Option<String>,
}

/// One certificate, decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafSpec {
    /// Names its files.
    pub name: &'static str,
    pub holder: Scope,
    pub ca: Ca,
    pub subject: Subject,
    pub sans: BTreeSet<San>,
    pub usage: Usage,
    pub days: u32,
    /// Where a node has it: path without its ending.
    pub place: &'static str,
    /// Whether a node has certificate and key in one file, `.pem`, not in `.crt` and `.key`.
    pub joined: bool,
    /// The account that reads the key there.
    pub owner: &'static str,
    /// What it is for, for people.
    pub purpose: &'static str,
}

/// Which hosts need a certificate.
#[derive(Clone, Copy)]
enum Needed {
    Masters,
    /// Hosts that run pods, and with them kube-proxy.
    Proxies,
    Members,
    /// Load balancers whose proxy can ask an API server something.
    Balancers,
}

/// Which names a certificate has.
#[derive(Clone, Copy)]
enum Names {
    None,
    /// Everything that the API is reached by.
    Api,
    /// The hosts' own names and addresses, and those of the loopback interface.
    Hosts,
}

struct Row {
    name: &'static str,
    ca: Ca,
    common_name: &'static str,
    organization: Option<&'static str>,
    usage: Usage,
    needed: Needed,
    names: Names,
    place: &'static str,
    joined: bool,
    owner: &'static str,
    purpose: &'static str,
}

/// A client of Kubernetes on the masters: what most rows are.
const BASE: Row = Row {
    name: "",
    ca: Ca::Kubernetes,
    common_name: "",
    organization: None,
    usage: Usage::Client,
    needed: Needed::Masters,
    names: Names::None,
    place: "",
    joined: false,
    owner: "root",
    purpose: "",
};

/// The same for a member of etcd.
const ETCD: Row = Row { ca: Ca::Etcd, needed: Needed::Members, owner: "etcd", ..BASE };

static TABLE: [Row; 14] = [
    Row {
        name: "apiserver",
        common_name: "kube-apiserver",
        usage: Usage::Server,
        names: Names::Api,
        place: "/etc/kubernetes/pki/apiserver",
        purpose: "kube-apiserver serves the API",
        ..BASE
    },
    // No superuser: the group may only do what ClusterRole system:kubelet-api-admin lists.
    Row {
        name: "apiserver-kubelet-client",
        common_name: "kube-apiserver-kubelet-client",
        organization: Some("kiln:kubelet-clients"),
        place: "/etc/kubernetes/pki/apiserver-kubelet-client",
        purpose: "kube-apiserver calls kubelets for logs, exec and metrics",
        ..BASE
    },
    Row {
        name: "apiserver-etcd-client",
        ca: Ca::Etcd,
        common_name: "kube-apiserver-etcd-client",
        place: "/etc/kubernetes/pki/apiserver-etcd-client",
        purpose: "kube-apiserver calls etcd",
        ..BASE
    },
    Row {
        name: "front-proxy-client",
        ca: Ca::FrontProxy,
        common_name: "front-proxy-client",
        place: "/etc/kubernetes/pki/front-proxy-client",
        purpose: "kube-apiserver calls extension API servers in the name of a user",
        ..BASE
    },
    Row {
        name: "controller-manager",
        common_name: "system:kube-controller-manager",
        place: "/etc/kubernetes/pki/controller-manager",
        purpose: "kube-controller-manager calls the API",
        ..BASE
    },
    Row {
        name: "controller-manager-serving",
        common_name: "kube-controller-manager",
        usage: Usage::Server,
        names: Names::Hosts,
        place: "/etc/kubernetes/pki/controller-manager-serving",
        purpose: "kube-controller-manager serves health and metrics",
        ..BASE
    },
    Row {
        name: "scheduler",
        common_name: "system:kube-scheduler",
        place: "/etc/kubernetes/pki/scheduler",
        purpose: "kube-scheduler calls the API",
        ..BASE
    },
    Row {
        name: "scheduler-serving",
        common_name: "kube-scheduler",
        usage: Usage::Server,
        names: Names::Hosts,
        place: "/etc/kubernetes/pki/scheduler-serving",
        purpose: "kube-scheduler serves health and metrics",
        ..BASE
    },
    // A superuser, on machines that hold the key of the authority anyway.
    Row {
        name: "bring-up",
        common_name: "kiln:bring-up",
        organization: Some("system:masters"),
        place: "/etc/kubernetes/pki/bring-up",
        purpose: "applies what a new cluster needs, and approves kubelets' certificates",
        ..BASE
    },
    Row {
        name: "kube-proxy",
        common_name: "system:kube-proxy",
        needed: Needed::Proxies,
        place: "/etc/kubernetes/pki/kube-proxy",
        purpose: "kube-proxy calls the API",
        ..BASE
    },
    // In no group: what it may do is one line of the bring-up's objects.
    Row {
        name: "healthcheck-client",
        common_name: HEALTH_CHECK,
        needed: Needed::Balancers,
        place: "/etc/kubernetes/pki/healthcheck-client",
        joined: true,
        owner: "haproxy",
        purpose: "haproxy asks API servers whether they are ready",
        ..BASE
    },
    // etcd's HTTP gateway calls its own server with the server's certificate.
    Row {
        name: "etcd-server",
        common_name: "etcd-server",
        usage: Usage::Both,
        names: Names::Hosts,
        place: "/etc/etcd/pki/server",
        purpose: "etcd serves its clients",
        ..ETCD
    },
    // One common name for all members: --peer-cert-allowed-cn can then refuse mere clients.
    Row {
        name: "etcd-peer",
        common_name: "etcd-peer",
        usage: Usage::Both,
        names: Names::Hosts,
        place: "/etc/etcd/pki/peer",
        purpose: "etcd serves and calls the other members",
        ..ETCD
    },
    Row {
        name: "etcd-healthcheck-client",
        common_name: "etcd-healthcheck-client",
        place: "/etc/etcd/pki/healthcheck-client",
        purpose: "health checks and etcdctl call etcd",
        ..ETCD
    },
];

/// The certificates that `scope` must hold, in the order of the table.
pub fn leaves(cluster: &Cluster, scope: &Scope) -> Vec<LeafSpec> {
    let spec = |row: &Row| {
        let holders: Vec<_> = scope
            .hosts(cluster)
            .filter(|(name, host)| row.is_needed(cluster, name, host))
            .collect();
        (!holders.is_empty()).then(|| LeafSpec {
            name: row.name,
            holder: scope.clone(),
            ca: row.ca,
            subject: Subject {
                common_name: row.common_name.to_owned(),
                organization: row.organization.map(str::to_owned),
            },
            sans: sans(cluster, row.names, &holders),
            usage: row.usage,
            days: cluster.pki.leaf_days,
            place: row.place,
            joined: row.joined,
            owner: row.owner,
            purpose: row.purpose,
        })
    };
    TABLE.iter().filter_map(spec).collect()
}

/// The sets that the cluster's way of delivery asks for; those without a certificate are left out.
pub fn scopes(cluster: &Cluster) -> Vec<Scope> {
    let all: Vec<Scope> = match cluster.pki.delivery {
        Delivery::Baked => {
            cluster.roles().into_iter().map(|role| Scope::Role(role.to_owned())).collect()
        }
        Delivery::Seed => cluster.hosts.keys().cloned().map(Scope::Host).collect(),
    };
    all.into_iter().filter(|scope| !leaves(cluster, scope).is_empty()).collect()
}

impl Row {
    fn is_needed(&self, cluster: &Cluster, name: &str, host: &Host) -> bool {
        match self.needed {
            Needed::Masters => host.role == MASTER,
            Needed::Proxies => host.role == NODE || cluster.runs_pods(&host.role),
            Needed::Balancers => host.role == BALANCER && cluster.lb.proxy == Proxy::Haproxy,
            Needed::Members => cluster.etcd.members.iter().any(|member| member == name),
        }
    }
}

fn sans(cluster: &Cluster, names: Names, holders: &[(&str, &Host)]) -> BTreeSet<San> {
    let mut sans = BTreeSet::new();
    if matches!(names, Names::None) {
        return sans;
    }
    sans.extend([San::dns("localhost"), San::from(Ipv4Addr::LOCALHOST)]);
    for (name, host) in holders {
        sans.extend([San::dns(name), San::from(host.address.address)]);
    }
    if matches!(names, Names::Api) {
        let domain = &cluster.networks.domain;
        for name in ["kubernetes", "kubernetes.default", "kubernetes.default.svc"] {
            sans.insert(San::dns(name));
        }
        sans.insert(San::Dns(format!("kubernetes.default.svc.{domain}")));
        sans.extend(cluster.endpoint.names.iter().map(|name| San::dns(name)));
        sans.insert(San::from(cluster.endpoint.vip));
        // The service 'kubernetes' has the first address of its network.
        let first = cluster.networks.services.network.to_bits().saturating_add(1);
        sans.insert(San::from(Ipv4Addr::from_bits(first)));
    }
    sans
}

impl Scope {
    /// Refuses a role or a host that the cluster does not have.
    pub fn check(&self, cluster: &Cluster) -> Result<(), Error> {
        let (name, known): (_, Vec<&str>) = match self {
            Self::Role(role) => (role, cluster.roles().into_iter().collect()),
            Self::Host(host) => (host, cluster.hosts.keys().map(String::as_str).collect()),
        };
        if known.contains(&name.as_str()) {
            return Ok(());
        }
        let help = crate::diagnostic::suggest(name, known);
        Err(Error::UnknownScope { scope: self.clone(), help })
    }

    /// Its folder, below [`super::FOLDER`].
    pub fn folder(&self) -> String {
        match self {
            Self::Role(role) => format!("roles/{role}"),
            Self::Host(host) => format!("hosts/{host}"),
        }
    }

    fn hosts<'a>(&'a self, cluster: &'a Cluster) -> impl Iterator<Item = (&'a str, &'a Host)> {
        let all = cluster.hosts.iter().map(|(name, host)| (name.as_str(), host));
        all.filter(move |(name, host)| match self {
            Self::Role(role) => host.role == *role,
            Self::Host(host) => name == host,
        })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role(role) => write!(f, "role '{role}'"),
            Self::Host(host) => write!(f, "host '{host}'"),
        }
    }
}

impl LeafSpec {
    /// Its certificate's file, below [`super::FOLDER`].
    pub fn certificate(&self) -> String {
        format!("{}/{}.crt", self.holder.folder(), self.name)
    }

    /// Its key's file, below [`super::FOLDER`].
    pub fn key(&self) -> String {
        format!("{}/{}.key", self.holder.folder(), self.name)
    }
}

impl San {
    fn dns(name: &str) -> Self {
        Self::Dns(name.to_owned())
    }
}

impl From<Ipv4Addr> for San {
    fn from(address: Ipv4Addr) -> Self {
        Self::Ip(address.into())
    }
}

impl fmt::Display for San {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(address) => write!(f, "{address}"),
        }
    }
}

impl Usage {
    pub fn serves(self) -> bool {
        self != Self::Client
    }

    pub fn calls(self) -> bool {
        self != Self::Server
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Both => "server, client",
        })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(organization) = &self.organization {
            write!(f, "O={organization}, ")?;
        }
        write!(f, "CN={}", self.common_name)
    }
}
