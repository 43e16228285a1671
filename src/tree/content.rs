// SPDX-License-Identifier: Apache-2.0
//! What is in a file: bytes in memory, or a window of something that can be read at an offset.

use std::{
    fmt,
    io::{self, Write},
    sync::Arc,
};

/// Bytes that are in memory at once while a content is copied.
const PIECE: u64 = 1 << 20;

/// Something with bytes at offsets, safe to read from many threads at once.
///
/// The I/O ring implements it for files; pure stages only see this trait.
pub trait Source: Send + Sync {
    /// Fills `buffer` with the bytes at `offset`.
    ///
    /// # Errors
    /// The bytes are not all there, or reading them is not possible.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

/// Bytes of a file. Cloning is cheap.
#[derive(Clone)]
pub enum Content {
    Bytes(Arc<[u8]>),
    Window { source: Arc<dyn Source>, offset: u64, len: u64 },
}

impl Content {
    /// Bytes held in memory; for small files.
    pub fn bytes(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self::Bytes(bytes.into())
    }

    /// Size in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Window { len, .. } => *len,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buffer` with the bytes at `offset`.
    ///
    /// # Errors
    /// The range is not inside the content, or the source cannot be read.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.len());
        let Some(end) = end else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        match self {
            // The range was checked against the length of a slice, so it fits usize.
            Self::Bytes(bytes) => {
                buffer.copy_from_slice(&bytes[offset as usize..end as usize]);
                Ok(())
            }
            Self::Window { source, offset: start, .. } => {
                source.read_exact_at(buffer, start + offset)
            }
        }
    }

    /// All bytes in memory.
    ///
    /// # Errors
    /// The source cannot be read.
    pub fn to_vec(&self) -> io::Result<Vec<u8>> {
        let len = usize::try_from(self.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut bytes = vec![0; len];
        self.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Writes all bytes, a piece at a time.
    ///
    /// # Errors
    /// The source cannot be read, or `out` does not take the bytes.
    pub fn copy_to(&self, out: &mut impl Write) -> io::Result<()> {
        let mut buffer = vec![0; self.len().min(PIECE) as usize];
        for offset in (0..self.len()).step_by(PIECE as usize) {
            let piece = &mut buffer[..(self.len() - offset).min(PIECE) as usize];
            self.read_exact_at(piece, offset)?;
            out.write_all(piece)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} bytes)", self.len())
    }
}
