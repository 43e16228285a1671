// SPDX-License-Identifier: Apache-2.0
//! `control-plane: static-pods`: what such a master is beside a kubelet with manifests.
//!
//! It runs containers, so it has the runtime of nodes, which is a profile of the workspace. A cluster
//! file that asks for static pods has it laid below masters' own ([`profile`]), or is refused at its
//! line if there is no such profile ([`check`]).

use super::MASTER;
use crate::{
    cluster::Cluster,
    diagnostic::{Diagnostic, Problems},
    workspace::Workspace,
    yaml::Node,
};

/// The profile with the container runtime.
const RUNTIME: &str = "containerd";

/// The profile that a cluster file lays below a role's own, which so has the last word.
pub fn profile(cluster: &Cluster, role: &str) -> Option<&'static str> {
    (role == MASTER && cluster.runs_pods(role)).then_some(RUNTIME)
}

/// Complains about a workspace that cannot make such masters.
pub fn check(cluster: &Cluster, node: &Node, workspace: &Workspace, problems: &Problems) {
    let has_masters = cluster.hosts_of(MASTER).next().is_some();
    if !has_masters || !cluster.runs_pods(MASTER) || workspace.profiles.contains_key(RUNTIME) {
        return;
    }
    let title = format!(
        "static pods need the profile of the runtime, and there is no 'profiles/{RUNTIME}.yaml'"
    );
    let help = "masters take it as nodes do: write what runs containers there, or take 'systemd'";
    let place = node.place(&["kubernetes", "control-plane"]);
    problems.add(Diagnostic::new(title).at(place).help(help));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        kubernetes::{
            configs::tests::encryption_keys,
            fixture::{STATIC_PODS, SYSTEMD, planned},
            kubeconfig::tests::token,
            role,
        },
        pki::{
            delivery::wanted,
            leaves::{Scope, leaves},
        },
        plan::Plan,
        profile::FileContent,
        seed,
        tree::TreePath,
    };

    const PROGRAMS: [&str; 3] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"];

    fn file<'a>(plan: &'a Plan, path: &str) -> Option<&'a FileContent> {
        let path = TreePath::new(path).unwrap();
        plan.profile.files.get(&path).map(|file| &file.content)
    }

    #[test]
    fn a_kubelet_starts_the_control_plane_and_no_service_does() {
        let plan = planned(STATIC_PODS, "master");
        for name in PROGRAMS {
            assert_eq!(file(&plan, &format!("/usr/lib/systemd/system/{name}.service")), None);
            let manifest = file(&plan, &format!("/etc/kubernetes/manifests/{name}.yaml"));
            // Only what names the host's address is made at first boot.
            let Some(FileContent::BootTemplate(manifest) | FileContent::Text(manifest)) = manifest
            else {
                panic!("{name}")
            };
            assert!(
                manifest.contains(&format!("image: \"localhost/{name}:v1.20.2\"")),
                "{manifest}"
            );
            assert!(!plan.profile.users.contains_key(name));
        }
        let ready = [
            "containerd.service",
            "etcd.service",
            "kiln-api.service",
            "kiln-approve.service",
            "kiln-bring-up.service",
            "kiln-images.service",
            "kube-proxy.service",
            "kubelet.service",
        ];
        let services = &plan.profile.services;
        assert_eq!(services.ready, BTreeSet::from(ready.map(str::to_owned)));
        assert_eq!(services.enable, services.ready);
        let Some(FileContent::Text(unit)) = file(&plan, "/usr/lib/systemd/system/kiln-api.service")
        else {
            panic!("no unit")
        };
        assert!(!unit.contains("kube-apiserver") && !unit.contains("kubelet"), "{unit}");
    }

    #[test]
    fn a_master_gets_the_runtime_below_what_its_profile_says_itself() {
        let profile = planned(STATIC_PODS, "master").profile;
        assert_eq!(profile.overlays, ["containerd", "site"]);
        assert!(profile.replace.contains(&TreePath::literal("/etc/containerd/config.toml")));
        for package in
            ["containerd", "containernetworking-plugins", "runc", "conntrack", "iptables"]
        {
            assert!(profile.packages.install.contains(package), "{package}");
        }
        assert!(profile.kernel.modules.contains("ip_vs"));
        let allowed: Vec<String> = profile.firewall.allow.iter().map(ToString::to_string).collect();
        assert!(allowed.contains(&"tcp 10250 from hosts".to_owned()), "{allowed:?}");
        assert!(!allowed.iter().any(|rule| rule.contains("30000")), "{allowed:?}");
        let profile = planned(SYSTEMD, "master").profile;
        assert_eq!(profile.overlays, ["site"]);
        assert!(!profile.packages.install.contains("containerd"));
    }

    #[test]
    fn every_program_is_carried_once_and_manifests_name_the_images() {
        let plan = planned(STATIC_PODS, "master");
        let programs = role::programs(&plan.cluster, "master");
        let names: BTreeSet<&str> = programs.iter().map(|program| program.name).collect();
        assert_eq!(names.len(), programs.len());
        for program in &programs {
            let image = PROGRAMS.contains(&program.name);
            let image = image.then(|| format!("localhost/{}:v1.20.2", program.name));
            assert_eq!(program.image, image);
            assert_eq!(program.path.as_str(), format!("/usr/bin/{}", program.name));
        }
        let systemd = planned(SYSTEMD, "master").cluster;
        for (cluster, role) in [(&plan.cluster, "node"), (&systemd, "master")] {
            assert!(role::programs(cluster, role).iter().all(|program| program.image.is_none()));
        }
    }

    #[test]
    fn what_a_kubelet_joins_with_is_in_no_plan_and_calls_the_virtual_address() {
        let plan = planned(STATIC_PODS, "master");
        let secrets = role::secrets(&plan.cluster, "master", &token(), &encryption_keys());
        let paths: Vec<&str> = secrets.iter().map(|file| file.path.as_str()).collect();
        let expected = [
            "/etc/kubernetes/bootstrap-kubelet.conf",
            "/etc/kubernetes/encryption.yaml",
            "/etc/kubernetes/bootstrap-token.yaml",
        ];
        assert_eq!(paths, expected);
        for secret in &secrets {
            assert_eq!(file(&plan, &secret.path), None);
            assert_eq!((secret.mode, secret.owner, secret.kind.is_secret()), (0o600, "root", true));
        }
        let joins = String::from_utf8(secrets[0].content.clone()).unwrap();
        assert!(joins.contains("server: \"https://192.168.31.100:6443\""), "{joins}");
        assert!(!format!("{plan:?}").contains("0123456789abcdef"));
    }

    /// A pod's root has no capabilities: it reads what it owns.
    #[test]
    fn every_key_of_a_static_pod_is_root_s_and_kube_proxy_has_one() {
        let cluster = planned(STATIC_PODS, "master").cluster;
        let master = Scope::Role("master".to_owned());
        let proxy = |cluster: &Cluster| {
            leaves(cluster, &master).iter().any(|leaf| leaf.name == "kube-proxy")
        };
        assert!(proxy(&cluster));
        assert!(!proxy(&planned(SYSTEMD, "master").cluster));
        let files = wanted(&cluster, &master);
        let keys = files.iter().filter(|file| file.path.starts_with("/etc/kubernetes/"));
        assert!(keys.clone().any(|file| file.path == "/etc/kubernetes/pki/kube-proxy.key"));
        assert!(keys.clone().all(|file| file.owner == "root"), "{files:?}");
    }

    #[test]
    fn masters_have_a_part_of_the_pods_network_and_everybody_knows_the_way() {
        let cluster = planned(STATIC_PODS, "master").cluster;
        let hosts: Vec<&str> = cluster.pod_hosts().map(|(name, _)| name).collect();
        assert!(hosts.contains(&"m1") && !hosts.contains(&"l1"), "{hosts:?}");
        for host in ["n1", "l1"] {
            let files = seed::files(&cluster, host).unwrap();
            let text = String::from_utf8(files["network-config"].clone()).unwrap();
            assert!(text.contains("\"to\": \"10.244.24.0/24\""), "{host}: {text}");
        }
    }
}
