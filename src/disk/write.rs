// SPDX-License-Identifier: Apache-2.0
//! Writes a disk as a sparse file.
//!
//! Only blocks with something in them are written; the rest are holes, so a disk of many
//! gigabytes takes the space and the time of its contents. The file is not in its final place:
//! the caller writes into scratch space and renames.

use std::{fs::File, os::unix::fs::FileExt as _, path::Path};

use anyhow::{Context as _, Result, ensure};

use super::layout::{Area, DiskLayout};
use crate::{sys, tree::Content};

/// Bytes read and compared with zero at a time.
const PIECE: usize = 1 << 20;

/// Unit of holes: the block size of the file systems that matter.
const HOLE: usize = 4096;

/// Writes the disk `layout` with `parts` to the new file `out`.
///
/// Parts that are smaller than their extent are followed by zeros; areas without a part, such
/// as the empty slots, are zero. The partition table is written from the layout.
pub fn write(layout: &DiskLayout, parts: &[(Area, Content)], out: &Path) -> Result<()> {
    let task = || format!("writing disk '{}'", out.display());
    let table = layout.table.encode().with_context(task)?;
    let mut file = sys::fs::create(out)?;
    file.set_len(layout.len).with_context(task)?;
    put(&mut file, 0, &Content::bytes(table.primary)).with_context(task)?;
    let backup = layout.extent(Area::GptBackup).offset;
    put(&mut file, backup, &Content::bytes(table.backup)).with_context(task)?;
    for (area, content) in parts {
        let extent = layout.extent(*area);
        ensure!(content.len() <= extent.len, "{} bytes do not fit {extent}", content.len());
        put(&mut file, extent.offset, content)
            .with_context(|| format!("writing {extent} of disk '{}'", out.display()))?;
    }
    file.sync_all().with_context(task)
}

/// Copies `content` to `offset`, leaving holes where it is zero.
fn put(file: &mut File, offset: u64, content: &Content) -> Result<()> {
    let mut buffer = vec![0; PIECE];
    let mut done = 0;
    while done < content.len() {
        let n_now = usize::try_from(content.len() - done).map_or(PIECE, |left| left.min(PIECE));
        let piece = &mut buffer[..n_now];
        content.read_exact_at(piece, done)?;
        for (start, run) in runs(piece) {
            file.write_all_at(run, offset + done + start as u64)?;
        }
        done += n_now as u64;
    }
    Ok(())
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

fn is_zero(block: &[u8]) -> bool {
    let (chunks, rest) = block.as_chunks::<16>();
    chunks.iter().all(|chunk| *chunk == [0; 16]) && rest.iter().all(|byte| *byte == 0)
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
        write(&layout(), &parts, &out).unwrap();

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
        let folder = tempfile::tempdir().unwrap();
        let parts = [(Area::Verity, Content::bytes(vec![1; (1 << 20) + 1]))];
        let error = write(&layout(), &parts, &folder.path().join("disk.raw")).unwrap_err();
        let expected = "1048577 bytes do not fit 'verity' (blocks 92160..94208, 1 MiB)";
        assert_eq!(error.to_string(), expected);
    }
}
