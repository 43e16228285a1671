// SPDX-License-Identifier: Apache-2.0
//! An image as a tree again. File content is decompressed when it is read.
#![warn(clippy::arithmetic_side_effects)]

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
};

use super::{
    codec,
    image::{Body, Image, RawFile, RawInode, ReadError, Stored},
    superblock::{NO_XATTR, RAW_BLOCK},
};
use crate::tree::{Content, Inode, Kind, Meta, Origin, Source, Tree, TreePath};

/// Reads an image. Every byte is looked at with suspicion; memory stays bounded.
///
/// # Errors
/// The image is damaged, cut off, of a kind that Kiln does not write, or too large to be sane.
pub fn read(image: &Content) -> Result<Tree, ReadError> {
    walk(Image::open(image)?)
}

/// The tree that the tables of an image describe.
pub(super) fn walk(mut image: Image) -> Result<Tree, ReadError> {
    let data = Arc::new(Data {
        content: image.content.clone(),
        block_size: image.superblock.block_size,
        fragments: image.fragments.clone(),
    });
    let mut reader = Reader {
        tree: Tree::new(0),
        data,
        names: BTreeMap::new(),
        directories: BTreeSet::new(),
        pending: Vec::new(),
    };
    reader.add(&image, TreePath::root(), image.superblock.root)?;
    while let Some((path, reference, size)) = reader.pending.pop() {
        for (name, inode) in image.listing(reference, size)? {
            let wrong = ReadError::Corrupt { what: "name", offset: image.directories.start };
            let plain = !name.contains('/') && name != "." && name != "..";
            let Some(child) = path.join(&name).ok().filter(|_| plain) else { return Err(wrong) };
            image.budget.spend(child.as_str().len())?;
            if reader.tree.get(&child).is_some() {
                return Err(wrong);
            }
            reader.add(&image, child, inode)?;
        }
    }
    Ok(reader.tree)
}

struct Reader {
    tree: Tree,
    data: Arc<Data>,
    /// First name of each inode that is no directory, by reference.
    names: BTreeMap<u64, TreePath>,
    directories: BTreeSet<u64>,
    /// Directories whose listing is still to be read.
    pending: Vec<(TreePath, u64, u32)>,
}

impl Reader {
    fn add(&mut self, image: &Image, path: TreePath, reference: u64) -> Result<(), ReadError> {
        let corrupt = |what| ReadError::Corrupt { what, offset: image.inodes.start };
        if let Some(first) = self.names.get(&reference) {
            let first = first.clone();
            return self.tree.hard_link(path, &first).map_err(|_| corrupt("hard link"));
        }
        let raw = image.inode(&mut image.inodes.at(reference)?)?;
        let meta = meta(image, &raw)?;
        let kind = match raw.body {
            Body::Directory { reference: listing, size, .. } => {
                if !self.directories.insert(reference) {
                    return Err(corrupt("directory with two names"));
                }
                self.pending.push((path.clone(), listing, size));
                Kind::Directory
            }
            Body::File(file) => self.data.file(file),
            Body::Symlink(target) => Kind::Symlink(target),
            Body::Device { block: true, major, minor } => Kind::BlockDevice { major, minor },
            Body::Device { block: false, major, minor } => Kind::CharDevice { major, minor },
            Body::Fifo => Kind::Fifo,
            Body::Socket => Kind::Socket,
        };
        if path.is_root() && !matches!(kind, Kind::Directory) {
            return Err(corrupt("root directory"));
        }
        if !matches!(kind, Kind::Directory) {
            self.names.insert(reference, path.clone());
        }
        let inode = Inode { meta, kind, origin: Origin::Kiln("squashfs image") };
        self.tree.insert(path, inode).map_err(|_| corrupt("entry"))?;
        Ok(())
    }
}

fn meta(image: &Image, raw: &RawInode) -> Result<Meta, ReadError> {
    let wrong = ReadError::Corrupt { what: "extended attributes", offset: image.inodes.start };
    let xattrs = match raw.xattr {
        NO_XATTR => BTreeMap::new(),
        number => {
            let set = usize::try_from(number).ok().and_then(|number| image.xattrs.get(number));
            set.ok_or(wrong)?.clone()
        }
    };
    let meta = Meta { xattrs, ..Meta::new(raw.mode & 0o7777, raw.mtime) };
    Ok(meta.owned_by(raw.uid, raw.gid))
}

/// What files need to read their content.
struct Data {
    content: Content,
    block_size: u32,
    fragments: Vec<Stored>,
}

impl Data {
    fn file(self: &Arc<Self>, raw: RawFile) -> Kind {
        let mut at = raw.start;
        let blocks = raw.blocks.iter().map(|word| {
            let block = Stored { start: at, word: *word };
            at = at.saturating_add(u64::from(word & !RAW_BLOCK));
            block
        });
        let blocks = blocks.collect();
        let len = raw.size;
        let file = File { data: Arc::clone(self), size: len, blocks, fragment: raw.fragment };
        Kind::File(Content::Window { source: Arc::new(file), offset: 0, len })
    }

    /// Decompresses a block that holds `len` bytes, or at most a whole block.
    fn block(&self, block: Stored, len: Option<usize>) -> io::Result<Vec<u8>> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "damaged squashfs block");
        let size = self.block_size as usize;
        let stored = (block.word & !RAW_BLOCK) as usize;
        if stored == 0 {
            return len.map(|len| vec![0; len]).ok_or_else(damaged);
        }
        if stored > size {
            return Err(damaged());
        }
        let mut bytes = vec![0; stored];
        self.content.read_exact_at(&mut bytes, block.start)?;
        if block.word & RAW_BLOCK == 0 {
            bytes = codec::decompress(&bytes, size).ok_or_else(damaged)?;
        }
        if len.is_some_and(|len| len != bytes.len()) {
            return Err(damaged());
        }
        Ok(bytes)
    }
}

/// One file of an image.
struct File {
    data: Arc<Data>,
    size: u64,
    blocks: Vec<Stored>,
    fragment: Option<(u32, u32)>,
}

impl File {
    /// The bytes of the file that block `number` holds.
    fn block(&self, number: usize) -> io::Result<Vec<u8>> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "damaged squashfs file");
        let size = u64::from(self.data.block_size);
        let start = (number as u64).saturating_mul(size);
        let len =
            usize::try_from(self.size.saturating_sub(start).min(size)).map_err(|_| damaged())?;
        if let Some(block) = self.blocks.get(number) {
            return self.data.block(*block, Some(len));
        }
        let (fragment, offset) = self.fragment.ok_or_else(damaged)?;
        let fragment = self.data.fragments.get(fragment as usize).ok_or_else(damaged)?;
        let mut bytes = self.data.block(*fragment, None)?;
        let end = (offset as usize).checked_add(len).filter(|end| *end <= bytes.len());
        bytes.truncate(end.ok_or_else(damaged)?);
        bytes.drain(..offset as usize);
        Ok(bytes)
    }
}

impl Source for File {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "damaged squashfs file");
        let size = u64::from(self.data.block_size);
        let mut rest = buffer;
        let mut at = offset;
        while !rest.is_empty() {
            let number =
                usize::try_from(at.checked_div(size).unwrap_or(0)).map_err(|_| damaged())?;
            let skip = usize::try_from(at.checked_rem(size).unwrap_or(0)).map_err(|_| damaged())?;
            let block = self.block(number)?;
            let bytes = block.get(skip..).filter(|bytes| !bytes.is_empty()).ok_or_else(damaged)?;
            let len = bytes.len().min(rest.len());
            let (now, later) = std::mem::take(&mut rest).split_at_mut(len);
            now.copy_from_slice(bytes.get(..len).ok_or_else(damaged)?);
            rest = later;
            at = at.saturating_add(len as u64);
        }
        Ok(())
    }
}
