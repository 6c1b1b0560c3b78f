//! What a snapshot brought, as one number a window: equal for the same rows, whatever files they lie in.
//!
//! Bytes of data files are no measure: another version encodes the same rows otherwise. So the values are read back. Each row is the sha256 of
//! its values by column name, and the rows of a window are the sum of theirs, which no order and no cut into files changes.
//!
//! # Shape
//! A null counts like a column that is not there, so that a column which came later changes nothing. Whole numbers of any width are one kind,
//! and so are floating point numbers, as a widened column holds the same values. When a row was written (`ingested_at`) is not compared.

use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, TimeUnit};
use iceberg::spec::DataContentType;
use lakehost_columnar::BatchSource;
use lakehost_pipeline::INGESTED_AT;
use lakehost_pipeline::ports::TableName;
use sha2::{Digest, Sha256};

use crate::catalog::TableState;
use crate::commit::Manifests;
use crate::error::{Error, Result};
use crate::history::{AsOf, resolve};
use crate::inspect::{Labels, live_files};
use crate::lake::IcebergLake;
use crate::maintain::{Reader, failure};

/// Rows as a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContentHash {
    pub rows: u64,
    /// The sum of the rows' sha256, least part first.
    sum: [u64; 4],
}

impl ContentHash {
    /// 64 digits.
    #[must_use]
    pub fn hex(&self) -> String {
        self.sum.iter().rev().map(|part| format!("{part:016x}")).collect()
    }

    fn add(&mut self, digest: &[u8]) {
        let mut carry = false;
        for (own, part) in self.sum.iter_mut().zip(digest.chunks_exact(8)) {
            let part = part.try_into().map_or(0, u64::from_le_bytes);
            let (sum, over) = own.overflowing_add(part);
            let (sum, again) = sum.overflowing_add(u64::from(carry));
            (*own, carry) = (sum, over || again);
        }
        self.rows += 1;
    }
}

/// What a snapshot brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    pub snapshot_id: i64,
    /// By window; `all` without windows.
    pub windows: BTreeMap<String, ContentHash>,
}

impl IcebergLake {
    /// Reads the rows that a snapshot added, as it added them.
    ///
    /// # Errors
    /// `LH0109` when the table has no snapshot there, `LH0502` for a file that is missing or cannot be read.
    pub fn content(&self, table: &TableName, at: &AsOf) -> Result<Content> {
        let state = self.state(table)?;
        let missing = || Error::NoSnapshot { table: table.to_string(), wanted: at.to_string() };
        let snapshot = resolve(&state, Some(at))?.cloned().ok_or_else(missing)?;
        let (live, reader) = self.core.block_on(async {
            let live = live_files(&Manifests::new(self.core.io.clone()), &state, Some(&snapshot)).await?;
            Ok::<_, Error>((live, Reader::at(&self.core, &state, Some(&snapshot)).await?))
        })?;
        let (mut windows, labels) = (BTreeMap::<String, ContentHash>::new(), Labels::of(&state.metadata));
        let deleted_from = reader.deleted_from();
        let added = live.iter().filter(|live| live.snapshot_id == snapshot.snapshot_id());
        for live in added.filter(|live| live.file.content_type() == DataContentType::Data) {
            let window = labels.window(&live.spec, live.file.partition()).unwrap_or_else(|| "all".to_owned());
            let hash = windows.entry(window).or_default();
            let path = live.file.file_path();
            let mut batches = reader.batches(&self.core, &state, path, None)?;
            let mut read = 0;
            while let Some(batch) = batches.next().map_err(|error| unreadable(&state, path, error))? {
                add_rows(hash, &batch).map_err(|error| unreadable(&state, path, error.into()))?;
                read += batch.num_rows() as u64;
            }
            if read != live.file.record_count() && !deleted_from.contains(path) {
                let found = format!("{read} rows are in it, the table lists {}", live.file.record_count());
                return Err(Error::Damaged { table: table.to_string(), location: path.to_owned(), detail: found });
            }
        }
        Ok(Content { snapshot_id: snapshot.snapshot_id(), windows })
    }
}

/// A data file that does not read is damaged, whatever library says so.
fn unreadable(state: &TableState, path: &str, error: lakehost_columnar::BoxError) -> Error {
    match failure(state, lakehost_columnar::Error::Step(error)) {
        Error::Store { action, location, source } => Error::Store { action, location, source },
        other => Error::Damaged {
            table: state.name.to_string(),
            location: path.to_owned(),
            detail: std::error::Error::source(&other).map_or_else(|| other.to_string(), ToString::to_string),
        },
    }
}

/// A column of a batch, ready to be read value by value.
struct Column<'a> {
    /// The beginning of what stands for each of its values.
    name: [u8; 16],
    array: &'a ArrayRef,
    text: Option<ArrayFormatter<'a>>,
}

fn add_rows(hash: &mut ContentHash, batch: &RecordBatch) -> Result<(), arrow_schema::ArrowError> {
    let schema = batch.schema();
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (field, array) in schema.fields().iter().zip(batch.columns()).filter(|(field, _)| field.name() != INGESTED_AT) {
        let mut name = [0; 16];
        for (to, from) in name.iter_mut().zip(Sha256::digest(field.name())) {
            *to = from;
        }
        let text = match is_plain(array.data_type()) {
            true => None,
            false => Some(ArrayFormatter::try_new(array, &PLAIN)?),
        };
        columns.push(Column { name, array, text });
    }
    // Columns may come in any order, and two tables need not have them in the same one.
    columns.sort_by_key(|column| column.name);
    let mut bytes = Vec::new();
    for row in 0..batch.num_rows() {
        bytes.clear();
        for column in columns.iter().filter(|column| column.array.is_valid(row)) {
            bytes.extend_from_slice(&column.name);
            column.write(row, &mut bytes);
        }
        hash.add(&Sha256::digest(&bytes));
    }
    Ok(())
}

const PLAIN: FormatOptions<'static> = FormatOptions::new().with_display_error(false).with_null("null");

fn is_plain(kind: &DataType) -> bool {
    use DataType as T;
    matches!(
        kind,
        T::Boolean
            | T::Int32
            | T::Int64
            | T::Float32
            | T::Float64
            | T::Date32
            | T::Timestamp(TimeUnit::Microsecond, _)
            | T::Decimal128(..)
            | T::Utf8
            | T::Binary
    )
}

impl Column<'_> {
    /// A mark of the kind, then the value; what has no fixed length says how long it is.
    fn write(&self, row: usize, bytes: &mut Vec<u8>) {
        use DataType as T;
        let array = self.array;
        let mut put = |kind: u8, value: &[u8]| {
            bytes.push(kind);
            bytes.extend_from_slice(value);
        };
        match array.data_type() {
            T::Boolean => put(b'b', &[u8::from(array.as_boolean().value(row))]),
            T::Int32 => put(b'i', &i64::from(array.as_primitive::<Int32Type>().value(row)).to_le_bytes()),
            T::Int64 => put(b'i', &array.as_primitive::<Int64Type>().value(row).to_le_bytes()),
            T::Float32 => put(b'f', &float(f64::from(array.as_primitive::<Float32Type>().value(row)))),
            T::Float64 => put(b'f', &float(array.as_primitive::<Float64Type>().value(row))),
            T::Date32 => put(b'd', &array.as_primitive::<Date32Type>().value(row).to_le_bytes()),
            T::Timestamp(TimeUnit::Microsecond, _) => {
                put(b't', &array.as_primitive::<TimestampMicrosecondType>().value(row).to_le_bytes());
            }
            T::Decimal128(_, scale) => {
                put(b'n', &scale.to_le_bytes());
                bytes.extend_from_slice(&array.as_primitive::<Decimal128Type>().value(row).to_le_bytes());
            }
            T::Utf8 => {
                let text = array.as_string::<i32>().value(row);
                put(b's', &(text.len() as u64).to_le_bytes());
                bytes.extend_from_slice(text.as_bytes());
            }
            T::Binary => {
                let value = array.as_binary::<i32>().value(row);
                put(b'x', &(value.len() as u64).to_le_bytes());
                bytes.extend_from_slice(value);
            }
            _ => {
                let text = self.text.as_ref().map(|text| text.value(row).to_string()).unwrap_or_default();
                put(b'o', &(text.len() as u64).to_le_bytes());
                bytes.extend_from_slice(text.as_bytes());
            }
        }
    }
}

/// Every value that is no number is one.
fn float(value: f64) -> [u8; 8] {
    if value.is_nan() { f64::NAN.to_le_bytes() } else { value.to_le_bytes() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Float64Array, Int32Array, Int64Array, StringArray};

    use super::*;

    fn hash(batches: &[RecordBatch]) -> String {
        let mut hash = ContentHash::default();
        for batch in batches {
            add_rows(&mut hash, batch).unwrap();
        }
        format!("{} {}", hash.rows, hash.hex())
    }

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
    }

    #[test]
    fn the_same_rows_are_the_same_number_and_others_are_not() {
        let ids = |ids: [Option<i32>; 3]| -> ArrayRef { Arc::new(Int32Array::from(ids.to_vec())) };
        let names = |names: [&str; 3]| -> ArrayRef { Arc::new(StringArray::from(names.to_vec())) };
        let rows = batch(vec![("id", ids([Some(1), Some(2), None])), ("name", names(["a", "b", "c"]))]);
        let truth = hash(std::slice::from_ref(&rows));
        assert!(truth.starts_with("3 ") && truth.len() == 66, "{truth}");
        // Another order of rows and columns, other cuts, a wider type, a column of nulls.
        let turned = batch(vec![("name", names(["c", "a", "b"])), ("id", ids([None, Some(1), Some(2)]))]);
        assert_eq!(hash(&[turned]), truth);
        assert_eq!(hash(&[rows.slice(1, 2), rows.slice(0, 1)]), truth);
        let wide = batch(vec![
            ("id", Arc::new(Int64Array::from(vec![Some(1), Some(2), None]))),
            ("name", names(["a", "b", "c"])),
            ("new", Arc::new(Float64Array::from(vec![None, None, None]))),
        ]);
        assert_eq!(hash(&[wide]), truth);
        // A value, a value in another row, a row twice, a row less.
        for other in [
            batch(vec![("id", ids([Some(1), Some(3), None])), ("name", names(["a", "b", "c"]))]),
            batch(vec![("id", ids([Some(2), Some(1), None])), ("name", names(["a", "b", "c"]))]),
            batch(vec![("name", ids([Some(1), Some(2), None])), ("id", names(["a", "b", "c"]))]),
        ] {
            assert_ne!(hash(&[other]), truth);
        }
        assert_ne!(hash(&[rows.clone(), rows.slice(0, 1)]), truth);
        assert_ne!(hash(&[rows.slice(0, 2)]), truth);
    }
}
