// SPDX-License-Identifier: Apache-2.0
//! Asking until there is an answer or the time is over.
//!
//! 404 is an answer: there is no such document. Refusals of the server (401, 403) and things that
//! are no document (a login page, a redirect to another protocol) are final. Everything that time
//! can heal is asked again, with pauses: no connection, 408, 429, 5xx.

use std::time::Duration;

use super::{
    Error,
    http::{self, Fault, Method, Network, Request, Response},
    url::Url,
};
use crate::yaml::printable;

const REDIRECTS_MAX: usize = 3;
/// Between two rounds: doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// A client with a budget.
pub struct Client<'a> {
    network: &'a mut dyn Network,
    started: Duration,
    deadline: Duration,
    /// Whether anything is asked a second time.
    patient: bool,
}

impl std::fmt::Debug for Client<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// What one try gave.
enum Try {
    /// The body, or none for 404.
    Answer(Option<Vec<u8>>),
    /// What it said instead, and how long it wants to be left alone.
    Again(String, Option<Duration>),
}

impl<'a> Client<'a> {
    /// A client that goes on asking for `budget`.
    pub fn new(network: &'a mut dyn Network, budget: Duration) -> Self {
        let started = network.now();
        Self { network, started, deadline: started + budget, patient: true }
    }

    /// A client that asks everything once, for `budget` in all.
    pub fn once(network: &'a mut dyn Network, budget: Duration) -> Self {
        Self { patient: false, ..Self::new(network, budget) }
    }

    /// The document at `url`; none if the server says that there is none.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn get(&mut self, url: &Url, headers: &[(&str, &str)]) -> Result<Option<Vec<u8>>, Error> {
        self.first(Method::Get, std::slice::from_ref(url), headers).map(|(_, body)| body)
    }

    /// As [`Client::get`], in one try.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn get_once(&mut self, url: &Url) -> Result<Option<Vec<u8>>, Error> {
        let patient = std::mem::replace(&mut self.patient, false);
        let answer = self.get(url, &[]);
        self.patient = patient;
        answer
    }

    /// Hands over a JSON document, in one try.
    ///
    /// # Errors
    /// The server did not take it.
    pub fn post(&mut self, url: &Url, body: &[u8]) -> Result<(), Error> {
        let headers = &[("Content-Type", "application/json")];
        let request = Request { method: Method::Post, url, headers, body };
        match http::send(&mut *self.network, &request, self.deadline) {
            Ok(response) if (200..300).contains(&response.status) => Ok(()),
            Ok(response) => Err(refused(url, format!("status {}", response.status))),
            Err(Fault::Broken(what) | Fault::Refused(what)) => Err(refused(url, what)),
        }
    }

    /// The answer of the first of several places that gives one; they are asked in turn. Also
    /// gives that place's index.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn first(
        &mut self,
        method: Method,
        urls: &[Url],
        headers: &[(&str, &str)],
    ) -> Result<(usize, Option<Vec<u8>>), Error> {
        let mut pause = FIRST_PAUSE;
        loop {
            let mut said = Vec::new();
            let mut asked_for = Duration::ZERO;
            for (index, url) in urls.iter().enumerate() {
                match self.once_at(method, url, headers)? {
                    Try::Answer(body) => return Ok((index, body)),
                    Try::Again(what, wait) => {
                        said.push(format!("'{url}': {what}"));
                        asked_for = asked_for.max(wait.unwrap_or_default());
                    }
                }
            }
            let now = self.network.now();
            let wait = pause.max(asked_for);
            if !self.patient || now.saturating_add(wait) >= self.deadline {
                let seconds = now.saturating_sub(self.started).as_secs();
                return Err(Error::Silent(format!("{}; waited {seconds} s", said.join(", "))));
            }
            self.network.sleep(wait);
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    /// One try, redirects followed.
    fn once_at(
        &mut self,
        method: Method,
        url: &Url,
        headers: &[(&str, &str)],
    ) -> Result<Try, Error> {
        let mut at = url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let request = Request { method, url: &at, headers, body: &[] };
            let response = match http::send(&mut *self.network, &request, self.deadline) {
                Ok(response) => response,
                Err(Fault::Broken(what)) => return Ok(Try::Again(what, None)),
                Err(Fault::Refused(what)) => return Err(refused(&at, what)),
            };
            match response.status {
                200 => return document(&at, response).map(|body| Try::Answer(Some(body))),
                404 | 410 => return Ok(Try::Answer(None)),
                301 | 302 | 303 | 307 | 308 if method == Method::Get => {
                    let location = response.header("location").unwrap_or("");
                    at = at
                        .join(location)
                        .map_err(|it| refused(&at, format!("a redirect: {it}")))?;
                }
                status @ (408 | 429 | 500..=599) => {
                    let wait = response.header("retry-after").and_then(seconds);
                    let asks = wait
                        .map(|wait| format!(", asks to wait {} s", wait.as_secs()))
                        .unwrap_or_default();
                    return Ok(Try::Again(format!("status {status}{asks}"), wait));
                }
                status @ (401 | 403) => {
                    return Err(refused(&at, format!("the server does not allow it ({status})")));
                }
                status => {
                    return Err(refused(
                        &at,
                        format!("expected status 200 or 404, found {status}"),
                    ));
                }
            }
        }
        Err(refused(url, format!("more than {REDIRECTS_MAX} redirects")))
    }
}

/// The body, unless it is a page for people: what a captive portal or a proxy answers with.
fn document(url: &Url, response: Response) -> Result<Vec<u8>, Error> {
    let kind = response.header("content-type").unwrap_or("").to_ascii_lowercase();
    let start = response.body.trim_ascii_start();
    let begins = |text: &str| {
        start.get(..text.len()).is_some_and(|it| it.eq_ignore_ascii_case(text.as_bytes()))
    };
    let page = ["text/html", "application/xhtml+xml"].iter().any(|it| kind.starts_with(it))
        || begins("<!doctype html")
        || begins("<html");
    if page {
        Err(refused(url, "expected a document, found a web page"))
    } else {
        Ok(response.body)
    }
}

/// `Retry-After` in seconds. A date means nothing to a machine whose clock is not set.
fn seconds(text: &str) -> Option<Duration> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| Duration::from_secs(text.parse().unwrap_or(u64::from(u32::MAX))))
}

fn refused(url: &Url, what: impl AsRef<str>) -> Error {
    Error::Refused(format!("'{url}': {}", printable(what.as_ref())))
}
