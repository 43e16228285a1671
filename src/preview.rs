// SPDX-License-Identifier: Apache-2.0
//! What first boot would make of a host, decided on this machine.
//!
//! The code is kiln-init's own; only its surroundings are made here: the role's hand-off, which
//! the plan decides, and the texts of its first-boot templates. No package is needed.

use std::collections::BTreeMap;

use kiln_contract::{CONFIG_DRIVE_LABEL, NOCLOUD_LABEL};
use kiln_init::{
    handoff::{Account, Handoff, Phase, Source, Template},
    metadata::Seed,
    source::{self, Offline, Search},
    template::Engine,
    volume::Folder,
};

use crate::{
    diagnostic::Diagnostic,
    kubernetes::secrets,
    plan::Plan,
    profile::{FileContent, Profile, User},
    template::Build,
    workspace::{OverlayFile, Workspace},
};

/// What messages call the medium.
const MEDIUM: &str = "seed";

/// The surroundings of a role's first boot.
#[derive(Debug)]
pub struct Role {
    pub handoff: Handoff,
    /// Texts of the hand-off's templates, by target.
    pub templates: BTreeMap<String, String>,
}

impl Role {
    /// # Errors
    /// A build-time template does not render, which a valid plan rules out.
    pub fn of(plan: &Plan, workspace: &Workspace) -> Result<Self, Diagnostic> {
        let texts = boot_templates(plan, workspace)?;
        let mut templates = Vec::new();
        for (target, (text, mode)) in &texts {
            let mut engine = Engine::new();
            engine.add(target, text).map_err(|error| Diagnostic::new(error.to_string()))?;
            templates.push(Template {
                target: target.clone(),
                mode: *mode,
                uid: 0,
                gid: 0,
                phase: engine.phase(target),
            });
        }
        let accounts = accounts(&plan.profile);
        let handoff = crate::rootfs::handoff_of(plan, templates, accounts, owners(plan));
        let templates = texts.into_iter().map(|(target, (text, _))| (target, text)).collect();
        Ok(Self { handoff, templates })
    }

    /// What the source delivers from these files, and what messages call what was tried.
    ///
    /// # Errors
    /// As in first boot.
    pub fn seed(
        &self,
        source: Source,
        mut files: BTreeMap<String, Vec<u8>>,
    ) -> Result<(Option<Seed>, Vec<&'static str>), source::Error> {
        let mut machine = Offline::default();
        let volume = |label: &str, files| {
            vec![(MEDIUM.to_owned(), Folder { label: label.to_owned(), files })]
        };
        match source {
            Source::Cmdline => {
                let text = files.remove("cmdline").unwrap_or_default();
                machine.command_line = String::from_utf8_lossy(&text).into_owned();
            }
            Source::Guestinfo => machine.guestinfo = files,
            Source::Ovf => machine.volumes = volume("OVF ENV", files),
            Source::ConfigDrive => machine.volumes = volume(CONFIG_DRIVE_LABEL, files),
            Source::Nocloud => machine.volumes = volume(NOCLOUD_LABEL, files),
            _ => {
                let seed = Seed {
                    origin: source.word().to_owned(),
                    meta_data: files.remove("meta-data"),
                    network_config: files.remove("network-config"),
                    user_data: files.remove("user-data"),
                    ..Seed::default()
                };
                return Ok((seed.has_documents().then_some(seed), vec![source.word()]));
            }
        }
        let mut search = Search::start(&[source], &mut machine)?;
        search.look(&mut machine)?;
        let tried = search.tried();
        Ok((search.finish(), tried))
    }

    /// Targets that only the node itself can render, because they use `network.*`.
    pub fn later(&self) -> impl Iterator<Item = &str> {
        let waits = |template: &&Template| template.phase == Phase::Network;
        self.handoff.templates.iter().filter(waits).map(|template| &*template.target)
    }
}

/// Text and mode of every first-boot template by the absolute path that it becomes.
fn boot_templates(
    plan: &Plan,
    workspace: &Workspace,
) -> Result<BTreeMap<String, (String, u16)>, Diagnostic> {
    let build = Build::new(&plan.cluster, &plan.profile);
    let mut templates = BTreeMap::new();
    for overlay in workspace.overlays_of(&plan.profile) {
        for (path, file) in &overlay.files {
            let built = path.strip_suffix(".tera").unwrap_or(path);
            let Some(target) = built.strip_suffix(".j2") else { continue };
            let OverlayFile::File { content, executable, .. } = file else { continue };
            let bytes = content.to_vec().unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            let text = if built == path { text.into_owned() } else { build.render(path, &text)? };
            let mode = if *executable { 0o755 } else { 0o644 };
            templates.insert(format!("/{target}"), (text, mode));
        }
    }
    for (path, file) in &plan.profile.files {
        if let FileContent::BootTemplate(text) = &file.content {
            templates.insert(path.as_str().to_owned(), (text.clone(), file.mode));
        }
    }
    Ok(templates)
}

/// The profile's accounts that may log in. Their primary group has their own number here; the
/// image's may have another, which no file of a preview shows.
fn accounts(profile: &Profile) -> Vec<Account> {
    let log_in = profile.users.iter().filter(|(_, user)| {
        user.admin || !user.shell.ends_with("/nologin") && !user.shell.ends_with("/false")
    });
    log_in.map(account).collect()
}

/// Those that files of a seed belong to; role::extend gives each to the profile.
fn owners(plan: &Plan) -> Vec<Account> {
    let owners = secrets::owners(&plan.cluster, &plan.profile.role);
    let users = plan.profile.users.iter();
    users.filter(|(name, _)| owners.contains(&***name)).map(account).collect()
}

fn account((name, user): (&String, &User)) -> Account {
    Account { name: name.clone(), uid: user.uid, gid: user.uid }
}
