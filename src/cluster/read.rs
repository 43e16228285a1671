// SPDX-License-Identifier: Apache-2.0
//! A [`Cluster`] out of `cluster.yaml`. The keys and defaults stand here and in `docs/profile.md`.

use super::{
    Cidr, Cluster, Delivery, Endpoint, Etcd, Host, HostAddress, Kubernetes, Lb, Networks, Pki,
    Proxy, check,
};
use crate::{
    diagnostic::{Diagnostic, Problems, quoted},
    kubernetes::{
        addons,
        extra::{self, Flags},
        pod_network::PodNetwork,
        static_pods,
    },
    names,
    workspace::Workspace,
    yaml::{
        self, Node,
        fields::{
            Complaint, Fields, any, by_name, checked, choice, entries, list, number, parsed,
            schema, switch,
        },
    },
};

/// A hundred years: dates stay far from where their formats end.
const DAYS_MAX: u64 = 36_500;

/// Reads and checks the cluster file; `None` if there is not enough of it to go on. Whatever is
/// wrong is among the problems.
pub fn load(workspace: &Workspace, problems: &Problems) -> Option<Cluster> {
    let node = yaml::parse(&workspace.cluster, problems)?;
    let fields = Fields::top(&node, problems, false)?;
    let cluster = cluster(&fields);
    fields.finish();
    let cluster = cluster?;
    check_pod_ranges(&cluster, &node, problems);
    check::check(&cluster, &node, workspace.profiles.keys().map(String::as_str), problems);
    static_pods::check(&cluster, &node, workspace, problems);
    addons::check_names(&cluster, &node, workspace, problems);
    Some(cluster)
}

/// Hosts that run pods need a range for them.
fn check_pod_ranges(cluster: &Cluster, node: &Node, problems: &Problems) {
    let Some(kubernetes) = &cluster.kubernetes else { return };
    if kubernetes.network.allocates() {
        return;
    }
    let (prefix, pods) = (kubernetes.node_prefix, cluster.networks.pods);
    for (name, host) in cluster.pod_hosts() {
        if cluster.pod_range(host).is_none() {
            let title = format!("network 'pods' ({pods}) has no /{prefix} for host '{name}'");
            let place = node.place(&["networks", "pods"]);
            let help = "a host's part is as far into it as the host's address is into network \
                        'hosts': make 'pods' larger, or 'hosts' smaller";
            problems.add(Diagnostic::new(title).at(place).help(help));
        }
    }
}

fn cluster(top: &Fields<'_>) -> Option<Cluster> {
    let schema = top.required("schema", schema);
    let name = top.required("name", checked(names::label));
    let version = top.required("version", checked(names::version));
    let mirror = top.optional("mirror", checked(names::url));
    let endpoint = top.section("endpoint", endpoint);
    let networks = top.section("networks", networks);
    let etcd = top.section("etcd", |etcd| {
        let members = etcd.required("members", list(checked(names::label)));
        let heartbeat_ms = etcd.or("heartbeat-ms", 100, number(10..=10_000));
        let election_ms = etcd.or("election-ms", 1000, number(50..=50_000));
        let (heartbeat_ms, election_ms) = (heartbeat_ms?, election_ms?);
        Some(Etcd { members: members?, heartbeat_ms, election_ms })
    });
    let lb = top.section("lb", |lb| {
        let proxy = lb.or("proxy", Proxy::Haproxy, choice(&Proxy::WORDS));
        let router_id = lb.or("router-id", 51, number(1..=255));
        Some(Lb { proxy: proxy?, router_id: router_id? })
    });
    let kubernetes = top.node("kubernetes").map(|_| top.section("kubernetes", kubernetes));
    let pki = top.section("pki", pki);
    // Without a network of their own, addresses are still read, each as a network of one.
    let prefix = networks.as_ref().map_or(32, |networks| networks.hosts.prefix);
    let hosts = top.required("hosts", |node, problems| {
        entries(node, problems, false, names::label, |_, fields| host(fields, prefix))
    });
    schema?;
    Some(Cluster {
        name: name?,
        version: version?,
        mirror: mirror?,
        endpoint: endpoint?,
        networks: networks?,
        etcd: etcd?,
        lb: lb?,
        kubernetes: match kubernetes {
            Some(section) => Some(section?),
            None => None,
        },
        pki: pki?,
        hosts: hosts?,
    })
}

fn endpoint(fields: &Fields<'_>) -> Option<Endpoint> {
    let vip = fields.required("vip", address);
    let port = fields.or("port", 6443, number(1..=65_535));
    let names = fields.or("names", Vec::new(), list(checked(names::domain)));
    Some(Endpoint { vip: vip?, port: port?, names: names? })
}

fn networks(fields: &Fields<'_>) -> Option<Networks> {
    let hosts = fields.required("hosts", parsed::<Cidr>);
    let pods = fields.required("pods", parsed::<Cidr>);
    let services = fields.required("services", parsed::<Cidr>);
    let dns = fields.required("dns", address);
    let domain = fields.or("domain", "cluster.local".to_owned(), checked(names::domain));
    let gateway = fields.optional("gateway", address);
    let nameservers = fields.or("nameservers", Vec::new(), list(address));
    Some(Networks {
        hosts: hosts?,
        pods: pods?,
        services: services?,
        dns: dns?,
        domain: domain?,
        gateway: gateway?,
        nameservers: nameservers?,
    })
}

fn kubernetes(fields: &Fields<'_>) -> Option<Kubernetes> {
    use crate::kubernetes::settings::{ControlPlane, ProxyMode};
    let version = fields.required("version", checked(str::parse));
    let node_version = fields.optional("node-version", checked(str::parse));
    let binaries = fields.or("binaries", Default::default(), checked(str::parse));
    let allow_plain_http = fields.or("allow-plain-http", false, switch);
    let planes = [("static-pods", ControlPlane::StaticPods), ("systemd", ControlPlane::Systemd)];
    let control_plane = fields.or("control-plane", ControlPlane::Systemd, choice(&planes));
    let modes = [ProxyMode::Ipvs, ProxyMode::Iptables, ProxyMode::Nftables];
    let modes = modes.map(|mode| (mode.name(), mode));
    let proxy_mode = fields.or("proxy-mode", ProxyMode::Ipvs, choice(&modes));
    let node_prefix = fields.or("node-prefix", 24, number(8..=30));
    let network = fields.or("network", PodNetwork::Routed, choice(&PodNetwork::WORDS));
    let flags = fields.or("flags", Default::default(), flags);
    let addons = fields.or("addons", Vec::new(), list(checked(names::addon)));
    Some(Kubernetes {
        version: version?,
        node_version: node_version?,
        binaries: binaries?,
        allow_plain_http: allow_plain_http?,
        control_plane: control_plane?,
        proxy_mode: proxy_mode?,
        node_prefix: node_prefix?,
        network: network?,
        flags: flags?,
        addons: addons?,
    })
}

/// Values by flag, by program.
fn flags(node: &Node, problems: &Problems) -> Option<Flags> {
    by_name(node, problems, extra::program, |_, _, node, problems| {
        by_name(node, problems, extra::name, |_, _, node, problems| {
            checked(extra::value)(node, problems)
        })
    })
}

fn pki(fields: &Fields<'_>) -> Option<Pki> {
    let words = [("baked", Delivery::Baked), ("seed", Delivery::Seed)];
    let delivery = fields.or("delivery", Delivery::Baked, choice(&words));
    let ca_days = fields.or("ca-days", 3650, number(1..=DAYS_MAX));
    let leaf_days = fields.or("leaf-days", 365, number(1..=DAYS_MAX));
    Some(Pki { delivery: delivery?, ca_days: ca_days?, leaf_days: leaf_days? })
}

fn host(fields: &Fields<'_>, prefix: u8) -> Option<Host> {
    let role = fields.required("role", checked(names::part));
    let address = fields.required("address", |node, problems| {
        let parse = |text: &str| HostAddress::parse(text, prefix).ok_or_else(|| no_address(text));
        checked(parse)(node, problems)
    });
    let mac = fields.optional("mac", checked(names::mac));
    let uuid = fields.optional("uuid", checked(names::machine_uuid));
    let kernel_arguments =
        fields.or("kernel-arguments", Vec::new(), list(checked(names::netboot_argument)));
    let ssh_authorized_keys =
        fields.or("ssh-authorized-keys", Vec::new(), list(checked(names::ssh_key)));
    let vars = fields.or("vars", Default::default(), |node, problems| {
        by_name(node, problems, names::host_variable, |_, _, node, problems| any(node, problems))
    });
    Some(Host {
        role: role?,
        address: address?,
        mac: mac?,
        uuid: uuid?,
        kernel_arguments: kernel_arguments?,
        ssh_authorized_keys: ssh_authorized_keys?,
        vars: vars?,
    })
}

/// An address without a prefix.
fn address<T: std::str::FromStr>(node: &Node, problems: &Problems) -> Option<T> {
    checked(|text| text.parse().map_err(|_| no_address(text)))(node, problems)
}

fn no_address(text: &str) -> Complaint {
    let what = format!("{} is no IPv4 address", quoted(text));
    Complaint::new(what, "write four numbers from 0 to 255, as 192.168.31.24")
}
