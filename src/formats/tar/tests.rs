// SPDX-License-Identifier: Apache-2.0
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{
    debian::deb,
    tree::{Inode, Origin, Source},
};

fn put(tree: &mut Tree, path: &str, kind: Kind, meta: Meta) {
    let inode = Inode { meta, kind, origin: Origin::Kiln("test") };
    tree.insert(TreePath::new(path).unwrap(), inode).unwrap();
}

fn file(bytes: &[u8]) -> Kind {
    Kind::File(Content::bytes(bytes))
}

/// One line per entry, as this crate's strict reader of packages' archives sees them.
fn read(archive: &Content) -> Vec<String> {
    struct Reader(Content);
    impl Source for Reader {
        fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
            self.0.read_exact_at(buffer, offset)
        }
    }
    let entries = deb::entries(Arc::new(Reader(archive.clone())), archive.len()).unwrap();
    let line = |entry: &deb::Entry| {
        let what = match &entry.kind {
            deb::Kind::File(content) => {
                format!("file {:?}", String::from_utf8_lossy(&content.to_vec().unwrap()))
            }
            other => format!("{other:?}"),
        };
        let Meta { uid, gid, mode, mtime, xattrs } = &entry.meta;
        format!("{} {uid}:{gid} {mode:04o} {mtime} {xattrs:?} {what}", entry.path)
    };
    entries.iter().map(line).collect()
}

#[test]
fn every_kind_of_entry_is_read_back() {
    let mut tree = Tree::new(7);
    put(&mut tree, "/bin", Kind::Directory, Meta::new(0o755, 7));
    put(&mut tree, "/bin/a", file(b"abc"), Meta::new(0o4755, u32::MAX).owned_by(1, 2));
    tree.hard_link(TreePath::literal("/bin/b"), &TreePath::literal("/bin/a")).unwrap();
    put(&mut tree, "/c", Kind::CharDevice { major: 5, minor: 1 }, Meta::new(0o600, 0));
    put(&mut tree, "/d", Kind::BlockDevice { major: 8, minor: 0 }, Meta::new(0o600, 0));
    put(&mut tree, "/e", Kind::Fifo, Meta::new(0o600, 0));
    put(&mut tree, "/f", Kind::Symlink("../bin/a".to_owned()), Meta::new(0o777, 0));
    let expected = [
        "/bin 0:0 0755 7 {} Directory",
        "/bin/a 1:2 4755 4294967295 {} file \"abc\"",
        "/bin/b 1:2 4755 4294967295 {} HardLink(\"/bin/a\")",
        "/c 0:0 0600 0 {} CharDevice { major: 5, minor: 1 }",
        "/d 0:0 0600 0 {} BlockDevice { major: 8, minor: 0 }",
        "/e 0:0 0600 0 {} Fifo",
        "/f 0:0 0777 0 {} Symlink(\"../bin/a\")",
    ];
    assert_eq!(read(&archive(&tree).unwrap()), expected);
}

#[test]
fn what_a_header_cannot_say_is_said_before_it() {
    let mut tree = Tree::new(0);
    let long = "n".repeat(101);
    let mut meta = Meta::new(0o644, 0).owned_by(u32::MAX, OWNER_MAX + 1);
    meta.xattrs.insert("security.capability".to_owned(), vec![0, b'\n', 0xff]);
    put(&mut tree, &format!("/{long}"), file(b""), meta);
    put(&mut tree, "/ä", Kind::Symlink("t".repeat(200)), Meta::new(0o777, 0));
    let expected = [
        format!(
            "/{long} 4294967295:2097152 0644 0 {{\"security.capability\": [0, 10, 255]}} file \"\""
        ),
        format!("/ä 0:0 0777 0 {{}} Symlink(\"{}\")", "t".repeat(200)),
    ];
    assert_eq!(read(&archive(&tree).unwrap()), expected);
}

#[test]
fn a_tiny_archive_has_these_bytes() {
    let mut tree = Tree::new(0);
    put(&mut tree, "/x", file(b"hi"), Meta::new(0o644, 8));
    let bytes = archive(&tree).unwrap().to_vec().unwrap();
    assert_eq!(bytes.len(), 4 * 512);
    assert_eq!(&bytes[..2], b"x\0");
    assert_eq!(&bytes[100..108], b"0000644\0");
    assert_eq!(&bytes[124..148], b"00000000002\x0000000000010\0");
    assert_eq!(&bytes[148..157], b"007370\0 0");
    assert_eq!(&bytes[257..265], b"ustar\x0000");
    assert_eq!(&bytes[512..515], b"hi\0");
    assert!(bytes[514..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_size_beyond_the_header_is_said_before_it() {
    struct Zeros;
    impl Source for Zeros {
        fn read_exact_at(&self, buffer: &mut [u8], _: u64) -> std::io::Result<()> {
            buffer.fill(0);
            Ok(())
        }
    }
    let len = SIZE_MAX + 1;
    let mut tree = Tree::new(0);
    let content = Content::Window { source: Arc::new(Zeros), offset: 0, len };
    put(&mut tree, "/huge", Kind::File(content), Meta::new(0o644, 0));
    let archive = archive(&tree).unwrap();
    assert_eq!(archive.len(), 3 * 512 + len + 2 * 512);
    let mut record = [0; 19];
    archive.read_exact_at(&mut record, 512).unwrap();
    assert_eq!(&record, b"19 size=8589934592\n");
}

#[test]
fn what_tar_cannot_hold_is_refused() {
    let refused = |kind: Kind, meta: Meta| {
        let mut tree = Tree::new(0);
        put(&mut tree, "/x", kind, meta);
        archive(&tree).unwrap_err().to_string()
    };
    let plain = Meta::new(0o644, 0);
    assert_eq!(refused(Kind::Socket, plain.clone()), "'/x' is a socket, which tar cannot hold");
    assert_eq!(
        refused(Kind::BlockDevice { major: 1, minor: u32::MAX }, plain.clone()),
        "'/x' has device number 4294967295; tar's end at 2097151"
    );
    let mut meta = plain;
    meta.xattrs.insert("user.a=b".to_owned(), Vec::new());
    assert!(refused(file(b""), meta).contains("'user.a=b'"));
}

proptest! {
    #[test]
    fn any_name_and_attribute_survives(
        name in "[^/\\p{Cc}.]{1,60}",
        value in prop::collection::vec(any::<u8>(), 0..120),
        bytes in prop::collection::vec(any::<u8>(), 0..1500),
    ) {
        let mut tree = Tree::new(0);
        let mut meta = Meta::new(0o600, 1);
        meta.xattrs.insert("user.x".to_owned(), value.clone());
        put(&mut tree, &name, file(&bytes), meta);
        let found = read(&archive(&tree).unwrap());
        let text = String::from_utf8_lossy(&bytes);
        let expected = format!("/{name} 0:0 0600 1 {{\"user.x\": {value:?}}} file {text:?}");
        prop_assert_eq!(found, vec![expected]);
    }
}
