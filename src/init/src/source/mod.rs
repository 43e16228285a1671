// SPDX-License-Identifier: Apache-2.0
//! Which source speaks for this host.
//!
//! The image declares the sources in order; `ds=` on the kernel command line may narrow the list
//! and never widens it. The first source that has documents wins whole, nothing is merged; only a
//! `ds=nocloud;h=…;i=…` line (SMBIOS before the command line) may name the host over it. A source
//! that has something invalid stops the boot: falling through to the next would hide it.

use std::io;

use kiln_contract::cmdline::{DATASOURCE, NETWORK_CONFIG};

use crate::{
    base64,
    handoff::Source,
    metadata::{Line, Seed},
    nocloud::{self, ReadAt},
    smbios,
    yaml::printable,
};

/// What messages call the command line.
const COMMAND_LINE: &str = "kernel command line";

/// Where sources are looked for: the machine, or a folder that stands for one.
pub trait Machine {
    fn command_line(&mut self) -> io::Result<String>;
    /// The table of SMBIOS structures, if the firmware has one.
    fn smbios(&mut self) -> io::Result<Option<Vec<u8>>>;
    /// Block devices by name that were not handed out before.
    fn media(&mut self) -> Vec<(String, Box<dyn ReadAt>)>;
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reading the {what}: {error}")]
    Io { what: &'static str, error: io::Error },
    #[error(
        "{COMMAND_LINE}: '{DATASOURCE}={found}' names no source; expected nocloud, cmdline, smbios or none"
    )]
    UnknownSource { found: String },
    #[error("{COMMAND_LINE}: '{NETWORK_CONFIG}=': {0}")]
    NetworkConfig(base64::Invalid),
    #[error(transparent)]
    Line(#[from] nocloud::LineError),
    #[error(transparent)]
    Smbios(#[from] smbios::Error),
    #[error(transparent)]
    Medium(#[from] nocloud::Error),
}

/// The search for documents; it goes on while devices appear.
#[derive(Debug)]
pub struct Search {
    sources: Vec<Source>,
    line: Option<Line>,
    /// What the sources before the media have to say, found once.
    documents: Option<Seed>,
}

impl Search {
    /// Reads everything that is there from the start: command line and firmware.
    ///
    /// # Errors
    /// Something invalid.
    pub fn start(declared: &[Source], machine: &mut dyn Machine) -> Result<Self, Error> {
        let command_line =
            machine.command_line().map_err(|error| Error::Io { what: COMMAND_LINE, error })?;
        let sources = narrow(declared, &command_line)?;
        let table = if sources.contains(&Source::Smbios) {
            machine.smbios().map_err(|error| Error::Io { what: "SMBIOS table", error })?
        } else {
            None
        };
        let table = table.unwrap_or_default();
        let mut lines = Vec::new();
        if let Some(serial) = smbios::serial_number(&table) {
            lines.extend(nocloud::parse_line(&serial, smbios::ORIGIN)?);
        }
        if sources.contains(&Source::Cmdline) {
            lines.extend(nocloud::on_command_line(&command_line, COMMAND_LINE)?);
        }
        let mut documents = None;
        for source in &sources {
            documents = match source {
                Source::Cmdline => network_config(&command_line)?,
                Source::Smbios => smbios::documents(&table)?,
                Source::Nocloud => break,
                _ => None,
            };
            if documents.is_some() {
                break;
            }
        }
        Ok(Self { sources, line: lines.into_iter().reduce(merge), documents })
    }

    /// Looks at devices that appeared; none if no document was found so far.
    ///
    /// # Errors
    /// Something invalid.
    pub fn look(&mut self, machine: &mut dyn Machine) -> Result<Option<Seed>, Error> {
        if self.documents.is_none() && self.sources.contains(&Source::Nocloud) {
            self.documents = medium(machine)?;
        }
        Ok(self.documents.clone().map(|seed| self.with_line(seed)))
    }

    /// After the last device: the documents, or the line alone, or nothing.
    pub fn finish(self) -> Option<Seed> {
        match (self.documents.clone(), &self.line) {
            (Some(seed), _) => Some(self.with_line(seed)),
            (None, Some(line)) => {
                let seed = Seed { origin: line.origin.clone(), ..Seed::default() };
                Some(self.with_line(seed))
            }
            (None, None) => None,
        }
    }

    /// Whether a device that is still to come could matter.
    pub fn waits(&self) -> bool {
        self.documents.is_none() && self.sources.contains(&Source::Nocloud)
    }

    /// The sources in order, for messages.
    pub fn tried(&self) -> Vec<&'static str> {
        let name = |source: &Source| match source {
            Source::Cmdline => COMMAND_LINE,
            Source::Smbios => smbios::ORIGIN,
            Source::Nocloud => "nocloud media",
            other => other.word(),
        };
        self.sources.iter().map(name).collect()
    }

    fn with_line(&self, seed: Seed) -> Seed {
        Seed { line: self.line.clone().unwrap_or_default(), ..seed }
    }
}

/// The declared sources that `ds=` leaves.
fn narrow(declared: &[Source], command_line: &str) -> Result<Vec<Source>, Error> {
    let value = command_line
        .split_ascii_whitespace()
        .filter_map(|word| word.strip_prefix(DATASOURCE)?.strip_prefix('='))
        .next_back();
    let Some(value) = value else { return Ok(declared.to_vec()) };
    let name = value.split(';').next().unwrap_or("");
    let keeps: &[Source] = match &*name.to_ascii_lowercase() {
        // All three deliver NoCloud's documents.
        "nocloud" | "nocloud-net" => &[Source::Cmdline, Source::Smbios, Source::Nocloud],
        "cmdline" => &[Source::Cmdline],
        "smbios" => &[Source::Smbios],
        "none" => &[],
        _ => return Err(Error::UnknownSource { found: printable(name) }),
    };
    Ok(declared.iter().copied().filter(|source| keeps.contains(source)).collect())
}

fn network_config(command_line: &str) -> Result<Option<Seed>, Error> {
    let value = command_line
        .split_ascii_whitespace()
        .filter_map(|word| word.strip_prefix(NETWORK_CONFIG)?.strip_prefix('='))
        .next_back();
    let Some(value) = value else { return Ok(None) };
    let document = base64::decode(value).map_err(Error::NetworkConfig)?;
    Ok(Some(Seed {
        origin: COMMAND_LINE.to_owned(),
        network_config: Some(document),
        ..Seed::default()
    }))
}

/// As with cloud-init, the last device by name wins: a disk before a drive.
fn medium(machine: &mut dyn Machine) -> Result<Option<Seed>, Error> {
    let mut media = machine.media();
    media.sort_by(|(a, _), (b, _)| b.cmp(a));
    let mut first: Option<(String, Seed)> = None;
    for (name, device) in media {
        let Some(seed) = nocloud::read(&*device, &name)? else { continue };
        match &mut first {
            None => first = Some((name, seed)),
            Some((used, seed)) => {
                seed.warnings.push(format!("two nocloud media: '{used}' is read, '{name}' is not"))
            }
        }
    }
    Ok(first.map(|(_, seed)| seed))
}

/// Keys of the first line win.
fn merge(first: Line, second: Line) -> Line {
    let taken = |key: &str| first.other.iter().any(|(other, _)| other == key);
    let more: Vec<_> = second.other.into_iter().filter(|(key, _)| !taken(key)).collect();
    Line {
        hostname: first.hostname.or(second.hostname),
        instance_id: first.instance_id.or(second.instance_id),
        other: first.other.into_iter().chain(more).collect(),
        origin: first.origin,
    }
}

#[cfg(test)]
mod tests;
