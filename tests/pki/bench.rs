// SPDX-License-Identifier: Apache-2.0
//! A workspace with the quickstart cluster, in which no run of kiln may show a key.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use kiln::{
    cluster::{self, Cluster},
    diagnostic::{Problems, Source},
    pki::Material,
    workspace::Workspace,
};

pub(super) struct Bench(tempfile::TempDir);

impl Bench {
    /// Nothing but the cluster file and the names of its profiles.
    pub(super) fn new() -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        fs::create_dir(bench.path("profiles")).unwrap();
        for role in ["master", "node", "lb"] {
            fs::write(bench.path(&format!("profiles/{role}.yaml")), "").unwrap();
        }
        fs::write(bench.path("cluster.yaml"), quickstart()).unwrap();
        bench
    }

    /// With authorities and the certificates of every role.
    pub(super) fn issued() -> Self {
        let bench = Self::new();
        bench.done(&["init"]);
        bench.done(&["issue"]);
        bench
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(super) fn write(&self, name: &str, text: &str, mode: u32) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Text of the cluster file that stands there once is replaced.
    pub(super) fn edit(&self, from: &str, to: &str) {
        let text = self.read("cluster.yaml");
        assert_eq!(text.matches(from).count(), 1, "'{from}' stands once");
        fs::write(self.path("cluster.yaml"), text.replace(from, to)).unwrap();
    }

    pub(super) fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o7777
    }

    pub(super) fn material(&self) -> Material {
        kiln::sys::vault::read(self.0.path()).unwrap()
    }

    pub(super) fn cluster(&self) -> Cluster {
        parsed(&self.read("cluster.yaml"))
    }

    /// Every file of `pki/` that ends in `extension`, relative to the workspace, sorted.
    pub(super) fn files(&self, extension: &str) -> Vec<String> {
        fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() { collect(&path, files) } else { files.push(path) }
            }
        }
        let mut files = Vec::new();
        collect(&self.path("pki"), &mut files);
        files.retain(|path| path.extension().is_some_and(|found| found == extension));
        let relative =
            |path: PathBuf| path.strip_prefix(self.0.path()).unwrap().to_str().unwrap().to_owned();
        let mut files: Vec<String> = files.into_iter().map(relative).collect();
        files.sort();
        files
    }

    /// `kiln pki ARGUMENTS`: status, stdout, stderr; dates are `DATE`. No key is in either text.
    pub(super) fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_kiln"))
            .env_clear()
            .env("KILN_CACHE", self.path("cache"))
            .current_dir(self.0.path())
            .arg("pki")
            .args(arguments)
            .output()
            .unwrap();
        let [stdout, stderr] =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        for text in [&stdout, &stderr] {
            assert!(!text.contains("PRIVATE"), "{arguments:?}: {text}");
            for key in self.files("key") {
                let key = fs::read_to_string(self.path(&key)).unwrap_or_default();
                let body = key.lines().filter(|line| line.len() > 16 && !line.starts_with('-'));
                body.for_each(|line| assert!(!text.contains(line), "{arguments:?} shows a key"));
            }
        }
        (output.status.code(), dateless(&stdout), dateless(&stderr))
    }

    /// What a run printed that did its work.
    #[track_caller]
    pub(super) fn done(&self, arguments: &[&str]) -> String {
        let (status, stdout, stderr) = self.run(arguments);
        assert_eq!((status, stderr.as_str()), (Some(0), ""), "{arguments:?}");
        stdout
    }

    /// What a run said that refused.
    #[track_caller]
    pub(super) fn refused(&self, arguments: &[&str]) -> String {
        let (status, stdout, stderr) = self.run(arguments);
        assert_eq!((status, stdout.as_str()), (Some(1), ""), "{arguments:?}: {stderr}");
        stderr.trim_end().to_owned()
    }

    /// Runs openssl in the workspace: whether it did what it was asked, and all it said.
    pub(super) fn openssl(&self, arguments: &[&str]) -> (bool, String) {
        let output = Command::new("openssl")
            .current_dir(self.0.path())
            .args(arguments)
            .output()
            .expect("openssl is installed");
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    }

    /// What openssl answered.
    #[track_caller]
    pub(super) fn asked(&self, arguments: &[&str]) -> String {
        let (fine, text) = self.openssl(arguments);
        assert!(fine, "openssl {arguments:?}: {text}");
        text
    }
}

pub(super) fn quickstart() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster.yaml")).unwrap()
}

/// The cluster of a valid file.
pub(super) fn parsed(text: &str) -> Cluster {
    let profile = |role: &str| (role.to_owned(), Source::new("profiles", ""));
    let workspace = Workspace {
        cluster: Source::new("cluster.yaml", text),
        profiles: ["master", "node", "lb"].into_iter().map(profile).collect(),
        overlays: Default::default(),
        addons: Default::default(),
    };
    let problems = Problems::new();
    let cluster = cluster::load(&workspace, &problems);
    problems.finish(cluster).unwrap()
}

/// `2026-11-21T07:29:19Z` becomes `DATE`.
pub(super) fn dateless(text: &str) -> String {
    let is_date = |at: &str| {
        at.len() >= 20
            && at.is_char_boundary(20)
            && at[..20]
                .chars()
                .map(|c| if c.is_ascii_digit() { '0' } else { c })
                .collect::<String>()
                == "0000-00-00T00:00:00Z"
    };
    let (mut out, mut rest) = (String::new(), text);
    while let Some(c) = rest.chars().next() {
        let skipped = if is_date(rest) {
            out.push_str("DATE");
            20
        } else {
            out.push(c);
            c.len_utf8()
        };
        rest = &rest[skipped..];
    }
    out
}
