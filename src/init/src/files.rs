// SPDX-License-Identifier: Apache-2.0
//! Writing files whole or not at all, below one folder and through no symbolic link.

use std::{fs::File as Handle, io::Write as _, os::fd::OwnedFd, path::Path};

use kiln_init::first_boot::File;
use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, ResolveFlags},
    io::Errno,
};

use crate::error::{Result, Stop, While as _};

/// Bytes of a file of the image that more is added to.
const EXISTING_MAX: u64 = 8 << 20;

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);

/// A folder that files are written below.
#[derive(Debug)]
pub(crate) struct Below {
    root: OwnedFd,
    durable: bool,
}

impl Below {
    /// For files that need not survive a power cut: tmpfs.
    pub(crate) fn open(root: &str) -> Result<Self> {
        let root = rustix::fs::openat(CWD, root, FOLDER | OFlags::PATH, Mode::empty())
            .during(format_args!("opening '{root}'"))?;
        Ok(Self { root, durable: false })
    }

    /// For files that are on the disk when [`Below::write`] returns.
    pub(crate) fn durable(root: &str) -> Result<Self> {
        Ok(Self { durable: true, ..Self::open(root)? })
    }

    /// Writes `file` under its path below the folder: temporary file beside it, then rename.
    /// Folders that are missing are made.
    pub(crate) fn write(&self, file: &File) -> Result<()> {
        let task = format!("writing '{}'", file.path);
        let (folder, name) = file.path.rsplit_once('/').ok_or_else(|| Stop::new(&task))?;
        let folder = self.folder(folder).during(&task)?;
        let temporary = format!(".kiln-{name}");
        let before =
            if file.after_image { existing(&folder, name).during(&task)? } else { Vec::new() };
        let replaced = self.fill(&folder, &temporary, file, &before).and_then(|()| {
            let flags = RenameFlags::empty();
            Ok(rustix::fs::renameat_with(&folder, &*temporary, &folder, name, flags)?)
        });
        if replaced.is_err() {
            let _ = rustix::fs::unlinkat(&folder, &*temporary, AtFlags::empty());
        }
        replaced.during(&task)?;
        if self.durable {
            rustix::fs::fsync(&folder).during(&task)?;
        }
        Ok(())
    }

    fn fill(
        &self,
        folder: &OwnedFd,
        temporary: &str,
        file: &File,
        before: &[u8],
    ) -> std::io::Result<()> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(folder, temporary, flags, Mode::RUSR | Mode::WUSR)?;
        let mut handle = Handle::from(handle);
        handle.write_all(before)?;
        handle.write_all(&file.bytes)?;
        let (uid, gid) = (rustix::fs::Uid::from_raw(file.uid), rustix::fs::Gid::from_raw(file.gid));
        rustix::fs::fchown(&handle, Some(uid), Some(gid))?;
        rustix::fs::fchmod(&handle, Mode::from_raw_mode(u32::from(file.mode)))?;
        if self.durable {
            handle.sync_all()?;
        }
        Ok(())
    }

    /// Opens a folder below the root, making what is missing.
    fn folder(&self, path: &str) -> std::io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let mut folder = self.root.try_clone()?;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let open = || rustix::fs::openat2(&folder, part, FOLDER, Mode::empty(), resolve);
            let next = match open() {
                Err(Errno::NOENT) => {
                    rustix::fs::mkdirat(&folder, part, Mode::from_raw_mode(0o755))?;
                    open()?
                }
                other => other?,
            };
            folder = next;
        }
        Ok(folder)
    }
}

/// What a file holds that others are to follow; nothing if there is none.
fn existing(folder: &OwnedFd, name: &str) -> std::io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(folder, name, flags, Mode::empty()) {
        Ok(handle) => limited(Handle::from(handle), EXISTING_MAX),
        Err(Errno::NOENT) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// A file of kiln-init's own, for root.
pub(crate) fn private(path: &str, mode: u16, bytes: Vec<u8>) -> File {
    File { path: path.to_owned(), mode, uid: 0, gid: 0, bytes, after_image: false }
}

/// A file's bytes, at most `limit` of them; none if there is no such file.
pub(crate) fn read_limited(path: impl AsRef<Path>, limit: u64) -> std::io::Result<Option<Vec<u8>>> {
    match Handle::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        other => limited(other?, limit).map(Some),
    }
}

fn limited(file: Handle, limit: u64) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let n = file.take(limit + 1).read_to_end(&mut bytes)?;
    if n as u64 > limit {
        return Err(std::io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt as _};

    use super::*;

    fn file(path: &str) -> File {
        let owner = rustix::process::getuid().as_raw();
        let group = rustix::process::getgid().as_raw();
        File {
            path: path.to_owned(),
            mode: 0o640,
            uid: owner,
            gid: group,
            bytes: b"x\n".to_vec(),
            after_image: false,
        }
    }

    #[test]
    fn a_file_has_its_content_and_mode_and_leaves_nothing_beside_it() {
        let root = tempfile::tempdir().unwrap();
        let below = Below::durable(root.path().to_str().unwrap()).unwrap();
        below.write(&file("/etc/a/b")).unwrap();
        below.write(&file("/etc/a/b")).unwrap();
        let path = root.path().join("etc/a/b");
        assert_eq!(fs::read(&path).unwrap(), b"x\n");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(fs::read_dir(root.path().join("etc/a")).unwrap().count(), 1);
    }

    #[test]
    fn bytes_after_the_image_follow_what_is_there() {
        let root = tempfile::tempdir().unwrap();
        let below = Below::open(root.path().to_str().unwrap()).unwrap();
        below.write(&File { bytes: b"old\n".to_vec(), ..file("/a") }).unwrap();
        below.write(&File { after_image: true, ..file("/a") }).unwrap();
        assert_eq!(fs::read(root.path().join("a")).unwrap(), b"old\nx\n");
        below.write(&File { after_image: true, ..file("/b") }).unwrap();
        assert_eq!(fs::read(root.path().join("b")).unwrap(), b"x\n");
    }

    #[test]
    fn nothing_is_written_through_a_symbolic_link_or_above_the_root() {
        let root = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), root.path().join("etc")).unwrap();
        let below = Below::open(root.path().to_str().unwrap()).unwrap();
        for path in ["/etc/a", "/../a", "/x/../../a"] {
            assert!(below.write(&file(path)).is_err(), "{path}");
        }
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }

    #[test]
    fn reading_stops_at_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read_limited(&path, 5).unwrap().as_deref(), Some(&b"12345"[..]));
        assert!(read_limited(&path, 4).is_err());
        assert_eq!(read_limited(folder.path().join("b"), 4).unwrap(), None);
    }
}
