// SPDX-License-Identifier: Apache-2.0
//! The files that a role's image or a host's seed must carry: where, for whom, and why.
//!
//! A CA's certificate goes to everybody who meets what it signed. A CA's key goes to one place:
//! the controller-manager signs kubelets' certificates with that of Kubernetes. The keys of the
//! other two never leave the workspace.

use std::fmt;

use super::{
    Ca, DAY, Error, Kind, Material, SERVICE_ACCOUNT, date,
    error::Next,
    leaves::{LeafSpec, MASTER, NODE, Scope, leaves},
    read::{self, Certificate},
    state,
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
    /// Who holds a secret one may act as what `why` says.
    pub kind: Kind,
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
    pub kind: Kind,
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
            Wanted {
                kind: Kind::AuthorityKey,
                ..secret(
                    place("signer.key"),
                    "root",
                    Ca::Kubernetes.key(),
                    "kube-controller-manager signs kubelets' certificates",
                )
            },
            public(place("etcd-ca.crt"), Ca::Etcd.certificate(), "kube-apiserver checks etcd"),
            public(
                place("front-proxy-ca.crt"),
                Ca::FrontProxy.certificate(),
                "API servers check who calls in the name of a user",
            ),
            Wanted {
                kind: Kind::ServiceAccountKey,
                ..secret(
                    place("sa.key"),
                    "root",
                    format!("{SERVICE_ACCOUNT}.key"),
                    "kube-apiserver and kube-controller-manager sign service-account tokens",
                )
            },
            Wanted {
                kind: Kind::PublicKey,
                ..public(
                    place("sa.pub"),
                    format!("{SERVICE_ACCOUNT}.pub"),
                    "kube-apiserver checks service-account tokens",
                )
            },
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
    wanted(cluster, scope).into_iter().filter(|file| file.kind.is_secret()).collect()
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
    let signs = |file: &Wanted| matches!(file.source, Source::First(_));
    if wanted(cluster, scope).iter().any(signs) {
        let path = Ca::Kubernetes.certificate();
        check_life(&path, &read::first(&path, given(&path, material)?)?, now, Next::Rotate)?;
    }
    let filled = |file: Wanted| {
        let content = match &file.source {
            Source::Whole(path) => given(path, material)?.to_vec(),
            Source::First(path) => read::first(path, given(path, material)?)?.pem().into_bytes(),
            Source::Joined { certificate, key } => {
                [given(certificate, material)?, given(key, material)?].concat()
            }
        };
        check_kind(&file, &content)?;
        let Wanted { path, mode, owner, kind, .. } = file;
        Ok(NodeFile { path, mode, owner, kind, content })
    };
    wanted(cluster, scope).into_iter().map(filled).collect()
}

fn given<'a>(path: &str, material: &'a Material) -> Result<&'a [u8], Error> {
    material.get(path).ok_or_else(|| Error::NoAuthority { path: path.to_owned() })
}

fn check_leaf(leaf: &LeafSpec, material: &Material, now: u64) -> Result<(), Error> {
    let scope = || leaf.holder.clone();
    let path = leaf.certificate();
    match right(leaf, material)? {
        Ok((found, ca)) => {
            // The authority first: when it is over, a new leaf helps nobody.
            check_life(&leaf.ca.certificate(), &ca, now, Next::Rotate)?;
            check_life(&path, &found, now, Next::Issue(scope()))
        }
        Err(state::Why::Missing) => Err(Error::NoLeaf { path, scope: scope() }),
        Err(why) => Err(Error::Stale { path, why: why.to_string(), scope: scope() }),
    }
}

/// The certificate that fulfils `leaf`, with the authority that signed it. While one authority
/// takes over from another, the leaves of both are good.
fn right(
    leaf: &LeafSpec,
    material: &Material,
) -> Result<Result<(Certificate, Certificate), state::Why>, Error> {
    let path = leaf.ca.certificate();
    let mut first_why = None;
    for ca in read::certificates(&path, given(&path, material)?)? {
        match state::mismatch(leaf, &ca, material)? {
            Ok(found) => return Ok(Ok((found, ca))),
            Err(why) => {
                first_why.get_or_insert(why);
            }
        }
    }
    Ok(Err(first_why.expect("a file of certificates has one")))
}

fn check_life(path: &str, found: &Certificate, now: u64, next: Next) -> Result<(), Error> {
    let (path, from, until) = (path.to_owned(), found.from, found.until);
    if now > until {
        return Err(Error::Expired { path, until, now, next });
    }
    if now < from {
        return Err(Error::NotYet { path, from, now });
    }
    Ok(())
}

/// Days before an end from which on it is worth a warning.
pub(crate) const SOON: u64 = 7;

/// What is still right and ends within [`SOON`] days, in one sentence; none if nothing does.
///
/// # Errors
/// As [`node_files`].
pub fn ending(
    cluster: &Cluster,
    scope: &Scope,
    material: &Material,
    now: u64,
) -> Result<Option<String>, Error> {
    let mut ends = Vec::new();
    for leaf in leaves(cluster, scope) {
        if let Ok((found, ca)) = right(&leaf, material)? {
            ends.push((found.until, leaf.certificate()));
            ends.push((ca.until, leaf.ca.certificate()));
        }
    }
    ends.retain(|(until, _)| *until <= now + SOON * DAY);
    ends.sort();
    ends.dedup();
    let Some((first, _)) = ends.first() else { return Ok(None) };
    Ok(Some(format!(
        "{} certificates that {scope} needs end within {SOON} days, the first at {}; \
         `kiln pki list` shows them",
        ends.len(),
        date(*first)
    )))
}

/// No key under the name of something public, and nothing else under the name of a key.
fn check_kind(file: &Wanted, content: &[u8]) -> Result<(), Error> {
    let path = file.source.path();
    let is_key = content.windows(12).any(|window| window == b"PRIVATE KEY-");
    if is_key == file.kind.is_secret() {
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
    Wanted { path, mode: 0o644, owner: "root", kind: Kind::Certificate, why, source }
}

fn secret(path: String, owner: &'static str, source: String, why: &'static str) -> Wanted {
    let source = Source::Whole(source);
    Wanted { path, mode: 0o600, owner, kind: Kind::PrivateKey, why, source }
}
