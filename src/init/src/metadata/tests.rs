// SPDX-License-Identifier: Apache-2.0

use proptest::prelude::*;
use serde_json::json;

use super::*;

pub(super) const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGKD7u3nEKj0nqfVZp7TyM2Y6Qy9Cwk1mX1xk0m0c3dE admin@example";

pub(super) fn seed(meta_data: &str, user_data: &str) -> Seed {
    Seed {
        origin: "nocloud medium 'vdb'".to_owned(),
        meta_data: Some(meta_data.as_bytes().to_vec()),
        user_data: Some(user_data.as_bytes().to_vec()),
        ..Seed::default()
    }
}

fn of_meta_data(text: &str) -> Result<Metadata, String> {
    seed(text, "").read(|_| Value::Null).map_err(|error| error.to_string())
}

pub(super) fn of_user_data(text: &str) -> Result<Metadata, String> {
    seed("{}", text).read(|_| Value::Null).map_err(|error| error.to_string())
}

#[test]
fn meta_data_gives_name_id_keys_and_vars() {
    let text = format!(
        "instance-id: i-1\nlocal-hostname: n1.example.org\npublic-keys:\n  a: {KEY}\n  0: [{KEY}]\n\
         vars: {{priority: 100, on: yes}}\nregion: north\n"
    );
    let metadata = of_meta_data(&text).unwrap();
    assert_eq!(metadata.instance_id, "i-1");
    let name = metadata.hostname.unwrap();
    assert_eq!((name.short(), name.full()), ("n1", "n1.example.org"));
    assert_eq!(metadata.ssh_keys.len(), 1);
    assert_eq!(Value::Object(metadata.vars), json!({"priority": 100, "on": true}));
    assert_eq!(metadata.delivered["region"], "north");
    assert_eq!(metadata.warnings, [""; 0]);
}

#[test]
fn absent_is_not_invalid() {
    let nothing = Seed::default().read(|_| Value::Null).unwrap();
    assert_eq!((nothing.instance_id.as_str(), nothing.hostname), ("nocloud", None));
    assert_eq!(of_meta_data("").unwrap().warnings, ["meta-data is empty"]);
    assert_eq!(of_meta_data("local-hostname: ~\nvars:\n").unwrap().hostname, None);
}

#[test]
fn a_medium_without_meta_data_is_worth_a_line() {
    let mut seed = seed("", "#cloud-config\n");
    seed.meta_data = None;
    let warnings = |seed: &Seed| seed.read(|_| Value::Null).unwrap().warnings;
    let what = "nocloud medium 'vdb': there is no meta-data; the instance is 'nocloud'";
    assert_eq!(warnings(&seed), [what]);
    seed.line.hostname = Some("n1".to_owned());
    assert_eq!(warnings(&seed), [""; 0]);
}

#[test]
fn a_seed_that_says_that_it_is_none_is_refused() {
    assert_eq!(
        of_meta_data("dsmode: local").unwrap().warnings,
        ["meta-data: 'dsmode' has no effect"]
    );
    assert_eq!(
        of_meta_data("a: 1\ndsmode: disabled").unwrap_err(),
        "nocloud medium 'vdb': meta-data:2: dsmode: 'disabled': take the source away, or out of the image's 'metadata.sources'"
    );
}

#[test]
fn what_the_source_s_reader_says_is_said() {
    let mut seed = seed("instance-id: i", "");
    seed.warnings = vec!["vendor-data is not read".to_owned()];
    assert_eq!(seed.read(|_| Value::Null).unwrap().warnings, ["vendor-data is not read"]);
}

#[test]
fn a_server_renames_no_interface() {
    let v1 = "version: 1\nconfig:\n- {type: physical, name: lan0, mac_address: 52:54:00:00:00:01, subnets: [{type: dhcp}]}";
    let v2 = "network:\n  version: 2\n  ethernets:\n    lan:\n      match: {macaddress: 52:54:00:00:00:01}\n      set-name: lan0";
    let data = "{\"links\": [{\"id\": \"a\", \"name\": \"lan0\", \"type\": \"phy\", \"ethernet_mac_address\": \"52:54:00:00:00:01\"}]}";
    for (dialect, text) in [(Dialect::Nocloud, v1), (Dialect::Openstack, data)] {
        let mut seed = seed("{\"instance-id\": \"i\", \"uuid\": \"i\"}", "");
        seed.dialect = dialect;
        seed.network_config = Some(text.as_bytes().to_vec());
        let files = |seed: &Seed| {
            let network = seed.read(|_| Value::Null).unwrap().network.unwrap();
            (network.warnings.clone(), network::networkd::files(&network))
        };
        let (warnings, local) = files(&seed);
        assert_eq!(warnings, [""; 0]);
        assert!(local[0].1.contains("\nName=lan0\n"), "{local:?}");
        seed.origin = "http 'http://a/'".to_owned();
        let (warnings, remote) = files(&seed);
        assert_eq!(
            warnings,
            [
                "lan0: found by MAC address, and the kernel's names stay: a server was asked over them"
            ]
        );
        assert_eq!(remote.len(), 1);
        assert!(remote[0].1.starts_with("[Match]\nMACAddress=52:54:00:00:00:01\n"), "{remote:?}");
    }
    let mut seed = seed("instance-id: i", "");
    seed.network_config = Some(v2.as_bytes().to_vec());
    assert!(seed.read(|_| Value::Null).is_ok());
    for origin in ["http", "http 'http://a/'"] {
        seed.origin = origin.to_owned();
        assert_eq!(
            seed.read(|_| Value::Null).unwrap_err().to_string(),
            format!(
                "{origin}: network-config:6: network.ethernets.lan.set-name: an interface that is up keeps its name: this needs a source on the machine itself"
            )
        );
    }
}

#[test]
fn a_line_wins_over_meta_data_and_user_data_over_both() {
    let mut seed = seed("{local-hostname: a, instance-id: i}", "");
    seed.line = Line {
        origin: "kernel command line".to_owned(),
        hostname: Some("b".to_owned()),
        instance_id: Some("j".to_owned()),
        seed_url: None,
        other: vec![("x".to_owned(), "y".to_owned())],
    };
    let metadata = seed.read(|_| Value::Null).unwrap();
    assert_eq!(metadata.hostname.unwrap().full(), "b");
    assert_eq!(metadata.instance_id, "j");
    assert_eq!(
        Value::Object(metadata.delivered),
        json!({"instance-id": "j", "local-hostname": "b", "x": "y"})
    );
    seed.user_data = Some(b"#cloud-config\nfqdn: c.example\nhostname: c\n".to_vec());
    assert_eq!(seed.read(|_| Value::Null).unwrap().hostname.unwrap().full(), "c.example");
    seed.line.hostname = Some("../x".to_owned());
    assert_eq!(
        seed.read(|_| Value::Null).unwrap_err().to_string(),
        "kernel command line: ds=: local-hostname: expected labels of 1 to 63 letters, digits and inner '-', found '../x'"
    );
}

#[test]
fn names_are_made_valid_with_a_warning_where_the_meaning_is_clear() {
    for (text, name, warning) in [
        ("Node-01", "node-01", "the host name 'Node-01' has capitals; the name is 'node-01'"),
        (
            "10.0.0.1",
            "ip-10-0-0-1",
            "the host name '10.0.0.1' is an address; the name is 'ip-10-0-0-1'",
        ),
    ] {
        let metadata = of_meta_data(&format!("local-hostname: {text}")).unwrap();
        assert_eq!(metadata.hostname.unwrap().full(), name);
        assert_eq!(metadata.warnings, [warning]);
    }
}

#[test]
fn bad_names_and_ids_are_refused() {
    let long = "a".repeat(64);
    let longer = ["a".repeat(60).as_str(); 5].join(".");
    for text in [
        "'../../etc/passwd'",
        "\"n1\\n127.0.0.1 evil\"",
        "\"n1\\0\"",
        &long,
        &longer,
        "''",
        "'-n1'",
        "n1.",
        "a..b",
        "node_01",
        "nöde1",
        "17",
        "[a]",
        "{a: b}",
        "\"\\e[31mn1\"",
        "'$(id)'",
        "true",
        "'17'",
        "'a b'",
    ] {
        let refusal = of_meta_data(&format!("a: 1\nlocal-hostname: {text}")).unwrap_err();
        assert!(
            refusal.starts_with("nocloud medium 'vdb': meta-data:2: local-hostname: expected "),
            "{text}: {refusal}"
        );
        assert!(!refusal.chars().any(char::is_control), "{refusal:?}");
    }
    for text in ["'..'", "../../../x", "''", "\"a\\nb\"", "a/b", "[]", &"x".repeat(129)] {
        let refusal = of_meta_data(&format!("instance-id: {text}")).unwrap_err();
        assert!(
            refusal.starts_with("nocloud medium 'vdb': meta-data:1: instance-id: expected "),
            "{refusal}"
        );
    }
}

#[test]
fn refusals_name_source_document_line_and_key() {
    for (meta_data, message) in [
        ("- a", "nocloud medium 'vdb': meta-data:1: expected a map, found a list"),
        (
            "a: 1\nvars: [1]",
            "nocloud medium 'vdb': meta-data:2: vars: expected a map, found a list",
        ),
        (
            "public-keys: [hello]",
            "nocloud medium 'vdb': meta-data:1: public-keys[0]: expected a public ssh key, as 'ssh-ed25519 AAAA… comment'",
        ),
        (
            "seedfrom: http://x/",
            "nocloud medium 'vdb': meta-data:1: seedfrom: expected on the kernel command line or as the SMBIOS serial number, not here",
        ),
        (
            "network-interfaces: auto eth0",
            "nocloud medium 'vdb': meta-data:1: network-interfaces: not supported; use the document network-config",
        ),
        ("a: 1\na: 2", "nocloud medium 'vdb': meta-data:2: key 'a' is already in line 1"),
    ] {
        assert_eq!(of_meta_data(meta_data).unwrap_err(), message);
    }
    let mut seed = seed("{}", "");
    seed.meta_data = Some(b"\xff\xfe".to_vec());
    assert_eq!(
        seed.read(|_| Value::Null).unwrap_err().to_string(),
        "nocloud medium 'vdb': meta-data: expected UTF-8, found UTF-16"
    );
    seed.meta_data = None;
    seed.network_config = Some(b"ethernets: {}".to_vec());
    assert_eq!(
        seed.read(|_| Value::Null).unwrap_err().to_string(),
        "nocloud medium 'vdb': network-config:1: missing key 'version'"
    );
}

#[test]
fn keys_are_never_echoed() {
    let private = "-----BEGIN OPENSSH PRIVATE KEY-----\\nc2VjcmV0\\n";
    let refusal = of_meta_data(&format!("public-keys: [\"{private}\"]")).unwrap_err();
    assert_eq!(
        refusal,
        "nocloud medium 'vdb': meta-data:1: public-keys[0]: expected a public ssh key, found a private one"
    );
    let refusal = of_meta_data(&format!("public-keys: [\"{KEY}\\nssh-rsa x\"]")).unwrap_err();
    assert!(
        refusal.ends_with("expected an ssh key on one line, found a control character"),
        "{refusal}"
    );
    let other_type = KEY.replace("ssh-ed25519 ", "ssh-rsa ");
    assert!(of_meta_data(&format!("public-keys: [{other_type}]")).is_err());
    let options = format!("public-keys: ['from=\"10.0.0.0/8\",no-pty {KEY}']");
    assert_eq!(of_meta_data(&options).unwrap().ssh_keys.len(), 1);
}

#[test]
fn user_data_is_a_small_cloud_config() {
    let metadata =
        of_user_data(&format!("#cloud-config\nhostname: n2\nssh_authorized_keys:\n- {KEY}\n"))
            .unwrap();
    assert_eq!(metadata.hostname.unwrap().full(), "n2");
    assert_eq!(metadata.ssh_keys[0].to_string(), KEY);
    for empty in ["", " \n", "#cloud-config\n", "#cloud-config\n{}\n"] {
        assert_eq!(of_user_data(empty).unwrap().ssh_keys, []);
    }
}

proptest! {
    #[test]
    fn any_documents_are_read_or_refused_in_one_line(a: Vec<u8>, b: Vec<u8>, c: Vec<u8>) {
        let seed = Seed { meta_data: Some(a), network_config: Some(b), user_data: Some(c), ..Seed::default() };
        if let Err(error) = seed.read(|_| Value::Null) {
            prop_assert!(!error.to_string().chars().any(char::is_control));
        }
    }

    #[test]
    fn a_name_that_is_accepted_is_a_safe_word(text in "[a-zA-Z0-9._\\-/\n ]{0,70}") {
        if let Ok((name, _)) = Hostname::parse(&text) {
            prop_assert!(name.full().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b)));
        }
    }
}
