// SPDX-License-Identifier: Apache-2.0
//! How do pods of different nodes reach each other?
//!
//! `routed` needs no daemon: a bridge on every host that runs pods, a range of addresses for each,
//! and routes between the hosts. The range follows from the host's address
//! ([`Cluster::pod_range`]), so first boot can tell it for a host that the cluster file does not
//! know, too. The routes to the others' ranges travel in the seeds. One image serves every host of
//! its role.
//!
//! `flannel` wraps the pods' packets in packets between the nodes, for networks that refuse the
//! routes. Its daemon is an add-on; the controller-manager gives each node its range.
//!
//! `none` leaves the network to whoever brings one; ranges are given out as with `flannel`. What
//! brings one is a DaemonSet that copies plugins to `/opt/cni/bin` of its host, so that place leads
//! to the plugins' folder and takes files until the machine restarts.

use std::net::Ipv4Addr;

use serde::Serialize;
use serde_json::{Value, json};

use super::settings::ProxyMode;
use crate::{
    cluster::{Cidr, Cluster, Networks},
    profile::FileContent,
    systemd::Unit,
};

/// Configuration of the network plugins, as first boot's template.
pub const CONFIG: &str = "/etc/cni/net.d/10-kiln.conflist";
/// A host's metadata may name its range under `vars`; routes to it are then its administrator's.
const RANGE: &str = "pod_range";
/// The add-on that brings flannel's daemon.
pub const FLANNEL: &str = "flannel";
/// Flannel's plugin, which Debian does not have. The add-on puts it where the link leads.
const PLUGIN: &str = "/usr/lib/cni/flannel";
const PLUGIN_TARGET: &str = "/run/flannel/cni/flannel";

/// Where containerd looks for plugins: Debian's place.
const PLUGINS: &str = "/usr/lib/cni";
/// Where everybody else's plugins are put.
const ADDED: &str = "/opt/cni/bin";
/// What systemd calls the mount on [`PLUGINS`].
const MOUNT: &str = "usr-lib-cni.mount";
const UPPER: &str = "/run/cni/plugins";
const WORK: &str = "/run/cni/plugins.work";

/// Who connects the pods of different nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PodNetwork {
    Routed,
    Flannel,
    None,
}

impl PodNetwork {
    /// What `cluster.yaml` calls them.
    pub const WORDS: [(&'static str, Self); 3] =
        [("routed", Self::Routed), (FLANNEL, Self::Flannel), ("none", Self::None)];

    /// Whether nodes get their ranges from the controller-manager, in the order of joining.
    pub const fn allocates(self) -> bool {
        !matches!(self, Self::Routed)
    }
}

/// What the network adds to a role whose machines run pods.
#[derive(Debug, Default)]
pub struct Parts {
    pub files: Vec<(&'static str, FileContent)>,
    pub modules: &'static [&'static str],
    pub rules: &'static [&'static str],
    /// A unit of Kiln's own with its text.
    pub unit: Option<(&'static str, String)>,
}

pub fn parts(network: PodNetwork, cluster: &Cluster, node_prefix: u8) -> Parts {
    match network {
        PodNetwork::Routed => {
            let config = range(cluster, node_prefix) + &routed();
            Parts { files: vec![(CONFIG, FileContent::BootTemplate(config))], ..Parts::default() }
        }
        PodNetwork::Flannel => Parts {
            files: vec![
                (CONFIG, FileContent::Text(flannel())),
                (PLUGIN, FileContent::Symlink(PLUGIN_TARGET.to_owned())),
            ],
            modules: &["vxlan"],
            // The kernel's own default for the port, which flannel takes too.
            rules: &["udp 8472 from hosts"],
            unit: None,
        },
        PodNetwork::None => Parts {
            files: vec![
                (ADDED, FileContent::Symlink(PLUGINS.to_owned())),
                ("/usr/lib/tmpfiles.d/kiln-cni.conf", FileContent::Text(folders())),
            ],
            unit: Some((MOUNT, writable())),
            ..Parts::default()
        },
    }
}

/// The folders of the mount, as tmpfiles.d(5) makes them.
fn folders() -> String {
    [UPPER, WORK].map(|path| format!("d {path} 0755 root root -\n")).concat()
}

/// The plugins of the image, and in front of them those that somebody adds: in memory, as is the
/// configuration that names them.
fn writable() -> String {
    Unit::new("Network plugins of the image, and those that are added")
        .set("DefaultDependencies", "no")
        .set("Requires", "systemd-tmpfiles-setup.service")
        .set("After", "systemd-tmpfiles-setup.service")
        .set("Before", "containerd.service umount.target")
        .set("Conflicts", "umount.target")
        .section("Mount")
        .set("What", "overlay")
        .set("Where", PLUGINS)
        .set("Type", "overlay")
        .set(
            "Options",
            format_args!("nodev,nosuid,lowerdir={PLUGINS},upperdir={UPPER},workdir={WORK}"),
        )
        .section("Install")
        .set("RequiredBy", "containerd.service")
        .text()
}

/// A bridge whose host is the pods' gateway; `hairpin` lets a pod reach itself by its service.
fn routed() -> String {
    conflist(json!({
        "type": "bridge",
        "bridge": "cni0",
        "isDefaultGateway": true,
        "hairpinMode": true,
        // Addresses are translated where traffic leaves the cluster, by the packet filter.
        "ipMasq": false,
        "ipam": {
            "type": "host-local",
            "ranges": [[{ "subnet": "{{ pod_range_of_this_address }}" }]],
            // Gone with a restart, as the pods are.
            "dataDir": "/run/cni/networks",
        },
    }))
}

/// The same bridge; its range and the size of packets are in the daemon's file.
fn flannel() -> String {
    conflist(json!({
        "type": "flannel",
        "subnetFile": "/run/flannel/subnet.env",
        "dataDir": "/run/flannel/cni-state",
        "ipam": { "type": "host-local", "dataDir": "/run/cni/networks" },
        "delegate": {
            "bridge": "cni0",
            "isDefaultGateway": true,
            "hairpinMode": true,
            "ipMasq": false,
        },
    }))
}

fn conflist(plugin: Value) -> String {
    let config = json!({
        "cniVersion": "1.0.0",
        "name": "kiln",
        "plugins": [
            plugin,
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    });
    format!("{config:#}\n")
}

/// [`Cluster::pod_range`] as first boot's template computes it from the address that the host has.
fn range(cluster: &Cluster, node_prefix: u8) -> String {
    let Networks { hosts, pods, .. } = &cluster.networks;
    let n_ranges = 1_u64 << node_prefix.saturating_sub(pods.prefix);
    let n_addresses = 1_u64 << (32 - u32::from(node_prefix.min(32)));
    let lines = [
        "set part = network.address.split('.')".to_owned(),
        "set high = part[0]|int * 256 + part[1]|int".to_owned(),
        "set low = part[2]|int * 256 + part[3]|int".to_owned(),
        format!("set number = high * 65536 + low - {}", hosts.network.to_bits()),
        format!("set first = {} + number * {n_addresses}", pods.network.to_bits()),
        "set bytes = [first // 16777216, first // 65536 % 256, first // 256 % 256, first % 256]"
            .to_owned(),
        format!("set own = bytes|join('.') ~ '/{node_prefix}'"),
        format!("set fits = number >= 0 and number < {n_ranges}"),
        // What is not defined cannot be printed, which is how a template refuses.
        format!(
            "set pod_range_of_this_address = vars.{RANGE} if vars.{RANGE} is defined \
             else own if fits else there_is_none"
        ),
    ];
    lines.map(|line| format!("{{% {line} %}}\n")).concat()
}

/// Every other host's range and the address behind which it is; none unless routes connect them.
pub fn routes<'a>(
    cluster: &'a Cluster,
    own: &'a str,
) -> impl Iterator<Item = (Cidr, Ipv4Addr)> + 'a {
    let others = cluster.pod_hosts().filter(move |(name, _)| *name != own);
    others.filter_map(|(_, host)| Some((cluster.pod_range(host)?, host.address.address)))
}

/// The services' network, for a host that needs a route to it. kube-proxy changes the destination of
/// what the host itself sends only once the kernel has found a way for it, and without a default
/// route there is none. With ipvs the services' addresses are the host's own.
pub fn services(cluster: &Cluster, own: &str) -> Option<Cidr> {
    let kubernetes = cluster.kubernetes.as_ref()?;
    let has_way = cluster.networks.gateway.is_some() || kubernetes.proxy_mode == ProxyMode::Ipvs;
    let has_proxy = cluster.pod_hosts().any(|(name, _)| name == own);
    (has_proxy && !has_way).then_some(cluster.networks.services)
}

#[cfg(test)]
mod tests {
    use kiln_init::template::Engine;
    use serde_json::json;

    use super::PodNetwork;
    use crate::{
        kubernetes::fixture::{SYSTEMD, cluster},
        profile::FileContent,
    };

    fn rendered(address: &str, vars: &serde_json::Value) -> Result<String, String> {
        let cluster = cluster(SYSTEMD);
        let mut engine = Engine::new();
        let parts = super::parts(PodNetwork::Routed, &cluster, 24);
        let (_, FileContent::BootTemplate(text)) = &parts.files[0] else { panic!("{parts:?}") };
        engine.add("a", text).unwrap();
        let values = json!({ "network": { "address": address }, "vars": vars });
        let text = engine.render("a", &values).map_err(|error| error.message)?;
        let config: serde_json::Value = serde_json::from_str(&text).unwrap();
        Ok(config["plugins"][0]["ipam"]["ranges"][0][0]["subnet"].as_str().unwrap().to_owned())
    }

    #[test]
    fn a_host_without_a_gateway_has_a_way_to_services() {
        let route = |kubernetes: &str, own: &str| {
            super::services(&cluster(kubernetes), own).map(|to| to.to_string())
        };
        let iptables = "version: v1.20.2, binaries: up, proxy-mode: iptables";
        let services = Some("10.0.0.0/24".to_owned());
        assert_eq!(route(iptables, "n1"), services);
        assert_eq!(route(iptables, "m1"), None, "a master without kube-proxy");
        let pods = format!("{iptables}, control-plane: static-pods");
        assert_eq!(route(&pods, "m1"), services);
        assert_eq!(route(&pods, "l1"), None);
        assert_eq!(route(SYSTEMD, "n1"), None, "ipvs makes the addresses the host's own");
        let mut with_gateway = cluster(iptables);
        with_gateway.networks.gateway = Some([192, 168, 31, 1].into());
        assert_eq!(super::services(&with_gateway, "n1"), None);
    }

    #[test]
    fn first_boot_finds_the_range_that_the_cluster_file_knows() {
        let cluster = cluster(SYSTEMD);
        for host in cluster.hosts.values() {
            let known = cluster.pod_range(host).unwrap().to_string();
            assert_eq!(rendered(&host.address.address.to_string(), &json!({})), Ok(known));
        }
        assert_eq!(rendered("192.168.31.250", &json!({})), Ok("10.244.250.0/24".to_owned()));
    }

    #[test]
    fn a_host_elsewhere_has_the_range_that_its_metadata_names_or_none() {
        let refused = Err("'pod_range_of_this_address' is undefined".to_owned());
        for elsewhere in ["192.168.30.255", "192.168.32.0", "10.0.0.1"] {
            let named = json!({ "pod_range": "10.244.7.0/24" });
            assert_eq!(rendered(elsewhere, &named), Ok("10.244.7.0/24".to_owned()));
            assert_eq!(rendered(elsewhere, &json!({})), refused, "{elsewhere}");
        }
    }
}
