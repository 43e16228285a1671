// SPDX-License-Identifier: Apache-2.0
//! Kubernetes clusters, from images and seeds alone.
//!
//! The smallest that has every role, in each way to run it; and one in which any machine can die
//! (`failover`).

mod failover;
mod programs;
mod static_pods;

use std::{collections::BTreeSet, net::Ipv4Addr, time::Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kiln::{cluster::Cidr, kubernetes::arguments::AUDIT_FOLDER};

use crate::support::{
    balancer::check_keepalived,
    cluster::{
        Bench, ETCDCTL, KUBECTL, check_kubelet, check_service, check_units, import, manifest,
        ready, until, write,
    },
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
    let server = format!("https://{}:{}", bench.cluster.endpoint.vip, bench.cluster.endpoint.port);
    checks.that("an admin calls the VIP", config.contains(&server), &server);
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
    let range = bench.cluster.pod_range(&bench.cluster.hosts[names[2]]);
    let range = range.expect("a range of the node's own");
    check_access(bench, &mut checks, &mut guest, range);
    check_storage(&mut checks, &mut guest);
    check_units(&mut checks, names[1], &mut guest);
    check_units(&mut checks, names[2], &mut on_node);
    check_kubelet(&mut checks, names[2], &mut on_node);
    print_times(&mut guest);
    let mut on_balancer = Guest::of(&balancer);
    check_units(&mut checks, names[0], &mut on_balancer);
    check_keepalived(&mut checks, &mut on_balancer);
    checks.finish();
}

/// When the services of a master were up, in seconds since its kernel started.
fn print_times(guest: &mut Guest) {
    let commands = "for unit in etcd kube-apiserver kiln-api kube-controller-manager kube-scheduler \
                    kiln-bring-up; do micros=$(systemctl show --value \
                    --property=ActiveEnterTimestampMonotonic $unit.service); \
                    echo $unit $((micros / 1000000)) s; done";
    println!("a master's services were up after:\n{}", guest.run(commands).text);
}

/// Whether a line of `kubectl get nodes` is that of a node that works.
fn is_ready(line: &str) -> bool {
    line.split_ascii_whitespace().nth(1) == Some("Ready")
}

/// Who gets where, and who does not: with a pod on a node of this range, asked from a master.
fn check_access(bench: &Bench, checks: &mut Checks<'_>, guest: &mut Guest, range: Cidr) {
    let cluster = &bench.cluster;
    checks.mentions("logs", guest, &format!("{KUBECTL} logs deployment/web"), "serving");
    let exec = format!("{KUBECTL} exec deployment/web -- /busybox id -u");
    checks.prints("exec", guest, &exec, "65534");
    let own =
        guest.run(&format!("{KUBECTL} get pods --output=jsonpath='{{.items[*].status.podIP}}'"));
    let is_inside = own.text.parse().is_ok_and(|address: Ipv4Addr| range.contains(address));
    checks.that("the pod's address is of its host's range", is_inside, &(range, own));
    let anonymous = format!(
        "kubectl --kubeconfig=/dev/null --server=https://{}:{} --insecure-skip-tls-verify \
         --token=nobody get nodes 2>&1 || :",
        cluster.endpoint.vip, cluster.endpoint.port
    );
    checks.mentions("nobody is let in without a name", guest, &anonymous, "must be logged in");
    let requests = format!("{KUBECTL} get certificatesigningrequests --no-headers");
    let found = guest.run(&requests);
    let pending = found.text.lines().filter(|line| line.contains("Pending")).count();
    let is_asked = found.status == 0 && found.text.contains("Issued");
    checks.that("every certificate request is decided", is_asked && pending == 0, &found);
    check_ports(checks, guest);
}

/// A master serves the API with TLS, and nothing without.
fn check_ports(checks: &mut Checks<'_>, guest: &mut Guest) {
    let listeners = guest.run("ss --tcp --listening --numeric --no-header");
    let ports: BTreeSet<&str> = listeners
        .text
        .lines()
        .filter_map(|line| Some(line.split_whitespace().nth(3)?.rsplit_once(':')?.1))
        .collect();
    // Of the API server, the controller manager and the scheduler.
    let [secure, insecure] = [["6443", "10257", "10259"], ["8080", "10252", "10251"]];
    let is_right = secure.iter().all(|port| ports.contains(port))
        && insecure.iter().all(|port| !ports.contains(port));
    checks.that("no port without TLS is open", is_right, &listeners);
}

/// What the API keeps, and what it tells of it. The words are in no other text of the cluster.
fn check_storage(checks: &mut Checks<'_>, guest: &mut Guest) {
    const WORDS: &str = "nobody-reads-this-in-etcd";
    let ready = format!("{KUBECTL} get --raw=/readyz");
    checks.prints("the API says through the address that it is ready", guest, &ready, "ok");
    let create = format!("{KUBECTL} create secret generic sealed --from-literal=words={WORDS}");
    checks.prints("a secret is written", guest, &create, "secret/sealed created");
    // The value is binary, and the port is a shell's.
    let raw = format!(
        "{ETCDCTL} get --print-value-only /registry/secrets/default/sealed \
         | head --bytes=4096 | tr -cd '[:print:]'"
    );
    let raw = guest.run(&raw);
    let encoded = STANDARD.encode(WORDS);
    let is_plain = |text: &str| text.contains(WORDS) || text.contains(&encoded);
    let is_sealed = raw.text.starts_with("k8s:enc:") && !is_plain(&raw.text);
    checks.that("etcd has the secret encrypted", is_sealed, &raw);
    let read = format!("{KUBECTL} get secret sealed --output=jsonpath={{.data.words}}");
    checks.prints("the API decrypts it", guest, &read, &encoded);
    let audit = format!(
        "log=$(tail --lines=300 {AUDIT_FOLDER}/audit.log); \
         case $log in *'\"name\":\"sealed\"'*) echo mentioned;; esac; \
         case $log in *{WORDS}*|*{encoded}*) echo told;; esac"
    );
    checks.prints("the audit log has the request and not the words", guest, &audit, "mentioned");
}
