// SPDX-License-Identifier: Apache-2.0
//! What the kernel command line says of the host: `network-config=` and `ip=`.
//!
//! `ip=` has two forms: the kernel's (`Documentation/admin-guide/nfs/nfsroot.rst`) with colons
//! between up to ten fields, and dracut's (dracut.cmdline(7)) with an interface and a method.
//! dracut puts an MTU and a MAC address where the kernel has name servers. All
//! become a network-config of version 2, so that one reader decides what is valid.

use std::net::IpAddr;

use kiln_contract::cmdline::{IP, NETWORK_CONFIG};
use serde_json::{Map, Value, json};

use super::COMMAND_LINE;
use crate::{
    base64, gzip,
    metadata::Seed,
    network::{Mac, Name},
    yaml::{DOCUMENT_MAX, printable},
};

/// Why the command line is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{COMMAND_LINE}: '{NETWORK_CONFIG}=': {0}")]
    NetworkConfig(base64::Invalid),
    #[error("{COMMAND_LINE}: '{NETWORK_CONFIG}=': {0}")]
    Gzip(gzip::Invalid),
    #[error("{COMMAND_LINE}: '{IP}={word}': {what}")]
    Ip { word: String, what: String },
}

/// Values of `key=`, in order.
pub(super) fn values<'a>(
    command_line: &'a str,
    key: &'a str,
) -> impl DoubleEndedIterator<Item = &'a str> {
    let words = command_line.split_ascii_whitespace();
    words.filter_map(move |word| word.strip_prefix(key)?.strip_prefix('='))
}

/// The documents on the command line; `ip=` only counts where a line names the host, because
/// boot loaders write it for other reasons too.
///
/// # Errors
/// A value that is not understood.
pub(super) fn documents(command_line: &str, is_named: bool) -> Result<Option<Seed>, Error> {
    let seed = Seed { origin: COMMAND_LINE.to_owned(), ..Seed::default() };
    match values(command_line, NETWORK_CONFIG).next_back() {
        Some("disabled") => return Ok(None),
        Some(value) => {
            let mut document = base64::decode(value).map_err(Error::NetworkConfig)?;
            if document.starts_with(&[0x1f, 0x8b]) {
                document = gzip::decompress(&document, DOCUMENT_MAX).map_err(Error::Gzip)?;
            }
            return Ok(Some(Seed { network_config: Some(document), ..seed }));
        }
        None => {}
    }
    let mut words = values(command_line, IP).filter(|word| is_named && !word.is_empty()).peekable();
    if words.peek().is_none() {
        return Ok(None);
    }
    let mut ethernets = Map::new();
    let mut name = None;
    for word in words {
        let refuse = |what: String| Error::Ip { word: printable(word), what };
        let (id, ethernet, hostname) = ethernet(word).map_err(refuse)?;
        if ethernets.insert(id.clone(), ethernet).is_some() {
            return Err(refuse(format!("a second one for '{id}'")));
        }
        name = name.or(hostname);
    }
    let meta_data = name.map(|name| json!({"local-hostname": name}).to_string().into_bytes());
    let network = json!({"version": 2, "ethernets": ethernets}).to_string();
    Ok(Some(Seed { meta_data, network_config: Some(network.into_bytes()), ..seed }))
}

/// The kernel's fields.
const FIELDS_MAX: usize = 10;
/// `eth0:dhcp:1500:52:54:00:12:34:56`
const SHORT_WITH_MAC: usize = 9;
/// Key of network-config for an interface that is not named.
const ANY: &str = "any";
type Entry = (String, Value, Option<String>);

/// One `ip=` as an ethernet, with the host name if it gives one.
fn ethernet(word: &str) -> Result<Entry, String> {
    let fields = fields(word);
    let field = |index: usize| fields.get(index).map_or("", |field| field.as_str());
    if let [method] = &fields[..]
        && method.parse::<IpAddr>().is_err()
    {
        return Ok((ANY.to_owned(), any(by_method(method)?), None));
    }
    // The kernel's first field is an address or empty, dracut's an interface.
    if field(0).parse::<IpAddr>().is_err()
        && !field(0).is_empty()
        && !field(1).is_empty()
        && matches!(fields.len(), 0..=4 | SHORT_WITH_MAC)
    {
        let mut ethernet = by_method(field(1))?;
        hardware(&mut ethernet, fields.get(2..).unwrap_or_default())?;
        return Ok((interface(field(0))?, Value::Object(ethernet), None));
    }
    let hostname = Some(field(4).to_owned()).filter(|name| !name.is_empty());
    let mut ethernet = match (field(0), field(6)) {
        ("", method) => by_method(method)?,
        (client, "" | "off" | "none" | "static") => fixed(client, &field)?,
        (_, method) => return Err(expected("'off', 'none' or 'static' beside an address", method)),
    };
    let rest = fields.get(7..).unwrap_or_default();
    match rest {
        [mtu, mac @ ..] if mtu.parse::<u32>().is_ok() || mtu.is_empty() && is_mac(mac) => {
            hardware(&mut ethernet, rest)?;
        }
        _ if fields.len() > FIELDS_MAX => {
            return Err(format!("expected at most {FIELDS_MAX} fields, found {}", fields.len()));
        }
        _ => nameservers(&mut ethernet, [field(7), field(8)])?,
    }
    match field(5) {
        "" => Ok((ANY.to_owned(), any(ethernet), hostname)),
        device => Ok((interface(device)?, Value::Object(ethernet), hostname)),
    }
}

fn expected(what: &str, found: &str) -> String {
    format!("expected {what}, found '{}'", printable(found))
}

fn interface(name: &str) -> Result<String, String> {
    name.parse::<Name>().map_err(|()| expected("an interface", name))?;
    Ok(name.to_owned())
}

/// For every physical interface.
fn any(mut ethernet: Map<String, Value>) -> Value {
    ethernet.insert("match".to_owned(), json!({"name": "*"}));
    Value::Object(ethernet)
}

fn by_method(method: &str) -> Result<Map<String, Value>, String> {
    let value = match method {
        "" | "dhcp" | "on" => json!({"dhcp4": true}),
        "any" | "both" => json!({"dhcp4": true, "dhcp6": true}),
        "dhcp6" => json!({"dhcp6": true}),
        "auto6" => json!({"accept-ra": true}),
        "link6" | "link-local" => json!({"link-local": ["ipv6"]}),
        "off" | "none" => json!({}),
        other => {
            return Err(expected("an address, or dhcp, dhcp6, auto6, link6, on, any, off", other));
        }
    };
    Ok(match value {
        Value::Object(map) => map,
        _ => Map::new(),
    })
}

/// `client:server:gateway:netmask:hostname:device:method`
fn fixed<'f>(client: &str, field: &dyn Fn(usize) -> &'f str) -> Result<Map<String, Value>, String> {
    let client = address(client)?;
    let prefix = prefix(client, field(3))?;
    let mut ethernet = Map::new();
    ethernet.insert("addresses".to_owned(), json!([format!("{client}/{prefix}")]));
    if !field(2).is_empty() {
        let gateway = address(field(2))?;
        let to = if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
        ethernet.insert("routes".to_owned(), json!([{"to": to, "via": gateway.to_string()}]));
    }
    Ok(ethernet)
}

/// The kernel's end of a word.
fn nameservers(ethernet: &mut Map<String, Value>, texts: [&str; 2]) -> Result<(), String> {
    let mut servers = Vec::new();
    for text in texts.into_iter().filter(|text| !text.is_empty()) {
        servers.push(address(text)?.to_string());
    }
    if !servers.is_empty() {
        ethernet.insert("nameservers".to_owned(), json!({"addresses": servers}));
    }
    Ok(())
}

/// dracut's end of a word: an MTU and a MAC address that the interface is given, each if wanted.
fn hardware(ethernet: &mut Map<String, Value>, fields: &[String]) -> Result<(), String> {
    let Some((mtu, mac)) = fields.split_first() else { return Ok(()) };
    if !mtu.is_empty() {
        let mtu: u32 = mtu.parse().map_err(|_| expected("an MTU", mtu))?;
        ethernet.insert("mtu".to_owned(), mtu.into());
    }
    let text = mac.join(":");
    if !text.is_empty() {
        if !is_mac(mac) {
            return Err(expected("a MAC address", &text));
        }
        ethernet.insert("macaddress".to_owned(), text.into());
    }
    Ok(())
}

/// In one field with hyphens, or in six; one that an interface can be given.
fn is_mac(fields: &[String]) -> bool {
    fields.join(":").parse::<Mac>().is_ok_and(|mac| !mac.is_group())
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| expected("an IP address", text))
}

/// A netmask, or a prefix length; without one the address's own network is a single host's.
fn prefix(client: IpAddr, text: &str) -> Result<u32, String> {
    let max = if client.is_ipv4() { 32 } else { 128 };
    if text.is_empty() {
        return Ok(max);
    }
    if let Ok(prefix) = text.parse::<u32>() {
        return Some(prefix)
            .filter(|prefix| *prefix <= max)
            .ok_or_else(|| expected("a netmask", text));
    }
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(mask))
            if client.is_ipv4() && mask.to_bits().leading_ones() == mask.to_bits().count_ones() =>
        {
            Ok(mask.to_bits().count_ones())
        }
        _ => Err(expected("a netmask", text)),
    }
}

/// The fields between colons; an IPv6 address stands in brackets.
fn fields(word: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut inside = false;
    for c in word.chars() {
        match c {
            '[' if !inside => inside = true,
            ']' if inside => inside = false,
            ':' if !inside => fields.push(String::new()),
            _ => {
                if let Some(field) = fields.last_mut() {
                    field.push(c);
                }
            }
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(word: &str) -> Result<String, String> {
        let seed = documents(&format!("quiet ip={word}"), true).map_err(|it| it.to_string())?;
        let seed = seed.ok_or("nothing")?;
        let text = String::from_utf8(seed.network_config.unwrap()).unwrap();
        let text = text.strip_prefix("{\"ethernets\":").unwrap();
        Ok(text.strip_suffix(",\"version\":2}").unwrap().to_owned())
    }

    #[test]
    fn both_forms_become_ethernets() {
        for (word, expected) in [
            ("dhcp", r#"{"any":{"dhcp4":true,"match":{"name":"*"}}}"#),
            ("eth0:dhcp", r#"{"eth0":{"dhcp4":true}}"#),
            ("eth0:dhcp6:9000", r#"{"eth0":{"dhcp6":true,"mtu":9000}}"#),
            ("eth0:dhcp:9000:", r#"{"eth0":{"dhcp4":true,"mtu":9000}}"#),
            (
                "eth0:dhcp:1500:52:54:00:12:34:56",
                r#"{"eth0":{"dhcp4":true,"macaddress":"52:54:00:12:34:56","mtu":1500}}"#,
            ),
            (
                "eth0:dhcp::52-54-00-12-34-56",
                r#"{"eth0":{"dhcp4":true,"macaddress":"52-54-00-12-34-56"}}"#,
            ),
            (
                "10.0.0.2:::24::eth0:none:1500:52:54:00:12:34:56",
                r#"{"eth0":{"addresses":["10.0.0.2/24"],"macaddress":"52:54:00:12:34:56","mtu":1500}}"#,
            ),
            (
                "10.0.0.2:::24::eth0:none::52-54-00-12-34-56",
                r#"{"eth0":{"addresses":["10.0.0.2/24"],"macaddress":"52-54-00-12-34-56"}}"#,
            ),
            (
                "10.0.0.2:::24::eth0:off:9000",
                r#"{"eth0":{"addresses":["10.0.0.2/24"],"mtu":9000}}"#,
            ),
            (
                ":::::eth0:dhcp:10.0.0.3",
                r#"{"eth0":{"dhcp4":true,"nameservers":{"addresses":["10.0.0.3"]}}}"#,
            ),
            ("::::n1:eth0:dhcp", r#"{"eth0":{"dhcp4":true}}"#),
            (
                "10.0.0.2::10.0.0.1:255.255.255.0:n1:eth0:off:10.0.0.3:10.0.0.4",
                r#"{"eth0":{"addresses":["10.0.0.2/24"],"nameservers":{"addresses":["10.0.0.3","10.0.0.4"]},"routes":[{"to":"0.0.0.0/0","via":"10.0.0.1"}]}}"#,
            ),
            ("10.0.0.2:::24::eth0:none", r#"{"eth0":{"addresses":["10.0.0.2/24"]}}"#),
            (
                "[2001:db8::2]::[2001:db8::1]:64::eth0:off",
                r#"{"eth0":{"addresses":["2001:db8::2/64"],"routes":[{"to":"::/0","via":"2001:db8::1"}]}}"#,
            ),
            ("10.0.0.2", r#"{"any":{"addresses":["10.0.0.2/32"],"match":{"name":"*"}}}"#),
        ] {
            let expected = Ok(expected.to_owned());
            assert_eq!(network(word), expected, "{word}");
        }
        let seed = documents("ip=::::n1:eth0:dhcp", true).unwrap().unwrap();
        assert_eq!(seed.meta_data.as_deref(), Some(&b"{\"local-hostname\":\"n1\"}"[..]));
        assert_eq!(documents("ip=dhcp", false).unwrap(), None);
        assert_eq!(documents("ip=dhcp network-config=disabled", true).unwrap(), None);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (word, message) in [
            (
                "magic",
                "expected an address, or dhcp, dhcp6, auto6, link6, on, any, off, found 'magic'",
            ),
            ("10.0.0.256::10.0.0.1:24::eth0:off", "expected an IP address, found '10.0.0.256'"),
            ("10.0.0.2::gw:24::eth0:off", "expected an IP address, found 'gw'"),
            ("10.0.0.2:::255.0.255.0::eth0:off", "expected a netmask, found '255.0.255.0'"),
            ("10.0.0.2:::33::eth0:off", "expected a netmask, found '33'"),
            ("10.0.0.2:::24::../x:off", "expected an interface, found '../x'"),
            (
                "10.0.0.2:::24::eth0:dhcp",
                "expected 'off', 'none' or 'static' beside an address, found 'dhcp'",
            ),
            ("../x:dhcp", "expected an interface, found '../x'"),
            ("eth0:dhcp:big", "expected an MTU, found 'big'"),
            ("eth0:dhcp:1500:52:54:00", "expected an IP address, found 'eth0'"),
            (
                "eth0:dhcp:1500:52:54:00:12:34:zz",
                "expected a MAC address, found '52:54:00:12:34:zz'",
            ),
            (
                "eth0:dhcp:1500:01-00-5e-00-00-01",
                "expected a MAC address, found '01-00-5e-00-00-01'",
            ),
            ("10.0.0.2:::24::eth0:off:1500:x", "expected a MAC address, found 'x'"),
            ("10.0.0.2:::24::eth0:off:dns", "expected an IP address, found 'dns'"),
            ("10.0.0.2:::24::eth0:off:10.0.0.3:::10.0.0.4", "expected at most 10 fields, found 11"),
        ] {
            assert_eq!(
                network(word).unwrap_err(),
                format!("kernel command line: 'ip={word}': {message}")
            );
        }
    }
}
