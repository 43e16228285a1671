// SPDX-License-Identifier: Apache-2.0
//! Proof that every template of a role renders: at build, and at first boot of each of its hosts.

use std::{collections::BTreeMap, sync::Arc};

use kiln_init::template::Engine;

use crate::{
    cluster::Cluster,
    diagnostic::{Diagnostic, Problems, Source, Span, quoted},
    profile::{FileContent, Profile},
    template::{Build, sample},
    workspace::{Overlay, OverlayFile, Workspace},
};

/// Templates are text that people write.
const MAX_TEMPLATE: u64 = 1 << 20;

/// A role's templates, being checked.
struct Check<'a> {
    cluster: &'a Cluster,
    role: &'a str,
    build: Build,
    problems: &'a Problems,
}

/// Complains about every template that does not render, and about overlay files that could not
/// become part of the image.
pub(super) fn check(
    cluster: &Cluster,
    profile: &Profile,
    workspace: &Workspace,
    problems: &Problems,
) {
    let check =
        Check { cluster, role: &profile.role, build: Build::new(cluster, profile), problems };
    for overlay in workspace.overlays_of(profile) {
        check.overlay(overlay);
    }
    for (path, file) in &profile.files {
        let name = format!("{path} of profile {}", profile.role);
        match &file.content {
            FileContent::BuildTemplate(text) => drop(check.at_build(&name, text)),
            FileContent::BootTemplate(text) => check.at_first_boot(&name, text),
            FileContent::Text(_) | FileContent::Symlink(_) | FileContent::Directory => {}
        }
    }
}

impl Check<'_> {
    fn overlay(&self, overlay: &Overlay) {
        let mut targets: BTreeMap<&str, &str> = BTreeMap::new();
        for (path, file) in &overlay.files {
            let name = format!("overlays/{}/{path}", overlay.name);
            let built = path.strip_suffix(".tera").unwrap_or(path);
            let target = built.strip_suffix(".j2").unwrap_or(built);
            if let Some(other) = targets.insert(target, path) {
                self.problems.add(
                    Diagnostic::new(format!(
                        "'{name}' and 'overlays/{}/{other}' both become '/{target}'",
                        overlay.name
                    ))
                    .help("remove one"),
                );
            }
            if target == path {
                continue;
            }
            let OverlayFile::File { content, .. } = file else {
                self.problems.add(
                    Diagnostic::new(format!("'{name}' has the name of a template and is no file"))
                        .help("only files can be templates"),
                );
                continue;
            };
            if target != built && !target.starts_with("etc/") {
                self.problems.add(
                    Diagnostic::new(format!("first boot cannot write '/{target}' ('{name}')"))
                        .help("only '/etc' can be written then: use '.tera', or a path in 'etc'"),
                );
            }
            let bytes = (content.len() <= MAX_TEMPLATE).then(|| content.to_vec().ok()).flatten();
            let Some(text) = bytes.and_then(|bytes| String::from_utf8(bytes).ok()) else {
                self.problems.add(
                    Diagnostic::new(format!("template '{name}' is no UTF-8 text of at most 1 MiB"))
                        .help("rename it if it is no template"),
                );
                continue;
            };
            let (name, text) = if built == path {
                (name, Some(text))
            } else {
                // Lines are counted in what the build made of it.
                (format!("{name} (as rendered)"), self.at_build(&name, &text))
            };
            if let (true, Some(text)) = (target != built, text) {
                self.at_first_boot(&name, &text);
            }
        }
    }

    fn at_build(&self, name: &str, text: &str) -> Option<String> {
        self.build.render(name, text).map_err(|diagnostic| self.problems.add(diagnostic)).ok()
    }

    /// Compiles a first-boot template and renders it for each host of the role.
    fn at_first_boot(&self, name: &str, text: &str) {
        let source = Source::new(name, text);
        let mut engine = Engine::new();
        if let Err(error) = engine.add(name, text) {
            return self.complain(&source, error.line, &error.message);
        }
        let mut failures: BTreeMap<(usize, String), Vec<String>> = BTreeMap::new();
        for (host, facts) in self.cluster.hosts_of(self.role) {
            if let Err(error) = engine.render(name, &sample(self.cluster, host, facts)) {
                failures.entry((error.line, error.message)).or_default().push(quoted(host));
            }
        }
        for ((line, message), hosts) in failures {
            if hosts.len() == self.cluster.hosts_of(self.role).count() {
                self.complain(&source, line, &message);
            } else {
                self.complain(&source, line, &format!("{message} on {}", hosts.join(", ")));
            }
        }
    }

    fn complain(&self, source: &Arc<Source>, line: usize, message: &str) {
        let place = Span { range: source.line(line), source: Arc::clone(source) };
        let diagnostic = Diagnostic::new(format!("template: {message}")).at(&place);
        self.problems.add(if message.contains("undefined") {
            diagnostic.help(
                "docs/profile.md lists the values of first boot; a host's own are its 'vars' in cluster.yaml",
            )
        } else {
            diagnostic
        });
    }
}
