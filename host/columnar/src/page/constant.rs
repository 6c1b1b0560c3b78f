//! Columns with one value for all rows: one dictionary entry and one run, whatever the number of rows.

use super::byte_values::ByteValues;
use super::fault::{PageResult, corrupt};
use super::scratch::Scratch;
use super::statistics::Bounds;
use super::values::{Kind, Values};
use super::writer::{ChunkWriter, EncodedChunk};
use crate::Constant;
use parquet::schema::types::ColumnDescPtr;

/// A chunk of `rows` times `constant`; `None` stands for null. `rows` is at least 1.
///
/// # Errors
/// When the column's type does not hold the constant, or the column has no nulls and one is wanted.
pub(crate) fn encode(
    constant: Option<&Constant>,
    rows: usize,
    column: &ColumnDescPtr,
    scratch: &mut Scratch,
) -> PageResult<EncodedChunk> {
    let Some(kind) = Kind::of(column) else {
        return corrupt(format!("column {} is of a type that is not written", column.name()));
    };
    let mut writer = ChunkWriter::new(column.clone(), 256);
    let mut bounds = Bounds::new(column, kind);
    let Some(constant) = constant else {
        writer.repeat(rows, true, scratch)?;
        return writer.finish(bounds, scratch);
    };
    let value = match (constant, kind) {
        (Constant::Date(days), Kind::Int32) => Values::Int32(vec![*days]),
        (Constant::TimestampMicros(micros) | Constant::TimestampMicrosUtc(micros), Kind::Int64) => {
            Values::Int64(vec![*micros])
        }
        (Constant::Utf8(text), Kind::Bytes) => {
            let mut bytes = ByteValues::default();
            bytes.push(text.as_bytes())?;
            Values::Bytes(bytes)
        }
        (constant, _) => return corrupt(format!("column {} cannot hold {constant:?}", column.name())),
    };
    bounds.see(&value, 0..1);
    writer.dictionary(&value, None)?;
    writer.repeat(rows, false, scratch)?;
    writer.finish(bounds, scratch)
}
