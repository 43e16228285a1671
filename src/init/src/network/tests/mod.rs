// SPDX-License-Identifier: Apache-2.0

mod network_data;
mod properties;
mod refusals_v1;
mod refusals_v2;
mod together;
mod v1;
mod v2;
mod values;

use super::*;
use crate::yaml::{self, At};

fn read(text: &str) -> Result<Network, String> {
    let node = yaml::parse(text.as_bytes()).map_err(|problem| problem.to_string())?;
    let node = node.ok_or("empty")?;
    config::read(&At::root(&node)).map_err(|problem| problem.to_string())
}

fn accepted(text: &str) -> Network {
    read(text).unwrap_or_else(|refusal| panic!("{text}\n{refusal}"))
}

/// The files of a network, joined, each behind its name.
fn joined(network: &Network) -> String {
    let files = networkd::files(network);
    files.into_iter().map(|(name, text)| format!("# {name}\n{text}")).collect()
}

/// The text of one file of a document.
fn file(network: &Network, name: &str) -> String {
    let files = networkd::files(network);
    let found = files.iter().find(|(other, _)| other == name);
    found.unwrap_or_else(|| panic!("no {name} in {files:?}")).1.clone()
}

/// `text`, moved to the right.
fn indented(text: &str, by: usize) -> String {
    text.replace('\n', &format!("\n{}", " ".repeat(by)))
}

/// A document of version 2 with one device of a section; its keys begin in line 4.
fn one(section: &str, id: &str, keys: &str) -> String {
    format!("version: 2\n{section}:\n  {id}:\n    {}\n", indented(keys, 4))
}

/// A document of version 1 with one entry, which begins in line 3.
fn entry(keys: &str) -> String {
    format!("version: 1\nconfig:\n- {}\n", indented(keys, 2))
}

#[test]
fn the_outer_key_is_optional_and_the_own_address_is_the_first_ipv4_one() {
    let network = accepted(
        "network:\n  version: 2\n  ethernets:\n    a: {addresses: ['2001:db8::1/64', 10.0.0.1/8]}",
    );
    assert_eq!(network.address().unwrap().to_string(), "10.0.0.1/8");
    for text in ["version: 2", "version: 1\nconfig: [{type: nameserver, address: 10.0.0.1}]"] {
        let network = accepted(text);
        assert_eq!(network.devices, []);
        assert_eq!(network.warnings, ["the network has no device, so no interface is configured"]);
    }
}

#[test]
fn the_own_address_is_of_the_first_device_in_the_documents_order() {
    let network = accepted(
        "version: 2\nvlans: {v: {id: 1, link: b, addresses: [10.0.0.9/8]}}\n\
         ethernets: {b: {addresses: [10.1.0.2/16]}, a: {addresses: [10.2.0.1/16]}}",
    );
    assert_eq!(network.address().unwrap().to_string(), "10.0.0.9/8");
    let network = accepted(
        "version: 1\nconfig: [{type: physical, name: z, subnets: [{type: dhcp}]}, \
         {type: physical, name: y, subnets: [{type: static, address: 10.0.0.7/24}]}, \
         {type: physical, name: a, subnets: [{type: static, address: 10.0.1.7/24}]}]",
    );
    assert_eq!(network.address().unwrap().to_string(), "10.0.0.7/24");
}

#[test]
fn no_network_metadata_means_dhcp_on_every_physical_interface() {
    assert_eq!(
        networkd::dhcp_files(),
        [(
            "10-kiln-dhcp.network".to_owned(),
            "[Match]\nType=ether\nKind=!*\n\n[Network]\nDHCP=yes\n\n[DHCPv4]\nClientIdentifier=mac\n".to_owned()
        )]
    );
}

#[test]
fn the_macs_that_a_host_must_have_are_those_of_matches() {
    let network = accepted(
        "version: 2\nethernets:\n  a: {match: {macaddress: '52:54:00:00:00:0A'}}\n  b: {dhcp4: true}\n  \
         c: {match: {macaddress: '52:54:00:00:00:01'}, macaddress: '52:54:00:00:00:09'}\n\
         bonds: {d: {macaddress: '52:54:00:00:00:02'}}",
    );
    let macs: Vec<String> = network.macs().iter().map(ToString::to_string).collect();
    assert_eq!(macs, ["52:54:00:00:00:0a", "52:54:00:00:00:01"]);
}
