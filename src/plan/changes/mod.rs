// SPDX-License-Identifier: Apache-2.0
//! What does a change of `cluster.yaml` mean for machines that run already?
//!
//! Both versions of the file are planned with the profiles, overlays and add-ons of today. What
//! differs then is what the change touches: nobody has to remember which file of which image names
//! which host. A host's facts travel in its seed, so most changes touch seeds alone.
//!
//! Left out on purpose: the table of names in `/etc/hosts`, which every image has and no service
//! of Kiln's reads; the hosts that an image's services call ([`Cluster::peers_of`]), which seeds
//! say anew; and the digest of the plan. An image that was built before a host was added goes on
//! to serve; [`Changes`] lists the images that would not. A step that Kubernetes cannot take is
//! refused: there is no order of doing it.

mod content;
mod etcd;
mod print;
mod steps;
mod upgrade;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Plan;
use crate::{
    cluster::{Cidr, Cluster, Delivery, Host, HostAddress},
    diagnostic::Invalid,
    kubernetes::MASTER,
    pki::leaves::{San, Scope, leaves, scopes},
    seed,
    workspace::Workspace,
};

/// One of the two versions.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    pub cluster: &'a Cluster,
    /// Of all its roles.
    pub plans: &'a [Plan],
    pub workspace: &'a Workspace,
}

/// What differs, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Changes {
    /// Sorted by name.
    pub hosts: Vec<HostChange>,
    /// Roles whose image must be built again and rolled out.
    pub images: Vec<ImageChange>,
    pub certificates: Vec<CertificateChange>,
    /// Hosts whose seed must be written again, sorted; those of new hosts too.
    pub seeds: Vec<String>,
    /// In the order in which they are taken.
    pub steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct HostChange {
    pub host: String,
    pub change: Change,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    Added {
        role: String,
        address: HostAddress,
    },
    Removed {
        role: String,
        address: HostAddress,
    },
    /// Another image, so another machine, but for its name.
    Role {
        from: String,
        to: String,
    },
    Address {
        from: HostAddress,
        to: HostAddress,
    },
    /// Something that only its seed says: keys, variables, the interface.
    Metadata,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ImageChange {
    pub role: String,
    /// What differs in it: programs, files, keys of the profile, certificates.
    pub because: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CertificateChange {
    /// `role 'master'`, or `host 'k8s-node-1'`.
    pub holder: String,
    pub certificate: &'static str,
    /// Names and addresses that it did not have before.
    pub gains: Vec<String>,
    pub loses: Vec<String>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Step {
    pub what: String,
    /// Commands, or lines of a file.
    pub paste: Vec<String>,
}

impl Changes {
    /// From an older cluster file to a newer one.
    ///
    /// # Errors
    /// Kubernetes has no way from one version to the other.
    pub fn between(old: Side<'_>, new: Side<'_>) -> Result<Self, Invalid> {
        upgrade::check(old, new)?;
        let hosts = hosts(old.cluster, new.cluster);
        let certificates = certificates(old.cluster, new.cluster);
        let mut changes = Self {
            images: images(old, new, &hosts, &certificates),
            seeds: seeds(old.cluster, new.cluster, &certificates),
            certificates: certificates.into_iter().map(|(_, change)| change).collect(),
            hosts,
            steps: Vec::new(),
        };
        changes.steps = steps::steps(&changes, old.cluster, new.cluster);
        Ok(changes)
    }

    /// Whether no machine would notice.
    pub fn is_empty(&self) -> bool {
        let Self { hosts, images, certificates, seeds, steps } = self;
        hosts.is_empty()
            && images.is_empty()
            && certificates.is_empty()
            && seeds.is_empty()
            && steps.is_empty()
    }

    /// Names of the hosts that come, or go, or stay; by what has happened to them.
    fn named(&self, wanted: impl Fn(&Change) -> bool) -> Vec<&str> {
        let hosts = self.hosts.iter().filter(|it| wanted(&it.change));
        hosts.map(|it| it.host.as_str()).collect()
    }
}

fn hosts(old: &Cluster, new: &Cluster) -> Vec<HostChange> {
    let names: BTreeSet<&String> = old.hosts.keys().chain(new.hosts.keys()).collect();
    let change = |name: &String| match (old.hosts.get(name), new.hosts.get(name)) {
        (None, Some(host)) => {
            Some(Change::Added { role: host.role.clone(), address: host.address })
        }
        (Some(host), None) => {
            Some(Change::Removed { role: host.role.clone(), address: host.address })
        }
        (Some(old), Some(new)) => of_one(old, new),
        (None, None) => None,
    };
    let changes = names.into_iter().filter_map(|name| Some((name, change(name)?)));
    changes.map(|(name, change)| HostChange { host: name.clone(), change }).collect()
}

fn of_one(old: &Host, new: &Host) -> Option<Change> {
    if old.role != new.role {
        return Some(Change::Role { from: old.role.clone(), to: new.role.clone() });
    }
    if old.address != new.address {
        return Some(Change::Address { from: old.address, to: new.address });
    }
    let is_same = old.mac == new.mac
        && old.ssh_authorized_keys == new.ssh_authorized_keys
        && old.vars == new.vars;
    (!is_same).then_some(Change::Metadata)
}

/// Certificates that must be made, with the set that they belong to.
fn certificates(old: &Cluster, new: &Cluster) -> Vec<(Scope, CertificateChange)> {
    let mut changes = Vec::new();
    for scope in scopes(new) {
        let before: BTreeMap<&str, BTreeSet<San>> =
            leaves(old, &scope).into_iter().map(|leaf| (leaf.name, leaf.sans)).collect();
        for leaf in leaves(new, &scope) {
            let sans = before.get(leaf.name);
            let nothing = BTreeSet::new();
            let known = sans.unwrap_or(&nothing);
            let names = |some: BTreeSet<&San>| some.into_iter().map(ToString::to_string).collect();
            let change = CertificateChange {
                holder: scope.to_string(),
                certificate: leaf.name,
                gains: names(leaf.sans.difference(known).collect()),
                loses: names(known.difference(&leaf.sans).collect()),
            };
            if sans.is_none() || known != &leaf.sans {
                changes.push((scope.clone(), change));
            }
        }
    }
    changes
}

fn images(
    old: Side<'_>,
    new: Side<'_>,
    hosts: &[HostChange],
    certificates: &[(Scope, CertificateChange)],
) -> Vec<ImageChange> {
    let moved = hosts.iter().any(|host| matches!(host.change, Change::Address { .. }));
    let mut images = Vec::new();
    for plan in new.plans {
        let role = &plan.profile.role;
        let Some(before) = old.plans.iter().find(|old| old.profile.role == *role) else {
            let because = vec!["no host had this role before".to_owned()];
            images.push(ImageChange { role: role.clone(), because });
            continue;
        };
        let mut because: Vec<String> =
            upgrade::difference(old.cluster, new.cluster, role).into_iter().collect();
        because.extend(content::differences(before, old.workspace, plan, new.workspace));
        if role == MASTER && moved && new.cluster.kubernetes.is_some() {
            because.push("the addresses that kubelets' certificates are approved for".to_owned());
        }
        if new.cluster.pki.delivery == Delivery::Baked {
            let of_role = certificates.iter().filter(|(scope, _)| match scope {
                Scope::Role(name) => name == role,
                Scope::Host(_) => false,
            });
            because.extend(of_role.map(|(_, it)| format!("certificate {}", it.certificate)));
        }
        if !because.is_empty() {
            images.push(ImageChange { role: role.clone(), because });
        }
    }
    images
}

fn seeds(old: &Cluster, new: &Cluster, certificates: &[(Scope, CertificateChange)]) -> Vec<String> {
    let seed = |cluster: &Cluster, name: &str| seed::files_without_keys(cluster, name).ok();
    // Who holds certificates of its own has them by its seed.
    let has_new_keys =
        |name: &str| certificates.iter().any(|(scope, _)| *scope == Scope::Host(name.to_owned()));
    let is_new = |name: &&String| seed(old, name) != seed(new, name) || has_new_keys(name);
    new.hosts.keys().filter(is_new).cloned().collect()
}

/// What of the networks the packet filter of every image has.
fn networks(cluster: &Cluster) -> [Cidr; 3] {
    let networks = &cluster.networks;
    [networks.hosts, networks.pods, networks.services]
}
