// SPDX-License-Identifier: Apache-2.0
//! The texts of certificates and keys by path. What is in a key never reaches a message: neither
//! [`Material`] nor [`KeyText`] shows its content when it is printed for debugging.

use std::{collections::BTreeMap, fmt};

/// What lies in the folder of the certificates, by path relative to it.
#[derive(Default, Clone, PartialEq, Eq)]
pub struct Material(BTreeMap<String, Vec<u8>>);

impl Material {
    pub fn insert(&mut self, path: impl Into<String>, content: impl Into<Vec<u8>>) {
        self.0.insert(path.into(), content.into());
    }

    pub fn get(&self, path: &str) -> Option<&[u8]> {
        self.0.get(path).map(Vec::as_slice)
    }

    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.paths()).finish()
    }
}

/// A private key, PKCS#8 in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyText(pub(super) String);

impl KeyText {
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText(..)")
    }
}
