// SPDX-License-Identifier: Apache-2.0
//! Would an object make somebody a superuser, or tell everybody a secret?
//!
//! Found is what does it by itself: a binding to `cluster-admin`, and a role of the cluster that
//! allows everything. An add-on that needs one says so with `allow-cluster-admin: true`. A manifest
//! is in the plan and in every master's image, so a Secret in it may exist but say nothing.

use super::manifest::{Object, at, list_at, text_at};
use crate::yaml::{Node, Value, fields::Complaint};

const SUPERUSER: &str = "cluster-admin";

/// # Errors
/// It would, and nobody has allowed it.
pub(super) fn check(object: &Object, is_allowed: bool) -> Result<(), Complaint> {
    if object.kind == "Secret" && ["data", "stringData"].iter().any(|key| says(object, key)) {
        return Err(Complaint::new(
            format!("{object} would be no secret: manifests are in plans and images"),
            "leave its data out, and set it in the cluster; what is set there stays",
        ));
    }
    let why = match &*object.kind {
        "ClusterRoleBinding" | "RoleBinding" if binds_superuser(&object.node) => {
            format!("binds the role '{SUPERUSER}'")
        }
        "ClusterRole" if list_at(&object.node, &["rules"]).iter().any(allows_everything) => {
            "allows everything, as 'cluster-admin' does".to_owned()
        }
        _ => return Ok(()),
    };
    if is_allowed {
        return Ok(());
    }
    Err(Complaint::new(
        format!("{object} {why}"),
        "name the rights that it needs, or write 'allow-cluster-admin: true' in its addon.yaml",
    ))
}

/// Whether one of the map's values is not empty.
fn says(object: &Object, key: &str) -> bool {
    match at(&object.node, &[key]).map(|node| &node.value) {
        Some(Value::Map(entries)) => entries.iter().any(|(_, node)| {
            !matches!(&node.value, Value::Scalar { text, .. } if text.is_empty() || node.is_null())
        }),
        _ => false,
    }
}

fn binds_superuser(binding: &Node) -> bool {
    text_at(binding, &["roleRef", "name"]).as_deref() == Some(SUPERUSER)
}

fn allows_everything(rule: &Node) -> bool {
    let has_star = |key| {
        list_at(rule, &[key])
            .iter()
            .any(|item| matches!(&item.value, Value::Scalar { text, .. } if text == "*"))
    };
    ["apiGroups", "resources", "verbs"].into_iter().all(has_star)
}
