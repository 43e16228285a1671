// SPDX-License-Identifier: Apache-2.0
//! Where HTTP asks: a URL with places for the host's own values, and perhaps a pin.
//!
//! `{mac}`, `{uuid}` and `{serial}` are ours, `__dmi.system-uuid__` and its like are NoCloud's.
//! `%s` stands for the document's name; without it the name follows the URL.

use serde::{Deserialize, Serialize};

use super::{Error, Facts, dmi, sums, url::Url};
use crate::yaml::printable;

/// A URL that is not filled in yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Place {
    template: String,
    /// SHA-256 of `SHA256SUMS`.
    pub(super) pin: Option<String>,
    /// Who says so, for messages.
    origin: String,
}

impl Place {
    /// # Errors
    /// The URL, one of its places, or what stands behind `#` is refused.
    pub fn parse(text: &str, origin: &str) -> Result<Self, Error> {
        let (template, pin) = match text.split_once('#') {
            None => (text, None),
            Some((template, fragment)) => {
                let pin = fragment.strip_prefix("sha256=").and_then(sums::digest_of_text);
                let refused = || {
                    let found: String = printable(fragment).chars().take(80).collect();
                    let what = format!("expected '#sha256=' and 64 hex digits, found '#{found}'");
                    Error::Refused(format!("{origin}: {what}"))
                };
                (template, Some(pin.ok_or_else(refused)?))
            }
        };
        let place = Self { template: template.to_owned(), pin, origin: origin.to_owned() };
        // Sample values: a mistake is said before there is a network.
        place.filled("x", |key| known(key).map(|()| "0".to_owned()))?;
        Ok(place)
    }

    /// Where the document `name` is for this host.
    ///
    /// # Errors
    /// The firmware does not state a value that the URL has a place for.
    pub fn url(&self, name: &str, facts: &Facts) -> Result<Url, Error> {
        self.filled(name, |key| value(key, facts))
    }

    /// The URL without a document's name, for messages.
    pub(super) fn base(&self, facts: &Facts) -> Result<Url, Error> {
        self.filled("", |key| value(key, facts))
    }

    fn filled(
        &self,
        name: &str,
        value: impl Fn(&str) -> Result<String, String>,
    ) -> Result<Url, Error> {
        let refused = |what: String| Error::Refused(format!("{}: {what}", self.origin));
        let text = fill(&self.template, value).map_err(refused)?;
        let text = if text.contains("%s") {
            text.replace("%s", name)
        } else if text.ends_with(['/', '=']) {
            format!("{text}{name}")
        } else if text.contains('?') {
            let what = "a URL with '?' needs '%s', where the document's name goes";
            return Err(refused(what.to_owned()));
        } else {
            format!("{text}/{name}")
        };
        Url::parse(&text).map_err(refused)
    }
}

/// Replaces every place by its value.
fn fill(template: &str, value: impl Fn(&str) -> Result<String, String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = [rest.find('{'), rest.find("__dmi.")].into_iter().flatten().min() {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let (open, close) = if from.starts_with('{') { ("{", "}") } else { ("__", "__") };
        let inside = from.strip_prefix(open).and_then(|inside| inside.split_once(close));
        let Some((key, behind)) = inside else {
            return Err(format!("'{}' has no end", printable(from)));
        };
        out.push_str(&encoded(&value(key)?));
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

fn known(key: &str) -> Result<(), String> {
    let field = |name: &str| dmi::FIELDS.iter().any(|(field, _)| *field == name);
    match key {
        "mac" | "uuid" | "serial" => Ok(()),
        _ if key.strip_prefix("dmi.").is_some_and(field) => Ok(()),
        _ => Err(format!(
            "unknown place '{}'; expected {{mac}}, {{uuid}}, {{serial}} or __dmi.FIELD__",
            printable(key)
        )),
    }
}

fn value(key: &str, facts: &Facts) -> Result<String, String> {
    known(key)?;
    let dmi = |name: &str, what: &str| {
        let value = facts.dmi.get(name).map(str::to_owned);
        value.ok_or_else(|| format!("this machine's firmware states no {what}"))
    };
    match key {
        "mac" => Ok(facts.mac.replace(':', "-")),
        "uuid" => dmi("system-uuid", "UUID").map(|uuid| uuid.to_ascii_lowercase()),
        "serial" => dmi("system-serial-number", "serial number"),
        _ => {
            let field = key.strip_prefix("dmi.").unwrap_or(key);
            dmi(field, field)
        }
    }
}

/// Everything but the unreserved characters of RFC 3986, section 2.3, as `%XX`.
fn encoded(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let part = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    value.bytes().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::dmi::Dmi;

    fn facts() -> Facts {
        let dmi = Dmi::read(|path| match path {
            "product_uuid" => Some("AB12-cd".to_owned()),
            "product_serial" => Some("a/b {mac}%s".to_owned()),
            _ => None,
        });
        Facts { dmi, interface: "eth0".to_owned(), mac: "52:54:00:12:34:56".to_owned() }
    }

    fn url(text: &str) -> Result<String, String> {
        let url = Place::parse(text, "here").and_then(|place| place.url("meta-data", &facts()));
        url.map(|url| url.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_url_is_filled_with_the_values_of_the_host() {
        for (text, expected) in [
            ("http://a/{mac}", "http://a/52-54-00-12-34-56/meta-data"),
            ("http://a/{mac}/", "http://a/52-54-00-12-34-56/meta-data"),
            ("http://a/{uuid}-%s.yaml", "http://a/ab12-cd-meta-data.yaml"),
            ("http://a/?f=%s&m={mac}", "http://a/?f=meta-data&m=52-54-00-12-34-56"),
            ("http://a/?f=", "http://a/?f=meta-data"),
            // A value has no meaning but itself.
            ("http://a/{serial}", "http://a/a%2Fb%20%7Bmac%7D%25s/meta-data"),
            ("http://a/__dmi.system-uuid__/x", "http://a/AB12-cd/x/meta-data"),
            ("http://a", "http://a/meta-data"),
        ] {
            assert_eq!(url(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn mistakes_are_said() {
        for (text, message) in [
            (
                "http://a/{hostname}",
                "here: unknown place 'hostname'; expected {mac}, {uuid}, {serial} or __dmi.FIELD__",
            ),
            (
                "http://a/__dmi.x__",
                "here: unknown place 'dmi.x'; expected {mac}, {uuid}, {serial} or __dmi.FIELD__",
            ),
            ("http://a/{mac", "here: '{mac' has no end"),
            (
                "http://a/__dmi.bios-version__",
                "here: this machine's firmware states no bios-version",
            ),
            (
                "http://a/?x={mac}",
                "here: a URL with '?' needs '%s', where the document's name goes",
            ),
            ("http://a/#x", "here: expected '#sha256=' and 64 hex digits, found '#x'"),
            ("http://u:p@a/", "here: a URL of first boot has no user name and no password"),
            ("ftp://a/", "here: expected http://, found 'ftp://'"),
        ] {
            assert_eq!(url(text).unwrap_err(), message, "{text}");
        }
    }

    #[test]
    fn mistakes_are_said_without_a_network() {
        assert!(Place::parse("http://a/{uuid}", "here").is_ok());
        assert!(Place::parse("https://a/{uuid}", "here").is_err());
        assert!(Place::parse("http://a/{uid}", "here").is_err());
    }
}
