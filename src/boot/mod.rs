// SPDX-License-Identifier: Apache-2.0
//! From kernel, kiln-init and root hash to an EFI system partition that boots.
//!
//! ```text
//! kiln-init + hand-off + modules -> initrd -> UKI (stub + kernel + command line) -> ESP
//! ```
//!
//! Legacy firmware starts the same by [`bios`].
//!
//! Every stage is a function from bytes to bytes. The root hash enters through the kernel
//! command line, so a UKI boots its own root or nothing.

pub mod bios;
pub mod esp;
pub mod initrd;
pub mod microcode;
pub mod netboot;
pub mod uki;

use crate::digest::Digest;

/// The kernel command line: the profile's arguments in order, then the root hash.
pub fn command_line(arguments: &[String], root_hash: &Digest) -> String {
    let root_hash = format!("{}={root_hash}", kiln_contract::cmdline::ROOTHASH);
    let arguments = arguments.iter().map(String::as_str).chain([root_hash.as_str()]);
    arguments.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_hash_ends_the_command_line() {
        let line = command_line(&["quiet".into(), "console=ttyS0".into()], &Digest::of(b""));
        let expected = "quiet console=ttyS0 roothash=\
            e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(line, expected);
    }
}
