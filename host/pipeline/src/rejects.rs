//! Rejected rows as a table holds them: `<table>__rejected`, one row for each row that a rule, a cast or the contract took out.
//!
//! The row itself is kept as one JSON object of the reader's columns before any cleaning, so that rows of any schema fit one table and can be
//! run through the cleaners again. JSON numbers are doubles to most readers: decimals and 64-bit integers are text.

use std::sync::Arc;

use arrow::json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder, make_encoder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int64Type, TimestampMicrosecondType, UInt64Type};
use arrow_array::{Array, RecordBatch, StringArray, StructArray};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};

use crate::layout::WINDOW_COLUMN;
use crate::ports::TableName;
use crate::window::{Granularity, civil_from_days};

/// What the name of a table of rejected rows ends with.
pub const SUFFIX: &str = "__rejected";
/// The load that rejected the row.
pub const LOAD_ID: &str = "load_id";
/// Its run.
pub const RUN_ID: &str = "run_id";
/// Who rejected it: `name@version` of a cleaner; of the source for a failed cast; `lakehost` for the contract.
pub const PLUGIN: &str = "plugin";
/// The cleaner's rule, `cast:<column>` or `contract:<column>`.
pub const RULE: &str = "rule";
/// The rule in words.
pub const REASON: &str = "reason";
/// Position of the row among those of its split, from 0.
pub const SOURCE_ROW: &str = "source_row";
/// Name of the file, or of the plugin that made the rows.
pub const SOURCE_FILE: &str = "source_file";
/// The row as JSON.
pub const ROW: &str = "row";

/// The table for what `table` rejects. Fails when the name becomes too long.
pub fn table_of(table: &TableName) -> Result<TableName, String> {
    TableName::parse(&format!("{}.{}{SUFFIX}", table.namespace, table.name))
}

/// The table whose rejected rows `name` holds.
pub fn main_of(name: &TableName) -> Option<TableName> {
    let main = name.name.strip_suffix(SUFFIX).filter(|main| !main.is_empty())?;
    Some(TableName { namespace: name.namespace.clone(), name: main.to_owned() })
}

/// Columns of a table of rejected rows, without field ids.
///
/// # Shape
/// The window first, when the source has any; all columns are optional, as those of every table here.
pub fn schema(granularity: Granularity) -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let mut fields: Vec<Field> = match granularity {
        Granularity::None => Vec::new(),
        Granularity::Hour => {
            vec![Field::new(WINDOW_COLUMN, DataType::Timestamp(TimeUnit::Microsecond, None), true)]
        }
        Granularity::Day | Granularity::Month | Granularity::Year => {
            vec![Field::new(WINDOW_COLUMN, DataType::Date32, true)]
        }
    };
    fields.extend([LOAD_ID, RUN_ID, PLUGIN, RULE, REASON].map(text));
    fields.push(Field::new(SOURCE_ROW, DataType::Int64, true));
    fields.extend([SOURCE_FILE, ROW].map(text));
    Arc::new(Schema::new(fields))
}

/// Each row of a batch as one JSON object.
///
/// # Errors
/// When a column has a type without a JSON form.
pub fn rows_as_json(batch: &RecordBatch) -> Result<StringArray, ArrowError> {
    let options = EncoderOptions::default().with_explicit_nulls(true).with_encoder_factory(Arc::new(Exact));
    let rows = StructArray::from(batch.clone());
    let field: FieldRef = Arc::new(Field::new(ROW, rows.data_type().clone(), false));
    let mut encoder = make_encoder(&field, &rows, &options)?;
    let mut made = arrow_array::builder::StringBuilder::with_capacity(batch.num_rows(), batch.num_rows() * 64);
    let mut text = Vec::new();
    for row in 0..batch.num_rows() {
        text.clear();
        encoder.encode(row, &mut text);
        let text = std::str::from_utf8(&text).map_err(|error| ArrowError::JsonError(error.to_string()))?;
        made.append_value(text);
    }
    Ok(made.finish())
}

/// The rows of JSON objects that [`rows_as_json`] made, as columns of `schema`. A key that the schema lacks is left out.
///
/// # Errors
/// When a value is not one of its column's type.
pub fn rows_from_json(schema: &SchemaRef, rows: &[&str]) -> Result<RecordBatch, ArrowError> {
    let builder = arrow::json::ReaderBuilder::new(schema.clone());
    let mut decoder = builder.with_batch_size(rows.len().max(1)).build_decoder()?;
    for row in rows {
        let mut bytes = row.as_bytes();
        while !bytes.is_empty() {
            let taken = decoder.decode(bytes)?;
            bytes = bytes.get(taken..).unwrap_or_default();
        }
        // Objects are told apart by what stands between them.
        decoder.decode(b"\n")?;
    }
    Ok(decoder.flush()?.unwrap_or_else(|| RecordBatch::new_empty(schema.clone())))
}

/// What JSON numbers cannot hold, as text.
#[derive(Debug)]
struct Exact;

impl EncoderFactory for Exact {
    fn make_default_encoder<'a>(
        &self,
        _field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Int64 => Box::new(Quoted(array.as_primitive::<Int64Type>().values())),
            DataType::UInt64 => Box::new(Quoted(array.as_primitive::<UInt64Type>().values())),
            DataType::Timestamp(TimeUnit::Microsecond, None) => {
                let times = array.as_primitive::<TimestampMicrosecondType>();
                // What stands below a null is no time.
                if !times.iter().flatten().all(|micros| FOUR_DIGITS.contains(&micros)) {
                    return Ok(None);
                }
                Box::new(Times(times.values()))
            }
            DataType::Float32 => Box::new(Float(array.as_primitive::<Float32Type>().values())),
            DataType::Float64 => Box::new(Float(array.as_primitive::<Float64Type>().values())),
            DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
                Box::new(Decimal(array))
            }
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

/// Integers in quotes.
struct Quoted<'a, T>(&'a [T]);

impl<T: std::fmt::Display> Encoder for Quoted<'_, T> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        use std::io::Write;
        // Writing to a vector cannot fail.
        let _ = write!(out, "\"{}\"", self.0[row]);
    }
}

/// The microseconds of the years 0 to 9999.
const FOUR_DIGITS: std::ops::Range<i64> = -62_167_219_200_000_000..253_402_300_800_000_000;

/// Times without a zone, as the library writes them, at a quarter of the cost.
struct Times<'a>(&'a [i64]);

impl Encoder for Times<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let (seconds, micros) = (self.0[row].div_euclid(1_000_000), self.0[row].rem_euclid(1_000_000));
        let (year, month, day) = civil_from_days(seconds.div_euclid(86_400));
        let of_day = seconds.rem_euclid(86_400);
        out.push(b'"');
        digits(out, year, 4);
        for (mark, part) in
            [(b'-', month), (b'-', day), (b'T', of_day / 3_600), (b':', of_day / 60 % 60), (b':', of_day % 60)]
        {
            out.push(mark);
            digits(out, part, 2);
        }
        if micros != 0 {
            out.push(b'.');
            if micros % 1_000 == 0 { digits(out, micros / 1_000, 3) } else { digits(out, micros, 6) }
        }
        out.push(b'"');
    }
}

/// The last `count` digits of a number.
fn digits(out: &mut Vec<u8>, number: i64, count: u32) {
    for place in (0..count).rev() {
        out.push(b'0' + u8::try_from(number / 10_i64.pow(place) % 10).unwrap_or(0));
    }
}

/// Floating point numbers; those that JSON lacks by name, in quotes.
struct Float<'a, T>(&'a [T]);

impl<T: Copy + Into<f64> + Serializable> Encoder for Float<'_, T> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let (value, wide) = (self.0[row], self.0[row].into());
        if wide.is_finite() {
            value.write(out);
        } else if wide.is_nan() {
            out.extend_from_slice(b"\"NaN\"");
        } else {
            out.extend_from_slice(if wide > 0.0 { b"\"inf\"" } else { b"\"-inf\"" });
        }
    }
}

/// The shortest text that reads back as the same value.
trait Serializable {
    fn write(self, out: &mut Vec<u8>);
}

macro_rules! serializable {
    ($($kind:ty),*) => { $(
        impl Serializable for $kind {
            fn write(self, out: &mut Vec<u8>) {
                // Writing to a vector cannot fail.
                let _ = serde_json::to_writer(out, &self);
            }
        }
    )* };
}
serializable!(f32, f64);

/// Decimals in quotes, with all their digits.
struct Decimal<'a>(&'a dyn Array);

impl Encoder for Decimal<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        use arrow_array::types::{Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type};
        let text = match self.0.data_type() {
            DataType::Decimal32(..) => self.0.as_primitive::<Decimal32Type>().value_as_string(row),
            DataType::Decimal64(..) => self.0.as_primitive::<Decimal64Type>().value_as_string(row),
            DataType::Decimal128(..) => self.0.as_primitive::<Decimal128Type>().value_as_string(row),
            _ => self.0.as_primitive::<Decimal256Type>().value_as_string(row),
        };
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    }
}

#[cfg(test)]
#[path = "rejects_tests.rs"]
mod tests;
