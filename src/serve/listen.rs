// SPDX-License-Identifier: Apache-2.0
//! Connections, each with its limits: how many, how long until a request is there, how large it is,
//! how slowly an answer may be taken.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::{Resource, Rlimit};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;

use super::{Site, answer, stall::Patient};

/// Until a request's head is there: the first of a connection, and each after it.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// Until both agree on keys.
const TLS_TIME: Duration = Duration::from_secs(10);
/// Bytes of a request's head.
const HEAD_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;
/// Bytes that the kernel takes before it can send them. It would take megabytes for each who takes
/// nothing, and when all of its memory for TCP is used up it cuts off those who do.
const UNSENT: u32 = 128 << 10;
/// Milliseconds until the kernel gives up on who acknowledges nothing.
const UNACKNOWLEDGED: u32 = 60_000;
/// After a connection that could not be accepted, usually because there are too many files open.
const BREATH: Duration = Duration::from_millis(50);

/// How many connections are open at a time.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub connections: u32,
    /// From one address: nobody can hold all. This machine may, because a web server in front speaks
    /// for everybody.
    pub of_one: u32,
}

/// The open connections.
#[derive(Debug)]
pub(super) struct Open {
    limits: Limits,
    free: Arc<Semaphore>,
    by_address: Mutex<BTreeMap<IpAddr, u32>>,
}

impl Open {
    pub(super) fn new(limits: Limits) -> Self {
        let free = Arc::new(Semaphore::new(limits.connections as usize));
        Self { limits, free, by_address: Mutex::default() }
    }

    /// One more from an address, if it may have one.
    fn one_more(self: &Arc<Self>, address: IpAddr) -> Option<One> {
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let n = by_address.entry(address).or_default();
        if *n >= self.limits.of_one && !address.is_loopback() {
            return None;
        }
        *n += 1;
        Some(One { address, open: Arc::clone(self) })
    }
}

/// A connection that counts as long as this lives.
struct One {
    address: IpAddr,
    open: Arc<Open>,
}

impl Drop for One {
    fn drop(&mut self) {
        let mut all = self.open.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(n) = all.get_mut(&self.address) {
            *n -= 1;
            if *n == 0 {
                all.remove(&self.address);
            }
        }
    }
}

/// Each connection is a socket and perhaps a file.
pub(super) fn raise_open_files(n_connections: u32) {
    let wanted = u64::from(n_connections) * 2 + 256;
    let Rlimit { current, maximum } = rustix::process::getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < wanted) {
        let current = maximum.map_or(wanted, |maximum| wanted.min(maximum));
        // Without it, fewer connections are accepted at a time.
        let _ = rustix::process::setrlimit(
            Resource::Nofile,
            Rlimit { current: Some(current), maximum },
        );
    }
}

/// Accepts for ever. More than may be open wait in the kernel.
pub(super) async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    site: Arc<Site>,
    open: Arc<Open>,
) {
    loop {
        let free = Arc::clone(&open.free).acquire_owned().await.expect("it is never closed");
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(_) => {
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        let Some(one) = open.one_more(peer.ip().to_canonical()) else { continue };
        let (tls, site) = (tls.clone(), Arc::clone(&site));
        tokio::spawn(async move {
            connection(stream, peer, tls, site).await;
            drop((free, one));
        });
    }
}

/// Serves one connection. How it ends is nobody's business: peers go as they like.
async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    site: Arc<Site>,
) {
    let Ok(local) = stream.local_addr() else { return };
    let _ = stream.set_nodelay(true);
    let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, UNACKNOWLEDGED);
    let _ = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT);
    let ends =
        answer::Ends { peer: peer.ip().to_canonical(), local: local.ip(), secure: tls.is_some() };
    let stream = Patient::new(stream);
    match tls {
        None => requests(stream, ends, site).await,
        Some(acceptor) => {
            let greeted = tokio::time::timeout(TLS_TIME, acceptor.accept(stream)).await;
            if let Ok(Ok(stream)) = greeted {
                requests(stream, ends, site).await;
            }
        }
    }
}

async fn requests<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    ends: answer::Ends,
    site: Arc<Site>,
) {
    let service = service_fn(move |request| {
        let site = Arc::clone(&site);
        async move { Ok::<_, Infallible>(answer::answer(&site, ends, request).await) }
    });
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_a_part_of_the_connections() {
        let open = Arc::new(Open::new(Limits { connections: 10, of_one: 2 }));
        let [a, b] = [1, 2].map(|n| IpAddr::from([10, 0, 0, n]));
        let first = open.one_more(a).unwrap();
        let _second = open.one_more(a).unwrap();
        assert!(open.one_more(a).is_none());
        let other = open.one_more(b);
        assert!(other.is_some());
        drop((first, other));
        assert!(open.one_more(a).is_some());
        // Nothing is remembered of who is gone.
        assert!(!open.by_address.lock().unwrap().contains_key(&b));
    }
}
