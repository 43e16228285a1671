// SPDX-License-Identifier: Apache-2.0
//! The smallest cluster with `control-plane: static-pods` (`tests/static-pods`): a kubelet starts the
//! API server that it joins by. Its network is nobody's (`network: none`) until the test does on
//! each host what a DaemonSet would do there.

use std::time::Instant;

use kiln::cluster::Cidr;
use serde_json::json;

use super::{check_access, check_storage, is_ready};
use crate::support::{
    balancer::check_keepalived,
    cluster::{
        Bench, KUBECTL, NODE_PORT, SERVICE, check_answers, check_kubelet, check_units, import,
        manifest, ready, until, write,
    },
    guest::{Checks, Guest},
    qemu::alone,
};

const NAMES: [&str; 3] = ["lb-1", "master-1", "node-1"];
const COMPONENTS: [&str; 3] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"];

#[test]
fn a_master_starts_the_control_plane_that_it_joins() {
    let _alone = alone();
    let bench = Bench::new("tests/static-pods", "out/static-pods");
    let started = Instant::now();
    let [mut balancer, mut master, mut node] = NAMES.map(|name| bench.boot(name));
    ready(&mut balancer, NAMES[0]);
    ready(&mut node, NAMES[2]);
    ready(&mut master, NAMES[1]);

    let mut checks = Checks::new("static pods");
    let (mut guest, mut on_node) = (Guest::of(&master), Guest::of(&node));
    write(&mut guest, "/run/admin.conf", &bench.admin());
    let ranges = [NAMES[1], NAMES[2]].map(|name| range_of(&mut guest, name));
    connect(&mut checks, &mut guest, ranges[0], (ranges[1], &bench.address(NAMES[2])));
    connect(&mut checks, &mut on_node, ranges[1], (ranges[0], &bench.address(NAMES[1])));
    for name in &NAMES[1..] {
        let node = format!("{KUBECTL} get node {name} --no-headers");
        until(&mut guest, &node, is_ready);
        println!("{name} is Ready {} s after the start", started.elapsed().as_secs());
    }
    check_control_plane(&mut checks, &mut guest);
    // An add-on, with an object whose kind is its own.
    let greeting =
        "get greetings.kiln.test hello --namespace=greeting --output=jsonpath={.spec.text}";
    until(&mut guest, &format!("{KUBECTL} {greeting}"), |text| text == "from pods");

    import(&mut checks, "node-1", &mut on_node);
    write(&mut guest, "/run/web.yaml", &manifest(1));
    let apply = format!("{KUBECTL} apply --filename=/run/web.yaml");
    checks.mentions("a manifest is applied", &mut guest, &apply, "deployment.apps/web created");
    let pods = format!("{KUBECTL} get pods --output=wide --no-headers");
    until(&mut guest, &pods, |pods| pods.contains("Running"));
    // The master has a kube-proxy of its own: no route is needed.
    check_answers(&mut checks, &mut guest, SERVICE);
    let port = format!("{}:{NODE_PORT}", bench.address(NAMES[2]));
    check_answers(&mut checks, &mut guest, &port);
    check_access(&bench, &mut checks, &mut guest, ranges[1]);
    check_storage(&mut checks, &mut guest);
    checks.mentions("pods stay off the master", &mut guest, &pods, "node-1");
    check_units(&mut checks, "the master", &mut guest);
    check_units(&mut checks, "the node", &mut on_node);
    check_kubelet(&mut checks, "the master", &mut guest);
    check_kubelet(&mut checks, "the node", &mut on_node);
    let mut on_balancer = Guest::of(&balancer);
    check_units(&mut checks, "the balancer", &mut on_balancer);
    check_keepalived(&mut checks, &mut on_balancer);
    checks.finish();
}

/// The range that the controller-manager gave to a node, which has no network yet.
fn range_of(guest: &mut Guest, name: &str) -> Cidr {
    let range = format!("{KUBECTL} get node {name} --output=jsonpath={{.spec.podCIDR}}");
    let range = until(guest, &range, |range| range.parse::<Cidr>().is_ok());
    range.parse().expect("a range")
}

/// Brings a network to a host by a plugin of another name, as a DaemonSet's container does that has
/// `/opt/cni/bin` and `/etc/cni/net.d` of its host.
fn connect(checks: &mut Checks<'_>, guest: &mut Guest, own: Cidr, other: (Cidr, &str)) {
    let config = json!({
        "cniVersion": "0.4.0",
        "name": "brought",
        "plugins": [{
            "type": "brought",
            "bridge": "brought0",
            "isDefaultGateway": true,
            "ipam": { "type": "host-local", "ranges": [[{ "subnet": own.to_string() }]] },
        }],
    });
    let bring = "cp /opt/cni/bin/bridge /opt/cni/bin/brought && ls /usr/lib/cni/brought";
    checks.prints("a plugin can be added", guest, bring, "/usr/lib/cni/brought");
    let (range, address) = other;
    let route = format!("ip route add {range} via {address}");
    checks.prints("there is a way to the other host's pods", guest, &route, "");
    checks.prints("a folder for it", guest, "mkdir -p /etc/cni/net.d", "");
    write(guest, "/etc/cni/net.d/10-brought.conflist", &config.to_string());
}

fn check_control_plane(checks: &mut Checks<'_>, guest: &mut Guest) {
    let taints = format!("{KUBECTL} get node master-1 --output=jsonpath='{{.spec.taints[*].key}}'");
    checks.mentions("the master is tainted", guest, &taints, "node-role.kubernetes.io/");
    for component in COMPONENTS {
        // The API knows a static pod by what the kubelet tells of it.
        let pod =
            format!("{KUBECTL} --namespace=kube-system get pod {component}-master-1 --no-headers");
        until(guest, &pod, |pod| pod.contains(" Running "));
        let program = format!("test ! -e /usr/bin/{component}");
        checks.prints(&format!("no service runs {component}"), guest, &program, "");
    }
    let pressure = format!(
        "{KUBECTL} get node master-1 \
         --output=jsonpath='{{.status.conditions[?(@.type==\"DiskPressure\")].status}}'"
    );
    checks.prints("its disk is large enough", guest, &pressure, "False");
    // It comes back with its certificates, and the pods have not noticed.
    checks.prints("the kubelet restarts", guest, "systemctl restart kubelet.service", "");
    let logs = format!("{KUBECTL} --namespace=kube-system logs kube-scheduler-master-1");
    until(guest, &logs, |logs| logs.contains("kube-scheduler"));
}
