// SPDX-License-Identifier: Apache-2.0

use super::*;
use crate::yaml::{self, At};

fn read(text: &str) -> Result<Network, String> {
    let node = yaml::parse(text.as_bytes()).map_err(|problem| problem.to_string())?;
    let node = node.ok_or("empty")?;
    config::read(&At::root(&node)).map_err(|problem| problem.to_string())
}

/// The files that one ethernet `nic` with these keys gives, joined.
fn rendered(keys: &str) -> String {
    let text = format!("version: 2\nethernets:\n  nic:\n    {}\n", keys.replace('\n', "\n    "));
    let files = networkd::files(&read(&text).unwrap_or_else(|refusal| panic!("{keys}: {refusal}")));
    files.into_iter().map(|(name, text)| format!("# {name}\n{text}")).collect()
}

#[test]
fn a_static_address_by_mac_gives_a_network_file() {
    let text = rendered(
        "match: {macaddress: 52-54-00-31-00-24}\n\
         addresses: [192.168.31.24/24]\n\
         gateway4: 192.168.31.1\n\
         nameservers: {addresses: [192.168.31.1], search: [example.org]}",
    );
    assert_eq!(
        text,
        "# 10-kiln-nic.network\n[Match]\nMACAddress=52:54:00:31:00:24\nType=ether\nKind=!*\n\n\
         [Network]\nDHCP=no\nAddress=192.168.31.24/24\nDNS=192.168.31.1\nDomains=example.org\n\n\
         [Route]\nGateway=192.168.31.1\n"
    );
}

#[test]
fn set_name_gives_a_link_file_and_is_what_the_network_file_matches() {
    let text = rendered("match: {macaddress: \"52:54:00:31:00:24\"}\nset-name: lan0\ndhcp4: yes");
    assert_eq!(
        text,
        "# 10-kiln-nic.link\n[Match]\nMACAddress=52:54:00:31:00:24\nType=ether\nKind=!*\n\n\
         [Link]\nName=lan0\n\
         # 10-kiln-nic.network\n[Match]\nName=lan0\nMACAddress=52:54:00:31:00:24\nType=ether\n\
         Kind=!*\n\n[Network]\nDHCP=ipv4\n\n[DHCPv4]\nClientIdentifier=mac\n"
    );
}

#[test]
fn every_key_reaches_its_line() {
    for (keys, lines) in [
        ("dhcp4: true", "Name=nic\n\n[Network]\nDHCP=ipv4"),
        ("dhcp6: true", "DHCP=ipv6"),
        ("dhcp4: on\ndhcp6: 'yes'", "DHCP=yes"),
        ("dhcp4: 'no'", "DHCP=no"),
        ("match: {name: \"en*\"}", "[Match]\nName=en*\nType=ether"),
        ("match: {driver: virtio_net}", "[Match]\nDriver=virtio_net\n"),
        ("match: {driver: [virtio_net, e1000*]}", "Driver=virtio_net e1000*\n"),
        (
            "addresses: [10.0.0.1/8, \"2001:db8::1/64\"]",
            "Address=10.0.0.1/8\nAddress=2001:db8::1/64\n",
        ),
        (
            "addresses: [10.0.0.2/32]\ngateway4: 10.9.9.1",
            "[Route]\nGateway=10.9.9.1\nGatewayOnLink=yes\n",
        ),
        (
            "addresses: [\"2001:db8::2/64\"]\ngateway6: \"2001:db8::1\"",
            "[Route]\nGateway=2001:db8::1\n",
        ),
        ("gateway6: fe80::1", "[Route]\nGateway=fe80::1\n"),
        ("routes: [{to: default, via: 10.0.0.1}]", "[Route]\nGateway=10.0.0.1\n"),
        (
            "routes: [{to: 0.0.0.0/0, via: 10.0.0.1, on-link: true}]",
            "[Route]\nDestination=0.0.0.0/0\nGateway=10.0.0.1\nGatewayOnLink=yes\n",
        ),
        (
            "routes: [{to: 10.1.0.0/16, via: 10.0.0.1, metric: 5, table: 7, mtu: 1400, from: 10.0.0.9}]",
            "[Route]\nDestination=10.1.0.0/16\nGateway=10.0.0.1\nPreferredSource=10.0.0.9\nMetric=5\nTable=7\nMTUBytes=1400\n",
        ),
        ("routes: [{to: 10.1.2.3}]", "[Route]\nDestination=10.1.2.3/32\n"),
        (
            "nameservers: {search: [example.org, ~corp.example]}",
            "Domains=example.org\nDomains=~corp.example\n",
        ),
        ("mtu: 9000", "[Link]\nMTUBytes=9000\n"),
        ("optional: true", "[Link]\nRequiredForOnline=no\n"),
        (
            "match: {driver: igb}\nwakeonlan: true",
            "[Link]\nNamePolicy=keep kernel database onboard slot path\n",
        ),
        ("match: {driver: igb}\nwakeonlan: true", "WakeOnLan=magic\n"),
        ("wakeonlan: false", "[Network]"),
        ("accept-ra: no", "IPv6AcceptRA=no\n"),
        ("accept-ra: yes", "IPv6AcceptRA=yes\n"),
        ("mtu: null\ndhcp4: ~", "[Network]\nDHCP=no\n"),
        ("renderer: networkd", "[Network]\nDHCP=no\n"),
    ] {
        let text = rendered(keys);
        assert!(text.contains(lines), "{keys}:\n{text}");
    }
}

#[test]
fn no_network_metadata_means_dhcp_on_every_physical_interface() {
    assert_eq!(
        networkd::dhcp_files(),
        [(
            "10-kiln-dhcp.network".to_owned(),
            "[Match]\nType=ether\nKind=!*\n\n[Network]\nDHCP=yes\n\n[DHCPv4]\nClientIdentifier=mac\n".to_owned()
        )]
    );
}

#[test]
fn the_outer_key_is_optional_and_the_own_address_is_the_first_ipv4_one() {
    let network = read(
        "network:\n  version: 2\n  ethernets:\n    a: {addresses: ['2001:db8::1/64', 10.0.0.1/8]}",
    )
    .unwrap();
    assert_eq!(network.address().unwrap().to_string(), "10.0.0.1/8");
    assert_eq!(read("version: 2").unwrap(), Network::default());
}

#[test]
fn what_is_not_understood_exactly_is_refused() {
    for (keys, message) in [
        ("adresses: []", "4: ethernets.nic: unknown key 'adresses'; did you mean 'addresses'?"),
        ("dhcp4: maybe", "4: ethernets.nic.dhcp4: expected true or false, found 'maybe'"),
        (
            "addresses: 10.0.0.1/8",
            "4: ethernets.nic.addresses: expected a list, found '10.0.0.1/8'",
        ),
        (
            "addresses: [256.0.0.1/8]",
            "4: ethernets.nic.addresses[0]: expected an address with prefix length, as 192.168.1.2/24, found '256.0.0.1/8'",
        ),
        (
            "addresses: [10.0.0.1/33]",
            "4: ethernets.nic.addresses[0]: expected an address with prefix length, as 192.168.1.2/24, found '10.0.0.1/33'",
        ),
        (
            "addresses: [10.0.0.1]",
            "4: ethernets.nic.addresses[0]: expected an address with prefix length, as 192.168.1.2/24, found '10.0.0.1'",
        ),
        (
            "addresses: [{10.0.0.1/8: {label: x}}]",
            "4: ethernets.nic.addresses[0]: expected an address with prefix length, as 192.168.1.2/24, found a map",
        ),
        (
            "gateway4: fe80::1",
            "4: ethernets.nic.gateway4: expected an IPv4 address, found 'fe80::1'",
        ),
        (
            "gateway6: 10.0.0.1",
            "4: ethernets.nic.gateway6: expected an IPv6 address, found '10.0.0.1'",
        ),
        (
            "nameservers: {addresses: [\"1.1.1.1\\nDHCP=yes\"]}",
            "4: ethernets.nic.nameservers.addresses[0]: expected an IP address, found the control character '\\n'",
        ),
        (
            "nameservers: {search: [\"a b\"]}",
            "4: ethernets.nic.nameservers.search[0]: expected a domain, found 'a b'",
        ),
        (
            "set-name: lan0",
            "4: ethernets.nic: 'set-name' needs 'match' with 'macaddress' or 'driver'",
        ),
        (
            "match: {name: ens3}\nset-name: lan0",
            "4: ethernets.nic: 'set-name' needs 'match' with 'macaddress' or 'driver'",
        ),
        (
            "wakeonlan: true",
            "4: ethernets.nic: 'wakeonlan' needs 'match' with 'macaddress' or 'driver'",
        ),
        (
            "match: {macaddress: 01:00:5e:00:00:01}",
            "4: ethernets.nic.match.macaddress: expected a MAC address, as 52:54:00:12:34:56, found '01:00:5e:00:00:01'",
        ),
        (
            "match: {}",
            "4: ethernets.nic.match: expected 'name', 'macaddress' or 'driver', found none of them",
        ),
        (
            "match: {name: 'a b'}",
            "4: ethernets.nic.match.name: expected an interface name or pattern, found 'a b'",
        ),
        (
            "match: {driver: igb}\nset-name: a-name-too-long-",
            "5: ethernets.nic.set-name: expected an interface name, found 'a-name-too-long-'",
        ),
        (
            "match: {driver: igb}\nset-name: 'a%b'",
            "5: ethernets.nic.set-name: expected an interface name, found 'a%b'",
        ),
        ("mtu: -1", "4: ethernets.nic.mtu: expected a number from 68 to 65535, found '-1'"),
        ("routes: [{via: 10.0.0.1}]", "4: ethernets.nic.routes[0]: missing key 'to'"),
        ("routes: [{to: default}]", "4: ethernets.nic.routes[0]: a default route needs 'via'"),
        (
            "routes: [{to: '::/0', via: 10.0.0.1}]",
            "4: ethernets.nic.routes[0]: 'to' and 'via' are of different address families",
        ),
        (
            "renderer: NetworkManager",
            "4: ethernets.nic.renderer: expected 'networkd', which is what the image runs",
        ),
        (
            "dhcp4-overrides: {}",
            "4: ethernets.nic: unknown key 'dhcp4-overrides'; expected one of: match, set-name, dhcp4, dhcp6, addresses, gateway4, gateway6, routes, nameservers, mtu, optional, wakeonlan, accept-ra, renderer",
        ),
    ] {
        let text =
            format!("version: 2\nethernets:\n  nic:\n    {}\n", keys.replace('\n', "\n    "));
        assert_eq!(read(&text).unwrap_err(), message, "{keys}");
    }
}

#[test]
fn wrong_documents_are_refused() {
    for (text, message) in [
        ("ethernets: {}", "1: missing key 'version'"),
        ("version: 1\nconfig: []", "1: expected version 2, found version 1"),
        ("version: 3", "1: version: expected a number from 1 to 2, found '3'"),
        ("- a", "1: expected a map, found a list"),
        ("version: 2\nbonds: {b: {}}", "2: bonds: not supported yet; only 'ethernets' is"),
        ("version: 2\nethernet: {}", "2: unknown key 'ethernet'; did you mean 'ethernets'?"),
        (
            "network: {version: 2}\nethernets: {}",
            "2: unknown key 'ethernets'; expected one of: network",
        ),
        (
            "version: 2\nethernets: {lo: {}}",
            "2: ethernets.lo: expected an interface name of at most 15 letters, digits, '.', '_' or '-'",
        ),
        (
            "version: 2\nethernets: {'../x': {}}",
            "2: ethernets.../x: expected an interface name of at most 15 letters, digits, '.', '_' or '-'",
        ),
        (
            "version: 2\nethernets:\n  a: {match: {macaddress: 52:54:00:00:00:01}}\n  b: {match: {macaddress: 52-54-00-00-00-01}}",
            "4: ethernets.b: 'a' has the same macaddress 52:54:00:00:00:01",
        ),
        (
            "version: 2\nethernets:\n  a: {match: {driver: x}, set-name: n}\n  b: {match: {driver: y}, set-name: n}",
            "4: ethernets.b: 'a' has the same set-name 'n'",
        ),
    ] {
        assert_eq!(read(text).unwrap_err(), message, "{text}");
    }
}
