// SPDX-License-Identifier: Apache-2.0
//! YAML as a tree in which every value knows its place.
//!
//! The parser's events (YAML 1.2) become [`Node`]s; [`fields`] reads typed values out of them and
//! collects every problem instead of stopping at the first, which serde cannot do. Scalars stay
//! the text that was written, so `0644`, `1.10` and `no` mean what the reader of the key says.
//!
//! Kept out, because a build input must say what it means in one place: anchors, aliases, tags,
//! merge keys, duplicate keys, several documents. Hostile input is bounded by [`MAX_BYTES`],
//! [`MAX_DEPTH`] and [`MAX_NODES`].

pub mod fields;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use serde_saphyr::granit_parser::{self, ErrorKind, Event, Parser, ScalarStyle};

use crate::diagnostic::{Diagnostic, Problems, Source, Span, escaped, quoted};

/// Ten thousand hosts fit.
const MAX_BYTES: usize = 2 << 20;
/// The deepest key that Kiln knows is at 5; `vars` may hold more.
const MAX_DEPTH: usize = 32;
/// Schemas of custom resources repeat the form of a pod, whose affinities are the deepest.
const MAX_DEPTH_DEEP: usize = 128;
const MAX_NODES: usize = 200_000;

/// A value and where it was written.
#[derive(Debug, Clone)]
pub struct Node {
    pub span: Span,
    pub value: Value,
}

/// What was written.
#[derive(Debug, Clone)]
pub enum Value {
    /// A plain scalar may be a number, a switch or `null`; a quoted one is always text.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    /// In the order of the file; no key twice.
    Map(Vec<(Key, Node)>),
    /// Something that was complained about already.
    Refused,
}

/// A key of a map.
#[derive(Debug, Clone)]
pub struct Key {
    pub text: String,
    pub span: Span,
}

impl Node {
    /// Whether this says explicitly that there is no value: `null` or `~`.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(&**text, "null" | "~"))
    }

    /// The place of the value at a path of keys, or of the deepest part of the path that exists.
    pub fn place(&self, path: &[&str]) -> &Span {
        let (Value::Map(entries), [first, rest @ ..]) = (&self.value, path) else {
            return &self.span;
        };
        let entry = entries.iter().find(|(key, _)| key.text == *first);
        entry.map_or(&self.span, |(_, node)| node.place(rest))
    }

    /// The place of the last key of a path, or of the deepest part of the path that exists.
    pub fn key(&self, path: &[&str]) -> &Span {
        let (Value::Map(entries), [first, rest @ ..]) = (&self.value, path) else {
            return &self.span;
        };
        match entries.iter().find(|(key, _)| key.text == *first) {
            Some((key, _)) if rest.is_empty() => &key.span,
            Some((_, node)) => node.key(rest),
            None => &self.span,
        }
    }

    /// The place of an item of the list at a path of keys.
    pub fn item(&self, path: &[&str], index: usize) -> &Span {
        let mut node = self;
        for key in path {
            let Value::Map(entries) = &node.value else { return &node.span };
            let Some((_, next)) = entries.iter().find(|(given, _)| given.text == *key) else {
                return &node.span;
            };
            node = next;
        }
        match &node.value {
            Value::List(items) => items.get(index).map_or(&node.span, |item| &item.span),
            _ => &node.span,
        }
    }

    /// Whether nothing was written after the key.
    pub fn is_empty(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if text.is_empty())
    }
}

/// Parses one file. None if it cannot be read as YAML; then, and for everything refused on the
/// way, there is a problem.
pub fn parse(source: &Arc<Source>, problems: &Problems) -> Option<Node> {
    parse_to(MAX_DEPTH, source, problems)
}

/// The same for files whose form is not ours: they may be nested deeper.
pub fn parse_deep(source: &Arc<Source>, problems: &Problems) -> Option<Node> {
    parse_to(MAX_DEPTH_DEEP, source, problems)
}

fn parse_to(max_depth: usize, source: &Arc<Source>, problems: &Problems) -> Option<Node> {
    if source.text.len() > MAX_BYTES {
        problems.add(
            Diagnostic::new(format!(
                "{} is larger than {} MiB",
                quoted(&source.path),
                MAX_BYTES >> 20
            ))
            .help("large values belong into files of an overlay"),
        );
        return None;
    }
    let options = granit_parser::options! {
        strict_indentation: true,
        disallow_directives: true,
        emit_unresolved_aliases: true,
        emit_anchor_events: true,
        emit_comments: false,
        flow_nesting_limit: max_depth,
        block_nesting_limit: max_depth,
    };
    let mut builder =
        Builder { source, problems, max_depth, open: Vec::new(), root: None, n_nodes: 0 };
    for event in Parser::new_from_str_with_options(&source.text, options) {
        match event {
            Ok((event, span)) => builder.take(event, &span).then_some(())?,
            Err(error) => {
                builder.syntax_error(&error);
                return None;
            }
        }
    }
    let root = builder.root.filter(|root| !root.is_empty());
    if root.is_none() {
        problems.add(
            Diagnostic::new(format!("{} is empty", quoted(&source.path)))
                .help("docs/profile.md describes what belongs into it"),
        );
    }
    root
}

/// A collection that is not closed yet.
enum Open {
    List {
        start: usize,
        items: Vec<Node>,
    },
    Map {
        start: usize,
        entries: Vec<(Key, Node)>,
        seen: BTreeMap<String, Span>,
        /// The key whose value comes next; `Some(None)` if that key was refused.
        key: Option<Option<Key>>,
    },
}

struct Builder<'a> {
    source: &'a Arc<Source>,
    problems: &'a Problems,
    max_depth: usize,
    open: Vec<Open>,
    root: Option<Node>,
    n_nodes: usize,
}

impl Builder<'_> {
    fn span(&self, range: Range<usize>) -> Span {
        Span::clamped(self.source, range)
    }

    fn complain(&self, range: Range<usize>, title: &str, help: &str) {
        self.problems.add(Diagnostic::new(title).at(&self.span(range)).help(help));
    }

    /// Handles one event; false if reading on makes no sense.
    fn take(&mut self, event: Event<'_>, span: &granit_parser::Span) -> bool {
        let range = span.byte_range().unwrap_or_default();
        if let Some(tag) = span.tag_span().and_then(|tag| tag.byte_range()) {
            self.complain(tag, "tags are not used here", "write the value alone");
        }
        match event {
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            Event::DocumentStart(..) => {
                if self.root.is_some() {
                    self.complain(
                        range,
                        "a second document begins here",
                        "one file holds one document",
                    );
                    return false;
                }
            }
            Event::Anchor(..) => {
                self.complain(
                    range,
                    "anchors are not used here",
                    "write values out; 'extends' shares between profiles",
                );
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.complain(
                    range.clone(),
                    "aliases are not used here",
                    "write values out; 'extends' shares between profiles",
                );
                return self.put(range, Value::Refused);
            }
            Event::Scalar(text, style, ..) => {
                let plain = style == ScalarStyle::Plain;
                // The parser writes `~` where nothing was written.
                let text =
                    if plain && range.is_empty() { String::new() } else { text.into_owned() };
                return self.put(range, Value::Scalar { text, plain });
            }
            Event::SequenceStart(..) => {
                self.open.push(Open::List { start: range.start, items: Vec::new() });
            }
            Event::MappingStart(..) => self.open.push(Open::Map {
                start: range.start,
                entries: Vec::new(),
                seen: BTreeMap::new(),
                key: None,
            }),
            Event::SequenceEnd | Event::MappingEnd => {
                let (start, value) = match self.open.pop().expect("the parser balances its events")
                {
                    Open::List { start, items } => (start, Value::List(items)),
                    Open::Map { start, entries, .. } => (start, Value::Map(entries)),
                };
                // A block ends where the next thing begins; what is shown of it is its first line.
                let text = &self.source.text[start.min(self.source.text.len())..];
                let first_line = start + text.lines().next().unwrap_or("").trim_end().len();
                return self.put(start..range.end.min(first_line).max(start), value);
            }
            other => unreachable!("the options switch {other:?} off"),
        }
        true
    }

    /// Puts a finished value where it belongs.
    fn put(&mut self, range: Range<usize>, value: Value) -> bool {
        self.n_nodes += 1;
        if self.n_nodes > MAX_NODES {
            self.complain(range, &format!("more than {MAX_NODES} values in one file"), "split it");
            return false;
        }
        let span = self.span(range);
        match self.open.last_mut() {
            None => self.root = Some(Node { span, value }),
            Some(Open::List { items, .. }) => items.push(Node { span, value }),
            Some(Open::Map { entries, seen, key: slot, .. }) => match slot.take() {
                None => *slot = Some(key_of(span, value, seen, self.problems)),
                Some(Some(key)) => entries.push((key, Node { span, value })),
                Some(None) => {}
            },
        }
        true
    }

    fn syntax_error(&self, error: &granit_parser::ScanError) {
        let at = error.marker().byte_offset().unwrap_or(self.source.text.len());
        let line = self.source.line(error.marker().line());
        let indentation = self.source.text.get(line.clone()).unwrap_or("");
        let indentation = &indentation[..indentation.len() - indentation.trim_start().len()];
        let (title, help, range) = match error.kind() {
            _ if indentation.contains('\t') => (
                "a tab is used as indentation".to_owned(),
                "YAML is indented by spaces".to_owned(),
                line.start..line.start + indentation.len(),
            ),
            ErrorKind::RecursionLimitExceeded => (
                format!("values are nested deeper than {}", self.max_depth),
                "no key of Kiln is that deep".to_owned(),
                at..at + 1,
            ),
            _ => (
                format!("this is no YAML: {}", escaped(&error.info())),
                "the place is where the parser noticed; the cause may be a line before".to_owned(),
                at..at + 1,
            ),
        };
        self.complain(range, &title, &help);
    }
}

/// The key, unless it is refused.
fn key_of(
    span: Span,
    value: Value,
    seen: &mut BTreeMap<String, Span>,
    problems: &Problems,
) -> Option<Key> {
    let Value::Scalar { text, plain } = value else {
        problems.add(Diagnostic::new("a key must be text").at(&span));
        return None;
    };
    if plain && text == "<<" {
        problems.add(
            Diagnostic::new("merge keys are not used here")
                .at(&span)
                .help("write values out; 'extends' shares between profiles"),
        );
        return None;
    }
    if let Some(first) = seen.get(&text) {
        problems.add(
            Diagnostic::new(format!("key {} appears twice", quoted(&text)))
                .at(&span)
                .also(first, "first here")
                .help("remove one"),
        );
        return None;
    }
    seen.insert(text.clone(), span.clone());
    Some(Key { text, span })
}
