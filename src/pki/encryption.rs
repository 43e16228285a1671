// SPDX-License-Identifier: Apache-2.0
//! The keys that encrypt secrets before they reach etcd.
//!
//! One line is one key. The first one encrypts and each of them decrypts, so that a key is replaced
//! by roll-outs in which every API server reads what every other one writes.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Error, Material};
use crate::{
    digest::Digest,
    kubernetes::{
        configs::{Cipher, EncryptionKey, EncryptionKeys},
        settings::Secret,
    },
    yaml::fields::Complaint,
};

/// The keys' file, below [`super::FOLDER`]: lines of 32 bytes in base64.
pub const FILE: &str = "encryption.key";

/// A new key out of random bytes, as a line.
pub fn text(random: &[u8; 32]) -> String {
    STANDARD.encode(random) + "\n"
}

/// The keys of a workspace.
///
/// # Errors
/// There is none, one comes twice, or the file holds something else.
pub fn read(material: &Material) -> Result<EncryptionKeys, Error> {
    let missing = || Error::NoAuthority { path: FILE.to_owned() };
    let text = String::from_utf8_lossy(material.get(FILE).ok_or_else(missing)?).into_owned();
    let what = "no list of encryption keys";
    parse(&text).map_err(|_| Error::Unreadable { path: FILE.to_owned(), what })
}

/// The keys of a file's text.
///
/// What is in etcd names the key that reads it, so a name must not depend on a key's place in the
/// file: it is of the key's digest, which tells nothing of 32 random bytes.
///
/// # Errors
/// As [`read`].
pub fn parse(text: &str) -> Result<EncryptionKeys, Complaint> {
    let key = |line: &str| {
        let name = format!("key-{}", Digest::of(line.as_bytes()).short());
        EncryptionKey::new(&name, &Secret::new(line))
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    EncryptionKeys::new(Cipher::Secretbox, lines.map(key).collect::<Result<_, _>>()?)
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
        for bad in ["c2hvcnQ=", "", &(text(&[7; 32]) + &text(&[7; 32]))] {
            material.insert(FILE, bad);
            assert!(matches!(read(&material), Err(Error::Unreadable { .. })), "{bad}");
        }
    }

    #[test]
    fn a_key_keeps_its_name_when_another_one_goes_before_it() {
        let (old, new) = (text(&[7; 32]), text(&[8; 32]));
        let alone = format!("{:?}", parse(&old).unwrap());
        let name = alone.split('"').find(|part| part.starts_with("key-")).unwrap();
        let both = format!("{:?}", parse(&(new + &old)).unwrap());
        assert!(both.contains(name) && both.matches("key-").count() == 2, "{both}");
    }
}
