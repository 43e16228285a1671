// SPDX-License-Identifier: Apache-2.0
use super::*;
use crate::cluster::{Cidr, Delivery, Endpoint, Etcd, Lb, Networks, Pki, Proxy};

fn cluster() -> Cluster {
    let cidr = |a, b, prefix| Cidr { network: Ipv4Addr::new(a, b, 0, 0), prefix };
    let host = |last, mac: Option<&str>| Host {
        role: "lb".into(),
        address: HostAddress { address: Ipv4Addr::new(192, 168, 31, last), prefix: 24 },
        mac: mac.map(str::to_owned),
        uuid: None,
        kernel_arguments: Vec::new(),
        ssh_authorized_keys: Vec::new(),
        vars: BTreeMap::new(),
    };
    let primary = Host {
        ssh_authorized_keys: vec!["ssh-ed25519 AAAA \"quoted\" admin".into()],
        vars: BTreeMap::from([("priority".into(), 100.into()), ("on".into(), "no".into())]),
        ..host(178, Some("52:54:00:31:01:78"))
    };
    Cluster {
        name: "quickstart".into(),
        version: "1".into(),
        mirror: None,
        endpoint: Endpoint { vip: Ipv4Addr::new(192, 168, 31, 100), port: 6443, names: vec![] },
        networks: Networks {
            hosts: Cidr { network: Ipv4Addr::new(192, 168, 31, 0), prefix: 24 },
            pods: cidr(10, 244, 16),
            services: cidr(10, 0, 24),
            dns: Ipv4Addr::new(10, 0, 0, 2),
            domain: "cluster.local".into(),
            gateway: None,
            nameservers: Vec::new(),
        },
        etcd: Etcd { members: Vec::new(), heartbeat_ms: 100, election_ms: 1000 },
        lb: Lb { proxy: Proxy::Haproxy, router_id: 51 },
        kubernetes: None,
        pki: Pki { delivery: Delivery::Seed, ca_days: 3650, leaf_days: 365 },
        hosts: BTreeMap::from([
            ("k8s-lb-primary".into(), primary),
            ("k8s-lb-backup".into(), host(224, None)),
        ]),
    }
}

fn text(files: &Files, name: &str) -> String {
    String::from_utf8(files[name].clone()).unwrap()
}

#[test]
fn a_seed_makes_a_machine_one_host() {
    let files = files(&cluster(), "k8s-lb-primary").unwrap();
    assert_eq!(
        text(&files, "meta-data"),
        r#"{
  "instance-id": "quickstart-k8s-lb-primary",
  "local-hostname": "k8s-lb-primary",
  "public-keys": [
    "ssh-ed25519 AAAA \"quoted\" admin"
  ],
  "vars": {
    "on": "no",
    "peers": {
      "balancers": [
        {
          "address": "192.168.31.224",
          "name": "k8s-lb-backup"
        },
        {
          "address": "192.168.31.178",
          "name": "k8s-lb-primary"
        }
      ]
    },
    "priority": 100
  }
}
"#
    );
    assert_eq!(
        text(&files, "network-config"),
        r#"{
  "version": 2,
  "ethernets": {
    "primary": {
      "match": {
        "macaddress": "52:54:00:31:01:78"
      },
      "addresses": [
        "192.168.31.178/24"
      ]
    }
  }
}
"#
    );
    assert_eq!(text(&files, "user-data"), "#cloud-config\n{}\n");
}

#[test]
fn gateway_and_nameservers_are_there_if_the_cluster_has_them() {
    let mut cluster = cluster();
    cluster.networks.gateway = Some(Ipv4Addr::new(192, 168, 31, 1));
    cluster.networks.nameservers = vec![IpAddr::V4(Ipv4Addr::new(192, 168, 31, 1))];
    let files = files(&cluster, "k8s-lb-backup").unwrap();
    let value: serde_json::Value = serde_json::from_slice(&files["network-config"]).unwrap();
    assert_eq!(
        value["ethernets"]["primary"],
        serde_json::json!({
            "match": {"name": "e*"},
            "addresses": ["192.168.31.224/24"],
            "routes": [{"to": "default", "via": "192.168.31.1"}],
            "nameservers": {"addresses": ["192.168.31.1"]},
        })
    );
}

#[test]
fn only_the_name_makes_another_instance() {
    let mut changed = cluster();
    let instance = |cluster: &Cluster, name: &str| {
        let files = files(cluster, name).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&files["meta-data"]).unwrap();
        value["instance-id"].clone()
    };
    let host = changed.hosts.get_mut("k8s-lb-primary").unwrap();
    host.address.address = Ipv4Addr::new(192, 168, 31, 9);
    host.vars.clear();
    assert_eq!(instance(&changed, "k8s-lb-primary"), instance(&cluster(), "k8s-lb-primary"));
    assert_ne!(instance(&changed, "k8s-lb-primary"), instance(&changed, "k8s-lb-backup"));
}

#[test]
fn an_unknown_host_is_refused() {
    let error = files(&cluster(), "k8s-lb").unwrap_err();
    assert_eq!(error.to_string(), "cluster.yaml has no host 'k8s-lb'");
}

#[test]
fn media_are_deterministic_and_grow_with_their_files() {
    let mut files = files(&cluster(), "k8s-lb-primary").unwrap();
    assert_eq!(iso(&files).unwrap(), iso(&files).unwrap());
    assert_eq!(vfat(&files).unwrap(), vfat(&files).unwrap());
    assert_eq!(vfat(&files).unwrap().len(), 1 << 20);
    files.insert("meta-data".into(), vec![b' '; 3 << 20]);
    assert_eq!(vfat(&files).unwrap().len(), 7 << 20);
}
