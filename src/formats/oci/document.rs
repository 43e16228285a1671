// SPDX-License-Identifier: Apache-2.0
//! The JSON documents of an image layout, in the order of their fields here.
//!
//! Specification: OCI image-spec 1.1: `descriptor.md`, `image-index.md`, `manifest.md`,
//! `config.md`, `image-layout.md`. Fields that Kiln does not write are ignored when read, as the
//! specification asks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Config, Error, ImageName};
use crate::{digest::Digest, formats::calendar::civil};

pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// The layout's version since 1.0, in image-spec 1.1 too.
pub(super) const LAYOUT_VERSION: &str = "1.0.0";

/// How an image of a layout is called. Taken by containers/image (skopeo, podman, CRI-O).
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The same for containerd, which prefers it: the other may hold a tag only.
pub(super) const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// The one machine that Kiln builds for.
const ARCHITECTURE: &str = "amd64";
const OS: &str = "linux";

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Layout {
    #[serde(rename = "imageLayoutVersion")]
    pub(super) version: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: Sha256,
    pub(super) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// The same as an image of a layout, under its name.
    pub(super) fn called(mut self, name: &ImageName) -> Self {
        self.platform = Some(Platform::ours());
        let names = [CONTAINERD_NAME, REF_NAME].map(|key| (key.to_owned(), name.to_string()));
        self.annotations = names.into();
        self
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Platform {
    architecture: String,
    os: String,
}

impl Platform {
    pub(super) fn ours() -> Self {
        Self { architecture: ARCHITECTURE.to_owned(), os: OS.to_owned() }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Index {
    pub(super) schema_version: u32,
    pub(super) media_type: String,
    pub(super) manifests: Vec<Descriptor>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    pub(super) schema_version: u32,
    pub(super) media_type: String,
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
}

/// The image's configuration.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ImageConfig {
    created: String,
    #[serde(flatten)]
    platform: Platform,
    config: Execution,
    pub(super) rootfs: RootFs,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Execution {
    user: String,
    env: Vec<String>,
    entrypoint: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    cmd: Vec<String>,
    working_dir: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RootFs {
    #[serde(rename = "type")]
    kind: String,
    /// Digests of the uncompressed layers, the lowest first.
    pub(super) diff_ids: Vec<Sha256>,
}

impl ImageConfig {
    pub(super) fn new(config: &Config, diff_ids: Vec<Sha256>) -> Self {
        let (uid, gid) = config.user;
        Self {
            created: timestamp(config.created),
            platform: Platform::ours(),
            config: Execution {
                user: format!("{uid}:{gid}"),
                env: config.environment.iter().map(|(name, it)| format!("{name}={it}")).collect(),
                entrypoint: config.entrypoint.clone(),
                cmd: config.arguments.clone(),
                working_dir: config.folder.to_string(),
            },
            rootfs: RootFs { kind: "layers".to_owned(), diff_ids },
        }
    }
}

/// RFC 3339, in UTC.
pub(super) fn timestamp(seconds: u32) -> String {
    let (year, month, day) = civil(seconds / 86_400);
    let time = seconds % 86_400;
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// A digest as these documents write it: `sha256:HEX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(super) struct Sha256(pub(super) Digest);

impl From<Sha256> for String {
    fn from(Sha256(digest): Sha256) -> Self {
        format!("sha256:{digest}")
    }
}

impl TryFrom<String> for Sha256 {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digest = text.strip_prefix("sha256:").and_then(|hex| {
            // The digest's own parser also takes capitals, which name no blob.
            hex.parse::<Digest>().ok().filter(|digest| digest.to_string() == hex)
        });
        digest.map(Self).ok_or_else(|| format!("'{}' is no sha256 digest", text.escape_default()))
    }
}

/// A document's bytes.
pub(super) fn encode<T: Serialize>(document: &T) -> Vec<u8> {
    serde_json::to_vec(document).expect("texts, numbers and lists are JSON")
}

pub(super) fn decode<'a, T: Deserialize<'a>>(what: &str, bytes: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::Document { what: what.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00Z");
        assert_eq!(timestamp(1_700_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(timestamp(u32::MAX), "2106-02-07T06:28:15Z");
    }

    #[test]
    fn only_canonical_digests_are_taken() {
        let digest = Digest::of(b"").to_string();
        assert!(Sha256::try_from(format!("sha256:{digest}")).is_ok());
        for text in [
            digest.clone(),
            format!("sha512:{digest}"),
            format!("sha256:{}", digest.to_uppercase()),
        ] {
            assert!(Sha256::try_from(text).is_err());
        }
    }
}
