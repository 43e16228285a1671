// SPDX-License-Identifier: Apache-2.0
//! The objects that a new cluster needs before its first node can join.
//!
//! Kubelets ask for a client certificate with a bootstrap token; the controller-manager approves
//! what looks like a node's own. Nothing built in approves a kubelet's serving certificate, and
//! without one `kubectl logs` and `exec` fail: `kiln-approve.service` does, by a certificate of its
//! own, so no object here gives anybody that right.

use super::{
    document::{Value, map},
    kubeconfig::BootstrapToken,
};

/// RBAC is v1 in every minor; v1beta1 ended with 1.21.
const RBAC: &str = "rbac.authorization.k8s.io/v1";
const RBAC_GROUP: &str = "rbac.authorization.k8s.io";
/// The user that load balancers check API servers as, and what it is allowed.
pub const HEALTH_CHECK: &str = "kiln:lb-healthcheck";

fn binding(name: &str, role: &str, subjects: Vec<Value>) -> Value {
    let role = map([
        ("apiGroup", RBAC_GROUP.into()),
        ("kind", "ClusterRole".into()),
        ("name", role.into()),
    ]);
    map([
        ("apiVersion", RBAC.into()),
        ("kind", "ClusterRoleBinding".into()),
        ("metadata", map([("name", name.into())])),
        ("roleRef", role),
        ("subjects", subjects.into()),
    ])
}

fn subject(kind: &str, name: &str) -> Value {
    map([("apiGroup", RBAC_GROUP.into()), ("kind", kind.into()), ("name", name.into())])
}

/// Who may ask for certificates, which are approved, and who may call kubelets.
pub fn bindings() -> Vec<Value> {
    let group = |name: &str| vec![subject("Group", name)];
    let approver =
        |what: &str| format!("system:certificates.k8s.io:certificatesigningrequests:{what}");
    vec![
        binding("kiln:node-bootstrap", "system:node-bootstrapper", group("system:bootstrappers")),
        binding("kiln:node-client", &approver("nodeclient"), group("system:bootstrappers")),
        binding("kiln:node-client-renewal", &approver("selfnodeclient"), group("system:nodes")),
        // The API server's certificate for kubelets is in that group; the user stands here for
        // certificates that other tools made.
        binding(
            "kiln:kubelet-clients",
            "system:kubelet-api-admin",
            vec![
                subject("Group", "kiln:kubelet-clients"),
                subject("User", "kube-apiserver-kubelet-client"),
            ],
        ),
    ]
}

/// Lets load balancers ask API servers whether they are ready, and nothing else. Every user may
/// by default; a site that narrows `system:public-info-viewer` does not lose its balancers.
fn health_check() -> Vec<Value> {
    let texts = |items: &[&str]| super::document::texts(items.iter().copied());
    let rule = map([("nonResourceURLs", texts(&["/readyz"])), ("verbs", texts(&["get"]))]);
    let role = map([
        ("apiVersion", RBAC.into()),
        ("kind", "ClusterRole".into()),
        ("metadata", map([("name", HEALTH_CHECK.into())])),
        ("rules", vec![rule].into()),
    ]);
    vec![role, binding(HEALTH_CHECK, HEALTH_CHECK, vec![subject("User", HEALTH_CHECK)])]
}

/// The secret that makes a token valid until it expires.
pub fn token_secret(token: &BootstrapToken) -> Value {
    let metadata = map([
        ("name", format!("bootstrap-token-{}", token.id).into()),
        ("namespace", "kube-system".into()),
    ]);
    let data = map([
        ("description", "lets kubelets ask for their first certificate".into()),
        ("expiration", token.expires.as_str().into()),
        ("token-id", token.id.as_str().into()),
        ("token-secret", token.secret.reveal().into()),
        ("usage-bootstrap-authentication", "true".into()),
        ("usage-bootstrap-signing", "false".into()),
    ]);
    map([
        ("apiVersion", "v1".into()),
        ("kind", "Secret".into()),
        ("metadata", metadata),
        ("type", "bootstrap.kubernetes.io/token".into()),
        ("stringData", data),
    ])
}

/// Documents in one file, as `kubectl apply` reads it.
pub fn manifest(documents: &[Value]) -> String {
    documents.iter().map(|document| format!("---\n{document}")).collect()
}

/// Everything but the token, which is a secret and short-lived.
pub fn objects() -> Vec<Value> {
    let mut all = bindings();
    all.extend(health_check());
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::kubeconfig::tests::token;

    #[test]
    fn objects_use_stable_versions_and_make_nobody_a_superuser() {
        let text = manifest(&objects());
        for version in text.lines().filter_map(|line| line.strip_prefix("apiVersion: ")) {
            assert_eq!(version, RBAC);
        }
        assert!(!text.contains("cluster-admin") && !text.contains("system:masters"));
        assert!(!text.contains("kubelet-serving"), "{text}");
        assert_eq!(text.matches("---\n").count(), 6);
    }

    #[test]
    fn a_token_expires_and_only_authenticates() {
        let text = token_secret(&token()).to_string();
        assert!(text.contains("expiration: \"2030-01-31T12:00:00Z\""), "{text}");
        assert!(text.contains("type: bootstrap.kubernetes.io/token"), "{text}");
        assert!(text.contains("usage-bootstrap-signing: \"false\""), "{text}");
    }
}
