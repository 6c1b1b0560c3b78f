//! Proof that every page of a column chunk reads, for files that are taken as they are.
//!
//! Everything is inflated and checked once and nothing is kept: levels, ids against the dictionary, lengths and UTF-8 of text, the number of
//! rows. Columns beyond the page path are read to the end by the parquet crate.

use super::decode::{ChunkDecoder, Next};
use super::fault::{PageFault, PageResult, corrupt};
use super::scratch::{ChunkBytes, Scratch};
use bytes::Bytes;
use parquet::basic::{ConvertedType, LogicalType, Type};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::{ByteArray, DataType};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::schema::types::ColumnDescriptor;
use std::sync::Arc;

/// Records that the parquet crate reads at a time.
const BATCH_RECORDS: usize = 1 << 14;

/// Whether a column's byte strings must be UTF-8.
pub(crate) fn is_text(column: &ColumnDescriptor) -> bool {
    column.physical_type() == Type::BYTE_ARRAY
        && match column.logical_type_ref() {
            Some(logical) => matches!(logical, LogicalType::String | LogicalType::Json | LogicalType::Enum),
            None => matches!(column.converted_type(), ConvertedType::UTF8 | ConvertedType::JSON | ConvertedType::ENUM),
        }
}

/// Reads every page of a column chunk of `rows` rows; `chunk` holds the bytes of its byte range.
///
/// # Errors
/// When a page does not read, or the rows are not as many as announced.
pub(crate) fn verify_chunk(
    chunk: Bytes,
    metadata: &ColumnChunkMetaData,
    rows: usize,
    scratch: &mut Scratch,
) -> PageResult<()> {
    let decoder = ChunkDecoder::try_new(chunk.clone(), metadata, rows, is_text(metadata.column_descr()))?;
    let Some(mut decoder) = decoder else { return verify_foreign(chunk, metadata, rows) };
    loop {
        match decoder.peek(scratch)? {
            Next::End => return Ok(()),
            Next::Unknown => return verify_foreign(chunk, metadata, rows),
            Next::Ids | Next::Plain => decoder.check(scratch)?,
        }
    }
}

/// The parquet crate panics on some forged pages; here that is a fault like any other.
fn verify_foreign(chunk: Bytes, metadata: &ColumnChunkMetaData, rows: usize) -> PageResult<()> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| read_foreign(chunk, metadata, rows)))
        .unwrap_or_else(|_| corrupt("the decoder gave up on a page"))
}

fn read_foreign(chunk: Bytes, metadata: &ColumnChunkMetaData, rows: usize) -> PageResult<()> {
    let descriptor = metadata.column_descr_ptr();
    let text = is_text(&descriptor);
    let bytes = ChunkBytes { bytes: chunk, offset: metadata.byte_range().0 };
    let pages = SerializedPageReader::new(Arc::new(bytes), metadata, rows, None)?;
    let read = match get_column_reader(descriptor, Box::new(pages)) {
        ColumnReader::BoolColumnReader(reader) => read_all(reader, rows, |_| true),
        ColumnReader::Int32ColumnReader(reader) => read_all(reader, rows, |_| true),
        ColumnReader::Int64ColumnReader(reader) => read_all(reader, rows, |_| true),
        ColumnReader::Int96ColumnReader(reader) => read_all(reader, rows, |_| true),
        ColumnReader::FloatColumnReader(reader) => read_all(reader, rows, |_| true),
        ColumnReader::DoubleColumnReader(reader) => read_all(reader, rows, |_| true),
        ColumnReader::FixedLenByteArrayColumnReader(reader) => read_all(reader, rows, |_| true),
        ColumnReader::ByteArrayColumnReader(reader) => {
            read_all(reader, rows, |value: &ByteArray| !text || simdutf8::basic::from_utf8(value.data()).is_ok())
        }
    }?;
    if read == rows { Ok(()) } else { corrupt(format!("a column chunk holds {read} of {rows} rows")) }
}

fn read_all<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    rows: usize,
    sound: impl Fn(&T::T) -> bool,
) -> PageResult<usize> {
    let (mut values, mut definitions, mut repetitions) = (Vec::new(), Vec::new(), Vec::new());
    let mut read = 0;
    while read < rows {
        values.clear();
        definitions.clear();
        repetitions.clear();
        let wanted = BATCH_RECORDS.min(rows - read);
        let (records, ..) = reader.read_records(wanted, Some(&mut definitions), Some(&mut repetitions), &mut values)?;
        if records == 0 {
            break;
        }
        if !values.iter().all(&sound) {
            return Err(PageFault::Corrupt("a text value is not UTF-8".into()));
        }
        read += records;
    }
    Ok(read)
}
