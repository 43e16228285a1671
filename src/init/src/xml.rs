// SPDX-License-Identifier: Apache-2.0
//! The part of XML 1.0 that an OVF environment needs: elements and attributes.
//!
//! Document types are refused, and with them every entity of their own: no expansion, no file, no
//! address. Text between elements is skipped.

use crate::yaml::{DOCUMENT_MAX, text_of};

const ELEMENTS_MAX: usize = 4096;
const ATTRIBUTES_MAX: usize = 32;
const DEPTH_MAX: usize = 64;

/// An element with its attributes, in the order of the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// Without the prefix.
    pub name: String,
    /// Names without prefixes, values with their references replaced.
    pub attributes: Vec<(String, String)>,
    pub line: usize,
    /// Elements around it.
    pub depth: usize,
}

/// Why a document is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Error {
    line: usize,
    what: String,
}

/// Every element of a document.
///
/// # Errors
/// It is not well-formed, has a document type, or is larger than its limits.
pub fn parse(bytes: &[u8]) -> Result<Vec<Element>, Error> {
    let text = text_of(bytes).map_err(|problem| Error { line: 1, what: problem.message })?;
    let mut reader = Reader { text, rest: text };
    let mut elements = Vec::new();
    let mut open: Vec<&str> = Vec::new();
    while let Some(at) = reader.rest.find('<') {
        let between = reader.take(at);
        if open.is_empty() && !between.trim().is_empty() {
            return Err(reader.error("expected an element, found text"));
        }
        check_references(between).map_err(|what| reader.error(what))?;
        if reader.skip("<?") {
            reader.until("?>")?;
        } else if reader.skip("<!--") {
            reader.until("-->")?;
        } else if reader.skip("<![CDATA[") {
            reader.until("]]>")?;
        } else if reader.rest.starts_with("<!") {
            return Err(reader.error("document types and entities are not accepted"));
        } else if reader.skip("</") {
            let name = reader.until(">")?.trim_end();
            if open.pop() != Some(name) {
                return Err(reader.error("an element ends that did not begin"));
            }
        } else {
            reader.skip("<");
            if open.is_empty() && !elements.is_empty() {
                return Err(reader.error("expected one element at the top, found another"));
            }
            let (element, name, is_closed) = reader.element(open.len())?;
            elements.push(element);
            if elements.len() > ELEMENTS_MAX {
                return Err(reader.error(format!("more than {ELEMENTS_MAX} elements")));
            }
            if !is_closed {
                open.push(name);
            }
            if open.len() > DEPTH_MAX {
                return Err(reader.error(format!("nested deeper than {DEPTH_MAX}")));
            }
        }
    }
    if !reader.rest.trim().is_empty() {
        return Err(reader.error("expected an element, found text"));
    }
    match open.last() {
        Some(_) => Err(reader.error("it ends inside an element")),
        None => Ok(elements),
    }
}

struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn error(&self, what: impl Into<String>) -> Error {
        let read = self.text.len() - self.rest.len();
        let line = self.text.get(..read).unwrap_or("").matches('\n').count() + 1;
        Error { line, what: what.into() }
    }

    /// The next bytes, which end at a character.
    fn take(&mut self, n: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(n).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }

    fn skip(&mut self, what: &str) -> bool {
        let rest = self.rest.strip_prefix(what);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn until(&mut self, end: &str) -> Result<&'a str, Error> {
        let Some(at) = self.rest.find(end) else {
            return Err(self.error(format!("expected '{end}', found the end")));
        };
        let taken = self.take(at);
        self.take(end.len());
        Ok(taken)
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
    }

    /// A name with its prefix.
    fn name(&mut self) -> Result<&'a str, Error> {
        let part = |c: char| c.is_alphanumeric() || matches!(c, ':' | '_' | '-' | '.');
        let end = self.rest.find(|c| !part(c)).unwrap_or(self.rest.len());
        match self.take(end) {
            "" => Err(self.error("expected a name")),
            name => Ok(name),
        }
    }

    /// What stands behind `<`: the element, its name as written, and whether it ends at once.
    fn element(&mut self, depth: usize) -> Result<(Element, &'a str, bool), Error> {
        let line = self.error("").line;
        let name = self.name()?;
        let mut attributes: Vec<(String, String)> = Vec::new();
        loop {
            self.skip_blanks();
            let is_closed = self.skip("/>");
            if is_closed || self.skip(">") {
                let name_alone = local(name).to_owned();
                return Ok((
                    Element { name: name_alone, attributes, line, depth },
                    name,
                    is_closed,
                ));
            }
            let key = self.name()?;
            self.skip_blanks();
            if !self.skip("=") {
                return Err(self.error("expected '=' behind an attribute's name"));
            }
            self.skip_blanks();
            let quote = if self.skip("\"") {
                "\""
            } else if self.skip("'") {
                "'"
            } else {
                return Err(self.error("expected a value in quotes"));
            };
            let value = self.until(quote)?;
            if value.contains('<') {
                return Err(self.error("expected '&lt;' inside a value, found '<'"));
            }
            let value = replace_references(value).map_err(|what| self.error(what))?;
            attributes.push((local(key).to_owned(), value));
            if attributes.len() > ATTRIBUTES_MAX {
                return Err(self.error(format!("more than {ATTRIBUTES_MAX} attributes")));
            }
        }
    }
}

/// A name without its prefix.
fn local(name: &str) -> &str {
    name.rsplit(':').next().unwrap_or(name)
}

fn check_references(text: &str) -> Result<(), String> {
    replace_references(text).map(drop)
}

/// The text with the five predefined entities and numeric references replaced.
fn replace_references(text: &str) -> Result<String, String> {
    let mut replaced = String::with_capacity(text.len().min(DOCUMENT_MAX));
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        replaced.push_str(before);
        let (name, behind) = after.split_once(';').ok_or("expected ';' behind '&'")?;
        let number = match (name.strip_prefix("#x"), name.strip_prefix('#')) {
            (Some(hex), _) => u32::from_str_radix(hex, 16).ok().and_then(char::from_u32),
            (None, Some(decimal)) => decimal.parse().ok().and_then(char::from_u32),
            (None, None) => None,
        };
        replaced.push(match (name, number) {
            ("amp", _) => '&',
            ("lt", _) => '<',
            ("gt", _) => '>',
            ("quot", _) => '"',
            ("apos", _) => '\'',
            (_, Some(character)) if character != '\0' => character,
            _ => return Err("an entity that is not predefined is not accepted".to_owned()),
        });
        rest = behind;
    }
    replaced.push_str(rest);
    Ok(replaced)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refusal(text: &str) -> String {
        parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn elements_and_attributes_are_read() {
        let text = "<?xml version='1.0'?>\n<!-- c --><a:b x:y=\"1 &amp; &#50;&#x33;\">\n text <c/><![CDATA[<]]></a:b>\n";
        let elements = parse(text.as_bytes()).unwrap();
        assert_eq!(
            elements,
            [
                Element {
                    name: "b".into(),
                    attributes: vec![("y".into(), "1 & 23".into())],
                    line: 2,
                    depth: 0
                },
                Element { name: "c".into(), attributes: vec![], line: 3, depth: 1 },
            ]
        );
    }

    #[test]
    fn what_is_not_plain_xml_is_refused() {
        for (text, message) in [
            (
                "<!DOCTYPE a [<!ENTITY b \"c\">]><a/>",
                "line 1: document types and entities are not accepted",
            ),
            ("<a>\n&b;</a>", "line 2: an entity that is not predefined is not accepted"),
            ("<a b=\"&c;\"/>", "line 1: an entity that is not predefined is not accepted"),
            ("<a b=\"&#0;\"/>", "line 1: an entity that is not predefined is not accepted"),
            ("hello", "line 1: expected an element, found text"),
            ("<a></b>", "line 1: an element ends that did not begin"),
            ("<a>", "line 1: it ends inside an element"),
            ("<a/><b/>", "line 1: expected one element at the top, found another"),
            ("<a b=c/>", "line 1: expected a value in quotes"),
            ("<a b/>", "line 1: expected '=' behind an attribute's name"),
            ("<a b=\"<\"/>", "line 1: expected '&lt;' inside a value, found '<'"),
            ("<a", "line 1: expected a name"),
            ("< a/>", "line 1: expected a name"),
            ("<!-- a", "line 1: expected '-->', found the end"),
        ] {
            assert_eq!(refusal(text), message, "{text}");
        }
        assert_eq!(refusal(&"<a>".repeat(65)), "line 1: nested deeper than 64");
        assert_eq!(
            refusal(&format!("<a>{}</a>", "<b/>".repeat(4096))),
            "line 1: more than 4096 elements"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[<>/a&;=\"' !?\\[\\]-]{0,60}") {
            let _ = parse(text.as_bytes());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }
    }
}
