// SPDX-License-Identifier: Apache-2.0
//! Each key of version 1 and the lines that it gives.

use super::{accepted, entry, file, joined};

/// The files of one physical interface without a MAC address, with these keys.
fn rendered(keys: &str) -> String {
    joined(&accepted(&entry(&format!("type: physical\nname: nic\n{keys}"))))
}

fn subnet(keys: &str) -> String {
    rendered(&format!("subnets: [{{{keys}}}]"))
}

#[test]
fn a_mac_address_gives_the_interface_its_name() {
    assert_eq!(
        rendered("mac_address: '52:54:00:00:00:0A'\nsubnets: [{type: dhcp}]"),
        "# 10-kiln-nic.link\n[Match]\nMACAddress=52:54:00:00:00:0a\nType=ether\nKind=!*\n\n\
         [Link]\nName=nic\n\
         # 10-kiln-nic.network\n[Match]\nName=nic\nMACAddress=52:54:00:00:00:0a\nType=ether\n\
         Kind=!*\n\n[Network]\nDHCP=ipv4\n\n[DHCPv4]\nClientIdentifier=mac\n"
    );
}

#[test]
fn keys_of_devices_reach_their_lines() {
    for (keys, lines) in [
        ("mtu: 9000", "[Match]\nName=nic\n\n[Link]\nMTUBytes=9000\n\n[Network]\nDHCP=no\n"),
        ("mtu: null", "[Match]\nName=nic\n\n[Network]\nDHCP=no\n"),
        ("accept-ra: true", "IPv6AcceptRA=yes\n"),
        ("accept-ra: false", "IPv6AcceptRA=no\n"),
        ("keep_configuration: true", "KeepConfiguration=yes\n"),
        ("optional: true", "RequiredForOnline=no\n"),
        (
            "mac_address: '52:54:00:00:00:0A'\nwakeonlan: true",
            "[Link]\nName=nic\nWakeOnLan=magic\n",
        ),
        ("mac_address: cd:11:22:33:44:00", "[Match]\nMACAddress=cd:11:22:33:44:00\n"),
        ("params: {driver: igb}", "[Match]\nName=nic\nDriver=igb\nType=ether\n"),
        ("subnets: []", "[Network]\nDHCP=no\n"),
    ] {
        let text = rendered(keys);
        assert!(text.contains(lines), "{keys}:\n{text}");
    }
}

#[test]
fn types_of_subnets_reach_their_lines() {
    for (keys, lines) in [
        ("type: dhcp", "DHCP=ipv4\n"),
        ("type: dhcp4", "DHCP=ipv4\n"),
        ("type: dhcp4, metric: 100", "[DHCPv4]\nClientIdentifier=mac\nRouteMetric=100\n"),
        ("type: dhcp6", "DHCP=ipv6\n"),
        ("type: dhcp6, metric: 50", "DHCP=ipv6\n\n[IPv6AcceptRA]\nRouteMetric=50\n"),
        ("type: ipv6_slaac, metric: 50", "IPv6AcceptRA=yes\n\n[IPv6AcceptRA]\nRouteMetric=50\n"),
        ("type: dhcp4}, {type: dhcp6", "DHCP=yes\n"),
        ("type: ipv6_slaac", "DHCP=no\nIPv6AcceptRA=yes\n"),
        ("type: ipv6_dhcpv6-stateful", "DHCP=ipv6\nIPv6AcceptRA=yes\n"),
        ("type: ipv6_dhcpv6-stateless", "DHCP=no\nIPv6AcceptRA=yes\n"),
        ("type: manual", "[Match]\nName=nic\n\n[Network]\nDHCP=no\n"),
        ("type: static, address: 10.0.0.1/8", "[Address]\nAddress=10.0.0.1/8\n"),
        ("type: static6, address: '2001:db8::1/64'", "[Address]\nAddress=2001:db8::1/64\n"),
        ("type: static, address: '2001:db8::1/64'", "[Address]\nAddress=2001:db8::1/64\n"),
    ] {
        let text = subnet(keys);
        assert!(text.contains(lines), "{keys}:\n{text}");
    }
}

#[test]
fn keys_of_subnets_reach_their_lines() {
    for (keys, lines) in [
        ("address: 10.0.0.1, netmask: 255.255.0.0", "Address=10.0.0.1/16\n"),
        ("address: 10.0.0.1/255.255.0.0", "Address=10.0.0.1/16\n"),
        ("address: 10.0.0.1/16, netmask: 255.255.0.0", "Address=10.0.0.1/16\n"),
        ("address: 10.0.0.1, netmask: 16", "Address=10.0.0.1/16\n"),
        ("address: '2001:db8::1', netmask: 'ffff:ffff::'", "Address=2001:db8::1/32\n"),
        (
            "address: 10.0.0.1/16, broadcast: 10.0.255.255",
            "[Address]\nAddress=10.0.0.1/16\nBroadcast=10.0.255.255\n",
        ),
        (
            "address: 10.0.0.1/32, pointopoint: 10.9.0.1, gateway: 10.9.0.1",
            "[Address]\nAddress=10.0.0.1/32\nPeer=10.9.0.1\n\n[Route]\nGateway=10.9.0.1\n",
        ),
        ("address: 10.0.0.1/16, scope: link", "Address=10.0.0.1/16\nScope=link\n"),
        ("address: 10.0.0.1/16, gateway: 10.0.0.254", "[Route]\nGateway=10.0.0.254\n"),
        (
            "address: 10.0.0.1/32, gateway: 10.0.0.254, metric: 7",
            "[Route]\nGateway=10.0.0.254\nGatewayOnLink=yes\nMetric=7\n",
        ),
        ("address: 10.0.0.1/16, dns_nameservers: 10.0.0.2", "DNS=10.0.0.2\n"),
        ("address: 10.0.0.1/16, dns_nameservers: [10.0.0.2, 10.0.0.3]", "DNS=10.0.0.2 10.0.0.3\n"),
        ("address: 10.0.0.1/16, dns_nameservers: 10.0.0.2 10.0.0.3", "DNS=10.0.0.2 10.0.0.3\n"),
        ("address: 10.0.0.1/16, dns_search: [example.org, a]", "Domains=example.org a\n"),
        ("address: 10.0.0.1/16, control: auto", "[Match]\nName=nic\n\n[Network]\n"),
        ("address: 10.0.0.1/16, control: hotplug", "RequiredForOnline=no\n"),
        (
            "address: 10.0.0.1/16, control: manual",
            "[Link]\nActivationPolicy=manual\nRequiredForOnline=no\n",
        ),
        ("address: 10.0.0.1/16, mtu: 1400", "[Link]\nMTUBytes=1400\n"),
        ("address: '2001:db8::1/64', mtu: 1400", "[Network]\nDHCP=no\nIPv6MTUBytes=1400\n"),
        ("address: 10.0.0.1/16, ipv4: true, ipv6: false", "Address=10.0.0.1/16\n"),
        (
            "address: 10.0.0.1/16, routes: [{type: route, destination: 10.1.0.0/16, gateway: 10.0.0.9}]",
            "[Route]\nDestination=10.1.0.0/16\nGateway=10.0.0.9\n",
        ),
        (
            "address: 10.0.0.1/16, routes: [{network: 10.1.0.0, netmask: 255.255.0.0, gateway: 10.0.0.9, metric: 3}]",
            "[Route]\nDestination=10.1.0.0/16\nGateway=10.0.0.9\nMetric=3\n",
        ),
        (
            "address: 10.0.0.1/16, routes: [{destination: 10.1.0.0/16, gateway: 10.0.0.9, mtu: 1400, table: 5}]",
            "[Route]\nDestination=10.1.0.0/16\nGateway=10.0.0.9\nTable=5\nMTUBytes=1400\n",
        ),
        (
            "address: 10.0.0.1/16, routes: [{network: 0.0.0.0, netmask: 0.0.0.0, gateway: 10.0.0.9}]",
            "[Route]\nDestination=0.0.0.0/0\nGateway=10.0.0.9\n",
        ),
        (
            "address: 10.0.0.1/16, routes: [{network: 0.0.0.0, gateway: 10.0.0.9}]",
            "[Route]\nDestination=0.0.0.0/0\nGateway=10.0.0.9\n",
        ),
        (
            "address: 10.0.0.1/16, routes: [{destination: default, gateway: 10.0.0.9}]",
            "[Route]\nDestination=0.0.0.0/0\nGateway=10.0.0.9\n",
        ),
        (
            "address: 10.0.0.1/16, routes: [{network: '2001:db8::', prefix: 32, gateway: 'fe80::1'}]",
            "[Route]\nDestination=2001:db8::/32\nGateway=fe80::1\n",
        ),
    ] {
        let text = subnet(&format!("type: static, {keys}"));
        assert!(text.contains(lines), "{keys}:\n{text}");
    }
}

#[test]
fn an_address_without_prefix_length_gets_cloud_inits_and_a_warning() {
    for (address, prefix) in [("10.0.0.1", 24), ("2001:db8::1", 64)] {
        let keys =
            format!("type: physical\nname: nic\nsubnets: [{{type: static, address: '{address}'}}]");
        let network = accepted(&entry(&keys));
        assert!(joined(&network).ends_with(&format!("Address={address}/{prefix}\n")));
        let warning = format!(
            "'nic': the address {address} has no prefix length; as in cloud-init, it is {prefix}"
        );
        assert_eq!(network.warnings, [warning]);
    }
}

#[test]
fn bond_params_are_read_in_every_spelling() {
    for (name, value, line) in [
        ("mode", "4", "Mode=802.3ad"),
        ("mode", "active-backup", "Mode=active-backup"),
        ("miimon", "100", "MIIMonitorSec=100ms"),
        ("lacp_rate", "fast", "LACPTransmitRate=fast"),
        ("xmit_hash_policy", "layer3+4", "TransmitHashPolicy=layer3+4"),
        ("min_links", "1", "MinLinks=1"),
        ("ad_select", "'2'", "AdSelect=count"),
        ("all_slaves_active", "'1'", "AllSlavesActive=yes"),
        ("arp_ip_target", "10.0.0.1", "ARPIPTargets=10.0.0.1"),
        ("arp_ip_target", "'10.0.0.1,10.0.0.2'", "ARPIPTargets=10.0.0.1 10.0.0.2"),
        ("arp_validate", "none", "ARPValidate=none"),
        ("arp_all_targets", "all", "ARPAllTargets=all"),
        ("updelay", "200", "UpDelaySec=200ms"),
        ("downdelay", "0", "DownDelaySec=0ms"),
        ("fail_over_mac", "1", "FailOverMACPolicy=active"),
        ("num_grat_arp", "5", "GratuitousARP=5"),
        ("num_unsol_na", "6", "GratuitousARP=6"),
        ("packets_per_slave", "10", "PacketsPerSlave=10"),
        ("primary_reselect", "failure", "PrimaryReselectPolicy=failure"),
        ("resend_igmp", "1", "ResendIGMP=1"),
        ("resend_igpm", "1", "ResendIGMP=1"),
        ("ad_actor_sys_prio", "100", "AdActorSystemPriority=100"),
        ("ad_actor_system", "'52:54:00:00:00:0A'", "AdActorSystem=52:54:00:00:00:0a"),
        ("ad_user_port_key", "7", "AdUserPortKey=7"),
        ("lp_interval", "1", "LearnPacketIntervalSec=1"),
        ("tlb_dynamic_lb", "1", "DynamicTransmitLoadBalancing=yes"),
    ] {
        for separator in ["-", "_"] {
            for name in [name.to_owned(), name.replace('_', "-")] {
                let keys = format!(
                    "type: bond\nname: bond0\nbond_interfaces: []\nparams: {{bond{separator}{name}: {value}}}"
                );
                let text = file(&accepted(&entry(&keys)), "10-kiln-bond0.netdev");
                assert_eq!(text, format!("[NetDev]\nName=bond0\nKind=bond\n\n[Bond]\n{line}\n"));
            }
        }
    }
    let keys = "type: bond\nname: bond0\nparams: {bond-mode: 1, bond-arp_interval: 9, bond-arp-ip-target: [10.0.0.1]}";
    let text = file(&accepted(&entry(keys)), "10-kiln-bond0.netdev");
    assert!(text.ends_with("ARPIntervalSec=9ms\nARPIPTargets=10.0.0.1\n"), "{text}");
}

#[test]
fn ports_may_be_named_among_the_params() {
    for params in [
        "bond-slaves: 'a b'",
        "bond-slaves: [a, b]",
        "bond_slaves: none, bond-use_carrier: 1, bond-peer_notif_delay: '0'",
    ] {
        let network = accepted(&format!(
            "version: 1\nconfig: [{{type: physical, name: a}}, {{type: physical, name: b}}, {{type: physical, name: c}}, \
             {{type: bond, name: bond0, bond_interfaces: [a], \
             params: {{bond-mode: 1, bond-miimon: 100, bond-active_slave: a, {params}}}}}]"
        ));
        assert_eq!(network.warnings, [""; 0]);
        let a = file(&network, "10-kiln-a.network");
        assert!(a.ends_with("[Network]\nDHCP=no\nBond=bond0\nActiveSlave=yes\n"), "{a}");
        let b = file(&network, "10-kiln-b.network");
        assert_eq!(b.contains("Bond=bond0\n"), !params.contains("none"), "{b}");
        assert!(!file(&network, "10-kiln-c.network").contains("Bond="));
    }
}

#[test]
fn bridge_params_reach_their_lines() {
    for (param, lines) in [
        ("bridge_ageing: 250", "[Bridge]\nAgeingTimeSec=250\n"),
        ("bridge_bridgeprio: 22", "[Bridge]\nPriority=22\n"),
        ("bridge_fd: 1", "[Bridge]\nForwardDelaySec=1\n"),
        ("bridge_hello: 1", "[Bridge]\nHelloTimeSec=1\n"),
        ("bridge_maxage: 10", "[Bridge]\nMaxAgeSec=10\n"),
        ("bridge_stp: 'off'", "[Bridge]\nSTP=no\n"),
        ("bridge_stp: 1", "[Bridge]\nSTP=yes\n"),
        ("bridge-stp: on", "[Bridge]\nSTP=yes\n"),
        ("bridge_hw: '52:54:00:00:00:01'", "Kind=bridge\nMACAddress=52:54:00:00:00:01\n"),
        ("bridge_ports: [e]", "[Network]\nDHCP=no\nBridge=br0\n"),
        ("bridge_pathcost: [e 50]", "[Bridge]\nCost=50\n"),
        ("bridge_portprio: [e 28]", "[Bridge]\nPriority=28\n"),
        ("bridge_portprio: {e: 28}", "[Bridge]\nPriority=28\n"),
    ] {
        let text = joined(&accepted(&format!(
            "version: 1\nconfig:\n- {{type: physical, name: e}}\n\
             - {{type: bridge, name: br0, bridge_interfaces: [e], params: {{{param}}}}}"
        )));
        assert!(text.contains(lines), "{param}:\n{text}");
    }
    for name in ["gcint", "maxwait", "waitport"] {
        let keys =
            format!("type: bridge\nname: br0\nbridge_interfaces: []\nparams: {{bridge_{name}: 0}}");
        let warning = format!("'br0': 'bridge_{name}' is ifupdown's and has no effect");
        assert_eq!(accepted(&entry(&keys)).warnings, [warning]);
    }
}

#[test]
fn devices_stand_on_each_other() {
    let network = accepted(
        "
version: 1
config:
- {type: vlan, name: bond0.5, vlan_link: bond0, vlan_id: 5, mtu: 1400, mac_address: '52:54:00:00:00:09',
   subnets: [{type: static, address: 10.5.0.2/24}]}
- {type: bond, name: bond0, mac_address: '52:54:00:00:00:01', bond_interfaces: [a, b], mtu: 9000,
   params: {bond-mode: active-backup, bond-miimon: 100, bond-primary: b}}
- {type: physical, name: a, mac_address: '52:54:00:00:00:01'}
- {type: physical, name: b, mac_address: '52:54:00:00:00:02'}
",
    );
    assert_eq!(network.warnings, [""; 0]);
    for (name, text) in [
        (
            "bond0.netdev",
            "[NetDev]\nName=bond0\nKind=bond\nMTUBytes=9000\nMACAddress=52:54:00:00:00:01\n\n\
             [Bond]\nMode=active-backup\nMIIMonitorSec=100ms\n",
        ),
        (
            "bond0.network",
            "[Match]\nName=bond0\n\n[Link]\nMTUBytes=9000\nMACAddress=52:54:00:00:00:01\n\n\
             [Network]\nDHCP=no\nVLAN=bond0.5\n",
        ),
        (
            "bond0.5.netdev",
            "[NetDev]\nName=bond0.5\nKind=vlan\nMTUBytes=1400\nMACAddress=52:54:00:00:00:09\n\n\
             [VLAN]\nId=5\n",
        ),
        (
            "b.network",
            "[Match]\nName=b\nMACAddress=52:54:00:00:00:02\nType=ether\nKind=!*\n\n\
             [Link]\nRequiredForOnline=no\n\n[Network]\nDHCP=no\nBond=bond0\nPrimarySlave=yes\n",
        ),
    ] {
        assert_eq!(file(&network, &format!("10-kiln-{name}")), text, "{name}");
    }
}

const TWO: &str = "version: 1\nconfig:\n\
    - {type: physical, name: a, subnets: [{type: static, address: 10.0.0.1/24, dns_nameservers: [10.0.0.9]}]}\n\
    - {type: physical, name: b, subnets: [{type: static, address: 10.1.0.1/24}]}\n\
    - {type: physical, name: c}\n";

#[test]
fn name_servers_of_the_host_go_to_every_device_that_is_no_port_and_stand_there_once() {
    let network = accepted(&format!(
        "{TWO}- {{type: nameserver, address: [10.0.0.9, 10.0.0.8], search: [example.org]}}\n"
    ));
    assert!(
        file(&network, "10-kiln-a.network")
            .contains("\nDNS=10.0.0.9 10.0.0.8\nDomains=example.org\n")
    );
    assert!(
        file(&network, "10-kiln-b.network")
            .contains("\nDNS=10.0.0.9 10.0.0.8\nDomains=example.org\n")
    );
    assert!(file(&network, "10-kiln-c.network").contains("\nDNS=10.0.0.9 10.0.0.8\n"));
    let network = accepted(
        "version: 1\nconfig:\n- {type: nameserver, address: 10.0.0.9}\n- {type: physical, name: a}\n\
         - {type: physical, name: b}\n- {type: bond, name: c, bond_interfaces: [a]}\n\
         - {type: bridge, name: d, bridge_interfaces: [b]}\n- {type: vlan, name: e, vlan_link: c, vlan_id: 5}\n",
    );
    for (name, served) in [("a", false), ("b", false), ("c", true), ("d", true), ("e", true)] {
        let text = file(&network, &format!("10-kiln-{name}.network"));
        assert_eq!(text.contains("\nDNS=10.0.0.9\n"), served, "{text}");
    }
}

#[test]
fn the_devices_mtu_counts_more_than_those_of_its_subnets() {
    let ignored = |mtu: u32, own: u32| {
        format!("'nic': the subnet's MTU {mtu} has no effect: there is one of {own} already")
    };
    for (keys, link, ipv6, warnings) in [
        (
            "mtu: 8999\nsubnets: [{ipv4, mtu: 9000}, {ipv6, mtu: 1500}]",
            8999,
            1500,
            vec![ignored(9000, 8999)],
        ),
        ("subnets: [{ipv4, mtu: 9000}, {ipv6, mtu: 1500}]", 9000, 1500, vec![]),
        ("subnets: [{ipv6, mtu: 1500}, {ipv4, mtu: 9000}]", 9000, 1500, vec![]),
        (
            "mtu: 9000\nsubnets: [{ipv4, mtu: 9000}, {type: ipv6_slaac, mtu: 1500}]",
            9000,
            1500,
            vec![],
        ),
        (
            "subnets: [{type: dhcp4, mtu: 1400}, {ipv4, mtu: 1300}, {type: dhcp6, mtu: 1280}]",
            1400,
            1280,
            vec![ignored(1300, 1400)],
        ),
    ] {
        let keys = keys
            .replace("ipv4,", "type: static, address: 10.0.0.1/24,")
            .replace("ipv6,", "type: static6, address: '2001:db8::1/64',");
        let network = accepted(&entry(&format!("type: physical\nname: nic\n{keys}")));
        assert_eq!(network.warnings, warnings, "{keys}");
        let text = joined(&network);
        assert!(text.contains(&format!("[Link]\nMTUBytes={link}\n")), "{keys}:\n{text}");
        assert!(text.contains(&format!("\nIPv6MTUBytes={ipv6}\n")), "{keys}:\n{text}");
    }
}

#[test]
fn what_does_nothing_in_version_1_is_a_warning() {
    for (keys, warning) in [
        (
            "type: bond\nname: nic\nparams: {bond-miimon: 100}\nwakeonlan: true",
            "'wakeonlan' has no effect on a bond",
        ),
        (
            "type: bridge\nname: nic\nbridge_interfaces: []\nwakeonlan: true",
            "'wakeonlan' has no effect on a bridge",
        ),
        (
            "type: physical\nname: nic\nsubnets: [{type: static, address: 10.0.0.1/24, metric: 5}]",
            "'metric' has no effect without 'gateway'",
        ),
        (
            "type: physical\nname: nic\nsubnets: [{type: manual, metric: 5}]",
            "'metric' has no effect without 'gateway'",
        ),
    ] {
        assert_eq!(accepted(&entry(keys)).warnings, [format!("'nic': {warning}")], "{keys}");
    }
}

#[test]
fn name_servers_of_an_interface_go_there_only() {
    let network = accepted(&format!(
        "{TWO}- {{type: nameserver, interface: b, address: 10.0.0.8, search: example.org}}\n"
    ));
    assert!(!file(&network, "10-kiln-a.network").contains("10.0.0.8"));
    assert!(file(&network, "10-kiln-b.network").contains("\nDNS=10.0.0.8\nDomains=example.org\n"));
}

#[test]
fn a_route_of_the_host_goes_to_the_device_that_reaches_its_gateway() {
    let network = accepted(&format!(
        "{TWO}- {{type: route, destination: 192.168.0.0/16, gateway: 10.1.0.254, metric: 2}}\n"
    ));
    assert!(!file(&network, "10-kiln-a.network").contains("[Route]"));
    let route = "[Route]\nDestination=192.168.0.0/16\nGateway=10.1.0.254\nMetric=2\n";
    assert!(file(&network, "10-kiln-b.network").ends_with(route));
}

#[test]
fn a_route_of_the_host_goes_to_the_only_device_with_a_lease() {
    let route =
        "- {type: route, network: 192.168.0.0, netmask: 255.255.0.0, gateway: 10.9.0.254}\n";
    let lease = "- {type: physical, name: d, subnets: [{type: dhcp}]}\n";
    let network = accepted(&format!("{TWO}{lease}{route}"));
    let text = file(&network, "10-kiln-d.network");
    assert!(text.contains("[Route]\nDestination=192.168.0.0/16\nGateway=10.9.0.254\n"), "{text}");
    let other = lease.replace("name: d", "name: e");
    for devices in ["", &format!("{lease}{other}")] {
        let refusal = super::read(&format!("{TWO}{devices}{route}")).unwrap_err();
        assert!(refusal.ends_with("in the network of the gateway 10.9.0.254"), "{refusal}");
    }
}

#[test]
fn a_route_of_the_host_goes_to_the_only_device_that_can_be_meant() {
    // As the documentation of version 1 has it.
    let network = accepted(
        "
version: 1
config:
- type: physical
  name: interface0
  mac_address: '00:11:22:33:44:55'
  subnets: [{type: static, address: 192.168.23.14/24, gateway: 192.168.23.1}]
- {type: route, destination: 192.168.24.0/24, gateway: 192.168.24.1, metric: 3}
",
    );
    let route =
        "[Route]\nDestination=192.168.24.0/24\nGateway=192.168.24.1\nGatewayOnLink=yes\nMetric=3\n";
    assert!(file(&network, "10-kiln-interface0.network").ends_with(route));
    assert_eq!(
        network.warnings,
        [
            "'interface0': the gateway 192.168.24.1 is in none of the device's networks; it is taken to be on its link"
        ]
    );
}

#[test]
fn a_route_of_the_host_may_go_over_the_other_end_of_a_link() {
    let network = accepted(&format!(
        "{TWO}- {{type: physical, name: d, subnets: [{{type: static, address: 10.3.0.1/32, pointopoint: 10.9.0.1}}]}}\n\
         - {{type: route, destination: 10.8.0.0/16, gateway: 10.9.0.1}}\n"
    ));
    let route = "[Route]\nDestination=10.8.0.0/16\nGateway=10.9.0.1\n";
    assert!(file(&network, "10-kiln-d.network").ends_with(route));
    assert_eq!(network.warnings, [""; 0]);
}

#[test]
fn the_loopback_entry_only_says_name_servers() {
    let network = accepted(
        "version: 1\nconfig: [{type: loopback, name: lo, subnets: [{type: loopback, dns_nameservers: [10.0.0.9], \
         dns_search: a}]}, {type: physical, name: a, subnets: [{type: dhcp}]}]",
    );
    assert_eq!(network.devices.len(), 1);
    assert!(joined(&network).contains("DNS=10.0.0.9\nDomains=a\n"));
}
