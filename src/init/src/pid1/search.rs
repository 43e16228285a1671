// SPDX-License-Identifier: Apache-2.0
//! Whose metadata counts: a source of this boot, what an earlier boot kept, or a server's later.

use kiln_init::{
    first_boot,
    handoff::{Absent, Handoff, Invalid},
    identity::{self, Servers},
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
/// ask later. `check` decides the whole host, as it would be with a seed.
pub(super) fn find(
    handoff: &Handoff,
    kept: Option<Seed>,
    mut machine: Machine,
    devices: &mut Devices,
    check: impl Fn(&Seed) -> std::result::Result<(), first_boot::Error>,
) -> Result<Found> {
    let (search, waited) = match search(handoff, kept.is_some(), &mut machine, devices) {
        Err(error) if handoff.invalid == Invalid::Fallback => {
            say(format_args!("warning: {error}"));
            let tried = handoff.sources.iter().map(|source| source.word()).collect();
            return settled(handoff, None, kept, Found { tried, ..Found::default() }, "");
        }
        other => other?,
    };
    let mut found = Found { tried: search.tried(), answers: search.answers(), ..Found::default() };
    let remote = Pending::of(handoff, &search, &mut found.answers)?;
    let facts = format!("waited {waited} s; block devices: {}", machine.seen().join(" "));
    let mut new = search.finish();
    let servers = |new: Option<&Seed>| match &remote {
        Some(_) => identity::servers(&handoff.sources, new, kept.as_ref()),
        None => Servers::Nothing,
    };
    if handoff.invalid == Invalid::Fallback
        && servers(new.as_ref()) != Servers::Decide
        && let Err(error) = usable(handoff, new.as_ref(), kept.as_ref(), check)
    {
        say(format_args!("warning: {error}"));
        new = None;
    }
    match servers(new.as_ref()) {
        Servers::Decide => {
            say("no metadata on this machine: servers are asked once the network is up");
            return Ok(Found { pending: remote, ..found });
        }
        Servers::Recheck => {
            let line = kept.as_ref().map(|kept| kept.line.clone()).unwrap_or_default();
            found.recheck = remote.map(|pending| pending.over(&line));
        }
        Servers::Nothing => {}
    }
    settled(handoff, new, kept, found, &facts)
}

/// Whether a host can be made of what a source has.
fn usable(
    handoff: &Handoff,
    new: Option<&Seed>,
    kept: Option<&Seed>,
    check: impl Fn(&Seed) -> std::result::Result<(), first_boot::Error>,
) -> Result<()> {
    let Some(new) = new else { return Ok(()) };
    let chosen = identity::choose(handoff.instance_change, Some(new.clone()), kept.cloned());
    match chosen.or_stop()?.seed {
        Some(seed) => check(&seed).or_stop(),
        None => Ok(()),
    }
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

/// Which of the seeds counts, said on the console.
fn settled(
    handoff: &Handoff,
    new: Option<Seed>,
    kept: Option<Seed>,
    found: Found,
    facts: &str,
) -> Result<Found> {
    let chosen = identity::choose(handoff.instance_change, new, kept).or_stop()?;
    let tried = found.tried.join(", ");
    match &chosen.seed {
        Some(_) => say(&chosen.said),
        None if handoff.absent == Absent::Refuse => {
            return Err(Stop::new(format_args!(
                "no metadata, which this image needs: tried {tried}; {facts}"
            )));
        }
        None => say(format_args!("no metadata (tried {tried}): DHCP")),
    }
    Ok(Found { seed: chosen.seed, replaces: chosen.replaces, ..found })
}
