// SPDX-License-Identifier: Apache-2.0
//! The unified kernel image: boot stub, kernel, initramfs and command line in one EFI program.
//!
//! Specification: UAPI group, "Unified Kernel Image"; layout as ukify of systemd 257 writes it.
//! The stub measures the sections into PCR 11 and starts the kernel from memory.

use crate::formats::pe::{self, Image, NewSection, Usage};

/// Offset of the boot flag 0xaa55 and of `HdrS` in a bzImage (Linux
/// `Documentation/arch/x86/boot.rst`, "The Real-Mode Kernel Header").
const BOOT_FLAG: usize = 0x1fe;
const HEADER_MAGIC: usize = 0x202;
/// `xloadflags`; bit 0 is a 64-bit kernel, bit 3 a 64-bit EFI entry point.
const XLOADFLAGS: usize = 0x236;
const XLF_KERNEL_64: u8 = 1 << 0;
const XLF_EFI_64: u8 = 1 << 3;

/// First line of every SBAT section.
const SBAT_HEADER: &str =
    "sbat,1,SBAT Version,sbat,1,https://github.com/rhboot/shim/blob/main/SBAT.md";
/// By which all UKIs can be revoked, as the specification asks.
const SBAT_UKI: &str =
    "uki,1,UKI,uki,1,https://uapi-group.org/specifications/specs/unified_kernel_image/";

/// What goes into a UKI beside the stub.
#[derive(Debug, Clone, Copy)]
pub struct UkiParts<'a> {
    /// os-release; IMAGE_ID and IMAGE_VERSION order the entries of systemd-boot.
    pub osrel: &'a str,
    pub cmdline: &'a str,
    /// Release of the kernel: `6.12.107+deb13-cloud-amd64`.
    pub uname: &'a str,
    pub initrd: &'a [u8],
    /// A bzImage with EFI entry.
    pub linux: &'a [u8],
    /// Early microcode, an uncompressed cpio.
    pub ucode: Option<&'a [u8]>,
}

/// Why there is no UKI.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the boot stub: {0}")]
    Stub(pe::Error),
    #[error("the boot stub is a PE image, but no EFI application (subsystem {subsystem})")]
    StubNotEfi { subsystem: u16 },
    #[error("the boot stub has no .sbat section")]
    StubWithoutSbat,
    #[error("the kernel: {0}")]
    Kernel(pe::Error),
    #[error("the kernel has no {what}: expected a 64-bit bzImage with EFI entry")]
    KernelKind { what: &'static str },
    #[error("the UKI's {what} is empty")]
    Empty { what: &'static str },
    #[error("the UKI's {what} has a line break or a control character")]
    Control { what: &'static str },
    #[error("the .sbat section of the {what} does not begin with 'sbat,'")]
    BadSbat { what: &'static str },
}

/// The UKI's bytes.
///
/// # Errors
/// The stub is no unsigned EFI program with room for the sections, or the kernel cannot be
/// started by it.
pub fn build(stub: &[u8], parts: &UkiParts) -> Result<Vec<u8>, Error> {
    let stub_image = Image::decode(stub).map_err(Error::Stub)?;
    if !stub_image.is_efi_application() {
        return Err(Error::StubNotEfi { subsystem: stub_image.subsystem });
    }
    let kernel = check_kernel(parts.linux)?;
    check_texts(parts)?;

    let data = |name, data| NewSection { name, usage: Usage::Data, data };
    let mut sections = vec![
        data(".osrel", parts.osrel.as_bytes()),
        data(".cmdline", parts.cmdline.as_bytes()),
        data(".uname", parts.uname.as_bytes()),
        NewSection { name: ".linux", usage: Usage::Code, data: parts.linux },
        data(".initrd", parts.initrd),
    ];
    sections.extend(parts.ucode.map(|ucode| data(".ucode", ucode)));
    let mut bytes = pe::append(stub, &sections).map_err(Error::Stub)?;

    let stub_sbat = stub_image.data(stub, ".sbat").ok_or(Error::StubWithoutSbat)?;
    let sbat = merge_sbat(stub_sbat, kernel.data(parts.linux, ".sbat"))?;
    pe::replace(&mut bytes, ".sbat", &sbat).map_err(Error::Stub)?;
    // Firmware that enforces strict memory protection judges the UKI by this flag and then
    // runs the kernel in it.
    if !kernel.nx_compat {
        pe::clear_nx_compat(&mut bytes).map_err(Error::Stub)?;
    }
    Ok(bytes)
}

fn check_kernel(linux: &[u8]) -> Result<Image, Error> {
    let image = Image::decode(linux).map_err(Error::Kernel)?;
    let at = |offset: usize, len: usize| linux.get(offset..offset + len);
    let lacks = |what| Err(Error::KernelKind { what });
    if at(BOOT_FLAG, 2) != Some(&[0x55, 0xaa]) || at(HEADER_MAGIC, 4) != Some(b"HdrS") {
        return lacks("bzImage header");
    }
    let flags = at(XLOADFLAGS, 1).map_or(0, |flags| flags[0]);
    if flags & XLF_KERNEL_64 == 0 {
        return lacks("64-bit entry");
    }
    if flags & XLF_EFI_64 == 0 || !image.is_efi_application() {
        return lacks("64-bit EFI entry");
    }
    Ok(image)
}

fn check_texts(parts: &UkiParts) -> Result<(), Error> {
    for (what, text) in [("command line", parts.cmdline), ("kernel release", parts.uname)] {
        if text.chars().any(char::is_control) {
            return Err(Error::Control { what });
        }
    }
    for (what, is_empty) in [
        ("os-release", parts.osrel.is_empty()),
        ("command line", parts.cmdline.is_empty()),
        ("kernel release", parts.uname.is_empty()),
        ("initramfs", parts.initrd.is_empty()),
        ("microcode", parts.ucode.is_some_and(<[u8]>::is_empty)),
    ] {
        if is_empty {
            return Err(Error::Empty { what });
        }
    }
    Ok(())
}

/// One SBAT section: the header once, then the lines of stub and kernel, then the UKI's own.
fn merge_sbat(stub: &[u8], kernel: Option<&[u8]>) -> Result<Vec<u8>, Error> {
    let mut lines = vec![SBAT_HEADER.to_owned()];
    for (what, section) in [("boot stub", Some(stub)), ("kernel", kernel)] {
        let Some(section) = section else { continue };
        let text = std::str::from_utf8(section).map_err(|_| Error::BadSbat { what })?;
        let text = text.trim_end_matches('\0');
        if !text.starts_with("sbat,") {
            return Err(Error::BadSbat { what });
        }
        lines.extend(text.lines().skip(1).map(str::to_owned));
    }
    lines.push(SBAT_UKI.to_owned());
    Ok((lines.join("\n") + "\n\0").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::pe::tests::images::{self, stub};

    fn kernel() -> Vec<u8> {
        images::kernel(b"sbat,1,x\nlinux,1\n")
    }

    fn boot_stub() -> Vec<u8> {
        stub(8, b"sbat,1,x\nsystemd-stub,1\n\0\0")
    }

    fn parts(linux: &[u8]) -> UkiParts<'_> {
        UkiParts {
            osrel: "ID=kiln\n",
            cmdline: "quiet",
            uname: "6.12",
            initrd: b"initrd",
            linux,
            ucode: None,
        }
    }

    #[test]
    fn a_uki_has_the_sections_in_the_order_of_ukify() {
        let linux = kernel();
        let bytes = build(&boot_stub(), &UkiParts { ucode: Some(b"u"), ..parts(&linux) }).unwrap();
        let image = Image::decode(&bytes).unwrap();
        let names: Vec<&str> = image.sections.iter().map(|section| &*section.name).collect();
        let expected =
            [".text", ".sbat", ".osrel", ".cmdline", ".uname", ".linux", ".initrd", ".ucode"];
        assert_eq!(names, expected);
        assert_eq!(image.data(&bytes, ".linux"), Some(&linux[..]));
        let sbat = String::from_utf8(image.data(&bytes, ".sbat").unwrap().to_vec()).unwrap();
        assert_eq!(sbat, format!("{SBAT_HEADER}\nsystemd-stub,1\nlinux,1\n{SBAT_UKI}\n\0"));
    }

    #[test]
    fn a_uki_allows_strict_memory_only_if_its_kernel_does() {
        let mut linux = kernel();
        let nx = |linux: &[u8]| {
            let bytes = build(&boot_stub(), &parts(linux)).unwrap();
            Image::decode(&bytes).unwrap().nx_compat
        };
        assert!(nx(&linux));
        pe::clear_nx_compat(&mut linux).unwrap();
        assert!(!nx(&linux));
    }

    #[test]
    fn kernels_that_the_stub_cannot_start_are_refused() {
        let refused = |at: usize, value: u8| {
            let mut linux = kernel();
            linux[at] = value;
            build(&boot_stub(), &parts(&linux)).unwrap_err()
        };
        assert_eq!(refused(HEADER_MAGIC, 0), Error::KernelKind { what: "bzImage header" });
        assert_eq!(refused(XLOADFLAGS, XLF_EFI_64), Error::KernelKind { what: "64-bit entry" });
        let no_efi = Error::KernelKind { what: "64-bit EFI entry" };
        assert_eq!(refused(XLOADFLAGS, XLF_KERNEL_64), no_efi);
        assert!(matches!(refused(0, 0), Error::Kernel(_)));
    }

    #[test]
    fn texts_that_would_break_the_boot_are_refused() {
        let linux = kernel();
        let refused = |parts: UkiParts| build(&boot_stub(), &parts).unwrap_err();
        assert_eq!(
            refused(UkiParts { cmdline: "quiet\n", ..parts(&linux) }),
            Error::Control { what: "command line" }
        );
        assert_eq!(
            refused(UkiParts { initrd: b"", ..parts(&linux) }),
            Error::Empty { what: "initramfs" }
        );
    }

    #[test]
    fn a_stub_without_sbat_header_is_refused() {
        let error = build(&stub(8, b""), &parts(&kernel())).unwrap_err();
        assert_eq!(error, Error::BadSbat { what: "boot stub" });
    }
}
