// SPDX-License-Identifier: Apache-2.0
//! What the boot chain takes out of the packages: the kernel, the UEFI stub and the loader.
//!
//! None of them is needed in the running root, so they leave the tree: the kernel travels in the
//! UKI, and `/boot` is where the ESP is mounted.

use std::collections::BTreeMap;

use super::{Draft, Error};
use crate::tree::{Content, Inode, Kind, TreePath};

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

/// The UEFI programs of systemd-boot.
#[derive(Debug)]
pub struct BootFiles {
    /// Becomes the UKI.
    pub stub: Content,
    /// Starts it.
    pub loader: Content,
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

/// Takes the boot files out of the draft.
pub(super) fn take(draft: &mut Draft<'_>) -> Result<(KernelImage, BootFiles), Error> {
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
    let leaving: Vec<TreePath> = draft.tree.children(&boot).map(|(path, _)| path.clone()).collect();
    for path in leaving.iter().chain([&TreePath::literal(EFI)]) {
        draft.tree.remove(path);
    }
    Ok((kernel, BootFiles { stub, loader }))
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
