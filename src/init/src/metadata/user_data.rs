// SPDX-License-Identifier: Apache-2.0
//! user-data: the part of `#cloud-config` that suits an immutable node.
//!
//! Keys that such a node cannot honor are refused by name with what to do instead, because a
//! script that silently does not run is found much later.

use super::{Hostname, Metadata, hostname, read_keys, set_hostname};
use crate::yaml::{self, At, Problem};

const SUPPORTED: &str = "hostname, fqdn, ssh_authorized_keys";

/// Keys of cloud-config with what replaces them.
const INSTEAD: [(&str, &[&str]); 7] = [
    (
        "put a unit into the image's profile",
        &["runcmd", "bootcmd", "phone_home", "power_state", "scripts_user"],
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
        ],
    ),
    (
        "put the file or a .j2 template into an overlay of the image",
        &[
            "write_files",
            "timezone",
            "locale",
            "ntp",
            "ca_certs",
            "ca-certs",
            "resolv_conf",
            "manage_resolv_conf",
            "swap",
        ],
    ),
    (
        "declare users in the image's profile",
        &["users", "user", "groups", "password", "chpasswd", "ssh_pwauth", "disable_root"],
    ),
    (
        "the image lays out its own disk",
        &["mounts", "disk_setup", "fs_setup", "growpart", "resize_rootfs"],
    ),
    ("/etc/hosts is always written", &["manage_etc_hosts"]),
    (
        "give the host name in 'hostname' or 'fqdn'",
        &["preserve_hostname", "prefer_fqdn_over_hostname"],
    ),
];

pub(super) fn read(bytes: &[u8], metadata: &mut Metadata) -> Result<(), Problem> {
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return Err(Problem::whole("expected '#cloud-config', found gzip"));
    }
    let text = yaml::text_of(bytes)?;
    if text.trim().is_empty() {
        return Ok(());
    }
    let first = text.lines().next().unwrap_or("").trim_end();
    if first != "#cloud-config" {
        let found = match first {
            _ if first.starts_with("#!") => "a script: put a unit into the image's profile instead",
            _ if first.to_ascii_lowercase().starts_with("## template:") => "a template",
            _ if first.starts_with("Content-Type:") || first.starts_with("MIME-Version:") => {
                "MIME parts"
            }
            _ if first.starts_with("#include") => "a list of addresses",
            _ => "something else",
        };
        return Err(Problem {
            line: 1,
            key: String::new(),
            message: format!("expected '#cloud-config', found {found}"),
        });
    }
    let Some(document) = yaml::parse(text.as_bytes())? else { return Ok(()) };
    let root = At::root(&document);
    let mut names: (Option<Hostname>, Option<Hostname>) = (None, None);
    for (key, at) in root.entries()? {
        match key {
            "hostname" | "fqdn" => {
                let name = at.string(hostname::EXPECTED)?;
                set_hostname(name, metadata).map_err(|it| at.problem(it))?;
                let slot = if key == "fqdn" { &mut names.0 } else { &mut names.1 };
                slot.clone_from(&metadata.hostname);
            }
            "ssh_authorized_keys" => read_keys(&at, metadata)?,
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

fn refuse(key: &str, at: &At<'_>) -> Problem {
    let instead = INSTEAD.iter().find(|(_, keys)| keys.contains(&key));
    let key = yaml::printable(key);
    let message = match instead {
        Some((instead, _)) => format!("'{key}' does not suit an immutable node: {instead}"),
        None => format!("unknown key '{key}'; expected one of: {SUPPORTED}"),
    };
    Problem { line: at.line(), key: String::new(), message }
}
