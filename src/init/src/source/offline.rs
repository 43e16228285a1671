// SPDX-License-Identifier: Apache-2.0
//! A machine made of plain data: how the build host previews a first boot.

use std::{collections::BTreeMap, io};

use super::Machine;
use crate::volume::{Folder, Medium};

/// What the sources would deliver.
#[derive(Debug, Default)]
pub struct Offline {
    pub command_line: String,
    pub smbios: Option<Vec<u8>>,
    /// Items of fw_cfg by name.
    pub fw_cfg: BTreeMap<String, Vec<u8>>,
    /// Values of guestinfo by key.
    pub guestinfo: BTreeMap<String, Vec<u8>>,
    /// Volumes by the name of their device.
    pub volumes: Vec<(String, Folder)>,
}

impl Machine for Offline {
    fn command_line(&mut self) -> io::Result<String> {
        Ok(self.command_line.clone())
    }

    fn smbios(&mut self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.smbios.clone())
    }

    fn fw_cfg(&mut self, item: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.fw_cfg.get(item).cloned())
    }

    fn guestinfo(&mut self, key: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.guestinfo.get(key).cloned())
    }

    fn media(&mut self) -> Vec<(String, Medium)> {
        let volumes = std::mem::take(&mut self.volumes);
        volumes.into_iter().map(|(name, folder)| (name, Medium::Folder(folder))).collect()
    }
}
