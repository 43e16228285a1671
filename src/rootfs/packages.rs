// SPDX-License-Identifier: Apache-2.0
//! Packages into the tree, as dpkg would unpack them.
//!
//! Paths follow the symlinks that are already there, so a package that still ships `/lib/x`
//! lands in `/usr/lib/x`; base-files goes first because it carries those symlinks. Directories
//! merge. A file of two packages is an error, unless one of them declares that it replaces the
//! other's.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Error, Name, boot,
    draft::{Draft, Owner, conflict},
    modules::Survey,
};
use crate::{
    debian::{
        control,
        deb::{self, Entry},
        dependency,
    },
    tree::{Inode, Kind, Meta, Origin, TreePath},
};

/// A package with everything that its data archive holds.
#[derive(Debug, Clone)]
pub struct Package {
    pub name: Name,
    pub version: String,
    pub entries: Vec<Entry>,
    /// Packages whose files this one may take over (`Replaces`, names only).
    pub replaces: BTreeSet<String>,
    /// What its kernel modules say, if that was read before. None is always right, but slower.
    pub modules: Option<Arc<Survey>>,
}

impl Package {
    /// A package of its archive's members and its control text.
    ///
    /// # Errors
    /// The control text cannot be understood.
    pub fn new(entries: Vec<Entry>, control: &str) -> Result<Self, ControlError> {
        let stanza = control::single(control)?;
        let field = |name: &'static str| stanza.get(name).ok_or(ControlError::Missing(name));
        let replaces = dependency::relations(stanza.get("Replaces").unwrap_or_default())?;
        Ok(Self {
            name: field("Package")?.into(),
            version: field("Version")?.to_owned(),
            entries,
            replaces: replaces.iter().map(|relation| relation.name.to_owned()).collect(),
            modules: None,
        })
    }

    /// Bytes of all files.
    pub fn installed_len(&self) -> u64 {
        let len = |entry: &Entry| match &entry.kind {
            deb::Kind::File(content) => content.len(),
            _ => 0,
        };
        self.entries.iter().map(len).sum()
    }
}

/// Why a package's control text is refused.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error(transparent)]
    Text(#[from] control::Error),
    #[error("the field 'Replaces': {0}")]
    Replaces(#[from] dependency::Error),
    #[error("the control text has no field '{0}'")]
    Missing(&'static str),
}

/// Modes and owners that maintainer scripts set by dpkg-statoverride.
const OVERRIDES: [(&str, u16, &str, &str); 1] =
    [("/usr/lib/dbus-1.0/dbus-daemon-launch-helper", 0o4754, "root", "messagebus")];

/// The package that carries the symlinks of the merged `/usr`.
const FIRST: &str = "base-files";

/// Unpacks all packages that are installed.
pub(super) fn unpack(draft: &mut Draft<'_>, packages: &[Package]) -> Result<(), Error> {
    let mut ordered: Vec<&Package> =
        packages.iter().filter(|package| !boot::is_apart(draft.plan, package)).collect();
    ordered.sort_by_key(|package| (&*package.name != FIRST, &package.name));
    for package in &ordered {
        for entry in &package.entries {
            unpack_entry(draft, package, entry, &ordered)?;
        }
    }
    for (path, mode, user, group) in OVERRIDES {
        let path = TreePath::literal(path);
        if let Some(inode) = draft.tree.get_mut(&path) {
            inode.meta.mode = mode;
            let owner = Owner { user: user.to_owned(), group: group.to_owned() };
            draft.owners.insert(path, owner);
        }
    }
    Ok(())
}

fn unpack_entry(
    draft: &mut Draft<'_>,
    package: &Package,
    entry: &Entry,
    all: &[&Package],
) -> Result<(), Error> {
    if entry.path.is_root() {
        return Ok(());
    }
    let origin = Origin::Package(Arc::clone(&package.name));
    let path = draft.tree.resolve(&entry.path, false)?;
    if let Some(parent) = path.parent() {
        let meta = Meta::new(0o755, draft.plan.epoch);
        draft.tree.make_dirs(&parent, &meta, &origin)?;
    }
    let kind = match &entry.kind {
        deb::Kind::HardLink(target) => return hard_link(draft, &path, target, origin),
        deb::Kind::Directory => Kind::Directory,
        deb::Kind::File(content) => Kind::File(content.clone()),
        deb::Kind::Symlink(target) => Kind::Symlink(target.clone()),
        deb::Kind::CharDevice { major, minor } => Kind::CharDevice { major: *major, minor: *minor },
        deb::Kind::BlockDevice { major, minor } => {
            Kind::BlockDevice { major: *major, minor: *minor }
        }
        deb::Kind::Fifo => Kind::Fifo,
    };
    let inode = Inode { meta: entry.meta.clone(), kind, origin };
    if let Some(old) = draft.tree.get(&path) {
        match settle(draft, package, &path, old, &inode, all)? {
            Winner::Old => return Ok(()),
            Winner::New => {}
        }
    }
    note_owner(draft, &path, entry);
    draft.tree.insert(path, inode)?;
    Ok(())
}

enum Winner {
    Old,
    New,
}

/// Which of two inodes for one path stays.
fn settle(
    draft: &Draft<'_>,
    package: &Package,
    path: &TreePath,
    old: &Inode,
    new: &Inode,
    all: &[&Package],
) -> Result<Winner, Error> {
    if matches!(new.kind, Kind::Directory) {
        let target = draft.tree.resolve(path, true)?;
        let is_directory =
            draft.tree.get(&target).is_some_and(|inode| matches!(inode.kind, Kind::Directory));
        if is_directory {
            return Ok(Winner::Old);
        }
    }
    let Origin::Package(first) = &old.origin else {
        return Err(conflict(path.clone(), old, new, ""));
    };
    let older = all.iter().find(|package| package.name == *first);
    if package.replaces.contains(&**first) && !matches!(old.kind, Kind::Directory) {
        Ok(Winner::New)
    } else if older.is_some_and(|older| older.replaces.contains(&*package.name)) {
        Ok(Winner::Old)
    } else {
        Err(conflict(path.clone(), old, new, ""))
    }
}

fn hard_link(
    draft: &mut Draft<'_>,
    path: &TreePath,
    target: &TreePath,
    origin: Origin,
) -> Result<(), Error> {
    let existing = draft.tree.resolve(target, false)?;
    if draft.tree.get(&existing).is_none() {
        return Err(Error::HardLink { path: path.clone(), target: target.clone(), origin });
    }
    if let Some(old) = draft.tree.get(path) {
        let new = draft.tree.get(&existing).expect("was found above");
        return Err(conflict(path.clone(), old, &Inode { origin, ..new.clone() }, ""));
    }
    Ok(draft.tree.hard_link(path.clone(), &existing)?)
}

/// Owners other than root are ours to number: only their names count.
fn note_owner(draft: &mut Draft<'_>, path: &TreePath, entry: &Entry) {
    let named = |id: u32, name: &str| {
        if id == 0 || name.is_empty() { id.to_string() } else { name.to_owned() }
    };
    if entry.meta.uid != 0 || entry.meta.gid != 0 {
        let user = named(entry.meta.uid, &entry.owner_name);
        let group = named(entry.meta.gid, &entry.group_name);
        draft.owners.insert(path.clone(), Owner { user, group });
    }
}
