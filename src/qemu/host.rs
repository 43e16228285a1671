// SPDX-License-Identifier: Apache-2.0
//! What this machine offers to run a guest with: QEMU, UEFI firmware, and KVM if it works.
#![expect(clippy::disallowed_methods, reason = "the I/O ring")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::{Machine, Spec};
use crate::error::refuse;

/// Programs and firmware of this machine.
#[derive(Debug, Clone)]
pub struct Host {
    pub qemu: PathBuf,
    /// Major version of QEMU.
    pub version: u32,
    pub firmware: Firmware,
}

/// UEFI firmware: code that is shared, and a template of the variables that each machine changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firmware {
    pub code: PathBuf,
    pub vars: PathBuf,
}

/// How a guest's instructions are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceleration {
    Kvm,
    Tcg,
}

const PROGRAM: &str = "qemu-system-x86_64";

/// Where distributions put the firmware: code, variables.
const FIRMWARE: &[(&str, &str)] = &[
    // Debian, Ubuntu
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    // Arch
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
    // Fedora, CentOS, RHEL
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    // openSUSE
    ("/usr/share/qemu/ovmf-x86_64-4m-code.bin", "/usr/share/qemu/ovmf-x86_64-4m-vars.bin"),
    // Gentoo, older Debian
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
];

impl Host {
    /// Finds QEMU and the firmware.
    pub fn find() -> Result<Host> {
        let qemu = find_program(PROGRAM).ok_or_else(|| {
            refuse(
                format_args!("'{PROGRAM}' is not in PATH"),
                "install it: package qemu-system-x86 (Debian, Fedora) or qemu-base (Arch)",
            )
        })?;
        let version = version(&qemu)?;
        let firmware = FIRMWARE
            .iter()
            .map(|(code, vars)| Firmware { code: code.into(), vars: vars.into() })
            .find(|firmware| firmware.code.exists() && firmware.vars.exists())
            .ok_or_else(|| {
                refuse(
                    "no UEFI firmware for virtual machines is installed",
                    "install it: package ovmf (Debian) or edk2-ovmf (Fedora, Arch)",
                )
            })?;
        Ok(Host { qemu, version, firmware })
    }

    /// KVM if a guest really gets as far as its own user space with it, else emulation.
    ///
    /// `/dev/kvm` may be there and usable by name only: nested, filtered, or lacking the
    /// instructions it announces. So the image itself is the probe, once per process.
    pub fn acceleration(&self, disk: &Path) -> Acceleration {
        *PROBED.get_or_init(|| match self.boots_with_kvm(disk) {
            Ok(true) => Acceleration::Kvm,
            Ok(false) | Err(_) => Acceleration::Tcg,
        })
    }

    /// What an earlier probe of this process found.
    pub(super) fn probed(&self) -> Option<Acceleration> {
        PROBED.get().copied()
    }

    fn boots_with_kvm(&self, disk: &Path) -> Result<bool> {
        let opened = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm");
        if opened.is_err() {
            return Ok(false);
        }
        let mut machine = Machine::start_with(self, Acceleration::Kvm, &Spec::new(disk))?;
        Ok(machine.wait_for("kiln: ", KVM_PROBE).is_ok())
    }
}

static PROBED: OnceLock<Acceleration> = OnceLock::new();

/// A working KVM needs about three seconds to the first line of kiln-init.
const KVM_PROBE: Duration = Duration::from_secs(20);

/// The program's path, from `PATH`.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn version(qemu: &Path) -> Result<u32> {
    let output = Command::new(qemu)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting '{}'", qemu.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse_version(&text).ok_or_else(|| {
        refuse(
            format_args!(
                "'{} --version' names no version: '{}'",
                qemu.display(),
                text.escape_debug()
            ),
            "reinstall QEMU",
        )
    })
}

/// The major version of `QEMU emulator version 7.2.19 (Debian …)`.
fn parse_version(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("version ")?;
    rest.split(|char: char| !char.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read() {
        let text = "QEMU emulator version 7.2.19 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright (c)";
        assert_eq!(parse_version(text), Some(7));
        assert_eq!(parse_version("QEMU emulator version 10.0.2"), Some(10));
        assert_eq!(parse_version("something else"), None);
    }
}
