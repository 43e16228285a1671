// SPDX-License-Identifier: Apache-2.0
//! `kiln.lock`: every input of a build by name, version, place, size and SHA-256.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// A lock file's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Lock {
    pub schema: u32,
    /// The archives that the packages were chosen from.
    pub archives: Vec<LockedArchive>,
    /// By role.
    pub roles: BTreeMap<String, LockedRole>,
    /// Sorted by name, then architecture.
    pub packages: Vec<LockedPackage>,
}

/// One signed suite at the time of locking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LockedArchive {
    /// `debian` or `debian-security`: which base address serves it.
    pub archive: String,
    pub suite: String,
    /// `Date` of the Release file, seconds since 1970; also the snapshot to fall back to.
    pub date: u64,
    /// SHA-256 of the verified Release text.
    pub release: Digest,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LockedRole {
    /// Digest of everything that asked for packages: names, omissions, preferences, suites.
    pub request: Digest,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LockedPackage {
    pub name: String,
    pub version: String,
    pub architecture: String,
    /// `debian` or `debian-security`.
    pub archive: String,
    /// Path below the archive's base address: `pool/main/b/bash/bash_5.2_amd64.deb`.
    pub path: String,
    /// Bytes.
    pub size: u64,
    pub sha256: Digest,
    /// Roles whose image holds it.
    pub roles: BTreeSet<String>,
}
