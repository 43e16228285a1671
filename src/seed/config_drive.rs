// SPDX-License-Identifier: Apache-2.0
//! A seed as OpenStack's config drive, for what hands machines such a volume: Nova, Ironic.
//!
//! Format: Nova, "Config drives" (`openstack/latest/`), and its schema of `network_data.json`. The
//! volume is FAT, which OpenStack allows beside ISO 9660.

use kiln_contract::CONFIG_DRIVE_LABEL;
use serde_json::{Map, Value, json};

use super::{Error, Files, forms::document, volume};

/// The only link: machines of Kiln's clusters have one address.
const LINK: &str = "primary";

/// The volume.
///
/// # Errors
/// A document is none of Kiln's, the host has no MAC address, or the files do not fit.
pub fn config_drive(name: &str, files: &Files) -> Result<Vec<u8>, Error> {
    volume(&CONFIG_DRIVE_LABEL.to_ascii_uppercase(), &documents(name, files)?)
}

fn documents(name: &str, files: &Files) -> Result<Files, Error> {
    let mut out = Files::new();
    let mut put = |file: &'static str, value: Value| -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(&value);
        let text = text.map_err(|source| Error::Encode { file, source })?;
        out.insert(format!("openstack/latest/{file}"), text);
        Ok(())
    };
    put("meta_data.json", meta_data(&document(files, "meta-data")?))?;
    let network = document(files, "network-config")?;
    let network = network_data(&network["ethernets"][LINK]);
    put("network_data.json", network.ok_or_else(|| Error::NoMac { name: name.to_owned() })?)?;
    let user_data = files.get("user-data").cloned().unwrap_or_default();
    out.insert("openstack/latest/user_data".to_owned(), user_data);
    Ok(out)
}

/// Keys of OpenStack have names.
fn meta_data(document: &Value) -> Value {
    let keys = document["public-keys"].as_array().into_iter().flatten();
    let keys: Map<String, Value> =
        keys.enumerate().map(|(number, key)| (format!("key{number}"), key.clone())).collect();
    json!({
        "uuid": document["instance-id"],
        "name": document["local-hostname"],
        "hostname": document["local-hostname"],
        "public_keys": keys,
        "meta": document["vars"],
    })
}

/// Nothing without a MAC address: it alone says there which card is meant.
fn network_data(ethernet: &Value) -> Option<Value> {
    let mac = ethernet["match"]["macaddress"].as_str()?;
    let routes = ethernet["routes"].as_array().into_iter().flatten().map(|route| {
        let to = match route["to"].as_str() {
            Some("default") => "0.0.0.0/0",
            to => to.unwrap_or_default(),
        };
        let mut out = json!({ "network": to });
        if !route["via"].is_null() {
            out["gateway"] = route["via"].clone();
        }
        out
    });
    let routes: Vec<Value> = routes.collect();
    let networks = ethernet["addresses"].as_array().into_iter().flatten().enumerate();
    let networks = networks.map(|(number, address)| {
        json!({
            "id": format!("network{number}"),
            "link": LINK,
            "type": "ipv4",
            "ip_address": address,
            "routes": if number == 0 { routes.clone() } else { Vec::new() },
        })
    });
    let servers = ethernet["nameservers"]["addresses"].as_array().into_iter().flatten();
    let services = servers.map(|address| json!({ "type": "dns", "address": address }));
    Some(json!({
        "links": [{ "id": LINK, "type": "phy", "ethernet_mac_address": mac }],
        "networks": networks.collect::<Vec<_>>(),
        "services": services.collect::<Vec<_>>(),
    }))
}

#[cfg(test)]
mod tests {
    use kiln_init::metadata::{Dialect, Seed};

    use super::*;

    const KEY: &str = "ssh-ed25519 \
        AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f a";

    fn files(matches: &Value) -> Files {
        let meta_data = json!({
            "instance-id": "c-n1",
            "local-hostname": "n1",
            "public-keys": [KEY],
            "vars": { "priority": 100 },
        });
        let primary = json!({
            "match": matches,
            "addresses": ["10.0.0.7/24"],
            "routes": [
                { "to": "default", "via": "10.0.0.1" },
                { "to": "10.244.3.0/24", "via": "10.0.0.8" },
                { "to": "10.96.0.0/16" },
            ],
            "nameservers": { "addresses": ["10.0.0.2"] },
        });
        let network = json!({ "version": 2, "ethernets": { "primary": primary } });
        Files::from([
            ("meta-data".to_owned(), meta_data.to_string().into_bytes()),
            ("network-config".to_owned(), network.to_string().into_bytes()),
            ("user-data".to_owned(), b"#cloud-config\n".to_vec()),
        ])
    }

    fn read(dialect: Dialect, files: Files, names: [&str; 3]) -> kiln_init::metadata::Metadata {
        let [meta_data, network_config, user_data] = names.map(|name| files.get(name).cloned());
        let seed = Seed { dialect, meta_data, network_config, user_data, ..Seed::default() };
        seed.read(|_| Value::Null).unwrap()
    }

    #[test]
    fn a_host_is_the_same_by_either_kind_of_medium() {
        let files = files(&json!({ "macaddress": "52:54:00:00:00:07" }));
        let drive = documents("n1", &files).unwrap();
        let below = ["meta_data.json", "network_data.json", "user_data"];
        let below = below.map(|name| format!("openstack/latest/{name}"));
        let ours = read(Dialect::Openstack, drive, below.each_ref().map(String::as_str));
        let plain = read(Dialect::Nocloud, files, ["meta-data", "network-config", "user-data"]);
        assert_eq!(ours.instance_id, plain.instance_id);
        assert_eq!(ours.hostname, plain.hostname);
        assert_eq!(ours.vars, plain.vars);
        assert_eq!(ours.ssh_keys, plain.ssh_keys);
        let network = |it: kiln_init::metadata::Metadata| {
            let device = it.network.unwrap().devices.remove(0);
            (device.addresses, device.routes, device.nameservers)
        };
        let (ours, plain) = (network(ours), network(plain));
        assert_eq!((ours.0, ours.2), (plain.0, plain.2));
        let ends = |routes: Vec<kiln_init::network::Route>| {
            let to = |it: &kiln_init::network::Route| it.to.filter(|to| to.prefix > 0);
            routes.into_iter().map(|it| (to(&it), it.via)).collect::<Vec<_>>()
        };
        assert_eq!(ends(ours.1), ends(plain.1));
    }

    #[test]
    fn a_host_without_a_mac_address_has_no_drive() {
        let error = config_drive("n1", &files(&json!({ "name": "e*" }))).unwrap_err();
        assert!(matches!(error, Error::NoMac { .. }));
    }
}
