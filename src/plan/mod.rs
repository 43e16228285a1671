// SPDX-License-Identifier: Apache-2.0
//! Everything a build decides before it fetches a byte.
//!
//! [`plan`] is also the check: it reads every file people wrote, renders every template with its
//! real values, and either gives plans or all complaints at once.

pub mod changes;
mod print;
mod templates;

use std::collections::BTreeSet;

use serde::Serialize;

pub use self::print::Text;
use crate::{
    cluster::{self, Cluster, Delivery},
    diagnostic::{Diagnostic, Invalid, Problems, quoted, suggest},
    digest::Digest,
    kubernetes::{
        self,
        addons::Addon,
        secrets::{self, Listed},
    },
    profile::{Profile, Profiles},
    workspace::{Overlay, Workspace},
};

/// One role's build, decided: enough to say what, and with the lock exactly what.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Plan {
    pub cluster: Cluster,
    pub profile: Profile,
    /// Certificates and keys that the role's machines hold, and by what they come.
    pub delivered: Delivered,
    /// What the role carries of the cluster's add-ons; the profile has their files.
    pub addons: Vec<Addon>,
    /// Time of everything that carries a time, seconds since 1970.
    pub epoch: u32,
    /// Digest of the cluster file, the profile with all it extends, the overlays and kiln-init.
    pub digest: Digest,
}

/// Paths alone: what is in the files is read when they are needed.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Delivered {
    /// In the image.
    pub baked: Vec<Listed>,
    /// In hosts' seeds; not each host has each.
    pub by_seed: Vec<Listed>,
}

impl Delivered {
    fn of(cluster: &Cluster, role: &str) -> Self {
        let files = secrets::of_role(cluster, role);
        match secrets::delivery(cluster) {
            Some(Delivery::Seed) => Self { baked: Vec::new(), by_seed: files },
            Some(Delivery::Baked) | None => Self { baked: files, by_seed: Vec::new() },
        }
    }
}

/// What plans depend on besides the workspace.
#[derive(Debug, Clone, Copy)]
pub struct Given {
    pub epoch: u32,
    /// Digest of the kiln-init program.
    pub init: Digest,
}

/// Plans the roles, or all that the cluster's hosts have if none is named. The result is sorted
/// by role.
///
/// # Errors
/// Everything that is wrong with any file of the workspace, as far as it touches these roles.
pub fn plan(workspace: &Workspace, roles: &[String], given: Given) -> Result<Vec<Plan>, Invalid> {
    let problems = Problems::new();
    let cluster = cluster::load(workspace, &problems);
    let profiles = Profiles::parse(workspace, &problems).choosing(cluster.as_ref());
    let mut wanted: BTreeSet<&str> = roles.iter().map(String::as_str).collect();
    for role in wanted.iter().filter(|role| !profiles.names().any(|name| name == **role)) {
        problems.add(
            Diagnostic::new(format!("there is no role {}", quoted(role)))
                .help(suggest(role, profiles.names())),
        );
    }
    if let (true, Some(cluster)) = (wanted.is_empty(), &cluster) {
        wanted = cluster.roles();
    }
    let mut plans = Vec::new();
    // A role without a profile has its complaint already.
    for role in profiles.names().filter(|name| wanted.contains(name)) {
        let Some(mut profile) = profiles.load(role, &problems) else { continue };
        let Some(cluster) = &cluster else { continue };
        kubernetes::role::extend(cluster, &mut profile);
        let addons = kubernetes::addons::extend(cluster, &mut profile, workspace, &problems);
        templates::check(cluster, &profile, workspace, &problems);
        if let (false, Err(complaint)) = (cluster.roles().contains(role), cluster.check_label(role))
        {
            problems.add(complaint.without_place());
        }
        plans.push(Plan {
            digest: digest(cluster, &profile, &workspace.overlays_of(&profile), given.init),
            delivered: Delivered::of(cluster, &profile.role),
            cluster: cluster.clone(),
            profile,
            addons,
            epoch: given.epoch,
        });
    }
    problems.finish(Some(plans))
}

/// Digest of everything that decides the image besides the packages.
fn digest(cluster: &Cluster, profile: &Profile, overlays: &[&Overlay], init: Digest) -> Digest {
    // Struct fields have a fixed order and every map is sorted, so this JSON is canonical.
    let input = (cluster, profile, overlays, init);
    let json = serde_json::to_vec(&input).expect("every key is text and every number is finite");
    Digest::of(&json)
}
