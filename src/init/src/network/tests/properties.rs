// SPDX-License-Identifier: Apache-2.0
//! Whatever a document says, reading it ends, and what is accepted becomes files that
//! systemd-networkd knows: no control characters, no other sections, no other keys.

use proptest::prelude::*;

use crate::{
    network::{Network, config, network_data, networkd},
    yaml::{self, At},
};

/// Each kind of file with its sections, each of those with its keys.
const KNOWN: [(&str, &[(&str, &str)]); 3] = [
    (
        "link",
        &[
            ("Match", "MACAddress PermanentMACAddress OriginalName Driver Type Kind"),
            ("Link", "Name NamePolicy AlternativeNamesPolicy WakeOnLan"),
        ],
    ),
    (
        "netdev",
        &[
            ("NetDev", "Name Kind MTUBytes MACAddress"),
            ("VLAN", "Id"),
            ("VRF", "Table"),
            (
                "Bond",
                "Mode LACPTransmitRate MIIMonitorSec MinLinks TransmitHashPolicy AdSelect \
                 AllSlavesActive ARPIntervalSec ARPIPTargets ARPValidate ARPAllTargets UpDelaySec \
                 DownDelaySec FailOverMACPolicy GratuitousARP PacketsPerSlave \
                 PrimaryReselectPolicy ResendIGMP LearnPacketIntervalSec \
                 DynamicTransmitLoadBalancing AdActorSystemPriority AdActorSystem AdUserPortKey",
            ),
            ("Bridge", "AgeingTimeSec Priority ForwardDelaySec HelloTimeSec MaxAgeSec STP"),
        ],
    ),
    (
        "network",
        &[
            ("Match", "Name MACAddress PermanentMACAddress Driver Type Kind"),
            ("Link", "MTUBytes MACAddress ActivationPolicy RequiredForOnline"),
            (
                "Network",
                "DHCP LinkLocalAddressing DNS Domains IPv6AcceptRA IPv6PrivacyExtensions \
                 IPv6MTUBytes KeepConfiguration ConfigureWithoutCarrier EmitLLDP VLAN Bond \
                 PrimarySlave ActiveSlave Bridge VRF",
            ),
            ("Address", "Address Broadcast Peer Label PreferredLifetime Scope"),
            (
                "Route",
                "Destination Gateway GatewayOnLink PreferredSource Metric Table MTUBytes Type Scope",
            ),
            ("RoutingPolicyRule", "From To Table Priority FirewallMark TypeOfService Family"),
            (
                "DHCPv4",
                "ClientIdentifier Hostname SendHostname UseDNS UseDomains UseHostname UseNTP \
                 RouteMetric UseMTU UseRoutes",
            ),
            ("DHCPv6", "Hostname SendHostname UseDNS UseDomains UseHostname UseNTP WithoutRA"),
            ("IPv6AcceptRA", "UseDNS UseDomains RouteMetric RouteTable"),
            ("Bridge", "Cost Priority"),
        ],
    ),
];

fn read(text: &str) -> [Option<Network>; 2] {
    let Ok(Some(node)) = yaml::parse(text.as_bytes()) else { return [None, None] };
    let root = At::root(&node);
    [config::read(&root).ok(), network_data::read(&root).ok()]
}

/// What every accepted network must hold.
fn assert_sound(network: &Network, text: &str) {
    let files = networkd::files(network);
    assert!(files.len() <= 3 * 64, "{text}");
    let mut names: Vec<&String> = files.iter().map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), files.len(), "{text}");
    for (name, content) in &files {
        let stem = name.strip_prefix("10-kiln-").unwrap();
        assert!(!stem.contains('/') && !stem.contains(char::is_whitespace), "{name}");
        let suffix = name.rsplit('.').next().unwrap();
        let (_, sections) = KNOWN.iter().find(|(known, _)| *known == suffix).unwrap();
        let mut keys = "";
        for line in content.lines() {
            assert!(!line.chars().any(char::is_control), "{name}: {line:?}");
            if let Some(found) = line.strip_prefix('[') {
                let section = found.strip_suffix(']').unwrap();
                let known = sections.iter().find(|(known, _)| *known == section);
                keys = known.unwrap_or_else(|| panic!("{name}: {line}")).1;
            } else if !line.is_empty() {
                let (key, value) = line.split_once('=').unwrap();
                assert!(keys.split(' ').any(|known| known == key), "{name}: {line}");
                assert!(!value.is_empty() && value.trim() == value, "{name}: {line}");
            }
        }
    }
    for warning in &network.warnings {
        assert!(!warning.chars().any(char::is_control), "{warning:?}");
    }
}

fn check(text: &str) -> bool {
    let networks = read(text);
    networks.iter().flatten().for_each(|network| assert_sound(network, text));
    networks.iter().any(Option::is_some)
}

/// Words of the vocabulary, so that random trees come past the first check.
const WORDS: [&str; 74] = [
    "version",
    "config",
    "network",
    "ethernets",
    "bonds",
    "bridges",
    "vlans",
    "vrfs",
    "dummy-devices",
    "links",
    "networks",
    "services",
    "type",
    "name",
    "id",
    "link",
    "match",
    "macaddress",
    "driver",
    "set-name",
    "dhcp4",
    "dhcp6",
    "dhcp4-overrides",
    "addresses",
    "gateway4",
    "routes",
    "routing-policy",
    "nameservers",
    "search",
    "mtu",
    "optional",
    "interfaces",
    "parameters",
    "mode",
    "mii-monitor-interval",
    "primary",
    "path-cost",
    "table",
    "to",
    "via",
    "from",
    "on-link",
    "mark",
    "physical",
    "bond",
    "bridge",
    "vlan",
    "nameserver",
    "route",
    "subnets",
    "static",
    "address",
    "netmask",
    "gateway",
    "destination",
    "params",
    "bond_interfaces",
    "bridge_interfaces",
    "vlan_link",
    "vlan_id",
    "mac_address",
    "ethernet_mac_address",
    "bond_links",
    "ip_address",
    "ipv4",
    "eth0",
    "10.0.0.1/24",
    "10.0.0.1",
    "default",
    "52:54:00:00:00:01",
    "true",
    "1",
    "2",
    "100",
];

fn tree() -> impl Strategy<Value = String> {
    let word = || prop_oneof![8 => prop::sample::select(&WORDS[..]).prop_map(str::to_owned), 1 => "[ -~]{0,12}"];
    let quoted = word().prop_map(|text| serde_json::Value::from(text).to_string());
    let plain = prop::sample::select(&["1", "2", "true", "null", "-1", "4095", "\"a\\nb\""][..]);
    let leaf = prop_oneof![quoted, plain.prop_map(str::to_owned)];
    leaf.prop_recursive(5, 64, 8, move |inner| {
        let key = word().prop_map(|text| serde_json::Value::from(text).to_string());
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5)
                .prop_map(|items| format!("[{}]", items.join(", "))),
            prop::collection::vec((key, inner), 0..8).prop_map(|entries| {
                let entries: Vec<String> =
                    entries.into_iter().map(|(key, value)| format!("{key}: {value}")).collect();
                format!("{{{}}}", entries.join(", "))
            }),
        ]
    })
}

/// Valid documents that use much of the vocabulary.
const DOCUMENTS: [&str; 3] = [
    "version: 2
ethernets:
  a: {match: {macaddress: '52:54:00:00:00:01'}, set-name: lan0, mtu: 9000, wakeonlan: true}
  b: {match: {name: 'en*', driver: [igb, e1000]}, dhcp4: true, dhcp6: true, accept-ra: false,
      dhcp4-overrides: {use-dns: false, route-metric: 5, use-domains: route, hostname: h},
      nameservers: {addresses: [10.0.0.1], search: [a.b]}, link-local: [ipv6], optional: true}
bonds:
  c: {interfaces: [a], parameters: {mode: 1, primary: a, mii-monitor-interval: 100, up-delay: 1s}}
bridges:
  d: {interfaces: [e], parameters: {stp: true, path-cost: {e: 50}}, addresses: [{10.0.0.2/24: {label: x}}],
      gateway4: 10.0.0.1, routes: [{to: 10.1.0.0/16, via: 10.0.0.1, metric: 5, table: 7, type: unicast}],
      routing-policy: [{from: 10.0.0.0/8, mark: 5, table: 7}]}
vlans:
  e: {id: 5, link: c, macaddress: '52:54:00:00:00:02'}
vrfs: {f: {table: 9, interfaces: [b]}}
dummy-devices: {g: {addresses: ['2001:db8::1/64']}}
",
    "version: 1
config:
- {type: physical, name: a, mac_address: '52:54:00:00:00:01', mtu: 1500, subnets: [{type: dhcp4, metric: 5}]}
- {type: physical, name: b, subnets: [{type: static, address: 10.0.0.2, netmask: 255.255.255.0,
   gateway: 10.0.0.1, dns_nameservers: [10.0.0.3], routes: [{network: 10.1.0.0, netmask: 255.255.0.0,
   gateway: 10.0.0.4}]}, {type: ipv6_slaac}]}
- {type: bond, name: c, bond_interfaces: [a], params: {bond-mode: 4, bond_xmit_hash_policy: layer2}}
- {type: bridge, name: d, bridge_interfaces: [e], params: {bridge_stp: 'on', bridge_pathcost: [e 50]}}
- {type: vlan, name: e, vlan_link: c, vlan_id: 5}
- {type: nameserver, address: 10.0.0.5, search: [a.b]}
- {type: route, destination: 10.2.0.0/16, gateway: 10.0.0.6}
- {type: loopback, name: lo, subnets: [{type: loopback}]}
",
    r#"{"links": [{"id": "a", "type": "phy", "ethernet_mac_address": "fa:16:3e:00:00:01", "mtu": 1500},
 {"id": "b", "type": "bond", "bond_links": ["a"], "bond_mode": "802.3ad", "bond_miimon": 100},
 {"id": "c", "type": "vlan", "vlan_link": "b", "vlan_id": 5, "vlan_mac_address": "fa:16:3e:00:00:02"}],
 "networks": [{"id": "n", "link": "c", "type": "ipv4", "ip_address": "10.0.0.2", "netmask": "255.255.255.0",
 "gateway": "10.0.0.1", "routes": [{"network": "10.1.0.0", "netmask": "255.255.0.0", "gateway": "10.0.0.3"}],
 "services": [{"type": "dns", "address": "10.0.0.4"}]}], "services": [{"type": "dns", "address": "10.0.0.5"}]}"#,
];

#[test]
fn the_documents_that_are_mutated_are_valid() {
    for document in DOCUMENTS {
        assert!(check(document), "{document}");
    }
}

#[test]
fn every_prefix_of_a_document_is_read_or_refused() {
    for document in DOCUMENTS {
        for end in 0..document.len() {
            check(&document[..end]);
        }
    }
}

/// Replaces the `n`th word of a document.
fn mutated(document: &str, n: usize, with: &str) -> String {
    let is_word = |c: char| !" \n{}[],:".contains(c) || c == ':';
    let mut words: Vec<(usize, usize)> = Vec::new();
    let mut start = None;
    for (index, c) in document.char_indices() {
        match (is_word(c), start) {
            (true, None) => start = Some(index),
            (false, Some(begin)) => {
                words.push((begin, index));
                start = None;
            }
            _ => {}
        }
    }
    let (begin, end) = words[n % words.len()];
    format!("{}{with}{}", &document[..begin], &document[end..])
}

proptest! {
    #[test]
    fn random_trees_never_panic(text in tree()) {
        check(&text);
    }

    #[test]
    fn random_trees_below_a_version_never_panic(
        version in 1..3,
        section in prop::sample::select(&WORDS[1..12]),
        body in tree(),
    ) {
        check(&format!("{{version: {version}, {section}: {body}}}"));
    }

    #[test]
    fn random_devices_never_panic(
        section in prop::sample::select(&["ethernets", "bonds", "bridges", "vlans", "vrfs"][..]),
        key in prop::sample::select(&WORDS[12..]),
        value in tree(),
    ) {
        check(&format!("{{version: 2, {section}: {{eth0: {{{key}: {value}}}}}}}"));
        check(&format!("{{version: 1, config: [{{type: bond, name: eth0, {key}: {value}}}]}}"));
        check(&format!("{{version: 1, config: [{{type: physical, name: a, subnets: [{{type: static, {key}: {value}}}]}}]}}"));
    }

    #[test]
    fn a_changed_word_is_read_or_refused(
        document in prop::sample::select(&DOCUMENTS[..]),
        n in 0_usize..400,
        word in prop_oneof![
            prop::sample::select(&WORDS[..]).prop_map(str::to_owned),
            "\\PC{0,20}",
            Just("\"a\\nb\"".to_owned()),
            Just("a".repeat(5000)),
        ],
    ) {
        check(&mutated(document, n, &word));
    }

    #[test]
    fn text_in_place_of_any_value_never_leaves_its_line(text in "[ -~\\n\\r\\t]{0,40}") {
        let quoted = serde_json::Value::from(text).to_string();
        for key in ["name", "macaddress", "driver"] {
            check(&format!("{{version: 2, ethernets: {{a: {{match: {{{key}: {quoted}}}}}}}}}"));
        }
        check(&format!("{{version: 2, ethernets: {{{quoted}: {{dhcp4: true}}}}}}"));
        check(&format!("{{version: 2, ethernets: {{{quoted}: {{match: {{name: a}}}}}}, vlans: {{v: {{id: 5, link: {quoted}}}}}}}"));
        check(&format!("{{version: 2, ethernets: {{a: {{nameservers: {{search: [{quoted}]}}}}}}}}"));
        check(&format!("{{version: 2, ethernets: {{a: {{dhcp4: true, dhcp4-overrides: {{hostname: {quoted}}}}}}}}}"));
        check(&format!("{{version: 2, ethernets: {{a: {{addresses: [{{10.0.0.1/8: {{label: {quoted}}}}}]}}}}}}"));
        check(&format!("{{version: 1, config: [{{type: physical, name: {quoted}}}]}}"));
        check(&format!("{{links: [{{id: {quoted}, type: {quoted}, ethernet_mac_address: '52:54:00:00:00:01', {quoted}: 1}}]}}"));
    }
}
