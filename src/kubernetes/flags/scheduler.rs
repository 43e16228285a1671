// SPDX-License-Identifier: Apache-2.0
//! Flags of kube-scheduler. Most of what they did is in its configuration file now.

use super::Flag;

const BOTH: &str = "cmd/kube-scheduler of v1.20.2, reference page of 1.36";
const POLICY: &str = "CHANGELOG-1.23.md, PR 105424";
const PROFILES: &str = "write profiles into KubeSchedulerConfiguration";
const INSECURE: &str = "CHANGELOG-1.24.md, reference page of 1.36";

const fn both(name: &'static str) -> Flag {
    Flag::new(name, BOTH)
}

const fn policy(name: &'static str) -> Flag {
    Flag::removed(name, 23, PROFILES, POLICY)
}

pub(super) static FLAGS: &[Flag] = &[
    Flag::removed("address", 24, "write --bind-address", INSECURE)
        .deprecated(23, "write --bind-address"),
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
    both("client-ca-file"),
    both("config"),
    both("contention-profiling"),
    both("feature-gates"),
    both("kube-api-burst"),
    both("kube-api-content-type"),
    both("kube-api-qps"),
    both("kubeconfig"),
    both("leader-elect"),
    both("leader-elect-lease-duration"),
    both("leader-elect-renew-deadline"),
    both("leader-elect-retry-period"),
    both("master"),
    both("permit-port-sharing"),
    policy("policy-config-file"),
    policy("policy-configmap"),
    policy("policy-configmap-namespace"),
    Flag::removed("port", 24, "write --secure-port", INSECURE)
        .deprecated(23, "write --secure-port"),
    both("profiling"),
    both("requestheader-allowed-names"),
    both("requestheader-client-ca-file"),
    both("secure-port"),
    both("show-hidden-metrics-for-version"),
    both("tls-cert-file"),
    both("tls-cipher-suites"),
    both("tls-min-version"),
    both("tls-private-key-file"),
    both("tls-sni-cert-key"),
    policy("use-legacy-policy-config"),
    both("write-config-to"),
];
