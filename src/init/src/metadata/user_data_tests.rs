// SPDX-License-Identifier: Apache-2.0
//! user-data as people send it, good and bad.

use serde_json::json;

use super::{
    tests::{KEY, of_user_data, seed},
    *,
};
use crate::base64;

/// Accepted: the cloud-config's keys below the header.
fn config(keys: &str) -> Metadata {
    of_user_data(&format!("#cloud-config\n{keys}\n")).unwrap_or_else(|it| panic!("{keys}: {it}"))
}

/// Refused with this message, which begins with the line in user-data.
fn assert_refused(keys: &str, message: &str) {
    let refusal = of_user_data(&format!("#cloud-config\n{keys}\n")).map(|_| ()).unwrap_err();
    assert_eq!(refusal, format!("nocloud medium 'vdb': user-data:{message}"), "{keys}");
    assert!(!refusal.chars().any(char::is_control), "{refusal:?}");
}

const PEM: &str = "-----BEGIN CERTIFICATE-----
MIIBeDCCAR+gAwIBAgIUM0m0c3dEMIIBeDCCAR+gAwIBAgIUM0m0c3dEMIIBeDCC
AR+gAwIBAgIUM0m0c3dEMIIBeDCCAR+gAwIBAgIUM0m0c3dE
-----END CERTIFICATE-----
";

#[test]
fn files_are_taken_with_content_owner_and_mode() {
    for (keys, content, owner, mode) in [
        ("{path: /etc/kiln/a, content: hello}", "hello", "root:root", 0o644),
        ("{path: /etc/kiln/a}", "", "root:root", 0o644),
        ("{path: /etc/kiln/a, content: aGk=, encoding: b64}", "hi", "root:root", 0o644),
        ("{path: /etc/kiln/a, content: aGk=, encoding: base64}", "hi", "root:root", 0o644),
        ("{path: /etc/kiln/a, content: x, encoding: text/plain}", "x", "root:root", 0o644),
        ("{path: /etc/kiln/a, content: x, permissions: 0600}", "x", "root:root", 0o600),
        ("{path: /etc/kiln/a, content: x, permissions: '0755'}", "x", "root:root", 0o755),
        ("{path: /etc/kiln/a, content: x, permissions: \"644\"}", "x", "root:root", 0o644),
        ("{path: /etc/kiln/a, content: x, permissions: 0o640}", "x", "root:root", 0o640),
        ("{path: /etc/kiln/a, content: x, owner: 'root:adm'}", "x", "root:adm", 0o644),
        ("{path: /etc/kiln/a, content: x, owner: etcd}", "x", "etcd:etcd", 0o644),
        ("{path: /etc/kiln/a, content: x, append: false, defer: true}", "x", "root:root", 0o644),
        ("{path: /etc/kiln/a, content: \"a\\tb\\n\"}", "a\tb\n", "root:root", 0o644),
        ("{path: /etc/kiln/a, content: 17}", "17", "root:root", 0o644),
    ] {
        let files = config(&format!("write_files: [{keys}]")).write_files;
        let file = &files[0];
        assert_eq!(String::from_utf8_lossy(&file.content), content, "{keys}");
        assert_eq!((format!("{}:{}", file.owner, file.group).as_str(), file.mode), (owner, mode));
    }
    let text = config("write_files:\n- path: /etc/motd\n  content: |\n    one\n    two\n");
    assert_eq!(text.write_files[0].content, b"one\ntwo\n");
}

#[test]
fn files_that_cannot_be_written_as_asked_are_refused() {
    let absolute = "expected an absolute path without '.' and '..', found";
    for (keys, message) in [
        ("{path: etc/a}", format!("2: write_files[0].path: {absolute} 'etc/a'")),
        ("{path: /etc/../a}", format!("2: write_files[0].path: {absolute} '/etc/../a'")),
        ("{path: /etc/./a}", format!("2: write_files[0].path: {absolute} '/etc/./a'")),
        ("{path: /etc//a}", format!("2: write_files[0].path: {absolute} '/etc//a'")),
        ("{path: /}", format!("2: write_files[0].path: {absolute} '/'")),
        ("{path: /etc/a/}", format!("2: write_files[0].path: {absolute} '/etc/a/'")),
        (
            "{path: \"/etc/a\\nb\"}",
            "2: write_files[0].path: expected a path, found the control character '\\n'".to_owned(),
        ),
        ("{content: x}", "2: write_files[0]: missing key 'path'".to_owned()),
        (
            "{path: /etc/a, contents: x}",
            "2: write_files[0]: unknown key 'contents'; did you mean 'content'?".to_owned(),
        ),
        (
            "{path: /etc/a, permissions: '4755'}",
            "2: write_files[0].permissions: expected at most '0777' (no setuid, setgid or sticky bit), found '4755'".to_owned(),
        ),
        (
            "{path: /etc/a, permissions: rw-r--r--}",
            "2: write_files[0].permissions: expected octal permissions, as '0644', found 'rw-r--r--'".to_owned(),
        ),
        (
            "{path: /etc/a, permissions: 999}",
            "2: write_files[0].permissions: expected octal permissions, as '0644', found '999'".to_owned(),
        ),
        (
            "{path: /etc/a, owner: 'a b'}",
            "2: write_files[0].owner: expected USER:GROUP, found 'a b'".to_owned(),
        ),
        (
            "{path: /etc/a, content: '!', encoding: b64}",
            "2: write_files[0].content: not base64 at byte 0".to_owned(),
        ),
        (
            "{path: /etc/a, content: x, encoding: bzip2}",
            "2: write_files[0].encoding: expected text/plain, b64 or gz+b64, found 'bzip2'".to_owned(),
        ),
        (
            "{path: /etc/a, append: true}",
            "2: write_files[0].append: expected false: a file is written whole".to_owned(),
        ),
        (
            "{path: /etc/a, source: {uri: 'http://x'}}",
            "2: write_files[0].source: content from elsewhere is not fetched; give 'content'".to_owned(),
        ),
        (
            "{path: /etc/a, content: [a]}",
            "2: write_files[0].content: expected the file's content, found a list".to_owned(),
        ),
        (
            "{path: /etc/a, content: !!binary aGk=}",
            "2: the tag 'tag:yaml.org,2002:binary' is not supported; give the text with an encoding".to_owned(),
        ),
        ("a", "2: write_files[0]: expected a map, found 'a'".to_owned()),
    ] {
        assert_refused(&format!("write_files: [{keys}]"), &message);
    }
    let many = "{path: /etc/a}, ".repeat(65);
    assert_refused(&format!("write_files: [{many}]"), "2: write_files: more than 64 files");
}

#[test]
fn time_sources_are_names_and_addresses() {
    let ntp = config("ntp: {servers: [10.0.0.1, ntp.example.org], pools: [pool.example.org]}").ntp;
    let ntp = ntp.unwrap();
    assert_eq!(ntp.servers, ["10.0.0.1", "ntp.example.org"]);
    assert_eq!(ntp.pools, ["pool.example.org"]);
    for none in ["ntp: {}", "ntp:", "ntp: {enabled: false, servers: [a]}", "ntp: {enabled: true}"] {
        assert_eq!(config(none).ntp, None, "{none}");
    }
    for (keys, message) in [
        (
            "ntp: {servers: [\"a\\nallow all\"]}",
            "2: ntp.servers[0]: expected a server's name or address, found the control character '\\n'",
        ),
        (
            "ntp: {servers: ['a b']}",
            "2: ntp.servers[0]: expected a server's name or address, found 'a b'",
        ),
        ("ntp: {servers: x}", "2: ntp.servers: expected a list, found 'x'"),
        ("ntp: {server: [x]}", "2: ntp: unknown key 'server'; did you mean 'servers'?"),
        ("ntp: {allow: [10.0.0.0/8]}", "2: ntp.allow: does not suit a node that is a client only"),
        (
            "ntp: {ntp_client: ntpdate}",
            "2: ntp.ntp_client: expected 'chrony', which is what the image runs, found 'ntpdate'",
        ),
        ("ntp: true", "2: ntp: expected a map, found 'true'"),
    ] {
        assert_refused(keys, message);
    }
}

#[test]
fn certificates_are_trusted_beside_or_instead_of_the_images() {
    let indented = PEM.replace('\n', "\n    ");
    let beside = config(&format!("ca_certs:\n  trusted:\n  - |\n    {indented}")).ca_certs.unwrap();
    assert_eq!((beside.only_these, beside.trusted), (false, vec![PEM.to_owned()]));
    let text =
        format!("ca-certs:\n  remove-defaults: true\n  trusted: |\n    {indented}{indented}");
    let instead = config(&text).ca_certs.unwrap();
    assert_eq!((instead.only_these, instead.trusted.len()), (true, 2));
    let expected = "expected a certificate in PEM form";
    for (keys, message) in [
        (
            "trusted: [hello]",
            format!("2: ca_certs.trusted[0]: {expected}: '-----BEGIN CERTIFICATE-----'"),
        ),
        (
            "trusted: ['-----BEGIN CERTIFICATE-----']",
            format!("2: ca_certs.trusted[0]: {expected}, found a damaged one"),
        ),
        (
            "trusted: ['-----BEGIN CERTIFICATE----- AAAA -----END CERTIFICATE-----']",
            format!("2: ca_certs.trusted[0]: {expected}, found a damaged one"),
        ),
        (
            "trusted: ['-----BEGIN EC PRIVATE KEY----- AAAA']",
            format!("2: ca_certs.trusted[0]: {expected}, found a private key"),
        ),
        (
            "remove_defaults: true",
            "2: ca_certs: 'remove_defaults' without 'trusted' would trust nobody".to_owned(),
        ),
        ("trust: []", "2: ca_certs: unknown key 'trust'; did you mean 'trusted'?".to_owned()),
    ] {
        assert_refused(&format!("ca_certs: {{{keys}}}"), &message);
    }
}

#[test]
fn users_are_given_keys_and_nothing_else() {
    let metadata = config(&format!(
        "users:\n- default\n- name: ops\n  ssh_authorized_keys: ['{KEY}']\n  lock_passwd: true\n"
    ));
    assert_eq!(metadata.account_keys["ops"].len(), 1);
    assert_eq!(metadata.ssh_keys, []);
    for (keys, message) in [
        (
            "[{name: ops, sudo: ALL}]",
            "2: users[0].sudo: 'sudo' does not suit an immutable node: declare users in the image's profile; metadata gives them ssh keys",
        ),
        (
            "[{name: ops, plain_text_passwd: hunter2}]",
            "2: users[0].plain_text_passwd: 'plain_text_passwd' does not suit an immutable node: declare users in the image's profile; metadata gives them ssh keys",
        ),
        ("[{name: '../x'}]", "2: users[0].name: expected an account's name, found '../x'"),
        (
            "[{name: \"a\\nb\"}]",
            "2: users[0].name: expected an account's name, found the control character '\\n'",
        ),
        ("[{ssh_authorized_keys: []}]", "2: users[0]: missing key 'name'"),
        (
            "[ops]",
            "2: users[0]: expected a user with 'name' and 'ssh_authorized_keys', found 'ops'",
        ),
        (
            "[{name: ops, lock_passwd: false}]",
            "2: users[0].lock_passwd: expected true: nobody logs in with a password",
        ),
        (
            "[{name: ops, ssh_authorized_keys: [x]}]",
            "2: users[0].ssh_authorized_keys[0]: expected a public ssh key, as 'ssh-ed25519 AAAA… comment'",
        ),
    ] {
        assert_refused(&format!("users: {keys}"), message);
    }
}

#[test]
fn what_an_immutable_node_cannot_honor_is_refused_by_name() {
    let unsuited = "does not suit an immutable node";
    for (key, instead) in [
        ("runcmd", "put a unit into the image's profile"),
        ("bootcmd", "put a unit into the image's profile"),
        ("power_state", "put a unit into the image's profile"),
        ("packages", "list packages in the image's profile"),
        ("package_upgrade", "list packages in the image's profile"),
        ("apt", "list packages in the image's profile"),
        ("snap", "list packages in the image's profile"),
        ("timezone", "put the file or a .j2 template into an overlay of the image"),
        ("locale", "put the file or a .j2 template into an overlay of the image"),
        ("groups", "declare users in the image's profile; metadata gives them ssh keys"),
        ("chpasswd", "nobody logs in with a password"),
        ("password", "nobody logs in with a password"),
        ("ssh_pwauth", "nobody logs in with a password"),
        ("ssh_keys", "host keys are made by the node itself and kept in /var"),
        ("mounts", "the image lays out its own disk"),
        ("swap", "the image lays out its own disk"),
        ("device_aliases", "the image lays out its own disk"),
        ("disk_setup", "the image lays out its own disk"),
        ("lxd", "list packages in the image's profile"),
        ("wireguard", "put the file or a .j2 template into an overlay of the image"),
        ("random_seed", "host keys are made by the node itself and kept in /var"),
        ("network", "give network-config as a document of its own"),
        ("ubuntu_pro", "put a unit into the image's profile"),
        ("preserve_hostname", "give the host name in 'hostname' or 'fqdn'"),
    ] {
        assert_refused(
            &format!("hostname: a\n{key}:\n\n- x"),
            &format!("3: '{key}' {unsuited}: {instead}"),
        );
    }
    for (keys, message) in [
        (
            "a: 1",
            "2: unknown key 'a'; expected one of: hostname, fqdn, ssh_authorized_keys, users, write_files, ntp, ca_certs, manage_etc_hosts",
        ),
        (
            "ssh_pwauth: true",
            "2: 'ssh_pwauth' does not suit an immutable node: nobody logs in with a password",
        ),
        (
            "preserve_hostname: true",
            "2: 'preserve_hostname' does not suit an immutable node: give the host name in 'hostname' or 'fqdn'",
        ),
        ("manage_etc_hosts: maybe", "2: manage_etc_hosts: expected true or false, found 'maybe'"),
        ("hostname: [a]", "2: hostname: expected a host name, found a list"),
    ] {
        assert_refused(keys, message);
    }
    for accepted in [
        "manage_etc_hosts: true",
        "manage_etc_hosts: localhost",
        "hostname:",
        "users: []",
        "ssh_pwauth: no",
        "preserve_hostname: false",
        "disable_root: true",
        "package_update: false",
    ] {
        assert_eq!(config(accepted).warnings, [""; 0], "{accepted}");
    }
    for (passed_over, why) in [
        (
            "growpart: {mode: auto}",
            "'growpart': has no effect: 'var' grows by itself, and nothing else does",
        ),
        (
            "resize_rootfs: true",
            "'resize_rootfs': has no effect: 'var' grows by itself, and nothing else does",
        ),
        (
            "manage_etc_hosts: false",
            "'manage_etc_hosts' has no effect: /etc/hosts is always written",
        ),
    ] {
        assert_eq!(config(passed_over).warnings, [format!("user-data: {why}")], "{passed_over}");
    }
}

#[test]
fn a_host_may_be_called_otherwise_than_its_domain_knows_it() {
    for (keys, short, full) in [
        ("fqdn: b.example", "b", "b.example"),
        ("hostname: a\nfqdn: a.example", "a", "a.example"),
        ("hostname: a\nfqdn: b.example", "a", "b.example"),
        ("fqdn: b.example\nhostname: a.other", "a", "b.example"),
        ("hostname: a.example", "a", "a.example"),
    ] {
        let name = config(keys).hostname.unwrap();
        assert_eq!((name.short(), name.full()), (short, full), "{keys}");
    }
}

#[test]
fn blank_lines_before_the_header_are_passed_over() {
    let metadata = of_user_data("\n  \n#cloud-config\nhostname: a\n").unwrap();
    assert_eq!(metadata.hostname.unwrap().full(), "a");
    assert_eq!(
        of_user_data("\n\n#cloud-config\nruncmd:\n- id").unwrap_err(),
        "nocloud medium 'vdb': user-data:4: 'runcmd' does not suit an immutable node: put a unit into the image's profile"
    );
    assert_eq!(
        of_user_data("\n\n#!/bin/sh").unwrap_err(),
        "nocloud medium 'vdb': user-data:3: expected '#cloud-config', found a script: put a unit into the image's profile instead"
    );
}

#[test]
fn other_kinds_of_user_data_are_refused_by_name() {
    for (text, found) in [
        ("#!/bin/sh\nid", "a script: put a unit into the image's profile instead"),
        ("MIME-Version: 1.0\n", "MIME parts: deliver the cloud-config alone"),
        (
            "Content-Type: multipart/mixed; boundary=x\n",
            "MIME parts: deliver the cloud-config alone",
        ),
        ("#include\nhttp://x/", "a list of addresses: deliver the cloud-config itself"),
        ("#cloud-boothook\nid", "a program: put a unit into the image's profile instead"),
        ("#part-handler\nx", "a program: put a unit into the image's profile instead"),
        ("#cloud-config-archive\n[]", "another kind of cloud-config"),
        ("hostname: a", "something else"),
        ("<html></html>", "something else"),
    ] {
        assert_eq!(
            of_user_data(text).unwrap_err(),
            format!("nocloud medium 'vdb': user-data:1: expected '#cloud-config', found {found}")
        );
    }
}

#[test]
fn a_template_sees_the_metadata_before_it() {
    let text = "## template: jinja\n#cloud-config\nhostname: {{ v1.local_hostname }}-{{ ds.meta_data.rack }}\n";
    let mut seed = seed("{local-hostname: n1, rack: r7}", text);
    let values = |metadata: &Metadata| {
        json!({
            "v1": { "local_hostname": metadata.hostname.as_ref().unwrap().short() },
            "ds": { "meta_data": metadata.delivered },
        })
    };
    assert_eq!(seed.read(values).unwrap().hostname.unwrap().full(), "n1-r7");
    for (template, message) in [
        ("hostname: {{ v1.hostnam }}", "3: 'v1.hostnam' is undefined"),
        ("hostname: {{", "3: syntax error: unexpected end of input, expected expression"),
        ("hostname: {% for %}", "3: syntax error: unexpected end of block, expected in"),
        (
            "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
            "3: the template takes more than 1000000 steps",
        ),
        (
            "a: 1",
            "3: unknown key 'a'; expected one of: hostname, fqdn, ssh_authorized_keys, users, write_files, ntp, ca_certs, manage_etc_hosts",
        ),
        (
            "hostname: {{ v1.local_hostname }}_x",
            "3: hostname: expected labels of 1 to 63 letters, digits and inner '-', found 'n1_x'",
        ),
        ("a: {{ 'x' * 2000000 }}", "2: the output is larger than 1048576 bytes"),
        ("{% include '/etc/shadow' %}", "3: template not found in 'include '/etc/shadow''"),
    ] {
        seed.user_data =
            Some(format!("## template: jinja\n#cloud-config\n{template}").into_bytes());
        let refusal = seed.read(values).unwrap_err().to_string();
        assert_eq!(refusal, format!("nocloud medium 'vdb': user-data:{message}"), "{template}");
    }
    seed.user_data = Some(b"## template: basic\n#cloud-config\n".to_vec());
    assert_eq!(
        seed.read(values).unwrap_err().to_string(),
        "nocloud medium 'vdb': user-data:1: unknown template engine 'basic', expected 'jinja'"
    );
}

#[test]
fn a_value_with_a_line_break_cannot_become_another_key() {
    let text = "## template: jinja\n#cloud-config\nhostname: {{ ds.meta_data.rack }}\n";
    let seed = seed("{rack: \"a\\nruncmd: [id]\"}", text);
    let values = |metadata: &Metadata| json!({ "ds": { "meta_data": metadata.delivered } });
    let refusal = seed.read(values).unwrap_err().to_string();
    assert!(refusal.contains("'runcmd' does not suit an immutable node"), "{refusal}");
}

#[test]
fn openstack_metadata_has_its_own_words() {
    let text = format!(
        "{{\"uuid\": \"83679162-1378-4288-a2d4-70e13ec132aa\", \"hostname\": \"n1.novalocal\", \
          \"public_keys\": {{\"mine\": \"{KEY}\\n\"}}, \"meta\": {{\"rack\": \"7\"}}, \"launch_index\": 0}}"
    );
    let mut seed = seed(&text, "");
    seed.dialect = Dialect::Openstack;
    let metadata = seed.read(|_| Value::Null).unwrap();
    assert_eq!(metadata.instance_id, "83679162-1378-4288-a2d4-70e13ec132aa");
    assert_eq!(metadata.hostname.unwrap().full(), "n1.novalocal");
    assert_eq!((metadata.ssh_keys.len(), metadata.vars["rack"].clone()), (1, json!("7")));
    seed.meta_data = Some(b"{\"hostname\": \"n1\"}".to_vec());
    assert_eq!(
        seed.read(|_| Value::Null).unwrap_err().to_string(),
        "nocloud medium 'vdb': meta_data.json:1: missing key 'uuid'"
    );
    seed.meta_data = Some(text.into_bytes());
    for (path, good) in
        [("/etc/kiln/a", true), ("/etc/../a", false), ("etc/a", false), ("/etc/a\n", false)]
    {
        seed.files = vec![Injected { path: path.to_owned(), content: b"x".to_vec() }];
        assert_eq!(seed.read(|_| Value::Null).is_ok(), good, "{path}");
    }
}

#[test]
fn guestinfo_carries_the_network_inside() {
    let network = "version: 2\nethernets: {a: {dhcp4: true}}\n";
    let packed = base64::encode(network.as_bytes());
    for text in [
        "instance-id: i\nnetwork: {version: 2, ethernets: {a: {dhcp4: true}}}".to_owned(),
        "network: {network: {version: 2, ethernets: {a: {dhcp4: true}}}}".to_owned(),
        format!("network: {packed}\nnetwork.encoding: base64"),
        format!("network: {packed}\nnetwork.encoding: b64"),
        format!(
            "public-keys-data: |\n  {KEY}\n  # a comment\nnetwork: {packed}\nnetwork.encoding: b64"
        ),
    ] {
        let mut seed = seed(&text, "");
        seed.dialect = Dialect::Guestinfo;
        let metadata = seed.read(|_| Value::Null).unwrap_or_else(|it| panic!("{text}: {it}"));
        assert!(metadata.network.is_some(), "{text}");
    }
    for (text, message) in [
        (
            "network: 7\nnetwork.encoding: rot13",
            "1: network: expected the encoding base64 or gzip+base64, found 'rot13'",
        ),
        ("network: '!'\nnetwork.encoding: b64", "1: network: not base64 at byte 0"),
        ("network: [a]", "1: network: expected a map, or its text in base64, found a list"),
        (
            "network: 'version: 3'",
            "1: network: inside, line 1: version: expected a number from 1 to 2, found '3'",
        ),
        ("redact: [userdata]\nnetwork: ''", "2: network: expected a map, found nothing"),
    ] {
        let mut seed = seed(text, "");
        seed.dialect = Dialect::Guestinfo;
        assert_eq!(
            seed.read(|_| Value::Null).unwrap_err().to_string(),
            format!("nocloud medium 'vdb': guestinfo.metadata:{message}")
        );
    }
}
