//! Values of Trino's JSON in columns of Arrow.

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::types::{
    Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Time64MicrosecondType,
    Time64NanosecondType, TimestampMicrosecondType, TimestampNanosecondType,
};
use arrow_array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, Decimal128Array, ListArray, MapArray, PrimitiveArray,
    StringArray, StructArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_cast::base64::{BASE64_STANDARD, b64_decode};
use arrow_schema::{DataType, Field};
use serde_json::Value;

use super::text;
use super::types::{Kind, map_fields, row_fields};

/// A column of values; else the one that does not fit, as it was written.
pub fn array(kind: &Kind, values: &[&Value]) -> Result<ArrayRef, String> {
    Ok(match kind {
        Kind::Boolean => Arc::new(each(values, Value::as_bool)?.into_iter().collect::<BooleanArray>()),
        Kind::Int8 => primitive::<Int8Type>(values, |value| value.as_i64()?.try_into().ok())?,
        Kind::Int16 => primitive::<Int16Type>(values, |value| value.as_i64()?.try_into().ok())?,
        Kind::Int32 => primitive::<Int32Type>(values, |value| value.as_i64()?.try_into().ok())?,
        Kind::Int64 => primitive::<Int64Type>(values, Value::as_i64)?,
        #[expect(clippy::cast_possible_truncation, reason = "Trino writes a real with the digits of a real")]
        Kind::Float32 => primitive::<Float32Type>(values, |value| float(value).map(|value| value as f32))?,
        Kind::Float64 => primitive::<Float64Type>(values, float)?,
        Kind::Decimal(precision, scale) => {
            let numbers = each(values, |value| text::decimal(value.as_str()?, *scale))?;
            let array = Decimal128Array::from(numbers).with_precision_and_scale(*precision, *scale);
            Arc::new(array.map_err(|error| error.to_string())?)
        }
        Kind::Text => Arc::new(texts(values)),
        Kind::Binary => binary(values)?,
        Kind::Date => primitive::<Date32Type>(values, |value| text::days(value.as_str()?)?.try_into().ok())?,
        Kind::Time(6) => primitive::<Time64MicrosecondType>(values, |value| text::time_of_day(value.as_str()?, 6))?,
        Kind::Time(_) => primitive::<Time64NanosecondType>(values, |value| text::time_of_day(value.as_str()?, 9))?,
        Kind::Timestamp(6) => {
            primitive::<TimestampMicrosecondType>(values, |value| text::timestamp(value.as_str()?, 6))?
        }
        Kind::Timestamp(_) => {
            primitive::<TimestampNanosecondType>(values, |value| text::timestamp(value.as_str()?, 9))?
        }
        Kind::Instant(6) => in_utc::<TimestampMicrosecondType>(kind, values, 6)?,
        Kind::Instant(_) => in_utc::<TimestampNanosecondType>(kind, values, 9)?,
        Kind::List(item) => list(item, values)?,
        Kind::Map(value) => map(value, values)?,
        Kind::Row(parts) => row(parts, values)?,
    })
}

/// Each value through a reading that must succeed for all but nulls.
fn each<'a, T>(values: &[&'a Value], read: impl Fn(&'a Value) -> Option<T>) -> Result<Vec<Option<T>>, String> {
    let one = |value: &&'a Value| match value {
        Value::Null => Ok(None),
        value => read(value).map(Some).ok_or_else(|| value.to_string()),
    };
    values.iter().map(one).collect()
}

fn primitive<T: ArrowPrimitiveType>(
    values: &[&Value],
    read: impl Fn(&Value) -> Option<T::Native>,
) -> Result<ArrayRef, String> {
    Ok(Arc::new(each(values, read)?.into_iter().collect::<PrimitiveArray<T>>()))
}

fn in_utc<T: ArrowPrimitiveType<Native = i64>>(
    kind: &Kind,
    values: &[&Value],
    digits: u32,
) -> Result<ArrayRef, String> {
    let instants = each(values, |value| text::instant(value.as_str()?, digits))?;
    Ok(Arc::new(instants.into_iter().collect::<PrimitiveArray<T>>().with_data_type(kind.data_type())))
}

/// JSON has no word for what is no number.
fn float(value: &Value) -> Option<f64> {
    match value {
        Value::String(word) => match word.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        value => value.as_f64(),
    }
}

fn texts(values: &[&Value]) -> StringArray {
    let mut builder = StringBuilder::new();
    for value in values {
        match value {
            Value::Null => builder.append_null(),
            Value::String(text) => builder.append_value(text),
            other => builder.append_value(other.to_string()),
        }
    }
    builder.finish()
}

fn binary(values: &[&Value]) -> Result<ArrayRef, String> {
    let encoded = BinaryArray::from(texts(values));
    match b64_decode(&BASE64_STANDARD, &encoded) {
        Ok(decoded) => Ok(Arc::new(decoded)),
        Err(_) => {
            // Each is looked at again for the one to name.
            let wrong =
                values.iter().find(|value| b64_decode(&BASE64_STANDARD, &BinaryArray::from(texts(&[value]))).is_err());
            Err(wrong.map(ToString::to_string).unwrap_or_default())
        }
    }
}

fn list(item: &Kind, values: &[&Value]) -> Result<ArrayRef, String> {
    let lists = each(values, Value::as_array)?;
    let items: Vec<&Value> = lists.iter().flatten().flat_map(|list| list.iter()).collect();
    let lengths = lists.iter().map(|list| list.as_ref().map_or(0, |list| list.len()));
    let field = Arc::new(Field::new_list_field(item.data_type(), true));
    let array = ListArray::try_new(field, OffsetBuffer::from_lengths(lengths), array(item, &items)?, nulls(&lists));
    Ok(Arc::new(array.map_err(|error| error.to_string())?))
}

fn map(value: &Kind, values: &[&Value]) -> Result<ArrayRef, String> {
    let maps = each(values, Value::as_object)?;
    let keys: StringArray = maps.iter().flatten().flat_map(|map| map.keys()).map(Some).collect();
    let inner: Vec<&Value> = maps.iter().flatten().flat_map(|map| map.values()).collect();
    let lengths = maps.iter().map(|map| map.as_ref().map_or(0, |map| map.len()));
    let fields = map_fields(value);
    let entries = StructArray::try_new(fields.clone(), vec![Arc::new(keys), array(value, &inner)?], None);
    let entries = entries.map_err(|error| error.to_string())?;
    let field = Arc::new(Field::new("entries", DataType::Struct(fields), false));
    let array = MapArray::try_new(field, OffsetBuffer::from_lengths(lengths), entries, nulls(&maps), false);
    Ok(Arc::new(array.map_err(|error| error.to_string())?))
}

fn row<'a>(parts: &[(String, Kind)], values: &[&'a Value]) -> Result<ArrayRef, String> {
    let rows = each(values, Value::as_array)?;
    let part = |(index, (_, kind)): (usize, &(String, Kind))| {
        let of_row = |row: &Option<&'a Vec<Value>>| row.and_then(|row| row.get(index)).unwrap_or(&Value::Null);
        let values: Vec<&Value> = rows.iter().map(of_row).collect();
        array(kind, &values)
    };
    let arrays = parts.iter().enumerate().map(part).collect::<Result<Vec<_>, _>>()?;
    let array = match arrays.is_empty() {
        true => StructArray::new_empty_fields(values.len(), nulls(&rows)),
        false => StructArray::try_new(row_fields(parts), arrays, nulls(&rows)).map_err(|error| error.to_string())?,
    };
    Ok(Arc::new(array))
}

fn nulls<T>(values: &[Option<T>]) -> Option<NullBuffer> {
    Some(NullBuffer::from_iter(values.iter().map(Option::is_some))).filter(|nulls| nulls.null_count() > 0)
}
