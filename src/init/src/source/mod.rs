// SPDX-License-Identifier: Apache-2.0
//! Which source speaks for this host.
//!
//! The image declares the sources in order; `ds=` on the kernel command line may narrow the list
//! and never widens it. The first source that has documents wins whole, nothing is merged; only a
//! `ds=nocloud;h=…;i=…` line (SMBIOS before the command line) may name the host over it. A source
//! that has something invalid stops the boot: falling through to the next would hide it.
//!
//! Sources in the firmware and on the command line are there from the start; media and fw_cfg
//! appear with their drivers; remote ones are only named here ([`Search::remote`]), because they
//! are asked in the real root.

pub mod command_line;
pub mod config_drive;
mod fw_cfg;
pub mod guestinfo;
mod line;
pub mod nocloud;
pub mod offline;
pub mod ovf;

use std::io;

use kiln_contract::cmdline::{DATASOURCE, IP, URL};
use serde::{Deserialize, Serialize};

pub use line::{LineError, on_command_line, parse_line};
pub use offline::Offline;

use crate::{
    handoff::Source,
    metadata::{Line, Seed},
    smbios,
    volume::{Medium, Volume},
    yaml::printable,
};

/// What messages call the command line.
const COMMAND_LINE: &str = "kernel command line";
/// Boot loaders write `ip=` for other reasons too, so it needs somebody who names the host.
const IDLE_IP: &str = "kernel command line (its 'ip=' only counts beside 'ds=nocloud;h=NAME')";
const OVF_KEY: &str = "guestinfo.ovfEnv";

/// Where sources are looked for: the machine, or plain data that stands for one.
pub trait Machine {
    fn command_line(&mut self) -> io::Result<String>;
    /// The table of SMBIOS structures, if the firmware has one.
    fn smbios(&mut self) -> io::Result<Option<Vec<u8>>>;
    /// An item of QEMU's fw_cfg by name; none if there is none, or its driver is not there yet.
    fn fw_cfg(&mut self, item: &str) -> io::Result<Option<Vec<u8>>>;
    /// A guestinfo key; none if it is not set, or this is no VMware.
    fn guestinfo(&mut self, key: &str) -> io::Result<Option<Vec<u8>>>;
    /// Media by name that were not handed out before.
    fn media(&mut self) -> Vec<(String, Medium)>;
    /// The machine's own id in its firmware, if it states one.
    fn uuid(&mut self) -> Option<String> {
        None
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reading the {what}: {error}")]
    Io { what: &'static str, error: io::Error },
    #[error("fw-cfg: reading the item '{item}': {error}")]
    FwCfg { item: String, error: io::Error },
    #[error(
        "{COMMAND_LINE}: '{DATASOURCE}={found}' names no source; expected {} or none",
        Source::ALL.map(Source::word).join(", ")
    )]
    UnknownSource { found: String },
    #[error("{COMMAND_LINE}: two '{DATASOURCE}=' words: keep one")]
    TwoSources,
    #[error("guestinfo: {key}: {invalid}")]
    Guestinfo { key: &'static str, invalid: guestinfo::Invalid },
    #[error(transparent)]
    CommandLine(#[from] command_line::Error),
    #[error(transparent)]
    Line(#[from] LineError),
    #[error(transparent)]
    Smbios(#[from] smbios::Error),
    #[error(transparent)]
    Nocloud(#[from] nocloud::Error),
    #[error(transparent)]
    ConfigDrive(#[from] config_drive::Error),
    #[error(transparent)]
    Ovf(#[from] ovf::Error),
}

/// What a source said, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Answer {
    pub source: String,
    pub said: String,
}

/// The search for documents; it goes on while devices appear.
#[derive(Debug)]
pub struct Search {
    sources: Vec<Source>,
    line: Option<Line>,
    /// Where the source `http` asks, if the command line or the firmware says so.
    url: Option<String>,
    /// Position of the best source so far, and what it delivers.
    found: Option<(usize, Seed)>,
    /// Name of the medium that `found` is from.
    medium: Option<String>,
    /// Whether the command line has an `ip=` that does not count.
    has_idle_ip: bool,
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
            lines.extend(parse_line(&serial, smbios::ORIGIN)?);
        }
        let mut is_named = false;
        if sources.contains(&Source::Cmdline) {
            let line = on_command_line(&command_line, COMMAND_LINE)?;
            is_named = line.as_ref().is_some_and(Line::says_something);
            lines.extend(line);
        }
        let line = lines.into_iter().reduce(|first, second| first.over(&second));
        let url = command_line::values(&command_line, URL).next_back().map(str::to_owned);
        let url = url.or_else(|| line.as_ref()?.seed_url.clone());
        let has_idle_ip = !is_named && command_line::values(&command_line, IP).next().is_some();
        let mut search = Self { sources, line, url, found: None, medium: None, has_idle_ip };
        for (index, source) in search.sources.clone().into_iter().enumerate() {
            let seed = match source {
                Source::Cmdline => command_line::documents(&command_line, is_named)?,
                Source::Smbios => smbios::documents(&table)?,
                Source::Guestinfo => guestinfo::read(machine)?,
                Source::Ovf => ovf_in_guestinfo(machine)?,
                _ => None,
            };
            if let Some(seed) = seed {
                search.found = Some((index, seed));
                break;
            }
        }
        Ok(search)
    }

    /// Looks at devices that appeared; none if what was found so far may not be the best.
    ///
    /// # Errors
    /// Something invalid.
    pub fn look(&mut self, machine: &mut dyn Machine) -> Result<Option<Seed>, Error> {
        if self.waits() {
            self.look_at_fw_cfg(machine)?;
            self.look_at_media(machine)?;
        }
        let seed = self.found.as_ref().filter(|_| !self.waits()).map(|(_, seed)| seed.clone());
        Ok(seed.map(|seed| self.with_line(seed)))
    }

    fn look_at_fw_cfg(&mut self, machine: &mut dyn Machine) -> Result<(), Error> {
        if let Some(index) = self.better(Source::FwCfg)
            && let Some(seed) = fw_cfg::read(machine)?
        {
            self.found = Some((index, seed));
        }
        Ok(())
    }

    /// As with cloud-init, the last device by name wins: a disk before a drive.
    fn look_at_media(&mut self, machine: &mut dyn Machine) -> Result<(), Error> {
        let mut media = machine.media();
        media.sort_by(|(a, _), (b, _)| b.cmp(a));
        for (name, medium) in media {
            let Some(volume) = Volume::open(&medium) else { continue };
            for source in [Source::Nocloud, Source::ConfigDrive, Source::Ovf] {
                let Some(index) = self.sources.iter().position(|it| *it == source) else {
                    continue;
                };
                let seed = match source {
                    Source::Nocloud => nocloud::read(&volume, &name)?,
                    Source::ConfigDrive => config_drive::read(&volume, &name)?,
                    _ => ovf::read(&volume, &name)?,
                };
                if let Some(seed) = seed {
                    self.offer(index, seed, &name);
                }
            }
        }
        Ok(())
    }

    /// Takes a medium's documents if no better source has any.
    fn offer(&mut self, index: usize, seed: Seed, name: &str) {
        match &mut self.found {
            Some((best, kept)) if *best == index && self.medium.is_some() => {
                let used = self.medium.as_deref().unwrap_or_default();
                let word = self.sources.get(index).map_or("", |source| source.word());
                let warning = format!("two {word} media: '{used}' is read, '{name}' is not");
                kept.warnings.push(warning);
            }
            Some((best, _)) if *best <= index => {}
            _ => {
                self.found = Some((index, seed));
                self.medium = Some(name.to_owned());
            }
        }
    }

    /// The source's position, if it is declared before what was found.
    fn better(&self, source: Source) -> Option<usize> {
        let index = self.sources.iter().position(|it| *it == source)?;
        self.found.as_ref().is_none_or(|(best, _)| index < *best).then_some(index)
    }

    /// Whether a device that is still to come could matter.
    pub fn waits(&self) -> bool {
        [Source::FwCfg, Source::Nocloud, Source::ConfigDrive, Source::Ovf]
            .into_iter()
            .any(|source| self.better(source).is_some())
    }

    /// Whether a device that no driver has brought yet is worth waiting for: nothing was found,
    /// no line names the host, and nobody else can be asked.
    pub fn is_patient(&self) -> bool {
        let is_named = self.line.as_ref().is_some_and(Line::says_something);
        self.waits() && self.found.is_none() && !is_named && self.remote().is_empty()
    }

    /// After the last device: the documents, or the line alone, or nothing.
    pub fn finish(self) -> Option<Seed> {
        match self.found.clone() {
            Some((_, seed)) => Some(self.with_line(seed)),
            None => self.line?.alone(),
        }
    }

    /// Remote sources that may be asked, in order; none if a local one has documents.
    pub fn remote(&self) -> Vec<Source> {
        if self.found.is_some() {
            return Vec::new();
        }
        self.sources.iter().copied().filter(|source| source.is_remote()).collect()
    }

    /// Where the command line or the firmware sends the source `http`.
    pub fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }

    /// The line of configuration, which also holds for what a remote source delivers.
    pub fn line(&self) -> Option<&Line> {
        self.line.as_ref()
    }

    /// What each source had, in order.
    pub fn answers(&self) -> Vec<Answer> {
        let found = self.found.as_ref().map(|(index, _)| *index);
        let is_named = self.line.as_ref().is_some_and(Line::says_something);
        let answer = |(index, source): (usize, &Source)| {
            let said = match found {
                Some(best) if index == best => "has the documents",
                Some(best) if index > best => "comes after the one with the documents",
                _ if source.is_remote() => "is asked once the network is up",
                _ if *source == Source::Cmdline && is_named => "names the host, without documents",
                _ if *source == Source::Cmdline && self.has_idle_ip => IDLE_IP,
                _ => nothing(*source),
            };
            Answer { source: source.word().to_owned(), said: said.to_owned() }
        };
        self.sources.iter().enumerate().map(answer).collect()
    }

    /// The sources in order, for messages.
    pub fn tried(&self) -> Vec<&'static str> {
        let name = |source: &Source| match source {
            Source::Cmdline if self.has_idle_ip => IDLE_IP,
            Source::Cmdline => COMMAND_LINE,
            other => other.word(),
        };
        self.sources.iter().map(name).collect()
    }

    fn with_line(&self, seed: Seed) -> Seed {
        Seed { line: self.line.clone().unwrap_or_default(), ..seed }
    }
}

/// How a source looks that has no documents.
fn nothing(source: Source) -> &'static str {
    match source {
        Source::Cmdline => "the kernel command line has no document",
        Source::Smbios => "SMBIOS has no string of ours",
        Source::FwCfg => "fw_cfg has no item of ours",
        Source::Nocloud => "no medium is labelled 'cidata'",
        Source::ConfigDrive => "no medium is labelled 'config-2'",
        Source::Guestinfo => "no key is set, or this is no VMware",
        Source::Ovf => "no medium has 'ovf-env.xml', and guestinfo has no environment",
        Source::Http | Source::Ec2 | Source::Openstack => "has nothing for this host",
    }
}

fn ovf_in_guestinfo(machine: &mut dyn Machine) -> Result<Option<Seed>, Error> {
    let value = machine.guestinfo(OVF_KEY).map_err(|error| Error::Io { what: OVF_KEY, error })?;
    let value = value.filter(|bytes| !bytes.trim_ascii().is_empty());
    Ok(value.map(|bytes| ovf::parse(&bytes, "ovf in guestinfo")).transpose()?)
}

/// The declared sources that `ds=` leaves.
fn narrow(declared: &[Source], command_line: &str) -> Result<Vec<Source>, Error> {
    let mut words = command_line::values(command_line, DATASOURCE);
    let Some(value) = words.next() else { return Ok(declared.to_vec()) };
    if words.next().is_some() {
        return Err(Error::TwoSources);
    }
    let name = value.split(';').next().unwrap_or("").to_ascii_lowercase();
    let own = Source::ALL.into_iter().find(|source| source.word() == name);
    let keeps = match &*name {
        // All of these deliver NoCloud's documents.
        "nocloud" | "nocloud-net" => {
            vec![Source::Cmdline, Source::Smbios, Source::FwCfg, Source::Nocloud, Source::Http]
        }
        "configdrive" => vec![Source::ConfigDrive],
        "vmware" => vec![Source::Guestinfo, Source::Ovf],
        "none" => Vec::new(),
        _ => match own {
            Some(source) => vec![source],
            None => {
                let found = value.split(';').next().unwrap_or("");
                return Err(Error::UnknownSource { found: printable(found) });
            }
        },
    };
    Ok(declared.iter().copied().filter(|source| keeps.contains(source)).collect())
}

#[cfg(test)]
mod nocloud_tests;
#[cfg(test)]
mod tests;
