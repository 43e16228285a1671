// SPDX-License-Identifier: Apache-2.0
//! Files: each call once, with the path in its error.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result};

use crate::tree::{Content, Source};

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

/// A file's bytes as [`Content`], read when they are needed.
pub fn content(path: &Path) -> Result<Content> {
    let (source, len) = open_source(path)?;
    Ok(Content::Window { source, offset: 0, len })
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

/// The file's text, or none if there is no such file.
pub fn read_text_if_present(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading '{}'", path.display())),
    }
}

pub fn create_dirs(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("creating folder '{}'", path.display()))
}

pub fn exists(path: &Path) -> bool {
    path.exists()
}

/// Writes a file whole or not at all: temporary file beside it, fsync, rename.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let task = || format!("writing '{}'", path.display());
    let mut file = tempfile::Builder::new()
        .prefix(".kiln-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(folder)
        .with_context(task)?;
    file.write_all(bytes).with_context(task)?;
    file.as_file().sync_all().with_context(task)?;
    file.persist(path).with_context(task)?;
    Ok(())
}

/// Removes a folder and everything in it.
pub fn remove_dirs(path: &Path) -> Result<()> {
    fs::remove_dir_all(path).with_context(|| format!("removing folder '{}'", path.display()))
}
