// SPDX-License-Identifier: Apache-2.0
//! Files of systemd-networkd 257: systemd.network(5), systemd.netdev(5), systemd.link(5).
//!
//! `10-` in front of the names sorts ours before what the image or the command line's `ip=` gives
//! (`70-`), and the first file that matches an interface wins. Sections, keys and values are those
//! that cloud-init's users know, where those do what they say.

mod netdev;
mod network;

use std::fmt::{Display, Write as _};

use super::{Device, Ethernet, Kind, Match, Network};

/// A file's name and text, below `/etc/systemd/network`.
pub type File = (String, String);

/// What a `.link` file must restore, because it replaces systemd's default one.
const LINK_NAMES: [(&str, &str); 2] = [
    ("NamePolicy", "keep kernel database onboard slot path"),
    ("AlternativeNamesPolicy", "database onboard slot path mac"),
];

/// The files of a network, in the order of its entries.
pub fn files(network: &Network) -> Vec<File> {
    let mut files = Vec::new();
    for device in &network.devices {
        let mut push = |suffix: &str, text: Text| {
            files.push((format!("10-kiln-{}.{suffix}", device.id.stem()), text.0));
        };
        match &device.kind {
            Kind::Ethernet(ethernet) => {
                if let Some(text) = link(network, device, ethernet) {
                    push("link", text);
                }
            }
            _ => push("netdev", netdev::text(device)),
        }
        push("network", network::text(network, device));
    }
    files
}

/// DHCP on every physical ethernet interface: what a host without network metadata gets.
pub fn dhcp_files() -> Vec<File> {
    let mut text = Text::default();
    text.section("Match");
    text.physical();
    text.section("Network");
    text.line("DHCP", "yes");
    text.section("DHCPv4");
    text.line("ClientIdentifier", "mac");
    vec![("10-kiln-dhcp.network".to_owned(), text.0)]
}

/// udev of the verified root reads it when it first sees the interface, before anything uses it.
fn link(network: &Network, device: &Device, ethernet: &Ethernet) -> Option<Text> {
    let wake = ethernet.wake_on_lan.unwrap_or(false);
    if ethernet.set_name.is_none() && !wake {
        return None;
    }
    let mut text = Text::default();
    text.section("Match");
    match &ethernet.matches {
        Some(matches) => {
            // The only name that is known so early is the kernel's, so whatever else identifies
            // the card is better; but a new name must not go to another card of the driver.
            let hardware = matches.mac.is_some() || !matches.drivers.is_empty();
            if !hardware || matches.mac.is_none() && ethernet.set_name.is_some() {
                text.option("OriginalName", matches.name.as_ref());
            }
            // udev may look again when a bond or networkd has replaced the current address.
            let kept = device.mac.is_none() && !is_bonded(network, device);
            text.hardware(matches, if kept { "MACAddress" } else { "PermanentMACAddress" });
        }
        None => text.line("OriginalName", &device.id),
    }
    text.physical();
    text.section("Link");
    match &ethernet.set_name {
        Some(name) => text.line("Name", name),
        None => LINK_NAMES.iter().for_each(|(key, value)| text.line(key, value)),
    }
    if wake {
        text.line("WakeOnLan", "magic");
    }
    Some(text)
}

/// The text of a file, section by section.
#[derive(Debug, Default)]
struct Text(String);

impl Text {
    fn section(&mut self, name: &str) {
        let gap = if self.0.is_empty() { "" } else { "\n" };
        self.write(format_args!("{gap}[{name}]\n"));
    }

    fn line(&mut self, key: &str, value: impl Display) {
        self.write(format_args!("{key}={value}\n"));
    }

    fn option(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.line(key, value);
        }
    }

    fn flag(&mut self, key: &str, value: Option<bool>) {
        self.option(key, value.map(yes));
    }

    /// Several values in one line.
    fn list<T: ToString>(&mut self, key: &str, values: &[T]) {
        if !values.is_empty() {
            let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
            self.line(key, texts.join(" "));
        }
    }

    /// What identifies the hardware; its name may change, this does not.
    fn hardware(&mut self, matches: &Match, mac_key: &str) {
        self.option(mac_key, matches.mac);
        self.list("Driver", &matches.drivers);
    }

    /// Ethernet cards only: VLANs and bridges have the MAC address of the card below them.
    fn physical(&mut self) {
        self.line("Type", "ether");
        self.line("Kind", "!*");
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("writing to a String cannot fail");
    }
}

fn yes(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

/// A bond gives its own MAC address to its ports.
fn is_bonded(network: &Network, device: &Device) -> bool {
    network.master(&device.id).is_some_and(|master| matches!(master.kind, Kind::Bond(_)))
}
