// SPDX-License-Identifier: Apache-2.0
//! Making an authority, opening one that lies in the workspace, and signing with it.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use time::OffsetDateTime;

use super::{
    BACKDATED, Ca, DAY, Error, Material,
    error::Next,
    leaves::{LeafSpec, San, Subject, Usage},
    material::KeyText,
    read::{self, Certificate},
};

/// Randomness for one certificate.
#[derive(Debug)]
pub struct Fresh {
    pub key: KeyPair,
    pub serial: [u8; 16],
}

/// A certificate and its key, both PEM.
#[derive(Debug)]
pub struct Pair {
    pub certificate: String,
    pub key: KeyText,
    /// Last second of validity, since 1970.
    pub until: u64,
}

/// A CA that can sign now.
#[derive(Debug)]
pub struct Authority {
    ca: Ca,
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A new, self-signed CA.
pub fn found(ca: Ca, cluster: &str, days: u32, fresh: Fresh, now: u64) -> Result<Pair, Error> {
    let subject = Subject { common_name: format!("{cluster} {}", ca.name()), organization: None };
    let (mut params, until) = params(&subject, days, &fresh, now)?;
    // It signs leaves and no further CA.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.self_signed(&fresh.key)?.pem();
    Ok(Pair { certificate, key: KeyText(fresh.key.serialize_pem()), until })
}

/// The private and the public half of the key that signs service-account tokens.
pub fn service_account(fresh: &Fresh) -> (KeyText, String) {
    (KeyText(fresh.key.serialize_pem()), fresh.key.public_key_pem())
}

/// What all certificates have in common.
fn params(
    subject: &Subject,
    days: u32,
    fresh: &Fresh,
    now: u64,
) -> Result<(CertificateParams, u64), Error> {
    let until = now + u64::from(days) * DAY;
    let moment = |seconds: u64| {
        let seconds = i64::try_from(seconds).expect("a date of this era");
        OffsetDateTime::from_unix_timestamp(seconds).expect("a date of this era")
    };
    let mut params = CertificateParams::default();
    params.not_before = moment(now.saturating_sub(BACKDATED));
    params.not_after = moment(until);
    params.distinguished_name = name(subject)?;
    // Positive, and of the same length every time.
    let mut serial = fresh.serial;
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok((params, until))
}

fn name(subject: &Subject) -> Result<DistinguishedName, Error> {
    let checked = |what, text: &str| {
        // RFC 5280, appendix A.1: ub-common-name and ub-organization-name.
        if text.is_empty() || text.len() > 64 || text.chars().any(char::is_control) {
            return Err(Error::Name { what, text: text.to_owned() });
        }
        Ok(text.to_owned())
    };
    let mut name = DistinguishedName::new();
    if let Some(organization) = &subject.organization {
        name.push(DnType::OrganizationName, checked("group", organization)?);
    }
    name.push(DnType::CommonName, checked("user", &subject.common_name)?);
    Ok(name)
}

impl Authority {
    /// The CA of that kind, if it is whole and valid now.
    pub fn open(ca: Ca, material: &Material, now: u64) -> Result<Self, Error> {
        let get = |path: String| match material.get(&path) {
            Some(text) => Ok((path, text)),
            None => Err(Error::NoAuthority { path }),
        };
        let (path, text) = get(ca.certificate())?;
        let (key_path, key_text) = get(ca.key())?;
        let certificate = read::first(&path, text)?;
        let key = read::key(&key_path, key_text)?;
        if !certificate.belongs_to(&key) {
            return Err(Error::Stranger { key: key_path, certificate: path });
        }
        if !certificate.may_sign {
            return Err(Error::NoCa { path });
        }
        if now < certificate.from {
            return Err(Error::NotYet { path, from: certificate.from, now });
        }
        if now > certificate.until {
            return Err(Error::Expired { path, until: certificate.until, now, next: Next::Rotate });
        }
        let issuer = Issuer::from_ca_cert_der(&certificate.der().into(), key)?;
        Ok(Self { ca, certificate, issuer })
    }

    /// What it signs with.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// A certificate for `spec`.
    pub fn issue(&self, spec: &LeafSpec, fresh: Fresh, now: u64) -> Result<Pair, Error> {
        let sans = spec.sans.iter().map(|san| {
            Ok(match san {
                San::Dns(name) => SanType::DnsName(name.as_str().try_into()?),
                San::Ip(address) => SanType::IpAddress(*address),
            })
        });
        let sans = sans.collect::<Result<Vec<_>, rcgen::Error>>()?;
        self.sign(&spec.subject, sans, spec.usage, spec.days, fresh, now)
    }

    /// A certificate for a person or a program that calls.
    pub fn client(
        &self,
        subject: &Subject,
        days: u32,
        fresh: Fresh,
        now: u64,
    ) -> Result<Pair, Error> {
        self.sign(subject, Vec::new(), Usage::Client, days, fresh, now)
    }

    fn sign(
        &self,
        subject: &Subject,
        sans: Vec<SanType>,
        usage: Usage,
        days: u32,
        fresh: Fresh,
        now: u64,
    ) -> Result<Pair, Error> {
        let (mut params, until) = params(subject, days, &fresh, now)?;
        if until > self.certificate.until {
            return Err(Error::Outlives { until, ca: self.ca, end: self.certificate.until });
        }
        // Said outright, which also adds the subject's key identifier.
        params.is_ca = IsCa::ExplicitNoCa;
        params.subject_alt_names = sans;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if usage.serves() {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        if usage.calls() {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&fresh.key, &self.issuer)?.pem();
        Ok(Pair { certificate, key: KeyText(fresh.key.serialize_pem()), until })
    }
}
