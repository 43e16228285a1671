// SPDX-License-Identifier: Apache-2.0
//! Writes a disk as a sparse file.
//!
//! Only blocks with something in them are written; the rest are holes, so a disk of many
//! gigabytes takes the space and the time of its contents. The file is not in its final place:
//! the caller writes into scratch space and renames.

use std::{os::unix::fs::FileExt as _, path::Path};

use anyhow::{Context as _, Result, ensure};

use super::layout::{Area, DiskLayout};
use crate::{
    formats::{
        gpt::BOOT_CODE,
        volume::{Volume, is_zero},
    },
    sys,
    tree::Content,
};

/// Bytes read and compared with zero together.
const PIECE: usize = 1 << 20;

/// Unit of holes: the block size of the file systems that matter.
const HOLE: usize = 4096;

/// What lies where on the disk `layout` with `parts`.
///
/// Parts that are smaller than their extent are followed by zeros; areas without a part, such
/// as the empty slots, are zero. The partition table is made from the layout; a part for the MBR
/// is the program before its table.
///
/// # Errors
/// A part does not fit its extent.
pub fn volume(layout: &DiskLayout, parts: &[(Area, Content)]) -> Result<Volume> {
    let mut table = layout.table.encode()?;
    let mut volume = Volume::new(layout.len);
    let (programs, parts): (Vec<_>, Vec<_>) =
        parts.iter().partition(|(area, _)| *area == Area::ProtectiveMbr);
    for (_, program) in programs {
        let len = program.len();
        ensure!(len <= BOOT_CODE as u64, "{len} bytes do not fit before the MBR's table");
        table.primary[..len as usize].copy_from_slice(&program.to_vec()?);
    }
    volume.put(0, Content::bytes(table.primary))?;
    volume.put(layout.extent(Area::GptBackup).offset, Content::bytes(table.backup))?;
    for (area, content) in parts {
        let extent = layout.find(*area).with_context(|| format!("the disk has no '{area}'"))?;
        ensure!(content.len() <= extent.len, "{} bytes do not fit {extent}", content.len());
        volume.put(extent.offset, content.clone())?;
    }
    Ok(volume)
}

/// Writes `volume` to the new file `out`, leaving holes where it is zero.
///
/// # Errors
/// The volume cannot be read, or the file not be written.
pub fn raw(volume: &Volume, out: &Path) -> Result<()> {
    let task = || format!("writing disk '{}'", out.display());
    let file = sys::fs::create(out)?;
    file.set_len(volume.len()).with_context(task)?;
    let put = |number, piece: Vec<u8>| {
        let offset = number * PIECE as u64;
        runs(&piece)
            .into_iter()
            .try_for_each(|(start, run)| file.write_all_at(run, offset + start as u64))
    };
    volume.grains(PIECE, Ok, put).with_context(task)?;
    file.sync_all().with_context(task)
}

/// The longest runs of blocks that are not zero, with their offsets.
fn runs(piece: &[u8]) -> Vec<(usize, &[u8])> {
    let mut runs: Vec<(usize, &[u8])> = Vec::new();
    for (index, block) in piece.chunks(HOLE).enumerate() {
        if is_zero(block) {
            continue;
        }
        let start = index * HOLE;
        match runs.last_mut() {
            Some((first, run)) if *first + run.len() == start => {
                *run = &piece[*first..start + block.len()];
            }
            _ => runs.push((start, block)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::{
        digest::Digest,
        disk::layout::{Contents, lay_out},
        profile::Disk,
        units::Bytes,
    };

    fn layout() -> DiskLayout {
        let [size, esp, root, verity] = [4096, 40, 4, 1].map(Bytes::mib);
        let contents = Contents {
            name: "quickstart-lb",
            version: "1",
            root_len: 3 << 20,
            verity_len: 4096,
            root_hash: &Digest::of(b""),
            plan: &Digest::of(b"plan"),
            bios: true,
        };
        lay_out(&Disk { size, esp, root, verity }, &contents).unwrap()
    }

    #[test]
    fn runs_are_what_is_not_zero() {
        let mut piece = vec![0; 5 * HOLE + 10];
        piece[HOLE] = 1;
        piece[2 * HOLE + 7] = 1;
        piece[5 * HOLE + 9] = 1;
        let found: Vec<_> = runs(&piece).iter().map(|(at, run)| (*at, run.len())).collect();
        assert_eq!(found, [(HOLE, 2 * HOLE), (5 * HOLE, 10)]);
    }

    #[test]
    fn a_disk_holds_its_parts_and_is_sparse() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("disk.raw");
        let mut root = vec![0; 3 << 20];
        root[5] = 1;
        *root.last_mut().unwrap() = 9;
        let parts = [(Area::Root, Content::bytes(root.clone()))];
        raw(&volume(&layout(), &parts).unwrap(), &out).unwrap();

        let file = sys::fs::open(&out).unwrap();
        let metadata = file.metadata().unwrap();
        assert_eq!(metadata.len(), 4096 << 20);
        assert!(metadata.blocks() * 512 < 1 << 20, "{} blocks", metadata.blocks());
        let mut back = vec![0; root.len()];
        file.read_exact_at(&mut back, layout().extent(Area::Root).offset).unwrap();
        assert!(back == root);
        let mut header = [0; 8];
        file.read_exact_at(&mut header, metadata.len() - 512).unwrap();
        assert_eq!(header, *b"EFI PART");
    }

    #[test]
    fn a_part_that_does_not_fit_is_refused() {
        let parts = [(Area::Verity, Content::bytes(vec![1; (1 << 20) + 1]))];
        let error = volume(&layout(), &parts).unwrap_err();
        let expected = "1048577 bytes do not fit 'verity' (blocks 94208..96256, 1 MiB)";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_program_stands_before_the_tables_of_the_first_sector() {
        let first_sector = |parts: &[(Area, Content)]| {
            let folder = tempfile::tempdir().unwrap();
            let out = folder.path().join("disk.raw");
            raw(&volume(&layout(), parts).unwrap(), &out).unwrap();
            let mut sector = vec![0; 512];
            sys::fs::open(&out).unwrap().read_exact_at(&mut sector, 0).unwrap();
            sector
        };
        let with = first_sector(&[(Area::ProtectiveMbr, Content::bytes(vec![7; 440]))]);
        let without = first_sector(&[]);
        assert_eq!((&with[..440], &with[440..]), (&[7; 440][..], &without[440..]));
        assert_eq!(without[450], 0xee);
        let parts = [(Area::ProtectiveMbr, Content::bytes(vec![7; 441]))];
        let error = volume(&layout(), &parts).unwrap_err().to_string();
        assert_eq!(error, "441 bytes do not fit before the MBR's table");
    }
}
