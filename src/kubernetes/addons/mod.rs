// SPDX-License-Identifier: Apache-2.0
//! What does a cluster run beside Kubernetes itself: DNS, metrics, an ingress?
//!
//! An add-on is a folder `addons/NAME/` of manifests, of which some may be templates of the build,
//! and `addon.yaml`, which says what the manifests cannot: the add-on's version, the minors of
//! Kubernetes that it is for, and where the images that its pods run come from: archives of the
//! workspace, or registries, from which the lock pins them.
//!
//! ```text
//! descriptor   addon.yaml
//! manifest     documents of a file, and what each must have
//! served       which API versions a minor has
//! rights       who would become a superuser
//! order        what is applied before what
//! ```
//!
//! Masters carry the objects and apply them at every boot (`kiln-bring-up.service`); machines that
//! run pods carry the images. Everything is rendered and checked while the plan is made, so what
//! an API server would refuse for its form stops the build.

mod descriptor;
mod manifest;
mod order;
mod rights;
mod served;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use serde::Serialize;

use self::{descriptor::Descriptor, manifest::Object};
use super::{
    MASTER, NODE, bring_up,
    pod_network::{FLANNEL, PodNetwork},
    settings::ControlPlane,
    version::Minor,
};
use crate::{
    cluster::Cluster,
    diagnostic::{Diagnostic, Problems, Source, quoted, suggest},
    digest::Digest,
    formats::oci,
    profile::{Binary, File, FileContent, Profile, Pull},
    template::Build,
    tree::TreePath,
    workspace::{Overlay, OverlayFile, Workspace},
    yaml::Node,
};

const DESCRIPTOR: &str = "addon.yaml";
/// Files are text that people write; the largest sets of definitions have a few MiB.
const MAX_FILE: u64 = 8 << 20;
/// Below [`bring_up::FOLDER`]; sorts behind Kiln's own files, and kubectl takes them in that order.
const FOLDER: &str = "objects";

/// An add-on as far as a role is concerned with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Addon {
    pub name: String,
    pub version: Option<String>,
    /// Its objects in the order in which they are applied; masters have them.
    pub objects: Vec<String>,
    /// The images that come with it; machines that run pods have them.
    pub images: Vec<Image>,
    /// The images that its objects name and nothing brings: nodes ask registries for them.
    pub pulled: Vec<String>,
}

impl Addon {
    /// What a person may want to know, and is no mistake.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        let name = &self.name;
        self.pulled.iter().map(move |image| {
            format!("add-on '{name}' does not bring '{image}': nodes ask its registry")
        })
    }
}

impl fmt::Display for Addon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.version.as_ref().map_or(Ok(()), |version| write!(f, " {version}"))
    }
}

/// An image that machines have from the start.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Image {
    /// Complete: `registry.k8s.io/coredns/coredns:v1.11.3`.
    pub name: String,
    #[serde(flatten)]
    pub origin: Origin,
}

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case", untagged)]
pub enum Origin {
    Archive {
        /// A path below the workspace.
        archive: String,
        /// Of the archive.
        sha256: Digest,
    },
    /// A registry; the lock has its digests.
    Registry(Pull),
}

/// Complains about names of `kubernetes.addons` that are none, and about a pod network without
/// its daemon.
pub fn check_names(cluster: &Cluster, node: &Node, workspace: &Workspace, problems: &Problems) {
    let Some(kubernetes) = &cluster.kubernetes else { return };
    let addons = &kubernetes.addons;
    let mut seen = BTreeSet::new();
    for item in manifest::list_at(node, &["kubernetes", "addons"]) {
        // What is no name has its complaint already.
        let name = manifest::text_at(item, &[]).filter(|name| addons.contains(name));
        let Some(name) = &name else { continue };
        let place = &item.span;
        if !seen.insert(name.clone()) {
            let title = format!("add-on '{name}' stands here twice");
            problems.add(Diagnostic::new(title).at(place).help("remove one"));
        } else if !workspace.addons.contains_key(name) {
            let help = match suggest(name, workspace.addons.keys().map(String::as_str)) {
                near if near.starts_with("did") => near,
                _ => format!("put its manifests into 'addons/{name}/'"),
            };
            let title = format!("there is no add-on {}", quoted(name));
            problems.add(Diagnostic::new(title).at(place).help(help));
        }
    }
    let has_flannel = addons.iter().any(|name| name == FLANNEL);
    let place = node.place(&["kubernetes", "network"]);
    if kubernetes.network == PodNetwork::Flannel && !has_flannel {
        let title = "network 'flannel' needs the add-on 'flannel', which brings its daemon";
        let help = "add it to 'kubernetes.addons'";
        problems.add(Diagnostic::new(title).at(place).help(help));
    } else if kubernetes.network != PodNetwork::Flannel && has_flannel {
        let title = "add-on 'flannel' would be a second network of the pods";
        let place = node.place(&["kubernetes", "addons"]);
        problems.add(
            Diagnostic::new(title)
                .at(place)
                .help("write 'network: flannel' under 'kubernetes', or remove the add-on"),
        );
    }
}

/// Adds to a role what it needs of the cluster's add-ons, and says what that is. What is wrong
/// with one is among the problems.
pub fn extend(
    cluster: &Cluster,
    profile: &mut Profile,
    workspace: &Workspace,
    problems: &Problems,
) -> Vec<Addon> {
    let Some(kubernetes) = &cluster.kubernetes else { return Vec::new() };
    let is_master = profile.role == MASTER;
    let runs_pods =
        profile.role == NODE || is_master && kubernetes.control_plane == ControlPlane::StaticPods;
    if !is_master && !runs_pods {
        return Vec::new();
    }
    let minor = kubernetes.version.minor;
    let mut owners = BTreeMap::new();
    let mut addons = Vec::new();
    for (index, name) in kubernetes.addons.iter().enumerate() {
        // A name without a folder has its complaint already, and so has one that came before.
        if kubernetes.addons[..index].contains(name) {
            continue;
        }
        let Some(folder) = workspace.addons.get(name) else { continue };
        let Some(descriptor) = descriptor::load(folder, minor, problems) else { continue };
        let objects = if is_master {
            let reader = Reader {
                build: Build::new(cluster, profile),
                folder,
                descriptor: &descriptor,
                minor,
                problems,
            };
            reader.objects(&mut owners)
        } else {
            Vec::new()
        };
        if is_master && !objects.is_empty() {
            let path = format!("{}/{FOLDER}/{index:03}-{name}.yaml", bring_up::FOLDER);
            let text = objects.iter().map(|object| format!("---\n{}", object.text)).collect();
            put_text(profile, &path, text);
        }
        if runs_pods {
            put_images(profile, name, &descriptor);
        }
        addons.push(Addon {
            name: name.clone(),
            pulled: pulled(&objects, &descriptor),
            objects: objects.iter().map(Object::to_string).collect(),
            version: descriptor.version,
            images: descriptor.images,
        });
    }
    addons
}

fn put_text(profile: &mut Profile, path: &str, text: String) {
    let root = || "root".to_owned();
    let content = FileContent::Text(text);
    let file = File { content, mode: 0o644, owner: root(), group: root() };
    profile.files.entry(place(path)).or_insert(file);
}

/// One file for each archive, however many of its images are named, and one for each image of a
/// registry.
fn put_images(profile: &mut Profile, addon: &str, descriptor: &Descriptor) {
    let mut origins: Vec<&Origin> = Vec::new();
    for Image { origin, .. } in &descriptor.images {
        if !origins.iter().any(|other| other.is_the_file_of(origin)) {
            origins.push(origin);
        }
    }
    for (origin, number) in origins.into_iter().zip(1..) {
        let path = place(&format!("{}/{addon}-{number}.tar", bring_up::IMAGES));
        match origin {
            Origin::Archive { archive, sha256 } => {
                let (source, sha256) = (archive.clone(), *sha256);
                profile.binaries.entry(path).or_insert(Binary { source, sha256, mode: 0o644 });
            }
            Origin::Registry(pull) => {
                profile.images.entry(path).or_insert(pull.clone());
            }
        }
    }
}

impl Origin {
    fn is_the_file_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Archive { archive, .. }, Self::Archive { archive: other, .. }) => {
                archive == other
            }
            (Self::Registry(pull), Self::Registry(other)) => pull == other,
            _ => false,
        }
    }
}

fn place(path: &str) -> TreePath {
    TreePath::new(path).expect("a name of an add-on is a name of a file")
}

fn pulled(objects: &[Object], descriptor: &Descriptor) -> Vec<String> {
    let names = objects.iter().flat_map(|object| &object.images);
    let mut names: Vec<String> = names
        .filter(|name| !descriptor.images.iter().any(|image| image.name == oci::canonical(name)))
        .cloned()
        .collect();
    names.sort();
    names.dedup();
    names
}

/// One add-on's manifests, being read.
struct Reader<'a> {
    build: Build,
    folder: &'a Overlay,
    descriptor: &'a Descriptor,
    minor: Minor,
    problems: &'a Problems,
}

impl Reader<'_> {
    /// The objects of all files in the order in which they are applied. `owners` knows which
    /// object other add-ons have.
    fn objects(&self, owners: &mut BTreeMap<String, String>) -> Vec<Object> {
        let files = self.folder.files.iter().filter_map(|(path, file)| self.source(path, file));
        let mut objects: Vec<Object> =
            files.flat_map(|source| manifest::objects(&source, self.problems)).collect();
        for object in &objects {
            self.check(object);
            let name = &self.folder.name;
            if let Some(owner) = owners.insert(object.to_string(), name.clone()) {
                let title = format!("{object} is an object of add-on '{owner}' already");
                self.problems.add(Diagnostic::new(title).at(&object.span).help("remove one"));
            }
        }
        order::sort(&mut objects);
        objects
    }

    fn check(&self, object: &Object) {
        let found = [
            served::check(object, self.minor).err(),
            rights::check(object, self.descriptor.allow_cluster_admin).err(),
        ];
        for complaint in found.into_iter().flatten() {
            self.problems.add(complaint.at(&object.span));
        }
    }

    /// The text of a manifest, rendered if it is a template. None for other files.
    fn source(&self, path: &str, file: &OverlayFile) -> Option<Arc<Source>> {
        let is_other = path == DESCRIPTOR || path.ends_with(".md");
        if is_other || matches!(file, OverlayFile::Directory) {
            return None;
        }
        let name = format!("addons/{}/{path}", self.folder.name);
        if !path.ends_with(".yaml") && !path.ends_with(".yaml.tera") {
            self.problems.add(
                Diagnostic::new(format!("{} is no manifest", quoted(&name)))
                    .help("manifests end in '.yaml', templates in '.yaml.tera'"),
            );
            return None;
        }
        let text = text_of(&name, file, self.problems)?;
        if !path.ends_with(".tera") {
            return Some(Source::new(name, text));
        }
        match self.build.render(&name, &text) {
            // Lines are counted in what the build made of it.
            Ok(text) => Some(Source::new(format!("{name} (as rendered)"), text)),
            Err(diagnostic) => {
                self.problems.add(diagnostic);
                None
            }
        }
    }
}

/// A file's text; none with a complaint.
fn text_of(name: &str, file: &OverlayFile, problems: &Problems) -> Option<String> {
    let bytes = match file {
        OverlayFile::File { content, .. } if content.len() <= MAX_FILE => content.to_vec().ok(),
        _ => None,
    };
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    if text.is_none() {
        let title = format!("{} is no UTF-8 text of at most 8 MiB", quoted(name));
        problems.add(Diagnostic::new(title).help("an add-on is a folder of text files"));
    }
    text
}
