// SPDX-License-Identifier: Apache-2.0
//! `extends`: which files make a profile, and how they are laid over each other.
//!
//! Parents come first, each file once, the profile itself last. Sections merge key by key, lists
//! are joined (`-name` takes an inherited entry out, which [`super::read`] carries out), `null`
//! takes a key out, everything deeper is replaced whole. The trees keep their places, so a
//! complaint about a merged profile points into the file that the value came from.

use std::collections::BTreeMap;

use super::{Profile, read};
use crate::{
    cluster::{Cluster, Proxy},
    diagnostic::{Diagnostic, Problems, Span, quoted, suggest},
    kubernetes::static_pods,
    names,
    workspace::Workspace,
    yaml::{self, Key, Node, Value, fields},
};

/// Keys that say how to read a file and are no part of what it says.
const OWN: [&str; 2] = ["schema", "extends"];
/// The section whose maps merge key by key once more (`packages.omit`).
const DEEPER: &str = "packages";
/// The section whose lists are values of the user, not lists of names.
const OPAQUE: &str = "vars";

/// A parent of this name is the profile that `lb.proxy` of the cluster file names.
pub(super) const PROXY: &str = "cluster.lb.proxy";

/// All profiles of a workspace, parsed.
#[derive(Debug)]
pub struct Profiles<'a> {
    workspace: &'a Workspace,
    proxy: Proxy,
    /// What the cluster file lays below a role's own profile.
    below: BTreeMap<&'a str, &'static str>,
    /// None if the file is no YAML or no map.
    files: BTreeMap<&'a str, Option<Node>>,
}

impl<'a> Profiles<'a> {
    /// Parses every file and checks it on its own: its keys, its types, its names.
    pub fn parse(workspace: &'a Workspace, problems: &Problems) -> Self {
        let files = workspace.profiles.iter().map(|(name, source)| {
            if let Err(complaint) = names::part(name) {
                let title = format!("{}: {}", source.path, complaint.what);
                problems.add(Diagnostic::new(title).help(complaint.help.unwrap_or_default()));
            }
            let node = yaml::parse(source, problems)
                .filter(|node| fields::map(node, problems).is_some())
                .map(normalize);
            if let Some(node) = &node {
                read::check_fragment(name, node, workspace, problems);
            }
            (name.as_str(), node)
        });
        Self { workspace, proxy: Proxy::Haproxy, below: BTreeMap::new(), files: files.collect() }
    }

    /// With the cluster file's choices; the defaults without one.
    pub fn choosing(mut self, cluster: Option<&Cluster>) -> Self {
        if let Some(cluster) = cluster {
            self.proxy = cluster.lb.proxy;
            // One that is missing has its complaint at the cluster file's line.
            let is_there = |name: &&str| self.files.contains_key(name);
            let profile = |role| static_pods::profile(cluster, role).filter(is_there);
            let below = |role| Some((role, profile(role)?));
            self.below = self.names().filter_map(below).collect();
        }
        self
    }

    pub fn names(&self) -> impl Iterator<Item = &'a str> + Clone {
        self.files.keys().copied()
    }

    /// One role's profile with everything it extends.
    pub fn load(&self, role: &str, problems: &Problems) -> Option<Profile> {
        let mut chain = Chain { profiles: self, problems, open: Vec::new(), done: Vec::new() };
        // Without one of its parents, a profile would seem to lack everything that they say.
        let mut names = self.below.get(role).copied().into_iter().chain([role]);
        if !names.all(|name| chain.add(name, None)) {
            return None;
        }
        let merged = chain.done.iter().fold(None, |parent: Option<Node>, (_, node)| {
            let child = without_own_keys(node);
            Some(match parent {
                Some(parent) => lay(parent, child, "", 0, problems),
                None => child,
            })
        })?;
        read::profile(role, &merged, self.workspace, problems)
    }
}

/// The files of one profile, parents first.
struct Chain<'a> {
    profiles: &'a Profiles<'a>,
    problems: &'a Problems,
    /// Files whose parents are being added.
    open: Vec<&'a str>,
    done: Vec<(&'a str, &'a Node)>,
}

impl<'a> Chain<'a> {
    /// Adds a file after its parents; false if something is missing.
    fn add(&mut self, name: &str, span: Option<&Span>) -> bool {
        let complain = |title: String, help: String| {
            let diagnostic = Diagnostic::new(title).help(help);
            self.problems.add(match span {
                Some(span) => diagnostic.at(span),
                None => diagnostic,
            });
            false
        };
        let chosen = name == PROXY;
        let name = if chosen { self.profiles.proxy.name() } else { name };
        let Some((name, node)) = self.profiles.files.get_key_value(name) else {
            let title = format!("there is no profile {}", quoted(name));
            return if chosen {
                complain(
                    format!("{title}, which 'lb.proxy' of cluster.yaml asks for"),
                    format!("write 'profiles/{name}.yaml', or choose another proxy"),
                )
            } else {
                complain(title, suggest(name, self.profiles.names()))
            };
        };
        if let Some(start) = self.open.iter().position(|open| open == name) {
            let circle: Vec<&str> = self.open[start..].iter().chain([name]).copied().collect();
            return complain(
                format!("profile {} extends itself: {}", quoted(name), circle.join(" -> ")),
                "take one of them out of 'extends'".to_owned(),
            );
        }
        // A file that could not be parsed has its complaint already.
        let Some(node) = node else { return false };
        if self.done.iter().any(|(done, _)| done == name) {
            return true;
        }
        self.open.push(name);
        let mut complete = true;
        for (parent, span) in read::extends(node) {
            complete &= self.add(parent, Some(span));
        }
        self.open.pop();
        self.done.push((name, node));
        complete
    }
}

/// Writes out short forms: `packages: [a]` is `packages: {install: [a]}`.
fn normalize(mut node: Node) -> Node {
    if let Value::Map(entries) = &mut node.value {
        for (key, value) in entries.iter_mut().filter(|(key, _)| key.text == "packages") {
            if matches!(value.value, Value::List(_)) {
                let install = Key { text: "install".to_owned(), span: key.span.clone() };
                let span = value.span.clone();
                let list = std::mem::replace(&mut value.value, Value::Refused);
                value.value = Value::Map(vec![(install, Node { span, value: list })]);
            }
        }
    }
    node
}

fn without_own_keys(node: &Node) -> Node {
    let mut node = node.clone();
    if let Value::Map(entries) = &mut node.value {
        entries.retain(|(key, _)| !OWN.contains(&&*key.text));
    }
    node
}

/// Lays `child` over `parent`. `section` is the key of the top that both are below.
fn lay(parent: Node, child: Node, section: &str, depth: usize, problems: &Problems) -> Node {
    let value = match (parent.value, child.value) {
        (Value::Map(below), Value::Map(above)) if depth < 2 || section == DEEPER => {
            Value::Map(lay_map(below, above, section, depth, problems))
        }
        (Value::List(mut below), Value::List(above)) if section != OPAQUE => {
            below.extend(above);
            Value::List(below)
        }
        (_, above) => above,
    };
    Node { span: child.span, value }
}

fn lay_map(
    mut entries: Vec<(Key, Node)>,
    above: Vec<(Key, Node)>,
    section: &str,
    depth: usize,
    problems: &Problems,
) -> Vec<(Key, Node)> {
    let index: BTreeMap<String, usize> =
        entries.iter().enumerate().map(|(at, (key, _))| (key.text.clone(), at)).collect();
    for (key, node) in above {
        let Some(&at) = index.get(&key.text) else {
            if node.is_null() && section != OPAQUE {
                let title =
                    format!("{} is not inherited, so it cannot be taken out", quoted(&key.text));
                let inherited = index.keys().map(String::as_str).collect::<Vec<_>>();
                problems
                    .add(Diagnostic::new(title).at(&key.span).help(suggest(&key.text, inherited)));
            }
            entries.push((key, node));
            continue;
        };
        let section = if depth == 0 { key.text.clone() } else { section.to_owned() };
        let slot = &mut entries[at];
        let below =
            std::mem::replace(&mut slot.1, Node { span: key.span.clone(), value: Value::Refused });
        *slot = (key, lay(below, node, &section, depth + 1, problems));
    }
    entries
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::diagnostic::Source;

    /// A tree of a profile's shape without `null`: sections of lists, scalars and maps.
    fn tree() -> impl Strategy<Value = serde_json::Value> {
        use serde_json::json;
        let list = prop::collection::vec("[a-c]{2}", 0..4).prop_map(|names| json!(names));
        let scalar = "[a-c]{2}".prop_map(|text| json!(text));
        let map =
            prop::collection::btree_map("[a-c]{1}", "[a-c]{2}", 0..3).prop_map(|map| json!(map));
        let section = prop::collection::btree_map("[a-c]{1}", prop_oneof![list, scalar, map], 0..3);
        prop::collection::btree_map("(packages|kernel|vars)", section, 0..3)
            .prop_map(|map| json!(map))
    }

    fn node(value: &serde_json::Value) -> Node {
        let problems = Problems::new();
        yaml::parse(&Source::new("t.yaml", value.to_string()), &problems).unwrap()
    }

    fn merged(parent: Node, child: Node) -> Node {
        let problems = Problems::new();
        let node = lay(parent, child, "", 0, &problems);
        assert!(problems.is_empty());
        node
    }

    fn json(node: &Node) -> serde_json::Value {
        fields::any(node, &Problems::new()).unwrap()
    }

    /// Whether a key is a list in one tree and something else in another, where order of
    /// merging decides whether the lists join.
    fn kinds_agree(trees: &[&serde_json::Value]) -> bool {
        let mut kinds = BTreeMap::new();
        trees.iter().flat_map(|tree| tree.as_object().into_iter().flatten()).all(
            |(section, map)| {
                map.as_object().into_iter().flatten().all(|(key, value)| {
                    let kind = (value.is_array(), value.is_object());
                    *kinds.entry((section.clone(), key.clone())).or_insert(kind) == kind
                })
            },
        )
    }

    proptest! {
        #[test]
        fn merging_is_associative((a, b, c) in (tree(), tree(), tree())) {
            prop_assume!(kinds_agree(&[&a, &b, &c]));
            let left = merged(merged(node(&a), node(&b)), node(&c));
            let right = merged(node(&a), merged(node(&b), node(&c)));
            prop_assert_eq!(json(&left), json(&right));
        }

        #[test]
        fn an_empty_profile_changes_nothing(a in tree()) {
            let empty = serde_json::json!({});
            prop_assert_eq!(&json(&merged(node(&a), node(&empty))), &a);
            prop_assert_eq!(&json(&merged(node(&empty), node(&a))), &a);
        }
    }
}
