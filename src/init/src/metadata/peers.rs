// SPDX-License-Identifier: Apache-2.0
//! Hosts that a host's services call: the lists that metadata has under `vars.peers`.
//!
//! Lists that metadata does not give are those that the image was built with. Names and addresses
//! stand in configuration files and on command lines, so a list is understood whole or refused;
//! then it goes to templates as it is.

use std::net::Ipv4Addr;

use super::Hostname;
use crate::yaml::{At, Problem};

/// Where `vars` has them.
pub const PEERS: &str = "peers";

/// Hosts that serve the API; hosts that share the virtual address, this one among them; members
/// of etcd.
const LISTS: [&str; 3] = ["masters", "balancers", "etcd"];

pub(super) fn check(at: &At<'_>) -> Result<(), Problem> {
    at.fields(&LISTS)?;
    at.entries()?.iter().try_for_each(|(_, list)| check_list(list))
}

/// No list is empty: a proxy without back ends would only look as if it worked.
fn check_list(at: &At<'_>) -> Result<(), Problem> {
    let items = at.items()?;
    if items.is_empty() {
        return Err(at.problem("expected at least one host, found an empty list"));
    }
    let mut seen: Vec<(&str, Ipv4Addr)> = Vec::new();
    for item in &items {
        let (name, address) = peer(item)?;
        if seen.iter().any(|other| other.0 == name || other.1 == address) {
            return Err(item.problem("expected a name and an address that no other host here has"));
        }
        seen.push((name, address));
    }
    Ok(())
}

fn peer<'a>(at: &At<'a>) -> Result<(&'a str, Ipv4Addr), Problem> {
    let fields = at.fields(&["name", "address"])?;
    let field = |key| fields.get(key).ok_or_else(|| at.problem(format!("missing key '{key}'")));
    let (name, address) = (field("name")?, field("address")?);
    let text = name.string("a host name")?;
    match Hostname::parse(text).map_err(|message| name.problem(message))? {
        (_, None) => Ok((text, address.parse("an IPv4 address")?)),
        // Others must spell it the same way.
        (other, Some(_)) => {
            Err(name.problem(format!("expected '{}', found '{text}'", other.full())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(), String> {
        let node = crate::yaml::parse(text.as_bytes()).unwrap().unwrap();
        check(&At::root(&node)).map_err(|problem| problem.to_string())
    }

    #[test]
    fn lists_of_names_and_addresses_are_understood() {
        for text in [
            "{}",
            "masters: [{name: m1, address: 10.0.0.1}, {address: 10.0.0.2, name: m2.x}]",
            "{etcd: [{name: a, address: 10.0.0.1}], balancers: [{name: a, address: 10.0.0.1}]}",
        ] {
            assert_eq!(read(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn whatever_is_no_name_and_no_address_is_refused() {
        for (text, message) in [
            ("[]", "expected a map"),
            ("nodes: []", "unknown key 'nodes'"),
            ("masters: m1", "masters: expected a list, found 'm1'"),
            ("etcd:", "etcd: expected a list, found nothing"),
            ("etcd: []", "etcd: expected at least one host"),
            ("etcd: [m1]", "etcd[0]: expected a map"),
            ("etcd: [{name: m1}]", "etcd[0]: missing key 'address'"),
            ("etcd: [{address: 10.0.0.1}]", "etcd[0]: missing key 'name'"),
            ("etcd: [{name: m1, address: 10.0.0.1, port: 1}]", "etcd[0]: unknown key 'port'"),
            ("etcd: [{name: M1, address: 10.0.0.1}]", "etcd[0].name: expected 'm1', found 'M1'"),
            ("etcd: [{name: 10.0.0.1, address: 10.0.0.1}]", "expected 'ip-10-0-0-1'"),
            (
                "etcd: [{name: a, address: 10.0.0.1}, {name: a, address: 10.0.0.2}]",
                "etcd[1]: expected a name and an address that no other",
            ),
            (
                "etcd: [{name: a, address: 10.0.0.1}, {name: b, address: 10.0.0.1}]",
                "etcd[1]: expected a name and an address that no other",
            ),
        ] {
            let refusal = read(text).unwrap_err();
            assert!(refusal.contains(message), "{text}: {refusal}");
        }
    }

    #[test]
    fn nothing_of_a_list_can_be_configuration() {
        for name in ["a b", "a\\nserver x", "a;", "{{ x }}", "-a", "a_b", "a/b", "", "a,b", "${x}"]
        {
            let text = format!("masters: [{{name: \"{name}\", address: 10.0.0.1}}]");
            let refusal = read(&text).unwrap_err();
            assert!(refusal.contains("masters[0].name: expected "), "{text}: {refusal}");
        }
        for address in ["10.0.0.1 backup", "10.0.0.1\\n", "::1", "10.0.0", "010.0.0.1", "m1", "1"] {
            let text = format!("masters: [{{name: a, address: \"{address}\"}}]");
            let refusal = read(&text).unwrap_err();
            assert!(refusal.contains("masters[0].address: expected an IPv4 address"), "{refusal}");
        }
    }
}
