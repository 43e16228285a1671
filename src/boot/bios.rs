// SPDX-License-Identifier: Apache-2.0
//! Legacy firmware: GRUB starts what UEFI starts.
//!
//! ```text
//! MBR -> core image in GRUB's partition -> loader/grub.cfg on the ESP -> the UKI's own sections
//! ```
//!
//! Kernel, microcode and initramfs lie in the UKI at whole sectors, and GRUB reads them there, through
//! the ESP's file system: there is no second copy that could differ, and an update that brings
//! another UKI brings another `grub.cfg`. Nothing is asked and nobody can ask: there is no menu,
//! whatever fails ends in a restart, and GRUB's shell, if it came to that, has no user who may use it.

use std::collections::BTreeMap;

use crate::{
    formats::{
        grub::{self, Core},
        pe::{self, Image},
    },
    tree::Content,
};

/// What GRUB must know: disks by firmware, our partitions, the ESP, a UKI as a disk, how to start a
/// kernel; and to say on consoles why it does not.
const MODULES: [&str; 12] = [
    "biosdisk",
    "part_gpt",
    "fat",
    "normal",
    "configfile",
    "loopback",
    "linux",
    "terminal",
    "serial",
    "echo",
    "sleep",
    "reboot",
];

/// The folder of `grub.cfg`, on the first partition of the disk that was booted.
const PREFIX: &str = "(,gpt1)/loader";

/// Where the ESP has what GRUB does.
pub const CONFIG: &str = "loader/grub.cfg";

/// Users who may use the shell, of whom there are none, and then the configuration. It returns if
/// it could not boot. A machine that cannot boot tries again, as after a panic of the kernel.
const SCRIPT: &str = "set superusers=\n\
    export superusers\n\
    source $prefix/grub.cfg\n\
    echo 'kiln: GRUB could not start what loader/grub.cfg names; trying again'\n\
    sleep 10\n\
    reboot\n";

/// Sections of a UKI that GRUB hands to the kernel, in the order in which it takes them.
const KERNEL: &str = ".linux";
const INITRD: [&str; 2] = [".ucode", ".initrd"];

/// Bytes per block that GRUB counts in.
const BLOCK: u32 = 512;

/// Why legacy firmware cannot boot the image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Grub(#[from] grub::Error),
    #[error("the unified kernel image: {0}")]
    Uki(#[from] pe::Error),
    #[error("the unified kernel image has no section '{0}' at whole blocks")]
    Section(&'static str),
    #[error("GRUB would change the kernel's argument '{0}'")]
    Argument(String),
}

/// The two programs that firmware and the first of them load.
#[derive(Debug)]
pub struct Programs {
    /// The beginning of the disk.
    pub boot_code: Content,
    /// The beginning of GRUB's partition.
    pub core: Content,
}

/// GRUB for a disk whose partition for it begins at block `first_lba`.
///
/// # Errors
/// The files are incomplete or of a form that is not known.
pub fn programs(files: &BTreeMap<String, Content>, first_lba: u64) -> Result<Programs, Error> {
    let core = Core { files, modules: &MODULES, script: SCRIPT, prefix: PREFIX };
    Ok(Programs {
        boot_code: Content::bytes(grub::boot_code(files, first_lba)?),
        core: Content::bytes(core.encode(first_lba)?),
    })
}

/// `grub.cfg`: starts the UKI `EFI/Linux/NAME` with its own command line.
///
/// # Errors
/// The UKI lacks a section, or GRUB would change an argument.
pub fn config(name: &str, uki: &[u8], command_line: &str) -> Result<String, Error> {
    let image = Image::decode(uki)?;
    let kernel = blocks(&image, KERNEL)?;
    let is_there = |name: &&str| image.section(name).is_some();
    let initrd = INITRD.into_iter().filter(is_there).map(|name| blocks(&image, name));
    let initrd = initrd.collect::<Result<Vec<_>, _>>()?.join(" ");
    if initrd.is_empty() {
        return Err(Error::Section(INITRD[1]));
    }
    let arguments = command_line.split(' ').map(quoted).collect::<Result<Vec<_>, _>>()?.join(" ");
    let name = quoted(name)?;
    let console = command_line.split(' ').rev().find_map(serial_console).unwrap_or_default();
    Ok(format!(
        "# Written by kiln: how legacy firmware starts {name}.\n\
         {console}\
         set gfxpayload=text\n\
         if loopback kiln /EFI/Linux/{name}; then\n\
         \x20 if linux {kernel} {arguments}; then\n\
         \x20   if initrd {initrd}; then\n\
         \x20     boot\n\
         \x20   fi\n\
         \x20 fi\n\
         fi\n"
    ))
}

/// A section as GRUB's list of blocks: `(kiln)FIRST+COUNT`.
fn blocks(image: &Image, name: &'static str) -> Result<String, Error> {
    let section = image.section(name).ok_or(Error::Section(name))?;
    let (first, len) = (section.raw_offset, section.raw_size);
    if len == 0 || !first.is_multiple_of(BLOCK) || !len.is_multiple_of(BLOCK) {
        return Err(Error::Section(name));
    }
    Ok(format!("(kiln){}+{}", first / BLOCK, len / BLOCK))
}

/// A word that GRUB's parser takes as it is. It passes quotes and backslashes on with a backslash
/// before each, so such words are refused.
fn quoted(word: &str) -> Result<String, Error> {
    if word.contains(['\'', '"', '\\']) || word.chars().any(char::is_control) {
        return Err(Error::Argument(word.to_owned()));
    }
    Ok(format!("'{word}'"))
}

/// Commands for GRUB's own words on the serial port of `console=ttyS0,115200n8`; nothing for other
/// arguments. A port that is not there leaves the screen.
fn serial_console(argument: &str) -> Option<String> {
    let rest = argument.strip_prefix("console=ttyS")?;
    let (unit, options) = rest.split_once(',').unwrap_or((rest, ""));
    let unit: u8 = unit.parse().ok()?;
    let n_digits = options.bytes().take_while(u8::is_ascii_digit).count();
    let (speed, rest) = options.split_at(n_digits);
    let speed: u32 = if speed.is_empty() { 9600 } else { speed.parse().ok()? };
    let parity = match rest.bytes().next() {
        None | Some(b'n') => "no",
        Some(b'o') => "odd",
        Some(b'e') => "even",
        Some(_) => return None,
    };
    let bits = if rest.as_bytes().get(1) == Some(&b'7') { 7 } else { 8 };
    Some(format!(
        "serial --unit={unit} --speed={speed} --word={bits} --parity={parity}\n\
         terminal_output console serial\n"
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        boot::uki::{self, UkiParts},
        formats::{
            grub::tests::files,
            pe::tests::images::{self, stub},
        },
    };

    fn uki(ucode: Option<&[u8]>) -> Vec<u8> {
        let linux = images::kernel(b"sbat,1,x\nlinux,1\n");
        let parts = UkiParts {
            osrel: "ID=kiln\n",
            cmdline: "quiet",
            uname: "6.12",
            initrd: &[5; 1000],
            linux: &linux,
            ucode,
        };
        uki::build(&stub(8, b"sbat,1,x\nsystemd-stub,1\n\0\0"), &parts).unwrap()
    }

    #[test]
    fn grub_starts_the_sections_of_the_uki() {
        let uki = uki(Some(b"microcode"));
        let line = "quiet console=tty0 console=ttyS0,115200n8 roothash=ab";
        let text = config("quickstart-lb_1.efi", &uki, line).unwrap();
        let image = Image::decode(&uki).unwrap();
        let at = |name: &str| image.section(name).unwrap().raw_offset / 512;
        let expected = format!(
            "# Written by kiln: how legacy firmware starts 'quickstart-lb_1.efi'.\n\
             serial --unit=0 --speed=115200 --word=8 --parity=no\n\
             terminal_output console serial\n\
             set gfxpayload=text\n\
             if loopback kiln /EFI/Linux/'quickstart-lb_1.efi'; then\n\
             \x20 if linux (kiln){}+{} 'quiet' 'console=tty0' 'console=ttyS0,115200n8' 'roothash=ab'; then\n\
             \x20   if initrd (kiln){}+1 (kiln){}+2; then\n\
             \x20     boot\n\
             \x20   fi\n\
             \x20 fi\n\
             fi\n",
            at(".linux"),
            image.section(".linux").unwrap().raw_size / 512,
            at(".ucode"),
            at(".initrd"),
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn without_microcode_there_is_one_initrd_and_without_a_port_no_terminal() {
        let text = config("a.efi", &uki(None), "quiet").unwrap();
        assert!(!text.contains("serial"), "{text}");
        assert_eq!(text.lines().filter(|line| line.contains("initrd (kiln)")).count(), 1);
        assert_eq!(text.matches("(kiln)").count(), 2);
    }

    #[test]
    fn ports_are_those_of_the_kernel() {
        let first = |argument| serial_console(argument)?.lines().next().map(str::to_owned);
        for (argument, expected) in [
            ("console=ttyS1", "serial --unit=1 --speed=9600 --word=8 --parity=no"),
            ("console=ttyS0,57600e7", "serial --unit=0 --speed=57600 --word=7 --parity=even"),
            ("console=ttyS2,9600o8r", "serial --unit=2 --speed=9600 --word=8 --parity=odd"),
        ] {
            assert_eq!(first(argument).as_deref(), Some(expected), "{argument}");
        }
        for argument in ["console=tty0", "console=ttyS", "console=ttyS0,fast", "quiet"] {
            assert_eq!(first(argument), None, "{argument}");
        }
    }

    #[test]
    fn words_that_grub_would_change_are_refused() {
        for word in ["a=\"b", "a='b'", "a\\b"] {
            let error = config("a.efi", &uki(None), word).unwrap_err();
            assert!(matches!(error, Error::Argument(_)), "{error}");
        }
    }

    #[test]
    fn grub_has_no_menu_no_user_and_no_end_but_a_restart() {
        let commands: Vec<&str> = SCRIPT.lines().collect();
        assert_eq!(
            commands[..3],
            ["set superusers=", "export superusers", "source $prefix/grub.cfg"]
        );
        assert_eq!(commands.last(), Some(&"reboot"));
        assert_eq!(format!("{}/grub.cfg", &PREFIX["(,gpt1)/".len()..]), CONFIG);
        let text = config("a.efi", &uki(None), "quiet").unwrap();
        assert!(!text.contains("menuentry"), "{text}");
    }

    #[test]
    fn a_package_without_a_module_is_refused_by_name() {
        let error = programs(&files(), 2048).unwrap_err().to_string();
        assert_eq!(error, "GRUB's files lack 'biosdisk.mod'");
    }

    proptest! {
        #[test]
        fn any_argument_is_one_word(word in "[!-&(-\\[\\]-~]{1,40}") {
            prop_assume!(!word.contains('"'));
            let text = config("a.efi", &uki(None), &word).unwrap();
            let quoted = format!(" '{word}'; then\n");
            prop_assert!(text.contains(&quoted));
        }

        #[test]
        fn any_console_is_read_or_left(argument in "console=ttyS[0-9]{0,4},?[0-9]{0,12}[noe7-8]{0,3}") {
            drop(serial_console(&argument));
        }
    }
}
