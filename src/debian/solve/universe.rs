// SPDX-License-Identifier: Apache-2.0
//! Everything that could be installed: the newest version of each package of all archives.

use std::{collections::BTreeMap, sync::Arc};

use crate::debian::{
    dependency::{self, Constraint, Operator, Relation},
    index::{MultiArch, Package},
    version::Version,
};

/// The packages to choose from.
#[derive(Debug, Clone)]
pub struct Universe {
    architecture: String,
    /// By name.
    pub(super) candidates: BTreeMap<String, Candidate>,
    /// Names of candidates that provide a name, best first.
    providers: BTreeMap<String, Vec<Provider>>,
}

/// A package and the archive that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub package: Package,
    pub archive: Arc<str>,
}

/// One entry of a `Provides` field.
#[derive(Debug, Clone)]
struct Provider {
    package: String,
    /// Only a version given here can meet a relation with a version.
    version: Option<Version>,
}

/// A `Provides` field of an archive is malformed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field 'Provides' of package '{package}' ({archive}): {error}")]
pub struct UniverseError {
    package: String,
    archive: String,
    error: dependency::Error,
}

impl Universe {
    /// Packages for one architecture from several archives. Of one name the newest version
    /// counts; of equal versions the one that comes first.
    ///
    /// # Errors
    /// A `Provides` field is malformed.
    pub fn new(
        architecture: &str,
        archives: impl IntoIterator<Item = (String, Vec<Package>)>,
    ) -> Result<Self, UniverseError> {
        let mut candidates: BTreeMap<String, Candidate> = BTreeMap::new();
        for (archive, packages) in archives {
            let archive: Arc<str> = archive.into();
            for package in packages {
                let newest = candidates
                    .get(&package.name)
                    .is_none_or(|other| package.version > other.package.version);
                if newest {
                    let name = package.name.clone();
                    candidates.insert(name, Candidate { package, archive: Arc::clone(&archive) });
                }
            }
        }
        let mut universe = Self {
            architecture: architecture.to_owned(),
            candidates: BTreeMap::new(),
            providers: BTreeMap::new(),
        };
        for candidate in candidates.values() {
            universe.add_provides(candidate)?;
        }
        universe.candidates = candidates;
        let names: Vec<String> = universe.providers.keys().cloned().collect();
        names.iter().for_each(|name| universe.sort_providers(name));
        Ok(universe)
    }

    /// Lets a package of another archive be the one of its name.
    pub(super) fn replace(&mut self, candidate: Candidate) -> Result<(), UniverseError> {
        let name = candidate.package.name.clone();
        for list in self.providers.values_mut() {
            list.retain(|provider| provider.package != name);
        }
        self.providers.retain(|_, list| !list.is_empty());
        let provided = self.add_provides(&candidate)?;
        self.candidates.insert(name, candidate);
        provided.iter().for_each(|name| self.sort_providers(name));
        Ok(())
    }

    /// The names that a candidate provides, which now know it.
    fn add_provides(&mut self, candidate: &Candidate) -> Result<Vec<String>, UniverseError> {
        let Candidate { package, archive } = candidate;
        let provides = dependency::relations(&package.provides).map_err(|error| UniverseError {
            package: package.name.clone(),
            archive: archive.to_string(),
            error,
        })?;
        let mut names = Vec::new();
        for relation in provides {
            let version = provided_version(&relation);
            let provider = Provider { package: package.name.clone(), version };
            self.providers.entry(relation.name.to_owned()).or_default().push(provider);
            names.push(relation.name.to_owned());
        }
        Ok(names)
    }

    fn sort_providers(&mut self, name: &str) {
        let candidates = &self.candidates;
        if let Some(list) = self.providers.get_mut(name) {
            list.sort_by_cached_key(|provider| {
                (candidates[&provider.package].package.priority, provider.package.clone())
            });
        }
    }

    /// The newest package of a name.
    pub fn get(&self, name: &str) -> Option<&Candidate> {
        self.candidates.get(name)
    }

    /// Whether a package has this name or provides it.
    pub fn knows(&self, name: &str) -> bool {
        self.candidates.contains_key(name) || self.providers.contains_key(name)
    }

    /// The packages that meet a relation: the one of that name, then those that provide it by
    /// priority and name.
    pub(super) fn matching<'u>(
        &'u self,
        relation: &Relation<'_>,
    ) -> impl Iterator<Item = &'u Package> {
        let real = self.candidates.get(relation.name).map(|candidate| &candidate.package);
        let real = real.filter(|package| relation.admits(&package.version));
        let providers = self.providers.get(relation.name).into_iter().flatten();
        let virtuals =
            providers.filter(|provider| match (&relation.constraint, &provider.version) {
                (None, _) => true,
                (Some(constraint), Some(version)) => constraint.admits(version),
                (Some(_), None) => false,
            });
        let virtuals = virtuals
            .map(|provider| &self.candidates[&provider.package].package)
            .filter(move |package| package.name != relation.name);
        real.into_iter().chain(virtuals).filter(|package| self.serves(package, relation.qualifier))
    }

    /// Whether a package counts for a relation's architecture qualifier. All packages are of
    /// this architecture or of none, which counts as this one.
    fn serves(&self, package: &Package, qualifier: Option<&str>) -> bool {
        match qualifier {
            None => true,
            Some("any") => package.multi_arch == MultiArch::Allowed,
            Some(architecture) => architecture == self.architecture,
        }
    }

    /// Names that look like `name`, best first, for messages.
    pub fn similar(&self, name: &str) -> Vec<&str> {
        let mut names: Vec<(usize, &str)> = self
            .candidates
            .keys()
            .map(|known| (distance(known, name), known.as_str()))
            .filter(|(distance, _)| *distance <= 2)
            .collect();
        names.sort_unstable();
        names.into_iter().take(3).map(|(_, name)| name).collect()
    }
}

/// The version that a `Provides` entry states; only `=` states one.
fn provided_version(relation: &Relation<'_>) -> Option<Version> {
    match &relation.constraint {
        Some(Constraint { operator: Operator::Equal, version }) => Some(version.clone()),
        _ => None,
    }
}

/// Letters to insert, remove or change to get from one name to the other (Levenshtein);
/// `usize::MAX` if the lengths alone make it more than 2.
fn distance(left: &str, right: &str) -> usize {
    if left.len().abs_diff(right.len()) > 2 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.bytes().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}
