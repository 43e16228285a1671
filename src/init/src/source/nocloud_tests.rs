// SPDX-License-Identifier: Apache-2.0

use std::{fs, path::Path, process::Command};

use proptest::prelude::*;

use super::{line::*, *};
use crate::{
    metadata::Line,
    volume::{Medium, ReadAt, Volume},
};

const META_DATA: &str = "instance-id: i-1\nlocal-hostname: n1\n";

/// Runs a foreign tool; a missing one fails the test.
fn run(tool: &str, arguments: &[&str]) {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let output = Command::new(tool)
        .args(arguments)
        .env("PATH", path)
        .env("MTOOLS_SKIP_CHECK", "1")
        .output()
        .unwrap_or_else(|error| panic!("starting {tool}: {error}"));
    assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A folder with documents; the large one spans many clusters.
fn documents(folder: &Path) -> String {
    let user_data = format!("#cloud-config\n# {}\n", "x".repeat(100_000));
    fs::write(folder.join("meta-data"), META_DATA).unwrap();
    fs::write(folder.join("user-data"), &user_data).unwrap();
    fs::write(folder.join("readme.txt"), "hello").unwrap();
    user_data
}

/// A FAT image made by mkfs.vfat and mtools.
fn fat(size_kib: u32, label: &str, options: &[&str]) -> (Vec<u8>, String) {
    let folder = tempfile::tempdir().unwrap();
    let user_data = documents(folder.path());
    let image = folder.path().join("image");
    let image = image.to_str().unwrap();
    fs::File::create(image).unwrap().set_len(u64::from(size_kib) * 1024).unwrap();
    run("mkfs.vfat", &[options, &["-n", label, image]].concat());
    for name in ["meta-data", "user-data", "readme.txt"] {
        let file = folder.path().join(name);
        run("mcopy", &["-i", image, file.to_str().unwrap(), &format!("::{name}")]);
    }
    (fs::read(image).unwrap(), user_data)
}

/// An ISO image made by xorriso's mkisofs emulation.
fn iso(label: &str, options: &[&str]) -> (Vec<u8>, String) {
    let folder = tempfile::tempdir().unwrap();
    let user_data = documents(folder.path());
    let image = tempfile::NamedTempFile::new().unwrap();
    let to = image.path().to_str().unwrap();
    let from = folder.path().to_str().unwrap();
    let fixed = ["-as", "mkisofs", "-quiet", "-volid", label, "-output", to];
    run("xorriso", &[&fixed, options, &[from]].concat());
    (fs::read(image.path()).unwrap(), user_data)
}

fn read_bytes(image: &[u8], medium: &str) -> Result<Option<Seed>, nocloud::Error> {
    read(Owned(image.to_vec()), medium)
}

struct Owned(Vec<u8>);

impl ReadAt for Owned {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        (&*self.0).read_at(buffer, offset)
    }
}

fn read(device: impl ReadAt + 'static, medium: &str) -> Result<Option<Seed>, nocloud::Error> {
    let device = Medium::Device(Box::new(device));
    Volume::open(&device).map_or(Ok(None), |volume| nocloud::read(&volume, medium))
}

fn assert_seed(image: &[u8], user_data: &str) {
    let seed = read_bytes(image, "vdb").unwrap().expect("a NoCloud volume");
    assert_eq!(seed.origin, "nocloud medium 'vdb'");
    assert_eq!(seed.meta_data.as_deref(), Some(META_DATA.as_bytes()));
    assert_eq!(seed.user_data.as_deref(), Some(user_data.as_bytes()));
    assert_eq!(seed.network_config, None);
}

#[test]
fn every_kind_of_fat_is_read_whatever_the_case_of_the_label() {
    for (size, label, options) in [
        (1440, "CIDATA", &["-F", "12"][..]),
        (1440, "cidata", &[]),
        (32_768, "CiData", &["-F", "16"]),
        (8192, "CIDATA", &["-F", "16", "-s", "1"]),
        (40_960, "cidata", &["-F", "32", "-s", "1"]),
        (4096, "CIDATA", &["-S", "2048"]),
    ] {
        let (image, user_data) = fat(size, label, options);
        assert_seed(&image, &user_data);
    }
}

#[test]
fn a_label_that_only_the_boot_sector_has_counts() {
    let (mut image, user_data) = fat(1440, "CIDATA", &["-F", "12"]);
    let boot = image[43..54].to_vec();
    assert_eq!(boot, b"CIDATA     ");
    let root = image.windows(12).rposition(|it| it[..11] == boot[..] && it[11] == 8).unwrap();
    image[root] = 0xe5;
    assert_seed(&image, &user_data);
}

#[test]
fn iso_images_with_long_names_are_read() {
    for (label, options) in [
        ("cidata", &["-rational-rock"][..]),
        ("CIDATA", &["-joliet"]),
        ("CiData", &["-joliet", "-rational-rock"]),
    ] {
        let (image, user_data) = iso(label, options);
        assert_seed(&image, &user_data);
    }
}

#[test]
fn an_iso_with_short_names_says_how_to_make_a_better_one() {
    let (image, _) = iso("CIDATA", &["--norock"]);
    assert_eq!(
        read_bytes(&image, "sr0").unwrap_err().to_string(),
        "nocloud medium 'sr0': only the short name 'META_DAT' is there: \
         write the ISO with Rock Ridge or Joliet names"
    );
}

#[test]
fn other_volumes_are_nothing_and_a_volume_without_documents_is_refused() {
    assert!(read_bytes(&[][..], "a").unwrap().is_none());
    assert!(read_bytes(&[0xff_u8; 65536][..], "a").unwrap().is_none());
    let (image, _) = fat(1440, "OTHER", &[]);
    assert!(read_bytes(&image, "a").unwrap().is_none());
    let (image, _) = iso("OTHER", &["-rational-rock"]);
    assert!(read_bytes(&image, "a").unwrap().is_none());

    let (mut image, _) = fat(1440, "CIDATA", &[]);
    let directory = 19 * 512..33 * 512;
    for entry in image[directory].chunks_mut(32) {
        if entry[11] != 8 && !entry.starts_with(b"README") {
            entry[0] = if entry[0] == 0 { 0 } else { 0xe5 };
        }
    }
    assert_eq!(
        read_bytes(&image, "vdb").unwrap_err().to_string(),
        "nocloud medium 'vdb': none of meta-data, network-config, user-data is there; found: README.TXT"
    );
}

#[test]
fn a_damaged_volume_is_refused() {
    let (image, _) = fat(1440, "CIDATA", &["-F", "12"]);
    let mut broken = image.clone();
    broken[512 + 3..512 * 19].fill(0);
    assert_eq!(
        read_bytes(&broken, "vdb").unwrap_err().to_string(),
        "nocloud medium 'vdb': a chain of clusters ends early or leaves the volume"
    );
    assert_eq!(
        read_bytes(&image[..512 * 40], "vdb").unwrap_err().to_string(),
        "nocloud medium 'vdb': it ends before its own structures"
    );
}

#[test]
fn lines_of_configuration_are_read() {
    let line = |hostname: Option<&str>, id: Option<&str>, other: &[(&str, &str)]| {
        Some(Line {
            origin: "here".to_owned(),
            hostname: hostname.map(str::to_owned),
            instance_id: id.map(str::to_owned),
            seed_url: None,
            other: other.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        })
    };
    for (text, expected) in [
        ("quiet ds=nocloud;h=n1;i=i-1 root=x", line(Some("n1"), Some("i-1"), &[])),
        ("ds=nocloud", line(None, None, &[])),
        ("ds=nocloud-net;h=n1", line(Some("n1"), None, &[])),
        ("ds=nocloud;h=n1;bogus;;x=", line(Some("n1"), None, &[("bogus", ""), ("x", "")])),
        ("ds=nocloudy;h=n1", None),
        ("ds=NoCloud;h=n1", line(Some("n1"), None, &[])),
        ("ds=NOCLOUD-net;rack=r7;h=n1", line(Some("n1"), None, &[("rack", "r7")])),
        ("ds=none", None),
        ("xds=nocloud", None),
        ("", None),
    ] {
        assert_eq!(on_command_line(text, "here").unwrap(), expected, "{text}");
    }
    for (text, found) in [
        ("s=http://a/x;y/", "y/"),
        ("s=http://a/?q=1;r=2", "r=2"),
        ("h=a;x/y", "x/y"),
        ("h=a;a b=c", "a b=c"),
    ] {
        let refusal = parse_line(&format!("ds=nocloud;{text}"), "here").err();
        let refusal = refusal.map(|it| it.to_string());
        let expected = format!(
            "here: expected 'KEY=VALUE', found '{found}'; a ';' ends an address, and keys of your own stand before it"
        );
        assert_eq!(refusal, Some(expected), "{text}");
    }
    let line = on_command_line("ds=nocloud;s=http://a/b?c=1", "here").unwrap().unwrap();
    assert_eq!(line.seed_url.as_deref(), Some("http://a/b?c=1"));
    for url in ["file:///etc/", "https://a/", "http://user:pass@a/", "http:///a", "a", ""] {
        let refusal = on_command_line(&format!("ds=nocloud;s={url}"), "here").unwrap_err();
        let url = if url.contains('@') { "a user" } else { url };
        assert_eq!(
            refusal.to_string(),
            format!(
                "here: 's' (seedfrom): expected http:// and a host without a user, found '{url}'"
            )
        );
    }
}

/// A reader that fails a test which asks for too much.
struct Bounded(Vec<u8>);

impl ReadAt for Bounded {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        assert!(buffer.len() <= 2 << 20, "a read of {} bytes", buffer.len());
        (&*self.0).read_at(buffer, offset)
    }
}

#[test]
fn damaged_images_are_read_or_refused_without_harm() {
    let images = [
        fat(1440, "CIDATA", &["-F", "12"]).0,
        fat(40_960, "CIDATA", &["-F", "32", "-s", "1"]).0,
        iso("CIDATA", &["-joliet", "-rational-rock"]).0,
    ];
    let mut runner = proptest::test_runner::TestRunner::default();
    for image in images {
        // The structures lie at the beginning; the content behind them does not matter.
        let end = image.len().min(800_000);
        let edits = prop::collection::vec((0..end, any::<u8>()), 1..40);
        let strategy = (edits, prop::bool::weighted(0.2), 0..end);
        let check = |(edits, cut, length)| {
            let mut image = image.clone();
            for (offset, byte) in edits {
                image[offset] = byte;
            }
            let image = if cut { &image[..length] } else { &image[..] };
            let _ = read(Bounded(image.to_vec()), "vdb");
            Ok(())
        };
        runner.run(&strategy, check).unwrap();
    }
}

proptest! {
    #[test]
    fn any_boot_sector_is_read_or_refused(head in prop::collection::vec(any::<u8>(), 36..512), tail in prop::collection::vec(any::<u8>(), 0..4096)) {
        let mut image = head;
        image.resize(510, 0);
        image[0] = 0xeb;
        image[11..14].copy_from_slice(&[0, 2, 1]);
        image.extend([0x55, 0xaa]);
        image.extend(tail);
        let _ = read(Bounded(image), "vdb");
    }
}
