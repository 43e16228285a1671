// SPDX-License-Identifier: Apache-2.0
//! The other direction: requests that change something on a server, with what it answers.
//!
//! Redirects are not followed: what they would lead to is nobody that the person named. An answer
//! is small; whatever a server says beyond that is not read.

use std::io::Read;

use anyhow::Result;
use ureq::{
    Body, SendBody,
    http::{self, HeaderMap, Method, Response, StatusCode, header},
};

use super::{
    http::{Client, Failure, Try, shown},
    key::Key,
    signature::Signed,
};
use crate::{digest::Digest, error::refuse};

/// Most bytes of an answer that are read.
const MAX_ANSWER: u64 = 64 << 10;
/// Longest word for an error that is shown.
const MAX_CODE: usize = 64;

/// One request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) method: &'a Method,
    pub(crate) url: &'a str,
    pub(crate) headers: &'a [(header::HeaderName, String)],
    pub(crate) body: &'a [u8],
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Its beginning, if it is long.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A header that is text.
    pub(crate) fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The server's word for what is wrong, from JSON of a registry or XML of a store. The rest of
    /// what it says may repeat what it was sent.
    fn code(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.body);
        let behind = ["<Code>", "\"code\":\""].into_iter().find_map(|mark| text.split_once(mark));
        let word = behind?.1.split(['<', '"']).next()?;
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let is_good = (1..=MAX_CODE).contains(&word.len()) && word.bytes().all(is_word);
        is_good.then(|| word.to_owned())
    }
}

impl Client {
    /// Sends a request until a server answers it with something that another try would not change.
    pub(crate) fn call(&self, call: &Call<'_>) -> Result<Answer> {
        self.persist(without_query(call.url), || self.call_once(call))
    }

    /// One try.
    pub(crate) fn call_once(&self, call: &Call<'_>) -> Try<Answer> {
        let Call { method, url, headers, body } = *call;
        // Only signatures have to do with it.
        let payload = match self.key.as_deref() {
            Some(Key::Signature(_)) => Digest::of(body),
            _ => Digest::of(&[]),
        };
        let asked = Signed { method: method.as_str(), url, headers, payload };
        let response = self.with_key(&asked, |key| {
            let has_body = [Method::POST, Method::PUT, Method::PATCH].contains(method);
            let body = has_body.then_some(body);
            self.run(method, url, [headers, key], body)
        })?;
        passing(read(response)?)
    }

    /// One try with a body of `len` bytes that is read while it is sent.
    pub(crate) fn stream_once(
        &self,
        call: &Call<'_>,
        len: u64,
        body: &mut dyn Read,
    ) -> Try<Answer> {
        let Call { method, url, headers, .. } = *call;
        // Streams go to registries, and there is nothing to sign.
        let asked = Signed { method: method.as_str(), url, headers, payload: Digest::of(&[]) };
        let body = std::cell::RefCell::new(body);
        let response = self.with_key(&asked, |key| {
            let len = [(header::CONTENT_LENGTH, len.to_string())];
            let mut request = http::Request::builder().method(method).uri(url);
            for (name, value) in headers.iter().chain(key).chain(&len) {
                request = request.header(name, value);
            }
            let mut body = body.borrow_mut();
            let request = request.body(SendBody::from_reader(&mut **body)).map_err(malformed)?;
            self.start(url, request)
        })?;
        passing(read(response)?)
    }

    fn run(
        &self,
        method: &Method,
        url: &str,
        headers: [&[(header::HeaderName, String)]; 2],
        body: Option<&[u8]>,
    ) -> Try<Response<Body>> {
        let mut request = http::Request::builder().method(method).uri(url);
        for (name, value) in headers.into_iter().flatten() {
            request = request.header(name, value);
        }
        match body {
            Some(body) => self.start(url, request.body(body).map_err(malformed)?),
            None => self.start(url, request.body(()).map_err(malformed)?),
        }
    }

    fn start<B: ureq::AsSendBody>(
        &self,
        url: &str,
        request: http::Request<B>,
    ) -> Try<Response<Body>> {
        let redirects = match [Method::GET, Method::HEAD].contains(request.method()) {
            true => self.max_redirects(),
            false => 0,
        };
        let config = self
            .agent
            .configure_request(request)
            .https_only(self.keeps_https(url))
            .timeout_per_read(Some(self.stall))
            .timeout_per_write(Some(self.stall))
            // Of a body that is stored somewhere before the answer comes.
            .timeout_recv_response(Some(self.stall * 4))
            .max_redirects(redirects)
            .max_redirects_will_error(false);
        self.agent.run(config.build()).map_err(|error| self.judge(without_query(url), error))
    }

    /// What an answer means that was not hoped for.
    pub(crate) fn refused(&self, url: &str, answer: &Answer) -> anyhow::Error {
        let url = &shown(without_query(url));
        if answer.status.is_redirection() {
            let fact = format!("'{url}' answers {} and leads elsewhere", answer.status);
            return refuse(fact, "name the place where it leads as the target");
        }
        match answer.code() {
            Some(code) => self.origin.refused_with(url, answer.status, &code),
            None => self.origin.refused(url, answer.status),
        }
    }
}

/// What a server adds to an address may be as good as a password.
fn without_query(url: &str) -> &str {
    url.split('?').next().unwrap_or(url)
}

/// Which answers another try may change.
fn passing(answer: Answer) -> Try<Answer> {
    match answer.status.as_u16() {
        408 | 425 | 429 | 500 | 502..=599 => {
            let code = answer.code().map(|code| format!(" ({code})")).unwrap_or_default();
            Err(Failure::Passing(format!("it answers {}{code}", answer.status)))
        }
        _ => Ok(answer),
    }
}

fn read(response: Response<Body>) -> Try<Answer> {
    let (parts, body) = response.into_parts();
    let mut bytes = Vec::new();
    let mut reader = body.into_reader().take(MAX_ANSWER);
    match reader.read_to_end(&mut bytes) {
        Ok(_) => Ok(Answer { status: parts.status, headers: parts.headers, body: bytes }),
        Err(error) => Err(Failure::Passing(error.to_string())),
    }
}

/// What a server gave to be sent back to it cannot be; nothing of it is shown.
fn malformed(_: http::Error) -> Failure {
    anyhow::Error::msg("the server gave an address or a word that cannot be sent").into()
}
