// SPDX-License-Identifier: Apache-2.0
//! Dates for formats that store year, month and day.

/// Year, month (1 to 12) and day (1 to 31) of a number of days since 1970, Gregorian.
pub(super) fn civil(days: u32) -> (u32, u32, u32) {
    let mut rest = days;
    let mut year = 1970;
    while rest >= year_len(year) {
        rest -= year_len(year);
        year += 1;
    }
    let february = year_len(year) - 337;
    let mut month = 1;
    for len in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if rest < len {
            break;
        }
        rest -= len;
        month += 1;
    }
    (year, month, rest + 1)
}

fn year_len(year: u32) -> u32 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    if is_leap { 366 } else { 365 }
}

#[cfg(test)]
mod tests {
    use super::civil;

    #[test]
    fn days_become_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(11_017), (2000, 3, 1));
        assert_eq!(civil(19_782), (2024, 2, 29));
        assert_eq!(civil(20_087), (2024, 12, 30));
        assert_eq!(civil(20_089), (2025, 1, 1));
        assert_eq!(civil(u32::MAX / 86_400), (2106, 2, 7));
    }
}
