//! Several Parquet files become one without a page being decoded: their row groups follow each other, column chunk by column chunk.
//!
//! That is only right when the files hold exactly the columns that the table has, in its order, types and field ids: [`can_join`] says so. And
//! it only pays when the row groups are large: many small ones cost every reader more than decoding them once.

use std::sync::Arc;

use arrow_schema::SchemaRef;
use parquet::arrow::ArrowSchemaConverter;
use parquet::column::writer::ColumnCloseResult;
use parquet::file::metadata::RowGroupMetaData;

use crate::error::{Error, Result};
use crate::file_writer::{FileLayout, FileWriter};
use crate::footer::ParquetFile;
use crate::observer::Observer;
use crate::output::{OutputSchema, SinkFactory, WriteOptions, WrittenFile};

/// Row groups smaller than this on the average are better decoded and written anew.
const GROUP_ROWS: u64 = 64 << 10;

/// Whether a file's row groups can be taken over into files of `schema`, whose fields carry their ids as metadata `PARQUET:field_id`.
///
/// # Errors
///
/// [`Error::Unsupported`] when `schema` has no Parquet form.
pub fn can_join(file: &ParquetFile, schema: &SchemaRef) -> Result<bool> {
    let wanted =
        ArrowSchemaConverter::new().convert(schema).map_err(|error| Error::unsupported("the table schema", error))?;
    // Names, ids, types, nullability and nesting of all columns; not what the root is called.
    let found = file.metadata().file_metadata().schema();
    if found.get_fields() != wanted.root_schema().get_fields() {
        return Ok(false);
    }
    let groups = file.metadata().row_groups();
    let large = groups.len() == 1 && file.rows() >= GROUP_ROWS || file.rows() >= groups.len() as u64 * GROUP_ROWS;
    let sound = groups.iter().flat_map(RowGroupMetaData::columns).all(|chunk| chunk.crypto_metadata().is_none());
    Ok(large && sound)
}

/// Writes the row groups of all files one after another, under a new footer, into as many files as [`WriteOptions::target_file_bytes`] makes.
///
/// # Errors
///
/// [`Error::Io`] from a source or the sink, [`Error::Encode`] for files that [`can_join`] would refuse. Unfinished files are abandoned.
pub fn join(
    files: &[Arc<ParquetFile>],
    output: &OutputSchema,
    options: &WriteOptions,
    sinks: &dyn SinkFactory,
    observer: &dyn Observer,
) -> Result<Vec<WrittenFile>> {
    let layout = FileLayout::new(output, options)?;
    let mut writer = FileWriter::new(&layout, sinks, observer, Vec::new());
    for file in files {
        for group in file.metadata().row_groups() {
            if observer.cancelled() {
                return Err(Error::Cancelled);
            }
            let rows = usize::try_from(group.num_rows()).unwrap_or(0);
            writer.append_encoded(chunks(file, group)?, rows)?;
            observer.progress(rows as u64, 0);
        }
    }
    writer.finish()
}

/// The column chunks of a row group, each with its footer entry, offsets counted from the start of its bytes.
fn chunks(file: &ParquetFile, group: &RowGroupMetaData) -> Result<Vec<(bytes::Bytes, ColumnCloseResult)>> {
    let mut chunks = Vec::with_capacity(group.num_columns());
    for chunk in group.columns() {
        let (start, len) = chunk.byte_range();
        let bytes = file.bytes().read_at(start, usize::try_from(len).unwrap_or(usize::MAX))?;
        let rebased = |offset: i64| offset - i64::try_from(start).unwrap_or(i64::MAX);
        let metadata = chunk
            .clone()
            .into_builder()
            .set_data_page_offset(rebased(chunk.data_page_offset()))
            // Some writers say 0 for "no dictionary".
            .set_dictionary_page_offset(chunk.dictionary_page_offset().filter(|offset| *offset > 0).map(rebased))
            .build()
            .map_err(|error| Error::encode(file.name(), error))?;
        chunks.push((
            bytes,
            ColumnCloseResult {
                bytes_written: len,
                rows_written: group.num_rows().unsigned_abs(),
                metadata,
                bloom_filter: None,
                column_index: None,
                offset_index: None,
            },
        ));
    }
    Ok(chunks)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use arrow_array::{ArrayRef, Int32Array, RecordBatch, StringArray};
    use arrow_schema::{DataType, Field, Schema};
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use parquet::file::properties::WriterProperties;

    use super::*;
    use crate::bytes::MemoryBytes;
    use crate::observer::NoObserver;
    use crate::testing::MemorySinks;

    fn schema(ids: [i32; 2]) -> SchemaRef {
        let field = |id: i32, name: &str, kind| {
            Field::new(name, kind, true).with_metadata(HashMap::from([("PARQUET:field_id".to_owned(), id.to_string())]))
        };
        Arc::new(Schema::new(vec![field(ids[0], "id", DataType::Int32), field(ids[1], "name", DataType::Utf8)]))
    }

    fn file(schema: &SchemaRef, from: i32, rows: i32, group_rows: usize) -> Arc<ParquetFile> {
        let names = (from..from + rows).map(|id| (id % 3 != 0).then(|| format!("name {}", id % 100)));
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Int32Array::from_iter_values(from..from + rows)), Arc::new(names.collect::<StringArray>())];
        let batch = RecordBatch::try_new(Arc::clone(schema), columns).unwrap();
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group_rows)).build();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, Arc::clone(schema), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        ParquetFile::open(Arc::new(MemoryBytes::new("a.parquet", bytes.into()))).unwrap()
    }

    #[test]
    fn row_groups_are_taken_over_with_rows_and_statistics() {
        let schema = schema([1, 2]);
        let files = [file(&schema, 0, 70_000, 70_000), file(&schema, 70_000, 140_000, 70_000)];
        for source in &files {
            assert!(can_join(source, &schema).unwrap());
        }
        let output = OutputSchema { schema: Arc::clone(&schema), constants: Vec::new() };
        let sinks = MemorySinks::default();
        let written = join(&files, &output, &WriteOptions::default(), &sinks, &NoObserver).unwrap();
        assert_eq!((written.len(), written[0].rows), (1, 210_000));
        assert_eq!(written[0].footer.num_row_groups(), 3);
        let bytes = sinks.bytes(&written[0].location);
        assert_eq!(bytes.len() as u64, written[0].size_bytes);
        let mut next = 0;
        for batch in ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap() {
            let batch = batch.unwrap();
            let ids = batch.column(0).as_any().downcast_ref::<Int32Array>().unwrap();
            let names = batch.column(1).as_any().downcast_ref::<StringArray>().unwrap();
            for row in 0..batch.num_rows() {
                assert_eq!(ids.value(row), next);
                let expected = (next % 3 != 0).then(|| format!("name {}", next % 100));
                assert_eq!((!arrow_array::Array::is_null(names, row)).then(|| names.value(row).to_owned()), expected);
                next += 1;
            }
        }
        assert_eq!(next, 210_000);
        let statistics = written[0].footer.row_group(2).column(0).statistics().unwrap();
        assert_eq!(statistics.min_bytes_opt(), Some(&140_000_i32.to_le_bytes()[..]));
    }

    #[test]
    fn other_columns_and_small_groups_are_not_joined() {
        let table = schema([1, 2]);
        let joins = |source: Arc<ParquetFile>| can_join(&source, &table).unwrap();
        assert!(joins(file(&table, 0, 70_000, 70_000)));
        assert!(!joins(file(&table, 0, 70_000, 1_000)), "many small groups");
        assert!(!joins(file(&table, 0, 1_000, 1_000)), "a small file");
        assert!(!joins(file(&schema([1, 3]), 0, 70_000, 70_000)), "other ids");
    }
}
