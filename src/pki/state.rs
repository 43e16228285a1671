// SPDX-License-Identifier: Apache-2.0
//! Whether a certificate in the workspace is still right, and if not, why.

use std::fmt;

use super::{
    Error, Material, date,
    leaves::{LeafSpec, San},
    read::{self, Certificate},
};

/// Why a certificate is made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    Missing,
    /// The pair was interrupted while it was written.
    OtherKey,
    OtherCa,
    Subject(String),
    /// Names that came and went.
    Sans {
        more: Vec<San>,
        less: Vec<San>,
    },
    Usage,
    /// Its last second.
    Expires(u64),
    /// A person wants it.
    Asked,
}

/// What is to be done about one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Its last second.
    Right(u64),
    Make(Why),
}

/// Whether `spec` is fulfilled under `ca`, by a certificate with more than a third of its life.
///
/// # Errors
/// There is something, but not a certificate and a key.
pub fn judge(
    spec: &LeafSpec,
    ca: &Certificate,
    material: &Material,
    now: u64,
) -> Result<Verdict, Error> {
    let found = match mismatch(spec, ca, material)? {
        Err(why) => return Ok(Verdict::Make(why)),
        Ok(found) => found,
    };
    let life = found.until - found.from.min(found.until);
    if found.until.saturating_sub(now) <= life / 3 {
        return Ok(Verdict::Make(Why::Expires(found.until)));
    }
    Ok(Verdict::Right(found.until))
}

/// The certificate for `spec`, or what is wrong with it whatever the time.
pub fn mismatch(
    spec: &LeafSpec,
    ca: &Certificate,
    material: &Material,
) -> Result<Result<Certificate, Why>, Error> {
    let (path, key_path) = (spec.certificate(), spec.key());
    let (Some(text), Some(key)) = (material.get(&path), material.get(&key_path)) else {
        return Ok(Err(Why::Missing));
    };
    let (found, key) = (read::first(&path, text)?, read::key(&key_path, key)?);
    let why = if !found.belongs_to(&key) {
        Why::OtherKey
    } else if !found.is_signed_by(ca) {
        Why::OtherCa
    } else if found.subject != spec.subject {
        Why::Subject(found.subject.to_string())
    } else if found.sans != spec.sans {
        Why::Sans {
            more: spec.sans.difference(&found.sans).cloned().collect(),
            less: found.sans.difference(&spec.sans).cloned().collect(),
        }
    } else if (found.serves, found.calls) != (spec.usage.serves(), spec.usage.calls()) {
        Why::Usage
    } else {
        return Ok(Ok(found));
    };
    Ok(Err(why))
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there was none"),
            Self::OtherKey => f.write_str("its key belonged to another certificate"),
            Self::OtherCa => f.write_str("another CA had signed it"),
            Self::Subject(found) => write!(f, "its subject was '{found}'"),
            Self::Sans { more, less } => {
                f.write_str("its names change:")?;
                more.iter().try_for_each(|san| write!(f, " +{san}"))?;
                less.iter().try_for_each(|san| write!(f, " -{san}"))
            }
            Self::Usage => f.write_str("its usages change"),
            Self::Expires(until) => write!(f, "the old one ends at {}", date(*until)),
            Self::Asked => f.write_str("renewed"),
        }
    }
}
