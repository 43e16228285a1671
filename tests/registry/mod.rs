// SPDX-License-Identifier: Apache-2.0
//! Images of add-ons that come from registries: one that Debian has, and one that misbehaves.

mod fake;

use std::{collections::BTreeMap, fs, path::Path};

use kiln::{
    cli,
    fetch::{Fetcher, registry::Image as Pulled},
    formats::oci::{self, Listed, Reference},
    lock::{Images, Lock},
    profile::Pull,
    progress::Progress,
    store::Store,
    tree::Content,
};

use crate::support::{
    disk_tools::tool,
    oci as hello,
    registry::{Image, Registry},
    release::{self, MASTER, NODE, program},
    workspace::Workspace,
};

const V: &str = "v1.34.1";

/// A workspace whose nodes take these images with the add-on `one`.
fn workspace(images: &[&str]) -> Workspace {
    let workspace = release::workspace(&format!("version: {V}, binaries: up, addons: [one]"));
    for name in MASTER.into_iter().chain(NODE) {
        let path = workspace.path(&format!("up/{name}"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, program(name, V)).unwrap();
    }
    describe(&workspace, images);
    workspace
}

fn describe(workspace: &Workspace, images: &[&str]) {
    let pulls: String = images.iter().map(|image| format!("- pull: {image}\n")).collect();
    workspace.write("addons/one/addon.yaml", &format!("schema: 1\nimages:\n{pulls}"));
}

fn network(offline: bool) -> cli::Network {
    cli::Network {
        mirror: None,
        security_mirror: None,
        snapshot_mirror: None,
        keyring: None,
        jobs: 4,
        offline,
    }
}

fn fetcher(cache: &Path, offline: bool) -> Fetcher {
    Fetcher::new(&network(offline), None, Store::new(cache), Progress::quiet()).unwrap()
}

fn pull(reference: &str) -> Pull {
    Pull { reference: reference.parse().unwrap(), allow_plain_http: false }
}

/// The archive of one image, out of a cache or from its registry.
fn archive(
    cache: &Path,
    offline: bool,
    reference: &str,
    locked: &Images,
) -> anyhow::Result<Content> {
    let mut found: BTreeMap<Reference, Pulled> =
        fetcher(cache, offline).images(&[&pull(reference)], locked)?;
    Ok(found.pop_first().unwrap().1.into_archive())
}

fn lock_of(workspace: &Workspace) -> Lock {
    Lock::parse(&workspace.read("kiln.lock")).unwrap()
}

/// What the lock says of images.
fn section(workspace: &Workspace) -> String {
    let lock = workspace.read("kiln.lock");
    let start = lock.find("[images").unwrap_or(lock.len());
    let end = lock.find("[[packages").unwrap_or(lock.len());
    lock[start..end.max(start)].trim_end().to_owned()
}

fn listed(name: &str) -> Vec<Listed> {
    vec![Listed { name: name.to_owned(), platform: "linux/amd64".to_owned() }]
}

#[test]
fn an_image_of_a_registry_is_pinned_by_its_digests_and_built_in_without_a_network() {
    let registry = Registry::start();
    let host = registry.host().to_owned();
    let image = Image::new("amd64", &["the lower layer", "the upper layer"]);
    let other = Image::new("arm64", &["the lower layer"]);
    let index = registry.push_index("kiln/program", "1", &[&other, &image]);
    let reference = format!("{host}/kiln/program:1");
    let workspace = workspace(&[&reference]);
    let told = workspace.run(&["lock"]).done();
    assert!(told.contains(&format!("{reference} {} (added)\n", image.digest().short())), "{told}");
    let blob = |bytes: &[u8]| {
        format!("size = {}\nsha256 = \"{}\"", bytes.len(), kiln::digest::Digest::of(bytes))
    };
    let part =
        |name: &str, bytes: &[u8]| format!("[images.\"{reference}\".{name}]\n{}", blob(bytes));
    let layers =
        image.layers.iter().map(|it| format!("[{}", part("layers", it).replacen(']', "]]", 1)));
    let expected: Vec<String> = [
        format!("[images.\"{reference}\"]\ntagged = \"{}\"", kiln::digest::Digest::of(&index)),
        part("manifest", &image.manifest),
        part("config", &image.config),
    ]
    .into_iter()
    .chain(layers)
    .collect();
    assert_eq!(section(&workspace), expected.join("\n\n"));

    workspace.run(&["lock", "--check"]).done();
    let lock = workspace.read("kiln.lock");
    workspace.run(&["lock"]).done();
    workspace.run(&["lock", "--repair"]).done();
    assert_eq!(workspace.read("kiln.lock"), lock);
    workspace.run(&["fetch"]).done();
    let images = lock_of(&workspace).images;
    let other_cache = workspace.path("other-cache");
    let bytes = archive(&other_cache, false, &reference, &images).unwrap().to_vec().unwrap();

    drop(registry);
    workspace.run(&["fetch", "--offline"]).done();
    workspace.run(&["lock", "--offline"]).done();
    assert_eq!(workspace.read("kiln.lock"), lock);
    let content = archive(&workspace.path("cache"), true, &reference, &images).unwrap();
    assert_eq!(content.to_vec().unwrap(), bytes, "the same bytes from another cache");
    assert_eq!(oci::survey(&content).unwrap(), listed(&reference));

    // Another reader checks every digest too.
    let file = workspace.path("image.tar");
    fs::write(&file, &bytes).unwrap();
    let from = format!("oci-archive:{}", file.display());
    let to = format!("docker-archive:{}:{reference}", workspace.path("copy.tar").display());
    tool("skopeo", &[&"copy", &"--quiet", &"--insecure-policy", &from, &to]);

    // What the cache has is hashed each time, and what is not there needs the network.
    let layer = workspace
        .files("cache/images")
        .into_iter()
        .find(|path| fs::read(path).unwrap() == image.layers[0]);
    let layer = layer.unwrap();
    fs::write(&layer, b"damaged").unwrap();
    let report = workspace.run(&["fetch", "--offline"]).refused();
    assert!(
        report.contains(&format!("error: fetching image '{reference}'\ncause: 'blob "))
            && report.contains("is not in the cache, and --offline forbids the network\nhelp:  "),
        "{report}"
    );
}

#[test]
fn a_tag_that_moves_is_told_and_one_with_a_digest_may_not_move() {
    let registry = Registry::start();
    let [first, second] = ["first", "second"].map(|text| Image::new("amd64", &[text]));
    registry.push("a", "1", &first);
    let reference = format!("{}/a:1", registry.host());
    let pinned = format!("{reference}@sha256:{}", first.digest());
    let workspace = workspace(&[&reference]);
    workspace.run(&["lock"]).done();
    describe(&workspace, &[&pinned]);
    let report = workspace.run(&["fetch"]).refused();
    assert_eq!(
        report,
        format!(
            "error: comparing 'kiln.lock' with the images of add-ons\n\
             cause: it does not pin '{pinned}'\n\
             help:  run 'kiln lock' and commit the new lock"
        )
    );
    workspace.run(&["lock"]).done();
    registry.push("a", "1", &second);
    // What is locked is still there.
    fs::remove_dir_all(workspace.path("cache/images")).unwrap();
    workspace.run(&["fetch"]).done();
    let lock = workspace.read("kiln.lock");
    let report = workspace.run(&["lock"]).refused();
    assert!(
        report.ends_with(&format!(
            "error: pinning image '{pinned}'\n\
             cause: the tag names another image: expected {}, found {}\n\
             help:  find out why the tag has moved; to take the new image, write its digest into addon.yaml",
            first.digest().short(),
            second.digest().short()
        )),
        "{report}"
    );
    assert_eq!(workspace.read("kiln.lock"), lock);
    describe(&workspace, &[&reference]);
    let told = workspace.run(&["lock"]).done();
    let (old, new) = (first.digest().short(), second.digest().short());
    assert!(told.contains(&format!("{reference} {old} -> {new}\n")), "{told}");
    // Nothing of a registry is left when nothing is pulled.
    workspace.write("addons/one/addon.yaml", "schema: 1\n");
    workspace.run(&["lock"]).done();
    assert_eq!(section(&workspace), "");
}

#[test]
fn images_that_other_tools_pushed_are_taken_in_both_formats() {
    let registry = Registry::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hello.tar");
    fs::write(&file, hello::archive()).unwrap();
    let from = format!("oci-archive:{}:{}", file.display(), hello::NAME);
    for format in ["oci", "v2s2"] {
        let reference = format!("{}/tools/hello:{format}", registry.host());
        let to = format!("docker://{reference}");
        let option = format!("--format={format}");
        tool(
            "skopeo",
            &[
                &"copy",
                &"--quiet",
                &"--insecure-policy",
                &"--dest-tls-verify=false",
                &option,
                &from,
                &to,
            ],
        );
        let cache = folder.path().join(format);
        let images = fetcher(&cache, false).pin_images(&[&pull(&reference)], None).unwrap();
        let content = archive(&cache, false, &reference, &images).unwrap();
        assert_eq!(oci::survey(&content).unwrap(), listed(&reference), "{format}");
        let copy = folder.path().join(format!("{format}.tar"));
        fs::write(&copy, content.to_vec().unwrap()).unwrap();
        let layout = format!("oci-archive:{}", copy.display());
        let manifest = tool("skopeo", &[&"inspect", &"--raw", &layout]);
        assert_eq!(
            manifest.contains("docker.distribution.manifest"),
            format == "v2s2",
            "{manifest}"
        );
    }
}
