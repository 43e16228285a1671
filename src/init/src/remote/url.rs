// SPDX-License-Identifier: Apache-2.0
//! Places that first boot asks: `http://` URLs of RFC 3986, and fewer of them than it allows.
//!
//! No https: a machine that boots for the first time has no clock that certificates could be
//! checked against. No user names: whoever reads the kernel's command line would read them too.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use crate::yaml::printable;

/// Bytes of a URL.
const LENGTH_MAX: usize = 2048;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    pub host: Host,
    pub port: u16,
    /// Path and query; begins with `/`.
    target: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    Name(String),
    Ip(IpAddr),
    /// A link-local address and the interface that it is reached by.
    Zoned(Ipv6Addr, String),
}

impl Url {
    /// # Errors
    /// What was expected and found. A user name or password is not repeated.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LENGTH_MAX {
            return Err(format!("expected a URL of at most {LENGTH_MAX} bytes"));
        }
        let found = || printable(text);
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| format!("expected 'http://HOST/PATH', found '{}'", found()))?;
        match &*scheme.to_ascii_lowercase() {
            "http" => {}
            "https" => {
                return Err(
                    "https cannot be checked before the clock is set: use http:// and pin \
                            the documents by '#sha256=' and the digest of their SHA256SUMS"
                        .to_owned(),
                );
            }
            other => return Err(format!("expected http://, found '{}://'", printable(other))),
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.contains('@') {
            return Err("a URL of first boot has no user name and no password".to_owned());
        }
        let (host, port) = authority_of(authority).ok_or_else(|| {
            format!("expected HOST or HOST:PORT, found '{}'", printable(authority))
        })?;
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        match wrong_character(&target) {
            Some(wrong) => Err(format!(
                "expected a path of letters, digits and '%XX', found '{}'",
                printable(wrong)
            )),
            None => Ok(Self { host, port, target }),
        }
    }

    /// What a `Location` header means here.
    ///
    /// # Errors
    /// Another scheme than http, or no URL.
    pub fn join(&self, location: &str) -> Result<Self, String> {
        let scheme = |text: &str| {
            text.split_once(':').is_some_and(|(scheme, _)| {
                scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
            })
        };
        if location.contains("://") {
            return Self::parse(location);
        }
        if let Some(authority) = location.strip_prefix("//") {
            return Self::parse(&format!("http://{authority}"));
        }
        if scheme(location) {
            return Err(format!("expected http://, found '{}'", printable(location)));
        }
        let folder = self.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        let target = match location {
            _ if location.starts_with('/') => location.to_owned(),
            _ if location.starts_with('?') => format!("{}{location}", self.path()),
            _ => format!("{folder}/{location}"),
        };
        Self::parse(&format!("http://{}{target}", self.authority()))
    }

    /// Another path of the same server.
    ///
    /// # Errors
    /// The path has characters that no URL has.
    pub fn with_path(&self, path: &str) -> Result<Self, String> {
        Self::parse(&format!("http://{}{path}", self.authority()))
    }

    /// Path and query, as a request names them.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// As the `Host` header has it: a zone means nothing to the server (RFC 6874, section 4).
    pub fn host_header(&self) -> String {
        match &self.host {
            Host::Zoned(ip, _) => format!("[{ip}]{}", self.port_suffix()),
            _ => self.authority(),
        }
    }

    fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or("/")
    }

    fn authority(&self) -> String {
        let port = self.port_suffix();
        match &self.host {
            Host::Name(name) => format!("{name}{port}"),
            Host::Ip(IpAddr::V4(ip)) => format!("{ip}{port}"),
            Host::Ip(IpAddr::V6(ip)) => format!("[{ip}]{port}"),
            Host::Zoned(ip, zone) => format!("[{ip}%25{zone}]{port}"),
        }
    }

    fn port_suffix(&self) -> String {
        if self.port == 80 { String::new() } else { format!(":{}", self.port) }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.target)
    }
}

fn authority_of(authority: &str) -> Option<(Host, u16)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (inside, behind) = rest.split_once(']')?;
        let host = match inside.split_once('%') {
            Some((ip, zone)) => {
                let zone = zone.strip_prefix("25").unwrap_or(zone);
                let _: crate::network::Name = zone.parse().ok()?;
                Host::Zoned(ip.parse().ok()?, zone.to_owned())
            }
            None => Host::Ip(IpAddr::V6(inside.parse().ok()?)),
        };
        return Some((host, port_of(behind)?));
    }
    let end = authority.find(':').unwrap_or(authority.len());
    let (name, behind) = authority.split_at(end);
    let port = port_of(behind)?;
    if let Ok(ip) = name.parse() {
        return Some((Host::Ip(IpAddr::V4(ip)), port));
    }
    is_name(name).then(|| (Host::Name(name.to_ascii_lowercase()), port))
}

/// `:80`, or nothing, which means the same.
fn port_of(text: &str) -> Option<u16> {
    let Some(digits) = text.strip_prefix(':') else { return text.is_empty().then_some(80) };
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|port| plain && *port > 0)
}

/// A DNS name. One whose last label is a number would be an address written wrong.
fn is_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            && !label.starts_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or("");
    name.len() <= 253
        && name.split('.').all(label)
        && !last.bytes().all(|byte| byte.is_ascii_digit())
}

/// The first thing in a target that RFC 3986 has no place for.
fn wrong_character(target: &str) -> Option<&str> {
    let mut rest = target;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '%' => {
                let digits = rest.get(1..3);
                let hex = digits.is_some_and(|it| it.bytes().all(|byte| byte.is_ascii_hexdigit()));
                if !hex {
                    return rest.get(..3).or(Some(rest));
                }
                3
            }
            _ if first.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/?".contains(first) => 1,
            _ => return rest.get(..first.len_utf8()),
        };
        rest = rest.get(length..).unwrap_or("");
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn urls_are_read_and_printed() {
        for (text, printed, host_header) in [
            ("http://a.example/x?y=%20", "http://a.example/x?y=%20", "a.example"),
            ("HTTP://A.Example.", "http://a.example./", "a.example."),
            ("http://10.0.0.1:8080/", "http://10.0.0.1:8080/", "10.0.0.1:8080"),
            ("http://[2001:DB8::1]:80?q", "http://[2001:db8::1]/?q", "[2001:db8::1]"),
            ("http://[fe80::1%25eth0]:81/", "http://[fe80::1%25eth0]:81/", "[fe80::1]:81"),
            ("http://[fe80::1%eth0]/", "http://[fe80::1%25eth0]/", "[fe80::1]"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.to_string().as_str(), &*url.host_header()), (printed, host_header));
            assert_eq!(Url::parse(printed), Ok(url));
        }
    }

    #[test]
    fn other_urls_are_refused() {
        let https = "https cannot be checked before the clock is set: use http:// and pin the \
                     documents by '#sha256=' and the digest of their SHA256SUMS";
        for (text, message) in [
            ("https://a/", https),
            ("file:///etc/shadow", "expected http://, found 'file://'"),
            ("a/b", "expected 'http://HOST/PATH', found 'a/b'"),
            ("http://user:secret@a/", "a URL of first boot has no user name and no password"),
            ("http:///x", "expected HOST or HOST:PORT, found ''"),
            ("http://10.0.0.256/", "expected HOST or HOST:PORT, found '10.0.0.256'"),
            ("http://a:0/", "expected HOST or HOST:PORT, found 'a:0'"),
            ("http://a:99999/", "expected HOST or HOST:PORT, found 'a:99999'"),
            ("http://a:/", "expected HOST or HOST:PORT, found 'a:'"),
            ("http://2001:db8::1/", "expected HOST or HOST:PORT, found '2001:db8::1'"),
            ("http://[fe80::1%25../x]/", "expected HOST or HOST:PORT, found '[fe80::1%25..'"),
            ("http://a\r\nX: y/", "expected HOST or HOST:PORT, found 'a\\r\\nX: y'"),
            ("http://a/x y", "expected a path of letters, digits and '%XX', found ' '"),
            ("http://a/%zz", "expected a path of letters, digits and '%XX', found '%zz'"),
            ("http://a/#x", "expected a path of letters, digits and '%XX', found '#'"),
            ("http://a/é", "expected a path of letters, digits and '%XX', found 'é'"),
        ] {
            assert_eq!(Url::parse(text).unwrap_err(), message, "{text}");
        }
        let long = format!("http://a/{}", "x".repeat(LENGTH_MAX));
        assert_eq!(Url::parse(&long).unwrap_err(), "expected a URL of at most 2048 bytes");
    }

    #[test]
    fn redirects_are_relative_to_where_they_come_from() {
        let url = Url::parse("http://a:8080/x/y?z").unwrap();
        for (location, expected) in [
            ("http://b/c", Ok("http://b/c")),
            ("//b/c", Ok("http://b/c")),
            ("/c", Ok("http://a:8080/c")),
            ("c", Ok("http://a:8080/x/c")),
            ("?c", Ok("http://a:8080/x/y?c")),
            ("file:/etc/shadow", Err("expected http://, found 'file:/etc/shadow'")),
            ("ftp://b/c", Err("expected http://, found 'ftp://'")),
        ] {
            let found = url.join(location).map(|url| url.to_string());
            assert_eq!(found.as_deref().map_err(|it| it.as_str()), expected, "{location}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_url_or_refused(text in "(http://)?[ -~\\n]{0,60}", location in "\\PC{0,40}") {
            if let Ok(url) = Url::parse(&text) {
                prop_assert!(!url.to_string().chars().any(char::is_control));
                prop_assert_eq!(Url::parse(&url.to_string()), Ok(url.clone()));
                let _ = url.join(&location);
            }
        }
    }
}
