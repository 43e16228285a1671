// SPDX-License-Identifier: Apache-2.0
//! `/etc/nftables.conf`: what the profile does not let in is dropped.
//!
//! The table is Kiln's own and replaces only itself when it is loaded, so that the tables of
//! kube-proxy and CNI plugins survive a reload. It filters what comes in to the machine. What is
//! forwarded is pods' and services' traffic, which belongs to the tables of Kubernetes: it
//! passes between the cluster's networks, and everything else is dropped.

use std::collections::BTreeSet;

use super::{Error, draft::Draft};
use crate::{
    cluster::{Cluster, Networks},
    plan::Plan,
    profile::firewall::{Ports, Rule, Traffic},
};

/// What nftables.service loads.
const FILE: &str = "/etc/nftables.conf";
const STAGE: &str = "firewall";

/// Writes the rules, if the image has nftables to load them.
///
/// # Errors
/// The profile lets something in, but there is nothing that would enforce the rest.
pub(super) fn write(draft: &mut Draft<'_>) -> Result<(), Error> {
    if draft.has("/usr/sbin/nft") {
        return draft.write_mode(FILE, 0o755, ruleset(draft.plan), STAGE);
    }
    if draft.plan.profile.firewall.allow.is_empty() {
        return Ok(());
    }
    Err(Error::Missing { what: "nft for the rules under 'firewall'", package: "nftables" })
}

/// The rules as a script of nft(8).
fn ruleset(plan: &Plan) -> String {
    let networks = &plan.cluster.networks;
    let allow: String =
        plan.profile.firewall.allow.iter().map(|rule| accept(rule, &plan.cluster)).collect();
    let inside: BTreeSet<String> =
        [networks.pods, networks.services].iter().map(ToString::to_string).collect();
    let inside = inside.into_iter().collect::<Vec<_>>().join(", ");
    format!(
        "#!/usr/sbin/nft -f
# Made from 'firewall:' of profile '{role}'.

table inet kiln
delete table inet kiln

table inet kiln {{
\tchain input {{
\t\ttype filter hook input priority filter; policy drop;

\t\tct state established,related accept
\t\tct state invalid drop
\t\tiif \"lo\" accept

\t\t# What IP itself needs to work, and answers to ping.
\t\ticmp type {{ echo-request, destination-unreachable, time-exceeded, parameter-problem }} accept
\t\tip6 nexthdr ipv6-icmp accept
\t\tip6 saddr fe80::/10 udp sport 547 udp dport 546 accept

{services}{allow}\t}}

\tchain forward {{
\t\ttype filter hook forward priority filter; policy drop;

\t\tct state established,related accept
\t\tip saddr {{ {inside} }} accept
\t\tip daddr {{ {inside} }} accept
\t}}
{masquerade}}}
",
        services = services(plan),
        masquerade = masquerade(plan),
        role = plan.profile.role,
    )
}

/// Whether pods run on the machines of this image.
fn has_pods(plan: &Plan) -> bool {
    plan.cluster.runs_pods(&plan.profile.role)
}

/// Services' addresses are the machine's own where kube-proxy uses ipvs, so what pods and hosts
/// send there comes in.
fn services(plan: &Plan) -> String {
    let Networks { hosts, pods, services, .. } = &plan.cluster.networks;
    if has_pods(plan) {
        format!("\t\tip saddr {{ {hosts}, {pods} }} ip daddr {services} accept\n")
    } else {
        String::new()
    }
}

/// Pods' addresses mean nothing outside of the cluster. If no route of the hosts leads to them,
/// only nodes are inside: masters and load balancers answer what comes from a host.
fn masquerade(plan: &Plan) -> String {
    let Networks { hosts, pods, services, .. } = &plan.cluster.networks;
    let kubernetes = plan.cluster.kubernetes.as_ref();
    let Some(kubernetes) = kubernetes.filter(|_| has_pods(plan)) else { return String::new() };
    let inside = if kubernetes.network.allocates() {
        format!("{pods}, {services}")
    } else {
        format!("{hosts}, {pods}, {services}")
    };
    format!(
        "
\tchain postrouting {{
\t\ttype nat hook postrouting priority srcnat;

\t\tip saddr {pods} ip daddr != {{ {inside} }} masquerade
\t}}
"
    )
}

/// One rule of the profile.
fn accept(rule: &Rule, cluster: &Cluster) -> String {
    let from = rule
        .origin
        .network(&cluster.networks)
        .map(|network| format!("ip saddr {network} "))
        .unwrap_or_default();
    let what = match rule.traffic {
        Traffic::Tcp(ports) => format!("tcp dport {}", range(ports)),
        Traffic::Endpoint => format!("tcp dport {}", cluster.endpoint.port),
        Traffic::Udp(ports) => format!("udp dport {}", range(ports)),
        Traffic::Vrrp => "meta l4proto 112".to_owned(),
        Traffic::Icmp => "meta l4proto { icmp, ipv6-icmp }".to_owned(),
    };
    format!("\t\t{from}{what} accept comment \"{rule}\"\n")
}

fn range(ports: Ports) -> String {
    ports.to_string()
}
