// SPDX-License-Identifier: Apache-2.0
//! Kubeconfigs of programs on a machine and of people: whom to call, whom to trust, who one is.
//!
//! Format: Kubernetes' client API, kind Config, version v1. Always by TLS, always with the
//! cluster's own authority, and no program's with a superuser's certificate but bring-up's.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use kiln_contract::API_PORT;

use super::{
    document::{Value, map},
    flags::Component,
    settings::{ETC, PerHost, Secret, Settings},
};
use crate::{pki::KeyText, yaml::fields::Complaint};

/// How the owner proves who it is.
#[derive(Debug)]
pub enum Credentials<'a> {
    /// Paths on the machine.
    Certificate {
        certificate: String,
        key: String,
    },
    Token(&'a Secret),
    /// Certificate and key in the file itself, which can be carried around and is a secret.
    Embedded {
        certificate: &'a str,
        key: &'a KeyText,
    },
}

/// Whom to trust.
#[derive(Debug)]
pub enum Trust<'a> {
    /// A path on the machine.
    File(String),
    /// Certificates in PEM.
    Embedded(&'a [u8]),
}

/// A kubeconfig for `user`.
pub fn kubeconfig(
    cluster: &str,
    server: &str,
    trust: Trust<'_>,
    user: &str,
    credentials: &Credentials<'_>,
) -> Value {
    let context = format!("{user}@{cluster}");
    let one = |name: &str, kind: &str, value: Value| {
        Value::List(vec![map([("name", name.into()), (kind, value)])])
    };
    let authority = match trust {
        Trust::File(path) => ("certificate-authority", path.into()),
        Trust::Embedded(pem) => ("certificate-authority-data", STANDARD.encode(pem).into()),
    };
    let user_value = match credentials {
        Credentials::Certificate { certificate, key } => map([
            ("client-certificate", certificate.as_str().into()),
            ("client-key", key.as_str().into()),
        ]),
        Credentials::Token(token) => map([("token", token.reveal().into())]),
        Credentials::Embedded { certificate, key } => map([
            ("client-certificate-data", STANDARD.encode(certificate).into()),
            ("client-key-data", STANDARD.encode(key.reveal()).into()),
        ]),
    };
    map([
        ("apiVersion", "v1".into()),
        ("kind", "Config".into()),
        ("clusters", one(cluster, "cluster", map([authority, ("server", server.into())]))),
        ("users", one(user, "user", user_value)),
        (
            "contexts",
            one(&context, "context", map([("cluster", cluster.into()), ("user", user.into())])),
        ),
        ("current-context", context.as_str().into()),
    ])
}

/// One that trusts what the machine trusts.
fn config(cluster: &str, server: &str, user: &str, credentials: &Credentials<'_>) -> Value {
    kubeconfig(cluster, server, Trust::File(authority()), user, credentials)
}

fn authority() -> String {
    format!("{ETC}/pki/ca.crt")
}

/// The API server of the same machine.
fn local() -> String {
    format!("https://{}:{API_PORT}", PerHost::Address)
}

/// What the kubeconfigs of the machine's own programs are called.
const fn name_of(component: Component) -> Option<&'static str> {
    match component {
        Component::ControllerManager => Some("controller-manager"),
        Component::Scheduler => Some("scheduler"),
        Component::KubeProxy => Some("kube-proxy"),
        Component::ApiServer | Component::Kubelet => None,
    }
}

fn own_certificate(name: &str) -> String {
    format!("{ETC}/pki/{name}.crt")
}

fn own_key(component: Component, name: &str, settings: &Settings) -> String {
    match component {
        // kube-proxy is root: it changes the kernel's tables.
        Component::KubeProxy => format!("{ETC}/pki/{name}.key"),
        _ => settings.secret_path(component, &format!("pki/{name}.key")),
    }
}

/// The files that a program's kubeconfig names.
pub fn files(component: Component, settings: &Settings) -> Vec<String> {
    let Some(name) = name_of(component) else { return Vec::new() };
    vec![authority(), own_certificate(name), own_key(component, name, settings)]
}

/// The kubeconfig of controller-manager, scheduler or kube-proxy, by its own certificate.
pub fn of(component: Component, settings: &Settings) -> Option<Value> {
    let name = name_of(component)?;
    let server = match component {
        Component::KubeProxy => settings.endpoint_url(),
        _ => local(),
    };
    let key = own_key(component, name, settings);
    let credentials = Credentials::Certificate { certificate: own_certificate(name), key };
    let user = format!("system:{component}");
    Some(config(&settings.cluster, &server, &user, &credentials))
}

/// What a kubelet asks for its first certificate with; the same on every machine, so that no
/// secret is a first-boot template.
///
/// A master's kubelet may wait for an API server that it must start itself: it starts static pods
/// meanwhile, because it rotates certificates and so asks for the first one in the background
/// (`buildKubeletClientConfig`; PR 71174, in 1.14).
pub fn bootstrap(settings: &Settings, token: &BootstrapToken) -> Value {
    let token = Secret::new(format!("{}.{}", token.id, token.secret.reveal()));
    let server = settings.endpoint_url();
    config(&settings.cluster, &server, "kubelet-bootstrap", &Credentials::Token(&token))
}

/// A token with which kubelets may ask for a certificate, and nothing else, for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootstrapToken {
    /// Public; names the token's secret in the API.
    pub id: String,
    pub(super) secret: Secret,
    /// RFC 3339, in UTC.
    pub expires: String,
}

impl BootstrapToken {
    /// A token `ID.SECRET` of 6 and 16 lower-case letters and digits, and when it ends, as
    /// `2026-01-31T12:00:00Z`.
    ///
    /// # Errors
    /// It has another form.
    pub fn parse(token: &Secret, expires: &str) -> Result<Self, Complaint> {
        let part = |text: &str, length: usize| {
            text.len() == length
                && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        let (id, secret) = token.reveal().split_once('.').unwrap_or_default();
        if !part(id, 6) || !part(secret, 16) {
            return Err(Complaint::new(
                "the bootstrap token has not the form of one",
                "6 and 16 lower-case letters and digits, with a dot between",
            ));
        }
        let pattern = "dddd-dd-ddTdd:dd:ddZ";
        let is_time = expires.len() == pattern.len()
            && expires.bytes().zip(pattern.bytes()).all(|(byte, wanted)| match wanted {
                b'd' => byte.is_ascii_digit(),
                wanted => byte == wanted,
            });
        if !is_time {
            return Err(Complaint::new(
                format!("{} is no time", crate::diagnostic::quoted(expires)),
                "write it in UTC, as 2026-01-31T12:00:00Z",
            ));
        }
        Ok(Self { id: id.to_owned(), secret: Secret::new(secret), expires: expires.to_owned() })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::kubernetes::settings::tests::settings;

    pub(crate) fn token() -> BootstrapToken {
        let token = Secret::new("abcdef.0123456789abcdef");
        BootstrapToken::parse(&token, "2030-01-31T12:00:00Z").unwrap()
    }

    #[test]
    fn clients_call_by_tls_and_none_calls_an_insecure_port() {
        let settings = settings("v1.20.2");
        for component in [Component::ControllerManager, Component::Scheduler, Component::KubeProxy]
        {
            let text = of(component, &settings).unwrap().to_string();
            assert!(text.contains("server: \"https://"), "{text}");
            assert!(text.contains("certificate-authority: /etc/kubernetes/pki/ca.crt"), "{text}");
            assert!(!text.contains("8080") && !text.contains("http://"), "{text}");
        }
        let scheduler = of(Component::Scheduler, &settings).unwrap().to_string();
        assert!(scheduler.contains("https://{{ network.address }}:6443"), "{scheduler}");
    }

    #[test]
    fn bootstrap_tokens_have_a_form_and_an_end() {
        assert_eq!(token().id, "abcdef");
        for (text, end) in [
            ("abcdef", "2030-01-31T12:00:00Z"),
            ("ABCDEF.0123456789abcdef", "2030-01-31T12:00:00Z"),
            ("abcdef.0123456789abcdef", "2030-01-31"),
            ("abcdef.0123456789abcdef", "2030-01-31T12:00:00+"),
        ] {
            let complaint = BootstrapToken::parse(&Secret::new(text), end).unwrap_err();
            assert!(!complaint.what.contains("0123456789"), "{complaint:?}");
        }
    }
}
