// SPDX-License-Identifier: Apache-2.0
//! Which Kubernetes does a role run before and after, and may it go from one to the other?
//!
//! A patch changes no file of a node's image but the programs, so versions are compared themselves.
//! The rules are those of the website's page `releases/version-skew-policy`. Masters go first, so what
//! nodes run until then must still suit what masters run already.

use super::Side;
use crate::{
    cluster::{Cluster, Kubernetes},
    diagnostic::{Invalid, Problems},
    kubernetes::{
        NODE,
        release::{self, Source},
        role,
        version::{Client, Minor, Version, check_upgrade},
    },
    yaml::{self, fields::Complaint},
};

/// Refuses a step that Kubernetes does not have.
pub(super) fn check(old: Side<'_>, new: Side<'_>) -> Result<(), Invalid> {
    let (Some(before), Some(after)) = (&old.cluster.kubernetes, &new.cluster.kubernetes) else {
        return Ok(());
    };
    let (from, to) = (before.version.minor, after.version.minor);
    let found = match check_upgrade(from, to) {
        Err(complaint) => Some((complaint, "version")),
        Ok(()) => nodes_left_behind(old.cluster, before, to).map(|it| (it, "node-version")),
    };
    let Some((complaint, key)) = found else { return Ok(()) };
    // Both files have been read before, without a complaint.
    let place = |side: Side<'_>, key: &str| {
        let node = yaml::parse(&side.workspace.cluster, &Problems::new())?;
        Some(node.place(&["kubernetes", key]).clone())
    };
    let mut diagnostic = complaint.without_place();
    if let Some(place) = place(new, "version") {
        diagnostic = diagnostic.at(&place);
    }
    if let Some(place) = place(old, key) {
        diagnostic = diagnostic.also(&place, "what runs now");
    }
    Err(diagnostic.into())
}

/// Nodes that are too old for the masters that come, while they wait for their turn.
fn nodes_left_behind(cluster: &Cluster, before: &Kubernetes, to: Minor) -> Option<Complaint> {
    cluster.hosts_of(NODE).next()?;
    let complaint = Client::Kubelet.check_skew(before.version_of(NODE).minor, to).err()?;
    Some(Complaint::new(
        format!("masters go first, and {}", complaint.what),
        format!(
            "give nodes a newer 'node-version' first, up to the {} of the masters",
            before.version.minor
        ),
    ))
}

/// What of Kubernetes' programs differs in two images of a role.
pub(super) fn difference(old: &Cluster, new: &Cluster, role: &str) -> Option<String> {
    let (before, after) = (programs(old, role), programs(new, role));
    match (before, after) {
        (Some((from, _)), Some((to, _))) if from != to => {
            Some(format!("Kubernetes {from} becomes {to}"))
        }
        (Some((version, from)), Some((_, to))) if !is_same_place(from, to, version) => {
            Some(format!("the programs of Kubernetes {version} come from '{to}'"))
        }
        (None, Some((version, _))) => Some(format!("Kubernetes {version} comes")),
        (Some((version, _)), None) => Some(format!("Kubernetes {version} goes")),
        _ => None,
    }
}

/// The release that a role has programs of, and their place.
fn programs<'a>(cluster: &'a Cluster, role: &str) -> Option<(Version, &'a Source)> {
    let kubernetes = cluster.kubernetes.as_ref()?;
    let has_programs = !role::programs(cluster, role).is_empty();
    has_programs.then(|| (kubernetes.version_of(role), &kubernetes.binaries))
}

/// Another place may have another build: only the lock knows.
fn is_same_place(one: &Source, other: &Source, version: Version) -> bool {
    let place = |source: &Source| {
        let urls = (source.bundle_url(version), source.program_url(version, "{program}"));
        (source.local(version), urls)
    };
    place(one) == place(other)
}

/// Whether the lock must pin programs that it did not.
pub(super) fn needs_lock(old: &Cluster, new: &Cluster) -> bool {
    release::releases(old, old.roles()) != release::releases(new, new.roles())
}
