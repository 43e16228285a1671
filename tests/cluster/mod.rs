// SPDX-License-Identifier: Apache-2.0
//! Kubernetes clusters, from images and seeds alone.
//!
//! The smallest that has every role, in each way to run it; and one in which any machine can die
//! (`failover`).

mod failover;
mod programs;
mod static_pods;

use std::time::Instant;

use crate::support::{
    cluster::{Bench, KUBECTL, check_service, check_units, import, manifest, ready, until, write},
    guest::{Checks, Guest},
    qemu::alone,
};

#[test]
fn the_quickstart_works_with_one_machine_of_each_kind() {
    let bench = Bench::new(".", "out");
    check_cluster(&bench, ["k8s-lb-primary", "k8s-master-1", "k8s-node-1"]);
}

/// A load balancer, a master and a node, and what an administrator can do with them.
fn check_cluster(bench: &Bench, names: [&'static str; 3]) {
    let _alone = alone();
    let started = Instant::now();
    let [mut balancer, mut master, mut node] = names.map(|name| bench.boot(name));
    let all = [&mut balancer, &mut node, &mut master];
    for (machine, name) in all.into_iter().zip([names[0], names[2], names[1]]) {
        ready(machine, name);
    }
    let mut checks = Checks::new(&bench.cluster.name);
    let mut guest = Guest::of(&master);
    let config = bench.admin();
    checks.that("an admin calls the VIP", config.contains("https://192.168.31.100:6443"), &"no");
    write(&mut guest, "/run/admin.conf", &config);
    let is_up = |nodes: &str| nodes.lines().any(|it| it.starts_with(names[2]) && is_ready(it));
    let nodes = until(&mut guest, &format!("{KUBECTL} get nodes --no-headers"), is_up);
    println!("{nodes}: {} s after the start", started.elapsed().as_secs());

    let mut on_node = Guest::of(&node);
    import(&mut checks, names[2], &mut on_node);
    write(&mut guest, "/run/web.yaml", &manifest(1));
    let apply = format!("{KUBECTL} apply --filename=/run/web.yaml");
    checks.mentions("a manifest is applied", &mut guest, &apply, "deployment.apps/web created");
    let is_running = |pods: &str| pods.contains("Running");
    until(&mut guest, &format!("{KUBECTL} get pods --no-headers"), is_running);
    println!("a pod runs {} s after the start", started.elapsed().as_secs());
    check_service(&mut checks, &mut guest, &bench.address(names[2]));
    check_access(&mut checks, &mut guest);
    check_units(&mut checks, names[1], &mut guest);
    check_units(&mut checks, names[2], &mut on_node);
    check_units(&mut checks, names[0], &mut Guest::of(&balancer));
    checks.finish();
}

/// Whether a line of `kubectl get nodes` is that of a node that works.
fn is_ready(line: &str) -> bool {
    line.split_ascii_whitespace().nth(1) == Some("Ready")
}

/// Who gets where, and who does not.
fn check_access(checks: &mut Checks<'_>, guest: &mut Guest) {
    checks.mentions("logs", guest, &format!("{KUBECTL} logs deployment/web"), "serving");
    let exec = format!("{KUBECTL} exec deployment/web -- /busybox id -u");
    checks.prints("exec", guest, &exec, "65534");
    let own = format!("{KUBECTL} get pods --output=wide --no-headers");
    checks.mentions("the pod's address is of its host's range", guest, &own, "10.244.35.");
    let anonymous = "kubectl --kubeconfig=/dev/null --server=https://192.168.31.100:6443 \
                     --insecure-skip-tls-verify --token=nobody get nodes 2>&1 || :";
    checks.mentions("nobody is let in without a name", guest, anonymous, "must be logged in");
    let requests = format!("{KUBECTL} get certificatesigningrequests --no-headers");
    let found = guest.run(&requests);
    let pending = found.text.lines().filter(|line| line.contains("Pending")).count();
    checks.that("every certificate request is decided", pending == 0, &found);
}
