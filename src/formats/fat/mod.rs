// SPDX-License-Identifier: Apache-2.0
//! FAT volumes: the EFI system partition and small media.
//!
//! Specification: Microsoft FAT32 File System Specification 1.03. The `fatfs` crate lays out
//! files; `repair` then puts right what it leaves wrong (long names for `.` and `..`, the
//! parent of folders in a FAT32 root, times). Sectors are always 512 bytes, and the kind of FAT
//! follows from the number of clusters alone: firmware counts, it does not read the type label.

mod repair;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Seek as _, Write as _},
};

use super::sparse::Sparse;

/// Bytes per sector. Volumes with 4096 are not seen by all firmware.
const SECTOR: u64 = 512;

/// Fewest clusters of FAT32, with 16 to spare: drivers disagree by a few about the border.
const MIN_FAT32_CLUSTERS: u64 = 65_525 + 16;

/// Largest cluster that is used; larger ones only waste space in small files.
const MAX_CLUSTER: u64 = 4096;

/// Smallest FAT32 volume: its clusters of one sector, two tables of 4 bytes each, 32 reserved
/// sectors, rounded up to MiB.
pub const MIN_FAT32_LEN: u64 = 33 << 20;

/// What a volume is, beside its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Bytes; a multiple of 512.
    pub len: u64,
    pub kind: Kind,
    /// At most 11 characters, upper case ASCII.
    pub label: String,
    /// The serial number.
    pub id: u32,
    /// Time of every entry, seconds since 1970. FAT begins in 1980.
    pub mtime: u32,
}

/// Which FAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// For an EFI system partition on a fixed disk.
    Fat32,
    /// FAT12 or FAT16, as the size says: small media.
    Small,
}

/// Why a volume is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "a FAT32 volume of {len} bytes has too few clusters: expected at least {MIN_FAT32_LEN} bytes"
    )]
    TooSmall { len: u64 },
    #[error("a FAT volume of {len} bytes is not made of 512-byte sectors")]
    UnevenLength { len: u64 },
    #[error("'{label}' is no FAT label: 1 to 11 of A-Z, 0-9, '-', '_'")]
    BadLabel { label: String },
    #[error("the FAT volume has {available} bytes for {wanted} bytes of files")]
    Full { wanted: u64, available: u64 },
    #[error("'{path}' cannot be a file of a FAT volume: {source}")]
    File { path: String, source: io::Error },
    #[error("laying out the FAT volume: {0}")]
    Layout(#[from] io::Error),
    #[error("the FAT volume is damaged: {what} at offset {offset:#x}")]
    Damaged { what: &'static str, offset: u64 },
}

/// The volume with `files`, by path (`EFI/BOOT/BOOTX64.EFI`); folders are made as needed.
///
/// # Errors
/// The volume's values do not fit together, or the files do not fit.
pub fn encode(volume: &Volume, files: &BTreeMap<String, &[u8]>) -> Result<Sparse, Error> {
    let options = format_options(volume)?;
    let mut bytes = Sparse::new(volume.len);
    fatfs::format_volume(&mut bytes, options)?;
    check_space(&mut bytes, files)?;
    fill(&mut bytes, files)?;
    repair::repair(&mut bytes, volume.mtime)?;
    Ok(bytes)
}

fn format_options(volume: &Volume) -> Result<fatfs::FormatVolumeOptions, Error> {
    let len = volume.len;
    if !len.is_multiple_of(SECTOR) {
        return Err(Error::UnevenLength { len });
    }
    let options = fatfs::FormatVolumeOptions::new()
        .bytes_per_sector(512)
        .volume_id(volume.id)
        .volume_label(label(&volume.label)?);
    match volume.kind {
        Kind::Small => Ok(options),
        Kind::Fat32 => {
            let cluster = fat32_cluster(len).ok_or(Error::TooSmall { len })?;
            Ok(options.fat_type(fatfs::FatType::Fat32).bytes_per_cluster(cluster))
        }
    }
}

/// Largest cluster size that leaves enough clusters for FAT32.
fn fat32_cluster(len: u64) -> Option<u32> {
    let reserved = 32 * SECTOR;
    let mut cluster = MAX_CLUSTER;
    while cluster >= SECTOR {
        // A cluster costs its bytes and 4 in each of two tables.
        let n_clusters = len.saturating_sub(reserved + 2 * SECTOR) / (cluster + 8);
        if n_clusters >= MIN_FAT32_CLUSTERS {
            return u32::try_from(cluster).ok();
        }
        cluster /= 2;
    }
    None
}

fn label(text: &str) -> Result<[u8; 11], Error> {
    let fine =
        |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    if text.is_empty() || text.len() > 11 || !text.bytes().all(fine) {
        return Err(Error::BadLabel { label: text.to_owned() });
    }
    let mut label = [b' '; 11];
    label[..text.len()].copy_from_slice(text.as_bytes());
    Ok(label)
}

fn mount(bytes: &mut Sparse) -> io::Result<fatfs::FileSystem<&mut Sparse>> {
    bytes.rewind()?;
    fatfs::FileSystem::new(bytes, fatfs::FsOptions::new())
}

/// All sizes are compared before the first file is written.
fn check_space(bytes: &mut Sparse, files: &BTreeMap<String, &[u8]>) -> Result<(), Error> {
    let volume = mount(bytes)?;
    let stats = volume.stats()?;
    let cluster = u64::from(stats.cluster_size());
    let available = u64::from(stats.free_clusters()) * cluster;
    let data: u64 = files.values().map(|data| (data.len() as u64).next_multiple_of(cluster)).sum();
    let wanted = data + folders(files).len() as u64 * cluster;
    if wanted > available { Err(Error::Full { wanted, available }) } else { Ok(()) }
}

/// Every folder that the files lie in, parents first.
fn folders(files: &BTreeMap<String, &[u8]>) -> BTreeSet<String> {
    let parents = |path: &String| -> Vec<String> {
        path.match_indices('/').map(|(end, _)| path[..end].to_owned()).collect()
    };
    files.keys().flat_map(parents).collect()
}

fn fill(bytes: &mut Sparse, files: &BTreeMap<String, &[u8]>) -> Result<(), Error> {
    let volume = mount(bytes)?;
    {
        let root = volume.root_dir();
        for path in folders(files) {
            root.create_dir(&path).map_err(|source| Error::File { path, source })?;
        }
        for (path, data) in files {
            let write = || {
                let mut file = root.create_file(path)?;
                file.truncate()?;
                file.write_all(data)?;
                file.flush()
            };
            write().map_err(|source| Error::File { path: path.clone(), source })?;
        }
    }
    // Makes the count of free clusters known, so that it is stored with the volume.
    volume.stats()?;
    Ok(volume.unmount()?)
}

#[cfg(test)]
mod tests;
