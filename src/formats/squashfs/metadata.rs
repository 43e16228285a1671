// SPDX-License-Identifier: Apache-2.0
//! Metadata blocks: tables cut into 8 KiB, each compressed by itself behind a 16-bit header.

use super::{
    Error,
    codec::Codec,
    record::Record,
    superblock::{METADATA, RAW_METADATA},
};

/// Where something lies in a table: the start of its block among the compressed ones, and the
/// offset inside the uncompressed block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Reference {
    pub(super) block: u32,
    pub(super) offset: u16,
}

impl Reference {
    /// As the superblock and the export and xattr tables write it.
    pub(super) fn packed(self) -> u64 {
        u64::from(self.block) << 16 | u64::from(self.offset)
    }
}

/// A table being written.
pub(super) struct Metadata {
    codec: Codec,
    stored: Vec<u8>,
    blocks: Vec<u64>,
    pending: Vec<u8>,
}

impl Metadata {
    pub(super) fn new(codec: Codec) -> Self {
        Self { codec, stored: Vec::new(), blocks: Vec::new(), pending: Vec::new() }
    }

    /// Appends `bytes` and gives where they begin.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<Reference, Error> {
        let reference = self.position()?;
        while !bytes.is_empty() {
            let room = METADATA - self.pending.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.pending.extend_from_slice(now);
            bytes = later;
            if self.pending.len() == METADATA {
                self.flush()?;
            }
        }
        Ok(reference)
    }

    /// The table, and where each of its blocks begins.
    pub(super) fn finish(mut self) -> Result<(Vec<u8>, Vec<u64>), Error> {
        if !self.pending.is_empty() {
            self.flush()?;
        }
        Ok((self.stored, self.blocks))
    }

    fn position(&self) -> Result<Reference, Error> {
        let block = u32::try_from(self.stored.len())
            .map_err(|_| Error::TooMany { what: "bytes in one table", limit: u32::MAX.into() })?;
        let offset = u16::try_from(self.pending.len()).expect("less than a block");
        Ok(Reference { block, offset })
    }

    fn flush(&mut self) -> Result<(), Error> {
        let block = std::mem::take(&mut self.pending);
        let compressed = self.codec.compress(&block)?;
        let flag = if compressed.is_some() { 0 } else { RAW_METADATA };
        let bytes = compressed.unwrap_or(block);
        let size = u16::try_from(bytes.len()).expect("at most 8 KiB");
        self.blocks.push(self.stored.len() as u64);
        self.stored.extend(Record::new().u16(size | flag).bytes(&bytes).finish());
        Ok(())
    }
}
