// SPDX-License-Identifier: Apache-2.0
//! Which addresses does a server's name have? systemd-resolved knows.
//!
//! It is asked by Varlink (`io.systemd.Resolve`, varlink.org): one JSON object each way, ended by a
//! zero byte. The C library would load the root's modules for names, which belong to another
//! version of itself than the one in this static program; and it has no time limit.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde::Deserialize;
use serde_json::{Value, json};

/// Where systemd-resolved listens.
pub(super) const RESOLVED: &str = "/run/systemd/resolve/io.systemd.Resolve";
/// An answer with a thousand addresses.
const ANSWER_MAX: u64 = 256 << 10;

#[derive(Debug, Deserialize)]
struct Answer {
    error: Option<String>,
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Debug, Default, Deserialize)]
struct Parameters {
    #[serde(default)]
    addresses: Vec<Found>,
}

#[derive(Debug, Deserialize)]
struct Found {
    /// In network order: four bytes or sixteen.
    address: Vec<u8>,
}

impl Found {
    fn ip(&self) -> Option<IpAddr> {
        let bytes = self.address.as_slice();
        let v4 = || <[u8; 4]>::try_from(bytes).map(Ipv4Addr::from).map(IpAddr::from);
        let v6 = || <[u8; 16]>::try_from(bytes).map(Ipv6Addr::from).map(IpAddr::from);
        v4().or_else(|_| v6()).ok()
    }
}

/// The addresses of a name, in the order in which they should be tried.
///
/// # Errors
/// Nobody answers in time, or says that the name has none.
pub(super) fn addresses(socket: &Path, name: &str, limit: Duration) -> io::Result<Vec<IpAddr>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    let question = json!({
        "method": "io.systemd.Resolve.ResolveHostname",
        "parameters": {"name": name},
    });
    stream.write_all(format!("{question}\0").as_bytes())?;
    let mut bytes = Vec::new();
    let mut parts = stream.take(ANSWER_MAX);
    let mut buffer = [0; 4096];
    while !bytes.ends_with(b"\0") {
        match parts.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
    read(bytes.strip_suffix(b"\0").unwrap_or_default())
}

fn read(bytes: &[u8]) -> io::Result<Vec<IpAddr>> {
    let answer: Answer = serde_json::from_slice::<Value>(bytes)
        .and_then(serde_json::from_value)
        .map_err(|_| io::ErrorKind::InvalidData)?;
    match answer.error {
        Some(error) => Err(io::Error::new(io::ErrorKind::NotFound, error)),
        None => Ok(answer.parameters.addresses.iter().filter_map(Found::ip).collect()),
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixListener, thread};

    use super::*;

    /// What systemd-resolved 257 answers to the question for `localhost`, and for a name that
    /// nobody has.
    const LOCALHOST: &str = r#"{"parameters":{"addresses":[{"ifindex":1,"family":10,"address":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1]},{"ifindex":1,"family":2,"address":[127,0,0,1]}],"name":"localhost","flags":786945}}"#;
    const NOBODY: &str = r#"{"error":"io.systemd.Resolve.DNSError","parameters":{"rcode":3}}"#;

    #[test]
    fn an_answer_has_addresses_of_both_families_or_a_reason() {
        let both = [IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST)];
        assert_eq!(read(LOCALHOST.as_bytes()).unwrap(), both);
        assert_eq!(read(NOBODY.as_bytes()).unwrap_err().to_string(), "io.systemd.Resolve.DNSError");
        assert_eq!(read(b"[]").unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn one_question_is_asked_and_one_answer_is_read_whatever_its_parts() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("resolve");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = [0; 4096];
            let count = stream.read(&mut question).unwrap();
            let (first, second) = LOCALHOST.split_at(40);
            stream.write_all(first.as_bytes()).unwrap();
            stream.write_all(second.as_bytes()).unwrap();
            stream.write_all(b"\0").unwrap();
            String::from_utf8(question[..count].to_vec()).unwrap()
        });
        let limit = Duration::from_secs(60);
        assert_eq!(addresses(&socket, "localhost", limit).unwrap().len(), 2);
        assert_eq!(
            server.join().unwrap(),
            "{\"method\":\"io.systemd.Resolve.ResolveHostname\",\"parameters\":{\"name\":\"localhost\"}}\0"
        );
    }

    #[test]
    fn who_does_not_answer_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("resolve");
        assert!(addresses(&socket, "a", Duration::from_secs(60)).is_err());
        let _listener = UnixListener::bind(&socket).unwrap();
        let error = addresses(&socket, "a", Duration::from_millis(100)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
