// SPDX-License-Identifier: Apache-2.0
//! Whose signature under a `Release` file counts.
//!
//! The keys of the Debian archive are part of the program: where they come from, and their
//! fingerprints, stand in `README.md` beside this file.

use sequoia_openpgp::{
    Cert, KeyHandle,
    cert::CertParser,
    parse::{PacketParser, Parse as _},
};

/// OpenPGP certificates that may sign `Release` files.
#[derive(Debug, Clone)]
pub struct Keyring(Vec<Cert>);

/// The bytes hold no OpenPGP certificates.
#[derive(Debug, thiserror::Error)]
#[error("not a keyring of OpenPGP certificates: {0}")]
pub struct ParseKeyringError(String);

const DEBIAN: [&[u8]; 6] = [
    include_bytes!("debian-archive-bookworm-automatic.pgp"),
    include_bytes!("debian-archive-bookworm-security-automatic.pgp"),
    include_bytes!("debian-archive-bookworm-stable.pgp"),
    include_bytes!("debian-archive-trixie-automatic.pgp"),
    include_bytes!("debian-archive-trixie-security-automatic.pgp"),
    include_bytes!("debian-archive-trixie-stable.pgp"),
];

impl Keyring {
    /// The keys of Debian 12 and 13: archive, security archive and stable release.
    pub fn debian() -> Self {
        Self::parse(&Self::debian_bytes()).expect("the embedded certificates are valid")
    }

    /// The same keys as bytes, as OpenPGP tools read them.
    pub fn debian_bytes() -> Vec<u8> {
        DEBIAN.concat()
    }

    /// The certificates of a keyring, binary or armored.
    ///
    /// # Errors
    /// Something else than certificates is in it, or nothing.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseKeyringError> {
        let error = |error: anyhow::Error| ParseKeyringError(error.to_string());
        let packets = PacketParser::from_bytes(bytes).map_err(error)?;
        let certs: Vec<Cert> =
            CertParser::from(packets).collect::<Result<_, _>>().map_err(error)?;
        match certs.is_empty() {
            true => Err(ParseKeyringError("it is empty".to_owned())),
            false => Ok(Self(certs)),
        }
    }

    /// The certificates that hold one of these keys.
    pub(super) fn matching(&self, ids: &[KeyHandle]) -> Vec<Cert> {
        let holds = |cert: &&Cert| {
            cert.keys().any(|key| ids.iter().any(|id| id.aliases(key.key().key_handle())))
        };
        self.0.iter().filter(holds).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_keys_are_those_of_the_readme() {
        let readme = include_str!("README.md");
        let keyring = Keyring::debian();
        assert_eq!(keyring.0.len(), DEBIAN.len());
        for cert in &keyring.0 {
            let fingerprint = cert.fingerprint().to_spaced_hex().replace("  ", " ");
            assert!(readme.contains(&fingerprint), "{fingerprint}");
        }
    }

    #[test]
    fn what_holds_no_certificate_is_refused() {
        assert!(Keyring::parse(b"").is_err());
        assert!(Keyring::parse(b"hello").is_err());
        let armored =
            b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n!!\n-----END PGP PUBLIC KEY BLOCK-----";
        assert!(Keyring::parse(armored).is_err());
    }
}
