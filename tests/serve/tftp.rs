// SPDX-License-Identifier: Apache-2.0
//! TFTP over real sockets.

use std::{net::UdpSocket, time::Duration};

use super::site::{Served, Site};
use crate::support::disk_tools::tool_bytes;

const ARGUMENTS: [&str; 4] = ["--tftp-root", "ipxe", "--tftp-listen", "127.0.0.1:0"];

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket
}

/// Reads a file; the options that were granted, and the bytes, or the error's text.
fn read(served: &Served, request: &str) -> (String, Result<Vec<u8>, String>) {
    let socket = socket();
    let request = [&[0, 1], request.replace('|', "\0").as_bytes()].concat();
    socket.send_to(&request, served.address("tftp")).unwrap();
    let (mut options, mut all, mut buffer) = (String::new(), Vec::new(), [0; 2000]);
    let mut block = 512;
    loop {
        let (n, from) = socket.recv_from(&mut buffer).unwrap();
        match buffer[1] {
            5 => {
                let text = String::from_utf8_lossy(&buffer[4..n - 1]).into_owned();
                return (options, Err(text));
            }
            6 => {
                options = String::from_utf8_lossy(&buffer[2..n]).replace('\0', "|");
                let words: Vec<&str> = options.split('|').collect();
                if let Some(at) = words.iter().position(|word| *word == "blksize") {
                    block = words[at + 1].parse().unwrap();
                }
                socket.send_to(&[0, 4, 0, 0], from).unwrap();
            }
            3 => {
                all.extend_from_slice(&buffer[4..n]);
                socket.send_to(&[0, 4, buffer[2], buffer[3]], from).unwrap();
                if n - 4 < block {
                    return (options, Ok(all));
                }
            }
            other => panic!("a packet of kind {other}"),
        }
    }
}

#[test]
fn the_first_stage_is_loaded_by_tftp() {
    let site = Site::new(b"root");
    let served = site.serve(&ARGUMENTS);
    let program = vec![0x7f; 70_001];
    for request in ["undionly.kpxe|octet|", "/undionly.kpxe|octet|blksize|1432|tsize|0|"] {
        assert!(read(&served, request).1.unwrap() == program, "{request}");
    }
    let (options, _) = read(&served, "undionly.kpxe|octet|blksize|65464|tsize|0|");
    assert_eq!(options, "blksize|1468|tsize|70001|");
    // iPXE looks there for what to do next.
    let script = read(&served, "autoexec.ipxe|octet|").1.unwrap();
    let expected = format!("http://{}/boot.ipxe\n", served.address("http"));
    assert!(String::from_utf8(script).unwrap().ends_with(&expected));
    // The same by HTTP, for firmware that can.
    assert!(served.get("/ipxe/undionly.kpxe").body == program);
}

#[test]
fn another_client_of_tftp_gets_the_same() {
    let site = Site::new(b"root");
    let served = site.serve(&ARGUMENTS);
    let url = format!("tftp://{}/undionly.kpxe", served.address("tftp"));
    for block in ["512", "1468"] {
        let options: [&dyn AsRef<std::ffi::OsStr>; 5] =
            [&"--silent", &"--show-error", &"--tftp-blksize", &block, &url];
        assert!(tool_bytes("curl", &options, b"") == vec![0x7f; 70_001], "{block}");
    }
}

#[test]
fn no_request_of_tftp_leads_out_of_its_folder_or_breaks_it() {
    let site = Site::new(b"root");
    std::os::unix::fs::symlink("../secret", site.path("ipxe/link")).unwrap();
    let served = site.serve(&ARGUMENTS);
    for name in ["../secret", "/etc/passwd", "link", "..", "x/../undionly.kpxe", "undionly.kpxe/"] {
        let (_, outcome) = read(&served, &format!("{name}|octet|"));
        assert_eq!(outcome, Err("no such file".to_owned()), "{name}");
    }
    assert_eq!(read(&served, "a|netascii|").1, Err("mode octet only".to_owned()));
    let socket = socket();
    for bytes in [
        &b""[..],
        b"\0",
        b"\0\x01",
        b"\0\x01x",
        b"\0\x01x\0octet",
        b"\xff\xff\0",
        b"\0\x02x\0octet\0",
    ] {
        socket.send_to(bytes, served.address("tftp")).unwrap();
    }
    socket.send_to(&vec![0; 60_000], served.address("tftp")).unwrap();
    assert_eq!(read(&served, "undionly.kpxe|octet|").1.unwrap().len(), 70_001);
}
