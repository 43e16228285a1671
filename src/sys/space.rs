// SPDX-License-Identifier: Apache-2.0
//! Room on a file system, asked for before the first byte is written.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::{error::refuse, units::Bytes};

/// Bytes that an unprivileged user may still write where `path` is, or where it would be.
pub fn available(path: &Path) -> Result<Bytes> {
    let existing = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let stat = rustix::fs::statvfs(existing)
        .with_context(|| format!("asking for the free space of '{}'", existing.display()))?;
    Ok(Bytes(stat.f_bavail.saturating_mul(stat.f_frsize)))
}

/// Refuses to begin something that would fill the file system of `path`.
///
/// `purpose` completes "are needed for", `option` names the option that chooses another place.
pub fn require(path: &Path, needed: Bytes, purpose: &str, option: &str) -> Result<()> {
    let free = available(path)?;
    if free < needed {
        return Err(refuse(
            format!("'{}' has {free} free, {needed} are needed for {purpose}", path.display()),
            format!("free some space, or name another place with {option}"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Report;

    #[test]
    fn a_want_of_space_is_told_before_the_first_byte() {
        let place = tempfile::tempdir().unwrap();
        let missing = place.path().join("not/yet/there");
        require(&missing, Bytes(1), "a test", "--out").unwrap();
        let error = require(&missing, Bytes(u64::MAX), "the images", "--out").unwrap_err();
        let text = Report(&error).to_string();
        assert!(text.contains("not/yet/there' has "), "{text}");
        assert!(text.contains(" free, 17179869184.0 GiB are needed for the images"), "{text}");
        assert!(text.ends_with("another place with --out"), "{text}");
    }
}
