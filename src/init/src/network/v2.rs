// SPDX-License-Identifier: Apache-2.0
//! network-config version 2, netplan's vocabulary:
//! <https://docs.cloud-init.io/en/latest/reference/network-config-format-v2.html>.
//!
//! Here the kinds of devices; what every device can have is in `v2_device`.

use super::{
    Bond, Bridge, Device, Ethernet, Id, Kind, Match, Name, Network, Setting,
    check::{self, Draft, Reference},
    fields::{
        DEVICE, MAC, POSITIVE, flag, list, name, not, one_or_more, option, required, unsigned,
    },
    parameters::{BOND, BRIDGE, PATH_COST, PORT_PRIORITY, Parameter, per_port},
    v2_device::{self, check_networkd, check_renderer},
};
use crate::yaml::{At, Fields, Problem};

const TOP: [&str; 8] =
    ["version", "renderer", "ethernets", "bonds", "bridges", "vlans", "vrfs", "dummy-devices"];

const ID: &str = "an id of at most 64 printable ASCII characters without '/'";

pub(super) fn read(top: &At<'_>) -> Result<Network, Problem> {
    check_renderer(&top.fields(&TOP)?)?;
    let (mut drafts, mut warnings) = (Vec::new(), Vec::new());
    for (section, at) in top.entries()? {
        if matches!(section, "version" | "renderer") || at.node().to_json().is_null() {
            continue;
        }
        for (key, at) in at.entries()? {
            // Of the whole section; a map is a device of that name.
            if key == "renderer" && !at.is_map() {
                check_networkd(&at)?;
                continue;
            }
            drafts.push(read_device(section, key, at, &mut warnings)?);
        }
    }
    check::resolve(drafts, top, warnings)
}

fn read_device<'a>(
    section: &str,
    key: &str,
    at: At<'a>,
    warnings: &mut Vec<String>,
) -> Result<Draft<'a>, Problem> {
    let own: &[&str] = match section {
        "bonds" | "bridges" => &["interfaces", "parameters"],
        "vlans" => &["id", "link"],
        "vrfs" => &["interfaces", "table"],
        "dummy-devices" => &[],
        _ => &["match", "set-name", "wakeonlan"],
    };
    let fields = at.fields(&v2_device::keys(own))?;
    // A match says which interfaces are meant; then the id is only what others call the entry.
    let id = if fields.get("match").is_some() {
        key.parse().map_err(|()| not(&at, ID, key))?
    } else {
        name(key, &at)?.into()
    };
    let mut references = Vec::new();
    let kind = match section {
        "bonds" => Kind::Bond(read_bond(&fields, &mut references)?),
        "bridges" => Kind::Bridge(read_bridge(&fields, &mut references)?),
        "vlans" => {
            let link = reference(required(&fields, &at, "link")?)?;
            references.push(link.clone());
            Kind::Vlan { id: vlan_id(required(&fields, &at, "id")?)?, link: link.name }
        }
        "vrfs" => {
            let table = unsigned(required(&fields, &at, "table")?, POSITIVE)?;
            Kind::Vrf { table, ports: ports(&fields, "interfaces", &mut references)? }
        }
        "dummy-devices" => Kind::Dummy,
        _ => Kind::Ethernet(read_ethernet(&fields, &at)?),
    };
    let mut device = Device::new(id, kind);
    v2_device::read(&fields, &at, &mut device, warnings)?;
    Ok(Draft { device, at, references })
}

fn read_ethernet(fields: &Fields<'_>, at: &At<'_>) -> Result<Ethernet, Problem> {
    let matches = fields.get("match").map(read_match).transpose()?;
    let set_name: Option<Name> = option(fields, "set-name", "an interface name")?;
    if set_name.as_ref().is_some_and(|name| name.as_str() == "lo") {
        return Err(at.problem("'set-name' is 'lo', which is the loopback interface"));
    }
    let wake_on_lan = flag(fields, "wakeonlan")?;
    if set_name.is_some() && matches.is_none() {
        return Err(at.problem("'set-name' needs 'match', best with 'macaddress'"));
    }
    Ok(Ethernet { matches, set_name, wake_on_lan })
}

fn read_match(at: &At<'_>) -> Result<Match, Problem> {
    let fields = at.fields(&["name", "macaddress", "driver"])?;
    let matches = Match {
        name: option(&fields, "name", "an interface name or pattern")?,
        mac: option(&fields, "macaddress", MAC)?,
        drivers: one_or_more(&fields, "driver", "a driver's name or pattern")?,
    };
    if matches == Match::default() {
        return Err(at.problem("expected 'name', 'macaddress' or 'driver', found none of them"));
    }
    Ok(matches)
}

fn read_bond<'a>(
    fields: &Fields<'a>,
    references: &mut Vec<Reference<'a>>,
) -> Result<Bond, Problem> {
    let mut bond = Bond { ports: ports(fields, "interfaces", references)?, ..Bond::default() };
    let Some(at) = fields.get("parameters") else { return Ok(bond) };
    // netplan's old spelling of gratuitous-arp is in use.
    let others = ["primary", "gratuitious-arp"];
    let known: Vec<&str> = BOND.iter().map(|it| it.v2).chain(others).collect();
    let fields = at.fields(&known)?;
    bond.settings = settings(&BOND, &fields)?;
    if let Some(old) = fields.get("gratuitious-arp") {
        if fields.get("gratuitous-arp").is_some() {
            return Err(old.problem("'gratuitous-arp' is there as well"));
        }
        let parameter = BOND.iter().find(|it| it.v2 == "gratuitous-arp");
        bond.settings.extend(parameter.map(|it| it.read(old)).transpose()?);
    }
    if let Some(at) = fields.get("primary") {
        let primary = Reference { own_port: true, ..reference(at)? };
        bond.primary = Some(primary.name.clone());
        references.push(primary);
    }
    check::bond(&bond, at)?;
    Ok(bond)
}

fn read_bridge<'a>(
    fields: &Fields<'a>,
    references: &mut Vec<Reference<'a>>,
) -> Result<Bridge, Problem> {
    let mut bridge =
        Bridge { ports: ports(fields, "interfaces", references)?, ..Bridge::default() };
    let Some(at) = fields.get("parameters") else { return Ok(bridge) };
    let known: Vec<&str> =
        BRIDGE.iter().map(|it| it.v2).chain(["path-cost", "port-priority"]).collect();
    let fields = at.fields(&known)?;
    bridge.settings = settings(&BRIDGE, &fields)?;
    for (key, range, numbers) in [
        ("path-cost", PATH_COST, &mut bridge.costs),
        ("port-priority", PORT_PRIORITY, &mut bridge.priorities),
    ] {
        let Some(at) = fields.get(key) else { continue };
        for (port, number, at) in per_port(at, &range)? {
            references.push(Reference { name: port.clone(), at, own_port: true });
            numbers.push((port, number));
        }
    }
    Ok(bridge)
}

fn settings(table: &[Parameter], fields: &Fields<'_>) -> Result<Vec<Setting>, Problem> {
    let given = table.iter().filter_map(|it| Some((it, fields.get(it.v2)?)));
    given.map(|(parameter, at)| parameter.read(at)).collect()
}

pub(super) fn vlan_id(at: &At<'_>) -> Result<u16, Problem> {
    let number = at.integer(0..=4094)?;
    u16::try_from(number).map_err(|_| at.problem("expected a smaller number"))
}

/// The names in a list, each a reference.
pub(super) fn ports<'a>(
    fields: &Fields<'a>,
    key: &str,
    references: &mut Vec<Reference<'a>>,
) -> Result<Vec<Id>, Problem> {
    let names = list(fields, key, DEVICE)?;
    let items = fields.get(key).map(At::items).transpose()?.unwrap_or_default();
    let pairs = names.iter().cloned().zip(items);
    references.extend(pairs.map(|(name, at)| Reference { name, at, own_port: false }));
    Ok(names)
}

/// A name that must be a device of the document.
fn reference<'a>(at: &At<'a>) -> Result<Reference<'a>, Problem> {
    Ok(Reference { name: at.parse(DEVICE)?, at: at.clone(), own_port: false })
}
