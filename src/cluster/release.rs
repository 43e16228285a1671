// SPDX-License-Identifier: Apache-2.0
//! Whether the versions of Kubernetes in a cluster file may run together, and whether their programs
//! come from a place that can be trusted to have both.

use super::Kubernetes;
use crate::{
    diagnostic::{Diagnostic, Problems},
    kubernetes::{release::VERSION, version::Client},
    yaml::Node,
};

/// Complains about versions and sources that do not fit.
pub(super) fn check(kubernetes: &Kubernetes, node: &Node, problems: &Problems) {
    let source = &kubernetes.binaries;
    if source.is_open_to_change() && !kubernetes.allow_plain_http {
        problems.add(
            Diagnostic::new(
                "without https, whoever is on the way can change programs and checksums",
            )
            .at(node.place(&["kubernetes", "binaries"]))
            .help(
                "take https; in a network that you trust, write 'allow-plain-http: true' beside it",
            ),
        );
    }
    let Some(version) = kubernetes.node_version else { return };
    let place = node.place(&["kubernetes", "node-version"]);
    for client in [Client::Kubelet, Client::KubeProxy] {
        if let Err(complaint) = client.check_skew(version.minor, kubernetes.version.minor) {
            // Both follow the same rule; once is enough.
            problems.add(complaint.at(place));
            return;
        }
    }
    if version != kubernetes.version && !source.tells_versions_apart() {
        let title = format!(
            "programs of {} and of {version} would come from the same place",
            kubernetes.version
        );
        problems.add(
            Diagnostic::new(title)
                .at(node.place(&["kubernetes", "binaries"]))
                .also(place, "the other version")
                .help(format!("write '{VERSION}' where the version stands in the path or address")),
        );
    }
}
