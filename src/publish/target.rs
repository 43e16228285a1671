// SPDX-License-Identifier: Apache-2.0
//! Where releases stand: `oci://REGISTRY/REPOSITORY:TAG` or `s3://BUCKET/PREFIX`.
//!
//! A role has a place of its own below the target: in a registry the tag `TAG-ROLE`, in a bucket
//! `PREFIX/ROLE/`. One repository serves all roles, because some registries want each to be made
//! by hand, and others have no names with more than two parts.

use std::{fmt, str::FromStr};

use crate::{diagnostic::quoted, formats::oci::Reference, kubernetes::release::is_loopback};

/// Longest tag of a registry.
const MAX_TAG: usize = 128;
/// Longest name of an object, in bytes, less the longest role and file.
const MAX_PREFIX: usize = 600;

const REGISTRY: &str = "oci://";
const BUCKET: &str = "s3://";

/// A place for releases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Registry(Reference),
    Bucket(Bucket),
}

/// A bucket, and what begins the name of each object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    pub name: String,
    /// Without a slash at its ends; may be empty.
    pub prefix: String,
}

/// Why a text is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl Target {
    /// Whether an argument is meant to be a target, whatever is wrong with it.
    pub fn is_meant(word: &str) -> bool {
        word.contains("://")
    }
}

impl Bucket {
    /// The name of a role's file.
    pub fn key(&self, role: &str, file: &str) -> String {
        match self.prefix.as_str() {
            "" => format!("{role}/{file}"),
            prefix => format!("{prefix}/{role}/{file}"),
        }
    }
}

/// The tag of a role.
///
/// # Errors
/// It is too long.
pub fn tag(reference: &Reference, role: &str) -> Result<String, Error> {
    let tag = format!("{}-{role}", reference.tag());
    match tag.len() {
        0..=MAX_TAG => Ok(tag),
        len => Err(Error(format!("tag '{tag}' has {len} bytes, at most {MAX_TAG}"))),
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => write!(f, "{REGISTRY}{reference}"),
            Self::Bucket(Bucket { name, prefix }) => write!(f, "{BUCKET}{name}/{prefix}"),
        }
    }
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.split_once("://").is_some_and(|(_, rest)| authority(rest).contains('@')) {
            return Err(Error("a target has no user and no password in it".to_owned()));
        }
        if let Some(rest) = text.strip_prefix(REGISTRY) {
            let reference: Reference = rest.parse().map_err(|it| Error(format!("{it}")))?;
            if reference.digest().is_some() {
                return Err(Error(format!("{} has a digest: roles have tags", quoted(text))));
            }
            return Ok(Self::Registry(reference));
        }
        let Some(rest) = text.strip_prefix(BUCKET) else {
            return Err(Error(format!("{} is neither a registry nor a bucket", quoted(text))));
        };
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if !(3..=63).contains(&name.len()) || !is_plain(name) {
            return Err(Error(format!("{} is no name of a bucket", quoted(name))));
        }
        let prefix = prefix.trim_end_matches('/');
        if prefix.len() > MAX_PREFIX || !(prefix.is_empty() || prefix.split('/').all(is_plain)) {
            return Err(Error(format!(
                "prefix {} has more than letters, digits, '.', '_', '-' and inner slashes, or is \
                 longer than {MAX_PREFIX}",
                quoted(prefix)
            )));
        }
        Ok(Self::Bucket(Bucket { name: name.to_owned(), prefix: prefix.to_owned() }))
    }
}

/// What no address has to escape, and no server takes for a step in its folders.
fn is_plain(part: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    part.bytes().all(known) && part.contains(|char: char| char != '.')
}

fn authority(rest: &str) -> &str {
    rest.split('/').next().unwrap_or(rest)
}

/// The server of a bucket: `https://HOST[:PORT]`, or http.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(String);

impl Endpoint {
    /// Where a bucket's objects are, without a slash at the end; Amazon's if no server is named.
    ///
    /// Amazon wants the bucket in the host's name, where a dot would not fit its certificate;
    /// others have few names and want it in the path.
    pub fn base(endpoint: Option<&Self>, bucket: &str, region: &str) -> String {
        match endpoint {
            Some(Self(url)) => format!("{url}/{bucket}"),
            None if bucket.contains('.') => {
                format!("https://s3.{region}.amazonaws.com/{bucket}")
            }
            None => format!("https://{bucket}.s3.{region}.amazonaws.com"),
        }
    }

    /// Whether what is sent there can be read on its way.
    pub fn is_exposed(&self) -> bool {
        self.0.strip_prefix("http://").is_some_and(|host| !is_loopback(host))
    }
}

impl FromStr for Endpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim_end_matches('/');
        if text.contains('@') {
            return Err(Error("an endpoint has no user and no password in it".to_owned()));
        }
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
        for (scheme, port) in [("https://", ":443"), ("http://", ":80")] {
            if let Some(host) = text.strip_prefix(scheme)
                && !host.is_empty()
                && host.bytes().all(is_known)
            {
                // The port that goes without saying is not in the header that is signed.
                let host = host.strip_suffix(port).unwrap_or(host);
                return Ok(Self(format!("{scheme}{}", host.to_ascii_lowercase())));
            }
        }
        Err(Error(format!(
            "endpoint {} is not 'https://HOST' or 'https://HOST:PORT'",
            quoted(text)
        )))
    }
}

/// Whether a text can be a region of S3; it is part of Amazon's host names.
pub fn is_region(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Target, String> {
        text.parse().map_err(|error: Error| error.to_string())
    }

    #[test]
    fn a_target_is_a_registry_or_a_bucket() {
        for text in [
            "oci://registry.example/os/quickstart:1",
            "oci://localhost:5000/a:b",
            "s3://bucket/a/b",
        ] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        let Ok(Target::Bucket(bucket)) = parse("s3://bucket/a/b/") else { panic!() };
        assert_eq!(bucket.key("lb", "x.raw"), "a/b/lb/x.raw");
        let Ok(Target::Bucket(bucket)) = parse("s3://bucket") else { panic!() };
        assert_eq!(bucket.key("lb", "x.raw"), "lb/x.raw");
    }

    #[test]
    fn what_is_none_is_refused_without_its_password() {
        for (text, expected) in [
            ("https://a.example/b", "'https://a.example/b' is neither a registry"),
            ("https://me:secret@a.example/b", "a target has no user"),
            ("oci://me:secret@a.example/b:1", "a target has no user"),
            ("oci://registry.example/os", "has no tag"),
            ("oci://os:1", "names no host"),
            ("s3://", "'' is no name of a bucket"),
            ("s3://ab", "'ab' is no name of a bucket"),
            ("s3://...", "'...' is no name of a bucket"),
            ("s3://me:secret@bucket/a", "a target has no user"),
            ("s3://bucket//a", "prefix '/a' has more than letters"),
            ("s3://bucket/a/../b", "prefix 'a/../b' has more"),
            ("s3://bucket/a b", "prefix 'a b' has more"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected) && !error.contains("secret"), "{text}: {error}");
        }
        let digest = "0".repeat(64);
        let error = parse(&format!("oci://a.b/c:1@sha256:{digest}")).unwrap_err();
        assert!(error.contains("has a digest: roles have tags"), "{error}");
    }

    #[test]
    fn a_role_has_a_tag_of_its_own() {
        let reference: Reference = "a.example/os:1".parse().unwrap();
        assert_eq!(tag(&reference, "lb").unwrap(), "1-lb");
        assert!(tag(&reference, &"x".repeat(127)).is_err());
    }

    #[test]
    fn a_bucket_lies_where_its_server_expects_it() {
        let endpoint = |text: &str| text.parse::<Endpoint>().unwrap();
        for (given, expected) in [
            (None, "https://images.s3.eu-west-1.amazonaws.com"),
            (Some("https://s3.example"), "https://s3.example/images"),
            (Some("http://127.0.0.1:9000/"), "http://127.0.0.1:9000/images"),
            (Some("https://S3.example:443"), "https://s3.example/images"),
        ] {
            let given = given.map(endpoint);
            assert_eq!(Endpoint::base(given.as_ref(), "images", "eu-west-1"), expected);
        }
        let dotted = Endpoint::base(None, "a.b", "eu-west-1");
        assert_eq!(dotted, "https://s3.eu-west-1.amazonaws.com/a.b");
        assert!(endpoint("http://10.0.0.1:9000").is_exposed());
        assert!(!endpoint("http://localhost:9000").is_exposed());
        assert!(!endpoint("https://10.0.0.1:9000").is_exposed());
        for text in ["", "s3.example", "https://", "https://a/b", "ftp://a", "https://a b"] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains("is not 'https://HOST'"), "{text}: {error}");
        }
        let error = "https://me:secret@a".parse::<Endpoint>().unwrap_err().to_string();
        assert_eq!(error, "an endpoint has no user and no password in it");
    }
}
