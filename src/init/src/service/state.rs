// SPDX-License-Identifier: Apache-2.0
//! `kiln-init state`: keeps in `/var` what makes the node the same one after a reboot.
//!
//! Each file is on the disk before it has its name, so a power cut leaves the old one, the new
//! one or none, and the next boot goes on from there.

use std::{fs, io::ErrorKind};

use kiln_contract::path::{SEED, SSH, STATE};
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
    if instance.replaces.is_some() {
        forget()?;
    }
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

/// Keeps other documents, from which the next boot makes another host.
pub(crate) fn replace_seed(bytes: Vec<u8>) -> Result<()> {
    // Without a machine id a seed makes a new one; the other way round, the old host would come back.
    forget()?;
    Below::durable("/")?.write(&private(&format!("{STATE}/{SEED_FILE}"), 0o600, bytes))
}

/// Removes what made this machine the one that it was.
fn forget() -> Result<()> {
    let task = "removing the identity of another instance";
    for outcome in [fs::remove_dir_all(SSH), fs::remove_file(format!("{STATE}/{MACHINE_ID}"))] {
        match outcome {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).during(task),
            _ => {}
        }
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
