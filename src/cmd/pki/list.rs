// SPDX-License-Identifier: Apache-2.0
//! `kiln pki list`: what expires when.

use anyhow::{Context as _, Result};

use super::{Context, refused};
use crate::{
    cli,
    error::refuse,
    pki::{Error, report},
    sys,
};

pub(super) fn run(context: &Context, args: &cli::PkiList) -> Result<()> {
    let material = sys::vault::read(&context.workspace)?;
    let now = sys::now();
    let entries =
        report::entries(&material, now).map_err(refused).context("reading the certificates")?;
    if entries.is_empty() {
        let path = crate::pki::Ca::Kubernetes.certificate();
        return Err(refused(Error::NoAuthority { path }));
    }
    let text = if args.json {
        serde_json::to_string_pretty(&entries)? + "\n"
    } else {
        report::table(&entries)
    };
    super::super::print(&text)?;
    let Some(days) = args.within else { return Ok(()) };
    match report::within(&entries, days, now) {
        0 => Ok(()),
        count => Err(refuse(
            format!("{count} of {} certificates and tokens end within {days} days", entries.len()),
            format!(
                "run `kiln pki renew --within {days}`; for a CA or the token see docs/pki.md, 'Errors'"
            ),
        )),
    }
}
