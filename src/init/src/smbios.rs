// SPDX-License-Identifier: Apache-2.0
//! Metadata in the firmware's tables: DMTF DSP0134, "System Management BIOS Reference
//! Specification", sections 7.2 (type 1, System Information) and 7.12 (type 11, OEM Strings).
//!
//! The serial number of type 1 may be a `ds=nocloud;…` line, as with cloud-init. Strings of type
//! 11 may be documents: `kiln.meta-data=BASE64`, `kiln.network-config=BASE64`,
//! `kiln.user-data=BASE64`.

use crate::{base64, metadata::Seed};

/// What messages call this source.
pub const ORIGIN: &str = "smbios";
const SYSTEM_INFORMATION: u8 = 1;
const OEM_STRINGS: u8 = 11;
/// Offset of the serial number's string index in type 1.
const SERIAL_NUMBER: usize = 7;

/// A document that is there, but not readable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{ORIGIN}: the string 'kiln.{key}': {error}")]
    Base64 { key: &'static str, error: base64::Invalid },
    #[error("{ORIGIN}: two strings 'kiln.{key}': keep one")]
    Twice { key: &'static str },
    #[error(
        "{ORIGIN}: unknown string 'kiln.{key}'; expected kiln.meta-data, kiln.network-config or kiln.user-data"
    )]
    Unknown { key: String },
}

/// The serial number of type 1; none if it is not stated.
pub fn serial_number(table: &[u8]) -> Option<String> {
    let system = structures(table).find(|it| it.kind == SYSTEM_INFORMATION)?;
    let index = usize::from(*system.formatted.get(SERIAL_NUMBER)?);
    let text = system.strings.into_iter().nth(index.checked_sub(1)?)?;
    Some(String::from_utf8_lossy(text).into_owned())
}

/// The documents among the strings of type 11; none if there is no document.
///
/// # Errors
/// A document that is no base64, or is there twice.
pub fn documents(table: &[u8]) -> Result<Option<Seed>, Error> {
    let mut seed = Seed { origin: ORIGIN.to_owned(), ..Seed::default() };
    for structure in structures(table).filter(|it| it.kind == OEM_STRINGS) {
        for string in structure.strings {
            let text = String::from_utf8_lossy(string);
            let Some((key, value)) = text.strip_prefix("kiln.").and_then(|it| it.split_once('='))
            else {
                continue;
            };
            let (slot, key) = match key {
                "meta-data" => (&mut seed.meta_data, "meta-data"),
                "network-config" => (&mut seed.network_config, "network-config"),
                "user-data" => (&mut seed.user_data, "user-data"),
                _ => return Err(Error::Unknown { key: crate::yaml::printable(key) }),
            };
            let bytes = base64::decode(value).map_err(|error| Error::Base64 { key, error })?;
            if slot.replace(bytes).is_some() {
                return Err(Error::Twice { key });
            }
        }
    }
    Ok(seed.has_documents().then_some(seed))
}

struct Structure<'a> {
    kind: u8,
    /// With the four bytes of the header.
    formatted: &'a [u8],
    strings: Vec<&'a [u8]>,
}

/// The structures up to the first that does not fit.
fn structures(table: &[u8]) -> impl Iterator<Item = Structure<'_>> {
    let mut rest = table;
    std::iter::from_fn(move || {
        let (kind, length) = (*rest.first()?, usize::from(*rest.get(1)?));
        if length < 4 || length > rest.len() {
            return None;
        }
        let (formatted, mut behind) = rest.split_at(length);
        let mut strings = Vec::new();
        loop {
            let end = behind.iter().position(|byte| *byte == 0)?;
            let (string, after) = behind.split_at(end);
            behind = &after[1..];
            if string.is_empty() {
                // A structure without strings ends in two zeros as well.
                if strings.is_empty() && behind.first() == Some(&0) {
                    behind = &behind[1..];
                }
                break;
            }
            strings.push(string);
        }
        rest = behind;
        Some(Structure { kind, formatted, strings })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn structure(kind: u8, formatted: &[u8], strings: &[&str]) -> Vec<u8> {
        let mut bytes = vec![kind, u8::try_from(4 + formatted.len()).unwrap(), 0, 1];
        bytes.extend(formatted);
        for string in strings {
            bytes.extend(string.as_bytes());
            bytes.push(0);
        }
        bytes.extend(if strings.is_empty() { &[0, 0][..] } else { &[0] });
        bytes
    }

    fn table(strings: &[&str]) -> Vec<u8> {
        let system = structure(1, &[1, 2, 0, 3, 0, 0], &["QEMU", "pc", "ds=nocloud;h=n1"]);
        let count = u8::try_from(strings.len()).unwrap();
        [
            structure(0, &[0; 20], &[]),
            system,
            structure(11, &[count], strings),
            structure(127, &[], &[]),
        ]
        .concat()
    }

    #[test]
    fn serial_number_and_documents_are_found() {
        let table =
            table(&["io.systemd.credential:a=b", "kiln.meta-data=YTogMQ==", "kiln.user-data="]);
        assert_eq!(serial_number(&table).as_deref(), Some("ds=nocloud;h=n1"));
        let seed = documents(&table).unwrap().unwrap();
        assert_eq!(seed.meta_data.as_deref(), Some(&b"a: 1"[..]));
        assert_eq!(seed.user_data.as_deref(), Some(&b""[..]));
        assert_eq!(seed.network_config, None);
    }

    #[test]
    fn no_strings_are_no_documents() {
        assert_eq!(documents(&table(&[])).unwrap(), None);
        assert_eq!(documents(&[]).unwrap(), None);
        assert_eq!(serial_number(&structure(1, &[0; 4], &["x"])), None);
    }

    #[test]
    fn bad_documents_are_refused() {
        for (strings, message) in [
            (
                &["kiln.meta-data=%"][..],
                "smbios: the string 'kiln.meta-data': not base64 at byte 0",
            ),
            (
                &["kiln.meta-data=", "kiln.meta-data="],
                "smbios: two strings 'kiln.meta-data': keep one",
            ),
            (
                &["kiln.metadata="],
                "smbios: unknown string 'kiln.metadata'; expected kiln.meta-data, kiln.network-config or kiln.user-data",
            ),
        ] {
            assert_eq!(documents(&table(strings)).unwrap_err().to_string(), message);
        }
    }

    proptest! {
        #[test]
        fn any_table_is_read(mut bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0_usize..200) {
            let good = table(&["kiln.meta-data=YTogMQ=="]);
            bytes.extend(&good[..cut.min(good.len())]);
            let _ = (serial_number(&bytes), documents(&bytes));
        }
    }
}
