// SPDX-License-Identifier: Apache-2.0
//! Which versions of Kubernetes exist for Kiln, and which of them may run together?
//!
//! The rules of skew are those of the website's page `releases/version-skew-policy`: since 1.28
//! kubelet and kube-proxy may be three minors older than the API server, before that two.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{diagnostic::quoted, yaml::fields::Complaint};

/// The minor version of Kubernetes 1: the 20 of `v1.20.2`. Only those that Kiln knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Minor(u8);

impl Minor {
    pub const OLDEST: Self = Self(20);
    pub const NEWEST: Self = Self(36);

    /// A constant for tables; wrong numbers do not compile where the table is a constant.
    pub(crate) const fn known(number: u8) -> Self {
        assert!(number >= Self::OLDEST.0 && number <= Self::NEWEST.0, "a minor that Kiln knows");
        Self(number)
    }

    /// # Errors
    /// Kiln has no tables for that minor.
    pub fn new(number: u64) -> Result<Self, Complaint> {
        match u8::try_from(number) {
            Ok(small) if (Self::OLDEST.0..=Self::NEWEST.0).contains(&small) => Ok(Self(small)),
            _ => Err(Complaint::new(
                format!("Kubernetes 1.{number} is none that Kiln knows"),
                format!("take a version from {} to {}", Self::OLDEST, Self::NEWEST),
            )),
        }
    }

    pub const fn get(self) -> u8 {
        self.0
    }

    /// Every minor, oldest first.
    pub fn all() -> impl Iterator<Item = Self> {
        (Self::OLDEST.0..=Self::NEWEST.0).map(Self)
    }
}

impl fmt::Display for Minor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}", self.0)
    }
}

/// One release: `v1.20.2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub minor: Minor,
    pub patch: u32,
}

impl FromStr for Version {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        let form = || {
            Complaint::new(
                format!("{} is no version of Kubernetes", quoted(text)),
                "write all three numbers, as v1.20.2",
            )
        };
        let mut parts = text.strip_prefix('v').unwrap_or(text).split('.').map(number);
        match [parts.next(), parts.next(), parts.next(), parts.next()] {
            [Some(Some(1)), Some(Some(minor)), Some(Some(patch)), None] => Ok(Self {
                minor: Minor::new(minor)?,
                patch: u32::try_from(patch).map_err(|_| form())?,
            }),
            [Some(Some(1)), Some(Some(minor)), None, None] => Err(Complaint::new(
                format!("{} is a minor version, not a release", quoted(text)),
                format!("write all three numbers, as v1.{minor}.0"),
            )),
            _ => Err(form()),
        }
    }
}

/// Digits without a sign and without a leading zero.
fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}", self.minor, self.patch)
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|complaint: Complaint| serde::de::Error::custom(complaint.what))
    }
}

/// A program that talks to the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Client {
    ControllerManager,
    Scheduler,
    Kubelet,
    KubeProxy,
    Kubectl,
}

impl Client {
    pub const fn name(self) -> &'static str {
        match self {
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
            Self::Kubectl => "kubectl",
        }
    }

    /// How many minors it may be older than the API server, and how many newer.
    ///
    /// What counts is its own version: the page's wider rule begins with a kubelet of 1.25,
    /// which is the one that the window of an API server 1.28 newly admits.
    const fn window(self, server: Minor) -> (u8, u8) {
        match self {
            Self::ControllerManager | Self::Scheduler => (1, 0),
            Self::Kubelet | Self::KubeProxy if server.0 >= 28 => (3, 0),
            Self::Kubelet | Self::KubeProxy => (2, 0),
            Self::Kubectl => (1, 1),
        }
    }

    /// Whether this program of one minor may talk to an API server of another.
    ///
    /// # Errors
    /// It is too old or too new.
    pub fn check_skew(self, own: Minor, server: Minor) -> Result<(), Complaint> {
        let (older, newer) = self.window(server);
        let oldest = server.0.saturating_sub(older).max(Minor::OLDEST.0);
        let newest = (server.0 + newer).min(Minor::NEWEST.0);
        if (oldest..=newest).contains(&own.0) {
            return Ok(());
        }
        let name = self.name();
        let direction = if own > server { "newer" } else { "older" };
        let range = if oldest == newest {
            format!("only {} fits", Minor(oldest))
        } else {
            format!("{} to {} fit", Minor(oldest), Minor(newest))
        };
        Err(Complaint::new(
            format!("{name} {own} is too much {direction} than kube-apiserver {server}"),
            format!(
                "{range} beside kube-apiserver {server}: upgrade one minor at a time, the API server first"
            ),
        ))
    }
}

/// Whether the API servers of a cluster may go from one minor to another, one after another.
///
/// Meanwhile both serve, and they may be one minor apart. A single one must not skip a minor either,
/// because each of them still reads and converts what the one before has stored.
///
/// # Errors
/// It is more than one minor, or a step back.
pub fn check_upgrade(from: Minor, to: Minor) -> Result<(), Complaint> {
    if to < from {
        return Err(Complaint::new(
            format!("kube-apiserver cannot go back from {from} to {to}"),
            format!(
                "keep to {from}: an older one need not be able to read what a newer one has stored"
            ),
        ));
    }
    let next = Minor((from.0 + 1).min(Minor::NEWEST.0));
    if to <= next {
        return Ok(());
    }
    Err(Complaint::new(
        format!("kube-apiserver cannot go from {from} to {to} at once"),
        format!("upgrade one minor at a time: take a release of {next}, roll it out, and go on"),
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn minor(number: u64) -> Minor {
        Minor::new(number).unwrap()
    }

    #[test]
    fn versions_have_three_numbers() {
        let version: Version = "v1.20.2".parse().unwrap();
        assert_eq!((version.minor.get(), version.patch), (20, 2));
        assert_eq!(version.to_string(), "v1.20.2");
        assert_eq!("1.36.0".parse::<Version>().unwrap().to_string(), "v1.36.0");
        for (text, what) in [
            ("1.20", "'1.20' is a minor version, not a release"),
            ("v1.19.3", "Kubernetes 1.19 is none that Kiln knows"),
            ("v1.37.0", "Kubernetes 1.37 is none that Kiln knows"),
            ("v2.0.0", "'v2.0.0' is no version of Kubernetes"),
            ("v1.20.02", "'v1.20.02' is no version of Kubernetes"),
            ("v1.20.+2", "'v1.20.+2' is no version of Kubernetes"),
            ("v1.20.2.1", "'v1.20.2.1' is no version of Kubernetes"),
            ("latest", "'latest' is no version of Kubernetes"),
            ("v1.300.0", "Kubernetes 1.300 is none that Kiln knows"),
        ] {
            assert_eq!(text.parse::<Version>().unwrap_err().what, what);
        }
    }

    #[test]
    fn a_wrong_version_is_complained_about_with_the_next_step() {
        let complaint = "1.20".parse::<Version>().unwrap_err().without_place();
        assert_eq!(
            complaint.to_string(),
            "error: '1.20' is a minor version, not a release\nhelp:  write all three numbers, as v1.20.0"
        );
    }

    #[test]
    fn a_kubelet_may_be_two_minors_older_and_from_1_28_three() {
        let fits = |own, server| Client::Kubelet.check_skew(minor(own), minor(server)).is_ok();
        assert!(fits(25, 27) && !fits(24, 27));
        assert!(fits(25, 28) && !fits(24, 28));
        assert!(fits(33, 36) && !fits(32, 36));
        assert!(!fits(28, 27));
        let proxy = Client::KubeProxy.check_skew(minor(24), minor(28)).unwrap_err();
        assert_eq!(proxy.what, "kube-proxy 1.24 is too much older than kube-apiserver 1.28");
    }

    #[test]
    fn managers_are_never_newer_and_kubectl_may_be_one_off() {
        for client in [Client::ControllerManager, Client::Scheduler] {
            assert!(client.check_skew(minor(29), minor(30)).is_ok());
            assert!(client.check_skew(minor(28), minor(30)).is_err());
            assert!(client.check_skew(minor(31), minor(30)).is_err());
        }
        assert!(Client::Kubectl.check_skew(minor(31), minor(30)).is_ok());
        assert!(Client::Kubectl.check_skew(minor(32), minor(30)).is_err());
    }

    #[test]
    fn api_servers_go_one_minor_at_a_time_and_never_back() {
        let told = |from, to| check_upgrade(minor(from), minor(to)).map_err(|it| it.what);
        assert_eq!(told(30, 30), Ok(()));
        assert_eq!(told(30, 31), Ok(()));
        assert_eq!(told(36, 36), Ok(()));
        assert_eq!(told(30, 32), Err("kube-apiserver cannot go from 1.30 to 1.32 at once".into()));
        assert_eq!(told(30, 29), Err("kube-apiserver cannot go back from 1.30 to 1.29".into()));
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<Version>();
        }

        #[test]
        fn versions_survive_their_text_form(number in 20..=36u64, patch: u32) {
            let version = Version { minor: minor(number), patch };
            prop_assert_eq!(version.to_string().parse(), Ok(version));
        }
    }
}
