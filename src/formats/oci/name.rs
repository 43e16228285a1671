// SPDX-License-Identifier: Apache-2.0
//! The name of an image: `HOST/PATH:TAG`, in full.
//!
//! Container runtimes compare names as texts. Docker's short forms (`busybox`, no tag) are
//! completed by some tools and not by others, so an image under such a name may never be found:
//! they are refused. Grammar: distribution/reference, as registries and containerd hold it.

use std::{fmt, str::FromStr};

/// Longest name without its tag.
const LEN_MAX: usize = 255;
/// Longest tag.
const TAG_MAX: usize = 128;

/// A complete image name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageName(String);

/// Why a text is no name of an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("'{0}' has no tag: expected 'HOST/PATH:TAG'")]
    NoTag(String),
    #[error("'{0}' names no host with a dot or a port before its first '/'")]
    NoHost(String),
    #[error("'{0}' has the part '{1}', which no image name may have")]
    Part(String, String),
    #[error("'{0}' has more than {LEN_MAX} bytes")]
    Long(String),
}

impl ImageName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ImageName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let shown = || text.escape_default().to_string();
        let (name, tag) = match text.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, tag),
            _ => return Err(NameError::NoTag(shown())),
        };
        let is_host = |host: &str| host.contains(['.', ':']) || host == "localhost";
        let (host, path) = match name.split_once('/') {
            Some((host, path)) if is_host(host) => (host, path),
            _ => return Err(NameError::NoHost(shown())),
        };
        if name.len() > LEN_MAX {
            return Err(NameError::Long(shown()));
        }
        let bad = |part: &str| Err(NameError::Part(shown(), part.escape_default().to_string()));
        if !host_is_valid(host) {
            return bad(host);
        }
        if let Some(part) = path.split('/').find(|part| !component_is_valid(part)) {
            return bad(part);
        }
        if !tag_is_valid(tag) {
            return bad(tag);
        }
        Ok(Self(text.to_owned()))
    }
}

/// Labels of letters, digits and inner hyphens, with dots between; a port may follow.
fn host_is_valid(host: &str) -> bool {
    let (labels, port) = match host.split_once(':') {
        Some((labels, port)) => (labels, Some(port)),
        None => (host, None),
    };
    let label_is_valid = |label: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty()
            && label.bytes().all(known)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    labels.split('.').all(label_is_valid)
        && port
            .is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Lower-case letters and digits; between them a dot, one or two underscores, or hyphens.
fn component_is_valid(part: &str) -> bool {
    let is_word = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit();
    let separator_is_valid = |separator: &str| {
        matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-')
    };
    part.starts_with(is_word)
        && part.ends_with(is_word)
        && part.split(is_word).all(separator_is_valid)
}

fn tag_is_valid(tag: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    !tag.is_empty()
        && tag.len() <= TAG_MAX
        && tag.bytes().all(known)
        && !tag.starts_with(['.', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complete_names_are_taken_as_they_are() {
        for text in [
            "registry.k8s.io/kube-apiserver:v1.20.2",
            "kiln.internal/pause:1",
            "localhost/a:b",
            "localhost:5000/a/b--c/d__e/f.g_h:Tag_1.2-3",
            "10.0.0.1:443/x:_",
        ] {
            assert_eq!(text.parse::<ImageName>().map(|name| name.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn short_and_hostile_names_are_refused() {
        let long = format!("a.b/{}:1", "x".repeat(252));
        let tag = format!("a.b/c:{}", "x".repeat(129));
        for text in [
            "",
            ":",
            "/",
            "a.b/c",
            "busybox",
            "busybox:1",
            "library/busybox:1",
            "a.b/c@sha256:00",
            "a.b/:1",
            "a.b/c:",
            "a.b//c:1",
            "a.b/../c:1",
            "a.b/C:1",
            "a.b/c:.1",
            "a.b/c:-1",
            "a.b/c_:1",
            "a.b/a___b:1",
            "a.b/a._b:1",
            "a.b/ä:1",
            "a.b/c d:1",
            "a.b/c:1\n",
            "a..b/c:1",
            "-a.b/c:1",
            "a.b:/c:1",
            "a.b:x/c:1",
            "a.b/c:1/d",
            "\0.b/c:1",
            &long,
            &tag,
        ] {
            assert!(text.parse::<ImageName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_refusal_says_which_part() {
        let refusal = |text: &str| text.parse::<ImageName>().unwrap_err().to_string();
        assert_eq!(
            refusal("a.b/Pause:1"),
            "'a.b/Pause:1' has the part 'Pause', which no image name may have"
        );
        assert_eq!(refusal("a.b/c"), "'a.b/c' has no tag: expected 'HOST/PATH:TAG'");
        assert_eq!(
            refusal("pause:3"),
            "'pause:3' names no host with a dot or a port before its first '/'"
        );
    }
}
