// SPDX-License-Identifier: Apache-2.0
//! Stanzas of `Field: value` lines: deb822(5), as `Release`, `Packages` and `control` use it.
//!
//! The parser borrows from the text and is strict: these files are made by programs, so a line
//! that is not a field, a continuation or a separator is a defect and is refused with its
//! number. Comments exist only in files that people write, so `#` begins no field here.

/// One stanza: its fields in the order of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stanza<'a> {
    /// Line of the first field, counted from 1.
    pub line: usize,
    fields: Vec<(&'a str, &'a str)>,
}

/// Why a text is not made of stanzas.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("line {line} is no field: '{}'", .text.escape_debug())]
    NoField { line: usize, text: String },
    #[error("line {line} continues a field, but none stands above it")]
    NoFieldAbove { line: usize },
    #[error("line {line}: field '{name}' is there twice in one stanza")]
    Duplicate { line: usize, name: String },
    #[error("expected one stanza, found {found}")]
    NotOne { found: usize },
}

impl<'a> Stanza<'a> {
    /// The value of a field; the case of its name does not matter. A value of several lines
    /// keeps its line ends and the blanks that begin its lines.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.fields
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }

    /// Names and values in the order of the text.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.fields.iter().copied()
    }
}

/// The stanzas of `text`, in order. Nothing follows an error.
pub fn stanzas(text: &str) -> Stanzas<'_> {
    Stanzas { text, position: 0, line: 0 }
}

/// The stanza of a text that has exactly one, such as `Release` and `control`.
///
/// # Errors
/// No stanza, several, or a malformed one.
pub fn single(text: &str) -> Result<Stanza<'_>, Error> {
    let mut all = stanzas(text).collect::<Result<Vec<_>, _>>()?;
    match all.pop() {
        Some(stanza) if all.is_empty() => Ok(stanza),
        stanza => Err(Error::NotOne { found: all.len() + usize::from(stanza.is_some()) }),
    }
}

/// Iterator of [`stanzas`].
#[derive(Debug, Clone)]
pub struct Stanzas<'a> {
    text: &'a str,
    position: usize,
    line: usize,
}

impl<'a> Stanzas<'a> {
    /// The next line with its place in the text, without its end.
    fn next_line(&mut self) -> Option<(usize, &'a str)> {
        let start = self.position;
        let rest = self.text.get(start..).filter(|rest| !rest.is_empty())?;
        let end = rest.find('\n');
        self.position = end.map_or(self.text.len(), |end| start + end + 1);
        self.line += 1;
        Some((start, &rest[..end.unwrap_or(rest.len())]))
    }

    fn stanza(&mut self) -> Result<Option<Stanza<'a>>, Error> {
        // The value's bounds are kept until the field ends, because lines may still follow.
        let mut fields: Vec<(&'a str, (usize, usize))> = Vec::new();
        let mut first_line = 0;
        while let Some((start, line)) = self.next_line() {
            if line.trim_ascii().is_empty() {
                if fields.is_empty() {
                    continue;
                }
                break;
            }
            let end = start + line.len();
            if line.starts_with([' ', '\t']) {
                let (_, bounds) =
                    fields.last_mut().ok_or(Error::NoFieldAbove { line: self.line })?;
                bounds.1 = end;
                continue;
            }
            let name = field_name(line)
                .ok_or_else(|| Error::NoField { line: self.line, text: shorten(line) })?;
            if fields.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
                return Err(Error::Duplicate { line: self.line, name: name.to_owned() });
            }
            if fields.is_empty() {
                first_line = self.line;
            }
            fields.push((name, (start + name.len() + 1, end)));
        }
        if fields.is_empty() {
            return Ok(None);
        }
        let text = self.text;
        let fields = fields.into_iter().map(|(name, (start, end))| (name, trim(&text[start..end])));
        Ok(Some(Stanza { line: first_line, fields: fields.collect() }))
    }
}

impl<'a> Iterator for Stanzas<'a> {
    type Item = Result<Stanza<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = self.stanza().transpose();
        if matches!(result, Some(Err(_))) {
            self.position = self.text.len();
        }
        result
    }
}

/// The name before the colon: printable ASCII, not beginning with `#` or `-`.
fn field_name(line: &str) -> Option<&str> {
    let (name, _) = line.split_once(':')?;
    let valid = !name.is_empty()
        && !name.starts_with(['#', '-'])
        && name.bytes().all(|byte| byte.is_ascii_graphic());
    valid.then_some(name)
}

/// Takes blanks off both ends of a value, and nothing off its inner lines.
fn trim(value: &str) -> &str {
    value.trim_start_matches([' ', '\t']).trim_end_matches([' ', '\t', '\r', '\n'])
}

fn shorten(line: &str) -> String {
    line.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stanzas_and_continuations_are_told_apart() {
        let text = "\n\nPackage: a\nDepends:  b,\n c \nEmpty:\n \n\t\nPackage: d\n";
        let all: Vec<_> = stanzas(text).collect::<Result<_, _>>().expect("valid");
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].line, 3);
        assert_eq!(all[0].get("package"), Some("a"));
        assert_eq!(all[0].get("Depends"), Some("b,\n c"));
        assert_eq!(all[0].get("Empty"), Some(""));
        assert_eq!(all[0].get("Pre-Depends"), None);
        assert_eq!(all[1].line, 9);
        assert_eq!(all[1].fields().collect::<Vec<_>>(), [("Package", "d")]);
    }

    #[test]
    fn a_value_on_following_lines_keeps_them() {
        let stanza = single("SHA256:\n 00 1 a\n 11 2 b").expect("valid");
        assert_eq!(stanza.get("SHA256"), Some("\n 00 1 a\n 11 2 b"));
    }

    #[test]
    fn malformed_text_is_refused_with_its_line() {
        let error = |text| stanzas(text).find_map(Result::err).expect("refused");
        assert_eq!(error("A: 1\nnothing\n"), Error::NoField { line: 2, text: "nothing".into() });
        assert_eq!(error("\n x\n"), Error::NoFieldAbove { line: 2 });
        assert_eq!(error("# c: 1\n"), Error::NoField { line: 1, text: "# c: 1".into() });
        assert_eq!(error("A: 1\na: 2\n"), Error::Duplicate { line: 2, name: "a".into() });
        assert_eq!(single("").err(), Some(Error::NotOne { found: 0 }));
        assert_eq!(single("A: 1\n\nA: 2\n").err(), Some(Error::NotOne { found: 2 }));
    }

    proptest! {
        #[test]
        fn printed_stanzas_are_read_back(
            stanzas_in in prop::collection::vec(
                prop::collection::btree_map("[A-Z][a-z]{1,4}", "[a-z0-9,(]{0,8}", 1..5), 0..5,
            ),
        ) {
            let text: String = stanzas_in
                .iter()
                .map(|fields| {
                    let lines: String =
                        fields.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
                    lines + "\n"
                })
                .collect();
            let read: Vec<_> = stanzas(&text).collect::<Result<_, _>>().expect("valid");
            prop_assert_eq!(read.len(), stanzas_in.len());
            for (stanza, fields) in read.iter().zip(&stanzas_in) {
                for (name, value) in fields {
                    prop_assert_eq!(stanza.get(name), Some(value.as_str()));
                }
            }
        }

        #[test]
        fn any_text_ends_without_panic(text in "(\\PC|\n|:| ){0,80}") {
            prop_assert!(stanzas(&text).count() <= 81);
        }
    }
}
