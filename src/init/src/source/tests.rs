// SPDX-License-Identifier: Apache-2.0

use super::*;

const ALL: [Source; 3] = [Source::Cmdline, Source::Smbios, Source::Nocloud];

/// A machine with a command line, a serial number, OEM strings and disks.
#[derive(Default)]
struct Fake {
    command_line: &'static str,
    serial: &'static str,
    strings: Vec<&'static str>,
    disks: Vec<(&'static str, Vec<u8>)>,
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

    fn media(&mut self) -> Vec<(String, Box<dyn ReadAt>)> {
        let disks = std::mem::take(&mut self.disks);
        disks
            .into_iter()
            .map(|(name, bytes)| (name.to_owned(), Box::new(Disk(bytes)) as _))
            .collect()
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
fn the_command_line_narrows_the_sources_and_never_widens_them() {
    let disks = || vec![("vdb", cidata("b: 2"))];
    for (command_line, declared, found) in [
        ("ds=nocloud", &ALL[..], true),
        ("ds=NoCloud", &ALL, true),
        ("ds=none", &ALL, false),
        ("ds=smbios", &ALL, false),
        ("ds=nocloud", &[Source::Smbios], false),
        ("ds=smbios ds=nocloud", &ALL, true),
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
            Fake { command_line: "ds=ec2", ..Fake::default() },
            "kernel command line: 'ds=ec2' names no source; expected nocloud, cmdline, smbios or none",
        ),
        (
            Fake { command_line: "network-config=%", ..Fake::default() },
            "kernel command line: 'network-config=': not base64 at byte 0",
        ),
        (
            Fake { serial: "ds=nocloud;s=http://x/", ..Fake::default() },
            "smbios: 's' (seedfrom) needs the network, which no source of this image uses",
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
fn devices_that_come_late_are_looked_at() {
    let mut machine = Fake::default();
    let mut search = Search::start(&ALL, &mut machine).unwrap();
    assert_eq!(search.look(&mut machine).unwrap(), None);
    assert!(search.waits());
    machine.disks = vec![("vdb", cidata("b: 2"))];
    assert!(search.look(&mut machine).unwrap().is_some());
    assert!(!search.waits());
    assert_eq!(search.tried(), ["kernel command line", "smbios", "nocloud media"]);
}
