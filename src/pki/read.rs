// SPDX-License-Identifier: Apache-2.0
//! What a certificate says, as far as Kiln asks for it.
//!
//! PEM: RFC 7468. A file may hold several certificates: the first is the one that is meant, the
//! others are trusted beside it while one CA takes over from another.

use std::{collections::BTreeSet, net::IpAddr};

use rcgen::{KeyPair, PublicKeyData as _};
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, pem::Pem, prelude::FromDer as _,
    x509::X509Name,
};

use super::{
    Error,
    leaves::{San, Subject},
};

/// One certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    pub subject: Subject,
    pub sans: BTreeSet<San>,
    pub may_sign: bool,
    pub serves: bool,
    pub calls: bool,
    /// First and last second of validity, since 1970.
    pub from: u64,
    pub until: u64,
    /// The public key with its algorithm, DER.
    key: Vec<u8>,
    der: Vec<u8>,
}

/// The certificates of a file, at least one.
pub fn certificates(path: &str, pem: &[u8]) -> Result<Vec<Certificate>, Error> {
    let unreadable = |what| Error::Unreadable { path: path.to_owned(), what };
    let broken = "something that is no certificate in PEM form";
    let mut found = Vec::new();
    for block in Pem::iter_from_buffer(pem) {
        let block = block.map_err(|_| unreadable(broken))?;
        if block.label != "CERTIFICATE" {
            return Err(unreadable(broken));
        }
        found.push(certificate(&block.contents).ok_or_else(|| unreadable(broken))?);
    }
    if found.is_empty() {
        return Err(unreadable("no certificate in PEM form"));
    }
    Ok(found)
}

/// The first certificate of a file.
pub fn first(path: &str, pem: &[u8]) -> Result<Certificate, Error> {
    certificates(path, pem).map(|mut all| all.swap_remove(0))
}

/// The private key of a file.
pub fn key(path: &str, pem: &[u8]) -> Result<KeyPair, Error> {
    let what = "no private key in PEM form (PKCS#8)";
    let read = str::from_utf8(pem).ok().and_then(|text| KeyPair::from_pem(text).ok());
    read.ok_or_else(|| Error::Unreadable { path: path.to_owned(), what })
}

fn certificate(der: &[u8]) -> Option<Certificate> {
    let (rest, read) = X509Certificate::from_der(der).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let sans = match read.subject_alternative_name().ok()? {
        Some(extension) => extension.value.general_names.iter().map(san).collect(),
        None => BTreeSet::new(),
    };
    let usage = read.extended_key_usage().ok()?;
    let signs = read.key_usage().ok()?.is_none_or(|usage| usage.value.key_cert_sign());
    Some(Certificate {
        subject: subject(read.subject())?,
        sans,
        may_sign: read.is_ca() && signs,
        serves: usage.as_ref().is_none_or(|usage| usage.value.any || usage.value.server_auth),
        calls: usage.as_ref().is_none_or(|usage| usage.value.any || usage.value.client_auth),
        from: u64::try_from(read.validity().not_before.timestamp()).ok()?,
        until: u64::try_from(read.validity().not_after.timestamp()).ok()?,
        key: read.public_key().raw.to_vec(),
        der: der.to_vec(),
    })
}

fn subject(name: &X509Name<'_>) -> Option<Subject> {
    let text = |value: &x509_parser::x509::AttributeTypeAndValue<'_>| {
        value.as_str().ok().map(str::to_owned)
    };
    Some(Subject {
        common_name: name.iter_common_name().next().map_or(Some(String::new()), text)?,
        organization: match name.iter_organization().next() {
            Some(value) => Some(text(value)?),
            None => None,
        },
    })
}

fn san(name: &GeneralName<'_>) -> San {
    let address = |bytes: &[u8]| match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        _ => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    };
    match name {
        GeneralName::DNSName(name) => San::Dns((*name).to_owned()),
        GeneralName::IPAddress(bytes) if address(bytes).is_some() => {
            San::Ip(address(bytes).expect("just asked"))
        }
        // Nothing that Kiln asks for, so that it counts as a difference and is shown.
        other => San::Dns(other.to_string()),
    }
}

impl Certificate {
    /// Whether `key` is the one that the certificate speaks of.
    pub fn belongs_to(&self, key: &KeyPair) -> bool {
        self.key == key.subject_public_key_info()
    }

    /// Whether `ca` signed it, by name and by signature.
    pub fn is_signed_by(&self, ca: &Self) -> bool {
        let (Ok((_, own)), Ok((_, issuer))) =
            (X509Certificate::from_der(&self.der), X509Certificate::from_der(&ca.der))
        else {
            return false;
        };
        // Go compares names byte by byte, and most of Kubernetes is written in it.
        own.issuer().as_raw() == issuer.subject().as_raw()
            && own.verify_signature(Some(issuer.public_key())).is_ok()
    }

    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The certificate as text.
    pub fn pem(&self) -> String {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let body = STANDARD.encode(&self.der);
        let lines: Vec<&str> = body
            .as_bytes()
            .chunks(64)
            .map(|line| str::from_utf8(line).expect("base64 is ASCII"))
            .collect();
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
    }
}
