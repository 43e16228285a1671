// SPDX-License-Identifier: Apache-2.0
//! What goes wrong when people install Kubernetes by hand, each as a test that says it cannot happen here.
//!
//! Most rules have longer tests where the code is; these read what the images of the quickstart
//! and of `tests/failover` would carry, for every minor of Kubernetes.

use std::collections::{BTreeMap, BTreeSet};

use kiln::{
    digest::Digest,
    kubernetes::{
        arguments::arguments,
        bootstrap, bring_up, configs, etcd,
        flags::Component,
        kinds::Kind,
        role,
        settings::{Machine, PerHost, Settings},
        version::Minor,
    },
    pki::{
        self,
        leaves::{San, Scope, leaves},
    },
    plan::{self, Given},
    sys,
    workspace::OverlayFile,
};
use serde_json::Value;

use crate::support::{
    files::Planned,
    qemu::repository,
    secrets::{encryption_keys, token},
};

/// The cluster of `tests/failover` with another minor.
fn with_minor(minor: Minor) -> Planned {
    Planned::with("tests/failover", |text| {
        text.replace("version: v1.20.2", &format!("version: v{minor}.2"))
    })
}

fn settings(planned: &Planned) -> Settings {
    role::settings(planned.cluster(), "master").unwrap()
}

/// How everybody but masters calls the API.
const VIP: &str = "https://192.168.31.100:6443";
/// A host of each role.
const HOSTS: [(&str, &str); 3] =
    [("lb", "k8s-lb-primary"), ("master", "k8s-master-1"), ("node", "k8s-node-1")];

/// Every text that Kiln or its overlays give a host, its secrets among them.
fn texts(planned: &Planned, role: &str, host: &str) -> Vec<(String, String)> {
    let secrets = role::secrets(planned.cluster(), role, &token(), &encryption_keys());
    let secrets =
        secrets.into_iter().map(|file| (file.path, String::from_utf8(file.content).unwrap()));
    planned.texts(role, host).into_iter().chain(secrets).collect()
}

/// The file at `path` of a host.
fn text(planned: &Planned, role: &str, host: &str, path: &str) -> String {
    let found = texts(planned, role, host).into_iter().find(|(found, _)| found == path);
    found.unwrap_or_else(|| panic!("role '{role}' has no '{path}'")).1
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// All arguments of all programs, by minor.
fn all_arguments() -> Vec<(Minor, Component, Vec<String>)> {
    let mut all = Vec::new();
    for minor in Minor::all() {
        let settings = settings(&with_minor(minor));
        for component in Component::ALL {
            let machine = match component {
                Component::Kubelet | Component::KubeProxy => Machine::Node,
                _ => Machine::ControlPlane,
            };
            let list = arguments(component, &settings, machine);
            all.push((minor, component, list.iter().map(ToString::to_string).collect()));
        }
    }
    all
}

/// What a changed quickstart is refused with.
fn refused(from: &str, to: &str) -> String {
    let mut workspace = sys::workspace::load(repository()).unwrap();
    let text = workspace.cluster.text.clone();
    assert_eq!(text.matches(from).count(), 1, "'{from}' stands once");
    workspace.cluster = kiln::diagnostic::Source::new("cluster.yaml", text.replace(from, to));
    let given = Given { epoch: 0, init: Digest::of(b"") };
    plan::plan(&workspace, &[], given).expect_err("it is refused").to_string()
}

#[test]
fn no_generated_file_and_no_argument_has_a_continuation_line() {
    for minor in [Minor::OLDEST, Minor::NEWEST] {
        let planned = with_minor(minor);
        for (role, host) in HOSTS {
            for (path, text) in texts(&planned, role, host) {
                let is_continued = text.lines().any(|line| line.trim_end().ends_with('\\'));
                assert!(!is_continued, "{path}: {text}");
            }
        }
    }
    for (minor, component, list) in all_arguments() {
        for argument in list {
            let facts = [PerHost::Address, PerHost::Hostname, PerHost::EtcdServers];
            let fill = |text: String, fact: &PerHost| text.replace(&fact.to_string(), "FACT");
            let argument = facts.iter().fold(argument, fill);
            let is_one_word = !argument.contains(['\\', '#', ' ', '\n']);
            assert!(is_one_word, "{component} of {minor}: {argument}");
        }
    }
}

#[test]
fn members_of_etcd_are_called_as_their_hosts_and_no_two_alike() {
    let planned = Planned::of("");
    let cluster = planned.cluster();
    for member in &cluster.etcd.members {
        let host = &cluster.hosts[member];
        let config = yaml(&text(&planned, &host.role, member, etcd::CONFIG));
        assert_eq!(config["name"], member.as_str());
        let initial = config["initial-cluster"].as_str().unwrap();
        let names: Vec<&str> =
            initial.split(',').map(|entry| entry.split_once('=').unwrap().0).collect();
        assert_eq!(names, cluster.etcd.members);
        assert_eq!(BTreeSet::from_iter(&names).len(), names.len());
        let own = format!("https://{}:2380", host.address.address);
        assert_eq!(config["initial-advertise-peer-urls"], own.as_str());
        assert!(initial.contains(&format!("{member}={own}")), "{initial}");
    }
    let report = refused("[k8s-master-1, k8s-master-2,", "[k8s-master-1, k8s-master-1,");
    assert!(report.contains("member 'k8s-master-1' stands here twice"), "{report}");
}

#[test]
fn certificates_have_the_names_of_the_cluster_file_with_the_vip_and_none_is_shared() {
    let quickstart = Planned::of("");
    let master = Scope::Role("master".to_owned());
    let names = |planned: &Planned| -> BTreeMap<&str, BTreeSet<San>> {
        let all = leaves(planned.cluster(), &master);
        all.into_iter().map(|leaf| (leaf.name, leaf.sans)).collect()
    };
    let before = names(&quickstart);
    let api = &before["apiserver"];
    let cluster = quickstart.cluster();
    for (name, host) in cluster.hosts_of("master") {
        assert!(api.contains(&San::Dns(name.to_owned())), "{api:?}");
        assert!(api.contains(&San::from(host.address.address)), "{api:?}");
    }
    assert!(api.contains(&San::from(cluster.endpoint.vip)), "{api:?}");
    assert!(before["etcd-server"] != *api && !before["etcd-server"].is_empty());
    let cas: BTreeSet<_> = leaves(cluster, &master).iter().map(|leaf| leaf.ca).collect();
    assert_eq!(cas.len(), 3, "etcd and the API do not trust one another's certificates");
    // A new host says by itself which certificates change.
    let grown = Planned::with("", |text| {
        text.replace(
            "  k8s-node-1:\n",
            "  k8s-master-3: { role: master, address: 192.168.31.27 }\n  k8s-node-1:\n",
        )
    });
    let after = names(&grown);
    let changed: Vec<&str> =
        before.keys().copied().filter(|name| before[name] != after[name]).collect();
    assert_eq!(changed, ["apiserver", "controller-manager-serving", "scheduler-serving"]);
}

#[test]
fn kubeconfigs_call_by_https_and_name_a_context_that_exists() {
    let mut n_found = 0;
    for minor in Minor::all() {
        let planned = with_minor(minor);
        for (role, host) in HOSTS {
            let own = planned.cluster().hosts[host].address.address;
            for (path, text) in texts(&planned, role, host) {
                if !path.ends_with(".conf") || !text.contains("current-context") {
                    continue;
                }
                let config = yaml(&text);
                let server = config["clusters"][0]["cluster"]["server"].as_str().unwrap();
                let expected = match role {
                    "node" => VIP.to_owned(),
                    _ => format!("https://{own}:6443"),
                };
                assert_eq!(server, expected, "{path} of {role}");
                let context = &config["contexts"][0];
                assert_eq!(config["current-context"], context["name"], "{path}");
                assert_eq!(context["context"]["cluster"], config["clusters"][0]["name"], "{path}");
                assert_eq!(context["context"]["user"], config["users"][0]["name"], "{path}");
                n_found += 1;
            }
        }
    }
    assert!(n_found >= 5 * Minor::all().count(), "two of a node, three of a master: {n_found}");
}

#[test]
fn kube_proxy_s_cluster_cidr_is_the_pods_network_and_networks_do_not_overlap() {
    for minor in Minor::all() {
        let planned = with_minor(minor);
        let config = yaml(&text(&planned, "node", "k8s-node-1", "/etc/kubernetes/kube-proxy.yaml"));
        assert_eq!(config["clusterCIDR"], planned.cluster().networks.pods.to_string());
    }
    let report = refused("services: 10.0.0.0/24", "services: 10.244.0.0/24");
    let expected = "network 'services' (10.244.0.0/24) overlaps network 'pods' (10.244.0.0/16)";
    assert!(report.contains(expected), "{report}");
}

#[test]
fn configurations_of_components_have_only_fields_that_their_minor_knows() {
    for minor in Minor::all() {
        let settings = settings(&with_minor(minor));
        for (kind, document) in [
            (Kind::Kubelet, configs::kubelet(&settings, Machine::Node)),
            (Kind::KubeProxy, configs::proxy(&settings)),
            (Kind::AuditPolicy, configs::audit_policy(&settings)),
        ] {
            assert_eq!(kind.check(minor, &document), [], "{minor}");
        }
    }
    for (kind, misspelt, help) in [
        (Kind::KubeProxy, "metrisBindAddress", "did you mean 'metricsBindAddress'?"),
        (
            Kind::Kubelet,
            "authorization.webhook.cacheAuthroizedTTL",
            "did you mean 'authorization.webhook.cacheAuthorizedTTL'?",
        ),
    ] {
        let complaint = kind.check_field(Minor::OLDEST, misspelt).unwrap_err();
        assert_eq!(complaint.help.as_deref(), Some(help));
    }
}

#[test]
fn swap_is_off_and_the_kubelet_insists_on_it() {
    for minor in Minor::all() {
        let planned = with_minor(minor);
        let kubelet = yaml(&text(&planned, "node", "k8s-node-1", "/etc/kubernetes/kubelet.yaml"));
        assert_eq!(kubelet["failSwapOn"], true, "{minor}");
        assert_ne!(kubelet["cgroupsPerQOS"], false, "{minor}");
        for plan in &planned.plans {
            assert!(plan.profile.kernel.arguments.contains(&"systemd.swap=no".to_owned()));
        }
    }
}

#[test]
fn kubelet_and_containerd_have_one_cgroup_driver() {
    let planned = Planned::of("tests/failover");
    let kubelet = yaml(&text(&planned, "node", "k8s-node-1", "/etc/kubernetes/kubelet.yaml"));
    assert_eq!(kubelet["cgroupDriver"], "systemd");
    let path = "/etc/containerd/config.toml";
    let containerd: toml::Table = text(&planned, "node", "k8s-node-1", path).parse().unwrap();
    let runc =
        &containerd["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]["runtimes"]["runc"];
    assert_eq!(runc["options"]["SystemdCgroup"].as_bool(), Some(true));
}

/// By name of the unit: what it is ordered after, and before. Drop-ins count for their unit.
fn orders(planned: &Planned, role: &str, host: &str) -> BTreeMap<String, [BTreeSet<String>; 2]> {
    let mut orders: BTreeMap<String, [BTreeSet<String>; 2]> = BTreeMap::new();
    for (path, text) in texts(planned, role, host) {
        let Some(rest) = path.strip_prefix("/usr/lib/systemd/system/") else { continue };
        let unit = rest.split('/').next().unwrap().trim_end_matches(".d").to_owned();
        for (index, key) in ["After=", "Before="].into_iter().enumerate() {
            let values = text.lines().filter_map(|line| line.strip_prefix(key));
            let names = values.flat_map(str::split_whitespace).map(str::to_owned);
            orders.entry(unit.clone()).or_default()[index].extend(names);
        }
    }
    orders
}

#[test]
fn no_unit_is_ordered_both_before_and_after_another() {
    let planned = Planned::of("tests/failover");
    for (role, host) in HOSTS {
        let orders = orders(&planned, role, host);
        for (unit, [after, before]) in &orders {
            let both: Vec<_> = after.intersection(before).collect();
            assert!(both.is_empty(), "{unit}: {both:?}");
            for other in after {
                let circle = orders.get(other).is_some_and(|[after, _]| after.contains(unit));
                assert!(!circle, "{unit} and {other} wait for one another");
            }
        }
    }
    let node = orders(&planned, "node", "k8s-node-1");
    assert!(node["kubelet.service"][0].contains("containerd.service"), "{node:?}");
    assert!(!node["kubelet.service"][1].contains("containerd.service"), "{node:?}");
}

#[test]
fn nothing_serves_or_calls_by_an_insecure_port() {
    for (minor, component, list) in all_arguments() {
        for argument in &list {
            let is_plain = argument.contains("http://") || argument.contains("8080");
            let insecure = argument.starts_with("--insecure");
            assert!(!is_plain && !insecure, "{component} of {minor}: {argument}");
        }
        if let Component::ControllerManager | Component::Scheduler = component {
            let closes = list.contains(&"--port=0".to_owned());
            assert_eq!(closes, minor.get() <= 22, "{component} of {minor} opens no plain port");
            let calls = |argument: &String| argument.starts_with("--authentication-kubeconfig=");
            assert!(list.iter().any(calls), "{list:?}");
        }
    }
    for minor in Minor::all() {
        let kubelet =
            text(&with_minor(minor), "node", "k8s-node-1", "/etc/kubernetes/kubelet.yaml");
        let port = &yaml(&kubelet)["readOnlyPort"];
        assert!(port.is_null() || *port == 0, "{minor}: {port}");
    }
}

#[test]
fn keepalived_asks_whether_the_port_answers_and_counts_no_processes() {
    for proxy in ["haproxy", "nginx"] {
        let planned =
            Planned::with("", |text| text.replace("proxy: haproxy", &format!("proxy: {proxy}")));
        let config = planned.text("lb", "/etc/keepalived/keepalived.conf", "k8s-lb-primary");
        let scripts: Vec<&str> =
            config.lines().filter_map(|line| line.trim().strip_prefix("script ")).collect();
        assert_eq!(scripts, ["\"/usr/lib/kiln/kiln-init answers 127.0.0.1:6443\""]);
    }
}

#[test]
fn no_file_assumes_the_name_of_an_interface() {
    let planned = Planned::with("", |text| text.replace("proxy: haproxy", "proxy: nginx"));
    let mut sources: Vec<(String, String)> = Vec::new();
    for overlay in planned.workspace.overlays.values() {
        for (path, file) in &overlay.files {
            if let OverlayFile::File { content, .. } = file {
                sources.push((path.clone(), String::from_utf8(content.to_vec().unwrap()).unwrap()));
            }
        }
    }
    for plan in Planned::of("tests/failover").plans {
        for (path, file) in &plan.profile.files {
            sources.push((path.as_str().to_owned(), format!("{:?}", file.content)));
        }
    }
    for (path, text) in &sources {
        for word in text.split(|c: char| !c.is_ascii_alphanumeric()) {
            let is_name = ["eth", "ens", "eno", "enp", "enx"].iter().any(|prefix| {
                word.strip_prefix(prefix)
                    .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
            });
            assert!(!is_name, "{path}: {word}");
        }
    }
    let (_, keepalived) =
        sources.iter().find(|(path, _)| path.contains("keepalived.conf")).expect("its source");
    assert!(keepalived.contains("interface {% raw %}{{ network.interface }}{% endraw %}"));
}

#[test]
fn versions_of_apis_are_those_that_the_minor_serves() {
    for minor in Minor::all() {
        let planned = with_minor(minor);
        for (role, host) in HOSTS {
            for (path, text) in texts(&planned, role, host) {
                for line in text.lines() {
                    let ended = line.contains("rbac.authorization.k8s.io/v1beta1")
                        || line.contains("rbac.authorization.k8s.io/v1alpha1")
                        || line.contains("extensions/v1beta1");
                    assert!(!ended, "{path} of {minor}: {line}");
                }
            }
        }
        let config = yaml(&text(&planned, "node", "k8s-node-1", "/etc/kubernetes/kube-proxy.yaml"));
        assert_eq!(config["apiVersion"].as_str(), Kind::KubeProxy.api_version(minor));
    }
}

#[test]
fn bootstrap_tokens_are_random_have_an_end_and_lie_in_a_secret() {
    let new = || pki::token::text(&sys::random::bytes().unwrap(), 1_893_456_000);
    let (one, other) = (new(), new());
    assert_ne!(one, other);
    assert!(one.ends_with(" 2030-01-01T00:00:00Z\n") && !one.contains(&token().id), "{one}");
    for (minor, component, list) in all_arguments() {
        let has_file = list.iter().any(|argument| argument.starts_with("--token-auth-file"));
        assert!(!has_file, "{component} of {minor}");
    }
    let planned = Planned::of("tests/failover");
    let path = "/etc/kubernetes/bootstrap-token.yaml";
    let secret = yaml(text(&planned, "master", "k8s-master-1", path).trim_start_matches("---\n"));
    assert_eq!(secret["type"], "bootstrap.kubernetes.io/token");
    assert_eq!(secret["stringData"]["expiration"], "2030-01-31T12:00:00Z");
}

#[test]
fn load_balancers_pass_tcp_through_and_hold_no_certificate_of_the_api() {
    let haproxy = Planned::of("tests/failover");
    let config = text(&haproxy, "lb", "k8s-lb-primary", "/etc/haproxy/haproxy.cfg");
    assert!(config.contains("    mode tcp\n") && !config.contains("mode http"), "{config}");
    for line in config.lines().map(str::trim) {
        let words: Vec<&str> = line.split_whitespace().collect();
        // TLS is for the check alone (`check-ssl`); what clients send is not opened.
        let opens = matches!(words.first(), Some(&("bind" | "server" | "default-server")))
            && words.contains(&"ssl");
        assert!(!opens, "{line}");
    }
    let nginx = Planned::with("tests/failover", |text| text.to_owned() + "lb: { proxy: nginx }\n");
    let config = text(&nginx, "lb", "k8s-lb-primary", "/etc/nginx/nginx.conf");
    assert!(config.contains("\nstream {\n"), "{config}");
    for word in ["http {", " ssl", "ssl_", "proxy_ssl"] {
        assert!(!config.contains(word), "{word}: {config}");
    }
    let held = leaves(haproxy.cluster(), &Scope::Role("lb".to_owned()));
    assert!(held.iter().all(|leaf| !leaf.usage.serves()), "{held:?}");
}

#[test]
fn nobody_is_made_a_superuser_by_what_a_new_cluster_is_given() {
    let planned = Planned::of("tests/failover");
    let mut n_found = 0;
    for (path, text) in texts(&planned, "master", "k8s-master-1") {
        if path.starts_with(bring_up::FOLDER) || path.ends_with("/bootstrap-token.yaml") {
            n_found += 1;
            assert!(!text.contains("cluster-admin") && !text.contains("system:masters"), "{text}");
        }
    }
    assert!(n_found >= 2, "the objects and the token: {n_found}");
    // A load balancer may ask one question.
    let all = bootstrap::objects();
    let role = all.iter().map(ToString::to_string).find(|text| text.contains("nonResourceURLs"));
    let role = yaml(&role.unwrap());
    let rules = serde_json::json!([{ "nonResourceURLs": ["/readyz"], "verbs": ["get"] }]);
    assert_eq!(
        (&role["metadata"]["name"], &role["rules"]),
        (&bootstrap::HEALTH_CHECK.into(), &rules)
    );
}

#[test]
fn every_role_has_a_packet_filter_that_is_on() {
    for folder in ["", "tests/failover"] {
        for plan in Planned::of(folder).plans {
            let profile = &plan.profile;
            let unit = "nftables.service";
            assert!(profile.packages.install.contains("nftables"), "{}", profile.role);
            assert!(profile.services.ready.contains(unit), "{}", profile.role);
            assert!(!profile.services.mask.contains(unit), "{}", profile.role);
            let allow: Vec<String> =
                profile.firewall.allow.iter().map(ToString::to_string).collect();
            assert!(!allow.iter().any(|rule| rule.contains("1-65535")), "{allow:?}");
        }
    }
}
