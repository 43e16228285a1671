// SPDX-License-Identifier: Apache-2.0
//! The site that tests ask: the hosts of a small cluster, and a build of `lb`.

use std::{collections::BTreeMap, path::Path};

use super::{Hosts, Images};
use crate::{
    cluster::Cluster,
    digest::Digest,
    kubernetes::fixture::{SYSTEMD, cluster as small},
    seed, sys,
};

pub(super) const MAC: &str = "52-54-00-00-00-01";
pub(super) const UUID: &str = "4c4c4544-0042-3510-8051-b4c04f4e3232";

pub(super) fn cluster(kubernetes: &str) -> Cluster {
    let mut cluster = small(kubernetes);
    cluster.hosts.get_mut("l1").unwrap().mac = Some(MAC.replace('-', ":"));
    cluster.hosts.get_mut("l1").unwrap().kernel_arguments = vec!["kiln.install=any".to_owned()];
    cluster.hosts.get_mut("n1").unwrap().uuid = Some(UUID.to_owned());
    cluster
}

/// The small cluster, whose seeds hold no keys.
pub(super) fn plain() -> (Cluster, Hosts) {
    let cluster = cluster(SYSTEMD);
    let seed = |name: &String| (name.clone(), seed::files(&cluster, name).unwrap());
    let seeds = cluster.hosts.keys().map(seed).collect();
    let hosts = Hosts::new(&cluster, seeds);
    (cluster, hosts)
}

/// Puts a build of `lb` into `out`, with so many secrets.
pub(super) fn build(out: &Path, content: &str, n_keys: usize) {
    let folder = out.join("lb");
    sys::fs::create_dirs(&folder).unwrap();
    let zero = "0".repeat(64);
    let files = BTreeMap::from([
        ("c-lb.disk", content.as_bytes()),
        ("c-lb.initrd", b"initrd".as_slice()),
        ("c-lb.ipxe", b"#!ipxe\nboot\n"),
        ("c-lb.vmlinuz", b"kernel"),
    ]);
    let outputs: Vec<_> = files
        .iter()
        .map(|(file, bytes)| {
            sys::fs::write_atomic(&folder.join(file), bytes).unwrap();
            serde_json::json!({ "file": file, "size": bytes.len(), "sha256": Digest::of(bytes) })
        })
        .collect();
    let manifest = serde_json::json!({
        "schema": 1, "cluster": "c", "role": "lb", "version": "1", "plan": zero,
        "root-hash": Digest::of(content.as_bytes()), "outputs": outputs,
        "secrets": vec![serde_json::json!({ "path": "/x", "kind": "private-key" }); n_keys],
    });
    sys::fs::write_atomic(&folder.join("SHA256SUMS"), b"").unwrap();
    sys::fs::write_atomic(&folder.join("manifest.json"), manifest.to_string().as_bytes()).unwrap();
    sys::fs::write_atomic(&out.join("secret"), b"outside").unwrap();
}

pub(super) fn images(out: &Path, cluster: &Cluster) -> Images {
    Images::read(out, cluster).unwrap()
}
