// SPDX-License-Identifier: Apache-2.0
//! `kiln-init ssh-keys`: the machine's ssh host keys, made once and kept in `/var`.
//!
//! A key has its name only when it is whole and on the disk, so a power cut leaves it or leaves
//! none; a client that has seen a key never sees another one.

use std::{
    fs::{self, DirBuilder, File},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use kiln_contract::path::SSH;

use crate::error::{Result, Stop, While as _};

/// Key types that every client of this decade knows, as ssh-keygen spells them.
const TYPES: [&str; 2] = ["ed25519", "ecdsa"];

pub(crate) fn run() -> Result<()> {
    make_missing(Path::new(SSH), "ssh-keygen")
}

fn make_missing(folder: &Path, program: &str) -> Result<()> {
    let task = format!("making ssh host keys in '{}'", folder.display());
    DirBuilder::new().recursive(true).mode(0o700).create(folder).during(&task)?;
    for kind in TYPES {
        let name = format!("ssh_host_{kind}_key");
        // The private key is renamed last: where it is, the public one is.
        if folder.join(&name).exists() {
            continue;
        }
        let temporary = folder.join(format!(".kiln-{name}"));
        generate(&temporary, kind, program)?;
        for (from, to) in [
            (public(&temporary), folder.join(format!("{name}.pub"))),
            (temporary, folder.join(&name)),
        ] {
            File::open(&from).and_then(|file| file.sync_all()).during(&task)?;
            fs::rename(&from, &to).during(&task)?;
            File::open(folder).and_then(|folder| folder.sync_all()).during(&task)?;
        }
        println!("made '{}'", folder.join(name).display());
    }
    Ok(())
}

fn public(key: &Path) -> PathBuf {
    key.with_extension("pub")
}

fn generate(key: &Path, kind: &str, program: &str) -> Result<()> {
    let task = format!("making an ssh host key of type {kind}");
    for leftover in [key.to_owned(), public(key)] {
        match fs::remove_file(leftover) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).during(&task);
            }
            _ => {}
        }
    }
    let output = Command::new(program)
        .args(["-q", "-t", kind, "-N", "", "-C", "", "-f"])
        .arg(key)
        .stdin(Stdio::null())
        .output()
        .during(&task)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Stop::new(format_args!("{task}: {}", said.trim())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// Writes two files as ssh-keygen does.
    const KEYGEN: &str = "#!/bin/sh\nfor last; do :; done\n[ ! -e \"$last\" ] || exit 1\n\
        echo key$$ >\"$last\"\necho public >\"$last.pub\"\n";

    #[test]
    fn keys_are_made_once_and_a_half_made_one_is_made_again() {
        let scratch = tempfile::tempdir().unwrap();
        let program = scratch.path().join("keygen");
        fs::write(&program, KEYGEN).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let program = program.to_str().unwrap();
        let folder = scratch.path().join("ssh");
        // What a power cut leaves.
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(".kiln-ssh_host_ed25519_key"), "half").unwrap();
        fs::write(folder.join("ssh_host_ed25519_key.pub"), "of a key that is gone").unwrap();
        make_missing(&folder, program).unwrap();
        let key = fs::read_to_string(folder.join("ssh_host_ed25519_key")).unwrap();
        assert!(key.starts_with("key"), "{key}");
        assert_eq!(
            fs::read_to_string(folder.join("ssh_host_ed25519_key.pub")).unwrap(),
            "public\n"
        );
        make_missing(&folder, program).unwrap();
        assert_eq!(fs::read_to_string(folder.join("ssh_host_ed25519_key")).unwrap(), key);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 4);
    }

    #[test]
    fn a_generator_that_fails_is_quoted_and_leaves_no_key() {
        let scratch = tempfile::tempdir().unwrap();
        let stop = make_missing(&scratch.path().join("ssh"), "false").unwrap_err();
        assert!(stop.to_string().starts_with("making an ssh host key of type ed25519"), "{stop}");
        assert_eq!(fs::read_dir(scratch.path().join("ssh")).unwrap().count(), 0);
    }
}
