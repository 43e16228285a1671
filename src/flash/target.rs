// SPDX-License-Identifier: Apache-2.0
//! The disk that is written: found, and refused if anybody uses it.
//!
//! What the kernel knows of a block device stands in `/sys/dev/block/MAJOR:MINOR` (Documentation/ABI,
//! `sysfs-block`). A regular file is a target like any other: an emulator's disk.

use std::{
    fs::{self, File, OpenOptions},
    io::{Seek as _, SeekFrom},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use rustix::fs::{OFlags, major, minor};

use crate::{error::refuse, formats::gpt::BLOCK, units::Bytes};

/// A disk that nobody uses, opened for this program alone.
#[derive(Debug)]
pub struct Target {
    pub path: PathBuf,
    pub file: File,
    /// Bytes.
    pub len: u64,
    /// Whether it is one, and no file.
    pub is_device: bool,
    /// What its maker calls it.
    pub model: Option<String>,
}

impl Target {
    /// Opens a disk that has room for `needed` bytes.
    ///
    /// # Errors
    /// It is none, is in use or read-only, is too small, or has blocks of another size.
    pub fn open(path: &Path, needed: u64) -> Result<Self> {
        let task = || format!("opening '{}'", path.display());
        // A link of /dev/disk/by-id says which disk was meant; messages say what it is.
        let path = fs::canonicalize(path).with_context(task)?;
        let metadata = fs::metadata(&path).with_context(task)?;
        let is_device = metadata.file_type().is_block_device();
        if !is_device && !metadata.is_file() {
            return Err(refuse("it is no disk", "name a disk: /dev/disk/by-id/..."))
                .with_context(task);
        }
        let mut model = None;
        if is_device {
            let numbers = format!("{}:{}", major(metadata.rdev()), minor(metadata.rdev()));
            let folder = Path::new("/sys/dev/block").join(&numbers);
            check_device(&folder).with_context(task)?;
            model = text(&folder.join("device/model"));
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        if is_device {
            // The kernel's own refusal, should a user have been missed.
            options.custom_flags(OFlags::EXCL.bits().cast_signed());
        }
        let mut file = options.open(&path).with_context(task)?;
        let len = file.seek(SeekFrom::End(0)).with_context(task)? / BLOCK * BLOCK;
        if len < needed {
            let fact = format!("it has {} ({len} bytes), the image {}", Bytes(len), Bytes(needed));
            return Err(refuse(fact, "take a larger disk, or lower 'disk.size' of the profile"))
                .with_context(task);
        }
        Ok(Self { path, file, len, is_device, model })
    }
}

/// Refuses a device that is no whole disk, or that somebody uses.
fn check_device(folder: &Path) -> Result<()> {
    if folder.join("partition").exists() {
        let disk = fs::canonicalize(folder)?;
        let disk =
            disk.parent().and_then(Path::file_name).unwrap_or_default().display().to_string();
        return Err(refuse("it is a partition", format!("name its disk: /dev/{disk}")));
    }
    if text(&folder.join("ro")).as_deref() == Some("1") {
        return Err(refuse("it is read-only", "look for a switch at its side"));
    }
    match text(&folder.join("queue/logical_block_size")) {
        Some(size) if size != BLOCK.to_string() => {
            let help = "format it with blocks of 512 bytes (nvme format, sg_format), if it can";
            return Err(refuse(format!("its blocks have {size} bytes: expected {BLOCK}"), help));
        }
        _ => {}
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    let partitions = entries(folder).into_iter().filter(|path| path.join("partition").exists());
    for part in [folder.to_owned()].into_iter().chain(partitions) {
        if let Some((fact, help)) = user(&part, &mounts, &swaps) {
            return Err(refuse(fact, help));
        }
    }
    Ok(())
}

/// Who uses a disk or a partition, and what ends that.
fn user(folder: &Path, mounts: &str, swaps: &str) -> Option<(String, String)> {
    let uevent = text(&folder.join("uevent")).unwrap_or_default();
    let name = uevent.lines().find_map(|line| line.strip_prefix("DEVNAME="))?.to_owned();
    if let Some(holder) = entries(&folder.join("holders")).first() {
        let holder = holder.file_name().unwrap_or_default().display().to_string();
        let fact = format!("'/dev/{name}' is a part of '/dev/{holder}'");
        return Some((fact, format!("stop '/dev/{holder}' first, or name another disk")));
    }
    let numbers = text(&folder.join("dev"))?;
    if let Some(place) = mounted_at(mounts, &numbers) {
        let fact = format!("'/dev/{name}' is mounted at '{place}'");
        return Some((fact, format!("umount '{place}' first, or name another disk")));
    }
    let is_swap = |line: &str| line.split_whitespace().next() == Some(&*format!("/dev/{name}"));
    swaps
        .lines()
        .any(is_swap)
        .then(|| (format!("'/dev/{name}' is swap space"), format!("swapoff '/dev/{name}' first")))
}

/// Where a device is mounted, by proc_pid_mountinfo(5).
fn mounted_at<'a>(mounts: &'a str, numbers: &str) -> Option<&'a str> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        (fields.nth(2)? == numbers).then(|| fields.nth(1))?
    })
}

/// What is in a folder, sorted; nothing if there is none.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}

/// An attribute of a device.
fn text(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n\
                          23 22 0:21 / /proc rw - proc proc rw\n";

    /// A device's folder with these attributes.
    fn device(attributes: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in attributes {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{text}\n")).unwrap();
        }
        folder
    }

    fn facts(attributes: &[(&str, &str)]) -> String {
        check_device(device(attributes).path()).unwrap_err().to_string()
    }

    #[test]
    fn a_disk_in_use_is_refused() {
        let found =
            user(device(&[("dev", "254:1"), ("uevent", "DEVNAME=vda1")]).path(), MOUNTS, "");
        assert_eq!(found.unwrap().0, "'/dev/vda1' is mounted at '/'");
        let free = device(&[("dev", "254:2"), ("uevent", "DEVNAME=vda2")]);
        assert_eq!(user(free.path(), MOUNTS, ""), None);
        let swaps = "Filename\tType\n/dev/vda2 partition 1 0 -2\n";
        assert_eq!(user(free.path(), MOUNTS, swaps).unwrap().0, "'/dev/vda2' is swap space");
        let held = device(&[("uevent", "DEVNAME=sda"), ("holders/dm-0", "")]);
        assert_eq!(user(held.path(), "", "").unwrap().0, "'/dev/sda' is a part of '/dev/dm-0'");
    }

    #[test]
    fn a_device_that_cannot_be_written_as_a_disk_is_refused() {
        assert_eq!(facts(&[("partition", "1")]), "it is a partition");
        assert_eq!(facts(&[("ro", "1")]), "it is read-only");
        let sectors = [("ro", "0"), ("queue/logical_block_size", "4096")];
        assert_eq!(facts(&sectors), "its blocks have 4096 bytes: expected 512");
    }

    #[test]
    fn a_target_has_room_for_the_image() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 20).unwrap();
        let error = Target::open(file.path(), (1 << 20) + 512).unwrap_err();
        assert_eq!(
            format!("{:#}", error.root_cause()),
            "it has 1 MiB (1048576 bytes), the image 1.0 MiB"
        );
        assert_eq!(Target::open(file.path(), 1 << 20).unwrap().len, 1 << 20);
        let folder = tempfile::tempdir().unwrap();
        let error = Target::open(folder.path(), 0).unwrap_err();
        assert_eq!(error.root_cause().to_string(), "it is no disk");
    }
}
