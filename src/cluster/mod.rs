// SPDX-License-Identifier: Apache-2.0
//! `cluster.yaml`: the cluster that the images are for.
//!
//! A value of [`Cluster`] comes from [`load`] and is consistent: addresses are unique and lie in
//! their networks, networks do not overlap, every name that is referred to exists.

mod address;
mod check;
mod read;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
};

use serde::Serialize;

pub use self::{
    address::{Cidr, HostAddress, ParseCidrError},
    read::load,
};
use crate::yaml::fields::Complaint;

/// One cluster, valid.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cluster {
    /// A DNS label; part of every output's name.
    pub name: String,
    /// Version of the images; orders updates.
    pub version: String,
    /// Base address of the archive, if the cluster names one.
    pub mirror: Option<String>,
    pub endpoint: Endpoint,
    pub networks: Networks,
    pub etcd: Etcd,
    pub lb: Lb,
    pub pki: Pki,
    /// By host name.
    pub hosts: BTreeMap<String, Host>,
}

impl Cluster {
    /// Hosts of a role, sorted by name.
    pub fn hosts_of<'a>(&'a self, role: &'a str) -> impl Iterator<Item = (&'a str, &'a Host)> {
        let all = self.hosts.iter().map(|(name, host)| (name.as_str(), host));
        all.filter(move |(_, host)| host.role == role)
    }

    /// Whether the partition labels of a role's image fit: they carry cluster, role and version,
    /// and GPT has room for 36 UTF-16 units.
    ///
    /// # Errors
    /// They do not.
    pub fn check_label(&self, role: &str) -> Result<(), Complaint> {
        const LONGEST: usize = 36;
        let label = format!("{}-{role}_{}_verity", self.name, self.version);
        if label.len() <= LONGEST {
            return Ok(());
        }
        Err(Complaint::new(
            format!(
                "partition label '{label}' has {} characters, more than {LONGEST}",
                label.len()
            ),
            "shorten the name or the version of the cluster, or the name of the role",
        ))
    }

    /// Roles that hosts have, sorted.
    pub fn roles(&self) -> BTreeSet<&str> {
        self.hosts.values().map(|host| host.role.as_str()).collect()
    }
}

/// Where clients reach the API: the load balancers' virtual address.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Endpoint {
    pub vip: Ipv4Addr,
    pub port: u16,
    pub names: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Networks {
    /// The hosts' own network; the VIP and every host's address lie in it.
    pub hosts: Cidr,
    pub pods: Cidr,
    pub services: Cidr,
    /// Address of the cluster's DNS service, inside `services`.
    pub dns: Ipv4Addr,
    pub domain: String,
    pub gateway: Option<Ipv4Addr>,
    pub nameservers: Vec<IpAddr>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Etcd {
    /// Host names; an odd number.
    pub members: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Lb {
    pub proxy: Proxy,
    /// VRRP virtual router id, 1 to 255; unique on the network.
    pub router_id: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proxy {
    Haproxy,
}

/// How certificates are made and reach the hosts.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Pki {
    pub delivery: Delivery,
    /// Life of a certificate authority.
    pub ca_days: u32,
    /// Life of everything that it signs.
    pub leaf_days: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// A role's image carries certificates and keys; it is a secret itself.
    Baked,
    /// A host's seed carries its own; images hold no secret.
    Seed,
}

/// One machine. None of this enters an image: it travels in the host's seed.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Host {
    pub role: String,
    pub address: HostAddress,
    /// Lower case, colons.
    pub mac: Option<String>,
    pub ssh_authorized_keys: Vec<String>,
    /// Values for first-boot templates, as `vars.NAME`.
    pub vars: BTreeMap<String, serde_json::Value>,
}
