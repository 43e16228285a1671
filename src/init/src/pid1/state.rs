// SPDX-License-Identifier: Apache-2.0
//! What earlier boots kept in `var`: the machine id and the metadata.
//!
//! The partition is made in the real root at the first boot; until then there is no state. A
//! partition that is there and cannot be read stops the boot, because going on would give the
//! node another identity.

use kiln_contract::path::STATE;
use kiln_init::{first_boot::MachineId, metadata::Seed};

use super::{
    devices::{Block, Device, Devices, block_devices},
    mounts,
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

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) machine_id: Option<MachineId>,
    pub(super) seed: Option<Seed>,
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
