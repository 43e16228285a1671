// SPDX-License-Identifier: Apache-2.0
//! What `kiln pki` makes, judged by openssl.

use std::fs;

use kiln::{
    cluster::Proxy,
    pki::leaves::{LeafSpec, Scope, leaves, scopes},
};

use super::bench::Bench;

/// Every certificate of the bench with its specification.
fn all(bench: &Bench) -> Vec<LeafSpec> {
    let cluster = bench.cluster();
    scopes(&cluster).iter().flat_map(|scope| leaves(&cluster, scope)).collect()
}

fn pki(path: &str) -> String {
    format!("pki/{path}")
}

#[test]
fn openssl_accepts_every_certificate_for_its_purpose_and_no_other() {
    let bench = Bench::issued();
    let specs = all(&bench);
    assert_eq!(specs.len(), 17);
    for spec in specs {
        let (path, ca) = (pki(&spec.certificate()), pki(&spec.ca.certificate()));
        for (purpose, expected) in
            [("sslserver", spec.usage.serves()), ("sslclient", spec.usage.calls())]
        {
            let arguments = ["verify", "-x509_strict", "-CAfile", &ca, "-purpose", purpose, &path];
            let (fine, text) = bench.openssl(&arguments);
            assert_eq!(fine, expected, "{path} as {purpose}: {text}");
        }
        for other in ["pki/kubernetes-ca.crt", "pki/etcd-ca.crt", "pki/front-proxy-ca.crt"] {
            let (fine, _) = bench.openssl(&["verify", "-CAfile", other, &path]);
            assert_eq!(fine, other == ca, "{path} under {other}");
        }
    }
}

#[test]
fn openssl_finds_every_name_of_the_api() {
    let bench = Bench::issued();
    let path = "pki/roles/master/apiserver.crt";
    let verify = |kind: &str, name: &str| {
        bench.openssl(&["verify", "-CAfile", "pki/kubernetes-ca.crt", kind, name, path]).0
    };
    for name in [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "k8s.quickstart.internal",
        "k8s-master-2",
        "localhost",
    ] {
        assert!(verify("-verify_hostname", name), "{name}");
    }
    for address in ["192.168.31.100", "10.0.0.1", "127.0.0.1", "192.168.31.24", "192.168.31.26"] {
        assert!(verify("-verify_ip", address), "{address}");
    }
    assert!(!verify("-verify_hostname", "k8s-node-1"));
    assert!(!verify("-verify_ip", "192.168.31.35"));
}

#[test]
fn keys_belong_to_their_certificates_and_all_are_p_256() {
    let bench = Bench::issued();
    let mut public = Vec::new();
    let symmetric = ["pki/bootstrap-token.key", "pki/encryption.key"];
    for path in bench.files("key").into_iter().filter(|path| !symmetric.contains(&path.as_str())) {
        let text = bench.read(&path);
        assert!(text.starts_with("-----BEGIN PRIVATE KEY-----\n"), "{path} is PKCS#8");
        let key = bench.asked(&["pkey", "-in", &path, "-pubout"]);
        let other = path.replace(".key", if path.contains("service") { ".pub" } else { ".crt" });
        let expected = match other.ends_with(".pub") {
            true => bench.read(&other).replace("\r\n", "\n"),
            false => bench.asked(&["x509", "-in", &other, "-pubkey", "-noout"]),
        };
        assert_eq!(key, expected, "{path}");
        let text = bench.asked(&["pkey", "-in", &path, "-text_pub", "-noout"]);
        assert!(text.contains("prime256v1"), "{path}: {text}");
        public.push(key);
    }
    public.sort();
    public.dedup();
    assert_eq!(public.len(), 4 + 17, "no key is used twice");
}

#[test]
fn openssl_reads_identifiers_constraints_and_dates() {
    let bench = Bench::issued();
    let mut serials = Vec::new();
    for path in bench.files("crt") {
        let text = bench.asked(&["x509", "-in", &path, "-noout", "-text"]);
        for part in ["X509v3 Subject Key Identifier", "X509v3 Authority Key Identifier"] {
            assert!(text.contains(part), "{path}: {text}");
        }
        let is_ca = !path.contains("roles/");
        let (constraint, usage) = match is_ca {
            true => ("CA:TRUE, pathlen:0", "Certificate Sign, CRL Sign"),
            false => ("CA:FALSE", "Digital Signature"),
        };
        assert!(text.contains(constraint) && text.contains(usage), "{path}: {text}");
        let days = |days: u64| (days * 86_400).to_string();
        let life = if is_ca { 3650 } else { 365 };
        let ends = |seconds: &str| bench.openssl(&["x509", "-in", &path, "-checkend", seconds]).0;
        assert!(ends(&days(life - 1)) && !ends(&days(life)), "{path}");
        let serial = bench.asked(&["x509", "-in", &path, "-noout", "-serial"]);
        let serial = serial.trim().trim_start_matches("serial=").to_owned();
        assert!(serial.len() == 32 && serial.as_bytes()[0] < b'8', "{path}: {serial}");
        serials.push(serial);
    }
    serials.sort();
    serials.dedup();
    assert_eq!(serials.len(), 3 + 17);
}

#[test]
fn keys_are_closed_to_others_from_their_first_moment() {
    let bench = Bench::issued();
    for path in bench.files("key") {
        assert_eq!(bench.mode(&path), 0o600, "{path}");
    }
    for folder in ["pki", "pki/roles", "pki/roles/master", "pki/roles/node"] {
        assert_eq!(bench.mode(folder), 0o700, "{folder}");
    }
    assert_eq!(bench.read("pki/.gitignore"), "*\n");
    bench.done(&["kubeconfig", "--user", "a", "--out", "a.conf"]);
    assert_eq!(bench.mode("a.conf"), 0o600);
    let left = fs::read_dir(bench.path("pki")).unwrap();
    let left = left.filter(|entry| {
        entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with(".kiln-")
    });
    assert_eq!(left.count(), 0, "nothing temporary is left");
}

#[test]
fn what_is_right_is_not_made_again() {
    let bench = Bench::issued();
    let before = bench.material();
    let report = bench.done(&["issue"]);
    assert!(report.lines().all(|line| line.ends_with(": right until DATE")), "{report}");
    assert_eq!(bench.material(), before);
}

#[test]
fn a_new_master_says_which_certificates_change() {
    let bench = Bench::issued();
    bench.edit(
        "  k8s-node-1:\n",
        "  k8s-master-3: { role: master, address: 192.168.31.27 }\n  k8s-node-1:\n",
    );
    let report = bench.done(&["issue"]);
    let changed: Vec<&str> =
        report.lines().filter(|line| !line.ends_with("right until DATE")).collect();
    let expected = ["apiserver", "controller-manager-serving", "scheduler-serving"].map(|name| {
        format!(
            "pki/roles/master/{name}.crt: new until DATE; \
             its names change: +k8s-master-3 +192.168.31.27"
        )
    });
    assert_eq!(changed, expected);
}

#[test]
fn a_member_that_left_leaves_certificates_that_nobody_needs() {
    let bench = Bench::issued();
    bench.edit("[k8s-master-1, k8s-master-2, k8s-node-1]", "[k8s-master-1]");
    bench.edit("proxy: haproxy", "proxy: nginx");
    let report = bench.done(&["issue", "--role", "node", "--role", "lb"]);
    assert!(
        report.contains("pki/roles/node/etcd-peer.key: nobody needs it, remove it\n"),
        "{report}"
    );
    assert!(report.contains("role 'lb' needs no certificate\n"), "{report}");
    assert!(
        report.ends_with("pki/roles/lb/healthcheck-client.key: nobody needs it, remove it\n"),
        "{report}"
    );
}

#[test]
fn renewal_makes_new_certificates_under_the_same_ca() {
    let bench = Bench::issued();
    let before = bench.material();
    assert!(!bench.done(&["renew", "--within", "364"]).contains("new until"));
    assert_eq!(bench.material(), before);
    let report = bench.done(&["renew", "--role", "node", "--within", "366"]);
    assert_eq!(report.matches(": new until DATE; renewed\n").count(), 4, "{report}");
    let after = bench.material();
    for path in before.paths() {
        let is_same = before.get(path) == after.get(path);
        assert_eq!(is_same, !path.starts_with("roles/node/"), "{path}");
    }
    bench.asked(&["verify", "-CAfile", "pki/etcd-ca.crt", "pki/roles/node/etcd-peer.crt"]);
}

#[test]
fn a_pair_that_was_interrupted_is_made_again() {
    let bench = Bench::issued();
    let other = bench.read("pki/roles/master/scheduler.key");
    bench.write("pki/roles/master/apiserver.key", &other, 0o600);
    let report = bench.done(&["issue", "--role", "master"]);
    let first = report.lines().next().unwrap();
    assert_eq!(
        first,
        "pki/roles/master/apiserver.crt: new until DATE; its key belonged to another certificate"
    );
}

#[test]
fn hosts_have_sets_of_their_own_with_exact_names() {
    let bench = Bench::new();
    bench.edit("lb:\n  proxy", "pki: { delivery: seed, leaf-days: 90 }\nlb:\n  proxy");
    bench.done(&["init"]);
    bench.done(&["issue"]);
    let cluster = bench.cluster();
    assert!(scopes(&cluster).contains(&Scope::Host("k8s-node-2".to_owned())));
    let mut cluster = cluster;
    cluster.lb.proxy = Proxy::Nginx;
    assert!(!scopes(&cluster).contains(&Scope::Host("k8s-lb-backup".to_owned())));
    let text = bench.asked(&[
        "x509",
        "-in",
        "pki/hosts/k8s-master-1/etcd-peer.crt",
        "-noout",
        "-ext",
        "subjectAltName",
    ]);
    assert!(
        text.ends_with(
            "DNS:k8s-master-1, DNS:localhost, IP Address:127.0.0.1, IP Address:192.168.31.24\n"
        ),
        "{text}"
    );
    let path = "pki/hosts/k8s-node-2/kube-proxy.crt";
    assert!(!bench.openssl(&["x509", "-in", path, "-checkend", "7776000"]).0, "90 days");
}

#[test]
fn a_kubeconfig_is_yaml_with_a_certificate_that_openssl_accepts() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let bench = Bench::issued();
    let user = "jane@example.org";
    let said = bench.done(&[
        "kubeconfig",
        "--user",
        user,
        "--group",
        "viewers",
        "--days",
        "7",
        "--out",
        "jane.conf",
    ]);
    assert_eq!(said, "jane.conf: O=viewers, CN=jane@example.org until DATE\n");
    let text = bench.read("jane.conf");
    let json: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(json["current-context"], "jane@example.org@quickstart");
    let cluster = &json["clusters"][0]["cluster"];
    assert_eq!(cluster["server"], "https://192.168.31.100:6443");
    let data = |value: &serde_json::Value| {
        String::from_utf8(STANDARD.decode(value.as_str().unwrap()).unwrap()).unwrap()
    };
    assert_eq!(data(&cluster["certificate-authority-data"]), bench.read("pki/kubernetes-ca.crt"));
    let credentials = &json["users"][0]["user"];
    bench.write("jane.crt", &data(&credentials["client-certificate-data"]), 0o644);
    bench.write("jane.key", &data(&credentials["client-key-data"]), 0o600);
    bench.asked(&[
        "verify",
        "-CAfile",
        "pki/kubernetes-ca.crt",
        "-purpose",
        "sslclient",
        "jane.crt",
    ]);
    assert_eq!(
        bench.asked(&["x509", "-in", "jane.crt", "-noout", "-subject"]),
        "subject=O = viewers, CN = jane@example.org\n"
    );
    assert_eq!(
        bench.asked(&["x509", "-in", "jane.crt", "-pubkey", "-noout"]),
        bench.asked(&["pkey", "-in", "jane.key", "-pubout"])
    );
    assert!(!bench.openssl(&["x509", "-in", "jane.crt", "-checkend", "604800"]).0, "7 days");
}

#[test]
fn the_list_is_sorted_by_expiry() {
    let bench = Bench::issued();
    let text = bench.done(&["list"]);
    assert_eq!(text.lines().count(), 21);
    // Whole days: of a year, a second is gone already.
    let is_year = |line: &&str| {
        ["365", "364"].iter().any(|days| line.starts_with(&format!("DATE    {days} days  pki/")))
    };
    let years: Vec<&str> = text.lines().take_while(is_year).collect();
    assert_eq!(years.len(), 18, "{text}");
    assert_eq!(years.iter().filter(|line| line.contains("pki/roles/")).count(), 17, "{text}");
    assert!(years.iter().any(|line| line.contains("pki/bootstrap-token.key")), "{text}");
    assert!(text.ends_with("CN=quickstart kubernetes-ca\n"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&bench.done(&["list", "--json"])).unwrap();
    let last = json[20].as_object().unwrap();
    assert_eq!(last["until"], "DATE");
    assert_eq!(last["path"], "pki/kubernetes-ca.crt");
    assert_eq!(last["subject"], "CN=quickstart kubernetes-ca");
    assert!((3649..=3650).contains(&last["days-left"].as_i64().unwrap()), "{last:?}");
    bench.done(&["list", "--within", "364"]);
    let (status, stdout, stderr) = bench.run(&["list", "--within", "366"]);
    assert_eq!((status, stdout.lines().count()), (Some(1), 21));
    assert_eq!(
        stderr,
        "error: 18 of 21 certificates and tokens end within 366 days\n\
         help:  run `kiln pki renew --within 366`; for a CA or the token see docs/pki.md, 'Errors'\n"
    );
}
