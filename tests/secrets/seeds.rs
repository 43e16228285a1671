// SPDX-License-Identifier: Apache-2.0
//! `pki.delivery: seed`: what each host's seed carries, and what first boot makes of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kiln::{
    kubernetes::secrets,
    pki::leaves::{Scope, leaves},
    preview::Role,
    seed, sys,
};
use kiln_init::{
    first_boot::{self, Facts, FirstBoot, MachineId, System},
    handoff::Source,
    metadata::Seed,
};
use serde_json::Value;

use super::bench::Bench;

/// One of each kind: a node that is a member of etcd and one that is none.
const HOSTS: [&str; 4] = ["k8s-master-2", "k8s-node-1", "k8s-node-2", "k8s-lb-primary"];
/// Bytes of a kept seed that kiln-init reads again.
const KEPT_MAX: usize = 32 << 20;

fn issued() -> Bench {
    let bench = Bench::new("seed");
    bench.issue();
    bench
}

/// A host's seed, as the library makes it for tests that boot.
fn files(bench: &Bench, host: &str) -> seed::Files {
    let (_, plans) = bench.plans();
    let cluster = &plans[0].cluster;
    let scope = Scope::Host(host.to_owned());
    let given = secrets::files(cluster, &scope, &bench.material(), sys::now()).unwrap();
    seed::files_with(cluster, host, &given).unwrap()
}

/// What user-data writes: path, then owner, permissions and content.
fn written(files: &seed::Files) -> BTreeMap<String, (String, String, Vec<u8>)> {
    let text = str::from_utf8(&files["user-data"]).unwrap();
    let json: Value = serde_json::from_str(text.strip_prefix("#cloud-config\n").unwrap()).unwrap();
    let Some(list) = json.get("write_files") else { return BTreeMap::new() };
    let one = |file: &Value| {
        let field = |key: &str| file[key].as_str().unwrap().to_owned();
        assert_eq!(field("encoding"), "b64");
        let content = STANDARD.decode(field("content")).unwrap();
        (field("path"), (field("owner"), field("permissions"), content))
    };
    list.as_array().unwrap().iter().map(one).collect()
}

/// First boot's decision about these documents.
fn decide(bench: &Bench, host: &str, kept: Option<Seed>) -> (FirstBoot, Seed) {
    let (workspace, plans) = bench.plans();
    let role = plans[0].cluster.hosts[host].role.clone();
    let plan = plans.iter().find(|plan| plan.profile.role == role).unwrap();
    let role = Role::of(plan, &workspace).unwrap();
    let seed = kept.unwrap_or_else(|| {
        role.seed(Source::Nocloud, files(bench, host)).unwrap().0.expect("a seed")
    });
    let decision = first_boot::decide(&Facts {
        handoff: &role.handoff,
        seed: Some(&seed),
        tried: &["nocloud"],
        machine_id: &MachineId::from_random([7; 16]),
        system: &System::sample(),
        templates: &role.templates,
    });
    (decision.unwrap_or_else(|error| panic!("{host}: {error}")), seed)
}

#[test]
fn a_host_s_seed_writes_these_files() {
    let bench = issued();
    let mut found = String::new();
    for host in HOSTS {
        writeln!(found, "{host}").unwrap();
        for (path, (owner, permissions, _)) in written(&files(&bench, host)) {
            writeln!(found, "  {permissions}  {owner:9}  {path}").unwrap();
        }
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/secrets/seeds.txt");
    if std::env::var_os("KILN_BLESS").is_some() {
        fs::write(&golden, &found).unwrap();
    }
    assert_eq!(found, fs::read_to_string(&golden).unwrap_or_default());
}

#[test]
fn openssl_finds_the_host_s_own_names_and_no_other_s_in_every_certificate() {
    let bench = issued();
    let (_, plans) = bench.plans();
    let cluster = &plans[0].cluster;
    let mut certificates = 0;
    for host in HOSTS {
        let written = written(&files(&bench, host));
        for leaf in leaves(cluster, &Scope::Host(host.to_owned())) {
            let file = bench.path("found.crt");
            // One with its key in one file, or each in its own.
            let part = |end: &str| {
                let whole = written.get(&format!("{}.pem", leaf.place));
                &whole.unwrap_or_else(|| &written[&format!("{}.{end}", leaf.place)]).2
            };
            fs::write(&file, part("crt")).unwrap();
            let openssl = |arguments: &[&str]| {
                let mut command = Command::new("openssl");
                let output = command.args(arguments).arg(&file).output().expect("openssl runs");
                assert!(output.status.success(), "{arguments:?}");
                String::from_utf8(output.stdout).unwrap()
            };
            let text = openssl(&["x509", "-noout", "-ext", "subjectAltName", "-in"]);
            let names: BTreeSet<String> = text
                .lines()
                .filter(|line| line.starts_with("    "))
                .flat_map(|line| line.trim().split(", "))
                .map(|name| name.split_once(':').unwrap().1.to_owned())
                .collect();
            let wanted: BTreeSet<String> = leaf.sans.iter().map(ToString::to_string).collect();
            assert_eq!(names, wanted, "{host} {}", leaf.name);
            for (other, facts) in cluster.hosts.iter().filter(|(other, _)| *other != host) {
                let address = facts.address.address.to_string();
                assert!(!names.contains(other) && !names.contains(&address), "{host}: {other}");
            }
            let public = openssl(&["x509", "-noout", "-pubkey", "-in"]);
            fs::write(&file, part("key")).unwrap();
            assert_eq!(openssl(&["pkey", "-pubout", "-in"]), public, "{host} {}", leaf.name);
            certificates += 1;
        }
    }
    assert_eq!(certificates, 12 + 4 + 1 + 1);
}

#[test]
fn a_seed_holds_the_host_s_own_secrets_and_nobody_else_s() {
    let bench = issued();
    let (needles, material) = (bench.needles(), bench.material());
    for host in HOSTS {
        let files = files(&bench, host);
        let own = format!("hosts/{host}/");
        let mut wanted: BTreeSet<&str> = material
            .paths()
            .filter(|path| path.starts_with(&own) && path.ends_with(".key"))
            .collect();
        match host {
            "k8s-master-2" => wanted.extend([
                "bootstrap-token.key",
                "encryption.key",
                "kubernetes-ca.key",
                "service-account.key",
            ]),
            "k8s-lb-primary" => {}
            _ => wanted.extend(["bootstrap-token.key"]),
        }
        let all: Vec<u8> = files.into_values().flatten().collect();
        // Contents are base64, which hides nothing.
        assert_eq!(needles.found(&all), wanted, "{host}");
    }
}

#[test]
fn first_boot_takes_the_seed_and_again_what_it_kept_of_it() {
    let bench = issued();
    for host in HOSTS {
        let (decision, seed) = decide(&bench, host, None);
        assert_eq!(decision.warnings, [""; 0], "{host}");
        for (path, (owner, permissions, content)) in written(&files(&bench, host)) {
            let file = decision.files.iter().find(|file| file.path == path).unwrap();
            let mode = u16::from_str_radix(&permissions, 8).unwrap();
            let id = match &*owner {
                "etcd:etcd" => 454,
                "haproxy:haproxy" => 452,
                _ => 0,
            };
            assert_eq!((file.mode, file.uid, file.gid), (mode, id, id), "{host} {path}");
            assert_eq!(file.bytes, content, "{host} {path}");
        }
        let kept = serde_json::to_vec(&seed).unwrap();
        assert!(kept.len() < KEPT_MAX / 8, "{host}: {} bytes", kept.len());
        let kept: Seed = serde_json::from_slice(&kept).unwrap();
        assert_eq!(decide(&bench, host, Some(kept)).0.files, decision.files, "{host}");
        let told = format!("{:?}", decision.instance);
        assert_eq!(bench.needles().found(told.as_bytes()), BTreeSet::new(), "{host}");
    }
}

#[test]
fn an_image_for_seeds_alone_takes_the_host_s_keys() {
    for (delivery, expected) in [("seed", true), ("baked", false)] {
        let bench = Bench::new(delivery);
        let (workspace, plans) = bench.plans();
        for plan in &plans {
            let handoff = Role::of(plan, &workspace).unwrap().handoff;
            let takes = |path: &str| handoff.write_files.iter().any(|entry| entry == path);
            let role = &*plan.profile.role;
            assert_eq!(takes("/etc/kubernetes/pki/"), expected, "{role} {delivery}");
            assert_eq!(takes("/etc/etcd/pki/"), expected && role != "lb", "{role} {delivery}");
            let owners: Vec<&str> = handoff.owners.iter().map(|owner| &*owner.name).collect();
            let owner = if role == "lb" { "haproxy" } else { "etcd" };
            assert_eq!(owners == [owner], expected, "{role} {delivery}: {owners:?}");
            assert!(!handoff.accounts.iter().any(|account| account.name == "etcd"));
        }
    }
}

#[test]
fn kiln_seed_writes_files_for_their_owner_alone_and_says_once_what_they_are() {
    let bench = issued();
    let run = bench.run(&["seed", "--all", "--out", "seeds"]);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    assert_eq!(
        run.stderr,
        "warning: seeds hold the keys of their hosts: keep them as you keep 'pki/'\n"
    );
    assert_eq!(run.stdout.lines().count(), 6);
    assert_eq!(bench.needles().found(run.stdout.as_bytes()), BTreeSet::new());
    for format in ["vfat", "dir"] {
        let run = bench.run(&["seed", "k8s-node-1", "--format", format, "--out", "seeds"]);
        assert_eq!(run.status, Some(0), "{}", run.stderr);
    }
    for path in ["k8s-node-1.iso", "k8s-node-1.img", "k8s-node-1/user-data", "k8s-node-1/meta-data"]
    {
        let path = bench.path("seeds").join(path);
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o600, "{}", path.display());
    }
    // What `kiln preview` writes of it is what the node would have.
    let preview = ["preview", "--role", "node", "--source", "nocloud"];
    let run = bench.run(&[&preview[..], &["--seed", "seeds/k8s-node-1", "--out", "x"]].concat());
    assert_eq!((run.status, &*run.stderr), (Some(0), ""));
    let key = bench.path("x/etc/etcd/pki/peer.key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o7777, 0o600);
    let wanted = fs::read(bench.path("pki/hosts/k8s-node-1/etcd-peer.key")).unwrap();
    assert_eq!(fs::read(key).unwrap(), wanted);
}

#[test]
fn a_seed_without_its_certificates_is_refused() {
    let bench = Bench::new("seed");
    let refused = |arguments: &[&str]| {
        let run = bench.run(arguments);
        assert_eq!((run.status, &*run.stdout), (Some(1), ""), "{}", run.stderr);
        assert!(!bench.path("seeds").exists());
        run.stderr
    };
    let host = ["seed", "k8s-node-1", "--out", "seeds"];
    assert_eq!(
        refused(&host),
        "error: making the seed of 'k8s-node-1'\n\
         cause: there is no 'pki/kubernetes-ca.crt'\n\
         help:  run `kiln pki init`\n"
    );
    assert_eq!(bench.run(&["pki", "init"]).status, Some(0));
    assert_eq!(
        refused(&host),
        "error: making the seed of 'k8s-node-1'\n\
         cause: there is no 'pki/hosts/k8s-node-1/kube-proxy.crt'\n\
         help:  run `kiln pki issue --host k8s-node-1`\n"
    );
    let (_, plans) = bench.plans();
    let error = seed::files(&plans[0].cluster, "k8s-node-1").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the seed of 'k8s-node-1' needs '/etc/etcd/pki/ca.crt', which was not given"
    );
}

#[test]
fn a_token_that_soon_ends_is_told_of() {
    let bench = issued();
    let (_, plans) = bench.plans();
    let warnings = |host: &str, text: &str| {
        let mut material = bench.material();
        material.insert("bootstrap-token.key", format!("abcdef.0123456789abcdef {text}\n"));
        let scope = Scope::Host(host.to_owned());
        // 2030-01-24T12:00:00Z, so that certificates are over, which others tell.
        secrets::ending(&plans[0].cluster, &scope, &material, 1_895_486_400).unwrap()
    };
    let about_it = |found: Vec<String>| -> Vec<String> {
        found.into_iter().filter(|text| text.contains("token")).collect()
    };
    assert_eq!(
        about_it(warnings("k8s-node-1", "2030-01-31T12:00:00Z")),
        [
            "'pki/bootstrap-token.key' ends at 2030-01-31T12:00:00Z: no kubelet can join with it afterwards"
        ]
    );
    assert_eq!(about_it(warnings("k8s-node-1", "2030-01-31T12:00:01Z")), [""; 0]);
    assert_eq!(about_it(warnings("k8s-lb-primary", "2030-01-25T12:00:00Z")), [""; 0]);
}

#[test]
fn seeds_of_baked_certificates_need_none_and_may_be_read() {
    let bench = Bench::new("baked");
    let run = bench.run(&["seed", "k8s-node-1", "--out", "seeds"]);
    assert_eq!((run.status, &*run.stderr), (Some(0), ""));
    let mode = fs::metadata(bench.path("seeds/k8s-node-1.iso")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o644);
}
