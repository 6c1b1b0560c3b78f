//! Points in time as people read them.

use chrono::DateTime;

/// Milliseconds since 1970-01-01T00:00Z as `2024-01-31 18:30:00`; a number of milliseconds that no calendar holds as it is.
pub fn utc(ms: u64) -> String {
    match i64::try_from(ms).ok().and_then(DateTime::from_timestamp_millis) {
        Some(time) => time.format("%Y-%m-%d %H:%M:%S").to_string(),
        None => ms.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        for (ms, expected) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_400_000, "2000-02-29 00:00:00"),
            (1_704_067_199_999, "2023-12-31 23:59:59"),
            (1_706_725_800_000, "2024-01-31 18:30:00"),
        ] {
            assert_eq!(utc(ms), expected);
        }
        assert_eq!(utc(u64::MAX), u64::MAX.to_string());
    }
}
