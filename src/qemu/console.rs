// SPDX-License-Identifier: Apache-2.0
//! What a serial console says: lines without control sequences, words that always mean failure,
//! and the line that says a role is ready.

use std::net::Ipv4Addr;

/// Words that end a wait at once. Each stands for a state that a healthy boot never passes
/// through; stalls and soft lockups are left out, because a busy host makes them under emulation.
pub const FAILURES: &[&str] = &[
    // Firmware and loader.
    "BdsDxe: No bootable option",
    "!!!! X64 Exception",
    "Error loading EFI binary",
    "Security Violation",
    // Kernel.
    "Kernel panic - not syncing",
    "Oops: ",
    "BUG: unable to handle",
    "BUG: kernel NULL pointer",
    "kernel BUG at",
    "general protection fault",
    "double fault",
    "Out of memory: Killed process",
    "invoked oom-killer",
    " segfault at ",
    "Unable to mount root fs",
    "EXT4-fs error",
    "SQUASHFS error",
    "I/O error, dev ",
    "is corrupted",
    // systemd.
    "Ordering cycle found",
    "ordering cycle",
    "You are in emergency mode",
    "You are in rescue mode",
    "Freezing execution",
    "Failed to start ",
    "Failed to mount ",
    "Dependency failed for ",
    // First boot.
    "kiln: first boot stopped:",
    "kiln: not ready:",
];

/// The failure that a line names.
pub fn failure(line: &str) -> Option<&'static str> {
    FAILURES.iter().find(|pattern| line.contains(**pattern)).copied()
}

/// The line `kiln: ready …` of a role that came up.
#[derive(Debug, Clone, PartialEq)]
pub struct Ready {
    pub role: String,
    pub hostname: String,
    pub address: Ipv4Addr,
    pub prefix: u8,
    pub version: String,
    /// Seconds since the kernel started.
    pub boot: f64,
}

impl Ready {
    /// How the line begins.
    pub const PREFIX: &str = "kiln: ready ";

    /// Reads the line, whatever stands before it.
    pub fn parse(line: &str) -> Option<Ready> {
        let (_, fields) = line.split_once(Self::PREFIX)?;
        let field = |key: &str| {
            fields.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
        };
        let (address, prefix) = field("address")?.split_once('/')?;
        Some(Ready {
            role: field("role")?.to_owned(),
            hostname: field("hostname")?.to_owned(),
            address: address.parse().ok()?,
            prefix: prefix.parse().ok()?,
            version: field("version")?.to_owned(),
            boot: field("boot")?.parse().ok()?,
        })
    }
}

/// Cuts a stream of bytes into lines of plain text.
#[derive(Debug, Default)]
pub struct Lines {
    partial: Vec<u8>,
}

/// A line longer than this is cut: a guest must not fill our memory.
const LONGEST_LINE: usize = 16 * 1024;

impl Lines {
    /// Takes what was read and gives the lines that it completes.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for &byte in bytes {
            if byte == b'\n' || self.partial.len() == LONGEST_LINE {
                lines.push(plain(&self.partial));
                self.partial.clear();
            }
            if byte != b'\n' {
                self.partial.push(byte);
            }
        }
        lines
    }

    /// What came after the last line's end.
    pub fn rest(&self) -> String {
        plain(&self.partial)
    }
}

/// Text without escape sequences and control characters.
fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\u{1b}' if chars.next_if_eq(&'[').is_some() => {
                // CSI: parameters and intermediates, then one final character.
                while chars.next_if(|char| !('@'..='~').contains(char)).is_some() {}
                chars.next();
            }
            '\t' => plain.push(' '),
            char if char.is_control() => {}
            char => plain.push(char),
        }
    }
    plain.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ready_line_is_read_behind_a_time_stamp() {
        let line = "[   21.5] kiln: ready role=lb hostname=k8s-lb-primary address=192.168.31.178/24 version=1 boot=21.4";
        let ready = Ready::parse(line).unwrap();
        assert_eq!(ready.hostname, "k8s-lb-primary");
        assert_eq!((ready.address, ready.prefix), (Ipv4Addr::new(192, 168, 31, 178), 24));
        assert_eq!((&*ready.role, &*ready.version, ready.boot), ("lb", "1", 21.4));
    }

    #[test]
    fn half_a_ready_line_is_none() {
        for line in [
            "kiln: ready role=lb",
            "kiln: ready",
            "ready role=lb hostname=a address=1.2.3.4/24 version=1 boot=1",
        ] {
            assert_eq!(Ready::parse(line), None, "{line}");
        }
    }

    #[test]
    fn lines_lose_escapes_and_come_whole() {
        let mut lines = Lines::default();
        assert!(lines.push(b"[\x1b[0;32m  OK").is_empty());
        assert_eq!(lines.rest(), "[  OK");
        assert_eq!(lines.push(b"\x1b[0m] done\r\nnext\xff\n"), ["[  OK] done", "next\u{fffd}"]);
        assert_eq!(lines.rest(), "");
    }

    #[test]
    fn an_endless_line_is_cut() {
        let mut lines = Lines::default();
        let cut = lines.push(&vec![b'a'; 3 * LONGEST_LINE + 5]);
        assert_eq!(cut.iter().map(String::len).collect::<Vec<_>>(), [LONGEST_LINE; 3]);
        assert_eq!(lines.rest().len(), 5);
    }

    #[test]
    fn failures_are_found_inside_lines() {
        assert_eq!(
            failure("[   9.8] Kernel panic - not syncing: dm-verity device corrupted"),
            Some("Kernel panic - not syncing")
        );
        assert_eq!(failure("[FAILED] Failed to start etcd.service"), Some("Failed to start "));
        assert_eq!(failure("[  OK  ] Started chrony.service"), None);
    }
}
