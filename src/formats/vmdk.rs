// SPDX-License-Identifier: Apache-2.0
//! VMDK, "streamOptimized": the form of a virtual disk that VMware imports, and OVF carries.
//!
//! Specification: VMware's "Virtual Disk Format 5.0", sections "Hosted Sparse Extents" and
//! "Stream-Optimized Compressed Sparse Extents". Numbers are little-endian, places are counted in
//! sectors of 512 bytes. A header and a text that describes the disk come first. Then come, each
//! behind a marker: the grains that are not zero, compressed; behind the grains of 32 MiB the table
//! that finds them; the directory of the tables; the header again, which now knows where the
//! directory is. Nothing that was written is changed, so the file can be read and written as a stream.

use std::io::{self, Write};

use flate2::{Compression, write::ZlibEncoder};

use super::volume::Volume;
use crate::digest::Digest;

const SECTOR: u64 = 512;
/// Sectors of a grain.
const GRAIN: u64 = 128;
/// Grains that one table finds.
const ENTRIES: u64 = 512;
/// Sectors that the text has, and sectors before the first grain.
const DESCRIPTOR: u64 = 20;
const OVERHEAD: u64 = 128;
/// "The directory is where the footer says."
const AT_END: u64 = u64::MAX;
/// Line ends can be trusted; grains are compressed; there are markers.
const FLAGS: u32 = 1 | 1 << 16 | 1 << 17;
const DEFLATE: u16 = 1;
/// The geometry that BIOSes of disks beyond 8 GiB pretend, which nobody uses any more.
const HEADS: u64 = 255;
const SECTORS_PER_TRACK: u64 = 63;

/// What a marker announces.
#[derive(Clone, Copy)]
enum Marker {
    End = 0,
    Table = 1,
    Directory = 2,
    Footer = 3,
}

/// Writes `volume` as a VMDK that calls itself `name`; `id` makes it known again.
///
/// # Errors
/// The volume is no multiple of 512 bytes or cannot be read, or `out` not be written.
pub fn write(volume: &Volume, name: &str, id: &Digest, out: &mut impl Write) -> io::Result<()> {
    if !volume.len().is_multiple_of(SECTOR) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut image = Image::begin(volume.len() / SECTOR, name, id, out)?;
    let grain_len = (GRAIN * SECTOR) as usize;
    let work = |mut grain: Vec<u8>| {
        // The disk may end inside of it.
        grain.resize(grain_len, 0);
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&grain)?;
        encoder.finish()
    };
    volume.grains(grain_len, work, |number, data| image.put(number, &data))?;
    image.finish()
}

/// An image as far as it is written.
struct Image<'a, W> {
    out: &'a mut W,
    /// Of the disk, in sectors.
    capacity: u64,
    /// Where the next byte goes, in sectors.
    position: u64,
    directory: Vec<u32>,
    /// The table that is being filled, and its number.
    table: Vec<u32>,
    number: u64,
}

impl<'a, W: Write> Image<'a, W> {
    fn begin(capacity: u64, name: &str, id: &Digest, out: &'a mut W) -> io::Result<Self> {
        let n_tables = capacity.div_ceil(GRAIN * ENTRIES);
        let directory = vec![0; usize::try_from(n_tables).map_err(too_large)?];
        let table = vec![0; ENTRIES as usize];
        let mut image = Self { out, capacity, position: 0, directory, table, number: 0 };
        let text = descriptor(capacity, name, id);
        if text.len() as u64 > DESCRIPTOR * SECTOR {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut head = image.header(AT_END);
        head.extend(text.as_bytes());
        head.resize((OVERHEAD * SECTOR) as usize, 0);
        image.append(&head)?;
        Ok(image)
    }

    fn put(&mut self, number: u64, data: &[u8]) -> io::Result<()> {
        if number / ENTRIES != self.number {
            self.end_table()?;
            self.number = number / ENTRIES;
        }
        self.table[(number % ENTRIES) as usize] = self.here()?;
        let mut grain = Vec::with_capacity(data.len() + SECTOR as usize);
        grain.extend((number * GRAIN).to_le_bytes());
        grain.extend(u32::try_from(data.len()).map_err(too_large)?.to_le_bytes());
        grain.extend(data);
        self.append(&grain)
    }

    /// Writes the table, if something is in it.
    fn end_table(&mut self) -> io::Result<()> {
        let table = std::mem::replace(&mut self.table, vec![0; ENTRIES as usize]);
        if table.iter().any(|entry| *entry != 0) {
            self.mark(Marker::Table, ENTRIES * 4 / SECTOR)?;
            self.directory[self.number as usize] = self.here()?;
            self.append(&numbers(&table))?;
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        self.end_table()?;
        let directory = numbers(&self.directory);
        self.mark(Marker::Directory, (directory.len() as u64).div_ceil(SECTOR))?;
        let place = self.position;
        self.append(&directory)?;
        self.mark(Marker::Footer, 1)?;
        let footer = self.header(place);
        self.append(&footer)?;
        self.mark(Marker::End, 0)
    }

    /// Announces so many sectors.
    fn mark(&mut self, marker: Marker, n_sectors: u64) -> io::Result<()> {
        let mut bytes = n_sectors.to_le_bytes().to_vec();
        // No size: it is no grain.
        bytes.extend([0; 4]);
        bytes.extend((marker as u32).to_le_bytes());
        self.append(&bytes)
    }

    /// Writes bytes, to the end of a sector.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let n_sectors = (bytes.len() as u64).div_ceil(SECTOR);
        self.out.write_all(bytes)?;
        self.out.write_all(&vec![0; (n_sectors * SECTOR) as usize - bytes.len()])?;
        self.position += n_sectors;
        Ok(())
    }

    /// The place of what is written next, as tables have it.
    fn here(&self) -> io::Result<u32> {
        u32::try_from(self.position).map_err(too_large)
    }

    /// A sector.
    fn header(&self, directory: u64) -> Vec<u8> {
        let mut header = Vec::with_capacity(SECTOR as usize);
        header.extend(b"KDMV");
        header.extend(3_u32.to_le_bytes());
        header.extend(FLAGS.to_le_bytes());
        header.extend(self.capacity.to_le_bytes());
        header.extend(GRAIN.to_le_bytes());
        header.extend(1_u64.to_le_bytes());
        header.extend(DESCRIPTOR.to_le_bytes());
        header.extend((ENTRIES as u32).to_le_bytes());
        // No second directory.
        header.extend(0_u64.to_le_bytes());
        header.extend(directory.to_le_bytes());
        header.extend(OVERHEAD.to_le_bytes());
        // It was closed properly. Then four characters that a transfer as text would change.
        header.push(0);
        header.extend(b"\n \r\n");
        header.extend(DEFLATE.to_le_bytes());
        header.resize(SECTOR as usize, 0);
        header
    }
}

/// The text that describes the disk.
fn descriptor(capacity: u64, name: &str, id: &Digest) -> String {
    let id = id.derive("vmdk").to_string();
    let cylinders = (capacity / (HEADS * SECTORS_PER_TRACK)).min(65535);
    // Of the content's numbers, these two mean that there is none.
    let cid = match &id[..8] {
        "fffffffe" | "ffffffff" => "00000001",
        other => other,
    };
    format!(
        "# Disk DescriptorFile\n\
         version=1\n\
         CID={cid}\n\
         parentCID=ffffffff\n\
         createType=\"streamOptimized\"\n\
         \n\
         # Extent description\n\
         RW {capacity} SPARSE \"{name}\"\n\
         \n\
         # The Disk Data Base\n\
         #DDB\n\
         \n\
         ddb.adapterType = \"lsilogic\"\n\
         ddb.encoding = \"UTF-8\"\n\
         ddb.geometry.cylinders = \"{cylinders}\"\n\
         ddb.geometry.heads = \"{HEADS}\"\n\
         ddb.geometry.sectors = \"{SECTORS_PER_TRACK}\"\n\
         ddb.longContentID = \"{}\"\n\
         ddb.virtualHWVersion = \"13\"\n",
        &id[8..40]
    )
}

fn numbers(entries: &[u32]) -> Vec<u8> {
    entries.iter().flat_map(|entry| entry.to_le_bytes()).collect()
}

fn too_large<E>(_: E) -> io::Error {
    io::ErrorKind::FileTooLarge.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::volume::tests::volume;

    fn written(volume: &Volume) -> Vec<u8> {
        let mut out = Vec::new();
        write(volume, "disk.vmdk", &Digest::of(b"id"), &mut out).unwrap();
        out
    }

    /// The number at this place.
    fn number(bytes: &[u8], at: usize) -> usize {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
    }

    #[test]
    fn the_footer_finds_every_grain() {
        let disk = volume(1 << 30, &[(5, b"hello"), (40 << 20, &[1; 10]), (700 << 20, b"x")]);
        let bytes = written(&disk);
        assert!(bytes.len() < 80_000, "{}", bytes.len());
        let footer = bytes.len() - 1024;
        assert_eq!(bytes[footer..footer + 4], *b"KDMV");
        let directory = number(&bytes, footer + 56) * 512;
        let table = |n: usize| number(&bytes, directory + 4 * n) * 512;
        for (place, grain) in [(0, 0), (1, 640), (21, 11_200)] {
            let at = number(&bytes, table(place) + 4 * (grain % 512)) * 512;
            assert_eq!(number(&bytes, at), grain * 128);
        }
        assert_eq!([2, 20, 31].map(table), [0; 3]);
        assert_eq!(bytes[footer + 512..], [0; 512]);
    }

    #[test]
    fn the_description_is_a_text() {
        let bytes = written(&volume(1 << 30, &[]));
        let text = String::from_utf8_lossy(&bytes[512..]).into_owned();
        assert!(text.contains("RW 2097152 SPARSE \"disk.vmdk\"\n"), "{text}");
        assert!(text.contains("parentCID=ffffffff\n"));
    }

    #[test]
    fn a_disk_has_whole_sectors() {
        let error = write(&Volume::new(1000), "d", &Digest::of(b""), &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
