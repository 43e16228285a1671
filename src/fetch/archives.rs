// SPDX-License-Identifier: Apache-2.0
//! Which base addresses serve the archives `debian` and `debian-security`.

use super::apt;

/// Name of the main archive in the lock.
pub const DEBIAN: &str = "debian";
/// Name of the security archive in the lock.
pub const SECURITY: &str = "debian-security";

const DEFAULT_DEBIAN: &str = "http://ftp.debian.org/debian";
const DEFAULT_SECURITY: &str = "http://security.debian.org/debian-security";
const DEFAULT_SNAPSHOT: &str = "http://snapshot.debian.org/archive";

/// Base addresses, without trailing slashes. Each serves every suite of its archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archives {
    pub debian: String,
    pub security: String,
    /// Every past state of both, by time.
    pub snapshot: String,
}

/// What people say about addresses; each is stronger than the ones after it.
#[derive(Debug, Clone, Default)]
pub struct Wishes<'a> {
    /// `--mirror`, `KILN_MIRROR`.
    pub mirror: Option<&'a str>,
    /// `--security-mirror`, `KILN_SECURITY_MIRROR`.
    pub security_mirror: Option<&'a str>,
    /// `--snapshot-mirror`, `KILN_SNAPSHOT_MIRROR`.
    pub snapshot_mirror: Option<&'a str>,
    /// `mirror:` of cluster.yaml.
    pub cluster: Option<&'a str>,
    /// The host's apt configuration.
    pub apt: &'a [apt::Source],
}

impl Archives {
    /// Who names a mirror means it for everything: its own neighbor serves the security updates.
    /// Otherwise both addresses are apt's.
    pub fn choose(wishes: &Wishes<'_>) -> Self {
        let named = wishes.mirror.or(wishes.cluster).map(trim);
        let from_apt = apt::debian(wishes.apt);
        let derived = |base: &str| Some(format!("{}{SECURITY}", base.strip_suffix(DEBIAN)?));
        let apt_security = apt::security(wishes.apt).map(str::to_owned);
        let security = match (named, from_apt) {
            (Some(named), _) => derived(named).or(apt_security),
            (None, Some(base)) => apt_security.or_else(|| derived(base)),
            (None, None) => apt_security,
        };
        Self {
            debian: named.or(from_apt).unwrap_or(DEFAULT_DEBIAN).to_owned(),
            security: (wishes.security_mirror.map(|base| trim(base).to_owned()))
                .or(security)
                .unwrap_or_else(|| DEFAULT_SECURITY.to_owned()),
            snapshot: trim(wishes.snapshot_mirror.unwrap_or(DEFAULT_SNAPSHOT)).to_owned(),
        }
    }

    /// The base address of an archive by its name in the lock.
    pub fn base(&self, archive: &str) -> Option<&str> {
        match archive {
            DEBIAN => Some(&self.debian),
            SECURITY => Some(&self.security),
            _ => None,
        }
    }
}

fn trim(base: &str) -> &str {
    base.trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    const APT: &str = "deb http://apt.example/debian trixie main\n\
                       deb http://apt.example/debian-security trixie-security main\n";

    fn check(wishes: &Wishes<'_>, debian: &str, security: &str) {
        let archives = Archives::choose(wishes);
        assert_eq!((&*archives.debian, &*archives.security), (debian, security), "{wishes:?}");
    }

    #[test]
    fn the_stronger_word_wins() {
        let apt = apt::parse("sources.list", APT);
        let mut wishes = Wishes { apt: &apt, ..Wishes::default() };
        check(&wishes, "http://apt.example/debian", "http://apt.example/debian-security");
        wishes.cluster = Some("http://cluster.example/debian/");
        check(&wishes, "http://cluster.example/debian", "http://cluster.example/debian-security");
        wishes.mirror = Some("https://option.example/mirror");
        check(&wishes, "https://option.example/mirror", "http://apt.example/debian-security");
        wishes.security_mirror = Some("https://option.example/security/");
        check(&wishes, "https://option.example/mirror", "https://option.example/security");
    }

    #[test]
    fn a_host_without_apt_uses_the_public_archive() {
        check(&Wishes::default(), DEFAULT_DEBIAN, DEFAULT_SECURITY);
        let apt = apt::parse("sources.list", "deb http://apt.example/debian trixie main");
        let wishes = Wishes { apt: &apt, ..Wishes::default() };
        check(&wishes, "http://apt.example/debian", "http://apt.example/debian-security");
    }
}
