// SPDX-License-Identifier: Apache-2.0
//! What first-boot templates see: cloud-init's names, and `kiln.*`, `vars.*`, `peers.*`,
//! `network.*`.

use std::env::consts::ARCH;

use serde_json::{Map, Value, json};

use crate::{
    handoff::Handoff,
    metadata::{self, Hostname, Metadata, PEERS},
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

/// What the image is and runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct System {
    /// The kernel's release, as uname(2) has it.
    pub kernel: String,
    /// Debian's code name.
    pub release: String,
    pub version: String,
}

impl System {
    /// From the kernel's release and the text of os-release(5).
    pub fn new(kernel: String, os_release: &str) -> Self {
        let value = |key: &str| {
            let line = os_release.lines().find_map(|it| it.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default().trim_matches('"').to_owned()
        };
        Self { kernel, release: value("VERSION_CODENAME"), version: value("VERSION_ID") }
    }

    /// For renderings on another machine.
    pub fn sample() -> Self {
        let [kernel, release, version] = ["6.12.0-sample", "trixie", "13"].map(str::to_owned);
        Self { kernel, release, version }
    }

    /// cloud-init's keys of what is known.
    fn values(&self) -> impl Iterator<Item = (&'static str, String)> {
        let platform = match &*self.kernel {
            "" => String::new(),
            kernel => format!("Linux-{kernel}-{ARCH}"),
        };
        [
            ("kernel_release", self.kernel.clone()),
            ("system_platform", platform),
            ("distro_release", self.release.clone()),
            ("distro_version", self.version.clone()),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
    }
}

pub(super) fn of_host(
    handoff: &Handoff,
    system: &System,
    metadata: &Metadata,
    hostname: &Hostname,
) -> Value {
    let keys: Vec<String> = metadata.ssh_keys.iter().map(ToString::to_string).collect();
    let meta_data = meta_data(metadata, hostname);
    let delivered = |names: &[&str]| names.iter().find_map(|name| meta_data.get(*name)).cloned();
    let cloud = if metadata.platform == "ec2" { "aws" } else { metadata.platform };
    let mut v1 = json!({
        "local-hostname": hostname.short(),
        "instance-id": metadata.instance_id,
        "public_ssh_keys": keys,
        "cloud-name": cloud,
        "cloud_id": cloud,
        "platform": metadata.platform,
        "subplatform": metadata.origin,
        "region": delivered(&["region"]),
        "availability-zone": delivered(&["availability-zone", "availability_zone"]),
        "distro": "debian",
        "variant": "debian",
        "machine": ARCH,
    });
    if let Value::Object(v1) = &mut v1 {
        v1.extend(system.values().map(|(key, value)| (key.to_owned(), value.into())));
    }
    // cloud-init copies what `v1` has to the top.
    let mut values = v1.clone();
    let own = json!({
        "hostname": hostname.short(),
        "fqdn": hostname.full(),
        "v1": v1,
        "ds": { "meta_data": meta_data },
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

/// meta-data as delivered, and name and id under the words of NoCloud, whatever the source calls
/// them: templates of Cluster API are written for all sources.
fn meta_data(metadata: &Metadata, hostname: &Hostname) -> Map<String, Value> {
    let mut map = on_one_line(&metadata.delivered);
    for (key, value) in [
        ("local-hostname", hostname.full()),
        ("hostname", hostname.full()),
        ("instance-id", &metadata.instance_id),
    ] {
        let slot = map.entry(key).or_insert(Value::Null);
        if slot.is_null() {
            *slot = value.into();
        }
    }
    map
}

/// Without texts that would begin a line of their own in a file: templates are not told to quote,
/// and nobody wrote these for them (`vars` with such a text are refused).
fn on_one_line(map: &Map<String, Value>) -> Map<String, Value> {
    fn value(of: &Value) -> Option<Value> {
        Some(match of {
            Value::String(text) if !metadata::is_one_line(text) => return None,
            Value::Array(items) => items.iter().filter_map(value).collect(),
            Value::Object(map) => Value::Object(on_one_line(map)),
            other => other.clone(),
        })
    }
    let entries = map.iter().filter(|(key, _)| metadata::is_one_line(key));
    entries.filter_map(|(key, of)| Some((key.clone(), value(of)?))).collect()
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
    Ok(network.join(&of_host(handoff, &System::sample(), &metadata, &hostname)))
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
