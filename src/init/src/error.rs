// SPDX-License-Identifier: Apache-2.0
//! Why a step stopped, as one line: the task and the fact.

use std::fmt::{self, Display};

/// The end of first boot, or of one of its services.
#[derive(Debug)]
pub(crate) struct Stop(String);

pub(crate) type Result<T> = std::result::Result<T, Stop>;

impl Stop {
    pub(crate) fn new(fact: impl Display) -> Self {
        Self(fact.to_string())
    }
}

impl Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Says what was being done, as a gerund.
pub(crate) trait While<T> {
    fn during(self, task: impl Display) -> Result<T>;
    /// For errors that say everything themselves.
    fn or_stop(self) -> Result<T>;
}

impl<T, E: Display> While<T> for std::result::Result<T, E> {
    fn during(self, task: impl Display) -> Result<T> {
        self.map_err(|error| Stop(format!("{task}: {error}")))
    }

    fn or_stop(self) -> Result<T> {
        self.map_err(Stop::new)
    }
}
