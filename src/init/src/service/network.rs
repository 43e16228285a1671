// SPDX-License-Identifier: Apache-2.0
//! `kiln-init network`: waits for the host's address and renders the templates that need it.

use std::{
    fs,
    net::IpAddr,
    time::{Duration, Instant},
};

use kiln_init::{
    first_boot::{self, NetworkValues},
    handoff::Phase,
    network::Address,
};

use super::{
    handoff, instance, keep_instance,
    netlink::{Assigned, Watch, addresses, default_interface},
};
use crate::{
    console::say,
    error::{Result, Stop, While as _},
    files::Below,
    pid1::read_templates,
};

/// Longer than a slow switch port takes to forward, and than a DHCP client's first tries.
const WAIT: Duration = Duration::from_secs(120);

pub(crate) fn run() -> Result<()> {
    let handoff = handoff()?;
    let mut instance = instance()?;
    let wanted: Option<Address> = instance
        .address
        .as_deref()
        .map(|text| text.parse().map_err(|()| Stop::new("the instance's address is damaged")))
        .transpose()?;
    let network = wait_for(wanted)?;
    instance.values = network.join(&instance.values);
    instance.address = Some(format!("{}/{}", network.address, network.prefix));
    let sources = read_templates(&handoff, Phase::Network)?;
    let files =
        first_boot::render(&handoff, Phase::Network, &sources, &instance.values).or_stop()?;
    let below = Below::open("/")?;
    for file in &files {
        below.write(file)?;
    }
    keep_instance(&instance)?;
    println!(
        "address {}/{} on {}, {} files",
        network.address,
        network.prefix,
        network.interface,
        files.len()
    );
    Ok(())
}

/// The interface that carries the wanted address, else the default route's.
fn wait_for(wanted: Option<Address>) -> Result<NetworkValues> {
    let what = wanted.map_or("a default route".to_owned(), |address| format!("address {address}"));
    let watch = Watch::open()?;
    let deadline = Instant::now() + WAIT;
    loop {
        if let Some(found) = look(wanted)? {
            return Ok(found);
        }
        if !watch.wait(deadline)? {
            let stop = format!("no network: waited {} s for {what}", WAIT.as_secs());
            say(&stop);
            return Err(Stop::new(stop));
        }
    }
}

fn look(wanted: Option<Address>) -> Result<Option<NetworkValues>> {
    let addresses = addresses()?;
    let found = match wanted {
        Some(wanted) => addresses.into_iter().find(|it| it.ip == wanted.ip && it.usable),
        None => {
            let Some(interface) = default_interface()? else { return Ok(None) };
            choose(addresses, interface)
        }
    };
    found.map(|address| values(&address)).transpose()
}

/// An interface's first IPv4 address, else its first one.
fn choose(addresses: Vec<Assigned>, interface: u32) -> Option<Assigned> {
    let mut own: Vec<Assigned> =
        addresses.into_iter().filter(|it| it.interface == interface && it.usable).collect();
    own.sort_by_key(|it| matches!(it.ip, IpAddr::V6(_)));
    own.into_iter().next()
}

fn values(address: &Assigned) -> Result<NetworkValues> {
    let task = "looking for the interface of the host's address";
    for entry in fs::read_dir("/sys/class/net").during(task)? {
        let path = entry.during(task)?.path();
        let read = |name: &str| fs::read_to_string(path.join(name)).unwrap_or_default();
        if read("ifindex").trim() != address.interface.to_string() {
            continue;
        }
        let interface = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Ok(NetworkValues {
            interface,
            address: address.ip.to_string(),
            prefix: address.prefix,
            mac: read("address").trim().to_owned(),
        });
    }
    Err(Stop::new(format_args!("{task}: interface {} is gone", address.interface)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_usable_ipv4_address_of_the_interface_is_chosen() {
        let address = |interface, ip: &str, usable| Assigned {
            interface,
            ip: ip.parse().unwrap(),
            prefix: 24,
            usable,
        };
        let all = || {
            vec![
                address(2, "2001:db8::1", true),
                address(3, "10.0.0.3", true),
                address(2, "10.0.0.8", false),
                address(2, "10.0.0.2", true),
                address(2, "10.0.0.9", true),
            ]
        };
        assert_eq!(choose(all(), 2), Some(address(2, "10.0.0.2", true)));
        assert_eq!(choose(all()[..1].to_vec(), 2), Some(address(2, "2001:db8::1", true)));
        assert_eq!(choose(all(), 4), None);
    }

    #[test]
    fn an_interface_is_described_by_its_index() {
        let loopback =
            Assigned { interface: 1, ip: IpAddr::from([127, 0, 0, 1]), prefix: 8, usable: true };
        let values = values(&loopback).unwrap();
        assert_eq!((values.interface.as_str(), values.mac.as_str()), ("lo", "00:00:00:00:00:00"));
        assert!(super::values(&Assigned { interface: 1 << 30, ..loopback }).is_err());
    }
}
