// SPDX-License-Identifier: Apache-2.0
//! Opening an archive that [`super::archive`] could have written, and checking all of it.
//!
//! Hostile bytes may reach this reader: sizes are bounded before memory is taken, every blob is
//! hashed before it is believed, and what names no blob names no file.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Read},
    sync::Arc,
};

use super::{
    Blob, Encoding, Error,
    document::{
        self, CONTAINERD_NAME, Descriptor, ImageConfig, Index, Layout, Manifest, REF_NAME, Sha256,
    },
};
use crate::{
    digest::{Digest, Hasher},
    tree::{Content, Source},
};

const BLOCK: u64 = 512;

/// Largest document: what registries promise to take of a manifest.
pub(super) const DOCUMENT_MAX: u64 = 4 << 20;

/// An image of an archive; all its digests are right.
#[derive(Debug)]
pub struct Found {
    pub name: String,
    pub manifest: Digest,
    /// The configuration as it stands there: JSON.
    pub config: String,
    /// The uncompressed layers' digests with their stored bytes, the lowest first.
    pub layers: Vec<(Digest, Content)>,
}

impl fmt::Display for Found {
    /// A line for the image, one for its configuration, one for each layer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.name, self.manifest)?;
        writeln!(f, "  config {}", self.config)?;
        for (digest, content) in &self.layers {
            writeln!(f, "  layer {digest} in {} bytes", content.len())?;
        }
        Ok(())
    }
}

/// The images of an archive, in the order of its index.
///
/// # Errors
/// Anything that is not as Kiln writes it, or does not have the digest it is named by.
pub fn read(archive: &Content) -> Result<Vec<Found>, Error> {
    let files = Files::open(archive)?;
    let layout: Layout = document::decode("oci-layout", &files.document("oci-layout")?)?;
    if layout.version != document::LAYOUT_VERSION {
        return Err(malformed(
            "oci-layout",
            format_args!("version '{}'", layout.version.escape_default()),
        ));
    }
    let index: Index = document::decode("index.json", &files.document("index.json")?)?;
    index.manifests.iter().map(|descriptor| files.image(descriptor)).collect()
}

fn malformed(what: &str, reason: impl fmt::Display) -> Error {
    Error::Document { what: what.to_owned(), reason: reason.to_string() }
}

/// The archive's files by name.
struct Files(BTreeMap<String, Content>);

impl Files {
    fn open(archive: &Content) -> Result<Self, Error> {
        let source: Arc<dyn Source> = Arc::new(Whole(archive.clone()));
        let mut files = BTreeMap::new();
        let mut offset = 0;
        loop {
            let error = |reason: &str| Error::Archive { offset, reason: reason.to_owned() };
            let mut block = [0; BLOCK as usize];
            archive
                .read_exact_at(&mut block, offset)
                .map_err(|_| error("it ends without end mark"))?;
            if block.iter().all(|byte| *byte == 0) {
                return Ok(Self(files));
            }
            let header = Header::read(&block).ok_or_else(|| error("no header of a plain file"))?;
            let start = offset + BLOCK;
            let end =
                header.size.checked_next_multiple_of(BLOCK).and_then(|len| start.checked_add(len));
            let end =
                end.filter(|end| *end <= archive.len()).ok_or_else(|| error("it is cut off"))?;
            if !header.is_directory {
                let source = Arc::clone(&source);
                let window = Content::Window { source, offset: start, len: header.size };
                if files.insert(header.name, window).is_some() {
                    return Err(error("the same name came before"));
                }
            }
            offset = end;
        }
    }

    fn document(&self, name: &str) -> Result<Vec<u8>, Error> {
        let content = self.0.get(name).ok_or_else(|| Error::Missing { name: name.to_owned() })?;
        if content.len() > DOCUMENT_MAX {
            return Err(malformed(
                name,
                format_args!("{} bytes, at most {DOCUMENT_MAX}", content.len()),
            ));
        }
        Ok(content.to_vec()?)
    }

    /// The blob of a descriptor, hashed.
    fn blob(&self, descriptor: &Descriptor) -> Result<Content, Error> {
        let name = blob_name(descriptor);
        let content = self.0.get(&name).ok_or_else(|| Error::Missing { name: name.clone() })?;
        if content.len() != descriptor.size {
            let expected = descriptor.size;
            return Err(malformed(
                &name,
                format_args!("{} bytes, expected {expected}", content.len()),
            ));
        }
        let Blob { digest: found, content } = Blob::new(content.clone())?;
        match found == descriptor.digest.0 {
            true => Ok(content),
            false => Err(Error::Digest { name, found }),
        }
    }

    /// The bytes of a descriptor's document, hashed.
    fn blob_document(&self, descriptor: &Descriptor, media_type: &str) -> Result<Vec<u8>, Error> {
        let name = blob_name(descriptor);
        if descriptor.media_type != media_type {
            let found = descriptor.media_type.escape_default();
            return Err(malformed(&name, format_args!("type '{found}', expected '{media_type}'")));
        }
        self.blob(descriptor)?;
        self.document(&name)
    }

    fn image(&self, descriptor: &Descriptor) -> Result<Found, Error> {
        let names = [CONTAINERD_NAME, REF_NAME].map(|key| descriptor.annotations.get(key));
        let name = match names {
            [Some(name), Some(other)] if name == other => name.clone(),
            _ => return Err(malformed("index.json", "an image without its two equal names")),
        };
        let manifest = self.blob_document(descriptor, document::MANIFEST)?;
        let manifest: Manifest = document::decode(&blob_name(descriptor), &manifest)?;
        let config = self.blob_document(&manifest.config, document::CONFIG)?;
        let parsed: ImageConfig = document::decode(&blob_name(&manifest.config), &config)?;
        let diff_ids = parsed.rootfs.diff_ids;
        if diff_ids.len() != manifest.layers.len() {
            return Err(malformed(&name, "configuration and manifest differ in their layers"));
        }
        let layers = diff_ids.iter().zip(&manifest.layers);
        let layers = layers.map(|(Sha256(diff_id), layer)| self.layer(layer, *diff_id));
        Ok(Found {
            name: name.escape_default().to_string(),
            manifest: descriptor.digest.0,
            config: String::from_utf8(config).expect("JSON is UTF-8"),
            layers: layers.collect::<Result<_, _>>()?,
        })
    }

    fn layer(&self, descriptor: &Descriptor, diff_id: Digest) -> Result<(Digest, Content), Error> {
        let name = blob_name(descriptor);
        let encoding = [Encoding::Plain, Encoding::Zstd]
            .into_iter()
            .find(|encoding| encoding.media_type() == descriptor.media_type);
        let content = self.blob(descriptor)?;
        let mut hasher = Hasher::new();
        match encoding {
            Some(Encoding::Plain) => content.copy_to(&mut hasher)?,
            Some(Encoding::Zstd) => {
                let stream = Stream { content: &content, position: 0 };
                io::copy(&mut zstd::Decoder::new(stream)?, &mut hasher)?;
            }
            None => {
                let found = descriptor.media_type.escape_default();
                return Err(malformed(&name, format_args!("type '{found}', expected a layer")));
            }
        }
        let found = hasher.finish();
        match found == diff_id {
            true => Ok((diff_id, content)),
            false => Err(Error::Digest { name: format!("{name}, uncompressed"), found }),
        }
    }
}

fn blob_name(descriptor: &Descriptor) -> String {
    format!("blobs/sha256/{}", descriptor.digest.0)
}

/// A ustar header of a file or directory, without extended headers.
struct Header {
    name: String,
    size: u64,
    is_directory: bool,
}

impl Header {
    fn read(block: &[u8; BLOCK as usize]) -> Option<Self> {
        let header = ::tar::Header::from_byte_slice(block);
        header.as_ustar()?;
        let sum = block.iter().enumerate().map(|(index, byte)| match index {
            148..156 => u32::from(b' '),
            _ => u32::from(*byte),
        });
        let is_whole = header.cksum().ok()? == sum.sum::<u32>();
        let kind = header.entry_type().as_byte();
        let name = String::from_utf8(header.path_bytes().into_owned()).ok()?;
        (is_whole && matches!(kind, b'0' | b'5')).then_some(())?;
        Some(Self { name, size: header.entry_size().ok()?, is_directory: kind == b'5' })
    }
}

/// A content as the source of windows.
pub(super) struct Whole(pub(super) Content);

impl Source for Whole {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }
}

/// A content from its beginning to its end.
pub(super) struct Stream<'a> {
    pub(super) content: &'a Content,
    pub(super) position: u64,
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.content.len() - self.position;
        let n_now = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        self.content.read_exact_at(&mut buffer[..n_now], self.position)?;
        self.position += n_now as u64;
        Ok(n_now)
    }
}
