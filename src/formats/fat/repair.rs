// SPDX-License-Identifier: Apache-2.0
//! Puts right what the `fatfs` crate (0.3.6) leaves wrong in directories.
//!
//! Specification sections "FAT Directory Structure" and "FAT Long Directory Entries": `.` and
//! `..` are the first two records and have no long names; `..` of a folder in the root has
//! cluster 0, also on FAT32. Times come from the build's epoch, because the crate only takes a
//! static clock.

use std::collections::BTreeSet;

use super::{Error, SECTOR, Sparse};
use crate::{formats::calendar::civil, tree::Source as _};

/// Bytes of a directory record.
const RECORD: usize = 32;
/// Attribute byte.
const ATTRIBUTES: usize = 11;
const ATTRIBUTE_LONG_NAME: u8 = 0x0f;
const ATTRIBUTE_DIRECTORY: u8 = 0x10;
/// First byte of a record that was deleted, and of the record that ends a directory.
const DELETED: u8 = 0xe5;
const END: u8 = 0;

/// Where things lie in a mounted volume.
struct Geometry {
    cluster_len: u64,
    fat_start: u64,
    /// First byte of the data area: cluster 2.
    data_start: u64,
    root_start: u64,
    /// Bytes of a FAT12 or FAT16 root; 0 on FAT32.
    root_len: u64,
    root_cluster: u32,
    is_fat32: bool,
    n_clusters: u64,
}

/// Repairs every directory of the volume and dates every record.
pub(super) fn repair(bytes: &mut Sparse, mtime: u32) -> Result<(), Error> {
    let geometry = Geometry::read(bytes)?;
    let stamp = Stamp::new(mtime);
    let mut pending = Vec::new();
    if geometry.is_fat32 {
        pending.push((geometry.root_cluster, 0));
    } else {
        let mut root = vec![0; usize::try_from(geometry.root_len).expect("at most 2 MiB")];
        bytes.read_exact_at(&mut root, geometry.root_start)?;
        let children = records(&mut root, &stamp);
        bytes.write_all_at(&root, geometry.root_start)?;
        pending.extend(children.into_iter().map(|child| (child, 0)));
    }
    let mut seen = BTreeSet::new();
    while let Some((cluster, parent)) = pending.pop() {
        if !seen.insert(cluster) {
            return Err(geometry.damaged("a folder with two parents", cluster));
        }
        let is_root = geometry.is_fat32 && cluster == geometry.root_cluster;
        let chain = geometry.chain(bytes, cluster)?;
        let mut directory = geometry.load(bytes, &chain)?;
        if !is_root && !dots(&mut directory, parent) {
            return Err(geometry.damaged("a folder without '.' and '..'", cluster));
        }
        let children = records(&mut directory, &stamp);
        geometry.store(bytes, &chain, &directory)?;
        let as_parent = if is_root { 0 } else { cluster };
        pending.extend(children.into_iter().map(|child| (child, as_parent)));
    }
    Ok(())
}

/// Moves `.` and `..` to the front without long names and points `..` to `parent`.
///
/// The records that become free are marked as deleted. Says whether both were found.
fn dots(directory: &mut [u8], parent: u32) -> bool {
    const N_LEADING: usize = 4;
    let mut found: Vec<[u8; RECORD]> = Vec::new();
    for record in directory.chunks_exact(RECORD).take(N_LEADING) {
        let name = &record[..ATTRIBUTES];
        if name == b".          " || name == b"..         " {
            found.push(record.try_into().expect("a record"));
        }
    }
    let [dot, dot_dot] = found.as_mut_slice() else { return false };
    if record_cluster(dot_dot) != parent {
        dot_dot[20..22].copy_from_slice(&parent.to_le_bytes()[2..]);
        dot_dot[26..28].copy_from_slice(&parent.to_le_bytes()[..2]);
    }
    directory[..RECORD].copy_from_slice(dot);
    directory[RECORD..2 * RECORD].copy_from_slice(dot_dot);
    for free in directory.chunks_exact_mut(RECORD).take(N_LEADING).skip(2) {
        free.fill(0);
        free[0] = DELETED;
    }
    true
}

/// Dates the records of a directory; gives the first clusters of its folders.
fn records(directory: &mut [u8], stamp: &Stamp) -> Vec<u32> {
    let mut children = Vec::new();
    for record in directory.chunks_exact_mut(RECORD) {
        match (record[0], record[ATTRIBUTES]) {
            (END, _) => break,
            (DELETED, _) | (_, ATTRIBUTE_LONG_NAME) => continue,
            (b'.', _) => {}
            (_, attributes) if attributes & ATTRIBUTE_DIRECTORY != 0 => {
                children.push(record_cluster(record));
            }
            _ => {}
        }
        stamp.write(record);
    }
    children
}

fn record_cluster(record: &[u8]) -> u32 {
    let half = |at: usize| u32::from(u16::from_le_bytes([record[at], record[at + 1]]));
    (half(20) << 16) | half(26)
}

/// A FAT date and time.
struct Stamp {
    date: u16,
    time: u16,
}

impl Stamp {
    /// The nearest that FAT can say: even seconds, from 1980 to 2107.
    fn new(mtime: u32) -> Self {
        /// 1980-01-01, seconds since 1970.
        const FIRST: u32 = 315_532_800;
        let seconds = mtime.max(FIRST);
        let (days, second_of_day) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = civil(days);
        let time = (second_of_day / 3600) << 11
            | (second_of_day / 60 % 60) << 5
            | (second_of_day % 60) / 2;
        let date = (year - 1980) << 9 | month << 5 | day;
        // 7 + 4 + 5 bits and 5 + 6 + 5 bits; a u32 of seconds ends in 2106.
        Self { date: date as u16, time: time as u16 }
    }

    fn write(&self, record: &mut [u8]) {
        record[13] = 0;
        for (offset, value) in
            [(14, self.time), (16, self.date), (18, self.date), (22, self.time), (24, self.date)]
        {
            record[offset..offset + 2].copy_from_slice(&value.to_le_bytes());
        }
    }
}

impl Geometry {
    fn read(bytes: &Sparse) -> Result<Self, Error> {
        let mut boot = [0; 512];
        bytes.read_exact_at(&mut boot, 0)?;
        let u16_at = |at: usize| u64::from(u16::from_le_bytes([boot[at], boot[at + 1]]));
        let u32_at = |at: usize| u16_at(at) | u16_at(at + 2) << 16;
        let or = |small: u64, large: u64| if small == 0 { large } else { small };
        let n_sectors = or(u16_at(19), u32_at(32));
        let fat_sectors = or(u16_at(22), u32_at(36));
        let is_fat32 = u16_at(22) == 0;
        let fat_start = u16_at(14) * SECTOR;
        let root_start = fat_start + u64::from(boot[16]) * fat_sectors * SECTOR;
        let root_len = u16_at(17) * RECORD as u64;
        let data_start = root_start + root_len.next_multiple_of(SECTOR);
        let cluster_len = u64::from(boot[13]) * SECTOR;
        if u16_at(11) != SECTOR || cluster_len == 0 {
            return Err(Error::Damaged { what: "the boot sector", offset: 0 });
        }
        let n_clusters = (n_sectors * SECTOR).saturating_sub(data_start) / cluster_len;
        // Four bytes of the boot sector.
        let root_cluster = if is_fat32 { u32_at(44) as u32 } else { 0 };
        Ok(Self {
            cluster_len,
            fat_start,
            data_start,
            root_start,
            root_len,
            root_cluster,
            is_fat32,
            n_clusters,
        })
    }

    /// The clusters of a file, in order.
    fn chain(&self, bytes: &Sparse, first: u32) -> Result<Vec<u32>, Error> {
        let mut chain = Vec::new();
        let mut cluster = first;
        while u64::from(cluster) < 2 + self.n_clusters {
            if cluster < 2 || chain.len() as u64 > self.n_clusters {
                return Err(self.damaged("a cluster chain", cluster));
            }
            chain.push(cluster);
            cluster = self.next(bytes, cluster)?;
        }
        Ok(chain)
    }

    fn next(&self, bytes: &Sparse, cluster: u32) -> Result<u32, Error> {
        let index = u64::from(cluster);
        let mut entry = [0; 4];
        if self.is_fat32 {
            bytes.read_exact_at(&mut entry, self.fat_start + index * 4)?;
            return Ok(u32::from_le_bytes(entry) & 0x0fff_ffff);
        }
        if self.n_clusters >= 4085 {
            bytes.read_exact_at(&mut entry[..2], self.fat_start + index * 2)?;
            return Ok(u32::from_le_bytes(entry));
        }
        bytes.read_exact_at(&mut entry[..2], self.fat_start + index * 3 / 2)?;
        let pair = u32::from_le_bytes(entry);
        Ok(if cluster % 2 == 0 { pair & 0xfff } else { pair >> 4 })
    }

    fn load(&self, bytes: &Sparse, chain: &[u32]) -> Result<Vec<u8>, Error> {
        // A cluster is at most 64 KiB.
        let len = self.cluster_len as usize;
        let mut data = vec![0; len * chain.len()];
        for (piece, cluster) in data.chunks_exact_mut(len).zip(chain) {
            bytes.read_exact_at(piece, self.offset(*cluster))?;
        }
        Ok(data)
    }

    fn store(&self, bytes: &mut Sparse, chain: &[u32], data: &[u8]) -> Result<(), Error> {
        for (piece, cluster) in data.chunks_exact(self.cluster_len as usize).zip(chain) {
            bytes.write_all_at(piece, self.offset(*cluster))?;
        }
        Ok(())
    }

    fn offset(&self, cluster: u32) -> u64 {
        self.data_start + u64::from(cluster.saturating_sub(2)) * self.cluster_len
    }

    fn damaged(&self, what: &'static str, cluster: u32) -> Error {
        Error::Damaged { what, offset: self.offset(cluster) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_the_nearest_that_fat_can_say() {
        let stamp = |mtime| {
            let Stamp { date, time } = Stamp::new(mtime);
            (1980 + (date >> 9), date >> 5 & 15, date & 31, time >> 11, time >> 5 & 63, time & 31)
        };
        assert_eq!(stamp(0), (1980, 1, 1, 0, 0, 0));
        assert_eq!(stamp(1_709_210_097), (2024, 2, 29, 12, 34, 28));
        assert_eq!(stamp(951_868_799), (2000, 2, 29, 23, 59, 29));
        assert_eq!(stamp(u32::MAX), (2106, 2, 7, 6, 28, 7));
    }
}
