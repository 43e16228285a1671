// SPDX-License-Identifier: Apache-2.0
//! A seed as files for whatever hands it to a machine, where no medium is plugged in.
//!
//! Each form is a folder whose files another program takes: `govc` sets guestinfo, or answers an OVA's
//! questions; QEMU has fw_cfg; a web server has a folder per MAC address.

use std::io::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};

use super::{Error, Files};
use crate::{cluster::Host, digest::Digest, formats::ova::Property};

/// How kiln-init finds a host's documents in a folder of a server, and what it calls them.
const DOCUMENTS: [&str; 3] = ["meta-data", "network-config", "user-data"];

/// VMware's guestinfo: a file for each key, and the command that sets them.
///
/// # Errors
/// A document is none of Kiln's.
pub fn guestinfo(name: &str, files: &Files) -> Result<Files, Error> {
    let mut meta_data = document(files, "meta-data")?;
    // VMware has no key for the network; it travels inside.
    meta_data["network"] = document(files, "network-config")?;
    let meta_data = serde_json::to_vec(&meta_data).map_err(encode("meta-data"))?;
    let values = [("metadata", meta_data), ("userdata", bytes(files, "user-data").to_vec())];
    let mut out = Files::new();
    let mut arguments = String::new();
    for (key, value) in values {
        let key = format!("guestinfo.{key}");
        arguments += &format!(" \\\n  -f {key}=\"$PWD/{key}\" -e {key}.encoding=gzip+base64");
        out.insert(format!("{key}.encoding"), b"gzip+base64".to_vec());
        out.insert(key, STANDARD.encode(compressed(&value)).into_bytes());
    }
    let script = format!(
        "#!/bin/sh\n\
         # Gives a virtual machine of VMware the metadata of '{name}', from files, because command lines\n\
         # can be seen. govc knows the server by GOVC_URL.\n\
         set -eu\n\
         cd \"$(dirname \"$0\")\"\n\
         exec govc vm.change -vm \"${{1:?the name of the virtual machine}}\"{arguments}\n"
    );
    out.insert("set.sh".to_owned(), script.into_bytes());
    Ok(out)
}

/// The answers to an OVA's questions, as `govc import.ova -options` takes them.
///
/// # Errors
/// A document is none of Kiln's.
pub fn ova(name: &str, files: &Files) -> Result<Files, Error> {
    let meta_data = document(files, "meta-data")?;
    let text = |key: &str| meta_data[key].as_str().unwrap_or_default().to_owned();
    let keys: Vec<&str> = meta_data["public-keys"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let answer = |property: Property| {
        let value = match property {
            Property::InstanceId => text("instance-id"),
            Property::Hostname => text("local-hostname"),
            Property::NetworkConfig => STANDARD.encode(bytes(files, "network-config")),
            Property::UserData => STANDARD.encode(bytes(files, "user-data")),
            Property::PublicKeys => keys.join("\n"),
            // JSON is YAML: the value is read as what it is.
            Property::Vars => meta_data["vars"].to_string(),
        };
        json!({ "Key": property.key(), "Value": value })
    };
    let options = json!({
        "DiskProvisioning": "thin",
        "Name": name,
        "PowerOn": false,
        "PropertyMapping": Property::ALL.map(answer),
    });
    let json = serde_json::to_vec_pretty(&options).map_err(encode("options"))?;
    Ok(Files::from([("options.json".to_owned(), json)]))
}

/// QEMU's fw_cfg: the documents, and the arguments that hand them over, one a line, for a QEMU that
/// starts in this folder.
pub fn qemu(files: &Files) -> Files {
    let mut out = files.clone();
    let argument = |name: &&str| format!("-fw_cfg\nname=opt/org.kiln/{name},file={name}\n");
    out.insert("qemu.args".to_owned(), DOCUMENTS.iter().map(argument).collect::<String>().into());
    out
}

/// A web server's folder: the documents, and the digests of them that a machine can be told to
/// insist on, by `kiln.url=http://…/#sha256=` and the digest of `SHA256SUMS`.
pub fn http(files: &Files) -> Files {
    let mut out = files.clone();
    let line = |(name, bytes): (&String, &Vec<u8>)| format!("{}  {name}\n", Digest::of(bytes));
    out.insert("SHA256SUMS".to_owned(), files.iter().map(line).collect::<String>().into());
    out
}

/// A MAC address as `{mac}` of `kiln.url=` spells it.
pub fn folder_of(mac: &str) -> String {
    mac.to_ascii_lowercase().replace(':', "-")
}

/// The names by which a server tells a host: its MAC address, its UUID.
pub fn folders_of(host: &Host) -> impl Iterator<Item = String> {
    host.mac.as_deref().map(folder_of).into_iter().chain(host.uuid.clone())
}

/// The same bytes for the same text, whenever they are made.
fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("a vector grows");
    encoder.finish().expect("a vector grows")
}

fn bytes<'a>(files: &'a Files, name: &str) -> &'a [u8] {
    files.get(name).map_or(&[], Vec::as_slice)
}

/// A document as a value; those of Kiln are JSON.
pub(super) fn document(files: &Files, name: &'static str) -> Result<Value, Error> {
    serde_json::from_slice(bytes(files, name)).map_err(encode(name))
}

fn encode(file: &'static str) -> impl FnOnce(serde_json::Error) -> Error {
    move |source| Error::Encode { file, source }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn files() -> Files {
        let meta_data = json!({
            "instance-id": "c-n1",
            "local-hostname": "n1",
            "public-keys": ["ssh-ed25519 AAAA a", "ssh-ed25519 BBBB b"],
            "vars": { "priority": 100 },
        });
        let network = json!({ "version": 2, "ethernets": {} });
        Files::from([
            ("meta-data".to_owned(), meta_data.to_string().into_bytes()),
            ("network-config".to_owned(), network.to_string().into_bytes()),
            ("user-data".to_owned(), b"#cloud-config\n".to_vec()),
        ])
    }

    #[test]
    fn guestinfo_has_the_network_inside_the_metadata() {
        let out = guestinfo("n1", &files()).unwrap();
        let packed = STANDARD.decode(&out["guestinfo.metadata"]).unwrap();
        let mut text = String::new();
        flate2::read::GzDecoder::new(&*packed).read_to_string(&mut text).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&value["local-hostname"], &value["network"]["version"]),
            (&json!("n1"), &json!(2))
        );
        let script = String::from_utf8(out["set.sh"].clone()).unwrap();
        assert!(script.contains("-f guestinfo.userdata=\"$PWD/guestinfo.userdata\""), "{script}");
        assert_eq!(out, guestinfo("n1", &files()).unwrap());
    }

    #[test]
    fn answers_are_what_an_ova_asks_for() {
        let out = ova("n1", &files()).unwrap();
        let options: Value = serde_json::from_slice(&out["options.json"]).unwrap();
        let answers = options["PropertyMapping"].as_array().unwrap();
        let keys: Vec<&str> = answers.iter().filter_map(|it| it["Key"].as_str()).collect();
        assert_eq!(keys, Property::ALL.map(Property::key));
        assert_eq!(answers[1]["Value"], "n1");
        assert_eq!(answers[4]["Value"], "ssh-ed25519 AAAA a\nssh-ed25519 BBBB b");
        assert_eq!(answers[5]["Value"], r#"{"priority":100}"#);
    }

    #[test]
    fn a_server_has_folders_by_address_with_digests() {
        assert_eq!(folder_of("52:54:00:31:00:2A"), "52-54-00-31-00-2a");
        let sums = String::from_utf8(http(&files())["SHA256SUMS"].clone()).unwrap();
        assert_eq!(sums.lines().count(), 3);
        assert!(sums.ends_with("  user-data\n"), "{sums}");
    }
}
