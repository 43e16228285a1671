// SPDX-License-Identifier: Apache-2.0
//! `kiln lock`: chooses packages for all roles together and pins them.

use anyhow::Result;

use super::{Context, images, kubernetes};
use crate::{
    cli,
    error::refuse,
    fetch::Fetcher,
    lock::{self, Lock, changes::Changes},
    plan::Plan,
    progress::Progress,
};

pub(super) fn run(context: &Context, args: &cli::Lock) -> Result<()> {
    let plans = super::plans(context, &[])?;
    let progress = Progress::new(context.quiet);
    if args.check {
        let lock = lock::file::read_matching(&context.workspace, &plans)?;
        refuse_foreign_roles(&lock, &plans)?;
        progress.say(format!("{} matches {}", lock::FILE, count(plans.len(), "role")));
        return Ok(());
    }
    let mirror = plans.first().and_then(|plan| plan.cluster.mirror.as_deref());
    let store = context.store()?;
    let fetcher = Fetcher::new(&args.network, mirror, store, progress.clone())?;
    let old = lock::file::read(&context.workspace)?;
    let mut new = match &old {
        Some(old) if args.repair => {
            plans.iter().try_for_each(|plan| lock::file::matches(old, plan))?;
            match fetcher.repair(&plans, old)? {
                Some(new) => new,
                None if kubernetes::is_pinned(old, &plans) && images::is_pinned(old, &plans) => {
                    return Ok(());
                }
                None => old.clone(),
            }
        }
        _ => fetcher.lock(&plans, old.as_ref())?,
    };
    kubernetes::check_companions(&plans, &new, &progress)?;
    new.kubernetes = match &old {
        Some(old) if args.repair && kubernetes::is_pinned(old, &plans) => old.kubernetes.clone(),
        _ => kubernetes::pin(&context.workspace, &fetcher, &plans, old.as_ref())?,
    };
    new.images = match &old {
        Some(old) if args.repair && images::is_pinned(old, &plans) => old.images.clone(),
        _ => images::pin(&fetcher, &plans, old.as_ref())?,
    };
    if old.as_ref().is_some_and(|old| old.chooses_the_same(&new)) {
        progress.say(format!("{} is up to date", lock::FILE));
        return Ok(());
    }
    lock::file::write(&context.workspace, &new)?;
    super::print(&Changes::between(old.as_ref(), &new).to_string())?;
    let (packages, roles) = (count(new.packages.len(), "package"), count(plans.len(), "role"));
    progress.say(format!("{} pins {packages} for {roles}", lock::FILE));
    Ok(())
}

fn refuse_foreign_roles(lock: &Lock, plans: &[Plan]) -> Result<()> {
    let known = |role: &&String| plans.iter().any(|plan| plan.profile.role == **role);
    match lock.roles.keys().find(|role| !known(role)) {
        Some(role) => Err(refuse(
            format!("'{}' has role '{role}', and the cluster does not", lock::FILE),
            "run 'kiln lock' and commit the new lock",
        )),
        None => Ok(()),
    }
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
