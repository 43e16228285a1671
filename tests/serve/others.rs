// SPDX-License-Identifier: Apache-2.0
//! The configuration for dnsmasq and nginx, judged by them; and nginx with it gives the same answers.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
};

use super::{
    nginx::{Nginx, free_port},
    site::{MAC, Site, UUID},
};
use crate::support::disk_tools::tool;

fn get(port: u16, path: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    let end = all.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&all[..end]).into_owned();
    (head.lines().next().unwrap().to_owned(), all[end + 4..].to_vec())
}

#[test]
fn other_servers_understand_what_is_written_for_them() {
    let site = Site::new(b"root");
    let port = free_port();
    let output = site
        .command(&["--write-config", "etc", "--name", "127.0.0.1", "--tftp-root", "ipxe"])
        .args(["--listen", &format!("0.0.0.0:{port}")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in ["dnsmasq.conf", "dnsmasq-beside.conf"] {
        tool("dnsmasq", &[&"--test", &"-C", &site.path("etc").join(name)]);
    }
    let configuration = site.path("etc/nginx.conf");
    let pid = format!("pid {};", site.path("pid").display());
    tool("nginx", &[&"-t", &"-e", &"stderr", &"-g", &pid, &"-c", &configuration]);

    let nginx = Nginx::start(&configuration, port);
    let served =
        site.serve(&["--name", "127.0.0.1", "--tftp-root", "ipxe", "--tftp-listen", "127.0.0.1:0"]);
    let id = served.get(&format!("/hosts/{MAC}/boot.ipxe")).text();
    let id = &id.split("/v-").nth(1).unwrap()[..12];
    for path in [
        "/boot.ipxe",
        &format!("/hosts/{MAC}/meta-data"),
        &format!("/hosts/{UUID}/SHA256SUMS"),
        "/images/lb/test-lb.disk",
        &format!("/images/lb/v-{id}/test-lb.ipxe"),
        "/images/lb/manifest.json",
        "/ipxe/undionly.kpxe",
    ] {
        let (line, body) = get(port, path);
        assert!(line.contains(" 200 ") && body == served.get(path).body, "{path}: {line}");
    }
    let script = String::from_utf8(get(port, &format!("/hosts/{MAC}/boot.ipxe")).1).unwrap();
    let place = format!("kiln.url=http://127.0.0.1:{port}/hosts/{MAC}/");
    assert!(script.contains(&place) && script.contains(&format!("/v-{id}/")), "{script}");
    for path in
        ["/images/lb/../../secret", "/images/../secret", "/images/x/secret", "/hosts/../../secret"]
    {
        let (line, body) = get(port, path);
        assert!(!line.contains(" 200 "), "{path}: {line}");
        assert!(!String::from_utf8_lossy(&body).contains("outside of everything"), "{path}");
    }
    drop(nginx);
}

#[test]
fn configurations_hold_no_keys_and_need_a_name() {
    let site = Site::new(b"root");
    let refusal = site.refused(&["--write-config", "etc"]);
    assert!(refusal.contains("say with --name"), "{refusal}");
    site.build("lb", b"root", 1);
    let arguments = ["--write-config", "etc", "--name", "a", "--serve-keys", "images"];
    let refusal = site.refused(&arguments);
    assert!(refusal.contains("holds 1 private key"), "{refusal}");
    assert!(fs::read_dir(site.path("etc")).is_err());
}
