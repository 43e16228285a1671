// SPDX-License-Identifier: Apache-2.0
//! Flags of the kubelet. Nearly all of what it does is in its configuration file; a flag wins
//! over the file, and most of those below warn that they belong into it.

use super::Flag;

const BOTH: &str = "cmd/kubelet of v1.20.2, reference page of 1.35";
const RUN: &str = "runs of v1.20.2 and v1.36.2";
const DOCKERSHIM: &str = "CHANGELOG-1.24.md, PR 106907";
const RUNTIME: &str = "configure the container runtime instead";
const PAUSE: &str = "name the pause image in containerd's configuration";
const ENDPOINT: &str = "write --container-runtime-endpoint alone";

const fn both(name: &'static str) -> Flag {
    Flag::new(name, BOTH)
}

const fn run(name: &'static str) -> Flag {
    Flag::new(name, RUN)
}

const fn dockershim(name: &'static str) -> Flag {
    Flag::removed(name, 24, RUNTIME, DOCKERSHIM)
}

pub(super) static FLAGS: &[Flag] = &[
    both("address"),
    both("allowed-unsafe-sysctls"),
    both("anonymous-auth"),
    both("authentication-token-webhook"),
    both("authorization-mode"),
    both("bootstrap-kubeconfig"),
    both("cert-dir"),
    both("cgroup-driver"),
    both("cgroup-root"),
    both("cgroups-per-qos"),
    both("client-ca-file"),
    both("cloud-provider"),
    both("cluster-dns"),
    both("cluster-domain"),
    dockershim("cni-bin-dir"),
    dockershim("cni-cache-dir"),
    dockershim("cni-conf-dir"),
    run("config"),
    both("container-log-max-files"),
    both("container-log-max-size"),
    Flag::removed("container-runtime", 27, ENDPOINT, "CHANGELOG-1.27.md, PR 114017"),
    run("container-runtime-endpoint"),
    both("contention-profiling"),
    both("cpu-cfs-quota"),
    both("cpu-cfs-quota-period"),
    both("cpu-manager-policy"),
    both("cpu-manager-reconcile-period"),
    dockershim("docker-endpoint"),
    both("enable-controller-attach-detach"),
    both("enable-debugging-handlers"),
    both("enable-server"),
    both("enforce-node-allocatable"),
    both("event-burst"),
    both("event-qps"),
    both("eviction-hard"),
    both("eviction-max-pod-grace-period"),
    both("eviction-minimum-reclaim"),
    both("eviction-pressure-transition-period"),
    both("eviction-soft"),
    both("eviction-soft-grace-period"),
    both("exit-on-lock-contention"),
    dockershim("experimental-dockershim-root-directory"),
    both("fail-swap-on"),
    both("feature-gates"),
    both("healthz-port"),
    run("hostname-override"),
    both("http-check-frequency"),
    both("image-credential-provider-bin-dir"),
    both("image-credential-provider-config"),
    both("image-gc-high-threshold"),
    both("image-gc-low-threshold"),
    dockershim("image-pull-progress-deadline"),
    both("image-service-endpoint"),
    both("kernel-memcg-notification"),
    both("kube-api-burst"),
    both("kube-api-content-type"),
    both("kube-api-qps"),
    both("kube-reserved"),
    both("kube-reserved-cgroup"),
    run("kubeconfig"),
    both("kubelet-cgroups"),
    both("lock-file"),
    both("make-iptables-util-chains"),
    both("manifest-url"),
    both("manifest-url-header"),
    both("max-open-files"),
    both("max-pods"),
    dockershim("network-plugin"),
    dockershim("network-plugin-mtu"),
    run("node-ip"),
    both("node-labels"),
    both("node-status-max-images"),
    both("node-status-update-frequency"),
    both("oom-score-adj"),
    Flag::removed("pod-infra-container-image", 35, PAUSE, "CHANGELOG-1.35.md, PR 133778")
        .deprecated(24, PAUSE),
    both("pod-manifest-path"),
    both("pod-max-pids"),
    both("pods-per-core"),
    both("port"),
    both("protect-kernel-defaults"),
    both("provider-id"),
    both("read-only-port"),
    both("register-node"),
    both("register-with-taints"),
    both("registry-burst"),
    both("registry-qps"),
    both("reserved-cpus"),
    both("resolv-conf"),
    run("root-dir"),
    both("rotate-certificates"),
    both("rotate-server-certificates"),
    both("runtime-cgroups"),
    both("runtime-request-timeout"),
    both("serialize-image-pulls"),
    both("streaming-connection-idle-timeout"),
    both("sync-frequency"),
    both("system-cgroups"),
    both("system-reserved"),
    both("system-reserved-cgroup"),
    both("tls-cert-file"),
    both("tls-cipher-suites"),
    both("tls-min-version"),
];
