// SPDX-License-Identifier: Apache-2.0
//! Whose metadata counts: a source of this boot, what an earlier boot kept, or a server's later.

use kiln_init::{
    handoff::{Absent, Handoff, InstanceChange, Invalid},
    metadata::Seed,
    source::{Answer, Search},
};

use super::{
    devices::{Deadline, Devices},
    machine::Machine,
};
use crate::{
    console::say,
    error::{Result, Stop, While as _},
    service::metadata::Pending,
};

/// Seconds until modules that load longer are no reason to wait for a medium.
const COLDPLUG_WAIT: u32 = 60;

/// What the search for metadata came to.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) seed: Option<Seed>,
    pub(super) tried: Vec<&'static str>,
    /// What every source said.
    pub(super) answers: Vec<Answer>,
    /// Remote sources that may still have some.
    pub(super) pending: Option<Pending>,
    /// Remote sources that may know this host as another instance by now.
    pub(super) recheck: Option<Pending>,
    /// The instance that the host was until now, if it becomes another one.
    pub(super) replaces: Option<String>,
}

/// The documents of the first source that has some; else what an earlier boot kept; else whom to
/// ask later.
pub(super) fn find(
    handoff: &Handoff,
    kept: Option<Seed>,
    mut machine: Machine,
    devices: &mut Devices,
) -> Result<Found> {
    let (search, waited) = match search(handoff, kept.is_some(), &mut machine, devices) {
        Err(error) if handoff.invalid == Invalid::Fallback => {
            say(format_args!("warning: {error}"));
            let tried = handoff.sources.iter().map(|source| source.word()).collect();
            return decided(handoff, None, kept, Found { tried, ..Found::default() }, "");
        }
        other => other?,
    };
    let mut found = Found { tried: search.tried(), answers: search.answers(), ..Found::default() };
    let remote = Pending::of(handoff, &search, &mut found.answers)?;
    let facts = format!("waited {waited} s; block devices: {}", machine.seen().join(" "));
    let mut seed = search.finish();
    if let (Some(new), Invalid::Fallback) = (&seed, handoff.invalid)
        && let Err(error) = new.read(|_| serde_json::Value::Null)
    {
        say(format_args!("warning: {error}"));
        seed = None;
    }
    match &kept {
        // A line alone names the host; its documents may still be on a server.
        None if !seed.as_ref().is_some_and(Seed::has_documents) => found.pending = remote,
        Some(kept) if seed.is_none() && is_remote(handoff, kept) => found.recheck = remote,
        _ => {}
    }
    decided(handoff, seed, kept, found, &facts)
}

/// Whether a server delivered these documents.
fn is_remote(handoff: &Handoff, kept: &Seed) -> bool {
    let word = kept.origin.split(' ').next().unwrap_or("");
    handoff.sources.iter().any(|source| source.is_remote() && source.word() == word)
}

/// Looks until there are documents, or nothing more will come; also the seconds it waited.
fn search(
    handoff: &Handoff,
    is_known: bool,
    machine: &mut Machine,
    devices: &mut Devices,
) -> Result<(Search, u32)> {
    let mut search = Search::start(&handoff.sources, machine).or_stop()?;
    let mut deadline = Deadline::after(COLDPLUG_WAIT);
    let mut wait = 0;
    let mut in_coldplug = true;
    while search.look(machine).or_stop()?.is_none() && search.waits() {
        if in_coldplug && !devices.in_coldplug() {
            // Only now does the source's own time begin: its controller has its module. A host
            // that has its metadata does not wait for a medium that was taken out.
            wait = if !is_known && search.is_patient() { handoff.source_wait } else { 0 };
            deadline = Deadline::after(wait);
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
    mut found: Found,
    facts: &str,
) -> Result<Found> {
    let tried = found.tried.join(", ");
    found.seed = match (seed, kept) {
        (Some(_), _) | (None, None) if found.pending.is_some() => {
            say("no metadata on this machine: servers are asked once the network is up");
            None
        }
        (Some(seed), Some(kept)) => {
            let (seed, replaces) = newer(handoff.instance_change, seed, kept);
            found.replaces = replaces;
            Some(seed)
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
                "no metadata, which this image needs: tried {tried}; {facts}"
            )));
        }
        (None, None) => {
            say(format_args!("no metadata (tried {tried}): DHCP"));
            None
        }
    };
    Ok(found)
}

/// What a source has now against what was kept: the one that counts, and the instance that the
/// host is no more.
fn newer(on_change: InstanceChange, seed: Seed, kept: Seed) -> (Seed, Option<String>) {
    let [id, old] = [&seed, &kept].map(instance_id);
    if id == old {
        say(format_args!("metadata from {}", seed.origin));
        return (seed, None);
    }
    match on_change {
        InstanceChange::Keep => {
            say(format_args!(
                "warning: {} names another instance, '{id}'; this host stays '{old}'",
                seed.origin
            ));
            (kept, None)
        }
        InstanceChange::Reprovision => {
            say(format_args!("this host was '{old}' and becomes the instance '{id}'"));
            (seed, Some(old))
        }
    }
}

/// The instance that a seed names; what is wrong with it is told when it is read whole.
pub(crate) fn instance_id(seed: &Seed) -> String {
    let metadata = seed.read(|_| serde_json::Value::Null);
    metadata.map_or_else(|_| "?".to_owned(), |metadata| metadata.instance_id)
}
