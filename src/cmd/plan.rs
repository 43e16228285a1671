// SPDX-License-Identifier: Apache-2.0
//! `kiln plan`: everything that a build decides, before anything is fetched.

use anyhow::{Context as _, Result};

use super::Context;
use crate::{
    cli,
    digest::Digest,
    plan::{self, Given, Text},
    sys,
};

pub(super) fn run(context: &Context, args: &cli::Plan) -> Result<()> {
    let workspace = sys::workspace::load(&context.workspace)?;
    let plans = plan::plan(&workspace, &args.roles, given()?)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&plans).context("printing the plan")?);
    } else {
        let texts: Vec<String> = plans.iter().map(|plan| Text(plan).to_string()).collect();
        print!("{}", texts.join("\n"));
    }
    Ok(())
}

/// What a plan takes from outside of the workspace before the lock is read: without
/// `SOURCE_DATE_EPOCH`, a build takes the date of the locked archive.
pub(super) fn given() -> Result<Given> {
    let epoch = sys::workspace::source_date_epoch()?.unwrap_or(0);
    Ok(Given { epoch, init: Digest::of(crate::KILN_INIT) })
}
