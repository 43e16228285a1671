// SPDX-License-Identifier: Apache-2.0
//! What first-boot templates see: cloud-init's names, and `kiln.*`, `vars.*`, `peers.*`,
//! `network.*`.

use serde_json::{Map, Value, json};

use crate::{
    handoff::Handoff,
    metadata::{Hostname, Metadata, PEERS},
};

/// The interface that carries the host's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkValues {
    pub interface: String,
    pub address: String,
    pub prefix: u8,
    pub mac: String,
}

impl NetworkValues {
    /// `values` with `network` in it.
    pub fn join(&self, values: &Value) -> Value {
        let mut values = values.clone();
        if let Value::Object(map) = &mut values {
            let Self { interface, address, prefix, mac } = self;
            let network =
                json!({"interface": interface, "address": address, "prefix": prefix, "mac": mac});
            map.insert("network".to_owned(), network);
        }
        values
    }
}

pub(super) fn of_host(handoff: &Handoff, metadata: &Metadata, hostname: &Hostname) -> Value {
    let keys: Vec<String> = metadata.ssh_keys.iter().map(ToString::to_string).collect();
    let delivered = |name: &str| metadata.delivered.get(name).cloned().unwrap_or(Value::Null);
    let v1 = json!({
        "local-hostname": hostname.short(),
        "instance-id": metadata.instance_id,
        "public_ssh_keys": keys,
        "cloud-name": metadata.platform,
        "platform": metadata.platform,
        "region": delivered("region"),
        "availability-zone": delivered("availability-zone"),
        "distro": "debian",
        "machine": std::env::consts::ARCH,
    });
    // cloud-init copies what `v1` has to the top.
    let mut values = v1.clone();
    let own = json!({
        "hostname": hostname.short(),
        "fqdn": hostname.full(),
        "v1": v1,
        "ds": { "meta_data": metadata.delivered },
        "vars": metadata.vars,
        "peers": peers(handoff, metadata),
        "kiln": {
            "role": handoff.role,
            "cluster": handoff.cluster,
            "version": handoff.version,
        },
    });
    if let (Value::Object(values), Value::Object(own)) = (&mut values, own) {
        values.extend(own);
    }
    add_twins(&mut values);
    values
}

/// The image's lists, those of the metadata in their places.
fn peers(handoff: &Handoff, metadata: &Metadata) -> Value {
    let mut peers = handoff.peers.clone();
    if let Some(Value::Object(lists)) = metadata.vars.get(PEERS) {
        peers.extend(lists.clone());
    }
    Value::Object(peers)
}

/// Values for test-rendering at build time, with the given `vars` and `meta_data`: what a host of
/// this image would see, `network` included.
///
/// # Errors
/// `meta_data` is no valid meta-data document (JSON is YAML).
pub fn sample(handoff: &Handoff, meta_data: &Value) -> Result<Value, crate::metadata::Error> {
    let seed = crate::metadata::Seed {
        origin: "sample".to_owned(),
        meta_data: Some(meta_data.to_string().into_bytes()),
        ..Default::default()
    };
    let metadata = seed.read(|_| Value::Null)?;
    let (fallback, _) = Hostname::parse("sample-1").expect("a literal host name");
    let hostname = metadata.hostname.clone().unwrap_or(fallback);
    let network = NetworkValues {
        interface: "ens3".to_owned(),
        address: "192.0.2.1".to_owned(),
        prefix: 24,
        mac: "52:54:00:12:34:56".to_owned(),
    };
    Ok(network.join(&of_host(handoff, &metadata, &hostname)))
}

/// Gives every key that Jinja would read as an expression a twin with `_`, as cloud-init does:
/// `local-hostname` is also `local_hostname`.
fn add_twins(value: &mut Value) {
    match value {
        Value::Object(map) => {
            let mut twins = Map::new();
            for (key, inner) in map.iter_mut() {
                add_twins(inner);
                let twin = key.replace(['-', '.', '/', ':', '+', '*', '%', '~', ' '], "_");
                if twin != *key {
                    twins.insert(twin, inner.clone());
                }
            }
            for (key, inner) in twins {
                map.entry(key).or_insert(inner);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(add_twins),
        _ => {}
    }
}
