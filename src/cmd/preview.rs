// SPDX-License-Identifier: Apache-2.0
//! `kiln preview`: what first boot would make of a host's metadata, by first boot's own code.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result};
use kiln_init::{
    first_boot::{self, Facts, FirstBoot, MachineId, System},
    handoff::Source,
};
use serde::Serialize;

use super::Context;
use crate::{
    cli::{self, PreviewSource},
    error::{refuse, refuse_usage},
    preview::Role,
    sys::{self, scratch::Scratch},
};

/// Stands for the number that each node makes for itself; no file of a preview holds it.
const MACHINE_ID: [u8; 16] = [0; 16];
const MACHINE_ID_FILE: &str = "/etc/machine-id";

pub(super) fn run(context: &Context, args: &cli::Preview) -> Result<()> {
    if !sys::fs::list_if_present(&args.out)?.is_empty() {
        return Err(refuse_usage(
            format!("folder '{}' is not empty", args.out.display()),
            "name another place with --out, or remove it",
        ));
    }
    let (workspace, plans) = super::load(context, std::slice::from_ref(&args.role))?;
    let plan = plans.first().context("a role has a plan")?;
    let role = Role::of(plan, &workspace).map_err(|diagnostic| {
        refuse_usage(diagnostic, "kiln check shows everything that is wrong")
    })?;
    let source = source_of(args.source);
    if !role.handoff.sources.contains(&source) {
        return Err(refuse_usage(
            format!("role '{}' does not declare the source '{}'", args.role, source.word()),
            format!("add '{}' to 'metadata.sources' of its profile", source.word()),
        ));
    }
    let files = sys::folder::read(&args.seed)?;
    let task = || format!("previewing the first boot of '{}'", args.role);
    let decision = decide(&role, source, files).with_context(task)?;
    write(&decision, &args.out).with_context(task)?;
    for warning in &decision.warnings {
        eprintln!("warning: {warning}");
    }
    if args.json {
        let shown = serde_json::to_string_pretty(&Shown::of(&decision, &role, source))?;
        super::print(&format!("{shown}\n"))?;
    }
    Ok(())
}

fn source_of(source: PreviewSource) -> Source {
    match source {
        PreviewSource::Nocloud => Source::Nocloud,
        PreviewSource::ConfigDrive => Source::ConfigDrive,
        PreviewSource::Guestinfo => Source::Guestinfo,
        PreviewSource::Ovf => Source::Ovf,
        PreviewSource::Cmdline => Source::Cmdline,
        PreviewSource::Http => Source::Http,
    }
}

fn decide(role: &Role, source: Source, files: BTreeMap<String, Vec<u8>>) -> Result<FirstBoot> {
    let (seed, tried) = role.seed(source, files).map_err(|error| refuse(error, HELP))?;
    let machine_id = MachineId::from_random(MACHINE_ID);
    let facts = Facts {
        handoff: &role.handoff,
        seed: seed.as_ref(),
        tried: &tried,
        machine_id: &machine_id,
        system: &System::sample(),
        templates: &role.templates,
    };
    let mut decision = first_boot::decide(&facts).map_err(|error| refuse(error, HELP))?;
    decision.files.retain(|file| file.path != MACHINE_ID_FILE);
    Ok(decision)
}

const HELP: &str = "docs/how-to/metadata.md has an example of every source";

/// Everything under its path on the node; the folder appears whole.
fn write(decision: &FirstBoot, out: &Path) -> Result<()> {
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty());
    let scratch = Scratch::inside(parent.unwrap_or(Path::new(".")))?;
    let root = scratch.path().join("root");
    for file in &decision.files {
        sys::folder::write(&root, &file.path, &file.bytes, file.mode)?;
    }
    sys::folder::appear(&root, out)
}

/// What `--json` prints.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Shown<'a> {
    source: &'static str,
    origin: &'a str,
    instance_id: &'a str,
    hostname: &'a str,
    /// None with DHCP.
    address: Option<&'a str>,
    files: Vec<ShownFile<'a>>,
    /// Templates that only the node can render, because they use `network.*`.
    later: Vec<&'a str>,
    warnings: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ShownFile<'a> {
    path: &'a str,
    mode: String,
    size: usize,
    /// Whether the content follows what the image has there.
    after_image: bool,
}

impl<'a> Shown<'a> {
    fn of(decision: &'a FirstBoot, role: &'a Role, source: Source) -> Self {
        let files = decision.files.iter().map(|file| ShownFile {
            path: &file.path,
            mode: format!("{:04o}", file.mode),
            size: file.bytes.len(),
            after_image: file.after_image,
        });
        Self {
            source: source.word(),
            origin: &decision.instance.origin,
            instance_id: &decision.instance.instance_id,
            hostname: &decision.instance.hostname,
            address: decision.instance.address.as_deref(),
            files: files.collect(),
            later: role.later().collect(),
            warnings: &decision.warnings,
        }
    }
}
