// SPDX-License-Identifier: Apache-2.0
//! The images of clusters: each role's has what `docs/pki.md` gives it, by the
//! cluster file's way of delivery.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

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

/// Folder of the images, and the workspace that they were built from.
const BUILT: [(&str, &str); 2] = [("out", "."), ("out/static-pods", "tests/static-pods")];

#[test]
fn an_image_holds_its_role_s_secrets_and_no_others() {
    for (out, workspace) in BUILT {
        look_into(&repository().join(out), &repository().join(workspace));
    }
}

fn look_into(out: &Path, workspace: &Path) {
    let material = sys::vault::read(workspace).unwrap();
    let needles = Needles::of(&material);
    let (_, plans) = planned(workspace);
    let cluster = &plans[0].cluster;
    for scope in scopes(cluster) {
        let files = secrets::files(cluster, &scope, &material, sys::now());
        assert!(files.is_ok(), "{scope}: nothing to look for: {files:?}");
    }
    let lock = in_file(&needles, &workspace.join("kiln.lock"));
    assert_eq!(lock, BTreeSet::new(), "the lock");
    for role in cluster.roles() {
        let image = Image::open(&out.join(role), "make boot");
        let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        if cluster.pki.delivery == Delivery::Baked {
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
