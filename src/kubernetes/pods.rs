// SPDX-License-Identifier: Apache-2.0
//! Static pods of the control plane: what the kubelet starts from files, without an API server.
//!
//! Their images are made of the same programs and lie in the machine's own containerd, so they
//! are never pulled.

use super::{
    arguments::{
        AUDIT_FOLDER, VOLUME_PLUGINS, arguments, has_authentication_config, has_scheduler_config,
    },
    document::{Value, map, texts},
    flags::Component,
    settings::{API_PORT, ETC, Machine, PerHost, Settings},
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
    name: &'static str,
    path: String,
    kind: &'static str,
    is_read_only: bool,
}

fn read(name: &'static str, file: &str, kind: &'static str) -> Mount {
    Mount { name, path: format!("{ETC}/{file}"), kind, is_read_only: true }
}

fn mounts(component: Component, settings: &Settings) -> Vec<Mount> {
    let mut mounts = vec![read("pki", "pki", "Directory")];
    let written = |name, path: &str| Mount {
        name,
        path: path.to_owned(),
        kind: "DirectoryOrCreate",
        is_read_only: false,
    };
    match component {
        Component::ApiServer => {
            mounts.push(read("audit-policy", "audit-policy.yaml", "File"));
            mounts.push(written("audit", AUDIT_FOLDER));
            if has_authentication_config(settings) {
                mounts.push(read("authentication", "authentication.yaml", "File"));
            }
            if settings.encrypts_secrets {
                mounts.push(read("encryption", "encryption.yaml", "File"));
            }
        }
        Component::ControllerManager => {
            mounts.push(read("kubeconfig", "controller-manager.conf", "File"));
            mounts.push(written("volume-plugins", VOLUME_PLUGINS));
        }
        _ => {
            mounts.push(read("kubeconfig", "scheduler.conf", "File"));
            if has_scheduler_config(settings) {
                mounts.push(read("config", "scheduler.yaml", "File"));
            }
        }
    }
    mounts
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
    use crate::kubernetes::settings::{ControlPlane, tests::settings};

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
