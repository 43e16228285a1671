// SPDX-License-Identifier: Apache-2.0
//! NoCloud media: a vfat or ISO 9660 volume labeled `CIDATA`, in any case.
//!
//! A device that is no such volume is nothing; a volume with the label that cannot be read, or
//! that holds none of the documents, is refused.

use kiln_contract::NOCLOUD_LABEL;

use crate::{
    metadata::Seed,
    volume::{Fault, Volume},
    yaml::printable,
};

/// The documents, and one that is only recognized.
const FILES: [&str; 4] = ["meta-data", "network-config", "user-data", "vendor-data"];
/// Names that are shown when none of the documents is there.
const SHOWN_MAX: usize = 8;

/// Why a volume with the label is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("nocloud medium '{medium}': {what}")]
    Damaged { medium: String, what: String },
    #[error(
        "nocloud medium '{medium}': none of meta-data, network-config, user-data is there; found: {}",
        if found.is_empty() { "nothing".to_owned() } else { found.join(", ") }
    )]
    NoDocuments { medium: String, found: Vec<String> },
    #[error(
        "nocloud medium '{medium}': only the short name '{found}' is there: \
         write the ISO with Rock Ridge or Joliet names"
    )]
    ShortNames { medium: String, found: String },
}

/// Reads the documents if this is a NoCloud volume.
///
/// # Errors
/// It has the label, but cannot be read or holds no document.
pub(super) fn read(volume: &Volume<'_>, medium: &str) -> Result<Option<Seed>, Error> {
    if !volume.is_labeled(NOCLOUD_LABEL) {
        return Ok(None);
    }
    let damaged =
        |fault: Fault| Error::Damaged { medium: medium.to_owned(), what: fault.to_string() };
    let [meta_data, network_config, user_data, vendor_data] = FILES.map(|name| volume.read(name));
    let mut seed = Seed {
        origin: format!("nocloud medium '{medium}'"),
        meta_data: meta_data.map_err(damaged)?,
        network_config: network_config.map_err(damaged)?,
        user_data: user_data.map_err(damaged)?,
        ..Seed::default()
    };
    if vendor_data.map_err(damaged)?.is_some_and(|bytes| !bytes.trim_ascii().is_empty()) {
        seed.warnings.push(format!("nocloud medium '{medium}': vendor-data is not read"));
    }
    if seed.has_documents() {
        return Ok(Some(seed));
    }
    let names = volume.names("").map_err(damaged)?;
    let short = ["META_DAT", "USER_DAT", "NETWORK_"];
    let medium = medium.to_owned();
    match names.iter().find(|name| short.iter().any(|start| name.starts_with(start))) {
        Some(found) => Err(Error::ShortNames { medium, found: printable(found) }),
        None => {
            let found = names.iter().take(SHOWN_MAX).map(|name| printable(name)).collect();
            Err(Error::NoDocuments { medium, found })
        }
    }
}
