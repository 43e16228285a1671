// SPDX-License-Identifier: Apache-2.0
//! The images of `tests/machines`, booted: each role comes up as its metadata says and does its job.
//!
//! A boot is dear, so a test boots its machines once and makes many named checks on them.

use std::{
    fs,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::Path,
    time::Duration,
};

use kiln::{
    cluster::Host,
    qemu::{Changes, Machine, Network, Spec},
};

use crate::support::{
    balancer::{check_holds, check_restarted, kill_proxy},
    guest::{Checks, Guest},
    oci,
    qemu::{alone, copy_of, plan_of, side_by_side, spec_for, start, wait_ready},
};

#[test]
fn load_balancers_come_up_and_share_the_virtual_address() {
    let _alone = alone();
    let scratch = tempfile::tempdir().unwrap();
    let cable = |listen| Network::Cable { socket: scratch.path().join("cable"), listen };
    let memory = 512;
    let [primary, backup] = ["k8s-lb-primary", "k8s-lb-backup"];
    let spec = spec_for(primary, scratch.path());
    let mut first = start(&Spec { network: cable(true), memory, ..spec });
    wait_ready(&mut first, primary);
    let mut first_guest = Guest::of(&first);
    let mut checks = Checks::new("lb");
    check_host(&mut checks, &mut first_guest, primary);
    check_balancer(&mut checks, &mut first_guest);

    let spec = spec_for(backup, scratch.path());
    let mut second = start(&Spec { network: cable(false), memory, ..spec });
    wait_ready(&mut second, backup);
    let mut second_guest = Guest::of(&second);
    check_failover(&mut checks, &mut first_guest, &mut second_guest);
    check_difference(&mut checks, &mut first_guest, &mut second_guest);
    checks.finish();
}

#[test]
fn a_master_runs_etcd_and_stays_itself_over_a_restart() {
    let _running = side_by_side();
    let scratch = tempfile::tempdir().unwrap();
    let name = "k8s-master-1";
    let spec = Spec { changes: Changes::KeepRaw, ..spec_for(name, scratch.path()) };
    let spec = Spec { disk: copy_of(&spec.disk, scratch.path()), ..spec };
    let identity = "cat /etc/machine-id /var/lib/kiln/machine-id";

    let mut machine = start(&spec);
    wait_ready(&mut machine, name);
    let mut guest = Guest::of(&machine);
    let mut checks = Checks::new("master");
    check_host(&mut checks, &mut guest, name);
    let health = "etcdctl endpoint health";
    checks.mentions("etcd is healthy", &mut guest, health, "127.0.0.1:2379 is healthy");
    checks.prints("etcd stores a key", &mut guest, "etcdctl put kiln 1", "OK");
    let owner = "stat -c %U /var/lib/etcd/default";
    checks.prints("etcd's data is its own", &mut guest, owner, "etcd");
    let before = guest.run(identity).text;
    power_off(&mut machine, &mut guest);

    let mut machine = start(&spec);
    wait_ready(&mut machine, name);
    let mut guest = Guest::of(&machine);
    checks.prints("the machine id is the same after a restart", &mut guest, identity, &before);
    let get = "etcdctl get --print-value-only kiln";
    checks.prints("etcd has kept the key", &mut guest, get, "1");
    checks.prints("no unit failed", &mut guest, FAILED_UNITS, "");
    power_off(&mut machine, &mut guest);
    checks.finish();
}

#[test]
fn a_node_runs_a_container() {
    let _running = side_by_side();
    let scratch = tempfile::tempdir().unwrap();
    let name = "k8s-node-1";
    let medium = scratch.path().join("hello.tar");
    fs::write(&medium, oci::archive()).unwrap();
    let mut machine = start(&Spec { media: vec![medium], ..spec_for(name, scratch.path()) });
    wait_ready(&mut machine, name);
    let mut guest = Guest::of(&machine);
    let mut checks = Checks::new("node");
    check_host(&mut checks, &mut guest, name);
    let import = "ctr image import /dev/disk/by-id/virtio-medium0";
    checks.mentions("an image is imported", &mut guest, import, oci::NAME);
    let run = format!("ctr run --rm {} hello /hello", oci::NAME);
    checks.prints("a container runs", &mut guest, &run, oci::GREETING.trim_end());
    let run = format!(
        "ctr run --rm --runc-systemd-cgroup --cgroup system.slice:kiln:hello {} hello /hello",
        oci::NAME
    );
    checks.prints(
        "a container runs in a systemd scope",
        &mut guest,
        &run,
        oci::GREETING.trim_end(),
    );
    let plugin = "CNI_COMMAND=VERSION /usr/lib/cni/bridge";
    checks.mentions("network plugins are there", &mut guest, plugin, "supportedVersions");
    let limit = "systemctl show --value --property=LimitNOFILE containerd.service";
    checks.prints("the limit of open files is finite", &mut guest, limit, "1048576");
    checks.finish();
}

#[test]
fn a_flipped_byte_of_the_root_stops_the_boot() {
    let _running = side_by_side();
    let scratch = tempfile::tempdir().unwrap();
    let name = "k8s-lb-primary";
    let spec = spec_for(name, scratch.path());
    let disk = copy_of(&spec.disk, scratch.path());
    flip_byte_of_root(&disk);
    let mut machine = start(&Spec { disk, ..spec });
    let line = machine.wait_for("is corrupted", Duration::from_secs(300));
    let line = line.unwrap_or_else(|error| panic!("{error:#}"));
    assert!(line.contains("verity"), "{line}");
    machine.wait_end(Duration::from_secs(120)).unwrap_or_else(|error| panic!("{error:#}"));
    let ready = machine.console().iter().find(|line| line.contains("kiln: ready"));
    assert_eq!(ready, None);
}

const FAILED_UNITS: &str = "systemctl list-units --failed --plain --no-legend";

/// What holds on every host.
fn check_host(checks: &mut Checks<'_>, guest: &mut Guest, name: &str) {
    let host = &plan_of("lb").cluster.hosts[name];
    checks.prints("the system is running", guest, "systemctl is-system-running", "running");
    checks.prints("no unit failed", guest, FAILED_UNITS, "");
    checks.prints("the host name is the seed's", guest, "cat /proc/sys/kernel/hostname", name);
    let addresses = "ip -4 -brief address";
    checks.mentions("the address is the seed's", guest, addresses, &host.address.to_string());
    checks.prints("there is no swap", guest, "tail -n +2 /proc/swaps", "");
    let status = guest.run("/usr/lib/kiln/kiln-init status");
    for line in status.text.lines().filter(|line| line.starts_with("step")) {
        println!("{name}: {line}");
    }
    check_kernel(checks, guest, &host.role);
    check_root(checks, guest);
    check_ways_in(checks, guest, host);
}

fn check_kernel(checks: &mut Checks<'_>, guest: &mut Guest, role: &str) {
    let profile = &plan_of(role).profile;
    let files: Vec<String> =
        profile.sysctl.keys().map(|key| format!("/proc/sys/{}", key.replace('.', "/"))).collect();
    let commands = format!("for f in {}; do cat $f; done", files.join(" "));
    let values: Vec<&str> = profile.sysctl.values().map(String::as_str).collect();
    checks.prints("sysctls are the profile's", guest, &commands, &values.join("\n"));
    let modules: Vec<&str> = profile.kernel.modules.iter().map(String::as_str).collect();
    let commands = format!("cd /sys/module && ls -d {}", modules.join(" "));
    checks.prints("modules are loaded", guest, &commands, &modules.join("\n"));
    let lockdown = "cat /sys/kernel/security/lockdown";
    checks.mentions("the kernel is locked down", guest, lockdown, "[integrity]");
}

fn check_root(checks: &mut Checks<'_>, guest: &mut Guest) {
    let kind = "findmnt --noheadings --output SOURCE,FSTYPE --raw";
    let root = format!("{kind} /");
    checks.prints("the root is a squashfs on device-mapper", guest, &root, "/dev/dm-0 squashfs");
    let verity = "cat /sys/block/dm-0/dm/uuid";
    checks.mentions("the root device is dm-verity", guest, verity, "CRYPT-VERITY-");
    let write = "! touch /usr/x && ! touch /x && echo refused";
    checks.mentions("the root is read-only", guest, write, "refused");
    checks.mentions("/etc is an overlay", guest, &format!("{kind} /etc"), "overlay");
    checks.mentions("/var is a partition", guest, &format!("{kind} /var"), "ext4");
    let id = "test \"$(cat /etc/machine-id)\" = \"$(cat /var/lib/kiln/machine-id)\" && echo same";
    checks.prints("the machine id is kept", guest, id, "same");
}

/// Nothing listens, nothing lets in and nobody logs in beyond what the role says.
fn check_ways_in(checks: &mut Checks<'_>, guest: &mut Guest, host: &Host) {
    let ports = match &*host.role {
        "lb" => "tcp 192.168.31.100:6443",
        _ => "",
    };
    let listeners = guest.run("ss --tcp --udp --listening --numeric --no-header").text;
    let open: Vec<String> = listeners
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let protocol = words.next()?;
            let local = words.nth(3)?;
            let inside = local.starts_with("127.") || local.starts_with("[::1]");
            (!inside).then(|| format!("{protocol} {local}"))
        })
        .collect();
    checks.that("nothing else listens", open.join("\n") == ports, &listeners);
    let rules = "nft list chain inet filter input || nft list ruleset";
    checks.mentions("the packet filter drops by default", guest, rules, "policy drop");
    let shadow = "while IFS=: read -r name password rest; do case $password in '!'*|'*'*) ;; *) \
                  echo $name;; esac; done < /etc/shadow";
    checks.prints("nobody has a password", guest, shadow, "");
    let daemons = "cat /proc/[0-9]*/comm 2>/dev/null | sort -u | while read -r name; do case $name in \
                   *getty|login|sshd|sulogin) echo $name;; esac; done";
    checks.prints("no program waits for logins", guest, daemons, "");
}

fn check_balancer(checks: &mut Checks<'_>, guest: &mut Guest) {
    let vip = plan_of("lb").cluster.endpoint.vip;
    let address = plan_of("lb").cluster.hosts["k8s-lb-primary"].address;
    checks.prints("the virtual address is held", guest, &wait_for_address(), "held");
    let line = format!(
        "ip -4 -oneline address show to {vip}/32; ip -4 -oneline address show to {}/32",
        address.address
    );
    let output = guest.run(&line);
    let interfaces: Vec<Option<&str>> =
        output.text.lines().map(|line| line.split_whitespace().nth(1)).collect();
    let same = matches!(interfaces[..], [Some(one), Some(other)] if one == other);
    checks.that("it is on the interface of the host's address", same, &output);
    let commands = "haproxy -c -q -f /etc/haproxy/haproxy.cfg && echo valid";
    checks.prints("haproxy's configuration is valid", guest, commands, "valid");
    let owner = "stat -c %U /proc/$(systemctl show --value --property=MainPID haproxy.service)";
    checks.prints("haproxy is not root", guest, owner, "haproxy");
    let limits = "for pid in $(cat /sys/fs/cgroup/system.slice/keepalived.service/cgroup.procs); \
                  do cat /proc/$pid/limits; done";
    // keepalived hears of it at half of what the kernel kills it for.
    let limit = "Max realtime timeout      2500000              5000000 ";
    checks.mentions("a busy host is no reason to kill keepalived", guest, limits, limit);
    let words = "cat /etc/haproxy/haproxy.cfg";
    for (name, master) in plan_of("lb").cluster.hosts_of("master") {
        let server = format!("server {name} {}:6443", master.address.address);
        checks.mentions("every master is a server", guest, words, &server);
    }
    let rules = "nft list ruleset";
    checks.mentions("the API's port is open", guest, rules, "6443");
    checks.mentions("VRRP is let in", guest, rules, "vrrp");
}

/// Commands that print `held` once this host has the virtual address.
fn wait_for_address() -> String {
    let vip = plan_of("lb").cluster.endpoint.vip;
    format!(
        "{{ timeout 120 ip -4 -oneline monitor address & echo $! >/run/monitor; \
         ip -4 -oneline address; wait; }} | while read -r line; do case $line in Deleted*) ;; \
         *' {vip}/32 '*) echo held; kill $(cat /run/monitor); break;; esac; done"
    )
}

fn check_failover(checks: &mut Checks<'_>, first: &mut Guest, second: &mut Guest) {
    let vip = plan_of("lb").cluster.endpoint.vip;
    let held = format!("ip -4 -oneline address show to {vip}/32");
    checks.prints("the backup does not hold the address", second, &held, "");
    checks.prints("the proxy is stopped", first, "systemctl stop haproxy.service", "");
    checks.prints("the address moves to the backup", second, &wait_for_address(), "held");
    // It lets go when it hears of the other, a moment after the other has taken it.
    let gone =
        format!("for try in $(seq 60); do [ -z \"$({held})\" ] && break; sleep 1; done; {held}");
    checks.prints("the primary has let go of it", first, &gone, "");
    checks.prints("the proxy starts again", first, "systemctl start haproxy.service", "");
    checks.prints("the address returns", first, &wait_for_address(), "held");
    kill_proxy(checks, first);
    check_restarted(checks, first);
    check_holds(checks, first, vip);
}

/// One image, two machines.
fn check_difference(checks: &mut Checks<'_>, first: &mut Guest, second: &mut Guest) {
    for (what, commands) in [
        ("machine ids", "cat /etc/machine-id"),
        ("random seeds", "sha256sum /var/lib/systemd/random-seed"),
        ("boot ids", "cat /proc/sys/kernel/random/boot_id"),
    ] {
        let [one, other] = [first.run(commands), second.run(commands)];
        let differ = one.status == 0 && other.status == 0 && one.text != other.text;
        checks.that(&format!("{what} differ"), differ, &(one, other));
    }
    let version = "cat /proc/cmdline";
    let [one, other] = [first.run(version), second.run(version)];
    checks.that("both run the same root", one == other, &(one, other));
}

fn power_off(machine: &mut Machine, guest: &mut Guest) {
    guest.run("systemctl poweroff --no-block");
    machine.wait_end(Duration::from_secs(180)).unwrap_or_else(|error| panic!("{error:#}"));
}

/// Flips one bit in the first data block of the root partition, which every boot reads.
fn flip_byte_of_root(disk: &Path) {
    const SECTOR: u64 = 512;
    // The second entry of the partition array, which begins in block 2; its first block number
    // stands 32 bytes into it.
    const ROOT_FIRST_LBA: u64 = 2 * SECTOR + 128 + 32;
    let mut file = fs::File::options().read(true).write(true).open(disk).unwrap();
    let mut read_at = |at: u64, bytes: &mut [u8]| {
        file.seek(SeekFrom::Start(at)).unwrap();
        file.read_exact(bytes).unwrap();
    };
    let mut lba = [0; 8];
    read_at(ROOT_FIRST_LBA, &mut lba);
    let root = u64::from_le_bytes(lba) * SECTOR;
    let mut magic = [0; 4];
    read_at(root, &mut magic);
    assert_eq!(&magic, b"hsqs", "the second partition begins with a squashfs");
    let mut byte = [0];
    let at = root + 1000;
    read_at(at, &mut byte);
    byte[0] ^= 1;
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&byte).unwrap();
}
