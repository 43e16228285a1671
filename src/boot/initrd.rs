// SPDX-License-Identifier: Apache-2.0
//! The initramfs: kiln-init, its hand-off, its templates and the kernel modules it may need.
//!
//! It has no shell, no libc and no other program. The kernel unpacks it into a fresh tmpfs, so
//! it holds the mount points and the device nodes that exist before devtmpfs is mounted
//! (`/dev/console` gives PID 1 its standard streams).

use std::{collections::BTreeMap, io};

use kiln_contract::path;

use crate::{
    formats::cpio::{self, Node},
    tree::{Content, TreePath},
};

/// zstd level. Modules are already compressed, so this is about kiln-init: level 19 saves 6 % of
/// the initramfs and takes 18 times as long.
const LEVEL: i32 = 9;

/// Directories that kiln-init mounts something on.
const MOUNT_POINTS: [&str; 5] = ["dev", "proc", "run", "sys", "sysroot"];

/// Character devices: name, mode, major, minor (Linux `Documentation/admin-guide/devices.txt`).
const DEVICES: [(&str, u16, u32, u32); 3] =
    [("dev/console", 0o600, 5, 1), ("dev/kmsg", 0o644, 1, 11), ("dev/null", 0o666, 1, 3)];

/// What goes into an initramfs.
#[derive(Debug, Clone)]
pub struct InitrdInputs<'a> {
    /// The program `/init`.
    pub init: &'a [u8],
    /// [`kiln_contract::path::HANDOFF`].
    pub handoff_json: &'a [u8],
    /// Modules and depmod's text files (`modules.dep`, `modules.alias`, `modules.softdep`), by
    /// path below [`kiln_contract::path::INITRD_MODULES`].
    pub modules: &'a BTreeMap<String, Content>,
    /// Firmware that these modules may ask for, by the path where the kernel looks for it.
    pub firmware: &'a BTreeMap<TreePath, Content>,
    /// What first boot reads beside the hand-off, by absolute path: here it need not be verified
    /// and unpacked out of the root before anything can be decided.
    pub texts: &'a BTreeMap<TreePath, Content>,
    /// Time of every entry, seconds since 1970.
    pub epoch: u32,
}

/// Why there is no initramfs.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Archive(#[from] cpio::Error),
    #[error("reading '{path}' of the initramfs: {source}")]
    Read { path: String, source: io::Error },
    #[error("compressing the initramfs: {0}")]
    Compress(io::Error),
}

/// The compressed archive.
///
/// # Errors
/// A file cannot be read, or a module's path is no path in an initramfs.
pub fn build(inputs: &InitrdInputs) -> Result<Vec<u8>, Error> {
    let bytes = archive(inputs)?.encode()?;
    zstd::bulk::compress(&bytes, LEVEL).map_err(Error::Compress)
}

/// The archive as a value.
///
/// # Errors
/// As [`build`].
pub fn archive(inputs: &InitrdInputs) -> Result<cpio::Archive, Error> {
    let mut archive = cpio::Archive::new(inputs.epoch);
    for name in MOUNT_POINTS {
        archive.insert(name, 0o755, Node::Directory)?;
    }
    for (name, mode, major, minor) in DEVICES {
        archive.insert(name, mode, Node::CharDevice { major, minor })?;
    }
    archive.insert("init", 0o755, Node::File(inputs.init.to_vec()))?;
    let handoff = path::HANDOFF.trim_start_matches('/');
    archive.insert(handoff, 0o644, Node::File(inputs.handoff_json.to_vec()))?;
    let modules = path::INITRD_MODULES.trim_start_matches('/');
    archive.insert(modules, 0o755, Node::Directory)?;
    let modules = inputs.modules.iter().map(|(path, file)| (format!("{modules}/{path}"), file));
    let others = inputs.firmware.iter().chain(inputs.texts);
    let others = others.map(|(path, file)| (path.relative().to_owned(), file));
    for (path, content) in modules.chain(others) {
        match content.to_vec() {
            Ok(data) => archive.insert(&path, 0o644, Node::File(data))?,
            Err(source) => return Err(Error::Read { path, source }),
        }
    }
    Ok(archive)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules() -> BTreeMap<String, Content> {
        BTreeMap::from([
            ("kernel/drivers/md/dm-mod.ko.xz".into(), Content::bytes(&b"elf"[..])),
            ("modules.dep".into(), Content::bytes(&b"kernel/drivers/md/dm-mod.ko.xz:\n"[..])),
        ])
    }

    fn build_with(modules: &BTreeMap<String, Content>) -> Result<Vec<u8>, Error> {
        let path = TreePath::literal(path::OS_RELEASE);
        let texts = &BTreeMap::from([(path, Content::bytes(&b"ID=debian\n"[..]))]);
        let path = TreePath::literal("/lib/firmware/c/d.bin");
        let firmware = &BTreeMap::from([(path, Content::bytes(&b"code"[..]))]);
        let epoch = 1_700_000_000;
        build(&InitrdInputs { init: b"ELF", handoff_json: b"{}", modules, firmware, texts, epoch })
    }

    #[test]
    fn an_initramfs_holds_exactly_this() {
        let bytes = build_with(&modules()).unwrap();
        let bytes = zstd::decode_all(&bytes[..]).unwrap();
        let archive = cpio::Archive::decode(&bytes).unwrap();
        assert_eq!(archive.mtime, 1_700_000_000);
        assert_eq!(
            archive.to_string(),
            "d0755         - dev\n\
             c0600       5:1 dev/console\n\
             c0644      1:11 dev/kmsg\n\
             c0666       1:3 dev/null\n\
             -0755         3 init\n\
             d0755         - kiln\n\
             -0644         2 kiln/boot.json\n\
             d0755         - lib\n\
             d0755         - lib/firmware\n\
             d0755         - lib/firmware/c\n\
             -0644         4 lib/firmware/c/d.bin\n\
             d0755         - lib/modules\n\
             d0755         - lib/modules/kernel\n\
             d0755         - lib/modules/kernel/drivers\n\
             d0755         - lib/modules/kernel/drivers/md\n\
             -0644         3 lib/modules/kernel/drivers/md/dm-mod.ko.xz\n\
             -0644        32 lib/modules/modules.dep\n\
             d0755         - proc\n\
             d0755         - run\n\
             d0755         - sys\n\
             d0755         - sysroot\n\
             d0755         - usr\n\
             d0755         - usr/lib\n\
             -0644        10 usr/lib/os-release\n"
        );
    }

    #[test]
    fn a_module_path_that_leaves_the_folder_is_refused() {
        let modules = BTreeMap::from([("../init".into(), Content::bytes(&b""[..]))]);
        let error = build_with(&modules).unwrap_err();
        assert!(matches!(error, Error::Archive(cpio::Error::BadName { .. })), "{error}");
    }
}
