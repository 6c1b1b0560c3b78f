//! Lengths of time as people write them, in milliseconds.

/// `2 days`, `90 minutes`: a count and a unit from second to week, with or without its s. `None`: something else.
#[must_use]
pub fn span_ms(text: &str) -> Option<i64> {
    let mut words = text.split_whitespace();
    let (count, unit, None) = (words.next()?, words.next()?, words.next()) else { return None };
    let unit_ms: i64 = match unit.trim_end_matches('s') {
        "second" => 1_000,
        "minute" => 60_000,
        "hour" => 3_600_000,
        "day" => 86_400_000,
        "week" => 7 * 86_400_000,
        _ => return None,
    };
    count.parse::<u32>().ok().and_then(|count| unit_ms.checked_mul(i64::from(count)))
}

/// The same as it is typed on a command line: `1 Hour`, `90 min` and `30 sec` too.
#[must_use]
pub fn typed_span_ms(text: &str) -> Option<i64> {
    let typed = text.trim().to_ascii_lowercase();
    let (count, unit) = typed.split_once(char::is_whitespace)?;
    let unit = match unit.trim().trim_end_matches('s') {
        "sec" => "second",
        "min" => "minute",
        unit => unit,
    };
    span_ms(&format!("{count} {unit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read() {
        let table = [
            ("2 days", Some(172_800_000), Some(172_800_000)),
            (" 90\tminutes ", Some(5_400_000), Some(5_400_000)),
            ("1 week", Some(604_800_000), Some(604_800_000)),
            ("0 seconds", Some(0), Some(0)),
            ("1 Hour", None, Some(3_600_000)),
            ("90 min", None, Some(5_400_000)),
            ("30 secs", None, Some(30_000)),
            ("4294967296 days", None, None),
            ("-1 days", None, None),
            ("1 day more", None, None),
            ("5 fortnights", None, None),
            ("days", None, None),
            ("2days", None, None),
            ("", None, None),
        ];
        for (text, strict, typed) in table {
            assert_eq!((span_ms(text), typed_span_ms(text)), (strict, typed), "{text:?}");
        }
    }
}
