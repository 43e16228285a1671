// SPDX-License-Identifier: Apache-2.0
//! `kiln seed`.

use anyhow::Result;

use super::Context;
use crate::cli;

pub(super) fn run(context: &Context, args: &cli::Seed) -> Result<()> {
    let _ = (context, args);
    Err(crate::error::refuse("'kiln seed' is not built yet", "wait for it"))
}
