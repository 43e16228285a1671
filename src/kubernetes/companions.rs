// SPDX-License-Identifier: Apache-2.0
//! Do the packages of an image suit the Kubernetes that it runs?
//!
//! Asked when packages were chosen, and again before a build. The sandbox image of pods is Kiln's
//! own, so its version is no question.

use super::{etcd, requirements::Companion};
use crate::cluster::Cluster;

/// The packages that Kubernetes has needs of.
const PACKAGES: [(&str, Companion); 3] = [
    ("containerd", Companion::Containerd),
    ("containernetworking-plugins", Companion::CniPlugins),
    ("etcd-server", Companion::Etcd),
];

/// A package that is too old.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("package '{package}' {version} is too old: {needs} {oldest} or newer")]
pub struct TooOld {
    package: &'static str,
    version: String,
    /// `Kubernetes 1.30 needs`
    needs: String,
    oldest: String,
}

impl TooOld {
    /// What to do; `suite` is where the package is from now.
    pub fn help(&self, role: &str) -> String {
        format!(
            "take it from a newer suite, as 'debian: {{ from: {{ {}: SUITE }} }}' in \
             profiles/{role}.yaml, then run 'kiln lock'",
            self.package
        )
    }
}

/// Compares a role's packages, each with name and version, with what its Kubernetes needs. Gives
/// what works and could be better.
///
/// # Errors
/// A package is too old.
pub fn check<'a>(
    cluster: &Cluster,
    role: &str,
    packages: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Vec<String>, TooOld> {
    let mut wishes = Vec::new();
    let Some(kubernetes) = &cluster.kubernetes else { return Ok(wishes) };
    for (name, version) in packages {
        let known = PACKAGES.iter().find(|(package, _)| *package == name);
        let Some((package, companion)) = known.filter(|(_, it)| is_needed(cluster, role, *it))
        else {
            continue;
        };
        // etcd serves the API servers, whatever its own host runs.
        let minor = match companion {
            Companion::Etcd => kubernetes.version.minor,
            _ => kubernetes.version_of(role).minor,
        };
        let release = upstream(version);
        if let (Err(_), Some(oldest)) = (companion.check(minor, release), companion.oldest(minor)) {
            return Err(TooOld {
                package,
                version: version.to_owned(),
                needs: companion.needs(minor),
                oldest: oldest.to_string(),
            });
        }
        if let Some(better) = companion.wish(minor, release) {
            wishes.push(format!(
                "package '{name}' {version} of role '{role}': with Kubernetes {minor}, {better} or \
                 newer is recommended"
            ));
        }
    }
    Ok(wishes)
}

/// Whether Kubernetes needs it on hosts of the role. What a role is called does not matter: a member
/// of etcd may be any host.
fn is_needed(cluster: &Cluster, role: &str, companion: Companion) -> bool {
    match companion {
        Companion::Etcd => cluster
            .hosts_of(role)
            .any(|(host, _)| etcd::members(cluster).any(|(member, _)| member == host)),
        Companion::Containerd | Companion::CniPlugins => cluster.runs_pods(role),
    }
}

/// A package's version without Debian's epoch.
fn upstream(version: &str) -> &str {
    version.split_once(':').map_or(version, |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::{MASTER, NODE, fixture::cluster};

    fn check(version: &str, role: &str, package: &str, found: &str) -> Result<Vec<String>, TooOld> {
        super::check(&cluster(&format!("version: {version}")), role, [(package, found)])
    }

    #[test]
    fn old_packages_are_refused_by_name() {
        let error = check("v1.30.1", NODE, "containerd", "1.4.13~ds1-1~deb11u4").unwrap_err();
        assert_eq!(
            error.to_string(),
            "package 'containerd' 1.4.13~ds1-1~deb11u4 is too old: Kubernetes 1.30 needs 1.6.0 or newer"
        );
        assert_eq!(
            error.help(NODE),
            "take it from a newer suite, as 'debian: { from: { containerd: SUITE } }' in \
             profiles/node.yaml, then run 'kiln lock'"
        );
        let error = check("v1.28.0", MASTER, "etcd-server", "3.3.25+dfsg-6").unwrap_err();
        assert_eq!(
            error.to_string(),
            "package 'etcd-server' 3.3.25+dfsg-6 is too old: Kubernetes 1.28 needs 3.4.13, and what \
             Kiln writes ('allowed-cn' of etcd.json) needs 3.5.15 or newer"
        );
        let error = check("v1.20.2", NODE, "containernetworking-plugins", "0.9.0-1").unwrap_err();
        assert_eq!(
            error.to_string(),
            "package 'containernetworking-plugins' 0.9.0-1 is too old: \
             the pods' network (CNI 1.0.0) needs 1.0.0 or newer"
        );
    }

    #[test]
    fn what_is_not_recommended_is_said_and_taken() {
        assert_eq!(
            check("v1.31.0", NODE, "containerd", "1:1.6.20~ds1-1+deb12u1").unwrap(),
            [
                "package 'containerd' 1:1.6.20~ds1-1+deb12u1 of role 'node': with Kubernetes 1.31, 1.6.34 \
              or newer is recommended"
            ]
        );
        for (role, package, version) in [
            (NODE, "containerd", "1.7.24~ds1-6+deb13u1"),
            (NODE, "containernetworking-plugins", "1.1.1+ds1-3+b19"),
            (MASTER, "etcd-server", "3.5.16-4+b1"),
            // Somebody else's balancer may have what it likes.
            ("lb", "containerd", "1.0"),
            (NODE, "bash", "1"),
        ] {
            assert_eq!(check("v1.34.0", role, package, version), Ok(Vec::new()), "{package}");
        }
    }

    #[test]
    fn etcd_is_checked_on_whatever_role_has_a_member() {
        let mut cluster = cluster("version: v1.30.0");
        let found =
            |cluster: &Cluster| super::check(cluster, "lb", [("etcd-server", "3.3.25+dfsg-6")]);
        assert_eq!(found(&cluster), Ok(Vec::new()));
        cluster.etcd.members = vec!["l1".to_owned()];
        let error = found(&cluster).unwrap_err();
        assert_eq!(
            error.to_string(),
            "package 'etcd-server' 3.3.25+dfsg-6 is too old: Kubernetes 1.30 needs 3.4.13, and what \
             Kiln writes ('allowed-cn' of etcd.json) needs 3.5.15 or newer"
        );
        assert!(error.help("lb").contains("in profiles/lb.yaml"));
        // Nobody runs it there any more.
        assert!(super::check(&cluster, MASTER, [("etcd-server", "3.3.25")]).is_ok());
    }

    #[test]
    fn a_master_needs_a_runtime_only_if_it_runs_pods() {
        let check = |control_plane: &str| {
            let cluster = cluster(&format!("version: v1.30.0, control-plane: {control_plane}"));
            super::check(&cluster, MASTER, [("containerd", "1.5.9")]).is_ok()
        };
        assert!(check("systemd") && !check("static-pods"));
    }

    #[test]
    fn nodes_are_asked_for_what_they_run_and_etcd_for_what_masters_run() {
        let versions = "version: v1.28.0, node-version: v1.25.3, binaries: 'up/{version}'";
        let cluster = cluster(versions);
        let check = |package, version| super::check(&cluster, NODE, [(package, version)]).is_ok();
        assert!(check("containerd", "1.5.9"));
        assert!(!check("etcd-server", "3.5.14-1"));
        assert!(check("etcd-server", "3.5.15-1"));
    }
}
