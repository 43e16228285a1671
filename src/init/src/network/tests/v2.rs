// SPDX-License-Identifier: Apache-2.0
//! Each key of version 2 and the lines that it gives.

use super::{accepted, file, joined, one};

/// The files of one ethernet `nic` with these keys, joined.
fn rendered(keys: &str) -> String {
    joined(&accepted(&one("ethernets", "nic", keys)))
}

fn assert_lines(section: &str, cases: &[(&str, &str)]) {
    for (keys, lines) in cases {
        let network = accepted(&one(section, "nic", keys));
        let text = joined(&network);
        assert!(text.contains(lines), "{keys}:\n{text}");
        assert_eq!(network.warnings, [""; 0], "{keys}");
    }
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
         [Network]\nDHCP=no\nDNS=192.168.31.1\nDomains=example.org\n\n\
         [Address]\nAddress=192.168.31.24/24\n\n[Route]\nGateway=192.168.31.1\n"
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
fn keys_of_addresses_reach_their_lines() {
    assert_lines(
        "ethernets",
        &[
            ("dhcp4: true", "Name=nic\n\n[Network]\nDHCP=ipv4"),
            ("dhcp6: true", "DHCP=ipv6"),
            ("dhcp4: on\ndhcp6: 'yes'", "DHCP=yes"),
            ("dhcp4: 'no'", "DHCP=no"),
            (
                "addresses: [10.0.0.1/8, \"2001:db8::1/64\"]",
                "[Address]\nAddress=10.0.0.1/8\n\n[Address]\nAddress=2001:db8::1/64\n",
            ),
            ("addresses: [192.168.1.10/255.255.255.0]", "[Address]\nAddress=192.168.1.10/24\n"),
            (
                "addresses: [{10.0.0.1/8: {label: 'nic:vip', lifetime: 0}}]",
                "[Address]\nAddress=10.0.0.1/8\nLabel=nic:vip\nPreferredLifetime=0\n",
            ),
            (
                "addresses:\n- 10.0.0.1/8:\n    lifetime: forever\n- 10.1.0.1/8",
                "[Address]\nAddress=10.0.0.1/8\n\n[Address]\nAddress=10.1.0.1/8\n",
            ),
            (
                "nameservers: {addresses: [10.0.0.1, '2001:db8::1'], search: [example.org, ~corp.example]}",
                "DNS=10.0.0.1 2001:db8::1\nDomains=example.org ~corp.example\n",
            ),
            ("nameservers: {addresses: 8.8.8.8}", "DHCP=no\nDNS=8.8.8.8\n"),
            ("nameservers: {search: example.org}", "DHCP=no\nDomains=example.org\n"),
            ("nameservers: {search: [example.org]}", "DHCP=no\nDomains=example.org\n"),
            ("dhcp4: true\ndhcp-identifier: duid", "[DHCPv4]\nClientIdentifier=duid\n"),
            ("dhcp4: true\ndhcp-identifier: mac", "[DHCPv4]\nClientIdentifier=mac\n"),
            ("link-local: []", "LinkLocalAddressing=no\n"),
            ("link-local: [ipv4]", "LinkLocalAddressing=ipv4\n"),
            ("link-local: [ipv6]", "LinkLocalAddressing=ipv6\n"),
            ("link-local: [ipv4, ipv6]", "LinkLocalAddressing=yes\n"),
            ("ipv6-privacy: true", "IPv6PrivacyExtensions=yes\n"),
            ("ipv6-privacy: false", "IPv6PrivacyExtensions=no\n"),
            ("accept-ra: no", "IPv6AcceptRA=no\n"),
            ("accept-ra: yes", "IPv6AcceptRA=yes\n"),
            (
                "ra-overrides: {use-dns: false, use-domains: route, table: 7}",
                "[IPv6AcceptRA]\nUseDNS=False\nUseDomains=route\nRouteTable=7\n",
            ),
        ],
    );
}

#[test]
fn keys_of_links_reach_their_lines() {
    assert_lines(
        "ethernets",
        &[
            ("match: {name: \"en*\"}", "[Match]\nName=en*\nType=ether"),
            ("match: {driver: virtio_net}", "[Match]\nDriver=virtio_net\n"),
            ("match: {driver: [virtio_net, e1000*]}", "Driver=virtio_net e1000*\n"),
            (
                "match: {name: 'en*', macaddress: '52:54:00:00:00:01', driver: igb}",
                "[Match]\nName=en*\nMACAddress=52:54:00:00:00:01\nDriver=igb\nType=ether\nKind=!*\n",
            ),
            (
                "match: {driver: igb}\nset-name: lan0",
                "[Match]\nName=lan0\nDriver=igb\nType=ether\n",
            ),
            (
                "match: {name: eth0}\nset-name: lan0",
                "# 10-kiln-nic.link\n[Match]\nOriginalName=eth0\nType=ether\nKind=!*\n\n[Link]\nName=lan0\n\
                 # 10-kiln-nic.network\n[Match]\nName=lan0\nType=ether\nKind=!*\n",
            ),
            (
                "match: {name: 'eth*', driver: igb}\nset-name: lan0",
                "# 10-kiln-nic.link\n[Match]\nOriginalName=eth*\nDriver=igb\nType=ether\n",
            ),
            (
                "match: {name: en*, macaddress: '52:54:00:00:00:01'}\nset-name: lan0",
                "# 10-kiln-nic.link\n[Match]\nMACAddress=52:54:00:00:00:01\nType=ether\n",
            ),
            (
                "match: {name: en*, driver: igb}\nwakeonlan: true",
                "# 10-kiln-nic.link\n[Match]\nDriver=igb\nType=ether\n",
            ),
            ("mtu: 9000", "[Link]\nMTUBytes=9000\n"),
            ("ipv6-mtu: 1400", "IPv6MTUBytes=1400\n"),
            ("optional: true", "[Link]\nRequiredForOnline=no\n"),
            ("optional: false", "Name=nic\n\n[Network]\n"),
            ("macaddress: '52:54:00:00:00:01'", "[Link]\nMACAddress=52:54:00:00:00:01\n"),
            (
                // The current address is then another one.
                "match: {macaddress: '52:54:00:00:00:01'}\nmacaddress: '52:54:00:00:00:02'",
                "[Match]\nPermanentMACAddress=52:54:00:00:00:01\nType=ether\nKind=!*\n\n[Link]\nMACAddress=52:54:00:00:00:02\n",
            ),
            (
                "match: {driver: igb}\nwakeonlan: true",
                "[Link]\nNamePolicy=keep kernel database onboard slot path\n",
            ),
            ("match: {driver: igb}\nwakeonlan: true", "WakeOnLan=magic\n"),
            ("wakeonlan: false", "# 10-kiln-nic.network\n"),
            ("mtu: null\ndhcp4: ~", "[Network]\nDHCP=no\n"),
            ("renderer: networkd", "[Network]\nDHCP=no\n"),
            ("critical: true", "KeepConfiguration=yes\n"),
            ("keep-configuration: true", "KeepConfiguration=yes\n"),
            ("ignore-carrier: true", "ConfigureWithoutCarrier=yes\n"),
            ("emit-lldp: true", "EmitLLDP=yes\n"),
            ("activation-mode: manual", "[Link]\nActivationPolicy=manual\nRequiredForOnline=no\n"),
            (
                "activation-mode: off",
                "[Link]\nActivationPolicy=always-down\nRequiredForOnline=no\n",
            ),
        ],
    );
}

#[test]
fn dhcp_overrides_reach_their_lines() {
    for (family, key, line) in [
        ("4", "hostname: hal", "Hostname=hal"),
        ("4", "send-hostname: false", "SendHostname=False"),
        ("4", "route-metric: 100", "RouteMetric=100"),
        ("4", "route-metric: 0", "RouteMetric=0"),
        ("4", "use-dns: no", "UseDNS=False"),
        ("4", "use-domains: true", "UseDomains=True"),
        ("4", "use-domains: false", "UseDomains=False"),
        ("4", "use-domains: route", "UseDomains=route"),
        ("4", "use-hostname: false", "UseHostname=False"),
        ("4", "use-mtu: true", "UseMTU=True"),
        ("4", "use-ntp: false", "UseNTP=False"),
        ("4", "use-routes: false", "UseRoutes=False"),
        ("6", "hostname: hal", "Hostname=hal"),
        ("6", "send-hostname: true", "SendHostname=True"),
        ("6", "use-dns: true", "UseDNS=True"),
        ("6", "use-domains: route", "UseDomains=route"),
        ("6", "use-hostname: 'no'", "UseHostname=False"),
        ("6", "use-ntp: false", "UseNTP=False"),
    ] {
        let keys = format!("dhcp{family}: true\ndhcp{family}-overrides: {{{key}}}");
        let id = if family == "4" { "ClientIdentifier=mac\n" } else { "" };
        let text = rendered(&keys);
        assert!(text.ends_with(&format!("\n[DHCPv{family}]\n{id}{line}\n")), "{keys}:\n{text}");
    }
}

#[test]
fn vmwares_domain_keys_are_use_domains() {
    for (keys, line) in [
        ("dhcp4: yes\ndhcp4domain: route", "ClientIdentifier=mac\nUseDomains=route\n"),
        ("dhcp4: yes\ndhcp4domain: 'yes'", "ClientIdentifier=mac\nUseDomains=True\n"),
        ("dhcp6: yes\ndhcp6domain: false", "[DHCPv6]\nUseDomains=False\n"),
    ] {
        let text = rendered(keys);
        assert!(text.ends_with(line), "{text}");
    }
}

#[test]
fn without_router_advertisements_dhcp6_starts_by_itself() {
    assert!(rendered("dhcp6: true\naccept-ra: false").ends_with("[DHCPv6]\nWithoutRA=solicit\n"));
    assert!(!rendered("dhcp6: true").contains("[DHCPv6]"));
}

#[test]
fn routes_and_rules_reach_their_lines() {
    assert_lines(
        "ethernets",
        &[
            (
                "addresses: [10.0.0.2/32]\ngateway4: 10.9.9.1",
                "[Route]\nGateway=10.9.9.1\nGatewayOnLink=yes\n",
            ),
            (
                "addresses: [\"2001:db8::2/64\"]\ngateway6: \"2001:db8::1\"",
                "[Route]\nGateway=2001:db8::1\n",
            ),
            ("gateway6: fe80::1", "[Route]\nGateway=fe80::1\n"),
            (
                "routes: [{to: default, via: 10.0.0.1}]",
                "[Route]\nDestination=0.0.0.0/0\nGateway=10.0.0.1\n",
            ),
            (
                "routes: [{to: default, via: 'fe80::1'}]",
                "[Route]\nDestination=::/0\nGateway=fe80::1\n",
            ),
            (
                "routes: [{to: 0.0.0.0/0, via: 10.0.0.1, on-link: true}]",
                "[Route]\nDestination=0.0.0.0/0\nGateway=10.0.0.1\nGatewayOnLink=yes\n",
            ),
            (
                "routes: [{to: '::/0', via: 'fe80::1'}]",
                "[Route]\nDestination=::/0\nGateway=fe80::1\n",
            ),
            (
                "routes: [{to: 10.1.0.0/16, via: 10.0.0.1, metric: 5, table: 7, mtu: 1400, from: 10.0.0.9}]",
                "[Route]\nDestination=10.1.0.0/16\nGateway=10.0.0.1\nPreferredSource=10.0.0.9\nMetric=5\nTable=7\nMTUBytes=1400\n",
            ),
            ("routes: [{to: 10.1.2.3}]", "[Route]\nDestination=10.1.2.3/32\n"),
            (
                "routes: [{to: 10.1.0.0/16, scope: link, type: unicast}]",
                "[Route]\nDestination=10.1.0.0/16\nType=unicast\nScope=link\n",
            ),
            (
                "routes: [{to: '2001:db8::/32', type: unreachable}]",
                "[Route]\nDestination=2001:db8::/32\nType=unreachable\n",
            ),
            (
                "routing-policy: [{from: 10.0.0.0/8, to: 10.1.2.3, table: 7, priority: 50}]",
                "[RoutingPolicyRule]\nFrom=10.0.0.0/8\nTo=10.1.2.3/32\nTable=7\nPriority=50\n",
            ),
            (
                "routing-policy: [{mark: 5, type-of-service: 16, table: 7}]",
                "[RoutingPolicyRule]\nTable=7\nFirewallMark=5\nTypeOfService=16\nFamily=both\n",
            ),
        ],
    );
}

#[test]
fn every_type_and_scope_of_routes_is_written_as_it_is_read() {
    for kind in ["unicast", "local", "broadcast", "anycast", "multicast"] {
        let text = rendered(&format!("routes: [{{to: 10.1.0.0/16, type: {kind}}}]"));
        assert!(text.ends_with(&format!("Destination=10.1.0.0/16\nType={kind}\n")), "{text}");
    }
    for kind in ["blackhole", "unreachable", "prohibit", "throw"] {
        let text = rendered(&format!("routes: [{{to: 0.0.0.0/0, type: {kind}}}]"));
        assert!(text.ends_with(&format!("Destination=0.0.0.0/0\nType={kind}\n")), "{text}");
    }
    for scope in ["global", "link", "host"] {
        let text = rendered(&format!("routes: [{{to: 10.1.0.0/16, scope: {scope}}}]"));
        assert!(text.ends_with(&format!("Scope={scope}\n")), "{text}");
    }
}

#[test]
fn bond_parameters_reach_their_lines() {
    let keyed = |parameters: &str| {
        format!("interfaces: []\nparameters: {{mii-monitor-interval: 100, {parameters}}}")
    };
    for (parameter, line) in [
        ("mode: 802.3ad", "Mode=802.3ad"),
        ("mode: 1", "Mode=active-backup"),
        ("mode: balance-rr, lacp-rate: fast", "LACPTransmitRate=fast"),
        ("lacp-rate: 0", "LACPTransmitRate=slow"),
        ("min-links: 2", "MinLinks=2"),
        ("transmit-hash-policy: layer3+4", "TransmitHashPolicy=layer3+4"),
        ("transmit-hash-policy: 2", "TransmitHashPolicy=layer2+3"),
        ("ad-select: bandwidth", "AdSelect=bandwidth"),
        ("all-slaves-active: true", "AllSlavesActive=yes"),
        ("arp-ip-targets: [10.0.0.1, 10.0.0.2]", "ARPIPTargets=10.0.0.1 10.0.0.2"),
        ("arp-validate: all", "ARPValidate=all"),
        ("arp-all-targets: any", "ARPAllTargets=any"),
        ("up-delay: 1s", "UpDelaySec=1000ms"),
        ("down-delay: 200ms", "DownDelaySec=200ms"),
        ("fail-over-mac-policy: follow", "FailOverMACPolicy=follow"),
        ("gratuitous-arp: 2", "GratuitousARP=2"),
        ("gratuitious-arp: 3", "GratuitousARP=3"),
        ("packets-per-slave: 0", "PacketsPerSlave=0"),
        ("primary-reselect-policy: better", "PrimaryReselectPolicy=better"),
        ("resend-igmp: 4", "ResendIGMP=4"),
        ("learn-packet-interval: 10", "LearnPacketIntervalSec=10"),
        ("tlb-dynamic-lb: 0", "DynamicTransmitLoadBalancing=no"),
        ("mode: 2", "MIIMonitorSec=100ms"),
    ] {
        let network = accepted(&one("bonds", "bond0", &keyed(parameter)));
        let text = file(&network, "10-kiln-bond0.netdev");
        let head = "[NetDev]\nName=bond0\nKind=bond\n\n[Bond]\n";
        assert!(text.starts_with(head) && text.contains(&format!("{line}\n")), "{text}");
        assert_eq!(network.warnings, [""; 0]);
    }
    let keys = "parameters: {mode: active-backup, arp-interval: 50, arp-ip-targets: [10.0.0.1]}";
    let text = file(&accepted(&one("bonds", "bond0", keys)), "10-kiln-bond0.netdev");
    assert!(text.contains("ARPIntervalSec=50ms\nARPIPTargets=10.0.0.1\n"), "{text}");
}

#[test]
fn bridge_parameters_reach_their_lines() {
    for (parameter, line) in [
        ("ageing-time: 250", "AgeingTimeSec=250"),
        ("priority: 22", "Priority=22"),
        ("forward-delay: 0", "ForwardDelaySec=0"),
        ("hello-time: 2s", "HelloTimeSec=2"),
        ("max-age: 10", "MaxAgeSec=10"),
        ("stp: false", "STP=no"),
        ("stp: on", "STP=yes"),
    ] {
        let keys = format!("interfaces: []\nparameters: {{{parameter}}}");
        let text = file(&accepted(&one("bridges", "br0", &keys)), "10-kiln-br0.netdev");
        assert_eq!(text, format!("[NetDev]\nName=br0\nKind=bridge\n\n[Bridge]\n{line}\n"));
    }
}

#[test]
fn a_bridge_has_its_address_before_it_has_a_carrier() {
    let network = accepted(&one("bridges", "br0", "addresses: [10.0.0.1/24]"));
    assert_eq!(
        file(&network, "10-kiln-br0.network"),
        "[Match]\nName=br0\n\n[Link]\nRequiredForOnline=no\n\n\
         [Network]\nDHCP=no\nConfigureWithoutCarrier=yes\n\n[Address]\nAddress=10.0.0.1/24\n"
    );
}

#[test]
fn virtual_devices_have_their_own_mac_and_mtu_from_the_start() {
    let text = joined(&accepted(&one(
        "dummy-devices",
        "vip0",
        "macaddress: '52:54:00:00:00:01'\nmtu: 9000\naddresses: [10.0.0.1/32]",
    )));
    assert_eq!(
        text,
        "# 10-kiln-vip0.netdev\n[NetDev]\nName=vip0\nKind=dummy\nMTUBytes=9000\n\
         MACAddress=52:54:00:00:00:01\n\
         # 10-kiln-vip0.network\n[Match]\nName=vip0\n\n[Link]\nMTUBytes=9000\n\
         MACAddress=52:54:00:00:00:01\n\n[Network]\nDHCP=no\n\n[Address]\nAddress=10.0.0.1/32\n"
    );
}

#[test]
fn what_is_accepted_but_does_not_do_what_it_says_is_a_warning() {
    for (section, keys, warning) in [
        (
            "ethernets",
            "wakeonlan: true",
            "'nic': 'wakeonlan' without a match by macaddress or driver only works for a name that the kernel itself gives",
        ),
        (
            "ethernets",
            "match: {name: ens3}\nset-name: lan0",
            "'nic': 'set-name' with a match by name only works for a name that the kernel itself gives, as eth0, and 'ens3' is none; add 'macaddress'",
        ),
        (
            "ethernets",
            "dhcp4-overrides: {use-dns: false}",
            "'nic': 'dhcp4-overrides' has no effect without 'dhcp4'",
        ),
        (
            "ethernets",
            "dhcp6: true\ndhcp6-overrides: {use-mtu: false}",
            "'nic': 'use-mtu' has no effect in 'dhcp6-overrides': routes and the MTU come from router advertisements",
        ),
        (
            "ethernets",
            "optional-addresses: [dhcp4]",
            "'nic': systemd-networkd cannot wait for some addresses only; 'optional-addresses' has no effect",
        ),
        (
            "ethernets",
            "addresses: ['2001:db8::1/64']\nmtu: 1000",
            "'nic': systemd-networkd raises the MTU from 1000 to the 1280 that IPv6 needs",
        ),
        (
            "bonds",
            "interfaces: []",
            "'nic' watches none of its links: a broken one stays in use; set mii-monitor-interval",
        ),
        (
            "ethernets",
            "addresses: [10.0.0.1/24]\nroutes: [{to: 10.1.0.0/16, via: 10.9.9.1}]",
            "'nic': the gateway 10.9.9.1 is in none of the device's networks; does it need 'on-link'?",
        ),
        (
            "ethernets",
            "gateway4: 10.0.0.1\nroutes: [{to: 0.0.0.0/0, via: 10.0.0.2}]",
            "'nic' and 'nic' have default routes of the same metric; give one a higher metric",
        ),
    ] {
        assert_eq!(accepted(&one(section, "nic", keys)).warnings, [warning], "{keys}");
    }
}

#[test]
fn a_group_address_in_a_match_is_only_a_warning() {
    for mac in ["cd:11:22:33:44:00", "11:22:33:aa:bb:ff", "11:22:33:44:55:56"] {
        let network = accepted(&one("ethernets", "nic", &format!("match: {{macaddress: {mac}}}")));
        assert!(joined(&network).contains(&format!("[Match]\nMACAddress={mac}\n")));
        let warning = format!("'nic': no interface has the address of a group, as {mac}");
        assert_eq!(network.warnings, [warning]);
    }
}

#[test]
fn a_section_may_say_its_renderer() {
    let network = accepted(
        "version: 2\nethernets: {renderer: networkd, eth0: {dhcp4: true}}\nbonds: {renderer: networkd}\n\
         bridges: {renderer: null}\nvlans: {renderer: {id: 5, link: eth0}}",
    );
    let names: Vec<&str> = network.devices.iter().map(|it| it.id.as_str()).collect();
    assert_eq!(names, ["eth0", "renderer"]);
}

#[test]
fn wake_on_lan_by_name_matches_the_kernels_name() {
    let network = accepted(&one("ethernets", "eth0", "wakeonlan: true"));
    assert!(
        file(&network, "10-kiln-eth0.link").starts_with("[Match]\nOriginalName=eth0\nType=ether\n")
    );
}
