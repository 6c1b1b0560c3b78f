//! Columns by name and type, with errors that say which column and which type.

use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Schema};

use crate::error::{PluginError, Result};

/// Finds a column of the wanted type in a schema: what `bind` does first.
///
/// # Errors
/// `schema-mismatch`, when the column is missing or of another type.
///
/// # Example
/// ```
/// use lakehost_sdk::arrow_schema::{DataType, Field, Schema};
///
/// let schema = Schema::new(vec![Field::new("fare_amount", DataType::Utf8, true)]);
/// let error = lakehost_sdk::require_column(&schema, "fare_amount", &DataType::Float64).expect_err("it is text");
/// assert_eq!(error.message, "column fare_amount is Utf8, expected Float64");
/// ```
pub fn require_column(schema: &Schema, name: &str, wanted: &DataType) -> Result<()> {
    let Ok(field) = schema.field_with_name(name) else {
        let known: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        return Err(PluginError::schema_mismatch(format!("column {name} is missing"))
            .with("column", name)
            .with("columns", known.join(", ")));
    };
    if field.data_type() != wanted {
        let found = field.data_type();
        let message = format!("column {name} is {found}, expected {wanted}");
        return Err(PluginError::schema_mismatch(message).with("column", name));
    }
    Ok(())
}

/// The column of a batch as an array of a known type.
///
/// # Errors
/// `schema-mismatch`, when the column is missing or of another type.
///
/// # Example
/// ```
/// use std::sync::Arc;
///
/// use lakehost_sdk::arrow_array::{Float64Array, RecordBatch};
///
/// let fares = Arc::new(Float64Array::from(vec![2.5, 12.0]));
/// let batch = RecordBatch::try_from_iter([("fare_amount", fares as _)])?;
/// let fares: &Float64Array = lakehost_sdk::column(&batch, "fare_amount")?;
/// assert_eq!(fares.values()[1], 12.0);
/// # Ok::<(), lakehost_sdk::PluginError>(())
/// ```
pub fn column<'a, A: Array + 'static>(batch: &'a RecordBatch, name: &str) -> Result<&'a A> {
    let array = batch.column_by_name(name).ok_or_else(|| {
        PluginError::schema_mismatch(format!("column {name} is missing from the batch")).with("column", name)
    })?;
    array.as_any().downcast_ref::<A>().ok_or_else(|| {
        let found = array.data_type();
        PluginError::schema_mismatch(format!("column {name} is {found}, which the plugin did not bind to"))
            .with("column", name)
    })
}
