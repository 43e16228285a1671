// SPDX-License-Identifier: Apache-2.0
//! The images of clusters: each role's has what `docs/pki.md` gives it, by the
//! cluster file's way of delivery.

use std::collections::{BTreeMap, BTreeSet};

use kiln::{
    cluster::Delivery,
    kubernetes::secrets,
    pki::leaves::{Scope, scopes},
    sys,
};

use super::{
    bench::planned,
    image::{Image, in_file},
    needles::Needles,
};
use crate::support::qemu::repository;

#[test]
fn an_image_holds_its_role_s_secrets_and_no_others() {
    look_into("out", ".", "make boot", Delivery::Baked);
    look_into("out/static-pods", "tests/static-pods", "make boot", Delivery::Baked);
}

/// `make test-cluster` builds these images, and chooses tests by this name.
mod failover {
    use super::{Delivery, look_into};

    #[test]
    fn images_of_a_cluster_with_seeds_hold_no_secret() {
        look_into("out/failover", "tests/failover", "make test-cluster", Delivery::Seed);
    }
}

/// Folder of the images, the workspace that they were built from, and what builds them.
fn look_into(out: &str, workspace: &str, remedy: &str, way: Delivery) {
    let [out, workspace] = [out, workspace].map(|name| repository().join(name));
    let (out, workspace) = (out.as_path(), workspace.as_path());
    let material = sys::vault::read(workspace).unwrap();
    let needles = Needles::of(&material);
    let (_, plans) = planned(workspace);
    let cluster = &plans[0].cluster;
    assert_eq!(cluster.pki.delivery, way, "{}", workspace.display());
    for scope in scopes(cluster) {
        let files = secrets::files(cluster, &scope, &material, sys::now());
        assert!(files.is_ok(), "{scope}: nothing to look for: {files:?}");
    }
    let lock = in_file(&needles, &workspace.join("kiln.lock"));
    assert_eq!(lock, BTreeSet::new(), "the lock");
    for role in cluster.roles() {
        let image = Image::open(&out.join(role), remedy);
        let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        if way == Delivery::Baked {
            let scope = Scope::Role(role.to_owned());
            for file in secrets::files(cluster, &scope, &material, sys::now()).unwrap() {
                let found = needles.found(&file.content).into_iter();
                let found: BTreeSet<String> = found.map(str::to_owned).collect();
                assert_eq!(file.kind.is_secret(), !found.is_empty(), "{}", file.path);
                if !found.is_empty() {
                    wanted.insert(file.path, found);
                }
            }
        }
        assert_eq!(image.in_root(&needles), wanted, "{role}");
        assert_eq!(image.listed(), wanted.keys().cloned().collect(), "{role}");
        let ca_keys = wanted.values().flatten().filter(|path| path.ends_with("-ca.key"));
        let ca_keys: BTreeSet<&str> = ca_keys.map(String::as_str).collect();
        let may = if role == "master" { "kubernetes-ca.key" } else { "" };
        assert!(ca_keys.iter().all(|key| *key == may), "{role}: {ca_keys:?}");
        // A block of the root that does not compress lies on the disk as it is.
        let outside = image.outside(&needles);
        let baked: BTreeSet<String> = wanted.into_values().flatten().collect();
        assert!(outside.is_subset(&baked), "{role}: {outside:?}");
    }
}
