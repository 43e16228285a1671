// SPDX-License-Identifier: Apache-2.0

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
    time::Instant,
};

use proptest::prelude::*;

use super::*;
use crate::{
    loopback,
    remote::fake::{Fake, Play},
};

const URL: &str = "http://a/x";

fn play(play: Play) -> Result<Response, Fault> {
    let mut network = Fake::default().on(URL, play);
    get(&mut network, URL)
}

fn get(network: &mut dyn Network, url: &str) -> Result<Response, Fault> {
    let url = Url::parse(url).unwrap();
    let request = Request { method: Method::Get, url: &url, headers: &[], body: &[] };
    send(network, &request, Duration::from_secs(60))
}

fn bytes(bytes: impl AsRef<[u8]>) -> Result<Response, Fault> {
    play(Play::Bytes(bytes.as_ref().to_vec()))
}

#[test]
fn a_request_says_what_a_server_needs_to_know() {
    let mut network = Fake::default().ok("http://a:81/x?y", "");
    let url = Url::parse("http://a:81/x?y").unwrap();
    let mut send = |method, headers, body| {
        let request = Request { method, url: &url, headers, body };
        send(&mut network, &request, Duration::from_secs(1)).unwrap();
        network.requests.borrow_mut().split_off(0).concat()
    };
    assert_eq!(
        send(Method::Put, &[("X-Time", "1")], b""),
        "PUT /x?y HTTP/1.1\r\nHost: a:81\r\nUser-Agent: kiln-init\r\nAccept: */*\r\n\
         Accept-Encoding: identity\r\nConnection: close\r\nContent-Length: 0\r\nX-Time: 1\r\n\r\n"
    );
    let post = send(Method::Post, &[], b"{}");
    assert!(post.starts_with("POST /x?y HTTP/1.1\r\n"), "{post}");
    assert!(post.ends_with("Content-Length: 2\r\n\r\n{}"), "{post}");
}

#[test]
fn bodies_end_by_length_by_chunks_or_with_the_connection() {
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more",
        "HTTP/1.0 200\r\n\r\nhello",
        "HTTP/1.1 200 OK\nContent-Length: 5\nContent-Length: 5\n\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2;x=y\r\nhe\r\n003\r\nllo\r\n0\r\nX: y\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\nhello",
    ] {
        let found = bytes(response).unwrap();
        assert_eq!((found.status, &*found.body), (200, &b"hello"[..]), "{response}");
    }
    let other = bytes("HTTP/1.1 404 Not Found\r\nRetry-After:  7 \r\n\r\nno").unwrap();
    assert_eq!(
        (other.status, other.header("retry-after"), &*other.body),
        (404, Some("7"), &b""[..])
    );
}

#[test]
fn responses_that_are_none_are_refused() {
    let ok = "HTTP/1.1 200 OK\r\n";
    for (response, message) in [
        ("SSH-2.0-x\r\n".to_owned(), "expected an HTTP/1.1 response, found 'SSH-2.0-x'"),
        ("HTTP/2 200\r\n\r\n".to_owned(), "expected an HTTP/1.1 response, found 'HTTP/2 200'"),
        (
            "HTTP/1.1 2000\r\n\r\n".to_owned(),
            "expected an HTTP/1.1 response, found 'HTTP/1.1 2000'",
        ),
        (format!("{ok} folded\r\n\r\n"), "expected a header line, found ' folded'"),
        (format!("{ok}no colon\r\n\r\n"), "expected a header line, found 'no colon'"),
        (format!("{ok}A : b\r\n\r\n"), "expected a header line, found 'A : b'"),
        (format!("{ok}A: \x1b[2J\r\n\r\n"), "a control character in the headers"),
        (
            format!("{ok}Content-Length: 1\r\nContent-Length: 2\r\n\r\n"),
            "two different Content-Length headers",
        ),
        (format!("{ok}Content-Length: -1\r\n\r\n"), "expected a length, found '-1'"),
        (format!("{ok}Content-Length: 1048577\r\n\r\n"), "larger than 1048576 bytes"),
        (
            format!("{ok}Content-Length: 99999999999999999999999\r\n\r\n"),
            "larger than 1048576 bytes",
        ),
        (
            format!("{ok}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
            "both Content-Length and Transfer-Encoding",
        ),
        (
            format!("{ok}Transfer-Encoding: gzip\r\n\r\n"),
            "expected the transfer coding chunked, found 'gzip'",
        ),
        (format!("{ok}Content-Encoding: gzip\r\n\r\n"), "the body is encoded as 'gzip', unasked"),
        (
            format!("{ok}Transfer-Encoding: chunked\r\n\r\nxyz\r\n"),
            "expected a chunk's length, found 'xyz'",
        ),
        (
            format!("{ok}Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n"),
            "larger than 1048576 bytes",
        ),
        (
            format!("{ok}Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n"),
            "a chunk is longer than its length",
        ),
    ] {
        assert_eq!(bytes(&response), Err(Fault::Refused(message.to_owned())), "{response}");
    }
    for (response, message) in [
        (String::new(), "it ended before its headers did"),
        ("HTTP/1.1 200 OK\r\nContent-".to_owned(), "it ended before its headers did"),
        (format!("{ok}Content-Length: 5\r\n\r\nhell"), "it ended after 4 of 5 bytes"),
        (format!("{ok}Transfer-Encoding: chunked\r\n\r\n5\r\nhe"), "it ended after 2 of 5 bytes"),
    ] {
        assert_eq!(bytes(&response), Err(Fault::Broken(message.to_owned())), "{response}");
    }
}

#[test]
fn floods_and_drips_are_cut_off() {
    let refused = |message: &str| Err(Fault::Refused(message.to_owned()));
    let flood = "the headers are larger than 16384 bytes";
    assert_eq!(play(Play::Endless(b"x".to_vec())), refused(flood));
    assert_eq!(play(Play::Endless(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec())), refused(flood));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(4000));
    assert_eq!(bytes(many), refused(flood));
    let body = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(BODY_MAX + 1));
    assert_eq!(bytes(body), refused("larger than 1048576 bytes"));
    let chunks = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        "1\r\nx\r\n".repeat(CHUNKS_MAX)
    );
    assert_eq!(bytes(chunks), refused("more than 16384 chunks"));
    let late = Err(Fault::Broken("no answer in time".to_owned()));
    for slow in [Play::Hangs, Play::Drip(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nhello".to_vec())] {
        let mut network = Fake::default().on(URL, slow);
        assert_eq!(get(&mut network, URL), late);
        assert_eq!(network.elapsed(), REQUEST_TIME);
    }
}

/// As a real machine has it; only ever used with loopback.
struct Sockets(Instant);

impl Network for Sockets {
    fn connect(&mut self, url: &Url, limit: Duration) -> io::Result<Box<dyn Connection>> {
        let crate::remote::url::Host::Ip(ip) = url.host else {
            unreachable!("tests use addresses")
        };
        Ok(Box::new(Tcp(TcpStream::connect_timeout(&(ip, url.port).into(), limit)?)))
    }

    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&mut self, time: Duration) {
        thread::sleep(time);
    }
}

struct Tcp(TcpStream);

impl Connection for Tcp {
    fn read(&mut self, buffer: &mut [u8], limit: Duration) -> io::Result<usize> {
        self.0.set_read_timeout(Some(limit))?;
        self.0.read(buffer)
    }

    fn write(&mut self, bytes: &[u8], limit: Duration) -> io::Result<()> {
        self.0.set_write_timeout(Some(limit))?;
        self.0.write_all(bytes)
    }
}

#[test]
fn a_real_server_is_understood_and_a_closed_port_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            assert_eq!(stream.read(&mut byte).unwrap(), 1);
            request.push(byte[0]);
        }
        for part in
            ["HTTP/1.1 200 OK\r\nTransfer-", "Encoding: chunked\r\n\r\n5\r\nhe", "llo\r\n0\r\n\r\n"]
        {
            stream.write_all(part.as_bytes()).unwrap();
            stream.flush().unwrap();
            thread::sleep(Duration::from_millis(20));
        }
        String::from_utf8(request).unwrap()
    });
    let url = format!("http://{address}/meta-data");
    let mut network = Sockets(Instant::now());
    assert_eq!(get(&mut network, &url).unwrap().body, b"hello");
    assert!(server.join().unwrap().starts_with("GET /meta-data HTTP/1.1\r\n"));
    let (_holder, address) = loopback::closed();
    let fault = get(&mut network, &format!("http://{address}/")).unwrap_err();
    assert!(matches!(&fault, Fault::Broken(what) if what.contains("refused")), "{fault:?}");
}

proptest! {
    #[test]
    fn any_bytes_are_a_response_or_refused(tail in prop::collection::vec(any::<u8>(), 0..200), start in 0_usize..5) {
        let start = [
            "",
            "HTTP/1.1 ",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n",
        ][start];
        if let Ok(response) = bytes([start.as_bytes(), &tail].concat()) {
            prop_assert!(response.body.len() <= tail.len());
        }
    }
}
