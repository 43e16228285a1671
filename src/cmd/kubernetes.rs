// SPDX-License-Identifier: Apache-2.0
//! What images carry of Kubernetes beyond packages: programs that the lock pins, and secrets.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result};

use crate::{
    cluster::{Cluster, Delivery},
    error::refuse,
    fetch::{Fetcher, release::Program},
    kubernetes::{
        companions,
        release::{self, Release},
        role, secrets,
    },
    lock::{Lock, Releases},
    pki::{Material, delivery::NodeFile, leaves::Scope},
    plan::Plan,
    progress::Progress,
    sys,
    tree::Content,
};

/// The programs of each role, and where they go in its image.
pub(super) type Programs = BTreeMap<String, Vec<(role::Program, Content)>>;

/// The programs as they are now, for the lock; `old` is the lock until now.
pub(super) fn pin(
    workspace: &Path,
    fetcher: &Fetcher,
    plans: &[Plan],
    old: Option<&Lock>,
) -> Result<Releases> {
    let pin = |release: Release<'_>| {
        let old = old.and_then(|old| old.kubernetes.get(&release.version));
        let pinned = fetcher.pin_release(workspace, &release, old);
        let pinned = pinned.with_context(|| format!("pinning Kubernetes {}", release.version))?;
        Ok((release.version, pinned))
    };
    releases(plans).into_iter().map(pin).collect()
}

/// Whether a lock pins precisely the releases that the plans ask for.
pub(super) fn is_pinned(lock: &Lock, plans: &[Plan]) -> bool {
    let releases = releases(plans);
    lock.kubernetes.len() == releases.len()
        && releases.iter().all(|release| {
            let locked = lock.kubernetes.get(&release.version);
            locked.is_some_and(|locked| locked.differs_from(release).is_none())
        })
}

/// Downloads what the lock pins and the workspace does not have.
pub(super) fn fetch(
    workspace: &Path,
    fetcher: &Fetcher,
    plans: &[Plan],
    lock: &Lock,
) -> Result<()> {
    for release in releases(plans) {
        if release.source.local(release.version).is_none() {
            take(workspace, fetcher, &release, lock)?;
        }
    }
    Ok(())
}

/// The programs that each role runs, compared with the lock.
pub(super) fn programs(
    workspace: &Path,
    fetcher: &Fetcher,
    plans: &[Plan],
    lock: &Lock,
) -> Result<Programs> {
    let mut programs = Programs::new();
    let releases = releases(plans);
    let mut taken = BTreeMap::new();
    for release in &releases {
        let found = take(workspace, fetcher, release, lock)?;
        taken.extend(
            found
                .into_iter()
                .map(|(name, program)| ((release.version, name), program.into_content())),
        );
    }
    for plan in plans {
        let role = &plan.profile.role;
        let Some(kubernetes) = &plan.cluster.kubernetes else { continue };
        let version = kubernetes.version_of(role);
        let of_role = role::programs(&plan.cluster, role).into_iter().filter_map(|program| {
            let content = taken.get(&(version, program.name))?.clone();
            Some((program, content))
        });
        programs.insert(role.clone(), of_role.collect());
    }
    Ok(programs)
}

fn take(
    workspace: &Path,
    fetcher: &Fetcher,
    release: &Release<'_>,
    lock: &Lock,
) -> Result<BTreeMap<&'static str, Program>> {
    let locked = lock.kubernetes.get(&release.version);
    locked
        .context("kiln.lock does not pin them")
        .and_then(|locked| fetcher.programs(workspace, release, locked))
        .with_context(|| format!("taking the programs of Kubernetes {}", release.version))
}

/// All plans are of one cluster.
fn releases(plans: &[Plan]) -> Vec<Release<'_>> {
    let roles = plans.iter().map(|plan| plan.profile.role.as_str());
    plans.first().map_or_else(Vec::new, |plan| release::releases(&plan.cluster, roles))
}

/// Refuses packages that are too old for the Kubernetes that they run beside, and says which could
/// be better.
pub(super) fn check_companions(plans: &[Plan], lock: &Lock, progress: &Progress) -> Result<()> {
    for plan in plans {
        let role = &plan.profile.role;
        let packages = lock.packages_of(role);
        let packages = packages.map(|package| (package.name.as_str(), package.version.as_str()));
        let wishes = companions::check(&plan.cluster, role, packages)
            .map_err(|old| refuse(&old, old.help(role)))
            .with_context(|| format!("comparing the packages of role '{role}' with Kubernetes"))?;
        wishes.iter().for_each(|wish| progress.say(format!("warning: {wish}")));
    }
    Ok(())
}

/// Certificates, keys and tokens of `pki/`, read once; none if machines get theirs in another way.
pub(super) struct Secrets(Option<Material>);

impl Secrets {
    /// Reads them if this is how a cluster's machines get them.
    pub(super) fn read(workspace: &Path, cluster: &Cluster, way: Delivery) -> Result<Self> {
        let is_way = secrets::delivery(cluster) == Some(way);
        let material = is_way.then(|| sys::vault::read(workspace)).transpose();
        Ok(Self(material.context("reading the certificates and keys")?))
    }

    /// What `scope` holds, and a warning of what of it ends soon.
    pub(super) fn of(
        &self,
        cluster: &Cluster,
        scope: &Scope,
    ) -> Result<(Vec<NodeFile>, Vec<String>)> {
        let Some(material) = &self.0 else { return Ok(Default::default()) };
        let now = sys::now();
        let files = secrets::delivered(cluster, scope, material, now);
        files
            .and_then(|files| Ok((files, secrets::ending(cluster, scope, material, now)?)))
            .map_err(super::pki::refused)
    }
}
