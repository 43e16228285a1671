// SPDX-License-Identifier: Apache-2.0
//! The tables of an image, read back without trust: every offset is checked, and what is
//! decompressed or kept is limited by [`LIMIT`], whatever the image says.
//!
//! It reads what this module writes and what mksquashfs writes with zstd, except values of
//! extended attributes that are stored out of line.
#![warn(clippy::arithmetic_side_effects)]

use std::{collections::BTreeMap, io};

use super::{
    codec,
    inode::{BLOCK_DEVICE, CHAR_DEVICE, DIRECTORY, EXTENDED, FIFO, FILE, SOCKET, SYMLINK},
    record::Fields,
    superblock::{
        self, DIRECTORY_EXTRA, METADATA, NO_FRAGMENT, NO_TABLE, NO_XATTR, RAW_METADATA, Superblock,
    },
    xattr::PREFIXES,
};
use crate::tree::Content;

/// Bytes of tables and of what is made of them: more than a million files need.
pub(super) const LIMIT: u64 = 512 << 20;

/// Why an image cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("reading at {offset}")]
    Io { offset: u64, source: io::Error },
    #[error("{what}: expected {expected:#x}, found {found:#x}")]
    Unsupported { what: &'static str, expected: u64, found: u64 },
    #[error("a structure ends too early at {offset}")]
    Truncated { offset: u64 },
    #[error("wrong {what} at {offset}")]
    Corrupt { what: &'static str, offset: u64 },
    #[error("the tables need more than {limit} bytes")]
    TooLarge { limit: u64 },
}

/// What may still be used of [`LIMIT`].
pub(super) struct Budget(u64);

impl Budget {
    pub(super) fn spend(&mut self, bytes: usize) -> Result<(), ReadError> {
        let left = self.0.checked_sub(bytes as u64);
        self.0 = left.ok_or(ReadError::TooLarge { limit: LIMIT })?;
        Ok(())
    }
}

/// A table in memory.
pub(super) struct Table {
    /// Where it lies in the image.
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) bytes: Vec<u8>,
    /// Offset in `bytes` of each block, by where the block is stored after `start`.
    pub(super) blocks: BTreeMap<u64, usize>,
}

impl Table {
    /// The bytes from a packed reference on.
    pub(super) fn at(&self, reference: u64) -> Result<Fields<'_>, ReadError> {
        let (block, offset) = (reference >> 16, reference & 0xffff);
        let corrupt = ReadError::Corrupt { what: "reference into a table", offset: self.start };
        let place = self.blocks.get(&block).zip(usize::try_from(offset).ok());
        let rest = place.and_then(|(start, offset)| {
            self.bytes.get(start.checked_add(offset)?..).filter(|_| offset < METADATA)
        });
        rest.map(|rest| Fields::new(rest, self.start)).ok_or(corrupt)
    }
}

/// A data block or fragment: position and size word.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored {
    pub(super) start: u64,
    pub(super) word: u32,
}

pub(super) struct Image {
    pub(super) content: Content,
    pub(super) superblock: Superblock,
    pub(super) inodes: Table,
    pub(super) directories: Table,
    pub(super) fragments: Vec<Stored>,
    pub(super) export: Vec<u64>,
    pub(super) ids: Vec<u32>,
    pub(super) xattrs: Vec<BTreeMap<String, Vec<u8>>>,
    pub(super) budget: Budget,
}

impl Image {
    pub(super) fn open(content: &Content) -> Result<Self, ReadError> {
        let mut head = [0; superblock::SIZE];
        read_at(content, &mut head, 0)?;
        let superblock = Superblock::decode(&head)?;
        if superblock.bytes_used > content.len() {
            return Err(ReadError::Truncated { offset: content.len() });
        }
        let mut loader = Loader { content, end: superblock.bytes_used, budget: Budget(LIMIT) };
        let xattrs = loader.xattrs(superblock.xattr_table)?;
        let ids = loader.lookup(superblock.id_table, superblock.ids.into(), 4)?;
        let export = match superblock.export_table {
            NO_TABLE => Lookup { bytes: Vec::new(), start: ids.start },
            at => loader.lookup(at, superblock.inodes, 8)?,
        };
        let fragments = match superblock.fragments {
            0 => Lookup { bytes: Vec::new(), start: export.start },
            count => loader.lookup(superblock.fragment_table, count, 16)?,
        };
        let directories = loader.table(superblock.directory_table, fragments.start)?;
        let inodes = loader.table(superblock.inode_table, superblock.directory_table)?;
        let stored = |mut fields: Fields<'_>| {
            let (start, word, _) = (fields.u64()?, fields.u32()?, fields.u32()?);
            Ok(Stored { start, word })
        };
        Ok(Self {
            inodes,
            directories,
            fragments: fragments.records(16, stored)?,
            export: export.records(8, |mut fields| fields.u64())?,
            ids: ids.records(4, |mut fields| fields.u32())?,
            xattrs,
            budget: loader.budget,
            content: content.clone(),
            superblock,
        })
    }
}

/// Reads at an offset of the image.
pub(super) fn read_at(content: &Content, buffer: &mut [u8], offset: u64) -> Result<(), ReadError> {
    content.read_exact_at(buffer, offset).map_err(|source| ReadError::Io { offset, source })
}

/// Records of a lookup table, and where its first block lies.
struct Lookup {
    bytes: Vec<u8>,
    start: u64,
}

impl Lookup {
    fn records<T>(
        &self,
        size: usize,
        decode: impl Fn(Fields<'_>) -> Result<T, ReadError>,
    ) -> Result<Vec<T>, ReadError> {
        self.bytes
            .chunks_exact(size)
            .map(|record| decode(Fields::new(record, self.start)))
            .collect()
    }
}

struct Loader<'c> {
    content: &'c Content,
    end: u64,
    budget: Budget,
}

impl Loader<'_> {
    /// The metadata block at `at`, and where the next one begins.
    fn block(&mut self, at: u64) -> Result<(Vec<u8>, u64), ReadError> {
        let corrupt = ReadError::Corrupt { what: "metadata block", offset: at };
        let mut header = [0; 2];
        read_at(self.content, &mut header, at)?;
        let header = u16::from_le_bytes(header);
        let len = usize::from(header & !RAW_METADATA);
        if len == 0 || len > METADATA {
            return Err(corrupt);
        }
        let mut bytes = vec![0; len];
        let start = at.saturating_add(2);
        read_at(self.content, &mut bytes, start)?;
        if header & RAW_METADATA == 0 {
            bytes = codec::decompress(&bytes, METADATA).ok_or(corrupt)?;
        }
        self.budget.spend(bytes.len())?;
        Ok((bytes, start.saturating_add(len as u64)))
    }

    /// The metadata blocks from `start` to `end`.
    fn table(&mut self, start: u64, end: u64) -> Result<Table, ReadError> {
        if start > end || end > self.end {
            return Err(ReadError::Corrupt { what: "order of the tables", offset: start });
        }
        let mut table = Table { start, end, bytes: Vec::new(), blocks: BTreeMap::new() };
        let mut at = start;
        while at < end {
            let (bytes, next) = self.block(at)?;
            table.blocks.insert(at.saturating_sub(start), table.bytes.len());
            table.bytes.extend(bytes);
            at = next;
        }
        if at != end {
            return Err(ReadError::Corrupt { what: "end of a table", offset: at });
        }
        Ok(table)
    }

    /// `count` records of `size` bytes, whose blocks are listed at `at`.
    fn lookup(&mut self, at: u64, count: u32, size: u32) -> Result<Lookup, ReadError> {
        let len = u64::from(count).saturating_mul(size.into());
        let blocks = len.div_ceil(METADATA as u64);
        let listed = at.saturating_add(blocks.saturating_mul(8));
        if listed > self.end {
            return Err(ReadError::Corrupt { what: "position of a table", offset: at });
        }
        let mut lookup = Lookup { bytes: Vec::new(), start: at };
        for number in 0..blocks {
            let mut position = [0; 8];
            read_at(self.content, &mut position, at.saturating_add(number.saturating_mul(8)))?;
            let position = u64::from_le_bytes(position);
            if number == 0 {
                lookup.start = position;
            }
            lookup.bytes.extend(self.block(position)?.0);
        }
        if lookup.bytes.len() as u64 != len || lookup.start > at {
            return Err(ReadError::Corrupt { what: "size of a table", offset: at });
        }
        Ok(lookup)
    }

    /// All sets of extended attributes.
    fn xattrs(&mut self, at: u64) -> Result<Vec<BTreeMap<String, Vec<u8>>>, ReadError> {
        if at == NO_TABLE {
            return Ok(Vec::new());
        }
        let mut head = [0; 16];
        read_at(self.content, &mut head, at)?;
        let mut fields = Fields::new(&head, at);
        let (start, count) = (fields.u64()?, fields.u32()?);
        let sets = self.lookup(at.saturating_add(16), count, 16)?;
        let pairs = self.table(start, sets.start)?;
        let budget = &mut self.budget;
        let mut decoded = Vec::new();
        for record in sets.bytes.chunks_exact(16) {
            let mut fields = Fields::new(record, sets.start);
            let (reference, count) = (fields.u64()?, fields.u32()?);
            let mut fields = pairs.at(reference)?;
            decoded.push(decode_set(&mut fields, count, budget)?);
        }
        Ok(decoded)
    }
}

fn decode_set(
    fields: &mut Fields<'_>,
    count: u32,
    budget: &mut Budget,
) -> Result<BTreeMap<String, Vec<u8>>, ReadError> {
    let mut set = BTreeMap::new();
    for _ in 0..count {
        let offset = fields.offset();
        let (prefix, name_size) = (fields.u16()?, fields.u16()?);
        let corrupt = ReadError::Corrupt { what: "extended attribute", offset };
        let Some(prefix) = PREFIXES.get(usize::from(prefix)) else { return Err(corrupt) };
        let Ok(name) = std::str::from_utf8(fields.bytes(name_size.into())?) else {
            return Err(corrupt);
        };
        let size = fields.u32()?;
        let value = fields.bytes(usize::try_from(size).unwrap_or(usize::MAX))?;
        budget.spend(name.len().saturating_add(value.len()).saturating_add(64))?;
        set.insert(format!("{prefix}{name}"), value.to_vec());
    }
    Ok(set)
}

/// An inode as it is stored.
pub(super) struct RawInode {
    pub(super) number: u32,
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: u32,
    pub(super) links: u32,
    pub(super) xattr: u32,
    pub(super) extended: bool,
    pub(super) body: Body,
}

pub(super) enum Body {
    Directory { reference: u64, size: u32, parent: u32 },
    File(RawFile),
    Symlink(String),
    Device { block: bool, major: u32, minor: u32 },
    Fifo,
    Socket,
}

#[derive(Debug)]
pub(super) struct RawFile {
    pub(super) start: u64,
    pub(super) size: u64,
    pub(super) sparse: u64,
    /// Size word of each block.
    pub(super) blocks: Vec<u32>,
    /// Number of the fragment and offset in it.
    pub(super) fragment: Option<(u32, u32)>,
}

impl Image {
    /// Decodes the inode at `fields`.
    pub(super) fn inode(&self, fields: &mut Fields<'_>) -> Result<RawInode, ReadError> {
        let offset = fields.offset();
        let kind = fields.u16()?;
        let extended = kind > EXTENDED;
        let kind = if extended { kind.saturating_sub(EXTENDED) } else { kind };
        let mode = fields.u16()?;
        let mut owner = || {
            let number = usize::from(fields.u16()?);
            self.ids.get(number).copied().ok_or(ReadError::Corrupt { what: "owner", offset })
        };
        let (uid, gid) = (owner()?, owner()?);
        let (mtime, number) = (fields.u32()?, fields.u32()?);
        let (links, xattr, body) = match kind {
            DIRECTORY => directory(fields, extended)?,
            FILE => file(fields, extended, self.superblock.block_size)?,
            SYMLINK | BLOCK_DEVICE | CHAR_DEVICE | FIFO | SOCKET => {
                special(fields, kind, extended)?
            }
            _ => return Err(ReadError::Corrupt { what: "inode type", offset }),
        };
        Ok(RawInode { number, mode, uid, gid, mtime, links, xattr, extended, body })
    }

    /// The entries of a directory: name and reference of the inode.
    pub(super) fn listing(
        &mut self,
        reference: u64,
        size: u32,
    ) -> Result<Vec<(String, u64)>, ReadError> {
        let size = usize::try_from(size.saturating_sub(DIRECTORY_EXTRA)).unwrap_or(usize::MAX);
        if size == 0 {
            return Ok(Vec::new());
        }
        let mut table = self.directories.at(reference)?;
        let mut fields = Fields::new(table.bytes(size)?, table.offset());
        let mut entries = Vec::new();
        while !fields.is_empty() {
            let (count, block, _) = (fields.u32()?, fields.u32()?, fields.u32()?);
            for _ in 0..=count {
                let offset = fields.offset();
                let place = fields.u16()?;
                let (_, _, name_size) = (fields.u16()?, fields.u16()?, fields.u16()?);
                let name = fields.bytes(usize::from(name_size).saturating_add(1))?;
                let name = std::str::from_utf8(name)
                    .map_err(|_| ReadError::Corrupt { what: "name", offset })?;
                self.budget.spend(name.len().saturating_add(64))?;
                entries.push((name.to_owned(), u64::from(block) << 16 | u64::from(place)));
            }
        }
        Ok(entries)
    }
}

type Decoded = (u32, u32, Body);

fn directory(fields: &mut Fields<'_>, extended: bool) -> Result<Decoded, ReadError> {
    let pack = |block: u32, offset: u16| u64::from(block) << 16 | u64::from(offset);
    if !extended {
        let (block, links) = (fields.u32()?, fields.u32()?);
        let (size, offset, parent) = (fields.u16()?, fields.u16()?, fields.u32()?);
        let reference = pack(block, offset);
        return Ok((links, NO_XATTR, Body::Directory { reference, size: size.into(), parent }));
    }
    let (links, size, block, parent) = (fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?);
    let (indexes, offset, xattr) = (fields.u16()?, fields.u16()?, fields.u32()?);
    for _ in 0..indexes {
        fields.bytes(8)?;
        let name_size = usize::try_from(fields.u32()?).unwrap_or(usize::MAX);
        fields.bytes(name_size.saturating_add(1))?;
    }
    Ok((links, xattr, Body::Directory { reference: pack(block, offset), size, parent }))
}

fn file(fields: &mut Fields<'_>, extended: bool, block_size: u32) -> Result<Decoded, ReadError> {
    let (start, size, sparse, links, fragment, offset, xattr);
    if extended {
        (start, size, sparse) = (fields.u64()?, fields.u64()?, fields.u64()?);
        (links, fragment, offset) = (fields.u32()?, fields.u32()?, fields.u32()?);
        xattr = fields.u32()?;
    } else {
        (links, sparse, xattr) = (1, 0, NO_XATTR);
        start = fields.u32()?.into();
        (fragment, offset) = (fields.u32()?, fields.u32()?);
        size = fields.u32()?.into();
    }
    let fragment = (fragment != NO_FRAGMENT).then_some((fragment, offset));
    let count = match fragment {
        Some(_) => size.checked_div(block_size.into()).unwrap_or(0),
        None => size.div_ceil(block_size.into()),
    };
    let len = count.checked_mul(4).and_then(|len| usize::try_from(len).ok());
    let words = fields.bytes(len.unwrap_or(usize::MAX))?;
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
    let blocks = words.chunks_exact(4).map(word).collect();
    Ok((links, xattr, Body::File(RawFile { start, size, sparse, blocks, fragment })))
}

fn special(fields: &mut Fields<'_>, kind: u16, extended: bool) -> Result<Decoded, ReadError> {
    let links = fields.u32()?;
    let body = match kind {
        SYMLINK => {
            let (offset, size) = (fields.offset(), fields.u32()?);
            let target = fields.bytes(usize::try_from(size).unwrap_or(usize::MAX))?;
            let target = std::str::from_utf8(target);
            let corrupt = |_| ReadError::Corrupt { what: "symlink", offset };
            Body::Symlink(target.map_err(corrupt)?.to_owned())
        }
        BLOCK_DEVICE | CHAR_DEVICE => {
            let device = fields.u32()?;
            let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xf_ff00);
            Body::Device { block: kind == BLOCK_DEVICE, major, minor }
        }
        FIFO => Body::Fifo,
        _ => Body::Socket,
    };
    Ok((links, if extended { fields.u32()? } else { NO_XATTR }, body))
}
