// SPDX-License-Identifier: Apache-2.0
//! `kiln-init answers ADDRESS:PORT`: whether a server does something with a connection.
//!
//! keepalived asks so whether the proxy beside it works. That a port is open says too little: the
//! kernel accepts connections for a process that hangs. A server answers by its first byte or
//! by closing.

use std::{
    io::{self, ErrorKind, Read as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::error::{Result, Stop, While as _};

/// For connecting, and again for the answer: twice this is less than keepalived gives the check.
const LIMIT: Duration = Duration::from_secs(3);

pub(crate) fn run(address: &str) -> Result<()> {
    let task = || format!("asking '{address}'");
    let address: SocketAddr = address.parse().during(task())?;
    match ask(address) {
        Ok(()) => Ok(()),
        Err(error) if is_answer(error.kind()) => Ok(()),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Err(Stop::new(format_args!("{}: no answer within {LIMIT:?}", task())))
        }
        Err(error) => Err(error).during(task()),
    }
}

/// Connects and reads a byte, or the end.
fn ask(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.read(&mut [0]).map(drop)
}

/// Whether an error means that a server accepted and closed at once, possibly before `connect`
/// had returned. A port that nobody listens on gives `ConnectionRefused`.
fn is_answer(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, net::TcpListener, thread};

    use super::*;
    use crate::loopback;

    #[test]
    fn a_server_that_speaks_or_closes_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            drop(listener.accept().unwrap());
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"hello").unwrap();
        });
        run(&address).unwrap();
        run(&address).unwrap();
        server.join().unwrap();
    }

    #[test]
    fn a_server_that_resets_at_once_answers_whoever_is_faster() {
        const N_TRIES: usize = 300;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            for _ in 0..N_TRIES {
                let (stream, _) = listener.accept().unwrap();
                rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
            }
        });
        for _ in 0..N_TRIES {
            run(&address).unwrap();
        }
        server.join().unwrap();
    }

    #[test]
    fn a_server_that_hangs_does_not_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = run(&address.to_string()).unwrap_err();
        assert_eq!(stop.to_string(), format!("asking '{address}': no answer within 3s"));
    }

    #[test]
    fn a_closed_port_does_not_answer() {
        let (_holder, address) = loopback::closed();
        assert!(run(&address.to_string()).unwrap_err().to_string().contains("refused"));
        assert!(run("nowhere").unwrap_err().to_string().starts_with("asking 'nowhere': "));
    }
}
