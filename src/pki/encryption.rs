// SPDX-License-Identifier: Apache-2.0
//! The key that encrypts secrets before they reach etcd.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Error, Material};
use crate::kubernetes::{
    configs::{Cipher, EncryptionKey},
    settings::Secret,
};

/// The key's file, below [`super::FOLDER`]: 32 bytes in base64.
pub const FILE: &str = "encryption.key";
const NAME: &str = "key-1";

/// A new key out of random bytes.
pub fn text(random: &[u8; 32]) -> String {
    STANDARD.encode(random) + "\n"
}

/// The key of a workspace.
///
/// # Errors
/// There is none, or the file holds something else.
pub fn read(material: &Material) -> Result<EncryptionKey, Error> {
    let missing = || Error::NoAuthority { path: FILE.to_owned() };
    let text = String::from_utf8_lossy(material.get(FILE).ok_or_else(missing)?).into_owned();
    EncryptionKey::new(Cipher::Secretbox, NAME, &Secret::new(text.trim_end()))
        .map_err(|_| Error::Unreadable { path: FILE.to_owned(), what: "no encryption key" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_file() {
        let mut material = Material::default();
        assert!(matches!(read(&material), Err(Error::NoAuthority { .. })));
        material.insert(FILE, text(&[7; 32]));
        read(&material).unwrap();
        material.insert(FILE, "c2hvcnQ=");
        assert!(matches!(read(&material), Err(Error::Unreadable { .. })));
    }
}
