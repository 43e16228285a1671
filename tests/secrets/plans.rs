// SPDX-License-Identifier: Apache-2.0
//! What is decided and assembled, without an image: no plan holds a secret, and a root holds those
//! that its manifest names.

use std::collections::{BTreeMap, BTreeSet};

use kiln::{
    kubernetes::secrets::{self, Listed},
    outputs,
    pki::leaves::Scope,
    plan::Plan,
    sys,
    tree::Kind,
};
use serde_json::Value;

use super::bench::Bench;
use crate::support::root::Fixture;

#[test]
fn no_plan_check_or_report_holds_a_secret() {
    for delivery in ["baked", "seed"] {
        let bench = Bench::new(delivery);
        bench.issue();
        let needles = bench.needles();
        for arguments in [
            &["plan"][..],
            &["plan", "--json"],
            &["check"],
            &["pki", "list"],
            &["pki", "list", "--json"],
            &["pki", "issue"],
            &["build", "--offline"],
        ] {
            let run = bench.run(arguments);
            assert!(run.status.is_some());
            for text in [run.stdout, run.stderr] {
                assert_eq!(needles.found(text.as_bytes()), BTreeSet::new(), "{arguments:?}");
            }
        }
        let (_, plans) = bench.plans();
        let shown = format!("{plans:?} {:?}", bench.material());
        assert_eq!(needles.found(shown.as_bytes()), BTreeSet::new());
    }
}

#[test]
fn a_plan_lists_what_is_baked_or_comes_by_seed() {
    let lists = |delivery: &str, role: usize| {
        let run = Bench::new(delivery).run(&["plan", "--json"]);
        let plans: Value = serde_json::from_str(&run.stdout).unwrap();
        let names = |key: &str| -> Vec<String> {
            let files = plans[role]["delivered"][key].as_array().unwrap().iter();
            let pair = |file: &Value| {
                format!("{} {}", file["path"].as_str().unwrap(), file["kind"].as_str().unwrap())
            };
            files.map(pair).collect()
        };
        (names("baked"), names("by-seed"))
    };
    let (lb, master, node) = (0, 1, 2);
    let checks = ["ca.crt certificate", "healthcheck-client.pem private-key"];
    let checks = checks.map(|file| format!("/etc/kubernetes/pki/{file}")).to_vec();
    assert_eq!(lists("baked", lb), (checks, vec![]));
    let (baked, by_seed) = lists("baked", master);
    assert_eq!((baked.len(), by_seed.len()), (34, 0));
    for file in [
        "/etc/kubernetes/pki/signer.key authority-key",
        "/etc/kubernetes/pki/sa.key service-account-key",
        "/etc/kubernetes/encryption.yaml encryption-key",
        "/etc/kubernetes/bootstrap-token.yaml bootstrap-token",
        "/etc/etcd/pki/peer.key private-key",
    ] {
        assert!(baked.contains(&file.to_owned()), "{file}: {baked:?}");
    }
    let (baked, by_seed) = lists("seed", node);
    assert_eq!((baked.len(), by_seed.len()), (0, 11));
    let keys: Vec<&String> = by_seed.iter().filter(|file| !file.ends_with("certificate")).collect();
    assert_eq!(
        keys,
        [
            "/etc/etcd/pki/healthcheck-client.key private-key",
            "/etc/etcd/pki/peer.key private-key",
            "/etc/etcd/pki/server.key private-key",
            "/etc/kubernetes/bootstrap-kubelet.conf bootstrap-token",
            "/etc/kubernetes/pki/kube-proxy.key private-key",
        ]
    );
    let text = Bench::new("baked").run(&["plan", "master"]).stdout;
    assert!(text.contains("\n  secrets       /etc/etcd/pki/healthcheck-client.key, "), "{text}");
    assert!(!text.contains("\n  by seed"), "{text}");
    let text = Bench::new("seed").run(&["plan", "node"]).stdout;
    assert!(text.contains("\n  by seed       /etc/etcd/pki/ca.crt, "), "{text}");
    assert!(!text.contains("\n  secrets"), "{text}");
    let text = Bench::new("seed").run(&["check"]).stdout;
    let said = "'master': 34 certificates and keys come by seed; `kiln plan` lists them\n\
                'node': 11 certificates and keys come by seed; `kiln plan` lists them\n";
    assert!(text.ends_with(said), "{text}");
}

/// Where each secret of a root is, by the file of `pki/` that it comes from.
fn found(bench: &Bench, plan: &Plan) -> (BTreeMap<String, Vec<String>>, Vec<Listed>) {
    let scope = Scope::Role(plan.profile.role.clone());
    // As a build takes them, but for one thing: with seeds it does not even read them.
    let given = secrets::delivered(&plan.cluster, &scope, &bench.material(), sys::now()).unwrap();
    let (workspace, _) = bench.plans();
    let root = Fixture::new().with_etcd().assemble_as(plan, &workspace, &given).unwrap();
    let needles = bench.needles();
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, _, inode) in root.tree.iter() {
        let Kind::File(content) = &inode.kind else { continue };
        for secret in needles.found(&content.to_vec().unwrap()) {
            assert_eq!(inode.meta.mode, 0o600, "{path}");
            found.entry(path.to_string()).or_default().push(secret.to_owned());
        }
    }
    let handoff = serde_json::to_vec(&root.handoff).unwrap();
    assert_eq!(needles.found(&handoff), BTreeSet::new());
    (found, outputs::secrets(&given))
}

#[test]
fn a_root_holds_the_secrets_that_the_manifest_lists_and_with_seeds_none() {
    for delivery in ["baked", "seed"] {
        let bench = Bench::new(delivery);
        bench.issue();
        let (_, plans) = bench.plans();
        for (mut plan, count) in plans.into_iter().zip([1, 16, 5]) {
            let role = plan.profile.role.clone();
            // As small as the packages below allow.
            plan.profile.overlays.clear();
            plan.profile.firewall.allow.clear();
            plan.profile.services.mask.clear();
            plan.profile.kernel.modules.clear();
            plan.profile.kernel.initrd_modules.clear();
            for units in [&mut plan.profile.services.enable, &mut plan.profile.services.ready] {
                units.retain(|unit| {
                    unit.starts_with("kube") || unit.starts_with("kiln-") || unit == "etcd.service"
                });
            }
            let (found, listed) = found(&bench, &plan);
            let listed: Vec<&str> = listed.iter().map(|file| &*file.path).collect();
            let paths: Vec<&str> = found.keys().map(String::as_str).collect();
            assert_eq!(paths, listed, "{delivery} {role}");
            let count = if delivery == "baked" { count } else { 0 };
            assert_eq!(listed.len(), count, "{role}: {listed:?}");
            if delivery == "baked" && role == "master" {
                assert_eq!(found["/etc/kubernetes/pki/signer.key"], ["kubernetes-ca.key"]);
                assert_eq!(found["/etc/kubernetes/bootstrap-token.yaml"], ["bootstrap-token.key"]);
            }
        }
    }
}

#[test]
fn a_build_asks_for_certificates_first_and_with_seeds_for_none() {
    let build = |bench: &Bench| {
        let run = bench.run(&["build", "--offline"]);
        assert_eq!((run.status, &*run.stdout), (Some(1), ""), "{}", run.stderr);
        run.stderr
    };
    let bench = Bench::new("baked");
    assert_eq!(
        build(&bench),
        "error: taking the certificates and keys of role 'lb'\n\
         cause: there is no 'pki/kubernetes-ca.crt'\n\
         help:  run `kiln pki init`\n"
    );
    bench.issue();
    let no_lock = build(&bench);
    assert!(no_lock.contains("kiln.lock"), "{no_lock}");
    assert_eq!(build(&Bench::new("seed")), no_lock);

    let token = bench.path("pki/bootstrap-token.key");
    std::fs::write(&token, "abcdef.0123456789abcdef 2020-01-31T12:00:00Z\n").unwrap();
    let refusal = build(&bench);
    let (fact, now) = refusal.split_once("; it is ").unwrap();
    assert_eq!(
        fact,
        "error: taking the certificates and keys of role 'master'\n\
         cause: 'pki/bootstrap-token.key' expired at 2020-01-31T12:00:00Z"
    );
    let help = "help:  remove 'pki/bootstrap-token.key' and run \
                `kiln pki init --only bootstrap-token`\n";
    assert!(now.ends_with(help), "{now}");
}
