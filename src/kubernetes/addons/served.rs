// SPDX-License-Identifier: Apache-2.0
//! Which API versions does a minor of Kubernetes serve?
//!
//! Source: "Deprecated API Migration Guide" of the website
//! (`reference/using-api/deprecation-guide`), which names for each version the minor that stopped
//! serving it, and the one that began to serve its successor. What is in no row is not judged:
//! custom kinds, and versions that came before 1.20 and stayed.

use super::manifest::Object;
use crate::{kubernetes::version::Minor, yaml::fields::Complaint};

/// Minors are those of Kubernetes 1.
struct Row {
    version: &'static str,
    /// All kinds of the version if none is named.
    kinds: &'static [&'static str],
    /// The first minor that serves it; 0 if all that Kiln knows did.
    since: u8,
    /// The first minor that does not any more; 255 if none.
    until: u8,
    /// What to write instead, where it is not served any more.
    instead: &'static str,
}

const fn ended(
    until: u8,
    version: &'static str,
    kinds: &'static [&'static str],
    instead: &'static str,
) -> Row {
    Row { version, kinds, since: 0, until, instead }
}

const fn began(
    since: u8,
    version: &'static str,
    kinds: &'static [&'static str],
    instead: &'static str,
) -> Row {
    Row { version, kinds, since, until: u8::MAX, instead }
}

const RBAC: &str = "rbac.authorization.k8s.io/v1";
const FLOW: [&str; 2] = ["FlowSchema", "PriorityLevelConfiguration"];
const HOOKS: [&str; 2] = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];
const STORAGE: [&str; 4] = ["CSIDriver", "CSINode", "StorageClass", "VolumeAttachment"];

const TABLE: [Row; 35] = [
    // The guide's section v1.16.
    ended(16, "extensions/v1beta1", &["DaemonSet", "Deployment", "ReplicaSet"], "apps/v1"),
    ended(16, "extensions/v1beta1", &["NetworkPolicy"], "networking.k8s.io/v1"),
    ended(16, "extensions/v1beta1", &["PodSecurityPolicy"], "policy/v1beta1, up to 1.24"),
    ended(16, "apps/v1beta1", &[], "apps/v1"),
    ended(16, "apps/v1beta2", &[], "apps/v1"),
    // v1.22.
    ended(22, "extensions/v1beta1", &["Ingress"], "networking.k8s.io/v1"),
    ended(22, "networking.k8s.io/v1beta1", &["Ingress", "IngressClass"], "networking.k8s.io/v1"),
    ended(22, "rbac.authorization.k8s.io/v1beta1", &[], RBAC),
    ended(22, "admissionregistration.k8s.io/v1beta1", &HOOKS, "admissionregistration.k8s.io/v1"),
    ended(22, "apiextensions.k8s.io/v1beta1", &[], "apiextensions.k8s.io/v1"),
    ended(22, "apiregistration.k8s.io/v1beta1", &[], "apiregistration.k8s.io/v1"),
    ended(22, "authentication.k8s.io/v1beta1", &["TokenReview"], "authentication.k8s.io/v1"),
    ended(22, "authorization.k8s.io/v1beta1", &[], "authorization.k8s.io/v1"),
    ended(
        22,
        "certificates.k8s.io/v1beta1",
        &["CertificateSigningRequest"],
        "certificates.k8s.io/v1",
    ),
    ended(22, "coordination.k8s.io/v1beta1", &["Lease"], "coordination.k8s.io/v1"),
    ended(22, "scheduling.k8s.io/v1beta1", &["PriorityClass"], "scheduling.k8s.io/v1"),
    ended(22, "storage.k8s.io/v1beta1", &STORAGE, "storage.k8s.io/v1"),
    // v1.25.
    ended(25, "batch/v1beta1", &["CronJob"], "batch/v1"),
    ended(25, "discovery.k8s.io/v1beta1", &["EndpointSlice"], "discovery.k8s.io/v1"),
    ended(25, "events.k8s.io/v1beta1", &["Event"], "events.k8s.io/v1"),
    ended(25, "autoscaling/v2beta1", &[], "autoscaling/v2"),
    ended(25, "policy/v1beta1", &["PodDisruptionBudget"], "policy/v1"),
    ended(25, "policy/v1beta1", &["PodSecurityPolicy"], "labels of Pod Security Admission"),
    ended(25, "node.k8s.io/v1beta1", &["RuntimeClass"], "node.k8s.io/v1"),
    // v1.26 to v1.32.
    ended(26, "autoscaling/v2beta2", &[], "autoscaling/v2"),
    ended(
        26,
        "flowcontrol.apiserver.k8s.io/v1beta1",
        &FLOW,
        "flowcontrol.apiserver.k8s.io/v1beta3",
    ),
    ended(27, "storage.k8s.io/v1beta1", &["CSIStorageCapacity"], "storage.k8s.io/v1"),
    Row {
        version: "flowcontrol.apiserver.k8s.io/v1beta3",
        kinds: &FLOW,
        since: 26,
        until: 32,
        instead: "flowcontrol.apiserver.k8s.io/v1",
    },
    ended(29, "flowcontrol.apiserver.k8s.io/v1beta2", &FLOW, "flowcontrol.apiserver.k8s.io/v1"),
    // Successors, with the minor that they are available since.
    began(21, "batch/v1", &["CronJob"], "batch/v1beta1"),
    began(21, "discovery.k8s.io/v1", &["EndpointSlice"], "discovery.k8s.io/v1beta1"),
    began(21, "policy/v1", &["PodDisruptionBudget"], "policy/v1beta1"),
    began(23, "autoscaling/v2", &[], "autoscaling/v2beta2"),
    began(24, "storage.k8s.io/v1", &["CSIStorageCapacity"], "storage.k8s.io/v1beta1"),
    began(29, "flowcontrol.apiserver.k8s.io/v1", &FLOW, "flowcontrol.apiserver.k8s.io/v1beta3"),
];

/// # Errors
/// The minor does not serve the object's API version.
pub(super) fn check(object: &Object, minor: Minor) -> Result<(), Complaint> {
    let (version, kind) = (&*object.api_version, &*object.kind);
    let row = TABLE.iter().find(|row| {
        let is_of_kind = row.kinds.is_empty() || row.kinds.contains(&kind);
        row.version == version && is_of_kind && !(row.since..row.until).contains(&minor.get())
    });
    let Some(Row { until, since, instead, .. }) = row else { return Ok(()) };
    let why = if minor.get() >= *until {
        format!("Kubernetes {minor} does not serve '{version}' of {kind} any more, since 1.{until}")
    } else {
        format!("Kubernetes {minor} does not serve '{version}' of {kind} yet, before 1.{since}")
    };
    Err(Complaint::new(
        why,
        format!("write {instead}, or choose by 'kubernetes.minor' in a template"),
    ))
}
