// SPDX-License-Identifier: Apache-2.0
//! `kiln plan`.

use anyhow::Result;

use super::Context;
use crate::cli;

pub(super) fn run(context: &Context, args: &cli::Plan) -> Result<()> {
    let _ = (context, args);
    Err(crate::error::refuse("'kiln plan' is not built yet", "wait for it"))
}
