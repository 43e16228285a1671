// SPDX-License-Identifier: Apache-2.0
//! `kiln pull`: takes published results, for a web server or a disk of this site.

use anyhow::{Context as _, Result};

use super::{Context, publish::words};
use crate::{
    cli,
    error::refuse_usage,
    progress::Progress,
    publish::{self, Purpose, Wanted, Ways},
    sys,
};

pub(super) fn run(context: &Context, args: &cli::Pull) -> Result<()> {
    let (roles, target) = words(&args.words)?;
    if roles.is_empty() {
        return Err(refuse_usage("no role is named", "write roles before the target"));
    }
    if args.sha256.is_some() && roles.len() > 1 {
        return Err(refuse_usage("--sha256 is of one role", "pull the roles one by one"));
    }
    let place = Ways::new(&args.store, sys::credentials::read()?)?.open(&target, Purpose::Read)?;
    let out = context.workspace.join(&args.out);
    let progress = Progress::new(context.quiet);
    let mut folders = String::new();
    for role in &roles {
        let pinned = args.sha256.as_ref();
        let wanted = Wanted { role, pinned, out: &out, jobs: args.store.jobs };
        let folder = publish::pull(&place, &wanted, &progress)
            .with_context(|| format!("pulling '{role}'"))?;
        folders.push_str(&format!("{}\n", folder.display()));
    }
    super::print(&folders)
}
