// SPDX-License-Identifier: Apache-2.0
//! Which Kubernetes does a role run before and after?
//!
//! A patch changes no file of a node's image but the programs, so versions are compared themselves.

use crate::{
    cluster::Cluster,
    kubernetes::{
        release::{self, Source},
        role,
        version::Version,
    },
};

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
