// SPDX-License-Identifier: Apache-2.0
//! File data: which bytes form which block, and the blocks compressed and written in that order.
//!
//! What is decided here, once, before anything is compressed:
//! - Files lie in path order of their first name. A file whose content is that of an earlier
//!   one takes no room.
//! - Files smaller than a block share fragments with their neighbors. The end of a larger file
//!   is a short block of its own: putting it into fragments, too, makes an image smaller by one
//!   in a thousand, and the reader of a library decompress the ends of many others.
//! - Blocks of zeros are holes.

use std::{collections::BTreeMap, io::Write};

use rayon::prelude::*;

use super::{
    BlockStore, Error, Options,
    codec::{Codec, Stored},
    superblock::RAW_BLOCK,
};
use crate::{
    digest::{Digest, Hasher},
    tree::{Content, InodeId, Kind, Tree, TreePath},
};

/// Uncompressed bytes in flight: compressed in parallel, then written in order. It bounds the
/// memory; the price of waiting for the last block of a window is about one block in a hundred.
const WINDOW: usize = 32 << 20;

/// Where the data of a tree lies.
pub(super) struct Written {
    files: Vec<FileData>,
    places: BTreeMap<InodeId, usize>,
    pub(super) fragments: Vec<Extent>,
    /// Position after the last block.
    pub(super) end: u64,
    pub(super) blocks: u64,
    pub(super) duplicates: u64,
    pub(super) cached: u64,
}

impl Written {
    /// The data of a file of the tree.
    pub(super) fn file(&self, id: InodeId) -> &FileData {
        let file = self.places.get(&id).and_then(|place| self.files.get(*place));
        file.expect("the data of every file of the tree was written")
    }
}

/// A stored block: position, and size word as the tables have it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    pub(super) start: u64,
    pub(super) word: u32,
}

/// Where the data of one file lies.
#[derive(Debug, Default)]
pub(super) struct FileData {
    pub(super) size: u64,
    /// Position of the first block; the others follow.
    pub(super) start: u64,
    /// Size word of each block; 0 is a hole.
    pub(super) blocks: Vec<u32>,
    /// Bytes in holes.
    pub(super) sparse: u64,
    /// Number of the fragment and offset in it.
    pub(super) fragment: Option<(u32, u32)>,
}

/// Writes the data of all files of `tree` to `out`, whose position in the image is `start`.
pub(super) fn write<W: Write>(
    tree: &Tree,
    options: &Options,
    codec: Codec,
    store: &dyn BlockStore,
    out: &mut W,
    start: u64,
) -> Result<Written, Error> {
    let Plan { jobs, mut written } = Plan::of(tree, options)?;
    written.end = start;
    let window = WINDOW / options.block_size as usize;
    for jobs in jobs.chunks(window) {
        let blocks: Vec<Result<Option<Stored>, Error>> =
            jobs.par_iter().with_max_len(1).map(|job| job.run(codec, store)).collect();
        for (job, block) in jobs.iter().zip(blocks) {
            written.place(job, block?, out)?;
        }
    }
    Ok(written)
}

impl Written {
    /// Writes one block and notes where it lies. None is a hole.
    fn place<W: Write>(
        &mut self,
        job: &Job<'_>,
        block: Option<Stored>,
        out: &mut W,
    ) -> Result<(), Error> {
        let start = self.end;
        let mut word = 0;
        if let Some(block) = block {
            out.write_all(&block.bytes)?;
            let len = u32::try_from(block.bytes.len()).expect("a block is at most 1 MiB");
            word = if block.raw { len | RAW_BLOCK } else { len };
            self.end += u64::from(len);
            self.blocks += 1;
            self.cached += u64::from(block.cached);
        }
        let Some(file) = job.file else {
            self.fragments.push(Extent { start, word });
            return Ok(());
        };
        let file = self.files.get_mut(file).expect("jobs are made for files of the plan");
        if file.blocks.is_empty() {
            file.start = start;
        }
        if word == 0 {
            file.sparse += job.len() as u64;
        }
        file.blocks.push(word);
        Ok(())
    }
}

/// Bytes of one file.
struct Piece<'t> {
    path: &'t TreePath,
    content: &'t Content,
    offset: u64,
    len: usize,
}

/// One block to be written: a piece of a file, or a fragment of several files.
struct Job<'t> {
    file: Option<usize>,
    pieces: Vec<Piece<'t>>,
}

impl Job<'_> {
    fn len(&self) -> usize {
        self.pieces.iter().map(|piece| piece.len).sum()
    }

    /// The block as it is stored; none if it is a hole.
    fn run(&self, codec: Codec, store: &dyn BlockStore) -> Result<Option<Stored>, Error> {
        let mut block = vec![0; self.len()];
        let mut room = &mut *block;
        for piece in &self.pieces {
            let (now, later) = room.split_at_mut(piece.len);
            piece
                .content
                .read_exact_at(now, piece.offset)
                .map_err(|source| Error::Read { path: piece.path.clone(), source })?;
            room = later;
        }
        if self.file.is_some() && is_zero(&block) {
            return Ok(None);
        }
        codec.stored(block, store).map(Some)
    }
}

/// Begins with zero, and each byte is the one before: one comparison of memory.
fn is_zero(block: &[u8]) -> bool {
    matches!(block, [0, rest @ ..] if block.starts_with(rest))
}

/// All blocks in their order, and the files they belong to.
struct Plan<'t> {
    jobs: Vec<Job<'t>>,
    written: Written,
}

impl<'t> Plan<'t> {
    fn of(tree: &'t Tree, options: &Options) -> Result<Self, Error> {
        let files = files(tree);
        let originals = originals(&files)?;
        let written = Written {
            files: Vec::new(),
            places: BTreeMap::new(),
            fragments: Vec::new(),
            end: 0,
            blocks: 0,
            duplicates: 0,
            cached: 0,
        };
        let mut plan = Self { jobs: Vec::new(), written };
        let mut fragment = Fragment::default();
        for (id, (path, content)) in files {
            let place = match originals.get(&id).and_then(|id| plan.written.places.get(id)) {
                Some(place) => {
                    plan.written.duplicates += 1;
                    *place
                }
                None => plan.add(path, content, options.block_size, &mut fragment)?,
            };
            plan.written.places.insert(id, place);
        }
        plan.close(&mut fragment);
        Ok(plan)
    }

    /// Cuts a file into blocks, or puts it into the fragment. Gives its place among the files.
    fn add(
        &mut self,
        path: &'t TreePath,
        content: &'t Content,
        block_size: u32,
        fragment: &mut Fragment<'t>,
    ) -> Result<usize, Error> {
        let place = self.written.files.len();
        let mut data = FileData { size: content.len(), ..FileData::default() };
        match u32::try_from(data.size) {
            Ok(0) => {}
            Ok(len) if len < block_size => {
                if fragment.len + len > block_size {
                    self.close(fragment);
                }
                data.fragment = Some((super::count(fragment.number, "fragments")?, fragment.len));
                fragment.pieces.push(Piece { path, content, offset: 0, len: len as usize });
                fragment.len += len;
            }
            _ => {
                let mut offset = 0;
                while offset < data.size {
                    let len = u64::from(block_size).min(data.size - offset);
                    let len = usize::try_from(len).expect("at most a block");
                    let piece = Piece { path, content, offset, len };
                    self.jobs.push(Job { file: Some(place), pieces: vec![piece] });
                    offset += len as u64;
                }
            }
        }
        self.written.files.push(data);
        Ok(place)
    }

    /// Ends the open fragment, if it holds something.
    fn close(&mut self, fragment: &mut Fragment<'t>) {
        if !fragment.pieces.is_empty() {
            let next = Fragment { number: fragment.number + 1, ..Fragment::default() };
            let full = std::mem::replace(fragment, next);
            self.jobs.push(Job { file: None, pieces: full.pieces });
        }
    }
}

/// The fragment that is being filled.
#[derive(Default)]
struct Fragment<'t> {
    number: usize,
    len: u32,
    pieces: Vec<Piece<'t>>,
}

/// The files of the tree by inode, in path order of their first names.
fn files(tree: &Tree) -> Vec<(InodeId, (&TreePath, &Content))> {
    let mut seen = std::collections::BTreeSet::new();
    tree.iter()
        .filter_map(|(path, id, inode)| match &inode.kind {
            Kind::File(content) if seen.insert(id) => Some((id, (path, content))),
            _ => None,
        })
        .collect()
}

/// For each file that is not the first with its content: the first one.
///
/// Only files of one size can be equal, so only those are read.
fn originals(
    files: &[(InodeId, (&TreePath, &Content))],
) -> Result<BTreeMap<InodeId, InodeId>, Error> {
    let mut by_size: BTreeMap<u64, u32> = BTreeMap::new();
    for (_, (_, content)) in files {
        *by_size.entry(content.len()).or_default() += 1;
    }
    let candidates: Vec<_> = files
        .iter()
        .filter(|(_, (_, content))| by_size.get(&content.len()).is_some_and(|count| *count > 1))
        .collect();
    let digests: Vec<Digest> = candidates
        .par_iter()
        .map(|(_, (path, content))| {
            digest(content).map_err(|source| Error::Read { path: (*path).clone(), source })
        })
        .collect::<Result<_, _>>()?;
    let mut first: BTreeMap<(u64, Digest), InodeId> = BTreeMap::new();
    let mut originals = BTreeMap::new();
    for ((id, (_, content)), digest) in candidates.into_iter().zip(digests) {
        let original = *first.entry((content.len(), digest)).or_insert(*id);
        if original != *id {
            originals.insert(*id, original);
        }
    }
    Ok(originals)
}

fn digest(content: &Content) -> std::io::Result<Digest> {
    const STEP: u64 = 128 << 10;
    let mut hasher = Hasher::new();
    let mut buffer = Vec::new();
    let mut offset = 0;
    while offset < content.len() {
        let step = STEP.min(content.len() - offset);
        buffer.resize(usize::try_from(step).expect("at most 128 KiB"), 0);
        content.read_exact_at(&mut buffer, offset)?;
        hasher.update(&buffer);
        offset += step;
    }
    Ok(hasher.finish())
}
