// SPDX-License-Identifier: Apache-2.0
//! Which other hosts do the services of a role call?
//!
//! A host's seed says it, so that a host which joins later needs no new images. What the image
//! says of them is for machines whose metadata somebody wrote without these lists.

use std::{collections::BTreeMap, net::Ipv4Addr};

use kiln_init::metadata::PEERS;
use serde_json::{Map, Value, json};

use super::{Cluster, Host};
use crate::{
    kubernetes::{MASTER, etcd},
    pki::leaves::BALANCER,
};

impl Cluster {
    /// The hosts that a role's services call, the role's own hosts among them: lists of `name`
    /// and `address`, as first-boot templates see them.
    pub fn peers_of(&self, role: &str) -> Map<String, Value> {
        let of_role =
            |role| list(self.hosts_of(role).map(|(name, host)| (name, host.address.address)));
        let lists = match role {
            BALANCER => vec![("masters", of_role(MASTER)), ("balancers", of_role(BALANCER))],
            MASTER if self.kubernetes.is_some() => vec![("etcd", list(etcd::members(self)))],
            _ => Vec::new(),
        };
        lists.into_iter().map(|(key, list)| (key.to_owned(), list)).collect()
    }

    /// What a host's seed has under `vars`: its own, and its peers.
    pub fn vars_of(&self, host: &Host) -> BTreeMap<String, Value> {
        let mut lists = self.peers_of(&host.role);
        // First boot takes no empty list from metadata.
        lists.retain(|_, list| list.as_array().is_some_and(|list| !list.is_empty()));
        let mut vars = host.vars.clone();
        if !lists.is_empty() {
            vars.insert(PEERS.to_owned(), Value::Object(lists));
        }
        vars
    }
}

fn list<'a>(hosts: impl Iterator<Item = (&'a str, Ipv4Addr)>) -> Value {
    hosts.map(|(name, address)| json!({ "name": name, "address": address })).collect()
}
