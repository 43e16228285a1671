// SPDX-License-Identifier: Apache-2.0
//! A small workspace of two roles, and the kiln program run in it with a bare environment.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use super::archive::{Key, Server};

/// What a run of kiln gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// Results of a run that did its work.
    #[track_caller]
    pub(crate) fn done(self) -> String {
        assert_eq!(self.status, Some(0), "{}", self.stderr);
        self.stdout
    }

    /// The report of a run that refused.
    #[track_caller]
    pub(crate) fn refused(self) -> String {
        assert_eq!((self.status, self.stdout.as_str()), (Some(1), ""), "{}", self.stderr);
        self.stderr.trim_end().to_owned()
    }
}

/// A workspace with roles `lb` and `node`, a cache, and an archive to lock from.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) server: Server,
    pub(crate) key: Key,
    folder: tempfile::TempDir,
}

const CLUSTER: &str = "schema: 1
name: test
version: '1'
endpoint: { vip: 10.1.0.100 }
networks: { hosts: 10.1.0.0/24, pods: 10.2.0.0/16, services: 10.3.0.0/24, dns: 10.3.0.2 }
etcd: { members: [node-1] }
hosts:
  lb-1: { role: lb, address: 10.1.0.1 }
  node-1: { role: node, address: 10.1.0.2 }
";

impl Workspace {
    /// Both roles ask for `linux`; `lb` also for `haproxy`, `node` for `runc`.
    pub(crate) fn new() -> Self {
        let workspace = Self {
            server: Server::start(),
            key: Key::generate(),
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        workspace.write("cluster.yaml", CLUSTER);
        workspace.profile("lb", "[haproxy]");
        workspace.profile("node", "[runc]");
        fs::write(workspace.path("keyring"), workspace.key.certificate()).expect("writable");
        workspace
    }

    /// Lets a role ask for other packages, from `trixie` and `trixie-security`.
    pub(crate) fn profile(&self, role: &str, packages: &str) {
        let text = format!(
            "packages: {packages}\nkernel: {{ package: linux }}\ndebian: {{ updates: false }}\n"
        );
        self.write(&format!("profiles/{role}.yaml"), &text);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("inside")).expect("writable");
        fs::write(path, text).expect("writable");
    }

    /// A file's text; empty if there is no such file.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// All files below a folder of the workspace.
    pub(crate) fn files(&self, name: &str) -> Vec<PathBuf> {
        fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.expect("readable").path();
                if path.is_dir() { collect(&path, files) } else { files.push(path) }
            }
        }
        let mut files = Vec::new();
        collect(&self.path(name), &mut files);
        files.sort();
        files
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        command
            .env_clear()
            .current_dir(self.folder.path())
            .env("KILN_CACHE", self.path("cache"))
            .env("KILN_KEYRING", self.path("keyring"))
            .env("KILN_MIRROR", self.server.url("debian"))
            .env("KILN_SNAPSHOT_MIRROR", self.server.url("snapshot"))
            .args(arguments);
        command
    }

    /// Runs kiln to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        self.result(&self.command(arguments).output().expect("kiln starts"))
    }

    /// Starts kiln.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kiln starts")
    }

    /// Text of a run; `SERVER` and `DIR` stand for what differs from test to test.
    pub(crate) fn result(&self, output: &Output) -> Run {
        let text = |bytes: &[u8]| {
            String::from_utf8_lossy(bytes)
                .replace(&self.server.host(), "SERVER")
                .replace(&self.folder.path().display().to_string(), "DIR")
        };
        Run {
            status: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }
}
