// SPDX-License-Identifier: Apache-2.0
//! Programs of Kubernetes: pinned when locking, and later exactly those that the lock pins.
//!
//! A release is not signed. What makes it safe is its published checksum, over https, and that the
//! lock keeps it: a server that says something else about the same version is refused, because a
//! release never changes. A [`Program`] is made by hashing and by nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use anyhow::{Context as _, Result};

use super::{
    Fetcher, Wanted, bundle,
    http::{Client, Expected, Outcome, Size},
    parallel,
};
use crate::{
    checksum::{self, Kind, Sum},
    error::refuse,
    kubernetes::{
        program,
        release::{MAX_BUNDLE, MAX_PROGRAM, Release, Source},
        version::Version,
    },
    lock::{LockedFile, LockedRelease},
    progress::Task,
    store::Store,
    sys,
    tree::Content,
    units::Bytes,
};

/// A program whose bytes are those of the lock.
#[derive(Debug, Clone)]
pub struct Program {
    content: Content,
}

impl Program {
    /// Takes a file for a locked program, if its bytes are those of the lock.
    pub fn verify(file: &Path, locked: &LockedFile) -> Result<Self> {
        Ok(Self { content: sys::fs::pinned(file, &locked.sha256)? })
    }

    /// What the cache has of a locked program; none if it has nothing, or other bytes.
    fn cached(store: &Store, locked: &LockedFile) -> Result<Option<Self>> {
        let file = store.program(&Sum::Sha256(locked.sha256));
        if !sys::fs::exists(&file) {
            return Ok(None);
        }
        let content = sys::fs::content(&file)?;
        Ok((sys::fs::digest(&content)? == locked.sha256).then_some(Self { content }))
    }

    /// The same right after the cache got it, or was looked at: what goes there is hashed on the
    /// way, which is not done twice.
    fn just_hashed(store: &Store, locked: &LockedFile) -> Result<Self> {
        Ok(Self { content: sys::fs::content(&store.program(&Sum::Sha256(locked.sha256)))? })
    }

    pub fn into_content(self) -> Content {
        self.content
    }
}

/// A program or bundle that lies beside its published checksum.
struct Published {
    name: String,
    url: String,
    sum: Sum,
}

impl Fetcher {
    /// The programs of a release as they are now, for the lock. `old` is what the lock has of this
    /// version; what was published for it must still be.
    pub fn pin_release(
        &self,
        workspace: &Path,
        release: &Release<'_>,
        old: Option<&LockedRelease>,
    ) -> Result<LockedRelease> {
        let Release { version, source, programs } = release;
        let pinned = |bundle, programs| LockedRelease { bundle, programs };
        // Without a network, what was published is what the lock says was.
        if let Some(old) = old.filter(|old| old.differs_from(release).is_none())
            && self.offline
            && source.local(*version).is_none()
        {
            return Ok(old.of(programs));
        }
        match source {
            Source::Folder(_) => {
                let folder = workspace.join(source.local(*version).expect("it is local"));
                let pin =
                    |name: &&str| Ok(((*name).to_owned(), pin_file(&folder, name, *version)?));
                Ok(pinned(None, programs.iter().map(pin).collect::<Result<_>>()?))
            }
            Source::Bundle(_) => {
                let file = workspace.join(source.local(*version).expect("it is local"));
                Ok(pinned(None, self.pin_bundled(&file, release)?))
            }
            Source::Programs(_) => Ok(pinned(None, self.pin_programs(release, old)?)),
            Source::RemoteBundle(_) => self.pin_remote_bundle(release, old),
        }
    }

    /// The programs of a release that the lock pins, each verified now.
    pub fn programs(
        &self,
        workspace: &Path,
        release: &Release<'_>,
        locked: &LockedRelease,
    ) -> Result<BTreeMap<&'static str, Program>> {
        let Release { version, source, programs } = release;
        let wanted: Vec<(&'static str, &LockedFile)> =
            programs.iter().filter_map(|name| Some((*name, locked.programs.get(*name)?))).collect();
        let taken = match source {
            Source::Folder(_) => {
                let folder = workspace.join(source.local(*version).expect("it is local"));
                let take = |(name, program): &(&str, &LockedFile)| {
                    Program::verify(&folder.join(name), program)
                };
                wanted.iter().map(take).collect::<Result<_>>()?
            }
            Source::Programs(_) => self.download(&wanted)?,
            Source::Bundle(_) | Source::RemoteBundle(_) => {
                self.unpack_missing(workspace, release, locked, &wanted)?
            }
        };
        Ok(wanted.into_iter().map(|(name, _)| name).zip(taken).collect())
    }

    fn pin_programs(
        &self,
        release: &Release<'_>,
        old: Option<&LockedRelease>,
    ) -> Result<BTreeMap<String, LockedFile>> {
        let version = release.version;
        let old = |name: &str| old.and_then(|old| old.programs.get(name));
        let names: Vec<&str> = release.programs.iter().copied().collect();
        let files = parallel(self.jobs, &names, |name, _| {
            let url = release.source.program_url(version, name).expect("it has addresses");
            self.published(name, &url, version, old(name))
        })?;
        // What is pinned already is not fetched for the lock alone.
        let (kept, new): (Vec<_>, Vec<_>) = files
            .into_iter()
            .partition(|file| old(&file.name).is_some_and(|old| old.is_still(file)));
        let mut pinned: BTreeMap<String, LockedFile> = kept
            .into_iter()
            .filter_map(|file| Some((file.name.clone(), old(&file.name)?.clone())))
            .collect();
        let (client, task) = self.task(&new, "programs of Kubernetes");
        let fetched = parallel(self.jobs, &new, |file, stop| {
            let (path, locked) = self.take_published(&client, file, MAX_PROGRAM, &task, stop)?;
            refuse_change(file, version, old(&file.name), Some(&locked))?;
            inspect(&file.name, version, &sys::fs::content(&path)?, &file.url)?;
            Ok(locked)
        })?;
        task.finish();
        pinned.extend(new.into_iter().map(|file| file.name).zip(fetched));
        Ok(pinned)
    }

    fn pin_remote_bundle(
        &self,
        release: &Release<'_>,
        old: Option<&LockedRelease>,
    ) -> Result<LockedRelease> {
        let url = release.source.bundle_url(release.version).expect("it has an address");
        let name = url.rsplit('/').next().unwrap_or(&url);
        let old_bundle = old.and_then(|old| old.bundle.as_ref());
        let file = self.published(name, &url, release.version, old_bundle)?;
        if let Some(old) = old
            && old_bundle.is_some_and(|bundle| bundle.is_still(&file))
            && release.programs.iter().all(|name| old.programs.contains_key(*name))
        {
            return Ok(old.of(&release.programs));
        }
        let files = [file];
        let (client, task) = self.task(&files, "bundle of Kubernetes");
        let stop = AtomicBool::new(false);
        let (path, bundle) = self.take_published(&client, &files[0], MAX_BUNDLE, &task, &stop)?;
        task.finish();
        refuse_change(&files[0], release.version, old_bundle, Some(&bundle))?;
        Ok(LockedRelease { bundle: Some(bundle), programs: self.pin_bundled(&path, release)? })
    }

    fn pin_bundled(
        &self,
        bundle: &Path,
        release: &Release<'_>,
    ) -> Result<BTreeMap<String, LockedFile>> {
        let found = bundle::unpack(&self.store, bundle, &release.programs)?;
        for (name, locked) in &found {
            let file = self.store.program(&Sum::Sha256(locked.sha256));
            let origin = format!("{}' in '{}", name, bundle.display());
            inspect(name, release.version, &sys::fs::content(&file)?, &origin)?;
        }
        Ok(found)
    }

    /// What is published for a file, if it is what the lock says was.
    fn published(
        &self,
        name: &str,
        url: &str,
        version: Version,
        old: Option<&LockedFile>,
    ) -> Result<Published> {
        let sum = self.published_sum(name, url);
        let sum = sum.with_context(|| format!("reading the checksum of '{name}'"))?;
        let file = Published { name: name.to_owned(), url: url.to_owned(), sum };
        refuse_change(&file, version, old, None)?;
        Ok(file)
    }

    fn published_sum(&self, name: &str, url: &str) -> Result<Sum> {
        self.online(name)?;
        let client = self.client.for_releases();
        let mut missing = Vec::new();
        for kind in Kind::ALL {
            let address = format!("{url}.{}", kind.name());
            match client.get(&address, checksum::MAX_FILE)? {
                Outcome::Found(text) => {
                    // A bundle's name is that of its file.
                    let file = url.rsplit('/').next().unwrap_or(url);
                    return Sum::published(&text, kind, file)
                        .map_err(|error| refuse(error, NO_SUM))
                        .with_context(|| format!("reading '{address}'"));
                }
                Outcome::Missing(who) => missing.push(who),
            }
        }
        Err(refuse(
            missing.join(", "),
            "see whether this version was released, and whether the address under \
             'kubernetes.binaries' has checksums beside its files",
        ))
    }

    /// Downloads a file by its published checksum; where it is, and how the lock has it.
    fn take_published(
        &self,
        client: &Client,
        file: &Published,
        limit: Bytes,
        task: &Task,
        stop: &AtomicBool,
    ) -> Result<(PathBuf, LockedFile)> {
        let fetching = || format!("fetching '{}'", file.url);
        let expected = Expected { size: Size::AtMost(limit.get()), sum: file.sum };
        self.obtain_release(client, &file.name, &file.url, expected, task, stop)
            .with_context(fetching)?;
        let path = self.store.program(&file.sum);
        let content = sys::fs::content(&path)?;
        let sha256 = match file.sum {
            // It came by this digest.
            Sum::Sha256(sha256) => sha256,
            Sum::Sha512(_) => sys::fs::digest(&content)?,
        };
        let named = self.store.program(&Sum::Sha256(sha256));
        if named != path {
            sys::fs::create_dirs(named.parent().expect("below the cache"))?;
            sys::fs::rename(&path, &named)?;
        }
        let (url, published) = (Some(file.url.clone()), Some(file.sum));
        Ok((named, LockedFile { size: content.len(), sha256, url, published }))
    }

    /// Downloads what of these the cache does not have; all of them, in their order.
    fn download(&self, programs: &[(&'static str, &LockedFile)]) -> Result<Vec<Program>> {
        let total = Bytes(programs.iter().map(|(_, program)| program.size).sum());
        let is_missing = |program: &LockedFile| {
            !sys::fs::exists(&self.store.program(&Sum::Sha256(program.sha256)))
        };
        let missing = programs.iter().filter(|(_, program)| is_missing(program));
        let needed = Bytes(missing.map(|(_, program)| program.size).sum());
        sys::space::require(self.store.root(), needed, "the programs", "--cache DIR")?;
        let count = format!("{} programs of Kubernetes", programs.len());
        let task =
            self.progress.bytes(format!("fetching {count}"), format!("fetched {count}"), total);
        let client = self.client.for_releases();
        let obtained = parallel(self.jobs, programs, |(name, program), stop| {
            self.obtain_locked(&client, name, program, &task, stop)?;
            Program::just_hashed(&self.store, program)
        })?;
        task.finish();
        Ok(obtained)
    }

    fn obtain_locked(
        &self,
        client: &Client,
        name: &str,
        locked: &LockedFile,
        task: &Task,
        stop: &AtomicBool,
    ) -> Result<()> {
        let size = Size::Exactly(locked.size);
        let expected = Expected { size, sum: Sum::Sha256(locked.sha256) };
        let url = locked.url.as_deref().with_context(|| format!("'{name}' has no address"))?;
        self.obtain_release(client, name, url, expected, task, stop)
            .with_context(|| format!("fetching '{url}'"))
    }

    fn obtain_release(
        &self,
        client: &Client,
        name: &str,
        url: &str,
        expected: Expected,
        task: &Task,
        stop: &AtomicBool,
    ) -> Result<()> {
        let (file, urls) = (self.store.program(&expected.sum), [url.to_owned()]);
        let wanted = Wanted { client, name, file: &file, urls: &urls, expected };
        match self.obtain(&wanted, task, stop)? {
            Outcome::Found(()) => Ok(()),
            Outcome::Missing(who) => Err(refuse(
                who,
                "name a place that still has it under 'kubernetes.binaries', then run 'kiln lock'",
            )),
        }
    }

    /// Takes the programs out of their bundle unless the cache has all of them; in their order.
    fn unpack_missing(
        &self,
        workspace: &Path,
        release: &Release<'_>,
        locked: &LockedRelease,
        programs: &[(&'static str, &LockedFile)],
    ) -> Result<Vec<Program>> {
        let cached = |(_, program): &(_, &LockedFile)| Program::cached(&self.store, program);
        let cached: Vec<Option<Program>> = programs.iter().map(cached).collect::<Result<_>>()?;
        let missing: BTreeSet<&str> = programs
            .iter()
            .zip(&cached)
            .filter_map(|((name, _), cached)| cached.is_none().then_some(*name))
            .collect();
        if !missing.is_empty() {
            self.unpack(workspace, release, locked, &missing)?;
        }
        let take = |((_, program), cached): (&(_, &LockedFile), Option<Program>)| match cached {
            Some(program) => Ok(program),
            None => Program::just_hashed(&self.store, program),
        };
        programs.iter().zip(cached).map(take).collect()
    }

    /// Takes programs out of their bundle into the cache, where their bytes are those of the lock.
    fn unpack(
        &self,
        workspace: &Path,
        release: &Release<'_>,
        locked: &LockedRelease,
        missing: &BTreeSet<&str>,
    ) -> Result<()> {
        let file = match (release.source.local(release.version), &locked.bundle) {
            (Some(path), _) => workspace.join(path),
            (None, Some(bundle)) => {
                let name = bundle.url.as_deref().unwrap_or_default();
                let name = name.rsplit('/').next().unwrap_or(name);
                let (doing, done) = (format!("fetching {name}"), format!("fetched {name}"));
                let task = self.progress.bytes(doing, done, Bytes(bundle.size));
                let (client, stop) = (self.client.for_releases(), AtomicBool::new(false));
                self.obtain_locked(&client, name, bundle, &task, &stop)?;
                task.finish();
                self.store.program(&Sum::Sha256(bundle.sha256))
            }
            (None, None) => anyhow::bail!("the lock pins no bundle"),
        };
        for (name, found) in bundle::unpack(&self.store, &file, missing)? {
            let wanted = &locked.programs[&name];
            if found.sha256 != wanted.sha256 {
                let (wanted, found) = (wanted.sha256.short(), found.sha256.short());
                return Err(refuse(
                    format!(
                        "sha256 of '{name}' in '{}' differs: expected {wanted}, found {found}",
                        file.display()
                    ),
                    "restore the file, or run 'kiln lock' to pin what it is now",
                ));
            }
        }
        Ok(())
    }

    /// The client for releases, and a task for what their servers say about sizes.
    fn task(&self, files: &[Published], what: &str) -> (Client, Task) {
        let client = self.client.for_releases();
        let sizes =
            files.iter().map(|file| match sys::fs::exists(&self.store.program(&file.sum)) {
                true => 0,
                false => client.size(&file.url).unwrap_or(0),
            });
        let total = Bytes(sizes.fold(0, u64::saturating_add));
        let count = format!("{} {what}", files.len());
        let task =
            self.progress.bytes(format!("fetching {count}"), format!("fetched {count}"), total);
        (client, task)
    }
}

const NO_SUM: &str = "see what the address gives: it must be the digits that are published for the \
                      release, and perhaps the file's name";

/// A release never changes: if the lock has another checksum of a file, one of both is not the
/// release. `now` is the file itself, once it is here.
fn refuse_change(
    file: &Published,
    version: Version,
    old: Option<&LockedFile>,
    now: Option<&LockedFile>,
) -> Result<()> {
    // What was locked out of the workspace is no release.
    let Some((old, published)) = old.and_then(|old| Some((old, old.published?))) else {
        return Ok(());
    };
    let before = [published, Sum::Sha256(old.sha256)];
    let now = now.map(|now| Sum::Sha256(now.sha256));
    for now in now.into_iter().chain([file.sum]) {
        let changed = before.iter().find(|sum| sum.kind() == now.kind() && **sum != now);
        if let Some(before) = changed {
            let Published { name, url, .. } = file;
            return Err(refuse(
                format!(
                    "{} of '{name}' {version} changed: kiln.lock has {}, '{url}' now has {}",
                    now.kind().name(),
                    before.short(),
                    now.short()
                ),
                "a release never changes: find out which is right before anything else; to take \
                 the new one on purpose, remove kiln.lock first",
            ));
        }
    }
    Ok(())
}

impl LockedRelease {
    /// The same with these programs alone.
    fn of(&self, programs: &BTreeSet<&'static str>) -> Self {
        let mut release = self.clone();
        release.programs.retain(|name, _| programs.contains(name.as_str()));
        release
    }
}

impl LockedFile {
    /// Whether a file is published as it was when it was pinned.
    fn is_still(&self, file: &Published) -> bool {
        self.url.as_deref() == Some(file.url.as_str()) && self.published == Some(file.sum)
    }
}

fn pin_file(folder: &Path, name: &str, version: Version) -> Result<LockedFile> {
    let path = folder.join(name);
    if !sys::fs::exists(&path) {
        return Err(refuse(
            format!("there is no '{}'", path.display()),
            "name the folder of the server programs under 'kubernetes.binaries' of cluster.yaml, or \
             'upstream'; to try Kiln, 'make kubernetes' builds v1.20.2",
        ));
    }
    if sys::fs::is_dir(&path) {
        return Err(refuse(
            format!("'{}' is a folder, not a program", path.display()),
            "name the folder that the programs themselves are in",
        ));
    }
    let content = sys::fs::content(&path)?;
    inspect(name, version, &content, &path.display().to_string())?;
    let sha256 = sys::fs::digest(&content)?;
    Ok(LockedFile { size: content.len(), sha256, url: None, published: None })
}

/// Refuses a file that no image can run.
fn inspect(name: &str, version: Version, content: &Content, origin: &str) -> Result<()> {
    program::check(name, version, content)
        .map_err(|error| refuse(&error, error.help()))
        .with_context(|| format!("looking at '{origin}'"))
}
