//! Dropped rows on their way to whoever keeps them, as the source gave them.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow_schema::{Field, Schema};
use arrow_select::take::take;

use super::codes::bug;
use crate::error::Result;
use crate::mapping::CastFailure;

/// Keeps the rows that a run drops. Called from several threads, for row ranges in any order; a range without dropped rows is passed over.
pub trait RejectSink: Sync {
    /// Takes the dropped rows of one row range.
    ///
    /// # Shape
    /// `rows`: their positions behind `first_row` of the source, ascending; `codes`: why, one each. `columns`: all columns of the source, for
    /// those rows alone and before any row logic. A column with a value that could not be cast has the type of the file.
    ///
    /// # Errors
    /// Ends the run.
    fn take(&self, first_row: u64, rows: &[u32], codes: &[u16], columns: RecordBatch) -> Result<()>;
}

/// Positions and codes of the dropped rows.
pub(super) fn dropped(codes: impl Iterator<Item = u16>) -> (Vec<u32>, Vec<u16>) {
    (0u32..).zip(codes).filter(|(_, code)| *code != 0).unzip()
}

/// Hands the dropped rows of a decoded slice over.
pub(super) fn hand_over(
    sink: &dyn RejectSink,
    first_row: u64,
    codes: &[u16],
    batch: &RecordBatch,
    failed: &[CastFailure],
) -> Result<()> {
    let (rows, codes) = dropped(codes.iter().copied());
    let places = UInt32Array::from(rows.clone());
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
        let as_found = failed.iter().find(|failure| failure.column == *field.name());
        let column = as_found.and_then(|failure| failure.raw.as_ref()).unwrap_or(column);
        let taken = take(column, &places, None).map_err(|error| bug("dropped rows", error))?;
        Ok((field.name().as_str(), taken))
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    sink.take(first_row, &rows, &codes, batch_of(columns, rows.len())?)
}

/// Columns of any types as a batch.
pub(super) fn batch_of(columns: Vec<(&str, ArrayRef)>, rows: usize) -> Result<RecordBatch> {
    let fields: Vec<Field> =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
        .map_err(|error| bug("dropped rows", error))
}
