// SPDX-License-Identifier: Apache-2.0
//! With which arguments does each program start?
//!
//! Arguments are a list, one flag per item, and become a command line at the very end: option
//! files with continuation lines break where somebody adds a comment or a blank.

use std::fmt;

use kiln_contract::API_PORT;

use super::{
    bring_up::PAUSE,
    flags::Component,
    settings::{ETC, Machine, PerHost, ProxyMode, Settings},
};

/// One flag with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// Without dashes.
    pub flag: String,
    pub value: ArgumentValue,
    /// Whether the person may choose another value.
    is_tunable: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArgumentValue {
    Plain(String),
    Host(PerHost),
}

impl fmt::Display for Argument {
    /// As minijinja, where a host's fact is meant.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            ArgumentValue::Plain(text) => write!(f, "--{}={text}", self.flag),
            ArgumentValue::Host(fact) => write!(f, "--{}={fact}", self.flag),
        }
    }
}

/// The arguments of one program, being collected.
#[derive(Default)]
struct List(Vec<Argument>);

impl List {
    fn push(&mut self, flag: &str, value: ArgumentValue, is_tunable: bool) {
        self.0.push(Argument { flag: flag.to_owned(), value, is_tunable });
    }

    /// What follows from the settings.
    fn fixed(&mut self, flag: &str, value: impl fmt::Display) {
        self.push(flag, ArgumentValue::Plain(value.to_string()), false);
    }

    /// What is only a good choice.
    fn tunable(&mut self, flag: &str, value: impl fmt::Display) {
        self.push(flag, ArgumentValue::Plain(value.to_string()), true);
    }

    fn host(&mut self, flag: &str, fact: PerHost) {
        self.push(flag, ArgumentValue::Host(fact), false);
    }
}

fn etc(name: &str) -> String {
    format!("{ETC}/{name}")
}

fn pki(name: &str) -> String {
    format!("{ETC}/pki/{name}")
}

/// The arguments of a program, those that the person added last, sorted by name.
pub fn arguments(component: Component, settings: &Settings, role: Machine) -> Vec<Argument> {
    let mut list = generated(component, settings, role);
    for (name, value) in settings.extra.get(&component).into_iter().flatten() {
        let value = ArgumentValue::Plain(value.clone());
        match list.0.iter_mut().find(|argument| argument.flag == *name) {
            Some(argument) => argument.value = value,
            None => list.push(name, value, true),
        }
    }
    list.0
}

/// Whether a program's flag follows from the settings, so that nobody may choose its value.
pub(super) fn is_fixed(component: Component, settings: &Settings, flag: &str) -> bool {
    let is = |role| {
        generated(component, settings, role)
            .0
            .iter()
            .any(|argument| argument.flag == flag && !argument.is_tunable)
    };
    is(Machine::Node) || is(Machine::ControlPlane)
}

fn generated(component: Component, settings: &Settings, role: Machine) -> List {
    let mut list = List::default();
    match component {
        Component::ApiServer => api_server(&mut list, settings),
        Component::ControllerManager => controller_manager(&mut list, settings),
        Component::Scheduler => scheduler(&mut list, settings),
        Component::Kubelet => kubelet(&mut list, settings, role),
        Component::KubeProxy => proxy(&mut list),
    }
    list
}

fn api_server(list: &mut List, settings: &Settings) {
    let key = |name: &str| settings.secret_path(Component::ApiServer, &format!("pki/{name}"));
    list.host("advertise-address", PerHost::Address);
    list.fixed("bind-address", "0.0.0.0");
    list.fixed("secure-port", API_PORT);
    list.host("etcd-servers", PerHost::EtcdServers);
    list.fixed("etcd-cafile", pki("etcd-ca.crt"));
    list.fixed("etcd-certfile", pki("apiserver-etcd-client.crt"));
    list.fixed("etcd-keyfile", key("apiserver-etcd-client.key"));
    list.fixed("tls-cert-file", pki("apiserver.crt"));
    list.fixed("tls-private-key-file", key("apiserver.key"));
    list.tunable("tls-min-version", "VersionTLS12");
    list.fixed("client-ca-file", pki("ca.crt"));
    // Load balancers and probes may ask for health without a name, and for nothing else: that
    // can be said since 1.32. Before, nobody without a name is answered.
    if has_authentication_config(settings) {
        list.fixed("authentication-config", etc("authentication.yaml"));
    } else {
        list.fixed("anonymous-auth", false);
    }
    list.fixed("enable-bootstrap-token-auth", true);
    list.fixed("authorization-mode", "Node,RBAC");
    list.tunable("enable-admission-plugins", "NodeRestriction");
    list.fixed(
        "service-account-issuer",
        format_args!("https://kubernetes.default.svc.{}", settings.networks.domain),
    );
    list.fixed("service-account-key-file", pki("sa.pub"));
    list.fixed("service-account-signing-key-file", key("sa.key"));
    list.fixed("service-cluster-ip-range", settings.networks.services);
    list.tunable("service-node-port-range", "30000-32767");
    list.fixed("kubelet-certificate-authority", pki("ca.crt"));
    list.fixed("kubelet-client-certificate", pki("apiserver-kubelet-client.crt"));
    list.fixed("kubelet-client-key", key("apiserver-kubelet-client.key"));
    // Nodes' names need not be in any DNS.
    list.tunable("kubelet-preferred-address-types", "InternalIP,Hostname");
    list.fixed("requestheader-client-ca-file", pki("front-proxy-ca.crt"));
    list.fixed("requestheader-allowed-names", "front-proxy-client");
    list.fixed("requestheader-username-headers", "X-Remote-User");
    list.fixed("requestheader-group-headers", "X-Remote-Group");
    list.fixed("requestheader-extra-headers-prefix", "X-Remote-Extra-");
    list.fixed("proxy-client-cert-file", pki("front-proxy-client.crt"));
    list.fixed("proxy-client-key-file", key("front-proxy-client.key"));
    // Extension servers and webhooks are called at their pods' addresses: masters have routes to
    // pods and no kube-proxy, so a service's address means nothing there.
    list.tunable("enable-aggregator-routing", true);
    // What runs in the pods of CNI and kube-proxy add-ons needs it; admission decides by pod.
    list.tunable("allow-privileged", true);
    list.fixed("audit-policy-file", etc("audit-policy.yaml"));
    list.fixed("audit-log-path", format_args!("{AUDIT_FOLDER}/audit.log"));
    list.tunable("audit-log-maxage", 30);
    list.tunable("audit-log-maxbackup", 10);
    list.tunable("audit-log-maxsize", 100);
    if settings.encrypts_secrets {
        let path = settings.secret_path(Component::ApiServer, "encryption.yaml");
        list.fixed("encryption-provider-config", path);
    }
    list.tunable("profiling", false);
}

/// The folder of the audit log.
pub const AUDIT_FOLDER: &str = "/var/log/kubernetes/audit";

/// Whether anonymous requests can be limited to paths: feature gate
/// AnonymousAuthConfigurableEndpoints, on by default since 1.32 (KEP 4633).
pub(super) fn has_authentication_config(settings: &Settings) -> bool {
    settings.version.minor.get() >= 32
}

/// Up to 1.22 controller-manager and scheduler serve without TLS unless the port is 0
/// (`cmd/*/app/options` of v1.20.2; PRs 96216 and 96345 ended it).
fn no_insecure_port(list: &mut List, settings: &Settings) {
    if settings.version.minor.get() <= 22 {
        list.fixed("port", 0);
    }
}

fn controller_manager(list: &mut List, settings: &Settings) {
    let key =
        |name: &str| settings.secret_path(Component::ControllerManager, &format!("pki/{name}"));
    let kubeconfig = etc("controller-manager.conf");
    for flag in ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"] {
        list.fixed(flag, &kubeconfig);
    }
    list.fixed("bind-address", "127.0.0.1");
    no_insecure_port(list, settings);
    list.fixed("secure-port", 10257);
    list.fixed("tls-cert-file", pki("controller-manager-serving.crt"));
    list.fixed("tls-private-key-file", key("controller-manager-serving.key"));
    list.tunable("tls-min-version", "VersionTLS12");
    list.fixed("client-ca-file", pki("ca.crt"));
    list.fixed("requestheader-client-ca-file", pki("front-proxy-ca.crt"));
    list.fixed("requestheader-allowed-names", "front-proxy-client");
    list.fixed("leader-elect", true);
    list.fixed("use-service-account-credentials", true);
    // Off by default: it removes bootstrap tokens that have expired. The name is an alias of
    // token-cleaner-controller in newer minors, as kubeadm still writes it.
    list.tunable("controllers", "*,tokencleaner");
    list.fixed("root-ca-file", pki("ca.crt"));
    list.fixed("service-account-private-key-file", key("sa.key"));
    list.fixed("cluster-signing-cert-file", pki("signer.crt"));
    list.fixed("cluster-signing-key-file", key("signer.key"));
    list.tunable("cluster-signing-duration", "8760h");
    // Unless a host's range follows from its address (`Cluster::pod_range`).
    list.fixed("allocate-node-cidrs", settings.pod_network.allocates());
    list.fixed("cluster-cidr", settings.networks.pods);
    if settings.pod_network.allocates() {
        list.fixed("node-cidr-mask-size", settings.networks.node_prefix);
    }
    list.fixed("service-cluster-ip-range", settings.networks.services);
    list.fixed("cluster-name", &settings.cluster);
    // The default lies on the read-only root.
    list.fixed("flex-volume-plugin-dir", VOLUME_PLUGINS);
    list.tunable("terminated-pod-gc-threshold", 1000);
    list.tunable("profiling", false);
}

/// Where volume plugins may be put: `/usr` cannot be written to.
pub const VOLUME_PLUGINS: &str = "/var/lib/kubelet/volumeplugins";

/// Whether the scheduler gets a configuration file. With one, the scheduler up to 1.22 serves
/// without TLS on every address, and no value of the file can stop it (defaults of v1beta1 in
/// v1.20.2 replace an empty address): so up to there it gets flags.
pub(super) fn has_scheduler_config(settings: &Settings) -> bool {
    settings.version.minor.get() >= 23
}

fn scheduler(list: &mut List, settings: &Settings) {
    let kubeconfig = etc("scheduler.conf");
    if has_scheduler_config(settings) {
        list.fixed("config", etc("scheduler.yaml"));
    } else {
        list.fixed("kubeconfig", &kubeconfig);
        list.fixed("leader-elect", true);
        list.tunable("profiling", false);
    }
    list.fixed("authentication-kubeconfig", &kubeconfig);
    list.fixed("authorization-kubeconfig", &kubeconfig);
    list.fixed("bind-address", "127.0.0.1");
    no_insecure_port(list, settings);
    list.fixed("secure-port", 10259);
    list.fixed("tls-cert-file", pki("scheduler-serving.crt"));
    let key = settings.secret_path(Component::Scheduler, "pki/scheduler-serving.key");
    list.fixed("tls-private-key-file", key);
    list.tunable("tls-min-version", "VersionTLS12");
    list.fixed("client-ca-file", pki("ca.crt"));
}

fn kubelet(list: &mut List, settings: &Settings, role: Machine) {
    let minor = settings.version.minor.get();
    list.fixed("config", etc("kubelet.yaml"));
    list.fixed("bootstrap-kubeconfig", etc("bootstrap-kubelet.conf"));
    // Written by the kubelet itself, so neither may lie in the image.
    list.fixed("kubeconfig", "/var/lib/kubelet/kubeconfig");
    list.fixed("cert-dir", "/var/lib/kubelet/pki");
    list.fixed("root-dir", "/var/lib/kubelet");
    if minor < 27 {
        // Up to 1.23 'docker' is the default; 1.27 removed the flag.
        list.fixed("container-runtime", "remote");
        list.fixed("container-runtime-endpoint", RUNTIME_ENDPOINT);
    }
    if minor < 35 {
        // Spares the image that every pod needs and no registry has, also where containerd is too
        // old to say so (pinned images: containerd 1.7 and kubelet 1.23).
        list.fixed("pod-infra-container-image", PAUSE);
    }
    list.host("node-ip", PerHost::Address);
    list.host("hostname-override", PerHost::Hostname);
    if role == Machine::ControlPlane && minor < 23 {
        list.fixed("register-with-taints", format_args!("{}=:NoSchedule", taint(settings)));
    }
}

/// Where containerd listens.
pub const RUNTIME_ENDPOINT: &str = "unix:///run/containerd/containerd.sock";

/// The key of the control plane's taint: kubeadm's name for it changed with 1.24.
pub(super) fn taint(settings: &Settings) -> &'static str {
    if settings.version.minor.get() < 24 {
        "node-role.kubernetes.io/master"
    } else {
        "node-role.kubernetes.io/control-plane"
    }
}

fn proxy(list: &mut List) {
    list.fixed("config", etc("kube-proxy.yaml"));
    // The only flag that counts beside a configuration file.
    list.host("hostname-override", PerHost::Hostname);
}

/// Modules that a node's kernel needs for the mode; the image loads them at boot.
pub fn kernel_modules(mode: ProxyMode) -> &'static [&'static str] {
    match mode {
        ProxyMode::Ipvs => &["ip_vs", "ip_vs_rr", "ip_vs_sh", "ip_vs_wrr", "nf_conntrack"],
        ProxyMode::Iptables => &["ip_tables", "nf_conntrack"],
        ProxyMode::Nftables => &["nf_tables", "nf_conntrack"],
    }
}

/// The secrets that a program of the control plane reads, as paths below `/etc/kubernetes`.
pub fn secrets(component: Component, settings: &Settings) -> Vec<&'static str> {
    let mut names = match component {
        Component::ApiServer => vec![
            "pki/apiserver-etcd-client.key",
            "pki/apiserver-kubelet-client.key",
            "pki/apiserver.key",
            "pki/front-proxy-client.key",
            "pki/sa.key",
        ],
        Component::ControllerManager => vec![
            "pki/controller-manager-serving.key",
            "pki/controller-manager.key",
            "pki/sa.key",
            "pki/signer.key",
        ],
        Component::Scheduler => vec!["pki/scheduler-serving.key", "pki/scheduler.key"],
        Component::Kubelet | Component::KubeProxy => Vec::new(),
    };
    if component == Component::ApiServer && settings.encrypts_secrets {
        names.push("encryption.yaml");
    }
    names
}
