// SPDX-License-Identifier: Apache-2.0
//! What Debian's own tools say about the real archive, and what we say.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use kiln::{
    debian::{
        control,
        date::Date,
        deb::{self, Entry, Kind},
        index,
        keyring::Keyring,
        release,
        solve::{self, Request, Universe, mixed::Mixture},
        version::Version,
    },
    digest::Digest,
    plan::{self, Given},
    sys,
};

use crate::support::debian_apt::{BASE_AND_NEWER, Suite, apt, mixed_apt};

#[test]
fn the_packages_of_each_role_are_those_that_apt_chooses() {
    let workspace = sys::workspace::load(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("readable");
    let given = Given { epoch: 0, init: Digest::of(b"") };
    let plans = plan::plan(&workspace, &[], given).expect("the quickstart is valid");
    assert_eq!(plans.len(), 3, "a role is missing");
    for plan in plans {
        let mut install = plan.profile.packages.install.clone();
        install.insert(plan.profile.kernel.package.clone());
        compare_with_apt(&install.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

/// Deep graphs: alternatives, virtual packages, scripts' interpreters and many libraries.
#[test]
fn larger_sets_are_those_that_apt_chooses() {
    for more in [
        "kubernetes-client iptables ipset ipvsadm conntrack ethtool socat nfs-common grep procps",
        "bash login openssh-server sudo python3 libnss-myhostname libnss-resolve libpam-runtime",
    ] {
        let base = ["base-files", "systemd-sysv", "linux-image-amd64"];
        compare_with_apt(&base.into_iter().chain(more.split(' ')).collect::<Vec<_>>());
    }
}

/// Packages of a newer suite and what they need of it, among a base that is preferred.
#[test]
fn packages_of_a_newer_suite_with_what_they_need_can_be_installed() {
    let [base_suite, newer_suite] = BASE_AND_NEWER;
    let suites = mixed_apt().suites();
    let universe = |name: &str| {
        let suite = suites.iter().find(|suite| suite.name == name).expect(name);
        let packages = index::parse(&suite.packages, "amd64").expect(name);
        Universe::new("amd64", [(name.to_owned(), packages)]).expect(name)
    };
    let (base, newer) = (universe(base_suite), universe(newer_suite));
    let always = ["base-files", "systemd-sysv", "linux-image-cloud-amd64", "haproxy", "openssl"];
    // What is asked for, and what that needs of the newer suite.
    for (names, needs) in [
        (&["containerd"][..], &[][..]),
        (&["runc"], &["base-files", "libc6"]),
        (&["conntrack", "etcd-server"], &[]),
        (&["nftables"], &["base-files", "libc6", "libgmp10", "libnftables1", "libnftnl11"]),
    ] {
        let from = names.iter().map(|name| (name.to_string(), newer_suite.to_owned())).collect();
        let others = BTreeMap::from([(newer_suite.to_owned(), newer.clone())]);
        let mixture = Mixture::new(base.clone(), others, &from).expect("well-formed");
        let asked =
            always.iter().chain(names).map(|name| (name.to_string(), "the test".to_owned()));
        let request = Request { install: asked.collect(), ..Request::default() };
        let solution = mixture.solve(&request).expect("has a solution");
        let ours: BTreeMap<String, String> = solution
            .packages()
            .map(|candidate| &candidate.package)
            .map(|package| (package.name.clone(), package.version.to_string()))
            .collect();
        let moved = solution.packages().filter(|candidate| &*candidate.archive == newer_suite);
        let moved: BTreeSet<&str> = moved.map(|candidate| &*candidate.package.name).collect();
        assert_eq!(moved, names.iter().chain(needs).copied().collect(), "{names:?}");
        // apt chooses more of the newer suite than is needed; whether a choice can be installed, it
        // judges well: every version is prescribed, and it must find nothing missing or broken.
        let exact: Vec<String> =
            ours.iter().map(|(name, version)| format!("{name}={version}")).collect();
        let exact: Vec<&str> = exact.iter().map(String::as_str).collect();
        let theirs = mixed_apt().simulate_install(&exact);
        let differ = |name: &&String| ours.get(*name) != theirs.get(*name);
        let all: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        let differences: Vec<_> = all
            .into_iter()
            .filter(differ)
            .map(|name| format!("{name}: ours {:?}, apt's {:?}", ours.get(name), theirs.get(name)))
            .collect();
        assert!(differences.is_empty(), "{names:?}: {differences:#?}");
    }
}

/// Our choice for names without omissions equals apt's, version by version.
fn compare_with_apt(install: &[&str]) {
    let request = Request {
        install: install.iter().map(|name| (name.to_string(), "the test".to_owned())).collect(),
        ..Request::default()
    };
    let solution = solve::solve(universe(), &request).expect("has a solution");
    let ours: BTreeMap<String, String> = solution
        .packages()
        .map(|candidate| &candidate.package)
        .map(|package| (package.name.clone(), package.version.to_string()))
        .collect();
    let theirs = apt().simulate_install(install);
    let mut differences = String::new();
    let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    for name in names.into_iter().filter(|name| ours.get(*name) != theirs.get(*name)) {
        let (ours, theirs) = (ours.get(name), theirs.get(name));
        let why = solution.explain(name);
        writeln!(differences, "{name}: ours {ours:?} ({why:?}), apt's {theirs:?}").expect("memory");
    }
    assert!(theirs.len() >= install.len() && differences.is_empty(), "{differences}");
}

/// The real archive: signatures verified, indices compared with their signed digests.
fn universe() -> &'static Universe {
    static UNIVERSE: OnceLock<Universe> = OnceLock::new();
    UNIVERSE.get_or_init(|| {
        let archives = apt().suites().into_iter().map(|suite| {
            let packages = index::parse(&suite.packages, "amd64").expect(suite.name);
            (suite.archive.to_owned(), packages)
        });
        Universe::new("amd64", archives).expect("the real archive is well-formed")
    })
}

#[test]
fn the_real_archive_is_signed_by_the_embedded_keys() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    for suite in apt().suites() {
        let release = verify(&suite, now).expect(suite.name);
        let file = release.file("main/binary-amd64/Packages").expect("listed");
        assert_eq!(file.size, suite.packages.len() as u64, "{}", suite.name);
        assert_eq!(file.sha256, Digest::of(&suite.packages), "{}", suite.name);
        assert!(release.acquire_by_hash);

        let mut altered = suite.inrelease.clone();
        let middle = altered.len() / 2;
        altered[middle] = if altered[middle] == b'0' { b'1' } else { b'0' };
        let altered = Suite { inrelease: altered, ..suite };
        let error = verify(&altered, now).expect_err("one byte is changed");
        assert!(matches!(error, release::Error::BadSignature { .. }), "{error}");
    }
}

fn verify(suite: &Suite, now: Duration) -> Result<release::Release, release::Error> {
    let expect = release::Expect { suite: suite.name };
    release::verify(&suite.inrelease, &Keyring::debian(), now.as_secs(), &expect)
}

#[test]
fn every_relation_of_the_real_archive_is_understood() {
    use kiln::debian::dependency::{groups, relations};
    for suite in apt().suites() {
        for package in index::parse(&suite.packages, "amd64").expect(suite.name) {
            for field in [&package.pre_depends, &package.depends] {
                groups(field).expect(&package.name);
            }
            for field in [&package.provides, &package.conflicts, &package.breaks, &package.replaces]
            {
                relations(field).expect(&package.name);
            }
        }
    }
}

#[test]
fn versions_are_ordered_as_dpkg_orders_them() {
    let versions = versions();
    let mut script = String::from("set -f\n");
    let mut count = 0;
    for (index, left) in versions.iter().enumerate() {
        // Neighbors differ little; a far one differs from the first character on.
        for step in [1, 2, 3, 7, 501] {
            let right = &versions[(index + step) % versions.len()];
            let (a, b): (Version, Version) =
                (left.parse().expect(left), right.parse().expect(right));
            let sign = match a.cmp(&b) {
                std::cmp::Ordering::Less => "lt",
                std::cmp::Ordering::Equal => "eq",
                std::cmp::Ordering::Greater => "gt",
            };
            count += 1;
            writeln!(
                script,
                "dpkg --compare-versions '{left}' {sign} '{right}' || echo '{left} not {sign} {right}'"
            )
            .expect("memory");
        }
    }
    assert!(count >= 3000, "{count} pairs");
    let mut shell =
        Command::new("sh").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a shell");
    let mut input = shell.stdin.take().expect("piped");
    let writer = std::thread::spawn(move || input.write_all(script.as_bytes()));
    let output = shell.wait_with_output().expect("ends");
    writer.join().expect("no panic").expect("the shell reads all");
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
}

/// Versions from parts that sort in surprising ways, in an order that puts like beside like.
fn versions() -> Vec<String> {
    let uppers = [
        "0",
        "00",
        "1",
        "01",
        "1.",
        "1.0",
        "1.0.0",
        "1.00",
        "1.0a",
        "1.0A",
        "1.0~",
        "1.0~~",
        "1.0~a",
        "1.0+",
        "1.0+a",
        "1.0-1",
        "1.0-a",
        "1.a",
        "1a",
        "1~",
        "2",
        "10",
        "9",
        "1.10",
        "1.9",
        "1.09",
        "1:2",
        "99999999999999999999",
        "99999999999999999998",
    ];
    let revisions = ["", "-0", "-1", "-01", "-1~", "-1+b1", "-1.1", "-a", "-~", "-+"];
    let epochs = ["", "0:", "1:"];
    let mut versions = Vec::new();
    for upper in uppers {
        for revision in revisions {
            for epoch in epochs {
                let text = format!("{epoch}{upper}{revision}");
                // A colon needs an epoch before it.
                if text.parse::<Version>().is_ok() {
                    versions.push(text);
                }
            }
        }
    }
    versions
}

#[test]
fn entries_are_those_that_dpkg_deb_lists() {
    // Plain files; setgid and other groups; hard links; symlinks, and a stream of zstd or xz.
    for name in ["base-files", "passwd", "perl-base", "dash", "dbus-daemon", "ca-certificates"] {
        let path = apt().download(name);
        let bytes = fs::read(&path).expect(name);
        let candidate = universe().get(name).expect(name);
        assert_eq!(Digest::of(&bytes), candidate.package.sha256, "{name}");
        compare_control(name, &bytes);
        compare_data(&path, &bytes);
    }
}

fn compare_control(name: &str, bytes: &[u8]) {
    let text = deb::control(bytes).expect(name);
    let stanza = control::single(&text).expect(name);
    let package = &universe().get(name).expect(name).package;
    assert_eq!(stanza.get("Package"), Some(name));
    assert_eq!(stanza.get("Version"), Some(package.version.as_str()));
    assert_eq!(stanza.get("Depends").unwrap_or_default(), &*package.depends);
}

fn compare_data(path: &Path, bytes: &[u8]) {
    let oracle = |option: &str| {
        let mut command = Command::new("dpkg-deb");
        let output =
            command.arg(option).arg(path).env("TZ", "UTC").env("LC_ALL", "C.UTF-8").output();
        let output = output.expect("dpkg-deb");
        assert!(output.status.success(), "{path:?}");
        output.stdout
    };
    let mut tar = Vec::new();
    deb::data_tar(bytes).expect("a package").read_to_end(&mut tar).expect("decompresses");
    assert!(tar == oracle("--fsys-tarfile"), "{path:?}: the tar archives differ");

    let mut spool = tempfile::NamedTempFile::new().expect("a file");
    spool.write_all(&tar).expect("space");
    let (source, len) = sys::fs::open_source(spool.path()).expect("opens");
    let entries = deb::entries(source, len).expect("well-formed");
    let ours: Vec<String> = entries.iter().map(listing).collect();
    let listed = String::from_utf8(oracle("--contents")).expect("UTF-8");
    let theirs: Vec<String> = listed
        .lines()
        .map(|line| line.split_ascii_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs, "{path:?}");
    }
    assert_eq!(ours.len(), theirs.len(), "{path:?}");
}

/// An entry as `dpkg-deb --contents` prints it, with single blanks.
fn listing(entry: &Entry) -> String {
    let mode = entry.meta.mode;
    let bit = |bit: u16, sign: char| if mode & bit != 0 { sign } else { '-' };
    let execute = |bit: u16, special: u16, set: char, unset: char| match (
        mode & bit != 0,
        mode & special != 0,
    ) {
        (true, true) => set,
        (false, true) => unset,
        (true, false) => 'x',
        (false, false) => '-',
    };
    let path = entry.path.relative();
    let (sign, size, name) = match &entry.kind {
        Kind::Directory if path.is_empty() => ('d', 0, "./".to_owned()),
        Kind::Directory => ('d', 0, format!("./{path}/")),
        Kind::File(content) => ('-', content.len(), format!("./{path}")),
        Kind::Symlink(target) => ('l', 0, format!("./{path} -> {target}")),
        Kind::HardLink(target) => ('h', 0, format!("./{path} link to ./{}", target.relative())),
        other => panic!("{other:?} in a package"),
    };
    let time = Date(entry.meta.mtime.into()).to_string();
    let [_, day, month, year, clock, _] = time.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{time}")
    };
    let months = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec";
    let month = months.split(' ').position(|name| name == month).expect("a month") + 1;
    format!(
        "{sign}{}{}{}{}{}{}{}{}{} {}/{} {size} {year}-{month:02}-{day} {} {name}",
        bit(0o400, 'r'),
        bit(0o200, 'w'),
        execute(0o100, 0o4000, 's', 'S'),
        bit(0o040, 'r'),
        bit(0o020, 'w'),
        execute(0o010, 0o2000, 's', 'S'),
        bit(0o004, 'r'),
        bit(0o002, 'w'),
        execute(0o001, 0o1000, 't', 'T'),
        entry.owner_name,
        entry.group_name,
        &clock[..5],
    )
}
