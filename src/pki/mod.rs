// SPDX-License-Identifier: Apache-2.0
//! The cluster's certificates: who holds which, why, and for how long.
//!
//! ```text
//! Cluster -> leaves (what each role or host must hold)          pure
//!    + what lies in pki/ -> stale ones, each with its reason     pure, time is an argument
//!    + fresh keys and serials -> certificates under the same CA  pure, randomness is an argument
//!    -> files for a node: path, mode, owner, content             pure
//! ```
//!
//! Three authorities, because what one of them signs must mean nothing to the others: a client
//! certificate for etcd must not open the API, and the front proxy may claim any user. The
//! list of Kubernetes' own documentation, "PKI certificates and requirements", is the base.
//!
//! Profiles of certificates follow RFC 5280; a certificate serves or calls as its extended key
//! usage says and nothing else. Keys are ECDSA P-256, the service-account key too (ES256).
//! The signer's own nonces are the one randomness that no argument carries.

pub mod authority;
pub mod delivery;
pub mod encryption;
mod error;
mod kind;
pub mod leaves;
mod material;
pub mod read;
pub mod report;
pub mod state;
#[cfg(test)]
mod tests;
pub mod token;

pub use self::{
    error::Error,
    kind::Kind,
    material::{KeyText, Material},
};

/// Certificates begin to be valid this many seconds before they are made: clocks differ.
pub const BACKDATED: u64 = 300;

pub const DAY: u64 = 86_400;

/// The folder in the workspace.
pub const FOLDER: &str = "pki";

/// Name of the key pair that signs service-account tokens.
pub const SERVICE_ACCOUNT: &str = "service-account";

/// Who signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ca {
    /// Everything of Kubernetes: servers, components, people, and what the cluster signs itself.
    Kubernetes,
    /// Servers, peers and clients of etcd.
    Etcd,
    /// The API server calling extension API servers in the name of a user.
    FrontProxy,
}

impl Ca {
    pub const ALL: [Self; 3] = [Self::Kubernetes, Self::Etcd, Self::FrontProxy];

    /// Name of its files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes-ca",
            Self::Etcd => "etcd-ca",
            Self::FrontProxy => "front-proxy-ca",
        }
    }

    /// Its certificate's file, below [`FOLDER`].
    pub fn certificate(self) -> String {
        format!("{}.crt", self.name())
    }

    /// Its key's file, below [`FOLDER`].
    pub fn key(self) -> String {
        format!("{}.key", self.name())
    }
}

/// A date for people: `2026-09-12T07:55:41Z`.
pub fn date(seconds: u64) -> String {
    crate::lock::date::text(seconds)
}
