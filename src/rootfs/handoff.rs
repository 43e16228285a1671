// SPDX-License-Identifier: Apache-2.0
//! What kiln-init is told.

use std::{collections::BTreeMap, net::IpAddr};

use kiln_contract::path;
use kiln_init::handoff::{Account, Handoff, HostLine, Kubelets, Template};

use super::{Error, accounts, draft::Draft, overlay::Templates, var};
use crate::{
    cluster::{Cluster, Networks},
    kubernetes::{MASTER, secrets},
    plan::Plan,
    tree::{Origin, TreePath},
};

/// Writes the hand-off into the root and returns it, for the initramfs.
pub(super) fn write(
    draft: &mut Draft<'_>,
    templates: Templates,
    accounts: Vec<Account>,
    early_modules: Vec<String>,
) -> Result<Handoff, Error> {
    let templates = templates.into_values().collect();
    let owners = owners(draft)?;
    let handoff = Handoff { early_modules, ..of(draft.plan, templates, accounts, owners) };
    let mut text = serde_json::to_vec_pretty(&handoff).expect("a hand-off is plain data");
    text.push(b'\n');
    draft.write(path::HANDOFF_IN_ROOT, text, "handoff")?;
    Ok(handoff)
}

/// Numbers of the accounts that files of a seed belong to.
fn owners(draft: &Draft<'_>) -> Result<Vec<Account>, Error> {
    let plan = draft.plan;
    let number = |noun, numbers: &BTreeMap<String, u32>, name: &str| {
        numbers.get(name).copied().ok_or_else(|| accounts::Error::Unknown {
            path: TreePath::literal(path::HANDOFF_IN_ROOT),
            origin: Origin::Kiln("handoff"),
            noun,
            name: name.to_owned(),
        })
    };
    let account = |name: &str| {
        let uid = number("user", &draft.users, name)?;
        let gid = number("group", &draft.groups, name)?;
        Ok(Account { name: name.to_owned(), uid, gid })
    };
    secrets::owners(&plan.cluster, &plan.profile.role).into_iter().map(account).collect()
}

/// The hand-off of a plan, without the modules, which its packages decide.
pub(super) fn of(
    plan: &Plan,
    templates: Vec<Template>,
    accounts: Vec<Account>,
    owners: Vec<Account>,
) -> Handoff {
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
        owners,
        hosts: host_lines(plan),
        peers: cluster.peers_of(&profile.role),
        kubelets: (cluster.kubernetes.is_some() && profile.role == MASTER)
            .then(|| kubelets(cluster)),
        ready: profile.services.ready.iter().cloned().collect(),
        ready_timeout: profile.services.ready_timeout,
        var_partition: Some(var::partition(plan)),
    }
}

/// Whose serving certificates masters approve.
fn kubelets(cluster: &Cluster) -> Kubelets {
    let Networks { hosts, gateway, .. } = &cluster.networks;
    Kubelets {
        names: cluster.pod_hosts().map(|(name, _)| name.to_owned()).collect(),
        network: hosts.network,
        prefix: hosts.prefix,
        reserved: std::iter::once(cluster.endpoint.vip).chain(*gateway).collect(),
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
