// SPDX-License-Identifier: Apache-2.0
//! What a role's image contains: `profiles/ROLE.yaml` with everything it extends, merged and
//! valid. What stands here is what the stages use; a value of it comes from [`Profiles::load`],
//! which lays the files over each other (`merge`) and reads the result (`read`).

mod check;
pub mod firewall;
mod merge;
mod read;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use kiln_init::handoff::{Absent, InstanceChange, Invalid, Source};
use serde::Serialize;

pub use self::merge::Profiles;
use crate::{digest::Digest, formats::oci::Reference, tree::TreePath, units::Bytes};

/// One role's image, decided.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Profile {
    /// The role: the file's name without `.yaml`.
    pub role: String,
    pub debian: Debian,
    pub packages: Packages,
    /// Overlays in the order in which they are laid over the root.
    pub overlays: Vec<String>,
    /// Small files written in the profile itself.
    pub files: BTreeMap<TreePath, File>,
    /// Paths that an overlay or `files` may replace although a package owns them.
    pub replace: BTreeSet<TreePath>,
    pub services: Services,
    pub users: BTreeMap<String, User>,
    pub groups: BTreeMap<String, Group>,
    pub sysctl: BTreeMap<String, String>,
    pub kernel: Kernel,
    #[serde(skip_serializing_if = "Boot::is_default")]
    pub boot: Boot,
    pub firewall: Firewall,
    /// Programs that come from outside the archive, by path in the image.
    pub binaries: BTreeMap<TreePath, Binary>,
    /// Images of registries, by the path of their archive in the image. Add-ons name them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<TreePath, Pull>,
    pub prune: Prune,
    pub disk: Disk,
    /// Forms of one and the same disk, so nothing inside depends on them.
    #[serde(skip)]
    pub outputs: BTreeSet<Output>,
    /// For forms that hold a whole machine.
    #[serde(skip)]
    pub machine: Machine,
    pub metadata: Metadata,
    /// Values for the templates, beside the cluster's.
    pub vars: BTreeMap<String, serde_json::Value>,
}

/// An image that a registry has, to be taken as the lock pins it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Pull {
    #[serde(rename = "pull")]
    pub reference: Reference,
    /// Whether the registry is asked without TLS; one on this machine always is.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_plain_http: bool,
}

/// The archive that packages come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Debian {
    /// A codename: `trixie`.
    pub suite: String,
    pub components: Vec<String>,
    /// `amd64`.
    pub architecture: String,
    /// Whether `SUITE-updates` is used.
    pub updates: bool,
    /// Whether `SUITE-security` of the security archive is used.
    pub security: bool,
    /// Packages that come from another suite, with what they need that this one does not have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub from: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Packages {
    /// Asked for by name.
    pub install: BTreeSet<String>,
    /// Treated as if installed: the image does without them. The value is the reason.
    pub omit: BTreeMap<String, String>,
    /// Preferred provider of a virtual package, or of an or-group.
    pub prefer: BTreeMap<String, String>,
}

/// A file from the profile: its text with owner and mode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct File {
    pub content: FileContent,
    /// Permission bits.
    pub mode: u16,
    pub owner: String,
    pub group: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileContent {
    Text(String),
    /// tera, rendered at build.
    BuildTemplate(String),
    /// minijinja, rendered at first boot.
    BootTemplate(String),
    Symlink(String),
    Directory,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Services {
    /// Units whose `[Install]` section is carried out.
    pub enable: BTreeSet<String>,
    /// Units linked to `/dev/null`.
    pub mask: BTreeSet<String>,
    /// Units that must be active for the role to count as ready.
    pub ready: BTreeSet<String>,
    /// Seconds after kernel start until a role that is not ready says so.
    pub ready_timeout: u32,
    /// The target that the system boots to.
    pub default_target: String,
}

/// A system account that no package's sysusers.d declares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct User {
    /// Fixed so that files in `var` keep their owner over updates.
    pub uid: u32,
    /// Primary group; the user's own name if not given.
    pub group: String,
    pub home: String,
    pub shell: String,
    pub comment: String,
    /// Further groups.
    pub groups: BTreeSet<String>,
    /// SSH keys from metadata go to this user.
    pub admin: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Group {
    pub gid: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Kernel {
    /// A meta package, `linux-image-cloud-amd64`; its dependency brings the image.
    pub package: String,
    /// Loaded at boot by systemd-modules-load, before sysctls.
    pub modules: BTreeSet<String>,
    /// Carried by the initramfs, with their dependencies; loaded there when a device asks.
    pub initrd_modules: BTreeSet<String>,
    /// Command line, in order; `roothash=` is added.
    pub arguments: Vec<String>,
}

/// What starts the kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Boot {
    /// Whether legacy firmware does, too: by GRUB. UEFI always does.
    pub bios: bool,
}

impl Boot {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What the packet filter lets in; everything else is dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Firewall {
    pub allow: BTreeSet<firewall::Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Binary {
    /// A path below the workspace.
    pub source: String,
    pub sha256: Digest,
    pub mode: u16,
}

/// What is left out of packages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Prune {
    /// Glob patterns of paths: `*` within a component, `**` across.
    pub drop: BTreeSet<String>,
    /// Patterns that stay although `drop` matches them.
    pub keep: BTreeSet<String>,
}

/// Sizes of the disk's parts. Both slots are laid out at build time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Disk {
    /// The whole image.
    pub size: Bytes,
    pub esp: Bytes,
    /// Each of the two root slots.
    pub root: Bytes,
    /// Each of the two hash tree slots.
    pub verity: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Output {
    /// The bytes as they are, with holes.
    Raw,
    /// The same as one zstd stream, with a block map beside it.
    RawZst,
    Qcow2,
    /// With compressed clusters.
    Qcow2Zstd,
    /// For VMware: streamOptimized.
    Vmdk,
    /// A virtual machine for VMware, with that disk.
    Ova,
    /// For Azure: of fixed size.
    Vhd,
    /// For Hyper-V.
    Vhdx,
    /// A live medium: an optical disc, and a stick.
    Iso,
    /// A live medium: kernel, initramfs and the root as a second one, a script for iPXE, and all of it as one EFI
    /// program.
    Netboot,
}

impl Output {
    /// The file's name behind cluster and role.
    pub const fn ending(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::RawZst => "raw.zst",
            Self::Qcow2 => "qcow2",
            Self::Qcow2Zstd => "zstd.qcow2",
            Self::Vmdk => "vmdk",
            Self::Ova => "ova",
            Self::Vhd => "vhd",
            Self::Vhdx => "vhdx",
            Self::Iso => "iso",
            Self::Netboot => "netboot.efi",
        }
    }
}

/// What a virtual machine has unless somebody changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    pub cpus: u32,
    pub memory: Bytes,
}

/// What first boot may read, and what it does when nothing is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Metadata {
    /// Sources in order; the first that has data wins.
    pub sources: Vec<Source>,
    pub absent: Absent,
    pub invalid: Invalid,
    pub instance_change: InstanceChange,
    /// Seconds to wait for a declared source's device, or for its server.
    pub wait: u32,
    /// Whether guestinfo is overwritten after use.
    pub wipe: bool,
    /// Where the source `http` asks.
    pub url: Option<String>,
    /// Files and folders (these end with `/`) below `/etc` that metadata may write.
    pub write_files: Vec<String>,
}

/// The words of `metadata.invalid`.
pub const INVALID: [(&str, Invalid); 2] =
    [("fallback", Invalid::Fallback), ("refuse", Invalid::Refuse)];

/// The words of `metadata.instance-change`.
pub const INSTANCE_CHANGE: [(&str, InstanceChange); 2] =
    [("keep", InstanceChange::Keep), ("reprovision", InstanceChange::Reprovision)];

/// The words of `metadata.absent`.
pub const ABSENT: [(&str, Absent); 2] = [("dhcp", Absent::Dhcp), ("refuse", Absent::Refuse)];

/// The words of `outputs`.
pub const OUTPUTS: [(&str, Output); 10] = [
    ("raw", Output::Raw),
    ("raw-zst", Output::RawZst),
    ("qcow2", Output::Qcow2),
    ("qcow2-zstd", Output::Qcow2Zstd),
    ("vmdk", Output::Vmdk),
    ("ova", Output::Ova),
    ("vhd", Output::Vhd),
    ("vhdx", Output::Vhdx),
    ("iso", Output::Iso),
    ("netboot", Output::Netboot),
];
