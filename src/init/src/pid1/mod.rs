// SPDX-License-Identifier: Apache-2.0
//! PID 1 of the initramfs, from the kernel's first instruction to systemd's.
//!
//! It never ends: an error is one message on every console and then the configured stop, because
//! a node that half started is worse than one that says why it did not.

mod device_mapper;
mod devices;
mod install;
mod loop_device;
mod machine;
mod medium;
mod modules;
mod mounts;
mod root;
mod search;
mod state;
mod stop;

use std::{collections::BTreeMap, convert::Infallible};

use kiln_contract::path::{
    FIRST_BOOT, HANDOFF, INSTANCE, OS_RELEASE, PENDING, RECHECK, SEED, SYSROOT, TEMPLATES,
    VAR_ELSEWHERE,
};
use kiln_init::{
    first_boot::{self, Facts, FirstBoot, System},
    handoff::{Absent, Handoff, Phase},
    metadata::Seed,
};

use crate::{
    console::say,
    error::{Result, Stop, While as _},
    files::{Below, private, read_limited},
    service::status::{Step, Summary},
    spent::Moment,
};
use devices::Devices;
use machine::Machine;
use search::Found;
use state::Place;

pub(crate) use devices::{COLDPLUG, coldplug};
pub(crate) use modules::load_for_kernel;
pub(crate) use stop::on_failure;

/// Bytes of the hand-off and of a template's source.
const FILE_MAX: u64 = 1 << 20;

/// Everything, in order. Returns only into the stop.
pub(crate) fn run() -> ! {
    stop::hold_on_panic();
    let started = Moment::now();
    match boot(Steps::since(started)) {
        Ok(never) => match never {},
        Err(error) => stop::stop(&error),
    }
}

fn boot(mut steps: Steps) -> Result<Infallible> {
    mounts::first()?;
    let handoff = read_handoff()?;
    modules::offer_to_kernel()?;
    let mut devices = Devices::open()?;
    devices.start_coldplug(&handoff.early_modules)?;

    let root = root::open(&mut devices, &handoff)?;
    say(format_args!(
        "root {}-{} version {} opened on {} after {}",
        handoff.cluster,
        handoff.role,
        handoff.version,
        root.device,
        steps.end("root opened", &devices)
    ));
    mounts::etc_overlay()?;
    let place = state::place(&mut devices, &handoff, root.is_live)?;
    let uuid = handoff.var_partition.as_deref().filter(|_| place != Place::Memory);
    let var = uuid.and_then(state::partition);
    let state = state::read(var.as_ref(), &mut devices)?;
    steps.end("state read", &devices);
    let own = [root.device, root.tree].into_iter().chain(var.map(|block| block.name));
    let machine = Machine::without(own.collect());
    let templates = read_templates(&handoff, Phase::Initramfs)?;
    let own_id = state.machine_id.map_or_else(state::new_machine_id, Ok)?;
    let system = system()?;
    let check = |seed: &Seed| {
        let facts = Facts {
            handoff: &handoff,
            seed: Some(seed),
            tried: &[],
            machine_id: &own_id,
            system: &system,
            templates: &templates,
        };
        first_boot::decide(&facts).map(drop)
    };
    let found = search::find(&handoff, state.seed, machine, &mut devices, check)?;
    steps.end("metadata searched", &devices);
    let machine_id = match found.replaces {
        Some(_) => state::new_machine_id()?,
        None => own_id,
    };
    // Until a server has said who the host is, it is nobody: only its network works.
    let nobody = Handoff { absent: Absent::Dhcp, templates: Vec::new(), ..handoff.clone() };
    let handoff = if found.pending.is_some() { nobody } else { handoff };
    let mut decision = first_boot::decide(&Facts {
        handoff: &handoff,
        seed: found.seed.as_ref(),
        tried: &found.tried,
        machine_id: &machine_id,
        system: &system,
        templates: &templates,
    })
    .or_stop()?;
    decision.instance.replaces = found.replaces.clone();
    steps.end("decided", &devices);
    report(&decision);
    write_host(&decision, place.fstab(&handoff))?;
    let total = steps.end("written", &devices);
    say(format_args!("first boot done after {total} ({}), starting systemd", steps.own()));
    hand_over(&decision, &found, steps.list)?;
    modules::withdraw_from_kernel();
    root::switch()
}

/// The steps of this boot, timed.
#[derive(Debug)]
struct Steps {
    started: Moment,
    list: Vec<Step>,
}

impl Steps {
    fn since(started: Moment) -> Self {
        Self { started, list: Vec::new() }
    }

    /// Notes that a step has ended; the time since the start, for people.
    fn end(&mut self, name: &str, devices: &Devices) -> String {
        let mut total = self.started.elapsed();
        total.processor = total.processor.saturating_sub(devices.in_waits());
        self.list.push(Step::new(name, total));
        format!("{:.2} s", total.wall.as_secs_f64())
    }

    /// What the time until now went to.
    fn own(&self) -> String {
        self.list.last().map(Step::shares).unwrap_or_default()
    }
}

fn read_handoff() -> Result<Handoff> {
    let bytes = read_limited(HANDOFF, FILE_MAX)
        .during(format_args!("reading '{HANDOFF}'"))?
        .ok_or_else(|| Stop::new(format_args!("the initramfs has no '{HANDOFF}'")))?;
    let handoff = Handoff::parse(&bytes).during(format_args!("reading '{HANDOFF}'"))?;
    Ok(handoff)
}

/// Sources of one phase's templates, by target. The initramfs has those that it renders, the root
/// all of them.
pub(crate) fn read_templates(handoff: &Handoff, phase: Phase) -> Result<BTreeMap<String, String>> {
    let mut templates = BTreeMap::new();
    for template in handoff.templates.iter().filter(|template| template.phase == phase) {
        let path = format!("{TEMPLATES}{}.j2", template.target);
        let task = format!("reading '{path}'");
        let Some(bytes) = read_limited(&path, FILE_MAX).during(&task)? else { continue };
        templates.insert(template.target.clone(), String::from_utf8(bytes).during(&task)?);
    }
    Ok(templates)
}

/// What runs here; the initramfs has the root's os-release.
pub(crate) fn system() -> Result<System> {
    let bytes =
        read_limited(OS_RELEASE, FILE_MAX).during(format_args!("reading '{OS_RELEASE}'"))?;
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    Ok(System::new(kernel, &String::from_utf8_lossy(&bytes.unwrap_or_default())))
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

/// Writes what the host becomes.
fn write_host(decision: &FirstBoot, fstab: Option<String>) -> Result<()> {
    let below = Below::open(SYSROOT)?;
    if let Some(fstab) = fstab {
        below.write(&private("/etc/fstab", 0o644, fstab.into()))?;
        // systemd-repart would make the partition on the root's disk.
        Below::open("/")?.write(&private(VAR_ELSEWHERE, 0o644, Vec::new()))?;
    }
    decision.files.iter().try_for_each(|file| below.write(file))
}

/// Leaves to the services in the root what they go on from.
fn hand_over(decision: &FirstBoot, found: &Found, steps: Vec<Step>) -> Result<()> {
    let run = Below::open("/")?;
    let instance = serde_json::to_vec(&decision.instance).during("writing the instance")?;
    run.write(&private(INSTANCE, 0o600, instance))?;
    if let Some(seed) = &found.seed {
        let seed = serde_json::to_vec(seed).during("writing the seed")?;
        run.write(&private(SEED, 0o600, seed))?;
    }
    for (path, pending) in [(PENDING, &found.pending), (RECHECK, &found.recheck)] {
        if let Some(pending) = pending {
            let bytes = serde_json::to_vec(pending).during("writing what is still to be asked")?;
            run.write(&private(path, 0o600, bytes))?;
        }
    }
    let summary = Summary::new(decision, found.answers.clone(), steps);
    let summary = serde_json::to_vec_pretty(&summary).during("writing the summary")?;
    run.write(&private(FIRST_BOOT, 0o644, summary))
}
