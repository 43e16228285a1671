// SPDX-License-Identifier: Apache-2.0
//! A thousand machines at a time, and those that take their time: `make test-serve`.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{
    hostile::status,
    site::{MAC, Served, Site},
};

const CLIENTS: usize = 1000;
const ROOT: usize = 4 << 20;
/// Bytes that the server may need at its highest.
const MEMORY: u64 = 192 << 20;

/// The most memory that the server ever had, in bytes.
fn peak(served: &Served) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", served.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn a_thousand_machines_load_at_a_time_in_little_memory() {
    let root: Vec<u8> = (0..ROOT).map(|n| (n / 3 % 253) as u8).collect();
    let site = Site::new(&root);
    let served = site.serve(&["--quiet"]);
    let before = peak(&served);
    let bytes = AtomicU64::new(0);
    let started = Instant::now();
    let ask = || {
        let mut stream = served.connect();
        write!(stream, "GET /hosts/{MAC}/boot.ipxe HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut start = [0; 4096];
        let n = stream.read(&mut start).unwrap();
        assert!(start[..n].starts_with(b"HTTP/1.1 200 OK"));
        stream
    };
    let load = |mut stream: TcpStream| {
        let mut buffer = vec![0; 32 << 10];
        write!(
            stream,
            "GET /images/lb/test-lb.disk HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let (mut head, mut at) = (Vec::new(), None);
        loop {
            let n = stream.read(&mut buffer).unwrap();
            if n == 0 {
                break;
            }
            let mut piece = &buffer[..n];
            let place = match at {
                Some(place) => place,
                None => {
                    head.extend_from_slice(piece);
                    let Some(end) = head.windows(4).position(|it| it == b"\r\n\r\n") else {
                        continue;
                    };
                    piece = &piece[piece.len() - (head.len() - end - 4)..];
                    0
                }
            };
            assert!(piece == &root[place..place + piece.len()], "other bytes at {place}");
            at = Some(place + piece.len());
        }
        assert_eq!(at, Some(ROOT));
        bytes.fetch_add(ROOT as u64, Ordering::Relaxed);
    };
    let small = || thread::Builder::new().stack_size(128 << 10);
    let streams: Vec<TcpStream> = thread::scope(|scope| {
        let asking: Vec<_> =
            (0..CLIENTS).map(|_| small().spawn_scoped(scope, ask).unwrap()).collect();
        asking.into_iter().map(|it| it.join().unwrap()).collect()
    });
    // Each is connected and was answered; now all want the root.
    thread::scope(|scope| {
        for stream in streams {
            small().spawn_scoped(scope, || load(stream)).unwrap();
        }
    });
    let (seconds, peak) = (started.elapsed().as_secs_f64(), peak(&served));
    let mib = |bytes: u64| bytes >> 20;
    println!(
        "{CLIENTS} clients, {} MiB in {seconds:.1} s; memory at its highest {} MiB, {} MiB before",
        mib(bytes.load(Ordering::Relaxed)),
        mib(peak),
        mib(before)
    );
    assert!(peak < MEMORY, "{} MiB", mib(peak));
}

#[test]
fn who_holds_connections_and_takes_nothing_costs_little() {
    let site = Site::new(&vec![7; 32 << 20]);
    let served = site.serve(&["--quiet"]);
    let idle: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut stream = served.connect();
            write!(stream, "GET /images/lb/test-lb.disk HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            stream
        })
        .collect();
    // Somebody else is served meanwhile.
    assert_eq!(served.get("/images/lb/test-lb.disk").body.len(), 32 << 20);
    let peak = peak(&served);
    println!("{CLIENTS} clients that take nothing: memory at its highest {} MiB", peak >> 20);
    assert!(peak < MEMORY, "{} MiB", peak >> 20);
    drop(idle);
}

/// As long as the server's patience.
#[test]
fn who_says_nothing_or_takes_nothing_is_left_in_time() {
    let site = Site::new(&vec![7; 64 << 20]);
    let served = site.serve(&[]);
    let started = Instant::now();
    let until = |what: &str, least: u64, most: u64| {
        let seconds = started.elapsed().as_secs();
        assert!((least..=most).contains(&seconds), "{what}: {seconds} s");
    };
    thread::scope(|scope| {
        for begun in ["", "GET / HTTP/1.1\r\nA: ", "GET /boot.ipxe HTTP/1.1\r\nHost: a\r\n\r\n"] {
            let served = &served;
            scope.spawn(move || {
                // Silent from the start, in the middle of a head, after a request.
                served.raw(begun.as_bytes());
                until(begun, 8, 25);
            });
        }
        scope.spawn(|| {
            let mut drip = served.connect();
            drip.write_all(b"GET / HTTP/1.1\r\n").unwrap();
            while drip.write_all(b"A: b\r\n").is_ok() {
                thread::sleep(Duration::from_millis(500));
                assert!(started.elapsed() < Duration::from_secs(40), "drip");
            }
        });
        scope.spawn(|| {
            // Bodies have an end in time, too.
            let head = format!(
                "POST /hosts/{MAC}/report HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"
            );
            let line = status(&served.raw(head.as_bytes()));
            assert!(line.contains("408"), "{line}");
        });
        scope.spawn(|| {
            let mut reader = served.connect();
            reader.write_all(b"GET /images/lb/test-lb.disk HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            thread::sleep(Duration::from_secs(45));
            // It has what the kernel held for it, and no more.
            let mut n = 0;
            let mut buffer = vec![0; 1 << 20];
            while let Ok(read @ 1..) = reader.read(&mut buffer) {
                n += read;
            }
            assert!(n < 32 << 20, "{n} bytes");
        });
    });
}
