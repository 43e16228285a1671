// SPDX-License-Identifier: Apache-2.0
//! One image, its metadata from every source: what the host becomes, and what it says when the
//! source has nothing.
//!
//! Media are written by foreign programs. Most tests end when first boot has decided; nothing
//! after that depends on where the metadata came from.

use std::{ffi::OsString, fs, path::Path, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kiln::qemu::{Machine, Network, Spec};

use crate::support::{
    guest::{self, Checks, Guest},
    media::{iso, server, vfat},
    qemu::{BOOT, CPUS, image, plan_of, side_by_side, start},
};

const META_DATA: &str = "instance-id: i-42\nlocal-hostname: n42.example.org\n";
const NETWORK_CONFIG: &str = "version: 2\nethernets:\n  nic:\n    match: {macaddress: \"52:54:00:00:00:42\"}\n    addresses: [10.42.0.2/24]\n";
const MAC: &str = "52:54:00:00:00:42";
/// The line of a host with all of the above.
const HOST: &str = "host n42, address 10.42.0.2/24, instance i-42";

/// Time until a boot is stopped, on a busy host under emulation.
const STOP: Duration = Duration::from_secs(180);

/// A machine of the load balancer's image with nothing that names it.
fn bare() -> Spec {
    Spec { mac: Some(MAC.to_owned()), memory: 512, cpus: CPUS, ..Spec::new(&image("lb")) }
}

/// First boot decides on this host.
fn assert_becomes(spec: &Spec, host: &str) {
    let mut machine = start(spec);
    let line = machine.wait_for("kiln: host ", BOOT).unwrap_or_else(|error| panic!("{error:#}"));
    assert!(line.contains(host), "expected '{host}', found '{line}'");
    let done = machine.wait_for("kiln: first boot done", BOOT);
    println!("{host}: {}", done.unwrap_or_else(|error| panic!("{error:#}")));
}

/// First boot stops, within the time that the image declares and what the drivers take.
fn assert_stops(spec: &Spec, reason: &str) -> Machine {
    let mut machine = start(spec);
    let line = machine.wait_for("kiln: first boot stopped: ", STOP);
    let line = line.unwrap_or_else(|error| panic!("{error:#}"));
    assert!(line.contains(reason), "expected '{reason}', found '{line}'");
    println!("{line}");
    machine
}

const DOCUMENTS: [(&str, &str); 2] = [("meta-data", META_DATA), ("network-config", NETWORK_CONFIG)];

#[test]
fn nocloud_on_an_iso_names_the_host() {
    let _running = side_by_side();
    let scratch = tempfile::tempdir().unwrap();
    for names in ["-R", "-J"] {
        let seed = Some(iso(scratch.path(), "CiData", names, &DOCUMENTS));
        assert_becomes(&Spec { seed, ..bare() }, HOST);
    }
}

#[test]
fn nocloud_on_a_fat_disk_names_the_host() {
    let _running = side_by_side();
    let scratch = tempfile::tempdir().unwrap();
    let media = vec![vfat(scratch.path(), "cidata", &DOCUMENTS)];
    assert_becomes(&Spec { media, ..bare() }, HOST);
}

#[test]
fn a_config_drive_names_the_host() {
    let _running = side_by_side();
    let scratch = tempfile::tempdir().unwrap();
    let meta_data = "{\"uuid\": \"i-42\", \"hostname\": \"n42.example.org\"}";
    let network_data = format!(
        "{{\"links\": [{{\"id\": \"l\", \"type\": \"phy\", \"ethernet_mac_address\": \"{MAC}\"}}], \
          \"networks\": [{{\"id\": \"n\", \"link\": \"l\", \"type\": \"ipv4\", \
          \"ip_address\": \"10.42.0.2\", \"netmask\": \"255.255.255.0\"}}]}}"
    );
    let files = [
        ("openstack/2018-08-27/meta_data.json", meta_data),
        ("openstack/2018-08-27/network_data.json", &*network_data),
        ("openstack/latest/meta_data.json", "{}"),
    ];
    let seed = Some(iso(scratch.path(), "config-2", "-R", &files));
    assert_becomes(&Spec { seed, ..bare() }, HOST);
}

#[test]
fn smbios_strings_name_the_host() {
    let _running = side_by_side();
    let scratch = tempfile::tempdir().unwrap();
    let mut more = Vec::new();
    for (key, text) in DOCUMENTS {
        let file = scratch.path().join(key);
        fs::write(&file, format!("kiln.{key}={}", STANDARD.encode(text))).unwrap();
        more.extend(["-smbios".into(), path_argument("type=11,path=", &file)]);
    }
    assert_becomes(&Spec { more, ..bare() }, HOST);
}

#[test]
fn fw_cfg_names_the_host() {
    let _running = side_by_side();
    let scratch = tempfile::tempdir().unwrap();
    let mut more = Vec::new();
    for (key, text) in DOCUMENTS {
        let file = scratch.path().join(key);
        fs::write(&file, text).unwrap();
        let item = format!("name={}{key},file=", kiln_contract::FW_CFG_PREFIX);
        more.extend(["-fw_cfg".into(), path_argument(&item, &file)]);
    }
    assert_becomes(&Spec { more, ..bare() }, HOST);
}

#[test]
fn the_command_line_names_the_host() {
    let _running = side_by_side();
    let kernel = vec![
        "ds=nocloud;h=n42.example.org;i=i-42".to_owned(),
        format!("network-config={}", STANDARD.encode(NETWORK_CONFIG)),
    ];
    assert_becomes(&Spec { kernel, ..bare() }, HOST);
    let kernel = vec![
        "ds=nocloud;h=n42;i=i-42".to_owned(),
        "ip=10.42.0.2::10.42.0.1:255.255.255.0:::off".to_owned(),
    ];
    assert_becomes(&Spec { kernel, ..bare() }, HOST);
}

#[test]
fn a_serial_number_names_the_host() {
    let _running = side_by_side();
    let more = ["-smbios", "type=1,serial=ds=nocloud;h=n42;i=i-42"].map(OsString::from).into();
    assert_becomes(&Spec { more, ..bare() }, "host n42, address by DHCP, instance i-42");
}

/// `key=FILE` for QEMU; the scratch folder's name has no comma.
fn path_argument(key: &str, file: &Path) -> OsString {
    let mut argument = OsString::from(key);
    argument.push(file);
    argument
}

#[test]
fn a_source_that_has_nothing_stops_the_boot_and_is_named() {
    let _running = side_by_side();
    for (ds, tried) in [
        ("nocloud", "nocloud"),
        ("configdrive", "config-drive"),
        ("smbios", "smbios"),
        ("fw-cfg", "fw-cfg"),
        ("cmdline", "kernel command line"),
        ("vmware", "guestinfo"),
        ("ovf", "ovf"),
        ("http", "http"),
    ] {
        let kernel = vec![format!("ds={ds}")];
        let machine = assert_stops(&Spec { kernel, ..bare() }, "no metadata");
        let line = machine.console().last().unwrap();
        assert!(line.contains(tried), "{ds}: {line}");
    }
}

#[test]
fn a_seed_that_is_wrong_stops_the_boot_with_its_line() {
    let _running = side_by_side();
    let scratch = tempfile::tempdir().unwrap();
    let files = [("meta-data", "instance-id: i\nlocal-hostname: ../../etc/passwd\n")];
    let seed = Some(iso(scratch.path(), "cidata", "-R", &files));
    let reason = "meta-data:2: local-hostname: expected labels of 1 to 63 letters, digits and inner '-', found '../../etc/passwd'";
    drop(assert_stops(&Spec { seed, ..bare() }, reason));
}

const NETWORKS: &str = r#"
version: 2
ethernets:
  lan:
    match: {macaddress: "52:54:00:00:00:42"}
    set-name: lan0
    addresses: [10.42.0.2/24, "2001:db8:42::2/64"]
    routes:
    - {to: default, via: 10.42.0.1}
    - {to: 10.99.0.0/16, via: 10.42.0.9, metric: 50}
    nameservers: {addresses: [10.42.0.1], search: [example.org]}
    mtu: 1400
  leased:
    match: {macaddress: "52:54:00:00:00:43"}
    dhcp4: true
    dhcp4-overrides: {route-metric: 900, use-dns: false}
  port0: {match: {macaddress: "52:54:00:00:00:44"}}
  port1: {match: {macaddress: "52:54:00:00:00:45"}}
  member: {match: {macaddress: "52:54:00:00:00:46"}}
bonds:
  bond0:
    interfaces: [port0, port1]
    parameters: {mode: active-backup, mii-monitor-interval: 100}
    addresses: [10.43.0.2/24]
vlans:
  bond0.7: {id: 7, link: bond0, addresses: [10.44.0.2/24]}
bridges:
  br0:
    interfaces: [member]
    parameters: {stp: false, forward-delay: 4}
    addresses: [10.45.0.2/24]
    routes: [{to: 10.46.0.0/16, via: 10.45.0.1}]
    routing-policy: [{from: 10.45.0.0/24, table: 7, priority: 100}]
"#;

#[test]
fn the_network_is_what_the_metadata_says() {
    let _running = side_by_side();
    let scratch = tempfile::tempdir().unwrap();
    let files = [("meta-data", META_DATA), ("network-config", NETWORKS)];
    let seed = Some(iso(scratch.path(), "cidata", "-R", &files));
    let mut more: Vec<OsString> = Vec::new();
    for (number, net) in [(3, "net=10.50.0.0/24"), (4, ""), (5, ""), (6, "")] {
        let comma = if net.is_empty() { "" } else { "," };
        more.extend([
            "-netdev".into(),
            format!("user,id=net{number},restrict=on{comma}{net}").into(),
            "-device".into(),
            format!("virtio-net-pci,netdev=net{number},romfile=,mac=52:54:00:00:00:4{number}")
                .into(),
        ]);
    }
    let spec = Spec {
        seed,
        more,
        network: Network::Other("user,id=net,restrict=on,net=10.42.0.0/24".to_owned()),
        credentials: guest::credentials(),
        port: true,
        ..bare()
    };
    let mut machine = start(&spec);
    machine.wait_ready(BOOT).unwrap_or_else(|error| panic!("{error:#}"));
    let mut guest = Guest::of(&machine);
    let mut checks = Checks::new("network");
    check_networks(&mut checks, &mut guest);
    checks.finish();
}

fn check_networks(checks: &mut Checks<'_>, guest: &mut Guest) {
    for (interface, addresses) in [
        ("lan0", &["10.42.0.2/24", "2001:db8:42::2/64"][..]),
        ("bond0", &["10.43.0.2/24"]),
        ("bond0.7", &["10.44.0.2/24"]),
        ("br0", &["10.45.0.2/24"]),
    ] {
        for address in addresses {
            let show = format!("ip -oneline address show dev {interface}");
            checks.mentions(&format!("{interface} has {address}"), guest, &show, address);
        }
    }
    let leased = "ip -4 -oneline address show to 10.50.0.0/24";
    checks.mentions("the lease has its metric", guest, leased, "metric 900");
    for (name, commands, wanted) in [
        ("the default route is the static one", "ip route show default", "via 10.42.0.1 dev lan0"),
        ("a route has its metric", "ip route show 10.99.0.0/16", "via 10.42.0.9 dev lan0"),
        ("the MTU is set", "cat /sys/class/net/lan0/mtu", "1400"),
        ("the bond has its mode", "cat /sys/class/net/bond0/bonding/mode", "active-backup 1"),
        ("the bond has its interval", "cat /sys/class/net/bond0/bonding/miimon", "100"),
        ("the VLAN has its number", "cat /proc/net/vlan/bond0.7", "VID: 7"),
        ("the bridge has no spanning tree", "cat /sys/class/net/br0/bridge/stp_state", "0"),
        ("the bridge has its delay", "cat /sys/class/net/br0/bridge/forward_delay", "400"),
        ("the bridge has a route", "ip route show 10.46.0.0/16", "via 10.45.0.1 dev br0"),
        ("a rule is there", "ip rule show pref 100", "from 10.45.0.0/24 lookup 7"),
        ("the name server is there", "resolvectl dns lan0", "10.42.0.1"),
        ("the search domain is there", "resolvectl domain lan0", "example.org"),
    ] {
        checks.mentions(name, guest, commands, wanted);
    }
    let slaves = "cat /sys/class/net/bond0/bonding/slaves | wc -w";
    checks.prints("the bond has both ports", guest, slaves, "2");
    checks.prints("the bridge has its port", guest, "ls /sys/class/net/br0/brif | wc -l", "1");
    let complaints = "journalctl --no-pager --output=cat --unit=systemd-networkd --unit=systemd-udevd \
                      --boot --priority=warning";
    checks.prints("networkd and udev complain of nothing", guest, complaints, "");
    let failed = "systemctl list-units --failed --plain --no-legend";
    checks.prints("no unit failed", guest, failed, "");
}

#[test]
fn a_server_names_the_host_by_its_mac() {
    let _running = side_by_side();
    let scratch = tempfile::tempdir().unwrap();
    let config = NETWORK_CONFIG.replace("10.42.0.2/24", "10.42.0.77/24");
    let master = plan_of("lb").cluster.hosts["k8s-master-1"].address.address;
    let documents = [
        ("52-54-00-00-00-42/meta-data", META_DATA),
        ("52-54-00-00-00-42/network-config", &config),
        (
            "52-54-00-00-00-42/user-data",
            "#cloud-config\nwrite_files: [{path: /etc/motd, content: hi}]\n",
        ),
    ];
    let spec = Spec {
        // A name that the image knows: systemd-resolved says whose it is.
        kernel: vec!["kiln.url=http://k8s-master-1/{mac}/".to_owned()],
        network: server(scratch.path(), &master.to_string(), None, &documents),
        credentials: guest::credentials(),
        port: true,
        ..bare()
    };
    let mut machine = start(&spec);
    let ready = machine.wait_ready(BOOT).unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!((&*ready.hostname, ready.address.to_string().as_str()), ("n42", "10.42.0.77"));
    let mut guest = Guest::of(&machine);
    let mut checks = Checks::new("http");
    checks.prints("a file is written", &mut guest, "cat /etc/motd", "hi");
    checks.prints("the name is the kernel's", &mut guest, "uname -n", "n42");
    let status = "/usr/lib/kiln/kiln-init status";
    for said in
        ["source     nocloud: no medium is labelled 'cidata'", "source     http: has the documents"]
    {
        checks.mentions("the status names every source", &mut guest, status, said);
    }
    checks.mentions(
        "the status has the steps",
        &mut guest,
        status,
        "step       servers asked after ",
    );
    let kept = "cat /var/lib/kiln/seed.json";
    checks.mentions(
        "the metadata is kept",
        &mut guest,
        kept,
        "\"origin\":\"http 'http://k8s-master-1",
    );
    let failed = "systemctl list-units --failed --plain --no-legend";
    checks.prints("no unit failed", &mut guest, failed, "");
    checks.finish();
}

#[test]
fn a_server_that_has_nothing_leaves_the_host_nobody() {
    let _running = side_by_side();
    let scratch = tempfile::tempdir().unwrap();
    let spec = Spec {
        kernel: ["kiln.url=http://10.42.0.9/{mac}/", "kiln.on-failure=poweroff"]
            .map(str::to_owned)
            .into(),
        network: server(scratch.path(), "10.42.0.9", None, &[]),
        ..bare()
    };
    let mut machine = assert_stops(&spec, "no metadata, which this image needs: asked http");
    machine.wait_end(STOP).unwrap_or_else(|error| panic!("{error:#}"));
    assert!(!machine.console().iter().any(|line| line.contains("kiln: ready")));
}
