// SPDX-License-Identifier: Apache-2.0
//! `kiln fetch`.

use anyhow::Result;

use super::Context;
use crate::cli;

pub(super) fn run(context: &Context, args: &cli::Fetch) -> Result<()> {
    let _ = (context, args);
    Err(crate::error::refuse("'kiln fetch' is not built yet", "wait for it"))
}
