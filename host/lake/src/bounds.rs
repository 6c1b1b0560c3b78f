//! Lower and upper bounds of a column, from Parquet chunk statistics to Iceberg values.
//!
//! A bound may be wider than the data but never narrower: readers skip files by it. So a chunk whose statistics are missing or cannot be
//! trusted leaves its column without bounds, text is cut to 16 characters the way Iceberg does it, and coarser or finer time units round
//! outwards.

use iceberg::spec::{Datum, PrimitiveType};
use parquet::basic::{ConvertedType, LogicalType, TimeUnit};
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnDescriptor;

/// Characters of text, or bytes of binary, that a bound keeps: Iceberg's default `truncate(16)`.
const TRUNCATE: usize = 16;

/// Which end of the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Lower,
    Upper,
}

/// The bounds of one column while its chunks are read.
#[derive(Clone, Debug, Default)]
pub struct Range {
    lower: Option<Datum>,
    upper: Option<Datum>,
    /// Some chunk says nothing.
    lower_unknown: bool,
    upper_unknown: bool,
}

impl Range {
    /// Takes in a chunk that has values other than null.
    pub fn add(&mut self, kind: &PrimitiveType, column: &ColumnDescriptor, statistics: Option<&Statistics>) {
        let bound = |end| statistics.filter(|found| trusted(found)).and_then(|found| datum(kind, column, found, end));
        match bound(End::Lower) {
            Some(value) => {
                if self.lower.as_ref().is_none_or(|lower| value < *lower) {
                    self.lower = Some(value);
                }
            }
            None => self.lower_unknown = true,
        }
        match bound(End::Upper) {
            Some(value) => {
                if self.upper.as_ref().is_none_or(|upper| value > *upper) {
                    self.upper = Some(value);
                }
            }
            None => self.upper_unknown = true,
        }
    }

    /// The lower bound, when it is known for every chunk.
    pub fn lower(&self) -> Option<&Datum> {
        self.lower.as_ref().filter(|_| !self.lower_unknown)
    }

    /// The upper bound, when it is known for every chunk.
    pub fn upper(&self) -> Option<&Datum> {
        self.upper.as_ref().filter(|_| !self.upper_unknown)
    }
}

/// The old `min`/`max` fields compare bytes as signed; only for numbers is that the right order.
fn trusted(statistics: &Statistics) -> bool {
    !statistics.is_min_max_deprecated()
        || matches!(
            statistics,
            Statistics::Int32(_) | Statistics::Int64(_) | Statistics::Float(_) | Statistics::Double(_)
        )
}

/// One end of a chunk's statistics as a value of the table's type; `None`: it does not say, or not in a way that can be used.
fn datum(kind: &PrimitiveType, column: &ColumnDescriptor, statistics: &Statistics, end: End) -> Option<Datum> {
    macro_rules! value {
        ($typed:expr) => {
            match end {
                End::Lower => $typed.min_opt()?,
                End::Upper => $typed.max_opt()?,
            }
        };
    }
    let bytes = || match end {
        End::Lower => statistics.min_bytes_opt(),
        End::Upper => statistics.max_bytes_opt(),
    };
    let unsigned = is_unsigned(column);
    Some(match (kind, statistics) {
        (PrimitiveType::Boolean, Statistics::Boolean(typed)) => Datum::bool(*value!(typed)),
        (PrimitiveType::Int, Statistics::Int32(typed)) if !unsigned => Datum::int(*value!(typed)),
        (PrimitiveType::Int, Statistics::Int32(typed)) => Datum::int(i32::try_from(*value!(typed) as u32).ok()?),
        (PrimitiveType::Date, Statistics::Int32(typed)) => Datum::date(*value!(typed)),
        (PrimitiveType::Long, Statistics::Int32(typed)) if !unsigned => Datum::long(*value!(typed)),
        (PrimitiveType::Long, Statistics::Int32(typed)) => Datum::long(i64::from(*value!(typed) as u32)),
        (PrimitiveType::Long, Statistics::Int64(typed)) if !unsigned => Datum::long(*value!(typed)),
        (PrimitiveType::Timestamp, Statistics::Int64(typed)) => {
            Datum::timestamp_micros(micros(*value!(typed), column, end)?)
        }
        (PrimitiveType::Timestamptz, Statistics::Int64(typed)) => {
            Datum::timestamptz_micros(micros(*value!(typed), column, end)?)
        }
        (PrimitiveType::Time, Statistics::Int64(typed)) => {
            Datum::time_micros(micros(*value!(typed), column, end)?).ok()?
        }
        (PrimitiveType::Time, Statistics::Int32(typed)) => {
            Datum::time_micros(micros(i64::from(*value!(typed)), column, end)?).ok()?
        }
        (PrimitiveType::Float, Statistics::Float(typed)) => Datum::float(real(f64::from(*value!(typed)), end)? as f32),
        (PrimitiveType::Double, Statistics::Float(typed)) => Datum::double(real(f64::from(*value!(typed)), end)?),
        (PrimitiveType::Double, Statistics::Double(typed)) => Datum::double(real(*value!(typed), end)?),
        (PrimitiveType::String, Statistics::ByteArray(_)) => {
            let text = std::str::from_utf8(bytes()?).ok()?;
            Datum::string(match end {
                End::Lower => text_below(text).to_owned(),
                End::Upper => text_above(text)?,
            })
        }
        (PrimitiveType::Binary, Statistics::ByteArray(_)) => match end {
            End::Lower => Datum::binary(bytes()?.iter().take(TRUNCATE).copied()),
            End::Upper => Datum::binary(binary_above(bytes()?)?),
        },
        (PrimitiveType::Fixed(width), Statistics::FixedLenByteArray(_)) => {
            let bytes = bytes().filter(|bytes| u64::try_from(bytes.len()) == Ok(*width))?;
            Datum::fixed(bytes.iter().copied())
        }
        (PrimitiveType::Decimal { scale, .. }, _) if i64::from(column.type_scale()) == i64::from(*scale) => {
            let unscaled = match statistics {
                Statistics::Int32(typed) => i128::from(*value!(typed)),
                Statistics::Int64(typed) => i128::from(*value!(typed)),
                Statistics::ByteArray(_) | Statistics::FixedLenByteArray(_) => big_endian(bytes()?)?,
                _ => return None,
            };
            Datum::try_from_bytes(&unscaled.to_be_bytes(), kind.clone()).ok()?
        }
        _ => return None,
    })
}

fn is_unsigned(column: &ColumnDescriptor) -> bool {
    matches!(column.logical_type_ref(), Some(LogicalType::Integer { is_signed: false, .. }))
        || matches!(
            column.converted_type(),
            ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64
        )
}

/// A time value in microseconds, rounded outwards.
fn micros(value: i64, column: &ColumnDescriptor, end: End) -> Option<i64> {
    let unit = match column.logical_type_ref() {
        Some(LogicalType::Timestamp { unit, .. } | LogicalType::Time { unit, .. }) => *unit,
        _ if matches!(column.converted_type(), ConvertedType::TIMESTAMP_MILLIS | ConvertedType::TIME_MILLIS) => {
            TimeUnit::MILLIS
        }
        _ => TimeUnit::MICROS,
    };
    match unit {
        TimeUnit::MILLIS => value.checked_mul(1_000),
        TimeUnit::MICROS => Some(value),
        TimeUnit::NANOS => {
            let up = end == End::Upper && value.rem_euclid(1_000) != 0;
            Some(value.div_euclid(1_000) + i64::from(up))
        }
    }
}

/// NaN is no bound, and a zero stands for both zeros.
fn real(value: f64, end: End) -> Option<f64> {
    if value.is_nan() {
        None
    } else if value == 0.0 {
        Some(if end == End::Lower { -0.0 } else { 0.0 })
    } else {
        Some(value)
    }
}

/// The first characters: never above the whole.
fn text_below(text: &str) -> &str {
    text.char_indices().nth(TRUNCATE).map_or(text, |(end, _)| text.get(..end).unwrap_or(text))
}

/// The text itself when it is short; else its first characters, the last of them raised. `None`: nothing that short is above it.
fn text_above(text: &str) -> Option<String> {
    let kept = text_below(text);
    if kept.len() == text.len() {
        return Some(text.to_owned());
    }
    let mut characters: Vec<char> = kept.chars().collect();
    while let Some(last) = characters.pop() {
        if let Some(next) = next_character(last) {
            characters.push(next);
            return Some(characters.into_iter().collect());
        }
    }
    None
}

/// The next code point, over the surrogates.
fn next_character(character: char) -> Option<char> {
    match u32::from(character) + 1 {
        0xD800 => Some('\u{E000}'),
        next => char::from_u32(next),
    }
}

fn binary_above(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.len() <= TRUNCATE {
        return Some(bytes.to_vec());
    }
    let mut kept: Vec<u8> = bytes.iter().take(TRUNCATE).copied().collect();
    while let Some(last) = kept.pop() {
        if let Some(next) = last.checked_add(1) {
            kept.push(next);
            return Some(kept);
        }
    }
    None
}

/// A two's-complement number of up to 16 bytes.
fn big_endian(bytes: &[u8]) -> Option<i128> {
    let first = *bytes.first()?;
    if bytes.len() > 16 {
        return None;
    }
    let start: i128 = if first & 0x80 == 0 { 0 } else { -1 };
    Some(bytes.iter().fold(start, |number, byte| (number << 8) | i128::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use parquet::basic::Type as Physical;
    use parquet::data_type::ByteArray;
    use parquet::schema::types::{ColumnPath, Type};

    fn column(physical: Physical, logical: Option<LogicalType>) -> ColumnDescriptor {
        let (precision, scale) = match &logical {
            Some(LogicalType::Decimal { precision, scale }) => (*precision, *scale),
            _ => (0, 0),
        };
        let field = Type::primitive_type_builder("c", physical)
            .with_logical_type(logical)
            .with_precision(precision)
            .with_scale(scale)
            .build()
            .unwrap();
        ColumnDescriptor::new(Arc::new(field), 1, 0, ColumnPath::from("c"))
    }

    fn check(kind: PrimitiveType, column: &ColumnDescriptor, chunks: &[Option<Statistics>], expected: &str) {
        let mut range = Range::default();
        chunks.iter().for_each(|chunk| range.add(&kind, column, chunk.as_ref()));
        let shown = |bound: Option<&Datum>| bound.map_or("?".to_owned(), ToString::to_string);
        assert_eq!(format!("{}..{}", shown(range.lower()), shown(range.upper())), expected, "{kind}");
    }

    fn ints(min: i64, max: i64) -> Option<Statistics> {
        Some(Statistics::int64(Some(min), Some(max), None, Some(0), false))
    }

    fn texts(min: &str, max: &str) -> Option<Statistics> {
        Some(Statistics::byte_array(Some(ByteArray::from(min)), Some(ByteArray::from(max)), None, Some(0), false))
    }

    #[test]
    fn bounds_span_all_chunks_or_are_unknown() {
        let long = column(Physical::INT64, None);
        check(PrimitiveType::Long, &long, &[ints(3, 9), ints(-1, 4)], "-1..9");
        check(PrimitiveType::Long, &long, &[ints(3, 9), None], "?..?");
        let half = Some(Statistics::int64(Some(1), None, None, None, false));
        check(PrimitiveType::Long, &long, &[half], "1..?");
    }

    #[test]
    fn time_units_round_outwards() {
        let unit = |unit| column(Physical::INT64, Some(LogicalType::Timestamp { is_adjusted_to_u_t_c: false, unit }));
        let kind = PrimitiveType::Timestamp;
        let day = 86_400_000_000_i64;
        check(kind.clone(), &unit(TimeUnit::MICROS), &[ints(0, day)], "1970-01-01 00:00:00..1970-01-02 00:00:00");
        check(
            kind.clone(),
            &unit(TimeUnit::MILLIS),
            &[ints(0, day / 1000)],
            "1970-01-01 00:00:00..1970-01-02 00:00:00",
        );
        check(
            kind.clone(),
            &unit(TimeUnit::NANOS),
            &[ints(1_001, 2_001)],
            "1970-01-01 00:00:00.000001..1970-01-01 00:00:00.000003",
        );
        check(kind.clone(), &unit(TimeUnit::NANOS), &[ints(-1, -1)], "1969-12-31 23:59:59.999999..1970-01-01 00:00:00");
        check(kind, &unit(TimeUnit::MILLIS), &[ints(i64::MIN, i64::MAX)], "?..?");
    }

    #[test]
    fn text_is_cut_to_sixteen_characters() {
        let text = column(Physical::BYTE_ARRAY, Some(LogicalType::String));
        let kind = PrimitiveType::String;
        check(kind.clone(), &text, &[texts("a", "b")], "\"a\"..\"b\"");
        check(
            kind.clone(),
            &text,
            &[texts("0123456789abcdef", "0123456789abcdef")],
            "\"0123456789abcdef\"..\"0123456789abcdef\"",
        );
        check(
            kind.clone(),
            &text,
            &[texts("0123456789abcdefX", "0123456789abcdefX")],
            "\"0123456789abcdef\"..\"0123456789abcdeg\"",
        );
        let umlauts = "ä".repeat(17);
        check(
            kind.clone(),
            &text,
            &[texts(&umlauts, &umlauts)],
            &format!("\"{}\"..\"{}å\"", "ä".repeat(16), "ä".repeat(15)),
        );
        let top = char::MAX.to_string().repeat(17);
        check(kind.clone(), &text, &[texts("a", &top)], "\"a\"..?");
        let before_surrogates = format!("{}x", "\u{D7FF}".repeat(16));
        let above = text_above(&before_surrogates).unwrap();
        assert!(above > before_surrogates && above.ends_with('\u{E000}'));
        let broken = Some(Statistics::byte_array(Some(vec![0xff].into()), Some(vec![0xff].into()), None, None, false));
        check(kind.clone(), &text, &[broken], "?..?");
        let old = Some(Statistics::byte_array(Some("a".into()), Some("b".into()), None, None, true));
        check(kind, &text, &[old], "?..?");
    }

    #[test]
    fn numbers_of_every_physical_form() {
        let real = column(Physical::DOUBLE, None);
        let doubles = |min, max| Some(Statistics::double(Some(min), Some(max), None, None, false));
        check(PrimitiveType::Double, &real, &[doubles(0.0, 2.5)], "-0..2.5");
        check(PrimitiveType::Double, &real, &[doubles(f64::NAN, 2.5)], "?..2.5");
        let decimal = column(Physical::INT64, Some(LogicalType::Decimal { precision: 9, scale: 2 }));
        let kind = PrimitiveType::Decimal { precision: 9, scale: 2 };
        check(kind.clone(), &decimal, &[ints(-150, 12_345)], "-1.50..123.45");
        let bytes = column(Physical::BYTE_ARRAY, Some(LogicalType::Decimal { precision: 9, scale: 2 }));
        let raw = Some(Statistics::byte_array(
            Some(vec![0xff, 0x6a].into()),
            Some(vec![0x30, 0x39].into()),
            None,
            None,
            false,
        ));
        check(kind, &bytes, &[raw], "-1.50..123.45");
        let unsigned = column(Physical::INT32, Some(LogicalType::Integer { bit_width: 32, is_signed: false }));
        let stats = Some(Statistics::int32(Some(1), Some(-1), None, None, false));
        check(PrimitiveType::Long, &unsigned, &[stats], "1..4294967295");
    }
}
