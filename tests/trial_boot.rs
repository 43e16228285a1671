// SPDX-License-Identifier: Apache-2.0
//! The trial image, booted: an ssh server, and a host that goes on after wrong metadata and
//! becomes whoever it is told (`tests/trial`).

use std::{fs, os::unix::fs::FileExt as _, path::Path, time::Duration};

use kiln::qemu::{Changes, Machine, Network, Spec};

use crate::support::{
    disk_tools::tool,
    guest::{self, Checks, Guest},
    media::{iso, server},
    qemu::{BOOT, CPUS, copy_of, repository, side_by_side, start},
};

const MAC: &str = "52:54:00:00:00:42";
const END: Duration = Duration::from_secs(300);
const FAILED_UNITS: &str = "systemctl list-units --failed --plain --no-legend";
const IDENTITY: &str = "cat /etc/machine-id /var/lib/kiln/ssh/*.pub";

fn bare() -> Spec {
    let disk = repository().join("out/trial/host/trial-host.raw");
    assert!(disk.is_file(), "there is no image '{}': run `make machines`", disk.display());
    Spec {
        mac: Some(MAC.to_owned()),
        memory: 512,
        cpus: CPUS,
        credentials: guest::credentials(),
        port: true,
        ..Spec::new(&disk)
    }
}

/// A machine whose disk keeps what is written.
fn lasting(scratch: &Path) -> Spec {
    let spec = bare();
    Spec { disk: copy_of(&spec.disk, scratch), changes: Changes::KeepRaw, ..spec }
}

fn ready(spec: &Spec, hostname: &str) -> (Machine, Guest) {
    let mut machine = start(spec);
    let ready = machine.wait_ready(BOOT).unwrap_or_else(|error| panic!("{error:#}"));
    println!("{hostname}: ready after {} s", ready.boot);
    assert_eq!(ready.hostname, hostname);
    let guest = Guest::of(&machine);
    (machine, guest)
}

fn wait(machine: &mut Machine, wanted: &str) -> String {
    machine.wait_for(wanted, BOOT).unwrap_or_else(|error| panic!("{error:#}"))
}

fn power_off(mut machine: Machine, mut guest: Guest) {
    guest.run("systemctl poweroff --no-block");
    machine.wait_end(END).unwrap_or_else(|error| panic!("{error:#}"));
}

fn said(machine: &Machine, words: &str) -> bool {
    machine.console().iter().any(|line| line.contains(words))
}

fn network_of(address: &str) -> String {
    format!(
        "version: 2\nethernets: {{nic: {{match: {{macaddress: \"{MAC}\"}}, addresses: [{address}/24]}}}}\n"
    )
}

#[test]
fn ssh_takes_keys_and_the_host_stays_itself_until_it_becomes_another_instance() {
    let _running = side_by_side();
    let scratch = tempfile::tempdir().unwrap();
    let key = scratch.path().join("key");
    tool("ssh-keygen", &[&"-q", &"-t", &"ed25519", &"-N", &"", &"-C", &"test", &"-f", &key]);
    let public = fs::read_to_string(key.with_extension("pub")).unwrap();
    let medium = |id: &str, name: &str| {
        let folder = scratch.path().join(id);
        fs::create_dir(&folder).unwrap();
        let meta_data = format!(
            "instance-id: {id}\nlocal-hostname: {name}\npublic-keys: [{}]\n",
            public.trim()
        );
        let config = network_of("10.42.0.2");
        iso(&folder, "cidata", "-R", &[("meta-data", &meta_data), ("network-config", &config)])
    };
    let spec = Spec { seed: Some(medium("i-1", "one")), ..lasting(scratch.path()) };
    let mut checks = Checks::new("trial");

    let (machine, mut guest) = ready(&spec, "one");
    check_ssh(&mut checks, &mut guest, &fs::read_to_string(&key).unwrap());
    let first = guest.run(IDENTITY).text;
    power_off(machine, guest);

    let (machine, mut guest) = ready(&Spec { seed: None, ..spec.clone() }, "one");
    checks.prints("without its medium it is the same", &mut guest, IDENTITY, &first);
    power_off(machine, guest);

    let spec = Spec { seed: Some(medium("i-2", "two")), ..spec };
    let (machine, mut guest) = ready(&spec, "two");
    let told = said(&machine, "kiln: this host was 'i-1' and becomes the instance 'i-2'");
    checks.that("another instance is told", told, &machine.console());
    let second = guest.run(IDENTITY).text;
    let differ = second.lines().zip(first.lines()).all(|(new, old)| new != old);
    checks.that("nothing of the old identity is left", differ, &(&first, &second));
    checks.prints("no unit failed", &mut guest, FAILED_UNITS, "");
    power_off(machine, guest);

    let (_machine, mut guest) = ready(&Spec { seed: None, ..spec }, "two");
    checks.prints("the new identity stays", &mut guest, IDENTITY, &second);
    checks.finish();
}

fn check_ssh(checks: &mut Checks<'_>, guest: &mut Guest, key: &str) {
    checks.prints("no unit failed", guest, FAILED_UNITS, "");
    let write = format!("umask 077; cat >/run/key <<'END'\n{}\nEND", key.trim());
    checks.prints("the test has its key", guest, &write, "");
    let ssh = "ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR";
    let with_key = format!("{ssh} -i /run/key operator@10.42.0.2 id -un");
    checks.prints("the key of the metadata logs in", guest, &with_key, "operator");
    let without = format!("! {ssh} -o PubkeyAuthentication=no operator@10.42.0.2 id -un");
    checks.mentions("nothing else does", guest, &without, "Permission denied (publickey)");
    let root = format!("! {ssh} -i /run/key root@10.42.0.2 id -un");
    checks.mentions("root does not log in", guest, &root, "Permission denied (publickey)");
    let modes = "stat -c '%a %U' /var/lib/kiln/ssh /var/lib/kiln/ssh/ssh_host_ed25519_key";
    checks.prints("host keys are root's alone", guest, modes, "700 root\n600 root");
    let rules = "nft list chain inet filter input || nft list ruleset";
    checks.mentions("the port is open", guest, rules, "tcp dport 22");
}

#[test]
fn a_host_goes_on_after_wrong_metadata_if_its_image_says_so() {
    let _running = side_by_side();
    let scratch = tempfile::tempdir().unwrap();
    let wrong = [("meta-data", "instance-id: i\nlocal-hostname: -\n")];
    let seed = Some(iso(scratch.path(), "cidata", "-R", &wrong));
    let mut machine = start(&Spec { seed, ..bare() });
    wait(&mut machine, "kiln: warning: nocloud");
    let line = wait(&mut machine, "kiln: host host-");
    assert!(line.contains("address by DHCP, instance none"), "{line}");
    wait(&mut machine, "kiln: first boot done");
}

#[test]
fn a_host_that_a_server_named_is_asked_for_again_and_becomes_the_new_instance() {
    let _running = side_by_side();
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("files/52-54-00-00-00-42");
    let meta_data = |id: &str| format!("instance-id: {id}\nlocal-hostname: {id}\n");
    // Beside its own interface, the host expects one that is not there.
    let config = network_of("10.42.0.2").replace(
        "{nic:",
        "{gone: {match: {macaddress: \"52:54:00:00:00:99\"}, optional: true, dhcp4: true}, nic:",
    );
    let documents = [
        ("52-54-00-00-00-42/meta-data", &*meta_data("i-1")),
        ("52-54-00-00-00-42/network-config", &config),
    ];
    let spec = Spec {
        kernel: vec!["kiln.url=http://10.42.0.9/{mac}/".to_owned()],
        network: server(scratch.path(), "10.42.0.9", None, &documents),
        ..lasting(scratch.path())
    };
    let (mut machine, guest) = ready(&spec, "i-1");
    let warning = "kiln: warning: no interface has the MAC address 52:54:00:00:00:99";
    if !said(&machine, warning) {
        wait(&mut machine, warning);
    }
    power_off(machine, guest);

    fs::write(folder.join("meta-data"), meta_data("i-2")).unwrap();
    let mut machine = start(&spec);
    wait(&mut machine, "kiln: this host was 'i-1' and becomes the instance 'i-2': starting again");
    machine.wait_end(END).unwrap_or_else(|error| panic!("{error:#}"));
    let (_machine, mut guest) = ready(&spec, "i-2");
    let mut checks = Checks::new("server");
    checks.prints("no unit failed", &mut guest, FAILED_UNITS, "");
    checks.finish();
}

/// A machine on a link-local network, as clouds have it, whose service the image is told to ask.
fn cloud(source: &str, network: Network) -> Spec {
    let Network::Other(network) = network else { unreachable!("a server's network") };
    let network = network.replace("net=169.254.169.0/24", "net=169.254.0.0/16");
    Spec { kernel: vec![format!("ds={source}")], network: Network::Other(network), ..bare() }
}

#[test]
fn ec2_names_the_host() {
    let _running = side_by_side();
    let scratch = tempfile::tempdir().unwrap();
    let documents = [
        ("2021-03-23/meta-data/instance-id", "i-42"),
        ("2021-03-23/meta-data/local-hostname", "ip-10-0-0-5.ec2.internal"),
    ];
    let network = server(scratch.path(), "169.254.169.254", Some("t0ken"), &documents);
    let mut machine = start(&cloud("ec2", network));
    wait(&mut machine, "kiln: metadata from ec2");
    wait(&mut machine, "kiln: host ip-10-0-0-5, address by DHCP, instance i-42");
}

#[test]
fn openstack_names_the_host() {
    let _running = side_by_side();
    let scratch = tempfile::tempdir().unwrap();
    let documents = [
        ("openstack/index", "2018-08-27\nlatest\n"),
        ("openstack/2018-08-27/meta_data.json", r#"{"uuid": "i-42", "hostname": "n42.novalocal"}"#),
    ];
    let network = server(scratch.path(), "169.254.169.254", None, &documents);
    let mut machine = start(&cloud("openstack", network));
    wait(&mut machine, "kiln: metadata from openstack");
    wait(&mut machine, "kiln: host n42, address by DHCP, instance i-42");
}

#[test]
fn a_host_boots_by_legacy_firmware() {
    let _running = side_by_side();
    let scratch = tempfile::tempdir().unwrap();
    let documents = [
        ("meta-data", "instance-id: i\nlocal-hostname: old\n"),
        ("network-config", &*network_of("10.42.0.2")),
    ];
    let seed = Some(iso(scratch.path(), "cidata", "-R", &documents));
    let (machine, mut guest) = ready(&Spec { bios: true, seed, ..bare() }, "old");
    println!("by BIOS: {} s since the power was turned on", machine.age().as_secs());
    let mut checks = Checks::new("BIOS");
    let firmware = "test -d /sys/firmware/efi && echo UEFI || echo BIOS";
    checks.prints("there is no UEFI", &mut guest, firmware, "BIOS");
    checks.prints("no unit failed", &mut guest, FAILED_UNITS, "");
    let line = "cat /proc/cmdline";
    checks.mentions(
        "the command line is the image's",
        &mut guest,
        line,
        " systemd.swap=no roothash=",
    );
    checks.mentions("GRUB took the kernel out of the UKI", &mut guest, line, "BOOT_IMAGE=(kiln)");
    checks.finish();
}

#[test]
fn a_host_that_grub_cannot_start_tries_again_and_opens_no_shell() {
    let _running = side_by_side();
    let scratch = tempfile::tempdir().unwrap();
    let spec = Spec { bios: true, ..lasting(scratch.path()) };
    let disk = fs::File::options().read(true).write(true).open(&spec.disk).unwrap();
    // The configuration lies on the ESP, behind the kernel and before the root.
    let mut esp = vec![0; 140 << 20];
    disk.read_exact_at(&mut esp, 0).unwrap();
    let command = b"if loopback kiln ";
    let at = esp.windows(command.len()).position(|window| window == command).unwrap();
    disk.write_all_at(b"if loopback miln ", at as u64).unwrap();
    drop(disk);
    let mut machine = start(&spec);
    wait(&mut machine, "kiln: GRUB could not start what loader/grub.cfg names; trying again");
    machine.wait_end(END).unwrap_or_else(|error| panic!("{error:#}"));
    assert!(!said(&machine, "grub>") && !said(&machine, "rescue>"), "{:?}", machine.console());
}
