// SPDX-License-Identifier: Apache-2.0
//! `kiln plan`: everything that a build decides, before anything is fetched.

use anyhow::{Context as _, Result};

use super::Context;
use crate::{cli, plan::Text};

pub(super) fn run(context: &Context, args: &cli::Plan) -> Result<()> {
    let plans = super::plans(context, &args.roles)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&plans).context("printing the plan")?);
    } else {
        let texts: Vec<String> = plans.iter().map(|plan| Text(plan).to_string()).collect();
        print!("{}", texts.join("\n"));
    }
    Ok(())
}
