//! The new footer of an as-is file: the old chunks under the table's names and ids, and the constant chunks behind them.

use bytes::Bytes;
use parquet::basic::{BoundaryOrder, ColumnOrder, SortOrder};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMetaData, ColumnIndexBuilder, FileMetaData, PageIndexPolicy, ParquetColumnIndex, ParquetMetaData,
    ParquetMetaDataBuilder, ParquetMetaDataReader, ParquetOffsetIndex, RowGroupMetaData,
};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::schema::types::{ColumnDescPtr, SchemaDescPtr};

use crate::bytes::SourceChunks;
use crate::error::{Error, Result, guarded};
use crate::footer::ParquetFile;
use crate::thrift;

/// An encoded column chunk, offsets counted from its start.
pub(super) type Chunk = (Bytes, ColumnCloseResult);

/// The footer for `file` with `chunks` (one list for each row group) right behind its body.
///
/// Page indexes are carried over when all columns have them: then the constant columns need them too, as some readers take a footer
/// with indexes for some columns only as damaged. Otherwise there are none.
pub(super) fn graft(file: &ParquetFile, schema: &SchemaDescPtr, chunks: &[Vec<Chunk>]) -> Result<ParquetMetaData> {
    let source = file.metadata();
    let fault = |error: ParquetError| Error::Encode {
        what: format!("a footer for {}", file.name()),
        detail: error.to_string(),
    };
    let (mut column_index, mut offset_index) = page_indexes(file)?.unzip();
    let mut groups = Vec::with_capacity(source.num_row_groups());
    let mut position = file.body_bytes() as i64;
    for (index, (group, constants)) in source.row_groups().iter().zip(chunks).enumerate() {
        let mut columns = Vec::with_capacity(schema.num_columns());
        for (leaf, chunk) in group.columns().iter().enumerate() {
            columns.push(moved(chunk, schema.column(leaf), 0, file.body_bytes()).map_err(fault)?);
        }
        let mut size = group.total_byte_size();
        for (bytes, close) in constants {
            let chunk = moved(&close.metadata, schema.column(columns.len()), position, u64::MAX).map_err(fault)?;
            if let (Some(columns), Some(offsets)) = (&mut column_index, &mut offset_index) {
                columns[index].push(constant_index(close).map_err(fault)?);
                offsets[index].extend(close.offset_index.clone().map(|mut offsets| {
                    offsets.page_locations.iter_mut().for_each(|page| page.offset += position);
                    offsets
                }));
            }
            // What a stranger's footer claims; it only informs.
            size = size.saturating_add(chunk.uncompressed_size());
            position += bytes.len() as i64;
            columns.push(chunk);
        }
        let mut builder = RowGroupMetaData::builder(schema.clone())
            .set_num_rows(group.num_rows())
            .set_total_byte_size(size)
            .set_column_metadata(columns)
            .set_sorting_columns(group.sorting_columns().cloned());
        if let Some(ordinal) = group.ordinal() {
            builder = builder.set_ordinal(ordinal);
        }
        if let Some(offset) = group.file_offset() {
            builder = builder.set_file_offset(offset);
        }
        groups.push(builder.build().map_err(fault)?);
    }
    let orders = schema.columns().iter().map(|column| {
        let (logical, converted, physical) =
            (column.logical_type_ref(), column.converted_type(), column.physical_type());
        ColumnOrder::TYPE_DEFINED_ORDER(ColumnOrder::sort_order_for_type(logical, converted, physical))
    });
    let old = source.file_metadata();
    // Readers judge statistics by who wrote them. Key-value metadata (Arrow, pandas, Spark, another table's schema) describes the columns as
    // they were.
    let created_by = old.created_by().map(str::to_owned);
    let new =
        FileMetaData::new(old.version(), old.num_rows(), created_by, None, schema.clone(), Some(orders.collect()));
    Ok(ParquetMetaDataBuilder::new(new)
        .set_row_groups(groups)
        .set_column_index(column_index)
        .set_offset_index(offset_index)
        .build())
}

/// The same chunk under another column, `shift` bytes further on.
fn moved(
    chunk: &ColumnChunkMetaData,
    column: ColumnDescPtr,
    shift: i64,
    body_bytes: u64,
) -> Result<ColumnChunkMetaData, ParquetError> {
    let signed = column.sort_order() == SortOrder::SIGNED;
    let mut builder = ColumnChunkMetaData::builder(column)
        .set_encodings_mask(*chunk.encodings_mask())
        .set_num_values(chunk.num_values())
        .set_compression(chunk.compression())
        .set_total_compressed_size(chunk.compressed_size())
        .set_total_uncompressed_size(chunk.uncompressed_size())
        .set_data_page_offset(chunk.data_page_offset() + shift)
        .set_dictionary_page_offset(chunk.dictionary_page_offset().map(|offset| offset + shift))
        .set_index_page_offset(chunk.index_page_offset().map(|offset| offset + shift))
        .set_unencoded_byte_array_data_bytes(chunk.unencoded_byte_array_data_bytes())
        .set_repetition_level_histogram(chunk.repetition_level_histogram().cloned())
        .set_definition_level_histogram(chunk.definition_level_histogram().cloned());
    // The deprecated bounds were compared as signed bytes, which text is not.
    if let Some(statistics) = chunk.statistics().filter(|statistics| signed || !statistics.is_min_max_deprecated()) {
        builder = builder.set_statistics(statistics.clone());
    }
    if let Some(encodings) = chunk.page_encoding_stats() {
        builder = builder.set_page_encoding_stats(encodings.clone());
    }
    let bloom_filter = chunk.bloom_filter_offset().zip(chunk.bloom_filter_length());
    if let Some((offset, length)) = bloom_filter.filter(|(offset, length)| inside(*offset, *length, body_bytes)) {
        builder = builder.set_bloom_filter_offset(Some(offset)).set_bloom_filter_length(Some(length));
    }
    builder.build()
}

/// Whether a structure lies in the bytes that are carried over.
fn inside(offset: i64, length: i32, body_bytes: u64) -> bool {
    match (u64::try_from(offset), u64::try_from(length)) {
        (Ok(offset), Ok(length)) => offset.checked_add(length).is_some_and(|end| end <= body_bytes),
        _ => false,
    }
}

/// The column index of a chunk with one value on every page.
fn constant_index(close: &ColumnCloseResult) -> Result<ColumnIndexMetaData, ParquetError> {
    let mut builder = ColumnIndexBuilder::new(close.metadata.column_type());
    let bound = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec).unwrap_or_default();
    let statistics = close.metadata.statistics();
    for _ in close.offset_index.iter().flat_map(|offsets| &offsets.page_locations) {
        let min = bound(statistics.and_then(|statistics| statistics.min_bytes_opt()));
        let max = bound(statistics.and_then(|statistics| statistics.max_bytes_opt()));
        builder.append(false, min, max, 0);
    }
    builder.set_boundary_order(BoundaryOrder::ASCENDING);
    builder.build()
}

/// The page indexes of the file, when every chunk has both and all of them are sound.
fn page_indexes(file: &ParquetFile) -> Result<Option<(ParquetColumnIndex, ParquetOffsetIndex)>> {
    let chunks = || file.metadata().row_groups().iter().flat_map(RowGroupMetaData::columns);
    // Forged lists in an index would end the process inside the parquet crate, as in a footer.
    for chunk in chunks() {
        let column = chunk.column_index_offset().zip(chunk.column_index_length());
        let offset = chunk.offset_index_offset().zip(chunk.offset_index_length());
        for (place, check) in
            [(column, thrift::check_column_index as fn(&[u8]) -> _), (offset, thrift::check_offset_index)]
        {
            let Some((offset, length)) = place.filter(|(offset, length)| inside(*offset, *length, file.body_bytes()))
            else {
                return Ok(None);
            };
            let bytes = file.bytes().read_at(offset.unsigned_abs(), length.unsigned_abs() as usize)?;
            if check(&bytes).is_err() {
                return Ok(None);
            }
        }
    }
    let source = SourceChunks::new(file.bytes().clone());
    let read = guarded(file.name(), || {
        let mut reader = ParquetMetaDataReader::new_with_metadata(file.metadata().clone())
            .with_page_index_policy(PageIndexPolicy::Optional);
        reader.read_page_indexes(&source).map_err(|error| Error::decode(file.name(), error))?;
        reader.finish().map_err(|error| Error::decode(file.name(), error))
    });
    let metadata = match (read, source.take_fault()) {
        (_, Some(error)) => return Err(Error::Io(error)),
        (Err(_), None) => return Ok(None),
        (Ok(metadata), None) => metadata,
    };
    let (Some(columns), Some(offsets)) = (metadata.column_index(), metadata.offset_index()) else { return Ok(None) };
    let sound = metadata.row_groups().iter().zip(columns).zip(offsets).all(|((group, columns), offsets)| {
        columns.len() == group.num_columns()
            && offsets.len() == group.num_columns()
            && columns.iter().all(|index| !matches!(index, ColumnIndexMetaData::NONE))
            && group.columns().iter().zip(offsets).all(|(chunk, offsets)| {
                let (start, len) = chunk.byte_range();
                let mut row = -1;
                offsets.page_locations().iter().all(|page| {
                    let rising = page.first_row_index > row && page.first_row_index < group.num_rows();
                    row = page.first_row_index;
                    let first = page.offset.checked_sub(start as i64);
                    rising && first.is_some_and(|first| inside(first, page.compressed_page_size, len))
                })
            })
    });
    Ok(sound.then(|| (columns.clone(), offsets.clone())))
}
