// SPDX-License-Identifier: Apache-2.0
//! Static pods of the control plane: what the kubelet starts from files, without an API server.
//!
//! Their images are made of the same programs and lie in the machine's own containerd, so they
//! are never pulled.

use std::collections::BTreeSet;

use kiln_contract::API_PORT;

use super::{
    arguments::{
        AUDIT_FOLDER, ArgumentValue, VOLUME_PLUGINS, arguments, has_authentication_config,
    },
    document::{Value, map, texts},
    flags::Component,
    kubeconfig,
    settings::{ETC, Machine, PerHost, Settings},
};

/// The three programs that can be static pods.
pub const COMPONENTS: [Component; 3] =
    [Component::ApiServer, Component::ControllerManager, Component::Scheduler];

/// The name of a component's image in the machine's containerd.
pub fn image(component: Component, settings: &Settings) -> String {
    format!("localhost/{component}:{}", settings.version)
}

/// A file or folder of the machine.
struct Mount {
    name: String,
    path: String,
    kind: &'static str,
    is_read_only: bool,
}

/// The files that a program reads: what its arguments name, and what its kubeconfig does. Each is
/// mounted by itself, so that none of the three programs can read the keys of another.
fn reads(component: Component, settings: &Settings) -> BTreeSet<String> {
    let written = written(component).map(|(_, path)| path);
    let mut files: BTreeSet<String> = kubeconfig::files(component, settings).into_iter().collect();
    for argument in arguments(component, settings, Machine::ControlPlane) {
        let ArgumentValue::Plain(value) = argument.value else { continue };
        let paths = value.split(',').filter(|path| path.starts_with('/'));
        let paths = paths.filter(|path| !written.is_some_and(|folder| path.starts_with(folder)));
        files.extend(paths.map(str::to_owned));
    }
    files
}

/// The folder that a program writes to, with the name of its volume.
fn written(component: Component) -> Option<(&'static str, &'static str)> {
    match component {
        Component::ApiServer => Some(("audit", AUDIT_FOLDER)),
        Component::ControllerManager => Some(("volume-plugins", VOLUME_PLUGINS)),
        _ => None,
    }
}

fn mounts(component: Component, settings: &Settings) -> Vec<Mount> {
    let mut names = BTreeSet::new();
    let mut mounts = Vec::new();
    for (path, number) in reads(component, settings).into_iter().zip(1..) {
        let mut name = volume(&path);
        if !names.insert(name.clone()) {
            name = format!("file-{number}");
        }
        mounts.push(Mount { name, path, kind: "File", is_read_only: true });
    }
    mounts.extend(written(component).map(|(name, path)| Mount {
        name: name.to_owned(),
        path: path.to_owned(),
        kind: "DirectoryOrCreate",
        is_read_only: false,
    }));
    mounts
}

/// A volume's name, which is a DNS label: the end of its path.
fn volume(path: &str) -> String {
    const LONGEST: usize = 63;
    let label = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = path.trim_start_matches(ETC).chars().map(label).collect();
    let start = name.len().saturating_sub(LONGEST);
    name[start..].trim_matches('-').to_owned()
}

/// A check of the port that a program serves on. Before 1.32 the API server answers nobody
/// without a name, so its port must do; the others answer `/healthz` to everybody.
fn probe(component: Component, settings: &Settings, path: &str) -> Value {
    let http = |path: &str, host: &str, port: u16| {
        let get = map([
            ("host", host.into()),
            ("path", path.into()),
            ("port", i64::from(port).into()),
            ("scheme", "HTTPS".into()),
        ]);
        map([("httpGet", get)])
    };
    let host = PerHost::Address.to_string();
    match component {
        Component::ApiServer if has_authentication_config(settings) => http(path, &host, API_PORT),
        Component::ApiServer => {
            let socket = map([("host", host.into()), ("port", i64::from(API_PORT).into())]);
            map([("tcpSocket", socket)])
        }
        Component::ControllerManager => http("/healthz", "127.0.0.1", 10257),
        _ => http("/healthz", "127.0.0.1", 10259),
    }
}

fn timed(probe: Value, failures: i64, period: i64) -> Value {
    probe
        .with("failureThreshold", failures)
        .with("periodSeconds", period)
        .with("timeoutSeconds", 15)
}

/// What a program asks for; no limits, so that none of them is killed or slowed down.
fn requests(component: Component) -> Value {
    let (cpu, memory) = match component {
        Component::ApiServer => ("250m", "512Mi"),
        Component::ControllerManager => ("200m", "128Mi"),
        _ => ("100m", "64Mi"),
    };
    map([("requests", map([("cpu", cpu.into()), ("memory", memory.into())]))])
}

fn container(component: Component, settings: &Settings) -> Value {
    let arguments: Vec<String> = arguments(component, settings, Machine::ControlPlane)
        .iter()
        .map(ToString::to_string)
        .collect();
    let command = vec![Value::from(format!("{}/{component}", settings.programs))];
    let mut container = map([
        ("name", component.name().into()),
        ("image", image(component, settings).into()),
        ("imagePullPolicy", "Never".into()),
        ("command", command.into()),
        ("args", texts(arguments.iter().map(String::as_str))),
        // Ten minutes: three masters on slow machines took eight.
        ("startupProbe", timed(probe(component, settings, "/livez"), 60, 10)),
        ("livenessProbe", timed(probe(component, settings, "/livez"), 8, 10)),
    ]);
    if component == Component::ApiServer {
        let ready = timed(probe(component, settings, "/readyz"), 3, 2);
        container = container.with("readinessProbe", ready);
    }
    let security = map([
        ("allowPrivilegeEscalation", false.into()),
        ("capabilities", map([("drop", texts(["ALL"]))])),
        ("readOnlyRootFilesystem", true.into()),
    ]);
    let mounts: Vec<Value> = mounts(component, settings)
        .into_iter()
        .map(|mount| {
            map([
                ("name", mount.name.into()),
                ("mountPath", mount.path.into()),
                ("readOnly", mount.is_read_only.into()),
            ])
        })
        .collect();
    container
        .with("resources", requests(component))
        .with("securityContext", security)
        .with("volumeMounts", mounts)
}

/// The manifest of a program, a first-boot template.
pub fn pod(component: Component, settings: &Settings) -> Value {
    let labels = map([("component", component.name().into()), ("tier", "control-plane".into())]);
    let metadata = map([
        ("name", component.name().into()),
        ("namespace", "kube-system".into()),
        ("labels", labels),
    ]);
    let volumes: Vec<Value> = mounts(component, settings)
        .into_iter()
        .map(|mount| {
            let host = map([("path", mount.path.into()), ("type", mount.kind.into())]);
            map([("name", mount.name.into()), ("hostPath", host)])
        })
        .collect();
    let security = map([("seccompProfile", map([("type", "RuntimeDefault".into())]))]);
    let spec = map([
        ("hostNetwork", true.into()),
        ("priorityClassName", "system-node-critical".into()),
        ("securityContext", security),
        ("containers", vec![container(component, settings)].into()),
        ("volumes", volumes.into()),
    ]);
    map([
        ("apiVersion", "v1".into()),
        ("kind", "Pod".into()),
        ("metadata", metadata),
        ("spec", spec),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::{
        arguments::secrets,
        settings::{ControlPlane, tests::settings},
        version::Minor,
    };

    fn text(component: Component, version: &str) -> String {
        let mut settings = settings(version);
        settings.control_plane = ControlPlane::StaticPods;
        pod(component, &settings).to_string()
    }

    #[test]
    fn only_logs_and_plugins_can_be_written() {
        for component in COMPONENTS {
            let text = text(component, "v1.36.0");
            let written: Vec<_> = text
                .split("- name: ")
                .filter(|part| part.contains("readOnly: false"))
                .map(|part| part.lines().next().unwrap())
                .collect();
            let expected: &[&str] = match component {
                Component::ApiServer => &["audit"],
                Component::ControllerManager => &["volume-plugins"],
                _ => &[],
            };
            assert_eq!(written, expected);
            assert!(text.contains("readOnlyRootFilesystem: true"));
        }
    }

    /// The paths of a pod's volumes.
    fn volumes(component: Component, settings: &Settings) -> BTreeSet<String> {
        let mounts = mounts(component, settings);
        let names: BTreeSet<&String> = mounts.iter().map(|mount| &mount.name).collect();
        assert_eq!(names.len(), mounts.len(), "a name for each");
        mounts.iter().map(|mount| mount.path.clone()).collect()
    }

    #[test]
    fn a_pod_sees_its_own_secrets_and_no_other_and_no_folder_of_them() {
        for minor in Minor::all() {
            let mut settings = settings(&format!("v{minor}.0"));
            settings.control_plane = ControlPlane::StaticPods;
            for component in COMPONENTS {
                let own = secrets(component, &settings);
                let own: BTreeSet<String> =
                    own.iter().map(|name| format!("{ETC}/{name}")).collect();
                let volumes = volumes(component, &settings);
                let is_secret =
                    |path: &&String| path.ends_with(".key") || path.ends_with("/encryption.yaml");
                let seen: BTreeSet<String> = volumes.iter().filter(is_secret).cloned().collect();
                assert_eq!(seen, own, "{minor} {component}");
                for folder in [ETC, "/etc/kubernetes/pki", "/"] {
                    assert!(!volumes.contains(folder), "{minor} {component} {folder}");
                }
            }
        }
    }

    #[test]
    fn what_a_flag_of_a_person_names_is_there_to_be_read() {
        let mut settings = settings("v1.30.0");
        settings.control_plane = ControlPlane::StaticPods;
        let flag = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let flags = [
            flag("oidc-ca-file", "/etc/kubernetes/pki/OIDC-ca.crt"),
            flag("tls-sni-cert-key", "/etc/kubernetes/pki/oidc.ca.crt,/srv/a.key"),
            flag("event-ttl", "2h"),
        ];
        settings.extra = [(Component::ApiServer, flags.into())].into();
        let volumes = volumes(Component::ApiServer, &settings);
        for path in ["pki/OIDC-ca.crt", "pki/oidc.ca.crt"] {
            assert!(volumes.contains(&format!("{ETC}/{path}")), "{path}");
        }
        assert!(volumes.contains("/srv/a.key"));
        assert_eq!(volume(&format!("/{}", "a/".repeat(40))).len(), 61);
    }

    #[test]
    fn the_api_server_is_asked_for_health_where_it_may_answer() {
        let new = text(Component::ApiServer, "v1.32.0");
        assert!(new.contains("path: /livez") && new.contains("path: /readyz"), "{new}");
        assert!(new.contains("--authentication-config=/etc/kubernetes/authentication.yaml"));
        let old = text(Component::ApiServer, "v1.31.0");
        assert!(old.contains("tcpSocket:") && !old.contains("httpGet:"), "{old}");
        assert!(old.contains("--anonymous-auth=false"));
    }

    #[test]
    fn a_pod_reads_its_keys_where_they_lie() {
        let text = text(Component::ControllerManager, "v1.20.2");
        assert!(
            text.contains("--cluster-signing-key-file=/etc/kubernetes/pki/signer.key"),
            "{text}"
        );
        assert!(!text.contains("/run/credentials"), "{text}");
    }
}
