// SPDX-License-Identifier: Apache-2.0
//! Objects out of a manifest, each with the text that is applied and the place it stands at.
//!
//! What a node applies is the text as it was written: kubectl's reader of YAML decides what a
//! plain `on` means, not ours. Ours only has to find names.

use std::{fmt, sync::Arc};

use crate::{
    diagnostic::{Diagnostic, Problems, Source, Span, quoted},
    yaml::{
        self, Node, Value,
        fields::{any, items, map},
    },
};

/// Largest object that `kubectl apply` takes: it keeps a copy among the annotations, and these
/// have 256 KiB (`TotalAnnotationSizeLimitB` of apimachinery).
const MAX_OBJECT: usize = 256 << 10;

#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) api_version: String,
    pub(super) kind: String,
    namespace: Option<String>,
    name: String,
    /// Of its containers.
    pub(super) images: Vec<String>,
    /// The document, with a line break at its end.
    pub(super) text: String,
    pub(super) node: Node,
    pub(super) span: Span,
}

impl fmt::Display for Object {
    /// For people, and the same for the same object.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind)?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.name)
    }
}

/// The objects of a file. What is no object is among the problems.
pub(super) fn objects(source: &Arc<Source>, problems: &Problems) -> Vec<Object> {
    documents(source).iter().filter_map(|document| object(document, problems)).collect()
}

/// The documents of a file, as files of their own: blank lines stand where the others are, so
/// that a place is that of the whole file.
fn documents(source: &Arc<Source>) -> Vec<Arc<Source>> {
    let mut texts = vec![String::new()];
    let whole = source.text.strip_prefix('\u{feff}').unwrap_or(&source.text);
    for (number, line) in whole.split_inclusive('\n').enumerate() {
        // Content is indented, or a scalar at the top: these marks are nothing else in YAML.
        let rest = line.strip_prefix("---").or_else(|| line.strip_prefix("..."));
        match rest.filter(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace)) {
            Some(rest) => texts.push(format!("{}   {rest}", "\n".repeat(number))),
            None => texts.last_mut().expect("there is one from the start").push_str(line),
        }
    }
    let says_something = |text: &String| {
        let mut lines = text.lines().map(str::trim_start);
        lines.any(|line| !line.is_empty() && !line.starts_with('#'))
    };
    let source = |text| Source::new(&*source.path, text);
    texts.into_iter().filter(says_something).map(source).collect()
}

fn object(source: &Arc<Source>, problems: &Problems) -> Option<Object> {
    let node = yaml::parse_deep(source, problems)?;
    map(&node, problems)?;
    let complain = |title: &str, help: &str| {
        problems.add(Diagnostic::new(title).at(&node.span).help(help));
    };
    let required = |path: &[&str]| {
        let found = text_at(&node, path);
        if found.is_none() {
            let title = format!("an object without '{}'", path.join("."));
            complain(&title, "every document of a manifest is an object of Kubernetes");
        }
        found
    };
    let (api_version, kind) = (required(&["apiVersion"]), required(&["kind"]));
    let (api_version, kind) = (api_version?, kind?);
    if kind.ends_with("List") && at(&node, &["items"]).is_some() {
        complain("a list of objects", "write each as a document of its own, with '---' between");
        return None;
    }
    if at(&node, &["metadata", "generateName"]).is_some() {
        complain("an object without a name of its own", "replace 'generateName' by 'name'");
        return None;
    }
    let name = required(&["metadata", "name"])?;
    let json = any(&node, problems)?.to_string();
    if json.len() > MAX_OBJECT {
        let title = format!(
            "{} {} has {} bytes, at most {MAX_OBJECT} can be applied",
            quoted(&kind),
            quoted(&name),
            json.len()
        );
        complain(&title, "definitions shrink a lot without their descriptions");
        return None;
    }
    let mut images = Vec::new();
    collect_images(&node, &mut images);
    let text = source.text.trim_start_matches(['\n', '\r', ' ']);
    Some(Object {
        api_version,
        kind,
        namespace: text_at(&node, &["metadata", "namespace"]),
        name,
        images,
        text: format!("{}\n", indented(source, text).trim_end()),
        span: node.span.clone(),
        node,
    })
}

/// The text with the blanks before its first line, which may be part of its indentation.
fn indented<'a>(source: &'a Source, text: &'a str) -> &'a str {
    let start = source.text.len() - text.len();
    let line = source.text[..start].rfind('\n').map_or(0, |at| at + 1);
    &source.text[line..]
}

/// The value at a path of keys.
pub(super) fn at<'a>(node: &'a Node, path: &[&str]) -> Option<&'a Node> {
    let [key, rest @ ..] = path else { return Some(node) };
    let Value::Map(entries) = &node.value else { return None };
    let (_, node) = entries.iter().find(|(given, _)| given.text == *key)?;
    at(node, rest)
}

/// The text at a path of keys, if there is one.
pub(super) fn text_at(node: &Node, path: &[&str]) -> Option<String> {
    match at(node, path)? {
        node if node.is_null() || node.is_empty() => None,
        Node { value: Value::Scalar { text, .. }, .. } => Some(text.clone()),
        _ => None,
    }
}

/// The items of the list at a path of keys; none if there is no list.
pub(super) fn list_at<'a>(node: &'a Node, path: &[&str]) -> &'a [Node] {
    at(node, path).and_then(|node| items(node, &Problems::new())).unwrap_or_default()
}

fn collect_images(node: &Node, found: &mut Vec<String>) {
    match &node.value {
        Value::Map(entries) => {
            for key in ["containers", "initContainers"] {
                let containers = list_at(node, &[key]).iter();
                found.extend(containers.filter_map(|container| text_at(container, &["image"])));
            }
            entries.iter().for_each(|(_, node)| collect_images(node, found));
        }
        Value::List(items) => items.iter().for_each(|node| collect_images(node, found)),
        Value::Scalar { .. } | Value::Refused => {}
    }
}
