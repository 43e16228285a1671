// SPDX-License-Identifier: Apache-2.0
//! What a registry may do instead of answering well.

use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use anyhow::Result;
use kiln::{digest::Digest, error::Report, lock::Images, units::Bytes};

use super::{archive, fetcher, pull};
use crate::support::registry::{
    Fake, INDEX, Image, MANIFEST, Reply, Request, digest, everything, index, serve,
};

const TOKEN: &str = "a-token-that-nobody-may-see";

fn image() -> Image {
    Image::new("amd64", &["some bytes of a layer"])
}

fn reference(fake: &Fake) -> String {
    format!("{}/a/b:1", fake.host())
}

/// Locks the image of a registry, with little patience.
fn pin(cache: &Path, fake: &Fake) -> Result<Images> {
    let fetcher = fetcher(cache, false).with_backoff(Duration::from_millis(1));
    let fetcher = fetcher.with_stall(Duration::from_millis(300));
    fetcher.pin_images(&[&pull(&reference(fake))], None)
}

/// Locks and fetches it.
fn take(cache: &Path, fake: &Fake) -> Result<Vec<u8>> {
    let locked = pin(cache, fake)?;
    let fetcher = fetcher(cache, false).with_backoff(Duration::from_millis(1));
    let fetcher = fetcher.with_stall(Duration::from_millis(300));
    fetcher.images(&[&pull(&reference(fake))], &locked)?;
    Ok(archive(cache, true, &reference(fake), &locked)?.to_vec()?)
}

/// What is said of a registry that answers like this; nothing of its layers is left.
#[track_caller]
fn said(answer: impl Fn(&Request, &str) -> Reply + Send + Sync + 'static) -> String {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(answer);
    let error = take(folder.path(), &fake).expect_err("refused");
    Report(&error).to_string().replace(&fake.host(), "HOST")
}

fn is_layer(request: &Request) -> bool {
    request.path.ends_with(&digest(&image().layers[0]))
}

/// A registry that gives something only for a token, which is on the same host.
fn with_tokens(request: &Request, host: &str) -> Reply {
    if request.path.starts_with("/token?") {
        return Reply::ok("application/json", format!(r#"{{"token":"{TOKEN}"}}"#));
    }
    match &request.authorization {
        Some(given) if *given == format!("Bearer {TOKEN}") => serve(&image(), request),
        _ => {
            let challenge = format!(
                r#"Bearer realm="http://{host}/token",service="the registry",scope="repository:a/b:pull""#
            );
            Reply::status(401).with("WWW-Authenticate", &challenge)
        }
    }
}

#[test]
fn a_token_is_asked_for_once_and_neither_kept_nor_told() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(with_tokens);
    let locked = pin(folder.path(), &fake).unwrap();
    let log = fake.log();
    let paths: Vec<&str> = log.iter().map(|request| request.path.as_str()).collect();
    let token = "/token?service=the%20registry&scope=repository:a/b:pull";
    let config = format!("/v2/a/b/blobs/{}", digest(&image().config));
    let manifest = "/v2/a/b/manifests/1";
    assert_eq!(paths, [manifest, token, manifest, &config]);
    assert_eq!(log[1].authorization, None);
    assert!(log[0].accept[0].contains(&format!("{MANIFEST}, {INDEX}, ")), "{:?}", log[0].accept);
    archive(folder.path(), false, &reference(&fake), &locked).unwrap();
    let log = fake.log();
    assert_eq!(log.iter().filter(|request| request.path == token).count(), 1);
    assert!(!everything(folder.path()).windows(TOKEN.len()).any(|it| it == TOKEN.as_bytes()));
    assert!(!format!("{:?}", fetcher(folder.path(), false)).contains(TOKEN));
    let report = said(|request, host| match is_layer(request) {
        true if request.authorization.is_some() => Reply::status(418),
        _ => with_tokens(request, host),
    });
    assert!(report.contains("answers 418") && !report.contains(TOKEN), "{report}");
}

#[test]
fn a_token_that_has_ended_is_renewed_and_a_useless_one_is_not() {
    let tokens = AtomicUsize::new(0);
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(move |request, host| {
        if request.path.starts_with("/token?") {
            let token = format!("token-{}", tokens.fetch_add(1, Relaxed));
            return Reply::ok("application/json", format!(r#"{{"access_token":"{token}"}}"#));
        }
        // Each is for one kind of request alone.
        let wanted = if request.path.contains("/manifests/") { "token-0" } else { "token-1" };
        match request.authorization.as_deref() == Some(&*format!("Bearer {wanted}")) {
            true => serve(&image(), request),
            false => Reply::status(401)
                .with("WWW-Authenticate", &format!(r#"Bearer realm="http://{host}/token""#)),
        }
    });
    pin(folder.path(), &fake).unwrap();
    let report = said(|request, host| match request.path.starts_with("/token?") {
        true => with_tokens(request, host),
        false => Reply::status(401)
            .with("WWW-Authenticate", &format!(r#"Bearer realm="http://{host}/token""#)),
    });
    assert_eq!(
        report,
        "error: pinning image 'HOST/a/b:1'\n\
         cause: 'http://HOST/v2/a/b/manifests/1' answers 401 Unauthorized to somebody without a password\n\
         help:  check the reference: registries also say so of what they do not have. Kiln holds no \
         passwords: copy a private image with skopeo, and bring it as an archive"
    );
}

#[test]
fn a_registry_that_wants_a_password_is_refused_with_the_way_out() {
    for (challenge, expected) in [
        (r#"Basic realm="x""#, "'HOST' answers 401 Unauthorized and offers no token"),
        ("", "'HOST' answers 401 Unauthorized and offers no token"),
        (
            r#"Bearer realm="ftp://HOST/token""#,
            "'HOST' has its tokens at 'ftp://HOST/token', expected an address with https",
        ),
        (
            r#"Bearer realm="http://HOST/forbidden""#,
            "'http://HOST/forbidden?scope=repository:a/b:pull' answers 403 Forbidden to somebody",
        ),
        (r#"Bearer realm="http://HOST/page""#, "the answer has no 'token' that could be sent"),
    ] {
        let report = said(move |request, host| match request.path.split('?').next() {
            Some("/forbidden") => Reply::status(403),
            Some("/page") => Reply::ok("text/html", "<html>"),
            _ => Reply::status(401).with("WWW-Authenticate", &challenge.replace("HOST", host)),
        });
        assert!(report.contains(expected), "{expected}: {report}");
        assert!(report.contains("\nhelp:  "), "{report}");
    }
}

#[test]
fn a_blob_may_lie_on_another_host_which_gets_no_token() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = Fake::start(|request, _| serve(&image(), request));
    let other = elsewhere.host();
    let fake = Fake::start(move |request, host| match is_layer(request) {
        true if request.authorization.is_some() => {
            Reply::status(307).with("Location", &format!("http://{other}{}", request.path))
        }
        _ => with_tokens(request, host),
    });
    take(folder.path(), &fake).unwrap();
    let log = elsewhere.log();
    assert_eq!(log.len(), 1);
    assert_eq!(log[0].authorization, None);

    let report = said(|request, host| match is_layer(request) {
        true => Reply::status(307).with("Location", &format!("http://{host}{}", request.path)),
        false => serve(&image(), request),
    });
    assert!(report.contains("too many redirects"), "{report}");
    // Somebody else's challenge is none of the registry.
    let private = Fake::start(|_, _| {
        Reply::status(401).with("WWW-Authenticate", r#"Bearer realm="http://127.0.0.1:1/""#)
    });
    let other = private.host();
    let found = other.clone();
    let report = said(move |request, _| match is_layer(request) {
        true => Reply::status(307).with("Location", &format!("http://{other}/")),
        false => serve(&image(), request),
    });
    let expected = format!("'HOST' leads to '{found}', which answers 401 Unauthorized");
    assert!(report.contains(&expected), "{report}");
}

#[test]
fn bytes_that_are_not_those_of_the_manifest_are_refused_and_not_kept() {
    let layer = image().layers[0].clone();
    let (short, size) = (Digest::of(&layer).short(), Bytes(layer.len() as u64));
    let mut altered = layer.clone();
    altered[0] ^= 1;
    let found = Digest::of(&altered).short();
    let with = |body: Vec<u8>| {
        said(move |request, _| match is_layer(request) {
            true => Reply::ok("application/octet-stream", body.clone()),
            false => serve(&image(), request),
        })
    };
    assert_eq!(
        with(altered),
        format!(
            "error: fetching image 'HOST/a/b:1'\n\
             cause: sha256 differs: expected {short}, found {found} ({size} from 'HOST')\n\
             help:  nothing was kept; retry, or bring the image as an archive"
        )
    );
    assert!(
        with([&layer[..], b"x"].concat())
            .contains(&format!("cause: size differs: expected {size}, 'HOST' gives more\n"))
    );
    let half = layer.len() / 2;
    let report = with(layer[..half].to_vec());
    let ended = format!("it ended after {} of {size} (5 tries)", Bytes(half as u64));
    assert!(report.contains(&ended), "{report}");

    // A manifest that is not the one that its index names.
    let report = said(|request, _| match request.path.ends_with("/1") {
        true => Reply::ok(INDEX, index(&[&image()])),
        false => Reply::ok(MANIFEST, Image::new("amd64", &["some bytes of a LAYER"]).manifest),
    });
    assert!(report.contains("cause: sha256 of the manifest differs: expected "), "{report}");
    let report = said(|request, _| match request.path.ends_with("/1") {
        true => Reply::ok(INDEX, index(&[&image()])),
        false => Reply::ok(MANIFEST, "{}"),
    });
    assert!(report.contains("cause: size of the manifest differs: expected "), "{report}");
}

#[test]
fn what_is_not_for_nodes_is_refused_while_locking() {
    let arm = || Image::new("arm64", &["some bytes of a layer"]);
    let report = said(move |request, _| match request.path.ends_with("/1") {
        true => Reply::ok(INDEX, index(&[&arm()])),
        false => serve(&arm(), request),
    });
    let expected = "error: pinning image 'HOST/a/b:1'\n\
                    cause: it is for linux/arm64, expected linux/amd64\n\
                    help:  name an image that its makers publish for linux/amd64";
    assert_eq!(report, expected);
    // Without an index, the configuration says it.
    assert_eq!(said(move |request, _| serve(&arm(), request)), expected);
    let report = said(|_, _| Reply::ok(MANIFEST, vec![b' '; (4 << 20) + 1]));
    assert_eq!(
        report,
        "error: pinning image 'HOST/a/b:1'\n\
         cause: 'http://HOST/v2/a/b/manifests/1' gives more than 4 MiB\n\
         help:  check the reference in addon.yaml and the proxy settings"
    );
    let report = said(|_, _| Reply::status(404));
    assert_eq!(
        report,
        "error: pinning image 'HOST/a/b:1'\n\
         cause: 'http://HOST/v2/a/b/manifests/1' answers 404 Not Found\n\
         help:  check path and tag of the reference in addon.yaml"
    );
    let report = said(|_, _| Reply::ok("text/html", "<html>"));
    assert!(report.contains("cause: it is no manifest: "), "{report}");
}

#[test]
fn a_download_that_stalls_is_resumed_and_given_up_at_last() {
    let folder = tempfile::tempdir().unwrap();
    let half = image().layers[0].len() / 2;
    let fake = Fake::start(move |request, _| match is_layer(request) && request.range.is_none() {
        true => serve(&image(), request).stall(half),
        false => serve(&image(), request),
    });
    take(folder.path(), &fake).unwrap();
    let log = fake.log();
    let layers: Vec<_> = log.iter().filter(|it| is_layer(it)).map(|it| it.range).collect();
    assert_eq!(layers, [None, Some(half)]);

    let report = said(|request, _| serve(&image(), request).stall(10));
    assert!(
        report.contains("'http://HOST/v2/a/b/manifests/1' is out of reach: ")
            && report
                .contains(" (5 tries)\nhelp:  check the network, the proxy settings, and the host"),
        "{report}"
    );
}

#[test]
fn a_lock_that_was_edited_takes_nothing_but_what_its_manifest_names() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(|request, _| serve(&image(), request));
    let mut locked = pin(folder.path(), &fake).unwrap();
    let image = locked.values_mut().next().unwrap();
    image.layers[0] = image.config;
    let error = archive(folder.path(), false, &reference(&fake), &locked).unwrap_err();
    let report = Report(&error).to_string();
    assert!(
        report
            .contains("kiln.lock does not pin what the manifest names: the archive has no 'blobs/"),
        "{report}"
    );
}
