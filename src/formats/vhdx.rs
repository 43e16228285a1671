// SPDX-License-Identifier: Apache-2.0
//! VHDX: the virtual disk of Hyper-V machines that start by UEFI.
//!
//! Specification: Microsoft's MS-VHDX. Numbers are little-endian. In the first MiB lie the
//! identification, two headers, and two tables of regions; then an empty log, metadata that says how
//! large the disk is, and the table of its blocks; then the blocks that are not zero, in the order of
//! the disk. The table of blocks is written last, into the place that was kept for it.

use std::io::{self, Seek, SeekFrom, Write};

use crc::{CRC_32_ISCSI, Crc};
use uuid::{Uuid, uuid};

use super::volume::Volume;
use crate::digest::Digest;

const MIB: u64 = 1 << 20;
const KIB_64: usize = 64 << 10;
/// A block: the smallest that there is, so that little of one is zero.
const BLOCK: u64 = MIB;
/// Sectors that a program sees, and those of the medium below.
const LOGICAL_SECTOR: u32 = 512;
const PHYSICAL_SECTOR: u32 = 4096;
/// So many blocks' entries are followed by one of a bitmap that only differencing disks have
/// (section 2.5: 2^23 logical sectors by the size of a block).
const CHUNK: u64 = (1 << 23) * LOGICAL_SECTOR as u64 / BLOCK;
const LOG: u64 = MIB;
const METADATA: u64 = 2 * MIB;
const BLOCKS_TABLE: u64 = 3 * MIB;
const BLOCKS_REGION: Uuid = uuid!("2dc27766-f623-4200-9d64-115e9bfd4a08");
const METADATA_REGION: Uuid = uuid!("8b7ca206-4790-4b9a-b8fe-575f050f886e");
/// States of a block (section 2.5.1.1).
const ZERO: u64 = 2;
const FULLY_PRESENT: u64 = 6;
/// Flags of metadata: about the disk, not the file; must be understood.
const OF_DISK: u32 = 2;
const REQUIRED: u32 = 4;
const CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// Writes `volume` as a VHDX image; `out` begins where it stands, `id` makes the disk known again.
///
/// # Errors
/// The volume is no multiple of 512 bytes or cannot be read, or `out` not be written.
pub fn write(volume: &Volume, id: &Digest, out: &mut (impl Write + Seek)) -> io::Result<()> {
    if !volume.len().is_multiple_of(u64::from(LOGICAL_SECTOR)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let start = out.stream_position()?;
    let n_blocks = volume.len().div_ceil(BLOCK);
    let n_entries = n_blocks + n_blocks.saturating_sub(1) / CHUNK;
    let table_len = (n_entries * 8).next_multiple_of(MIB).max(MIB);
    out.write_all(&head(id, table_len)?)?;
    out.write_all(&metadata(volume.len(), id))?;
    out.seek(SeekFrom::Current(i64::try_from(table_len).map_err(too_large)?))?;

    let mut table = vec![ZERO; usize::try_from(n_entries).map_err(too_large)?];
    for bitmap in (1..=n_entries / (CHUNK + 1)).map(|chunk| chunk * (CHUNK + 1) - 1) {
        // Never there.
        table[bitmap as usize] = 0;
    }
    let mut place = BLOCKS_TABLE + table_len;
    let whole = |mut block: Vec<u8>| {
        // The disk may end inside of it.
        block.resize(BLOCK as usize, 0);
        Ok(block)
    };
    volume.grains(BLOCK as usize, whole, |number, block| {
        out.write_all(&block)?;
        table[(number + number / CHUNK) as usize] = place | FULLY_PRESENT;
        place += BLOCK;
        Ok(())
    })?;
    let mut table: Vec<u8> = table.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    table.resize(usize::try_from(table_len).map_err(too_large)?, 0);
    out.seek(SeekFrom::Start(start + BLOCKS_TABLE))?;
    out.write_all(&table)?;
    out.seek(SeekFrom::Start(start + place))?;
    Ok(())
}

/// The first two MiB: identification, headers, regions, the log.
fn head(id: &Digest, table_len: u64) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(2 * MIB as usize);
    head.extend(b"vhdxfile");
    head.extend("Kiln".encode_utf16().flat_map(u16::to_le_bytes));
    head.resize(KIB_64, 0);
    for sequence in [1, 2] {
        let at = head.len();
        head.extend(header(sequence, id));
        head.resize(at + KIB_64, 0);
    }
    let regions = regions(u32::try_from(table_len).map_err(too_large)?);
    head.extend(&regions);
    head.extend(&regions);
    head.resize(2 * MIB as usize, 0);
    Ok(head)
}

/// Section 2.2.2. The one with the higher number is in force.
fn header(sequence: u64, id: &Digest) -> Vec<u8> {
    let mut header = b"head\0\0\0\0".to_vec();
    header.extend(sequence.to_le_bytes());
    header.extend(id.uuid("vhdx file").to_bytes_le());
    header.extend(id.uuid("vhdx data").to_bytes_le());
    // The log is empty, its version is 0, the format's is 1.
    header.extend([0; 16]);
    header.extend([0, 0, 1, 0]);
    header.extend((MIB as u32).to_le_bytes());
    header.extend(LOG.to_le_bytes());
    header.resize(4096, 0);
    with_checksum(header)
}

/// Section 2.2.3.
fn regions(table_len: u32) -> Vec<u8> {
    let mut regions = b"regi\0\0\0\0".to_vec();
    regions.extend(2_u32.to_le_bytes());
    regions.extend([0; 4]);
    for (region, offset, len) in
        [(BLOCKS_REGION, BLOCKS_TABLE, table_len), (METADATA_REGION, METADATA, MIB as u32)]
    {
        regions.extend(region.to_bytes_le());
        regions.extend(offset.to_le_bytes());
        regions.extend(len.to_le_bytes());
        // Who does not know it must not open the file.
        regions.extend(1_u32.to_le_bytes());
    }
    regions.resize(KIB_64, 0);
    with_checksum(regions)
}

/// Fills in the checksum, which follows the signature and covers the whole.
fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = CRC32C.checksum(&bytes);
    bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Section 2.6: a table, and from 64 KiB on what it names.
fn metadata(len: u64, id: &Digest) -> Vec<u8> {
    let parameters = [(BLOCK as u32).to_le_bytes(), [0; 4]].concat();
    let disk = |value: Vec<u8>| (OF_DISK | REQUIRED, value);
    let items = [
        (uuid!("caa16737-fa36-4d43-b3b6-33f0aa44e76b"), (REQUIRED, parameters)),
        (uuid!("2fa54224-cd1b-4876-b211-5dbed83bf4b8"), disk(len.to_le_bytes().to_vec())),
        (
            uuid!("beca12ab-b2e6-4523-93ef-c309e000c746"),
            disk(id.uuid("vhdx disk").to_bytes_le().to_vec()),
        ),
        (
            uuid!("8141bf1d-a96f-4709-ba47-f233a8faab5f"),
            disk(LOGICAL_SECTOR.to_le_bytes().to_vec()),
        ),
        (
            uuid!("cda348c7-445d-4471-9cc9-e9885251c556"),
            disk(PHYSICAL_SECTOR.to_le_bytes().to_vec()),
        ),
    ];
    let mut table = b"metadata\0\0".to_vec();
    table.extend((items.len() as u16).to_le_bytes());
    table.extend([0; 20]);
    let mut values = Vec::new();
    for (item, (flags, value)) in items {
        table.extend(item.to_bytes_le());
        table.extend(((KIB_64 + values.len()) as u32).to_le_bytes());
        table.extend((value.len() as u32).to_le_bytes());
        table.extend(flags.to_le_bytes());
        table.extend([0; 4]);
        values.extend(value);
    }
    table.resize(KIB_64, 0);
    table.extend(values);
    table.resize(MIB as usize, 0);
    table
}

fn too_large<E>(_: E) -> io::Error {
    io::ErrorKind::FileTooLarge.into()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::formats::volume::tests::volume;

    #[test]
    fn the_table_finds_every_block() {
        // Behind the first chunk, whose bitmap has an entry too.
        let disk = volume(5 << 30, &[(MIB + 7, b"hello"), (4096 * MIB, b"x")]);
        let mut out = Cursor::new(Vec::new());
        write(&disk, &Digest::of(b"id"), &mut out).unwrap();
        let bytes = out.into_inner();
        assert_eq!(bytes.len() as u64, 6 * MIB);
        let entry = |n: usize| {
            let at = 3 * MIB as usize + 8 * n;
            u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
        };
        assert_eq!([0, 1, 2].map(entry), [ZERO, (4 * MIB) | FULLY_PRESENT, ZERO]);
        assert_eq!([4096, 4097].map(entry), [0, (5 * MIB) | FULLY_PRESENT]);
        assert_eq!(bytes[4 * MIB as usize + 7..][..5], *b"hello");
    }

    #[test]
    fn checksums_are_those_of_the_specification() {
        assert_eq!(CRC32C.checksum(b"123456789"), 0xe306_9283);
        let header = header(1, &Digest::of(b"id"));
        let mut others = header.clone();
        others[4..8].fill(0);
        assert_eq!(header[4..8], CRC32C.checksum(&others).to_le_bytes());
    }
}
