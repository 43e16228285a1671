// SPDX-License-Identifier: Apache-2.0
//! `kiln check`.

use anyhow::Result;

use super::Context;
use crate::cli;

pub(super) fn run(context: &Context, args: &cli::Check) -> Result<()> {
    let _ = (context, args);
    Err(crate::error::refuse("'kiln check' is not built yet", "wait for it"))
}
