// SPDX-License-Identifier: Apache-2.0
//! Files: each call once, with the path in its error.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result};

use super::scratch::ScratchFile;
use crate::{
    digest::{Digest, Hasher},
    error::refuse,
    tree::{Content, Source},
};

/// A file opened for reading at offsets.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    path: PathBuf,
}

impl Source for FileSource {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset).map_err(|error| {
            io::Error::new(error.kind(), format!("reading '{}': {error}", self.path.display()))
        })
    }
}

/// Opens `path` as a source; the second value is its size.
pub fn open_source(path: &Path) -> Result<(Arc<dyn Source>, u64)> {
    let file = open(path)?;
    let len = file.metadata().with_context(|| format!("reading '{}'", path.display()))?.len();
    Ok((Arc::new(FileSource { file, path: path.to_owned() }), len))
}

/// The same for a file that is open already; `path` is for messages.
pub fn source(file: &File, path: &Path) -> Result<Arc<dyn Source>> {
    let file = file.try_clone().with_context(|| format!("reading '{}'", path.display()))?;
    Ok(Arc::new(FileSource { file, path: path.to_owned() }))
}

/// A file's bytes as [`Content`], read when they are needed.
pub fn content(path: &Path) -> Result<Content> {
    let (source, len) = open_source(path)?;
    Ok(Content::Window { source, offset: 0, len })
}

/// The same for a file that must have a digest, which is computed first.
pub fn pinned(path: &Path, sha256: &Digest) -> Result<Content> {
    let content = content(path)?;
    let found = digest(&content)?;
    if found == *sha256 {
        return Ok(content);
    }
    Err(refuse(
        format!("expected SHA-256 {sha256}, found {found}"),
        "restore the file, or pin what it is now",
    ))
    .with_context(|| format!("reading '{}'", path.display()))
}

/// SHA-256 of bytes that a file may hold.
pub fn digest(content: &Content) -> Result<Digest> {
    let mut hasher = Hasher::new();
    content.copy_to(&mut hasher)?;
    Ok(hasher.finish())
}

pub fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("opening '{}'", path.display()))
}

pub fn create(path: &Path) -> Result<File> {
    File::create(path).with_context(|| format!("creating '{}'", path.display()))
}

pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading '{}'", path.display()))
}

pub fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading '{}'", path.display()))
}

/// The file's bytes, or none if there is no such file.
pub fn read_if_present(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading '{}'", path.display())),
    }
}

/// The file's text, or none if there is no such file.
pub fn read_text_if_present(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading '{}'", path.display())),
    }
}

/// The file's text, or none if it is not there, not ours to read, or no text.
pub fn read_text_if_allowed(path: &Path) -> Result<Option<String>> {
    use io::ErrorKind::{InvalidData, NotFound, PermissionDenied};
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if matches!(error.kind(), NotFound | PermissionDenied | InvalidData) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading '{}'", path.display())),
    }
}

/// Paths of a folder's entries, sorted; none if there is no such folder.
pub fn list_if_present(path: &Path) -> Result<Vec<PathBuf>> {
    let task = || format!("reading folder '{}'", path.display());
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(task),
    };
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()
        .with_context(task)?;
    paths.sort();
    Ok(paths)
}

pub fn create_dirs(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("creating folder '{}'", path.display()))
}

pub fn exists(path: &Path) -> bool {
    path.exists()
}

pub fn is_dir(path: &Path) -> bool {
    path.is_dir()
}

/// The file's size, or none if there is no such file.
pub fn len_if_present(path: &Path) -> Result<Option<u64>> {
    Ok(metadata_if_present(path)?.map(|meta| meta.len()))
}

/// The number that tells files of one file system apart, or none if there is no such file.
pub fn inode_if_present(path: &Path) -> Result<Option<u64>> {
    Ok(metadata_if_present(path)?.map(|meta| meta.ino()))
}

fn metadata_if_present(path: &Path) -> Result<Option<fs::Metadata>> {
    match fs::metadata(path) {
        Ok(meta) => Ok(Some(meta)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading '{}'", path.display())),
    }
}

pub fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).with_context(|| format!("removing '{}'", path.display()))
}

pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("writing '{}'", to.display()))
}

/// Gives a file a second name, where the file system can.
pub fn link(from: &Path, to: &Path) -> bool {
    fs::hard_link(from, to).is_ok()
}

/// Opens a file to be read and continued; makes it if it is missing.
pub fn open_to_continue(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    options.open(path).with_context(|| format!("writing '{}'", path.display()))
}

/// Writes a file whole or not at all: temporary file beside it, fsync, rename.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = ScratchFile::beside(path)?;
    file.write_all(bytes).with_context(|| format!("writing '{}'", path.display()))?;
    file.publish()
}

/// The same for a file that only its owner may read, from its first moment.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = ScratchFile::beside_with_mode(path, 0o600)?;
    file.write_all(bytes).with_context(|| format!("writing '{}'", path.display()))?;
    file.publish()
}

/// Removes a folder and everything in it.
pub fn remove_dirs(path: &Path) -> Result<()> {
    fs::remove_dir_all(path).with_context(|| format!("removing folder '{}'", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_what_was_pinned_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        let bytes = vec![7; (1 << 20) + 5];
        fs::write(&path, &bytes).unwrap();
        let pin = Digest::of(&bytes);
        assert_eq!(pinned(&path, &pin).unwrap().len(), bytes.len() as u64);
        fs::write(&path, "other").unwrap();
        let error = format!("{:#}", pinned(&path, &pin).unwrap_err());
        let found = Digest::of(b"other");
        assert!(error.contains(&format!("expected SHA-256 {pin}, found {found}")), "{error}");
    }
}
