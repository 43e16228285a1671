// SPDX-License-Identifier: Apache-2.0
//! dm-verity: the superblock in front of a hash tree, and the device-mapper table it leads to.
//!
//! <https://gitlab.com/cryptsetup/cryptsetup/-/wikis/DMVerity> and the kernel's
//! Documentation/admin-guide/device-mapper/verity.rst. The superblock is not signed, but a value
//! of it that is not the builder's leads to another root hash, which the kernel refuses.

/// Bytes of a superblock.
pub const SUPERBLOCK_LEN: usize = 512;
const MAGIC: &[u8; 8] = b"verity\0\0";
const SALT_MAX: usize = 256;
const SECTOR: u64 = 512;

/// A root hash: SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootHash([u8; 32]);

/// What the superblock says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    pub uuid: [u8; 16],
    pub data_block_size: u32,
    pub hash_block_size: u32,
    pub data_blocks: u64,
    pub salt: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("expected 64 hex digits, found {0}")]
    RootHash(usize),
    #[error("expected a verity superblock, found none")]
    Magic,
    #[error("verity superblock: expected {field} {expected}, found {found}")]
    Field { field: &'static str, expected: &'static str, found: String },
}

impl RootHash {
    /// # Errors
    /// Not 64 hex digits.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut bytes = [0; 32];
        let error = Error::RootHash(text.chars().filter(char::is_ascii_hexdigit).count());
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(error);
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| error.clone())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| error.clone())?;
        }
        Ok(Self(bytes))
    }

    /// UUIDs of the root partition and of its hash tree's partition: the two halves, as the
    /// Discoverable Partitions Specification has it.
    pub fn partitions(&self) -> [String; 2] {
        let hex = hex(&self.0);
        let uuid = |half: &str| {
            [&half[..8], &half[8..12], &half[12..16], &half[16..20], &half[20..]].join("-")
        };
        let (root, tree) = hex.split_at(32);
        [uuid(root), uuid(tree)]
    }
}

impl Superblock {
    /// # Errors
    /// Not a superblock of version 1 with SHA-256 and block sizes that a kernel takes.
    pub fn parse(bytes: &[u8; SUPERBLOCK_LEN]) -> Result<Self, Error> {
        if bytes[..8] != *MAGIC {
            return Err(Error::Magic);
        }
        let u32_at =
            |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap_or_default());
        let expect = |field, expected, found: String, holds: bool| {
            if holds { Ok(()) } else { Err(Error::Field { field, expected, found }) }
        };
        let (version, hash_type) = (u32_at(8), u32_at(12));
        expect("version", "1", version.to_string(), version == 1)?;
        expect("hash type", "1", hash_type.to_string(), hash_type == 1)?;
        let algorithm = bytes[32..64].split(|byte| *byte == 0).next().unwrap_or(&[]);
        let found = algorithm.escape_ascii().to_string();
        expect("algorithm", "'sha256'", found, algorithm == b"sha256")?;
        let (data_block_size, hash_block_size) = (u32_at(64), u32_at(68));
        for size in [data_block_size, hash_block_size] {
            let holds = size.is_power_of_two() && (512..=4096).contains(&size);
            expect("block size", "512 to 4096", size.to_string(), holds)?;
        }
        let data_blocks = u64::from_le_bytes(bytes[72..80].try_into().unwrap_or_default());
        let fits = data_blocks > 0 && data_blocks < 1 << 40;
        expect("data blocks", "1 to 2^40", data_blocks.to_string(), fits)?;
        let salt_size = usize::from(u16::from_le_bytes([bytes[80], bytes[81]]));
        expect("salt size", "at most 256", salt_size.to_string(), salt_size <= SALT_MAX)?;
        Ok(Self {
            uuid: bytes[16..32].try_into().unwrap_or_default(),
            data_block_size,
            hash_block_size,
            data_blocks,
            salt: bytes[88..88 + salt_size].to_vec(),
        })
    }

    /// Length of the mapped device in sectors of 512 bytes.
    pub fn sectors(&self) -> u64 {
        self.data_blocks * u64::from(self.data_block_size) / SECTOR
    }

    /// Parameters of the `verity` target for devices given as `MAJOR:MINOR`.
    ///
    /// A corrupted block panics: a node that goes on with half of its files fails later, in a way
    /// that nobody can explain.
    pub fn table(&self, data: &str, hash: &str, root_hash: &RootHash) -> String {
        let Self { data_block_size, hash_block_size, data_blocks, salt, .. } = self;
        let salt = if salt.is_empty() { "-".to_owned() } else { hex(salt) };
        let root_hash = hex(&root_hash.0);
        // The tree begins in the block behind the superblock.
        format!(
            "1 {data} {hash} {data_block_size} {hash_block_size} {data_blocks} 1 sha256 \
             {root_hash} {salt} 1 panic_on_corruption"
        )
    }

    /// The device-mapper UUID that cryptsetup gives such a device, which is how tools know it.
    pub fn device_uuid(&self, name: &str) -> String {
        format!("CRYPT-VERITY-{}-{name}", hex(&self.uuid))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_superblock_of_veritysetup_is_understood() {
        let folder = tempfile::tempdir().unwrap();
        let (data, tree) = (folder.path().join("data"), folder.path().join("tree"));
        std::fs::write(&data, [7; 5 * 4096]).unwrap();
        std::fs::write(&tree, []).unwrap();
        let output = Command::new("veritysetup")
            .args(["format", "--salt=00ff", "--uuid=01020304-0506-0708-090a-0b0c0d0e0f10"])
            .args([&data, &tree])
            .env("PATH", std::env::var("PATH").unwrap() + ":/usr/sbin:/sbin")
            .output()
            .expect("veritysetup is installed");
        let text = String::from_utf8(output.stdout).unwrap();
        let root = text.lines().find_map(|line| line.strip_prefix("Root hash:")).unwrap().trim();
        let bytes = std::fs::read(&tree).unwrap();
        let superblock = Superblock::parse(bytes[..512].try_into().unwrap()).unwrap();
        assert_eq!(superblock.sectors(), 40);
        assert_eq!(
            superblock.device_uuid("root"),
            "CRYPT-VERITY-0102030405060708090a0b0c0d0e0f10-root"
        );
        assert_eq!(
            superblock.table("254:2", "254:3", &RootHash::parse(root).unwrap()),
            format!("1 254:2 254:3 4096 4096 5 1 sha256 {root} 00ff 1 panic_on_corruption")
        );
    }

    #[test]
    fn partitions_are_the_halves_of_the_root_hash() {
        let hash = RootHash::parse(&"00112233445566778899aabbccddeeff".repeat(2)).unwrap();
        assert_eq!(hash.partitions()[1], "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(
            RootHash::parse("00").unwrap_err().to_string(),
            "expected 64 hex digits, found 2"
        );
    }

    #[test]
    fn other_superblocks_are_refused() {
        let mut good = [0; SUPERBLOCK_LEN];
        good[..8].copy_from_slice(MAGIC);
        (good[8], good[12], good[65], good[69], good[72]) = (1, 1, 16, 16, 1);
        good[32..38].copy_from_slice(b"sha256");
        assert!(Superblock::parse(&good).is_ok());
        for (offset, byte, message) in [
            (0, 0, "expected a verity superblock, found none"),
            (8, 2, "verity superblock: expected version 1, found 2"),
            (12, 0, "verity superblock: expected hash type 1, found 0"),
            (32, b'S', "verity superblock: expected algorithm 'sha256', found Sha256"),
            (64, 1, "verity superblock: expected block size 512 to 4096, found 4097"),
            (69, 0, "verity superblock: expected block size 512 to 4096, found 0"),
            (72, 0, "verity superblock: expected data blocks 1 to 2^40, found 0"),
            (79, 1, "verity superblock: expected data blocks 1 to 2^40, found 72057594037927937"),
            (81, 2, "verity superblock: expected salt size at most 256, found 512"),
        ] {
            let mut bad = good;
            bad[offset] = byte;
            assert_eq!(Superblock::parse(&bad).unwrap_err().to_string(), message);
        }
    }

    proptest! {
        #[test]
        fn any_superblock_is_understood_or_refused(tail: Vec<u8>) {
            let mut bytes = [0; SUPERBLOCK_LEN];
            bytes[..8].copy_from_slice(MAGIC);
            for (slot, byte) in bytes[8..].iter_mut().zip(tail) {
                *slot = byte;
            }
            let _ = Superblock::parse(&bytes).map(|superblock| superblock.sectors());
        }
    }
}
