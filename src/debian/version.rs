// SPDX-License-Identifier: Apache-2.0
//! Package versions and their order: deb-version(7).
//!
//! `[epoch:]upstream[-revision]`, compared part by part as dpkg does: stretches without digits
//! by character (`~` before the end, the end before letters, letters before the rest), then
//! stretches of digits by value. A missing epoch or revision counts as `0`.

use std::{cmp::Ordering, fmt, str::FromStr};

/// A valid version. Equality is that of the order: `1.0`, `0:1.0` and `1.0-0` are equal.
#[derive(Clone)]
pub struct Version {
    text: Box<str>,
    epoch: u32,
    /// Where the upstream part begins and ends in `text`.
    upstream: (usize, usize),
}

/// Why a text is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is no package version: {reason}", .text.escape_debug())]
pub struct ParseVersionError {
    text: String,
    reason: &'static str,
}

/// dpkg keeps an epoch in an `int`.
const EPOCH_MAX: u32 = i32::MAX as u32;

impl Version {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn upstream(&self) -> &[u8] {
        &self.text.as_bytes()[self.upstream.0..self.upstream.1]
    }

    fn revision(&self) -> &[u8] {
        self.text.as_bytes().get(self.upstream.1 + 1..).unwrap_or_default()
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.epoch
            .cmp(&other.epoch)
            .then_with(|| compare_part(self.upstream(), other.upstream()))
            .then_with(|| compare_part(self.revision(), other.revision()))
    }
}

/// Orders two upstream parts or two revisions.
fn compare_part(mut left: &[u8], mut right: &[u8]) -> Ordering {
    while !left.is_empty() || !right.is_empty() {
        loop {
            let (a, b) = (weight(left), weight(right));
            if a != b {
                return a.cmp(&b);
            }
            if a == 0 {
                break;
            }
            (left, right) = (&left[1..], &right[1..]);
        }
        let (a, b) = (take_number(&mut left), take_number(&mut right));
        // Without leading zeros the longer number is the larger one.
        let order = a.len().cmp(&b.len()).then_with(|| a.cmp(b));
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

/// Where a part's first character stands in the order; 0 for a digit and for the end.
fn weight(part: &[u8]) -> i32 {
    match part.first() {
        None => 0,
        Some(b'~') => -1,
        Some(byte) if byte.is_ascii_digit() => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    }
}

/// Takes the digits at the beginning, without leading zeros.
fn take_number<'a>(part: &mut &'a [u8]) -> &'a [u8] {
    let end = part.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(part.len());
    let (digits, rest) = part.split_at(end);
    *part = rest;
    let zeros = digits.iter().take_while(|byte| **byte == b'0').count();
    &digits[zeros..]
}

impl FromStr for Version {
    type Err = ParseVersionError;

    fn from_str(text: &str) -> Result<Self, ParseVersionError> {
        let error = |reason| ParseVersionError { text: text.to_owned(), reason };
        let (epoch, start) = match text.split_once(':') {
            None => (0, 0),
            Some((epoch, _)) => {
                if epoch.is_empty() || !epoch.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(error("the epoch before ':' is a number"));
                }
                let value = epoch.parse().ok().filter(|epoch| *epoch <= EPOCH_MAX);
                (value.ok_or_else(|| error("the epoch is too large"))?, epoch.len() + 1)
            }
        };
        let end = text[start..].rfind('-').map_or(text.len(), |hyphen| start + hyphen);
        let (upstream, revision) = (&text[start..end], text.get(end + 1..));
        if !upstream.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(error("the upstream part begins with a digit"));
        }
        let allowed =
            |extra: &'static str| move |c: char| c.is_ascii_alphanumeric() || extra.contains(c);
        if !upstream.chars().all(allowed(".+~-:")) {
            return Err(error("only letters, digits and '.+~-:' may stand in the upstream part"));
        }
        if revision.is_some_and(|revision| revision.is_empty()) {
            return Err(error("nothing follows the last '-'"));
        }
        if !revision.unwrap_or_default().chars().all(allowed(".+~")) {
            return Err(error("only letters, digits and '.+~' may stand in the revision"));
        }
        Ok(Self { text: text.into(), epoch, upstream: (start, end) })
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Version({})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(text: &str) -> Version {
        text.parse().expect("valid")
    }

    #[test]
    fn versions_are_ordered_as_the_manual_says() {
        // deb-version(7), "Sorting algorithm", and the cases that trip implementations up.
        let ascending = [
            "1.0~~",
            "1.0~~a",
            "1.0~",
            "1.0~rc1-1",
            "1.0",
            "1.0-0.1",
            "1.0-1~bpo12+1",
            "1.0-1",
            "1.0-1+b1",
            "1.0-1.1",
            "1.0a",
            "1.0a-1",
            "1.0+dfsg",
            "1.0-a-1",
            "1.0.1",
            "1.00002",
            "1.3",
            "1.10",
            "10",
            "1:0.1",
            "2:0",
        ];
        for pair in ascending.windows(2) {
            assert!(version(pair[0]) < version(pair[1]), "{} < {}", pair[0], pair[1]);
        }
    }

    #[test]
    fn missing_parts_count_as_zero() {
        for (left, right) in [("1.0", "0:1.0"), ("1.0", "1.0-0"), ("1.00", "1.0"), ("1.", "1.0")] {
            assert_eq!(version(left), version(right));
        }
        assert_eq!(version("0:1.0").to_string(), "0:1.0");
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in
            ["", ":1", "a:1", "-1:1", "1:", "a1", "1-", "1_0", "1 0", "1-1_1", "2147483648:1", "ü"]
        {
            assert!(text.parse::<Version>().is_err(), "'{text}'");
        }
        assert!("2147483647:1".parse::<Version>().is_ok());
        assert!("1:2:3-4-5".parse::<Version>().is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_a_version_or_refused(text in ".{0,24}") {
            if let Ok(version) = text.parse::<Version>() {
                prop_assert_eq!(version.as_str(), text);
            }
        }

        #[test]
        fn the_order_is_total(
            a in "[0-2][0-2a~+.-]{0,5}[0-1]", b in "[0-2][0-2a~+.-]{0,5}[0-1]",
            c in "[0-2][0-2a~+.-]{0,5}[0-1]",
        ) {
            let [a, b, c] = [a, b, c].map(|text| version(&text));
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
        }
    }
}
