// SPDX-License-Identifier: Apache-2.0
//! The part of `#cloud-config` that suits an immutable node.
//!
//! Keys that such a node cannot honor are refused by name with what to do instead, because a
//! script that silently does not run is found much later.

mod ca_certs;
mod ntp;
mod unsuited;
mod write_files;

use std::collections::BTreeMap;

pub use ca_certs::CaCerts;
pub use ntp::Ntp;
pub use write_files::WriteFile;

use super::{
    Hostname, Metadata, SshKey, hostname,
    meta_data::{read_keys, set_hostname},
};
use crate::yaml::{self, At, Problem};

const SUPPORTED: &str =
    "hostname, fqdn, ssh_authorized_keys, users, write_files, ntp, ca_certs, manage_etc_hosts";

/// Where something stands in metadata, for a complaint that is made later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub file: &'static str,
    /// 0 if no line is known.
    pub line: usize,
    pub key: String,
}

impl Place {
    pub fn problem(&self, message: impl Into<String>) -> Problem {
        Problem { line: self.line, key: self.key.clone(), message: message.into() }
    }
}

/// Reads the document that stands in `file`.
pub(super) fn read(text: &str, file: &'static str, metadata: &mut Metadata) -> Result<(), Problem> {
    let Some(document) = yaml::parse(text.as_bytes())? else { return Ok(()) };
    let root = At::root(&document);
    let mut names: (Option<Hostname>, Option<Hostname>) = (None, None);
    for (key, at) in root.entries()? {
        if at.is_null() && SUPPORTED.split(", ").any(|supported| supported == key) {
            continue;
        }
        match key {
            "hostname" | "fqdn" => {
                let name = at.string(hostname::EXPECTED)?;
                set_hostname(name, metadata).map_err(|it| at.problem(it))?;
                let slot = if key == "fqdn" { &mut names.0 } else { &mut names.1 };
                slot.clone_from(&metadata.hostname);
            }
            "ssh_authorized_keys" | "ssh-authorized-keys" => {
                read_keys(&at, &mut metadata.ssh_keys)?;
            }
            "users" => read_users(&at, metadata)?,
            "write_files" => write_files::read(&at, file, &mut metadata.write_files)?,
            "ntp" => metadata.ntp = ntp::read(&at)?,
            "ca_certs" | "ca-certs" => metadata.ca_certs = Some(ca_certs::read(&at)?),
            "manage_etc_hosts" => check_etc_hosts(&at, file, metadata)?,
            _ => {
                let why = unsuited::of(key, &at)?;
                metadata.warnings.extend(why.map(|why| format!("{file}: '{key}': {why}")));
            }
        }
    }
    metadata.hostname = match names {
        (Some(fqdn), Some(name)) => Some(fqdn.called(&name)),
        (Some(name), None) | (None, Some(name)) => Some(name),
        (None, None) => metadata.hostname.take(),
    };
    Ok(())
}

/// Keys for accounts that the image has. `default` is the image's admin, who gets
/// `ssh_authorized_keys` of the top anyway.
fn read_users(at: &At<'_>, metadata: &mut Metadata) -> Result<(), Problem> {
    const KNOWN: [&str; 4] = ["name", "ssh_authorized_keys", "ssh-authorized-keys", "lock_passwd"];
    for item in at.items()? {
        if !item.is_map() {
            match item.string("a user with 'name' and 'ssh_authorized_keys'")? {
                "default" => continue,
                name => {
                    return Err(item.problem(format!(
                        "expected a user with 'name' and 'ssh_authorized_keys', found '{}'",
                        yaml::printable(name)
                    )));
                }
            }
        }
        for (key, at) in item.entries()? {
            if !KNOWN.contains(&key) {
                return Err(at.key_problem(format!(
                    "'{}' does not suit an immutable node: declare users in the image's profile; \
                     metadata gives them ssh keys",
                    yaml::printable(key)
                )));
            }
        }
        let fields = item.fields(&KNOWN)?;
        if let Some(at) = fields.get("lock_passwd").filter(|at| at.boolean() != Ok(true)) {
            return Err(at.problem("expected true: nobody logs in with a password"));
        }
        let name = fields.get("name").ok_or_else(|| item.problem("missing key 'name'"))?;
        let account = account_name(name)?;
        let keys: &mut Vec<SshKey> = metadata.account_keys.entry(account).or_default();
        for key in ["ssh_authorized_keys", "ssh-authorized-keys"] {
            if let Some(at) = fields.get(key) {
                read_keys(at, keys)?;
            }
        }
    }
    Ok(())
}

/// useradd(8): lower-case letters, digits, `_`, `-`, at most 32.
fn account_name(at: &At<'_>) -> Result<String, Problem> {
    let text = at.string("an account's name")?;
    let safe =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    let begins = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    if begins && text.len() <= 32 && text.bytes().all(safe) {
        return Ok(text.to_owned());
    }
    Err(at.problem(format!("expected an account's name, found '{}'", yaml::printable(text))))
}

/// `/etc/hosts` is always written.
fn check_etc_hosts(at: &At<'_>, file: &str, metadata: &mut Metadata) -> Result<(), Problem> {
    if !matches!(at.text("true or 'localhost'")?, "localhost" | "template") && !at.boolean()? {
        let warning =
            format!("{file}: 'manage_etc_hosts' has no effect: /etc/hosts is always written");
        metadata.warnings.push(warning);
    }
    Ok(())
}

/// Keys of accounts by name.
pub(super) type AccountKeys = BTreeMap<String, Vec<SshKey>>;
