// SPDX-License-Identifier: Apache-2.0
//! What people write: a good workspace is planned, a bad one is refused with the exact messages
//! of `tests/golden/config/NAME.txt`. `KILN_BLESS=1` writes them anew, for a person to read.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

use std::{fs, path::PathBuf, process::Command};

use kiln::{
    diagnostic::{Invalid, Source},
    digest::Digest,
    plan::{Given, Plan, Text, plan},
    workspace::{Overlay, OverlayFile, Workspace},
};

fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/config")
}

fn workspace() -> Workspace {
    kiln::sys::workspace::load(&golden().join("workspace")).unwrap()
}

fn planned(workspace: &Workspace, roles: &[&str]) -> Result<Vec<Plan>, Invalid> {
    let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
    plan(workspace, &roles, Given { epoch: 1, init: Digest::of(b"init") })
}

/// Words of `kubernetes:` that are none.
const KUBERNETES_WORDS: &[u8] = b"schema: 1
name: c
version: '1'
kubernetes: { version: v1.19.3, binaries: ../up, control-plane: pods, proxy-mode: userspace, node-prefix: 31, flanel: 1 }
endpoint: { vip: 192.168.31.100 }
networks: { hosts: 192.168.31.0/24, pods: 10.244.0.0/16, services: 10.0.0.0/24, dns: 10.0.0.2 }
etcd: { members: [m1], heartbeat-ms: 1 }
hosts: { m1: { role: master, address: 192.168.31.1 } }
";

/// Each key is right and they do not fit one another.
const KUBERNETES_TOGETHER: &[u8] = b"schema: 1
name: c
version: '1'
kubernetes: { version: v1.28.0, binaries: up, proxy-mode: nftables }
endpoint: { vip: 10.9.31.100 }
networks: { hosts: 10.9.0.0/16, pods: 10.244.0.0/20, services: 10.0.0.0/24, dns: 10.0.0.2 }
etcd: { members: [m1] }
hosts: { m1: { role: master, address: 10.9.0.1 }, n1: { role: node, address: 10.9.31.7 } }
";

/// Flags that no program gets.
const KUBERNETES_FLAGS: &[u8] = include_bytes!("config/flags.yaml");

/// A container runtime whose overlay is not there.
const STATIC_PODS: &[u8] = b"schema: 1
name: c
version: '1'
kubernetes: { version: v1.20.2, binaries: up, control-plane: static-pods }
endpoint: { vip: 192.168.31.100 }
networks: { hosts: 192.168.31.0/24, pods: 10.244.0.0/16, services: 10.0.0.0/24, dns: 10.0.0.2 }
etcd: { members: [m1] }
hosts: { m1: { role: master, address: 192.168.31.1 } }
";

/// Add-ons that are none, and a network without its daemon.
const ADDON_NAMES: &[u8] = b"schema: 1
name: c
version: '1'
kubernetes: { version: v1.28.0, binaries: up, network: flannel, addons: [dsn, dns, dns, Web, gone] }
endpoint: { vip: 10.9.31.100 }
networks: { hosts: 10.9.31.0/24, pods: 10.244.0.0/16, services: 10.0.0.0/24, dns: 10.0.0.2 }
etcd: { members: [m1] }
hosts: { m1: { role: master, address: 10.9.31.1 }, n1: { role: node, address: 10.9.31.7 } }
";

/// One add-on, with files that are not as they must be.
const ADDON_FILES: &[u8] = b"schema: 1
name: c
version: '1'
kubernetes: { version: v1.28.0, binaries: up, addons: [dns, old] }
endpoint: { vip: 10.9.31.100 }
networks: { hosts: 10.9.31.0/24, pods: 10.244.0.0/16, services: 10.0.0.0/24, dns: 10.0.0.2 }
etcd: { members: [m1] }
hosts: { m1: { role: master, address: 10.9.31.1 }, n1: { role: node, address: 10.9.31.7 } }
";

/// A cluster with this under `kubernetes`.
macro_rules! kubernetes {
    ($section:literal) => {
        Write(
            "cluster.yaml",
            concat!(
                "schema: 1\nname: c\nversion: '1'\nkubernetes: { ",
                $section,
                " }\nendpoint: { vip: 10.9.0.100 }\n\
                 networks: { hosts: 10.9.0.0/24, pods: 10.244.0.0/16, services: 10.0.0.0/24, dns: 10.0.0.2 }\n\
                 etcd: { members: [m1] }\n\
                 hosts: { m1: { role: master, address: 10.9.0.1 } }\n"
            )
            .as_bytes(),
        )
    };
}

/// A change of the good workspace.
#[derive(Clone, Copy)]
enum Change {
    /// In a file, text that stands there once is replaced.
    Edit(&'static str, &'static str, &'static str),
    /// A file has this content.
    Write(&'static str, &'static [u8]),
}

use Change::{Edit, Write};

impl Change {
    fn apply(self, workspace: &mut Workspace) {
        match self {
            Edit(path, from, to) => {
                let text = text_of(workspace, path);
                assert_eq!(text.matches(from).count(), 1, "'{from}' stands once in {path}");
                set(workspace, path, text.replace(from, to).as_bytes());
            }
            Write(path, bytes) => set(workspace, path, bytes),
        }
    }
}

fn text_of(workspace: &Workspace, path: &str) -> String {
    match path.split_once('/') {
        None => workspace.cluster.text.clone(),
        Some((_, name)) => workspace.profiles[name.trim_end_matches(".yaml")].text.clone(),
    }
}

fn set(workspace: &mut Workspace, path: &str, bytes: &[u8]) {
    let source = || Source::new(path, str::from_utf8(bytes).unwrap());
    match path.split_once('/') {
        None => workspace.cluster = source(),
        Some(("profiles", name)) => {
            workspace.profiles.insert(name.trim_end_matches(".yaml").to_owned(), source());
        }
        Some((folder, rest)) => {
            let (name, file) = rest.split_once('/').unwrap();
            let trees = match folder {
                "addons" => &mut workspace.addons,
                _ => &mut workspace.overlays,
            };
            let empty = || Overlay { name: name.to_owned(), files: Default::default() };
            let files = &mut trees.entry(name.to_owned()).or_insert_with(empty).files;
            files.insert(file.to_owned(), OverlayFile::file(bytes, false));
        }
    }
}

/// Name of the golden file, and what is changed.
const BAD: &[(&str, &[Change])] = &[
    (
        "three-files",
        &[
            Edit("cluster.yaml", "name: test", "nmae: test\nname: test"),
            Edit("cluster.yaml", "endpoint: { vip: 10.1.0.100 }", "endpoint: { vip: 10.1.0.100, prot: 6443 }"),
            Edit("cluster.yaml", "10.1.0.2,", "10.1.0.1,"),
            Edit("profiles/base.yaml", "  arguments:", "  argumetns:"),
            Edit("profiles/lb.yaml", "ready: [haproxy]", "raedy: [haproxy]"),
        ],
    ),
    (
        "bios",
        &[
            Edit("profiles/lb.yaml", "extends: base", "extends: base\nboot: { bios: true }\ndisk: { size: 2338MiB }"),
            Edit("profiles/lb.yaml", "keepalived]", "keepalived, grub-pc-bin]"),
            Edit("profiles/base.yaml", "arguments: [", "arguments: ['a=b\\c', "),
        ],
    ),
    // YAML itself.
    ("empty-files", &[Write("cluster.yaml", b""), Write("profiles/lb.yaml", b"# nothing\n")]),
    ("no-map", &[Write("cluster.yaml", b"- a\n"), Write("profiles/lb.yaml", b"text\n")]),
    ("tab", &[Write("profiles/lb.yaml", b"services:\n\tenable: [a]\n")]),
    ("no-yaml", &[Write("profiles/lb.yaml", b"services: [a\nsysctl: {}\n")]),
    ("crlf", &[Write("profiles/lb.yaml", b"extends: base\r\nsysclt: {}\r\n")]),
    ("duplicate-keys", &[Edit("cluster.yaml", "  l2:", "  l1:"), Edit("profiles/base.yaml", "overlays: [base]", "kernel: {}")]),
    (
        "anchors",
        &[Write(
            "profiles/lb.yaml",
            b"extends: base\nservices: &s { enable: [haproxy] }\nfirewall: *s\nsysctl: { <<: *s }\nkernel: !!map {}\n",
        )],
    ),
    ("documents", &[Write("profiles/lb.yaml", b"extends: base\n---\nextends: node\n")]),
    ("key-no-text", &[Write("profiles/lb.yaml", b"extends: base\n? [a, b]\n: c\n")]),
    ("deep", &[Write("profiles/lb.yaml", b"vars: { a: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]] }\n")]),
    ("escapes", &[Write("profiles/lb.yaml", b"extends: base\n\"a\\u001b[31m\\n\": 1\n")]),
    // Types.
    (
        "wrong-types",
        &[
            Edit("cluster.yaml", "schema: 1", "schema: 2"),
            Edit("cluster.yaml", "members: [m1, m2, n1]", "members: m1"),
            Edit("cluster.yaml", "n1: { role: node, address: 10.1.0.3 }", "n1: node"),
            Edit("profiles/base.yaml", "[systemd-sysv, chrony, nftables]", "{ chrony: true }"),
            Edit("profiles/base.yaml", "vm.overcommit_memory: 1", "vm.overcommit_memory: [1]"),
            Edit("profiles/base.yaml", "modules: [overlay]", "modules:"),
        ],
    ),
    ("missing-keys", &[Write("cluster.yaml", b"networks: {}\nhosts:\n  a: {}\n"), Edit("profiles/base.yaml", "  package: linux-image-cloud-amd64\n", "")]),
    (
        "words",
        &[
            Edit("profiles/lb.yaml", "extends: base", "extends: base\noutputs: [raw, qcow]\nmetadata: { sources: [nocluod, smbios], absent: dhpc, wait: 9999 }\ndebian: { architecture: arm64, updates: yes, suite: Trixie }"),
            Edit("cluster.yaml", "vip: 10.1.0.100", "vip: 10.1.0.300, port: 65536"),
        ],
    ),
    // The cluster.
    (
        "addresses",
        &[
            Edit("cluster.yaml", "10.1.0.1,", "10.1.0.100,"),
            Edit("cluster.yaml", "00:00:00:02", "00:00:00:01"),
            Edit("cluster.yaml", "10.1.0.3 ", "10.2.0.3 "),
            Edit("cluster.yaml", "10.1.0.4/24", "10.1.0.255/16"),
            Edit("cluster.yaml", "10.1.0.5,", "10.1.0.0,"),
        ],
    ),
    (
        "vip-in-pods",
        &[Edit("cluster.yaml", "10.1.0.100", "10.244.0.100"), Edit("cluster.yaml", "10.1.0.3 ", "10.0.0.3 ")],
    ),
    (
        "twins",
        &[
            Edit("cluster.yaml", "10.1.0.2, mac: \"52:54:00:00:00:02\"", "10.1.0.1, mac: \"52-54-00-00-00-01\""),
            Edit("cluster.yaml", "10.1.0.5,", "10.1.0.4,"),
        ],
    ),
    ("proxy", &[Edit("cluster.yaml", "etcd:\n", "lb: { proxy: nginks, router-id: 256, prxy: nginx }\netcd:\n")]),
    (
        "proxy-without-profile",
        &[
            Edit("cluster.yaml", "etcd:\n", "lb: { proxy: nginx }\netcd:\n"),
            Edit("profiles/lb.yaml", "extends: base", "extends: [base, cluster.lb.proxy]"),
        ],
    ),
    (
        "proxy-without-overlay",
        &[
            Edit("profiles/lb.yaml", "extends: base", "extends: [base, cluster.lb.proxy]"),
            Write("profiles/haproxy.yaml", b"overlays: [haproxy]\n"),
        ],
    ),
    ("extends-word", &[Edit("profiles/lb.yaml", "extends: base", "extends: [base, cluster.lb.prxy]")]),
    ("vip-outside", &[Edit("cluster.yaml", "10.1.0.100", "10.9.0.100")]),
    (
        "networks",
        &[
            Edit("cluster.yaml", "10.244.0.0/16", "10.0.0.0/8"),
            Edit("cluster.yaml", "dns: 10.0.0.2", "dns: 10.3.0.2\n  gateway: 10.2.0.1"),
        ],
    ),
    ("network-forms", &[Edit("cluster.yaml", "10.244.0.0/16", "10.244.0.1/16"), Edit("cluster.yaml", "10.0.0.0/24", "10.0.0.0")]),
    ("dns-first", &[Edit("cluster.yaml", "10.0.0.2", "10.0.0.1")]),
    ("kubernetes-words", &[Write("cluster.yaml", KUBERNETES_WORDS)]),
    (
        "debian-from",
        &[Write(
            "profiles/lb.yaml",
            b"packages: [haproxy]\nkernel: { package: linux }\n\
              debian: { from: { haproxy: trixie-updates, Nginx: forky, runc: For-ky, curl: sid } }\n",
        )],
    ),
    ("kubernetes-flags", &[Write("cluster.yaml", KUBERNETES_FLAGS)]),
    (
        "kubernetes-node-prefix",
        &[kubernetes!("version: v1.30.1, network: none, node-prefix: 16")],
    ),
    ("kubernetes-future", &[kubernetes!("version: v1.37.0, node-version: v1.19.16")]),
    ("kubernetes-newer-nodes", &[kubernetes!("version: v1.30.1, node-version: v1.31.0")]),
    ("kubernetes-old-nodes", &[kubernetes!("version: v1.27.16, node-version: v1.24.17")]),
    ("kubernetes-old-nodes-1-28", &[kubernetes!("version: v1.28.0, node-version: v1.24.17")]),
    (
        "kubernetes-node-proxy",
        &[kubernetes!("version: v1.33.0, node-version: v1.30.14, proxy-mode: nftables")],
    ),
    (
        "kubernetes-one-place",
        &[kubernetes!("version: v1.30.1, node-version: v1.30.0, binaries: up")],
    ),
    (
        "kubernetes-plain-http",
        &[kubernetes!("version: v1.30.1, binaries: 'http://mirror.example/{version}/{program}'")],
    ),
    (
        "kubernetes-binaries",
        &[kubernetes!("version: v1.30.1, binaries: 'https://mirror.example/{version}/{programs}'")],
    ),
    (
        "kubernetes-address",
        &[kubernetes!("version: v1.30.1, binaries: 'https://mirror.example/{version}/'")],
    ),
    ("kubernetes-together", &[Write("cluster.yaml", KUBERNETES_TOGETHER)]),
    ("static-pods", &[Write("cluster.yaml", STATIC_PODS)]),
    (
        "addon-names",
        &[
            Write("cluster.yaml", ADDON_NAMES),
            Write("addons/dns/a.yaml", b"apiVersion: v1\nkind: Pod\nmetadata: { name: a }\n"),
        ],
    ),
    (
        "addon-files",
        &[
            Write("cluster.yaml", ADDON_FILES),
            Write("addons/dns/a.yaml", b"apiVersion: v1\nkind: Pod\nmetadata: { name: a }\n---\napiVersion: batch/v1beta1\nkind: CronJob\nmetadata: { name: b }\n---\nkind: Pod\nmetadata: { name: [c] }\n"),
            Write("addons/dns/b.yaml.tera", b"apiVersion: v1\nkind: Pod\nmetadata:\n  name: {{ clutser.name }}\n"),
            Write("addons/dns/c.yml", b"apiVersion: v1\n"),
            Write("addons/dns/d.yaml", b"apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: { name: d, namespace: a }\nroleRef: { kind: ClusterRole, name: cluster-admin }\n"),
            Write("addons/dns/addon.yaml", b"schema: 1\nimages:\n- { name: busybox, archive: ../x.tar, sha256: abc }\n- { nmae: a.b/c:1, archive: x.tar }\n- { pull: busybox, archive: x.tar, allow-plain-http: maybe }\n- { pull: a.b/c:1@sha256:0 }\nkubernetes: { min: 1.19, max: latest }\n"),
            Write("addons/old/addon.yaml", b"schema: 1\nkubernetes: { max: '1.24' }\n"),
        ],
    ),
    (
        "addon-objects",
        &[
            Write("cluster.yaml", ADDON_FILES),
            Write("addons/dns/a.yaml", b"apiVersion: v1\nkind: Pod\nmetadata: { name: a }\n---\napiVersion: batch/v1beta1\nkind: CronJob\nmetadata: { name: b }\n---\nkind: Pod\nmetadata: { name: [c] }\n"),
            Write("addons/dns/b.yaml.tera", b"apiVersion: v1\nkind: Pod\nmetadata:\n  name: {{ clutser.name }}\n"),
            Write("addons/dns/c.yml", b"apiVersion: v1\n"),
            Write("addons/old/d.yaml", b"apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: { name: d, namespace: a }\nroleRef: { kind: ClusterRole, name: cluster-admin }\n---\napiVersion: v1\nkind: Pod\nmetadata: { name: a }\n"),
        ],
    ),
    ("peers", &[Edit("cluster.yaml", "vars: { priority: 90 }", "vars: { priority: 90, peers: [m1] }")]),
    ("etcd-even", &[Edit("cluster.yaml", "[m1, m2, n1]", "[m1, m2]")]),
    ("etcd-members", &[Edit("cluster.yaml", "[m1, m2, n1]", "[m1, m1, n2]")]),
    ("pki-words", &[Edit("cluster.yaml", "hosts:\n  m1", "pki: { delivery: backed, ca-days: 0, leaf-days: 1y, ca: x }\nhosts:\n  m1")]),
    ("pki-days", &[Edit("cluster.yaml", "hosts:\n  m1", "pki: { leaf-days: 3650 }\nhosts:\n  m1")]),
    ("roles", &[Edit("cluster.yaml", "n1: { role: node", "n1: { role: ndoe"), Edit("cluster.yaml", "l2: { role: lb", "l2: { role: storage")]),
    (
        "hosts",
        &[
            Edit("cluster.yaml", "  l1: { role: lb, address: 10.1.0.4/24,", "  l1: { role: lb,"),
            Edit("cluster.yaml", "  l2:", "  L_2:"),
            Edit("cluster.yaml", "  n1: {", "  localhost: { ssh-authorized-keys: [x], mac: \"01:00:00:00:00:00\","),
        ],
    ),
    (
        "host-names",
        &[Edit("cluster.yaml", "  n1:", "  localhost:"), Edit("cluster.yaml", "[m1, m2, n1]", "[m1]")],
    ),
    ("no-hosts", &[Write("cluster.yaml", b"schema: 1\nname: a\nversion: 1\nendpoint: { vip: 10.1.0.9 }\nnetworks: { hosts: 10.1.0.0/24, pods: 10.2.0.0/16, services: 10.3.0.0/24, dns: 10.3.0.2 }\netcd: { members: [a] }\nhosts: {}\n")]),
    ("names", &[Edit("cluster.yaml", "name: test", "name: Test_1"), Edit("cluster.yaml", "version: \"1\"", "version: 1_2")]),
    ("label", &[Edit("cluster.yaml", "name: test", "name: a-name-that-is-too-long-for-gpt")]),
    // Profiles.
    (
        "forms",
        &[Edit(
            "profiles/lb.yaml",
            "sysctl: { net.ipv4.ip_nonlocal_bind: 1 }",
            "sysctl: { ip_forward: 1, net.ipv4.ip_forward: true }\n\
             kernel: { modules: [ip_vs.ko], arguments: [quiet splash, roothash=1] }\n\
             users: { Lb: { uid: 0 }, lb: { uid: 70000, home: lb } }\n\
             files: { etc/x: { text: a }, /etc/y: { text: a, mode: 0888 } }\n\
             prune: { drop: [usr/share, /a/**b] }\n\
             disk: { size: 4GB, root: 1.5GiB }\n\
             binaries: { /usr/bin/x: { source: ../x, sha256: abc } }",
        ),
        Edit("profiles/lb.yaml", "enable: [haproxy]", "enable: [ha proxy, x.servise], default-target: multi-user")],
    ),
    (
        "firewall",
        &[Edit("profiles/lb.yaml", "[tcp 6443, vrrp from hosts]", "[tcp, tpc 6443, tcp 0, udp 9-8, icmp from here, vrrp 112]")],
    ),
    ("overlay-unknown", &[Edit("profiles/lb.yaml", "overlays: [lb]", "overlays: [bl, lb]")]),
    ("extends-unknown", &[Edit("profiles/lb.yaml", "extends: base", "extends: [bse]")]),
    ("extends-cycle", &[Edit("profiles/base.yaml", "overlays: [base]", "extends: lb\noverlays: [base]")]),
    ("extends-broken", &[Write("profiles/base.yaml", b"a: [")]),
    (
        "take-out",
        &[
            Edit("profiles/lb.yaml", "enable: [haproxy]", "enable: [haproxy, -haproxi, haproxy.service]"),
            Edit("profiles/lb.yaml", "net.ipv4.ip_nonlocal_bind: 1", "vm.overcommit_memori: null"),
        ],
    ),
    ("disk", &[Edit("profiles/lb.yaml", "extends: base", "extends: base\ndisk: { size: 1GiB, esp: 32MiB, root: 3GiB, verity: 8388609 }")]),
    (
        "contradictions",
        &[Edit(
            "profiles/lb.yaml",
            "packages: [haproxy, keepalived]",
            "packages: [haproxy, perl-base]\nmetadata: { sources: [-*] }\n\
             users:\n  a: { uid: 900, admin: true }\n  b: { uid: 900, admin: true }\n\
             groups:\n  a: { gid: 900 }\n  b: { gid: 900 }",
        ),
        Edit("profiles/lb.yaml", "enable: [haproxy]", "enable: [haproxy, ldconfig]")],
    ),
    (
        "files",
        &[Edit(
            "profiles/lb.yaml",
            "extends: base",
            "extends: base\nfiles:\n  /etc/a: { text: a, symlink: b }\n  /etc/b: {}\n  /usr/c: { boot-template: x }\n  /etc/d: { build-template: \"{{ nobody }}\" }",
        )],
    ),
    // Templates.
    (
        "build-templates",
        &[
            Write("overlays/lb/etc/a.tera", b"one\n{{ clutser.name }}\n"),
            Write("overlays/lb/etc/b.tera", b"{{ cluster.nmae }}"),
            Write("overlays/lb/etc/c.tera", b"{% for h in hosts %}\n"),
            Write("overlays/lb/etc/d.tera", b"{{ role | shout }}"),
            Write("overlays/lb/etc/e.tera", b"{% include \"a\" %}"),
        ],
    ),
    (
        "boot-templates",
        &[
            Write("overlays/lb/etc/a.j2", b"one\n{{ vars.prority }}\n"),
            Write("overlays/lb/etc/b.j2", b"{% for x in %}"),
            Write("overlays/lb/etc/d.j2.tera", b"{% for h in hosts %}{{ h.name }}\n{% endfor %}{% raw %}{{ nobody }}{% endraw %}\n"),
            Write("overlays/lb/etc/c.j2", b"{{ hostname | shout }}"),
            Edit("cluster.yaml", "vars: { priority: 90 }", "vars: {}"),
        ],
    ),
    (
        "template-files",
        &[
            Write("overlays/lb/usr/a.j2", b"{{ hostname }}"),
            Write("overlays/lb/etc/peers.conf", b""),
            Write("overlays/lb/etc/b.tera", b"\xff"),
        ],
    ),
];

#[test]
fn bad_input_is_refused_with_exact_messages() {
    let bless = std::env::var_os("KILN_BLESS").is_some();
    let mut wrong = Vec::new();
    for (name, changes) in BAD {
        let mut workspace = workspace();
        changes.iter().for_each(|change| change.apply(&mut workspace));
        let found = match planned(&workspace, &[]) {
            Ok(_) => "nothing was refused\n".to_owned(),
            Err(invalid) => format!("{invalid}\n"),
        };
        let path = golden().join(format!("{name}.txt"));
        if bless {
            fs::write(&path, &found).unwrap();
        }
        if fs::read_to_string(&path).unwrap_or_default() != found {
            wrong.push(format!("{name}: found\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_golden_message_has_its_case() {
    let names = fs::read_dir(golden()).unwrap().map(|entry| entry.unwrap().file_name());
    for name in names.map(|name| name.into_string().unwrap()) {
        if let Some(name) = name.strip_suffix(".txt") {
            assert!(BAD.iter().any(|(case, _)| *case == name), "no case makes {name}.txt");
        }
    }
}

#[test]
fn a_role_is_asked_for_by_its_name() {
    let workspace = workspace();
    let plans = planned(&workspace, &["lb"]).unwrap();
    assert_eq!(plans.len(), 1);
    let all: Vec<String> =
        planned(&workspace, &[]).unwrap().into_iter().map(|plan| plan.profile.role).collect();
    assert_eq!(all, ["lb", "master", "node"]);
    assert_eq!(
        planned(&workspace, &["lbb"]).unwrap_err().to_string(),
        "error: there is no role 'lbb'\nhelp:  did you mean 'lb'?"
    );
}

#[test]
fn the_digest_of_a_plan_moves_with_everything_that_decides_the_image() {
    let digest = |changes: &[Change]| {
        let mut workspace = workspace();
        changes.iter().for_each(|change| change.apply(&mut workspace));
        planned(&workspace, &["lb"]).unwrap()[0].digest
    };
    let same = digest(&[]);
    let comment = Edit("cluster.yaml", "schema: 1\n", "# a comment\nschema: 1\n");
    assert_eq!(digest(&[comment]), same);
    assert_eq!(digest(&[Edit("profiles/node.yaml", "containerd", "containerd, runc")]), same);
    for change in [
        Edit("cluster.yaml", "version: \"1\"", "version: \"2\""),
        Edit("profiles/base.yaml", "nftables]\n  omit", "nftables, dbus]\n  omit"),
        Edit("profiles/lb.yaml", "tcp 6443", "tcp 6444"),
        Write("overlays/lb/etc/more.conf", b"x"),
    ] {
        assert_ne!(digest(&[change]), same);
    }
    let workspace = workspace();
    let other =
        plan(&workspace, &["lb".to_owned()], Given { epoch: 1, init: Digest::of(b"other") });
    assert_ne!(other.unwrap()[0].digest, same);
}

#[test]
fn a_plan_prints_every_decision() {
    let plans = planned(&workspace(), &[]).unwrap();
    let found: Vec<String> = plans
        .iter()
        .map(|plan| Text(plan).to_string().replace(&plan.digest.short(), "DIGEST"))
        .collect();
    let found = found.join("\n");
    let path = golden().join("plan.out");
    if std::env::var_os("KILN_BLESS").is_some() {
        fs::write(&path, &found).unwrap();
    }
    assert_eq!(found, fs::read_to_string(&path).unwrap_or_default());
}

#[test]
fn the_program_reports_all_problems_and_ends_with_2() {
    let kiln = |folder: &std::path::Path, args: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_kiln")).arg("-C").arg(folder).args(args).output().unwrap()
    };
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let good = kiln(&golden().join("workspace"), &["check"]);
    assert_eq!(
        text(good.stdout),
        "checked 4 profiles and 2 overlays for roles lb, master, node: ok\n"
    );
    assert_eq!(text(good.stderr), "");
    let json = kiln(&golden().join("workspace"), &["plan", "lb", "--json"]);
    let plans: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(plans[0]["profile"]["firewall"]["allow"][0], "tcp 6443");

    let folder = tempfile::tempdir().unwrap();
    let empty = kiln(folder.path(), &["check"]);
    assert_eq!(empty.status.code(), Some(2));
    assert!(text(empty.stderr).contains("there is no 'cluster.yaml' in"));
    fs::create_dir(folder.path().join("profiles")).unwrap();
    fs::write(folder.path().join("cluster.yaml"), "nmae: x\n").unwrap();
    fs::write(folder.path().join("profiles/a.yaml"), "sysclt: {}\n").unwrap();
    let bad = kiln(folder.path(), &["check"]);
    let report = text(bad.stderr);
    assert_eq!(bad.status.code(), Some(2));
    assert!(
        report.contains("cluster.yaml:1:1") && report.contains("profiles/a.yaml:1:1"),
        "{report}"
    );
    assert!(!report.contains('\u{1b}'), "no color unless a terminal reads it");
    fs::write(folder.path().join("profiles/b.yml"), "").unwrap();
    let misnamed = kiln(folder.path(), &["plan"]);
    assert_eq!(misnamed.status.code(), Some(2));
    assert!(text(misnamed.stderr).contains("rename it to 'b.yaml'"));
    fs::remove_file(folder.path().join("profiles/b.yml")).unwrap();
    fs::write(folder.path().join("cluster.yaml"), b"name: \xff\n").unwrap();
    assert!(
        text(kiln(folder.path(), &["check"]).stderr)
            .contains("'cluster.yaml' is no UTF-8 text: byte 6")
    );
}

#[test]
fn overlays_keep_contents_links_and_the_executable_bit_only() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::write(root.join("cluster.yaml"), "").unwrap();
    fs::create_dir_all(root.join("overlays/o/etc/empty")).unwrap();
    fs::write(root.join("overlays/o/etc/empty/.gitkeep"), "").unwrap();
    for (name, mode) in [("a", 0o600), ("b", 0o777), ("c", 0o664)] {
        let path = root.join("overlays/o").join(name);
        fs::write(&path, name).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let big = vec![7; 3 << 20];
    fs::write(root.join("overlays/o/big"), &big).unwrap();
    symlink("../a", root.join("overlays/o/etc/link")).unwrap();
    let load = || kiln::sys::workspace::load(root).unwrap().overlays["o"].files.clone();
    let json = serde_json::to_value(load()).unwrap();
    let file = |bytes: &[u8], executable| serde_json::json!({ "file": { "digest": Digest::of(bytes), "executable": executable } });
    let expected = serde_json::json!({
        "a": file(b"a", false),
        "b": file(b"b", true),
        "big": file(&big, false),
        "c": file(b"c", false),
        "etc": "directory",
        "etc/empty": "directory",
        "etc/link": { "symlink": "../a" },
    });
    assert_eq!(json, expected);
    let OverlayFile::File { content, .. } = &load()["big"] else { panic!("a file") };
    assert_eq!(content.to_vec().unwrap(), big);
    let fifo = root.join("overlays/o/pipe");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let refused = kiln::sys::workspace::load(root).unwrap_err().to_string();
    assert!(refused.contains("is neither file, folder nor link"), "{refused}");
}
