// SPDX-License-Identifier: Apache-2.0
//! What a delivered file is, and so whether it is a secret.

use serde::Serialize;

/// As manifests and plans spell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Certificate,
    PublicKey,
    /// Key of an authority: whoever has it is anybody.
    AuthorityKey,
    /// Key of one certificate.
    PrivateKey,
    /// Signs tokens of service accounts.
    ServiceAccountKey,
    /// With it a machine may ask to become a node.
    BootstrapToken,
    /// Reads secrets out of etcd's data.
    EncryptionKey,
}

impl Kind {
    pub fn is_secret(self) -> bool {
        !matches!(self, Self::Certificate | Self::PublicKey)
    }
}
