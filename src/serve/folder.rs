// SPDX-License-Identifier: Apache-2.0
//! Files beneath a folder that is open: no name, and no link, leads out of it (openat2(2)).
//!
//! Part of the I/O ring.

use std::{fs::File, io, io::IoSliceMut, os::fd::OwnedFd, path::Path};

use anyhow::{Context as _, Result};
use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags},
    io::{Errno, ReadWriteFlags},
};

/// A folder that stays the one that was opened, also when its name is another's.
#[derive(Debug)]
pub(super) struct Folder(OwnedFd);

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(CWD, path, flags, Mode::empty());
        handle.map(Self).with_context(|| format!("opening folder '{}'", path.display()))
    }

    /// A regular file of it.
    ///
    /// # Errors
    /// There is none of that name, or it is something else.
    pub(super) fn file(&self, name: &str) -> io::Result<File> {
        // A pipe would wait for its other end.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let file = rustix::fs::openat2(&self.0, name, flags, Mode::empty(), resolve)?;
        let file = File::from(file);
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::Error::new(io::ErrorKind::InvalidInput, "no regular file")),
        }
    }

    /// A small file as a whole.
    pub(super) fn read(&self, name: &str, limit: u64) -> io::Result<Vec<u8>> {
        use io::Read as _;
        let mut bytes = Vec::new();
        let n = self.file(name)?.take(limit + 1).read_to_end(&mut bytes)?;
        if n as u64 > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes)
    }
}

/// Reads what is in memory already; none if that is nothing, or if the file system cannot say.
pub(super) fn read_at_once(
    file: &File,
    piece: &mut [u8],
    offset: u64,
) -> io::Result<Option<usize>> {
    let flags = ReadWriteFlags::NOWAIT;
    match rustix::io::preadv2(file, &mut [IoSliceMut::new(piece)], offset, flags) {
        Ok(n) => Ok(Some(n)),
        Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Reads and waits for the disk.
pub(super) fn read_at(file: &File, piece: &mut [u8], offset: u64) -> io::Result<usize> {
    use std::os::unix::fs::FileExt as _;
    file.read_at(piece, offset)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::sys;

    #[test]
    fn no_name_and_no_link_leads_out_of_a_folder() {
        let root = tempfile::tempdir().unwrap();
        let inside = root.path().join("inside");
        sys::fs::create_dirs(&inside).unwrap();
        sys::fs::write_atomic(&root.path().join("secret"), b"s").unwrap();
        sys::fs::write_atomic(&inside.join("a"), b"abc").unwrap();
        symlink("../secret", inside.join("relative")).unwrap();
        symlink(root.path().join("secret"), inside.join("absolute")).unwrap();
        symlink("a", inside.join("good")).unwrap();
        let folder = Folder::open(&inside).unwrap();
        assert_eq!(folder.read("a", 3).unwrap(), b"abc");
        assert_eq!(folder.read("good", 3).unwrap(), b"abc");
        assert!(folder.read("a", 2).is_err());
        for name in ["../secret", "/etc/passwd", "relative", "absolute", "x/../../secret", ".", ""]
        {
            assert!(folder.file(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_folder_stays_the_one_that_was_opened() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("out");
        sys::fs::create_dirs(&path).unwrap();
        sys::fs::write_atomic(&path.join("a"), b"old").unwrap();
        let folder = Folder::open(&path).unwrap();
        sys::fs::rename(&path, &root.path().join("moved")).unwrap();
        sys::fs::create_dirs(&path).unwrap();
        sys::fs::write_atomic(&path.join("a"), b"new").unwrap();
        assert_eq!(folder.read("a", 9).unwrap(), b"old");
    }

    #[test]
    fn a_file_is_read_at_once_or_with_waiting() {
        let root = tempfile::tempdir().unwrap();
        sys::fs::write_atomic(&root.path().join("a"), b"0123456789").unwrap();
        let file = Folder::open(root.path()).unwrap().file("a").unwrap();
        let mut piece = [0; 4];
        assert_eq!(read_at(&file, &mut piece, 8).unwrap(), 2);
        assert_eq!(&piece[..2], b"89");
        // Some file systems cannot read without waiting; those that can give the same bytes.
        if let Some(n) = read_at_once(&file, &mut piece, 2).unwrap() {
            assert_eq!(&piece[..n], b"2345");
        }
        assert!(matches!(read_at_once(&file, &mut piece, 10).unwrap(), None | Some(0)));
    }
}
