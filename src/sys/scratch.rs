// SPDX-License-Identifier: Apache-2.0
//! Temporary files and folders beside the place where they will appear whole.
//!
//! They vanish when dropped, and also when a signal ends the program: each is in one list for
//! as long as it lives. Being beside the result makes the last step one rename.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, Result};

/// Begins the name of everything temporary, so that leftovers of a power cut are recognized.
pub const PREFIX: &str = ".kiln-";

static LIVE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A folder that vanishes with this value.
#[derive(Debug)]
pub struct Scratch {
    folder: tempfile::TempDir,
}

impl Scratch {
    /// A new folder inside `parent`, which is made if it is missing.
    pub fn inside(parent: &Path) -> Result<Self> {
        super::fs::create_dirs(parent)?;
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir_in(parent)
            .with_context(|| format!("creating a scratch folder in '{}'", parent.display()))?;
        enlist(folder.path());
        Ok(Self { folder })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Moves the file `name` of this folder to `target`, on the same file system, replacing it.
    pub fn publish(&self, name: &str, target: &Path) -> Result<()> {
        let from = self.path().join(name);
        let task = || format!("writing '{}'", target.display());
        File::open(&from).and_then(|file| file.sync_all()).with_context(task)?;
        fs::rename(&from, target).with_context(task)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        delist(self.folder.path());
    }
}

/// A file that vanishes with this value unless it is [published](Self::publish).
#[derive(Debug)]
pub struct ScratchFile {
    file: Option<tempfile::NamedTempFile>,
    target: PathBuf,
}

impl ScratchFile {
    /// A new file beside `target`, readable by all.
    pub fn beside(target: &Path) -> Result<Self> {
        Self::beside_with_mode(target, 0o644)
    }

    /// A new file beside `target` that has this mode from its first moment.
    pub fn beside_with_mode(target: &Path, mode: u32) -> Result<Self> {
        let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty());
        let file = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))
            .tempfile_in(parent.unwrap_or(Path::new(".")))
            .with_context(|| format!("writing '{}'", target.display()))?;
        enlist(file.path());
        Ok(Self { file: Some(file), target: target.to_owned() })
    }

    /// The open file.
    pub fn file(&self) -> &File {
        self.named().as_file()
    }

    pub fn path(&self) -> &Path {
        self.named().path()
    }

    /// Gives the file its name, with its bytes on the disk, replacing what was there.
    pub fn publish(self) -> Result<()> {
        let synced = self.file().sync_all();
        synced.with_context(|| format!("writing '{}'", self.target.display()))?;
        self.appear()
    }

    /// Gives the file its name, with its bytes on the disk, if nothing has that name.
    pub fn publish_new(mut self) -> Result<()> {
        let synced = self.file().sync_all();
        synced.with_context(|| format!("writing '{}'", self.target.display()))?;
        let file = self.file.take().expect("held until it is published");
        delist(file.path());
        let persisted = file.persist_noclobber(&self.target).map(drop).map_err(|error| error.error);
        persisted.with_context(|| format!("writing '{}'", self.target.display()))
    }

    /// Gives the file its name without waiting for the disk: for what is verified when read.
    pub fn appear(mut self) -> Result<()> {
        let file = self.file.take().expect("held until it is published");
        delist(file.path());
        let persisted = file.persist(&self.target).map(drop).map_err(|error| error.error);
        persisted.with_context(|| format!("writing '{}'", self.target.display()))
    }

    /// The same under a name that was not known before, on the same file system.
    pub fn appear_at(mut self, target: &Path) -> Result<()> {
        self.target = target.to_owned();
        self.appear()
    }

    fn named(&self) -> &tempfile::NamedTempFile {
        self.file.as_ref().expect("held until it is published")
    }
}

impl Write for ScratchFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file().flush()
    }
}

impl Drop for ScratchFile {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            delist(file.path());
        }
    }
}

/// Removes everything temporary; only for a program that ends now.
pub(super) fn remove_all() {
    let live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
    for path in live.iter() {
        // Other threads may still be adding files to a folder, so one pass is not always enough.
        // What cannot be removed stays under a name that begins with PREFIX.
        for _ in 0..8 {
            let removed = fs::remove_file(path).or_else(|_| fs::remove_dir_all(path));
            if removed.is_ok() || !path.exists() {
                break;
            }
        }
    }
}

fn enlist(path: &Path) {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned());
}

fn delist(path: &Path) {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_published_vanishes() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("result");
        let mut file = ScratchFile::beside(&target).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        let scratch = Scratch::inside(place.path()).unwrap();
        fs::write(scratch.path().join("disk"), b"half").unwrap();
        drop(scratch);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_published_stays_under_its_name_alone() {
        let place = tempfile::tempdir().unwrap();
        let mut file = ScratchFile::beside(&place.path().join("a")).unwrap();
        file.write_all(b"whole").unwrap();
        file.publish().unwrap();
        let scratch = Scratch::inside(place.path()).unwrap();
        fs::write(scratch.path().join("disk"), b"image").unwrap();
        scratch.publish("disk", &place.path().join("b")).unwrap();
        drop(scratch);
        let mut names: Vec<_> =
            fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(fs::read(place.path().join("a")).unwrap(), b"whole");
        assert_eq!(fs::read(place.path().join("b")).unwrap(), b"image");
    }
}
