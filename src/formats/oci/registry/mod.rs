// SPDX-License-Identifier: Apache-2.0
//! What a registry says of an image: which documents may stand for one, and which one is ours.
//!
//! Specification: OCI image-spec 1.1 (`manifest.md`, `image-index.md`), and what came before it,
//! Docker's image manifest version 2, schema 2, with its manifest list. Both have the same fields.
//! A document says its type twice, in `mediaType` and in the answer's Content-Type; one that could
//! be read in two ways is refused, because another reader may choose the other (CVE-2021-41190).
//!
//! Nothing here reaches the network: bytes come in, what they name comes out. [`pack`] makes an
//! archive of blobs that were fetched, as other tools write one.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{
    Blob, Error, ImageName, LAYERS_MAX,
    document::{self, Sha256},
    lay_out,
    survey::Platform,
};
use crate::{digest::Digest, tree::Content, units::Bytes};

const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// The types of documents that are asked for.
pub const ACCEPTED: [&str; 4] = [document::MANIFEST, document::INDEX, DOCKER_MANIFEST, DOCKER_LIST];
/// Of layers: what containerd unpacks. Those that lie elsewhere ("foreign", "nondistributable")
/// are not among them.
const LAYERS: [&str; 6] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
];

/// Most bytes of a manifest, an index or a configuration: what registries promise to take.
pub const MAX_DOCUMENT: Bytes = Bytes::mib(4);
/// Most bytes of a layer, and of all layers of an image together.
pub const MAX_LAYER: Bytes = Bytes::mib(4096);
pub const MAX_IMAGE: Bytes = Bytes::mib(8192);

/// Most layers of an image.
pub const MAX_LAYERS: usize = LAYERS_MAX;

/// A blob by what names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

/// What an image consists of beside its manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    pub config: Part,
    /// The lowest first.
    pub layers: Vec<Part>,
    media_type: &'static str,
}

/// A document of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Image(Parts),
    /// An index, which has the image for our platform here.
    Elsewhere(Part),
}

/// Why a document stands for no image that nodes could run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("it is no manifest: {0}")]
    Malformed(String),
    #[error("it is '{0}', expected the manifest of an image or an index of them")]
    Type(String),
    #[error("it is a manifest of schema 1, which Docker has replaced in 2016")]
    Schema1,
    #[error("it is served as '{served}' and calls itself '{own}'")]
    Types { served: String, own: String },
    #[error("it has the fields of a manifest and of an index")]
    Both,
    #[error("it is for {0}, expected linux/amd64")]
    Platform(String),
    #[error("it has {0} layers; an image has 1 to {LAYERS_MAX}")]
    Layers(usize),
    #[error("its configuration is '{0}': something else than a container image")]
    Config(String),
    #[error("it has a layer of type '{0}', which no registry serves or no node unpacks")]
    Layer(String),
    #[error("{what} has {found}, at most {limit}")]
    Large { what: &'static str, found: Bytes, limit: Bytes },
    #[error("its configuration names {config} layers, its manifest {manifest}")]
    Count { config: usize, manifest: usize },
}

impl Unfit {
    /// The next step.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Platform(_) => "name an image that its makers publish for linux/amd64",
            Self::Schema1 | Self::Type(_) | Self::Config(_) => {
                "see whether the reference names a container image"
            }
            _ => "ask whoever publishes it, or bring the image as an archive",
        }
    }
}

/// Any document; what is there says which it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Any {
    schema_version: u32,
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<Target>,
}

#[derive(Deserialize)]
struct Target {
    #[serde(flatten)]
    platform: Platform,
    /// Of `amd64` an instruction set that not every machine has: `v3`.
    variant: Option<String>,
}

impl Target {
    fn is_ours(&self) -> bool {
        self.platform.is_ours() && self.variant.as_deref().is_none_or(|it| ["", "v1"].contains(&it))
    }
}

impl Descriptor {
    fn part(&self) -> Result<Part, Unfit> {
        let Sha256(digest) = Sha256::try_from(self.digest.clone()).map_err(Unfit::Malformed)?;
        Ok(Part { digest, size: self.size })
    }
}

/// Reads a document that was served as `content_type`.
///
/// # Errors
/// It is for no machine of ours, or nothing that an archive of an image could hold.
pub fn answer(content_type: Option<&str>, bytes: &[u8]) -> Result<Answer, Unfit> {
    let any: Any =
        serde_json::from_slice(bytes).map_err(|error| Unfit::Malformed(error.to_string()))?;
    let media_type = media_type(content_type, &any)?;
    if any.manifests.is_some() && (any.config.is_some() || any.layers.is_some()) {
        return Err(Unfit::Both);
    }
    match media_type {
        document::INDEX | DOCKER_LIST => choose(&any.manifests.unwrap_or_default()),
        _ => parts(&any, media_type).map(Answer::Image),
    }
}

/// The type of a document, which is one of those that are accepted.
fn media_type(content_type: Option<&str>, any: &Any) -> Result<&'static str, Unfit> {
    if any.schema_version == 1 {
        return Err(Unfit::Schema1);
    }
    let known = |text: &str| ACCEPTED.into_iter().find(|accepted| *accepted == text);
    let served = content_type.and_then(|text| text.split(';').next()).map(str::trim);
    let own = any.media_type.as_deref();
    match (served.and_then(known), own) {
        (Some(served), Some(own)) if served != own => {
            let own = own.escape_default().to_string();
            Err(Unfit::Types { served: served.to_owned(), own })
        }
        // Only OCI allows a document that does not say what it is.
        (Some(served @ (document::MANIFEST | document::INDEX)), _) => Ok(served),
        (_, Some(own)) => known(own).ok_or_else(|| Unfit::Type(own.escape_default().to_string())),
        (_, None) => {
            let served = served.unwrap_or("a document without a type");
            Err(Unfit::Type(served.escape_default().to_string()))
        }
    }
}

/// The manifest of an index that is for our platform.
fn choose(manifests: &[Descriptor]) -> Result<Answer, Unfit> {
    let is_ours = |it: &&Descriptor| it.platform.as_ref().is_some_and(Target::is_ours);
    let Some(found) = manifests.iter().find(is_ours) else {
        let all = manifests.iter().filter_map(|it| it.platform.as_ref());
        let all: BTreeSet<String> = all.map(|it| it.platform.to_string()).collect();
        let all: Vec<String> = all.into_iter().collect();
        let nothing = || "no platform at all".to_owned();
        return Err(Unfit::Platform(if all.is_empty() { nothing() } else { all.join(", ") }));
    };
    bounded("the manifest", found.size, MAX_DOCUMENT)?;
    found.part().map(Answer::Elsewhere)
}

fn parts(any: &Any, media_type: &'static str) -> Result<Parts, Unfit> {
    let missing = || Unfit::Malformed("it has no 'config' or no 'layers'".to_owned());
    let config = any.config.as_ref().ok_or_else(missing)?;
    let layers = any.layers.as_ref().ok_or_else(missing)?;
    if ![document::CONFIG, DOCKER_CONFIG].contains(&&*config.media_type) {
        return Err(Unfit::Config(config.media_type.escape_default().to_string()));
    }
    if layers.is_empty() || layers.len() > LAYERS_MAX {
        return Err(Unfit::Layers(layers.len()));
    }
    if let Some(layer) = layers.iter().find(|layer| !LAYERS.contains(&&*layer.media_type)) {
        return Err(Unfit::Layer(layer.media_type.escape_default().to_string()));
    }
    bounded("its configuration", config.size, MAX_DOCUMENT)?;
    let mut total = 0_u64;
    for layer in layers {
        bounded("a layer", layer.size, MAX_LAYER)?;
        total = total.saturating_add(layer.size);
    }
    bounded("all layers together", total, MAX_IMAGE)?;
    let layers = layers.iter().map(Descriptor::part).collect::<Result<_, _>>()?;
    Ok(Parts { config: config.part()?, layers, media_type })
}

fn bounded(what: &'static str, found: u64, limit: Bytes) -> Result<(), Unfit> {
    let found = Bytes(found);
    if found > limit { Err(Unfit::Large { what, found, limit }) } else { Ok(()) }
}

/// Whether a configuration is that of an image for our platform with so many layers.
///
/// # Errors
/// It is another one.
pub fn check_config(bytes: &[u8], n_layers: usize) -> Result<(), Unfit> {
    #[derive(Deserialize)]
    struct Config {
        #[serde(flatten)]
        platform: Platform,
        rootfs: RootFs,
    }
    #[derive(Deserialize)]
    struct RootFs {
        diff_ids: Vec<String>,
    }
    let config: Config =
        serde_json::from_slice(bytes).map_err(|error| Unfit::Malformed(error.to_string()))?;
    if !config.platform.is_ours() {
        return Err(Unfit::Platform(config.platform.to_string()));
    }
    let found = config.rootfs.diff_ids.len();
    if found == n_layers {
        return Ok(());
    }
    Err(Unfit::Count { config: found, manifest: n_layers })
}

/// The archive of one image: the documents and layers as the registry has them, under `name`.
/// `blobs` are all blobs that the manifest names.
///
/// # Errors
/// The manifest is none; a blob is missing or has another size.
pub fn pack(
    name: &ImageName,
    manifest: &[u8],
    blobs: &BTreeMap<Digest, Content>,
) -> Result<Content, Error> {
    let document =
        |reason: String| Error::Document { what: format!("manifest of '{name}'"), reason };
    // What calls itself nothing is OCI's: `media_type` refused the rest when it was pulled.
    let parts = match answer(Some(document::MANIFEST), manifest) {
        Err(Unfit::Types { own, .. }) => answer(Some(&own), manifest),
        found => found,
    };
    let Answer::Image(parts) = parts.map_err(|unfit| document(unfit.to_string()))? else {
        return Err(document("it is an index".to_owned()));
    };
    let mut packed = BTreeMap::new();
    for part in parts.layers.iter().chain([&parts.config]) {
        let missing = || Error::Missing { name: format!("blobs/sha256/{}", part.digest) };
        let content = blobs.get(&part.digest).ok_or_else(missing)?;
        if content.len() != part.size {
            let (found, expected) = (content.len(), part.size);
            let reason = format!("blob {} has {found} bytes, not {expected}", part.digest);
            return Err(document(reason));
        }
        packed.insert(part.digest, content.clone());
    }
    let manifest = Blob::document(manifest.to_vec());
    let descriptor = manifest.descriptor(parts.media_type).called(name);
    packed.insert(manifest.digest, manifest.content);
    Ok(lay_out(vec![descriptor], &packed))
}

#[cfg(test)]
mod tests;
