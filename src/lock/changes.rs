// SPDX-License-Identifier: Apache-2.0
//! What changed from one lock to another, for people: packages, programs of Kubernetes,
//! images.

use std::{collections::BTreeMap, fmt};

use super::Lock;

/// Packages, programs and images that came, went or changed their version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// By name: the old and the new version. Sorted; at least one of both is there.
    packages: BTreeMap<String, (Option<String>, Option<String>)>,
}

impl Changes {
    pub fn between(old: Option<&Lock>, new: &Lock) -> Self {
        let mut packages = BTreeMap::<_, (Option<String>, Option<String>)>::new();
        for package in old.map_or(&[][..], |lock| &lock.packages) {
            append(&mut packages.entry(package.name.clone()).or_default().0, &package.version);
        }
        for package in &new.packages {
            append(&mut packages.entry(package.name.clone()).or_default().1, &package.version);
        }
        for (name, version) in old.into_iter().flat_map(programs) {
            append(&mut packages.entry(name).or_default().0, &version);
        }
        for (name, version) in programs(new) {
            append(&mut packages.entry(name).or_default().1, &version);
        }
        for (name, digest) in old.into_iter().flat_map(images) {
            append(&mut packages.entry(name).or_default().0, &digest);
        }
        for (name, digest) in images(new) {
            append(&mut packages.entry(name).or_default().1, &digest);
        }
        packages.retain(|_, (old, new)| old != new);
        Self { packages }
    }

    pub fn is_empty(&self) -> bool {
        self.packages.is_empty()
    }
}

/// Roles may pin different versions of one package.
fn append(versions: &mut Option<String>, version: &str) {
    match versions {
        Some(versions) => versions.push_str(&format!(", {version}")),
        None => *versions = Some(version.to_owned()),
    }
}

/// Programs of Kubernetes with the version of their release.
fn programs(lock: &Lock) -> impl Iterator<Item = (String, String)> {
    lock.kubernetes.iter().flat_map(|(version, release)| {
        release.programs.keys().map(|name| (name.clone(), version.to_string()))
    })
}

/// Images with the beginning of their manifest's digest.
fn images(lock: &Lock) -> impl Iterator<Item = (String, String)> {
    let images = lock.images.iter();
    images.map(|(reference, image)| (reference.name().to_string(), image.manifest.sha256.short()))
}

impl fmt::Display for Changes {
    /// One line for each package, in name order, each with its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, versions) in &self.packages {
            match versions {
                (Some(old), Some(new)) => writeln!(f, "{name} {old} -> {new}")?,
                (None, Some(new)) => writeln!(f, "{name} {new} (added)")?,
                (Some(old), None) => writeln!(f, "{name} {old} (removed)")?,
                (None, None) => {}
            }
        }
        Ok(())
    }
}
