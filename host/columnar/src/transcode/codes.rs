//! The row logic and its codes, as both paths ask for them: one code a row, 0 = kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{Field, Schema};

use crate::error::{Error, Result};
use crate::mapping::cast_named;
use crate::steps::RowStep;

/// Asks the row logic, and holds it to its word. `columns`: what it reads, by name, `rows` long each.
pub(super) fn apply(
    step: &dyn RowStep,
    columns: Vec<(&str, ArrayRef)>,
    rows: usize,
    first_row: u64,
    codes: &mut [u16],
) -> Result<Vec<ArrayRef>> {
    let fields: Vec<Field> =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
        .map_err(|error| bug("the row logic's columns", error))?;
    let written = step.apply(&batch, first_row, codes).map_err(Error::Step)?;
    let promised = step.writes();
    let kept = written.len() == promised.len()
        && written
            .iter()
            .zip(promised)
            .all(|(array, field)| array.len() == rows && array.data_type() == field.data_type());
    if kept { Ok(written) } else { Err(Error::Step("the row logic answered other columns than it declared".into())) }
}

/// The row logic's array as the output has it; only dropped rows may fail to fit.
pub(super) fn cast_written(field: &Field, array: &ArrayRef, codes: &[u16]) -> Result<ArrayRef> {
    let (cast, failures) = cast_named(field.name(), array, field.data_type())?;
    if failures.is_some_and(|failures| failures.set_indices().any(|row| codes[row] == 0)) {
        return Err(Error::Schema {
            column: field.name().clone(),
            wanted: field.data_type().to_string(),
            found: format!("{} with values that do not fit, from the row logic", array.data_type()),
        });
    }
    Ok(cast)
}

/// Adds up the dropped rows by code.
pub(super) fn count_codes(codes: &[u16], counts: &mut BTreeMap<u16, u64>) {
    for code in codes.iter().filter(|code| **code != 0) {
        *counts.entry(*code).or_default() += 1;
    }
}

/// A failure of arrow's own over arrays that were checked before.
pub(super) fn bug(what: &str, error: impl std::fmt::Display) -> Error {
    Error::Encode { what: what.to_owned(), detail: error.to_string() }
}
