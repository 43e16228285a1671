// SPDX-License-Identifier: Apache-2.0
//! Where everything lies on the disk.
//!
//! Two slots of root and hash tree stand behind the ESP; the second is empty and waits for the
//! first update. A disk for legacy firmware has GRUB's partition before the ESP, which stays the
//! first by number: whatever names partitions by numbers holds for both. What is behind the slots stays free: first boot makes the `var` partition
//! there. The partition table's own areas are extents like any other, so that one check finds
//! every overlap.
//!
//! Specification: Discoverable Partitions Specification. The UUIDs of root and hash tree are the
//! halves of the root hash, so a UKI finds exactly its own.

use std::fmt;

use kiln_contract::partition;
use uuid::Uuid;

use crate::{
    digest::Digest,
    formats::gpt::{self, BLOCK, N_BACKUP, N_PRIMARY, NO_AUTO, Partition, READ_ONLY, Table},
    profile::Disk,
    units::Bytes,
};

/// Alignment of partitions: a multiple of every flash erase block and RAID chunk in use.
const ALIGNMENT: u64 = 1 << 20;

/// Bytes of GRUB's partition: memory below 640 KiB limits its core image to less.
pub const BIOS_BOOT_LEN: u64 = 1 << 20;

/// Type of GRUB's partition (GRUB manual, "BIOS installation").
const BIOS_BOOT: &str = "21686148-6449-6e6f-744e-656564454649";

/// What the disk holds.
#[derive(Debug, Clone, Copy)]
pub struct Contents<'a> {
    /// Cluster and role: `quickstart-lb`.
    pub name: &'a str,
    pub version: &'a str,
    pub root_len: u64,
    pub verity_len: u64,
    pub root_hash: &'a Digest,
    /// The plan's digest; the UUIDs that the root hash does not decide are made of it.
    pub plan: &'a Digest,
    /// Whether legacy firmware boots from it too.
    pub bios: bool,
}

/// What an extent is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Area {
    ProtectiveMbr,
    GptHeader,
    GptArray,
    BiosBoot,
    Esp,
    Root,
    Verity,
    EmptyRoot,
    EmptyVerity,
    GptBackup,
}

/// A range of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub area: Area,
    /// Bytes from the start of the disk.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

/// A disk, laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskLayout {
    /// Bytes.
    pub len: u64,
    /// In order of their offsets; they do not overlap.
    pub extents: Vec<Extent>,
    pub table: Table,
}

/// Why there is no layout.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("'{key}' is {size}, not a multiple of 1 MiB")]
    Uneven { key: &'static str, size: Bytes },
    #[error("'{key}' is 0")]
    Zero { key: &'static str },
    #[error("the {what} has {} ({len} bytes), its slot {slot}", Bytes(*len))]
    SlotTooSmall { what: &'static str, key: &'static str, len: u64, slot: Bytes },
    #[error("{first} overlaps {second}")]
    Overlap { first: Extent, second: Extent },
    #[error("the partitions need {needed}, the disk has {size}")]
    DiskTooSmall { needed: Bytes, size: Bytes },
    #[error(transparent)]
    Table(#[from] gpt::Error),
}

impl Error {
    /// What to change, if that is certain.
    pub fn help(&self) -> Option<String> {
        let mib = |len: u64| len.div_ceil(ALIGNMENT);
        match self {
            Self::Uneven { key, .. } => Some(format!("write '{key}' in whole MiB")),
            Self::Zero { key } => Some(format!("give '{key}' a size")),
            Self::SlotTooSmall { key, len, .. } => {
                Some(format!("raise '{key}' to {}MiB or more, or leave more out", mib(*len)))
            }
            Self::DiskTooSmall { needed, .. } => {
                Some(format!("raise 'disk.size' to {}MiB or more", mib(needed.get())))
            }
            Self::Table(gpt::Error::LabelTooLong { .. }) => {
                Some("shorten the cluster's name, the role or the version".to_owned())
            }
            Self::Overlap { .. } | Self::Table(_) => None,
        }
    }
}

/// Decides where everything lies.
///
/// # Errors
/// Something does not fit; [`Error::help`] says what to raise.
pub fn lay_out(disk: &Disk, contents: &Contents) -> Result<DiskLayout, Error> {
    check_sizes(disk, contents)?;
    let len = disk.size.get();
    let bios_boot = contents.bios.then_some((Area::BiosBoot, Bytes(BIOS_BOOT_LEN)));
    let slots: Vec<(Area, Bytes)> = bios_boot
        .into_iter()
        .chain([
            (Area::Esp, disk.esp),
            (Area::Root, disk.root),
            (Area::Verity, disk.verity),
            (Area::EmptyRoot, disk.root),
            (Area::EmptyVerity, disk.verity),
        ])
        .collect();
    let needed = slots.iter().try_fold(2 * ALIGNMENT, |sum, (_, size)| sum.checked_add(size.get()));
    let needed = Bytes(needed.unwrap_or(u64::MAX));
    // One MiB before the partitions, one for the backup table.
    if needed > disk.size {
        return Err(Error::DiskTooSmall { needed, size: disk.size });
    }
    let mut extents = vec![
        Extent { area: Area::ProtectiveMbr, offset: 0, len: BLOCK },
        Extent { area: Area::GptHeader, offset: BLOCK, len: BLOCK },
        Extent { area: Area::GptArray, offset: 2 * BLOCK, len: (N_PRIMARY - 2) * BLOCK },
    ];
    let mut offset = ALIGNMENT;
    for (area, size) in slots {
        extents.push(Extent { area, offset, len: size.get() });
        offset += size.get();
    }
    let backup_len = N_BACKUP * BLOCK;
    extents.push(Extent { area: Area::GptBackup, offset: len - backup_len, len: backup_len });
    check_overlaps(&extents)?;

    let (last, first): (Vec<_>, Vec<_>) =
        extents.iter().partition(|extent| extent.area == Area::BiosBoot);
    let numbered = first.into_iter().chain(last);
    let partitions = numbered.filter_map(|extent| contents.partition(extent)).collect();
    let table = Table { disk_guid: contents.plan.uuid("disk"), n_blocks: len / BLOCK, partitions };
    // Encoding checks labels and UUIDs; better now than after the root has been written.
    table.encode()?;
    Ok(DiskLayout { len, extents, table })
}

fn check_sizes(disk: &Disk, contents: &Contents) -> Result<(), Error> {
    for (key, size) in [
        ("disk.size", disk.size),
        ("disk.esp", disk.esp),
        ("disk.root", disk.root),
        ("disk.verity", disk.verity),
    ] {
        if size.get() == 0 {
            return Err(Error::Zero { key });
        }
        if !size.get().is_multiple_of(ALIGNMENT) {
            return Err(Error::Uneven { key, size });
        }
    }
    for (what, key, len, slot) in [
        ("root file system", "disk.root", contents.root_len, disk.root),
        ("hash tree", "disk.verity", contents.verity_len, disk.verity),
    ] {
        if len > slot.get() {
            return Err(Error::SlotTooSmall { what, key, len, slot });
        }
    }
    Ok(())
}

fn check_overlaps(extents: &[Extent]) -> Result<(), Error> {
    for pair in extents.windows(2) {
        if let [first, second] = *pair
            && first.end() > second.offset
        {
            return Err(Error::Overlap { first, second });
        }
    }
    Ok(())
}

impl Contents<'_> {
    /// The partition of an extent, if it is one.
    fn partition(&self, extent: &Extent) -> Option<Partition> {
        let halves = root_hash_uuids(self.root_hash);
        let label = format!("{}_{}", self.name, self.version);
        let empty = || partition::EMPTY_LABEL.to_owned();
        let (type_guid, guid, attributes, label) = match extent.area {
            Area::BiosBoot => (BIOS_BOOT, self.plan.uuid("bios boot"), 0, "bios-boot".to_owned()),
            Area::Esp => (partition::ESP, self.plan.uuid("esp"), 0, "esp".to_owned()),
            Area::Root => (partition::ROOT, halves.0, READ_ONLY, label),
            Area::Verity => {
                (partition::ROOT_VERITY, halves.1, READ_ONLY, format!("{label}_verity"))
            }
            Area::EmptyRoot => (partition::ROOT, self.plan.uuid("empty root"), NO_AUTO, empty()),
            Area::EmptyVerity => {
                (partition::ROOT_VERITY, self.plan.uuid("empty verity"), NO_AUTO, empty())
            }
            Area::ProtectiveMbr | Area::GptHeader | Area::GptArray | Area::GptBackup => {
                return None;
            }
        };
        Some(Partition {
            type_guid: Uuid::parse_str(type_guid).expect("GUIDs of constants are well formed"),
            guid,
            first_lba: extent.offset / BLOCK,
            n_blocks: extent.len / BLOCK,
            attributes,
            label,
        })
    }
}

/// Partition UUIDs of root and hash tree: the halves of the root hash, in the order of its text.
pub fn root_hash_uuids(root_hash: &Digest) -> (Uuid, Uuid) {
    let half = |range: std::ops::Range<usize>| {
        let bytes = root_hash.as_bytes()[range].try_into().expect("16 of 32 bytes");
        Uuid::from_bytes(bytes)
    };
    (half(0..16), half(16..32))
}

/// UUID of the `var` partition, which first boot makes: the same for every version of a role.
pub fn var_uuid(cluster: &str, role: &str) -> Uuid {
    Digest::of(format!("{cluster}\0{role}").as_bytes()).uuid("var")
}

impl DiskLayout {
    /// The extent of an area that every disk has.
    pub fn extent(&self, area: Area) -> Extent {
        self.find(area).expect("a layout has every area but GRUB's partition")
    }

    /// The extent of an area, if the disk has it.
    pub fn find(&self, area: Area) -> Option<Extent> {
        self.extents.iter().find(|extent| extent.area == area).copied()
    }

    /// Bytes behind the last slot, for `var`.
    pub fn free(&self) -> u64 {
        self.extent(Area::GptBackup).offset - self.extent(Area::EmptyVerity).end()
    }
}

impl Extent {
    /// First byte behind it.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.len)
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ProtectiveMbr => "[MBR]",
            Self::GptHeader => "[GPT header]",
            Self::GptArray => "[GPT array]",
            Self::BiosBoot => "bios boot",
            Self::Esp => "esp",
            Self::Root => "root",
            Self::Verity => "verity",
            Self::EmptyRoot => "empty root",
            Self::EmptyVerity => "empty verity",
            Self::GptBackup => "[GPT backup]",
        })
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, end) = (self.offset / BLOCK, self.end() / BLOCK);
        write!(f, "'{}' (blocks {first}..{end}, {})", self.area, Bytes(self.len))
    }
}

impl fmt::Display for DiskLayout {
    /// One line per extent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.extents.iter().try_for_each(|extent| writeln!(f, "{extent}"))
    }
}

#[cfg(test)]
mod tests;
