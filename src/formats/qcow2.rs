// SPDX-License-Identifier: Apache-2.0
//! qcow2, version 3: QEMU's own format.
//!
//! Specification: QEMU's `docs/interop/qcow2.rst`. Numbers are big-endian. A guest's cluster is
//! found by two levels of tables; one that is zero is nowhere in the file. How often a cluster of the
//! file is used is counted, too: once, but for those that hold compressed data, which is packed
//! without gaps. The order in the file is header, data, tables, counts, so that data is written while
//! it is read; the header is filled in last.

use std::io::{self, Seek, SeekFrom, Write};

use super::volume::Volume;

const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// Entries in a table of 8-byte numbers.
const ENTRIES: u64 = CLUSTER / 8;
/// Counts in a block of them; they have 16 bits.
const COUNTS: u64 = CLUSTER / 2;
/// Compressed data is measured in these.
const SECTOR: u64 = 512;
/// "This table or cluster is used once": it can be changed in place.
const USED_ONCE: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
/// Where the number of sectors begins in the entry of a compressed cluster.
const SECTORS_AT: u32 = 62 - (CLUSTER_BITS - 8);
/// Incompatible feature: the compression is not zlib's, a field of the header says which.
const OTHER_COMPRESSION: u64 = 1 << 3;
const HEADER_LEN: u32 = 112;
/// Of zstd: what takes no longer than reading the data does.
const LEVEL: i32 = 3;

/// What becomes of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    /// QEMU reads it since 5.1.
    Zstd,
}

/// Writes `volume` as a qcow2 image; `out` begins where it stands.
///
/// # Errors
/// The volume cannot be read, or `out` not be written.
pub fn write(
    volume: &Volume,
    compression: Compression,
    out: &mut (impl Write + Seek),
) -> io::Result<()> {
    let mut image = Image::begin(volume.len(), compression, out)?;
    let work = |cluster| Data::new(cluster, compression);
    volume.grains(CLUSTER as usize, work, |number, data| image.put(number, &data))?;
    image.finish()
}

/// A cluster as it will lie in the file.
enum Data {
    Whole(Vec<u8>),
    Compressed(Vec<u8>),
}

impl Data {
    fn new(mut cluster: Vec<u8>, compression: Compression) -> io::Result<Self> {
        // The disk may end inside of it.
        cluster.resize(CLUSTER as usize, 0);
        if compression == Compression::Zstd {
            let smaller = zstd::bulk::compress(&cluster, LEVEL)?;
            if smaller.len() < cluster.len() {
                return Ok(Self::Compressed(smaller));
            }
        }
        Ok(Self::Whole(cluster))
    }
}

/// An image as far as it is written.
struct Image<'a, W> {
    out: &'a mut W,
    start: u64,
    len: u64,
    compression: Compression,
    /// Where the next byte goes.
    position: u64,
    /// Second level: an entry for every cluster of the guest; tables of which none is used are empty.
    tables: Vec<Vec<u64>>,
    /// How often each cluster of the file is used.
    counts: Vec<u16>,
}

impl<'a, W: Write + Seek> Image<'a, W> {
    fn begin(len: u64, compression: Compression, out: &'a mut W) -> io::Result<Self> {
        let start = out.stream_position()?;
        // For the header.
        out.write_all(&vec![0; CLUSTER as usize])?;
        let n_tables = len.div_ceil(CLUSTER).div_ceil(ENTRIES);
        let tables = vec![Vec::new(); usize::try_from(n_tables).map_err(too_large)?];
        Ok(Self { out, start, len, compression, position: CLUSTER, tables, counts: vec![1] })
    }

    fn put(&mut self, number: u64, data: &Data) -> io::Result<()> {
        let entry = match data {
            Data::Whole(bytes) => {
                self.align()?;
                self.append(bytes, 1)? | USED_ONCE
            }
            Data::Compressed(bytes) => {
                let offset = self.append(bytes, 1)?;
                let last = (self.position - 1) / SECTOR;
                COMPRESSED | (last - offset / SECTOR) << SECTORS_AT | offset
            }
        };
        // Both are below the number of clusters, whose tables are in memory.
        let table = &mut self.tables[(number / ENTRIES) as usize];
        table.resize(ENTRIES as usize, 0);
        table[(number % ENTRIES) as usize] = entry;
        Ok(())
    }

    /// Writes bytes where the file ends so far, and says where that was.
    fn append(&mut self, bytes: &[u8], uses: u16) -> io::Result<u64> {
        let offset = self.position;
        self.out.write_all(bytes)?;
        self.position += bytes.len() as u64;
        let (first, last) = (offset / CLUSTER, (self.position - 1) / CLUSTER);
        let last = usize::try_from(last).map_err(too_large)?;
        self.counts.resize(self.counts.len().max(last + 1), 0);
        for count in &mut self.counts[first as usize..=last] {
            *count += uses;
        }
        Ok(offset)
    }

    /// Goes on with a new cluster.
    fn align(&mut self) -> io::Result<()> {
        let gap = self.position.next_multiple_of(CLUSTER) - self.position;
        self.out.write_all(&vec![0; gap as usize])?;
        self.position += gap;
        Ok(())
    }

    /// A table in clusters of its own.
    fn append_table(&mut self, entries: &[u64]) -> io::Result<u64> {
        self.align()?;
        let mut bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_be_bytes()).collect();
        bytes.resize(bytes.len().next_multiple_of(CLUSTER as usize), 0);
        self.append(&bytes, 1)
    }

    fn finish(mut self) -> io::Result<()> {
        let mut first_level = Vec::with_capacity(self.tables.len());
        for table in std::mem::take(&mut self.tables) {
            let entry = if table.is_empty() { 0 } else { self.append_table(&table)? | USED_ONCE };
            first_level.push(entry);
        }
        // An empty disk has no table, and yet a place for one.
        let l1_offset =
            self.append_table(if first_level.is_empty() { &[0] } else { &first_level })?;
        let (counts_offset, n_counts_clusters) = self.append_counts()?;
        let header = self.header(first_level.len(), l1_offset, counts_offset, n_counts_clusters)?;
        self.out.seek(SeekFrom::Start(self.start))?;
        self.out.write_all(&header)?;
        self.out.seek(SeekFrom::Start(self.start + self.position))?;
        Ok(())
    }

    /// Writes the counts, their own clusters among them, and the table of their blocks.
    fn append_counts(&mut self) -> io::Result<(u64, u32)> {
        self.align()?;
        let used = self.position / CLUSTER;
        let (mut n_blocks, mut n_table) = (0, 0);
        loop {
            let blocks = (used + n_blocks + n_table).div_ceil(COUNTS);
            let table = blocks.div_ceil(ENTRIES);
            if (blocks, table) == (n_blocks, n_table) {
                break;
            }
            (n_blocks, n_table) = (blocks, table);
        }
        let all = usize::try_from(used + n_blocks + n_table).map_err(too_large)?;
        self.counts.resize(all, 1);
        let mut bytes: Vec<u8> = self.counts.iter().flat_map(|count| count.to_be_bytes()).collect();
        bytes.resize((n_blocks * CLUSTER) as usize, 0);
        let first = self.append(&bytes, 0)?;
        let blocks: Vec<u64> = (0..n_blocks).map(|block| first + block * CLUSTER).collect();
        let mut bytes: Vec<u8> = blocks.iter().flat_map(|entry| entry.to_be_bytes()).collect();
        bytes.resize((n_table * CLUSTER) as usize, 0);
        Ok((self.append(&bytes, 0)?, u32::try_from(n_table).map_err(too_large)?))
    }

    fn header(
        &self,
        l1_len: usize,
        l1_offset: u64,
        counts_offset: u64,
        n_counts_clusters: u32,
    ) -> io::Result<Vec<u8>> {
        let (features, compression) = match self.compression {
            Compression::None => (0, 0),
            Compression::Zstd => (OTHER_COMPRESSION, 1),
        };
        let mut header = Vec::with_capacity(HEADER_LEN as usize + 8);
        header.extend(b"QFI\xfb");
        header.extend(3_u32.to_be_bytes());
        // No backing file.
        header.extend([0; 12]);
        header.extend(CLUSTER_BITS.to_be_bytes());
        header.extend(self.len.to_be_bytes());
        // No encryption.
        header.extend([0; 4]);
        header.extend(u32::try_from(l1_len).map_err(too_large)?.to_be_bytes());
        header.extend(l1_offset.to_be_bytes());
        header.extend(counts_offset.to_be_bytes());
        header.extend(n_counts_clusters.to_be_bytes());
        // No snapshots.
        header.extend([0; 12]);
        header.extend(u64::to_be_bytes(features));
        // Neither compatible features nor such that a writer would clear.
        header.extend([0; 16]);
        // Counts have 2^4 bits.
        header.extend(4_u32.to_be_bytes());
        header.extend(HEADER_LEN.to_be_bytes());
        header.push(compression);
        // To the header's end, and the extension that ends the list of extensions.
        header.resize(HEADER_LEN as usize + 8, 0);
        Ok(header)
    }
}

fn too_large<E>(_: E) -> io::Error {
    io::ErrorKind::FileTooLarge.into()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::formats::volume::tests::volume;

    fn written(volume: &Volume, compression: Compression) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        write(volume, compression, &mut out).unwrap();
        out.into_inner()
    }

    #[test]
    fn an_image_has_what_is_not_zero_and_little_else() {
        let disk = volume(10 << 30, &[(5, b"hello"), (7 << 30, &[1; 70_000])]);
        let bytes = written(&disk, Compression::None);
        // Header, three clusters, tables of two levels, counts and their table.
        assert_eq!(bytes.len() as u64, (1 + 3 + 2 + 1 + 2) * CLUSTER);
        assert_eq!(bytes[..4], *b"QFI\xfb");
        assert_eq!(bytes[CLUSTER as usize + 5..][..5], *b"hello");
    }

    #[test]
    fn compressed_clusters_lie_side_by_side() {
        let disk = volume(1 << 30, &[(0, &[1; 1 << 20])]);
        let bytes = written(&disk, Compression::Zstd);
        assert_eq!(bytes.len() as u64, (1 + 1 + 1 + 1 + 2) * CLUSTER);
        let count = |cluster: usize| {
            let at = 4 * CLUSTER as usize + 2 * cluster;
            u16::from_be_bytes([bytes[at], bytes[at + 1]])
        };
        assert_eq!([0, 1, 2, 3, 4, 5, 6].map(count), [1, 16, 1, 1, 1, 1, 0]);
    }
}
