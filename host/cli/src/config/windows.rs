//! `--month`, `--day`, `--hour`, `--year`: they must be the plugin's own width.

use lakehost_pipeline::{Granularity, Window};

use crate::args::RunArguments;
use crate::error::Error;

/// The window flag that was typed: its width and its text.
pub fn typed(arguments: &RunArguments) -> Option<(Granularity, &str)> {
    [
        (Granularity::Month, &arguments.month),
        (Granularity::Day, &arguments.day),
        (Granularity::Hour, &arguments.hour),
        (Granularity::Year, &arguments.year),
    ]
    .into_iter()
    .find_map(|(granularity, text)| Some((granularity, text.as_deref()?)))
}

/// The windows of a run, oldest first; one `None` for a source without windows.
///
/// # Errors
/// `LH0105` with the flag that fits the plugin.
pub fn resolve(
    plugin: &str,
    wanted: Granularity,
    typed: Option<(Granularity, &str)>,
) -> Result<Vec<Option<Window>>, Error> {
    let example = |text: &str| format!("--{} {text}", wanted.word());
    match (wanted, typed) {
        (Granularity::None, None) => Ok(vec![None]),
        (Granularity::None, Some((flag, _))) => Err(Error::Window {
            message: format!("{plugin} has no windows, and --{flag} names one"),
            hint: Some(format!("leave --{flag} away")),
        }),
        (_, None) => Err(Error::Window {
            message: format!("{plugin} is read by the {wanted}, and no {wanted} is named"),
            hint: Some(format!("add {}, or a range: {}", example(wanted.example()), example(&range_example(wanted)))),
        }),
        (_, Some((flag, text))) if flag != wanted => Err(Error::Window {
            message: format!("{plugin} is read by the {wanted}, not by the {flag}"),
            hint: Some(format!(
                "instead of --{flag} {} write {}",
                text.escape_debug(),
                example(&translated(wanted, text))
            )),
        }),
        (_, Some((flag, text))) => match Window::parse_range(wanted, text) {
            Ok(windows) => Ok(windows.into_iter().map(Some).collect()),
            Err(reason) => Err(wrong_range(wanted, text).unwrap_or_else(|| Error::Window {
                message: format!("--{flag}: {reason}"),
                hint: Some(format!("write {} or {}", example(wanted.example()), example(&range_example(wanted)))),
            })),
        },
    }
}

/// A range of sound windows that is open or runs backwards, with the one that was probably meant.
fn wrong_range(wanted: Granularity, text: &str) -> Option<Error> {
    let sound = |part: &str| Window::parse(wanted, part).is_ok();
    let (message, meant) = match text.split_once("..")? {
        ("", "") => ("names no window".to_owned(), range_example(wanted)),
        (first, "") if sound(first) => {
            (format!("has no last {wanted}"), format!("{first}..{}", end_of_year(wanted, first)))
        }
        ("", last) if sound(last) => {
            (format!("has no first {wanted}"), format!("{}..{last}", start_of_year(wanted, last)))
        }
        (first, last) if sound(first) && sound(last) && last < first => {
            ("ends before it begins".to_owned(), format!("{last}..{first}"))
        }
        _ => return None,
    };
    Some(Error::Window {
        message: format!("--{wanted}: the range {text} {message}"),
        hint: Some(format!("write both ends, the earlier first: --{wanted} {meant}")),
    })
}

/// The last window of a window's year, as something to write behind `..`.
fn end_of_year(wanted: Granularity, label: &str) -> String {
    let year = label.get(..4).unwrap_or_default();
    match wanted {
        Granularity::None | Granularity::Year => {
            year.parse().map_or_else(|_| year.to_owned(), |year: u32| (year + 1).to_string())
        }
        Granularity::Month => format!("{year}-12"),
        Granularity::Day => format!("{year}-12-31"),
        Granularity::Hour => format!("{}T23", label.get(..10).unwrap_or_default()),
    }
}

/// The first window of a window's year, as something to write before `..`.
fn start_of_year(wanted: Granularity, label: &str) -> String {
    let year = label.get(..4).unwrap_or_default();
    match wanted {
        Granularity::None | Granularity::Year => {
            year.parse().map_or_else(|_| year.to_owned(), |year: u32| year.saturating_sub(1).to_string())
        }
        Granularity::Month => format!("{year}-01"),
        Granularity::Day => format!("{year}-01-01"),
        Granularity::Hour => format!("{}T00", label.get(..10).unwrap_or_default()),
    }
}

fn range_example(granularity: Granularity) -> String {
    match granularity {
        Granularity::None => String::new(),
        Granularity::Hour => "2024-01-31T00..2024-01-31T23".to_owned(),
        Granularity::Day => "2024-01-01..2024-01-31".to_owned(),
        Granularity::Month => "2024-01..2024-06".to_owned(),
        Granularity::Year => "2020..2024".to_owned(),
    }
}

/// What was typed in the width that fits: `2024-01-31` as month is `2024-01`.
fn translated(wanted: Granularity, text: &str) -> String {
    let example = wanted.example();
    let end =
        |part: &str| part.get(..example.len()).filter(|cut| Window::parse(wanted, cut).is_ok()).map(str::to_owned);
    let parts: Option<Vec<String>> = text.split("..").map(end).collect();
    match parts.as_deref() {
        Some([first, last]) if first == last => first.clone(),
        Some(parts @ ([_] | [_, _])) => parts.join(".."),
        _ => example.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use lakehost_pipeline::Diagnostic;

    use super::*;

    fn check(wanted: Granularity, typed: Option<(Granularity, &str)>, expected: &str) {
        let got = match resolve("nyc_tlc", wanted, typed) {
            Ok(windows) => {
                let labels: Vec<&str> =
                    windows.iter().map(|window| window.as_ref().map_or("-", Window::label)).collect();
                labels.join(" ")
            }
            Err(error) => format!("{}: {error}; {}", error.code(), error.hint().unwrap_or_default()),
        };
        assert_eq!(got, expected, "{wanted} {typed:?}");
    }

    #[test]
    fn flags_must_fit_the_plugin() {
        use Granularity::{Day, Month, None as Whole, Year};
        check(Month, Some((Month, "2024-01")), "2024-01");
        check(Month, Some((Month, "2023-12..2024-02")), "2023-12 2024-01 2024-02");
        check(Whole, None, "-");
        check(
            Whole,
            Some((Month, "2024-01")),
            "LH0105: nyc_tlc has no windows, and --month names one; leave --month away",
        );
        check(
            Month,
            None,
            "LH0105: nyc_tlc is read by the month, and no month is named; add --month 2024-01, or a range: --month 2024-01..2024-06",
        );
        check(
            Month,
            Some((Day, "2024-03-05..2024-03-09")),
            "LH0105: nyc_tlc is read by the month, not by the day; instead of --day 2024-03-05..2024-03-09 write --month 2024-03",
        );
        check(
            Month,
            Some((Year, "2024")),
            "LH0105: nyc_tlc is read by the month, not by the year; instead of --year 2024 write --month 2024-01",
        );
        check(
            Month,
            Some((Month, "2024-13")),
            "LH0105: --month: `2024-13` is not a month: write it as 2024-01; write --month 2024-01 or --month 2024-01..2024-06",
        );
    }

    #[test]
    fn ranges_need_both_ends_in_order() {
        use Granularity::{Day, Hour, Month, Year};
        for (wanted, text, message, meant) in [
            (Month, "2024-01..", "has no last month", "2024-01..2024-12"),
            (Month, "..2024-02", "has no first month", "2024-01..2024-02"),
            (Month, "2024-06..2024-01", "ends before it begins", "2024-01..2024-06"),
            (Month, "..", "names no window", "2024-01..2024-06"),
            (Day, "2024-02-03..", "has no last day", "2024-02-03..2024-12-31"),
            (Hour, "2024-02-03T05..", "has no last hour", "2024-02-03T05..2024-02-03T23"),
            (Year, "..2024", "has no first year", "2023..2024"),
        ] {
            let expected = format!(
                "LH0105: --{wanted}: the range {text} {message}; write both ends, the earlier first: --{wanted} {meant}"
            );
            check(wanted, Some((wanted, text)), &expected);
            assert!(Window::parse_range(wanted, meant).is_ok(), "{meant} works as printed");
        }
    }
}
