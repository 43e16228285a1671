// SPDX-License-Identifier: Apache-2.0
use std::io::Read as _;

use super::*;
use crate::tree::Source as _;

fn volume(len: u64, kind: Kind) -> Volume {
    Volume { len, kind, label: "CIDATA".into(), id: 0x1234_abcd, mtime: 1_700_000_000 }
}

fn files() -> BTreeMap<String, &'static [u8]> {
    BTreeMap::from([
        ("EFI/BOOT/BOOTX64.EFI".into(), &[7; 70_000][..]),
        ("EFI/Linux/quickstart-lb_1.efi".into(), &b"uki"[..]),
        ("loader/loader.conf".into(), &b"timeout 0\n"[..]),
        ("meta-data".into(), &b""[..]),
    ])
}

fn read_back(mut bytes: Sparse) -> BTreeMap<String, Vec<u8>> {
    let volume = mount(&mut bytes).unwrap();
    let mut found = BTreeMap::new();
    for path in files().into_keys() {
        let mut data = Vec::new();
        volume.root_dir().open_file(&path).unwrap().read_to_end(&mut data).unwrap();
        found.insert(path, data);
    }
    found
}

#[test]
fn files_of_every_kind_of_volume_are_read_back() {
    let expected: BTreeMap<_, _> =
        files().into_iter().map(|(path, data)| (path, data.to_vec())).collect();
    for (len, kind) in [(1 << 20, Kind::Small), (16 << 20, Kind::Small), (64 << 20, Kind::Fat32)] {
        let bytes = encode(&volume(len, kind), &files()).unwrap();
        assert_eq!(read_back(bytes), expected, "{len}");
    }
}

#[test]
fn fat32_has_enough_clusters_at_every_size() {
    for mib in [33, 34, 35, 64, 65, 128, 129, 130, 256, 257, 260, 261, 512, 1024] {
        let mut bytes = encode(&volume(mib << 20, Kind::Fat32), &BTreeMap::new()).unwrap();
        let volume = mount(&mut bytes).unwrap();
        assert_eq!(volume.fat_type(), fatfs::FatType::Fat32, "{mib} MiB");
        let n_clusters = u64::from(volume.stats().unwrap().total_clusters());
        assert!(n_clusters >= MIN_FAT32_CLUSTERS, "{mib} MiB: {n_clusters}");
    }
}

#[test]
fn a_volume_that_is_too_small_is_refused_with_both_sizes() {
    let small = encode(&volume(32 << 20, Kind::Fat32), &files()).unwrap_err();
    assert_eq!(
        small.to_string(),
        "a FAT32 volume of 33554432 bytes has too few clusters: expected at least 34603008 bytes"
    );
    let full = encode(&volume(64 << 10, Kind::Small), &files()).unwrap_err();
    assert!(matches!(full, Error::Full { wanted: 70_000.., available: ..65_536 }), "{full}");
    let uneven = encode(&volume(1000, Kind::Small), &files()).unwrap_err();
    assert!(matches!(uneven, Error::UnevenLength { len: 1000 }));
}

#[test]
fn labels_that_firmware_would_change_are_refused() {
    for label in ["", "cidata", "TWELVE-CHARS", "A B", "ÄÖÜ"] {
        let volume = Volume { label: label.into(), ..volume(1 << 20, Kind::Small) };
        assert!(matches!(encode(&volume, &files()), Err(Error::BadLabel { .. })), "{label}");
    }
}

#[test]
fn names_that_fat_cannot_hold_are_refused() {
    let files = BTreeMap::from([("a:b".to_owned(), &b""[..])]);
    let error = encode(&volume(1 << 20, Kind::Small), &files).unwrap_err();
    assert!(matches!(error, Error::File { .. }), "{error}");
}

#[test]
fn the_same_values_give_the_same_bytes() {
    let all = || {
        let bytes = encode(&volume(64 << 20, Kind::Fat32), &files()).unwrap();
        let mut all = vec![0; 64 << 20];
        bytes.read_exact_at(&mut all, 0).unwrap();
        all
    };
    assert!(all() == all());
}
