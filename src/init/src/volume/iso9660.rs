// SPDX-License-Identifier: Apache-2.0
//! ISO 9660 (ECMA-119), with Rock Ridge names (IEEE P1282 over SUSP,
//! IEEE P1281) or Joliet's.
//!
//! Rock Ridge wins over Joliet, as in the kernel; plain names only serve to say what is wrong.

use super::{DIRECTORY_MAX, Entry, Fault, ReadAt, bytes, exact, u16_at, u32_at};

const SECTOR: u64 = 2048;
/// Descriptors begin at sector 16; nobody writes more than a few.
const DESCRIPTORS: std::ops::Range<u64> = 16..48;
const FLAG_DIRECTORY: u8 = 0x02;
const FLAG_MULTI_EXTENT: u8 = 0x80;

/// An ISO 9660 volume.
pub(crate) struct Volume<'a> {
    device: &'a dyn ReadAt,
    label: String,
    block: u64,
    root: Extent,
    names: Names,
}

/// Where names come from.
#[derive(Debug, Clone, Copy)]
enum Names {
    /// NM entries; so many bytes of each system use area are skipped.
    RockRidge(usize),
    Joliet,
    Plain,
}

#[derive(Debug, Clone, Copy)]
struct Extent {
    block: u32,
    length: u32,
}

impl<'a> Volume<'a> {
    pub(super) fn open(device: &'a dyn ReadAt) -> Result<Option<Self>, Fault> {
        let (mut primary, mut joliet) = (None, None);
        for sector in DESCRIPTORS {
            let Some(descriptor) = bytes(device, sector * SECTOR, 2048)? else { break };
            if descriptor[1..6] != *b"CD001" {
                break;
            }
            match descriptor[0] {
                1 if primary.is_none() => primary = Some(descriptor),
                2 if matches!(&descriptor[88..91], b"%/@" | b"%/C" | b"%/E") => {
                    joliet = Some(extent(&descriptor[156..190]));
                }
                255 => break,
                _ => {}
            }
        }
        let Some(primary) = primary else { return Ok(None) };
        let block = u64::from(u16_at(&primary, 128));
        if !matches!(block, 512 | 1024 | 2048) {
            return Ok(None);
        }
        let label = String::from_utf8_lossy(&primary[40..72]).into_owned();
        let primary = extent(&primary[156..190]);
        let mut volume = Self { device, label, block, root: primary, names: Names::Plain };
        // A directory that cannot be read is a fault of its reader, if the label is ours.
        match (volume.rock_ridge().unwrap_or_default(), joliet) {
            (Some(skip), _) => volume.names = Names::RockRidge(skip),
            (None, Some(joliet)) => (volume.root, volume.names) = (joliet, Names::Joliet),
            (None, None) => {}
        }
        Ok(Some(volume))
    }

    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// The entries of a directory; the root's if none is given.
    pub(super) fn entries(&self, of: Option<&Entry>) -> Result<Vec<Entry>, Fault> {
        let place = of.map_or(self.root, |it| Extent { block: it.start, length: it.length });
        let directory = self.directory(place)?;
        let mut found = Vec::new();
        // The first two are the directory itself and its parent.
        for raw in raw_records(&directory).skip(2) {
            let name = match self.names {
                Names::RockRidge(skip) => self.alternate_name(system_use(raw, skip))?,
                Names::Joliet => Some(ucs2(name_of(raw))),
                Names::Plain => None,
            };
            let extent = extent(raw);
            found.push(Entry {
                name: name.unwrap_or_else(|| plain(name_of(raw))),
                is_folder: raw[25] & FLAG_DIRECTORY != 0,
                start: extent.block,
                length: extent.length,
                is_split: raw[25] & FLAG_MULTI_EXTENT != 0,
            });
        }
        Ok(found)
    }

    /// The first `length` bytes of a file.
    pub(super) fn read(&self, entry: &Entry, length: usize) -> Result<Vec<u8>, Fault> {
        exact(self.device, u64::from(entry.start) * self.block, length)
    }

    /// Bytes to skip in system use areas, if the root's first record announces SUSP and one of
    /// its records has such a name.
    fn rock_ridge(&self) -> Result<Option<usize>, Fault> {
        let directory = self.directory(self.root)?;
        let Some(first) = raw_records(&directory).next() else { return Ok(None) };
        let announcement = system_use(first, 0);
        if announcement.len() < 7
            || announcement[..2] != *b"SP"
            || announcement[4..6] != [0xbe, 0xef]
        {
            return Ok(None);
        }
        let skip = usize::from(announcement[6]);
        for raw in raw_records(&directory) {
            if self.alternate_name(system_use(raw, skip))?.is_some() {
                return Ok(Some(skip));
            }
        }
        Ok(None)
    }

    /// The parts of a record's NM entries, continuation areas included.
    fn alternate_name(&self, first: &[u8]) -> Result<Option<String>, Fault> {
        let mut name = Vec::new();
        let mut area = first.to_vec();
        // A continuation of a continuation is legal; a loop of them is not followed for ever.
        for _ in 0..4 {
            let mut continued = None;
            let mut rest = &area[..];
            while rest.len() >= 4 {
                let length = usize::from(rest[2]);
                let Some(entry) = rest.get(..length).filter(|entry| entry.len() >= 4) else {
                    break;
                };
                match &entry[..2] {
                    b"NM" => name.extend_from_slice(entry.get(5..).unwrap_or(&[])),
                    b"CE" if entry.len() >= 28 => continued = Some(entry.to_vec()),
                    _ => {}
                }
                rest = &rest[length..];
            }
            let Some(entry) = continued else { break };
            let offset = u64::from(u32_at(&entry, 4)) * self.block + u64::from(u32_at(&entry, 12));
            let length = usize::try_from(u32_at(&entry, 20)).unwrap_or(0).min(2048);
            area = exact(self.device, offset, length)?;
        }
        Ok((!name.is_empty()).then(|| String::from_utf8_lossy(&name).into_owned()))
    }

    fn directory(&self, root: Extent) -> Result<Vec<u8>, Fault> {
        let length = usize::try_from(root.length).unwrap_or(usize::MAX);
        if length > DIRECTORY_MAX {
            return Err(Fault::Damaged("a directory is larger than 1 MiB"));
        }
        exact(self.device, u64::from(root.block) * self.block, length)
    }
}

/// The records of a directory; none crosses a sector, the rest of which is zero.
fn raw_records(directory: &[u8]) -> impl Iterator<Item = &[u8]> {
    directory.chunks(2048).flat_map(|sector| {
        let mut rest = sector;
        std::iter::from_fn(move || {
            let length = usize::from(*rest.first()?);
            if length < 34 || length > rest.len() {
                return None;
            }
            let (record, after) = rest.split_at(length);
            rest = after;
            Some(record)
        })
    })
}

fn extent(record: &[u8]) -> Extent {
    Extent { block: u32_at(record, 2), length: u32_at(record, 10) }
}

fn name_of(record: &[u8]) -> &[u8] {
    record.get(33..33 + usize::from(record[32])).unwrap_or(&[])
}

/// What stands behind the name, padded to an even length.
fn system_use(record: &[u8], skip: usize) -> &[u8] {
    let length = usize::from(record[32]);
    let start = 33 + length + usize::from(length % 2 == 0) + skip;
    record.get(start..).unwrap_or(&[])
}

/// `META_DAT.;1` without the version.
fn plain(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    let text = text.split(';').next().unwrap_or("");
    text.strip_suffix('.').unwrap_or(text).to_owned()
}

fn ucs2(name: &[u8]) -> String {
    let units: Vec<u16> =
        name.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    plain(String::from_utf16_lossy(&units).as_bytes())
}
