// SPDX-License-Identifier: Apache-2.0
//! Complaints about what people wrote, all at once, each with its place.

use std::fmt;

/// One or more complaints about configuration files, ready to print.
#[derive(Debug)]
pub struct Invalid(pub Vec<String>);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n\n"))
    }
}

impl std::error::Error for Invalid {}
