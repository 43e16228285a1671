// SPDX-License-Identifier: Apache-2.0
//! The same site for larger sites: files that nginx serves, DHCP and TFTP by dnsmasq.
//!
//! Paths are those of `kiln serve`, which goes on to show the fleet behind nginx. Everything is a
//! value here; the command writes it.

mod dnsmasq;
mod nginx;

use std::{collections::BTreeMap, net::SocketAddr};

use super::{
    hosts::Hosts,
    images::Images,
    script::{self, Base, Boot},
};
use crate::cluster::Cluster;

/// What the configuration depends on.
#[derive(Debug)]
pub struct Inputs<'a> {
    pub cluster: &'a Cluster,
    pub hosts: &'a Hosts,
    pub images: &'a Images,
    /// How machines reach nginx.
    pub base: &'a Base,
    /// Absolute paths: of the folder that is written, of builds, of the first stage's programs.
    pub folder: &'a str,
    pub out: &'a str,
    pub first_stage: &'a str,
    /// Where `kiln serve` listens for nginx.
    pub page: SocketAddr,
}

/// Files by their path below the folder.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Every file.
pub fn files(inputs: &Inputs<'_>) -> Files {
    let mut files = Files::from([
        ("dnsmasq.conf".to_owned(), dnsmasq::own(inputs).into_bytes()),
        ("dnsmasq-beside.conf".to_owned(), dnsmasq::beside(inputs).into_bytes()),
        ("dhcp-hosts".to_owned(), dnsmasq::hosts(inputs).into_bytes()),
        ("nginx.conf".to_owned(), nginx::configuration(inputs).into_bytes()),
        ("www/boot.ipxe".to_owned(), script::FIRST.into()),
    ]);
    for host in inputs.hosts.all() {
        for key in &host.keys {
            let boot = Boot {
                host: &host.name,
                role: &host.role,
                key,
                arguments: &host.arguments,
                image: inputs.images.role(&host.role).map(|image| &**image),
                metadata: (!host.documents.is_empty()).then_some(None),
            };
            let text = script::boot(&boot, inputs.base, false);
            files.insert(format!("www/hosts/{key}/boot.ipxe"), text.into_bytes());
            for (name, document) in &host.documents {
                files.insert(format!("www/hosts/{key}/{name}"), document.bytes.to_vec());
            }
        }
    }
    files
}

/// Whether a path means itself in these configurations.
pub fn is_plain(path: &str) -> bool {
    path.starts_with('/')
        && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._+-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::fixture::{self, MAC, UUID};

    #[test]
    fn other_servers_get_the_same_site() {
        let out = tempfile::tempdir().unwrap();
        fixture::build(out.path(), "root", 0);
        let (cluster, hosts) = fixture::plain();
        let images = fixture::images(out.path(), &cluster);
        let files = files(&Inputs {
            cluster: &cluster,
            hosts: &hosts,
            images: &images,
            base: &Base::of_name("boot.example.org", 80),
            folder: "/etc/kiln",
            out: "/srv/out",
            first_stage: "/usr/lib/ipxe",
            page: ([127, 0, 0, 1], 8080).into(),
        });
        let text = |name: &str| String::from_utf8(files[name].clone()).unwrap();
        let script = text(&format!("www/hosts/{MAC}/boot.ipxe"));
        let id = &images.role("lb").unwrap().id;
        let expected = format!(
            "set kiln-arguments kiln.url=http://boot.example.org/hosts/{MAC}/ \
             kiln.report=http://boot.example.org/hosts/{MAC}/ kiln.install=any\n\
             chain --autofree http://boot.example.org/images/lb/v-{id}/c-lb.ipxe ||\n"
        );
        assert!(script.contains(&expected), "{script}");
        assert!(files.contains_key(&format!("www/hosts/{UUID}/meta-data")));
        assert_eq!(text("dhcp-hosts"), "52:54:00:00:00:01,192.168.31.178,l1\n");
        assert!(text("nginx.conf").contains("location ~ ^/images/(lb|master|node)/"));
        let dhcp = text("dnsmasq.conf");
        assert!(dhcp.contains("dhcp-range=192.168.31.0,static,255.255.255.0,1h\n"), "{dhcp}");
    }

    #[test]
    fn paths_that_would_need_quotes_are_told_apart() {
        assert!(is_plain("/srv/kiln-1.0/out"));
        for path in ["", "out", "/srv/my files", "/srv/a;b", "/srv/{a}", "/srv/\"", "/srv/ä"] {
            assert!(!is_plain(path), "{path}");
        }
    }
}
