// SPDX-License-Identifier: Apache-2.0
//! A disk's partitions: the GUID Partition Table, UEFI specification 2.10, section 5.3.
//!
//! The kernel reads the table as well, but Linux 6.12 does not tell anybody the UUIDs: its
//! uevents have PARTN and PARTNAME only. udev would know; there is none in the initramfs.

mod write;

use std::io;

pub use self::write::{BLOCK, Damaged, Tables, alone, fitted};
use crate::volume::ReadAt;

const SIGNATURE: &[u8; 8] = b"EFI PART";
const HEADER_LEN: usize = 92;
/// As many entries as the kernel makes partitions of, at the usual entry size.
const ENTRIES_MAX: usize = 256;
const ENTRY_LEN: std::ops::RangeInclusive<usize> = 128..=512;

/// A partition, as a table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// From 1, as the kernel numbers it.
    pub number: u32,
    /// Its own, in lower case.
    pub uuid: String,
    /// The first block.
    pub first: u64,
    /// The last block; it is part of it.
    pub last: u64,
}

/// The partitions of the primary table or, if it is damaged, of the backup. Empty for a disk
/// without either.
///
/// # Errors
/// Reading the disk.
pub fn partitions(disk: &dyn ReadAt, block_size: u64, n_blocks: u64) -> io::Result<Vec<Partition>> {
    for header in [1, n_blocks.saturating_sub(1)] {
        if let Some(partitions) = table(disk, block_size, header)? {
            return Ok(partitions);
        }
    }
    Ok(Vec::new())
}

fn table(disk: &dyn ReadAt, block_size: u64, block: u64) -> io::Result<Option<Vec<Partition>>> {
    let Some(mut header) = read(disk, block.saturating_mul(block_size), HEADER_LEN)? else {
        return Ok(None);
    };
    let size_at = |bytes: &[u8], at| usize::try_from(u32_at(bytes, at)).unwrap_or(usize::MAX);
    let (header_len, checksum) = (size_at(&header, 12), u32_at(&header, 16));
    let (n_entries, entry_len) = (size_at(&header, 80), size_at(&header, 84));
    let entries_checksum = u32_at(&header, 88);
    let entries_block = u64_at(&header, 72);
    // The checksum is of the header with zeros in its own place.
    header[16..20].fill(0);
    let valid = header[..8] == *SIGNATURE
        && header_len == HEADER_LEN
        && crc32(&header) == checksum
        && (1..=ENTRIES_MAX).contains(&n_entries)
        && ENTRY_LEN.contains(&entry_len);
    if !valid {
        return Ok(None);
    }
    let offset = entries_block.saturating_mul(block_size);
    let entries = read(disk, offset, n_entries * entry_len)?;
    let Some(entries) = entries.filter(|entries| crc32(entries) == entries_checksum) else {
        return Ok(None);
    };
    let used = |(_, entry): &(u32, &[u8])| entry[..16].iter().any(|byte| *byte != 0);
    let numbered = (1..).zip(entries.chunks_exact(entry_len)).filter(used);
    let partition = |(number, entry): (u32, &[u8])| Partition {
        number,
        uuid: uuid(&entry[16..32]),
        first: u64_at(entry, 32),
        last: u64_at(entry, 40),
    };
    Ok(Some(numbered.map(partition).collect()))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// Where each byte of the text form stands; section 5.3.3 and appendix A.
const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];

/// The mixed-endian text form.
fn uuid(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (position, index) in ORDER.into_iter().enumerate() {
        if matches!(position, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{:02x}", bytes[index]));
    }
    text
}

/// Exactly `length` bytes, unless the disk ends before.
fn read(disk: &dyn ReadAt, offset: u64, length: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; length];
    let mut n = 0;
    while n < length {
        match disk.read_at(&mut bytes[n..], offset.saturating_add(n as u64))? {
            0 => return Ok(None),
            more => n += more,
        }
    }
    Ok(Some(bytes))
}

/// CRC-32 of ISO 3309, as everywhere in UEFI.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    let half = |crc: u32| crc >> 4 ^ CRC_OF_HALF_BYTE[crc as usize & 15];
    !bytes.iter().fold(!0, |crc: u32, byte| half(half(crc ^ u32::from(*byte))))
}

/// What four bits do to the sum: a table of entries is 16 KiB, read several times at every boot,
/// and bit by bit it took an emulated processor milliseconds.
const CRC_OF_HALF_BYTE: [u32; 16] = {
    let mut table = [0; 16];
    let mut at = 0;
    while at < 16 {
        let mut crc = at as u32;
        let mut bit = 0;
        while bit < 4 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
};

#[cfg(test)]
pub(crate) mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    const UUIDS: [&str; 2] =
        ["01020304-0506-0708-090a-0b0c0d0e0f10", "11111111-2222-3333-4444-555555555555"];

    #[test]
    fn a_partition_lies_where_sgdisk_put_it() {
        let found = partitions(&&disk()[..], 512, 2048).unwrap();
        let places: Vec<_> = found.iter().map(|it| (it.number, it.first, it.last)).collect();
        assert_eq!(places, [(1, 40, 80), (3, 90, 100)]);
    }

    /// A disk of 2048 blocks with partitions 1 and 3, made by sgdisk.
    pub(super) fn disk() -> Vec<u8> {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(2048 * 512).unwrap();
        let status = Command::new("sgdisk")
            .args(["--set-alignment=1", "--new=1:40:80", "--new=3:90:100"])
            .args([
                format!("--partition-guid=1:{}", UUIDS[0]),
                format!("--partition-guid=3:{}", UUIDS[1]),
            ])
            .arg(file.path())
            .env("PATH", std::env::var("PATH").unwrap() + ":/usr/sbin:/sbin")
            .output()
            .expect("sgdisk is installed");
        assert!(status.status.success());
        std::fs::read(file.path()).unwrap()
    }

    fn uuids(disk: &[u8]) -> Vec<(u32, String)> {
        let found = partitions(&disk, 512, 2048).unwrap();
        found.into_iter().map(|it| (it.number, it.uuid)).collect()
    }

    #[test]
    fn uuids_are_those_that_sgdisk_wrote() {
        let expected = [(1, UUIDS[0].to_owned()), (3, UUIDS[1].to_owned())];
        let mut disk = disk();
        assert_eq!(uuids(&disk), expected);
        // A damaged primary table: the backup counts.
        disk[1024 + 20] ^= 1;
        assert_eq!(uuids(&disk), expected);
        disk[512] = 0;
        assert_eq!(uuids(&disk), expected);
        let end = disk.len() - 512;
        disk[end + 8] ^= 1;
        assert_eq!(uuids(&disk), []);
    }

    #[test]
    fn a_disk_without_a_table_has_no_uuids() {
        assert_eq!(uuids(&[]), []);
        assert_eq!(uuids(&[0; 4096]), []);
    }

    proptest! {
        #[test]
        fn any_header_is_read(mut header in prop::collection::vec(any::<u8>(), 92), tail: Vec<u8>) {
            header[..8].copy_from_slice(SIGNATURE);
            header[12..20].copy_from_slice(&[92, 0, 0, 0, 0, 0, 0, 0]);
            let checksum = crc32(&header);
            header[16..20].copy_from_slice(&checksum.to_le_bytes());
            let disk: Vec<u8> = [vec![0; 512], header, tail].concat();
            let _ = partitions(&&disk[..], 512, 2048);
        }
    }
}
