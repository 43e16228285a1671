// SPDX-License-Identifier: Apache-2.0
//! A block map: which blocks of an image hold something, so that flashing need not write the rest.
//!
//! Format: bmaptool's version 2.0, an XML text with the ranges of mapped blocks, each with the SHA-256
//! of its bytes; the text's own digest is that of the text with zeros in its place.

use std::{fmt::Write as _, io};

use super::volume::Volume;
use crate::digest::{Digest, Hasher};

/// Bytes of a block.
const BLOCK: u64 = 4096;
/// Bytes that are looked at together.
const GRAIN: usize = 1 << 20;
/// What stands where the text's digest will.
const NO_DIGEST: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Blocks that follow one another, the last included.
struct Range {
    first: u64,
    last: u64,
    hasher: Hasher,
}

/// The block map of `volume`.
///
/// # Errors
/// The volume cannot be read.
pub fn of(volume: &Volume) -> io::Result<String> {
    let mut ranges: Vec<Range> = Vec::new();
    volume.grains(GRAIN, Ok, |number, bytes| {
        for (index, block) in bytes.chunks(BLOCK as usize).enumerate() {
            if !super::volume::is_zero(block) {
                add(&mut ranges, number * (GRAIN as u64 / BLOCK) + index as u64, block);
            }
        }
        Ok(())
    })?;
    let n_mapped: u64 = ranges.iter().map(|range| range.last - range.first + 1).sum();
    let mut lines = String::new();
    for Range { first, last, hasher } in ranges {
        let digest = hasher.finish();
        let blocks = if first == last { format!("{first}") } else { format!("{first}-{last}") };
        writeln!(lines, "        <Range chksum=\"{digest}\"> {blocks} </Range>")
            .expect("a text grows");
    }
    let text = format!(
        "<?xml version=\"1.0\" ?>\n\
         <bmap version=\"2.0\">\n\
         \x20   <ImageSize> {} </ImageSize>\n\
         \x20   <BlockSize> {BLOCK} </BlockSize>\n\
         \x20   <BlocksCount> {} </BlocksCount>\n\
         \x20   <MappedBlocksCount> {n_mapped} </MappedBlocksCount>\n\
         \x20   <ChecksumType> sha256 </ChecksumType>\n\
         \x20   <BmapFileChecksum> {NO_DIGEST} </BmapFileChecksum>\n\
         \x20   <BlockMap>\n\
         {lines}\
         \x20   </BlockMap>\n\
         </bmap>\n",
        volume.len(),
        volume.len().div_ceil(BLOCK),
    );
    let digest = Digest::of(text.as_bytes()).to_string();
    Ok(text.replacen(NO_DIGEST, &digest, 1))
}

fn add(ranges: &mut Vec<Range>, block: u64, bytes: &[u8]) {
    match ranges.last_mut() {
        Some(range) if range.last + 1 == block => {
            range.last = block;
            range.hasher.update(bytes);
        }
        _ => {
            let mut hasher = Hasher::new();
            hasher.update(bytes);
            ranges.push(Range { first: block, last: block, hasher });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::volume::tests::volume;

    #[test]
    fn ranges_are_what_is_not_zero() {
        let last_and_first = (GRAIN as u64 - 1, &b"ab"[..]);
        let text =
            of(&volume(1 << 30, &[(5, b"x"), last_and_first, (1 << 29, &[1; 8192])])).unwrap();
        let ranges: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split_once("\"> ")?.1.strip_suffix(" </Range>"))
            .collect();
        assert_eq!(ranges, ["0", "255-256", "131072-131073"]);
        assert!(text.contains("<MappedBlocksCount> 5 <"), "{text}");
    }

    #[test]
    fn the_text_vouches_for_itself() {
        let text = of(&volume(1 << 20, &[(0, b"x")])).unwrap();
        let (_, rest) = text.split_once("<BmapFileChecksum> ").unwrap();
        let zeros = text.replacen(&rest[..64], NO_DIGEST, 1);
        assert_eq!(Digest::of(zeros.as_bytes()).to_string(), rest[..64]);
    }
}
