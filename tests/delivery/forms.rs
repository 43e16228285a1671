// SPDX-License-Identifier: Apache-2.0
//! The balancer's image of `tests/machines`, booted in every form of a virtual disk.

use std::{collections::BTreeSet, path::Path};

use kiln::{
    digest::Digest,
    disk::forms::{self, Labels},
    formats::volume::Volume,
    profile::{Machine, Output},
    qemu::{Changes, Spec},
    sys,
    units::Bytes,
};

use crate::support::{
    disk_tools::tool,
    guest::{Checks, Guest},
    qemu::{image, side_by_side, spec_for, start, wait_ready},
};

const NAME: &str = "k8s-lb-primary";

/// Boots a machine, which must come up as the host that its metadata says.
fn boot(spec: Spec, subject: &str, check: &str, wanted: &str) {
    let mut machine = start(&Spec { memory: 512, ..spec });
    println!("{subject}");
    wait_ready(&mut machine, NAME);
    let mut checks = Checks::new(subject);
    checks.mentions("it is what was meant", &mut Guest::of(&machine), check, wanted);
    checks.finish();
}

/// The image in another form.
fn made(form: Output, folder: &Path) -> std::path::PathBuf {
    let mut volume = Volume::new(sys::fs::content(&image("lb")).unwrap().len());
    volume.put(0, sys::fs::content(&image("lb")).unwrap()).unwrap();
    let digest = Digest::of(b"test");
    let labels = Labels {
        name: "lb",
        version: "1",
        digest: &digest,
        epoch: 0,
        machine: Machine { cpus: 1, memory: Bytes::mib(512) },
        seal: None,
    };
    let files = forms::write(&volume, &BTreeSet::from([form]), &labels, None, folder).unwrap();
    folder.join(&files[0])
}

/// The size that the machine finds, in sectors.
const SIZE: &str = "cat /sys/class/block/vda/size";

#[test]
fn every_form_of_a_virtual_disk_boots() {
    let _running = side_by_side();
    for (form, driver) in [
        (Output::Qcow2, "qcow2"),
        (Output::Qcow2Zstd, "qcow2"),
        (Output::Vmdk, "vmdk"),
        (Output::Vhd, "vpc"),
        (Output::Vhdx, "vhdx"),
    ] {
        let scratch = tempfile::tempdir().unwrap();
        let disk = made(form, scratch.path());
        let spec = spec_for(NAME, scratch.path());
        let spec = Spec { disk, changes: Changes::DropFrom(driver), ..spec };
        boot(spec, &format!("{form:?}"), SIZE, "4194304");
    }
}

/// A hypervisor imports it into its own form.
#[test]
fn a_machine_boots_of_an_ova_that_was_unpacked_and_converted() {
    let _running = side_by_side();
    let scratch = tempfile::tempdir().unwrap();
    let ova = made(Output::Ova, scratch.path());
    tool("tar", &[&"--extract", &"--directory", &scratch.path(), &"--file", &ova]);
    let (vmdk, disk) = (scratch.path().join("lb.vmdk"), scratch.path().join("lb.qcow2"));
    tool("qemu-img", &[&"convert", &"-f", &"vmdk", &"-O", &"qcow2", &vmdk, &disk]);
    let spec = spec_for(NAME, scratch.path());
    let spec = Spec { disk, changes: Changes::Keep, ..spec };
    boot(spec, "converted", SIZE, "4194304");
}

/// COT reads OVF as VMware's documents have it.
#[test]
fn a_reader_of_ovf_finds_the_machine_that_was_meant() {
    let scratch = tempfile::tempdir().unwrap();
    let ova = made(Output::Ova, scratch.path());
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/target/python/ovf/bin/cot");
    let report = tool(program, &[&"info", &"--verbose", &ova]);
    let lines: Vec<String> =
        report.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for wanted in [
        "Product: lb",
        "System types: vmx-17",
        "SCSI device types: VirtualSCSI",
        "Ethernet device types: VmxNet3",
        "None (default) 1 512 MiB 1 0 1 / 2 GiB",
        "Transport types: com.vmware.guestInfo iso",
        "<instance-id> Instance \"\"",
        "<network-config> Network \"\"",
        "<user-data> User data \"\"",
    ] {
        assert!(lines.iter().any(|line| line == wanted), "{wanted}: {report}");
    }
}
