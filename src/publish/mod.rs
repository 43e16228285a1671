// SPDX-License-Identifier: Apache-2.0
//! Results of builds, put where many machines can get them, and taken from there.
//!
//! A [release](release::Release) is what one build left of a role. It stands on a shelf: an artefact
//! of a [registry], or objects of a [bucket]. What must hold, on both:
//!
//! - Readers see the whole of a release or nothing of it: the tag, or `SHA256SUMS`, is written last.
//! - Only what `SHA256SUMS` names gets there: [`pieces`] hashes what is sent, and holds the end of a
//!   damaged file back.
//! - What is there already is not sent again, so a run that was stopped goes on where it was.
//! - A release does not change under its name, unless a person says so.
//! - An image with secrets inside goes nowhere, unless a person says so.
//!
//! The way back is [`pull`]: verified by the same digests, and placed whole or not at all.

mod bucket;
mod login;
mod open;
mod pieces;
mod pull;
mod registry;
pub mod release;
pub mod target;

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use anyhow::{Context as _, Result};

use self::release::{File, MANIFEST, MAX_MANIFEST, MAX_SUMS, Release, SUMS};
pub use self::{
    open::{Place, Purpose, Ways},
    pull::{Wanted, pull},
    registry::ARTIFACT_TYPE,
};
use crate::{
    digest::Digest,
    error::refuse,
    fetch::{http::Client, parallel},
    progress::{Item, Progress},
    sys::{self, interrupt},
    tree::Content,
    units::Bytes,
};

/// Most files on their way at once.
pub const MAX_JOBS: usize = 16;

/// What a place has under a role's name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    Nothing,
    /// A release, by its `SHA256SUMS`.
    Release(Vec<u8>),
    /// Something else; why it is no release.
    Other(String),
}

/// A place for releases. A file is asked for by role, name and digest; a place takes what it needs
/// of these.
trait Shelf: Sync {
    fn client(&self) -> &Client;
    /// A role's release, for people.
    fn place(&self, role: &str) -> String;
    /// Where a file of a release is read.
    fn url(&self, role: &str, name: &str, sha256: &Digest) -> String;
    fn standing(&self, role: &str) -> Result<Standing>;
    /// Whether precisely this file is there.
    fn has(&self, role: &str, file: &File) -> Result<bool>;
    fn put(
        &self,
        role: &str,
        file: &File,
        content: &Content,
        item: &mut Item,
        stop: &AtomicBool,
    ) -> Result<()>;
    /// Makes a place empty for readers, where a release could be seen in parts while it changes.
    fn withdraw(&self, role: &str) -> Result<()>;
    /// Lets readers see a release whose files are all there; its full name.
    fn conclude(&self, release: &Release, sums: &[u8]) -> Result<String>;
}

/// What a build left of a role, on its way out.
#[derive(Debug)]
pub struct Built {
    release: Release,
    sums: Vec<u8>,
    /// In the order of the release's files.
    contents: Vec<Content>,
}

/// What a person allows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allowed {
    /// Another release in the place of one that is there.
    pub replace: bool,
    /// Images with secrets inside.
    pub secrets: bool,
}

/// The roles that have results in `out`, sorted.
pub fn roles(out: &Path) -> Result<Vec<String>> {
    let folders = sys::fs::list_if_present(out)?;
    let is_role = |path: &&PathBuf| {
        sys::fs::exists(&path.join(SUMS)) && sys::fs::exists(&path.join(MANIFEST))
    };
    let names = folders.iter().filter(is_role).filter_map(|path| path.file_name()?.to_str());
    Ok(names.filter(|name| !name.starts_with('.')).map(str::to_owned).collect())
}

impl Built {
    /// What a build left in `folder` for `role`.
    pub fn read(folder: &Path, role: &str) -> Result<Self> {
        let rebuild = format!("run 'kiln build {role}'");
        let small = |name: &str, limit: Bytes| {
            let path = folder.join(name);
            match sys::fs::len_if_present(&path)? {
                Some(len) if Bytes(len) <= limit => sys::fs::read(&path),
                Some(len) => {
                    Err(refuse(format!("'{}' has {}", path.display(), Bytes(len)), &rebuild))
                }
                None => Err(refuse(format!("there is no '{}'", path.display()), &rebuild)),
            }
        };
        let sums = small(SUMS, MAX_SUMS)?;
        let manifest = small(MANIFEST, MAX_MANIFEST)?;
        let release = release::read(&sums, &manifest).map_err(|error| refuse(error, &rebuild))?;
        if release.role != role {
            let fact = format!("'{}' has the results of '{}'", folder.display(), release.role);
            return Err(refuse(fact, rebuild));
        }
        let open = |file: &File| sys::fs::content(&folder.join(&file.name));
        let contents = release.files.iter().map(open).collect::<Result<_>>()?;
        Ok(Self { release, sums, contents })
    }

    /// Bytes of all files.
    fn len(&self) -> u64 {
        self.release.files.iter().map(|file| file.size).sum()
    }
}

/// Puts releases into a place; the full name of each.
///
/// # Errors
/// Something is not allowed, a file is damaged, or the place does not take it. Readers then see
/// what was there before, or, in a bucket where a release was to be replaced, nothing.
pub fn publish(
    place: &Place,
    built: &[Built],
    allowed: Allowed,
    jobs: usize,
    progress: &Progress,
) -> Result<Vec<String>> {
    let shelf = &*place.shelf;
    refuse_mixture(built)?;
    for built in built {
        refuse_secrets(built, allowed).with_context(|| publishing(built))?;
    }
    let mut replaced = Vec::new();
    for built in built {
        if is_another(shelf, built, allowed).with_context(|| publishing(built))? {
            replaced.push(built);
        }
    }
    for built in replaced {
        shelf.withdraw(&built.release.role).with_context(|| publishing(built))?;
    }
    upload(shelf, built, jobs, progress)?;
    let conclude = |built: &Built| {
        let name = shelf.conclude(&built.release, &built.sums)?;
        // A place that forgets, or another run that was faster, is found out now.
        match shelf.standing(&built.release.role)? {
            Standing::Release(sums) if sums == built.sums => Ok(name),
            _ => Err(refuse(
                format!("'{name}' is not what was just written there"),
                "see whether somebody else publishes there too, and run it again",
            )),
        }
    };
    built.iter().map(|built| conclude(built).with_context(|| publishing(built))).collect()
}

fn publishing(built: &Built) -> String {
    format!("publishing '{}'", built.release.role)
}

/// All roles of one target are of one version of one cluster.
fn refuse_mixture(built: &[Built]) -> Result<()> {
    let Some((first, rest)) = built.split_first() else { return Ok(()) };
    let of = |built: &Built| {
        let Release { role, cluster, version, .. } = &built.release;
        format!("'{role}' is version '{version}' of '{cluster}'")
    };
    let is_same = |other: &&Built| {
        (&other.release.cluster, &other.release.version)
            == (&first.release.cluster, &first.release.version)
    };
    match rest.iter().find(|other| !is_same(other)) {
        None => Ok(()),
        Some(other) => Err(refuse(
            format!("{}, {}", of(first), of(other)),
            "build all roles, or name those that belong together",
        ))
        .context("publishing"),
    }
}

fn refuse_secrets(built: &Built, allowed: Allowed) -> Result<()> {
    match built.release.n_secrets {
        count @ 1.. if !allowed.secrets => Err(refuse(
            format!(
                "its image holds {count} secrets, which everybody who can read the target gets"
            ),
            "build it with 'pki.delivery: seed', or, if the target is closed to others, say \
             --with-secrets",
        )),
        _ => Ok(()),
    }
}

/// Whether something else stands in a role's place, and may be replaced.
fn is_another(shelf: &dyn Shelf, built: &Built, allowed: Allowed) -> Result<bool> {
    let role = &built.release.role;
    let what = match shelf.standing(role)? {
        Standing::Nothing => return Ok(false),
        Standing::Release(sums) if sums == built.sums => return Ok(false),
        Standing::Release(_) => "another release".to_owned(),
        Standing::Other(why) => format!("something else: {why}"),
    };
    if allowed.replace {
        return Ok(true);
    }
    Err(refuse(
        format!("'{}' is {what}", shelf.place(role)),
        "name a target with the new version in it, or say --replace",
    ))
}

/// Every file that is not there yet, some at a time.
fn upload(shelf: &dyn Shelf, built: &[Built], jobs: usize, progress: &Progress) -> Result<()> {
    let files: Vec<(&Built, &File, &Content)> = built
        .iter()
        .flat_map(|built| {
            let files = built.release.files.iter().zip(&built.contents);
            files.map(move |(file, content)| (built, file, content))
        })
        .collect();
    let total = Bytes(built.iter().map(Built::len).sum());
    let count = format!("{} files", files.len());
    let task = progress.bytes(format!("publishing {count}"), format!("published {count}"), total);
    parallel(jobs.clamp(1, MAX_JOBS), &files, |(built, file, content), stop| {
        let role = &built.release.role;
        let publish = || {
            check_stop(stop)?;
            if shelf.has(role, file)? {
                task.skip(file.size);
                return Ok(());
            }
            shelf.put(role, file, content, &mut task.item(&file.name, file.size), stop)
        };
        publish().with_context(|| format!("publishing '{}' of '{role}'", file.name))
    })?;
    task.finish();
    Ok(())
}

/// Whether another file failed, or a person wants to stop.
fn check_stop(stop: &AtomicBool) -> Result<()> {
    interrupt::check()?;
    match stop.load(Relaxed) {
        true => anyhow::bail!("stopped"),
        false => Ok(()),
    }
}
