// SPDX-License-Identifier: Apache-2.0
//! What the generators need to know of a cluster, and what only a host knows of itself.
//!
//! One image serves every host of its role, so a host's address and name stand in no file of it:
//! they are [`PerHost`], which prints as a first-boot template's expression.

use std::{
    collections::BTreeMap,
    fmt,
    net::{Ipv4Addr, SocketAddrV4},
};

use serde::Serialize;

use super::{
    etcd::CLIENT_PORT,
    extra::{self, Flags},
    files,
    flags::Component,
    pod_network::PodNetwork,
    requirements,
    version::Version,
};
use crate::{cluster::Cidr, yaml::fields::Complaint};

/// A fact of the host, known at first boot only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PerHost {
    Address,
    Hostname,
    /// Where etcd serves this host; always by TLS. A member asks itself: an API server has some
    /// seventy clients of etcd, each of which would connect to every member and ask them in turn.
    /// docs/decisions/0006-own-member-of-etcd.md
    EtcdServers,
}

impl PerHost {
    /// The variable of `/etc/kubernetes/host.env` that units read it from: a unit that changed
    /// after systemd had read it would need a reload.
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Address => "KILN_ADDRESS",
            Self::Hostname => "KILN_HOSTNAME",
            Self::EtcdServers => "KILN_ETCD_SERVERS",
        }
    }
}

impl fmt::Display for PerHost {
    /// As minijinja.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => f.write_str("{{ network.address }}"),
            Self::Hostname => f.write_str("{{ hostname }}"),
            Self::EtcdServers => write!(
                f,
                "https://{{{{ (peers.etcd | selectattr('address', 'eq', network.address) | list or peers.etcd) \
                 | map(attribute='address') | join(':{CLIENT_PORT},https://') }}}}:{CLIENT_PORT}"
            ),
        }
    }
}

/// How kube-proxy sends traffic of services to pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyMode {
    Ipvs,
    Iptables,
    Nftables,
}

impl ProxyMode {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipvs => "ipvs",
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
        }
    }
}

/// What starts the three programs of the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ControlPlane {
    Systemd,
    StaticPods,
}

/// What a machine is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Machine {
    Node,
    /// Only pods that tolerate the control plane's taint come here.
    ControlPlane,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Networks {
    pub pods: Cidr,
    pub services: Cidr,
    /// Address of the cluster's DNS service, inside `services`.
    pub dns: Ipv4Addr,
    pub domain: String,
    /// Prefix length of the part of `pods` that each node gets.
    pub node_prefix: u8,
}

/// What nobody may see in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What a finding is about: a key of the cluster file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    ProxyMode,
    NodePrefix,
    Flag(Component, String),
}

/// Why nothing good can be generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub subject: Subject,
    pub complaint: Complaint,
}

/// Everything that the generators know. The reader of the cluster file has looked at each part, and
/// [`Settings::check`] says whether the version can do all of it.
#[derive(Debug, Clone)]
pub struct Settings {
    pub version: Version,
    /// The cluster's name.
    pub cluster: String,
    /// The virtual address that every client outside of the masters calls.
    pub endpoint: SocketAddrV4,
    pub networks: Networks,
    pub proxy_mode: ProxyMode,
    pub control_plane: ControlPlane,
    pub pod_network: PodNetwork,
    /// Whether there is an EncryptionConfiguration: its key is a secret and comes separately.
    pub encrypts_secrets: bool,
    /// The folder of the programs.
    pub programs: String,
    /// What people add.
    pub extra: Flags,
}

impl Settings {
    /// Every reason why nothing good can be generated for a machine.
    pub fn check(&self, machine: Machine) -> Vec<Finding> {
        let mut found = Vec::new();
        let mut add = |subject, result: Result<(), Complaint>| {
            found.extend(result.err().map(|complaint| Finding { subject, complaint }));
        };
        add(Subject::NodePrefix, self.check_node_prefix());
        for component in files::programs(self, machine) {
            if component == Component::KubeProxy {
                let minor = self.version.minor;
                let result = requirements::check_proxy_mode(self.proxy_mode, minor);
                add(Subject::ProxyMode, result);
            }
            for name in self.extra.get(&component).into_iter().flat_map(BTreeMap::keys) {
                let subject = Subject::Flag(component, name.clone());
                add(subject, extra::check(component, self, name));
            }
        }
        found
    }

    /// Where the controller-manager gives out ranges it refuses to split a network into more than
    /// 2^16 parts. Where hosts' addresses decide, each host is asked.
    fn check_node_prefix(&self) -> Result<(), Complaint> {
        let Networks { pods, node_prefix, .. } = &self.networks;
        let bits = node_prefix.checked_sub(pods.prefix);
        if !self.pod_network.allocates() || bits.is_some_and(|bits| (1..=16).contains(&bits)) {
            return Ok(());
        }
        Err(Complaint::new(
            format!("network 'pods' ({pods}) cannot be split into networks of /{node_prefix}"),
            "each node gets one: take a prefix longer than that of the network, by at most 16; \
             usually 24",
        ))
    }

    /// Where a program of the control plane finds a secret of `/etc/kubernetes`.
    ///
    /// Keys belong to root. Pods run as root; a service runs as a user of its own, and systemd
    /// hands it the keys as credentials.
    pub fn secret_path(&self, component: Component, name: &str) -> String {
        match self.control_plane {
            ControlPlane::StaticPods => format!("{ETC}/{name}"),
            ControlPlane::Systemd => {
                let file = name.rsplit('/').next().unwrap_or(name);
                format!("/run/credentials/{component}.service/{file}")
            }
        }
    }

    pub(super) fn endpoint_url(&self) -> String {
        format!("https://{}", self.endpoint)
    }
}

/// The folder of everything that Kubernetes reads.
pub const ETC: &str = "/etc/kubernetes";

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn settings(version: &str) -> Settings {
        Settings {
            version: version.parse().unwrap(),
            cluster: "quickstart".to_owned(),
            endpoint: "192.168.31.100:6443".parse().unwrap(),
            networks: Networks {
                pods: "10.244.0.0/16".parse().unwrap(),
                services: "10.0.0.0/24".parse().unwrap(),
                dns: [10, 0, 0, 2].into(),
                domain: "cluster.local".to_owned(),
                node_prefix: 24,
            },
            proxy_mode: ProxyMode::Iptables,
            control_plane: ControlPlane::Systemd,
            pod_network: PodNetwork::Routed,
            encrypts_secrets: true,
            programs: "/usr/bin".to_owned(),
            extra: BTreeMap::new(),
        }
    }

    #[test]
    fn a_member_of_etcd_asks_itself_and_others_ask_all() {
        let mut engine = kiln_init::template::Engine::new();
        engine.add("servers", &PerHost::EtcdServers.to_string()).unwrap();
        let etcd = serde_json::json!([
            { "name": "m1", "address": "10.0.0.1" }, { "name": "m2", "address": "10.0.0.2" },
        ]);
        let servers = |own: &str| {
            let values =
                serde_json::json!({ "network": { "address": own }, "peers": { "etcd": etcd } });
            engine.render("servers", &values).unwrap_or_else(|error| panic!("{}", error.message))
        };
        assert_eq!(servers("10.0.0.2"), "https://10.0.0.2:2379");
        assert_eq!(servers("10.0.0.3"), "https://10.0.0.1:2379,https://10.0.0.2:2379");
    }

    fn complaints(machine: Machine, change: impl FnOnce(&mut Settings)) -> Vec<String> {
        let mut settings = settings("v1.30.0");
        change(&mut settings);
        settings.check(machine).into_iter().map(|found| found.complaint.what).collect()
    }

    #[test]
    fn a_network_that_is_given_out_must_be_divisible() {
        let none = Vec::<String>::new();
        for (prefix, network, is_good) in [
            (24, PodNetwork::Flannel, true),
            (30, PodNetwork::Flannel, true),
            (16, PodNetwork::Flannel, false),
            (12, PodNetwork::None, false),
            (12, PodNetwork::Routed, true),
        ] {
            let found = complaints(Machine::ControlPlane, |settings| {
                settings.networks.node_prefix = prefix;
                settings.pod_network = network;
            });
            let what = format!(
                "network 'pods' (10.244.0.0/16) cannot be split into networks of /{prefix}"
            );
            assert_eq!(found, if is_good { none.clone() } else { vec![what] });
        }
        let many = complaints(Machine::ControlPlane, |settings| {
            settings.networks.pods = "10.0.0.0/8".parse().unwrap();
            settings.networks.node_prefix = 25;
            settings.pod_network = PodNetwork::None;
        });
        assert_eq!(many.len(), 1, "{many:?}");
    }

    #[test]
    fn a_flag_is_asked_of_the_machines_that_run_its_program() {
        use Component::{ApiServer, Kubelet};
        let wrong = |component: Component, machine, control_plane| {
            complaints(machine, |settings| {
                settings.control_plane = control_plane;
                settings.extra = [(component, [("gone".to_owned(), "1".to_owned())].into())].into();
            })
            .len()
        };
        for (component, machine, control_plane, count) in [
            (ApiServer, Machine::ControlPlane, ControlPlane::Systemd, 1),
            (ApiServer, Machine::ControlPlane, ControlPlane::StaticPods, 1),
            (ApiServer, Machine::Node, ControlPlane::Systemd, 0),
            (Kubelet, Machine::Node, ControlPlane::Systemd, 1),
            (Kubelet, Machine::ControlPlane, ControlPlane::Systemd, 0),
            (Kubelet, Machine::ControlPlane, ControlPlane::StaticPods, 1),
        ] {
            assert_eq!(wrong(component, machine, control_plane), count, "{component} {machine:?}");
        }
    }

    #[test]
    fn nobody_sees_a_secret_by_printing_it() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret");
    }
}
