// SPDX-License-Identifier: Apache-2.0
//! What a machine must hold that its packages do not bring: certificates, keys, tokens; and the
//! way by which it comes.
//!
//! With `pki.delivery: baked` a role's image carries one set for all its hosts. With `seed` images
//! carry nothing of it: each host's seed has its own, which metadata may write because the image
//! says so ([`allowed`]), for accounts that the image names ([`owners`]).

use std::collections::BTreeSet;

use serde::Serialize;

use super::{configs::EncryptionKeys, kubeconfig::BootstrapToken, role, settings::Secret};
use crate::{
    cluster::{Cluster, Delivery},
    pki::{
        self, Kind, Material,
        delivery::{self, NodeFile},
        encryption,
        leaves::Scope,
        token,
    },
};

/// A file without its content: nothing in a plan or a manifest depends on a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Listed {
    pub path: String,
    pub kind: Kind,
}

/// How a cluster's machines get theirs; none if it runs no Kubernetes.
pub fn delivery(cluster: &Cluster) -> Option<Delivery> {
    cluster.kubernetes.as_ref().map(|_| cluster.pki.delivery)
}

/// Every file that `scope` must hold, with its content, sorted by path.
///
/// # Errors
/// Something is missing, is not what the cluster file asks for, or is not valid at `now`.
pub fn files(
    cluster: &Cluster,
    scope: &Scope,
    material: &Material,
    now: u64,
) -> Result<Vec<NodeFile>, pki::Error> {
    let mut files = delivery::node_files(cluster, scope, material, now)?;
    let role = role_of(cluster, scope);
    if role::has_secrets(role) {
        let (token, _) = token::read_valid(material, now)?;
        let keys = encryption::read(material)?;
        files.extend(role::secrets(cluster, role, &token, &keys));
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// What reaches `scope` by the cluster's way of delivery, with all of `pki/` at hand: of a role
/// what its image carries, of a host what its seed does.
///
/// # Errors
/// As [`files`].
pub fn delivered(
    cluster: &Cluster,
    scope: &Scope,
    material: &Material,
    now: u64,
) -> Result<Vec<NodeFile>, pki::Error> {
    match (delivery(cluster), scope) {
        (Some(Delivery::Baked), Scope::Role(_)) | (Some(Delivery::Seed), Scope::Host(_)) => {
            files(cluster, scope, material, now)
        }
        _ => Ok(Vec::new()),
    }
}

/// What of [`files`] is right now and will soon not be, one sentence each.
///
/// # Errors
/// As [`files`].
pub fn ending(
    cluster: &Cluster,
    scope: &Scope,
    material: &Material,
    now: u64,
) -> Result<Vec<String>, pki::Error> {
    let mut sentences = Vec::from_iter(delivery::ending(cluster, scope, material, now)?);
    if role::has_secrets(role_of(cluster, scope)) {
        let (_, until) = token::read_valid(material, now)?;
        if until <= now + delivery::SOON * pki::DAY {
            let (file, until) = (token::FILE, pki::date(until));
            sentences.push(format!(
                "'{}/{file}' ends at {until}: no kubelet can join with it afterwards",
                pki::FOLDER
            ));
        }
    }
    Ok(sentences)
}

fn role_of<'a>(cluster: &'a Cluster, scope: &'a Scope) -> &'a str {
    match scope {
        Scope::Role(role) => role,
        Scope::Host(host) => cluster.hosts.get(host).map_or("", |host| &host.role),
    }
}

/// What hosts of a role hold, sorted by path: with `seed` one host or another.
pub fn of_role(cluster: &Cluster, role: &str) -> Vec<Listed> {
    paths(cluster, &Scope::Role(role.to_owned())).into_iter().map(Listed::from).collect()
}

/// What one host holds, sorted by path.
pub fn of_host(cluster: &Cluster, host: &str) -> Vec<Listed> {
    paths(cluster, &Scope::Host(host.to_owned())).into_iter().map(Listed::from).collect()
}

impl From<Place> for Listed {
    fn from(place: Place) -> Self {
        Self { path: place.path, kind: place.kind }
    }
}

impl From<&NodeFile> for Listed {
    fn from(file: &NodeFile) -> Self {
        Self { path: file.path.clone(), kind: file.kind }
    }
}

struct Place {
    path: String,
    kind: Kind,
    owner: &'static str,
}

fn paths(cluster: &Cluster, scope: &Scope) -> Vec<Place> {
    if cluster.kubernetes.is_none() {
        return Vec::new();
    }
    let certificates = delivery::wanted(cluster, scope).into_iter();
    let mut paths: Vec<Place> = certificates
        .map(|file| Place { path: file.path, kind: file.kind, owner: file.owner })
        .collect();
    // Only where they lie is asked, so any of their form will do.
    let token = Secret::new("aaaaaa.aaaaaaaaaaaaaaaa");
    let token = BootstrapToken::parse(&token, "2000-01-01T00:00:00Z").expect("a token's form");
    let keys: EncryptionKeys = encryption::parse(&encryption::text(&[0; 32])).expect("their form");
    let generated = role::secrets(cluster, role_of(cluster, scope), &token, &keys).into_iter();
    paths.extend(generated.map(|file| Place {
        path: file.path,
        kind: file.kind,
        owner: file.owner,
    }));
    paths.sort_by(|a, b| a.path.cmp(&b.path));
    paths
}

/// What a role's image lets metadata write: nothing unless it comes by seed. Folders of
/// certificates are open as a whole, so that a new certificate needs no new image.
pub fn allowed(cluster: &Cluster, role: &str) -> BTreeSet<String> {
    let by_seed = by_seed(cluster, role).into_iter();
    by_seed
        .map(|file| match file.path.rsplit_once("/pki/") {
            Some((parent, _)) => format!("{parent}/pki/"),
            None => file.path,
        })
        .collect()
}

/// Accounts beside root that files of a seed belong to.
pub fn owners(cluster: &Cluster, role: &str) -> BTreeSet<&'static str> {
    let owners = by_seed(cluster, role).into_iter().map(|file| file.owner);
    owners.filter(|owner| *owner != "root").collect()
}

fn by_seed(cluster: &Cluster, role: &str) -> Vec<Place> {
    let scope = Scope::Role(role.to_owned());
    if delivery(cluster) == Some(Delivery::Seed) { paths(cluster, &scope) } else { Vec::new() }
}
