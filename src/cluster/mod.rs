// SPDX-License-Identifier: Apache-2.0
//! `cluster.yaml`: the cluster that the images are for.
//!
//! A value of [`Cluster`] comes from [`load`] and is consistent: addresses are unique and lie in
//! their networks, networks do not overlap, every name that is referred to exists.

mod address;
mod check;
mod peers;
mod read;
mod release;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
};

use serde::Serialize;

pub use self::{
    address::{Cidr, HostAddress, ParseCidrError},
    read::load,
};
use crate::{
    kubernetes::{
        MASTER, NODE,
        extra::Flags,
        pod_network::PodNetwork,
        release::Source,
        requirements,
        settings::{ControlPlane, ProxyMode},
        version::Version,
    },
    yaml::fields::Complaint,
};

/// One cluster, valid.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cluster {
    /// A DNS label; part of every output's name.
    pub name: String,
    /// Version of the images; orders updates.
    pub version: String,
    /// Base address of the archive, if the cluster names one.
    pub mirror: Option<String>,
    pub endpoint: Endpoint,
    pub networks: Networks,
    pub etcd: Etcd,
    pub lb: Lb,
    /// None in a cluster whose images run the services around Kubernetes only.
    pub kubernetes: Option<Kubernetes>,
    pub pki: Pki,
    /// By host name.
    pub hosts: BTreeMap<String, Host>,
}

impl Cluster {
    /// Hosts of a role, sorted by name.
    pub fn hosts_of<'a>(&'a self, role: &'a str) -> impl Iterator<Item = (&'a str, &'a Host)> {
        let all = self.hosts.iter().map(|(name, host)| (name.as_str(), host));
        all.filter(move |(_, host)| host.role == role)
    }

    /// Whether the partition labels of a role's image fit: they carry cluster, role and version,
    /// and GPT has room for 36 UTF-16 units.
    ///
    /// # Errors
    /// They do not.
    pub fn check_label(&self, role: &str) -> Result<(), Complaint> {
        const LONGEST: usize = 36;
        let label = format!("{}-{role}_{}_verity", self.name, self.version);
        if label.len() <= LONGEST {
            return Ok(());
        }
        Err(Complaint::new(
            format!(
                "partition label '{label}' has {} characters, more than {LONGEST}",
                label.len()
            ),
            "shorten the name or the version of the cluster, or the name of the role",
        ))
    }

    /// Whether hosts of a role run pods: everybody's, or those that are the control plane itself.
    pub fn runs_pods(&self, role: &str) -> bool {
        self.kubernetes.as_ref().is_some_and(|kubernetes| match role {
            MASTER => kubernetes.control_plane == ControlPlane::StaticPods,
            role => role == NODE,
        })
    }

    /// Hosts that run pods, sorted by name.
    pub fn pod_hosts(&self) -> impl Iterator<Item = (&str, &Host)> {
        let all = self.hosts.iter().map(|(name, host)| (name.as_str(), host));
        all.filter(|(_, host)| self.runs_pods(&host.role))
    }

    /// The host's own part of the pods' network: as far into it, in parts, as the host's address is
    /// into the hosts' network. So every host can tell it, and a new host moves nobody's.
    ///
    /// None without Kubernetes, if something else gives out ranges, or if the network has no such
    /// part.
    pub fn pod_range(&self, host: &Host) -> Option<Cidr> {
        let kubernetes = self.kubernetes.as_ref().filter(|it| !it.network.allocates());
        let prefix = kubernetes?.node_prefix;
        let Networks { hosts, pods, .. } = &self.networks;
        let number = host.address.address.to_bits() - hosts.network.to_bits();
        let bits = u32::from(prefix.checked_sub(pods.prefix)?);
        let fits = bits < 32 && number >> bits == 0;
        let first = pods.network.to_bits() | number.checked_shl(32 - u32::from(prefix))?;
        fits.then(|| Cidr { network: Ipv4Addr::from_bits(first), prefix })
    }

    /// What a person may want to know of it, and is no mistake.
    pub fn warnings(&self) -> Vec<String> {
        let Some(kubernetes) = &self.kubernetes else { return Vec::new() };
        // kube-proxy runs where pods do.
        let minors = self.pod_hosts().map(|(_, host)| kubernetes.version_of(&host.role).minor);
        let proxy = minors
            .max()
            .and_then(|minor| requirements::proxy_mode_warning(kubernetes.proxy_mode, minor));
        proxy.into_iter().collect()
    }

    /// Roles that hosts have, sorted.
    pub fn roles(&self) -> BTreeSet<&str> {
        self.hosts.values().map(|host| host.role.as_str()).collect()
    }
}

/// What the masters and nodes run.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Kubernetes {
    pub version: Version,
    /// What nodes run, if it is not `version`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_version: Option<Version>,
    /// Where the server programs come from; `kiln.lock` has their digests.
    pub binaries: Source,
    /// Whether they may come without encryption from beyond this machine.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_plain_http: bool,
    pub control_plane: ControlPlane,
    pub proxy_mode: ProxyMode,
    /// Prefix length of the part of `networks.pods` that each node gets.
    pub node_prefix: u8,
    pub network: PodNetwork,
    /// Flags that people add, by program.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub flags: Flags,
    /// Names of folders of `addons/`, in the order in which they are applied.
    pub addons: Vec<String>,
}

impl Kubernetes {
    /// What the hosts of a role run.
    pub fn version_of(&self, role: &str) -> Version {
        match self.node_version {
            Some(version) if role == NODE => version,
            _ => self.version,
        }
    }
}

/// Where clients reach the API: the load balancers' virtual address.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Endpoint {
    pub vip: Ipv4Addr,
    pub port: u16,
    pub names: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Networks {
    /// The hosts' own network; the VIP and every host's address lie in it.
    pub hosts: Cidr,
    pub pods: Cidr,
    pub services: Cidr,
    /// Address of the cluster's DNS service, inside `services`.
    pub dns: Ipv4Addr,
    pub domain: String,
    pub gateway: Option<Ipv4Addr>,
    pub nameservers: Vec<IpAddr>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Etcd {
    /// Host names; an odd number.
    pub members: Vec<String>,
    /// Milliseconds between the leader's signs of life.
    pub heartbeat_ms: u32,
    /// Milliseconds without one until another leader is elected.
    pub election_ms: u32,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Lb {
    pub proxy: Proxy,
    /// VRRP virtual router id, 1 to 255; unique on the network.
    pub router_id: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proxy {
    Haproxy,
    Nginx,
}

impl Proxy {
    /// The words of `lb.proxy`.
    pub const WORDS: [(&str, Self); 2] = [("haproxy", Self::Haproxy), ("nginx", Self::Nginx)];

    /// Its word, which is also the name of its profile.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
        }
    }
}

/// How certificates are made and reach the hosts.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Pki {
    pub delivery: Delivery,
    /// Life of a certificate authority.
    pub ca_days: u32,
    /// Life of everything that it signs.
    pub leaf_days: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// A role's image carries certificates and keys; it is a secret itself.
    Baked,
    /// A host's seed carries its own; images hold no secret.
    Seed,
}

/// One machine. None of this enters an image: it travels in the host's seed.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Host {
    pub role: String,
    pub address: HostAddress,
    /// Lower case, colons.
    pub mac: Option<String>,
    /// Lower case: the UUID that the machine's firmware states.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Words for its kernel's command line when it boots by network.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kernel_arguments: Vec<String>,
    pub ssh_authorized_keys: Vec<String>,
    /// Values for first-boot templates, as `vars.NAME`.
    pub vars: BTreeMap<String, serde_json::Value>,
}
