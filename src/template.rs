// SPDX-License-Identifier: Apache-2.0
//! Templates that the build renders (`X.tera`), by tera, and the values for both engines.
//!
//! Nothing is escaped, and what is not defined is an error. Templates cannot include other files,
//! and tera as built here knows no clock, no environment and no randomness. First-boot templates
//! (`X.j2`) are [`kiln_init::template`]'s; the values that this module makes for them are samples
//! from the cluster file, with which the build proves that a host of the role can render them.

use std::{ops::Range, sync::Arc};

use serde::Serialize;
use serde_json::json;
use tera::{Context, ErrorKind, Kwargs, State, Tera, TeraResult, Value};

use crate::{
    cluster::{Cluster, Host},
    diagnostic::{Diagnostic, Source, Span, escaped},
    profile::Profile,
};

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
        if let Some(kubernetes) = &cluster.kubernetes {
            let version = kubernetes.version;
            let value = json!({ "version": version, "minor": version.minor.get() });
            values.insert("kubernetes", &value);
        }
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
    if let ErrorKind::SyntaxError(report) | ErrorKind::RenderingError(report) = error.kind() {
        return complain(source, report.message(), report.span().range.clone());
    }
    // Unknown filters, tests and functions come as printed reports, one after another.
    let text = error.to_string();
    let title = text.lines().find_map(|line| line.strip_prefix("error: "));
    let place = text.lines().find_map(|line| {
        let (rest, column) = line.trim().strip_prefix("--> ")?.rsplit_once(':')?;
        let line: usize = rest.rsplit_once(':')?.1.parse().ok()?;
        let column: usize = column.parse().ok()?;
        let line = source.line(line);
        let word = source.text.get(line.clone())?.char_indices().nth(column.checked_sub(1)?)?.0;
        Some(line.start + word..line.end)
    });
    match (title, place) {
        (Some(title), Some(place)) => complain(source, title, place),
        _ => Diagnostic::new(format!("template '{}': {}", source.path, escaped(&text))),
    }
}

/// tera's message in our manners: lower case, our quotes.
fn complain(source: &Arc<Source>, message: &str, range: Range<usize>) -> Diagnostic {
    let mut first = message.chars();
    let message: String =
        first.next().into_iter().flat_map(char::to_lowercase).chain(first).collect();
    Diagnostic::new(format!("template: {}", message.replace('`', "'")))
        .at(&Span::clamped(source, range))
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
    let vars = cluster.vars_of(host);
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
            "vars": vars,
        } },
        "v1": {
            "local_hostname": name,
            "instance_id": instance,
            "public_ssh_keys": host.ssh_authorized_keys,
        },
        "vars": vars,
        "peers": cluster.peers_of(&host.role),
        "kiln": { "role": host.role, "cluster": cluster.name, "version": cluster.version },
        "network": {
            "interface": "eth0",
            "address": host.address.address,
            "prefix": host.address.prefix,
            "mac": mac,
        },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        diagnostic::Problems,
        profile::Profiles,
        workspace::{Overlay, Workspace},
    };

    fn build() -> Build {
        let cluster = "schema: 1\nname: c\nversion: 1.10\nendpoint: { vip: 10.1.0.9 }\n\
            networks: { hosts: 10.1.0.0/24, pods: 10.2.0.0/16, services: 10.3.0.0/24, dns: 10.3.0.2 }\n\
            etcd: { members: [b] }\nhosts:\n  b: { role: r, address: 10.1.0.2 }\n  a: { role: r, address: 10.1.0.1 }\n";
        let profile = "packages: [aa]\nkernel: { package: linux }\nvars: { on: true, text: \"it's\", list: [1, x], none: null }\n";
        let workspace = Workspace {
            cluster: Source::new("cluster.yaml", cluster),
            profiles: [("r".to_owned(), Source::new("profiles/r.yaml", profile))].into(),
            overlays: BTreeMap::<String, Overlay>::new(),
            addons: Default::default(),
        };
        let problems = Problems::new();
        let cluster = crate::cluster::load(&workspace, &problems).unwrap();
        let profile = Profiles::parse(&workspace, &problems).load("r", &problems).unwrap();
        problems.finish(Some(())).unwrap();
        Build::new(&cluster, &profile)
    }

    #[test]
    fn templates_see_the_cluster_the_role_and_its_hosts() {
        let build = build();
        for (text, expected) in [
            ("{{ role }} {{ version }} {{ cluster.name }}", "r 1.10 c"),
            (
                "{% for h in hosts %}{{ h.name }}={{ h.address }}/{{ h.prefix }} {% endfor %}",
                "a=10.1.0.1/24 b=10.1.0.2/24 ",
            ),
            ("{{ cluster.lb[\"router-id\"] }} {{ cluster.networks.pods }}", "51 10.2.0.0/16"),
            ("{{ cluster.etcd.members | join(sep=\",\") }}", "b"),
            ("{{ vars.on }} {{ vars.text }} <&>", "true it's <&>"),
            ("{{ vars.text | shell_quote }}", r"'it'\''s'"),
            ("{{ vars.text | yaml_quote }} {{ vars.list | tojson }}", r#""it's" [1,"x"]"#),
            ("{% raw %}{{ hostname }}{% endraw %}\n", "{{ hostname }}\n"),
        ] {
            assert_eq!(build.render("t", text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn templates_reach_nothing_outside_their_values() {
        for text in [
            "{% include \"/etc/passwd\" %}",
            "{{ now() }}",
            "{{ get_env(name=\"HOME\") }}",
            "{{ get_random(end=9) }}",
        ] {
            assert!(build().render("t", text).is_err(), "{text}");
        }
    }
}
