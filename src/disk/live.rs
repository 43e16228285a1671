// SPDX-License-Identifier: Apache-2.0
//! A disk that is only read: what a machine boots that keeps nothing, or that installs itself.
//!
//! It has the partitions of the real disk that hold something, packed, without slots for updates and
//! without room for `/var`; their identities are the same, so the same boot programs find them.
//! Before them lies the real disk's own head, with the table that an installation writes: see
//! [`kiln_contract::live`].

use std::{io, sync::Arc};

use anyhow::{Context as _, Result};
use kiln_contract::live::{HEAD, HEAD_LEN};
use uuid::Uuid;

use super::layout::{Area, DiskLayout};
use crate::{
    formats::{
        gpt::{BLOCK, Partition, Table},
        iso::{self, boot},
        volume::{Volume, is_zero},
    },
    tree::Content,
};

/// Where partitions begin.
const ALIGNMENT: u64 = 1 << 20;
/// Bytes of a block of an optical disc.
const DISC_BLOCK: u64 = 2048;

/// What a live medium is made of.
#[derive(Debug)]
pub struct Parts<'a> {
    /// The real disk.
    pub disk: &'a Volume,
    pub layout: &'a DiskLayout,
    pub parts: &'a [(Area, Content)],
    /// The medium's own.
    pub guid: Uuid,
}

/// A medium for the initramfs, where every byte costs memory.
///
/// # Errors
/// A part cannot be read.
pub fn in_memory(parts: &Parts<'_>) -> Result<Volume> {
    let used = parts.parts.iter().map(|(area, content)| {
        let content = match area {
            // Its end is free space.
            Area::Esp => trimmed(content)?,
            _ => content.clone(),
        };
        Ok((*area, content))
    });
    let used = used.collect::<io::Result<Vec<_>>>().context("reading the parts of the disk")?;
    lay_out(&Parts { parts: &used, ..*parts })
}

/// A medium that is an optical disc and a stick.
///
/// # Errors
/// The label is none, or the medium too large for a disc.
pub fn disc(parts: &Parts<'_>, volume: &iso::Volume) -> Result<Volume> {
    let mut disc = lay_out(parts)?;
    let in_blocks = |bytes: u64| u32::try_from(bytes / DISC_BLOCK).context("more than 8 TiB");
    // The first of the partitions.
    let esp = in_blocks(first_partition())?;
    let descriptors = boot::descriptors(volume, in_blocks(disc.len())?, esp)?;
    disc.put(boot::OFFSET, Content::bytes(descriptors))?;
    Ok(disc)
}

/// Bytes before the first partition.
const fn first_partition() -> u64 {
    HEAD + HEAD_LEN
}

fn lay_out(parts: &Parts<'_>) -> Result<Volume> {
    let mut offset = first_partition();
    let mut partitions = Vec::new();
    let mut contents = Vec::new();
    // The ESP first, which a disc's catalog names; GRUB's partition only if the disk has one.
    let grub = parts.layout.find(Area::BiosBoot).map(|extent| extent.area);
    for area in [Area::Esp, Area::Root, Area::Verity].into_iter().chain(grub) {
        let part = parts.parts.iter().find(|(other, _)| *other == area);
        let (_, content) = part.with_context(|| format!("the disk has no '{area}'"))?;
        let first = parts.layout.extent(area).offset / BLOCK;
        let known = parts.layout.table.partitions.iter().find(|it| it.first_lba == first);
        let len = content.len().next_multiple_of(ALIGNMENT);
        partitions.push(Partition {
            first_lba: offset / BLOCK,
            n_blocks: len / BLOCK,
            ..known.with_context(|| format!("the table has no '{area}'"))?.clone()
        });
        contents.push((offset, content));
        offset += len;
    }
    let len = offset + ALIGNMENT;
    let table = Table { disk_guid: parts.guid, n_blocks: len / BLOCK, partitions }.encode()?;
    let mut volume = Volume::new(len);
    volume.put(0, Content::bytes(table.primary))?;
    volume.put(len - table.backup.len() as u64, Content::bytes(table.backup))?;
    let disk = Arc::new(parts.disk.clone());
    volume.put(HEAD, Content::Window { source: disk, offset: 0, len: HEAD_LEN })?;
    for (offset, content) in contents {
        volume.put(offset, content.clone())?;
    }
    Ok(volume)
}

/// The content without the zeros at its end, in whole MiB.
fn trimmed(content: &Content) -> io::Result<Content> {
    let bytes = content.to_vec()?;
    let mut pieces = bytes.chunks(ALIGNMENT as usize);
    let n_used = pieces.rposition(|piece| !is_zero(piece)).map_or(0, |last| last + 1);
    let len = (n_used * ALIGNMENT as usize).min(bytes.len());
    Ok(Content::bytes(&bytes[..len]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        digest::Digest,
        disk::{
            layout::{Contents, lay_out as real},
            write,
        },
        formats::gpt,
        profile::Disk,
        tree::Source as _,
        units::Bytes,
    };

    const MIB: usize = 1 << 20;

    /// A disk with an ESP of 40 MiB of which two are used.
    fn made(work: impl FnOnce(&Parts<'_>)) {
        let [size, esp, root, verity] = [4096, 40, 4, 1].map(Bytes::mib);
        let layout = real(
            &Disk { size, esp, root, verity },
            &Contents {
                name: "quickstart-lb",
                version: "1",
                root_len: 3 << 20,
                verity_len: 4096,
                root_hash: &Digest::of(b""),
                plan: &Digest::of(b"plan"),
                bios: false,
            },
        )
        .unwrap();
        let mut esp = vec![0; 40 * MIB];
        esp[MIB + 5] = 1;
        let parts = [
            (Area::Esp, Content::bytes(esp)),
            (Area::Root, Content::bytes(vec![2; 3 * MIB])),
            (Area::Verity, Content::bytes(vec![3; 4096])),
        ];
        let disk = write::volume(&layout, &parts).unwrap();
        work(&Parts { disk: &disk, layout: &layout, parts: &parts, guid: Uuid::from_u128(7) });
    }

    fn read(volume: &Volume, offset: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        volume.read_exact_at(&mut bytes, offset as u64).unwrap();
        bytes
    }

    #[test]
    fn a_medium_in_memory_has_no_free_space() {
        made(|parts| {
            let medium = in_memory(parts).unwrap();
            // Table, head, ESP, root, hash tree, table.
            assert_eq!(medium.len(), (1 + 1 + 2 + 3 + 1 + 1) << 20);
            assert_eq!(read(&medium, 3 * MIB + 5, 1), [1]);
            assert_eq!(read(&medium, 4 * MIB, 3), [2; 3]);
            assert_eq!(read(&medium, 7 * MIB, 3), [3; 3]);
        });
    }

    #[test]
    fn a_medium_has_the_head_of_the_disk_that_it_installs() {
        made(|parts| {
            for medium in [in_memory(parts).unwrap(), disc(parts, &volume()).unwrap()] {
                assert_eq!(read(&medium, MIB, MIB), read(parts.disk, 0, MIB));
                assert_eq!(read(&medium, MIB + 512, 8), *b"EFI PART");
            }
        });
    }

    fn volume() -> iso::Volume {
        iso::Volume { label: "QUICKSTART_LB".into(), mtime: 0 }
    }

    #[test]
    fn a_disc_is_a_disk_with_the_same_partitions() {
        made(|parts| {
            let disc = disc(parts, &volume()).unwrap();
            let table = gpt::read(&Content::from(disc.clone())).unwrap().unwrap();
            let known = &parts.layout.table.partitions;
            let ids = |it: &[Partition]| it.iter().map(|it| it.guid).collect::<Vec<_>>();
            assert_eq!(ids(&table.partitions), ids(&known[..3]));
            assert_eq!(table.partitions[0].first_lba, 4096);
            assert_eq!(read(&disc, 32 << 10, 6), *b"\x01CD001");
        });
    }
}
