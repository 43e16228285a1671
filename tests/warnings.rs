// SPDX-License-Identifier: Apache-2.0
//! What `kiln check` and `kiln plan` say of a cluster file that is right.

use std::{fs, os::unix::fs::symlink, process::Command};

use crate::support::qemu::repository;

const CLUSTER: &str = "schema: 1
name: c
version: '1'
kubernetes: { version: v1.35.0 }
endpoint: { vip: 10.1.0.100 }
networks: { hosts: 10.1.0.0/24, pods: 10.244.0.0/16, services: 10.0.0.0/24, dns: 10.0.0.2 }
etcd: { members: [m1] }
hosts:
  m1: { role: master, address: 10.1.0.1 }
  n1: { role: node, address: 10.1.0.11 }
";
const IPVS: &str = "warning: kube-proxy 1.35 runs in mode 'ipvs', which is deprecated \
                    since 1.35: write 'proxy-mode: nftables' below 'kubernetes'\n";

#[test]
fn a_deprecated_mode_of_kube_proxy_is_told_with_what_to_write_instead() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["profiles", "overlays"] {
        symlink(repository().join(name), folder.path().join(name)).unwrap();
    }
    let file = folder.path().join("cluster.yaml");
    let said = |section: &str, args: &[&str]| {
        fs::write(&file, CLUSTER.replace("version: v1.35.0", section)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        let output = command.arg("-C").arg(folder.path()).args(args).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        said
    };
    let same = file.to_str().unwrap();
    for section in ["version: v1.35.0", "version: v1.35.0, proxy-mode: ipvs"] {
        for args in [&["check"][..], &["plan"], &["plan", "--json"], &["plan", "--against", same]] {
            assert_eq!(said(section, args), IPVS, "{section} {args:?}");
        }
    }
    assert_eq!(said("version: v1.35.0", &["--quiet", "check"]), "");
    for section in [
        "version: v1.34.2",
        "version: v1.35.0, proxy-mode: nftables",
        // The masters of this cluster run no kube-proxy.
        "version: v1.35.0, node-version: v1.34.2, binaries: 'up/{version}'",
    ] {
        assert_eq!(said(section, &["check"]), "", "{section}");
    }
    let pods = "version: v1.35.0, node-version: v1.34.2, binaries: 'up/{version}', \
                control-plane: static-pods";
    assert_eq!(said(pods, &["check"]), IPVS);
}
