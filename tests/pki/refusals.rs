// SPDX-License-Identifier: Apache-2.0
//! What is refused, in exact words.

use kiln::{
    pki::{Ca, authority},
    sys,
};

use super::bench::Bench;

/// Puts an etcd CA into the bench that was made at another time.
fn made_at(bench: &Bench, now: u64) {
    let fresh = sys::random::fresh().unwrap();
    let pair = authority::found(Ca::Etcd, "quickstart", 10, fresh, now).unwrap();
    bench.write("pki/etcd-ca.crt", &pair.certificate, 0o644);
    bench.write("pki/etcd-ca.key", pair.key.reveal(), 0o600);
}

#[test]
fn authorities_come_first() {
    let bench = Bench::new();
    assert_eq!(
        bench.refused(&["issue"]),
        "error: opening the authorities\n\
         cause: there is no 'pki/kubernetes-ca.crt'\n\
         help:  run `kiln pki init`"
    );
    assert_eq!(
        bench.refused(&["list"]),
        "error: there is no 'pki/kubernetes-ca.crt'\nhelp:  run `kiln pki init`"
    );
}

#[test]
fn nothing_is_overwritten() {
    let bench = Bench::issued();
    let before = bench.material();
    assert_eq!(
        bench.refused(&["init", "--only", "etcd-ca", "--only", "service-account"]),
        "error: making the authorities\n\
         cause: 'pki/etcd-ca.crt', 'pki/etcd-ca.key', 'pki/service-account.pub', \
         'pki/service-account.key' would be overwritten\n\
         help:  name what is missing with --only, or follow docs/pki.md, 'A new CA'"
    );
    bench.write("a.conf", "mine", 0o600);
    assert_eq!(
        bench.refused(&["kubeconfig", "--user", "a", "--out", "a.conf"]),
        "error: making a kubeconfig for 'a'\n\
         cause: 'a.conf' exists\n\
         help:  name another file, or move that one away"
    );
    assert_eq!(bench.read("a.conf"), "mine");
    assert_eq!(bench.material(), before);
}

#[test]
fn a_ca_signs_only_while_it_is_valid() {
    let bench = Bench::issued();
    let before = bench.material();
    made_at(&bench, 1_000_000_000);
    assert_eq!(
        bench.refused(&["issue"]),
        "error: opening the authorities\n\
         cause: 'pki/etcd-ca.crt' expired at DATE; it is DATE now\n\
         help:  make a new CA: docs/pki.md, 'A new CA'"
    );
    made_at(&bench, sys::now() + 86_400);
    assert_eq!(
        bench.refused(&["renew"]),
        "error: opening the authorities\n\
         cause: 'pki/etcd-ca.crt' is valid from DATE; it is DATE now\n\
         help:  set this machine's clock; certificates depend on it"
    );
    // Ten days are less than a certificate's year.
    made_at(&bench, sys::now());
    assert_eq!(
        bench.refused(&["issue", "--role", "node"]),
        "error: making the certificates of role 'node'\n\
         cause: a certificate until DATE would outlive 'pki/etcd-ca.crt', which ends at DATE\n\
         help:  lower 'pki.leaf-days', or make a new CA: docs/pki.md, 'A new CA'"
    );
    for path in before.paths().filter(|path| path.starts_with("roles/")) {
        assert_eq!(bench.material().get(path), before.get(path), "{path}");
    }
}

#[test]
fn a_key_and_its_certificate_belong_together() {
    let bench = Bench::issued();
    bench.write("pki/etcd-ca.key", &bench.read("pki/kubernetes-ca.key"), 0o600);
    assert_eq!(
        bench.refused(&["issue"]),
        "error: opening the authorities\n\
         cause: key 'pki/etcd-ca.key' does not belong to certificate 'pki/etcd-ca.crt'\n\
         help:  restore it from a backup"
    );
}

#[test]
fn a_leaf_is_no_authority() {
    let bench = Bench::issued();
    for extension in ["crt", "key"] {
        let leaf = bench.read(&format!("pki/roles/node/etcd-peer.{extension}"));
        bench.write(&format!("pki/etcd-ca.{extension}"), &leaf, 0o600);
    }
    assert_eq!(
        bench.refused(&["issue"]),
        "error: opening the authorities\n\
         cause: 'pki/etcd-ca.crt' holds a certificate that may not sign others\n\
         help:  restore it from a backup"
    );
}

#[test]
fn a_text_that_is_no_certificate_or_key_is_named() {
    let bench = Bench::issued();
    let good = bench.read("pki/etcd-ca.crt");
    let cut: String = good.lines().take(5).map(|line| format!("{line}\n")).collect();
    let key = bench.read("pki/etcd-ca.key");
    for (text, what) in [
        ("", "no certificate in PEM form"),
        ("hello\n", "no certificate in PEM form"),
        (&*cut, "something that is no certificate in PEM form"),
        (&*good.replace("MII", "AAA"), "something that is no certificate in PEM form"),
        (&*key, "something that is no certificate in PEM form"),
    ] {
        bench.write("pki/etcd-ca.crt", text, 0o644);
        let expected = format!("'pki/etcd-ca.crt' holds {what}\nhelp:  restore it from a backup");
        assert_eq!(
            bench.refused(&["issue"]),
            format!("error: opening the authorities\ncause: {expected}")
        );
        if !text.is_empty() {
            continue;
        }
        assert_eq!(
            bench.refused(&["list"]),
            format!("error: reading the certificates\ncause: {expected}")
        );
    }
    bench.write("pki/etcd-ca.crt", &good, 0o644);
    bench.write("pki/roles/node/etcd-peer.key", "-----BEGIN PRIVATE KEY-----\n", 0o600);
    assert_eq!(
        bench.refused(&["issue"]),
        "error: making the certificates of role 'node'\n\
         cause: 'pki/roles/node/etcd-peer.key' holds no private key in PEM form (PKCS#8)\n\
         help:  restore it from a backup"
    );
}

#[test]
fn a_key_that_others_can_read_is_not_used() {
    let bench = Bench::issued();
    bench.write("pki/etcd-ca.key", &bench.read("pki/etcd-ca.key"), 0o640);
    for command in ["issue", "renew", "list"] {
        assert_eq!(
            bench.refused(&[command]),
            "error: others than its owner may use key 'pki/etcd-ca.key': its mode is 0640\n\
             help:  run `chmod 600 ./pki/etcd-ca.key`; if others could read it, replace it"
        );
    }
}

#[test]
fn roles_and_hosts_are_those_of_the_cluster() {
    let bench = Bench::issued();
    for (arguments, expected) in [
        (
            ["issue", "--role", "maser"],
            "error: cluster.yaml has no role 'maser'\nhelp:  did you mean 'master'?\n",
        ),
        (
            ["renew", "--host", "k8s-node-3"],
            "error: cluster.yaml has no host 'k8s-node-3'\nhelp:  did you mean 'k8s-node-1'?\n",
        ),
    ] {
        assert_eq!(bench.run(&arguments), (Some(2), String::new(), expected.to_owned()));
    }
    let long = "x".repeat(65);
    let (status, _, text) = bench.run(&["kubeconfig", "--user", &long, "--out", "a"]);
    assert_eq!(status, Some(2));
    assert!(text.ends_with("help:  write a name of 1 to 64 bytes\n"), "{text}");
}
