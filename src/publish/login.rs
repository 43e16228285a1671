// SPDX-License-Identifier: Apache-2.0
//! Who somebody is at a registry: `config.json` as `docker login`, `podman login` and `oras login`
//! write it.
//!
//! ```json
//! { "auths": { "registry.example": { "auth": "base64 of NAME:PASSWORD" } } }
//! ```
//!
//! Programs that keep passwords elsewhere (`credHelpers`, `credsStore`) are not asked: Kiln starts
//! no program of the host.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

use crate::{fetch::registry::access::Login, kubernetes::settings::Secret};

/// Docker Hub, by the names that it has in such files.
const HUB: &str = "registry-1.docker.io";
const HUB_NAMES: [&str; 2] = ["index.docker.io", "docker.io"];

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
}

/// Why a file says nothing; no word of it is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error("it is no configuration of docker")]
    Config,
    #[error("its entry for the registry is no name and password")]
    Entry,
}

/// The login for `HOST:PORT`, if there is one.
///
/// # Errors
/// The file is something else, or the registry's entry is malformed.
pub(super) fn find(config: &str, host: &str) -> Result<Option<Login>, Error> {
    let config: Config = serde_json::from_str(config).map_err(|_| Error::Config)?;
    let is_it = |name: &str| {
        let name = name.split_once("://").map_or(name, |(_, rest)| rest);
        let name = name.split('/').next().unwrap_or(name);
        name == host || (host == HUB && HUB_NAMES.contains(&name))
    };
    let Some((_, entry)) = config.auths.iter().find(|(name, _)| is_it(name)) else {
        return Ok(None);
    };
    let pair = match (entry.auth.as_str(), entry.username.as_str()) {
        // What helpers leave behind.
        ("", "") => return Ok(None),
        ("", name) => format!("{name}:{}", entry.password).into_bytes(),
        (auth, _) => STANDARD.decode(auth.trim()).map_err(|_| Error::Entry)?,
    };
    // Without a password it is a token of another kind.
    let is_whole = pair.iter().position(|byte| *byte == b':').is_some_and(|at| at + 1 < pair.len());
    if !is_whole {
        return Err(Error::Entry);
    }
    Ok(Some(Login(Secret::new(STANDARD.encode(pair)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(config: &str, host: &str) -> Result<Option<String>, Error> {
        let found = find(config, host)?;
        Ok(found.map(|Login(it)| String::from_utf8(STANDARD.decode(it.reveal()).unwrap()).unwrap()))
    }

    #[test]
    fn a_registry_is_found_under_the_names_that_tools_write() {
        let config = r#"{ "auths": {
            "a.example:5000": { "auth": "bWU6c2VjcmV0" },
            "https://b.example/v2/": { "username": "me", "password": "a:b" },
            "https://index.docker.io/v1/": { "auth": "aHViOnA=" },
            "helped.example": {}
        }, "credsStore": "desktop", "HttpHeaders": {} }"#;
        let own = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(login(config, "a.example:5000"), own("me:secret"));
        assert_eq!(login(config, "b.example"), own("me:a:b"));
        assert_eq!(login(config, "registry-1.docker.io"), own("hub:p"));
        for host in ["a.example", "helped.example", "docker.io.example"] {
            assert_eq!(login(config, host), Ok(None));
        }
        assert_eq!(login("{}", "a.example"), Ok(None));
    }

    #[test]
    fn what_is_malformed_is_said_without_a_word_of_it() {
        let entry = |auth: &str| format!(r#"{{"auths":{{"a.b":{{"auth":"{auth}"}}}}}}"#);
        assert_eq!(login("secret", "a.b"), Err(Error::Config));
        for auth in ["!", "bm9ib2R5", "bWU6"] {
            assert_eq!(login(&entry(auth), "a.b"), Err(Error::Entry));
            assert_eq!(login(&entry(auth), "c.d"), Ok(None));
        }
        let shown = format!("{:?}", find(&entry("bWU6c2VjcmV0"), "a.b"));
        assert_eq!(shown, "Ok(Some(Login(Secret)))");
    }
}
