// SPDX-License-Identifier: Apache-2.0
//! What a role asked for when it was locked, and how that differs from what it asks for now.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Error;
use crate::{
    digest::Digest,
    fetch::archives::{DEBIAN, SECURITY},
    plan::Plan,
    profile::Debian,
};

/// The package of GRUB for legacy firmware: the build puts it on the disk, and not into the root.
pub(crate) const GRUB: &str = "grub-pc-bin";
/// What it depends on: tools for a machine that installs GRUB itself.
pub(crate) const GRUB_TOOLS: &str = "grub-common";

/// Everything of a role that decides which packages it gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LockedRole {
    /// Digest of the fields below.
    pub request: Digest,
    pub architecture: String,
    /// `ARCHIVE SUITE COMPONENT...`
    pub suites: BTreeSet<String>,
    /// Asked for by name.
    pub install: BTreeSet<String>,
    /// Left out although something depends on them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub omit: BTreeSet<String>,
    /// Preferred providers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub prefer: BTreeMap<String, String>,
    /// Packages that come from another suite than the rest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub from: BTreeMap<String, String>,
}

/// The lock was made for something else than the profile asks for now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stale {
    #[error("role '{role}' is not in the lock")]
    Role { role: String },
    #[error("{what}")]
    Release { what: String },
    #[error("{what}")]
    Image { what: String },
    #[error("{} (locked {locked}, now {now})", .changes.join(", "))]
    Request { changes: Vec<String>, locked: String, now: String },
}

/// The suites of a profile: archive and suite, in the order in which equals win. Those that only
/// some packages come from are the last.
pub(crate) fn suites(debian: &Debian) -> Vec<(&'static str, String)> {
    let mut suites = suites_of_base(debian);
    let others: BTreeSet<&String> = debian.from.values().collect();
    for other in others {
        suites.extend(family(other, debian.updates, debian.security));
    }
    suites
}

/// The suites that every package may come from.
pub(crate) fn suites_of_base(debian: &Debian) -> Vec<(&'static str, String)> {
    family(&debian.suite, debian.updates, debian.security)
}

/// A suite with its updates. Unstable and experimental have none, and neither have suites that
/// complete others, as `bookworm-backports`.
pub(super) fn family(suite: &str, updates: bool, security: bool) -> Vec<(&'static str, String)> {
    let mut suites = vec![(DEBIAN, suite.to_owned())];
    let is_alone = ["sid", "unstable", "experimental"].contains(&suite) || suite.contains('-');
    if updates && !is_alone {
        suites.push((DEBIAN, format!("{suite}-updates")));
    }
    if security && !is_alone {
        suites.push((SECURITY, format!("{suite}-security")));
    }
    suites
}

impl LockedRole {
    /// What `plan` asks for.
    pub fn of(plan: &Plan) -> Self {
        let profile = &plan.profile;
        let mut install = profile.packages.install.clone();
        install.insert(profile.kernel.package.clone());
        let mut omit: BTreeSet<String> = profile.packages.omit.keys().cloned().collect();
        if profile.boot.bios {
            install.insert(GRUB.to_owned());
            omit.insert(GRUB_TOOLS.to_owned());
        }
        let components = profile.debian.components.join(" ");
        let suite = |(archive, suite)| format!("{archive} {suite} {components}");
        let mut role = Self {
            request: Digest::of(b""),
            architecture: profile.debian.architecture.clone(),
            suites: suites(&profile.debian).into_iter().map(suite).collect(),
            install,
            omit,
            prefer: profile.packages.prefer.clone(),
            from: profile.debian.from.clone(),
        };
        role.seal();
        role
    }

    /// Sets the digest to that of the fields.
    pub(super) fn seal(&mut self) {
        self.request = self.digest();
    }

    /// Each field as a line for each entry, so that no two requests have the same text.
    fn digest(&self) -> Digest {
        let mut text = format!("architecture {}\n", self.architecture);
        let mut add = |kind: &str, value: &str| text.push_str(&format!("{kind} {value}\n"));
        self.suites.iter().for_each(|suite| add("suite", suite));
        self.install.iter().for_each(|name| add("install", name));
        self.omit.iter().for_each(|name| add("omit", name));
        self.prefer.iter().for_each(|(name, choice)| add("prefer", &format!("{name} {choice}")));
        self.from.iter().for_each(|(name, suite)| add("from", &format!("{name} {suite}")));
        Digest::of(text.as_bytes())
    }

    pub(super) fn validate(&self, role: &str) -> Result<(), Error> {
        let found = self.digest();
        if found == self.request {
            return Ok(());
        }
        let role = role.escape_debug().to_string();
        Err(Error::Request { role, locked: self.request.short(), found: found.short() })
    }
}

pub(super) fn check(locked: Option<&LockedRole>, plan: &Plan) -> Result<(), Stale> {
    match locked {
        Some(locked) => compare(locked, &LockedRole::of(plan)),
        None => Err(Stale::Role { role: plan.profile.role.clone() }),
    }
}

pub(super) fn compare(locked: &LockedRole, now: &LockedRole) -> Result<(), Stale> {
    if now == locked {
        return Ok(());
    }
    let mut changes = Vec::new();
    if now.architecture != locked.architecture {
        changes.push(format!(
            "architecture changed from '{}' to '{}'",
            locked.architecture, now.architecture
        ));
    }
    note(&mut changes, "suite", &locked.suites, &now.suites);
    note(&mut changes, "package", &locked.install, &now.install);
    note(&mut changes, "omission of", &locked.omit, &now.omit);
    let preferences = |role: &LockedRole| {
        role.prefer.iter().map(|(name, choice)| format!("{choice} for {name}")).collect()
    };
    note(&mut changes, "preference", &preferences(locked), &preferences(now));
    let origins = |role: &LockedRole| {
        role.from.iter().map(|(name, suite)| format!("{name} from {suite}")).collect()
    };
    note(&mut changes, "origin", &origins(locked), &origins(now));
    Err(Stale::Request { changes, locked: locked.request.short(), now: now.request.short() })
}

fn note(changes: &mut Vec<String>, noun: &str, locked: &BTreeSet<String>, now: &BTreeSet<String>) {
    let mut add = |name: &str, what: &str| changes.push(format!("{noun} '{name}' was {what}"));
    now.difference(locked).for_each(|name| add(name, "added"));
    locked.difference(now).for_each(|name| add(name, "removed"));
}

#[cfg(test)]
impl LockedRole {
    pub(super) fn new<const N: usize>(
        architecture: &str,
        suites: [&str; N],
        install: &[&str],
    ) -> Self {
        let mut role = Self {
            request: Digest::of(b""),
            architecture: architecture.to_owned(),
            suites: suites.map(str::to_owned).into(),
            install: install.iter().map(|name| (*name).to_owned()).collect(),
            omit: BTreeSet::new(),
            prefer: BTreeMap::new(),
            from: BTreeMap::new(),
        };
        role.seal();
        role
    }
}
