// SPDX-License-Identifier: Apache-2.0
//! `kiln preview`: first boot's own code on metadata that people send, good and bad.
//!
//! `tests/golden/preview/bad.txt` has what each bad input is refused with; `KILN_BLESS=1` writes
//! it anew, for a person to read.

mod guide;
mod inputs;
mod networks;
mod peers;
mod sources;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use inputs::Bad;

/// Seconds of processor time, and bytes of memory of its own, that any metadata may cost.
const CPU: &str = "--cpu=2";
const DATA: &str = "--data=67108864";

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What `kiln preview` says of these files as the role `node`.
pub(crate) fn preview(source: &str, files: &[(String, Vec<u8>)], out: &Path) -> Output {
    let scratch = tempfile::tempdir().unwrap();
    let seed = scratch.path().join("seed");
    fs::create_dir(&seed).unwrap();
    for (name, bytes) in files {
        let path = seed.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    Command::new("prlimit")
        .args([CPU, DATA, env!("CARGO_BIN_EXE_kiln"), "-C"])
        .arg(repository())
        .args(["preview", "--role", "node", "--source", source, "--seed"])
        .arg(&seed)
        .arg("--out")
        .arg(out)
        .output()
        .expect("prlimit runs")
}

fn golden() -> PathBuf {
    repository().join("tests/golden/preview/bad.txt")
}

/// The line that names the cause.
fn cause(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("cause: "));
    line.unwrap_or_else(|| panic!("no cause in: {text}")).to_owned()
}

#[test]
fn bad_metadata_is_refused_with_one_message_and_nothing_is_written() {
    let all = inputs::all();
    assert!(all.len() >= 250, "{} inputs", all.len());
    let mut found = BTreeMap::new();
    let mut failures = Vec::new();
    for Bad { name, source, files } in all {
        let scratch = tempfile::tempdir().unwrap();
        let out = scratch.path().join("out");
        let output = preview(source, &files, &out);
        if output.status.code() != Some(1) || out.exists() {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            failures.push(format!("{name}: {}: {text}", output.status));
            continue;
        }
        let cause = cause(&output);
        assert!(!cause.chars().any(char::is_control), "{name}: {cause:?}");
        for secret in ["hunter2", "c2VjcmV0", "PRIVATE KEY"] {
            assert!(!cause.contains(secret), "{name}: {cause}");
        }
        assert!(found.insert(name, cause).is_none(), "'{name}' is there twice");
    }
    assert!(failures.is_empty(), "{} were not refused:\n{}", failures.len(), failures.join("\n"));
    let text: String = found.iter().map(|(name, cause)| format!("{name}: {cause}\n")).collect();
    if std::env::var_os("KILN_BLESS").is_some() {
        fs::write(golden(), &text).unwrap();
    }
    let expected = fs::read_to_string(golden()).unwrap();
    for (line, expected) in text.lines().zip(expected.lines()) {
        assert_eq!(line, expected);
    }
    assert_eq!(text.lines().count(), expected.lines().count());
}

/// What is accepted and worth a line: on the node's console as here.
#[test]
fn what_has_no_effect_is_a_warning() {
    let user_data = "#cloud-config\nhostname: n1\n";
    let named = "instance-id: i-1\nlocal-hostname: n1\n";
    let v1 = "version: 1\nconfig:\n- {type: physical, name: lan0, mac_address: 52:54:00:00:00:01, subnets: [{type: dhcp}]}\n";
    let without_growth = format!("{user_data}growpart: {{mode: auto}}\n");
    for (source, files, warning) in [
        (
            "nocloud",
            vec![("user-data", user_data)],
            "nocloud medium 'seed': there is no meta-data; the instance is 'nocloud'",
        ),
        (
            "nocloud",
            vec![("meta-data", named), ("vendor-data", "#cloud-config\n")],
            "nocloud medium 'seed': vendor-data is not read",
        ),
        (
            "nocloud",
            vec![("meta-data", named), ("user-data", &without_growth)],
            "user-data: 'growpart': has no effect: 'var' grows by itself, and nothing else does",
        ),
        (
            "http",
            vec![("meta-data", named), ("network-config", v1)],
            "lan0: found by MAC address, and the kernel's names stay: a server was asked over them",
        ),
        (
            "guestinfo",
            vec![("guestinfo.metadata", named), ("guestinfo.vendordata", "x")],
            "guestinfo.vendordata is not read",
        ),
    ] {
        let files: Vec<(String, Vec<u8>)> = files
            .into_iter()
            .map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()))
            .collect();
        let scratch = tempfile::tempdir().unwrap();
        let output = preview(source, &files, &scratch.path().join("out"));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{text}");
        assert_eq!(text, format!("warning: {warning}\n"));
    }
}

#[test]
fn wrong_usage_is_another_exit_status() {
    let scratch = tempfile::tempdir().unwrap();
    let seed = scratch.path().join("seed");
    fs::create_dir(&seed).unwrap();
    let full = scratch.path().join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("a"), "").unwrap();
    let out = scratch.path().join("out");
    let run = |role: &str, source: &str, seed: &Path, out: &Path| {
        Command::new(env!("CARGO_BIN_EXE_kiln"))
            .arg("-C")
            .arg(repository())
            .args(["preview", "--role", role, "--source", source, "--seed"])
            .arg(seed)
            .arg("--out")
            .arg(out)
            .output()
            .unwrap()
    };
    for (output, words) in [
        (run("nod", "nocloud", &seed, &out), "there is no role 'nod'"),
        (run("node", "floppy", &seed, &out), "invalid value 'floppy'"),
        (run("node", "nocloud", &scratch.path().join("gone"), &out), "gone"),
        (run("node", "nocloud", &seed, &full), "is not empty"),
        (run("node", "nocloud", &seed, &seed.join("a").join("b")), ""),
    ] {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let code = if words.is_empty() { 1 } else { 2 };
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(words), "{text}");
    }
    assert_eq!(fs::read(full.join("a")).unwrap(), b"");
    assert!(!out.exists());
}

#[test]
fn the_same_metadata_gives_the_same_host_whichever_source_it_comes_from() {
    let network = "version: 2\nethernets: {eth0: {addresses: [10.0.0.2/24]}}";
    let meta = "instance-id: i-1\nlocal-hostname: n1.example.org\n";
    let inner = format!("{meta}network:\n  {}", network.replace('\n', "\n  "));
    let nocloud = |source| (source, vec![("meta-data", meta), ("network-config", network)]);
    let sources = [
        nocloud("nocloud"),
        nocloud("http"),
        ("guestinfo", vec![("guestinfo.metadata", &*inner)]),
        (
            "cmdline",
            vec![(
                "cmdline",
                "quiet ds=nocloud;h=n1.example.org;i=i-1 network-config=dmVyc2lvbjogMgpldGhlcm5ldHM6IHtldGgwOiB7YWRkcmVzc2VzOiBbMTAuMC4wLjIvMjRdfX0K\n",
            )],
        ),
        (
            "config-drive",
            vec![
                (
                    "openstack/latest/meta_data.json",
                    "{\"uuid\": \"i-1\", \"hostname\": \"n1.example.org\"}",
                ),
                (
                    "openstack/latest/network_data.json",
                    "{\"links\": [{\"id\": \"a\", \"name\": \"eth0\", \"type\": \"phy\", \"ethernet_mac_address\": \"52:54:00:00:00:01\"}], \"networks\": [{\"id\": \"n\", \"link\": \"a\", \"type\": \"ipv4\", \"ip_address\": \"10.0.0.2/24\"}]}",
                ),
            ],
        ),
        (
            "ovf",
            vec![(
                "ovf-env.xml",
                "<?xml version=\"1.0\"?>\n<Environment xmlns=\"http://schemas.dmtf.org/ovf/environment/1\" xmlns:oe=\"http://schemas.dmtf.org/ovf/environment/1\">\n<PropertySection>\n<Property oe:key=\"hostname\" oe:value=\"n1.example.org\"/>\n<Property oe:key=\"instance-id\" oe:value=\"i-1\"/>\n<Property oe:key=\"network-config\" oe:value=\"bmV0d29yazoge3ZlcnNpb246IDIsIGV0aGVybmV0czoge2V0aDA6IHthZGRyZXNzZXM6IFsxMC4wLjAuMi8yNF19fX0K\"/>\n</PropertySection></Environment>",
            )],
        ),
    ];
    for (source, files) in sources {
        let scratch = tempfile::tempdir().unwrap();
        let out = scratch.path().join("out");
        let files: Vec<(String, Vec<u8>)> = files
            .into_iter()
            .map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()))
            .collect();
        let output = preview(source, &files, &out);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{source}: {text}");
        let read = |path: &str| fs::read_to_string(out.join(path)).unwrap();
        assert_eq!(read("etc/hostname"), "n1\n", "{source}");
        assert!(read("etc/hosts").contains("10.0.0.2 n1.example.org n1\n"), "{source}");
        let networks = fs::read_dir(out.join("etc/systemd/network")).unwrap();
        let all: String =
            networks.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
        assert!(all.contains("10.0.0.2/24"), "{source}: {all}");
    }
}
