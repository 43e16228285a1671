// SPDX-License-Identifier: Apache-2.0
//! OpenPGP cleartext signatures: the signed text, if one good signature of a known key is there.
//!
//! Which algorithms, key flags, expiries and revocations are acceptable is sequoia's
//! `StandardPolicy`. It judges a key at the time that the signature claims; here the key must
//! also be valid at the time of the check, since who holds an old key chooses that claim.

use std::{
    io::Read as _,
    time::{Duration, SystemTime},
};

use sequoia_openpgp::{
    Cert, KeyHandle,
    cert::amalgamation::{
        ValidAmalgamation as _, ValidateAmalgamation as _, key::ValidErasedKeyAmalgamation,
    },
    packet::{Signature, key::PublicParts},
    parse::{
        Parse as _,
        stream::{
            MessageLayer, MessageStructure, VerificationError, VerificationHelper,
            VerificationResult, VerifierBuilder,
        },
    },
    policy::StandardPolicy,
    types::RevocationStatus,
};

use super::{Error, Keyring};

/// A text and who signed it.
pub(super) struct Signed {
    pub(super) text: Vec<u8>,
    /// Fingerprints of certificates, sorted.
    pub(super) signers: Vec<String>,
}

type SigningKey<'a> = ValidErasedKeyAmalgamation<'a, PublicParts>;

const HEADER: &[u8] = b"-----BEGIN PGP SIGNED MESSAGE-----";

/// The signed text of a cleartext-signed message.
pub(super) fn verify(message: &[u8], keyring: &Keyring, now: u64) -> Result<Signed, Error> {
    if !message.trim_ascii_start().starts_with(HEADER) {
        return Err(Error::Unsigned);
    }
    let now = SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_secs(now))
        .ok_or_else(|| Error::Malformed("the time of the check is out of range".to_owned()))?;
    let policy = StandardPolicy::at(now);
    let mut verdict = Verdict::default();
    let mut text = Vec::new();
    let outcome = VerifierBuilder::from_bytes(message)
        .and_then(|builder| {
            let helper = Helper { keyring, policy: &policy, now, verdict: &mut verdict };
            builder.with_policy(&policy, now, helper)
        })
        .and_then(|mut verifier| Ok(verifier.read_to_end(&mut text)?));
    match (outcome, verdict.refusal) {
        (_, Some(refusal)) => Err(refusal),
        (Err(error), None) => Err(Error::Malformed(error.to_string())),
        (Ok(_), None) if verdict.signers.is_empty() => Err(Error::Unsigned),
        (Ok(_), None) => Ok(Signed { text, signers: verdict.signers }),
    }
}

#[derive(Default)]
struct Verdict {
    signers: Vec<String>,
    refusal: Option<Error>,
}

struct Helper<'a> {
    keyring: &'a Keyring,
    policy: &'a StandardPolicy<'a>,
    now: SystemTime,
    verdict: &'a mut Verdict,
}

impl VerificationHelper for Helper<'_> {
    fn get_certs(&mut self, ids: &[KeyHandle]) -> sequoia_openpgp::Result<Vec<Cert>> {
        Ok(self.keyring.matching(ids))
    }

    fn check(&mut self, structure: MessageStructure<'_>) -> sequoia_openpgp::Result<()> {
        let mut results = Vec::new();
        for layer in structure {
            match layer {
                MessageLayer::SignatureGroup { results: layer } => results.extend(layer),
                _ => anyhow::bail!("it is compressed or encrypted"),
            }
        }
        *self.verdict = self.judge(&results);
        match &self.verdict.refusal {
            Some(refusal) => Err(refusal.clone().into()),
            None => Ok(()),
        }
    }
}

impl Helper<'_> {
    /// One good signature is enough; without one, the gravest defect is the answer.
    fn judge(&self, results: &[VerificationResult<'_>]) -> Verdict {
        let mut signers = Vec::new();
        let mut defects = Vec::new();
        for result in results {
            let checked = result.as_ref().map_err(defect).and_then(|good| {
                self.check_key(&good.ka).map_err(|error| bad_key(&good.ka, &error))?;
                Ok(good.ka.cert().fingerprint().to_hex())
            });
            match checked {
                Ok(signer) => signers.push(signer),
                Err(defect) => defects.push(defect),
            }
        }
        signers.sort();
        signers.dedup();
        let refusal = signers.is_empty().then(|| match defects.into_iter().min_by_key(gravity) {
            Some(Error::UnknownKeys { .. }) => Error::UnknownKeys { ids: missing(results) },
            Some(error) => error,
            None => Error::Unsigned,
        });
        Verdict { signers, refusal }
    }

    /// Whether a key that was valid when it signed still is.
    fn check_key(&self, key: &SigningKey<'_>) -> sequoia_openpgp::Result<()> {
        let key = key.clone().with_policy(self.policy, self.now)?;
        key.alive()?;
        let statuses = [key.valid_cert().revocation_status(), key.revocation_status()];
        if statuses.iter().any(|status| matches!(status, RevocationStatus::Revoked(_))) {
            anyhow::bail!("it is revoked");
        }
        Ok(())
    }
}

fn gravity(error: &Error) -> u8 {
    match error {
        Error::BadSignature { .. } => 0,
        Error::BadKey { .. } => 1,
        Error::Malformed(_) => 2,
        _ => 3,
    }
}

fn defect(error: &VerificationError<'_>) -> Error {
    match error {
        VerificationError::MissingKey { sig } => Error::UnknownKeys { ids: issuers(sig) },
        VerificationError::BadSignature { ka, error, .. } => {
            Error::BadSignature { key: ka.key().fingerprint().to_hex(), reason: reason(error) }
        }
        VerificationError::BadKey { ka, error, .. } => bad_key(ka, error),
        VerificationError::UnboundKey { cert, error, .. } => {
            Error::BadKey { key: cert.fingerprint().to_hex(), reason: reason(error) }
        }
        VerificationError::MalformedSignature { error, .. } => Error::Malformed(reason(error)),
        other => Error::Malformed(other.to_string()),
    }
}

fn bad_key(key: &SigningKey<'_>, error: &anyhow::Error) -> Error {
    Error::BadKey { key: key.key().fingerprint().to_hex(), reason: reason(error) }
}

fn reason(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn issuers(signature: &Signature) -> Vec<String> {
    // The first is the most precise: a fingerprint comes before a key id.
    signature.get_issuers().into_iter().take(1).map(|id| id.to_hex()).collect()
}

fn missing(results: &[VerificationResult<'_>]) -> Vec<String> {
    let mut ids: Vec<String> = results
        .iter()
        .filter_map(|result| match result {
            Err(VerificationError::MissingKey { sig }) => Some(issuers(sig)),
            _ => None,
        })
        .flatten()
        .collect();
    ids.sort();
    ids.dedup();
    ids
}
