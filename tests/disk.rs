// SPDX-License-Identifier: Apache-2.0
//! Disks, boot programs and media, judged by the tools that others use.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output},
};

use kiln::{
    boot::{esp, initrd, uki},
    digest::Digest,
    disk::{
        layout::{self, Area, Contents, DiskLayout},
        write,
    },
    formats::fat,
    profile::Disk,
    seed,
    tree::Content,
    units::Bytes,
};

use kiln_init::{
    handoff::Source,
    source::Search,
    volume::{Medium, ReadAt},
};

use crate::support::{
    disk_images::{kernel, stub},
    disk_tools::{Argument, tool, tool_bytes},
};

const EPOCH: u32 = 1_709_210_097;

fn build_uki() -> Vec<u8> {
    let parts = uki::UkiParts {
        osrel: "ID=kiln\n",
        cmdline: "quiet",
        uname: "6.12",
        initrd: &[0x5a; 100_000],
        linux: &kernel(b"sbat,1,x\nlinux,1\n"),
        ucode: None,
    };
    uki::build(&stub(8, b"sbat,1,x\nsystemd-stub,1\n"), &parts).unwrap()
}

fn build_esp(mib: u64) -> Content {
    let inputs = esp::EspInputs {
        len: mib << 20,
        digest: &Digest::of(b"plan"),
        epoch: EPOCH,
        loader: &stub(0, b""),
        uki_name: &esp::uki_name("quickstart-lb", "1"),
        uki: &build_uki(),
        grub: None,
    };
    esp::build(&inputs).unwrap().into()
}

fn lay_out() -> DiskLayout {
    let [size, esp, root, verity] = [512, 40, 64, 2].map(Bytes::mib);
    let contents = Contents {
        name: "quickstart-lb",
        version: "1",
        root_len: 1 << 20,
        verity_len: 8192,
        root_hash: &Digest::of(b""),
        plan: &Digest::of(b"plan"),
        bios: false,
    };
    layout::lay_out(&Disk { size, esp, root, verity }, &contents).unwrap()
}

fn write_disk(out: &Path) {
    let parts = [
        (Area::Esp, build_esp(40)),
        (Area::Root, Content::bytes(vec![3; 1 << 20])),
        (Area::Verity, Content::bytes(vec![4; 8192])),
    ];
    write::raw(&write::volume(&lay_out(), &parts).unwrap(), out).unwrap();
}

/// `fsck.fat` finds nothing: two lines, the program's name and the counts.
fn check_fat(image: &Path) {
    let report = tool("fsck.fat", &[&"-n", &image]);
    let lines: Vec<&str> = report.lines().collect();
    assert!(lines.len() == 2 && lines[1].contains(" files, "), "{report}");
}

/// A file of a FAT volume.
fn mcopy(image: &Path, path: &str) -> Vec<u8> {
    tool_bytes("mcopy", &[&"-i", &image, &format!("::{path}"), &"-"], b"")
}

fn label(image: &Path) -> String {
    tool("blkid", &[&"-p", &"-o", &"value", &"-s", &"LABEL", &image])
}

fn write_content(path: &Path, content: &Content) {
    fs::write(path, content.to_vec().unwrap()).unwrap();
}

#[test]
fn partition_tools_accept_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk.raw");
    write_disk(&disk);
    let report = tool("sgdisk", &[&"-v", &disk]);
    assert!(report.contains("No problems found"), "{report}");
    let report = tool("sfdisk", &[&"--verify", &disk]);
    assert!(report.contains("No errors detected"), "{report}");

    let json = tool("sfdisk", &[&"--json", &disk]);
    let table: serde_json::Value = serde_json::from_str(&json).unwrap();
    let table = &table["partitiontable"];
    let expected = lay_out().table;
    assert_eq!(table["id"], expected.disk_guid.to_string().to_uppercase());
    let partitions = table["partitions"].as_array().unwrap();
    assert_eq!(partitions.len(), 5);
    for (found, expected) in partitions.iter().zip(&expected.partitions) {
        assert_eq!(found["start"], expected.first_lba);
        assert_eq!(found["size"], expected.n_blocks);
        assert_eq!(found["type"], expected.type_guid.to_string().to_uppercase());
        assert_eq!(found["uuid"], expected.guid.to_string().to_uppercase());
        assert_eq!(found["name"], expected.label.as_str());
    }
    let attributes: Vec<_> = partitions.iter().map(|found| found["attrs"].as_str()).collect();
    let (read_only, no_auto) = (Some("GUID:60"), Some("GUID:63"));
    assert_eq!(attributes, [None, read_only, read_only, no_auto, no_auto]);
    // SHA-256 of nothing, in two halves.
    assert_eq!(partitions[1]["uuid"], "E3B0C442-98FC-1C14-9AFB-F4C8996FB924");
    assert_eq!(partitions[2]["uuid"], "27AE41E4-649B-934C-A495-991B7852B855");
}

#[test]
fn two_disks_of_the_same_parts_are_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
    write_disk(&one);
    write_disk(&two);
    tool("cmp", &[&one, &two]);
}

#[test]
fn the_esp_is_clean_and_its_files_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("esp.img");
    for mib in [33, 64, 256, 300] {
        write_content(&image, &build_esp(mib));
        check_fat(&image);
    }
    let copy = |path: &str| mcopy(&image, path);
    assert!(copy("EFI/Linux/quickstart-lb_1.efi") == build_uki());
    assert_eq!(copy("EFI/BOOT/BOOTX64.EFI"), stub(0, b""));
    assert_eq!(copy("EFI/systemd/systemd-bootx64.efi"), stub(0, b""));
    assert_eq!(copy("loader/entries.srel"), b"type1\n");
    let conf = String::from_utf8(copy("loader/loader.conf")).unwrap();
    assert!(conf.contains("timeout 0\n") && !conf.contains("\ndefault"), "{conf}");
    let listing = tool("mdir", &[&"-i", &image, &"::loader"]);
    assert!(listing.contains("2024-02-29  12:34"), "{listing}");
}

#[test]
fn deep_and_crowded_folders_are_clean_on_every_kind_of_fat() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("fat.img");
    let names = (0..150).map(|n| (format!("a/b/c/d{}/A long name {n}.Text", n % 3), n));
    let data: BTreeMap<String, Vec<u8>> = names.map(|(name, n)| (name, vec![7; n * 37])).collect();
    let files = data.iter().map(|(name, data)| (name.clone(), data.as_slice())).collect();
    for (len, kind) in
        [(1 << 20, fat::Kind::Small), (16 << 20, fat::Kind::Small), (40 << 20, fat::Kind::Fat32)]
    {
        let volume = fat::Volume { len, kind, label: "TEST".into(), id: 1, mtime: EPOCH };
        write_content(&image, &fat::encode(&volume, &files).unwrap().into());
        check_fat(&image);
        assert_eq!(mcopy(&image, "a/b/c/d1/A long name 148.Text"), vec![7; 148 * 37]);
    }
}

#[test]
fn objdump_reads_the_sections_of_a_uki() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("uki.efi");
    fs::write(&path, build_uki()).unwrap();
    let report = tool("objdump", &[&"-h", &path]);
    let rows: Vec<Vec<&str>> = report
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|row| row.first().is_some_and(|index| index.parse::<u32>().is_ok()))
        .map(|row| vec![row[1], row[2], row[3]])
        .collect();
    let expected = [
        [".text", "00000001", "0000000010001000"],
        [".sbat", "000000b6", "0000000010002000"],
        [".osrel", "00000008", "0000000010003000"],
        [".cmdline", "00000005", "0000000010004000"],
        [".uname", "00000004", "0000000010005000"],
        [".linux", "00000a00", "0000000010006000"],
        [".initrd", "000186a0", "0000000010007000"],
    ];
    assert_eq!(rows, expected);
    let initrd = folder.path().join("initrd");
    let dump = format!(".initrd={}", initrd.display());
    tool("objcopy", &[&"-O", &"binary", &"--dump-section", &dump, &path, &"/dev/null"]);
    assert_eq!(fs::read(initrd).unwrap(), vec![0x5a; 100_000]);
}

#[test]
fn zstd_and_cpio_unpack_the_initrd() {
    let modules = BTreeMap::from([
        ("kernel/fs/squashfs/squashfs.ko.xz".into(), Content::bytes(vec![1; 999])),
        ("modules.dep".into(), Content::bytes(&b"kernel/fs/squashfs/squashfs.ko.xz:\n"[..])),
    ]);
    let inputs = initrd::InitrdInputs {
        init: b"#!ELF",
        handoff_json: b"{}",
        modules: &modules,
        firmware: &BTreeMap::new(),
        texts: &BTreeMap::new(),
        epoch: EPOCH,
    };
    let archive = tool_bytes("zstd", &[&"-dc"], &initrd::build(&inputs).unwrap());
    let listing = tool_bytes("cpio", &[&"-itv", &"--quiet"], &archive);
    let listing = String::from_utf8(listing).unwrap();
    let rows: Vec<String> = listing
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            format!("{} {}", words[0], words.last().unwrap())
        })
        .collect();
    let expected = [
        "drwxr-xr-x dev",
        "crw------- dev/console",
        "crw-r--r-- dev/kmsg",
        "crw-rw-rw- dev/null",
        "-rwxr-xr-x init",
        "drwxr-xr-x kiln",
        "-rw-r--r-- kiln/boot.json",
        "drwxr-xr-x lib",
        "drwxr-xr-x lib/modules",
        "drwxr-xr-x lib/modules/kernel",
        "drwxr-xr-x lib/modules/kernel/fs",
        "drwxr-xr-x lib/modules/kernel/fs/squashfs",
        "-rw-r--r-- lib/modules/kernel/fs/squashfs/squashfs.ko.xz",
        "-rw-r--r-- lib/modules/modules.dep",
        "drwxr-xr-x proc",
        "drwxr-xr-x run",
        "drwxr-xr-x sys",
        "drwxr-xr-x sysroot",
    ];
    assert_eq!(rows, expected);
    let folder = tempfile::tempdir().unwrap();
    tool_bytes("cpio", &[&"-id", &"--quiet", &"-D", &folder.path(), &"init"], &archive);
    assert_eq!(fs::read(folder.path().join("init")).unwrap(), b"#!ELF");
}

fn seed_files() -> seed::Files {
    seed::Files::from([
        ("meta-data".into(), b"{\"local-hostname\": \"a\"}\n".to_vec()),
        ("network-config".into(), vec![b'#'; 5000]),
        ("user-data".into(), b"#cloud-config\n{}\n".to_vec()),
    ])
}

#[test]
fn iso_tools_read_the_seed_by_both_extensions() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("seed.iso");
    fs::write(&image, seed::iso(&seed_files()).unwrap()).unwrap();
    for extension in ["-R", "-J"] {
        for (name, data) in seed_files() {
            let path = format!("/{name}");
            let found = tool_bytes("isoinfo", &[&"-i", &image, &extension, &"-x", &path], b"");
            assert!(found == data, "{extension} {name}: {}", String::from_utf8_lossy(&found));
        }
    }
    let report = tool("isoinfo", &[&"-d", &"-i", &image]);
    assert!(report.contains("Volume id: CIDATA\n"), "{report}");
    assert!(report.contains("Joliet with UCS level 3 found"), "{report}");
    assert!(report.contains("Rock Ridge signatures version 1 found"), "{report}");
    let listing = tool("xorriso", &[&"-indev", &image, &"-find", &"/", &"-exec", &"lsdl"]);
    for row in ["dr-xr-xr-x", "'/meta-data'", "5000 Jan  1  1980 '/network-config'"] {
        assert!(listing.contains(row), "{row} in:\n{listing}");
    }
    assert_eq!(label(&image), "CIDATA\n");
}

#[test]
fn fat_tools_read_the_seed() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("seed.img");
    fs::write(&image, seed::vfat(&seed_files()).unwrap()).unwrap();
    check_fat(&image);
    for (name, data) in seed_files() {
        assert_eq!(mcopy(&image, &name), data);
    }
    assert_eq!(label(&image), "CIDATA\n");
}

/// `kiln seed` with arguments, in a workspace of the quickstart cluster.
fn kiln_seed(folder: &Path, arguments: &[&str]) -> Output {
    fs::create_dir_all(folder.join("profiles")).unwrap();
    fs::write(folder.join("cluster.yaml"), include_str!("../cluster.yaml")).unwrap();
    for role in ["master", "node", "lb"] {
        fs::write(folder.join(format!("profiles/{role}.yaml")), "schema: 1\n").unwrap();
    }
    Command::new(env!("CARGO_BIN_EXE_kiln"))
        .args(["--cache", "cache", "seed"])
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

#[test]
fn kiln_seed_writes_every_kind_of_medium() {
    let folder = tempfile::tempdir().unwrap();
    for (format, suffix) in [("iso", ".iso"), ("vfat", ".img"), ("dir", "")] {
        let output = kiln_seed(folder.path(), &["--format", format, "k8s-lb-primary"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let path = String::from_utf8(output.stdout).unwrap();
        assert_eq!(path, format!("out/seed/k8s-lb-primary{suffix}\n"));
    }
    let out = folder.path().join("out/seed");
    let plain = fs::read(out.join("k8s-lb-primary/meta-data")).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&plain).unwrap();
    assert_eq!(value["instance-id"], "quickstart-k8s-lb-primary");
    assert_eq!(value["local-hostname"], "k8s-lb-primary");
    let image = out.join("k8s-lb-primary.iso");
    let arguments: [Argument<'_>; 5] = [&"-R", &"-i", &image, &"-x", &"/meta-data"];
    assert_eq!(tool_bytes("isoinfo", &arguments, b""), plain);
    assert_eq!(mcopy(&out.join("k8s-lb-primary.img"), "meta-data"), plain);
}

#[test]
fn kiln_seed_all_writes_every_host() {
    let folder = tempfile::tempdir().unwrap();
    let output = kiln_seed(folder.path(), &["--all", "--out", "media"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let paths = String::from_utf8(output.stdout).unwrap();
    assert_eq!(paths.lines().count(), 6, "{paths}");
    for path in paths.lines() {
        assert_eq!(label(&folder.path().join(path)), "CIDATA\n");
    }
}

#[test]
fn kiln_init_reads_what_kiln_seed_writes() {
    let folder = tempfile::tempdir().unwrap();
    for format in ["iso", "vfat"] {
        let output = kiln_seed(folder.path(), &["--format", format, "k8s-lb-primary"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let path = String::from_utf8(output.stdout).unwrap();
        let medium = fs::read(folder.path().join(path.trim_end())).unwrap();
        let mut machine = OneMedium(Some(medium.clone()));
        let mut search = Search::start(&[Source::Nocloud], &mut machine).unwrap();
        let seed = search.look(&mut machine).unwrap().unwrap();
        let metadata = seed.read(|_| serde_json::Value::Null).unwrap();
        assert_eq!(metadata.instance_id, "quickstart-k8s-lb-primary");
        assert_eq!(metadata.hostname.unwrap().full(), "k8s-lb-primary");
        assert_eq!(metadata.delivered["vars"]["priority"], 100);
        let address = metadata.network.unwrap().address().unwrap();
        assert_eq!(address.to_string(), "192.168.31.178/24");
        assert!(metadata.warnings.is_empty(), "{:?}", metadata.warnings);
    }
}

#[test]
fn kiln_seed_of_an_unknown_host_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let output = kiln_seed(folder.path(), &["k8s-lb-primary", "k8s-lb-primry"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "error: cluster.yaml has no host 'k8s-lb-primry'\n\
         help:  did you mean 'k8s-lb-primary'?\n"
    );
    assert!(!folder.path().join("out").exists());
}

/// A machine with one disk and nothing else.
struct OneMedium(Option<Vec<u8>>);

struct Raw(Vec<u8>);

impl ReadAt for Raw {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        (&*self.0).read_at(buffer, offset)
    }
}

impl kiln_init::source::Machine for OneMedium {
    fn command_line(&mut self) -> std::io::Result<String> {
        Ok(String::new())
    }

    fn smbios(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn fw_cfg(&mut self, _: &str) -> std::io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn guestinfo(&mut self, _: &str) -> std::io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn media(&mut self) -> Vec<(String, Medium)> {
        let disk = self.0.take().map(|bytes| Medium::Device(Box::new(Raw(bytes))));
        disk.map(|disk| ("vdb".to_owned(), disk)).into_iter().collect()
    }
}
