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

use kiln_contract::path::{FIRST_BOOT, HANDOFF, INSTANCE, PENDING, SEED, SYSROOT, TEMPLATES};
use kiln_init::{
    first_boot::{self, Facts, FirstBoot},
    handoff::{Absent, Handoff, InstanceChange, Invalid, Phase},
    metadata::Seed,
    source::Search,
};

use crate::{
    console::say,
    error::{Result, Stop, While as _},
    files::{Below, private, read_limited},
    service::{metadata::Pending, status::Summary},
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
    let Found { seed, tried, pending, is_new } = find_seed(&handoff, state.seed, &mut devices)?;
    let known = state.machine_id.filter(|_| !is_new);
    let machine_id = known.map_or_else(state::new_machine_id, Ok)?;
    let templates = read_templates(&handoff, SYSROOT, Phase::Initramfs)?;
    // Until a server has said who the host is, it is nobody: only its network works.
    let nobody = Handoff { absent: Absent::Dhcp, templates: Vec::new(), ..handoff.clone() };
    let handoff = if pending.is_some() { nobody } else { handoff };
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
    if let Some(pending) = pending {
        let bytes = serde_json::to_vec(&pending).during("writing what is still to be asked")?;
        Below::open("/")?.write(&private(PENDING, 0o600, bytes))?;
    }
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

/// What the search for metadata came to.
#[derive(Debug)]
struct Found {
    seed: Option<Seed>,
    tried: Vec<&'static str>,
    /// Remote sources that may still have some.
    pending: Option<Pending>,
    /// Whether the host becomes another instance than the one that it was.
    is_new: bool,
}

/// The documents of the first source that has some; else what an earlier boot kept; else whom to
/// ask later.
fn find_seed(handoff: &Handoff, kept: Option<Seed>, devices: &mut Devices) -> Result<Found> {
    let mut machine = machine::Machine::default();
    let searched = search(handoff, kept.is_some(), &mut machine, devices);
    let (search, waited) = match searched {
        Err(error) if handoff.invalid == Invalid::Fallback => {
            say(format_args!("warning: {error}"));
            let tried = handoff.sources.iter().map(|source| source.word()).collect();
            return decided(handoff, None, kept, tried, None, String::new());
        }
        other => other?,
    };
    let tried = search.tried();
    let pending = if kept.is_none() { Pending::of(handoff, &search)? } else { None };
    let facts = format!("waited {waited} s; block devices: {}", machine.seen().join(" "));
    let mut seed = search.finish();
    if let (Some(new), Invalid::Fallback) = (&seed, handoff.invalid)
        && let Err(error) = new.read(|_| serde_json::Value::Null)
    {
        say(format_args!("warning: {error}"));
        seed = None;
    }
    // A line alone names the host; its documents may still be on a server.
    let has_documents = seed.as_ref().is_some_and(Seed::has_documents);
    decided(handoff, seed, kept, tried, pending.filter(|_| !has_documents), facts)
}

/// Looks until there are documents, or nothing more will come; also the seconds it waited.
fn search(
    handoff: &Handoff,
    is_known: bool,
    machine: &mut machine::Machine,
    devices: &mut Devices,
) -> Result<(Search, u32)> {
    let mut search = Search::start(&handoff.sources, machine).or_stop()?;
    let mut deadline = devices::Deadline::after(COLDPLUG_WAIT);
    let mut wait = 0;
    let mut in_coldplug = true;
    while search.look(machine).or_stop()?.is_none() && search.waits() {
        if in_coldplug && !devices.in_coldplug() {
            // Only now does the source's own time begin: its controller has its module. A host
            // that has its metadata does not wait for a medium that was taken out.
            wait = if !is_known && search.is_patient() { handoff.source_wait } else { 0 };
            deadline = devices::Deadline::after(wait);
            in_coldplug = false;
        }
        let what = if in_coldplug { "this machine's drivers" } else { "a metadata medium" };
        if !devices.wait(&mut deadline, what)? {
            break;
        }
    }
    Ok((search, wait))
}

/// Which of the seeds counts.
fn decided(
    handoff: &Handoff,
    seed: Option<Seed>,
    kept: Option<Seed>,
    tried: Vec<&'static str>,
    pending: Option<Pending>,
    facts: String,
) -> Result<Found> {
    let mut is_new = false;
    let seed = match (seed, kept) {
        (Some(_), _) | (None, None) if pending.is_some() => {
            say("no metadata on this machine: servers are asked once the network is up");
            None
        }
        (Some(seed), Some(kept)) => {
            let [id, old] = [&seed, &kept].map(instance_id);
            match handoff.instance_change {
                _ if id == old => {
                    say(format_args!("metadata from {}", seed.origin));
                    Some(seed)
                }
                InstanceChange::Keep => {
                    say(format_args!(
                        "warning: {} names another instance, '{id}'; this host stays '{old}'",
                        seed.origin
                    ));
                    Some(kept)
                }
                InstanceChange::Reprovision => {
                    say(format_args!("this host was '{old}' and becomes the instance '{id}'"));
                    is_new = true;
                    Some(seed)
                }
            }
        }
        (Some(seed), None) => {
            say(format_args!("metadata from {}", seed.origin));
            Some(seed)
        }
        (None, Some(kept)) => {
            say(format_args!("metadata as kept from {}", kept.origin));
            Some(kept)
        }
        (None, None) if handoff.absent == Absent::Refuse => {
            return Err(Stop::new(format_args!(
                "no metadata, which this image needs: tried {}; {facts}",
                tried.join(", ")
            )));
        }
        (None, None) => {
            say(format_args!("no metadata (tried {}): DHCP", tried.join(", ")));
            None
        }
    };
    Ok(Found { seed, tried, pending, is_new })
}

/// The instance that a seed names; what is wrong with it is told when it is read whole.
fn instance_id(seed: &Seed) -> String {
    let metadata = seed.read(|_| serde_json::Value::Null);
    metadata.map_or_else(|_| "?".to_owned(), |metadata| metadata.instance_id)
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
