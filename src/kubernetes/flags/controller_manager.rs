// SPDX-License-Identifier: Apache-2.0
//! Flags of kube-controller-manager, which has no configuration file.

use super::Flag;

const BOTH: &str = "options of v1.20.2, reference page of 1.35";
const TAINTS: &str = "PR 115840, website PR 40048";
const TOLERATION: &str =
    "write --default-unreachable-toleration-seconds of kube-apiserver, or tolerations into pods";
const INSECURE: &str = "CHANGELOG-1.24.md, PR 106860";

const fn both(name: &'static str) -> Flag {
    Flag::new(name, BOTH)
}

const fn gone(name: &'static str, minor: u8, instead: &'static str, source: &'static str) -> Flag {
    Flag::removed(name, minor, instead, source)
}

pub(super) static FLAGS: &[Flag] = &[
    gone("address", 24, "write --bind-address", INSECURE).deprecated(20, "write --bind-address"),
    both("allocate-node-cidrs"),
    both("attach-detach-reconcile-sync-period"),
    both("authentication-kubeconfig"),
    both("authentication-skip-lookup"),
    both("authentication-token-webhook-cache-ttl"),
    both("authentication-tolerate-lookup-failure"),
    both("authorization-always-allow-paths"),
    both("authorization-kubeconfig"),
    both("authorization-webhook-cache-authorized-ttl"),
    both("authorization-webhook-cache-unauthorized-ttl"),
    both("bind-address"),
    both("cert-dir"),
    both("cidr-allocator-type"),
    both("client-ca-file"),
    both("cloud-config"),
    both("cloud-provider"),
    both("cluster-cidr"),
    both("cluster-name"),
    both("cluster-signing-cert-file"),
    both("cluster-signing-duration"),
    both("cluster-signing-key-file"),
    both("cluster-signing-kube-apiserver-client-cert-file"),
    both("cluster-signing-kube-apiserver-client-key-file"),
    both("cluster-signing-kubelet-client-cert-file"),
    both("cluster-signing-kubelet-client-key-file"),
    both("cluster-signing-kubelet-serving-cert-file"),
    both("cluster-signing-kubelet-serving-key-file"),
    both("cluster-signing-legacy-unknown-cert-file"),
    both("cluster-signing-legacy-unknown-key-file"),
    both("concurrent-deployment-syncs"),
    both("concurrent-endpoint-syncs"),
    both("controllers"),
    gone("enable-taint-manager", 27, "leave it out", TAINTS),
    both("feature-gates"),
    both("flex-volume-plugin-dir"),
    both("horizontal-pod-autoscaler-cpu-initialization-period"),
    both("horizontal-pod-autoscaler-downscale-stabilization"),
    both("horizontal-pod-autoscaler-initial-readiness-delay"),
    both("horizontal-pod-autoscaler-sync-period"),
    both("horizontal-pod-autoscaler-tolerance"),
    both("http2-max-streams-per-connection"),
    both("kube-api-burst"),
    both("kube-api-content-type"),
    both("kube-api-qps"),
    both("kubeconfig"),
    both("large-cluster-size-threshold"),
    both("leader-elect"),
    both("leader-elect-lease-duration"),
    both("leader-elect-renew-deadline"),
    both("leader-elect-retry-period"),
    both("master"),
    both("max-endpoints-per-slice"),
    both("min-resync-period"),
    both("namespace-sync-period"),
    both("node-cidr-mask-size"),
    both("node-cidr-mask-size-ipv4"),
    both("node-cidr-mask-size-ipv6"),
    both("node-eviction-rate"),
    both("node-monitor-grace-period"),
    both("node-monitor-period"),
    both("node-startup-grace-period"),
    both("permit-port-sharing"),
    gone("pod-eviction-timeout", 27, TOLERATION, TAINTS).deprecated(26, TOLERATION),
    gone("port", 24, "write --secure-port", INSECURE).deprecated(20, "write --secure-port"),
    both("profiling"),
    both("pvclaimbinder-sync-period"),
    both("requestheader-allowed-names"),
    both("requestheader-client-ca-file"),
    both("resource-quota-sync-period"),
    both("root-ca-file"),
    both("route-reconciliation-period"),
    both("secondary-node-eviction-rate"),
    both("secure-port"),
    both("service-account-private-key-file"),
    both("service-cluster-ip-range"),
    both("show-hidden-metrics-for-version"),
    both("terminated-pod-gc-threshold"),
    both("tls-cert-file"),
    both("tls-cipher-suites"),
    both("tls-min-version"),
    both("tls-private-key-file"),
    both("tls-sni-cert-key"),
    both("unhealthy-zone-threshold"),
    both("use-service-account-credentials"),
];
