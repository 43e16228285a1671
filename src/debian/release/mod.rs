// SPDX-License-Identifier: Apache-2.0
//! Is this `InRelease` file genuine, current, and that of the suite we asked for?
//!
//! The signature is OpenPGP's cleartext framework (RFC 9580 section 7). Only the text that the
//! verifier returns is read; what stands around it is as good as not there. Fields are those of
//! <https://wiki.debian.org/DebianRepository/Format>.

mod signature;

use std::collections::BTreeMap;

use super::{
    control::{self, Stanza},
    date::Date,
    keyring::Keyring,
};
use crate::digest::Digest;

/// A verified `Release` file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    pub suite: String,
    pub codename: String,
    pub date: Date,
    pub valid_until: Option<Date>,
    pub components: Vec<String>,
    pub architectures: Vec<String>,
    /// Whether files are also found by digest, which no update of the archive can race.
    pub acquire_by_hash: bool,
    /// SHA-256 of the signed text.
    pub digest: Digest,
    /// Fingerprints of the certificates whose signatures are good, sorted.
    pub signers: Vec<String>,
    files: BTreeMap<String, File>,
}

/// One index file that a `Release` file vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File {
    /// Bytes.
    pub size: u64,
    pub sha256: Digest,
}

/// What the caller asked the archive for.
#[derive(Debug, Clone, Copy)]
pub struct Expect<'a> {
    /// A codename or suite: `trixie`, `trixie-security`, `stable-updates`.
    pub suite: &'a str,
}

/// Why a `Release` file is not to be trusted, or cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the Release file is not signed: it has no '-----BEGIN PGP SIGNED MESSAGE-----'")]
    Unsigned,
    #[error("the Release file is signed by {}, of which none is in the keyring", .ids.join(", "))]
    UnknownKeys { ids: Vec<String> },
    #[error("the signature by {key} does not fit the text of the Release file: {reason}")]
    BadSignature { key: String, reason: String },
    #[error("the Release file is signed by {key}, which may not sign it: {reason}")]
    BadKey { key: String, reason: String },
    #[error("the Release file is no valid OpenPGP message: {0}")]
    Malformed(String),
    #[error("the Release file is valid until {until}, and it is {now}")]
    Expired { until: Date, now: Date },
    #[error("the Release file is of {date}, which is later than now, {now}")]
    FromTheFuture { date: Date, now: Date },
    #[error(
        "expected the Release file of suite '{expected}', found that of '{codename}' ('{suite}')"
    )]
    WrongSuite { expected: String, suite: String, codename: String },
    #[error("the Release file has {0}")]
    Syntax(control::Error),
    #[error("the Release file has no field '{0}'")]
    MissingField(&'static str),
    #[error("field '{field}' of the Release file: {reason}")]
    Field { field: &'static str, reason: String },
}

/// How far an archive's clock may be ahead of ours, seconds.
const CLOCK_SKEW: u64 = 600;

/// Verifies and reads an `InRelease` file at the time `now`, seconds since 1970.
///
/// # Errors
/// No good signature of a key in `keyring`, a date outside its validity, another suite than
/// expected, or a malformed text: each its own variant.
pub fn verify(
    inrelease: &[u8],
    keyring: &Keyring,
    now: u64,
    expect: &Expect<'_>,
) -> Result<Release, Error> {
    let signed = signature::verify(inrelease, keyring, now)?;
    let text = std::str::from_utf8(&signed.text)
        .map_err(|error| Error::Malformed(format!("its text is not UTF-8: {error}")))?;
    let mut release = parse(&control::single(text).map_err(Error::Syntax)?)?;
    release.digest = Digest::of(&signed.text);
    release.signers = signed.signers;
    release.check(Date(now), expect)?;
    Ok(release)
}

impl Release {
    /// The index file at a path below the suite: `main/binary-amd64/Packages.xz`.
    pub fn file(&self, path: &str) -> Option<File> {
        self.files.get(path).copied()
    }

    fn check(&self, now: Date, expect: &Expect<'_>) -> Result<(), Error> {
        if expect.suite != self.codename && expect.suite != self.suite {
            return Err(Error::WrongSuite {
                expected: expect.suite.to_owned(),
                suite: self.suite.clone(),
                codename: self.codename.clone(),
            });
        }
        if self.date.0 > now.0.saturating_add(CLOCK_SKEW) {
            return Err(Error::FromTheFuture { date: self.date, now });
        }
        match self.valid_until {
            Some(until) if until < now => Err(Error::Expired { until, now }),
            _ => Ok(()),
        }
    }
}

/// The fields of a verified text. Digest and signers are the caller's to fill in.
fn parse(stanza: &Stanza<'_>) -> Result<Release, Error> {
    let required = |name| stanza.get(name).ok_or(Error::MissingField(name));
    let date = |field: &'static str| {
        let parse = |text: &str| {
            text.parse::<Date>().map_err(|error| Error::Field { field, reason: error.to_string() })
        };
        stanza.get(field).map(parse).transpose()
    };
    let words = |name| -> Result<Vec<String>, Error> {
        Ok(required(name)?.split_ascii_whitespace().map(str::to_owned).collect())
    };
    Ok(Release {
        suite: required("Suite")?.to_owned(),
        codename: required("Codename")?.to_owned(),
        date: date("Date")?.ok_or(Error::MissingField("Date"))?,
        valid_until: date("Valid-Until")?,
        components: words("Components")?,
        architectures: words("Architectures")?,
        acquire_by_hash: stanza.get("Acquire-By-Hash") == Some("yes"),
        digest: Digest::of(b""),
        signers: Vec::new(),
        files: files(required("SHA256")?)?,
    })
}

/// The table of `digest size path` lines.
fn files(table: &str) -> Result<BTreeMap<String, File>, Error> {
    let mut files = BTreeMap::new();
    for line in table.lines().map(str::trim_ascii).filter(|line| !line.is_empty()) {
        let error = |reason: &str| Error::Field {
            field: "SHA256",
            reason: format!("{reason}: '{}'", line.escape_debug()),
        };
        let mut words = line.split_ascii_whitespace();
        let (Some(digest), Some(size), Some(path), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(error("expected digest, size and path"));
        };
        let file = File {
            size: size.parse().map_err(|_| error("the size is no number"))?,
            sha256: digest.parse().map_err(|_| error("the digest is not 64 hex digits"))?,
        };
        if files.insert(path.to_owned(), file).is_some_and(|other| other != file) {
            return Err(error("the same path stands there twice with different content"));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests;
