// SPDX-License-Identifier: Apache-2.0
//! The first 96 bytes, and the constants of the whole format.

use super::{
    ReadError,
    record::{Fields, Record},
};

pub(super) const SIZE: usize = 96;
/// "hsqs", read as a little-endian number.
pub(super) const MAGIC: u32 = 0x7371_7368;
pub(super) const MIN_BLOCK: u32 = 4 << 10;
pub(super) const MAX_BLOCK: u32 = 1 << 20;
/// Images are padded to this, so that they can be read as a block device.
pub(super) const DEVICE_BLOCK: u64 = 4096;
/// Uncompressed size of a metadata block.
pub(super) const METADATA: usize = 8 << 10;
/// Bit of a metadata block's header: stored as it is.
pub(super) const RAW_METADATA: u16 = 1 << 15;
/// Bit of a data block's size: stored as it is.
pub(super) const RAW_BLOCK: u32 = 1 << 24;
pub(super) const NO_TABLE: u64 = u64::MAX;
pub(super) const NO_FRAGMENT: u32 = u32::MAX;
pub(super) const NO_XATTR: u32 = u32::MAX;
/// SQUASHFS_DIR_COUNT: entries under one directory header.
pub(super) const DIRECTORY_RUN: usize = 256;
/// Directories count as three bytes longer than their listing: `.`, `..` and the end.
pub(super) const DIRECTORY_EXTRA: u32 = 3;

const ZSTD: u16 = 6;
const VERSION: (u16, u16) = (4, 0);
const TAILS_IN_FRAGMENTS: u16 = 1 << 5;
const DUPLICATES: u16 = 1 << 6;
const EXPORTABLE: u16 = 1 << 7;
const NO_XATTRS: u16 = 1 << 9;
const COMPRESSOR_OPTIONS: u16 = 1 << 10;
/// The flags that this module understands, with their names.
pub(super) const FLAGS: [(u16, &str); 5] = [
    (TAILS_IN_FRAGMENTS, "tails-in-fragments"),
    (DUPLICATES, "duplicates"),
    (EXPORTABLE, "exportable"),
    (NO_XATTRS, "no-xattrs"),
    (COMPRESSOR_OPTIONS, "compressor-options"),
];

/// Flags of an image of ours.
pub(super) fn flags(xattrs: bool) -> u16 {
    let flags = DUPLICATES | EXPORTABLE | COMPRESSOR_OPTIONS;
    if xattrs { flags } else { flags | NO_XATTRS }
}

/// The options block that follows the superblock: a raw metadata block of the zstd level.
pub(super) fn compressor_options(level: i32) -> Vec<u8> {
    Record::new().u16(RAW_METADATA | 4).u32(level.unsigned_abs()).finish()
}

/// `struct squashfs_super_block`, without its constants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Superblock {
    pub(super) inodes: u32,
    pub(super) mtime: u32,
    pub(super) block_size: u32,
    pub(super) fragments: u32,
    pub(super) flags: u16,
    pub(super) ids: u16,
    pub(super) root: u64,
    pub(super) bytes_used: u64,
    pub(super) id_table: u64,
    pub(super) xattr_table: u64,
    pub(super) inode_table: u64,
    pub(super) directory_table: u64,
    pub(super) fragment_table: u64,
    pub(super) export_table: u64,
}

impl Superblock {
    pub(super) fn encode(&self) -> Vec<u8> {
        let block_log = u16::try_from(self.block_size.ilog2()).expect("at most 31");
        let bytes = Record::new()
            .u32(MAGIC)
            .u32(self.inodes)
            .u32(self.mtime)
            .u32(self.block_size)
            .u32(self.fragments)
            .u16(ZSTD)
            .u16(block_log)
            .u16(self.flags)
            .u16(self.ids)
            .u16(VERSION.0)
            .u16(VERSION.1)
            .u64(self.root)
            .u64(self.bytes_used)
            .u64(self.id_table)
            .u64(self.xattr_table)
            .u64(self.inode_table)
            .u64(self.directory_table)
            .u64(self.fragment_table)
            .u64(self.export_table)
            .finish();
        debug_assert_eq!(bytes.len(), SIZE);
        bytes
    }

    pub(super) fn decode(bytes: &[u8; SIZE]) -> Result<Self, ReadError> {
        let mut fields = Fields::new(bytes, 0);
        fields.expect_u32("magic number", MAGIC)?;
        let (inodes, mtime) = (fields.u32()?, fields.u32()?);
        let (block_size, fragments) = (fields.u32()?, fields.u32()?);
        fields.expect_u16("compressor", ZSTD)?;
        if !block_size.is_power_of_two() || !(MIN_BLOCK..=MAX_BLOCK).contains(&block_size) {
            return Err(ReadError::Corrupt { what: "block size", offset: 12 });
        }
        let block_log = u16::try_from(block_size.ilog2()).expect("at most 31");
        fields.expect_u16("logarithm of the block size", block_log)?;
        let (flags, ids) = (fields.u16()?, fields.u16()?);
        let known = FLAGS.iter().fold(0, |known, (flag, _)| known | flag);
        if flags & !known != 0 {
            return Err(ReadError::Unsupported {
                what: "flags",
                expected: known.into(),
                found: flags.into(),
            });
        }
        fields.expect_u16("version", VERSION.0)?;
        fields.expect_u16("minor version", VERSION.1)?;
        Ok(Self {
            inodes,
            mtime,
            block_size,
            fragments,
            flags,
            ids,
            root: fields.u64()?,
            bytes_used: fields.u64()?,
            id_table: fields.u64()?,
            xattr_table: fields.u64()?,
            inode_table: fields.u64()?,
            directory_table: fields.u64()?,
            fragment_table: fields.u64()?,
            export_table: fields.u64()?,
        })
    }
}
