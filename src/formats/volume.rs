// SPDX-License-Identifier: Apache-2.0
//! A disk as a value: bytes of a fixed length, of which few places hold something.
//!
//! Every format of a virtual disk is written out of this, grain by grain: what is zero is found
//! once, here, and what a format does to a grain is done on all cores, a batch at a time, so that
//! neither the size of the disk nor that of its contents is ever in memory.

use std::{collections::BTreeMap, fmt, io};

use rayon::prelude::*;

use crate::tree::{Content, Source};

/// Bytes of grains in memory per core.
const BATCH: usize = 4 << 20;

/// A disk; zero where no part lies.
#[derive(Clone)]
pub struct Volume {
    len: u64,
    parts: BTreeMap<u64, Content>,
}

/// Why a part cannot be where it should.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("{len} bytes at {offset} do not fit a disk of {disk}")]
    Outside { offset: u64, len: u64, disk: u64 },
    #[error("{len} bytes at {offset} overlap what lies at {other}")]
    Overlap { offset: u64, len: u64, other: u64 },
}

impl Volume {
    /// An empty disk of `len` bytes.
    pub fn new(len: u64) -> Self {
        Self { len, parts: BTreeMap::new() }
    }

    /// Size in bytes, zeros included.
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Lays a part at `offset`.
    ///
    /// # Errors
    /// It is not inside, or something lies there already.
    pub fn put(&mut self, offset: u64, part: Content) -> Result<(), Error> {
        let len = part.len();
        let end = offset.checked_add(len).filter(|end| *end <= self.len);
        let end = end.ok_or(Error::Outside { offset, len, disk: self.len })?;
        let before = self.parts.range(..end).next_back();
        if let Some((other, _)) = before.filter(|(at, part)| *at + part.len() > offset) {
            return Err(Error::Overlap { offset, len, other: *other });
        }
        if len > 0 {
            self.parts.insert(offset, part);
        }
        Ok(())
    }

    /// Does `work` on every grain that is not zero, on all cores, and hands the results over in
    /// the order of the disk, each with its grain's number. The last grain may be shorter.
    ///
    /// # Errors
    /// A part cannot be read, or `work` or `take` fails.
    pub fn grains<T: Send>(
        &self,
        size: usize,
        work: impl Fn(Vec<u8>) -> io::Result<T> + Sync,
        mut take: impl FnMut(u64, T) -> io::Result<()>,
    ) -> io::Result<()> {
        let n_batch = (BATCH / size).max(1) * rayon::current_num_threads();
        let mut numbers = self.occupied(size as u64).peekable();
        let grain = |number: &u64| -> io::Result<Option<(u64, T)>> {
            let offset = number * size as u64;
            let left = usize::try_from(self.len - offset).unwrap_or(size);
            let mut bytes = vec![0; left.min(size)];
            self.read_exact_at(&mut bytes, offset)?;
            if is_zero(&bytes) { Ok(None) } else { Ok(Some((*number, work(bytes)?))) }
        };
        while numbers.peek().is_some() {
            let batch: Vec<u64> = numbers.by_ref().take(n_batch).collect();
            let done: Vec<_> = batch.par_iter().map(grain).collect::<io::Result<_>>()?;
            for (number, result) in done.into_iter().flatten() {
                take(number, result)?;
            }
        }
        Ok(())
    }

    /// The numbers of the grains that some part touches, rising.
    fn occupied(&self, size: u64) -> impl Iterator<Item = u64> {
        let mut next = 0;
        self.parts.iter().flat_map(move |(offset, part)| {
            let first = (offset / size).max(next);
            next = (offset + part.len()).div_ceil(size);
            first..next
        })
    }
}

impl Source for Volume {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.len);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.fill(0);
        for (at, part) in self.parts.range(..end).rev() {
            let part_end = at + part.len();
            // Parts do not overlap: whatever comes before this one ends before it, too.
            if part_end <= offset {
                break;
            }
            let (from, to) = (offset.max(*at), end.min(part_end));
            // Both lie inside the buffer.
            let inside = (from - offset) as usize..(to - offset) as usize;
            part.read_exact_at(&mut buffer[inside], from - at)?;
        }
        Ok(())
    }
}

impl From<Volume> for Content {
    fn from(volume: Volume) -> Self {
        let len = volume.len;
        Self::Window { source: std::sync::Arc::new(volume), offset: 0, len }
    }
}

impl fmt::Debug for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Volume({} bytes, {} parts)", self.len, self.parts.len())
    }
}

/// Whether there is nothing but zeros.
pub fn is_zero(bytes: &[u8]) -> bool {
    let (chunks, rest) = bytes.as_chunks::<16>();
    chunks.iter().all(|chunk| *chunk == [0; 16]) && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A disk with these bytes at these offsets.
    pub(crate) fn volume(len: u64, parts: &[(u64, &[u8])]) -> Volume {
        let mut volume = Volume::new(len);
        for (offset, bytes) in parts {
            volume.put(*offset, Content::bytes(*bytes)).unwrap();
        }
        volume
    }

    #[test]
    fn parts_do_not_overlap_and_lie_inside() {
        let mut volume = volume(100, &[(10, &[1; 10])]);
        let mut put = |offset, len: usize| volume.put(offset, Content::bytes(vec![2; len]));
        assert_eq!(put(19, 1), Err(Error::Overlap { offset: 19, len: 1, other: 10 }));
        assert_eq!(put(5, 6), Err(Error::Overlap { offset: 5, len: 6, other: 10 }));
        assert_eq!(put(0, 50), Err(Error::Overlap { offset: 0, len: 50, other: 10 }));
        assert_eq!(put(99, 2), Err(Error::Outside { offset: 99, len: 2, disk: 100 }));
        assert!(put(u64::MAX, 2).is_err());
        assert_eq!((put(5, 5), put(20, 80)), (Ok(()), Ok(())));
    }

    #[test]
    fn only_what_is_not_zero_is_worked_on() {
        let volume =
            volume(1 << 40, &[(4095, &[1, 2]), (1 << 30, &[0; 9000]), ((1 << 40) - 1, b"x")]);
        let mut seen = Vec::new();
        let take = |number, bytes: Vec<u8>| {
            seen.push((number, bytes.len()));
            Ok(())
        };
        volume.grains(4096, Ok, take).unwrap();
        assert_eq!(seen, [(0, 4096), (1, 4096), ((1 << 28) - 1, 4096)]);
    }

    proptest! {
        #[test]
        fn grains_put_together_are_the_disk(
            lens in proptest::collection::vec((0_usize..300, 0_usize..300), 0..20),
            size in 1_usize..200,
        ) {
            let mut whole = Vec::new();
            let mut parts = Vec::new();
            for (gap, len) in lens {
                whole.resize(whole.len() + gap, 0);
                let bytes: Vec<u8> = (0..len).map(|n| (n % 3) as u8).collect();
                parts.push((whole.len() as u64, bytes.clone()));
                whole.extend(bytes);
            }
            let mut volume = Volume::new(whole.len() as u64);
            for (offset, bytes) in parts {
                volume.put(offset, Content::bytes(bytes)).unwrap();
            }
            let mut back = vec![0; whole.len()];
            volume.grains(size, Ok, |number, bytes| {
                let offset = usize::try_from(number).unwrap() * size;
                back[offset..offset + bytes.len()].copy_from_slice(&bytes);
                Ok(())
            }).unwrap();
            prop_assert_eq!(back, whole);
        }
    }
}
