// SPDX-License-Identifier: Apache-2.0
//! Releases in a registry: one artefact per role, under a tag of its own.
//!
//! Specification: OCI distribution-spec 1.1, "Push". A blob goes up in a session: POST opens it,
//! PATCH adds a chunk, PUT closes it under the digest that the registry then checks itself. Each
//! answer says where to go on. When a chunk was lost, the session is asked how much of it has
//! arrived; registries that cannot say (Debian's is one) get the blob from its beginning. The tag
//! is the last thing that is written, and moves at once.

use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result};
use ureq::http::{
    Method, Uri,
    header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE},
};

use super::{
    Shelf, Standing, check_stop,
    pieces::{PIECE, Piece, Pieces, Stream},
    release::{File, MAX_SUMS, Release, SUMS},
    target,
};
use crate::{
    digest::Digest,
    error::refuse,
    fetch::{
        http::{Client, Failure, Outcome, Try},
        key::Key,
        registry::access::{Access, Login},
        send::{Answer, Call},
    },
    formats::oci::{
        Reference,
        artifact::{self, Layer},
        registry::{MAX_DOCUMENT, Part},
    },
    kubernetes::release::is_loopback,
    progress::Item,
    tree::Content,
};

/// What our artefacts say that they are.
pub const ARTIFACT_TYPE: &str = "application/vnd.kiln-os.release.v1";

const BYTES: &str = "application/octet-stream";
/// Longest address of an upload.
const MAX_LOCATION: usize = 8 << 10;

/// A repository whose tags are releases.
pub(super) struct Registry {
    client: Client,
    reference: Reference,
    /// `https://HOST`
    origin: String,
    is_plain: bool,
    piece: usize,
}

/// What became of a chunk.
enum Sent {
    /// It is there; the next one goes to this address.
    Here(String),
    /// The session cannot be continued.
    Lost,
    /// The registry takes no chunks.
    Whole,
}

impl Registry {
    /// `actions` are what is wanted: `pull`, or `pull,push`.
    pub(super) fn open(
        client: &Client,
        reference: &Reference,
        allow_plain_http: bool,
        actions: &str,
        login: Option<Login>,
    ) -> Self {
        let host = reference.registry();
        let is_plain = allow_plain_http || is_loopback(host);
        let scheme = if is_plain { "http" } else { "https" };
        let access = Access::published(host, reference.repository(), is_plain, actions, login);
        Self {
            client: client.for_published(Some(Key::Token(access))),
            reference: reference.clone(),
            origin: format!("{scheme}://{host}"),
            is_plain,
            piece: PIECE,
        }
    }

    /// The same with chunks of another size.
    #[must_use]
    pub(super) fn with_piece(self, piece: usize) -> Self {
        Self { piece, ..self }
    }

    fn base(&self) -> String {
        format!("{}/v2/{}", self.origin, self.reference.repository())
    }

    fn blob_url(&self, digest: &Digest) -> String {
        format!("{}/blobs/sha256:{digest}", self.base())
    }

    fn manifest_url(&self, name: &str) -> String {
        format!("{}/manifests/{name}", self.base())
    }

    fn tag(&self, role: &str) -> Result<String> {
        let tag = target::tag(&self.reference, role);
        tag.map_err(|error| refuse(error, "name a shorter tag in the target"))
    }

    fn has_blob(&self, part: Part) -> Result<bool> {
        let url = self.blob_url(&part.digest);
        let call = Call { method: &Method::HEAD, url: &url, headers: &[], body: &[] };
        let answer = self.client.call(&call)?;
        match answer.status.as_u16() {
            200 => {
                let size = answer.header(CONTENT_LENGTH).and_then(|it| it.parse::<u64>().ok());
                Ok(size.is_none_or(|size| size == part.size))
            }
            404 => Ok(false),
            _ => Err(self.client.refused(&url, &answer)),
        }
    }

    /// A small blob that we made.
    fn push_bytes(&self, bytes: &[u8]) -> Result<()> {
        let part = Part { digest: Digest::of(bytes), size: bytes.len() as u64 };
        if self.has_blob(part)? {
            return Ok(());
        }
        self.again_until(part, || self.close(&self.begin()?, part, bytes))
    }

    /// Tries until the blob is there. A try that seemed to fail may have done it.
    fn again_until(&self, part: Part, mut attempt: impl FnMut() -> Try<()>) -> Result<()> {
        let mut is_first = true;
        self.client.persist(&self.blob_url(&part.digest), || {
            if !std::mem::take(&mut is_first) && self.has_blob(part)? {
                return Ok(());
            }
            attempt()
        })
    }

    fn push(&self, file: &File, content: &Content, item: &mut Item, stop: &AtomicBool) -> Try<()> {
        item.at(0);
        let part = part(file);
        let mut pieces = Pieces::new(content, file, self.piece)?;
        let mut session = self.begin()?;
        if file.size <= self.piece as u64 {
            let bytes = match pieces.next() {
                Ok(piece) => piece.map_or(&[][..], |piece| piece.bytes),
                Err(error) => return Err(self.cancelled(&session, error)),
            };
            self.close(&session, part, bytes)?;
            item.at(file.size);
            return Ok(());
        }
        loop {
            check_stop(stop)?;
            let piece = match pieces.next() {
                Ok(Some(piece)) => piece,
                Ok(None) => return self.close(&session, part, &[]),
                Err(error) => return Err(self.cancelled(&session, error)),
            };
            match self.patch(&session, piece)? {
                Sent::Here(next) => session = next,
                Sent::Lost => {
                    return Err(Failure::Passing("the upload could not be continued".to_owned()));
                }
                Sent::Whole => return self.push_whole(file, content, item),
            }
            item.at(piece.end());
        }
    }

    /// The blob in one request, for registries that take no chunks.
    fn push_whole(&self, file: &File, content: &Content, item: &mut Item) -> Try<()> {
        let session = self.begin()?;
        let url = closing(&session, &file.sha256);
        let mut stream = Stream::new(content, file)?;
        let headers = [(CONTENT_TYPE, BYTES.to_owned())];
        let call = Call { method: &Method::PUT, url: &url, headers: &headers, body: &[] };
        let answer = self.client.stream_once(&call, file.size, &mut stream);
        if let Some(error) = stream.failed {
            return Err(self.cancelled(&session, error));
        }
        let answer = answer?;
        match answer.status.as_u16() {
            201 => item.at(file.size),
            _ => return Err(self.client.refused(&url, &answer).into()),
        }
        Ok(())
    }

    /// Opens a session; its address.
    fn begin(&self) -> Try<String> {
        let url = format!("{}/blobs/uploads/", self.base());
        let call = Call { method: &Method::POST, url: &url, headers: &[], body: &[] };
        let answer = self.client.call_once(&call)?;
        match answer.status.as_u16() {
            202 => Ok(self.location(&url, &answer)?),
            _ => Err(self.client.refused(&url, &answer).into()),
        }
    }

    fn patch(&self, session: &str, piece: Piece<'_>) -> Result<Sent> {
        let mut session = session.to_owned();
        let mut is_first = true;
        self.client.persist(&self.base(), || {
            let mut have = piece.offset;
            if !std::mem::take(&mut is_first) {
                match self.state(&session)? {
                    Some((next, there)) if (piece.offset..=piece.end()).contains(&there) => {
                        (session, have) = (next, there);
                    }
                    _ => return Ok(Sent::Lost),
                }
            }
            if have == piece.end() {
                return Ok(Sent::Here(session.clone()));
            }
            let rest = &piece.bytes[usize::try_from(have - piece.offset).unwrap_or_default()..];
            let headers = [
                (CONTENT_TYPE, BYTES.to_owned()),
                (CONTENT_RANGE, format!("{have}-{}", piece.end() - 1)),
            ];
            let url = session.clone();
            let call = Call { method: &Method::PATCH, url: &url, headers: &headers, body: rest };
            let answer = self.client.call_once(&call)?;
            match answer.status.as_u16() {
                202 => {
                    session = self.location(&url, &answer)?;
                    match arrived(&answer) {
                        Some(there) if there != piece.end() => {
                            let expected = piece.end();
                            let fact = format!("it has {there} bytes, expected {expected}");
                            Err(Failure::Passing(fact))
                        }
                        _ => Ok(Sent::Here(session.clone())),
                    }
                }
                400 | 404 | 405 | 411 | 413 | 415 | 416 | 501 if piece.offset == 0 => {
                    Ok(Sent::Whole)
                }
                400 | 404 | 416 => Ok(Sent::Lost),
                _ => Err(self.client.refused(&url, &answer).into()),
            }
        })
    }

    /// Where to go on with a session, and how many bytes it has.
    fn state(&self, session: &str) -> Try<Option<(String, u64)>> {
        let call = Call { method: &Method::GET, url: session, headers: &[], body: &[] };
        let answer = self.client.call_once(&call)?;
        if !answer.status.is_success() {
            return Ok(None);
        }
        let next = match answer.headers.contains_key(LOCATION) {
            true => self.location(session, &answer)?,
            false => session.to_owned(),
        };
        Ok(arrived(&answer).map(|there| (next, there)))
    }

    fn close(&self, session: &str, part: Part, bytes: &[u8]) -> Try<()> {
        let url = closing(session, &part.digest);
        let headers = [(CONTENT_TYPE, BYTES.to_owned())];
        let call = Call { method: &Method::PUT, url: &url, headers: &headers, body: bytes };
        let answer = self.client.call(&call)?;
        match answer.status.as_u16() {
            201 => Ok(()),
            // An earlier try of the same may have come through, or have broken the session.
            404 | 416 if self.has_blob(part)? => Ok(()),
            404 | 416 => Err(Failure::Passing("the upload could not be finished".to_owned())),
            _ => Err(self.client.refused(&url, &answer).into()),
        }
    }

    /// Ends a session whose bytes are not wanted. The registry forgets it some day anyway.
    fn cancelled(&self, session: &str, error: anyhow::Error) -> Failure {
        let call = Call { method: &Method::DELETE, url: session, headers: &[], body: &[] };
        drop(self.client.call_once(&call));
        Failure::Final(error)
    }

    /// Where an upload goes on, as was said by whoever has the address `asked`: a path there, or
    /// another address.
    fn location(&self, asked: &str, answer: &Answer) -> Result<String> {
        let text = answer.header(LOCATION).unwrap_or_default();
        let url = match text.starts_with('/') && !text.starts_with("//") {
            true => format!("{}{text}", origin(asked)),
            false => text.to_owned(),
        };
        let parsed: Option<Uri> = url.parse().ok();
        let is_good = parsed.is_some_and(|url| {
            let is_safe = match url.scheme_str() {
                Some("https") => true,
                Some("http") => self.is_plain,
                _ => false,
            };
            is_safe && url.authority().is_some_and(|host| !host.as_str().contains('@'))
        });
        if is_good && url.len() <= MAX_LOCATION && !url.contains('#') {
            return Ok(url);
        }
        let host = self.reference.registry();
        Err(refuse(
            format!("'{host}' wants an upload to go on at no address with https"),
            "tell whoever runs it: behind a proxy, a registry has to know its own address",
        ))
    }
}

/// `Range: 0-LAST`: how many bytes have arrived. `0-0` is what some say for none.
fn arrived(answer: &Answer) -> Option<u64> {
    let range = answer.header(RANGE)?;
    let range = range.strip_prefix("bytes=").unwrap_or(range);
    match range.strip_prefix("0-")?.parse::<u64>().ok()? {
        0 => Some(0),
        last => last.checked_add(1),
    }
}

/// `https://HOST` of an address.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url[host..].find(['/', '?']).map_or(url.len(), |at| host + at);
    &url[..end]
}

/// The address that closes a session.
fn closing(session: &str, digest: &Digest) -> String {
    let separator = if session.contains('?') { '&' } else { '?' };
    format!("{session}{separator}digest=sha256:{digest}")
}

fn part(file: &File) -> Part {
    Part { digest: file.sha256, size: file.size }
}

impl Shelf for Registry {
    fn client(&self) -> &Client {
        &self.client
    }

    fn place(&self, role: &str) -> String {
        format!("oci://{}-{role}", self.reference.name())
    }

    fn url(&self, _: &str, _: &str, sha256: &Digest) -> String {
        self.blob_url(sha256)
    }

    fn standing(&self, role: &str) -> Result<Standing> {
        let url = self.manifest_url(&self.tag(role)?);
        let Outcome::Found(manifest) = self.client.get(&url, MAX_DOCUMENT.get())? else {
            return Ok(Standing::Nothing);
        };
        let files = match artifact::files(&manifest, ARTIFACT_TYPE) {
            Ok(files) => files,
            Err(unfit) => return Ok(Standing::Other(unfit.to_string())),
        };
        let Some(sums) = files.get(SUMS).filter(|part| part.size <= MAX_SUMS.get()) else {
            return Ok(Standing::Other(format!("it has no '{SUMS}'")));
        };
        match self.client.get(&self.blob_url(&sums.digest), sums.size)? {
            Outcome::Found(bytes) if Digest::of(&bytes) == sums.digest => {
                Ok(Standing::Release(bytes))
            }
            Outcome::Found(_) => {
                Ok(Standing::Other(format!("its '{SUMS}' is not what its manifest names")))
            }
            Outcome::Missing(who) => Ok(Standing::Other(who)),
        }
    }

    fn has(&self, _: &str, file: &File) -> Result<bool> {
        self.has_blob(part(file))
    }

    fn put(
        &self,
        _: &str,
        file: &File,
        content: &Content,
        item: &mut Item,
        stop: &AtomicBool,
    ) -> Result<()> {
        self.again_until(part(file), || self.push(file, content, item, stop))
    }

    fn withdraw(&self, _: &str) -> Result<()> {
        // A tag moves at once.
        Ok(())
    }

    fn conclude(&self, release: &Release, sums: &[u8]) -> Result<String> {
        let tag = self.tag(&release.role)?;
        for bytes in [sums, artifact::EMPTY] {
            self.push_bytes(bytes)?;
        }
        let layers: Vec<Layer<'_>> = release
            .all()
            .map(|file| Layer {
                title: &file.name,
                media_type: file.media_type(),
                part: part(file),
            })
            .collect();
        let manifest = artifact::manifest(ARTIFACT_TYPE, &release.version, release.epoch, &layers);
        let url = self.manifest_url(&tag);
        let headers = [(CONTENT_TYPE, artifact::MANIFEST.to_owned())];
        let call = Call { method: &Method::PUT, url: &url, headers: &headers, body: &manifest };
        let answer = self.client.call(&call).with_context(|| format!("writing tag '{tag}'"))?;
        match answer.status.as_u16() {
            200..=202 => {
                let place = self.place(&release.role);
                Ok(format!("{place}@sha256:{}", Digest::of(&manifest)))
            }
            _ => Err(self.client.refused(&url, &answer)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ureq::http::{HeaderMap, HeaderValue, StatusCode, header::HeaderName};

    fn answer(name: HeaderName, value: &str) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        Answer { status: StatusCode::ACCEPTED, headers, body: Vec::new() }
    }

    fn registry(reference: &str) -> Registry {
        Registry::open(&Client::new(), &reference.parse().unwrap(), false, "pull,push", None)
    }

    #[test]
    fn an_upload_goes_on_where_the_registry_says_if_that_is_safe() {
        let safe = registry("a.example/b:1");
        let asked = "https://a.example/v2/b/blobs/uploads/";
        let at = |text: &str| safe.location(asked, &answer(LOCATION, text)).ok();
        assert_eq!(at("/v2/b/x?y=1"), Some("https://a.example/v2/b/x?y=1".to_owned()));
        assert_eq!(at("https://c.example/x"), Some("https://c.example/x".to_owned()));
        let long = format!("/{}", "x".repeat(MAX_LOCATION));
        for text in
            ["", "x", "//c.example/x", "http://a.example/x", "https://me@c/x", "/a#b", &long]
        {
            assert_eq!(at(text), None, "{text}");
        }
        let plain = registry("127.0.0.1:5000/b:1");
        let there = answer(LOCATION, "http://127.0.0.1:5000/x");
        assert!(plain.location("http://127.0.0.1:5000/y", &there).is_ok());
        assert_eq!(origin("https://c.example:1/x?y=/"), "https://c.example:1");
        assert_eq!(origin("https://c.example"), "https://c.example");
    }

    #[test]
    fn how_much_has_arrived_is_read_from_a_range() {
        let read = |text: &str| arrived(&answer(RANGE, text));
        assert_eq!(read("0-9"), Some(10));
        assert_eq!(read("bytes=0-9"), Some(10));
        assert_eq!(read("0-0"), Some(0));
        for text in ["", "9", "1-9", "0-", "0--1", "0-99999999999999999999"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_role_has_its_own_tag_and_only_this_machine_is_asked_without_tls() {
        let registry = registry("a.example/os/quickstart:7");
        assert_eq!(registry.place("lb"), "oci://a.example/os/quickstart:7-lb");
        let url = registry.manifest_url(&registry.tag("lb").unwrap());
        assert_eq!(url, "https://a.example/v2/os/quickstart/manifests/7-lb");
    }
}
