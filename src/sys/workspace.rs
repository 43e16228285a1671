// SPDX-License-Identifier: Apache-2.0
//! Reads the people's files into a [`Workspace`].

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::fs::{content, open, read};
use crate::{
    diagnostic::Source,
    digest::Hasher,
    error::refuse_usage,
    workspace::{Overlay, OverlayFile, Workspace},
};

/// Larger files of overlays are hashed here and read again when the image is written.
const SMALL: u64 = 1 << 20;
/// A file that only keeps its folder in git.
const KEEP: &str = ".gitkeep";

/// Reads `cluster.yaml`, `profiles/`, `overlays/` and `addons/` of the folder `root`.
///
/// # Errors
/// A file cannot be read, is no UTF-8, or is something that an image cannot hold.
pub fn load(root: &Path) -> Result<Workspace> {
    if !root.join("cluster.yaml").exists() {
        return Err(refuse_usage(
            format!("there is no 'cluster.yaml' in '{}'", root.display()),
            "run kiln in a workspace, or name one with -C DIR",
        ));
    }
    let mut profiles = BTreeMap::new();
    for path in children(&root.join("profiles"))? {
        let name = name_of(&path)?;
        if let Some(stem) = name.strip_suffix(".yaml") {
            profiles.insert(stem.to_owned(), source(root, &format!("profiles/{name}"))?);
        } else if name.ends_with(".yml") {
            let better = format!("rename it to '{}yaml'", name.trim_end_matches("yml"));
            return Err(refuse_usage(format!("'profiles/{name}' does not end in '.yaml'"), better));
        }
    }
    let overlays = trees(&root.join("overlays"))?;
    let addons = trees(&root.join("addons"))?;
    Ok(Workspace { cluster: source(root, "cluster.yaml")?, profiles, overlays, addons })
}

/// The folders of a folder, each as a tree of files, by name.
fn trees(folder: &Path) -> Result<BTreeMap<String, Overlay>> {
    let mut trees = BTreeMap::new();
    for path in children(folder)? {
        if path.is_dir() {
            let name = name_of(&path)?;
            let mut files = BTreeMap::new();
            add_files(&path, "", &mut files)?;
            trees.insert(name.clone(), Overlay { name, files });
        }
    }
    Ok(trees)
}

/// `SOURCE_DATE_EPOCH`, if it is set.
///
/// # Errors
/// It is no number of seconds that fits 32 bits.
pub fn source_date_epoch() -> Result<Option<u32>> {
    let Some(value) = std::env::var_os("SOURCE_DATE_EPOCH").filter(|value| !value.is_empty())
    else {
        return Ok(None);
    };
    let seconds = value.to_str().and_then(|text| text.parse().ok());
    seconds.map(Some).ok_or_else(|| {
        refuse_usage(
            format!("SOURCE_DATE_EPOCH is '{}'", value.display()),
            "set it to seconds since 1970, or unset it",
        )
    })
}

/// A text file that a person wrote; messages name it by `path`, which is below `root`.
///
/// # Errors
/// It cannot be read, or is no UTF-8.
pub fn source(root: &Path, path: &str) -> Result<std::sync::Arc<Source>> {
    let bytes = read(&root.join(path))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        refuse_usage(
            format!(
                "'{path}' is no UTF-8 text: byte {} is wrong",
                error.utf8_error().valid_up_to()
            ),
            "save it as UTF-8",
        )
    })?;
    Ok(Source::new(path, text))
}

/// What is in a folder, sorted; nothing if there is no such folder.
fn children(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let task = || format!("reading folder '{}'", folder.display());
    let entries = fs::read_dir(folder).with_context(task)?;
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .with_context(task)?;
    paths.sort();
    Ok(paths)
}

fn name_of(path: &Path) -> Result<String> {
    let name = path.file_name().and_then(|name| name.to_str());
    let good = name.filter(|name| !name.chars().any(char::is_control));
    good.map(str::to_owned).ok_or_else(|| {
        refuse_usage(
            format!("the name of '{}' is no plain UTF-8 text", path.display()),
            "rename the file",
        )
    })
}

fn add_files(folder: &Path, prefix: &str, files: &mut BTreeMap<String, OverlayFile>) -> Result<()> {
    for path in children(folder)? {
        let name = name_of(&path)?;
        if name == KEEP {
            continue;
        }
        let relative = format!("{prefix}{name}");
        let task = || format!("reading '{}'", path.display());
        let metadata = fs::symlink_metadata(&path).with_context(task)?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            files.insert(relative.clone(), OverlayFile::Directory);
            add_files(&path, &format!("{relative}/"), files)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).with_context(task)?;
            let target = target.to_str().map(str::to_owned).ok_or_else(|| {
                refuse_usage(
                    format!("the target of link '{}' is no UTF-8 text", path.display()),
                    "replace the link",
                )
            })?;
            files.insert(relative, OverlayFile::Symlink(target));
        } else if kind.is_file() {
            let executable = metadata.permissions().mode() & 0o111 != 0;
            files.insert(relative, file(&path, metadata.len(), executable)?);
        } else {
            return Err(refuse_usage(
                format!("'{}' is neither file, folder nor link", path.display()),
                "remove it: devices and sockets are made on the node",
            ));
        }
    }
    Ok(())
}

fn file(path: &Path, len: u64, executable: bool) -> Result<OverlayFile> {
    if len <= SMALL {
        return Ok(OverlayFile::file(read(path)?, executable));
    }
    let mut hasher = Hasher::new();
    let mut file = open(path)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = file.read(&mut buffer).with_context(|| format!("reading '{}'", path.display()))?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
    }
    Ok(OverlayFile::File { content: content(path)?, digest: hasher.finish(), executable })
}
