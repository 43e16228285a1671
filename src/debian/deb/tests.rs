// SPDX-License-Identifier: Apache-2.0
use std::io::Write as _;

use ::tar::{Builder, EntryType, Header};
use proptest::prelude::*;

use super::*;
use crate::debian::control as deb822;

/// An ar archive of members.
fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, data) in members {
        writeln!(bytes, "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", 0, 0, 0, 100_644, data.len())
            .expect("memory");
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(2), b'\n');
    }
    bytes
}

fn header(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o100_755);
    header.set_uid(0);
    header.set_gid(42);
    header.set_mtime(1_789_199_741);
    header.set_username("root").expect("fits");
    header.set_groupname("shadow").expect("fits");
    header
}

/// A tar archive that `fill` puts entries into.
fn tar(fill: impl FnOnce(&mut Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    fill(&mut builder);
    builder.into_inner().expect("memory")
}

fn file(builder: &mut Builder<Vec<u8>>, path: &str, data: &[u8]) {
    let mut header = header(EntryType::Regular, data.len() as u64);
    builder.append_data(&mut header, path, data).expect("fits");
}

/// An entry whose path and link are written as they are, unlike the crate would.
fn raw(builder: &mut Builder<Vec<u8>>, kind: EntryType, path: &[u8], link: &[u8]) {
    let mut header = header(kind, 0);
    if matches!(kind, EntryType::Char) {
        header.set_device_major(1).expect("has the field");
        header.set_device_minor(3).expect("has the field");
    }
    let old = header.as_old_mut();
    old.name[..path.len()].copy_from_slice(path);
    old.linkname[..link.len()].copy_from_slice(link);
    header.set_cksum();
    builder.append(&header, &b""[..]).expect("memory");
}

fn list(tar: Vec<u8>) -> Result<Vec<Entry>, Error> {
    let len = tar.len() as u64;
    entries(Arc::new(Memory(tar)), len)
}

fn refused(fill: impl FnOnce(&mut Builder<Vec<u8>>)) -> String {
    list(tar(fill)).expect_err("refused").to_string()
}

const CONTROL: &str = "Package: hello\nVersion: 1\n";

fn sample_data() -> Vec<u8> {
    tar(|builder| {
        raw(builder, EntryType::Directory, b"./", b"");
        raw(builder, EntryType::Directory, b"./usr/", b"");
        file(builder, "usr/hello", b"hello\n");
        raw(builder, EntryType::Link, b"./usr/again", b"./usr/hello");
        raw(builder, EntryType::Symlink, b"./lib", b"usr/lib");
        raw(builder, EntryType::Char, b"./null", b"");
    })
}

fn package(extension: &str, compress: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let control = tar(|builder| {
        file(builder, "postinst", b"#!/bin/sh\nrm -rf /\n");
        file(builder, "control", CONTROL.as_bytes());
    });
    ar(&[
        ("debian-binary", b"2.0\n"),
        (&format!("control.tar{extension}"), &compress(&control)),
        ("_extra", b"odd"),
        (&format!("data.tar{extension}"), &compress(&sample_data())),
    ])
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let options = lzma_rust2::XzOptions::with_preset(1);
    let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).expect("options");
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ::zstd::encode_all(bytes, 3).expect("memory")
}

type Compress = fn(&[u8]) -> Vec<u8>;
const COMPRESSIONS: [(&str, Compress); 4] =
    [("", |bytes| bytes.to_vec()), (".gz", gzip), (".xz", xz), (".zst", zstd)];

fn data(deb: &[u8]) -> Result<Vec<u8>, Error> {
    let mut tar = Vec::new();
    data_tar(deb)?.read_to_end(&mut tar)?;
    Ok(tar)
}

#[test]
fn every_compression_of_the_format_is_read() {
    for (extension, compress) in COMPRESSIONS {
        let deb = package(extension, compress);
        let text = control(&deb[..]).expect(extension);
        assert_eq!(deb822::single(&text).expect("valid").get("Package"), Some("hello"));
        assert_eq!(data(&deb).expect(extension), sample_data());
    }
}

#[test]
fn a_truncated_package_is_refused() {
    for (extension, compress) in COMPRESSIONS {
        let deb = package(extension, compress);
        for cut in (1..200).step_by(7) {
            let cut = &deb[..deb.len() - cut - 1];
            let whole = data(cut).is_ok_and(|tar| list(tar).is_ok());
            assert!(!whole, "'{extension}' cut to {} bytes", cut.len());
        }
    }
}

#[test]
fn what_is_no_package_is_refused() {
    assert!(matches!(data(b""), Err(Error::NotDeb)));
    assert!(matches!(data(b"<html>not found</html>"), Err(Error::NotDeb)));
    assert!(matches!(data(&ar(&[])), Err(Error::MissingMember("debian-binary"))));
    assert!(matches!(data(&ar(&[("debian-binary", b"3.0\n")])), Err(Error::Version(_))));
    let only = [("debian-binary", &b"2.0\n"[..])];
    assert!(matches!(data(&ar(&only)), Err(Error::MissingMember("data.tar"))));
    let bz2 = [only[0], ("data.tar.bz2", b"x")];
    assert!(matches!(data(&ar(&bz2)), Err(Error::Compression(_))));
    let no_control = [only[0], ("control.tar", &tar(|builder| file(builder, "md5sums", b"")))];
    assert!(matches!(control(&ar(&no_control)[..]), Err(Error::NoControl)));
    let mut bad_size = ar(&[only[0], ("data.tar", b"x")]);
    let at = bad_size.windows(8).rposition(|window| window == b"data.tar").expect("there") + 48;
    bad_size[at..at + 2].copy_from_slice(b"-1");
    assert!(matches!(data(&bad_size), Err(Error::Member { .. })));
}

#[test]
fn a_control_archive_that_explodes_is_refused() {
    let bomb = gzip(&vec![0; usize::try_from(CONTROL_MAX).expect("small") + 1024]);
    let deb = ar(&[("debian-binary", b"2.0\n"), ("control.tar.gz", &bomb)]);
    assert!(matches!(control(&deb[..]), Err(Error::ControlTooLarge { .. })));
}

#[test]
fn entries_keep_what_the_headers_say() {
    let entries = list(sample_data()).expect("valid");
    let paths: Vec<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(paths, ["/", "/usr", "/usr/hello", "/usr/again", "/lib", "/null"]);
    let hello = &entries[2];
    let Kind::File(content) = &hello.kind else { panic!("{hello:?}") };
    assert_eq!(content.to_vec().expect("memory"), b"hello\n");
    assert_eq!((hello.meta.uid, hello.meta.gid, hello.meta.mode), (0, 42, 0o755));
    assert_eq!(hello.meta.mtime, 1_789_199_741);
    assert_eq!((hello.owner_name.as_str(), hello.group_name.as_str()), ("root", "shadow"));
    assert!(matches!(&entries[3].kind, Kind::HardLink(path) if path.as_str() == "/usr/hello"));
    assert!(matches!(&entries[4].kind, Kind::Symlink(target) if target == "usr/lib"));
    assert!(matches!(entries[5].kind, Kind::CharDevice { major: 1, minor: 3 }));
}

#[test]
fn long_names_of_both_kinds_are_read() {
    let long = format!("usr/{}file", "long-name/".repeat(30));
    let gnu = tar(|builder| file(builder, &long, b"x"));
    assert_eq!(list(gnu).expect("valid")[0].path.relative(), long);

    let pax = tar(|builder| {
        builder
            .append_pax_extensions([
                ("path", long.as_bytes()),
                ("mtime", &b"1789199741.5"[..]),
                ("uid", b"4000000"),
                ("uname", "rööt".as_bytes()),
                ("SCHILY.xattr.security.capability", b"\x01\0\n=\xff"),
            ])
            .expect("memory");
        file(builder, "short", b"xyz");
        file(builder, "next", b"");
    });
    let entries = list(pax).expect("valid");
    assert_eq!(entries[0].path.relative(), long);
    assert_eq!((entries[0].meta.uid, entries[0].owner_name.as_str()), (4_000_000, "rööt"));
    assert_eq!(entries[0].meta.xattrs["security.capability"], b"\x01\0\n=\xff");
    // Extended headers are for one entry.
    assert_eq!((entries[1].path.as_str(), entries[1].meta.uid), ("/next", 0));
    assert!(entries[1].meta.xattrs.is_empty());
}

#[test]
fn entries_that_leave_the_root_are_refused() {
    for path in ["/etc/passwd", "../etc/passwd", "./usr/../../etc/passwd", "", "a\nb", "./a\x01"] {
        let reason = refused(|builder| raw(builder, EntryType::Symlink, path.as_bytes(), b"x"));
        assert!(reason.starts_with("the entry at byte 0 of the tar archive ("), "{reason}");
    }
    assert!(refused(|builder| raw(builder, EntryType::Regular, b"./", b"")).contains("root"));
    assert!(refused(|builder| raw(builder, EntryType::Regular, b"a\xff", b"")).contains("UTF-8"));
    let link = refused(|builder| raw(builder, EntryType::Link, b"a", b"../../etc/shadow"));
    assert!(link.contains("'..'"), "{link}");
    let link = refused(|builder| raw(builder, EntryType::Link, b"a", b"./b"));
    assert!(link.contains("hard link target '/b' is no earlier file"), "{link}");
    let link = refused(|builder| {
        raw(builder, EntryType::Directory, b"./b/", b"");
        raw(builder, EntryType::Link, b"a", b"./b");
    });
    assert!(link.contains("no earlier file"), "{link}");
}

#[test]
fn odd_entries_are_refused() {
    let twice = refused(|builder| {
        file(builder, "a", b"1");
        file(builder, "./a", b"2");
    });
    assert!(twice.contains("the same path came before"), "{twice}");
    assert!(refused(|builder| raw(builder, EntryType::Symlink, b"a", b"")).contains("nothing"));
    assert!(refused(|builder| raw(builder, EntryType::GNUSparse, b"a", b"")).contains("type 'S'"));
    assert!(refused(|builder| raw(builder, EntryType::XGlobalHeader, b"a", b"")).contains("'g'"));
    let sparse = refused(|builder| {
        builder.append_pax_extensions([("GNU.sparse.size", &b"1"[..])]).expect("memory");
        file(builder, "a", b"");
    });
    assert!(sparse.contains("pax key 'GNU.sparse.size'"), "{sparse}");
    let owner = refused(|builder| {
        builder.append_pax_extensions([("uid", &b"4294967296"[..])]).expect("memory");
        file(builder, "a", b"");
    });
    assert!(owner.contains("uid"), "{owner}");
    let full = refused(|builder| {
        let mut header = header(EntryType::Directory, 4);
        builder.append_data(&mut header, "a/", &b"data"[..]).expect("fits");
    });
    assert!(full.contains("only a file may have data"), "{full}");
}

#[test]
fn sizes_beyond_the_archive_are_refused() {
    for size in [513, 1 << 40, u64::MAX, u64::MAX - 511] {
        let mut bytes = header(EntryType::Regular, size);
        bytes.set_path("a").expect("fits");
        bytes.set_cksum();
        let mut archive = bytes.as_bytes().to_vec();
        archive.resize(2048, 0);
        archive.truncate(1024);
        assert!(list(archive).is_err(), "{size}");
    }
    let mut long = header(EntryType::GNULongName, LONG);
    long.set_cksum();
    let mut archive = long.as_bytes().to_vec();
    archive.resize(usize::try_from(LONG).expect("small") + 2048, b'x');
    let reason = list(archive).expect_err("too long").to_string();
    assert!(reason.contains("an extended header is too long"), "{reason}");
}

const LONG: u64 = 1 << 20;

proptest! {
    /// A byte changed anywhere gives an error or entries within the archive, never a panic.
    #[test]
    fn damaged_archives_end_without_panic(at in 0..2560_usize, value: u8) {
        let mut archive = sample_data();
        let len = archive.len() as u64;
        let at = at % archive.len();
        archive[at] = value;
        if let Ok(entries) = list(archive) {
            for entry in entries {
                if let Kind::File(content) = entry.kind {
                    prop_assert!(content.len() <= len);
                    content.to_vec().expect("within the archive");
                }
            }
        }
    }

    #[test]
    fn damaged_packages_end_without_panic(at: prop::sample::Index, value: u8, choice in 0..4_usize) {
        let (extension, compress) = COMPRESSIONS[choice];
        let mut deb = package(extension, compress);
        let at = at.index(deb.len());
        deb[at] = value;
        let _ = control(&deb[..]);
        if let Ok(tar) = data(&deb) {
            let _ = list(tar);
        }
    }
}
