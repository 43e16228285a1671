// SPDX-License-Identifier: Apache-2.0
//! `kiln-init recheck`: asks the server that named this host once whether it still does.
//!
//! A host that has its metadata starts without its server. Should the server know it as another
//! instance by now, the image has declared what happens: it stays who it is and says so, or it
//! keeps the new documents and starts again as the new instance.

use kiln_contract::path::RECHECK;
use kiln_init::{
    first_boot::{self, Facts},
    handoff::{InstanceChange, Phase},
};

use super::{
    command, handoff, instance,
    metadata::{Pending, ask, machine_id},
    state,
    status::Summary,
};
use crate::{
    console::say,
    error::{Result, While as _},
    pid1::{read_templates, system},
};

pub(crate) fn run() -> Result<()> {
    let handoff = handoff()?;
    let pending: Pending = serde_json::from_slice(&super::read(RECHECK)?)
        .during(format_args!("reading '{RECHECK}'"))?;
    let Some(seed) = ask(&handoff, &pending, &mut Summary::read()?.sources)? else {
        return Ok(());
    };
    let instance = instance()?;
    let (old, new) = (&instance.instance_id, &seed.instance_id().or_stop()?);
    if old == new {
        println!("{} still names this host '{old}'", seed.origin);
        return Ok(());
    }
    match handoff.instance_change {
        InstanceChange::Keep => {
            say(format_args!(
                "warning: {} names another instance, '{new}'; this host stays '{old}'",
                seed.origin
            ));
            Ok(())
        }
        InstanceChange::Reprovision => {
            // Invalid documents would stop the next boot; this one runs.
            let templates = read_templates(&handoff, Phase::Initramfs)?;
            let facts = Facts {
                handoff: &handoff,
                seed: Some(&seed),
                tried: &[],
                machine_id: &machine_id(&instance)?,
                system: &system()?,
                templates: &templates,
            };
            first_boot::decide(&facts).or_stop()?;
            say(format_args!(
                "this host was '{old}' and becomes the instance '{new}': starting again"
            ));
            let bytes = serde_json::to_vec(&seed).during("writing the seed")?;
            state::replace_seed(bytes)?;
            command("systemctl", "reboot")
        }
    }
}
