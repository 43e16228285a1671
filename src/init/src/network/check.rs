// SPDX-License-Identifier: Apache-2.0
//! Whether the devices of a document can be one host: every name refers to a device, nothing is
//! there twice, nothing is on top of itself. systemd-networkd would start with such files, wait
//! for what never comes, and say so in a log that nobody can reach.

use std::collections::{BTreeMap, BTreeSet};

use super::{Address, Bond, Device, Ethernet, Id, Kind, Match, Network, Route, Value};
use crate::yaml::{At, Problem};

const INTERFACES_MAX: usize = 64;
const ROUTES_MAX: usize = 256;
/// Addresses and name servers of one device.
pub(super) const VALUES_MAX: usize = 64;
/// Nobody reads more lines on a console.
const WARNINGS_MAX: usize = 32;
/// The least MTU that IPv6 works with.
const IPV6_MTU_MIN: u32 = 1280;

/// A device, and where it and the names in it stand.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) device: Device,
    pub(super) at: At<'a>,
    pub(super) references: Vec<Reference<'a>>,
}

/// A name that must be one of the document's devices.
#[derive(Debug, Clone)]
pub(super) struct Reference<'a> {
    pub(super) name: Id,
    pub(super) at: At<'a>,
    /// Whether it must also be a port of the device that names it.
    pub(super) own_port: bool,
}

/// The network of these devices.
pub(super) fn resolve(
    drafts: Vec<Draft<'_>>,
    top: &At<'_>,
    mut warnings: Vec<String>,
) -> Result<Network, Problem> {
    check_number(&drafts, top)?;
    if drafts.is_empty() {
        warnings.push("the network has no device, so no interface is configured".to_owned());
    }
    for (name, n) in [
        ("routes", drafts.iter().map(|it| it.device.routes.len()).sum::<usize>()),
        ("rules", drafts.iter().map(|it| it.device.rules.len()).sum()),
    ] {
        if n > ROUTES_MAX {
            return Err(top.problem(format!("more than {ROUTES_MAX} {name}")));
        }
    }
    let mut before: Vec<&Draft<'_>> = Vec::new();
    for draft in &drafts {
        check_device(draft)?;
        before.iter().try_for_each(|other| check_distinct(&other.device, draft))?;
        before.push(draft);
    }
    let masters = check_references(&drafts)?;
    check_cycles(&drafts)?;
    for Draft { device, .. } in &drafts {
        let master = masters.get(&device.id).filter(|it| !matches!(it.kind, Kind::Vrf { .. }));
        if let Some(master) = master.filter(|_| device.has_addresses()) {
            warnings.push(format!(
                "'{}' is a port of '{}' and has addresses, which do not work on a port",
                device.id, master.id
            ));
        }
        warn_of_device(device, &mut warnings);
    }
    warn_of_default_routes(&drafts, &mut warnings);
    let more = warnings.len().saturating_sub(WARNINGS_MAX);
    if more > 0 {
        warnings.truncate(WARNINGS_MAX);
        warnings.push(format!("and {more} more warnings of the network"));
    }
    Ok(Network { devices: drafts.into_iter().map(|it| it.device).collect(), warnings })
}

/// Before anything is done for each device.
pub(super) fn check_number(drafts: &[Draft<'_>], top: &At<'_>) -> Result<(), Problem> {
    if drafts.len() > INTERFACES_MAX {
        return Err(top.problem(format!("more than {INTERFACES_MAX} interfaces")));
    }
    Ok(())
}

fn check_device(Draft { device, at, .. }: &Draft<'_>) -> Result<(), Problem> {
    if device.addresses.len() > VALUES_MAX {
        return Err(at.problem(format!("more than {VALUES_MAX} addresses")));
    }
    if device.nameservers.len() > VALUES_MAX || device.search.len() > VALUES_MAX {
        return Err(at.problem(format!("more than {VALUES_MAX} name servers or domains")));
    }
    let mut seen = BTreeSet::new();
    for assigned in &device.addresses {
        if !seen.insert(assigned.address.ip) {
            return Err(at.problem(format!("the address {} is there twice", assigned.address.ip)));
        }
    }
    Ok(())
}

/// Two entries must not be for the same interface or address.
fn check_distinct(other: &Device, Draft { device, at, .. }: &Draft<'_>) -> Result<(), Problem> {
    let problem = |what: String| Err(at.problem(format!("'{}' has the same {what}", other.id)));
    if let (Some(mac), true) = (device.match_mac(), device.match_mac() == other.match_mac()) {
        return problem(format!("macaddress {mac}"));
    }
    if let (Some(name), true) =
        (device.interface_name(), device.interface_name() == other.interface_name())
    {
        let set =
            |device: &Device| matches!(&device.kind, Kind::Ethernet(it) if it.set_name.is_some());
        let key = if set(device) && set(other) { "set-name" } else { "name" };
        return problem(format!("{key} '{name}'"));
    }
    // The id names the files.
    if device.id == other.id {
        return Err(at.problem(format!("'{}' is there twice", other.id)));
    }
    let on_other = |address: &Address| {
        !address.is_link_local() && other.addresses.iter().any(|it| it.address.ip == address.ip)
    };
    match device.addresses.iter().map(|it| &it.address).find(|address| on_other(address)) {
        Some(address) => problem(format!("address {}", address.ip)),
        None => Ok(()),
    }
}

/// Every name is a device that can be there; the masters by their ports.
fn check_references<'d>(drafts: &'d [Draft<'_>]) -> Result<BTreeMap<&'d Id, &'d Device>, Problem> {
    let devices: BTreeMap<&Id, &Device> =
        drafts.iter().map(|draft| (&draft.device.id, &draft.device)).collect();
    let mut masters: BTreeMap<&Id, &Device> = BTreeMap::new();
    for Draft { device, references, .. } in drafts {
        for Reference { name, at, own_port } in references {
            let Some(target) = devices.get(name) else {
                return Err(at.problem(format!("no device of this document is called '{name}'")));
            };
            if *own_port {
                if !device.ports().contains(name) {
                    return Err(at.problem(format!("'{name}' is no port of '{}'", device.id)));
                }
                continue;
            }
            if let Some(refusal) = misfit(device, target) {
                return Err(at.problem(refusal));
            }
            if matches!(device.kind, Kind::Vlan { .. }) {
                continue;
            }
            if let Some(master) = masters.insert(&target.id, device) {
                return Err(at.problem(format!("'{name}' is already a port of '{}'", master.id)));
            }
        }
    }
    Ok(masters)
}

/// Why the kernel does not put `below` under `device`.
fn misfit(device: &Device, below: &Device) -> Option<&'static str> {
    match (&device.kind, &below.kind) {
        (Kind::Bond(_), Kind::Bond(_)) => Some("a bond cannot be a port of a bond"),
        (Kind::Bridge(_), Kind::Bridge(_)) => Some("a bridge cannot be a port of a bridge"),
        (_, Kind::Vrf { .. }) => Some("a VRF can be neither a port nor a VLAN's link"),
        _ => None,
    }
}

/// Nothing is, over others or directly, on top of itself.
fn check_cycles(drafts: &[Draft<'_>]) -> Result<(), Problem> {
    let below: BTreeMap<&Id, Vec<&Id>> = drafts
        .iter()
        .map(|Draft { device, .. }| match &device.kind {
            Kind::Vlan { link, .. } => (&device.id, vec![link]),
            _ => (&device.id, device.ports().iter().collect()),
        })
        .collect();
    for Draft { device, at, .. } in drafts {
        let (mut reached, mut next) = (BTreeSet::new(), vec![&device.id]);
        while let Some(name) = next.pop() {
            for lower in below.get(name).into_iter().flatten().copied() {
                if *lower == device.id {
                    return Err(at.problem(format!("'{}' is on top of itself", device.id)));
                }
                if reached.insert(lower) {
                    next.push(lower);
                }
            }
        }
    }
    Ok(())
}

/// What the kernel refuses when a bond is made.
pub(super) fn bond(bond: &Bond, at: &At<'_>) -> Result<(), Problem> {
    let mode = bond.settings.iter().find_map(|setting| match setting.value {
        Value::Word(word) if setting.key == "Mode" => Some(word),
        _ => None,
    });
    let mode = mode.unwrap_or("balance-rr");
    let active = matches!(mode, "active-backup" | "balance-tlb" | "balance-alb");
    let preferred = bond.primary.as_ref().map(|_| "primary");
    if let Some(key) =
        preferred.or(bond.active.as_ref().map(|_| "active_slave")).filter(|_| !active)
    {
        return Err(at.problem(format!(
            "'{key}' needs mode active-backup, balance-tlb or balance-alb, found {mode}"
        )));
    }
    let arp = monitors(bond, "ARPIntervalSec");
    if arp && matches!(mode, "802.3ad" | "balance-tlb" | "balance-alb") {
        return Err(at.problem(format!("ARP monitoring does not work in mode {mode}")));
    }
    if arp && !bond.settings.iter().any(|it| it.key == "ARPIPTargets") {
        return Err(at.problem("ARP monitoring needs targets"));
    }
    if arp && monitors(bond, "MIIMonitorSec") {
        return Err(at.problem("a bond watches its links by ARP or by MII, not by both"));
    }
    Ok(())
}

fn monitors(bond: &Bond, key: &str) -> bool {
    let set = |value: &Value| matches!(value, Value::Milliseconds(1..));
    bond.settings.iter().any(|it| it.key == key && set(&it.value))
}

fn warn_of_device(device: &Device, warnings: &mut Vec<String>) {
    if let Some(mac) = device.match_mac().filter(|mac| mac.is_group()) {
        warnings
            .push(format!("'{}': no interface has the address of a group, as {mac}", device.id));
    }
    if let Kind::Ethernet(ethernet) = &device.kind {
        let hardware = |it: &Match| it.mac.is_some() || !it.drivers.is_empty();
        if ethernet.wake_on_lan == Some(true) && !ethernet.matches.as_ref().is_some_and(hardware) {
            warnings.push(format!(
                "'{}': 'wakeonlan' without a match by macaddress or driver only works for a name \
                 that the kernel itself gives",
                device.id
            ));
        }
    }
    if let Kind::Ethernet(Ethernet { set_name: Some(_), matches: Some(matches), .. }) = &device.kind
        && let Match { name: Some(name), mac: None, .. } = matches
        && !name.as_str().starts_with("eth")
    {
        warnings.push(format!(
            "'{}': 'set-name' with a match by name only works for a name that the kernel itself \
             gives, as eth0, and '{name}' is none; add 'macaddress'",
            device.id
        ));
    }
    if let Kind::Bond(bond) = &device.kind {
        let of_mode = |word: &str| matches!(word, "802.3ad" | "balance-tlb" | "balance-alb");
        let own =
            bond.settings.iter().any(|it| matches!(it.value, Value::Word(word) if of_mode(word)));
        if !own && !monitors(bond, "MIIMonitorSec") && !monitors(bond, "ARPIntervalSec") {
            warnings.push(format!(
                "'{}' watches none of its links: a broken one stays in use; set mii-monitor-interval",
                device.id
            ));
        }
    }
    let ipv6 = device.dhcp6.is_some() || device.addresses.iter().any(|it| it.address.ip.is_ipv6());
    if let Some(mtu) = device.mtu.filter(|mtu| ipv6 && *mtu < IPV6_MTU_MIN) {
        warnings.push(format!(
            "'{}': systemd-networkd raises the MTU from {mtu} to the {IPV6_MTU_MIN} that IPv6 needs",
            device.id
        ));
    }
    warn_of_gateways(device, warnings);
}

fn warn_of_gateways(device: &Device, warnings: &mut Vec<String>) {
    // With DHCP, the networks are not known before the lease.
    if device.dhcp4.is_some() || device.dhcp6.is_some() {
        return;
    }
    for route in &device.routes {
        let Some(via) = route.via.filter(|_| !route.on_link) else { continue };
        let gateway = Address::host(via);
        let direct =
            device.addresses.iter().any(|it| it.address.contains(via) || it.peer == Some(via));
        let routed = device
            .routes
            .iter()
            .any(|it| it.via.is_none() && it.to.is_some_and(|to| to.contains(via)));
        if !gateway.is_link_local() && !direct && !routed && !device.addresses.is_empty() {
            warnings.push(format!(
                "'{}': the gateway {via} is in none of the device's networks; does it need 'on-link'?",
                device.id
            ));
        }
    }
}

/// Two default routes of one metric: which one wins is chance.
fn warn_of_default_routes(drafts: &[Draft<'_>], warnings: &mut Vec<String>) {
    let mut first: BTreeMap<(bool, u32, u32), &Device> = BTreeMap::new();
    for Draft { device, .. } in drafts {
        for route in device.routes.iter().filter(|route| is_default(route)) {
            let ipv4 = route.via.or(route.to.map(|to| to.ip)).is_none_or(|ip| ip.is_ipv4());
            let key = (ipv4, route.table.unwrap_or(254), route.metric.unwrap_or(0));
            if let Some(other) = first.insert(key, device) {
                warnings.push(format!(
                    "'{}' and '{}' have default routes of the same metric; give one a higher metric",
                    other.id, device.id
                ));
            }
        }
    }
}

fn is_default(route: &Route) -> bool {
    route.to.is_none_or(|to| to.prefix == 0)
}
