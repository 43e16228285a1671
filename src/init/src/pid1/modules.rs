// SPDX-License-Identifier: Apache-2.0
//! Loading modules: for devices, and for the kernel when it asks.
//!
//! The kernel asks for file systems and ciphers by starting the program that
//! `/proc/sys/kernel/modprobe` names. In the initramfs that is kiln-init itself, so nothing needs
//! a list of what a mount or a dm table pulls in.

use std::{
    fs,
    path::{Path, PathBuf},
};

use kiln_contract::path::INITRD_MODULES;
use kiln_init::modules::{Modules, name_of};
use rustix::io::Errno;

use crate::{
    console::say,
    error::{Result, While as _},
};

/// `MODULE_INIT_COMPRESSED_FILE` of linux/module.h: the kernel unpacks the file.
const COMPRESSED: i32 = 4;
const HELPER: &str = "/proc/sys/kernel/modprobe";
/// What the kernel starts with; systemd's udev does not need it, iptables and others do.
const DEFAULT_HELPER: &str = "/sbin/modprobe";

/// The initramfs' modules.
#[derive(Debug, Default)]
pub(super) struct Loader {
    folder: PathBuf,
    known: Modules,
}

impl Loader {
    /// No modules at all if the folder has no index: everything is built in.
    pub(super) fn open() -> Result<Self> {
        let folder = folder();
        let read = |name: &str| match fs::read_to_string(folder.join(name)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            other => other.during(format_args!("reading '{}'", folder.join(name).display())),
        };
        let known = Modules::parse(
            &read("modules.dep")?,
            read("modules.alias")?,
            &read("modules.softdep")?,
        );
        Ok(Self { folder, known })
    }

    /// Loads what a name or alias stands for; the number of modules that were not there before.
    pub(super) fn load(&self, what: &str) -> usize {
        let mut n_loaded = 0;
        for path in self.known.files_for(what) {
            // The kernel would unpack the whole file before it sees that it has it.
            if is_live(&name_of(path)) {
                continue;
            }
            match insert(&self.folder.join(path)) {
                Ok(new) => n_loaded += usize::from(new),
                // No device for the driver, which is no fault of the boot.
                Err(Errno::NODEV | Errno::NOENT) => {}
                Err(error) => say(format_args!("warning: loading module '{path}': {error}")),
            }
        }
        n_loaded
    }
}

/// Whether a module is loaded and has started: another process may still be at it.
pub(super) fn is_live(name: &str) -> bool {
    fs::read(format!("/sys/module/{name}/initstate")).is_ok_and(|state| state == b"live\n")
}

/// Whether the module was not there before. Waits for one that another process is loading.
fn insert(path: &Path) -> std::result::Result<bool, Errno> {
    let flags = if path.extension().is_some_and(|it| it == "ko") { 0 } else { COMPRESSED };
    let file =
        fs::File::open(path).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    match rustix::system::finit_module(&file, c"", flags) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The folder itself, or the one of the only kernel below it.
fn folder() -> PathBuf {
    let top = PathBuf::from(INITRD_MODULES);
    if top.join("modules.dep").exists() {
        return top;
    }
    let below = fs::read_dir(&top).ok().and_then(|mut entries| entries.next()?.ok());
    below.map_or(top, |entry| entry.path())
}

/// Makes this program the kernel's module loader.
pub(super) fn offer_to_kernel() -> Result<()> {
    fs::write(HELPER, "/init").during("becoming the kernel's module loader")
}

pub(super) fn withdraw_from_kernel() {
    // The root may have no such program; then the kernel's request fails as it would anyway.
    let _ = fs::write(HELPER, DEFAULT_HELPER);
}

/// `kiln-init -q -- MODULE`, as the kernel calls it.
pub(crate) fn load_for_kernel(module: &str) -> Result<()> {
    Loader::open()?.load(module);
    Ok(())
}
