// SPDX-License-Identifier: Apache-2.0
//! The pods' network without a daemon: a bridge on every host that runs pods, a range of addresses
//! for each, and routes between the hosts.
//!
//! The range is the host's own ([`Cluster::pod_range`]) and travels in its seed, as do the routes to
//! the others' ranges: one image serves every host of its role.

use std::net::Ipv4Addr;

use serde_json::json;

use crate::cluster::{Cidr, Cluster};

/// Configuration of the network plugins, as first boot's template.
pub const CONFIG: &str = "/etc/cni/net.d/10-kiln.conflist";
/// The variable of a host's metadata that has its range.
pub const RANGE: &str = "pod_range";

/// A bridge whose host is the pods' gateway; `hairpin` lets a pod reach itself by its service.
pub fn config() -> String {
    let config = json!({
        "cniVersion": "1.0.0",
        "name": "kiln",
        "plugins": [
            {
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
            },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    });
    format!("{config:#}\n")
}

/// Every other host's range and the address behind which it is.
pub fn routes<'a>(
    cluster: &'a Cluster,
    own: &'a str,
) -> impl Iterator<Item = (Cidr, Ipv4Addr)> + 'a {
    let others = cluster.pod_hosts().filter(move |(name, _)| *name != own);
    others.filter_map(|(_, host)| Some((cluster.pod_range(host)?, host.address.address)))
}
