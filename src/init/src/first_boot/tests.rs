// SPDX-License-Identifier: Apache-2.0

use super::*;
use serde_json::json;

use crate::handoff::{Account, HostLine, InstanceChange, Invalid};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGKD7u3nEKj0nqfVZp7TyM2Y6Qy9Cwk1mX1xk0m0c3dE admin@example";

fn handoff() -> Handoff {
    let template = |target: &str, phase| Template {
        target: target.to_owned(),
        mode: 0o640,
        uid: 0,
        gid: 7,
        phase,
    };
    let line = |address: &str, names: &[&str]| HostLine {
        address: address.parse().unwrap(),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
    };
    Handoff {
        schema: kiln_contract::HANDOFF_SCHEMA,
        cluster: "quickstart".to_owned(),
        role: "lb".to_owned(),
        version: "1".to_owned(),
        sources: Vec::new(),
        absent: Absent::Dhcp,
        invalid: Invalid::Refuse,
        instance_change: InstanceChange::Keep,
        source_wait: 0,
        wipe: false,
        url: None,
        write_files: vec!["/etc/kiln/".to_owned(), "/etc/motd".to_owned()],
        early_modules: Vec::new(),
        templates: vec![
            template("/etc/app.conf", Phase::Initramfs),
            template("/etc/late.conf", Phase::Network),
        ],
        admin: Some(Account { name: "admin".to_owned(), uid: 1000, gid: 1000 }),
        accounts: vec![
            Account { name: "admin".to_owned(), uid: 1000, gid: 1000 },
            Account { name: "backup".to_owned(), uid: 1001, gid: 1001 },
        ],
        owners: vec![Account { name: "etcd".to_owned(), uid: 454, gid: 455 }],
        kubelets: None,
        peers: [("masters".to_owned(), json!([{"name": "m1", "address": "10.0.0.1"}]))]
            .into_iter()
            .collect(),
        hosts: vec![line("10.0.0.1", &["n1", "n1-alias"]), line("10.0.0.9", &["api"])],
        ready: Vec::new(),
        ready_timeout: 1,
        var_partition: None,
    }
}

fn seed(meta_data: &str, network_config: Option<&str>) -> Seed {
    Seed {
        origin: "test".to_owned(),
        meta_data: Some(meta_data.as_bytes().to_vec()),
        network_config: network_config.map(|text| text.as_bytes().to_vec()),
        ..Seed::default()
    }
}

fn decide_with(
    handoff: &Handoff,
    seed: Option<&Seed>,
    template: &str,
) -> Result<FirstBoot, String> {
    let templates = BTreeMap::from([
        ("/etc/app.conf".to_owned(), template.to_owned()),
        ("/etc/late.conf".to_owned(), "{{ network.interface }}".to_owned()),
    ]);
    let machine_id = MachineId::from_random([0xab; 16]);
    let facts = Facts {
        handoff,
        seed,
        tried: &["smbios", "nocloud media"],
        machine_id: &machine_id,
        system: &System::sample(),
        templates: &templates,
    };
    decide(&facts).map_err(|error| error.to_string())
}

fn text_of<'a>(first_boot: &'a FirstBoot, path: &str) -> &'a str {
    let file = first_boot.files.iter().find(|file| file.path == path);
    std::str::from_utf8(&file.unwrap_or_else(|| panic!("no {path}")).bytes).unwrap()
}

const NETWORK: &str = "version: 2\nethernets: {nic: {addresses: [10.0.0.1/24]}}";

#[test]
fn a_whole_host_is_decided() {
    let meta_data = format!(
        "instance-id: i-1\nlocal-hostname: n1.example.org\npublic-keys: [{KEY}]\nvars: {{a-b: 1, on: yes}}\nregion: north"
    );
    let template = "{{ hostname }} {{ fqdn }} {{ v1.local_hostname }} {{ local_hostname }} \
                    {{ ds.meta_data.local_hostname }} {{ ds.meta_data.region }} {{ vars.a_b }} {{ vars.on }} \
                    {{ kiln.role }} {{ kiln.cluster }} {{ kiln.version }} {{ instance_id }}\n";
    let seed = seed(&meta_data, Some(NETWORK));
    let first_boot = decide_with(&handoff(), Some(&seed), template).unwrap();
    let text = |path: &str| text_of(&first_boot, path);
    assert_eq!(text("/etc/hostname"), "n1\n");
    assert_eq!(
        text("/etc/hosts"),
        "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n\
         10.0.0.1 n1.example.org n1\n10.0.0.1 n1-alias\n10.0.0.9 api\n"
    );
    assert_eq!(text("/etc/machine-id"), "abababababab4bababababababababab\n");
    assert_eq!(text("/etc/ssh/authorized_keys.d/admin"), format!("{KEY}\n"));
    assert_eq!(
        text("/etc/systemd/network/10-kiln-nic.network"),
        "[Match]\nName=nic\n\n[Network]\nDHCP=no\n\n[Address]\nAddress=10.0.0.1/24\n"
    );
    assert_eq!(
        text("/etc/app.conf"),
        "n1 n1.example.org n1 n1 n1.example.org north 1 true lb quickstart 1 i-1\n"
    );
    let app = first_boot.files.iter().find(|file| file.path == "/etc/app.conf").unwrap();
    assert_eq!((app.mode, app.uid, app.gid), (0o640, 0, 7));
    assert!(!first_boot.files.iter().any(|file| file.path == "/etc/late.conf"));
    assert_eq!(first_boot.instance.address.as_deref(), Some("10.0.0.1/24"));
    assert_eq!(first_boot.warnings, [""; 0]);
}

#[test]
fn a_name_that_is_not_the_domain_s_first_label_is_in_hosts_too() {
    let first_boot = decide_config("hostname: a\nfqdn: b.example\n").unwrap();
    assert_eq!(text_of(&first_boot, "/etc/hostname"), "a\n");
    assert!(text_of(&first_boot, "/etc/hosts").contains("127.0.1.1 b.example a\n"));
}

#[test]
fn without_metadata_a_host_uses_dhcp_and_is_named_after_its_role() {
    let first_boot = decide_with(&handoff(), None, "x").unwrap();
    assert_eq!(text_of(&first_boot, "/etc/hostname"), "lb-abababab\n");
    assert!(
        text_of(&first_boot, "/etc/hosts")
            .contains("127.0.1.1 lb-abababab\n10.0.0.1 n1 n1-alias\n")
    );
    assert!(text_of(&first_boot, "/etc/systemd/network/10-kiln-dhcp.network").contains("DHCP=yes"));
    assert_eq!(first_boot.instance.origin, "none");
    let refuse = Handoff { absent: Absent::Refuse, ..handoff() };
    assert_eq!(
        decide_with(&refuse, None, "x").unwrap_err(),
        "no metadata, which this image needs: tried smbios, nocloud media"
    );
}

#[test]
fn an_address_that_the_image_knows_otherwise_is_a_warning() {
    let seed = seed(
        "local-hostname: n1",
        Some("version: 2\nethernets: {nic: {addresses: [10.0.0.7/24]}}"),
    );
    let first_boot = decide_with(&handoff(), Some(&seed), "").unwrap();
    assert_eq!(
        first_boot.warnings,
        ["the image knows 'n1' as 10.0.0.1, its metadata says 10.0.0.7"]
    );
    assert!(text_of(&first_boot, "/etc/hosts").contains("10.0.0.7 n1\n10.0.0.7 n1-alias\n"));
}

#[test]
fn keys_without_an_admin_are_a_warning() {
    let handoff = Handoff { admin: None, ..handoff() };
    let seed = seed(&format!("local-hostname: n1\npublic-keys: [{KEY}]"), None);
    let first_boot = decide_with(&handoff, Some(&seed), "").unwrap();
    assert_eq!(
        first_boot.warnings,
        ["metadata has ssh keys, but the image declares no admin; they are not used"]
    );
    assert!(!first_boot.files.iter().any(|file| file.path.contains("ssh")));
}

/// The decision for this cloud-config.
fn decide_config(keys: &str) -> Result<FirstBoot, String> {
    let mut seed = seed("local-hostname: n1", None);
    seed.user_data = Some(format!("#cloud-config\n{keys}").into_bytes());
    decide_with(&handoff(), Some(&seed), "")
}

#[test]
fn accounts_of_the_image_get_their_own_keys() {
    let other = KEY.replace("admin@", "backup@");
    let first_boot = decide_config(&format!(
        "ssh_authorized_keys: ['{KEY}']\nusers:\n- {{name: backup, ssh_authorized_keys: ['{other}']}}\n\
         - {{name: admin, ssh_authorized_keys: ['{other}', '{KEY}']}}\n\
         - {{name: nobody-knows, ssh_authorized_keys: ['{KEY}']}}\n"
    ))
    .unwrap();
    let text = |path: &str| text_of(&first_boot, path);
    assert_eq!(text("/etc/ssh/authorized_keys.d/backup"), format!("{other}\n"));
    assert_eq!(text("/etc/ssh/authorized_keys.d/admin"), format!("{KEY}\n{other}\n"));
    assert_eq!(
        first_boot.warnings,
        [
            "metadata has ssh keys for 'nobody-knows', an account that the image does not have; they are not used"
        ]
    );
}

#[test]
fn cloud_config_writes_what_the_image_allows() {
    let first_boot = decide_config(
        "write_files:\n- {path: /etc/kiln/a/b, content: x, owner: 'backup:root', permissions: 0600}\n\
         - {path: /etc/motd, content: hello}\nntp: {servers: [10.0.0.1], pools: [p.example]}\n",
    )
    .unwrap();
    let file = first_boot.files.iter().find(|file| file.path == "/etc/kiln/a/b").unwrap();
    assert_eq!((file.mode, file.uid, file.gid, &*file.bytes), (0o600, 1001, 0, &b"x"[..]));
    assert_eq!(text_of(&first_boot, "/etc/motd"), "hello");
    assert_eq!(
        text_of(&first_boot, "/etc/chrony/sources.d/kiln.sources"),
        "server 10.0.0.1 iburst\npool p.example iburst\n"
    );
}

#[test]
fn a_service_owns_files_and_gets_no_ssh_keys() {
    let keys = format!("users: [{{name: etcd, ssh_authorized_keys: ['{KEY}']}}]");
    let files =
        "write_files: [{path: /etc/kiln/key, content: k, owner: etcd, permissions: '0600'}]";
    let first_boot = decide_config(&format!("{files}\n{keys}\n")).unwrap();
    let file = first_boot.files.iter().find(|file| file.path == "/etc/kiln/key").unwrap();
    assert_eq!((file.mode, file.uid, file.gid), (0o600, 454, 455));
    assert!(first_boot.files.iter().all(|file| !file.path.ends_with("authorized_keys.d/etcd")));
}

#[test]
fn cloud_config_writes_nothing_else() {
    let allowed = "the image lets metadata write /etc/kiln/, /etc/motd; found";
    let elsewhere = "is already written by something else";
    for (files, line, message) in [
        ("{path: /usr/bin/a}", 2, format!("write_files[0].path: {allowed} '/usr/bin/a'")),
        ("{path: /etc/shadow}", 2, format!("write_files[0].path: {allowed} '/etc/shadow'")),
        ("{path: /etc/kiln}", 2, format!("write_files[0].path: {allowed} '/etc/kiln'")),
        ("{path: /etc/kilnx}", 2, format!("write_files[0].path: {allowed} '/etc/kilnx'")),
        ("{path: /etc/motd/a}", 2, format!("write_files[0].path: {allowed} '/etc/motd/a'")),
        (
            "{path: /etc/motd}, {path: /etc/motd}",
            2,
            format!("write_files[1].path: '/etc/motd' {elsewhere}"),
        ),
        (
            "{path: /etc/kiln/a},\n {path: /etc/kiln/a/b}",
            3,
            format!("write_files[1].path: '/etc/kiln/a' {elsewhere}"),
        ),
        (
            "{path: /etc/motd, owner: nobody-knows}",
            2,
            "write_files[0].path: the image has no account for the owner 'nobody-knows:nobody-knows'".to_owned(),
        ),
    ] {
        let refusal = decide_config(&format!("write_files: [{files}]")).unwrap_err();
        assert_eq!(refusal, format!("test: user-data:{line}: {message}"), "{files}");
    }
    let mut handoff = handoff();
    handoff.write_files = vec!["/etc/".to_owned(), "/".to_owned()];
    let mut seed = seed("local-hostname: n1", None);
    for path in ["/etc/hostname", "/etc/late.conf", "/etc/machine-id", "/var/a", "/a"] {
        let keys = format!("#cloud-config\nwrite_files: [{{path: {path}}}]");
        seed.user_data = Some(keys.into_bytes());
        assert!(decide_with(&handoff, Some(&seed), "").is_err(), "{path}");
    }
}

/// The text of a template for this metadata.
fn rendered(seed: &Seed, template: &str) -> String {
    let first_boot = decide_with(&handoff(), Some(seed), template);
    let first_boot = first_boot.unwrap_or_else(|it| panic!("{template}: {it}"));
    text_of(&first_boot, "/etc/app.conf").to_owned()
}

#[test]
fn cloud_init_s_names_are_there() {
    let mut seed = seed("instance-id: i-1\nlocal-hostname: n1.example.org\nregion: north", None);
    for (template, expected) in [
        (
            "{{ v1.cloud_id }} {{ cloud_id }} {{ v1.cloud_name }} {{ v1.platform }}",
            "nocloud nocloud nocloud nocloud",
        ),
        ("{{ v1.subplatform }}", "test"),
        ("{{ v1.distro }} {{ v1.variant }}", "debian debian"),
        ("{{ v1.distro_release }} {{ v1.distro_version }}", "trixie 13"),
        (
            "{{ v1.kernel_release }} {{ v1.system_platform }}",
            "6.12.0-sample Linux-6.12.0-sample-x86_64",
        ),
        ("{{ v1.region }} {{ v1.machine }}", "north x86_64"),
        ("{{ v1.local_hostname }} {{ v1['local-hostname'] }} {{ local_hostname }}", "n1 n1 n1"),
        (
            "{{ v1.instance_id }} {{ ds.meta_data.instance_id }} {{ ds.meta_data['instance-id'] }}",
            "i-1 i-1 i-1",
        ),
        (
            "{{ ds.meta_data.local_hostname }} {{ ds.meta_data.hostname }}",
            "n1.example.org n1.example.org",
        ),
    ] {
        assert_eq!(rendered(&seed, template), expected, "{template}");
    }
    seed.dialect = crate::metadata::Dialect::Openstack;
    seed.meta_data = Some(
        b"{\"uuid\": \"u-1\", \"hostname\": \"n1.nova\", \"availability_zone\": \"az1\"}".to_vec(),
    );
    for (template, expected) in [
        ("{{ v1.availability_zone }} {{ availability_zone }}", "az1 az1"),
        ("{{ ds.meta_data.local_hostname }} {{ ds.meta_data.hostname }}", "n1.nova n1.nova"),
        ("{{ ds.meta_data.instance_id }} {{ ds.meta_data.uuid }}", "u-1 u-1"),
    ] {
        assert_eq!(rendered(&seed, template), expected, "{template}");
    }
    seed.dialect = crate::metadata::Dialect::Ec2;
    assert_eq!(rendered(&seed, "{{ v1.cloud_id }} {{ v1.platform }}"), "aws ec2");
    let refusal = decide_with(&handoff(), Some(&seed), "{{ v1.python_version }}").unwrap_err();
    assert_eq!(refusal, "template /etc/app.conf.j2:1: 'v1.python_version' is undefined");
}

#[test]
fn the_system_is_what_its_kernel_and_os_release_say() {
    let os_release = "NAME=\"Kiln\"\nVERSION_ID=\"13\"\nVERSION_CODENAME=trixie\n";
    let system = System::new("6.12.1".to_owned(), os_release);
    assert_eq!((&*system.kernel, &*system.release, &*system.version), ("6.12.1", "trixie", "13"));
    assert_eq!(System::new(String::new(), "x\n="), System::default());
}

#[test]
fn no_value_of_metadata_begins_a_line_of_its_own() {
    let with = |meta_data: &str| {
        let seed = seed(&format!("local-hostname: n1\n{meta_data}"), None);
        decide_with(
            &handoff(),
            Some(&seed),
            "priority {{ vars.priority | default(100) }}\n{{ ds.meta_data.rack | default('-') }}",
        )
        .map(|it| text_of(&it, "/etc/app.conf").to_owned())
    };
    assert_eq!(with("vars: {priority: \"1\\t2\"}\nrack: r7").unwrap(), "priority 1\t2\nr7");
    // What nobody wrote for templates is not there for them.
    assert_eq!(with("rack: \"r7\\nExecStart=/x\"").unwrap(), "priority 100\n-");
    let expected = "expected a text of one line, because templates put it anywhere; found the control character";
    for (vars, place) in [
        ("vars:\n  priority: \"100\\n  notify /x\"", "3: vars.priority: EXPECTED '\\n'"),
        ("vars:\n  priority: |\n    100\n    x", "3: vars.priority: EXPECTED '\\n'"),
        ("vars: {a: [{b: \"\\e[31m\"}]}", "2: vars.a[0].b: EXPECTED '\\u{1b}'"),
        ("vars: {\"a\\nb\": 1}", "2: vars.a\\nb: EXPECTED '\\n'"),
    ] {
        let message = format!("test: meta-data:{}", place.replace("EXPECTED", expected));
        assert_eq!(with(vars).unwrap_err(), message, "{vars}");
    }
}

#[test]
fn a_template_that_metadata_does_not_satisfy_stops_the_boot() {
    let seed = seed("local-hostname: n1", None);
    assert_eq!(
        decide_with(&handoff(), Some(&seed), "a\n{{ vars.priority }}").unwrap_err(),
        "template /etc/app.conf.j2:2: 'vars.priority' is undefined"
    );
}

#[test]
fn hosts_that_services_call_are_the_metadata_s_else_the_image_s() {
    let template = "{% for it in peers.masters %}{{ it.name }}={{ it.address }} {% endfor %}";
    let with = |vars: &str| {
        let seed = seed(&format!("local-hostname: n1\nvars: {vars}"), None);
        decide_with(&handoff(), Some(&seed), template)
    };
    for (vars, expected) in [
        ("{}", "m1=10.0.0.1 "),
        ("{peers: {etcd: [{name: m9, address: 10.0.0.9}]}}", "m1=10.0.0.1 "),
        (
            "{peers: {masters: [{name: m2, address: 10.0.0.2}, {name: m3, address: 10.0.0.3}]}}",
            "m2=10.0.0.2 m3=10.0.0.3 ",
        ),
    ] {
        assert_eq!(text_of(&with(vars).unwrap(), "/etc/app.conf"), expected, "{vars}");
    }
    assert_eq!(
        with("\n  peers:\n    masters:\n    - {name: m2, address: 10.0.0.2:1}").unwrap_err(),
        "test: meta-data:5: vars.peers.masters[0].address: expected an IPv4 address, found '10.0.0.2:1'"
    );
    let without = decide_with(&handoff(), None, template).unwrap();
    assert_eq!(text_of(&without, "/etc/app.conf"), "m1=10.0.0.1 ");
}

#[test]
fn templates_only_write_below_etc_and_never_over_our_own_files() {
    for target in ["/etc/hostname", "/etc/../x", "/usr/x", "/etc/", "/etc//x", "etc/x", "/etc/a\nb"]
    {
        let mut handoff = handoff();
        handoff.templates[0].target = target.to_owned();
        let machine_id = MachineId::from_random([1; 16]);
        let templates = BTreeMap::from([(target.to_owned(), String::new())]);
        let facts = Facts {
            handoff: &handoff,
            seed: None,
            tried: &[],
            machine_id: &machine_id,
            system: &System::sample(),
            templates: &templates,
        };
        let refusal = decide(&facts).unwrap_err().to_string();
        assert!(
            refusal.contains("expected a path below /etc that nothing else writes"),
            "{refusal}"
        );
    }
}

#[test]
fn templates_of_the_network_phase_see_the_interface() {
    let values = sample(&handoff(), &serde_json::json!({"vars": {"a": 1}})).unwrap();
    let sources = BTreeMap::from([(
        "/etc/late.conf".to_owned(),
        "{{ network.interface }} {{ network.address }}/{{ network.prefix }} {{ network.mac }} {{ vars.a }}".to_owned(),
    )]);
    let files = render(&handoff(), Phase::Network, &sources, &values).unwrap();
    assert_eq!(files[0].bytes, b"ens3 192.0.2.1/24 52:54:00:12:34:56 1");
}

#[test]
fn machine_ids_are_32_hex_digits() {
    let id = MachineId::from_random([0xff; 16]);
    assert_eq!(id.as_str(), "ffffffffffff4fffbfffffffffffffff");
    assert_eq!(format!("{}\n", id.as_str()).parse(), Ok(id));
    for text in ["", "uninitialized", &"0".repeat(32), &"A".repeat(32), &"a".repeat(33)] {
        assert_eq!(text.parse::<MachineId>(), Err(()), "{text}");
    }
}
