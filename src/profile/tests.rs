// SPDX-License-Identifier: Apache-2.0
use std::collections::BTreeMap;

use super::{FileContent, Profile, Profiles};
use crate::{
    diagnostic::{Problems, Source},
    units::Bytes,
    workspace::{Overlay, Workspace},
};

/// Loads the profile `role` of the files.
fn load(files: &[(&str, &str)]) -> Result<Profile, String> {
    let profiles = files.iter().map(|(name, text)| {
        ((*name).to_owned(), Source::new(format!("profiles/{name}.yaml"), *text))
    });
    let overlay =
        |name: &str| (name.to_owned(), Overlay { name: name.to_owned(), files: BTreeMap::new() });
    let workspace = Workspace {
        cluster: Source::new("cluster.yaml", ""),
        profiles: profiles.collect(),
        overlays: ["one", "two", "three"].map(overlay).into(),
        addons: Default::default(),
    };
    let problems = Problems::new();
    let profile = Profiles::parse(&workspace, &problems).load("role", &problems);
    problems.finish(profile).map_err(|invalid| invalid.to_string())
}

const BASE: (&str, &str) = (
    "base",
    "packages: { install: [aa, bb, cc], omit: { xx: why, yy: why } }\n\
     overlays: [one, two]\n\
     kernel: { package: linux-image-cloud-amd64, arguments: [quiet, panic=10] }\n\
     sysctl: { a.b: 1, a.c: 1 }\n\
     files: { /etc/a: { text: a, mode: 0600 } }\n\
     vars: { list: [1, 2], map: { a: 1 } }\n\
     services: { enable: [ee] }\n",
);

#[test]
fn children_add_replace_and_take_out() {
    let child = "extends: base\n\
        packages: { install: [dd, -bb], omit: { xx: null, zz: why } }\n\
        overlays: [three, -one]\n\
        kernel: { arguments: [-quiet, loglevel=4] }\n\
        sysctl: { a.b: 2, a.c: null }\n\
        files: { /etc/a: { symlink: b } }\n\
        vars: { list: [3] }\n\
        services: { enable: ['-*', ff] }\n";
    let profile = load(&[BASE, ("role", child)]).unwrap();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(Vec::from_iter(profile.packages.install), names(&["aa", "cc", "dd"]));
    assert_eq!(Vec::from_iter(profile.packages.omit.into_keys()), names(&["yy", "zz"]));
    assert_eq!(profile.overlays, names(&["two", "three"]));
    assert_eq!(profile.kernel.arguments, names(&["panic=10", "loglevel=4"]));
    assert_eq!(profile.sysctl, BTreeMap::from([("a.b".to_owned(), "2".to_owned())]));
    let file = profile.files.into_values().next().unwrap();
    assert_eq!((file.content, file.mode), (FileContent::Symlink("b".to_owned()), 0o644));
    assert_eq!(profile.vars["list"], serde_json::json!([3]));
    assert_eq!(profile.vars["map"], serde_json::json!({ "a": 1 }));
    assert_eq!(Vec::from_iter(profile.services.enable), names(&["ff.service"]));
}

#[test]
fn a_parent_of_two_parents_is_laid_down_once() {
    let files = [
        BASE,
        ("left", "extends: base\nsysctl: { a.b: left }\n"),
        ("right", "extends: base\nsysctl: { a.d: right }\n"),
        ("role", "extends: [left, right]\n"),
    ];
    // Laid down a second time under 'right', the base would have undone what 'left' says.
    assert_eq!(load(&files).unwrap().sysctl["a.b"], "left");
}

#[test]
fn what_is_not_written_has_its_default() {
    let profile = load(&[("role", "packages: [aa]\nkernel: { package: linux }\n")]).unwrap();
    assert_eq!(profile.debian.suite, "trixie");
    assert_eq!(profile.disk.size, Bytes::mib(4096));
    assert_eq!(profile.services.default_target, "multi-user.target");
    assert_eq!(profile.metadata.sources.len(), 7);
    assert_eq!(profile.outputs.len(), 1);
}

#[test]
fn an_empty_value_takes_nothing_out_by_accident() {
    let error = load(&[BASE, ("role", "extends: base\nsysctl:\nservices: {}\n")]).unwrap_err();
    assert!(error.starts_with("error: 'sysctl' has no value"), "{error}");
}
