// SPDX-License-Identifier: Apache-2.0
//! What a machine without a disk boots: kernel, initramfs, and the root as a second initramfs.
//!
//! The root is a disk in a file, `kiln_contract::path::RAM_DISK`: kiln-init finds its partitions and
//! verifies them as it does everywhere. A boot loader joins both archives, and the kernel unpacks one
//! after the other.

use kiln_contract::path;

use crate::{
    formats::{chain::Chain, cpio},
    tree::Content,
};

/// The second initramfs: the disk.
///
/// # Errors
/// The disk has 4 GiB or more.
pub fn disk(volume: &Content, epoch: u32) -> Result<Content, cpio::Error> {
    cpio::large_file(path::RAM_DISK.trim_start_matches('/'), volume, epoch)
}

/// The first initramfs, behind the microcode: the kernel looks for that at the very beginning. Who
/// appends the second one, as the kernel's EFI stub does, fills no gap: an archive begins at a
/// multiple of four.
pub fn initrd(microcode: Option<&[u8]>, initrd: &[u8]) -> Content {
    let mut chain = Chain::new();
    if let Some(microcode) = microcode {
        chain.push_bytes(microcode);
        chain.pad(4);
    }
    chain.push_bytes(initrd);
    chain.pad(4);
    chain.into()
}

/// Both archives as one.
pub fn joined(initrd: &[u8], disk: &Content) -> Content {
    let mut chain = Chain::new();
    chain.push_bytes(initrd);
    // An archive begins at a multiple of four; the kernel skips zeros before it.
    chain.pad(4);
    chain.push(disk.clone());
    chain.into()
}

/// A script for iPXE that lies beside what it loads. Whoever chains it may set `kiln-arguments`: where
/// the hosts' metadata are, for one.
pub fn script(name: &str, command_line: &str) -> String {
    format!(
        "#!ipxe\n\
         # {name}, in memory. Arguments of its own: set kiln-arguments kiln.url=http://.../{{mac}}/\n\
         kernel {name}.vmlinuz initrd={name}.initrd initrd={name}.disk {command_line} ${{kiln-arguments}}\n\
         initrd --name {name}.initrd {name}.initrd\n\
         initrd --name {name}.disk {name}.disk\n\
         boot\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_archive_is_read_behind_the_first() {
        let first = cpio::Archive::new(7).encode().unwrap();
        let bytes = disk(&Content::bytes(*b"a disk"), 7).unwrap().to_vec().unwrap();
        let archive = cpio::Archive::decode(&bytes).unwrap();
        let names: Vec<&str> = archive.entries().map(|(name, _)| name).collect();
        assert_eq!(names, ["kiln", "kiln/disk.raw"]);
        let both = joined(&[&first[..], b"x"].concat(), &Content::bytes(bytes.clone()));
        let both = both.to_vec().unwrap();
        assert_eq!(both.len(), (first.len() + 1).next_multiple_of(4) + bytes.len());
        assert!(both.ends_with(&bytes));
    }

    #[test]
    fn microcode_stands_before_everything() {
        let bytes = |microcode| initrd(microcode, b"rest").to_vec().unwrap();
        assert_eq!(bytes(None), b"rest");
        assert_eq!(bytes(Some(b"early")), b"early\0\0\0rest");
    }

    #[test]
    fn whatever_is_appended_begins_at_a_multiple_of_four() {
        for len in 0..9 {
            let first = initrd(Some(b"early"), &vec![1; len]).to_vec().unwrap();
            assert_eq!(first.len() % 4, 0, "{len}");
        }
    }

    #[test]
    fn a_script_loads_what_lies_beside_it() {
        let text = script("quickstart-lb", "quiet roothash=ab");
        assert!(text.contains("quiet roothash=ab ${kiln-arguments}\n"), "{text}");
        assert!(text.starts_with("#!ipxe\n") && text.ends_with("boot\n"));
    }
}
