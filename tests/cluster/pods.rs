// SPDX-License-Identifier: Apache-2.0
//! The same cluster with `control-plane: static-pods` (`tests/kubernetes-pods`): a kubelet starts the API
//! server that it joins by.

use std::time::Instant;

use crate::{
    cluster::{IMAGE, KUBECTL, MANIFEST, admin, busybox, ready, spec, until, write},
    support::{
        guest::{Checks, Guest},
        hub::Hub,
        qemu::{alone, start},
    },
};
use kiln::qemu::Spec;

const PODS: &str = "tests/kubernetes-pods";
const COMPONENTS: [&str; 3] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"];

#[test]
fn a_master_starts_the_control_plane_that_it_joins() {
    let _alone = alone();
    let scratch = tempfile::tempdir().unwrap();
    let hub = Hub::start(scratch.path());
    let started = Instant::now();
    let boot = |name, memory, media| {
        start(&Spec { media, ..spec(PODS, name, memory, &hub, scratch.path()) })
    };
    let mut master = boot("master-1", 1536, Vec::new());
    let mut node = boot("node-1", 1280, vec![busybox(scratch.path())]);
    let mut balancer = boot("lb-1", 512, Vec::new());
    ready(&mut balancer, "lb-1");
    ready(&mut node, "node-1");
    ready(&mut master, "master-1");

    let mut checks = Checks::new("static pods");
    let (mut guest, mut on_node) = (Guest::of(&master), Guest::of(&node));
    checks.prints(
        "an admin",
        &mut guest,
        &write("/run/admin.conf", &admin(PODS, scratch.path())),
        "",
    );
    let of_node = |name| format!("{KUBECTL} get node {name} --no-headers");
    for name in ["master-1", "node-1"] {
        until(&mut guest, &of_node(name), " Ready ");
        println!("{name} is Ready {} s after the start", started.elapsed().as_secs());
    }
    let taints = format!("{KUBECTL} get node master-1 --output=jsonpath='{{.spec.taints[*].key}}'");
    checks.mentions("the master is tainted", &mut guest, &taints, "node-role.kubernetes.io/");
    for component in COMPONENTS {
        // The API knows a static pod by what the kubelet tells of it.
        let pod =
            format!("{KUBECTL} --namespace=kube-system get pod {component}-master-1 --no-headers");
        until(&mut guest, &pod, " Running ");
        let program = format!("test ! -e /usr/bin/{component}");
        checks.prints(&format!("no service runs {component}"), &mut guest, &program, "");
    }
    let pressure = format!(
        "{KUBECTL} get node master-1 \
         --output=jsonpath='{{.status.conditions[?(@.type==\"DiskPressure\")].status}}'"
    );
    checks.prints("its disk is large enough", &mut guest, &pressure, "False");
    // It comes back with its certificates, and the pods have not noticed.
    checks.prints("the kubelet restarts", &mut guest, "systemctl restart kubelet.service", "");
    let logs = format!("{KUBECTL} --namespace=kube-system logs kube-scheduler-master-1");
    until(&mut guest, &logs, "kube-scheduler");

    let import = "ctr --namespace=k8s.io images import /dev/disk/by-id/virtio-medium0";
    checks.mentions("the node is given an image", &mut on_node, import, IMAGE);
    checks.prints("a manifest", &mut guest, &write("/run/web.yaml", MANIFEST), "");
    let apply = format!("{KUBECTL} apply --filename=/run/web.yaml");
    checks.mentions("it is applied", &mut guest, &apply, "deployment.apps/web created");
    until(&mut guest, &format!("{KUBECTL} get pods --no-headers"), "Running");
    // The master has a kube-proxy of its own: no route is needed.
    let get = "kubectl --kubeconfig=/dev/null --server=http://10.0.0.80 get --raw=/passwd";
    until(&mut guest, get, "root:x:0:0");
    let own = format!("{KUBECTL} get pods --output=wide --no-headers");
    checks.mentions("pods stay off the master", &mut guest, &own, "node-1");

    for (name, guest) in [("master", &mut guest), ("node", &mut on_node)] {
        let failed = "systemctl list-units --failed --plain --no-legend";
        checks.prints(&format!("no unit of the {name} failed"), guest, failed, "");
    }
    checks.finish();
}
