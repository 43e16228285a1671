// SPDX-License-Identifier: Apache-2.0
//! IPv4 networks, and addresses in them.

use std::{fmt, net::Ipv4Addr, str::FromStr};

use serde::{Serialize, Serializer};

/// An IPv4 network; the host bits are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cidr {
    pub network: Ipv4Addr,
    /// 0 to 32.
    pub prefix: u8,
}

/// An address with the prefix length of its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostAddress {
    pub address: Ipv4Addr,
    pub prefix: u8,
}

/// Why a text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseCidrError {
    #[error("'{}' is no IPv4 network: write ADDRESS/PREFIX, as 10.244.0.0/16", .0.escape_debug())]
    Form(String),
    #[error("'{given}' is an address inside a network: did you mean '{network}'?")]
    HostBits { given: String, network: Cidr },
}

impl Cidr {
    /// The network of that size that `address` lies in. None if `prefix` is above 32.
    pub fn around(address: Ipv4Addr, prefix: u8) -> Option<Self> {
        let mask = mask(prefix)?;
        Some(Self { network: Ipv4Addr::from_bits(address.to_bits() & mask), prefix })
    }

    pub fn contains(&self, address: Ipv4Addr) -> bool {
        Self::around(address, self.prefix) == Some(*self)
    }

    /// Whether the networks share an address.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.network) || other.contains(self.network)
    }

    /// The last address: broadcast, unless the network is a point-to-point link or one host.
    pub fn last(&self) -> Ipv4Addr {
        let mask = mask(self.prefix).expect("a network's prefix is at most 32");
        Ipv4Addr::from_bits(self.network.to_bits() | !mask)
    }

    /// Whether a machine can have this address in this network.
    pub fn has_host(&self, address: Ipv4Addr) -> bool {
        let reserved = self.prefix < 31 && (address == self.network || address == self.last());
        self.contains(address) && !reserved
    }
}

fn mask(prefix: u8) -> Option<u32> {
    match prefix {
        0 => Some(0),
        1..=32 => Some(u32::MAX << (32 - prefix)),
        _ => None,
    }
}

/// `ADDRESS/PREFIX`; the prefix has no sign and no leading zero.
fn split(text: &str) -> Option<(Ipv4Addr, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let number: u8 = prefix.parse().ok().filter(|number| *number <= 32)?;
    (number.to_string() == prefix).then_some((address.parse().ok()?, number))
}

impl FromStr for Cidr {
    type Err = ParseCidrError;

    fn from_str(text: &str) -> Result<Self, ParseCidrError> {
        let (address, prefix) = split(text).ok_or_else(|| ParseCidrError::Form(text.to_owned()))?;
        let network = Self::around(address, prefix).expect("the prefix is at most 32");
        if network.network == address {
            Ok(network)
        } else {
            Err(ParseCidrError::HostBits { given: text.to_owned(), network })
        }
    }
}

impl HostAddress {
    /// `ADDRESS/PREFIX`, or `ADDRESS` with the prefix of the network that is meant.
    pub fn parse(text: &str, prefix: u8) -> Option<Self> {
        match split(text) {
            Some((address, prefix)) => Some(Self { address, prefix }),
            None => Some(Self { address: text.parse().ok()?, prefix }),
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for HostAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn networks_are_written_with_their_first_address() {
        assert_eq!(
            "10.0.0.1/24".parse::<Cidr>().unwrap_err().to_string(),
            "'10.0.0.1/24' is an address inside a network: did you mean '10.0.0.0/24'?"
        );
        for bad in
            ["10.0.0.0", "10.0.0.0/33", "10.0.0/24", "10.0.0.0/+8", "10.0.0.0/08", "::/0", "/8"]
        {
            assert!(matches!(bad.parse::<Cidr>(), Err(ParseCidrError::Form(_))), "{bad}");
        }
    }

    #[test]
    fn first_and_last_addresses_belong_to_no_host() {
        assert!(!cidr("10.0.0.0/24").has_host([10, 0, 0, 0].into()));
        assert!(!cidr("10.0.0.0/24").has_host([10, 0, 0, 255].into()));
        assert!(cidr("10.0.0.0/24").has_host([10, 0, 0, 254].into()));
        assert!(!cidr("10.0.0.0/24").has_host([10, 0, 1, 1].into()));
        assert!(cidr("10.0.0.0/31").has_host([10, 0, 0, 0].into()));
        assert!(cidr("10.0.0.7/32").has_host([10, 0, 0, 7].into()));
    }

    proptest! {
        #[test]
        fn networks_survive_their_text_form(bits: u32, prefix in 0..=32u8) {
            let network = Cidr::around(Ipv4Addr::from_bits(bits), prefix).unwrap();
            prop_assert_eq!(network.to_string().parse(), Ok(network));
            prop_assert!(network.contains(Ipv4Addr::from_bits(bits)));
            prop_assert!(network.contains(network.last()));
        }

        #[test]
        fn networks_overlap_if_one_holds_an_end_of_the_other(a: u32, p in 0..=32u8, b: u32, q in 0..=32u8) {
            let a = Cidr::around(Ipv4Addr::from_bits(a), p).unwrap();
            let b = Cidr::around(Ipv4Addr::from_bits(b), q).unwrap();
            let (start, end) = (a.network.max(b.network), a.last().min(b.last()));
            prop_assert_eq!(a.overlaps(&b), start <= end);
            prop_assert_eq!(a.overlaps(&b), b.overlaps(&a));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<Cidr>();
            let _ = HostAddress::parse(&text, 24);
        }
    }
}
