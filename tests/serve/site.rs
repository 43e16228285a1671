// SPDX-License-Identifier: Apache-2.0
//! A small site on loopback: a workspace, what a build would have left, and `kiln serve` over both.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Mutex, mpsc},
    thread,
    time::Duration,
};

use kiln::digest::Digest;

pub(crate) const MAC: &str = "52-54-00-00-00-01";
pub(crate) const UUID: &str = "4c4c4544-0042-3510-8051-b4c04f4e3232";

pub(crate) const CLUSTER: &str = "schema: 1
name: test
version: '7'
endpoint: { vip: 10.1.0.100 }
networks: { hosts: 10.1.0.0/24, pods: 10.2.0.0/16, services: 10.3.0.0/24, dns: 10.3.0.2 }
etcd: { members: [node-1] }
hosts:
  lb-1: { role: lb, address: 10.1.0.1, mac: '52:54:00:00:00:01' }
  node-1: { role: node, address: 10.1.0.2, mac: '52:54:00:00:00:02' }
  node-2: { role: node, address: 10.1.0.3, uuid: 4c4c4544-0042-3510-8051-b4c04f4e3232 }
";

/// The people's files, and `out`.
pub(crate) struct Site {
    pub(crate) folder: tempfile::TempDir,
}

impl Site {
    /// With an image of `lb` whose root has these bytes.
    pub(crate) fn new(root: &[u8]) -> Self {
        let site = Self { folder: tempfile::tempdir().unwrap() };
        site.write("cluster.yaml", CLUSTER.as_bytes());
        for role in ["lb", "node"] {
            let profile = b"packages: []\nkernel: { package: linux }\n";
            site.write(&format!("profiles/{role}.yaml"), profile);
        }
        site.write("secret", b"outside of everything that is served");
        site.write("ipxe/undionly.kpxe", &vec![0x7f; 70_001]);
        site.build("lb", root, 0);
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Puts a build in place as `kiln build` does: a new folder takes the old one's name.
    pub(crate) fn build(&self, role: &str, root: &[u8], n_keys: usize) {
        let name = format!("test-{role}");
        let script = format!("#!ipxe\nkernel {name}.vmlinuz ${{kiln-arguments}}\nboot\n");
        let files = BTreeMap::from([
            (format!("{name}.disk"), root),
            (format!("{name}.initrd"), b"an initrd".as_slice()),
            (format!("{name}.ipxe"), script.as_bytes()),
            (format!("{name}.vmlinuz"), b"a kernel"),
        ]);
        let outputs: Vec<_> = files
            .iter()
            .map(|(file, bytes)| {
                self.write(&format!("out/.new/{file}"), bytes);
                serde_json::json!({ "file": file, "size": bytes.len(), "sha256": Digest::of(bytes) })
            })
            .collect();
        let manifest = serde_json::json!({
            "schema": 1, "cluster": "test", "role": role, "version": "7",
            "plan": Digest::of(b"plan"), "root-hash": Digest::of(root), "outputs": outputs,
            "secrets": vec![serde_json::json!({ "path": "/x", "kind": "private-key" }); n_keys],
        });
        self.write("out/.new/SHA256SUMS", b"");
        self.write("out/.new/manifest.json", manifest.to_string().as_bytes());
        let folder = self.path("out").join(role);
        let _ = fs::remove_dir_all(&folder);
        fs::rename(self.path("out/.new"), folder).unwrap();
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        command.env_clear().env("HOME", self.folder.path()).current_dir(self.folder.path());
        command.arg("serve").args(arguments);
        command
    }

    /// What it says instead of serving.
    #[track_caller]
    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        assert_ne!(output.status.code(), Some(0));
        String::from_utf8(output.stderr).unwrap()
    }

    pub(crate) fn serve(&self, arguments: &[&str]) -> Served {
        Served::start(self.command(arguments), arguments)
    }
}

/// A server that ends with this value.
pub(crate) struct Served {
    pub(crate) child: Child,
    addresses: BTreeMap<String, SocketAddr>,
    /// Many clients share the value.
    log: Mutex<mpsc::Receiver<String>>,
}

impl Served {
    /// Starts a server that was given these arguments, and waits until it listens.
    pub(crate) fn start(mut command: Command, arguments: &[&str]) -> Self {
        if !arguments.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kiln starts");
        let log = BufReader::new(child.stderr.take().unwrap());
        let (lines, receiver) = mpsc::channel();
        thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        let mut served = Self { child, addresses: BTreeMap::new(), log: Mutex::new(receiver) };
        let mut stdout = BufReader::new(served.child.stdout.take().unwrap());
        let n = 1
            + usize::from(arguments.contains(&"--tls-cert"))
            + usize::from(arguments.contains(&"--tftp-root"));
        for _ in 0..n {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            let Some((scheme, rest)) = line.trim().split_once("://") else {
                panic!("{line:?}; {}", served.log().join("\n"));
            };
            let address = rest.trim_end_matches('/').parse().unwrap();
            served.addresses.insert(scheme.to_owned(), address);
        }
        served
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A response as it came.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

impl Served {
    pub(crate) fn address(&self, scheme: &str) -> SocketAddr {
        self.addresses[scheme]
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address("http")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// Everything that comes back for these bytes, until the server closes.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        // Who is refused early is not read to the end.
        let _ = stream.write_all(bytes);
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        all
    }

    pub(crate) fn ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Response {
        let length = match body {
            [] => String::new(),
            body => format!("Content-Length: {}\r\n", body.len()),
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{length}{headers}\r\n"
        );
        let all = self.raw(&[head.as_bytes(), body].concat());
        let end = all.windows(4).position(|it| it == b"\r\n\r\n").unwrap_or_else(|| {
            panic!("{method} {path}: {:?}", String::from_utf8_lossy(&all));
        });
        let head = String::from_utf8(all[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Response { status, head, body: all[end + 4..].to_vec() }
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        self.ask("GET", path, "", b"")
    }

    /// Lines of the log until now.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().try_iter().collect()
    }

    /// Waits for a line that has these words.
    pub(crate) fn wait_for(&self, words: &str) -> String {
        let log = self.log.lock().unwrap();
        loop {
            let line = log.recv_timeout(Duration::from_secs(120)).unwrap_or_else(|_| {
                panic!("no line with '{words}'");
            });
            if line.contains(words) {
                return line;
            }
        }
    }
}
