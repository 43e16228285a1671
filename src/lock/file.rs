// SPDX-License-Identifier: Apache-2.0
//! `kiln.lock` in a workspace: read, compared with what the profiles ask for, written.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{FILE, Lock, MAX_SIZE, Stale};
use crate::{error::refuse, plan::Plan, sys};

/// The workspace's lock, if there is one.
pub fn read(workspace: &Path) -> Result<Option<Lock>> {
    let path = path(workspace);
    let task = || format!("reading '{}'", path.display());
    // A wrong file of any size must not fill the memory.
    if sys::fs::len_if_present(&path)?.is_some_and(|len| len > MAX_SIZE as u64) {
        return Err(refuse(format!("it has more than {MAX_SIZE} bytes"), AGAIN)).with_context(task);
    }
    let Some(text) = sys::fs::read_text_if_present(&path)? else { return Ok(None) };
    Lock::parse(&text).map(Some).map_err(|error| refuse(error, AGAIN)).with_context(task)
}

/// The workspace's lock, if it was made for what `plans` ask for.
pub fn read_matching(workspace: &Path, plans: &[Plan]) -> Result<Lock> {
    let lock = read(workspace)?
        .ok_or_else(|| refuse(format!("there is no '{}'", path(workspace).display()), RENEW));
    let lock = lock.context("reading what was locked")?;
    for plan in plans {
        matches(&lock, plan)?;
        lock.check_release(plan)
            .map_err(|stale| refuse(stale, RENEW))
            .with_context(|| format!("comparing '{FILE}' with 'kubernetes' of cluster.yaml"))?;
        lock.check_images(plan)
            .map_err(|stale| refuse(stale, RENEW))
            .with_context(|| format!("comparing '{FILE}' with the images of add-ons"))?;
    }
    Ok(lock)
}

/// Refuses a lock that was made for something else than `plan` asks for.
pub fn matches(lock: &Lock, plan: &Plan) -> Result<()> {
    let refuse_stale = |stale: Stale| refuse(stale, RENEW);
    lock.check(plan)
        .map_err(refuse_stale)
        .with_context(|| format!("comparing '{FILE}' with profile '{}'", plan.profile.role))
}

/// Writes the workspace's lock, whole or not at all.
pub fn write(workspace: &Path, lock: &Lock) -> Result<()> {
    sys::fs::write_atomic(&path(workspace), lock.to_string().as_bytes())
}

/// As people would type it.
fn path(workspace: &Path) -> PathBuf {
    if workspace == Path::new(".") { PathBuf::from(FILE) } else { workspace.join(FILE) }
}

const AGAIN: &str = "restore the file, or remove it and run 'kiln lock'";
const RENEW: &str = "run 'kiln lock' and commit the new lock";
