// SPDX-License-Identifier: Apache-2.0
//! From machines that run to a cluster that works: units of Kiln around Kubernetes' programs.
//!
//! Every master applies the same objects once its API answers, again at every boot, so it does not
//! matter which of them is first and whether one is ever absent.

use kiln_contract::API_PORT;

use super::{
    kubeconfig::{Credentials, Trust},
    settings::{ControlPlane, ETC, PerHost, Settings},
};
use crate::systemd::{Setting, Unit};

/// The name of [`api_unit`].
pub const API_UNIT: &str = "kiln-api.service";
/// What is applied: manifests in files.
pub const FOLDER: &str = "/usr/lib/kiln/bring-up";
/// How the units below call the API of their own machine.
pub const KUBECONFIG: &str = "/etc/kubernetes/bring-up.conf";
/// Images that containerd knows from the start, as archives.
pub const IMAGES: &str = "/usr/lib/kiln/images";
/// The names of the images in these archives, a line each.
pub const IMAGE_NAMES: &str = "/usr/lib/kiln/images/names";
/// What puts them into containerd.
pub const LOADER: &str = "/usr/lib/kiln/load-images";
pub const LOADER_TEXT: &str = include_str!("load-images.sh");
/// The image that holds a pod's namespaces; overlays/containerd names it too.
pub const PAUSE: &str = "localhost/pause:1";

/// The kubeconfig of the units, as first boot's template.
pub fn kubeconfig(settings: &Settings) -> String {
    let server = format!("https://{}:{API_PORT}", PerHost::Address);
    let pki = |name: &str| format!("{ETC}/pki/{name}");
    let credentials =
        Credentials::Certificate { certificate: pki("bring-up.crt"), key: pki("bring-up.key") };
    let trust = Trust::File(pki("ca.crt"));
    super::kubeconfig::kubeconfig(&settings.cluster, &server, trust, "kiln:bring-up", &credentials)
        .to_string()
}

/// No unit needs more of its machine than the network, its key and containerd's socket.
const SANDBOX: [Setting; 16] = [
    ("LockPersonality", "yes"),
    ("NoNewPrivileges", "yes"),
    ("PrivateDevices", "yes"),
    ("PrivateTmp", "yes"),
    ("ProtectClock", "yes"),
    ("ProtectControlGroups", "yes"),
    ("ProtectHome", "yes"),
    ("ProtectKernelLogs", "yes"),
    ("ProtectKernelModules", "yes"),
    ("ProtectKernelTunables", "yes"),
    ("ProtectSystem", "strict"),
    ("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6"),
    ("RestrictNamespaces", "yes"),
    ("RestrictRealtime", "yes"),
    ("SystemCallArchitectures", "native"),
    ("Environment", "HOME=/tmp"),
];
/// What they run.
const PROGRAM: &str = kiln_contract::path::INIT_IN_ROOT;

/// Has started once the API of this machine is ready. The API server itself says so when it listens,
/// which on a slow machine is long before: whoever calls it meanwhile fails, and slows it down. It is
/// not ordered after a kubelet that starts the API: that one needs what is applied next to join.
pub fn api_unit(control_plane: ControlPlane) -> String {
    let server = match control_plane {
        ControlPlane::Systemd => " kube-apiserver.service",
        ControlPlane::StaticPods => "",
    };
    Unit::new("Readiness of this machine's API")
        .set("Wants", "network-online.target")
        .set("After", format_args!("network-online.target kiln-network.service{server}"))
        .section("Service")
        .set("Type", "oneshot")
        .set("RemainAfterExit", "yes")
        .set("TimeoutStartSec", "infinity")
        .set("ExecStart", format_args!("{PROGRAM} await-api"))
        .set_all(&SANDBOX)
        .wanted()
}

/// Applies the manifests; tries until the API takes them.
pub fn unit() -> String {
    Unit::new("Objects that a new cluster needs")
        .set("Wants", API_UNIT)
        .set("After", API_UNIT)
        .section("Service")
        .set("Type", "oneshot")
        .set("RemainAfterExit", "yes")
        .set("TimeoutStartSec", "infinity")
        .set("ExecStart", format_args!("{PROGRAM} bring-up {FOLDER}"))
        .set_all(&SANDBOX)
        .wanted()
}

/// Approves kubelets' serving certificates; follows the API as long as it is there.
pub fn approve_unit() -> String {
    Unit::new("Serving certificates of kubelets")
        .set("Wants", "network-online.target")
        .set("After", "network-online.target kiln-bring-up.service")
        .set("StartLimitIntervalSec", 0)
        .section("Service")
        .set("Type", "exec")
        .set("Restart", "always")
        .set("RestartSec", 5)
        .set("ExecStart", format_args!("{PROGRAM} approve"))
        .set_all(&SANDBOX)
        .wanted()
}

/// Makes containerd know the images of the image, before the kubelet asks for one.
pub fn images_unit() -> String {
    Unit::new("Container images that this machine brings")
        .set("Requires", "containerd.service")
        .set("After", "containerd.service")
        .set("Before", "kubelet.service")
        .section("Service")
        .set("Type", "oneshot")
        .set("RemainAfterExit", "yes")
        .set("ExecStart", format_args!("/bin/sh {LOADER} {IMAGES}"))
        .set("PrivateNetwork", "yes")
        .set_all(&SANDBOX)
        .wanted()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containerd_and_the_kubelet_are_told_one_name_of_the_pause_image() {
        let config = include_str!("../../overlays/containerd/etc/containerd/config.toml");
        assert!(config.contains(&format!("sandbox_image = \"{PAUSE}\"\n")), "{config}");
    }
}
