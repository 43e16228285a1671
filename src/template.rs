// SPDX-License-Identifier: Apache-2.0
//! Templates that the build renders (`X.tera`), by tera, and the values for both engines.
//!
//! Nothing is escaped, and what is not defined is an error. Templates cannot include other files,
//! and tera as built here knows no clock, no environment and no randomness. First-boot templates
//! (`X.j2`) are [`kiln_init::template`]'s; the values that this module makes for them are samples
//! from the cluster file, with which the build proves that a host of the role can render them.

use std::sync::Arc;

use serde::Serialize;
use serde_json::json;
use tera::{Context, ErrorKind, Kwargs, State, Tera, TeraResult, Value};

use crate::{
    cluster::{Cluster, Host},
    diagnostic::{Diagnostic, Source, Span, suggest},
    profile::Profile,
};

/// Names that a template of the build can use.
const NAMES: [&str; 5] = ["cluster", "hosts", "role", "vars", "version"];

/// The engine with one role's values.
pub struct Build {
    engine: Tera,
    values: Context,
}

/// A host as templates see it.
#[derive(Debug, Serialize)]
struct HostValue<'a> {
    name: &'a str,
    role: &'a str,
    address: std::net::Ipv4Addr,
    prefix: u8,
    mac: Option<&'a str>,
}

impl Build {
    pub fn new(cluster: &Cluster, profile: &Profile) -> Self {
        let mut engine = Tera::default();
        engine.autoescape_on(Vec::<String>::new());
        engine.register_filter("tojson", to_json);
        engine.register_filter("yaml_quote", yaml_quote);
        engine.register_filter("shell_quote", shell_quote);
        let hosts: Vec<HostValue<'_>> = cluster
            .hosts
            .iter()
            .map(|(name, host)| HostValue {
                name,
                role: &host.role,
                address: host.address.address,
                prefix: host.address.prefix,
                mac: host.mac.as_deref(),
            })
            .collect();
        let mut values = Context::new();
        values.insert("cluster", cluster);
        values.insert("hosts", &hosts);
        values.insert("role", &profile.role);
        values.insert("vars", &profile.vars);
        values.insert("version", &cluster.version);
        Self { engine, values }
    }

    /// Renders a template. `name` is its path, as messages show it.
    ///
    /// # Errors
    /// A syntax error, or something that is not defined, with its place.
    pub fn render(&self, name: &str, text: &str) -> Result<String, Diagnostic> {
        self.engine
            .render_str(text, &self.values, false)
            .map_err(|error| explain(&Source::new(name, text), &error))
    }
}

impl std::fmt::Debug for Build {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Build")
    }
}

fn explain(source: &Arc<Source>, error: &tera::Error) -> Diagnostic {
    let (ErrorKind::SyntaxError(report) | ErrorKind::RenderingError(report)) = error.kind() else {
        return Diagnostic::new(format!("{}: {error}", source.path));
    };
    let range = report.span().range.clone();
    let word = source.text.get(range.clone()).unwrap_or_default();
    let message = report.message();
    let mut first = message.chars();
    let message: String =
        first.next().into_iter().flat_map(char::to_lowercase).chain(first).collect();
    let diagnostic = Diagnostic::new(format!("template: {}", message.replace('`', "'")))
        .at(&Span::clamped(source, range));
    match word.split(['.', '[']).next() {
        Some(name) if message.contains("not found in context") && !NAMES.contains(&name) => {
            diagnostic.help(suggest(name, NAMES))
        }
        _ => diagnostic,
    }
}

fn to_json(value: Value, _: Kwargs, _: &State<'_>) -> TeraResult<String> {
    serde_json::to_string(&value).map_err(tera::Error::message)
}

/// A YAML scalar in double quotes: JSON's strings are YAML's.
fn yaml_quote(value: &str, _: Kwargs, _: &State<'_>) -> TeraResult<String> {
    serde_json::to_string(value).map_err(tera::Error::message)
}

/// One word for a POSIX shell.
fn shell_quote(value: &str, _: Kwargs, _: &State<'_>) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

/// What first boot gives to a template on one host, made from the cluster file alone.
pub fn sample(cluster: &Cluster, name: &str, host: &Host) -> serde_json::Value {
    let fqdn = format!("{name}.{}", cluster.networks.domain);
    let instance = format!("{}-{name}", cluster.name);
    let mac = host.mac.as_deref().unwrap_or("52:54:00:00:00:01");
    json!({
        "hostname": name,
        "fqdn": fqdn,
        "local_hostname": name,
        "instance_id": instance,
        "ds": { "meta_data": {
            "instance-id": instance,
            "instance_id": instance,
            "local-hostname": name,
            "local_hostname": name,
            "public-keys": host.ssh_authorized_keys,
            "vars": host.vars,
        } },
        "v1": {
            "local_hostname": name,
            "instance_id": instance,
            "public_ssh_keys": host.ssh_authorized_keys,
        },
        "vars": host.vars,
        "kiln": { "role": host.role, "cluster": cluster.name, "version": cluster.version },
        "network": {
            "interface": "eth0",
            "address": host.address.address,
            "prefix": host.address.prefix,
            "mac": mac,
        },
    })
}
