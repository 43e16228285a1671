// SPDX-License-Identifier: Apache-2.0
//! A file in memory that stores only what is not zero.
//!
//! The FAT and GPT crates write through `Read + Write + Seek` into something as large as the
//! volume or the disk. Zeros take no memory here, so a disk of many gigabytes costs what its
//! tables and files weigh.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Read, Seek, SeekFrom, Write},
    sync::Arc,
};

use crate::tree::{Content, Source};

/// Bytes per stored piece.
const CHUNK: usize = 64 << 10;

/// Bytes of fixed length, all zero until written.
#[derive(Clone)]
pub struct Sparse {
    len: u64,
    position: u64,
    chunks: BTreeMap<u64, Box<[u8]>>,
}

impl Sparse {
    pub fn new(len: u64) -> Self {
        Self { len, position: 0, chunks: BTreeMap::new() }
    }

    /// Size in bytes, zeros included.
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Replaces the bytes at `offset`.
    ///
    /// # Errors
    /// The range is not inside.
    pub fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.check(offset, bytes.len())?;
        let mut rest = bytes;
        let mut offset = offset;
        while !rest.is_empty() {
            let (index, within) = split(offset);
            let (now, later) = rest.split_at(rest.len().min(CHUNK - within));
            match self.chunks.get_mut(&index) {
                Some(chunk) => chunk[within..within + now.len()].copy_from_slice(now),
                None if now.iter().all(|byte| *byte == 0) => {}
                None => {
                    let mut chunk = vec![0; CHUNK].into_boxed_slice();
                    chunk[within..within + now.len()].copy_from_slice(now);
                    self.chunks.insert(index, chunk);
                }
            }
            offset += now.len() as u64;
            rest = later;
        }
        Ok(())
    }

    fn check(&self, offset: u64, len: usize) -> io::Result<()> {
        match offset.checked_add(len as u64) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// How much of a transfer of `wanted` bytes at the current position is inside.
    fn clip(&self, wanted: usize) -> usize {
        let left = self.len.saturating_sub(self.position);
        usize::try_from(left).map_or(wanted, |left| wanted.min(left))
    }
}

/// The chunk of an offset, and the place in it.
fn split(offset: u64) -> (u64, usize) {
    // The remainder is below CHUNK, so it fits.
    (offset / CHUNK as u64, (offset % CHUNK as u64) as usize)
}

impl Source for Sparse {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.check(offset, buffer.len())?;
        let mut rest = buffer;
        let mut offset = offset;
        while !rest.is_empty() {
            let (index, within) = split(offset);
            let n_now = rest.len().min(CHUNK - within);
            let (now, later) = rest.split_at_mut(n_now);
            match self.chunks.get(&index) {
                Some(chunk) => now.copy_from_slice(&chunk[within..within + n_now]),
                None => now.fill(0),
            }
            offset += n_now as u64;
            rest = later;
        }
        Ok(())
    }
}

impl From<Sparse> for Content {
    fn from(sparse: Sparse) -> Self {
        let len = sparse.len;
        Self::Window { source: Arc::new(sparse), offset: 0, len }
    }
}

impl Read for Sparse {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_now = self.clip(buffer.len());
        self.read_exact_at(&mut buffer[..n_now], self.position)?;
        self.position += n_now as u64;
        Ok(n_now)
    }
}

impl Write for Sparse {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n_now = self.clip(bytes.len());
        self.write_all_at(&bytes[..n_now], self.position)?;
        self.position += n_now as u64;
        Ok(n_now)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Sparse {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(delta) => self.len.checked_add_signed(delta),
            SeekFrom::Current(delta) => self.position.checked_add_signed(delta),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

impl fmt::Debug for Sparse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sparse({} bytes, {} chunks)", self.len, self.chunks.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_across_pieces_is_read_back() {
        let mut file = Sparse::new(1 << 40);
        let bytes: Vec<u8> = (0..200_000_u32).map(|n| n as u8 | 1).collect();
        file.write_all_at(&bytes, CHUNK as u64 - 7).unwrap();
        let mut back = vec![0; bytes.len() + 2];
        file.read_exact_at(&mut back, CHUNK as u64 - 8).unwrap();
        assert_eq!(back[1..=bytes.len()], bytes);
        assert_eq!((back[0], back[bytes.len() + 1]), (0, 0));
    }

    #[test]
    fn zeros_take_no_memory_and_erase() {
        let mut file = Sparse::new(1 << 20);
        file.write_all(&vec![0; 1 << 20]).unwrap();
        assert!(file.chunks.is_empty());
        file.write_all_at(b"x", 9).unwrap();
        file.write_all_at(b"\0", 9).unwrap();
        let mut byte = [1];
        file.read_exact_at(&mut byte, 9).unwrap();
        assert_eq!(byte, [0]);
    }

    #[test]
    fn nothing_lies_behind_the_end() {
        let mut file = Sparse::new(10);
        assert!(file.write_all_at(b"ab", 9).is_err());
        assert!(file.read_exact_at(&mut [0; 2], u64::MAX).is_err());
        assert!(file.seek(SeekFrom::Current(-1)).is_err());
        file.seek(SeekFrom::End(-1)).unwrap();
        assert_eq!(file.write(b"ab").unwrap(), 1);
        assert_eq!(file.read(&mut [0; 4]).unwrap(), 0);
    }
}
