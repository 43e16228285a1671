// SPDX-License-Identifier: Apache-2.0
//! What is sent: bytes, a part of a file, or events as they come.
//!
//! A file is read piece by piece, the next one when the last one has gone, so a connection holds
//! one piece however slow it is. What the kernel has in memory is read at once; only what the disk must
//! bring goes to another thread.

use std::{
    fs::File,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::{sync::mpsc, task::JoinHandle};

use super::folder;

/// Bytes of a piece.
const PIECE: usize = 64 << 10;
/// Pieces that are kept for those who come next.
const KEPT: usize = 256;

/// The body of a response.
#[derive(Debug)]
pub(super) enum Payload {
    Bytes(Bytes),
    File(Sending),
    /// Ends when the sender is gone.
    Events(mpsc::Receiver<Bytes>),
}

impl Payload {
    pub(super) fn nothing() -> Self {
        Self::Bytes(Bytes::new())
    }
}

/// A part of a file on its way.
#[derive(Debug)]
pub(super) struct Sending {
    file: Arc<File>,
    offset: u64,
    end: u64,
    pieces: Arc<Pieces>,
    /// A piece that the disk is asked for.
    reading: Option<JoinHandle<io::Result<Piece>>>,
}

impl Sending {
    pub(super) fn new(file: File, (offset, end): (u64, u64), pieces: &Arc<Pieces>) -> Self {
        let (file, pieces) = (Arc::new(file), Arc::clone(pieces));
        Self { file, offset, end, pieces, reading: None }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.offset >= self.end {
            return Poll::Ready(None);
        }
        let mut reading = match self.reading.take() {
            Some(reading) => reading,
            None => {
                let left = usize::try_from(self.end - self.offset).unwrap_or(PIECE);
                let mut piece = Pieces::take(&self.pieces, left.min(PIECE));
                match folder::read_at_once(&self.file, piece.space(), self.offset) {
                    Ok(Some(n)) => return Poll::Ready(Some(self.read(piece, n))),
                    Ok(None) => {}
                    Err(error) => return Poll::Ready(Some(Err(error))),
                }
                let (file, offset) = (Arc::clone(&self.file), self.offset);
                tokio::task::spawn_blocking(move || {
                    let n = folder::read_at(&file, piece.space(), offset)?;
                    piece.len = n;
                    Ok(piece)
                })
            }
        };
        match Pin::new(&mut reading).poll(cx) {
            Poll::Pending => {
                self.reading = Some(reading);
                Poll::Pending
            }
            Poll::Ready(outcome) => {
                let piece = outcome.unwrap_or_else(|error| Err(io::Error::other(error)));
                Poll::Ready(Some(piece.and_then(|piece| {
                    let n = piece.len;
                    self.read(piece, n)
                })))
            }
        }
    }

    /// A file that has become shorter must not look like a whole one.
    fn read(&mut self, mut piece: Piece, n: usize) -> io::Result<Bytes> {
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        piece.len = n;
        self.offset += n as u64;
        Ok(Bytes::from_owner(piece))
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let next = match self.get_mut() {
            Self::Bytes(bytes) if bytes.is_empty() => None,
            Self::Bytes(bytes) => Some(Ok(std::mem::take(bytes))),
            Self::File(sending) => ready!(sending.poll(cx)),
            Self::Events(events) => ready!(events.poll_recv(cx)).map(Ok),
        };
        Poll::Ready(next.map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::File(sending) => sending.offset >= sending.end,
            Self::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::File(sending) => SizeHint::with_exact(sending.end - sending.offset),
            Self::Events(_) => SizeHint::default(),
        }
    }
}

/// Memory that one connection after the other reads into.
#[derive(Debug, Default)]
pub(super) struct Pieces(Mutex<Vec<Vec<u8>>>);

impl Pieces {
    fn take(home: &Arc<Self>, len: usize) -> Piece {
        let kept = home.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = kept.unwrap_or_else(|| vec![0; PIECE]);
        Piece { bytes, len, home: Arc::clone(home) }
    }
}

/// Some of it, with what was read at its start.
#[derive(Debug)]
struct Piece {
    bytes: Vec<u8>,
    len: usize,
    home: Arc<Pieces>,
}

impl Piece {
    fn space(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let mut kept = self.home.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            kept.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, io::Write as _};

    use super::*;

    fn collect(len: usize, (start, end): (u64, u64)) -> io::Result<Vec<u8>> {
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
        file.write_all(&bytes).unwrap();
        let pieces = Arc::default();
        let mut payload = Payload::File(Sending::new(file, (start, end), &pieces));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut all = Vec::new();
            while let Some(frame) = poll_fn(|cx| Pin::new(&mut payload).poll_frame(cx)).await {
                all.extend_from_slice(&frame?.into_data().unwrap());
            }
            assert_eq!(all, bytes[start as usize..end as usize]);
            // Every piece came back.
            assert!(!pieces.0.lock().unwrap().is_empty());
            Ok(all)
        })
    }

    #[test]
    fn a_part_of_a_file_is_sent_in_pieces() {
        for part in [(0, 200_000), (1, 65_537), (199_999, 200_000), (70_000, 140_000)] {
            assert_eq!(collect(200_000, part).unwrap().len() as u64, part.1 - part.0);
        }
    }

    #[test]
    fn a_file_that_became_shorter_ends_with_an_error() {
        let error = collect(10, (0, 20)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
