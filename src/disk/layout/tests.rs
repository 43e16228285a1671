// SPDX-License-Identifier: Apache-2.0
use proptest::prelude::*;

use super::*;

fn disk(size: u64, esp: u64, root: u64, verity: u64) -> Disk {
    let [size, esp, root, verity] = [size, esp, root, verity].map(Bytes::mib);
    Disk { size, esp, root, verity }
}

fn lay_out_sizes(disk: &Disk, root_len: u64, verity_len: u64) -> Result<DiskLayout, Error> {
    lay_out_for(disk, root_len, verity_len, false)
}

fn lay_out_for(
    disk: &Disk,
    root_len: u64,
    verity_len: u64,
    bios: bool,
) -> Result<DiskLayout, Error> {
    let contents = Contents {
        name: "quickstart-lb",
        version: "1",
        root_len,
        verity_len,
        root_hash: &Digest::of(b""),
        plan: &Digest::of(b"plan"),
        bios,
    };
    lay_out(disk, &contents)
}

#[test]
fn a_disk_has_two_slots_and_room_for_var() {
    let layout = lay_out_sizes(&disk(2048, 256, 512, 8), 100, 100).unwrap();
    assert_eq!(
        layout.to_string(),
        "'[MBR]' (blocks 0..1, 512 bytes)\n\
         '[GPT header]' (blocks 1..2, 512 bytes)\n\
         '[GPT array]' (blocks 2..34, 16 KiB)\n\
         'esp' (blocks 2048..526336, 256 MiB)\n\
         'root' (blocks 526336..1574912, 512 MiB)\n\
         'verity' (blocks 1574912..1591296, 8 MiB)\n\
         'empty root' (blocks 1591296..2639872, 512 MiB)\n\
         'empty verity' (blocks 2639872..2656256, 8 MiB)\n\
         '[GPT backup]' (blocks 4194271..4194304, 16.5 KiB)\n"
    );
    assert_eq!(layout.free(), (4_194_271 - 2_656_256) * 512);
    let labels: Vec<&str> = layout.table.partitions.iter().map(|p| p.label.as_str()).collect();
    let expected = ["esp", "quickstart-lb_1", "quickstart-lb_1_verity", "_empty", "_empty"];
    assert_eq!(labels, expected);
}

#[test]
fn legacy_firmware_finds_its_partition_first_and_others_their_numbers() {
    let layout = lay_out_for(&disk(2048, 256, 512, 8), 100, 100, true).unwrap();
    let extents: Vec<String> = layout.to_string().lines().map(str::to_owned).collect();
    assert_eq!(extents[3], "'bios boot' (blocks 2048..4096, 1 MiB)");
    assert_eq!(extents[4], "'esp' (blocks 4096..528384, 256 MiB)");
    let labels: Vec<&str> = layout.table.partitions.iter().map(|p| p.label.as_str()).collect();
    let slots = ["esp", "quickstart-lb_1", "quickstart-lb_1_verity", "_empty", "_empty"];
    assert_eq!((&labels[..5], labels[5]), (&slots[..], "bios-boot"));
    let bios_boot = layout.table.partitions[5].type_guid;
    assert_eq!(bios_boot.to_bytes_le(), *b"Hah!IdontNeedEFI");
    assert_eq!(layout.find(Area::BiosBoot).map(|extent| extent.offset), Some(1 << 20));
    let without = lay_out_sizes(&disk(2048, 256, 512, 8), 100, 100).unwrap();
    assert_eq!(without.find(Area::BiosBoot), None);
    let full = disk(1298, 256, 512, 8);
    assert!(lay_out_sizes(&full, 0, 0).is_ok());
    let needed = lay_out_for(&full, 0, 0, true).unwrap_err().help().unwrap();
    assert_eq!(needed, "raise 'disk.size' to 1299MiB or more");
}

#[test]
fn root_and_hash_tree_are_found_by_the_halves_of_the_root_hash() {
    // e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
    let partitions = lay_out_sizes(&disk(2048, 256, 512, 8), 0, 0).unwrap().table.partitions;
    assert_eq!(partitions[1].guid.to_string(), "e3b0c442-98fc-1c14-9afb-f4c8996fb924");
    assert_eq!(partitions[2].guid.to_string(), "27ae41e4-649b-934c-a495-991b7852b855");
    assert_eq!(partitions[1].attributes, READ_ONLY);
    assert_eq!(partitions[3].attributes, NO_AUTO);
}

#[test]
fn what_does_not_fit_is_refused_with_the_size_to_raise() {
    let refused = |disk: &Disk, root_len, verity_len| {
        let error = lay_out_sizes(disk, root_len, verity_len).unwrap_err();
        format!("{error}\n{}", error.help().unwrap_or_default())
    };
    assert_eq!(
        refused(&disk(2048, 256, 64, 8), (100 << 20) + 1, 0),
        "the root file system has 100.0 MiB (104857601 bytes), its slot 64 MiB\n\
         raise 'disk.root' to 101MiB or more, or leave more out"
    );
    assert_eq!(
        refused(&disk(2048, 256, 64, 1), 0, 2 << 20),
        "the hash tree has 2 MiB (2097152 bytes), its slot 1 MiB\n\
         raise 'disk.verity' to 2MiB or more, or leave more out"
    );
    assert_eq!(
        refused(&disk(1000, 256, 512, 8), 0, 0),
        "the partitions need 1.3 GiB, the disk has 1000 MiB\n\
         raise 'disk.size' to 1298MiB or more"
    );
    assert_eq!(
        refused(&Disk { esp: Bytes(1000), ..disk(1000, 256, 512, 8) }, 0, 0),
        "'disk.esp' is 1000 bytes, not a multiple of 1 MiB\nwrite 'disk.esp' in whole MiB"
    );
    assert_eq!(refused(&disk(1000, 0, 512, 8), 0, 0), "'disk.esp' is 0\ngive 'disk.esp' a size");
    let huge = disk(1 << 43, (1 << 43) - 1, (1 << 43) - 1, 8);
    assert!(matches!(lay_out_sizes(&huge, 0, 0), Err(Error::DiskTooSmall { .. })));
}

#[test]
fn overlapping_extents_are_named() {
    let root = Extent { area: Area::Root, offset: 1 << 20, len: 2 << 20 };
    let backup = Extent { area: Area::GptBackup, offset: (3 << 20) - 512, len: 512 };
    assert_eq!(
        check_overlaps(&[root, backup]).unwrap_err().to_string(),
        "'root' (blocks 2048..6144, 2 MiB) overlaps '[GPT backup]' (blocks 6143..6144, 512 bytes)"
    );
}

#[test]
fn a_label_that_gpt_cannot_hold_is_refused() {
    let contents = Contents {
        name: "a-cluster-with-a-long-name-master",
        version: "2026.11",
        root_len: 0,
        verity_len: 0,
        root_hash: &Digest::of(b""),
        plan: &Digest::of(b"plan"),
        bios: false,
    };
    let error = lay_out(&disk(2048, 256, 512, 8), &contents).unwrap_err();
    assert_eq!(error.help().unwrap(), "shorten the cluster's name, the role or the version");
}

proptest! {
    #[test]
    fn layouts_are_disjoint_aligned_and_inside(
        size in 0_u64..5000, esp in 0_u64..600, root in 0_u64..1000, verity in 0_u64..20, bios: bool,
    ) {
        if let Ok(layout) = lay_out_for(&disk(size, esp, root, verity), 0, 0, bios) {
            prop_assert!(layout.extents.windows(2).all(|pair| pair[0].end() <= pair[1].offset));
            prop_assert_eq!(layout.extents.last().unwrap().end(), layout.len);
            prop_assert!(layout.table.partitions.iter().all(|p| p.first_lba % 2048 == 0));
        }
    }
}
