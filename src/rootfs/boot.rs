// SPDX-License-Identifier: Apache-2.0
//! What the boot chain takes out of the packages: the kernel, the UEFI stub and the loader,
//! microcode, and GRUB.
//!
//! None of them is needed in the running root, so they leave the tree: the kernel travels in the
//! UKI, `/boot` is where the ESP is mounted, and kernels of today take microcode at their start
//! only. GRUB's package does not even enter it.

use std::collections::BTreeMap;

use super::{Draft, Error, Package};
use crate::{
    boot::microcode::{Microcode, Vendor},
    debian::deb,
    lock::GRUB,
    plan::Plan,
    tree::{Content, Inode, Kind, TreePath},
};

/// The kernel and its modules, for the UKI.
#[derive(Debug)]
pub struct KernelFiles {
    /// `uname -r`.
    pub release: String,
    /// The `vmlinuz` file.
    pub image: Content,
    /// Module files by their path in the initramfs.
    pub initrd_modules: Vec<(TreePath, Content)>,
    /// Text files beside them, of these modules only.
    pub modules_dep: String,
    pub modules_alias: String,
    pub modules_softdep: String,
    /// Firmware that these modules name and the root has, by its path in both.
    pub initrd_firmware: BTreeMap<TreePath, Content>,
    /// Modules of the initramfs that no device asks for.
    pub early_modules: Vec<String>,
    /// Modules in the root.
    pub module_count: usize,
}

impl KernelFiles {
    /// Everything that the initramfs carries below [`kiln_contract::path::INITRD_MODULES`], by
    /// its path there.
    pub fn initrd_files(&self) -> BTreeMap<String, Content> {
        let inside = |path: &TreePath| {
            let path = path.as_str();
            let inside = path.strip_prefix(kiln_contract::path::INITRD_MODULES).unwrap_or(path);
            inside.trim_start_matches('/').to_owned()
        };
        let modules = self.initrd_modules.iter();
        let mut files: BTreeMap<String, Content> =
            modules.map(|(path, content)| (inside(path), content.clone())).collect();
        for (name, text) in [
            ("modules.dep", &self.modules_dep),
            ("modules.alias", &self.modules_alias),
            ("modules.softdep", &self.modules_softdep),
        ] {
            files.insert(name.to_owned(), Content::bytes(text.as_bytes()));
        }
        files
    }
}

/// What starts the kernel: the UEFI programs of systemd-boot, and what else the disk has.
#[derive(Debug)]
pub struct BootFiles {
    /// Becomes the UKI.
    pub stub: Content,
    /// Starts it.
    pub loader: Content,
    /// GRUB's files for legacy firmware by name; none if the profile does not ask for it.
    pub grub: BTreeMap<String, Content>,
    /// Updates for processors, as far as packages have them.
    pub microcode: Microcode,
}

/// The kernel image of a package.
#[derive(Debug)]
pub(super) struct KernelImage {
    pub(super) release: String,
    pub(super) image: Content,
}

/// Folder of systemd-boot's UEFI programs.
const EFI: &str = "/usr/lib/systemd/boot/efi";
/// Kernel images are `/boot/vmlinuz-RELEASE`.
const IMAGE: &str = "vmlinuz-";

/// Where GRUB's package has its files for legacy firmware.
const GRUB_FILES: &str = "/usr/lib/grub/i386-pc/";

/// Whether a package only serves the boot chain and is not installed.
pub(super) fn is_apart(plan: &Plan, package: &Package) -> bool {
    plan.profile.boot.bios && &*package.name == GRUB
}

/// Takes the boot files out of the draft and of what is not installed.
pub(super) fn take(
    draft: &mut Draft<'_>,
    packages: &[Package],
) -> Result<(KernelImage, BootFiles), Error> {
    let boot = TreePath::literal("/boot");
    let images: Vec<KernelImage> = draft
        .tree
        .children(&boot)
        .filter_map(|(path, inode)| {
            let release = path.file_name().strip_prefix(IMAGE)?.to_owned();
            Some(KernelImage { release, image: file(inode)? })
        })
        .collect();
    let [kernel] = <[KernelImage; 1]>::try_from(images).map_err(|images| {
        let releases = images.into_iter().map(|image| image.release).collect();
        super::modules::Error::Kernels(releases)
    })?;
    let stub = program(draft, "linuxx64.efi.stub")?;
    let loader = program(draft, "systemd-bootx64.efi")?;
    let microcode = microcode(draft);
    let leaving: Vec<TreePath> = draft.tree.children(&boot).map(|(path, _)| path.clone()).collect();
    let folders = Vendor::ALL.map(Vendor::folder).map(TreePath::literal);
    for path in leaving.iter().chain([&TreePath::literal(EFI)]).chain(&folders) {
        draft.tree.remove(path);
    }
    let grub = grub(draft.plan, packages)?;
    Ok((kernel, BootFiles { stub, loader, grub, microcode }))
}

/// GRUB's files, if legacy firmware is to boot.
fn grub(plan: &Plan, packages: &[Package]) -> Result<BTreeMap<String, Content>, Error> {
    if !plan.profile.boot.bios {
        return Ok(BTreeMap::new());
    }
    let package = packages.iter().find(|package| is_apart(plan, package));
    let entries = package.map_or(&[][..], |package| &package.entries[..]);
    let file = |entry: &deb::Entry| match &entry.kind {
        deb::Kind::File(content) => {
            let name = entry.path.as_str().strip_prefix(GRUB_FILES)?;
            Some((name.to_owned(), content.clone()))
        }
        _ => None,
    };
    let files: BTreeMap<String, Content> = entries.iter().filter_map(file).collect();
    if files.is_empty() {
        return Err(Error::Missing { what: "GRUB for legacy firmware", package: GRUB });
    }
    Ok(files)
}

fn microcode(draft: &Draft<'_>) -> Microcode {
    let files = |vendor: Vendor| {
        let folder = TreePath::literal(vendor.folder());
        let named = draft
            .tree
            .children(&folder)
            .filter_map(|(path, inode)| Some((path.file_name().to_owned(), file(inode)?)));
        (vendor, named.collect())
    };
    Microcode(Vendor::ALL.into_iter().map(files).collect())
}

fn program(draft: &Draft<'_>, name: &'static str) -> Result<Content, Error> {
    draft
        .find(&format!("{EFI}/{name}"))
        .and_then(|(_, inode)| file(inode))
        .ok_or(Error::Missing { what: name, package: "systemd-boot-efi" })
}

fn file(inode: &Inode) -> Option<Content> {
    match &inode.kind {
        Kind::File(content) => Some(content.clone()),
        _ => None,
    }
}
