// SPDX-License-Identifier: Apache-2.0
//! The configuration files that programs of Kubernetes read.
//!
//! Every field is checked against [`super::kinds`], so that none can be misspelt or too new.

use std::collections::BTreeSet;

use super::{
    arguments::{RUNTIME_ENDPOINT, VOLUME_PLUGINS, taint},
    document::{Value, map, texts},
    kinds::Kind,
    settings::{ControlPlane, ETC, Machine, ProxyMode, Secret, Settings},
};
use crate::yaml::fields::Complaint;

/// The folder of static pods.
pub const MANIFESTS: &str = "/etc/kubernetes/manifests";

/// Seconds that pods have to end when the machine shuts down, and how many of them are for
/// critical ones. systemd-logind must wait that long.
pub const SHUTDOWN_SECONDS: u16 = 60;
const SHUTDOWN_CRITICAL_SECONDS: u16 = 20;

/// What the kubelet wants of the kernel; with `protectKernelDefaults` it refuses other values
/// instead of changing them (`setupKernelTunables` of `pkg/kubelet/cm`).
pub const KUBELET_SYSCTLS: [(&str, &str); 6] = [
    ("kernel.keys.root_maxbytes", "25000000"),
    ("kernel.keys.root_maxkeys", "1000000"),
    ("kernel.panic", "10"),
    ("kernel.panic_on_oops", "1"),
    ("vm.overcommit_memory", "1"),
    ("vm.panic_on_oom", "0"),
];

fn begin(kind: Kind, settings: &Settings) -> Value {
    let version = kind.api_version(settings.version.minor);
    map([
        ("apiVersion", version.expect("only kinds that the minor reads are written").into()),
        ("kind", kind.name().into()),
    ])
}

/// What the kubelet does.
pub fn kubelet(settings: &Settings, machine: Machine) -> Value {
    let minor = settings.version.minor.get();
    let on = |switch: bool| map([("enabled", switch.into())]);
    let mut config = begin(Kind::Kubelet, settings)
        .with(
            "authentication",
            map([
                ("anonymous", on(false)),
                ("webhook", on(true)),
                ("x509", map([("clientCAFile", format!("{ETC}/pki/ca.crt").into())])),
            ]),
        )
        .with("authorization", map([("mode", "Webhook".into())]))
        // containerd makes its cgroups through systemd too; two managers of one tree fight.
        .with("cgroupDriver", "systemd")
        .with("clusterDNS", texts([settings.networks.dns.to_string().as_str()]))
        .with("clusterDomain", settings.networks.domain.as_str());
    if minor >= 27 {
        config = config.with("containerRuntimeEndpoint", RUNTIME_ENDPOINT);
    }
    config = config
        .with("containerLogMaxFiles", 5)
        .with("containerLogMaxSize", "10Mi")
        .with("enforceNodeAllocatable", texts(["pods"]))
        // A list replaces the defaults as a whole.
        .with(
            "evictionHard",
            map([
                ("imagefs.available", "15%".into()),
                ("memory.available", "100Mi".into()),
                ("nodefs.available", "10%".into()),
                ("nodefs.inodesFree", "5%".into()),
            ]),
        )
        .with("failSwapOn", true)
        .with("healthzBindAddress", "127.0.0.1")
        .with("kubeReserved", reserved("256Mi"))
        .with("podPidsLimit", 4096)
        .with("protectKernelDefaults", true)
        .with("readOnlyPort", 0)
        // The stub resolver on 127.0.0.53 is none inside a pod.
        .with("resolvConf", "/run/systemd/resolve/resolv.conf")
        .with("rotateCertificates", true)
        .with("serverTLSBootstrap", true)
        .with("systemReserved", reserved("256Mi"))
        .with("tlsMinVersion", "VersionTLS12")
        .with("volumePluginDir", VOLUME_PLUGINS);
    if minor >= 21 {
        config = config
            .with("shutdownGracePeriod", format!("{SHUTDOWN_SECONDS}s"))
            .with("shutdownGracePeriodCriticalPods", format!("{SHUTDOWN_CRITICAL_SECONDS}s"));
    }
    if minor >= 25 {
        config = config.with("seccompDefault", true);
    }
    if minor >= 31 {
        config = config.with("failCgroupV1", true);
    }
    if machine == Machine::ControlPlane {
        if settings.control_plane == ControlPlane::StaticPods {
            config = config.with("staticPodPath", MANIFESTS);
        }
        if minor >= 23 {
            let taint = map([("key", taint(settings).into()), ("effect", "NoSchedule".into())]);
            config = config.with("registerWithTaints", vec![taint]);
        }
    }
    config
}

fn reserved(memory: &str) -> Value {
    map([("cpu", "100m".into()), ("memory", memory.into())])
}

/// What kube-proxy does. `clusterCIDR` is the network of the pods: what comes from outside of it
/// is masqueraded.
pub fn proxy(settings: &Settings) -> Value {
    let connection = map([("kubeconfig", format!("{ETC}/kube-proxy.conf").into())]);
    let mut config = begin(Kind::KubeProxy, settings)
        .with("bindAddress", "0.0.0.0")
        .with("clientConnection", connection)
        .with("clusterCIDR", settings.networks.pods.to_string())
        // The limit is the image's sysctl; 0 leaves it.
        .with("conntrack", map([("maxPerCore", 0.into())]))
        .with("enableProfiling", false)
        .with("healthzBindAddress", "0.0.0.0:10256")
        .with("metricsBindAddress", "127.0.0.1:10249")
        .with("mode", settings.proxy_mode.name());
    if settings.proxy_mode == ProxyMode::Ipvs {
        config = config.with("ipvs", map([("scheduler", "rr".into())]));
    }
    config
}

/// What kube-scheduler does, from 1.23 on.
pub fn scheduler(settings: &Settings) -> Value {
    let connection = map([("kubeconfig", format!("{ETC}/scheduler.conf").into())]);
    begin(Kind::Scheduler, settings)
        .with("clientConnection", connection)
        .with("enableProfiling", false)
        .with("leaderElection", map([("leaderElect", true.into())]))
}

/// Paths that anybody may ask the API server for.
pub const HEALTH_PATHS: [&str; 3] = ["/livez", "/readyz", "/healthz"];

/// Anonymous requests for health only, from 1.32 on.
pub fn authentication(settings: &Settings) -> Value {
    let paths = HEALTH_PATHS.map(|path| map([("path", path.into())]));
    let anonymous =
        map([("enabled", true.into()), ("conditions", Value::List(paths.into_iter().collect()))]);
    begin(Kind::Authentication, settings).with("anonymous", anonymous)
}

/// Which requests the audit log keeps: who changed what, and who asked for what, without the
/// bodies of secrets and without the noise of health checks, leases and events.
pub fn audit_policy(settings: &Settings) -> Value {
    let rule = |level: &str| map([("level", level.into())]);
    let resources = |group: &str, names: &[&str]| {
        map([("group", group.into()), ("resources", texts(names.iter().copied()))])
    };
    let rules = vec![
        rule("None")
            .with("nonResourceURLs", texts(["/healthz*", "/livez*", "/readyz*", "/version"])),
        rule("None").with(
            "resources",
            vec![
                resources("", &["events"]),
                resources("events.k8s.io", &["events"]),
                resources("coordination.k8s.io", &["leases"]),
            ],
        ),
        rule("None")
            .with("users", texts(["system:kube-proxy"]))
            .with("verbs", texts(["get", "list", "watch"])),
        rule("Metadata").with(
            "resources",
            vec![
                resources("", &["configmaps", "secrets", "serviceaccounts/token"]),
                resources("authentication.k8s.io", &["tokenreviews"]),
            ],
        ),
        rule("Request")
            .with("verbs", texts(["create", "update", "patch", "delete", "deletecollection"])),
        rule("Metadata"),
    ];
    begin(Kind::AuditPolicy, settings)
        .with("omitStages", texts(["RequestReceived"]))
        .with("rules", rules)
}

/// How secrets are encrypted in etcd. AES-GCM is not offered: its key must be renewed after
/// 200,000 writes, which nobody here would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cipher {
    /// XSalsa20 with Poly1305.
    Secretbox,
    Aescbc,
}

/// A key of secrets in etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptionKey {
    name: String,
    base64: Secret,
}

/// The keys of secrets in etcd: the first one encrypts, each of them decrypts. What was written
/// names its key, so no two have one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptionKeys {
    cipher: Cipher,
    keys: Vec<EncryptionKey>,
}

impl EncryptionKeys {
    /// # Errors
    /// There is none, or one comes twice.
    pub fn new(cipher: Cipher, keys: Vec<EncryptionKey>) -> Result<Self, Complaint> {
        if keys.is_empty() {
            return Err(Complaint::new("there is no encryption key", "make it of 32 random bytes"));
        }
        let mut names = BTreeSet::new();
        match keys.iter().find(|key| !names.insert(&key.name)) {
            None => Ok(Self { cipher, keys }),
            Some(key) => Err(Complaint::new(
                format!("encryption key '{}' comes twice", key.name),
                "leave one of them out",
            )),
        }
    }
}

impl EncryptionKey {
    /// # Errors
    /// The key is not the base64 form of 32 bytes, or its name is none.
    pub fn new(name: &str, base64: &Secret) -> Result<Self, Complaint> {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let name = crate::names::label(name)?;
        match STANDARD.decode(base64.reveal()) {
            Ok(bytes) if bytes.len() == 32 => Ok(Self { name, base64: base64.clone() }),
            _ => Err(Complaint::new(
                format!("encryption key '{name}' is not 32 bytes in base64"),
                "make it of 32 random bytes",
            )),
        }
    }
}

/// The file with the keys. `identity` last: what was written before stays readable.
pub fn encryption(settings: &Settings, keys: &EncryptionKeys) -> Value {
    let cipher = match keys.cipher {
        Cipher::Secretbox => "secretbox",
        Cipher::Aescbc => "aescbc",
    };
    let entry = |key: &EncryptionKey| {
        map([("name", key.name.as_str().into()), ("secret", key.base64.reveal().into())])
    };
    let entries: Vec<Value> = keys.keys.iter().map(entry).collect();
    let providers =
        vec![map([(cipher, map([("keys", entries.into())]))]), map([("identity", map([]))])];
    let rule = map([("resources", texts(["secrets"])), ("providers", providers.into())]);
    begin(Kind::Encryption, settings).with("resources", vec![rule])
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::kubernetes::{settings::tests::settings, version::Minor};

    fn key(name: &str) -> EncryptionKey {
        let key = Secret::new("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
        EncryptionKey::new(name, &key).unwrap()
    }

    pub(crate) fn encryption_keys() -> EncryptionKeys {
        EncryptionKeys::new(Cipher::Secretbox, vec![key("key-1")]).unwrap()
    }

    fn everything(settings: &Settings) -> Vec<(Kind, Value)> {
        let mut all = vec![
            (Kind::Kubelet, kubelet(settings, Machine::Node)),
            (Kind::Kubelet, kubelet(settings, Machine::ControlPlane)),
            (Kind::KubeProxy, proxy(settings)),
            (Kind::Scheduler, scheduler(settings)),
            (Kind::AuditPolicy, audit_policy(settings)),
            (Kind::Encryption, encryption(settings, &encryption_keys())),
        ];
        if settings.version.minor.get() >= 32 {
            all.push((Kind::Authentication, authentication(settings)));
        }
        all
    }

    #[test]
    fn every_field_exists_in_every_minor() {
        for minor in Minor::all() {
            for mode in [ProxyMode::Ipvs, ProxyMode::Iptables, ProxyMode::Nftables] {
                for control_plane in [ControlPlane::Systemd, ControlPlane::StaticPods] {
                    let mut settings = settings(&format!("v{minor}.0"));
                    (settings.proxy_mode, settings.control_plane) = (mode, control_plane);
                    for (kind, document) in everything(&settings) {
                        assert_eq!(kind.check(minor, &document), [], "{minor} {kind:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn cluster_cidr_is_the_network_of_the_pods() {
        let settings = settings("v1.20.2");
        assert_eq!(proxy(&settings).get("clusterCIDR"), Some(&"10.244.0.0/16".into()));
    }

    #[test]
    fn swap_and_cgroups_are_not_worked_around() {
        let text = kubelet(&settings("v1.20.2"), Machine::Node).to_string();
        assert!(text.contains("failSwapOn: true\n") && text.contains("cgroupDriver: systemd\n"));
        assert!(!text.contains("cgroupsPerQOS"));
    }

    #[test]
    fn an_encryption_key_has_32_bytes() {
        let bad = EncryptionKey::new("k", &Secret::new("c2hvcnQ=")).unwrap_err();
        assert_eq!(bad.what, "encryption key 'k' is not 32 bytes in base64");
    }

    #[test]
    fn encryption_keys_have_an_order_and_names_of_their_own() {
        let keys = |names: &[&str]| {
            EncryptionKeys::new(Cipher::Secretbox, names.iter().copied().map(key).collect())
        };
        assert_eq!(keys(&[]).unwrap_err().what, "there is no encryption key");
        let twice = keys(&["a", "b", "a"]).unwrap_err();
        assert_eq!(twice.what, "encryption key 'a' comes twice");
        let keys = keys(&["new", "old"]).unwrap();
        let text = encryption(&settings("v1.20.2"), &keys).to_string();
        let places = ["name: new", "name: old", "identity: {}"].map(|it| text.find(it).unwrap());
        assert!(places.is_sorted(), "{text}");
    }
}
