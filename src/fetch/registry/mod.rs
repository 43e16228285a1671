// SPDX-License-Identifier: Apache-2.0
//! Images of registries: what a tag names is asked once, when locking; later exactly those bytes
//! come that the lock pins.
//!
//! Specification: OCI distribution-spec 1.1, "Pull", which is Docker's Registry HTTP API V2 where
//! both meet. A manifest and what it names are asked for by digest; only `kiln lock` asks for a
//! tag. [`Image`] is made by hashing every blob and by nothing else.
//!
//! What is in the documents is read in `formats/oci/registry.rs`.

pub(crate) mod access;
mod challenge;

use std::{collections::BTreeMap, sync::atomic::AtomicBool};

use anyhow::{Context as _, Result};
use ureq::http::{HeaderMap, header::CONTENT_TYPE};

use self::access::Access;
use super::{
    Fetcher, Wanted,
    http::{Client, Expected, Outcome, Size},
    parallel,
};
use crate::{
    checksum::Sum,
    digest::Digest,
    error::refuse,
    formats::oci::{
        Reference,
        registry::{self, Answer, MAX_DOCUMENT, Part, Parts},
    },
    kubernetes::release,
    lock::{Images, LockedBlob, LockedImage},
    profile::Pull,
    progress::Task,
    store::Store,
    sys,
    tree::Content,
    units::Bytes,
};

/// An index may name an index; nobody nests them deeper than that.
const MAX_NESTING: usize = 4;

/// An image whose bytes are those of the lock.
#[derive(Debug, Clone)]
pub struct Image {
    archive: Content,
}

impl Image {
    /// Takes the blobs of a locked image out of the cache, if their bytes are those of the lock.
    fn verify(store: &Store, reference: &Reference, locked: &LockedImage) -> Result<Self> {
        let take =
            |blob: &LockedBlob| sys::fs::pinned(&store.image_blob(&blob.sha256), &blob.sha256);
        let mut blobs = BTreeMap::new();
        for blob in locked.blobs() {
            blobs.insert(blob.sha256, take(blob)?);
        }
        let manifest = blobs[&locked.manifest.sha256].to_vec()?;
        let archive = registry::pack(reference.name(), &manifest, &blobs).map_err(|error| {
            let fact = format!("kiln.lock does not pin what the manifest names: {error}");
            refuse(fact, "restore kiln.lock, or run 'kiln lock' to pin what the registry has now")
        })?;
        Ok(Self { archive })
    }

    /// An OCI archive with this image alone, under the name of its reference.
    pub fn into_archive(self) -> Content {
        self.archive
    }
}

/// One repository of a registry.
struct Repository {
    client: Client,
    /// `https://HOST/v2/NAME`
    base: String,
}

impl Repository {
    fn open(client: &Client, pull: &Pull) -> Self {
        let (host, name) = (pull.reference.registry(), pull.reference.repository());
        let is_plain = pull.allow_plain_http || release::is_loopback(host);
        let scheme = if is_plain { "http" } else { "https" };
        let access = Access::new(host, name, is_plain);
        let base = format!("{scheme}://{host}/v2/{name}");
        Self { client: client.for_registry(Some(access)), base }
    }

    fn blob_url(&self, digest: &Digest) -> String {
        format!("{}/blobs/sha256:{digest}", self.base)
    }

    fn manifest_url(&self, name: &str) -> String {
        format!("{}/manifests/{name}", self.base)
    }

    /// A manifest or index by its tag, or by `sha256:DIGITS`.
    fn document(&self, name: &str) -> Result<(Vec<u8>, HeaderMap)> {
        match self.client.get_with_headers(&self.manifest_url(name), MAX_DOCUMENT.get())? {
            Outcome::Found(found) => Ok(found),
            Outcome::Missing(who) => {
                Err(refuse(who, "check path and tag of the reference in addon.yaml"))
            }
        }
    }
}

impl Fetcher {
    /// The same with another time that a server may be silent.
    #[must_use]
    pub fn with_stall(mut self, stall: std::time::Duration) -> Self {
        self.client = self.client.with_stall(stall);
        self
    }

    /// The images as they are now, for the lock. `old` is what the lock has of them, which counts
    /// without a network.
    pub fn pin_images(&self, pulls: &[&Pull], old: Option<&Images>) -> Result<Images> {
        let pinned = parallel(self.jobs, pulls, |pull, stop| {
            let reference = &pull.reference;
            let old = old.and_then(|old| old.get(reference));
            let image = match old.filter(|_| self.offline) {
                Some(old) => Ok(old.clone()),
                None => self.pin_image(pull, stop),
            };
            let image = image.with_context(|| format!("pinning image '{reference}'"))?;
            Ok((reference.clone(), image))
        })?;
        Ok(pinned.into_iter().collect())
    }

    fn pin_image(&self, pull: &Pull, stop: &AtomicBool) -> Result<LockedImage> {
        let reference = &pull.reference;
        self.online(reference.name().as_str())?;
        let repository = Repository::open(&self.client, pull);
        let (mut bytes, mut headers) = repository.document(reference.tag())?;
        let tagged = Digest::of(&bytes);
        let mut depth = 0;
        let parts = loop {
            let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
            let found = registry::answer(kind, &bytes);
            match found.map_err(|unfit| refuse(&unfit, unfit.help()))? {
                Answer::Image(parts) => break parts,
                Answer::Elsewhere(part) if depth < MAX_NESTING => {
                    (bytes, headers) = named(&repository, part)?;
                    depth += 1;
                }
                Answer::Elsewhere(_) => anyhow::bail!("it is an index of indexes of indexes"),
            }
        };
        let manifest = Digest::of(&bytes);
        refuse_another(reference, tagged, manifest)?;
        self.keep(&manifest, &bytes)?;
        self.check_config(&repository, &parts, stop)?;
        let manifest = LockedBlob { size: bytes.len() as u64, sha256: manifest };
        let layers = parts.layers.into_iter().map(Into::into).collect();
        Ok(LockedImage { tagged, manifest, config: parts.config.into(), layers })
    }

    /// Looks into the configuration, which alone says for sure what the image is for.
    fn check_config(
        &self,
        repository: &Repository,
        parts: &Parts,
        stop: &AtomicBool,
    ) -> Result<()> {
        let config = LockedBlob::from(parts.config);
        let size = Bytes(config.size);
        let task = self.progress.bytes("fetching a configuration", "", size);
        self.obtain_blob(repository, &config, false, &task, stop)?;
        let path = self.store.image_blob(&config.sha256);
        let bytes = sys::fs::pinned(&path, &config.sha256)?.to_vec()?;
        registry::check_config(&bytes, parts.layers.len())
            .map_err(|unfit| refuse(&unfit, unfit.help()))
    }

    /// Puts a document into the cache; a build takes it from there.
    fn keep(&self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        let path = self.store.image_blob(digest);
        sys::fs::create_dirs(path.parent().expect("below the cache"))?;
        sys::fs::write_atomic(&path, bytes)
    }

    /// The images that the lock pins for these, each verified now.
    pub fn images(&self, pulls: &[&Pull], locked: &Images) -> Result<BTreeMap<Reference, Image>> {
        let missing = |reference: &Reference| format!("kiln.lock does not pin '{reference}'");
        let mut blobs = Vec::new();
        let repositories: Vec<Repository> =
            pulls.iter().map(|pull| Repository::open(&self.client, pull)).collect();
        for (pull, repository) in pulls.iter().zip(&repositories) {
            let image = locked.get(&pull.reference);
            let image = image.with_context(|| missing(&pull.reference))?;
            let all = image.blobs().enumerate();
            blobs.extend(all.map(|(index, blob)| (&pull.reference, repository, blob, index == 0)));
        }
        // Images share layers; whoever is first gets one for all.
        blobs.sort_by_key(|(.., blob, _)| blob.sha256);
        blobs.dedup_by_key(|(.., blob, _)| blob.sha256);
        self.require_blobs(blobs.iter().map(|(.., blob, _)| *blob))?;
        let total = Bytes(blobs.iter().map(|(.., blob, _)| blob.size).sum());
        let count = match pulls.len() {
            0 => return Ok(BTreeMap::new()),
            1 => "1 image".to_owned(),
            count => format!("{count} images"),
        };
        let task =
            self.progress.bytes(format!("fetching {count}"), format!("fetched {count}"), total);
        parallel(self.jobs, &blobs, |(reference, repository, blob, is_manifest), stop| {
            self.obtain_blob(repository, blob, *is_manifest, &task, stop)
                .with_context(|| format!("fetching image '{reference}'"))
        })?;
        task.finish();
        let verify = |pull: &&Pull| {
            let (reference, image) = (&pull.reference, &locked[&pull.reference]);
            let verified = Image::verify(&self.store, reference, image)
                .with_context(|| format!("taking image '{reference}'"))?;
            Ok((reference.clone(), verified))
        };
        pulls.iter().map(verify).collect()
    }

    fn require_blobs<'a>(&self, blobs: impl Iterator<Item = &'a LockedBlob>) -> Result<()> {
        let mut needed = 0_u64;
        for blob in blobs {
            if !sys::fs::exists(&self.store.image_blob(&blob.sha256)) {
                needed = needed.saturating_add(blob.size);
            }
        }
        sys::space::require(self.store.root(), Bytes(needed), "the images", "--cache DIR")
            .context("fetching images")
    }

    fn obtain_blob(
        &self,
        repository: &Repository,
        blob: &LockedBlob,
        is_manifest: bool,
        task: &Task,
        stop: &AtomicBool,
    ) -> Result<()> {
        let LockedBlob { size, sha256 } = blob;
        let url = match is_manifest {
            true => repository.manifest_url(&format!("sha256:{sha256}")),
            false => repository.blob_url(sha256),
        };
        let expected = Expected { size: Size::Exactly(*size), sum: Sum::Sha256(*sha256) };
        let (file, urls) = (self.store.image_blob(sha256), [url]);
        let name = format!("blob {}", sha256.short());
        let client = &repository.client;
        let wanted = Wanted { client, name: &name, file: &file, urls: &urls, expected };
        match self.obtain(&wanted, task, stop)? {
            Outcome::Found(()) => Ok(()),
            Outcome::Missing(who) => Err(refuse(
                format!("the registry no longer has what was locked: {who}"),
                "run 'kiln lock' to pin what it has now, or bring the image as an archive",
            )),
        }
    }
}

/// The document that an index names.
fn named(repository: &Repository, part: Part) -> Result<(Vec<u8>, HeaderMap)> {
    let name = format!("sha256:{}", part.digest);
    let (bytes, headers) = repository.document(&name)?;
    let (size, found) = (bytes.len() as u64, Digest::of(&bytes));
    let retry = "nothing was kept; retry, or bring the image as an archive";
    if size != part.size {
        let (expected, found) = (Bytes(part.size), Bytes(size));
        let fact = format!("size of the manifest differs: expected {expected}, found {found}");
        return Err(refuse(fact, retry));
    }
    if found != part.digest {
        let (expected, found) = (part.digest.short(), found.short());
        let fact = format!("sha256 of the manifest differs: expected {expected}, found {found}");
        return Err(refuse(fact, retry));
    }
    Ok((bytes, headers))
}

/// A reference may say what its tag names: the manifest, or an index that names it.
fn refuse_another(reference: &Reference, tagged: Digest, manifest: Digest) -> Result<()> {
    match reference.digest() {
        Some(expected) if ![tagged, manifest].contains(&expected) => {
            let (expected, found) = (expected.short(), tagged.short());
            Err(refuse(
                format!("the tag names another image: expected {expected}, found {found}"),
                "find out why the tag has moved; to take the new image, write its digest into \
                 addon.yaml",
            ))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_and_what_is_allowed_is_asked_without_tls() {
        let base = |reference: &str, allow_plain_http: bool| {
            let pull = Pull { reference: reference.parse().unwrap(), allow_plain_http };
            Repository::open(&Client::new(), &pull).base
        };
        for (reference, allowed, expected) in [
            ("registry.k8s.io/a/b:1", false, "https://registry.k8s.io/v2/a/b"),
            ("10.0.0.1:5000/a:1", false, "https://10.0.0.1:5000/v2/a"),
            ("10.0.0.1:5000/a:1", true, "http://10.0.0.1:5000/v2/a"),
            ("127.0.0.1:5000/a:1", false, "http://127.0.0.1:5000/v2/a"),
            ("localhost/a:1", false, "http://localhost/v2/a"),
            ("localhost.example.org/a:1", false, "https://localhost.example.org/v2/a"),
            ("docker.io/library/a:1", false, "https://registry-1.docker.io/v2/library/a"),
        ] {
            assert_eq!(base(reference, allowed), expected);
        }
    }

    #[test]
    fn a_digest_may_be_that_of_the_index_or_of_the_manifest() {
        let [index, manifest, other] = [b"index", b"manif", b"other"].map(|it| Digest::of(it));
        let check = |suffix: &str| {
            let reference: Reference = format!("a.b/c:1{suffix}").parse().unwrap();
            refuse_another(&reference, index, manifest).is_ok()
        };
        assert!(check(""));
        assert!(check(&format!("@sha256:{index}")) && check(&format!("@sha256:{manifest}")));
        assert!(!check(&format!("@sha256:{other}")));
    }
}
