// SPDX-License-Identifier: Apache-2.0
//! network-config version 2: <https://docs.cloud-init.io/en/latest/reference/network-config-format-v2.html>.
//!
//! Read strictly: an unknown key, a value of another type, a gateway of another family, two
//! entries for one interface are refused, where cloud-init renders something else and goes on.
//! Version 1, bonds, bridges and VLANs are refused by name until they are read.

use std::{net::IpAddr, str::FromStr};

use super::{Address, Ethernet, Match, Network, Route};
use crate::yaml::{At, Fields, Problem};

const INTERFACES_MAX: usize = 64;
const ROUTES_MAX: usize = 256;
const TOP: [&str; 6] = ["version", "renderer", "ethernets", "bonds", "bridges", "vlans"];
const ETHERNET: [&str; 14] = [
    "match",
    "set-name",
    "dhcp4",
    "dhcp6",
    "addresses",
    "gateway4",
    "gateway6",
    "routes",
    "nameservers",
    "mtu",
    "optional",
    "wakeonlan",
    "accept-ra",
    "renderer",
];
const ROUTE: [&str; 7] = ["to", "via", "on-link", "metric", "table", "mtu", "from"];

/// Reads the document; the outer key `network` is optional.
///
/// # Errors
/// Everything that is not understood exactly, with its line.
pub fn read(document: &At<'_>) -> Result<Network, Problem> {
    let entries = document.entries()?;
    let inner = entries.into_iter().find(|(key, _)| *key == "network").map(|(_, at)| at);
    if inner.is_some() {
        document.fields(&["network"])?;
    }
    let top = inner.as_ref().unwrap_or(document);
    // The version decides what the other keys mean, so it comes first.
    let version = top.entries()?.into_iter().find(|(key, _)| *key == "version");
    match version.ok_or_else(|| top.problem("missing key 'version'"))?.1.integer(1..=2)? {
        2 => read_v2(&top.fields(&TOP)?),
        _ => Err(top.problem("expected version 2, found version 1")),
    }
}

fn read_v2(top: &Fields<'_>) -> Result<Network, Problem> {
    for kind in ["bonds", "bridges", "vlans"] {
        if let Some(at) = top.get(kind) {
            return Err(at.problem("not supported yet; only 'ethernets' is"));
        }
    }
    check_renderer(top)?;
    let Some(ethernets) = top.get("ethernets") else {
        return Ok(Network::default());
    };
    let entries = ethernets.entries()?;
    if entries.len() > INTERFACES_MAX {
        return Err(ethernets.problem(format!("more than {INTERFACES_MAX} interfaces")));
    }
    let mut network = Network::default();
    for (id, at) in entries {
        let ethernet = read_ethernet(id, &at)?;
        check_distinct(&network.ethernets, &ethernet, &at)?;
        network.ethernets.push(ethernet);
    }
    if network.ethernets.iter().map(|ethernet| ethernet.routes.len()).sum::<usize>() > ROUTES_MAX {
        return Err(ethernets.problem(format!("more than {ROUTES_MAX} routes")));
    }
    Ok(network)
}

fn check_renderer(fields: &Fields<'_>) -> Result<(), Problem> {
    match fields.get("renderer") {
        Some(at) if at.text("'networkd'")? != "networkd" => {
            Err(at.problem("expected 'networkd', which is what the image runs"))
        }
        _ => Ok(()),
    }
}

/// Two entries must not be for the same interface.
fn check_distinct(before: &[Ethernet], one: &Ethernet, at: &At<'_>) -> Result<(), Problem> {
    for other in before {
        let mac = |ethernet: &Ethernet| ethernet.matches.as_ref().and_then(|it| it.mac);
        if let (Some(mac), true) = (mac(one), mac(one) == mac(other)) {
            return Err(at.problem(format!("'{}' has the same macaddress {mac}", other.id)));
        }
        if let (Some(name), true) = (&one.set_name, one.set_name == other.set_name) {
            return Err(at.problem(format!("'{}' has the same set-name '{name}'", other.id)));
        }
    }
    Ok(())
}

fn read_ethernet(id: &str, at: &At<'_>) -> Result<Ethernet, Problem> {
    let fields = at.fields(&ETHERNET)?;
    check_renderer(&fields)?;
    let id = id.parse().ok().filter(|_| id != "lo").ok_or_else(|| {
        at.problem("expected an interface name of at most 15 letters, digits, '.', '_' or '-'")
    })?;
    let matches = fields.get("match").map(read_match).transpose()?;
    let set_name = option(&fields, "set-name", "an interface name")?;
    let wake_on_lan = fields.get("wakeonlan").map(At::boolean).transpose()?;
    // Both need a .link file, and those are matched before the interface has its final name.
    let stable = matches.as_ref().is_some_and(|it| it.mac.is_some() || !it.drivers.is_empty());
    if (set_name.is_some() || wake_on_lan == Some(true)) && !stable {
        let key = if set_name.is_some() { "set-name" } else { "wakeonlan" };
        return Err(at.problem(format!("'{key}' needs 'match' with 'macaddress' or 'driver'")));
    }
    let addresses: Vec<Address> =
        list(&fields, "addresses", "an address with prefix length, as 192.168.1.2/24")?;
    let mut routes = Vec::new();
    for (key, family) in [("gateway4", "an IPv4 address"), ("gateway6", "an IPv6 address")] {
        if let Some(gateway) = fields.get(key) {
            routes.push(default_route(gateway, family, &addresses)?);
        }
    }
    if let Some(list) = fields.get("routes") {
        for route in list.items()? {
            routes.push(read_route(&route)?);
        }
    }
    let (nameservers, search) = match fields.get("nameservers") {
        None => (Vec::new(), Vec::new()),
        Some(at) => {
            let fields = at.fields(&["addresses", "search"])?;
            (list(&fields, "addresses", "an IP address")?, list(&fields, "search", "a domain")?)
        }
    };
    let flag = |key: &str| fields.get(key).map(At::boolean).transpose();
    Ok(Ethernet {
        id,
        matches,
        set_name,
        dhcp4: flag("dhcp4")?.unwrap_or(false),
        dhcp6: flag("dhcp6")?.unwrap_or(false),
        addresses,
        routes,
        nameservers,
        search,
        mtu: number(&fields, "mtu", 68..=65_535)?,
        optional: flag("optional")?.unwrap_or(false),
        wake_on_lan,
        accept_ra: flag("accept-ra")?,
    })
}

fn read_match(at: &At<'_>) -> Result<Match, Problem> {
    let fields = at.fields(&["name", "macaddress", "driver"])?;
    let drivers = match fields.get("driver") {
        None => Vec::new(),
        Some(at) if at.is_list() => list(&fields, "driver", "a driver's name or pattern")?,
        Some(at) => vec![at.parse("a driver's name or pattern")?],
    };
    let matches = Match {
        name: option(&fields, "name", "an interface name or pattern")?,
        mac: option(&fields, "macaddress", "a MAC address, as 52:54:00:12:34:56")?,
        drivers,
    };
    if matches == Match::default() {
        return Err(at.problem("expected 'name', 'macaddress' or 'driver', found none of them"));
    }
    Ok(matches)
}

/// `gateway4` and `gateway6`: reachable directly even if it lies outside the address's network.
fn default_route(at: &At<'_>, expected: &str, addresses: &[Address]) -> Result<Route, Problem> {
    let via: IpAddr = at.parse(expected)?;
    if via.is_ipv4() != (expected == "an IPv4 address") {
        return Err(at.problem(format!("expected {expected}, found '{via}'")));
    }
    let on_link = !via_link_local(via) && !addresses.iter().any(|address| address.contains(via));
    Ok(Route {
        to: None,
        via: Some(via),
        on_link,
        metric: None,
        table: None,
        mtu: None,
        from: None,
    })
}

fn via_link_local(via: IpAddr) -> bool {
    matches!(via, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

fn read_route(at: &At<'_>) -> Result<Route, Problem> {
    let fields = at.fields(&ROUTE)?;
    let to = fields.get("to").ok_or_else(|| at.problem("missing key 'to'"))?;
    let expected = "'default' or a network, as 10.0.0.0/8";
    let destination = match to.text(expected)? {
        "default" => None,
        "0.0.0.0/0" | "::/0" => Some(to.parse::<Address>(expected)?),
        text if !text.contains('/') => {
            let ip: IpAddr = to.parse(expected)?;
            Some(Address { ip, prefix: if ip.is_ipv4() { 32 } else { 128 } })
        }
        _ => Some(to.parse::<Address>(expected)?),
    };
    let via: Option<IpAddr> = option(&fields, "via", "an IP address")?;
    let families = [destination.map(|it| it.ip), via].into_iter().flatten().map(|ip| ip.is_ipv4());
    let families: Vec<bool> = families.collect();
    match families[..] {
        [] => return Err(at.problem("a default route needs 'via'")),
        [to, via] if to != via => {
            return Err(at.problem("'to' and 'via' are of different address families"));
        }
        _ => {}
    }
    Ok(Route {
        to: destination,
        via,
        on_link: fields.get("on-link").map(At::boolean).transpose()?.unwrap_or(false),
        metric: number(&fields, "metric", 0..=i64::from(u32::MAX))?,
        table: number(&fields, "table", 1..=i64::from(u32::MAX))?,
        mtu: number(&fields, "mtu", 68..=65_535)?,
        from: option(&fields, "from", "an IP address")?,
    })
}

fn option<T: FromStr>(
    fields: &Fields<'_>,
    key: &str,
    expected: &str,
) -> Result<Option<T>, Problem> {
    fields.get(key).map(|at| at.parse(expected)).transpose()
}

fn list<T: FromStr>(fields: &Fields<'_>, key: &str, expected: &str) -> Result<Vec<T>, Problem> {
    let Some(at) = fields.get(key) else { return Ok(Vec::new()) };
    at.items()?.iter().map(|item| item.parse(expected)).collect()
}

fn number(
    fields: &Fields<'_>,
    key: &str,
    range: std::ops::RangeInclusive<i64>,
) -> Result<Option<u32>, Problem> {
    let Some(at) = fields.get(key) else { return Ok(None) };
    let number = at.integer(range)?;
    u32::try_from(number).map(Some).map_err(|_| at.problem("expected a smaller number"))
}
