// SPDX-License-Identifier: Apache-2.0
//! What people lay over the packages: overlays, `files:` and `binaries:` of the profile.
//!
//! Directories merge. A later overlay wins over an earlier one, and the profile's own files over
//! overlays; a package's file gives way only if the profile lists its path under `replace`.
//! `X.tera` becomes `X` here; `etc/X.j2` becomes a template that kiln-init renders to `/etc/X`.

use std::{collections::BTreeMap, sync::Arc};

use kiln_contract::path::TEMPLATES;
use kiln_init::{
    handoff::{Phase, Template},
    template::Engine,
};

use super::{
    Error, Inputs,
    draft::{Draft, Owner, conflict},
};
use crate::{
    profile::{File, FileContent},
    template::Build,
    tree::{Content, Inode, Kind, Meta, Origin, Tree, TreePath},
    workspace::{Overlay, OverlayFile},
};

/// First-boot templates by the path of the file that they become.
pub(super) type Templates = BTreeMap<TreePath, Template>;

/// A file of an overlay that only keeps its folder in version control.
const KEEP: &str = ".gitkeep";

/// Lays everything over the draft; returns the first-boot templates, whose ids are not settled.
pub(super) fn lay(draft: &mut Draft<'_>, inputs: &Inputs<'_>) -> Result<Templates, Error> {
    let build = Build::new(&inputs.plan.cluster, &inputs.plan.profile);
    let mut layer = Layer { draft, build, templates: Templates::new() };
    for overlay in inputs.overlays {
        layer.overlay(overlay)?;
    }
    let profile = &inputs.plan.profile;
    let origin = Origin::Profile(Arc::from(&*profile.role));
    for (path, file) in &profile.files {
        layer.profile_file(path, file, &origin)?;
    }
    for (path, binary) in &profile.binaries {
        let content =
            inputs.binaries.get(path).ok_or_else(|| Error::NoBinary { path: path.clone() })?;
        let meta = Meta::new(binary.mode, inputs.plan.epoch);
        let kind = Kind::File(content.clone());
        layer.put(path, Inode { meta, kind, origin: origin.clone() })?;
    }
    for path in profile.images.keys() {
        let content =
            inputs.images.get(path).ok_or_else(|| Error::NoImage { path: path.clone() })?;
        let meta = Meta::new(0o644, inputs.plan.epoch);
        let kind = Kind::File(content.clone());
        layer.put(path, Inode { meta, kind, origin: origin.clone() })?;
    }
    Ok(layer.templates)
}

/// Copies the owners of the template files into the hand-off's templates.
pub(super) fn settle_owners(templates: &mut Templates, tree: &Tree) {
    for (target, template) in templates {
        let inode = tree.get(&template_path(target)).expect("the template was put there");
        template.uid = inode.meta.uid;
        template.gid = inode.meta.gid;
    }
}

struct Layer<'d, 'a> {
    draft: &'d mut Draft<'a>,
    build: Build,
    templates: Templates,
}

impl Layer<'_, '_> {
    fn overlay(&mut self, overlay: &Overlay) -> Result<(), Error> {
        let origin = Origin::Overlay(Arc::from(&*overlay.name));
        let epoch = self.draft.plan.epoch;
        for (relative, file) in &overlay.files {
            let path = TreePath::new(relative).map_err(|source| Error::OverlayPath {
                overlay: overlay.name.clone(),
                path: relative.clone(),
                source,
            })?;
            let (mode, kind) = match file {
                OverlayFile::Directory => (0o755, Kind::Directory),
                OverlayFile::Symlink(target) => (0o777, Kind::Symlink(target.clone())),
                OverlayFile::File { .. } if path.file_name() == KEEP => continue,
                OverlayFile::File { content, executable, .. } => {
                    (if *executable { 0o755 } else { 0o644 }, Kind::File(content.clone()))
                }
            };
            let inode = Inode { meta: Meta::new(mode, epoch), kind, origin: origin.clone() };
            match &inode.kind {
                Kind::File(_) => self.file_by_extension(path, inode)?,
                _ => self.put(&path, inode)?,
            }
        }
        Ok(())
    }

    /// A file whose name may say that it is a template.
    fn file_by_extension(&mut self, mut path: TreePath, mut inode: Inode) -> Result<(), Error> {
        if let Some(rendered) = path.as_str().strip_suffix(".tera") {
            let text = text(&path, &inode)?;
            inode.kind =
                Kind::File(self.build_template(&format!("{path} of {}", inode.origin), &text)?);
            path = TreePath::new(rendered)?;
        }
        match path.as_str().strip_suffix(".j2") {
            Some(target) => self.boot_template(TreePath::new(target)?, inode),
            None => self.put(&path, inode),
        }
    }

    fn profile_file(&mut self, path: &TreePath, file: &File, origin: &Origin) -> Result<(), Error> {
        let kind = match &file.content {
            FileContent::Directory => Kind::Directory,
            FileContent::Symlink(target) => Kind::Symlink(target.clone()),
            FileContent::Text(text) | FileContent::BootTemplate(text) => {
                Kind::File(Content::bytes(text.as_bytes()))
            }
            FileContent::BuildTemplate(text) => {
                Kind::File(self.build_template(&format!("files: {path}"), text)?)
            }
        };
        let meta = Meta::new(file.mode, self.draft.plan.epoch);
        let inode = Inode { meta: meta.clone(), kind, origin: origin.clone() };
        let place = if matches!(file.content, FileContent::BootTemplate(_)) {
            self.boot_template(path.clone(), inode)?;
            template_path(path)
        } else {
            self.put(path, inode)?;
            self.draft.tree.resolve(path, false)?
        };
        // A directory may have been there before; the profile's word on it counts.
        if matches!(file.content, FileContent::Directory)
            && let Some(directory) = self.draft.tree.get_mut(&place)
        {
            directory.meta = meta;
        }
        let owner = Owner { user: file.owner.clone(), group: file.group.clone() };
        self.draft.owners.insert(place, owner);
        Ok(())
    }

    fn build_template(&self, name: &str, text: &str) -> Result<Content, Error> {
        let text = self.build.render(name, text).map_err(Error::BuildTemplate)?;
        Ok(Content::bytes(text.into_bytes()))
    }

    /// Puts a first-boot template where kiln-init looks for it.
    fn boot_template(&mut self, target: TreePath, inode: Inode) -> Result<(), Error> {
        if !target.starts_with(&TreePath::literal("/etc")) || target.components().count() < 2 {
            return Err(Error::TemplatePlace { path: target, origin: inode.origin });
        }
        // What the template becomes must not hide a package's file by accident, and must not
        // be mistaken for it if first boot does not get that far.
        self.put(&target, inode.clone())?;
        self.draft.tree.remove(&target);
        let phase = phase(&target, &inode)?;
        let path = template_path(&target);
        let meta = Meta::new(0o755, self.draft.plan.epoch);
        if let Some(parent) = path.parent() {
            self.draft.tree.make_dirs(&parent, &meta, &inode.origin)?;
        }
        let mode = inode.meta.mode;
        self.draft.tree.insert(path, inode)?;
        let name = target.as_str().to_owned();
        self.templates.insert(target, Template { target: name, mode, uid: 0, gid: 0, phase });
        Ok(())
    }

    /// Puts an inode over what is there, if it may.
    fn put(&mut self, path: &TreePath, inode: Inode) -> Result<(), Error> {
        let path = self.draft.tree.resolve(path, false)?;
        if let Some(parent) = path.parent() {
            let meta = Meta::new(0o755, self.draft.plan.epoch);
            self.draft.tree.make_dirs(&parent, &meta, &inode.origin)?;
        }
        if let Some(old) = self.draft.tree.get(&path)
            && self.stays(&path, old, &inode)?
        {
            return Ok(());
        }
        if self.templates.remove(&path).is_some() {
            self.draft.tree.remove(&template_path(&path));
        }
        self.draft.owners.remove(&path);
        self.draft.tree.insert(path, inode)?;
        Ok(())
    }

    /// Whether what is there stays: directories merge.
    fn stays(&self, path: &TreePath, old: &Inode, new: &Inode) -> Result<bool, Error> {
        let is_directory = |inode: &Inode| matches!(inode.kind, Kind::Directory);
        if is_directory(new) {
            let target = self.draft.tree.resolve(path, true)?;
            if self.draft.tree.get(&target).is_some_and(is_directory) {
                return Ok(true);
            }
        }
        if is_directory(new) || is_directory(old) {
            return Err(conflict(path.clone(), old, new, ""));
        }
        let of_package = matches!(old.origin, Origin::Package(_));
        if of_package && !self.draft.plan.profile.replace.contains(path) {
            let help = "; list the path under 'replace' to take the latter";
            return Err(conflict(path.clone(), old, new, help));
        }
        Ok(false)
    }
}

/// Where the template of a file lies in the root.
fn template_path(target: &TreePath) -> TreePath {
    TreePath::new(&format!("{TEMPLATES}{target}.j2")).expect("two valid paths make a third")
}

fn phase(target: &TreePath, inode: &Inode) -> Result<Phase, Error> {
    let text = text(target, inode)?;
    let name = format!("{}.j2", target.relative());
    let mut engine = Engine::new();
    engine.add(&name, &text).map_err(|source| Error::BootTemplate {
        template: name.clone(),
        origin: inode.origin.clone(),
        source,
    })?;
    Ok(engine.phase(&name))
}

fn text(path: &TreePath, inode: &Inode) -> Result<String, Error> {
    Ok(super::draft::text_of(path, inode)?.expect("only files are templates"))
}
