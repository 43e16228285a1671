// SPDX-License-Identifier: Apache-2.0
//! FAT12, FAT16 and FAT32: Microsoft's fatgen103, "Microsoft Extensible
//! Firmware Initiative FAT32 File System Specification", version 1.03.

use super::{DIRECTORY_MAX, Entry, Fault, ReadAt, bytes, exact, u16_at, u32_at};

const ENTRY: usize = 32;
const ATTRIBUTE_VOLUME: u8 = 0x08;
const ATTRIBUTE_DIRECTORY: u8 = 0x10;
const ATTRIBUTE_LONG_NAME: u8 = 0x0f;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Fat12,
    Fat16,
    Fat32,
}

/// A FAT volume.
pub(crate) struct Volume<'a> {
    device: &'a dyn ReadAt,
    kind: Kind,
    cluster_size: u64,
    n_clusters: u32,
    fat_offset: u64,
    data_offset: u64,
    root: Root,
    boot_label: String,
}

enum Root {
    Region { offset: u64, length: usize },
    Cluster(u32),
}

impl<'a> Volume<'a> {
    /// The volume, if the device's first sector is a FAT boot sector.
    pub(super) fn open(device: &'a dyn ReadAt) -> Result<Option<Self>, Fault> {
        let Some(boot) = bytes(device, 0, 512)? else { return Ok(None) };
        let sector = u64::from(u16_at(&boot, 11));
        let sectors_per_cluster = u64::from(boot[13]);
        let reserved = u64::from(u16_at(&boot, 14));
        let n_fats = u64::from(boot[16]);
        let valid = boot[510..] == [0x55, 0xaa]
            && matches!(boot[0], 0xeb | 0xe9)
            && matches!(sector, 512 | 1024 | 2048 | 4096)
            && sectors_per_cluster.is_power_of_two()
            && reserved > 0
            && (1..=2).contains(&n_fats);
        if !valid {
            return Ok(None);
        }
        let first_nonzero =
            |small: u16, large: u32| if small > 0 { u32::from(small) } else { large };
        let total = u64::from(first_nonzero(u16_at(&boot, 19), u32_at(&boot, 32)));
        let fat_length = u64::from(first_nonzero(u16_at(&boot, 22), u32_at(&boot, 36)));
        let root_length = usize::from(u16_at(&boot, 17)) * ENTRY;
        let root_offset = (reserved + n_fats * fat_length) * sector;
        let data_offset = (root_offset + root_length as u64).next_multiple_of(sector);
        let Some(data) = (total * sector).checked_sub(data_offset) else { return Ok(None) };
        let cluster_size = sectors_per_cluster * sector;
        let n_clusters = u32::try_from(data / cluster_size).unwrap_or(u32::MAX);
        // The number of clusters decides, nothing else: fatgen103, "FAT Type Determination".
        let kind = match n_clusters {
            0..4085 => Kind::Fat12,
            4085..65525 => Kind::Fat16,
            _ => Kind::Fat32,
        };
        let root = match kind {
            Kind::Fat32 => Root::Cluster(u32_at(&boot, 44)),
            _ => Root::Region { offset: root_offset, length: root_length },
        };
        let label = if kind == Kind::Fat32 { 71..82 } else { 43..54 };
        let boot_label = String::from_utf8_lossy(&boot[label]).into_owned();
        let fat_offset = reserved * sector;
        Ok(Some(Self {
            device,
            kind,
            cluster_size,
            n_clusters,
            fat_offset,
            data_offset,
            root,
            boot_label,
        }))
    }

    /// The root directory's volume entry, else the boot sector's label.
    pub(super) fn label(&self) -> String {
        // Whether a root directory that cannot be read matters, only the label can tell.
        let directory = self.directory().unwrap_or_default();
        let volume = entries(&directory).find(|entry| {
            entry[11] & ATTRIBUTE_LONG_NAME != ATTRIBUTE_LONG_NAME
                && entry[11] & ATTRIBUTE_VOLUME != 0
        });
        match volume {
            Some(entry) => String::from_utf8_lossy(&entry[..11]).into_owned(),
            None => self.boot_label.clone(),
        }
    }

    /// The entries of a directory; the root's if none is given.
    pub(super) fn entries(&self, of: Option<&Entry>) -> Result<Vec<Entry>, Fault> {
        let directory = match of {
            None => self.directory()?,
            Some(entry) => self.chain(entry.start, DIRECTORY_MAX, false)?,
        };
        let mut found = Vec::new();
        let mut long = LongName::default();
        for entry in entries(&directory) {
            if entry[11] & 0x3f == ATTRIBUTE_LONG_NAME {
                long.take(entry);
                continue;
            }
            let name = long.finish(entry).unwrap_or_else(|| short_name(entry));
            if entry[11] & ATTRIBUTE_VOLUME != 0 || matches!(&*name, "." | "..") {
                continue;
            }
            let first = u32::from(u16_at(entry, 26)) | u32::from(u16_at(entry, 20)) << 16;
            found.push(Entry {
                name,
                is_folder: entry[11] & ATTRIBUTE_DIRECTORY != 0,
                start: if self.kind == Kind::Fat32 { first } else { first & 0xffff },
                length: u32_at(entry, 28),
                is_split: false,
            });
        }
        Ok(found)
    }

    /// The first `length` bytes of a file.
    pub(super) fn read(&self, entry: &Entry, length: usize) -> Result<Vec<u8>, Fault> {
        self.chain(entry.start, length, true)
    }

    fn directory(&self) -> Result<Vec<u8>, Fault> {
        match self.root {
            Root::Region { offset, length } => exact(self.device, offset, length),
            Root::Cluster(first) => self.chain(first, DIRECTORY_MAX, false),
        }
    }

    /// Up to `length` bytes of a chain of clusters; `whole` refuses a chain that ends before.
    fn chain(&self, first: u32, length: usize, whole: bool) -> Result<Vec<u8>, Fault> {
        let mut content = Vec::new();
        let mut cluster = first;
        while content.len() < length {
            // Clusters are numbered from 2.
            let index = cluster.checked_sub(2).filter(|index| *index < self.n_clusters);
            let Some(index) = index else {
                if !whole && self.is_end(cluster) {
                    break;
                }
                return Err(Fault::Damaged("a chain of clusters ends early or leaves the volume"));
            };
            let rest = length - content.len();
            let n = usize::try_from(self.cluster_size).unwrap_or(rest).min(rest);
            let offset = self.data_offset + u64::from(index) * self.cluster_size;
            content.extend(exact(self.device, offset, n)?);
            cluster = self.next(cluster)?;
        }
        Ok(content)
    }

    fn is_end(&self, cluster: u32) -> bool {
        cluster
            >= match self.kind {
                Kind::Fat12 => 0xff8,
                Kind::Fat16 => 0xfff8,
                Kind::Fat32 => 0x0fff_fff8,
            }
    }

    fn next(&self, cluster: u32) -> Result<u32, Fault> {
        let number = u64::from(cluster);
        let (offset, width) = match self.kind {
            Kind::Fat12 => (number + number / 2, 2),
            Kind::Fat16 => (number * 2, 2),
            Kind::Fat32 => (number * 4, 4),
        };
        let entry = exact(self.device, self.fat_offset + offset, width)?;
        Ok(match self.kind {
            Kind::Fat12 if cluster % 2 == 1 => u32::from(u16_at(&entry, 0) >> 4),
            Kind::Fat12 => u32::from(u16_at(&entry, 0) & 0xfff),
            Kind::Fat16 => u32::from(u16_at(&entry, 0)),
            Kind::Fat32 => u32_at(&entry, 0) & 0x0fff_ffff,
        })
    }
}

/// The entries in use.
fn entries(directory: &[u8]) -> impl Iterator<Item = &[u8]> {
    directory.chunks_exact(ENTRY).take_while(|entry| entry[0] != 0).filter(|entry| entry[0] != 0xe5)
}

fn short_name(entry: &[u8]) -> String {
    let part = |range: std::ops::Range<usize>| {
        String::from_utf8_lossy(&entry[range]).trim_end().to_owned()
    };
    match (part(0..8), part(8..11)) {
        (name, extension) if extension.is_empty() => name,
        (name, extension) => format!("{name}.{extension}"),
    }
}

/// A long name, collected from the entries in front of the short one, last part first.
#[derive(Debug, Default)]
struct LongName {
    units: Vec<u16>,
    checksum: u8,
}

impl LongName {
    fn take(&mut self, entry: &[u8]) {
        const LAST: u8 = 0x40;
        if entry[0] & LAST != 0 || entry[13] != self.checksum || self.units.len() > 255 {
            self.units.clear();
            self.checksum = entry[13];
        }
        let positions = (1..11).step_by(2).chain((14..26).step_by(2)).chain((28..32).step_by(2));
        let part: Vec<u16> =
            positions.map(|offset| u16_at(entry, offset)).take_while(|unit| *unit != 0).collect();
        self.units.splice(0..0, part);
    }

    /// The name, if the parts belong to this short entry.
    fn finish(&mut self, entry: &[u8]) -> Option<String> {
        let units = std::mem::take(&mut self.units);
        let sum =
            entry[..11].iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
        (!units.is_empty() && sum == self.checksum).then(|| String::from_utf16_lossy(&units))
    }
}
