// SPDX-License-Identifier: Apache-2.0
//! A Kubernetes cluster, from images and seeds alone: a load balancer, a master and a node on a network
//! of their own (`tests/kubernetes`). Nobody logs in anywhere; what is asked is asked by an
//! administrator's kubectl, through the virtual address.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use kiln::{
    digest::Digest,
    formats::oci::{self, Program},
    plan::{self, Given},
    qemu::{Machine, Spec},
    seed, sys,
    tree::{Content, TreePath},
};

use crate::support::{
    guest::{self, Checks, Guest},
    hub::Hub,
    qemu::{CPUS, alone, repository, start},
};

/// For what a cluster takes until it works, on a busy host under emulation.
const PATIENCE: Duration = Duration::from_secs(1200);
const KUBECTL: &str = "kubectl --kubeconfig=/run/admin.conf";
/// The image that the node is given, with a static busybox in it.
const IMAGE: &str = "kiln.test/busybox:1";

fn workspace() -> PathBuf {
    repository().join("tests/kubernetes")
}

/// A host of the cluster, with its image and seed and a way in for the test.
fn spec(name: &str, memory: u32, hub: &Hub, scratch: &Path) -> Spec {
    let workspace = sys::workspace::load(&workspace()).unwrap();
    let given = Given { epoch: 0, init: Digest::of(b"") };
    let plans = plan::plan(&workspace, &[], given).unwrap_or_else(|invalid| panic!("{invalid}"));
    let cluster = &plans[0].cluster;
    let host = &cluster.hosts[name];
    let medium = scratch.join(format!("{name}.iso"));
    fs::write(&medium, seed::iso(&seed::files(cluster, name).unwrap()).unwrap()).unwrap();
    let disk = repository().join(format!("out/small/{0}/small-{0}.raw", host.role));
    assert!(disk.is_file(), "there is no '{}': run `make test-cluster`", disk.display());
    Spec {
        seed: Some(medium),
        mac: host.mac.clone(),
        network: hub.cable(),
        credentials: guest::credentials(),
        port: true,
        cpus: CPUS,
        memory,
        ..Spec::new(&disk)
    }
}

fn ready(machine: &mut Machine, name: &str) {
    let ready = machine.wait_ready(PATIENCE).unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(ready.hostname, name);
    println!("{name}: ready after {} s of its own, {} s here", ready.boot, machine.age().as_secs());
}

/// An administrator's kubeconfig, as a person gets it.
fn admin(scratch: &Path) -> String {
    let file = scratch.join("admin.conf");
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    command.arg("-C").arg(workspace()).args(["pki", "kubeconfig", "--user", "test-admin"]);
    command.args(["--group", "system:masters", "--days", "1", "--out"]).arg(&file);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::read_to_string(file).unwrap()
}

/// A container image with the host's static busybox.
fn busybox(scratch: &Path) -> PathBuf {
    let program = Program {
        path: TreePath::literal("/busybox"),
        content: Content::bytes(fs::read("/bin/busybox").expect("package busybox-static")),
        certificates: None,
        user: (65_534, 65_534),
        epoch: 0,
    };
    let archive = oci::archive(&[program.image(IMAGE.parse().unwrap()).unwrap()]).unwrap();
    let file = scratch.join("busybox.tar");
    fs::write(&file, archive.to_vec().unwrap()).unwrap();
    file
}

/// A server that says who owns what, and a service in front of it.
const MANIFEST: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: kiln.test/busybox:1
        imagePullPolicy: Never
        command: [/busybox, sh, -c, "echo serving && exec /busybox httpd -f -p 8080 -h /etc"]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  clusterIP: 10.0.0.80
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
"#;

/// Repeats a command until it prints what is wanted.
fn until(guest: &mut Guest, commands: &str, wanted: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let output = guest.run(commands);
        if output.text.contains(wanted) {
            return output.text;
        }
        assert!(Instant::now() < deadline, "no '{wanted}' from '{commands}': {}", output.text);
        thread::sleep(Duration::from_secs(2));
    }
}

#[test]
fn a_cluster_comes_up_from_images_alone_and_runs_a_service() {
    let _alone = alone();
    let scratch = tempfile::tempdir().unwrap();
    let hub = Hub::start(scratch.path());
    let started = Instant::now();
    let boot =
        |name, memory, media| start(&Spec { media, ..spec(name, memory, &hub, scratch.path()) });
    let mut master = boot("master-1", 1536, Vec::new());
    let mut node = boot("node-1", 1280, vec![busybox(scratch.path())]);
    let mut balancer = boot("lb-1", 512, Vec::new());
    ready(&mut balancer, "lb-1");
    ready(&mut node, "node-1");
    ready(&mut master, "master-1");

    let mut checks = Checks::new("cluster");
    let mut guest = Guest::of(&master);
    let write = |path: &str, text: &str| format!("umask 077; cat >{path} <<'END'\n{text}\nEND");
    let config = admin(scratch.path());
    checks.that("it calls the VIP", config.contains("https://192.168.31.100:6443"), &"no VIP");
    checks.prints("an admin has it", &mut guest, &write("/run/admin.conf", &config), "");
    let nodes = until(&mut guest, &format!("{KUBECTL} get nodes --no-headers"), " Ready ");
    println!("{nodes}: {} s after the start", started.elapsed().as_secs());
    checks.that("the node is the seed's", nodes.contains("node-1"), &nodes);
    let greeting =
        "get greetings.kiln.test hello --namespace=greeting --output=jsonpath={.spec.text}";
    until(&mut guest, &format!("{KUBECTL} {greeting}"), "from small");

    let mut on_node = Guest::of(&node);
    let import = "ctr --namespace=k8s.io images import /dev/disk/by-id/virtio-medium0";
    checks.mentions("the node is given an image", &mut on_node, import, IMAGE);
    checks.prints("a manifest", &mut guest, &write("/run/web.yaml", MANIFEST), "");
    let apply = format!("{KUBECTL} apply --filename=/run/web.yaml");
    checks.mentions("it is applied", &mut guest, &apply, "deployment.apps/web created");
    until(&mut guest, &format!("{KUBECTL} get pods --no-headers"), "Running");
    println!("a pod runs {} s after the start", started.elapsed().as_secs());
    check_service(&mut checks, &mut guest);
    for (name, guest) in [("master", &mut guest), ("node", &mut on_node)] {
        let failed = "systemctl list-units --failed --plain --no-legend";
        checks.prints(&format!("no unit of the {name} failed"), guest, failed, "");
    }
    checks.finish();
}

fn check_service(checks: &mut Checks<'_>, guest: &mut Guest) {
    checks.mentions("logs", guest, &format!("{KUBECTL} logs deployment/web"), "serving");
    // The master has no kube-proxy: what it sends there becomes the pod's on the node.
    let route = "ip route add 10.0.0.80/32 via 192.168.31.35";
    checks.prints("the master is told the way to the service", guest, route, "");
    for (name, server) in [
        ("the service answers by its address", "10.0.0.80"),
        ("the service answers by the node's port", "192.168.31.35:30080"),
    ] {
        let get =
            format!("kubectl --kubeconfig=/dev/null --server=http://{server} get --raw=/passwd");
        checks.mentions(name, guest, &get, "root:x:0:0");
    }
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
