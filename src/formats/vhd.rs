// SPDX-License-Identifier: Apache-2.0
//! VHD of fixed size: the disk as it is, and a sector that says so. Azure takes nothing else.
//!
//! Specification: Microsoft's "Virtual Hard Disk Image Format Specification" 1.0, section "Hard Disk
//! Footer Format", and Azure's rule that a disk has whole MiB. Numbers are big-endian.

use crate::digest::Digest;

/// What the disk's size must be a multiple of.
pub const UNIT: u64 = 1 << 20;
/// Seconds from 1970 to 2000, where the format's time begins.
const YEAR_2000: u32 = 946_684_800;
const SECTOR: u64 = 512;

/// The footer of a disk of `len` bytes, made at `epoch` (seconds since 1970).
pub fn footer(len: u64, id: &Digest, epoch: u32) -> [u8; 512] {
    let (cylinders, heads, sectors) = geometry(len / SECTOR);
    let mut footer = Vec::with_capacity(512);
    footer.extend(b"conectix");
    // A bit that is always set; then version 1.0.
    footer.extend(2_u32.to_be_bytes());
    footer.extend(0x1_0000_u32.to_be_bytes());
    // No table: the disk is all there is.
    footer.extend([0xff; 8]);
    footer.extend(epoch.saturating_sub(YEAR_2000).to_be_bytes());
    // Hyper-V's name and version. Of a writer that they do not know, QEMU and others take the
    // geometry for the size, which is too small.
    footer.extend(b"win \0\x06\0\x01Wi2k");
    footer.extend(len.to_be_bytes());
    footer.extend(len.to_be_bytes());
    footer.extend(cylinders.to_be_bytes());
    footer.extend([heads, sectors]);
    // A fixed disk.
    footer.extend(2_u32.to_be_bytes());
    let checksum_at = footer.len();
    footer.extend([0; 4]);
    footer.extend(id.uuid("vhd").as_bytes());
    footer.resize(512, 0);
    let sum = footer.iter().fold(0_u32, |sum, byte| sum.wrapping_add(u32::from(*byte)));
    footer[checksum_at..checksum_at + 4].copy_from_slice(&(!sum).to_be_bytes());
    footer.try_into().expect("it was made of that size")
}

/// Cylinders, heads and sectors of a track, by the specification's appendix "CHS Calculation".
fn geometry(n_sectors: u64) -> (u16, u8, u8) {
    let total = n_sectors.min(65535 * 16 * 255);
    let (heads, per_track, cylinders_of_heads);
    if total >= 65535 * 16 * 63 {
        (heads, per_track) = (16, 255);
        cylinders_of_heads = total / per_track;
    } else {
        let tracks = total / 17;
        let few = tracks.div_ceil(1024).max(4);
        if tracks < few * 1024 && few <= 16 {
            (heads, per_track, cylinders_of_heads) = (few, 17, tracks);
        } else if total / 31 < 16 * 1024 {
            (heads, per_track, cylinders_of_heads) = (16, 31, total / 31);
        } else {
            (heads, per_track, cylinders_of_heads) = (16, 63, total / 63);
        }
    }
    // Each is in its range: the size was cut above.
    ((cylinders_of_heads / heads) as u16, heads as u8, per_track as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_footer_adds_up() {
        let footer = footer(2 << 30, &Digest::of(b"id"), YEAR_2000 + 7);
        assert_eq!(footer[..8], *b"conectix");
        assert_eq!(footer[24..28], 7_u32.to_be_bytes());
        assert_eq!(footer[48..56], (2_u64 << 30).to_be_bytes());
        let mut others = footer;
        others[64..68].fill(0);
        let sum: u32 = others.iter().map(|byte| u32::from(*byte)).sum();
        assert_eq!(footer[64..68], (!sum).to_be_bytes());
    }

    #[test]
    fn geometries_are_those_of_the_specification() {
        assert_eq!(geometry(40 << 11), (963, 5, 17));
        assert_eq!(geometry(2 << 21), (4161, 16, 63));
        assert_eq!(geometry(u64::MAX), (65535, 16, 255));
    }
}
