// SPDX-License-Identifier: Apache-2.0
//! A host's network, as metadata states it and as systemd-networkd reads it.
//!
//! [`config`] reads network-config version 2 (netplan's subset that cloud-init documents; only
//! `ethernets` so far), [`networkd`] writes the `.network` and `.link` files. Between them stands
//! [`Network`], in which every value has its own type, so nothing that reaches a file can hold a
//! line break.

pub mod config;
pub mod networkd;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
};

/// Everything that a host's metadata says about its network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Network {
    pub ethernets: Vec<Ethernet>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ethernet {
    /// The key in network-config: the interface's name if there is no `match`.
    pub id: Name,
    pub matches: Option<Match>,
    pub set_name: Option<Name>,
    pub dhcp4: bool,
    pub dhcp6: bool,
    pub addresses: Vec<Address>,
    pub routes: Vec<Route>,
    pub nameservers: Vec<IpAddr>,
    pub search: Vec<Domain>,
    pub mtu: Option<u32>,
    pub optional: bool,
    pub wake_on_lan: Option<bool>,
    pub accept_ra: Option<bool>,
}

/// Which interfaces an entry is for; all that is given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Match {
    pub name: Option<Glob>,
    pub mac: Option<Mac>,
    pub drivers: Vec<Glob>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// None is the default route of the gateway's family.
    pub to: Option<Address>,
    pub via: Option<IpAddr>,
    pub on_link: bool,
    pub metric: Option<u32>,
    pub table: Option<u32>,
    pub mtu: Option<u32>,
    pub from: Option<IpAddr>,
}

impl Network {
    /// The host's own address: the first IPv4 one, else the first.
    pub fn address(&self) -> Option<Address> {
        let all = || self.ethernets.iter().flat_map(|ethernet| &ethernet.addresses);
        all().find(|address| address.ip.is_ipv4()).or_else(|| all().next()).copied()
    }
}

/// An interface name: at most 15 bytes that are safe in every file and path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

impl FromStr for Name {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let fits =
            (1..=15).contains(&text.len()) && !matches!(text, "." | ".." | "all" | "default");
        let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let numeric = text.bytes().all(|byte| byte.is_ascii_digit());
        (fits && !numeric && text.bytes().all(safe)).then(|| Self(text.to_owned())).ok_or(())
    }
}

/// A pattern of interface or driver names: `*`, `?`, `[…]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(String);

impl FromStr for Glob {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        // No '!' at the start and no space: systemd gives them a meaning.
        let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"._-*?[]".contains(&byte);
        let fits = (1..=64).contains(&text.len());
        (fits && text.bytes().all(safe)).then(|| Self(text.to_owned())).ok_or(())
    }
}

/// A unicast MAC address; printed in lower case with colons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mac([u8; 6]);

impl FromStr for Mac {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut bytes = [0; 6];
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut parts = text.split(separator);
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or(())?;
            if !part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| ())?;
        }
        let usable = parts.next().is_none() && bytes[0] & 1 == 0 && bytes != [0; 6];
        usable.then_some(Self(bytes)).ok_or(())
    }
}

/// An address with the prefix length of its network: `192.168.31.24/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    pub ip: IpAddr,
    pub prefix: u8,
}

impl FromStr for Address {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (ip, prefix) = text.split_once('/').ok_or(())?;
        let ip: IpAddr = ip.parse().map_err(|_| ())?;
        let max = if ip.is_ipv4() { 32 } else { 128 };
        let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix: u8 = prefix.parse().map_err(|_| ())?;
        (digits && prefix <= max).then_some(Self { ip, prefix }).ok_or(())
    }
}

impl Address {
    /// Whether `other` lies in this address's network.
    pub fn contains(&self, other: IpAddr) -> bool {
        let bits = |ip| match ip {
            IpAddr::V4(ip) => (u128::from(Ipv4Addr::to_bits(ip)) << 96, 4),
            IpAddr::V6(ip) => (ip.to_bits(), 6),
        };
        let ((own, family), (other, other_family)) = (bits(self.ip), bits(other));
        let host_bits = 128 - u32::from(self.prefix.min(128));
        let network = |bits: u128| bits.checked_shr(host_bits).unwrap_or(0);
        family == other_family && network(own) == network(other)
    }
}

/// A DNS domain, `~` in front for a routing domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain(String);

impl FromStr for Domain {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let name = text.strip_prefix('~').unwrap_or(text);
        let name = name.strip_suffix('.').unwrap_or(name);
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        let fits = name.len() <= 253 && (text == "~." || name.split('.').all(label));
        fits.then(|| Self(text.to_owned())).ok_or(())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests;
