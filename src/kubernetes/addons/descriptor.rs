// SPDX-License-Identifier: Apache-2.0
//! `addon.yaml`: what an add-on's manifests cannot say. The keys stand here and in
//! `docs/profile.md`; without the file, all of them have their defaults.

use std::ops::RangeInclusive;

use super::{DESCRIPTOR, Image, Origin, text_of};
use crate::{
    diagnostic::{Diagnostic, Problems, Source, quoted},
    digest::Digest,
    formats::oci::{ImageName, Reference},
    kubernetes::version::Minor,
    names,
    profile::Pull,
    workspace::Overlay,
    yaml::{
        self, Node,
        fields::{Complaint, Fields, checked, list, parsed, schema, switch},
    },
};

/// The key of an image that a registry has.
const PULL: &str = "pull";
/// The key of the minors that something is for.
const MINORS: &str = "kubernetes";

#[derive(Debug, Clone, Default)]
pub(super) struct Descriptor {
    pub(super) version: Option<String>,
    pub(super) images: Vec<Image>,
    /// Whether somebody has said in words that it makes a superuser.
    pub(super) allow_cluster_admin: bool,
}

/// The descriptor of an add-on; none if it is wrong, or not for that minor.
pub(super) fn load(folder: &Overlay, minor: Minor, problems: &Problems) -> Option<Descriptor> {
    let Some(file) = folder.files.get(DESCRIPTOR) else { return Some(Descriptor::default()) };
    let name = format!("addons/{}/{DESCRIPTOR}", folder.name);
    let source = Source::new(&*name, text_of(&name, file, problems)?);
    let node = yaml::parse(&source, problems)?;
    let fields = Fields::top(&node, problems, false)?;
    let schema = fields.required("schema", schema);
    let version = fields.optional("version", checked(names::line));
    let images =
        fields.or("images", Vec::new(), list(|node, problems| image(node, minor, problems)));
    let allow_cluster_admin = fields.or("allow-cluster-admin", false, switch);
    let minors = fields.section(MINORS, minors);
    fields.finish();
    schema?;
    let minors = minors?;
    if !minors.contains(&minor) {
        let (min, max) = minors.into_inner();
        let place = node.place(&[MINORS]);
        let title = format!(
            "add-on '{}' is for Kubernetes {min} to {max}, and the cluster has {minor}",
            folder.name
        );
        let help = "take another version of the add-on, or out of 'kubernetes.addons'";
        problems.add(Diagnostic::new(title).at(place).help(help));
        return None;
    }
    Some(Descriptor {
        version: version?,
        images: images?.into_iter().flatten().collect(),
        allow_cluster_admin: allow_cluster_admin?,
    })
}

fn minors(fields: &Fields<'_>) -> Option<RangeInclusive<Minor>> {
    let min = fields.or("min", Minor::OLDEST, checked(bound));
    let max = fields.or("max", Minor::NEWEST, checked(bound));
    Some(min?..=max?)
}

/// An image; none, without a complaint, if it is for other minors.
fn image(node: &Node, minor: Minor, problems: &Problems) -> Option<Option<Image>> {
    let fields = Fields::top(node, problems, false)?;
    let pulls = fields.node(PULL).is_some();
    let image = if pulls { pulled(&fields) } else { archived(&fields) };
    let minors = fields.section(MINORS, minors);
    fields.finish();
    let (image, minors) = (image?, minors?);
    Some(minors.contains(&minor).then_some(image))
}

fn archived(fields: &Fields<'_>) -> Option<Image> {
    let name = fields.required("name", parsed::<ImageName>);
    let archive = fields.required("archive", checked(names::workspace_path));
    let sha256 = fields.required("sha256", parsed::<Digest>);
    let origin = Origin::Archive { archive: archive?, sha256: sha256? };
    Some(Image { name: name?.to_string(), origin })
}

/// An image of a registry: the reference says all, also what nodes call it.
fn pulled(fields: &Fields<'_>) -> Option<Image> {
    let reference = fields.required(PULL, parsed::<Reference>);
    let allow_plain_http = fields.or("allow-plain-http", false, switch);
    for key in ["name", "archive", "sha256"] {
        if let Some(node) = fields.node(key) {
            let title = format!("'{key}' says of an archive what '{PULL}' says of a registry");
            let help = format!("remove one of both; '{PULL}: HOST/PATH:TAG@sha256:…' has a digest");
            fields.complain(Diagnostic::new(title).at(&node.span).help(help));
        }
    }
    let pull = Pull { reference: reference?, allow_plain_http: allow_plain_http? };
    Some(Image { name: pull.reference.name().to_string(), origin: Origin::Registry(pull) })
}

/// A minor: `1.27`.
fn bound(text: &str) -> Result<Minor, Complaint> {
    let number = text.strip_prefix("1.").and_then(|minor| minor.parse().ok());
    let number: u64 = number.ok_or_else(|| {
        let what = format!("{} is no minor version of Kubernetes", quoted(text));
        Complaint::new(what, "write it as 1.27")
    })?;
    Minor::new(number)
}
