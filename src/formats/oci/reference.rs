// SPDX-License-Identifier: Apache-2.0
//! Where a registry has an image: `HOST/PATH:TAG`, or `HOST/PATH:TAG@sha256:DIGITS`.
//!
//! The tag is what nodes know the image by, so it is always there. A digest says in advance what
//! the tag must mean. No host is filled in: `busybox` means another image to every tool.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{ImageName, NameError, document::Sha256};
use crate::digest::Digest;

/// Docker Hub by the name that images have; its registry is another host.
const HUB: &str = "docker.io";
const HUB_REGISTRY: &str = "registry-1.docker.io";

/// A complete reference to an image of a registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    name: ImageName,
    digest: Option<Digest>,
}

/// Why a text is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("'{0}' has '{1}' behind '@', expected 'sha256:' and 64 lower-case hex digits")]
    Digest(String, String),
    #[error("'{0}' is an abbreviation: in full it is '{HUB}/library/{1}'")]
    Short(String, String),
}

impl Reference {
    /// The name that nodes know the image by.
    pub fn name(&self) -> &ImageName {
        &self.name
    }

    /// What the tag must name: a manifest, or an index of manifests.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The host that serves the image, with its port if one is given.
    pub fn registry(&self) -> &str {
        match self.parts().0 {
            HUB => HUB_REGISTRY,
            host => host,
        }
    }

    /// What the registry calls `<name>` in its paths.
    pub fn repository(&self) -> &str {
        self.parts().1
    }

    pub fn tag(&self) -> &str {
        self.parts().2
    }

    fn parts(&self) -> (&str, &str, &str) {
        let (host, rest) = self.name.as_str().split_once('/').expect("a name has a host");
        let (path, tag) = rest.rsplit_once(':').expect("a name has a tag");
        (host, path, tag)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        self.digest.map_or(Ok(()), |digest| write!(f, "@sha256:{digest}"))
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        let shown = |text: &str| text.escape_default().to_string();
        let name: ImageName = name.parse()?;
        let digest = digest.map(|digest| {
            let parsed = Sha256::try_from(digest.to_owned()).map(|Sha256(digest)| digest);
            parsed.map_err(|_| ReferenceError::Digest(shown(text), shown(digest)))
        });
        let reference = Self { name, digest: digest.transpose()? };
        match reference.parts() {
            (HUB, path, tag) if !path.contains('/') => {
                Err(ReferenceError::Short(shown(text), format!("{path}:{tag}")))
            }
            _ => Ok(reference),
        }
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_names_its_registry_its_repository_and_its_tag() {
        let digest = Digest::of(b"");
        for (text, registry, repository, tag) in [
            (
                "registry.k8s.io/coredns/coredns:v1.11.3",
                "registry.k8s.io",
                "coredns/coredns",
                "v1.11.3",
            ),
            ("127.0.0.1:5000/a:b", "127.0.0.1:5000", "a", "b"),
            ("docker.io/library/busybox:1", "registry-1.docker.io", "library/busybox", "1"),
        ] {
            for text in [text.to_owned(), format!("{text}@sha256:{digest}")] {
                let reference: Reference = text.parse().unwrap();
                let parts = (reference.registry(), reference.repository(), reference.tag());
                assert_eq!(parts, (registry, repository, tag));
                assert_eq!(reference.digest().is_some(), text.contains('@'));
                assert_eq!(reference.to_string(), text);
            }
        }
    }

    #[test]
    fn what_is_not_complete_is_refused_with_what_is_missing() {
        let refusal = |text: &str| text.parse::<Reference>().unwrap_err().to_string();
        let capitals = format!("a.b/c:1@sha256:{}", "A".repeat(64));
        for (text, expected) in [
            ("busybox:1", "names no host"),
            ("library/busybox:1", "names no host"),
            ("a.b/c", "has no tag"),
            ("a.b/c@sha256:00", "has no tag"),
            ("a.b/c:1@", "has '' behind '@'"),
            ("a.b/c:1@sha256:00", "has 'sha256:00' behind '@'"),
            ("a.b/c:1@sha512:00", "has 'sha512:00' behind '@'"),
            (&capitals, "behind '@'"),
            ("https://a.b/c:1", "has the part 'https:'"),
            ("docker.io/busybox:1", "in full it is 'docker.io/library/busybox:1'"),
        ] {
            assert!(refusal(text).contains(expected), "{text}: {}", refusal(text));
        }
    }
}
