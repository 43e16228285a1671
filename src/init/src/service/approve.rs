// SPDX-License-Identifier: Apache-2.0
//! `kiln-init approve`: approves what kubelets ask to serve with, if it is their own.
//!
//! Kubernetes approves a kubelet's client certificate by itself, and leaves the serving
//! certificate to whoever knows the machines. The image knows them: a request is approved if a
//! node asks for its own name and address, and never if it asks for another host's.
//!
//! Any machine with the bootstrap token can call itself as it likes, and what is approved is
//! signed by the authority that clients of the API believe. So nobody gets a name or address of the
//! API: a known host must be one that runs a kubelet, and an unknown one gets a single label
//! that is nobody's name, and an address of the hosts' network that is nobody's either.

use std::{
    io::BufReader,
    net::IpAddr,
    process::{Command, Stdio},
};

use kiln_init::{
    base64,
    csr::Request,
    handoff::{HostLine, Kubelets},
};
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
/// Single labels by which machines or pods call the API or themselves.
const RESERVED_NAMES: [&str; 2] = ["kubernetes", "localhost"];

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
    let task = "following certificate requests";
    let handoff = handoff()?;
    let known = Known {
        hosts: &handoff.hosts,
        kubelets: handoff.kubelets.as_ref().ok_or_else(|| {
            Stop::new(format_args!("{task}: this image does not say who runs a kubelet"))
        })?,
    };
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
        match known.check(&asked.spec) {
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

/// What the image knows of machines.
#[derive(Debug, Clone, Copy)]
struct Known<'a> {
    hosts: &'a [HostLine],
    kubelets: &'a Kubelets,
}

impl Known<'_> {
    /// The node, if it asks for nothing but what is its own.
    fn check(self, spec: &Spec) -> std::result::Result<String, String> {
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
        let own = self.hosts.iter().find(|line| line.names.iter().any(|name| name == node));
        match own {
            Some(_) if !self.kubelets.names.iter().any(|name| name == node) => {
                return Err(format!("'{node}' runs no kubelet"));
            }
            None if node.contains('.') || RESERVED_NAMES.contains(&node) => {
                return Err(format!("'{node}' is no name for a host"));
            }
            _ => {}
        }
        let is_own = |ip: &&IpAddr| own.map_or_else(|| self.is_free(**ip), |it| it.address == **ip);
        match request.addresses.iter().find(|ip| !is_own(ip)) {
            Some(ip) => Err(format!("it asks for the address {ip}")),
            None => Ok(node.to_owned()),
        }
    }

    /// Whether an address may be that of a host which the image does not know yet.
    fn is_free(self, ip: IpAddr) -> bool {
        let IpAddr::V4(address) = ip else { return false };
        let Kubelets { network, prefix, reserved, .. } = self.kubelets;
        let host_bits = 32 - u32::from(*prefix).min(32);
        let differs = (address.to_bits() ^ network.to_bits()).checked_shr(host_bits);
        differs.unwrap_or(0) == 0
            && !reserved.contains(&address)
            && self.hosts.iter().all(|line| line.address != ip)
    }
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

    /// Two nodes, a master without kubelet and the endpoint.
    fn check(spec: &Spec) -> std::result::Result<String, String> {
        let line = |(name, address): (&str, &str)| HostLine {
            address: address.parse().unwrap(),
            names: vec![name.to_owned()],
        };
        let hosts =
            [("n1", "10.0.0.1"), ("n2", "10.0.0.2"), ("m1", "10.0.0.3"), ("api", "10.0.0.4")]
                .map(line);
        let kubelets = Kubelets {
            names: vec!["n1".to_owned(), "n2".to_owned()],
            network: "10.0.0.0".parse().unwrap(),
            prefix: 24,
            reserved: vec!["10.0.0.5".parse().unwrap(), "10.0.0.254".parse().unwrap()],
        };
        Known { hosts: &hosts, kubelets: &kubelets }.check(spec)
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
        let result = check;
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
        let result = |names: &str| check(&asked("n9", "system:node:n9", names));
        assert_eq!(result("DNS:n9,IP:10.0.0.9"), Ok("n9".to_owned()));
        // A host's, the virtual one, the gateway's, a service's, loopback, and another family.
        for ip in ["10.0.0.2", "10.0.0.5", "10.0.0.254", "10.96.0.1", "127.0.0.1", "fd00::9"] {
            let why = format!("it asks for the address {ip}");
            assert_eq!(result(&format!("DNS:n9,IP:{ip}")), Err(why));
        }
    }

    #[test]
    fn whoever_has_the_token_gets_no_name_of_the_api() {
        for (node, why) in [
            ("m1", "'m1' runs no kubelet"),
            ("api", "'api' runs no kubelet"),
            ("kubernetes", "'kubernetes' is no name for a host"),
            ("kubernetes.default.svc", "'kubernetes.default.svc' is no name for a host"),
            ("localhost", "'localhost' is no name for a host"),
        ] {
            let names = format!("DNS:{node},IP:10.0.0.9");
            let spec = asked(node, &format!("system:node:{node}"), &names);
            assert_eq!(check(&spec), Err(why.to_owned()));
        }
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
