// SPDX-License-Identifier: Apache-2.0
//! GUID partition tables for disks of 512-byte blocks.
//!
//! Specification: UEFI 2.10, chapter 5. The `gpt` crate encodes headers and entries; it numbers
//! partitions by their order, so a [`Table`] is a list without holes and partition N is entry
//! N - 1. The result is the first 34 blocks of the disk (protective MBR, header, entries) and
//! the last 33 (entries, header).

use std::{fmt, io};

use uuid::Uuid;

use super::sparse::Sparse;
use crate::tree::{Content, Source as _};

/// Bytes per logical block.
pub const BLOCK: u64 = 512;

/// Blocks before the first usable one: MBR, header, 128 entries of 128 bytes.
pub const N_PRIMARY: u64 = 34;

/// Blocks behind the last usable one: 128 entries and the backup header.
pub const N_BACKUP: u64 = 33;

/// Bytes of the first block that legacy firmware runs; a disk signature and the protective entry
/// follow (UEFI 2.10, 5.2.3).
pub const BOOT_CODE: usize = 440;

/// Longest label in UTF-16 units.
pub const MAX_LABEL: usize = 36;

/// Most partitions in the entry array.
const MAX_PARTITIONS: usize = 128;

/// Attribute: mounted read-only (Discoverable Partitions Specification).
pub const READ_ONLY: u64 = 1 << 60;

/// Attribute: not mounted automatically (Discoverable Partitions Specification).
pub const NO_AUTO: u64 = 1 << 63;

/// A partition table as a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub disk_guid: Uuid,
    /// The whole disk.
    pub n_blocks: u64,
    /// Partition 1 first.
    pub partitions: Vec<Partition>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    pub type_guid: Uuid,
    pub guid: Uuid,
    pub first_lba: u64,
    pub n_blocks: u64,
    pub attributes: u64,
    pub label: String,
}

/// The bytes of a table.
#[derive(Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Belongs at the start of the disk.
    pub primary: Vec<u8>,
    /// Belongs at its end.
    pub backup: Vec<u8>,
}

/// Why a table is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a disk of {n_blocks} blocks is too small for a partition table: expected {least}")]
    DiskTooSmall { n_blocks: u64, least: u64 },
    #[error("{count} partitions do not fit a table of {MAX_PARTITIONS}")]
    TooMany { count: usize },
    #[error(
        "partition {number} '{label}' (blocks {first}..{end}) lies outside the usable blocks {usable_first}..{usable_end}"
    )]
    Outside {
        number: usize,
        label: String,
        first: u64,
        end: u64,
        usable_first: u64,
        usable_end: u64,
    },
    #[error("partition {number} '{label}' has an empty type, an empty UUID or no blocks")]
    Empty { number: usize, label: String },
    #[error("the label '{label}' has {len} UTF-16 units: expected at most {MAX_LABEL}")]
    LabelTooLong { label: String, len: usize },
    #[error("partitions {first} and {second} have the same UUID {guid}")]
    SameGuid { first: usize, second: usize, guid: Uuid },
    #[error("encoding the partition table: {0}")]
    Encode(String),
}

impl Table {
    /// The table's bytes.
    ///
    /// # Errors
    /// A partition does not fit the disk or the table.
    pub fn encode(&self) -> Result<Encoded, Error> {
        self.check()?;
        let encode = |error: &dyn fmt::Display| Error::Encode(error.to_string());
        let mut disk = Sparse::new(self.n_blocks * BLOCK);
        // A disk with more blocks than 32 bits can count says so by the largest number.
        let protected = u32::try_from(self.n_blocks - 1).unwrap_or(u32::MAX);
        ::gpt::mbr::ProtectiveMBR::with_lb_size(protected)
            .overwrite_lba0(&mut disk)
            .map_err(|error| encode(&error))?;
        let mut table = ::gpt::GptConfig::new()
            .writable(true)
            .logical_block_size(::gpt::disk::LogicalBlockSize::Lb512)
            .create_from_device(&mut disk, Some(self.disk_guid))
            .map_err(|error| encode(&error))?;
        let partitions = (1..).zip(self.partitions.iter().map(Partition::to_entry)).collect();
        table.update_partitions(partitions).map_err(|error| encode(&error))?;
        table.write().map_err(|error| encode(&error))?;

        let read = |offset: u64, n_blocks: u64| {
            let mut bytes = vec![0; (n_blocks * BLOCK) as usize];
            disk.read_exact_at(&mut bytes, offset).map_err(|error| encode(&error))?;
            Ok(bytes)
        };
        Ok(Encoded {
            primary: read(0, N_PRIMARY)?,
            backup: read((self.n_blocks - N_BACKUP) * BLOCK, N_BACKUP)?,
        })
    }

    fn check(&self) -> Result<(), Error> {
        let least = N_PRIMARY + N_BACKUP + 1;
        if self.n_blocks < least || self.n_blocks > u64::MAX / BLOCK {
            return Err(Error::DiskTooSmall { n_blocks: self.n_blocks, least });
        }
        if self.partitions.len() > MAX_PARTITIONS {
            return Err(Error::TooMany { count: self.partitions.len() });
        }
        for (number, partition) in (1..).zip(&self.partitions) {
            partition.check(number, N_PRIMARY, self.n_blocks - N_BACKUP)?;
            let same = self.partitions[..number - 1].iter().position(|p| p.guid == partition.guid);
            if let Some(first) = same {
                let (first, guid) = (first + 1, partition.guid);
                return Err(Error::SameGuid { first, second: number, guid });
            }
        }
        Ok(())
    }
}

/// The table of a disk, by its begin or else by its end; none if neither is one. Partitions are
/// in the order of their numbers, whatever these are.
///
/// # Errors
/// The disk cannot be read.
pub fn read(disk: &Content) -> io::Result<Option<Table>> {
    let len = disk.len() / BLOCK * BLOCK;
    if len < (N_PRIMARY + N_BACKUP) * BLOCK {
        return Ok(None);
    }
    // Where the tables are in most cases. A backup that lies elsewhere is not looked for.
    let mut tables = Sparse::new(len);
    for (offset, n_blocks) in [(0, N_PRIMARY), (len - N_BACKUP * BLOCK, N_BACKUP)] {
        let mut bytes = vec![0; (n_blocks * BLOCK) as usize];
        disk.read_exact_at(&mut bytes, offset)?;
        tables.write_all_at(&bytes, offset)?;
    }
    let config = ::gpt::GptConfig::new().logical_block_size(::gpt::disk::LogicalBlockSize::Lb512);
    let Ok(table) = config.open_from_device(&mut tables) else { return Ok(None) };
    let partition = |entry: &::gpt::partition::Partition| Partition {
        type_guid: entry.part_type_guid.guid,
        guid: entry.part_guid,
        first_lba: entry.first_lba,
        n_blocks: (entry.last_lba + 1).saturating_sub(entry.first_lba),
        attributes: entry.flags,
        label: entry.name.clone(),
    };
    let used = table.partitions().values().filter(|entry| entry.is_used());
    let partitions = used.map(partition).collect();
    Ok(Some(Table { disk_guid: *table.guid(), n_blocks: len / BLOCK, partitions }))
}

impl Partition {
    /// First block behind it.
    pub fn end_lba(&self) -> u64 {
        self.first_lba.saturating_add(self.n_blocks)
    }

    fn check(&self, number: usize, usable_first: u64, usable_end: u64) -> Result<(), Error> {
        let label = self.label.clone();
        let len = label.encode_utf16().count();
        if len > MAX_LABEL {
            return Err(Error::LabelTooLong { label, len });
        }
        if self.type_guid.is_nil() || self.guid.is_nil() || self.n_blocks == 0 {
            return Err(Error::Empty { number, label });
        }
        let (first, end) = (self.first_lba, self.end_lba());
        if first < usable_first || end > usable_end {
            return Err(Error::Outside { number, label, first, end, usable_first, usable_end });
        }
        Ok(())
    }

    fn to_entry(&self) -> ::gpt::partition::Partition {
        ::gpt::partition::Partition {
            part_type_guid: ::gpt::partition_types::Type {
                guid: self.type_guid,
                os: ::gpt::partition_types::OperatingSystem::None,
            },
            part_guid: self.guid,
            first_lba: self.first_lba,
            last_lba: self.end_lba() - 1,
            flags: self.attributes,
            name: self.label.clone(),
        }
    }
}

impl fmt::Display for Table {
    /// One line for the disk, then one line per partition.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "disk {} blocks {}", self.disk_guid, self.n_blocks)?;
        for (number, partition) in (1..).zip(&self.partitions) {
            let Partition { type_guid, guid, first_lba, n_blocks, attributes, label } = partition;
            writeln!(
                f,
                "{number} blocks {first_lba}+{n_blocks} type {type_guid} uuid {guid} flags {attributes:#x} '{label}'"
            )?;
        }
        Ok(())
    }
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encoded({} and {} bytes)", self.primary.len(), self.backup.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let root = Partition {
            type_guid: Uuid::from_u128(0x4f68bce3_e8cd_4db1_96e7_fbcaf984b709),
            guid: Uuid::from_u128(0x4fdca433_3f1c_0018_67d3_eea04adbdf14),
            first_lba: 2048,
            n_blocks: 2048,
            attributes: READ_ONLY,
            label: "quickstart-lb_1".into(),
        };
        let empty = Partition {
            guid: Uuid::from_u128(2),
            first_lba: 4096,
            attributes: NO_AUTO,
            label: "_empty".into(),
            ..root.clone()
        };
        Table { disk_guid: Uuid::from_u128(1), n_blocks: 8192, partitions: vec![root, empty] }
    }

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let table = table();
        let encoded = table.encode().unwrap();
        let mut disk = vec![0; (table.n_blocks * BLOCK) as usize];
        assert_eq!(read(&Content::bytes(disk.clone())).unwrap(), None);
        let backup = disk.len() - encoded.backup.len();
        disk[backup..].copy_from_slice(&encoded.backup);
        assert_eq!(read(&Content::bytes(disk.clone())).unwrap().as_ref(), Some(&table));
        disk[..encoded.primary.len()].copy_from_slice(&encoded.primary);
        assert_eq!(read(&Content::bytes(disk)).unwrap(), Some(table));
        assert_eq!(read(&Content::bytes(vec![0; 512])).unwrap(), None);
    }

    #[test]
    fn an_entry_has_these_bytes() {
        let primary = table().encode().unwrap().primary;
        let entry = &primary[1024..1152];
        // The first three fields of a GUID are little endian.
        let type_guid = b"\xe3\xbc\x68\x4f\xcd\xe8\xb1\x4d\x96\xe7\xfb\xca\xf9\x84\xb7\x09";
        let guid = b"\x33\xa4\xdc\x4f\x1c\x3f\x18\x00\x67\xd3\xee\xa0\x4a\xdb\xdf\x14";
        assert_eq!(entry[..16], *type_guid);
        assert_eq!(entry[16..32], *guid);
        assert_eq!(entry[32..40], 2048_u64.to_le_bytes());
        assert_eq!(entry[40..48], 4095_u64.to_le_bytes());
        assert_eq!(entry[48..56], [0, 0, 0, 0, 0, 0, 0, 0x10]);
        assert_eq!(entry[56..62], *b"q\0u\0i\0");
        assert_eq!(primary[1152 + 55], 0x80);
        assert!(primary[1280..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn the_header_names_the_backup_in_the_last_block() {
        let Encoded { primary, backup } = table().encode().unwrap();
        assert_eq!(primary[510..512], [0x55, 0xaa]);
        assert_eq!(primary[450], 0xee);
        assert_eq!(primary[454..462], [1, 0, 0, 0, 0xff, 0x1f, 0, 0]);
        assert_eq!(primary[512..520], *b"EFI PART");
        assert_eq!(primary[544..552], 8191_u64.to_le_bytes());
        assert_eq!(backup[32 * 512..][..8], *b"EFI PART");
        assert_eq!(primary[1024..], backup[..32 * 512]);
    }

    #[test]
    fn the_crate_reads_the_table_back() {
        let table = table();
        let Encoded { primary, backup } = table.encode().unwrap();
        let mut disk = Sparse::new(table.n_blocks * BLOCK);
        disk.write_all_at(&primary, 0).unwrap();
        disk.write_all_at(&backup, (table.n_blocks - N_BACKUP) * BLOCK).unwrap();
        let read = ::gpt::GptConfig::new()
            .logical_block_size(::gpt::disk::LogicalBlockSize::Lb512)
            .only_valid_headers(true)
            .open_from_device(&mut disk)
            .unwrap();
        assert_eq!(*read.guid(), table.disk_guid);
        for (partition, entry) in table.partitions.iter().zip(read.partitions().values()) {
            assert_eq!(entry.part_guid, partition.guid);
            assert_eq!(entry.last_lba + 1, partition.end_lba());
            assert_eq!(entry.name, partition.label);
        }
    }

    #[test]
    fn a_table_prints_all_it_holds() {
        assert_eq!(
            table().to_string(),
            "disk 00000000-0000-0000-0000-000000000001 blocks 8192\n\
             1 blocks 2048+2048 type 4f68bce3-e8cd-4db1-96e7-fbcaf984b709 uuid \
             4fdca433-3f1c-0018-67d3-eea04adbdf14 flags 0x1000000000000000 'quickstart-lb_1'\n\
             2 blocks 4096+2048 type 4f68bce3-e8cd-4db1-96e7-fbcaf984b709 uuid \
             00000000-0000-0000-0000-000000000002 flags 0x8000000000000000 '_empty'\n"
        );
    }

    #[test]
    fn partitions_that_do_not_fit_are_refused() {
        let refused = |change: fn(&mut Table)| {
            let mut table = table();
            change(&mut table);
            table.encode().unwrap_err().to_string()
        };
        assert_eq!(
            refused(|table| table.partitions[1].n_blocks = 4096 - 32),
            "partition 2 '_empty' (blocks 4096..8160) lies outside the usable blocks 34..8159"
        );
        assert_eq!(
            refused(|table| table.partitions[0].label = "x".repeat(37)),
            format!("the label '{}' has 37 UTF-16 units: expected at most 36", "x".repeat(37))
        );
        assert_eq!(
            refused(|table| table.partitions[1].guid = table.partitions[0].guid),
            "partitions 1 and 2 have the same UUID 4fdca433-3f1c-0018-67d3-eea04adbdf14"
        );
        assert_eq!(
            refused(|table| table.n_blocks = 67),
            "a disk of 67 blocks is too small for a partition table: expected 68"
        );
        assert_eq!(
            refused(|table| table.partitions[0].n_blocks = 0),
            "partition 1 'quickstart-lb_1' has an empty type, an empty UUID or no blocks"
        );
    }
}
