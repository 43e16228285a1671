// SPDX-License-Identifier: Apache-2.0
//! `SHA256SUMS`, as sha256sum(1) writes it: what pinned documents are checked against.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::yaml::printable;

/// The file's own name.
pub(super) const NAME: &str = "SHA256SUMS";

/// A digest of SHA-256 in lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sums(BTreeMap<String, String>);

impl Sums {
    /// # Errors
    /// A line that is no digest and a name, or a name that is there twice.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| format!("{NAME}: expected text"))?;
        let mut sums = BTreeMap::new();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let number = index + 1;
            let parts = line.split_once(' ').and_then(|(digest, name)| {
                let name = name.strip_prefix([' ', '*'])?;
                Some((digest_of_text(digest)?, name.strip_prefix("./").unwrap_or(name)))
            });
            let Some((digest, name)) = parts else {
                let found: String = printable(line).chars().take(80).collect();
                return Err(format!("{NAME}:{number}: expected 'DIGEST  NAME', found '{found}'"));
            };
            if sums.insert(name.to_owned(), digest).is_some() {
                let name = printable(name);
                return Err(format!("{NAME}:{number}: '{name}' is there a second time"));
            }
        }
        Ok(Self(sums))
    }

    /// Checks a document, or that it is rightly missing.
    ///
    /// # Errors
    /// It is not the listed one.
    pub(super) fn check(&self, name: &str, bytes: Option<&[u8]>) -> Result<(), String> {
        match (self.0.get(name), bytes) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(format!("{NAME} does not list '{name}'")),
            (Some(_), None) => Err(format!("{NAME} lists '{name}', which is not there")),
            (Some(expected), Some(bytes)) => {
                let found = digest(bytes);
                if found == *expected {
                    return Ok(());
                }
                Err(format!("sha256 of '{name}': expected {expected}, found {found}"))
            }
        }
    }
}

pub(super) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// 64 hex digits, in lower case.
pub(super) fn digest_of_text(text: &str) -> Option<String> {
    let valid = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    valid.then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// sha256sum of nothing and of `abc`: FIPS 180-4's own examples.
    const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn listed_documents_are_checked() {
        let text = format!("{NOTHING}  ./a\n\n{} *b\n", ABC.to_ascii_uppercase());
        let sums = Sums::parse(text.as_bytes()).unwrap();
        assert_eq!(sums.check("a", Some(b"")), Ok(()));
        assert_eq!(sums.check("b", Some(b"abc")), Ok(()));
        assert_eq!(sums.check("c", None), Ok(()));
        for (name, bytes, message) in [
            ("c", Some(&b"x"[..]), "SHA256SUMS does not list 'c'".to_owned()),
            ("a", None, "SHA256SUMS lists 'a', which is not there".to_owned()),
            ("a", Some(b"abc"), format!("sha256 of 'a': expected {NOTHING}, found {ABC}")),
        ] {
            assert_eq!(sums.check(name, bytes), Err(message));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for (text, message) in [
            ("x", "SHA256SUMS:1: expected 'DIGEST  NAME', found 'x'".to_owned()),
            ("\nabc  a", "SHA256SUMS:2: expected 'DIGEST  NAME', found 'abc  a'".to_owned()),
            (
                &format!("{ABC}  a\n{ABC}  a\n"),
                "SHA256SUMS:2: 'a' is there a second time".to_owned(),
            ),
        ] {
            assert_eq!(Sums::parse(text.as_bytes()), Err(message));
        }
        assert_eq!(Sums::parse(b"\xff"), Err("SHA256SUMS: expected text".to_owned()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Sums::parse(&bytes);
        }
    }
}
