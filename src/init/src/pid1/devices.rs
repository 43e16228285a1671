// SPDX-License-Identifier: Apache-2.0
//! Devices and their events: modules for what is there and for what appears, and waiting.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    os::{fd::OwnedFd, unix::fs::FileExt as _},
    path::{Path, PathBuf},
    process::{Child, Command},
    time::{Duration, Instant},
};

use kiln_init::{gpt, uevent::Uevent, volume::ReadAt};
use rustix::{
    event::{PollFd, PollFlags, Timespec},
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SocketFlags, SocketType,
        netlink::{KOBJECT_UEVENT, SocketAddrNetlink},
    },
    process::{Pid, PidfdFlags},
};

use super::modules::{Loader, is_live};
use crate::{
    console::say,
    error::{Result, Stop, While as _},
    spent::Moment,
};

/// The kernel's own events; udev's are in group 2.
const KERNEL_EVENTS: u32 = 1;
const BLOCK: &str = "/sys/class/block";
/// The argument that makes this program load named modules and those for present devices.
pub(crate) const COLDPLUG: &str = "coldplug";
/// Nicer than PID 1, which otherwise shares a single processor with what only prepares for later.
const COLDPLUG_NICE: i32 = 10;
/// A driver that is a source of metadata itself, known once it has found its device; every other
/// one brings a device with an event.
const SOURCE_DRIVER: &str = "/bus/platform/drivers/fw_cfg";
/// Seconds without a new disk after which there is none to come, and until that is assumed.
const SETTLE: u32 = 3;
const SETTLE_MAX: u32 = 60;
/// After so long, a wait is announced.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Devices {
    socket: OwnedFd,
    /// Opened when this process has to load a module itself, which it seldom has.
    loader: Option<Loader>,
    /// Loads modules for the devices that were there from the start.
    coldplug: Option<Coldplug>,
    /// Modaliases of devices that appeared meanwhile; it sees most of them itself.
    appeared: BTreeSet<String>,
    /// Of the processor, in [`Devices::wait`].
    in_waits: Duration,
}

#[derive(Debug)]
struct Coldplug {
    process: Child,
    /// Readable when the process has ended.
    handle: OwnedFd,
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
    /// The disk that it is a partition of; else its own name.
    pub(super) disk: String,
    /// UUID of the partition, if it is one of a GPT.
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
        let (appeared, in_waits) = (BTreeSet::new(), Duration::ZERO);
        Ok(Self { socket, loader: None, coldplug: None, appeared, in_waits })
    }

    /// Loads those of the named modules that nobody has loaded yet.
    pub(super) fn need(&mut self, modules: &[&str]) -> Result<()> {
        for module in modules.iter().filter(|module| !is_live(module)) {
            self.loader()?.load(module);
        }
        Ok(())
    }

    fn loader(&mut self) -> Result<&Loader> {
        let opened = match self.loader.take() {
            Some(loader) => loader,
            None => Loader::open()?,
        };
        Ok(self.loader.insert(opened))
    }

    /// Loads the named modules and then those for every device there is, beside what this process
    /// does: the root seldom needs the last of them. Devices that come of it are announced as any
    /// other.
    pub(super) fn start_coldplug(&mut self, early: &[String]) -> Result<()> {
        let task = "starting to load modules";
        let mut command = Command::new("/proc/self/exe");
        let process = command.arg(COLDPLUG).args(early).spawn().during(task)?;
        let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Stop::new(task))?;
        let handle = rustix::process::pidfd_open(pid, PidfdFlags::empty()).during(task)?;
        self.coldplug = Some(Coldplug { process, handle });
        Ok(())
    }

    /// Waits until all disks may be taken to be there, which no event tells: modules have been loaded,
    /// and for a while no block device has come.
    pub(super) fn settle(&mut self) -> Result<()> {
        let mut deadline = Deadline::after(SETTLE_MAX);
        while self.in_coldplug() && self.wait(&mut deadline, "the loading of modules")? {}
        let mut quiet = Deadline::after(SETTLE);
        while self.wait(&mut quiet, "further disks")? && Instant::now() < deadline.at {
            quiet = Deadline::after(SETTLE);
        }
        Ok(())
    }

    /// Whether modules for present devices are still being loaded.
    pub(super) fn in_coldplug(&self) -> bool {
        self.coldplug.is_some()
    }

    /// Waits until something happened that may have brought what is waited for, and loads modules
    /// for what appears; false when the time is over.
    pub(super) fn wait(&mut self, deadline: &mut Deadline, what: &str) -> Result<bool> {
        let begun = Moment::now();
        let outcome = self.wait_until(deadline, what);
        self.in_waits += begun.elapsed().processor;
        outcome
    }

    /// This program's time on the processor while it waited: dozens of events that change nothing. A
    /// wait is not longer for it.
    pub(super) fn in_waits(&self) -> Duration {
        self.in_waits
    }

    fn wait_until(&mut self, deadline: &mut Deadline, what: &str) -> Result<bool> {
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
            if self.poll(&timeout)? {
                return Ok(true);
            }
        }
    }

    /// Whether something of interest happened.
    fn poll(&mut self, timeout: &Timespec) -> Result<bool> {
        let mut handles = vec![PollFd::new(&self.socket, PollFlags::IN)];
        handles.extend(self.coldplug.iter().map(|it| PollFd::new(&it.handle, PollFlags::IN)));
        match rustix::event::poll(&mut handles, Some(timeout)) {
            Ok(0) | Err(Errno::INTR) => return Ok(false),
            Ok(_) => {}
            Err(error) => return Err(error).during("waiting for devices"),
        }
        let ended = handles.get(1).is_some_and(|handle| !handle.revents().is_empty());
        if let Some(mut coldplug) = self.coldplug.take_if(|_| ended) {
            let status = coldplug.process.wait().during("waiting for the loading of modules")?;
            if !status.success() {
                say(format_args!("warning: loading modules ended with {status}"));
            }
            for modalias in std::mem::take(&mut self.appeared) {
                self.loader()?.load(&modalias);
            }
        }
        Ok(self.drain()? || ended)
    }

    /// Takes every event that is there; whether one is of interest.
    fn drain(&mut self) -> Result<bool> {
        let mut buffer = vec![0; 16 << 10];
        let mut is_of_interest = false;
        loop {
            match rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
                Ok((n, _)) => {
                    let event = Uevent::from_message(&buffer[..n]);
                    is_of_interest |= event.get("SUBSYSTEM") == Some("block")
                        || event.get("DEVPATH") == Some(SOURCE_DRIVER);
                    if let (Some("add"), Some(modalias)) =
                        (event.get("ACTION"), event.get("MODALIAS"))
                    {
                        self.appear(modalias)?;
                    }
                }
                // Events were lost: look at everything again.
                Err(Errno::NOBUFS) => {
                    load_for_present(self.loader()?);
                    is_of_interest = true;
                }
                Err(Errno::AGAIN) => return Ok(is_of_interest),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error).during("reading a device event"),
            }
        }
    }

    /// Loads the modules of a device that has just appeared, or leaves it to who does that.
    fn appear(&mut self, modalias: &str) -> Result<()> {
        if self.in_coldplug() {
            self.appeared.insert(modalias.to_owned());
        } else {
            self.loader()?.load(modalias);
        }
        Ok(())
    }
}

/// `kiln-init coldplug MODULE...`, in the initramfs.
pub(crate) fn coldplug(early: &[&str]) -> Result<()> {
    // Without it, everything works as well and PID 1 is slower.
    let _ = rustix::process::setpriority_process(None, COLDPLUG_NICE);
    let loader = Loader::open()?;
    for module in early {
        loader.load(module);
    }
    load_for_present(&loader);
    Ok(())
}

/// Loads modules for every device there is, until no module brings another device.
fn load_for_present(loader: &Loader) {
    let mut seen = BTreeSet::new();
    loop {
        let before = seen.len();
        for modalias in modaliases(Path::new("/sys/devices")) {
            if !seen.contains(&modalias) {
                loader.load(&modalias);
                seen.insert(modalias);
            }
        }
        if seen.len() == before {
            return;
        }
    }
}

/// Names of all block devices, as below `/dev`.
pub(super) fn block_names() -> Vec<String> {
    let entries = fs::read_dir(BLOCK).into_iter().flatten().flatten();
    // In sysfs a name is one component: 'cciss!c0d0' is 'cciss/c0d0'.
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().replace('!', "/")).collect();
    names.sort();
    names
}

/// Every block device, by name, with the UUIDs that the disks' tables give partitions.
pub(super) fn block_devices() -> Vec<Block> {
    let Ok(entries) = fs::read_dir(BLOCK) else { return Vec::new() };
    let mut tables = BTreeMap::new();
    let mut blocks: Vec<Block> = entries
        .filter_map(|entry| {
            let link = entry.ok()?.path();
            // Points to the device's folder, in which a partition's lies below its disk's.
            let folder = fs::read_link(&link).ok()?;
            let keys = fs::read(link.join("uevent")).ok()?;
            let keys = Uevent::from_file(&keys);
            let name = keys.get("DEVNAME")?.to_owned();
            let mut disk = name.clone();
            let partition = keys.get("PARTN").and_then(|number| {
                disk = folder.parent()?.file_name()?.to_str()?.to_owned();
                let table = tables.entry(disk.clone()).or_insert_with_key(|disk| table(disk));
                table.get(&number.parse().ok()?).cloned()
            });
            let number = format!("{}:{}", keys.get("MAJOR")?, keys.get("MINOR")?);
            Some(Block { name, number, disk, partition })
        })
        .collect();
    blocks.sort_by(|a, b| a.name.cmp(&b.name));
    blocks
}

/// UUIDs of a disk's partitions; none if the disk cannot be read, which is no reason to stop as
/// long as another one has what is wanted.
fn table(disk: &str) -> BTreeMap<u32, String> {
    let partitions = partitions(disk).unwrap_or_default();
    partitions.into_iter().map(|it| (it.number, it.uuid)).collect()
}

/// The partitions of a disk, if it can be read.
pub(super) fn partitions(disk: &str) -> Option<Vec<gpt::Partition>> {
    let block_size = number(disk, "queue/logical_block_size")?;
    // Always in units of 512 bytes.
    let n_blocks = number(disk, "size")? * 512 / block_size.max(1);
    gpt::partitions(&Device::open(disk).ok()?, block_size, n_blocks).ok()
}

/// What sysfs says of a block device.
pub(super) fn attribute(name: &str, path: &str) -> Option<Vec<u8>> {
    fs::read(format!("{BLOCK}/{}/{path}", name.replace('/', "!"))).ok()
}

pub(super) fn number(name: &str, path: &str) -> Option<u64> {
    String::from_utf8(attribute(name, path)?).ok()?.trim().parse().ok()
}

/// An open block device, read here and there.
pub(super) struct Device(File);

impl Device {
    /// By its name below `/dev`.
    pub(super) fn open(name: &str) -> std::io::Result<Self> {
        let file = File::open(format!("/dev/{name}"))?;
        // The kernel would read 128 KiB where a sector is wanted.
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random);
        Ok(Self(file))
    }

    pub(super) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }
}

impl ReadAt for Device {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.0.read_at(buffer, offset)
    }
}

/// The contents of all files `modalias` below a folder.
fn modaliases(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
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
    found
}
