// SPDX-License-Identifier: Apache-2.0
//! What a host's metadata says, read from the documents that a source delivered.
//!
//! The documents are NoCloud's: `meta-data`, `network-config`, `user-data`. Absent is not invalid:
//! each may be missing, but one that is there is understood whole or refused. Values keep the
//! types of `hostname` and `ssh_key`, so nothing that reaches a file can hold a line break.

mod cloud_config;
mod hostname;
mod meta_data;
mod peers;
mod ssh_key;
mod user_data;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use cloud_config::{CaCerts, Ntp, WriteFile};
pub use hostname::Hostname;
pub use peers::PEERS;
pub use ssh_key::SshKey;

use crate::{
    handoff::Source,
    network::{self, Kind, Network},
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
    fn platform(self) -> &'static str {
        match self {
            Self::Nocloud => "nocloud",
            Self::Openstack => "openstack",
            Self::Guestinfo => "vmware",
            Self::Ovf => "ovf",
            Self::Ec2 => "ec2",
        }
    }

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

/// Bytes of all files of one source: the kept seed has a limit, and a number in JSON for each.
pub const INJECTED_MAX: usize = 1 << 20;

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
    /// The instance id, should none of the documents name one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback_id: Option<String>,
}

/// Keys of a line of configuration; they win over the same keys of the documents.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Line {
    /// Where the line stands, for messages.
    pub origin: String,
    pub hostname: Option<String>,
    pub instance_id: Option<String>,
    /// Where the documents are (`s`).
    pub seed_url: Option<String>,
    /// Keys without a meaning of their own; they join the delivered meta-data.
    pub other: Vec<(String, String)>,
}

impl Line {
    /// Whether it says anything of the host; `ds=nocloud` alone only chooses sources.
    pub fn says_something(&self) -> bool {
        self.hostname.is_some() || self.instance_id.is_some() || !self.other.is_empty()
    }

    /// This line with what only `below` has. Where the documents are is said by one of them.
    pub fn over(self, below: &Self) -> Self {
        let taken = |key: &str| self.other.iter().any(|(other, _)| other == key);
        let more: Vec<_> = below.other.iter().filter(|(key, _)| !taken(key)).cloned().collect();
        Self {
            hostname: self.hostname.or_else(|| below.hostname.clone()),
            instance_id: self.instance_id.or_else(|| below.instance_id.clone()),
            seed_url: self.seed_url.or_else(|| below.seed_url.clone()),
            other: self.other.into_iter().chain(more).collect(),
            origin: self.origin,
        }
    }

    /// The metadata that a line is without documents; none if it says nothing of the host.
    pub fn alone(&self) -> Option<Seed> {
        let seed = || Seed { origin: self.origin.clone(), line: self.clone(), ..Seed::default() };
        self.says_something().then(seed)
    }
}

/// One host's metadata, valid.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Metadata {
    pub instance_id: String,
    /// Where it comes from, for messages.
    pub origin: String,
    /// What templates know as `v1.platform`.
    pub platform: &'static str,
    pub hostname: Option<Hostname>,
    /// For the image's admin.
    pub ssh_keys: Vec<SshKey>,
    /// For accounts by name.
    pub account_keys: cloud_config::AccountKeys,
    pub write_files: Vec<WriteFile>,
    pub ntp: Option<Ntp>,
    pub ca_certs: Option<CaCerts>,
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

/// Whether a text can stand anywhere in a file without beginning a line of its own.
pub(crate) fn is_one_line(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() && c != '\t')
}

/// cloud-init's default for a seed that names none.
const DEFAULT_INSTANCE_ID: &str = "nocloud";

impl Seed {
    /// Whether any document was delivered.
    pub fn has_documents(&self) -> bool {
        [&self.meta_data, &self.network_config, &self.user_data].iter().any(|it| it.is_some())
    }

    /// The server that delivered them; none if they were on the machine.
    pub fn server(&self) -> Option<Source> {
        let word = self.origin.split(' ').next();
        Source::ALL.into_iter().find(|it| it.is_remote() && Some(it.word()) == word)
    }

    /// The instance that the documents or the line name, without a look at anything else: what
    /// else is wrong is told by [`Seed::read`].
    ///
    /// # Errors
    /// The id is refused, or meta-data cannot be read at all.
    pub fn instance_id(&self) -> Result<String, Error> {
        let mut metadata = Metadata::default();
        read_line(&self.line, &mut metadata).map_err(|problem| self.in_line(problem))?;
        if !metadata.instance_id.is_empty() {
            return Ok(metadata.instance_id);
        }
        let [file, ..] = self.dialect.names();
        let bytes = self.meta_data.as_deref().unwrap_or_default();
        let id = meta_data::find_id(bytes, self.dialect).map_err(|problem| Error {
            origin: self.origin.clone(),
            file,
            problem,
        })?;
        Ok(id.unwrap_or_else(|| self.default_id()))
    }

    fn default_id(&self) -> String {
        self.fallback_id.clone().unwrap_or_else(|| DEFAULT_INSTANCE_ID.to_owned())
    }

    fn in_line(&self, problem: Problem) -> Error {
        Error { origin: self.line.origin.clone(), file: "ds=", problem }
    }

    /// Understands the documents. `values` is what a template in user-data sees, from the metadata
    /// that was read before it.
    ///
    /// # Errors
    /// The first thing that is not understood.
    pub fn read(&self, values: impl FnOnce(&Metadata) -> Value) -> Result<Metadata, Error> {
        let within = |file| move |problem| Error { origin: self.origin.clone(), file, problem };
        let [meta_data, network_config, user_data] = self.dialect.names();
        let mut metadata = Metadata {
            instance_id: self.default_id(),
            origin: self.origin.clone(),
            platform: self.dialect.platform(),
            warnings: self.warnings.clone(),
            ..Metadata::default()
        };
        if let Some(bytes) = &self.meta_data {
            meta_data::read(bytes, self.dialect, meta_data, &mut metadata)
                .map_err(within(meta_data))?;
        }
        meta_data::read_injected(&self.files, meta_data, &mut metadata)
            .map_err(within(meta_data))?;
        read_line(&self.line, &mut metadata).map_err(|problem| self.in_line(problem))?;
        if self.dialect == Dialect::Nocloud
            && self.has_documents()
            && self.meta_data.is_none()
            && !self.line.says_something()
        {
            let what = format!("there is no {meta_data}; the instance is '{DEFAULT_INSTANCE_ID}'");
            metadata.warnings.push(format!("{}: {what}", self.origin));
        }
        if let Some(bytes) = &self.network_config {
            metadata.network = self.read_network(bytes).map_err(within(network_config))?;
        }
        if let Some(bytes) = &self.user_data {
            user_data::read(bytes, user_data, values, &mut metadata).map_err(within(user_data))?;
        }
        Ok(metadata)
    }

    fn read_network(&self, bytes: &[u8]) -> Result<Option<Network>, Problem> {
        let Some(document) = yaml::parse(bytes)? else { return Ok(None) };
        let root = At::root(&document);
        let mut network = match self.dialect {
            Dialect::Openstack => network::network_data::read(&root)?,
            _ => network::config::read(&root)?,
        };
        if self.server().is_some() {
            keep_names(&mut network, &root)?;
        }
        Ok(Some(network))
    }
}

/// A server is asked over the network, and an interface that is up keeps its name. Version 1 and
/// OpenStack give every interface a name, whether somebody wants it or not; in version 2 somebody
/// asked for it.
fn keep_names(network: &mut Network, root: &At<'_>) -> Result<(), Problem> {
    if let Some(at) = find(root, "set-name") {
        return Err(at.problem(
            "an interface that is up keeps its name: this needs a source on the machine itself",
        ));
    }
    let names: Vec<String> = network
        .devices
        .iter_mut()
        .filter_map(|device| match &mut device.kind {
            Kind::Ethernet(ethernet) => ethernet.set_name.take().map(|name| name.to_string()),
            _ => None,
        })
        .collect();
    if !names.is_empty() {
        network.warnings.push(format!(
            "{}: found by MAC address, and the kernel's names stay: a server was asked over them",
            names.join(", ")
        ));
    }
    Ok(())
}

/// The first value of `key` in the maps below.
fn find<'a>(at: &At<'a>, key: &str) -> Option<At<'a>> {
    let entries = at.entries().unwrap_or_default();
    let own = entries.iter().find(|(name, at)| *name == key && !at.is_null());
    own.map(|(_, at)| at.clone()).or_else(|| entries.iter().find_map(|(_, at)| find(at, key)))
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
        metadata.instance_id = meta_data::instance_id(id).map_err(|it| keyed("instance-id", it))?;
    }
    if let Some(name) = &line.hostname {
        metadata.delivered.insert("local-hostname".to_owned(), Value::from(&**name));
        meta_data::set_hostname(name, metadata).map_err(|it| keyed("local-hostname", it))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod user_data_tests;
