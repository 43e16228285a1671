// SPDX-License-Identifier: Apache-2.0
//! A network of transcripts: what each URL answers, byte for byte, and a clock that only moves
//! when somebody waits.

use std::{cell::Cell, collections::VecDeque, io, rc::Rc, time::Duration};

use super::{
    http::{Connection, Network},
    url::Url,
};

/// What happens to one connection.
#[derive(Debug, Clone)]
pub(super) enum Play {
    /// These bytes, then the end.
    Bytes(Vec<u8>),
    /// One byte in each second, for ever.
    Drip(Vec<u8>),
    /// The same bytes again and again.
    Endless(Vec<u8>),
    /// It connects and says nothing.
    Hangs,
    /// Nobody listens.
    Refuses,
}

/// Answers by the request's URL, each used once; the last one stays.
#[derive(Default)]
pub(super) struct Fake {
    plays: Vec<(String, VecDeque<Play>)>,
    pub(super) requests: Rc<std::cell::RefCell<Vec<String>>>,
    clock: Rc<Cell<Duration>>,
}

impl Fake {
    pub(super) fn on(mut self, url: &str, play: Play) -> Self {
        match self.plays.iter_mut().find(|(other, _)| other == url) {
            Some((_, plays)) => plays.push_back(play),
            None => self.plays.push((url.to_owned(), VecDeque::from([play]))),
        }
        self
    }

    pub(super) fn ok(self, url: &str, body: impl AsRef<[u8]>) -> Self {
        self.on(url, answer("200 OK", "", body))
    }

    pub(super) fn status(self, url: &str, status: &str) -> Self {
        self.on(url, answer(status, "", ""))
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.clock.get()
    }
}

/// A response with Content-Length.
pub(super) fn answer(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Play {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    Play::Bytes([head.as_bytes(), body].concat())
}

impl Network for Fake {
    fn connect(&mut self, url: &Url, limit: Duration) -> io::Result<Box<dyn Connection>> {
        let url = url.to_string();
        let play = match self.plays.iter_mut().find(|(other, _)| *other == url) {
            Some((_, plays)) if plays.len() > 1 => plays.pop_front().unwrap(),
            Some((_, plays)) => plays[0].clone(),
            None => answer("404 Not Found", "", ""),
        };
        if matches!(play, Play::Refuses) {
            self.clock.set(self.clock.get() + limit.min(Duration::from_millis(1)));
            return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused"));
        }
        let (requests, clock) = (Rc::clone(&self.requests), Rc::clone(&self.clock));
        Ok(Box::new(Actor { play, offset: 0, requests, clock }))
    }

    fn now(&self) -> Duration {
        self.clock.get()
    }

    fn sleep(&mut self, time: Duration) {
        self.clock.set(self.clock.get() + time);
    }
}

struct Actor {
    play: Play,
    offset: usize,
    requests: Rc<std::cell::RefCell<Vec<String>>>,
    clock: Rc<Cell<Duration>>,
}

impl Connection for Actor {
    fn read(&mut self, buffer: &mut [u8], limit: Duration) -> io::Result<usize> {
        let (bytes, time) = match &self.play {
            Play::Bytes(bytes) => (bytes.get(self.offset..).unwrap_or(&[]), Duration::ZERO),
            Play::Drip(bytes) => {
                let at = self.offset % bytes.len();
                (&bytes[at..=at], Duration::from_secs(1))
            }
            Play::Endless(bytes) => (&bytes[self.offset % bytes.len()..], Duration::ZERO),
            Play::Hangs | Play::Refuses => (&[][..], Duration::MAX),
        };
        if time > limit {
            self.clock.set(self.clock.get() + limit);
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.clock.set(self.clock.get() + time);
        let n = bytes.len().min(buffer.len());
        buffer[..n].copy_from_slice(&bytes[..n]);
        self.offset += n;
        Ok(n)
    }

    fn write(&mut self, bytes: &[u8], _: Duration) -> io::Result<()> {
        self.requests.borrow_mut().push(String::from_utf8_lossy(bytes).into_owned());
        Ok(())
    }
}
