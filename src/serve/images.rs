// SPDX-License-Identifier: Apache-2.0
//! What builds left in `out/ROLE/`, as the manifests say: the only files that are served.
//!
//! A role's folder is opened once, so a build that takes its place changes nothing for those who
//! are in the middle of it. Each build has an id, the start of its manifest's digest, which paths may
//! name: kernel, initrd and root that are asked for so are of one build or are not there.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::folder::Folder;
use crate::{cluster::Cluster, digest::Digest, error::refuse, outputs::MANIFEST_SCHEMA, sys};

const MANIFEST: &str = "manifest.json";
const SUMS: &str = "SHA256SUMS";
/// Bytes of a manifest: a thousand times what there is.
const MANIFEST_MAX: u64 = 32 << 20;

/// What may be served although it holds private keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keys {
    pub images: Secrecy,
    /// Hosts' metadata, over HTTPS.
    pub metadata: bool,
}

/// How images that hold keys are served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Secrecy {
    #[default]
    Never,
    Https,
    /// To whoever reads along, too.
    Http,
}

impl Secrecy {
    /// What of it is left where nothing is encrypted.
    pub fn without_tls(self) -> Self {
        if self == Self::Http { Self::Http } else { Self::Never }
    }
}

/// What of a manifest counts here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Manifest {
    schema: u32,
    cluster: String,
    role: String,
    version: String,
    plan: Digest,
    root_hash: Digest,
    outputs: Vec<Output>,
    secrets: Vec<Secret>,
}

#[derive(Debug, Deserialize)]
struct Secret {
    kind: String,
}

impl Secret {
    /// A kind that is not known is one that must not be known to others.
    fn is_key(&self) -> bool {
        !matches!(&*self.kind, "certificate" | "public-key")
    }
}

#[derive(Debug, Deserialize)]
struct Output {
    file: String,
    size: u64,
    sha256: Digest,
}

/// A file that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    /// Bytes.
    pub(super) len: u64,
    pub(super) sha256: Digest,
}

/// One role's build.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) role: String,
    pub(super) version: String,
    pub(super) plan: Digest,
    pub(super) root_hash: Digest,
    /// 12 hex digits.
    pub(super) id: String,
    pub(super) n_keys: usize,
    /// iPXE's script, if it can be booted by network.
    pub(super) script: Option<String>,
    pub(super) folder: Folder,
    pub(super) files: BTreeMap<String, Known>,
    /// Of the manifest: another build has another.
    inode: u64,
}

/// The roles that are built.
#[derive(Debug, Default)]
pub struct Images(BTreeMap<String, Arc<Image>>);

impl Images {
    /// Reads what is there of the cluster's roles.
    ///
    /// # Errors
    /// A manifest cannot be read, or is not of this cluster.
    pub fn read(out: &Path, cluster: &Cluster) -> Result<Self> {
        let read = Self::default().read_again(out, cluster)?;
        Ok(read.unwrap_or_default())
    }

    /// The same, if something has changed.
    pub(super) fn read_again(&self, out: &Path, cluster: &Cluster) -> Result<Option<Self>> {
        let mut images = BTreeMap::new();
        let mut changed = false;
        for role in cluster.roles() {
            let path = out.join(role);
            let Some(inode) = sys::fs::inode_if_present(&path.join(MANIFEST))? else {
                changed |= self.0.contains_key(role);
                continue;
            };
            let image = match self.0.get(role).filter(|image| image.inode == inode) {
                Some(image) => Arc::clone(image),
                None => {
                    changed = true;
                    let task = || format!("reading what was built in '{}'", path.display());
                    Arc::new(Image::open(&path, role, cluster, inode).with_context(task)?)
                }
            };
            images.insert(role.to_owned(), image);
        }
        Ok(changed.then_some(Self(images)))
    }

    /// Whether all of it may be served.
    ///
    /// # Errors
    /// An image holds keys, and nobody said that it may be served.
    pub fn check(&self, keys: Keys) -> Result<()> {
        let Some(image) = self.0.values().find(|image| image.n_keys > 0) else { return Ok(()) };
        if keys.images != Secrecy::Never {
            return Ok(());
        }
        let (role, n_keys) = (&image.role, image.n_keys);
        Err(refuse(
            format!(
                "the image of '{role}' holds {n_keys} private keys, which everybody could download"
            ),
            "'pki.delivery: seed' keeps them out of images; '--serve-keys images' serves such images \
             over HTTPS alone, '--serve-keys images-over-http' in a network where all may read along",
        ))
    }

    pub(super) fn role(&self, role: &str) -> Option<&Arc<Image>> {
        self.0.get(role)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Image>> {
        self.0.values()
    }
}

impl Image {
    fn open(path: &Path, role: &str, cluster: &Cluster, inode: u64) -> Result<Self> {
        let folder = Folder::open(path)?;
        let bytes = folder.read(MANIFEST, MANIFEST_MAX).context("opening the manifest")?;
        let manifest = Manifest::parse(&bytes, role, &cluster.name)?;
        let mut files: BTreeMap<String, Known> = BTreeMap::new();
        let of = |bytes: &[u8]| Known { len: bytes.len() as u64, sha256: Digest::of(bytes) };
        files.insert(MANIFEST.to_owned(), of(&bytes));
        let sums = folder.read(SUMS, MANIFEST_MAX).with_context(|| format!("opening '{SUMS}'"))?;
        files.insert(SUMS.to_owned(), of(&sums));
        for Output { file, size, sha256 } in manifest.outputs {
            files.insert(file, Known { len: size, sha256 });
        }
        Ok(Self {
            role: manifest.role,
            version: manifest.version,
            plan: manifest.plan,
            root_hash: manifest.root_hash,
            id: Digest::of(&bytes).short(),
            n_keys: manifest.secrets.iter().filter(|secret| secret.is_key()).count(),
            script: files.keys().find(|name| name.ends_with(".ipxe")).cloned(),
            folder,
            files,
            inode,
        })
    }
}

impl Manifest {
    fn parse(bytes: &[u8], role: &str, cluster: &str) -> Result<Self> {
        let manifest: Self = serde_json::from_slice(bytes).context("reading the manifest")?;
        let again = "build it again with 'kiln build'";
        if manifest.schema != MANIFEST_SCHEMA {
            let found = manifest.schema;
            return Err(refuse(format!("expected schema {MANIFEST_SCHEMA}, found {found}"), again));
        }
        if manifest.role != role || manifest.cluster != cluster {
            return Err(refuse(
                format!(
                    "expected '{cluster}', role '{role}'; found '{}', role '{}'",
                    manifest.cluster, manifest.role
                ),
                again,
            ));
        }
        match manifest.outputs.iter().find(|output| !is_plain(&output.file)) {
            Some(wrong) => Err(refuse(format!("{:?} is no plain file name", wrong.file), again)),
            None => Ok(manifest),
        }
    }
}

/// A name that stands for itself in a path and in a URL.
fn is_plain(name: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-._+".contains(&byte);
    !name.is_empty() && !name.starts_with('.') && name.len() <= 128 && name.bytes().all(fine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_served() {
        for name in ["quickstart-lb.raw", "a.zstd.qcow2", "SHA256SUMS"] {
            assert!(is_plain(name), "{name}");
        }
        for name in ["", ".", "..", ".a", "a/b", "../a", "a\\b", "a b", "a%2fb", "ä", "a\0"] {
            assert!(!is_plain(name), "{name}");
        }
    }

    #[test]
    fn a_manifest_of_another_cluster_is_refused() {
        let manifest = |cluster: &str, file: &str| {
            let zero = "0".repeat(64);
            serde_json::json!({
                "schema": 1, "cluster": cluster, "role": "lb", "version": "1", "plan": zero,
                "root-hash": zero, "secrets": [], "more": 1,
                "outputs": [{ "file": file, "size": 1, "sha256": zero }],
            })
            .to_string()
        };
        let parse = |text: &str| Manifest::parse(text.as_bytes(), "lb", "c");
        assert!(parse(&manifest("c", "a.raw")).is_ok());
        assert!(parse(&manifest("d", "a.raw")).is_err());
        assert!(parse(&manifest("c", "../a")).is_err());
        assert!(parse("{}").is_err());
    }

    #[test]
    fn certificates_are_no_keys() {
        let is_key = |kind: &str| Secret { kind: kind.to_owned() }.is_key();
        assert!(!is_key("certificate") && !is_key("public-key"));
        assert!(is_key("private-key") && is_key("bootstrap-token") && is_key("news"));
    }
}
