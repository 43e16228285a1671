// SPDX-License-Identifier: Apache-2.0
//! The kernel's device events: `KEY=VALUE` texts, one form in netlink messages and in sysfs.

/// Keys of one event or of one `uevent` file. Hundreds come during a boot and most are asked one
/// question, so nothing is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uevent<'a> {
    bytes: &'a [u8],
    /// Ends each key's value.
    end: u8,
}

impl<'a> Uevent<'a> {
    /// From a netlink message: a summary, then keys, each ended by a NUL.
    pub fn from_message(bytes: &'a [u8]) -> Self {
        Self { bytes, end: 0 }
    }

    /// From a file `uevent` of sysfs: one key per line.
    pub fn from_file(bytes: &'a [u8]) -> Self {
        Self { bytes, end: b'\n' }
    }

    pub fn get(&self, key: &str) -> Option<&'a str> {
        let mut parts = self.bytes.split(|byte| *byte == self.end);
        let value = parts.find_map(|part| part.strip_prefix(key.as_bytes())?.strip_prefix(b"="))?;
        std::str::from_utf8(value).ok()
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
        assert_eq!(message.get("ACT"), None);
        let file = Uevent::from_file(b"MAJOR=254\nDEVNAME=vda1\nPARTUUID=x\n\xff=1\n");
        assert_eq!(file.get("DEVNAME"), Some("vda1"));
    }
}
