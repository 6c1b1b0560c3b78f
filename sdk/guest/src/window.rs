//! Times without a clock: what a [`Window`] says, as numbers.
//!
//! A window's bounds are ISO 8601 date-times without offset, in the data set's own clock. They are compared with values in that same
//! clock and never shifted, so no time-zone database is needed here.

pub use crate::bindings::types::Window;
use crate::error::{PluginError, Result};

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// A date and a time of day on the wall, without a zone.
///
/// # Units
/// Microseconds.
///
/// # Example
/// ```
/// use lakehost_sdk::CivilTime;
///
/// let time = CivilTime::parse("2024-01-01T00:00:00").expect("an ISO 8601 date-time");
/// assert_eq!((time.year, time.month, time.day), (2024, 1, 1));
/// assert_eq!(time.micros(), 1_704_067_200_000_000);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CivilTime {
    /// The year, 0 to 9999.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// Microseconds since midnight.
    pub micros_of_day: i64,
}

impl CivilTime {
    /// Midnight of a day, or `None` when there is no such day.
    pub fn midnight(year: u16, month: u8, day: u8) -> Option<Self> {
        let fits = year <= 9999 && (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day);
        fits.then_some(Self { year, month, day, micros_of_day: 0 })
    }

    /// Reads `2024-01-31`, `2024-01-31T05`, `2024-01-31T05:06`, `2024-01-31T05:06:07` and `2024-01-31T05:06:07.123456`. A space may
    /// stand for the `T`. Anything else, an offset above all, is `None`.
    pub fn parse(text: &str) -> Option<Self> {
        let (date, time) = match text.split_once(['T', ' ']) {
            Some((date, time)) => (date, Some(time)),
            None => (text, None),
        };
        let mut parts = date.split('-');
        let year = digits(parts.next()?, 4)?;
        let month = digits(parts.next()?, 2)?;
        let day = digits(parts.next()?, 2)?;
        if parts.next().is_some() {
            return None;
        }
        let midnight = Self::midnight(u16::try_from(year).ok()?, u8::try_from(month).ok()?, u8::try_from(day).ok()?)?;
        Some(Self { micros_of_day: time.map_or(Some(0), micros_of_day)?, ..midnight })
    }

    /// Microseconds since 1970-01-01T00:00:00 on the same wall: what a timestamp column without a zone holds.
    pub fn micros(&self) -> i64 {
        days_since_epoch(i64::from(self.year), i64::from(self.month), i64::from(self.day)) * MICROS_PER_DAY
            + self.micros_of_day
    }
}

impl Window {
    /// A window by its bounds, `start <= t < end`, and the name that a user gave it.
    pub fn new(start: impl Into<String>, end: impl Into<String>, label: impl Into<String>) -> Self {
        Self { start: start.into(), end: end.into(), label: label.into() }
    }

    /// One calendar month, labelled like `2024-01`. Mostly for tests; the host makes windows. `None` when there is no such month.
    ///
    /// # Example
    /// ```
    /// use lakehost_sdk::Window;
    ///
    /// let window = Window::month(2024, 12).expect("a month");
    /// assert_eq!((window.start.as_str(), window.end.as_str()), ("2024-12-01T00:00:00", "2025-01-01T00:00:00"));
    /// ```
    pub fn month(year: u16, month: u8) -> Option<Self> {
        CivilTime::midnight(year, month, 1)?;
        let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        let start = format!("{year:04}-{month:02}-01T00:00:00");
        let end = format!("{next_year:04}-{next_month:02}-01T00:00:00");
        Some(Self::new(start, end, format!("{year:04}-{month:02}")))
    }

    /// The first instant.
    ///
    /// # Errors
    /// `config`, when the host gave something that is no date-time.
    pub fn start_time(&self) -> Result<CivilTime> {
        parse_bound("start", &self.start)
    }

    /// The first instant after the window.
    ///
    /// # Errors
    /// `config`, when the host gave something that is no date-time.
    pub fn end_time(&self) -> Result<CivilTime> {
        parse_bound("end", &self.end)
    }
}

fn parse_bound(which: &str, text: &str) -> Result<CivilTime> {
    CivilTime::parse(text).ok_or_else(|| {
        PluginError::config(format!("window {which} `{text}` is no ISO 8601 date-time without offset"))
            .with(which, text)
    })
}

/// A number of exactly `count` digits.
fn digits(text: &str, count: usize) -> Option<i64> {
    let sound = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    if sound { text.parse().ok() } else { None }
}

fn micros_of_day(text: &str) -> Option<i64> {
    let (clock, fraction) = match text.split_once('.') {
        Some((clock, fraction)) => (clock, Some(fraction)),
        None => (text, None),
    };
    let mut parts = clock.split(':');
    let hour = digits(parts.next()?, 2).filter(|hour| *hour < 24)?;
    let minute = parts.next().map_or(Some(0), |part| digits(part, 2)).filter(|minute| *minute < 60)?;
    let second = parts.next();
    let seconds = second.map_or(Some(0), |part| digits(part, 2)).filter(|second| *second < 60)?;
    if parts.next().is_some() || (fraction.is_some() && second.is_none()) {
        return None;
    }
    let micros = match fraction {
        None => 0,
        Some(fraction) if (1..=6).contains(&fraction.len()) => {
            let scale = 10_i64.pow(6 - u32::try_from(fraction.len()).ok()?);
            digits(fraction, fraction.len())? * scale
        }
        Some(_) => return None,
    };
    Some((hour * 3_600 + minute * 60 + seconds) * MICROS_PER_SECOND + micros)
}

fn days_in_month(year: u16, month: u8) -> u8 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar: years start in March, so that the leap day is their last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_iso_8601_allows_here_and_nothing_else() {
        let second = MICROS_PER_SECOND;
        for (text, expected) in [
            ("1970-01-01", Some(0)),
            ("1970-01-01T00:00:01", Some(second)),
            ("1970-01-01 00:01", Some(60 * second)),
            ("1970-01-02T01", Some(25 * 3_600 * second)),
            ("1970-01-01T00:00:00.5", Some(500_000)),
            ("1970-01-01T00:00:00.000001", Some(1)),
            ("1969-12-31T23:59:59", Some(-second)),
            ("2000-02-29", Some(951_782_400 * second)),
            ("2024-03-01", Some(1_709_251_200 * second)),
            ("2023-02-29", None),
            ("1900-02-29", None),
            ("2024-13-01", None),
            ("2024-1-1", None),
            ("2024-01", None),
            ("2024-01-01T24:00:00", None),
            ("2024-01-01T00:00:60", None),
            ("2024-01-01T00:00:00Z", None),
            ("2024-01-01T00:00:00+01:00", None),
            ("2024-01-01T00:00.5", None),
            ("2024-01-01T00:00:00.1234567", None),
            ("+024-01-01", None),
            ("", None),
        ] {
            assert_eq!(CivilTime::parse(text).map(|time| time.micros()), expected, "{text}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let mut expected = CivilTime::midnight(1899, 12, 31).map(|day| day.micros());
        for year in 1900..2300 {
            for month in 1..=12 {
                for day in 1..=days_in_month(year, month) {
                    let micros = CivilTime::midnight(year, month, day).map(|day| day.micros());
                    assert_eq!(micros, expected.map(|before| before + MICROS_PER_DAY), "{year}-{month}-{day}");
                    expected = micros;
                }
            }
        }
    }

    #[test]
    fn a_bound_that_is_no_time_names_itself() {
        let error = Window::new("January", "2024-02-01", "x").start_time().expect_err("no date");
        assert_eq!(error.message, "window start `January` is no ISO 8601 date-time without offset");
    }
}
