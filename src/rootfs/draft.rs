// SPDX-License-Identifier: Apache-2.0
//! The tree while it is made: one place for how generated files enter it.
//!
//! A generated file replaces a package's. It never silently replaces what people wrote: if an
//! overlay or `files:` already has the path, the profile must list it under `replace`, and then
//! the people's file stays.

use std::collections::BTreeMap;

use super::Error;
use crate::{
    plan::Plan,
    tree::{Content, Inode, Kind, Meta, Origin, Tree, TreePath},
};

/// A tree on its way, with the plan that it follows.
pub(super) struct Draft<'a> {
    pub(super) tree: Tree,
    pub(super) plan: &'a Plan,
    /// Owners that are known by name only, until the accounts are.
    pub(super) owners: BTreeMap<TreePath, Owner>,
    /// Ids by name: users, groups.
    pub(super) users: BTreeMap<String, u32>,
    pub(super) groups: BTreeMap<String, u32>,
}

/// Owner and group by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) user: String,
    pub(super) group: String,
}

impl<'a> Draft<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        Self {
            tree: Tree::new(plan.epoch),
            plan,
            owners: BTreeMap::new(),
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
        }
    }

    /// Writes a generated file, mode 0644.
    pub(super) fn write(
        &mut self,
        path: &str,
        text: impl AsRef<[u8]>,
        stage: &'static str,
    ) -> Result<(), Error> {
        self.write_mode(path, 0o644, text, stage)
    }

    /// Writes a generated file.
    pub(super) fn write_mode(
        &mut self,
        path: &str,
        mode: u16,
        text: impl AsRef<[u8]>,
        stage: &'static str,
    ) -> Result<(), Error> {
        self.put_file(path, mode, Content::bytes(text.as_ref()), stage)
    }

    /// Puts a file that Kiln adds.
    pub(super) fn put_file(
        &mut self,
        path: &str,
        mode: u16,
        content: Content,
        stage: &'static str,
    ) -> Result<(), Error> {
        self.generate(path, Meta::new(mode, self.plan.epoch), Kind::File(content), stage)
    }

    /// Moves an inode to another path, where only Kiln puts anything.
    pub(super) fn put_inode(
        &mut self,
        path: &str,
        inode: Inode,
        stage: &'static str,
    ) -> Result<(), Error> {
        self.put_at(self.place(path)?, inode, stage)
    }

    /// Makes a generated symlink.
    pub(super) fn link(
        &mut self,
        path: &str,
        target: &str,
        stage: &'static str,
    ) -> Result<(), Error> {
        let meta = Meta::new(0o777, self.plan.epoch);
        self.generate(path, meta, Kind::Symlink(target.to_owned()), stage)
    }

    /// Makes a directory, if there is none.
    pub(super) fn directory(
        &mut self,
        path: &str,
        mode: u16,
        stage: &'static str,
    ) -> Result<(), Error> {
        let path = self.place(path)?;
        if let Some(parent) = path.parent() {
            self.parents(&parent, stage)?;
        }
        Ok(self.tree.make_dirs(&path, &Meta::new(mode, self.plan.epoch), &Origin::Kiln(stage))?)
    }

    fn parents(&mut self, path: &TreePath, stage: &'static str) -> Result<(), Error> {
        let meta = Meta::new(0o755, self.plan.epoch);
        Ok(self.tree.make_dirs(path, &meta, &Origin::Kiln(stage))?)
    }

    fn generate(
        &mut self,
        path: &str,
        meta: Meta,
        kind: Kind,
        stage: &'static str,
    ) -> Result<(), Error> {
        let path = self.place(path)?;
        let inode = Inode { meta, kind, origin: Origin::Kiln(stage) };
        if let Some(old) = self.tree.get(&path)
            && matches!(old.origin, Origin::Overlay(_) | Origin::Profile(_))
        {
            if self.plan.profile.replace.contains(&path) {
                return Ok(());
            }
            let help = "; remove it, or list the path under 'replace' to keep it";
            return Err(conflict(path, old, &inode, help));
        }
        self.put_at(path, inode, stage)
    }

    fn put_at(&mut self, path: TreePath, inode: Inode, stage: &'static str) -> Result<(), Error> {
        if let Some(parent) = path.parent() {
            self.parents(&parent, stage)?;
        }
        self.tree.insert(path, inode)?;
        Ok(())
    }

    /// A path with the symlinks of its parents followed.
    fn place(&self, path: &str) -> Result<TreePath, Error> {
        Ok(self.tree.resolve(&TreePath::new(path)?, false)?)
    }

    /// Whether something lies at a path, symlinks followed.
    pub(super) fn has(&self, path: &str) -> bool {
        self.find(path).is_some()
    }

    /// The inode at a path, symlinks followed.
    pub(super) fn find(&self, path: &str) -> Option<(TreePath, &Inode)> {
        let path = self.tree.resolve(&TreePath::new(path).ok()?, true).ok()?;
        let inode = self.tree.get(&path)?;
        Some((path, inode))
    }

    /// The text of a file, symlinks followed; none if there is no such file.
    pub(super) fn text(&self, path: &str) -> Result<Option<String>, Error> {
        match self.find(path) {
            Some((path, inode)) => text_of(&path, inode),
            None => Ok(None),
        }
    }

    /// Gives files their owners by name, now that the accounts are known.
    ///
    /// # Errors
    /// A name that is no account of the image.
    pub(super) fn settle_owners(&mut self) -> Result<(), Error> {
        for (path, owner) in std::mem::take(&mut self.owners) {
            let user = self.users.get(&owner.user).copied();
            let group = self.groups.get(&owner.group).copied();
            let Some(inode) = self.tree.get_mut(&path) else { continue };
            let unknown = |noun, name: &str| super::accounts::Error::Unknown {
                path: path.clone(),
                origin: inode.origin.clone(),
                noun,
                name: name.to_owned(),
            };
            let uid = user.ok_or_else(|| unknown("user", &owner.user))?;
            let gid = group.ok_or_else(|| unknown("group", &owner.group))?;
            inode.meta.uid = uid;
            inode.meta.gid = gid;
        }
        Ok(())
    }

    /// The tree, with no time later than the build's.
    pub(super) fn finish(mut self) -> Tree {
        let paths: Vec<TreePath> = self.tree.iter().map(|(path, _, _)| path.clone()).collect();
        for path in paths {
            let inode = self.tree.get_mut(&path).expect("a path of the tree");
            inode.meta.mtime = inode.meta.mtime.min(self.plan.epoch);
        }
        self.tree
    }
}

/// The text of a file inode; none if it is no file.
pub(super) fn text_of(path: &TreePath, inode: &Inode) -> Result<Option<String>, Error> {
    let Kind::File(content) = &inode.kind else { return Ok(None) };
    let bytes = bytes_of(path, inode, content)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::NotText { path: path.clone(), origin: inode.origin.clone() })?;
    Ok(Some(text))
}

/// The bytes of a file.
pub(super) fn bytes_of(
    path: &TreePath,
    inode: &Inode,
    content: &Content,
) -> Result<Vec<u8>, Error> {
    content.to_vec().map_err(|source| Error::Read {
        path: path.clone(),
        origin: inode.origin.clone(),
        source,
    })
}

/// Two origins for one path.
pub(super) fn conflict(path: TreePath, first: &Inode, second: &Inode, help: &'static str) -> Error {
    Error::Conflict {
        path,
        first: first.origin.clone(),
        first_noun: first.kind.noun(),
        second: second.origin.clone(),
        second_noun: second.kind.noun(),
        help,
    }
}
