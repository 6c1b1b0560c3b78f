//! Reading a stream that comes from a plugin.
//!
//! Arrow's reader trusts the lengths that it is given: forged ones end in a panic or in an allocation that aborts the process, which no guard
//! can catch. So the stream is walked here first, in three layers that each refuse what they do not know: `framing` (messages and their
//! places), `schema` (names and types) and `layout` (nodes and buffers against types, rows and body). Nothing is allocated from a number in
//! the stream before that number is checked against bytes that are really there. Only then Arrow decodes, with its own validation of offsets,
//! UTF-8 and null counts. A panic guard is the last belt.

mod framing;
mod layout;
#[cfg(test)]
mod mutations;
#[cfg(test)]
pub(crate) mod samples;
mod schema;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType};
use arrow_array::{Array, ArrayRef, PrimitiveArray, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::{MessageHeader, MetadataVersion};
use arrow_schema::{DataType, Schema, SchemaRef};

use crate::error::{WireError, shown};
use crate::limits::Limits;
use framing::Stream;

/// The batch of a stream that nobody vouches for. A stream without a batch is a batch without rows. Metadata of fields and schema is left out:
/// names, types and nullability are what was agreed on.
///
/// # Errors
/// A [`WireError`] for anything that the contract does not allow; with `expected`, [`WireError::Mismatch`] when the schema is another one.
pub fn decode_hostile(bytes: Vec<u8>, limits: &Limits, expected: Option<&Schema>) -> Result<RecordBatch, WireError> {
    guarded(|| decode_walked(bytes, limits, expected))
}

/// The schema of a stream that nobody vouches for, which must not hold a batch with rows.
///
/// # Errors
/// As [`decode_hostile`].
pub fn decode_schema_hostile(bytes: Vec<u8>, limits: &Limits) -> Result<SchemaRef, WireError> {
    let batch = decode_hostile(bytes, limits, None)?;
    if batch.num_rows() > 0 {
        return Err(WireError::Framing { at: 0, detail: "a schema was asked for, and there are rows".to_owned() });
    }
    Ok(batch.schema())
}

/// Compares names, types and nullability, in order; metadata does not count.
///
/// # Errors
/// [`WireError::Mismatch`] with the first column that differs.
pub fn check_schema(found: &Schema, wanted: &Schema) -> Result<(), WireError> {
    let describe = |field: Option<&arrow_schema::FieldRef>| {
        field.map_or_else(
            || "nothing".to_owned(),
            |field| {
                let nullable = if field.is_nullable() { "" } else { " not null" };
                format!("`{}` {}{nullable}", shown(field.name(), 80), shown(&field.data_type().to_string(), 160))
            },
        )
    };
    let columns = found.fields().len().max(wanted.fields().len());
    for index in 0..columns {
        let (is, should) = (found.fields().get(index), wanted.fields().get(index));
        let same = match (is, should) {
            (Some(is), Some(should)) => {
                is.name() == should.name()
                    && is.is_nullable() == should.is_nullable()
                    && is.data_type().equals_datatype(should.data_type())
            }
            _ => false,
        };
        if !same {
            let name = should.or(is).map_or("", |field| field.name());
            return Err(WireError::Mismatch { column: shown(name, 80), wanted: describe(should), found: describe(is) });
        }
    }
    Ok(())
}

fn guarded<T>(work: impl FnOnce() -> Result<T, WireError>) -> Result<T, WireError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(WireError::Arrow("the Arrow decoder panicked on these bytes".to_owned())))
}

fn decode_walked(bytes: Vec<u8>, limits: &Limits, expected: Option<&Schema>) -> Result<RecordBatch, WireError> {
    if bytes.len() > limits.bytes {
        return Err(WireError::TooLarge { what: "bytes", found: bytes.len() as u64, limit: limits.bytes as u64 });
    }
    let buffer = Buffer::from_vec(bytes);
    let mut stream = Stream::new(buffer.as_slice(), limits);

    let Some(first) = stream.next()? else {
        return Err(stream.wrong("there is no schema message"));
    };
    let schema = match first.message.header_as_schema() {
        Some(schema) if first.body.is_empty() => Arc::new(schema::schema(&schema, limits)?),
        Some(_) => return Err(stream.wrong("the schema message has a body")),
        None => return Err(stream.wrong("the first message is not a schema")),
    };
    if let Some(expected) = expected {
        check_schema(&schema, expected)?;
    }

    let Some(second) = stream.next()? else {
        stream.at_end()?;
        return Ok(RecordBatch::new_empty(schema));
    };
    let Some(header) = second.message.header_as_record_batch() else {
        let what = match second.message.header_type() {
            MessageHeader::DictionaryBatch => "dictionaries are not part of the contract",
            _ => "the second message is not a record batch",
        };
        return Err(stream.wrong(what));
    };
    if stream.next()?.is_some() {
        return Err(stream.wrong("there is more than one batch"));
    }
    stream.at_end()?;

    let body = buffer.slice_with_length(second.body.start, second.body.len());
    layout::check(&header, &schema, body.as_slice(), limits)?;
    let batch =
        arrow_ipc::reader::read_record_batch(&body, header, schema, &HashMap::new(), None, &MetadataVersion::V5)?;
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        check_decimals(field.name(), column)?;
    }
    Ok(batch)
}

/// Arrow does not hold decimals against their precision when it decodes; a writer downstream would.
fn check_decimals(name: &str, array: &ArrayRef) -> Result<(), WireError> {
    fn check<T: DecimalType>(name: &str, array: &PrimitiveArray<T>) -> Result<(), WireError> {
        let precision = array.precision();
        if array.iter().flatten().all(|value| T::is_valid_decimal_precision(value, precision)) {
            return Ok(());
        }
        let detail = format!("a value has more than the {precision} digits of its type");
        Err(WireError::Layout { column: shown(name, 80), detail })
    }
    match array.data_type() {
        DataType::Decimal32(..) => check(name, array.as_primitive::<Decimal32Type>()),
        DataType::Decimal64(..) => check(name, array.as_primitive::<Decimal64Type>()),
        DataType::Decimal128(..) => check(name, array.as_primitive::<Decimal128Type>()),
        DataType::Decimal256(..) => check(name, array.as_primitive::<Decimal256Type>()),
        DataType::List(_) => check_decimals(name, array.as_list::<i32>().values()),
        DataType::LargeList(_) => check_decimals(name, array.as_list::<i64>().values()),
        DataType::FixedSizeList(..) => check_decimals(name, array.as_fixed_size_list().values()),
        DataType::Map(..) => {
            let map = array.as_map();
            check_decimals(name, map.keys())?;
            check_decimals(name, map.values())
        }
        DataType::Struct(_) => array.as_struct().columns().iter().try_for_each(|child| check_decimals(name, child)),
        _ => Ok(()),
    }
}
