// SPDX-License-Identifier: Apache-2.0
//! `kiln-init approve`: approves what kubelets ask to serve with, if it is their own.
//!
//! Kubernetes approves a kubelet's client certificate by itself, and leaves the serving
//! certificate to whoever knows the machines. The image knows them: a request is approved if a
//! node asks for its own name and address, and never if it asks for another host's.

use std::{
    io::BufReader,
    net::IpAddr,
    process::{Command, Stdio},
};

use kiln_init::{base64, csr::Request, handoff::HostLine};
use serde::Deserialize;

use super::{bring_up::KUBECONFIG, handoff};
use crate::{
    console::say,
    error::{Result, Stop, While as _},
};

const KUBECTL: &str = "/usr/bin/kubectl";
const SIGNER: &str = "kubernetes.io/kubelet-serving";
const USER: &str = "system:node:";
const GROUP: &str = "system:nodes";

/// What of a `CertificateSigningRequest` counts here.
#[derive(Debug, Deserialize)]
struct Asked {
    metadata: Metadata,
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    /// PEM in base64.
    #[serde(default)]
    request: String,
    #[serde(default)]
    signer_name: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    groups: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Status {
    #[serde(default)]
    conditions: Vec<serde::de::IgnoredAny>,
}

/// Follows the requests until the API goes away; systemd starts this again.
pub(crate) fn run() -> Result<()> {
    let handoff = handoff()?;
    let task = "following certificate requests";
    let mut follow = Command::new(KUBECTL)
        .args([KUBECONFIG, "get", "certificatesigningrequests", "--watch", "--output=json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .during(task)?;
    let stdout = follow.stdout.take().ok_or_else(|| Stop::new(task))?;
    for asked in serde_json::Deserializer::from_reader(BufReader::new(stdout)).into_iter() {
        let asked: Asked = asked.during(task)?;
        if asked.spec.signer_name != SIGNER || !asked.status.conditions.is_empty() {
            continue;
        }
        match check(&asked.spec, &handoff.hosts) {
            Ok(node) => approve(&asked.metadata.name, &node)?,
            Err(why) => say(format_args!(
                "warning: certificate request '{}' of '{}' is not approved: {why}",
                printable(&asked.metadata.name),
                printable(&asked.spec.username)
            )),
        }
    }
    let status = follow.wait().during(task)?;
    Err(Stop::new(format_args!("{task}: kubectl ended with {status}")))
}

/// The node, if it asks for nothing but what is its own.
fn check(spec: &Spec, hosts: &[HostLine]) -> std::result::Result<String, String> {
    let node = spec.username.strip_prefix(USER).filter(|name| !name.is_empty());
    let node = node.filter(|_| spec.groups.iter().any(|group| group == GROUP));
    let node = node.ok_or("it is no node's")?;
    let pem = base64::decode(&spec.request).unwrap_or_default();
    let request = Request::from_pem(&String::from_utf8_lossy(&pem));
    let request = request.ok_or("its request is not understood")?;
    if request.common_name != spec.username {
        return Err(format!("it asks for the name '{}'", request.common_name));
    }
    if let Some(name) = request.dns_names.iter().find(|name| *name != node) {
        return Err(format!("it asks for the name '{name}'"));
    }
    let owner = |ip: &IpAddr| hosts.iter().find(|line| line.address == *ip);
    let own = hosts.iter().find(|line| line.names.iter().any(|name| name == node));
    for ip in &request.addresses {
        // A host that the image does not know yet may have an address that it does not know.
        let is_own = match (own, owner(ip)) {
            (Some(line), _) => line.address == *ip,
            (None, owner) => owner.is_none() && !ip.is_loopback() && !ip.is_unspecified(),
        };
        if !is_own {
            return Err(format!("it asks for the address {ip}"));
        }
    }
    Ok(node.to_owned())
}

fn approve(request: &str, node: &str) -> Result<()> {
    let task = format!("approving '{}'", printable(request));
    let output = Command::new(KUBECTL)
        .args([KUBECONFIG, "certificate", "approve", "--", request])
        .stdin(Stdio::null())
        .output()
        .during(&task)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Stop::new(format_args!("{task}: {}", said.trim())));
    }
    println!("approved the serving certificate of '{node}'");
    Ok(())
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic()).take(100).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn hosts() -> Vec<HostLine> {
        [("n1", "10.0.0.1"), ("n2", "10.0.0.2")]
            .map(|(name, address)| HostLine {
                address: address.parse().unwrap(),
                names: vec![name.to_owned()],
            })
            .into()
    }

    fn asked(node: &str, subject: &str, names: &str) -> Spec {
        let folder = tempfile::tempdir().unwrap();
        let output = Command::new("openssl")
            .args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(["-nodes", "-subj", &format!("/O={GROUP}/CN={subject}")])
            .args(["-addext", &format!("subjectAltName={names}"), "-keyout"])
            .arg(folder.path().join("key"))
            .output()
            .unwrap();
        let request = Command::new("base64")
            .arg("-w0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .and_then(|mut child| {
                std::io::Write::write_all(&mut child.stdin.take().unwrap(), &output.stdout)?;
                child.wait_with_output()
            })
            .unwrap();
        Spec {
            request: String::from_utf8(request.stdout).unwrap(),
            signer_name: SIGNER.to_owned(),
            username: format!("{USER}{node}"),
            groups: vec![GROUP.to_owned()],
        }
    }

    #[test]
    fn a_node_gets_its_own_name_and_address_and_nobody_elses() {
        let result = |spec: &Spec| check(spec, &hosts());
        let n1 = "system:node:n1";
        assert_eq!(result(&asked("n1", n1, "DNS:n1,IP:10.0.0.1")), Ok("n1".to_owned()));
        for (names, why) in [
            ("DNS:n2,IP:10.0.0.1", "it asks for the name 'n2'"),
            ("DNS:n1,IP:10.0.0.2", "it asks for the address 10.0.0.2"),
            ("DNS:n1,IP:10.0.0.9", "it asks for the address 10.0.0.9"),
            ("email:a@b.c", "its request is not understood"),
        ] {
            assert_eq!(result(&asked("n1", n1, names)), Err(why.to_owned()));
        }
        let other = asked("n1", "system:node:n2", "DNS:n1");
        assert_eq!(result(&other), Err("it asks for the name 'system:node:n2'".to_owned()));
        let mut stranger = asked("n1", n1, "DNS:n1");
        stranger.groups.clear();
        assert_eq!(result(&stranger), Err("it is no node's".to_owned()));
    }

    #[test]
    fn a_new_node_gets_an_address_that_is_nobodys() {
        let result = |names: &str| check(&asked("n9", "system:node:n9", names), &hosts());
        assert_eq!(result("DNS:n9,IP:10.0.0.9"), Ok("n9".to_owned()));
        assert_eq!(result("DNS:n9,IP:10.0.0.2").unwrap_err(), "it asks for the address 10.0.0.2");
        assert_eq!(result("IP:127.0.0.1").unwrap_err(), "it asks for the address 127.0.0.1");
    }

    #[test]
    fn what_kubectl_prints_is_understood() {
        let text = r#"{"apiVersion": "certificates.k8s.io/v1", "metadata": {"name": "csr-1", "uid": "u"},
            "spec": {"signerName": "kubernetes.io/kubelet-serving", "username": "system:node:a",
            "groups": ["system:nodes"], "request": "", "usages": ["server auth"]}, "status": {}}"#;
        let asked: Asked = serde_json::from_str(text).unwrap();
        assert_eq!((&*asked.metadata.name, asked.status.conditions.len()), ("csr-1", 0));
    }
}
