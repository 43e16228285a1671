// SPDX-License-Identifier: Apache-2.0
//! Why a request has no solution, in words that name both sides.

use std::fmt;

use crate::debian::dependency;

/// Everything that stands in the way, in the order in which it was met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsolvable(pub Vec<Problem>);

/// One thing that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A name of the request that no archive knows.
    #[error("{place} names package '{name}', which no archive has{}", did_you_mean(.similar))]
    Unknown { name: String, place: String, similar: Vec<String> },
    #[error("package '{name}' is asked for by {asked_by}, and left out")]
    AskedAndOmitted { name: String, asked_by: String },
    #[error("{chain} depends on '{dependency}': {}", .found.join("; "))]
    Unsatisfied {
        package: String,
        /// Who wants it, from the request on.
        chain: String,
        /// The alternatives as they are written.
        dependency: String,
        /// For each alternative, what the archives have instead.
        found: Vec<String>,
    },
    #[error("{left} {verb} '{relation}', which is met by {right}")]
    Conflict {
        package: String,
        other: String,
        /// Who wants them, each from the request on.
        left: String,
        verb: &'static str,
        relation: String,
        right: String,
    },
    #[error("field '{field}' of package '{package}': {error}")]
    Malformed { package: String, field: &'static str, error: dependency::Error },
}

fn did_you_mean(similar: &[String]) -> String {
    match similar {
        [] => String::new(),
        names => format!("; similar: '{}'", names.join("', '")),
    }
}

impl fmt::Display for Unsolvable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n       ")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Unsolvable {}
