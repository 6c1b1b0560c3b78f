//! A calendar month in microseconds of New York wall time, which is what the files hold.

use std::fmt;

use anyhow::{Context as _, Result, ensure};

pub const SECOND: i64 = 1_000_000;
pub const HOUR: i64 = 3_600 * SECOND;
pub const DAY: i64 = 24 * HOUR;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Month {
    year: i64,
    month: i64,
}

impl Month {
    /// Parses `2024-01`.
    pub fn parse(text: &str) -> Result<Self> {
        let (year, month) = text.split_once('-').with_context(|| format!("`{text}` is not a month such as 2024-01"))?;
        let (year, month) = (year.parse::<i64>()?, month.parse::<i64>()?);
        ensure!((1970..3000).contains(&year) && (1..=12).contains(&month), "`{text}` is not a month such as 2024-01");
        Ok(Self { year, month })
    }

    /// First microsecond since 1970-01-01.
    pub fn start(self) -> i64 {
        days_before(self.year, self.month) * DAY
    }

    /// First microsecond of the next month.
    pub fn end(self) -> i64 {
        let (year, month) = if self.month == 12 { (self.year + 1, 1) } else { (self.year, self.month + 1) };
        days_before(year, month) * DAY
    }

    /// A number of its own, to seed with.
    pub fn ordinal(self) -> u64 {
        (self.year * 12 + self.month) as u64
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

/// Days from 1970-01-01 to the first of a month (Howard Hinnant's `days_from_civil`, years from 1970 on).
fn days_before(year: i64, month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year / 400;
    let year_of_era = year - era * 400;
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_begin_and_end_where_the_calendar_says() {
        for (text, first_day, days) in
            [("1970-01", 0, 31), ("2024-02", 19_754, 29), ("2023-02", 19_389, 28), ("2024-12", 20_058, 31)]
        {
            let month = Month::parse(text).expect("a month");
            assert_eq!((month.start() / DAY, (month.end() - month.start()) / DAY), (first_day, days), "{text}");
            assert_eq!(month.to_string(), text);
        }
        for wrong in ["2024", "2024-13", "2024-00", "24-x"] {
            assert!(Month::parse(wrong).is_err(), "{wrong}");
        }
    }
}
