// SPDX-License-Identifier: Apache-2.0
//! What `kiln plan --against` says of changes that people make, with the repository's profiles and
//! overlays. `tests/golden/changes/NAME.txt` has each as it is printed.

use std::{fs, process::Command};

use kiln::{
    diagnostic::{Invalid, Source},
    digest::Digest,
    plan::{
        Given, Plan,
        changes::{Changes, Side},
        plan,
    },
    sys,
    workspace::Workspace,
};

use crate::support::qemu::repository;

const CLUSTER: &str = "schema: 1
name: c
version: '1'
kubernetes: { version: v1.30.0, binaries: up }
endpoint: { vip: 10.1.0.100, names: [api.kiln.test] }
networks: { hosts: 10.1.0.0/24, pods: 10.244.0.0/16, services: 10.0.0.0/24, dns: 10.0.0.2 }
etcd: { members: [m1, m2, n1] }
hosts:
  m1: { role: master, address: 10.1.0.1 }
  m2: { role: master, address: 10.1.0.2 }
  n1: { role: node, address: 10.1.0.11 }
  n2: { role: node, address: 10.1.0.12 }
  l1: { role: lb, address: 10.1.0.21, vars: { priority: 100 } }
  l2: { role: lb, address: 10.1.0.22, vars: { priority: 90 } }
";

/// What is replaced in the cluster file.
type Edits = &'static [(&'static str, &'static str)];

const ONE_MEMBER: Edits = &[("[m1, m2, n1]", "[m1]")];
const M3: (&str, &str) = ("  n1:", "  m3: { role: master, address: 10.1.0.3 }\n  n1:");
/// Seeds carry the keys; without the second master.
const KEYS_BY_SEED: Edits = &[
    ("etcd:", "pki: { delivery: seed }\netcd:"),
    ("[m1, m2, n1]", "[m1]"),
    ("  m2: { role: master, address: 10.1.0.2 }\n", ""),
];
const TWO_MORE_MASTERS: Edits =
    &[("[m1]", "[m1, m2, m3]"), ("  n1:", "  m2: { role: master, address: 10.1.0.2 }\n  n1:"), M3];

const VERSION: &str = "version: v1.30.0, binaries: up";
const STATIC_PODS: Edits =
    &[(VERSION, "version: v1.30.0, binaries: up, control-plane: static-pods")];
/// Nodes may run another release than masters.
const TWO_RELEASES: Edits = &[(VERSION, "version: v1.30.0, binaries: 'up/{version}'")];
const OLD_NODES: Edits =
    &[(VERSION, "version: v1.31.1, node-version: v1.30.0, binaries: 'up/{version}'")];

/// Name of the golden, what makes the older cluster file, and what makes the newer one of that.
const CASES: &[(&str, Edits, Edits)] = &[
    ("nothing", &[], &[]),
    ("node-added", &[], &[("  l1:", "  n3: { role: node, address: 10.1.0.13 }\n  l1:")]),
    ("node-removed", &[], &[("  n2: { role: node, address: 10.1.0.12 }\n", "")]),
    (
        "balancer-added",
        &[],
        &[("  l2:", "  l3: { role: lb, address: 10.1.0.23, vars: { priority: 80 } }\n  l2:")],
    ),
    (
        "balancer-removed",
        &[],
        &[("  l1: { role: lb, address: 10.1.0.21, vars: { priority: 100 } }\n", "")],
    ),
    ("master-added-with-keys-by-seed", KEYS_BY_SEED, TWO_MORE_MASTERS),
    ("master-takes-over-etcd", &[], &[("m2, n1]", "m2, m3]"), M3]),
    ("masters-added-to-one", ONE_MEMBER, &[("[m1]", "[m1, m2, n1]")]),
    ("address-of-a-node", &[], &[("10.1.0.12", "10.1.0.14")]),
    ("address-of-a-master", &[], &[("10.1.0.2 ", "10.1.0.4 ")]),
    ("endpoint", &[], &[("10.1.0.100", "10.1.0.101")]),
    ("role", &[], &[("n2: { role: node", "n2: { role: lb")]),
    ("metadata", &[], &[("priority: 90", "priority: 95")]),
    ("patch", &[], &[("v1.30.0", "v1.30.4")]),
    ("patch-of-static-pods", STATIC_PODS, &[("v1.30.0", "v1.30.4")]),
    ("minor", &[], &[("v1.30.0", "v1.31.1")]),
    ("minor-of-static-pods", STATIC_PODS, &[("v1.30.0", "v1.31.1")]),
    (
        "minor-of-masters",
        TWO_RELEASES,
        &[("version: v1.30.0", "version: v1.31.1, node-version: v1.30.0")],
    ),
    ("minor-of-nodes", OLD_NODES, &[(" node-version: v1.30.0,", "")]),
    ("programs-from-elsewhere", &[], &[("binaries: up", "binaries: other")]),
    (
        "master-of-static-pods-replaced",
        STATIC_PODS,
        &[
            ("[m1, m2, n1]", "[m1, m3, n1]"),
            ("m2: { role: master, address: 10.1.0.2 }", "m3: { role: master, address: 10.1.0.3 }"),
        ],
    ),
    ("static-pods-become-services", STATIC_PODS, &[(", control-plane: static-pods", "")]),
    ("services-become-static-pods", &[], STATIC_PODS),
];

fn plans(text: &str) -> (Workspace, Vec<Plan>) {
    let workspace = sys::workspace::load(repository()).unwrap();
    let workspace = Workspace { cluster: Source::new("cluster.yaml", text), ..workspace };
    let given = Given { epoch: 0, init: Digest::of(b"") };
    let plans = plan(&workspace, &[], given).unwrap_or_else(|invalid| panic!("{invalid}"));
    (workspace, plans)
}

fn between(old: &str, new: &str) -> Result<Changes, Invalid> {
    let ((old_workspace, old), (new_workspace, new)) = (plans(old), plans(new));
    let side =
        |workspace, plans: &'static [Plan]| Side { cluster: &plans[0].cluster, plans, workspace };
    let (old, new): (&'static [Plan], &'static [Plan]) = (old.leak(), new.leak());
    Changes::between(side(&old_workspace, old), side(&new_workspace, new))
}

fn edited(name: &str, text: &str, edits: Edits) -> String {
    edits.iter().fold(text.to_owned(), |text, (from, to)| {
        assert_eq!(text.matches(from).count(), 1, "'{from}' stands once, for {name}");
        text.replace(from, to)
    })
}

#[test]
fn every_change_says_what_it_touches_and_what_to_do_in_which_order() {
    let folder = repository().join("tests/golden/changes");
    let mut wrong = Vec::new();
    for (name, older, newer) in CASES {
        let old = edited(name, CLUSTER, older);
        let found = between(&old, &edited(name, &old, newer)).unwrap().to_string();
        let path = folder.join(format!("{name}.txt"));
        if std::env::var_os("KILN_BLESS").is_some() {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&path, &found).unwrap();
        }
        if fs::read_to_string(&path).unwrap_or_default() != found {
            wrong.push(format!("{name}: found\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(fs::read_dir(folder).unwrap().count(), CASES.len(), "a golden has no case");
}

#[test]
fn a_step_that_kubernetes_does_not_have_is_refused_with_the_one_that_it_has() {
    let refusal = |from: &str, to: &str| {
        let text = |section: &str| CLUSTER.replace(VERSION, section);
        between(&text(from), &text(to)).unwrap_err().to_string()
    };
    assert_eq!(
        refusal("version: v1.30.0", "version: v1.33.1"),
        "error: kube-apiserver cannot go from 1.30 to 1.33 at once
 --> cluster.yaml:4:24
  |
4 | kubernetes: { version: v1.33.1 }
  |                        ^^^^^^^
  |
 ::: cluster.yaml:4:24
  |
4 | kubernetes: { version: v1.30.0 }
  |                        ------- what runs now
  |
  = help: upgrade one minor at a time: take a release of 1.31, roll it out, and go on"
    );
    assert_eq!(
        refusal("version: v1.30.0", "version: v1.29.14"),
        "error: kube-apiserver cannot go back from 1.30 to 1.29
 --> cluster.yaml:4:24
  |
4 | kubernetes: { version: v1.29.14 }
  |                        ^^^^^^^^
  |
 ::: cluster.yaml:4:24
  |
4 | kubernetes: { version: v1.30.0 }
  |                        ------- what runs now
  |
  = help: keep to 1.30: an older one need not be able to read what a newer one has stored"
    );
    // The nodes wait until the masters are done.
    let old_nodes = "version: v1.30.0, node-version: v1.27.3, binaries: 'up/{version}'";
    assert_eq!(
        refusal(old_nodes, "version: v1.31.1"),
        "error: masters go first, and kubelet 1.27 is too much older than kube-apiserver 1.31
 --> cluster.yaml:4:24
  |
4 | kubernetes: { version: v1.31.1 }
  |                        ^^^^^^^
  |
 ::: cluster.yaml:4:47
  |
4 | kubernetes: { version: v1.30.0, node-version: v1.27.3, binaries: 'up/{version}' }
  |                                               ------- what runs now
  |
  = help: give nodes a newer 'node-version' first, up to the 1.30 of the masters"
    );
}

#[test]
fn the_program_compares_with_a_file_that_need_not_lie_in_the_workspace() {
    let folder = tempfile::tempdir().unwrap();
    let older = folder.path().join("older.yaml");
    let text = fs::read_to_string(repository().join("cluster.yaml")).unwrap();
    let run = |text: &str, more: &[&str]| {
        fs::write(&older, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        command.arg("-C").arg(repository()).args(["plan", "--against"]).arg(&older).args(more);
        command.output().unwrap()
    };
    let same = run(&text, &[]);
    assert_eq!(String::from_utf8_lossy(&same.stdout), "no machine has to change\n");
    let renumbered = run(&text.replace("192.168.31.71", "192.168.31.72"), &["--json"]);
    let changes: serde_json::Value = serde_json::from_slice(&renumbered.stdout).unwrap();
    assert_eq!(changes["hosts"][0]["host"], "k8s-node-2");
    assert_eq!(changes["hosts"][0]["change"]["address"]["to"], "192.168.31.71/24");
    let newer = run(&text.replace("version: v1.20.2", "version: v1.21.0"), &[]);
    let said = String::from_utf8_lossy(&newer.stderr).into_owned();
    assert_eq!((newer.status.code(), newer.stdout.len()), (Some(2), 0), "{said}");
    assert!(said.starts_with("error: kube-apiserver cannot go back from 1.21 to 1.20\n"), "{said}");
    let broken = run("nmae: x\n", &[]);
    let said = String::from_utf8_lossy(&broken.stderr).into_owned();
    assert_eq!(broken.status.code(), Some(2), "{said}");
    assert!(said.contains("older.yaml:1:1"), "{said}");
}
