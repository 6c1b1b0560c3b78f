//! A row filter against what is known of a file, and against its rows.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::types::{Decimal128Type, Float64Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BooleanArray, Date32Array, Decimal128Array, PrimitiveArray, RecordBatch,
    Scalar, StringArray, TimestampMicrosecondArray, cast::AsArray,
};
use arrow_cast::cast;
use arrow_ord::cmp;
use arrow_schema::{ArrowError, DataType, TimeUnit};
use iceberg::spec::{DataFile, Datum, PrimitiveType, Schema};
use lakehost_pipeline::filter::{CompareOp, FilterValue, RowFilter};
use lakehost_pipeline::ports::TableName;

use crate::error::{Error, Result};

/// For which rows of a file a filter is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    None,
    /// The file's numbers do not tell.
    Some,
    All,
}

/// The filter fits the table: its columns are there, and each can be compared with its values.
pub fn check(table: &TableName, schema: &Schema, filter: &RowFilter) -> Result<()> {
    let wrong = |column: &str, problem: String| Error::Partition {
        column: column.to_owned(),
        problem,
        hint: Some(format!("`lakehost table show {table}` lists the columns with their types")),
    };
    let named = |column: &str| {
        schema.field_by_name(column).ok_or_else(|| wrong(column, format!("table {table} has no column {column}")))
    };
    let fits = |column: &str, value: &FilterValue| {
        let field = named(column)?;
        match field.field_type.as_primitive_type() {
            Some(kind) if comparable(kind, value) => Ok(()),
            _ => Err(wrong(
                column,
                format!("column {column} is {}, which {value} cannot be compared with", field.field_type),
            )),
        }
    };
    match filter {
        RowFilter::And(parts) | RowFilter::Or(parts) => parts.iter().try_for_each(|part| check(table, schema, part)),
        RowFilter::Not(inner) => check(table, schema, inner),
        RowFilter::Compare { column, value, .. } => fits(column, value),
        RowFilter::In { column, values } => {
            named(column)?;
            values.iter().try_for_each(|value| fits(column, value))
        }
        RowFilter::IsNull { column } => named(column).map(|_| ()),
    }
}

fn comparable(kind: &PrimitiveType, value: &FilterValue) -> bool {
    use FilterValue as V;
    use PrimitiveType as P;
    match (kind, value) {
        (P::Boolean, V::Bool(_))
        | (P::Int | P::Long, V::Int(_))
        | (P::Float | P::Double, V::Int(_) | V::Float(_))
        | (P::String, V::Text(_))
        | (P::Date, V::Date(_))
        | (P::Timestamp | P::Timestamptz, V::TimestampMicros(_))
        | (P::Decimal { .. }, V::Int(_)) => true,
        // More digits behind the point than the column has would have to be cut.
        (P::Decimal { scale, .. }, V::Decimal(_, digits)) => i64::from(*digits) <= i64::from(*scale),
        _ => false,
    }
}

/// What the counts and bounds of a file say. `negated`: of the filter's opposite.
pub fn judge(file: &DataFile, schema: &Schema, filter: &RowFilter, negated: bool) -> Judged {
    match filter {
        RowFilter::And(parts) | RowFilter::Or(parts) => {
            let judged = parts.iter().map(|part| judge(file, schema, part, negated));
            if matches!(filter, RowFilter::And(_)) != negated { all(judged) } else { any(judged) }
        }
        RowFilter::Not(inner) => judge(file, schema, inner, !negated),
        RowFilter::IsNull { column } => {
            let rows = file.record_count();
            let nulls = schema.field_by_name(column).and_then(|field| file.null_value_counts().get(&field.id)).copied();
            match (nulls, negated) {
                (Some(0), false) => Judged::None,
                (Some(0), true) => Judged::All,
                (Some(nulls), false) if nulls == rows => Judged::All,
                (Some(nulls), true) if nulls == rows => Judged::None,
                _ => Judged::Some,
            }
        }
        RowFilter::Compare { column, op, value } => {
            compare(file, schema, column, if negated { op.inverse() } else { *op }, value)
        }
        RowFilter::In { column, values } => {
            let op = if negated { CompareOp::NotEq } else { CompareOp::Eq };
            let judged = values.iter().map(|value| compare(file, schema, column, op, value));
            if negated { all(judged) } else { any(judged) }
        }
    }
}

fn all(judged: impl Iterator<Item = Judged>) -> Judged {
    judged.fold(Judged::All, |so_far, next| match (so_far, next) {
        (Judged::None, _) | (_, Judged::None) => Judged::None,
        (Judged::All, Judged::All) => Judged::All,
        _ => Judged::Some,
    })
}

fn any(judged: impl Iterator<Item = Judged>) -> Judged {
    judged.fold(Judged::None, |so_far, next| match (so_far, next) {
        (Judged::All, _) | (_, Judged::All) => Judged::All,
        (Judged::None, Judged::None) => Judged::None,
        _ => Judged::Some,
    })
}

fn compare(file: &DataFile, schema: &Schema, column: &str, op: CompareOp, value: &FilterValue) -> Judged {
    let Some(field) = schema.field_by_name(column) else { return Judged::Some };
    let Some(wanted) = field.field_type.as_primitive_type().and_then(|kind| datum(kind, value)) else {
        return Judged::Some;
    };
    let (Some(lower), Some(upper)) = (file.lower_bounds().get(&field.id), file.upper_bounds().get(&field.id)) else {
        return Judged::Some;
    };
    // Bounds of before a column was widened are of another type, and then nothing is said.
    let (Some(low), Some(high)) = (lower.partial_cmp(&wanted), upper.partial_cmp(&wanted)) else { return Judged::Some };
    let (below, above) = (high == Ordering::Less, low == Ordering::Greater);
    let equal = low == Ordering::Equal && high == Ordering::Equal;
    let (always, never) = match op {
        CompareOp::Eq => (equal, below || above),
        CompareOp::NotEq => (below || above, equal),
        CompareOp::Less => (below, low != Ordering::Less),
        CompareOp::LessEq => (high != Ordering::Greater, above),
        CompareOp::Greater => (above, high != Ordering::Greater),
        CompareOp::GreaterEq => (low != Ordering::Less, below),
    };
    let nulls = file.null_value_counts().get(&field.id).copied();
    match (always, never, nulls) {
        (_, true, _) => Judged::None,
        (true, _, Some(0)) => Judged::All,
        _ => Judged::Some,
    }
}

/// The value as one of the column's type. Not for floating point: bounds leave NaN out, which is greater than all.
fn datum(kind: &PrimitiveType, value: &FilterValue) -> Option<Datum> {
    Some(match (kind, value) {
        (PrimitiveType::Boolean, FilterValue::Bool(value)) => Datum::bool(*value),
        (PrimitiveType::Int, FilterValue::Int(value)) => Datum::int(i32::try_from(*value).ok()?),
        (PrimitiveType::Long, FilterValue::Int(value)) => Datum::long(*value),
        (PrimitiveType::String, FilterValue::Text(value)) => Datum::string(value),
        (PrimitiveType::Date, FilterValue::Date(days)) => Datum::date(*days),
        (PrimitiveType::Timestamp, FilterValue::TimestampMicros(micros)) => Datum::timestamp_micros(*micros),
        (PrimitiveType::Timestamptz, FilterValue::TimestampMicros(micros)) => Datum::timestamptz_micros(*micros),
        _ => return None,
    })
}

/// The rows for which the filter is true, false, or neither.
pub fn rows(batch: &RecordBatch, filter: &RowFilter) -> Result<BooleanArray, ArrowError> {
    let column = |name: &str| {
        batch.column_by_name(name).ok_or_else(|| ArrowError::SchemaError(format!("no column {name} was read")))
    };
    match filter {
        RowFilter::And(parts) => fold(batch, parts, Some(true), |left, right| match (left, right) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        }),
        RowFilter::Or(parts) => fold(batch, parts, Some(false), or),
        RowFilter::Not(inner) => Ok(rows(batch, inner)?.iter().map(|value| value.map(|value| !value)).collect()),
        RowFilter::Compare { column: name, op, value } => compare_rows(column(name)?, *op, value),
        RowFilter::In { column: name, values } => {
            let mut found = BooleanArray::from(vec![Some(false); batch.num_rows()]);
            for value in values {
                found = zip(&found, &compare_rows(column(name)?, CompareOp::Eq, value)?, or);
            }
            Ok(found)
        }
        RowFilter::IsNull { column: name } => {
            let nulls = column(name)?.logical_nulls();
            Ok((0..batch.num_rows()).map(|row| Some(nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)))).collect())
        }
    }
}

fn or(left: Option<bool>, right: Option<bool>) -> Option<bool> {
    match (left, right) {
        (Some(true), _) | (_, Some(true)) => Some(true),
        (Some(false), Some(false)) => Some(false),
        _ => None,
    }
}

type Combine = fn(Option<bool>, Option<bool>) -> Option<bool>;

fn zip(left: &BooleanArray, right: &BooleanArray, combine: Combine) -> BooleanArray {
    left.iter().zip(right.iter()).map(|(left, right)| combine(left, right)).collect()
}

fn fold(
    batch: &RecordBatch,
    parts: &[RowFilter],
    start: Option<bool>,
    combine: Combine,
) -> Result<BooleanArray, ArrowError> {
    let mut found = BooleanArray::from(vec![start; batch.num_rows()]);
    for part in parts {
        found = zip(&found, &rows(batch, part)?, combine);
    }
    Ok(found)
}

fn compare_rows(column: &ArrayRef, op: CompareOp, value: &FilterValue) -> Result<BooleanArray, ArrowError> {
    let whole = |kind: &DataType, value: ArrayRef| -> Result<BooleanArray, ArrowError> {
        let column = if column.data_type() == kind { Arc::clone(column) } else { cast(column, kind)? };
        let value = Scalar::new(value);
        match op {
            CompareOp::Eq => cmp::eq(&column, &value),
            CompareOp::NotEq => cmp::neq(&column, &value),
            CompareOp::Less => cmp::lt(&column, &value),
            CompareOp::LessEq => cmp::lt_eq(&column, &value),
            CompareOp::Greater => cmp::gt(&column, &value),
            CompareOp::GreaterEq => cmp::gt_eq(&column, &value),
        }
    };
    match (column.data_type(), value) {
        (DataType::Boolean, FilterValue::Bool(value)) => {
            whole(&DataType::Boolean, Arc::new(BooleanArray::from(vec![*value])))
        }
        (kind, FilterValue::Int(value)) if kind.is_integer() => whole(&DataType::Int64, one::<Int64Type>(*value)),
        (kind, FilterValue::Int(value)) if kind.is_floating() => {
            whole(&DataType::Float64, one::<Float64Type>(*value as f64))
        }
        (kind, FilterValue::Float(value)) if kind.is_floating() => {
            whole(&DataType::Float64, one::<Float64Type>(*value))
        }
        (DataType::Decimal128(_, scale), FilterValue::Int(value)) => {
            decimals(column, op, i128::from(*value), 0, *scale)
        }
        (DataType::Decimal128(_, scale), FilterValue::Decimal(value, digits)) => {
            decimals(column, op, *value, *digits, *scale)
        }
        (_, FilterValue::Text(value)) => whole(&DataType::Utf8, Arc::new(StringArray::from(vec![value.as_str()]))),
        (_, FilterValue::Date(days)) => whole(&DataType::Date32, Arc::new(Date32Array::from(vec![*days]))),
        (kind @ DataType::Timestamp(TimeUnit::Microsecond, zone), FilterValue::TimestampMicros(micros)) => {
            whole(kind, Arc::new(TimestampMicrosecondArray::from(vec![*micros]).with_timezone_opt(zone.clone())))
        }
        (kind, value) => Err(ArrowError::ComputeError(format!("{kind} cannot be compared with {value}"))),
    }
}

fn one<T: ArrowPrimitiveType>(value: T::Native) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::from_value(value, 1))
}

/// Unscaled values side by side. A value beyond all that the column can hold is still greater or less than each of them.
fn decimals(column: &ArrayRef, op: CompareOp, value: i128, digits: i8, scale: i8) -> Result<BooleanArray, ArrowError> {
    let shift = u32::try_from(i16::from(scale) - i16::from(digits))
        .map_err(|_| ArrowError::ComputeError("more digits than the column has".to_owned()))?;
    let limit = if value < 0 { i128::MIN } else { i128::MAX };
    let wanted = 10_i128.checked_pow(shift).and_then(|factor| value.checked_mul(factor)).unwrap_or(limit);
    let column: &Decimal128Array = column.as_primitive::<Decimal128Type>();
    Ok(column
        .iter()
        .map(|found| {
            let order = found?.cmp(&wanted);
            Some(match op {
                CompareOp::Eq => order.is_eq(),
                CompareOp::NotEq => order.is_ne(),
                CompareOp::Less => order.is_lt(),
                CompareOp::LessEq => order.is_le(),
                CompareOp::Greater => order.is_gt(),
                CompareOp::GreaterEq => order.is_ge(),
            })
        })
        .collect())
}
