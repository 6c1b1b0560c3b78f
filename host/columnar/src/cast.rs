//! Exact casts: a value becomes the same value of another type, or its row fails.
//!
//! Nothing here rounds, wraps, cuts or shifts. A cast that is lossless for every value is [`Cast::Widen`]; one that depends on the value is
//! [`Cast::Checked`] and says which rows did not fit; anything else is a schema error before the first row is read.

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Date64Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    Time64MicrosecondType, Time64NanosecondType, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, PrimitiveArray, new_null_array};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder, NullBuffer, ScalarBuffer};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, TimeUnit};

use crate::error::{Error, Result};

/// How a column becomes the wanted type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cast {
    /// It has the wanted type.
    None,
    /// Lossless for every value: `int32` → `int64`, `float` → `double`, `large_string` → `string`, *null* → anything.
    Widen,
    /// May fail for a row: `int64` → `int32`, `double` → `int64`, nanoseconds → microseconds.
    Checked,
}

const DAY_MS: i64 = 86_400_000;

/// Which cast leads from one type to another; `None` when there is no exact one.
#[must_use]
pub fn cast_kind(from: &DataType, to: &DataType) -> Option<Cast> {
    use Cast::{Checked, Widen};
    use DataType as T;
    if from == to {
        return Some(Cast::None);
    }
    match (from, to) {
        (T::Null, _) => Some(Widen),
        (T::Dictionary(_, value), to) => Some(cast_kind(value, to)?.max(Widen)),
        (from, to) if from.is_integer() && to.is_integer() => Some(if fits(from, to) { Widen } else { Checked }),
        (from, T::Float64) if from.is_integer() => Some(if integer_bits(from) <= 53 { Widen } else { Checked }),
        (from, T::Float32) if from.is_integer() => Some(if integer_bits(from) <= 24 { Widen } else { Checked }),
        (T::Float16, T::Float32 | T::Float64) | (T::Float32, T::Float64) => Some(Widen),
        (T::Float32 | T::Float64, to) if to.is_integer() => Some(Checked),
        (T::LargeUtf8 | T::Utf8View | T::Utf8, T::Utf8 | T::LargeUtf8 | T::Utf8View) => Some(Widen),
        (T::LargeBinary | T::BinaryView | T::Binary | T::FixedSizeBinary(_), T::Binary | T::LargeBinary) => Some(Widen),
        (T::Binary | T::LargeBinary | T::BinaryView, T::Utf8) => Some(Checked),
        (T::Timestamp(a, zone_a), T::Timestamp(b, zone_b)) if zone_a.is_some() == zone_b.is_some() => {
            Some(if a == b { Widen } else { Checked })
        }
        (T::Date64, T::Date32) | (T::Date32, T::Timestamp(_, None)) => Some(Checked),
        (T::Time32(_), T::Time64(_)) => Some(Widen),
        (T::Time64(TimeUnit::Nanosecond), T::Time64(TimeUnit::Microsecond)) => Some(Checked),
        (from, to) if from.is_decimal() && to.is_decimal() => decimal_widens(from, to).then_some(Widen),
        (from, to) => nested_widens(from, to).then_some(Widen),
    }
}

impl Cast {
    fn max(self, other: Self) -> Self {
        if self == Cast::None { other } else { self }
    }
}

/// Bits that a value of this type can need, the sign apart.
fn integer_bits(kind: &DataType) -> u32 {
    match kind {
        DataType::Int8 => 7,
        DataType::UInt8 => 8,
        DataType::Int16 => 15,
        DataType::UInt16 => 16,
        DataType::Int32 => 31,
        DataType::UInt32 => 32,
        DataType::Int64 => 63,
        _ => 64,
    }
}

/// Whether every value of the integer type `from` is one of `to`.
fn fits(from: &DataType, to: &DataType) -> bool {
    let signed = |kind: &DataType| kind.is_signed_integer();
    (signed(to) || !signed(from)) && integer_bits(from) <= integer_bits(to)
}

fn decimal_shape(kind: &DataType) -> Option<(i16, i16)> {
    match kind {
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => Some((i16::from(*precision), i16::from(*scale))),
        _ => None,
    }
}

/// No digit is lost on either side of the point.
fn decimal_widens(from: &DataType, to: &DataType) -> bool {
    match (decimal_shape(from), decimal_shape(to)) {
        (Some((precision, scale)), Some((wider, finer))) => finer >= scale && wider - finer >= precision - scale,
        _ => false,
    }
}

/// Nested types of the same structure, whose leaves widen; names of list items and nullability are labels.
fn nested_widens(from: &DataType, to: &DataType) -> bool {
    let leaf =
        |a: &DataType, b: &DataType| matches!(cast_kind(a, b), Some(Cast::None | Cast::Widen)) && *a != DataType::Null;
    match (from, to) {
        (DataType::List(a), DataType::List(b)) | (DataType::LargeList(a), DataType::LargeList(b)) => {
            leaf(a.data_type(), b.data_type())
        }
        (DataType::Map(a, _), DataType::Map(b, _)) => leaf(a.data_type(), b.data_type()),
        (DataType::Struct(a), DataType::Struct(b)) => {
            a.len() == b.len()
                && a.iter().zip(b).all(|(a, b)| a.name() == b.name() && leaf(a.data_type(), b.data_type()))
        }
        _ => false,
    }
}

/// Cast exactly: the array with nulls where a value did not fit, and which rows those are (set = failed), if any.
///
/// # Errors
///
/// [`Error::Schema`] when no exact cast leads from one type to the other. The column is unknown here: callers name it with their own error.
pub fn cast_exact(array: &ArrayRef, to: &DataType) -> Result<(ArrayRef, Option<BooleanBuffer>)> {
    let from = array.data_type();
    let no_cast = || Error::Schema { column: "?".to_owned(), wanted: to.to_string(), found: from.to_string() };
    match cast_kind(from, to).ok_or_else(no_cast)? {
        Cast::None => Ok((array.clone(), None)),
        _ if *from == DataType::Null => Ok((new_null_array(to, array.len()), None)),
        _ if matches!(from, DataType::Dictionary(..)) => {
            let dictionary = array.as_any_dictionary_opt().ok_or_else(no_cast)?;
            let values =
                arrow_select::take::take(dictionary.values(), dictionary.keys(), None).map_err(|_| no_cast())?;
            cast_exact(&values, to)
        }
        Cast::Widen => widen(array, to),
        Cast::Checked => checked(array, to).ok_or_else(no_cast),
    }
}

/// Arrow's own kernel, told to fail and not to null; only used where it cannot lose anything.
fn widen(array: &ArrayRef, to: &DataType) -> Result<(ArrayRef, Option<BooleanBuffer>)> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let cast = cast_with_options(array, to, &options)
        .map_err(|error| Error::Encode { what: format!("{} as {to}", array.data_type()), detail: error.to_string() })?;
    Ok((cast, None))
}

type Checked = (ArrayRef, Option<BooleanBuffer>);

/// Run `$body` with `$alias` as the Arrow type of the integer `$kind`.
macro_rules! with_integer {
    ($kind:expr, $alias:ident => $body:expr) => {
        with_integer!(@ $kind, $alias, $body, Int8 Int8Type, Int16 Int16Type, Int32 Int32Type, Int64 Int64Type,
            UInt8 UInt8Type, UInt16 UInt16Type, UInt32 UInt32Type, UInt64 UInt64Type)
    };
    (@ $kind:expr, $alias:ident, $body:expr, $($variant:ident $arrow:ty),*) => {
        match $kind {
            $(DataType::$variant => { type $alias = $arrow; $body })*
            _ => return None,
        }
    };
}

/// Run `$body` with `$alias` as the Arrow timestamp type of `$unit`.
macro_rules! with_unit {
    ($unit:expr, $alias:ident => $body:expr) => {
        match $unit {
            TimeUnit::Second => {
                type $alias = TimestampSecondType;
                $body
            }
            TimeUnit::Millisecond => {
                type $alias = TimestampMillisecondType;
                $body
            }
            TimeUnit::Microsecond => {
                type $alias = TimestampMicrosecondType;
                $body
            }
            TimeUnit::Nanosecond => {
                type $alias = TimestampNanosecondType;
                $body
            }
        }
    };
}

fn checked(array: &ArrayRef, to: &DataType) -> Option<Checked> {
    use DataType as T;
    match (array.data_type(), to) {
        (from, to) if from.is_integer() && to.is_integer() => integers(array, to),
        (from, T::Float64) if from.is_integer() => with_integer!(from, From => {
            Some(map::<From, Float64Type>(array.as_primitive(), to, |value| {
                let double = value as f64;
                (double as i128 == i128::from(value)).then_some(double)
            }))
        }),
        (from, T::Float32) if from.is_integer() => with_integer!(from, From => {
            Some(map::<From, Float32Type>(array.as_primitive(), to, |value| {
                let float = value as f32;
                (float as i128 == i128::from(value)).then_some(float)
            }))
        }),
        (T::Float64, to) => floats(array.as_primitive(), to),
        (T::Float32, to) => floats(&array.as_primitive::<Float32Type>().unary(f64::from), to),
        (T::Timestamp(from, _), T::Timestamp(unit, _)) => {
            let ticks = with_unit!(from, From => array.as_primitive::<From>().reinterpret_cast::<Int64Type>());
            let (from, into) = (per_second(from), per_second(unit));
            with_unit!(unit, To => Some(map::<Int64Type, To>(&ticks, to, |value| match into / from {
                0 => (value % (from / into) == 0).then_some(value / (from / into)),
                factor => value.checked_mul(factor),
            })))
        }
        (T::Date64, T::Date32) => Some(map::<Date64Type, Date32Type>(array.as_primitive(), to, |ms| {
            if ms % DAY_MS == 0 { i32::try_from(ms / DAY_MS).ok() } else { None }
        })),
        (T::Date32, T::Timestamp(unit, None)) => {
            let per_day = 86_400 * per_second(unit);
            with_unit!(unit, To => Some(map::<Date32Type, To>(array.as_primitive(), to, |day| {
                i64::from(day).checked_mul(per_day)
            })))
        }
        (T::Time64(TimeUnit::Nanosecond), T::Time64(TimeUnit::Microsecond)) => {
            Some(map::<Time64NanosecondType, Time64MicrosecondType>(array.as_primitive(), to, |ns| {
                (ns % 1000 == 0).then_some(ns / 1000)
            }))
        }
        (T::Binary, T::Utf8) => Some(text(array.as_binary::<i32>().iter())),
        (T::LargeBinary, T::Utf8) => Some(text(array.as_binary::<i64>().iter())),
        (T::BinaryView, T::Utf8) => Some(text(array.as_binary_view().iter())),
        _ => None,
    }
}

fn per_second(unit: &TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

#[expect(clippy::useless_conversion, reason = "the macro names every type, the own one too")]
fn integers(array: &ArrayRef, to: &DataType) -> Option<Checked> {
    if let Some(values) = array.as_primitive_opt::<UInt64Type>() {
        return with_integer!(to, To => Some(map::<UInt64Type, To>(values, to, |value| value.try_into().ok())));
    }
    let wide = cast_with_options(array, &DataType::Int64, &CastOptions::default()).ok()?;
    with_integer!(to, To => Some(map::<Int64Type, To>(wide.as_primitive(), to, |value| value.try_into().ok())))
}

fn floats(array: &PrimitiveArray<Float64Type>, to: &DataType) -> Option<Checked> {
    // Infinities saturate and then do not fit; NaN differs from itself.
    with_integer!(to, To => Some(map::<Float64Type, To>(array, to, |value| {
        if value.trunc() == value { (value as i128).try_into().ok() } else { None }
    })))
}

/// Every value through `cast`; rows where it has no answer become null and failed, unless they were null before.
fn map<From: ArrowPrimitiveType, To: ArrowPrimitiveType>(
    array: &PrimitiveArray<From>,
    to: &DataType,
    cast: impl Fn(From::Native) -> Option<To::Native>,
) -> Checked {
    let mut all = true;
    let values: Vec<To::Native> = array
        .values()
        .iter()
        .map(|value| {
            cast(*value).unwrap_or_else(|| {
                all = false;
                To::Native::default()
            })
        })
        .collect();
    let (mut nulls, mut failed) = (array.nulls().cloned(), None);
    if !all {
        let source = array.values();
        let fits = BooleanBuffer::collect_bool(array.len(), |row| cast(source[row]).is_some());
        (nulls, failed) = fail(nulls, fits);
    }
    let cast = PrimitiveArray::<To>::new(ScalarBuffer::from(values), nulls).with_data_type(to.clone());
    (Arc::new(cast), failed)
}

/// Take the rows that do not fit out of the valid ones: what is null now, and what failed if anything did.
fn fail(nulls: Option<NullBuffer>, fits: BooleanBuffer) -> (Option<NullBuffer>, Option<BooleanBuffer>) {
    let (valid, failed) = match nulls {
        Some(nulls) => (nulls.inner() & &fits, nulls.inner() & &!&fits),
        None => (fits.clone(), !&fits),
    };
    let failed = (failed.count_set_bits() > 0).then_some(failed);
    (Some(NullBuffer::new(valid)), failed)
}

/// Bytes that are UTF-8.
fn text<'a>(values: impl Iterator<Item = Option<&'a [u8]>>) -> Checked {
    let (mut builder, mut failed) = (StringBuilder::new(), BooleanBufferBuilder::new(values.size_hint().0));
    for value in values {
        let text = value.map(simdutf8::basic::from_utf8);
        failed.append(matches!(text, Some(Err(_))));
        builder.append_option(text.and_then(Result::ok));
    }
    let failed = failed.finish();
    (Arc::new(builder.finish()), (failed.count_set_bits() > 0).then_some(failed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::*;

    /// Every value of `from` in its own row: what it becomes, `None` = its row fails.
    fn check(from: ArrayRef, to: DataType, expected: ArrayRef, failed: &[usize]) {
        let what = format!("{} to {to}", from.data_type());
        let (cast, found) = cast_exact(&from, &to).unwrap();
        assert_eq!(&cast, &expected, "{what}");
        let found: Vec<usize> = found.map(|rows| rows.set_indices().collect()).unwrap_or_default();
        assert_eq!(found, failed, "{what}");
    }

    #[test]
    fn values_stay_the_same_or_their_row_fails() {
        let us = |values: Vec<Option<i64>>| Arc::new(TimestampMicrosecondArray::from(values)) as ArrayRef;
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        let max = 1_i64 << 53;
        check(
            Arc::new(Int64Array::from(vec![Some(1), None, Some(1 << 31), Some(-(1 << 31))])),
            DataType::Int32,
            Arc::new(Int32Array::from(vec![Some(1), None, None, Some(i32::MIN)])),
            &[2],
        );
        check(
            Arc::new(Int8Array::from(vec![1, -1])),
            DataType::UInt8,
            Arc::new(UInt8Array::from(vec![Some(1), None])),
            &[1],
        );
        check(
            Arc::new(UInt64Array::from(vec![1, u64::MAX])),
            DataType::Int64,
            Arc::new(Int64Array::from(vec![Some(1), None])),
            &[1],
        );
        check(
            Arc::new(Float64Array::from(vec![
                1.0,
                1.5,
                f64::NAN,
                f64::INFINITY,
                -0.0,
                9.3e18,
                -9_223_372_036_854_775_808.0,
            ])),
            DataType::Int64,
            Arc::new(Int64Array::from(vec![Some(1), None, None, None, Some(0), None, Some(i64::MIN)])),
            &[1, 2, 3, 5],
        );
        check(
            Arc::new(Float64Array::from(vec![2147483647.0, 2147483648.0])),
            DataType::Int32,
            Arc::new(Int32Array::from(vec![Some(i32::MAX), None])),
            &[1],
        );
        check(
            Arc::new(Int64Array::from(vec![max, max + 1, max + 2, i64::MIN])),
            DataType::Float64,
            Arc::new(Float64Array::from(vec![Some(max as f64), None, Some((max + 2) as f64), Some(i64::MIN as f64)])),
            &[1],
        );
        check(
            Arc::new(TimestampNanosecondArray::from(vec![Some(5000), Some(5001), None, Some(-1000)])),
            micros.clone(),
            us(vec![Some(5), None, None, Some(-1)]),
            &[1],
        );
        check(
            Arc::new(TimestampMillisecondArray::from(vec![5, i64::MAX])),
            micros.clone(),
            us(vec![Some(5000), None]),
            &[1],
        );
        check(Arc::new(Date32Array::from(vec![1, i32::MAX])), micros, us(vec![Some(86_400_000_000), None]), &[1]);
        check(
            Arc::new(Date64Array::from(vec![DAY_MS * 3, 5])),
            DataType::Date32,
            Arc::new(Date32Array::from(vec![Some(3), None])),
            &[1],
        );
        check(
            Arc::new(BinaryArray::from(vec![Some(&b"caf\xc3\xa9"[..]), Some(b"\xff"), None])),
            DataType::Utf8,
            Arc::new(StringArray::from(vec![Some("café"), None, None])),
            &[1],
        );
    }

    #[test]
    fn widening_loses_nothing() {
        let text = || Arc::new(StringArray::from(vec![Some("a"), None])) as ArrayRef;
        check(Arc::new(Int32Array::from(vec![7])), DataType::Int64, Arc::new(Int64Array::from(vec![7])), &[]);
        check(Arc::new(Int32Array::from(vec![7])), DataType::Float64, Arc::new(Float64Array::from(vec![7.0])), &[]);
        check(
            Arc::new(Float32Array::from(vec![0.1])),
            DataType::Float64,
            Arc::new(Float64Array::from(vec![f64::from(0.1_f32)])),
            &[],
        );
        check(Arc::new(LargeStringArray::from(vec![Some("a"), None])), DataType::Utf8, text(), &[]);
        check(Arc::new(StringViewArray::from(vec![Some("a"), None])), DataType::Utf8, text(), &[]);
        check(Arc::new(NullArray::new(2)), DataType::Int32, Arc::new(Int32Array::from(vec![None, None])), &[]);
        let dictionary: DictionaryArray<types::Int8Type> = [Some("a"), None].into_iter().collect();
        check(Arc::new(dictionary), DataType::Utf8, text(), &[]);
        let decimal = |values: Vec<i128>, precision, scale| {
            Arc::new(Decimal128Array::from(values).with_precision_and_scale(precision, scale).unwrap()) as ArrayRef
        };
        check(decimal(vec![1234], 5, 2), DataType::Decimal128(9, 4), decimal(vec![123_400], 9, 4), &[]);
    }

    #[test]
    fn what_cannot_be_exact_is_refused_before_the_first_row() {
        use DataType as T;
        let utc = T::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let naive = T::Timestamp(TimeUnit::Microsecond, None);
        let cases = [
            (T::Float64, T::Float32),
            (T::Utf8, T::Int64),
            (T::Int64, T::Utf8),
            (T::Boolean, T::Int32),
            (utc.clone(), naive.clone()),
            (naive.clone(), utc),
            (naive, T::Date32),
            (T::Decimal128(9, 4), T::Decimal128(9, 2)),
            (T::Decimal128(9, 2), T::Decimal128(9, 4)),
            (T::Int64, T::Timestamp(TimeUnit::Microsecond, None)),
        ];
        for (from, to) in cases {
            assert_eq!(cast_kind(&from, &to), None, "{from} to {to}");
            let error = cast_exact(&new_null_array(&from, 1), &to).unwrap_err();
            assert!(matches!(error, Error::Schema { .. }), "{error}");
        }
    }
}
