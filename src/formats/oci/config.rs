// SPDX-License-Identifier: Apache-2.0
//! What a container of an image runs: program, user, environment.
//!
//! Specification: OCI image-spec 1.1, `config.md`.

use std::collections::BTreeMap;

use super::Error;
use crate::tree::TreePath;

/// How a container starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub(super) entrypoint: Vec<String>,
    pub(super) arguments: Vec<String>,
    pub(super) user: (u32, u32),
    pub(super) environment: BTreeMap<String, String>,
    pub(super) folder: TreePath,
    pub(super) created: u32,
}

impl Config {
    /// Runs `program`, a path in the image, as root in `/`, with the usual PATH.
    pub fn new(program: &TreePath) -> Self {
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        Self {
            entrypoint: vec![program.to_string()],
            arguments: Vec::new(),
            user: (0, 0),
            environment: BTreeMap::from([("PATH".to_owned(), path.to_owned())]),
            folder: TreePath::root(),
            created: 0,
        }
    }

    /// When the image says it was made, in seconds since 1970.
    #[must_use]
    pub fn created(mut self, seconds: u32) -> Self {
        self.created = seconds;
        self
    }

    /// Numbers, not names: nothing in the image has to resolve them.
    #[must_use]
    pub fn user(mut self, uid: u32, gid: u32) -> Self {
        self.user = (uid, gid);
        self
    }

    #[must_use]
    pub fn folder(mut self, folder: TreePath) -> Self {
        self.folder = folder;
        self
    }

    /// Words behind the program, which whoever starts a container does not replace.
    ///
    /// # Errors
    /// A NUL, which no argument of a program can hold.
    pub fn fixed_argument(mut self, word: &str) -> Result<Self, Error> {
        self.entrypoint.push(argument(word)?);
        Ok(self)
    }

    /// Words behind those, unless whoever starts a container names others.
    ///
    /// # Errors
    /// As for [`Config::fixed_argument`].
    pub fn argument(mut self, word: &str) -> Result<Self, Error> {
        self.arguments.push(argument(word)?);
        Ok(self)
    }

    /// Sets a variable; the last value counts.
    ///
    /// # Errors
    /// An empty name, or one with '=' or NUL; a value with NUL.
    pub fn variable(mut self, name: &str, value: &str) -> Result<Self, Error> {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(Error::Variable { name: name.escape_default().to_string() });
        }
        self.environment.insert(name.to_owned(), value.to_owned());
        Ok(self)
    }
}

fn argument(word: &str) -> Result<String, Error> {
    match word.contains('\0') {
        true => Err(Error::Argument { word: word.escape_default().to_string() }),
        false => Ok(word.to_owned()),
    }
}
