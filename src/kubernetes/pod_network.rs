// SPDX-License-Identifier: Apache-2.0
//! How do pods of different nodes reach each other?
//!
//! `routed` needs no daemon: a bridge on every node, a range of addresses for each, and routes
//! between the hosts. The range is the host's own ([`Cluster::pod_range`]) and travels in its
//! seed, as do the routes to the others' ranges: one image serves every node.
//!
//! `flannel` wraps the pods' packets in packets between the nodes, for networks that refuse the
//! routes. Its daemon is an add-on; the controller-manager gives each node its range.
//!
//! `none` leaves the network to whoever brings one; ranges are given out as with `flannel`.

use std::net::Ipv4Addr;

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    cluster::{Cidr, Cluster},
    profile::FileContent,
};

/// Configuration of the network plugins, as first boot's template.
pub const CONFIG: &str = "/etc/cni/net.d/10-kiln.conflist";
/// The variable of a host's metadata that has its range.
pub const RANGE: &str = "pod_range";
/// The add-on that brings flannel's daemon.
pub const FLANNEL: &str = "flannel";
/// Flannel's plugin, which Debian does not have. The add-on puts it where the link leads.
const PLUGIN: &str = "/usr/lib/cni/flannel";
const PLUGIN_TARGET: &str = "/run/flannel/cni/flannel";

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
}

pub fn parts(network: PodNetwork) -> Parts {
    match network {
        PodNetwork::Routed => {
            Parts { files: vec![(CONFIG, FileContent::BootTemplate(routed()))], ..Parts::default() }
        }
        PodNetwork::Flannel => Parts {
            files: vec![
                (CONFIG, FileContent::Text(flannel())),
                (PLUGIN, FileContent::Symlink(PLUGIN_TARGET.to_owned())),
            ],
            modules: &["vxlan"],
            // The kernel's own default for the port, which flannel takes too.
            rules: &["udp 8472 from hosts"],
        },
        PodNetwork::None => Parts::default(),
    }
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
            "ranges": [[{ "subnet": format!("{{{{ vars.{RANGE} }}}}") }]],
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

/// Every other host's range and the address behind which it is; none unless routes connect them.
pub fn routes<'a>(
    cluster: &'a Cluster,
    own: &'a str,
) -> impl Iterator<Item = (Cidr, Ipv4Addr)> + 'a {
    let others = cluster.hosts_of(super::NODE).filter(move |(name, _)| *name != own);
    others.filter_map(|(_, host)| Some((cluster.pod_range(host)?, host.address.address)))
}
