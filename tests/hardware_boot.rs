// SPDX-License-Identifier: Apache-2.0
//! The server's image of `tests/hardware`, booted from what servers and hypervisors plug their disks
//! into, with their network cards, by UEFI and by legacy BIOS.

use std::{fs, path::Path, sync::OnceLock};

use kiln::{
    cluster::{self, Cluster},
    diagnostic::Problems,
    formats::{cpio, gpt, pe},
    qemu::{Bus, Card, Spec},
    seed, sys,
};

use crate::support::{
    disk_tools::tool_bytes,
    guest::{self, Checks, Guest},
    qemu::{BOOT, CPUS, repository, side_by_side, start},
};

const NAME: &str = "server-1";

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let workspace = sys::workspace::load(&repository().join("tests/hardware")).unwrap();
        let problems = Problems::new();
        let cluster = cluster::load(&workspace, &problems);
        problems.finish(cluster).unwrap_or_else(|invalid| panic!("{invalid}"))
    })
}

/// A server with its seed in a drive, and a form of the image.
fn server(ending: &str, scratch: &Path) -> Spec {
    let file = format!("out/hardware/server/hardware-server.{ending}");
    let disk = repository().join(file);
    assert!(disk.is_file(), "there is no image '{}': run `make test-hardware`", disk.display());
    let medium = scratch.join("seed.iso");
    fs::write(&medium, seed::iso(&seed::files(cluster(), NAME).unwrap()).unwrap()).unwrap();
    Spec {
        seed: Some(medium),
        mac: cluster().hosts[NAME].mac.clone(),
        memory: 768,
        cpus: CPUS,
        credentials: guest::credentials(),
        port: true,
        ..Spec::new(&disk)
    }
}

/// Drivers of network cards that `docs/how-to/hardware.md` promises.
const CARDS: [&str; 15] = [
    "bnx2x",
    "bnxt_en",
    "e1000e",
    "hv_netvsc",
    "i40e",
    "ice",
    "igb",
    "igc",
    "ixgbe",
    "mlx4_core",
    "mlx5_core",
    "r8169",
    "tg3",
    "virtio_net",
    "vmxnet3",
];

/// Boots a server, which must come up as itself on the disk and the card that were meant.
fn boot(bus: Bus, card: Card, bios: bool) {
    boot_of("raw", bus, card, bios);
}

/// The same, of a form of the image.
fn boot_of(ending: &str, bus: Bus, card: Card, bios: bool) {
    let _running = side_by_side();
    let scratch = tempfile::tempdir().unwrap();
    let spec = Spec { bus, card, bios, ..server(ending, scratch.path()) };
    let subject = format!("{ending}, {bus:?}, {card:?}, {}", if bios { "BIOS" } else { "UEFI" });
    let mut machine = start(&spec);
    let ready = machine.wait_ready(BOOT).unwrap_or_else(|error| panic!("{subject}: {error:#}"));
    println!(
        "{subject}: ready after {} s, {} s with firmware",
        ready.boot,
        machine.age().as_secs()
    );
    let address = cluster().hosts[NAME].address.address;
    assert_eq!((&*ready.hostname, ready.address), (NAME, address), "{subject}");

    let mut guest = Guest::of(&machine);
    let mut checks = Checks::new(&subject);
    let failed = "systemctl list-units --failed --plain --no-legend";
    checks.prints("no unit failed", &mut guest, failed, "");
    checks.mentions("the root is where it was plugged in", &mut guest, PLACE, place_of(bus));
    let driver = "for d in /sys/class/net/*/device/driver; do basename $(readlink $d); done";
    checks.mentions("the card has its driver", &mut guest, driver, driver_of(card));
    let efi = "test -d /sys/firmware/efi && echo UEFI || echo BIOS";
    let firmware = if bios { "BIOS" } else { "UEFI" };
    checks.prints("the firmware is the one that was meant", &mut guest, efi, firmware);
    if (bus, bios) == (Bus::Virtio, true) {
        check_image(&mut checks, &mut guest);
    }
    checks.finish();
}

/// What is the same on all of them.
fn check_image(checks: &mut Checks<'_>, guest: &mut Guest) {
    let missing = format!(
        "deps=$(cat /usr/lib/modules/*/modules.dep); for card in {}; do \
         case $deps in */$card.ko*) ;; *) echo $card;; esac; done",
        CARDS.join(" ")
    );
    checks.prints("every card has its driver", guest, &missing, "");
    let microcode = "ls -d /usr/lib/firmware/*-ucode /usr/lib/grub 2>/dev/null | wc -l";
    checks.prints("neither microcode nor GRUB is in the root", guest, microcode, "0");
    let line = "cat /proc/cmdline";
    checks.mentions("GRUB took the kernel out of the UKI", guest, line, "BOOT_IMAGE=(kiln)");
}

/// Prints the name of the root's partition, and the drivers of the disk and of all that it is plugged
/// into. An NVMe disk may have several ways to it, and is below none of them.
const PLACE: &str = "name=$(ls /sys/block/dm-0/slaves | head -n 1); echo $name; \
    d=$(readlink -f /sys/class/block/$name); \
    while [ -n \"$d\" ]; do [ -e $d/driver ] && basename $(readlink $d/driver); d=${d%/*}; done; true";

fn place_of(bus: Bus) -> &'static str {
    match bus {
        Bus::Virtio => "virtio_blk",
        Bus::Nvme => "nvme0n1p",
        Bus::Ahci | Bus::Optical => "ahci",
        Bus::Pvscsi => "vmw_pvscsi",
        Bus::LsiSas => "mptsas",
        Bus::Megaraid => "megaraid_sas",
        Bus::Usb => "usb-storage",
    }
}

fn driver_of(card: Card) -> &'static str {
    match card {
        Card::Virtio => "virtio_net",
        Card::E1000e => "e1000e",
        Card::Vmxnet3 => "vmxnet3",
    }
}

#[test]
fn a_server_boots_from_a_virtio_disk() {
    boot(Bus::Virtio, Card::Virtio, false);
    boot(Bus::Virtio, Card::Virtio, true);
}

#[test]
fn a_server_boots_from_nvme() {
    boot(Bus::Nvme, Card::E1000e, false);
    boot(Bus::Nvme, Card::E1000e, true);
}

#[test]
fn a_server_boots_from_ahci() {
    boot(Bus::Ahci, Card::E1000e, false);
    boot(Bus::Ahci, Card::Vmxnet3, true);
}

/// Not by UEFI, here and for the next two: Debian's firmware of virtual machines has no drivers for
/// these adapters. Those of VMware and of servers have, and what follows is the same.
#[test]
fn a_server_boots_from_pvscsi_by_bios() {
    boot(Bus::Pvscsi, Card::Vmxnet3, true);
}

#[test]
fn a_server_boots_from_sas_by_bios() {
    boot(Bus::LsiSas, Card::E1000e, true);
}

#[test]
fn a_server_boots_from_raid_by_bios() {
    boot(Bus::Megaraid, Card::E1000e, true);
}

#[test]
fn a_server_boots_from_usb() {
    boot(Bus::Usb, Card::Virtio, false);
    boot(Bus::Usb, Card::Virtio, true);
}

#[test]
fn a_server_boots_from_a_disc_image_on_a_stick() {
    boot_of("iso", Bus::Usb, Card::Virtio, false);
}

#[test]
fn microcode_is_first_and_firmware_beside_the_modules_that_name_it() {
    let folder = tempfile::tempdir().unwrap();
    let image = server("raw", folder.path()).disk;
    let layout = gpt::read(&sys::fs::content(&image).unwrap()).unwrap().unwrap();
    let esp = format!("{}@@{}", image.display(), layout.partitions[0].first_lba * gpt::BLOCK);
    let uki = tool_bytes("mcopy", &[&"-i", &esp, &"::EFI/Linux/hardware-server_1.efi", &"-"], b"");
    let pe = pe::Image::decode(&uki).unwrap();
    let microcode = cpio::Archive::decode(pe.data(&uki, ".ucode").unwrap()).unwrap();
    let files = microcode.entries().filter(|(name, _)| name.ends_with(".bin"));
    let files: Vec<&str> = files.map(|(name, _)| name).collect();
    let vendors = ["AuthenticAMD", "GenuineIntel"];
    assert_eq!(files, vendors.map(|vendor| format!("kernel/x86/microcode/{vendor}.bin")));
    let initrd = zstd::decode_all(pe.data(&uki, ".initrd").unwrap()).unwrap();
    let initrd = cpio::Archive::decode(&initrd).unwrap();
    let names: Vec<&str> = initrd.entries().map(|(name, _)| name).collect();
    for wanted in ["lib/firmware/ql2500_fw.bin", "/qla2xxx.ko", "/megaraid_sas.ko", "/nvme.ko"] {
        assert!(names.iter().any(|name| name.ends_with(wanted)), "{wanted} is missing: {names:?}");
    }
}
