// SPDX-License-Identifier: Apache-2.0
//! The decision: from hand-off, metadata, machine id and templates to the files of one host.
//!
//! Everything is decided in memory, and only a decision without an error is written, so a node
//! is never half of one host. The node and the builder's tests call the same function.

mod asked;
mod values;

use std::{collections::BTreeMap, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};

pub use values::{NetworkValues, System, sample};

use crate::{
    handoff::{Absent, Handoff, Phase, Template},
    metadata::{self, Hostname, Metadata, Seed},
    network::{Address, networkd},
    template,
    yaml::Problem,
};

/// Where systemd-networkd and udev read.
const NETWORKD: &str = "/etc/systemd/network";

/// What is known when the decision is made.
#[derive(Debug)]
pub struct Facts<'a> {
    pub handoff: &'a Handoff,
    /// None when no declared source has documents.
    pub seed: Option<&'a Seed>,
    /// Sources that were tried, for messages.
    pub tried: &'a [&'static str],
    pub machine_id: &'a MachineId,
    pub system: &'a System,
    /// Source texts of the hand-off's templates, by target.
    pub templates: &'a BTreeMap<String, String>,
}

/// One host, decided.
#[derive(Debug, Clone, PartialEq)]
pub struct FirstBoot {
    /// To be written, in order; no path twice.
    pub files: Vec<File>,
    pub instance: Instance,
    pub warnings: Vec<String>,
}

/// A file to be written: absolute path on the node, below `/etc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub path: String,
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub bytes: Vec<u8>,
    /// Whether the bytes follow what the image has in this file.
    pub after_image: bool,
}

/// What first boot decided, for the services after it ([`kiln_contract::path::INSTANCE`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Instance {
    pub origin: String,
    pub instance_id: String,
    pub hostname: String,
    /// The host's own address with prefix length; none with DHCP.
    pub address: Option<String>,
    pub machine_id: String,
    /// MAC addresses that the metadata expects to find.
    pub macs: Vec<String>,
    /// The instance that this host was until now, if it becomes another one.
    pub replaces: Option<String>,
    /// What templates see.
    pub values: serde_json::Value,
}

/// 32 lower-case hex digits: machine-id(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineId(String);

impl MachineId {
    /// A new id from 16 random bytes, marked as version 4 as systemd does.
    pub fn from_random(mut bytes: [u8; 16]) -> Self {
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MachineId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let text = text.trim_end_matches('\n');
        let hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let valid = text.len() == 32 && hex && text.bytes().any(|byte| byte != b'0');
        valid.then(|| Self(text.to_owned())).ok_or(())
    }
}

/// Why there is no decision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Metadata(#[from] metadata::Error),
    #[error("template {0}")]
    Template(#[from] template::Error),
    #[error("no metadata, which this image needs: tried {}", tried.join(", "))]
    Absent { tried: Vec<&'static str> },
    #[error("template '{target}': expected a path below /etc that nothing else writes")]
    Target { target: String },
    #[error("template '{target}': its text is not in the image")]
    NoSource { target: String },
}

/// Decides what the host becomes.
///
/// # Errors
/// Metadata or a template is invalid, or metadata is absent and the image needs it.
pub fn decide(facts: &Facts<'_>) -> Result<FirstBoot, Error> {
    let handoff = facts.handoff;
    let metadata = match facts.seed {
        Some(seed) => seed.read(|metadata| {
            let name = name_of(handoff, metadata, facts.machine_id);
            values::of_host(handoff, facts.system, metadata, &name)
        })?,
        None if handoff.absent == Absent::Refuse => {
            return Err(Error::Absent { tried: facts.tried.to_vec() });
        }
        None => Metadata { instance_id: "none".to_owned(), ..Metadata::default() },
    };
    let mut warnings = metadata.warnings.clone();
    warnings.extend(metadata.network.iter().flat_map(|network| network.warnings.clone()));
    let hostname = name_of(handoff, &metadata, facts.machine_id);
    if metadata.hostname.is_none() {
        warnings.push(format!("metadata gives no host name; the name is '{hostname}'"));
    }
    let address = metadata.network.as_ref().and_then(crate::network::Network::address);
    let values = values::of_host(handoff, facts.system, &metadata, &hostname);
    let mut files = Files::default();
    files.text("/etc/hostname", format!("{}\n", hostname.short()));
    files.text("/etc/hosts", hosts(handoff, &hostname, address, &mut warnings));
    files.add("/etc/machine-id", 0o444, format!("{}\n", facts.machine_id.as_str()));
    let network_files = match &metadata.network {
        Some(network) => networkd::files(network),
        None => networkd::dhcp_files(),
    };
    for (name, text) in network_files {
        files.text(&format!("{NETWORKD}/{name}"), text);
    }
    asked::authorized_keys(handoff, &metadata, &mut files, &mut warnings);
    asked::time_sources(&metadata, &mut files);
    asked::certificates(&metadata, &mut files);
    for file in render(handoff, Phase::Initramfs, facts.templates, &values)? {
        files.template(file)?;
    }
    let origin_of = |problem: (&'static str, Problem)| metadata::Error {
        origin: facts.seed.map_or_else(String::new, |seed| seed.origin.clone()),
        file: problem.0,
        problem: problem.1,
    };
    asked::written(handoff, &metadata, &mut files).map_err(origin_of)?;
    let origin = facts.seed.map_or("none", |seed| &seed.origin).to_owned();
    let macs = macs(&metadata);
    let instance = Instance {
        origin,
        instance_id: metadata.instance_id,
        hostname: hostname.short().to_owned(),
        address: address.map(|address| address.to_string()),
        machine_id: facts.machine_id.as_str().to_owned(),
        macs,
        replaces: None,
        values,
    };
    Ok(FirstBoot { files: files.0, instance, warnings })
}

/// Renders the templates of one phase.
///
/// # Errors
/// A template is refused, or its text is missing.
pub fn render(
    handoff: &Handoff,
    phase: Phase,
    sources: &BTreeMap<String, String>,
    values: &serde_json::Value,
) -> Result<Vec<File>, Error> {
    let mut engine = template::Engine::new();
    let mut files = Vec::new();
    for Template { target, mode, uid, gid, .. } in
        handoff.templates.iter().filter(|template| template.phase == phase)
    {
        check_target(target)?;
        let source =
            sources.get(target).ok_or_else(|| Error::NoSource { target: target.clone() })?;
        let name = format!("{target}.j2");
        engine.add(&name, source)?;
        let bytes = engine.render(&name, values)?.into_bytes();
        files.push(File {
            path: target.clone(),
            mode: mode & 0o777,
            uid: *uid,
            gid: *gid,
            bytes,
            after_image: false,
        });
    }
    Ok(files)
}

/// The only folder that first boot writes in the root.
fn check_target(target: &str) -> Result<(), Error> {
    let relative = target.strip_prefix("/etc/");
    let plain = |relative: &str| {
        !relative.chars().any(char::is_control)
            && relative.split('/').all(|part| !matches!(part, "" | "." | ".."))
    };
    match relative {
        Some(relative) if plain(relative) => Ok(()),
        _ => Err(Error::Target { target: crate::yaml::printable(target) }),
    }
}

/// Files to be written, no path twice.
#[derive(Debug, Default)]
struct Files(Vec<File>);

impl Files {
    fn text(&mut self, path: &str, text: String) {
        self.add(path, 0o644, text);
    }

    fn add(&mut self, path: &str, mode: u16, text: String) {
        self.0.push(File {
            path: path.to_owned(),
            mode,
            uid: 0,
            gid: 0,
            bytes: text.into_bytes(),
            after_image: false,
        });
    }

    fn template(&mut self, file: File) -> Result<(), Error> {
        if self.0.iter().any(|other| other.path == file.path) {
            return Err(Error::Target { target: file.path });
        }
        self.0.push(file);
        Ok(())
    }
}

/// Addresses by which metadata names interfaces.
fn macs(metadata: &Metadata) -> Vec<String> {
    let all = metadata.network.iter().flat_map(crate::network::Network::macs);
    all.map(|mac| mac.to_string()).collect()
}

/// The name that metadata gives, else one of ours.
fn name_of(handoff: &Handoff, metadata: &Metadata, machine_id: &MachineId) -> Hostname {
    metadata.hostname.clone().unwrap_or_else(|| fallback_name(handoff, machine_id))
}

/// A name for a host that nothing names: its role and the start of its machine id.
fn fallback_name(handoff: &Handoff, machine_id: &MachineId) -> Hostname {
    let id: String = machine_id.as_str().chars().take(8).collect();
    let name = Hostname::parse(&format!("{}-{id}", handoff.role));
    name.or_else(|_| Hostname::parse(&format!("host-{id}")))
        .map(|(name, _)| name)
        .expect("hex digits behind a word are a host name")
}

/// Own name and address first: the first line with a name is the one that counts.
fn hosts(
    handoff: &Handoff,
    hostname: &Hostname,
    address: Option<Address>,
    warnings: &mut Vec<String>,
) -> String {
    let mut names = vec![hostname.full()];
    if hostname.short() != hostname.full() {
        names.push(hostname.short());
    }
    let own: IpAddr = address.map_or(IpAddr::from([127, 0, 1, 1]), |address| address.ip);
    let mut text = String::from("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
    text.push_str(&format!("{own} {}\n", names.join(" ")));
    for line in &handoff.hosts {
        if line.names.iter().any(|name| name == hostname.short()) {
            if address.is_some() && line.address != own {
                warnings.push(format!(
                    "the image knows '{hostname}' as {}, its metadata says {own}",
                    line.address
                ));
            }
            let others = line.names.iter().filter(|name| !names.contains(&name.as_str()));
            let others: Vec<&str> = others.map(String::as_str).collect();
            if others.is_empty() {
                continue;
            }
            text.push_str(&format!("{own} {}\n", others.join(" ")));
        } else {
            text.push_str(&format!("{} {}\n", line.address, line.names.join(" ")));
        }
    }
    text
}

#[cfg(test)]
mod tests;
