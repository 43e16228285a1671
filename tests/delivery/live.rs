// SPDX-License-Identifier: Apache-2.0
//! The balancer of `tests/machines` out of live media: an optical disc, and the network.

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use kiln::{
    formats::fat,
    qemu::{Bus, Changes, Host, Machine, Network, Spec},
    tree::Content,
};

use crate::{
    serve::site::Served,
    support::{
        disk_tools::tool,
        guest::{Checks, Guest},
        qemu::{
            BOOT, copy_of, image, machines, repository, side_by_side, spec_for, start, wait_ready,
        },
    },
};

pub(super) const NAME: &str = "k8s-lb-primary";

/// What `make test-forms` made.
pub(super) fn output(ending: &str) -> PathBuf {
    let path = repository().join(format!("out/live/lb/machines-lb.{ending}"));
    assert!(path.is_file(), "there is no '{}': run `make live`", path.display());
    path
}

/// The ISO in a drive, and metadata in another one.
fn of_disc(scratch: &Path) -> Spec {
    Spec { disk: output("iso"), bus: Bus::Optical, memory: 1024, ..spec_for(NAME, scratch) }
}

/// A second disk, of virtio.
fn with_disk(spec: Spec, disk: &Path) -> Spec {
    let drive = format!("if=none,id=second,format=raw,file={}", disk.display());
    let device = "virtio-blk-pci,drive=second,serial=target";
    let more = ["-drive", &drive, "-device", device].map(Into::into).to_vec();
    Spec { more, ..spec }
}

fn empty_disk(folder: &Path) -> PathBuf {
    let path = folder.join("target.raw");
    fs::File::create(&path).unwrap().set_len(4 << 30).unwrap();
    path
}

/// What is mounted on `/var`.
const VAR: &str = "while read device folder kind rest; do \
    [ $folder = /var ] && echo $kind; done </proc/mounts; true";
const FAILED: &str = "systemctl list-units --failed --no-legend --plain";

/// The file system that `/var` is on.
pub(super) fn var_of(machine: &Machine) -> String {
    Guest::of(machine).run(VAR).text
}

fn check(machine: &Machine, subject: &str, var: &str) -> String {
    let mut checks = Checks::new(subject);
    let mut guest = Guest::of(machine);
    checks.prints("/var is where it should be", &mut guest, VAR, var);
    checks.prints("no unit failed", &mut guest, FAILED, "");
    let id = guest.run("cat /etc/machine-id").text;
    checks.finish();
    id
}

#[test]
fn a_disc_is_one_for_firmware_and_a_disk_for_the_rest() {
    let iso = output("iso");
    let report = tool("xorriso", &[&"-indev", &iso, &"-report_el_torito", &"plain"]);
    // The EFI system partition begins at 2 MiB: block 1024 of 2048 bytes.
    let entry = report.lines().find(|line| line.starts_with("El Torito boot img :   1  UEFI"));
    let entry = entry.unwrap_or_else(|| panic!("{report}"));
    assert!(entry.trim_end().ends_with(" 1024"), "{entry}");
    let table = tool("sgdisk", &[&"--verify", &iso]);
    assert!(table.contains("No problems found."), "{table}");
    let listed = tool("isoinfo", &[&"-d", &"-i", &iso]);
    assert!(listed.contains("Volume id: MACHINES_LB"), "{listed}");
}

#[test]
fn live_media_are_the_same_when_they_are_built_again() {
    let scratch = tempfile::tempdir().unwrap();
    let kiln = env!("CARGO_BIN_EXE_kiln");
    let forms = "--format=raw,iso,netboot";
    let arguments: [&dyn AsRef<std::ffi::OsStr>; 7] =
        [&"-C", &machines(), &"build", &"lb", &forms, &"--out", &scratch.path()];
    tool(kiln, &arguments);
    let sums = |folder: &Path| fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
    assert_eq!(sums(&scratch.path().join("lb")), sums(output("iso").parent().unwrap()));
}

#[test]
fn a_disc_boots_and_keeps_nothing() {
    let _running = side_by_side();
    let scratch = tempfile::tempdir().unwrap();
    let spec = with_disk(of_disc(scratch.path()), &empty_disk(scratch.path()));
    let mut machine = start(&spec);
    wait_ready(&mut machine, NAME);
    check(&machine, "disc", "tmpfs");
    drop(machine);
    let bytes = tool("cmp", &[&"--bytes=2M", &scratch.path().join("target.raw"), &"/dev/zero"]);
    assert_eq!(bytes, "", "a disk was touched that nobody named");
}

#[test]
fn a_disc_installs_itself_and_the_disk_boots_as_the_same_host() {
    let _running = side_by_side();
    let scratch = tempfile::tempdir().unwrap();
    let disk = empty_disk(scratch.path());
    let mut spec = with_disk(of_disc(scratch.path()), &disk);
    spec.kernel = vec!["kiln.install=serial:target,min:3G".into()];
    let mut machine = start(&spec);
    machine.wait_for("installed on vda", BOOT).unwrap_or_else(|error| panic!("{error:#}"));
    wait_ready(&mut machine, NAME);
    let id = check(&machine, "installed", "ext4");
    power_off(&mut machine);

    let table = tool("sgdisk", &[&"--verify", &disk]);
    assert!(table.contains("No problems found."), "{table}");
    // The boot goes on from the disk, and does not install what is there.
    for spec in [spec, of_disk(&disk, scratch.path())] {
        let mut machine = start(&spec);
        wait_ready(&mut machine, NAME);
        let installed = |line: &String| line.contains("installing");
        assert!(!machine.console().iter().any(installed), "{:?}", machine.console());
        assert_eq!(check(&machine, "again", "ext4"), id);
        power_off(&mut machine);
    }
}

/// The machine without its medium.
fn of_disk(disk: &Path, scratch: &Path) -> Spec {
    Spec { disk: disk.into(), changes: Changes::KeepRaw, ..spec_for(NAME, scratch) }
}

pub(super) fn power_off(machine: &mut Machine) {
    Guest::of(machine).run("systemctl poweroff --no-block");
    machine.wait_end(BOOT).unwrap_or_else(|error| panic!("{error:#}"));
}

#[test]
fn a_disk_with_data_is_not_installed_on_and_a_rule_must_mean_one() {
    let _running = side_by_side();
    let scratch = tempfile::tempdir().unwrap();
    let disk = empty_disk(scratch.path());
    fs::write(&disk, b"data").unwrap();
    fs::File::options().write(true).open(&disk).unwrap().set_len(4 << 30).unwrap();
    for (rule, message) in [
        ("any", "there is something on it: add 'overwrite' to the rule if it may be lost"),
        ("serial:other", "no disk fits; there is vda (4096 MiB, serial target)"),
        ("biggest", "'biggest': expected any, serial:TEXT"),
    ] {
        let mut spec = with_disk(of_disc(scratch.path()), &disk);
        spec.kernel = vec![format!("kiln.install={rule}")];
        let mut machine = start(&spec);
        machine.wait_for(message, BOOT).unwrap_or_else(|error| panic!("{rule}: {error:#}"));
    }
    assert_eq!(fs::read(&disk).unwrap()[..5], *b"data\0");
}

#[test]
fn a_stick_is_not_the_disk_that_it_installs_on() {
    let _running = side_by_side();
    let scratch = tempfile::tempdir().unwrap();
    let disk = empty_disk(scratch.path());
    let mut spec = with_disk(Spec { bus: Bus::Virtio, ..of_disc(scratch.path()) }, &disk);
    // The stick is smaller.
    spec.kernel = vec!["kiln.install=smallest".into()];
    let mut machine = start(&spec);
    machine.wait_for("installed on vdb", BOOT).unwrap_or_else(|error| panic!("{error:#}"));
    wait_ready(&mut machine, NAME);
    check(&machine, "from a stick", "ext4");
}

#[test]
fn an_installation_that_lost_its_power_begins_again() {
    let _running = side_by_side();
    let scratch = tempfile::tempdir().unwrap();
    let disk = empty_disk(scratch.path());
    // All was there but the table that counts.
    let flash: [&dyn AsRef<std::ffi::OsStr>; 4] = [&"flash", &"--yes", &output("raw"), &disk];
    tool(env!("CARGO_BIN_EXE_kiln"), &flash);
    forget_table(&disk);
    let mut spec = with_disk(of_disc(scratch.path()), &disk);
    spec.kernel = vec!["kiln.install=any".into()];
    let mut machine = start(&spec);
    machine.wait_for("installed on vda", BOOT).unwrap_or_else(|error| panic!("{error:#}"));
    wait_ready(&mut machine, NAME);
    check(&machine, "installed again", "ext4");
}

#[test]
fn a_disk_that_was_another_host_s_keeps_nothing_of_it() {
    let _running = side_by_side();
    let scratch = tempfile::tempdir().unwrap();
    let disk = empty_disk(scratch.path());
    let spec = with_disk(of_disc(scratch.path()), &disk);
    let install = |rule: &str| {
        let kernel = vec![format!("kiln.install={rule}")];
        let mut machine = start(&Spec { kernel, ..spec.clone() });
        machine.wait_for("installed on vda", BOOT).unwrap_or_else(|error| panic!("{error:#}"));
        wait_ready(&mut machine, NAME);
        let id = check(&machine, rule, "ext4");
        power_off(&mut machine);
        id
    };
    let old = install("any");
    // What was its `/var` lies where the new one's will.
    write_head(&disk, 0xaa);
    let new = install("any,overwrite");
    assert_ne!(new, old);
    let mut machine = start(&of_disk(&disk, scratch.path()));
    wait_ready(&mut machine, NAME);
    assert_eq!(check(&machine, "overwritten", "ext4"), new);
}

/// Leaves a disk its backup of the table alone.
fn forget_table(disk: &Path) {
    write_head(disk, 0);
}

fn write_head(disk: &Path, byte: u8) {
    let file = fs::File::options().write(true).open(disk).unwrap();
    file.write_all_at(&[byte; 1 << 20], 0).unwrap();
}

#[test]
fn a_disc_with_a_disk_for_var_is_one_host_over_its_boots() {
    let _running = side_by_side();
    let scratch = tempfile::tempdir().unwrap();
    let disk = empty_disk(scratch.path());
    let mut spec = with_disk(of_disc(scratch.path()), &disk);
    spec.kernel = vec!["kiln.var=largest".into()];
    let boot = || {
        let mut machine = start(&spec);
        wait_ready(&mut machine, NAME);
        let id = check(&machine, "var", "ext4");
        power_off(&mut machine);
        id
    };
    let id = boot();
    assert_eq!(boot(), id);
    // As if the power had been lost when the table was made; what is in the partition stays.
    forget_table(&disk);
    assert_eq!(boot(), id);
}

#[test]
fn a_disc_left_in_its_drive_is_no_reason_to_leave_the_disk() {
    let _running = side_by_side();
    let scratch = tempfile::tempdir().unwrap();
    let disk = copy_of(&image("lb"), scratch.path());
    let mut machine = start(&with_disk(of_disc(scratch.path()), &disk));
    wait_ready(&mut machine, NAME);
    check(&machine, "disk", "ext4");
}

/// The network of the hosts, of which QEMU has two addresses: this is where loopback is.
const NETWORK: &str = "user,id=net,net=192.168.31.0/24,host=192.168.31.2";
const HOST: &str = "192.168.31.2";

/// `kiln serve` of the cluster's hosts and of what `make live` made.
fn serve() -> Served {
    let out = repository().join("out/live");
    let arguments = ["serve", "--name", HOST, "--out", out.to_str().unwrap()];
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    command.arg("-C").arg(machines()).args(arguments);
    Served::start(command, &arguments)
}

/// A machine without a seed on a network whose DHCP server names the first script.
fn on_network(served: &Served, name: &str, disk: &Path, scratch: &Path) -> Spec {
    let port = served.address("http").port();
    let netdev = format!("{NETWORK},bootfile=http://{HOST}:{port}/boot.ipxe");
    Spec {
        seed: None,
        disk: disk.into(),
        changes: Changes::KeepRaw,
        memory: 2048,
        network: Network::Other(netdev),
        ..spec_for(name, scratch)
    }
}

/// A program of Debian's package `ipxe`.
fn ipxe(file: &str) -> PathBuf {
    let path = Path::new("/usr/lib/ipxe").join(file);
    assert!(path.is_file(), "iPXE is missing: install the package ipxe");
    path
}

/// A stick that starts iPXE under UEFI.
fn stick(folder: &Path) -> PathBuf {
    let path = folder.join("stick.raw");
    let program = fs::read(ipxe("ipxe.efi")).unwrap();
    let volume = fat::Volume {
        len: 64 << 20,
        kind: fat::Kind::Fat32,
        label: "IPXE".into(),
        id: 1,
        mtime: 315_532_800,
    };
    let files = [("EFI/BOOT/BOOTX64.EFI".to_owned(), &program[..])].into();
    let bytes = Content::from(fat::encode(&volume, &files).unwrap()).to_vec().unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

/// What the fleet's page says of a host.
fn row(served: &Served, name: &str) -> String {
    let page = served.get("/").text();
    let row = page.split("<tr id=\"host-").find(|row| row.starts_with(&format!("{name}\"")));
    row.unwrap_or_else(|| panic!("no row of '{name}': {page}")).to_owned()
}

/// Waits for the report of a ready host, which the page shows.
fn reported(served: &Served, name: &str) {
    served.wait_for(&format!("{name} (127.0.0.1): ready"));
    let row = row(served, name);
    assert!(row.contains("data-state=\"ready\""), "{row}");
}

#[test]
fn ipxe_under_uefi_boots_what_kiln_serves() {
    let _running = side_by_side();
    let scratch = tempfile::tempdir().unwrap();
    let served = serve();
    let spec = on_network(&served, NAME, &stick(scratch.path()), scratch.path());
    let mut machine = start(&spec);
    wait_ready(&mut machine, NAME);
    check(&machine, "iPXE, UEFI", "tmpfs");
    reported(&served, NAME);
}

/// A machine of legacy firmware whose network card has iPXE.
fn by_bios(spec: Spec) -> Spec {
    let program = ["-kernel".into(), ipxe("ipxe.lkrn").into()];
    Spec { bios: true, more: spec.more.into_iter().chain(program).collect(), ..spec }
}

#[test]
fn ipxe_under_bios_boots_what_kiln_serves() {
    let _running = side_by_side();
    let scratch = tempfile::tempdir().unwrap();
    let served = serve();
    let spec = on_network(&served, NAME, &empty_disk(scratch.path()), scratch.path());
    let mut machine = start(&by_bios(spec));
    wait_ready(&mut machine, NAME);
    check(&machine, "iPXE, BIOS", "tmpfs");
    reported(&served, NAME);
}

/// Its `kernel-arguments` in `cluster.yaml` say so.
const INSTALLS_ITSELF: &str = "k8s-lb-backup";

#[test]
fn a_machine_installs_itself_out_of_the_network_and_boots_without_it() {
    let _running = side_by_side();
    let scratch = tempfile::tempdir().unwrap();
    let served = serve();
    let disk = empty_disk(scratch.path());
    let stick = stick(scratch.path());
    let spec = with_disk(on_network(&served, INSTALLS_ITSELF, &stick, scratch.path()), &disk);
    let mut machine = start(&spec);
    machine.wait_for("installed on vdb", BOOT).unwrap_or_else(|error| panic!("{error:#}"));
    wait_ready(&mut machine, INSTALLS_ITSELF);
    let id = check(&machine, "installed", "ext4");
    reported(&served, INSTALLS_ITSELF);
    power_off(&mut machine);
    drop(served);

    // Nobody is left who knows its address and name: it knows them itself.
    let alone = Spec {
        seed: None,
        disk,
        changes: Changes::KeepRaw,
        ..spec_for(INSTALLS_ITSELF, scratch.path())
    };
    let mut machine = start(&alone);
    wait_ready(&mut machine, INSTALLS_ITSELF);
    assert_eq!(check(&machine, "alone", "ext4"), id);
}

#[test]
fn firmware_boots_one_program_by_http() {
    let _running = side_by_side();
    let scratch = tempfile::tempdir().unwrap();
    let served = serve();
    let mut host = Host::find().unwrap();
    let vars = scratch.path().join("vars.fd");
    let port = served.address("http").port();
    let url = format!("http://{HOST}:{port}/images/lb/machines-lb.netboot.efi");
    tool(
        concat!(env!("CARGO_MANIFEST_DIR"), "/target/python/firmware/bin/virt-fw-vars"),
        &[&"--input", &host.firmware.vars, &"--output", &vars, &"--set-boot-uri", &url],
    );
    host.firmware.vars = vars;
    // Its command line is the build's: metadata come on a medium.
    let spec = Spec {
        disk: empty_disk(scratch.path()),
        memory: 2048,
        network: Network::Other(NETWORK.to_owned()),
        ..spec_for(NAME, scratch.path())
    };
    let mut machine = Machine::start(&host, &spec).unwrap();
    wait_ready(&mut machine, NAME);
    check(&machine, "HTTP boot", "tmpfs");
}
