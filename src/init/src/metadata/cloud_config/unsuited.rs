// SPDX-License-Identifier: Apache-2.0
//! Keys of cloud-config that an immutable node does not honor.
//!
//! Names: cloud-init's modules, <https://docs.cloud-init.io/en/latest/reference/modules.html>. A key
//! is refused with what to do instead, unless its value asks for what the node does anyway.

use super::SUPPORTED;
use crate::yaml::{At, Problem, printable};

/// What replaces keys.
const INSTEAD: [(&str, &[&str]); 9] = [
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
            "mcollective",
            "landscape",
            "ubuntu_pro",
            "ubuntu_advantage",
            "rh_subscription",
            "spacewalk",
            "autoinstall",
            "vendor_data",
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
            "apt_pipelining",
            "snap",
            "lxd",
            "drivers",
            "grub_dpkg",
            "grub-dpkg",
            "byobu_by_default",
            "yum_repos",
            "yum_repo_dir",
            "zypper",
            "apk_repos",
        ],
    ),
    (
        "put the file or a .j2 template into an overlay of the image",
        &[
            "timezone",
            "locale",
            "locale_configfile",
            "keyboard",
            "resolv_conf",
            "manage_resolv_conf",
            "rsyslog",
            "sysctl",
            "wireguard",
            "fan",
            "rpi",
        ],
    ),
    ("give network-config as a document of its own", &["network", "network_config", "updates"]),
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
        &[
            "ssh_keys",
            "ssh_deletekeys",
            "ssh_genkeytypes",
            "ssh_publish_hostkeys",
            "ssh_quiet_keygen",
            "ssh_fp_console_blacklist",
            "ssh_key_console_blacklist",
            "no_ssh_fingerprints",
            "authkey_hash",
            "ssh",
            "ssh_import_id",
            "random_seed",
        ],
    ),
    (
        "the image lays out its own disk",
        &["mounts", "mount_default_fields", "device_aliases", "disk_setup", "fs_setup", "swap"],
    ),
    (
        "give the host name in 'hostname' or 'fqdn'",
        &["preserve_hostname", "prefer_fqdn_over_hostname", "create_hostname_file"],
    ),
];

/// Keys with the value that asks for nothing: it is what the node does.
const AS_IT_IS: [(&str, bool); 9] = [
    ("preserve_hostname", false),
    ("prefer_fqdn_over_hostname", false),
    ("create_hostname_file", true),
    ("ssh_pwauth", false),
    ("disable_root", true),
    ("package_update", false),
    ("package_upgrade", false),
    ("package_reboot_if_required", false),
    ("manage_resolv_conf", false),
];

/// Keys that are passed over, and why.
const PASSED_OVER: [(&str, &str); 3] = [
    ("growpart", GROWN),
    ("resize_rootfs", GROWN),
    ("disable_ec2_metadata", "the node asks that service only if its image says so"),
];
const GROWN: &str = "has no effect: 'var' grows by itself, and nothing else does";

/// None if the key asks for what the node does; else why it is passed over.
///
/// # Errors
/// The key is refused.
pub(super) fn of(key: &str, at: &At<'_>) -> Result<Option<&'static str>, Problem> {
    let is_as_it_is = |(name, value): &(&str, bool)| *name == key && at.boolean() == Ok(*value);
    if AS_IT_IS.iter().any(is_as_it_is) {
        return Ok(None);
    }
    if let Some((_, why)) = PASSED_OVER.iter().find(|(name, _)| *name == key) {
        return Ok(Some(why));
    }
    let instead = INSTEAD.iter().find(|(_, keys)| keys.contains(&key));
    let key = printable(key);
    let message = match instead {
        Some((instead, _)) => format!("'{key}' does not suit an immutable node: {instead}"),
        None => format!("unknown key '{key}'; expected one of: {SUPPORTED}"),
    };
    Err(Problem { key: String::new(), ..at.key_problem(message) })
}
