// SPDX-License-Identifier: Apache-2.0
//! How does a tree become a tar archive that every reader takes the same way?
//!
//! Specification: POSIX.1-2017 `pax`, "ustar Interchange Format" and "pax Extended Header". A
//! header of 512 bytes, the data, zeros up to the next 512; two blocks of zeros end the archive.
//! What a ustar header cannot say (a name of more than 100 bytes or beyond ASCII, a large number,
//! an extended attribute) stands in an extended header before it, and only then, so that the
//! bytes follow from the tree alone. GNU's own ways for the same are not used.
//!
//! The result is a [`Content`]: files stay where they are until the archive is read.

pub mod stream;

use std::collections::BTreeMap;

use super::chain::Chain;
use crate::tree::{Content, InodeId, Kind, Meta, Tree, TreePath};

const BLOCK: u64 = 512;

/// Longest name and longest target that a ustar header holds. The prefix field is not used.
const NAME_MAX: usize = 100;

/// Largest owner: seven octal digits.
const OWNER_MAX: u32 = 0o777_7777;

/// Largest size: eleven octal digits.
const SIZE_MAX: u64 = 0o777_7777_7777;

/// Largest device number: seven octal digits, and no pax record that all readers know.
const DEVICE_MAX: u32 = 0o777_7777;

/// Why a tree has no tar archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("'{path}' is a socket, which tar cannot hold")]
    Socket { path: TreePath },
    #[error("'{path}' has device number {number}; tar's end at {DEVICE_MAX}")]
    Device { path: TreePath, number: u32 },
    #[error("'{path}' has the extended attribute '{name}', whose name no archive can hold")]
    Xattr { path: TreePath, name: String },
}

/// All entries of `tree` but its root directory, in path order, with relative names.
///
/// # Errors
/// A socket, a device number that is too large, an attribute with '=' or NUL in its name.
pub fn archive(tree: &Tree) -> Result<Content, Error> {
    let mut writer = Writer::default();
    let mut seen: BTreeMap<InodeId, &TreePath> = BTreeMap::new();
    for (path, id, inode) in tree.iter().filter(|(path, ..)| !path.is_root()) {
        let mut entry = Entry {
            name: path.relative().to_owned(),
            kind: b'0',
            link: "",
            devices: (0, 0),
            meta: &inode.meta,
            data: None,
        };
        match (&inode.kind, seen.get(&id)) {
            (_, Some(first)) => (entry.kind, entry.link) = (b'1', first.relative()),
            (Kind::Directory, None) => {
                entry.kind = b'5';
                entry.name.push('/');
            }
            (Kind::File(content), None) => entry.data = Some(content),
            (Kind::Symlink(target), None) => (entry.kind, entry.link) = (b'2', target),
            (Kind::CharDevice { major, minor }, None) => {
                (entry.kind, entry.devices) = (b'3', (*major, *minor));
            }
            (Kind::BlockDevice { major, minor }, None) => {
                (entry.kind, entry.devices) = (b'4', (*major, *minor));
            }
            (Kind::Fifo, None) => entry.kind = b'6',
            (Kind::Socket, None) => return Err(Error::Socket { path: path.clone() }),
        }
        entry.check(path)?;
        seen.entry(id).or_insert(path);
        writer.put(&entry);
    }
    Ok(writer.finish())
}

/// One entry on its way into an archive.
struct Entry<'a> {
    name: String,
    kind: u8,
    link: &'a str,
    devices: (u32, u32),
    meta: &'a Meta,
    data: Option<&'a Content>,
}

impl Entry<'_> {
    fn check(&self, path: &TreePath) -> Result<(), Error> {
        let (major, minor) = self.devices;
        if let Some(number) = [major, minor].into_iter().find(|number| *number > DEVICE_MAX) {
            return Err(Error::Device { path: path.clone(), number });
        }
        match self.meta.xattrs.keys().find(|name| name.contains(['=', '\0'])) {
            Some(name) => Err(Error::Xattr { path: path.clone(), name: name.clone() }),
            None => Ok(()),
        }
    }

    fn size(&self) -> u64 {
        self.data.map_or(0, Content::len)
    }

    /// What the header cannot say, as pax records.
    fn extended(&self) -> Vec<u8> {
        let mut records = Vec::new();
        let mut put = |key: &str, value: &[u8]| records.extend(record(key, value));
        if !fits(&self.name) {
            put("path", self.name.as_bytes());
        }
        if !fits(self.link) {
            put("linkpath", self.link.as_bytes());
        }
        if self.size() > SIZE_MAX {
            put("size", self.size().to_string().as_bytes());
        }
        for (key, id) in [("uid", self.meta.uid), ("gid", self.meta.gid)] {
            if id > OWNER_MAX {
                put(key, id.to_string().as_bytes());
            }
        }
        // A second name has the attributes of the first.
        if self.kind != b'1' {
            for (name, value) in &self.meta.xattrs {
                put(&format!("SCHILY.xattr.{name}"), value);
            }
        }
        records
    }
}

/// Whether a header can hold the text as it is.
fn fits(text: &str) -> bool {
    text.len() <= NAME_MAX && text.is_ascii()
}

/// `LENGTH KEY=VALUE\n`, where the length counts its own digits.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    // Blank, equals sign and line feed.
    let rest = key.len() + value.len() + 3;
    let mut len = rest;
    while rest + len.to_string().len() != len {
        len = rest + len.to_string().len();
    }
    let mut record = format!("{len} {key}=").into_bytes();
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}

/// An archive under construction.
#[derive(Default)]
pub(super) struct Writer {
    chain: Chain,
}

impl Writer {
    /// Adds a file of root, mode 0644 at time 0, by a name that a header can hold.
    pub(super) fn file(&mut self, name: &str, data: &Content) {
        let meta = Meta::new(0o644, 0);
        self.plain(name, b'0', &meta, Some(data));
    }

    /// Adds a directory of root, mode 0755 at time 0; its name ends in a slash.
    pub(super) fn directory(&mut self, name: &str) {
        let meta = Meta::new(0o755, 0);
        self.plain(name, b'5', &meta, None);
    }

    fn plain(&mut self, name: &str, kind: u8, meta: &Meta, data: Option<&Content>) {
        let name = name.to_owned();
        self.put(&Entry { name, kind, link: "", devices: (0, 0), meta, data });
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> Content {
        self.chain.push_bytes(&[0; 2 * BLOCK as usize]);
        self.chain.into()
    }

    fn put(&mut self, entry: &Entry<'_>) {
        let extended = entry.extended();
        if !extended.is_empty() {
            let meta = Meta::new(0o644, 0);
            let size = extended.len() as u64;
            self.header("pax", b'x', "", (0, 0), &meta, size);
            self.chain.push_bytes(&extended);
            self.chain.pad(BLOCK);
        }
        // Readers that know pax take what stands there; others get what fits.
        let (name, link) = (shortened(&entry.name), shortened(entry.link));
        self.header(&name, entry.kind, &link, entry.devices, entry.meta, entry.size());
        if let Some(data) = entry.data {
            self.chain.push(data.clone());
            self.chain.pad(BLOCK);
        }
    }

    fn header(
        &mut self,
        name: &str,
        kind: u8,
        link: &str,
        (major, minor): (u32, u32),
        meta: &Meta,
        size: u64,
    ) {
        let mut block = [0; BLOCK as usize];
        let mut text =
            |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
        text(0, name);
        text(100, &format!("{:07o}", meta.mode));
        text(108, &format!("{:07o}", meta.uid.min(OWNER_MAX)));
        text(116, &format!("{:07o}", meta.gid.min(OWNER_MAX)));
        text(124, &format!("{:011o}", size.min(SIZE_MAX)));
        text(136, &format!("{:011o}", meta.mtime));
        // The sum is made with its own field blank.
        text(148, "        ");
        text(157, link);
        text(257, "ustar\x0000");
        text(329, &format!("{major:07o}"));
        text(337, &format!("{minor:07o}"));
        block[156] = kind;
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.chain.push_bytes(&block);
    }
}

/// What a header takes of a text: ASCII, at most 100 bytes.
fn shortened(text: &str) -> String {
    let ascii = |char: char| if char.is_ascii() { char } else { '_' };
    text.chars().take(NAME_MAX).map(ascii).collect()
}

#[cfg(test)]
mod tests;
