// SPDX-License-Identifier: Apache-2.0
//! Volumes that carry metadata: FAT and ISO 9660, read in user space and with bounds.
//!
//! The kernel neither needs six more modules nor mounts a file system that somebody else made.
//! A folder of files in memory is a volume too: that is how the build host runs the same code.

mod fat;
mod iso9660;

use std::{collections::BTreeMap, io};

use crate::yaml::DOCUMENT_MAX;

/// Bytes of a directory that are looked at.
const DIRECTORY_MAX: usize = 1 << 20;
/// Entries of a directory that are looked at.
const ENTRIES_MAX: usize = 4096;

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

/// Where a volume may be.
pub enum Medium {
    Device(Box<dyn ReadAt>),
    Folder(Folder),
}

/// Files in memory, as if they lay on a volume with that label.
#[derive(Debug, Clone, Default)]
pub struct Folder {
    pub label: String,
    /// By relative path.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl std::fmt::Debug for Medium {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Device(_) => "Medium::Device",
            Self::Folder(_) => "Medium::Folder",
        })
    }
}

/// Why reading a volume stopped.
#[derive(Debug)]
pub(crate) enum Fault {
    Io(io::Error),
    Damaged(&'static str),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => write!(f, "reading it: {error}"),
            Self::Damaged(what) => f.write_str(what),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A directory's entry.
#[derive(Debug, Clone)]
struct Entry {
    name: String,
    is_folder: bool,
    /// First cluster, or first block.
    start: u32,
    length: u32,
    /// In several extents, which no document is.
    is_split: bool,
}

/// An open volume.
pub(crate) enum Volume<'a> {
    Fat(fat::Volume<'a>),
    Iso(iso9660::Volume<'a>),
    Folder(&'a Folder),
}

impl<'a> Volume<'a> {
    /// The medium's volume. A device that cannot even be probed has none that is ours: a drive
    /// without a disc, somebody's stick.
    pub(crate) fn open(medium: &'a Medium) -> Option<Self> {
        let device = match medium {
            Medium::Device(device) => &**device,
            Medium::Folder(folder) => return Some(Self::Folder(folder)),
        };
        if let Ok(Some(volume)) = fat::Volume::open(device) {
            return Some(Self::Fat(volume));
        }
        iso9660::Volume::open(device).ok().flatten().map(Self::Iso)
    }

    /// The label without the blanks at its end.
    pub(crate) fn label(&self) -> String {
        let label = match self {
            Self::Fat(volume) => volume.label(),
            Self::Iso(volume) => volume.label().to_owned(),
            Self::Folder(folder) => folder.label.clone(),
        };
        label.trim_end().to_owned()
    }

    pub(crate) fn is_labeled(&self, wanted: &str) -> bool {
        self.label().eq_ignore_ascii_case(wanted)
    }

    /// The names in a folder; the root's path is empty. Nothing if there is no such folder.
    pub(crate) fn names(&self, path: &str) -> Result<Vec<String>, Fault> {
        if let Self::Folder(folder) = self {
            let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
            let below = folder.files.keys().filter_map(|file| file.strip_prefix(&prefix));
            let mut names: Vec<String> = below
                .map(|rest| rest.split('/').next().unwrap_or(rest).to_owned())
                .take(ENTRIES_MAX)
                .collect();
            names.dedup();
            return Ok(names);
        }
        let names = |entries: Vec<Entry>| entries.into_iter().map(|entry| entry.name).collect();
        if path.is_empty() {
            return Ok(names(self.entries(None)?));
        }
        match self.find(path)? {
            Some(entry) if entry.is_folder => Ok(names(self.entries(Some(&entry))?)),
            _ => Ok(Vec::new()),
        }
    }

    /// A file's bytes, one more than a document may have at most, so that too much is noticed;
    /// none if there is no such file. Names are compared without regard to case.
    pub(crate) fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Fault> {
        if let Self::Folder(folder) = self {
            let found = folder.files.iter().find(|(file, _)| file.eq_ignore_ascii_case(path));
            return Ok(found.map(|(_, bytes)| bytes.clone()));
        }
        let Some(entry) = self.find(path)?.filter(|entry| !entry.is_folder) else {
            return Ok(None);
        };
        if entry.is_split {
            return Err(Fault::Damaged("a document has more than one extent"));
        }
        let length = usize::try_from(entry.length).unwrap_or(usize::MAX).min(DOCUMENT_MAX + 1);
        match self {
            Self::Fat(volume) => volume.read(&entry, length),
            Self::Iso(volume) => volume.read(&entry, length),
            Self::Folder(_) => Ok(Vec::new()),
        }
        .map(Some)
    }

    fn find(&self, path: &str) -> Result<Option<Entry>, Fault> {
        let mut found: Option<Entry> = None;
        for part in path.split('/') {
            if found.as_ref().is_some_and(|entry| !entry.is_folder) {
                return Ok(None);
            }
            let entries = self.entries(found.as_ref())?;
            found = entries.into_iter().find(|entry| entry.name.eq_ignore_ascii_case(part));
            if found.is_none() {
                return Ok(None);
            }
        }
        Ok(found)
    }

    fn entries(&self, of: Option<&Entry>) -> Result<Vec<Entry>, Fault> {
        let mut entries = match self {
            Self::Fat(volume) => volume.entries(of)?,
            Self::Iso(volume) => volume.entries(of)?,
            Self::Folder(_) => Vec::new(),
        };
        entries.truncate(ENTRIES_MAX);
        Ok(entries)
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

fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    let at = |index| bytes.get(offset + index).copied().unwrap_or(0);
    u16::from_le_bytes([at(0), at(1)])
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from(u16_at(bytes, offset)) | u32::from(u16_at(bytes, offset + 2)) << 16
}
