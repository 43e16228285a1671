// SPDX-License-Identifier: Apache-2.0
//! What the keys of a cluster file must agree on.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use super::{Cluster, Host, release};
use crate::{
    diagnostic::{Diagnostic, Problems, Span, quoted, suggest},
    kubernetes::{MASTER, NODE, role, settings::Subject},
    yaml::Node,
};

/// The cluster file's tree with the list of what is wrong with it.
struct Check<'a> {
    cluster: &'a Cluster,
    node: &'a Node,
    problems: &'a Problems,
}

/// Complains about every contradiction.
pub(super) fn check<'a>(
    cluster: &Cluster,
    node: &Node,
    profiles: impl Iterator<Item = &'a str> + Clone,
    problems: &Problems,
) {
    let check = Check { cluster, node, problems };
    check.networks();
    check.endpoint();
    check.hosts(profiles);
    check.addresses();
    check.machines();
    check.etcd();
    check.pki();
    check.kubernetes();
    for role in cluster.roles() {
        if let Err(complaint) = cluster.check_label(role) {
            problems.add(complaint.at(node.place(&["name"])));
        }
    }
}

impl Check<'_> {
    fn complain(&self, place: &Span, title: impl Into<String>, help: impl Into<String>) {
        self.problems.add(Diagnostic::new(title).at(place).help(help));
    }

    fn networks(&self) {
        let networks = &self.cluster.networks;
        let all =
            [("hosts", networks.hosts), ("pods", networks.pods), ("services", networks.services)];
        for (index, (name, network)) in all.iter().enumerate() {
            for (other_name, other) in
                all[..index].iter().filter(|(_, other)| network.overlaps(other))
            {
                self.problems.add(
                    Diagnostic::new(format!(
                        "network '{name}' ({network}) overlaps network '{other_name}' ({other})"
                    ))
                    .at(self.node.place(&["networks", name]))
                    .also(self.node.place(&["networks", other_name]), "the other")
                    .help("give each network addresses of its own"),
                );
            }
        }
        let dns = self.node.place(&["networks", "dns"]);
        let services = networks.services;
        if !services.has_host(networks.dns) {
            self.complain(
                dns,
                format!(
                    "address {} of the DNS service is outside of network 'services' ({services})",
                    networks.dns
                ),
                "take one of its addresses, usually the tenth or the second",
            );
        } else if networks.dns.to_bits() == services.network.to_bits() + 1 {
            self.complain(
                dns,
                format!("{} is the address of the service 'kubernetes'", networks.dns),
                "Kubernetes takes the first address of network 'services' itself: take another",
            );
        }
        if let Some(gateway) = networks.gateway {
            self.inside_hosts("the gateway", gateway, self.node.place(&["networks", "gateway"]));
        }
    }

    fn inside_hosts(&self, whose: &str, address: Ipv4Addr, place: &Span) {
        let networks = &self.cluster.networks;
        let network = networks.hosts;
        if !network.contains(address) {
            let title =
                format!("address {address} of {whose} is outside of network 'hosts' ({network})");
            let others = [("pods", networks.pods), ("services", networks.services)];
            let inside = others.iter().find(|(_, other)| other.contains(address));
            let inside =
                inside.map(|(name, other)| format!(" and inside network '{name}' ({other})"));
            self.complain(
                place,
                title + &inside.unwrap_or_default(),
                "hosts, gateway and VIP share one network: correct the address or 'networks.hosts'",
            );
        } else if !network.has_host(address) {
            self.complain(
                place,
                format!("address {address} of {whose} is the first or last of network 'hosts' ({network})"),
                "these two mean the network and everybody in it: take another",
            );
        }
    }

    fn endpoint(&self) {
        let vip = self.cluster.endpoint.vip;
        self.inside_hosts("the VIP", vip, self.node.place(&["endpoint", "vip"]));
        let mut seen = BTreeSet::new();
        for (index, name) in self.cluster.endpoint.names.iter().enumerate() {
            if !seen.insert(name) {
                let place = self.node.item(&["endpoint", "names"], index);
                self.complain(place, format!("name '{name}' stands here twice"), "remove one");
            }
        }
    }

    fn hosts<'p>(&self, profiles: impl Iterator<Item = &'p str> + Clone) {
        let hosts = &self.cluster.hosts;
        if hosts.is_empty() {
            let place = self.node.place(&["hosts"]);
            self.complain(
                place,
                "the cluster has no hosts",
                "name one; its role decides its image",
            );
        }
        let prefix = self.cluster.networks.hosts.prefix;
        for (name, host) in hosts {
            if name == "localhost" {
                let place = self.node.place(&["hosts", name]);
                self.complain(
                    place,
                    "no host can be called 'localhost'",
                    "that name means every host itself",
                );
            }
            if !profiles.clone().any(|profile| profile == host.role) {
                self.complain(
                    self.node.place(&["hosts", name, "role"]),
                    format!("there is no profile for role {}", quoted(&host.role)),
                    match suggest(&host.role, profiles.clone()) {
                        near if near.starts_with("did") => near,
                        _ => format!("write 'profiles/{}.yaml'", host.role),
                    },
                );
            }
            let place = self.node.place(&["hosts", name, "address"]);
            self.inside_hosts(&format!("host '{name}'"), host.address.address, place);
            if host.address.prefix != prefix {
                self.complain(
                    place,
                    format!(
                        "prefix {} differs from that of network 'hosts' ({prefix})",
                        host.address.prefix
                    ),
                    "write the address alone",
                );
            }
        }
    }

    /// No two machines have the same address.
    fn addresses(&self) {
        let mut owners = BTreeMap::new();
        owners.insert(
            self.cluster.endpoint.vip,
            ("the VIP".to_owned(), self.node.place(&["endpoint", "vip"])),
        );
        let gateway = self.cluster.networks.gateway.map(|address| {
            (address, "the gateway".to_owned(), self.node.place(&["networks", "gateway"]))
        });
        let mut hosts: Vec<_> = self
            .cluster
            .hosts
            .iter()
            .map(|(name, host)| {
                let place = self.node.place(&["hosts", name, "address"]);
                (host.address.address, format!("host '{name}'"), place)
            })
            .collect();
        // In the order of the file, so that the second one written is the one complained about.
        hosts.sort_by_key(|(.., place)| place.range.start);
        for (address, owner, place) in gateway.into_iter().chain(hosts) {
            if let Some((first, first_place)) = owners.get(&address) {
                self.problems.add(
                    Diagnostic::new(format!("address {address} of {owner} is that of {first}"))
                        .at(place)
                        .also(first_place, "first here")
                        .help("give each its own"),
                );
            } else {
                owners.insert(address, (owner, place));
            }
        }
    }

    /// What machines are told apart by.
    fn machines(&self) {
        self.distinct("mac", "MAC address", |host| host.mac.as_ref());
        self.distinct("uuid", "UUID", |host| host.uuid.as_ref());
    }

    fn distinct(&self, key: &str, noun: &str, value: impl Fn(&Host) -> Option<&String>) {
        let mut values: Vec<_> = self
            .cluster
            .hosts
            .iter()
            .filter_map(|(name, host)| {
                Some((value(host)?, name, self.node.place(&["hosts", name, key])))
            })
            .collect();
        values.sort_by_key(|(.., place)| place.range.start);
        let mut owners: BTreeMap<&String, (&String, &Span)> = BTreeMap::new();
        for (value, name, place) in values {
            if let Some((first, first_place)) = owners.get(value) {
                self.problems.add(
                    Diagnostic::new(format!(
                        "{noun} {value} of host '{name}' is that of host '{first}'"
                    ))
                    .at(place)
                    .also(first_place, "first here")
                    .help("give each its own"),
                );
            } else {
                owners.insert(value, (name, place));
            }
        }
    }

    fn etcd(&self) {
        let members = &self.cluster.etcd.members;
        let mut seen = BTreeSet::new();
        for (index, member) in members.iter().enumerate() {
            let place = self.node.item(&["etcd", "members"], index);
            if !self.cluster.hosts.contains_key(member) {
                let hosts = self.cluster.hosts.keys().map(String::as_str);
                self.complain(
                    place,
                    format!("there is no host {}", quoted(member)),
                    suggest(member, hosts),
                );
            }
            if !seen.insert(member) {
                self.complain(place, format!("member '{member}' stands here twice"), "remove one");
            }
        }
        if members.len().is_multiple_of(2) {
            self.complain(
                self.node.place(&["etcd", "members"]),
                format!("etcd has {} members", members.len()),
                "write an odd number: one more than that adds a member that can fail, and survives nothing more",
            );
        }
    }

    fn kubernetes(&self) {
        let Some(kubernetes) = &self.cluster.kubernetes else { return };
        release::check(kubernetes, self.node, self.problems);
        let mut seen = Vec::new();
        for role in [NODE, MASTER] {
            let settings = role::settings(self.cluster, role).zip(role::machine(role));
            let Some((settings, machine)) = settings else { continue };
            for finding in settings.check(machine) {
                // What is wrong on both is wrong once.
                if !seen.contains(&finding) {
                    seen.push(finding.clone());
                    self.problems.add(finding.complaint.at(self.subject(&finding.subject)));
                }
            }
        }
    }

    /// Where the cluster file says it.
    fn subject(&self, subject: &Subject) -> &Span {
        match subject {
            Subject::ProxyMode => self.node.place(&["kubernetes", "proxy-mode"]),
            Subject::NodePrefix => self.node.place(&["kubernetes", "node-prefix"]),
            Subject::Flag(component, name) => {
                self.node.key(&["kubernetes", "flags", component.name(), name])
            }
        }
    }

    fn pki(&self) {
        let pki = &self.cluster.pki;
        if pki.leaf_days >= pki.ca_days {
            self.complain(
                self.node.place(&["pki", "leaf-days"]),
                format!(
                    "certificates of {} days would outlive their CA of {} days",
                    pki.leaf_days, pki.ca_days
                ),
                "make 'pki.leaf-days' smaller than 'pki.ca-days'",
            );
        }
    }
}
