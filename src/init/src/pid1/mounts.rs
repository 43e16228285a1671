// SPDX-License-Identifier: Apache-2.0
//! What is mounted, where and how.

use std::{ffi::CStr, fs, os::fd::AsFd as _};

use kiln_contract::path::{ETC_OVERLAY, SCRATCH, SYSROOT};
use rustix::{
    io::Errno,
    mount::{MountFlags, UnmountFlags},
};

use crate::error::{Result, While as _};

const QUIET: MountFlags = MountFlags::NOSUID.union(MountFlags::NOEXEC).union(MountFlags::NODEV);
/// As systemd mounts them; it keeps what it finds mounted.
const DEV_OPTIONS: &CStr = c"mode=0755,size=4m,nr_inodes=1m";
const RUN_OPTIONS: &CStr = c"mode=0755,size=20%,nr_inodes=800k";

/// The kernel's own file systems, and standard streams if the kernel could not open them.
pub(super) fn first() -> Result<()> {
    mount("proc", "/proc", "proc", QUIET, None)?;
    mount("sysfs", "/sys", "sysfs", QUIET, None)?;
    mount("devtmpfs", "/dev", "devtmpfs", MountFlags::NOSUID, Some(DEV_OPTIONS))?;
    mount("tmpfs", "/run", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, Some(RUN_OPTIONS))?;
    standard_streams();
    Ok(())
}

/// Without `/dev/console` in the initramfs PID 1 starts with no streams, and the first files that
/// it opens would become them.
fn standard_streams() {
    if rustix::io::fcntl_getfd(std::io::stderr().as_fd()).is_ok() {
        return;
    }
    if let Ok(console) = fs::OpenOptions::new().read(true).write(true).open("/dev/console") {
        let _ = rustix::stdio::dup2_stdin(&console);
        let _ = rustix::stdio::dup2_stdout(&console);
        let _ = rustix::stdio::dup2_stderr(&console);
    }
}

/// `/etc` of the root: verified below, tmpfs above, so nothing in it survives a reboot.
pub(super) fn etc_overlay() -> Result<()> {
    for layer in ["upper", "work"] {
        let path = format!("{ETC_OVERLAY}/{layer}");
        fs::create_dir_all(&path).during(format_args!("creating '{path}'"))?;
    }
    let etc = format!("{SYSROOT}/etc");
    let options = format!("lowerdir={etc},upperdir={ETC_OVERLAY}/upper,workdir={ETC_OVERLAY}/work");
    let options = std::ffi::CString::new(options).during("mounting the overlay of /etc")?;
    mount("overlay", &etc, "overlay", MountFlags::empty(), Some(&options))
}

/// Calls `look` with the folder that a file system is mounted on, read-only, for that long.
pub(super) fn briefly<T>(
    device: &str,
    kind: &str,
    look: impl FnOnce(&str) -> Result<T>,
) -> Result<T> {
    mount(device, SCRATCH, kind, QUIET | MountFlags::RDONLY, None)?;
    let seen = look(SCRATCH);
    rustix::mount::unmount(SCRATCH, UnmountFlags::empty())
        .during(format_args!("unmounting '{device}'"))?;
    seen
}

/// Mounts, making the folder first; what is already mounted there stays.
pub(super) fn mount(
    source: &str,
    target: &str,
    kind: &str,
    flags: MountFlags,
    options: Option<&CStr>,
) -> Result<()> {
    fs::create_dir_all(target).during(format_args!("creating '{target}'"))?;
    match rustix::mount::mount(source, target, kind, flags, options) {
        Err(Errno::BUSY) if source == kind => Ok(()),
        other => other.during(format_args!("mounting {kind} '{source}' on '{target}'")),
    }
}
