// SPDX-License-Identifier: Apache-2.0
//! The quickstart, in a folder of its own: two masters, two nodes, one of them a
//! member of etcd, two load balancers.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use kiln::{
    digest::Digest,
    pki::Material,
    plan::{self, Given, Plan},
    sys,
    workspace::Workspace,
};

use super::needles::Needles;
use crate::support::qemu::repository;

pub(super) struct Bench(tempfile::TempDir);

/// What a run of kiln gave.
pub(super) struct Run {
    pub(super) status: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Bench {
    /// Without certificates.
    pub(super) fn new(delivery: &str) -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        let quickstart = fs::read_to_string(repository().join("cluster.yaml")).unwrap();
        let text = quickstart.replace("target/kubernetes/v1.20.2", "programs");
        let text = format!("{text}\npki: {{ delivery: {delivery} }}\n");
        fs::write(bench.path("cluster.yaml"), text).unwrap();
        for name in ["profiles", "overlays"] {
            symlink(repository().join(name), bench.path(name)).unwrap();
        }
        bench
    }

    pub(super) fn issue(&self) {
        for arguments in [["pki", "init"], ["pki", "issue"]] {
            let run = self.run(&arguments);
            assert_eq!(run.status, Some(0), "{}", run.stderr);
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Run {
        let output = Command::new(env!("CARGO_BIN_EXE_kiln"))
            .env_clear()
            .env("KILN_CACHE", self.path("cache"))
            .current_dir(self.0.path())
            .args(arguments)
            .output()
            .unwrap();
        let [stdout, stderr] =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        Run { status: output.status.code(), stdout, stderr }
    }

    pub(super) fn material(&self) -> Material {
        sys::vault::read(self.0.path()).unwrap()
    }

    pub(super) fn needles(&self) -> Needles {
        Needles::of(&self.material())
    }

    pub(super) fn plans(&self) -> (Workspace, Vec<Plan>) {
        planned(self.0.path())
    }
}

/// A workspace with the plans of all its roles.
pub(super) fn planned(folder: &Path) -> (Workspace, Vec<Plan>) {
    let workspace = sys::workspace::load(folder).unwrap();
    let given = Given { epoch: 0, init: Digest::of(b"") };
    let plans = plan::plan(&workspace, &[], given).unwrap_or_else(|invalid| panic!("{invalid}"));
    (workspace, plans)
}
