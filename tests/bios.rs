// SPDX-License-Identifier: Apache-2.0
//! GRUB as Kiln installs it, judged by GRUB's own tools.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use kiln::{
    boot::{
        bios, esp,
        uki::{self, UkiParts},
    },
    digest::Digest,
    disk::{
        layout::{self, Area, Contents, DiskLayout},
        write,
    },
    formats::{
        gpt::{BLOCK, BOOT_CODE},
        grub::{self, Core},
    },
    lock::LockedRole,
    plan::Text,
    profile::Disk,
    tree::Content,
    units::Bytes,
};

use crate::support::{
    disk_images::{kernel, stub},
    disk_tools::{Argument, tool, tool_bytes},
    root::Fixture,
};

const FOLDER: &str = "/usr/lib/grub/i386-pc";
const MODULES: [&str; 4] = ["linux", "normal", "serial", "part_gpt"];
const SCRIPT: &str = "set superusers=\nsource $prefix/grub.cfg\n";
const PREFIX: &str = "(,gpt1)/loader";
const UKI: &str = "quickstart-lb_1.efi";
const LINE: &str = "quiet console=ttyS0,115200n8 a=b;c={d} roothash=ab";

/// The files of Debian's package.
fn files() -> BTreeMap<String, Content> {
    let entries = fs::read_dir(FOLDER).expect("package grub-pc-bin is installed: run `make setup`");
    let paths = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    paths.map(|path| (name(&path), Content::bytes(fs::read(&path).unwrap()))).collect()
}

#[test]
fn grub_mkimage_makes_the_same_image_but_for_its_compression() {
    let files = files();
    let ours = Core { files: &files, modules: &MODULES, script: SCRIPT, prefix: PREFIX };
    let folder = tempfile::tempdir().unwrap();
    let [script, image] = ["script", "core.img"].map(|name| folder.path().join(name));
    fs::write(&script, SCRIPT).unwrap();
    let mut arguments: Vec<Argument<'_>> =
        vec![&"-O", &"i386-pc", &"-d", &FOLDER, &"-p", &PREFIX, &"-c", &script, &"-o", &image];
    arguments.extend(MODULES.iter().map(|module| module as Argument<'_>));
    tool("grub-mkimage", &arguments);
    let theirs = fs::read(&image).unwrap();

    let n_decompressor = usize::try_from(files["lzma_decompress.img"].len()).unwrap();
    let payload = grub::unpack(&theirs, n_decompressor).unwrap();
    assert!(payload == ours.payload().unwrap(), "kernel, modules, script and folder are the same");
    let ours = ours.encode(2048).unwrap();
    assert!(grub::unpack(&ours, n_decompressor).unwrap() == payload);
    // The first sector has a list of blocks at its end; the decompressor has two sizes at 8.
    assert!(ours[..500] == theirs[..500]);
    assert!(ours[512..520] == theirs[512..520]);
    assert!(ours[524..512 + n_decompressor] == theirs[524..512 + n_decompressor]);
    let len = theirs.len();
    assert!(ours.len() < len + len / 50, "{} bytes, GRUB's own image {len}", ours.len());
}

fn build_uki(initrd: &[u8]) -> Vec<u8> {
    let parts = UkiParts {
        osrel: "ID=kiln\n",
        cmdline: LINE,
        uname: "6.12",
        initrd,
        linux: &kernel(b"sbat,1,x\nlinux,1\n"),
        ucode: Some(&[0x6d; 700]),
    };
    uki::build(&stub(8, b"sbat,1,x\nsystemd-stub,1\n"), &parts).unwrap()
}

fn lay_out() -> DiskLayout {
    let [size, esp, root, verity] = [256, 40, 16, 2].map(Bytes::mib);
    let contents = Contents {
        name: "quickstart-lb",
        version: "1",
        root_len: 1 << 20,
        verity_len: 8192,
        root_hash: &Digest::of(b""),
        plan: &Digest::of(b"plan"),
        bios: true,
    };
    layout::lay_out(&Disk { size, esp, root, verity }, &contents).unwrap()
}

/// A disk for both kinds of firmware, and its configuration of GRUB.
fn disk(folder: &Path, initrd: &[u8]) -> (PathBuf, String) {
    let layout = lay_out();
    let uki = build_uki(initrd);
    let place = layout.find(Area::BiosBoot).unwrap();
    let programs = bios::programs(&files(), place.offset / BLOCK).unwrap();
    let config = bios::config(UKI, &uki, LINE).unwrap();
    let esp = esp::EspInputs {
        len: 40 << 20,
        digest: &Digest::of(b"plan"),
        epoch: 1_709_210_097,
        loader: &stub(0, b""),
        uki_name: UKI,
        uki: &uki,
        grub: Some(&config),
    };
    let parts = [
        (Area::ProtectiveMbr, programs.boot_code),
        (Area::BiosBoot, programs.core),
        (Area::Esp, esp::build(&esp).unwrap().into()),
    ];
    let path = folder.join("disk.raw");
    write::raw(&write::volume(&layout, &parts).unwrap(), &path).unwrap();
    (path, config)
}

#[test]
fn grub_finds_its_configuration_and_partition_tools_find_no_fault() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, config) = disk(folder.path(), &[0x5a; 100_000]);
    let report = tool("sgdisk", &[&"-v", &disk]);
    assert!(report.contains("No problems found"), "{report}");
    let report = tool("sgdisk", &[&"-p", &disk]);
    let last = report.lines().last().unwrap();
    let words: Vec<&str> = last.split_whitespace().collect();
    assert_eq!(words[..3], ["6", "2048", "4095"], "{report}");
    assert!(words.contains(&"EF02"), "{report}");

    // GRUB's own drivers for the table and the file system.
    let found = tool_bytes("grub-fstest", &[&disk, &"cat", &"(loop0,gpt1)/loader/grub.cfg"], b"");
    assert_eq!(String::from_utf8(found).unwrap(), config);
    let path = folder.path().join("grub.cfg");
    fs::write(&path, config).unwrap();
    tool("grub-script-check", &[&path]);
}

#[test]
fn the_blocks_that_grub_reads_are_kernel_and_initramfs() {
    let folder = tempfile::tempdir().unwrap();
    let initrd: Vec<u8> = (0..100_000_u32).map(|n| (n / 3) as u8).collect();
    let (_, config) = disk(folder.path(), &initrd);
    let uki = folder.path().join(UKI);
    fs::write(&uki, build_uki(&initrd)).unwrap();
    // As a disk of its own, which is how `loopback` shows it.
    let blocks = config.split_whitespace().filter_map(|word| word.strip_prefix("(kiln)"));
    let blocks: Vec<Vec<u8>> = blocks
        .map(|list| {
            let list = format!("(loop0){}", list.trim_end_matches(';'));
            tool_bytes("grub-fstest", &[&uki, &"cat", &list], b"")
        })
        .collect();
    let [linux, microcode, initramfs] = &blocks[..] else { panic!("{config}") };
    assert!(linux.starts_with(&kernel(b"sbat,1,x\nlinux,1\n")));
    assert!(microcode.starts_with(&[0x6d; 700]) && microcode[700..] == [0; 324]);
    assert!(initramfs.starts_with(&initrd));
}

#[test]
fn the_first_sector_is_debians_but_for_where_it_reads() {
    let theirs = files()["boot.img"].to_vec().unwrap();
    let code = grub::boot_code(&files(), 2048).unwrap();
    let differ: Vec<usize> = (0..BOOT_CODE).filter(|&at| code[at] != theirs[at]).collect();
    // The block's number, which is 1 in the package, and a jump over a check.
    assert_eq!(differ, [0x5c, 0x5d, 0x66, 0x67]);
}

#[test]
fn a_disk_for_legacy_firmware_takes_grub_and_none_of_its_tools() {
    let asked = |profile: &str| {
        let (plan, _) = Fixture::new().profile(profile).plan();
        let role = LockedRole::of(&plan);
        let grub = (role.install.contains("grub-pc-bin"), role.omit.contains("grub-common"));
        (grub, Text(&plan).to_string().contains("  firmware      UEFI, and legacy BIOS by GRUB\n"))
    };
    assert_eq!(asked("boot: { bios: true }\n"), ((true, true), true));
    assert_eq!(asked("boot: { bios: false }\n"), ((false, false), false));
}
