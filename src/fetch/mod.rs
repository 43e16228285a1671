// SPDX-License-Identifier: Apache-2.0
//! The only way from the network to a build: signed indexes when locking, and later exactly the
//! packages that the lock pins.
//!
//! A [`Fetched`] package can only be made by hashing it, so nothing unverified is ever unpacked.
//! A file that is not whole never has a final name: it is `DIGEST.partial` in the cache, where
//! the next run resumes. Addresses are in [`archives`], tries and resumption in `http`, what
//! the signed files say in `suite`, and how a lock is made of it in `locking`. Programs of
//! Kubernetes come by [`release`], images by [`registry`]. `send` is the other direction, for what is
//! [published](crate::publish).

pub mod apt;
pub mod archives;
mod bundle;
pub(crate) mod http;
pub(crate) mod key;
mod locking;
mod origin;
pub mod registry;
pub mod release;
mod resolver;
pub(crate) mod send;
pub(crate) mod signature;
mod suite;

use std::{
    collections::BTreeSet,
    fs::File,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use rustix::fs::FlockOperation;

use self::{
    archives::{Archives, Wishes},
    http::{Client, Expected, Outcome, Size},
};
use crate::{
    checksum::Sum,
    cli,
    debian::keyring::Keyring,
    error::{refuse, refuse_usage},
    lock::{Lock, LockedPackage},
    progress::{Progress, Task},
    store::{self, Store},
    sys,
    units::Bytes,
};

/// Most parallel downloads: mirrors ask for moderation.
const MAX_JOBS: usize = 32;
/// Seconds after an archive's date when a snapshot of exactly that state certainly exists.
const SNAPSHOT_TAKEN: u64 = 12 * 3600;

/// A package in the cache whose bytes are those of the lock.
#[derive(Debug, Clone)]
pub struct Fetched {
    package: LockedPackage,
    file: PathBuf,
}

impl Fetched {
    /// Takes a file for `package`, if its bytes are those of the lock.
    pub fn verify(file: &Path, package: &LockedPackage) -> Result<Self> {
        let found = store::hash_file(file)?;
        if found != package.sha256 {
            let (wanted, found) = (package.sha256.short(), found.short());
            anyhow::bail!(
                "sha256 of '{}' differs: expected {wanted}, found {found}",
                file.display()
            );
        }
        Ok(Self { package: package.clone(), file: file.to_owned() })
    }

    /// What the lock says about it.
    pub fn locked(&self) -> &LockedPackage {
        &self.package
    }

    /// The `.deb`.
    pub fn open(&self) -> Result<File> {
        sys::fs::open(&self.file)
    }
}

/// Reads archives into the cache.
#[derive(Debug)]
pub struct Fetcher {
    client: Client,
    archives: Archives,
    store: Store,
    keyring: Keyring,
    jobs: usize,
    offline: bool,
    progress: Progress,
}

impl Fetcher {
    /// As the command line says; `cluster_mirror` is `mirror:` of cluster.yaml.
    pub fn new(
        args: &cli::Network,
        cluster_mirror: Option<&str>,
        store: Store,
        progress: Progress,
    ) -> Result<Self> {
        let apt = sys::apt_sources()?;
        let apt: Vec<_> = apt.iter().flat_map(|(name, text)| apt::parse(name, text)).collect();
        let archives = Archives::choose(&Wishes {
            mirror: args.mirror.as_deref(),
            security_mirror: args.security_mirror.as_deref(),
            snapshot_mirror: args.snapshot_mirror.as_deref(),
            cluster: cluster_mirror,
            apt: &apt,
        });
        for base in [&archives.debian, &archives.security, &archives.snapshot] {
            if !["http://", "https://", "file:///"].iter().any(|scheme| base.starts_with(scheme)) {
                return Err(refuse_usage(
                    format!("'{}' is no address of an archive", http::shown(base)),
                    "write one such as http://ftp.debian.org/debian",
                ));
            }
        }
        let keyring = match &args.keyring {
            Some(path) => Keyring::parse(&sys::fs::read(path)?)
                .with_context(|| format!("reading the keyring '{}'", path.display()))?,
            None => Keyring::debian(),
        };
        let jobs = args.jobs.clamp(1, MAX_JOBS);
        Ok(Self {
            client: Client::new(),
            archives,
            store,
            keyring,
            jobs,
            offline: args.offline,
            progress,
        })
    }

    /// The same with another pause between tries of one address.
    #[must_use]
    pub fn with_backoff(mut self, pause: Duration) -> Self {
        self.client = self.client.with_backoff(pause);
        self
    }

    /// Where packages come from.
    pub fn archives(&self) -> &Archives {
        &self.archives
    }

    /// The packages that `lock` pins for `roles`, in its order, each verified now.
    pub fn packages(&self, lock: &Lock, roles: &BTreeSet<String>) -> Result<Vec<Fetched>> {
        let wanted: Vec<&LockedPackage> =
            lock.packages.iter().filter(|package| !package.roles.is_disjoint(roles)).collect();
        let total = Bytes(wanted.iter().map(|package| package.size).sum());
        self.require_space(&wanted)?;
        let count = format!("{} packages", wanted.len());
        let task =
            self.progress.bytes(format!("fetching {count}"), format!("fetched {count}"), total);
        let fetched = parallel(self.jobs, &wanted, |package, stop| {
            let for_roles = package.roles.iter().filter(|role| roles.contains(*role));
            self.package(lock, package, &task, stop).with_context(|| {
                format!("fetching '{}' for {}", package.file_name(), name_roles(for_roles))
            })
        })?;
        task.finish();
        Ok(fetched)
    }

    /// Refuses to fill the disk before the first byte is there.
    fn require_space(&self, wanted: &[&LockedPackage]) -> Result<()> {
        let mut needed = 0_u64;
        for package in wanted {
            if sys::fs::len_if_present(&self.store.package(&package.sha256))?.is_none() {
                needed = needed.saturating_add(package.size);
            }
        }
        sys::space::require(self.store.root(), Bytes(needed), "the packages", "--cache DIR")
            .context("fetching packages")
    }

    /// Whether a locked package can still be had: from its archive, or also from the cache.
    fn is_available(&self, package: &LockedPackage, trust_cache: bool) -> Result<bool> {
        let cached = sys::fs::len_if_present(&self.store.package(&package.sha256))?;
        if trust_cache && cached == Some(package.size) {
            return Ok(true);
        }
        let url = self.url(&package.archive, &package.path)?;
        self.online(&package.path)?;
        self.client.exists(&url)
    }

    /// One locked package, for itself.
    fn single(&self, lock: &Lock, package: &LockedPackage) -> Result<Fetched> {
        let size = Bytes(package.size);
        let name = package.file_name();
        let task = self.progress.bytes(format!("fetching {name}"), format!("fetched {name}"), size);
        self.package(lock, package, &task, &AtomicBool::new(false))
            .with_context(|| format!("fetching '{name}'"))
    }

    fn package(
        &self,
        lock: &Lock,
        package: &LockedPackage,
        task: &Task,
        stop: &AtomicBool,
    ) -> Result<Fetched> {
        let size = Size::Exactly(package.size);
        let expected = Expected { size, sum: Sum::Sha256(package.sha256) };
        let mut urls = vec![self.url(&package.archive, &package.path)?];
        urls.extend(self.snapshots(lock, package));
        let file = self.store.package(&package.sha256);
        let wanted = Wanted {
            client: &self.client,
            name: package.file_name(),
            file: &file,
            urls: &urls,
            expected,
        };
        match self.obtain(&wanted, task, stop)? {
            Outcome::Found(()) => Ok(Fetched { package: package.clone(), file }),
            Outcome::Missing(who) => Err(refuse(
                format!("it has left the archive: {who}"),
                "run 'kiln lock --repair' to pin what the archive has now",
            )),
        }
    }

    /// Where the package lay when it was locked. A snapshot is taken some hours after the date
    /// that names a state of the archive, and a time between two gives the earlier one.
    fn snapshots(&self, lock: &Lock, package: &LockedPackage) -> Vec<String> {
        let of_package = lock.archives.iter().filter(|locked| locked.archive == package.archive);
        let Some(newest) = of_package.max_by_key(|locked| locked.date) else { return Vec::new() };
        [0, SNAPSHOT_TAKEN]
            .map(|later| newest.snapshot(later))
            .map(|state| format!("{}/{state}/{}", self.archives.snapshot, package.path))
            .into()
    }

    fn url(&self, archive: &str, path: &str) -> Result<String> {
        let base = self.archives.base(archive);
        let base = base.with_context(|| format!("there is no archive '{archive}'"))?;
        Ok(format!("{base}/{path}"))
    }

    fn online(&self, what: &str) -> Result<()> {
        if self.offline {
            return Err(refuse(
                format!("'{what}' is not in the cache, and --offline forbids the network"),
                "run 'kiln fetch' once without --offline",
            ));
        }
        Ok(())
    }

    /// Puts a file with this digest under its name in the cache, unless it is there and whole.
    fn obtain(&self, wanted: &Wanted<'_>, task: &Task, stop: &AtomicBool) -> Result<Outcome<()>> {
        if sys::fs::exists(wanted.file) {
            if store::sum_file(wanted.file, &wanted.expected.sum)? == wanted.expected.sum {
                task.skip(sys::fs::len_if_present(wanted.file)?.unwrap_or(0));
                return Ok(Outcome::Found(()));
            }
            self.progress.say(format!("'{}' in the cache was damaged; dropped", wanted.name));
            sys::fs::remove(wanted.file)?;
        }
        self.online(wanted.name)?;
        let Some((partial, file)) = open_partial(wanted.file)? else {
            // Another process completed it while we waited.
            return self.obtain(wanted, task, stop);
        };
        let outcome = self.complete(wanted, &file, task, stop);
        match outcome {
            Ok(Outcome::Found(())) => sys::fs::rename(&partial, wanted.file)?,
            // An empty beginning helps nobody.
            _ if file.metadata().is_ok_and(|meta| meta.len() == 0) => sys::fs::remove(&partial)?,
            _ => {}
        }
        outcome
    }

    fn complete(
        &self,
        wanted: &Wanted<'_>,
        partial: &File,
        task: &Task,
        stop: &AtomicBool,
    ) -> Result<Outcome<()>> {
        let mut item = task.item(wanted.name, wanted.expected.size.limit());
        let mut missing = Vec::new();
        for url in wanted.urls {
            match wanted.client.complete(url, wanted.expected, partial, &mut item, stop)? {
                Outcome::Found(()) => return Ok(Outcome::Found(())),
                Outcome::Missing(who) => missing.push(who),
            }
        }
        Ok(Outcome::Missing(missing.join(", ")))
    }
}

/// A file to have in the cache.
struct Wanted<'a> {
    client: &'a Client,
    name: &'a str,
    file: &'a Path,
    /// In the order in which they are tried.
    urls: &'a [String],
    expected: Expected,
}

/// The beginning of `file` that earlier runs left, locked against other processes; none if
/// another process completed the file while this one waited for it.
fn open_partial(file: &Path) -> Result<Option<(PathBuf, File)>> {
    sys::fs::create_dirs(file.parent().expect("below the cache"))?;
    let path = file.with_extension("partial");
    let partial = sys::fs::open_to_continue(&path)?;
    rustix::fs::flock(&partial, FlockOperation::LockExclusive)
        .with_context(|| format!("locking '{}'", path.display()))?;
    let ours = partial.metadata().with_context(|| format!("reading '{}'", path.display()))?.ino();
    Ok((sys::fs::inode_if_present(&path)? == Some(ours)).then_some((path, partial)))
}

/// `role 'lb'`, `roles 'lb', 'node'`
fn name_roles<'a>(roles: impl Iterator<Item = &'a String>) -> String {
    let roles: Vec<String> = roles.map(|role| format!("'{role}'")).collect();
    let noun = if roles.len() == 1 { "role" } else { "roles" };
    format!("{noun} {}", roles.join(", "))
}

/// Does `work` on each item with `jobs` threads; results in the items' order. The first error
/// stops the others, which learn it from the flag.
pub(crate) fn parallel<T: Sync, R: Send>(
    jobs: usize,
    items: &[T],
    work: impl Fn(&T, &AtomicBool) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let done: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::new());
    let failed: Mutex<Option<anyhow::Error>> = Mutex::new(None);
    let run = || {
        while !stop.load(Relaxed) {
            let index = next.fetch_add(1, Relaxed);
            let Some(item) = items.get(index) else { return };
            match work(item, &stop) {
                Ok(result) => {
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
                }
                Err(error) if !stop.swap(true, Relaxed) => {
                    *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                }
                // It only stopped because of the first error.
                Err(_) => return,
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..jobs.min(items.len()) {
            scope.spawn(run);
        }
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_their_items() {
        let items: Vec<usize> = (0..100).collect();
        let doubled = parallel(8, &items, |item, _| Ok(item * 2)).unwrap();
        assert_eq!(doubled, items.iter().map(|item| item * 2).collect::<Vec<_>>());
    }

    #[test]
    fn the_first_error_is_the_one_that_is_told() {
        let items = [0, 1, 2, 3];
        let error = parallel(4, &items, |item, stop| {
            if *item == 2 {
                anyhow::bail!("the fact");
            }
            while !stop.load(Relaxed) {
                thread::yield_now();
            }
            anyhow::bail!("only a consequence")
        });
        assert_eq!(error.map(|_: Vec<()>| ()).unwrap_err().to_string(), "the fact");
    }

    #[test]
    fn roles_are_named() {
        let name = |roles: &[&str]| {
            name_roles(roles.iter().map(|role| (*role).to_owned()).collect::<Vec<_>>().iter())
        };
        assert_eq!(name(&["lb"]), "role 'lb'");
        assert_eq!(name(&["lb", "node"]), "roles 'lb', 'node'");
    }
}
