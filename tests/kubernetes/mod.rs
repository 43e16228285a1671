// SPDX-License-Identifier: Apache-2.0
//! What is generated for every minor of Kubernetes, as a person would read it, and judged by
//! foreign readers.
//!
//! `tests/golden/kubernetes/v1.NN.txt` has all of a minor; `KILN_BLESS=1` writes them anew.

mod images;

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path, process::Command};

use kiln::kubernetes::{
    arguments::arguments,
    bootstrap::{manifest, objects, token_secret},
    etcd,
    files::{File, Secrets, files, services},
    flags::Component,
    pod_network::PodNetwork,
    pods,
    requirements::{Companion, pause_tag},
    settings::{ControlPlane, Machine, Networks, ProxyMode, Settings},
    units::HOST_ENV,
    version::Minor,
};

use crate::support::{
    files::Planned,
    secrets::{encryption_keys, token},
};

fn settings(minor: Minor, control_plane: ControlPlane) -> Settings {
    let is_new = minor.get() >= 31;
    Settings {
        version: format!("v{minor}.2").parse().unwrap(),
        cluster: "quickstart".to_owned(),
        endpoint: "192.168.31.100:6443".parse().unwrap(),
        networks: Networks {
            pods: "10.244.0.0/16".parse().unwrap(),
            services: "10.0.0.0/24".parse().unwrap(),
            dns: [10, 0, 0, 2].into(),
            domain: "cluster.local".to_owned(),
            node_prefix: 24,
        },
        proxy_mode: if is_new { ProxyMode::Nftables } else { ProxyMode::Ipvs },
        control_plane,
        pod_network: PodNetwork::Routed,
        encrypts_secrets: true,
        programs: "/usr/bin".to_owned(),
        extra: BTreeMap::new(),
    }
}

fn generated(settings: &Settings, machine: Machine) -> Vec<File> {
    files(settings, machine, Some(Secrets { token: &token(), encryption: &encryption_keys() }))
}

/// The machines of a golden file, by their titles.
fn machines(minor: Minor) -> [(&'static str, Machine, Settings); 3] {
    let systemd = settings(minor, ControlPlane::Systemd);
    let pods = settings(minor, ControlPlane::StaticPods);
    [
        ("node", Machine::Node, systemd.clone()),
        ("master with services", Machine::ControlPlane, systemd),
        ("master with static pods", Machine::ControlPlane, pods),
    ]
}

/// A file that another machine has too is only named.
fn describe(minor: Minor) -> String {
    let mut text = format!("Kubernetes {minor}\n\npause image: {}\n", pause_tag(minor));
    for (name, companion) in [("containerd", Companion::Containerd), ("etcd", Companion::Etcd)] {
        let show = |release: Option<_>| release.map_or("any".to_owned(), |it| format!("{it}"));
        let (oldest, wish) = (companion.oldest(minor), companion.oldest_recommended(minor));
        write!(text, "{name}: at least {}, better {}", show(oldest), show(wish)).unwrap();
        match companion.oldest_for_kubernetes(minor) {
            own if own == oldest => writeln!(text).unwrap(),
            own => writeln!(text, "; Kubernetes itself: {}", show(own)).unwrap(),
        }
    }
    let mut seen = BTreeMap::new();
    for (title, machine, settings) in machines(minor) {
        assert_eq!(settings.check(machine), [], "{minor} {title}");
        writeln!(text, "\n======== {title} ========").unwrap();
        for component in services(&settings, machine) {
            writeln!(text, "\n==== arguments of {component}").unwrap();
            for argument in arguments(component, &settings, machine) {
                writeln!(text, "{argument}").unwrap();
            }
        }
        for file in generated(&settings, machine) {
            let template = if file.is_per_host { ", at first boot" } else { "" };
            write!(text, "\n==== {:04o} {}{template}", file.mode, file.path).unwrap();
            match seen.insert(file.path.clone(), (title, file.text.clone())) {
                Some((first, same)) if same == file.text => {
                    writeln!(text, ", as on the {first}").unwrap();
                    seen.insert(file.path, (first, same));
                }
                _ => write!(text, "\n{}", file.text).unwrap(),
            }
        }
    }
    text
}

#[test]
fn every_minor_has_exactly_the_arguments_and_files_of_its_golden() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/kubernetes");
    let mut all: Vec<(String, String)> =
        Minor::all().map(|minor| (format!("v{minor}.txt"), describe(minor))).collect();
    let bootstrap = manifest(&objects()) + &manifest(&[token_secret(&token())]);
    all.push(("bootstrap.yaml".to_owned(), bootstrap));
    if std::env::var_os("KILN_BLESS").is_some() {
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in &all {
            fs::write(folder.join(name), text).unwrap();
        }
    }
    for (name, text) in &all {
        let expected = fs::read_to_string(folder.join(name)).unwrap();
        for (number, (line, expected)) in text.lines().zip(expected.lines()).enumerate() {
            assert_eq!(line, expected, "{name}:{}", number + 1);
        }
        assert_eq!(text.lines().count(), expected.lines().count(), "{name}");
    }
    let goldens = fs::read_dir(&folder).unwrap().count();
    assert_eq!(goldens, all.len(), "a golden belongs to no minor");
}

#[test]
fn what_first_boot_makes_of_templates_is_yaml_with_the_host_s_address() {
    let values = serde_json::json!({
        "hostname": "k8s-master-1",
        "network": { "address": "192.168.31.24" },
        "peers": { "etcd": [
            { "name": "k8s-master-1", "address": "192.168.31.24" },
            { "name": "k8s-master-2", "address": "192.168.31.26" },
        ] },
    });
    // Of a member its own.
    let servers = "https://192.168.31.24:2379";
    for minor in Minor::all() {
        for (title, machine, settings) in machines(minor) {
            for file in generated(&settings, machine) {
                let mut text = file.text;
                if file.is_per_host {
                    let mut engine = kiln_init::template::Engine::new();
                    engine.add(&file.path, &text).unwrap();
                    text = engine.render(&file.path, &values).unwrap();
                    assert!(text.contains("192.168.31.24"), "{minor} {title} {}", file.path);
                    let has_servers = text.contains(&format!("--etcd-servers={servers}\""))
                        || text.ends_with(&format!("\nKILN_ETCD_SERVERS={servers}\n"));
                    let wanted = match file.path.rsplit('/').next().unwrap() {
                        "host.env" => machine == Machine::ControlPlane,
                        name => name == "kube-apiserver.yaml",
                    };
                    assert_eq!(has_servers, wanted, "{minor} {title} {}: {text}", file.path);
                }
                if [".yaml", ".conf"].iter().any(|end| file.path.ends_with(end))
                    && file.path.starts_with("/etc/kubernetes/")
                {
                    let value: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
                    assert!(value["apiVersion"].is_string() && value["kind"].is_string());
                }
            }
        }
    }
}

#[test]
fn an_api_server_calls_its_own_member_of_etcd_or_all_that_image_or_seed_know() {
    for (folder, host, path) in [
        ("tests/failover", "k8s-master-1", HOST_ENV),
        ("tests/static-pods", "master-1", "/etc/kubernetes/manifests/kube-apiserver.yaml"),
    ] {
        let image = Planned::of(folder);
        let members = format!("members: [{}]", image.cluster().etcd.members.join(", "));
        let newer = Planned::with(folder, |text| {
            assert_eq!(text.matches(&members).count(), 1, "{folder}");
            text.replace(&members, &members.replace(']', ", a, b]"))
                + "  a: { role: master, address: 192.168.31.201 }\n"
                + "  b: { role: master, address: 192.168.31.202 }\n"
        });
        let servers = |meta_data: &serde_json::Value, address: &str| -> Vec<String> {
            let address = address.parse().unwrap();
            let text = &image.booted_at("master", meta_data, address).unwrap()[path];
            let line = text.lines().find(|line| line.contains(":2379")).unwrap();
            line.split("https://")
                .skip(1)
                .map(|url| url.chars().take_while(|c| *c != ':').collect())
                .collect()
        };
        let known: Vec<String> =
            etcd::members(image.cluster()).map(|(_, address)| address.to_string()).collect();
        let (nobody, alone) = ("192.168.31.250", serde_json::json!({ "local-hostname": "c" }));
        assert_eq!(servers(&alone, nobody), known, "{folder}");
        assert_eq!(servers(&image.meta_data(host), &known[0]), known[..1], "{folder}");
        let more = ["192.168.31.201", "192.168.31.202"].map(str::to_owned);
        let seed = newer.meta_data("a");
        assert_eq!(servers(&seed, &more[0]), more[..1], "{folder}");
        assert_eq!(servers(&seed, nobody), [known, more.to_vec()].concat(), "{folder}");
    }
}

#[test]
fn a_pod_starts_what_a_service_starts_but_for_the_place_of_its_keys() {
    for minor in Minor::all() {
        let [_, (_, machine, systemd), (_, _, static_pods)] = machines(minor);
        for component in pods::COMPONENTS {
            let list = |settings| -> Vec<String> {
                arguments(component, settings, machine).iter().map(ToString::to_string).collect()
            };
            for (service, pod) in list(&systemd).iter().zip(list(&static_pods)) {
                let file = service.rsplit('/').next().unwrap();
                assert!(*service == pod || service.contains("=/run/credentials/"), "{service}");
                assert!(pod.ends_with(file), "{service} {pod}");
            }
        }
    }
}

/// The units as systemd's own reader sees them. It wants the programs to be there.
#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let scratch = tempfile::tempdir().unwrap();
    let programs = scratch.path().join("bin");
    fs::create_dir(&programs).unwrap();
    for component in Component::ALL {
        fs::copy("/bin/true", programs.join(component.name())).unwrap();
    }
    for minor in [Minor::OLDEST, Minor::NEWEST] {
        for (title, machine, mut settings) in machines(minor) {
            let units = scratch.path().join(format!("{minor}-{}", title.replace(' ', "-")));
            fs::create_dir(&units).unwrap();
            settings.programs = programs.to_str().unwrap().to_owned();
            for file in generated(&settings, machine) {
                if let Some(name) = file.path.strip_prefix("/etc/systemd/system/") {
                    fs::write(units.join(name), &file.text).unwrap();
                }
            }
            verify(&units, services(&settings, machine).len());
        }
    }
}

fn verify(units: &Path, count: usize) {
    let mut paths: Vec<_> =
        fs::read_dir(units).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert_eq!(paths.len(), count);
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(&paths)
        .output()
        .expect("systemd-analyze runs");
    let folder = units.to_str().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let ours: Vec<_> =
        said.lines().filter(|line| line.contains(folder) || line.contains("kube")).collect();
    assert!(ours.is_empty(), "{said}");
}
