// SPDX-License-Identifier: Apache-2.0
//! What a role's image has from the cluster file: everything that a plan renders or generates.
//!
//! Hosts that come by metadata are not in it: templates of first boot name the lists, and what the
//! hand-off has of them is for machines without such metadata.

use std::collections::BTreeMap;

use super::networks;
use crate::{
    kubernetes::etcd,
    plan::Plan,
    profile::FileContent,
    template::Build,
    workspace::{OverlayFile, Workspace},
};

/// Paths of files, and keys of the profile, by what they hold.
type Contents = BTreeMap<String, String>;

/// Names of what is different in two images of a role, sorted.
pub(super) fn differences(
    old: &Plan,
    old_workspace: &Workspace,
    new: &Plan,
    new_workspace: &Workspace,
) -> Vec<String> {
    let (old, new) = (contents(old, old_workspace), contents(new, new_workspace));
    let mut names: Vec<String> = old.keys().chain(new.keys()).cloned().collect();
    names.sort();
    names.dedup();
    names.retain(|name| old.get(name) != new.get(name));
    names
}

fn contents(plan: &Plan, workspace: &Workspace) -> Contents {
    let Plan { cluster, profile, .. } = plan;
    let build = Build::new(cluster, profile);
    // A valid plan has rendered all of its templates.
    let render = |name: &str, text: &str| build.render(name, text).unwrap_or_default();
    let mut contents = Contents::new();
    for overlay in workspace.overlays_of(profile) {
        for (path, file) in &overlay.files {
            let (Some(target), OverlayFile::File { content, .. }) =
                (path.strip_suffix(".tera"), file)
            else {
                continue;
            };
            let text = String::from_utf8(content.to_vec().unwrap_or_default()).unwrap_or_default();
            let target = target.strip_suffix(".j2").unwrap_or(target);
            contents.insert(format!("/{target}"), render(path, &text));
        }
    }
    for (path, file) in &profile.files {
        let content = match &file.content {
            FileContent::BuildTemplate(text) => render(path.as_str(), text),
            content => format!("{content:?}"),
        };
        let text = format!("{:o} {} {} {content}", file.mode, file.owner, file.group);
        // Members that run have forgotten with whom they began; those to come are told by seeds.
        let text = text.replace(&etcd::initial_cluster(cluster), "");
        contents.insert(path.to_string(), text);
    }
    let profile = serde_json::to_value(profile).unwrap_or_default();
    for (key, value) in profile.as_object().into_iter().flatten() {
        if key != "files" {
            contents.insert(format!("'{key}' of its profile"), value.to_string());
        }
    }
    contents.insert("/etc/nftables.conf".to_owned(), format!("{:?}", networks(cluster)));
    contents
}
