// SPDX-License-Identifier: Apache-2.0
//! The cluster that tests ask about: two masters, two nodes of which one is a member of etcd, and
//! a balancer.

use std::collections::BTreeMap;

use crate::{
    cluster::Cluster,
    diagnostic::Source,
    digest::Digest,
    plan::{self, Given, Plan},
    workspace::{Overlay, Workspace},
};

/// What stands under `kubernetes`, where a test asks for nothing else.
pub(crate) const SYSTEMD: &str = "version: v1.20.2, binaries: up";
pub(crate) const STATIC_PODS: &str = "version: v1.20.2, binaries: up, control-plane: static-pods";

const CLUSTER: &str = "schema: 1
name: c
version: '1'
kubernetes: { KUBERNETES }
endpoint: { vip: 192.168.31.100 }
networks: { hosts: 192.168.31.0/24, pods: 10.244.0.0/16, services: 10.0.0.0/24, dns: 10.0.0.2 }
etcd: { members: [m1, m2, n1] }
hosts:
  m1: { role: master, address: 192.168.31.24 }
  m2: { role: master, address: 192.168.31.26 }
  n1: { role: node, address: 192.168.31.35 }
  n2: { role: node, address: 192.168.31.71 }
  l1: { role: lb, address: 192.168.31.178 }
";
/// As it is in the repository.
const RUNTIME: &str = include_str!("../../profiles/containerd.yaml");
const PROFILE: &str = "packages: [base-files]\noverlays: [site]\nkernel: { package: linux }\n";

/// The plan of a role, with this under `kubernetes`.
pub(crate) fn planned(kubernetes: &str, role: &str) -> Plan {
    let profile = |name: &str| {
        let text = if name == "containerd" { RUNTIME } else { PROFILE };
        (name.to_owned(), Source::new(format!("profiles/{name}.yaml"), text))
    };
    let overlay =
        |name: &str| (name.to_owned(), Overlay { name: name.to_owned(), files: BTreeMap::new() });
    let workspace = Workspace {
        cluster: Source::new("cluster.yaml", CLUSTER.replace("KUBERNETES", kubernetes)),
        profiles: ["containerd", "lb", "master", "node"].map(profile).into(),
        overlays: ["containerd", "site"].map(overlay).into(),
        addons: BTreeMap::new(),
    };
    let given = Given { epoch: 1, init: Digest::of(b"init") };
    let plans = plan::plan(&workspace, &[role.to_owned()], given);
    plans.unwrap_or_else(|why| panic!("{why}")).remove(0)
}

/// The cluster with this under `kubernetes`.
pub(crate) fn cluster(kubernetes: &str) -> Cluster {
    planned(kubernetes, "node").cluster
}
