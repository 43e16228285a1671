// SPDX-License-Identifier: Apache-2.0
//! How do programs become container images without Docker, a daemon or a registry?
//!
//! Specification: OCI image-spec 1.1. An image is a list of layers (tar archives, each laid over
//! the ones before), a configuration (what runs) and a manifest that names both by digest. An
//! image layout is a folder of such blobs under their digests with `index.json` as its table of
//! contents; packed into a tar, it is what `ctr images import` and `skopeo copy oci-archive:` take.
//!
//! ```text
//! oci-layout               version of the layout
//! index.json               name -> manifest, for each image
//! blobs/sha256/DIGEST      manifests, configurations, layers; one blob may serve many images
//! ```
//!
//! A [`Layer`] is made of a [`Tree`], so owners, modes and names have been checked there. An
//! [`archive`] is a [`Content`] and copies nothing: its layers are windows of the files they were
//! made of, read once when the layer is made, for its digest, and again by whoever reads the
//! archive. That is why layers are plain by default. In a root image, the squashfs around the
//! archive compresses better, and shares blocks with the same program elsewhere in the root.
//! [`Layer::compressed`] holds its bytes in memory; it is for archives that travel by themselves.
//! gzip is left out: what reads these archives reads zstd too.
//!
//! Everything is sorted and the archive's own entries have time 0: the same images give the same
//! bytes. [`read`] opens what [`archive`] wrote and checks every digest; [`survey`] says what an
//! archive of another tool holds; [`registry`] has what registries say of images, and [`artifact`]
//! is for files that are none.

pub mod artifact;
mod config;
mod document;
mod name;
mod program;
mod read;
mod reference;
pub mod registry;
mod survey;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
};

pub use config::Config;
use document::{Descriptor, ImageConfig, Index, Layout, Manifest, Sha256};
pub use name::{ImageName, NameError};
pub use program::Program;
pub use read::{Found, read};
pub use reference::{Reference, ReferenceError};
pub use survey::{Listed, canonical, survey};

use super::tar;
use crate::{
    digest::{Digest, Hasher},
    tree::{Content, Tree},
};

/// Layers that overlayfs stacks as containerd mounts them; Docker's limit too.
const LAYERS_MAX: usize = 127;

/// Entries of this name delete what lower layers have: no tree means that.
const WHITEOUT: &str = ".wh.";

/// Why there is no image, or why an archive is none.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Tar(#[from] tar::Error),
    #[error("'{path}' would delete '{hidden}' of a lower layer: names with '{WHITEOUT}' mean that")]
    Whiteout { path: String, hidden: String },
    #[error("reading a layer's files: {0}")]
    Read(#[from] io::Error),
    #[error("'{name}' has {count} layers; an image has 1 to {LAYERS_MAX}")]
    Layers { name: ImageName, count: usize },
    #[error("two images of one archive are called '{name}'")]
    SameName { name: ImageName },
    #[error("an archive holds at least one image")]
    NoImage,
    #[error("'{word}' is no argument of a program: it contains NUL")]
    Argument { word: String },
    #[error("'{name}' is no variable: no name, or one with '=', or a NUL in it")]
    Variable { name: String },
    #[error("'{path}' has no place in the image: {reason}")]
    Place { path: String, reason: String },
    #[error("the archive is malformed at offset {offset}: {reason}")]
    Archive { offset: u64, reason: String },
    #[error("{what} is malformed: {reason}")]
    Document { what: String, reason: String },
    #[error("the archive has no '{name}'")]
    Missing { name: String },
    #[error("'{name}' has digest {found}")]
    Digest { name: String, found: Digest },
}

/// Bytes with the digest that names them.
#[derive(Clone)]
struct Blob {
    digest: Digest,
    content: Content,
}

impl Blob {
    /// Reads the content once.
    fn new(content: Content) -> io::Result<Self> {
        let mut hasher = Hasher::new();
        content.copy_to(&mut hasher)?;
        Ok(Self { digest: hasher.finish(), content })
    }

    fn document(bytes: Vec<u8>) -> Self {
        Self { digest: Digest::of(&bytes), content: Content::bytes(bytes) }
    }

    fn descriptor(&self, media_type: &str) -> Descriptor {
        Descriptor {
            media_type: media_type.to_owned(),
            digest: Sha256(self.digest),
            size: self.content.len(),
            platform: None,
            annotations: BTreeMap::new(),
        }
    }
}

/// How a layer is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Plain,
    Zstd,
}

impl Encoding {
    const fn media_type(self) -> &'static str {
        match self {
            Self::Plain => "application/vnd.oci.image.layer.v1.tar",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

/// A file tree as one layer of an image. Cloning is cheap.
#[derive(Clone)]
pub struct Layer {
    encoding: Encoding,
    blob: Blob,
    /// Digest of the uncompressed archive.
    diff_id: Digest,
}

impl Layer {
    /// All of `tree`, not compressed. Its files must stay as they are: who reads the archive later
    /// reads them again, and only [`read`] would see that a digest is no longer theirs.
    ///
    /// # Errors
    /// What tar cannot hold, a name that means deletion, a file that cannot be read.
    pub fn plain(tree: &Tree) -> Result<Self, Error> {
        for (path, ..) in tree.iter() {
            if let Some(hidden) = path.file_name().strip_prefix(WHITEOUT) {
                let (path, hidden) = (path.to_string(), hidden.to_owned());
                return Err(Error::Whiteout { path, hidden });
            }
        }
        let blob = Blob::new(tar::archive(tree)?)?;
        Ok(Self { encoding: Encoding::Plain, diff_id: blob.digest, blob })
    }

    /// The same, compressed by zstd and held in memory.
    ///
    /// # Errors
    /// As for [`Layer::plain`].
    pub fn compressed(tree: &Tree, level: i32) -> Result<Self, Error> {
        let plain = Self::plain(tree)?;
        let mut encoder = zstd::Encoder::new(Vec::new(), level)?;
        encoder.set_pledged_src_size(Some(plain.blob.content.len()))?;
        plain.blob.content.copy_to(&mut encoder)?;
        let blob = Blob::document(encoder.finish()?);
        Ok(Self { encoding: Encoding::Zstd, blob, diff_id: plain.diff_id })
    }
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { encoding, blob, diff_id } = self;
        write!(f, "Layer({encoding:?}, {} bytes, {diff_id})", blob.content.len())
    }
}

/// A container image.
#[derive(Debug, Clone)]
pub struct Image {
    name: ImageName,
    config: Config,
    layers: Vec<Layer>,
}

impl Image {
    /// `layers` begins with the lowest.
    ///
    /// # Errors
    /// No layer, or too many to be mounted.
    pub fn new(name: ImageName, config: Config, layers: Vec<Layer>) -> Result<Self, Error> {
        match layers.len() {
            1..=LAYERS_MAX => Ok(Self { name, config, layers }),
            count => Err(Error::Layers { name, count }),
        }
    }

    pub fn name(&self) -> &ImageName {
        &self.name
    }

    fn config_blob(&self) -> Blob {
        let diff_ids = self.layers.iter().map(|layer| Sha256(layer.diff_id)).collect();
        Blob::document(document::encode(&ImageConfig::new(&self.config, diff_ids)))
    }

    fn manifest(&self, config: &Blob) -> Blob {
        let layer = |layer: &Layer| layer.blob.descriptor(layer.encoding.media_type());
        Blob::document(document::encode(&Manifest {
            schema_version: 2,
            media_type: document::MANIFEST.to_owned(),
            config: config.descriptor(document::CONFIG),
            layers: self.layers.iter().map(layer).collect(),
        }))
    }
}

/// An image layout of all `images`, as one tar archive.
///
/// # Errors
/// No image; two of one name.
pub fn archive(images: &[Image]) -> Result<Content, Error> {
    let mut names = BTreeSet::new();
    if let Some(image) = images.iter().find(|image| !names.insert(&image.name)) {
        return Err(Error::SameName { name: image.name.clone() });
    }
    let mut sorted: Vec<&Image> = images.iter().collect();
    sorted.sort_by_key(|image| &image.name);
    if sorted.is_empty() {
        return Err(Error::NoImage);
    }

    let mut blobs = BTreeMap::new();
    let mut manifests = Vec::new();
    for image in sorted {
        let config = image.config_blob();
        let manifest = image.manifest(&config);
        manifests.push(manifest.descriptor(document::MANIFEST).called(&image.name));
        let layers = image.layers.iter().map(|layer| layer.blob.clone());
        blobs.extend(layers.chain([config, manifest]).map(|blob| (blob.digest, blob.content)));
    }
    Ok(lay_out(manifests, &blobs))
}

/// The tar archive of a layout, with all blobs that its manifests name.
fn lay_out(manifests: Vec<Descriptor>, blobs: &BTreeMap<Digest, Content>) -> Content {
    let index = Index { schema_version: 2, media_type: document::INDEX.to_owned(), manifests };
    let layout = Layout { version: document::LAYOUT_VERSION.to_owned() };

    let mut writer = tar::Writer::default();
    writer.file("oci-layout", &Content::bytes(document::encode(&layout)));
    writer.file("index.json", &Content::bytes(document::encode(&index)));
    writer.directory("blobs/");
    writer.directory("blobs/sha256/");
    for (digest, content) in blobs {
        writer.file(&format!("blobs/sha256/{digest}"), content);
    }
    writer.finish()
}

#[cfg(test)]
mod tests;
