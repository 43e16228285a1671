// SPDX-License-Identifier: Apache-2.0
//! From machines that run to a cluster that works: units of Kiln around Kubernetes' programs.
//!
//! Every master applies the same objects once its API answers, again at every boot, so it does not
//! matter which of them is first and whether one is ever absent.

use super::{
    kubeconfig::{Credentials, Trust},
    settings::{API_PORT, ControlPlane, ETC, PerHost, Settings},
};

/// What is applied: manifests in files.
pub const FOLDER: &str = "/usr/lib/kiln/bring-up";
/// How the units below call the API of their own machine.
pub const KUBECONFIG: &str = "/etc/kubernetes/bring-up.conf";
/// Images that containerd knows from the start, as archives.
pub const IMAGES: &str = "/usr/lib/kiln/images";

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

/// Neither unit needs more of its machine than the network and its key.
const SANDBOX: &str = "\
LockPersonality=yes
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectSystem=strict
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
SystemCallArchitectures=native
Environment=HOME=/tmp
";

/// Applies the manifests once the API is ready; tries until it is. It is not ordered after a kubelet
/// that starts the API: that one needs what is applied here to join.
pub fn unit(control_plane: ControlPlane) -> String {
    let server = match control_plane {
        ControlPlane::Systemd => " kube-apiserver.service",
        ControlPlane::StaticPods => "",
    };
    format!(
        "[Unit]\n\
         Description=Objects that a new cluster needs\n\
         Wants=network-online.target\n\
         After=network-online.target kiln-network.service{server}\n\n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         TimeoutStartSec=infinity\n\
         ExecStart={program} bring-up {FOLDER}\n\
         {SANDBOX}\n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        program = kiln_contract::path::INIT_IN_ROOT
    )
}

/// Approves kubelets' serving certificates; follows the API as long as it is there.
pub fn approve_unit() -> String {
    format!(
        "[Unit]\n\
         Description=Serving certificates of kubelets\n\
         Wants=network-online.target\n\
         After=network-online.target kiln-bring-up.service\n\
         StartLimitIntervalSec=0\n\n\
         [Service]\n\
         Type=exec\n\
         Restart=always\n\
         RestartSec=5\n\
         ExecStart={program} approve\n\
         {SANDBOX}\n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        program = kiln_contract::path::INIT_IN_ROOT
    )
}

/// Makes containerd know the images of the image, before the kubelet asks for one.
pub fn images_unit() -> String {
    format!(
        "[Unit]\n\
         Description=Container images that this machine brings\n\
         Requires=containerd.service\n\
         After=containerd.service\n\
         Before=kubelet.service\n\n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         ExecStart=/bin/sh -c 'for image in {IMAGES}/*.tar; do ctr --namespace=k8s.io images import \"$$image\" || exit; done'\n\n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}
