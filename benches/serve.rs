// SPDX-License-Identifier: Apache-2.0
//! `kiln serve` against nginx: the same files, the same clients, one run, in turns.
//!
//! `cargo bench --bench serve -- [ROUNDS]` prints ratios, above 1 is better than nginx. Clients let the
//! kernel drop what arrives, so they take little of the processor from the servers.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a bench measures the world, and stops where it fails"
)]
#![expect(dead_code, reason = "the tests use more of it")]

#[path = "../tests/serve/nginx.rs"]
mod nginx;
#[path = "../tests/serve/site.rs"]
mod site;

use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::Instant,
};

use rustix::net::RecvFlags;

use nginx::{Nginx, free_port};
use site::Site;

const ROOT: usize = 64 << 20;
/// Requests for all of it, and for small things, by so many clients at a time.
const CLIENTS: usize = 32;
const LARGE: usize = 4;
const SMALL: usize = 1000;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).filter(|it| it != "--bench").collect();
    let rounds: usize = arguments.first().map_or(3, |it| it.parse().unwrap());
    let site = Site::new(&vec![7; ROOT]);
    let port = free_port();
    let written = site
        .command(&["--write-config", "etc", "--name", "127.0.0.1", "--tftp-root", "ipxe"])
        .args(["--listen", &format!("0.0.0.0:{port}")])
        .output()
        .unwrap();
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let nginx = Nginx::start(&site.path("etc/nginx.conf"), port);
    let kiln = site.serve(&["--quiet"]);
    let servers = [
        ("kiln", kiln.address("http"), kiln.child.id()),
        ("nginx", SocketAddr::from(([127, 0, 0, 1], port)), nginx.0.id()),
    ];
    let small = format!("/hosts/{}/meta-data", site::MAC);
    for (what, path, n) in [("large", "/images/lb/test-lb.disk", LARGE), ("small", &*small, SMALL)]
    {
        let mut ratios = Vec::new();
        for _ in 0..rounds {
            let [ours, theirs] = servers.map(|(name, address, pid)| {
                let before = processor(pid);
                let started = Instant::now();
                let bytes = load(address, path, n);
                let (seconds, own) = (started.elapsed().as_secs_f64(), processor(pid) - before);
                let speed = match what {
                    "large" => format!("{:.0} MiB/s", bytes as f64 / seconds / f64::from(1 << 20)),
                    _ => format!("{:.0} requests/s", (CLIENTS * n) as f64 / seconds),
                };
                println!("{what} {name:<6} {speed:>18}, processor {own:.2} s");
                (seconds, own)
            });
            ratios.push((theirs.0 / ours.0, theirs.1 / ours.1));
        }
        let median = |mut all: Vec<f64>| {
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        let (speed, own) = ratios.into_iter().unzip();
        println!(
            "{what}: speed {:.2} of nginx, processor time {:.2}",
            median(speed),
            1.0 / median(own)
        );
    }
}

/// All clients, `n` requests each, over one connection each; bytes that came.
fn load(address: SocketAddr, path: &str, n: usize) -> u64 {
    let client = || {
        let mut stream = TcpStream::connect(address).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        let (mut all, mut buffer) = (0, vec![0; 1 << 20]);
        for _ in 0..n {
            stream.write_all(request.as_bytes()).unwrap();
            let mut n = stream.read(&mut buffer[..4096]).unwrap();
            let text = &buffer[..n];
            let end = text.windows(4).position(|it| it == b"\r\n\r\n").unwrap() + 4;
            let head = String::from_utf8_lossy(&text[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let len: usize = end + length.unwrap().parse::<usize>().unwrap();
            all += len as u64;
            while n < len {
                let space = (len - n).min(buffer.len());
                let (_, got) =
                    rustix::net::recv(&stream, &mut buffer[..space], RecvFlags::TRUNC).unwrap();
                assert_ne!(got, 0, "it ended early");
                n += got;
            }
        }
        all
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    })
}

/// Seconds on a processor of a program and its children (nginx has workers).
fn processor(pid: u32) -> f64 {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let children = children.split_whitespace().map(|it| it.parse().unwrap());
    let ticks = |pid: u32| -> f64 {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()
    };
    std::iter::once(pid).chain(children).map(ticks).sum::<f64>() / 100.0
}
