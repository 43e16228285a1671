// SPDX-License-Identifier: Apache-2.0
//! YAML from outside as a bounded tree in which every node knows its line.
//!
//! Metadata is written for cloud-init, whose parser reads YAML 1.1 and lets half of the mistakes
//! pass. Here a scalar keeps its text, and whoever reads it says which type is expected, so that
//! `dhcp4: yes`, `0644` and an unquoted MAC address mean what their writer meant. Duplicate keys,
//! aliases to an ancestor, deep nesting and large documents are refused.

mod read;

use std::{borrow::Cow, collections::BTreeMap};

use granit_parser::{Event, Parser, ScalarStyle, Tag, options};

pub use read::{At, Fields};

/// Bytes of one document.
pub const DOCUMENT_MAX: usize = 1 << 20;
/// Nodes of one document, after aliases are expanded.
const NODES_MAX: usize = 10_000;
/// Nesting of lists and maps.
const DEPTH_MAX: usize = 64;

/// What is wrong in a document, and where. `key` is empty for the document as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problem {
    pub line: usize,
    pub key: String,
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.line > 0 {
            write!(f, "{}: ", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

impl Problem {
    /// A problem of the whole document.
    pub fn whole(message: impl Into<String>) -> Self {
        Self { line: 0, key: String::new(), message: message.into() }
    }

    fn at(line: usize, message: impl Into<String>) -> Self {
        Self { line, key: String::new(), message: message.into() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub line: usize,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A scalar's text; only a plain one (without quotes) can be a number, a boolean or null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar {
    pub text: String,
    pub plain: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub line: usize,
    pub text: String,
}

impl Scalar {
    pub fn is_null(&self) -> bool {
        self.plain && matches!(&*self.text, "" | "~" | "null" | "Null" | "NULL")
    }

    /// YAML 1.1's booleans as PyYAML reads them: not `y` and `n`.
    pub fn boolean(&self) -> Option<bool> {
        match (self.plain, &*self.text.to_ascii_lowercase()) {
            (true, "true" | "yes" | "on") => Some(true),
            (true, "false" | "no" | "off") => Some(false),
            _ => None,
        }
    }

    /// Decimal, `0x` and octal, the latter as `0o17` and as `017`.
    pub fn integer(&self) -> Option<i64> {
        if !self.plain {
            return None;
        }
        let (sign, digits) = match self.text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, self.text.strip_prefix('+').unwrap_or(&self.text)),
        };
        if !digits.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let magnitude = if let Some(hex) = digits.strip_prefix("0x") {
            i64::from_str_radix(hex, 16)
        } else if let Some(octal) = digits.strip_prefix("0o") {
            i64::from_str_radix(octal, 8)
        } else if digits.len() > 1 && digits.starts_with('0') {
            i64::from_str_radix(digits, 8)
        } else {
            digits.parse()
        };
        magnitude.ok()?.checked_mul(sign)
    }
}

impl Node {
    /// The value for templates, with YAML's own types for plain scalars.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value;
        match &self.kind {
            Kind::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Kind::Map(entries) => Value::Object(
                entries.iter().map(|(key, node)| (key.text.clone(), node.to_json())).collect(),
            ),
            Kind::Scalar(scalar) => {
                // As in YAML 1.1, a float has a point.
                let pointed = scalar.plain
                    && scalar.text.contains('.')
                    && scalar.text.bytes().any(|byte| byte.is_ascii_digit());
                if scalar.is_null() {
                    Value::Null
                } else if let Some(boolean) = scalar.boolean() {
                    Value::Bool(boolean)
                } else if let Some(integer) = scalar.integer() {
                    Value::from(integer)
                } else if let Some(float) =
                    pointed.then(|| scalar.text.parse::<f64>().ok()).flatten()
                {
                    Value::from(float)
                } else {
                    Value::String(scalar.text.clone())
                }
            }
        }
    }
}

/// Parses one document; none if it has no content.
///
/// # Errors
/// Anything that is no YAML, and the limits above.
pub fn parse(bytes: &[u8]) -> Result<Option<Node>, Problem> {
    let text = text_of(bytes)?;
    let options = options! { flow_nesting_limit: DEPTH_MAX, block_nesting_limit: DEPTH_MAX };
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) =
            event.map_err(|error| Problem::at(error.marker().line(), printable(&error.info())))?;
        builder.take(event, span.start.line())?;
    }
    let empty = |node: &Node| matches!(&node.kind, Kind::Scalar(scalar) if scalar.is_null());
    Ok(builder.document.filter(|node| !empty(node)))
}

/// The bytes as text, within the limits.
///
/// # Errors
/// Too large, or not UTF-8.
pub fn text_of(bytes: &[u8]) -> Result<&str, Problem> {
    if bytes.len() > DOCUMENT_MAX {
        return Err(Problem::whole(format!("larger than {DOCUMENT_MAX} bytes")));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(Problem::whole("expected UTF-8, found UTF-16"));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        Problem::whole(format!(
            "expected UTF-8, found another byte at offset {}",
            error.valid_up_to()
        ))
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match text.find('\0') {
        Some(offset) => Err(Problem::whole(format!("found a NUL byte at offset {offset}"))),
        None => Ok(text),
    }
}

/// `text` on one line, control characters escaped.
pub fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_control() { c.escape_debug().collect() } else { vec![c] })
        .collect()
}

#[derive(Debug, Default)]
struct Builder {
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    n_nodes: usize,
    n_documents: usize,
    document: Option<Node>,
}

/// A list or map whose end was not seen.
#[derive(Debug)]
struct Open {
    line: usize,
    anchor: usize,
    kind: Kind,
    key: Option<Key>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, line: usize) -> Result<(), Problem> {
        match event {
            Event::DocumentStart(..) => {
                self.n_documents += 1;
                if self.n_documents > 1 {
                    return Err(Problem::at(line, "expected one document, found another '---'"));
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let scalars = ["str", "int", "bool", "float", "null"];
                let is_text = known_tag(&tag, &scalars, line)? == Some("str");
                let plain = style == ScalarStyle::Plain && !is_text;
                let kind = Kind::Scalar(Scalar { text: text.into_owned(), plain });
                self.node(Node { line, kind }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                known_tag(&tag, &["seq"], line)?;
                self.open(line, anchor, Kind::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                known_tag(&tag, &["map"], line)?;
                self.open(line, anchor, Kind::Map(Vec::new()))
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else { return Ok(()) };
                self.node(Node { line: open.line, kind: open.kind }, open.anchor)
            }
            Event::Alias(anchor) => {
                let Some(target) = self.anchors.get(&anchor) else {
                    return Err(Problem::at(line, "an alias refers to something that contains it"));
                };
                let node = Node { line, kind: target.kind.clone() };
                // The clone's own root is counted by node().
                self.count(count(&node) - 1, line)?;
                self.node(node, 0)
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, line: usize, anchor: usize, kind: Kind) -> Result<(), Problem> {
        if self.open.len() >= DEPTH_MAX {
            return Err(Problem::at(line, format!("nested deeper than {DEPTH_MAX}")));
        }
        self.open.push(Open { line, anchor, kind, key: None });
        Ok(())
    }

    fn count(&mut self, n: usize, line: usize) -> Result<(), Problem> {
        self.n_nodes += n;
        if self.n_nodes > NODES_MAX {
            return Err(Problem::at(line, format!("more than {NODES_MAX} values")));
        }
        Ok(())
    }

    fn node(&mut self, node: Node, anchor: usize) -> Result<(), Problem> {
        self.count(1, node.line)?;
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(parent) = self.open.last_mut() else {
            self.document = Some(node);
            return Ok(());
        };
        match &mut parent.kind {
            Kind::List(items) => items.push(node),
            Kind::Map(entries) => match parent.key.take() {
                None => parent.key = Some(key_of(node)?),
                Some(key) => insert(entries, key, node)?,
            },
            Kind::Scalar(_) => unreachable!("only lists and maps are opened"),
        }
        Ok(())
    }
}

/// The suffix of a core tag that suits the node. Any other would change what the text means:
/// `!!binary` is base64, `!!python/object` a program.
fn known_tag<'t>(
    tag: &'t Option<Cow<'_, Tag>>,
    known: &[&str],
    line: usize,
) -> Result<Option<&'t str>, Problem> {
    let Some(tag) = tag else { return Ok(None) };
    let is_core = tag.handle() == "tag:yaml.org,2002:" && known.contains(&tag.suffix());
    if is_core || (tag.handle() == "!" && tag.suffix().is_empty()) {
        return Ok(Some(tag.suffix()));
    }
    let written = printable(&format!("{}{}", tag.handle(), tag.suffix()));
    let hint = if tag.suffix() == "binary" { "; give the text with an encoding" } else { "" };
    Err(Problem::at(line, format!("the tag '{written}' is not supported{hint}")))
}

fn key_of(node: Node) -> Result<Key, Problem> {
    match node.kind {
        Kind::Scalar(scalar) => Ok(Key { line: node.line, text: scalar.text }),
        _ => Err(Problem::at(
            node.line,
            "a key is a map or a list; was a '{{ … }}' left where a value belongs?",
        )),
    }
}

fn insert(entries: &mut Vec<(Key, Node)>, key: Key, node: Node) -> Result<(), Problem> {
    if key.text == "<<" {
        return Err(Problem::at(key.line, "merge keys ('<<') are not supported"));
    }
    if let Some((first, _)) = entries.iter().find(|(other, _)| other.text == key.text) {
        let message = format!("key '{}' is already in line {}", printable(&key.text), first.line);
        return Err(Problem::at(key.line, message));
    }
    entries.push((key, node));
    Ok(())
}

fn count(node: &Node) -> usize {
    1 + match &node.kind {
        Kind::Scalar(_) => 0,
        Kind::List(items) => items.iter().map(count).sum(),
        Kind::Map(entries) => entries.iter().map(|(_, node)| 1 + count(node)).sum(),
    }
}

#[cfg(test)]
mod tests;
