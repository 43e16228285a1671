// SPDX-License-Identifier: Apache-2.0
//! network-config: `version: 1` or `version: 2`, with or without an outer key `network`.
//!
//! Read strictly: an unknown key, a value of another type, a gateway of another family, two
//! entries for one interface are refused, where cloud-init renders something else and goes on.

use super::{Network, v1, v2};
use crate::yaml::{At, Problem};

/// Reads the document; the outer key `network` is optional.
///
/// # Errors
/// Everything that is not understood exactly, with its line.
pub fn read(document: &At<'_>) -> Result<Network, Problem> {
    let entries = document.entries()?;
    let inner = entries.into_iter().find(|(key, _)| *key == "network").map(|(_, at)| at);
    if inner.is_some() {
        document.fields(&["network"])?;
    }
    let top = inner.as_ref().unwrap_or(document);
    let entries = top.entries()?;
    if let Some((_, at)) = entries.iter().find(|(key, _)| *key == "config")
        && at.text("") == Ok("disabled")
    {
        return Err(at.problem(
            "'disabled' is for cloud-init's own files; leave out network-config instead, and every \
             network card uses DHCP",
        ));
    }
    // The version decides what the other keys mean, so it comes first.
    let version = entries.into_iter().find(|(key, _)| *key == "version");
    match version.ok_or_else(|| top.problem("missing key 'version'"))?.1.integer(1..=2)? {
        1 => v1::read(top),
        _ => v2::read(top),
    }
}
