// SPDX-License-Identifier: Apache-2.0
use std::{io::Write as _, time::SystemTime};

use sequoia_openpgp::{
    Cert,
    cert::{CertBuilder, CertRevocationBuilder},
    policy::StandardPolicy,
    serialize::{
        Serialize as _,
        stream::{Message, Signer},
    },
    types::ReasonForRevocation,
};

use super::*;

/// Saturday, 12 September 2026, 07:55:41 UTC.
const DATE: u64 = 1_789_199_741;
const DAY: u64 = 86_400;
const TRIXIE: Expect<'_> = Expect { suite: "trixie" };

const TEXT: &str = "Origin: Debian
Suite: stable
Codename: trixie
Date: Sat, 12 Sep 2026 07:55:41 UTC
Valid-Until: Sat, 19 Sep 2026 07:55:41 UTC
Acquire-By-Hash: yes
Architectures: all amd64
Components: main contrib
SHA256:
 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad      123 main/binary-amd64/Packages.xz
 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855        0 main/binary-all/Packages
";

fn time(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds)
}

/// A key made a year before the Release file that expires ten years after it.
fn key() -> Cert {
    let (cert, _) = CertBuilder::general_purpose(Some("archive@example.org"))
        .set_creation_time(time(DATE - 365 * DAY))
        .set_validity_period(std::time::Duration::from_secs(3650 * DAY))
        .generate()
        .expect("generates");
    cert
}

fn keyring(cert: &Cert) -> Keyring {
    let mut bytes = Vec::new();
    cert.serialize(&mut bytes).expect("memory");
    Keyring::parse(&bytes).expect("a certificate")
}

fn sign(text: &str, certs: &[&Cert]) -> Vec<u8> {
    let policy = StandardPolicy::at(time(DATE));
    let mut keys = certs.iter().map(|cert| {
        let keys = cert.keys().with_policy(&policy, time(DATE)).secret().for_signing();
        keys.map(|key| key.key().clone().into_keypair().expect("not encrypted"))
            .next()
            .expect("a signing key")
    });
    let mut signed = Vec::new();
    let message = Message::new(&mut signed);
    let mut signer = Signer::new(message, keys.next().expect("a key"))
        .expect("fits")
        .creation_time(time(DATE))
        .cleartext();
    for key in keys {
        signer = signer.add_signer(key).expect("fits");
    }
    let mut writer = signer.build().expect("builds");
    writer.write_all(text.as_bytes()).expect("memory");
    writer.finalize().expect("memory");
    signed
}

#[test]
fn a_good_release_gives_its_fields() {
    let key = key();
    let release =
        verify(&sign(TEXT, &[&key]), &keyring(&key), DATE + DAY, &TRIXIE).expect("verifies");
    assert_eq!((release.suite.as_str(), release.codename.as_str()), ("stable", "trixie"));
    assert_eq!(release.date, Date(DATE));
    assert_eq!(release.valid_until, Some(Date(DATE + 7 * DAY)));
    assert_eq!(release.components, ["main", "contrib"]);
    assert_eq!(release.architectures, ["all", "amd64"]);
    assert!(release.acquire_by_hash);
    assert_eq!(release.signers, [key.fingerprint().to_hex()]);
    let file = release.file("main/binary-amd64/Packages.xz").expect("listed");
    assert_eq!(file, File { size: 123, sha256: Digest::of(b"abc") });
    assert_eq!(release.file("main/binary-i386/Packages.xz"), None);
    let stable = Expect { suite: "stable" };
    assert!(verify(&sign(TEXT, &[&key]), &keyring(&key), DATE, &stable).is_ok());
}

#[test]
fn one_known_signer_of_several_is_enough() {
    let (known, unknown) = (key(), key());
    let signed = sign(TEXT, &[&unknown, &known]);
    let release = verify(&signed, &keyring(&known), DATE, &TRIXIE).expect("verifies");
    assert_eq!(release.signers, [known.fingerprint().to_hex()]);
}

#[test]
fn an_altered_text_is_refused() {
    let key = key();
    let signed = String::from_utf8(sign(TEXT, &[&key])).expect("text");
    let altered = signed.replace("ba7816", "ba7817");
    assert_ne!(altered, signed);
    let error = verify(altered.as_bytes(), &keyring(&key), DATE, &TRIXIE).expect_err("altered");
    assert!(matches!(error, Error::BadSignature { .. }), "{error}");
}

#[test]
fn text_outside_the_signature_is_not_read() {
    let key = key();
    let good = verify(&sign(TEXT, &[&key]), &keyring(&key), DATE, &TRIXIE).expect("verifies");
    let mut signed = sign(TEXT, &[&key]);
    signed.extend_from_slice(b"\nCodename: other\n");
    if let Ok(release) = verify(&signed, &keyring(&key), DATE, &TRIXIE) {
        assert_eq!(release, good);
    }
    let mut before = b"Codename: other\n".to_vec();
    before.extend(sign(TEXT, &[&key]));
    assert_eq!(verify(&before, &keyring(&key), DATE, &TRIXIE), Err(Error::Unsigned));
}

#[test]
fn unknown_keys_are_named() {
    let (known, unknown) = (key(), key());
    let error =
        verify(&sign(TEXT, &[&unknown]), &keyring(&known), DATE, &TRIXIE).expect_err("unknown");
    let Error::UnknownKeys { ids } = &error else { panic!("{error}") };
    let keys: Vec<String> = unknown.keys().map(|key| key.key().fingerprint().to_hex()).collect();
    assert!(ids.len() == 1 && keys.contains(&ids[0]), "{error}");
}

#[test]
fn a_text_without_signature_is_refused() {
    let key = key();
    assert_eq!(verify(TEXT.as_bytes(), &keyring(&key), DATE, &TRIXIE), Err(Error::Unsigned));
    assert_eq!(verify(b"", &keyring(&key), DATE, &TRIXIE), Err(Error::Unsigned));
    let signed = String::from_utf8(sign(TEXT, &[&key])).expect("text");
    let (text, _) = signed.split_once("-----BEGIN PGP SIGNATURE").expect("has one");
    assert!(verify(text.as_bytes(), &keyring(&key), DATE, &TRIXIE).is_err());
}

#[test]
fn a_release_is_refused_outside_its_validity() {
    let key = key();
    let at = |now| verify(&sign(TEXT, &[&key]), &keyring(&key), now, &TRIXIE);
    let (until, now) = (Date(DATE + 7 * DAY), Date(DATE + 8 * DAY));
    assert_eq!(at(now.0), Err(Error::Expired { until, now }));
    assert!(at(until.0).is_ok());
    // A signature from the future is no good signature yet; the date is checked besides.
    assert!(at(DATE - DAY).is_err());
    let future = TEXT.replace("Sat, 12 Sep", "Sun, 13 Sep");
    let error = verify(&sign(&future, &[&key]), &keyring(&key), DATE, &TRIXIE);
    assert_eq!(error, Err(Error::FromTheFuture { date: Date(DATE + DAY), now: Date(DATE) }));
}

#[test]
fn an_expired_key_is_refused() {
    let (cert, _) = CertBuilder::general_purpose(Some("archive@example.org"))
        .set_creation_time(time(DATE - 30 * DAY))
        .set_validity_period(std::time::Duration::from_secs(31 * DAY))
        .generate()
        .expect("generates");
    let signed = sign(TEXT, &[&cert]);
    assert!(verify(&signed, &keyring(&cert), DATE, &TRIXIE).is_ok());
    let error = verify(&signed, &keyring(&cert), DATE + 2 * DAY, &TRIXIE).expect_err("expired");
    assert!(matches!(error, Error::BadKey { .. }), "{error}");
}

#[test]
fn a_key_that_was_retired_later_is_refused() {
    let cert = key();
    let signed = sign(TEXT, &[&cert]);
    let mut signer = cert
        .primary_key()
        .key()
        .clone()
        .parts_into_secret()
        .and_then(|key| key.into_keypair())
        .expect("not encrypted");
    let retired = CertRevocationBuilder::new()
        .set_reason_for_revocation(ReasonForRevocation::KeyRetired, b"")
        .and_then(|builder| builder.set_signature_creation_time(time(DATE + DAY)))
        .and_then(|builder| builder.build(&mut signer, &cert, None))
        .expect("signs");
    let (cert, _) = cert.insert_packets(retired).expect("fits");
    assert!(verify(&signed, &keyring(&cert), DATE, &TRIXIE).is_ok());
    let error = verify(&signed, &keyring(&cert), DATE + 2 * DAY, &TRIXIE).expect_err("retired");
    assert!(matches!(error, Error::BadKey { .. }), "{error}");
}

#[test]
fn another_suite_is_refused() {
    let key = key();
    let expect = Expect { suite: "bookworm" };
    let error = verify(&sign(TEXT, &[&key]), &keyring(&key), DATE, &expect).expect_err("other");
    assert_eq!(
        error.to_string(),
        "expected the Release file of suite 'bookworm', found that of 'trixie' ('stable')"
    );
}

#[test]
fn malformed_fields_are_refused() {
    let key = key();
    let error = |from: &str, to: &str| {
        let text = TEXT.replace(from, to);
        verify(&sign(&text, &[&key]), &keyring(&key), DATE, &TRIXIE).expect_err(to)
    };
    assert_eq!(error("SHA256:", "SHA1:"), Error::MissingField("SHA256"));
    assert_eq!(error("\nDate:", "\nDay:"), Error::MissingField("Date"));
    assert!(matches!(error("07:55:41", "7.55"), Error::Field { field: "Date", .. }));
    assert!(matches!(error(" 123 ", " x "), Error::Field { field: "SHA256", .. }));
    assert!(matches!(error("ba78", "zz78"), Error::Field { field: "SHA256", .. }));
    assert!(matches!(error("Origin: Debian", "Origin"), Error::Syntax(_)));
}

#[test]
fn bytes_that_are_no_message_are_refused() {
    let key = key();
    let signed = sign(TEXT, &[&key]);
    for cut in [40, 60, signed.len() / 2, signed.len() - 60] {
        assert!(verify(&signed[..cut], &keyring(&key), DATE, &TRIXIE).is_err(), "{cut}");
    }
    let binary = b"-----BEGIN PGP SIGNED MESSAGE-----\xff\xfe\x00";
    assert!(verify(binary, &keyring(&key), DATE, &TRIXIE).is_err());
}
