// SPDX-License-Identifier: Apache-2.0
//! `kiln-init state`: keeps in `/var` what makes the node the same one after a reboot.
//!
//! Each file is on the disk before it has its name, so a power cut leaves the old one, the new
//! one or none, and the next boot goes on from there.

use kiln_contract::path::{SEED, STATE};
use kiln_init::source::guestinfo;

use super::{FILE_MAX, handoff, instance};
use crate::{
    error::{Result, Stop, While as _},
    files::{Below, private, read_limited},
    vmware,
};

/// Files below [`STATE`].
pub(crate) const MACHINE_ID: &str = "machine-id";
pub(crate) const SEED_FILE: &str = "seed.json";

pub(crate) fn run() -> Result<()> {
    let instance = instance()?;
    let below = Below::durable("/")?;
    keep(&below, MACHINE_ID, 0o444, format!("{}\n", instance.machine_id).into_bytes())?;
    if let Some(seed) = read_limited(SEED, FILE_MAX).during(format_args!("reading '{SEED}'"))? {
        keep(&below, SEED_FILE, 0o600, seed)?;
    }
    // Only now: what is overwritten there must be kept here.
    if handoff()?.wipe && instance.origin == guestinfo::ORIGIN {
        vmware::wipe(&guestinfo::KEYS).during("overwriting guestinfo")?;
    }
    Ok(())
}

/// Writes a file unless it is there with that content.
fn keep(below: &Below, name: &str, mode: u16, bytes: Vec<u8>) -> Result<()> {
    let path = format!("{STATE}/{name}");
    let old = read_limited(&path, FILE_MAX).during(format_args!("reading '{path}'"))?;
    match old {
        Some(old) if old == bytes => Ok(()),
        // The initramfs read this file; a different id now means that it could not.
        Some(_) if name == MACHINE_ID => {
            Err(Stop::new(format_args!("'{path}' holds another machine id than this boot uses")))
        }
        _ => below.write(&private(&path, mode, bytes)),
    }
}
