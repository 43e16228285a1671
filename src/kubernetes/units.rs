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

/// One word of a command line as systemd reads it (systemd.service, COMMAND LINES): `%` and `$`
/// doubled, blanks in quotes. Settings refuse quotes, backslashes and control characters.
fn word(argument: &Argument) -> String {
    match &argument.value {
        ArgumentValue::Host(fact) => format!("--{}=${{{}}}", argument.flag, fact.variable()),
        ArgumentValue::Plain(value) => {
            let text = format!("--{}={value}", argument.flag).replace('%', "%%").replace('$', "$$");
            let is_plain = text.chars().all(|c| c.is_ascii_graphic() && c != ';' && c != '\'');
            if is_plain { text } else { format!("\"{text}\"") }
        }
    }
}

/// What differs from one unit to the next.
struct Unit {
    description: &'static str,
    after: &'static str,
    wants: &'static str,
    kind: &'static str,
    start_timeout: &'static str,
    lines: Vec<String>,
}

/// What a program of the control plane needs of its machine: the network, and nothing else. Not
/// `ProcSubset=pid`: Go reads the length of a listener's queue from `/proc/sys/net`.
const SANDBOX: &str = "CapabilityBoundingSet=\n\
LockPersonality=yes\n\
MemoryDenyWriteExecute=yes\n\
NoNewPrivileges=yes\n\
PrivateDevices=yes\n\
PrivateTmp=yes\n\
ProtectClock=yes\n\
ProtectControlGroups=yes\n\
ProtectHome=yes\n\
ProtectHostname=yes\n\
ProtectKernelLogs=yes\n\
ProtectKernelModules=yes\n\
ProtectKernelTunables=yes\n\
ProtectProc=invisible\n\
ProtectSystem=strict\n\
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX\n\
RestrictNamespaces=yes\n\
RestrictRealtime=yes\n\
RestrictSUIDSGID=yes\n\
SystemCallArchitectures=native\n\
SystemCallFilter=@system-service\n\
UMask=0077";

fn control_plane(component: Component, settings: &Settings) -> Vec<String> {
    let mut lines = vec![format!("User={component}"), format!("Group={component}")];
    for name in secrets(component, settings) {
        let file = name.rsplit('/').next().unwrap_or(name);
        lines.push(format!("LoadCredential={file}:{ETC}/{name}"));
    }
    if component == Component::ApiServer {
        // Made by systemd, owned by the user.
        let folder = AUDIT_FOLDER.trim_start_matches("/var/log/");
        lines.push(format!("LogsDirectory={folder}"));
        lines.push("LogsDirectoryMode=0700".to_owned());
        lines.push("LimitNOFILE=65536".to_owned());
    }
    lines.extend(SANDBOX.lines().map(str::to_owned));
    lines
}

fn kind_of(component: Component, settings: &Settings, machine: Machine) -> Unit {
    match component {
        // It says that it is ready once it listens (`SdNotify` in `genericapiserver.go`), and
        // waits for etcd before.
        Component::ApiServer => Unit {
            description: "Kubernetes API server",
            after: "network-online.target kiln-init.service etcd.service",
            wants: "network-online.target",
            kind: "notify",
            start_timeout: "10min",
            lines: control_plane(component, settings),
        },
        // Both exit if the API server does not answer yet: after it, and again and again.
        Component::ControllerManager => Unit {
            description: "Kubernetes controller manager",
            after: "network-online.target kiln-init.service kube-apiserver.service",
            wants: "network-online.target",
            kind: "exec",
            start_timeout: "90s",
            lines: control_plane(component, settings),
        },
        Component::Scheduler => Unit {
            description: "Kubernetes scheduler",
            after: "network-online.target kiln-init.service kube-apiserver.service",
            wants: "network-online.target",
            kind: "exec",
            start_timeout: "90s",
            lines: control_plane(component, settings),
        },
        // It is the machine's own agent: it mounts, and makes cgroups and namespaces. It says
        // that it is ready once it runs, before it has its certificate.
        Component::Kubelet => Unit {
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
            lines: ["KillMode=process", "LimitNOFILE=1048576", "OOMScoreAdjust=-999", "UMask=0022"]
                .map(str::to_owned)
                .to_vec(),
        },
        // It changes the kernel's tables and sysctls of the network, and locks /run/xtables.lock.
        Component::KubeProxy => Unit {
            description: "Kubernetes service proxy",
            after: "network-online.target kiln-init.service",
            wants: "network-online.target",
            kind: "exec",
            start_timeout: "90s",
            lines: [
                "CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW CAP_SYS_MODULE",
                "LimitNOFILE=65536",
                "LockPersonality=yes",
                "NoNewPrivileges=yes",
                "OOMScoreAdjust=-999",
                "PrivateTmp=yes",
                "ProtectClock=yes",
                "ProtectControlGroups=yes",
                "ProtectHome=yes",
                "ProtectHostname=yes",
                "ProtectKernelLogs=yes",
                "ProtectSystem=full",
                "RestrictNamespaces=yes",
                "RestrictRealtime=yes",
                "RestrictSUIDSGID=yes",
                "SystemCallArchitectures=native",
                "UMask=0077",
            ]
            .map(str::to_owned)
            .to_vec(),
        },
    }
}

/// The unit of a program, `NAME.service`.
pub fn unit(component: Component, settings: &Settings, machine: Machine) -> String {
    let unit = kind_of(component, settings, machine);
    let words: Vec<String> = arguments(component, settings, machine).iter().map(word).collect();
    let mut lines = vec![
        "[Unit]".to_owned(),
        format!("Description={}", unit.description),
        format!("After={}", unit.after),
        format!("Wants={}", unit.wants),
        // A cluster that comes up slowly must not find its programs given up on.
        "StartLimitIntervalSec=0".to_owned(),
        String::new(),
        "[Service]".to_owned(),
        format!("Type={}", unit.kind),
        format!("EnvironmentFile={HOST_ENV}"),
        format!("ExecStart={}/{component} {}", settings.programs, words.join(" ")),
        "Restart=always".to_owned(),
        "RestartSec=3".to_owned(),
        format!("TimeoutStartSec={}", unit.start_timeout),
    ];
    lines.extend(unit.lines);
    lines.extend(["", "[Install]", "WantedBy=multi-user.target", ""].map(str::to_owned));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::settings::{ExtraFlag, tests::settings};

    #[test]
    fn a_command_line_is_one_line_and_keeps_every_argument() {
        let mut settings = settings("v1.30.0");
        let flag = ExtraFlag { name: "--event-ttl".to_owned(), value: "a b%c$d".to_owned() };
        settings.extra.insert(Component::ApiServer, vec![flag]);
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
