// SPDX-License-Identifier: Apache-2.0
//! A folder of the host as a tree.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use kiln::tree::{Content, Inode, Kind, Meta, Origin, Source, Tree, TreePath};

/// A folder as a tree: owners, modes, times and hard links as they are, extended attributes of
/// files and folders too.
pub(crate) fn load(folder: &Path) -> Tree {
    let mut tree = Tree::new(0);
    let mut seen = BTreeMap::new();
    add(&mut tree, &mut seen, folder, &TreePath::root());
    tree
}

fn add(tree: &mut Tree, seen: &mut BTreeMap<(u64, u64), TreePath>, host: &Path, path: &TreePath) {
    let metadata = fs::symlink_metadata(host).expect("readable");
    if !metadata.is_dir() {
        let first = seen.entry((metadata.dev(), metadata.ino())).or_insert_with(|| path.clone());
        if first != path {
            tree.hard_link(path.clone(), first).expect("the first name is in the tree");
            return;
        }
    }
    tree.insert(path.clone(), inode(host, &metadata)).expect("the parent is in the tree");
    if metadata.is_dir() {
        let mut names: Vec<_> = fs::read_dir(host)
            .expect("readable")
            .map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8"))
            .collect();
        names.sort();
        for name in names {
            add(tree, seen, &host.join(&name), &path.join(&name).expect("a plain name"));
        }
    }
}

/// A file that is opened for each read, so that a large folder does not need as many open files.
struct HostFile(PathBuf);

impl Source for HostFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        fs::File::open(&self.0)?.read_exact_at(buffer, offset)
    }
}

fn inode(host: &Path, metadata: &fs::Metadata) -> Inode {
    let kind = metadata.file_type();
    let device = metadata.rdev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let kind = if kind.is_dir() {
        Kind::Directory
    } else if kind.is_file() {
        let source = Arc::new(HostFile(host.to_owned()));
        Kind::File(Content::Window { source, offset: 0, len: metadata.len() })
    } else if kind.is_symlink() {
        let target = fs::read_link(host).expect("readable");
        Kind::Symlink(target.into_os_string().into_string().expect("UTF-8"))
    } else if kind.is_char_device() {
        Kind::CharDevice { major, minor }
    } else if kind.is_block_device() {
        Kind::BlockDevice { major, minor }
    } else if kind.is_fifo() {
        Kind::Fifo
    } else {
        Kind::Socket
    };
    let mode = u16::try_from(metadata.mode() & 0o7777).expect("12 bits");
    let mtime = u32::try_from(metadata.mtime()).expect("1970 to 2106");
    let meta = Meta { xattrs: xattrs(host), ..Meta::new(mode, mtime) };
    let meta = meta.owned_by(metadata.uid(), metadata.gid());
    Inode { meta, kind, origin: Origin::Kiln("test") }
}

fn xattrs(host: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 64 << 10];
    let Ok(len) = rustix::fs::llistxattr(host, &mut names[..]) else { return BTreeMap::new() };
    names[..len]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let name = String::from_utf8(name.to_vec()).expect("UTF-8");
            let mut value = vec![0; 64 << 10];
            let len = rustix::fs::lgetxattr(host, &*name, &mut value[..]).expect("readable");
            value.truncate(len);
            (name, value)
        })
        .collect()
}
