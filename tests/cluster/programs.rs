// SPDX-License-Identifier: Apache-2.0
//! What is written for the programs of `make kubernetes`, judged by these programs themselves.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use kiln::kubernetes::{
    arguments::arguments,
    files::{Secrets, files},
    flags::Component,
    role,
    settings::{ControlPlane, Machine, Settings},
};

use crate::support::{
    cluster::Bench,
    qemu::repository,
    secrets::{encryption_keys, token},
};

fn settings() -> Settings {
    let cluster = Bench::new(".", "out").cluster;
    role::settings(&cluster, "master").unwrap()
}

fn program(component: Component) -> PathBuf {
    let program = repository().join("target/kubernetes/v1.20.2").join(component.name());
    assert!(program.is_file(), "there is no '{}': run `make kubernetes`", program.display());
    program
}

/// Runs a program with nothing of this machine's environment.
fn run(component: Component, arguments: &[&str]) -> (Output, String) {
    let output = Command::new(program(component)).args(arguments).env_clear().output().unwrap();
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    (output, String::from_utf8(said).unwrap())
}

#[test]
fn every_flag_is_one_that_the_program_has() {
    let mut settings = settings();
    for component in Component::ALL {
        let (output, help) = run(component, &["--help"]);
        assert!(output.status.success(), "{component}: {help}");
        let known: BTreeSet<&str> = help
            .split_whitespace()
            .filter_map(|word| word.strip_prefix("--"))
            .map(|word| word.trim_end_matches([',', '.', ':', ')', '"']))
            .collect();
        assert!(known.len() > 20 && !known.contains("no-such-flag"), "{component}: {known:?}");
        for control_plane in [ControlPlane::Systemd, ControlPlane::StaticPods] {
            settings.control_plane = control_plane;
            for machine in [Machine::Node, Machine::ControlPlane] {
                for argument in arguments(component, &settings, machine) {
                    assert!(known.contains(&*argument.flag), "{component}: --{}", argument.flag);
                }
            }
        }
    }
}

/// A generated file, with each change made to it that must be possible.
fn generated(machine: Machine, name: &str, changes: &[(&str, &str)]) -> String {
    let mut settings = settings();
    settings.control_plane = ControlPlane::StaticPods;
    let secrets = Secrets { token: &token(), encryption: &encryption_keys() };
    let files = files(&settings, machine, Some(secrets));
    let file = files.into_iter().find(|file| file.path.ends_with(name)).unwrap();
    changes.iter().fold(file.text, |text, (from, to)| {
        assert!(text.contains(from), "no '{from}' in {text}");
        text.replace(from, to)
    })
}

/// What kube-proxy says of its configuration, which it reads, completes, writes and does not run.
fn proxy(folder: &Path, text: &str) -> (Output, String) {
    let (given, whole) = (folder.join("kube-proxy.yaml"), folder.join("whole.yaml"));
    fs::write(&given, text).unwrap();
    let said = run(
        Component::KubeProxy,
        &[
            &format!("--config={}", given.display()),
            &format!("--write-config-to={}", whole.display()),
        ],
    );
    assert!(!said.0.status.success() || whole.is_file());
    said
}

#[test]
fn kube_proxy_knows_every_key_of_its_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let (output, said) = proxy(folder.path(), &generated(Machine::Node, "kube-proxy.yaml", &[]));
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("strict") && !said.contains("unknown field"), "{said}");
    // It says so of a key that it does not know, and goes on without it.
    let wrong = [("metricsBindAddress", "metrisBindAddress")];
    let (_, said) = proxy(folder.path(), &generated(Machine::Node, "kube-proxy.yaml", &wrong));
    assert!(said.contains("metrisBindAddress"), "{said}");
}

/// What the kubelet says of its configuration; then it stops, because there is no CA.
fn kubelet(folder: &Path, text: &str) -> String {
    let given = folder.join("kubelet.yaml");
    let missing = folder.join("ca.crt");
    let text = text.replace("/etc/kubernetes/pki/ca.crt", &missing.display().to_string());
    fs::write(&given, text).unwrap();
    let root = format!("--root-dir={}", folder.join("root").display());
    let (output, said) =
        run(Component::Kubelet, &[&format!("--config={}", given.display()), &root]);
    assert!(!output.status.success(), "{said}");
    said
}

#[test]
fn the_kubelet_knows_every_key_of_its_configuration() {
    let folder = tempfile::tempdir().unwrap();
    for machine in [Machine::Node, Machine::ControlPlane] {
        let said = kubelet(folder.path(), &generated(machine, "kubelet.yaml", &[]));
        assert!(said.contains("unable to load client CA file"), "{said}");
        assert!(!said.contains("strict") && !said.contains("unknown field"), "{said}");
    }
    let wrong = [("serverTLSBootstrap", "serverTLSBotstrap")];
    let said = kubelet(folder.path(), &generated(Machine::Node, "kubelet.yaml", &wrong));
    assert!(said.contains("serverTLSBotstrap"), "{said}");
}
