// SPDX-License-Identifier: Apache-2.0
//! The OVF environment (DMTF DSP0243, section 11): properties of a vApp, as XML on an ISO or in
//! `guestinfo.ovfEnv`.

use serde_json::{Map, Value};

use crate::{
    base64,
    metadata::{Dialect, Seed},
    volume::Volume,
    xml,
};

/// Names of the file, in the order in which transports use them.
const FILES: [&str; 2] = ["ovf-env.xml", "ovf_env.xml"];
const NAMESPACE: &str = "http://schemas.dmtf.org/ovf/environment/1";
const PROPERTIES_MAX: usize = 256;

/// Why an environment is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: ovf-env.xml: {what}")]
pub struct Error {
    origin: String,
    what: String,
}

/// Reads the environment from a volume that has one.
pub(super) fn read(volume: &Volume<'_>, medium: &str) -> Result<Option<Seed>, Error> {
    let origin = format!("ovf medium '{medium}'");
    for name in FILES {
        match volume.read(name) {
            Ok(None) => {}
            Ok(Some(bytes)) => return parse(&bytes, &origin).map(Some),
            // A volume that nobody said is an OVF transport may be damaged as it likes.
            Err(_) => return Ok(None),
        }
    }
    Ok(None)
}

/// The documents that the properties stand for.
///
/// # Errors
/// It is no OVF environment, or a property cannot be decoded.
pub(super) fn parse(bytes: &[u8], origin: &str) -> Result<Seed, Error> {
    let refuse = |what: String| Error { origin: origin.to_owned(), what };
    let elements = xml::parse(bytes).map_err(|error| refuse(error.to_string()))?;
    let root = elements.first().ok_or_else(|| refuse("it has no element".to_owned()))?;
    if root.name != "Environment" || !root.attributes.iter().any(|(_, it)| it == NAMESPACE) {
        return Err(refuse(format!(
            "expected the element 'Environment' of {NAMESPACE}, found '{}'",
            crate::yaml::printable(&root.name)
        )));
    }
    let mut seed = Seed { origin: origin.to_owned(), dialect: Dialect::Ovf, ..Seed::default() };
    let mut meta_data = Map::new();
    let properties = elements.iter().filter(|element| element.name == "Property");
    for (index, property) in properties.enumerate() {
        if index >= PROPERTIES_MAX {
            return Err(refuse(format!("more than {PROPERTIES_MAX} properties")));
        }
        let attribute =
            |name| property.attributes.iter().find(|(key, _)| key == name).map(|(_, it)| &**it);
        let (Some(key), Some(value)) = (attribute("key"), attribute("value")) else {
            return Err(refuse(format!("line {}: a property without key or value", property.line)));
        };
        if value.trim().is_empty() {
            continue;
        }
        let packed = || {
            base64::decode(value).map_err(|error| {
                refuse(format!("line {}: the property '{key}': {error}", property.line))
            })
        };
        match key {
            "hostname" | "local-hostname" => {
                meta_data.insert("local-hostname".to_owned(), Value::from(value));
            }
            "instance-id" => {
                meta_data.insert("instance-id".to_owned(), Value::from(value));
            }
            "public-keys" => {
                let keys: Vec<&str> = value.lines().filter(|it| !it.trim().is_empty()).collect();
                meta_data.insert("public-keys".to_owned(), Value::from(keys));
            }
            "user-data" => seed.user_data = Some(packed().unwrap_or_else(|_| value.into())),
            "network-config" => seed.network_config = Some(packed()?),
            "password" => seed.warnings.push(format!(
                "{origin}: the property 'password' is not used: nobody logs in with a password"
            )),
            // Other properties are the vApp's own; templates may want them.
            _ => {
                meta_data.entry(key).or_insert_with(|| Value::from(value));
            }
        }
    }
    meta_data.entry("instance-id").or_insert_with(|| Value::from("iid-dsovf"));
    seed.meta_data = Some(Value::Object(meta_data).to_string().into_bytes());
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(properties: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?>\n<Environment xmlns=\"{NAMESPACE}\" xmlns:oe=\"{NAMESPACE}\">\n\
             <PlatformSection><Kind>VMware &amp; more</Kind></PlatformSection>\n\
             <PropertySection>{properties}</PropertySection>\n</Environment>"
        )
    }

    #[test]
    fn properties_become_documents() {
        let text = environment(
            "<Property oe:key=\"hostname\" oe:value=\"n1\"/><Property oe:key='instance-id' oe:value='i'/>\
             <Property oe:key=\"rack\" oe:value=\"&lt;7&#62;\"/><Property oe:key=\"password\" oe:value=\"x\"/>\
             <Property oe:key=\"user-data\" oe:value=\"aGk=\"/><Property oe:key=\"network-config\" oe:value=\"aGk=\"/>",
        );
        let seed = parse(text.as_bytes(), "ovf").unwrap();
        let meta_data = String::from_utf8(seed.meta_data.unwrap()).unwrap();
        assert_eq!(meta_data, "{\"instance-id\":\"i\",\"local-hostname\":\"n1\",\"rack\":\"<7>\"}");
        assert_eq!(seed.user_data.as_deref(), Some(&b"hi"[..]));
        assert_eq!(seed.network_config.as_deref(), Some(&b"hi"[..]));
        assert_eq!(seed.warnings.len(), 1);
    }

    #[test]
    fn what_is_no_environment_is_refused() {
        for (text, message) in [
            (
                "<a/>".to_owned(),
                "ovf: ovf-env.xml: expected the element 'Environment' of http://schemas.dmtf.org/ovf/environment/1, found 'a'",
            ),
            (
                environment("<Property oe:key=\"a\"/>"),
                "ovf: ovf-env.xml: line 4: a property without key or value",
            ),
            (
                environment("<Property oe:key=\"network-config\" oe:value=\"%\"/>"),
                "ovf: ovf-env.xml: line 4: the property 'network-config': not base64 at byte 0",
            ),
        ] {
            assert_eq!(parse(text.as_bytes(), "ovf").unwrap_err().to_string(), message);
        }
    }
}
