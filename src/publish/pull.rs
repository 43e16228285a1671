// SPDX-License-Identifier: Apache-2.0
//! A release, taken from its place: `OUT/ROLE/`, as the build left it elsewhere.
//!
//! `SHA256SUMS` comes first, and everything else is what it names or is refused. It comes from
//! whoever can write to the place; a person who knows its digest from somewhere else pins it.

use std::{
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use anyhow::{Context as _, Result};

use super::{
    MAX_JOBS, Place, Shelf, Standing,
    release::{self, File, MANIFEST, MAX_MANIFEST, Release, SUMS},
};
use crate::{
    checksum::Sum,
    digest::Digest,
    error::refuse,
    fetch::{
        http::{Expected, Outcome, Size},
        parallel,
    },
    outputs,
    progress::{Progress, Task},
    sys::{self, scratch::Scratch},
    units::Bytes,
};

const RETRY: &str = "nothing was kept; retry, or publish the release again";

/// What is taken.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub role: &'a str,
    /// Of `SHA256SUMS`, if it is known.
    pub pinned: Option<&'a Digest>,
    /// The role's folder appears in it.
    pub out: &'a Path,
    /// Files at once.
    pub jobs: usize,
}

/// Takes a role's release; its folder. Files that are there already and whole are not fetched.
///
/// # Errors
/// There is no release, or something of it is not what it should be. What was in the folder stays.
pub fn pull(place: &Place, wanted: &Wanted<'_>, progress: &Progress) -> Result<PathBuf> {
    let shelf = &*place.shelf;
    let (release, sums, manifest) = describe(shelf, wanted)?;
    let total = Bytes(release.files.iter().map(|file| file.size).sum());
    sys::space::require(wanted.out, total, "the release", "--out DIR")?;
    let scratch = Scratch::inside(wanted.out)?;
    let (folder, target) = (scratch.path().join(wanted.role), wanted.out.join(wanted.role));
    sys::fs::create_dirs(&folder)?;
    sys::fs::write_atomic(&folder.join(MANIFEST), &manifest)?;
    sys::fs::write_atomic(&folder.join(SUMS), &sums)?;

    let files: Vec<&File> = release.files.iter().filter(|file| file.name != MANIFEST).collect();
    let count = format!("{} files of '{}'", files.len(), wanted.role);
    let task = progress.bytes(format!("pulling {count}"), format!("pulled {count}"), total);
    task.skip(manifest.len() as u64);
    parallel(wanted.jobs.clamp(1, MAX_JOBS), &files, |file, stop| {
        let (old, new) = (target.join(&file.name), folder.join(&file.name));
        if is_whole(&old, file)? && sys::fs::link(&old, &new) {
            task.skip(file.size);
            return Ok(());
        }
        let url = shelf.url(wanted.role, &file.name, &file.sha256);
        fetch(shelf, &url, file, &new, &task, stop)
            .with_context(|| format!("pulling '{}'", file.name))
    })?;
    task.finish();
    outputs::publish(&folder, &target)?;
    Ok(target)
}

/// The release, and the two files that describe it.
fn describe(shelf: &dyn Shelf, wanted: &Wanted<'_>) -> Result<(Release, Vec<u8>, Vec<u8>)> {
    let (role, place) = (wanted.role, shelf.place(wanted.role));
    let sums = match shelf.standing(role)? {
        Standing::Release(sums) => sums,
        Standing::Nothing => {
            let fact = format!("there is no release at '{place}'");
            return Err(refuse(fact, "check the target and the role, or publish it there"));
        }
        Standing::Other(why) => {
            return Err(refuse(format!("'{place}' is no release: {why}"), "check the target"));
        }
    };
    let found = Digest::of(&sums);
    if let Some(pinned) = wanted.pinned
        && *pinned != found
    {
        let (expected, found) = (pinned.short(), found.short());
        let fact =
            format!("{SUMS} at '{place}' differs: expected sha256 {expected}, found {found}");
        return Err(refuse(fact, "find out who has changed the release"));
    }
    let malformed = |error: release::Error| refuse(format!("'{place}': {error}"), RETRY);
    let named = release::sums(&sums).map_err(malformed)?;
    let missing = || refuse(format!("{SUMS} at '{place}' names no '{MANIFEST}'"), RETRY);
    let digest = named.get(MANIFEST).ok_or_else(missing)?;
    let url = shelf.url(role, MANIFEST, digest);
    let manifest = match shelf.client().get(&url, MAX_MANIFEST.get())? {
        Outcome::Found(bytes) => bytes,
        Outcome::Missing(who) => return Err(refuse(who, RETRY)),
    };
    let release = release::read(&sums, &manifest).map_err(malformed)?;
    if release.role != role {
        let other = release.role.escape_default();
        let fact = format!("'{place}' has the results of '{other}'");
        return Err(refuse(fact, "check the target and the role"));
    }
    Ok((release, sums, manifest))
}

fn fetch(
    shelf: &dyn Shelf,
    url: &str,
    file: &File,
    path: &Path,
    task: &Task,
    stop: &AtomicBool,
) -> Result<()> {
    let expected = Expected { size: Size::Exactly(file.size), sum: Sum::Sha256(file.sha256) };
    let whole = sys::fs::open_to_continue(path)?;
    let mut item = task.item(&file.name, file.size);
    match shelf.client().complete(url, expected, &whole, &mut item, stop)? {
        Outcome::Found(()) => {
            whole.sync_all().with_context(|| format!("writing '{}'", path.display()))
        }
        Outcome::Missing(who) => Err(refuse(who, RETRY)),
    }
}

/// Whether a file is there that needs no fetching.
fn is_whole(path: &Path, file: &File) -> Result<bool> {
    if sys::fs::len_if_present(path)? != Some(file.size) {
        return Ok(false);
    }
    Ok(sys::fs::digest(&sys::fs::content(path)?)? == file.sha256)
}
