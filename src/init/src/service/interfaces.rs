// SPDX-License-Identifier: Apache-2.0
//! `kiln-init interfaces`: a warning if metadata names an interface by a MAC address that no
//! interface has.
//!
//! Such an interface is simply not configured, and without a word nobody would look for a typing
//! error in the metadata.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use super::instance;
use crate::{
    console::say,
    error::{Result, While as _},
};

/// Drivers of network cards are loaded late, and some take their time.
const WAIT: Duration = Duration::from_secs(15);
const AGAIN: Duration = Duration::from_millis(500);
const NET: &str = "/sys/class/net";

pub(crate) fn run() -> Result<()> {
    let wanted = instance()?.macs;
    let deadline = Instant::now() + WAIT;
    loop {
        let present = interfaces()?;
        let missing = missing(&wanted, &present);
        if missing.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            say(format_args!(
                "warning: no interface has the MAC address {} that metadata names; there are: {}",
                missing.join(", "),
                shown(&present)
            ));
            return Ok(());
        }
        thread::sleep(AGAIN);
    }
}

/// Name and hardware address of every interface but the loopback.
fn interfaces() -> Result<Vec<(String, String)>> {
    let task = "listing the network interfaces";
    let mut found = Vec::new();
    for entry in fs::read_dir(NET).during(task)? {
        let entry = entry.during(task)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Ports of a bond show the bond's address; their own stands elsewhere.
        let own = fs::read_to_string(entry.path().join("bonding_slave/perm_hwaddr"));
        let address = own.or_else(|_| fs::read_to_string(entry.path().join("address")));
        let address = address.unwrap_or_default().trim().to_ascii_lowercase();
        if name != "lo" {
            found.push((name, address));
        }
    }
    found.sort();
    Ok(found)
}

fn missing<'a>(wanted: &'a [String], present: &[(String, String)]) -> Vec<&'a str> {
    let is_there = |mac: &&str| present.iter().any(|(_, address)| address == mac);
    wanted.iter().map(String::as_str).filter(|mac| !is_there(mac)).collect()
}

fn shown(present: &[(String, String)]) -> String {
    if present.is_empty() {
        return "none".to_owned();
    }
    let each: Vec<String> =
        present.iter().map(|(name, address)| format!("{name} {address}")).collect();
    each.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_no_interface_has_is_missing() {
        let present = [("ens3".to_owned(), "52:54:00:00:00:42".to_owned())];
        let wanted = ["52:54:00:00:00:42".to_owned(), "52:54:00:00:00:43".to_owned()];
        assert_eq!(missing(&wanted, &present), ["52:54:00:00:00:43"]);
        assert_eq!(missing(&wanted[..1], &present), [""; 0]);
        assert_eq!(shown(&present), "ens3 52:54:00:00:00:42");
        assert_eq!(shown(&[]), "none");
    }
}
