// SPDX-License-Identifier: Apache-2.0
//! Which kinds of configuration does each minor version read, and which fields do they have?
//!
//! Programs of Kubernetes ignore some unknown fields and die of others, so both are refused here.
//! The fields are those that Kiln writes; a list and a map count as one field with their parts
//! below them, as `ipvs.scheduler`. Sources: the types of v1.20.2 (`staging/src/k8s.io`), the
//! pages `reference/config-api` of the website, and the lines' own notes.

use super::{document::Value, version::Minor};
use crate::{
    diagnostic::{quoted, suggest},
    yaml::fields::Complaint,
};

/// A kind that Kiln writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Kubelet,
    KubeProxy,
    Scheduler,
    AuditPolicy,
    Encryption,
    Authentication,
}

/// A field, from a minor on.
type Field = (&'static str, u8);

impl Kind {
    pub const ALL: [Self; 6] = [
        Self::Kubelet,
        Self::KubeProxy,
        Self::Scheduler,
        Self::AuditPolicy,
        Self::Encryption,
        Self::Authentication,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Kubelet => "KubeletConfiguration",
            Self::KubeProxy => "KubeProxyConfiguration",
            Self::Scheduler => "KubeSchedulerConfiguration",
            Self::AuditPolicy => "Policy",
            Self::Encryption => "EncryptionConfiguration",
            Self::Authentication => "AuthenticationConfiguration",
        }
    }

    /// The version that suits a minor best; none if that minor cannot read the kind.
    ///
    /// Of the scheduler's versions, v1beta1 ended with 1.22, v1beta2 was from 1.22 to 1.27,
    /// v1beta3 from 1.23 to 1.28 (PR 119994), v1 begins with 1.25. AuthenticationConfiguration
    /// is v1beta1 since 1.30 (feature gate StructuredAuthenticationConfiguration, PR 123696), and
    /// v1 since 1.34 (PR 131752).
    pub fn api_version(self, minor: Minor) -> Option<&'static str> {
        let minor = minor.get();
        match self {
            Self::Kubelet => Some("kubelet.config.k8s.io/v1beta1"),
            Self::KubeProxy => Some("kubeproxy.config.k8s.io/v1alpha1"),
            Self::Scheduler if minor <= 21 => Some("kubescheduler.config.k8s.io/v1beta1"),
            Self::Scheduler if minor == 22 => Some("kubescheduler.config.k8s.io/v1beta2"),
            Self::Scheduler if minor <= 24 => Some("kubescheduler.config.k8s.io/v1beta3"),
            Self::Scheduler => Some("kubescheduler.config.k8s.io/v1"),
            Self::AuditPolicy => Some("audit.k8s.io/v1"),
            Self::Encryption => Some("apiserver.config.k8s.io/v1"),
            Self::Authentication if minor < 30 => None,
            Self::Authentication if minor < 34 => Some("apiserver.config.k8s.io/v1beta1"),
            Self::Authentication => Some("apiserver.config.k8s.io/v1"),
        }
    }

    fn fields(self) -> &'static [Field] {
        match self {
            Self::Kubelet => KUBELET,
            Self::KubeProxy => KUBE_PROXY,
            Self::Scheduler => SCHEDULER,
            Self::AuditPolicy => AUDIT_POLICY,
            Self::Encryption => ENCRYPTION,
            Self::Authentication => AUTHENTICATION,
        }
    }

    /// Whether a minor reads a field, written as a path with dots.
    ///
    /// # Errors
    /// It does not, or the tables do not know it.
    pub fn check_field(self, minor: Minor, path: &str) -> Result<(), Complaint> {
        let kind = self.name();
        match self.fields().iter().find(|(name, _)| *name == path) {
            Some((_, since)) if minor.get() >= *since => Ok(()),
            Some((_, since)) => Err(Complaint::new(
                format!("{kind} of Kubernetes {minor} has no field {} yet", quoted(path)),
                format!("it comes with 1.{since}"),
            )),
            None => Err(Complaint::new(
                format!("Kiln knows no field {} of {kind}", quoted(path)),
                suggest(path, self.fields().iter().map(|(name, _)| *name)),
            )),
        }
    }

    /// Every complaint about a document of this kind.
    pub fn check(self, minor: Minor, document: &Value) -> Vec<Complaint> {
        let mut found = Vec::new();
        let version = document.get("apiVersion");
        if version != self.api_version(minor).map(Value::from).as_ref() {
            found.push(Complaint::new(
                format!("Kubernetes {minor} does not read this version of {}", self.name()),
                self.api_version(minor).unwrap_or("it has no such kind"),
            ));
        }
        self.walk(minor, "", document, &mut found);
        found
    }

    fn walk(self, minor: Minor, prefix: &str, value: &Value, found: &mut Vec<Complaint>) {
        match value {
            Value::Map(entries) if !FREE_MAPS.contains(&prefix) => {
                for (key, value) in entries {
                    let path =
                        if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                    found.extend(self.check_field(minor, &path).err());
                    self.walk(minor, &path, value, found);
                }
            }
            Value::List(items) => {
                for item in items {
                    self.walk(minor, prefix, item, found);
                }
            }
            _ => {}
        }
    }
}

/// Maps whose keys are not fields.
const FREE_MAPS: [&str; 4] = ["evictionHard", "kubeReserved", "systemReserved", "featureGates"];

const KUBELET: &[Field] = &[
    ("apiVersion", 20),
    ("kind", 20),
    ("address", 20),
    ("authentication", 20),
    ("authentication.anonymous", 20),
    ("authentication.anonymous.enabled", 20),
    ("authentication.webhook", 20),
    ("authentication.webhook.cacheTTL", 20),
    ("authentication.webhook.enabled", 20),
    ("authentication.x509", 20),
    ("authentication.x509.clientCAFile", 20),
    ("authorization", 20),
    ("authorization.mode", 20),
    ("authorization.webhook", 20),
    ("authorization.webhook.cacheAuthorizedTTL", 20),
    ("authorization.webhook.cacheUnauthorizedTTL", 20),
    ("cgroupDriver", 20),
    ("cgroupsPerQOS", 20),
    ("clusterDNS", 20),
    ("clusterDomain", 20),
    ("containerLogMaxFiles", 20),
    ("containerLogMaxSize", 20),
    // PR 112136, issue 118787.
    ("containerRuntimeEndpoint", 27),
    ("enableDebuggingHandlers", 20),
    ("enforceNodeAllocatable", 20),
    ("evictionHard", 20),
    // PR 126031.
    ("failCgroupV1", 31),
    ("failSwapOn", 20),
    ("featureGates", 20),
    ("healthzBindAddress", 20),
    ("healthzPort", 20),
    ("kubeReserved", 20),
    ("maxPods", 20),
    ("podPidsLimit", 20),
    ("port", 20),
    ("protectKernelDefaults", 20),
    ("readOnlyPort", 20),
    // PR 105437.
    ("registerWithTaints", 23),
    ("registerWithTaints.effect", 23),
    ("registerWithTaints.key", 23),
    ("resolvConf", 20),
    ("rotateCertificates", 20),
    // Alpha since 1.22, on by default since 1.25 (feature gate SeccompDefault).
    ("seccompDefault", 25),
    ("serverTLSBootstrap", 20),
    // Alpha in 1.20, on by default since 1.21 (feature gate GracefulNodeShutdown).
    ("shutdownGracePeriod", 21),
    ("shutdownGracePeriodCriticalPods", 21),
    ("staticPodPath", 20),
    ("streamingConnectionIdleTimeout", 20),
    ("systemReserved", 20),
    ("tlsMinVersion", 20),
    ("volumePluginDir", 20),
];

const KUBE_PROXY: &[Field] = &[
    ("apiVersion", 20),
    ("kind", 20),
    ("bindAddress", 20),
    ("clientConnection", 20),
    ("clientConnection.kubeconfig", 20),
    ("clusterCIDR", 20),
    ("conntrack", 20),
    ("conntrack.maxPerCore", 20),
    ("conntrack.min", 20),
    ("enableProfiling", 20),
    ("featureGates", 20),
    ("healthzBindAddress", 20),
    ("hostnameOverride", 20),
    ("iptables", 20),
    ("iptables.masqueradeAll", 20),
    ("ipvs", 20),
    ("ipvs.excludeCIDRs", 20),
    ("ipvs.scheduler", 20),
    ("ipvs.strictARP", 20),
    ("metricsBindAddress", 20),
    ("mode", 20),
    ("nodePortAddresses", 20),
];

const SCHEDULER: &[Field] = &[
    ("apiVersion", 20),
    ("kind", 20),
    ("clientConnection", 20),
    ("clientConnection.kubeconfig", 20),
    ("enableContentionProfiling", 20),
    ("enableProfiling", 20),
    ("leaderElection", 20),
    ("leaderElection.leaderElect", 20),
    ("leaderElection.leaseDuration", 20),
    ("leaderElection.renewDeadline", 20),
    ("leaderElection.retryPeriod", 20),
    ("percentageOfNodesToScore", 20),
];

const AUDIT_POLICY: &[Field] = &[
    ("apiVersion", 20),
    ("kind", 20),
    ("omitStages", 20),
    ("rules", 20),
    ("rules.level", 20),
    ("rules.namespaces", 20),
    ("rules.nonResourceURLs", 20),
    ("rules.resources", 20),
    ("rules.resources.group", 20),
    ("rules.resources.resources", 20),
    ("rules.userGroups", 20),
    ("rules.users", 20),
    ("rules.verbs", 20),
];

const ENCRYPTION: &[Field] = &[
    ("apiVersion", 20),
    ("kind", 20),
    ("resources", 20),
    ("resources.providers", 20),
    ("resources.providers.aescbc", 20),
    ("resources.providers.aescbc.keys", 20),
    ("resources.providers.aescbc.keys.name", 20),
    ("resources.providers.aescbc.keys.secret", 20),
    ("resources.providers.identity", 20),
    ("resources.providers.secretbox", 20),
    ("resources.providers.secretbox.keys", 20),
    ("resources.providers.secretbox.keys.name", 20),
    ("resources.providers.secretbox.keys.secret", 20),
    ("resources.resources", 20),
];

const AUTHENTICATION: &[Field] = &[
    ("apiVersion", 30),
    ("kind", 30),
    // On by default since 1.32 (KEP 4633).
    ("anonymous", 32),
    ("anonymous.conditions", 32),
    ("anonymous.conditions.path", 32),
    ("anonymous.enabled", 32),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::document::map;

    fn minor(number: u64) -> Minor {
        Minor::new(number).unwrap()
    }

    #[test]
    fn field_tables_have_no_doubles() {
        for kind in Kind::ALL {
            let mut names: Vec<_> = kind.fields().iter().map(|(name, _)| *name).collect();
            names.sort_unstable();
            assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{kind:?}");
        }
    }

    #[test]
    fn misspelt_fields_are_refused_with_a_suggestion() {
        let check = |kind: Kind, path| {
            kind.check_field(minor(30), path).unwrap_err().without_place().to_string()
        };
        assert_eq!(
            check(Kind::KubeProxy, "metrisBindAddress"),
            "error: Kiln knows no field 'metrisBindAddress' of KubeProxyConfiguration\n\
             help:  did you mean 'metricsBindAddress'?"
        );
        let cached = check(Kind::Kubelet, "authorization.webhook.cacheAuthroizedTTL");
        assert!(cached.contains("'authorization.webhook.cacheAuthorizedTTL'?"), "{cached}");
    }

    #[test]
    fn api_versions_follow_the_minor() {
        let scheduler = |number| Kind::Scheduler.api_version(minor(number)).unwrap();
        assert!(scheduler(20).ends_with("/v1beta1"));
        assert!(scheduler(22).ends_with("/v1beta2"));
        assert!(scheduler(24).ends_with("/v1beta3"));
        assert!(scheduler(25).ends_with("/v1"));
        assert_eq!(Kind::Authentication.api_version(minor(29)), None);
        let old = map([("apiVersion", "kubescheduler.config.k8s.io/v1beta1".into())]);
        assert_eq!(Kind::Scheduler.check(minor(30), &old).len(), 1);
        assert_eq!(Kind::Scheduler.check(minor(20), &old).len(), 0);
    }

    #[test]
    fn fields_begin_with_the_minor_that_has_them() {
        let check = |number, path| Kind::Kubelet.check_field(minor(number), path);
        assert!(check(26, "containerRuntimeEndpoint").is_err());
        assert!(check(27, "containerRuntimeEndpoint").is_ok());
        assert_eq!(
            check(20, "shutdownGracePeriod").unwrap_err().without_place().to_string(),
            "error: KubeletConfiguration of Kubernetes 1.20 has no field 'shutdownGracePeriod' yet\n\
             help:  it comes with 1.21"
        );
    }
}
