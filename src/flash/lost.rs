// SPDX-License-Identifier: Apache-2.0
//! What is on a disk, as far as a glance tells: what a person is asked about before it is gone.

use std::{io, os::unix::fs::FileExt};

use anyhow::{Context as _, Result};

use super::target::Target;
use crate::{
    formats::{
        gpt::{self, BLOCK},
        volume::is_zero,
    },
    tree::{Content, Source},
    units::Bytes,
};

/// Signatures: what it is, where, the bytes.
const SIGNATURES: [(&str, u64, &[u8]); 9] = [
    ("a LUKS volume", 0, b"LUKS\xba\xbe"),
    ("an XFS file system", 0, b"XFSB"),
    ("a squashfs file system", 0, b"hsqs"),
    ("a physical volume of LVM", 512, b"LABELONE"),
    ("a member of a RAID", 4096, b"\xfc\x4e\x2b\xa9"),
    ("an ext file system", 1080, b"\x53\xef"),
    ("swap space", 4086, b"SWAPSPACE2"),
    ("an ISO 9660 file system", 32769, b"CD001"),
    ("a btrfs file system", 65600, b"_BHRfS_M"),
];
/// Bytes at a disk's begin that are looked at.
const GLANCE: usize = 1 << 20;

/// What is on the disk, one line each; nothing if its begin is empty.
///
/// # Errors
/// The disk cannot be read.
pub fn of(target: &Target) -> Result<Vec<String>> {
    let task = || format!("reading {}", target.path.display());
    let content = Content::Window {
        source: std::sync::Arc::new(Disk(target.file.try_clone().with_context(task)?)),
        offset: 0,
        len: target.len,
    };
    let mut start = vec![0; usize::try_from(target.len).map_or(GLANCE, |len| len.min(GLANCE))];
    content.read_exact_at(&mut start, 0).with_context(task)?;
    if let Some(table) = gpt::read(&content).with_context(task)? {
        let partition = |(number, partition): (usize, &gpt::Partition)| {
            let label = match &*partition.label {
                "" => "without a label".to_owned(),
                label => format!("'{}'", label.escape_debug()),
            };
            format!("partition {number}, {label}, {}", Bytes(partition.n_blocks * BLOCK))
        };
        return Ok((1..).zip(&table.partitions).map(partition).collect());
    }
    let mut found = Vec::new();
    for (what, at, signature) in SIGNATURES {
        let at = at as usize;
        if start.get(at..at + signature.len()) == Some(signature) {
            found.push(what.to_owned());
        }
    }
    if found.is_empty() && start.get(510..512) == Some(b"\x55\xaa") {
        found.push("a boot sector, perhaps with a partition table of DOS".to_owned());
    }
    if found.is_empty() && !is_zero(&start) {
        found.push("something that is not known here".to_owned());
    }
    Ok(found)
}

struct Disk(std::fs::File);

impl Source for Disk {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(&self.0, buffer, offset)
    }
}
