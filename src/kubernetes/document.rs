// SPDX-License-Identifier: Apache-2.0
//! YAML as we write it: maps keep their order, and a text is quoted unless nothing can misread it.

use std::fmt::{self, Write as _};

/// A value of a YAML document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Number(i64),
    Switch(bool),
    List(Vec<Value>),
    Map(Vec<(String, Value)>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Value {
    fn from(switch: bool) -> Self {
        Self::Switch(switch)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<Vec<Value>> for Value {
    fn from(list: Vec<Value>) -> Self {
        Self::List(list)
    }
}

/// A map in the order given.
pub fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// A list of texts.
pub fn texts<'a>(items: impl IntoIterator<Item = &'a str>) -> Value {
    Value::List(items.into_iter().map(Value::from).collect())
}

impl Value {
    /// The same with one more entry, if it is a map.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        if let Self::Map(entries) = &mut self {
            entries.push((key.to_owned(), value.into()));
        }
        self
    }

    /// The entry of a map.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Self::Map(entries) = self else { return None };
        entries.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    fn write(&self, out: &mut String, indent: usize) {
        match self {
            Self::Map(entries) if !entries.is_empty() => {
                for (index, (key, value)) in entries.iter().enumerate() {
                    if index > 0 {
                        pad(out, indent);
                    }
                    out.push_str(&scalar(key));
                    out.push(':');
                    value.write_after(out, indent);
                }
            }
            Self::List(items) if !items.is_empty() => {
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        pad(out, indent);
                    }
                    out.push_str("- ");
                    item.write(out, indent + 2);
                }
            }
            scalar => {
                out.push_str(&scalar.inline());
                out.push('\n');
            }
        }
    }

    /// What follows a key's colon.
    fn write_after(&self, out: &mut String, indent: usize) {
        let below = match self {
            Self::Map(entries) => !entries.is_empty(),
            Self::List(items) => !items.is_empty(),
            _ => false,
        };
        if below {
            out.push('\n');
            pad(out, indent + 2);
            self.write(out, indent + 2);
        } else {
            out.push(' ');
            self.write(out, indent);
        }
    }

    fn inline(&self) -> String {
        match self {
            Self::Text(text) => scalar(text),
            Self::Number(number) => number.to_string(),
            Self::Switch(switch) => switch.to_string(),
            Self::List(_) => "[]".to_owned(),
            Self::Map(_) => "{}".to_owned(),
        }
    }
}

fn pad(out: &mut String, indent: usize) {
    let _ = write!(out, "{:indent$}", "");
}

/// A text plain if YAML 1.1 and 1.2 read it as that text, else in double quotes as JSON has them.
fn scalar(text: &str) -> String {
    const WORDS: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    let first = text.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '/');
    let rest = text.chars().all(|c| c.is_ascii_alphanumeric() || "./-_".contains(c));
    if first && rest && !WORDS.contains(&&*text.to_ascii_lowercase()) {
        return text.to_owned();
    }
    serde_json::to_string(text).expect("a text is JSON")
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        self.write(&mut out, 0);
        f.write_str(&out)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(value: &Value) -> serde_json::Value {
        match value {
            Value::Text(text) => text.as_str().into(),
            Value::Number(number) => (*number).into(),
            Value::Switch(switch) => (*switch).into(),
            Value::List(items) => items.iter().map(json).collect(),
            Value::Map(entries) => {
                entries.iter().map(|(key, value)| (key.clone(), json(value))).collect()
            }
        }
    }

    #[test]
    fn documents_are_block_style_with_safe_scalars() {
        let document = map([
            ("kind", "Config".into()),
            ("users", Value::List(vec![map([("name", "system:x".into()), ("user", map([]))])])),
            ("on", "off".into()),
            ("count", 3.into()),
            ("none", Value::List(Vec::new())),
            ("version", "1.20".into()),
        ]);
        let expected = "kind: Config\nusers:\n  - name: \"system:x\"\n    user: {}\n\"on\": \"off\"\ncount: 3\nnone: []\nversion: \"1.20\"\n";
        assert_eq!(document.to_string(), expected);
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<String>().prop_map(Value::Text),
            "[a-zA-Z0-9:#{} .-]{0,12}".prop_map(Value::Text),
            any::<i64>().prop_map(Value::Number),
            any::<bool>().prop_map(Value::Switch),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
                prop::collection::btree_map("[a-z]{1,4}", inner, 0..4)
                    .prop_map(|map| Value::Map(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn other_readers_read_what_was_written(value in values()) {
            let text = value.to_string();
            let read: serde_json::Value = serde_saphyr::from_str(&text)
                .map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
            prop_assert_eq!(read, json(&value), "{}", text);
        }
    }
}
