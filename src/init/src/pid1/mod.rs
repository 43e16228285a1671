// SPDX-License-Identifier: Apache-2.0
//! PID 1 of the initramfs, from the kernel's first instruction to systemd's.
//!
//! It never ends: an error is one message on every console and then the configured stop, because
//! a node that half started is worse than one that says why it did not.

mod device_mapper;
mod devices;
mod machine;
mod modules;
mod mounts;
mod root;
mod state;
mod stop;

use std::{collections::BTreeMap, convert::Infallible, time::Instant};

use kiln_contract::path::{FIRST_BOOT, HANDOFF, INSTANCE, SEED, SYSROOT, TEMPLATES};
use kiln_init::{
    first_boot::{self, Facts, FirstBoot},
    handoff::{Absent, Handoff, Phase},
    metadata::Seed,
    source::Search,
};

use crate::{
    console::say,
    error::{Result, Stop, While as _},
    files::{Below, private, read_limited},
    service::status::Summary,
};
use devices::Devices;

pub(crate) use devices::{COLDPLUG, coldplug};
pub(crate) use modules::load_for_kernel;

/// Bytes of the hand-off and of a template's source.
const FILE_MAX: u64 = 1 << 20;

/// Seconds until modules that load longer are no reason to wait for a medium.
const COLDPLUG_WAIT: u32 = 60;

/// Everything, in order. Returns only into the stop.
pub(crate) fn run() -> ! {
    stop::hold_on_panic();
    let started = Instant::now();
    match boot(started) {
        Ok(never) => match never {},
        Err(error) => stop::stop(&error),
    }
}

fn boot(started: Instant) -> Result<Infallible> {
    mounts::first()?;
    let handoff = read_handoff()?;
    modules::offer_to_kernel()?;
    let mut devices = Devices::open()?;
    devices.load_early(&handoff.early_modules);
    devices.start_coldplug()?;

    let root = root::open(&mut devices, &handoff)?;
    say(format_args!(
        "root {}-{} version {} opened on {} after {}",
        handoff.cluster,
        handoff.role,
        handoff.version,
        root.device,
        seconds(started)
    ));
    mounts::etc_overlay()?;
    let state = state::read(handoff.var_partition.as_deref(), &mut devices)?;
    let (seed, tried) = find_seed(&handoff, state.seed, &mut devices)?;
    let machine_id = state.machine_id.map_or_else(state::new_machine_id, Ok)?;
    let templates = read_templates(&handoff, SYSROOT, Phase::Initramfs)?;
    let decision = first_boot::decide(&Facts {
        handoff: &handoff,
        seed: seed.as_ref(),
        tried: &tried,
        machine_id: &machine_id,
        templates: &templates,
    })
    .or_stop()?;
    report(&decision);
    write(&decision, seed.as_ref(), &tried, started)?;
    say(format_args!("first boot done after {}, starting systemd", seconds(started)));
    modules::withdraw_from_kernel();
    root::switch()
}

fn seconds(since: Instant) -> String {
    format!("{:.2} s", since.elapsed().as_secs_f64())
}

fn read_handoff() -> Result<Handoff> {
    let bytes = read_limited(HANDOFF, FILE_MAX)
        .during(format_args!("reading '{HANDOFF}'"))?
        .ok_or_else(|| Stop::new(format_args!("the initramfs has no '{HANDOFF}'")))?;
    let handoff = Handoff::parse(&bytes).during(format_args!("reading '{HANDOFF}'"))?;
    Ok(handoff)
}

/// The documents of the first source that has some; else what an earlier boot kept.
fn find_seed(
    handoff: &Handoff,
    kept: Option<Seed>,
    devices: &mut Devices,
) -> Result<(Option<Seed>, Vec<&'static str>)> {
    let mut machine = machine::Machine::default();
    let mut search = Search::start(&handoff.sources, &mut machine).or_stop()?;
    let tried = search.tried();
    let mut deadline = devices::Deadline::after(COLDPLUG_WAIT);
    let mut wait = 0;
    let mut in_coldplug = true;
    while search.look(&mut machine).or_stop()?.is_none() && search.waits() {
        if in_coldplug && !devices.in_coldplug() {
            // Only now does the source's own time begin: its controller has its module.
            // A host that has its metadata does not wait for a medium that was taken out.
            wait = if kept.is_none() && search.is_patient() { handoff.source_wait } else { 0 };
            deadline = devices::Deadline::after(wait);
            in_coldplug = false;
        }
        let what = if in_coldplug { "this machine's drivers" } else { "a metadata medium" };
        if !devices.wait(&mut deadline, what)? {
            break;
        }
    }
    let seed = search.finish();
    match (&seed, &kept) {
        (Some(seed), _) => say(format_args!("metadata from {}", seed.origin)),
        (None, Some(kept)) => say(format_args!("metadata as kept from {}", kept.origin)),
        (None, None) if handoff.absent == Absent::Refuse => {
            return Err(Stop::new(format_args!(
                "no metadata, which this image needs: tried {}; waited {wait} s; block devices: {}",
                tried.join(", "),
                machine.seen().join(" ")
            )));
        }
        (None, None) => say(format_args!("no metadata (tried {}): DHCP", tried.join(", "))),
    }
    Ok((seed.or(kept), tried))
}

/// Sources of one phase's templates, by target.
pub(crate) fn read_templates(
    handoff: &Handoff,
    root: &str,
    phase: Phase,
) -> Result<BTreeMap<String, String>> {
    let mut templates = BTreeMap::new();
    for template in handoff.templates.iter().filter(|template| template.phase == phase) {
        let path = format!("{root}{TEMPLATES}{}.j2", template.target);
        let task = format!("reading '{TEMPLATES}{}.j2'", template.target);
        let Some(bytes) = read_limited(&path, FILE_MAX).during(&task)? else { continue };
        templates.insert(template.target.clone(), String::from_utf8(bytes).during(&task)?);
    }
    Ok(templates)
}

fn report(decision: &FirstBoot) {
    for warning in &decision.warnings {
        say(format_args!("warning: {warning}"));
    }
    let instance = &decision.instance;
    say(format_args!(
        "host {}, address {}, instance {}, {} files",
        instance.hostname,
        instance.address.as_deref().unwrap_or("by DHCP"),
        instance.instance_id,
        decision.files.len()
    ));
}

fn write(
    decision: &FirstBoot,
    seed: Option<&Seed>,
    tried: &[&'static str],
    started: Instant,
) -> Result<()> {
    let below = Below::open(SYSROOT)?;
    for file in &decision.files {
        below.write(file)?;
    }
    let run = Below::open("/")?;
    let instance = serde_json::to_vec(&decision.instance).during("writing the instance")?;
    run.write(&private(INSTANCE, 0o600, instance))?;
    if let Some(seed) = seed {
        let seed = serde_json::to_vec(seed).during("writing the seed")?;
        run.write(&private(SEED, 0o600, seed))?;
    }
    let summary = Summary::new(decision, tried, started.elapsed());
    let summary = serde_json::to_vec_pretty(&summary).during("writing the summary")?;
    run.write(&private(FIRST_BOOT, 0o644, summary))
}
