// SPDX-License-Identifier: Apache-2.0
//! What does each minor version of Kubernetes need from the rest of the image?
//!
//! Versions are compared as numbers: `1.7.24` is newer than `1.7.9`.

use super::{settings::ProxyMode, version::Minor};
use crate::{diagnostic::quoted, yaml::fields::Complaint};

/// One row: the minors from `since` on, up to the next row.
struct Row<T> {
    since: u8,
    value: T,
}

const fn row<T>(since: u8, value: T) -> Row<T> {
    Row { since, value }
}

fn find<T: Copy>(rows: &[Row<T>], minor: Minor) -> Option<T> {
    rows.iter().rev().find(|row| minor.get() >= row.since).map(|row| row.value)
}

/// Tags of the pause image that kubeadm of that minor names: `PauseVersion` in
/// `cmd/kubeadm/app/constants`; up to 1.32 also minikube's table of kubeadm's images.
const PAUSE: [Row<&str>; 10] = [
    row(20, "3.2"),
    row(21, "3.4.1"),
    row(22, "3.5"),
    row(23, "3.6"),
    row(24, "3.7"),
    row(25, "3.8"),
    row(26, "3.9"),
    row(31, "3.10"),
    row(34, "3.10.1"),
    row(36, "3.10.2"),
];

/// The tag of the pause image.
pub fn pause_tag(minor: Minor) -> &'static str {
    find(&PAUSE, minor).expect("the table begins with the oldest minor")
}

/// A version of a program beside Kubernetes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release(pub u16, pub u16, pub u16);

impl Release {
    /// The leading numbers of a version: Debian's `1.7.24~ds1-6` is 1.7.24.
    pub fn parse(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let mut parts = text[..end].trim_end_matches('.').split('.');
        let mut next = || parts.next().map_or(Some(0), |part| part.parse().ok());
        Some(Self(next()?, next()?, next()?))
    }
}

impl std::fmt::Display for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// What stands beside Kubernetes in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Companion {
    Containerd,
    Etcd,
    /// The programs that give pods their network.
    CniPlugins,
}

impl Companion {
    const fn name(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::Etcd => "etcd",
            Self::CniPlugins => "the CNI plugins",
        }
    }

    /// The oldest release that Kubernetes takes, or whatever else asks for it.
    ///
    /// containerd: 1.26 dropped CRI v1alpha2, and containerd speaks v1 since 1.6. That the
    /// kubelet falls back when `RuntimeConfig` is missing ends with 1.38 (website PR 55954), so
    /// 1.7 is good for every minor here; v1.36.2 ran with 1.7.24. etcd: kubeadm's
    /// `MinExternalEtcdVersion`, 3.2.18 in v1.20.2 and 3.4.13 in 1.28 (PR 118733). The plugins speak
    /// version 1.0.0 of CNI, which `pod_network` writes, since their own 1.0.0.
    const fn needed(self) -> &'static [Row<Release>] {
        match self {
            Self::Containerd => const { &[row(26, Release(1, 6, 0))] },
            Self::Etcd => const { &[row(20, Release(3, 2, 18)), row(28, Release(3, 4, 13))] },
            Self::CniPlugins => const { &[row(20, Release(1, 0, 0))] },
        }
    }

    /// The oldest release that understands what Kiln writes.
    ///
    /// etcd: the list `allowed-cn` of the configuration file, without which every client's certificate
    /// would make a peer. Before 3.5.14 the key is ignored (PR 18063), and 3.5.14 takes a text only
    /// (PR 18160, in 3.5.15; both of etcd-io/etcd).
    const fn understands(self) -> Option<(Release, &'static str)> {
        match self {
            Self::Etcd => Some((Release(3, 5, 15), "'allowed-cn' of etcd.json")),
            Self::Containerd | Self::CniPlugins => None,
        }
    }

    /// The oldest release that upstream recommends with that minor: containerd's support matrix
    /// (containerd.io `releases.md`, known up to 1.31); the oldest etcd that kubeadm takes since
    /// 1.35. A wish, not a need: v1.36.2 ran with etcd 3.5.16.
    const fn recommended(self) -> &'static [Row<Release>] {
        match self {
            Self::Containerd => {
                const {
                    &[
                        row(24, Release(1, 6, 4)),
                        row(26, Release(1, 6, 15)),
                        row(29, Release(1, 6, 27)),
                        row(30, Release(1, 6, 28)),
                        row(31, Release(1, 6, 34)),
                    ]
                }
            }
            Self::Etcd => const { &[row(35, Release(3, 5, 24))] },
            Self::CniPlugins => &[],
        }
    }

    /// The oldest release that Kubernetes takes.
    pub fn oldest_for_kubernetes(self, minor: Minor) -> Option<Release> {
        find(self.needed(), minor)
    }

    /// The oldest release that Kiln takes.
    pub fn oldest(self, minor: Minor) -> Option<Release> {
        self.oldest_for_kubernetes(minor).max(self.understands().map(|(release, _)| release))
    }

    /// A build may say that a newer one would be better.
    pub fn oldest_recommended(self, minor: Minor) -> Option<Release> {
        find(self.recommended(), minor)
    }

    /// What wants the oldest release, for messages: it stands before its number.
    pub fn needs(self, minor: Minor) -> String {
        let kubernetes = format!("Kubernetes {minor} needs");
        match (self, self.oldest_for_kubernetes(minor), self.understands()) {
            (Self::CniPlugins, ..) => "the pods' network (CNI 1.0.0) needs".to_owned(),
            (_, Some(needed), Some((release, what))) if needed < release => {
                format!("{kubernetes} {needed}, and what Kiln writes ({what}) needs")
            }
            _ => kubernetes,
        }
    }

    /// The release that would be better than this one, if there is one.
    pub fn wish(self, minor: Minor, version: &str) -> Option<Release> {
        let release = Release::parse(version)?;
        self.oldest_recommended(minor).filter(|better| release < *better)
    }

    /// Whether a version of it works with this minor of Kubernetes.
    ///
    /// # Errors
    /// It is too old, or no version.
    pub fn check(self, minor: Minor, version: &str) -> Result<(), Complaint> {
        let name = self.name();
        let release = Release::parse(version).ok_or_else(|| {
            Complaint::new(
                format!("{} is no version of {name}", quoted(version)),
                "it begins with numbers, as 1.7.24",
            )
        })?;
        match self.oldest(minor) {
            Some(oldest) if release < oldest => Err(Complaint::new(
                format!("{name} {release} is too old: {} {oldest} or newer", self.needs(minor)),
                format!("take {name} {oldest} or newer"),
            )),
            _ => Ok(()),
        }
    }
}

/// Whether the kubelet refuses to start on cgroup v1 unless it is told otherwise (PR 134298).
pub fn refuses_cgroup_v1(minor: Minor) -> bool {
    minor.get() >= 35
}

/// Debian's packages of the programs that a kubelet and kube-proxy run. Up to 1.21 a kubelet asks
/// `find` how many files a pod's volumes and logs have (since 1.22 it walks itself: PR 96115, and its
/// cherry pick 104021 in 1.21.8); without it, nothing is known of their sizes either.
pub fn packages(minor: Minor) -> &'static [&'static str] {
    const ALWAYS: [&str; 4] = ["conntrack", "ethtool", "ipset", "iptables"];
    const WITH_FIND: [&str; 5] = ["conntrack", "ethtool", "findutils", "ipset", "iptables"];
    if minor.get() <= 21 { &WITH_FIND } else { &ALWAYS }
}

/// From this minor on, kube-proxy warns about mode ipvs (KEP 5495, PR 134539).
const IPVS_DEPRECATED: Minor = Minor::known(35);

/// What to write instead of a mode that kube-proxy still has and is about to lose.
pub fn proxy_mode_warning(mode: ProxyMode, minor: Minor) -> Option<String> {
    (mode == ProxyMode::Ipvs && minor >= IPVS_DEPRECATED).then(|| {
        format!(
            "kube-proxy {minor} runs in mode 'ipvs', which is deprecated since \
             {IPVS_DEPRECATED}: write 'proxy-mode: nftables' below 'kubernetes'"
        )
    })
}

/// Whether kube-proxy has the mode without a feature gate: nftables is alpha in 1.29 and beta,
/// on by default, since 1.31 (feature gate NFTablesProxyMode).
///
/// # Errors
/// It does not.
pub fn check_proxy_mode(mode: ProxyMode, minor: Minor) -> Result<(), Complaint> {
    if mode == ProxyMode::Nftables && minor.get() < 31 {
        return Err(Complaint::new(
            format!("kube-proxy {minor} has no mode 'nftables' that is on by default"),
            "it is since 1.31: take 'iptables' or 'ipvs'",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubelets_that_run_find_have_it() {
        let has_find = |number| packages(minor(number)).contains(&"findutils");
        assert!(has_find(20) && has_find(21));
        assert!(!has_find(22) && !has_find(36));
    }

    fn minor(number: u64) -> Minor {
        Minor::new(number).unwrap()
    }

    #[test]
    fn every_minor_names_its_pause_image() {
        let tags: Vec<_> = Minor::all().map(pause_tag).collect();
        assert_eq!(tags.first(), Some(&"3.2"));
        assert_eq!(tags.last(), Some(&"3.10.2"));
        assert_eq!(pause_tag(minor(30)), "3.9");
        assert_eq!(pause_tag(minor(33)), "3.10");
    }

    #[test]
    fn debian_13_satisfies_every_minor() {
        for minor in Minor::all() {
            assert_eq!(Companion::Containerd.check(minor, "1.7.24~ds1-6+deb13u1"), Ok(()));
            assert_eq!(Companion::Etcd.check(minor, "3.5.16-4+b1"), Ok(()));
        }
    }

    #[test]
    fn an_old_companion_is_refused() {
        let complaint = Companion::Containerd.check(minor(26), "1.5.9").unwrap_err();
        assert_eq!(
            complaint.what,
            "containerd 1.5.9 is too old: Kubernetes 1.26 needs 1.6.0 or newer"
        );
        assert!(Companion::Containerd.check(minor(25), "1.5.9").is_ok());
        assert!(Companion::Etcd.check(minor(28), "3.3.25").is_err());
        assert!(Companion::Etcd.check(minor(28), "new").is_err());
    }

    #[test]
    fn an_etcd_that_would_take_every_client_for_a_peer_is_refused_with_every_minor() {
        for minor in Minor::all() {
            assert!(Companion::Etcd.oldest_for_kubernetes(minor) < Companion::Etcd.oldest(minor));
            for version in ["3.4.23+dfsg-4", "3.5.14-1"] {
                assert!(Companion::Etcd.check(minor, version).is_err(), "{minor} {version}");
            }
            assert_eq!(Companion::Etcd.check(minor, "3.5.15"), Ok(()));
        }
        let complaint = Companion::Etcd.check(minor(28), "3.4.23").unwrap_err();
        assert_eq!(
            complaint.what,
            "etcd 3.4.23 is too old: Kubernetes 1.28 needs 3.4.13, and what Kiln writes \
             ('allowed-cn' of etcd.json) needs 3.5.15 or newer"
        );
    }

    #[test]
    fn proxy_modes_begin_with_the_minor_that_has_them() {
        assert!(check_proxy_mode(ProxyMode::Nftables, minor(30)).is_err());
        assert!(check_proxy_mode(ProxyMode::Nftables, minor(31)).is_ok());
        assert!(check_proxy_mode(ProxyMode::Ipvs, minor(36)).is_ok());
        assert!(refuses_cgroup_v1(minor(35)) && !refuses_cgroup_v1(minor(34)));
    }

    #[test]
    fn ipvs_is_warned_of_from_1_35_on() {
        let warning = |mode, number| proxy_mode_warning(mode, minor(number));
        assert_eq!(warning(ProxyMode::Ipvs, 34), None);
        assert_eq!(
            warning(ProxyMode::Ipvs, 35).as_deref(),
            Some(
                "kube-proxy 1.35 runs in mode 'ipvs', which is deprecated since 1.35: \
                 write 'proxy-mode: nftables' below 'kubernetes'"
            )
        );
        assert_eq!(warning(ProxyMode::Iptables, 36), None);
        assert_eq!(warning(ProxyMode::Nftables, 36), None);
    }

    #[test]
    fn releases_are_compared_as_numbers() {
        assert!(Release::parse("1.7.24").unwrap() > Release::parse("1.7.9").unwrap());
        assert_eq!(Release::parse("2.0"), Some(Release(2, 0, 0)));
        assert_eq!(Release::parse(""), None);
    }
}
