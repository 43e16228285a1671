// SPDX-License-Identifier: Apache-2.0
//! What nobody can do for a running etcd: say who its members are.
//!
//! The image of a member says with whom a new cluster begins; members that run have their own
//! list and ask nobody. Each is added while it is known but does not run yet, so they come one at
//! a time, and go before those that replace them come (etcd: "Runtime reconfiguration").

use std::net::Ipv4Addr;

use super::Step;
use crate::{
    cluster::{Cluster, Delivery},
    kubernetes::etcd::{CLIENT_PORT, INITIAL_CLUSTER, INITIAL_STATE, PEER_PORT, members},
    pki::leaves::Scope,
};

type Member<'a> = (&'a str, Ipv4Addr);

/// The members of both versions, by what happens to them.
pub(super) struct Members<'a> {
    new: &'a Cluster,
    added: Vec<Member<'a>>,
    removed: Vec<Member<'a>>,
    /// With the address that they have now.
    moved: Vec<Member<'a>>,
    /// Where the others answer.
    kept: Vec<Member<'a>>,
}

impl<'a> Members<'a> {
    pub(super) fn of(old: &'a Cluster, new: &'a Cluster) -> Self {
        let find = |list: &[Member<'a>], name: &str| {
            list.iter().find(|(other, _)| *other == name).map(|(_, address)| *address)
        };
        let (before, after): (Vec<_>, Vec<_>) = (members(old).collect(), members(new).collect());
        let is_other_machine = |name: &str| match (old.hosts.get(name), new.hosts.get(name)) {
            (Some(old), Some(new)) => old.role != new.role,
            _ => false,
        };
        let stays =
            |name: &str, list: &[Member<'a>]| find(list, name).is_some() && !is_other_machine(name);
        let pick = |list: &[Member<'a>], wanted: &dyn Fn(&Member<'a>) -> bool| {
            list.iter().filter(|member| wanted(member)).copied().collect::<Vec<_>>()
        };
        Self {
            new,
            added: pick(&after, &|(name, _)| !stays(name, &before)),
            removed: pick(&before, &|(name, _)| !stays(name, &after)),
            moved: pick(&after, &|(name, address)| {
                stays(name, &before) && find(&before, name) != Some(*address)
            }),
            kept: pick(&before, &|(name, address)| {
                stays(name, &after) && find(&after, name) == Some(*address)
            }),
        }
    }

    pub(super) fn is_added(&self, host: &str) -> bool {
        self.added.iter().any(|(name, _)| *name == host)
    }

    /// Before the machines go.
    pub(super) fn removals(&self) -> Vec<Step> {
        let step = |(name, _): &Member<'_>| {
            let command = self.command();
            Step {
                what: format!("take '{name}' out of etcd, by the ID in front of its name"),
                paste: vec![
                    format!("{command} member list"),
                    format!("{command} member remove ID"),
                ],
            }
        };
        self.removed.iter().map(step).collect()
    }

    /// Before the machines start at their new address.
    pub(super) fn moves(&self) -> Vec<Step> {
        let step = |(name, address): &Member<'_>| {
            let command = self.command();
            Step {
                what: format!(
                    "tell etcd the new address of '{name}', by the ID in front of its name"
                ),
                paste: vec![
                    format!("{command} member list"),
                    format!("{command} member update ID --peer-urls={}", peer(*address)),
                ],
            }
        };
        self.moved.iter().map(step).collect()
    }

    /// Each with the start of its machine, because etcd counts it from then on.
    pub(super) fn additions(&self) -> Vec<Step> {
        let mut known: Vec<Member<'_>> = self.kept.iter().chain(&self.moved).copied().collect();
        let mut steps = Vec::new();
        for (name, address) in &self.added {
            known.push((name, *address));
            let list: Vec<String> =
                known.iter().map(|(name, address)| format!("{name}={}", peer(*address))).collect();
            steps.push(Step {
                what: format!(
                    "give host '{name}' in cluster.yaml what it must know of etcd, and write its seed"
                ),
                paste: vec![
                    format!(
                        "vars: {{ {INITIAL_STATE}: existing, {INITIAL_CLUSTER}: \"{}\" }}",
                        list.join(",")
                    ),
                    format!("kiln seed {name}"),
                ],
            });
            let command = self.command();
            steps.push(Step {
                what: format!(
                    "add '{name}' to etcd, start it at once from the image of its role, with its seed, and go on when all are healthy"
                ),
                paste: vec![
                    format!("{command} member add {name} --peer-urls={}", peer(*address)),
                    format!("{command} endpoint health --cluster"),
                ],
            });
        }
        steps
    }

    /// From the workspace, on a machine of the hosts' network: nobody logs in to a member.
    fn command(&self) -> String {
        // If no member stays where it was, those that move are asked before they do.
        let asked = if self.kept.is_empty() { &self.removed } else { &self.kept };
        let endpoints: Vec<String> =
            asked.iter().map(|(_, address)| format!("https://{address}:{CLIENT_PORT}")).collect();
        let holder = self.kept.first().or(self.moved.first()).or(self.added.first());
        let name = holder.map_or("", |(name, _)| name);
        let scope = match (self.new.pki.delivery, self.new.hosts.get(name)) {
            (Delivery::Baked, Some(host)) => Scope::Role(host.role.clone()),
            _ => Scope::Host(name.to_owned()),
        };
        let pki = format!("pki/{}/etcd-healthcheck-client", scope.folder());
        format!(
            "etcdctl --endpoints={} --cacert=pki/etcd-ca.crt --cert={pki}.crt --key={pki}.key",
            endpoints.join(",")
        )
    }
}

fn peer(address: Ipv4Addr) -> String {
    format!("https://{address}:{PEER_PORT}")
}
