// SPDX-License-Identifier: Apache-2.0

use super::{one, read};

/// One device with these keys, which begin in line 4, is refused.
fn assert_refused(section: &str, cases: &[(&str, &str)]) {
    for (keys, message) in cases {
        assert_eq!(read(&one(section, "nic", keys)).unwrap_err(), *message, "{keys}");
    }
}

#[test]
fn what_is_not_understood_exactly_is_refused() {
    const ADDRESS: &str = "expected an address with prefix length, as 192.168.1.2/24, found";
    let address = |found: &str| format!("4: ethernets.nic.addresses[0]: {ADDRESS} {found}");
    assert_refused(
        "ethernets",
        &[
            ("adresses: []", "4: ethernets.nic: unknown key 'adresses'; did you mean 'addresses'?"),
            ("dhcp4: maybe", "4: ethernets.nic.dhcp4: expected true or false, found 'maybe'"),
            (
                "addresses: 10.0.0.1/8",
                "4: ethernets.nic.addresses: expected a list, found '10.0.0.1/8'",
            ),
            ("addresses: [256.0.0.1/8]", &address("'256.0.0.1/8'")),
            ("addresses: [10.0.0.1/33]", &address("'10.0.0.1/33'")),
            ("addresses: [10.0.0.1]", &address("'10.0.0.1'")),
            ("addresses: [10.0.0.1/255.0.255.0]", &address("'10.0.0.1/255.0.255.0'")),
            ("addresses: ['2001:db8::1/255.0.0.0']", &address("'2001:db8::1/255.0.0.0'")),
            ("addresses: [[]]", &address("a list")),
            ("addresses: [{10.0.0.1: {}}]", &address("'10.0.0.1'")),
            (
                "addresses: [0.0.0.0/24]",
                "4: ethernets.nic.addresses[0]: expected the address of a host, found '0.0.0.0/24'",
            ),
            (
                "addresses: [{10.0.0.1/8: {lifetime: 60}}]",
                "4: ethernets.nic.addresses[0].10.0.0.1/8.lifetime: expected one of forever, 0, found '60'",
            ),
            (
                "addresses: [{'2001:db8::1/64': {label: a}}]",
                "4: ethernets.nic.addresses[0].2001:db8::1/64.label: only IPv4 addresses have labels",
            ),
            (
                "addresses: [{10.0.0.1/8: {label: 'a b'}}]",
                "4: ethernets.nic.addresses[0].10.0.0.1/8.label: expected a label of at most 15 characters, found 'a b'",
            ),
            (
                "addresses: [{10.0.0.1/8: {}, 10.0.0.2/8: {}}]",
                "4: ethernets.nic.addresses[0]: expected one address with its options",
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
                "nameservers: {addresses: 8.8.8}",
                "4: ethernets.nic.nameservers.addresses: expected an IP address, found '8.8.8'",
            ),
            (
                "nameservers: [1.1.1.1]",
                "4: ethernets.nic.nameservers: expected a map, found a list",
            ),
            (
                "link-local: [ipv5]",
                "4: ethernets.nic.link-local[0]: expected one of ipv4, ipv6, found 'ipv5'",
            ),
            (
                "dhcp-identifier: name",
                "4: ethernets.nic.dhcp-identifier: expected one of mac, duid, found 'name'",
            ),
            (
                "activation-mode: up",
                "4: ethernets.nic.activation-mode: expected one of manual, off, found 'up'",
            ),
            (
                "optional-addresses: [some]",
                "4: ethernets.nic.optional-addresses[0]: expected one of ipv4-ll, ipv6-ra, dhcp4, dhcp6, static, found 'some'",
            ),
        ],
    );
}

#[test]
fn wrong_overrides_are_refused() {
    assert_refused(
        "ethernets",
        &[
            (
                "dhcp4-overrides: {use-dnss: true}",
                "4: ethernets.nic.dhcp4-overrides: unknown key 'use-dnss'; did you mean 'use-dns'?",
            ),
            (
                "dhcp4-overrides: {use-domains: maybe}",
                "4: ethernets.nic.dhcp4-overrides.use-domains: expected true, false or route, found 'maybe'",
            ),
            (
                "dhcp4-overrides: {use-domains: []}",
                "4: ethernets.nic.dhcp4-overrides.use-domains: expected true, false or route, found a list",
            ),
            (
                "dhcp4-overrides: {route-metric: -1}",
                "4: ethernets.nic.dhcp4-overrides.route-metric: expected a number from 0 to 4294967295, found '-1'",
            ),
            (
                "dhcp4-overrides: {hostname: ~.}",
                "4: ethernets.nic.dhcp4-overrides.hostname: expected a host name, found '~.'",
            ),
            (
                "dhcp4-overrides: {hostname: \"a\\nb\"}",
                "4: ethernets.nic.dhcp4-overrides.hostname: expected a host name, found the control character '\\n'",
            ),
            (
                "dhcp4domain: true\ndhcp4: true\ndhcp4-overrides: {use-domains: route}",
                "4: ethernets.nic: has both 'dhcp4domain' and 'dhcp4-overrides.use-domains'; use one of them",
            ),
            (
                "dhcp6domain: true\ndhcp6: true\ndhcp6-overrides: {use-domains: route}",
                "4: ethernets.nic: has both 'dhcp6domain' and 'dhcp6-overrides.use-domains'; use one of them",
            ),
        ],
    );
}

#[test]
fn matches_that_cannot_work_are_refused() {
    assert_refused(
        "ethernets",
        &[
            (
                "set-name: lan0",
                "4: ethernets.nic: 'set-name' needs 'match', best with 'macaddress'",
            ),
            (
                "match: {driver: igb}\nset-name: lo",
                "4: ethernets.nic: 'set-name' is 'lo', which is the loopback interface",
            ),
            (
                "match: {macaddress: 00:00:00:00:00:00}",
                "4: ethernets.nic.match.macaddress: expected a MAC address, as 52:54:00:12:34:56, found '00:00:00:00:00:00'",
            ),
            (
                "macaddress: 01:00:5e:00:00:01",
                "4: ethernets.nic.macaddress: expected the MAC address of one interface, not of a group, found '01:00:5e:00:00:01'",
            ),
            (
                "match: {name: eth0}\nmacaddress: 11:22:33:44:55:56",
                "5: ethernets.nic.macaddress: expected the MAC address of one interface, not of a group, found '11:22:33:44:55:56'",
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
                "match: {name: '!ens3'}",
                "4: ethernets.nic.match.name: expected an interface name or pattern, found '!ens3'",
            ),
            (
                "match: {driver: ['!igb']}",
                "4: ethernets.nic.match.driver[0]: expected a driver's name or pattern, found '!igb'",
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
            ("mtu: 67", "4: ethernets.nic.mtu: expected a number from 68 to 65535, found '67'"),
            (
                "ipv6-mtu: 1279",
                "4: ethernets.nic.ipv6-mtu: expected a number from 1280 to 65535, found '1279'",
            ),
            (
                "renderer: NetworkManager",
                "4: ethernets.nic.renderer: expected 'networkd', which is what the image runs",
            ),
        ],
    );
}

#[test]
fn routes_that_cannot_work_are_refused() {
    assert_refused(
        "ethernets",
        &[
            ("routes: [{via: 10.0.0.1}]", "4: ethernets.nic.routes[0]: missing key 'to'"),
            ("routes: [{to: default}]", "4: ethernets.nic.routes[0]: a default route needs 'via'"),
            (
                "routes: [{to: default, type: blackhole}]",
                "4: ethernets.nic.routes[0]: spell the default route as 0.0.0.0/0 or ::/0",
            ),
            (
                "routes: [{to: 10.0.0.0/8, via: 10.0.0.1, type: blackhole}]",
                "4: ethernets.nic.routes[0]: a route that discards packets has no 'via'",
            ),
            (
                "routes: [{to: 10.0.0.0/8, on-link: true}]",
                "4: ethernets.nic.routes[0]: 'on-link' needs 'via'",
            ),
            (
                "routes: [{to: '::/0', via: 10.0.0.1}]",
                "4: ethernets.nic.routes[0]: 'to' and 'via' are of different address families",
            ),
            (
                "routes: [{to: 10.0.0.0/8, via: 10.0.0.1, from: '2001:db8::1'}]",
                "4: ethernets.nic.routes[0]: 'from' is of another address family than the route",
            ),
            (
                "routes: [{to: 10.0.0.0/8, type: nat}]",
                "4: ethernets.nic.routes[0].type: expected one of unicast, local, broadcast, anycast, multicast, blackhole, unreachable, prohibit, throw, found 'nat'",
            ),
            (
                "routes: [{to: 10.0.0.0/8, scope: site}]",
                "4: ethernets.nic.routes[0].scope: expected one of global, link, host, found 'site'",
            ),
            (
                "routes: [{to: 10.0.0.0/8, table: 0}]",
                "4: ethernets.nic.routes[0].table: expected a number from 1 to 4294967295, found '0'",
            ),
            (
                "routes: [{to: any}]",
                "4: ethernets.nic.routes[0].to: expected 'default' or a network, as 10.0.0.0/8, found 'any'",
            ),
            (
                "routing-policy: [{table: 7}]",
                "4: ethernets.nic.routing-policy[0]: expected 'from', 'to', 'mark' or 'type-of-service', found none of them",
            ),
            (
                "routing-policy: [{from: 10.0.0.0/8, to: '::/0'}]",
                "4: ethernets.nic.routing-policy[0]: 'from' and 'to' are of different address families",
            ),
            (
                "routing-policy: [{mark: 0}]",
                "4: ethernets.nic.routing-policy[0].mark: expected a number from 1 to 4294967295, found '0'",
            ),
            (
                "routing-policy: [{type-of-service: 256}]",
                "4: ethernets.nic.routing-policy[0].type-of-service: expected a number from 0 to 255, found '256'",
            ),
            (
                "routing-policy: [{from: 10.0.0.0/40}]",
                "4: ethernets.nic.routing-policy[0].from: expected a network, as 10.0.0.0/8, found '10.0.0.0/40'",
            ),
        ],
    );
}

#[test]
fn virtual_devices_that_the_kernel_does_not_make_are_refused() {
    assert_refused(
        "vlans",
        &[
            ("link: a", "4: vlans.nic: missing key 'id'"),
            ("id: 1", "4: vlans.nic: missing key 'link'"),
            (
                "id: 4095\nlink: a",
                "4: vlans.nic.id: expected a number from 0 to 4094, found '4095'",
            ),
            ("id: -1\nlink: a", "4: vlans.nic.id: expected a number from 0 to 4094, found '-1'"),
        ],
    );
    assert_refused("vrfs", &[("interfaces: []", "4: vrfs.nic: missing key 'table'")]);
    assert_refused(
        "dummy-devices",
        &[(
            "address: []",
            "4: dummy-devices.nic: unknown key 'address'; did you mean 'addresses'?",
        )],
    );
}

#[test]
fn wrong_parameters_of_bonds_and_bridges_are_refused() {
    assert_refused(
        "bonds",
        &[
            ("interfaces: a", "4: bonds.nic.interfaces: expected a list, found 'a'"),
            (
                "parameters: {mode: 7}",
                "4: bonds.nic.parameters.mode: expected one of balance-rr, active-backup, balance-xor, broadcast, 802.3ad, balance-tlb, balance-alb, 0, 1, 2, 3, 4, 5, 6, found '7'",
            ),
            (
                "parameters: {up-delay: 1h}",
                "4: bonds.nic.parameters.up-delay: expected milliseconds, as 100, 100ms or 1s, of at most an hour, found '1h'",
            ),
            (
                "parameters: {up-delay: 4294968s}",
                "4: bonds.nic.parameters.up-delay: expected milliseconds, as 100, 100ms or 1s, of at most an hour, found '4294968s'",
            ),
            (
                "parameters: {arp-ip-targets: ['::1']}",
                "4: bonds.nic.parameters.arp-ip-targets[0]: expected an IPv4 address, found '::1'",
            ),
            (
                "parameters: {gratuitous-arp: 1, gratuitious-arp: 1}",
                "4: bonds.nic.parameters.gratuitious-arp: 'gratuitous-arp' is there as well",
            ),
            (
                "parameters: {primary: a}",
                "4: bonds.nic.parameters: 'primary' needs mode active-backup, balance-tlb or balance-alb, found balance-rr",
            ),
            (
                "parameters: {mode: 4, arp-interval: 50}",
                "4: bonds.nic.parameters: ARP monitoring does not work in mode 802.3ad",
            ),
            (
                "parameters: {arp-interval: 50}",
                "4: bonds.nic.parameters: ARP monitoring needs targets",
            ),
            (
                "parameters: {arp-interval: 50, mii-monitor-interval: 50, arp-ip-targets: [10.0.0.1]}",
                "4: bonds.nic.parameters: a bond watches its links by ARP or by MII, not by both",
            ),
            (
                "parameters: {modes: 1}",
                "4: bonds.nic.parameters: unknown key 'modes'; did you mean 'mode'?",
            ),
        ],
    );
    assert_refused(
        "bridges",
        &[
            (
                "parameters: {max-age: 5}",
                "4: bridges.nic.parameters.max-age: expected seconds from 6 to 40, found '5'",
            ),
            (
                "parameters: {stp: maybe}",
                "4: bridges.nic.parameters.stp: expected true or false, found 'maybe'",
            ),
            (
                "parameters: {path-cost: {a: 0}}",
                "4: bridges.nic.parameters.path-cost.a: expected a number from 1 to 65535, found '0'",
            ),
            (
                "parameters: {port-priority: {a: 64}}",
                "4: bridges.nic.parameters.port-priority.a: expected a number from 0 to 63, found '64'",
            ),
        ],
    );
}

#[test]
fn wrong_documents_are_refused() {
    const NAME: &str = "expected an interface name of at most 15 letters, digits, '.', '_' or '-'";
    for (text, message) in [
        ("ethernets: {}", "1: missing key 'version'"),
        ("version: 3", "1: version: expected a number from 1 to 2, found '3'"),
        ("- a", "1: expected a map, found a list"),
        ("version: 2\nethernet: {}", "2: unknown key 'ethernet'; did you mean 'ethernets'?"),
        (
            "version: 2\nwifis: {}",
            "2: unknown key 'wifis'; expected one of: version, renderer, ethernets, bonds, bridges, vlans, vrfs, dummy-devices",
        ),
        ("version: 2\nethernets: []", "2: ethernets: expected a map, found a list"),
        ("version: 2\nethernets: {a: []}", "2: ethernets.a: expected a map, found a list"),
        (
            "version: 2\nrenderer: NetworkManager",
            "2: renderer: expected 'networkd', which is what the image runs",
        ),
        (
            "version: 2\nethernets: {renderer: NetworkManager}",
            "2: ethernets.renderer: expected 'networkd', which is what the image runs",
        ),
        (
            "network: {version: 2}\nethernets: {}",
            "2: unknown key 'ethernets'; expected one of: network",
        ),
        ("version: 2\nethernets: {lo: {}}", &format!("2: ethernets.lo: {NAME}")),
        ("version: 2\nethernets: {'../x': {}}", &format!("2: ethernets.../x: {NAME}")),
        ("version: 2\nethernets: {'0': {dhcp4: true}}", &format!("2: ethernets.0: {NAME}")),
        ("version: 2\nbridges: {default: {}}", &format!("2: bridges.default: {NAME}")),
        (
            "version: 2\nethernets: {'../x': {match: {name: a}}}",
            "2: ethernets.../x: expected an id of at most 64 printable ASCII characters without '/', found '../x'",
        ),
        (
            "version: 2\nethernets: {\"a\\nb\": {match: {name: a}}}",
            "2: ethernets.a\\nb: expected an id of at most 64 printable ASCII characters without '/', found 'a\\nb'",
        ),
        (
            "version: 2\nbonds: {b: {interfaces: [\"a\\nb\"]}}",
            "2: bonds.b.interfaces[0]: expected the name of a device of this document, found the control character '\\n'",
        ),
        (
            "version: 2\nvlans: {'a-name-too-long-': {}}",
            &format!("2: vlans.a-name-too-long-: {NAME}"),
        ),
        (
            "version: 2\nbonds: {b: {interfaces: ['a b']}}",
            "2: bonds.b.interfaces[0]: no device of this document is called 'a b'",
        ),
    ] {
        assert_eq!(read(text).unwrap_err(), message, "{text}");
    }
}
