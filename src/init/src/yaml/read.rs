// SPDX-License-Identifier: Apache-2.0
//! Reading a tree with expectations: each refusal names the key, the line, what was expected and
//! what was found.

use std::{fmt::Display, ops::RangeInclusive, str::FromStr};

use super::{Kind, Node, Problem, Scalar, printable};

/// A node with the path of keys that led to it.
#[derive(Debug, Clone)]
pub struct At<'a> {
    node: &'a Node,
    path: String,
    /// Where its key stands, or the node itself if it has none.
    key_line: usize,
}

/// The entries of a map whose keys are all known.
#[derive(Debug)]
pub struct Fields<'a> {
    entries: Vec<(&'a str, At<'a>)>,
}

impl<'a> At<'a> {
    pub fn root(node: &'a Node) -> Self {
        Self { node, path: String::new(), key_line: node.line }
    }

    /// A problem of this node.
    pub fn problem(&self, message: impl Display) -> Problem {
        Problem { line: self.node.line, key: printable(&self.path), message: message.to_string() }
    }

    /// A problem of the key: its value may begin lines below.
    pub fn key_problem(&self, message: impl Display) -> Problem {
        Problem { line: self.key_line, ..self.problem(message) }
    }

    pub fn line(&self) -> usize {
        self.node.line
    }

    pub fn node(&self) -> &'a Node {
        self.node
    }

    fn expected(&self, expected: impl Display) -> Problem {
        self.problem(format!("expected {expected}, found {}", describe(self.node)))
    }

    /// The entries of a map, in the document's order.
    pub fn entries(&self) -> Result<Vec<(&'a str, Self)>, Problem> {
        let Kind::Map(entries) = &self.node.kind else {
            return Err(self.expected("a map"));
        };
        let below = |key: &str| match &*self.path {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        };
        Ok(entries
            .iter()
            .map(|(key, node)| {
                (&*key.text, Self { node, path: below(&key.text), key_line: key.line })
            })
            .collect())
    }

    /// The entries of a map that may only have `known` keys.
    pub fn fields(&self, known: &[&str]) -> Result<Fields<'a>, Problem> {
        let Kind::Map(raw) = &self.node.kind else {
            return Err(self.expected("a map"));
        };
        if let Some((key, _)) = raw.iter().find(|(key, _)| !known.contains(&&*key.text)) {
            let hint = match nearest(&key.text, known) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("expected one of: {}", known.join(", ")),
            };
            return Err(Problem {
                line: key.line,
                key: printable(&self.path),
                message: format!("unknown key '{}'; {hint}", printable(&key.text)),
            });
        }
        Ok(Fields { entries: self.entries()? })
    }

    pub fn items(&self) -> Result<Vec<Self>, Problem> {
        let Kind::List(items) = &self.node.kind else {
            return Err(self.expected("a list"));
        };
        let item = |(index, node): (usize, &'a Node)| Self {
            node,
            path: format!("{}[{index}]", self.path),
            key_line: node.line,
        };
        Ok(items.iter().enumerate().map(item).collect())
    }

    pub fn is_null(&self) -> bool {
        matches!(&self.node.kind, Kind::Scalar(scalar) if scalar.is_null())
    }

    /// The path of keys, printable.
    pub fn path(&self) -> String {
        printable(&self.path)
    }

    pub fn is_map(&self) -> bool {
        matches!(self.node.kind, Kind::Map(_))
    }

    pub fn is_list(&self) -> bool {
        matches!(self.node.kind, Kind::List(_))
    }

    fn scalar(&self, expected: &str) -> Result<&'a Scalar, Problem> {
        match &self.node.kind {
            Kind::Scalar(scalar) if !scalar.is_null() => Ok(scalar),
            _ => Err(self.expected(expected)),
        }
    }

    /// The scalar's text, whatever type YAML would give it. One line, no control characters.
    pub fn text(&self, expected: &str) -> Result<&'a str, Problem> {
        let scalar = self.scalar(expected)?;
        match scalar.text.chars().find(|c| c.is_control()) {
            Some(c) => Err(self.problem(format!(
                "expected {expected}, found the control character '{}'",
                c.escape_debug()
            ))),
            None => Ok(&scalar.text),
        }
    }

    /// The scalar's text with all its lines.
    pub fn body(&self, expected: &str) -> Result<&'a str, Problem> {
        Ok(&self.scalar(expected)?.text)
    }

    /// As [`At::text`], but what YAML takes for a number or a boolean is refused.
    pub fn string(&self, expected: &str) -> Result<&'a str, Problem> {
        let scalar = self.scalar(expected)?;
        if scalar.integer().is_some() || scalar.boolean().is_some() {
            return Err(self.expected(expected));
        }
        self.text(expected)
    }

    /// A boolean; the quoted words count as well.
    pub fn boolean(&self) -> Result<bool, Problem> {
        let scalar = self.scalar("true or false")?;
        let unquoted = Scalar { text: scalar.text.clone(), plain: true };
        unquoted.boolean().ok_or_else(|| self.expected("true or false"))
    }

    pub fn integer(&self, range: RangeInclusive<i64>) -> Result<i64, Problem> {
        let expected = || format!("a number from {} to {}", range.start(), range.end());
        let scalar = self.scalar(&expected())?;
        let unquoted = Scalar { text: scalar.text.clone(), plain: true };
        unquoted
            .integer()
            .filter(|number| range.contains(number))
            .ok_or_else(|| self.expected(expected()))
    }

    /// A value that has a text form.
    pub fn parse<T: FromStr>(&self, expected: &str) -> Result<T, Problem> {
        self.text(expected)?.parse().map_err(|_| self.expected(expected))
    }
}

impl<'a> Fields<'a> {
    /// The value of `key`, unless it is absent or null.
    pub fn get(&self, key: &str) -> Option<&At<'a>> {
        let (_, at) = self.entries.iter().find(|(name, _)| *name == key)?;
        match &at.node.kind {
            Kind::Scalar(scalar) if scalar.is_null() => None,
            _ => Some(at),
        }
    }
}

/// What stands there, for the reader; long texts are cut.
fn describe(node: &Node) -> String {
    match &node.kind {
        Kind::List(_) => "a list".to_owned(),
        Kind::Map(_) => "a map".to_owned(),
        Kind::Scalar(scalar) if scalar.is_null() => "nothing".to_owned(),
        Kind::Scalar(scalar) => {
            let cut: String = scalar.text.chars().take(60).collect();
            let more = if cut.len() < scalar.text.len() { "…" } else { "" };
            format!("'{}{more}'", printable(&cut))
        }
    }
}

/// The known key that `key` was probably meant to be: at most two edits away.
fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    let folded = key.to_lowercase().replace('_', "-");
    known
        .iter()
        .map(|candidate| (distance(&folded, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= 2 && *distance < candidate.len())
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance; keys are short, and a long one is near nothing.
fn distance(a: &str, b: &str) -> usize {
    if a.len() > 64 {
        return usize::MAX;
    }
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}
