// SPDX-License-Identifier: Apache-2.0
//! Secrets as they would show: raw, in hex, in base64 at any offset, as lines of PEM.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use kiln::pki::Material;

/// Every form of every secret, each with the file of `pki/` that it comes from.
pub(super) struct Needles {
    /// Sorted.
    forms: Vec<(Vec<u8>, String)>,
    /// Whether a form begins with these two bytes.
    beginnings: Vec<bool>,
}

impl Needles {
    pub(super) fn of(material: &Material) -> Self {
        let mut forms = Vec::new();
        for path in material.paths().filter(|path| path.ends_with(".key")) {
            let text = String::from_utf8(material.get(path).unwrap().to_vec()).unwrap();
            for secret in secrets(&text) {
                forms.extend(forms_of(&secret).map(|form| (form, path.to_owned())));
            }
        }
        forms.sort();
        let mut beginnings = vec![false; 1 << 16];
        for (form, path) in &forms {
            assert!(form.len() >= 16, "{path} has a form that anything could contain");
            beginnings[beginning(form)] = true;
        }
        Self { forms, beginnings }
    }

    /// The secrets that stand in `bytes`, by their file.
    pub(super) fn found(&self, bytes: &[u8]) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        for at in 0..bytes.len().saturating_sub(1) {
            if !self.beginnings[beginning(&bytes[at..])] {
                continue;
            }
            let rest = &bytes[at..];
            let first = self.forms.partition_point(|(form, _)| form[..2] < rest[..2]);
            let same = self.forms[first..].iter().take_while(|(form, _)| form[..2] == rest[..2]);
            found.extend(same.filter(|(form, _)| rest.starts_with(form)).map(|(_, path)| &**path));
        }
        found
    }

    /// Bytes that pieces of something longer must share, so that nothing hides between two.
    pub(super) fn overlap(&self) -> usize {
        self.forms.iter().map(|(form, _)| form.len()).max().unwrap_or(0)
    }
}

fn beginning(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}

/// What of a file is secret: a key's number with the lines that hold it, a token's second part,
/// or 32 bytes.
fn secrets(text: &str) -> Vec<Vec<u8>> {
    if !text.starts_with("-----BEGIN ") {
        let word = text.split_whitespace().next().unwrap();
        return match word.split_once('.') {
            Some((_, secret)) => vec![secret.as_bytes().to_vec()],
            None => vec![decode(word), word.as_bytes().to_vec()],
        };
    }
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('-')).collect();
    let der = decode(&lines.concat());
    // ECPrivateKey of RFC 5915: version 1, then the number in 32 bytes.
    let head = [2, 1, 1, 4, 32];
    let at = der.windows(head.len()).position(|window| window == head).expect("a P-256 key") + 5;
    let per_line = lines[0].len() / 4 * 3;
    let mut secrets = vec![der[at..at + 32].to_vec()];
    secrets.extend((at / per_line..=(at + 31) / per_line).map(|line| lines[line].into()));
    secrets
}

fn decode(base64: &str) -> Vec<u8> {
    STANDARD_NO_PAD.decode(base64.trim_end_matches('=')).unwrap()
}

fn forms_of(secret: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let upper = hex.to_uppercase();
    let base64 = (0..3).map(|shift| {
        let text = STANDARD_NO_PAD.encode([&[0; 2][..shift], secret].concat());
        // The first and the last character depend on what stands beside the secret.
        let skipped = [0, 2, 3][shift];
        let end = text.len() - usize::from(!(shift + secret.len()).is_multiple_of(3));
        text.as_bytes()[skipped..end].to_vec()
    });
    base64.chain([secret.to_vec(), hex.into(), upper.into()]).collect::<Vec<_>>().into_iter()
}

/// Whether a whole private key in PEM stands here, whoever's it is. Programs that read keys hold
/// the first line alone.
pub(super) fn has_private_key(bytes: &[u8]) -> bool {
    let end = b"PRIVATE KEY-----";
    let ends = bytes.windows(end.len()).enumerate().filter(|(_, window)| window == end);
    ends.into_iter().any(|(at, _)| {
        let rest = &bytes[at + end.len()..];
        let body = rest.iter().skip_while(|byte| byte.is_ascii_whitespace());
        let is_base64 = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
        rest.first().is_some_and(u8::is_ascii_whitespace)
            && body.take_while(is_base64).count() >= 40
    })
}

#[test]
fn a_key_is_found_in_every_form_and_its_certificate_is_none() {
    let bench = super::bench::Bench::new("baked");
    bench.issue();
    let material = bench.material();
    let needles = Needles::of(&material);
    let path = "kubernetes-ca.key";
    let pem = material.get(path).unwrap();
    let text = String::from_utf8(pem.to_vec()).unwrap();
    let der = decode(&text.lines().filter(|line| !line.starts_with('-')).collect::<String>());
    let hex = der.iter().map(|byte| format!("{byte:02X}")).collect::<String>();
    let in_base64 = |before: &[u8]| STANDARD_NO_PAD.encode([before, pem, b"\n"].concat());
    for form in [
        pem.to_vec(),
        der.clone(),
        hex.into_bytes(),
        text.replace('\n', "\\n").into_bytes(),
        STANDARD_NO_PAD.encode(&der).into_bytes(),
        in_base64(b"").into_bytes(),
        in_base64(b"1").into_bytes(),
        in_base64(b"12").into_bytes(),
    ] {
        let around = [b"before", &*form, b"after"].concat();
        assert_eq!(needles.found(&around), BTreeSet::from([path]));
    }
    assert!(has_private_key(pem) && !has_private_key(b"-----BEGIN PRIVATE KEY-----\0-----END"));
    for path in material.paths().filter(|path| !path.ends_with(".key")) {
        assert_eq!(needles.found(material.get(path).unwrap()), BTreeSet::new(), "{path}");
    }
    let token = String::from_utf8(material.get("bootstrap-token.key").unwrap().to_vec()).unwrap();
    let (id, _) = token.split_once('.').unwrap();
    assert_eq!(needles.found(id.as_bytes()), BTreeSet::new());
    assert_eq!(needles.found(token.as_bytes()), BTreeSet::from(["bootstrap-token.key"]));
}
