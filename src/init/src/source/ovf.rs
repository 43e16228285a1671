// SPDX-License-Identifier: Apache-2.0
//! The OVF environment (DMTF DSP0243, section 11): properties of a vApp, as XML on an ISO or in
//! `guestinfo.ovfEnv`.

use serde_json::Value;

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
/// cloud-init's for an environment that names none.
const DEFAULT_INSTANCE_ID: &str = "iid-dsovf";

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
    let mut keys: Vec<(usize, &str, Value)> = Vec::new();
    for (index, property) in own_properties(&elements).enumerate() {
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
        let mut deliver = |key, value: Value| keys.push((property.line, key, value));
        match key {
            "hostname" => deliver("local-hostname", value.into()),
            "public-keys" => {
                let lines = value.lines().filter(|it| !it.trim().is_empty());
                deliver(key, lines.collect());
            }
            "user-data" => seed.user_data = Some(packed().unwrap_or_else(|_| value.into())),
            "network-config" => seed.network_config = Some(packed()?),
            "vars" => {
                let vars = serde_json::from_str(value).map_err(|error| {
                    refuse(format!("line {}: the property 'vars': {error}", property.line))
                })?;
                deliver(key, vars);
            }
            "password" => seed.warnings.push(format!(
                "{origin}: the property 'password' is not used: nobody logs in with a password"
            )),
            // Other properties are the vApp's own; templates may want them.
            _ => deliver(key, value.into()),
        }
    }
    seed.fallback_id = Some(DEFAULT_INSTANCE_ID.to_owned());
    seed.meta_data = Some(meta_data(&keys).into_bytes());
    Ok(seed)
}

/// The properties of this machine: those in the first section right below the root. What stands
/// in an `Entity` belongs to another machine of the vApp.
fn own_properties(elements: &[xml::Element]) -> impl Iterator<Item = &xml::Element> {
    let own = |it: &&xml::Element| it.depth == 1 && it.name == "PropertySection";
    let section = elements.iter().skip_while(move |it| !own(it)).skip(1);
    section.take_while(|it| it.depth > 1).filter(|it| it.depth == 2 && it.name == "Property")
}

/// The properties as JSON, each on its own line of the environment, so that whoever refuses one
/// names that line. The first of two wins.
fn meta_data(keys: &[(usize, &str, Value)]) -> String {
    let mut text = "{".to_owned();
    let mut at = 1;
    for (index, (line, key, value)) in keys.iter().enumerate() {
        if keys.iter().take(index).any(|(_, other, _)| other == key) {
            continue;
        }
        text.push_str(&"\n".repeat(line.saturating_sub(at)));
        at = at.max(*line);
        text.push_str(&format!("{}:{value},", Value::from(*key)));
    }
    text.push('}');
    text
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
        assert_eq!(
            meta_data,
            "{\n\n\n\"local-hostname\":\"n1\",\"instance-id\":\"i\",\"rack\":\"<7>\",}"
        );
        assert_eq!(seed.user_data.as_deref(), Some(&b"hi"[..]));
        assert_eq!(seed.network_config.as_deref(), Some(&b"hi"[..]));
        assert_eq!(seed.warnings.len(), 1);
    }

    #[test]
    fn only_the_machine_s_own_properties_count() {
        let text = environment("<Property oe:key=\"a\" oe:value=\"1\"/>").replace(
            "</Environment>",
            "<Entity oe:id=\"db\"><PropertySection><Property oe:key=\"hostname\" oe:value=\"db\"/>\
             </PropertySection></Entity><PropertySection><Property oe:key=\"b\" oe:value=\"2\"/>\
             </PropertySection></Environment>",
        );
        let seed = parse(text.as_bytes(), "ovf").unwrap();
        let metadata = seed.read(|_| Value::Null).unwrap();
        assert_eq!(Value::Object(metadata.delivered), serde_json::json!({"a": "1"}));
        assert_eq!((metadata.hostname, &*metadata.instance_id), (None, "iid-dsovf"));
        let siblings = environment("").replace("PropertySection", "Entity");
        assert!(parse(siblings.as_bytes(), "ovf").unwrap().meta_data.is_some());
    }

    #[test]
    fn variables_are_a_map_inside_a_text() {
        let property = "<Property oe:key=\"vars\" oe:value=\"{&quot;priority&quot;:100}\"/>";
        let seed = parse(environment(property).as_bytes(), "ovf").unwrap();
        let metadata = seed.read(|_| Value::Null).unwrap();
        assert_eq!(metadata.vars["priority"], 100);
    }

    #[test]
    fn a_refused_property_is_named_with_its_line() {
        let property = |key: &str, value: &str| {
            environment(&format!("\n\n<Property oe:key=\"{key}\"\n oe:value=\"{value}\"/>"))
        };
        for (key, value, message) in [
            (
                "hostname",
                "../x",
                "local-hostname: expected labels of 1 to 63 letters, digits and inner '-', found '../x'",
            ),
            (
                "seedfrom",
                "http://x/",
                "seedfrom: expected on the kernel command line or as the SMBIOS serial number, not here",
            ),
        ] {
            let seed = parse(property(key, value).as_bytes(), "ovf").unwrap();
            let refusal = seed.read(|_| Value::Null).unwrap_err().to_string();
            assert_eq!(refusal, format!("ovf: ovf-env.xml:6: {message}"));
        }
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
            (
                environment("<Property oe:key=\"vars\" oe:value=\"a: 1\"/>"),
                "ovf: ovf-env.xml: line 4: the property 'vars': expected value at line 1 column 1",
            ),
        ] {
            assert_eq!(parse(text.as_bytes(), "ovf").unwrap_err().to_string(), message);
        }
    }
}
