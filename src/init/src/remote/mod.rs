// SPDX-License-Identifier: Apache-2.0
//! Metadata from servers: HTTP by MAC or UUID, EC2's and OpenStack's services.
//!
//! The initramfs has no network, so these are asked in the real root, after the local sources had
//! nothing and before anything that needs the host's facts. Nobody is asked on a guess: a server
//! needs a URL, a cloud's service needs firmware that says so or `ds=` on the kernel command line.
//!
//! A server that does not answer has no metadata; one that answers with something unacceptable
//! has invalid metadata, and then nothing is believed and nobody else is asked.

pub mod client;
pub mod dmi;
mod documents;
mod ec2;
pub mod http;
mod openstack;
mod place;
mod sums;
pub mod url;

use kiln_contract::cmdline::{self, DATASOURCE, REPORT, ROOTHASH, URL};
use serde::{Deserialize, Serialize};

use crate::{handoff::Source, metadata::Seed};
use client::Client;
use dmi::Dmi;
pub use place::Place;

/// Why a source gave no documents.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody answered in time: as if there were no metadata.
    #[error("{0}")]
    Silent(String),
    /// Somebody answered, and not with what can be used.
    #[error("{0}")]
    Refused(String),
}

/// A source that has somewhere to ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    Http(Place),
    Ec2,
    Openstack,
}

impl Ask {
    pub fn source(&self) -> Source {
        match self {
            Self::Http(_) => Source::Http,
            Self::Ec2 => Source::Ec2,
            Self::Openstack => Source::Openstack,
        }
    }

    /// Asks. None if the source says that it has nothing for this host.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn documents(&self, facts: &Facts, client: &mut Client<'_>) -> Result<Option<Seed>, Error> {
        match self {
            Self::Http(place) => documents::read(place, facts, client),
            Self::Ec2 => ec2::read(client),
            Self::Openstack => openstack::read(facts, client),
        }
    }
}

/// What URLs are filled with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    pub dmi: Dmi,
    /// The interface that leads to the servers.
    pub interface: String,
    /// Its address, as sysfs has it: lower case, with colons.
    pub mac: String,
}

/// Which remote sources are asked, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Planned {
    pub asks: Vec<Ask>,
    /// Declared sources with nowhere to ask, and why.
    pub silent: Vec<(Source, &'static str)>,
}

/// The remote sources in order: those to be asked, and why the others are not.
///
/// `seedfrom` is the URL of a `ds=nocloud;s=…` line.
///
/// # Errors
/// A URL, or what stands behind its `#`, is refused.
pub fn plan(
    declared: &[Source],
    command_line: &str,
    url: Option<&str>,
    seedfrom: Option<&str>,
    dmi: &Dmi,
) -> Result<Planned, Error> {
    let word = |key| cmdline::value(command_line, key);
    let datasource = word(DATASOURCE).map(|value| value.split(';').next().unwrap_or(""));
    let datasource = datasource.map(str::to_ascii_lowercase);
    let datasource = datasource.as_deref();
    let Planned { mut asks, mut silent } = Planned::default();
    for source in declared.iter().copied().filter(|source| source.is_remote()) {
        if !allows(datasource, source) {
            silent.push((source, "not asked: 'ds=' names another source"));
            continue;
        }
        let named = datasource == Some(source.word());
        match source {
            Source::Http => match place(word(URL), url, seedfrom)? {
                Some(place) => asks.push(Ask::Http(place)),
                None => {
                    silent.push((source, "no URL: neither 'kiln.url=' nor the image says where"))
                }
            },
            Source::Ec2 if named || dmi.is_ec2() => asks.push(Ask::Ec2),
            Source::Ec2 => {
                silent.push((source, "not asked: this machine's firmware does not say EC2"))
            }
            _ if named || dmi.is_openstack() => asks.push(Ask::Openstack),
            _ => silent.push((source, "not asked: this machine's firmware does not say OpenStack")),
        }
    }
    Ok(Planned { asks, silent })
}

/// Where first boot tells how it went: the place that the kernel command line names, else the
/// one that metadata are asked from.
///
/// # Errors
/// The command line's URL is refused.
pub fn report_place(command_line: &str, asks: &[Ask]) -> Result<Option<Place>, Error> {
    if let Some(text) = cmdline::value(command_line, REPORT) {
        return Place::parse(text, "kernel command line: 'kiln.report='").map(Some);
    }
    Ok(asks.iter().find_map(|ask| match ask {
        Ask::Http(place) => Some(place.clone()),
        Ask::Ec2 | Ask::Openstack => None,
    }))
}

/// The root that runs, as the command line names it.
pub fn root_hash(command_line: &str) -> &str {
    cmdline::value(command_line, ROOTHASH).unwrap_or("")
}

/// Whether `ds=` leaves a remote source in; it never brings one in that is not declared.
fn allows(datasource: Option<&str>, source: Source) -> bool {
    match datasource {
        None => true,
        Some("nocloud" | "nocloud-net" | "http") => source == Source::Http,
        Some(name) => name == source.word(),
    }
}

/// The kernel command line is nearer to the machine than the image.
fn place(
    command_line: Option<&str>,
    image: Option<&str>,
    seedfrom: Option<&str>,
) -> Result<Option<Place>, Error> {
    let found = [
        (command_line, "kernel command line: 'kiln.url='"),
        (image, "the image's 'metadata.url'"),
        (seedfrom, "'ds=nocloud;s='"),
    ];
    let found = found.into_iter().find_map(|(text, origin)| Some((text?, origin)));
    found.map(|(text, origin)| Place::parse(text, origin)).transpose()
}

fn origin(source: Source, url: &url::Url) -> String {
    format!("{} '{url}'", source.word())
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
