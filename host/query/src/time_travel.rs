//! `--as-of`: a point in time as people write it, a snapshot id, or the name of a branch or tag.

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use lakehost_pipeline::typed_span_ms;

use crate::error::Error;

/// Which state of the tables a query reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AsOf {
    /// The state that this snapshot made.
    Snapshot(i64),
    /// The state that was current at this time.
    ///
    /// # Units
    /// Milliseconds since 1970-01-01T00:00Z.
    TimeMs(i64),
    /// The state that a branch or tag names.
    Reference(String),
}

impl AsOf {
    /// Understands a snapshot id, `2024-01-31`, `2024-01-31 18:30[:00]` (UTC), RFC 3339, `1 hour ago`, counted back from `now_ms`, and the name
    /// of a branch or tag: a word that begins with a letter and is none of the former.
    ///
    /// # Errors
    /// `LH0101` with the forms that work.
    pub fn parse(text: &str, now_ms: i64) -> Result<Self, Error> {
        let trimmed = text.trim();
        let wrong = || Error::AsOf { text: text.escape_debug().to_string() };
        if !trimmed.is_empty() && trimmed.bytes().all(|b| b.is_ascii_digit()) {
            return trimmed.parse().map(Self::Snapshot).map_err(|_| wrong());
        }
        if trimmed.eq_ignore_ascii_case("now") {
            return Ok(Self::TimeMs(now_ms));
        }
        if let Some(span) = trimmed.strip_suffix("ago") {
            return typed_span_ms(span).and_then(|span| now_ms.checked_sub(span)).map(Self::TimeMs).ok_or_else(wrong);
        }
        // A date and a time without seconds is what people type, and the one form that the parser below lacks.
        let full = if is_minute(trimmed) { format!("{trimmed}:00") } else { trimmed.to_owned() };
        match string_to_timestamp_nanos(&full) {
            Ok(nanos) => Ok(Self::TimeMs(nanos.div_euclid(1_000_000))),
            Err(_) if is_reference(trimmed) => Ok(Self::Reference(trimmed.to_owned())),
            Err(_) => Err(wrong()),
        }
    }
}

/// What names of branches and tags are made of.
fn is_reference(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.len() <= 128
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte))
}

fn is_minute(text: &str) -> bool {
    text.len() == "2024-01-31 18:30".len() && text.bytes().filter(|b| *b == b':').count() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time() {
        let now = 1_706_738_400_000; // 2024-01-31T22:00:00Z
        let table = [
            ("8412345678901234567", Some(AsOf::Snapshot(8_412_345_678_901_234_567))),
            ("99999999999999999999", None),
            ("2024-01-31", Some(AsOf::TimeMs(1_706_659_200_000))),
            ("2024-01-31 18:30", Some(AsOf::TimeMs(1_706_725_800_000))),
            ("2024-01-31 18:30:05", Some(AsOf::TimeMs(1_706_725_805_000))),
            ("2024-01-31T18:30", Some(AsOf::TimeMs(1_706_725_800_000))),
            ("2024-01-31T18:30:00Z", Some(AsOf::TimeMs(1_706_725_800_000))),
            ("2024-01-31T18:30:00+01:00", Some(AsOf::TimeMs(1_706_722_200_000))),
            ("2024-01-31T18:30:00.250Z", Some(AsOf::TimeMs(1_706_725_800_250))),
            ("1 hour ago", Some(AsOf::TimeMs(now - 3_600_000))),
            ("2 days ago", Some(AsOf::TimeMs(now - 172_800_000))),
            (" 90 Minutes ago ", Some(AsOf::TimeMs(now - 5_400_000))),
            ("now", Some(AsOf::TimeMs(now))),
            ("-1 hour ago", None),
            ("1 fortnight ago", None),
            ("hour ago", None),
            ("main", Some(AsOf::Reference("main".to_owned()))),
            ("audit/0190-a.b_c", Some(AsOf::Reference("audit/0190-a.b_c".to_owned()))),
            ("a b", None),
            ("-main", None),
            ("v1;drop", None),
            ("2024-02-30", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(AsOf::parse(text, now).ok(), expected, "{text:?}");
        }
    }
}
