// SPDX-License-Identifier: Apache-2.0
//! The hosts as they are seen from here: who asked for what, how far each is, what it reports.
//!
//! Kept in memory and bounded: one entry for each host of the cluster, a few for machines that are
//! none. Everything that machines say is text of strangers.

pub(super) mod page;

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
};

use hyper::body::Bytes;
use tokio::sync::mpsc::{self, error::TrySendError};

use self::page::Renderer;
use super::{
    images::{Image, Images},
    report::{Report, Said},
};
use crate::{cluster::Cluster, digest::Digest};

/// Machines that are remembered although they are no hosts.
const STRANGERS_MAX: usize = 50;
/// Addresses that are remembered for each host: of firmware, iPXE, the initrd.
const ADDRESSES_OF_ONE: usize = 4;
/// Pages that are open at a time.
const WATCHERS_MAX: usize = 32;
/// Changes that wait for one of them.
const WAITING_MAX: usize = 256;

/// How far a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Unseen,
    /// It has its boot script, and loads.
    Loading,
    /// It asks who it is.
    Metadata,
    /// It knows, and starts its services.
    Configured,
    Ready,
    NotReady,
    /// First boot refused to go on.
    Stopped,
}

/// What somebody got.
#[derive(Debug, Clone, Copy)]
pub(super) enum What<'a> {
    Script(&'a str),
    Document(&'a str, &'a str),
    File(&'a Image, &'a str),
}

/// Who got it, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Note<'a> {
    /// Seconds since 1970.
    pub(super) at: u64,
    pub(super) from: IpAddr,
    pub(super) what: What<'a>,
}

/// One host as it is known.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Seen {
    pub(super) role: String,
    pub(super) phase: Phase,
    /// The last thing that it asked for or said, and when (seconds since 1970).
    pub(super) last: Option<(String, u64)>,
    pub(super) from: Option<IpAddr>,
    /// As it reports them.
    pub(super) version: String,
    pub(super) root_hash: String,
    pub(super) address: String,
    pub(super) message: String,
    pub(super) warnings: Vec<String>,
}

/// A machine that is no host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stranger {
    pub(super) key: String,
    pub(super) from: IpAddr,
    pub(super) at: u64,
    pub(super) n: u64,
}

/// A build as pages show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Build {
    pub(super) role: String,
    pub(super) version: String,
    pub(super) plan: Digest,
}

/// All of them.
pub(super) struct Fleet {
    hosts: BTreeMap<String, Seen>,
    strangers: VecDeque<Stranger>,
    /// Who has an address, the newest last.
    addresses: VecDeque<(IpAddr, String)>,
    /// Builds by their root hash: what a machine runs.
    builds: BTreeMap<String, Build>,
    /// Root hash of each role's newest build.
    newest: BTreeMap<String, String>,
    renderer: Renderer,
    watchers: Vec<mpsc::Sender<Bytes>>,
    /// The page, until something changes.
    page: Option<Bytes>,
}

impl Fleet {
    pub(super) fn new(cluster: &Cluster, images: &Images) -> Self {
        let seen = |role: &str| Seen {
            role: role.to_owned(),
            phase: Phase::Unseen,
            last: None,
            from: None,
            version: String::new(),
            root_hash: String::new(),
            address: String::new(),
            message: String::new(),
            warnings: Vec::new(),
        };
        let hosts = cluster.hosts.iter().map(|(name, host)| (name.clone(), seen(&host.role)));
        let mut fleet = Self {
            hosts: hosts.collect(),
            strangers: VecDeque::new(),
            addresses: VecDeque::new(),
            builds: BTreeMap::new(),
            newest: BTreeMap::new(),
            renderer: Renderer::new(&cluster.name),
            watchers: Vec::new(),
            page: None,
        };
        fleet.built(images);
        fleet
    }

    /// What is built now.
    pub(super) fn built(&mut self, images: &Images) {
        self.newest.clear();
        for image in images.all() {
            let hash = image.root_hash.to_string();
            let (role, version, plan) = (image.role.clone(), image.version.clone(), image.plan);
            self.newest.insert(role.clone(), hash.clone());
            self.builds.insert(hash, Build { role, version, plan });
        }
        self.changed_all();
    }

    /// Notes what somebody got; a line for the log if it is a step of a host.
    pub(super) fn asked(&mut self, note: &Note<'_>) -> Option<String> {
        let Note { at, from, what } = *note;
        let name = match what {
            What::Script(name) | What::Document(name, _) => name.to_owned(),
            What::File(..) => self.host_at(from)?,
        };
        let seen = self.hosts.get_mut(&name)?;
        let (last, said) = match what {
            What::Script(_) => {
                seen.phase = Phase::Loading;
                seen.message.clear();
                seen.warnings.clear();
                ("boot script".to_owned(), true)
            }
            What::File(image, file) => {
                if seen.phase != Phase::Loading || seen.role != image.role {
                    return None;
                }
                (part(file), false)
            }
            What::Document(_, file) => {
                let first = file == "meta-data";
                if first && matches!(seen.phase, Phase::Unseen | Phase::Loading | Phase::Stopped) {
                    seen.phase = Phase::Metadata;
                }
                (file.to_owned(), first)
            }
        };
        let line = said.then(|| format!("{name} ({from}): {last}"));
        seen.last = Some((last, at));
        seen.from = Some(from);
        self.remember(from, &name);
        self.changed(&name);
        line
    }

    /// Notes a report; a line for the log.
    pub(super) fn reported(&mut self, at: u64, from: IpAddr, name: &str, report: Report) -> String {
        let words = match report.phase {
            Said::Configured => "configured",
            Said::Stopped => "first boot stopped",
            Said::Ready => "ready",
            Said::NotReady => "not ready",
        };
        let line = match report.message.as_str() {
            "" => format!("{name} ({from}): {words}"),
            message => format!("{name} ({from}): {words}: {message}"),
        };
        let Some(seen) = self.hosts.get_mut(name) else { return line };
        seen.last = Some((words.to_owned(), at));
        seen.from = Some(from);
        seen.version = report.version;
        seen.root_hash = report.root_hash;
        seen.address = report.first_boot.address.unwrap_or_default();
        seen.warnings = report.first_boot.warnings;
        // That nothing starts after a stop says less than why it stopped.
        if !(seen.phase == Phase::Stopped && report.phase == Said::NotReady) {
            seen.message = if report.phase == Said::Ready { String::new() } else { report.message };
            seen.phase = match report.phase {
                Said::Configured => Phase::Configured,
                Said::Stopped => Phase::Stopped,
                Said::Ready => Phase::Ready,
                Said::NotReady => Phase::NotReady,
            };
        }
        self.changed(name);
        line
    }

    /// Notes a machine that is no host; whether it is a new one.
    pub(super) fn stranger(&mut self, at: u64, from: IpAddr, key: &str) -> bool {
        let known = self.strangers.iter().position(|it| it.key == key);
        let n = known.and_then(|index| self.strangers.remove(index)).map_or(0, |it| it.n);
        self.strangers.push_front(Stranger { key: key.to_owned(), from, at, n: n + 1 });
        self.strangers.truncate(STRANGERS_MAX);
        self.page = None;
        let html = self.renderer.strangers(&self.strangers);
        let event = page::event("strangers", &html);
        self.tell(event);
        known.is_none()
    }

    /// The page as it is now.
    pub(super) fn page(&mut self) -> Bytes {
        if let Some(page) = &self.page {
            return page.clone();
        }
        let page = Bytes::from(self.renderer.page(&self.view()));
        self.page = Some(page.clone());
        page
    }

    /// Changes from now on, with everything first; none if too many watch already.
    pub(super) fn watch(&mut self) -> Option<mpsc::Receiver<Bytes>> {
        self.watchers.retain(|watcher| !watcher.is_closed());
        if self.watchers.len() >= WATCHERS_MAX {
            return None;
        }
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let everything = page::everything(&self.renderer, &self.view());
        let _ = sender.try_send(Bytes::from(everything));
        self.watchers.push(sender);
        Some(receiver)
    }

    /// Lets those who watch know that there is nothing new.
    pub(super) fn sign_of_life(&mut self) {
        self.tell(":\n\n".to_owned());
    }

    fn view(&self) -> page::View<'_> {
        let Self { hosts, strangers, builds, newest, .. } = self;
        page::View { hosts, strangers, builds, newest }
    }

    fn changed(&mut self, name: &str) {
        self.page = None;
        if !self.watchers.is_empty() {
            let event = page::row_event(&self.renderer, &self.view(), name);
            self.tell(event);
        }
    }

    fn changed_all(&mut self) {
        self.page = None;
        if !self.watchers.is_empty() {
            let event = page::everything(&self.renderer, &self.view());
            self.tell(event);
        }
    }

    /// Who does not keep up is left: the page comes back and gets everything.
    fn tell(&mut self, event: String) {
        if self.watchers.is_empty() {
            return;
        }
        let event = Bytes::from(event);
        self.watchers.retain(|watcher| match watcher.try_send(event.clone()) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => false,
        });
    }

    fn host_at(&self, address: IpAddr) -> Option<String> {
        let newest = self.addresses.iter().rev().find(|(known, _)| *known == address);
        newest.map(|(_, name)| name.clone())
    }

    fn remember(&mut self, address: IpAddr, name: &str) {
        self.addresses.retain(|(known, _)| *known != address);
        self.addresses.push_back((address, name.to_owned()));
        while self.addresses.len() > self.hosts.len() * ADDRESSES_OF_ONE {
            self.addresses.pop_front();
        }
    }
}

/// What a file of an image is to people.
fn part(file: &str) -> String {
    match file.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "vmlinuz" => "kernel".to_owned(),
        "initrd" => "initrd".to_owned(),
        "disk" => "root".to_owned(),
        _ => file.to_owned(),
    }
}

#[cfg(test)]
mod tests;
