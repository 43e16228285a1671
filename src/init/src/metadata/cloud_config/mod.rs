// SPDX-License-Identifier: Apache-2.0
//! The part of `#cloud-config` that suits an immutable node.
//!
//! Keys that such a node cannot honor are refused by name with what to do instead, because a
//! script that silently does not run is found much later.

mod ca_certs;
mod ntp;
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

/// Keys of cloud-config with what replaces them.
const INSTEAD: [(&str, &[&str]); 8] = [
    (
        "put a unit into the image's profile",
        &[
            "runcmd",
            "bootcmd",
            "phone_home",
            "power_state",
            "scripts_user",
            "final_message",
            "ansible",
            "chef",
            "puppet",
            "salt_minion",
            "cloud_init_modules",
            "cloud_config_modules",
            "cloud_final_modules",
        ],
    ),
    (
        "list packages in the image's profile",
        &[
            "packages",
            "package_update",
            "package_upgrade",
            "package_reboot_if_required",
            "apt",
            "apt_update",
            "apt_upgrade",
            "snap",
            "yum_repos",
            "zypper",
            "apk_repos",
        ],
    ),
    (
        "put the file or a .j2 template into an overlay of the image",
        &[
            "timezone",
            "locale",
            "keyboard",
            "resolv_conf",
            "manage_resolv_conf",
            "rsyslog",
            "sysctl",
        ],
    ),
    (
        "declare users in the image's profile; metadata gives them ssh keys",
        &["user", "groups", "system_info"],
    ),
    (
        "nobody logs in with a password",
        &["password", "chpasswd", "ssh_pwauth", "disable_root", "disable_root_opts"],
    ),
    (
        "host keys are made by the node itself and kept in /var",
        &["ssh_keys", "ssh_deletekeys", "ssh_genkeytypes", "ssh", "ssh_import_id"],
    ),
    (
        "the image lays out its own disk",
        &[
            "mounts",
            "mount_default_fields",
            "disk_setup",
            "fs_setup",
            "swap",
            "growpart",
            "resize_rootfs",
        ],
    ),
    (
        "give the host name in 'hostname' or 'fqdn'",
        &["preserve_hostname", "prefer_fqdn_over_hostname", "create_hostname_file"],
    ),
];

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
            "manage_etc_hosts" => check_etc_hosts(&at)?,
            _ => return Err(refuse(key, &at)),
        }
    }
    metadata.hostname = match names {
        (Some(fqdn), Some(name)) if name.short() != fqdn.short() => {
            return Err(root.problem(format!(
                "'hostname' is '{name}', but 'fqdn' is '{fqdn}': give the same first label"
            )));
        }
        (Some(name), _) | (None, Some(name)) => Some(name),
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
                return Err(at.problem(format!(
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
fn check_etc_hosts(at: &At<'_>) -> Result<(), Problem> {
    match at.text("true or 'localhost'")? {
        "localhost" | "template" => Ok(()),
        _ if at.boolean()? => Ok(()),
        _ => Err(at.problem("expected true or 'localhost': /etc/hosts is always written")),
    }
}

fn refuse(key: &str, at: &At<'_>) -> Problem {
    let instead = INSTEAD.iter().find(|(_, keys)| keys.contains(&key));
    let key = yaml::printable(key);
    let message = match instead {
        Some((instead, _)) => format!("'{key}' does not suit an immutable node: {instead}"),
        None => format!("unknown key '{key}'; expected one of: {SUPPORTED}"),
    };
    Problem { line: at.line(), key: String::new(), message }
}

/// Keys of accounts by name.
pub(super) type AccountKeys = BTreeMap<String, Vec<SshKey>>;
