// SPDX-License-Identifier: Apache-2.0
//! The fleet as a page: every piece of it is rendered here, by a template that escapes, and the page
//! itself only puts pieces where they belong as they change (server-sent events).
//!
//! Works without the script, and needs nothing from elsewhere.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use serde_json::json;
use tera::{Context, Tera};

use super::{Build, Phase, Seen, Stranger};

pub(in crate::serve) const STYLE: &str = include_str!("style.css");
pub(in crate::serve) const CODE: &str = include_str!("script.js");
const TEMPLATES: [(&str, &str); 5] = [
    ("page.html", include_str!("page.html")),
    ("row.html", include_str!("row.html")),
    ("summary.html", include_str!("summary.html")),
    ("strangers.html", include_str!("strangers.html")),
    ("builds.html", include_str!("builds.html")),
];

/// What a page shows.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) hosts: &'a BTreeMap<String, Seen>,
    pub(super) strangers: &'a VecDeque<Stranger>,
    pub(super) builds: &'a BTreeMap<String, Build>,
    pub(super) newest: &'a BTreeMap<String, String>,
}

/// One row as its template sees it.
#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'a str,
    role: &'a str,
    /// Of four: what is drawn, counted and filtered by.
    state: &'static str,
    mark: &'static str,
    label: &'static str,
    message: &'a str,
    warnings: &'a [String],
    runs: String,
    /// Whether what runs is not what is built now.
    outdated: bool,
    last: &'a str,
    at: String,
    from: String,
    address: &'a str,
}

/// The templates.
pub(super) struct Renderer {
    engine: Tera,
    cluster: String,
}

/// Class, sign and words of a phase. The sign is not by color alone.
fn shown(phase: Phase) -> (&'static str, &'static str, &'static str) {
    match phase {
        Phase::Unseen => ("unseen", "○", "not seen yet"),
        Phase::Loading => ("starting", "◐", "loading"),
        Phase::Metadata => ("starting", "◐", "asks for metadata"),
        Phase::Configured => ("starting", "◐", "starts services"),
        Phase::Ready => ("ready", "●", "ready"),
        Phase::NotReady => ("trouble", "▲", "not ready"),
        Phase::Stopped => ("trouble", "▲", "first boot stopped"),
    }
}

impl Renderer {
    pub(super) fn new(cluster: &str) -> Self {
        let mut engine = Tera::default();
        engine.autoescape_on([".html"]);
        engine.add_raw_templates(TEMPLATES).expect("the templates are in the program");
        Self { engine, cluster: cluster.to_owned() }
    }

    fn render(&self, name: &str, values: &Context) -> String {
        self.engine.render(name, values).expect("the templates fit their values")
    }

    fn one(&self, name: &str, key: &'static str, value: &impl Serialize) -> String {
        let mut values = Context::new();
        values.insert(key, value);
        self.render(name, &values)
    }

    fn row(&self, view: &View<'_>, name: &str) -> String {
        let Some(seen) = view.hosts.get(name) else { return String::new() };
        let (state, mark, label) = shown(seen.phase);
        let build = view.builds.get(&seen.root_hash);
        let runs = match (build, seen.version.as_str()) {
            (_, "") => String::new(),
            (Some(build), version) => format!("{version} ({})", build.plan.short()),
            (None, version) => version.to_owned(),
        };
        let newest = view.newest.get(&seen.role);
        let row = Row {
            name,
            role: &seen.role,
            state,
            mark,
            label,
            message: &seen.message,
            warnings: &seen.warnings,
            outdated: !runs.is_empty() && newest.is_some_and(|newest| *newest != seen.root_hash),
            runs,
            last: seen.last.as_ref().map_or("", |(what, _)| what),
            at: seen.last.as_ref().map(|(_, at)| crate::lock::date::text(*at)).unwrap_or_default(),
            from: seen.from.map(|from| from.to_string()).unwrap_or_default(),
            address: &seen.address,
        };
        self.one("row.html", "row", &row)
    }

    fn rows(&self, view: &View<'_>) -> String {
        view.hosts.keys().map(|name| self.row(view, name)).collect()
    }

    fn summary(&self, view: &View<'_>) -> String {
        let count =
            |state: &str| view.hosts.values().filter(|it| shown(it.phase).0 == state).count();
        let states = [
            ("ready", "●", "ready"),
            ("starting", "◐", "starting"),
            ("trouble", "▲", "in trouble"),
            ("unseen", "○", "not seen yet"),
        ];
        let counts = states.map(|(state, mark, label)| {
            json!({ "state": state, "mark": mark, "label": label, "n": count(state) })
        });
        self.one("summary.html", "counts", &counts)
    }

    pub(super) fn strangers(&self, strangers: &VecDeque<Stranger>) -> String {
        let each = strangers.iter().map(|Stranger { key, from, at, n }| {
            json!({ "key": key, "from": from, "at": crate::lock::date::text(*at), "n": n })
        });
        self.one("strangers.html", "strangers", &each.collect::<Vec<_>>())
    }

    fn builds(&self, view: &View<'_>) -> String {
        let builds = view.newest.values().filter_map(|hash| view.builds.get(hash));
        let each = builds.map(|Build { role, version, plan }| {
            json!({ "role": role, "version": version, "plan": plan.short() })
        });
        self.one("builds.html", "builds", &each.collect::<Vec<_>>())
    }

    pub(super) fn page(&self, view: &View<'_>) -> String {
        let mut values = Context::new();
        values.insert("cluster", &self.cluster);
        for (part, html) in self.parts(view) {
            values.insert(part, &html);
        }
        self.render("page.html", &values)
    }

    /// The pieces that change, by the ids of their places.
    fn parts(&self, view: &View<'_>) -> [(&'static str, String); 4] {
        [
            ("summary", self.summary(view)),
            ("hosts", self.rows(view)),
            ("strangers", self.strangers(view.strangers)),
            ("builds", self.builds(view)),
        ]
    }
}

/// Something that changes: the content of the element with this id.
pub(super) fn event(id: &str, html: &str) -> String {
    message(&json!({ "into": { id: html } }))
}

/// All that changes.
pub(super) fn everything(renderer: &Renderer, view: &View<'_>) -> String {
    let parts: BTreeMap<&str, String> = renderer.parts(view).into();
    message(&json!({ "into": parts }))
}

/// One host, and the numbers.
pub(super) fn row_event(renderer: &Renderer, view: &View<'_>, name: &str) -> String {
    let (row, summary) = (renderer.row(view, name), renderer.summary(view));
    message(&json!({ "row": row, "into": { "summary": summary } }))
}

/// JSON has no line breaks, which would end an event's line.
fn message(value: &serde_json::Value) -> String {
    format!("data: {value}\n\n")
}
