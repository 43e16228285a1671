// SPDX-License-Identifier: Apache-2.0
//! Everything that a machine's image carries for Kubernetes, but certificates and programs.

use super::{
    arguments::{AUDIT_FOLDER, VOLUME_PLUGINS, has_authentication_config, has_scheduler_config},
    configs,
    document::Value,
    flags::Component,
    kubeconfig::{self, BootstrapToken},
    pods,
    settings::{ControlPlane, ETC, Machine, Settings},
    units::{HOST_ENV, host_env, unit},
};
use crate::pki::Kind;

/// A file of the image.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// On the node.
    pub path: String,
    pub mode: u16,
    /// Whether it is a first-boot template: in the image its name ends with `.j2`.
    pub is_per_host: bool,
    /// What it is, if it is a secret.
    pub secret: Option<Kind>,
    pub text: String,
}

impl std::fmt::Debug for File {
    /// Without the text, which may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04o} {}", self.mode, self.path)
    }
}

/// What secret files are made of.
#[derive(Debug, Clone, Copy)]
pub struct Secrets<'a> {
    pub token: &'a BootstrapToken,
    pub encryption: &'a configs::EncryptionKeys,
}

fn file(path: impl Into<String>, text: impl ToString) -> File {
    let text = text.to_string();
    // Settings refuse template marks, so these are ours.
    let is_per_host = text.contains("{{");
    File { path: path.into(), mode: 0o644, is_per_host, secret: None, text }
}

fn secret(kind: Kind, path: impl Into<String>, text: impl ToString) -> File {
    File { mode: 0o600, secret: Some(kind), ..file(path, text) }
}

fn etc(name: &str, document: &Value) -> File {
    file(format!("{ETC}/{name}"), document)
}

fn service(component: Component, settings: &Settings, machine: Machine) -> File {
    let text = unit(component, settings, machine);
    // `${...}` of a unit is no template.
    File { is_per_host: false, ..file(format!("/etc/systemd/system/{component}.service"), text) }
}

/// Whether a machine runs a kubelet, and kube-proxy for its pods: all but masters whose programs
/// are services.
pub fn has_kubelet(settings: &Settings, machine: Machine) -> bool {
    machine == Machine::Node || settings.control_plane == ControlPlane::StaticPods
}

/// The services that a machine must start.
pub fn services(settings: &Settings, machine: Machine) -> Vec<Component> {
    if has_kubelet(settings, machine) {
        vec![Component::Kubelet, Component::KubeProxy]
    } else {
        pods::COMPONENTS.to_vec()
    }
}

/// The programs that a machine runs, as services or as pods.
pub fn programs(settings: &Settings, machine: Machine) -> Vec<Component> {
    let mut programs = services(settings, machine);
    if machine == Machine::ControlPlane && settings.control_plane == ControlPlane::StaticPods {
        programs.extend(pods::COMPONENTS);
    }
    programs
}

/// The files of a machine, sorted by path; without `secrets` those that everybody may know. The
/// settings have been checked.
pub fn files(settings: &Settings, machine: Machine, secrets: Option<Secrets<'_>>) -> Vec<File> {
    let mut files = vec![file(HOST_ENV, host_env(machine))];
    files.extend(
        services(settings, machine)
            .into_iter()
            .map(|component| service(component, settings, machine)),
    );
    if machine == Machine::ControlPlane {
        control_plane(&mut files, settings, secrets);
    }
    if has_kubelet(settings, machine) {
        kubelet(&mut files, settings, machine, secrets);
        files.push(etc("kube-proxy.yaml", &configs::proxy(settings)));
        files.extend(kubeconfig_of(Component::KubeProxy, "kube-proxy.conf", settings));
    }
    files.push(file("/etc/tmpfiles.d/kubernetes.conf", folders(settings, machine)));
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// Folders of `/var`, as tmpfiles.d(5) makes them.
fn folders(settings: &Settings, machine: Machine) -> String {
    let mut lines = format!("d {VOLUME_PLUGINS} 0755 root root -\n");
    if machine == Machine::ControlPlane && settings.control_plane == ControlPlane::StaticPods {
        // A service had a user of its own, and root without capabilities may not write to what
        // belongs to others: the log changes hands with `control-plane`.
        lines += &format!("d {AUDIT_FOLDER} 0700 root root -\n");
        lines += &format!("Z {AUDIT_FOLDER} ~0700 root root -\n");
    }
    lines
}

fn kubeconfig_of(component: Component, name: &str, settings: &Settings) -> Option<File> {
    kubeconfig::of(component, settings).map(|document| etc(name, &document))
}

fn control_plane(files: &mut Vec<File>, settings: &Settings, secrets: Option<Secrets<'_>>) {
    files.push(etc("audit-policy.yaml", &configs::audit_policy(settings)));
    if has_authentication_config(settings) {
        files.push(etc("authentication.yaml", &configs::authentication(settings)));
    }
    if let Some(secrets) = secrets.filter(|_| settings.encrypts_secrets) {
        let text = configs::encryption(settings, secrets.encryption);
        files.push(secret(Kind::EncryptionKey, format!("{ETC}/encryption.yaml"), text));
    }
    for (component, name) in [
        (Component::ControllerManager, "controller-manager.conf"),
        (Component::Scheduler, "scheduler.conf"),
    ] {
        files.extend(kubeconfig_of(component, name, settings));
    }
    if has_scheduler_config(settings) {
        files.push(etc("scheduler.yaml", &configs::scheduler(settings)));
    }
    if settings.control_plane == ControlPlane::StaticPods {
        for component in pods::COMPONENTS {
            let path = format!("{}/{component}.yaml", configs::MANIFESTS);
            files.push(file(path, pods::pod(component, settings)));
        }
    }
}

fn kubelet(
    files: &mut Vec<File>,
    settings: &Settings,
    machine: Machine,
    secrets: Option<Secrets<'_>>,
) {
    files.push(etc("kubelet.yaml", &configs::kubelet(settings, machine)));
    if let Some(secrets) = secrets {
        let text = kubeconfig::bootstrap(settings, secrets.token);
        let path = format!("{ETC}/bootstrap-kubelet.conf");
        files.push(secret(Kind::BootstrapToken, path, text));
    }
    if settings.version.minor.get() >= 21 {
        // The kubelet would write this itself, and restart logind.
        files.push(file(
            "/etc/systemd/logind.conf.d/kubelet.conf",
            format_args!("[Login]\nInhibitDelayMaxSec={}\n", configs::SHUTDOWN_SECONDS),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::{
        configs::tests::encryption_keys, kubeconfig::tests::token, settings::tests::settings,
        version::Minor,
    };

    fn all() -> Vec<(Minor, File)> {
        let (token, keys) = (token(), encryption_keys());
        let secrets = Some(Secrets { token: &token, encryption: &keys });
        let mut all = Vec::new();
        for minor in Minor::all() {
            for control_plane in [ControlPlane::Systemd, ControlPlane::StaticPods] {
                let mut settings = settings(&format!("v{minor}.0"));
                settings.control_plane = control_plane;
                for machine in [Machine::Node, Machine::ControlPlane] {
                    let files = files(&settings, machine, secrets);
                    all.extend(files.into_iter().map(|file| (minor, file)));
                }
            }
        }
        all
    }

    #[test]
    fn no_text_has_trailing_blanks_or_control_characters() {
        for (minor, file) in all() {
            assert!(file.text.ends_with('\n') && !file.text.ends_with("\n\n"), "{minor} {file:?}");
            for line in file.text.lines() {
                assert_eq!(line.trim_end(), line, "{minor} {file:?}");
                assert!(!line.chars().any(char::is_control), "{minor} {file:?}: {line}");
            }
        }
    }

    #[test]
    fn first_boot_renders_every_template() {
        let mut engine = kiln_init::template::Engine::new();
        let mut names = Vec::new();
        for (index, (minor, file)) in all().into_iter().enumerate() {
            let name = format!("{minor} {index} {}", file.path);
            if file.is_per_host {
                engine.add(&name, &file.text).unwrap();
                names.push(name);
            } else {
                assert!(!file.text.contains("{{"), "{file:?}");
            }
        }
        assert!(names.iter().any(|name| name.ends_with("host.env")));
    }

    #[test]
    fn without_secrets_everything_else_is_the_same() {
        let settings = settings("v1.34.0");
        let (token, keys) = (token(), encryption_keys());
        for machine in [Machine::Node, Machine::ControlPlane] {
            let secrets = Secrets { token: &token, encryption: &keys };
            let mut all = files(&settings, machine, Some(secrets));
            all.retain(|file| file.secret.is_none());
            assert_eq!(all, files(&settings, machine, None));
        }
    }

    #[test]
    fn what_holds_a_secret_is_marked_and_closed() {
        for (minor, file) in all() {
            let holds = file.text.contains("0123456789abcdef") || file.text.contains("MDEyMzQ1");
            assert_eq!(file.secret.is_some(), holds, "{minor} {file:?}");
            assert!(file.secret.is_none_or(Kind::is_secret), "{minor} {file:?}");
            assert_eq!(file.mode, if holds { 0o600 } else { 0o644 }, "{minor} {file:?}");
            // First boot's templates are in the plan, which holds no secret.
            assert!(!(file.secret.is_some() && file.is_per_host), "{minor} {file:?}");
        }
    }

    #[test]
    fn the_scheduler_up_to_1_22_has_no_file_that_would_open_an_insecure_port() {
        for (minor, file) in all() {
            if file.path.ends_with("/scheduler.yaml") {
                assert!(minor.get() >= 23, "{minor}");
            }
        }
    }
}
