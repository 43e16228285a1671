// SPDX-License-Identifier: Apache-2.0
//! Which place a target is, and who asks there.

use std::{fmt, time::Duration};

use anyhow::{Context as _, Result};

use super::{
    Shelf,
    bucket::Store,
    login,
    pieces::PIECE,
    registry::Registry,
    target::{self, Endpoint, Target},
};
use crate::{
    cli,
    error::{refuse, refuse_usage},
    fetch::{
        http::Client,
        registry::access::Login,
        signature::{Signer, is_credential},
    },
    sys::credentials::Credentials,
};

/// Where S3 began, and what most other stores call their only region.
const REGION: &str = "us-east-1";

const SET_KEYS: &str = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";

/// What a place is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Read,
    Write,
}

/// How places are reached.
#[derive(Debug)]
pub struct Ways {
    client: Client,
    piece: usize,
    endpoint: Option<Endpoint>,
    region: String,
    allow_plain_http: bool,
    credentials: Credentials,
}

/// A place for releases.
pub struct Place {
    pub(super) shelf: Box<dyn Shelf>,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place")
    }
}

impl Ways {
    /// As the command line and the environment say.
    ///
    /// # Errors
    /// A word of them is malformed, or something would go over a network in clear.
    pub fn new(args: &cli::Store, credentials: Credentials) -> Result<Self> {
        let example = "write one such as https://s3.example.org";
        let endpoint = args.endpoint.as_ref().or(credentials.endpoint.as_ref());
        let endpoint: Option<Endpoint> = endpoint
            .map(|text| text.parse().map_err(|error| refuse_usage(error, example)))
            .transpose()?;
        if !args.allow_plain_http && endpoint.as_ref().is_some_and(Endpoint::is_exposed) {
            return Err(refuse_usage(
                "the endpoint has no https, and is another machine",
                "name it with https, or say --allow-plain-http",
            ));
        }
        let region = args.region.as_ref().or(credentials.region.as_ref());
        let region = region.map_or(REGION, String::as_str).to_owned();
        if !target::is_region(&region) {
            let fact = format!("'{}' is no region", region.escape_default());
            return Err(refuse_usage(fact, format!("write one such as {REGION}")));
        }
        Ok(Self {
            client: Client::new(),
            piece: PIECE,
            endpoint,
            region,
            allow_plain_http: args.allow_plain_http,
            credentials,
        })
    }

    /// The same with another pause between tries.
    #[must_use]
    pub fn with_backoff(mut self, pause: Duration) -> Self {
        self.client = self.client.with_backoff(pause);
        self
    }

    /// The same with another time that a server may be silent.
    #[must_use]
    pub fn with_stall(mut self, stall: Duration) -> Self {
        self.client = self.client.with_stall(stall);
        self
    }

    /// The same with pieces of another size.
    #[must_use]
    pub fn with_piece(mut self, bytes: usize) -> Self {
        self.piece = bytes;
        self
    }

    /// A target's place. Nothing is asked there yet.
    ///
    /// # Errors
    /// The credentials are malformed, or there are none where some are needed.
    pub fn open(&self, target: &Target, purpose: Purpose) -> Result<Place> {
        let shelf: Box<dyn Shelf> = match target {
            Target::Registry(reference) => {
                let actions = match purpose {
                    Purpose::Read => "pull",
                    Purpose::Write => "pull,push",
                };
                let login = self.login(reference.registry())?;
                let plain = self.allow_plain_http;
                let registry = Registry::open(&self.client, reference, plain, actions, login);
                Box::new(registry.with_piece(self.piece))
            }
            Target::Bucket(bucket) => {
                let signer = self.signer(purpose)?;
                let (endpoint, region) = (self.endpoint.as_ref(), &self.region);
                let store = Store::open(&self.client, bucket, endpoint, region, signer);
                Box::new(store.with_piece(self.piece))
            }
        };
        Ok(Place { shelf })
    }

    fn login(&self, host: &str) -> Result<Option<Login>> {
        let Some((path, text)) = &self.credentials.docker_config else { return Ok(None) };
        login::find(text.reveal(), host)
            .map_err(|error| refuse(error, "log in again, as with 'docker login', or remove it"))
            .with_context(|| format!("reading '{}'", path.display()))
    }

    /// Whoever only reads may do without.
    fn signer(&self, purpose: Purpose) -> Result<Option<Signer>> {
        let Credentials { access_key_id, secret_access_key, session_token, .. } = &self.credentials;
        let (access_key, secret_key) = match (access_key_id, secret_access_key) {
            (Some(access), Some(secret)) => (access.clone(), secret.clone()),
            (None, None) if purpose == Purpose::Read => return Ok(None),
            (None, None) => return Err(refuse_usage("there are no credentials", SET_KEYS)),
            _ => return Err(refuse_usage("only a half of the credentials is there", SET_KEYS)),
        };
        let session = session_token.as_ref().is_none_or(|token| is_credential(token.reveal()));
        if !is_credential(&access_key) || !is_credential(secret_key.reveal()) || !session {
            let fact = "the credentials have characters that none have";
            return Err(refuse_usage(fact, SET_KEYS));
        }
        let (region, session_token) = (self.region.clone(), session_token.clone());
        Ok(Some(Signer { access_key, secret_key, session_token, region }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{error::Report, kubernetes::settings::Secret};

    fn ways(endpoint: &str, credentials: Credentials) -> Result<Ways> {
        let args = cli::Store {
            endpoint: (!endpoint.is_empty()).then(|| endpoint.to_owned()),
            ..cli::Store::default()
        };
        Ways::new(&args, credentials)
    }

    fn keys(access: Option<&str>, secret: Option<&str>) -> Credentials {
        Credentials {
            access_key_id: access.map(str::to_owned),
            secret_access_key: secret.map(Secret::new),
            ..Credentials::default()
        }
    }

    #[test]
    fn nothing_goes_over_a_network_in_clear_unless_it_is_said() {
        let report = |endpoint: &str| {
            ways(endpoint, Credentials::default()).map_err(|error| Report(&error).to_string())
        };
        for endpoint in ["", "https://s3.example", "http://127.0.0.1:9000", "http://[::1]:9000"] {
            assert!(report(endpoint).is_ok(), "{endpoint}");
        }
        let text = report("http://10.0.0.1:9000").unwrap_err();
        assert!(text.contains("has no https") && text.contains("--allow-plain-http"), "{text}");
        let args = cli::Store {
            endpoint: Some("http://10.0.0.1:9000".to_owned()),
            allow_plain_http: true,
            ..cli::Store::default()
        };
        assert!(Ways::new(&args, Credentials::default()).is_ok());
    }

    #[test]
    fn whoever_writes_to_a_bucket_says_who_it_is() {
        let target: Target = "s3://bucket/a".parse().unwrap();
        let open = |credentials, purpose| {
            let place = ways("", credentials).unwrap().open(&target, purpose);
            place.map(drop).map_err(|error| Report(&error).to_string())
        };
        assert_eq!(open(keys(None, None), Purpose::Read), Ok(()));
        assert_eq!(open(keys(Some("a"), Some("b")), Purpose::Write), Ok(()));
        let none = open(keys(None, None), Purpose::Write).unwrap_err();
        assert!(none.contains("there are no credentials"), "{none}");
        let half = open(keys(Some("a"), None), Purpose::Read).unwrap_err();
        assert!(half.contains("only a half"), "{half}");
        let bad = open(keys(Some("a"), Some("hunter2\r\nx: y")), Purpose::Write).unwrap_err();
        assert!(bad.contains("characters that none have") && !bad.contains("hunter2"), "{bad}");
    }

    #[test]
    fn no_secret_is_shown() {
        let shown = format!("{:?}", ways("", keys(Some("a"), Some("hunter2"))).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
