// SPDX-License-Identifier: Apache-2.0
//! Typed values out of a [`Node`] tree: each reader gives a value, or none and a problem.
//! Of a list or map it gives what could be read, so that later checks find more problems.
//!
//! [`Fields`] reads a map key by key. The keys that were asked for are the keys that exist, so
//! [`Fields::finish`] knows what to suggest for one that nobody asked for.

use std::{cell::RefCell, collections::BTreeMap, ops::RangeInclusive, str::FromStr};

use super::{Key, Node, Value};
use crate::diagnostic::{Diagnostic, Problems, Span, quoted, suggest};

/// Why a text was refused, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    pub what: String,
    pub help: Option<String>,
}

impl Complaint {
    pub fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { what: what.into(), help: Some(help.into()) }
    }

    /// The complaint with its place.
    pub fn at(self, span: &Span) -> Diagnostic {
        self.without_place().at(span)
    }

    /// The complaint about something that stands in no file.
    pub fn without_place(self) -> Diagnostic {
        let diagnostic = Diagnostic::new(self.what);
        match self.help {
            Some(help) => diagnostic.help(help),
            None => diagnostic,
        }
    }
}

/// One map, being read.
#[derive(Debug)]
pub struct Fields<'a> {
    /// Dotted path with a dot at its end, or nothing at the top.
    prefix: String,
    span: &'a Span,
    entries: &'a [(Key, Node)],
    known: RefCell<Vec<&'static str>>,
    problems: &'a Problems,
    fragment: bool,
}

impl<'a> Fields<'a> {
    /// The top of a file, or of several merged ones.
    pub fn top(node: &'a Node, problems: &'a Problems, fragment: bool) -> Option<Self> {
        Self::open(node, problems, fragment, String::new())
    }

    fn open(
        node: &'a Node,
        problems: &'a Problems,
        fragment: bool,
        prefix: String,
    ) -> Option<Self> {
        let entries = map(node, problems)?;
        Some(Self {
            prefix,
            span: &node.span,
            entries,
            known: RefCell::default(),
            problems,
            fragment,
        })
    }

    /// Whether keys may be absent, because other files add them.
    pub fn is_fragment(&self) -> bool {
        self.fragment
    }

    /// Complains about the map as a whole.
    pub fn complain(&self, diagnostic: Diagnostic) {
        self.problems.add(diagnostic.at(self.span));
    }

    /// The value of `key` if it is there.
    pub fn node(&self, key: &'static str) -> Option<&'a Node> {
        self.known.borrow_mut().push(key);
        let (_, node) = self.entries.iter().find(|(given, _)| given.text == key)?;
        (!node.is_null()).then_some(node)
    }

    /// `None` if the key is absent; `Some(None)` if its value was refused.
    pub fn given<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&'a Node, &'a Problems) -> Option<T>,
    ) -> Option<Option<T>> {
        let node = self.node(key)?;
        if node.is_empty() {
            self.problems.add(
                Diagnostic::new(format!("'{}{key}' has no value", self.prefix))
                    .at(&self.key_span(key))
                    .help("write one, or remove the key"),
            );
            return Some(None);
        }
        Some(read(node, self.problems))
    }

    /// The value, or none if the key is absent.
    pub fn optional<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&'a Node, &'a Problems) -> Option<T>,
    ) -> Option<Option<T>> {
        self.given(key, read).map_or(Some(None), |read| read.map(Some))
    }

    /// The value, or `default` if the key is absent.
    pub fn or<T>(
        &self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&'a Node, &'a Problems) -> Option<T>,
    ) -> Option<T> {
        self.given(key, read).unwrap_or(Some(default))
    }

    /// The value; that it is absent is a problem.
    pub fn required<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&'a Node, &'a Problems) -> Option<T>,
    ) -> Option<T> {
        self.given(key, read).unwrap_or_else(|| {
            if !self.fragment {
                let name = format!("{}{key}", self.prefix);
                self.problems.add(
                    Diagnostic::new(format!("'{name}' is missing"))
                        .at(self.span)
                        .help("docs/profile.md describes it"),
                );
            }
            None
        })
    }

    /// A map below this one. An absent one reads as an empty one.
    pub fn section<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Fields<'_>) -> Option<T>,
    ) -> Option<T> {
        let prefix = format!("{}{key}.", self.prefix);
        let fields = match self.given(key, |node, _| Some(node)) {
            Some(node) => Self::open(node?, self.problems, self.fragment, prefix)?,
            None => Fields { prefix, entries: &[], known: RefCell::default(), ..*self },
        };
        let value = read(&fields);
        fields.finish();
        value
    }

    /// Complains about every key that was not asked for.
    pub fn finish(self) {
        let known = self.known.borrow();
        for (key, _) in self.entries.iter().filter(|(key, _)| !known.contains(&&*key.text)) {
            let mut names: Vec<&str> = known.clone();
            names.sort_unstable();
            self.problems.add(
                Diagnostic::new(format!(
                    "unknown key {}",
                    quoted(&format!("{}{}", self.prefix, key.text))
                ))
                .at(&key.span)
                .help(suggest(&key.text, names)),
            );
        }
    }

    fn key_span(&self, key: &str) -> Span {
        let entry = self.entries.iter().find(|(given, _)| given.text == key);
        entry.map_or(self.span, |(key, _)| &key.span).clone()
    }
}

/// Reads the maps below a map whose keys are names: `users.NAME`.
pub fn entries<K: Ord + Clone, T>(
    node: &Node,
    problems: &Problems,
    fragment: bool,
    name: impl Fn(&str) -> Result<K, Complaint>,
    read: impl Fn(&K, &Fields<'_>) -> Option<T>,
) -> Option<BTreeMap<K, T>> {
    by_name(node, problems, name, |key, name, node, problems| {
        let fields = Fields::open(node, problems, fragment, format!("{}.", key.text))?;
        let value = read(name, &fields);
        fields.finish();
        value
    })
}

/// Reads a map whose keys are names.
pub fn by_name<K: Ord + Clone, T>(
    node: &Node,
    problems: &Problems,
    name: impl Fn(&str) -> Result<K, Complaint>,
    read: impl Fn(&Key, &K, &Node, &Problems) -> Option<T>,
) -> Option<BTreeMap<K, T>> {
    let mut found = BTreeMap::new();
    for (key, node) in map(node, problems)? {
        if node.is_null() {
            continue;
        }
        let name = name(&key.text).map_err(|complaint| problems.add(complaint.at(&key.span)));
        if let Ok(name) = name
            && let Some(value) = read(key, &name, node, problems)
            && found.insert(name, value).is_some()
        {
            let title = format!("{} names the same thing as another key", quoted(&key.text));
            problems.add(Diagnostic::new(title).at(&key.span).help("remove one"));
        }
    }
    Some(found)
}

/// The entries of a map.
pub fn map<'a>(node: &'a Node, problems: &Problems) -> Option<&'a [(Key, Node)]> {
    match &node.value {
        Value::Map(entries) => Some(entries),
        other => mismatch("a map", other, node, problems),
    }
}

/// The items of a list.
pub fn items<'a>(node: &'a Node, problems: &Problems) -> Option<&'a [Node]> {
    match &node.value {
        Value::List(items) => Some(items),
        other => mismatch("a list", other, node, problems),
    }
}

/// A scalar's text; not `null` and not empty.
pub fn text<'a>(node: &'a Node, problems: &Problems) -> Option<&'a str> {
    match &node.value {
        Value::Scalar { .. } if node.is_null() || node.is_empty() => {
            problems.add(Diagnostic::new("expected text, found nothing").at(&node.span));
            None
        }
        Value::Scalar { text, .. } => Some(text),
        other => mismatch("text", other, node, problems),
    }
}

fn mismatch<T>(expected: &str, found: &Value, node: &Node, problems: &Problems) -> Option<T> {
    let found = match found {
        Value::Scalar { .. } if node.is_null() || node.is_empty() => "nothing",
        Value::Scalar { .. } => "text",
        Value::List(_) => "a list",
        Value::Map(_) => "a map",
        Value::Refused => return None,
    };
    problems.add(Diagnostic::new(format!("expected {expected}, found {found}")).at(&node.span));
    None
}

/// A scalar that `check` turns into a value.
pub fn checked<T>(
    check: impl Fn(&str) -> Result<T, Complaint>,
) -> impl Fn(&Node, &Problems) -> Option<T> {
    move |node, problems| match check(text(node, problems)?) {
        Ok(value) => Some(value),
        Err(complaint) => {
            problems.add(complaint.at(&node.span));
            None
        }
    }
}

/// A scalar in the text form of a type whose errors speak for themselves.
pub fn parsed<T>(node: &Node, problems: &Problems) -> Option<T>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    let parse = |text: &str| {
        text.parse().map_err(|error: T::Err| Complaint { what: error.to_string(), help: None })
    };
    checked(parse)(node, problems)
}

/// A list, each item read by `read`.
pub fn list<T>(
    read: impl Fn(&Node, &Problems) -> Option<T>,
) -> impl Fn(&Node, &Problems) -> Option<Vec<T>> {
    move |node, problems| {
        Some(items(node, problems)?.iter().filter_map(|item| read(item, problems)).collect())
    }
}

/// The version of the file's form.
pub fn schema(node: &Node, problems: &Problems) -> Option<()> {
    checked(|text| {
        let complaint = || {
            Complaint::new(
                format!("schema {} is not known", quoted(text)),
                "this kiln reads schema 1",
            )
        };
        (text == "1").then_some(()).ok_or_else(complaint)
    })(node, problems)
}

/// `true` or `false`.
pub fn switch(node: &Node, problems: &Problems) -> Option<bool> {
    choice(&[("true", true), ("false", false)])(node, problems)
}

/// One of a few words.
pub fn choice<T: Copy>(words: &[(&'static str, T)]) -> impl Fn(&Node, &Problems) -> Option<T> {
    checked(move |text| one_of(words, text))
}

/// The value that a word stands for.
pub fn one_of<T: Copy>(words: &[(&'static str, T)], text: &str) -> Result<T, Complaint> {
    let found = words.iter().find(|(word, _)| *word == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let help = suggest(text, words.iter().map(|(word, _)| *word));
        Complaint::new(format!("{} is not possible here", quoted(text)), help)
    })
}

/// A whole number.
pub fn number<T: TryFrom<u64>>(
    range: RangeInclusive<u64>,
) -> impl Fn(&Node, &Problems) -> Option<T> {
    checked(move |text| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| text.parse().ok()).flatten();
        number
            .filter(|number| range.contains(number))
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| Complaint {
                what: format!(
                    "expected a whole number from {} to {}, found {}",
                    range.start(),
                    range.end(),
                    quoted(text)
                ),
                help: None,
            })
    })
}

/// Any value, for templates. Plain `true`, `false`, `null` and JSON's numbers are what they look
/// like; everything else is text.
pub fn any(node: &Node, problems: &Problems) -> Option<serde_json::Value> {
    use serde_json::Value as Json;
    match &node.value {
        Value::Refused => None,
        Value::Scalar { text, plain: true } if node.is_null() || text.is_empty() => {
            Some(Json::Null)
        }
        Value::Scalar { text, plain: true } => Some(match text.as_str() {
            "true" => Json::Bool(true),
            "false" => Json::Bool(false),
            _ => text.parse().map_or_else(|_| Json::String(text.clone()), Json::Number),
        }),
        Value::Scalar { text, plain: false } => Some(Json::String(text.clone())),
        Value::List(_) => list(any)(node, problems).map(Json::Array),
        Value::Map(entries) => {
            let read = |(key, node): &(Key, Node)| Some((key.text.clone(), any(node, problems)?));
            Some(Json::Object(entries.iter().filter_map(read).collect()))
        }
    }
}
