// SPDX-License-Identifier: Apache-2.0
//! What images carry of Kubernetes beyond packages: programs that the lock pins, and secrets.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result};

use crate::{
    cluster::{Cluster, Delivery},
    error::refuse,
    kubernetes::{
        role::{self, Program},
        secrets,
    },
    lock::{Lock, LockedKubernetes, LockedProgram},
    pki::{Material, delivery::NodeFile, leaves::Scope},
    plan::Plan,
    seed, sys,
    tree::Content,
};

/// The programs as they are now, for the lock; none if the cluster runs no Kubernetes.
pub(super) fn pin(workspace: &Path, plans: &[Plan]) -> Result<Option<LockedKubernetes>> {
    let Some(kubernetes) = plans.iter().find_map(|plan| plan.cluster.kubernetes.as_ref()) else {
        return Ok(None);
    };
    let folder = workspace.join(&kubernetes.binaries);
    let mut programs = BTreeMap::new();
    let all = plans.iter().flat_map(|plan| role::programs(&plan.cluster, &plan.profile.role));
    for name in all.map(|program| program.name) {
        let path = folder.join(name);
        if !sys::fs::exists(&path) {
            return Err(refuse(
                format!("there is no '{}'", path.display()),
                "run 'make kubernetes', or name the folder of the server programs under \
                 'kubernetes.binaries' of cluster.yaml",
            ))
            .with_context(|| format!("pinning Kubernetes {}", kubernetes.version));
        }
        let (size, sha256) = sys::fs::digest(&path)?;
        programs.insert(name.to_owned(), LockedProgram { size, sha256 });
    }
    Ok(Some(LockedKubernetes { version: kubernetes.version.to_string(), programs }))
}

/// The programs that a role runs, compared with the lock.
pub(super) fn programs(
    workspace: &Path,
    plan: &Plan,
    lock: &Lock,
) -> Result<Vec<(Program, Content)>> {
    let Some(kubernetes) = &plan.cluster.kubernetes else { return Ok(Vec::new()) };
    let task = || format!("taking the programs of Kubernetes {}", kubernetes.version);
    let stale = |what: String| refuse(what, "run 'kiln lock' and commit the new lock");
    let version = kubernetes.version.to_string();
    let locked = lock.kubernetes.as_ref().filter(|locked| locked.version == version);
    let locked =
        locked.ok_or_else(|| stale("kiln.lock does not pin them".to_owned())).with_context(task)?;
    let folder = workspace.join(&kubernetes.binaries);
    let take = |program: Program| {
        let name = program.name;
        let pin = locked.programs.get(name);
        let pin = pin.ok_or_else(|| stale(format!("kiln.lock does not pin '{name}'")))?;
        Ok((program, sys::fs::pinned(&folder.join(name), &pin.sha256)?))
    };
    let programs = role::programs(&plan.cluster, &plan.profile.role).into_iter().map(take);
    programs.collect::<Result<_>>().with_context(task)
}

/// Certificates, keys and tokens that a role's image carries, and a warning of those that
/// end soon.
pub(super) fn baked(workspace: &Path, plan: &Plan) -> Result<(Vec<NodeFile>, Vec<String>)> {
    let cluster = &plan.cluster;
    if secrets::delivery(cluster) != Some(Delivery::Baked) {
        return Ok((Vec::new(), Vec::new()));
    }
    let scope = Scope::Role(plan.profile.role.clone());
    take(cluster, &scope, &sys::vault::read(workspace)?)
        .with_context(|| format!("taking the certificates and keys of {scope}"))
}

/// The same for the seed of a host; nothing if its image carries them.
pub(super) fn seeded(
    workspace: &Path,
    cluster: &Cluster,
    host: &str,
) -> Result<(Vec<NodeFile>, Vec<String>)> {
    if !seed::are_secrets(cluster) {
        return Ok((Vec::new(), Vec::new()));
    }
    take(cluster, &Scope::Host(host.to_owned()), &sys::vault::read(workspace)?)
}

fn take(
    cluster: &Cluster,
    scope: &Scope,
    material: &Material,
) -> Result<(Vec<NodeFile>, Vec<String>)> {
    let now = sys::now();
    let files = secrets::files(cluster, scope, material, now);
    files
        .and_then(|files| Ok((files, secrets::ending(cluster, scope, material, now)?)))
        .map_err(super::pki::refused)
}
