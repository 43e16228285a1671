// SPDX-License-Identifier: Apache-2.0
//! Parameters of bonds and bridges: one table each, with the names of both versions, the keys of
//! systemd.netdev(5), and what a value may be.

use std::{net::Ipv4Addr, ops::RangeInclusive};

use super::{
    Id, Setting, Value,
    fields::{DEVICE, not, own_mac, unsigned, word},
};
use crate::yaml::{At, Problem, printable};

/// The kernel's limit, which systemd.netdev(5) repeats.
const ARP_TARGETS_MAX: usize = 16;

pub(super) struct Parameter {
    pub(super) v2: &'static str,
    /// Version 1's names behind `bond-` or `bridge_`, with `-` for `_`.
    v1: &'static [&'static str],
    key: &'static str,
    shape: Shape,
}

enum Shape {
    Words(&'static [(&'static str, &'static str)]),
    Flag,
    Number(RangeInclusive<i64>),
    Milliseconds,
    /// Written as a number, read also with `s` behind it.
    Seconds(RangeInclusive<i64>),
    Hosts,
    Mac,
}

const fn parameter(
    v2: &'static str,
    v1: &'static [&'static str],
    key: &'static str,
    shape: Shape,
) -> Parameter {
    Parameter { v2, v1, key, shape }
}

/// Words that the kernel also knows as numbers.
const MODES: &[(&str, &str)] = &[
    ("balance-rr", "balance-rr"),
    ("active-backup", "active-backup"),
    ("balance-xor", "balance-xor"),
    ("broadcast", "broadcast"),
    ("802.3ad", "802.3ad"),
    ("balance-tlb", "balance-tlb"),
    ("balance-alb", "balance-alb"),
    ("0", "balance-rr"),
    ("1", "active-backup"),
    ("2", "balance-xor"),
    ("3", "broadcast"),
    ("4", "802.3ad"),
    ("5", "balance-tlb"),
    ("6", "balance-alb"),
];
const RATES: &[(&str, &str)] = &[("slow", "slow"), ("fast", "fast"), ("0", "slow"), ("1", "fast")];
const HASHES: &[(&str, &str)] = &[
    ("layer2", "layer2"),
    ("layer3+4", "layer3+4"),
    ("layer2+3", "layer2+3"),
    ("encap2+3", "encap2+3"),
    ("encap3+4", "encap3+4"),
    ("0", "layer2"),
    ("1", "layer3+4"),
    ("2", "layer2+3"),
    ("3", "encap2+3"),
    ("4", "encap3+4"),
];
const SELECTS: &[(&str, &str)] = &[
    ("stable", "stable"),
    ("bandwidth", "bandwidth"),
    ("count", "count"),
    ("0", "stable"),
    ("1", "bandwidth"),
    ("2", "count"),
];
const VALIDATES: &[(&str, &str)] = &[
    ("none", "none"),
    ("active", "active"),
    ("backup", "backup"),
    ("all", "all"),
    ("0", "none"),
    ("1", "active"),
    ("2", "backup"),
    ("3", "all"),
];
const TARGETS: &[(&str, &str)] = &[("any", "any"), ("all", "all"), ("0", "any"), ("1", "all")];
const FAIL_OVERS: &[(&str, &str)] = &[
    ("none", "none"),
    ("active", "active"),
    ("follow", "follow"),
    ("0", "none"),
    ("1", "active"),
    ("2", "follow"),
];
const RESELECTS: &[(&str, &str)] = &[
    ("always", "always"),
    ("better", "better"),
    ("failure", "failure"),
    ("0", "always"),
    ("1", "better"),
    ("2", "failure"),
];

pub(super) const BOND: [Parameter; 20] = [
    parameter("mode", &["mode"], "Mode", Shape::Words(MODES)),
    parameter("lacp-rate", &["lacp-rate"], "LACPTransmitRate", Shape::Words(RATES)),
    parameter("mii-monitor-interval", &["miimon"], "MIIMonitorSec", Shape::Milliseconds),
    parameter("min-links", &["min-links"], "MinLinks", Shape::Number(0..=64)),
    parameter(
        "transmit-hash-policy",
        &["xmit-hash-policy"],
        "TransmitHashPolicy",
        Shape::Words(HASHES),
    ),
    parameter("ad-select", &["ad-select"], "AdSelect", Shape::Words(SELECTS)),
    parameter("all-slaves-active", &["all-slaves-active"], "AllSlavesActive", Shape::Flag),
    parameter("arp-interval", &["arp-interval"], "ARPIntervalSec", Shape::Milliseconds),
    parameter("arp-ip-targets", &["arp-ip-target"], "ARPIPTargets", Shape::Hosts),
    parameter("arp-validate", &["arp-validate"], "ARPValidate", Shape::Words(VALIDATES)),
    parameter("arp-all-targets", &["arp-all-targets"], "ARPAllTargets", Shape::Words(TARGETS)),
    parameter("up-delay", &["updelay"], "UpDelaySec", Shape::Milliseconds),
    parameter("down-delay", &["downdelay"], "DownDelaySec", Shape::Milliseconds),
    parameter(
        "fail-over-mac-policy",
        &["fail-over-mac"],
        "FailOverMACPolicy",
        Shape::Words(FAIL_OVERS),
    ),
    parameter(
        "gratuitous-arp",
        // The kernel has one number for both.
        &["num-grat-arp", "num-unsol-na"],
        "GratuitousARP",
        Shape::Number(0..=255),
    ),
    parameter(
        "packets-per-slave",
        &["packets-per-slave"],
        "PacketsPerSlave",
        Shape::Number(0..=65_535),
    ),
    parameter(
        "primary-reselect-policy",
        &["primary-reselect"],
        "PrimaryReselectPolicy",
        Shape::Words(RESELECTS),
    ),
    parameter("resend-igmp", &["resend-igmp", "resend-igpm"], "ResendIGMP", Shape::Number(0..=255)),
    parameter(
        "learn-packet-interval",
        &["lp-interval"],
        "LearnPacketIntervalSec",
        Shape::Seconds(1..=0x7fff_ffff),
    ),
    parameter("tlb-dynamic-lb", &["tlb-dynamic-lb"], "DynamicTransmitLoadBalancing", Shape::Flag),
];

/// What netplan has no names for.
pub(super) const BOND_V1: [Parameter; 3] = [
    parameter("", &["ad-actor-sys-prio"], "AdActorSystemPriority", Shape::Number(1..=65_535)),
    parameter("", &["ad-actor-system"], "AdActorSystem", Shape::Mac),
    parameter("", &["ad-user-port-key"], "AdUserPortKey", Shape::Number(0..=1023)),
];

/// Ranges are the kernel's: a bridge with another value is not made at all.
pub(super) const BRIDGE: [Parameter; 6] = [
    parameter("ageing-time", &["ageing"], "AgeingTimeSec", Shape::Seconds(0..=1_000_000)),
    parameter("priority", &["bridgeprio"], "Priority", Shape::Number(0..=65_535)),
    parameter("forward-delay", &["fd"], "ForwardDelaySec", Shape::Seconds(0..=30)),
    parameter("hello-time", &["hello"], "HelloTimeSec", Shape::Seconds(1..=10)),
    parameter("max-age", &["maxage"], "MaxAgeSec", Shape::Seconds(6..=40)),
    parameter("stp", &["stp"], "STP", Shape::Flag),
];

pub(super) const PATH_COST: RangeInclusive<i64> = 1..=65_535;
pub(super) const PORT_PRIORITY: RangeInclusive<i64> = 0..=63;

impl Parameter {
    pub(super) fn read(&self, at: &At<'_>) -> Result<Setting, Problem> {
        let value = match &self.shape {
            Shape::Words(words) => Value::Word(word(at, words)?),
            Shape::Flag => Value::Flag(match at.integer(0..=1) {
                Ok(bit) => bit == 1,
                Err(_) => at.boolean()?,
            }),
            Shape::Number(range) => Value::Number(unsigned(at, range.clone())?),
            Shape::Milliseconds => Value::Milliseconds(milliseconds(at)?),
            Shape::Seconds(range) => Value::Number(seconds(at, range.clone())?),
            Shape::Hosts => Value::Hosts(hosts(at)?),
            Shape::Mac => Value::Mac(own_mac(at)?),
        };
        Ok(Setting { key: self.key, value })
    }
}

/// The parameter that version 1 calls `key`, behind `prefix` and either of `-` and `_`.
pub(super) fn of_v1<'t>(table: &'t [Parameter], prefix: &str, key: &str) -> Option<&'t Parameter> {
    let name = v1_name(prefix, key)?;
    table.iter().find(|parameter| parameter.v1.contains(&name.as_str()))
}

/// `key` without its prefix, with `-` for `_`.
pub(super) fn v1_name(prefix: &str, key: &str) -> Option<String> {
    Some(key.strip_prefix(prefix)?.strip_prefix(['-', '_'])?.replace('_', "-"))
}

/// A refusal of `key` in `params`, whose value is `at`.
pub(super) fn unknown(
    params: &At<'_>,
    (key, at): (&str, &At<'_>),
    table: &[Parameter],
    prefix: &str,
    others: &[&str],
) -> Problem {
    let known = table.iter().flat_map(|parameter| parameter.v1).chain(others);
    let known: Vec<String> = known.map(|name| format!("{prefix}{name}")).collect();
    let key: String = printable(key).chars().take(60).collect();
    let message = format!("unknown key '{key}'; expected one of: {}", known.join(", "));
    Problem { line: at.line(), ..params.problem(message) }
}

fn milliseconds(at: &At<'_>) -> Result<u32, Problem> {
    let expected = "milliseconds, as 100, 100ms or 1s, of at most an hour";
    let text = at.text(expected)?;
    let (digits, unit) = match text.strip_suffix("ms") {
        Some(digits) => (digits, 1),
        None => text.strip_suffix('s').map_or((text, 1), |digits| (digits, 1000)),
    };
    let number = digits.parse::<u32>().ok().filter(|_| !digits.starts_with('+'));
    number
        .and_then(|number| number.checked_mul(unit))
        .filter(|number| *number <= 3_600_000)
        .ok_or_else(|| not(at, expected, text))
}

fn seconds(at: &At<'_>, range: RangeInclusive<i64>) -> Result<u32, Problem> {
    let expected = format!("seconds from {} to {}", range.start(), range.end());
    let text = at.text(&expected)?;
    let digits = text.strip_suffix('s').unwrap_or(text);
    let number = digits.parse::<u32>().ok().filter(|_| !digits.starts_with('+'));
    number
        .filter(|number| range.contains(&i64::from(*number)))
        .ok_or_else(|| not(at, &expected, text))
}

/// A list, or a text with commas or spaces.
fn hosts(at: &At<'_>) -> Result<Vec<Ipv4Addr>, Problem> {
    let expected = "an IPv4 address";
    let hosts: Vec<Ipv4Addr> = if at.is_list() {
        at.items()?.iter().map(|item| item.parse(expected)).collect::<Result<_, _>>()?
    } else {
        let text = at.text(expected)?;
        let parts = text.split([',', ' ']).filter(|part| !part.is_empty());
        let parsed: Result<_, Problem> =
            parts.map(|part| part.parse().map_err(|_| not(at, expected, part))).collect();
        parsed?
    };
    if hosts.len() > ARP_TARGETS_MAX {
        return Err(at.problem(format!("more than {ARP_TARGETS_MAX} targets")));
    }
    Ok(hosts)
}

/// `PORT: NUMBER` as a map, or as a list of texts `PORT NUMBER`.
pub(super) fn per_port<'a>(
    at: &At<'a>,
    range: &RangeInclusive<i64>,
) -> Result<Vec<(Id, u32, At<'a>)>, Problem> {
    if at.is_map() {
        let entry = |(key, at): (&str, At<'a>)| {
            let port = key.parse().map_err(|()| not(&at, DEVICE, key))?;
            Ok((port, unsigned(&at, range.clone())?, at))
        };
        return at.entries()?.into_iter().map(entry).collect();
    }
    let expected = format!(
        "a port and a number from {} to {}, as 'eth0 {}'",
        range.start(),
        range.end(),
        range.end()
    );
    let item = |at: At<'a>| {
        let text = at.text(&expected)?;
        let (port, number) = text.split_once(' ').ok_or_else(|| not(&at, &expected, text))?;
        let port = port.parse().map_err(|()| not(&at, &expected, text))?;
        let number = number.trim().parse::<u32>().ok();
        let number = number.filter(|number| range.contains(&i64::from(*number)));
        Ok((port, number.ok_or_else(|| not(&at, &expected, text))?, at))
    };
    at.items()?.into_iter().map(item).collect()
}
