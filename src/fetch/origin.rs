// SPDX-License-Identifier: Apache-2.0
//! What is read from an address, for what can be done if that fails.

use std::time::Duration;

use anyhow::Error;
use ureq::http::StatusCode;

use crate::error::refuse;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// A Debian archive: signed, so that any way to it will do.
    Archive,
    /// A release of Kubernetes: its checksums come the same way, so that way must stay safe.
    Release,
    /// A registry of images: what a tag names is believed, so that way must stay safe too.
    Registry,
}

impl Origin {
    /// The next step if an address does not answer well.
    pub(super) const fn check(self) -> &'static str {
        match self {
            Self::Archive => "check the mirror's address and the proxy settings",
            Self::Release => "check the address under 'kubernetes.binaries' and the proxy settings",
            Self::Registry => "check the reference in addon.yaml and the proxy settings",
        }
    }

    /// The next step if nobody answers.
    pub(super) const fn out_of_reach(self) -> &'static str {
        match self {
            Self::Archive => "check the network, the proxy settings, and the mirror's address",
            Self::Release => {
                "check the network, the proxy settings, and the address under 'kubernetes.binaries'"
            }
            Self::Registry => {
                "check the network, the proxy settings, and the host of the reference in addon.yaml"
            }
        }
    }

    /// The next step if the bytes are not those that were expected.
    pub(super) const fn retry(self) -> &'static str {
        match self {
            Self::Archive => "nothing was kept; retry, or name another mirror with --mirror URL",
            Self::Release => {
                "nothing was kept; retry, or name another source under 'kubernetes.binaries'"
            }
            Self::Registry => "nothing was kept; retry, or bring the image as an archive",
        }
    }

    /// Whether an address with https may lead to no other without.
    pub(super) fn keeps_https(self) -> bool {
        self != Self::Archive
    }

    /// For all of a document that is read into memory; a slow mirror may take its time.
    pub(super) fn patience(self) -> Option<Duration> {
        (self == Self::Registry).then_some(Duration::from_secs(120))
    }

    /// An answer that is final and not good.
    pub(super) fn refused(self, url: &str, status: StatusCode) -> Error {
        let fact = format!("'{url}' answers {status}");
        match (self, status) {
            (Self::Registry, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                refuse(format!("{fact} to somebody without a password"), PRIVATE)
            }
            _ => refuse(fact, self.check()),
        }
    }
}

/// The next step if a registry wants to know who asks.
pub(super) const PRIVATE: &str = "check the reference: registries also say so of what they do not \
     have. Kiln holds no passwords: copy a private image with skopeo, and bring it as an archive";
