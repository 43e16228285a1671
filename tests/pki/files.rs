// SPDX-License-Identifier: Apache-2.0
//! Who holds what: the table of certificates and the files of a node.

use std::{fmt::Write as _, fs, path::Path};

use kiln::{
    cluster::Cluster,
    pki::{
        delivery::{ending, node_files, secrets_of, wanted},
        leaves::{Scope, leaves},
    },
    sys,
};

use super::bench::{Bench, dateless, parsed, quickstart};

fn role(name: &str) -> Scope {
    Scope::Role(name.to_owned())
}

fn host(name: &str) -> Scope {
    Scope::Host(name.to_owned())
}

#[track_caller]
fn golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pki").join(name);
    if std::env::var_os("KILN_BLESS").is_some() {
        fs::write(&path, found).unwrap();
    }
    assert_eq!(found, fs::read_to_string(&path).unwrap_or_default(), "{name}");
}

#[test]
fn the_quickstart_has_these_certificates() {
    let cluster = parsed(&quickstart());
    let mut found = String::new();
    for scope in
        [role("master"), role("node"), role("lb"), host("k8s-master-1"), host("k8s-node-2")]
    {
        writeln!(found, "{scope}").unwrap();
        for leaf in leaves(&cluster, &scope) {
            let ca = leaf.ca.name();
            writeln!(
                found,
                "  {:26}  {ca:14}  {:14}  {} days  {}",
                leaf.name,
                leaf.usage.to_string(),
                leaf.days,
                leaf.subject
            )
            .unwrap();
            let sans: Vec<String> = leaf.sans.iter().map(ToString::to_string).collect();
            if !sans.is_empty() {
                writeln!(found, "    {}", sans.join(" ")).unwrap();
            }
        }
    }
    golden("leaves.txt", &found);
}

#[test]
fn the_quickstart_s_nodes_have_these_files() {
    let cluster = parsed(&quickstart());
    let mut found = String::new();
    for scope in [role("master"), role("node"), role("lb"), host("k8s-node-2")] {
        writeln!(found, "{scope}").unwrap();
        for file in wanted(&cluster, &scope) {
            let kind = if file.kind.is_secret() { "secret" } else { "public" };
            writeln!(
                found,
                "  {kind}  {:04o}  {:4}  {:50}  {}",
                file.mode, file.owner, file.path, file.why
            )
            .unwrap();
        }
    }
    golden("files.txt", &found);
}

#[test]
fn only_masters_hold_a_ca_key_and_only_that_of_kubernetes() {
    let bench = Bench::issued();
    bench.done(&["issue", "--host", "k8s-node-1", "--host", "k8s-master-1"]);
    let (cluster, material, now) = (bench.cluster(), bench.material(), sys::now());
    let ca_keys = ["kubernetes-ca.key", "etcd-ca.key", "front-proxy-ca.key"];
    let held = |scope: &Scope| -> Vec<(String, &str)> {
        let files = node_files(&cluster, scope, &material, now).unwrap();
        let mut held = Vec::new();
        for file in files {
            for key in ca_keys {
                if file.content == material.get(key).unwrap() {
                    held.push((file.path.clone(), key));
                }
            }
        }
        held
    };
    let signer = vec![("/etc/kubernetes/pki/signer.key".to_owned(), "kubernetes-ca.key")];
    assert_eq!(held(&role("master")), signer);
    assert_eq!(held(&host("k8s-master-1")), signer);
    for scope in [role("node"), role("lb"), host("k8s-node-1")] {
        assert_eq!(held(&scope), [], "{scope}");
    }
    // A balancer's key opens one path of the API, and only haproxy can ask for it.
    let of_lb = |cluster: &Cluster| -> Vec<String> {
        secrets_of(cluster, &role("lb")).into_iter().map(|file| file.path).collect()
    };
    assert_eq!(of_lb(&cluster), ["/etc/kubernetes/pki/healthcheck-client.pem"]);
    let with_nginx = parsed(&quickstart().replace("proxy: haproxy", "proxy: nginx"));
    assert_eq!(of_lb(&with_nginx), [""; 0]);
}

#[test]
fn a_node_s_files_are_the_workspace_s() {
    let bench = Bench::issued();
    let files = node_files(&bench.cluster(), &role("node"), &bench.material(), sys::now()).unwrap();
    let of = |path: &str| files.iter().find(|file| file.path == path).unwrap();
    let key = of("/etc/etcd/pki/peer.key");
    assert_eq!((key.mode, key.owner, key.kind.is_secret()), (0o600, "etcd", true));
    assert_eq!(key.content, bench.read("pki/roles/node/etcd-peer.key").as_bytes());
    let ca = of("/etc/kubernetes/pki/ca.crt");
    assert_eq!((ca.mode, ca.owner, ca.kind.is_secret()), (0o644, "root", false));
    assert_eq!(ca.content, bench.read("pki/kubernetes-ca.crt").as_bytes());
    let shown = format!("{files:?} {:?}", bench.material());
    let body = bench.read("pki/roles/node/etcd-peer.key");
    assert!(!shown.contains(body.lines().nth(1).unwrap()), "debugging shows a key");
}

#[test]
fn what_is_missing_or_outdated_is_no_node_s_file() {
    let bench = Bench::issued();
    let told = |cluster: &Cluster, scope: &Scope, later: u64| {
        let result = node_files(cluster, scope, &bench.material(), sys::now() + later);
        let error = result.unwrap_err();
        let help = error.help();
        (error.to_string(), help)
    };
    let cluster = bench.cluster();
    let (fact, help) = told(&cluster, &host("k8s-node-1"), 0);
    assert_eq!(fact, "there is no 'pki/hosts/k8s-node-1/kube-proxy.crt'");
    assert_eq!(help, "run `kiln pki issue --host k8s-node-1`");

    let (fact, help) = told(&cluster, &role("master"), 366 * 86_400);
    assert!(fact.starts_with("'pki/roles/master/apiserver.crt' expired at 20"), "{fact}");
    assert_eq!(help, "run `kiln pki issue --role master`");

    let error = node_files(&cluster, &role("lb"), &bench.material(), sys::now() - 86_400);
    let error = error.unwrap_err();
    let fact = error.to_string();
    assert!(fact.starts_with("'pki/kubernetes-ca.crt' is valid from 20"), "{fact}");
    assert_eq!(error.help(), "set this machine's clock; certificates depend on it");

    let moved = quickstart().replace("192.168.31.35", "192.168.31.36");
    let (fact, help) = told(&parsed(&moved), &role("node"), 0);
    assert_eq!(
        fact,
        "'pki/roles/node/etcd-server.crt' is not what cluster.yaml asks for: \
         its names change: +192.168.31.36 -192.168.31.35"
    );
    assert_eq!(help, "run `kiln pki issue --role node`");
}

#[test]
fn a_build_without_pki_or_with_another_certificate_s_key_is_refused() {
    let bench = Bench::new();
    let now = sys::now();
    let told = |name: &str| {
        let refused = node_files(&bench.cluster(), &role(name), &bench.material(), now);
        let error = refused.unwrap_err();
        format!("{error}; {}", error.help())
    };
    for name in ["lb", "master"] {
        assert_eq!(told(name), "there is no 'pki/kubernetes-ca.crt'; run `kiln pki init`");
    }
    bench.done(&["init"]);
    bench.done(&["issue"]);
    let other = bench.read("pki/roles/node/kube-proxy.key");
    bench.write("pki/roles/lb/healthcheck-client.key", &other, 0o600);
    assert_eq!(
        told("lb"),
        "'pki/roles/lb/healthcheck-client.crt' is not what cluster.yaml asks for: \
         its key belonged to another certificate; run `kiln pki issue --role lb`"
    );
}

#[test]
fn what_is_over_or_has_not_begun_is_no_node_s_file() {
    const DAY: i64 = 86_400;
    let bench = Bench::issued();
    let (cluster, material) = (bench.cluster(), bench.material());
    let told = |role_name: &str, later: i64| {
        let now = sys::now().checked_add_signed(later).unwrap();
        let error = node_files(&cluster, &role(role_name), &material, now).unwrap_err();
        (dateless(&error.to_string()), error.help())
    };
    for (role, later, fact, help) in [
        (
            "master",
            -DAY,
            "'pki/kubernetes-ca.crt' is valid from DATE; it is DATE now",
            "set this machine's clock; certificates depend on it",
        ),
        (
            "node",
            366 * DAY,
            "'pki/roles/node/kube-proxy.crt' expired at DATE; it is DATE now",
            "run `kiln pki issue --role node`",
        ),
        // A new leaf would not help.
        (
            "master",
            3651 * DAY,
            "'pki/kubernetes-ca.crt' expired at DATE; it is DATE now",
            "make a new CA: docs/pki.md, 'A new CA'",
        ),
    ] {
        assert_eq!(told(role, later), (fact.to_owned(), help.to_owned()));
    }
}

#[test]
fn what_ends_within_a_week_is_worth_a_warning() {
    let bench = Bench::issued();
    let (cluster, material) = (bench.cluster(), bench.material());
    let warning = |days: u64| {
        let now = sys::now() + days * 86_400;
        let warning = ending(&cluster, &role("node"), &material, now).unwrap();
        warning.map(|text| dateless(&text))
    };
    assert_eq!(warning(357), None);
    assert_eq!(
        warning(359).unwrap(),
        "4 certificates that role 'node' needs end within 7 days, the first at DATE; \
         `kiln pki list` shows them"
    );
    assert_eq!(ending(&cluster, &role("lb"), &material, sys::now()).unwrap(), None);
}

#[test]
fn a_new_ca_takes_over_while_both_are_trusted() {
    let bench = Bench::issued();
    let files = || node_files(&bench.cluster(), &role("master"), &bench.material(), sys::now());
    let content = |path: &str| {
        let files = files().unwrap();
        let found = files.into_iter().find(|file| file.path == path).unwrap();
        String::from_utf8(found.content).unwrap()
    };
    let (old, old_key) = (bench.read("pki/kubernetes-ca.crt"), bench.read("pki/kubernetes-ca.key"));
    for file in ["pki/kubernetes-ca.crt", "pki/kubernetes-ca.key"] {
        fs::remove_file(bench.path(file)).unwrap();
    }
    bench.done(&["init", "--only", "kubernetes-ca"]);
    let (new, new_key) = (bench.read("pki/kubernetes-ca.crt"), bench.read("pki/kubernetes-ca.key"));

    // Both are trusted, the old one signs: nothing is made again.
    bench.write("pki/kubernetes-ca.crt", &format!("{old}{new}"), 0o644);
    bench.write("pki/kubernetes-ca.key", &old_key, 0o600);
    assert!(!bench.done(&["issue"]).contains("new until"));
    assert_eq!(content("/etc/kubernetes/pki/ca.crt"), format!("{old}{new}"));
    assert_eq!(content("/etc/kubernetes/pki/signer.crt"), old);

    // The new one signs: what the old one signed is good until it is made again.
    bench.write("pki/kubernetes-ca.crt", &format!("{new}{old}"), 0o644);
    bench.write("pki/kubernetes-ca.key", &new_key, 0o600);
    assert_eq!(content("/etc/kubernetes/pki/signer.crt"), new);
    let report = bench.done(&["issue"]);
    assert!(
        report.contains("pki/roles/master/apiserver.crt: new until DATE; another CA had signed it"),
        "{report}"
    );
    assert!(report.contains("pki/roles/master/etcd-peer.crt: right until DATE"), "{report}");

    // The old one is gone.
    bench.write("pki/kubernetes-ca.crt", &new, 0o644);
    assert!(!bench.done(&["issue"]).contains("new until"));
    assert!(files().is_ok());
}
