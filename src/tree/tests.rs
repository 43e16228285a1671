// SPDX-License-Identifier: Apache-2.0
use super::*;

fn path(text: &str) -> TreePath {
    TreePath::new(text).expect("valid")
}

fn inode(kind: Kind) -> Inode {
    Inode { meta: Meta::new(0o644, 0), kind, origin: Origin::Kiln("test") }
}

fn file(text: &str) -> Inode {
    inode(Kind::File(Content::bytes(text.as_bytes())))
}

fn sample() -> Tree {
    let mut tree = Tree::new(0);
    tree.make_dirs(&path("usr/lib"), &Meta::new(0o755, 0), &Origin::Kiln("test")).expect("fits");
    tree.insert(path("lib"), inode(Kind::Symlink("usr/lib".into()))).expect("fits");
    tree.insert(path("usr.conf"), file("x")).expect("fits");
    tree.insert(path("usr/lib/a"), file("a")).expect("fits");
    tree
}

#[test]
fn paths_are_normalized_and_dangerous_ones_refused() {
    assert_eq!(path("./usr//bin/"), path("/usr/bin"));
    assert_eq!(path(""), TreePath::root());
    assert!(TreePath::new("usr/../etc").is_err());
    assert!(TreePath::new("a\0b").is_err());
    assert!(TreePath::new(&"x".repeat(256)).is_err());
    assert_eq!(path("/a/b").parent(), Some(path("/a")));
    assert_eq!(path("/a").parent(), Some(TreePath::root()));
    assert_eq!(TreePath::root().parent(), None);
    assert!(!path("/usr.conf").starts_with(&path("/usr")));
}

#[test]
fn a_subtree_holds_only_what_lies_below() {
    let tree = sample();
    let usr = path("/usr");
    let names: Vec<&str> = tree.subtree(&usr).map(|(path, _)| path.as_str()).collect();
    assert_eq!(names, ["/usr", "/usr/lib", "/usr/lib/a"]);
    let root = TreePath::root();
    let names: Vec<&str> = tree.children(&root).map(|(path, _)| path.as_str()).collect();
    assert_eq!(names, ["/lib", "/usr", "/usr.conf"]);
}

#[test]
fn symlinks_of_parents_are_resolved() {
    let tree = sample();
    assert_eq!(tree.resolve(&path("/lib/a"), false), Ok(path("/usr/lib/a")));
    assert_eq!(tree.resolve(&path("/lib"), false), Ok(path("/lib")));
    assert_eq!(tree.resolve(&path("/lib"), true), Ok(path("/usr/lib")));
    assert_eq!(tree.resolve(&path("/lib/new/file"), true), Ok(path("/usr/lib/new/file")));
}

#[test]
fn symlink_loops_end() {
    let mut tree = Tree::new(0);
    tree.insert(path("a"), inode(Kind::Symlink("b".into()))).expect("fits");
    tree.insert(path("b"), inode(Kind::Symlink("/a".into()))).expect("fits");
    assert!(matches!(tree.resolve(&path("/a/x"), true), Err(Error::SymlinkLoop { .. })));
}

#[test]
fn entries_need_a_directory_above_them() {
    let mut tree = sample();
    assert!(matches!(tree.insert(path("/no/file"), file("")), Err(Error::NoParent { .. })));
    assert!(matches!(
        tree.insert(path("/lib/file"), file("")),
        Err(Error::ParentNotDirectory { .. })
    ));
    assert!(matches!(tree.insert(path("/usr"), file("")), Err(Error::NotEmpty { .. })));
}

#[test]
fn hard_links_share_one_inode() {
    let mut tree = sample();
    tree.hard_link(path("/usr/lib/b"), &path("/usr/lib/a")).expect("links");
    assert_eq!(tree.id(&path("/usr/lib/a")), tree.id(&path("/usr/lib/b")));
    tree.get_mut(&path("/usr/lib/b")).expect("there").meta.uid = 7;
    assert_eq!(tree.get(&path("/usr/lib/a")).expect("there").meta.uid, 7);
    assert!(tree.hard_link(path("/x"), &path("/usr")).is_err());
}

#[test]
fn removing_takes_everything_below_and_keeps_the_root() {
    let mut tree = sample();
    assert_eq!(tree.remove(&path("/usr")), 3);
    assert!(tree.get(&path("/usr.conf")).is_some());
    tree.remove(&TreePath::root());
    assert_eq!(tree.iter().count(), 1);
}

#[test]
fn content_refuses_reads_outside_its_window() {
    let content = Content::bytes(*b"abc");
    let mut buffer = [0; 2];
    assert!(content.read_exact_at(&mut buffer, 1).is_ok());
    assert_eq!(&buffer, b"bc");
    assert!(content.read_exact_at(&mut buffer, 2).is_err());
    assert!(content.read_exact_at(&mut buffer, u64::MAX).is_err());
}

#[test]
fn all_of_a_content_is_copied_whatever_its_length() {
    for len in [0, 1, (1 << 20) - 1, 1 << 20, (2 << 20) + 7] {
        let bytes: Vec<u8> = (0..len).map(|n: u32| (n % 251) as u8).collect();
        let mut out = Vec::new();
        Content::bytes(bytes.clone()).copy_to(&mut out).unwrap();
        assert!(out == bytes, "{len}");
    }
}
