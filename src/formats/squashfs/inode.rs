// SPDX-License-Identifier: Apache-2.0
//! The inode table and the directory table, which point into one another.
//!
//! Each inode takes the basic form unless it has what only the extended form can say: extended
//! attributes, hard links of a file, holes, 4 GiB and more, a listing of 64 KiB and more.

use std::collections::BTreeMap;

use super::{
    Error,
    codec::Codec,
    data::{FileData, Written},
    index::{Directory, Index, Node},
    metadata::{Metadata, Reference},
    record::Record,
    superblock::{DIRECTORY_EXTRA, DIRECTORY_RUN, NO_FRAGMENT, NO_XATTR},
    xattr::Xattrs,
};
use crate::tree::{Inode, InodeId, Kind, Meta, Tree, TreePath};

/// Basic inode types, which directory entries also have.
pub(super) const DIRECTORY: u16 = 1;
pub(super) const FILE: u16 = 2;
pub(super) const SYMLINK: u16 = 3;
pub(super) const BLOCK_DEVICE: u16 = 4;
pub(super) const CHAR_DEVICE: u16 = 5;
pub(super) const FIFO: u16 = 6;
pub(super) const SOCKET: u16 = 7;
/// Added to a basic type, gives the extended one.
pub(super) const EXTENDED: u16 = 7;
/// PATH_MAX of Linux, without its NUL.
const SYMLINK_MAX: usize = 4095;

/// The tables, and what they leave for the others.
pub(super) struct Encoded {
    pub(super) inodes: Vec<u8>,
    pub(super) directories: Vec<u8>,
    /// Where each inode lies, by number; the root is the last.
    pub(super) references: Vec<u64>,
    /// Users and groups, by the number that inodes have for them.
    pub(super) ids: Vec<u32>,
}

pub(super) fn encode<'t>(
    tree: &'t Tree,
    index: &Index<'t>,
    data: &Written,
    xattrs: &mut Xattrs<'t>,
    codec: Codec,
) -> Result<Encoded, Error> {
    let mut encoder = Encoder {
        tree,
        index,
        data,
        xattrs,
        inodes: Metadata::new(codec),
        listings: Metadata::new(codec),
        places: BTreeMap::new(),
        references: Vec::new(),
        ids: Ids::default(),
    };
    for directory in &index.directories {
        for entry in &directory.entries {
            encoder.add_entry(entry.path, entry.id)?;
        }
        encoder.add_directory(directory)?;
    }
    Ok(Encoded {
        inodes: encoder.inodes.finish()?.0,
        directories: encoder.listings.finish()?.0,
        references: encoder.references,
        ids: encoder.ids.list,
    })
}

struct Encoder<'a, 't> {
    tree: &'t Tree,
    index: &'a Index<'t>,
    data: &'a Written,
    xattrs: &'a mut Xattrs<'t>,
    inodes: Metadata,
    listings: Metadata,
    places: BTreeMap<InodeId, Reference>,
    references: Vec<u64>,
    ids: Ids,
}

impl Encoder<'_, '_> {
    /// Writes the inode of an entry, unless another name of it did, or it is a directory.
    fn add_entry(&mut self, path: &TreePath, id: InodeId) -> Result<(), Error> {
        let inode = self.tree.inode(id);
        if matches!(inode.kind, Kind::Directory) || self.places.contains_key(&id) {
            return Ok(());
        }
        let xattr = self.xattrs.number(path, &inode.meta)?;
        let node = self.index.node(id);
        let record = match &inode.kind {
            Kind::File(_) => self.file(&inode.meta, node, self.data.file(id), xattr)?,
            _ => self.special(path, inode, node, xattr)?,
        };
        self.push(id, record)
    }

    fn push(&mut self, id: InodeId, record: Record) -> Result<(), Error> {
        let place = self.inodes.write(&record.finish())?;
        self.references.push(place.packed());
        self.places.insert(id, place);
        debug_assert_eq!(self.references.len(), self.index.node(id).number as usize);
        Ok(())
    }

    /// The fields that all inodes begin with.
    fn common(
        &mut self,
        kind: u16,
        extended: bool,
        meta: &Meta,
        node: Node,
    ) -> Result<Record, Error> {
        let kind = if extended { kind + EXTENDED } else { kind };
        let (uid, gid) = (self.ids.number(meta.uid)?, self.ids.number(meta.gid)?);
        let record = Record::new().u16(kind).u16(meta.mode & 0o7777).u16(uid).u16(gid);
        Ok(record.u32(meta.mtime).u32(node.number))
    }

    fn file(
        &mut self,
        meta: &Meta,
        node: Node,
        data: &FileData,
        xattr: u32,
    ) -> Result<Record, Error> {
        let small = u32::try_from(data.start).ok().zip(u32::try_from(data.size).ok());
        let small = small.filter(|_| xattr == NO_XATTR && node.links == 1 && data.sparse == 0);
        let (fragment, offset) = data.fragment.unwrap_or((NO_FRAGMENT, 0));
        let record = self.common(FILE, small.is_none(), meta, node)?;
        let record = match small {
            Some((start, size)) => record.u32(start).u32(fragment).u32(offset).u32(size),
            None => record
                .u64(data.start)
                .u64(data.size)
                .u64(data.sparse)
                .u32(node.links)
                .u32(fragment)
                .u32(offset)
                .u32(xattr),
        };
        Ok(data.blocks.iter().fold(record, |record, word| record.u32(*word)))
    }

    /// Symlinks, devices, FIFOs and sockets.
    fn special(
        &mut self,
        path: &TreePath,
        inode: &Inode,
        node: Node,
        xattr: u32,
    ) -> Result<Record, Error> {
        let extended = xattr != NO_XATTR;
        let record = self.common(kind_number(&inode.kind), extended, &inode.meta, node)?;
        let record = record.u32(node.links);
        let record = match &inode.kind {
            Kind::Symlink(target) => {
                let len = target.len();
                let size = u32::try_from(len).ok().filter(|_| (1..=SYMLINK_MAX).contains(&len));
                let size = size.ok_or_else(|| Error::Symlink { path: path.clone(), len })?;
                record.u32(size).bytes(target.as_bytes())
            }
            Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                record.u32(device_number(path, *major, *minor)?)
            }
            Kind::Fifo | Kind::Socket | Kind::Directory | Kind::File(_) => record,
        };
        Ok(if extended { record.u32(xattr) } else { record })
    }

    /// Writes the listing and the inode of a directory whose entries are all written.
    fn add_directory(&mut self, directory: &Directory<'_>) -> Result<(), Error> {
        let inode = self.tree.inode(directory.id);
        let xattr = self.xattrs.number(directory.path, &inode.meta)?;
        let node = self.index.node(directory.id);
        let listing = self.listing(directory);
        let size = super::count(listing.len(), "bytes in one directory")?;
        let size = size
            .checked_add(DIRECTORY_EXTRA)
            .ok_or(Error::TooMany { what: "bytes in one directory", limit: u32::MAX.into() })?;
        // An empty listing has no place of its own; the last block may not exist.
        let place = if listing.is_empty() {
            Reference::default()
        } else {
            self.listings.write(&listing)?
        };
        let small = u16::try_from(size).ok().filter(|_| xattr == NO_XATTR);
        let record = self.common(DIRECTORY, small.is_none(), &inode.meta, node)?;
        let record = match small {
            Some(size) => record
                .u32(place.block)
                .u32(node.links)
                .u16(size)
                .u16(place.offset)
                .u32(directory.parent),
            None => record
                .u32(node.links)
                .u32(size)
                .u32(place.block)
                .u32(directory.parent)
                .u16(0)
                .u16(place.offset)
                .u32(xattr),
        };
        self.push(directory.id, record)
    }

    /// Entries in runs under a header. A run shares the block of the inodes, is at most 256
    /// entries long, and its inode numbers are within 15 bits of the first one's.
    fn listing(&self, directory: &Directory<'_>) -> Vec<u8> {
        let entries: Vec<Listed<'_>> = directory
            .entries
            .iter()
            .map(|entry| Listed {
                name: entry.path.file_name(),
                place: *self.places.get(&entry.id).expect("entries are written first"),
                number: self.index.node(entry.id).number,
                kind: kind_number(&self.tree.inode(entry.id).kind),
            })
            .collect();
        let mut listing = Record::new();
        let mut rest = &*entries;
        while let Some(first) = rest.first() {
            let joins = |entry: &&Listed<'_>| {
                entry.place.block == first.place.block && first.distance(entry).is_some()
            };
            let run = rest.iter().take(DIRECTORY_RUN).take_while(joins).count();
            let (now, later) = rest.split_at(run);
            rest = later;
            let count = u32::try_from(run - 1).expect("at most 255");
            listing = listing.u32(count).u32(first.place.block).u32(first.number);
            for entry in now {
                let distance = first.distance(entry).expect("it joined the run");
                let name_size = u16::try_from(entry.name.len() - 1).expect("names end at 255");
                listing = listing.u16(entry.place.offset).i16(distance).u16(entry.kind);
                listing = listing.u16(name_size).bytes(entry.name.as_bytes());
            }
        }
        listing.finish()
    }
}

/// An entry of a directory as its listing has it.
struct Listed<'t> {
    name: &'t str,
    place: Reference,
    number: u32,
    kind: u16,
}

impl Listed<'_> {
    fn distance(&self, other: &Self) -> Option<i16> {
        i16::try_from(i64::from(other.number) - i64::from(self.number)).ok()
    }
}

/// Users and groups as numbers of 16 bits.
#[derive(Default)]
struct Ids {
    numbers: BTreeMap<u32, u16>,
    list: Vec<u32>,
}

impl Ids {
    fn number(&mut self, id: u32) -> Result<u16, Error> {
        if let Some(number) = self.numbers.get(&id) {
            return Ok(*number);
        }
        let number = u16::try_from(self.list.len()).ok().filter(|number| *number < u16::MAX);
        let number = number.ok_or(Error::TooMany { what: "owners", limit: u16::MAX.into() })?;
        self.numbers.insert(id, number);
        self.list.push(id);
        Ok(number)
    }
}

fn kind_number(kind: &Kind) -> u16 {
    match kind {
        Kind::Directory => DIRECTORY,
        Kind::File(_) => FILE,
        Kind::Symlink(_) => SYMLINK,
        Kind::BlockDevice { .. } => BLOCK_DEVICE,
        Kind::CharDevice { .. } => CHAR_DEVICE,
        Kind::Fifo => FIFO,
        Kind::Socket => SOCKET,
    }
}

/// `new_encode_dev` of Linux: 12 bits major, 20 bits minor, of which the upper 12 come first.
fn device_number(path: &TreePath, major: u32, minor: u32) -> Result<u32, Error> {
    if major > 0xfff || minor > 0xf_ffff {
        return Err(Error::Device { path: path.clone(), major, minor });
    }
    Ok(minor & 0xff | major << 8 | (minor & !0xff) << 12)
}
