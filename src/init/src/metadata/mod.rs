// SPDX-License-Identifier: Apache-2.0
//! What a host's metadata says, read from the documents that a source delivered.
//!
//! The documents are NoCloud's: `meta-data`, `network-config`, `user-data`. Absent is not invalid:
//! each may be missing, but one that is there is understood whole or refused. Values keep the
//! types of `hostname` and `ssh_key`, so nothing that reaches a file can hold a line break.

mod hostname;
mod ssh_key;
mod user_data;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use hostname::Hostname;
pub use ssh_key::SshKey;

use crate::{
    network::{self, Network},
    yaml::{self, At, Problem},
};

const KEYS_MAX: usize = 64;

/// How a source spells what it has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// `meta-data`, `network-config`, `user-data`.
    #[default]
    Nocloud,
    /// `meta_data.json`, `network_data.json`, `user_data`.
    Openstack,
    /// `guestinfo.metadata` (with the network inside) and `guestinfo.userdata`, decoded.
    Guestinfo,
    /// Properties of `ovf-env.xml`, as NoCloud's keys.
    Ovf,
    /// The tree of EC2's service, as NoCloud's keys.
    Ec2,
}

impl Dialect {
    /// What messages call meta-data, network-config and user-data.
    fn names(self) -> [&'static str; 3] {
        match self {
            Self::Nocloud => ["meta-data", "network-config", "user-data"],
            Self::Openstack => ["meta_data.json", "network_data.json", "user_data"],
            Self::Guestinfo => ["guestinfo.metadata", "guestinfo.metadata", "guestinfo.userdata"],
            Self::Ovf => {
                ["ovf-env.xml", "network-config of ovf-env.xml", "user-data of ovf-env.xml"]
            }
            Self::Ec2 => ["meta-data", "network-config", "user-data"],
        }
    }
}

/// A file that a source delivers beside its documents (OpenStack's `files`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Injected {
    /// Absolute, as delivered: not checked.
    pub path: String,
    pub content: Vec<u8>,
}

/// Documents as a source delivered them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Seed {
    /// Where they come from, for messages: `nocloud medium 'vdb'`.
    pub origin: String,
    pub dialect: Dialect,
    pub meta_data: Option<Vec<u8>>,
    pub network_config: Option<Vec<u8>>,
    pub user_data: Option<Vec<u8>>,
    pub files: Vec<Injected>,
    /// What a `ds=nocloud;…` line says beside them.
    pub line: Line,
    /// What the source's reader wants said.
    pub warnings: Vec<String>,
}

/// Keys of a line of configuration; they win over the same keys of the documents.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Line {
    /// Where the line stands, for messages.
    pub origin: String,
    pub hostname: Option<String>,
    pub instance_id: Option<String>,
    /// Keys without a meaning of their own; they join the delivered meta-data.
    pub other: Vec<(String, String)>,
}

/// One host's metadata, valid.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Metadata {
    pub instance_id: String,
    pub hostname: Option<Hostname>,
    pub ssh_keys: Vec<SshKey>,
    pub vars: Map<String, Value>,
    pub network: Option<Network>,
    /// meta-data as delivered, for `ds.meta_data`.
    pub delivered: Map<String, Value>,
    /// What was accepted but is worth a line.
    pub warnings: Vec<String>,
}

/// Why metadata was refused: which source, which of its documents, where in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {file}:{}{problem}", if problem.line > 0 { "" } else { " " })]
pub struct Error {
    pub origin: String,
    pub file: &'static str,
    pub problem: Problem,
}

/// cloud-init's default for a seed that names none.
const DEFAULT_INSTANCE_ID: &str = "nocloud";

impl Seed {
    /// Whether any document was delivered.
    pub fn has_documents(&self) -> bool {
        [&self.meta_data, &self.network_config, &self.user_data].iter().any(|it| it.is_some())
    }

    /// Understands the documents.
    ///
    /// # Errors
    /// The first thing that is not understood.
    pub fn read(&self) -> Result<Metadata, Error> {
        let within = |file| move |problem| Error { origin: self.origin.clone(), file, problem };
        let [meta_data, network_config, user_data] = self.dialect.names();
        let mut metadata =
            Metadata { instance_id: DEFAULT_INSTANCE_ID.to_owned(), ..Metadata::default() };
        if let Some(bytes) = &self.meta_data {
            read_meta_data(bytes, &mut metadata).map_err(within(meta_data))?;
        }
        read_line(&self.line, &mut metadata).map_err(|problem| Error {
            origin: self.line.origin.clone(),
            file: "ds=",
            problem,
        })?;
        if let Some(bytes) = &self.network_config {
            metadata.network = read_network(bytes).map_err(within(network_config))?;
        }
        if let Some(bytes) = &self.user_data {
            user_data::read(bytes, &mut metadata).map_err(within(user_data))?;
        }
        Ok(metadata)
    }
}

fn read_network(bytes: &[u8]) -> Result<Option<Network>, Problem> {
    let Some(document) = yaml::parse(bytes)? else { return Ok(None) };
    network::config::read(&At::root(&document)).map(Some)
}

fn read_meta_data(bytes: &[u8], metadata: &mut Metadata) -> Result<(), Problem> {
    let Some(document) = yaml::parse(bytes)? else {
        metadata.warnings.push("meta-data is empty".to_owned());
        return Ok(());
    };
    let root = At::root(&document);
    for (key, at) in root.entries()? {
        let null = at.node().to_json().is_null();
        match key {
            _ if null => {}
            "instance-id" => {
                metadata.instance_id =
                    instance_id(at.text("an instance id")?).map_err(|it| at.problem(it))?
            }
            "local-hostname" => {
                let name = at.string(hostname::EXPECTED)?;
                set_hostname(name, metadata).map_err(|it| at.problem(it))?;
            }
            "public-keys" => read_keys(&at, metadata)?,
            "vars" => {
                at.entries()?;
                if let Value::Object(vars) = at.node().to_json() {
                    metadata.vars = vars;
                }
            }
            "seedfrom" => {
                return Err(at.problem("needs the network, which no source of this image uses"));
            }
            "network-interfaces" => {
                return Err(at.problem("not supported; use the document network-config"));
            }
            _ => {}
        }
    }
    if let Value::Object(delivered) = document.to_json() {
        metadata.delivered = delivered;
    }
    Ok(())
}

fn read_line(line: &Line, metadata: &mut Metadata) -> Result<(), Problem> {
    let mut deliver = |key: &str, value: &str| {
        metadata.delivered.insert(key.to_owned(), Value::from(value));
    };
    for (key, value) in &line.other {
        deliver(key, value);
    }
    let keyed = |key: &str, message: String| Problem { line: 0, key: key.to_owned(), message };
    if let Some(id) = &line.instance_id {
        deliver("instance-id", id);
        metadata.instance_id = instance_id(id).map_err(|it| keyed("instance-id", it))?;
    }
    if let Some(name) = &line.hostname {
        metadata.delivered.insert("local-hostname".to_owned(), Value::from(&**name));
        set_hostname(name, metadata).map_err(|it| keyed("local-hostname", it))?;
    }
    Ok(())
}

fn set_hostname(text: &str, metadata: &mut Metadata) -> Result<(), String> {
    let (name, warning) = Hostname::parse(text)?;
    metadata.warnings.extend(warning);
    metadata.hostname = Some(name);
    Ok(())
}

/// An instance id is printed and compared, and later releases name files after it.
fn instance_id(text: &str) -> Result<String, String> {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"._:+-".contains(&byte);
    let fits = (1..=128).contains(&text.len()) && text.bytes().any(|b| b.is_ascii_alphanumeric());
    if fits && text.bytes().all(safe) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "expected 1 to 128 letters, digits, '.', '_', ':', '+' or '-', found '{}'",
        yaml::printable(text)
    ))
}

/// A key, a list of keys, or a map of them by any name, whose values may be lists themselves.
fn read_keys(at: &At<'_>, metadata: &mut Metadata) -> Result<(), Problem> {
    if at.is_list() {
        for item in at.items()? {
            read_keys(&item, metadata)?;
        }
    } else if at.is_map() {
        for (_, item) in at.entries()? {
            read_keys(&item, metadata)?;
        }
    } else {
        if metadata.ssh_keys.len() >= KEYS_MAX {
            return Err(at.problem(format!("more than {KEYS_MAX} ssh keys")));
        }
        // A key is not echoed: someone may have pasted the private one.
        let yaml::Kind::Scalar(scalar) = &at.node().kind else { return Ok(()) };
        let key = SshKey::parse(&scalar.text).map_err(|message| at.problem(message))?;
        if !metadata.ssh_keys.contains(&key) {
            metadata.ssh_keys.push(key);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
