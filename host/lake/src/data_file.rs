//! From the footer of a written Parquet file to the entry that a manifest holds for it.

use std::collections::HashMap;

use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, PartitionSpec, PrimitiveType, Schema, Struct,
};
use lakehost_columnar::WrittenFile;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::schema::types::ColumnDescriptor;

use crate::bounds::Range;
use crate::error::{Error, Result};

/// What is known of one column over all row groups.
#[derive(Debug, Default)]
struct Column {
    size_bytes: u64,
    values: u64,
    nulls: u64,
    /// Some chunk does not say how many.
    nulls_unknown: bool,
    range: Range,
}

/// The manifest entry of a file that holds rows of `partition` under `spec`, in one of the table's sort orders or in none.
pub fn data_file(
    file: &WrittenFile,
    schema: &Schema,
    spec: &PartitionSpec,
    partition: Struct,
    sort_order_id: Option<i32>,
) -> Result<DataFile> {
    let footer = &file.footer;
    let rows = u64::try_from(footer.file_metadata().num_rows()).unwrap_or(0);
    if rows != file.rows {
        return Err(Error::Internal(format!(
            "{} has {rows} rows in its footer, {} were written",
            file.location, file.rows
        )));
    }
    let columns = columns(footer, schema);
    let mut builder = DataFileBuilder::default();
    builder
        .content(DataContentType::Data)
        .file_path(file.location.clone())
        .file_format(DataFileFormat::Parquet)
        .partition(partition)
        .partition_spec_id(spec.spec_id())
        .record_count(rows)
        .file_size_in_bytes(file.size_bytes)
        .column_sizes(columns.iter().map(|(id, column)| (*id, column.size_bytes)).collect())
        .value_counts(counts(&columns, |column| Some(column.values)))
        .null_value_counts(counts(&columns, |column| (!column.nulls_unknown).then_some(column.nulls)))
        .lower_bounds(bounds(&columns, |range| range.lower().cloned()))
        .upper_bounds(bounds(&columns, |range| range.upper().cloned()))
        .split_offsets(split_offsets(footer));
    if let Some(id) = sort_order_id {
        builder.sort_order_id(id);
    }
    builder.build().map_err(|error| Error::Internal(format!("no manifest entry for {}: {error}", file.location)))
}

fn counts(columns: &HashMap<i32, Column>, count: impl Fn(&Column) -> Option<u64>) -> HashMap<i32, u64> {
    columns.iter().filter_map(|(id, column)| Some((*id, count(column)?))).collect()
}

fn bounds(
    columns: &HashMap<i32, Column>,
    bound: impl Fn(&Range) -> Option<iceberg::spec::Datum>,
) -> HashMap<i32, iceberg::spec::Datum> {
    columns.iter().filter_map(|(id, column)| Some((*id, bound(&column.range)?))).collect()
}

/// Columns by field id. Those inside lists count with their size only: a value there is not a row.
fn columns(footer: &ParquetMetaData, schema: &Schema) -> HashMap<i32, Column> {
    let mut columns: HashMap<i32, Column> = HashMap::new();
    for group in footer.row_groups() {
        for chunk in group.columns() {
            let descriptor = chunk.column_descr();
            let Some((id, kind)) = field(descriptor, schema) else { continue };
            let column = columns.entry(id).or_default();
            column.size_bytes += u64::try_from(chunk.compressed_size()).unwrap_or(0);
            if descriptor.max_rep_level() > 0 {
                column.nulls_unknown = true;
                column.range.add(kind, descriptor, None);
                continue;
            }
            let values = u64::try_from(chunk.num_values()).unwrap_or(0);
            column.values += values;
            match nulls(chunk, descriptor) {
                Some(nulls) => column.nulls += nulls,
                None => column.nulls_unknown = true,
            }
            // A chunk of nulls alone has no bounds and needs none.
            if values > 0 && nulls(chunk, descriptor) != Some(values) {
                column.range.add(kind, descriptor, chunk.statistics());
            }
        }
    }
    columns
}

fn nulls(chunk: &ColumnChunkMetaData, descriptor: &ColumnDescriptor) -> Option<u64> {
    if descriptor.max_def_level() == 0 {
        return Some(0);
    }
    chunk.statistics().and_then(parquet::file::statistics::Statistics::null_count_opt)
}

/// The table's column: by the field id in the file, by name when the file has none.
fn field<'a>(descriptor: &ColumnDescriptor, schema: &'a Schema) -> Option<(i32, &'a PrimitiveType)> {
    let info = descriptor.self_type().get_basic_info();
    let field = if info.has_id() {
        schema.field_by_id(info.id())?
    } else {
        schema.field_by_name(&descriptor.path().string())?
    };
    Some((field.id, field.field_type.as_primitive_type()?))
}

/// Where each row group starts, for readers that split files; `None` when the footer does not say it in order.
fn split_offsets(footer: &ParquetMetaData) -> Option<Vec<i64>> {
    let starts = footer
        .row_groups()
        .iter()
        .map(|group| group.columns().iter().map(start_of).min())
        .collect::<Option<Vec<i64>>>()?;
    let sound = !starts.is_empty() && starts.iter().all(|start| *start > 0) && starts.is_sorted();
    sound.then_some(starts)
}

fn start_of(chunk: &ColumnChunkMetaData) -> i64 {
    // Some writers say 0 for "no dictionary".
    let dictionary = chunk.dictionary_page_offset().filter(|offset| *offset > 0).unwrap_or(i64::MAX);
    dictionary.min(chunk.data_page_offset())
}
