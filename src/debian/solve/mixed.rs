// SPDX-License-Identifier: Apache-2.0
//! Some packages from another suite, the rest from the base.
//!
//! What a request takes from another suite often needs newer libraries than the base has. They come
//! from there too, one after another, and only when the base has no solution: to meet a dependency,
//! or because a package of the base does not go together with one that came. So the base is
//! preferred wherever it will do, as apt does for `apt install PACKAGE/SUITE`.

use std::collections::{BTreeMap, BTreeSet};

use super::{Candidate, Problem, Request, Solution, Universe, UniverseError, Unsolvable, solve};
use crate::debian::dependency::{self, Relation};

/// A base with other suites beside it.
#[derive(Debug)]
pub struct Mixture {
    universe: Universe,
    /// By suite.
    others: BTreeMap<String, Universe>,
    /// Names whose candidate is another suite's, by the request or by need.
    moved: BTreeSet<String>,
    missing: Vec<Problem>,
}

impl Mixture {
    /// `from` says of packages by name the suite that they come from.
    ///
    /// # Errors
    /// A `Provides` field is malformed.
    pub fn new(
        base: Universe,
        others: BTreeMap<String, Universe>,
        from: &BTreeMap<String, String>,
    ) -> Result<Self, UniverseError> {
        let mut mixture =
            Self { universe: base, others, moved: BTreeSet::new(), missing: Vec::new() };
        for (name, suite) in from {
            let other = mixture.others.get(suite);
            match other.and_then(|other| other.get(name)).cloned() {
                Some(candidate) => mixture.take(candidate)?,
                None => {
                    let similar = other.map_or_else(Vec::new, |other| other.similar(name));
                    let similar = similar.into_iter().map(str::to_owned).collect();
                    let place = format!("'debian.from' (suite '{suite}')");
                    let name = name.clone();
                    mixture.missing.push(Problem::Unknown { name, place, similar });
                }
            }
        }
        Ok(mixture)
    }

    /// Chooses the packages that a request needs.
    ///
    /// # Errors
    /// As [`solve`]; the problems are those that no other suite solves.
    pub fn solve(mut self, request: &Request) -> Result<Solution, Failure> {
        if !self.missing.is_empty() {
            return Err(Failure::Unsolvable(Unsolvable(self.missing)));
        }
        loop {
            let problems = match solve(&self.universe, request) {
                Ok(solution) => return Ok(solution),
                Err(problems) => problems,
            };
            // One at a time: the next problem may be gone with this one.
            let way_out = problems.0.iter().find_map(|problem| self.way_out(problem)).cloned();
            match way_out {
                Some(candidate) => self.take(candidate)?,
                None => return Err(Failure::Unsolvable(problems)),
            }
        }
    }

    fn take(&mut self, candidate: Candidate) -> Result<(), UniverseError> {
        self.moved.insert(candidate.package.name.clone());
        self.universe.replace(candidate)
    }

    /// A candidate of another suite without which this problem stays.
    fn way_out(&self, problem: &Problem) -> Option<&Candidate> {
        match problem {
            Problem::Unsatisfied { package, dependency, .. } => {
                let groups = dependency::groups(dependency).ok()?;
                let relations = groups.iter().flat_map(|group| &group.0);
                let met = relations.into_iter().find_map(|relation| self.meeting(relation));
                met.or_else(|| self.other_version(package, None))
            }
            Problem::Conflict { package, relation, other, .. } => {
                let relations = dependency::relations(relation).ok()?;
                let avoided = relations.first();
                self.other_version(other, avoided).or_else(|| self.other_version(package, None))
            }
            Problem::Unknown { .. }
            | Problem::AskedAndOmitted { .. }
            | Problem::Malformed { .. } => None,
        }
    }

    fn meeting(&self, relation: &Relation<'_>) -> Option<&Candidate> {
        self.others.values().find_map(|other| {
            let names = other.matching(relation).map(|package| &package.name);
            names.filter(|name| !self.moved.contains(*name)).find_map(|name| other.get(name))
        })
    }

    /// Another version of a package than the present one, which does not meet `avoided`.
    fn other_version(&self, name: &str, avoided: Option<&Relation<'_>>) -> Option<&Candidate> {
        if self.moved.contains(name) {
            return None;
        }
        let present = self.universe.get(name).map(|candidate| &candidate.package.version);
        let mut candidates = self.others.values().filter_map(|other| other.get(name));
        candidates.find(|candidate| {
            let version = &candidate.package.version;
            let hit =
                avoided.is_some_and(|relation| relation.name == name && relation.admits(version));
            present != Some(version) && !hit
        })
    }
}

/// Why there is no solution.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Universe(#[from] UniverseError),
    #[error(transparent)]
    Unsolvable(Unsolvable),
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{packages, request},
        *,
    };

    /// The solution of `aa` from suite `next`, as `NAME VERSION`.
    fn solved(
        base: &str,
        next: &str,
        from: &[&str],
        asked: &[&str],
    ) -> Result<Vec<String>, String> {
        let universe = |archive: &str, stanzas: &str| {
            Universe::new("amd64", [(format!("debian {archive}"), packages(stanzas))]).unwrap()
        };
        let others = BTreeMap::from([("next".to_owned(), universe("next", next))]);
        let from = from.iter().map(|name| ((*name).to_owned(), "next".to_owned())).collect();
        let mixture = Mixture::new(universe("base", base), others, &from).unwrap();
        let solution = mixture.solve(&request(asked)).map_err(|error| error.to_string())?;
        let show = |candidate: &Candidate| {
            format!("{} {}", candidate.package.name, candidate.package.version)
        };
        Ok(solution.packages().map(show).collect())
    }

    #[test]
    fn the_base_is_preferred_wherever_it_will_do() {
        let base = "Package: aa\nDepends: bb, cc\n\nPackage: bb\nVersion: 1\n\n\
                    Package: cc\nVersion: 1\n\nPackage: dd\nDepends: bb";
        let next = "Package: aa\nVersion: 2\nDepends: bb (>= 1), cc (>= 2)\n\n\
                    Package: bb\nVersion: 2\n\nPackage: cc\nVersion: 2\n\nPackage: dd\nVersion: 2";
        let found = solved(base, next, &["aa"], &["aa", "dd"]);
        assert_eq!(found, Ok(["aa 2", "bb 1", "cc 2", "dd 1"].map(str::to_owned).to_vec()));
        // What is taken from nowhere else is as it was, even if it is newer there.
        let found = solved(base, next, &[], &["aa"]);
        assert_eq!(found, Ok(["aa 1", "bb 1", "cc 1"].map(str::to_owned).to_vec()));
    }

    #[test]
    fn what_does_not_go_together_with_what_came_comes_too() {
        // A library that came, a sister that wants its very version, a package that it breaks.
        let base = "Package: aa\n\nPackage: lib\nVersion: 1\n\n\
                    Package: lib-bin\nVersion: 1\nDepends: lib (>= 1), lib (<< 2)\n\n\
                    Package: old\nVersion: 1\n\nPackage: user\nDepends: lib, lib-bin, old";
        let next = "Package: aa\nVersion: 2\nDepends: lib (>= 2)\n\n\
                    Package: lib\nVersion: 2\nBreaks: old (<< 2)\n\n\
                    Package: lib-bin\nVersion: 2\nDepends: lib (= 2)\n\nPackage: old\nVersion: 2";
        let found = solved(base, next, &["aa"], &["aa", "user"]);
        let expected = ["aa 2", "lib 2", "lib-bin 2", "old 2", "user 1"];
        assert_eq!(found, Ok(expected.map(str::to_owned).to_vec()));
    }

    #[test]
    fn names_that_only_the_other_suite_has_come_by_need() {
        let base = "Package: aa\n\nPackage: zlib\n";
        let next = "Package: aa\nVersion: 2\nDepends: libnew | zlib (>= 3), virtual\n\n\
                    Package: libnew\n\nPackage: real\nProvides: virtual";
        let found = solved(base, next, &["aa"], &["aa"]);
        assert_eq!(found, Ok(["aa 2", "libnew 1", "real 1"].map(str::to_owned).to_vec()));
        // Asked for by name, it must be said where it comes from.
        assert_eq!(
            solved(base, next, &["aa"], &["libnew"]),
            Err("profile 'lb' names package 'libnew', which no archive has".to_owned())
        );
    }

    #[test]
    fn what_no_suite_solves_is_told() {
        let base = "Package: aa\n";
        for (next, message) in [
            (
                "Package: aa\nVersion: 2\nDepends: bb (>= 2)\n\nPackage: bb\n",
                "aa (asked for by profile 'lb') depends on 'bb (>= 2)': no archive has 'bb'",
            ),
            (
                "Package: ab\n",
                "'debian.from' (suite 'next') names package 'aa', which no archive has; similar: 'ab'",
            ),
        ] {
            assert_eq!(solved(base, next, &["aa"], &["aa"]), Err(message.to_owned()));
        }
    }
}
