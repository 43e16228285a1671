// SPDX-License-Identifier: Apache-2.0
//! Subnets of version 1: how a device gets addresses, and the routes that come with them.

use std::net::{IpAddr, Ipv4Addr};

use super::{
    Activation, Address, Assigned, Device, Dhcp, Domain, Route,
    fields::{
        DOMAIN, IP, IPV6_MTU, MTU, POSITIVE, UNSIGNED, assignable, flag, is_on_link, not, number,
        one_or_more, option, required, word,
    },
    route::{SCOPES, check},
    v1::extend,
    value::prefix_length,
};
use crate::yaml::{At, Fields, Problem};

const SUBNET: [&str; 15] = [
    "type",
    "address",
    "netmask",
    "broadcast",
    "gateway",
    "dns_nameservers",
    "dns_search",
    "routes",
    "control",
    "metric",
    "ipv4",
    "ipv6",
    "scope",
    "pointopoint",
    "mtu",
];
pub(super) const ROUTE: [&str; 8] =
    ["destination", "network", "netmask", "prefix", "gateway", "metric", "mtu", "table"];
const NETMASK: &str = "a network mask, as 255.255.255.0 or 24";
const ADDRESS: &str = "an IP address, with or without prefix length";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Dhcp4,
    Dhcp6,
    Static,
    Static6,
    Slaac,
    Stateful,
    Stateless,
    Manual,
}

const KINDS: [(&str, Kind); 9] = [
    ("dhcp", Kind::Dhcp4),
    ("dhcp4", Kind::Dhcp4),
    ("dhcp6", Kind::Dhcp6),
    ("static", Kind::Static),
    ("static6", Kind::Static6),
    ("ipv6_slaac", Kind::Slaac),
    ("ipv6_dhcpv6-stateful", Kind::Stateful),
    ("ipv6_dhcpv6-stateless", Kind::Stateless),
    ("manual", Kind::Manual),
];

pub(super) fn read(
    at: &At<'_>,
    device: &mut Device,
    warnings: &mut Vec<String>,
) -> Result<(), Problem> {
    let fields = at.fields(&SUBNET)?;
    let type_at = required(&fields, at, "type")?;
    let kind = word(type_at, &KINDS)?;
    // What only says again which family the address is of.
    for key in ["ipv4", "ipv6"] {
        flag(&fields, key)?;
    }
    let metric = number(&fields, "metric", UNSIGNED)?;
    match kind {
        Kind::Dhcp4 => device.dhcp4 = Some(Dhcp { route_metric: metric, ..Dhcp::default() }),
        Kind::Dhcp6 => device.dhcp6 = Some(Dhcp::default()),
        Kind::Slaac | Kind::Stateful | Kind::Stateless => {
            if device.accept_ra == Some(false) {
                return Err(
                    type_at.problem("needs router advertisements, but 'accept-ra' is false")
                );
            }
            device.accept_ra = Some(true);
            if kind == Kind::Stateful {
                device.dhcp6 = Some(Dhcp::default());
            }
        }
        Kind::Static | Kind::Static6 => {
            let assigned = read_address(&fields, at, device, warnings)?;
            if kind == Kind::Static6 && assigned.address.ip.is_ipv4() {
                return Err(at.problem("'static6' with an IPv4 address"));
            }
            device.addresses.push(assigned);
        }
        Kind::Manual => {}
    }
    if !matches!(kind, Kind::Static | Kind::Static6) {
        for key in ["address", "netmask", "broadcast", "scope", "pointopoint"] {
            if let Some(at) = fields.get(key) {
                return Err(at.problem("only subnets of type static and static6 have this"));
            }
        }
    }
    let gateway = read_gateway(&fields, kind, metric, device)?;
    match kind {
        Kind::Static | Kind::Static6 | Kind::Manual if metric.is_some() && !gateway => {
            warnings.push(format!("'{}': 'metric' has no effect without 'gateway'", device.id));
        }
        Kind::Dhcp4 | Kind::Static | Kind::Static6 | Kind::Manual => {}
        // In IPv6, routes come from routers, also beside DHCP.
        _ => device.ra.metric = metric.or(device.ra.metric),
    }
    if let Some(routes) = fields.get("routes") {
        for route in routes.items()? {
            device.routes.push(read_route(&route, warnings)?);
        }
    }
    extend(&mut device.nameservers, &one_or_more::<IpAddr>(&fields, "dns_nameservers", IP)?);
    extend(&mut device.search, &one_or_more::<Domain>(&fields, "dns_search", DOMAIN)?);
    read_mtu(&fields, kind, device, warnings)?;
    if let Some(at) = fields.get("control") {
        match word(at, &[("auto", 0), ("hotplug", 1), ("manual", 2)])? {
            1 => device.optional = true,
            2 => device.activation = Activation::Manual,
            _ => {}
        }
    }
    Ok(())
}

/// An interface has one MTU, and another for IPv6 that is not larger. The device's own counts more
/// than a subnet's.
fn read_mtu(
    fields: &Fields<'_>,
    kind: Kind,
    device: &mut Device,
    warnings: &mut Vec<String>,
) -> Result<(), Problem> {
    let ipv6 = match kind {
        Kind::Dhcp4 => false,
        Kind::Static => device.addresses.last().is_some_and(|it| it.address.ip.is_ipv6()),
        Kind::Manual => flag(fields, "ipv6")?.unwrap_or(false),
        _ => true,
    };
    let (range, mtu) = match ipv6 {
        true => (IPV6_MTU, &mut device.ipv6_mtu),
        false => (MTU, &mut device.mtu),
    };
    match (number(fields, "mtu", range)?, *mtu) {
        (Some(own), Some(other)) if own != other => warnings.push(format!(
            "'{}': the subnet's MTU {own} has no effect: there is one of {other} already",
            device.id
        )),
        (own, _) => *mtu = mtu.or(own),
    }
    Ok(())
}

/// Whether there is a gateway; a lease has a metric of its own.
fn read_gateway(
    fields: &Fields<'_>,
    kind: Kind,
    metric: Option<u32>,
    device: &mut Device,
) -> Result<bool, Problem> {
    let Some(at) = fields.get("gateway") else { return Ok(false) };
    let via: IpAddr = at.parse(IP)?;
    let own: Vec<Address> = match device.addresses.last() {
        Some(assigned) if matches!(kind, Kind::Static | Kind::Static6) => {
            if assigned.address.ip.is_ipv4() != via.is_ipv4() {
                return Err(at.problem(format!(
                    "the gateway {via} is of another address family than {}",
                    assigned.address
                )));
            }
            device.addresses.iter().map(|it| it.address).collect()
        }
        _ => Vec::new(),
    };
    let peer = device.addresses.iter().any(|it| it.peer == Some(via));
    let on_link = !peer && is_on_link(via, &own);
    let metric = metric.filter(|_| kind != Kind::Dhcp4);
    device.routes.push(Route { via: Some(via), on_link, metric, ..Route::default() });
    Ok(true)
}

fn read_address(
    fields: &Fields<'_>,
    subnet: &At<'_>,
    device: &Device,
    warnings: &mut Vec<String>,
) -> Result<Assigned, Problem> {
    let at = required(fields, subnet, "address")?;
    let (ip, found) = ip_and_prefix(at)?;
    let prefix = match (found, netmask(fields, "netmask", ip)?) {
        (Some(prefix), Some(mask)) if prefix != mask => {
            return Err(at.problem(format!("the prefix length is {prefix}, the netmask's {mask}")));
        }
        (Some(prefix), _) | (None, Some(prefix)) => prefix,
        (None, None) => {
            let prefix = default_prefix(ip);
            warnings.push(format!(
                "'{}': the address {ip} has no prefix length; as in cloud-init, it is {prefix}",
                device.id
            ));
            prefix
        }
    };
    let broadcast: Option<Ipv4Addr> = option(fields, "broadcast", "an IPv4 address")?;
    let peer: Option<IpAddr> = option(fields, "pointopoint", IP)?;
    let other_family = peer.is_some_and(|peer| peer.is_ipv4() != ip.is_ipv4());
    if other_family || (broadcast.is_some() && ip.is_ipv6()) {
        let key = if other_family { "pointopoint" } else { "broadcast" };
        return Err(at.problem(format!("'{key}' is of another address family than {ip}")));
    }
    Ok(Assigned {
        broadcast,
        peer,
        scope: fields.get("scope").map(|at| word(at, &SCOPES)).transpose()?,
        ..Assigned::from(assignable(at, Address { ip, prefix })?)
    })
}

/// `10.0.0.1`, `10.0.0.1/24`, `10.0.0.1/255.255.255.0`.
pub(super) fn ip_and_prefix(at: &At<'_>) -> Result<(IpAddr, Option<u8>), Problem> {
    if at.text(ADDRESS)?.contains('/') {
        let Address { ip, prefix } = at.parse(ADDRESS)?;
        return Ok((ip, Some(prefix)));
    }
    Ok((at.parse(ADDRESS)?, None))
}

pub(super) fn netmask(fields: &Fields<'_>, key: &str, ip: IpAddr) -> Result<Option<u8>, Problem> {
    let Some(at) = fields.get(key) else { return Ok(None) };
    let text = at.text(NETMASK)?;
    prefix_length(ip, text).map(Some).ok_or_else(|| not(at, NETMASK, text))
}

fn default_prefix(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 24 } else { 64 }
}

/// A route of a subnet or of the host.
pub(super) fn read_route(at: &At<'_>, warnings: &mut Vec<String>) -> Result<Route, Problem> {
    let known: Vec<&str> = ROUTE.iter().copied().chain(["type"]).collect();
    let fields = at.fields(&known)?;
    // The schema has it in subnets as well, where it says nothing new.
    fields.get("type").map(|at| word(at, &[("route", ())])).transpose()?;
    route(&fields, at, warnings)
}

/// The route of these fields, which may have others beside.
pub(super) fn route(
    fields: &Fields<'_>,
    at: &At<'_>,
    warnings: &mut Vec<String>,
) -> Result<Route, Problem> {
    let target = match (fields.get("destination"), fields.get("network")) {
        (Some(_), Some(at)) => return Err(at.problem("'destination' is there as well")),
        (Some(target), None) | (None, Some(target)) => target,
        (None, None) => return Err(at.problem("missing key 'destination'")),
    };
    let to = if target.text(ADDRESS)? == "default" {
        None
    } else {
        Some(destination(fields, target, warnings)?)
    };
    let via: Option<IpAddr> = option(fields, "gateway", IP)?;
    let route = Route {
        to: to.or(via.map(Address::any)),
        via,
        metric: number(fields, "metric", UNSIGNED)?,
        mtu: number(fields, "mtu", MTU)?,
        table: number(fields, "table", POSITIVE)?,
        ..Route::default()
    };
    check(&route, at)?;
    Ok(route)
}

fn destination(
    fields: &Fields<'_>,
    at: &At<'_>,
    warnings: &mut Vec<String>,
) -> Result<Address, Problem> {
    let (ip, found) = ip_and_prefix(at)?;
    let given = match found {
        Some(prefix) => Some(prefix),
        None => netmask(fields, "netmask", ip)?.or(netmask(fields, "prefix", ip)?),
    };
    let prefix = given.unwrap_or_else(|| {
        // Without a mask, the unspecified address can only be meant as the default route.
        let prefix = if ip.is_unspecified() { 0 } else { default_prefix(ip) };
        if prefix > 0 {
            warnings.push(format!(
                "the route to {ip} has no prefix length; as in cloud-init, it is {prefix}"
            ));
        }
        prefix
    });
    Ok(Address { ip, prefix })
}
