// SPDX-License-Identifier: Apache-2.0
//! What the keys of a whole profile must agree on.

use std::collections::BTreeMap;

use super::{Boot, Disk, Profile};
use crate::{
    diagnostic::{Diagnostic, Problems, quoted},
    disk::layout::BIOS_BOOT_LEN,
    lock::{GRUB, GRUB_TOOLS, suites_of_base},
    units::Bytes,
    yaml::Node,
};

/// GPT and its backup, with the alignment of the first and the last partition.
const TABLES: Bytes = Bytes::mib(2);
/// The EFI system partition holds two kernels with their initramfs; FAT32 needs some size.
const MIN_ESP: Bytes = Bytes::mib(64);
/// Of data and of the hash tree (veritysetup's default).
const VERITY_BLOCK: u64 = 4096;
/// SHA-256 digests in one block of the hash tree.
const VERITY_FAN_OUT: u64 = 128;

/// Complains about every contradiction.
pub(super) fn check(profile: &Profile, node: &Node, problems: &Problems) {
    check_disk(&profile.disk, profile.boot, node, problems);
    check_boot(profile, node, problems);
    check_accounts(profile, node, problems);
    check_services(profile, node, problems);
    check_packages(profile, node, problems);
    check_from(profile, node, problems);
    if profile.metadata.sources.is_empty()
        && profile.metadata.absent == kiln_init::handoff::Absent::Refuse
    {
        problems.add(
            Diagnostic::new(
                "no machine could boot: there is no metadata source, and 'absent' is 'refuse'",
            )
            .at(node.place(&["metadata"]))
            .help("name a source, or write 'absent: dhcp'"),
        );
    }
}

fn check_disk(disk: &Disk, boot: Boot, node: &Node, problems: &Problems) {
    let complain = |key: &str, title: String, help: String| {
        problems.add(Diagnostic::new(title).at(node.place(&["disk", key])).help(help));
    };
    let parts =
        [("size", disk.size), ("esp", disk.esp), ("root", disk.root), ("verity", disk.verity)];
    for (key, size) in parts {
        if size == Bytes(0) || !size.get().is_multiple_of(Bytes::mib(1).get()) {
            complain(key, format!("'disk.{key}' is {size}"), "write whole MiB or GiB".to_owned());
        }
    }
    if disk.esp < MIN_ESP {
        complain(
            "esp",
            format!("'disk.esp' is {}, less than {MIN_ESP}", disk.esp),
            "it holds two kernels".to_owned(),
        );
    }
    let tree = verity_size(disk.root);
    if disk.verity < tree {
        complain(
            "verity",
            format!(
                "'disk.verity' is {}, but the hash tree of a root of {} takes {tree}",
                disk.verity, disk.root
            ),
            format!("write at least {}MiB", tree.get().div_ceil(Bytes::mib(1).get())),
        );
    }
    let tables = if boot.bios { Bytes(TABLES.get() + BIOS_BOOT_LEN) } else { TABLES };
    let slots = disk.root.get().saturating_add(disk.verity.get()).saturating_mul(2);
    let needed = Bytes(slots.saturating_add(disk.esp.get()).saturating_add(tables.get()));
    if disk.size < needed {
        complain(
            "size",
            format!("'disk.size' is {}, but its parts take {needed}", disk.size),
            format!(
                "write at least {}MiB: 'esp', two slots of 'root' and 'verity', and {tables} of tables",
                needed.get().div_ceil(Bytes::mib(1).get())
            ),
        );
    }
}

/// GRUB hands the kernel's arguments over in its own way.
fn check_boot(profile: &Profile, node: &Node, problems: &Problems) {
    if !profile.boot.bios {
        return;
    }
    let is_altered = |argument: &&String| argument.contains(['\\', '\'']);
    if let Some(argument) = profile.kernel.arguments.iter().find(is_altered) {
        problems.add(
            Diagnostic::new(format!("kernel argument {} does not pass GRUB", quoted(argument)))
                .at(node.place(&["kernel", "arguments"]))
                .also(node.place(&["boot", "bios"]), "which legacy firmware starts")
                .help("write it without '\\' and without quotes"),
        );
    }
    for name in
        [GRUB, GRUB_TOOLS].into_iter().filter(|name| profile.packages.install.contains(*name))
    {
        problems.add(
            Diagnostic::new(format!(
                "package '{name}' is asked for, and 'boot.bios' has GRUB outside of the root"
            ))
            .at(node.place(&["packages", "install"]))
            .help("take it out of 'packages': the build fetches what it needs of it"),
        );
    }
}

/// Size of the hash tree with its superblock.
fn verity_size(root: Bytes) -> Bytes {
    let mut blocks = root.get().div_ceil(VERITY_BLOCK);
    let mut total = 1;
    while blocks > 1 {
        blocks = blocks.div_ceil(VERITY_FAN_OUT);
        total += blocks;
    }
    Bytes(total.saturating_mul(VERITY_BLOCK))
}

fn check_accounts(profile: &Profile, node: &Node, problems: &Problems) {
    let uids = profile.users.iter().map(|(name, user)| (name, user.uid));
    check_ids("users", "uid", uids, node, problems);
    let gids = profile.groups.iter().map(|(name, group)| (name, group.gid));
    check_ids("groups", "gid", gids, node, problems);
    let mut admins = profile.users.iter().filter(|(_, user)| user.admin).map(|(name, _)| name);
    if let (Some(first), Some(second)) = (admins.next(), admins.next()) {
        problems.add(
            Diagnostic::new(format!("both '{first}' and '{second}' are the admin"))
                .at(node.place(&["users", second, "admin"]))
                .also(node.place(&["users", first, "admin"]), "the other")
                .help("the ssh keys of the metadata go to one user"),
        );
    }
}

fn check_ids<'a>(
    section: &str,
    key: &str,
    ids: impl Iterator<Item = (&'a String, u32)>,
    node: &Node,
    problems: &Problems,
) {
    let mut seen = BTreeMap::new();
    for (name, id) in ids {
        if let Some(first) = seen.insert(id, name) {
            problems.add(
                Diagnostic::new(format!("'{name}' has the same {key} as '{first}': {id}"))
                    .at(node.place(&[section, name, key]))
                    .also(node.place(&[section, first, key]), "first here")
                    .help("give each its own"),
            );
        }
    }
}

fn check_services(profile: &Profile, node: &Node, problems: &Problems) {
    let services = &profile.services;
    let wanted = [("enable", &services.enable), ("ready", &services.ready)];
    for (key, units) in wanted {
        for unit in units.intersection(&services.mask) {
            problems.add(
                Diagnostic::new(format!("'{unit}' is in 'services.{key}' and in 'services.mask'"))
                    .at(node.place(&["services", "mask"]))
                    .help(format!(
                        "take it out of one; a profile takes out what it inherits with '-{unit}'"
                    )),
            );
        }
    }
}

fn check_packages(profile: &Profile, node: &Node, problems: &Problems) {
    let packages = &profile.packages;
    let installed = || packages.install.iter().chain([&profile.kernel.package]);
    for name in installed().filter(|name| packages.omit.contains_key(*name)) {
        problems.add(
            Diagnostic::new(format!("package '{name}' is asked for and omitted"))
                .at(node.place(&["packages", "omit", name]))
                .help(format!(
                    "take it out of one; 'omit: {{ {name}: null }}' takes out what is inherited"
                )),
        );
    }
}

/// What comes from another suite must name another suite.
fn check_from(profile: &Profile, node: &Node, problems: &Problems) {
    let used = suites_of_base(&profile.debian);
    for (name, suite) in &profile.debian.from {
        if used.iter().any(|(_, used)| used == suite) {
            problems.add(
                Diagnostic::new(format!("'{suite}' is used for every package already"))
                    .at(node.place(&["debian", "from", name]))
                    .help("name another suite, or take the line out"),
            );
        }
    }
}
