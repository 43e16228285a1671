// SPDX-License-Identifier: Apache-2.0
//! Flags that people add (`kubernetes.flags` of `cluster.yaml`): which may stand there?
//!
//! A program that meets a flag it does not know exits, and one that meets a flag it ignores does not
//! say so. Both are known before anything is built: a flag must be in the table of its program for
//! that minor, must count, and must not contradict what Kiln writes itself.

use std::collections::BTreeMap;

use super::{
    arguments::{has_authentication_config, has_scheduler_config, is_fixed},
    flags::{Component, check_extra, is_of_logging},
    settings::Settings,
};
use crate::{
    diagnostic::{quoted, suggest},
    yaml::fields::Complaint,
};

/// Values by flag, by program. Flags are written without their dashes.
pub type Flags = BTreeMap<Component, BTreeMap<String, String>>;

/// The program of that name.
///
/// # Errors
/// Kiln starts none.
pub fn program(text: &str) -> Result<Component, Complaint> {
    let names = Component::ALL.map(Component::name);
    Component::ALL.into_iter().find(|component| component.name() == text).ok_or_else(|| {
        let what = format!("{} is no program of Kubernetes that Kiln starts", quoted(text));
        Complaint::new(what, suggest(text, names))
    })
}

/// A flag's name as it is written.
///
/// # Errors
/// It has dashes before it, or a value behind it.
pub fn name(text: &str) -> Result<String, Complaint> {
    let (name, _) = text.split_once('=').unwrap_or((text, ""));
    let name = name.trim_start_matches('-');
    if name != text {
        let what = format!("{} is no name of a flag", quoted(text));
        return Err(Complaint::new(what, format!("write it as '{name}: VALUE'")));
    }
    Ok(name.to_owned())
}

/// A flag's value.
///
/// # Errors
/// It would not reach the program as it stands here.
pub fn value(text: &str) -> Result<String, Complaint> {
    let is_template = ["{{", "{%", "{#"].iter().any(|mark| text.contains(mark));
    if is_template || text.chars().any(|c| c.is_control() || c == '"' || c == '\\') {
        return Err(Complaint::new(
            format!("value {} cannot be written", quoted(text)),
            "quotes, backslashes, control characters and template marks have no place in a flag",
        ));
    }
    Ok(text.to_owned())
}

/// Flags of the kubelet that win over `kubelet.yaml`, where it says what follows from the cluster
/// file, from the image, or from the rule that nobody is answered without a certificate.
const IN_KUBELET_CONFIG: [&str; 18] = [
    "anonymous-auth",
    "authentication-token-webhook",
    "authorization-mode",
    "cgroup-driver",
    "client-ca-file",
    "cluster-dns",
    "cluster-domain",
    "container-runtime-endpoint",
    "fail-swap-on",
    "image-service-endpoint",
    "pod-manifest-path",
    "protect-kernel-defaults",
    "read-only-port",
    "register-with-taints",
    "resolv-conf",
    "rotate-certificates",
    "rotate-server-certificates",
    "tls-cert-file",
];

/// Flags that kube-scheduler ignores if it has a configuration file: its reference page says so of
/// each.
const IGNORED_BY_SCHEDULER: [&str; 6] = [
    "contention-profiling",
    "kube-api-burst",
    "kube-api-content-type",
    "kube-api-qps",
    "kubeconfig",
    "profiling",
];

/// Whether a person may give a program this flag.
///
/// # Errors
/// The program of this minor does not have it, or it would not do what it says.
pub fn check(component: Component, settings: &Settings, name: &str) -> Result<(), Complaint> {
    check_extra(component, settings.version.minor, name)?;
    let refuse = |what: String, help: &str| Err(Complaint::new(what, help));
    let flag = format!("flag '--{name}' of {component}");
    if ["cleanup", "write-config-to"].contains(&name) {
        return refuse(
            format!("{flag} ends the program once it has done that"),
            "leave it out: it is for people at a terminal",
        );
    }
    if component == Component::ApiServer && has_authentication_config(settings) {
        if name.starts_with("oidc-") {
            return refuse(
                format!(
                    "{flag} and '--authentication-config', which Kiln writes, exclude each other"
                ),
                "write a file '/etc/kubernetes/authentication.yaml' into profiles/master.yaml, with 'jwt' \
                 beside 'anonymous': it takes the place of Kiln's",
            );
        }
        if name == "anonymous-auth" {
            return refuse(
                format!(
                    "{flag} and '--authentication-config', which Kiln writes, exclude each other"
                ),
                "leave it out: without a name, only health is answered",
            );
        }
    }
    if component == Component::ApiServer && name == "authorization-config" {
        return refuse(
            format!("{flag} and '--authorization-mode', which Kiln writes, exclude each other"),
            "leave it out: 'Node,RBAC' is what nodes and add-ons need",
        );
    }
    if is_fixed(component, settings, name) {
        return refuse(
            format!("{flag} follows from the cluster file and the image"),
            "change what it follows from, or leave it out",
        );
    }
    if component == Component::Kubelet && IN_KUBELET_CONFIG.contains(&name) {
        return refuse(
            format!(
                "{flag} would win over 'kubelet.yaml', whose value the rest of the image is made for"
            ),
            "leave it out",
        );
    }
    let is_ignored = match component {
        Component::KubeProxy => !is_of_logging(name),
        Component::Scheduler => {
            has_scheduler_config(settings) && IGNORED_BY_SCHEDULER.contains(&name)
        }
        _ => false,
    };
    if is_ignored {
        return refuse(
            format!("{flag} does nothing: the program has a configuration file, and ignores it"),
            "leave it out; a file of the profile can take the place of the one that Kiln writes",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::{settings::tests::settings, version::Minor};

    fn refusal(component: Component, version: &str, name: &str) -> String {
        check(component, &settings(version), name).map_or_else(|it| it.what, |()| String::new())
    }

    #[test]
    fn flags_are_checked_against_the_version_and_against_what_kiln_writes() {
        use Component::{ApiServer, ControllerManager, KubeProxy, Kubelet, Scheduler};
        for (component, version, name, expected) in [
            (ApiServer, "v1.30.0", "event-ttl", ""),
            (ApiServer, "v1.30.0", "insecure-port", "has no flag"),
            (ApiServer, "v1.30.0", "etcd-servers", "follows from the cluster file"),
            (ApiServer, "v1.30.0", "event-tll", "Kiln knows no flag"),
            (ApiServer, "v1.28.0", "authentication-config", "does not have flag"),
            (ApiServer, "v1.31.0", "oidc-issuer-url", ""),
            (ApiServer, "v1.32.0", "oidc-issuer-url", "exclude each other"),
            (ApiServer, "v1.31.0", "anonymous-auth", "follows from the cluster file"),
            (ApiServer, "v1.32.0", "anonymous-auth", "exclude each other"),
            (ApiServer, "v1.32.0", "authorization-config", "exclude each other"),
            (ControllerManager, "v1.30.0", "terminated-pod-gc-threshold", ""),
            (Scheduler, "v1.22.0", "kube-api-qps", ""),
            (Scheduler, "v1.23.0", "kube-api-qps", "does nothing"),
            (Scheduler, "v1.30.0", "write-config-to", "ends the program"),
            (Kubelet, "v1.30.0", "node-labels", ""),
            (Kubelet, "v1.34.0", "pod-infra-container-image", "follows from the cluster file"),
            (Kubelet, "v1.35.0", "pod-infra-container-image", "has no flag"),
            (Kubelet, "v1.20.2", "container-runtime-endpoint", "follows from the cluster file"),
            (Kubelet, "v1.30.0", "container-runtime-endpoint", "would win over 'kubelet.yaml'"),
            (Kubelet, "v1.30.0", "anonymous-auth", "would win over 'kubelet.yaml'"),
            (KubeProxy, "v1.30.0", "proxy-mode", "does nothing"),
            (KubeProxy, "v1.30.0", "hostname-override", "follows from the cluster file"),
            (KubeProxy, "v1.30.0", "v", ""),
        ] {
            let found = refusal(component, version, name);
            let is_right =
                if expected.is_empty() { found.is_empty() } else { found.contains(expected) };
            assert!(is_right, "{component} {version} {name}: {found}");
        }
    }

    #[test]
    fn flags_that_win_over_the_kubelet_s_file_are_in_the_table() {
        for name in IN_KUBELET_CONFIG {
            assert_eq!(check_extra(Component::Kubelet, Minor::NEWEST, name), Ok(()));
        }
        for name in IGNORED_BY_SCHEDULER {
            assert_eq!(check_extra(Component::Scheduler, Minor::NEWEST, name), Ok(()));
        }
    }

    #[test]
    fn names_and_values_have_one_form() {
        assert_eq!(name("event-ttl"), Ok("event-ttl".to_owned()));
        for text in ["--event-ttl", "event-ttl=2h", "-event-ttl=2h"] {
            let complaint = name(text).unwrap_err();
            assert_eq!(complaint.help.unwrap(), "write it as 'event-ttl: VALUE'");
        }
        assert!(value("a=b,c=d e").is_ok());
        // A trap of option files: what follows a continuation mark ends the command.
        for text in ["2h \\ # two hours", "a={{ x }}", "a\nb", "\"a\""] {
            assert!(value(text).unwrap_err().what.contains("cannot be written"), "{text}");
        }
        assert!(program("kubelt").unwrap_err().help.unwrap().contains("did you mean 'kubelet'"));
    }
}
