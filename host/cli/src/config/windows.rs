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
            Err(reason) => Err(Error::Window {
                message: format!("--{flag}: {reason}"),
                hint: Some(format!("write {} or {}", example(wanted.example()), example(&range_example(wanted)))),
            }),
        },
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
}
