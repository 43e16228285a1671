// SPDX-License-Identifier: Apache-2.0
//! What a server wants besides an address: a registry a token, a store a signature.
//!
//! Keys go to their own server alone: a redirect carries none, and neither does an address on
//! another host that a registry names for an upload.

use ureq::{
    Body, ResponseExt as _,
    http::{HeaderMap, Response, StatusCode, header::HeaderName},
};

use super::{
    http::{Client, Request, Try},
    registry::access::Access,
    signature::{Signed, Signer},
};
use crate::{digest::Digest, sys};

/// What opens a server.
#[derive(Debug)]
pub(crate) enum Key {
    Token(Access),
    Signature(Signer),
}

/// Most redirects of one request.
const MAX_REDIRECTS: u32 = 10;

impl Client {
    /// How often a server may lead elsewhere. A client drops `Authorization` on that way and keeps
    /// other headers, so what a signature has in those must not go there.
    pub(super) fn max_redirects(&self) -> u32 {
        match self.key.as_deref() {
            Some(Key::Signature(_)) => 0,
            _ => MAX_REDIRECTS,
        }
    }

    /// The same without a key.
    fn keyless(&self) -> Self {
        let mut client = self.clone();
        client.key = None;
        client
    }

    /// An answer; a registry that wants a token gets one, once.
    pub(super) fn ask(&self, request: Request<'_>) -> Try<Response<Body>> {
        let asked =
            Signed { method: "GET", url: request.url, headers: &[], payload: Digest::of(&[]) };
        self.with_key(&asked, |headers| self.send(request, headers))
    }

    /// Sends a request with the headers that it needs; once more with another token if the first
    /// one has ended.
    pub(super) fn with_key(
        &self,
        asked: &Signed<'_>,
        send: impl Fn(&[(HeaderName, String)]) -> Try<Response<Body>>,
    ) -> Try<Response<Body>> {
        let access = match self.key.as_deref() {
            None => return send(&[]),
            Some(Key::Signature(signer)) => return send(&signer.sign(asked, sys::now())),
            Some(Key::Token(access)) if access.is_for(asked.url) => access,
            Some(Key::Token(_)) => return send(&[]),
        };
        let (turn, headers) = access.headers();
        let response = send(&headers)?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let answered = response.get_uri().authority().map(ToString::to_string);
        let asked: &HeaderMap = response.headers();
        access.renew(turn, answered.as_deref(), asked, |url, limit, who| {
            self.keyless().get_as(url, limit, who)
        })?;
        send(&access.headers().1)
    }
}
