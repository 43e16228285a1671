// SPDX-License-Identifier: Apache-2.0
//! gzip (RFC 1952) with a limit: documents that a source or a cloud-config packs.
//!
//! The output never grows beyond the limit, whatever the input's trailer says, and the trailer is
//! checked: a damaged document is refused, not used in part.

use miniz_oxide::inflate::{TINFLStatus, decompress_to_vec_with_limit};

use crate::gpt::crc32;

const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
/// Magic, flags, time, extra flags, operating system.
const HEADER: usize = 10;
/// CRC-32 and length of the output.
const TRAILER: usize = 8;

/// Flags of the header, RFC 1952 section 2.3.1.
const HEADER_CRC: u8 = 2;
const EXTRA: u8 = 4;
const NAME: u8 = 8;
const COMMENT: u8 = 16;

/// Why there is no output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("expected gzip, found something else")]
    NotGzip,
    #[error("the gzip data is damaged or cut off")]
    Damaged,
    #[error("unpacks to more than {0} bytes")]
    TooLarge(usize),
}

/// The output of one gzip member, at most `max` bytes.
///
/// # Errors
/// Anything that is not one whole, undamaged member, or a larger output.
pub fn decompress(bytes: &[u8], max: usize) -> Result<Vec<u8>, Invalid> {
    let body = behind_header(bytes)?;
    let end = body.len().checked_sub(TRAILER).ok_or(Invalid::Damaged)?;
    let (deflated, trailer) = body.split_at_checked(end).ok_or(Invalid::Damaged)?;
    let output =
        decompress_to_vec_with_limit(deflated, max).map_err(|error| match error.status {
            TINFLStatus::HasMoreOutput => Invalid::TooLarge(max),
            _ => Invalid::Damaged,
        })?;
    let (crc, len) = trailer.split_at_checked(4).ok_or(Invalid::Damaged)?;
    let matches = crc == crc32(&output).to_le_bytes() && len == (output.len() as u32).to_le_bytes();
    matches.then_some(output).ok_or(Invalid::Damaged)
}

fn behind_header(bytes: &[u8]) -> Result<&[u8], Invalid> {
    if !bytes.starts_with(&MAGIC) {
        return Err(Invalid::NotGzip);
    }
    let flags = *bytes.get(3).ok_or(Invalid::Damaged)?;
    let mut rest = bytes.get(HEADER..).ok_or(Invalid::Damaged)?;
    if flags & EXTRA != 0 {
        let [low, high, more @ ..] = rest else { return Err(Invalid::Damaged) };
        let length = usize::from(u16::from_le_bytes([*low, *high]));
        rest = more.get(length..).ok_or(Invalid::Damaged)?;
    }
    for flag in [NAME, COMMENT] {
        if flags & flag != 0 {
            let end = rest.iter().position(|byte| *byte == 0).ok_or(Invalid::Damaged)?;
            rest = rest.get(end + 1..).ok_or(Invalid::Damaged)?;
        }
    }
    if flags & HEADER_CRC != 0 {
        rest = rest.get(2..).ok_or(Invalid::Damaged)?;
    }
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `text` as gzip without compression: stored blocks of at most 65535 bytes.
    fn stored(text: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
        let mut blocks = text.chunks(65535).peekable();
        while let Some(block) = blocks.next() {
            let len = u16::try_from(block.len()).unwrap();
            bytes.push(u8::from(blocks.peek().is_none()));
            bytes.extend(len.to_le_bytes());
            bytes.extend((!len).to_le_bytes());
            bytes.extend(block);
        }
        bytes.extend(crc32(text).to_le_bytes());
        bytes.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
        bytes
    }

    /// `hello\n` by gzip, with a file name.
    const HELLO: &[u8] = &[
        0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 2, 3, b'h', 0, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0xe7, 2, 0,
        0x20, 0x30, 0x3a, 0x36, 6, 0, 0, 0,
    ];

    #[test]
    fn members_with_and_without_a_name_are_unpacked() {
        assert_eq!(decompress(HELLO, 100), Ok(b"hello\n".to_vec()));
        assert_eq!(decompress(HELLO, 6), Ok(b"hello\n".to_vec()));
        let text = vec![7; 100_000];
        assert_eq!(decompress(&stored(&text), 100_000), Ok(text));
    }

    #[test]
    fn too_much_output_stops_at_the_limit() {
        assert_eq!(decompress(HELLO, 5), Err(Invalid::TooLarge(5)));
        assert_eq!(decompress(&stored(&[0; 1000]), 999), Err(Invalid::TooLarge(999)));
    }

    #[test]
    fn damage_anywhere_is_noticed() {
        assert_eq!(decompress(b"hello", 100), Err(Invalid::NotGzip));
        assert_eq!(decompress(b"", 100), Err(Invalid::NotGzip));
        for end in 3..HELLO.len() {
            assert_eq!(decompress(&HELLO[..end], 100), Err(Invalid::Damaged), "{end}");
        }
        for at in HELLO.len() - TRAILER..HELLO.len() {
            let mut damaged = HELLO.to_vec();
            damaged[at] ^= 1;
            assert_eq!(decompress(&damaged, 100), Err(Invalid::Damaged), "{at}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_unpacked_within_the_limit_or_refused(bytes: Vec<u8>) {
            let gzip = [&MAGIC[..], &bytes].concat();
            if let Ok(output) = decompress(&gzip, 1000) {
                prop_assert!(output.len() <= 1000);
            }
        }
    }
}
