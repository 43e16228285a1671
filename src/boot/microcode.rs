// SPDX-License-Identifier: Apache-2.0
//! Updates for processors, which the kernel takes out of the first initramfs before anything else.
//!
//! Specification: Linux `Documentation/arch/x86/microcode.rst`, "Early load microcode": an
//! uncompressed archive with one file per vendor, in which that vendor's updates follow one another.
//! The kernel picks those for its processors. What is no update is refused here, because the kernel
//! would pass over it without a word.

use std::collections::BTreeMap;

use crate::{
    formats::cpio::{self, Node},
    tree::Content,
};

/// Who makes processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Vendor {
    Amd,
    Intel,
}

/// A root's updates: files by vendor and name.
#[derive(Debug, Clone, Default)]
pub struct Microcode(pub BTreeMap<Vendor, BTreeMap<String, Content>>);

/// Why there is no archive of updates.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Archive(#[from] cpio::Error),
    #[error("reading '{file}': {source}")]
    Read { file: String, source: std::io::Error },
    #[error("'{file}' is no microcode of {vendor}: {what}")]
    Form { file: String, vendor: &'static str, what: &'static str },
}

impl Vendor {
    pub const ALL: [Self; 2] = [Self::Amd, Self::Intel];

    /// Where the packages have the files.
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Amd => "/usr/lib/firmware/amd-ucode",
            Self::Intel => "/usr/lib/firmware/intel-ucode",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Amd => "AMD",
            Self::Intel => "Intel",
        }
    }

    /// Where the kernel looks.
    const fn place(self) -> &'static str {
        match self {
            Self::Amd => "kernel/x86/microcode/AuthenticAMD.bin",
            Self::Intel => "kernel/x86/microcode/GenuineIntel.bin",
        }
    }

    /// Whether a file of the folder is for the kernel: AMD's have signatures and a text beside them.
    fn is_update(self, name: &str) -> bool {
        match self {
            Self::Amd => name.starts_with("microcode_amd") && name.ends_with(".bin"),
            Self::Intel => name.as_bytes().get(2) == Some(&b'-'),
        }
    }

    fn check(self, bytes: &[u8]) -> Result<(), &'static str> {
        match self {
            Self::Amd => check_amd(bytes),
            Self::Intel => check_intel(bytes),
        }
    }
}

impl Microcode {
    /// The archive, if there is any update: it goes before everything else.
    ///
    /// # Errors
    /// A file cannot be read, or is no update.
    pub fn archive(&self, epoch: u32) -> Result<Option<Vec<u8>>, Error> {
        let mut archive = cpio::Archive::new(epoch);
        let mut is_empty = true;
        for (vendor, files) in &self.0 {
            let mut updates = Vec::new();
            for (file, content) in files.iter().filter(|(name, _)| vendor.is_update(name)) {
                let file = format!("{}/{file}", vendor.folder());
                match content.to_vec() {
                    Ok(bytes) => match vendor.check(&bytes) {
                        Ok(()) => updates.extend(bytes),
                        Err(what) => {
                            return Err(Error::Form { file, vendor: vendor.name(), what });
                        }
                    },
                    Err(source) => return Err(Error::Read { file, source }),
                }
            }
            if !updates.is_empty() {
                is_empty = false;
                archive.insert(vendor.place(), 0o644, Node::File(updates))?;
            }
        }
        Ok(if is_empty { None } else { Some(archive.encode()?) })
    }
}

/// Updates with headers of 48 bytes: version 1 first, the size with all that follows at 32.
fn check_intel(bytes: &[u8]) -> Result<(), &'static str> {
    const HEADER: usize = 48;
    /// What size 0 stands for.
    const OLD: usize = 2048;
    let mut rest = bytes;
    while !rest.is_empty() {
        if rest.len() < HEADER || u32_at(rest, 0) != Some(1) {
            return Err("a header has another version than 1");
        }
        let len = match u32_at(rest, 32) {
            Some(0) | None => OLD,
            Some(len) => len as usize,
        };
        rest = rest.get(len..).filter(|_| len >= HEADER).ok_or("it ends inside of an update")?;
    }
    Ok(())
}

/// A container: its mark, a table (kind 0), updates (kind 1), each with its size.
fn check_amd(bytes: &[u8]) -> Result<(), &'static str> {
    const MARK: &[u8] = b"DMA\0";
    let mut rest = bytes.strip_prefix(MARK).ok_or("it does not begin with 'DMA'")?;
    while !rest.is_empty() {
        // Some files are several containers.
        rest = rest.strip_prefix(MARK).unwrap_or(rest);
        match (u32_at(rest, 0), u32_at(rest, 4)) {
            (Some(0 | 1), Some(len)) => {
                rest = rest
                    .get(8..)
                    .and_then(|rest| rest.get(len as usize..))
                    .ok_or("it ends early")?;
            }
            _ => return Err("a part is neither a table nor an update"),
        }
    }
    Ok(())
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes(word.try_into().expect("four bytes")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An update of Intel's with this much behind its header.
    fn intel(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; 48 + len];
        bytes[0] = 1;
        bytes[32..36].copy_from_slice(&(48 + len as u32).to_le_bytes());
        bytes
    }

    fn amd() -> Vec<u8> {
        b"DMA\0\0\0\0\0\x04\0\0\0tabl\x01\0\0\0\x03\0\0\0upd".to_vec()
    }

    fn microcode(files: &[(Vendor, &str, &[u8])]) -> Microcode {
        let mut all = Microcode::default();
        for (vendor, name, bytes) in files {
            let files = all.0.entry(*vendor).or_default();
            files.insert((*name).to_owned(), Content::bytes(*bytes));
        }
        all
    }

    #[test]
    fn each_vendor_has_one_file_of_all_its_updates() {
        let [first, second] = [intel(10), intel(20)];
        let all = microcode(&[
            (Vendor::Intel, "06-55-04", &second),
            (Vendor::Intel, "06-4f-01.initramfs", &first),
            (Vendor::Amd, "microcode_amd_fam17h.bin", &amd()),
            (Vendor::Amd, "microcode_amd_fam17h.bin.asc", b"signature"),
            (Vendor::Amd, "README", b"text"),
        ]);
        let bytes = all.archive(7).unwrap().unwrap();
        let archive = cpio::Archive::decode(&bytes).unwrap();
        let file = |name: &str| match archive.entries().find(|(other, _)| *other == name) {
            Some((_, cpio::Entry { node: Node::File(bytes), .. })) => bytes.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(file("kernel/x86/microcode/GenuineIntel.bin"), [first, second].concat());
        assert_eq!(file("kernel/x86/microcode/AuthenticAMD.bin"), amd());
    }

    #[test]
    fn without_updates_there_is_no_archive() {
        let all = microcode(&[(Vendor::Amd, "README", b"text")]);
        assert_eq!(all.archive(7).unwrap(), None);
        assert_eq!(Microcode::default().archive(7).unwrap(), None);
    }

    #[test]
    fn what_is_no_update_is_refused_by_name() {
        let refused = |vendor, name: &str, bytes: &[u8]| {
            microcode(&[(vendor, name, bytes)]).archive(7).unwrap_err().to_string()
        };
        let mut cut = intel(10);
        cut.pop();
        assert_eq!(
            refused(Vendor::Intel, "06-55-04", &cut),
            "'/usr/lib/firmware/intel-ucode/06-55-04' is no microcode of Intel: it ends inside of an update"
        );
        assert_eq!(
            refused(Vendor::Amd, "microcode_amd.bin", b"<html>"),
            "'/usr/lib/firmware/amd-ucode/microcode_amd.bin' is no microcode of AMD: it does not begin with 'DMA'"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_and_never_panic(bytes: Vec<u8>, at in 0usize..80, value: u8) {
            for (vendor, mut whole) in [(Vendor::Intel, intel(30)), (Vendor::Amd, amd())] {
                let _ = vendor.check(&bytes);
                if let Some(byte) = whole.get_mut(at) {
                    *byte = value;
                }
                let _ = vendor.check(&whole);
            }
        }
    }
}
