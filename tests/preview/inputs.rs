// SPDX-License-Identifier: Apache-2.0
//! Metadata that must not get through: what somebody mistyped, and what somebody made on purpose.

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// A name that says what is wrong, the source, and the files that it delivers.
pub(super) struct Bad {
    pub(super) name: &'static str,
    pub(super) source: &'static str,
    pub(super) files: Vec<(String, Vec<u8>)>,
}

/// Every bad input.
pub(super) fn all() -> Vec<Bad> {
    let mut all = Vec::new();
    for (name, text) in META_DATA.iter().chain(super::peers::META_DATA) {
        all.push(nocloud(name, &[("meta-data", text)]));
    }
    for (name, text) in NETWORK.iter().chain(super::networks::NETWORK) {
        all.push(nocloud(name, &[("meta-data", NAMED), ("network-config", text)]));
    }
    for (name, keys) in ETHERNET {
        let text =
            format!("version: 2\nethernets:\n  nic:\n    {}\n", keys.replace('\n', "\n    "));
        all.push(nocloud(name, &[("meta-data", NAMED), ("network-config", &text)]));
    }
    for (name, text) in USER_DATA {
        all.push(nocloud(name, &[("meta-data", NAMED), ("user-data", text)]));
    }
    all.extend(super::sources::all());
    all.extend(made());
    all
}

pub(super) fn bad(name: &'static str, source: &'static str, files: &[(&str, &str)]) -> Bad {
    let files = files.iter().map(|(file, text)| ((*file).to_owned(), text.as_bytes().to_vec()));
    Bad { name, source, files: files.collect() }
}

fn nocloud(name: &'static str, files: &[(&str, &str)]) -> Bad {
    bad(name, "nocloud", files)
}

const NAMED: &str = "instance-id: i-1\nlocal-hostname: n1\n";

const META_DATA: &[(&str, &str)] = &[
    ("name-of-a-path", "local-hostname: ../../etc/passwd"),
    ("name-with-a-second-line", "local-hostname: \"n1\\n127.0.0.1 evil\""),
    ("name-with-nul", "local-hostname: \"n1\\0\""),
    ("name-empty", "local-hostname: ''"),
    ("name-begins-with-a-dash", "local-hostname: -n1"),
    ("name-ends-with-a-dot", "local-hostname: n1."),
    ("name-with-two-dots", "local-hostname: a..b"),
    ("name-with-an-underscore", "local-hostname: node_01"),
    ("name-with-an-umlaut", "local-hostname: nöde1"),
    ("name-is-a-number", "local-hostname: 17"),
    ("name-is-a-list", "local-hostname: [a]"),
    ("name-is-a-map", "local-hostname: {a: b}"),
    ("name-is-a-boolean", "local-hostname: yes"),
    ("name-with-escapes", "local-hostname: \"\\e[31mn1\""),
    ("name-is-a-command", "local-hostname: '$(reboot)'"),
    ("name-with-a-space", "local-hostname: 'a b'"),
    ("name-with-a-tab", "local-hostname: \"a\\tb\""),
    ("name-with-percent", "local-hostname: '%H'"),
    (
        "name-too-long",
        "local-hostname: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ),
    ("id-is-a-parent", "instance-id: '..'"),
    ("id-is-a-path", "instance-id: ../../../x"),
    ("id-empty", "instance-id: ''"),
    ("id-with-a-second-line", "instance-id: \"a\\nb\""),
    ("id-is-a-list", "instance-id: []"),
    ("id-with-a-space", "instance-id: a b"),
    ("list-at-the-top", "- a"),
    ("text-at-the-top", "hello"),
    ("duplicate-key", "a: 1\nlocal-hostname: n1\na: 2"),
    ("duplicate-name", "local-hostname: n1\nlocal-hostname: n2"),
    ("template-not-rendered", "local-hostname: {{ name }}"),
    ("two-documents", "a: 1\n---\nb: 2"),
    ("self-alias", "a: &a [*a]"),
    ("unknown-alias", "a: *b"),
    ("merge-key", "x: &x {a: 1}\ny: {<<: *x}"),
    ("python-object", "a: !!python/object/apply:os.system [id]"),
    ("binary-tag", "local-hostname: !!binary bjE="),
    ("local-tag", "local-hostname: !name n1"),
    ("unclosed-list", "a: [1, 2"),
    ("unclosed-quote", "a: 'x"),
    ("tab-as-indentation", "a:\n\tb: 1"),
    ("wrong-indentation", "a: 1\n  b: 2"),
    ("colon-in-text", "a: b: c"),
    ("percent-first", "%a: b"),
    ("vars-is-a-list", "vars: [1]"),
    ("vars-is-a-text", "vars: x"),
    ("vars-with-a-second-line", "vars:\n  priority: \"100\\n  notify /etc/evil\""),
    ("vars-with-an-escape", "vars: {list: [a, {b: \"\\e[2J\"}]}"),
    ("seed-that-is-disabled", "local-hostname: n1\ndsmode: disabled"),
    ("key-with-a-second-line", "public-keys: [\"ssh-ed25519 AAAA\\nssh-rsa BBBB\"]"),
    ("key-is-private", "public-keys: [\"-----BEGIN OPENSSH PRIVATE KEY-----\\nc2VjcmV0\"]"),
    ("key-is-a-word", "public-keys: [hello]"),
    (
        "key-of-another-type",
        "public-keys: ['ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIGKD7u3nEKj0nqfVZp7TyM2Y6Qy9Cwk1mX1xk0m0c3dE']",
    ),
    ("key-is-an-address", "public-keys: http://example.org/keys"),
    ("old-network", "network-interfaces: |\n  auto eth0"),
    ("seedfrom-on-a-medium", "seedfrom: http://10.0.0.1/"),
];

const NETWORK: &[(&str, &str)] = &[
    ("network-without-version", "ethernets: {}"),
    ("network-version-3", "version: 3"),
    ("network-version-0", "version: 0"),
    ("network-version-is-a-word", "version: two"),
    ("network-is-a-list", "- a"),
    ("network-unknown-section", "version: 2\nethernet: {}"),
    ("network-keys-beside-the-outer-one", "network: {version: 2}\nethernets: {}"),
    ("network-renderer", "version: 2\nrenderer: NetworkManager"),
    ("network-id-is-a-path", "version: 2\nethernets: {'../x': {dhcp4: true}}"),
    ("network-id-is-lo", "version: 2\nethernets: {lo: {dhcp4: true}}"),
    ("network-id-too-long", "version: 2\nethernets: {a234567890123456: {dhcp4: true}}"),
    ("network-id-with-a-space", "version: 2\nethernets: {'a b': {dhcp4: true}}"),
    ("network-wifis", "version: 2\nwifis: {w: {}}"),
    (
        "same-mac-twice",
        "version: 2\nethernets:\n  a: {match: {macaddress: 52:54:00:00:00:01}}\n  b: {match: {macaddress: 52-54-00-00-00-01}}",
    ),
    (
        "same-name-twice",
        "version: 2\nethernets:\n  a: {match: {driver: x}, set-name: n}\n  b: {match: {driver: y}, set-name: n}",
    ),
    (
        "same-address-twice",
        "version: 2\nethernets:\n  a: {addresses: [10.0.0.1/24]}\n  b: {addresses: [10.0.0.1/24]}",
    ),
    ("vlan-without-link", "version: 2\nvlans: {v: {id: 7}}"),
    ("vlan-without-id", "version: 2\nethernets: {a: {}}\nvlans: {v: {link: a}}"),
    ("vlan-id-4095", "version: 2\nethernets: {a: {}}\nvlans: {v: {id: 4095, link: a}}"),
    ("vlan-id-negative", "version: 2\nethernets: {a: {}}\nvlans: {v: {id: -1, link: a}}"),
    ("vlan-of-nothing", "version: 2\nvlans: {v: {id: 7, link: gone}}"),
    ("vlan-of-itself", "version: 2\nvlans: {v: {id: 7, link: v}}"),
    ("bond-of-nothing", "version: 2\nbonds: {b: {interfaces: [gone]}}"),
    (
        "bond-mode",
        "version: 2\nethernets: {a: {}}\nbonds: {b: {interfaces: [a], parameters: {mode: fastest}}}",
    ),
    (
        "bond-parameter",
        "version: 2\nethernets: {a: {}}\nbonds: {b: {interfaces: [a], parameters: {mii-monitor: 100}}}",
    ),
    (
        "bond-interval",
        "version: 2\nethernets: {a: {}}\nbonds: {b: {interfaces: [a], parameters: {mii-monitor-interval: often}}}",
    ),
    (
        "port-of-two-bonds",
        "version: 2\nethernets: {a: {}}\nbonds: {b: {interfaces: [a]}, c: {interfaces: [a]}}",
    ),
    (
        "port-of-bond-and-bridge",
        "version: 2\nethernets: {a: {}}\nbonds: {b: {interfaces: [a]}}\nbridges: {c: {interfaces: [a]}}",
    ),
    ("bridge-of-nothing", "version: 2\nbridges: {b: {interfaces: [gone]}}"),
    ("bridge-of-itself", "version: 2\nbridges: {b: {interfaces: [b]}}"),
    ("bridges-in-a-circle", "version: 2\nbridges: {a: {interfaces: [b]}, b: {interfaces: [a]}}"),
    (
        "bridge-parameter",
        "version: 2\nethernets: {a: {}}\nbridges: {b: {interfaces: [a], parameters: {spt: true}}}",
    ),
    (
        "one-name-two-kinds",
        "version: 2\nethernets: {a: {}, x: {}}\nbridges: {a: {interfaces: [x]}}",
    ),
    ("v1-without-config", "version: 1"),
    ("v1-config-is-a-map", "version: 1\nconfig: {type: physical}"),
    ("v1-without-type", "version: 1\nconfig: [{name: a}]"),
    ("v1-unknown-type", "version: 1\nconfig: [{type: phisical, name: a}]"),
    ("v1-without-name", "version: 1\nconfig: [{type: physical}]"),
    ("v1-unknown-key", "version: 1\nconfig: [{type: physical, name: a, mac: 52:54:00:00:00:01}]"),
    (
        "v1-unknown-subnet",
        "version: 1\nconfig: [{type: physical, name: a, subnets: [{type: dhcp5}]}]",
    ),
    (
        "v1-static-without-address",
        "version: 1\nconfig: [{type: physical, name: a, subnets: [{type: static}]}]",
    ),
    (
        "v1-netmask",
        "version: 1\nconfig: [{type: physical, name: a, subnets: [{type: static, address: 10.0.0.1, netmask: 255.0.255.0}]}]",
    ),
    (
        "v1-vlan-of-nothing",
        "version: 1\nconfig: [{type: vlan, name: v, vlan_link: gone, vlan_id: 7}]",
    ),
    ("v1-bond-of-nothing", "version: 1\nconfig: [{type: bond, name: b, bond_interfaces: [gone]}]"),
    (
        "v1-dns-with-a-second-line",
        "version: 1\nconfig: [{type: nameserver, address: \"10.0.0.1\\nDHCP=yes\"}]",
    ),
];

/// Keys of one ethernet.
const ETHERNET: &[(&str, &str)] = &[
    ("key-mistyped", "adresses: [10.0.0.1/24]"),
    ("octet-256", "addresses: [10.0.0.256/24]"),
    ("prefix-33", "addresses: [10.0.0.1/33]"),
    ("prefix-129", "addresses: ['2001:db8::1/129']"),
    ("prefix-missing", "addresses: [10.0.0.1]"),
    ("netmask-with-a-hole", "addresses: [10.0.0.1/255.0.255.0]"),
    ("address-of-the-network", "addresses: [banana/24]"),
    ("addresses-is-a-text", "addresses: 10.0.0.1/24"),
    ("address-with-a-second-line", "addresses: [\"10.0.0.1/24\\nDHCP=yes\"]"),
    ("gateway4-is-ipv6", "gateway4: fe80::1"),
    ("gateway6-is-ipv4", "gateway6: 10.0.0.1"),
    ("gateway-is-a-word", "gateway4: router"),
    ("dns-with-a-second-line", "nameservers: {addresses: [\"1.1.1.1\\nDHCP=yes\"]}"),
    ("dns-is-a-name", "nameservers: {addresses: [dns.example.org]}"),
    ("dns-is-a-list", "nameservers: [1.1.1.1]"),
    ("search-with-a-second-line", "nameservers: {search: [\"a\\nDNS=6.6.6.6\"]}"),
    ("search-with-a-space", "nameservers: {search: ['a b']}"),
    ("mac-of-a-group", "macaddress: 01:00:5e:00:00:01"),
    ("mac-too-short", "match: {macaddress: 52:54:00:00:01}"),
    ("mac-with-letters", "match: {macaddress: zz:54:00:00:00:01}"),
    ("mac-zero", "match: {macaddress: 00:00:00:00:00:00}"),
    ("match-empty", "match: {}"),
    ("match-unknown", "match: {mac: 52:54:00:00:00:01}"),
    ("match-name-with-a-space", "match: {name: 'a b'}"),
    ("match-name-with-a-second-line", "match: {name: \"a\\n[Link]\"}"),
    ("match-driver-with-bang", "match: {driver: '!igb'}"),
    ("new-name-too-long", "match: {driver: igb}\nset-name: a-name-too-long-"),
    ("new-name-with-percent", "match: {driver: igb}\nset-name: 'a%b'"),
    ("new-name-with-a-slash", "match: {driver: igb}\nset-name: a/b"),
    ("new-name-is-a-number", "match: {driver: igb}\nset-name: 7"),
    ("new-name-without-match", "set-name: lan0"),
    ("mtu-negative", "mtu: -1"),
    ("mtu-too-large", "mtu: 70000"),
    ("mtu-is-a-word", "mtu: jumbo"),
    ("dhcp-is-a-word", "dhcp4: maybe"),
    ("dhcp-is-a-number", "dhcp4: 2"),
    ("override-mistyped", "dhcp4: true\ndhcp4-overrides: {use-dsn: false}"),
    ("override-metric", "dhcp4: true\ndhcp4-overrides: {route-metric: -5}"),
    ("override-name-with-a-second-line", "dhcp4: true\ndhcp4-overrides: {hostname: \"a\\nb\"}"),
    ("route-without-to", "routes: [{via: 10.0.0.1}]"),
    ("route-without-via", "routes: [{to: default}]"),
    ("route-of-two-families", "routes: [{to: '::/0', via: 10.0.0.1}]"),
    ("route-mistyped", "routes: [{to: default, via: 10.0.0.1, metrik: 5}]"),
    ("route-metric-negative", "routes: [{to: default, via: 10.0.0.1, metric: -1}]"),
    ("route-to-a-word", "routes: [{to: everywhere, via: 10.0.0.1}]"),
    ("route-to-host-bits-of-33", "routes: [{to: 10.0.0.0/33, via: 10.0.0.1}]"),
    ("route-is-a-text", "routes: [10.0.0.1]"),
    ("rule-mistyped", "routing-policy: [{form: 10.0.0.0/8, table: 7}]"),
];

const USER_DATA: &[(&str, &str)] = &[
    ("user-data-is-a-script", "#!/bin/sh\nreboot"),
    ("user-data-is-mime", "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n"),
    ("user-data-is-an-include", "#include\nhttp://example.org/x"),
    ("user-data-is-a-boothook", "#cloud-boothook\nreboot"),
    ("user-data-without-header", "hostname: n1"),
    ("user-data-is-html", "<html>captive portal</html>"),
    ("user-data-is-ignition", "{\"ignition\": {\"version\": \"3.4.0\"}}"),
    ("runcmd", "#cloud-config\nruncmd: [[reboot]]"),
    ("bootcmd", "#cloud-config\nbootcmd: [reboot]"),
    ("packages", "#cloud-config\npackages: [nginx]"),
    ("mounts", "#cloud-config\nmounts: [[/dev/sdb, /data]]"),
    ("password", "#cloud-config\npassword: hunter2"),
    ("chpasswd", "#cloud-config\nchpasswd: {list: 'root:hunter2'}"),
    ("cloud-config-mistyped", "#cloud-config\nhostnam: n1"),
    ("cloud-config-is-a-list", "#cloud-config\n- a"),
    ("password-login", "#cloud-config\nhostname: a\nssh_pwauth: true"),
    ("wireguard", "#cloud-config\nwireguard:\n  interfaces: []"),
    ("lxd", "#cloud-config\nlxd: {init: {}}"),
    ("device-aliases", "#cloud-config\ndevice_aliases: {a: /dev/sdb}"),
    ("file-elsewhere", "#cloud-config\nwrite_files:\n- {path: /usr/bin/x, content: x}"),
    (
        "file-shadow",
        "#cloud-config\nwrite_files:\n- {path: /etc/shadow, content: 'root::0:0:::::'}",
    ),
    (
        "file-of-a-unit",
        "#cloud-config\nwrite_files:\n- {path: /etc/systemd/system/x.service, content: x}",
    ),
    ("file-above", "#cloud-config\nwrite_files:\n- {path: /etc/kiln/../shadow, content: x}"),
    ("file-relative", "#cloud-config\nwrite_files:\n- {path: etc/kiln/x, content: x}"),
    ("file-is-a-folder", "#cloud-config\nwrite_files:\n- {path: /etc/kiln/, content: x}"),
    (
        "file-with-a-second-line",
        "#cloud-config\nwrite_files:\n- {path: \"/etc/kiln/a\\nb\", content: x}",
    ),
    ("file-twice", "#cloud-config\nwrite_files:\n- {path: /etc/motd}\n- {path: /etc/motd}"),
    (
        "file-below-a-file",
        "#cloud-config\nwrite_files:\n- {path: /etc/kiln/a}\n- {path: /etc/kiln/a/b}",
    ),
    ("file-setuid", "#cloud-config\nwrite_files:\n- {path: /etc/kiln/a, permissions: '4755'}"),
    ("file-mode", "#cloud-config\nwrite_files:\n- {path: /etc/kiln/a, permissions: rwx}"),
    ("file-of-nobody", "#cloud-config\nwrite_files:\n- {path: /etc/kiln/a, owner: 'ghost:ghost'}"),
    ("file-appended", "#cloud-config\nwrite_files:\n- {path: /etc/motd, append: true}"),
    (
        "file-from-a-server",
        "#cloud-config\nwrite_files:\n- {path: /etc/motd, source: {uri: 'http://x/'}}",
    ),
    (
        "file-not-base64",
        "#cloud-config\nwrite_files:\n- {path: /etc/motd, encoding: b64, content: '!!!'}",
    ),
    (
        "file-not-gzip",
        "#cloud-config\nwrite_files:\n- {path: /etc/motd, encoding: gz+b64, content: aGVsbG8=}",
    ),
    (
        "file-encoding",
        "#cloud-config\nwrite_files:\n- {path: /etc/motd, encoding: bzip2, content: x}",
    ),
    ("time-with-a-second-line", "#cloud-config\nntp: {servers: [\"a\\nallow\"]}"),
    ("time-of-a-path", "#cloud-config\nntp: {pools: [../x]}"),
    ("trust-in-nothing", "#cloud-config\nca_certs: {remove_defaults: true}"),
    ("trust-in-a-word", "#cloud-config\nca_certs: {trusted: [hello]}"),
    (
        "trust-in-a-private-key",
        "#cloud-config\nca_certs: {trusted: ['-----BEGIN PRIVATE KEY-----']}",
    ),
    ("user-with-sudo", "#cloud-config\nusers: [{name: ops, sudo: 'ALL=(ALL) NOPASSWD:ALL'}]"),
    ("user-with-a-path", "#cloud-config\nusers: [{name: ../../root, ssh_authorized_keys: []}]"),
    ("hosts-managed-perhaps", "#cloud-config\nmanage_etc_hosts: maybe"),
    ("template-undefined", "## template: jinja\n#cloud-config\nhostname: {{ v1.local_hostnam }}"),
    ("template-syntax", "## template: jinja\n#cloud-config\nhostname: {{ v1."),
    (
        "template-endless",
        "## template: jinja\n#cloud-config\n{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    ),
    ("template-huge", "## template: jinja\n#cloud-config\na: {{ 'x' * 9999999 }}"),
    ("template-includes", "## template: jinja\n#cloud-config\n{% include '/etc/shadow' %}"),
    (
        "template-with-an-unknown-key",
        "## template: jinja\n#cloud-config\nhostnam: {{ v1.instance_id }}",
    ),
    ("template-of-another-engine", "## template: mako\n#cloud-config\n"),
];

/// Inputs that no literal can hold.
#[expect(clippy::too_many_lines, reason = "a table")]
fn made() -> Vec<Bad> {
    let one = |name, file: &str, bytes: Vec<u8>| {
        let mut files = vec![(file.to_owned(), bytes)];
        if file != "meta-data" {
            files.push(("meta-data".to_owned(), NAMED.as_bytes().to_vec()));
        }
        Bad { name, source: "nocloud", files }
    };
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..9 {
        let aliases = vec![format!("*a{}", n - 1); 10].join(", ");
        bomb.push_str(&format!("a{n}: &a{n} [{aliases}]\n"));
    }
    let interfaces: String = (0..65).map(|n| format!("  e{n}: {{dhcp4: true}}\n")).collect();
    let routes = "{to: 10.0.0.0/8, via: 10.0.0.1}, ".repeat(257);
    let keys = "x, ".repeat(70);
    vec![
        one("alias-bomb", "meta-data", bomb.into_bytes()),
        one("100000-lists", "meta-data", vec![b'['; 100_000]),
        one("100000-maps", "meta-data", b"{a: ".repeat(100_000)),
        one(
            "deep-blocks",
            "meta-data",
            (0..2000)
                .flat_map(|n| format!("{}a:\n", " ".repeat(n)).into_bytes())
                .take(1 << 20)
                .collect(),
        ),
        one(
            "one-million-keys",
            "meta-data",
            (0..90_000).flat_map(|n| format!("k{n}: 1\n").into_bytes()).collect(),
        ),
        one("long-line", "meta-data", [b"local-hostname: ".to_vec(), vec![b'a'; 900_000]].concat()),
        one("64-mib", "meta-data", vec![b'#'; 64 << 20]),
        one(
            "utf-16",
            "meta-data",
            "\u{feff}local-hostname: n1".encode_utf16().flat_map(u16::to_le_bytes).collect(),
        ),
        one("not-utf-8", "meta-data", b"local-hostname: n\xff1".to_vec()),
        one("nul-byte", "meta-data", b"local-hostname: n1\0".to_vec()),
        one("control-bytes", "meta-data", b"local-hostname: n\x011".to_vec()),
        one(
            "user-data-too-large",
            "user-data",
            [b"#cloud-config\n#".to_vec(), vec![b'x'; 2 << 20]].concat(),
        ),
        one("user-data-gzip-cut", "user-data", b"\x1f\x8b\x08\x00\x00\x00".to_vec()),
        one("user-data-zip", "user-data", b"PK\x03\x04aaaa".to_vec()),
        one("user-data-not-utf-8", "user-data", b"#cloud-config\nhostname: \xc3\x28\n".to_vec()),
        one("network-not-utf-8", "network-config", b"version: 2\n# \xff\n".to_vec()),
        one(
            "network-too-large",
            "network-config",
            [b"version: 2\n#".to_vec(), vec![b'x'; 2 << 20]].concat(),
        ),
        one(
            "network-65-interfaces",
            "network-config",
            format!("version: 2\nethernets:\n{interfaces}").into_bytes(),
        ),
        one(
            "network-257-routes",
            "network-config",
            format!("version: 2\nethernets: {{a: {{routes: [{routes}]}}}}").into_bytes(),
        ),
        one("65-keys", "meta-data", format!("public-keys: [{keys}]").into_bytes()),
        one(
            "65-files",
            "user-data",
            format!("#cloud-config\nwrite_files: [{}]", "{path: /etc/kiln/a}, ".repeat(65))
                .into_bytes(),
        ),
        Bad {
            name: "medium-without-documents",
            source: "nocloud",
            files: vec![("readme".to_owned(), b"hello".to_vec())],
        },
        Bad { name: "medium-empty", source: "nocloud", files: Vec::new() },
        Bad {
            name: "guestinfo-too-large",
            source: "guestinfo",
            files: vec![("guestinfo.metadata".to_owned(), vec![b'#'; 65 << 10])],
        },
        Bad {
            name: "guestinfo-bomb",
            source: "guestinfo",
            files: vec![
                ("guestinfo.metadata".to_owned(), STANDARD.encode(gzip_of_zeros()).into_bytes()),
                ("guestinfo.metadata.encoding".to_owned(), b"gzip+base64".to_vec()),
            ],
        },
        Bad {
            name: "ovf-deep",
            source: "ovf",
            files: vec![("ovf-env.xml".to_owned(), b"<a>".repeat(50_000))],
        },
    ]
}

/// 40 MiB of zeros in some 40 KiB.
fn gzip_of_zeros() -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..40 {
        encoder.write_all(&[0; 1 << 20]).expect("memory");
    }
    encoder.finish().expect("memory")
}
