// SPDX-License-Identifier: Apache-2.0
//! The programs of a Kubernetes release, by their bytes.
//!
//! ```toml
//! [kubernetes."v1.36.2".programs.kubelet]
//! size = 58110244
//! sha256 = "5c8e…"                 what a build compares
//! url = "https://dl.k8s.io/…"      where to download it; absent for what lies in the workspace
//! published = "sha512:0b7a…"       what the server said when it was locked
//! ```
//!
//! A release never changes. So what was published stays in the lock, and a server that says
//! something else later is refused.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Lock, Stale};
use crate::{
    checksum::Sum,
    digest::Digest,
    kubernetes::{
        release::{self, MAX_BUNDLE, MAX_PROGRAM, Release},
        version::Version,
    },
    plan::Plan,
    units::Bytes,
};

/// The programs of one release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LockedRelease {
    /// The downloaded archive that the programs are in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<LockedFile>,
    /// By name: `kubelet`.
    pub programs: BTreeMap<String, LockedFile>,
}

/// A program or a bundle by its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LockedFile {
    /// Bytes.
    pub size: u64,
    pub sha256: Digest,
    /// Where it was downloaded; none if it lies in the workspace or in a bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The checksum that was published beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Sum>,
}

impl LockedRelease {
    /// What is wrong with it, as a file that somebody edited.
    pub(super) fn validate(&self) -> Result<(), String> {
        if let Some(bundle) = &self.bundle {
            bundle.validate("the bundle", MAX_BUNDLE)?;
            if bundle.url.is_none() {
                return Err("the bundle has no address".to_owned());
            }
        }
        for (name, program) in &self.programs {
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-') {
                return Err(format!("'{}' is no name of a program", name.escape_debug()));
            }
            program.validate(&format!("'{name}'"), MAX_PROGRAM)?;
        }
        Ok(())
    }

    /// What of a release this pins differently, or not at all.
    pub fn differs_from(&self, release: &Release<'_>) -> Option<String> {
        let Release { version, source, programs } = release;
        let url = source.bundle_url(*version);
        if self.bundle.as_ref().and_then(|bundle| bundle.url.as_ref()) != url.as_ref() {
            return Some(elsewhere(release));
        }
        for name in programs {
            let Some(program) = self.programs.get(*name) else {
                return Some(format!("it does not pin '{name}' of Kubernetes {version}"));
            };
            if program.url != source.program_url(*version, name) {
                return Some(elsewhere(release));
            }
        }
        None
    }
}

fn elsewhere(release: &Release<'_>) -> String {
    let Release { version, source, .. } = release;
    format!("it pins the programs of Kubernetes {version} from elsewhere than '{source}'")
}

impl LockedFile {
    fn validate(&self, what: &str, limit: Bytes) -> Result<(), String> {
        if self.size > limit.get() {
            return Err(format!("size {} of {what} is above {}", self.size, limit.get()));
        }
        if self.url.is_some() != self.published.is_some() {
            return Err(format!(
                "{what} has an address without a checksum, or the other way round"
            ));
        }
        let is_address = |url: &String| {
            ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme))
                && url.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if self.url.as_ref().is_some_and(|url| !is_address(url)) {
            return Err(format!("the address of {what} is none"));
        }
        match self.published {
            Some(Sum::Sha256(published)) if published != self.sha256 => {
                Err(format!("{what} has two different SHA-256"))
            }
            _ => Ok(()),
        }
    }
}

/// Releases by their version, as the lock has them.
pub type Releases = BTreeMap<Version, LockedRelease>;

/// Whether the lock pins the programs of a role.
pub(super) fn check(lock: &Lock, plan: &Plan) -> Result<(), Stale> {
    for wanted in release::releases(&plan.cluster, [plan.profile.role.as_str()]) {
        let stale = match lock.kubernetes.get(&wanted.version) {
            Some(locked) => locked.differs_from(&wanted),
            None => Some(format!("it does not pin the programs of Kubernetes {}", wanted.version)),
        };
        if let Some(what) = stale {
            return Err(Stale::Release { what });
        }
    }
    Ok(())
}
