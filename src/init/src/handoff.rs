// SPDX-License-Identifier: Apache-2.0
//! What the builder tells kiln-init, as JSON: `/kiln/boot.json` in the initramfs and
//! `/usr/lib/kiln/boot.json` in the root.

use kiln_contract::HANDOFF_SCHEMA;
use serde::{Deserialize, Serialize};

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
    /// Seconds to wait for a declared source's device.
    pub source_wait: u32,
    /// Modules loaded before anything else, by name, in order (their dependencies come first).
    pub early_modules: Vec<String>,
    /// Templates that first boot renders.
    pub templates: Vec<Template>,
    /// The account that gets ssh keys from metadata.
    pub admin: Option<Admin>,
    /// Lines of `/etc/hosts` that the cluster knows: names of hosts and of the endpoint.
    pub hosts: Vec<HostLine>,
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
    Nocloud,
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

/// The account that metadata's ssh keys are for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Admin {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

/// One line of `/etc/hosts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HostLine {
    pub address: std::net::IpAddr,
    pub names: Vec<String>,
}
