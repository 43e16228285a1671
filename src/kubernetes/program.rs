// SPDX-License-Identifier: Apache-2.0
//! Is a file a program that an image can run?
//!
//! ELF, System V ABI (gabi+) chapters 4 and 5, and its x86-64 supplement: 64 bits, little-endian,
//! machine 62, an executable that is whole. Static, because a program is also the only file of a
//! container image. The kubelet alone runs nowhere but on the node, and the Kubernetes project
//! builds it with glibc, so it may ask for glibc's loader.
//!
//! A version is not asked of the program but looked for: the build puts it into every program as
//! text (`-X …/version.gitVersion=v1.20.2`). A file without that text is of another version; one
//! that has it may still be.

use std::io;

use super::{release::MAX_PROGRAM, version::Version};
use crate::{diagnostic::quoted, tree::Content, units::Bytes};

/// The loader of glibc, which Debian's package libc6 has.
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
/// The program that may be linked with glibc.
const WITH_GLIBC: &str = "kubelet";

const HEADER: usize = 64;
const SEGMENT: usize = 56;
const X86_64: u16 = 62;
/// `PT_INTERP`: the path of a loader.
const INTERPRETER: u32 = 3;
/// Bytes compared at a time.
const PIECE: usize = 1 << 20;

/// Why a file is no program for an image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("it is empty")]
    Empty,
    #[error("it is a web page, not a program")]
    Page,
    #[error("it is a script, not a program")]
    Script,
    #[error("it is compressed, not a program")]
    Compressed,
    #[error("it begins with {0}, as no program does")]
    Other(String),
    #[error("it is a program for {0}, not for x86-64")]
    Machine(String),
    #[error("it is an ELF file, but no program")]
    Kind,
    #[error("it has {}, more than {}", Bytes(*.0), MAX_PROGRAM)]
    Size(u64),
    #[error("it ends before its segments do")]
    Truncated,
    #[error("it is not static: it asks for '{0}'")]
    Dynamic(String),
    #[error("it has no '{0}' in it, so it is of another version")]
    Version(Version),
    #[error("reading it: {0}")]
    Read(#[from] io::Error),
}

impl Error {
    /// What to do.
    pub const fn help(&self) -> &'static str {
        match self {
            Self::Machine(_) => "take the programs for linux/amd64",
            Self::Dynamic(_) => {
                "take the programs that the Kubernetes project releases, or build \
                                 with CGO_ENABLED=0"
            }
            Self::Version(_) => {
                "name the version that they are of under 'kubernetes.version' (of \
                                 nodes: 'kubernetes.node-version'), or other programs"
            }
            Self::Truncated | Self::Empty => "fetch or build it again",
            _ => {
                "take the programs for linux/amd64 that the Kubernetes project releases, or build \
                  them"
            }
        }
    }
}

/// Whether `content` can be the program `name` of a version.
///
/// # Errors
/// It is no program, for another machine, not whole, or of another version.
pub fn check(name: &str, version: Version, content: &Content) -> Result<(), Error> {
    if content.len() > MAX_PROGRAM.get() {
        return Err(Error::Size(content.len()));
    }
    check_elf(name, content)?;
    match contains(content, version.to_string().as_bytes())? {
        true => Ok(()),
        false => Err(Error::Version(version)),
    }
}

fn check_elf(name: &str, content: &Content) -> Result<(), Error> {
    let mut header = [0; HEADER];
    let len = HEADER.min(usize::try_from(content.len()).unwrap_or(HEADER));
    content.read_exact_at(&mut header[..len], 0)?;
    if !header.starts_with(b"\x7fELF") {
        return Err(what_else(&header[..len]));
    }
    if len < HEADER {
        return Err(Error::Truncated);
    }
    let machine = u16_at(&header, 0x12);
    // 64 bits, little-endian.
    if header[4..6] != [2, 1] || machine != X86_64 {
        return Err(Error::Machine(machine_name(machine, header[4])));
    }
    // ET_EXEC, ET_DYN.
    if ![2, 3].contains(&u16_at(&header, 0x10)) || usize::from(u16_at(&header, 0x36)) != SEGMENT {
        return Err(Error::Kind);
    }
    for segment in segments(content, &header)? {
        let (offset, size) = (u64_at(&segment, 0x08), u64_at(&segment, 0x20));
        if offset.checked_add(size).is_none_or(|end| end > content.len()) {
            return Err(Error::Truncated);
        }
        if u32_at(&segment, 0) == INTERPRETER {
            check_loader(name, content, offset, size)?;
        }
    }
    Ok(())
}

fn segments(content: &Content, header: &[u8; HEADER]) -> Result<Vec<[u8; SEGMENT]>, Error> {
    let (mut offset, count) = (u64_at(header, 0x20), u16_at(header, 0x38));
    let mut segments = Vec::new();
    for _ in 0..count {
        let mut segment = [0; SEGMENT];
        content.read_exact_at(&mut segment, offset).map_err(|_| Error::Truncated)?;
        segments.push(segment);
        offset = offset.saturating_add(SEGMENT as u64);
    }
    match segments.is_empty() {
        true => Err(Error::Kind),
        false => Ok(segments),
    }
}

fn check_loader(name: &str, content: &Content, offset: u64, size: u64) -> Result<(), Error> {
    // PATH_MAX.
    let mut path = vec![0; usize::try_from(size.min(4096)).expect("small")];
    content.read_exact_at(&mut path, offset)?;
    let path = String::from_utf8_lossy(&path).trim_end_matches('\0').to_owned();
    match name == WITH_GLIBC && path == LOADER {
        true => Ok(()),
        false => Err(Error::Dynamic(path.escape_debug().to_string())),
    }
}

fn what_else(beginning: &[u8]) -> Error {
    let text = String::from_utf8_lossy(beginning).trim_start().to_ascii_lowercase();
    match beginning {
        [] => Error::Empty,
        [b'#', b'!', ..] => Error::Script,
        [0x1f, 0x8b, ..] | [0xfd, b'7', b'z', ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            Error::Compressed
        }
        _ if text.starts_with("<!doctype")
            || text.starts_with("<html")
            || text.starts_with("<?xml") =>
        {
            Error::Page
        }
        _ => {
            let beginning = &beginning[..beginning.len().min(16)];
            Error::Other(quoted(&String::from_utf8_lossy(beginning)))
        }
    }
}

/// The machines that Kubernetes is released for; `class` is 1 for 32 bits.
fn machine_name(machine: u16, class: u8) -> String {
    match (machine, class) {
        (3, _) => "386".to_owned(),
        (21 | 5376, _) => "ppc64le".to_owned(),
        (22 | 5632, _) => "s390x".to_owned(),
        (40, _) => "arm".to_owned(),
        (183, _) => "arm64".to_owned(),
        (243, _) => "riscv64".to_owned(),
        (X86_64, 1) => "x32".to_owned(),
        (other, _) => format!("machine {other}"),
    }
}

/// Whether `needle` is anywhere in the content.
fn contains(content: &Content, needle: &[u8]) -> io::Result<bool> {
    let mut buffer = vec![0; PIECE + needle.len()];
    let mut offset = 0;
    while offset < content.len() {
        let rest = usize::try_from(content.len() - offset).unwrap_or(usize::MAX);
        let piece = &mut buffer[..rest.min(PIECE + needle.len())];
        content.read_exact_at(piece, offset)?;
        if piece.windows(needle.len()).any(|window| window == needle) {
            return Ok(true);
        }
        offset += PIECE as u64;
    }
    Ok(false)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An executable with one segment that is the whole file, or that names a loader.
    fn elf(machine: u16, loader: Option<&str>, text: &str) -> Vec<u8> {
        let mut file = vec![0; HEADER + SEGMENT];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[0x10] = 2;
        file[0x12..0x14].copy_from_slice(&machine.to_le_bytes());
        file[0x20] = HEADER as u8;
        file[0x36] = SEGMENT as u8;
        file[0x38] = 1;
        let data = loader.unwrap_or(text);
        let segment = &mut file[HEADER..];
        segment[0] = if loader.is_some() { 3 } else { 1 };
        segment[0x08] = (HEADER + SEGMENT) as u8;
        segment[0x20..0x24].copy_from_slice(&(data.len() as u32).to_le_bytes());
        file.extend(data.as_bytes());
        if loader.is_some() {
            file.extend(text.as_bytes());
        }
        file
    }

    fn checked(name: &str, bytes: Vec<u8>) -> Result<(), String> {
        let version = "v1.36.2".parse().unwrap();
        check(name, version, &Content::bytes(bytes)).map_err(|error| error.to_string())
    }

    #[test]
    fn static_programs_pass_and_a_kubelet_with_glibc() {
        let text = "x".repeat(PIECE - 125) + "v1.36.2";
        assert_eq!(checked("kube-proxy", elf(X86_64, None, &text)), Ok(()));
        assert_eq!(checked("kubelet", elf(X86_64, Some(LOADER), "v1.36.2")), Ok(()));
    }

    #[test]
    fn what_is_no_program_is_said() {
        let whole = elf(X86_64, None, "v1.36.2");
        let mut object = whole.clone();
        object[0x10] = 1;
        for (bytes, message) in [
            (Vec::new(), "it is empty"),
            (b"<!DOCTYPE html><html>".to_vec(), "it is a web page, not a program"),
            (b"<?xml version='1.0'?><Error>".to_vec(), "it is a web page, not a program"),
            (b"#!/bin/sh\nexec kubelet".to_vec(), "it is a script, not a program"),
            (b"\x1f\x8b\x08".to_vec(), "it is compressed, not a program"),
            (b"MZ\x90 windows".to_vec(), "it begins with 'MZ\u{fffd} windows', as no program does"),
            (elf(183, None, "v1.36.2"), "it is a program for arm64, not for x86-64"),
            (elf(8, None, ""), "it is a program for machine 8, not for x86-64"),
            (object, "it is an ELF file, but no program"),
            (whole[..60].to_vec(), "it ends before its segments do"),
            (whole[..whole.len() - 1].to_vec(), "it ends before its segments do"),
            (
                elf(X86_64, Some(LOADER), ""),
                "it is not static: it asks for '/lib64/ld-linux-x86-64.so.2'",
            ),
            (
                elf(X86_64, None, "v1.35.2"),
                "it has no 'v1.36.2' in it, so it is of another version",
            ),
        ] {
            assert_eq!(checked("kube-proxy", bytes), Err(message.to_owned()));
        }
        let musl = elf(X86_64, Some("/lib/ld-musl-x86_64.so.1"), "");
        let message = "it is not static: it asks for '/lib/ld-musl-x86_64.so.1'";
        assert_eq!(checked("kubelet", musl), Err(message.to_owned()));
    }

    #[test]
    fn the_version_is_found_across_two_pieces() {
        for shift in 0..10 {
            let text = "x".repeat(PIECE - HEADER - SEGMENT - shift) + "v1.36.2";
            assert_eq!(checked("kube-proxy", elf(X86_64, None, &text)), Ok(()), "{shift}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(at in 0_usize..130, byte: u8, cut in 0_usize..140) {
            let mut bytes = elf(X86_64, Some(LOADER), "v1.36.2");
            let at = at.min(bytes.len() - 1);
            bytes[at] = byte;
            bytes.truncate(cut);
            let _ = checked("kubelet", bytes);
        }
    }
}
