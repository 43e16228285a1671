// SPDX-License-Identifier: Apache-2.0
//! The files that a role's image or a host's seed must carry: where, for whom, and why.
//!
//! A CA's certificate goes to everybody who meets what it signed. A CA's key goes to one place:
//! the controller-manager signs kubelets' certificates with that of Kubernetes. The keys of the
//! other two never leave the workspace.

use std::fmt;

use super::{
    Ca, Error, Material, SERVICE_ACCOUNT,
    error::Next,
    leaves::{LeafSpec, MASTER, NODE, Scope, leaves},
    read, state,
};
use crate::cluster::Cluster;

/// A file that a node must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// On the node.
    pub path: String,
    pub mode: u16,
    /// The account that owns it.
    pub owner: &'static str,
    /// Who holds it may act as what `why` says.
    pub is_secret: bool,
    pub why: &'static str,
    source: Source,
}

/// Where the content comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// The whole file, with a second CA while one takes over from the other.
    Whole(String),
    /// The first certificate of a file: a signer has one certificate only.
    First(String),
    /// A certificate and its key, for programs that want both in one file.
    Joined { certificate: String, key: String },
}

impl Source {
    /// The file that decides what it is.
    fn path(&self) -> &str {
        match self {
            Self::Whole(path) | Self::First(path) | Self::Joined { key: path, .. } => path,
        }
    }
}

/// A file for a node, with its content.
#[derive(Clone, PartialEq, Eq)]
pub struct NodeFile {
    pub path: String,
    pub mode: u16,
    pub owner: &'static str,
    pub is_secret: bool,
    pub content: Vec<u8>,
}

impl fmt::Debug for NodeFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o} {} {}", self.mode, self.owner, self.path)
    }
}

/// Every file that `scope` must carry, sorted by path.
pub fn wanted(cluster: &Cluster, scope: &Scope) -> Vec<Wanted> {
    let leaves = leaves(cluster, scope);
    let mut files: Vec<Wanted> = Vec::new();
    for leaf in &leaves {
        let place = |ending: &str| format!("{}.{ending}", leaf.place);
        if leaf.joined {
            files.push(Wanted {
                source: Source::Joined { certificate: leaf.certificate(), key: leaf.key() },
                ..secret(place("pem"), leaf.owner, String::new(), leaf.purpose)
            });
            continue;
        }
        files.push(public(place("crt"), leaf.certificate(), leaf.purpose));
        files.push(secret(place("key"), leaf.owner, leaf.key(), leaf.purpose));
    }
    let place = |name: &str| format!("/etc/kubernetes/pki/{name}");
    let kubernetes = Ca::Kubernetes.certificate();
    if has_role(cluster, scope, MASTER) {
        files.extend([
            public(place("ca.crt"), kubernetes.clone(), "servers and clients are checked with it"),
            Wanted {
                source: Source::First(kubernetes),
                ..public(
                    place("signer.crt"),
                    String::new(),
                    "kube-controller-manager signs kubelets' certificates",
                )
            },
            secret(
                place("signer.key"),
                "root",
                Ca::Kubernetes.key(),
                "kube-controller-manager signs kubelets' certificates",
            ),
            public(place("etcd-ca.crt"), Ca::Etcd.certificate(), "kube-apiserver checks etcd"),
            public(
                place("front-proxy-ca.crt"),
                Ca::FrontProxy.certificate(),
                "API servers check who calls in the name of a user",
            ),
            secret(
                place("sa.key"),
                "root",
                format!("{SERVICE_ACCOUNT}.key"),
                "kube-apiserver and kube-controller-manager sign service-account tokens",
            ),
            public(
                place("sa.pub"),
                format!("{SERVICE_ACCOUNT}.pub"),
                "kube-apiserver checks service-account tokens",
            ),
        ]);
    } else if has_role(cluster, scope, NODE) {
        files.push(public(place("ca.crt"), kubernetes, "kubelet and kube-proxy check the API"));
    } else if leaves.iter().any(|leaf| leaf.ca == Ca::Kubernetes) {
        files.push(public(place("ca.crt"), kubernetes, "API servers are checked with it"));
    }
    if leaves.iter().any(|leaf| leaf.owner == "etcd") {
        let why = "etcd checks its clients and peers";
        files.push(public("/etc/etcd/pki/ca.crt".to_owned(), Ca::Etcd.certificate(), why));
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// The private keys among [`wanted`]: what an image or a seed is a secret for.
pub fn secrets_of(cluster: &Cluster, scope: &Scope) -> Vec<Wanted> {
    wanted(cluster, scope).into_iter().filter(|file| file.is_secret).collect()
}

/// Every file of [`wanted`] with its content.
///
/// # Errors
/// A file is missing, a certificate is not what the cluster file asks for, or not valid at `now`.
pub fn node_files(
    cluster: &Cluster,
    scope: &Scope,
    material: &Material,
    now: u64,
) -> Result<Vec<NodeFile>, Error> {
    scope.check(cluster)?;
    for leaf in leaves(cluster, scope) {
        check_leaf(&leaf, material, now)?;
    }
    let filled = |file: Wanted| {
        let get = |path: &str| {
            let missing = || Error::NoAuthority { path: path.to_owned() };
            material.get(path).ok_or_else(missing).map(<[u8]>::to_vec)
        };
        let content = match &file.source {
            Source::Whole(path) => get(path)?,
            Source::First(path) => read::first(path, &get(path)?)?.pem().into_bytes(),
            Source::Joined { certificate, key } => [get(certificate)?, get(key)?].concat(),
        };
        check_kind(&file, &content)?;
        let Wanted { path, mode, owner, is_secret, .. } = file;
        Ok(NodeFile { path, mode, owner, is_secret, content })
    };
    wanted(cluster, scope).into_iter().map(filled).collect()
}

fn check_leaf(leaf: &LeafSpec, material: &Material, now: u64) -> Result<(), Error> {
    let scope = || leaf.holder.clone();
    let path = leaf.ca.certificate();
    let Some(ca) = material.get(&path) else { return Err(Error::NoAuthority { path }) };
    let trusted = read::certificates(&path, ca)?;
    let path = leaf.certificate();
    let mut first_why = None;
    // While one CA takes over from another, the leaves of both are good.
    for ca in &trusted {
        match state::mismatch(leaf, ca, material)? {
            Ok(found) if now > found.until => {
                let next = Next::Issue(scope());
                return Err(Error::Expired { path, until: found.until, now, next });
            }
            Ok(found) if now < found.from => {
                return Err(Error::NotYet { path, from: found.from, now });
            }
            Ok(_) => return Ok(()),
            Err(why) => {
                first_why.get_or_insert(why);
            }
        }
    }
    Err(match first_why.expect("a file of certificates has one") {
        state::Why::Missing => Error::NoLeaf { path, scope: scope() },
        why => Error::Stale { path, why: why.to_string(), scope: scope() },
    })
}

/// No key under the name of something public, and nothing else under the name of a key.
fn check_kind(file: &Wanted, content: &[u8]) -> Result<(), Error> {
    let path = file.source.path();
    let is_key = content.windows(12).any(|window| window == b"PRIVATE KEY-");
    if is_key == file.is_secret {
        return Ok(());
    }
    let what = if is_key { "a private key" } else { "no private key" };
    Err(Error::Unreadable { path: path.to_owned(), what })
}

fn has_role(cluster: &Cluster, scope: &Scope, wanted: &str) -> bool {
    match scope {
        Scope::Role(role) => role == wanted,
        Scope::Host(host) => cluster.hosts.get(host).is_some_and(|host| host.role == wanted),
    }
}

fn public(path: String, source: String, why: &'static str) -> Wanted {
    let source = Source::Whole(source);
    Wanted { path, mode: 0o644, owner: "root", is_secret: false, why, source }
}

fn secret(path: String, owner: &'static str, source: String, why: &'static str) -> Wanted {
    let source = Source::Whole(source);
    Wanted { path, mode: 0o600, owner, is_secret: true, why, source }
}
