// SPDX-License-Identifier: Apache-2.0
//! meta-data, in the spelling of each source: who the host is and what belongs to it.
//!
//! Keys without a meaning here are kept for templates (`ds.meta_data`), as with cloud-init.

use serde_json::Value;

use super::{
    Dialect, Hostname, KEYS_MAX, Metadata, PEERS, SshKey,
    cloud_config::{Place, WriteFile},
    hostname, is_one_line, peers,
};
use crate::{
    base64, gzip,
    network::{self, Network},
    yaml::{self, At, DOCUMENT_MAX, Problem},
};

/// What a key of meta-data means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    InstanceId,
    Hostname,
    Keys,
    KeyLines,
    /// Values for templates, below `vars`.
    Vars,
    Network,
    /// Files of OpenStack: the source's reader has their content.
    Files,
    /// Understood, and of no consequence here.
    Ignored(&'static str),
    /// When cloud-init reads the source, or that it does not.
    Mode,
    Refused(&'static str),
    Plain,
}

const WIPE: &str = "whether guestinfo is overwritten is the image's decision (metadata.wipe)";
const SEEDFROM: &str =
    "expected on the kernel command line or as the SMBIOS serial number, not here";

fn meaning(dialect: Dialect, key: &str) -> Meaning {
    use Meaning::{
        Files, Hostname, Ignored, InstanceId, KeyLines, Keys, Mode, Network, Plain, Refused, Vars,
    };
    match (dialect, key) {
        (Dialect::Openstack, "uuid") => InstanceId,
        (Dialect::Openstack, "hostname") => Hostname,
        (Dialect::Openstack, "public_keys") => Keys,
        (Dialect::Openstack, "meta") => Vars,
        (Dialect::Openstack, "files") => Files,
        (Dialect::Openstack, _) => Plain,
        (_, "instance-id") => InstanceId,
        (_, "local-hostname") => Hostname,
        (_, "public-keys") => Keys,
        (_, "vars") => Vars,
        (_, "network-interfaces") => Refused("not supported; use the document network-config"),
        (Dialect::Nocloud | Dialect::Ovf, "seedfrom") => Refused(SEEDFROM),
        (Dialect::Nocloud, "dsmode") => Mode,
        (Dialect::Guestinfo, "public-keys-data") => KeyLines,
        (Dialect::Guestinfo, "network") => Network,
        (Dialect::Guestinfo, "redact" | "cleanup-guestinfo") => Ignored(WIPE),
        (Dialect::Guestinfo, "wait-on-network") => Ignored("services wait for the network anyway"),
        _ => Plain,
    }
}

pub(super) fn read(
    bytes: &[u8],
    dialect: Dialect,
    file: &'static str,
    metadata: &mut Metadata,
) -> Result<(), Problem> {
    let Some(document) = yaml::parse(bytes)? else {
        metadata.warnings.push(format!("{file} is empty"));
        return Ok(());
    };
    let root = At::root(&document);
    let entries = root.entries()?;
    for (key, at) in entries.iter().filter(|(_, at)| !at.is_null()) {
        match meaning(dialect, key) {
            Meaning::InstanceId => {
                let id = at.text("an instance id")?;
                metadata.instance_id = instance_id(id).map_err(|it| at.problem(it))?;
            }
            Meaning::Hostname => {
                let name = at.string(hostname::EXPECTED)?;
                set_hostname(name, metadata).map_err(|it| at.problem(it))?;
            }
            Meaning::Keys => read_keys(at, &mut metadata.ssh_keys)?,
            Meaning::KeyLines => read_key_lines(at, &mut metadata.ssh_keys)?,
            Meaning::Vars => {
                if let Some((_, lists)) = at.entries()?.iter().find(|(key, _)| *key == PEERS) {
                    peers::check(lists)?;
                }
                let mode = at.entries()?.into_iter().find(|(key, _)| *key == "dsmode");
                if let (Dialect::Openstack, Some((_, mode))) = (dialect, mode) {
                    check_mode(&mode, file, metadata)?;
                }
                check_lines(at)?;
                if let Value::Object(vars) = at.node().to_json() {
                    metadata.vars = vars;
                }
            }
            Meaning::Network => {
                let encoding = entries.iter().find(|(key, _)| *key == "network.encoding");
                metadata.network = Some(inner_network(at, encoding.map(|(_, at)| at))?);
            }
            Meaning::Mode => check_mode(at, file, metadata)?,
            Meaning::Ignored(why) => metadata.warnings.push(format!("{file}: '{key}': {why}")),
            Meaning::Refused(why) => return Err(at.key_problem(why)),
            Meaning::Files | Meaning::Plain => {}
        }
    }
    if dialect == Dialect::Openstack && !entries.iter().any(|(key, _)| *key == "uuid") {
        return Err(root.problem("missing key 'uuid'"));
    }
    if let Value::Object(delivered) = document.to_json() {
        metadata.delivered = delivered;
    }
    Ok(())
}

/// Templates of the image put a value into the middle of a line, often without a word of quoting.
fn check_lines(at: &At<'_>) -> Result<(), Problem> {
    if at.is_map() {
        for (key, at) in at.entries()? {
            check_line(key, &at)?;
            check_lines(&at)?;
        }
        return Ok(());
    }
    if at.is_list() {
        return at.items()?.iter().try_for_each(check_lines);
    }
    if at.is_null() { Ok(()) } else { check_line(at.body("a text of one line")?, at) }
}

fn check_line(text: &str, at: &At<'_>) -> Result<(), Problem> {
    let found = text.chars().find(|c| c.is_control() && !is_one_line(&c.to_string()));
    let Some(found) = found else { return Ok(()) };
    Err(at.key_problem(format!(
        "expected a text of one line, because templates put it anywhere; \
         found the control character '{}'",
        found.escape_debug()
    )))
}

/// `dsmode` says when cloud-init reads a source. First boot reads it once; one that says that it
/// is no source is not read against its word.
fn check_mode(at: &At<'_>, file: &str, metadata: &mut Metadata) -> Result<(), Problem> {
    if at.text("local, net or disabled")? == "disabled" {
        return Err(at.problem(
            "'disabled': take the source away, or out of the image's 'metadata.sources'",
        ));
    }
    metadata.warnings.push(format!("{file}: '{}' has no effect", at.path()));
    Ok(())
}

/// The instance id alone.
pub(super) fn find_id(bytes: &[u8], dialect: Dialect) -> Result<Option<String>, Problem> {
    let Some(document) = yaml::parse(bytes)? else { return Ok(None) };
    let entries = At::root(&document).entries()?;
    let is_id =
        |(key, at): &(&str, At<'_>)| meaning(dialect, key) == Meaning::InstanceId && !at.is_null();
    let Some((_, at)) = entries.into_iter().find(is_id) else { return Ok(None) };
    instance_id(at.text("an instance id")?).map(Some).map_err(|it| at.problem(it))
}

/// guestinfo carries network-config inside meta-data: as a map, or as text in an encoding.
fn inner_network(at: &At<'_>, encoding: Option<&At<'_>>) -> Result<Network, Problem> {
    if at.is_map() {
        return network::config::read(at);
    }
    let encoding = match encoding.filter(|at| !at.is_null()) {
        Some(at) => at.text("an encoding")?.trim(),
        None => "",
    };
    let text = at.body("a map, or its text in base64")?;
    let packed = || base64::decode(text).map_err(|error| at.problem(error));
    let bytes = match encoding {
        "" => text.as_bytes().to_vec(),
        "base64" | "b64" => packed()?,
        "gzip+base64" | "gz+b64" | "gz+base64" | "gzip+b64" => {
            gzip::decompress(&packed()?, DOCUMENT_MAX).map_err(|error| at.problem(error))?
        }
        other => {
            return Err(at.problem(format!(
                "expected the encoding base64 or gzip+base64, found '{}'",
                yaml::printable(other)
            )));
        }
    };
    let inside = |problem: Problem| at.problem(format!("inside, line {problem}"));
    let document = yaml::parse(&bytes).map_err(inside)?;
    let document = document.ok_or_else(|| at.problem("expected a map, found nothing"))?;
    network::config::read(&At::root(&document)).map_err(inside)
}

pub(super) fn set_hostname(text: &str, metadata: &mut Metadata) -> Result<(), String> {
    let (name, warning) = Hostname::parse(text)?;
    metadata.warnings.extend(warning);
    metadata.hostname = Some(name);
    Ok(())
}

/// An instance id is printed and compared, and later releases name files after it.
pub(super) fn instance_id(text: &str) -> Result<String, String> {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"._:+-".contains(&byte);
    let fits = (1..=128).contains(&text.len()) && text.bytes().any(|b| b.is_ascii_alphanumeric());
    if fits && text.bytes().all(safe) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "expected 1 to 128 letters, digits, '.', '_', ':', '+' or '-', found '{}'",
        yaml::printable(text).chars().take(80).collect::<String>()
    ))
}

/// A key, a list of keys, or a map of them by any name, whose values may be lists themselves.
pub(super) fn read_keys(at: &At<'_>, keys: &mut Vec<SshKey>) -> Result<(), Problem> {
    if at.is_list() {
        for item in at.items()? {
            read_keys(&item, keys)?;
        }
        return Ok(());
    }
    if at.is_map() {
        for (_, item) in at.entries()? {
            read_keys(&item, keys)?;
        }
        return Ok(());
    }
    push_key(at.body("a public ssh key")?, at, keys)
}

/// A text with one key in each line.
fn read_key_lines(at: &At<'_>, keys: &mut Vec<SshKey>) -> Result<(), Problem> {
    let lines = at.body("public ssh keys, one in each line")?.lines().map(str::trim);
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        push_key(line, at, keys)?;
    }
    Ok(())
}

/// A key is not echoed: someone may have pasted the private one.
fn push_key(text: &str, at: &At<'_>, keys: &mut Vec<SshKey>) -> Result<(), Problem> {
    if keys.len() >= KEYS_MAX {
        return Err(at.problem(format!("more than {KEYS_MAX} ssh keys")));
    }
    let key = SshKey::parse(text).map_err(|message| at.problem(message))?;
    if !keys.contains(&key) {
        keys.push(key);
    }
    Ok(())
}

/// Files that the source delivered, as if cloud-config had asked for them.
pub(super) fn read_injected(
    files: &[super::Injected],
    file: &'static str,
    metadata: &mut Metadata,
) -> Result<(), Problem> {
    for (index, injected) in files.iter().enumerate() {
        let place = Place { file, line: 0, key: format!("files[{index}].path") };
        let path =
            WriteFile::check_path(&injected.path).map_err(|message| place.problem(message))?;
        metadata.write_files.push(WriteFile {
            path,
            content: injected.content.clone(),
            owner: "root".to_owned(),
            group: "root".to_owned(),
            mode: 0o600,
            place,
        });
    }
    Ok(())
}
