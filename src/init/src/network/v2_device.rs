// SPDX-License-Identifier: Apache-2.0
//! What every device of version 2 can have: addresses, DHCP, routes, name servers.

use std::net::IpAddr;

use super::{
    Activation, Address, Assigned, Device, Dhcp, Kind, LinkLocal, Route,
    fields::{
        ADDRESS, DOMAIN, IP, IPV6_MTU, MTU, POSITIVE, UNSIGNED, assignable, flag, is_on_link, not,
        number, one_or_more, option, own_mac, use_domains, word,
    },
    route::{read_route, read_rule},
};
use crate::yaml::{At, Fields, Problem};

const COMMON: [&str; 28] = [
    "renderer",
    "dhcp4",
    "dhcp6",
    "dhcp4-overrides",
    "dhcp6-overrides",
    "dhcp4domain",
    "dhcp6domain",
    "dhcp-identifier",
    "addresses",
    "gateway4",
    "gateway6",
    "routes",
    "routing-policy",
    "nameservers",
    "mtu",
    "ipv6-mtu",
    "macaddress",
    "optional",
    "optional-addresses",
    "accept-ra",
    "ra-overrides",
    "link-local",
    "ipv6-privacy",
    "critical",
    "keep-configuration",
    "ignore-carrier",
    "activation-mode",
    "emit-lldp",
];
const OVERRIDES: [&str; 9] = [
    "hostname",
    "route-metric",
    "send-hostname",
    "use-dns",
    "use-domains",
    "use-hostname",
    "use-mtu",
    "use-ntp",
    "use-routes",
];
/// The keys of a device that has `own` ones.
pub(super) fn keys(own: &[&'static str]) -> Vec<&'static str> {
    own.iter().chain(&COMMON).copied().collect()
}

pub(super) fn check_renderer(fields: &Fields<'_>) -> Result<(), Problem> {
    fields.get("renderer").map_or(Ok(()), check_networkd)
}

pub(super) fn check_networkd(at: &At<'_>) -> Result<(), Problem> {
    if at.is_null() || at.text("'networkd'")? == "networkd" {
        return Ok(());
    }
    Err(at.problem("expected 'networkd', which is what the image runs"))
}

pub(super) fn read(
    fields: &Fields<'_>,
    at: &At<'_>,
    device: &mut Device,
    warnings: &mut Vec<String>,
) -> Result<(), Problem> {
    check_renderer(fields)?;
    device.dhcp4 = dhcp(fields, at, Family::V4, device, warnings)?;
    device.dhcp6 = dhcp(fields, at, Family::V6, device, warnings)?;
    if let Some(at) = fields.get("dhcp-identifier") {
        device.duid = word(at, &[("mac", false), ("duid", true)])?;
    }
    if let Some(list) = fields.get("addresses") {
        device.addresses = list.items()?.iter().map(read_address).collect::<Result<_, _>>()?;
    }
    read_routes(fields, device)?;
    if let Some(at) = fields.get("nameservers") {
        let fields = at.fields(&["addresses", "search"])?;
        device.nameservers = one_or_more(&fields, "addresses", IP)?;
        device.search = one_or_more(&fields, "search", DOMAIN)?;
    }
    device.mtu = number(fields, "mtu", MTU)?;
    device.ipv6_mtu = number(fields, "ipv6-mtu", IPV6_MTU)?;
    device.mac = fields.get("macaddress").map(own_mac).transpose()?;
    device.optional = flag(fields, "optional")?.unwrap_or(false);
    device.accept_ra = flag(fields, "accept-ra")?;
    device.ipv6_privacy = flag(fields, "ipv6-privacy")?;
    device.ignore_carrier = flag(fields, "ignore-carrier")?.unwrap_or(false);
    device.lldp = flag(fields, "emit-lldp")?;
    let kept = [flag(fields, "critical")?, flag(fields, "keep-configuration")?];
    device.keep_configuration = kept.contains(&Some(true));
    if let Some(at) = fields.get("link-local") {
        device.link_local = Some(link_local(at)?);
    }
    if let Some(at) = fields.get("ra-overrides") {
        let fields = at.fields(&["use-dns", "use-domains", "table"])?;
        device.ra.use_dns = flag(&fields, "use-dns")?;
        device.ra.use_domains = fields.get("use-domains").map(use_domains).transpose()?;
        device.ra.table = number(&fields, "table", POSITIVE)?;
    }
    if let Some(at) = fields.get("activation-mode") {
        device.activation = word(at, &[("manual", Activation::Manual), ("off", Activation::Down)])?;
    }
    optional_addresses(fields, device, warnings)
}

fn link_local(at: &At<'_>) -> Result<LinkLocal, Problem> {
    let mut families = LinkLocal { ipv4: false, ipv6: false };
    for item in at.items()? {
        match word(&item, &[("ipv4", true), ("ipv6", false)])? {
            true => families.ipv4 = true,
            false => families.ipv6 = true,
        }
    }
    Ok(families)
}

fn optional_addresses(
    fields: &Fields<'_>,
    device: &Device,
    warnings: &mut Vec<String>,
) -> Result<(), Problem> {
    let Some(at) = fields.get("optional-addresses") else { return Ok(()) };
    let words = ["ipv4-ll", "ipv6-ra", "dhcp4", "dhcp6", "static"].map(|word| (word, ()));
    for item in at.items()? {
        word(&item, &words)?;
    }
    warnings.push(format!(
        "'{}': systemd-networkd cannot wait for some addresses only; 'optional-addresses' has no effect",
        device.id
    ));
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

fn dhcp(
    fields: &Fields<'_>,
    at: &At<'_>,
    family: Family,
    device: &Device,
    warnings: &mut Vec<String>,
) -> Result<Option<Dhcp>, Problem> {
    let (client, overrides, domain) = match family {
        Family::V4 => ("dhcp4", "dhcp4-overrides", "dhcp4domain"),
        Family::V6 => ("dhcp6", "dhcp6-overrides", "dhcp6domain"),
    };
    let on = flag(fields, client)?.unwrap_or(false);
    let mut dhcp = match fields.get(overrides) {
        Some(at) => read_overrides(at, family, device, warnings)?,
        None => Dhcp::default(),
    };
    // VMware's spelling of use-domains.
    if let Some(value) = fields.get(domain) {
        if dhcp.use_domains.is_some() {
            return Err(at.problem(format!(
                "has both '{domain}' and '{overrides}.use-domains'; use one of them"
            )));
        }
        dhcp.use_domains = Some(use_domains(value)?);
    }
    if !on && dhcp != Dhcp::default() {
        warnings.push(format!("'{}': '{overrides}' has no effect without '{client}'", device.id));
    }
    Ok(on.then_some(dhcp))
}

fn read_overrides(
    at: &At<'_>,
    family: Family,
    device: &Device,
    warnings: &mut Vec<String>,
) -> Result<Dhcp, Problem> {
    let fields = at.fields(&OVERRIDES)?;
    let hostname = option(&fields, "hostname", "a host name")?;
    if let Some(at) = fields.get("hostname") {
        let text = at.text("a host name")?;
        if text.starts_with('~') || text.ends_with('.') {
            return Err(not(at, "a host name", text));
        }
    }
    if family == Family::V6 {
        // netplan wants both families' overrides to be equal, so they are there, but in IPv6 a
        // router and not the DHCP server says these things.
        for key in ["route-metric", "use-mtu", "use-routes"] {
            if fields.get(key).is_some() {
                warnings.push(format!(
                    "'{}': '{key}' has no effect in 'dhcp6-overrides': routes and the MTU come \
                     from router advertisements",
                    device.id
                ));
            }
        }
    }
    Ok(Dhcp {
        hostname,
        send_hostname: flag(&fields, "send-hostname")?,
        route_metric: number(&fields, "route-metric", UNSIGNED)?,
        use_dns: flag(&fields, "use-dns")?,
        use_domains: fields.get("use-domains").map(use_domains).transpose()?,
        use_hostname: flag(&fields, "use-hostname")?,
        use_mtu: flag(&fields, "use-mtu")?,
        use_ntp: flag(&fields, "use-ntp")?,
        use_routes: flag(&fields, "use-routes")?,
    })
}

/// `10.0.0.1/8`, or a map from that to options.
fn read_address(at: &At<'_>) -> Result<Assigned, Problem> {
    if !at.is_map() {
        return assignable(at, at.parse(ADDRESS)?).map(Assigned::from);
    }
    let entries = at.entries()?;
    let [(text, options)] = &entries[..] else {
        return Err(at.problem("expected one address with its options"));
    };
    let address: Address = text.parse().map_err(|()| not(at, ADDRESS, text))?;
    let fields = options.fields(&["label", "lifetime"])?;
    if let Some(label) = fields.get("label").filter(|_| address.ip.is_ipv6()) {
        return Err(label.problem("only IPv4 addresses have labels"));
    }
    let lifetimes = [("forever", false), ("0", true)];
    let lifetime = fields.get("lifetime").map(|at| word(at, &lifetimes)).transpose()?;
    Ok(Assigned {
        label: option(&fields, "label", "a label of at most 15 characters")?,
        deprecated: lifetime.unwrap_or(false),
        ..Assigned::from(assignable(at, address)?)
    })
}

fn read_routes(fields: &Fields<'_>, device: &mut Device) -> Result<(), Problem> {
    let own: Vec<Address> = device.addresses.iter().map(|it| it.address).collect();
    for (key, expected) in [("gateway4", "an IPv4 address"), ("gateway6", "an IPv6 address")] {
        let Some(at) = fields.get(key) else { continue };
        let via: IpAddr = at.parse(expected)?;
        if via.is_ipv4() != (key == "gateway4") {
            return Err(at.problem(format!("expected {expected}, found '{via}'")));
        }
        let on_link = is_on_link(via, &own);
        device.routes.push(Route { via: Some(via), on_link, ..Route::default() });
    }
    if let Some(list) = fields.get("routes") {
        for route in list.items()? {
            device.routes.push(read_route(&route)?);
        }
    }
    if let Some(list) = fields.get("routing-policy") {
        device.rules = list.items()?.iter().map(read_rule).collect::<Result<_, _>>()?;
    }
    // A VRF's own routes and rules are those of its table.
    if let Kind::Vrf { table, .. } = device.kind {
        device.routes.iter_mut().for_each(|route| route.table = route.table.or(Some(table)));
        device.rules.iter_mut().for_each(|rule| rule.table = rule.table.or(Some(table)));
    }
    Ok(())
}
