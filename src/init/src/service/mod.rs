// SPDX-License-Identifier: Apache-2.0
//! What first boot still does in the real root, each as a service of its own.
//!
//! `metadata` runs if remote sources are still to be asked, before everything that reads what
//! metadata decides; `recheck` asks them again on later boots; `interfaces` looks whether the
//! interfaces are there that metadata names; `ssh` makes host keys; `network` runs before the services that need `network.*`, `state` once `/var` is mounted,
//! `ready` beside everything (`Type=exec`: systemd is only done booting when no start is pending),
//! `status` whenever somebody asks, `answers` whenever keepalived does.

pub(crate) mod answers;
pub(crate) mod approve;
pub(crate) mod bring_up;
pub(crate) mod interfaces;
pub(crate) mod metadata;
mod netlink;
pub(crate) mod network;
pub(crate) mod ready;
pub(crate) mod recheck;
mod report;
mod resolve;
pub(crate) mod ssh;
pub(crate) mod state;
pub(crate) mod status;

use std::process::{Command, Stdio};

use kiln_contract::path::{HANDOFF_IN_ROOT, INSTANCE};
use kiln_init::{first_boot::Instance, handoff::Handoff};

use crate::{
    error::{Result, Stop, While as _},
    files::{Below, private, read_limited},
};

const FILE_MAX: u64 = 32 << 20;

fn read(path: &str) -> Result<Vec<u8>> {
    read_limited(path, FILE_MAX)
        .during(format_args!("reading '{path}'"))?
        .ok_or_else(|| Stop::new(format_args!("there is no '{path}': first boot did not run")))
}

fn handoff() -> Result<Handoff> {
    let bytes = read(HANDOFF_IN_ROOT)?;
    Handoff::parse(&bytes).during(format_args!("reading '{HANDOFF_IN_ROOT}'"))
}

fn instance() -> Result<Instance> {
    let bytes = read(INSTANCE)?;
    serde_json::from_slice(&bytes).during(format_args!("reading '{INSTANCE}'"))
}

/// Runs a program of the image with one word.
fn command(program: &str, word: &str) -> Result<()> {
    let task = format!("{program} {word}");
    let output = Command::new(program).arg(word).stdin(Stdio::null()).output().during(&task)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Stop::new(format_args!("{task}: {}", said.trim())))
}

fn keep_instance(instance: &Instance) -> Result<()> {
    let bytes = serde_json::to_vec(instance).during("writing the instance")?;
    Below::open("/")?.write(&private(INSTANCE, 0o600, bytes))
}
