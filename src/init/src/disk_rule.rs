// SPDX-License-Identifier: Apache-2.0
//! Which disk a machine takes: `kiln.install=` and `kiln.var=` of the kernel command line.
//!
//! ```text
//! kiln.install=serial:S3Z8NB0K123456
//! kiln.install=model:INTEL_SSDSC2KB*,min:200G,smallest
//! ```
//!
//! Words are separated by commas. All conditions must hold, and one disk must be left: a rule that
//! several disks fit is refused, unless it says which of them by size. A disk that has something on
//! it is taken only with the word `overwrite`.

use std::fmt::{self, Display};

use crate::yaml::printable;

/// A disk, as the kernel describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disk {
    /// Below `/dev`.
    pub name: String,
    /// Bytes.
    pub len: u64,
    pub model: String,
    pub serial: String,
    /// World wide name, as the kernel spells it: `naa.500...`, `eui.002...`, `t10...`.
    pub wwn: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    conditions: Vec<Condition>,
    prefer: Option<Prefer>,
    /// Whether what is on the disk may be lost.
    pub overwrite: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    Any,
    Text(Field, String),
    /// Bytes.
    AtLeast(u64),
    AtMost(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Name,
    Model,
    Serial,
    Wwn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prefer {
    Smallest,
    Largest,
}

/// Why a rule says nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "'{}': expected any, serial:TEXT, model:TEXT, wwn:TEXT, name:TEXT, min:SIZE, max:SIZE, \
         smallest, largest or overwrite", printable(.0)
    )]
    Word(String),
    #[error("'{}': expected a size as 200G or 2T", printable(.0))]
    Size(String),
    #[error("no condition: 'any' takes every disk")]
    Empty,
    #[error("no disk fits; there {}", Seen(.0))]
    Nothing(Vec<Disk>),
    #[error("more than one disk fits, add 'smallest', 'largest' or a condition: {}", List(.0))]
    Several(Vec<Disk>),
}

impl Rule {
    /// # Errors
    /// A word that means nothing, or no condition.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut rule = Self { conditions: Vec::new(), prefer: None, overwrite: false };
        for word in text.split(',').filter(|word| !word.is_empty()) {
            let unknown = || Error::Word(word.to_owned());
            let field = match word.split_once(':') {
                None => match word {
                    "any" => {
                        rule.conditions.push(Condition::Any);
                        continue;
                    }
                    "smallest" | "largest" if rule.prefer.is_none() => {
                        let smallest = word == "smallest";
                        rule.prefer =
                            Some(if smallest { Prefer::Smallest } else { Prefer::Largest });
                        continue;
                    }
                    "overwrite" => {
                        rule.overwrite = true;
                        continue;
                    }
                    _ => return Err(unknown()),
                },
                Some((_, "")) => return Err(unknown()),
                Some((key, value)) => (key, value.to_owned()),
            };
            rule.conditions.push(match field {
                ("name", text) => Condition::Text(Field::Name, text),
                ("model", text) => Condition::Text(Field::Model, text),
                ("serial", text) => Condition::Text(Field::Serial, text),
                ("wwn", text) => Condition::Text(Field::Wwn, text),
                ("min", text) => Condition::AtLeast(size(&text)?),
                ("max", text) => Condition::AtMost(size(&text)?),
                _ => return Err(unknown()),
            });
        }
        let says_which = !rule.conditions.is_empty() || rule.prefer.is_some();
        if says_which { Ok(rule) } else { Err(Error::Empty) }
    }

    /// The one disk that the rule means.
    ///
    /// # Errors
    /// None fits, or several; with what there is.
    pub fn choose<'a>(&self, disks: &'a [Disk]) -> Result<&'a Disk, Error> {
        let mut fitting: Vec<&Disk> = disks.iter().filter(|disk| self.fits(disk)).collect();
        match self.prefer {
            Some(Prefer::Smallest) => keep_of_size(&mut fitting, Iterator::min),
            Some(Prefer::Largest) => keep_of_size(&mut fitting, Iterator::max),
            None => {}
        }
        match fitting[..] {
            [disk] => Ok(disk),
            [] => Err(Error::Nothing(disks.to_vec())),
            _ => Err(Error::Several(fitting.into_iter().cloned().collect())),
        }
    }

    fn fits(&self, disk: &Disk) -> bool {
        self.conditions.iter().all(|condition| match condition {
            Condition::Any => true,
            Condition::AtLeast(len) => disk.len >= *len,
            Condition::AtMost(len) => disk.len <= *len,
            Condition::Text(field, pattern) => {
                let text = match field {
                    Field::Name => &disk.name,
                    Field::Model => &disk.model,
                    Field::Serial => &disk.serial,
                    Field::Wwn => &disk.wwn,
                };
                matches(pattern, &plain(text))
            }
        })
    }
}

fn keep_of_size(
    disks: &mut Vec<&Disk>,
    choose: impl FnOnce(std::vec::IntoIter<u64>) -> Option<u64>,
) {
    let sizes: Vec<u64> = disks.iter().map(|disk| disk.len).collect();
    let size = choose(sizes.into_iter());
    disks.retain(|disk| Some(disk.len) == size);
}

/// A command line has no blanks in a value: they are `_` here, as udev writes them.
fn plain(text: &str) -> String {
    text.trim().replace(' ', "_")
}

/// `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(head) else { return false };
    let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    // The number of stars bounds it, and a command line has 2048 bytes.
    rest.is_empty() || ends.into_iter().any(|at| matches(rest, &text[at..]))
}

/// Bytes: digits and one of K, M, G, T, each 1024 times the one before.
fn size(text: &str) -> Result<u64, Error> {
    let bad = || Error::Size(text.to_owned());
    let unit = text.chars().next_back().ok_or_else(bad)?;
    let power = "KMGT".find(unit).ok_or_else(bad)? as u32 + 1;
    let digits = &text[..text.len() - 1];
    if digits.is_empty() || !digits.bytes().all(|it| it.is_ascii_digit()) {
        return Err(bad());
    }
    let number: u64 = digits.parse().map_err(|_| bad())?;
    number.checked_mul(1 << (10 * power)).ok_or_else(bad)
}

impl Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} MiB", self.name, self.len >> 20)?;
        for (what, text) in [("model", &self.model), ("serial", &self.serial)] {
            if !text.trim().is_empty() {
                write!(f, ", {what} {}", printable(&plain(text)))?;
            }
        }
        f.write_str(")")
    }
}

struct List<'a>(&'a [Disk]);

impl Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, disk) in self.0.iter().enumerate() {
            write!(f, "{}{disk}", if number == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

struct Seen<'a>(&'a [Disk]);

impl Display for Seen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("is none"),
            [disk] => write!(f, "is {disk}"),
            disks => write!(f, "are {}", List(disks)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn disks() -> Vec<Disk> {
        let disk = |name: &str, gib: u64, model: &str, serial: &str| Disk {
            name: name.into(),
            len: gib << 30,
            model: model.into(),
            serial: serial.into(),
            wwn: format!("naa.{serial}"),
        };
        vec![
            disk("nvme0n1", 894, "Micron_7450", "A1"),
            disk("sda", 447, "INTEL SSDSC2KB48 ", " B2"),
            disk("sdb", 447, "INTEL SSDSC2KB48 ", "B3"),
        ]
    }

    fn chosen(rule: &str) -> Result<String, String> {
        let disks = disks();
        let rule = Rule::parse(rule).map_err(|error| error.to_string())?;
        let chosen = rule.choose(&disks).map_err(|error| error.to_string())?;
        Ok(chosen.name.clone())
    }

    #[test]
    fn a_rule_means_one_disk() {
        for (rule, name) in [
            ("serial:B2", "sda"),
            ("model:INTEL_*,serial:*3", "sdb"),
            ("model:*7450", "nvme0n1"),
            ("min:500G", "nvme0n1"),
            ("max:500G,name:sda", "sda"),
            ("largest", "nvme0n1"),
            ("smallest,wwn:naa.B3", "sdb"),
            ("min:500G,any,overwrite", "nvme0n1"),
        ] {
            assert_eq!(chosen(rule).as_deref(), Ok(name), "{rule}");
        }
        assert!(Rule::parse("any,overwrite").unwrap().overwrite);
        assert!(!Rule::parse("any").unwrap().overwrite);
    }

    #[test]
    fn a_rule_that_means_none_or_several_says_what_there_is() {
        assert_eq!(
            chosen("smallest").unwrap_err(),
            "more than one disk fits, add 'smallest', 'largest' or a condition: \
             sda (457728 MiB, model INTEL_SSDSC2KB48, serial B2), \
             sdb (457728 MiB, model INTEL_SSDSC2KB48, serial B3)"
        );
        let nothing = chosen("serial:B").unwrap_err();
        assert!(nothing.starts_with("no disk fits; there are nvme0n1 (915456 MiB, "), "{nothing}");
        let rule = Rule::parse("any").unwrap();
        assert_eq!(rule.choose(&[]).unwrap_err().to_string(), "no disk fits; there is none");
    }

    #[test]
    fn words_that_mean_nothing_are_refused() {
        for (rule, part) in [
            ("", "no condition"),
            ("overwrite", "no condition"),
            ("/dev/sda", "'/dev/sda': expected any, serial:TEXT"),
            ("serial:", "'serial:': expected"),
            ("smallest,largest", "'largest': expected"),
            ("min:200", "'200': expected a size"),
            ("min:G", "'G': expected a size"),
            ("min:+1G", "'+1G': expected a size"),
            ("max:99999999999T", "expected a size"),
        ] {
            let error = Rule::parse(rule).unwrap_err().to_string();
            assert!(error.contains(part), "{rule}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_rule_is_read(text: String) {
            if let Ok(rule) = Rule::parse(&text) {
                let _ = rule.choose(&disks());
            }
        }

        #[test]
        fn a_star_matches_what_a_regular_expression_would(
            pattern in "[ab*]{0,8}",
            text in "[ab]{0,8}",
        ) {
            // By hand: every way to split the text at the stars.
            fn slow(pattern: &[u8], text: &[u8]) -> bool {
                match (pattern, text) {
                    ([], []) => true,
                    ([b'*', rest @ ..], _) =>
                        slow(rest, text) || !text.is_empty() && slow(pattern, &text[1..]),
                    ([first, rest @ ..], [head, tail @ ..]) => first == head && slow(rest, tail),
                    _ => false,
                }
            }
            prop_assert_eq!(matches(&pattern, &text), slow(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
