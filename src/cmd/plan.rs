// SPDX-License-Identifier: Apache-2.0
//! `kiln plan`: everything that a build decides, before anything is fetched.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::Context;
use crate::{
    cli,
    plan::{
        self, Plan, Text,
        changes::{Changes, Side},
    },
    sys,
    workspace::Workspace,
};

pub(super) fn run(context: &Context, args: &cli::Plan) -> Result<()> {
    if let Some(older) = &args.against {
        return against(context, older, args.json);
    }
    let plans = super::plans(context, &args.roles)?;
    super::warn_of_cluster(context, &plans);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&plans).context("printing the plan")?);
    } else {
        let texts: Vec<String> = plans.iter().map(|plan| Text(plan).to_string()).collect();
        print!("{}", texts.join("\n"));
    }
    Ok(())
}

/// What the change from an older cluster file means. That is read where the person stands, and
/// planned with the profiles, overlays and add-ons of the workspace.
fn against(context: &Context, older: &Path, json: bool) -> Result<()> {
    let (workspace, plans) = super::load(context, &[])?;
    super::warn_of_cluster(context, &plans);
    let cluster = sys::workspace::source(Path::new(""), &older.display().to_string())?;
    let old_workspace = Workspace { cluster, ..workspace.clone() };
    let old_plans = plan::plan(&old_workspace, &[], super::given(context)?)
        .with_context(|| format!("planning '{}'", older.display()))?;
    let changes = Changes::between(side(&old_workspace, &old_plans)?, side(&workspace, &plans)?)?;
    let text = if json {
        serde_json::to_string_pretty(&changes).context("printing the changes")? + "\n"
    } else {
        changes.to_string()
    };
    super::print(&text)
}

fn side<'a>(workspace: &'a Workspace, plans: &'a [Plan]) -> Result<Side<'a>> {
    let cluster = &plans.first().context("a cluster has a role")?.cluster;
    Ok(Side { cluster, plans, workspace })
}
