// SPDX-License-Identifier: Apache-2.0
//! The bootstrap token: with it kubelets ask for their first certificate, until it ends.

use super::{Error, Material, date};
use crate::kubernetes::{kubeconfig::BootstrapToken, settings::Secret};

/// The token's file, below [`super::FOLDER`]: `ID.SECRET END` on one line.
pub const FILE: &str = "bootstrap-token.key";

const ID_LEN: usize = 6;
const SECRET_LEN: usize = 16;

/// A new token out of random bytes, 5 bits of each for one of its characters.
pub fn text(random: &[u8; 32], until: u64) -> String {
    let alphabet = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut characters = random.iter().map(|byte| char::from(alphabet[usize::from(byte & 31)]));
    let id: String = characters.by_ref().take(ID_LEN).collect();
    let secret: String = characters.take(SECRET_LEN).collect();
    format!("{id}.{secret} {}\n", date(until))
}

/// The token of a workspace.
///
/// # Errors
/// There is none, or the file holds something else.
pub fn read(material: &Material) -> Result<BootstrapToken, Error> {
    let missing = || Error::NoAuthority { path: FILE.to_owned() };
    let text = String::from_utf8_lossy(material.get(FILE).ok_or_else(missing)?).into_owned();
    let (token, expires) = text.trim_end().split_once(' ').unwrap_or_default();
    BootstrapToken::parse(&Secret::new(token), expires)
        .map_err(|_| Error::Unreadable { path: FILE.to_owned(), what: "no bootstrap token" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_its_file() {
        let mut material = Material::default();
        assert!(matches!(read(&material), Err(Error::NoAuthority { .. })));
        material.insert(FILE, text(&[255; 32], 1_893_456_000));
        let token = read(&material).unwrap();
        assert_eq!((&*token.id, &*token.expires), ("777777", "2030-01-01T00:00:00Z"));
        material.insert(FILE, "a.b 2030-01-01T00:00:00Z");
        assert!(matches!(read(&material), Err(Error::Unreadable { .. })));
    }
}
