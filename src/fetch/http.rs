// SPDX-License-Identifier: Apache-2.0
//! One address to bytes, whatever the network does: tries again, resumes, bounds, refuses.
//!
//! HTTP semantics are those of RFC 9110; ranges are its section 14. `file://` works too.

use std::{
    fs::File,
    io::{self, Read, Seek as _, SeekFrom, Write as _},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use ureq::{
    Agent, Body,
    http::{HeaderMap, Response, StatusCode, header},
    tls::{RootCerts, TlsConfig},
    unversioned::transport::DefaultConnector,
};

use super::{key::Key, origin::Origin, registry::access::Access, resolver::RememberingResolver};
use crate::{
    checksum::{Sum, SumHasher},
    error::refuse,
    progress::Item,
    sys::{self, interrupt},
    units::Bytes,
};

/// Tries before an address counts as out of reach.
const TRIES: u32 = 5;
/// Pause after the first try; each later one is twice as long.
const BACKOFF: Duration = Duration::from_millis(500);
/// Time for a name, a connection, or an answer's head.
const PHASE: Duration = Duration::from_secs(30);
/// Time without a byte. There is no limit for a whole download: archives may be slow.
const STALL: Duration = Duration::from_secs(30);

/// Reads addresses. Cloning is cheap and shares connections.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(super) agent: Agent,
    backoff: Duration,
    /// Time without a byte.
    pub(super) stall: Duration,
    pub(super) origin: Origin,
    pub(super) key: Option<Arc<Key>>,
}

/// What an address gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome<T> {
    Found(T),
    /// It has no such file; the text says who said so.
    Missing(String),
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) url: &'a str,
    /// Bytes that are there already.
    offset: u64,
    /// For all of the answer.
    within: Option<Duration>,
    /// Who asks, if no key says it.
    authorization: Option<&'a str>,
}

/// An answer that is being read.
struct Opened {
    body: Box<dyn Read>,
    /// Which byte of the file the first one is.
    start: u64,
    headers: HeaderMap,
}

/// The file that must come out of a download.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    pub(crate) size: Size,
    pub(crate) sum: Sum,
}

/// Bytes of a file that must come out of a download.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Size {
    Exactly(u64),
    /// Nothing says how many; never more than these.
    AtMost(u64),
}

impl Size {
    pub(super) const fn limit(self) -> u64 {
        match self {
            Self::Exactly(size) | Self::AtMost(size) => size,
        }
    }
}

/// Why one try gave nothing.
pub(crate) enum Failure {
    /// Worth another try.
    Passing(String),
    Final(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Final(error.into())
    }
}

pub(crate) type Try<T> = Result<T, Failure>;

impl Client {
    /// Proxies come from the environment: ALL_PROXY, HTTPS_PROXY, HTTP_PROXY, NO_PROXY.
    pub(crate) fn new() -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::PlatformVerifier)
            .unversioned_rustls_crypto_provider(provider)
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .user_agent(concat!("kiln/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(PHASE))
            .timeout_connect(Some(PHASE))
            .timeout_send_request(Some(PHASE))
            .timeout_recv_response(Some(PHASE))
            .timeout_per_read(Some(STALL))
            .max_idle_connections(super::MAX_JOBS)
            .max_idle_connections_per_host(super::MAX_JOBS)
            .build();
        let connector = DefaultConnector::new();
        let agent = Agent::with_parts(config, connector, RememberingResolver::default());
        Self { agent, backoff: BACKOFF, stall: STALL, origin: Origin::Archive, key: None }
    }

    /// The same with another pause between tries.
    #[must_use]
    pub(crate) fn with_backoff(mut self, backoff: Duration) -> Self {
        self.backoff = backoff;
        self
    }

    /// The same with another time without a byte.
    #[must_use]
    pub(crate) fn with_stall(mut self, stall: Duration) -> Self {
        self.stall = stall;
        self
    }

    /// The same for what is not signed: an address with https leads to no other without.
    #[must_use]
    pub(super) fn for_releases(&self) -> Self {
        Self { origin: Origin::Release, ..self.clone() }
    }

    /// The same for a registry.
    #[must_use]
    pub(super) fn for_registry(&self, access: Option<Access>) -> Self {
        let key = access.map(Key::Token).map(Arc::new);
        Self { origin: Origin::Registry, key, ..self.clone() }
    }

    /// The same for a place where releases are published.
    #[must_use]
    pub(crate) fn for_published(&self, key: Option<Key>) -> Self {
        Self { origin: Origin::Published, key: key.map(Arc::new), ..self.clone() }
    }

    /// All bytes of a small file.
    pub(crate) fn get(&self, url: &str, limit: u64) -> Result<Outcome<Vec<u8>>> {
        self.get_as(url, limit, None)
    }

    /// The same for somebody.
    pub(super) fn get_as(
        &self,
        url: &str,
        limit: u64,
        authorization: Option<&str>,
    ) -> Result<Outcome<Vec<u8>>> {
        let within = self.origin.patience();
        Ok(match self.read_all(Request { url, offset: 0, within, authorization }, limit)? {
            Outcome::Found((bytes, _)) => Outcome::Found(bytes),
            Outcome::Missing(who) => Outcome::Missing(who),
        })
    }

    /// The same, and what was said of it.
    pub(super) fn get_with_headers(
        &self,
        url: &str,
        limit: u64,
    ) -> Result<Outcome<(Vec<u8>, HeaderMap)>> {
        let within = self.origin.patience();
        self.read_all(Request { url, offset: 0, within, authorization: None }, limit)
    }

    fn read_all(&self, request: Request<'_>, limit: u64) -> Result<Outcome<(Vec<u8>, HeaderMap)>> {
        let url = request.url;
        self.persist(url, || {
            let Opened { mut body, headers, .. } = match self.open(request)? {
                Outcome::Found(found) => found,
                Outcome::Missing(who) => return Ok(Outcome::Missing(who)),
            };
            let mut bytes = Vec::new();
            let mut buffer = vec![0; 64 << 10];
            while let count @ 1.. = read(&mut *body, &mut buffer)? {
                bytes.extend_from_slice(&buffer[..count]);
                if bytes.len() as u64 > limit {
                    let fact = format!("'{}' gives more than {}", shown(url), Bytes(limit));
                    return Err(match self.origin {
                        Origin::Registry | Origin::Published => {
                            refuse(fact, self.origin.check()).into()
                        }
                        _ => anyhow::Error::msg(fact).into(),
                    });
                }
            }
            Ok(Outcome::Found((bytes, headers)))
        })
    }

    /// Whether there is such a file, without fetching it.
    pub(super) fn exists(&self, url: &str) -> Result<bool> {
        if let Some(path) = file_path(url) {
            return Ok(sys::fs::exists(path));
        }
        self.persist(url, || {
            let response = self.head(url)?;
            match self.classify(url, &response)? {
                Outcome::Found(()) => Ok(true),
                Outcome::Missing(_) => Ok(false),
            }
        })
    }

    /// How many bytes a file has, if its server says so; for people only.
    pub(super) fn size(&self, url: &str) -> Option<u64> {
        if let Some(path) = file_path(url) {
            return sys::fs::len_if_present(path).ok().flatten();
        }
        let response =
            self.head(url).ok().filter(|response| response.status() == StatusCode::OK)?;
        response.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    fn head(&self, url: &str) -> Try<Response<Body>> {
        let request = self.agent.head(url).config().https_only(self.keeps_https(url)).build();
        request.call().map_err(|error| self.judge(url, error))
    }

    pub(super) fn keeps_https(&self, url: &str) -> bool {
        self.origin.keeps_https() && url.starts_with("https://")
    }

    /// Completes `partial`, which holds a beginning of the file or nothing.
    ///
    /// What was fetched stays in `partial` if the network fails, so that a later run resumes;
    /// bytes that are certainly wrong do not stay.
    pub(crate) fn complete(
        &self,
        url: &str,
        expected: Expected,
        partial: &File,
        item: &mut Item,
        stop: &AtomicBool,
    ) -> Result<Outcome<()>> {
        self.persist(url, || self.complete_once(url, expected, partial, item, stop))
    }

    fn complete_once(
        &self,
        url: &str,
        expected: Expected,
        mut partial: &File,
        item: &mut Item,
        stop: &AtomicBool,
    ) -> Try<Outcome<()>> {
        let mut len = partial.metadata()?.len();
        if len > expected.size.limit() {
            len = clear(partial)?;
        }
        let resumed = len > 0;
        let mut hasher = hash_beginning(partial, len, &expected.sum)?;
        if len < expected.size.limit() {
            let request = Request { url, offset: len, within: None, authorization: None };
            let Opened { mut body, start: offset, .. } = match self.open(request)? {
                Outcome::Found(found) => found,
                Outcome::Missing(who) => return Ok(Outcome::Missing(who)),
            };
            if offset != len {
                len = clear(partial)?;
                hasher = expected.sum.hasher();
            }
            partial.seek(SeekFrom::Start(len))?;
            item.at(len);
            let mut buffer = vec![0; 64 << 10];
            while let count @ 1.. = read(&mut *body, &mut buffer)? {
                interrupt::check()?;
                if stop.load(Relaxed) {
                    return Err(anyhow::Error::msg("stopped").into());
                }
                len += count as u64;
                if len > expected.size.limit() {
                    clear(partial)?;
                    return Err(self.too_long(url, expected.size).into());
                }
                partial.write_all(&buffer[..count]).context("writing into the cache")?;
                hasher.update(&buffer[..count]);
                item.at(len);
            }
        }
        if let Size::Exactly(wanted) = expected.size
            && len < wanted
        {
            let (len, wanted) = (Bytes(len), Bytes(wanted));
            return Err(Failure::Passing(format!("it ended after {len} of {wanted}")));
        }
        let found = hasher.finish();
        if found == expected.sum {
            return Ok(Outcome::Found(()));
        }
        clear(partial)?;
        if resumed {
            return Err(Failure::Passing("its parts do not fit together".to_owned()));
        }
        Err(self.altered(url, len, &expected.sum, &found).into())
    }

    /// The bytes from an offset on, or from the beginning.
    fn open(&self, request: Request<'_>) -> Try<Outcome<Opened>> {
        let Request { url, offset, .. } = request;
        if let Some(path) = file_path(url) {
            return open_file(path, offset);
        }
        let response = self.ask(request)?;
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE && offset > 0 {
            return self.open(Request { offset: 0, ..request });
        }
        if let Outcome::Missing(who) = self.classify(url, &response)? {
            return Ok(Outcome::Missing(who));
        }
        let start = match response.status() {
            StatusCode::PARTIAL_CONTENT => range_start(&response),
            _ => Some(0),
        };
        match start {
            Some(start) if start == offset || start == 0 => {
                let (parts, body) = response.into_parts();
                let (headers, body) = (parts.headers, Box::new(body.into_reader()));
                Ok(Outcome::Found(Opened { body, start, headers }))
            }
            _ => self.open(Request { offset: 0, ..request }),
        }
    }

    pub(super) fn send(
        &self,
        request: Request<'_>,
        headers: &[(header::HeaderName, String)],
    ) -> Try<Response<Body>> {
        let Request { url, offset, within, authorization } = request;
        let mut request = self
            .agent
            .get(url)
            .config()
            .https_only(self.keeps_https(url))
            .timeout_per_read(Some(self.stall))
            .timeout_global(within)
            .max_redirects(self.max_redirects())
            .build()
            .header(header::ACCEPT_ENCODING, "identity");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(who) = authorization {
            request = request.header(header::AUTHORIZATION, who);
        }
        if offset > 0 {
            request = request.header(header::RANGE, format!("bytes={offset}-"));
        }
        request.call().map_err(|error| self.judge(url, error))
    }

    /// Tries until there is an outcome, with growing pauses.
    pub(crate) fn persist<T>(&self, url: &str, mut attempt: impl FnMut() -> Try<T>) -> Result<T> {
        let mut pause = self.backoff;
        let mut tries = 1;
        loop {
            interrupt::check()?;
            match attempt() {
                Ok(found) => return Ok(found),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(reason)) if tries == TRIES => {
                    return Err(refuse(
                        format!("'{}' is out of reach: {reason} ({TRIES} tries)", shown(url)),
                        self.origin.out_of_reach(),
                    ));
                }
                Err(Failure::Passing(_)) => interrupt::wait(pause)?,
            }
            tries += 1;
            pause *= 2;
        }
    }

    /// Which answers are final: what the server says about this very request.
    fn classify<B>(&self, url: &str, response: &Response<B>) -> Try<Outcome<()>> {
        let status = response.status();
        match status.as_u16() {
            404 | 410 => Ok(Outcome::Missing(format!("'{}' answers {status}", shown(url)))),
            408 | 425 | 429 | 500.. => Err(Failure::Passing(format!("it answers {status}"))),
            200 | 206 => Ok(Outcome::Found(())),
            _ => Err(self.origin.refused(&shown(url), status).into()),
        }
    }

    pub(super) fn judge(&self, url: &str, error: ureq::Error) -> Failure {
        use ureq::Error;
        match error {
            Error::Io(error) => Failure::Passing(error.to_string()),
            Error::Timeout(_)
            | Error::HostNotFound
            | Error::ConnectionFailed
            | Error::Protocol(_) => Failure::Passing(error.to_string()),
            // The address that it leads to may be signed, which is as good as a password.
            Error::RequireHttpsOnly(_) => {
                let fact = format!("'{}' leads to an address without https", shown(url));
                Failure::Final(refuse(fact, self.origin.check()))
            }
            _ => {
                let fact = format!("'{}' is not readable: {error}", shown(url));
                Failure::Final(refuse(fact, self.origin.check()))
            }
        }
    }

    fn too_long(&self, url: &str, size: Size) -> anyhow::Error {
        let host = host(url);
        let fact = match size {
            Size::Exactly(size) => {
                format!("size differs: expected {}, '{host}' gives more", Bytes(size))
            }
            Size::AtMost(limit) => format!("'{host}' gives more than {}", Bytes(limit)),
        };
        refuse(fact, self.origin.retry())
    }

    fn altered(&self, url: &str, len: u64, expected: &Sum, found: &Sum) -> anyhow::Error {
        let fact = format!(
            "{} differs: expected {}, found {} ({} from '{}')",
            expected.kind().name(),
            expected.short(),
            found.short(),
            Bytes(len),
            host(url)
        );
        refuse(fact, self.origin.retry())
    }
}

fn open_file(path: &Path, offset: u64) -> Try<Outcome<Opened>> {
    match sys::fs::open(path) {
        Ok(mut file) => {
            let end = file.metadata()?.len();
            let start = if offset <= end { offset } else { 0 };
            file.seek(SeekFrom::Start(start))?;
            Ok(Outcome::Found(Opened { body: Box::new(file), start, headers: HeaderMap::new() }))
        }
        Err(error) => {
            let io = error.downcast_ref::<io::Error>();
            if io.is_some_and(|error| error.kind() == io::ErrorKind::NotFound) {
                return Ok(Outcome::Missing(format!("there is no '{}'", path.display())));
            }
            Err(error.into())
        }
    }
}

fn file_path(url: &str) -> Option<&Path> {
    url.strip_prefix("file://").map(Path::new)
}

fn read(body: &mut dyn Read, buffer: &mut [u8]) -> Try<usize> {
    loop {
        match body.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::Passing(error.to_string())),
            Ok(count) => return Ok(count),
        }
    }
}

fn clear(partial: &File) -> io::Result<u64> {
    partial.set_len(0).map(|()| 0)
}

fn hash_beginning(mut partial: &File, len: u64, sum: &Sum) -> Result<SumHasher> {
    let mut hasher = sum.hasher();
    partial.seek(SeekFrom::Start(0)).context("reading the cache")?;
    io::copy(&mut partial.take(len), &mut hasher).context("reading the cache")?;
    Ok(hasher)
}

/// `Content-Range: bytes START-END/SIZE`
fn range_start<B>(response: &Response<B>) -> Option<u64> {
    let range = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

/// An address for people: without user and password.
pub(crate) fn shown(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit('@').next().unwrap_or(authority);
            format!("{scheme}://{host}{path}")
        }
        None => url.to_owned(),
    }
}

/// The part of an address that says who serves it.
fn host(url: &str) -> String {
    let shown = shown(url);
    match shown.strip_prefix("file://") {
        Some(path) => path.to_owned(),
        None => shown.split('/').nth(2).unwrap_or(&shown).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_do_not_reach_messages() {
        assert_eq!(shown("https://me:secret@a.example/b@c"), "https://a.example/b@c");
        assert_eq!(host("https://me:secret@a.example:8080/b"), "a.example:8080");
        assert_eq!(host("file:///srv/debian/pool"), "/srv/debian/pool");
    }
}
