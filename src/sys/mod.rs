// SPDX-License-Identifier: Apache-2.0
//! The I/O ring: the only place that opens files, reads the environment or starts programs.
//!
//! Functions here touch the world and decide nothing. Every error names the path.
#![expect(clippy::disallowed_methods, reason = "the I/O ring")]

pub mod fs;
pub mod workspace;

use std::path::PathBuf;

use anyhow::Result;

/// Whether messages go to a terminal that shows colors (<https://no-color.org>).
pub fn stderr_has_colors() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    std::io::IsTerminal::is_terminal(&std::io::stderr()) && !set("NO_COLOR") && !dumb
}

/// `$XDG_CACHE_HOME/kiln`, else `$HOME/.cache/kiln`.
pub fn cache_dir() -> Result<PathBuf> {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(base) = from("XDG_CACHE_HOME") {
        return Ok(PathBuf::from(base).join("kiln"));
    }
    let home = from("HOME").ok_or_else(|| {
        crate::error::refuse_usage(
            "neither XDG_CACHE_HOME nor HOME is set, so there is no place for the cache",
            "name one with --cache DIR",
        )
    })?;
    Ok(PathBuf::from(home).join(".cache/kiln"))
}
