// SPDX-License-Identifier: Apache-2.0
//! How first boot went, for whoever shows a fleet: one POST to `report` below the place that the
//! metadata come from, or below `kiln.report=`.
//!
//! Nothing depends on it. It is one try with a short limit, and a server that does not take
//! reports is only mentioned in the journal.

use std::time::Duration;

use kiln_contract::path::{FIRST_BOOT, PENDING, RECHECK};
use kiln_init::remote::{self, Ask, Facts, client::Client};
use serde::Serialize;

use super::{
    FILE_MAX, handoff,
    metadata::{Pending, Sockets, command_line, dmi, interface},
};
use crate::{
    error::{Result, While as _},
    files::read_limited,
};

const LIMIT: Duration = Duration::from_secs(5);

/// What is told beside [`FIRST_BOOT`].
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report<'a> {
    phase: &'a str,
    message: &'a str,
    role: &'a str,
    version: &'a str,
    root_hash: &'a str,
}

/// Tells the server, if there is one to tell.
pub(super) fn send(phase: &str, message: &str) {
    if let Err(stop) = try_send(phase, message) {
        eprintln!("not reported: {stop}");
    }
}

fn try_send(phase: &str, message: &str) -> Result<()> {
    let command_line = command_line()?;
    let Some(place) = remote::report_place(&command_line, &asks()?).or_stop()? else {
        return Ok(());
    };
    let Some((interface, mac)) = interface()? else { return Ok(()) };
    let url = place.url("report", &Facts { dmi: dmi(), interface, mac }).or_stop()?;
    let handoff = handoff()?;
    let report = Report {
        phase,
        message,
        role: &handoff.role,
        version: &handoff.version,
        root_hash: remote::root_hash(&command_line),
    };
    let mut body = serde_json::to_string(&report).during("writing a report")?;
    // The file is JSON itself.
    if let Some(bytes) = read_limited(FIRST_BOOT, FILE_MAX).during("reading what first boot did")? {
        body.pop();
        body = format!("{body},\"first-boot\":{}}}", String::from_utf8_lossy(&bytes));
    }
    let mut network = Sockets::new();
    Client::once(&mut network, LIMIT).post(&url, body.as_bytes()).or_stop()
}

/// Whom metadata were asked from, at this boot or an earlier one.
fn asks() -> Result<Vec<Ask>> {
    for path in [PENDING, RECHECK] {
        if let Some(bytes) =
            read_limited(path, FILE_MAX).during(format_args!("reading '{path}'"))?
        {
            let pending: Pending =
                serde_json::from_slice(&bytes).during(format_args!("reading '{path}'"))?;
            return Ok(pending.asks);
        }
    }
    Ok(Vec::new())
}
