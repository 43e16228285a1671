// SPDX-License-Identifier: Apache-2.0
//! Directories with their entries, inode numbers and link counts: what the tables need to know
//! of a tree before the first of them can be written.

use std::collections::BTreeMap;

use super::Error;
use crate::tree::{InodeId, Kind, Tree, TreePath};

pub(super) struct Index<'t> {
    /// Deepest first, so that everything below a directory is written before it; the root last.
    pub(super) directories: Vec<Directory<'t>>,
    nodes: BTreeMap<InodeId, Node>,
}

pub(super) struct Directory<'t> {
    pub(super) path: &'t TreePath,
    pub(super) id: InodeId,
    /// Number of the directory above; of the root, one after the last.
    pub(super) parent: u32,
    /// In order of the names' bytes.
    pub(super) entries: Vec<Entry<'t>>,
}

pub(super) struct Entry<'t> {
    pub(super) path: &'t TreePath,
    pub(super) id: InodeId,
}

/// What is counted about an inode.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Node {
    /// From 1, in the order in which the inodes are written.
    pub(super) number: u32,
    pub(super) links: u32,
}

impl<'t> Index<'t> {
    pub(super) fn of(tree: &'t Tree) -> Result<Self, Error> {
        let (mut directories, above) = group(tree);
        directories.reverse();
        let nodes = number(tree, &directories)?;
        let root = super::count(nodes.len() + 1, "inodes")?;
        for directory in &mut directories {
            let parent = above.get(&directory.id).and_then(|parent| nodes.get(parent));
            directory.parent = parent.map_or(root, |node| node.number);
        }
        Ok(Self { directories, nodes })
    }

    pub(super) fn node(&self, id: InodeId) -> Node {
        *self.nodes.get(&id).expect("the index was made of this tree")
    }
}

/// Directories in path order with their entries, and the directory above each directory.
fn group(tree: &Tree) -> (Vec<Directory<'_>>, BTreeMap<InodeId, InodeId>) {
    let mut directories: Vec<Directory<'_>> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut above = BTreeMap::new();
    for (path, id, inode) in tree.iter() {
        let is_directory = matches!(inode.kind, Kind::Directory);
        if !path.is_root() {
            let (parent, _) = path.as_str().rsplit_once('/').expect("a path begins with '/'");
            let place = places.get(if parent.is_empty() { "/" } else { parent });
            let parent = place.and_then(|place| directories.get_mut(*place));
            let parent = parent.expect("every entry's parent is a directory of the tree");
            parent.entries.push(Entry { path, id });
            if is_directory {
                above.insert(id, parent.id);
            }
        }
        if is_directory {
            places.insert(path.as_str(), directories.len());
            directories.push(Directory { path, id, parent: 0, entries: Vec::new() });
        }
    }
    (directories, above)
}

/// Numbers inodes in the order in which they are written: of each directory first its entries
/// that are no directories, so that they lie together, then the directory.
fn number(tree: &Tree, directories: &[Directory<'_>]) -> Result<BTreeMap<InodeId, Node>, Error> {
    let mut nodes: BTreeMap<InodeId, Node> = BTreeMap::new();
    for directory in directories {
        let mut subdirectories = 0;
        for entry in &directory.entries {
            if matches!(tree.inode(entry.id).kind, Kind::Directory) {
                subdirectories += 1;
                continue;
            }
            let next = super::count(nodes.len() + 1, "inodes")?;
            let node = nodes.entry(entry.id).or_insert(Node { number: next, links: 0 });
            node.links += 1;
        }
        let number = super::count(nodes.len() + 1, "inodes")?;
        nodes.insert(directory.id, Node { number, links: 2 + subdirectories });
    }
    Ok(nodes)
}
