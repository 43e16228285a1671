// SPDX-License-Identifier: Apache-2.0
//! What expires when.

use std::fmt::Write as _;

use serde::Serialize;

use super::{DAY, Error, FOLDER, Material, date, read, token};

/// One certificate of the workspace, or its bootstrap token.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Entry {
    /// Last moment of validity; first, so that entries are sorted by it.
    #[serde(serialize_with = "as_date")]
    pub until: u64,
    pub path: String,
    pub subject: String,
    /// Whole days until then; negative once it is over.
    pub days_left: i64,
}

fn as_date<S: serde::Serializer>(seconds: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&date(*seconds))
}

/// Every certificate and the bootstrap token, those that expire first at the top.
pub fn entries(material: &Material, now: u64) -> Result<Vec<Entry>, Error> {
    let mut entries = Vec::new();
    if material.get(token::FILE).is_some() {
        let (token, until) = token::read(material)?;
        entries.push(entry(token::FILE, until, format!("bootstrap token '{}'", token.id), now));
    }
    for path in material.paths().filter(|path| path.ends_with(".crt")) {
        // A file of two CAs is two entries.
        for found in read::certificates(path, material.get(path).unwrap_or_default())? {
            entries.push(entry(path, found.until, found.subject.to_string(), now));
        }
    }
    entries.sort();
    Ok(entries)
}

fn entry(path: &str, until: u64, subject: String, now: u64) -> Entry {
    let path = format!("{FOLDER}/{path}");
    Entry { until, path, subject, days_left: days_between(now, until) }
}

fn days_between(now: u64, until: u64) -> i64 {
    let days = |seconds: u64| i64::try_from(seconds / DAY).unwrap_or(i64::MAX);
    // An hour over is over: the day that has begun counts.
    if until >= now { days(until - now) } else { -days(now - until) - 1 }
}

/// Those that are over `days` days after `now`.
pub fn within(entries: &[Entry], days: u32, now: u64) -> usize {
    let limit = now + u64::from(days) * DAY;
    entries.iter().filter(|entry| entry.until <= limit).count()
}

/// A table for people.
pub fn table(entries: &[Entry]) -> String {
    let width = entries.iter().map(|entry| entry.path.len()).max().unwrap_or(0);
    let mut text = String::new();
    for Entry { until, path, subject, days_left } in entries {
        let left = match days_left {
            ..0 => "EXPIRED".to_owned(),
            days => format!("{days} days"),
        };
        let until = date(*until);
        writeln!(text, "{until}  {left:>10}  {path:width$}  {subject}")
            .expect("a string takes all");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bootstrap_token_ends_as_certificates_do() {
        let mut material = Material::default();
        material.insert(token::FILE, token::text(&[255; 32], 10 * DAY));
        let entries = entries(&material, 0).unwrap();
        let [entry] = entries.as_slice() else { panic!("{entries:?}") };
        assert_eq!((&*entry.path, entry.days_left), ("pki/bootstrap-token.key", 10));
        // The list is for logs, too: it has the public half alone.
        assert_eq!(entry.subject, "bootstrap token '777777'");
        assert_eq!((within(&entries, 9, 0), within(&entries, 10, 0)), (0, 1));
    }

    #[test]
    fn days_are_counted_towards_the_worse() {
        assert_eq!(days_between(0, 2 * DAY - 1), 1);
        assert_eq!(days_between(0, 0), 0);
        assert_eq!(days_between(1, 0), -1);
        assert_eq!(days_between(DAY, 0), -2);
    }
}
