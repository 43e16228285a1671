// SPDX-License-Identifier: Apache-2.0
//! `kiln lock`.

use anyhow::Result;

use super::Context;
use crate::cli;

pub(super) fn run(context: &Context, args: &cli::Lock) -> Result<()> {
    let _ = (context, args);
    Err(crate::error::refuse("'kiln lock' is not built yet", "wait for it"))
}
