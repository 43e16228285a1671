// SPDX-License-Identifier: Apache-2.0
//! Programs of Kubernetes: pinned from folders and servers, and taken as they were pinned.

use std::{fs, path::Path};

use kiln::{
    checksum::Kind,
    cli,
    error::Report,
    fetch::Fetcher,
    kubernetes::release::{Release, Source},
    lock::Lock,
    progress::Progress,
    store::Store,
};

use crate::support::{
    archive::{Fault, Suite},
    release::{
        ARM64, MASTER, NODE, cluster, debs, digits, elf, place, program, publish, publish_release,
        workspace,
    },
    workspace::Workspace,
};

pub(super) const V: &str = "v1.34.1";
const SERVER: &str = "http://SERVER/release/{version}/bin/linux/amd64/{program}";

fn on_server() -> Workspace {
    workspace(&format!("version: {V}, binaries: '{SERVER}'"))
}

/// A workspace with the programs in a folder.
fn in_folder() -> Workspace {
    let workspace = workspace(&format!("version: {V}, binaries: up"));
    for name in MASTER.into_iter().chain(NODE) {
        put(&workspace, &format!("up/{name}"), &program(name, V));
    }
    workspace
}

pub(super) fn put(workspace: &Workspace, name: &str, bytes: &[u8]) {
    let path = workspace.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// What the lock says of Kubernetes, with digits and sizes as they are.
pub(super) fn section(workspace: &Workspace) -> String {
    let lock = workspace.read("kiln.lock");
    let lines: Vec<&str> =
        lock.lines().skip_while(|line| !line.starts_with("[kubernetes")).collect();
    let end = lines.iter().position(|line| line.starts_with("[[packages")).unwrap_or(lines.len());
    lines[..end].join("\n").replace(&workspace.server.host(), "SERVER")
}

/// The programs that a build of both roles would take.
pub(super) fn taken(workspace: &Workspace) -> anyhow::Result<Vec<&'static str>> {
    let lock = Lock::parse(&workspace.read("kiln.lock")).unwrap();
    let text = workspace.read("cluster.yaml");
    let source = text.split("binaries: ").nth(1).unwrap().split(" }").next().unwrap();
    let source: Source = source.trim_matches('\'').parse().unwrap();
    let network = cli::Network {
        mirror: Some(workspace.server.url("debian")),
        security_mirror: None,
        snapshot_mirror: None,
        keyring: None,
        jobs: 2,
        offline: true,
    };
    let store = Store::new(&workspace.path("cache"));
    let fetcher = Fetcher::new(&network, None, store, Progress::quiet())?;
    let mut taken = Vec::new();
    for (version, locked) in &lock.kubernetes {
        let programs = MASTER.into_iter().chain(NODE).collect();
        let release = Release { version: *version, source: &source, programs };
        for (name, found) in fetcher.programs(Path::new(&workspace.path("")), &release, locked)? {
            let bytes = found.into_content().to_vec()?;
            assert_eq!(bytes, program(name, &version.to_string()));
            taken.push(name);
        }
    }
    Ok(taken)
}

pub(super) fn all() -> Vec<&'static str> {
    let mut names: Vec<_> = MASTER.into_iter().chain(NODE).collect();
    names.sort_unstable();
    names
}

/// The last lines of a report: before them, progress is told.
pub(super) fn end(report: &str) -> String {
    let lines: Vec<&str> = report.lines().collect();
    let start = lines.iter().rposition(|line| line.starts_with("error: ")).unwrap_or(0);
    lines[start..].join("\n")
}

#[test]
fn programs_of_a_server_are_pinned_by_what_is_published_and_fetched_once() {
    for kind in Kind::ALL {
        let workspace = on_server();
        publish_release(&workspace, V, kind);
        workspace.run(&["lock"]).done();
        let kubelet = program("kubelet", V);
        let expected = format!(
            "[kubernetes.\"{V}\".programs.kubelet]\nsize = {}\nsha256 = \"{}\"\n\
             url = \"http://SERVER/release/{V}/bin/linux/amd64/kubelet\"\npublished = \"{}:{}\"\n",
            kubelet.len(),
            digits(Kind::Sha256, &kubelet),
            kind.name(),
            digits(kind, &kubelet),
        );
        assert!(section(&workspace).contains(&expected), "{}", section(&workspace));
        assert_eq!(section(&workspace).matches(".programs.").count(), 6);

        // A second lock asks for the checksums, and for nothing else of the release.
        workspace.server.log();
        workspace.run(&["lock"]).done();
        let log = workspace.server.log();
        assert!(
            log.iter()
                .filter(|line| line.contains("/release/"))
                .all(|line| { line.ends_with(".sha256") || line.ends_with(".sha512") })
        );
        workspace.run(&["fetch"]).done();
        workspace.server.log();
        workspace.run(&["fetch", "--offline"]).done();
        assert_eq!((workspace.server.log(), taken(&workspace).unwrap()), (Vec::new(), all()));

        // Without the cache, the lock alone says where they are and what they must be.
        fs::remove_dir_all(workspace.path("cache")).unwrap();
        workspace.run(&["fetch", "node"]).done();
        let log = workspace.server.log();
        let of_release: Vec<_> = log.iter().filter(|line| line.contains("/release/")).collect();
        assert_eq!(of_release.len(), 2, "{of_release:?}");
        assert!(taken(&workspace).is_err());
        workspace.run(&["fetch"]).done();
        assert_eq!(taken(&workspace).unwrap(), all());
    }
}

#[test]
fn nodes_may_run_an_older_release_than_masters() {
    let workspace =
        workspace(&format!("version: {V}, node-version: v1.32.9, binaries: '{SERVER}'"));
    publish_release(&workspace, V, Kind::Sha256);
    publish_release(&workspace, "v1.32.9", Kind::Sha256);
    workspace.run(&["lock"]).done();
    let heads: Vec<String> = section(&workspace)
        .lines()
        .filter(|line| line.starts_with('['))
        .map(|line| line.replace(".programs", "").replace("kubernetes.", ""))
        .collect();
    assert_eq!(
        heads,
        [
            "[\"v1.32.9\".kube-proxy]",
            "[\"v1.32.9\".kubelet]",
            "[\"v1.34.1\".kube-apiserver]",
            "[\"v1.34.1\".kube-controller-manager]",
            "[\"v1.34.1\".kube-scheduler]",
            "[\"v1.34.1\".kubectl]",
        ]
    );
    workspace.run(&["lock", "--check"]).done();
}

#[test]
fn a_release_that_changed_is_refused_whatever_is_published_of_it() {
    let kubelet = program("kubelet", V);
    let other = [&kubelet[..], b"x"].concat();
    for (before, after) in [(Kind::Sha256, Kind::Sha512), (Kind::Sha512, Kind::Sha256)] {
        let workspace = on_server();
        publish_release(&workspace, V, before);
        workspace.run(&["lock"]).done();
        let path = place("kubelet", V);
        workspace.server.remove(&format!("{path}.{}", before.name()));
        publish(&workspace, &path, &kubelet, after);
        workspace.run(&["lock"]).done();
        workspace.server.remove(&format!("{path}.{}", after.name()));
        publish(&workspace, &path, &other, before);
        let lock = workspace.read("kiln.lock");
        let report = workspace.run(&["lock"]).refused();
        assert!(report.contains(&format!("cause: sha256 of 'kubelet' {V} changed: ")), "{report}");
        assert_eq!(workspace.read("kiln.lock"), lock);
    }
}

#[test]
fn without_a_network_a_lock_keeps_what_was_published() {
    let workspace = on_server();
    publish_release(&workspace, V, Kind::Sha256);
    workspace.run(&["lock"]).done();
    let lock = workspace.read("kiln.lock");
    workspace.run(&["lock", "--offline"]).done();
    assert_eq!(workspace.read("kiln.lock"), lock);
    cluster(&workspace, &format!("version: v1.34.2, binaries: '{SERVER}'"));
    let report = end(&workspace.run(&["lock", "--offline"]).refused());
    assert!(report.contains("and --offline forbids the network"), "{report}");
}

#[test]
fn a_release_that_changed_is_refused() {
    let workspace = on_server();
    publish_release(&workspace, V, Kind::Sha256);
    workspace.run(&["lock"]).done();
    let lock = workspace.read("kiln.lock");
    let kubelet = program("kubelet", V);
    let other = [&kubelet[..], b"x"].concat();
    publish(&workspace, &place("kubelet", V), &other, Kind::Sha256);
    let short = |bytes: &[u8]| digits(Kind::Sha256, bytes)[..12].to_owned();
    assert_eq!(
        end(&workspace.run(&["lock"]).refused()),
        format!(
            "error: pinning Kubernetes {V}\n\
             cause: sha256 of 'kubelet' {V} changed: kiln.lock has {}, \
             'http://SERVER/release/{V}/bin/linux/amd64/kubelet' now has {}\n\
             help:  a release never changes: find out which is right before anything else; to take \
             the new one on purpose, remove kiln.lock first",
            short(&kubelet),
            short(&other)
        )
    );
    assert_eq!(workspace.read("kiln.lock"), lock);
    // The lock needs nobody's word: what it pins is taken from the cache, or refused.
    workspace.run(&["fetch"]).done();
    fs::remove_dir_all(workspace.path("cache")).unwrap();
    assert_eq!(
        end(&workspace.run(&["fetch"]).refused()),
        format!(
            "error: taking the programs of Kubernetes {V}\n\
             cause: size differs: expected 2.1 KiB, 'SERVER' gives more \
             (fetching 'http://SERVER/release/{V}/bin/linux/amd64/kubelet')\n\
             help:  nothing was kept; retry, or name another source under 'kubernetes.binaries'"
        )
    );
}

/// What `kiln lock` says if the server has something else as kubelet, or beside it.
fn refused_from_server(change: impl Fn(&Workspace, &str)) -> String {
    let workspace = on_server();
    publish_release(&workspace, V, Kind::Sha256);
    change(&workspace, &place("kubelet", V));
    let report = end(&workspace.run(&["lock"]).refused());
    assert_eq!(workspace.read("kiln.lock"), "");
    let left = workspace.files("cache/programs/sha256");
    let kubelet = digits(Kind::Sha256, &program("kubelet", V));
    assert!(left.iter().all(|path| !path.ends_with(&kubelet)), "{left:?}");
    let report = report.replace(&format!("http://SERVER/release/{V}/bin/linux/amd64/"), "BASE/");
    report.strip_prefix(&format!("error: pinning Kubernetes {V}\n")).unwrap().to_owned()
}

#[test]
fn what_a_server_gives_instead_of_a_checksum_is_said() {
    let advice = "help:  see what the address gives: it must be the digits that are published for the \
                  release, and perhaps the file's name";
    let page = refused_from_server(|workspace, path| {
        workspace.server.put(&format!("{path}.sha256"), "<!DOCTYPE html><title>Sign in</title>");
    });
    assert_eq!(
        page,
        format!(
            "cause: it is a web page, not a checksum \
             (reading the checksum of 'kubelet' / reading 'BASE/kubelet.sha256')\n{advice}"
        )
    );
    let short = refused_from_server(|workspace, path| {
        workspace.server.put(&format!("{path}.sha256"), "0123abc");
    });
    assert_eq!(
        short,
        format!(
            "cause: expected 64 hex digits, found 7 \
             (reading the checksum of 'kubelet' / reading 'BASE/kubelet.sha256')\n{advice}"
        )
    );
    let long = refused_from_server(|workspace, path| {
        workspace.server.put(&format!("{path}.sha256"), "0".repeat(5000));
    });
    assert_eq!(
        long,
        "cause: 'BASE/kubelet.sha256' gives more than 4 KiB (reading the checksum of 'kubelet')"
    );
    let none = refused_from_server(|workspace, path| {
        workspace.server.remove(&format!("{path}.sha256"));
    });
    assert_eq!(
        none,
        "cause: 'BASE/kubelet.sha256' answers 404 Not Found, 'BASE/kubelet.sha512' answers 404 Not \
         Found (reading the checksum of 'kubelet')\n\
         help:  see whether this version was released, and whether the address under \
         'kubernetes.binaries' has checksums beside its files"
    );
}

#[test]
fn what_a_server_gives_instead_of_a_program_is_said() {
    let short = |bytes: &[u8]| digits(Kind::Sha256, bytes)[..12].to_owned();
    let kubelet = program("kubelet", V);
    let retry =
        "help:  nothing was kept; retry, or name another source under 'kubernetes.binaries'";

    let page = b"<html>error</html>";
    let altered = refused_from_server(|workspace, path| workspace.server.put(path, &page[..]));
    assert_eq!(
        altered,
        format!(
            "cause: sha256 differs: expected {}, found {} (18 bytes from 'SERVER') \
             (fetching 'BASE/kubelet')\n{retry}",
            short(&kubelet),
            short(page)
        )
    );
    // Cut off on the server, not on the way: asking again does not help.
    let cut = refused_from_server(|workspace, path| workspace.server.put(path, &kubelet[..1000]));
    assert_eq!(
        cut,
        format!(
            "cause: sha256 differs: expected {}, found {} (1000 bytes from 'SERVER') \
             (fetching 'BASE/kubelet')\n{retry}",
            short(&kubelet),
            short(&kubelet[..1000])
        )
    );
    // Checksum and file agree, and it is no program for an image.
    let bad = |bytes: Vec<u8>| {
        refused_from_server(move |workspace, path| publish(workspace, path, &bytes, Kind::Sha256))
    };
    assert_eq!(
        bad(elf(ARM64, "kubelet", V)),
        "cause: it is a program for arm64, not for x86-64 (looking at 'BASE/kubelet')\n\
         help:  take the programs for linux/amd64"
    );
    assert_eq!(
        bad(program("kubelet", "v1.33.9")),
        "cause: it has no 'v1.34.1' in it, so it is of another version (looking at 'BASE/kubelet')\n\
         help:  name the version that they are of under 'kubernetes.version' (of nodes: \
         'kubernetes.node-version'), or other programs"
    );
    let missing = refused_from_server(|workspace, path| workspace.server.remove(path));
    assert_eq!(
        missing,
        "cause: 'BASE/kubelet' answers 404 Not Found (fetching 'BASE/kubelet')\n\
         help:  name a place that still has it under 'kubernetes.binaries', then run 'kiln lock'"
    );
}

#[test]
fn a_download_that_breaks_off_goes_on_where_it_was() {
    let workspace = on_server();
    publish_release(&workspace, V, Kind::Sha256);
    let path = place("kubelet", V);
    workspace.server.fault(&path, Fault::Truncate(700));
    workspace.run(&["lock"]).done();
    let log = workspace.server.log();
    assert!(log.contains(&format!("GET /{path} bytes=700-")), "{log:#?}");
    assert_eq!(taken(&workspace).unwrap(), all());
}

#[test]
fn a_wrong_folder_is_refused() {
    let refused = |change: &dyn Fn(&Workspace)| {
        let workspace = in_folder();
        change(&workspace);
        let report = end(&workspace.run(&["lock"]).refused());
        report.strip_prefix(&format!("error: pinning Kubernetes {V}\n")).unwrap().to_owned()
    };
    assert_eq!(
        refused(&|workspace| fs::remove_file(workspace.path("up/kubelet")).unwrap()),
        "cause: there is no './up/kubelet'\n\
         help:  name the folder of the server programs under 'kubernetes.binaries' of cluster.yaml, \
         or 'upstream'; to try Kiln, 'make kubernetes' builds v1.20.2"
    );
    assert_eq!(
        refused(&|workspace| {
            fs::remove_file(workspace.path("up/kubelet")).unwrap();
            fs::create_dir(workspace.path("up/kubelet")).unwrap();
        }),
        "cause: './up/kubelet' is a folder, not a program\n\
         help:  name the folder that the programs themselves are in"
    );
    for (bytes, message, help) in [
        (
            b"#!/bin/sh\nexec kubelet-1.34\n".to_vec(),
            "it is a script, not a program",
            "take the programs for linux/amd64 that the Kubernetes project releases, or build them",
        ),
        (
            elf(ARM64, "kubelet", V),
            "it is a program for arm64, not for x86-64",
            "take the programs for linux/amd64",
        ),
        (
            program("kubelet", V)[..500].to_vec(),
            "it ends before its segments do",
            "fetch or build it again",
        ),
    ] {
        assert_eq!(
            refused(&|workspace| put(workspace, "up/kubelet", &bytes)),
            format!("cause: {message} (looking at './up/kubelet')\nhelp:  {help}")
        );
    }
}

#[test]
fn a_program_of_a_folder_that_changed_after_locking_is_not_taken() {
    let workspace = in_folder();
    workspace.run(&["lock"]).done();
    assert!(!section(&workspace).contains("url"), "{}", section(&workspace));
    assert_eq!(taken(&workspace).unwrap(), all());
    put(&workspace, "up/kubelet", &[program("kubelet", V), b"x".to_vec()].concat());
    let report = Report(&taken(&workspace).unwrap_err()).to_string();
    assert!(report.contains("expected SHA-256 "), "{report}");
    // What is not released may be built anew.
    workspace.run(&["lock"]).done();
}

#[test]
fn a_lock_of_another_release_or_another_place_is_stale() {
    let workspace = in_folder();
    workspace.run(&["lock"]).done();
    let stale = |kubernetes: &str| {
        cluster(&workspace, kubernetes);
        workspace.run(&["lock", "--check"]).refused()
    };
    let report = |what: &str| {
        format!(
            "error: comparing 'kiln.lock' with 'kubernetes' of cluster.yaml\n\
             cause: {what}\n\
             help:  run 'kiln lock' and commit the new lock"
        )
    };
    assert_eq!(
        stale("version: v1.34.2, binaries: up"),
        report("it does not pin the programs of Kubernetes v1.34.2")
    );
    assert_eq!(
        stale("version: v1.34.1"),
        report(
            "it pins the programs of Kubernetes v1.34.1 from elsewhere than \
             'https://dl.k8s.io/release/{version}/bin/linux/amd64/{program}'"
        )
    );
    assert_eq!(
        stale("version: v1.34.1, binaries: 'http://127.0.0.1/server.tar.gz'"),
        report(
            "it pins the programs of Kubernetes v1.34.1 from elsewhere than \
             'http://127.0.0.1/server.tar.gz'"
        )
    );
    // Another folder with the same programs is as good.
    cluster(&workspace, &format!("version: {V}, binaries: other"));
    workspace.run(&["lock", "--check"]).done();
}

#[test]
fn packages_that_are_too_old_are_refused_when_locking_and_before_a_build() {
    let workspace = in_folder();
    let publish = |containerd: &str| {
        Suite::new("debian", "trixie", &debs(containerd))
            .publish(&workspace.server, &workspace.key);
    };
    publish("1.5.9~ds1-1");
    let refusal = "error: comparing the packages of role 'node' with Kubernetes\n\
                   cause: package 'containerd' 1.5.9~ds1-1 is too old: Kubernetes 1.34 needs 1.6.0 or \
                   newer\n\
                   help:  take it from a newer suite, as 'debian: { from: { containerd: SUITE } }' in \
                   profiles/node.yaml, then run 'kiln lock'";
    assert_eq!(end(&workspace.run(&["lock"]).refused()), refusal);
    assert_eq!(workspace.read("kiln.lock"), "");

    publish("1.6.20~ds1-1");
    let run = workspace.run(&["lock"]);
    assert!(
        run.stderr.contains(
            "warning: package 'containerd' 1.6.20~ds1-1 of role 'node': with Kubernetes 1.34, 1.6.34 \
             or newer is recommended\n"
        ),
        "{}",
        run.stderr
    );
    run.done();
    workspace.run(&["pki", "init"]).done();
    workspace.run(&["pki", "issue"]).done();
    // As a lock from before Kubernetes was upgraded.
    let lock = workspace.read("kiln.lock");
    workspace.write(
        "kiln.lock",
        &lock.replace("version = \"1.6.20~ds1-1\"", "version = \"1.5.9~ds1-1\""),
    );
    assert_eq!(end(&workspace.run(&["build"]).refused()), refusal);
}
