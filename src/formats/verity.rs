// SPDX-License-Identifier: Apache-2.0
//! Dm-verity: a hash tree over an image, whose root hash vouches for every byte.
//!
//! Specification: cryptsetup's "DMVerity" page, on-disk format version 1, and the kernel's
//! `Documentation/admin-guide/device-mapper/verity.rst`. A hash partition is a superblock in a
//! block of its own, then the levels of the tree, the smallest first. A hash is
//! `SHA-256(salt || block)`; 128 of them fill a hash block, the last of a level is padded with
//! zeros. The root hash is that of the only block of the first level (of the data itself, if
//! that is a single block).

use std::io::{self, Write};

use rayon::prelude::*;

use crate::{
    digest::{Digest, Hasher},
    tree::Content,
};

/// Size of data and hash blocks: the page size, which every kernel can use.
pub const BLOCK: u64 = 4096;
const BLOCK_LEN: usize = 4096;
const HASH: usize = 32;
const HASHES_PER_BLOCK: u64 = 128;
/// Data read by one thread at a time.
const STEP: u64 = 1 << 20;

/// What shapes a hash tree besides its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Params {
    pub salt: [u8; 32],
    /// Written in the superblock; names the verity device.
    pub uuid: uuid::Uuid,
}

/// A hash tree that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verity {
    pub root_hash: Digest,
    /// Size of the superblock and the tree.
    pub bytes: u64,
}

/// Why a hash tree cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("verity needs whole blocks of 4096 bytes, at least one; the data has {0} bytes")]
    Length(u64),
    #[error("reading the data at {offset}")]
    Read { offset: u64, source: io::Error },
    #[error("writing the hash tree")]
    Write(#[from] io::Error),
}

/// Writes superblock and hash tree of `data` to `out`.
///
/// # Errors
/// `data` is empty or no multiple of 4 KiB, or cannot be read; `out` cannot be written.
pub fn write(data: &Content, params: &Params, out: &mut impl Write) -> Result<Verity, Error> {
    let blocks = whole_blocks(data.len())?;
    let mut levels = Vec::new();
    let mut hashes = hash_data(data, &params.salt)?;
    while hashes.len() > HASH {
        hashes.resize(hashes.len().next_multiple_of(BLOCK_LEN), 0);
        let above = hashes
            .par_chunks(BLOCK_LEN)
            .with_min_len(64)
            .flat_map_iter(|block| hash(&params.salt, block))
            .collect();
        levels.push(std::mem::replace(&mut hashes, above));
    }
    out.write_all(&superblock(blocks, params))?;
    for level in levels.iter().rev() {
        out.write_all(level)?;
    }
    let root: [u8; HASH] = hashes.try_into().expect("the loop ends with one hash");
    Ok(Verity { root_hash: Digest::from(root), bytes: size(data.len())? })
}

/// Size of the superblock and the tree for `len` bytes of data.
///
/// # Errors
/// `len` is zero or no multiple of 4 KiB.
pub fn size(len: u64) -> Result<u64, Error> {
    let mut level = whole_blocks(len)?;
    let mut blocks = 1;
    while level > 1 {
        level = level.div_ceil(HASHES_PER_BLOCK);
        blocks += level;
    }
    Ok(blocks * BLOCK)
}

fn whole_blocks(len: u64) -> Result<u64, Error> {
    if len == 0 || !len.is_multiple_of(BLOCK) {
        return Err(Error::Length(len));
    }
    Ok(len / BLOCK)
}

/// The hashes of all data blocks: 8 MiB for 1 GiB of data.
fn hash_data(data: &Content, salt: &[u8; 32]) -> Result<Vec<u8>, Error> {
    let steps: Vec<Vec<u8>> = (0..data.len().div_ceil(STEP))
        .into_par_iter()
        .map(|step| {
            let offset = step * STEP;
            let len = STEP.min(data.len() - offset);
            let mut bytes = vec![0; usize::try_from(len).expect("at most 1 MiB")];
            data.read_exact_at(&mut bytes, offset)
                .map_err(|source| Error::Read { offset, source })?;
            Ok(bytes.chunks(BLOCK_LEN).flat_map(|block| hash(salt, block)).collect())
        })
        .collect::<Result<_, Error>>()?;
    Ok(steps.concat())
}

fn hash(salt: &[u8; 32], block: &[u8]) -> [u8; HASH] {
    let mut hasher = Hasher::new();
    hasher.update(salt);
    hasher.update(block);
    *hasher.finish().as_bytes()
}

/// `struct verity_sb` of cryptsetup: 512 bytes, here padded to a whole block.
fn superblock(blocks: u64, params: &Params) -> Vec<u8> {
    const VERSION: u32 = 1;
    const HASH_TYPE: u32 = 1;
    let mut algorithm = [0; 32];
    algorithm[..6].copy_from_slice(b"sha256");
    let block_len = u32::try_from(BLOCK).expect("4096");
    let salt_len = u16::try_from(params.salt.len()).expect("32");
    let mut bytes = [
        &b"verity\0\0"[..],
        &VERSION.to_le_bytes(),
        &HASH_TYPE.to_le_bytes(),
        params.uuid.as_bytes(),
        &algorithm,
        &block_len.to_le_bytes(),
        &block_len.to_le_bytes(),
        &blocks.to_le_bytes(),
        &salt_len.to_le_bytes(),
        &[0; 6],
        &params.salt,
    ]
    .concat();
    bytes.resize(BLOCK_LEN, 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params() -> Params {
        Params { salt: [7; 32], uuid: uuid::Uuid::from_bytes([1; 16]) }
    }

    fn written(len: usize) -> (Verity, Vec<u8>) {
        let data: Vec<u8> = (0..len).map(|n| (n / BLOCK_LEN % 251) as u8).collect();
        let mut out = Vec::new();
        let verity = write(&Content::bytes(data), &params(), &mut out).expect("hashes");
        assert_eq!(verity.bytes, out.len() as u64);
        (verity, out)
    }

    #[test]
    fn one_block_is_its_own_tree() {
        let (verity, out) = written(BLOCK_LEN);
        assert_eq!(out.len(), BLOCK_LEN);
        assert_eq!(*verity.root_hash.as_bytes(), hash(&[7; 32], &[0; BLOCK_LEN]));
    }

    #[test]
    fn levels_are_stored_root_first() {
        let (verity, out) = written(300 * BLOCK_LEN);
        // Superblock, one block of 3 hashes, 3 blocks of 300 hashes.
        assert_eq!(out.len(), 5 * BLOCK_LEN);
        let blocks: Vec<&[u8]> = out.chunks(BLOCK_LEN).collect();
        assert_eq!(*verity.root_hash.as_bytes(), hash(&[7; 32], blocks[1]));
        assert_eq!(blocks[1][..HASH], hash(&[7; 32], blocks[2]));
        assert_eq!(blocks[1][2 * HASH..3 * HASH], hash(&[7; 32], blocks[4]));
        assert!(blocks[1][3 * HASH..].iter().all(|byte| *byte == 0));
        assert_eq!(blocks[2][HASH..2 * HASH], hash(&[7; 32], &[1; BLOCK_LEN]));
    }

    #[test]
    fn sizes_are_known_before_hashing() {
        for blocks in [1, 2, 127, 128, 129, 128 * 128, 128 * 128 + 1] {
            let (verity, _) = written(blocks * BLOCK_LEN);
            assert_eq!(size((blocks * BLOCK_LEN) as u64).expect("whole"), verity.bytes);
        }
    }

    #[test]
    fn data_that_is_not_whole_blocks_is_refused() {
        for len in [0, 1, 4097] {
            let data = Content::bytes(vec![0; len]);
            let result = write(&data, &params(), &mut Vec::new());
            assert!(matches!(result, Err(Error::Length(found)) if found == len as u64));
        }
    }

    #[test]
    fn threads_change_no_byte() {
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.expect("starts").install(|| written(3000 * BLOCK_LEN))
        };
        assert_eq!(on(1), on(5));
    }
}
