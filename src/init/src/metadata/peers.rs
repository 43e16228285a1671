// SPDX-License-Identifier: Apache-2.0
//! Hosts that a host's services call: the lists that metadata has under `vars.peers`.
//!
//! Lists that metadata does not give are those that the image was built with. Names and addresses
//! stand in configuration files and on command lines, so a list is understood whole or refused.

use std::{collections::BTreeSet, net::Ipv4Addr};

use serde::{Deserialize, Serialize};

use super::Hostname;
use crate::yaml::{At, Problem};

/// Where `vars` has them.
pub const PEERS: &str = "peers";

/// Hosts by what they are for; `None` says nothing of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Peers {
    /// Serve the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masters: Option<Vec<Peer>>,
    /// Share the virtual address, this host among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balancers: Option<Vec<Peer>>,
    /// Members of etcd.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd: Option<Vec<Peer>>,
}

/// A host that others call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Peer {
    pub name: String,
    pub address: Ipv4Addr,
}

impl Peers {
    /// These lists, and those of `other` that are not among them.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        let pick = |own: &Option<Vec<Peer>>, other: &Option<Vec<Peer>>| {
            own.as_ref().or(other.as_ref()).cloned()
        };
        Self {
            masters: pick(&self.masters, &other.masters),
            balancers: pick(&self.balancers, &other.balancers),
            etcd: pick(&self.etcd, &other.etcd),
        }
    }

    pub(super) fn read(at: &At<'_>) -> Result<Self, Problem> {
        let fields = at.fields(&["masters", "balancers", "etcd"])?;
        let list = |key| fields.get(key).map(read_list).transpose();
        Ok(Self { masters: list("masters")?, balancers: list("balancers")?, etcd: list("etcd")? })
    }
}

/// No list is empty: a proxy without back ends would only look as if it worked.
fn read_list(at: &At<'_>) -> Result<Vec<Peer>, Problem> {
    let items = at.items()?;
    if items.is_empty() {
        return Err(at.problem("expected at least one host, found an empty list"));
    }
    let peers = items.iter().map(read_peer).collect::<Result<Vec<_>, _>>()?;
    let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    for (item, peer) in items.iter().zip(&peers) {
        if !names.insert(&peer.name) || !addresses.insert(peer.address) {
            return Err(item.problem("expected a name and an address that no other host here has"));
        }
    }
    Ok(peers)
}

fn read_peer(at: &At<'_>) -> Result<Peer, Problem> {
    let fields = at.fields(&["name", "address"])?;
    let field = |key| fields.get(key).ok_or_else(|| at.problem(format!("missing key '{key}'")));
    let (name, address) = (field("name")?, field("address")?);
    Ok(Peer {
        name: host_name(name.string("a host name")?).map_err(|message| name.problem(message))?,
        address: address.parse("an IPv4 address")?,
    })
}

/// A name as it is: others must spell it the same way.
fn host_name(text: &str) -> Result<String, String> {
    match Hostname::parse(text)? {
        (name, None) => Ok(name.full().to_owned()),
        (name, Some(_)) => Err(format!("expected '{}', found '{text}'", name.full())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Peers, String> {
        let node = crate::yaml::parse(text.as_bytes()).unwrap().unwrap();
        Peers::read(&At::root(&node)).map_err(|problem| problem.to_string())
    }

    fn peer(name: &str, last: u8) -> Peer {
        Peer { name: name.to_owned(), address: Ipv4Addr::new(10, 0, 0, last) }
    }

    #[test]
    fn lists_are_read_and_stand_before_those_of_the_image() {
        let peers =
            read("masters: [{name: m1, address: 10.0.0.1}, {address: 10.0.0.2, name: m2.x}]");
        let peers = peers.unwrap();
        assert_eq!(peers.masters, Some(vec![peer("m1", 1), peer("m2.x", 2)]));
        let image = Peers {
            masters: Some(vec![peer("old", 9)]),
            balancers: Some(vec![peer("l1", 3)]),
            etcd: None,
        };
        let both = peers.or(&image);
        assert_eq!((both.masters, both.balancers), (peers.masters, image.balancers.clone()));
        assert_eq!(Peers::default().or(&image), image);
        assert_eq!(read("{}").unwrap(), Peers::default());
    }

    #[test]
    fn whatever_is_no_name_and_no_address_is_refused() {
        for (text, message) in [
            ("[]", "expected a map"),
            ("nodes: []", "unknown key 'nodes'"),
            ("masters: m1", "masters: expected a list, found 'm1'"),
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
