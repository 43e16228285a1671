// SPDX-License-Identifier: Apache-2.0
//! Bad metadata of the sources that are no medium with NoCloud's documents.

use super::inputs::{Bad, bad};

/// Every bad input of theirs.
pub(super) fn all() -> Vec<Bad> {
    let mut all = Vec::new();
    for (name, text) in COMMAND_LINES {
        all.push(bad(name, "cmdline", &[("cmdline", text)]));
    }
    for (name, files) in GUESTINFO {
        all.push(bad(name, "guestinfo", files));
    }
    for (name, text) in OVF {
        all.push(bad(name, "ovf", &[("ovf-env.xml", text)]));
    }
    for (name, files) in CONFIG_DRIVE {
        all.push(bad(name, "config-drive", files));
    }
    for (name, files) in HTTP {
        all.push(bad(name, "http", files));
    }
    all.push(bad(
        "drive-file-too-large",
        "config-drive",
        &[
            (
                "openstack/latest/meta_data.json",
                "{\"uuid\": \"a\", \"files\": [{\"path\": \"/etc/kiln/a\", \"content_path\": \"/content/0000\"}]}",
            ),
            ("openstack/content/0000", &"x".repeat((1 << 20) + 1)),
        ],
    ));
    all
}

const COMMAND_LINES: &[(&str, &str)] = &[
    ("ds-twice", "ds=nocloud;h=a ds=nocloud;h=b"),
    ("ds-of-two-kinds", "ds=nocloud;h=a ds=config-drive"),
    ("ds-with-a-semicolon-in-the-address", "ds=nocloud;s=http://10.0.0.1/x;y/;h=a"),
    ("ds-with-a-semicolon-in-the-query", "ds=nocloud;h=a;s=http://10.0.0.1/?a=1;b=2"),
    ("ds-with-an-odd-key", "ds=nocloud;h=a;../x=1"),
    ("ds-of-a-file", "ds=nocloud;s=file:///etc/"),
    ("ds-with-a-password", "ds=nocloud;s=http://user:pass@10.0.0.1/"),
    ("ds-unknown", "ds=nocluod"),
    ("ds-bad-name", "ds=nocloud;h=../../x"),
    ("ds-bad-id", "ds=nocloud;h=a;i=.."),
    ("cmdline-network-not-base64", "ds=nocloud;h=a network-config=%%%"),
    ("cmdline-network-not-yaml", "ds=nocloud;h=a network-config=W2E="),
    ("cmdline-network-wrong", "ds=nocloud;h=a network-config=dmVyc2lvbjogMwo="),
    ("ip-octet-256", "ds=nocloud;h=a ip=10.0.0.256::10.0.0.1:255.255.255.0:::off"),
    ("ip-netmask", "ds=nocloud;h=a ip=10.0.0.2::10.0.0.1:255.0.255.0:::off"),
    ("ip-autoconf", "ds=nocloud;h=a ip=10.0.0.2::10.0.0.1:255.255.255.0::eth0:magic"),
    ("ip-device", "ds=nocloud;h=a ip=../x:dhcp"),
    ("ip-mac-too-short", "ds=nocloud;h=a ip=eth0:dhcp:1500:52-54-00"),
    ("ip-mtu", "ds=nocloud;h=a ip=eth0:dhcp:20:52:54:00:12:34:56"),
    ("ip-that-names-the-host", "ip=10.0.0.2::10.0.0.1:255.255.255.0:n1:eth0:off"),
];

const GUESTINFO: &[(&str, &[(&str, &str)])] = &[
    (
        "guestinfo-encoding",
        &[("guestinfo.metadata", "a: 1"), ("guestinfo.metadata.encoding", "rot13")],
    ),
    (
        "guestinfo-not-base64",
        &[("guestinfo.metadata", "%%%"), ("guestinfo.metadata.encoding", "base64")],
    ),
    (
        "guestinfo-not-gzip",
        &[("guestinfo.metadata", "aGVsbG8="), ("guestinfo.metadata.encoding", "gzip+base64")],
    ),
    (
        "guestinfo-gzip-cut",
        &[("guestinfo.metadata", "H4sIAAAAAAAAA8pI"), ("guestinfo.metadata.encoding", "gz+b64")],
    ),
    ("guestinfo-list", &[("guestinfo.metadata", "[a]")]),
    ("guestinfo-bad-name", &[("guestinfo.metadata", "local-hostname: a/b")]),
    ("guestinfo-bad-id", &[("guestinfo.metadata", "instance-id: a/b")]),
    ("guestinfo-network", &[("guestinfo.metadata", "network: {version: 2, ethernet: {}}")]),
    (
        "guestinfo-network-encoding",
        &[("guestinfo.metadata", "network: aGk=\nnetwork.encoding: zip")],
    ),
    (
        "guestinfo-network-packed",
        &[("guestinfo.metadata", "network: dmVyc2lvbjogMwo=\nnetwork.encoding: b64")],
    ),
    (
        "guestinfo-key-private",
        &[("guestinfo.metadata", "public-keys-data: '-----BEGIN RSA PRIVATE KEY-----'")],
    ),
    (
        "guestinfo-script",
        &[("guestinfo.metadata", "local-hostname: a"), ("guestinfo.userdata", "#!/bin/sh\n")],
    ),
];

const OVF: &[(&str, &str)] = &[
    ("ovf-doctype", "<!DOCTYPE x [<!ENTITY a \"b\">]><Environment/>"),
    (
        "ovf-external-entity",
        "<!DOCTYPE x [<!ENTITY a SYSTEM \"file:///etc/passwd\">]><Environment>&a;</Environment>",
    ),
    (
        "ovf-unknown-entity",
        "<Environment xmlns=\"http://schemas.dmtf.org/ovf/environment/1\">&a;</Environment>",
    ),
    (
        "ovf-not-closed",
        "<Environment xmlns=\"http://schemas.dmtf.org/ovf/environment/1\"><PropertySection>",
    ),
    ("ovf-not-xml", "hello"),
    ("ovf-empty", ""),
    (
        "ovf-seedfrom",
        "<Environment xmlns=\"http://schemas.dmtf.org/ovf/environment/1\" xmlns:oe=\"http://schemas.dmtf.org/ovf/environment/1\"><PropertySection>\n<Property oe:key=\"hostname\" oe:value=\"n1\"/>\n<Property oe:key=\"seedfrom\" oe:value=\"http://10.0.0.1/\"/></PropertySection></Environment>",
    ),
    (
        "ovf-bad-name",
        "<Environment xmlns=\"http://schemas.dmtf.org/ovf/environment/1\" xmlns:oe=\"http://schemas.dmtf.org/ovf/environment/1\"><PropertySection>\n<Property oe:key=\"instance-id\" oe:value=\"a\"/>\n\n<Property oe:key=\"hostname\" oe:value=\"a/b\"/></PropertySection></Environment>",
    ),
    ("ovf-another-root", "<html xmlns=\"http://www.w3.org/1999/xhtml\"></html>"),
];

const CONFIG_DRIVE: &[(&str, &[(&str, &str)])] = &[
    ("drive-without-metadata", &[("openstack/latest/user_data", "#cloud-config\n")]),
    ("drive-empty", &[("readme", "hello")]),
    ("drive-not-json", &[("openstack/latest/meta_data.json", "{\"uuid\": ")]),
    ("drive-without-uuid", &[("openstack/latest/meta_data.json", "{\"hostname\": \"n1\"}")]),
    ("drive-list", &[("openstack/latest/meta_data.json", "[]")]),
    (
        "drive-bad-name",
        &[("openstack/latest/meta_data.json", "{\"uuid\": \"a\", \"hostname\": \"a/b\"}")],
    ),
    ("drive-bad-id", &[("openstack/latest/meta_data.json", "{\"uuid\": \"../a\"}")]),
    (
        "drive-content-above",
        &[(
            "openstack/latest/meta_data.json",
            "{\"uuid\": \"a\", \"files\": [{\"path\": \"/etc/kiln/a\", \"content_path\": \"/../../../etc/passwd\"}]}",
        )],
    ),
    (
        "drive-that-is-disabled",
        &[(
            "openstack/latest/meta_data.json",
            "{\"uuid\": \"a\", \"meta\": {\"dsmode\": \"disabled\"}}",
        )],
    ),
    (
        "drive-value-with-a-second-line",
        &[("openstack/latest/meta_data.json", "{\"uuid\": \"a\",\n\"meta\": {\"a\": \"b\\nc\"}}")],
    ),
    (
        "drive-content-gone",
        &[(
            "openstack/latest/meta_data.json",
            "{\"uuid\": \"a\", \"files\": [{\"path\": \"/etc/kiln/a\", \"content_path\": \"/content/0000\"}]}",
        )],
    ),
    (
        "drive-file-elsewhere",
        &[
            (
                "openstack/latest/meta_data.json",
                "{\"uuid\": \"a\", \"files\": [{\"path\": \"/usr/bin/a\", \"content_path\": \"/content/0000\"}]}",
            ),
            ("openstack/content/0000", "x"),
        ],
    ),
    (
        "drive-link-without-mac",
        &[
            ("openstack/latest/meta_data.json", "{\"uuid\": \"a\"}"),
            (
                "openstack/latest/network_data.json",
                "{\"links\": [{\"id\": \"l\", \"type\": \"phy\"}], \"networks\": []}",
            ),
        ],
    ),
    (
        "drive-vlan-of-nothing",
        &[
            ("openstack/latest/meta_data.json", "{\"uuid\": \"a\"}"),
            (
                "openstack/latest/network_data.json",
                "{\"links\": [{\"id\": \"v\", \"type\": \"vlan\", \"vlan_link\": \"gone\", \"vlan_id\": 7, \"vlan_mac_address\": \"52:54:00:00:00:01\"}]}",
            ),
        ],
    ),
    (
        "drive-network-of-nothing",
        &[
            ("openstack/latest/meta_data.json", "{\"uuid\": \"a\"}"),
            (
                "openstack/latest/network_data.json",
                "{\"links\": [], \"networks\": [{\"id\": \"n\", \"link\": \"gone\", \"type\": \"ipv4_dhcp\"}]}",
            ),
        ],
    ),
];

const HTTP: &[(&str, &[(&str, &str)])] = &[(
    "http-set-name",
    &[
        ("meta-data", "instance-id: i-1\nlocal-hostname: n1\n"),
        (
            "network-config",
            "version: 2\nethernets:\n  nic:\n    match: {macaddress: 52:54:00:00:00:01}\n    set-name: lan0\n",
        ),
    ],
)];
