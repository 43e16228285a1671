// SPDX-License-Identifier: Apache-2.0
//! What the profile leaves out of packages: documentation, locales, what nobody runs.

use std::collections::BTreeSet;

use super::{Error, Pruned, glob};
use crate::{
    profile::Prune,
    tree::{Kind, Tree, TreePath},
};

/// Takes out what `drop` matches and `keep` does not. A directory that `drop` matches goes with
/// everything below it; directories that become empty on the way go too.
///
/// # Errors
/// A pattern that is no absolute path.
pub(super) fn prune(tree: &mut Tree, rules: &Prune) -> Result<Pruned, Error> {
    if let Some(pattern) = rules.drop.iter().chain(&rules.keep).find(|text| !text.starts_with('/'))
    {
        return Err(Error::Pattern(pattern.clone()));
    }
    let doomed = doomed(tree, rules);
    let mut pruned = Pruned::default();
    let mut parents = BTreeSet::new();
    // From the deepest up, so that only empty directories are removed.
    for path in doomed.iter().rev() {
        if tree.children(path).next().is_none() {
            remove(tree, path, &mut pruned);
            parents.extend(path.parent());
        }
    }
    remove_emptied(tree, parents, &mut pruned);
    Ok(pruned)
}

/// Paths that go, in path order.
fn doomed(tree: &Tree, rules: &Prune) -> Vec<TreePath> {
    let prefixes: Vec<(&str, &str)> =
        rules.drop.iter().map(|pattern| (glob::literal_prefix(pattern), &**pattern)).collect();
    let kept =
        |path: &TreePath| rules.keep.iter().any(|pattern| glob::matches(pattern, path.as_str()));
    let mut dropped: BTreeSet<TreePath> = BTreeSet::new();
    for (path, _, _) in tree.iter().filter(|(path, _, _)| !path.is_root()) {
        let below = path.parent().is_some_and(|parent| dropped.contains(&parent));
        let matched = || {
            prefixes.iter().any(|(prefix, pattern)| {
                path.as_str().starts_with(prefix) && glob::matches(pattern, path.as_str())
            })
        };
        if (below || matched()) && !kept(path) {
            dropped.insert(path.clone());
        }
    }
    dropped.into_iter().collect()
}

/// Removes directories that are now empty, and their parents in turn.
fn remove_emptied(tree: &mut Tree, mut parents: BTreeSet<TreePath>, pruned: &mut Pruned) {
    while let Some(path) = parents.pop_last() {
        let is_directory =
            tree.get(&path).is_some_and(|inode| matches!(inode.kind, Kind::Directory));
        if is_directory && !path.is_root() && tree.children(&path).next().is_none() {
            remove(tree, &path, pruned);
            parents.extend(path.parent());
        }
    }
}

fn remove(tree: &mut Tree, path: &TreePath, pruned: &mut Pruned) {
    if let Some(inode) = tree.get(path) {
        if let Kind::File(content) = &inode.kind {
            pruned.bytes += content.len();
        }
        pruned.entries += tree.remove(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, Inode, Meta, Origin};

    fn tree(files: &[&str]) -> Tree {
        let mut tree = Tree::new(0);
        let origin = Origin::Kiln("test");
        for file in files {
            let path = TreePath::new(file).expect("valid");
            let parent = path.parent().expect("below the root");
            tree.make_dirs(&parent, &Meta::new(0o755, 0), &origin).expect("fits");
            let kind = if file.ends_with('/') {
                Kind::Directory
            } else {
                Kind::File(Content::bytes(*b"12345"))
            };
            let inode = Inode { meta: Meta::new(0o644, 0), kind, origin: origin.clone() };
            tree.insert(path, inode).expect("fits");
        }
        tree
    }

    fn rules(drop: &[&str], keep: &[&str]) -> Prune {
        let set = |patterns: &[&str]| patterns.iter().map(|text| (*text).to_owned()).collect();
        Prune { drop: set(drop), keep: set(keep) }
    }

    fn paths(tree: &Tree) -> Vec<&str> {
        tree.iter().map(|(path, _, _)| path.as_str()).collect()
    }

    #[test]
    fn keep_wins_over_drop_and_holds_its_directories() {
        let mut tree =
            tree(&["/usr/share/doc/a/copyright", "/usr/share/doc/a/NEWS", "/usr/share/doc/b/NEWS"]);
        let rules = rules(&["/usr/share/doc/**"], &["/usr/share/doc/*/copyright"]);
        let pruned = prune(&mut tree, &rules).expect("valid patterns");
        assert_eq!(
            paths(&tree),
            [
                "/",
                "/usr",
                "/usr/share",
                "/usr/share/doc",
                "/usr/share/doc/a",
                "/usr/share/doc/a/copyright"
            ]
        );
        assert_eq!(pruned, Pruned { entries: 3, bytes: 10 });
    }

    #[test]
    fn a_dropped_directory_takes_what_is_below_it() {
        let mut tree = tree(&["/usr/share/man/man1/ls", "/usr/share/mana"]);
        prune(&mut tree, &rules(&["/usr/share/man"], &[])).expect("valid patterns");
        assert_eq!(paths(&tree), ["/", "/usr", "/usr/share", "/usr/share/mana"]);
    }

    #[test]
    fn only_directories_that_pruning_emptied_go() {
        let mut tree = tree(&["/proc/", "/usr/share/info/dir/x"]);
        prune(&mut tree, &rules(&["/**/x"], &[])).expect("valid patterns");
        assert_eq!(paths(&tree), ["/", "/proc"]);
    }

    #[test]
    fn relative_patterns_are_refused() {
        let error = prune(&mut tree(&[]), &rules(&["usr/**"], &[])).expect_err("relative");
        assert_eq!(error.to_string(), "pattern 'usr/**' under 'prune' does not begin with '/'");
    }
}
