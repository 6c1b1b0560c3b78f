//! Dates, times and decimals as Trino writes them.

use lakehost_pipeline::window::days_from_civil;

/// `2024-01-31`, `-0044-03-15`, `+10000-01-01`: days since 1970-01-01.
pub fn days(text: &str) -> Option<i64> {
    let (sign, rest) = match text.as_bytes().first()? {
        b'-' => (-1, text.get(1..)?),
        b'+' => (1, text.get(1..)?),
        _ => (1, text),
    };
    let mut parts = rest.splitn(3, '-').map(number);
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    ((1..=12).contains(&month) && (1..=31).contains(&day)).then(|| days_from_civil(sign * year, month, day))
}

/// `18:30:00.123` in parts of a second, `digits` of them.
pub fn time_of_day(text: &str, digits: u32) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = whole.splitn(3, ':').map(number);
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    if hour > 23 || minute > 59 || second > 60 || fraction.len() > digits as usize {
        return None;
    }
    let missing = digits - u32::try_from(fraction.len()).ok()?;
    let fraction = if fraction.is_empty() { 0 } else { number(fraction)? * 10_i64.pow(missing) };
    Some((hour * 3_600 + minute * 60 + second) * 10_i64.pow(digits) + fraction)
}

/// `2024-01-31 18:30:00.123` in parts of a second since 1970.
pub fn timestamp(text: &str, digits: u32) -> Option<i64> {
    let (date, time) = text.split_once(' ')?;
    let of_date = days(date)?.checked_mul(86_400)?.checked_mul(10_i64.pow(digits))?;
    of_date.checked_add(time_of_day(time, digits)?)
}

/// `2024-01-31 18:30:00.123 UTC` or `… +01:00`. A zone by name would need its history.
pub fn instant(text: &str, digits: u32) -> Option<i64> {
    let (local, zone) = text.rsplit_once(' ')?;
    let offset_minutes = match zone {
        "UTC" | "Z" | "GMT" => 0,
        zone => {
            let sign = match zone.as_bytes().first()? {
                b'+' => 1,
                b'-' => -1,
                _ => return None,
            };
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            sign * (number(hours)? * 60 + number(minutes)?)
        }
    };
    timestamp(local, digits)?.checked_sub(offset_minutes * 60 * 10_i64.pow(digits))
}

/// `-12.50` at a scale of two: -1250.
pub fn decimal(text: &str, scale: i8) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() != usize::try_from(scale).ok()? {
        return None;
    }
    let digits = format!("{whole}{fraction}");
    let bare = digits.strip_prefix('-').unwrap_or(&digits);
    (bare.bytes().all(|b| b.is_ascii_digit()) && !bare.is_empty()).then(|| digits.parse().ok())?
}

fn number(digits: &str) -> Option<i64> {
    let plain = !digits.is_empty() && digits.len() <= 10 && digits.bytes().all(|b| b.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_are_numbers() {
        for (text, expected) in [
            ("1970-01-01", Some(0)),
            ("2024-01-31", Some(19_753)),
            ("1969-12-31", Some(-1)),
            ("+10000-01-01", Some(2_932_897)),
            ("-0001-01-01", Some(-719_893)),
            ("2024-13-01", None),
            ("2024-01", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(days(text), expected, "{text:?}");
        }
        assert_eq!(timestamp("1970-01-01 00:00:01.25", 6), Some(1_250_000));
        assert_eq!(timestamp("9999-12-31 23:59:59.999999", 6), Some(253_402_300_799_999_999));
        assert_eq!(timestamp("9999-12-31 23:59:59", 9), None, "beyond what 64 bits of nanoseconds hold");
        assert_eq!(time_of_day("18:30:05.123456789", 9), Some(66_605_123_456_789));
        assert_eq!(time_of_day("18:30:05.1234567", 6), None, "never rounded");
        assert_eq!(instant("1970-01-01 01:00:00.000 +01:00", 3), Some(0));
        assert_eq!(instant("1970-01-01 00:00:00 UTC", 6), Some(0));
        assert_eq!(instant("1969-12-31 19:00:00.5 -05:00", 6), Some(500_000));
        assert_eq!(instant("1970-01-01 01:00:00.000 Europe/Paris", 6), None);
    }

    #[test]
    fn decimals_keep_their_digits() {
        assert_eq!(decimal("-12.50", 2), Some(-1_250));
        assert_eq!(decimal("0.05", 2), Some(5));
        assert_eq!(decimal("-0.05", 2), Some(-5));
        assert_eq!(decimal("7", 0), Some(7));
        assert_eq!(decimal("1.5", 2), None);
        assert_eq!(decimal("1e5", 0), None);
        assert_eq!(decimal("", 0), None);
    }
}
