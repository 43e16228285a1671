// SPDX-License-Identifier: Apache-2.0
//! `kiln flash` on block devices: those of an emulated machine, one of which has bad blocks.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use kiln::{
    formats::fat,
    qemu::{Changes, Spec},
    tree::Content,
};

use super::live::{NAME, output, power_off, var_of};
use crate::support::{
    disk_tools::tool,
    guest::{Checks, Guest},
    qemu::{repository, side_by_side, spec_for, start, wait_ready},
};

const MIB: u64 = 1 << 20;
/// In the root of the image that is flashed.
const BAD: u64 = 150 * MIB;

/// A FAT medium with the program and an image.
fn medium(scratch: &Path) -> PathBuf {
    let program = fs::read(repository().join("bin/kiln")).expect("`make bin/kiln`");
    let image = fs::read(output("iso")).unwrap();
    let volume = fat::Volume {
        len: ((program.len() + image.len()) as u64).next_multiple_of(MIB) + 64 * MIB,
        kind: fat::Kind::Fat32,
        label: "TOOLS".into(),
        id: 1,
        mtime: 315_532_800,
    };
    let files = [("kiln".to_owned(), &program[..]), ("image.iso".to_owned(), &image[..])].into();
    let path = scratch.join("tools.img");
    fs::write(&path, Content::from(fat::encode(&volume, &files).unwrap()).to_vec().unwrap())
        .unwrap();
    path
}

/// A disk full of something else.
fn used_disk(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, vec![0xaa; (512 * MIB) as usize]).unwrap();
    path
}

#[test]
fn disks_of_a_machine_are_flashed_whole_or_not_at_all() {
    let _running = side_by_side();
    let scratch = tempfile::tempdir().unwrap();
    let [good, bad] = ["good", "bad"].map(|name| used_disk(scratch.path(), name));
    let more = [
        "-drive".to_owned(),
        format!("if=none,id=good,format=raw,file={}", good.display()),
        "-device".to_owned(),
        "virtio-blk-pci,drive=good,serial=good".to_owned(),
        "-blockdev".to_owned(),
        format!(
            "driver=blkdebug,node-name=bad,image.driver=file,image.filename={},\
             inject-error.0.event=none,inject-error.0.iotype=write,inject-error.0.errno=5,\
             inject-error.0.sector={}",
            bad.display(),
            BAD / 512
        ),
        "-device".to_owned(),
        "virtio-blk-pci,drive=bad,serial=bad".to_owned(),
    ];
    let spec = Spec {
        media: vec![medium(scratch.path())],
        more: more.map(Into::into).to_vec(),
        ..spec_for(NAME, scratch.path())
    };
    let mut machine = start(&spec);
    wait_ready(&mut machine, NAME);
    let mut guest = Guest::of(&machine);
    let mut checks = Checks::new("flash");
    let by = "/dev/disk/by-id/virtio-";
    let mount = format!("mkdir /run/tools && mount -r -t vfat {by}medium0 /run/tools");
    checks.prints("the medium is there", &mut guest, &mount, "");
    let flash =
        |disk: &str| format!("cd /run/tools; ./kiln flash --yes image.iso {disk} 2>&1; true");
    for (name, disk, found) in [
        ("the root's disk is refused", "/dev/vda", "is a part of '/dev/dm-0'"),
        ("a partition is refused", "/dev/vda1", "help:  name its disk: /dev/vda"),
        ("a read-only disk is refused", "/dev/disk/by-id/virtio-medium0", "it is read-only"),
        ("bad blocks are told", "/dev/disk/by-id/virtio-bad", "Input/output error"),
        ("a good disk is ready", "/dev/disk/by-id/virtio-good", "is ready to boot"),
    ] {
        checks.mentions(name, &mut guest, &flash(disk), found);
    }
    // The port takes one at a time.
    drop(guest);
    power_off(&mut machine);
    let mut head = vec![1; MIB as usize];
    File::open(&bad).unwrap().read_exact_at(&mut head, 0).unwrap();
    checks.that("the bad disk has no table", head.iter().all(|byte| *byte == 0), &"bytes");
    let table = tool("sgdisk", &[&"--verify", &good]);
    checks.that("the good one has", table.contains("No problems found."), &table);
    checks.finish();

    let spec = spec_for(NAME, scratch.path());
    let mut machine = start(&Spec { disk: good, changes: Changes::KeepRaw, ..spec });
    wait_ready(&mut machine, NAME);
    assert_eq!(var_of(&machine), "tmpfs");
}
