// SPDX-License-Identifier: Apache-2.0
//! A cluster of machines on a network of their own, from a workspace's images and seeds alone.
//!
//! Nobody logs in anywhere to make it work. What is asked is asked by an administrator's kubectl,
//! through the virtual address.

use std::{
    fs,
    ops::{Deref, DerefMut},
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use kiln::{
    cluster::Cluster,
    digest::Digest,
    formats::oci::{self, Program},
    kubernetes::secrets,
    pki::leaves::Scope,
    plan::{self, Given},
    qemu::{Changes, Machine, Spec, create_overlay},
    seed, sys,
    tree::{Content, TreePath},
};

use super::{
    guest::{self, Checks, Guest},
    qemu::{CPUS, cpus_of_busy, repository, start},
    switch::Switch,
};

/// For each thing that a cluster takes until it works, on a busy host under emulation: three times
/// what the slowest took.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1200);
/// An administrator's kubectl, on a machine that was given [`Bench::admin`]. It asks once what the API
/// has, and does not say so when it holds itself back: on a fast machine that line came with every answer.
pub(crate) const KUBECTL: &str = "kubectl --kubeconfig=/run/admin.conf --cache-dir=/run/kubectl \
    --logtostderr=false --log-file=/dev/null";
/// The image that nodes are given as a medium, with a static busybox in it.
pub(crate) const IMAGE: &str = "kiln.test/busybox:1";
/// etcd's client on a member.
pub(crate) const ETCDCTL: &str = "etcdctl --endpoints=https://127.0.0.1:2379 \
    --cacert=/etc/etcd/pki/ca.crt --cert=/etc/etcd/pki/healthcheck-client.crt \
    --key=/etc/etcd/pki/healthcheck-client.key";
/// Where the service of [`manifest`] is, and its port on every node.
pub(crate) const SERVICE: &str = "10.0.0.80";
pub(crate) const NODE_PORT: u16 = 30080;

/// A cluster's workspace, images and network.
#[derive(Debug)]
pub(crate) struct Bench {
    workspace: PathBuf,
    out: PathBuf,
    pub(crate) cluster: Cluster,
    pub(crate) switch: Switch,
    scratch: tempfile::TempDir,
}

impl Bench {
    /// A workspace of the repository, and where its images were built.
    pub(crate) fn new(workspace: &str, out: &str) -> Bench {
        let workspace = repository().join(workspace);
        let given = Given { epoch: 0, init: Digest::of(b"") };
        let plans = plan::plan(&sys::workspace::load(&workspace).unwrap(), &[], given)
            .unwrap_or_else(|invalid| panic!("{invalid}"));
        let cluster = plans[0].cluster.clone();
        let scratch = tempfile::tempdir().unwrap();
        let switch = Switch::start(scratch.path());
        Bench { workspace, out: repository().join(out), cluster, switch, scratch }
    }

    /// A host with its image and seed and a way in for the test. What it writes stays while the
    /// bench lives: started again, it is the same host.
    pub(crate) fn spec(&self, name: &str) -> Spec {
        let host = &self.cluster.hosts[name];
        let medium = self.scratch.path().join(format!("{name}.iso"));
        fs::write(&medium, seed::iso(&self.seed(name)).unwrap()).unwrap();
        let image = format!("{0}/{1}-{0}.raw", host.role, self.cluster.name);
        let image = self.out.join(image);
        assert!(image.is_file(), "there is no '{}': run `make boot`", image.display());
        let disk = self.scratch.path().join(format!("{name}.qcow2"));
        if !disk.exists() {
            create_overlay(&image, &disk).unwrap_or_else(|error| panic!("{error:#}"));
        }
        let memory = match &*host.role {
            "lb" => 512,
            "master" => 1536,
            _ => 1280,
        };
        let media = if host.role == "lb" { Vec::new() } else { vec![self.busybox()] };
        Spec {
            changes: Changes::Keep,
            seed: Some(medium),
            media,
            mac: host.mac.clone(),
            network: self.switch.cable(),
            credentials: guest::credentials(),
            port: true,
            cpus: self.cpus(&host.role),
            memory,
            kernel: self.kernel(),
            ..Spec::new(&disk)
        }
    }

    /// Emulated processors of a machine. Several masters have more work than the host has processors:
    /// with two each, one would spin while it waits for the other, which the host has put aside.
    fn cpus(&self, role: &str) -> u32 {
        if role == "master" && self.n_masters() == 1 { cpus_of_busy() } else { CPUS }
    }

    /// An emulated processor guesses nothing ahead, so there is nothing to guard: every seventh second
    /// of a master went to that.
    fn kernel(&self) -> Vec<String> {
        if self.n_masters() == 1 { Vec::new() } else { vec!["mitigations=off".to_owned()] }
    }

    fn n_masters(&self) -> usize {
        self.cluster.hosts.values().filter(|host| host.role == "master").count()
    }

    fn seed(&self, name: &str) -> seed::Files {
        let mut keys = Vec::new();
        if seed::are_secrets(&self.cluster) {
            let material = sys::vault::read(&self.workspace).unwrap();
            let scope = Scope::Host(name.to_owned());
            keys = secrets::files(&self.cluster, &scope, &material, sys::now()).unwrap();
        }
        seed::files_with(&self.cluster, name, &keys).unwrap()
    }

    pub(crate) fn boot(&self, name: &'static str) -> Running {
        Running { name, machine: start(&self.spec(name)) }
    }

    /// The same machine, without the medium that brought its seed.
    pub(crate) fn boot_again(&self, name: &'static str) -> Running {
        Running { name, machine: start(&Spec { seed: None, ..self.spec(name) }) }
    }

    /// A container image with the host's static busybox.
    fn busybox(&self) -> PathBuf {
        let file = self.scratch.path().join("busybox.tar");
        if !file.exists() {
            let program = Program {
                path: TreePath::literal("/busybox"),
                content: Content::bytes(fs::read("/bin/busybox").expect("package busybox-static")),
                certificates: None,
                user: (65_534, 65_534),
                epoch: 0,
            };
            let image = program.image(IMAGE.parse().unwrap()).unwrap();
            fs::write(&file, oci::archive(&[image]).unwrap().to_vec().unwrap()).unwrap();
        }
        file
    }

    /// An administrator's kubeconfig, as a person gets it.
    pub(crate) fn admin(&self) -> String {
        let file = self.scratch.path().join("admin.conf");
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        command.arg("-C").arg(&self.workspace).args(["pki", "kubeconfig", "--user", "test-admin"]);
        command.args(["--group", "system:masters", "--days", "1", "--out"]).arg(&file);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::read_to_string(file).unwrap()
    }

    /// The first address of a host, as text.
    pub(crate) fn address(&self, name: &str) -> String {
        self.cluster.hosts[name].address.address.to_string()
    }
}

/// A machine of a cluster, which tells what it knows if its test fails.
#[derive(Debug)]
pub(crate) struct Running {
    name: &'static str,
    machine: Machine,
}

impl Deref for Running {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.machine
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Machine {
        &mut self.machine
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        let console = self.machine.console();
        let last = console.get(console.len().saturating_sub(20)..).unwrap_or_default();
        println!("{}: the console's last lines:\n{}", self.name, last.join("\n"));
        // In a thread of its own, where another panic ends nothing but the thread.
        let port = self.machine.port();
        let report = move || Guest::on(port.expect("a serial port")).run(REPORT).text;
        match thread::spawn(report).join() {
            Ok(report) => println!("{}: its state:\n{report}", self.name),
            Err(_) => println!("{}: it does not tell its state", self.name),
        }
    }
}

/// What explains most failures of a cluster.
const REPORT: &str = "uptime; systemctl list-units --failed --plain --no-legend; \
    systemctl list-jobs --no-legend; ip -brief address; ip neighbour; \
    journalctl --boot --no-pager --output=short-monotonic --lines=150 --priority=info \
    | cut -c 1-240";

/// Waits for the ready line, which must be the host's.
pub(crate) fn ready(machine: &mut Machine, name: &str) {
    let ready = machine.wait_ready(PATIENCE).unwrap_or_else(|error| panic!("{name}: {error:#}"));
    assert_eq!(ready.hostname, name);
    println!("{name}: ready after {} s of its own, {} s here", ready.boot, machine.age().as_secs());
}

/// Writes a file on a machine, for root alone.
pub(crate) fn write(guest: &mut Guest, path: &str, text: &str) {
    let output = guest.run(&format!("umask 077; cat >{path} <<'END'\n{text}\nEND"));
    assert_eq!((output.status, &*output.text), (0, ""), "writing {path}");
}

/// Repeats commands until they print what is wanted.
pub(crate) fn until(guest: &mut Guest, commands: &str, is_it: impl Fn(&str) -> bool) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let output = guest.run(commands);
        if output.status == 0 && is_it(&output.text) {
            return output.text;
        }
        assert!(Instant::now() < deadline, "never right: '{commands}': {}", output.text);
        thread::sleep(Duration::from_secs(2));
    }
}

/// What units failed, which none should.
pub(crate) fn check_units(checks: &mut Checks<'_>, name: &str, guest: &mut Guest) {
    let failed = "systemctl list-units --failed --plain --no-legend";
    checks.prints(&format!("no unit of {name} failed"), guest, failed, "");
}

/// What a kubelet runs is there, and does what it is asked.
pub(crate) fn check_kubelet(checks: &mut Checks<'_>, name: &str, guest: &mut Guest) {
    let log = guest.run("journalctl --unit=kubelet.service --output=cat --no-pager --lines=2000");
    let is_missing = |line: &&str| line.contains("executable file not found");
    let complaint = log.text.lines().find(is_missing);
    let knows = log.status == 0 && !log.text.is_empty() && complaint.is_none();
    checks.that(&format!("the kubelet of {name} misses no program"), knows, &complaint);
}

/// Imports the test's container image on a node.
pub(crate) fn import(checks: &mut Checks<'_>, name: &str, guest: &mut Guest) {
    let import = "ctr --namespace=k8s.io images import /dev/disk/by-id/virtio-medium0";
    checks.mentions(&format!("{name} is given an image"), guest, import, IMAGE);
}

/// A server on every node that says who owns what, and a service in front of it.
pub(crate) fn manifest(replicas: usize) -> String {
    const MANIFEST: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: REPLICAS
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      automountServiceAccountToken: false
      affinity:
        podAntiAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
          - labelSelector: {matchLabels: {app: web}}
            topologyKey: kubernetes.io/hostname
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
  clusterIP: ADDRESS
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: PORT}]
"#;
    MANIFEST
        .replace("REPLICAS", &replicas.to_string())
        .replace("ADDRESS", SERVICE)
        .replace("PORT", &NODE_PORT.to_string())
}

/// The service answers by its address and by a node's port, asked from a master without kube-proxy.
pub(crate) fn check_service(checks: &mut Checks<'_>, guest: &mut Guest, node: &str) {
    // What it sends there becomes the pod's on the node.
    let route = format!("ip route replace {SERVICE}/32 via {node}");
    checks.prints(&format!("the way to the service leads over {node}"), guest, &route, "");
    check_answers(checks, guest, SERVICE);
    check_answers(checks, guest, &format!("{node}:{NODE_PORT}"));
}

/// The service answers by an address of its own, or by a node's and its port.
pub(crate) fn check_answers(checks: &mut Checks<'_>, guest: &mut Guest, server: &str) {
    // A pod runs some moments before every kube-proxy has heard of it.
    let get = format!(
        "for try in $(seq 60); do kubectl --kubeconfig=/dev/null --server=http://{server} \
         get --raw=/passwd && break; sleep 2; done"
    );
    checks.mentions(&format!("the service answers by {server}"), guest, &get, "root:x:0:0");
}
