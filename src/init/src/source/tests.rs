// SPDX-License-Identifier: Apache-2.0

use super::*;
use crate::volume::ReadAt;

const ALL: [Source; 3] = [Source::Cmdline, Source::Smbios, Source::Nocloud];

/// A machine with a command line, a serial number, OEM strings and disks.
#[derive(Default)]
struct Fake {
    command_line: &'static str,
    serial: &'static str,
    strings: Vec<&'static str>,
    disks: Vec<(&'static str, Vec<u8>)>,
    /// Items of fw_cfg and keys of guestinfo.
    items: Vec<(&'static str, &'static str)>,
}

struct Disk(Vec<u8>);

impl ReadAt for Disk {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        (&*self.0).read_at(buffer, offset)
    }
}

impl Machine for Fake {
    fn command_line(&mut self) -> io::Result<String> {
        Ok(self.command_line.to_owned())
    }

    fn smbios(&mut self) -> io::Result<Option<Vec<u8>>> {
        let strings = |list: &[&str]| -> Vec<u8> {
            let mut bytes: Vec<u8> =
                list.iter().flat_map(|it| [it.as_bytes(), &[0]].concat()).collect();
            bytes.push(0);
            bytes
        };
        let serial = if self.serial.is_empty() { "-" } else { self.serial };
        let mut table = vec![1, 8, 0, 0, 0, 0, 0, 1];
        table.extend(strings(&[serial]));
        if !self.strings.is_empty() {
            table.extend([11, 5, 1, 0, 1]);
            table.extend(strings(&self.strings));
        }
        Ok(Some(table))
    }

    fn fw_cfg(&mut self, item: &str) -> io::Result<Option<Vec<u8>>> {
        let found = self.items.iter().find(|(name, _)| *name == item);
        Ok(found.map(|(_, text)| text.as_bytes().to_vec()))
    }

    fn guestinfo(&mut self, key: &str) -> io::Result<Option<Vec<u8>>> {
        self.fw_cfg(key)
    }

    fn uuid(&mut self) -> Option<String> {
        Some("83679162-1378-4288-a2d4-70e13ec132aa".to_owned())
    }

    fn media(&mut self) -> Vec<(String, Medium)> {
        let disks = std::mem::take(&mut self.disks);
        let disk = |(name, bytes): (&str, Vec<u8>)| {
            (name.to_owned(), Medium::Device(Box::new(Disk(bytes))))
        };
        disks.into_iter().map(disk).collect()
    }
}

/// A FAT12 volume labeled CIDATA with one short document.
fn cidata(meta_data: &str) -> Vec<u8> {
    let mut image = vec![0; 64 * 512];
    image[..3].copy_from_slice(&[0xeb, 0x3c, 0x90]);
    // 512-byte sectors, 1 per cluster, 1 reserved, 1 FAT of 1 sector, 16 root entries, 64 sectors.
    image[11..24].copy_from_slice(&[0, 2, 1, 1, 0, 1, 16, 0, 64, 0, 0xf8, 1, 0]);
    image[43..54].copy_from_slice(b"CIDATA     ");
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    image[512..518].copy_from_slice(&[0xf8, 0xff, 0xff, 0xff, 0x0f, 0]);
    let mut long = [0xff_u8; 32];
    (long[0], long[11], long[12], long[26], long[27]) = (0x41, 0x0f, 0, 0, 0);
    for (unit, offset) in "meta-data\0".bytes().zip([1, 3, 5, 7, 9, 14, 16, 18, 20, 22]) {
        long[offset..offset + 2].copy_from_slice(&[unit, 0]);
    }
    let mut short = [0_u8; 32];
    short[..11].copy_from_slice(b"META-D~1   ");
    long[13] = short[..11].iter().fold(0, |sum: u8, byte| sum.rotate_right(1).wrapping_add(*byte));
    short[26] = 2;
    short[28] = u8::try_from(meta_data.len()).unwrap();
    image[1024..1056].copy_from_slice(&long);
    image[1056..1088].copy_from_slice(&short);
    image[1536..1536 + meta_data.len()].copy_from_slice(meta_data.as_bytes());
    image
}

fn search(declared: &[Source], mut machine: Fake) -> Result<Option<Seed>, String> {
    let mut search = Search::start(declared, &mut machine).map_err(|error| error.to_string())?;
    search.look(&mut machine).map_err(|error| error.to_string())?;
    Ok(search.finish())
}

#[test]
fn the_first_source_with_documents_wins_whole() {
    let machine = || Fake {
        strings: vec!["kiln.meta-data=YTogMQ=="],
        disks: vec![("vdb", cidata("b: 2"))],
        ..Fake::default()
    };
    let seed = search(&ALL, machine()).unwrap().unwrap();
    assert_eq!((seed.origin.as_str(), seed.meta_data.as_deref()), ("smbios", Some(&b"a: 1"[..])));
    let seed = search(&[Source::Nocloud, Source::Smbios], machine()).unwrap().unwrap();
    assert_eq!(seed.origin, "nocloud medium 'vdb'");
    assert_eq!(seed.meta_data.as_deref(), Some(&b"b: 2"[..]));
    let seed = search(&[Source::Cmdline], machine()).unwrap();
    assert_eq!(seed, None);
}

#[test]
fn the_last_device_wins_and_the_other_one_is_mentioned() {
    let disks = vec![("sr0", cidata("a: 1")), ("vda", vec![0; 4096]), ("vdb", cidata("b: 2"))];
    let seed = search(&ALL, Fake { disks, ..Fake::default() }).unwrap().unwrap();
    assert_eq!(seed.origin, "nocloud medium 'vdb'");
    assert_eq!(seed.warnings, ["two nocloud media: 'vdb' is read, 'sr0' is not"]);
}

#[test]
fn a_line_names_the_host_with_or_without_documents() {
    let command_line = "quiet ds=nocloud;h=a;i=i-1";
    let seed = search(&ALL, Fake { command_line, ..Fake::default() }).unwrap().unwrap();
    assert_eq!(seed.origin, "kernel command line");
    assert_eq!(seed.line.hostname.as_deref(), Some("a"));
    let disks = vec![("vdb", cidata("b: 2"))];
    let serial = "ds=nocloud;h=b";
    let seed =
        search(&ALL, Fake { command_line, serial, disks, ..Fake::default() }).unwrap().unwrap();
    assert_eq!(seed.origin, "nocloud medium 'vdb'");
    assert_eq!(seed.line.hostname.as_deref(), Some("b"));
    assert_eq!(seed.line.instance_id.as_deref(), Some("i-1"));
}

#[test]
fn a_line_that_only_chooses_sources_names_nobody() {
    for command_line in ["ds=nocloud", "ds=nocloud;", "ds=nocloud ip=dhcp"] {
        let seed = search(&ALL, Fake { command_line, ..Fake::default() }).unwrap();
        assert_eq!(seed, None, "{command_line}");
    }
}

#[test]
fn the_command_line_narrows_the_sources_and_never_widens_them() {
    let disks = || vec![("vdb", cidata("b: 2"))];
    for (command_line, declared, found) in [
        ("ds=nocloud", &ALL[..], true),
        ("ds=NoCloud", &ALL, true),
        ("ds=none", &ALL, false),
        ("ds=smbios", &ALL, false),
        ("ds=nocloud", &[Source::Smbios], false),
    ] {
        let seed =
            search(declared, Fake { command_line, disks: disks(), ..Fake::default() }).unwrap();
        assert_eq!(seed.is_some_and(|seed| seed.has_documents()), found, "{command_line}");
    }
    // An undeclared source is not even read.
    let machine =
        Fake { serial: "ds=nocloud;s=x", command_line: "ds=nocloud;h=a", ..Fake::default() };
    assert_eq!(search(&[Source::Nocloud], machine).unwrap(), None);
}

#[test]
fn network_config_may_stand_on_the_command_line() {
    let command_line = "network-config=dmVyc2lvbjogMg== ds=nocloud;h=a";
    let seed = search(&ALL, Fake { command_line, ..Fake::default() }).unwrap().unwrap();
    assert_eq!(seed.network_config.as_deref(), Some(&b"version: 2"[..]));
    assert_eq!(seed.line.hostname.as_deref(), Some("a"));
}

#[test]
fn what_is_invalid_stops_the_search() {
    for (machine, message) in [
        (
            Fake { command_line: "ds=floppy;h=a", ..Fake::default() },
            "kernel command line: 'ds=floppy' names no source; expected cmdline, smbios, fw-cfg, nocloud, config-drive, guestinfo, ovf, http, ec2, openstack or none",
        ),
        (
            Fake { command_line: "ds=smbios ds=nocloud;h=a", ..Fake::default() },
            "kernel command line: two 'ds=' words: keep one",
        ),
        (
            Fake { command_line: "network-config=%", ..Fake::default() },
            "kernel command line: 'network-config=': not base64 at byte 0",
        ),
        (
            Fake { serial: "ds=nocloud;s=ftp://x/", ..Fake::default() },
            "smbios: 's' (seedfrom): expected http:// and a host without a user, found 'ftp://x/'",
        ),
        (
            Fake {
                strings: vec!["kiln.user-data=x"],
                disks: vec![("vdb", cidata("b: 2"))],
                ..Fake::default()
            },
            "smbios: the string 'kiln.user-data': not base64 at byte 1",
        ),
    ] {
        assert_eq!(search(&ALL, machine).unwrap_err(), message);
    }
}

#[test]
fn an_ip_that_nobody_is_named_beside_is_mentioned() {
    for (command_line, is_idle) in [
        ("ip=::::n1:eth0:dhcp", true),
        ("ds=nocloud ip=dhcp", true),
        ("ds=nocloud;h=a ip=dhcp", false),
        ("quiet", false),
    ] {
        let mut machine = Fake { command_line, ..Fake::default() };
        let search = Search::start(&ALL, &mut machine).unwrap();
        let mention = "kernel command line (its 'ip=' only counts beside 'ds=nocloud;h=NAME')";
        assert_eq!(search.tried()[0] == mention, is_idle, "{command_line}");
        assert_eq!(search.answers()[0].said == mention, is_idle, "{command_line}");
    }
}

#[test]
fn guestinfo_without_an_id_has_the_machine_s() {
    let uuid = "83679162-1378-4288-a2d4-70e13ec132aa";
    for (text, id) in [("local-hostname: a", uuid), ("instance-id: i-1", "i-1")] {
        let items = vec![("guestinfo.metadata", text), ("guestinfo.vendordata", "x")];
        let seed =
            search(&[Source::Guestinfo], Fake { items, ..Fake::default() }).unwrap().unwrap();
        assert_eq!(seed.instance_id().unwrap(), id);
        let metadata = seed.read(|_| serde_json::Value::Null).unwrap();
        assert_eq!(metadata.instance_id, id);
        assert_eq!(metadata.warnings, ["guestinfo.vendordata is not read"]);
    }
    assert_eq!(search(&[Source::Guestinfo], Fake::default()).unwrap(), None);
}

#[test]
fn devices_that_come_late_are_looked_at() {
    let mut machine = Fake::default();
    let mut search = Search::start(&ALL, &mut machine).unwrap();
    assert_eq!(search.look(&mut machine).unwrap(), None);
    assert!(search.waits());
    machine.disks = vec![("vdb", cidata("b: 2"))];
    assert!(search.look(&mut machine).unwrap().is_some());
    assert!(!search.waits());
    assert_eq!(search.tried(), ["kernel command line", "smbios", "nocloud"]);
}

/// Every local source, as the images declare them.
const LOCAL: [Source; 7] = [
    Source::Cmdline,
    Source::Smbios,
    Source::FwCfg,
    Source::Nocloud,
    Source::ConfigDrive,
    Source::Guestinfo,
    Source::Ovf,
];

#[test]
fn fw_cfg_is_asked_again_until_its_driver_is_there() {
    let mut machine = Fake::default();
    let mut search = Search::start(&LOCAL, &mut machine).unwrap();
    assert_eq!(search.look(&mut machine).unwrap(), None);
    assert!(search.is_patient());
    machine.items = vec![("opt/org.kiln/meta-data", "a: 1"), ("opt/other", "b: 2")];
    let seed = search.look(&mut machine).unwrap().unwrap();
    assert_eq!((&*seed.origin, seed.meta_data.as_deref()), ("fw-cfg", Some(&b"a: 1"[..])));
}

#[test]
fn a_source_that_is_declared_later_waits_for_drivers_but_not_for_hands() {
    let items = || vec![("guestinfo.metadata", "a: 1"), ("guestinfo.metadata.encoding", "")];
    let mut machine = Fake { items: items(), ..Fake::default() };
    let mut search = Search::start(&LOCAL, &mut machine).unwrap();
    assert_eq!(search.look(&mut machine).unwrap(), None);
    assert!(search.waits() && !search.is_patient());
    assert_eq!(search.finish().unwrap().origin, "guestinfo");
    // A medium comes in time, and is declared before.
    let mut machine = Fake { items: items(), ..Fake::default() };
    let mut search = Search::start(&LOCAL, &mut machine).unwrap();
    machine.disks = vec![("vdb", cidata("b: 2"))];
    search.look(&mut machine).unwrap();
    assert_eq!(search.finish().unwrap().origin, "nocloud medium 'vdb'");
}

#[test]
fn remote_sources_are_named_when_no_local_one_has_documents() {
    let declared = [Source::Nocloud, Source::Http, Source::Ec2];
    let command_line = "kiln.url=http://a/{mac}/";
    let mut machine = Fake { command_line, ..Fake::default() };
    let mut search = Search::start(&declared, &mut machine).unwrap();
    assert_eq!(search.remote(), [Source::Http, Source::Ec2]);
    assert_eq!(search.url(), Some("http://a/{mac}/"));
    assert!(!search.is_patient());
    machine.disks = vec![("vdb", cidata("b: 2"))];
    search.look(&mut machine).unwrap();
    assert_eq!(search.remote(), []);
    let machine = Fake { serial: "ds=nocloud;h=a;s=http://b/", ..Fake::default() };
    let declared = [Source::Smbios, Source::Http];
    let search = Search::start(&declared, &mut { machine }).unwrap();
    assert_eq!((search.url(), search.remote()), (Some("http://b/"), vec![Source::Http]));
}

/// A folder as a medium, whatever its source.
fn folder(label: &str, files: &[(&str, &str)]) -> Offline {
    let files = files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()));
    let folder = crate::volume::Folder { label: label.to_owned(), files: files.collect() };
    Offline { volumes: vec![("seed".to_owned(), folder)], ..Offline::default() }
}

fn of_folder(label: &str, files: &[(&str, &str)]) -> Result<Option<Seed>, String> {
    let mut machine = folder(label, files);
    let mut search = Search::start(&LOCAL, &mut machine).map_err(|it| it.to_string())?;
    search.look(&mut machine).map_err(|it| it.to_string())?;
    Ok(search.finish())
}

const META_DATA: &str = "openstack/latest/meta_data.json";

#[test]
fn a_config_drive_is_read_in_its_newest_version() {
    let seed = of_folder(
        "CONFIG-2",
        &[
            ("openstack/2015-10-15/meta_data.json", "{\"uuid\": \"old\"}"),
            (
                "openstack/2018-08-27/meta_data.json",
                "{\"uuid\": \"new\", \"files\": [{\"path\": \"/etc/kiln/a\", \"content_path\": \"/content/0000\"}]}",
            ),
            ("openstack/2018-08-27/user_data", "#cloud-config\n"),
            (META_DATA, "{\"uuid\": \"latest\"}"),
            ("openstack/content/0000", "x"),
        ],
    );
    let seed = seed.unwrap().unwrap();
    assert!(seed.meta_data.unwrap().starts_with(b"{\"uuid\": \"new\""));
    assert_eq!(seed.user_data.as_deref(), Some(&b"#cloud-config\n"[..]));
    assert_eq!((&*seed.files[0].path, &*seed.files[0].content), ("/etc/kiln/a", &b"x"[..]));
    let latest = of_folder("config-2", &[(META_DATA, "{\"uuid\": \"latest\"}")]).unwrap().unwrap();
    assert_eq!(latest.meta_data.as_deref(), Some(&b"{\"uuid\": \"latest\"}"[..]));
}

#[test]
fn what_a_config_drive_has_beside_the_documents_is_said() {
    let read = |meta_data: &str, vendor: &str| {
        let files = [(META_DATA, meta_data), ("openstack/latest/vendor_data2.json", vendor)];
        let seed = of_folder("config-2", &files).unwrap().unwrap();
        seed.read(|_| serde_json::Value::Null).map(|it| it.warnings).map_err(|it| it.to_string())
    };
    assert_eq!(read("{\"uuid\": \"a\"}", "{}").unwrap(), [""; 0]);
    assert_eq!(
        read("{\"uuid\": \"a\", \"meta\": {\"dsmode\": \"local\"}}", "{\"cloud-init\": \"x\"}")
            .unwrap(),
        [
            "config-drive medium 'seed': vendor_data2.json is not read",
            "meta_data.json: 'meta.dsmode' has no effect"
        ]
    );
    assert_eq!(
        read("{\"uuid\": \"a\",\n\"meta\": {\"dsmode\": \"disabled\"}}", "").unwrap_err(),
        "config-drive medium 'seed': meta_data.json:2: meta.dsmode: 'disabled': take the source away, or out of the image's 'metadata.sources'"
    );
}

#[test]
fn files_of_a_config_drive_are_whole_or_refused() {
    let list = |n: usize| {
        let entry = |_| "{\"path\": \"/etc/kiln/a\", \"content_path\": \"/content/0000\"}";
        let entries: Vec<&str> = (0..n).map(entry).collect();
        format!("{{\"uuid\": \"a\", \"files\": [{}]}}", entries.join(", "))
    };
    let mib = "x".repeat(1 << 20);
    let more = format!("{mib}x");
    for (n, content, whole) in [(1, &*mib, true), (2, &mib, false), (1, &more, false)] {
        let seed =
            of_folder("config-2", &[(META_DATA, &list(n)), ("openstack/content/0000", content)]);
        match whole {
            true => assert_eq!(seed.unwrap().unwrap().files[0].content.len(), 1 << 20),
            false => assert!(
                seed.unwrap_err().ends_with("content_path: more than 1048576 bytes in all files")
            ),
        }
    }
}

#[test]
fn a_config_drive_gives_no_file_of_somewhere_else() {
    let file = |content_path: &str| {
        format!(
            "{{\"uuid\": \"a\",\n\"files\": [{{\"path\": \"/etc/a\", \"content_path\": \"{content_path}\"}}]}}"
        )
    };
    for (content_path, message) in [
        (
            "/../../../etc/passwd",
            "expected a path as '/content/0000', found '/../../../etc/passwd'",
        ),
        ("/content/../../x", "expected a path as '/content/0000', found '/content/../../x'"),
        ("/content/..", "expected a path as '/content/0000', found '/content/..'"),
        ("content", "expected a path as '/content/0000', found 'content'"),
        ("/content/0001", "there is no 'openstack/content/0001'"),
    ] {
        let refusal = of_folder("config-2", &[(META_DATA, &file(content_path))]).unwrap_err();
        assert_eq!(
            refusal,
            format!(
                "config-drive medium 'seed': meta_data.json:2: files[0].content_path: {message}"
            )
        );
    }
    assert_eq!(
        of_folder("config-2", &[("readme", "x")]).unwrap_err(),
        "config-drive medium 'seed': there is no openstack/VERSION/meta_data.json"
    );
}
