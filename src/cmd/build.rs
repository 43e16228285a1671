// SPDX-License-Identifier: Apache-2.0
//! `kiln build`.

use anyhow::Result;

use super::Context;
use crate::cli;

pub(super) fn run(context: &Context, args: &cli::Build) -> Result<()> {
    let _ = (context, args);
    Err(crate::error::refuse("'kiln build' is not built yet", "wait for it"))
}
