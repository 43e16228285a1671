// SPDX-License-Identifier: Apache-2.0
//! Devices and their events: modules for what is there and for what appears, and waiting.

use std::{
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use kiln_init::uevent::Uevent;
use rustix::{
    event::{PollFd, PollFlags, Timespec},
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SocketFlags, SocketType,
        netlink::{KOBJECT_UEVENT, SocketAddrNetlink},
    },
};

use super::modules::Loader;
use crate::{
    console::say,
    error::{Result, While as _},
};

/// The kernel's own events; udev's are in group 2.
const KERNEL_EVENTS: u32 = 1;
/// After so long, a wait is announced.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Devices {
    socket: OwnedFd,
    loader: Loader,
}

/// The end of a wait, and whether it was announced.
#[derive(Debug)]
pub(super) struct Deadline {
    at: Instant,
    seconds: u32,
    announce: Option<Instant>,
}

impl Deadline {
    pub(super) fn after(seconds: u32) -> Self {
        let now = Instant::now();
        let at = now + Duration::from_secs(u64::from(seconds));
        Self { at, seconds, announce: Some(now + PATIENCE) }
    }
}

/// A block device, as sysfs knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    /// Below `/dev`.
    pub(super) name: String,
    /// `MAJOR:MINOR`.
    pub(super) number: String,
    pub(super) partition: Option<String>,
}

impl Block {
    pub(super) fn path(&self) -> String {
        format!("/dev/{}", self.name)
    }
}

impl Devices {
    /// Listens from now on, so that nothing is missed between looking and waiting.
    pub(super) fn open() -> Result<Self> {
        let task = "listening to the kernel's device events";
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            flags,
            Some(KOBJECT_UEVENT),
        )
        .during(task)?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, KERNEL_EVENTS)).during(task)?;
        Ok(Self { socket, loader: Loader::open()? })
    }

    pub(super) fn load_early(&self, modules: &[String]) {
        for module in modules {
            self.loader.load(module);
        }
    }

    /// Loads modules for every device there is, until no module brings another device.
    pub(super) fn load_for_present(&self) -> Result<()> {
        loop {
            let mut n_loaded = 0;
            for modalias in modaliases(Path::new("/sys/devices")).during("walking /sys/devices")? {
                n_loaded += self.loader.load(&modalias);
            }
            if n_loaded == 0 {
                return Ok(());
            }
        }
    }

    /// Waits for the next events and loads what they ask for; false when the time is over.
    pub(super) fn wait(&mut self, deadline: &mut Deadline, what: &str) -> Result<bool> {
        loop {
            let now = Instant::now();
            if now >= deadline.at {
                return Ok(false);
            }
            if deadline.announce.is_some_and(|at| now >= at) {
                say(format_args!("waiting for {what}, up to {} s", deadline.seconds));
                deadline.announce = None;
            }
            let until = deadline.announce.map_or(deadline.at, |at| at.min(deadline.at));
            let timeout = Timespec::try_from(until - now).during("waiting for devices")?;
            let mut sockets = [PollFd::new(&self.socket, PollFlags::IN)];
            match rustix::event::poll(&mut sockets, Some(&timeout)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => {
                    self.drain()?;
                    return Ok(true);
                }
                Err(error) => return Err(error).during("waiting for devices"),
            }
        }
    }

    fn drain(&self) -> Result<()> {
        let mut buffer = vec![0; 16 << 10];
        loop {
            match rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
                Ok((n, _)) => {
                    let event = Uevent::from_message(&buffer[..n]);
                    if let (Some("add"), Some(modalias)) =
                        (event.get("ACTION"), event.get("MODALIAS"))
                    {
                        self.loader.load(modalias);
                    }
                }
                // Events were lost: look at everything again.
                Err(Errno::NOBUFS) => self.load_for_present()?,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error).during("reading a device event"),
            }
        }
    }
}

/// Every block device, by name.
pub(super) fn block_devices() -> Vec<Block> {
    let Ok(entries) = fs::read_dir("/sys/class/block") else { return Vec::new() };
    let mut blocks: Vec<Block> = entries
        .filter_map(|entry| {
            let bytes = fs::read(entry.ok()?.path().join("uevent")).ok()?;
            let keys = Uevent::from_file(&bytes);
            Some(Block {
                name: keys.get("DEVNAME")?.to_owned(),
                number: format!("{}:{}", keys.get("MAJOR")?, keys.get("MINOR")?),
                partition: keys.get("PARTUUID").map(str::to_ascii_lowercase),
            })
        })
        .collect();
    blocks.sort_by(|a, b| a.name.cmp(&b.name));
    blocks
}

/// The contents of all files `modalias` below a folder.
fn modaliases(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        // A device may go while its folder is being read.
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                folders.push(entry.path());
            } else if entry.file_name() == "modalias" {
                let text = fs::read_to_string(entry.path()).unwrap_or_default();
                found.extend(Some(text.trim_end().to_owned()).filter(|text| !text.is_empty()));
            }
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}
