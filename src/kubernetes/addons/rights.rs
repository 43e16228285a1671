// SPDX-License-Identifier: Apache-2.0
//! Would an object make somebody a superuser?
//!
//! Found is what does it by itself: a binding to `cluster-admin`, and a role of the cluster that
//! allows everything. An add-on that needs one says so with `allow-cluster-admin: true`.

use super::manifest::{Object, list_at, text_at};
use crate::yaml::{Node, Value, fields::Complaint};

const SUPERUSER: &str = "cluster-admin";

/// # Errors
/// It would, and nobody has allowed it.
pub(super) fn check(object: &Object, is_allowed: bool) -> Result<(), Complaint> {
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
