// SPDX-License-Identifier: Apache-2.0
//! OpenStack's document.

use super::{file, joined};
use crate::{
    network::{Network, network_data},
    yaml::{self, At},
};

fn read(text: &str) -> Result<Network, String> {
    let node = yaml::parse(text.as_bytes()).unwrap().unwrap();
    network_data::read(&At::root(&node)).map_err(|problem| problem.to_string())
}

fn accepted(text: &str) -> Network {
    read(text).unwrap_or_else(|refusal| panic!("{text}\n{refusal}"))
}

const CARD: &str = r#"{"id": "tap1", "type": "ovs", "ethernet_mac_address": "fa:16:3e:00:00:01", "mtu": 1450, "vif_id": "6b1a"}"#;

/// A document with one card and these networks on it.
fn with_networks(networks: &str) -> String {
    format!(r#"{{"links": [{CARD}], "networks": [{networks}], "services": []}}"#)
}

#[test]
fn a_card_is_found_by_its_mac_address_and_not_renamed() {
    let text = with_networks(
        r#"{"id": "network0", "link": "tap1", "type": "ipv4", "ip_address": "10.0.0.5", "netmask": "255.255.255.0",
            "gateway": "10.0.0.1", "network_id": "x",
            "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.0.0.1"},
                       {"network": "10.1.0.0", "netmask": "255.255.0.0", "gateway": "10.0.0.2", "services": []}],
            "services": [{"type": "dns", "address": "10.0.0.3"}]}"#,
    );
    let network = accepted(&text);
    assert_eq!(network.warnings, [""; 0]);
    assert_eq!(
        joined(&network),
        "# 10-kiln-tap1.network\n[Match]\nMACAddress=fa:16:3e:00:00:01\nType=ether\nKind=!*\n\n\
         [Link]\nMTUBytes=1450\n\n[Network]\nDHCP=no\nDNS=10.0.0.3\n\n\
         [Address]\nAddress=10.0.0.5/24\n\n[Route]\nGateway=10.0.0.1\n\n\
         [Route]\nDestination=10.1.0.0/16\nGateway=10.0.0.2\n"
    );
}

#[test]
fn every_type_of_network_reaches_its_lines() {
    for (keys, lines) in [
        (r#""type": "ipv4_dhcp""#, "DHCP=ipv4\n"),
        (r#""type": "ipv6_dhcp""#, "DHCP=ipv6\n"),
        (r#""type": "ipv6_slaac""#, "DHCP=no\nIPv6AcceptRA=yes\n"),
        (r#""type": "ipv6_dhcpv6-stateful""#, "DHCP=ipv6\nIPv6AcceptRA=yes\n"),
        (r#""type": "ipv6_dhcpv6-stateless""#, "DHCP=no\nIPv6AcceptRA=yes\n"),
        (r#""type": "ipv4", "ip_address": "10.0.0.5/20""#, "Address=10.0.0.5/20\n"),
        (
            r#""type": "ipv6", "ip_address": "2001:db8::5", "netmask": "ffff:ffff:ffff::""#,
            "Address=2001:db8::5/48\n",
        ),
        (
            r#""type": "ipv6", "ip_address": "2001:db8::5", "netmask": "64""#,
            "Address=2001:db8::5/64\n",
        ),
        (
            r#""type": "ipv4", "ip_address": "10.0.0.5/32", "gateway": "10.9.0.1""#,
            "[Route]\nGateway=10.9.0.1\nGatewayOnLink=yes\n",
        ),
    ] {
        let text = joined(&accepted(&with_networks(&format!(r#"{{"link": "tap1", {keys}}}"#))));
        assert!(text.contains(lines), "{keys}:\n{text}");
    }
}

#[test]
fn bonds_and_vlans_are_named_and_stand_on_their_links() {
    let network = accepted(
        r#"{"links": [
            {"id": "v", "type": "vlan", "vlan_link": "b", "vlan_id": 602, "vlan_mac_address": "fa:16:3e:00:00:09"},
            {"id": "1f0e5a3c-58ac-4e2e-8b1f-0d9b2a0c6b11", "type": "phy", "ethernet_mac_address": "fa:16:3e:00:00:01", "mtu": null},
            {"id": "q", "type": null, "name": "lan1", "ethernet_mac_address": "fa:16:3e:00:00:02"},
            {"id": "b", "type": "bond", "bond_links": ["1f0e5a3c-58ac-4e2e-8b1f-0d9b2a0c6b11", "q"], "mtu": 9000,
             "ethernet_mac_address": "fa:16:3e:00:00:01", "bond_mode": "802.3ad", "bond_miimon": 100,
             "bond_xmit_hash_policy": "layer3+4"}],
            "networks": [{"id": "n", "link": "v", "type": "ipv4", "ip_address": "10.0.0.5/24"}],
            "services": [{"type": "dns", "address": "10.0.0.3"}]}"#,
    );
    assert_eq!(network.warnings, [""; 0]);
    for (name, text) in [
        (
            "bond0.602.network",
            "[Match]\nName=bond0.602\n\n[Link]\nMACAddress=fa:16:3e:00:00:09\n\n\
             [Network]\nDHCP=no\nDNS=10.0.0.3\n\n[Address]\nAddress=10.0.0.5/24\n",
        ),
        (
            "link1.network",
            "[Match]\nPermanentMACAddress=fa:16:3e:00:00:01\nType=ether\nKind=!*\n\n\
             [Link]\nRequiredForOnline=no\n\n[Network]\nDHCP=no\nBond=bond0\n",
        ),
        (
            "lan1.link",
            "[Match]\nPermanentMACAddress=fa:16:3e:00:00:02\nType=ether\nKind=!*\n\n[Link]\nName=lan1\n",
        ),
        (
            "bond0.netdev",
            "[NetDev]\nName=bond0\nKind=bond\nMTUBytes=9000\nMACAddress=fa:16:3e:00:00:01\n\n\
             [Bond]\nMode=802.3ad\nMIIMonitorSec=100ms\nTransmitHashPolicy=layer3+4\n",
        ),
        (
            "bond0.network",
            "[Match]\nName=bond0\n\n[Link]\nMTUBytes=9000\nMACAddress=fa:16:3e:00:00:01\n\n\
             [Network]\nDHCP=no\nDNS=10.0.0.3\nVLAN=bond0.602\n",
        ),
    ] {
        assert_eq!(file(&network, &format!("10-kiln-{name}")), text, "{name}");
    }
    let macs: Vec<String> = network.macs().iter().map(ToString::to_string).collect();
    assert_eq!(macs, ["fa:16:3e:00:00:01", "fa:16:3e:00:00:02"]);
}

#[test]
fn vlans_of_one_id_have_names_of_their_own() {
    let card = |id: &str, n: u8| {
        format!(r#"{{"id": "{id}-with-a-long-id", "ethernet_mac_address": "fa:16:3e:00:00:0{n}"}}"#)
    };
    let vlan = |id: &str, link: &str| {
        format!(
            r#"{{"id": "{id}", "type": "vlan", "vlan_link": "{link}-with-a-long-id", "vlan_id": 5}}"#
        )
    };
    let network = accepted(&format!(
        r#"{{"links": [{}, {}, {}, {}]}}"#,
        card("abcdefgh", 1),
        card("ijklmnop", 2),
        vlan("v", "abcdefgh"),
        vlan("w", "ijklmnop")
    ));
    let names: Vec<String> = network.devices.iter().map(|it| it.id.to_string()).collect();
    assert_eq!(names, ["link0", "link1", "link0.5", "link1.5"]);
}

#[test]
fn what_a_newer_release_adds_is_a_warning_and_said_once() {
    let network = accepted(
        r#"{"links": [
            {"id": "a", "type": "quantum", "ethernet_mac_address": "fa:16:3e:00:00:01", "new": 1},
            {"id": "b", "type": "phy", "ethernet_mac_address": "fa:16:3e:00:00:02", "new": 1}],
            "networks": [{"link": "a", "type": "ipv4_dhcp", "routes": [
            {"network": "10.1.0.0/16", "gateway": "10.0.0.2", "services": [], "weight": 1}]}],
            "services": [{"type": "ntp", "address": "10.0.0.3"}], "more": {}}"#,
    );
    assert_eq!(
        network.warnings,
        [
            "network_data.json: the key 'more' has no effect",
            "network_data.json: the key 'new' has no effect",
            "'a': the type 'quantum' is taken for a network card",
            "network_data.json: the key 'weight' has no effect",
            "network_data.json: the service 'ntp' has no effect",
        ]
    );
    assert_eq!(accepted("{\"links\": null}").devices, []);
}

#[test]
fn what_is_wrong_is_refused() {
    let links = |links: &str| format!(r#"{{"links": [{links}]}}"#);
    for (text, message) in [
        ("[]".to_owned(), "1: expected a map, found a list"),
        (links("{}"), "1: links[0]: missing key 'id'"),
        (links(r#"{"id": "a", "type": "phy"}"#), "1: links[0]: missing key 'ethernet_mac_address'"),
        (
            links(r#"{"id": "a", "ethernet_mac_address": "x"}"#),
            "1: links[0].ethernet_mac_address: expected a MAC address, as 52:54:00:12:34:56, found 'x'",
        ),
        (
            links(r#"{"id": "a", "name": "../x", "ethernet_mac_address": "fa:16:3e:00:00:01"}"#),
            "1: links[0].name: expected an interface name of at most 15 letters, digits, '.', '_' or '-'",
        ),
        (links(&format!("{CARD}, {CARD}")), "1: links[1].id: another link has the same id"),
        (
            links(&format!(
                r#"{CARD}, {{"id": "b", "ethernet_mac_address": "fa:16:3e:00:00:01"}}"#
            )),
            "1: links[1]: 'tap1' has the same macaddress fa:16:3e:00:00:01",
        ),
        (
            links(r#"{"id": "v", "type": "vlan", "vlan_link": "x", "vlan_id": 5}"#),
            "1: links[0].vlan_link: expected the id of a link, found 'x'",
        ),
        (
            links(r#"{"id": "v", "type": "vlan", "vlan_link": "v", "vlan_id": 5}"#),
            "1: links[0]: 'vlan5' is on top of itself",
        ),
        (
            links(r#"{"id": "v", "type": "vlan", "vlan_link": "v", "vlan_id": 5000}"#),
            "1: links[0].vlan_id: expected a number from 0 to 4094, found '5000'",
        ),
        (
            links(r#"{"id": "b", "type": "bond", "bond_links": ["x"]}"#),
            "1: links[0].bond_links[0]: expected the id of a link, found 'x'",
        ),
        (
            links(r#"{"id": "b", "type": "bond", "bond_mode": "fast"}"#),
            "1: links[0].bond_mode: expected one of balance-rr, active-backup, balance-xor, broadcast, 802.3ad, balance-tlb, balance-alb, 0, 1, 2, 3, 4, 5, 6, found 'fast'",
        ),
        (with_networks(r#"{"type": "ipv4_dhcp"}"#), "1: networks[0]: missing key 'link'"),
        (
            with_networks(r#"{"link": "x", "type": "ipv4_dhcp"}"#),
            "1: networks[0].link: expected the id of a link, found 'x'",
        ),
        (
            with_networks(r#"{"link": "tap1", "type": "ipv5"}"#),
            "1: networks[0].type: expected one of ipv4, ipv6, ipv4_dhcp, ipv6_dhcp, ipv6_slaac, ipv6_dhcpv6-stateful, ipv6_dhcpv6-stateless, found 'ipv5'",
        ),
        (
            with_networks(r#"{"link": "tap1", "type": "ipv4"}"#),
            "1: networks[0]: missing key 'ip_address'",
        ),
        (
            with_networks(r#"{"link": "tap1", "type": "ipv4", "ip_address": "10.0.0.1"}"#),
            "1: networks[0]: missing key 'netmask'",
        ),
        (
            r#"{"services": [{"type": "dns", "address": "1.1.1.1\nDHCP=yes"}]}"#.to_owned(),
            "1: services[0].address: expected an IP address, found the control character '\\n'",
        ),
    ] {
        assert_eq!(read(&text).unwrap_err(), message, "{text}");
    }
}
