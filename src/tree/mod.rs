// SPDX-License-Identifier: Apache-2.0
//! The root file system as a value.
//!
//! Owners, modes, times, xattrs and hard links live here as data, never in a host folder: that
//! is what makes builds rootless, reproducible and testable. A [`Tree`] always has a root
//! directory, every entry's parent is a directory of the tree, and iteration is in path order,
//! so whatever is written from a tree is deterministic.
//!
//! File content is not held in memory: a [`Content`] is bytes or a window of a [`Source`].

mod content;
mod path;

use std::{collections::BTreeMap, sync::Arc};

pub use content::{Content, Source};
pub use path::{PathError, TreePath};

/// Names one inode of one [`Tree`]. Paths with the same id are hard links of one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InodeId(usize);

/// Owner, permissions, time and extended attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    pub uid: u32,
    pub gid: u32,
    /// Permission bits with setuid, setgid and sticky: `mode & 0o7777`.
    pub mode: u16,
    /// Seconds since 1970. Squashfs ends in 2106.
    pub mtime: u32,
    /// Full names (`security.capability`), raw values.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

impl Meta {
    /// Owned by root, no xattrs.
    pub fn new(mode: u16, mtime: u32) -> Self {
        Self { uid: 0, gid: 0, mode, mtime, xattrs: BTreeMap::new() }
    }

    /// The same with another owner.
    #[must_use]
    pub fn owned_by(mut self, uid: u32, gid: u32) -> Self {
        self.uid = uid;
        self.gid = gid;
        self
    }
}

/// What an inode is.
#[derive(Debug, Clone)]
pub enum Kind {
    Directory,
    File(Content),
    /// The target as written; not resolved, not checked.
    Symlink(String),
    CharDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
    Socket,
}

impl Kind {
    /// The noun for messages.
    pub fn noun(&self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::File(_) => "file",
            Self::Symlink(_) => "symlink",
            Self::CharDevice { .. } => "character device",
            Self::BlockDevice { .. } => "block device",
            Self::Fifo => "FIFO",
            Self::Socket => "socket",
        }
    }
}

/// Where an inode came from, for `explain` and for conflicts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A Debian package, by name.
    Package(Arc<str>),
    /// An overlay, by name.
    Overlay(Arc<str>),
    /// A `files:` entry or a key of the role's profile.
    Profile(Arc<str>),
    /// Made by Kiln; the text says by which stage.
    Kiln(&'static str),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Package(name) => write!(f, "package '{name}'"),
            Self::Overlay(name) => write!(f, "overlay '{name}'"),
            Self::Profile(name) => write!(f, "profile '{name}'"),
            Self::Kiln(stage) => write!(f, "kiln ({stage})"),
        }
    }
}

/// One object of the file system.
#[derive(Debug, Clone)]
pub struct Inode {
    pub meta: Meta,
    pub kind: Kind,
    pub origin: Origin,
}

/// Why a change to a tree is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("'{path}' has no parent directory in the tree")]
    NoParent { path: TreePath },
    #[error("'{parent}' is a {noun} of {origin}, not a directory, so it cannot hold '{path}'")]
    ParentNotDirectory { path: TreePath, parent: TreePath, noun: &'static str, origin: Origin },
    #[error("'{path}' does not exist")]
    Missing { path: TreePath },
    #[error("'{path}' is a directory and cannot have a second name")]
    HardLinkToDirectory { path: TreePath },
    #[error("'{path}' is a directory that is not empty")]
    NotEmpty { path: TreePath },
    #[error("'{path}' leads through more than {limit} symlinks")]
    SymlinkLoop { path: TreePath, limit: u32 },
}

/// A file system as a value.
#[derive(Debug, Clone)]
pub struct Tree {
    paths: BTreeMap<TreePath, InodeId>,
    inodes: Vec<Inode>,
}

/// Symlinks followed before a path counts as a loop, as in Linux (MAXSYMLINKS).
const MAX_SYMLINKS: u32 = 40;

impl Tree {
    /// A tree of a root directory, owned by root with mode 0755.
    pub fn new(mtime: u32) -> Self {
        let root = Inode {
            meta: Meta::new(0o755, mtime),
            kind: Kind::Directory,
            origin: Origin::Kiln("root directory"),
        };
        Self { paths: BTreeMap::from([(TreePath::root(), InodeId(0))]), inodes: vec![root] }
    }

    /// Puts `inode` at `path`, replacing what is there (a directory only by a directory, whose
    /// entries stay).
    ///
    /// # Errors
    /// The parent is missing or no directory; a directory that is not empty would vanish.
    pub fn insert(&mut self, path: TreePath, inode: Inode) -> Result<InodeId, Error> {
        self.check_parent(&path)?;
        if !matches!(inode.kind, Kind::Directory) && self.has_children(&path) {
            return Err(Error::NotEmpty { path });
        }
        let id = InodeId(self.inodes.len());
        self.inodes.push(inode);
        self.paths.insert(path, id);
        Ok(id)
    }

    /// Makes `path` a second name of the inode at `existing`.
    ///
    /// # Errors
    /// `existing` is missing or a directory; the parent of `path` is missing or no directory.
    pub fn hard_link(&mut self, path: TreePath, existing: &TreePath) -> Result<(), Error> {
        self.check_parent(&path)?;
        let id = self.id(existing).ok_or_else(|| Error::Missing { path: existing.clone() })?;
        if matches!(self.inode(id).kind, Kind::Directory) {
            return Err(Error::HardLinkToDirectory { path: existing.clone() });
        }
        if self.has_children(&path) {
            return Err(Error::NotEmpty { path });
        }
        self.paths.insert(path, id);
        Ok(())
    }

    /// Makes `path` and its missing parents directories of `meta`; existing ones stay as they are.
    ///
    /// # Errors
    /// A parent, or `path` itself, exists and is no directory.
    pub fn make_dirs(
        &mut self,
        path: &TreePath,
        meta: &Meta,
        origin: &Origin,
    ) -> Result<(), Error> {
        if let Some(parent) = path.parent() {
            self.make_dirs(&parent, meta, origin)?;
        }
        match self.get(path) {
            Some(inode) if matches!(inode.kind, Kind::Directory) => Ok(()),
            Some(inode) => Err(Error::ParentNotDirectory {
                path: path.clone(),
                parent: path.clone(),
                noun: inode.kind.noun(),
                origin: inode.origin.clone(),
            }),
            None => {
                let inode =
                    Inode { meta: meta.clone(), kind: Kind::Directory, origin: origin.clone() };
                self.insert(path.clone(), inode).map(drop)
            }
        }
    }

    /// Removes `path` and everything below it. The root itself stays. Returns how many entries went.
    pub fn remove(&mut self, path: &TreePath) -> usize {
        let doomed: Vec<TreePath> = self
            .subtree(path)
            .filter(|(entry, _)| !entry.is_root())
            .map(|(entry, _)| entry.clone())
            .collect();
        for entry in &doomed {
            self.paths.remove(entry);
        }
        doomed.len()
    }

    /// The inode at `path`; symlinks are not followed.
    pub fn get(&self, path: &TreePath) -> Option<&Inode> {
        self.id(path).map(|id| self.inode(id))
    }

    /// The inode at `path`, to change it. Its other names change with it.
    pub fn get_mut(&mut self, path: &TreePath) -> Option<&mut Inode> {
        let id = self.id(path)?;
        self.inodes.get_mut(id.0)
    }

    /// The id of the inode at `path`.
    pub fn id(&self, path: &TreePath) -> Option<InodeId> {
        self.paths.get(path).copied()
    }

    /// The inode of an id of this tree.
    pub fn inode(&self, id: InodeId) -> &Inode {
        &self.inodes[id.0]
    }

    /// All entries in path order, the root first, parents before their entries.
    pub fn iter(&self) -> impl Iterator<Item = (&TreePath, InodeId, &Inode)> {
        self.paths.iter().map(|(path, id)| (path, *id, self.inode(*id)))
    }

    /// `path` and everything below it, in path order.
    pub fn subtree<'a>(
        &'a self,
        path: &'a TreePath,
    ) -> impl Iterator<Item = (&'a TreePath, &'a Inode)> {
        self.paths
            .range(path.clone()..)
            .take_while(move |(entry, _)| entry.as_str().starts_with(path.as_str()))
            .filter(move |(entry, _)| entry.starts_with(path))
            .map(|(entry, id)| (entry, self.inode(*id)))
    }

    /// The direct entries of the directory `path`, in path order.
    pub fn children<'a>(
        &'a self,
        path: &'a TreePath,
    ) -> impl Iterator<Item = (&'a TreePath, &'a Inode)> {
        self.subtree(path).filter(move |(entry, _)| entry.parent().as_ref() == Some(path))
    }

    /// `path` with every symlink of its parents (and, if `follow_last`, its own) replaced by
    /// what it points to. Missing entries are kept as they are.
    ///
    /// # Errors
    /// More than 40 symlinks.
    pub fn resolve(&self, path: &TreePath, follow_last: bool) -> Result<TreePath, Error> {
        let mut pending: Vec<String> = path.components().rev().map(str::to_owned).collect();
        let mut resolved = TreePath::root();
        let mut links = 0;
        while let Some(component) = pending.pop() {
            if component == ".." {
                resolved = resolved.parent().unwrap_or_else(TreePath::root);
                continue;
            }
            let next = resolved.join_component(&component);
            let last = pending.is_empty();
            match self.get(&next).map(|inode| &inode.kind) {
                Some(Kind::Symlink(target)) if !last || follow_last => {
                    links += 1;
                    if links > MAX_SYMLINKS {
                        return Err(Error::SymlinkLoop { path: path.clone(), limit: MAX_SYMLINKS });
                    }
                    if target.starts_with('/') {
                        resolved = TreePath::root();
                    }
                    pending.extend(
                        target
                            .split('/')
                            .rev()
                            .filter(|part| !part.is_empty() && *part != ".")
                            .map(str::to_owned),
                    );
                }
                _ => resolved = next,
            }
        }
        Ok(resolved)
    }

    fn has_children(&self, path: &TreePath) -> bool {
        self.subtree(path).nth(1).is_some()
    }

    fn check_parent(&self, path: &TreePath) -> Result<(), Error> {
        let Some(parent) = path.parent() else { return Ok(()) };
        match self.get(&parent) {
            Some(inode) if matches!(inode.kind, Kind::Directory) => Ok(()),
            Some(inode) => Err(Error::ParentNotDirectory {
                path: path.clone(),
                parent,
                noun: inode.kind.noun(),
                origin: inode.origin.clone(),
            }),
            None => Err(Error::NoParent { path: path.clone() }),
        }
    }
}

#[cfg(test)]
mod tests;
