// SPDX-License-Identifier: Apache-2.0
//! A line of configuration, `ds=nocloud;h=NAME;i=ID`: on the kernel command line and as the
//! serial number of SMBIOS type 1.

use kiln_contract::cmdline::DATASOURCE;

use crate::{metadata::Line, yaml::printable};

const NOCLOUD: &str = "nocloud";

/// Why a line is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    #[error(
        "{origin}: '{key}' (seedfrom): expected http:// and a host without a user, found '{found}'"
    )]
    Seedfrom { origin: String, key: String, found: String },
    #[error(
        "{origin}: expected 'KEY=VALUE', found '{found}'; a ';' ends an address, and keys of your own stand before it"
    )]
    Pair { origin: String, found: String },
}

/// The line of a kernel command line, if there is one.
///
/// # Errors
/// A key that cannot be honored.
pub fn on_command_line(command_line: &str, origin: &str) -> Result<Option<Line>, LineError> {
    let line = command_line.split_ascii_whitespace().find(|word| keys(word).is_some());
    line.map_or(Ok(None), |line| parse_line(line, origin))
}

/// The line that `text` is; none if it is something else.
///
/// # Errors
/// A key that cannot be honored.
pub fn parse_line(text: &str, origin: &str) -> Result<Option<Line>, LineError> {
    let Some(keys) = keys(text.trim()) else { return Ok(None) };
    let mut line = Line { origin: origin.to_owned(), ..Line::default() };
    for pair in keys.split(';').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match key {
            "h" | "local-hostname" => line.hostname = Some(value.to_owned()),
            "i" | "instance-id" => line.instance_id = Some(value.to_owned()),
            "s" | "seedfrom" => {
                if !is_plain_http(value) {
                    // A password is not echoed.
                    let found = if value.contains('@') { "a user" } else { value };
                    let (key, found) = (printable(key), printable(found));
                    return Err(LineError::Seedfrom { origin: origin.to_owned(), key, found });
                }
                line.seed_url = Some(value.to_owned());
            }
            // Behind an address it may be the rest of it, and asking half an address is a guess.
            _ if line.seed_url.is_some() || !is_key(key) => {
                let found = printable(pair).chars().take(80).collect();
                return Err(LineError::Pair { origin: origin.to_owned(), found });
            }
            _ => line.other.push((key.to_owned(), value.to_owned())),
        }
    }
    Ok(Some(line))
}

fn is_key(key: &str) -> bool {
    key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Whether first boot can ask there: no TLS, no file, and no password in the open.
fn is_plain_http(url: &str) -> bool {
    url.strip_prefix("http://").is_some_and(|rest| {
        let host = rest.split(['/', '?', '#']).next().unwrap_or("");
        !host.is_empty() && !host.contains('@')
    })
}

/// What follows `ds=nocloud`, in any case; `nocloud-net` is the older name of the same.
fn keys(word: &str) -> Option<&str> {
    let rest = word.strip_prefix(DATASOURCE)?.strip_prefix('=')?;
    let (name, keys) = rest.split_once(';').unwrap_or((rest, ""));
    let is_ours = [NOCLOUD, "nocloud-net"].iter().any(|it| it.eq_ignore_ascii_case(name));
    is_ours.then_some(keys)
}
