// SPDX-License-Identifier: Apache-2.0
//! A host's name: RFC 1123 labels, at most 253 characters, in lower case.

use std::{fmt, net::Ipv4Addr};

use crate::yaml::printable;

pub(super) const EXPECTED: &str = "a host name";

/// A valid host name, with its domain if it was given one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hostname {
    full: String,
    /// What the kernel knows, if it is not the first label.
    short: Option<String>,
}

impl Hostname {
    /// The name in `text`, and a warning if it was changed to be one.
    ///
    /// # Errors
    /// The text is no name: what was expected and found.
    pub fn parse(text: &str) -> Result<(Self, Option<String>), String> {
        if text.parse::<Ipv4Addr>().is_ok() {
            let full = format!("ip-{}", text.replace('.', "-"));
            let warning = format!("the host name '{text}' is an address; the name is '{full}'");
            return Ok((Self { full, short: None }, Some(warning)));
        }
        let full = text.to_ascii_lowercase();
        let valid = full.len() <= 253 && full.split('.').all(is_label);
        if !valid || full.bytes().all(|byte| byte.is_ascii_digit()) {
            let found: String = printable(text).chars().take(80).collect();
            return Err(format!(
                "expected labels of 1 to 63 letters, digits and inner '-', found '{found}'"
            ));
        }
        let warning = (full != text)
            .then(|| format!("the host name '{text}' has capitals; the name is '{full}'"));
        Ok((Self { full, short: None }, warning))
    }

    /// This name with its domain, for a host that the kernel knows by another one.
    pub fn called(self, other: &Self) -> Self {
        Self { short: Some(other.short().to_owned()), ..self }
    }

    /// What the kernel and kubelet know: the first label, if nothing else was given.
    pub fn short(&self) -> &str {
        let label = self.full.split('.').next().unwrap_or(&self.full);
        self.short.as_deref().unwrap_or(label)
    }

    /// The name with its domain, if it has one.
    pub fn full(&self) -> &str {
        &self.full
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full)
    }
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}
