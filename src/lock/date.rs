// SPDX-License-Identifier: Apache-2.0
//! Dates of the lock: seconds since 1970 as `2026-09-12T07:55:41Z` (RFC 3339).

use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

const DAY: u64 = 86_400;
/// The first second that has no four-digit year.
const END: u64 = 253_402_300_800;

pub(super) fn serialize<S: Serializer>(date: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*date))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let written = String::deserialize(deserializer)?;
    parse(&written).ok_or_else(|| {
        let written = written.escape_debug();
        D::Error::custom(format!("'{written}' is no date such as '2026-09-12T07:55:41Z'"))
    })
}

pub(crate) fn text(date: u64) -> String {
    let (year, month, day) = civil(date / DAY);
    let second = date % DAY;
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z", second % 60)
}

/// The snapshot archive's form: `20260912T075541Z`.
pub(crate) fn stamp(date: u64) -> String {
    text(date).replace(['-', ':'], "")
}

pub(crate) fn parse(written: &str) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| written.get(range)?.parse::<u64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let date = days(year, month, day) * DAY + hour * 3600 + minute * 60 + second;
    // Whatever is not the canonical text of a date is none.
    (date < END && text(date) == written).then_some(date)
}

/// Days since 1970 of a date, and back: years begin in March, so that leap days come last.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - MARCH_TO_EPOCH
}

/// Days from 1 March of year 0 to 1 January 1970.
const MARCH_TO_EPOCH: u64 = 719_468;
const DAYS_OF_400_YEARS: u64 = 146_097;

fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + MARCH_TO_EPOCH;
    let (era, day) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (year * 365 + year / 4 - year / 100);
    let month = (day * 5 + 2) / 153;
    let day = day - (month * 153 + 2) / 5 + 1;
    let (year, month) = (era * 400 + year, if month < 10 { month + 3 } else { month - 9 });
    (if month <= 2 { year + 1 } else { year }, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_are_those_of_date_1() {
        for (date, written) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_789_199_741, "2026-09-12T07:55:41Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (END - 1, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!((text(date).as_str(), parse(written)), (written, Some(date)));
        }
        assert_eq!(stamp(1_789_199_741), "20260912T075541Z");
        for written in
            ["", "2026-02-29T00:00:00Z", "2026-09-12", "2026-9-12T07:55:41Z", "é026-09-12T07:55:41"]
        {
            assert_eq!(parse(written), None, "{written}");
        }
    }

    proptest! {
        #[test]
        fn dates_survive_their_text(date in 0..END) {
            prop_assert_eq!(parse(&text(date)), Some(date));
        }
    }
}
