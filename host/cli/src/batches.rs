//! Record batches in answers: columns as cells of a text table, rows as JSON objects.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::{Map, Value};

use crate::error::Error;
use crate::memory;
use crate::table::{Align, TextTable, grouped};
use crate::time::utc;

/// How a column is shown to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    Text,
    /// A number that is a name: not grouped.
    Id,
    Count,
    Bytes,
    Time,
}

/// Some columns of a batch under other headings. A column that the batch lacks stays empty.
pub fn text_table(batch: &RecordBatch, columns: &[(&str, &str, Shown)]) -> String {
    let align = |shown: Shown| match shown {
        Shown::Text | Shown::Time => Align::Left,
        Shown::Id | Shown::Count | Shown::Bytes => Align::Right,
    };
    let mut table = TextTable::new(columns.iter().map(|(_, heading, shown)| (*heading, align(*shown))));
    for row in 0..batch.num_rows() {
        table.row(columns.iter().map(|(name, _, shown)| {
            batch.column_by_name(name).map(|column| cell(column.as_ref(), row, *shown)).unwrap_or_default()
        }));
    }
    table.render()
}

fn cell(column: &dyn Array, row: usize, shown: Shown) -> String {
    if column.is_null(row) {
        return String::new();
    }
    let count = |value: i64| u64::try_from(value).unwrap_or_default();
    match shown {
        Shown::Count => column.as_primitive_opt::<Int64Type>().map(|column| grouped(count(column.value(row)))),
        Shown::Bytes => column.as_primitive_opt::<Int64Type>().map(|column| memory::shown(count(column.value(row)))),
        Shown::Time => column
            .as_primitive_opt::<TimestampMicrosecondType>()
            .map(|column| utc(count(column.value(row).div_euclid(1_000)))),
        Shown::Text | Shown::Id => None,
    }
    .unwrap_or_else(|| plain(column, row))
}

/// A value as the query shows it.
fn plain(column: &dyn Array, row: usize) -> String {
    let options = FormatOptions::new().with_display_error(true);
    ArrayFormatter::try_new(column, &options).map(|formatter| formatter.value(row).to_string()).unwrap_or_default()
}

/// The counts of a column; 0 for none.
pub fn counts(batch: &RecordBatch, name: &str) -> Vec<u64> {
    let column = batch.column_by_name(name).and_then(|column| column.as_primitive_opt::<Int64Type>());
    column.map_or_else(Vec::new, |column| {
        column.iter().map(|value| value.and_then(|value| u64::try_from(value).ok()).unwrap_or(0)).collect()
    })
}

/// The texts of a column; empty for none.
pub fn texts(batch: &RecordBatch, name: &str) -> Vec<String> {
    let column = batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
    column.map_or_else(Vec::new, |column| column.iter().map(|text| text.unwrap_or_default().to_owned()).collect())
}

/// Rows as objects. Snapshot ids are text, because readers of JSON round what is above 2^53; columns that hold JSON are taken apart.
pub fn json_rows(batch: &RecordBatch, nested: &[&str]) -> Result<Vec<Value>, Error> {
    let wrong = |cause: String| Error::Bug { what: "a row cannot be written as JSON".to_owned(), cause };
    let mut bytes = Vec::new();
    let mut writer = arrow::json::WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, arrow::json::writer::JsonArray>(&mut bytes);
    writer.write(batch).and_then(|()| writer.finish()).map_err(|error| wrong(error.to_string()))?;
    drop(writer);
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let mut rows: Vec<Map<String, Value>> = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    for row in &mut rows {
        for (name, value) in row.iter_mut() {
            if name.ends_with("snapshot_id") || name == "parent_id" {
                if let Some(id) = value.as_i64() {
                    *value = Value::String(id.to_string());
                }
            } else if nested.contains(&name.as_str())
                && let Some(parsed) = value.as_str().and_then(|text| serde_json::from_str(text).ok())
            {
                *value = parsed;
            }
        }
    }
    Ok(rows.into_iter().map(Value::Object).collect())
}
