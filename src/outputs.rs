// SPDX-License-Identifier: Apache-2.0
//! What a build leaves: `out/ROLE/` with the images, `manifest.json` and `SHA256SUMS`.
//!
//! A role's folder is filled in a scratch folder beside it and takes its place by one rename, so
//! it is always a whole result of one build: the old one or the new one.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::Serialize;

use crate::{
    cluster::{Cluster, Delivery},
    digest::{Digest, Hasher},
    disk::layout::DiskLayout,
    formats::{gpt, oci::Reference},
    kubernetes::secrets::{self, Listed},
    lock::LockedPackage,
    pki::delivery::NodeFile,
    sys,
    tree::{Content, TreePath},
};

/// Everything a person or a program may want to know about one image. No secrets, no times of
/// the build, no names of the machine that built it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Manifest {
    pub schema: u32,
    pub cluster: String,
    pub role: String,
    pub version: String,
    /// The builder's own version.
    pub kiln: String,
    /// Digest of kiln-init as it is in the image.
    pub kiln_init: Digest,
    pub plan: Digest,
    /// Seconds since 1970 of everything that carries a time.
    pub epoch: u32,
    pub kernel: String,
    pub root_hash: Digest,
    pub command_line: String,
    pub partitions: Vec<Partition>,
    pub outputs: Vec<Output>,
    pub packages: Vec<Package>,
    pub overlays: Vec<String>,
    /// Images of registries, by the digest of their manifest.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<Reference, Digest>,
    /// The files of the root that are secrets; empty in an image that can be published.
    pub secrets: Vec<Listed>,
    /// What a role of a Kubernetes cluster needs and this image does not hold, with the reason.
    pub absent: BTreeMap<String, String>,
    /// Sizes in bytes, for budgets.
    pub sizes: BTreeMap<String, u64>,
}

/// One GPT entry, as it lies on the disk.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Partition {
    pub number: u32,
    pub label: String,
    pub r#type: uuid::Uuid,
    pub uuid: uuid::Uuid,
    /// Bytes from the start of the disk.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Output {
    pub file: String,
    /// Bytes.
    pub size: u64,
    pub sha256: Digest,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Package {
    pub name: String,
    pub version: String,
    pub architecture: String,
    pub sha256: Digest,
}

impl From<&LockedPackage> for Package {
    fn from(locked: &LockedPackage) -> Self {
        Self {
            name: locked.name.clone(),
            version: locked.version.clone(),
            architecture: locked.architecture.clone(),
            sha256: locked.sha256,
        }
    }
}

/// Version of [`Manifest`]'s JSON.
pub const MANIFEST_SCHEMA: u32 = 1;

/// The partitions of a layout, in the order of their numbers.
pub fn partitions(layout: &DiskLayout) -> Vec<Partition> {
    let partition = |(index, entry): (usize, &gpt::Partition)| Partition {
        number: u32::try_from(index + 1).expect("GPT has 128 entries"),
        label: entry.label.clone(),
        r#type: entry.type_guid,
        uuid: entry.guid,
        offset: entry.first_lba * gpt::BLOCK,
        size: entry.n_blocks * gpt::BLOCK,
    };
    layout.table.partitions.iter().enumerate().map(partition).collect()
}

/// What of Kubernetes an image does not hold.
pub fn absent(cluster: &Cluster) -> BTreeMap<String, String> {
    let all = |names: &[&str], reason: &str| {
        names.iter().map(|what| ((*what).to_owned(), reason.to_owned())).collect()
    };
    match secrets::delivery(cluster) {
        None => all(
            &["kubernetes-binaries", "certificates"],
            "cluster.yaml has no 'kubernetes': the image has the operating system and the \
             services around Kubernetes",
        ),
        Some(Delivery::Seed) => {
            all(&["certificates"], "pki.delivery is 'seed': every host's seed carries its own")
        }
        Some(Delivery::Baked) => BTreeMap::new(),
    }
}

/// Where an image has secrets, sorted; not a word of what they are.
pub fn secrets(files: &[NodeFile]) -> Vec<Listed> {
    let secrets = files.iter().filter(|file| file.kind.is_secret());
    let mut secrets: Vec<Listed> = secrets.map(Listed::from).collect();
    secrets.sort();
    secrets
}

/// Bytes hashed at a time.
const PIECE: usize = 1 << 20;

/// Size and digest of a finished file in `folder`.
pub fn describe(folder: &Path, file: &str) -> Result<Output> {
    let content = sys::fs::content(&folder.join(file))?;
    let sha256 = digest(&content).with_context(|| format!("hashing '{file}'"))?;
    Ok(Output { file: file.to_owned(), size: content.len(), sha256 })
}

fn digest(content: &Content) -> io::Result<Digest> {
    let mut hasher = Hasher::new();
    let mut piece = vec![0; PIECE];
    let mut offset = 0;
    while offset < content.len() {
        let rest = usize::try_from(content.len() - offset).unwrap_or(PIECE).min(PIECE);
        content.read_exact_at(&mut piece[..rest], offset)?;
        hasher.update(&piece[..rest]);
        offset += rest as u64;
    }
    Ok(hasher.finish())
}

/// Writes `manifest.json` and `SHA256SUMS` beside the images in `folder`.
pub fn finish(folder: &Path, manifest: &Manifest) -> Result<()> {
    let mut json = serde_json::to_vec_pretty(manifest).context("encoding the manifest")?;
    json.push(b'\n');
    sys::fs::write_atomic(&folder.join("manifest.json"), &json)?;
    let described = Output {
        file: "manifest.json".to_owned(),
        size: json.len() as u64,
        sha256: Digest::of(&json),
    };
    let sums = sums(manifest.outputs.iter().chain([&described]));
    sys::fs::write_atomic(&folder.join("SHA256SUMS"), sums.as_bytes())
}

/// The text of `SHA256SUMS`: what `sha256sum -c` and systemd-sysupdate read, sorted by name.
fn sums<'a>(outputs: impl Iterator<Item = &'a Output>) -> String {
    let by_name: BTreeMap<&str, &Digest> =
        outputs.map(|output| (output.file.as_str(), &output.sha256)).collect();
    by_name.iter().map(|(file, sha256)| format!("{sha256}  {file}\n")).collect()
}

/// Puts the finished folder `from` at `to`; what was at `to` is removed afterwards.
pub fn publish(from: &Path, to: &Path) -> Result<()> {
    let task = || format!("putting results at '{}'", to.display());
    if !sys::fs::exists(to) {
        return renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE).with_context(task);
    }
    match renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE) {
        Ok(()) => sys::fs::remove_dirs(from),
        // Not every file system can exchange two names.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            let old = old_name(from);
            renameat_with(CWD, to, CWD, &old, RenameFlags::empty()).with_context(task)?;
            renameat_with(CWD, from, CWD, to, RenameFlags::empty()).with_context(task)?;
            sys::fs::remove_dirs(&old)
        }
        Err(error) => Err(error).with_context(task),
    }
}

fn old_name(from: &Path) -> PathBuf {
    let mut name = from.as_os_str().to_owned();
    name.push(".old");
    PathBuf::from(name)
}

/// Why something is in the image: one line per entry, for `explain` and for tests.
pub fn origins(tree: &crate::tree::Tree) -> BTreeMap<TreePath, String> {
    tree.iter().map(|(path, _, inode)| (path.clone(), inode.origin.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_sorted_and_end_with_a_newline() {
        let output = |file: &str| Output {
            file: file.to_owned(),
            size: 0,
            sha256: Digest::of(file.as_bytes()),
        };
        let text = sums([output("b.raw"), output("a.raw")].iter());
        let names: Vec<&str> = text.lines().map(|line| &line[66..]).collect();
        assert_eq!(names, ["a.raw", "b.raw"]);
        assert!(text.ends_with('\n'));
    }

    #[test]
    fn a_new_result_takes_the_old_ones_place_whole() {
        let scratch = tempfile::tempdir().expect("a folder");
        let (new, out) = (scratch.path().join("new"), scratch.path().join("out"));
        for (folder, text) in [(&new, "1"), (&out, "0")] {
            sys::fs::create_dirs(folder).expect("made");
            sys::fs::write_atomic(&folder.join("file"), text.as_bytes()).expect("written");
        }
        publish(&new, &out).expect("published");
        assert_eq!(sys::fs::read_text(&out.join("file")).expect("there"), "1");
        assert!(!sys::fs::exists(&new));
    }
}
