// SPDX-License-Identifier: Apache-2.0
//! VMware's guestinfo: `guestinfo.metadata`, `guestinfo.userdata`, each with an encoding beside it.

use super::{Error, Machine};
use crate::{
    base64, gzip,
    metadata::{Dialect, Seed},
    yaml::{DOCUMENT_MAX, printable},
};

/// Bytes of one value as the hypervisor delivers it.
pub const VALUE_MAX: usize = 64 << 10;
/// What messages call this source.
pub const ORIGIN: &str = "guestinfo";
/// The keys that hold documents; the last one is not read.
pub const KEYS: [&str; 3] = ["guestinfo.metadata", "guestinfo.userdata", "guestinfo.vendordata"];
/// What a value that was wiped holds.
pub const WIPED: &str = "---";

/// Why a value is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("expected the encoding base64 or gzip+base64, found '{0}'")]
    Encoding(String),
    #[error(transparent)]
    Base64(#[from] base64::Invalid),
    #[error(transparent)]
    Gzip(#[from] gzip::Invalid),
    #[error("larger than {VALUE_MAX} bytes")]
    TooLarge,
    #[error("expected text, found another byte at offset {0}")]
    NotText(usize),
}

/// The documents; none if the keys are not set, or there is no VMware.
pub(super) fn read(machine: &mut dyn Machine) -> Result<Option<Seed>, Error> {
    let mut seed = Seed {
        origin: ORIGIN.to_owned(),
        dialect: Dialect::Guestinfo,
        meta_data: value(machine, KEYS[0])?,
        user_data: value(machine, KEYS[1])?,
        ..Seed::default()
    };
    if value(machine, KEYS[2])?.is_some() {
        seed.warnings.push(format!("{} is not read", KEYS[2]));
    }
    if !seed.has_documents() {
        return Ok(None);
    }
    seed.fallback_id = machine.uuid();
    Ok(Some(seed))
}

/// A key's value, decoded; none if it is not set, empty or wiped.
fn value(machine: &mut dyn Machine, key: &'static str) -> Result<Option<Vec<u8>>, Error> {
    let mut get = |name: &str| {
        let value = machine.guestinfo(name);
        value.map_err(|error| Error::Io { what: "guestinfo", error })
    };
    let Some(bytes) = get(key)? else { return Ok(None) };
    let encoding = get(&format!("{key}.encoding"))?.unwrap_or_default();
    decode(&bytes, &encoding).map_err(|invalid| Error::Guestinfo { key, invalid })
}

/// Decodes a value.
fn decode(bytes: &[u8], encoding: &[u8]) -> Result<Option<Vec<u8>>, Invalid> {
    if bytes.len() > VALUE_MAX {
        return Err(Invalid::TooLarge);
    }
    let bytes = bytes.trim_ascii_end();
    if bytes.is_empty() || bytes == WIPED.as_bytes() {
        return Ok(None);
    }
    let text = || str::from_utf8(bytes).map_err(|error| Invalid::NotText(error.valid_up_to()));
    let encoding = String::from_utf8_lossy(encoding).trim().to_owned();
    match &*encoding {
        "" => Ok(Some(bytes.to_vec())),
        "base64" | "b64" => Ok(Some(base64::decode(text()?)?)),
        "gzip+base64" | "gz+b64" | "gz+base64" | "gzip+b64" => {
            Ok(Some(gzip::decompress(&base64::decode(text()?)?, DOCUMENT_MAX)?))
        }
        other => Err(Invalid::Encoding(printable(other))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_as_their_encoding_says() {
        for (value, encoding, expected) in [
            ("a: 1\n", "", Some("a: 1")),
            ("a: 1", " ", Some("a: 1")),
            ("YTogMQ==", "base64", Some("a: 1")),
            ("YTog\nMQ==\n", "b64\n", Some("a: 1")),
            ("H4sIAAAAAAAC/0u0UjAEAKQLeE8EAAAA", "gz+b64", Some("a: 1")),
            ("---", "", None),
            ("---\n", " ", None),
            ("", "base64", None),
            (" \n", "", None),
        ] {
            let decoded = decode(value.as_bytes(), encoding.as_bytes());
            assert_eq!(decoded, Ok(expected.map(|it| it.as_bytes().to_vec())), "{value}");
        }
    }

    #[test]
    fn values_that_cannot_be_decoded_are_refused() {
        for (value, encoding, message) in [
            (&b"x"[..], "bzip2", "expected the encoding base64 or gzip+base64, found 'bzip2'"),
            (b"%", "base64", "not base64 at byte 0"),
            (b"YTogMQ==", "gzip+base64", "expected gzip, found something else"),
            (b"H4sIAAAAAAAAA0u0", "gzip+base64", "the gzip data is damaged or cut off"),
            (b"\xff", "base64", "expected text, found another byte at offset 0"),
            (&[b'x'; VALUE_MAX + 1], "", "larger than 65536 bytes"),
        ] {
            let refusal = decode(value, encoding.as_bytes()).unwrap_err().to_string();
            assert_eq!(refusal, message);
        }
    }
}
