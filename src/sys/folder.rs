// SPDX-License-Identifier: Apache-2.0
//! A folder of small files as a value, and back.
#![expect(clippy::disallowed_methods, reason = "the I/O ring")]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use anyhow::{Context as _, Result};

use crate::error::refuse_usage;

/// Bytes of one file that are read: more than any document may have, so that too much is noticed.
const FILE_MAX: u64 = (1 << 20) + 1;
const FILES_MAX: usize = 1000;
const DEPTH_MAX: usize = 8;

/// Every file below `folder` by its relative path, cut where it is longer than any document.
///
/// # Errors
/// It is no folder, a name is no text, or there is more than a source would deliver.
pub fn read(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    if !folder.is_dir() {
        return Err(refuse_usage(
            format!("there is no folder '{}'", folder.display()),
            "name the folder with what the source would deliver",
        ));
    }
    let mut files = BTreeMap::new();
    add(folder, "", 0, &mut files)?;
    Ok(files)
}

fn add(
    folder: &Path,
    prefix: &str,
    depth: usize,
    files: &mut BTreeMap<String, Vec<u8>>,
) -> Result<()> {
    if depth > DEPTH_MAX || files.len() > FILES_MAX {
        return Err(refuse_usage(
            format!(
                "'{}' is deeper than {DEPTH_MAX} folders or has more than {FILES_MAX} files",
                folder.display()
            ),
            "name the folder with what the source would deliver, and nothing else",
        ));
    }
    let task = || format!("reading folder '{}'", folder.display());
    for entry in fs::read_dir(folder).with_context(task)? {
        let entry = entry.with_context(task)?;
        let path = entry.path();
        let name = entry.file_name().into_string().map_err(|_| {
            refuse_usage(format!("the name of '{}' is no text", path.display()), "rename the file")
        })?;
        let relative = format!("{prefix}{name}");
        if path.is_dir() {
            add(&path, &format!("{relative}/"), depth + 1, files)?;
        } else {
            let mut bytes = Vec::new();
            File::open(&path)
                .and_then(|file| file.take(FILE_MAX).read_to_end(&mut bytes))
                .with_context(|| format!("reading '{}'", path.display()))?;
            files.insert(relative, bytes);
        }
    }
    Ok(())
}

/// Writes a file below `root` with its folders.
pub fn write(root: &Path, path: &str, bytes: &[u8], mode: u16) -> Result<()> {
    let target = root.join(path.trim_start_matches('/'));
    let task = || format!("writing '{}'", target.display());
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).with_context(task)?;
    }
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&target)
        .with_context(task)?;
    file.write_all(bytes).with_context(task)?;
    file.set_permissions(fs::Permissions::from_mode(u32::from(mode))).with_context(task)
}

/// Gives a finished folder its name; an empty folder there gives way.
pub fn appear(folder: &Path, target: &Path) -> Result<()> {
    let task = || format!("writing '{}'", target.display());
    match fs::remove_dir(target) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(task);
        }
        _ => {}
    }
    fs::rename(folder, target).with_context(task)
}
