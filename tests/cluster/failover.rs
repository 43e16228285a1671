// SPDX-License-Identifier: Apache-2.0
//! The whole topology: two load balancers, three masters, two nodes, whose keys came by their
//! seeds. Programs and machines die, and the cluster goes on.
//!
//! Seven machines share the host's processors, so what takes seconds is told by the switch, which
//! sees the address move, and by the machines' own clocks.

use std::time::{Duration, Instant};

use kiln::qemu::Machine;

use super::is_ready;
use crate::support::{
    balancer::{check_holds, check_keepalived, check_restarted, kill_proxy},
    cluster::{
        Bench, ETCDCTL, KUBECTL, PATIENCE, Running, check_service, check_units, import, manifest,
        ready, until, write,
    },
    guest::{Checks, Guest},
    qemu::alone,
};

const BALANCERS: [&str; 2] = ["k8s-lb-primary", "k8s-lb-backup"];
const MASTERS: [&str; 3] = ["k8s-master-1", "k8s-master-2", "k8s-master-3"];
const NODES: [&str; 2] = ["k8s-node-1", "k8s-node-2"];
/// Within it the virtual address must have moved.
const MOVED: Duration = Duration::from_secs(5);

#[test]
fn the_whole_topology_survives_the_loss_of_programs_and_machines() {
    let _alone = alone();
    let bench = Bench::new("tests/failover", "out/failover");
    let started = Instant::now();
    // One kind after another, and first with two masters, which are a majority of etcd: each has the
    // work of one of the host's few processors.
    let [mut primary, backup] = boot_all(&bench, BALANCERS);
    let [master1, master2] = boot_all(&bench, [MASTERS[0], MASTERS[1]]);
    let [node1, node2] = boot_all(&bench, NODES);
    println!("all but a master are ready {} s after the start", started.elapsed().as_secs());

    let mut checks = Checks::new("failover");
    // The second master is the one that stays.
    let mut admin = Guest::of(&master2);
    write(&mut admin, "/run/admin.conf", &bench.admin());
    let both = |nodes: &str| nodes.lines().filter(|line| is_ready(line)).count() == NODES.len();
    let get_nodes = format!("{KUBECTL} get nodes --no-headers");
    println!("{}", until(&mut admin, &get_nodes, both));
    println!("nodes are Ready {} s after the start", started.elapsed().as_secs());
    run_service(&bench, &mut checks, &mut admin, [&node1, &node2]);
    println!("a service runs {} s after the start", started.elapsed().as_secs());
    check_units(&mut checks, "a node", &mut Guest::of(&node2));
    let node1 = reboot(&bench, &mut checks, &mut admin, node1);
    println!("a node has restarted {} s after the start", started.elapsed().as_secs());

    address_moves(&bench, &mut checks, &mut admin, &mut primary);
    proxy_restarts(&bench, &mut checks, &mut admin, &primary);
    drop(primary);
    let gone = Instant::now();
    moved(&bench, &mut checks, "the primary load balancer dies", "k8s-lb-backup", gone);
    serves(&mut checks, &mut admin, "without the primary load balancer");
    let [primary] = boot_all(&bench, [BALANCERS[0]]);
    moved(&bench, &mut checks, "the primary returns", "k8s-lb-primary", Instant::now());

    // All seven at once are more than a small host can emulate.
    drop([node1, node2]);
    let [master3] = boot_all(&bench, [MASTERS[2]]);
    println!("three masters are ready {} s after the start", started.elapsed().as_secs());
    check_members(&mut admin);
    let master1 = lose(&bench, &mut checks, &mut admin, master1);
    println!("all are ready {} s after the start", started.elapsed().as_secs());
    let machines = [("a master", &master3), ("the lost master", &master1), ("a balancer", &backup)];
    for (name, machine) in machines {
        check_units(&mut checks, name, &mut Guest::of(machine));
    }
    for machine in [&primary, &backup] {
        check_keepalived(&mut checks, &mut Guest::of(machine));
    }
    checks.finish();
}

/// Every member of etcd answers.
fn check_members(admin: &mut Guest) {
    let health = format!("{ETCDCTL} endpoint health --cluster 2>&1");
    let all = |text: &str| text.matches("is healthy").count() == MASTERS.len();
    until(admin, &health, all);
}

/// A master dies, the others go on, and it comes back as the host that it was.
fn lose(bench: &Bench, checks: &mut Checks<'_>, admin: &mut Guest, master: Running) -> Running {
    let identity = "cat /etc/machine-id";
    let before = Guest::of(&master).run(identity);
    drop(master);
    serves(checks, admin, "without a master");
    let health = format!("{ETCDCTL} endpoint health 2>&1");
    checks.mentions("etcd without a member", admin, &health, "is healthy");
    let [master] = boot_all(bench, [MASTERS[0]]);
    let mut again = Guest::of(&master);
    checks.prints("the master is the same host", &mut again, identity, &before.text);
    check_members(admin);
    master
}

/// Machines of one kind, once all of them are ready.
fn boot_all<const N: usize>(bench: &Bench, names: [&'static str; N]) -> [Running; N] {
    let mut machines = names.map(|name| bench.boot(name));
    for (machine, name) in machines.iter_mut().zip(names) {
        ready(machine, name);
    }
    machines
}

/// A pod on each node, and a service that every node leads to both.
fn run_service(bench: &Bench, checks: &mut Checks<'_>, admin: &mut Guest, machines: [&Machine; 2]) {
    for (name, machine) in NODES.into_iter().zip(machines) {
        import(checks, name, &mut Guest::of(machine));
    }
    write(admin, "/run/web.yaml", &manifest(NODES.len()));
    let apply = format!("{KUBECTL} apply --filename=/run/web.yaml");
    checks.mentions("a manifest is applied", admin, &apply, "deployment.apps/web created");
    let running = |pods: &str| pods.matches("Running").count() == NODES.len();
    println!("{}", until(admin, &format!("{KUBECTL} get pods -o wide --no-headers"), running));
    // Several times, because each answer comes from either pod: from the node itself or across
    // the pods' network.
    for name in NODES.repeat(3) {
        check_service(checks, admin, &bench.address(name));
    }
}

/// The proxy of the primary stops, and starts again.
fn address_moves(bench: &Bench, checks: &mut Checks<'_>, admin: &mut Guest, primary: &mut Machine) {
    let mut guest = Guest::of(primary);
    let (stop, start) = ("systemctl stop haproxy", "systemctl start haproxy");
    let stopped = Instant::now();
    checks.prints("the primary's proxy stops", &mut guest, stop, "");
    moved(bench, checks, "the primary's proxy stops", "k8s-lb-backup", stopped);
    serves(checks, admin, "without the primary's proxy");
    let started = Instant::now();
    checks.prints("it starts again", &mut guest, start, "");
    let vip = bench.cluster.endpoint.vip;
    let mac = bench.cluster.hosts[BALANCERS[0]].mac.clone().unwrap();
    let returned = bench.switch.wait_announced(vip, &mac, started, PATIENCE);
    checks.that("the address returns to it", returned.is_some(), &returned);
    println!("the address returned after {returned:?}");
}

/// The proxy of the primary is killed, and systemd starts it again: whether or not the address moves
/// meanwhile, calls get through.
fn proxy_restarts(bench: &Bench, checks: &mut Checks<'_>, admin: &mut Guest, primary: &Machine) {
    let mut guest = Guest::of(primary);
    let killed = Instant::now();
    kill_proxy(checks, &mut guest);
    let ask = format!(
        "for try in 1 2 3 4 5 6; do \
         timeout 30 {KUBECTL} get --raw=/readyz >/run/answer 2>&1 && break; sleep 1; done; \
         cat /run/answer"
    );
    checks.prints("the API answers while the proxy restarts", admin, &ask, "ok");
    println!("the API answered {:?} after the kill", killed.elapsed());
    check_restarted(checks, &mut guest);
    let vip = bench.cluster.endpoint.vip;
    check_holds(checks, &mut guest, vip);
    let backup = bench.cluster.hosts[BALANCERS[1]].mac.clone().unwrap();
    let away = bench.switch.wait_announced(vip, &backup, killed, Duration::ZERO);
    println!("the address was at the backup meanwhile: {away:?}");
}

/// The address is announced by a host soon enough.
fn moved(bench: &Bench, checks: &mut Checks<'_>, why: &str, to: &str, since: Instant) {
    let mac = bench.cluster.hosts[to].mac.clone().unwrap();
    let vip = bench.cluster.endpoint.vip;
    let limit = if to == BALANCERS[0] { PATIENCE } else { 4 * MOVED };
    let after = bench.switch.wait_announced(vip, &mac, since, limit);
    println!("{why}: the address is at {to} after {after:?}");
    let is_soon = after.is_some_and(|after| limit == PATIENCE || after <= MOVED);
    checks.that(&format!("{why}: the address moves"), is_soon, &after);
}

/// The API answers through the virtual address, and what is written can be read.
fn serves(checks: &mut Checks<'_>, admin: &mut Guest, when: &str) {
    let name = when.replace(|c: char| !c.is_ascii_lowercase(), "-");
    let create = format!(
        "for try in 1 2 3 4 5 6; do \
         timeout 60 {KUBECTL} create configmap {name} --from-literal=a=b && break; sleep 1; done"
    );
    checks.mentions(&format!("writing {when}"), admin, &create, "created");
    let read = format!("timeout 60 {KUBECTL} get configmap {name} --output=jsonpath={{.data.a}}");
    checks.prints(&format!("reading {when}"), admin, &read, "b");
}

/// A node restarts without the medium that brought its seed, its keys among it, and comes back as
/// the node that it was.
fn reboot(bench: &Bench, checks: &mut Checks<'_>, admin: &mut Guest, mut node: Running) -> Running {
    let uid = format!("{KUBECTL} get node {} --output=jsonpath={{.metadata.uid}}", NODES[0]);
    let before = admin.run(&uid);
    let requests = format!("{KUBECTL} get certificatesigningrequests --no-headers | wc -l");
    let asked = admin.run(&requests);
    Guest::of(&node).run("systemctl reboot --no-block");
    node.wait_end(PATIENCE).unwrap_or_else(|error| panic!("{error:#}"));
    let mut node = bench.boot_again(NODES[0]);
    ready(&mut node, NODES[0]);
    // A node that has its certificate does not ask for another one.
    checks.prints("the node asks for no certificate", admin, &requests, &asked.text);
    checks.prints("the node is the same", admin, &uid, &before.text);
    let is_back = |nodes: &str| nodes.lines().any(|it| it.starts_with(NODES[0]) && is_ready(it));
    until(admin, &format!("{KUBECTL} get nodes --no-headers"), is_back);
    for name in NODES {
        check_service(checks, admin, &bench.address(name));
    }
    check_units(checks, "the node that restarted", &mut Guest::of(&node));
    node
}
