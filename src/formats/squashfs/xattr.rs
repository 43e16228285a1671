// SPDX-License-Identifier: Apache-2.0
//! Extended attributes: sets of names and values, each set stored once and named by a number.

use std::collections::BTreeMap;

use super::{Error, codec::Codec, metadata::Metadata, record::Record, superblock::NO_XATTR};
use crate::tree::{Meta, TreePath};

/// The name spaces of squashfs, at the index that stands for them.
pub(super) const PREFIXES: [&str; 3] = ["user.", "trusted.", "security."];
/// XATTR_NAME_MAX and XATTR_SIZE_MAX of Linux.
const NAME_MAX: usize = 255;
const VALUE_MAX: usize = 64 << 10;

type Set = BTreeMap<String, Vec<u8>>;

/// The sets of a tree.
pub(super) struct Xattrs<'t> {
    codec: Codec,
    numbers: BTreeMap<&'t Set, u32>,
    pairs: Metadata,
    sets: Record,
}

impl<'t> Xattrs<'t> {
    pub(super) fn new(codec: Codec) -> Self {
        let pairs = Metadata::new(codec);
        Self { codec, numbers: BTreeMap::new(), pairs, sets: Record::new() }
    }

    /// The number of the inode's set, [`NO_XATTR`] if it is empty.
    pub(super) fn number(&mut self, path: &TreePath, meta: &'t Meta) -> Result<u32, Error> {
        if meta.xattrs.is_empty() {
            return Ok(NO_XATTR);
        }
        if let Some(number) = self.numbers.get(&meta.xattrs) {
            return Ok(*number);
        }
        let number = super::count(self.numbers.len(), "sets of extended attributes")?;
        let pairs = encode(path, &meta.xattrs)?;
        let size = super::count(pairs.len(), "bytes of extended attributes")?;
        let count = super::count(meta.xattrs.len(), "extended attributes")?;
        let reference = self.pairs.write(&pairs)?;
        let sets = std::mem::replace(&mut self.sets, Record::new());
        self.sets = sets.u64(reference.packed()).u32(count).u32(size);
        self.numbers.insert(&meta.xattrs, number);
        Ok(number)
    }

    /// The xattr table that begins at `start`, and the position that the superblock names. None
    /// if there are no attributes.
    pub(super) fn finish(self, start: u64) -> Result<Option<(Vec<u8>, u64)>, Error> {
        if self.numbers.is_empty() {
            return Ok(None);
        }
        let (mut bytes, _) = self.pairs.finish()?;
        let sets_start = start + bytes.len() as u64;
        let mut sets = Metadata::new(self.codec);
        sets.write(&self.sets.finish())?;
        let (sets, blocks) = sets.finish()?;
        bytes.extend(sets);
        let at = start + bytes.len() as u64;
        let count = super::count(self.numbers.len(), "sets of extended attributes")?;
        let header = Record::new().u64(start).u32(count).u32(0);
        let list = blocks.iter().fold(header, |list, block| list.u64(sets_start + block));
        bytes.extend(list.finish());
        Ok(Some((bytes, at)))
    }
}

fn encode(path: &TreePath, set: &Set) -> Result<Vec<u8>, Error> {
    let mut record = Record::new();
    for (name, value) in set {
        let found = PREFIXES.iter().zip(0u16..).find_map(|(prefix, number)| {
            let rest = name.strip_prefix(prefix).filter(|rest| !rest.is_empty())?;
            Some((rest, number))
        });
        let Some((rest, prefix)) = found else {
            return Err(Error::XattrPrefix { path: path.clone(), name: name.clone() });
        };
        let too_long = || Error::XattrSize { path: path.clone(), name: name.clone() };
        let name_len = u16::try_from(rest.len()).map_err(|_| too_long())?;
        let value_len = u32::try_from(value.len()).map_err(|_| too_long())?;
        if name.len() > NAME_MAX || value.len() > VALUE_MAX {
            return Err(too_long());
        }
        record = record.u16(prefix).u16(name_len).bytes(rest.as_bytes());
        record = record.u32(value_len).bytes(value);
    }
    Ok(record.finish())
}
