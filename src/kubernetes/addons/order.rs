// SPDX-License-Identifier: Apache-2.0
//! What is applied before what: a kind comes after those that its objects need to exist.
//!
//! Helm and kustomize have such lists too. Whatever comes too early here only costs time: bring-up
//! applies everything again until all of it has been taken.

use super::manifest::Object;

/// Kinds in the order of their application.
const FIRST: [&[&str]; 9] = [
    &["Namespace"],
    &["CustomResourceDefinition"],
    &["PriorityClass", "RuntimeClass", "StorageClass", "IngressClass", "PodSecurityPolicy"],
    &["ResourceQuota", "LimitRange", "NetworkPolicy"],
    &["ServiceAccount"],
    &["ClusterRole", "Role"],
    &["ClusterRoleBinding", "RoleBinding"],
    &["ConfigMap", "Secret", "PersistentVolume", "PersistentVolumeClaim"],
    &["Service"],
];
/// Then come pods, and what counts them.
const WORKLOADS: [&[&str]; 2] = [
    &["DaemonSet", "StatefulSet", "Deployment", "ReplicaSet", "Pod", "Job", "CronJob"],
    &["PodDisruptionBudget", "HorizontalPodAutoscaler"],
];
/// What sends requests of everybody to a pod comes behind all that can do without.
const LAST: [&str; 3] =
    ["APIService", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];

/// Sorts by kind; objects of one rank keep their order.
pub(super) fn sort(objects: &mut [Object]) {
    objects.sort_by_key(|object| rank(&object.kind));
}

/// Kinds that nobody knows here are those of definitions, which the workloads may serve.
fn rank(kind: &str) -> usize {
    let mut known = FIRST.iter().chain(&WORKLOADS);
    let unknown = FIRST.len() + WORKLOADS.len();
    match known.position(|kinds| kinds.contains(&kind)) {
        Some(rank) => rank,
        None if LAST.contains(&kind) => unknown + 1,
        None => unknown,
    }
}
