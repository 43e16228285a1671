// SPDX-License-Identifier: Apache-2.0
//! Files that a registry keeps, which are no container image: a manifest that names each by digest.
//!
//! Specification: OCI image-spec 1.1, `manifest.md`, "Guidelines for Artifact Usage": the type is in
//! `artifactType`, the configuration is the empty document, and each file is a layer. The name of a
//! file is the annotation `org.opencontainers.image.title`, by which `oras pull` writes it too.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    document::{self, Descriptor, Sha256, encode},
    registry::Part,
};
use crate::digest::Digest;

/// The configuration of what has none.
pub const EMPTY: &[u8] = b"{}";
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
/// The type of the manifest itself, for the header of the same meaning.
pub const MANIFEST: &str = document::MANIFEST;

/// Names a layer.
const TITLE: &str = "org.opencontainers.image.title";
const VERSION: &str = "org.opencontainers.image.version";
const CREATED: &str = "org.opencontainers.image.created";

/// Most files of an artefact.
const FILES_MAX: usize = 1000;

/// A file as a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer<'a> {
    pub title: &'a str,
    pub media_type: &'a str,
    pub part: Part,
}

/// Why a document is no artefact of the wanted type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("it is no manifest: {0}")]
    Malformed(String),
    #[error("it is {found}, expected '{expected}'")]
    Type { found: String, expected: String },
    #[error("it has {0} files, at most {FILES_MAX}")]
    Files(usize),
    #[error("two of its files are called '{0}'")]
    Twice(String),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    artifact_type: String,
    config: Descriptor,
    layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

/// The manifest of files, in this order. `created` is in seconds since 1970.
pub fn manifest(kind: &str, version: &str, created: u32, layers: &[Layer<'_>]) -> Vec<u8> {
    let layer = |layer: &Layer<'_>| {
        let mut found = descriptor(layer.media_type, layer.part);
        found.annotations.insert(TITLE.to_owned(), layer.title.to_owned());
        found
    };
    let annotations = [
        (CREATED.to_owned(), document::timestamp(created)),
        (VERSION.to_owned(), version.to_owned()),
    ];
    encode(&Manifest {
        schema_version: 2,
        media_type: MANIFEST.to_owned(),
        artifact_type: kind.to_owned(),
        config: descriptor(EMPTY_TYPE, empty()),
        layers: layers.iter().map(layer).collect(),
        annotations: annotations.into(),
    })
}

/// The blob that stands for the configuration.
pub fn empty() -> Part {
    Part { digest: Digest::of(EMPTY), size: EMPTY.len() as u64 }
}

fn descriptor(media_type: &str, part: Part) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: Sha256(part.digest),
        size: part.size,
        platform: None,
        annotations: BTreeMap::new(),
    }
}

/// The files of a manifest of that type, by their names. What a name may be is the caller's to say.
///
/// # Errors
/// It is another document, or ambiguous.
pub fn files(bytes: &[u8], kind: &str) -> Result<BTreeMap<String, Part>, Unfit> {
    let manifest: Manifest =
        serde_json::from_slice(bytes).map_err(|error| Unfit::Malformed(error.to_string()))?;
    if manifest.schema_version != 2 || manifest.media_type != MANIFEST {
        let found = manifest.media_type.escape_default();
        let found = format!("'{found}' of schema {}", manifest.schema_version);
        return Err(Unfit::Type { found, expected: MANIFEST.to_owned() });
    }
    if manifest.artifact_type != kind {
        let found = format!("an artefact of type '{}'", manifest.artifact_type.escape_default());
        return Err(Unfit::Type { found, expected: kind.to_owned() });
    }
    if manifest.layers.len() > FILES_MAX {
        return Err(Unfit::Files(manifest.layers.len()));
    }
    let mut files = BTreeMap::new();
    for layer in manifest.layers {
        // What has no name is for somebody else.
        let Some(title) = layer.annotations.get(TITLE) else { continue };
        let part = Part { digest: layer.digest.0, size: layer.size };
        if files.insert(title.clone(), part).is_some() {
            return Err(Unfit::Twice(title.escape_default().to_string()));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIND: &str = "application/vnd.example.v1";

    fn part(bytes: &[u8]) -> Part {
        Part { digest: Digest::of(bytes), size: bytes.len() as u64 }
    }

    fn sample() -> Vec<u8> {
        let layers = [
            Layer { title: "a.raw", media_type: "application/octet-stream", part: part(b"disk") },
            Layer { title: "b.json", media_type: "application/json", part: part(b"[]") },
        ];
        manifest(KIND, "7", 1_700_000_000, &layers)
    }

    #[test]
    fn a_manifest_is_written_as_the_specification_shows_it() {
        let expected = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"{KIND}","config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}},"layers":[{{"mediaType":"application/octet-stream","digest":"sha256:{}","size":4,"annotations":{{"org.opencontainers.image.title":"a.raw"}}}},{{"mediaType":"application/json","digest":"sha256:{}","size":2,"annotations":{{"org.opencontainers.image.title":"b.json"}}}}],"annotations":{{"org.opencontainers.image.created":"2023-11-14T22:13:20Z","org.opencontainers.image.version":"7"}}}}"#,
            Digest::of(b"disk"),
            Digest::of(b"[]"),
        );
        assert_eq!(String::from_utf8(sample()).unwrap(), expected);
    }

    #[test]
    fn what_was_written_is_read() {
        let files = files(&sample(), KIND).unwrap();
        let expected = [("a.raw".to_owned(), part(b"disk")), ("b.json".to_owned(), part(b"[]"))];
        assert_eq!(files, BTreeMap::from(expected));
    }

    #[test]
    fn another_document_is_refused_with_what_it_is() {
        let text = String::from_utf8(sample()).unwrap();
        let refusal = |from: &str, to: &str| {
            let text = text.replace(from, to);
            files(text.as_bytes(), KIND).unwrap_err().to_string()
        };
        assert_eq!(
            refusal(KIND, "application/vnd.other"),
            format!("it is an artefact of type 'application/vnd.other', expected '{KIND}'")
        );
        assert!(
            refusal("image.manifest", "image.index").contains("image.index.v1+json' of schema 2")
        );
        assert!(refusal(":2,\"mediaType", ":1,\"mediaType").contains("of schema 1"));
        assert_eq!(refusal("b.json", "a.raw"), "two of its files are called 'a.raw'");
        assert!(refusal("sha256:44", "sha512:44").starts_with("it is no manifest: "));
        assert!(refusal("{", "").starts_with("it is no manifest: "));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(at in 0..600_usize, byte: u8) {
            let mut bytes = sample();
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            let _ = files(&bytes, KIND);
        }
    }
}
