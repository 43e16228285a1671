// SPDX-License-Identifier: Apache-2.0
//! `kiln boot`.

use anyhow::Result;

use super::Context;
use crate::cli;

pub(super) fn run(context: &Context, args: &cli::Boot) -> Result<()> {
    let _ = (context, args);
    Err(crate::error::refuse("'kiln boot' is not built yet", "wait for it"))
}
