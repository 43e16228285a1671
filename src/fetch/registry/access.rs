// SPDX-License-Identifier: Apache-2.0
//! What a registry wants besides an address: types of documents, and a token.
//!
//! Most public registries answer 401 at first and say where tokens are; whoever asks there without
//! a password gets one that allows to read what is public ("Docker Registry v2 authentication via
//! central service"). A token is kept in memory while kiln runs, sent to the registry alone (a
//! redirect carries none), and printed nowhere.
//!
//! Whoever has a [`Login`] sends it where the token is, or, to a registry that has no tokens, with
//! each request (RFC 7617).

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use ureq::http::{
    HeaderMap, Uri,
    header::{ACCEPT, AUTHORIZATION, HeaderName, WWW_AUTHENTICATE},
};

use super::{
    super::{
        http::Outcome,
        origin::{LOGIN, PRIVATE},
    },
    challenge::{self, Bearer},
};
use crate::{
    diagnostic::quoted, error::refuse, formats::oci::registry::ACCEPTED,
    kubernetes::settings::Secret,
};

/// Most bytes of an answer with a token, and of the token. Some registries sign long ones.
const MAX_ANSWER: u64 = 64 << 10;
const MAX_TOKEN: usize = 16 << 10;
/// Most bytes of an address of tokens.
const MAX_REALM: usize = 2048;

/// Which token it is; none at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fetch) struct Turn(u32);

/// Name and password of somebody, as a registry is sent them: `NAME:PASSWORD` in base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Login(pub(crate) Secret);

/// The access to one repository of a registry.
#[derive(Debug)]
pub(crate) struct Access {
    /// `HOST:PORT` as it stands in addresses.
    registry: String,
    /// What a token is for unless the registry says it itself.
    scope: String,
    /// Whether the registry is asked without TLS, so that its tokens may be too.
    is_plain: bool,
    login: Option<Login>,
    /// The next step if the registry does not let us in.
    advice: &'static str,
    token: Mutex<(u32, Option<Token>)>,
}

impl Access {
    pub(super) fn new(registry: &str, repository: &str, is_plain: bool) -> Self {
        Self {
            registry: registry.to_owned(),
            scope: format!("repository:{repository}:pull"),
            is_plain,
            login: None,
            advice: PRIVATE,
            token: Mutex::default(),
        }
    }

    /// For what is published: `actions` are `pull`, or `pull,push`.
    pub(crate) fn published(
        registry: &str,
        repository: &str,
        is_plain: bool,
        actions: &str,
        login: Option<Login>,
    ) -> Self {
        let scope = format!("repository:{repository}:{actions}");
        Self { scope, login, advice: LOGIN, ..Self::new(registry, repository, is_plain) }
    }

    /// Whether an address is the registry's own, so that it may have the token.
    pub(in crate::fetch) fn is_for(&self, url: &str) -> bool {
        let scheme = if self.is_plain { "http" } else { "https" };
        let url: Option<Uri> = url.parse().ok();
        url.is_some_and(|url| {
            url.scheme_str() == Some(scheme)
                && url
                    .authority()
                    .is_some_and(|it| it.as_str().eq_ignore_ascii_case(&self.registry))
        })
    }

    /// The headers of a request, and whose turn they are.
    pub(in crate::fetch) fn headers(&self) -> (Turn, Vec<(HeaderName, String)>) {
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        // A blob is of none of these types.
        let mut headers = vec![(ACCEPT, format!("{}, */*", ACCEPTED.join(", ")))];
        headers.extend(token.1.as_ref().map(|it| (AUTHORIZATION, it.0.clone())));
        (Turn(token.0), headers)
    }

    /// Gets another token after a request of that turn was answered with 401 by `answered`. `get`
    /// reads an address, at most so many bytes, for whom a header names if there is one.
    pub(in crate::fetch) fn renew(
        &self,
        turn: Turn,
        answered: Option<&str>,
        headers: &HeaderMap,
        get: impl FnOnce(&str, u64, Option<&str>) -> Result<Outcome<Vec<u8>>>,
    ) -> Result<()> {
        let mut token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        if token.0 != turn.0 {
            // Somebody else got one while this request was on its way.
            return Ok(());
        }
        let registry = &self.registry;
        if answered != Some(registry) {
            let other = answered.unwrap_or("another host");
            let fact = format!("'{registry}' leads to '{other}', which answers 401 Unauthorized");
            return Err(refuse(fact, self.advice));
        }
        let challenges =
            || headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|it| it.to_str().ok());
        let login = self.login.as_ref().map(|Login(it)| format!("Basic {}", it.reveal()));
        let new = match (challenge::bearer(challenges()), login) {
            (Some(bearer), login) => {
                let url = self.token_url(&bearer)?;
                let asking = || format!("asking for a token of '{registry}'");
                match get(&url, MAX_ANSWER, login.as_deref()).with_context(asking)? {
                    Outcome::Found(bytes) => Token::parse(&bytes).with_context(asking)?,
                    Outcome::Missing(who) => {
                        return Err(refuse(who, self.advice)).with_context(asking);
                    }
                }
            }
            (None, Some(login)) if challenge::is_basic(challenges()) => Token(login),
            (None, _) => {
                let fact = format!("'{registry}' answers 401 Unauthorized and offers no token");
                return Err(refuse(fact, self.advice));
            }
        };
        *token = (token.0 + 1, Some(new));
        Ok(())
    }

    /// Where a token is, for whoever has no password.
    fn token_url(&self, bearer: &Bearer) -> Result<String> {
        let realm = bearer.realm.as_deref().unwrap_or_default();
        let url: Option<Uri> = realm.parse().ok().filter(|_| realm.len() <= MAX_REALM);
        let is_safe = |url: &Uri| match url.scheme_str() {
            Some("https") => true,
            Some("http") => self.is_plain,
            _ => false,
        };
        let is_good = url.is_some_and(|url| {
            is_safe(&url) && url.authority().is_some_and(|host| !host.as_str().contains('@'))
        });
        if !is_good || realm.contains('#') {
            let realm: String = realm.chars().take(100).collect();
            let fact = format!(
                "'{}' has its tokens at {}, expected an address with https",
                self.registry,
                quoted(&realm)
            );
            return Err(refuse(fact, "tell whoever runs it, or bring the image as an archive"));
        }
        let mut url = realm.to_owned();
        let scope = bearer.scope.as_deref().unwrap_or(&self.scope);
        let service = bearer.service.as_deref().map(|service| ("service", service));
        for (name, value) in service.into_iter().chain([("scope", scope)]) {
            url.push(if url.contains('?') { '&' } else { '?' });
            url.push_str(name);
            url.push('=');
            url.push_str(&escaped(value));
        }
        Ok(url)
    }
}

/// A value of a query (RFC 3986, section 3.4).
fn escaped(value: &str) -> String {
    let escape = |byte: u8| match byte {
        b'-' | b'.' | b'_' | b'~' | b'/' | b':' => char::from(byte).to_string(),
        _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    value.bytes().map(escape).collect()
}

/// What opens a repository: the value of a header.
struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// Reads an answer. What is wrong with it is said without any part of it.
    fn parse(bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            /// The same by the name that OAuth 2.0 has for it.
            access_token: Option<String>,
        }
        let answer: Option<Answer> = serde_json::from_slice(bytes).ok();
        let token = answer.and_then(|answer| answer.token.or(answer.access_token));
        let is_good = |token: &String| {
            (1..=MAX_TOKEN).contains(&token.len()) && token.bytes().all(|it| it.is_ascii_graphic())
        };
        token.filter(is_good).map(|it| Self(format!("Bearer {it}"))).ok_or_else(|| {
            refuse(
                "the answer has no 'token' that could be sent",
                "check the host of the reference and the proxy settings",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(is_plain: bool, realm: &str, service: Option<&str>, scope: Option<&str>) -> String {
        let own = |text: Option<&str>| text.map(str::to_owned);
        let bearer = Bearer { realm: own(Some(realm)), service: own(service), scope: own(scope) };
        let access = Access::new("a.example:5000", "b/c", is_plain);
        access.token_url(&bearer).unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn a_token_is_asked_for_by_https_unless_the_registry_itself_has_none() {
        let safe = "https://auth.example/token?scope=repository:b/c:pull";
        assert_eq!(url(false, "https://auth.example/token", None, None), safe);
        let plain = "http://auth.example/token?scope=repository:b/c:pull";
        assert_eq!(url(true, "http://auth.example/token", None, None), plain);
        for realm in [
            "http://auth.example/token",
            "",
            "auth.example",
            "/token",
            "ftp://auth.example/token",
            "file:///etc/passwd",
            "https://me:secret@auth.example/token",
            "https://auth.example/ token",
            "https://auth.example/token#x",
        ] {
            let found = url(false, realm, None, None);
            assert!(found.contains("expected an address with https"), "{realm}: {found}");
        }
    }

    #[test]
    fn only_the_registry_itself_gets_a_token() {
        let access = |is_plain| Access::new("a.example:5000", "b/c", is_plain);
        for (is_plain, url, expected) in [
            (false, "https://a.example:5000/v2/b/c/blobs/uploads/1?x=y", true),
            (false, "http://a.example:5000/v2/", false),
            (false, "https://a.example/v2/", false),
            (false, "https://me@a.example:5000/v2/", false),
            (false, "https://b.example/", false),
            (true, "http://a.example:5000/v2/", true),
            (true, "/v2/", false),
        ] {
            assert_eq!(access(is_plain).is_for(url), expected, "{url}");
        }
    }

    #[test]
    fn what_a_registry_says_of_its_tokens_is_sent_back_escaped() {
        let found =
            url(false, "https://a.b/t?x=1", Some("a b&c=d"), Some("repository:b/c:pull,push é"));
        assert_eq!(
            found,
            "https://a.b/t?x=1&service=a%20b%26c%3Dd&scope=repository:b/c:pull%2Cpush%20%C3%A9"
        );
    }

    #[test]
    fn a_token_is_one_word_and_never_shown() {
        let parse = |text: &str| Token::parse(text.as_bytes());
        for text in [r#"{"token":"abc"}"#, r#"{"access_token":"abc","expires_in":60}"#] {
            let token = parse(text).unwrap();
            assert_eq!((token.0.as_str(), format!("{token:?}").as_str()), ("Bearer abc", "Token"));
        }
        let long = format!(r#"{{"token":"{}"}}"#, "x".repeat(MAX_TOKEN + 1));
        for text in ["", "<html>", "{}", r#"{"token":""}"#, r#"{"token":"hunter2\r\nX: y"}"#, &long]
        {
            let error = parse(text).unwrap_err().to_string();
            assert_eq!(error, "the answer has no 'token' that could be sent");
        }
    }
}
