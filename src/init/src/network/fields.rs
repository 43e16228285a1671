// SPDX-License-Identifier: Apache-2.0
//! Reading the values that all documents share, each with what is expected in its place.

use std::{net::IpAddr, ops::RangeInclusive, str::FromStr};

use super::{Address, Mac, Name, UseDomains};
use crate::yaml::{At, Fields, Problem, printable};

pub(super) const NAME: &str = "an interface name of at most 15 letters, digits, '.', '_' or '-'";
pub(super) const DEVICE: &str = "the name of a device of this document";
pub(super) const ADDRESS: &str = "an address with prefix length, as 192.168.1.2/24";
pub(super) const IP: &str = "an IP address";
pub(super) const MAC: &str = "a MAC address, as 52:54:00:12:34:56";
pub(super) const DOMAIN: &str = "a domain";
/// The least that IPv4 works with, and the most that Linux takes for ethernet.
pub(super) const MTU: RangeInclusive<i64> = 68..=65_535;
/// Of IPv6, which works with no less than 1280.
pub(super) const IPV6_MTU: RangeInclusive<i64> = 1280..=65_535;
pub(super) const UNSIGNED: RangeInclusive<i64> = 0..=u32::MAX as i64;
pub(super) const POSITIVE: RangeInclusive<i64> = 1..=u32::MAX as i64;

pub(super) fn option<T: FromStr>(
    fields: &Fields<'_>,
    key: &str,
    expected: &str,
) -> Result<Option<T>, Problem> {
    fields.get(key).map(|at| at.parse(expected)).transpose()
}

pub(super) fn required<'f, 'a>(
    fields: &'f Fields<'a>,
    at: &At<'a>,
    key: &str,
) -> Result<&'f At<'a>, Problem> {
    fields.get(key).ok_or_else(|| at.problem(format!("missing key '{key}'")))
}

pub(super) fn list<T: FromStr>(
    fields: &Fields<'_>,
    key: &str,
    expected: &str,
) -> Result<Vec<T>, Problem> {
    let Some(at) = fields.get(key) else { return Ok(Vec::new()) };
    at.items()?.iter().map(|item| item.parse(expected)).collect()
}

/// As [`list`]; a text may stand for it, with the values separated by spaces.
pub(super) fn one_or_more<T: FromStr>(
    fields: &Fields<'_>,
    key: &str,
    expected: &str,
) -> Result<Vec<T>, Problem> {
    let Some(at) = fields.get(key).filter(|at| !at.is_list() && !at.is_map()) else {
        return list(fields, key, expected);
    };
    let text = at.text(expected)?;
    let values: Result<Vec<T>, _> = text.split(' ').map(str::parse).collect();
    values.map_err(|_| not(at, expected, text))
}

/// The MAC address that a device is given.
pub(super) fn own_mac(at: &At<'_>) -> Result<Mac, Problem> {
    let mac: Mac = at.parse(MAC)?;
    if mac.is_group() {
        return Err(not(at, "the MAC address of one interface, not of a group", &mac.to_string()));
    }
    Ok(mac)
}

pub(super) fn number(
    fields: &Fields<'_>,
    key: &str,
    range: RangeInclusive<i64>,
) -> Result<Option<u32>, Problem> {
    fields.get(key).map(|at| unsigned(at, range)).transpose()
}

pub(super) fn unsigned(at: &At<'_>, range: RangeInclusive<i64>) -> Result<u32, Problem> {
    let number = at.integer(range)?;
    u32::try_from(number).map_err(|_| at.problem("expected a smaller number"))
}

pub(super) fn flag(fields: &Fields<'_>, key: &str) -> Result<Option<bool>, Problem> {
    fields.get(key).map(At::boolean).transpose()
}

/// One of `words`.
pub(super) fn word<T: Copy>(at: &At<'_>, words: &[(&str, T)]) -> Result<T, Problem> {
    let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
    let expected = format!("one of {}", names.join(", "));
    let text = at.text(&expected)?;
    let found = words.iter().find(|(name, _)| *name == text);
    found.map(|(_, value)| *value).ok_or_else(|| not(at, &expected, text))
}

/// A refusal of `text`, which is cut.
pub(super) fn not(at: &At<'_>, expected: &str, text: &str) -> Problem {
    let found: String = printable(text).chars().take(60).collect();
    at.problem(format!("expected {expected}, found '{found}'"))
}

pub(super) fn use_domains(at: &At<'_>) -> Result<UseDomains, Problem> {
    if !at.is_list() && !at.is_map() && at.text("true, false or route")? == "route" {
        return Ok(UseDomains::Route);
    }
    match at.boolean() {
        Ok(true) => Ok(UseDomains::Yes),
        Ok(false) => Ok(UseDomains::No),
        Err(_) => Err(not(at, "true, false or route", at.text("true, false or route")?)),
    }
}

/// The name of an interface that the document configures.
pub(super) fn name(text: &str, at: &At<'_>) -> Result<Name, Problem> {
    let name = text.parse().ok().filter(|_| text != "lo");
    name.ok_or_else(|| at.problem(format!("expected {NAME}")))
}

/// An address that an interface can have.
pub(super) fn assignable(at: &At<'_>, address: Address) -> Result<Address, Problem> {
    if address.is_assignable() {
        return Ok(address);
    }
    Err(at.problem(format!("expected the address of a host, found '{address}'")))
}

/// A default gateway: on the link even if no address's network has it, because there is no other
/// way to it.
pub(super) fn is_on_link(via: IpAddr, addresses: &[Address]) -> bool {
    !Address::host(via).is_link_local() && !addresses.iter().any(|address| address.contains(via))
}
