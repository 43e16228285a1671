// SPDX-License-Identifier: Apache-2.0
//! Which packages an image needs: the closure of the names asked for.
//!
//! Breadth first over `Pre-Depends` and `Depends`, so that every package is explained by a
//! shortest chain. `Recommends` are not followed. Of alternatives (Debian Policy section 7.1):
//!
//! 1. what is chosen or left out already meets the whole group;
//! 2. else the preferred package of the request, if an alternative has one;
//! 3. else the first alternative that can be met: by the package of that name, else by a
//!    package that provides it (section 7.5), ordered by priority, then name.
//!
//! There is no going back: a choice that leads into a conflict is an error that shows both
//! chains, and the request's preferences are the way out. `Conflicts` and `Breaks` are checked
//! over the whole solution; a package never conflicts with what it provides itself.

mod error;
pub mod mixed;
mod universe;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use error::{Problem, Unsolvable};
pub use universe::{Candidate, Universe, UniverseError};

use super::{
    dependency::{self, Group, Relation},
    index::Package,
};

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// Names, each with who asks: `profile 'lb'`.
    pub install: BTreeMap<String, String>,
    /// Names that count as installed although the image does without them.
    pub omit: BTreeSet<String>,
    /// For a name as it stands in a dependency, the package that shall meet it.
    pub prefer: BTreeMap<String, String>,
}

/// The packages of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Solution {
    chosen: BTreeMap<String, Chosen>,
    omitted: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Chosen {
    candidate: Candidate,
    why: Why,
}

/// Why a package is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The request names it, or a name that it provides; the text says who asks.
    Asked(String),
    /// Another package depends on it.
    Needed { by: String },
}

impl Solution {
    /// The packages, in name order.
    pub fn packages(&self) -> impl Iterator<Item = &Candidate> {
        self.chosen.values().map(|chosen| &chosen.candidate)
    }

    pub fn get(&self, name: &str) -> Option<&Candidate> {
        self.chosen.get(name).map(|chosen| &chosen.candidate)
    }

    pub fn why(&self, name: &str) -> Option<&Why> {
        self.chosen.get(name).map(|chosen| &chosen.why)
    }

    /// Names that were left out although a package needs them, with the packages that do.
    pub fn omitted(&self) -> &BTreeMap<String, BTreeSet<String>> {
        &self.omitted
    }

    /// Why a package is there: `haproxy (asked for by profile 'lb') -> libpcre2-8-0`.
    pub fn explain(&self, name: &str) -> Option<String> {
        let mut chain = Vec::new();
        let mut at = name;
        loop {
            match self.why(at)? {
                Why::Needed { by } => {
                    chain.push(at.to_owned());
                    at = by;
                }
                Why::Asked(by) => {
                    chain.push(format!("{at} (asked for by {by})"));
                    chain.reverse();
                    return Some(chain.join(" -> "));
                }
            }
        }
    }

    fn chain(&self, name: &str) -> String {
        self.explain(name).expect("only chosen packages are explained")
    }
}

/// Chooses the packages that a request needs.
///
/// # Errors
/// Names that no archive has, dependencies that cannot be met, packages that exclude each
/// other: all that were met, each with its chain.
pub fn solve(universe: &Universe, request: &Request) -> Result<Solution, Unsolvable> {
    let mut solver = Solver::new(universe, request);
    solver.check_request();
    solver.choose_asked();
    while let Some(name) = solver.queue.pop_front() {
        solver.choose_dependencies(&name);
    }
    // A conflict may be the mere effect of a problem above, so it is only worth telling alone.
    if solver.problems.is_empty() {
        solver.check_conflicts();
    }
    match solver.problems.is_empty() {
        true => Ok(solver.solution),
        false => Err(Unsolvable(solver.problems)),
    }
}

struct Solver<'a> {
    universe: &'a Universe,
    request: &'a Request,
    solution: Solution,
    /// Chosen packages whose dependencies were not looked at.
    queue: VecDeque<String>,
    problems: Vec<Problem>,
}

impl<'a> Solver<'a> {
    fn new(universe: &'a Universe, request: &'a Request) -> Self {
        let solution = Solution { chosen: BTreeMap::new(), omitted: BTreeMap::new() };
        Self { universe, request, solution, queue: VecDeque::new(), problems: Vec::new() }
    }

    /// A misspelled name in `omit` or `prefer` would have no effect without a word.
    fn check_request(&mut self) {
        let request = self.request;
        let omit = request.omit.iter().map(|name| (name, "the list of omitted packages"));
        let prefer = request.prefer.iter().flat_map(|(name, package)| {
            [name, package].map(|name| (name, "the list of preferred packages"))
        });
        for (name, place) in omit.chain(prefer) {
            if !self.universe.knows(name) {
                self.unknown(name, place.to_owned());
            }
        }
    }

    fn unknown(&mut self, name: &str, place: String) {
        let similar = self.universe.similar(name).into_iter().map(str::to_owned).collect();
        self.problems.push(Problem::Unknown { name: name.to_owned(), place, similar });
    }

    /// All names that exist come first, so that they meet every group they can; then those
    /// that are only provided.
    fn choose_asked(&mut self) {
        let (real, provided): (Vec<_>, Vec<_>) =
            self.request.install.iter().partition(|(name, _)| self.universe.get(name).is_some());
        for (name, asked_by) in real.into_iter().chain(provided) {
            if self.request.omit.contains(name) {
                let (name, asked_by) = (name.clone(), asked_by.clone());
                self.problems.push(Problem::AskedAndOmitted { name, asked_by });
                continue;
            }
            let relation = Relation { name, qualifier: None, constraint: None };
            if self.chosen_for(&relation).is_some() {
                continue;
            }
            match self.best_for(&relation) {
                Some(package) => self.choose(package, Why::Asked(asked_by.clone())),
                None => self.unknown(name, asked_by.clone()),
            }
        }
    }

    fn choose(&mut self, package: &Package, why: Why) {
        let candidate = self.universe.candidates[&package.name].clone();
        let chosen = Chosen { candidate, why };
        if self.solution.chosen.insert(package.name.clone(), chosen).is_none() {
            self.queue.push_back(package.name.clone());
        }
    }

    fn choose_dependencies(&mut self, name: &str) {
        let universe = self.universe;
        let package = &universe.candidates[name].package;
        for (field, text) in [("Pre-Depends", &package.pre_depends), ("Depends", &package.depends)]
        {
            match dependency::groups(text) {
                Ok(groups) => groups.iter().for_each(|group| self.meet(name, group)),
                Err(error) => self.malformed(name, field, error),
            }
        }
    }

    fn malformed(&mut self, package: &str, field: &'static str, error: dependency::Error) {
        self.problems.push(Problem::Malformed { package: package.to_owned(), field, error });
    }

    /// Sees to it that one alternative of a group is met.
    fn meet(&mut self, needed_by: &str, group: &Group<'_>) {
        if group.0.iter().any(|relation| self.chosen_for(relation).is_some()) {
            return;
        }
        if let Some(omitted) = group.0.iter().find_map(|relation| self.omitted_for(relation)) {
            let users = self.solution.omitted.entry(omitted.to_owned()).or_default();
            users.insert(needed_by.to_owned());
            return;
        }
        let preferred = group.0.iter().find_map(|relation| self.preferred_for(relation));
        let best = || group.0.iter().find_map(|relation| self.best_for(relation));
        match preferred.or_else(best) {
            Some(package) => self.choose(package, Why::Needed { by: needed_by.to_owned() }),
            None => self.problems.push(Problem::Unsatisfied {
                package: needed_by.to_owned(),
                chain: self.solution.chain(needed_by),
                dependency: group.to_string(),
                found: group.0.iter().map(|relation| self.found_instead(relation)).collect(),
            }),
        }
    }

    /// A chosen package that meets a relation.
    fn chosen_for(&self, relation: &Relation<'_>) -> Option<&'a Package> {
        let is_chosen = |package: &&Package| self.solution.chosen.contains_key(&package.name);
        self.universe.matching(relation).find(is_chosen)
    }

    /// An omitted name that meets a relation. Its version does not matter: it is not there.
    fn omitted_for(&self, relation: &Relation<'_>) -> Option<&'a str> {
        let omit = &self.request.omit;
        omit.get(relation.name).map(String::as_str).or_else(|| {
            let mut names = self.universe.matching(relation).map(|package| package.name.as_str());
            names.find(|name| omit.contains(*name))
        })
    }

    /// The package that the request prefers for a relation, if it meets it.
    fn preferred_for(&self, relation: &Relation<'_>) -> Option<&'a Package> {
        let preferred = self.request.prefer.get(relation.name)?;
        self.universe.matching(relation).find(|package| package.name == *preferred)
    }

    fn best_for(&self, relation: &Relation<'_>) -> Option<&'a Package> {
        self.preferred_for(relation).or_else(|| self.universe.matching(relation).next())
    }

    /// What the archives have where a relation cannot be met.
    fn found_instead(&self, relation: &Relation<'_>) -> String {
        match self.universe.get(relation.name) {
            Some(Candidate { package, archive }) => {
                format!("the newest '{}' is {} ({archive})", relation.name, package.version)
            }
            None if self.universe.knows(relation.name) => {
                format!("no package provides '{}' in such a version", relation.name)
            }
            None => format!("no archive has '{}'", relation.name),
        }
    }

    fn check_conflicts(&mut self) {
        let names: Vec<String> = self.solution.chosen.keys().cloned().collect();
        for name in &names {
            let package = &self.universe.candidates[name].package;
            for (field, verb, text) in [
                ("Conflicts", "conflicts with", &package.conflicts),
                ("Breaks", "breaks", &package.breaks),
            ] {
                match dependency::relations(text) {
                    Ok(relations) => {
                        for relation in relations {
                            self.check_conflict(name, verb, &relation);
                        }
                    }
                    Err(error) => self.malformed(name, field, error),
                }
            }
        }
    }

    fn check_conflict(&mut self, name: &str, verb: &'static str, relation: &Relation<'_>) {
        let chosen = &self.solution.chosen;
        // `any` widens a dependency; an exclusion is of any architecture to begin with.
        let qualifier = relation.qualifier.filter(|qualifier| *qualifier != "any");
        let relation = Relation { qualifier, ..relation.clone() };
        let others = self
            .universe
            .matching(&relation)
            .filter(|other| other.name != name && chosen.contains_key(&other.name));
        let problems: Vec<Problem> = others
            .map(|other| Problem::Conflict {
                package: name.to_owned(),
                other: other.name.clone(),
                left: self.solution.chain(name),
                verb,
                relation: relation.to_string(),
                right: self.solution.chain(&other.name),
            })
            .collect();
        self.problems.extend(problems);
    }
}

#[cfg(test)]
mod tests;
