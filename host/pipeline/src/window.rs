//! Windows of upstream time: half-open intervals named by users as `2024-01`, in the data set's own clock.

use std::fmt;

/// How wide the windows of a data set are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Granularity {
    /// No windows: read whole or by cursor.
    None,
    Hour,
    Day,
    Month,
    Year,
}

impl Granularity {
    /// The word of the contract, of the table property and of the flag: `month`.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
            Self::Year => "year",
        }
    }
    /// An example label, for messages.
    pub fn example(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Hour => "2024-01-31T13",
            Self::Day => "2024-01-31",
            Self::Month => "2024-01",
            Self::Year => "2024",
        }
    }
}

impl fmt::Display for Granularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One half-open interval `start <= t < end`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Window {
    /// Hours since 1970-01-01T00 in the data set's own clock.
    start_hours: i64,
    end_hours: i64,
    label: String,
}

/// Years that a window may name: what Iceberg dates and TLC-like sources share.
const YEARS: std::ops::RangeInclusive<i64> = 1900..=2999;
/// More windows than this in one range is a typing error.
const RANGE_LIMIT: usize = 24 * 366;

impl Window {
    /// Parses the label of one window: `2024`, `2024-01`, `2024-01-31` or `2024-01-31T13`.
    pub fn parse(granularity: Granularity, label: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{}` is not a {granularity}: write it as {}", label.escape_debug(), granularity.example());
        let parts: Vec<&str> = label.split(['-', 'T']).collect();
        let number = |index: usize, width: usize| -> Result<i64, String> {
            let text = parts.get(index).copied().unwrap_or("");
            if text.len() != width || !text.bytes().all(|b| b.is_ascii_digit()) {
                return Err(wrong());
            }
            text.parse().map_err(|_| wrong())
        };
        let wanted_parts = match granularity {
            Granularity::None => return Err("this source has no windows: leave the window flag away".to_owned()),
            Granularity::Year => 1,
            Granularity::Month => 2,
            Granularity::Day => 3,
            Granularity::Hour => 4,
        };
        if parts.len() != wanted_parts {
            return Err(wrong());
        }
        let year = number(0, 4)?;
        let month = if wanted_parts > 1 { number(1, 2)? } else { 1 };
        let day = if wanted_parts > 2 { number(2, 2)? } else { 1 };
        let hour = if wanted_parts > 3 { number(3, 2)? } else { 0 };
        let window = Self::at(granularity, year, month, day, hour);
        if !YEARS.contains(&year)
            || !(1..=12).contains(&month)
            || !(1..=days_in_month(year, month)).contains(&day)
            || hour > 23
            || window.label != label
        {
            return Err(wrong());
        }
        Ok(window)
    }

    /// Parses `2024-01` or the inclusive range `2024-01..2024-06`, oldest first.
    pub fn parse_range(granularity: Granularity, text: &str) -> Result<Vec<Self>, String> {
        let Some((first, last)) = text.split_once("..") else {
            return Ok(vec![Self::parse(granularity, text)?]);
        };
        let (first, last) = (Self::parse(granularity, first)?, Self::parse(granularity, last)?);
        if last.start_hours < first.start_hours {
            return Err(format!("the range {} ends before it begins", text.escape_debug()));
        }
        let mut windows = vec![first];
        while let Some(previous) = windows.last().filter(|window| window.start_hours < last.start_hours) {
            let next = previous.next(granularity);
            windows.push(next);
            if windows.len() > RANGE_LIMIT {
                return Err(format!("the range {} has more than {RANGE_LIMIT} windows", text.escape_debug()));
            }
        }
        Ok(windows)
    }

    fn next(&self, granularity: Granularity) -> Self {
        let (year, month, day) = civil_from_days(self.end_hours.div_euclid(24));
        Self::at(granularity, year, month, day, self.end_hours.rem_euclid(24))
    }

    fn at(granularity: Granularity, year: i64, month: i64, day: i64, hour: i64) -> Self {
        let start_hours = days_from_civil(year, month, day) * 24 + hour;
        let (end_hours, label) = match granularity {
            Granularity::None | Granularity::Year => (days_from_civil(year + 1, 1, 1) * 24, format!("{year:04}")),
            Granularity::Month => {
                (days_from_civil(year + month / 12, month % 12 + 1, 1) * 24, format!("{year:04}-{month:02}"))
            }
            Granularity::Day => (start_hours + 24, format!("{year:04}-{month:02}-{day:02}")),
            Granularity::Hour => (start_hours + 1, format!("{year:04}-{month:02}-{day:02}T{hour:02}")),
        };
        Self { start_hours, end_hours, label }
    }

    /// The name that a user gave it: `2024-01`.
    pub fn label(&self) -> &str {
        &self.label
    }
    /// The key of its table property: the label.
    pub fn key(&self) -> &str {
        &self.label
    }
    /// Start as ISO 8601 date-time without offset.
    pub fn start(&self) -> String {
        iso(self.start_hours)
    }
    /// End (exclusive) as ISO 8601 date-time without offset.
    pub fn end(&self) -> String {
        iso(self.end_hours)
    }
    /// Start in days since 1970-01-01: the value of `_lakehost_window` for days, months and years.
    pub fn start_days(&self) -> i32 {
        i32::try_from(self.start_hours.div_euclid(24)).unwrap_or(i32::MAX)
    }
    /// Start in microseconds since 1970-01-01T00:00: the value of `_lakehost_window` for hours.
    pub fn start_micros(&self) -> i64 {
        self.start_hours * 3_600_000_000
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

fn iso(hours: i64) -> String {
    let (year, month, day) = civil_from_days(hours.div_euclid(24));
    format!("{year:04}-{month:02}-{day:02}T{:02}:00:00", hours.rem_euclid(24))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    if !(1..=12).contains(&month) {
        return 0;
    }
    days_from_civil(year + month / 12, month % 12 + 1, 1) - days_from_civil(year, month, 1)
}

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar.
pub fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a day since 1970-01-01.
pub(crate) fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days - era * 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(granularity: Granularity, text: &str, expected: &str) {
        let got = match Window::parse_range(granularity, text) {
            Ok(windows) => {
                let (first, last) = (&windows[0], &windows[windows.len() - 1]);
                format!("{} {}..{} {}", windows.len(), first.start(), last.end(), first.start_days())
            }
            Err(reason) => format!("error: {reason}"),
        };
        assert_eq!(got, expected, "{granularity} {text}");
    }

    #[test]
    fn windows_parse_and_range() {
        use Granularity::*;
        check(Month, "2024-01", "1 2024-01-01T00:00:00..2024-02-01T00:00:00 19723");
        check(Month, "2023-11..2024-02", "4 2023-11-01T00:00:00..2024-03-01T00:00:00 19662");
        check(Day, "2024-02-28..2024-03-01", "3 2024-02-28T00:00:00..2024-03-02T00:00:00 19781");
        check(Hour, "2023-12-31T23..2024-01-01T00", "2 2023-12-31T23:00:00..2024-01-01T01:00:00 19722");
        check(Year, "1999..2001", "3 1999-01-01T00:00:00..2002-01-01T00:00:00 10592");
        check(Month, "2024-13", "error: `2024-13` is not a month: write it as 2024-01");
        check(Month, "2024-1", "error: `2024-1` is not a month: write it as 2024-01");
        check(Month, "2024T01", "error: `2024T01` is not a month: write it as 2024-01");
        check(Day, "2023-02-29", "error: `2023-02-29` is not a day: write it as 2024-01-31");
        check(Month, "2024-06..2024-01", "error: the range 2024-06..2024-01 ends before it begins");
        check(Month, "0001-01", "error: `0001-01` is not a month: write it as 2024-01");
        check(None, "2024-01", "error: this source has no windows: leave the window flag away");
    }

    #[test]
    fn civil_days_round_trip() {
        for days in (-800_000..800_000).step_by(97) {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), days);
        }
    }
}
