// SPDX-License-Identifier: Apache-2.0
//! Where the root lies: found by its hash, on a disk, or on a live medium.
//!
//! A live medium holds the root and what a machine needs to install it, and keeps nothing: a file
//! of the initramfs (netboot), an optical disc, or the same on a stick. What stands on it before its
//! partitions, at [`HEAD`], is the head of the disk that an installation makes.

use std::{fs::File, os::unix::fs::FileExt as _, path::Path};

use kiln_contract::{cmdline::INSTALL, live::HEAD, path::RAM_DISK};
use kiln_init::handoff::Handoff;

use super::{
    devices::{Block, Deadline, Devices, block_devices},
    install, loop_device,
    root::argument,
};
use crate::error::{Result, Stop, While as _};

/// Seconds until a root that does not appear stops the boot; some controllers take 30.
const WAIT: u32 = 60;

/// Where the root was found.
#[derive(Debug)]
pub(super) struct Medium {
    /// Of the root and of its hash tree.
    pub(super) partitions: [Block; 2],
    pub(super) is_live: bool,
}

/// Whose root counts first. The initramfs' own was booted on purpose; a disc may have been left in
/// its drive, and its image be on a disk as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Initramfs,
    Disk,
    Live,
}

/// Finds the root, waiting for it, and installs it first if the command line says so.
pub(super) fn find(
    devices: &mut Devices,
    handoff: &Handoff,
    wanted: &[String; 2],
) -> Result<Medium> {
    let mut loops = Loops::default();
    let found = search(devices, &mut loops, wanted, None)?;
    let Some(rule) = argument(INSTALL)? else { return Ok(found) };
    let task = || format!("kernel command line: '{INSTALL}='");
    let disk = install::chosen(devices, &rule).during(task())?;
    let (has_it, source) = {
        let blocks = loops.attach(devices)?;
        let pairs = pairs(&blocks, wanted);
        let is_on = |pair: &&[Block; 2]| pair[0].disk == disk.disk.name;
        let source = pairs.iter().find(|it| !is_on(it) && is_live(&it[0].disk));
        (pairs.iter().any(|it| is_on(&it)), source.map(|it| it[0].disk.clone()))
    };
    if !has_it {
        let what = format!("{}-{} version {}", handoff.cluster, handoff.role, handoff.version);
        let source = source.ok_or_else(|| {
            Stop::new(format_args!("{}: there is no medium to install from", task()))
        })?;
        install::install(&source, &disk, &what)?;
    }
    search(devices, &mut loops, wanted, Some(&disk.disk.name))
}

fn search(
    devices: &mut Devices,
    loops: &mut Loops,
    wanted: &[String; 2],
    on: Option<&str>,
) -> Result<Medium> {
    let mut deadline = Deadline::after(WAIT);
    let mut is_settled = on.is_some();
    loop {
        let blocks = loops.attach(devices)?;
        let ranked = pairs(&blocks, wanted)
            .into_iter()
            .filter(|pair| on.is_none_or(|disk| pair[0].disk == disk))
            .map(|pair| (loops.rank(&pair[0].disk), pair))
            .min_by_key(|(rank, _)| *rank);
        match ranked {
            Some((rank, partitions)) if is_settled || rank < Rank::Live => {
                return Ok(Medium { partitions, is_live: rank != Rank::Disk });
            }
            // A disk with the same root may still come.
            Some(_) => {
                devices.settle()?;
                is_settled = true;
                continue;
            }
            None => {}
        }
        // Short: each character on a serial line costs an emulated processor time.
        if !devices.wait(&mut deadline, "the root's partitions")? {
            return Err(missing(&blocks, wanted));
        }
    }
}

fn missing(blocks: &[Block], wanted: &[String; 2]) -> Stop {
    let seen: Vec<String> = blocks
        .iter()
        .map(|it| match &it.partition {
            Some(uuid) => format!("{} ({uuid})", it.name),
            None => it.name.clone(),
        })
        .collect();
    let seen = if seen.is_empty() { "none".to_owned() } else { seen.join(", ") };
    Stop::new(format_args!(
        "no root: waited {WAIT} s for the partitions {} (root) and {} (hash tree); block devices: \
         {seen}",
        wanted[0], wanted[1]
    ))
}

/// Root and hash tree of every disk that has both.
fn pairs(blocks: &[Block], wanted: &[String; 2]) -> Vec<[Block; 2]> {
    let of = |uuid: &String| {
        let uuid = uuid.clone();
        blocks.iter().filter(move |block| block.partition.as_ref() == Some(&uuid))
    };
    let tree = |data: &Block| of(&wanted[1]).find(|tree| tree.disk == data.disk).cloned();
    of(&wanted[0]).filter_map(|data| Some([data.clone(), tree(data)?])).collect()
}

/// What holds partitions without being a disk for the kernel, behind loop devices.
#[derive(Debug, Default)]
struct Loops {
    /// The initramfs' own disk.
    initramfs: Option<String>,
    /// Files and drives that were looked at.
    seen: Vec<String>,
}

impl Loops {
    fn rank(&self, disk: &str) -> Rank {
        if self.initramfs.as_deref() == Some(disk) {
            Rank::Initramfs
        } else if is_live(disk) {
            Rank::Live
        } else {
            Rank::Disk
        }
    }

    /// Makes disks of what has become ready, each once, and says what there is.
    fn attach(&mut self, devices: &mut Devices) -> Result<Vec<Block>> {
        let blocks = block_devices();
        let discs = blocks.iter().filter(|block| block.name.starts_with("sr")).map(Block::path);
        let file = Path::new(RAM_DISK).exists().then(|| RAM_DISK.to_owned());
        let mut is_new = false;
        for path in file.into_iter().chain(discs) {
            // A drive may be ready later.
            if self.seen.contains(&path) {
                continue;
            }
            let Some(has_table) = has_table(&path, 0) else { continue };
            if has_table {
                devices.need(&["loop"])?;
                let number =
                    loop_device::attach(&path).during(format_args!("making a disk of '{path}'"))?;
                if path == RAM_DISK {
                    self.initramfs = Some(format!("loop{number}"));
                }
                is_new = true;
            }
            self.seen.push(path);
        }
        Ok(if is_new { block_devices() } else { blocks })
    }
}

/// Whether a disk holds the head of another one, as only live media do.
pub(super) fn is_live(disk: &str) -> bool {
    has_table(&format!("/dev/{disk}"), HEAD) == Some(true)
}

/// Whether there is a GPT at `offset`, behind its first 512 bytes; nothing if it cannot be read.
fn has_table(path: &str, offset: u64) -> Option<bool> {
    let mut signature = [0; 8];
    let file = File::open(path).ok()?;
    file.read_exact_at(&mut signature, offset + 512).ok()?;
    Some(signature == *b"EFI PART")
}
