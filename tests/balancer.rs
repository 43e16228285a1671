// SPDX-License-Identifier: Apache-2.0
//! Load balancers as the real programs see them: what Kiln writes for haproxy, nginx and keepalived is
//! read by them, and the proxies run with it, on loopback addresses, before masters that openssl
//! plays.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{TcpStream, ToSocketAddrs},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use kiln::{
    pki::{
        Ca, Material,
        authority::{Authority, found},
        delivery::node_files,
        leaves::{Scope, leaves},
    },
    sys,
};
use serde_json::json;

use crate::support::files::Planned;

const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster whose network is loopback. Each test has a port of its own on 127.0.0.1.
fn cluster(network: u8, port: u16, proxy: &str, kubernetes: bool) -> String {
    let kubernetes =
        if kubernetes { "kubernetes: { version: v1.20.2, binaries: up }\n" } else { "" };
    format!(
        "schema: 1
name: loop
version: '1'
{kubernetes}endpoint: {{ vip: 127.0.{network}.100, port: {port} }}
networks: {{ hosts: 127.0.{network}.0/24, pods: 10.244.0.0/16, services: 10.0.0.0/24, dns: 10.0.0.2 }}
etcd: {{ members: [good] }}
lb: {{ proxy: {proxy} }}
hosts:
  good: {{ role: master, address: 127.0.{network}.1 }}
  alien: {{ role: master, address: 127.0.{network}.2 }}
  sick: {{ role: master, address: 127.0.{network}.3 }}
  other: {{ role: master, address: 127.0.{network}.4 }}
  one: {{ role: lb, address: 127.0.{network}.8, vars: {{ priority: 100 }} }}
  two: {{ role: lb, address: 127.0.{network}.9, vars: {{ priority: 90 }} }}
"
    )
}

/// A balancer's files in a folder, and what runs until the test ends.
struct Bench {
    planned: Planned,
    scratch: tempfile::TempDir,
    children: Vec<Child>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

impl Bench {
    fn new(cluster: &str) -> Self {
        let planned = Planned::with("", |_| cluster.to_owned());
        Self { planned, scratch: tempfile::tempdir().unwrap(), children: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// A configuration of the role, with its folders in the scratch folder.
    fn config(&self, path: &str) -> PathBuf {
        self.place(path, &self.planned.text("lb", path, "one"))
    }

    fn place(&self, path: &str, text: &str) -> PathBuf {
        let scratch = self.scratch.path().to_str().unwrap();
        let mut text = text.replace("/run/haproxy", scratch).replace("/run/nginx", scratch);
        text = text.replace("/etc/kubernetes/pki", scratch);
        // Whoever runs the tests may open fewer files than a balancer.
        text = text.replace("maxconn 20000", "maxconn 100");
        self.write(path.rsplit('/').next().unwrap(), text)
    }

    fn run(&mut self, command: &mut Command) -> usize {
        let child = command.stdin(Stdio::null()).spawn();
        self.children.push(child.unwrap_or_else(|error| panic!("{command:?}: {error}")));
        self.children.len() - 1
    }

    /// Runs to its end; what it said if it found nothing wrong.
    #[track_caller]
    fn judged(command: &mut Command) -> String {
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(output.status.success(), "{command:?}: {text}");
        text
    }

    /// What a load balancer is given, and certificates of masters, by name.
    fn certificates(&self) -> Material {
        let (cluster, now) = (self.planned.cluster(), sys::now());
        let mut material = Material::default();
        for ca in Ca::ALL {
            let pair = found(ca, "loop", 10, sys::random::fresh().unwrap(), now).unwrap();
            material.insert(ca.certificate(), pair.certificate);
            material.insert(ca.key(), pair.key.reveal());
        }
        let authority = Authority::open(Ca::Kubernetes, &material, now).unwrap();
        let master = |name: &str| Scope::Host(name.to_owned());
        let scopes = [Scope::Role("lb".to_owned()), master("good"), master("sick")];
        for scope in scopes {
            for mut leaf in leaves(cluster, &scope) {
                if leaf.ca == Ca::Kubernetes {
                    leaf.days = 1;
                    let pair = authority.issue(&leaf, sys::random::fresh().unwrap(), now).unwrap();
                    material.insert(leaf.certificate(), pair.certificate);
                    material.insert(leaf.key(), pair.key.reveal());
                }
            }
        }
        let scope = Scope::Role("lb".to_owned());
        for file in node_files(cluster, &scope, &material, now).unwrap() {
            let path = self.write(file.path.rsplit('/').next().unwrap(), &file.content);
            fs::set_permissions(path, fs::Permissions::from_mode(file.mode.into())).unwrap();
        }
        material
    }

    /// A server at a master's address that asks clients for a certificate and has one file,
    /// `/readyz`, which is a whole answer of HTTP.
    fn master(&mut self, name: &str, set: &str, status: &str, material: &Material) -> usize {
        let folder = format!("masters/{name}");
        let body = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        self.write(&format!("{folder}/readyz"), body);
        for ending in ["crt", "key"] {
            let text = material.get(&format!("hosts/{set}/apiserver.{ending}")).unwrap();
            self.write(&format!("{folder}/server.{ending}"), text);
        }
        self.write(&format!("{folder}/ca.crt"), material.get("kubernetes-ca.crt").unwrap());
        let address = self.planned.cluster().hosts[name].address.address;
        let mut command = Command::new("openssl");
        command.current_dir(self.path(&folder));
        command.args(["s_server", "-quiet", "-accept", &format!("{address}:6443")]);
        command.args(["-cert", "server.crt", "-key", "server.key", "-CAfile", "ca.crt"]);
        command.args(["-Verify", "1", "-verify_return_error", "-HTTP"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = self.run(&mut command);
        until(name, true, || listens((address, 6443)));
        child
    }

    /// What haproxy says of a server in `backend`.
    fn checked(&self, backend: &str, server: &str) -> String {
        let mut stream = UnixStream::connect(self.path("admin.sock")).unwrap();
        stream.write_all(b"show stat\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let names: Vec<&str> = text.lines().next().unwrap().split(',').collect();
        let row = text.lines().find(|line| line.starts_with(&format!("{backend},{server},")));
        let row: Vec<&str> = row.unwrap_or_else(|| panic!("{text}")).split(',').collect();
        let field = |name: &str| row[names.iter().position(|found| *found == name).unwrap()];
        format!("{} {} {}", field("status"), field("check_status"), field("check_code"))
    }

    /// kiln-init's question, as keepalived asks it.
    fn answers(&self, port: u16) -> bool {
        let init = self.path("kiln-init");
        if !init.exists() {
            self.write("kiln-init", kiln::KILN_INIT);
            fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut command = Command::new(init);
        command.args(["answers", &format!("127.0.0.1:{port}")]).stderr(Stdio::null());
        command.status().unwrap().success()
    }

    fn signal(&self, child: usize, signal: &str) {
        let id = self.children[child].id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }
}

/// Repeats a question until the answer is the wanted one.
#[track_caller]
fn until<T: PartialEq + std::fmt::Debug>(what: &str, wanted: T, mut ask: impl FnMut() -> T) {
    let start = Instant::now();
    loop {
        let answer = ask();
        if answer == wanted {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{what}: {answer:?}, not {wanted:?}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// Whether a server accepts connections.
fn listens(address: impl ToSocketAddrs) -> bool {
    TcpStream::connect(address).is_ok()
}

#[test]
fn haproxy_and_nginx_accept_their_configurations_with_and_without_kubernetes() {
    for (network, kubernetes) in [(41, false), (42, true)] {
        let bench = Bench::new(&cluster(network, 16_441, "haproxy", kubernetes));
        if kubernetes {
            bench.certificates();
        }
        let config = bench.config("/etc/haproxy/haproxy.cfg");
        let said = Bench::judged(tool("haproxy").args(["-c", "-f"]).arg(&config));
        assert!(!said.contains("WARNING") && !said.contains("ALERT"), "{said}");
        let text = fs::read_to_string(&config).unwrap();
        assert_eq!(text.contains("check-ssl"), kubernetes, "{text}");
        assert_eq!(text.contains("option tcp-check"), !kubernetes, "{text}");

        let bench = Bench::new(&cluster(network, 16_441, "nginx", kubernetes));
        let config = bench.config("/etc/nginx/nginx.conf");
        let said = Bench::judged(tool("nginx").args(["-t", "-e", "stderr", "-c"]).arg(&config));
        assert!(!said.contains("[warn]") && !said.contains("[emerg]"), "{said}");
    }
}

/// The image of `older`, with the seed of a host of a cluster file that has one master and one
/// balancer more; by path what first boot writes.
fn with_a_newer_seed(
    older: &Bench,
    network: u8,
    port: u16,
    proxy: &str,
) -> BTreeMap<String, String> {
    let newer = cluster(network, port, proxy, true)
        + &format!(
            "  fifth: {{ role: master, address: 127.0.{network}.5 }}
  three: {{ role: lb, address: 127.0.{network}.10, vars: {{ priority: 80 }} }}
"
        );
    let newer = Planned::with("", |_| newer);
    older.planned.booted("lb", &newer.meta_data("one")).unwrap()
}

#[test]
fn proxies_and_keepalived_accept_hosts_that_a_seed_adds_to_those_of_the_image() {
    const PORT: u16 = 16_445;
    let bench = Bench::new(&cluster(45, PORT, "haproxy", true));
    bench.certificates();
    let files = with_a_newer_seed(&bench, 45, PORT, "haproxy");
    let path = "/etc/haproxy/haproxy.cfg";
    for line in
        ["server fifth 127.0.45.5:6443 verifyhost fifth\n", "server fifth 127.0.45.5:6443\n"]
    {
        assert_eq!(files[path].matches(line).count(), 1, "{}", files[path]);
        assert_eq!(bench.planned.text("lb", path, "one").matches(line).count(), 0);
    }
    assert_eq!(files[path].matches("    server ").count(), 10, "{}", files[path]);
    let config = bench.place(path, &files[path]);
    let said = Bench::judged(tool("haproxy").args(["-c", "-f"]).arg(&config));
    assert!(!said.contains("WARNING") && !said.contains("ALERT"), "{said}");
    let keepalived = &files["/etc/keepalived/keepalived.conf"];
    assert!(keepalived.contains("\n        127.0.45.10\n"), "{keepalived}");
    assert_eq!(said_by_keepalived(keepalived), "");

    let bench = Bench::new(&cluster(45, PORT, "nginx", true));
    let files = with_a_newer_seed(&bench, 45, PORT, "nginx");
    let path = "/etc/nginx/nginx.conf";
    let line = "server 127.0.45.5:6443 max_fails=2 fail_timeout=10s;\n";
    assert_eq!(files[path].matches(line).count(), 1, "{}", files[path]);
    let config = bench.place(path, &files[path]);
    let said = Bench::judged(tool("nginx").args(["-t", "-e", "stderr", "-c"]).arg(&config));
    assert!(!said.contains("[warn]") && !said.contains("[emerg]"), "{said}");
}

#[test]
fn a_balancer_whose_metadata_names_no_hosts_has_those_of_its_image() {
    let planned = Planned::with("", |_| cluster(46, 16_446, "haproxy", true));
    let files = planned.booted("lb", &json!({ "local-hostname": "stranger" })).unwrap();
    for path in ["/etc/haproxy/haproxy.cfg", "/etc/keepalived/keepalived.conf"] {
        let known = planned.text("lb", path, "one");
        let addresses = |text: &str| -> Vec<String> {
            text.lines().filter(|line| line.contains("127.0.46.")).map(str::to_owned).collect()
        };
        assert_eq!(addresses(&files[path]), addresses(&known), "{path}");
        assert!(addresses(&known).len() >= 3, "{path}: {known}");
    }
    // A template never sees what is no name: it could be configuration.
    let evil = json!({ "name": "a\n    server evil 10.6.6.6:1", "address": "127.0.46.1" });
    let refusal = planned.booted("lb", &json!({ "vars": { "peers": { "masters": [evil] } } }));
    let refusal = refusal.unwrap_err();
    assert!(refusal.contains("vars.peers.masters[0].name: expected a host name"), "{refusal}");
}

/// keepalived wants the interface to be there, so it gets a network of its own with one.
const INTERFACE_AND_TEST: &str =
    "ip link add eth0 type veth && exec keepalived --config-test --use-file \"$0\"";

#[test]
fn keepalived_accepts_its_configuration_and_asks_the_port_not_for_a_process() {
    let planned = Planned::of("");
    for host in ["k8s-lb-primary", "k8s-lb-backup"] {
        let text = planned.text("lb", "/etc/keepalived/keepalived.conf", host);
        assert!(text.contains("answers 127.0.0.1:6443"), "{text}");
        assert_eq!(said_by_keepalived(&text), "", "{host}");
    }
}

fn said_by_keepalived(text: &str) -> String {
    // Program, account and interface are the machine's; the rest is judged as it is.
    let lines = text.lines().map(|line| match line.trim().split(' ').next() {
        Some("script") => "    script \"/bin/true\"",
        Some("script_user") => "    script_user root",
        Some("interface") => "    interface eth0",
        _ => line,
    });
    let scratch = tempfile::tempdir().unwrap();
    let config = scratch.path().join("keepalived.conf");
    fs::write(&config, lines.collect::<Vec<_>>().join("\n") + "\n").unwrap();
    let mut command = tool("unshare");
    command.args(["--user", "--map-root-user", "--net", "/bin/sh", "-c", INTERFACE_AND_TEST]);
    Bench::judged(command.arg(&config)).trim().to_owned()
}

/// By the numbers of the configuration: what RFC 5798, section 6.1, calls Master_Down_Interval,
/// and the check before it.
#[test]
fn the_address_moves_within_five_seconds_when_the_proxy_or_the_host_dies() {
    let planned = Planned::of("");
    for (name, host) in planned.cluster().hosts_of("lb") {
        let text = planned.text("lb", "/etc/keepalived/keepalived.conf", name);
        let number = |key: &str| -> f64 {
            let values = text.lines().filter_map(|line| line.trim().strip_prefix(key));
            values.map(|value| value.trim().parse::<f64>().unwrap()).next().unwrap()
        };
        let advert = number("advert_int ");
        let skew = (256.0 - number("priority ")) / 256.0 * advert;
        let host_dies = 3.0 * advert + skew;
        let proxy_dies = number("interval ") * number("fall ") + host_dies;
        assert!(host_dies < 3.0 && proxy_dies < 4.5, "{name}: {host_dies} {proxy_dies}");
        // It would hold back a backup whose better balancer has lost its proxy.
        let delays = text.lines().any(|line| line.trim().starts_with("preempt_delay"));
        assert!(!delays, "{text}");
        assert_eq!(host.vars["priority"], serde_json::json!(number("priority ") as u32));
    }
}

#[test]
fn haproxy_asks_masters_for_readiness_by_tls_and_passes_clients_through_unopened() {
    const PORT: u16 = 16_443;
    let mut bench = Bench::new(&cluster(43, PORT, "haproxy", true));
    let material = bench.certificates();
    let foreign = bench.certificates_of_strangers();
    let good = bench.master("good", "good", "200 OK", &material);
    bench.master("alien", "good", "200 OK", &foreign);
    bench.master("sick", "sick", "500 Internal Server Error", &material);
    // Of the cluster, but another host's.
    bench.master("other", "good", "200 OK", &material);
    let config = bench.config("/etc/haproxy/haproxy.cfg");
    let mut command = tool("haproxy");
    let proxy = bench.run(command.args(["-db", "-f"]).arg(&config).stdout(Stdio::null()));
    until("haproxy starts", true, || bench.path("admin.sock").exists());
    for (server, wanted) in [
        ("good", "UP L7OK 200"),
        ("alien", "DOWN L6RSP "),
        ("sick", "DOWN L7STS 500"),
        ("other", "DOWN L6RSP "),
    ] {
        until(server, wanted.to_owned(), || bench.checked("masters", server));
    }
    // The client sees the master's own certificate and shows its own to it.
    let mut client = Command::new("openssl");
    let pem = bench.path("healthcheck-client.pem");
    client.args(["s_client", "-connect", &format!("127.0.43.100:{PORT}")]);
    client.args(["-verify_return_error", "-verify_hostname", "good", "-CAfile"]);
    client.arg(bench.path("ca.crt")).arg("-cert").arg(&pem).stdin(Stdio::null());
    let said = Bench::judged(&mut client);
    assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
    // Without a master that is ready, whoever listens is better than nobody.
    bench.signal(good, "-KILL");
    until("good", "DOWN L4CON ".to_owned(), || bench.checked("masters", "good"));
    let mut client = Command::new("openssl");
    client.args(["s_client", "-connect", &format!("127.0.43.100:{PORT}")]);
    let output = client.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("kube-apiserver"), "{said}");
    check_answers(&bench, proxy, PORT);
}

#[test]
fn nginx_passes_clients_through_unopened_and_past_a_dead_master() {
    const PORT: u16 = 16_444;
    let mut bench = Bench::new(&cluster(44, PORT, "nginx", true));
    // A balancer with nginx holds no key: the certificates are those of another cluster file.
    let givers = Bench::new(&cluster(44, PORT, "haproxy", true));
    let material = givers.certificates();
    assert_eq!(leaves(bench.planned.cluster(), &Scope::Role("lb".to_owned())), []);
    bench.master("good", "good", "200 OK", &material);
    let config = bench.config("/etc/nginx/nginx.conf");
    let mut command = tool("nginx");
    command.args(["-e", "stderr", "-g", "daemon off; master_process off;", "-c"]);
    let proxy = bench.run(command.arg(&config).stderr(Stdio::null()));
    until("nginx starts", true, || listens(("127.0.44.100", PORT)));
    for _ in 0..8 {
        let mut client = Command::new("openssl");
        client.args(["s_client", "-connect", &format!("127.0.44.100:{PORT}")]);
        client.args(["-verify_return_error", "-verify_hostname", "good", "-CAfile"]);
        client.arg(givers.path("ca.crt")).arg("-cert").arg(givers.path("healthcheck-client.pem"));
        let said = Bench::judged(client.stdin(Stdio::null()));
        assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
    }
    check_answers(&bench, proxy, PORT);
}

/// A proxy that hangs has an open port and is found out nevertheless.
fn check_answers(bench: &Bench, proxy: usize, port: u16) {
    assert!(bench.answers(port), "a working proxy");
    bench.signal(proxy, "-STOP");
    // Its threads stop one after another.
    until("a hanging proxy is found out", false, || bench.answers(port));
    bench.signal(proxy, "-CONT");
    until("the proxy works again", true, || bench.answers(port));
    bench.signal(proxy, "-KILL");
    until("nobody answers for a dead proxy", false, || bench.answers(port));
}

impl Bench {
    /// The same from other authorities; the balancer's files stay.
    fn certificates_of_strangers(&self) -> Material {
        Bench::new(&cluster(43, 16_443, "haproxy", true)).certificates()
    }
}

#[test]
fn the_cluster_file_alone_chooses_the_proxy() {
    let of = |proxy: &str| {
        Planned::with("", |text| text.replace("proxy: haproxy", &format!("proxy: {proxy}")))
    };
    for (proxy, other, packages, uid) in [
        ("haproxy", "nginx", &["haproxy"][..], 452),
        ("nginx", "haproxy", &["libnginx-mod-stream", "nginx"], 455),
    ] {
        let planned = of(proxy);
        let profile = &planned.plan("lb").profile;
        assert_eq!(profile.overlays, ["base", proxy, "keepalived"]);
        let unit = format!("{proxy}.service");
        assert!(profile.services.enable.contains(&unit) && profile.services.ready.contains(&unit));
        for package in packages {
            assert!(profile.packages.install.contains(*package), "{package}");
        }
        assert_eq!(profile.users[proxy].uid, uid);
        let json = serde_json::to_string(profile).unwrap();
        assert!(!json.contains(&format!("{other}.service")), "{json}");
        assert!(!profile.users.contains_key(other) && !profile.packages.install.contains(other));
    }
    // Nobody else cares.
    let digest = |proxy: &str, role: &str| serde_json::to_string(&of(proxy).plan(role).profile);
    assert_eq!(digest("haproxy", "master").unwrap(), digest("nginx", "master").unwrap());
}

/// systemd's reader, on Debian's units with Kiln's changes.
#[test]
fn systemd_finds_nothing_wrong_with_the_proxies_units() {
    let units = tempfile::tempdir().unwrap();
    for name in ["haproxy", "nginx", "keepalived"] {
        let unit = format!("{name}.service");
        let debian = ["/usr/lib/systemd/system", "/lib/systemd/system"]
            .map(|folder| Path::new(folder).join(&unit));
        let debian = debian.iter().find(|path| path.exists());
        let debian = debian.unwrap_or_else(|| panic!("there is no {unit}: install {name}"));
        fs::copy(debian, units.path().join(&unit)).unwrap();
        let planned = Planned::with("", |text| match name {
            "nginx" => text.replace("proxy: haproxy", "proxy: nginx"),
            _ => text.to_owned(),
        });
        let drop_in = format!("/usr/lib/systemd/system/{unit}.d/10-kiln.conf");
        let text = planned.text("lb", &drop_in, "k8s-lb-primary");
        let folder = units.path().join(format!("{unit}.d"));
        fs::create_dir(&folder).unwrap();
        // The unit that says when the network is up comes with every image.
        let text = text.replace("Requires=kiln-network.service\n", "");
        fs::write(folder.join("10-kiln.conf"), text).unwrap();
        let output = tool("systemd-analyze")
            .args(["verify", "--man=no"])
            .arg(units.path().join(&unit))
            .output()
            .expect("systemd-analyze runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let ours: Vec<_> = said.lines().filter(|line| line.contains(name)).collect();
        assert!(ours.is_empty(), "{said}");
        assert!(output.status.success(), "{said}");
    }
}
