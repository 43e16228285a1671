// SPDX-License-Identifier: Apache-2.0
//! GRUB for legacy firmware: the program of a disk's first sector, and the core image that it starts.
//!
//! Specification: GRUB 2.06 to 2.12, `include/grub/offsets.h` and `include/grub/kernel.h`; layout as
//! grub-mkimage and grub-bios-setup write it for `i386-pc`, without error correction. A core image
//! is one sector that loads the others by a list of blocks, a decompressor, and a bare LZMA stream
//! (64 KiB window, lc=3, lp=0, pb=2). In the stream the kernel is followed by objects: modules, each
//! behind what it needs, a script, and the folder that GRUB reads its own files from.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read as _, Write as _},
};

use super::gpt::BOOT_CODE;
use crate::tree::Content;

/// Bytes per sector, and of the two programs that have one.
const SECTOR: usize = 512;
/// Where the boot sector has the number of the core image's first sector.
const KERNEL_SECTOR: usize = 0x5c;
/// Where it has the drive; 255 is the one that firmware names.
const BOOT_DRIVE: usize = 0x64;
const DRIVE_OF_FIRMWARE: u8 = 0xff;
/// Where it jumps over a check of that drive. grub-bios-setup lets hard disks be checked, because
/// some firmware names drive 0 or 1 and means the first disk.
const DRIVE_CHECK: usize = 0x66;
const SHORT_JUMP: u8 = 0xeb;
const NO_OPERATION: [u8; 2] = [0x90, 0x90];
/// Where the core image's first sector has its list of blocks: first sector (8 bytes), count (2), segment (2).
const BLOCK_LIST: usize = SECTOR - 12;
/// Segment of address 0x8200, behind the core image's first sector.
const SECOND_SEGMENT: [u8; 2] = 0x820_u16.to_le_bytes();
/// Where the decompressor has both sizes of what it unpacks.
const COMPRESSED_SIZE: usize = 0x08;
const UNCOMPRESSED_SIZE: usize = 0x0c;
/// Where its code may begin at the earliest, behind these and four further fields.
const DECOMPRESSOR_HEADER: usize = 0x1c;
/// Address that the decompressor is loaded to, and that the kernel is linked to.
const DECOMPRESSOR_ADDRESS: usize = 0x8200;
const LINK_ADDRESS: usize = 0x9000;
/// Memory ends here for the kernel with its variables, and for the compressed image.
const KERNEL_END: usize = 0x68000;
const IMAGE_END: usize = 0x78000;
/// Most bytes of anything in the stream; memory has room for much less.
const SIZE_LIMIT: usize = 1 << 26;
/// "gmim", before the objects; then the offset of the first and the size of all, headers included.
const MODULE_MAGIC: u32 = 0x676d_696d;
const INFO_LEN: usize = 12;
const OBJECT_HEADER: usize = 8;
/// LZMA's window, and its properties as one byte.
const WINDOW: u32 = 1 << 16;
const PROPERTIES: u8 = (2 * 5) * 9 + 3;

/// Kinds of objects.
const OBJECT_MODULE: u32 = 0;
const OBJECT_CONFIG: u32 = 2;
const OBJECT_PREFIX: u32 = 3;

/// What a core image is made of.
#[derive(Debug, Clone, Copy)]
pub struct Core<'a> {
    /// GRUB's files for `i386-pc` by name: `kernel.img`, `normal.mod`, `moddep.lst`.
    pub files: &'a BTreeMap<String, Content>,
    /// Modules by name; what they need comes along.
    pub modules: &'a [&'a str],
    /// Commands for the simplest of GRUB's parsers, one per line; they run first.
    pub script: &'a str,
    /// `(,gpt1)/loader`: a folder on a partition of the disk that was booted.
    pub prefix: &'a str,
}

/// Why there is no core image or boot sector.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("GRUB's files lack '{name}'")]
    Missing { name: String },
    #[error("reading '{name}' of GRUB: {source}")]
    Read { name: String, source: io::Error },
    #[error("GRUB's '{name}' is not what this kiln knows: {what}")]
    Unknown { name: &'static str, what: &'static str },
    #[error("GRUB's core image takes {len} bytes of memory, {limit} are there")]
    TooLarge { len: usize, limit: usize },
    #[error("compressing GRUB's core image: {0}")]
    Compress(io::Error),
    #[error("GRUB's core image is damaged: {0}")]
    Damaged(&'static str),
}

/// The first [`BOOT_CODE`] bytes of a disk whose core image begins at block `first_lba`.
///
/// # Errors
/// `boot.img` is missing or has another form.
pub fn boot_code(files: &BTreeMap<String, Content>, first_lba: u64) -> Result<Vec<u8>, Error> {
    let mut sector = sector(files, "boot.img")?;
    if sector[DRIVE_CHECK] != SHORT_JUMP || sector[BOOT_DRIVE] != DRIVE_OF_FIRMWARE {
        return Err(Error::Unknown { name: "boot.img", what: "no jump over the drive's check" });
    }
    put(&mut sector, KERNEL_SECTOR, &first_lba.to_le_bytes());
    put(&mut sector, DRIVE_CHECK, &NO_OPERATION);
    sector.truncate(BOOT_CODE);
    Ok(sector)
}

impl Core<'_> {
    /// The image's bytes, whole sectors, for a partition that begins at block `first_lba`.
    ///
    /// # Errors
    /// GRUB's files are incomplete or of another form, or memory would not hold the image.
    pub fn encode(&self, first_lba: u64) -> Result<Vec<u8>, Error> {
        let payload = self.payload()?;
        let stream = compress(&payload).map_err(Error::Compress)?;
        let mut image = decompressor(self.files)?;
        put(&mut image, COMPRESSED_SIZE, &size_of(&stream)?.to_le_bytes());
        put(&mut image, UNCOMPRESSED_SIZE, &size_of(&payload)?.to_le_bytes());
        image.extend(stream);
        let limit = IMAGE_END - LINK_ADDRESS;
        if image.len() > limit {
            return Err(Error::TooLarge { len: image.len(), limit });
        }
        image.resize(image.len().next_multiple_of(SECTOR), 0);

        let mut core = sector(self.files, "diskboot.img")?;
        if core[BLOCK_LIST + 10..] != SECOND_SEGMENT {
            return Err(Error::Unknown { name: "diskboot.img", what: "no list of blocks" });
        }
        let n_sectors = u16::try_from(image.len() / SECTOR).expect("a few hundred");
        put(&mut core, BLOCK_LIST, &(first_lba + 1).to_le_bytes());
        put(&mut core, BLOCK_LIST + 8, &n_sectors.to_le_bytes());
        core.extend(image);
        Ok(core)
    }

    /// What the stream holds: kernel and objects.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn payload(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = kernel(&read(self.files, "kernel.img")?)?;
        let start = bytes.len();
        bytes.extend(MODULE_MAGIC.to_le_bytes());
        bytes.extend((INFO_LEN as u32).to_le_bytes());
        bytes.extend([0; 4]);
        for name in self.resolved()? {
            let module = read(self.files, &format!("{name}.mod"))?;
            push(&mut bytes, OBJECT_MODULE, &module)?;
        }
        push(&mut bytes, OBJECT_CONFIG, &[self.script.as_bytes(), b"\0"].concat())?;
        push(&mut bytes, OBJECT_PREFIX, &[self.prefix.as_bytes(), b"\0"].concat())?;
        let len = size_of(&bytes[start..])?;
        put(&mut bytes, start + 8, &len.to_le_bytes());
        Ok(bytes)
    }

    /// All modules in the order of the image, which is grub-mkimage's.
    ///
    /// # Errors
    /// `moddep.lst` does not know a module.
    pub fn resolved(&self) -> Result<Vec<String>, Error> {
        let bytes = read(self.files, "moddep.lst")?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::Unknown { name: "moddep.lst", what: "no text" })?;
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        let needs = lines.map(|(name, needs)| (name, needs.split_whitespace().collect())).collect();
        let mut order = Order { needs, seen: BTreeSet::new(), modules: Vec::new() };
        self.modules.iter().try_for_each(|name| order.add(name))?;
        Ok(order.modules.into_iter().map(str::to_owned).collect())
    }
}

/// Modules on their way into an order.
struct Order<'a> {
    needs: BTreeMap<&'a str, Vec<&'a str>>,
    seen: BTreeSet<&'a str>,
    modules: Vec<&'a str>,
}

impl<'a> Order<'a> {
    /// Adds a module behind what it needs.
    fn add(&mut self, name: &str) -> Result<(), Error> {
        let missing = || Error::Missing { name: format!("{name}.mod") };
        let (name, needs) = self.needs.get_key_value(name).ok_or_else(missing)?;
        let (name, needs): (&'a str, Vec<&'a str>) = (*name, needs.clone());
        if self.seen.insert(name) {
            for need in needs.into_iter().rev() {
                self.add(need)?;
            }
            self.modules.push(name);
        }
        Ok(())
    }
}

/// The kernel as it lies in memory, of an ELF file: its sections that are more than zeros.
fn kernel(elf: &[u8]) -> Result<Vec<u8>, Error> {
    /// `SHT_PROGBITS`, `SHT_NOBITS`, `SHF_ALLOC`, bytes of a section header.
    const BITS: u32 = 1;
    const NO_BITS: u32 = 8;
    const ALLOCATED: u32 = 2;
    const HEADER: usize = 40;
    let unknown = |what| Error::Unknown { name: "kernel.img", what };
    let word = |at: usize| u32_at(elf, at).ok_or_else(|| unknown("it ends early"));
    if !elf.starts_with(b"\x7fELF\x01\x01") {
        return Err(unknown("no 32-bit ELF file"));
    }
    let (sections, count) = (word(0x20)? as usize, word(0x30)? as usize & 0xffff);
    let mut memory = Vec::new();
    for at in (0..count).map(|index| sections.saturating_add(index * HEADER)) {
        let field = |number: usize| word(at.saturating_add(number * 4));
        let (kind, flags) = (field(1)?, field(2)?);
        if flags & ALLOCATED == 0 || !matches!(kind, BITS | NO_BITS) {
            continue;
        }
        let [address, offset, len] = [field(3)?, field(4)?, field(5)?].map(|word| word as usize);
        let end = address.saturating_add(len);
        if end > KERNEL_END {
            return Err(Error::TooLarge { len: end, limit: KERNEL_END });
        }
        if kind == BITS {
            let place = address.checked_sub(LINK_ADDRESS);
            let place = place.ok_or_else(|| unknown("a section lies before 0x9000"))?;
            let data = elf.get(offset..).and_then(|rest| rest.get(..len));
            let data = data.ok_or_else(|| unknown("a section lies outside"))?;
            memory.resize(memory.len().max(place + len), 0);
            put(&mut memory, place, data);
        }
    }
    if memory.is_empty() { Err(unknown("no sections")) } else { Ok(memory) }
}

fn decompressor(files: &BTreeMap<String, Content>) -> Result<Vec<u8>, Error> {
    let name = "lzma_decompress.img";
    let bytes = read(files, name)?;
    if bytes.len() <= DECOMPRESSOR_HEADER || bytes[COMPRESSED_SIZE..][..8] != [0; 8] {
        return Err(Error::Unknown { name, what: "no room for two sizes" });
    }
    let limit = LINK_ADDRESS - DECOMPRESSOR_ADDRESS;
    if bytes.len() > limit { Err(Error::TooLarge { len: bytes.len(), limit }) } else { Ok(bytes) }
}

fn compress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let options =
        lzma_rust2::LzmaOptions { dict_size: WINDOW, ..lzma_rust2::LzmaOptions::with_preset(9) };
    assert_eq!(options.get_props(), PROPERTIES, "the decompressor knows no others");
    let mut writer = lzma_rust2::LzmaWriter::new_no_header(Vec::new(), &options, false)?;
    writer.write_all(bytes)?;
    writer.finish()
}

/// What the stream of a core image holds; `n_decompressor` are the bytes of `lzma_decompress.img`.
///
/// # Errors
/// The image ends early, or its stream is damaged.
pub fn unpack(core: &[u8], n_decompressor: usize) -> Result<Vec<u8>, Error> {
    let image = core.get(SECTOR..).ok_or(Error::Damaged("it has no second sector"))?;
    let field = |at| u32_at(image, at).ok_or(Error::Damaged("it ends in its header"));
    let (n_packed, len) = (field(COMPRESSED_SIZE)? as usize, field(UNCOMPRESSED_SIZE)?);
    if len as usize > SIZE_LIMIT {
        return Err(Error::Damaged("its stream unpacks to more than any kernel has"));
    }
    let stream = image.get(n_decompressor..).and_then(|rest| rest.get(..n_packed));
    let stream = stream.ok_or(Error::Damaged("it ends in its stream"))?;
    let reader =
        lzma_rust2::LzmaReader::new_with_props(stream, len.into(), PROPERTIES, WINDOW, None);
    let mut payload = Vec::new();
    let read = reader.and_then(|mut reader| reader.read_to_end(&mut payload));
    match read {
        Ok(n) if n == len as usize => Ok(payload),
        _ => Err(Error::Damaged("its stream does not unpack")),
    }
}

/// The objects behind the kernel: kind and bytes, padding included.
///
/// # Errors
/// There are none, or they do not fill the payload.
pub fn objects(payload: &[u8]) -> Result<Vec<(u32, &[u8])>, Error> {
    let is_info = |at: &usize| {
        let field = |number: usize| u32_at(payload, at + number * 4);
        field(0) == Some(MODULE_MAGIC)
            && field(1) == Some(INFO_LEN as u32)
            && field(2).map(|len| len as usize) == payload.len().checked_sub(*at)
    };
    let start = (0..payload.len()).find(is_info).ok_or(Error::Damaged("it has no objects"))?;
    let mut rest = &payload[start + INFO_LEN..];
    let mut objects = Vec::new();
    while !rest.is_empty() {
        let outside = Error::Damaged("an object lies outside");
        let (Some(kind), Some(len)) = (u32_at(rest, 0), u32_at(rest, 4)) else {
            return Err(outside);
        };
        match (rest.get(OBJECT_HEADER..len as usize), rest.get(len as usize..)) {
            (Some(data), Some(behind)) => {
                objects.push((kind, data));
                rest = behind;
            }
            _ => return Err(outside),
        }
    }
    Ok(objects)
}

/// Adds an object, padded to whole words.
fn push(bytes: &mut Vec<u8>, kind: u32, data: &[u8]) -> Result<(), Error> {
    let len = size_of(data)?.next_multiple_of(4) + OBJECT_HEADER as u32;
    bytes.extend(kind.to_le_bytes());
    bytes.extend(len.to_le_bytes());
    bytes.extend(data);
    bytes.resize(bytes.len() + data.len().next_multiple_of(4) - data.len(), 0);
    Ok(())
}

/// A length, far below what 32 bits can say.
fn size_of(bytes: &[u8]) -> Result<u32, Error> {
    let too_large = Error::TooLarge { len: bytes.len(), limit: SIZE_LIMIT };
    u32::try_from(bytes.len()).ok().filter(|_| bytes.len() <= SIZE_LIMIT).ok_or(too_large)
}

fn read(files: &BTreeMap<String, Content>, name: &str) -> Result<Vec<u8>, Error> {
    let content = files.get(name).ok_or_else(|| Error::Missing { name: name.to_owned() })?;
    content.to_vec().map_err(|source| Error::Read { name: name.to_owned(), source })
}

/// A program of one sector.
fn sector(files: &BTreeMap<String, Content>, name: &'static str) -> Result<Vec<u8>, Error> {
    let bytes = read(files, name)?;
    if bytes.len() == SECTOR {
        Ok(bytes)
    } else {
        Err(Error::Unknown { name, what: "not 512 bytes" })
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(word.try_into().expect("four bytes")))
}

#[cfg(test)]
pub(crate) mod tests;
