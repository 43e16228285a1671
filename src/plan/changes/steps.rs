// SPDX-License-Identifier: Apache-2.0
//! What to do, in which order: nothing that serves goes before what takes its place is there.

use super::{Change, Changes, Step, etcd::Members, upgrade};
use crate::{
    cluster::Cluster,
    kubernetes::{MASTER, NODE},
    pki::leaves::BALANCER,
};

const WAIT: &str = "kubectl wait --for=condition=Ready --timeout=10m";

pub(super) fn steps(changes: &Changes, old: &Cluster, new: &Cluster) -> Vec<Step> {
    let plan = Steps { changes, old, new, members: Members::of(old, new) };
    let mut steps = plan.preparations();
    steps.extend(plan.farewells());
    steps.extend(plan.members.removals());
    steps.extend(plan.members.moves());
    steps.extend(plan.members.additions());
    steps.extend(plan.new_hosts(|role| role != NODE));
    steps.extend(plan.endpoint());
    steps.extend(plan.roll_outs());
    steps.extend(plan.restarts());
    // By now everybody knows the way to its pods.
    steps.extend(plan.new_hosts(|role| role == NODE));
    steps.extend(plan.removals());
    steps
}

struct Steps<'a> {
    changes: &'a Changes,
    old: &'a Cluster,
    new: &'a Cluster,
    members: Members<'a>,
}

impl Steps<'_> {
    /// What this machine does.
    fn preparations(&self) -> Vec<Step> {
        let Changes { certificates, images, seeds, .. } = self.changes;
        let mut steps = Vec::new();
        if !certificates.is_empty() {
            steps.push(step("issue the certificates", vec!["kiln pki issue".to_owned()]));
        }
        if !images.is_empty() {
            let roles: Vec<&str> = images.iter().map(|image| image.role.as_str()).collect();
            let mut paste = vec![format!("kiln build {}", roles.join(" "))];
            if upgrade::needs_lock(self.old, self.new) {
                paste.insert(0, "kiln lock".to_owned());
            }
            let what = "raise 'version' in cluster.yaml, and build what is different";
            steps.push(step(what, paste));
        }
        // Those of new members of etcd are written with what they must know of it.
        let seeds: Vec<&str> =
            seeds.iter().map(String::as_str).filter(|name| !self.members.is_added(name)).collect();
        if !seeds.is_empty() {
            let what = "write the seeds that are different";
            steps.push(step(what, vec![format!("kiln seed {}", seeds.join(" "))]));
        }
        steps
    }

    /// Hosts that come, but for members of etcd, which have started by now.
    fn new_hosts(&self, wanted: impl Fn(&str) -> bool) -> Option<Step> {
        let is_wanted = |host: &&str| {
            let role = self.new.hosts.get(*host).map(|it| it.role.as_str());
            role.is_some_and(&wanted) && !self.members.is_added(host)
        };
        let is_new = |change: &Change| matches!(change, Change::Added { .. } | Change::Role { .. });
        let mut hosts = self.changes.named(is_new);
        hosts.retain(is_wanted);
        let mut again = self.changes.named(|change| matches!(change, Change::Role { .. }));
        again.retain(is_wanted);
        let mut what =
            format!("start {} from the image of its role, with its seed", hosts.join(", "));
        if !again.is_empty() {
            what += &format!(
                "; write the whole disk of {}, so that nothing of 'var' stays",
                again.join(", ")
            );
        }
        (!hosts.is_empty()).then(|| step(what, self.nodes_are_there(&hosts)))
    }

    fn nodes_are_there(&self, hosts: &[&str]) -> Vec<String> {
        let nodes: Vec<String> = hosts
            .iter()
            .filter(|host| runs_pods(self.new, host))
            .map(|host| format!("node/{host}"))
            .collect();
        let wait = || format!("{WAIT} {}", nodes.join(" "));
        (!nodes.is_empty()).then(wait).into_iter().collect()
    }

    /// Hosts with pods that go, or become something else: while there is still a way to their pods.
    /// A master whose control plane is static pods is one, and the API would go on to list it.
    fn farewells(&self) -> Option<Step> {
        let is_farewell = |change: &Change| match change {
            Change::Removed { role, .. } | Change::Role { from: role, .. } => {
                self.old.runs_pods(role)
            }
            _ => false,
        };
        let hosts = self.changes.named(is_farewell);
        let forget = |host: &&str| [drain(host), delete(host)];
        let what = format!("move the pods away from {}", hosts.join(", "));
        (!hosts.is_empty()).then(|| step(what, hosts.iter().flat_map(forget).collect()))
    }

    /// Hosts that stay and whose image is another. API servers come before the kubelets that call
    /// them, which must not be newer.
    fn roll_outs(&self) -> Vec<Step> {
        let mut images: Vec<_> = self.changes.images.iter().collect();
        images.sort_by_key(|image| match image.role.as_str() {
            MASTER => 1,
            NODE => 2,
            _ => 0,
        });
        let steps = images.into_iter().filter_map(|image| {
            let hosts = self.staying(&image.role);
            let how = in_turn(&image.role);
            let mut what =
                format!("roll the image of '{}' out to {}: {how}", image.role, hosts.join(", "));
            let seeds: Vec<&str> =
                hosts.iter().filter(|host| self.has_new_seed(host)).copied().collect();
            if !seeds.is_empty() {
                what += &format!("; with new seeds: {}", seeds.join(", "));
            }
            (!hosts.is_empty()).then(|| step(what, self.restart_of_nodes(&hosts)))
        });
        steps.collect()
    }

    /// Hosts that stay, whose image does and whose seed does not.
    fn restarts(&self) -> Vec<Step> {
        let roles = self.new.roles();
        let is_rolled_out = |role: &&str| self.changes.images.iter().any(|it| it.role == **role);
        let steps = roles.iter().filter(|role| !is_rolled_out(role)).filter_map(|role| {
            let mut hosts = self.staying(role);
            hosts.retain(|host| self.has_new_seed(host));
            let what = format!("restart {} with new seeds: {}", hosts.join(", "), in_turn(role));
            (!hosts.is_empty()).then(|| step(what, self.restart_of_nodes(&hosts)))
        });
        steps.collect()
    }

    fn has_new_seed(&self, host: &str) -> bool {
        self.changes.seeds.iter().any(|seed| seed == host)
    }

    /// What pods notice least. Masters may begin to run pods, or end, with `control-plane`.
    fn restart_of_nodes(&self, hosts: &[&str]) -> Vec<String> {
        let commands = |host: &&str| match (runs_pods(self.old, host), runs_pods(self.new, host)) {
            (true, true) => vec![drain(host), format!("kubectl uncordon {host}")],
            (true, false) if self.new.kubernetes.is_some() => vec![drain(host), delete(host)],
            (false, true) => vec![format!("{WAIT} node/{host}")],
            _ => Vec::new(),
        };
        hosts.iter().flat_map(commands).collect()
    }

    /// Hosts that had the role before, but for those that etcd has had started anew.
    fn staying(&self, role: &str) -> Vec<&str> {
        let was = |name: &str| self.old.hosts.get(name).is_some_and(|host| host.role == role);
        let hosts =
            self.new.hosts.iter().filter(|(name, host)| {
                host.role == role && was(name) && !self.members.is_added(name)
            });
        hosts.map(|(name, _)| name.as_str()).collect()
    }

    /// What keeps the address of the API, and no image or seed reaches.
    fn endpoint(&self) -> Option<Step> {
        let at = |cluster: &Cluster| (cluster.endpoint.vip, cluster.endpoint.port);
        if at(self.old) == at(self.new) || self.new.kubernetes.is_none() {
            return None;
        }
        let what = "make people's kubeconfigs again. A kubelet keeps the old address in \
                    /var/lib/kubelet/kubeconfig: remove that file with the roll-out, or write the \
                    whole disk of nodes that are no members of etcd";
        Some(step(what, vec!["kiln pki kubeconfig --user USER --out FILE".to_owned()]))
    }

    /// Hosts that go, once nobody asks them any more.
    fn removals(&self) -> Option<Step> {
        let hosts = self.changes.named(|change| matches!(change, Change::Removed { .. }));
        let what = format!("switch {} off, and wipe its disk: it holds keys", hosts.join(", "));
        (!hosts.is_empty()).then(|| step(what, Vec::new()))
    }
}

/// How hosts of a role go down and come back, so that the others serve meanwhile.
fn in_turn(role: &str) -> &'static str {
    match role {
        MASTER => "one after another, each when the one before is ready",
        BALANCER => "that with the lowest priority first, the next when it is ready",
        _ => "one after another",
    }
}

/// Whether the API knows the host as a node.
fn runs_pods(cluster: &Cluster, host: &str) -> bool {
    cluster.hosts.get(host).is_some_and(|it| cluster.runs_pods(&it.role))
}

fn delete(host: &str) -> String {
    format!("kubectl delete node {host}")
}

fn drain(host: &str) -> String {
    format!("kubectl drain {host} --ignore-daemonsets --delete-emptydir-data")
}

fn step(what: impl Into<String>, paste: Vec<String>) -> Step {
    Step { what: what.into(), paste }
}
