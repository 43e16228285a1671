// SPDX-License-Identifier: Apache-2.0
//! Puts the system of a live medium on a disk of this machine.
//!
//! The disk is useless from the first byte to the last: its old table goes first and the new one
//! comes when everything else is on it and was read back. A machine that loses its power meanwhile
//! begins again: what it left on the disk is known by the tables that it would have written.

#![expect(unsafe_code, reason = "ioctl has no safe form for the kernel's own structures")]

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    time::Instant,
};

use kiln_contract::live::{HEAD, HEAD_LEN};
use kiln_init::{
    disk_rule::{Disk, Error, Rule},
    gpt,
};
use rustix::ioctl::{NoArg, Opcode, ioctl};

use super::{
    devices::{
        Block, Deadline, Devices, attribute, block_devices, block_names, number, partitions,
    },
    medium::is_live,
};
use crate::{
    console::say,
    error::{Result, Stop, While as _},
};

/// Seconds until a disk that does not appear stops the boot.
const WAIT: u32 = 60;
const MIB: u64 = 1 << 20;
/// linux/fs.h: `BLKRRPART`, `BLKFLSBUF`.
const READ_TABLE: Opcode = 0x125f;
const FLUSH: Opcode = 0x1261;
/// Devices that are made of others, or of memory.
const NO_DISKS: [&str; 8] = ["loop", "ram", "zram", "sr", "dm-", "md", "fd", "nbd"];

/// A disk that a rule means.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) disk: Disk,
    overwrite: bool,
}

/// The disk that the rule means, once all disks are there.
pub(super) fn chosen(devices: &mut Devices, rule: &str) -> Result<Chosen> {
    let rule = Rule::parse(rule).or_stop()?;
    let mut deadline = Deadline::after(WAIT);
    loop {
        devices.settle()?;
        match rule.choose(&disks()) {
            Err(Error::Nothing(_)) if devices.wait(&mut deadline, "a disk that fits")? => {}
            chosen => {
                let disk = chosen.or_stop()?.clone();
                return Ok(Chosen { disk, overwrite: rule.overwrite });
            }
        }
    }
}

/// Disks that can be written to. A stick that was booted, or another like it, is none of the machine's.
fn disks() -> Vec<Disk> {
    let text = |name: &str, paths: &[&str]| {
        let found = paths.iter().find_map(|path| attribute(name, path));
        String::from_utf8_lossy(&found.unwrap_or_default()).trim().to_owned()
    };
    // SPC-4, 7.8.14: four bytes before the number.
    let page = |name: &str| {
        let page = attribute(name, "device/vpd_pg80")?;
        Some(String::from_utf8_lossy(page.get(4..)?).trim().to_owned())
    };
    let is_disk = |name: &String| {
        !NO_DISKS.iter().any(|prefix| name.starts_with(prefix))
            && number(name, "partition").is_none()
            && number(name, "ro") == Some(0)
            && number(name, "hidden").unwrap_or(0) == 0
            && number(name, "size").is_some_and(|size| size > 0)
            && !is_live(name)
    };
    let names = block_names().into_iter().filter(is_disk);
    names
        .map(|name| Disk {
            // Always in units of 512 bytes.
            len: number(&name, "size").unwrap_or(0) * 512,
            model: text(&name, &["device/model", "device/name"]),
            serial: page(&name).unwrap_or_else(|| text(&name, &["serial", "device/serial"])),
            wwn: text(&name, &["wwid", "device/wwid"]),
            name,
        })
        .collect()
}

/// A disk that is written to, and that nobody else uses.
struct Target<'a> {
    disk: &'a Disk,
    file: File,
    /// Whether nothing is lost with it.
    is_free: bool,
}

impl<'a> Target<'a> {
    /// # Errors
    /// It is in use, has blocks of another size, or something on it that is not to be lost.
    fn open(chosen: &'a Chosen, tables: &gpt::Tables) -> Result<Self> {
        let disk = &chosen.disk;
        let block = number(&disk.name, "queue/logical_block_size").unwrap_or(0);
        if block != gpt::BLOCK {
            return Err(Stop::new(format_args!(
                "its blocks have {block} bytes: expected {}",
                gpt::BLOCK
            )));
        }
        let exclusively = rustix::fs::OFlags::EXCL.bits().cast_signed();
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).custom_flags(exclusively);
        let file = options.open(format!("/dev/{}", disk.name)).or_stop()?;
        let is_free = is_free(&file, disk.len, tables).or_stop()?;
        if !chosen.overwrite && !is_free {
            return Err(Stop::new(
                "there is something on it: add 'overwrite' to the rule if it may be lost",
            ));
        }
        Ok(Self { disk, file, is_free })
    }

    /// Takes away what makes a disk of it.
    fn forget(&self) -> std::io::Result<()> {
        if self.is_free {
            return Ok(());
        }
        for offset in [0, self.disk.len.saturating_sub(MIB)] {
            self.file.write_all_at(&vec![0; MIB as usize], offset)?;
        }
        self.file.sync_all()
    }

    /// Writes both tables, the one that counts last, and has the kernel read them.
    fn finish(&self, tables: &gpt::Tables) -> std::io::Result<()> {
        let backup = self.disk.len - tables.backup.len() as u64;
        self.file.write_all_at(&tables.backup, backup)?;
        self.file.sync_all()?;
        self.file.write_all_at(&tables.head, 0)?;
        self.file.sync_all()?;
        // SAFETY: the call takes no argument.
        Ok(unsafe { ioctl(&self.file, NoArg::<READ_TABLE>::new()) }?)
    }

    /// Copies a range of the medium, and compares what the disk has then.
    fn copy(&self, source: &File, from: u64, to: u64, len: u64) -> std::io::Result<()> {
        let each = |work: &mut dyn FnMut(&mut [u8], u64) -> std::io::Result<()>| {
            let mut buffer = vec![0; MIB as usize];
            (0..len).step_by(MIB as usize).try_for_each(|at| {
                let piece = &mut buffer[..(len - at).min(MIB) as usize];
                source.read_exact_at(piece, from + at)?;
                work(piece, to + at)
            })
        };
        each(&mut |piece, at| self.file.write_all_at(piece, at))?;
        self.file.sync_all()?;
        // SAFETY: the call takes no argument.
        unsafe { ioctl(&self.file, NoArg::<FLUSH>::new()) }?;
        let mut back = vec![0; MIB as usize];
        each(&mut |piece, at| {
            let back = &mut back[..piece.len()];
            self.file.read_exact_at(back, at)?;
            let is_same = back == piece;
            is_same.then_some(()).ok_or_else(|| {
                let text = format!("the MiB at {at} is not what was written");
                std::io::Error::new(std::io::ErrorKind::InvalidData, text)
            })
        })
    }
}

/// Whether there is nothing at both ends of a disk, where tables and the beginnings of file systems are,
/// but what was written of its new tables when something interrupted it.
fn is_free(file: &File, len: u64, tables: &gpt::Tables) -> std::io::Result<bool> {
    let read = |offset| {
        let mut bytes = vec![0; MIB as usize];
        file.read_exact_at(&mut bytes, offset).map(|()| bytes)
    };
    Ok(tables.cover(&read(0)?, &read(len.saturating_sub(MIB))?))
}

/// Installs the medium `source` on a disk.
pub(super) fn install(source: &str, chosen: &Chosen, what: &str) -> Result<()> {
    let disk = &chosen.disk;
    let task = format!("installing {what} on {disk}");
    let medium = File::open(format!("/dev/{source}")).during(&task)?;
    let mut head = vec![0; HEAD_LEN as usize];
    medium.read_exact_at(&mut head, HEAD).during(&task)?;
    let n_blocks = disk.len / gpt::BLOCK;
    let new = gpt::partitions(&&head[..], gpt::BLOCK, n_blocks).during(&task)?;
    let tables = gpt::fitted(head, n_blocks).during(&task)?;
    let target = Target::open(chosen, &tables).during(&task)?;
    let present = partitions(source).unwrap_or_default();

    say(format_args!("{task}"));
    let started = Instant::now();
    let mut total = 0;
    target.forget().during(&task)?;
    for partition in new {
        // A slot for updates is on no medium.
        let Some(old) = present.iter().find(|old| old.uuid == partition.uuid) else { continue };
        let len = (old.last + 1 - old.first).min(partition.last + 1 - partition.first) * gpt::BLOCK;
        target
            .copy(&medium, old.first * gpt::BLOCK, partition.first * gpt::BLOCK, len)
            .during(&task)?;
        total += len;
    }
    target.finish(&tables).during(&task)?;
    let seconds = started.elapsed().as_secs();
    say(format_args!("installed on {}: {} MiB in {seconds} s", disk.name, total >> 20));
    Ok(())
}

/// Makes one partition of an empty disk, unless it has that one already.
pub(super) fn prepare(chosen: &Chosen, partition: (&str, &str, &str)) -> Result<()> {
    let disk = &chosen.disk;
    // As the kernel sees it: it looks into no backup of a table.
    let has_it = |it: &Block| it.disk == disk.name && it.partition.as_deref() == Some(partition.1);
    if block_devices().iter().any(has_it) {
        return Ok(());
    }
    let task = format!("making the partition '{}' on {disk}", partition.2);
    let tables = gpt::alone(partition, disk.len / gpt::BLOCK).during(&task)?;
    let target = Target::open(chosen, &tables).during(&task)?;
    say(format_args!("{task}"));
    target.forget().and_then(|()| target.finish(&tables)).during(&task)
}
