// SPDX-License-Identifier: Apache-2.0
//! The folder of certificates and keys: read whole, written file by file, closed to others.
#![expect(clippy::disallowed_methods, reason = "the I/O ring")]

use std::{
    fs::{self, DirBuilder, Permissions},
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::Path,
};

use anyhow::{Context as _, Result};

use super::{fs::list_if_present, scratch::ScratchFile};
use crate::{
    error::refuse,
    pki::{FOLDER, Material},
};

/// Everything of a certificate is far smaller.
const FILE_MAX: u64 = 1 << 20;

/// Whether a file may be there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    Refuse,
    Replace,
}

/// The certificates and keys of a workspace; nothing if it has none.
///
/// # Errors
/// A file cannot be read, or others than its owner can read a key.
pub fn read(workspace: &Path) -> Result<Material> {
    let root = workspace.join(FOLDER);
    let mut material = Material::default();
    add(&root, "", &mut material)?;
    for group in ["roles", "hosts"] {
        for folder in list_if_present(&root.join(group))? {
            if let Some(name) = folder.file_name().and_then(|name| name.to_str()) {
                add(&folder, &format!("{group}/{name}/"), &mut material)?;
            }
        }
    }
    Ok(material)
}

fn add(folder: &Path, prefix: &str, material: &mut Material) -> Result<()> {
    for path in list_if_present(folder)? {
        let known = path.extension().is_some_and(|extension| {
            ["crt", "key", "pub"].iter().any(|wanted| extension == *wanted)
        });
        let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|_| known) else {
            continue;
        };
        let shown = format!("{FOLDER}/{prefix}{name}");
        let meta = fs::metadata(&path).with_context(|| format!("reading '{shown}'"))?;
        if !meta.is_file() || meta.len() > FILE_MAX {
            return Err(refuse(
                format!("'{shown}' is no file of a certificate or key"),
                "move it elsewhere",
            ));
        }
        let mode = meta.permissions().mode() & 0o7777;
        if name.ends_with(".key") && mode & 0o077 != 0 {
            return Err(refuse(
                format!("others than its owner may use key '{shown}': its mode is {mode:04o}"),
                format!("run `chmod 600 {}`; if others could read it, replace it", path.display()),
            ));
        }
        let content = fs::read(&path).with_context(|| format!("reading '{shown}'"))?;
        material.insert(format!("{prefix}{name}"), content);
    }
    Ok(())
}

/// Makes the folder, closed to others, and keeps it out of git whatever the workspace ignores.
pub fn prepare(workspace: &Path) -> Result<()> {
    let root = workspace.join(FOLDER);
    close(&root)?;
    if !root.join(".gitignore").exists() {
        write(&root.join(".gitignore"), b"*\n", 0o644, Existing::Replace)?;
    }
    Ok(())
}

/// Makes a folder that only its owner may enter.
fn close(folder: &Path) -> Result<()> {
    let task = || format!("creating folder '{}'", folder.display());
    DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(task)?;
    fs::set_permissions(folder, Permissions::from_mode(0o700)).with_context(task)
}

/// Writes a file of the folder: keys only for their owner.
pub fn store(workspace: &Path, path: &str, content: &[u8], existing: Existing) -> Result<()> {
    let target = workspace.join(FOLDER).join(path);
    if let Some(parent) = target.parent() {
        close(parent)?;
    }
    let mode = if path.ends_with(".key") { 0o600 } else { 0o644 };
    write(&target, content, mode, existing)
}

/// Writes a file that only its owner may read, if there is none of that name.
pub fn write_secret(path: &Path, content: &[u8]) -> Result<()> {
    write(path, content, 0o600, Existing::Refuse)
}

fn write(path: &Path, content: &[u8], mode: u32, existing: Existing) -> Result<()> {
    let mut file = ScratchFile::beside_with_mode(path, mode)?;
    file.write_all(content).with_context(|| format!("writing '{}'", path.display()))?;
    match existing {
        Existing::Replace => file.publish(),
        Existing::Refuse => file.publish_new().map_err(|error| {
            let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
            if kind == Some(ErrorKind::AlreadyExists) {
                let fact = format!("'{}' exists", path.display());
                return refuse(fact, "name another file, or move that one away");
            }
            error
        }),
    }
}
