// SPDX-License-Identifier: Apache-2.0
//! What the tests publish, and how they reach places: with little patience and small pieces.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;
use kiln::{
    cli,
    digest::Digest,
    error::Report,
    progress::Progress,
    publish::{self, Allowed, Built, Purpose, Wanted, Ways, target::Target},
    sys::credentials::Credentials,
};
use serde_json::json;
use tempfile::TempDir;

/// Bytes of a piece.
pub(super) const PIECE: usize = 1000;

/// A folder with results of builds, and one for what is pulled.
pub(super) struct Bench {
    folder: TempDir,
}

impl Bench {
    /// With one role that has a file of two and a half pieces, and a small one.
    pub(super) fn new() -> Self {
        let bench = Self::empty();
        bench.build("lb", "7", 0);
        bench
    }

    pub(super) fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// What a build leaves.
    pub(super) fn build(&self, role: &str, version: &str, n_secrets: usize) {
        let large = (0..2500_u32).map(|n| (n / 3) as u8 ^ version.as_bytes()[0]).collect();
        let small = format!("small of {role} {version}").into_bytes();
        let files = [(format!("quickstart-{role}.raw"), large), (format!("{role}.ipxe"), small)];
        self.build_of(role, version, n_secrets, &files);
    }

    pub(super) fn build_of(
        &self,
        role: &str,
        version: &str,
        n_secrets: usize,
        files: &[(String, Vec<u8>)],
    ) {
        let folder = self.path("out").join(role);
        // Nothing of an older build stays.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let outputs: Vec<_> = files
            .iter()
            .map(|(file, bytes)| {
                json!({ "file": file, "size": bytes.len(), "sha256": Digest::of(bytes) })
            })
            .collect();
        let secrets = vec![json!({ "path": "/etc/kubernetes/pki/ca.key" }); n_secrets];
        let manifest = json!({
            "schema": 1, "cluster": "quickstart", "role": role, "version": version,
            "epoch": 1_700_000_000, "outputs": outputs, "secrets": secrets,
        });
        let manifest = (manifest.to_string() + "\n").into_bytes();
        let mut all: BTreeMap<&str, &[u8]> =
            files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
        all.insert("manifest.json", &manifest);
        let sums = all.iter().map(|(name, bytes)| format!("{}  {name}\n", Digest::of(bytes)));
        fs::write(folder.join("SHA256SUMS"), sums.collect::<String>()).unwrap();
        for (name, bytes) in all {
            fs::write(folder.join(name), bytes).unwrap();
        }
    }

    /// Changes one byte of a result.
    pub(super) fn damage(&self, file: &str) {
        let path = self.path("out").join(file);
        let mut bytes = fs::read(&path).unwrap();
        bytes[0] ^= 1;
        fs::write(&path, bytes).unwrap();
    }

    pub(super) fn publish(&self, ways: &Ways, target: &str, roles: &[&str]) -> Result<Vec<String>> {
        self.publish_as(ways, target, roles, Allowed::default())
    }

    pub(super) fn publish_as(
        &self,
        ways: &Ways,
        target: &str,
        roles: &[&str],
        allowed: Allowed,
    ) -> Result<Vec<String>> {
        let place = ways.open(&target.parse::<Target>()?, Purpose::Write)?;
        let read = |role: &&str| Built::read(&self.path("out").join(role), role);
        let built: Vec<Built> = roles.iter().map(read).collect::<Result<_>>()?;
        publish::publish(&place, &built, allowed, 2, &Progress::quiet())
    }

    /// Pulls into `pulled`.
    pub(super) fn pull(&self, ways: &Ways, target: &str, role: &str) -> Result<PathBuf> {
        self.pull_pinned(ways, target, role, None)
    }

    pub(super) fn pull_pinned(
        &self,
        ways: &Ways,
        target: &str,
        role: &str,
        pinned: Option<&Digest>,
    ) -> Result<PathBuf> {
        let place = ways.open(&target.parse::<Target>()?, Purpose::Read)?;
        let wanted = Wanted { role, pinned, out: &self.path("pulled"), jobs: 2 };
        publish::pull(&place, &wanted, &Progress::quiet())
    }

    /// Files of a role below `out` or `pulled`.
    pub(super) fn files(&self, folder: &str, role: &str) -> BTreeMap<String, Vec<u8>> {
        files(&self.path(folder).join(role))
    }

    /// Whether what was pulled is what was built, and nothing else is left.
    #[track_caller]
    pub(super) fn assert_pulled(&self, role: &str) {
        assert_eq!(self.files("pulled", role), self.files("out", role));
        let left: Vec<_> = fs::read_dir(self.path("pulled"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| name.to_string_lossy().starts_with('.'))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// Little patience, small pieces.
pub(super) fn ways(endpoint: Option<&str>, credentials: Credentials) -> Ways {
    let args = cli::Store { endpoint: endpoint.map(str::to_owned), ..cli::Store::default() };
    Ways::new(&args, credentials)
        .unwrap()
        .with_backoff(Duration::from_millis(1))
        .with_stall(Duration::from_millis(500))
        .with_piece(PIECE)
}

/// What is said of a refusal, with the place's address replaced.
#[track_caller]
pub(super) fn said<T: std::fmt::Debug>(result: Result<T>, host: &str) -> String {
    Report(&result.expect_err("refused")).to_string().replace(host, "HOST")
}
