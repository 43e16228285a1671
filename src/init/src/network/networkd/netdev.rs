// SPDX-License-Identifier: Apache-2.0
//! `.netdev` files: the virtual devices that systemd-networkd makes.

use super::{Text, yes};
use crate::network::{Device, Kind, Setting, Value};

pub(super) fn text(device: &Device) -> Text {
    let mut text = Text::default();
    text.section("NetDev");
    text.line("Name", &device.id);
    let kind = match &device.kind {
        Kind::Bond(_) => "bond",
        Kind::Bridge(_) => "bridge",
        Kind::Vlan { .. } => "vlan",
        Kind::Vrf { .. } => "vrf",
        Kind::Dummy | Kind::Ethernet(_) => "dummy",
    };
    text.line("Kind", kind);
    text.option("MTUBytes", device.mtu);
    text.option("MACAddress", device.mac);
    match &device.kind {
        Kind::Vlan { id, .. } => {
            text.section("VLAN");
            text.line("Id", id);
        }
        Kind::Vrf { table, .. } => {
            text.section("VRF");
            text.line("Table", table);
        }
        Kind::Bond(bond) => settings(&mut text, "Bond", &bond.settings),
        Kind::Bridge(bridge) => settings(&mut text, "Bridge", &bridge.settings),
        Kind::Dummy | Kind::Ethernet(_) => {}
    }
    text
}

fn settings(text: &mut Text, section: &str, settings: &[Setting]) {
    if settings.is_empty() {
        return;
    }
    text.section(section);
    for Setting { key, value } in settings {
        match value {
            Value::Word(word) => text.line(key, word),
            Value::Flag(flag) => text.line(key, yes(*flag)),
            Value::Number(number) => text.line(key, number),
            Value::Milliseconds(number) => text.line(key, format_args!("{number}ms")),
            Value::Hosts(hosts) => text.list(key, hosts),
            Value::Mac(mac) => text.line(key, mac),
        }
    }
}
