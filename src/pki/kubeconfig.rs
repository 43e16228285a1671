// SPDX-License-Identifier: Apache-2.0
//! Kubeconfigs: whom to call, whom to trust, who one is. JSON, which is YAML, so that no name
//! can be misread. Format: Kubernetes' client API, kind Config, version v1.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::material::KeyText;
use crate::cluster::Cluster;

/// How the owner proves who they are.
#[derive(Debug)]
pub enum Credentials<'a> {
    /// Both inside: the file can be carried around, and is a secret.
    Embedded { certificate: &'a str, key: &'a KeyText },
    /// Paths on the node.
    Files { certificate: &'a str, key: &'a str },
}

/// Whom to trust.
#[derive(Debug)]
pub enum Trust<'a> {
    Embedded(&'a [u8]),
    /// A path on the node.
    File(&'a str),
}

/// Where clients outside of the masters reach the API.
pub fn endpoint(cluster: &Cluster) -> String {
    format!("https://{}:{}", cluster.endpoint.vip, cluster.endpoint.port)
}

/// A kubeconfig for `user`.
pub fn kubeconfig(
    cluster: &str,
    server: &str,
    trust: &Trust<'_>,
    user: &str,
    credentials: &Credentials<'_>,
) -> String {
    let context = format!("{user}@{cluster}");
    let mut config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": cluster, "cluster": { "server": server } }],
        "users": [{ "name": user, "user": {} }],
        "contexts": [{ "name": context, "context": { "cluster": cluster, "user": user } }],
        "current-context": context,
    });
    let mut set = |list: &str, kind: &str, key: &str, value: String| {
        config[list][0][kind][key] = Value::String(value);
    };
    match trust {
        Trust::Embedded(pem) => {
            set("clusters", "cluster", "certificate-authority-data", STANDARD.encode(pem));
        }
        Trust::File(path) => {
            set("clusters", "cluster", "certificate-authority", (*path).to_owned());
        }
    }
    match credentials {
        Credentials::Embedded { certificate, key } => {
            set("users", "user", "client-certificate-data", STANDARD.encode(certificate));
            set("users", "user", "client-key-data", STANDARD.encode(key.reveal()));
        }
        Credentials::Files { certificate, key } => {
            set("users", "user", "client-certificate", (*certificate).to_owned());
            set("users", "user", "client-key", (*key).to_owned());
        }
    }
    serde_json::to_string_pretty(&config).expect("a value is JSON") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_s_kubeconfig_names_files_and_holds_no_key() {
        let files = Credentials::Files { certificate: "/a.crt", key: "/a.key" };
        let text = kubeconfig("c", "https://10.0.0.1:6443", &Trust::File("/ca.crt"), "u", &files);
        let config: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            config["users"][0]["user"],
            json!({ "client-certificate": "/a.crt", "client-key": "/a.key" })
        );
        assert_eq!(
            config["clusters"][0]["cluster"],
            json!({ "server": "https://10.0.0.1:6443", "certificate-authority": "/ca.crt" })
        );
        assert_eq!(config["contexts"][0]["name"], config["current-context"]);
    }
}
