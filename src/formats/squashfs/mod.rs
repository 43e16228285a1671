// SPDX-License-Identifier: Apache-2.0
//! Squashfs 4.0, zstd: the root file system as one compressed, read-only image.
//!
//! Specification: the kernel's `Documentation/filesystems/squashfs.rst` and
//! `fs/squashfs/squashfs_fs.h`. An image is, in this order:
//!
//! ```text
//! superblock · compressor options · data blocks and fragments ·
//! inode table · directory table · fragment table · export table · id table · xattr table
//! ```
//!
//! [`write`] is a function of the tree and the [`Options`] alone: every block is cut, named and
//! placed before the first one is compressed, so threads and caches change the time, never a
//! byte. A window of blocks is compressed in parallel while nothing but compressed blocks is
//! kept, so memory does not grow with the image. [`read()`] and [`dump`] are the way back; they
//! expect hostile bytes.

mod codec;
mod data;
mod dump;
mod image;
mod index;
mod inode;
mod metadata;
mod read;
mod record;
mod superblock;
mod xattr;

use std::io::{self, Seek, SeekFrom, Write};

pub use codec::{BlockStore, NoStore};
pub use dump::dump;
pub use image::ReadError;
pub use read::read;

use self::{
    codec::Codec, index::Index, metadata::Metadata, record::Record, superblock::Superblock,
    xattr::Xattrs,
};
use crate::tree::{Tree, TreePath};

/// What shapes an image besides its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Bytes of file data compressed together: a power of two from 4 KiB to 1 MiB.
    pub block_size: u32,
    /// Zstd level, 1 to 22.
    pub level: i32,
    /// Time of the file system, seconds since 1970.
    pub mtime: u32,
}

impl Options {
    /// 128 KiB blocks at level 15: what `mksquashfs -comp zstd` does.
    pub fn new(mtime: u32) -> Self {
        Self { block_size: 128 << 10, level: 15, mtime }
    }

    fn check(&self) -> Result<(), Error> {
        if !self.block_size.is_power_of_two()
            || !(superblock::MIN_BLOCK..=superblock::MAX_BLOCK).contains(&self.block_size)
        {
            return Err(Error::BlockSize(self.block_size));
        }
        if !(1..=22).contains(&self.level) {
            return Err(Error::Level(self.level));
        }
        Ok(())
    }
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Size of the image, padded to whole 4 KiB.
    pub bytes: u64,
    /// Bytes of the file system itself, without the padding.
    pub bytes_used: u64,
    pub inodes: u32,
    /// Blocks of file data, fragments included, without holes.
    pub blocks: u64,
    /// Blocks that hold several files.
    pub fragments: u32,
    /// Files whose content another file has already.
    pub duplicates: u64,
    /// Blocks that the store had already compressed.
    pub cached: u64,
}

/// Why a tree cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a block size of {0} bytes: squashfs has powers of two from 4096 to 1048576")]
    BlockSize(u32),
    #[error("zstd level {0}: levels are 1 to 22")]
    Level(i32),
    #[error("reading '{path}'")]
    Read { path: TreePath, source: io::Error },
    #[error("writing the image")]
    Write(#[from] io::Error),
    #[error("compressing a block")]
    Compress(#[source] io::Error),
    #[error(
        "'{path}' has the extended attribute '{name}': squashfs has user, trusted and security"
    )]
    XattrPrefix { path: TreePath, name: String },
    #[error("the extended attribute '{name}' of '{path}' is longer than Linux allows")]
    XattrSize { path: TreePath, name: String },
    #[error("'{path}' is a device with numbers {major}:{minor}; Linux ends at 4095:1048575")]
    Device { path: TreePath, major: u32, minor: u32 },
    #[error("'{path}' is a symlink to {len} bytes; Linux allows 1 to 4095")]
    Symlink { path: TreePath, len: usize },
    #[error("the tree has more {what} than squashfs can count ({limit})")]
    TooMany { what: &'static str, limit: u64 },
}

/// Writes `tree` as a squashfs image at the current position of `out`.
///
/// # Errors
/// The tree holds what squashfs cannot; a file cannot be read; `out` cannot be written.
pub fn write<W: Write + Seek>(
    tree: &Tree,
    options: &Options,
    store: &dyn BlockStore,
    out: &mut W,
) -> Result<Summary, Error> {
    options.check()?;
    let codec = Codec::new(options.level);
    let index = Index::of(tree)?;
    let start = out.stream_position()?;

    // The superblock names the tables, so it is written last.
    let head = [vec![0; superblock::SIZE], superblock::compressor_options(options.level)].concat();
    out.write_all(&head)?;
    let data = data::write(tree, options, codec, store, out, head.len() as u64)?;
    let (tables, superblock) = tables(tree, &index, &data, options, codec)?;
    out.write_all(&tables)?;

    let bytes_used = superblock.bytes_used;
    let bytes = bytes_used.next_multiple_of(superblock::DEVICE_BLOCK);
    io::copy(&mut io::Read::take(io::repeat(0), bytes - bytes_used), out)?;
    out.seek(SeekFrom::Start(start))?;
    out.write_all(&superblock.encode())?;
    out.seek(SeekFrom::Start(start + bytes))?;

    Ok(Summary {
        bytes,
        bytes_used,
        inodes: superblock.inodes,
        blocks: data.blocks,
        fragments: superblock.fragments,
        duplicates: data.duplicates,
        cached: data.cached,
    })
}

/// Everything behind the data, and the superblock that names it.
fn tables(
    tree: &Tree,
    index: &Index<'_>,
    data: &data::Written,
    options: &Options,
    codec: Codec,
) -> Result<(Vec<u8>, Superblock), Error> {
    let mut xattrs = Xattrs::new(codec);
    let nodes = inode::encode(tree, index, data, &mut xattrs, codec)?;
    let mut tables = Tables { bytes: nodes.inodes, start: data.end };

    let directory_table = tables.end();
    tables.bytes.extend(nodes.directories);
    let fragments = data
        .fragments
        .iter()
        .fold(Record::new(), |table, fragment| table.u64(fragment.start).u32(fragment.word).u32(0));
    let fragment_table = tables.add_lookup(fragments, codec)?;
    let export = nodes.references.iter().fold(Record::new(), |table, inode| table.u64(*inode));
    let export_table = tables.add_lookup(export, codec)?;
    let ids = nodes.ids.iter().fold(Record::new(), |table, id| table.u32(*id));
    let id_table = tables.add_lookup(ids, codec)?;
    let xattr_table = match xattrs.finish(tables.end())? {
        Some((bytes, at)) => {
            tables.bytes.extend(bytes);
            at
        }
        None => superblock::NO_TABLE,
    };

    let root = nodes.references.last().expect("a tree has a root directory");
    let superblock = Superblock {
        inodes: count(nodes.references.len(), "inodes")?,
        mtime: options.mtime,
        block_size: options.block_size,
        fragments: count(data.fragments.len(), "fragments")?,
        flags: superblock::flags(xattr_table != superblock::NO_TABLE),
        ids: u16::try_from(nodes.ids.len())
            .map_err(|_| Error::TooMany { what: "owners", limit: u16::MAX.into() })?,
        root: *root,
        bytes_used: tables.end(),
        id_table,
        xattr_table,
        inode_table: data.end,
        directory_table,
        fragment_table,
        export_table,
    };
    Ok((tables.bytes, superblock))
}

/// Tables in the order of the image, and where they begin.
struct Tables {
    bytes: Vec<u8>,
    start: u64,
}

impl Tables {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// Adds `records` as metadata blocks and the list of their positions. Gives the position of
    /// that list, which is what the superblock names.
    fn add_lookup(&mut self, records: Record, codec: Codec) -> Result<u64, Error> {
        let mut table = Metadata::new(codec);
        table.write(&records.finish())?;
        let (bytes, blocks) = table.finish()?;
        let start = self.end();
        self.bytes.extend(bytes);
        let at = self.end();
        self.bytes.extend(blocks.iter().flat_map(|block| (start + block).to_le_bytes()));
        Ok(at)
    }
}

fn count(len: usize, what: &'static str) -> Result<u32, Error> {
    u32::try_from(len).map_err(|_| Error::TooMany { what, limit: u32::MAX.into() })
}

#[cfg(test)]
mod tests;
