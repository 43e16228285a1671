// SPDX-License-Identifier: Apache-2.0
//! Everything a build decides before it fetches a byte.

use serde::Serialize;

use crate::{cluster::Cluster, digest::Digest, profile::Profile};

/// One role's build, decided: enough to say what, and with the lock exactly what.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Plan {
    pub cluster: Cluster,
    pub profile: Profile,
    /// Time of everything that carries a time, seconds since 1970.
    pub epoch: u32,
    /// Digest of the cluster file, the profile with all it extends, the overlays and kiln-init.
    pub digest: Digest,
}
