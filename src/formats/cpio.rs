// SPDX-License-Identifier: Apache-2.0
//! The archive that the kernel unpacks as initramfs: cpio, "new ASCII" (newc).
//!
//! Specification: Linux `Documentation/driver-api/early-userspace/buffer-format.rst`. Every
//! entry is a 110-byte header of hexadecimal text, the name with a NUL, and the data, each
//! padded to 4 bytes; an entry named `TRAILER!!!` ends the archive.
//!
//! An [`Archive`] is a value: entries are sorted, so a directory stands before what it holds
//! (the kernel makes no parents), and inode numbers are the entry's place in that order.

use std::{collections::BTreeMap, fmt};

use super::chain::Chain;
use crate::tree::Content;

/// Magic of newc without checksums.
const MAGIC: &[u8; 6] = b"070701";

/// Magic and 13 fields of 8 hex digits.
const HEADER_LEN: usize = 6 + 13 * 8;

/// Name of the last entry.
const TRAILER: &str = "TRAILER!!!";

/// Longest name that the kernel takes (PATH_MAX, with its NUL).
const MAX_NAME: usize = 4096;

/// File type bits of `st_mode`.
const TYPE_DIRECTORY: u32 = 0o040_000;
const TYPE_FILE: u32 = 0o100_000;
const TYPE_SYMLINK: u32 = 0o120_000;
const TYPE_CHAR_DEVICE: u32 = 0o020_000;
const TYPE_MASK: u32 = 0o170_000;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    Directory,
    File(Vec<u8>),
    Symlink(String),
    CharDevice { major: u32, minor: u32 },
}

/// One entry; all belong to root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Permission bits.
    pub mode: u16,
    pub node: Node,
}

/// An initramfs as a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Time of every entry, seconds since 1970.
    pub mtime: u32,
    entries: BTreeMap<String, Entry>,
}

/// Why an entry or an archive is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("'{name}' is no name for an initramfs entry: relative, without '.', '..' or NUL")]
    BadName { name: String },
    #[error("'{name}' is in the initramfs twice")]
    Duplicate { name: String },
    #[error("'{name}' lies below '{parent}', which is no directory")]
    ParentNotDirectory { name: String, parent: String },
    #[error("'{name}' has {len} bytes; an initramfs entry ends below 4 GiB")]
    TooLarge { name: String, len: usize },
    #[error("the archive ends in the middle of an entry at offset {offset}")]
    Truncated { offset: usize },
    #[error("offset {offset} holds no newc header")]
    BadHeader { offset: usize },
    #[error("the entry at offset {offset} has mode {mode:o}, which no initramfs of Kiln has")]
    BadMode { offset: usize, mode: u32 },
}

impl Archive {
    pub fn new(mtime: u32) -> Self {
        Self { mtime, entries: BTreeMap::new() }
    }

    /// The entries in the order of the archive.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// Adds an entry; missing parents become directories of mode 0755.
    ///
    /// # Errors
    /// A bad or repeated name; a parent that is no directory.
    pub fn insert(&mut self, name: &str, mode: u16, node: Node) -> Result<(), Error> {
        let bad = |part: &str| matches!(part, "" | "." | "..") || part.contains('\0');
        if name.split('/').any(bad) || name == TRAILER || name.len() >= MAX_NAME {
            return Err(Error::BadName { name: name.escape_default().to_string() });
        }
        for (end, _) in name.match_indices('/') {
            let parent = name[..end].to_owned();
            let entry = Entry { mode: 0o755, node: Node::Directory };
            let found = self.entries.entry(parent.clone()).or_insert(entry);
            if found.node != Node::Directory {
                return Err(Error::ParentNotDirectory { name: name.to_owned(), parent });
            }
        }
        match self.entries.get_mut(name) {
            Some(existing) if existing.node == Node::Directory && node == Node::Directory => {
                existing.mode = mode;
            }
            Some(_) => return Err(Error::Duplicate { name: name.to_owned() }),
            None => {
                self.entries.insert(name.to_owned(), Entry { mode, node });
            }
        }
        Ok(())
    }

    /// The archive's bytes.
    ///
    /// # Errors
    /// A file that does not fit the 32-bit size field.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        for (inode, (name, entry)) in (1..).zip(&self.entries) {
            let (kind, data, device): (u32, &[u8], (u32, u32)) = match &entry.node {
                Node::Directory => (TYPE_DIRECTORY, &[], (0, 0)),
                Node::File(data) => (TYPE_FILE, data, (0, 0)),
                Node::Symlink(target) => (TYPE_SYMLINK, target.as_bytes(), (0, 0)),
                Node::CharDevice { major, minor } => (TYPE_CHAR_DEVICE, &[], (*major, *minor)),
            };
            let header = Header {
                inode,
                mode: kind | u32::from(entry.mode),
                n_links: if kind == TYPE_DIRECTORY { 2 } else { 1 },
                mtime: self.mtime,
                device,
            };
            header.encode(name, data, &mut bytes)?;
        }
        let trailer = Header { inode: 0, mode: 0, n_links: 1, mtime: 0, device: (0, 0) };
        trailer.encode(TRAILER, &[], &mut bytes)?;
        Ok(bytes)
    }

    /// Reads an archive that [`Archive::encode`] could have written.
    ///
    /// # Errors
    /// The bytes are no such archive.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut archive = Self::new(0);
        let mut offset = 0;
        loop {
            let raw = RawEntry::decode(bytes, offset)?;
            if raw.name == TRAILER {
                return Ok(archive);
            }
            let node = match raw.mode & TYPE_MASK {
                TYPE_DIRECTORY => Node::Directory,
                TYPE_FILE => Node::File(raw.data.to_vec()),
                TYPE_SYMLINK => Node::Symlink(String::from_utf8_lossy(raw.data).into_owned()),
                TYPE_CHAR_DEVICE => Node::CharDevice { major: raw.device.0, minor: raw.device.1 },
                _ => return Err(Error::BadMode { offset, mode: raw.mode }),
            };
            archive.mtime = raw.mtime;
            // Masked to 12 bits.
            archive.insert(raw.name, (raw.mode & 0o7777) as u16, node)?;
            offset = raw.end;
        }
    }
}

/// An archive with one large file, which stays where it is until the archive is read. Its folder is
/// there already: the kernel unpacks this archive after another one.
///
/// # Errors
/// The file does not fit the 32-bit size field.
pub fn large_file(name: &str, content: &Content, mtime: u32) -> Result<Content, Error> {
    let file = Header { inode: 1, mode: TYPE_FILE | 0o400, n_links: 1, mtime, device: (0, 0) };
    let len = u32::try_from(content.len())
        .map_err(|_| Error::TooLarge { name: name.to_owned(), len: usize::MAX })?;
    let mut chain = Chain::new();
    let mut head = Vec::new();
    file.begin(name, len, &mut head);
    chain.push_bytes(&head);
    chain.push(content.clone());
    chain.pad(4);
    let mut tail = Vec::new();
    let trailer = Header { inode: 0, mode: 0, n_links: 1, mtime: 0, device: (0, 0) };
    trailer.encode(TRAILER, &[], &mut tail)?;
    chain.push_bytes(&tail);
    Ok(chain.into())
}

/// The fields that differ between entries.
struct Header {
    inode: u32,
    mode: u32,
    n_links: u32,
    mtime: u32,
    device: (u32, u32),
}

impl Header {
    fn encode(&self, name: &str, data: &[u8], bytes: &mut Vec<u8>) -> Result<(), Error> {
        let len = u32::try_from(data.len())
            .map_err(|_| Error::TooLarge { name: name.to_owned(), len: data.len() })?;
        self.begin(name, len, bytes);
        bytes.extend_from_slice(data);
        pad(bytes);
        Ok(())
    }

    /// All that stands before the data.
    fn begin(&self, name: &str, len: u32, bytes: &mut Vec<u8>) {
        // Names are shorter than MAX_NAME.
        let name_len = name.len() as u32 + 1;
        let (major, minor) = self.device;
        bytes.extend_from_slice(MAGIC);
        for field in [self.inode, self.mode, 0, 0, self.n_links, self.mtime, len]
            .into_iter()
            .chain([0, 0, major, minor, name_len, 0])
        {
            bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
        pad(bytes);
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// An entry as it stands in the archive.
struct RawEntry<'a> {
    mode: u32,
    mtime: u32,
    device: (u32, u32),
    name: &'a str,
    data: &'a [u8],
    /// Where the next entry begins.
    end: usize,
}

impl<'a> RawEntry<'a> {
    fn decode(bytes: &'a [u8], offset: usize) -> Result<Self, Error> {
        let take = |start: usize, len: usize| {
            let end = start.checked_add(len).ok_or(Error::Truncated { offset })?;
            bytes.get(start..end).ok_or(Error::Truncated { offset })
        };
        let header = take(offset, HEADER_LEN)?;
        let bad = || Error::BadHeader { offset };
        let fields = header.strip_prefix(MAGIC).ok_or_else(bad)?;
        let mut numbers = [0; 13];
        for (number, digits) in numbers.iter_mut().zip(fields.chunks_exact(8)) {
            let digits = std::str::from_utf8(digits).map_err(|_| bad())?;
            if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(bad());
            }
            *number = u32::from_str_radix(digits, 16).map_err(|_| bad())?;
        }
        let [_, mode, _, _, _, mtime, len, _, _, major, minor, name_len, _] = numbers;
        let (len, name_len) = (len as usize, name_len as usize);
        if name_len > MAX_NAME {
            return Err(bad());
        }
        let name = take(offset + HEADER_LEN, name_len)?;
        let name = name.strip_suffix(b"\0").and_then(|name| std::str::from_utf8(name).ok());
        let name = name.ok_or_else(bad)?;
        let data_start = (offset + HEADER_LEN + name_len).next_multiple_of(4);
        let data = take(data_start, len)?;
        let end = (data_start + len).next_multiple_of(4);
        Ok(Self { mode, mtime, device: (major, minor), name, data, end })
    }
}

impl fmt::Display for Archive {
    /// One line per entry: mode, size or device, name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, Entry { mode, node }) in &self.entries {
            match node {
                Node::Directory => writeln!(f, "d{mode:04o} {:>9} {name}", "-")?,
                Node::File(data) => writeln!(f, "-{mode:04o} {:>9} {name}", data.len())?,
                Node::Symlink(target) => writeln!(f, "l{mode:04o} {:>9} {name} -> {target}", "-")?,
                Node::CharDevice { major, minor } => {
                    writeln!(f, "c{mode:04o} {:>9} {name}", format!("{major}:{minor}"))?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tiny() -> Archive {
        let mut archive = Archive::new(1_700_000_000);
        archive.insert("init", 0o755, Node::File(b"run".to_vec())).unwrap();
        archive.insert("dev/console", 0o600, Node::CharDevice { major: 5, minor: 1 }).unwrap();
        archive.insert("bin", 0o777, Node::Symlink("usr/bin".into())).unwrap();
        archive
    }

    #[test]
    fn a_tiny_archive_has_these_bytes() {
        let mut archive = Archive::new(0x6553_f100);
        archive.insert("a/b", 0o644, Node::File(b"xyz!x".to_vec())).unwrap();
        let zero = "00000000";
        let expected = format!(
            "070701{}{}{zero}{zero}{}{}{zero}{zero}{zero}{zero}{zero}{}{zero}a\0",
            "00000001", "000041ed", "00000002", "6553f100", "00000002"
        ) + &format!(
            "070701{}{}{zero}{zero}{}{}{}{zero}{zero}{zero}{zero}{}{zero}a/b\0\0\0xyz!x\0\0\0",
            "00000002", "000081a4", "00000001", "6553f100", "00000005", "00000004"
        ) + &format!(
            "070701{zero}{zero}{zero}{zero}{}{zero}{zero}{zero}{zero}{zero}{zero}{}{zero}TRAILER!!!\0\0\0\0",
            "00000001", "0000000b"
        );
        assert_eq!(String::from_utf8(archive.encode().unwrap()).unwrap(), expected);
    }

    #[test]
    fn parents_are_made_and_stand_before_their_entries() {
        assert_eq!(
            tiny().to_string(),
            "l0777         - bin -> usr/bin\n\
             d0755         - dev\n\
             c0600       5:1 dev/console\n\
             -0755         3 init\n"
        );
    }

    #[test]
    fn an_archive_survives_its_bytes() {
        let bytes = tiny().encode().unwrap();
        assert_eq!(Archive::decode(&bytes), Ok(tiny()));
    }

    #[test]
    fn bad_names_and_parents_are_refused() {
        let mut archive = tiny();
        for name in ["", "/init", "a//b", "a/../b", "./a", "a\0b", TRAILER, &"a".repeat(4096)] {
            let result = archive.insert(name, 0o644, Node::Directory);
            assert!(matches!(result, Err(Error::BadName { .. })), "{name}");
        }
        assert!(matches!(
            archive.insert("init/x", 0o644, Node::Directory),
            Err(Error::ParentNotDirectory { .. })
        ));
        assert!(matches!(
            archive.insert("init", 0o644, Node::File(Vec::new())),
            Err(Error::Duplicate { .. })
        ));
    }

    #[test]
    fn a_cut_archive_is_refused_at_every_length() {
        let bytes = tiny().encode().unwrap();
        let n_padding = 3;
        for len in 0..bytes.len() - n_padding {
            assert!(Archive::decode(&bytes[..len]).is_err(), "{len}");
        }
    }

    proptest! {
        #[test]
        fn changed_bytes_never_panic(at in 0_usize..400, value: u8) {
            let mut bytes = tiny().encode().unwrap();
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            let _ = Archive::decode(&bytes);
        }
    }
}
