// SPDX-License-Identifier: Apache-2.0
//! What earlier boots kept in `var`: the machine id and the metadata.
//!
//! The partition is made in the real root at the first boot; until then there is no state. A
//! partition that is there and cannot be read stops the boot, because going on would give the
//! node another identity.

use kiln_contract::{
    cmdline::VAR,
    partition::{LINUX_GENERIC, VAR_LABEL},
    path::STATE,
};
use kiln_init::{first_boot::MachineId, handoff::Handoff, metadata::Seed};

use super::{
    devices::{Block, Device, Devices, block_devices},
    install, mounts,
    root::argument,
};
use crate::{
    error::{Result, Stop, While as _},
    files::read_limited,
    service::state::{MACHINE_ID, SEED_FILE},
};

/// Magic of ext2, 3 and 4 in the superblock at 1024.
const EXT4_MAGIC: [u8; 2] = [0x53, 0xef];
const EXT4_MAGIC_OFFSET: u64 = 1024 + 56;
const SEED_MAX: u64 = 32 << 20;
/// What the command line says of a machine that keeps nothing.
const IN_RAM: &str = "ram";

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) machine_id: Option<MachineId>,
    pub(super) seed: Option<Seed>,
}

/// Where `/var` lies, once systemd has mounted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// On the root's disk, as the image says.
    Image,
    Memory,
    /// On a disk of its own, which may be new.
    OwnDisk,
}

/// What the command line says of `/var`: where a live medium was booted, memory unless it names a
/// disk.
pub(super) fn place(devices: &mut Devices, handoff: &Handoff, is_live: bool) -> Result<Place> {
    let rule = match argument(VAR)?.as_deref() {
        None if is_live => return Ok(Place::Memory),
        None => return Ok(Place::Image),
        Some(IN_RAM) => return Ok(Place::Memory),
        Some(rule) => rule.to_owned(),
    };
    let Some(uuid) = &handoff.var_partition else { return Ok(Place::Image) };
    let task = || format!("kernel command line: '{VAR}=' ('{IN_RAM}' or which disk)");
    let chosen = install::chosen(devices, &rule).during(task())?;
    let uuid = uuid.to_ascii_lowercase();
    install::prepare(&chosen, (LINUX_GENERIC, &uuid, VAR_LABEL)).during(task())?;
    Ok(Place::OwnDisk)
}

impl Place {
    /// The fstab(5) of such a machine, if it is not the image's.
    pub(super) fn fstab(self, handoff: &Handoff) -> Option<String> {
        let uuid = handoff.var_partition.as_deref().unwrap_or_default();
        match self {
            Self::Image => None,
            Self::Memory => Some("tmpfs /var tmpfs nosuid,nodev,mode=0755,size=50% 0 0\n".into()),
            Self::OwnDisk => Some(format!(
                "PARTUUID={uuid} /var ext4 nosuid,nodev,noatime,x-systemd.makefs,x-systemd.growfs,\
                 x-systemd.device-timeout=600s 0 2\n"
            )),
        }
    }
}

/// The partition with that UUID. It lies on the root's disk, whose partitions appear together, but
/// one after another: whoever saw the root's has to look again, or the node would become another.
pub(super) fn partition(uuid: &str) -> Option<Block> {
    let uuid = Some(uuid.to_ascii_lowercase());
    block_devices().into_iter().find(|block| block.partition == uuid)
}

/// Looks into the partition that keeps it, if there is one.
pub(super) fn read(partition: Option<&Block>, devices: &mut Devices) -> Result<State> {
    let Some(block) = partition else { return Ok(State::default()) };
    if !is_formatted(block)? {
        return Ok(State::default());
    }
    devices.need(&["ext4"])?;
    mounts::briefly(&block.path(), "ext4", |folder| {
        let folder = format!("{folder}{}", STATE.strip_prefix("/var").unwrap_or(STATE));
        let read = |name: &str, max: u64| {
            read_limited(format!("{folder}/{name}"), max)
                .during(format_args!("reading '{name}' of the state on '{}'", block.name))
        };
        let damaged = |name: &str| {
            Stop::new(format_args!("the state on '{}' has a damaged '{name}'", block.name))
        };
        let machine_id = read(MACHINE_ID, 64)?
            .map(|bytes| String::from_utf8_lossy(&bytes).parse().map_err(|()| damaged(MACHINE_ID)))
            .transpose()?;
        let seed = read(SEED_FILE, SEED_MAX)?
            .map(|bytes| serde_json::from_slice(&bytes).map_err(|_| damaged(SEED_FILE)))
            .transpose()?;
        Ok(State { machine_id, seed })
    })
}

/// A power cut may leave a partition without a file system.
fn is_formatted(block: &Block) -> Result<bool> {
    let mut magic = [0; 2];
    let read =
        Device::open(&block.name).and_then(|it| it.read_exact_at(&mut magic, EXT4_MAGIC_OFFSET));
    read.during(format_args!("reading the state on '{}'", block.name))?;
    Ok(magic == EXT4_MAGIC)
}

pub(super) fn new_machine_id() -> Result<MachineId> {
    let mut bytes = [0; 16];
    let n = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())
        .during("making a machine id")?;
    if n != bytes.len() {
        return Err(Stop::new("making a machine id: the kernel gave too few random bytes"));
    }
    Ok(MachineId::from_random(bytes))
}
