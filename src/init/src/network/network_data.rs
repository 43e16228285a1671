// SPDX-License-Identifier: Apache-2.0
//! OpenStack's `network_data.json`: links, networks on them, services.
//! <https://docs.openstack.org/nova/latest/_downloads/9119ca7ac90aa2990e762c08baea3a36/network_data.json>.
//!
//! No person writes this document, and each release of OpenStack may add keys. So an unknown key
//! is a warning here and no refusal; what is known is read as strictly as elsewhere.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    Address, Assigned, Bond, Device, Dhcp, Ethernet, Id, Kind, Match, Name, Network,
    check::{self, Draft, Reference},
    fields::{
        IP, MAC, MTU, NAME, assignable, is_on_link, name, not, number, option, own_mac, required,
        word,
    },
    parameters::{BOND, of_v1},
    v1::{extend, give_all},
    v1_subnet::{ROUTE, ip_and_prefix, netmask, route},
    v2::vlan_id,
};
use crate::yaml::{At, Fields, Problem};

const LINK: [&str; 13] = [
    "id",
    "name",
    "type",
    "ethernet_mac_address",
    "mtu",
    "vif_id",
    "bond_links",
    "vlan_link",
    "vlan_id",
    "vlan_mac_address",
    "bond_mode",
    "bond_miimon",
    "bond_xmit_hash_policy",
];
const NETWORK: [&str; 9] =
    ["id", "network_id", "link", "type", "ip_address", "netmask", "gateway", "routes", "services"];
/// How Nova names what the guest sees as a network card.
const PHYSICAL: [&str; 14] = [
    "bridge",
    "dvs",
    "ethernet",
    "hw_veb",
    "hyperv",
    "ovs",
    "phy",
    "tap",
    "vhostuser",
    "vif",
    "bgpovs",
    "cascading",
    "physical",
    "network",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Static,
    Dhcp4,
    Dhcp6,
    Advertised,
    Stateful,
}

const WAYS: [(&str, Way); 7] = [
    ("ipv4", Way::Static),
    ("ipv6", Way::Static),
    ("ipv4_dhcp", Way::Dhcp4),
    ("ipv6_dhcp", Way::Dhcp6),
    ("ipv6_slaac", Way::Advertised),
    ("ipv6_dhcpv6-stateful", Way::Stateful),
    // A router's flag starts the client for what is beside addresses.
    ("ipv6_dhcpv6-stateless", Way::Advertised),
];

/// Reads the document.
///
/// # Errors
/// What is known is wrong: a value of another type, a reference to nothing.
pub fn read(document: &At<'_>) -> Result<Network, Problem> {
    let mut warnings = Vec::new();
    let top = lenient(document, &["links", "networks", "services"], &mut warnings)?;
    let links = items(&top, "links")?;
    let names = names(&links)?;
    let mut drafts = Vec::new();
    for link in links {
        drafts.push(read_link(link, &names, &mut warnings)?);
    }
    check::check_number(&drafts, document)?;
    for network in items(&top, "networks")? {
        read_network(&network, &names, &mut drafts, &mut warnings)?;
    }
    let host = nameservers(&top, &mut warnings)?;
    give_all(&mut drafts, &host, &[]);
    for Draft { device, .. } in &mut drafts {
        let own: Vec<Address> = device.addresses.iter().map(|it| it.address).collect();
        for route in device.routes.iter_mut().filter(|_| !own.is_empty()) {
            let default = route.to.is_none_or(|to| to.prefix == 0);
            route.on_link = default && route.via.is_some_and(|via| is_on_link(via, &own));
        }
    }
    check::resolve(drafts, document, warnings)
}

fn items<'a>(fields: &Fields<'a>, key: &str) -> Result<Vec<At<'a>>, Problem> {
    fields.get(key).map_or(Ok(Vec::new()), At::items)
}

/// The fields of `at`; keys that are not `known` are said and passed over.
fn lenient<'a>(
    at: &At<'a>,
    known: &[&str],
    warnings: &mut Vec<String>,
) -> Result<Fields<'a>, Problem> {
    let keys: Vec<&str> = at.entries()?.into_iter().map(|(key, _)| key).collect();
    // One line for each key, however many links have it.
    for key in keys.iter().filter(|key| !known.contains(key)) {
        let key: String = crate::yaml::printable(key).chars().take(60).collect();
        let warning = format!("network_data.json: the key '{key}' has no effect");
        extend(warnings, &[warning]);
    }
    at.fields(&keys)
}

/// Names by link id. An id is often a UUID, which is no interface name.
fn names<'a>(links: &[At<'a>]) -> Result<BTreeMap<&'a str, Name>, Problem> {
    let mut names: BTreeMap<&str, Name> = BTreeMap::new();
    let mut n_bonds = 0;
    // VLANs are named after their links, so they come last.
    for vlans in [false, true] {
        for (index, at) in links.iter().enumerate() {
            let fields = all(at)?;
            let kind = fields.get("type").map(|at| at.text("a type")).transpose()?;
            if (kind == Some("vlan")) != vlans {
                continue;
            }
            let key = required(&fields, at, "id")?;
            let text = key.text("an id")?;
            let given = fields.get("name").map(|at| name(at.text(NAME)?, at)).transpose()?;
            let derived = match kind {
                Some("bond") => {
                    n_bonds += 1;
                    format!("bond{}", n_bonds - 1)
                }
                Some("vlan") => {
                    let vlan = vlan_id(required(&fields, at, "vlan_id")?)?;
                    let link = required(&fields, at, "vlan_link")?.text("the id of a link")?;
                    let on_link = names.get(link).map(|link| format!("{link}.{vlan}"));
                    on_link
                        .filter(|name| name.parse::<Name>().is_ok())
                        .unwrap_or_else(|| format!("vlan{vlan}"))
                }
                _ => text.to_owned(),
            };
            let free = |name: &Name| !names.values().any(|other| other == name);
            let name = given
                .or_else(|| name(&derived, at).ok().filter(free))
                .or_else(|| format!("link{index}").parse().ok())
                .ok_or_else(|| at.problem("more links than names"))?;
            if names.insert(text, name).is_some() {
                return Err(key.problem("another link has the same id"));
            }
        }
    }
    Ok(names)
}

/// The fields of `at`, all of them; whoever reads them warns of unknown ones.
fn all<'a>(at: &At<'a>) -> Result<Fields<'a>, Problem> {
    let keys: Vec<&str> = at.entries()?.into_iter().map(|(key, _)| key).collect();
    at.fields(&keys)
}

fn named(at: &At<'_>, names: &BTreeMap<&str, Name>) -> Result<Name, Problem> {
    let text = at.text("the id of a link")?;
    names.get(text).cloned().ok_or_else(|| not(at, "the id of a link", text))
}

fn reference<'a>(at: &At<'a>, names: &BTreeMap<&str, Name>) -> Result<Reference<'a>, Problem> {
    Ok(Reference { name: named(at, names)?.into(), at: at.clone(), own_port: false })
}

fn read_link<'a>(
    at: At<'a>,
    names: &BTreeMap<&str, Name>,
    warnings: &mut Vec<String>,
) -> Result<Draft<'a>, Problem> {
    let fields = all(&at)?;
    let kind = fields.get("type").map(|at| at.text("a type")).transpose()?.unwrap_or("phy");
    let known: Vec<&str> = at
        .entries()?
        .into_iter()
        .map(|(key, _)| key)
        .filter(|key| LINK.contains(key) || kind == "bond" && of_v1(&BOND, "bond", key).is_some())
        .collect();
    lenient(&at, &known, warnings)?;
    let key = required(&fields, &at, "id")?;
    let name = named(key, names)?;
    let id = Id::from(name.clone());
    let own = |key| fields.get(key).map(own_mac).transpose();
    let mut references = Vec::new();
    let mut device = match kind {
        "bond" => {
            let mut bond = Bond::default();
            for port in items(&fields, "bond_links")? {
                let port = reference(&port, names)?;
                bond.ports.push(port.name.clone());
                references.push(port);
            }
            for (key, at) in at.entries()?.iter().filter(|(_, at)| !at.node().to_json().is_null()) {
                let parameter = of_v1(&BOND, "bond", key);
                bond.settings.extend(parameter.map(|it| it.read(at)).transpose()?);
            }
            check::bond(&bond, &at)?;
            let mac = own("ethernet_mac_address")?;
            Device { mac, ..Device::new(id, Kind::Bond(bond)) }
        }
        "vlan" => {
            let link = reference(required(&fields, &at, "vlan_link")?, names)?;
            references.push(link.clone());
            let vlan = vlan_id(required(&fields, &at, "vlan_id")?)?;
            let mac = own("vlan_mac_address")?;
            Device { mac, ..Device::new(id, Kind::Vlan { id: vlan, link: link.name }) }
        }
        other => {
            if !PHYSICAL.contains(&other) {
                let other: String = other.chars().take(60).collect();
                warnings.push(format!("'{name}': the type '{other}' is taken for a network card"));
            }
            let mac = Some(required(&fields, &at, "ethernet_mac_address")?.parse(MAC)?);
            let set_name = fields.get("name").map(|_| name);
            let matches = Some(Match { mac, ..Match::default() });
            let ethernet = Ethernet { matches, set_name, wake_on_lan: None };
            Device::new(id, Kind::Ethernet(ethernet))
        }
    };
    device.mtu = number(&fields, "mtu", MTU)?;
    Ok(Draft { device, at, references })
}

fn read_network(
    at: &At<'_>,
    names: &BTreeMap<&str, Name>,
    drafts: &mut [Draft<'_>],
    warnings: &mut Vec<String>,
) -> Result<(), Problem> {
    let fields = lenient(at, &NETWORK, warnings)?;
    let link = reference(required(&fields, at, "link")?, names)?;
    let way = word(required(&fields, at, "type")?, &WAYS)?;
    let draft = drafts.iter_mut().find(|draft| draft.device.id == link.name);
    let device = match draft {
        Some(draft) => &mut draft.device,
        None => return Err(link.at.problem("expected the id of a link")),
    };
    match way {
        Way::Static => {
            let key = required(&fields, at, "ip_address")?;
            let (ip, found) = ip_and_prefix(key)?;
            let prefix = found.or(netmask(&fields, "netmask", ip)?);
            let prefix = prefix.ok_or_else(|| at.problem("missing key 'netmask'"))?;
            let address = assignable(key, Address { ip, prefix })?;
            device.addresses.push(Assigned::from(address));
        }
        Way::Dhcp4 => device.dhcp4 = Some(Dhcp::default()),
        Way::Dhcp6 => device.dhcp6 = Some(Dhcp::default()),
        Way::Advertised => device.accept_ra = Some(true),
        Way::Stateful => {
            device.accept_ra = Some(true);
            device.dhcp6 = Some(Dhcp::default());
        }
    }
    if let Some(via) = option::<IpAddr>(&fields, "gateway", IP)? {
        device.routes.push(super::Route { via: Some(via), ..super::Route::default() });
    }
    for route in items(&fields, "routes")? {
        let known: Vec<&str> = ROUTE.iter().copied().chain(["services"]).collect();
        let route = self::route(&lenient(&route, &known, warnings)?, &route, warnings)?;
        // Nova says the gateway twice, as the network's and as a route.
        let default = |it: &super::Route| it.to.is_none_or(|to| to.prefix == 0);
        let again = |it: &super::Route| it.via == route.via && default(it) && default(&route);
        if !device.routes.iter().any(again) {
            device.routes.push(route);
        }
    }
    let nameservers = nameservers(&fields, warnings)?;
    extend(&mut device.nameservers, &nameservers);
    Ok(())
}

fn nameservers(fields: &Fields<'_>, warnings: &mut Vec<String>) -> Result<Vec<IpAddr>, Problem> {
    let mut found = Vec::new();
    for service in items(fields, "services")? {
        let fields = lenient(&service, &["type", "address"], warnings)?;
        let kind = required(&fields, &service, "type")?.text("a type")?;
        if kind == "dns" {
            found.push(required(&fields, &service, "address")?.parse(IP)?);
        } else {
            let kind: String = kind.chars().take(60).collect();
            warnings.push(format!("network_data.json: the service '{kind}' has no effect"));
        }
    }
    Ok(found)
}
