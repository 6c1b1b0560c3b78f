//! From a window to the file that holds it: `2024-01` → `yellow_tripdata_2024-01.parquet`.

use std::fmt;

use lakehost_sdk::{CivilTime, PluginError, Result, Window};

use crate::schema::TripKind;

/// A calendar month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Month {
    year: u16,
    month: u8,
}

impl Month {
    /// The month that a window is.
    ///
    /// # Errors
    /// `config`, when the window is anything but one whole calendar month.
    pub fn of_window(window: &Window) -> Result<Self> {
        let start = window.start_time()?;
        let month = Self { year: start.year, month: start.month };
        if Some(start) == month.first_instant() && Some(window.end_time()?) == month.next().first_instant() {
            return Ok(month);
        }
        let bounds = format!("{} to {}", window.start, window.end);
        Err(PluginError::config(format!("window {} is not one calendar month: {bounds}", window.label))
            .with("window", &window.label))
    }

    /// Reads `2024-01`.
    pub fn parse(text: &str) -> Option<Self> {
        let time = CivilTime::parse(&format!("{text}-01"))?;
        Some(Self { year: time.year, month: time.month })
    }

    /// The name that the TLC gives the file of this month.
    ///
    /// # Example
    /// ```
    /// use nyc_tlc::{Month, TripKind};
    ///
    /// let month = Month::parse("2024-01").expect("a month");
    /// assert_eq!(month.file_name(TripKind::Green), "green_tripdata_2024-01.parquet");
    /// ```
    pub fn file_name(&self, kind: TripKind) -> String {
        format!("{}_tripdata_{self}.parquet", kind.name())
    }

    fn first_instant(&self) -> Option<CivilTime> {
        CivilTime::midnight(self.year, self.month, 1)
    }

    fn next(&self) -> Self {
        if self.month == 12 {
            Self { year: self.year + 1, month: 1 }
        } else {
            Self { year: self.year, month: self.month + 1 }
        }
    }
}

impl fmt::Display for Month {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:04}-{:02}", self.year, self.month)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_a_month_or_refused() {
        for (start, end, expected) in [
            ("2024-01-01T00:00:00", "2024-02-01T00:00:00", Some("2024-01")),
            ("2023-12-01", "2024-01-01", Some("2023-12")),
            ("2024-02-01T00:00:00", "2024-03-01T00:00:00", Some("2024-02")),
            ("2024-01-01T00:00:00", "2024-03-01T00:00:00", None),
            ("2024-01-02T00:00:00", "2024-02-01T00:00:00", None),
            ("2024-01-01T01:00:00", "2024-02-01T00:00:00", None),
            ("2024-01-01T00:00:00", "2024-01-31T00:00:00", None),
            ("2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z", None),
        ] {
            let month = Month::of_window(&Window::new(start, end, "w")).ok();
            assert_eq!(month.map(|month| month.to_string()).as_deref(), expected, "{start} {end}");
        }
    }

    #[test]
    fn the_refusal_names_the_window() {
        let error = Month::of_window(&Window::new("2024-01-01", "2024-01-02", "2024-01-01")).expect_err("a day");
        assert_eq!(error.message, "window 2024-01-01 is not one calendar month: 2024-01-01 to 2024-01-02");
    }

    #[test]
    fn the_last_month_of_the_calendar_is_no_overflow() {
        let window = Window::new("9999-12-01", "9999-12-31", "x");
        assert!(Month::of_window(&window).is_err());
    }
}
