// SPDX-License-Identifier: Apache-2.0
//! Sizes with their units.

use std::{fmt, str::FromStr};

use serde::Serialize;

/// A number of bytes. Text form: `512MiB`, `2GiB`, `4KiB` or a bare number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(pub u64);

const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl Bytes {
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    pub const fn get(self) -> u64 {
        self.0
    }
}

/// The text is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no size: write a whole number with KiB, MiB or GiB, such as 512MiB")]
pub struct ParseBytesError(String);

impl FromStr for Bytes {
    type Err = ParseBytesError;

    fn from_str(text: &str) -> Result<Self, ParseBytesError> {
        let error = || ParseBytesError(text.to_owned());
        let (digits, factor) = UNITS
            .iter()
            .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?.trim_end(), *factor)))
            .unwrap_or((text, 1));
        let count: u64 = digits.parse().map_err(|_| error())?;
        count.checked_mul(factor).map(Self).ok_or_else(error)
    }
}

impl fmt::Display for Bytes {
    /// The largest unit that divides it, else one decimal of the largest that fits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, factor) in UNITS {
            if self.0 >= factor {
                return if self.0.is_multiple_of(factor) {
                    write!(f, "{} {unit}", self.0 / factor)
                } else {
                    write!(f, "{:.1} {unit}", self.0 as f64 / factor as f64)
                };
            }
        }
        write!(f, "{} bytes", self.0)
    }
}

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_printed() {
        assert_eq!("512MiB".parse(), Ok(Bytes::mib(512)));
        assert_eq!("4096".parse(), Ok(Bytes(4096)));
        assert!("1.5GiB".parse::<Bytes>().is_err());
        assert!("99999999999GiB".parse::<Bytes>().is_err());
        assert_eq!(Bytes::mib(1024).to_string(), "1 GiB");
        assert_eq!(Bytes(1_572_864).to_string(), "1.5 MiB");
        assert_eq!(Bytes(12).to_string(), "12 bytes");
    }
}
