// SPDX-License-Identifier: Apache-2.0
//! NoCloud media: a vfat or ISO 9660 volume labeled `CIDATA`, in any case.
//!
//! The volume is read here, in user space and with bounds, so the kernel neither needs six more
//! modules nor mounts a file system that somebody else made. A device that is no such volume is
//! nothing; a volume with the label that cannot be read, or that holds none of the documents, is
//! refused.

mod fat;
mod iso9660;
mod line;

use std::io;

use kiln_contract::NOCLOUD_LABEL;

pub use line::{LineError, on_command_line, parse_line};

use crate::{
    metadata::Seed,
    yaml::{DOCUMENT_MAX, printable},
};

/// Bytes of a directory that are looked at.
const DIRECTORY_MAX: usize = 1 << 20;
/// The documents, in the order of [`Seed`]'s fields, and one that is only recognized.
const FILES: [&str; 4] = ["meta-data", "network-config", "user-data", "vendor-data"];

/// A device or file that is read at offsets.
pub trait ReadAt {
    /// Reads up to `buffer.len()` bytes; fewer at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl ReadAt for &[u8] {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        let n = buffer.len().min(self.len() - from);
        buffer[..n].copy_from_slice(&self[from..from + n]);
        Ok(n)
    }
}

/// Why a volume with the label is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("nocloud medium '{medium}': reading it: {error}")]
    Io { medium: String, error: io::Error },
    #[error("nocloud medium '{medium}': {what}")]
    Damaged { medium: String, what: &'static str },
    #[error(
        "nocloud medium '{medium}': none of meta-data, network-config, user-data is there; found: {}",
        if found.is_empty() { "nothing".to_owned() } else { found.join(", ") }
    )]
    NoDocuments { medium: String, found: Vec<String> },
    #[error(
        "nocloud medium '{medium}': only the short name '{found}' is there: \
         write the ISO with Rock Ridge or Joliet names"
    )]
    ShortNames { medium: String, found: String },
}

/// Reads the documents if `device` is a NoCloud volume.
///
/// # Errors
/// It has the label, but cannot be read or holds no document.
pub fn read(device: &dyn ReadAt, medium: &str) -> Result<Option<Seed>, Error> {
    let outcome = read_volume(device);
    let medium = medium.to_owned();
    match outcome {
        Ok(None) => Ok(None),
        Ok(Some(files)) => seed(files, medium).map(Some),
        Err(Fault::Io(error)) => Err(Error::Io { medium, error }),
        Err(Fault::Damaged(what)) => Err(Error::Damaged { medium, what }),
    }
}

/// A device that cannot even be probed is not ours: a drive without a disc, somebody's stick.
fn read_volume(device: &dyn ReadAt) -> Result<Option<Files>, Fault> {
    if let Ok(Some(volume)) = fat::Volume::open(device) {
        return is_nocloud(&volume.label()).then(|| volume.files()).transpose();
    }
    if let Ok(Some(volume)) = iso9660::Volume::open(device) {
        return is_nocloud(volume.label()).then(|| volume.files()).transpose();
    }
    Ok(None)
}

fn is_nocloud(label: &str) -> bool {
    label.trim_end().eq_ignore_ascii_case(NOCLOUD_LABEL)
}

fn seed(mut files: Files, medium: String) -> Result<Seed, Error> {
    let mut take = |name: &str| files.found.remove(name);
    let mut seed = Seed {
        meta_data: take("meta-data"),
        network_config: take("network-config"),
        user_data: take("user-data"),
        origin: format!("nocloud medium '{medium}'"),
        ..Seed::default()
    };
    if take("vendor-data").is_some_and(|bytes| !bytes.trim_ascii().is_empty()) {
        seed.warnings.push(format!("nocloud medium '{medium}': vendor-data is not read"));
    }
    if seed.has_documents() {
        return Ok(seed);
    }
    let short = |name: &&String| {
        ["META_DAT", "USER_DAT", "NETWORK_"].iter().any(|start| name.starts_with(start))
    };
    match files.others.iter().find(short) {
        Some(found) => Err(Error::ShortNames { medium, found: found.clone() }),
        None => Err(Error::NoDocuments { medium, found: files.others }),
    }
}

/// What a volume's root directory holds.
#[derive(Debug, Default)]
struct Files {
    found: std::collections::BTreeMap<&'static str, Vec<u8>>,
    /// Other names, for messages.
    others: Vec<String>,
}

impl Files {
    /// The document that `name` is, unless it was found already.
    fn wants(&mut self, name: &str) -> Option<&'static str> {
        let wanted = FILES.into_iter().find(|file| file.eq_ignore_ascii_case(name));
        if wanted.is_none() && self.others.len() < 8 {
            self.others.push(printable(name));
        }
        wanted.filter(|file| !self.found.contains_key(file))
    }
}

/// Why reading a volume stopped.
#[derive(Debug)]
enum Fault {
    Io(io::Error),
    Damaged(&'static str),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads exactly `length` bytes; none if the device ends before.
fn bytes(device: &dyn ReadAt, offset: u64, length: usize) -> Result<Option<Vec<u8>>, Fault> {
    let mut buffer = vec![0; length];
    let mut n = 0;
    while n < length {
        let at = offset.saturating_add(n as u64);
        match device.read_at(&mut buffer[n..], at)? {
            0 => return Ok(None),
            more => n += more,
        }
    }
    Ok(Some(buffer))
}

/// As [`bytes`], for what must be there.
fn exact(device: &dyn ReadAt, offset: u64, length: usize) -> Result<Vec<u8>, Fault> {
    bytes(device, offset, length)?.ok_or(Fault::Damaged("it ends before its own structures"))
}

/// How much of a file is read: one byte more than is accepted, so that too much is noticed.
fn document_length(size: u32) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX).min(DOCUMENT_MAX + 1)
}

fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    let at = |index| bytes.get(offset + index).copied().unwrap_or(0);
    u16::from_le_bytes([at(0), at(1)])
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from(u16_at(bytes, offset)) | u32::from(u16_at(bytes, offset + 2)) << 16
}

#[cfg(test)]
mod tests;
