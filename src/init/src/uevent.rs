// SPDX-License-Identifier: Apache-2.0
//! The kernel's device events: `KEY=VALUE` texts, one form in netlink messages and in sysfs.

use std::collections::BTreeMap;

/// Keys of one event or of one `uevent` file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Uevent(BTreeMap<String, String>);

impl Uevent {
    /// From a netlink message: a summary, then keys, each ended by a NUL.
    pub fn from_message(bytes: &[u8]) -> Self {
        Self::from_parts(bytes.split(|byte| *byte == 0))
    }

    /// From a file `uevent` of sysfs: one key per line.
    pub fn from_file(bytes: &[u8]) -> Self {
        Self::from_parts(bytes.split(|byte| *byte == b'\n'))
    }

    fn from_parts<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Self {
        let pairs = parts.filter_map(|part| {
            let (key, value) = std::str::from_utf8(part).ok()?.split_once('=')?;
            Some((key.to_owned(), value.to_owned()))
        });
        Self(pairs.collect())
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_files_have_the_same_keys() {
        let message =
            Uevent::from_message(b"add@/devices/x\0ACTION=add\0MODALIAS=virtio:d1\0A=b=c\0");
        assert_eq!(message.get("ACTION"), Some("add"));
        assert_eq!(message.get("A"), Some("b=c"));
        assert_eq!(message.get("B"), None);
        let file = Uevent::from_file(b"MAJOR=254\nDEVNAME=vda1\nPARTUUID=x\n\xff=1\n");
        assert_eq!(file.get("DEVNAME"), Some("vda1"));
    }
}
