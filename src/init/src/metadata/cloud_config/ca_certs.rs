// SPDX-License-Identifier: Apache-2.0
//! `ca_certs`: further certificate authorities that the host trusts.

use crate::{
    base64,
    yaml::{At, Problem},
};

const CERTIFICATES_MAX: usize = 64;
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
/// First byte of every DER certificate: a SEQUENCE.
const SEQUENCE: u8 = 0x30;

/// What the bundle of trusted certificates becomes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CaCerts {
    /// Leaves out the image's own.
    pub only_these: bool,
    /// PEM blocks, each with its last newline.
    pub trusted: Vec<String>,
}

pub(super) fn read(at: &At<'_>) -> Result<CaCerts, Problem> {
    let fields = at.fields(&["trusted", "remove_defaults", "remove-defaults"])?;
    let mut certs = CaCerts::default();
    for key in ["remove_defaults", "remove-defaults"] {
        certs.only_these |= fields.get(key).map_or(Ok(false), At::boolean)?;
    }
    if let Some(at) = fields.get("trusted") {
        let items = if at.is_list() { at.items()? } else { vec![at.clone()] };
        for item in items {
            read_blocks(&item, &mut certs.trusted)?;
        }
    }
    if certs.only_these && certs.trusted.is_empty() {
        return Err(at.problem("'remove_defaults' without 'trusted' would trust nobody"));
    }
    Ok(certs)
}

/// One or more PEM blocks, and nothing but comments between them (RFC 7468 section 2).
fn read_blocks(at: &At<'_>, trusted: &mut Vec<String>) -> Result<(), Problem> {
    let mut rest = at.body("a certificate in PEM form")?;
    if rest.contains("PRIVATE KEY") {
        return Err(at.problem("expected a certificate in PEM form, found a private key"));
    }
    let before = trusted.len();
    while let Some((_, from)) = rest.split_once(BEGIN) {
        let refuse = || at.problem("expected a certificate in PEM form, found a damaged one");
        let (body, after) = from.split_once(END).ok_or_else(refuse)?;
        let der = base64::decode(body).map_err(|_| refuse())?;
        if der.first() != Some(&SEQUENCE) || der.len() < 64 {
            return Err(refuse());
        }
        if trusted.len() >= CERTIFICATES_MAX {
            return Err(at.problem(format!("more than {CERTIFICATES_MAX} certificates")));
        }
        trusted.push(pem(&der));
        rest = after;
    }
    if trusted.len() == before {
        return Err(at.problem(format!("expected a certificate in PEM form: '{BEGIN}'")));
    }
    Ok(())
}

/// As RFC 7468 prints it, whatever the input's line breaks were.
fn pem(der: &[u8]) -> String {
    let digits = base64::encode(der);
    let mut text = format!("{BEGIN}\n");
    for line in digits.as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text + END + "\n"
}
