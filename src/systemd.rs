// SPDX-License-Identifier: Apache-2.0
//! Units and drop-ins as text: sections with settings, a line each (systemd.syntax(7)).
//!
//! What a setting means is systemd's; a value stands as it is given, so `%` and `$` in it are
//! systemd's too. What a program must get as it is goes through [`word`].

use std::fmt::{Display, Write as _};

/// A setting with its value, for lists that several units have.
pub type Setting = (&'static str, &'static str);

/// A unit, or a drop-in for one, as far as it is written.
#[derive(Debug)]
pub struct Unit(String);

impl Unit {
    /// Begins with a section.
    pub fn begin(section: &str) -> Self {
        Self(format!("[{section}]\n"))
    }

    /// A unit of its own, which says what it is.
    pub fn new(description: &str) -> Self {
        Self::begin("Unit").set("Description", description)
    }

    /// The next section.
    #[must_use]
    pub fn section(mut self, name: &str) -> Self {
        self.0 += &format!("\n[{name}]\n");
        self
    }

    /// A setting; with an empty value it takes back what was set before, where it is a list.
    ///
    /// # Panics
    /// The value is more than a line: it would set something else too.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Display) -> Self {
        let start = self.0.len();
        writeln!(self.0, "{key}={value}").expect("a text grows");
        let line = &self.0[start..self.0.len() - 1];
        assert!(!line.contains(['\n', '\r']) && !line.ends_with('\\'), "one line: {line:?}");
        self
    }

    #[must_use]
    pub fn set_all(self, settings: &[Setting]) -> Self {
        settings.iter().fold(self, |unit, (key, value)| unit.set(key, value))
    }

    /// The text of a drop-in.
    pub fn text(self) -> String {
        self.0
    }

    /// The text of a unit that the boot starts once it is enabled.
    pub fn wanted(self) -> String {
        self.section("Install").set("WantedBy", "multi-user.target").text()
    }
}

/// One word of a command line, which the program gets as it is (systemd.service(5), COMMAND
/// LINES): specifiers and variables doubled, in quotes if it needs them.
pub fn word(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    let text = text.replace('%', "%%").replace('$', "$$");
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, ';' | '\'' | '"' | '\\');
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text,
        false => format!("\"{text}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_sections_of_settings() {
        let unit = Unit::new("A thing")
            .section("Service")
            .set("ExecStart", "")
            .set("ExecStart", format_args!("/bin/{}", "thing"))
            .set_all(&[("NoNewPrivileges", "yes"), ("CapabilityBoundingSet", "")]);
        let text = "[Unit]\nDescription=A thing\n\n[Service]\nExecStart=\nExecStart=/bin/thing\n\
                    NoNewPrivileges=yes\nCapabilityBoundingSet=\n\n[Install]\nWantedBy=multi-user.target\n";
        assert_eq!(unit.wanted(), text);
    }

    #[test]
    fn no_value_sets_something_else_too() {
        for value in ["a\nExecStartPre=b", "a\r", "a \\"] {
            let result = std::panic::catch_unwind(|| Unit::new(value).text());
            assert!(result.is_err(), "{value:?}");
        }
    }

    /// As systemd reads it: quotes and escapes first, then `%%` and `$$`.
    #[test]
    fn a_word_stays_what_it_is() {
        for (text, word_of_it) in [
            ("--v=2", "--v=2"),
            ("a b", "\"a b\""),
            ("", "\"\""),
            (";", "\";\""),
            ("it's", "\"it's\""),
            ("50%", "50%%"),
            ("${HOME}", "$${HOME}"),
            ("a\"b", "\"a\\\"b\""),
            ("a\\nb", "\"a\\\\nb\""),
            ("é", "\"é\""),
        ] {
            assert_eq!(word(text), word_of_it);
        }
    }
}
