// SPDX-License-Identifier: Apache-2.0
//! What the builder tells kiln-init, as JSON: `/kiln/boot.json` in the initramfs and
//! `/usr/lib/kiln/boot.json` in the root.

use std::net::{IpAddr, Ipv4Addr};

use kiln_contract::HANDOFF_SCHEMA;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Decisions of the build that first boot needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Handoff {
    /// [`kiln_contract::HANDOFF_SCHEMA`].
    pub schema: u32,
    pub cluster: String,
    pub role: String,
    pub version: String,
    /// Metadata sources in order; the first that has data wins.
    pub sources: Vec<Source>,
    pub absent: Absent,
    pub invalid: Invalid,
    pub instance_change: InstanceChange,
    /// Seconds to wait for a declared source's device, or for its server.
    pub source_wait: u32,
    /// Whether guestinfo is overwritten once its values are kept in `var`.
    pub wipe: bool,
    /// Where [`Source::Http`] asks, unless the kernel command line names another place.
    pub url: Option<String>,
    /// Files and folders (these end with `/`) below `/etc` that metadata may write.
    pub write_files: Vec<String>,
    /// Modules loaded before anything else, by name, in order (their dependencies come first).
    pub early_modules: Vec<String>,
    /// Templates that first boot renders.
    pub templates: Vec<Template>,
    /// The account that gets the ssh keys which metadata gives to no account by name.
    pub admin: Option<Account>,
    /// Accounts that may log in, by name: metadata can give each its own ssh keys.
    pub accounts: Vec<Account>,
    /// Accounts beside these that files of metadata may belong to: services that read a key.
    pub owners: Vec<Account>,
    /// Lines of `/etc/hosts` that the cluster knows: names of hosts and of the endpoint.
    pub hosts: Vec<HostLine>,
    /// Hosts that this role's services call, as the build knew them and templates see them: lists
    /// for metadata that does not have them.
    pub peers: Map<String, Value>,
    /// Whose certificates this role's machines approve, if they do.
    pub kubelets: Option<Kubelets>,
    /// Units that must be active for the role to be ready.
    pub ready: Vec<String>,
    /// Seconds after kernel start until a role that is not ready says so.
    pub ready_timeout: u32,
    /// UUID of the state partition, if the image declares one.
    pub var_partition: Option<String>,
}

/// A hand-off that this program does not understand.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("expected hand-off schema {HANDOFF_SCHEMA}, found {0}")]
    Schema(u32),
    #[error("{0}")]
    Json(#[from] serde_json::Error),
}

impl Handoff {
    /// # Errors
    /// Another schema, or other keys than this schema has.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        /// What every schema has.
        #[derive(Deserialize)]
        struct Head {
            schema: u32,
        }
        // The schema first: another one may have other keys.
        match serde_json::from_slice::<Head>(bytes)?.schema {
            HANDOFF_SCHEMA => Ok(serde_json::from_slice(bytes)?),
            other => Err(Error::Schema(other)),
        }
    }
}

/// A place that metadata can come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    Cmdline,
    Smbios,
    FwCfg,
    Nocloud,
    ConfigDrive,
    Guestinfo,
    Ovf,
    Http,
    Ec2,
    Openstack,
}

impl Source {
    pub const ALL: [Self; 10] = [
        Self::Cmdline,
        Self::Smbios,
        Self::FwCfg,
        Self::Nocloud,
        Self::ConfigDrive,
        Self::Guestinfo,
        Self::Ovf,
        Self::Http,
        Self::Ec2,
        Self::Openstack,
    ];

    /// As profiles, `ds=` and messages spell it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Cmdline => "cmdline",
            Self::Smbios => "smbios",
            Self::FwCfg => "fw-cfg",
            Self::Nocloud => "nocloud",
            Self::ConfigDrive => "config-drive",
            Self::Guestinfo => "guestinfo",
            Self::Ovf => "ovf",
            Self::Http => "http",
            Self::Ec2 => "ec2",
            Self::Openstack => "openstack",
        }
    }

    /// Whether it is asked over the network, hence after the initramfs.
    pub fn is_remote(self) -> bool {
        matches!(self, Self::Http | Self::Ec2 | Self::Openstack)
    }
}

/// What happens when no declared source has data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Absent {
    /// DHCP on every ethernet interface; the host name is the role and part of the machine id.
    Dhcp,
    /// The boot stops with a message.
    Refuse,
}

/// What happens when a source has something that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Invalid {
    /// The boot stops with a message.
    Refuse,
    /// After the same message, the host is what its kept metadata says, else as if metadata were
    /// absent.
    Fallback,
}

/// What happens when a host that has metadata is given another instance id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceChange {
    /// The kept metadata stays in force; a message says so.
    Keep,
    /// The host becomes the new instance: new metadata, machine id and ssh host keys.
    Reprovision,
}

/// A file that first boot makes. Its template lies at `TEMPLATES/<target>.j2` in the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Template {
    /// Absolute, below `/etc`.
    pub target: String,
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub phase: Phase,
}

/// When a template can be rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// In the initramfs, from metadata alone.
    Initramfs,
    /// After the network is up, because it uses `network.*` (interface, address).
    Network,
}

/// An account that metadata's ssh keys can be for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

/// Who may serve as a kubelet, as masters judge it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Kubelets {
    /// Names of the hosts that have one; their addresses are among the hand-off's hosts.
    pub names: Vec<String>,
    /// Where hosts that the image does not know have their addresses.
    pub network: Ipv4Addr,
    /// Length of its prefix, in bits.
    pub prefix: u8,
    /// Addresses of this network that are no host's own: the virtual one, the gateway.
    pub reserved: Vec<Ipv4Addr>,
}

/// One line of `/etc/hosts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HostLine {
    pub address: IpAddr,
    pub names: Vec<String>,
}
