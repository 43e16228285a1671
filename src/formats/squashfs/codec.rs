// SPDX-License-Identifier: Apache-2.0
//! Compressing one block, or taking it from a store of blocks that were compressed before.

use zstd::{bulk, zstd_safe};

use super::Error;
use crate::digest::{Digest, Hasher};

/// Compressed blocks by a digest of what they hold and how they were made.
///
/// Values are opaque and checked when they come back: a store may lose or damage them, and the
/// image stays right.
pub trait BlockStore: Sync {
    fn get(&self, key: &Digest) -> Option<Vec<u8>>;
    fn put(&self, key: &Digest, value: &[u8]);
}

/// Keeps nothing.
#[derive(Debug, Clone, Copy)]
pub struct NoStore;

impl BlockStore for NoStore {
    fn get(&self, _: &Digest) -> Option<Vec<u8>> {
        None
    }

    fn put(&self, _: &Digest, _: &[u8]) {}
}

/// A compressor at one level.
#[derive(Debug, Clone, Copy)]
pub(super) struct Codec {
    level: i32,
}

/// A block as it is stored.
pub(super) struct Stored {
    pub(super) bytes: Vec<u8>,
    /// Compression does not make it smaller.
    pub(super) raw: bool,
    pub(super) cached: bool,
}

/// First byte of a store's value: the block is stored as it is; nothing follows.
const RAW: u8 = 0;
/// First byte of a store's value: a SHA-256 of the rest and the compressed block follow.
const ZSTD: u8 = 1;

/// From this level on, a look with level 1 costs less than a hundredth of the compression.
const SLOW_LEVEL: i32 = 10;
/// A part of a block that tells most compressible blocks.
const SAMPLE: usize = 16 << 10;

/// Whether level 1 makes neither a part of the block nor the block smaller. Then slower levels
/// hardly do, but would look for long: modules, fonts and archives are compressed already.
///
/// Zstd gives up on what saves less than a 64th at any level below 16, so little is lost.
fn is_incompressible(block: &[u8]) -> Result<bool, Error> {
    let sample = block.chunks(SAMPLE).nth(block.len() / SAMPLE / 2).unwrap_or(block);
    for part in [sample, block] {
        if bulk::compress(part, 1).map_err(Error::Compress)?.len() < part.len() {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Codec {
    pub(super) fn new(level: i32) -> Self {
        Self { level }
    }

    /// `block` compressed, if that makes it smaller.
    ///
    /// Each block has a context of its own: with a used one, zstd's row match finder (levels 5
    /// to 10) salts its hashes by what it saw before, and the bytes would depend on which
    /// blocks met in one thread.
    pub(super) fn compress(self, block: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let mut bytes = bulk::compress(block, self.level).map_err(Error::Compress)?;
        if bytes.len() >= block.len() {
            return Ok(None);
        }
        bytes.shrink_to_fit();
        Ok(Some(bytes))
    }

    /// `block` as it is stored, from `store` if it is there.
    pub(super) fn stored(self, block: Vec<u8>, store: &dyn BlockStore) -> Result<Stored, Error> {
        let key = self.key(&block);
        if let Some(found) = store.get(&key).and_then(|value| Self::unpack(value, block.len())) {
            return Ok(match found {
                Some(bytes) => Stored { bytes, raw: false, cached: true },
                None => Stored { bytes: block, raw: true, cached: true },
            });
        }
        let hopeless = self.level >= SLOW_LEVEL && is_incompressible(&block)?;
        Ok(match if hopeless { None } else { self.compress(&block)? } {
            Some(bytes) => {
                let digest = Digest::of(&bytes);
                store.put(&key, &[&[ZSTD][..], digest.as_bytes(), &bytes].concat());
                Stored { bytes, raw: false, cached: false }
            }
            None => {
                store.put(&key, &[RAW]);
                Stored { bytes: block, raw: true, cached: false }
            }
        })
    }

    /// Another zstd may compress to other bytes, so its version is part of the key.
    fn key(self, block: &[u8]) -> Digest {
        let mut hasher = Hasher::new();
        hasher.update(b"kiln squashfs block 1\0");
        hasher.update(&zstd_safe::version_number().to_le_bytes());
        hasher.update(&self.level.to_le_bytes());
        hasher.update(block);
        hasher.finish()
    }

    /// What a store's value says: the compressed block, or that the block is stored raw. None
    /// if the value is not one that [`Codec::stored`] wrote.
    fn unpack(mut value: Vec<u8>, block_len: usize) -> Option<Option<Vec<u8>>> {
        match value.split_first()? {
            (&RAW, []) => Some(None),
            (&ZSTD, rest) => {
                let (digest, bytes) = rest.split_at_checked(32)?;
                if bytes.len() >= block_len || Digest::of(bytes).as_bytes() != digest {
                    return None;
                }
                value.drain(..33);
                Some(Some(value))
            }
            _ => None,
        }
    }
}

/// Decompresses at most `limit` bytes; none if `bytes` is no zstd or holds more.
pub(super) fn decompress(bytes: &[u8], limit: usize) -> Option<Vec<u8>> {
    bulk::decompress(bytes, limit).ok()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Mutex};

    use super::*;

    #[derive(Default)]
    struct Memory(Mutex<BTreeMap<Digest, Vec<u8>>>);

    impl BlockStore for Memory {
        fn get(&self, key: &Digest) -> Option<Vec<u8>> {
            self.0.lock().expect("no panic").get(key).cloned()
        }

        fn put(&self, key: &Digest, value: &[u8]) {
            self.0.lock().expect("no panic").insert(*key, value.to_vec());
        }
    }

    fn noise(len: usize) -> Vec<u8> {
        (0..len.div_ceil(32) as u64)
            .flat_map(|n| *Digest::of(&n.to_le_bytes()).as_bytes())
            .take(len)
            .collect()
    }

    #[test]
    fn a_store_gives_the_same_bytes_as_compressing() {
        for block in [b"abc ".repeat(1000), noise(4096)] {
            let (codec, store) = (Codec::new(15), Memory::default());
            let first = codec.stored(block.clone(), &store).unwrap();
            let second = codec.stored(block.clone(), &store).unwrap();
            assert_eq!((first.cached, second.cached), (false, true));
            assert_eq!((first.bytes, first.raw), (second.bytes, second.raw));
            assert!(!Codec::new(14).stored(block, &store).unwrap().cached);
        }
    }

    #[test]
    fn damaged_values_of_a_store_are_not_used() {
        let block = b"abc ".repeat(1000);
        let (codec, store) = (Codec::new(15), Memory::default());
        let first = codec.stored(block.clone(), &store).unwrap();
        let (key, value) = store.0.lock().unwrap().pop_first().unwrap();
        for at in 0..value.len() {
            let mut damaged = value.clone();
            damaged[at] ^= 1;
            store.put(&key, &damaged);
            let again = codec.stored(block.clone(), &store).unwrap();
            // Only the first byte can turn the value into another valid one: it cannot, because
            // a raw value has no rest.
            assert!(!again.cached);
            assert_eq!(again.bytes, first.bytes);
        }
    }
}
