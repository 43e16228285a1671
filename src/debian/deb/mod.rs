// SPDX-License-Identifier: Apache-2.0
//! What is in a `.deb`: its control text, and its files as entries with all their metadata.
//!
//! deb(5): an ar archive of `debian-binary`, `control.tar` and `data.tar`, the latter two
//! compressed by gzip, xz, zstd or not at all. [`data_tar`] streams the uncompressed tar, which
//! the I/O ring spools; [`entries`] lists it, with file contents as windows of the spool.
//! Maintainer scripts lie in `control.tar` beside the control text and are never read.

mod ar;
mod tar;

use std::{
    io::{self, BufReader, Read},
    sync::Arc,
};

use lzma_rust2::XzReader;

pub use tar::{Entry, Kind, entries};

use crate::tree::Source;

/// Why a `.deb` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("not a Debian package: it does not begin as an ar archive")]
    NotDeb,
    #[error("the member at byte {offset} of the package is malformed: {reason}")]
    Member { offset: u64, reason: &'static str },
    #[error("expected format version 2, found '{}'", .0.escape_debug())]
    Version(String),
    #[error("the package has no member '{0}'")]
    MissingMember(&'static str),
    #[error("member '{}' is compressed in an unknown way", .0.escape_debug())]
    Compression(String),
    #[error("the control archive is larger than {limit} bytes")]
    ControlTooLarge { limit: u64 },
    #[error("the control archive has no file 'control' in UTF-8")]
    NoControl,
    #[error("the entry at byte {offset} of the tar archive{}: {reason}", of_path(.path))]
    Tar { offset: u64, path: Option<String>, reason: String },
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn of_path(path: &Option<String>) -> String {
    path.as_ref().map(|path| format!(" ('{}')", path.escape_debug())).unwrap_or_default()
}

/// Decompressors may use this much: `zstd --ultra -22` and `xz -9` need half of it.
const WINDOW_LOG_MAX: u32 = 27;
const XZ_MEMORY_KIB: u32 = 192 << 10;

/// A control archive holds a few scripts and a list of digests.
const CONTROL_MAX: u64 = 16 << 20;

/// The uncompressed `data.tar` of a package, as a stream.
///
/// # Errors
/// No package of format version 2, or one without data. Errors of the data itself, such as
/// truncation, come while reading.
pub fn data_tar<'a>(deb: impl Read + Send + 'a) -> Result<Box<dyn Read + Send + 'a>, Error> {
    member(deb, "data.tar")
}

/// The control text of a package: one stanza for [`crate::debian::control`].
///
/// # Errors
/// No package of format version 2, or one without a control text.
pub fn control(deb: impl Read + Send) -> Result<String, Error> {
    let mut tar = Vec::new();
    member(deb, "control.tar")?.take(CONTROL_MAX + 1).read_to_end(&mut tar)?;
    let len = tar.len() as u64;
    if len > CONTROL_MAX {
        return Err(Error::ControlTooLarge { limit: CONTROL_MAX });
    }
    for entry in entries(Arc::new(Memory(tar)), len)? {
        if let (Kind::File(content), "/control") = (entry.kind, entry.path.as_str()) {
            return String::from_utf8(content.to_vec()?).map_err(|_| Error::NoControl);
        }
    }
    Err(Error::NoControl)
}

/// The decompressed stream of the member `name` plus the extension of its compression.
fn member<'a>(
    deb: impl Read + Send + 'a,
    name: &'static str,
) -> Result<Box<dyn Read + Send + 'a>, Error> {
    let mut archive = ar::Archive::open(deb)?;
    check_version(&mut archive)?;
    while let Some(found) = archive.next_member()? {
        let Some(extension) = found.strip_prefix(name) else { continue };
        let stream = BufReader::with_capacity(64 << 10, archive);
        return Ok(match extension {
            "" => Box::new(stream),
            ".gz" => Box::new(flate2::bufread::GzDecoder::new(stream)),
            ".xz" => Box::new(XzReader::new_mem_limit(stream, true, XZ_MEMORY_KIB)),
            ".zst" => {
                let mut decoder = zstd::Decoder::with_buffer(stream)?;
                decoder.window_log_max(WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
            _ => return Err(Error::Compression(found)),
        });
    }
    Err(Error::MissingMember(name))
}

/// The first member is `debian-binary`, of one line: `2.0`. Minor versions may grow.
fn check_version(archive: &mut ar::Archive<impl Read>) -> Result<(), Error> {
    if archive.next_member()?.as_deref() != Some("debian-binary") {
        return Err(Error::MissingMember("debian-binary"));
    }
    let mut version = Vec::new();
    archive.take(16).read_to_end(&mut version)?;
    match version.starts_with(b"2.") {
        true => Ok(()),
        false => Err(Error::Version(String::from_utf8_lossy(&version).into_owned())),
    }
}

/// Bytes in memory as a source.
struct Memory(Vec<u8>);

impl Source for Memory {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).ok();
        let bytes = start.and_then(|start| self.0.get(start..start.checked_add(buffer.len())?));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
