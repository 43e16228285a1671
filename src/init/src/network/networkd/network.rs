// SPDX-License-Identifier: Apache-2.0
//! `.network` files: what an interface is given once it is there.

use super::{Text, is_bonded};
use crate::network::{
    Activation, Assigned, Bond, Bridge, Device, Dhcp, Kind, Match, Network, Route, RouteKind, Rule,
    Scope, UseDomains,
};

pub(super) fn text(network: &Network, device: &Device) -> Text {
    let mut text = Text::default();
    matches(&mut text, network, device);
    link(&mut text, network, device);
    text.section("Network");
    addressing(&mut text, device);
    stacking(&mut text, network, device);
    device.addresses.iter().for_each(|assigned| address(&mut text, assigned));
    device.routes.iter().for_each(|it| route(&mut text, it));
    device.rules.iter().for_each(|it| rule(&mut text, it));
    dhcp4(&mut text, device);
    dhcp6(&mut text, device);
    if device.ra != Default::default() {
        text.section("IPv6AcceptRA");
        text.option("UseDNS", device.ra.use_dns.map(word));
        text.option("UseDomains", device.ra.use_domains.map(domains));
        text.option("RouteMetric", device.ra.metric);
        text.option("RouteTable", device.ra.table);
    }
    if let Some(Kind::Bridge(bridge)) = network.master(&device.id).map(|it| &it.kind) {
        bridge_port(&mut text, bridge, device);
    }
    text
}

/// A device that is renamed is matched by its final name and its hardware, so that it is not taken
/// for another one while udev has not renamed it.
fn matches(text: &mut Text, network: &Network, device: &Device) {
    text.section("Match");
    let Kind::Ethernet(ethernet) = &device.kind else {
        return text.line("Name", &device.id);
    };
    let Some(matches) = &ethernet.matches else {
        return text.line("Name", &device.id);
    };
    match (&ethernet.set_name, matches) {
        (Some(name), _) => text.line("Name", name),
        (None, Match { name: Some(glob), .. }) => text.line("Name", glob),
        (None, Match { name: None, .. }) => {}
    }
    // MACAddress= is the current one. Once a bond has replaced it, the first port's file would
    // match all ports; not so if the file has a name as well.
    let nameless = ethernet.set_name.is_none();
    let lost = device.mac.is_some() || nameless && is_bonded(network, device);
    let key = if lost { "PermanentMACAddress" } else { "MACAddress" };
    text.hardware(matches, key);
    text.physical();
}

fn link(text: &mut Text, network: &Network, device: &Device) {
    let required = required_for_online(network, device);
    let activation = match device.activation {
        Activation::Up => None,
        Activation::Manual => Some("manual"),
        Activation::Down => Some("always-down"),
    };
    if device.mtu.is_none() && device.mac.is_none() && required.is_none() && activation.is_none() {
        return;
    }
    text.section("Link");
    text.option("MTUBytes", device.mtu);
    text.option("MACAddress", device.mac);
    text.option("ActivationPolicy", activation);
    text.option("RequiredForOnline", required);
}

/// systemd-networkd-wait-online waits for every interface to have a carrier and an address. What
/// will have none must say so, or every boot waits until the time is over.
fn required_for_online(network: &Network, device: &Device) -> Option<&'static str> {
    let master = network.master(&device.id).map(|it| &it.kind);
    let port = matches!(master, Some(Kind::Bond(_) | Kind::Bridge(_)));
    // A bridge without ports gets its carrier from what runs on the node.
    let lonely = matches!(&device.kind, Kind::Bridge(bridge) if bridge.ports.is_empty());
    // One broken cable of a bond is what the bond is for: the bond is waited for, not its ports.
    if device.optional || port || lonely || device.activation != Activation::Up {
        return Some("no");
    }
    let no_ipv6 = device.link_local.is_some_and(|it| !it.ipv6);
    let addressless = !device.has_addresses() && device.accept_ra != Some(true);
    let vrf = matches!(device.kind, Kind::Vrf { .. });
    (addressless && (no_ipv6 || vrf)).then_some("carrier")
}

fn addressing(text: &mut Text, device: &Device) {
    let dhcp = match (&device.dhcp4, &device.dhcp6) {
        (Some(_), Some(_)) => "yes",
        (Some(_), None) => "ipv4",
        (None, Some(_)) => "ipv6",
        (None, None) => "no",
    };
    text.line("DHCP", dhcp);
    if let Some(families) = device.link_local {
        let families = match (families.ipv4, families.ipv6) {
            (true, true) => "yes",
            (true, false) => "ipv4",
            (false, true) => "ipv6",
            (false, false) => "no",
        };
        text.line("LinkLocalAddressing", families);
    }
    text.list("DNS", &device.nameservers);
    text.list("Domains", &device.search);
    text.flag("IPv6AcceptRA", device.accept_ra);
    text.flag("IPv6PrivacyExtensions", device.ipv6_privacy);
    text.option("IPv6MTUBytes", device.ipv6_mtu);
    text.flag("KeepConfiguration", device.keep_configuration.then_some(true));
    // A bridge has a carrier when a port has one, and services on the node bind to its address
    // before that. DHCP would ask nobody and wait longer each time.
    let bridge = matches!(device.kind, Kind::Bridge(_)) && !device.addresses.is_empty();
    let leased = device.dhcp4.is_some() || device.dhcp6.is_some();
    if device.ignore_carrier || bridge && !leased {
        text.line("ConfigureWithoutCarrier", "yes");
    }
    text.flag("EmitLLDP", device.lldp);
}

/// What is on top of the device and below it. The lower device's file names the upper one; its own
/// name, which may not be known, is not needed.
fn stacking(text: &mut Text, network: &Network, device: &Device) {
    for vlan in network.vlans(&device.id) {
        text.line("VLAN", &vlan.id);
    }
    let Some(master) = network.master(&device.id) else { return };
    match &master.kind {
        Kind::Bond(Bond { primary, active, .. }) => {
            text.line("Bond", &master.id);
            if primary.as_ref() == Some(&device.id) {
                text.line("PrimarySlave", "yes");
            }
            if active.as_ref() == Some(&device.id) {
                text.line("ActiveSlave", "yes");
            }
        }
        Kind::Bridge(_) => text.line("Bridge", &master.id),
        Kind::Vrf { .. } => text.line("VRF", &master.id),
        Kind::Ethernet(_) | Kind::Vlan { .. } | Kind::Dummy => {}
    }
}

fn bridge_port(text: &mut Text, bridge: &Bridge, device: &Device) {
    let find = |numbers: &[(crate::network::Id, u32)]| {
        numbers.iter().find(|(port, _)| *port == device.id).map(|(_, number)| *number)
    };
    let (cost, priority) = (find(&bridge.costs), find(&bridge.priorities));
    if cost.is_some() || priority.is_some() {
        text.section("Bridge");
        text.option("Cost", cost);
        text.option("Priority", priority);
    }
}

fn address(text: &mut Text, assigned: &Assigned) {
    text.section("Address");
    text.line("Address", assigned.address);
    text.option("Broadcast", assigned.broadcast);
    text.option("Peer", assigned.peer);
    text.option("Label", assigned.label.as_ref());
    text.option("PreferredLifetime", assigned.deprecated.then_some("0"));
    text.option("Scope", assigned.scope.map(scope));
}

fn route(text: &mut Text, route: &Route) {
    text.section("Route");
    text.option("Destination", route.to);
    text.option("Gateway", route.via);
    text.flag("GatewayOnLink", route.on_link.then_some(true));
    text.option("PreferredSource", route.from);
    text.option("Metric", route.metric);
    text.option("Table", route.table);
    text.option("MTUBytes", route.mtu);
    text.option("Type", route.kind.map(route_kind));
    text.option("Scope", route.scope.map(scope));
}

fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Global => "global",
        Scope::Link => "link",
        Scope::Host => "host",
    }
}

fn route_kind(kind: RouteKind) -> &'static str {
    match kind {
        RouteKind::Unicast => "unicast",
        RouteKind::Local => "local",
        RouteKind::Broadcast => "broadcast",
        RouteKind::Anycast => "anycast",
        RouteKind::Multicast => "multicast",
        RouteKind::Blackhole => "blackhole",
        RouteKind::Unreachable => "unreachable",
        RouteKind::Prohibit => "prohibit",
        RouteKind::Throw => "throw",
    }
}

fn rule(text: &mut Text, rule: &Rule) {
    text.section("RoutingPolicyRule");
    text.option("From", rule.from);
    text.option("To", rule.to);
    text.option("Table", rule.table);
    text.option("Priority", rule.priority);
    text.option("FirewallMark", rule.mark);
    text.option("TypeOfService", rule.type_of_service);
    if rule.from.is_none() && rule.to.is_none() {
        // Else the rule is for IPv4 only.
        text.line("Family", "both");
    }
}

fn dhcp4(text: &mut Text, device: &Device) {
    let Some(dhcp) = &device.dhcp4 else { return };
    text.section("DHCPv4");
    // Leases follow the interface, not the machine id, so a re-imaged host keeps its address.
    text.line("ClientIdentifier", if device.duid { "duid" } else { "mac" });
    shared(text, dhcp);
    text.option("RouteMetric", dhcp.route_metric);
    text.option("UseMTU", dhcp.use_mtu.map(word));
    text.option("UseRoutes", dhcp.use_routes.map(word));
}

fn dhcp6(text: &mut Text, device: &Device) {
    let Some(dhcp) = &device.dhcp6 else { return };
    // Without router advertisements, nothing else would start the client.
    let alone = device.accept_ra == Some(false);
    let shown = Dhcp { route_metric: None, use_mtu: None, use_routes: None, ..dhcp.clone() };
    if alone || shown != Dhcp::default() {
        text.section("DHCPv6");
        shared(text, &shown);
        text.option("WithoutRA", alone.then_some("solicit"));
    }
}

fn shared(text: &mut Text, dhcp: &Dhcp) {
    text.option("Hostname", dhcp.hostname.as_ref());
    text.option("SendHostname", dhcp.send_hostname.map(word));
    text.option("UseDNS", dhcp.use_dns.map(word));
    text.option("UseDomains", dhcp.use_domains.map(domains));
    text.option("UseHostname", dhcp.use_hostname.map(word));
    text.option("UseNTP", dhcp.use_ntp.map(word));
}

/// Booleans of these sections as cloud-init spells them; systemd reads any case.
fn word(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

fn domains(value: UseDomains) -> &'static str {
    match value {
        UseDomains::Yes => word(true),
        UseDomains::No => word(false),
        UseDomains::Route => "route",
    }
}
