// SPDX-License-Identifier: Apache-2.0
//! A disk as one zstd stream, for downloads and for tools that flash.
//!
//! Specification: RFC 8878. Frames may follow one another; here each holds 4 MiB, so that all cores
//! compress, and what is zero is compressed once.

use std::io::{self, Write};

use super::volume::Volume;

const FRAME: usize = 4 << 20;
/// What takes about as long as reading the disk does.
const LEVEL: i32 = 9;

/// Writes all bytes of `volume` to `out`, compressed.
///
/// # Errors
/// The volume cannot be read, or `out` not be written.
pub fn write(volume: &Volume, out: &mut impl Write) -> io::Result<()> {
    let zeros = frame(&[0; FRAME])?;
    let mut next = 0;
    let compress = |grain: Vec<u8>| frame(&grain);
    volume.grains(FRAME, compress, |number, frame| {
        (next..number).try_for_each(|_| out.write_all(&zeros))?;
        next = number + 1;
        out.write_all(&frame)
    })?;
    let frame_len = FRAME as u64;
    for number in next..volume.len().div_ceil(frame_len) {
        let left = (volume.len() - number * frame_len).min(frame_len);
        if left == frame_len {
            out.write_all(&zeros)?;
        } else {
            out.write_all(&frame(&vec![0; left as usize])?)?;
        }
    }
    Ok(())
}

fn frame(bytes: &[u8]) -> io::Result<Vec<u8>> {
    zstd::bulk::compress(bytes, LEVEL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::volume::tests::volume;

    #[test]
    fn the_stream_is_the_disk() {
        for len in [FRAME, 5 * FRAME, 5 * FRAME + 999, 7] {
            let mut expected = vec![0; len];
            let mut parts: Vec<(u64, &[u8])> = vec![(1, b"begin")];
            if len > FRAME {
                parts.push((2 * FRAME as u64 - 1, b"across"));
            }
            for (at, bytes) in &parts {
                expected[*at as usize..*at as usize + bytes.len()].copy_from_slice(bytes);
            }
            let mut out = Vec::new();
            write(&volume(len as u64, &parts), &mut out).unwrap();
            assert!(zstd::decode_all(&*out).unwrap() == expected, "{len}");
            assert!(out.len() < 3000, "{}", out.len());
        }
    }
}
