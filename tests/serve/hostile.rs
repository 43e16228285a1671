// SPDX-License-Identifier: Apache-2.0
//! Clients that are broken, slow or mean: they get nothing, and others get on.

use std::{
    io::{Read as _, Write as _},
    net::Shutdown,
};

use super::site::{MAC, Served, Site};

/// The first line of what came back.
pub(super) fn status(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).lines().next().unwrap_or_default().to_owned()
}

#[track_caller]
fn is_well(served: &Served) {
    assert_eq!(served.get("/images/lb/test-lb.disk").text(), "root");
}

#[test]
fn no_path_leads_out_of_what_is_served() {
    let site = Site::new(b"root");
    site.write("out/lb/unlisted", b"not of the build");
    std::os::unix::fs::symlink("../../secret", site.path("out/lb/link")).unwrap();
    let served = site.serve(&["--tftp-root", "ipxe", "--tftp-listen", "127.0.0.1:0"]);
    for path in [
        "/../secret",
        "/images/../../secret",
        "/images/lb/../../secret",
        "/images/lb/..%2f..%2fsecret",
        "/images/lb/%2e%2e/%2e%2e/secret",
        "/images/lb/unlisted",
        "/images/lb/link",
        "/images/lb/.",
        "/ipxe/../secret",
        "/ipxe/..%2fsecret",
        "/hosts/../secret",
        "/hosts/52-54-00-00-00-01/../../secret",
        "/cluster.yaml",
        "/pki/kubernetes-ca.key",
        "//secret",
        "/images/lb/test-lb.disk%00.ipxe",
        "/images/lb/test-lb.disk\\..\\secret",
        "http://a/../secret",
    ] {
        let answer = served
            .raw(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes());
        let line = status(&answer);
        assert!(line.contains(" 404 ") || line.contains(" 400 "), "{path}: {line}");
        assert!(!String::from_utf8_lossy(&answer).contains("outside of everything"), "{path}");
    }
    is_well(&served);
}

#[test]
fn what_is_no_request_is_refused_and_forgotten() {
    let site = Site::new(b"root");
    let served = site.serve(&[]);
    let long = "x".repeat(1 << 20);
    let many = "A: b\r\n".repeat(1000);
    for (request, expected) in [
        (format!("GET / HTTP/1.1\r\nA: {long}\r\n\r\n"), "431"),
        (format!("GET /{long} HTTP/1.1\r\n\r\n"), "431"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), "431"),
        ("GET / HTTP/1.1\r\nA : b\r\n\r\n".to_owned(), "400"),
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), "400"),
        ("\0\u{1}\u{2}\r\n\r\n".to_owned(), "400"),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}\r\n\r\n".to_owned(), "400"),
        (format!("POST /hosts/{MAC}/report HTTP/1.1\r\nContent-Length: x\r\n\r\n"), "400"),
        (
            format!(
                "POST /hosts/{MAC}/report HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"
            ),
            "400",
        ),
    ] {
        let line = status(&served.raw(request.as_bytes()));
        let short: String = request.chars().take(60).collect();
        assert!(line.contains(expected) || line.is_empty(), "{short:?}: {line}");
    }
    is_well(&served);
}

#[test]
fn reports_have_limits() {
    let site = Site::new(b"root");
    let served = site.serve(&[]);
    let path = format!("/hosts/{MAC}/report");
    let large = format!("{{\"phase\":\"ready\",\"message\":\"{}\"}}", "x".repeat(300 << 10));
    for (path, body, expected) in [
        (&*path, large.as_bytes(), 413),
        (&path, b"{", 400),
        (&path, br#"{"phase":"root"}"#, 400),
        ("/hosts/52-54-00-00-00-99/report", br#"{"phase":"ready"}"#, 404),
        (&path, br#"{"phase":"ready"}"#, 204),
    ] {
        assert_eq!(served.ask("POST", path, "", body).status, expected, "{path}");
    }
    // Chunks that say nothing of their sum are counted.
    let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000)).repeat(12);
    let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let line = status(&served.raw(format!("{head}{chunk}0\r\n\r\n").as_bytes()));
    assert!(line.contains("413") || line.is_empty(), "{line}");
    is_well(&served);
}

#[test]
fn who_closes_half_or_goes_away_harms_nobody() {
    let site = Site::new(&vec![7; 4 << 20]);
    let served = site.serve(&[]);
    for _ in 0..100 {
        let mut stream = served.connect();
        stream.write_all(b"GET /images/lb/test-lb.disk HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut some = [0; 1000];
        stream.read_exact(&mut some).unwrap();
        // Unread bytes make this a reset.
        drop(stream);
    }
    let mut half = served.connect();
    half.write_all(b"GET /boot.ipxe HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    half.shutdown(Shutdown::Write).unwrap();
    let mut all = Vec::new();
    half.read_to_end(&mut all).unwrap();
    assert_eq!(served.get("/images/lb/test-lb.disk").body.len(), 4 << 20);
}
