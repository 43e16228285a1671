// SPDX-License-Identifier: Apache-2.0
//! The root: opened with dm-verity wherever its hash was found, mounted, and switched to.

use std::{
    convert::Infallible,
    ffi::OsStr,
    fs,
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt as _,
    },
    path::Path,
    process::Command,
};

use kiln_contract::{
    ROOT_DEVICE,
    cmdline::{self, ROOTHASH},
    path::SYSROOT,
};
use kiln_init::{
    handoff::Handoff,
    verity::{RootHash, SUPERBLOCK_LEN, Superblock},
};
use rustix::{
    fs::{AtFlags, Dir, Mode, OFlags},
    mount::MountFlags,
};

use super::{
    device_mapper,
    devices::{Block, Device, Devices},
    medium, mounts,
};
use crate::error::{Result, Stop, While as _};

const SYSTEMD: &str = "/usr/lib/systemd/systemd";
const INIT: &str = "/sbin/init";

#[derive(Debug)]
pub(super) struct Root {
    /// Name of the data partition.
    pub(super) device: String,
    /// Name of the hash tree's.
    pub(super) tree: String,
    /// Whether it lies where nothing can be kept.
    pub(super) is_live: bool,
}

/// Finds the partitions of the command line's root hash, opens and mounts them.
pub(super) fn open(devices: &mut Devices, handoff: &Handoff) -> Result<Root> {
    let root_hash = root_hash()?;
    let medium = medium::find(devices, handoff, &root_hash.partitions())?;
    let [data, tree] = medium.partitions;
    let superblock = read_superblock(&tree)?;
    let parameters = superblock.table(&data.number, &tree.number, &root_hash);
    devices.need(&["dm_mod", "dm_verity"])?;
    let minor = device_mapper::create(
        ROOT_DEVICE,
        &superblock.device_uuid(ROOT_DEVICE),
        "verity",
        superblock.sectors(),
        &parameters,
    )
    .during(format_args!("opening root '{}' with dm-verity", data.name))?;
    let device = format!("/dev/dm-{minor}");
    mounts::mount(&device, SYSROOT, "squashfs", MountFlags::RDONLY, None).during(format_args!(
        "mounting the root of {}-{} from '{}'",
        handoff.cluster, handoff.role, data.name
    ))?;
    Ok(Root { device: data.name, tree: tree.name, is_live: medium.is_live })
}

fn root_hash() -> Result<RootHash> {
    let value = argument(ROOTHASH)?
        .ok_or_else(|| Stop::new(format_args!("the kernel command line has no '{ROOTHASH}='")))?;
    RootHash::parse(&value).during(format_args!("kernel command line: '{ROOTHASH}='"))
}

/// What the kernel command line says of `key`.
pub(super) fn argument(key: &str) -> Result<Option<String>> {
    let command_line = fs::read_to_string("/proc/cmdline").during("reading /proc/cmdline")?;
    Ok(cmdline::value(&command_line, key).map(str::to_owned))
}

fn read_superblock(tree: &Block) -> Result<Superblock> {
    let task = format!("reading the hash tree on '{}'", tree.name);
    let mut bytes = [0; SUPERBLOCK_LEN];
    let device = Device::open(&tree.name).during(&task)?;
    device.read_exact_at(&mut bytes, 0).during(&task)?;
    Superblock::parse(&bytes).during(&task)
}

/// Makes the mounted root `/`, frees the initramfs and becomes the root's init.
pub(super) fn switch() -> Result<Infallible> {
    let initramfs = rustix::fs::open("/", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .during("opening the initramfs")?;
    for mount in ["/dev", "/proc", "/sys", "/run"] {
        rustix::mount::mount_move(mount, format!("{SYSROOT}{mount}"))
            .during(format_args!("moving '{mount}' into the root"))?;
    }
    let task = "switching to the root";
    rustix::process::chdir(SYSROOT).during(task)?;
    rustix::mount::mount_move(".", "/").during(task)?;
    rustix::process::chroot(".").during(task)?;
    rustix::process::chdir("/").during(task)?;
    empty(initramfs);
    let init = if Path::new(SYSTEMD).exists() { SYSTEMD } else { INIT };
    let error = Command::new(init).arg0(INIT).env_clear().exec();
    Err(Stop::new(format_args!("starting '{init}': {error}")))
}

/// Deletes the initramfs' files: they are memory that nobody needs any more. What cannot be
/// deleted stays; that is no reason to stop.
fn empty(initramfs: OwnedFd) {
    let Ok(own) = rustix::fs::fstat(&initramfs) else { return };
    let mut folders = vec![initramfs];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = Dir::read_from(&folder) else { continue };
        for entry in entries.flatten() {
            let name = OsStr::new(std::str::from_utf8(entry.file_name().to_bytes()).unwrap_or("."));
            if name == "." || name == ".." {
                continue;
            }
            let Some(below) = open_folder(&folder, name) else {
                let _ = rustix::fs::unlinkat(&folder, name, AtFlags::empty());
                continue;
            };
            // Never into another file system: the new root is mounted here.
            if rustix::fs::fstat(&below).is_ok_and(|stat| stat.st_dev == own.st_dev) {
                folders.push(below);
            }
        }
    }
}

fn open_folder(folder: impl AsFd, name: &OsStr) -> Option<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(folder, name, flags, Mode::empty()).ok()
}
