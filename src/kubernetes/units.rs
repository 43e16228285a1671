// SPDX-License-Identifier: Apache-2.0
//! systemd units of the programs (systemd.service, systemd.exec).
//!
//! A host's address and its members of etcd come from `/etc/kubernetes/host.env`, so the units
//! themselves are the same on every host and complete before systemd reads them. The control plane's programs run as
//! users of their own; systemd hands them the keys, which belong to root, as credentials.

use super::{
    arguments::{AUDIT_FOLDER, Argument, ArgumentValue, arguments, secrets},
    flags::Component,
    settings::{ETC, Machine, PerHost, Settings},
};
use crate::systemd::{Setting, Unit, word};

/// The file with what a host knows at first boot only.
pub const HOST_ENV: &str = "/etc/kubernetes/host.env";

/// Users and groups that the units name; the image must have them, without shell and home.
pub const USERS: [&str; 3] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"];

/// The lines of [`HOST_ENV`], as a first-boot template.
pub fn host_env(machine: Machine) -> String {
    let mut facts = vec![PerHost::Address, PerHost::Hostname];
    if machine == Machine::ControlPlane {
        facts.push(PerHost::EtcdServers);
    }
    facts.iter().map(|fact| format!("{}={fact}\n", fact.variable())).collect()
}

/// One argument as systemd reads it: what a host knows is a variable.
fn argument(argument: &Argument) -> String {
    match &argument.value {
        ArgumentValue::Host(fact) => format!("--{}=${{{}}}", argument.flag, fact.variable()),
        ArgumentValue::Plain(value) => word(&format!("--{}={value}", argument.flag)),
    }
}

/// What differs from one unit to the next, but for what each may do.
struct Frame {
    description: &'static str,
    after: &'static str,
    wants: &'static str,
    kind: &'static str,
    start_timeout: &'static str,
}

/// What a program of the control plane needs of its machine: the network, and nothing else. Not
/// `ProcSubset=pid`: Go reads the length of a listener's queue from `/proc/sys/net`.
const SANDBOX: [Setting; 22] = [
    ("CapabilityBoundingSet", ""),
    ("LockPersonality", "yes"),
    ("MemoryDenyWriteExecute", "yes"),
    ("NoNewPrivileges", "yes"),
    ("PrivateDevices", "yes"),
    ("PrivateTmp", "yes"),
    ("ProtectClock", "yes"),
    ("ProtectControlGroups", "yes"),
    ("ProtectHome", "yes"),
    ("ProtectHostname", "yes"),
    ("ProtectKernelLogs", "yes"),
    ("ProtectKernelModules", "yes"),
    ("ProtectKernelTunables", "yes"),
    ("ProtectProc", "invisible"),
    ("ProtectSystem", "strict"),
    ("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX"),
    ("RestrictNamespaces", "yes"),
    ("RestrictRealtime", "yes"),
    ("RestrictSUIDSGID", "yes"),
    ("SystemCallArchitectures", "native"),
    ("SystemCallFilter", "@system-service"),
    ("UMask", "0077"),
];

/// The kubelet is the machine's own agent: it mounts, and makes cgroups and namespaces.
const KUBELET: [Setting; 4] = [
    ("KillMode", "process"),
    ("LimitNOFILE", "1048576"),
    ("OOMScoreAdjust", "-999"),
    ("UMask", "0022"),
];

/// kube-proxy changes the kernel's tables and sysctls of the network, and locks
/// /run/xtables.lock.
const PROXY: [Setting; 17] = [
    ("CapabilityBoundingSet", "CAP_NET_ADMIN CAP_NET_RAW CAP_SYS_MODULE"),
    ("LimitNOFILE", "65536"),
    ("LockPersonality", "yes"),
    ("NoNewPrivileges", "yes"),
    ("OOMScoreAdjust", "-999"),
    ("PrivateTmp", "yes"),
    ("ProtectClock", "yes"),
    ("ProtectControlGroups", "yes"),
    ("ProtectHome", "yes"),
    ("ProtectHostname", "yes"),
    ("ProtectKernelLogs", "yes"),
    ("ProtectSystem", "full"),
    ("RestrictNamespaces", "yes"),
    ("RestrictRealtime", "yes"),
    ("RestrictSUIDSGID", "yes"),
    ("SystemCallArchitectures", "native"),
    ("UMask", "0077"),
];

fn control_plane(unit: Unit, component: Component, settings: &Settings) -> Unit {
    let mut unit = unit.set("User", component).set("Group", component);
    for name in secrets(component, settings) {
        let file = name.rsplit('/').next().unwrap_or(name);
        unit = unit.set("LoadCredential", format_args!("{file}:{ETC}/{name}"));
    }
    if component == Component::ApiServer {
        unit = unit
            // Made by systemd, owned by the user.
            .set("LogsDirectory", AUDIT_FOLDER.trim_start_matches("/var/log/"))
            .set("LogsDirectoryMode", "0700")
            .set("LimitNOFILE", 65536);
    }
    unit.set_all(&SANDBOX)
}

fn frame(component: Component, machine: Machine) -> Frame {
    match component {
        // It says that it is ready once it listens (`SdNotify` in `genericapiserver.go`), and
        // waits for etcd before.
        Component::ApiServer => Frame {
            description: "Kubernetes API server",
            after: "network-online.target kiln-init.service etcd.service",
            wants: "network-online.target",
            kind: "notify",
            start_timeout: "10min",
        },
        // Both exit if the API server does not answer yet.
        Component::ControllerManager => Frame {
            description: "Kubernetes controller manager",
            after: "network-online.target kiln-init.service kiln-api.service",
            wants: "network-online.target kiln-api.service",
            kind: "exec",
            start_timeout: "90s",
        },
        Component::Scheduler => Frame {
            description: "Kubernetes scheduler",
            after: "network-online.target kiln-init.service kiln-api.service",
            wants: "network-online.target kiln-api.service",
            kind: "exec",
            start_timeout: "90s",
        },
        // It says that it is ready once it runs, before it has its certificate.
        Component::Kubelet => Frame {
            description: "Kubernetes node agent",
            after: match machine {
                Machine::Node => "network-online.target kiln-init.service containerd.service",
                // An API server without etcd exits, and the kubelet waits longer after each time.
                Machine::ControlPlane => {
                    "network-online.target kiln-init.service containerd.service etcd.service"
                }
            },
            wants: "network-online.target containerd.service",
            kind: "notify",
            start_timeout: "infinity",
        },
        Component::KubeProxy => Frame {
            description: "Kubernetes service proxy",
            after: "network-online.target kiln-init.service",
            wants: "network-online.target",
            kind: "exec",
            start_timeout: "90s",
        },
    }
}

/// The unit of a program, `NAME.service`.
pub fn unit(component: Component, settings: &Settings, machine: Machine) -> String {
    let frame = frame(component, machine);
    let arguments: Vec<String> =
        arguments(component, settings, machine).iter().map(argument).collect();
    let command = format!("{}/{component} {}", settings.programs, arguments.join(" "));
    let unit = Unit::new(frame.description)
        .set("After", frame.after)
        .set("Wants", frame.wants)
        // A cluster that comes up slowly must not find its programs given up on.
        .set("StartLimitIntervalSec", 0)
        .section("Service")
        .set("Type", frame.kind)
        .set("EnvironmentFile", HOST_ENV)
        .set("ExecStart", command)
        .set("Restart", "always")
        .set("RestartSec", 3)
        .set("TimeoutStartSec", frame.start_timeout);
    let unit = match component {
        Component::Kubelet => unit.set_all(&KUBELET),
        Component::KubeProxy => unit.set_all(&PROXY),
        Component::ApiServer | Component::ControllerManager | Component::Scheduler => {
            control_plane(unit, component, settings)
        }
    };
    unit.wanted()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::settings::tests::settings;

    #[test]
    fn a_command_line_is_one_line_and_keeps_every_argument() {
        let mut settings = settings("v1.30.0");
        let flag = ("event-ttl".to_owned(), "a b%c$d".to_owned());
        settings.extra.insert(Component::ApiServer, [flag].into());
        let text = unit(Component::ApiServer, &settings, Machine::ControlPlane);
        assert!(!text.contains('\\'), "{text}");
        let start = text.lines().find(|line| line.starts_with("ExecStart=")).unwrap();
        assert!(start.contains(" --advertise-address=${KILN_ADDRESS} "), "{start}");
        assert!(start.contains(" --etcd-servers=${KILN_ETCD_SERVERS} "), "{start}");
        assert!(start.ends_with(" \"--event-ttl=a b%%c$$d\""), "{start}");
        assert!(!text.contains("{{"), "{text}");
    }

    #[test]
    fn the_kubelet_is_ordered_after_its_runtime_only() {
        let text = unit(Component::Kubelet, &settings("v1.20.2"), Machine::Node);
        assert!(text.contains("After=network-online.target kiln-init.service containerd.service"));
        assert!(!text.contains("Before="));
        let text = unit(Component::Kubelet, &settings("v1.20.2"), Machine::ControlPlane);
        assert!(text.contains("kiln-init.service containerd.service etcd.service\n"), "{text}");
    }

    #[test]
    fn keys_are_handed_to_services_and_never_made_readable() {
        let settings = settings("v1.30.0");
        for component in [Component::ApiServer, Component::ControllerManager, Component::Scheduler]
        {
            let text = unit(component, &settings, Machine::ControlPlane);
            let start = text.lines().find(|line| line.starts_with("ExecStart=")).unwrap();
            for word in start.split(' ').filter(|word| word.ends_with(".key")) {
                let path = word.split_once('=').unwrap().1;
                let file = path.rsplit('/').next().unwrap();
                assert!(
                    path.starts_with(&format!("/run/credentials/{component}.service/")),
                    "{word}"
                );
                assert!(
                    text.contains(&format!("LoadCredential={file}:/etc/kubernetes/")),
                    "{word}"
                );
            }
        }
    }
}
