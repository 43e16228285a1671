// SPDX-License-Identifier: Apache-2.0
//! This machine, as the search for metadata sees it.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read as _},
};

use kiln_init::{source, volume::Medium};

use super::devices::{Device, block_names};
use crate::{files::read_limited, vmware};

/// The raw structures; systemd's own credentials come from the same table.
const SMBIOS_TABLE: &str = "/sys/firmware/dmi/tables/DMI";
/// As the kernel spells it, whose byte order depends on the firmware's age.
const UUID: &str = "/sys/class/dmi/id/product_uuid";
const SMBIOS_MAX: u64 = 1 << 20;
const FW_CFG: &str = "/sys/firmware/qemu_fw_cfg/by_name";
/// At this time, only the opened root.
const DEVICE_MAPPER: &str = "dm-";
const FW_CFG_MAX: u64 = 256 << 10;

#[derive(Debug)]
pub(super) struct Machine {
    seen: BTreeSet<String>,
    /// Names of the partitions that hold the image and its state: never a medium.
    own: Vec<String>,
}

impl Machine {
    pub(super) fn without(own: Vec<String>) -> Self {
        Self { seen: BTreeSet::new(), own }
    }

    /// Names of the devices that were looked at, for messages.
    pub(super) fn seen(&self) -> Vec<&str> {
        self.seen.iter().map(String::as_str).collect()
    }
}

impl source::Machine for Machine {
    fn command_line(&mut self) -> io::Result<String> {
        std::fs::read_to_string("/proc/cmdline")
    }

    fn smbios(&mut self) -> io::Result<Option<Vec<u8>>> {
        read_limited(SMBIOS_TABLE, SMBIOS_MAX)
    }

    /// The driver makes a folder for each item; a read gives at most one page, so that the file
    /// is read in pages, and never beyond its size.
    fn fw_cfg(&mut self, item: &str) -> io::Result<Option<Vec<u8>>> {
        let folder = format!("{FW_CFG}/{item}");
        let Some(size) = read_limited(format!("{folder}/size"), 32)? else { return Ok(None) };
        let size = String::from_utf8_lossy(&size);
        let size: u64 = size.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?;
        if size > FW_CFG_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        File::open(format!("{folder}/raw"))?.read_exact(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn guestinfo(&mut self, key: &str) -> io::Result<Option<Vec<u8>>> {
        vmware::get(key)
    }

    fn uuid(&mut self) -> Option<String> {
        let bytes = read_limited(UUID, 64).ok().flatten()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_ascii_lowercase())
            .filter(|it| !it.is_empty())
    }

    fn media(&mut self) -> Vec<(String, Medium)> {
        let mut media = Vec::new();
        for name in block_names() {
            let is_own = self.own.contains(&name) || name.starts_with(DEVICE_MAPPER);
            if is_own || self.seen.contains(&name) {
                continue;
            }
            // Not a drive without a disc, or a node that devtmpfs has not made yet: it may come.
            if let Ok(device) = Device::open(&name) {
                self.seen.insert(name.clone());
                media.push((name, Medium::Device(Box::new(device))));
            }
        }
        media
    }
}
