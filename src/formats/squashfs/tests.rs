// SPDX-License-Identifier: Apache-2.0
use std::{collections::BTreeMap, io::Cursor};

use proptest::prelude::*;

use super::*;
use crate::{
    digest::Digest,
    tree::{Content, Inode, Kind, Meta, Origin},
};

fn path(text: &str) -> TreePath {
    TreePath::new(text).expect("valid")
}

fn inode(mode: u16, kind: Kind) -> Inode {
    Inode { meta: Meta::new(mode, 1), kind, origin: Origin::Kiln("test") }
}

fn file(bytes: impl Into<Vec<u8>>) -> Inode {
    inode(0o644, Kind::File(Content::bytes(bytes.into())))
}

fn insert(tree: &mut Tree, name: &str, inode: Inode) {
    tree.insert(path(name), inode).expect("fits");
}

fn small_blocks() -> Options {
    Options { block_size: 4096, ..Options::new(7) }
}

fn image(tree: &Tree, options: &Options) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    let summary = write(tree, options, &NoStore, &mut out).expect("writes");
    assert_eq!(summary.bytes, out.get_ref().len() as u64);
    out.into_inner()
}

fn dump_of(tree: &Tree, options: &Options) -> String {
    dump(&Content::bytes(image(tree, options))).expect("reads")
}

/// Bytes that no compressor makes smaller.
fn noise(seed: u8, len: usize) -> Vec<u8> {
    let block = |n: u64| *Digest::of(&[&[seed][..], &n.to_le_bytes()].concat()).as_bytes();
    (0..len.div_ceil(32) as u64).flat_map(block).take(len).collect()
}

/// One of everything.
fn sample() -> Tree {
    let mut tree = Tree::new(1);
    insert(&mut tree, "dev", inode(0o755, Kind::Directory));
    insert(&mut tree, "dev/disk", inode(0o660, Kind::BlockDevice { major: 259, minor: 65_537 }));
    insert(&mut tree, "dev/null", inode(0o666, Kind::CharDevice { major: 1, minor: 3 }));
    insert(&mut tree, "empty", file(""));
    insert(&mut tree, "fifo", inode(0o600, Kind::Fifo));
    insert(&mut tree, "file", file("content"));
    insert(&mut tree, "link", inode(0o777, Kind::Symlink("file".into())));
    insert(&mut tree, "same", file("content"));
    insert(&mut tree, "socket", inode(0o600, Kind::Socket));
    tree.hard_link(path("hard"), &path("file")).expect("links");
    let mut capable = file("capable").meta;
    capable.uid = 1000;
    capable.xattrs.insert("security.capability".into(), b"\x01\0\0\x02".to_vec());
    let kind = Kind::File(Content::bytes(*b"capable"));
    insert(&mut tree, "ping", Inode { meta: capable, ..inode(0o755, kind) });
    tree
}

/// Holes, raw blocks, compressed blocks and an end that fills no block.
fn large_file() -> Vec<u8> {
    [vec![0; 8192], noise(1, 4096), b"text ".repeat(2000), vec![0; 4096], b"end".to_vec()].concat()
}

#[test]
fn an_empty_tree_is_a_root_directory() {
    assert_text(
        &dump_of(&Tree::new(1), &Options::new(7)),
        r#"0..96 superblock: squashfs 4.0, zstd
  block size 131072, modified 7
  1 inodes, 0 fragments, 1 ids, 167 bytes used of 4096
  root at 0+0
  flags duplicates exportable no-xattrs compressor-options
96..102 options and data
102..135 inode table: 32 bytes
  0..32 #1 directory 0755 0:0 mtime 1 links 2 parent #2
135..135 directory table: 0 bytes
  #1: 3 bytes at 0+0
fragment table listed at 135
export table listed at 145
  #1 at 0+0
id table listed at 159: [0]
167..4096 3929 bytes of padding
"#,
    );
}

#[track_caller]
fn assert_text(found: &str, expected: &str) {
    assert!(found == expected, "found:\n{found}\nexpected:\n{expected}");
}

#[test]
fn every_kind_of_inode_has_its_form() {
    assert_text(
        &dump_of(&sample(), &Options::new(7)),
        r#"0..96 superblock: squashfs 4.0, zstd
  block size 131072, modified 7
  11 inodes, 1 fragments, 2 ids, 537 bytes used of 4096
  root at 0+324
  flags duplicates exportable compressor-options
96..116 options and data
  102..116 fragment 0: 14 raw
116..249 inode table: 356 bytes
  0..24 #1 block device 0660 0:0 mtime 1 links 1 259:65537
  24..48 #2 character device 0666 0:0 mtime 1 links 1 1:3
  48..80 #3 directory 0755 0:0 mtime 1 links 2 parent #11
  80..112 #4 file 0644 0:0 mtime 1 links 1 size 0
  112..132 #5 FIFO 0600 0:0 mtime 1 links 1
  132..188 #6 file (extended) 0644 0:0 mtime 1 links 2 size 7 fragment 0+0
  188..216 #7 symlink 0777 0:0 mtime 1 links 1 to "file"
  216..272 #8 file (extended) 0644 1000:0 mtime 1 links 1 xattrs 0 size 7 fragment 0+7
  272..304 #9 file 0644 0:0 mtime 1 links 1 size 7 fragment 0+0
  304..324 #10 socket 0600 0:0 mtime 1 links 1
  324..356 #11 directory 0755 0:0 mtime 1 links 3 parent #12
249..374 directory table: 158 bytes
  #3: 39 bytes at 0+0
    0+0 "disk"
    0+24 "null"
  #11: 125 bytes at 0+36
    0+48 "dev"
    0+80 "empty"
    0+112 "fifo"
    0+132 "file"
    0+132 "hard"
    0+188 "link"
    0+216 "ping"
    0+272 "same"
    0+304 "socket"
fragment table listed at 392
export table listed at 445
  #1 at 0+0
  #2 at 0+24
  #3 at 0+48
  #4 at 0+80
  #5 at 0+112
  #6 at 0+132
  #7 at 0+188
  #8 at 0+216
  #9 at 0+272
  #10 at 0+304
  #11 at 0+324
id table listed at 463: [0, 1000]
xattr table listed at 513
  0: security.capability = "\x01\x00\x00\x02"
537..4096 3559 bytes of padding
"#,
    );
}

#[test]
fn blocks_are_holes_raw_or_compressed() {
    let mut tree = Tree::new(1);
    insert(&mut tree, "large", file(large_file()));
    assert_text(
        &dump_of(&tree, &small_blocks()),
        r#"0..96 superblock: squashfs 4.0, zstd
  block size 4096, modified 7
  2 inodes, 0 fragments, 1 ids, 4423 bytes used of 8192
  root at 0+84
  flags duplicates exportable no-xattrs compressor-options
96..4290 options and data
4290..4356 inode table: 116 bytes
  0..84 #1 file (extended) 0644 0:0 mtime 1 links 1 size 26387 at 102 blocks [hole, hole, 4096 raw, 22, 22, 27, 21] sparse 8192
  84..116 #2 directory 0755 0:0 mtime 1 links 2 parent #3
4356..4383 directory table: 25 bytes
  #2: 28 bytes at 0+0
    0+0 "large"
fragment table listed at 4383
export table listed at 4401
  #1 at 0+0
  #2 at 0+84
id table listed at 4415: [0]
4423..8192 3769 bytes of padding
"#,
    );
}

/// If this changes, the root hash of every node changes: raise the number in the key of the
/// block store if blocks changed, and say so in the change log.
#[test]
fn the_bytes_of_a_small_image_are_pinned() {
    let digest = Digest::of(&image(&sample(), &Options::new(7)));
    assert_eq!(
        digest.to_string(),
        "8b5cca03a5c36504abf49284b78da6a3ed18a9468228776e1e39f307501f6caa"
    );
}

/// A tree as text: everything that an image keeps.
fn describe(tree: &Tree) -> Vec<String> {
    let mut names = BTreeMap::new();
    tree.iter()
        .map(|(path, id, inode)| {
            let first = names.entry(id).or_insert(path);
            let kind = match &inode.kind {
                Kind::File(content) => {
                    let bytes = content.to_vec().expect("readable");
                    format!("{} bytes {}", bytes.len(), Digest::of(&bytes))
                }
                other => format!("{other:?}"),
            };
            format!("{path} ({first}) {:?} {kind}", inode.meta)
        })
        .collect()
}

#[track_caller]
fn assert_round_trip(tree: &Tree, options: &Options) {
    let image = Content::bytes(image(tree, options));
    assert_eq!(describe(&read(&image).expect("reads")), describe(tree));
    dump(&image).expect("dumps");
}

#[test]
fn what_was_written_is_read_again() {
    let mut tree = sample();
    insert(&mut tree, "large", file(large_file()));
    for options in [small_blocks(), Options::new(7), Options { level: 1, ..Options::new(0) }] {
        assert_round_trip(&tree, &options);
    }
}

#[test]
fn directories_of_thousands_of_entries_are_split_into_runs() {
    let mut tree = Tree::new(1);
    insert(&mut tree, "many", inode(0o755, Kind::Directory));
    for n in 0..3000 {
        insert(&mut tree, &format!("many/{}-{n:04}", "x".repeat(40)), file(format!("{n}")));
    }
    // Hard links whose inodes lie far away: other blocks, distances of more than 15 bits.
    insert(&mut tree, "far", inode(0o755, Kind::Directory));
    for n in 0..33_000 {
        insert(&mut tree, &format!("far/{n:05}"), inode(0o600, Kind::Fifo));
    }
    insert(&mut tree, "a", inode(0o755, Kind::Directory));
    for n in [0, 1, 16_000, 32_999] {
        let existing = path(&format!("far/{n:05}"));
        tree.hard_link(path(&format!("a/{n:05}")), &existing).expect("links");
        tree.hard_link(path(&format!("many/{n:05}")), &existing).expect("links");
    }
    assert_round_trip(&tree, &Options { level: 1, ..Options::new(0) });
}

#[test]
fn files_of_one_content_are_stored_once() {
    let mut tree = Tree::new(1);
    insert(&mut tree, "a", file(noise(1, 50_000)));
    let one = image(&tree, &Options::new(0)).len();
    for n in 0..10 {
        insert(&mut tree, &format!("b{n}"), file(noise(1, 50_000)));
    }
    let mut out = Cursor::new(Vec::new());
    let summary = write(&tree, &Options::new(0), &NoStore, &mut out).expect("writes");
    assert_eq!(summary.duplicates, 10);
    assert_eq!(out.get_ref().len(), one);
    assert_round_trip(&tree, &Options::new(0));
}

/// Zeros, and an end mark in the last bytes.
struct Zeros(u64);

impl crate::tree::Source for Zeros {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        buffer.fill(0);
        if offset + buffer.len() as u64 == self.0 {
            let (_, mark) = buffer.split_last_chunk_mut().expect("more than three bytes");
            *mark = *b"end";
        }
        Ok(())
    }
}

#[test]
fn a_file_of_more_than_4_gib_keeps_its_size_and_its_end() {
    let len = (4 << 30) + 5000;
    let source = std::sync::Arc::new(Zeros(len));
    let mut tree = Tree::new(1);
    let kind = Kind::File(Content::Window { source, offset: 0, len });
    insert(&mut tree, "large", inode(0o644, kind));
    let image = image(&tree, &Options { block_size: 1 << 20, ..Options::new(0) });
    assert!(image.len() < 16 << 10);
    let tree = read(&Content::bytes(image)).expect("reads");
    let Kind::File(content) = &tree.get(&path("large")).expect("there").kind else {
        panic!("no file")
    };
    assert_eq!(content.len(), len);
    let mut end = [0xff; 5];
    content.read_exact_at(&mut end, len - 5).expect("reads");
    assert_eq!(&end, b"\0\0end");
}

#[test]
fn threads_change_no_byte() {
    let mut tree = sample();
    for n in 0..200 {
        let text = format!("{n} ").repeat(n * 37);
        insert(&mut tree, &format!("f{n:03}"), file([text.into_bytes(), noise(9, n)].concat()));
    }
    let mut images = Vec::new();
    for level in [5, 8, 15] {
        let options = Options { level, ..small_blocks() };
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            images.push((level, pool.expect("starts").install(|| image(&tree, &options))));
        }
    }
    for pair in images.windows(2) {
        assert!(pair[0].0 != pair[1].0 || pair[0].1 == pair[1].1, "level {}", pair[0].0);
    }
}

#[test]
fn an_image_can_begin_anywhere_in_its_file() {
    let tree = sample();
    let mut out = Cursor::new(vec![0xaa; 5000]);
    out.set_position(5000);
    write(&tree, &Options::new(7), &NoStore, &mut out).expect("writes");
    let all = out.into_inner();
    assert!(all[..5000].iter().all(|byte| *byte == 0xaa));
    assert_eq!(&all[5000..], image(&tree, &Options::new(7)));
}

#[test]
fn what_squashfs_cannot_say_is_refused() {
    let refused = |name: &str, inode: Inode| {
        let mut tree = Tree::new(0);
        insert(&mut tree, name, inode);
        write(&tree, &Options::new(0), &NoStore, &mut Cursor::new(Vec::new()))
            .expect_err("refused")
            .to_string()
    };
    let mut acl = file("x");
    acl.meta.xattrs.insert("system.posix_acl_access".into(), vec![2]);
    assert_eq!(
        refused("acl", acl),
        "'/acl' has the extended attribute 'system.posix_acl_access': \
         squashfs has user, trusted and security"
    );
    assert_eq!(
        refused("d", inode(0o600, Kind::CharDevice { major: 4096, minor: 0 })),
        "'/d' is a device with numbers 4096:0; Linux ends at 4095:1048575"
    );
    assert_eq!(
        refused("l", inode(0o777, Kind::Symlink(String::new()))),
        "'/l' is a symlink to 0 bytes; Linux allows 1 to 4095"
    );
    let short = Content::Window { source: std::sync::Arc::new(Nothing), offset: 0, len: 5 };
    assert_eq!(refused("f", inode(0o600, Kind::File(short))), "reading '/f'");
    let wrong = Options { block_size: 5000, ..Options::new(0) };
    let result = write(&Tree::new(0), &wrong, &NoStore, &mut Cursor::new(Vec::new()));
    assert!(matches!(result, Err(Error::BlockSize(5000))));
}

struct Nothing;

impl crate::tree::Source for Nothing {
    fn read_exact_at(&self, _: &mut [u8], _: u64) -> io::Result<()> {
        Err(io::Error::other("nothing here"))
    }
}

#[test]
fn a_cut_image_is_refused_at_any_length() {
    let image = image(&sample(), &Options::new(7));
    let used = {
        let bytes: [u8; 8] = image[40..48].try_into().expect("eight");
        usize::try_from(u64::from_le_bytes(bytes)).expect("small")
    };
    for len in 0..used {
        assert!(read(&Content::bytes(&image[..len])).is_err(), "{len} bytes");
    }
}

/// Reads as much as a damaged image gives.
fn read_hostile(bytes: Vec<u8>) {
    let content = Content::bytes(bytes);
    let _ = dump(&content);
    if let Ok(tree) = read(&content) {
        read_files(&tree);
    }
}

fn read_files(tree: &Tree) {
    for (_, _, inode) in tree.iter() {
        if let Kind::File(content) = &inode.kind {
            let len = usize::try_from(content.len().min(64 << 10)).expect("small");
            let _ = content.read_exact_at(&mut vec![0; len], 0);
        }
    }
}

#[test]
fn no_changed_byte_makes_the_reader_panic() {
    let image = image(&sample(), &small_blocks());
    for at in 0..image.len() {
        let mut damaged = image.clone();
        damaged[at] ^= 0xff;
        read_hostile(damaged);
    }
}

#[test]
fn no_changed_byte_of_a_table_makes_the_reader_panic() {
    let mut tree = sample();
    insert(&mut tree, "large", file(large_file()));
    let content = Content::bytes(image(&tree, &small_blocks()));
    let open = || super::image::Image::open(&content).expect("opens");
    let change = |damage: &dyn Fn(&mut super::image::Image)| {
        let [mut first, mut second] = [open(), open()];
        damage(&mut first);
        damage(&mut second);
        let _ = dump::describe(first);
        if let Ok(tree) = read::walk(second) {
            read_files(&tree);
        }
    };
    for bits in [0x01, 0x10, 0x80, 0xff] {
        for at in 0..open().inodes.bytes.len() {
            change(&|image| image.inodes.bytes[at] ^= bits);
        }
        for at in 0..open().directories.bytes.len() {
            change(&|image| image.directories.bytes[at] ^= bits);
        }
    }
}

#[test]
fn a_directory_inside_itself_is_refused() {
    let mut tree = Tree::new(1);
    insert(&mut tree, "d", inode(0o755, Kind::Directory));
    insert(&mut tree, "d/e", inode(0o755, Kind::Directory));
    let content = Content::bytes(image(&tree, &small_blocks()));
    let mut image = super::image::Image::open(&content).expect("opens");
    // The listing of 'd' comes first: a header of 12 bytes, then the offset of the inode of 'e'.
    // 'd' lies 32 bytes after 'e'.
    assert_eq!(image.directories.bytes[12..14], [0, 0]);
    image.directories.bytes[12] = 32;
    assert!(matches!(
        read::walk(image),
        Err(ReadError::Corrupt { what: "directory with two names", .. })
    ));
}

fn any_meta() -> impl Strategy<Value = Meta> {
    let xattr = (
        prop::sample::select(vec!["user.a", "trusted.b", "security.capability"]),
        prop::collection::vec(any::<u8>(), 0..40),
    );
    let xattrs = prop::collection::btree_map(xattr.0.prop_map(str::to_owned), xattr.1, 0..3);
    (0u16..0o10000, any::<u32>(), 0u32..5, any::<u32>(), xattrs)
        .prop_map(|(mode, mtime, uid, gid, xattrs)| Meta { uid, gid, mode, mtime, xattrs })
}

fn any_content() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        (0usize..9000).prop_map(|len| vec![0; len]),
        (any::<u8>(), 0usize..9000).prop_map(|(seed, len)| noise(seed, len)),
        (any::<u8>(), 0usize..9000).prop_map(|(byte, len)| vec![byte; len]),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

fn any_kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        4 => any_content().prop_map(|bytes| Kind::File(Content::bytes(bytes))),
        3 => Just(Kind::Directory),
        1 => "[a-z/.]{1,80}".prop_map(Kind::Symlink),
        1 => (0u32..4096, 0u32..1 << 20)
            .prop_map(|(major, minor)| Kind::CharDevice { major, minor }),
        1 => (0u32..4096, 0u32..1 << 20)
            .prop_map(|(major, minor)| Kind::BlockDevice { major, minor }),
        1 => Just(Kind::Fifo),
        1 => Just(Kind::Socket),
    ]
}

prop_compose! {
    /// Entries below directories chosen among those made so far; some are hard links.
    fn any_tree()(
        root in any_meta(),
        entries in prop::collection::vec(
            (any::<prop::sample::Index>(), "[a-zé.-]{1,12}", any_meta(), any_kind(), any::<bool>()),
            0..25,
        ),
    ) -> Tree {
        let mut tree = Tree::new(0);
        tree.get_mut(&TreePath::root()).expect("root").meta = root;
        let mut directories = vec![TreePath::root()];
        let mut others: Vec<TreePath> = Vec::new();
        for (place, name, meta, kind, link) in entries {
            let Ok(path) = directories[place.index(directories.len())].join(&name) else {
                continue;
            };
            if tree.get(&path).is_some() {
                continue;
            }
            if link && !others.is_empty() {
                let existing = &others[place.index(others.len())];
                tree.hard_link(path, existing).expect("links");
                continue;
            }
            let list = if matches!(kind, Kind::Directory) { &mut directories } else { &mut others };
            list.push(path.clone());
            tree.insert(path, Inode { meta, kind, origin: Origin::Kiln("test") }).expect("fits");
        }
        tree
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_is_read_as_it_was_written(tree in any_tree(), level in 1i32..=19) {
        assert_round_trip(&tree, &Options { level, ..small_blocks() });
    }

    #[test]
    fn noise_is_no_image(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        // The head of an image, so that not everything ends at the magic number.
        let head = image(&Tree::new(0), &small_blocks());
        read_hostile([&head[..48], &bytes].concat());
        read_hostile(bytes);
    }
}
