//! The columns of a load's table: what the source promises, what cleaners write, what the host adds.

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use lakehost_columnar::{Constant, SortKey};

use crate::error::Error;
use crate::ports::TableName;
use crate::window::{Granularity, Window};

/// The column by which a window is replaced: start of the window, identity-partitioned.
pub const WINDOW_COLUMN: &str = "_lakehost_window";
/// When the run wrote the row, UTC; on request.
pub const INGESTED_AT: &str = "ingested_at";
/// Name of the file that the row came from; on request.
pub const SOURCE_FILE: &str = "source_file";

/// Columns of the table without field ids, in order: source, cleaners, metadata on request, window.
pub(crate) fn table_schema(
    source: &SchemaRef,
    written: &[FieldRef],
    metadata_columns: bool,
    granularity: Granularity,
) -> Result<SchemaRef, Error> {
    let mut fields: Vec<FieldRef> = source.fields().iter().cloned().collect();
    for field in written {
        match fields.iter_mut().find(|known| known.name() == field.name()) {
            Some(known) => *known = field.clone(),
            None => fields.push(field.clone()),
        }
    }
    let mut reserved = vec![WINDOW_COLUMN];
    if metadata_columns {
        reserved.extend([INGESTED_AT, SOURCE_FILE]);
    }
    if let Some(field) = fields.iter().find(|field| reserved.contains(&field.name().as_str())) {
        return Err(Error::ReservedColumn { column: field.name().clone() });
    }
    if metadata_columns {
        let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        fields.push(Arc::new(Field::new(INGESTED_AT, utc, true)));
        fields.push(Arc::new(Field::new(SOURCE_FILE, DataType::Utf8, true)));
    }
    match granularity {
        Granularity::None => {}
        Granularity::Hour => {
            let local = DataType::Timestamp(TimeUnit::Microsecond, None);
            fields.push(Arc::new(Field::new(WINDOW_COLUMN, local, true)));
        }
        Granularity::Day | Granularity::Month | Granularity::Year => {
            fields.push(Arc::new(Field::new(WINDOW_COLUMN, DataType::Date32, true)));
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// The table has the columns to sort by, and their values have an order.
pub(crate) fn check_sort(keys: &[SortKey], table: &TableName, schema: &Schema) -> Result<(), Error> {
    for SortKey { column, .. } in keys {
        let nested = schema.field_with_name(column).map(|field| field.data_type().is_nested());
        let detail = match nested {
            Ok(false) => continue,
            Ok(true) => format!("column {column} has values within values"),
            Err(_) => {
                let known: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                format!("there are: {}", known.join(", "))
            }
        };
        return Err(Error::SortColumn { table: table.to_string(), column: column.clone(), detail });
    }
    Ok(())
}

/// The host's own columns of one split, with their value.
pub(crate) fn constants(
    window: Option<&Window>,
    granularity: Granularity,
    metadata: Option<(i64, &str)>,
) -> Vec<(String, Constant)> {
    let mut constants = Vec::new();
    if let Some((now_micros, file)) = metadata {
        constants.push((INGESTED_AT.to_owned(), Constant::TimestampMicrosUtc(now_micros)));
        constants.push((SOURCE_FILE.to_owned(), Constant::Utf8(file.to_owned())));
    }
    if let Some(window) = window {
        let value = match granularity {
            Granularity::Hour => Constant::TimestampMicros(window.start_micros()),
            _ => Constant::Date(window.start_days()),
        };
        constants.push((WINDOW_COLUMN.to_owned(), value));
    }
    constants
}
