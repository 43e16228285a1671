// SPDX-License-Identifier: Apache-2.0

use super::{entry, read};

/// One entry, which begins in line 3, is refused.
fn assert_refused(cases: &[(&str, &str)]) {
    for (keys, message) in cases {
        assert_eq!(read(&entry(keys)).unwrap_err(), *message, "{keys}");
    }
}

/// One subnet of a physical interface is refused; the message is what follows its path.
fn assert_subnets_refused(cases: &[(&str, &str)]) {
    for (keys, message) in cases {
        let keys = format!("type: physical\nname: a\nsubnets: [{{{keys}}}]");
        let message = format!("5: config[0].subnets[0]{message}");
        assert_eq!(read(&entry(&keys)).unwrap_err(), message, "{keys}");
    }
}

#[test]
fn wrong_documents_are_refused() {
    const DISABLED: &str = "'disabled' is for cloud-init's own files; leave out network-config instead, and every network card uses DHCP";
    for (text, message) in [
        ("version: 1", "1: missing key 'config'"),
        ("version: 1\nconfig: {}", "2: config: expected a list, found a map"),
        ("version: 1\nconfig: disabled", &format!("2: config: {DISABLED}")),
        ("config: disabled", &format!("1: config: {DISABLED}")),
        ("network:\n  config: disabled", &format!("2: network.config: {DISABLED}")),
        (
            "version: 1\nethernets: {}\nconfig: []",
            "2: unknown key 'ethernets'; expected one of: version, config",
        ),
        ("version: 1\nconfig: [a]", "2: config[0]: expected a map, found 'a'"),
    ] {
        assert_eq!(read(text).unwrap_err(), message, "{text}");
    }
}

#[test]
fn wrong_entries_are_refused() {
    assert_refused(&[
        ("name: a", "3: config[0]: missing key 'type'"),
        ("type: infiniband", "3: config[0].type: infiniband is not supported, only ethernet"),
        (
            "type: phisical",
            "3: config[0].type: expected physical, bond, bridge, vlan, loopback, nameserver or route, found 'phisical'",
        ),
        ("type: physical", "3: config[0]: missing key 'name'"),
        (
            "type: physical\nname: lo",
            "4: config[0].name: expected an interface name of at most 15 letters, digits, '.', '_' or '-'",
        ),
        (
            "type: physical\nname: a\nmac-address: x",
            "5: config[0]: unknown key 'mac-address'; did you mean 'mac_address'?",
        ),
        (
            "type: physical\nname: a\nmac_address: x",
            "5: config[0].mac_address: expected a MAC address, as 52:54:00:12:34:56, found 'x'",
        ),
        (
            "type: bond\nname: a\nmac_address: cd:11:22:33:44:00",
            "5: config[0].mac_address: expected the MAC address of one interface, not of a group, found 'cd:11:22:33:44:00'",
        ),
        (
            "type: bridge\nname: a\nbridge_interfaces: []\nparams: {bridge_hw: 01:00:5e:00:00:01}",
            "6: config[0].params.bridge_hw: expected the MAC address of one interface, not of a group, found '01:00:5e:00:00:01'",
        ),
        (
            "type: physical\nname: a\nmtu: 0",
            "5: config[0].mtu: expected a number from 68 to 65535, found '0'",
        ),
    ]);
}

#[test]
fn wrong_virtual_devices_are_refused() {
    assert_refused(&[
        (
            "type: bond\nname: a\nbond_interfaces: [x]",
            "5: config[0].bond_interfaces[0]: no device of this document is called 'x'",
        ),
        (
            "type: bond\nname: a\nparams: {bond-mode: 1, bond_mode: 1}",
            "5: config[0].params.bond_mode: another spelling of this key is there as well",
        ),
        (
            "type: bond\nname: a\nparams: {mode: 1}",
            "5: config[0].params: unknown key 'mode'; expected one of: bond-mode, bond-lacp-rate, bond-miimon, bond-min-links, bond-xmit-hash-policy, bond-ad-select, bond-all-slaves-active, bond-arp-interval, bond-arp-ip-target, bond-arp-validate, bond-arp-all-targets, bond-updelay, bond-downdelay, bond-fail-over-mac, bond-num-grat-arp, bond-num-unsol-na, bond-packets-per-slave, bond-primary-reselect, bond-resend-igmp, bond-resend-igpm, bond-lp-interval, bond-tlb-dynamic-lb, bond-primary, bond-active-slave, bond-slaves, bond-ad-actor-sys-prio, bond-ad-actor-system, bond-ad-user-port-key",
        ),
        (
            "type: bond\nname: a\nparams: {bond-mode: balance-slb}",
            "5: config[0].params.bond-mode: expected one of balance-rr, active-backup, balance-xor, broadcast, 802.3ad, balance-tlb, balance-alb, 0, 1, 2, 3, 4, 5, 6, found 'balance-slb'",
        ),
        (
            "type: bond\nname: a\nwakeonlan: maybe",
            "5: config[0].wakeonlan: expected true or false, found 'maybe'",
        ),
        (
            "type: bond\nname: a\nparams: {bond-mode: 1, bond-use_carrier: 0}",
            "5: config[0].params.bond-use_carrier: systemd-networkd has no setting for this; leave it out",
        ),
        (
            "type: bond\nname: a\nparams: {bond-peer_notif_delay: 100}",
            "5: config[0].params.bond-peer_notif_delay: systemd-networkd has no setting for this; leave it out",
        ),
        (
            "type: bond\nname: a\nparams: {bond-ad_partner_mac: '52:54:00:00:00:01'}",
            "5: config[0].params.bond-ad_partner_mac: the kernel reports this and takes no value; leave it out",
        ),
        (
            "type: bond\nname: a\nparams: {bond-ad_actor_system: '01:00:00:00:00:01'}",
            "5: config[0].params.bond-ad_actor_system: expected the MAC address of one interface, not of a group, found '01:00:00:00:00:01'",
        ),
        (
            "type: bond\nname: a\nparams: {bond-mode: 4, bond-active_slave: b}",
            "5: config[0].params: 'active_slave' needs mode active-backup, balance-tlb or balance-alb, found 802.3ad",
        ),
        (
            "type: bond\nname: a\nparams: {bond-slaves: b}",
            "5: config[0].params.bond-slaves: no device of this document is called 'b'",
        ),
        ("type: bridge\nname: a", "3: config[0]: missing key 'bridge_interfaces'"),
        (
            "type: bridge\nname: a\nbridge_interfaces: []\nparams: {bridge_prts: []}",
            "6: config[0].params: unknown key 'bridge_prts'; expected one of: bridge_ageing, bridge_bridgeprio, bridge_fd, bridge_hello, bridge_maxage, bridge_stp, bridge_hw, bridge_ports, bridge_pathcost, bridge_portprio, bridge_gcint, bridge_maxwait, bridge_waitport",
        ),
        (
            "type: bridge\nname: a\nbridge_interfaces: []\nparams: {bridge_pathcost: [e0]}",
            "6: config[0].params.bridge_pathcost[0]: expected a port and a number from 1 to 65535, as 'eth0 65535', found 'e0'",
        ),
        ("type: vlan\nname: a\nvlan_id: 1", "3: config[0]: missing key 'vlan_link'"),
        ("type: vlan\nname: a\nvlan_link: b", "3: config[0]: missing key 'vlan_id'"),
        (
            "type: vlan\nname: a\nvlan_link: b\nvlan_id: 4095",
            "6: config[0].vlan_id: expected a number from 0 to 4094, found '4095'",
        ),
    ]);
}

#[test]
fn wrong_entries_for_the_whole_host_are_refused() {
    assert_refused(&[
        ("type: nameserver", "3: config[0]: missing key 'address'"),
        (
            "type: nameserver\naddress: dns",
            "4: config[0].address: expected an IP address, found 'dns'",
        ),
        (
            "type: nameserver\naddress: 10.0.0.1\ninterface: x",
            "3: config[0]: no device of this document is called 'x'",
        ),
        ("type: route\ndestination: 10.0.0.0/8", "3: config[0]: missing key 'gateway'"),
        ("type: route\ngateway: 10.0.0.1", "3: config[0]: missing key 'destination'"),
        (
            "type: route\ndestination: 10.0.0.0/8\nnetwork: 10.0.0.0\ngateway: 10.0.0.1",
            "5: config[0].network: 'destination' is there as well",
        ),
        (
            "type: route\ndestination: 10.0.0.0/8\ngateway: 10.0.0.1",
            "3: config[0]: no device has an address in the network of the gateway 10.0.0.1",
        ),
        (
            "type: route\ndestination: 10.0.0.0/8\ngateway: '::1'",
            "3: config[0]: 'to' and 'via' are of different address families",
        ),
        ("type: loopback\nname: eth0", "4: config[0].name: expected 'lo'"),
        (
            "type: loopback\nsubnets: [{type: dhcp}]",
            "4: config[0].subnets[0].type: only 'loopback'; for addresses of services, use a dummy device of version 2",
        ),
    ]);
}

#[test]
fn wrong_subnets_are_refused() {
    assert_subnets_refused(&[
        ("address: 10.0.0.1/8", ": missing key 'type'"),
        (
            "type: dhcp5",
            ".type: expected one of dhcp, dhcp4, dhcp6, static, static6, ipv6_slaac, ipv6_dhcpv6-stateful, ipv6_dhcpv6-stateless, manual, found 'dhcp5'",
        ),
        ("type: static", ": missing key 'address'"),
        (
            "type: static, address: 10.0.0.1/33",
            ".address: expected an IP address, with or without prefix length, found '10.0.0.1/33'",
        ),
        (
            "type: static, address: 10.0.0.1/255.0.255.0",
            ".address: expected an IP address, with or without prefix length, found '10.0.0.1/255.0.255.0'",
        ),
        (
            "type: static, address: 10.0.0.1, netmask: 'ffff::'",
            ".netmask: expected a network mask, as 255.255.255.0 or 24, found 'ffff::'",
        ),
        (
            "type: static, address: 10.0.0.1, netmask: 64",
            ".netmask: expected a network mask, as 255.255.255.0 or 24, found '64'",
        ),
        (
            "type: static, address: 10.0.0.1/8, netmask: 255.255.0.0",
            ".address: the prefix length is 8, the netmask's 16",
        ),
        ("type: static6, address: 10.0.0.1/8", ": 'static6' with an IPv4 address"),
        (
            "type: static, address: 0.0.0.0/8",
            ".address: expected the address of a host, found '0.0.0.0/8'",
        ),
        (
            "type: static, address: 10.0.0.1/8, gateway: 'fe80::1'",
            ".gateway: the gateway fe80::1 is of another address family than 10.0.0.1/8",
        ),
        (
            "type: static, address: '2001:db8::1/64', broadcast: 10.0.0.255",
            ".address: 'broadcast' is of another address family than 2001:db8::1",
        ),
        (
            "type: static, address: 10.0.0.1/8, pointopoint: '::1'",
            ".address: 'pointopoint' is of another address family than 10.0.0.1",
        ),
        (
            "type: static, address: 10.0.0.1/8, scope: site",
            ".scope: expected one of global, link, host, found 'site'",
        ),
        (
            "type: dhcp, address: 10.0.0.1/8",
            ".address: only subnets of type static and static6 have this",
        ),
        (
            "type: manual, netmask: 255.0.0.0",
            ".netmask: only subnets of type static and static6 have this",
        ),
        (
            "type: dhcp, control: never",
            ".control: expected one of auto, hotplug, manual, found 'never'",
        ),
        ("type: dhcp, metric: x", ".metric: expected a number from 0 to 4294967295, found 'x'"),
        (
            "type: dhcp, dns_nameservers: [x]",
            ".dns_nameservers[0]: expected an IP address, found 'x'",
        ),
        (
            "type: dhcp, dns_search: [\"a\\nb\"]",
            ".dns_search[0]: expected a domain, found the control character '\\n'",
        ),
        ("type: dhcp, adress: x", ": unknown key 'adress'; did you mean 'address'?"),
        ("type: ipv6_slaac, mtu: 1279", ".mtu: expected a number from 1280 to 65535, found '1279'"),
    ]);
    assert_refused(&[(
        "type: physical\nname: a\naccept-ra: false\nsubnets: [{type: ipv6_slaac}]",
        "6: config[0].subnets[0].type: needs router advertisements, but 'accept-ra' is false",
    )]);
}

#[test]
fn wrong_routes_of_subnets_are_refused() {
    assert_subnets_refused(&[
        (
            "type: dhcp, routes: [{type: nat, destination: 10.0.0.0/8}]",
            ".routes[0].type: expected one of route, found 'nat'",
        ),
        ("type: dhcp, routes: [{}]", ".routes[0]: missing key 'destination'"),
        (
            "type: dhcp, routes: [{network: 10.0.0.0, netmask: 255.0.255.0}]",
            ".routes[0].netmask: expected a network mask, as 255.255.255.0 or 24, found '255.0.255.0'",
        ),
    ]);
}
