// SPDX-License-Identifier: Apache-2.0
//! From what roles ask for and archives offer to a [`Lock`].

use std::collections::{BTreeMap, BTreeSet};

use super::{Lock, LockedArchive, LockedPackage, LockedRole, SCHEMA, request::family};
use crate::{
    debian::{
        index::Package,
        solve::{
            self, Candidate, Request, Solution, Universe, UniverseError, Unsolvable,
            mixed::{Failure, Mixture},
        },
    },
    digest::Digest,
};

/// What one suite of an archive offers.
#[derive(Debug, Clone)]
pub struct Suite {
    pub locked: LockedArchive,
    pub packages: Vec<Package>,
}

/// Why there is no lock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoChoice {
    #[error(transparent)]
    Universe(#[from] UniverseError),
    /// By role.
    #[error("{}", told(.0))]
    Unsolvable(BTreeMap<String, Unsolvable>),
}

/// Roles that share a base have the same problems; each is told once.
fn told(roles: &BTreeMap<String, Unsolvable>) -> String {
    let mut lines = Vec::new();
    for line in roles.values().flat_map(|unsolvable| &unsolvable.0).map(ToString::to_string) {
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.join("\n       ")
}

/// Packages that shall stay as they are: by name, the digest of the version that stays.
pub type Pins = BTreeMap<String, Digest>;

/// Chooses packages for roles that use the same suites.
///
/// Of a pinned package no other version is offered, and it stays in every role of `keep` that
/// has it, so that nothing but what is not pinned can change.
pub fn choose(
    roles: &BTreeMap<String, LockedRole>,
    suites: &[Suite],
    pins: &Pins,
    keep: &BTreeMap<String, BTreeSet<String>>,
) -> Result<Lock, NoChoice> {
    let architecture = roles.values().next().map_or("amd64", |role| &role.architecture);
    let from = roles.values().next().map_or(&NOTHING, |role| &role.from);
    let offers = Offers::new(architecture, suites, from, pins)?;
    let mut packages = BTreeMap::new();
    let mut unsolvable = BTreeMap::new();
    for (role, asked) in roles {
        match offers.solve(&request(role, asked, keep.get(role)))? {
            Ok(solution) => {
                for candidate in solution.packages() {
                    add(&mut packages, candidate, role);
                }
            }
            Err(problems) => drop(unsolvable.insert(role.clone(), problems)),
        }
    }
    if !unsolvable.is_empty() {
        return Err(NoChoice::Unsolvable(unsolvable));
    }
    let archives: BTreeSet<_> = suites.iter().map(|suite| suite.locked.clone()).collect();
    Ok(Lock {
        schema: SCHEMA,
        archives: archives.into_iter().collect(),
        roles: roles.clone(),
        kubernetes: BTreeMap::new(),
        images: BTreeMap::new(),
        packages: packages.into_values().collect(),
    })
}

static NOTHING: BTreeMap<String, String> = BTreeMap::new();

/// What the suites offer: those for every package, and those for some, by name.
struct Offers {
    base: Universe,
    others: BTreeMap<String, Universe>,
    from: BTreeMap<String, String>,
}

impl Offers {
    fn new(
        architecture: &str,
        suites: &[Suite],
        from: &BTreeMap<String, String>,
        pins: &Pins,
    ) -> Result<Self, UniverseError> {
        // Whether a suite is another one of that name, or completes it.
        let is_of = |suite: &Suite, other: &str| {
            let all = family(other, true, true);
            all.iter().any(|(archive, name)| {
                (*archive, name) == (suite.locked.archive.as_str(), &suite.locked.suite)
            })
        };
        let universe = |is_in: &dyn Fn(&Suite) -> bool| {
            let suites = suites.iter().filter(|suite| is_in(suite));
            Universe::new(architecture, suites.map(|suite| offer(suite, pins)))
        };
        let names: BTreeSet<&String> = from.values().collect();
        let base = universe(&|suite| !names.iter().any(|name| is_of(suite, name)))?;
        let mut others = BTreeMap::new();
        for name in names {
            others.insert(name.clone(), universe(&|suite| is_of(suite, name))?);
        }
        let mut from = from.clone();
        // What was pinned because something needed it stays where it was.
        for name in pins.keys().filter(|name| base.get(name).is_none()) {
            let suite = others.iter().find(|(_, other)| other.get(name).is_some());
            if let Some((suite, _)) = suite {
                from.entry(name.clone()).or_insert_with(|| suite.clone());
            }
        }
        Ok(Self { base, others, from })
    }

    fn solve(&self, request: &Request) -> Result<Result<Solution, Unsolvable>, UniverseError> {
        if self.others.is_empty() {
            return Ok(solve::solve(&self.base, request));
        }
        let mixture = Mixture::new(self.base.clone(), self.others.clone(), &self.from)?;
        match mixture.solve(request) {
            Ok(solution) => Ok(Ok(solution)),
            Err(Failure::Unsolvable(problems)) => Ok(Err(problems)),
            Err(Failure::Universe(error)) => Err(error),
        }
    }
}

/// One lock of the locks of different suites.
pub fn merge(locks: impl IntoIterator<Item = Lock>) -> Lock {
    let mut merged = Lock {
        schema: SCHEMA,
        archives: Vec::new(),
        roles: BTreeMap::new(),
        kubernetes: BTreeMap::new(),
        images: BTreeMap::new(),
        packages: Vec::new(),
    };
    let mut packages: BTreeMap<Key, LockedPackage> = BTreeMap::new();
    for lock in locks {
        merged.archives.extend(lock.archives);
        merged.roles.extend(lock.roles);
        for package in lock.packages {
            let roles = package.roles.clone();
            packages.entry(key(&package)).or_insert(package).roles.extend(roles);
        }
    }
    merged.archives.sort();
    merged.archives.dedup();
    merged.packages = packages.into_values().collect();
    merged
}

/// What tells pins apart: two archives may have the same version with other bytes.
type Key = (String, String, String, Digest);

fn key(package: &LockedPackage) -> Key {
    let LockedPackage { name, architecture, version, sha256, .. } = package;
    (name.clone(), architecture.clone(), version.clone(), *sha256)
}

fn offer(suite: &Suite, pins: &Pins) -> (String, Vec<Package>) {
    let may_stay =
        |package: &&Package| pins.get(&package.name).is_none_or(|pinned| *pinned == package.sha256);
    let packages = suite.packages.iter().filter(may_stay).cloned().collect();
    (format!("{} {}", suite.locked.archive, suite.locked.suite), packages)
}

fn request(role: &str, asked: &LockedRole, keep: Option<&BTreeSet<String>>) -> Request {
    let by = |names: &BTreeSet<String>, who: &str| -> BTreeMap<String, String> {
        names.iter().map(|name| (name.clone(), who.to_owned())).collect()
    };
    let mut install = keep.map_or_else(BTreeMap::new, |names| by(names, "the lock"));
    install.extend(by(&asked.install, &format!("profile '{role}'")));
    Request { install, omit: asked.omit.clone(), prefer: asked.prefer.clone() }
}

fn add(packages: &mut BTreeMap<Key, LockedPackage>, candidate: &Candidate, role: &str) {
    let Candidate { package, archive } = candidate;
    // The solver shows where a package is from as `ARCHIVE SUITE`.
    let archive = archive.split_once(' ').map_or(&**archive, |(archive, _)| archive);
    let locked = LockedPackage {
        name: package.name.clone(),
        architecture: package.architecture.clone(),
        version: package.version.to_string(),
        archive: archive.to_owned(),
        path: package.filename.clone(),
        size: package.size,
        sha256: package.sha256,
        roles: BTreeSet::new(),
    };
    packages.entry(key(&locked)).or_insert(locked).roles.insert(role.to_owned());
}
