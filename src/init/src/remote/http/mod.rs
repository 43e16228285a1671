// SPDX-License-Identifier: Apache-2.0
//! One request and its response: RFC 9110 and RFC 9112, the part that a client which asks once
//! and closes needs.
//!
//! The server is a stranger. Every read has an end in time, every part of the response one in
//! bytes, and a response whose length is ambiguous is none. Nothing here opens a socket:
//! [`Network`] does, so the same code runs against transcripts.

use std::{io, time::Duration};

use super::url::Url;
use crate::yaml::printable;

/// Bytes of a response's status line and headers, interim responses and trailers included.
const HEAD_MAX: usize = 16 << 10;
/// Bytes of a body.
pub const BODY_MAX: usize = 1 << 20;
/// Until the connection is there.
const CONNECT_TIME: Duration = Duration::from_secs(3);
/// From the request to the body's end.
const REQUEST_TIME: Duration = Duration::from_secs(15);
const CHUNK_LINE_MAX: usize = 256;
/// More would only be there to keep us busy.
const CHUNKS_MAX: usize = 16 << 10;

/// What a client needs of the machine.
pub trait Network {
    /// # Errors
    /// Nobody listens there, or not within `limit`.
    fn connect(&mut self, url: &Url, limit: Duration) -> io::Result<Box<dyn Connection>>;
    /// Time since some moment; never goes back.
    fn now(&self) -> Duration;
    fn sleep(&mut self, time: Duration);
}

/// A stream of bytes to a server.
pub trait Connection {
    /// # Errors
    /// The stream broke, or no byte came within `limit` ([`io::ErrorKind::TimedOut`]).
    fn read(&mut self, buffer: &mut [u8], limit: Duration) -> io::Result<usize>;
    /// # Errors
    /// The stream broke, or the bytes were not taken within `limit`.
    fn write(&mut self, bytes: &[u8], limit: Duration) -> io::Result<()>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Put,
    Post,
}

#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub method: Method,
    pub url: &'a Url,
    /// Names and values of ours; without line breaks.
    pub headers: &'a [(&'a str, &'a str)],
    /// Empty with [`Method::Get`].
    pub body: &'a [u8],
}

/// A whole response. The body of anything but 200 is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| &**value)
    }
}

/// Why there is no response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing, or not everything, arrived: another try may help.
    Broken(String),
    /// What arrived is not acceptable.
    Refused(String),
}

/// Sends a request and reads the response, until `deadline` at most.
///
/// # Errors
/// See [`Fault`].
pub fn send(
    network: &mut dyn Network,
    request: &Request<'_>,
    deadline: Duration,
) -> Result<Response, Fault> {
    let now = network.now();
    let deadline = deadline.min(now + REQUEST_TIME);
    let limit = deadline.saturating_sub(now).min(CONNECT_TIME);
    let mut connection = network.connect(request.url, limit).map_err(|it| broken(&it))?;
    let left = deadline.saturating_sub(network.now());
    let bytes = [head_of(request).as_bytes(), request.body].concat();
    connection.write(&bytes, left).map_err(|it| broken(&it))?;
    let mut stream = Stream { connection, network, deadline, bytes: Vec::new(), n_head: 0 };
    stream.response()
}

fn head_of(request: &Request<'_>) -> String {
    let Request { method, url, headers, body } = request;
    let length = || format!("Content-Length: {}\r\n", body.len());
    let (method, length) = match method {
        Method::Get => ("GET", String::new()),
        Method::Put => ("PUT", length()),
        Method::Post => ("POST", length()),
    };
    let own: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!(
        "{method} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: kiln-init\r\nAccept: */*\r\n\
         Accept-Encoding: identity\r\nConnection: close\r\n{length}{own}\r\n",
        url.target(),
        url.host_header()
    )
}

fn broken(error: &io::Error) -> Fault {
    Fault::Broken(match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "no answer in time".to_owned(),
        _ => printable(&error.to_string()),
    })
}

fn refused<T>(what: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Refused(what.into()))
}

struct Stream<'a> {
    connection: Box<dyn Connection>,
    network: &'a dyn Network,
    deadline: Duration,
    /// Arrived and not yet taken.
    bytes: Vec<u8>,
    /// Bytes of lines so far.
    n_head: usize,
}

impl Stream<'_> {
    fn response(&mut self) -> Result<Response, Fault> {
        let (status, headers) = loop {
            let status = status_of(&self.line(HEAD_MAX)?)?;
            let headers = self.headers()?;
            // 1xx announces the response; 101 would change the protocol, which was not asked for.
            if !(100..200).contains(&status) || status == 101 {
                break (status, headers);
            }
        };
        let mut response = Response { status, headers, body: Vec::new() };
        if status == 200 {
            response.body = self.body(&response)?;
        }
        Ok(response)
    }

    fn headers(&mut self) -> Result<Vec<(String, String)>, Fault> {
        let mut headers = Vec::new();
        loop {
            let line = self.line(HEAD_MAX)?;
            if line.is_empty() {
                return Ok(headers);
            }
            let Some((name, value)) = line.split_once(':').filter(|(name, _)| is_token(name))
            else {
                return refused(format!("expected a header line, found '{}'", short(&line)));
            };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn body(&mut self, response: &Response) -> Result<Vec<u8>, Fault> {
        if let Some(coding) = response.header("content-encoding")
            && !coding.eq_ignore_ascii_case("identity")
        {
            return refused(format!("the body is encoded as '{}', unasked", short(coding)));
        }
        let lengths: Vec<&str> = response
            .headers
            .iter()
            .filter(|(name, _)| name == "content-length")
            .map(|(_, value)| &**value)
            .collect();
        match (response.header("transfer-encoding"), lengths.first()) {
            (Some(_), Some(_)) => refused("both Content-Length and Transfer-Encoding"),
            (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") => self.chunks(),
            (Some(coding), None) => {
                refused(format!("expected the transfer coding chunked, found '{}'", short(coding)))
            }
            (None, Some(length)) => {
                if lengths.iter().any(|other| other != length) {
                    return refused("two different Content-Length headers");
                }
                let digits = !length.is_empty() && length.bytes().all(|it| it.is_ascii_digit());
                if !digits {
                    return refused(format!("expected a length, found '{}'", short(length)));
                }
                // More digits than a number has are more than a body may have.
                self.exactly(length.parse().unwrap_or(usize::MAX))
            }
            (None, None) => self.rest(),
        }
    }

    fn chunks(&mut self) -> Result<Vec<u8>, Fault> {
        let mut body = Vec::new();
        for _ in 0..CHUNKS_MAX {
            let line = self.line(CHUNK_LINE_MAX)?;
            let digits = line.split(';').next().unwrap_or("").trim();
            let hex = !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_hexdigit());
            if !hex {
                return refused(format!("expected a chunk's length, found '{}'", short(&line)));
            }
            let length = usize::from_str_radix(digits, 16).unwrap_or(usize::MAX);
            if length == 0 {
                self.headers()?;
                return Ok(body);
            }
            within(body.len().saturating_add(length))?;
            body.extend(self.exactly(length)?);
            // Lines of chunks are bounded by the body, not by the head.
            self.n_head = 0;
            if !self.line(CHUNK_LINE_MAX)?.is_empty() {
                return refused("a chunk is longer than its length");
            }
        }
        refused(format!("more than {CHUNKS_MAX} chunks"))
    }

    fn exactly(&mut self, length: usize) -> Result<Vec<u8>, Fault> {
        within(length)?;
        while self.bytes.len() < length {
            if !self.more()? {
                let n = self.bytes.len();
                return Err(Fault::Broken(format!("it ended after {n} of {length} bytes")));
            }
        }
        let behind = self.bytes.split_off(length);
        Ok(std::mem::replace(&mut self.bytes, behind))
    }

    fn rest(&mut self) -> Result<Vec<u8>, Fault> {
        while self.more()? {
            within(self.bytes.len())?;
        }
        within(self.bytes.len())?;
        Ok(std::mem::take(&mut self.bytes))
    }

    /// A line without its end.
    fn line(&mut self, max: usize) -> Result<String, Fault> {
        let mut searched = 0;
        let end = loop {
            if let Some(at) = self.bytes.iter().skip(searched).position(|byte| *byte == b'\n') {
                break searched + at;
            }
            searched = self.bytes.len();
            if searched > max || self.n_head + searched > HEAD_MAX {
                return refused(format!("the headers are larger than {HEAD_MAX} bytes"));
            }
            if !self.more()? {
                return Err(Fault::Broken("it ended before its headers did".to_owned()));
            }
        };
        self.n_head += end + 1;
        if end > max || self.n_head > HEAD_MAX {
            return refused(format!("the headers are larger than {HEAD_MAX} bytes"));
        }
        let behind = self.bytes.split_off(end + 1);
        let line = std::mem::replace(&mut self.bytes, behind);
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let allowed = |byte: &u8| *byte == b'\t' || !byte.is_ascii_control();
        if !line.iter().all(allowed) {
            return refused("a control character in the headers");
        }
        Ok(String::from_utf8_lossy(line).into_owned())
    }

    /// Reads what is there; false at the end.
    fn more(&mut self) -> Result<bool, Fault> {
        let left = self.deadline.saturating_sub(self.network.now());
        if left.is_zero() {
            return Err(broken(&io::ErrorKind::TimedOut.into()));
        }
        let mut buffer = [0; 8 << 10];
        let n = self.connection.read(&mut buffer, left).map_err(|it| broken(&it))?;
        self.bytes.extend(buffer.get(..n).unwrap_or(&[]));
        Ok(n > 0)
    }
}

fn status_of(line: &str) -> Result<u16, Fault> {
    let status = || {
        let rest = line.strip_prefix("HTTP/1.")?;
        let rest = rest.strip_prefix(['0', '1'])?.strip_prefix(' ')?;
        let (digits, behind) = rest.split_at_checked(3)?;
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        let ended = behind.is_empty() || behind.starts_with(' ');
        digits.parse().ok().filter(|status| plain && ended && (100..600).contains(status))
    };
    match status() {
        Some(status) => Ok(status),
        None => refused(format!("expected an HTTP/1.1 response, found '{}'", short(line))),
    }
}

fn within(length: usize) -> Result<(), Fault> {
    if length > BODY_MAX {
        return refused(format!("larger than {BODY_MAX} bytes"));
    }
    Ok(())
}

/// `token` of RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

fn short(text: &str) -> String {
    printable(text).chars().take(60).collect()
}

#[cfg(test)]
mod tests;
