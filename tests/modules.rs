// SPDX-License-Identifier: Apache-2.0
//! Kernel modules of the real Debian kernel, judged by kmod.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
    process::Command,
    sync::{Arc, OnceLock},
};

use kiln::{
    debian::{deb, index},
    rootfs::{Package, Root, modules::Survey},
    tree::Source,
};

use crate::support::{
    debian_apt::apt,
    root::{Fixture, write_out},
};

/// Files that depmod makes. It writes the lines of `modules.symbols` in the order of a hash table.
const FILES: [&str; 9] = [
    "modules.dep",
    "modules.dep.bin",
    "modules.alias",
    "modules.alias.bin",
    "modules.softdep",
    "modules.symbols.bin",
    "modules.devname",
    "modules.builtin.bin",
    "modules.builtin.alias.bin",
];

const PROFILE: &str = "\
packages: [base-files]
kernel:
  package: linux-image
  modules: [ip_vs, ext4]
  initrd-modules: [squashfs, dm-verity, virtio_blk, vfat, ahci]
";

struct Memory(Vec<u8>);

impl Source for Memory {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let bytes = self.0.get(start..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// The kernel package that the archive offers now.
fn kernel() -> Package {
    let suites = apt().suites();
    let packages =
        suites.iter().flat_map(|suite| index::parse(&suite.packages, "amd64").expect(suite.name));
    let meta = packages
        .filter(|package| package.name == "linux-image-cloud-amd64")
        .max_by(|a, b| a.version.cmp(&b.version))
        .expect("the archive has a kernel");
    let name = meta.depends.split([' ', ',']).next().expect("a dependency").to_owned();
    let file = File::open(apt().download(&name)).expect("the downloaded package");
    let mut data = Vec::new();
    deb::data_tar(file).expect("a package").read_to_end(&mut data).expect("its data");
    let len = data.len() as u64;
    let entries = deb::entries(Arc::new(Memory(data)), len).expect("entries");
    let survey = Survey::of(&entries).expect("modules can be read").expect("has modules");
    // Kept and handed back, as a cache would do it.
    let kept = serde_json::to_vec(&survey).expect("plain data");
    let modules = Some(Arc::new(serde_json::from_slice(&kept).expect("survives")));
    Package {
        name: name.into(),
        version: meta.version.to_string(),
        entries,
        replaces: Default::default(),
        modules,
    }
}

fn root() -> &'static Root {
    static ROOT: OnceLock<Root> = OnceLock::new();
    ROOT.get_or_init(|| {
        let mut fixture = Fixture::new().profile(PROFILE);
        fixture.packages.retain(|package| &*package.name != "linux-image");
        fixture.packages.push(kernel());
        fixture.root()
    })
}

/// Runs a tool of kmod, which lies in a folder that is not in everybody's PATH.
fn kmod(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments).env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin");
    let output =
        command.output().unwrap_or_else(|error| panic!("{program} (package kmod): {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn our_module_files_are_those_of_depmod_byte_for_byte() {
    let (root, release) = (root(), &*root().kernel.release);
    let folder = tempfile::tempdir().expect("a folder");
    write_out(&root.tree, "/usr/lib/modules", folder.path());
    fs::rename(folder.path().join("usr/lib"), folder.path().join("lib")).expect("renames");
    let modules = folder.path().join("lib/modules").join(release);
    let read =
        |name: &str| fs::read(modules.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let ours: Vec<Vec<u8>> = FILES.iter().map(|name| read(name)).collect();
    let our_symbols = lines(&modules.join("modules.symbols"));
    for name in FILES.iter().chain(&["modules.symbols"]) {
        fs::remove_file(modules.join(name)).expect("removes");
    }
    kmod("depmod", &["-b", &folder.path().display().to_string(), release]);
    for (name, ours) in FILES.iter().zip(ours) {
        assert!(ours == read(name), "{name} differs from depmod's");
    }
    assert_eq!(our_symbols, lines(&modules.join("modules.symbols")));
    assert!(root.report.modules > 500, "{}", root.report.modules);
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).expect("a text file");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn the_initramfs_carries_all_that_its_modules_need() {
    let kernel = &root().kernel;
    let carried: Vec<&str> = kernel.initrd_modules.iter().map(|(path, _)| path.as_str()).collect();
    for line in kernel.modules_dep.lines() {
        for path in line.split([':', ' ']).filter(|path| !path.is_empty()) {
            assert!(carried.contains(&&*format!("/lib/modules/{path}")), "{path} is missing");
        }
    }
    assert_eq!(kernel.modules_dep.lines().count(), carried.len());
    for name in ["dm-mod.ko", "libahci.ko", "fat.ko", "reed_solomon.ko", "virtio_blk.ko"] {
        assert!(carried.iter().any(|path| path.contains(name)), "{name} is missing: {carried:?}");
    }
    assert!(carried.len() < 40, "{carried:?}");
    // No device asks for these; virtio_blk and ahci are loaded when their device is there.
    assert_eq!(kernel.early_modules, ["dm_verity", "squashfs", "vfat"]);
    assert!(kernel.modules_alias.contains("alias virtio:d00000002v* virtio_blk\n"));
}

#[test]
fn modprobe_finds_modules_and_those_that_they_need_in_our_index() {
    let (root, release) = (root(), &*root().kernel.release);
    let folder = tempfile::tempdir().expect("a folder");
    write_out(&root.tree, "/usr/lib/modules", folder.path());
    fs::rename(folder.path().join("usr/lib"), folder.path().join("lib")).expect("renames");
    let base = folder.path().display().to_string();
    let ask = |name: &str| kmod("modprobe", &["-d", &base, "-S", release, "-D", name]);
    let order = ask("vfat");
    let (fat, vfat) =
        (order.find("/fat.ko").expect("needed"), order.find("/vfat.ko").expect("asked"));
    assert!(fat < vfat, "{order}");
    assert!(ask("virtio:d00000002v00001AF4").contains("/virtio_blk.ko"));
    assert!(ask("ext4").contains("builtin"), "{}", ask("ext4"));
}
