// SPDX-License-Identifier: Apache-2.0
//! A file on its way out, read once, piece by piece.
//!
//! What is hashed is what is sent: a piece stays in memory until the server has it. The last piece
//! is only given if all of them are what `SHA256SUMS` names, so a damaged file never arrives whole.

use std::io::{self, Read};

use anyhow::{Context as _, Result};

use super::release::{File, SUMS};
use crate::{digest::Hasher, error::refuse, tree::Content, units::Bytes};

/// Bytes in memory for each file that is on its way. Stores want 5 MiB or more; a retry sends no
/// more than this again.
pub(super) const PIECE: usize = 16 << 20;

const DAMAGED: &str = "nothing of it was published; build the role again";

/// A file that is being read.
pub(super) struct Pieces<'a> {
    content: &'a Content,
    file: &'a File,
    size: usize,
    offset: u64,
    is_over: bool,
    hasher: Hasher,
    buffer: Vec<u8>,
}

/// Some bytes of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'a> {
    /// Of its first byte.
    pub(super) offset: u64,
    pub(super) bytes: &'a [u8],
}

impl Piece<'_> {
    /// The offset behind its last byte.
    pub(super) fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }
}

impl<'a> Pieces<'a> {
    /// Pieces of `size` bytes; the last one may be smaller. An empty file is one empty piece.
    ///
    /// # Errors
    /// The file has another size than it should.
    pub(super) fn new(content: &'a Content, file: &'a File, size: usize) -> Result<Self> {
        if content.len() != file.size {
            let (found, expected) = (Bytes(content.len()), Bytes(file.size));
            let fact = format!("'{}' is damaged: expected {expected}, found {found}", file.name);
            return Err(refuse(fact, DAMAGED));
        }
        let (hasher, buffer) = (Hasher::new(), Vec::new());
        Ok(Self { content, file, size, offset: 0, is_over: false, hasher, buffer })
    }

    /// The next piece.
    ///
    /// # Errors
    /// The file cannot be read, or the whole of it is not what it should be.
    pub(super) fn next(&mut self) -> Result<Option<Piece<'_>>> {
        if self.is_over {
            return Ok(None);
        }
        let offset = self.offset;
        let rest = self.file.size - offset;
        let len = usize::try_from(rest).unwrap_or(self.size).min(self.size);
        self.buffer.resize(len, 0);
        self.content
            .read_exact_at(&mut self.buffer, offset)
            .with_context(|| format!("reading '{}'", self.file.name))?;
        self.hasher.update(&self.buffer);
        self.offset += len as u64;
        self.is_over = self.offset == self.file.size;
        if self.is_over {
            self.check()?;
        }
        Ok(Some(Piece { offset, bytes: &self.buffer }))
    }

    fn check(&self) -> Result<()> {
        let (expected, found) = (self.file.sha256, self.hasher.clone().finish());
        if found == expected {
            return Ok(());
        }
        let (name, expected, found) = (&self.file.name, expected.short(), found.short());
        let fact = format!("'{name}' is damaged: {SUMS} has sha256 {expected}, found {found}");
        Err(refuse(fact, DAMAGED))
    }
}

/// The same as one stream, for a server that takes no pieces.
pub(super) struct Stream<'a> {
    pieces: Pieces<'a>,
    /// Where to go on in the current piece.
    at: usize,
    len: usize,
    /// Why it ended early: the client of a stream only learns that it did.
    pub(super) failed: Option<anyhow::Error>,
}

impl<'a> Stream<'a> {
    const BUFFER: usize = 256 << 10;

    pub(super) fn new(content: &'a Content, file: &'a File) -> Result<Self> {
        let pieces = Pieces::new(content, file, Self::BUFFER)?;
        Ok(Self { pieces, at: 0, len: 0, failed: None })
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.len {
            match self.pieces.next() {
                Ok(None) => return Ok(0),
                Ok(Some(piece)) => (self.at, self.len) = (0, piece.bytes.len()),
                Err(error) => {
                    self.failed = Some(error);
                    return Err(io::Error::other("the file is damaged"));
                }
            }
        }
        let rest = &self.pieces.buffer[self.at..self.len];
        let n = rest.len().min(into.len());
        into[..n].copy_from_slice(&rest[..n]);
        self.at += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn file(bytes: &[u8]) -> File {
        File { name: "a".to_owned(), size: bytes.len() as u64, sha256: Digest::of(bytes) }
    }

    /// The pieces that are given, and what is said at last.
    fn read(content: &[u8], file: &File, size: usize) -> (Vec<(u64, Vec<u8>)>, Option<String>) {
        let content = Content::bytes(content);
        let mut given = Vec::new();
        let mut pieces = match Pieces::new(&content, file, size) {
            Ok(pieces) => pieces,
            Err(error) => return (given, Some(error.to_string())),
        };
        loop {
            match pieces.next() {
                Ok(Some(piece)) => given.push((piece.offset, piece.bytes.to_vec())),
                Ok(None) => return (given, None),
                Err(error) => return (given, Some(error.to_string())),
            }
        }
    }

    #[test]
    fn a_file_comes_in_pieces() {
        let own = |pieces: &[(u64, &[u8])]| {
            pieces.iter().map(|(at, bytes)| (*at, bytes.to_vec())).collect::<Vec<_>>()
        };
        let ends: &[(u64, &[u8])] = &[(0, b"abc"), (3, b"de")];
        assert_eq!(read(b"abcde", &file(b"abcde"), 3), (own(ends), None));
        let even: &[(u64, &[u8])] = &[(0, b"abc"), (3, b"def")];
        assert_eq!(read(b"abcdef", &file(b"abcdef"), 3), (own(even), None));
        assert_eq!(read(b"", &file(b""), 3), (own(&[(0, b"")]), None));
    }

    #[test]
    fn the_last_piece_of_a_damaged_file_is_kept_back() {
        let (given, said) = read(b"abXde", &file(b"abcde"), 3);
        assert_eq!(given, [(0, b"abX".to_vec())]);
        let (expected, found) = (Digest::of(b"abcde").short(), Digest::of(b"abXde").short());
        let expected = format!("'a' is damaged: SHA256SUMS has sha256 {expected}, found {found}");
        assert_eq!(said, Some(expected));
        let (given, said) = read(b"abcd", &file(b"abcde"), 3);
        assert_eq!((given.len(), said.unwrap().contains("expected 5 bytes, found 4")), (0, true));
    }

    #[test]
    fn a_stream_has_the_same_bytes_and_ends_before_the_last_ones_of_a_damaged_file() {
        let bytes: Vec<u8> = (0..600_000_u32).map(|n| (n / 7) as u8).collect();
        let (file, content) = (file(&bytes), Content::bytes(bytes.clone()));
        let mut read = Vec::new();
        Stream::new(&content, &file).unwrap().read_to_end(&mut read).unwrap();
        assert!(read == bytes);
        let mut altered = bytes;
        altered[0] ^= 1;
        let content = Content::bytes(altered);
        let mut stream = Stream::new(&content, &file).unwrap();
        let mut read = Vec::new();
        stream.read_to_end(&mut read).unwrap_err();
        assert!(read.len() < content.len() as usize && stream.failed.is_some());
    }
}
