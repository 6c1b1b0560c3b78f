//! Whether a value of a kept row's JSON is exactly one of a column's type.
//!
//! Readers of JSON are generous: they cut fractions, take numbers for times and texts for numbers. A row that was rejected because a value did
//! not fit must not come back with another one, so what decides is written here.

use std::sync::LazyLock;

use arrow::compute::kernels::cast_utils::{Parser, string_to_datetime};
use arrow_array::timezone::Tz;
use arrow_array::types::Date32Type;
use arrow_schema::{DataType, TimeUnit};
use serde_json::{Number, Value};

/// Whole numbers up to here are exact in a double.
const EXACT_IN_F64: i128 = 1 << 53;

/// Whether the value is one of the type, nothing lost. `None`: only an attempt can tell.
pub(super) fn fits(value: &Value, kind: &DataType) -> Option<bool> {
    use DataType as T;
    Some(match (value, kind) {
        (Value::Null, _) => true,
        (_, T::Boolean) => value.is_boolean(),
        (_, T::Utf8 | T::LargeUtf8 | T::Utf8View) => value.is_string(),
        (_, kind) if kind.is_integer() => integer(value).is_some_and(|whole| holds(kind, whole)),
        (Value::String(text), T::Float32 | T::Float64) if ["NaN", "inf", "-inf"].contains(&text.as_str()) => true,
        (_, T::Float64) => match (integer(value), value) {
            (Some(whole), _) => whole.abs() <= EXACT_IN_F64,
            (None, value) => value.is_number(),
        },
        (Value::Number(number), T::Float32) => single(number),
        (_, T::Float32) => false,
        (Value::String(text), T::Date32) => text.len() == 10 && Date32Type::parse(text).is_some(),
        (Value::String(text), T::Timestamp(unit, zone)) => time(text, *unit, zone.is_some()),
        (_, T::Date32 | T::Timestamp(..)) => false,
        (Value::String(text), T::Decimal128(precision, scale)) => decimal(text, *precision, *scale),
        (Value::Number(number), T::Decimal128(precision, scale)) => decimal(&number.to_string(), *precision, *scale),
        (_, T::Decimal128(..)) => false,
        _ => return None,
    })
}

/// A whole number, bare or in quotes.
pub(super) fn integer(value: &Value) -> Option<i128> {
    match value {
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(whole), ..) => Some(i128::from(whole)),
            (None, Some(whole), _) => Some(i128::from(whole)),
            // `7.0` of a double column; beyond 2^53 nobody knows which whole number was meant.
            (None, None, Some(float)) if float.fract() == 0.0 && float.abs() <= EXACT_IN_F64 as f64 => {
                Some(float as i128)
            }
            _ => None,
        },
        Value::String(text) => text.parse::<i128>().ok().filter(|whole| whole.to_string() == *text),
        _ => None,
    }
}

fn holds(kind: &DataType, whole: i128) -> bool {
    let range = match kind {
        DataType::Int8 => (i128::from(i8::MIN), i128::from(i8::MAX)),
        DataType::Int16 => (i128::from(i16::MIN), i128::from(i16::MAX)),
        DataType::Int32 => (i128::from(i32::MIN), i128::from(i32::MAX)),
        DataType::Int64 => (i128::from(i64::MIN), i128::from(i64::MAX)),
        DataType::UInt8 => (0, i128::from(u8::MAX)),
        DataType::UInt16 => (0, i128::from(u16::MAX)),
        DataType::UInt32 => (0, i128::from(u32::MAX)),
        _ => (0, i128::from(u64::MAX)),
    };
    (range.0..=range.1).contains(&whole)
}

/// The shortest text of a single reads back as the number: it was one, or is as exact as one.
fn single(number: &Number) -> bool {
    let Some(value) = number.as_f64() else { return false };
    let narrow = value as f32;
    let back = narrow.to_string().parse::<f64>().unwrap_or(f64::NAN);
    // Reading a number out of JSON may miss by the last digit of a double.
    narrow.is_finite() && (back - value).abs() <= value.abs() * f64::EPSILON
}

/// A time of day and date, with a zone or without, and no finer than the unit.
fn time(text: &str, unit: TimeUnit, zoned: bool) -> bool {
    let digits = match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    };
    let behind_seconds = text.get(19..).unwrap_or_default();
    let has_zone = behind_seconds.contains(['Z', '+', '-']);
    let fraction = behind_seconds.strip_prefix('.').unwrap_or_default();
    let fraction: &str = fraction.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    has_zone == zoned
        && fraction.trim_end_matches('0').len() <= digits
        && UTC.as_ref().is_some_and(|utc| string_to_datetime(utc, text).is_ok())
}

static UTC: LazyLock<Option<Tz>> = LazyLock::new(|| "+00:00".parse().ok());

fn decimal(text: &str, precision: u8, scale: i8) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = !whole.is_empty() && whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = (whole.trim_start_matches('0').len(), fraction.trim_end_matches('0').len());
    let (precision, scale) = (i64::from(precision), i64::from(scale));
    is_number && fraction as i64 <= scale.max(0) && whole as i64 <= precision - scale
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_exact_values_fit() {
        use DataType as T;
        let micros = T::Timestamp(TimeUnit::Microsecond, None);
        let utc = T::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let table = [
            (json!(null), T::Int32, true),
            (json!(7), T::Int32, true),
            (json!(7.0), T::Int32, true),
            (json!(1.5), T::Int32, false),
            (json!("9007199254740993"), T::Int64, true),
            (json!("9007199254740993"), T::Float64, false),
            (json!(3_000_000_000_u32), T::Int32, false),
            (json!(3_000_000_000_u32), T::Int64, true),
            (json!(-1), T::UInt8, false),
            (json!("seven"), T::Int64, false),
            (json!("007"), T::Int64, false),
            (json!(1e300), T::Int64, false),
            (json!("NaN"), T::Float64, true),
            (json!(0.1), T::Float64, true),
            (json!("0.1"), T::Float64, false),
            (json!(0.1), T::Float32, true),
            (json!(0.123_456_789_012), T::Float32, false),
            (json!(true), T::Boolean, true),
            (json!(1), T::Boolean, false),
            (json!(7), T::Utf8, false),
            (json!("7"), T::Utf8, true),
            (json!("2024-01-31"), T::Date32, true),
            (json!("2024-01-32"), T::Date32, false),
            (json!(19_000), T::Date32, false),
            (json!("2024-01-31T10:00:00.000001"), micros.clone(), true),
            (json!("2024-01-31T10:00:00.000000001"), micros.clone(), false),
            (json!("2024-01-31T10:00:00Z"), micros.clone(), false),
            (json!("2024-01-31T10:00:00Z"), utc, true),
            (json!("yesterday"), micros.clone(), false),
            (json!(1), micros, false),
            (json!("12.345"), T::Decimal128(5, 3), true),
            (json!("12.3450"), T::Decimal128(5, 3), true),
            (json!("12.3456"), T::Decimal128(6, 3), false),
            (json!("123.4"), T::Decimal128(5, 3), false),
            (json!("1e3"), T::Decimal128(5, 0), false),
        ];
        for (value, kind, expected) in table {
            assert_eq!(fits(&value, &kind), Some(expected), "{value} as {kind}");
        }
        assert_eq!(fits(&json!("00ff"), &T::Binary), None);
    }
}
