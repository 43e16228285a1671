// SPDX-License-Identifier: Apache-2.0
//! The cluster's hosts as machines ask for them: by MAC address or by UUID.

use std::{collections::BTreeMap, fmt};

use hyper::body::Bytes;

use crate::{
    cluster::Cluster,
    digest::Digest,
    kubernetes::secrets,
    seed::{self, Files, forms},
};

/// Every host, with its documents if they are served.
#[derive(Debug, Default)]
pub struct Hosts {
    /// Names of hosts by MAC address (lower case, hyphens) and by UUID.
    keys: BTreeMap<String, String>,
    hosts: BTreeMap<String, Host>,
}

/// One host.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) role: String,
    /// Words for its kernel, with blanks between them.
    pub(super) arguments: String,
    /// MAC address and UUID, as far as the cluster file has them.
    pub(super) keys: Vec<String>,
    /// Whether the documents hold private keys.
    pub(super) has_keys: bool,
    pub(super) documents: BTreeMap<String, Document>,
}

/// A file of a host's metadata. It may be a secret: nothing shows it.
#[derive(Clone)]
pub(super) struct Document {
    pub(super) bytes: Bytes,
    pub(super) sha256: Digest,
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Document({} bytes)", self.bytes.len())
    }
}

impl Document {
    pub(super) fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { sha256: Digest::of(&bytes), bytes }
    }
}

/// Hosts of a cluster whose metadata hold private keys.
pub fn with_keys(cluster: &Cluster) -> Vec<&str> {
    let holds = |name: &&str| {
        let listed = secrets::of_host(cluster, name);
        seed::are_secrets(cluster) && listed.iter().any(|file| file.kind.is_secret())
    };
    cluster.hosts.keys().map(String::as_str).filter(holds).collect()
}

impl Hosts {
    /// `seeds` has the hosts whose documents are served.
    pub fn new(cluster: &Cluster, mut seeds: BTreeMap<String, Files>) -> Self {
        let with_keys = with_keys(cluster);
        let mut all = Self::default();
        for (name, host) in &cluster.hosts {
            let keys: Vec<String> = forms::folders_of(host).collect();
            all.keys.extend(keys.iter().map(|key| (key.clone(), name.clone())));
            let files = seeds.remove(name).map(|files| forms::http(&files)).unwrap_or_default();
            let document = |(file, bytes)| (file, Document::new(bytes));
            let host = Host {
                name: name.clone(),
                role: host.role.clone(),
                arguments: host.kernel_arguments.join(" "),
                keys,
                has_keys: with_keys.contains(&name.as_str()),
                documents: files.into_iter().map(document).collect(),
            };
            all.hosts.insert(name.clone(), host);
        }
        all
    }

    /// A host by what a machine calls itself.
    pub(super) fn get(&self, key: &str) -> Option<&Host> {
        self.hosts.get(self.keys.get(&folded(key))?)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Host> {
        self.hosts.values()
    }
}

/// MAC addresses and UUIDs have one form here: lower case, hyphens.
fn folded(key: &str) -> String {
    key.to_ascii_lowercase().replace(':', "-")
}

/// Whether a key that no host has is at least a MAC address or a UUID.
pub(super) fn stranger(key: &str) -> Option<String> {
    let key = folded(key);
    let lengths: &[usize] = match key.len() {
        17 => &[2; 6],
        36 => &[8, 4, 4, 4, 12],
        _ => return None,
    };
    let parts: Vec<&str> = key.split('-').collect();
    let hex = |part: &&str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let fits = parts.iter().map(|part| part.len()).eq(lengths.iter().copied());
    (fits && parts.iter().all(hex)).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_told_by_the_form_of_their_names() {
        assert_eq!(stranger("52:54:00:AB:00:01").as_deref(), Some("52-54-00-ab-00-01"));
        assert!(stranger("4C4C4544-0042-3510-8051-b4c04f4e3232").is_some());
        for other in [
            "",
            "52-54-00-ab-00",
            "52-54-00-ab-00-0g",
            "x".repeat(36).as_str(),
            "..-..-..-..-..-..",
        ] {
            assert_eq!(stranger(other), None, "{other}");
        }
    }

    #[test]
    fn documents_are_not_shown() {
        assert_eq!(format!("{:?}", Document::new(&b"secret"[..])), "Document(6 bytes)");
    }
}
