// SPDX-License-Identifier: Apache-2.0
//! Rules of the packet filter: `tcp endpoint`, `tcp 30000-32767 from hosts`, `vrrp from hosts`.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

use crate::{
    cluster::{Cidr, Networks, ParseCidrError},
    diagnostic::suggest,
};

/// One thing that is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    pub traffic: Traffic,
    pub origin: Origin,
}

/// What comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Traffic {
    Tcp(Ports),
    /// TCP to `endpoint.port` of the cluster.
    Endpoint,
    Udp(Ports),
    /// IP protocol 112.
    Vrrp,
    Icmp,
}

/// A range of ports, both ends included; never empty, never port 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ports {
    pub first: u16,
    pub last: u16,
}

/// Where it may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    Anywhere,
    /// `networks.hosts` of the cluster, and so on.
    Hosts,
    Pods,
    Services,
    Network(Cidr),
}

/// Why a text is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseRuleError {
    #[error("a rule begins with 'tcp', 'udp', 'vrrp' or 'icmp', found '{}': {help}", found.escape_debug())]
    Protocol { found: String, help: String },
    #[error("'{0}' takes a port or a range of ports: '{0} 6443' or '{0} 30000-32767'")]
    NoPorts(&'static str),
    #[error("'{}' is no port or range of ports (1 to 65535)", .0.escape_debug())]
    Ports(String),
    #[error("'{}' does not belong here: a rule is 'PROTOCOL [PORTS] [from ORIGIN]'", .0.escape_debug())]
    Surplus(String),
    #[error("'from' is followed by 'hosts', 'pods', 'services' or a network")]
    NoOrigin,
    #[error(transparent)]
    Origin(#[from] ParseCidrError),
}

impl Origin {
    /// The network that is meant in a cluster; none for anywhere.
    pub fn network(&self, networks: &Networks) -> Option<Cidr> {
        match self {
            Self::Anywhere => None,
            Self::Hosts => Some(networks.hosts),
            Self::Pods => Some(networks.pods),
            Self::Services => Some(networks.services),
            Self::Network(network) => Some(*network),
        }
    }
}

impl FromStr for Rule {
    type Err = ParseRuleError;

    fn from_str(text: &str) -> Result<Self, ParseRuleError> {
        let mut words = text.split_whitespace().peekable();
        let protocol = words.next().unwrap_or_default();
        let ports = |name, word: Option<&str>| match word {
            None | Some("from") => Err(ParseRuleError::NoPorts(name)),
            Some(word) => word.parse(),
        };
        let traffic = match protocol {
            "tcp" => match words.next() {
                Some("endpoint") => Traffic::Endpoint,
                word => Traffic::Tcp(ports("tcp", word)?),
            },
            "udp" => Traffic::Udp(ports("udp", words.next())?),
            "vrrp" => Traffic::Vrrp,
            "icmp" => Traffic::Icmp,
            other => {
                let help = suggest(other, ["tcp", "udp", "vrrp", "icmp"]);
                return Err(ParseRuleError::Protocol { found: other.to_owned(), help });
            }
        };
        let origin = match words.next() {
            None => Origin::Anywhere,
            Some("from") => match words.next().ok_or(ParseRuleError::NoOrigin)? {
                "hosts" => Origin::Hosts,
                "pods" => Origin::Pods,
                "services" => Origin::Services,
                network => Origin::Network(network.parse()?),
            },
            Some(word) => return Err(ParseRuleError::Surplus(word.to_owned())),
        };
        match words.next() {
            None => Ok(Self { traffic, origin }),
            Some(word) => Err(ParseRuleError::Surplus(word.to_owned())),
        }
    }
}

impl FromStr for Ports {
    type Err = ParseRuleError;

    fn from_str(text: &str) -> Result<Self, ParseRuleError> {
        let error = || ParseRuleError::Ports(text.to_owned());
        let port = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| digits.parse().ok()).flatten().filter(|port| *port > 0).ok_or_else(error)
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let ports = Self { first: port(first)?, last: port(last)? };
        if ports.first <= ports.last { Ok(ports) } else { Err(error()) }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.traffic {
            Traffic::Tcp(ports) => write!(f, "tcp {ports}")?,
            Traffic::Endpoint => f.write_str("tcp endpoint")?,
            Traffic::Udp(ports) => write!(f, "udp {ports}")?,
            Traffic::Vrrp => f.write_str("vrrp")?,
            Traffic::Icmp => f.write_str("icmp")?,
        }
        match self.origin {
            Origin::Anywhere => Ok(()),
            Origin::Hosts => f.write_str(" from hosts"),
            Origin::Pods => f.write_str(" from pods"),
            Origin::Services => f.write_str(" from services"),
            Origin::Network(network) => write!(f, " from {network}"),
        }
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rules_survive_their_text_form() {
        for text in [
            "tcp 6443",
            "tcp endpoint",
            "tcp endpoint from hosts",
            "udp 123 from 10.1.0.0/16",
            "tcp 30000-32767 from hosts",
            "vrrp from hosts",
            "icmp",
            "tcp 10250 from pods",
            "udp 53 from services",
        ] {
            assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn bad_rules_say_what_is_expected() {
        for (text, message) in [
            (
                "",
                "a rule begins with 'tcp', 'udp', 'vrrp' or 'icmp', found '': possible are 'tcp', 'udp', 'vrrp', 'icmp'",
            ),
            (
                "tpc 1",
                "a rule begins with 'tcp', 'udp', 'vrrp' or 'icmp', found 'tpc': did you mean 'tcp'?",
            ),
            ("tcp", "'tcp' takes a port or a range of ports: 'tcp 6443' or 'tcp 30000-32767'"),
            (
                "udp from hosts",
                "'udp' takes a port or a range of ports: 'udp 6443' or 'udp 30000-32767'",
            ),
            ("tcp 0", "'0' is no port or range of ports (1 to 65535)"),
            ("tcp 70000", "'70000' is no port or range of ports (1 to 65535)"),
            ("tcp 9-8", "'9-8' is no port or range of ports (1 to 65535)"),
            ("tcp http", "'http' is no port or range of ports (1 to 65535)"),
            ("udp endpoint", "'endpoint' is no port or range of ports (1 to 65535)"),
            (
                "tcp endpoint 1",
                "'1' does not belong here: a rule is 'PROTOCOL [PORTS] [from ORIGIN]'",
            ),
            ("vrrp 112", "'112' does not belong here: a rule is 'PROTOCOL [PORTS] [from ORIGIN]'"),
            ("icmp from", "'from' is followed by 'hosts', 'pods', 'services' or a network"),
            ("icmp from host", "'host' is no IPv4 network: write ADDRESS/PREFIX, as 10.244.0.0/16"),
            (
                "icmp from hosts pods",
                "'pods' does not belong here: a rule is 'PROTOCOL [PORTS] [from ORIGIN]'",
            ),
        ] {
            assert_eq!(text.parse::<Rule>().unwrap_err().to_string(), message, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<Rule>();
        }
    }
}
