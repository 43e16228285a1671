// SPDX-License-Identifier: Apache-2.0
//! What depmod wants to know of one kernel module, read from its ELF sections.
//!
//! Modules are relocatable ELF64 little-endian files (System V ABI, AMD64). `.modinfo` holds
//! `key=value` strings. In `.symtab`, undefined symbols are what the module wants from others, and
//! `__crc_NAME` stands beside each symbol that it exports; a kernel without symbol versions has
//! the names in `__ksymtab_strings` only, where names of symbol namespaces are mixed in.

use serde::{Deserialize, Serialize};

/// One module's words about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Facts {
    /// Patterns of devices and names that the module answers to, in the file's order.
    pub aliases: Vec<String>,
    /// `pre: a b post: c`, as written.
    pub softdeps: Vec<String>,
    /// Modules that may be wanted at run time.
    pub weakdeps: Vec<String>,
    /// Files below the firmware folder that the module may ask for.
    pub firmware: Vec<String>,
    /// Symbols for other modules.
    pub exports: Vec<String>,
    /// Symbols of the kernel or of other modules, in the symbol table's order.
    pub imports: Vec<String>,
}

/// Why a file is no kernel module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    #[error("not an ELF64 little-endian file")]
    Magic,
    #[error("the section table lies outside the file")]
    SectionTable,
    #[error("section {0} lies outside the file")]
    Section(usize),
    #[error("no section '.modinfo'")]
    NoModinfo,
}

/// Size of a section header.
const SECTION_HEADER: usize = 64;
/// Size of a symbol.
const SYMBOL: usize = 24;
/// `SHT_SYMTAB`.
const SYMBOL_TABLE: u32 = 2;
/// `SHT_NOBITS`: no bytes in the file.
const NO_BITS: u32 = 8;
/// `SHN_UNDEF`.
const UNDEFINED: u16 = 0;

impl Facts {
    /// Reads an uncompressed module.
    ///
    /// # Errors
    /// The file is no ELF64 little-endian file, or its tables lie outside it.
    pub fn parse(file: &[u8]) -> Result<Self, ElfError> {
        let elf = Elf::parse(file)?;
        let mut facts = Self::default();
        for word in strings(elf.named(b".modinfo")?.ok_or(ElfError::NoModinfo)?) {
            match word.split_once('=') {
                Some(("alias", value)) => facts.aliases.push(value.to_owned()),
                Some(("softdep", value)) => facts.softdeps.push(value.to_owned()),
                Some(("weakdep", value)) => facts.weakdeps.push(value.to_owned()),
                Some(("firmware", value)) => facts.firmware.push(value.to_owned()),
                _ => {}
            }
        }
        for symbol in elf.symbols()? {
            if let Some(name) = symbol.name.strip_prefix("__crc_") {
                facts.exports.push(name.to_owned());
            } else if symbol.section == UNDEFINED && !symbol.name.is_empty() {
                facts.imports.push(symbol.name.to_owned());
            }
        }
        if facts.exports.is_empty()
            && let Some(names) = elf.named(b"__ksymtab_strings")?
        {
            facts.exports = strings(names).map(str::to_owned).collect();
        }
        Ok(facts)
    }
}

struct Section {
    name: u32,
    kind: u32,
    offset: u64,
    size: u64,
    link: u32,
}

struct Elf<'a> {
    file: &'a [u8],
    sections: Vec<Section>,
    /// Index of the section that holds the names of sections.
    names: usize,
}

impl<'a> Elf<'a> {
    fn parse(file: &'a [u8]) -> Result<Self, ElfError> {
        // Magic, 64 bits, little-endian.
        if !file.starts_with(b"\x7fELF\x02\x01") || file.len() < 64 {
            return Err(ElfError::Magic);
        }
        let offset = usize::try_from(u64_at(file, 0x28)).map_err(|_| ElfError::SectionTable)?;
        let count = usize::from(u16_at(file, 0x3c));
        let table = offset
            .checked_add(count * SECTION_HEADER)
            .and_then(|end| file.get(offset..end))
            .ok_or(ElfError::SectionTable)?;
        let sections = table
            .chunks_exact(SECTION_HEADER)
            .map(|header| Section {
                name: u32_at(header, 0),
                kind: u32_at(header, 4),
                offset: u64_at(header, 0x18),
                size: u64_at(header, 0x20),
                link: u32_at(header, 0x28),
            })
            .collect();
        Ok(Self { file, sections, names: usize::from(u16_at(file, 0x3e)) })
    }

    fn bytes(&self, index: usize) -> Result<&'a [u8], ElfError> {
        let section = self.sections.get(index).ok_or(ElfError::Section(index))?;
        if section.kind == NO_BITS {
            return Ok(&[]);
        }
        usize::try_from(section.offset)
            .ok()
            .zip(usize::try_from(section.size).ok())
            .and_then(|(start, size)| self.file.get(start..start.checked_add(size)?))
            .ok_or(ElfError::Section(index))
    }

    fn named(&self, name: &[u8]) -> Result<Option<&'a [u8]>, ElfError> {
        let names = self.bytes(self.names)?;
        let index = self.sections.iter().position(|section| string_at(names, section.name) == name);
        index.map(|index| self.bytes(index)).transpose()
    }

    fn symbols(&self) -> Result<Vec<Symbol<'a>>, ElfError> {
        let Some(index) = self.sections.iter().position(|section| section.kind == SYMBOL_TABLE)
        else {
            return Ok(Vec::new());
        };
        let link = usize::try_from(self.sections[index].link).unwrap_or(usize::MAX);
        let names = self.bytes(link)?;
        let symbols = self.bytes(index)?.chunks_exact(SYMBOL).filter_map(|symbol| {
            let name = std::str::from_utf8(string_at(names, u32_at(symbol, 0))).ok()?;
            Some(Symbol { name, section: u16_at(symbol, 6) })
        });
        Ok(symbols.collect())
    }
}

struct Symbol<'a> {
    name: &'a str,
    section: u16,
}

/// The strings of a section of NUL-terminated strings, without empty ones and such that are no
/// UTF-8.
fn strings(section: &[u8]) -> impl Iterator<Item = &str> {
    section
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .filter_map(|word| std::str::from_utf8(word).ok())
}

/// The NUL-terminated string at an offset; empty if that lies outside.
fn string_at(table: &[u8], offset: u32) -> &[u8] {
    let rest = usize::try_from(offset).ok().and_then(|offset| table.get(offset..)).unwrap_or(&[]);
    rest.split(|byte| *byte == 0).next().unwrap_or(&[])
}

fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, offset))
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, offset))
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, offset))
}

/// `N` bytes at a constant offset of a header whose size was checked.
fn array_at<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[offset..offset + N]);
    array
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A module of the given sections: name, kind, link, bytes.
    fn elf(sections: &[(&str, u32, u32, &[u8])]) -> Vec<u8> {
        let mut names = vec![0];
        let mut body = vec![0; 64];
        let mut headers = vec![0; SECTION_HEADER];
        let mut header = |name: usize, kind: u32, offset: usize, size: usize, link: u32| {
            let mut header = [0; SECTION_HEADER];
            header[..4].copy_from_slice(&u32::try_from(name).expect("small").to_le_bytes());
            header[4..8].copy_from_slice(&kind.to_le_bytes());
            header[0x18..0x20].copy_from_slice(&(offset as u64).to_le_bytes());
            header[0x20..0x28].copy_from_slice(&(size as u64).to_le_bytes());
            header[0x28..0x2c].copy_from_slice(&link.to_le_bytes());
            headers.extend(header);
        };
        for (name, kind, link, bytes) in sections {
            header(names.len(), *kind, body.len(), bytes.len(), *link);
            names.extend(name.bytes().chain([0]));
            body.extend(*bytes);
        }
        header(0, 3, body.len(), names.len(), 0);
        body.extend(names);
        let table = body.len() as u64;
        body[..6].copy_from_slice(b"\x7fELF\x02\x01");
        body[0x28..0x30].copy_from_slice(&table.to_le_bytes());
        let count = u16::try_from(sections.len() + 2).expect("few");
        body[0x3c..0x3e].copy_from_slice(&count.to_le_bytes());
        body[0x3e..0x40].copy_from_slice(&(count - 1).to_le_bytes());
        body.extend(headers);
        body
    }

    fn sample(own: &str) -> Vec<u8> {
        let mut symbols = vec![0; SYMBOL * 3];
        symbols[SYMBOL] = 1; // 'wanted', undefined
        symbols[SYMBOL * 2] = 8; // `own`, in section 1
        symbols[SYMBOL * 2 + 6] = 1;
        elf(&[
            (
                ".modinfo",
                1,
                0,
                b"license=GPL\0alias=pci:v1*\0\0softdep=pre: a\0weakdep=b\0firmware=c/d.bin\0",
            ),
            ("__ksymtab_strings", 1, 0, b"give\0\0take\0"),
            (".symtab", SYMBOL_TABLE, 4, &symbols),
            (".strtab", 3, 0, format!("\0wanted\0{own}\0").as_bytes()),
        ])
    }

    #[test]
    fn a_module_says_what_it_is_gives_and_wants() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let facts = Facts {
            aliases: words(&["pci:v1*"]),
            softdeps: words(&["pre: a"]),
            weakdeps: words(&["b"]),
            firmware: words(&["c/d.bin"]),
            exports: words(&["give", "take"]),
            imports: words(&["wanted"]),
        };
        assert_eq!(Facts::parse(&sample("own")), Ok(facts.clone()));
        let versioned = Facts { exports: words(&["give"]), ..facts };
        assert_eq!(Facts::parse(&sample("__crc_give")), Ok(versioned));
    }

    #[test]
    fn what_is_no_module_is_refused() {
        assert_eq!(Facts::parse(b"\x7fELF"), Err(ElfError::Magic));
        assert_eq!(Facts::parse(b"not a module"), Err(ElfError::Magic));
        assert_eq!(Facts::parse(&elf(&[])), Err(ElfError::NoModinfo));
        let mut cut = sample("own");
        cut.pop();
        assert_eq!(Facts::parse(&cut), Err(ElfError::SectionTable));
    }

    proptest! {
        #[test]
        fn altered_modules_never_panic(at in 0usize..700, value: u8, cut in 0usize..900) {
            let mut bytes = sample("own");
            let at = at % bytes.len();
            bytes[at] = value;
            let _ = Facts::parse(&bytes);
            bytes.truncate(cut);
            let _ = Facts::parse(&bytes);
        }
    }
}
