// SPDX-License-Identifier: Apache-2.0
//! Which images does an archive hold that another tool wrote?
//!
//! Tools that copy images write one of two forms, and some write both into one file: an OCI image
//! layout (`index.json`), or Docker's list (`manifest.json`; moby's `image/spec/v1.2.md`).
//! containerd takes the first if it is there, so this does too. Its import checks every digest;
//! here it is only made sure that what it will look for is there, before an image is built.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, de::DeserializeOwned};

use super::{
    Error,
    document::{self, CONTAINERD_NAME, REF_NAME, Sha256},
    read::{DOCUMENT_MAX, Stream, Whole},
};
use crate::tree::{Content, Source};

/// The only platform that nodes have.
const PLATFORM: (&str, &str) = ("linux", "amd64");
/// An index may name an index; nobody nests them deeper than that.
const MAX_NESTING: usize = 4;

/// An image of an archive. All its parts are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// As containerd will call it; empty if the archive names it nowhere.
    pub name: String,
    /// `linux/amd64`, if the image is for such machines; else what it is for.
    pub platform: String,
}

/// A name as containerd completes it: `busybox:1` is `docker.io/library/busybox:1`.
pub fn canonical(name: &str) -> String {
    match name.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => name.to_owned(),
        Some(_) => format!("docker.io/{name}"),
        None => format!("docker.io/library/{name}"),
    }
}

/// The images of an archive, in its order.
///
/// # Errors
/// It is no uncompressed tar archive of images, or parts of an image are missing.
pub fn survey(archive: &Content) -> Result<Vec<Listed>, Error> {
    let files = Files::open(archive)?;
    if files.0.contains_key("index.json") {
        let index: Index = files.decode("index.json")?;
        index.manifests.iter().map(|image| files.layout_image(image)).collect()
    } else if files.0.contains_key("manifest.json") {
        let list: Vec<Saved> = files.decode("manifest.json")?;
        let images = list.iter().map(|saved| files.saved_images(saved));
        Ok(images.collect::<Result<Vec<_>, _>>()?.concat())
    } else {
        Err(Error::Missing { name: "index.json".to_owned() })
    }
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: Sha256,
    size: u64,
    platform: Option<Platform>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// Also the part of an image's configuration that says it.
#[derive(Deserialize)]
pub(super) struct Platform {
    os: String,
    architecture: String,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// One entry of Docker's list.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Platform {
    pub(super) fn is_ours(&self) -> bool {
        (&*self.os, &*self.architecture) == PLATFORM
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os.escape_default(), self.architecture.escape_default())
    }
}

/// The archive's files by name.
struct Files(BTreeMap<String, Content>);

impl Files {
    fn open(archive: &Content) -> Result<Self, Error> {
        let refuse = |error: std::io::Error| Error::Archive {
            offset: 0,
            reason: format!("no uncompressed tar archive: {error}"),
        };
        let source: Arc<dyn Source> = Arc::new(Whole(archive.clone()));
        let mut tar = ::tar::Archive::new(Stream { content: archive, position: 0 });
        let mut files = BTreeMap::new();
        for entry in tar.entries().map_err(refuse)? {
            let entry = entry.map_err(refuse)?;
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let name = path.strip_prefix("./").unwrap_or(&path).to_owned();
            let (offset, len) = (entry.raw_file_position(), entry.size());
            files.insert(name, Content::Window { source: Arc::clone(&source), offset, len });
        }
        Ok(Self(files))
    }

    fn get(&self, name: &str) -> Result<&Content, Error> {
        self.0.get(name).ok_or_else(|| Error::Missing { name: name.escape_default().to_string() })
    }

    fn decode<T: DeserializeOwned>(&self, name: &str) -> Result<T, Error> {
        let content = self.get(name)?;
        if content.len() > DOCUMENT_MAX {
            let reason = format!("{} bytes, at most {DOCUMENT_MAX}", content.len());
            return Err(Error::Document { what: name.escape_default().to_string(), reason });
        }
        document::decode(name, &content.to_vec()?)
    }

    /// The place of a blob, which must be whole.
    fn blob(&self, descriptor: &Descriptor) -> Result<String, Error> {
        let name = format!("blobs/sha256/{}", descriptor.digest.0);
        let (found, expected) = (self.get(&name)?.len(), descriptor.size);
        if found == expected {
            return Ok(name);
        }
        let reason = format!("{found} bytes, expected {expected}");
        Err(Error::Document { what: name, reason })
    }

    fn layout_image(&self, descriptor: &Descriptor) -> Result<Listed, Error> {
        let names = [CONTAINERD_NAME, REF_NAME].map(|key| descriptor.annotations.get(key));
        let name = names.into_iter().flatten().find(|name| name.contains('/'));
        let platform = self.platform(descriptor, MAX_NESTING)?;
        Ok(Listed { name: name.map(|name| canonical(name)).unwrap_or_default(), platform })
    }

    /// What an image is for; of several platforms ours, if it is among them.
    fn platform(&self, descriptor: &Descriptor, depth: usize) -> Result<String, Error> {
        let name = self.blob(descriptor)?;
        let is_index = descriptor.media_type.contains("index")
            || descriptor.media_type.contains("manifest.list");
        if is_index {
            let index: Index = self.decode(&name)?;
            let is_ours =
                |image: &&Descriptor| image.platform.as_ref().is_none_or(Platform::is_ours);
            return match index.manifests.iter().find(is_ours) {
                Some(image) if depth > 0 => self.platform(image, depth - 1),
                _ => {
                    let all = index.manifests.iter().filter_map(|image| image.platform.as_ref());
                    Ok(all.map(ToString::to_string).collect::<Vec<_>>().join(", "))
                }
            };
        }
        let manifest: Manifest = self.decode(&name)?;
        for layer in &manifest.layers {
            self.blob(layer)?;
        }
        let config: Platform = self.decode(&self.blob(&manifest.config)?)?;
        Ok(config.to_string())
    }

    fn saved_images(&self, saved: &Saved) -> Result<Vec<Listed>, Error> {
        for layer in &saved.layers {
            self.get(layer)?;
        }
        let platform = self.decode::<Platform>(&saved.config)?.to_string();
        let names = saved.repo_tags.iter().flatten();
        Ok(names.map(|name| Listed { name: canonical(name), platform: platform.clone() }).collect())
    }
}
