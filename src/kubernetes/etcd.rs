// SPDX-License-Identifier: Apache-2.0
//! The members of etcd: who they are, and how each is told.
//!
//! Names and addresses come from the cluster file, so no two members can have one name. Clients and
//! peers both show certificates; a client's certificate does not make it a peer.

use serde_json::{Map, Value, json};

use crate::{cluster::Cluster, systemd::Unit};

/// Ports of IANA's registry for etcd.
pub const CLIENT_PORT: u16 = 2379;
pub const PEER_PORT: u16 = 2380;
/// Where a member's configuration lies.
pub const CONFIG: &str = "/etc/etcd/etcd.json";
/// The overlay with the state folder, and what the unit may not do.
pub const OVERLAY: &str = "etcd";
/// The same for roles that do not have the overlay.
pub const SANDBOX: &str = "/usr/lib/systemd/system/etcd.service.d/10-kiln.conf";
pub const SANDBOX_TEXT: &str =
    include_str!("../../overlays/etcd/usr/lib/systemd/system/etcd.service.d/10-kiln.conf");
/// Variables of a host that becomes a member later: `etcdctl member add` prints both.
pub const INITIAL_CLUSTER: &str = "etcd_initial_cluster";
pub const INITIAL_STATE: &str = "etcd_initial_state";
const PKI: &str = "/etc/etcd/pki";
const DATA: &str = "/var/lib/etcd/default";

/// The configuration of a member, as first boot's template: one image serves all members of a
/// role. JSON, which is YAML, so that nothing can be misread.
pub fn config(cluster: &Cluster) -> String {
    let own = |port: u16| format!("https://{{{{ network.address }}}}:{port}");
    let tls = |name: &str, allowed: Option<&str>| {
        let mut map = Map::new();
        map.insert("cert-file".to_owned(), json!(format!("{PKI}/{name}.crt")));
        map.insert("key-file".to_owned(), json!(format!("{PKI}/{name}.key")));
        map.insert("trusted-ca-file".to_owned(), json!(format!("{PKI}/ca.crt")));
        map.insert("client-cert-auth".to_owned(), json!(true));
        // A list since 3.5.15; `requirements` refuses an etcd that would ignore it.
        map.extend(allowed.map(|name| ("allowed-cn".to_owned(), json!([name]))));
        Value::Object(map)
    };
    let config = json!({
        "name": "{{ hostname }}",
        "data-dir": DATA,
        "listen-client-urls": format!("{},https://127.0.0.1:{CLIENT_PORT}", own(CLIENT_PORT)),
        "advertise-client-urls": own(CLIENT_PORT),
        "listen-peer-urls": own(PEER_PORT),
        "initial-advertise-peer-urls": own(PEER_PORT),
        // For scrapers and checks of the own host; no data.
        "listen-metrics-urls": "http://127.0.0.1:2381",
        // A host that joins members which run already is told so by its seed.
        "initial-cluster": format!(
            "{{{{ vars.{INITIAL_CLUSTER} | default('{}') }}}}",
            initial_cluster(cluster),
        ),
        "initial-cluster-token": cluster.name,
        "initial-cluster-state": format!("{{{{ vars.{INITIAL_STATE} | default('new') }}}}"),
        "heartbeat-interval": cluster.etcd.heartbeat_ms,
        "election-timeout": cluster.etcd.election_ms,
        "client-transport-security": tls("server", None),
        "peer-transport-security": tls("peer", Some("etcd-peer")),
        "auto-compaction-mode": "periodic",
        "auto-compaction-retention": "8h",
    });
    format!("{config:#}\n")
}

/// The members as etcd reads them: with whom a new cluster begins.
pub fn initial_cluster(cluster: &Cluster) -> String {
    let members: Vec<String> = members(cluster)
        .map(|(name, address)| format!("{name}=https://{address}:{PEER_PORT}"))
        .collect();
    members.join(",")
}

/// Name and address of every member, in the cluster file's order.
pub fn members(cluster: &Cluster) -> impl Iterator<Item = (&str, std::net::Ipv4Addr)> {
    let address = |name: &'_ String| cluster.hosts.get(name).map(|host| host.address.address);
    cluster.etcd.members.iter().filter_map(move |name| Some((name.as_str(), address(name)?)))
}

/// What of the unit differs from Debian's. A role whose hosts are not all members starts etcd on
/// those that are.
pub fn drop_in(cluster: &Cluster, role: &str) -> String {
    let hosts: Vec<&str> = cluster.hosts_of(role).map(|(name, _)| name).collect();
    let is_member = |name: &&&str| cluster.etcd.members.iter().any(|member| member == **name);
    let members: Vec<&&str> = hosts.iter().filter(is_member).collect();
    let mut unit = Unit::begin("Unit").set("StartLimitIntervalSec", 0);
    if members.len() < hosts.len() {
        for name in members {
            unit = unit.set("ConditionHost", format_args!("|{name}"));
        }
    }
    unit.section("Service")
        // It says that it is ready once a majority of the members is there, whenever that is.
        .set("TimeoutStartSec", "infinity")
        .set("ExecStart", "")
        .set("ExecStart", format_args!("/usr/bin/etcd --config-file={CONFIG}"))
        .text()
}
