// SPDX-License-Identifier: Apache-2.0
//! EC2's instance metadata service, version 2: a token first, then one document per value.
//!
//! <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html>.
//! Version 1 is never used: what can make this machine send a GET could read it. Only the keys
//! that make a host are asked for, above all no credentials.

use serde_json::{Map, Value, json};

use super::{Error, client::Client, documents::whole_or_not, http::Method, origin, url::Url};
use crate::{
    handoff::Source,
    metadata::{Dialect, Seed},
    yaml::printable,
};

/// Link-local, so only this machine's hypervisor can answer.
const BASES: [&str; 2] = ["http://169.254.169.254", "http://[fd00:ec2::254]"];
/// Newest first; the last is what imitations of the service have.
const VERSIONS: [&str; 4] = ["2021-03-23", "2018-09-24", "2016-09-02", "2009-04-04"];
const TOKEN: &str = "X-aws-ec2-metadata-token";
const TOKEN_TIME: (&str, &str) = ("X-aws-ec2-metadata-token-ttl-seconds", "300");
const TOKEN_MAX: usize = 1024;
const KEYS_MAX: usize = 64;

pub(super) fn read(client: &mut Client<'_>) -> Result<Option<Seed>, Error> {
    let urls = BASES.map(|base| parsed(&format!("{base}/latest/api/token")));
    let urls = urls.into_iter().collect::<Result<Vec<Url>, Error>>()?;
    let (index, token) = client.first(Method::Put, &urls, &[TOKEN_TIME])?;
    let base = urls.into_iter().nth(index).ok_or_else(|| refused("no such place"))?;
    let token = token.ok_or_else(|| {
        refused(format!("'{base}': no tokens (IMDSv2), and version 1 is not used"))
    })?;
    let mut service = Service { client, base, token: token_of(&token)?, version: "" };
    let Some(id) = service.version()? else { return Ok(None) };
    // From here on there is an instance.
    service.seed(id).map(Some).map_err(whole_or_not)
}

struct Service<'a, 'b> {
    client: &'a mut Client<'b>,
    base: Url,
    token: String,
    version: &'static str,
}

impl Service<'_, '_> {
    /// Chooses the newest version that there is and gives the instance's id.
    fn version(&mut self) -> Result<Option<String>, Error> {
        for version in VERSIONS {
            self.version = version;
            if let Some(id) = self.text("meta-data/instance-id")? {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    fn seed(&mut self, id: String) -> Result<Seed, Error> {
        let mut meta_data = Map::new();
        meta_data.insert("instance-id".to_owned(), Value::from(id));
        for (key, path) in [
            ("local-hostname", "meta-data/local-hostname"),
            ("availability-zone", "meta-data/placement/availability-zone"),
        ] {
            if let Some(value) = self.text(path)? {
                meta_data.insert(key.to_owned(), Value::from(value));
            }
        }
        let keys = self.keys()?;
        if !keys.is_empty() {
            meta_data.insert("public-keys".to_owned(), Value::from(keys));
        }
        Ok(Seed {
            origin: origin(Source::Ec2, &self.base.with_path("/").map_err(refused)?),
            dialect: Dialect::Ec2,
            meta_data: Some(json!(meta_data).to_string().into_bytes()),
            user_data: self.get("user-data")?,
            ..Seed::default()
        })
    }

    /// The list has a line `INDEX=NAME` for each key.
    fn keys(&mut self) -> Result<Map<String, Value>, Error> {
        let mut keys = Map::new();
        let list = self.text("meta-data/public-keys/")?.unwrap_or_default();
        for line in list.lines().filter(|line| !line.is_empty()) {
            let parts = line.split_once('=');
            let number = |(index, _): &(&str, &str)| index.parse::<u16>().is_ok();
            let Some((index, name)) = parts.filter(number) else {
                let found: String = printable(line).chars().take(80).collect();
                return Err(refused(format!(
                    "public-keys: expected 'INDEX=NAME', found '{found}'"
                )));
            };
            if keys.len() >= KEYS_MAX {
                return Err(refused(format!("public-keys: more than {KEYS_MAX}")));
            }
            if let Some(key) = self.text(&format!("meta-data/public-keys/{index}/openssh-key"))? {
                keys.insert(name.to_owned(), Value::from(key));
            }
        }
        Ok(keys)
    }

    fn text(&mut self, path: &str) -> Result<Option<String>, Error> {
        let Some(bytes) = self.get(path)? else { return Ok(None) };
        let text = String::from_utf8(bytes)
            .map_err(|_| refused(format!("{path}: expected text, found other bytes")))?;
        Ok(Some(text.trim().to_owned()))
    }

    fn get(&mut self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = format!("/{}/{path}", self.version);
        let url = self.base.with_path(&path).map_err(refused)?;
        self.client.get(&url, &[(TOKEN, &self.token)])
    }
}

/// A token goes into a header, so it is one visible word.
fn token_of(bytes: &[u8]) -> Result<String, Error> {
    let text = std::str::from_utf8(bytes.trim_ascii()).unwrap_or("");
    let visible = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if visible && text.len() <= TOKEN_MAX {
        return Ok(text.to_owned());
    }
    Err(refused("the token is not one word of visible characters"))
}

fn parsed(text: &str) -> Result<Url, Error> {
    Url::parse(text).map_err(refused)
}

fn refused(what: impl AsRef<str>) -> Error {
    Error::Refused(format!("ec2: {}", what.as_ref()))
}
