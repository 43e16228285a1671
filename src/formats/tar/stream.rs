// SPDX-License-Identifier: Apache-2.0
//! Files of a tar archive that is too large to unpack: read once, from its beginning to its end.
//!
//! Headers are those of [`super`]; of extended headers (pax and GNU) only the path counts. Names
//! that lead out of the archive are refused although nothing is ever written under them: such an
//! archive was not made by anybody who means well.

use std::{
    collections::BTreeSet,
    io::{self, Read},
};

use tar::PaxExtensions;

/// Most bytes of an extended header: a path of PATH_MAX, and some attributes.
const MAX_EXTENDED: u64 = 1 << 20;
/// Most bytes that are read in all: a small archive may decompress to any number of them.
const MAX_TOTAL: u64 = 16 << 30;

/// Why an archive cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("it is no whole tar archive: {0}")]
    Read(#[from] io::Error),
    #[error("'{path}' leads out of the archive")]
    Outside { path: String },
    #[error("'{path}' is {what}, not a file")]
    NotFile { path: String, what: &'static str },
    #[error("'{path}' ends after {found} of {size} bytes")]
    Short { path: String, found: u64, size: u64 },
    #[error("an extended header before '{path}' is too long or malformed")]
    Extended { path: String },
}

/// A file as it comes by.
#[derive(Debug)]
pub struct File<'a> {
    /// The last part of the path.
    pub name: &'a str,
    pub path: &'a str,
    /// Bytes.
    pub size: u64,
}

/// Shows `visit` every file whose name is wanted, whatever its folder, with its bytes.
///
/// # Errors
/// The archive is malformed, has a path that leads out of it, or something else than a file under a
/// wanted name; and whatever `visit` refuses.
pub fn files<E: From<Error>>(
    archive: impl Read,
    wanted: &BTreeSet<&str>,
    mut visit: impl FnMut(&File<'_>, &mut dyn Read) -> Result<(), E>,
) -> Result<(), E> {
    let mut archive = tar::Archive::new(Bounded { inner: archive, left: MAX_TOTAL });
    let mut extended: Option<Vec<u8>> = None;
    for entry in archive.entries().map_err(Error::Read)?.raw(true) {
        let mut entry = entry.map_err(Error::Read)?;
        let kind = entry.header().entry_type().as_byte();
        if matches!(kind, b'L' | b'K' | b'x' | b'g') {
            let path = extended_path(&mut entry, kind)?;
            extended = path.or(extended);
            continue;
        }
        let path = extended.take().unwrap_or_else(|| entry.header().path_bytes().into_owned());
        let path = shown(&path);
        if path.starts_with('/') || path.split('/').any(|part| part == "..") {
            return Err(Error::Outside { path }.into());
        }
        let name = path.rsplit('/').next().unwrap_or(&path);
        if kind == b'5' || !wanted.contains(name) {
            continue;
        }
        if let Some(what) = other_kind(kind) {
            return Err(Error::NotFile { path, what }.into());
        }
        let size = entry.size();
        let mut counted = Counted { inner: &mut entry, read: 0 };
        visit(&File { name, path: &path, size }, &mut counted)?;
        if counted.read != size {
            return Err(Error::Short { found: counted.read, path, size }.into());
        }
    }
    Ok(())
}

/// What an entry is if it is no file.
const fn other_kind(kind: u8) -> Option<&'static str> {
    match kind {
        b'0' | b'\0' | b'7' => None,
        b'1' | b'2' => Some("a link"),
        _ => Some("a device or something else"),
    }
}

/// The path of the next entry, if this extended header names one.
fn extended_path(entry: &mut impl Read, kind: u8) -> Result<Option<Vec<u8>>, Error> {
    let mut data = Vec::new();
    entry.take(MAX_EXTENDED + 1).read_to_end(&mut data)?;
    let malformed = || Error::Extended { path: shown(&data[..data.len().min(100)]) };
    if data.len() as u64 > MAX_EXTENDED {
        return Err(malformed());
    }
    match kind {
        b'L' => {
            let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
            Ok(Some(data[..end].to_vec()))
        }
        b'x' => {
            let mut path = None;
            for record in PaxExtensions::new(&data) {
                let record = record.map_err(|_| malformed())?;
                match record.key_bytes() {
                    b"path" => path = Some(record.value_bytes().to_vec()),
                    // It would say that the header's own size is wrong.
                    b"size" => return Err(malformed()),
                    _ => {}
                }
            }
            Ok(path)
        }
        _ => Ok(None),
    }
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).escape_debug().to_string()
}

/// Refuses to go on after so many bytes.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            io::Error::other(format!("it holds more than {}", crate::units::Bytes(MAX_TOTAL)))
        })?;
        Ok(count)
    }
}

struct Counted<'a, R> {
    inner: &'a mut R,
    read: u64,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.read += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(path: &str, kind: u8, size: usize) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_size(size as u64);
        header.set_cksum();
        header
    }

    fn archive(entries: &[(&str, u8, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (path, kind, data) in entries {
            bytes.extend(header(path, *kind, data.len()).as_bytes());
            bytes.extend(data.as_bytes());
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes.extend([0; 1024]);
        bytes
    }

    fn found(bytes: &[u8]) -> Result<Vec<String>, String> {
        let mut found = Vec::new();
        let wanted = BTreeSet::from(["kubelet", "kubectl"]);
        files(bytes, &wanted, |file, data| {
            let mut text = String::new();
            data.read_to_string(&mut text)?;
            found.push(format!("{}: {} {}", file.path, file.size, text));
            Ok::<_, Error>(())
        })
        .map_err(|error| error.to_string())?;
        Ok(found)
    }

    #[test]
    fn wanted_files_are_found_in_any_folder() {
        let deep = format!("{}/kubectl", "d".repeat(200));
        let pax = format!("{} path={deep}\n", deep.len() + 10);
        let bytes = archive(&[
            ("kubernetes/", b'5', ""),
            ("kubernetes/server/bin/kubelet", b'0', "one"),
            ("kubernetes/server/bin/kubelet.docker_tag", b'0', "v1"),
            ("./LICENSES", b'0', "text"),
            ("././@LongLink", b'L', &format!("{deep}\0")),
            ("short", b'0', "two"),
            ("pax", b'x', &pax),
            ("short", b'0', "three"),
            ("kubectl", b'5', ""),
        ]);
        let deep = |size: usize, text: &str| format!("{deep}: {size} {text}");
        let wanted =
            ["kubernetes/server/bin/kubelet: 3 one".to_owned(), deep(3, "two"), deep(5, "three")];
        assert_eq!(found(&bytes), Ok(wanted.to_vec()));
    }

    #[test]
    fn hostile_archives_are_refused() {
        let size = "10 size=1\n";
        for (entry, message) in [
            (("../kubelet", b'0', "x"), "'../kubelet' leads out of the archive"),
            (("a/../../kubelet", b'0', "x"), "'a/../../kubelet' leads out of the archive"),
            (("/kubelet", b'0', "x"), "'/kubelet' leads out of the archive"),
            (("bin/kubelet", b'2', ""), "'bin/kubelet' is a link, not a file"),
            (("bin/kubelet", b'3', ""), "'bin/kubelet' is a device or something else, not a file"),
            (
                ("x", b'x', size),
                "an extended header before '10 size=1\\n' is too long or malformed",
            ),
            (("x", b'x', "no pax"), "an extended header before 'no pax' is too long or malformed"),
        ] {
            assert_eq!(found(&archive(&[entry])), Err(message.to_owned()));
        }
        let whole = archive(&[("kubelet", b'0', "four")]);
        assert_eq!(found(&whole[..514]), Err("'kubelet' ends after 2 of 4 bytes".to_owned()));
        let error = found(&whole[..500]).unwrap_err();
        assert!(error.starts_with("it is no whole tar archive: "), "{error}");
        let error = found(b"<!DOCTYPE html>".repeat(100).as_slice()).unwrap_err();
        assert!(error.starts_with("it is no whole tar archive: "), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn a_changed_archive_never_panics(at in 0_usize..2560, byte: u8) {
            let mut bytes = archive(&[("x", b'x', "12 path=abc\n"), ("kubelet", b'0', "x")]);
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = found(&bytes);
        }
    }
}
