// SPDX-License-Identifier: Apache-2.0
//! A package's tar archive as a list of entries: POSIX ustar and pax (IEEE Std 1003.1-2017,
//! `pax`, "EXTENDED DESCRIPTION"), and GNU's long names.
//!
//! An archive is what dpkg-deb makes: relative paths, each once, hard links to what came
//! before, an end mark. Everything else is refused, with the offset of its header.

use std::{collections::BTreeMap, sync::Arc};

use tar::Header;

use super::Error;
use crate::tree::{Content, Meta, Source, TreePath};

/// One entry of a package.
#[derive(Debug, Clone)]
pub struct Entry {
    pub path: TreePath,
    pub meta: Meta,
    pub kind: Kind,
    /// Names of owner and group; empty if the archive has none. Only the numbers of Debian's
    /// static accounts are the same on every system.
    pub owner_name: String,
    pub group_name: String,
}

/// What an entry is.
#[derive(Debug, Clone)]
pub enum Kind {
    Directory,
    File(Content),
    /// The target as written.
    Symlink(String),
    /// Another name of an entry further up, which is no directory.
    HardLink(TreePath),
    CharDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
}

const BLOCK: u64 = 512;

/// Limits for headers that describe the entry after them: a path has at most PATH_MAX bytes, a
/// few extended attributes of 64 KiB fit as well.
const LONG_NAME_MAX: u64 = 8 << 10;
const PAX_MAX: u64 = 1 << 20;

/// The entries of an uncompressed tar archive of `len` bytes, in its order.
///
/// # Errors
/// A malformed or truncated archive, or an entry that a package must not have.
pub fn entries(source: Arc<dyn Source>, len: u64) -> Result<Vec<Entry>, Error> {
    let mut reader = Reader { source, len, position: 0 };
    let mut entries = Vec::new();
    // Whether the entry of a path may get another name.
    let mut seen: BTreeMap<TreePath, bool> = BTreeMap::new();
    while let Some((offset, entry)) = reader.entry()? {
        let error =
            |reason: String| Error::Tar { offset, path: Some(entry.path.to_string()), reason };
        if let Kind::HardLink(target) = &entry.kind
            && !seen.get(target).copied().unwrap_or(false)
        {
            return Err(error(format!("its hard link target '{target}' is no earlier file")));
        }
        let linkable = !matches!(entry.kind, Kind::Directory);
        if entry.path.is_root() && linkable {
            return Err(error("the root is no directory".to_owned()));
        }
        if seen.insert(entry.path.clone(), linkable).is_some() {
            return Err(error("the same path came before".to_owned()));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn malformed(offset: u64, reason: &str) -> Error {
    Error::Tar { offset, path: None, reason: reason.to_owned() }
}

struct Reader {
    source: Arc<dyn Source>,
    len: u64,
    position: u64,
}

/// What extended headers say about the entry after them.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: BTreeMap<String, Vec<u8>>,
}

impl Reader {
    /// The next entry with the offset of its header; none at the end mark.
    fn entry(&mut self) -> Result<Option<(u64, Entry)>, Error> {
        let mut extended = Extended::default();
        loop {
            let offset = self.position;
            let block = self.block()?;
            if block.iter().all(|byte| *byte == 0) {
                return Ok(None);
            }
            let header = Header::from_byte_slice(&block);
            if header.cksum().ok() != Some(checksum(&block)) {
                return Err(malformed(offset, "its checksum does not fit"));
            }
            match header.entry_type().as_byte() {
                b'L' => extended.path = Some(until_nul(self.data(header, LONG_NAME_MAX)?)),
                b'K' => extended.link = Some(until_nul(self.data(header, LONG_NAME_MAX)?)),
                b'x' => {
                    extended.pax = pax_records(&self.data(header, PAX_MAX)?)
                        .ok_or_else(|| malformed(offset, "its pax records are malformed"))?;
                }
                _ => {
                    let fields = Fields { header, extended: &extended };
                    let entry = self.finish(&fields).map_err(|reason| {
                        let path = Some(String::from_utf8_lossy(&fields.path()).into_owned());
                        Error::Tar { offset, path, reason }
                    })?;
                    return Ok(Some((offset, entry)));
                }
            }
        }
    }

    fn block(&mut self) -> Result<[u8; BLOCK as usize], Error> {
        let mut block = [0; BLOCK as usize];
        let start = self.position;
        self.skip(BLOCK).ok_or_else(|| malformed(start, "the archive ends without end mark"))?;
        self.source.read_exact_at(&mut block, start)?;
        Ok(block)
    }

    /// Steps over `size` bytes and their padding; gives where they begin.
    fn skip(&mut self, size: u64) -> Option<u64> {
        let start = self.position;
        let padded = size.checked_next_multiple_of(BLOCK)?;
        self.position = start.checked_add(padded).filter(|end| *end <= self.len)?;
        Some(start)
    }

    /// The data of an extended header, at most `limit` bytes.
    fn data(&mut self, header: &Header, limit: u64) -> Result<Vec<u8>, Error> {
        let offset = self.position.saturating_sub(BLOCK);
        let size = header.entry_size().ok().filter(|size| *size <= limit);
        let size = size.ok_or_else(|| malformed(offset, "an extended header is too long"))?;
        let start =
            self.skip(size).ok_or_else(|| malformed(offset, "an extended header is cut off"))?;
        let mut data = vec![0; usize::try_from(size).expect("below a small limit")];
        self.source.read_exact_at(&mut data, start)?;
        Ok(data)
    }

    /// The entry that a header and the extended headers above it describe.
    fn finish(&mut self, fields: &Fields<'_>) -> Result<Entry, String> {
        fields.check_keys()?;
        let path = tree_path(&fields.path())?;
        let size = fields.number("size", "size", Header::entry_size)?;
        let start = self.skip(size).ok_or("its data is cut off")?;
        let window =
            || Content::Window { source: Arc::clone(&self.source), offset: start, len: size };
        let kind = match fields.header.entry_type().as_byte() {
            b'0' | b'\0' | b'7' => Kind::File(window()),
            b'1' => Kind::HardLink(tree_path(&fields.link()?)?),
            b'2' => Kind::Symlink(utf8(fields.link()?)?),
            b'3' => {
                device(fields.header).map(|(major, minor)| Kind::CharDevice { major, minor })?
            }
            b'4' => {
                device(fields.header).map(|(major, minor)| Kind::BlockDevice { major, minor })?
            }
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            other => {
                return Err(format!("type '{}' is not known", char::from(other).escape_debug()));
            }
        };
        if size != 0 && !matches!(kind, Kind::File(_)) {
            return Err("only a file may have data".to_owned());
        }
        Ok(Entry {
            path,
            meta: fields.meta()?,
            kind,
            owner_name: fields.name("uname", fields.header.username_bytes())?,
            group_name: fields.name("gname", fields.header.groupname_bytes())?,
        })
    }
}

/// A header together with what stood above it, which takes precedence.
struct Fields<'a> {
    header: &'a Header,
    extended: &'a Extended,
}

const XATTR: &str = "SCHILY.xattr.";

impl Fields<'_> {
    /// Unknown pax keys may change what an entry means (`GNU.sparse.*`).
    fn check_keys(&self) -> Result<(), String> {
        const KNOWN: [&str; 11] = [
            "path", "linkpath", "size", "uid", "gid", "uname", "gname", "mtime", "atime", "ctime",
            "comment",
        ];
        let unknown = |key: &&String| !KNOWN.contains(&key.as_str()) && !key.starts_with(XATTR);
        match self.extended.pax.keys().find(unknown) {
            Some(key) => Err(format!("pax key '{}' is not known", key.escape_debug())),
            None => Ok(()),
        }
    }

    fn path(&self) -> Vec<u8> {
        let extended = self.extended.pax.get("path").or(self.extended.path.as_ref());
        extended.cloned().unwrap_or_else(|| self.header.path_bytes().into_owned())
    }

    fn link(&self) -> Result<Vec<u8>, String> {
        let extended = self.extended.pax.get("linkpath").or(self.extended.link.as_ref());
        let link = extended.cloned().or_else(|| Some(self.header.link_name_bytes()?.into_owned()));
        link.filter(|link| !link.is_empty()).ok_or_else(|| "it links to nothing".to_owned())
    }

    fn meta(&self) -> Result<Meta, String> {
        let mode = self.header.mode().map_err(|_| "its mode is no number")?;
        let xattrs =
            self.extended.pax.iter().filter_map(|(key, value)| {
                Some((key.strip_prefix(XATTR)?.to_owned(), value.clone()))
            });
        Ok(Meta {
            uid: self.number("uid", "uid", Header::uid)?,
            gid: self.number("gid", "gid", Header::gid)?,
            mode: u16::try_from(mode & 0o7777).expect("twelve bits"),
            mtime: self.number("mtime", "mtime", Header::mtime)?,
            xattrs: xattrs.collect(),
        })
    }

    /// A number by its pax key, else from the header. Of times only whole seconds count.
    fn number<T: TryFrom<u64>>(
        &self,
        key: &str,
        what: &str,
        field: impl Fn(&Header) -> std::io::Result<u64>,
    ) -> Result<T, String> {
        let number = match self.extended.pax.get(key) {
            Some(value) => std::str::from_utf8(value).ok().and_then(|text| {
                let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
                whole.parse().ok().filter(|_| whole.bytes().all(|byte| byte.is_ascii_digit()))
            }),
            None => field(self.header).ok(),
        };
        number
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| format!("its {what} is no number or out of range"))
    }

    fn name(&self, key: &str, field: Option<&[u8]>) -> Result<String, String> {
        let name = self.extended.pax.get(key).map(Vec::as_slice).or(field);
        utf8(name.unwrap_or_default().to_vec())
    }
}

/// A path as packages have them: relative to the root, within it.
fn tree_path(bytes: &[u8]) -> Result<TreePath, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "a path is not UTF-8")?;
    if text.is_empty() || text.starts_with('/') {
        return Err(format!("'{}' is no relative path", text.escape_debug()));
    }
    TreePath::new(text).map_err(|error| error.to_string())
}

fn utf8(bytes: Vec<u8>) -> Result<String, String> {
    let text = String::from_utf8(bytes).map_err(|_| "a name is not UTF-8".to_owned())?;
    match text.contains('\0') {
        true => Err("a name contains NUL".to_owned()),
        false => Ok(text),
    }
}

fn device(header: &Header) -> Result<(u32, u32), String> {
    let number = |field: std::io::Result<Option<u32>>| field.ok().flatten();
    number(header.device_major())
        .zip(number(header.device_minor()))
        .ok_or_else(|| "its device numbers are malformed".to_owned())
}

/// The sum of a header's bytes, its own checksum field counted as blanks.
fn checksum(block: &[u8; BLOCK as usize]) -> u32 {
    let field = 148..156;
    let byte = |(index, byte): (usize, &u8)| match field.contains(&index) {
        true => u32::from(b' '),
        false => u32::from(*byte),
    };
    block.iter().enumerate().map(byte).sum()
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
    bytes
}

/// Records of the form `LENGTH KEY=VALUE\n`; the value may hold any byte.
fn pax_records(mut data: &[u8]) -> Option<BTreeMap<String, Vec<u8>>> {
    let mut records = BTreeMap::new();
    while !data.is_empty() {
        let blank = data.iter().position(|byte| *byte == b' ')?;
        let length: usize = std::str::from_utf8(&data[..blank]).ok()?.parse().ok()?;
        let (record, rest) = data.split_at_checked(length)?;
        let record = record.get(blank + 1..)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        let key = std::str::from_utf8(&record[..equals]).ok()?;
        records.insert(key.to_owned(), record[equals + 1..].to_vec());
        data = rest;
    }
    Some(records)
}
