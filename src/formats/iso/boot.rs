// SPDX-License-Identifier: Apache-2.0
//! A disk that is an optical disc as well: what firmware looks for on a disc, in the room between
//! the disk's partition table and its first partition.
//!
//! Specification: El Torito 1.0, and UEFI 2.10, 13.3.2.1: a boot catalog whose entry is the EFI
//! system partition. The volume has no files; whoever mounts the disc finds an empty folder.
//!
//! Blocks: 16 volume descriptor, 17 boot record (always there), 18 terminator, 19 and 20 path tables,
//! 21 the root folder, 22 the boot catalog.

use super::{
    BLOCK, DIRECTORY, Descriptor, Error, Time, Volume, check_label, descriptor, path_table, record,
};

const BOOT_RECORD: usize = 17;
const TERMINATOR: usize = 18;
const PATHS_LITTLE: u32 = 19;
const PATHS_BIG: u32 = 20;
const ROOT: u32 = 21;
const CATALOG: u32 = 22;
const END: usize = 23;

/// Where the descriptors begin on the disc, in bytes.
pub const OFFSET: u64 = (super::PRIMARY * BLOCK) as u64;

/// "Platform" of a catalog for UEFI.
const EFI: u8 = 0xef;
/// An entry that boots.
const BOOTABLE: u8 = 0x88;

/// What belongs at [`OFFSET`] of a disc of `n_blocks` with its EFI system partition at block `esp`;
/// both in units of 2048 bytes.
///
/// # Errors
/// The label is none.
pub fn descriptors(volume: &Volume, n_blocks: u32, esp: u32) -> Result<Vec<u8>, Error> {
    check_label(&volume.label)?;
    let time = Time::new(volume.mtime);
    let primary = Descriptor {
        paths_little: PATHS_LITTLE,
        paths_big: PATHS_BIG,
        root: ROOT,
        ..Descriptor::primary(volume, n_blocks)
    };
    let mut bytes = vec![0; (END - super::PRIMARY) * BLOCK];
    let mut put = |block: usize, data: &[u8]| {
        let at = (block - super::PRIMARY) * BLOCK;
        bytes[at..at + data.len()].copy_from_slice(data);
    };
    put(super::PRIMARY, &descriptor(&primary, &time));
    put(BOOT_RECORD, &boot_record());
    put(TERMINATOR, b"\xffCD001\x01");
    put(PATHS_LITTLE as usize, &path_table(ROOT.to_le_bytes(), 1_u16.to_le_bytes()));
    put(PATHS_BIG as usize, &path_table(ROOT.to_be_bytes(), 1_u16.to_be_bytes()));
    let dots =
        [&b"\0"[..], b"\x01"].map(|name| record(name, ROOT, BLOCK as u32, DIRECTORY, &time, &[]));
    put(ROOT as usize, &dots.concat());
    put(CATALOG as usize, &catalog(esp));
    Ok(bytes)
}

/// Figure 7 of the specification: where the catalog is.
fn boot_record() -> Vec<u8> {
    let mut block = b"\0CD001\x01EL TORITO SPECIFICATION".to_vec();
    block.resize(71, 0);
    block.extend(CATALOG.to_le_bytes());
    block
}

/// Figures 2 and 3: that the catalog is one, and its entry.
fn catalog(esp: u32) -> Vec<u8> {
    let mut validation = vec![0; 32];
    validation[..2].copy_from_slice(&[1, EFI]);
    validation[30..].copy_from_slice(&[0x55, 0xaa]);
    let words = validation.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    // All words together are zero.
    let sum = words.fold(0_u16, u16::wrapping_add).wrapping_neg();
    validation[28..30].copy_from_slice(&sum.to_le_bytes());
    // A partition of 32 MiB and more has more sectors than the entry can say: 1 is "to the end of
    // the disc" for UEFI.
    let mut entry = vec![BOOTABLE, 0, 0, 0, 0, 0, 1, 0];
    entry.extend(esp.to_le_bytes());
    entry.resize(32, 0);
    [validation, entry].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalog_has_the_bytes_of_the_specification() {
        let catalog = catalog(0x0102_0304);
        assert_eq!(catalog[..4], [1, 0xef, 0, 0]);
        // 0x0000 - (0xef01 + 0xaa55).
        assert_eq!(catalog[28..32], [0xaa, 0x66, 0x55, 0xaa]);
        assert_eq!(catalog[32..44], [0x88, 0, 0, 0, 0, 0, 1, 0, 4, 3, 2, 1]);
        assert_eq!(catalog.len(), 64);
    }

    #[test]
    fn descriptors_leave_the_partition_table_alone() {
        let volume = Volume { label: "QUICKSTART_LB".into(), mtime: 0 };
        let bytes = descriptors(&volume, 1000, 512).unwrap();
        assert_eq!(OFFSET, 32 << 10);
        assert_eq!(bytes[..7], *b"\x01CD001\x01");
        assert_eq!(bytes[BLOCK..BLOCK + 30], *b"\0CD001\x01EL TORITO SPECIFICATION");
        assert!(OFFSET + bytes.len() as u64 <= 1 << 20);
        let label = Volume { label: "a".into(), mtime: 0 };
        assert!(descriptors(&label, 1, 1).is_err());
    }
}
