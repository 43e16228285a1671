// SPDX-License-Identifier: Apache-2.0
//! network-config version 1, cloud-init's own vocabulary:
//! <https://docs.cloud-init.io/en/latest/reference/network-config-format-v1.html>.
//!
//! A list of devices, name servers and routes. What is said for the whole host goes to the devices
//! it is for: name servers to every one that is no port of another, a route to the one that reaches
//! its gateway.

use std::net::IpAddr;

use super::{
    Bond, Bridge, Device, Domain, Ethernet, Id, Kind, Mac, Match, Name, Network, Route, Setting,
    check::{self, Draft, Reference},
    fields::{
        DEVICE, DOMAIN, IP, MAC, MTU, NAME, flag, is_on_link, name, not, number, one_or_more,
        option, own_mac, required,
    },
    parameters::{
        BOND, BOND_V1, BRIDGE, PATH_COST, PORT_PRIORITY, Parameter, of_v1, per_port, unknown,
        v1_name,
    },
    v1_subnet,
    v2::{ports, vlan_id},
};
use crate::yaml::{At, Fields, Problem};

const COMMON: [&str; 9] = [
    "type",
    "name",
    "mac_address",
    "mtu",
    "subnets",
    "accept-ra",
    "keep_configuration",
    "optional",
    "wakeonlan",
];
/// What ifupdown waits for; systemd-networkd knows when a bridge is ready.
const IFUPDOWN: [&str; 3] = ["gcint", "maxwait", "waitport"];
/// Parameters of bonds that are not in the table of both versions.
const OTHER_PARAMS: [&str; 6] = [
    "primary",
    "active-slave",
    "slaves",
    "ad-actor-sys-prio",
    "ad-actor-system",
    "ad-user-port-key",
];

/// Name servers of the host or of one device.
struct Nameservers {
    addresses: Vec<IpAddr>,
    search: Vec<Domain>,
    device: Option<Id>,
}

pub(super) fn read(top: &At<'_>) -> Result<Network, Problem> {
    let fields = top.fields(&["version", "config"])?;
    let entries = required(&fields, top, "config")?.items()?;
    let (mut drafts, mut warnings) = (Vec::new(), Vec::new());
    let (mut nameservers, mut routes) = (Vec::new(), Vec::new());
    for at in entries {
        let kind = at.entries()?.into_iter().find(|(key, _)| *key == "type");
        let kind = kind.ok_or_else(|| at.problem("missing key 'type'"))?.1;
        let expected = "physical, bond, bridge, vlan, loopback, nameserver or route";
        match kind.text(expected)? {
            "nameserver" => nameservers.push((read_nameservers(&at)?, at)),
            "route" => routes.push((v1_subnet::read_route(&at, &mut warnings)?, at)),
            "loopback" => nameservers.push((read_loopback(&at)?, at)),
            "physical" | "bond" | "bridge" | "vlan" => {
                drafts.push(read_device(at, kind.text(expected)?, &mut warnings)?);
            }
            "infiniband" => return Err(kind.problem("infiniband is not supported, only ethernet")),
            other => return Err(not(&kind, expected, other)),
        }
    }
    check::check_number(&drafts, top)?;
    for (route, at) in routes {
        give_route(&mut drafts, route, &at, &mut warnings)?;
    }
    give_nameservers(&mut drafts, nameservers)?;
    check::resolve(drafts, top, warnings)
}

fn read_device<'a>(
    at: At<'a>,
    kind: &str,
    warnings: &mut Vec<String>,
) -> Result<Draft<'a>, Problem> {
    let own: &[&str] = match kind {
        "bond" => &["bond_interfaces", "params"],
        "bridge" => &["bridge_interfaces", "params"],
        "vlan" => &["vlan_link", "vlan_id"],
        _ => &["params"],
    };
    let known: Vec<&str> = COMMON.iter().chain(own).copied().collect();
    let fields = at.fields(&known)?;
    let name_at = required(&fields, &at, "name")?;
    let name = name(name_at.text(NAME)?, name_at)?;
    let id = Id::from(name.clone());
    let mut references = Vec::new();
    let mut device = match kind {
        "bond" => Device::new(id, Kind::Bond(read_bond(&fields, &mut references)?)),
        "bridge" => read_bridge(&fields, &at, id, &mut references, warnings)?,
        "vlan" => {
            let link = required(&fields, &at, "vlan_link")?;
            let link = Reference { name: link.parse(DEVICE)?, at: link.clone(), own_port: false };
            let vlan = vlan_id(required(&fields, &at, "vlan_id")?)?;
            references.push(link.clone());
            Device::new(id, Kind::Vlan { id: vlan, link: link.name })
        }
        _ => physical(&fields, name)?,
    };
    if let Some(at) = fields.get("mac_address").filter(|_| kind != "physical") {
        device.mac = Some(own_mac(at)?);
    }
    if flag(&fields, "wakeonlan")? == Some(true) && kind != "physical" {
        warnings.push(format!("'{}': 'wakeonlan' has no effect on a {kind}", device.id));
    }
    device.mtu = number(&fields, "mtu", MTU)?;
    device.accept_ra = flag(&fields, "accept-ra")?;
    device.optional = flag(&fields, "optional")?.unwrap_or(false);
    device.keep_configuration = flag(&fields, "keep_configuration")?.unwrap_or(false);
    if let Some(subnets) = fields.get("subnets") {
        for subnet in subnets.items()? {
            v1_subnet::read(&subnet, &mut device, warnings)?;
        }
    }
    Ok(Draft { device, at, references })
}

/// With a MAC address, `name` is the name that the interface gets; else the one it has.
fn physical(fields: &Fields<'_>, name: Name) -> Result<Device, Problem> {
    let mac: Option<Mac> = option(fields, "mac_address", MAC)?;
    let drivers = match fields.get("params") {
        Some(at) => one_or_more(&at.fields(&["driver"])?, "driver", "a driver's name or pattern")?,
        None => Vec::new(),
    };
    let hardware = mac.is_some() || !drivers.is_empty();
    let matches =
        hardware.then(|| Match { name: mac.is_none().then(|| name.to_glob()), mac, drivers });
    let set_name = mac.is_some().then(|| name.clone());
    let wake_on_lan = flag(fields, "wakeonlan")?;
    Ok(Device::new(name.into(), Kind::Ethernet(Ethernet { matches, set_name, wake_on_lan })))
}

fn read_bond<'a>(
    fields: &Fields<'a>,
    references: &mut Vec<Reference<'a>>,
) -> Result<Bond, Problem> {
    let mut bond = Bond { ports: ports(fields, "bond_interfaces", references)?, ..Bond::default() };
    let Some(params) = fields.get("params") else { return Ok(bond) };
    for (key, at) in params.entries()? {
        match &*v1_name("bond", key).unwrap_or_default() {
            name @ ("primary" | "active-slave") => {
                let port: Id = at.parse(DEVICE)?;
                let place = if name == "primary" { &mut bond.primary } else { &mut bond.active };
                *place = Some(port.clone());
                references.push(Reference { name: port, at, own_port: true });
            }
            "slaves" => more_ports(&at, &mut bond.ports, references)?,
            // The kernel's defaults.
            "use-carrier" if at.integer(1..=1).is_ok() => {}
            "peer-notif-delay" if at.integer(0..=0).is_ok() => {}
            "use-carrier" | "peer-notif-delay" | "queue-id" => {
                return Err(at.problem("systemd-networkd has no setting for this; leave it out"));
            }
            "ad-actor-key" | "ad-aggregator" | "ad-num-ports" | "ad-partner-key"
            | "ad-partner-mac" | "mii-status" => {
                return Err(at.problem("the kernel reports this and takes no value; leave it out"));
            }
            _ => {
                let parameter = of_v1(&BOND, "bond", key).or_else(|| of_v1(&BOND_V1, "bond", key));
                let parameter = parameter
                    .ok_or_else(|| unknown(params, (key, &at), &BOND, "bond-", &OTHER_PARAMS))?;
                add(&mut bond.settings, parameter, &at)?;
            }
        }
    }
    check::bond(&bond, params)?;
    Ok(bond)
}

/// The second way to name ports, which is ifupdown's: a list, or words in a text.
fn more_ports<'a>(
    at: &At<'a>,
    ports: &mut Vec<Id>,
    references: &mut Vec<Reference<'a>>,
) -> Result<(), Problem> {
    let items = if at.is_list() { at.items()? } else { vec![at.clone()] };
    for at in items {
        for word in at.text(DEVICE)?.split(' ').filter(|word| !matches!(*word, "" | "none")) {
            let name: Id = word.parse().map_err(|()| not(&at, DEVICE, word))?;
            if !ports.contains(&name) {
                ports.push(name.clone());
                references.push(Reference { name, at: at.clone(), own_port: false });
            }
        }
    }
    Ok(())
}

fn read_bridge<'a>(
    fields: &Fields<'a>,
    at: &At<'a>,
    id: Id,
    references: &mut Vec<Reference<'a>>,
    warnings: &mut Vec<String>,
) -> Result<Device, Problem> {
    required(fields, at, "bridge_interfaces")?;
    let mut bridge =
        Bridge { ports: ports(fields, "bridge_interfaces", references)?, ..Bridge::default() };
    let mut mac = None;
    let params = fields.get("params").unwrap_or(at);
    let entries = fields.get("params").map(At::entries).transpose()?.unwrap_or_default();
    for (key, at) in entries {
        let name = v1_name("bridge", key).unwrap_or_default();
        let numbers = match &*name {
            "pathcost" => (PATH_COST, &mut bridge.costs),
            "portprio" => (PORT_PRIORITY, &mut bridge.priorities),
            "ports" => {
                more_ports(&at, &mut bridge.ports, references)?;
                continue;
            }
            "hw" => {
                mac = Some(own_mac(&at)?);
                continue;
            }
            name if IFUPDOWN.contains(&name) => {
                warnings.push(format!("'{id}': 'bridge_{name}' is ifupdown's and has no effect"));
                continue;
            }
            _ => {
                let others =
                    ["hw", "ports", "pathcost", "portprio", "gcint", "maxwait", "waitport"];
                let parameter = of_v1(&BRIDGE, "bridge", key)
                    .ok_or_else(|| unknown(params, (key, &at), &BRIDGE, "bridge_", &others))?;
                add(&mut bridge.settings, parameter, &at)?;
                continue;
            }
        };
        let (range, numbers) = numbers;
        for (port, number, at) in per_port(&at, &range)? {
            references.push(Reference { name: port.clone(), at, own_port: true });
            numbers.push((port, number));
        }
    }
    Ok(Device { mac, ..Device::new(id, Kind::Bridge(bridge)) })
}

/// One key has several spellings; two of them in one document contradict each other.
fn add(settings: &mut Vec<Setting>, parameter: &Parameter, at: &At<'_>) -> Result<(), Problem> {
    let setting = parameter.read(at)?;
    if settings.iter().any(|it| it.key == setting.key) {
        return Err(at.problem("another spelling of this key is there as well"));
    }
    settings.push(setting);
    Ok(())
}

fn read_nameservers(at: &At<'_>) -> Result<Nameservers, Problem> {
    let fields = at.fields(&["type", "address", "search", "interface"])?;
    if fields.get("address").is_none() && fields.get("search").is_none() {
        return Err(at.problem("missing key 'address'"));
    }
    Ok(Nameservers {
        addresses: one_or_more(&fields, "address", IP)?,
        search: one_or_more(&fields, "search", DOMAIN)?,
        device: option(&fields, "interface", DEVICE)?,
    })
}

/// The loopback interface needs no configuration; name servers that stand there are the host's.
fn read_loopback(at: &At<'_>) -> Result<Nameservers, Problem> {
    let fields = at.fields(&["type", "name", "subnets"])?;
    if let Some(name) = fields.get("name").filter(|at| at.text("'lo'") != Ok("lo")) {
        return Err(name.problem("expected 'lo'"));
    }
    let mut found = Nameservers { addresses: Vec::new(), search: Vec::new(), device: None };
    for subnet in fields.get("subnets").map(At::items).transpose()?.unwrap_or_default() {
        let fields =
            subnet.fields(&["type", "ipv4", "ipv6", "control", "dns_nameservers", "dns_search"])?;
        let kind = required(&fields, &subnet, "type")?;
        if kind.text("'loopback'")? != "loopback" {
            return Err(kind.problem(
                "only 'loopback'; for addresses of services, use a dummy device of version 2",
            ));
        }
        found.addresses.extend(one_or_more::<IpAddr>(&fields, "dns_nameservers", IP)?);
        found.search.extend(one_or_more::<Domain>(&fields, "dns_search", DOMAIN)?);
    }
    Ok(found)
}

/// A route of the host belongs to the device whose network has its gateway; where a lease will
/// say which network that is, to the only such device; where nothing else can be meant, to the only
/// device with addresses of its family.
fn give_route(
    drafts: &mut [Draft<'_>],
    mut route: Route,
    at: &At<'_>,
    warnings: &mut Vec<String>,
) -> Result<(), Problem> {
    let via = route.via.ok_or_else(|| at.problem("missing key 'gateway'"))?;
    let reaches = |device: &Device| {
        device.addresses.iter().any(|it| it.address.contains(via) || it.peer == Some(via))
    };
    let leased = |device: &Device| match via {
        IpAddr::V4(_) => device.dhcp4.is_some(),
        IpAddr::V6(_) => device.dhcp6.is_some() || device.accept_ra == Some(true),
    };
    let of_family = |device: &Device| {
        device.addresses.iter().any(|it| it.address.ip.is_ipv4() == via.is_ipv4())
    };
    let found = drafts.iter().position(|draft| reaches(&draft.device));
    let found = found.or_else(|| only(drafts, &leased));
    let index = found.or_else(|| only(drafts, &of_family));
    let draft = index.and_then(|index| drafts.get_mut(index)).ok_or_else(|| {
        at.problem(format!("no device has an address in the network of the gateway {via}"))
    })?;
    if found.is_none() && is_on_link(via, &[]) {
        route.on_link = true;
        warnings.push(format!(
            "'{}': the gateway {via} is in none of the device's networks; it is taken to be on its link",
            draft.device.id
        ));
    }
    draft.device.routes.push(route);
    Ok(())
}

/// The index of the only such device.
fn only(drafts: &[Draft<'_>], wanted: &dyn Fn(&Device) -> bool) -> Option<usize> {
    let mut found = (0..).zip(drafts).filter(|(_, draft)| wanted(&draft.device));
    let (index, _) = found.next()?;
    found.next().is_none().then_some(index)
}

fn give_nameservers(
    drafts: &mut [Draft<'_>],
    nameservers: Vec<(Nameservers, At<'_>)>,
) -> Result<(), Problem> {
    for (Nameservers { addresses, search, device }, at) in nameservers {
        if addresses.len().max(search.len()) > check::VALUES_MAX {
            return Err(
                at.problem(format!("more than {} name servers or domains", check::VALUES_MAX))
            );
        }
        let Some(id) = device else {
            give_all(drafts, &addresses, &search);
            continue;
        };
        let Some(draft) = drafts.iter_mut().find(|draft| draft.device.id == id) else {
            return Err(at.problem(format!("no device of this document is called '{id}'")));
        };
        extend(&mut draft.device.nameservers, &addresses);
        extend(&mut draft.device.search, &search);
    }
    Ok(())
}

/// Gives the host's name servers to every device that is no port of another: which one will reach
/// them is not known here, and one that has no addresses asks nobody.
pub(super) fn give_all(drafts: &mut [Draft<'_>], addresses: &[IpAddr], search: &[Domain]) {
    let ports: Vec<Id> = drafts.iter().flat_map(|it| it.device.ports()).cloned().collect();
    for Draft { device, .. } in drafts {
        if !ports.contains(&device.id) {
            extend(&mut device.nameservers, addresses);
            extend(&mut device.search, search);
        }
    }
}

/// Adds what is not there yet.
pub(super) fn extend<T: Clone + PartialEq>(to: &mut Vec<T>, from: &[T]) {
    for value in from {
        if !to.contains(value) {
            to.push(value.clone());
        }
    }
}
