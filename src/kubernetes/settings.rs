// SPDX-License-Identifier: Apache-2.0
//! What the generators need to know of a cluster, and what only a host knows of itself.
//!
//! One image serves every host of its role, so a host's address and name stand in no file of it:
//! they are [`PerHost`], which prints as a first-boot template's expression.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{Ipv4Addr, SocketAddrV4},
};

use serde::Serialize;

use super::{
    etcd::CLIENT_PORT,
    flags::{Component, check_extra},
    pod_network::PodNetwork,
    requirements,
    version::Version,
};
use crate::{cluster::Cidr, diagnostic::quoted, names, yaml::fields::Complaint};

/// A fact of the host, known at first boot only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PerHost {
    Address,
    Hostname,
    /// Where the members of etcd serve clients; always by TLS.
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
                "https://{{{{ peers.etcd | map(attribute='address') | join(':{CLIENT_PORT},https://') }}}}:{CLIENT_PORT}"
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

/// A flag that the person added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraFlag {
    /// With or without its dashes.
    pub name: String,
    pub value: String,
}

/// Everything that the generators know. [`Settings::check`] says whether it can work.
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
    pub extra: BTreeMap<Component, Vec<ExtraFlag>>,
}

impl Settings {
    /// Every reason why nothing good can be generated.
    pub fn check(&self) -> Vec<Complaint> {
        let mut found = Vec::new();
        found.extend(names::label(&self.cluster).err());
        found.extend(names::domain(&self.networks.domain).err());
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        if !self.programs.starts_with('/') || !self.programs.chars().all(is_plain) {
            found.push(Complaint::new(
                format!("{} is no folder of programs", quoted(&self.programs)),
                "write an absolute path of letters, digits, '.', '_' and '-'",
            ));
        }
        found.extend(requirements::check_proxy_mode(self.proxy_mode, self.version.minor).err());
        self.check_networks(&mut found);
        for (component, flags) in &self.extra {
            let mut seen = BTreeSet::new();
            for flag in flags {
                if let Err(complaint) = self.check_flag(*component, flag) {
                    found.push(complaint);
                } else if !seen.insert(flag.name.trim_start_matches('-')) {
                    found.push(Complaint::new(
                        format!("flag {} of {component} stands here twice", quoted(&flag.name)),
                        "remove one",
                    ));
                }
            }
        }
        found
    }

    fn check_networks(&self, found: &mut Vec<Complaint>) {
        let Networks { pods, services, dns, node_prefix, .. } = &self.networks;
        if pods.overlaps(services) {
            found.push(Complaint::new(
                format!("network 'pods' ({pods}) overlaps network 'services' ({services})"),
                "give each network addresses of its own",
            ));
        }
        if !services.has_host(*dns) {
            found.push(Complaint::new(
                format!(
                    "address {dns} of the DNS service is outside of network 'services' ({services})"
                ),
                "take one of its addresses",
            ));
        }
        // The controller-manager refuses to split a network into more than 2^16 parts.
        if *node_prefix <= pods.prefix || *node_prefix > 30 || node_prefix - pods.prefix > 16 {
            found.push(Complaint::new(
                format!("network 'pods' ({pods}) cannot be split into networks of /{node_prefix}"),
                "each node gets one: take a longer prefix than that of the network, usually 24",
            ));
        }
    }

    fn check_flag(&self, component: Component, flag: &ExtraFlag) -> Result<(), Complaint> {
        check_extra(component, self.version.minor, &flag.name)?;
        let name = flag.name.trim_start_matches('-');
        if super::arguments::is_fixed(component, self, name) {
            return Err(Complaint::new(
                format!("flag '--{name}' of {component} follows from the cluster file"),
                "change what it follows from",
            ));
        }
        let text = &flag.value;
        let is_template = ["{{", "{%", "{#"].iter().any(|mark| text.contains(mark));
        if is_template || text.chars().any(|c| c.is_control() || c == '"' || c == '\\') {
            return Err(Complaint::new(
                format!("value {} of '--{name}' cannot be written", quoted(text)),
                "quotes, backslashes, control characters and template marks have no place in a flag",
            ));
        }
        Ok(())
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
/// Port that every API server serves on.
pub const API_PORT: u16 = 6443;

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

    fn complaints(change: impl FnOnce(&mut Settings)) -> Vec<String> {
        let mut settings = settings("v1.30.0");
        change(&mut settings);
        settings.check().into_iter().map(|complaint| complaint.what).collect()
    }

    fn extra(component: Component, name: &str, value: &str) -> Vec<String> {
        complaints(|settings| {
            let flag = ExtraFlag { name: name.to_owned(), value: value.to_owned() };
            settings.extra.insert(component, vec![flag]);
        })
    }

    #[test]
    fn good_settings_have_no_complaints() {
        assert_eq!(complaints(|_| ()), Vec::<String>::new());
        assert_eq!(extra(Component::ApiServer, "--event-ttl", "2h"), Vec::<String>::new());
    }

    #[test]
    fn networks_must_not_overlap_and_must_be_divisible() {
        let overlapping = complaints(|settings| {
            settings.networks.services = "10.244.0.0/24".parse().unwrap();
            settings.networks.dns = [10, 244, 0, 2].into();
        });
        assert_eq!(
            overlapping,
            ["network 'pods' (10.244.0.0/16) overlaps network 'services' (10.244.0.0/24)"]
        );
        assert_eq!(complaints(|settings| settings.networks.node_prefix = 16).len(), 1);
        assert_eq!(complaints(|settings| settings.programs = "/usr /bin".to_owned()).len(), 1);
        assert_eq!(complaints(|settings| settings.cluster = "{{ x }}".to_owned()).len(), 1);
    }

    #[test]
    fn extra_flags_are_checked_against_the_version_and_against_what_kiln_writes() {
        use Component::{ApiServer, Kubelet};
        assert!(extra(ApiServer, "--insecure-port", "8080")[0].contains("has no flag"));
        assert!(extra(ApiServer, "--etcd-servers", "http://x")[0].contains("follows from"));
        assert!(extra(Kubelet, "--node-labels", "a={{ x }}")[0].contains("cannot be written"));
        // A trap of option files: what follows a continuation mark ends the command.
        assert!(
            extra(ApiServer, "--event-ttl", "2h \\ # two hours")[0].contains("cannot be written")
        );
        let twice = complaints(|settings| {
            let flag = |name: &str| ExtraFlag { name: name.to_owned(), value: "1h".to_owned() };
            settings.extra.insert(ApiServer, vec![flag("--event-ttl"), flag("event-ttl")]);
        });
        assert_eq!(twice, ["flag 'event-ttl' of kube-apiserver stands here twice"]);
    }

    #[test]
    fn nobody_sees_a_secret_by_printing_it() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret");
    }
}
