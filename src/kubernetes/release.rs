// SPDX-License-Identifier: Apache-2.0
//! Which programs of which release does a cluster run, and where do they come from?
//!
//! Four kinds of places, told apart by their text: a folder, a tar archive, an address for each
//! program, the address of a tar archive. `{version}` and `{program}` are filled in. Beside an
//! address lies a published checksum, `ADDRESS.sha256` or `ADDRESS.sha512`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    str::FromStr,
};

use serde::{Serialize, Serializer};

use super::{role, version::Version};
use crate::{cluster::Cluster, diagnostic::quoted, names, units::Bytes, yaml::fields::Complaint};

/// Where the Kubernetes project publishes each release.
pub const UPSTREAM: &str = "https://dl.k8s.io/release/{version}/bin/linux/amd64/{program}";
/// The word for it.
const UPSTREAM_WORD: &str = "upstream";
/// Most bytes of a program. The largest have some 150 MiB.
pub const MAX_PROGRAM: Bytes = Bytes::mib(512);
/// Most bytes of a bundle. Those of the Kubernetes project have some 400 MiB.
pub const MAX_BUNDLE: Bytes = Bytes::mib(2048);

/// Stands for the version in a path or address.
pub const VERSION: &str = "{version}";
const PROGRAM: &str = "{program}";

/// Where the programs of a release come from, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A folder below the workspace with a file for each program.
    Folder(String),
    /// A tar archive below the workspace; the programs are in any of its folders.
    Bundle(String),
    /// An address for each program.
    Programs(String),
    /// The address of a tar archive.
    RemoteBundle(String),
}

impl Default for Source {
    fn default() -> Self {
        Self::Programs(UPSTREAM.to_owned())
    }
}

impl Source {
    /// The folder or tar archive below the workspace.
    pub fn local(&self, version: Version) -> Option<String> {
        match self {
            Self::Folder(text) | Self::Bundle(text) => Some(fill(text, version, "")),
            Self::Programs(_) | Self::RemoteBundle(_) => None,
        }
    }

    /// The address of one program.
    pub fn program_url(&self, version: Version, program: &str) -> Option<String> {
        match self {
            Self::Programs(text) => Some(fill(text, version, program)),
            _ => None,
        }
    }

    /// The address of the tar archive.
    pub fn bundle_url(&self, version: Version) -> Option<String> {
        match self {
            Self::RemoteBundle(text) => Some(fill(text, version, "")),
            _ => None,
        }
    }

    /// Whether it is another place for each version.
    pub fn tells_versions_apart(&self) -> bool {
        self.text().contains(VERSION)
    }

    /// Whether somebody between here and there could change programs and checksums alike.
    pub fn is_open_to_change(&self) -> bool {
        self.text().strip_prefix("http://").is_some_and(|rest| !is_loopback(authority(rest)))
    }

    fn text(&self) -> &str {
        match self {
            Self::Folder(text)
            | Self::Bundle(text)
            | Self::Programs(text)
            | Self::RemoteBundle(text) => text,
        }
    }
}

fn fill(text: &str, version: Version, program: &str) -> String {
    text.replace(VERSION, &version.to_string()).replace(PROGRAM, program)
}

/// `HOST:PORT` of what follows the scheme.
fn authority(rest: &str) -> &str {
    rest.split('/').next().unwrap_or(rest)
}

/// Whether `HOST:PORT` is this machine: what goes there passes nobody.
pub(crate) fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

impl FromStr for Source {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        if text == UPSTREAM_WORD {
            return Ok(Self::default());
        }
        let is_bundle = [".tar", ".tar.gz", ".tgz"].iter().any(|end| text.ends_with(end));
        let Some((scheme, rest)) = text.split_once("://") else {
            check_placeholders(text, &[VERSION])?;
            let path = names::workspace_path(text)?;
            return Ok(if is_bundle { Self::Bundle(path) } else { Self::Folder(path) });
        };
        check_url(text, scheme, rest)?;
        check_placeholders(text, &[VERSION, PROGRAM])?;
        match (text.contains(PROGRAM), is_bundle) {
            (true, _) => Ok(Self::Programs(text.to_owned())),
            (false, true) => Ok(Self::RemoteBundle(text.to_owned())),
            (false, false) => Err(Complaint::new(
                format!("{} is the address of neither a program nor a tar archive", quoted(text)),
                "write '{program}' where the program's name stands, or an address that ends in \
                 '.tar.gz', '.tgz' or '.tar'",
            )),
        }
    }
}

fn check_url(text: &str, scheme: &str, rest: &str) -> Result<(), Complaint> {
    let complain =
        |help: &str| Err(Complaint::new(format!("{} is no address", quoted(text)), help));
    if !["http", "https"].contains(&scheme) {
        return complain("it begins with https:// or http://");
    }
    if authority(rest).is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return complain("write host and path without blanks, as https://dl.k8s.io/release/…");
    }
    if authority(rest).contains(['@', '{']) {
        return complain("the host stands alone: no user, no password, nothing to fill in");
    }
    if text.contains(['?', '#']) {
        return complain("it has no '?' and no '#', because '.sha256' is put behind it");
    }
    Ok(())
}

/// A misspelled placeholder would be asked for as it is written.
fn check_placeholders(text: &str, known: &[&str]) -> Result<(), Complaint> {
    let rest = known.iter().fold(text.to_owned(), |rest, word| rest.replace(word, ""));
    if !rest.contains(['{', '}']) {
        return Ok(());
    }
    Err(Complaint::new(
        format!("{} has braces that stand for nothing", quoted(text)),
        format!("possible here: {}", known.join(", ")),
    ))
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Programs of one version, and where they come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release<'a> {
    pub version: Version,
    pub source: &'a Source,
    pub programs: BTreeSet<&'static str>,
}

/// What the images of these roles take, oldest release first; nothing without Kubernetes.
pub fn releases<'a>(
    cluster: &'a Cluster,
    roles: impl IntoIterator<Item = &'a str>,
) -> Vec<Release<'a>> {
    let Some(kubernetes) = &cluster.kubernetes else { return Vec::new() };
    let mut programs: BTreeMap<Version, BTreeSet<_>> = BTreeMap::new();
    for role in roles {
        let names = role::programs(cluster, role).into_iter().map(|program| program.name);
        let names: Vec<_> = names.collect();
        if !names.is_empty() {
            programs.entry(kubernetes.version_of(role)).or_default().extend(names);
        }
    }
    let source = &kubernetes.binaries;
    programs.into_iter().map(|(version, programs)| Release { version, source, programs }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version() -> Version {
        "v1.36.2".parse().unwrap()
    }

    #[test]
    fn a_text_says_what_kind_of_place_it_is() {
        for (text, source) in [
            ("programs/v1.20.2", Source::Folder("programs/v1.20.2".into())),
            ("up/{version}", Source::Folder("up/{version}".into())),
            ("server.tar.gz", Source::Bundle("server.tar.gz".into())),
            ("{version}/server.tgz", Source::Bundle("{version}/server.tgz".into())),
            ("server.tar", Source::Bundle("server.tar".into())),
            ("upstream", Source::Programs(UPSTREAM.into())),
            ("https://a.example/{program}", Source::Programs("https://a.example/{program}".into())),
            (
                "https://a.example/{version}/server.tar.gz",
                Source::RemoteBundle("https://a.example/{version}/server.tar.gz".into()),
            ),
        ] {
            assert_eq!(text.parse(), Ok(source), "{text}");
        }
        let upstream = Source::default();
        assert_eq!(
            upstream.program_url(version(), "kubelet").as_deref(),
            Some("https://dl.k8s.io/release/v1.36.2/bin/linux/amd64/kubelet")
        );
        assert_eq!((upstream.local(version()), upstream.bundle_url(version())), (None, None));
        let folder: Source = "up/{version}".parse().unwrap();
        assert_eq!(folder.local(version()).as_deref(), Some("up/v1.36.2"));
    }

    #[test]
    fn a_wrong_place_is_complained_about() {
        for (text, what) in [
            ("../up", "'../up' is not below the workspace"),
            ("up/{versoin}", "'up/{versoin}' has braces that stand for nothing"),
            ("up/{program}", "'up/{program}' has braces that stand for nothing"),
            ("ftp://a.example/{program}", "'ftp://a.example/{program}' is no address"),
            ("https:///{program}", "'https:///{program}' is no address"),
            (
                "https://me:pw@a.example/{program}",
                "'https://me:pw@a.example/{program}' is no address",
            ),
            (
                "https://{version}.example/{program}",
                "'https://{version}.example/{program}' is no address",
            ),
            (
                "https://a.example/{program}?token=1",
                "'https://a.example/{program}?token=1' is no address",
            ),
            (
                "https://a.example/{name}",
                "'https://a.example/{name}' has braces that stand for nothing",
            ),
            (
                "https://a.example/kubelet",
                "'https://a.example/kubelet' is the address of neither a program nor a tar archive",
            ),
        ] {
            assert_eq!(text.parse::<Source>().unwrap_err().what, what);
        }
    }

    #[test]
    fn only_http_beyond_this_machine_is_open_to_change() {
        for (text, open) in [
            ("http://a.example/{program}", true),
            ("http://10.0.0.1/{program}", true),
            ("http://127.0.0.1.example/{program}", true),
            ("http://127.0.0.1:8080/{program}", false),
            ("http://[::1]:8080/{program}", false),
            ("http://localhost/{program}", false),
            ("https://a.example/{program}", false),
            ("http", false),
        ] {
            assert_eq!(text.parse::<Source>().unwrap().is_open_to_change(), open, "{text}");
        }
    }
}
