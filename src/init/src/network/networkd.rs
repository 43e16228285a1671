// SPDX-License-Identifier: Apache-2.0
//! Files of systemd-networkd: systemd.network(5) and systemd.link(5).
//!
//! `10-` in front of the names sorts ours before what the image or the command line's `ip=` gives
//! (`70-`), and the first file that matches an interface wins.

use std::fmt::Write as _;

use super::{Ethernet, Match, Network, Route};

/// A file's name and text, below `/etc/systemd/network`.
pub type File = (String, String);

/// What a `.link` file must restore, because it replaces systemd's default one.
const LINK_NAMES: &str = "NamePolicy=keep kernel database onboard slot path\n\
                          AlternativeNamesPolicy=database onboard slot path mac\n";
/// Physical ethernet only: VLANs and bridges inherit the MAC address of their port.
const PHYSICAL: &str = "Type=ether\nKind=!*\n";

/// The files of a network, in the order of its entries.
pub fn files(network: &Network) -> Vec<File> {
    let mut files = Vec::new();
    for ethernet in &network.ethernets {
        if let Some(link) = link(ethernet) {
            files.push((format!("10-kiln-{}.link", ethernet.id), link));
        }
        files.push((format!("10-kiln-{}.network", ethernet.id), network_file(ethernet)));
    }
    files
}

/// DHCP on every physical ethernet interface: what a host without network metadata gets.
pub fn dhcp_files() -> Vec<File> {
    let text = format!("[Match]\n{PHYSICAL}\n[Network]\nDHCP=yes\n{DHCPV4}");
    vec![("10-kiln-dhcp.network".to_owned(), text)]
}

/// Leases follow the interface, not the machine id, so a re-imaged host keeps its address.
const DHCPV4: &str = "\n[DHCPv4]\nClientIdentifier=mac\n";

fn link(ethernet: &Ethernet) -> Option<String> {
    let matches = ethernet.matches.as_ref()?;
    let wake = ethernet.wake_on_lan.unwrap_or(false);
    if ethernet.set_name.is_none() && !wake {
        return None;
    }
    let mut text = "[Match]\n".to_owned();
    hardware(&mut text, matches);
    text.push_str(PHYSICAL);
    text.push_str("\n[Link]\n");
    match &ethernet.set_name {
        Some(name) => line(&mut text, "Name", name),
        None => text.push_str(LINK_NAMES),
    }
    if wake {
        line(&mut text, "WakeOnLan", "magic");
    }
    Some(text)
}

fn network_file(ethernet: &Ethernet) -> String {
    let mut text = "[Match]\n".to_owned();
    match (&ethernet.matches, &ethernet.set_name) {
        (None, _) => line(&mut text, "Name", &ethernet.id),
        (Some(matches), set_name) => {
            match (set_name, &matches.name) {
                (Some(name), _) => line(&mut text, "Name", name),
                (None, Some(glob)) => line(&mut text, "Name", glob),
                (None, None) => {}
            }
            hardware(&mut text, matches);
            text.push_str(PHYSICAL);
        }
    }
    if ethernet.mtu.is_some() || ethernet.optional {
        text.push_str("\n[Link]\n");
        if let Some(mtu) = ethernet.mtu {
            line(&mut text, "MTUBytes", mtu);
        }
        if ethernet.optional {
            line(&mut text, "RequiredForOnline", "no");
        }
    }
    text.push_str("\n[Network]\n");
    let dhcp = match (ethernet.dhcp4, ethernet.dhcp6) {
        (true, true) => "yes",
        (true, false) => "ipv4",
        (false, true) => "ipv6",
        (false, false) => "no",
    };
    line(&mut text, "DHCP", dhcp);
    for address in &ethernet.addresses {
        line(&mut text, "Address", address);
    }
    for nameserver in &ethernet.nameservers {
        line(&mut text, "DNS", nameserver);
    }
    for domain in &ethernet.search {
        line(&mut text, "Domains", domain);
    }
    if let Some(accept) = ethernet.accept_ra {
        line(&mut text, "IPv6AcceptRA", if accept { "yes" } else { "no" });
    }
    if ethernet.dhcp4 {
        text.push_str(DHCPV4);
    }
    for route in &ethernet.routes {
        write_route(&mut text, route);
    }
    text
}

/// What identifies the hardware; its name may change, this does not.
fn hardware(text: &mut String, matches: &Match) {
    if let Some(mac) = matches.mac {
        line(text, "MACAddress", mac);
    }
    if !matches.drivers.is_empty() {
        let drivers: Vec<String> = matches.drivers.iter().map(ToString::to_string).collect();
        line(text, "Driver", drivers.join(" "));
    }
}

fn write_route(text: &mut String, route: &Route) {
    text.push_str("\n[Route]\n");
    if let Some(to) = route.to {
        line(text, "Destination", to);
    }
    if let Some(via) = route.via {
        line(text, "Gateway", via);
    }
    if route.on_link {
        line(text, "GatewayOnLink", "yes");
    }
    if let Some(from) = route.from {
        line(text, "PreferredSource", from);
    }
    for (key, value) in [("Metric", route.metric), ("Table", route.table), ("MTUBytes", route.mtu)]
    {
        if let Some(value) = value {
            line(text, key, value);
        }
    }
}

fn line(text: &mut String, key: &str, value: impl std::fmt::Display) {
    writeln!(text, "{key}={value}").expect("writing to a String cannot fail");
}
