// SPDX-License-Identifier: Apache-2.0
//! Dates of `Release` files: `Sat, 12 Sep 2026 07:55:41 UTC`, as seconds since 1970.

use std::{fmt, str::FromStr};

/// A point of time, seconds since 1970 in UTC. Text form: that of RFC 5322, `UTC` as zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(pub u64);

/// The text is no date of a `Release` file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is no date such as 'Sat, 12 Sep 2026 07:55:41 UTC'", .0.escape_debug())]
pub struct ParseDateError(String);

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// 1 January 1970 was a Thursday.
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const DAY: u64 = 86_400;
/// Days of 400 years, after which the calendar repeats.
const CYCLE: u64 = 146_097;

/// Years after 1970 that count; keeps the arithmetic far from overflow.
const YEARS: std::ops::Range<u64> = 1970..10_000;

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// Days from 1 January 1970 to 1 January of `year`.
fn days_before_year(year: u64) -> u64 {
    let leap_years = |year: u64| year / 4 - year / 100 + year / 400;
    (year - 1970) * 365 + leap_years(year - 1) - leap_years(1969)
}

fn days_of_month(year: u64, month: usize) -> u64 {
    match month {
        1 if is_leap(year) => 29,
        1 => 28,
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    }
}

impl FromStr for Date {
    type Err = ParseDateError;

    fn from_str(text: &str) -> Result<Self, ParseDateError> {
        parse(text).ok_or_else(|| ParseDateError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Date> {
    let (weekday, rest) = text.split_once(", ")?;
    let mut words = rest.split_ascii_whitespace();
    let mut word = || words.next();
    let day = number(word()?, 31)?;
    let name = word()?;
    let month = MONTHS.iter().position(|month| *month == name)?;
    let year = number(word()?, YEARS.end - 1)?;
    let mut clock = word()?.split(':');
    let mut part = |most| number(clock.next()?, most);
    let (hour, minute, second) = (part(23)?, part(59)?, part(59)?);
    let zone_is_utc = matches!(word()?, "UTC" | "GMT" | "+0000");
    let at_end = clock.next().is_none() && word().is_none();
    if !zone_is_utc || !at_end || !YEARS.contains(&year) {
        return None;
    }
    if day == 0 || day > days_of_month(year, month) {
        return None;
    }
    let months: u64 = (0..month).map(|month| days_of_month(year, month)).sum();
    let days = days_before_year(year) + months + day - 1;
    let date = Date(days * DAY + hour * 3600 + minute * 60 + second);
    (date.weekday() == weekday).then_some(date)
}

fn number(text: &str, most: u64) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number <= most)
}

impl Date {
    fn weekday(self) -> &'static str {
        WEEKDAYS[usize::try_from(self.0 / DAY % 7).expect("a remainder of 7 fits")]
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.0 / DAY, self.0 % DAY);
        let (cycles, mut days) = (days / CYCLE, days % CYCLE);
        // A first guess that is never too late, then at most two steps.
        let mut year = 1970 + days / 366;
        while days_before_year(year + 1) <= days {
            year += 1;
        }
        days -= days_before_year(year);
        let mut month = 0;
        while days >= days_of_month(year, month) {
            days -= days_of_month(year, month);
            month += 1;
        }
        year += 400 * cycles;
        write!(f, "{}, {:02} {} {year}", self.weekday(), days + 1, MONTHS[month])?;
        write!(f, " {:02}:{:02}:{:02} UTC", second / 3600, second / 60 % 60, second % 60)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_of_release_files_are_read() {
        // Seconds by date(1).
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 UTC", 0),
            ("Sat, 12 Sep 2026 07:55:41 UTC", 1_789_199_741),
            ("Thu, 29 Feb 2024 23:59:59 UTC", 1_709_251_199),
            ("Mon, 01 Mar 2100 00:00:00 UTC", 4_107_542_400),
        ] {
            assert_eq!(text.parse(), Ok(Date(seconds)), "{text}");
            assert_eq!(Date(seconds).to_string(), text);
        }
        assert!(Date(u64::MAX).to_string().ends_with(" UTC"));
        assert_eq!("Sat, 12 Sep 2026  7:55:41 +0000".parse(), Ok(Date(1_789_199_741)));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "Sat, 12 Sep 2026 07:55:41",
            "Sun, 12 Sep 2026 07:55:41 UTC",
            "Sat, 12 Sep 2026 07:55:41 +0200",
            "Mon, 29 Feb 2100 00:00:00 UTC",
            "Sat, 12 Sep 2026 24:55:41 UTC",
            "Sat, 12 Sep 2026 07:55:41:00 UTC",
            "Sat, 12 Sep 99999999999999999999 07:55:41 UTC",
            "2026-09-12T07:55:41Z",
        ] {
            assert!(text.parse::<Date>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn printed_dates_are_read_back(seconds in 0_u64..253_402_300_800) {
            prop_assert_eq!(Date(seconds).to_string().parse(), Ok(Date(seconds)));
        }
    }
}
