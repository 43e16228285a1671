// SPDX-License-Identifier: Apache-2.0
//! A host's network, as metadata states it and as systemd-networkd reads it.
//!
//! Three readers, one model, one writer. [`config`] reads network-config of version 1 (`v1`) and 2
//! (`v2`), [`network_data`] reads OpenStack's document. All end in `check`, which looks at the
//! devices together: references, cycles, what is there twice. Between them and [`networkd`], which
//! writes `.network`, `.netdev` and `.link` files, stands [`Network`], in which every value has its
//! own type, so nothing that reaches a file can hold a line break.

mod check;
pub mod config;
mod fields;
pub mod network_data;
pub mod networkd;
mod parameters;
mod route;
mod v1;
mod v1_subnet;
mod v2;
mod v2_device;
mod value;

use std::net::{IpAddr, Ipv4Addr};

pub use value::{Address, Domain, Glob, Id, Label, Mac, Name};

/// Everything that a host's metadata says about its network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Network {
    /// In the document's order.
    pub devices: Vec<Device>,
    /// What was accepted but is worth a line.
    pub warnings: Vec<String>,
}

/// One entry: a physical interface, or several that match, or a virtual device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The key in network-config: a virtual device's name, and a physical one's without `match`.
    pub id: Id,
    pub kind: Kind,
    pub dhcp4: Option<Dhcp>,
    pub dhcp6: Option<Dhcp>,
    /// Whether DHCPv4 identifies the host by its DUID and not by the interface's MAC address.
    pub duid: bool,
    pub addresses: Vec<Assigned>,
    pub routes: Vec<Route>,
    pub rules: Vec<Rule>,
    pub nameservers: Vec<IpAddr>,
    pub search: Vec<Domain>,
    pub mtu: Option<u32>,
    pub ipv6_mtu: Option<u32>,
    /// The MAC address that the device is given.
    pub mac: Option<Mac>,
    /// Nothing waits for an optional device.
    pub optional: bool,
    pub accept_ra: Option<bool>,
    pub ra: RouterAdvertisements,
    pub link_local: Option<LinkLocal>,
    pub ipv6_privacy: Option<bool>,
    /// Keep addresses when systemd-networkd stops or a lease ends.
    pub keep_configuration: bool,
    pub ignore_carrier: bool,
    pub activation: Activation,
    pub lldp: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Ethernet(Ethernet),
    Bond(Bond),
    Bridge(Bridge),
    Vlan { id: u16, link: Id },
    Vrf { table: u32, ports: Vec<Id> },
    Dummy,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ethernet {
    pub matches: Option<Match>,
    pub set_name: Option<Name>,
    pub wake_on_lan: Option<bool>,
}

/// Which interfaces an entry is for; all that is given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Match {
    pub name: Option<Glob>,
    pub mac: Option<Mac>,
    pub drivers: Vec<Glob>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bond {
    pub ports: Vec<Id>,
    pub primary: Option<Id>,
    /// The port that is used first.
    pub active: Option<Id>,
    pub settings: Vec<Setting>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bridge {
    pub ports: Vec<Id>,
    pub settings: Vec<Setting>,
    pub costs: Vec<(Id, u32)>,
    pub priorities: Vec<(Id, u32)>,
}

/// A line of `[Bond]` or `[Bridge]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    pub key: &'static str,
    pub value: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Word(&'static str),
    Flag(bool),
    Number(u32),
    Milliseconds(u32),
    Hosts(Vec<Ipv4Addr>),
    Mac(Mac),
}

/// What a DHCP client asks for and uses; none is systemd-networkd's default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dhcp {
    pub hostname: Option<Domain>,
    pub send_hostname: Option<bool>,
    pub route_metric: Option<u32>,
    pub use_dns: Option<bool>,
    pub use_domains: Option<UseDomains>,
    pub use_hostname: Option<bool>,
    pub use_mtu: Option<bool>,
    pub use_ntp: Option<bool>,
    pub use_routes: Option<bool>,
}

/// `route` uses a domain to choose the DNS server, not to complete names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UseDomains {
    Yes,
    No,
    Route,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouterAdvertisements {
    pub use_dns: Option<bool>,
    pub use_domains: Option<UseDomains>,
    pub metric: Option<u32>,
    pub table: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkLocal {
    pub ipv4: bool,
    pub ipv6: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    #[default]
    Up,
    /// Someone else brings the device up.
    Manual,
    Down,
}

/// An address of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    pub address: Address,
    pub label: Option<Label>,
    /// A preferred lifetime of zero: never chosen as the source address.
    pub deprecated: bool,
    pub broadcast: Option<Ipv4Addr>,
    pub peer: Option<IpAddr>,
    pub scope: Option<Scope>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Route {
    /// None is what a gateway without a route says: the default route of its family.
    pub to: Option<Address>,
    pub via: Option<IpAddr>,
    pub on_link: bool,
    pub metric: Option<u32>,
    pub table: Option<u32>,
    pub mtu: Option<u32>,
    pub from: Option<IpAddr>,
    pub kind: Option<RouteKind>,
    pub scope: Option<Scope>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteKind {
    Unicast,
    Local,
    Broadcast,
    Anycast,
    Multicast,
    Blackhole,
    Unreachable,
    Prohibit,
    Throw,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Global,
    Link,
    Host,
}

/// A rule of policy routing: which packets look into which table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    pub from: Option<Address>,
    pub to: Option<Address>,
    pub table: Option<u32>,
    pub priority: Option<u32>,
    pub mark: Option<u32>,
    pub type_of_service: Option<u8>,
}

impl Network {
    /// The host's own address: the first IPv4 one, else the first.
    pub fn address(&self) -> Option<Address> {
        let all = || self.devices.iter().flat_map(|device| &device.addresses);
        let ipv4 = all().find(|assigned| assigned.address.ip.is_ipv4());
        ipv4.or_else(|| all().next()).map(|assigned| assigned.address)
    }

    /// The MAC addresses by which physical interfaces are found: each must be in the host.
    pub fn macs(&self) -> Vec<Mac> {
        self.devices.iter().filter_map(Device::match_mac).collect()
    }

    /// The bond, bridge or VRF that `id` is a port of.
    pub fn master(&self, id: &Id) -> Option<&Device> {
        self.devices.iter().find(|device| device.ports().contains(id))
    }

    /// The VLANs on top of `id`.
    pub fn vlans<'a>(&'a self, id: &'a Id) -> impl Iterator<Item = &'a Device> {
        let on_top =
            move |device: &&Device| matches!(&device.kind, Kind::Vlan { link, .. } if link == id);
        self.devices.iter().filter(on_top)
    }
}

impl Device {
    pub fn new(id: Id, kind: Kind) -> Self {
        Self {
            id,
            kind,
            dhcp4: None,
            dhcp6: None,
            duid: false,
            addresses: Vec::new(),
            routes: Vec::new(),
            rules: Vec::new(),
            nameservers: Vec::new(),
            search: Vec::new(),
            mtu: None,
            ipv6_mtu: None,
            mac: None,
            optional: false,
            accept_ra: None,
            ra: RouterAdvertisements::default(),
            link_local: None,
            ipv6_privacy: None,
            keep_configuration: false,
            ignore_carrier: false,
            activation: Activation::Up,
            lldp: None,
        }
    }

    /// The ports of a bond, bridge or VRF; none for the others.
    pub fn ports(&self) -> &[Id] {
        match &self.kind {
            Kind::Bond(Bond { ports, .. })
            | Kind::Bridge(Bridge { ports, .. })
            | Kind::Vrf { ports, .. } => ports,
            Kind::Ethernet(_) | Kind::Vlan { .. } | Kind::Dummy => &[],
        }
    }

    /// Whether the device gets addresses of its own.
    pub fn has_addresses(&self) -> bool {
        self.dhcp4.is_some() || self.dhcp6.is_some() || !self.addresses.is_empty()
    }

    fn match_mac(&self) -> Option<Mac> {
        match &self.kind {
            Kind::Ethernet(ethernet) => ethernet.matches.as_ref()?.mac,
            _ => None,
        }
    }

    /// The interface's name, if it is known before the interface is seen.
    fn interface_name(&self) -> Option<&str> {
        match &self.kind {
            Kind::Ethernet(Ethernet { set_name: Some(name), .. }) => Some(name.as_str()),
            Kind::Ethernet(Ethernet { matches: Some(_), .. }) => None,
            _ => Some(self.id.as_str()),
        }
    }
}

impl From<Address> for Assigned {
    fn from(address: Address) -> Self {
        Self { address, label: None, deprecated: false, broadcast: None, peer: None, scope: None }
    }
}

#[cfg(test)]
mod tests;
