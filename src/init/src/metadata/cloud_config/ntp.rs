// SPDX-License-Identifier: Apache-2.0
//! `ntp`: the servers that the host's clock follows.

use std::{net::IpAddr, str::FromStr};

use crate::{
    network::Domain,
    yaml::{At, Problem},
};

const SOURCES_MAX: usize = 16;
const CLIENTS: [&str; 3] = ["auto", "chrony", "ntp"];

/// Time sources in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ntp {
    pub servers: Vec<String>,
    pub pools: Vec<String>,
}

/// None if the document leaves the image's own time sources alone.
pub(super) fn read(at: &At<'_>) -> Result<Option<Ntp>, Problem> {
    let known = ["enabled", "servers", "pools", "peers", "allow", "ntp_client", "config"];
    let fields = at.fields(&known)?;
    for key in ["peers", "allow", "config"] {
        let empty = |at: &At<'_>| at.items().is_ok_and(|items| items.is_empty());
        if let Some(at) = fields.get(key).filter(|at| !empty(at)) {
            return Err(at.problem("does not suit a node that is a client only"));
        }
    }
    if let Some(at) = fields.get("ntp_client") {
        let client = at.text("'chrony'")?;
        if !CLIENTS.contains(&client) {
            return Err(at.problem(format!(
                "expected 'chrony', which is what the image runs, found '{}'",
                crate::yaml::printable(client)
            )));
        }
    }
    let enabled = fields.get("enabled").map_or(Ok(true), At::boolean)?;
    let ntp = Ntp { servers: names(fields.get("servers"))?, pools: names(fields.get("pools"))? };
    Ok(Some(ntp).filter(|ntp| enabled && *ntp != Ntp::default()))
}

fn names(at: Option<&At<'_>>) -> Result<Vec<String>, Problem> {
    let Some(at) = at else { return Ok(Vec::new()) };
    let items = at.items()?;
    if items.len() > SOURCES_MAX {
        return Err(at.problem(format!("more than {SOURCES_MAX} of them")));
    }
    items
        .iter()
        .map(|item| item.parse::<Server>("a server's name or address"))
        .map(|it| Ok(it?.0))
        .collect()
}

/// A name or an address.
struct Server(String);

impl FromStr for Server {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let address = text.parse::<IpAddr>().is_ok();
        let name = !text.starts_with('~') && text.parse::<Domain>().is_ok();
        (address || name).then(|| Self(text.to_owned())).ok_or(())
    }
}
