// SPDX-License-Identifier: Apache-2.0
//! Locked packages come whole or not at all.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Read as _,
    path::PathBuf,
    time::Duration,
};

use anyhow::Result;
use kiln::{
    cli,
    digest::Digest,
    error::Report,
    fetch::{Fetched, Fetcher},
    lock::{Lock, LockedArchive, LockedPackage, LockedRole},
    progress::Progress,
    store::Store,
};

use crate::support::archive::{Deb, Fault, Server};

/// 12 September 2026, 07:55:41 UTC.
const LOCKED: u64 = 1_789_199_741;

struct World {
    server: Server,
    folder: tempfile::TempDir,
}

impl World {
    /// A server that has `debs`.
    fn with(debs: &[Deb]) -> Self {
        let world =
            Self { server: Server::start(), folder: tempfile::tempdir().expect("a folder") };
        debs.iter().for_each(|deb| world.server.put(&at(deb), deb.bytes.clone()));
        world
    }

    fn network(&self) -> cli::Network {
        cli::Network {
            mirror: Some(self.server.url("debian")),
            security_mirror: None,
            snapshot_mirror: Some(self.server.url("snapshot")),
            keyring: None,
            jobs: 4,
            offline: false,
        }
    }

    fn store(&self) -> Store {
        Store::new(self.folder.path())
    }

    fn fetch_with(&self, network: &cli::Network, debs: &[Deb]) -> Result<Vec<Fetched>> {
        let fetcher = Fetcher::new(network, None, self.store(), Progress::quiet())?;
        let fetcher = fetcher.with_backoff(Duration::from_millis(1));
        fetcher.packages(&lock(debs), &BTreeSet::from(["lb".to_owned()]))
    }

    fn fetch(&self, debs: &[Deb]) -> Result<Vec<Fetched>> {
        self.fetch_with(&self.network(), debs)
    }

    /// The refusal, word for word, and that nothing is left of the package.
    fn check_refusal(&self, deb: &Deb, message: &str) {
        let error = self.fetch(std::slice::from_ref(deb)).expect_err("refused");
        assert_eq!(Report(&error).to_string(), message);
        assert_eq!(self.files(), Vec::<PathBuf>::new());
    }

    /// The files of the cache.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("readable") {
                let path = entry.expect("readable").path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        files.sort();
        files
    }

    /// The only file of the cache.
    fn file(&self) -> PathBuf {
        let files = self.files();
        assert_eq!(files.len(), 1, "{files:?}");
        files.into_iter().next().expect("one")
    }
}

fn deb() -> Deb {
    Deb::new("haproxy", "3.0.11-1", "")
}

/// Where the server has a package.
fn at(deb: &Deb) -> String {
    format!("debian/{}", deb.path())
}

/// A lock of one role with these packages.
fn lock(debs: &[Deb]) -> Lock {
    let role = LockedRole {
        request: Digest::of(b""),
        architecture: "amd64".into(),
        suites: BTreeSet::new(),
        install: BTreeSet::new(),
        omit: BTreeSet::new(),
        prefer: BTreeMap::new(),
        from: BTreeMap::new(),
    };
    let package = |deb: &Deb| LockedPackage {
        name: deb.name.clone(),
        architecture: "amd64".into(),
        version: deb.version.clone(),
        archive: "debian".into(),
        path: deb.path(),
        size: deb.bytes.len() as u64,
        sha256: deb.digest(),
        roles: BTreeSet::from(["lb".to_owned()]),
    };
    let archive = LockedArchive {
        archive: "debian".into(),
        suite: "trixie".into(),
        date: LOCKED,
        release: Digest::of(b""),
    };
    Lock {
        schema: 1,
        archives: vec![archive],
        roles: BTreeMap::from([("lb".to_owned(), role)]),
        kubernetes: BTreeMap::new(),
        images: BTreeMap::new(),
        packages: debs.iter().map(package).collect(),
    }
}

fn names(fetched: &[Fetched]) -> Vec<&str> {
    fetched.iter().map(|package| package.locked().name.as_str()).collect()
}

#[test]
fn packages_come_once_and_in_the_order_of_the_lock() {
    let debs: Vec<Deb> = ('a'..='t').map(|name| Deb::new(&name.to_string(), "1", "")).collect();
    let world = World::with(&debs);
    let expect: Vec<&str> = debs.iter().map(|deb| deb.name.as_str()).collect();
    assert_eq!(names(&world.fetch(&debs).unwrap()), expect);
    assert_eq!(world.server.log().len(), debs.len());
    assert_eq!(names(&world.fetch(&debs).unwrap()), expect);
    let offline = cli::Network { offline: true, ..world.network() };
    assert_eq!(names(&world.fetch_with(&offline, &debs).unwrap()), expect);
    assert_eq!(world.server.log(), Vec::<String>::new());
}

#[test]
fn a_download_that_breaks_off_is_resumed() {
    let deb = deb();
    let world = World::with(std::slice::from_ref(&deb));
    world.server.fault(&at(&deb), Fault::Truncate(1000));
    world.fetch(std::slice::from_ref(&deb)).unwrap();
    let path = at(&deb);
    assert_eq!(world.server.log(), [format!("GET /{path}"), format!("GET /{path} bytes=1000-")]);
    assert_eq!(fs::read(world.file()).unwrap(), deb.bytes);
}

#[test]
fn a_later_run_resumes_where_an_earlier_one_ended() {
    let deb = deb();
    let world = World::with(std::slice::from_ref(&deb));
    world.fetch(std::slice::from_ref(&deb)).unwrap();
    let path = world.file();
    let partial = path.with_extension("partial");
    fs::write(&partial, &deb.bytes[..5000]).unwrap();
    fs::remove_file(&path).unwrap();
    world.server.log();
    world.fetch(std::slice::from_ref(&deb)).unwrap();
    assert_eq!(world.server.log(), [format!("GET /{} bytes=5000-", at(&deb))]);
    assert_eq!(fs::read(&path).unwrap(), deb.bytes);

    // What an earlier run left may also be whole, too long, or of something else.
    for (left, requests) in [
        (deb.bytes.clone(), 0),
        (deb.bytes.repeat(2), 1),
        (vec![0; 5000], 2),
        (vec![0; deb.bytes.len()], 1),
    ] {
        fs::write(&partial, &left).unwrap();
        fs::remove_file(&path).unwrap();
        world.fetch(std::slice::from_ref(&deb)).unwrap();
        assert_eq!(world.server.log().len(), requests, "{} bytes were left", left.len());
        assert_eq!(fs::read(world.file()).unwrap(), deb.bytes);
    }
}

#[test]
fn a_server_without_ranges_sends_the_whole_file_again() {
    let deb = deb();
    let world = World::with(std::slice::from_ref(&deb));
    world.fetch(std::slice::from_ref(&deb)).unwrap();
    let path = world.file();
    fs::write(path.with_extension("partial"), &deb.bytes[..5000]).unwrap();
    fs::remove_file(&path).unwrap();
    world.server.fault(&at(&deb), Fault::NoRanges);
    world.fetch(std::slice::from_ref(&deb)).unwrap();
    assert_eq!(fs::read(world.file()).unwrap(), deb.bytes);
}

#[test]
fn passing_errors_pass() {
    let deb = deb();
    let world = World::with(std::slice::from_ref(&deb));
    world.server.fault(&at(&deb), Fault::Times(2, 500));
    world.fetch(std::slice::from_ref(&deb)).unwrap();
    assert_eq!(world.server.log().len(), 3);
}

#[test]
fn redirects_are_followed() {
    let deb = deb();
    let world = World::with(&[]);
    world.server.put("elsewhere", deb.bytes.clone());
    world.server.fault(&at(&deb), Fault::Redirect("elsewhere".into()));
    world.fetch(std::slice::from_ref(&deb)).unwrap();
    assert_eq!(fs::read(world.file()).unwrap(), deb.bytes);
}

#[test]
fn an_altered_package_is_refused_and_not_kept() {
    let deb = deb();
    let world = World::with(std::slice::from_ref(&deb));
    world.server.fault(&at(&deb), Fault::Alter(700));
    let mut altered = deb.bytes.clone();
    altered[700] ^= 1;
    let message = format!(
        "error: fetching 'haproxy_3.0.11-1_amd64.deb' for role 'lb'\n\
         cause: sha256 differs: expected {}, found {} ({} from '{}')\n\
         help:  nothing was kept; retry, or name another mirror with --mirror URL",
        deb.digest().short(),
        Digest::of(&altered).short(),
        kiln::units::Bytes(deb.bytes.len() as u64),
        world.server.host(),
    );
    world.check_refusal(&deb, &message);
    // It is a fact and no accident, so it was not asked for again.
    assert_eq!(world.server.log().len(), 1);
}

#[test]
fn a_package_of_another_size_is_refused() {
    let deb = deb();
    let world = World::with(std::slice::from_ref(&deb));
    world.server.fault(&at(&deb), Fault::Append(1));
    let message = format!(
        "error: fetching 'haproxy_3.0.11-1_amd64.deb' for role 'lb'\n\
         cause: size differs: expected {}, '{}' gives more\n\
         help:  nothing was kept; retry, or name another mirror with --mirror URL",
        kiln::units::Bytes(deb.bytes.len() as u64),
        world.server.host(),
    );
    world.check_refusal(&deb, &message);
}

#[test]
fn a_server_that_never_answers_well_is_named() {
    let deb = deb();
    let world = World::with(std::slice::from_ref(&deb));
    world.server.fault(&at(&deb), Fault::Status(503));
    let message = format!(
        "error: fetching 'haproxy_3.0.11-1_amd64.deb' for role 'lb'\n\
         cause: '{}' is out of reach: it answers 503 Service Unavailable (5 tries)\n\
         help:  check the network, the proxy settings, and the mirror's address",
        world.server.url(&at(&deb)),
    );
    world.check_refusal(&deb, &message);
    world.server.fault(&at(&deb), Fault::Status(403));
    let message = format!(
        "error: fetching 'haproxy_3.0.11-1_amd64.deb' for role 'lb'\n\
         cause: '{}' answers 403 Forbidden\n\
         help:  check the mirror's address and the proxy settings",
        world.server.url(&at(&deb)),
    );
    world.check_refusal(&deb, &message);
}

#[test]
fn a_package_that_left_the_archive_comes_from_the_snapshot_of_the_locked_date() {
    let deb = deb();
    let world = World::with(&[]);
    let snapshot = |date: &str| format!("snapshot/debian/{date}/{}", deb.path());
    world.server.put(&snapshot("20260912T195541Z"), deb.bytes.clone());
    world.fetch(std::slice::from_ref(&deb)).unwrap();
    assert_eq!(
        world.server.log(),
        [
            format!("GET /{}", at(&deb)),
            format!("GET /{}", snapshot("20260912T075541Z")),
            format!("GET /{}", snapshot("20260912T195541Z")),
        ]
    );
    assert_eq!(fs::read(world.file()).unwrap(), deb.bytes);
}

#[test]
fn a_package_that_is_nowhere_is_refused_with_the_way_out() {
    let deb = deb();
    let world = World::with(&[]);
    let snapshot = |date: &str| world.server.url(&format!("snapshot/debian/{date}/{}", deb.path()));
    let message = format!(
        "error: fetching 'haproxy_3.0.11-1_amd64.deb' for role 'lb'\n\
         cause: it has left the archive: '{}' answers 404 Not Found, '{}' answers 404 Not Found, \
         '{}' answers 404 Not Found\n\
         help:  run 'kiln lock --repair' to pin what the archive has now",
        world.server.url(&at(&deb)),
        snapshot("20260912T075541Z"),
        snapshot("20260912T195541Z"),
    );
    world.check_refusal(&deb, &message);
}

#[test]
fn without_a_network_only_the_cache_counts() {
    let deb = deb();
    let world = World::with(std::slice::from_ref(&deb));
    let offline = cli::Network { offline: true, ..world.network() };
    let error = world.fetch_with(&offline, std::slice::from_ref(&deb)).unwrap_err();
    assert_eq!(
        Report(&error).to_string(),
        "error: fetching 'haproxy_3.0.11-1_amd64.deb' for role 'lb'\n\
         cause: 'haproxy_3.0.11-1_amd64.deb' is not in the cache, and --offline forbids the network\n\
         help:  run 'kiln fetch' once without --offline"
    );
    assert_eq!(world.server.log(), Vec::<String>::new());
}

#[test]
fn damage_in_the_cache_is_healed() {
    let deb = deb();
    let world = World::with(std::slice::from_ref(&deb));
    let fetched = world.fetch(std::slice::from_ref(&deb)).unwrap();
    let path = world.file();
    let mut bytes = deb.bytes.clone();
    bytes[900] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = Fetched::verify(&path, fetched[0].locked()).unwrap_err().to_string();
    assert!(error.contains("differs: expected "), "{error}");
    world.fetch(std::slice::from_ref(&deb)).unwrap();
    assert_eq!(fs::read(&path).unwrap(), deb.bytes);
    assert_eq!(world.server.log().len(), 2);
}

#[test]
fn packages_that_do_not_fit_are_not_begun() {
    let world = World::with(&[]);
    let mut lock = lock(&[deb()]);
    lock.packages[0].size = u64::MAX;
    let fetcher = Fetcher::new(&world.network(), None, world.store(), Progress::quiet()).unwrap();
    let error = fetcher.packages(&lock, &BTreeSet::from(["lb".to_owned()])).unwrap_err();
    let report = Report(&error).to_string();
    assert!(report.starts_with("error: fetching packages\ncause: '"), "{report}");
    assert!(report.contains(" free, 17179869184.0 GiB are needed for the packages"), "{report}");
    assert!(report.ends_with("another place with --cache DIR"), "{report}");
    assert_eq!(world.server.log(), Vec::<String>::new());
}

#[test]
fn two_runs_at_once_share_one_download() {
    let deb = deb();
    let world = World::with(std::slice::from_ref(&deb));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| world.fetch(std::slice::from_ref(&deb)).unwrap());
        }
    });
    assert_eq!(world.server.log().len(), 1);
    assert_eq!(fs::read(world.file()).unwrap(), deb.bytes);
}

#[test]
fn a_folder_is_an_archive_too() {
    let deb = deb();
    let world = World::with(&[]);
    let mirror = tempfile::tempdir().unwrap();
    let path = mirror.path().join("debian").join(deb.path());
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, &deb.bytes).unwrap();
    let url = format!("file://{}/debian/", mirror.path().display());
    let network = cli::Network { mirror: Some(url), ..world.network() };
    world.fetch_with(&network, std::slice::from_ref(&deb)).unwrap();
    assert_eq!(fs::read(world.file()).unwrap(), deb.bytes);
}

#[test]
fn an_address_of_another_kind_is_refused() {
    let world = World::with(&[]);
    let network = cli::Network { mirror: Some("ftp://a.example/debian".into()), ..world.network() };
    let error = world.fetch_with(&network, &[]).unwrap_err();
    assert_eq!(
        Report(&error).to_string(),
        "error: 'ftp://a.example/debian' is no address of an archive\n\
         help:  write one such as http://ftp.debian.org/debian"
    );
}

#[test]
fn a_package_is_unpacked_once_and_damage_is_noticed() {
    let deb = deb();
    let world = World::with(std::slice::from_ref(&deb));
    let fetched = world.fetch(std::slice::from_ref(&deb)).unwrap();
    let store = world.store();
    let read = || {
        let unpacked = store.unpacked(&fetched[0]).unwrap();
        let mut bytes = vec![0; usize::try_from(unpacked.len).unwrap()];
        unpacked.source.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    };
    let tar = read();
    let mut member = Vec::new();
    let mut archive = tar::Archive::new(&tar[..]);
    let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
    entry.read_to_end(&mut member).unwrap();
    assert!(member.starts_with(b"3.0.11-1\n"));

    let spool = world.files().into_iter().find(|path| path.extension().unwrap() == "tar").unwrap();
    let first = fs::metadata(&spool).unwrap().modified().unwrap();
    assert_eq!(read(), tar);
    assert_eq!(fs::metadata(&spool).unwrap().modified().unwrap(), first);
    fs::write(&spool, &tar[..tar.len() / 2]).unwrap();
    assert_eq!(read(), tar);
    assert_eq!(fs::read(&spool).unwrap(), tar);
    assert_eq!(world.files().len(), 3);
}
