// SPDX-License-Identifier: Apache-2.0
//! `kiln fetch`: downloads what the lock pins, so that builds need no network.

use anyhow::Result;

use super::{Context, images, kubernetes};
use crate::{cli, fetch::Fetcher, lock, progress::Progress};

pub(super) fn run(context: &Context, args: &cli::Fetch) -> Result<()> {
    let plans = super::plans(context, &args.roles)?;
    let lock = lock::file::read_matching(&context.workspace, &plans)?;
    let mirror = plans.first().and_then(|plan| plan.cluster.mirror.as_deref());
    let progress = Progress::new(context.quiet);
    let fetcher = Fetcher::new(&args.network, mirror, context.store()?, progress)?;
    let roles = plans.iter().map(|plan| plan.profile.role.clone()).collect();
    fetcher.packages(&lock, &roles)?;
    kubernetes::fetch(&context.workspace, &fetcher, &plans, &lock)?;
    images::pull(&fetcher, &plans, &lock).map(drop)
}
