// SPDX-License-Identifier: Apache-2.0
//! Releases in a bucket of an S3-compatible store: `PREFIX/ROLE/FILE`, as a web server would have
//! them.
//!
//! Specification: Amazon S3 API Reference: `HeadObject`, `PutObject`, `CreateMultipartUpload`,
//! `UploadPart`, `CompleteMultipartUpload`, `AbortMultipartUpload`, `GetObject`, `DeleteObject`; nothing
//! else is used. A small file is one object at once; a larger one goes up in parts, each signed
//! with its digest, and appears when all of them are put together. What an object is, it says in
//! `x-amz-meta-sha256`: every store keeps that, and few can tell the checksum of what came in parts.
//!
//! Objects have no common moment in which they change. So `SHA256SUMS` is what makes a release: it is
//! written last, and it goes first when another release takes the place.

use std::sync::atomic::AtomicBool;

use anyhow::Result;
use ureq::http::{
    Method,
    header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName},
};

use super::{
    Shelf, Standing, check_stop,
    pieces::{PIECE, Pieces},
    release::{File, MAX_SUMS, Release, SUMS},
    target::{Bucket, Endpoint},
};
use crate::{
    digest::Digest,
    error::refuse,
    fetch::{
        http::{Client, Failure, Outcome},
        key::Key,
        send::{Answer, Call},
        signature::Signer,
    },
    progress::Item,
    tree::Content,
};

/// Most parts of an object.
const MAX_PARTS: u64 = 10_000;
/// Longest name of an upload, and of a part, that a store gives.
const MAX_WORD: usize = 2048;

const SHA256: HeaderName = HeaderName::from_static("x-amz-meta-sha256");

/// A bucket whose objects are releases.
pub(super) struct Store {
    client: Client,
    bucket: Bucket,
    /// Where the bucket's objects are.
    base: String,
    piece: usize,
}

impl Store {
    /// Without a signer it is asked as anybody.
    pub(super) fn open(
        client: &Client,
        bucket: &Bucket,
        endpoint: Option<&Endpoint>,
        region: &str,
        signer: Option<Signer>,
    ) -> Self {
        Self {
            client: client.for_published(signer.map(Key::Signature)),
            bucket: bucket.clone(),
            base: Endpoint::base(endpoint, &bucket.name, region),
            piece: PIECE,
        }
    }

    /// The same with parts of another size.
    #[must_use]
    pub(super) fn with_piece(self, piece: usize) -> Self {
        Self { piece, ..self }
    }

    fn object(&self, role: &str, file: &str) -> String {
        format!("{}/{}", self.base, self.bucket.key(role, file))
    }

    fn put_bytes(&self, role: &str, file: &File, bytes: &[u8]) -> Result<()> {
        let url = self.object(role, &file.name);
        let headers = described(file);
        let call = Call { method: &Method::PUT, url: &url, headers: &headers, body: bytes };
        let answer = self.client.call(&call)?;
        match answer.status.as_u16() {
            200 => Ok(()),
            _ => Err(self.client.refused(&url, &answer)),
        }
    }

    fn put_parts(
        &self,
        role: &str,
        file: &File,
        pieces: &mut Pieces<'_>,
        item: &mut Item,
        stop: &AtomicBool,
    ) -> Result<()> {
        let url = self.object(role, &file.name);
        let upload = self.begin(&url, file)?;
        let mut send = || -> Result<Vec<String>> {
            let mut tags = Vec::new();
            while let Some(piece) = pieces.next()? {
                check_stop(stop)?;
                let number = tags.len() + 1;
                let part = format!("{url}?partNumber={number}&uploadId={upload}");
                let body = piece.bytes;
                let call = Call { method: &Method::PUT, url: &part, headers: &[], body };
                let answer = self.client.call(&call)?;
                tags.push(self.tag_of(&part, &answer)?);
                item.at(piece.end());
            }
            Ok(tags)
        };
        let done = send().and_then(|tags| self.complete(role, file, &upload, &tags));
        if done.is_err() {
            // Parts cost money until they are removed; the first error is the one that counts.
            let url = format!("{url}?uploadId={upload}");
            let call = Call { method: &Method::DELETE, url: &url, headers: &[], body: &[] };
            drop(self.client.call_once(&call));
        }
        done
    }

    /// Begins an object of parts; its name as a query has it.
    fn begin(&self, url: &str, file: &File) -> Result<String> {
        let address = format!("{url}?uploads=");
        let headers = described(file);
        let call = Call { method: &Method::POST, url: &address, headers: &headers, body: &[] };
        let answer = self.client.call(&call)?;
        if answer.status != 200 {
            return Err(self.client.refused(url, &answer));
        }
        let text = String::from_utf8_lossy(&answer.body);
        let name =
            text.split_once("<UploadId>").and_then(|(_, rest)| rest.split_once("</UploadId>"));
        let is_good = |name: &&str| (1..=MAX_WORD).contains(&name.len());
        let Some(name) = name.map(|(name, _)| name).filter(is_good) else {
            return Err(unknown(url, "'UploadId'"));
        };
        Ok(escaped(&unescaped(name)))
    }

    /// What the store calls a part that it has.
    fn tag_of(&self, url: &str, answer: &Answer) -> Result<String> {
        if answer.status != 200 {
            return Err(self.client.refused(url, answer));
        }
        let is_good = |tag: &&str| {
            let known = |byte: u8| byte.is_ascii_graphic() && !b"<>&".contains(&byte);
            (1..=MAX_WORD).contains(&tag.len()) && tag.bytes().all(known)
        };
        let tag = answer.header(ETAG).filter(is_good);
        let short = url.split('?').next().unwrap_or_default();
        tag.map(str::to_owned).ok_or_else(|| unknown(short, "'ETag'"))
    }

    /// Puts the parts together. That can take long, and a store says that all is well before it
    /// knows; so what counts is what it says at the end.
    fn complete(&self, role: &str, file: &File, upload: &str, tags: &[String]) -> Result<()> {
        let url = self.object(role, &file.name);
        let address = format!("{url}?uploadId={upload}");
        let parts: String = tags
            .iter()
            .zip(1..)
            .map(|(tag, number)| {
                format!("<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>")
            })
            .collect();
        let body = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        let headers = [(CONTENT_TYPE, "application/xml".to_owned())];
        let body = body.as_bytes();
        let call = Call { method: &Method::POST, url: &address, headers: &headers, body };
        self.client.persist(&url, || {
            let answer = self.client.call_once(&call)?;
            // Stores name the element around it differently.
            let text = String::from_utf8_lossy(&answer.body);
            let is_done = text.contains("<ETag>") && !text.contains("<Error>");
            match answer.status.as_u16() {
                200 if is_done => Ok(()),
                200 => Err(Failure::Passing("it could not put the parts together".to_owned())),
                // An earlier try may have come through.
                404 if self.has(role, file)? => Ok(()),
                _ => Err(self.client.refused(&url, &answer).into()),
            }
        })
    }
}

/// The headers of an object that say what it is.
fn described(file: &File) -> [(HeaderName, String); 2] {
    [(CONTENT_TYPE, file.media_type().to_owned()), (SHA256, file.sha256.to_string())]
}

fn unknown(url: &str, what: &str) -> anyhow::Error {
    let fact = format!("'{url}' answers without {what}");
    refuse(fact, "check that the endpoint is a store that speaks S3's protocol")
}

/// Characters of XML's text.
fn unescaped(text: &str) -> String {
    let known = [("&quot;", "\""), ("&apos;", "'"), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")];
    known.into_iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// A value of a query, as signatures have it.
fn escaped(value: &str) -> String {
    let escape = |byte: u8| match byte {
        b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    value.bytes().map(escape).collect()
}

/// Bytes of a part: what is asked for, or more, so that there are not too many parts.
fn part_size(size: u64, piece: usize) -> usize {
    let needed = size.div_ceil(MAX_PARTS).next_multiple_of(1 << 20);
    if size.div_ceil(piece as u64) <= MAX_PARTS {
        return piece;
    }
    usize::try_from(needed).unwrap_or(usize::MAX)
}

impl Shelf for Store {
    fn client(&self) -> &Client {
        &self.client
    }

    fn place(&self, role: &str) -> String {
        format!("s3://{}/{}", self.bucket.name, self.bucket.key(role, ""))
    }

    fn url(&self, role: &str, name: &str, _: &Digest) -> String {
        self.object(role, name)
    }

    fn standing(&self, role: &str) -> Result<Standing> {
        match self.client.get(&self.object(role, SUMS), MAX_SUMS.get())? {
            Outcome::Found(bytes) => Ok(Standing::Release(bytes)),
            Outcome::Missing(_) => Ok(Standing::Nothing),
        }
    }

    fn has(&self, role: &str, file: &File) -> Result<bool> {
        let url = self.object(role, &file.name);
        let call = Call { method: &Method::HEAD, url: &url, headers: &[], body: &[] };
        let answer = self.client.call(&call)?;
        match answer.status.as_u16() {
            200 => Ok(answer.header(&SHA256) == Some(&*file.sha256.to_string())
                && answer.header(CONTENT_LENGTH) == Some(&*file.size.to_string())),
            404 => Ok(false),
            _ => Err(self.client.refused(&url, &answer)),
        }
    }

    fn put(
        &self,
        role: &str,
        file: &File,
        content: &Content,
        item: &mut Item,
        stop: &AtomicBool,
    ) -> Result<()> {
        let mut pieces = Pieces::new(content, file, part_size(file.size, self.piece))?;
        if file.size > self.piece as u64 {
            return self.put_parts(role, file, &mut pieces, item, stop);
        }
        let bytes = pieces.next()?.map_or(&[][..], |piece| piece.bytes);
        self.put_bytes(role, file, bytes)?;
        item.at(file.size);
        Ok(())
    }

    fn withdraw(&self, role: &str) -> Result<()> {
        let url = self.object(role, SUMS);
        let call = Call { method: &Method::DELETE, url: &url, headers: &[], body: &[] };
        let answer = self.client.call(&call)?;
        match answer.status.as_u16() {
            200 | 202 | 204 | 404 => Ok(()),
            _ => Err(self.client.refused(&url, &answer)),
        }
    }

    fn conclude(&self, release: &Release, sums: &[u8]) -> Result<String> {
        self.put_bytes(&release.role, &release.sums, sums)?;
        Ok(self.place(&release.role))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_has_no_more_parts_than_a_store_takes() {
        for (size, expected) in [
            (1, 16 << 20),
            (1 << 30, 16 << 20),
            (MAX_PARTS << 24, 16 << 20),
            ((MAX_PARTS << 24) + 1, 17 << 20),
            (1 << 40, 105 << 20),
        ] {
            let part = part_size(size, PIECE);
            assert_eq!(part, expected, "{size}");
            assert!(size.div_ceil(part as u64) <= MAX_PARTS);
        }
    }

    #[test]
    fn a_name_of_an_upload_comes_from_xml_and_goes_into_a_query() {
        assert_eq!(escaped(&unescaped("a-B_9.~")), "a-B_9.~");
        assert_eq!(escaped(&unescaped("a+/=&amp;lt;")), "a%2B%2F%3D%26lt%3B");
    }

    #[test]
    fn an_object_says_what_it_is() {
        let (name, sha256) = ("manifest.json".to_owned(), Digest::of(b""));
        let [(kind, json), (sum, digest)] = described(&File { name, size: 0, sha256 });
        assert_eq!((kind, json.as_str()), (CONTENT_TYPE, "application/json"));
        assert_eq!((sum, digest), (SHA256, sha256.to_string()));
    }
}
