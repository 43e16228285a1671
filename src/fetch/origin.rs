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
    /// A place for releases, which people named on the command line.
    Published,
}

impl Origin {
    /// The next step if an address does not answer well.
    pub(super) const fn check(self) -> &'static str {
        match self {
            Self::Archive => "check the mirror's address and the proxy settings",
            Self::Release => "check the address under 'kubernetes.binaries' and the proxy settings",
            Self::Registry => "check the reference in addon.yaml and the proxy settings",
            Self::Published => "check the target, its credentials and the proxy settings",
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
            Self::Published => {
                "check the network, the proxy settings and the target; what is there already stays, \
                 and the next run goes on from it"
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
            Self::Published => "nothing was kept; retry, or publish the release again",
        }
    }

    /// Whether an address with https may lead to no other without.
    pub(super) fn keeps_https(self) -> bool {
        self != Self::Archive
    }

    /// For all of a document that is read into memory; a slow mirror may take its time.
    pub(super) fn patience(self) -> Option<Duration> {
        matches!(self, Self::Registry | Self::Published).then_some(Duration::from_secs(120))
    }

    /// The same with the server's own word for it.
    pub(super) fn refused_with(self, url: &str, status: StatusCode, code: &str) -> Error {
        let fact = format!("'{url}' answers {status} ({code})");
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => refuse(fact, LOGIN),
            _ => refuse(fact, self.check()),
        }
    }

    /// An answer that is final and not good.
    pub(super) fn refused(self, url: &str, status: StatusCode) -> Error {
        let fact = format!("'{url}' answers {status}");
        match (self, status) {
            (Self::Registry, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                refuse(format!("{fact} to somebody without a password"), PRIVATE)
            }
            (Self::Published, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                refuse(fact, LOGIN)
            }
            _ => refuse(fact, self.check()),
        }
    }
}

/// The next step if a registry wants to know who asks.
pub(super) const PRIVATE: &str = "check the reference: registries also say so of what they do not \
     have. Kiln holds no passwords: copy a private image with skopeo, and bring it as an archive";

/// The same where people may have one.
pub(super) const LOGIN: &str = "check the credentials and what they allow: for a registry 'auths' in \
     docker's config.json (credential helpers are not asked), for a bucket AWS_ACCESS_KEY_ID, \
     AWS_SECRET_ACCESS_KEY and the region";
