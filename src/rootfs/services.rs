// SPDX-License-Identifier: Apache-2.0
//! kiln-init in the real root: the program and the units that run it.

use kiln_contract::path;
use kiln_init::handoff::Phase;

use super::{Error, draft::Draft, overlay::Templates, units};
use crate::{
    systemd::{Setting, Unit},
    tree::Content,
};

const STAGE: &str = "services";
/// Our units; all are enabled.
pub(super) const UNITS: [&str; 6] = [
    "kiln-init.service",
    "kiln-interfaces.service",
    "kiln-network.service",
    "kiln-ready.service",
    "kiln-recheck.service",
    "kiln-state.service",
];

/// What every unit of ours may not do. `RestrictSUIDSGID=` is not here: systemd's filter for it
/// answers every openat2 with ENOSYS, and openat2 is how kiln-init stays below its folders.
pub(super) const SANDBOX: [Setting; 11] = [
    ("NoNewPrivileges", "yes"),
    ("ProtectHome", "yes"),
    ("ProtectKernelTunables", "yes"),
    ("ProtectKernelModules", "yes"),
    ("ProtectControlGroups", "yes"),
    ("RestrictNamespaces", "yes"),
    ("RestrictRealtime", "yes"),
    ("LockPersonality", "yes"),
    ("MemoryDenyWriteExecute", "yes"),
    ("SystemCallArchitectures", "native"),
    ("RestrictAddressFamilies", "AF_UNIX AF_NETLINK AF_INET AF_INET6"),
];

/// Puts the program and its units into the root.
pub(super) fn write(
    draft: &mut Draft<'_>,
    init: &Content,
    templates: &Templates,
) -> Result<(), Error> {
    draft.put_file(path::INIT_IN_ROOT, 0o755, init.clone(), STAGE)?;
    let waiting = if templates.values().any(|template| template.phase == Phase::Network) {
        network_users(draft)?.join(" ")
    } else {
        String::new()
    };
    let program = path::INIT_IN_ROOT;
    let unit = metadata_unit(program, &metadata_users(draft));
    draft.write("/usr/lib/systemd/system/kiln-init.service", unit, STAGE)?;
    draft.write(
        "/usr/lib/systemd/system/kiln-network.service",
        network_unit(program, &waiting),
        STAGE,
    )?;
    draft.write("/usr/lib/systemd/system/kiln-state.service", state_unit(program), STAGE)?;
    draft.write("/usr/lib/systemd/system/kiln-recheck.service", recheck_unit(program), STAGE)?;
    let unit = interfaces_unit(program);
    draft.write("/usr/lib/systemd/system/kiln-interfaces.service", unit, STAGE)?;
    draft.write("/usr/lib/systemd/system/kiln-ready.service", ready_unit(program), STAGE)
}

/// Units of the profile that may read what metadata decides: all but those that a server is
/// reached by.
fn metadata_users(draft: &Draft<'_>) -> String {
    let services = &draft.plan.profile.services;
    let all = services.enable.union(&services.ready);
    let users = all.filter(|unit| {
        unit.ends_with(".service") && !unit.starts_with("systemd-") && *unit != "nftables.service"
    });
    users.map(|unit| format!(" {unit}")).collect()
}

/// Asks remote sources, if the initramfs left any to ask. It never ends without an answer that
/// the host can use, so that nothing behind it starts as somebody else.
fn metadata_unit(program: &str, users: &str) -> String {
    Unit::new("Metadata from servers")
        .set("ConditionPathExists", path::PENDING)
        .set("Wants", "network-online.target")
        .set("After", "network-online.target nss-lookup.target")
        .set("Before", format_args!("kiln-network.service kiln-state.service{users}"))
        .section("Service")
        .set("Type", "oneshot")
        .set("RemainAfterExit", "yes")
        .set("TimeoutStartSec", "infinity")
        .set("ExecStart", format_args!("{program} metadata"))
        .set_all(&SANDBOX)
        .wanted()
}

/// Asks the server that named a host whether it still does; nothing waits for that.
fn recheck_unit(program: &str) -> String {
    Unit::new("Instance of this machine, as its server knows it")
        .set("ConditionPathExists", path::RECHECK)
        .set("Wants", "network-online.target")
        .set("After", "network-online.target nss-lookup.target kiln-state.service")
        .section("Service")
        .set("Type", "exec")
        .set("ExecStart", format_args!("{program} recheck"))
        .set_all(&SANDBOX)
        .wanted()
}

/// Looks whether the interfaces are there that metadata names; nothing waits for that.
fn interfaces_unit(program: &str) -> String {
    Unit::new("Network interfaces that metadata names")
        .set("After", "kiln-init.service systemd-udev-trigger.service")
        .section("Service")
        .set("Type", "exec")
        .set("ExecStart", format_args!("{program} interfaces"))
        .set_all(&SANDBOX)
        .wanted()
}

/// Units of the profile that start once there is a network: they may read what the templates
/// of that phase become.
fn network_users(draft: &Draft<'_>) -> Result<Vec<String>, Error> {
    let mut users = Vec::new();
    let services = &draft.plan.profile.services;
    for unit in services.enable.union(&services.ready) {
        let after = units::words(draft, unit, "After")?;
        if after.iter().any(|word| matches!(&**word, "network.target" | "network-online.target")) {
            users.push(unit.clone());
        }
    }
    Ok(users)
}

/// Renders templates that need an address, then lets those start that read them.
fn network_unit(program: &str, waiting: &str) -> String {
    let mut unit = Unit::new("Configuration that depends on the network")
        .set("Wants", "network-online.target")
        .set("After", "network-online.target");
    if !waiting.is_empty() {
        unit = unit.set("Before", waiting);
    }
    unit.section("Service")
        .set("Type", "oneshot")
        .set("RemainAfterExit", "yes")
        .set("ExecStart", format_args!("{program} network"))
        .set_all(&SANDBOX)
        .wanted()
}

/// Keeps what makes a machine itself.
fn state_unit(program: &str) -> String {
    Unit::new("Identity of this machine in /var")
        .set("RequiresMountsFor", "/var")
        .section("Service")
        .set("Type", "oneshot")
        .set("RemainAfterExit", "yes")
        .set("ExecStart", format_args!("{program} state"))
        .set_all(&SANDBOX)
        .wanted()
}

/// Waits for the end of the boot, of which it must not be part itself: `exec` counts as started
/// once the program runs.
fn ready_unit(program: &str) -> String {
    Unit::new("Readiness on the console")
        .set("After", "kiln-network.service")
        .section("Service")
        .set("Type", "exec")
        .set("ExecStart", format_args!("{program} ready"))
        .set_all(&SANDBOX)
        .wanted()
}
