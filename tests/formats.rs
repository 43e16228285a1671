// SPDX-License-Identifier: Apache-2.0
//! Every form of a disk, read by the programs that others use.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, fs, path::Path};

use kiln::{
    digest::Digest,
    disk::{
        forms::{self, Labels},
        write,
    },
    formats::{ova::Seal, volume::Volume},
    profile::{Machine, OUTPUTS, Output},
    tree::{Content, Source as _},
    units::Bytes,
};
use tempfile::TempDir;

use crate::support::disk_tools::tool;

/// Bytes of the disk: more than one table of every format finds, and no multiple of its unit but
/// whole MiB.
const LEN: u64 = (9 << 30) + (3 << 20);

/// Bytes of one that is soon read to its end, zeros and all.
const SMALL_LEN: u64 = (600 << 20) + (3 << 20);

/// A disk with text, noise and zeros, at its begin, across the borders of every unit, at its end.
fn disk(len: u64) -> Volume {
    let noise = |len: usize, seed: u32| -> Vec<u8> {
        let mut state = seed;
        let mut next = || {
            // Marsaglia's xorshift.
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        };
        (0..len).map(|_| next()).collect()
    };
    let mut mixed = noise(200_000, 1);
    mixed[70_000..150_000].fill(0);
    let mut disk = Volume::new(len);
    for (offset, bytes) in [
        (0, b"a boot sector".to_vec()),
        (1 << 20, mixed),
        ((2 << 20) - 5, b"across".to_vec()),
        ((64 << 20) + 512, "text ".repeat(60_000).into_bytes()),
        ((512 << 20) - 1000, noise(300_000, 2)),
        ((8 << 30) - 7, b"beyond eight GiB".to_vec()),
        (len - 512, vec![7; 512]),
    ] {
        if offset < len {
            disk.put(offset, Content::bytes(bytes)).unwrap();
        }
    }
    disk
}

/// Writes forms of the disk, and says which files there are.
fn written(wanted: &[Output], folder: &Path) -> Vec<String> {
    written_of(&disk(LEN), wanted, None, folder)
}

fn written_of(disk: &Volume, wanted: &[Output], seal: Option<&Seal>, folder: &Path) -> Vec<String> {
    let digest = Digest::of(b"plan");
    let labels = Labels {
        name: "quickstart-lb",
        version: "1",
        digest: &digest,
        epoch: 1_709_210_097,
        machine: Machine { cpus: 2, memory: Bytes::mib(1024) },
        seal,
    };
    forms::write(disk, &BTreeSet::from_iter(wanted.iter().copied()), &labels, None, folder).unwrap()
}

/// A folder with the disk as it is.
fn folder(disk: &Volume) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write::raw(disk, &folder.path().join("disk.raw")).unwrap();
    folder
}

#[test]
fn qemu_finds_the_same_disk_in_every_form() {
    let folder = folder(&disk(LEN));
    let raw = folder.path().join("disk.raw");
    for (form, driver, is_checked) in [
        (Output::Qcow2, "qcow2", true),
        (Output::Qcow2Zstd, "qcow2", true),
        (Output::Vmdk, "vmdk", true),
        (Output::Vhdx, "vhdx", true),
        // Its driver has nothing to check.
        (Output::Vhd, "vpc", false),
    ] {
        let [file] = &written(&[form], folder.path())[..] else { panic!("{form:?}") };
        let path = folder.path().join(file);
        if is_checked {
            let report = tool("qemu-img", &[&"check", &"-f", &driver, &path]);
            assert!(report.contains("No errors were found on the image."), "{file}: {report}");
        }
        let compare: [&dyn AsRef<std::ffi::OsStr>; 7] =
            [&"compare", &"-f", &"raw", &"-F", &driver, &raw, &path];
        let report = tool("qemu-img", &compare);
        assert_eq!(report, "Images are identical.\n", "{file}");
        if form != Output::Vhd {
            assert!(fs::metadata(&path).unwrap().len() < 20 << 20, "{file} has the zeros too");
        }
    }
}

#[test]
fn a_stream_unpacks_to_the_disk_and_its_map_has_all_of_it() {
    let disk = disk(SMALL_LEN);
    let folder = folder(&disk);
    let files = written_of(&disk, &[Output::RawZst], None, folder.path());
    assert_eq!(files, ["quickstart-lb.raw.bmap", "quickstart-lb.raw.zst"]);
    let [raw, stream, copy] = ["disk.raw", &files[1], "copy.raw"].map(|it| folder.path().join(it));
    let map = folder.path().join(&files[0]);
    let unpacked = folder.path().join("quickstart-lb.raw");
    tool("zstd", &[&"--decompress", &"--quiet", &"--sparse", &stream, &"-o", &unpacked]);
    tool("cmp", &[&raw, &unpacked]);
    // It checks the sums of what it copies.
    tool("bmaptool", &[&"copy", &"--bmap", &map, &unpacked, &copy]);
    tool("cmp", &[&raw, &copy]);
    let text = fs::read_to_string(&map).unwrap();
    fs::write(&map, text.replacen("chksum=\"", "chksum=\"0", 1)).unwrap();
    let damaged = std::process::Command::new("bmaptool")
        .args(["copy".as_ref(), "--bmap".as_ref(), map.as_os_str()])
        .args([&unpacked, &copy])
        .output()
        .unwrap();
    assert!(!damaged.status.success(), "the judge is blind");
}

#[test]
fn a_machine_has_its_disk_and_their_digests_in_the_order_of_ovf() {
    let folder = folder(&disk(LEN));
    let [file] = &written(&[Output::Ova], folder.path())[..] else { panic!("one file") };
    let path = folder.path().join(file);
    let names = tool("tar", &[&"--list", &"--file", &path]);
    assert_eq!(names, "quickstart-lb.ovf\nquickstart-lb.vmdk\nquickstart-lb.mf\n");
    tool("tar", &[&"--extract", &"--directory", &folder.path(), &"--file", &path]);
    let digests = fs::read_to_string(folder.path().join("quickstart-lb.mf")).unwrap();
    for name in ["quickstart-lb.ovf", "quickstart-lb.vmdk"] {
        let sum = tool("sha256sum", &[&folder.path().join(name)]);
        assert!(digests.contains(&format!("SHA256({name})= {}\n", &sum[..64])), "{digests}");
    }
    let raw = folder.path().join("disk.raw");
    let vmdk = folder.path().join("quickstart-lb.vmdk");
    let compare: [&dyn AsRef<std::ffi::OsStr>; 7] =
        [&"compare", &"-f", &"raw", &"-F", &"vmdk", &raw, &vmdk];
    tool("qemu-img", &compare);
}

#[test]
fn a_machine_is_signed_as_openssl_checks_it() {
    let folder = tempfile::tempdir().unwrap();
    let [key, certificate, public, mf, signature] =
        ["key", "crt", "pub", "quickstart-lb.mf", "sig"].map(|name| folder.path().join(name));
    let request: [&dyn AsRef<std::ffi::OsStr>; 11] = [
        &"req",
        &"-x509",
        &"-newkey",
        &"rsa:2048",
        &"-nodes",
        &"-subj",
        &"/CN=owner",
        &"-keyout",
        &key,
        &"-out",
        &certificate,
    ];
    tool("openssl", &request);
    let pem = fs::read_to_string(&certificate).unwrap();
    let disk = disk(SMALL_LEN);
    let seal = Seal {
        certificate: pem.clone(),
        key: rcgen::KeyPair::from_pem(&fs::read_to_string(&key).unwrap()).unwrap(),
    };
    let [file] = &written_of(&disk, &[Output::Ova], Some(&seal), folder.path())[..] else {
        panic!("one file")
    };
    let ova = folder.path().join(file);
    let first = digest(&ova);
    tool("tar", &[&"--extract", &"--directory", &folder.path(), &"--file", &ova]);
    let text = fs::read_to_string(folder.path().join("quickstart-lb.cert")).unwrap();
    let (line, rest) = text.split_once('\n').unwrap();
    assert_eq!(rest, pem);
    let hex = line.strip_prefix("SHA256(quickstart-lb.mf)= ").unwrap();
    let bytes = hex
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
    fs::write(&signature, bytes.collect::<Vec<u8>>()).unwrap();
    tool("openssl", &[&"x509", &"-in", &certificate, &"-noout", &"-pubkey", &"-out", &public]);
    let report = tool(
        "openssl",
        &[&"dgst", &"-sha256", &"-verify", &public, &"-signature", &signature, &mf],
    );
    assert_eq!(report, "Verified OK\n");
    written_of(&disk, &[Output::Ova], Some(&seal), folder.path());
    assert_eq!(digest(&ova), first, "a signature that differs");
}

#[test]
fn every_form_is_the_same_on_any_number_of_cores() {
    let every = OUTPUTS
        .iter()
        .map(|(_, form)| *form)
        .filter(|form| !matches!(form, Output::Netboot | Output::Iso));
    let every: Vec<Output> = every.collect();
    let disk = disk(SMALL_LEN);
    let made = [1, 2, 7].map(|n_threads| {
        let folder = tempfile::tempdir().unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        let files = pool.install(|| written_of(&disk, &every, None, folder.path()));
        files.into_iter().map(|file| (digest(&folder.path().join(&file)), file)).collect::<Vec<_>>()
    });
    assert_eq!(made[0], made[1]);
    assert_eq!(made[0], made[2]);
    assert_eq!(made[0].len(), every.len() + 1);
}

/// Of a file's bytes.
fn digest(path: &Path) -> Digest {
    let content = kiln::sys::fs::content(path).unwrap();
    kiln::sys::fs::digest(&content).unwrap()
}

#[test]
fn what_is_read_at_any_place_is_what_is_there() {
    let disk = disk(LEN);
    let mut bytes = [1; 8];
    disk.read_exact_at(&mut bytes, (2 << 20) - 6).unwrap();
    assert_eq!(bytes, *b"\0across\0");
    assert!(disk.read_exact_at(&mut bytes, LEN - 7).is_err());
}
