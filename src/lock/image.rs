// SPDX-License-Identifier: Apache-2.0
//! Images of registries, by their bytes.
//!
//! ```toml
//! [images."registry.k8s.io/coredns/coredns:v1.11.3"]
//! tagged = "9caa…"                  what the tag named when it was locked: an index, or the manifest
//!
//! [images."….manifest"]             size and sha256 of the manifest for linux/amd64,
//! [images."….config"]               of the configuration that it names,
//! [[images."….layers"]]             and of each of its layers
//! ```
//!
//! A tag may move. `kiln lock` asks again what it names and tells each change; a build takes what
//! stands here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Lock, Stale};
use crate::{
    digest::Digest,
    formats::oci::{
        Reference,
        registry::{MAX_DOCUMENT, MAX_IMAGE, MAX_LAYER, MAX_LAYERS, Part},
    },
    plan::Plan,
    units::Bytes,
};

/// Images by their references, as the lock has them.
pub type Images = BTreeMap<Reference, LockedImage>;

/// An image of a registry, as it was when it was locked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LockedImage {
    /// What the tag named: the manifest, or an index that names it.
    pub tagged: Digest,
    pub manifest: LockedBlob,
    pub config: LockedBlob,
    /// The lowest first.
    pub layers: Vec<LockedBlob>,
}

/// A blob of a registry by its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LockedBlob {
    /// Bytes.
    pub size: u64,
    pub sha256: Digest,
}

impl From<Part> for LockedBlob {
    fn from(Part { digest, size }: Part) -> Self {
        Self { size, sha256: digest }
    }
}

impl LockedImage {
    /// All its blobs, the documents first.
    pub fn blobs(&self) -> impl Iterator<Item = &LockedBlob> {
        [&self.manifest, &self.config].into_iter().chain(&self.layers)
    }

    /// What is wrong with it, as a part of a file that somebody edited.
    pub(super) fn validate(&self, reference: &Reference) -> Result<(), String> {
        let bounded = |what: &str, size: u64, limit: Bytes| match size > limit.get() {
            true => Err(format!("size {size} of {what} is above {}", limit.get())),
            false => Ok(()),
        };
        if self.layers.is_empty() || self.layers.len() > MAX_LAYERS {
            return Err(format!("it has {} layers, expected 1 to {MAX_LAYERS}", self.layers.len()));
        }
        bounded("the manifest", self.manifest.size, MAX_DOCUMENT)?;
        bounded("the configuration", self.config.size, MAX_DOCUMENT)?;
        for layer in &self.layers {
            bounded("a layer", layer.size, MAX_LAYER)?;
        }
        let total = self.layers.iter().fold(0, |sum: u64, layer| sum.saturating_add(layer.size));
        bounded("all layers", total, MAX_IMAGE)?;
        match reference.digest() {
            Some(digest) if ![self.tagged, self.manifest.sha256].contains(&digest) => {
                Err(format!("it is {}, not {}", self.tagged.short(), digest.short()))
            }
            _ => Ok(()),
        }
    }
}

/// Whether the lock pins the images that a role pulls.
pub(super) fn check(lock: &Lock, plan: &Plan) -> Result<(), Stale> {
    let mut pulls = plan.profile.images.values();
    match pulls.find(|pull| !lock.images.contains_key(&pull.reference)) {
        Some(pull) => Err(Stale::Image { what: format!("it does not pin '{}'", pull.reference) }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::choose, *};

    fn blob(text: &str) -> LockedBlob {
        LockedBlob { size: text.len() as u64, sha256: Digest::of(text.as_bytes()) }
    }

    fn lock(reference: &str) -> Lock {
        let image = LockedImage {
            tagged: Digest::of(b"index"),
            manifest: blob("manifest"),
            config: blob("config"),
            layers: vec![blob("lower"), blob("upper layer")],
        };
        let mut lock = choose::merge([]);
        lock.images = [(reference.parse().unwrap(), image)].into();
        lock
    }

    #[test]
    fn an_image_is_written_with_all_its_digests_and_read_back() {
        let lock = lock("registry.k8s.io/coredns/coredns:v1.11.3");
        let text = lock.to_string();
        assert_eq!(Lock::parse(&text), Ok(lock));
        let (_, images) = text.split_once("[roles]\n\n").unwrap();
        assert_eq!(images, include_str!("images.golden"));
    }

    #[test]
    fn an_image_that_somebody_edited_is_refused() {
        let good = lock("a.b/c:1").to_string();
        for (old, new, expected) in [
            ("size = 8", "size = 4194305", "size 4194305 of the manifest is above 4194304"),
            ("size = 6", "size = 4194305", "size 4194305 of the configuration is above"),
            ("size = 5", "size = 5368709120", "size 5368709120 of a layer is above"),
            ("a.b/c:1", "c:1", "names no host"),
            ("tagged", "tag", "unknown field `tag`"),
        ] {
            let found = Lock::parse(&good.replace(old, new)).unwrap_err().to_string();
            assert!(found.contains(expected), "{expected}: {found}");
        }
        for digest in [Digest::of(b"manifest"), Digest::of(b"index")] {
            let text = lock(&format!("a.b/c:1@sha256:{digest}")).to_string();
            assert!(Lock::parse(&text).is_ok());
        }
        let text = lock(&format!("a.b/c:1@sha256:{}", Digest::of(b"other"))).to_string();
        let found = Lock::parse(&text).unwrap_err().to_string();
        assert!(found.contains("it is ") && found.contains(", not "), "{found}");
        let mut none = lock("a.b/c:1");
        none.images.values_mut().for_each(|image| image.layers.clear());
        let found = Lock::parse(&none.to_string()).unwrap_err().to_string();
        assert!(found.contains("it has 0 layers, expected 1 to 127"), "{found}");
    }
}
