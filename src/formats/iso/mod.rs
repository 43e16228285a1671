// SPDX-License-Identifier: Apache-2.0
//! ISO 9660 volumes of a few files in one folder: media for metadata.
//!
//! Specification: ECMA-119 (ISO 9660), with Joliet (names in UCS-2 by a second volume
//! descriptor) and Rock Ridge (RRIP 1.09 over SUSP 1.09: POSIX names in the records). Plain
//! names are 8.3, so `meta-data` only exists for readers of one of the two extensions; every
//! reader in use knows at least one, and both are written.
//!
//! Blocks: 16 system blocks, 3 volume descriptors, 4 path tables, the two root folders, the
//! continuation area of Rock Ridge, files.

pub mod boot;

use std::collections::BTreeMap;

/// Bytes of a logical block.
const BLOCK: usize = 2048;

/// Where things lie, in blocks. Both folders have a fixed room: see [`MAX_FILES`].
const PRIMARY: usize = 16;
const JOLIET: usize = 17;
const TERMINATOR: usize = 18;
const PATHS_LITTLE: u32 = 19;
const PATHS_BIG: u32 = 20;
const JOLIET_PATHS_LITTLE: u32 = 21;
const JOLIET_PATHS_BIG: u32 = 22;
const ROOT: u32 = 23;
const JOLIET_ROOT: u32 = 24;
const CONTINUATION: u32 = 25;
const FIRST_FILE: u32 = 26;

/// As many records of the largest size fit the one block of a folder.
const MAX_FILES: usize = 8;

/// Bytes of a path table with only the root.
const PATH_TABLE_LEN: u32 = 10;

/// Longest file name.
const MAX_NAME: usize = 32;

/// File flag of a directory.
const DIRECTORY: u8 = 2;

/// What a volume is, beside its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// At most 16 of A-Z, 0-9 and `_`, so that Joliet holds it too.
    pub label: String,
    /// Time of everything, seconds since 1970.
    pub mtime: u32,
}

/// Why a volume is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("'{label}' is no volume label: 1 to 16 of A-Z, 0-9, '_'")]
    BadLabel { label: String },
    #[error("'{name}' is no file name for the volume: 1 to {MAX_NAME} of a-z, 0-9, '-', '_', '.'")]
    BadName { name: String },
    #[error("{count} files: the volume's folder holds at most {MAX_FILES}")]
    TooMany { count: usize },
    #[error("the file '{name}' makes the volume larger than 4 GiB")]
    TooLarge { name: String },
}

/// A file and where its data lies.
struct Placed<'a> {
    name: &'a str,
    data: &'a [u8],
    block: u32,
    len: u32,
}

/// The volume's bytes.
///
/// # Errors
/// A label or name that a reader could not show, or too much data.
pub fn encode(volume: &Volume, files: &BTreeMap<String, Vec<u8>>) -> Result<Vec<u8>, Error> {
    check_label(&volume.label)?;
    let (placed, n_blocks) = place(files)?;
    let time = Time::new(volume.mtime);

    let mut bytes = vec![0; FIRST_FILE as usize * BLOCK];
    let mut put = |block: usize, data: &[u8]| {
        bytes[block * BLOCK..block * BLOCK + data.len()].copy_from_slice(data);
    };
    put(PRIMARY, &descriptor(&Descriptor::primary(volume, n_blocks), &time));
    put(JOLIET, &descriptor(&Descriptor::joliet(volume, n_blocks), &time));
    put(TERMINATOR, b"\xffCD001\x01");
    put(PATHS_LITTLE as usize, &path_table(ROOT.to_le_bytes(), 1_u16.to_le_bytes()));
    put(PATHS_BIG as usize, &path_table(ROOT.to_be_bytes(), 1_u16.to_be_bytes()));
    put(JOLIET_PATHS_LITTLE as usize, &path_table(JOLIET_ROOT.to_le_bytes(), 1_u16.to_le_bytes()));
    put(JOLIET_PATHS_BIG as usize, &path_table(JOLIET_ROOT.to_be_bytes(), 1_u16.to_be_bytes()));
    put(ROOT as usize, &rock_ridge_folder(&placed, &time));
    put(JOLIET_ROOT as usize, &joliet_folder(&placed, &time));
    put(CONTINUATION as usize, &extension_reference());
    for file in &placed {
        bytes.resize(file.block as usize * BLOCK, 0);
        bytes.extend_from_slice(file.data);
    }
    bytes.resize(n_blocks as usize * BLOCK, 0);
    Ok(bytes)
}

fn check_label(label: &str) -> Result<(), Error> {
    let fine = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    if label.is_empty() || label.len() > 16 || !label.bytes().all(fine) {
        return Err(Error::BadLabel { label: label.to_owned() });
    }
    Ok(())
}

/// Gives every file its blocks; the second value is the size of the volume.
fn place(files: &BTreeMap<String, Vec<u8>>) -> Result<(Vec<Placed<'_>>, u32), Error> {
    if files.len() > MAX_FILES {
        return Err(Error::TooMany { count: files.len() });
    }
    let fine =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    let mut block = FIRST_FILE;
    let mut placed = Vec::new();
    for (name, data) in files {
        if name.is_empty()
            || name.len() > MAX_NAME
            || name.starts_with('.')
            || !name.bytes().all(fine)
        {
            return Err(Error::BadName { name: name.escape_default().to_string() });
        }
        let too_large = || Error::TooLarge { name: name.clone() };
        let len = u32::try_from(data.len()).map_err(|_| too_large())?;
        placed.push(Placed { name, data, block, len });
        block = block.checked_add(len.div_ceil(BLOCK as u32)).ok_or_else(too_large)?;
    }
    Ok((placed, block))
}

/// What differs between the two volume descriptors.
struct Descriptor {
    kind: u8,
    /// Escape sequence that says "UCS-2 level 3".
    escape: &'static [u8],
    label: Vec<u8>,
    /// The padding character.
    blank: &'static [u8],
    n_blocks: u32,
    paths_little: u32,
    paths_big: u32,
    root: u32,
}

impl Descriptor {
    fn primary(volume: &Volume, n_blocks: u32) -> Self {
        Self {
            kind: 1,
            escape: b"",
            label: volume.label.as_bytes().to_vec(),
            blank: b" ",
            n_blocks,
            paths_little: PATHS_LITTLE,
            paths_big: PATHS_BIG,
            root: ROOT,
        }
    }

    fn joliet(volume: &Volume, n_blocks: u32) -> Self {
        Self {
            kind: 2,
            escape: b"%/E",
            label: ucs2(&volume.label),
            blank: b"\0 ",
            n_blocks,
            paths_little: JOLIET_PATHS_LITTLE,
            paths_big: JOLIET_PATHS_BIG,
            root: JOLIET_ROOT,
        }
    }
}

/// A volume descriptor (ECMA-119 8.4 and 8.5); the numbers are offsets from there, less 1.
fn descriptor(values: &Descriptor, time: &Time) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    let mut put = |at: usize, data: &[u8]| block[at..at + data.len()].copy_from_slice(data);
    // Texts that are not used are blank, not zero.
    for (at, len) in [(8, 32), (40, 32), (190, 128), (318, 128), (446, 128), (574, 128), (702, 111)]
    {
        let blanks: Vec<u8> = values.blank.iter().copied().cycle().take(len).collect();
        put(at, &blanks);
    }
    put(0, &[values.kind]);
    put(1, b"CD001\x01");
    put(40, &values.label);
    put(80, &both32(values.n_blocks));
    put(88, values.escape);
    put(120, &both16(1));
    put(124, &both16(1));
    put(128, &both16(BLOCK as u16));
    put(132, &both32(PATH_TABLE_LEN));
    put(140, &values.paths_little.to_le_bytes());
    put(148, &values.paths_big.to_be_bytes());
    put(156, &record(b"\0", values.root, BLOCK as u32, DIRECTORY, time, &[]));
    put(813, &time.long());
    put(830, &time.long());
    put(847, b"0000000000000000\0");
    put(864, b"0000000000000000\0");
    put(881, &[1]);
    block
}

/// The one record of a path table: the root is its own parent.
fn path_table(root: [u8; 4], parent: [u8; 2]) -> Vec<u8> {
    let mut table = vec![1, 0];
    table.extend_from_slice(&root);
    table.extend_from_slice(&parent);
    table.extend_from_slice(&[0, 0]);
    table
}

/// The primary folder: 8.3 names, Rock Ridge behind them.
fn rock_ridge_folder(files: &[Placed<'_>], time: &Time) -> Vec<u8> {
    const FOLDER_MODE: u32 = 0o040_555;
    const FILE_MODE: u32 = 0o100_444;
    let attributes = |mode, n_links| [posix(mode, n_links), stamp(time)].concat();
    let dot = [
        // SUSP is in use; nothing is skipped before its fields.
        b"SP\x07\x01\xbe\xef\x00".to_vec(),
        attributes(FOLDER_MODE, 2),
        continuation(),
    ]
    .concat();
    let mut folder = record(b"\0", ROOT, BLOCK as u32, DIRECTORY, time, &dot);
    let dot_dot = attributes(FOLDER_MODE, 2);
    folder.extend(record(b"\x01", ROOT, BLOCK as u32, DIRECTORY, time, &dot_dot));
    let mut records: Vec<(String, Vec<u8>)> = Vec::new();
    for (number, file) in (1..).zip(files) {
        let plain = plain_name(file.name, number);
        let fields = [attributes(FILE_MODE, 1), alternate_name(file.name)].concat();
        let record = record(plain.as_bytes(), file.block, file.len, 0, time, &fields);
        records.push((plain, record));
    }
    // ECMA-119 9.3: in the order of the plain names.
    records.sort();
    folder.extend(records.into_iter().flat_map(|(_, record)| record));
    folder
}

fn joliet_folder(files: &[Placed<'_>], time: &Time) -> Vec<u8> {
    let mut folder = record(b"\0", JOLIET_ROOT, BLOCK as u32, DIRECTORY, time, &[]);
    folder.extend(record(b"\x01", JOLIET_ROOT, BLOCK as u32, DIRECTORY, time, &[]));
    for file in files {
        folder.extend(record(&ucs2(file.name), file.block, file.len, 0, time, &[]));
    }
    folder
}

/// An 8.3 name of d-characters that no other file has: `META_D_1.;1`.
fn plain_name(name: &str, number: u32) -> String {
    let fitting = |byte: u8| if byte.is_ascii_alphanumeric() { byte as char } else { '_' };
    let stem: String = name.bytes().map(fitting).take(6).collect();
    format!("{}_{number}.;1", stem.to_ascii_uppercase())
}

/// A directory record (ECMA-119 9.1).
fn record(name: &[u8], block: u32, len: u32, flags: u8, time: &Time, fields: &[u8]) -> Vec<u8> {
    let mut record = vec![0, 0];
    record.extend_from_slice(&both32(block));
    record.extend_from_slice(&both32(len));
    record.extend_from_slice(&time.short());
    record.extend_from_slice(&[flags, 0, 0]);
    record.extend_from_slice(&both16(1));
    // Names are at most 64 bytes, and the fields that go with them fit beside them.
    record.push(name.len() as u8);
    record.extend_from_slice(name);
    if name.len().is_multiple_of(2) {
        record.push(0);
    }
    record.extend_from_slice(fields);
    if record.len() % 2 == 1 {
        record.push(0);
    }
    record[0] = u8::try_from(record.len()).expect("short names make short records");
    record
}

/// RRIP PX: mode, links, owner, group.
fn posix(mode: u32, n_links: u32) -> Vec<u8> {
    let mut field = b"PX\x24\x01".to_vec();
    for number in [mode, n_links, 0, 0] {
        field.extend_from_slice(&both32(number));
    }
    field
}

/// RRIP TF: time of the last change.
fn stamp(time: &Time) -> Vec<u8> {
    [&b"TF\x0c\x01\x02"[..], &time.short()].concat()
}

/// RRIP NM: the POSIX name.
fn alternate_name(name: &str) -> Vec<u8> {
    // MAX_NAME bounds it.
    [&[b'N', b'M', 5 + name.len() as u8, 1, 0], name.as_bytes()].concat()
}

/// SUSP CE: where the folder's fields go on, because ER does not fit its record.
fn continuation() -> Vec<u8> {
    let mut field = b"CE\x1c\x01".to_vec();
    // The length fits: the text is a constant of less than a block.
    for number in [CONTINUATION, 0, extension_reference().len() as u32] {
        field.extend_from_slice(&both32(number));
    }
    field
}

/// SUSP ER: the extension that is in use.
fn extension_reference() -> Vec<u8> {
    const ID: &[u8] = b"RRIP_1991A";
    const TEXT: &[u8] = b"THE ROCK RIDGE INTERCHANGE PROTOCOL PROVIDES SUPPORT FOR POSIX FILE \
        SYSTEM SEMANTICS";
    const SOURCE: &[u8] =
        b"PLEASE CONTACT DISC PUBLISHER FOR SPECIFICATION SOURCE.  SEE PUBLISHER \
        IDENTIFIER IN PRIMARY VOLUME DESCRIPTOR FOR CONTACT INFORMATION.";
    const LEN: usize = 8 + ID.len() + TEXT.len() + SOURCE.len();
    const _: () = assert!(LEN < 256);
    let head = [b'E', b'R', LEN as u8, 1, ID.len() as u8, TEXT.len() as u8, SOURCE.len() as u8, 1];
    [&head[..], ID, TEXT, SOURCE].concat()
}

fn ucs2(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

/// Both byte orders, little first.
fn both16(value: u16) -> [u8; 4] {
    let [[a, b], [c, d]] = [value.to_le_bytes(), value.to_be_bytes()];
    [a, b, c, d]
}

fn both32(value: u32) -> [u8; 8] {
    let [[a, b, c, d], [e, f, g, h]] = [value.to_le_bytes(), value.to_be_bytes()];
    [a, b, c, d, e, f, g, h]
}

/// A time in UTC.
struct Time {
    year: u32,
    month: u32,
    day: u32,
    second_of_day: u32,
}

impl Time {
    fn new(mtime: u32) -> Self {
        let (year, month, day) = crate::formats::calendar::civil(mtime / 86_400);
        Self { year, month, day, second_of_day: mtime % 86_400 }
    }

    fn clock(&self) -> (u32, u32, u32) {
        let second = self.second_of_day;
        (second / 3600, second / 60 % 60, second % 60)
    }

    /// ECMA-119 9.1.5. A 32-bit time ends in 2106, so years since 1900 fit a byte.
    fn short(&self) -> [u8; 7] {
        let (hour, minute, second) = self.clock();
        [self.year - 1900, self.month, self.day, hour, minute, second, 0].map(|part| part as u8)
    }

    /// ECMA-119 8.4.26.1: digits, hundredths, offset from UTC.
    fn long(&self) -> Vec<u8> {
        let (hour, minute, second) = self.clock();
        let Self { year, month, day, .. } = self;
        format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}00\0").into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume() -> Volume {
        Volume { label: "CIDATA".into(), mtime: 1_709_210_097 }
    }

    fn files() -> BTreeMap<String, Vec<u8>> {
        BTreeMap::from([
            ("meta-data".into(), b"instance-id: a\n".to_vec()),
            ("network-config".into(), vec![b'#'; 5000]),
            ("user-data".into(), Vec::new()),
        ])
    }

    #[test]
    fn descriptors_have_these_bytes() {
        let bytes = encode(&volume(), &files()).unwrap();
        let primary = &bytes[16 * BLOCK..];
        assert_eq!(primary[..7], *b"\x01CD001\x01");
        assert_eq!(primary[40..50], *b"CIDATA    ");
        // 26 blocks before the files, 1 + 3 + 0 of files.
        assert_eq!(primary[80..88], [30, 0, 0, 0, 0, 0, 0, 30]);
        assert_eq!(primary[813..830], *b"2024022912345700\0");
        let joliet = &bytes[17 * BLOCK..];
        assert_eq!(joliet[..7], *b"\x02CD001\x01");
        assert_eq!(joliet[40..54], *b"\0C\0I\0D\0A\0T\0A\0 ");
        assert_eq!(bytes.len(), 30 * BLOCK);
    }

    #[test]
    fn data_lies_where_the_records_say() {
        let bytes = encode(&volume(), &files()).unwrap();
        let folder = &bytes[JOLIET_ROOT as usize * BLOCK..][..BLOCK];
        let mut found = BTreeMap::new();
        let mut at = 68;
        while folder[at] != 0 {
            let record = &folder[at..at + usize::from(folder[at])];
            let number = |at: usize| u32::from_le_bytes(record[at..at + 4].try_into().unwrap());
            let name = record[33..33 + usize::from(record[32])].chunks(2).map(|c| c[1] as char);
            let start = number(2) as usize * BLOCK;
            let data = bytes[start..start + number(10) as usize].to_vec();
            found.insert(name.collect::<String>(), data);
            at += record.len();
        }
        assert_eq!(found, files());
    }

    #[test]
    fn the_largest_folder_fits_its_block() {
        let files = (0..8_u8).map(|n| (format!("{n}{}", "x".repeat(31)), vec![n])).collect();
        let bytes = encode(&volume(), &files).unwrap();
        let placed = place(&files).unwrap().0;
        let time = Time::new(0);
        assert!(rock_ridge_folder(&placed, &time).len() <= BLOCK);
        assert!(joliet_folder(&placed, &time).len() <= BLOCK);
        assert_eq!(bytes.len(), 34 * BLOCK);
    }

    #[test]
    fn what_readers_could_not_show_is_refused() {
        let name = |name: &str| {
            encode(&volume(), &BTreeMap::from([(name.to_owned(), Vec::new())])).unwrap_err()
        };
        for bad in ["", "Meta", "a/b", "a b", ".hidden", "é", &"a".repeat(33)] {
            assert_eq!(name(bad), Error::BadName { name: bad.escape_default().to_string() });
        }
        let label = Volume { label: "cidata".into(), ..volume() };
        assert_eq!(encode(&label, &files()), Err(Error::BadLabel { label: "cidata".into() }));
        let many = (0..9).map(|n| (n.to_string(), Vec::new())).collect();
        assert_eq!(encode(&volume(), &many), Err(Error::TooMany { count: 9 }));
    }
}
