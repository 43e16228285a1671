// SPDX-License-Identifier: Apache-2.0
//! The I/O ring: the only place that opens files, reads the environment or starts programs.
//!
//! Functions here touch the world and decide nothing. Every error names the path.
#![expect(clippy::disallowed_methods, reason = "the I/O ring")]

pub mod credentials;
pub mod folder;
pub mod fs;
pub mod interrupt;
pub mod random;
pub mod scratch;
pub mod space;
pub mod vault;
pub mod workspace;

use std::{path::PathBuf, time::SystemTime};

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

/// Seconds since 1970, for the validity of signatures; no output depends on it.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// The files that tell the host's apt where its archives are: name and text.
pub fn apt_sources() -> Result<Vec<(String, String)>> {
    let mut names = vec![PathBuf::from("/etc/apt/sources.list")];
    names.extend(fs::list_if_present(std::path::Path::new("/etc/apt/sources.list.d"))?);
    let is_read = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "list" || extension == "sources")
    };
    let mut sources = Vec::new();
    for path in names.into_iter().filter(is_read) {
        // Archives may stand in files that only root may read, with their passwords.
        if let Some(text) = fs::read_text_if_allowed(&path)? {
            sources.push((path.display().to_string(), text));
        }
    }
    Ok(sources)
}
