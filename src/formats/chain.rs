// SPDX-License-Identifier: Apache-2.0
//! Contents one after another, as one content.
//!
//! An archive is mostly other files' bytes with headers between them. Kept as a list of pieces it
//! weighs what its headers weigh, can be read at any offset, and can itself be a file of a tree:
//! nothing is copied before somebody reads.

use std::{fmt, io, sync::Arc};

use crate::tree::{Content, Source};

/// Zeros to pad with.
static ZEROS: [u8; 1024] = [0; 1024];

/// A content under construction.
#[derive(Default)]
pub struct Chain {
    /// Each with the offset of its first byte; none is empty.
    pieces: Vec<(u64, Content)>,
    /// Bytes behind the last piece: neighbours share one.
    tail: Vec<u8>,
    len: u64,
}

impl Chain {
    pub fn new() -> Self {
        Self::default()
    }

    /// Size in bytes so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a few bytes.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.len += bytes.len() as u64;
    }

    /// Appends a content. It is read when the chain is read.
    pub fn push(&mut self, content: Content) {
        self.cut();
        if !content.is_empty() {
            let start = self.len;
            self.len += content.len();
            self.pieces.push((start, content));
        }
    }

    /// Appends zeros up to a multiple of `block`, at most 1024.
    pub fn pad(&mut self, block: u64) {
        let missing = self.len.next_multiple_of(block) - self.len;
        self.push_bytes(&ZEROS[..missing as usize]);
    }

    /// Makes the tail a piece.
    fn cut(&mut self) {
        if !self.tail.is_empty() {
            let bytes = std::mem::take(&mut self.tail);
            self.pieces.push((self.len - bytes.len() as u64, Content::bytes(bytes)));
        }
    }
}

impl From<Chain> for Content {
    fn from(mut chain: Chain) -> Self {
        chain.cut();
        let Chain { pieces, len, .. } = chain;
        Self::Window { source: Arc::new(Pieces(pieces)), offset: 0, len }
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chain({} bytes, {} pieces)", self.len, self.pieces.len())
    }
}

struct Pieces(Vec<(u64, Content)>);

impl Source for Pieces {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut rest = buffer;
        let mut offset = offset;
        // The last piece that begins at or before the offset.
        let mut index = self.0.partition_point(|(start, _)| *start <= offset).saturating_sub(1);
        while !rest.is_empty() {
            let (start, content) = self.0.get(index).ok_or(io::ErrorKind::UnexpectedEof)?;
            let within = offset - start;
            let left = content.len().checked_sub(within).ok_or(io::ErrorKind::UnexpectedEof)?;
            let n_now = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
            let (now, later) = rest.split_at_mut(n_now);
            content.read_exact_at(now, within)?;
            offset += n_now as u64;
            rest = later;
            index += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_window_of_a_chain_is_that_of_the_bytes_in_a_row(
            pieces in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..9)), 0..9),
            from in 0_usize..80,
            len in 0_usize..80,
        ) {
            let mut chain = Chain::new();
            let mut all = Vec::new();
            for (in_place, bytes) in &pieces {
                match in_place {
                    true => chain.push_bytes(bytes),
                    false => chain.push(Content::bytes(bytes.clone())),
                }
                all.extend_from_slice(bytes);
            }
            prop_assert_eq!(chain.len(), all.len() as u64);
            let content = Content::from(chain);
            prop_assert_eq!(content.to_vec().unwrap(), all.clone());
            let mut window = vec![0; len];
            let result = content.read_exact_at(&mut window, from as u64);
            match all.get(from..from + len) {
                Some(expected) => prop_assert_eq!(window, expected),
                None => prop_assert!(result.is_err()),
            }
        }
    }

    #[test]
    fn padding_ends_at_a_multiple() {
        let mut chain = Chain::new();
        chain.push(Content::bytes(b"abc".as_slice()));
        chain.pad(512);
        chain.pad(512);
        assert_eq!(chain.len(), 512);
    }
}
