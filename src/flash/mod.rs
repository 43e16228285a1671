// SPDX-License-Identifier: Apache-2.0
//! From an image to a disk of a machine.
//!
//! [`target`] refuses what is in use and finds what would be lost. Then, here: the old partition
//! table goes first and the new one comes last, so that a disk on which anything went wrong does not
//! boot, rather than half. What is zero in the image is made zero on the disk, because a first boot
//! takes what lies behind the slots for its own. What was written is read back from the disk itself
//! before the table is written.
//!
//! The table is not the image's: it knows the disk's real end, and has a partition with the host's
//! seed, if there is one.
#![expect(clippy::disallowed_methods, reason = "the I/O ring")]

pub mod lost;
pub mod target;

use std::os::unix::fs::FileExt as _;

use anyhow::{Context as _, Result};
use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate};
use uuid::{Uuid, uuid};

use self::target::Target;
use crate::{
    digest::{Digest, Hasher},
    error::refuse,
    formats::{
        gpt::{self, BLOCK, BOOT_CODE, N_BACKUP, NO_AUTO, Partition, Table},
        volume::is_zero,
    },
    progress::Progress,
    sys::interrupt,
    tree::Content,
    units::Bytes,
};

/// Bytes that are looked at together.
const PIECE: usize = 4 << 20;
/// Where partitions begin, and what they are aligned to.
const MIB: u64 = 1 << 20;
/// "Basic data": what systemd-repart never takes for a partition of the image.
const SEED_TYPE: Uuid = uuid!("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7");
const SEED_LABEL: &str = "seed";

/// What is put on a disk.
#[derive(Debug)]
pub struct Image<'a> {
    pub content: &'a Content,
    /// What the build says of it, if that is known.
    pub digest: Option<Digest>,
    /// A FAT volume with the host's metadata.
    pub seed: Option<&'a Content>,
}

/// Writes an image to a disk.
///
/// # Errors
/// The disk is too small, the image is damaged, the disk does not keep what it is given, or
/// somebody interrupts. Unless the first, the disk does not boot then.
pub fn flash(image: &Image<'_>, target: &Target, progress: &Progress) -> Result<()> {
    let table = table(image, target.len)?;
    let encoded = table.encode().context("making the partition table")?;
    let head = head(image, &encoded.primary)?;
    forget_table(target)?;

    let mut written = write(image, target, progress)?;
    if let (Some(seed), Some(partition)) = (image.seed, table.partitions.last()) {
        let bytes = seed.to_vec().context("reading the seed")?;
        written.push(Written::put(target, &bytes, partition.first_lba * BLOCK)?);
    }
    verify(target, &written, progress)?;

    let backup = target.len - N_BACKUP * BLOCK;
    put(target, &encoded.backup, backup)?;
    sync(target)?;
    // From here on it boots.
    put(target, &head, 0)?;
    sync(target)
}

/// What lies before the first partition: the table, and around it what legacy firmware boots.
fn head(image: &Image<'_>, table: &[u8]) -> Result<Vec<u8>> {
    let mut head = vec![0; MIB as usize];
    image.content.read_exact_at(&mut head, 0).context("reading the image")?;
    head[BOOT_CODE..table.len()].copy_from_slice(&table[BOOT_CODE..]);
    Ok(head)
}

/// The image's partitions on this disk, and the seed's.
fn table(image: &Image<'_>, len: u64) -> Result<Table> {
    let task = "reading the image's partition table";
    let mut table = gpt::read(image.content).context(task)?.ok_or_else(|| {
        refuse(
            "the image has no partition table",
            "name a raw image that `kiln build` made: NAME.raw",
        )
    })?;
    table.n_blocks = len / BLOCK;
    let Some(seed) = image.seed else { return Ok(table) };
    let seed_len = seed.len().next_multiple_of(MIB);
    let first = (len - N_BACKUP * BLOCK).saturating_sub(seed_len) / MIB * MIB;
    let digest = Digest::of(&seed.to_vec().context("reading the seed")?);
    table.partitions.push(Partition {
        type_guid: SEED_TYPE,
        guid: digest.uuid("seed partition"),
        first_lba: first / BLOCK,
        n_blocks: seed_len / BLOCK,
        attributes: NO_AUTO,
        label: SEED_LABEL.to_owned(),
    });
    let needed = table.partitions.iter().rev().skip(1).map(Partition::end_lba).max().unwrap_or(0);
    if first / BLOCK < needed {
        let fact =
            format!("the disk has {} and no room for the seed's {}", Bytes(len), Bytes(seed_len));
        return Err(refuse(fact, "take a larger disk, or bring the seed by another medium"));
    }
    Ok(table)
}

/// Makes both ends of the disk zero, so that nothing finds a partition on it.
fn forget_table(target: &Target) -> Result<()> {
    let zeros = vec![0; MIB as usize];
    put(target, &zeros, 0)?;
    put(target, &zeros, target.len - MIB)?;
    sync(target)
}

/// Bytes that are on the disk.
struct Written {
    offset: u64,
    len: usize,
    digest: Digest,
}

impl Written {
    fn put(target: &Target, bytes: &[u8], offset: u64) -> Result<Self> {
        put(target, bytes, offset)?;
        Ok(Self { offset, len: bytes.len(), digest: Digest::of(bytes) })
    }
}

/// Writes what lies between the image's tables: all that is not zero.
fn write(image: &Image<'_>, target: &Target, progress: &Progress) -> Result<Vec<Written>> {
    let (name, len) = (target.path.display(), image.content.len());
    let task = progress.bytes(format!("writing {name}"), format!("wrote {name}"), Bytes(len));
    let mut item = task.item("image", len);
    let mut hasher = Hasher::new();
    let mut written = Vec::new();
    let mut buffer = vec![0; PIECE];
    let mut offset = 0;
    while offset < len {
        interrupt::check()?;
        let piece = &mut buffer[..usize::try_from(len - offset).unwrap_or(PIECE).min(PIECE)];
        image.content.read_exact_at(piece, offset).context("reading the image")?;
        hasher.update(piece);
        // In front of the first partition and behind the last there is nothing but tables.
        let inside = |border: u64| border.saturating_sub(offset).min(piece.len() as u64) as usize;
        let (from, to) = (inside(MIB), inside(len - N_BACKUP * BLOCK));
        if from < to {
            let (start, bytes) = (offset + from as u64, &piece[from..to]);
            match is_zero(bytes) {
                true => zero(target, start, bytes.len())?,
                false => written.push(Written::put(target, bytes, start)?),
            }
        }
        offset += piece.len() as u64;
        item.at(offset);
    }
    drop(item);
    task.finish();
    match image.digest {
        Some(expected) if hasher.finish() != expected => Err(refuse(
            "the image is not what SHA256SUMS beside it says",
            "copy it again, or build it again; the disk has no partition table now",
        )),
        _ => Ok(written),
    }
}

/// Reads back what was written, from the disk and not from memory.
fn verify(target: &Target, written: &[Written], progress: &Progress) -> Result<()> {
    sync(target)?;
    // What is clean leaves the page cache, so that the disk is asked.
    fadvise(&target.file, 0, None, Advice::DontNeed).context("dropping what is cached")?;
    let name = target.path.display();
    let total = written.iter().map(|written| written.len as u64).sum();
    let task =
        progress.bytes(format!("reading {name} back"), format!("read {name} back"), Bytes(total));
    let mut item = task.item("disk", total);
    let mut done = 0;
    for Written { offset, len, digest } in written {
        interrupt::check()?;
        let mut bytes = vec![0; *len];
        target
            .file
            .read_exact_at(&mut bytes, *offset)
            .with_context(|| format!("reading {name}"))?;
        if Digest::of(&bytes) != *digest {
            let fact = format!("the bytes from {offset} on are not those that were written");
            let help = "take another disk: this one does not keep what it is given";
            return Err(refuse(fact, help).context(format!("reading {name} back")));
        }
        done += *len as u64;
        item.at(done);
    }
    drop(item);
    task.finish();
    Ok(())
}

fn put(target: &Target, bytes: &[u8], offset: u64) -> Result<()> {
    let task = || format!("writing {} at {offset}", target.path.display());
    target.file.write_all_at(bytes, offset).with_context(task)
}

/// Makes a range zero, by the disk's own means if it has them.
fn zero(target: &Target, offset: u64, len: usize) -> Result<()> {
    let way = match target.is_device {
        true => FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE,
        false => FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
    };
    match fallocate(&target.file, way, offset, len as u64) {
        Ok(()) => Ok(()),
        Err(_) => put(target, &vec![0; len], offset),
    }
}

fn sync(target: &Target) -> Result<()> {
    target.file.sync_all().with_context(|| format!("writing {}", target.path.display()))
}
