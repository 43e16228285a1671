// SPDX-License-Identifier: Apache-2.0
//! The bootstrap token: with it kubelets ask for their first certificate, until it ends.

use super::{Error, Material, date, error::Next};
use crate::{
    kubernetes::{kubeconfig::BootstrapToken, settings::Secret},
    lock,
};

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

/// The token of a workspace and its last second.
///
/// # Errors
/// There is none, or the file holds something else.
pub fn read(material: &Material) -> Result<(BootstrapToken, u64), Error> {
    let missing = || Error::NoAuthority { path: FILE.to_owned() };
    let unreadable = || Error::Unreadable { path: FILE.to_owned(), what: "no bootstrap token" };
    let text = String::from_utf8_lossy(material.get(FILE).ok_or_else(missing)?).into_owned();
    let (token, expires) = text.trim_end().split_once(' ').unwrap_or_default();
    let token = BootstrapToken::parse(&Secret::new(token), expires).map_err(|_| unreadable())?;
    let until = lock::date::parse(&token.expires).ok_or_else(unreadable)?;
    Ok((token, until))
}

/// The token of a workspace, which kubelets can still use, and its last second.
///
/// # Errors
/// As [`read`], or its time is over.
pub fn read_valid(material: &Material, now: u64) -> Result<(BootstrapToken, u64), Error> {
    match read(material)? {
        (_, until) if now > until => {
            Err(Error::Expired { path: FILE.to_owned(), until, now, next: Next::Token })
        }
        valid => Ok(valid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_whose_time_is_over_is_not_given_to_anybody() {
        let mut material = Material::default();
        let end = 1_893_456_000;
        material.insert(FILE, text(&[255; 32], end));
        assert!(read_valid(&material, end).is_ok());
        let error = read_valid(&material, end + 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "'pki/bootstrap-token.key' expired at 2030-01-01T00:00:00Z; it is 2030-01-01T00:00:01Z now"
        );
        assert_eq!(
            error.help(),
            "remove 'pki/bootstrap-token.key' and run `kiln pki init --only bootstrap-token`"
        );
        material.insert(FILE, "abcdef.0123456789abcdef 2030-13-01T00:00:00Z");
        let error = read_valid(&material, 0).unwrap_err();
        assert_eq!(error.to_string(), "'pki/bootstrap-token.key' holds no bootstrap token");
    }

    #[test]
    fn a_token_survives_its_file() {
        let mut material = Material::default();
        assert!(matches!(read(&material), Err(Error::NoAuthority { .. })));
        material.insert(FILE, text(&[255; 32], 1_893_456_000));
        let (token, _) = read(&material).unwrap();
        assert_eq!((&*token.id, &*token.expires), ("777777", "2030-01-01T00:00:00Z"));
        material.insert(FILE, "a.b 2030-01-01T00:00:00Z");
        assert!(matches!(read(&material), Err(Error::Unreadable { .. })));
    }
}
