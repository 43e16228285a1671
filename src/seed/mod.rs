// SPDX-License-Identifier: Apache-2.0
//! A host's metadata, as media and in other forms.
//!
//! One image serves every host of a role; what makes a machine one host is here. Format:
//! cloud-init's NoCloud data source (`meta-data`, `user-data`, `network-config` version 2 at the
//! root of a volume labelled CIDATA). The texts are JSON, which is YAML, so that no value can be
//! misread. With `pki.delivery: seed` it holds the host's keys and is a secret, else it holds none.

mod config_drive;
pub mod forms;
mod user_data;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use kiln_contract::NOCLOUD_LABEL;
use serde::Serialize;

pub use self::config_drive::config_drive;
use crate::{
    cluster::{Cluster, Delivery, Host, HostAddress},
    digest::Digest,
    formats::{fat, iso},
    kubernetes::{pod_network as pods, secrets},
    pki::delivery::NodeFile,
    tree::Content,
};

/// The files of a seed, by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Time of every entry of a medium: 1980-01-01, where FAT begins. Seeds have no build time.
const MTIME: u32 = 315_532_800;

/// Smallest FAT medium. Its files together are far smaller in practice.
const MIN_VFAT_LEN: u64 = 1 << 20;

/// Why there is no seed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cluster.yaml has no host '{name}'")]
    UnknownHost { name: String },
    #[error("the seed of '{name}' needs '{path}', which was not given")]
    NotGiven { name: String, path: String },
    #[error("the seed's {file}: {source}")]
    Encode { file: &'static str, source: serde_json::Error },
    #[error("'{name}' has no 'mac' in cluster.yaml, which such a medium names interfaces by")]
    NoMac { name: String },
    #[error(transparent)]
    Iso(#[from] iso::Error),
    #[error(transparent)]
    Fat(#[from] fat::Error),
    #[error("reading the FAT medium back from memory: {0}")]
    Memory(std::io::Error),
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct MetaData<'a> {
    instance_id: String,
    local_hostname: &'a str,
    public_keys: &'a [String],
    vars: BTreeMap<String, serde_json::Value>,
}

#[derive(Serialize)]
struct NetworkConfig<'a> {
    version: u32,
    ethernets: BTreeMap<&'static str, Ethernet<'a>>,
}

#[derive(Serialize)]
struct Ethernet<'a> {
    r#match: Match<'a>,
    addresses: [HostAddress; 1],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    routes: Vec<Route>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nameservers: Option<Nameservers<'a>>,
}

/// Which interface of the machine.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Match<'a> {
    MacAddress(&'a str),
    /// A glob of kernel and predictable names.
    Name(&'static str),
}

#[derive(Serialize)]
struct Route {
    to: String,
    /// None is on the link itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    via: Option<Ipv4Addr>,
}

#[derive(Serialize)]
struct Nameservers<'a> {
    addresses: &'a [IpAddr],
}

/// Whether the cluster's seeds hold keys.
pub fn are_secrets(cluster: &Cluster) -> bool {
    secrets::delivery(cluster) == Some(Delivery::Seed)
}

/// The seed of a host that needs no key by it.
///
/// # Errors
/// The cluster has no such host, or the host gets keys by its seed.
pub fn files(cluster: &Cluster, name: &str) -> Result<Files, Error> {
    files_with(cluster, name, &[])
}

/// The seed of a host, with the files that [`secrets::files`] gives for it if the cluster's
/// seeds hold keys.
///
/// # Errors
/// The cluster has no such host, or a file is missing.
pub fn files_with(cluster: &Cluster, name: &str, given: &[NodeFile]) -> Result<Files, Error> {
    let files = documents(cluster, name, given)?;
    match missing(cluster, name, given) {
        Some(path) if are_secrets(cluster) => Err(Error::NotGiven { name: name.to_owned(), path }),
        _ => Ok(files),
    }
}

/// What a host's seed says beside its keys, for comparing two versions of it.
///
/// # Errors
/// The cluster has no such host.
pub fn files_without_keys(cluster: &Cluster, name: &str) -> Result<Files, Error> {
    documents(cluster, name, &[])
}

fn documents(cluster: &Cluster, name: &str, given: &[NodeFile]) -> Result<Files, Error> {
    let host =
        cluster.hosts.get(name).ok_or_else(|| Error::UnknownHost { name: name.to_owned() })?;
    let meta_data = MetaData {
        // Cluster and name are the identity. Addresses, keys and vars may change without the
        // machine becoming another one, so they are no part of it.
        instance_id: format!("{}-{name}", cluster.name),
        local_hostname: name,
        public_keys: &host.ssh_authorized_keys,
        vars: cluster.vars_of(host),
    };
    let json = |file: &'static str, result: serde_json::Result<String>| {
        let text = result.map_err(|source| Error::Encode { file, source })?;
        Ok::<_, Error>((file.to_owned(), (text + "\n").into_bytes()))
    };
    Ok(Files::from([
        json("meta-data", serde_json::to_string_pretty(&meta_data))?,
        json("network-config", serde_json::to_string_pretty(&network_config(cluster, name, host)))?,
        json("user-data", user_data::document(given))?,
    ]))
}

/// The first file that the host must have and is not among `given`.
fn missing(cluster: &Cluster, name: &str, given: &[NodeFile]) -> Option<String> {
    let wanted = secrets::of_host(cluster, name).into_iter();
    wanted.map(|file| file.path).find(|path| !given.iter().any(|file| file.path == *path))
}

fn network_config<'a>(cluster: &'a Cluster, name: &str, host: &'a Host) -> NetworkConfig<'a> {
    let nameservers = &cluster.networks.nameservers;
    let default =
        cluster.networks.gateway.map(|via| Route { to: "default".to_owned(), via: Some(via) });
    let pods =
        pods::routes(cluster, name).map(|(to, via)| Route { to: to.to_string(), via: Some(via) });
    let services = pods::services(cluster, name).map(|to| Route { to: to.to_string(), via: None });
    let ethernet = Ethernet {
        r#match: match &host.mac {
            Some(mac) => Match::MacAddress(mac),
            // eth0, eno1, ens3, enp1s0: any ethernet, for machines that have one.
            None => Match::Name("e*"),
        },
        addresses: [host.address],
        routes: default.into_iter().chain(pods).chain(services).collect(),
        nameservers: (!nameservers.is_empty()).then_some(Nameservers { addresses: nameservers }),
    };
    NetworkConfig { version: 2, ethernets: BTreeMap::from([("primary", ethernet)]) }
}

/// The files as a CD image.
///
/// # Errors
/// The files do not fit one.
pub fn iso(files: &Files) -> Result<Vec<u8>, Error> {
    let volume = iso::Volume { label: NOCLOUD_LABEL.to_owned(), mtime: MTIME };
    Ok(iso::encode(&volume, files)?)
}

/// The files as a FAT disk image, without a partition table.
///
/// # Errors
/// The files do not fit one.
pub fn vfat(files: &Files) -> Result<Vec<u8>, Error> {
    volume(NOCLOUD_LABEL, files)
}

fn volume(label: &str, files: &Files) -> Result<Vec<u8>, Error> {
    let n_bytes: u64 = files.values().map(|data| data.len() as u64).sum();
    let mut id = [0; 4];
    let digest = files.iter().flat_map(|(name, data)| [name.as_bytes(), &[0], data].concat());
    id.copy_from_slice(&Digest::of(&digest.collect::<Vec<u8>>()).as_bytes()[..4]);
    let volume = fat::Volume {
        // Twice the data leaves room for clusters that are not full.
        len: (2 * n_bytes).next_multiple_of(MIN_VFAT_LEN).max(MIN_VFAT_LEN),
        kind: fat::Kind::Small,
        label: label.to_owned(),
        id: u32::from_le_bytes(id),
        mtime: MTIME,
    };
    let files = files.iter().map(|(name, data)| (name.clone(), data.as_slice())).collect();
    Content::from(fat::encode(&volume, &files)?).to_vec().map_err(Error::Memory)
}

#[cfg(test)]
mod tests;
