// SPDX-License-Identifier: Apache-2.0
//! The workspace of the repository, as its images would have it: plans and rendered files.

use std::{collections::BTreeMap, net::Ipv4Addr};

use kiln::{
    cluster::Cluster,
    diagnostic::Source,
    digest::Digest,
    kubernetes::secrets::{self, Listed},
    pki::delivery::NodeFile,
    plan::{self, Given, Plan},
    preview::Role,
    profile::FileContent,
    seed, sys,
    template::{Build, sample},
    tree::TreePath,
    workspace::{OverlayFile, Workspace},
};
use kiln_init::{
    first_boot::{NetworkValues, render, sample as sample_of},
    handoff::Phase,
};

use super::qemu::repository;

/// A workspace of the repository (`""` is the quickstart's) with its plans.
pub(crate) struct Planned {
    pub(crate) workspace: Workspace,
    pub(crate) plans: Vec<Plan>,
}

impl Planned {
    /// With another cluster file.
    pub(crate) fn with(folder: &str, edit: impl FnOnce(&str) -> String) -> Self {
        let mut workspace = sys::workspace::load(&repository().join(folder)).unwrap();
        let text = edit(&workspace.cluster.text);
        workspace.cluster = Source::new("cluster.yaml", text);
        let given = Given { epoch: 0, init: Digest::of(b"") };
        let plans = plan::plan(&workspace, &[], given).unwrap_or_else(|error| panic!("{error}"));
        Self { workspace, plans }
    }

    pub(crate) fn of(folder: &str) -> Self {
        Self::with(folder, str::to_owned)
    }

    pub(crate) fn plan(&self, role: &str) -> &Plan {
        self.plans.iter().find(|plan| plan.profile.role == role).expect("a role of the cluster")
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.plans[0].cluster
    }

    /// A file of a role's overlays or profile, as the build writes it; a first-boot template is
    /// rendered for `host`.
    pub(crate) fn text(&self, role: &str, path: &str, host: &str) -> String {
        let all = self.texts(role, host);
        let found = all.into_iter().find(|(found, _)| found == path);
        found.unwrap_or_else(|| panic!("role '{role}' has no '{path}'")).1
    }

    /// Every text that overlays and profile give a role, by path. Programs' own files are not here.
    pub(crate) fn texts(&self, role: &str, host: &str) -> Vec<(String, String)> {
        let plan = self.plan(role);
        let build = Build::new(&plan.cluster, &plan.profile);
        let at_build = |name: &str, text: &str| {
            build.render(name, text).unwrap_or_else(|error| panic!("{error:?}"))
        };
        let mut texts = Vec::new();
        for overlay in self.workspace.overlays_of(&plan.profile) {
            for (path, file) in &overlay.files {
                let OverlayFile::File { content, .. } = file else { continue };
                let text = String::from_utf8(content.to_vec().unwrap()).unwrap();
                let (path, text) = match path.strip_suffix(".tera") {
                    Some(built) => (built, at_build(path, &text)),
                    None => (path.as_str(), text),
                };
                let (path, text) = match path.strip_suffix(".j2") {
                    Some(booted) => (booted, self.at_boot(path, &text, host)),
                    None => (path, text),
                };
                texts.push((format!("/{path}"), text));
            }
        }
        for (path, file) in &plan.profile.files {
            let text = match &file.content {
                FileContent::Text(text) => text.clone(),
                FileContent::BuildTemplate(text) => at_build(path.as_str(), text),
                FileContent::BootTemplate(text) => self.at_boot(path.as_str(), text, host),
                FileContent::Symlink(_) | FileContent::Directory => continue,
            };
            texts.push((TreePath::as_str(path).to_owned(), text));
        }
        texts
    }

    /// What first boot makes of the role's image with this metadata, at the address of the role's
    /// first host: every rendered template, by path.
    ///
    /// # Errors
    /// First boot refuses the metadata.
    pub(crate) fn booted(
        &self,
        role: &str,
        meta_data: &serde_json::Value,
    ) -> Result<BTreeMap<String, String>, String> {
        let (_, host) = self.cluster().hosts_of(role).next().expect("a host of the role");
        self.booted_at(role, meta_data, host.address.address)
    }

    /// The same on a host with that address.
    pub(crate) fn booted_at(
        &self,
        role: &str,
        meta_data: &serde_json::Value,
        address: Ipv4Addr,
    ) -> Result<BTreeMap<String, String>, String> {
        let (_, host) = self.cluster().hosts_of(role).next().expect("a host of the role");
        let role = Role::of(self.plan(role), &self.workspace).unwrap();
        let values = sample_of(&role.handoff, meta_data).map_err(|error| error.to_string())?;
        let network = NetworkValues {
            interface: "eth0".to_owned(),
            address: address.to_string(),
            prefix: host.address.prefix,
            mac: "52:54:00:12:34:56".to_owned(),
        };
        let values = network.join(&values);
        let mut texts = BTreeMap::new();
        for phase in [Phase::Initramfs, Phase::Network] {
            for file in render(&role.handoff, phase, &role.templates, &values).unwrap() {
                texts.insert(file.path, String::from_utf8(file.bytes).unwrap());
            }
        }
        Ok(texts)
    }

    /// The meta-data that `kiln seed` gives a host. Keys, if the seed has any, lie elsewhere in it
    /// and are empty here.
    pub(crate) fn meta_data(&self, host: &str) -> serde_json::Value {
        let given: Vec<NodeFile> = secrets::of_host(self.cluster(), host)
            .into_iter()
            .map(|Listed { path, kind }| NodeFile {
                path,
                mode: 0o600,
                owner: "root",
                kind,
                content: Vec::new(),
            })
            .collect();
        let files = seed::files_with(self.cluster(), host, &given).unwrap();
        serde_json::from_slice(&files["meta-data"]).unwrap()
    }

    fn at_boot(&self, name: &str, text: &str, host: &str) -> String {
        let mut engine = kiln_init::template::Engine::new();
        engine.add(name, text).unwrap();
        let facts = sample(self.cluster(), host, &self.cluster().hosts[host]);
        engine.render(name, &facts).unwrap()
    }
}
