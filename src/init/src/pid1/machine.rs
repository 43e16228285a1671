// SPDX-License-Identifier: Apache-2.0
//! This machine, as the search for metadata sees it.

use std::{collections::BTreeSet, fs::File, io};

use kiln_init::{nocloud::ReadAt, source};

use super::devices::{Device, block_devices};
use crate::files::read_limited;

/// The raw structures; systemd's own credentials come from the same table.
const SMBIOS_TABLE: &str = "/sys/firmware/dmi/tables/DMI";
const SMBIOS_MAX: u64 = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct Machine {
    seen: BTreeSet<String>,
}

impl Machine {
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

    fn media(&mut self) -> Vec<(String, Box<dyn ReadAt>)> {
        let mut media: Vec<(String, Box<dyn ReadAt>)> = Vec::new();
        for block in block_devices() {
            if !self.seen.insert(block.name.clone()) {
                continue;
            }
            match File::open(block.path()) {
                Ok(file) => media.push((block.name, Box::new(Device(file)))),
                // A drive without a disc, or a node that devtmpfs has not made yet: it may come.
                Err(_) => {
                    self.seen.remove(&block.name);
                }
            }
        }
        media
    }
}
