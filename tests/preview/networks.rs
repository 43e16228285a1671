// SPDX-License-Identifier: Apache-2.0
//! Networks that look like what documentation shows, and are not.

/// A name that says what is wrong, and the document.
pub(super) const NETWORK: &[(&str, &str)] = &[
    (
        "network-id-with-a-match-is-a-path",
        "version: 2\nethernets: {'../x': {match: {name: eth0}, dhcp4: true}}",
    ),
    ("network-renderer-of-a-section", "version: 2\nethernets: {renderer: NetworkManager}"),
    ("network-disabled", "network: {config: disabled}"),
    (
        "v1-wakeonlan-of-a-bond",
        "version: 1\nconfig: [{type: bond, name: b, bond_interfaces: [], wakeonlan: maybe}]",
    ),
    (
        "v1-route-of-two-devices",
        "version: 1\nconfig: [{type: physical, name: a, subnets: [{type: static, address: 10.0.0.1/24}]}, {type: physical, name: b, subnets: [{type: static, address: 10.1.0.1/24}]}, {type: route, destination: 10.3.0.0/16, gateway: 10.2.0.1}]",
    ),
    (
        "v1-ipv6-mtu",
        "version: 1\nconfig: [{type: physical, name: a, subnets: [{type: ipv6_slaac, mtu: 1000}]}]",
    ),
    ("v1-infiniband", "version: 1\nconfig: [{type: infiniband, name: ib0}]"),
    (
        "v1-bond-without-a-setting",
        "version: 1\nconfig: [{type: bond, name: b, params: {bond-use_carrier: 0}}]",
    ),
    (
        "v1-bond-that-is-told-its-state",
        "version: 1\nconfig: [{type: bond, name: b, params: {bond-mii_status: up}}]",
    ),
];
