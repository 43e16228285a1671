// SPDX-License-Identifier: Apache-2.0
//! Making and repairing a lock with what the archives have now.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};

use super::{Fetched, Fetcher, parallel};
use crate::{
    debian::{
        deb,
        index::{self, Package},
    },
    error::refuse,
    lock::{
        Lock, LockedArchive, LockedPackage, LockedRole,
        choose::{self, NoChoice, Pins, Suite},
        suites,
    },
    plan::Plan,
    profile::Debian,
};

/// The roles that use the same suites.
struct Group<'a> {
    debian: &'a Debian,
    roles: BTreeMap<String, LockedRole>,
}

fn groups(plans: &[Plan]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for plan in plans {
        let debian = &plan.profile.debian;
        let role = (plan.profile.role.clone(), LockedRole::of(plan));
        match groups.iter_mut().find(|group| group.debian == debian) {
            Some(group) => group.roles.extend([role]),
            None => groups.push(Group { debian, roles: BTreeMap::from([role]) }),
        }
    }
    groups
}

impl Fetcher {
    /// The newest packages for all roles together. `old` guards against archives that go back.
    pub fn lock(&self, plans: &[Plan], old: Option<&Lock>) -> Result<Lock> {
        let mut locks = Vec::new();
        for group in groups(plans) {
            let suites = self.suites(group.debian, old)?;
            locks.push(choose(&group, &suites, &Pins::new(), &BTreeMap::new())?);
        }
        Ok(choose::merge(locks))
    }

    /// The lock with new pins for exactly those packages that have left the archives, and for
    /// what these need; none if nothing left.
    pub fn repair(&self, plans: &[Plan], old: &Lock) -> Result<Option<Lock>> {
        // What is in the cache builds as locked; only when something is gone must everything
        // be in the archives, because then the lock moves on to their present state.
        if self.gone(old, true)?.is_empty() {
            return Ok(None);
        }
        let gone = self.gone(old, false)?;
        let mut locks = Vec::new();
        for group in groups(plans) {
            let mut suites = self.suites(group.debian, Some(old))?;
            let kept: Vec<&LockedPackage> = old
                .packages
                .iter()
                .filter(|package| group.roles.keys().any(|role| package.roles.contains(role)))
                .filter(|package| !gone.contains(package))
                .collect();
            let superseded = self.superseded(old, &kept, &mut suites)?;
            locks.push(choose_around(&group, &suites, &kept, &gone, &superseded)?);
        }
        Ok(Some(choose::merge(locks)))
    }

    fn gone<'a>(&self, lock: &'a Lock, trust_cache: bool) -> Result<BTreeSet<&'a LockedPackage>> {
        let available = parallel(self.jobs, &lock.packages, |package, _| {
            self.is_available(package, trust_cache)
                .with_context(|| format!("looking for '{}'", package.file_name()))
        })?;
        let gone = lock.packages.iter().zip(available).filter(|(_, available)| !available);
        Ok(gone.map(|(package, _)| package).collect())
    }

    fn suites(&self, debian: &Debian, old: Option<&Lock>) -> Result<Vec<Suite>> {
        suites(debian)
            .into_iter()
            .map(|(archive, suite)| {
                let found =
                    self.suite(archive, &suite, &debian.components, &debian.architecture)?;
                let locked = old.map_or(&[][..], |lock| &lock.archives);
                refuse_going_back(&found.locked, locked)?;
                Ok(found)
            })
            .collect()
    }

    /// Kept packages that the indexes have replaced: what they need only their files tell.
    /// They join the last suite of their archive: there they are older than what a suite for some
    /// packages offers, and the base keeps what it has.
    fn superseded(
        &self,
        lock: &Lock,
        kept: &[&LockedPackage],
        suites: &mut [Suite],
    ) -> Result<BTreeSet<String>> {
        let mut superseded = BTreeSet::new();
        for package in kept {
            let same = |offered: &Package| offered.sha256 == package.sha256;
            if suites.iter().any(|suite| suite.packages.iter().any(same)) {
                continue;
            }
            let described = describe(&self.single(lock, package)?)
                .with_context(|| format!("reading '{}'", package.file_name()))?;
            let mut last = suites.iter_mut().rev();
            let suite = last.find(|suite| suite.locked.archive == package.archive);
            let suite = suite.with_context(|| format!("no suite of '{}'", package.archive))?;
            suite.packages.push(described);
            superseded.insert(package.name.clone());
        }
        Ok(superseded)
    }
}

/// A package as an index would describe it.
fn describe(package: &Fetched) -> Result<Package> {
    let control = deb::control(package.open()?)?;
    let LockedPackage { path, size, sha256, architecture, .. } = package.locked();
    let stanza =
        format!("{}\nFilename: {path}\nSize: {size}\nSHA256: {sha256}\n", control.trim_end());
    let architecture = if architecture == "all" { "amd64" } else { architecture };
    let found = index::parse(stanza.as_bytes(), architecture)?;
    found.into_iter().next().context("its control file is empty")
}

fn choose(
    group: &Group<'_>,
    suites: &[Suite],
    pins: &Pins,
    keep: &BTreeMap<String, BTreeSet<String>>,
) -> Result<Lock, anyhow::Error> {
    choose::choose(&group.roles, suites, pins, keep).context("choosing packages")
}

/// Keeps every pin if that has a solution. If not, kept packages of the same source as what is
/// gone move with it, since such packages often want each other's very version; and at last
/// all that the archives have replaced.
fn choose_around(
    group: &Group<'_>,
    suites: &[Suite],
    kept: &[&LockedPackage],
    gone: &BTreeSet<&LockedPackage>,
    superseded: &BTreeSet<String>,
) -> Result<Lock> {
    let folder = |package: &LockedPackage| {
        package.path.rsplit_once('/').map(|(folder, _)| folder.to_owned())
    };
    let moved: BTreeSet<_> = gone.iter().map(|package| folder(package)).collect();
    let steps: [&dyn Fn(&LockedPackage) -> bool; 3] = [
        &|_| true,
        &|package| !superseded.contains(&package.name) || !moved.contains(&folder(package)),
        &|package| !superseded.contains(&package.name),
    ];
    let mut first_error = None;
    for stays in steps {
        let kept: Vec<_> = kept.iter().copied().filter(|package| stays(package)).collect();
        let pins = kept.iter().map(|package| (package.name.clone(), package.sha256)).collect();
        let names = |role: &String| {
            let of_role = kept.iter().filter(|package| package.roles.contains(role));
            (role.clone(), of_role.map(|package| package.name.clone()).collect())
        };
        let keep = group.roles.keys().map(names).collect();
        match choose::choose(&group.roles, suites, &pins, &keep) {
            Ok(lock) => return Ok(lock),
            Err(error @ NoChoice::Universe(_)) => return Err(error).context("choosing packages"),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    let error = first_error.expect("each step without a lock has an error");
    Err(error)
        .context("choosing packages")
        .map_err(|error| error.context("re-pinning what has left the archive"))
}

/// A mirror that is behind, or an attacker, could offer an old state with known holes.
fn refuse_going_back(found: &LockedArchive, locked: &[LockedArchive]) -> Result<()> {
    let same = |old: &&LockedArchive| (&old.archive, &old.suite) == (&found.archive, &found.suite);
    match locked.iter().find(same) {
        Some(old) if found.date < old.date => Err(refuse(
            format!(
                "suite '{}' is of {}, which is before the locked {}",
                found.suite,
                found.date_text(),
                old.date_text()
            ),
            "name a mirror that is up to date with --mirror URL; to go back on purpose, remove kiln.lock first",
        )),
        _ => Ok(()),
    }
}
