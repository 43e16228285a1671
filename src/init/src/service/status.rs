// SPDX-License-Identifier: Apache-2.0
//! `kiln-init status`: what first boot did.

use std::time::Duration;

use kiln_contract::path::FIRST_BOOT;
use kiln_init::first_boot::FirstBoot;
use serde::{Deserialize, Serialize};

use crate::error::{Result, While as _};

/// [`FIRST_BOOT`]: no values of metadata beyond names and addresses.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Summary {
    /// Sources in the order in which they were asked.
    tried: Vec<String>,
    origin: String,
    instance_id: String,
    hostname: String,
    address: Option<String>,
    files: Vec<String>,
    warnings: Vec<String>,
    /// From the start of PID 1 to the last file.
    seconds: f64,
}

impl Summary {
    pub(crate) fn new(decision: &FirstBoot, tried: &[&'static str], elapsed: Duration) -> Self {
        let instance = &decision.instance;
        Self {
            tried: tried.iter().map(|source| (*source).to_owned()).collect(),
            origin: instance.origin.clone(),
            instance_id: instance.instance_id.clone(),
            hostname: instance.hostname.clone(),
            address: instance.address.clone(),
            files: decision.files.iter().map(|file| file.path.clone()).collect(),
            warnings: decision.warnings.clone(),
            seconds: (elapsed.as_secs_f64() * 1000.0).round() / 1000.0,
        }
    }
}

pub(crate) fn run() -> Result<()> {
    let summary: Summary = serde_json::from_slice(&super::read(FIRST_BOOT)?)
        .during(format_args!("reading '{FIRST_BOOT}'"))?;
    let Summary { tried, origin, instance_id, hostname, address, files, warnings, seconds } =
        summary;
    println!("host       {hostname}");
    println!("address    {}", address.as_deref().unwrap_or("by DHCP"));
    println!("instance   {instance_id}");
    println!("metadata   {origin} (tried {})", tried.join(", "));
    println!("duration   {seconds} s");
    for file in files {
        println!("file       {file}");
    }
    for warning in warnings {
        println!("warning    {warning}");
    }
    Ok(())
}
