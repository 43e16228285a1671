// SPDX-License-Identifier: Apache-2.0
//! `kiln check`: everything that is wrong with the people's files, at once.

use anyhow::Result;

use super::Context;
use crate::{cli, kubernetes};

pub(super) fn run(context: &Context, args: &cli::Check) -> Result<()> {
    let (workspace, plans) = super::load(context, &args.roles)?;
    super::warn_of_cluster(context, &plans);
    let addons = plans.iter().flat_map(|plan| &plan.addons);
    super::warn(context, addons.flat_map(kubernetes::addons::Addon::warnings));
    let roles: Vec<&str> = plans.iter().map(|plan| plan.profile.role.as_str()).collect();
    if !context.quiet {
        println!(
            "checked {} profiles and {} overlays for roles {}: ok",
            workspace.profiles.len(),
            workspace.overlays.len(),
            roles.join(", ")
        );
        for plan in plans.iter().filter(|plan| !plan.delivered.by_seed.is_empty()) {
            let (role, count) = (&plan.profile.role, plan.delivered.by_seed.len());
            println!(
                "'{role}': {count} certificates and keys come by seed; `kiln plan` lists them"
            );
        }
    }
    Ok(())
}
