// SPDX-License-Identifier: Apache-2.0
//! An image as text: the superblock, each table with its place, each record in it.

use std::fmt::{self, Write as _};

use super::{
    image::{Body, Image, RawFile, RawInode, ReadError},
    record::Fields,
    superblock::{self, FLAGS, NO_TABLE, NO_XATTR, RAW_BLOCK},
};
use crate::tree::Content;

/// Describes an image, line by line, in the order of its bytes.
///
/// # Errors
/// The image cannot be read.
pub fn dump(image: &Content) -> Result<String, ReadError> {
    describe(Image::open(image)?)
}

/// The text of the tables of an image.
pub(super) fn describe(mut image: Image) -> Result<String, ReadError> {
    let mut text = String::new();
    head(&mut text, &image).expect("a string takes all text");
    let listings = inodes(&mut text, &image)?;
    directories(&mut text, &mut image, listings)?;
    tail(&mut text, &image).expect("a string takes all text");
    Ok(text)
}

fn head(text: &mut String, image: &Image) -> fmt::Result {
    let superblock = &image.superblock;
    let flags: Vec<&str> = FLAGS
        .iter()
        .filter(|(bit, _)| superblock.flags & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    writeln!(text, "0..{} superblock: squashfs 4.0, zstd", superblock::SIZE)?;
    writeln!(text, "  block size {}, modified {}", superblock.block_size, superblock.mtime)?;
    writeln!(
        text,
        "  {} inodes, {} fragments, {} ids, {} bytes used of {}",
        superblock.inodes,
        superblock.fragments,
        superblock.ids,
        superblock.bytes_used,
        image.content.len()
    )?;
    writeln!(text, "  root at {}", Place(superblock.root))?;
    writeln!(text, "  flags {}", flags.join(" "))?;
    writeln!(text, "{}..{} options and data", superblock::SIZE, superblock.inode_table)?;
    for (number, fragment) in image.fragments.iter().enumerate() {
        let (start, size) = (fragment.start, fragment.word & !RAW_BLOCK);
        let end = start.saturating_add(size.into());
        writeln!(text, "  {start}..{end} fragment {number}: {}", Word(fragment.word))?;
    }
    Ok(())
}

/// The directories found: number, place of the listing, size of the listing.
type Listings = Vec<(u32, u64, u32)>;

fn inodes(text: &mut String, image: &Image) -> Result<Listings, ReadError> {
    let table = &image.inodes;
    let mut listings = Vec::new();
    writeln!(text, "{}..{} inode table: {} bytes", table.start, table.end, table.bytes.len())
        .expect("a string takes all text");
    let mut fields = Fields::new(&table.bytes, 0);
    while !fields.is_empty() {
        let at = fields.read();
        let inode = image.inode(&mut fields)?;
        if let Body::Directory { reference, size, .. } = inode.body {
            listings.push((inode.number, reference, size));
        }
        writeln!(text, "  {at}..{} {}", fields.read(), Line(&inode))
            .expect("a string takes all text");
    }
    Ok(listings)
}

fn directories(text: &mut String, image: &mut Image, listings: Listings) -> Result<(), ReadError> {
    let table = &image.directories;
    let mut print = |line: fmt::Arguments<'_>| writeln!(text, "{line}").expect("takes all text");
    let (start, end) = (table.start, table.end);
    print(format_args!("{start}..{end} directory table: {} bytes", table.bytes.len()));
    for (number, reference, size) in listings {
        print(format_args!("  #{number}: {size} bytes at {}", Place(reference)));
        for (name, inode) in image.listing(reference, size)? {
            print(format_args!("    {} {name:?}", Place(inode)));
        }
    }
    Ok(())
}

fn tail(text: &mut String, image: &Image) -> fmt::Result {
    let superblock = &image.superblock;
    writeln!(text, "fragment table listed at {}", superblock.fragment_table)?;
    writeln!(text, "export table listed at {}", superblock.export_table)?;
    for (number, reference) in (1..).zip(&image.export) {
        writeln!(text, "  #{number} at {}", Place(*reference))?;
    }
    writeln!(text, "id table listed at {}: {:?}", superblock.id_table, image.ids)?;
    if superblock.xattr_table != NO_TABLE {
        writeln!(text, "xattr table listed at {}", superblock.xattr_table)?;
    }
    for (number, set) in image.xattrs.iter().enumerate() {
        for (name, value) in set {
            writeln!(text, "  {number}: {name} = \"{}\"", value.escape_ascii())?;
        }
    }
    let padding = image.content.len().saturating_sub(superblock.bytes_used);
    writeln!(text, "{}..{} {padding} bytes of padding", superblock.bytes_used, image.content.len())
}

/// A packed reference as block and offset.
struct Place(u64);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.0 >> 16, self.0 & 0xffff)
    }
}

/// A size word.
struct Word(u32);

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 & !RAW_BLOCK, self.0 & RAW_BLOCK != 0) {
            (0, _) => f.write_str("hole"),
            (size, true) => write!(f, "{size} raw"),
            (size, false) => write!(f, "{size}"),
        }
    }
}

struct Line<'a>(&'a RawInode);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(inode) = self;
        write!(f, "#{} ", inode.number)?;
        match &inode.body {
            Body::Directory { .. } => f.write_str("directory")?,
            Body::File(_) => f.write_str("file")?,
            Body::Symlink(_) => f.write_str("symlink")?,
            Body::Device { block: true, .. } => f.write_str("block device")?,
            Body::Device { block: false, .. } => f.write_str("character device")?,
            Body::Fifo => f.write_str("FIFO")?,
            Body::Socket => f.write_str("socket")?,
        }
        if inode.extended {
            f.write_str(" (extended)")?;
        }
        let RawInode { mode, uid, gid, mtime, links, xattr, .. } = inode;
        write!(f, " {mode:04o} {uid}:{gid} mtime {mtime} links {links}")?;
        if *xattr != NO_XATTR {
            write!(f, " xattrs {xattr}")?;
        }
        match &inode.body {
            Body::Directory { parent, .. } => write!(f, " parent #{parent}"),
            Body::File(file) => extents(f, file),
            Body::Symlink(target) => write!(f, " to {target:?}"),
            Body::Device { major, minor, .. } => write!(f, " {major}:{minor}"),
            Body::Fifo | Body::Socket => Ok(()),
        }
    }
}

fn extents(f: &mut fmt::Formatter<'_>, file: &RawFile) -> fmt::Result {
    write!(f, " size {}", file.size)?;
    if !file.blocks.is_empty() {
        let words: Vec<String> = file.blocks.iter().map(|word| Word(*word).to_string()).collect();
        write!(f, " at {} blocks [{}]", file.start, words.join(", "))?;
    }
    if file.sparse > 0 {
        write!(f, " sparse {}", file.sparse)?;
    }
    match file.fragment {
        Some((fragment, offset)) => write!(f, " fragment {fragment}+{offset}"),
        None => Ok(()),
    }
}
