// SPDX-License-Identifier: Apache-2.0
//! PE32+ images for EFI: read the section table, append sections to a boot stub.
//!
//! Specification: Microsoft PE Format, sections "COFF File Header", "Optional Header" and
//! "Section Table". Only what UEFI on x86-64 needs: images with a section table and no
//! certificate. Appending follows ukify of systemd 257, so that the same inputs give the same
//! bytes: raw data aligned to FileAlignment, addresses to SectionAlignment, VirtualSize is the
//! length of the data.

use std::fmt;

/// Offset of the PE signature's offset in the DOS header.
const DOS_PE_OFFSET: usize = 0x3c;
const PE_SIGNATURE: &[u8; 4] = b"PE\0\0";
/// Signature and COFF file header.
const COFF_LEN: usize = 24;
/// IMAGE_FILE_MACHINE_AMD64.
const MACHINE_X86_64: u16 = 0x8664;
/// Magic of a PE32+ optional header.
const PE32_PLUS: u16 = 0x20b;
/// IMAGE_SUBSYSTEM_EFI_APPLICATION.
const SUBSYSTEM_EFI_APPLICATION: u16 = 10;
/// Entry of the data directory that points to Authenticode signatures.
const DIRECTORY_SECURITY: usize = 4;
const SECTION_HEADER_LEN: usize = 40;
/// Sections that a header block of a few KiB could ever name; bounds hostile tables.
const MAX_SECTIONS: usize = 96;

/// DllCharacteristics: the image tolerates memory that is not both writable and executable.
const NX_COMPAT: u16 = 0x0100;

/// Offsets in the COFF header, from the PE signature.
const COFF_MACHINE: usize = 4;
const COFF_N_SECTIONS: usize = 6;
const COFF_OPTIONAL_LEN: usize = 20;

/// Offsets in the optional header.
const SIZE_OF_INITIALIZED_DATA: usize = 8;
const SECTION_ALIGNMENT: usize = 32;
const FILE_ALIGNMENT: usize = 36;
const SIZE_OF_IMAGE: usize = 56;
const SIZE_OF_HEADERS: usize = 60;
const CHECK_SUM: usize = 64;
const SUBSYSTEM: usize = 68;
const DLL_CHARACTERISTICS: usize = 70;
const N_DIRECTORIES: usize = 108;
const DIRECTORIES: usize = 112;

/// What a section's memory is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// CNT_CODE | MEM_READ: a kernel, which the stub loads and does not run in place.
    Code,
    /// CNT_INITIALIZED_DATA | MEM_READ.
    Data,
}

impl Usage {
    const fn characteristics(self) -> u32 {
        match self {
            Self::Code => 0x4000_0020,
            Self::Data => 0x4000_0040,
        }
    }
}

/// A section to append.
#[derive(Debug, Clone, Copy)]
pub struct NewSection<'a> {
    /// At most 8 bytes.
    pub name: &'a str,
    pub usage: Usage,
    pub data: &'a [u8],
}

/// One row of the section table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    pub name: String,
    pub virtual_size: u32,
    pub virtual_address: u32,
    pub raw_size: u32,
    pub raw_offset: u32,
    pub characteristics: u32,
}

/// The headers of an image, checked against its length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Offset of the PE signature.
    pe: usize,
    optional_len: usize,
    pub section_alignment: u32,
    pub file_alignment: u32,
    pub size_of_headers: u32,
    pub size_of_image: u32,
    pub subsystem: u16,
    pub nx_compat: bool,
    pub signed: bool,
    pub sections: Vec<Section>,
}

/// Why an image is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the PE image ends at {len} bytes, inside {what}")]
    Truncated { what: &'static str, len: usize },
    #[error("{what} at offset {offset:#x} of the PE image is {found:#x}, expected {expected}")]
    Unexpected { what: &'static str, offset: usize, found: u64, expected: &'static str },
    #[error("section '{name}' of the PE image lies outside the file")]
    SectionOutside { name: String },
    #[error("the PE image is signed; a signature does not survive added sections")]
    Signed,
    #[error("the PE header has no room for section '{name}'")]
    HeaderFull { name: String },
    #[error("'{name}' is no section name: 1 to 8 bytes")]
    BadName { name: String },
    #[error("the PE image already has a section '{name}'")]
    Duplicate { name: String },
    #[error("section '{name}' has {len} bytes but only {room} are free")]
    NoRoom { name: String, len: usize, room: u32 },
    #[error("section '{name}' makes the PE image larger than 4 GiB")]
    TooLarge { name: String },
}

impl Image {
    /// Reads the headers of a PE32+ image for x86-64.
    ///
    /// # Errors
    /// The bytes are no such image.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let expect = |what, offset, found: u64, fine: bool, expected| {
            if fine { Ok(()) } else { Err(Error::Unexpected { what, offset, found, expected }) }
        };
        let dos = u16_at(bytes, 0, "the DOS header")?;
        expect("the DOS magic", 0, dos.into(), dos == 0x5a4d, "'MZ'")?;
        let pe = u32_at(bytes, DOS_PE_OFFSET, "the DOS header")? as usize;
        let coff = slice(bytes, pe, COFF_LEN, "the COFF header")?;
        let signature = u32_at(coff, 0, "the COFF header")?;
        expect("the PE signature", pe, signature.into(), coff.starts_with(PE_SIGNATURE), "'PE'")?;
        let machine = u16_at(coff, COFF_MACHINE, "the COFF header")?;
        let x86_64 = machine == MACHINE_X86_64;
        expect("the machine", pe + COFF_MACHINE, machine.into(), x86_64, "0x8664 (x86-64)")?;
        let n_sections = usize::from(u16_at(coff, COFF_N_SECTIONS, "the COFF header")?);
        let few = n_sections <= MAX_SECTIONS;
        expect("the section count", pe + COFF_N_SECTIONS, n_sections as u64, few, "at most 96")?;
        let optional_len = usize::from(u16_at(coff, COFF_OPTIONAL_LEN, "the COFF header")?);
        let start = pe + COFF_LEN;
        let optional = slice(bytes, start, optional_len, "the optional header")?;
        let magic = u16_at(optional, 0, "the optional header")?;
        expect("the optional header's magic", start, magic.into(), magic == PE32_PLUS, "0x20b")?;

        let field = |offset| u32_at(optional, offset, "the optional header");
        let file_alignment = field(FILE_ALIGNMENT)?;
        let section_alignment = field(SECTION_ALIGNMENT)?;
        for (what, offset, alignment) in [
            ("FileAlignment", FILE_ALIGNMENT, file_alignment),
            ("SectionAlignment", SECTION_ALIGNMENT, section_alignment),
        ] {
            let fine = alignment.is_power_of_two() && (512..=65536).contains(&alignment);
            expect(what, start + offset, alignment.into(), fine, "a power of 2 from 512 to 65536")?;
        }
        let n_directories = field(N_DIRECTORIES)? as usize;
        let signed =
            n_directories > DIRECTORY_SECURITY && field(DIRECTORIES + DIRECTORY_SECURITY * 8)? != 0;
        let mut image = Self {
            pe,
            optional_len,
            section_alignment,
            file_alignment,
            size_of_headers: field(SIZE_OF_HEADERS)?,
            size_of_image: field(SIZE_OF_IMAGE)?,
            subsystem: u16_at(optional, SUBSYSTEM, "the optional header")?,
            nx_compat: u16_at(optional, DLL_CHARACTERISTICS, "the optional header")? & NX_COMPAT
                != 0,
            signed,
            sections: Vec::with_capacity(n_sections),
        };
        for index in 0..n_sections {
            let section = Section::decode(bytes, image.section_header(index))?;
            image.sections.push(section);
        }
        Ok(image)
    }

    /// Whether UEFI may start it as an application.
    pub fn is_efi_application(&self) -> bool {
        self.subsystem == SUBSYSTEM_EFI_APPLICATION
    }

    /// The section of a name.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// Data of the section of a name, without the padding of the file.
    pub fn data<'a>(&self, bytes: &'a [u8], name: &str) -> Option<&'a [u8]> {
        let section = self.section(name)?;
        let len = section.raw_size.min(section.virtual_size) as usize;
        let start = section.raw_offset as usize;
        bytes.get(start..start.checked_add(len)?)
    }

    /// Offset of a row of the section table.
    fn section_header(&self, index: usize) -> usize {
        self.pe + COFF_LEN + self.optional_len + index * SECTION_HEADER_LEN
    }

    /// Where an optional header's field lies in the file.
    fn optional(&self, field: usize) -> usize {
        self.pe + COFF_LEN + field
    }

    /// First free address after the last section.
    fn end_address(&self) -> Option<u32> {
        let last = self.sections.last()?;
        let end = last.virtual_address.checked_add(last.virtual_size)?;
        end.checked_next_multiple_of(self.section_alignment)
    }
}

/// A copy of `stub` with `sections` appended in order.
///
/// # Errors
/// The stub is no unsigned image, or the sections do not fit its headers.
pub fn append(stub: &[u8], sections: &[NewSection<'_>]) -> Result<Vec<u8>, Error> {
    let mut image = Image::decode(stub)?;
    if image.signed {
        return Err(Error::Signed);
    }
    let mut bytes = stub.to_vec();
    let initialized_data = image.optional(SIZE_OF_INITIALIZED_DATA);
    let mut n_initialized = u32_at(&bytes, initialized_data, "the optional header")?;
    for new in sections {
        let too_large = || Error::TooLarge { name: new.name.to_owned() };
        let len = u32::try_from(new.data.len()).map_err(|_| too_large())?;
        let section = place(&image, bytes.len(), new, len)?;
        let header = image.section_header(image.sections.len());
        put(&mut bytes, header, &section.encode());
        bytes.resize(section.raw_offset as usize, 0);
        bytes.extend_from_slice(new.data);
        bytes.resize(section.raw_offset as usize + section.raw_size as usize, 0);
        n_initialized = n_initialized.checked_add(len).ok_or_else(too_large)?;
        image.sections.push(section);
        image.size_of_image = image.end_address().ok_or_else(too_large)?;
    }
    // At most MAX_SECTIONS before, and each new one needed room in the header block.
    let n_sections = u16::try_from(image.sections.len()).expect("few sections");
    put(&mut bytes, image.pe + COFF_N_SECTIONS, &n_sections.to_le_bytes());
    put(&mut bytes, initialized_data, &n_initialized.to_le_bytes());
    put(&mut bytes, image.optional(SIZE_OF_IMAGE), &image.size_of_image.to_le_bytes());
    put(&mut bytes, image.optional(CHECK_SUM), &[0; 4]);
    Ok(bytes)
}

/// Row of the section table for a section appended to a file of `file_len` bytes.
fn place(image: &Image, file_len: usize, new: &NewSection, len: u32) -> Result<Section, Error> {
    let name = || new.name.to_owned();
    if new.name.is_empty() || new.name.len() > 8 {
        return Err(Error::BadName { name: name() });
    }
    if image.section(new.name).is_some() {
        return Err(Error::Duplicate { name: name() });
    }
    let header_end = image.section_header(image.sections.len() + 1);
    // Bytes between the table and the first section's data are free.
    let first_data = image.sections.iter().filter(|section| section.raw_size > 0);
    let limit = first_data.map(|section| section.raw_offset).min().unwrap_or(u32::MAX);
    if header_end > file_len.min(limit.min(image.size_of_headers) as usize) {
        return Err(Error::HeaderFull { name: name() });
    }
    let sized = || {
        let raw_offset = u32::try_from(file_len).ok()?;
        let raw_offset = raw_offset.checked_next_multiple_of(image.file_alignment)?;
        let raw_size = len.checked_next_multiple_of(image.file_alignment)?;
        raw_offset.checked_add(raw_size)?;
        let virtual_address = image.end_address()?;
        virtual_address.checked_add(len)?.checked_next_multiple_of(image.section_alignment)?;
        Some(Section {
            name: name(),
            virtual_size: len,
            virtual_address,
            raw_size,
            raw_offset,
            characteristics: new.usage.characteristics(),
        })
    };
    sized().ok_or_else(|| Error::TooLarge { name: name() })
}

/// Replaces the data of an existing section in place; its raw size stays.
///
/// # Errors
/// There is no such section, or the data does not fit it.
pub fn replace(bytes: &mut [u8], name: &str, data: &[u8]) -> Result<(), Error> {
    let image = Image::decode(bytes)?;
    let find = || image.sections.iter().enumerate().find(|(_, section)| section.name == name);
    let (index, section) = find().ok_or_else(|| Error::SectionOutside { name: name.to_owned() })?;
    let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
    if len > section.raw_size {
        let (name, len, room) = (name.to_owned(), data.len(), section.raw_size);
        return Err(Error::NoRoom { name, len, room });
    }
    let start = section.raw_offset as usize;
    let (new, rest) = bytes[start..start + section.raw_size as usize].split_at_mut(data.len());
    new.copy_from_slice(data);
    rest.fill(0);
    let virtual_size = image.section_header(index) + 8;
    put(bytes, virtual_size, &len.to_le_bytes());
    Ok(())
}

/// Says that the image may not be loaded with strict memory protection.
///
/// # Errors
/// The bytes are no PE image.
pub fn clear_nx_compat(bytes: &mut [u8]) -> Result<(), Error> {
    let offset = Image::decode(bytes)?.optional(DLL_CHARACTERISTICS);
    let flags = u16_at(bytes, offset, "the optional header")? & !NX_COMPAT;
    put(bytes, offset, &flags.to_le_bytes());
    Ok(())
}

impl Section {
    fn decode(bytes: &[u8], offset: usize) -> Result<Self, Error> {
        const WHAT: &str = "the section table";
        let row = slice(bytes, offset, SECTION_HEADER_LEN, WHAT)?;
        let name = row.split(|byte| *byte == 0).next().unwrap_or_default();
        let name = name.get(..8).unwrap_or(name).escape_ascii().to_string();
        let section = Self {
            name,
            virtual_size: u32_at(row, 8, WHAT)?,
            virtual_address: u32_at(row, 12, WHAT)?,
            raw_size: u32_at(row, 16, WHAT)?,
            raw_offset: u32_at(row, 20, WHAT)?,
            characteristics: u32_at(row, 36, WHAT)?,
        };
        let end = u64::from(section.raw_offset) + u64::from(section.raw_size);
        if end > bytes.len() as u64 {
            return Err(Error::SectionOutside { name: section.name });
        }
        Ok(section)
    }

    fn encode(&self) -> [u8; SECTION_HEADER_LEN] {
        let mut row = [0; SECTION_HEADER_LEN];
        row[..self.name.len()].copy_from_slice(self.name.as_bytes());
        for (offset, value) in [
            (8, self.virtual_size),
            (12, self.virtual_address),
            (16, self.raw_size),
            (20, self.raw_offset),
            (36, self.characteristics),
        ] {
            put(&mut row, offset, &value.to_le_bytes());
        }
        row
    }
}

impl fmt::Display for Image {
    /// The headers in one line, then one line per section.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flag = |set, name| if set { name } else { "" };
        writeln!(
            f,
            "PE32+ x86-64 subsystem {} headers {:#x} image {:#x} alignment {:#x}/{:#x}{}{}",
            self.subsystem,
            self.size_of_headers,
            self.size_of_image,
            self.section_alignment,
            self.file_alignment,
            flag(self.nx_compat, " nx-compat"),
            flag(self.signed, " signed"),
        )?;
        for section in &self.sections {
            writeln!(
                f,
                "{:<8} address {:#010x} size {:#010x} file {:#010x}+{:#010x} flags {:#010x}",
                section.name,
                section.virtual_address,
                section.virtual_size,
                section.raw_offset,
                section.raw_size,
                section.characteristics,
            )?;
        }
        Ok(())
    }
}

fn slice<'a>(b: &'a [u8], at: usize, len: usize, what: &'static str) -> Result<&'a [u8], Error> {
    let range = at.checked_add(len).and_then(|end| b.get(at..end));
    range.ok_or(Error::Truncated { what, len: b.len() })
}

fn u16_at(bytes: &[u8], offset: usize, what: &'static str) -> Result<u16, Error> {
    let bytes = slice(bytes, offset, 2, what)?;
    Ok(u16::from_le_bytes(bytes.try_into().expect("2 bytes")))
}

fn u32_at(bytes: &[u8], offset: usize, what: &'static str) -> Result<u32, Error> {
    let bytes = slice(bytes, offset, 4, what)?;
    Ok(u32::from_le_bytes(bytes.try_into().expect("4 bytes")))
}

/// Overwrites bytes at an offset that a decoder has checked.
fn put(bytes: &mut [u8], offset: usize, new: &[u8]) {
    bytes[offset..offset + new.len()].copy_from_slice(new);
}

#[cfg(test)]
pub(crate) mod tests;
