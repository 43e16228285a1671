// SPDX-License-Identifier: Apache-2.0
//! What kiln-init is told.

use std::net::IpAddr;

use kiln_contract::path;
use kiln_init::handoff::{Account, Handoff, HostLine, Template};

use super::{Error, draft::Draft, overlay::Templates, var};
use crate::plan::Plan;

/// Writes the hand-off into the root and returns it, for the initramfs.
pub(super) fn write(
    draft: &mut Draft<'_>,
    templates: Templates,
    accounts: Vec<Account>,
    early_modules: Vec<String>,
) -> Result<Handoff, Error> {
    let templates = templates.into_values().collect();
    let handoff = Handoff { early_modules, ..of(draft.plan, templates, accounts) };
    let mut text = serde_json::to_vec_pretty(&handoff).expect("a hand-off is plain data");
    text.push(b'\n');
    draft.write(path::HANDOFF_IN_ROOT, text, "handoff")?;
    Ok(handoff)
}

/// The hand-off of a plan, without the modules, which its packages decide.
pub(super) fn of(plan: &Plan, templates: Vec<Template>, accounts: Vec<Account>) -> Handoff {
    let Plan { cluster, profile, .. } = plan;
    let is_admin =
        |account: &&Account| profile.users.get(&account.name).is_some_and(|user| user.admin);
    Handoff {
        schema: kiln_contract::HANDOFF_SCHEMA,
        cluster: cluster.name.clone(),
        role: profile.role.clone(),
        version: cluster.version.clone(),
        sources: profile.metadata.sources.clone(),
        absent: profile.metadata.absent,
        invalid: profile.metadata.invalid,
        instance_change: profile.metadata.instance_change,
        source_wait: profile.metadata.wait,
        wipe: profile.metadata.wipe,
        url: profile.metadata.url.clone(),
        write_files: profile.metadata.write_files.clone(),
        early_modules: Vec::new(),
        templates,
        admin: accounts.iter().find(is_admin).cloned(),
        accounts,
        hosts: host_lines(plan),
        ready: profile.services.ready.iter().cloned().collect(),
        ready_timeout: profile.services.ready_timeout,
        var_partition: Some(var::partition(plan)),
    }
}

/// The cluster's names: every host, then the endpoint.
fn host_lines(plan: &Plan) -> Vec<HostLine> {
    let cluster = &plan.cluster;
    let hosts = cluster.hosts.iter().map(|(name, host)| HostLine {
        address: IpAddr::V4(host.address.address),
        names: vec![name.clone()],
    });
    let endpoint = (!cluster.endpoint.names.is_empty()).then(|| HostLine {
        address: IpAddr::V4(cluster.endpoint.vip),
        names: cluster.endpoint.names.clone(),
    });
    hosts.chain(endpoint).collect()
}
