// SPDX-License-Identifier: Apache-2.0
//! Tables for a disk whose size was not known when they were decided.
//!
//! An image's table says where its partitions lie; only what stands for the disk's end differs
//! from disk to disk: where the backup is, and how far partitions may reach.

use super::{ENTRY_LEN, HEADER_LEN, ORDER, SIGNATURE, crc32, table, u32_at, u64_at};

/// The only block size that images are made for.
pub const BLOCK: u64 = 512;
const BLOCK_LEN: usize = 512;
/// Blocks of the backup: 128 entries of 128 bytes, and the header.
const BACKUP: u64 = 33;
const N_ENTRIES: usize = 128;
/// What a disk of one MiB and less has no room for: its table, and a partition.
const SMALLEST: u64 = 4096;

/// What is written at a disk's begin and at its end, in bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Tables {
    pub head: Vec<u8>,
    pub backup: Vec<u8>,
}

impl Tables {
    /// Whether the ends of a disk hold nothing but zeros and blocks of these tables, as they do when
    /// whoever wrote them was interrupted. `end` reaches to the disk's last byte.
    pub fn cover(&self, head: &[u8], end: &[u8]) -> bool {
        let (before, backup) = end.split_at(end.len().saturating_sub(self.backup.len()));
        is_part(head, &self.head) && is_part(before, &[]) && is_part(backup, &self.backup)
    }
}

/// Whether each block is the expected one or empty.
fn is_part(found: &[u8], expected: &[u8]) -> bool {
    let mut expected = expected.chunks(BLOCK_LEN);
    found
        .chunks(BLOCK_LEN)
        .all(|block| expected.next() == Some(block) || block.iter().all(|byte| *byte == 0))
}

/// Why there are no tables.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    #[error("its table of partitions is damaged")]
    Table,
    #[error("the partitions need {needed} bytes, the disk has {size}")]
    TooSmall { needed: u64, size: u64 },
}

/// What an image has before its first partition, for a disk of `n_blocks`; what else is there, as
/// a boot program for legacy firmware, stays.
///
/// # Errors
/// The table is damaged, or the partitions reach further than the disk.
pub fn fitted(mut head: Vec<u8>, n_blocks: u64) -> Result<Tables, Damaged> {
    let partitions = table(&&head[..], BLOCK, 1).ok().flatten().ok_or(Damaged::Table)?;
    let header = head[BLOCK_LEN..][..HEADER_LEN].to_vec();
    let n_bytes = u32_at(&header, 80) as usize * u32_at(&header, 84) as usize;
    if u64_at(&header, 72) != 2 || n_bytes as u64 != (BACKUP - 1) * BLOCK {
        return Err(Damaged::Table);
    }
    let end = partitions.iter().map(|it| it.last).max().unwrap_or(0);
    let needed = end.saturating_add(1 + BACKUP);
    if needed > n_blocks.min(u64::MAX / BLOCK) {
        let needed = needed.saturating_mul(BLOCK);
        return Err(Damaged::TooSmall { needed, size: n_blocks.saturating_mul(BLOCK) });
    }
    let entries = head[2 * BLOCK_LEN..][..n_bytes].to_vec();
    let last = n_blocks - 1;
    // The protective partition of the MBR reaches as far as it can say.
    let reach = u32::try_from(last).unwrap_or(u32::MAX);
    head[446 + 12..446 + 16].copy_from_slice(&reach.to_le_bytes());
    let place = |mut header: Vec<u8>, own: u64, other: u64, entries: u64| {
        for (at, value) in [(24, own), (32, other), (48, last - BACKUP), (72, entries)] {
            header[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        header[16..20].fill(0);
        let sum = crc32(&header);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        header
    };
    head[BLOCK_LEN..][..HEADER_LEN].copy_from_slice(&place(header.clone(), 1, last, 2));
    let mut backup = [entries, place(header, last, 1, last - (BACKUP - 1))].concat();
    backup.resize((BACKUP * BLOCK) as usize, 0);
    Ok(Tables { head, backup })
}

/// Tables of a disk of `n_blocks` with one partition, from the first MiB to the end. Its type and
/// UUID are texts. The disk's own UUID follows from the partition's, so that the tables are the same
/// however often they are made.
///
/// # Errors
/// The disk is too small for any.
pub fn alone(partition: (&str, &str, &str), n_blocks: u64) -> Result<Tables, Damaged> {
    const FIRST: u64 = 2048;
    if n_blocks < SMALLEST {
        let size = n_blocks.saturating_mul(BLOCK);
        return Err(Damaged::TooSmall { needed: SMALLEST * BLOCK, size });
    }
    let (type_id, uuid, label) = partition;
    let uuid = binary(uuid).ok_or(Damaged::Table)?;
    let mut disk = uuid;
    disk[15] ^= 1;
    let mut entries = vec![0; N_ENTRIES * *ENTRY_LEN.start()];
    entries[..16].copy_from_slice(&binary(type_id).ok_or(Damaged::Table)?);
    entries[16..32].copy_from_slice(&uuid);
    entries[32..40].copy_from_slice(&FIRST.to_le_bytes());
    // Whole MiB.
    let last = (n_blocks - BACKUP) / FIRST * FIRST - 1;
    entries[40..48].copy_from_slice(&last.to_le_bytes());
    for (place, unit) in entries[56..128].chunks_exact_mut(2).zip(label.encode_utf16()) {
        place.copy_from_slice(&unit.to_le_bytes());
    }
    let mut header = SIGNATURE.to_vec();
    header.extend([0, 0, 1, 0]);
    header.extend((HEADER_LEN as u32).to_le_bytes());
    header.extend([0; 8]);
    for value in [1, n_blocks - 1, 34, n_blocks - 1 - BACKUP] {
        header.extend(u64::to_le_bytes(value));
    }
    header.extend(disk);
    header.extend(2_u64.to_le_bytes());
    for value in [N_ENTRIES as u32, *ENTRY_LEN.start() as u32, crc32(&entries)] {
        header.extend(value.to_le_bytes());
    }
    let sum = crc32(&header);
    header[16..20].copy_from_slice(&sum.to_le_bytes());
    let mut head = vec![0; BLOCK_LEN];
    // One partition of type 0xee, from block 1, without a place in cylinders.
    head[446..458].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0]);
    head[510..].copy_from_slice(&[0x55, 0xaa]);
    head.extend(header);
    head.resize(2 * BLOCK_LEN, 0);
    head.extend(entries);
    fitted(head, n_blocks)
}

/// The bytes of a UUID's text form.
fn binary(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.chars().filter(|it| *it != '-').collect();
    let mut bytes = [0; 16];
    for (position, index) in ORDER.into_iter().enumerate() {
        bytes[index] = u8::from_str_radix(digits.get(2 * position..2 * position + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::FileExt as _, process::Command};

    use proptest::prelude::*;

    use super::{super::tests::disk, *};

    /// What sgdisk says of a disk of `n_blocks` with these tables.
    fn judged(tables: &Tables, n_blocks: u64) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(n_blocks * BLOCK).unwrap();
        file.as_file().write_all_at(&tables.head, 0).unwrap();
        file.as_file().write_all_at(&tables.backup, (n_blocks - BACKUP) * BLOCK).unwrap();
        let path = std::env::var("PATH").unwrap() + ":/usr/sbin:/sbin";
        let output = Command::new("sgdisk")
            .args(["--verify", "--print"])
            .arg(file.path())
            .env("PATH", path)
            .output()
            .expect("sgdisk is installed");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    #[test]
    fn a_table_of_a_small_disk_fits_a_large_one() {
        let n_blocks = 1 << 22;
        let tables = fitted(disk()[..34 * BLOCK_LEN].to_vec(), n_blocks).unwrap();
        let report = judged(&tables, n_blocks);
        assert!(report.contains("No problems found."), "{report}");
        assert!(report.contains("last usable sector is 4194270"), "{report}");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let head = disk()[..34 * BLOCK_LEN].to_vec();
        let error = fitted(head.clone(), 133).unwrap_err();
        assert_eq!(error, Damaged::TooSmall { needed: 134 * 512, size: 133 * 512 });
        assert!(fitted(head.clone(), 134).is_ok());
        let mut damaged = head;
        damaged[BLOCK_LEN + 40] ^= 1;
        assert_eq!(fitted(damaged, 1 << 20), Err(Damaged::Table));
        assert_eq!(fitted(Vec::new(), 1 << 20), Err(Damaged::Table));
    }

    #[test]
    fn one_partition_takes_the_whole_disk() {
        let uuid = "01020304-0506-0708-090a-0b0c0d0e0f10";
        let generic = kiln_contract::partition::LINUX_GENERIC;
        let n_blocks = 20_000_000;
        let tables = alone((generic, uuid, "var"), n_blocks).unwrap();
        let report = judged(&tables, n_blocks);
        assert!(report.contains("No problems found."), "{report}");
        assert!(report.contains("8300  var"), "{report}");
        let id = "Disk identifier (GUID): 01020304-0506-0708-090A-0B0C0D0E0F11";
        assert!(report.contains(id), "{report}");
        let found = table(&&tables.head[..], BLOCK, 1).unwrap().unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].uuid.as_str(), found[0].first), (uuid, 2048));
        assert!(alone((generic, uuid, "var"), 100).is_err());
    }

    /// Both MiB at the ends of a disk of `n_blocks` with these tables.
    fn ends(tables: &Tables) -> [Vec<u8>; 2] {
        let mut head = tables.head.clone();
        head.resize(1 << 20, 0);
        let mut end = vec![0; (1 << 20) - tables.backup.len()];
        end.extend(&tables.backup);
        [head, end]
    }

    #[test]
    fn tables_cover_an_empty_disk_and_themselves_and_no_others() {
        let tables = fitted(disk()[..34 * BLOCK_LEN].to_vec(), 1 << 16).unwrap();
        let other = fitted(disk()[..34 * BLOCK_LEN].to_vec(), 1 << 17).unwrap();
        let empty = [vec![0; 1 << 20], vec![0; 1 << 20]];
        for [head, end] in [&empty, &ends(&tables)] {
            assert!(tables.cover(head, end) && tables.cover(&empty[0], end));
        }
        let [head, end] = ends(&other);
        assert!(!tables.cover(&head, &empty[1]) && !tables.cover(&empty[0], &end));
    }

    proptest! {
        #[test]
        fn tables_cover_what_was_written_of_them_and_nothing_else(
            written: [u64; 2], place in 0_usize..1 << 21, byte in 1_u8..,
        ) {
            let tables = alone(
                (kiln_contract::partition::LINUX_GENERIC, "01020304-0506-0708-090a-0b0c0d0e0f10", "var"),
                1 << 16,
            ).unwrap();
            let mut ends = ends(&tables);
            // Some of the blocks were written, in any order.
            for (bytes, written) in ends.iter_mut().zip(written) {
                for (at, block) in bytes.chunks_mut(BLOCK_LEN).enumerate() {
                    if written >> (at % 64) & 1 == 0 {
                        block.fill(0);
                    }
                }
            }
            prop_assert!(tables.cover(&ends[0], &ends[1]));
            ends[place >> 20][place & ((1 << 20) - 1)] ^= byte;
            prop_assert!(!tables.cover(&ends[0], &ends[1]));
        }
    }
}
