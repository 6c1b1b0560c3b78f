//! Opening a Parquet file that comes from a stranger.
//!
//! Whatever is read after the footer (pages, indexes) is read where the footer says. So nothing of it is believed before it is checked: the
//! magic at both ends, the footer's length, its Thrift structure (see [`crate::thrift`]), row counts, and that every column chunk lies inside
//! the file and on no other chunk.

use std::sync::Arc;

use arrow_schema::SchemaRef;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader};

use crate::bytes::ByteSource;
use crate::error::{Error, Result, guarded};
use crate::thrift;

const MAGIC: &[u8; 4] = b"PAR1";
const ENCRYPTED_MAGIC: &[u8; 4] = b"PARE";
/// Footer length and trailing magic.
const TAIL_BYTES: u64 = 8;
const FOOTER_LIMIT_BYTES: u64 = 64 << 20;
/// What the end of a file is read with: most footers fit, so that one read is enough.
const TAIL_READ_BYTES: u64 = 64 << 10;
const COLUMN_LIMIT: usize = 16 << 10;

/// A Parquet file and its checked footer. Cheap to share behind [`Arc`].
pub struct ParquetFile {
    bytes: Arc<dyn ByteSource>,
    reader: ArrowReaderMetadata,
    body_bytes: u64,
}

impl std::fmt::Debug for ParquetFile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ParquetFile")
            .field("name", &self.name())
            .field("rows", &self.rows())
            .finish_non_exhaustive()
    }
}

impl ParquetFile {
    /// Read and check the footer of `bytes`.
    ///
    /// # Errors
    ///
    /// [`Error::NotParquet`] for anything else under this name, with what it looks like; [`Error::Truncated`] when the file starts as Parquet
    /// and has no end; [`Error::Corrupt`] when the footer contradicts itself or the file; [`Error::Unsupported`] for encrypted files and
    /// columns of unknown types; [`Error::TooLarge`] for a footer behind the limit.
    pub fn open(bytes: Arc<dyn ByteSource>) -> Result<Arc<Self>> {
        let name = bytes.name().to_owned();
        let footer = read_footer(bytes.as_ref())?;
        thrift::check_footer(&footer).map_err(|fault| Error::corrupt(&name, fault))?;
        let metadata = guarded(&name, || {
            // Full encoding statistics, so that an as-is file carries them over.
            let options = ParquetMetaDataOptions::new().with_encoding_stats_as_mask(false);
            ParquetMetaDataReader::decode_metadata_with_options(&footer, Some(&options))
                .map_err(|error| Error::decode(&name, error))
        })?;
        let body_bytes = bytes.len() - TAIL_BYTES - footer.len() as u64;
        check(&name, &metadata, body_bytes)?;
        // Types come from the Parquet schema alone: an embedded Arrow schema is another writer's wish.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let reader = guarded(&name, || {
            ArrowReaderMetadata::try_new(Arc::new(metadata), options)
                .map_err(|error| Error::unsupported(&name, format!("its schema ({error})")))
        })?;
        Ok(Arc::new(Self { bytes, reader, body_bytes }))
    }

    /// The file's bytes.
    #[must_use]
    pub fn bytes(&self) -> &Arc<dyn ByteSource> {
        &self.bytes
    }

    /// What messages call it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.bytes.name()
    }

    /// The footer.
    #[must_use]
    pub fn metadata(&self) -> &ParquetMetaData {
        self.reader.metadata()
    }

    /// The columns as Arrow types, from the Parquet schema alone; columns of the logical type *null* are `DataType::Null`.
    #[must_use]
    pub fn arrow_schema(&self) -> &SchemaRef {
        self.reader.schema()
    }

    /// Rows in the file.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.metadata().file_metadata().num_rows().unsigned_abs()
    }

    /// Everything before the footer: magic, pages, indexes.
    pub(crate) fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    pub(crate) fn reader_metadata(&self) -> &ArrowReaderMetadata {
        &self.reader
    }
}

/// The footer's Thrift bytes.
fn read_footer(bytes: &dyn ByteSource) -> Result<Bytes> {
    let (name, len) = (bytes.name(), bytes.len());
    let not_parquet = |detail: String| Error::NotParquet { name: name.to_owned(), detail };
    if len == 0 {
        return Err(not_parquet("it is empty".to_owned()));
    }
    let head = bytes.read_at(0, len.min(64) as usize)?;
    if head.starts_with(ENCRYPTED_MAGIC) {
        return Err(Error::unsupported(name, "an encrypted footer"));
    }
    if !head.starts_with(MAGIC) {
        return Err(not_parquet(describe(&head)));
    }
    let truncated = |detail: String| Error::Truncated { name: name.to_owned(), detail };
    if len < MAGIC.len() as u64 + TAIL_BYTES {
        return Err(truncated(format!("{len} bytes hold no footer")));
    }
    let tail_len = len.min(TAIL_READ_BYTES);
    let tail = bytes.read_at(len - tail_len, tail_len as usize)?;
    let (before, last) = tail.split_at(tail.len() - TAIL_BYTES as usize);
    let (length, magic) = last.split_at(4);
    if magic == ENCRYPTED_MAGIC {
        return Err(Error::unsupported(name, "an encrypted footer"));
    }
    if magic != MAGIC {
        return Err(truncated(format!("its {len} bytes start as Parquet and do not end as Parquet")));
    }
    let length = length.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    if length > FOOTER_LIMIT_BYTES {
        return Err(Error::TooLarge {
            what: format!("the footer of {name} in bytes"),
            found: length,
            limit: FOOTER_LIMIT_BYTES,
        });
    }
    if length + TAIL_BYTES + MAGIC.len() as u64 > len {
        return Err(truncated(format!("it claims a footer of {length} bytes and has {len} bytes in all")));
    }
    match before.len().checked_sub(length as usize) {
        Some(start) => Ok(tail.slice(start..before.len())),
        None => Ok(bytes.read_at(len - TAIL_BYTES - length, length as usize)?),
    }
}

/// What a file that is not Parquet looks like.
fn describe(head: &[u8]) -> String {
    let text = String::from_utf8_lossy(head).trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
    let looks_like = match head {
        _ if text.starts_with("<?xml") => "an XML document (an error answer of an object store?)",
        _ if text.starts_with("<!doctype html") || text.starts_with("<html") => "an HTML page",
        _ if text.starts_with('{') || text.starts_with('[') => "a JSON document",
        [0x1f, 0x8b, ..] => "gzip data",
        [b'P', b'K', 3, 4, ..] => "a ZIP archive",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd data",
        [b'A', b'R', b'R', b'O', b'W', b'1', ..] => "an Arrow IPC file",
        [b'O', b'R', b'C', ..] => "an ORC file",
        _ if head.iter().all(|byte| *byte == 0) => "zeroes",
        _ => return format!("it starts with {}, not with PAR1", head.get(..8).unwrap_or(head).escape_ascii()),
    };
    format!("it looks like {looks_like}")
}

/// Row counts and chunk positions.
fn check(name: &str, metadata: &ParquetMetaData, body_bytes: u64) -> Result<()> {
    let corrupt = |detail: String| Error::corrupt(name, detail);
    let file = metadata.file_metadata();
    let columns = file.schema_descr().num_columns();
    if columns > COLUMN_LIMIT {
        let what = format!("the number of columns of {name}");
        return Err(Error::TooLarge { what, found: columns as u64, limit: COLUMN_LIMIT as u64 });
    }
    let mut rows = 0_i64;
    let mut ranges = Vec::with_capacity(metadata.num_row_groups() * columns);
    for (index, group) in metadata.row_groups().iter().enumerate() {
        if group.num_rows() < 0 {
            return Err(corrupt(format!("row group {index} claims {} rows", group.num_rows())));
        }
        rows = rows.checked_add(group.num_rows()).ok_or_else(|| corrupt("its row counts overflow".to_owned()))?;
        if group.num_columns() != columns {
            return Err(corrupt(format!("row group {index} has {} of {columns} columns", group.num_columns())));
        }
        for chunk in group.columns() {
            let column = chunk.column_path().string();
            let fault = |detail: String| corrupt(format!("column {column} of row group {index} {detail}"));
            if chunk.crypto_metadata().is_some() {
                return Err(Error::unsupported(name, format!("encrypted column {column}")));
            }
            if chunk.file_path().is_some() {
                return Err(Error::unsupported(name, format!("column {column} in another file")));
            }
            let (start, end) = chunk_range(chunk).map_err(&fault)?;
            if end > body_bytes {
                return Err(fault(format!("ends at byte {end}, the pages end at {body_bytes}")));
            }
            let flat = chunk.column_descr().max_rep_level() == 0;
            if chunk.num_values() < 0 || flat && chunk.num_values() != group.num_rows() {
                return Err(fault(format!("has {} values for {} rows", chunk.num_values(), group.num_rows())));
            }
            if start < end {
                ranges.push((start, end));
            } else if group.num_rows() > 0 {
                return Err(fault("has no bytes".to_owned()));
            }
        }
    }
    if rows != file.num_rows() {
        return Err(corrupt(format!("it claims {} rows, its row groups hold {rows}", file.num_rows())));
    }
    ranges.sort_unstable();
    if let Some(pair) = ranges.windows(2).find(|pair| pair[0].1 > pair[1].0) {
        return Err(corrupt(format!("two column chunks overlap at byte {}", pair[1].0)));
    }
    Ok(())
}

/// First byte of a chunk and the one behind its last; the parquet crate's own function for it panics.
fn chunk_range(chunk: &ColumnChunkMetaData) -> Result<(u64, u64), String> {
    let first = |what: &str, offset: i64| match u64::try_from(offset) {
        Ok(offset) if offset >= MAGIC.len() as u64 => Ok(offset),
        _ => Err(format!("has its {what} at {offset}")),
    };
    let data = first("first data page", chunk.data_page_offset())?;
    let start = match chunk.dictionary_page_offset() {
        Some(offset) => first("dictionary", offset)?,
        None => data,
    };
    let len = u64::try_from(chunk.compressed_size()).map_err(|_| "has a negative size".to_owned())?;
    if chunk.uncompressed_size() < 0 {
        return Err("has a negative uncompressed size".to_owned());
    }
    let end = start.checked_add(len).ok_or("has a size without end")?;
    if len > 0 && !(start..end).contains(&data) {
        return Err(format!("has its first data page at {data}, outside of {start}..{end}"));
    }
    Ok((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::MemoryBytes;
    use crate::testing;

    fn open(bytes: impl Into<Bytes>) -> Result<Arc<ParquetFile>> {
        ParquetFile::open(Arc::new(MemoryBytes::new("a.parquet", bytes.into())))
    }

    #[test]
    fn what_is_not_parquet_is_called_by_its_name() {
        let cases: &[(&[u8], &str)] = &[
            (b"", "it is empty"),
            (b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>", "an XML document"),
            (b"\n<!DOCTYPE html><html>", "an HTML page"),
            (b"{\"error\": 404}", "a JSON document"),
            (b"\x1f\x8b\x08\x00", "gzip data"),
            (b"VendorID,lpep_pickup", "it starts with VendorID, not with PAR1"),
        ];
        for (bytes, expected) in cases {
            let error = open(*bytes).unwrap_err();
            assert!(matches!(error, Error::NotParquet { .. }), "{error}");
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn a_file_cut_anywhere_says_so_and_never_panics() {
        let whole = testing::sample_file(3000, |properties| properties);
        assert_eq!(open(whole.clone()).unwrap().rows(), 3000);
        for len in (0..whole.len()).step_by(97).chain(whole.len() - 40..whole.len()) {
            match open(whole.slice(..len)) {
                Err(Error::NotParquet { .. }) => assert!(len < 4),
                Err(Error::Truncated { .. }) => {}
                other => panic!("{len} of {} bytes: {other:?}", whole.len()),
            }
        }
    }

    #[test]
    fn a_footer_with_any_byte_changed_is_read_or_refused() {
        let whole = testing::sample_file(500, |properties| properties);
        let body = open(whole.clone()).unwrap().body_bytes() as usize;
        for position in body..whole.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut bytes = whole.to_vec();
                bytes[position] ^= change;
                let _ = open(bytes);
            }
        }
    }

    #[test]
    fn a_footer_that_contradicts_the_file_is_refused() {
        let whole = testing::sample_file(500, |properties| properties);
        let file = open(whole.clone()).unwrap();
        let (body, mut thrift) = (file.body_bytes() as usize, Vec::new());
        // The same footer behind fewer pages.
        thrift.extend_from_slice(b"PAR1");
        thrift.extend_from_slice(&whole[body..]);
        let error = open(thrift).unwrap_err();
        assert!(error.to_string().contains("the pages end at 4"), "{error}");
        // A footer longer than the file.
        let mut bytes = whole.to_vec();
        let at = bytes.len() - 8;
        bytes[at..at + 4].copy_from_slice(&(whole.len() as u32).to_le_bytes());
        assert!(matches!(open(bytes).unwrap_err(), Error::Truncated { .. }));
    }
}
