// SPDX-License-Identifier: Apache-2.0
//! The cache: downloads, unpacked packages and compressed blocks, all named by digests.
//!
//! ```text
//! packages/sha256/ab/DIGEST.deb     what the lock pins; DIGEST.partial resumes
//! indexes/sha256/ab/DIGEST          package indexes, by the digest of their signed Release
//! indexes/ARCHIVE/SUITE/InRelease   the newest verified one, for work without a network
//! unpacked/ab/DIGEST.tar            data.tar of the package DIGEST, decompressed
//! unpacked/ab/DIGEST.sha256         digest of that .tar
//! programs/sha256/ab/DIGEST         programs of Kubernetes, and bundles of them
//! programs/sha512/ab/DIGEST.partial the same while only a SHA-512 of it is known
//! images/sha256/ab/DIGEST           manifests, configurations and layers of registries
//! modules/ab/DIGEST                 what the kernel modules of a package say, by this very kiln
//! blocks/*.data, *.index            compressed blocks: see [`blocks`]
//! ```
//!
//! Nothing here is trusted: whatever is read is hashed first, and a damaged entry is made again.
//! The folder may be removed at any time.

pub mod blocks;

use std::{
    io::{self, Read, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result};

use crate::{
    checksum::Sum,
    debian::deb,
    digest::{Digest, Hasher},
    fetch::Fetched,
    sys::{self, interrupt, scratch::ScratchFile},
    tree::Source,
};

pub use blocks::BlockCache;

/// What kiln was built from: another kiln may derive other bytes from the same package.
const SOURCES: &str = env!("KILN_SOURCES");

/// The cache folder.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// A package's data.tar, decompressed, in the cache.
#[derive(Clone)]
pub struct Unpacked {
    pub source: Arc<dyn Source>,
    /// Bytes.
    pub len: u64,
}

impl std::fmt::Debug for Unpacked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Unpacked({} bytes)", self.len)
    }
}

impl Store {
    /// The cache in `root`, which is made when something is put there.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The decompressed data.tar of a package; made once, verified each time.
    ///
    /// Threads and processes may ask for the same package at once: each result is whole.
    pub fn unpacked(&self, package: &Fetched) -> Result<Unpacked> {
        let digest = &package.locked().sha256;
        let task = || format!("unpacking '{}'", package.locked().file_name());
        match self.reuse(digest).with_context(task)? {
            Some(unpacked) => Ok(unpacked),
            None => self.unpack(package).with_context(task),
        }
    }

    /// Something that takes long to make from the package `of` and is small: made once by each
    /// version of kiln, verified each time. `kind` names the folder.
    pub fn derived(
        &self,
        kind: &str,
        of: &Digest,
        make: impl FnOnce() -> Result<Vec<u8>>,
    ) -> Result<Vec<u8>> {
        self.derived_by(SOURCES, kind, of, make)
    }

    fn derived_by(
        &self,
        maker: &str,
        kind: &str,
        of: &Digest,
        make: impl FnOnce() -> Result<Vec<u8>>,
    ) -> Result<Vec<u8>> {
        let key = Digest::of(&[maker.as_bytes(), b"\0", of.as_bytes()].concat());
        let path = self.named(kind, &key, "");
        if let Some(kept) = sys::fs::read_if_present(&path)?
            && let Some((digest, bytes)) = kept.split_first_chunk::<32>()
            && Digest::of(bytes).as_bytes() == digest
        {
            return Ok(bytes.to_vec());
        }
        let bytes = make()?;
        sys::fs::create_dirs(path.parent().expect("below the cache"))?;
        let mut file = ScratchFile::beside(&path)?;
        file.write_all(Digest::of(&bytes).as_bytes())
            .and_then(|()| file.write_all(&bytes))
            .with_context(|| format!("writing '{}'", path.display()))?;
        file.appear()?;
        Ok(bytes)
    }

    /// Compressed blocks of earlier builds.
    pub fn blocks(&self) -> Result<BlockCache> {
        BlockCache::open(&self.root.join("blocks"), blocks::LIMIT)
    }

    pub(crate) fn package(&self, digest: &Digest) -> PathBuf {
        self.named("packages/sha256", digest, ".deb")
    }

    pub(crate) fn index(&self, digest: &Digest) -> PathBuf {
        self.named("indexes/sha256", digest, "")
    }

    /// A program of Kubernetes, or a bundle of them.
    pub(crate) fn program(&self, sum: &Sum) -> PathBuf {
        let (kind, name) = (sum.kind().name(), sum.digits());
        self.root.join("programs").join(kind).join(&name[..2]).join(name)
    }

    /// A blob of a registry.
    pub(crate) fn image_blob(&self, digest: &Digest) -> PathBuf {
        self.named("images/sha256", digest, "")
    }

    /// Beside the programs: where one is written while its digest is not known.
    pub(crate) fn incoming_program(&self, name: &str) -> PathBuf {
        self.root.join("programs").join(name)
    }

    pub(crate) fn release(&self, archive: &str, suite: &str) -> PathBuf {
        self.root.join("indexes").join(archive).join(suite).join("InRelease")
    }

    fn named(&self, folder: &str, digest: &Digest, suffix: &str) -> PathBuf {
        let name = digest.to_string();
        self.root.join(folder).join(&name[..2]).join(format!("{name}{suffix}"))
    }

    /// What an earlier run left, if it is whole.
    fn reuse(&self, package: &Digest) -> Result<Option<Unpacked>> {
        let note = self.named("unpacked", package, ".sha256");
        let Some(note) = sys::fs::read_text_if_present(&note)? else { return Ok(None) };
        let path = self.named("unpacked", package, ".tar");
        if !sys::fs::exists(&path) {
            return Ok(None);
        }
        let found = hash_file(&path)?;
        if note.trim_end().parse() != Ok(found) {
            return Ok(None);
        }
        let (source, len) = sys::fs::open_source(&path)?;
        Ok(Some(Unpacked { source, len }))
    }

    fn unpack(&self, package: &Fetched) -> Result<Unpacked> {
        let digest = &package.locked().sha256;
        let path = self.named("unpacked", digest, ".tar");
        sys::fs::create_dirs(path.parent().expect("below the cache"))?;
        let mut spool = ScratchFile::beside(&path)?;
        let mut tar = deb::data_tar(package.open()?)?;
        let mut hasher = Hasher::new();
        let mut len = 0;
        let mut buffer = vec![0; 256 << 10];
        loop {
            interrupt::check()?;
            let count = match tar.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("decompressing 'data.tar'"),
            };
            let bytes = &buffer[..count];
            hasher.update(bytes);
            spool.write_all(bytes).with_context(|| format!("writing '{}'", path.display()))?;
            len += count as u64;
        }
        // What is read back later is this very file, whatever happens to its name meanwhile.
        let source = sys::fs::source(spool.file(), &path)?;
        spool.appear()?;
        let note = self.named("unpacked", digest, ".sha256");
        let mut text = ScratchFile::beside(&note)?;
        writeln!(text, "{}", hasher.finish())
            .with_context(|| format!("writing '{}'", note.display()))?;
        text.appear()?;
        Ok(Unpacked { source, len })
    }
}

/// SHA-256 of a whole file.
pub(crate) fn hash_file(path: &Path) -> Result<Digest> {
    let mut file = sys::fs::open(path)?;
    hash(&mut file).with_context(|| format!("reading '{}'", path.display()))
}

/// The checksum of a whole file, of the kind of `like`.
pub(crate) fn sum_file(path: &Path, like: &Sum) -> Result<Sum> {
    let mut hasher = like.hasher();
    let mut file = sys::fs::open(path)?;
    feed(&mut file, |bytes| hasher.update(bytes))
        .with_context(|| format!("reading '{}'", path.display()))?;
    Ok(hasher.finish())
}

/// SHA-256 of an open file, from its beginning.
pub(crate) fn hash(file: &mut std::fs::File) -> Result<Digest> {
    let mut hasher = Hasher::new();
    feed(file, |bytes| hasher.update(bytes))?;
    Ok(hasher.finish())
}

fn feed(file: &mut std::fs::File, mut hash: impl FnMut(&[u8])) -> Result<()> {
    file.seek(SeekFrom::Start(0))?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        interrupt::check()?;
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            count => hash(&buffer[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_kiln_derived_is_not_reused() {
        let folder = tempfile::tempdir().expect("scratch");
        let store = Store::new(folder.path());
        let package = Digest::of(b"package");
        let derive = |maker, bytes: &[u8]| {
            store.derived_by(maker, "modules", &package, || Ok(bytes.to_vec())).expect("made")
        };
        assert_eq!(derive("old", b"wrong"), b"wrong");
        assert_eq!(derive("old", b"not asked"), b"wrong");
        assert_eq!(derive("new", b"right"), b"right");
    }
}
