// SPDX-License-Identifier: Apache-2.0
//! Releases of Kubernetes made of literals: programs that are ELF files and nothing else, their
//! checksums, archives of them, and a workspace whose roles want them.

use std::io::Write as _;

use kiln::{checksum::Kind, digest::Digest};
use sha2::Digest as _;

use super::{
    archive::{Deb, Suite},
    workspace::Workspace,
};

pub(crate) const MASTER: [&str; 4] =
    ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"];
pub(crate) const NODE: [&str; 2] = ["kube-proxy", "kubelet"];

pub(crate) const X86_64: u16 = 62;
pub(crate) const ARM64: u16 = 183;

/// An ELF executable with one segment: a text that has the version in it.
pub(crate) fn elf(machine: u16, name: &str, version: &str) -> Vec<u8> {
    let text = format!("{name} {version} {}", "x".repeat(2000));
    let mut file = vec![0; 120];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    file[0x10] = 2;
    file[0x12..0x14].copy_from_slice(&machine.to_le_bytes());
    // Program headers: where, how large, how many.
    (file[0x20], file[0x36], file[0x38]) = (64, 56, 1);
    // PT_LOAD, from the end of the headers to the end of the file.
    (file[64], file[64 + 0x08]) = (1, 120);
    file[64 + 0x20..64 + 0x24].copy_from_slice(&(text.len() as u32).to_le_bytes());
    file.extend(text.into_bytes());
    file
}

/// A good program.
pub(crate) fn program(name: &str, version: &str) -> Vec<u8> {
    elf(X86_64, name, version)
}

/// The digits that are published beside a file.
pub(crate) fn digits(kind: Kind, bytes: &[u8]) -> String {
    match kind {
        Kind::Sha256 => Digest::of(bytes).to_string(),
        Kind::Sha512 => sha2::Sha512::digest(bytes).iter().map(|b| format!("{b:02x}")).collect(),
    }
}

/// Where the server has a program.
pub(crate) fn place(name: &str, version: &str) -> String {
    format!("release/{version}/bin/linux/amd64/{name}")
}

/// Puts a file and its checksum on the server.
pub(crate) fn publish(workspace: &Workspace, path: &str, bytes: &[u8], kind: Kind) {
    let sum = digits(kind, bytes);
    workspace.server.put(path, bytes);
    workspace.server.put(&format!("{path}.{}", kind.name()), sum);
}

/// Puts all programs of a release on the server.
pub(crate) fn publish_release(workspace: &Workspace, version: &str, kind: Kind) {
    for name in MASTER.into_iter().chain(NODE) {
        publish(workspace, &place(name, version), &program(name, version), kind);
    }
}

/// A tar archive, plain.
pub(crate) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        // Not by `set_path`, which refuses what a hostile archive has.
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        header.set_cksum();
        bytes.extend(header.as_bytes());
        bytes.extend(*content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.extend([0; 1024]);
    bytes
}

/// The archive of a release as the Kubernetes project makes it.
pub(crate) fn bundle(version: &str) -> Vec<u8> {
    let files: Vec<(String, Vec<u8>)> = MASTER
        .into_iter()
        .chain(NODE)
        .map(|name| (format!("kubernetes/server/bin/{name}"), program(name, version)))
        .chain([("kubernetes/LICENSES".to_owned(), b"text".to_vec())])
        .collect();
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    gzip(&tar(&files))
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// Packages that the roles of a cluster ask for, with the version of containerd.
pub(crate) fn debs(containerd: &str) -> Vec<Deb> {
    let mut debs = vec![
        Deb::new("containerd", containerd, ""),
        Deb::new("containernetworking-plugins", "1.1.1+ds1-3", ""),
        Deb::new("etcd-server", "3.5.16-4", ""),
    ];
    for name in ["conntrack", "etcd-client", "ethtool", "findutils", "ipset", "iptables", "linux"] {
        debs.push(Deb::new(name, "1.0-1", ""));
    }
    debs
}

/// A workspace with a master and a node and this under `kubernetes`; its archive has what they need.
pub(crate) fn workspace(kubernetes: &str) -> Workspace {
    let workspace = Workspace::new();
    std::fs::remove_file(workspace.path("profiles/lb.yaml")).expect("it is there");
    workspace.profile("master", "[linux]");
    workspace.profile("node", "[containerd, containernetworking-plugins]");
    cluster(&workspace, kubernetes);
    Suite::new("debian", "trixie", &debs("1.7.24~ds1-6"))
        .publish(&workspace.server, &workspace.key);
    Suite::new("debian-security", "trixie-security", &[])
        .publish(&workspace.server, &workspace.key);
    workspace
}

/// Writes the cluster file; `SERVER` stands for the server's host.
pub(crate) fn cluster(workspace: &Workspace, kubernetes: &str) {
    let kubernetes = kubernetes.replace("SERVER", &workspace.server.host());
    workspace.write(
        "cluster.yaml",
        &format!(
            "schema: 1
name: test
version: '1'
kubernetes: {{ {kubernetes} }}
endpoint: {{ vip: 10.1.0.100 }}
networks: {{ hosts: 10.1.0.0/24, pods: 10.2.0.0/16, services: 10.3.0.0/24, dns: 10.3.0.2 }}
etcd: {{ members: [m1] }}
hosts:
  m1: {{ role: master, address: 10.1.0.1 }}
  n1: {{ role: node, address: 10.1.0.2 }}
"
        ),
    );
}
