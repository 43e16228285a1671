// SPDX-License-Identifier: Apache-2.0
//! First-boot templates: Jinja as cloud-init's users know it, by minijinja.
//!
//! The builder compiles and test-renders every template with this engine, the node renders it
//! with the same one. `trim_blocks` on, `lstrip_blocks` off, the last newline kept, nothing
//! escaped, methods of Python's strings and dicts. Different from cloud-init on purpose: printing
//! something undefined is an error, and so is printing none, a list or a map without a filter.
//!
//! Error texts never hold values: a template's own text is public, metadata is not.

use std::{collections::BTreeMap, collections::BTreeSet, io, ops::Range};

use minijinja::{
    AutoEscape, Environment, ErrorKind, UndefinedBehavior,
    syntax::SyntaxConfig,
    value::{Serde, Value, ValueKind},
};

use crate::{base64, handoff::Phase};

/// Instructions of one rendering; ten times what the largest template we know needs.
const FUEL: u64 = 1_000_000;
/// Bytes that one template may give.
const OUTPUT_MAX: usize = 1 << 20;
/// The name that only exists once the network is up.
const NETWORK: &str = "network";
/// Names that the engine itself defines.
const GLOBALS: [&str; 3] = ["range", "dict", "namespace"];

/// Compiled templates.
#[derive(Debug)]
pub struct Engine {
    environment: Environment<'static>,
    sources: BTreeMap<String, Source>,
}

/// A template's text without its header line.
#[derive(Debug)]
struct Source {
    text: String,
    header_lines: usize,
}

/// Why a template was refused: where, and what, without any value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct Error {
    /// The name that the template was added with.
    pub file: String,
    pub line: usize,
    pub message: String,
}

impl Default for Engine {
    fn default() -> Self {
        Self::new()
    }
}

impl Engine {
    pub fn new() -> Self {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).keep_trailing_newline(true).build();
        environment.set_syntax(syntax.expect("these options do not conflict"));
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        environment.set_fuel(Some(FUEL));
        environment.set_debug(false);
        // It prints the whole context.
        environment.remove_global("debug");
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_formatter(print);
        environment.add_filter("b64encode", |text: String| base64::encode(text.as_bytes()));
        environment.add_filter("b64decode", b64decode);
        Self { environment, sources: BTreeMap::new() }
    }

    /// Compiles `source`; the name is what errors show. A first line `## template: jinja` is
    /// accepted and left out.
    ///
    /// # Errors
    /// The template has a syntax error, or its header asks for another engine.
    pub fn add(&mut self, name: &str, source: &str) -> Result<(), Error> {
        let source = strip_header(source).map_err(|message| Error {
            file: name.to_owned(),
            line: 1,
            message,
        })?;
        let text = source.text.clone();
        self.sources.insert(name.to_owned(), source);
        self.environment
            .add_template_owned(name.to_owned(), text)
            .map_err(|error| self.explain(name, &error))
    }

    /// Names that the template takes from outside, with simple attributes: `vars.priority`.
    /// Empty for a template that was not added.
    pub fn undeclared(&self, name: &str) -> BTreeSet<String> {
        let Ok(template) = self.environment.get_template(name) else {
            return BTreeSet::new();
        };
        let mut names: BTreeSet<String> = template.undeclared_variables(true).into_iter().collect();
        names.retain(|name| !GLOBALS.contains(&name.as_str()));
        names
    }

    /// When the template can be rendered: one that uses `network` waits for the network.
    pub fn phase(&self, name: &str) -> Phase {
        let uses_network = self
            .undeclared(name)
            .iter()
            .any(|name| name.split('.').next().is_some_and(|first| first == NETWORK));
        if uses_network { Phase::Network } else { Phase::Initramfs }
    }

    /// Renders a template with `values`, a map.
    ///
    /// # Errors
    /// Anything undefined is printed, a filter is unknown or fails, or the output is too large.
    pub fn render(&self, name: &str, values: &serde_json::Value) -> Result<String, Error> {
        let template =
            self.environment.get_template(name).map_err(|error| self.explain(name, &error))?;
        let mut output = Capped(Vec::new());
        template
            .render_captured_to(Value::from(Serde(values)), &mut output)
            .map_err(|error| self.explain(name, &error))?;
        String::from_utf8(output.0).map_err(|_| Error {
            file: name.to_owned(),
            line: 1,
            message: "the output is not UTF-8".to_owned(),
        })
    }

    /// The error without the values that the engine's own text may hold.
    fn explain(&self, name: &str, error: &minijinja::Error) -> Error {
        let file = error.name().unwrap_or(name).to_owned();
        let source = self.sources.get(&file);
        let excerpt =
            source.and_then(|source| excerpt(&source.text, error.range()?)).map(str::to_owned);
        let public = match error.kind() {
            // Only the template's own words are in the details of these.
            ErrorKind::SyntaxError
            | ErrorKind::UnknownFilter
            | ErrorKind::UnknownTest
            | ErrorKind::UnknownFunction
            | ErrorKind::WriteFailure => error.detail(),
            _ => error.detail().and_then(|detail| detail.strip_prefix(OURS)),
        };
        let message = match (error.kind(), public, excerpt) {
            (ErrorKind::WriteFailure, ..) => {
                format!("the output is larger than {OUTPUT_MAX} bytes")
            }
            (ErrorKind::OutOfFuel, ..) => format!("the template takes more than {FUEL} steps"),
            (ErrorKind::UndefinedError, _, Some(text)) => format!("'{text}' is undefined"),
            (ErrorKind::InvalidOperation, Some(detail), Some(text)) => format!("'{text}' {detail}"),
            (kind, Some(detail), _) => format!("{kind}: {detail}"),
            (kind, None, Some(text)) => format!("{kind} in '{text}'"),
            (kind, None, None) => kind.to_string(),
        };
        let line = error.line().unwrap_or(1) + source.map_or(0, |source| source.header_lines);
        Error { file, line, message }
    }
}

/// Marks details of our own errors, which hold no values.
const OURS: &str = "\u{1}";

fn refuse(detail: &str) -> minijinja::Error {
    minijinja::Error::new(ErrorKind::InvalidOperation, format!("{OURS}{detail}"))
}

/// Prints scalars only: `true` and not `True`; the form of anything else depends on the file.
fn print(
    output: &mut minijinja::Output,
    _: &mut minijinja::State,
    value: &Value,
) -> Result<(), minijinja::Error> {
    match value.kind() {
        ValueKind::String | ValueKind::Number => write!(output, "{value}")?,
        ValueKind::Bool => output.write_str(if value.is_true() { "true" } else { "false" })?,
        ValueKind::None => return Err(refuse("is null, which cannot be printed")),
        ValueKind::Seq | ValueKind::Iterable => {
            return Err(refuse("is a list: say how with '| join(\", \")' or '| tojson'"));
        }
        ValueKind::Map => return Err(refuse("is a map: say how with '| tojson'")),
        _ => return Err(refuse("cannot be printed")),
    }
    Ok(())
}

fn b64decode(text: String) -> Result<String, minijinja::Error> {
    let bytes = base64::decode(&text).map_err(|_| refuse("is not base64"))?;
    String::from_utf8(bytes).map_err(|_| refuse("is base64 of something that is not text"))
}

fn strip_header(source: &str) -> Result<Source, String> {
    let (first, rest) = source.split_once('\n').unwrap_or((source, ""));
    let engine = first
        .strip_prefix("##")
        .and_then(|rest| rest.trim().split_once(':'))
        .filter(|(key, _)| key.trim().eq_ignore_ascii_case("template"))
        .map(|(_, engine)| engine.trim());
    match engine {
        None => Ok(Source { text: source.to_owned(), header_lines: 0 }),
        Some(engine) if engine.eq_ignore_ascii_case("jinja") => {
            Ok(Source { text: rest.to_owned(), header_lines: 1 })
        }
        Some(other) => Err(format!("unknown template engine '{other}', expected 'jinja'")),
    }
}

/// The part of the template that an error is about, if it is short.
fn excerpt(source: &str, range: Range<usize>) -> Option<&str> {
    let text = source.get(range)?.trim();
    (!text.is_empty() && text.len() <= 80 && !text.chars().any(char::is_control)).then_some(text)
}

/// Takes [`OUTPUT_MAX`] bytes and no more.
struct Capped(Vec<u8>);

impl io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > OUTPUT_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(source: &str) -> Result<String, Error> {
        let values = json!({
            "hostname": "n1",
            "secret": "hunter2",
            "vars": { "priority": 100, "on": true, "nothing": null, "list": [1, 2], "map": {"a": 1}, "quirk": "{{ 7*7 }}" },
            "ds": { "meta_data": { "local-hostname": "n1", "local_hostname": "n1" } },
        });
        let mut engine = Engine::new();
        engine.add("etc/x.yaml.j2", source)?;
        engine.render("etc/x.yaml.j2", &values)
    }

    #[test]
    fn templates_give_what_cloud_init_gives() {
        for (source, expected) in [
            ("a {{ hostname }}\n", "a n1\n"),
            ("{{ vars.priority }}", "100"),
            ("{{ ds.meta_data.local_hostname }}", "n1"),
            ("{{ ds.meta_data['local-hostname'] }}", "n1"),
            ("{% if vars.on %}\nyes\n{% endif %}\nend\n", "yes\nend\n"),
            ("  {% if vars.on %}\nyes\n{% endif %}", "  yes\n"),
            ("{% for i in vars.list %}{{ i }},{% endfor %}", "1,2,"),
            ("{% if vars.absent %}a{% else %}b{% endif %}", "b"),
            ("{{ vars.absent | default('d') }}", "d"),
            ("## template: jinja\n#cloud-config\n{{ hostname }}", "#cloud-config\nn1"),
            ("##TEMPLATE:jinja\n{{ hostname }}", "n1"),
            ("## template: Jinja\n{{ hostname }}", "n1"),
            ("## a comment of the file\n", "## a comment of the file\n"),
            ("{{ hostname.upper() }} {{ vars.get('priority') }}", "N1 100"),
        ] {
            assert_eq!(render(source).as_deref(), Ok(expected), "{source}");
        }
    }

    #[test]
    fn values_are_printed_for_configuration_files() {
        for (source, expected) in [
            ("{{ vars.on }}", "true"),
            ("{{ vars.list | tojson }} {{ vars.map | tojson }}", "[1, 2] {\"a\": 1}"),
            ("{{ vars.list | join(', ') }}", "1, 2"),
            ("{{ hostname | tojson }}", "\"n1\""),
            ("{{ hostname | b64encode }} {{ 'bjE=' | b64decode }}", "bjE= n1"),
            // A value is never a template, and nothing is escaped for the file's name.
            ("{{ vars.quirk }}", "{{ 7*7 }}"),
        ] {
            assert_eq!(render(source).as_deref(), Ok(expected), "{source}");
        }
    }

    #[test]
    fn errors_name_file_line_and_expression() {
        for (source, line, message) in [
            ("a\n{{ vars.priorty }}", 2, "'vars.priorty' is undefined"),
            ("{{ nothing }}", 1, "'nothing' is undefined"),
            ("{{ absent.attribute }}", 1, "'absent.attribute' is undefined"),
            ("## template: jinja\n\n{{ nothing }}", 3, "'nothing' is undefined"),
            ("{{ vars.nothing }}", 1, "'vars.nothing' is null, which cannot be printed"),
            (
                "{{ vars.list }}",
                1,
                "'vars.list' is a list: say how with '| join(\", \")' or '| tojson'",
            ),
            ("{{ vars.map }}", 1, "'vars.map' is a map: say how with '| tojson'"),
            ("{{ hostname | shout }}", 1, "unknown filter: filter shout is unknown"),
            ("## template: basic\n", 1, "unknown template engine 'basic', expected 'jinja'"),
            (
                "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
                1,
                "the template takes more than 1000000 steps",
            ),
            (
                "{% for i in range(3000) %}{{ 'x' * 1000 }}{% endfor %}",
                1,
                "the output is larger than 1048576 bytes",
            ),
        ] {
            let error = render(source).unwrap_err();
            assert_eq!((error.line, error.message.as_str()), (line, message), "{source}");
            assert_eq!(error.file, "etc/x.yaml.j2");
        }
    }

    #[test]
    fn errors_hold_no_values() {
        for source in [
            "{{ secret + 1 }}",
            "{{ secret | b64decode }}",
            "{{ secret.split(1) }}",
            "{{ secret | int }}",
            "{{ secret.nope() }}",
            "{{ secret[0].x.y }}",
            "{% include secret %}",
            "{{ debug() }}",
        ] {
            let error = render(source).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{source}: {error}");
        }
    }

    #[test]
    fn a_template_that_uses_the_network_waits_for_it() {
        let mut engine = Engine::new();
        for (name, source, phase) in [
            ("a", "{{ hostname }} {{ vars.network }}", Phase::Initramfs),
            ("b", "{{ network.interface }}", Phase::Network),
            ("c", "{{ network['address'] }}", Phase::Network),
            ("d", "{% if x %}{{ network | tojson }}{% endif %}", Phase::Network),
            ("e", "{% set network = 1 %}{{ network }}", Phase::Initramfs),
        ] {
            engine.add(name, source).unwrap();
            assert_eq!(engine.phase(name), phase, "{source}");
        }
    }

    #[test]
    fn undeclared_names_are_those_that_metadata_must_give() {
        let mut engine = Engine::new();
        engine
            .add("a", "{% for p in range(vars.n) %}{{ p }} {{ hostname }}{% endfor %}{% set z = 1 %}{{ z }}")
            .unwrap();
        assert_eq!(engine.undeclared("a"), BTreeSet::from(["vars.n".into(), "hostname".into()]));
        assert_eq!(engine.undeclared("not added"), BTreeSet::new());
    }
}
