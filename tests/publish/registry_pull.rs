// SPDX-License-Identifier: Apache-2.0
//! Pulling what a registry has, when all is well and when it is not.

use std::fs;

use kiln::{digest::Digest, publish::ARTIFACT_TYPE};
use serde_json::json;

use super::{
    bench::{Bench, said},
    registry::{State, anybody, registry, target},
};
use crate::support::registry::{Fake, Reply, Request, digest};

/// A bench whose release is published, and a registry that has it.
fn published(
    fault: impl Fn(&Request, &mut State, &str) -> Option<Reply> + Send + Sync + 'static,
) -> (Bench, Fake) {
    let bench = Bench::new();
    let (fake, _state) = registry(move |request, state, host| {
        let is_pulled = request.method == "GET" && state.manifests.contains_key("7-lb");
        if is_pulled { fault(request, state, host) } else { None }
    });
    bench.publish(&anybody(), &target(&fake), &["lb"]).unwrap();
    fake.log();
    (bench, fake)
}

fn is_of(request: &Request, bytes: &[u8]) -> bool {
    request.path.ends_with(&digest(bytes))
}

#[test]
fn a_release_is_pulled_as_it_was_built() {
    let (bench, fake) = published(|_, _, _| None);
    let folder = bench.pull(&anybody(), &target(&fake), "lb").unwrap();
    assert_eq!(folder, bench.path("pulled/lb"));
    bench.assert_pulled("lb");
    // What is there and whole is not fetched again; the rest is.
    fs::write(folder.join("lb.ipxe"), "damaged").unwrap();
    fs::write(folder.join("leftover"), "of another release").unwrap();
    fake.log();
    bench.pull(&anybody(), &target(&fake), "lb").unwrap();
    bench.assert_pulled("lb");
    let files = bench.files("out", "lb");
    let log = fake.log();
    let n_of = |name: &str| log.iter().filter(|it| is_of(it, &files[name])).count();
    assert_eq!((n_of("quickstart-lb.raw"), n_of("lb.ipxe")), (0, 1));
}

#[test]
fn a_download_that_breaks_off_is_continued() {
    let raw = Bench::new().files("out", "lb")["quickstart-lb.raw"].clone();
    let name = digest(&raw);
    let (bench, fake) = published(move |request, _, _| {
        let is_first = request.path.ends_with(&name) && request.range.is_none();
        is_first.then(|| Reply::ok("application/octet-stream", raw.clone()).stall(900))
    });
    bench.pull(&anybody(), &target(&fake), "lb").unwrap();
    bench.assert_pulled("lb");
    assert!(fake.log().iter().any(|request| request.range == Some(900)));
}

#[test]
fn bytes_that_are_not_those_of_the_release_are_refused_and_the_old_ones_stay() {
    let raw = Bench::new().files("out", "lb")["quickstart-lb.raw"].clone();
    for (body, expected) in [
        ([&raw[..2499], b"x"].concat(), "cause: sha256 differs: expected "),
        ([&raw[..], b"x"].concat(), "cause: size differs: expected 2.4 KiB, 'HOST' gives more"),
    ] {
        let name = digest(&raw);
        let (bench, fake) = published(move |request, _, _| {
            let is_it = request.path.ends_with(&name);
            is_it.then(|| Reply::ok("application/octet-stream", body.clone()))
        });
        fs::create_dir_all(bench.path("pulled/lb")).unwrap();
        fs::write(bench.path("pulled/lb/old"), "release").unwrap();
        let report = said(bench.pull(&anybody(), &target(&fake), "lb"), &fake.host());
        assert!(report.starts_with("error: pulling 'quickstart-lb.raw'\n"), "{report}");
        assert!(report.contains(expected), "{report}");
        assert!(report.ends_with("help:  nothing was kept; retry, or publish the release again"));
        let left: Vec<String> = bench.files("pulled", "lb").into_keys().collect();
        assert_eq!(left, ["old"]);
        assert_eq!(fs::read_dir(bench.path("pulled")).unwrap().count(), 1, "a scratch is left");
    }
}

#[test]
fn a_file_that_is_gone_and_a_release_that_never_was_are_said() {
    let raw = Bench::new().files("out", "lb")["quickstart-lb.raw"].clone();
    let (bench, fake) =
        published(move |request, _, _| is_of(request, &raw).then(|| Reply::status(404)));
    let report = said(bench.pull(&anybody(), &target(&fake), "lb"), &fake.host());
    assert!(report.contains("answers 404 Not Found\nhelp:  nothing was kept"), "{report}");
    let report = said(bench.pull(&anybody(), &target(&fake), "node"), &fake.host());
    assert_eq!(
        report,
        "error: there is no release at 'oci://HOST/os:7-node'\n\
         help:  check the target and the role, or publish it there"
    );
}

/// A registry with one artefact: these files, under the tag of `lb`.
fn holding(kind: &'static str, files: &[(&str, &[u8])]) -> Fake {
    let part = |name: &str, bytes: &[u8]| {
        json!({ "mediaType": "x", "digest": digest(bytes), "size": bytes.len(),
                "annotations": { "org.opencontainers.image.title": name } })
    };
    let layers: Vec<_> = files.iter().map(|(name, bytes)| part(name, bytes)).collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": kind, "config": part("", b"{}"), "layers": layers,
    });
    let (fake, state) = registry(|_, _, _| None);
    let mut state = state.lock().unwrap();
    state.manifests.insert("7-lb".to_owned(), manifest.to_string().into_bytes());
    for (_, bytes) in files {
        state.blobs.insert(digest(bytes), bytes.to_vec());
    }
    fake
}

#[test]
fn what_is_no_release_of_the_role_is_refused() {
    let bench = Bench::empty();
    let pull = |fake: &Fake| said(bench.pull(&anybody(), &target(fake), "lb"), &fake.host());
    let report = pull(&holding("application/vnd.other", &[]));
    let expected = format!(
        "error: 'oci://HOST/os:7-lb' is no release: it is an artefact of type \
         'application/vnd.other', expected '{ARTIFACT_TYPE}'\nhelp:  check the target"
    );
    assert_eq!(report, expected);
    let report = pull(&holding(ARTIFACT_TYPE, &[]));
    assert!(report.contains("is no release: it has no 'SHA256SUMS'"), "{report}");

    // Names that lead out of the folder.
    let sums = format!("{}  ../../etc/passwd\n", Digest::of(b"x"));
    let report = pull(&holding(ARTIFACT_TYPE, &[("SHA256SUMS", sums.as_bytes())]));
    assert!(report.contains("line 1 of 'SHA256SUMS' is not 'DIGEST  NAME'"), "{report}");
    let report = pull(&holding(ARTIFACT_TYPE, &[("SHA256SUMS", b"")]));
    assert!(report.contains("names no 'manifest.json'"), "{report}");

    // Another role's release under this one's tag.
    let other = Bench::empty();
    other.build("node", "7", 0);
    let files = other.files("out", "node");
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    let report = pull(&holding(ARTIFACT_TYPE, &files));
    assert!(report.contains("'oci://HOST/os:7-lb' has the results of 'node'"), "{report}");
    assert!(!bench.path("pulled/lb").exists());
}

#[test]
fn a_sum_that_is_known_holds_the_release_to_it() {
    let (bench, fake) = published(|_, _, _| None);
    let right = Digest::of(&bench.files("out", "lb")["SHA256SUMS"]);
    let wrong = Digest::of(b"another");
    let report =
        said(bench.pull_pinned(&anybody(), &target(&fake), "lb", Some(&wrong)), &fake.host());
    let (expected, found) = (wrong.short(), right.short());
    assert_eq!(
        report,
        format!(
            "error: SHA256SUMS at 'oci://HOST/os:7-lb' differs: expected sha256 {expected}, found {found}\n\
             help:  find out who has changed the release"
        )
    );
    bench.pull_pinned(&anybody(), &target(&fake), "lb", Some(&right)).unwrap();
    bench.assert_pulled("lb");
}
