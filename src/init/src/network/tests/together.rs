// SPDX-License-Identifier: Apache-2.0
//! Devices on top of each other.

use super::{accepted, file, joined, read};

const STACK: &str = "
version: 2
ethernets:
  port1: {match: {macaddress: '52:54:00:00:00:01'}}
  port2: {match: {macaddress: '52:54:00:00:00:02'}, set-name: lan2}
  uplink: {match: {macaddress: '52:54:00:00:00:03'}, set-name: wan0, dhcp4: true}
bonds:
  bond0:
    interfaces: [port1, port2]
    parameters: {mode: active-backup, mii-monitor-interval: 100, primary: port2}
    link-local: []
vlans:
  pods: {id: 20, link: bond0, addresses: [10.20.0.2/24], mtu: 1400}
  guests: {id: 30, link: bond0}
  wan.5: {id: 0, link: uplink, addresses: [192.0.2.2/24]}
bridges:
  br0:
    interfaces: [guests]
    parameters: {stp: true, path-cost: {guests: 50}, port-priority: {guests: 14}}
    addresses: [10.30.0.2/24]
    routes: [{to: default, via: 10.30.0.1, table: 30}]
    routing-policy: [{from: 10.30.0.0/24, table: 30, priority: 100}]
";

#[test]
fn a_bond_with_vlans_and_a_bridge_gives_every_file() {
    let network = accepted(STACK);
    assert_eq!(network.warnings, [""; 0]);
    let names: Vec<String> =
        crate::network::networkd::files(&network).into_iter().map(|(name, _)| name).collect();
    let expected = [
        "port1.network",
        "port2.link",
        "port2.network",
        "uplink.link",
        "uplink.network",
        "bond0.netdev",
        "bond0.network",
        "pods.netdev",
        "pods.network",
        "guests.netdev",
        "guests.network",
        "wan.5.netdev",
        "wan.5.network",
        "br0.netdev",
        "br0.network",
    ];
    assert_eq!(names, expected.map(|name| format!("10-kiln-{name}")));
    for (name, text) in [
        (
            // The bond gives its MAC to its ports, and this one's name is not known.
            "port1.network",
            "[Match]\nPermanentMACAddress=52:54:00:00:00:01\nType=ether\nKind=!*\n\n\
             [Link]\nRequiredForOnline=no\n\n[Network]\nDHCP=no\nBond=bond0\n",
        ),
        (
            "port2.link",
            "[Match]\nPermanentMACAddress=52:54:00:00:00:02\nType=ether\nKind=!*\n\n[Link]\nName=lan2\n",
        ),
        (
            "port2.network",
            "[Match]\nName=lan2\nMACAddress=52:54:00:00:00:02\nType=ether\nKind=!*\n\n\
             [Link]\nRequiredForOnline=no\n\n[Network]\nDHCP=no\nBond=bond0\nPrimarySlave=yes\n",
        ),
        (
            // The VLAN's link is found although it is renamed.
            "uplink.network",
            "[Match]\nName=wan0\nMACAddress=52:54:00:00:00:03\nType=ether\nKind=!*\n\n\
             [Network]\nDHCP=ipv4\nVLAN=wan.5\n\n[DHCPv4]\nClientIdentifier=mac\n",
        ),
        (
            "bond0.netdev",
            "[NetDev]\nName=bond0\nKind=bond\n\n[Bond]\nMode=active-backup\nMIIMonitorSec=100ms\n",
        ),
        (
            // Without any address, it is online with a carrier.
            "bond0.network",
            "[Match]\nName=bond0\n\n[Link]\nRequiredForOnline=carrier\n\n\
             [Network]\nDHCP=no\nLinkLocalAddressing=no\nVLAN=pods\nVLAN=guests\n",
        ),
        ("pods.netdev", "[NetDev]\nName=pods\nKind=vlan\nMTUBytes=1400\n\n[VLAN]\nId=20\n"),
        (
            "pods.network",
            "[Match]\nName=pods\n\n[Link]\nMTUBytes=1400\n\n[Network]\nDHCP=no\n\n\
             [Address]\nAddress=10.20.0.2/24\n",
        ),
        ("wan.5.netdev", "[NetDev]\nName=wan.5\nKind=vlan\n\n[VLAN]\nId=0\n"),
        (
            "guests.network",
            "[Match]\nName=guests\n\n[Link]\nRequiredForOnline=no\n\n\
             [Network]\nDHCP=no\nBridge=br0\n\n[Bridge]\nCost=50\nPriority=14\n",
        ),
        (
            "br0.network",
            "[Match]\nName=br0\n\n[Network]\nDHCP=no\nConfigureWithoutCarrier=yes\n\n\
             [Address]\nAddress=10.30.0.2/24\n\n[Route]\nDestination=0.0.0.0/0\nGateway=10.30.0.1\nTable=30\n\n\
             [RoutingPolicyRule]\nFrom=10.30.0.0/24\nTable=30\nPriority=100\n",
        ),
    ] {
        assert_eq!(file(&network, &format!("10-kiln-{name}")), text, "{name}");
    }
}

#[test]
fn an_id_with_a_match_is_only_what_others_call_the_device() {
    let network = accepted(
        "
version: 2
ethernets:
  provisioningport: {match: {macaddress: '52:54:00:00:00:01'}, dhcp4: true}
  management-network: {match: {macaddress: '52:54:00:00:00:02'}, set-name: mgmt0}
  default: {match: {driver: igb}}
  all: {match: {name: 'enp2*'}}
  \"0\": {match: {name: eth7}, optional: true}
  the last one: {match: {name: eth8}}
bonds:
  bond0:
    interfaces: [default, the last one]
    parameters: {mode: active-backup, mii-monitor-interval: 100, primary: default}
bridges:
  br0: {interfaces: [all, '0'], parameters: {path-cost: {all: 50}}}
vlans:
  v5: {id: 5, link: management-network}
",
    );
    assert_eq!(network.warnings, [""; 0]);
    for (name, text) in [
        (
            "provisioningport.network",
            "[Match]\nMACAddress=52:54:00:00:00:01\nType=ether\nKind=!*\n\n\
             [Network]\nDHCP=ipv4\n\n[DHCPv4]\nClientIdentifier=mac\n",
        ),
        (
            "management-network.link",
            "[Match]\nMACAddress=52:54:00:00:00:02\nType=ether\nKind=!*\n\n[Link]\nName=mgmt0\n",
        ),
        (
            "management-network.network",
            "[Match]\nName=mgmt0\nMACAddress=52:54:00:00:00:02\nType=ether\nKind=!*\n\n\
             [Network]\nDHCP=no\nVLAN=v5\n",
        ),
        (
            "default.network",
            "[Match]\nDriver=igb\nType=ether\nKind=!*\n\n[Link]\nRequiredForOnline=no\n\n\
             [Network]\nDHCP=no\nBond=bond0\nPrimarySlave=yes\n",
        ),
        (
            "all.network",
            "[Match]\nName=enp2*\nType=ether\nKind=!*\n\n[Link]\nRequiredForOnline=no\n\n\
             [Network]\nDHCP=no\nBridge=br0\n\n[Bridge]\nCost=50\n",
        ),
        (
            "0.network",
            "[Match]\nName=eth7\nType=ether\nKind=!*\n\n[Link]\nRequiredForOnline=no\n\n\
             [Network]\nDHCP=no\nBridge=br0\n",
        ),
        (
            "the+20last+20one.network",
            "[Match]\nName=eth8\nType=ether\nKind=!*\n\n[Link]\nRequiredForOnline=no\n\n\
             [Network]\nDHCP=no\nBond=bond0\n",
        ),
    ] {
        assert_eq!(file(&network, &format!("10-kiln-{name}")), text, "{name}");
    }
}

#[test]
fn the_order_of_sections_does_not_matter_to_references() {
    let (ethernets, rest) = STACK.split_once("bonds:").unwrap();
    let (version, ethernets) = ethernets.split_once("ethernets:").unwrap();
    let text = format!("{version}bonds:{rest}ethernets:{ethernets}");
    let mut a: Vec<_> = crate::network::networkd::files(&accepted(&text));
    let mut b: Vec<_> = crate::network::networkd::files(&accepted(STACK));
    a.sort();
    b.sort();
    assert_eq!(a, b);
}

#[test]
fn a_vrf_has_ports_and_its_routes_are_in_its_table() {
    let network = accepted(
        "version: 2\nethernets: {a: {addresses: [10.0.0.1/24]}}\n\
         vrfs: {vrf0: {table: 1000, interfaces: [a], routes: [{to: default, via: 10.0.0.254}], \
         routing-policy: [{from: 10.0.0.0/24}, {from: 10.1.0.0/24, table: 5}]}}",
    );
    assert_eq!(network.warnings, [""; 0]);
    assert!(joined(&network).ends_with(
        "# 10-kiln-a.network\n[Match]\nName=a\n\n[Network]\nDHCP=no\nVRF=vrf0\n\n\
         [Address]\nAddress=10.0.0.1/24\n\
         # 10-kiln-vrf0.netdev\n[NetDev]\nName=vrf0\nKind=vrf\n\n[VRF]\nTable=1000\n\
         # 10-kiln-vrf0.network\n[Match]\nName=vrf0\n\n[Link]\nRequiredForOnline=carrier\n\n\
         [Network]\nDHCP=no\n\n[Route]\nDestination=0.0.0.0/0\nGateway=10.0.0.254\nTable=1000\n\n\
         [RoutingPolicyRule]\nFrom=10.0.0.0/24\nTable=1000\n\n\
         [RoutingPolicyRule]\nFrom=10.1.0.0/24\nTable=5\n"
    ));
}

fn assert_refused(cases: &[(&str, &str)]) {
    for (sections, message) in cases {
        assert_eq!(read(&format!("version: 2\n{sections}")).unwrap_err(), *message, "{sections}");
    }
}

#[test]
fn devices_that_are_the_same_are_refused() {
    assert_refused(&[
        (
            "ethernets: {a: {match: {macaddress: '52:54:00:00:00:01'}}, b: {match: {macaddress: 52-54-00-00-00-01}}}",
            "2: ethernets.b: 'a' has the same macaddress 52:54:00:00:00:01",
        ),
        (
            "ethernets: {a: {match: {driver: x}, set-name: n}, b: {match: {driver: y}, set-name: n}}",
            "2: ethernets.b: 'a' has the same set-name 'n'",
        ),
        (
            "ethernets: {a: {match: {driver: x}, set-name: b}, b: {}}",
            "2: ethernets.b: 'a' has the same name 'b'",
        ),
        ("ethernets: {a: {}}\nbridges: {a: {}}", "3: bridges.a: 'a' has the same name 'a'"),
        (
            "ethernets: {a: {match: {driver: x}}}\nbridges: {a: {}}",
            "3: bridges.a: 'a' is there twice",
        ),
        (
            "ethernets: {a: {addresses: [10.0.0.1/8]}, b: {addresses: [10.0.0.1/24]}}",
            "2: ethernets.b: 'a' has the same address 10.0.0.1",
        ),
        (
            "ethernets: {a: {addresses: [10.0.0.1/8, 10.0.0.1/24]}}",
            "2: ethernets.a: the address 10.0.0.1 is there twice",
        ),
    ]);
}

#[test]
fn devices_that_cannot_stand_on_each_other_are_refused() {
    assert_refused(&[
        (
            "bonds: {a: {interfaces: [x]}}",
            "2: bonds.a.interfaces[0]: no device of this document is called 'x'",
        ),
        (
            "bridges: {a: {interfaces: [x]}}",
            "2: bridges.a.interfaces[0]: no device of this document is called 'x'",
        ),
        (
            "vlans: {a: {id: 1, link: x}}",
            "2: vlans.a.link: no device of this document is called 'x'",
        ),
        (
            "ethernets: {e: {}}\nbonds: {a: {interfaces: [e]}}\nbridges: {b: {interfaces: [e]}}",
            "4: bridges.b.interfaces[0]: 'e' is already a port of 'a'",
        ),
        (
            "ethernets: {e: {}}\nbonds: {a: {interfaces: [e, e]}}",
            "3: bonds.a.interfaces[1]: 'e' is already a port of 'a'",
        ),
        (
            "bridges: {b: {interfaces: [v]}}\nvlans: {v: {id: 1, link: b}}",
            "2: bridges.b: 'b' is on top of itself",
        ),
        ("vlans: {v: {id: 1, link: v}}", "2: vlans.v: 'v' is on top of itself"),
        (
            "bonds: {a: {interfaces: [b]}, b: {}}",
            "2: bonds.a.interfaces[0]: a bond cannot be a port of a bond",
        ),
        (
            "bridges: {a: {interfaces: [b]}, b: {}}",
            "2: bridges.a.interfaces[0]: a bridge cannot be a port of a bridge",
        ),
        (
            "bridges: {a: {interfaces: [b]}}\nvrfs: {b: {table: 1}}",
            "2: bridges.a.interfaces[0]: a VRF can be neither a port nor a VLAN's link",
        ),
        (
            "ethernets: {e: {}, f: {}}\nbonds: {a: {interfaces: [e], parameters: {mode: 1, primary: f}}}",
            "3: bonds.a.parameters.primary: 'f' is no port of 'a'",
        ),
        (
            "ethernets: {e: {}}\nbridges: {a: {parameters: {path-cost: {e: 5}}}}",
            "3: bridges.a.parameters.path-cost.e: 'e' is no port of 'a'",
        ),
    ]);
}

#[test]
fn names_may_be_exchanged_and_link_local_addresses_may_repeat() {
    accepted(
        "version: 2\nethernets:\n  \
         a: {match: {macaddress: '52:54:00:00:00:01'}, set-name: b, addresses: ['fe80::1/64']}\n  \
         b: {match: {macaddress: '52:54:00:00:00:02'}, set-name: a, addresses: ['fe80::1/64']}",
    );
}

#[test]
fn a_document_has_bounds() {
    let ethernets = |n: usize| (0..n).map(|n| format!("  e{n}: {{}}\n")).collect::<String>();
    let document = |n| format!("version: 2\nethernets:\n{}", ethernets(n));
    assert_eq!(accepted(&document(64)).devices.len(), 64);
    assert_eq!(read(&document(65)).unwrap_err(), "1: more than 64 interfaces");
    let routes = |n: usize| {
        let route = |n: usize| format!("{{to: 10.{}.{}.0/24, via: 10.0.0.1}}", n / 256, n % 256);
        (0..n).map(route).collect::<Vec<_>>().join(", ")
    };
    let document = |n| {
        format!(
            "version: 2\nethernets: {{a: {{routes: [{}]}}, b: {{routes: [{{to: 10.0.0.0/8}}]}}}}",
            routes(n)
        )
    };
    accepted(&document(255));
    assert_eq!(read(&document(256)).unwrap_err(), "1: more than 256 routes");
    let rules = ["{mark: 1}"; 257].join(", ");
    let document = format!("version: 2\nethernets: {{a: {{routing-policy: [{rules}]}}}}");
    assert_eq!(read(&document).unwrap_err(), "1: more than 256 rules");
    let many =
        |n: usize, what: &str| (0..n).map(|n| format!("10.0.0.{n}{what}")).collect::<Vec<_>>();
    let document =
        format!("version: 2\nethernets: {{a: {{addresses: [{}]}}}}", many(65, "/8").join(", "));
    assert_eq!(read(&document).unwrap_err(), "2: ethernets.a: more than 64 addresses");
    let document = format!(
        "version: 2\nethernets: {{a: {{nameservers: {{addresses: [{}]}}}}}}",
        many(65, "").join(", ")
    );
    assert_eq!(
        read(&document).unwrap_err(),
        "2: ethernets.a: more than 64 name servers or domains"
    );
}

#[test]
fn bounds_hold_before_anything_is_done_for_each_device() {
    let devices: String = (0..65)
        .map(|n| format!("- {{type: physical, name: e{n}, subnets: [{{type: dhcp}}]}}\n"))
        .collect();
    let document =
        format!("version: 1\nconfig:\n{devices}- {{type: nameserver, address: 10.0.0.1}}\n");
    assert_eq!(read(&document).unwrap_err(), "1: more than 64 interfaces");
    let addresses = (0..65).map(|n| format!("10.0.0.{n}")).collect::<Vec<_>>().join(", ");
    let document = format!("version: 1\nconfig:\n- {{type: nameserver, address: [{addresses}]}}\n");
    assert_eq!(read(&document).unwrap_err(), "3: config[0]: more than 64 name servers or domains");
}

#[test]
fn warnings_are_bounded() {
    let devices: String = (0..40).map(|n| format!("  e{n}: {{wakeonlan: true}}\n")).collect();
    let warnings = accepted(&format!("version: 2\nethernets:\n{devices}")).warnings;
    assert_eq!(warnings.len(), 33);
    assert_eq!(warnings[32], "and 8 more warnings of the network");
}

#[test]
fn default_routes_of_one_metric_are_a_warning() {
    let document = |metric: &str| {
        format!(
            "version: 2\nethernets:\n  a: {{addresses: [10.0.0.1/24], gateway4: 10.0.0.254}}\n  \
             b: {{addresses: [10.0.1.1/24], routes: [{{to: 0.0.0.0/0, via: 10.0.1.254{metric}}}]}}"
        )
    };
    assert_eq!(
        accepted(&document("")).warnings,
        ["'a' and 'b' have default routes of the same metric; give one a higher metric"]
    );
    for other in [", metric: 100", ", table: 7"] {
        assert_eq!(accepted(&document(other)).warnings, [""; 0]);
    }
}

#[test]
fn a_port_with_addresses_is_a_warning() {
    let network = accepted(
        "version: 2\nethernets: {e: {dhcp4: true}}\n\
         bonds: {b: {interfaces: [e], parameters: {mode: 4}}}",
    );
    assert_eq!(
        network.warnings,
        ["'e' is a port of 'b' and has addresses, which do not work on a port"]
    );
}
