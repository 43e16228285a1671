// SPDX-License-Identifier: Apache-2.0
//! The EFI system partition: systemd-boot, its configuration and the UKI; and what GRUB does, where
//! legacy firmware boots too.
//!
//! Specification: UAPI group, "Boot Loader Specification"; loader.conf(5). The loader stands at
//! its own path and at the removable path, which firmware starts without any boot variable.

use std::collections::BTreeMap;

use super::bios;
use crate::{
    digest::Digest,
    formats::{
        fat::{self, Kind, Volume},
        sparse::Sparse,
    },
};

/// Never set `default`: systemd-boot 257 would take a match even when boot counting has found
/// the entry bad, and the fallback to the other slot would be lost.
const LOADER_CONF: &str = "# Written by kiln\n\
    timeout 0\n\
    editor no\n\
    auto-entries no\n\
    auto-firmware no\n";

/// Says that `loader/entries` would hold boot loader specification entries.
const ENTRIES_SREL: &str = "type1\n";

const LABEL: &str = "ESP";

/// What goes onto an ESP.
#[derive(Debug, Clone, Copy)]
pub struct EspInputs<'a> {
    /// Bytes of the partition.
    pub len: u64,
    /// Names the volume: its serial number is made of it.
    pub digest: &'a Digest,
    /// Time of every file, seconds since 1970.
    pub epoch: u32,
    /// systemd-bootx64.efi.
    pub loader: &'a [u8],
    /// File name below `EFI/Linux`, by [`uki_name`].
    pub uki_name: &'a str,
    pub uki: &'a [u8],
    /// [`bios::CONFIG`], if there is GRUB.
    pub grub: Option<&'a str>,
}

/// File name of a UKI; `name` is cluster and role, as in the labels of its partitions.
pub fn uki_name(name: &str, version: &str) -> String {
    format!("{name}_{version}.efi")
}

/// The volume's bytes.
///
/// # Errors
/// The partition is too small for FAT32 or for the files.
pub fn build(inputs: &EspInputs) -> Result<Sparse, fat::Error> {
    let mut files = BTreeMap::from([
        ("EFI/BOOT/BOOTX64.EFI".to_owned(), inputs.loader),
        ("EFI/systemd/systemd-bootx64.efi".to_owned(), inputs.loader),
        (format!("EFI/Linux/{}", inputs.uki_name), inputs.uki),
        ("loader/loader.conf".to_owned(), LOADER_CONF.as_bytes()),
        ("loader/entries.srel".to_owned(), ENTRIES_SREL.as_bytes()),
    ]);
    files.extend(inputs.grub.map(|config| (bios::CONFIG.to_owned(), config.as_bytes())));
    let (id, _, _, _) = inputs.digest.uuid("esp volume").as_fields();
    let volume = Volume {
        len: inputs.len,
        kind: Kind::Fat32,
        label: LABEL.to_owned(),
        id,
        mtime: inputs.epoch,
    };
    fat::encode(&volume, &files)
}
