// SPDX-License-Identifier: Apache-2.0
//! Complaints about what people wrote, all at once, each with its place.
//!
//! Readers of configuration do not stop at the first problem: they put a [`Diagnostic`] into
//! [`Problems`] and go on. At the end all of them become one [`Invalid`], sorted by place.

use std::{cell::RefCell, fmt, ops::Range, sync::Arc};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// A text file that a person wrote.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// As the person would type it, relative to the workspace.
    pub path: String,
    pub text: String,
}

impl Source {
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { path: path.into(), text: text.into() })
    }

    /// The byte range of a line, counted from 1, without its line break.
    pub fn line(&self, number: usize) -> Range<usize> {
        let mut start = 0;
        for (index, line) in self.text.split_inclusive('\n').enumerate() {
            if index + 1 == number {
                return start..start + line.trim_end_matches(['\n', '\r']).len();
            }
            start += line.len();
        }
        self.text.len()..self.text.len()
    }
}

/// A piece of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    pub source: Arc<Source>,
    /// Bytes of the text.
    pub range: Range<usize>,
}

impl Span {
    /// The piece at `range`, made to fit the text: ranges come from parsers of other people, and
    /// a wrong one must not become a panic of the printer.
    pub fn clamped(source: &Arc<Source>, range: Range<usize>) -> Self {
        let floor = |mut at: usize| {
            at = at.min(source.text.len());
            while !source.text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let start = floor(range.start);
        Self { source: Arc::clone(source), range: start..floor(range.end).max(start) }
    }
}

/// One complaint: what is wrong, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    title: String,
    span: Option<Span>,
    also: Vec<(Span, String)>,
    help: Option<String>,
}

impl Diagnostic {
    /// A complaint without a place; [`Self::at`] gives it one.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), span: None, also: Vec::new(), help: None }
    }

    #[must_use]
    pub fn at(mut self, span: &Span) -> Self {
        self.span = Some(span.clone());
        self
    }

    /// A second place that explains the first.
    #[must_use]
    pub fn also(mut self, span: &Span, label: impl Into<String>) -> Self {
        self.also.push((span.clone(), label.into()));
        self
    }

    /// What to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    fn path(&self) -> Option<&str> {
        self.span.as_ref().map(|span| &*span.source.path)
    }

    fn place(&self) -> (Option<&str>, usize, &str) {
        (self.path(), self.span.as_ref().map_or(0, |span| span.range.start), &self.title)
    }

    fn render(&self, renderer: &Renderer) -> String {
        let Some(span) = &self.span else {
            let help = self.help.as_ref().map(|help| format!("\nhelp:  {help}"));
            return format!("error: {}{}", self.title, help.unwrap_or_default());
        };
        let title = Level::ERROR.primary_title(&self.title);
        let mut primary =
            snippet(&span.source).annotation(AnnotationKind::Primary.span(span.range.clone()));
        let mut others = Vec::new();
        for (also, label) in &self.also {
            let mark = AnnotationKind::Context.span(also.range.clone()).label(label.as_str());
            if also.source == span.source {
                primary = primary.annotation(mark);
            } else {
                others.push(snippet(&also.source).annotation(mark));
            }
        }
        let mut group = Group::with_title(title).element(primary).elements(others);
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help));
        }
        let text = renderer.render(&[group]);
        // The renderer pads the gutter; golden files and editors do not like blanks at line ends.
        text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
    }
}

fn snippet(source: &Source) -> Snippet<'_, annotate_snippets::Annotation<'_>> {
    Snippet::source(&source.text).path(&source.path)
}

impl fmt::Display for Diagnostic {
    /// Plain; `{:#}` is for terminals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let renderer = if f.alternate() { Renderer::styled() } else { Renderer::plain() };
        f.write_str(&self.render(&renderer))
    }
}

/// Where readers put what they find.
#[derive(Debug, Default)]
pub struct Problems(RefCell<Vec<Diagnostic>>);

impl Problems {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn add(&self, diagnostic: Diagnostic) {
        let mut found = self.0.borrow_mut();
        // A parent profile is read once for each role that extends it.
        if !found.contains(&diagnostic) {
            found.push(diagnostic);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// `value`, unless something was found.
    ///
    /// # Errors
    /// Everything that was found.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Invalid> {
        let found = self.0.into_inner();
        match value {
            Some(value) if found.is_empty() => Ok(value),
            _ => Err(Invalid::new(found)),
        }
    }
}

/// One or more complaints about configuration files, ready to print.
#[derive(Debug)]
pub struct Invalid(Vec<Diagnostic>);

impl Invalid {
    /// Sorts the complaints by place; those without a place come first.
    pub fn new(mut diagnostics: Vec<Diagnostic>) -> Self {
        diagnostics.sort_by(|a, b| a.place().cmp(&b.place()));
        Self(diagnostics)
    }

    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.0
    }
}

impl From<Diagnostic> for Invalid {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

impl fmt::Display for Invalid {
    /// Plain; `{:#}` is for terminals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            fmt::Display::fmt(diagnostic, f)?;
        }
        if self.0.len() > 1 {
            write!(f, "\n\nerror: {} problems", self.0.len())?;
        }
        Ok(())
    }
}

impl std::error::Error for Invalid {}

/// `text` in single quotes, [`escaped`].
pub fn quoted(text: &str) -> String {
    format!("'{}'", escaped(text))
}

/// `text` on one line, with control characters escaped and its end cut off if it is long.
pub fn escaped(text: &str) -> String {
    const SHOWN: usize = 80;
    let mut shown = String::new();
    for c in text.chars().take(SHOWN) {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// The candidate that `word` is most likely a misspelling of.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    let word = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, changes and swaps of neighbors that turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 64;
    let a: Vec<char> = a.chars().take(LONGEST).collect();
    let b: Vec<char> = b.chars().take(LONGEST).collect();
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// "did you mean 'x'?" if a candidate is near, else the list of all.
pub fn suggest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(near) = nearest(word, candidates.clone()) {
        return format!("did you mean {}?", quoted(near));
    }
    const SHOWN: usize = 8;
    let all: Vec<String> = candidates.into_iter().map(quoted).collect();
    match all.as_slice() {
        [] => "nothing is possible here".to_owned(),
        [one] => format!("only {one} is possible"),
        few if few.len() <= SHOWN => format!("possible are {}", few.join(", ")),
        [first @ .., _] => {
            let rest = all.len() - SHOWN;
            format!("possible are {} and {rest} more", first[..SHOWN].join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_shows_its_place_and_the_next_step() {
        let source = Source::new("a.yaml", "one: 1\ntwo: 2\n");
        let span = |range| Span { source: Arc::clone(&source), range };
        let complaint = Diagnostic::new("key 'two' is strange")
            .at(&span(7..10))
            .also(&span(0..3), "unlike this")
            .help("write three");
        let expected = "error: key 'two' is strange\n --> a.yaml:2:1\n  |\n1 | one: 1\n  | --- unlike this\n2 | two: 2\n  | ^^^\n  |\n  = help: write three";
        assert_eq!(complaint.to_string(), expected);
    }

    #[test]
    fn complaints_are_sorted_by_place_and_counted() {
        let source = Source::new("a.yaml", "one: 1\ntwo: 2\n");
        let at = |range| Span { source: Arc::clone(&source), range };
        let problems = Problems::new();
        problems.add(Diagnostic::new("second").at(&at(7..10)));
        problems.add(Diagnostic::new("first").at(&at(0..3)));
        problems.add(Diagnostic::new("first").at(&at(0..3)));
        let text = problems.finish(Some(())).unwrap_err().to_string();
        assert!(text.find("first") < text.find("second"), "{text}");
        assert!(text.ends_with("error: 2 problems"), "{text}");
    }

    #[test]
    fn misspelled_words_find_their_neighbor() {
        let keys = ["arguments", "modules", "initrd-modules", "package"];
        assert_eq!(nearest("argumetns", keys), Some("arguments"));
        assert_eq!(nearest("Package", keys), Some("package"));
        assert_eq!(nearest("shell", keys), None);
        assert_eq!(suggest("x", ["a"]), "did you mean 'a'?");
        assert_eq!(suggest("raw disk", ["raw"]), "only 'raw' is possible");
    }

    #[test]
    fn quoted_text_stays_on_one_short_line() {
        assert_eq!(quoted("a\n\u{1b}"), r"'a\n\u{1b}'");
        assert_eq!(quoted(&"é".repeat(100)).chars().count(), 83);
    }
}
