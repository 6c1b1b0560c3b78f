//! `Range` headers: one range of bytes.

/// What a `Range` header asks of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Range {
    /// No range, or one that is not understood: the whole body.
    Whole,
    /// First and last byte, both included.
    Part { first: u64, last: u64 },
    /// Nothing of the body lies in it.
    Unsatisfiable,
}

/// Reads `bytes=5-9`, `bytes=5-` and `bytes=-5` for a body of this length. Several ranges are served as the whole.
pub(crate) fn parse(header: Option<&str>, length: u64) -> Range {
    let Some(spec) = header.and_then(|header| header.trim().strip_prefix("bytes=")) else { return Range::Whole };
    let Some((first, last)) = spec.trim().split_once('-') else { return Range::Whole };
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    match (first.is_empty(), last.is_empty()) {
        (true, false) => match number(last) {
            Some(0) => Range::Unsatisfiable,
            Some(_) if length == 0 => Range::Unsatisfiable,
            Some(count) => Range::Part { first: length.saturating_sub(count), last: length - 1 },
            None => Range::Whole,
        },
        (false, _) => {
            let end = if last.is_empty() { Some(u64::MAX) } else { number(last) };
            match (number(first), end) {
                (Some(first), Some(last)) if first > last => Range::Whole,
                (Some(first), Some(_)) if first >= length => Range::Unsatisfiable,
                (Some(first), Some(last)) => Range::Part { first, last: last.min(length - 1) },
                _ => Range::Whole,
            }
        }
        (true, true) => Range::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_understood() {
        let part = |first, last| Range::Part { first, last };
        for (header, length, wanted) in [
            (None, 10, Range::Whole),
            (Some("bytes=0-0"), 10, part(0, 0)),
            (Some("bytes=5-9"), 10, part(5, 9)),
            (Some("bytes=5-99"), 10, part(5, 9)),
            (Some("bytes=5-"), 10, part(5, 9)),
            (Some("bytes=-3"), 10, part(7, 9)),
            (Some("bytes=-30"), 10, part(0, 9)),
            (Some("bytes=10-"), 10, Range::Unsatisfiable),
            (Some("bytes=-0"), 10, Range::Unsatisfiable),
            (Some("bytes=0-0"), 0, Range::Unsatisfiable),
            (Some("bytes=-1"), 0, Range::Unsatisfiable),
            (Some("bytes=9-5"), 10, Range::Whole),
            (Some("bytes=1-2,4-5"), 10, Range::Whole),
            (Some("items=1-2"), 10, Range::Whole),
            (Some("bytes=-"), 10, Range::Whole),
            (Some("bytes=a-b"), 10, Range::Whole),
        ] {
            assert_eq!(parse(header, length), wanted, "{header:?} of {length}");
        }
    }
}
