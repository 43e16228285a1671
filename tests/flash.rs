// SPDX-License-Identifier: Apache-2.0
//! `kiln flash`, on files that play disks: what is on them afterwards, and when they are left alone.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Instant,
};

use kiln::{
    digest::Digest,
    disk::{
        layout::{self, Area, Contents},
        write,
    },
    flash::{self, Image, target::Target},
    profile::Disk,
    progress::Progress,
    sys,
    tree::Content,
    units::Bytes,
};
use tempfile::TempDir;

use crate::support::disk_tools::tool;

const MIB: u64 = 1 << 20;

/// A folder with an image of 160 MiB.
fn image() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("quickstart-lb.raw");
    let contents = Contents {
        name: "quickstart-lb",
        version: "1",
        root_len: 9 * MIB,
        verity_len: 8192,
        root_hash: &Digest::of(b""),
        plan: &Digest::of(b"plan"),
        bios: false,
    };
    let [size, esp, root, verity] = [160, 40, 32, 2].map(Bytes::mib);
    let layout = layout::lay_out(&Disk { size, esp, root, verity }, &contents).unwrap();
    let mut bytes: Vec<u8> = (0..9 * MIB).map(|n| (n / 5) as u8).collect();
    bytes[5_000_000..8_000_000].fill(0);
    let parts = [
        (Area::ProtectiveMbr, Content::bytes(vec![5; 440])),
        (Area::Esp, Content::bytes(vec![1; 70_000])),
        (Area::Root, Content::bytes(bytes)),
        (Area::Verity, Content::bytes(vec![4; 8192])),
    ];
    write::raw(&write::volume(&layout, &parts).unwrap(), &path).unwrap();
    (folder, path)
}

/// A disk of that size, full of what was there before.
fn disk(folder: &Path, mib: u64) -> PathBuf {
    let path = folder.join("disk");
    fs::write(&path, vec![0xaa; (mib * MIB) as usize]).unwrap();
    path
}

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    command.env_clear().args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The bytes of a file from one place to another.
fn bytes(path: &Path, from: u64, to: u64) -> Vec<u8> {
    let mut bytes = vec![0; (to - from) as usize];
    File::open(path).unwrap().read_exact_at(&mut bytes, from).unwrap();
    bytes
}

#[test]
fn a_larger_disk_has_the_image_and_a_table_of_its_own_size() {
    let (folder, image) = image();
    let disk = disk(folder.path(), 200);
    let output = run(&["flash", "--yes", image.to_str().unwrap(), disk.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("will be lost: something that is not known here"));
    // Zeros of the image are zeros of the disk; what lies behind is none of the image's.
    assert!(bytes(&image, MIB, 159 * MIB) == bytes(&disk, MIB, 159 * MIB));
    let program = |path: &Path| bytes(path, 0, 440);
    assert!(program(&disk) == program(&image), "legacy firmware starts what the image has");
    assert!(bytes(&disk, 160 * MIB, 199 * MIB).iter().all(|byte| *byte == 0xaa));
    let report = tool("sgdisk", &[&"--verify", &disk]);
    assert!(report.contains("No problems found."), "{report}");
    let partitions = |path: &Path| {
        let text = tool("sfdisk", &[&"--dump", &path]);
        let lines = text.lines().filter_map(|line| Some(line.split_once(" : ")?.1.to_owned()));
        lines.collect::<Vec<String>>()
    };
    assert_eq!(partitions(&disk), partitions(&image));
    // And now there is something to lose.
    let output = run(&["flash", image.to_str().unwrap(), disk.to_str().unwrap()]);
    let text = stderr(&output);
    assert!(text.contains("  will be lost: partition 2, 'quickstart-lb_1', 32 MiB\n"), "{text}");
    assert!(text.contains("cause: nobody is there to agree\nhelp:  say so with --yes"), "{text}");
}

#[test]
fn a_seed_lies_in_a_partition_at_the_end() {
    let (folder, image) = image();
    let disk = disk(folder.path(), 170);
    let seed = Content::bytes(vec![7; MIB as usize]);
    let content = sys::fs::content(&image).unwrap();
    let target = Target::open(&disk, content.len()).unwrap();
    let image = Image { content: &content, digest: None, seed: Some(&seed) };
    flash::flash(&image, &target, &Progress::quiet()).unwrap();
    let report = tool("sgdisk", &[&"--verify", &disk]);
    assert!(report.contains("No problems found."), "{report}");
    let info = tool("sgdisk", &[&"--info=6", &disk]);
    assert!(info.contains("Microsoft basic data") && info.contains("'seed'"), "{info}");
    let first = info.lines().find_map(|line| line.strip_prefix("First sector: ")).unwrap();
    let first: u64 = first.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(first * 512, 168 * MIB);
    assert!(bytes(&disk, first * 512, first * 512 + MIB) == vec![7; MIB as usize]);
}

#[test]
fn a_disk_that_is_too_small_is_left_alone() {
    let (folder, image) = image();
    let disk = disk(folder.path(), 159);
    let output = run(&["flash", "--yes", image.to_str().unwrap(), disk.to_str().unwrap()]);
    let text = stderr(&output);
    assert!(
        text.contains("cause: it has 159 MiB (166723584 bytes), the image 160 MiB\n"),
        "{text}"
    );
    assert!(bytes(&disk, 0, 159 * MIB).iter().all(|byte| *byte == 0xaa));
}

#[test]
fn a_damaged_image_leaves_a_disk_that_does_not_boot() {
    let (folder, image) = image();
    let sums = format!("{}  quickstart-lb.raw\n", Digest::of(b"another"));
    fs::write(folder.path().join("SHA256SUMS"), sums).unwrap();
    let disk = disk(folder.path(), 160);
    let output = run(&["flash", "--yes", image.to_str().unwrap(), disk.to_str().unwrap()]);
    let text = stderr(&output);
    assert!(text.contains("cause: the image is not what SHA256SUMS beside it says\n"), "{text}");
    for (from, to) in [(0, MIB), (159 * MIB, 160 * MIB)] {
        assert!(bytes(&disk, from, to).iter().all(|byte| *byte == 0), "a table is left");
    }
}

#[test]
fn what_is_no_image_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("text");
    fs::write(&image, "hello").unwrap();
    let disk = disk(folder.path(), 10);
    let output = run(&["flash", "--yes", image.to_str().unwrap(), disk.to_str().unwrap()]);
    let text = stderr(&output);
    let expected = "cause: the image has no partition table\n\
                    help:  name a raw image that `kiln build` made: NAME.raw";
    assert!(text.contains(expected), "{text}");
    assert!(bytes(&disk, 0, 10 * MIB).iter().all(|byte| *byte == 0xaa));
}

/// Whether firmware would find partitions on the disk.
fn has_table(disk: &Path) -> bool {
    let content = sys::fs::content(disk).unwrap();
    kiln::formats::gpt::read(&content).unwrap().is_some()
}

#[test]
fn a_disk_boots_whole_or_not_at_all_whenever_flashing_is_interrupted() {
    let (folder, image) = image();
    let disk = disk(folder.path(), 200);
    let flash = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        command.env_clear().args(["flash", "--yes"]);
        command.args([&image, &disk]).stderr(Stdio::null()).spawn().unwrap()
    };
    let started = Instant::now();
    assert!(flash().wait().unwrap().success());
    let whole = started.elapsed();
    let expected = bytes(&disk, 0, 200 * MIB);
    let mut n_unfinished = 0;
    for moment in 0..20_u32 {
        fs::write(&disk, vec![0xaa; (200 * MIB) as usize]).unwrap();
        let mut process = flash();
        // Anywhere: a fraction of the time that varies anyway.
        std::thread::sleep(whole * (moment * 7 % 20) / 20);
        process.kill().unwrap();
        process.wait().unwrap();
        if has_table(&disk) {
            assert!(bytes(&disk, 0, 160 * MIB) == expected[..(160 * MIB) as usize], "{moment}");
        } else {
            n_unfinished += 1;
        }
    }
    assert!(n_unfinished >= 5, "only {n_unfinished} of 20 came in time");
    // And it can be done over.
    assert!(flash().wait().unwrap().success());
    assert!(has_table(&disk));
}
