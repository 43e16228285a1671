// SPDX-License-Identifier: Apache-2.0
//! What a server says about one of its files: a published SHA-256 or SHA-512.
//!
//! The text is what `sha256sum` prints, or its digits alone, as Kubernetes publishes them in
//! `kubelet.sha256`. Anything else is refused: an error page must not pass for a checksum.

use std::{fmt, io, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::{
    diagnostic::quoted,
    digest::{Digest, Hasher},
};

/// Most bytes of a published checksum's file.
pub const MAX_FILE: u64 = 4 << 10;

/// How a checksum is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Sha256,
    Sha512,
}

impl Kind {
    /// In the order in which they are asked for.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// Also what a published file's name ends with.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    const fn digits(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// A checksum; `Display` and serde use `sha256:DIGITS`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sum {
    Sha256(Digest),
    Sha512([u8; 64]),
}

/// Why a text is no checksum.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("it is a web page, not a checksum")]
    Page,
    #[error("expected {expected} hex digits, found {found}")]
    Digits { expected: usize, found: String },
    #[error("expected one line, found several")]
    Lines,
    #[error("it is the checksum of {found}")]
    Other { found: String },
}

impl Sum {
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Sha256(_) => Kind::Sha256,
            Self::Sha512(_) => Kind::Sha512,
        }
    }

    /// The digits alone.
    pub fn digits(&self) -> String {
        match self {
            Self::Sha256(digest) => digest.to_string(),
            Self::Sha512(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }

    /// The first 12 digits, for messages to people.
    pub fn short(&self) -> String {
        self.digits()[..12].to_owned()
    }

    pub fn hasher(&self) -> SumHasher {
        match self {
            Self::Sha256(_) => SumHasher::Sha256(Hasher::new()),
            Self::Sha512(_) => SumHasher::Sha512(sha2::Sha512::new()),
        }
    }

    /// Reads what is published for `file`: digits, and perhaps the file's name.
    ///
    /// # Errors
    /// The text is something else, or names another file.
    pub fn published(text: &[u8], kind: Kind, file: &str) -> Result<Self, Error> {
        let text = String::from_utf8_lossy(text);
        let text = text.trim();
        if text.starts_with('<') {
            return Err(Error::Page);
        }
        if text.contains('\n') {
            return Err(Error::Lines);
        }
        let (digits, name) = match text.split_once(char::is_whitespace) {
            // Before a name, `*` means that the file was read as bytes.
            Some((digits, name)) => (digits, Some(name.trim_start().trim_start_matches('*'))),
            None => (text, None),
        };
        let sum = Self::parse(kind, digits)?;
        match name.filter(|name| name.rsplit('/').next() != Some(file)) {
            Some(found) => Err(Error::Other { found: quoted(found) }),
            None => Ok(sum),
        }
    }

    fn parse(kind: Kind, digits: &str) -> Result<Self, Error> {
        let error = || {
            let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            let found = if hex { digits.len().to_string() } else { quoted(digits) };
            Error::Digits { expected: kind.digits(), found }
        };
        if digits.len() != kind.digits() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(error());
        }
        match kind {
            Kind::Sha256 => digits.parse().map(Self::Sha256).map_err(|_| error()),
            Kind::Sha512 => {
                let mut bytes = [0; 64];
                for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
                    *byte = u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| error())?;
                }
                Ok(Self::Sha512(bytes))
            }
        }
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind().name(), self.digits())
    }
}

impl fmt::Debug for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sum({self})")
    }
}

/// The text is not `sha256:` or `sha512:` and digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a checksum is 'sha256:' and 64 hex digits, or 'sha512:' and 128")]
pub struct ParseSumError;

impl FromStr for Sum {
    type Err = ParseSumError;

    fn from_str(text: &str) -> Result<Self, ParseSumError> {
        let (word, digits) = text.split_once(':').ok_or(ParseSumError)?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == word).ok_or(ParseSumError)?;
        Self::parse(kind, digits).map_err(|_| ParseSumError)
    }
}

impl Serialize for Sum {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sum {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Computes a checksum piece by piece.
#[derive(Clone)]
pub enum SumHasher {
    Sha256(Hasher),
    Sha512(sha2::Sha512),
}

impl SumHasher {
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    pub fn finish(self) -> Sum {
        match self {
            Self::Sha256(hasher) => Sum::Sha256(hasher.finish()),
            Self::Sha512(hasher) => Sum::Sha512(hasher.finalize().into()),
        }
    }
}

impl fmt::Debug for SumHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SumHasher")
    }
}

impl io::Write for SumHasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC_256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    /// FIPS 180-4's example.
    const ABC_512: &str = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                           2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";

    fn published(text: &str, kind: Kind) -> Result<Sum, String> {
        Sum::published(text.as_bytes(), kind, "kubelet").map_err(|error| error.to_string())
    }

    #[test]
    fn a_published_sum_is_digits_and_perhaps_the_file_s_name() {
        for (kind, digits) in [(Kind::Sha256, ABC_256), (Kind::Sha512, ABC_512)] {
            let sum = published(digits, kind).unwrap();
            for text in [
                format!("{digits}\n"),
                format!("{digits}  kubelet\n"),
                format!("{} *bin/linux/amd64/kubelet", digits.to_uppercase()),
            ] {
                assert_eq!(published(&text, kind), Ok(sum), "{text}");
            }
            let mut hasher = sum.hasher();
            hasher.update(b"a");
            hasher.update(b"bc");
            assert_eq!(hasher.finish(), sum);
            assert_eq!(sum.to_string(), format!("{}:{digits}", kind.name()));
            assert_eq!(sum.to_string().parse(), Ok(sum));
        }
    }

    #[test]
    fn what_is_no_sum_is_said() {
        for (text, message) in [
            ("<!DOCTYPE html>\n<html>", "it is a web page, not a checksum"),
            ("", "expected 64 hex digits, found 0"),
            (&ABC_256[1..], "expected 64 hex digits, found 63"),
            (ABC_512, "expected 64 hex digits, found 128"),
            ("Not Found", "expected 64 hex digits, found 'Not'"),
            (&ABC_256.replace('b', "é"), "expected 64 hex digits, found 'é"),
            (&format!("{ABC_256} kubectl"), "it is the checksum of 'kubectl'"),
            (&format!("{ABC_256} a\n{ABC_256} b"), "expected one line, found several"),
        ] {
            let found = published(text, Kind::Sha256).unwrap_err();
            assert!(found.starts_with(message), "{found}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, text: String) {
            for kind in Kind::ALL {
                let _ = Sum::published(&bytes, kind, "kubelet");
            }
            let _ = text.parse::<Sum>();
        }
    }
}
