// SPDX-License-Identifier: Apache-2.0
//! The values of a network document. Each type's text form is safe in a line of a unit file: no
//! white space, no control character, no `%`.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

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

impl Name {
    /// The pattern that only this name matches: a name has no pattern characters.
    pub fn to_glob(&self) -> Glob {
        Glob(self.0.clone())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a document calls a device: the interface's name, or any words where a match says which
/// interfaces are meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id(String);

impl FromStr for Id {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let safe = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'/';
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(safe);
        fits.then(|| Self(text.to_owned())).ok_or(())
    }
}

impl From<Name> for Id {
    fn from(name: Name) -> Self {
        Self(name.0)
    }
}

impl Id {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as a part of a file's name. What an interface name cannot have becomes `+` and its
    /// number, so that no two ids share a file.
    pub fn stem(&self) -> String {
        let mut stem = String::new();
        for c in self.0.chars() {
            if c.is_ascii_alphanumeric() || "._-".contains(c) {
                stem.push(c);
            } else {
                stem.push_str(&format!("+{:02x}", u32::from(c)));
            }
        }
        stem
    }
}

/// A pattern of interface or driver names: `*`, `?`, `[…]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Glob {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        // No '!' at the start and no space: systemd gives them a meaning.
        let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"._-*?[]".contains(&byte);
        let fits = (1..=64).contains(&text.len());
        (fits && text.bytes().all(safe)).then(|| Self(text.to_owned())).ok_or(())
    }
}

/// A MAC address; printed in lower case with colons.
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
        let usable = parts.next().is_none() && bytes != [0; 6];
        usable.then_some(Self(bytes)).ok_or(())
    }
}

impl Mac {
    /// Whether it is the address of a group, which no interface has. Documentation is full of them.
    pub fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }
}

/// An address with the prefix length of its network: `192.168.31.24/24`, read also with the
/// network mask in its place.
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
        let prefix = prefix_length(ip, prefix).ok_or(())?;
        Ok(Self { ip, prefix })
    }
}

impl Address {
    /// Whether an interface can have this address.
    pub fn is_assignable(&self) -> bool {
        // systemd-networkd takes 0.0.0.0 and :: for "any free network".
        !self.ip.is_unspecified()
            && !self.ip.is_multicast()
            && self.ip != IpAddr::V4(Ipv4Addr::BROADCAST)
    }

    /// Link-local addresses may be on several interfaces.
    pub fn is_link_local(&self) -> bool {
        match self.ip {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        }
    }

    /// The whole family of `ip`, as a default route has it.
    pub fn any(ip: IpAddr) -> Self {
        let ip = match ip {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        Self { ip, prefix: 0 }
    }

    /// The network that has only this host.
    pub fn host(ip: IpAddr) -> Self {
        Self { ip, prefix: if ip.is_ipv4() { 32 } else { 128 } }
    }

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

impl fmt::Display for Id {
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

/// The prefix length that `text` says for `ip`: as a number, or as a network mask of its family.
pub(super) fn prefix_length(ip: IpAddr, text: &str) -> Option<u8> {
    let max = if ip.is_ipv4() { 32 } else { 128 };
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().filter(|prefix| *prefix <= max);
    }
    let (ones, leading) = match text.parse().ok()? {
        IpAddr::V4(mask) if ip.is_ipv4() => {
            (mask.to_bits().count_ones(), mask.to_bits().leading_ones())
        }
        IpAddr::V6(mask) if ip.is_ipv6() => {
            (mask.to_bits().count_ones(), mask.to_bits().leading_ones())
        }
        _ => return None,
    };
    u8::try_from(ones).ok().filter(|_| ones == leading)
}

/// The label of an address, as `ip address` shows it: `eth0:vip`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label(String);

impl FromStr for Label {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
        let fits = (1..=15).contains(&text.len()) && text.bytes().all(safe);
        fits.then(|| Self(text.to_owned())).ok_or(())
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
