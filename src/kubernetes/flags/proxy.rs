// SPDX-License-Identifier: Apache-2.0
//! Flags of kube-proxy. With a configuration file, most of them are ignored.

use super::Flag;

const BOTH: &str = "cmd/kube-proxy of v1.20.2, reference page of 1.32";
const RUN: &str = "runs of v1.20.2 and v1.36.2";

const fn both(name: &'static str) -> Flag {
    Flag::new(name, BOTH)
}

const fn run(name: &'static str) -> Flag {
    Flag::new(name, RUN)
}

pub(super) static FLAGS: &[Flag] = &[
    both("bind-address"),
    both("cleanup"),
    run("cluster-cidr"),
    both("config"),
    both("config-sync-period"),
    run("conntrack-max-per-core"),
    both("conntrack-min"),
    both("conntrack-tcp-timeout-close-wait"),
    both("conntrack-tcp-timeout-established"),
    both("detect-local-mode"),
    both("feature-gates"),
    run("hostname-override"),
    both("kube-api-content-type"),
    both("kube-api-qps"),
    run("kubeconfig"),
    both("masquerade-all"),
    both("master"),
    both("metrics-bind-address"),
    both("nodeport-addresses"),
    both("oom-score-adj"),
    both("profiling"),
    run("proxy-mode"),
    both("show-hidden-metrics-for-version"),
    both("write-config-to"),
];
