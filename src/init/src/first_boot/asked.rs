// SPDX-License-Identifier: Apache-2.0
//! What metadata asks for beside name, network and templates: keys, time, trust, files.

use super::{File, Files};
use crate::{
    handoff::{Account, Handoff},
    metadata::{Metadata, SshKey, WriteFile},
    yaml::Problem,
};

/// Read by chronyd as one of its `sourcedir`s.
const TIME_SOURCES: &str = "/etc/chrony/sources.d/kiln.sources";
const TRUSTED: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Keys for the admin and for accounts by name, where sshd looks for them.
pub(super) fn authorized_keys(
    handoff: &Handoff,
    metadata: &Metadata,
    files: &mut Files,
    warnings: &mut Vec<String>,
) {
    let mut add = |account: &Account, keys: &[SshKey]| {
        let text: String = keys.iter().map(|key| format!("{key}\n")).collect();
        files.text(&format!("/etc/ssh/authorized_keys.d/{}", account.name), text);
    };
    let mut admin_keys = metadata.ssh_keys.clone();
    for (name, keys) in metadata.account_keys.iter().filter(|(_, keys)| !keys.is_empty()) {
        match handoff.accounts.iter().find(|account| account.name == *name) {
            Some(account) if handoff.admin.as_ref() == Some(account) => {
                let more = keys.iter().filter(|key| !metadata.ssh_keys.contains(key));
                admin_keys.extend(more.cloned());
            }
            Some(account) => add(account, keys),
            None => warnings.push(format!(
                "metadata has ssh keys for '{name}', an account that the image does not have; \
                 they are not used"
            )),
        }
    }
    match &handoff.admin {
        _ if admin_keys.is_empty() => {}
        Some(admin) => add(admin, &admin_keys),
        None => warnings.push(
            "metadata has ssh keys, but the image declares no admin; they are not used".to_owned(),
        ),
    }
}

pub(super) fn time_sources(metadata: &Metadata, files: &mut Files) {
    let Some(ntp) = &metadata.ntp else { return };
    let servers = ntp.servers.iter().map(|name| format!("server {name} iburst\n"));
    let pools = ntp.pools.iter().map(|name| format!("pool {name} iburst\n"));
    files.text(TIME_SOURCES, servers.chain(pools).collect());
}

pub(super) fn certificates(metadata: &Metadata, files: &mut Files) {
    let Some(certs) = &metadata.ca_certs else { return };
    if certs.trusted.is_empty() {
        return;
    }
    files.text(TRUSTED, certs.trusted.concat());
    if let Some(file) = files.0.last_mut() {
        file.after_image = !certs.only_these;
    }
}

/// Files by `write_files`, if the image lets metadata write them.
pub(super) fn written(
    handoff: &Handoff,
    metadata: &Metadata,
    files: &mut Files,
) -> Result<(), (&'static str, Problem)> {
    for wanted in &metadata.write_files {
        let refuse = |message: String| Err((wanted.place.file, wanted.place.problem(message)));
        let path = &wanted.path;
        if !allowed(handoff, path) {
            let list = handoff.write_files.join(", ");
            let list = if list.is_empty() { "nothing" } else { &list };
            return refuse(format!("the image lets metadata write {list}; found '{path}'"));
        }
        let below = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
        };
        let templates = handoff.templates.iter().map(|template| &template.target);
        let clash = files
            .0
            .iter()
            .map(|file| &file.path)
            .chain(templates)
            .find(|it| *it == path || below(it, path) || below(path, it));
        if let Some(other) = clash {
            return refuse(format!("'{other}' is already written by something else"));
        }
        let Some((uid, gid)) = owner(handoff, wanted) else {
            return refuse(format!(
                "the image has no account for the owner '{}:{}'",
                wanted.owner, wanted.group
            ));
        };
        files.0.push(File {
            path: path.clone(),
            mode: wanted.mode,
            uid,
            gid,
            bytes: wanted.content.clone(),
            after_image: false,
        });
    }
    Ok(())
}

/// Only below `/etc`, whatever the hand-off says.
fn allowed(handoff: &Handoff, path: &str) -> bool {
    path.starts_with("/etc/")
        && handoff.write_files.iter().any(|entry| match entry.strip_suffix('/') {
            Some(_) => path.starts_with(entry.as_str()) && path.len() > entry.len(),
            None => path == entry,
        })
}

/// Numbers of root and of the accounts that the hand-off knows.
fn owner(handoff: &Handoff, wanted: &WriteFile) -> Option<(u32, u32)> {
    let all = || handoff.accounts.iter().chain(&handoff.owners);
    let account = |name: &str| all().find(|account| account.name == name);
    let uid = match &*wanted.owner {
        "root" => 0,
        name => account(name)?.uid,
    };
    let gid = match &*wanted.group {
        "root" => 0,
        name => account(name)?.gid,
    };
    Some((uid, gid))
}
