// SPDX-License-Identifier: Apache-2.0
//! The program, and Debian's registry; what it then has is read by another tool.

use std::{fs, process::Output};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kiln::digest::Digest;
use serde_json::Value;

use super::bench::Bench;
use crate::support::{disk_tools::tool, registry::Registry};

/// `abc` by bcrypt, as OpenBSD's test vectors have it.
const USER: &str = "me:$2a$06$If6bvum7DFjUnE9p2uDeDu0YHzrHM6tf.iqN8.yx.jNN1ILEf7h0i\n";

/// Larger than what is sent at once, and not a multiple of it.
const LARGE: usize = (40 << 20) + 5;

pub(super) fn large() -> Bench {
    let bench = Bench::empty();
    let mut bytes: Vec<u8> = (0..LARGE).map(|n| (n / 1000) as u8).collect();
    bytes[5 << 20..20 << 20].fill(0);
    let files =
        [("quickstart-lb.raw".to_owned(), bytes), ("quickstart-lb.ipxe".to_owned(), Vec::new())];
    bench.build_of("lb", "7", 0, &files);
    bench
}

/// Runs `kiln` in the bench's folder.
pub(super) fn kiln(bench: &Bench, environment: &[(&str, &str)], arguments: &[&str]) -> Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_kiln"))
        .env_clear()
        .env("KILN_CACHE", "/nonexistent")
        .envs(environment.iter().copied())
        .current_dir(bench.path("."))
        .args(arguments)
        .output()
        .unwrap()
}

#[track_caller]
pub(super) fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
pub(super) fn refused(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn debian_s_registry_takes_a_release_and_another_tool_reads_it() {
    let registry = Registry::start();
    let bench = large();
    let target = format!("oci://{}/os/quickstart:7", registry.host());
    let name = done(&kiln(&bench, &[], &["publish", &target]));
    let (tagged, digest) = name.trim().split_once("@sha256:").unwrap();
    assert_eq!(tagged, format!("{target}-lb"));

    let reference = tagged.replacen("oci:", "docker:", 1);
    let raw = tool("skopeo", &[&"inspect", &"--raw", &"--tls-verify=false", &reference]);
    assert_eq!(Digest::of(raw.as_bytes()).to_string(), digest);
    let manifest: Value = serde_json::from_str(&raw).unwrap();
    let files = bench.files("out", "lb");
    assert_eq!(manifest["layers"].as_array().unwrap().len(), files.len());
    // It checks the digest of each blob that it copies.
    let copy = bench.path("copy");
    let to = format!("dir:{}", copy.display());
    let from = format!("docker://{}/os/quickstart@sha256:{digest}", registry.host());
    let options: [&dyn AsRef<std::ffi::OsStr>; 6] =
        [&"copy", &"--quiet", &"--insecure-policy", &"--src-tls-verify=false", &from, &to];
    tool("skopeo", &options);
    for layer in manifest["layers"].as_array().unwrap() {
        let title = layer["annotations"]["org.opencontainers.image.title"].as_str().unwrap();
        let blob = layer["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        assert!(fs::read(copy.join(blob)).unwrap() == files[title], "{title}");
    }

    let folder = done(&kiln(&bench, &[], &["pull", "lb", &target, "--out", "pulled"]));
    assert_eq!(folder, "./pulled/lb\n");
    bench.assert_pulled("lb");
    // Again, nothing is sent; and another release stays away.
    done(&kiln(&bench, &[], &["publish", "lb", &target]));
    bench.build("lb", "8", 0);
    let report = refused(&kiln(&bench, &[], &["publish", "lb", &target]));
    assert!(report.contains("is another release\nhelp:  name a target with the new version"));
    done(&kiln(&bench, &[], &["publish", "--replace", "lb", &target]));
    done(&kiln(&bench, &[], &["pull", "lb", &target, "--out", "pulled"]));
    bench.assert_pulled("lb");
}

#[test]
fn debian_s_registry_wants_a_password_and_gets_it() {
    let registry = Registry::start_for(USER);
    let bench = Bench::new();
    let target = format!("oci://{}/os:7", registry.host());
    let auth = STANDARD.encode("me:abc");
    let config = format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, registry.host());
    fs::create_dir(bench.path("docker")).unwrap();
    fs::write(bench.path("docker/config.json"), &config).unwrap();
    let report = refused(&kiln(&bench, &[], &["publish", "lb", &target]));
    assert!(report.contains("answers 401 Unauthorized and offers no token\nhelp:  check the cred"));
    let folder = bench.path("docker");
    let me = [("DOCKER_CONFIG", folder.to_str().unwrap())];
    done(&kiln(&bench, &me, &["publish", "lb", &target]));
    done(&kiln(&bench, &me, &["pull", "lb", &target, "--out", "pulled"]));
    bench.assert_pulled("lb");
    let wrong = config.replace(&auth, &STANDARD.encode("me:wrong-one"));
    fs::write(bench.path("docker/config.json"), wrong).unwrap();
    let report = refused(&kiln(&bench, &me, &["publish", "lb", &target]));
    assert!(report.contains("answers 401 Unauthorized\nhelp:  check the cred"), "{report}");
    assert!(!report.contains("wrong-one") && !report.contains(&auth), "{report}");
}
