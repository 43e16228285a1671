// SPDX-License-Identifier: Apache-2.0
//! Squashfs and dm-verity against the tools that others use: squashfs-tools, backhand,
//! veritysetup.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::BufReader,
    path::{Path, PathBuf},
    process::Command,
};

use kiln::{
    digest::Digest,
    formats::{
        squashfs::{self, NoStore, Options},
        verity,
    },
    sys,
    tree::{Content, Inode, Kind, Meta, Origin, Tree, TreePath},
};

use crate::support::tree::load;

/// 2020-09-13, so that listings show a day.
const MTIME: u32 = 1_600_000_000;

/// A folder that goes away with the test. On the disk of the sources: not every kernel keeps
/// extended attributes on a tmpfs.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a scratch folder")
}

/// Runs a tool that must succeed, and gives what it printed.
#[track_caller]
fn run(program: &str, arguments: &[&str]) -> String {
    let (success, text) = try_run(program, arguments);
    assert!(success, "{program} {arguments:?}:\n{text}");
    text
}

fn try_run(program: &str, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(program)
        .args(arguments)
        .env("TZ", "UTC")
        .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
        .output()
        .unwrap_or_else(|error| panic!("starting {program}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text.into_owned())
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn write(tree: &Tree, options: &Options, folder: &Path) -> PathBuf {
    let path = folder.join("image.squashfs");
    let mut file = File::create(&path).expect("an image");
    let summary = squashfs::write(tree, options, &NoStore, &mut file).expect("writes");
    assert_eq!(file.metadata().expect("a size").len(), summary.bytes);
    path
}

struct Builder {
    tree: Tree,
    owner: (u32, u32),
}

impl Builder {
    fn new(owner: (u32, u32)) -> Self {
        let mut tree = Tree::new(MTIME);
        let root = tree.get_mut(&TreePath::root()).expect("a root");
        (root.meta.uid, root.meta.gid) = owner;
        Self { tree, owner }
    }

    fn add(&mut self, path: &str, mode: u16, kind: Kind) {
        let meta = Meta::new(mode, MTIME).owned_by(self.owner.0, self.owner.1);
        let inode = Inode { meta, kind, origin: Origin::Kiln("test") };
        self.tree.insert(TreePath::new(path).expect("a path"), inode).expect("fits");
    }

    fn file(&mut self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.add(path, 0o644, Kind::File(Content::bytes(bytes.into())));
    }

    fn link(&mut self, path: &str, existing: &str) {
        let [path, existing] = [path, existing].map(|path| TreePath::new(path).expect("a path"));
        self.tree.hard_link(path, &existing).expect("links");
    }

    fn inode(&mut self, path: &str) -> &mut Inode {
        self.tree.get_mut(&TreePath::new(path).expect("a path")).expect("there")
    }
}

/// Bytes that no compressor makes smaller.
fn noise(seed: &str, len: usize) -> Vec<u8> {
    let block = |n: usize| *Digest::of(format!("{seed} {n}").as_bytes()).as_bytes();
    (0..len.div_ceil(32)).flat_map(block).take(len).collect()
}

/// What every user can unpack: files of all shapes, hard links, a directory of many entries.
fn plain(owner: (u32, u32)) -> Builder {
    let mut builder = Builder::new(owner);
    builder.add("usr", 0o755, Kind::Directory);
    builder.add("usr/empty", 0o700, Kind::Directory);
    builder.file("usr/nothing", "");
    builder.file("usr/small", "small");
    builder.file("usr/small.copy", "small");
    builder.file("usr/text", "all work and no play ".repeat(40_000));
    builder.file("usr/noise", noise("noise", 300_000));
    builder.file("usr/block", noise("block", 128 << 10));
    builder.file("usr/holes", [vec![0; 600_000], b"island".to_vec(), vec![0; 300_000]].concat());
    builder.file("usr/zeros", vec![0; 512 << 10]);
    builder.link("usr/small.link", "usr/small");
    builder.link("a.link", "usr/text");
    builder.add("usr/symlink", 0o777, Kind::Symlink("../usr/ünïcode".into()));
    builder.file("usr/ünïcode", "ü");
    builder.add("many", 0o755, Kind::Directory);
    for n in 0..2500 {
        builder.file(&format!("many/{n:04}-{}", "x".repeat(60)), noise("many", n));
    }
    builder
}

/// What only a listing can show to everybody: owners, devices, special modes.
fn special() -> Builder {
    let mut builder = plain((0, 42));
    builder.add("dev", 0o755, Kind::Directory);
    builder.add("dev/null", 0o666, Kind::CharDevice { major: 1, minor: 3 });
    builder.add("dev/disk", 0o660, Kind::BlockDevice { major: 259, minor: 7 });
    builder.add("dev/fifo", 0o600, Kind::Fifo);
    builder.add("dev/socket", 0o600, Kind::Socket);
    builder.add("tmp", 0o1777, Kind::Directory);
    builder.owner = (70_000, 4_294_967_294);
    builder.file("usr/owned", "owned");
    builder.inode("usr/owned").meta.mode = 0o6755;
    builder
}

/// The line that `unsquashfs -lln` prints for an entry.
fn listed(path: &TreePath, inode: &Inode) -> String {
    let (letter, size) = match &inode.kind {
        Kind::Directory => ('d', None),
        Kind::File(content) => ('-', Some(content.len().to_string())),
        Kind::Symlink(target) => ('l', Some(target.len().to_string())),
        Kind::CharDevice { major, minor } => ('c', Some(format!("{major},{minor}"))),
        Kind::BlockDevice { major, minor } => ('b', Some(format!("{major},{minor}"))),
        Kind::Fifo => ('p', Some("0".into())),
        Kind::Socket => ('s', Some("0".into())),
    };
    let meta = &inode.meta;
    let bit = |bit: u16, letter| if meta.mode & bit != 0 { letter } else { '-' };
    let execute = |bit: u16, special: u16, letters: [char; 2]| match (
        meta.mode & bit != 0,
        meta.mode & special != 0,
    ) {
        (true, true) => letters[0],
        (false, true) => letters[1],
        (true, false) => 'x',
        (false, false) => '-',
    };
    let mode: String = [
        letter,
        bit(0o400, 'r'),
        bit(0o200, 'w'),
        execute(0o100, 0o4000, ['s', 'S']),
        bit(0o040, 'r'),
        bit(0o020, 'w'),
        execute(0o010, 0o2000, ['s', 'S']),
        bit(0o004, 'r'),
        bit(0o002, 'w'),
        execute(0o001, 0o1000, ['t', 'T']),
    ]
    .iter()
    .collect();
    let size = size.unwrap_or_else(|| "*".into());
    let name = if path.is_root() { "" } else { path.as_str() };
    let target = match &inode.kind {
        Kind::Symlink(target) => format!(" -> {target}"),
        _ => String::new(),
    };
    format!("{mode} {}/{} {size} 2020-09-13 12:26 root{name}{target}", meta.uid, meta.gid)
}

/// A line of `unsquashfs -lln` with single spaces. The size of a directory is that of its
/// listing in the image, which a tree does not know.
fn normalized(line: &str) -> String {
    let mut words: Vec<&str> = line.split_whitespace().collect();
    if line.starts_with('d') {
        words[2] = "*";
    }
    words.join(" ").replace("squashfs-root", "root").replace(", ", ",")
}

#[test]
fn unsquashfs_lists_every_entry_with_owner_mode_size_and_time() {
    let folder = scratch();
    let tree = special().tree;
    let image = write(&tree, &Options::new(MTIME), folder.path());
    let listing = run("unsquashfs", &["-lln", text(&image)]);
    let mut found: Vec<String> =
        listing.lines().filter(|line| line.contains("squashfs-root")).map(normalized).collect();
    let mut expected: Vec<String> =
        tree.iter().map(|(path, _, inode)| listed(path, inode)).collect();
    found.sort();
    expected.sort();
    assert_lines(&found, &expected);
}

#[test]
fn unsquashfs_unpacks_what_was_written() {
    let root = rustix::process::geteuid().is_root();
    let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mut builder = if root { special() } else { plain(owner) };
    let xattrs = &mut builder.inode("usr/small").meta.xattrs;
    xattrs.insert("user.kiln".into(), b"value\0with zero".to_vec());
    if root {
        // unsquashfs makes it rightly, but lists its numbers wrongly.
        builder.add("dev/large", 0o600, Kind::BlockDevice { major: 259, minor: 70_000 });
        let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
        for path in ["usr/noise", "usr/text"] {
            let xattrs = &mut builder.inode(path).meta.xattrs;
            xattrs.insert("security.capability".into(), capability.clone());
        }
        builder.inode("usr").meta.xattrs.insert("trusted.kiln".into(), vec![0xff; 3000]);
    }
    for block_size in [4 << 10, 128 << 10, 1 << 20] {
        let folder = scratch();
        let options = Options { block_size, level: 3, mtime: MTIME };
        let image = write(&builder.tree, &options, folder.path());
        let target = folder.path().join("root");
        run("unsquashfs", &["-no-progress", "-d", text(&target), text(&image)]);
        assert_same(&load(&target), &builder.tree);
    }
}

#[track_caller]
fn assert_same(found: &Tree, expected: &Tree) {
    assert_lines(&describe(found), &describe(expected));
}

/// Compares long lists so that a failure shows one line, not all of them.
#[track_caller]
fn assert_lines(found: &[String], expected: &[String]) {
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len());
}

/// A tree as text, one line for each entry: everything that an image keeps.
fn describe(tree: &Tree) -> Vec<String> {
    let mut first_names = BTreeMap::new();
    tree.iter()
        .map(|(path, id, inode)| {
            let first = first_names.entry(id).or_insert(path);
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

#[test]
fn unsquashfs_prints_the_superblock_we_meant() {
    let folder = scratch();
    let image = write(&special().tree, &Options::new(MTIME), folder.path());
    let stat = run("unsquashfs", &["-stat", text(&image)]);
    for line in [
        "Found a valid SQUASHFS 4:0 superblock",
        "Creation or last append time Sun Sep 13 12:26:40 2020",
        "Filesystem is exportable via NFS",
        "Compression zstd",
        "\tcompression-level 15",
        "Block size 131072",
        "Duplicates are removed",
        "Number of ids 4",
    ] {
        assert!(stat.lines().any(|found| found.starts_with(line)), "no '{line}' in:\n{stat}");
    }
}

#[test]
fn backhand_reads_the_same_tree() {
    let folder = scratch();
    let tree = special().tree;
    let image = write(&tree, &Options::new(MTIME), folder.path());
    let file = BufReader::new(File::open(image).expect("an image"));
    let reader = backhand::FilesystemReader::from_reader(file).expect("reads");
    let mut seen = 0;
    for node in reader.files() {
        let path = TreePath::new(node.fullpath.to_str().expect("UTF-8")).expect("a path");
        let inode = tree.get(&path).expect("an entry of the tree");
        let header = (node.header.uid, node.header.gid, node.header.permissions, node.header.mtime);
        let meta = &inode.meta;
        assert_eq!(header, (meta.uid, meta.gid, meta.mode, meta.mtime), "{path}");
        match (&node.inner, &inode.kind) {
            (backhand::InnerNode::File(file), Kind::File(content)) => {
                let mut bytes = Vec::new();
                std::io::Read::read_to_end(&mut reader.file(file).reader(), &mut bytes)
                    .expect("reads");
                assert!(bytes == content.to_vec().expect("bytes"), "{path}");
            }
            (backhand::InnerNode::Symlink(symlink), Kind::Symlink(target)) => {
                assert_eq!(symlink.link.to_str(), Some(&**target));
            }
            (backhand::InnerNode::Dir(_), Kind::Directory)
            | (backhand::InnerNode::CharacterDevice(_), Kind::CharDevice { .. })
            | (backhand::InnerNode::BlockDevice(_), Kind::BlockDevice { .. })
            | (backhand::InnerNode::NamedPipe, Kind::Fifo)
            | (backhand::InnerNode::Socket, Kind::Socket) => {}
            (found, expected) => panic!("{path}: {found:?} instead of {}", expected.noun()),
        }
        seen += 1;
    }
    assert_eq!(seen, tree.iter().count());
}

#[test]
fn our_reader_reads_what_mksquashfs_writes() {
    let folder = scratch();
    let source = folder.path().join("source");
    let builder = plain((rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()));
    let image = write(&builder.tree, &Options::new(MTIME), folder.path());
    run("unsquashfs", &["-no-progress", "-d", text(&source), text(&image)]);
    let theirs = folder.path().join("theirs");
    run(
        "mksquashfs",
        &[
            text(&source),
            text(&theirs),
            "-comp",
            "zstd",
            "-Xcompression-level",
            "3",
            "-no-progress",
        ],
    );
    let content = sys::fs::content(&theirs).expect("an image");
    let tree = squashfs::read(&content).expect("reads");
    assert_same(&tree, &builder.tree);
    squashfs::dump(&content).expect("dumps");
}

fn params() -> verity::Params {
    let digest = Digest::of(b"a plan");
    verity::Params { salt: *digest.as_bytes(), uuid: digest.uuid("verity") }
}

/// Data of `blocks` blocks and its hash tree, as files.
fn hashed(folder: &Path, blocks: usize) -> (PathBuf, PathBuf, verity::Verity) {
    let (data, hashes) = (folder.join("data"), folder.join("hashes"));
    fs::write(&data, noise("data", blocks * 4096)).expect("writes");
    let mut file = File::create(&hashes).expect("a file");
    let content = sys::fs::content(&data).expect("data");
    let verity = verity::write(&content, &params(), &mut file).expect("hashes");
    (data, hashes, verity)
}

#[test]
fn veritysetup_makes_the_same_hash_tree() {
    for blocks in [1, 2, 128, 129, 300, 17_000] {
        let folder = scratch();
        let (data, hashes, verity) = hashed(folder.path(), blocks);
        let theirs = folder.path().join("theirs");
        let salt: String = params().salt.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = run(
            "veritysetup",
            &[
                "format",
                text(&data),
                text(&theirs),
                &format!("--salt={salt}"),
                &format!("--uuid={}", params().uuid),
            ],
        );
        let root = text.lines().find_map(|line| line.strip_prefix("Root hash:"));
        assert_eq!(root.map(str::trim), Some(&*verity.root_hash.to_string()), "{blocks} blocks");
        let (ours, theirs) = (fs::read(hashes).expect("ours"), fs::read(theirs).expect("theirs"));
        assert!(ours == theirs, "{blocks} blocks");
        assert_eq!(ours.len() as u64, verity.bytes);
    }
}

#[test]
fn veritysetup_accepts_our_tree_and_sees_a_changed_bit() {
    let folder = scratch();
    let (data, hashes, verity) = hashed(folder.path(), 300);
    let root = verity.root_hash.to_string();
    run("veritysetup", &["verify", text(&data), text(&hashes), &root]);
    let mut bytes = fs::read(&data).expect("data");
    bytes[200 * 4096 + 17] ^= 1;
    fs::write(&data, bytes).expect("writes");
    let (success, _) = try_run("veritysetup", &["verify", text(&data), text(&hashes), &root]);
    assert!(!success);
}
