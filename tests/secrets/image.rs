// SPDX-License-Identifier: Apache-2.0
//! A built image, opened by foreign programs: where in it which secrets are.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use super::needles::{Needles, has_private_key};

pub(super) struct Image {
    folder: PathBuf,
    raw: PathBuf,
    pub(super) manifest: Value,
}

impl Image {
    /// What a build put into `folder`.
    pub(super) fn open(folder: &Path, remedy: &str) -> Self {
        let manifest = fs::read(folder.join("manifest.json"))
            .unwrap_or_else(|error| panic!("{}: {error}; run '{remedy}'", folder.display()));
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        let raw = folder.join(manifest["outputs"][0]["file"].as_str().unwrap());
        Self { folder: folder.to_owned(), raw, manifest }
    }

    /// The paths that the manifest says to be secrets.
    pub(super) fn listed(&self) -> BTreeSet<String> {
        let secrets = self.manifest["secrets"].as_array().expect("the manifest lists secrets");
        secrets.iter().map(|file| file["path"].as_str().unwrap().to_owned()).collect()
    }

    /// Secrets by the file of the root that holds them. A whole private key of somebody else
    /// counts as the secret `?`.
    pub(super) fn in_root(&self, needles: &Needles) -> BTreeMap<String, BTreeSet<String>> {
        let scratch = tempfile::tempdir().unwrap();
        let squashfs = self.extract(2, scratch.path());
        let root = scratch.path().join("root");
        run(Command::new("unsquashfs")
            .args(["-quiet", "-no-progress", "-no-xattrs", "-dest"])
            .args([&root, &squashfs]));
        let mut found = BTreeMap::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                let (path, kind) = (entry.path(), entry.file_type().unwrap());
                if kind.is_dir() {
                    folders.push(path);
                    continue;
                } else if !kind.is_file() {
                    continue;
                }
                let bytes = fs::read(&path).unwrap();
                let mut secrets: BTreeSet<String> =
                    needles.found(&bytes).into_iter().map(str::to_owned).collect();
                // Libraries publish keys that they test themselves with.
                if secrets.is_empty() && !bytes.starts_with(b"\x7fELF") && has_private_key(&bytes) {
                    secrets.insert("?".to_owned());
                }
                if !secrets.is_empty() {
                    let name = format!("/{}", path.strip_prefix(&root).unwrap().display());
                    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
                    assert_eq!(mode, 0o600, "{name}");
                    found.insert(name, secrets);
                }
            }
        }
        found
    }

    /// Secrets in what is not the root: the disk's own bytes, the kernel's image with its
    /// initramfs, and the documents beside the image.
    pub(super) fn outside(&self, needles: &Needles) -> BTreeSet<String> {
        let scratch = tempfile::tempdir().unwrap();
        let mut found = in_file(needles, &self.raw);
        let esp = self.extract(1, scratch.path());
        for uki in self.ukis(&esp) {
            let (file, initrd) = (scratch.path().join("uki"), scratch.path().join("initrd"));
            run(Command::new("mcopy").args(["-n", "-i"]).arg(&esp).arg(&uki).arg(&file));
            run(Command::new("objcopy")
                .args(["-O", "binary", "--dump-section"])
                .arg(format!(".initrd={}", initrd.display()))
                .arg(&file)
                .arg("/dev/null"));
            let archive = run(Command::new("zstd").args(["-dcq"]).arg(&initrd));
            assert!(archive.starts_with(b"070701"), "the initramfs is a cpio archive");
            found.extend(needles.found(&archive).into_iter().map(str::to_owned));
            assert!(!has_private_key(&archive));
        }
        for name in ["manifest.json", "SHA256SUMS"] {
            found.extend(in_file(needles, &self.folder.join(name)));
        }
        found
    }

    /// Names of the kernel images, as mtools names files.
    fn ukis(&self, esp: &Path) -> Vec<String> {
        let listing = run(Command::new("mdir").args(["-b", "-i"]).arg(esp).arg("::/EFI/Linux"));
        let listing = String::from_utf8(listing).unwrap();
        let names: Vec<String> = listing.lines().map(str::to_owned).collect();
        assert!(!names.is_empty(), "no kernel image");
        names
    }

    /// Copies partition `number` to a file of its own, for tools that know no offsets.
    fn extract(&self, number: usize, to: &Path) -> PathBuf {
        let partition = &self.manifest["partitions"][number - 1];
        let number_of = |key: &str| partition[key].as_u64().unwrap();
        let mut raw = File::open(&self.raw).unwrap();
        raw.seek(SeekFrom::Start(number_of("offset"))).unwrap();
        let path = to.join(format!("partition-{number}"));
        let mut file = File::create(&path).unwrap();
        std::io::copy(&mut raw.take(number_of("size")), &mut file).unwrap();
        path
    }
}

/// Secrets in a file that may be larger than memory; what is zero is passed over.
pub(super) fn in_file(needles: &Needles, path: &Path) -> BTreeSet<String> {
    const PIECE: usize = 1 << 20;
    let mut file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut found = BTreeSet::new();
    let mut piece = Vec::new();
    loop {
        let kept = piece.len().saturating_sub(needles.overlap());
        piece.drain(..kept);
        let before = piece.len();
        file.by_ref().take(PIECE as u64).read_to_end(&mut piece).unwrap();
        if piece.len() == before {
            return found;
        }
        if piece.iter().any(|byte| *byte != 0) {
            found.extend(needles.found(&piece).into_iter().map(str::to_owned));
        }
    }
}

fn run(command: &mut Command) -> Vec<u8> {
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    output.stdout
}
