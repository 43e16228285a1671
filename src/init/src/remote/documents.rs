// SPDX-License-Identifier: Apache-2.0
//! NoCloud's documents below a URL: `meta-data`, `network-config`, `user-data`.
//!
//! Each may be missing, but a server that had one of them must answer for the others too: half of
//! a host's metadata is not the host. With a pin, `SHA256SUMS` must have the pinned digest, and
//! it speaks for every document.

use super::{
    Error, Facts, Place,
    client::Client,
    origin,
    sums::{self, Sums},
};
use crate::{
    handoff::Source,
    metadata::{Dialect, Seed},
};

const DOCUMENTS: [&str; 3] = ["meta-data", "network-config", "user-data"];

pub(super) fn read(
    place: &Place,
    facts: &Facts,
    client: &mut Client<'_>,
) -> Result<Option<Seed>, Error> {
    let sums = pinned(place, facts, client)?;
    let mut found = Vec::new();
    for name in DOCUMENTS {
        let url = place.url(name, facts)?;
        let document = client.get(&url, &[]).map_err(|error| {
            let begun = sums.is_some() || found.iter().any(Option::is_some);
            if begun { whole_or_not(error) } else { error }
        })?;
        if let Some(sums) = &sums {
            let checked = sums.check(name, document.as_deref());
            checked.map_err(|what| Error::Refused(format!("'{url}': {what}")))?;
        }
        found.push(document);
    }
    if found.iter().all(Option::is_none) {
        return Ok(None);
    }
    let mut found = found.into_iter();
    let mut next = || found.next().flatten();
    let mut seed = Seed {
        origin: origin(Source::Http, &place.base(facts)?),
        dialect: Dialect::Nocloud,
        meta_data: next(),
        network_config: next(),
        user_data: next(),
        ..Seed::default()
    };
    let vendor = client.get_once(&place.url("vendor-data", facts)?);
    if vendor.is_ok_and(|it| it.is_some_and(|bytes| !bytes.trim_ascii().is_empty())) {
        seed.warnings.push(format!("{}: vendor-data is not read", seed.origin));
    }
    Ok(Some(seed))
}

/// `SHA256SUMS`, if the place pins it.
fn pinned(place: &Place, facts: &Facts, client: &mut Client<'_>) -> Result<Option<Sums>, Error> {
    let Some(pin) = &place.pin else { return Ok(None) };
    let url = place.url(sums::NAME, facts)?;
    let refused = |what: String| Error::Refused(format!("'{url}': {what}"));
    let bytes = client
        .get(&url, &[])?
        .ok_or_else(|| refused("not there, but the URL pins its digest".to_owned()))?;
    let found = sums::digest(&bytes);
    if found != *pin {
        return Err(refused(format!("sha256: expected {pin}, found {found}")));
    }
    Sums::parse(&bytes).map(Some).map_err(refused)
}

/// Silence in the middle is no absence.
pub(super) fn whole_or_not(error: Error) -> Error {
    match error {
        Error::Silent(what) => Error::Refused(format!("only a part was delivered: {what}")),
        refused => refused,
    }
}
