// SPDX-License-Identifier: Apache-2.0
//! Which other hosts do the services of a role call?
//!
//! A host's seed says it, so that a host which joins later needs no new images. What the image
//! says of them is for machines whose metadata somebody wrote without these lists.

use std::collections::BTreeMap;

use kiln_init::metadata::{PEERS, Peer, Peers};
use serde_json::{Map, Value, json};

use super::{Cluster, Host};
use crate::{
    kubernetes::{MASTER, etcd},
    pki::leaves::BALANCER,
};

impl Cluster {
    /// The hosts that a role's services call, the role's own hosts among them.
    pub fn peers_of(&self, role: &str) -> Peers {
        let of_role = |role: &str| {
            let hosts = self.hosts_of(role);
            hosts.map(|(name, host)| peer(name, host.address.address)).collect()
        };
        match role {
            BALANCER => Peers {
                masters: Some(of_role(MASTER)),
                balancers: Some(of_role(BALANCER)),
                ..Peers::default()
            },
            MASTER if self.kubernetes.is_some() => {
                let members = etcd::members(self).map(|(name, address)| peer(name, address));
                Peers { etcd: Some(members.collect()), ..Peers::default() }
            }
            _ => Peers::default(),
        }
    }

    /// What a host's seed has under `vars`: its own, and its peers.
    pub fn vars_of(&self, host: &Host) -> BTreeMap<String, Value> {
        let Peers { masters, balancers, etcd } = self.peers_of(&host.role);
        let lists = [("masters", masters), ("balancers", balancers), ("etcd", etcd)];
        // First boot takes no empty list from metadata.
        let lists = lists.into_iter().filter_map(|(key, list)| {
            let list = list.filter(|list| !list.is_empty())?;
            Some((key.to_owned(), json!(list)))
        });
        let lists: Map<String, Value> = lists.collect();
        let mut vars = host.vars.clone();
        if !lists.is_empty() {
            vars.insert(PEERS.to_owned(), Value::Object(lists));
        }
        vars
    }
}

fn peer(name: &str, address: std::net::Ipv4Addr) -> Peer {
    Peer { name: name.to_owned(), address }
}
