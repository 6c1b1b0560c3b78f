//! A calendar month in microseconds of New York wall time, which is what the files hold.

use std::fmt;

use anyhow::{Context as _, Result};
use chrono::{Datelike as _, Months, NaiveDate};

pub const SECOND: i64 = 1_000_000;
pub const HOUR: i64 = 3_600 * SECOND;
pub const DAY: i64 = 24 * HOUR;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Month {
    first: NaiveDate,
}

impl Month {
    /// Parses `2024-01`.
    pub fn parse(text: &str) -> Result<Self> {
        let (year, month) = text.split_once('-').with_context(|| format!("`{text}` is not a month such as 2024-01"))?;
        let (year, month) = (year.parse::<i32>()?, month.parse::<u32>()?);
        let first = NaiveDate::from_ymd_opt(year, month, 1).filter(|_| (1970..3000).contains(&year));
        Ok(Self { first: first.with_context(|| format!("`{text}` is not a month such as 2024-01"))? })
    }

    /// First microsecond since 1970-01-01.
    pub fn start(self) -> i64 {
        micros(self.first)
    }

    /// First microsecond of the next month.
    pub fn end(self) -> i64 {
        micros(self.first + Months::new(1))
    }

    /// A number of its own, to seed with.
    pub fn ordinal(self) -> u64 {
        u64::from(self.first.year().unsigned_abs() * 12 + self.first.month())
    }
}

/// Microseconds since 1970-01-01.
fn micros(day: NaiveDate) -> i64 {
    (day - NaiveDate::default()).num_days() * DAY
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first.format("%Y-%m").fmt(f)
    }
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
