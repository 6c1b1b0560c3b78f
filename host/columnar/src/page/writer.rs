//! One output column chunk in the making: pages go in, bytes and footer entry come out.
//!
//! Only version 1 pages in PLAIN and RLE_DICTIONARY are written: what every reader of Iceberg tables knows, the older vectorised ones included.

use super::fault::{PageFault, PageResult, corrupt};
use super::rle;
use super::scratch::Scratch;
use super::select::count_ones;
use super::statistics::Bounds;
use super::values::Values;
use bytes::Bytes;
use parquet::basic::{Compression, Encoding, PageType};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::file::metadata::{ColumnChunkMetaData, PageEncodingStats};
use parquet::file::page_index::offset_index::{OffsetIndexMetaData, PageLocation};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use std::ops::Range;
use std::sync::Arc;

/// Most rows in a page.
pub(crate) const PAGE_ROWS: usize = 1 << 16;
/// A page of values is cut at about this size.
const PAGE_BYTES: usize = 1 << 20;

/// A page smaller than this says nothing about how a column compresses.
const TELLING_PAGE_BYTES: usize = 64 << 10;
/// A chunk whose first page of plain values saves less than this part of it is left uncompressed.
const PLAIN_SAVES: usize = 6;
/// The same for a page of ids.
const IDS_SAVE: usize = 16;

/// An encoded column chunk: its bytes, and its footer entry with offsets counted from their start.
pub(crate) type EncodedChunk = (Bytes, ColumnCloseResult);

/// The values of a run of rows, without the nulls.
#[derive(Clone, Copy)]
pub(crate) enum Dense<'a> {
    /// Ids, each below the number of entries written with [`ChunkWriter::dictionary`].
    Ids {
        ids: &'a [u32],
        width: u8,
    },
    Plain(&'a Values, usize),
}

impl<'a> Dense<'a> {
    fn cut(self, range: Range<usize>) -> Dense<'a> {
        match self {
            Dense::Ids { ids, width } => Dense::Ids { ids: &ids[range], width },
            Dense::Plain(values, start) => Dense::Plain(values, start + range.start),
        }
    }
}

/// A buffer that is lent to the parquet crate for the time of one page, so that it need not be copied.
struct Lent(Arc<Vec<u8>>);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

pub(crate) struct ChunkWriter {
    column: ColumnDescPtr,
    pages: TrackedWrite<Vec<u8>>,
    dictionary_offset: Option<i64>,
    data_offset: Option<i64>,
    raw_bytes: i64,
    packed_bytes: i64,
    rows: usize,
    nulls: u64,
    encodings: Vec<Encoding>,
    locations: Vec<PageLocation>,
    page_kinds: Vec<PageEncodingStats>,
    /// What the page being built is appended to.
    raw: Vec<u8>,
    /// The dictionary page and its number of entries, until the first data page shows whether the chunk is worth compressing.
    dictionary: Option<(Vec<u8>, u32)>,
    /// The chunk is left uncompressed.
    stored: bool,
}

impl ChunkWriter {
    /// `room_bytes`: a guess at the size of the result.
    pub(crate) fn new(column: ColumnDescPtr, room_bytes: usize) -> Self {
        Self {
            column,
            pages: TrackedWrite::new(Vec::with_capacity(room_bytes)),
            dictionary_offset: None,
            data_offset: None,
            raw_bytes: 0,
            packed_bytes: 0,
            rows: 0,
            nulls: 0,
            encodings: vec![Encoding::RLE],
            locations: Vec::new(),
            page_kinds: Vec::new(),
            raw: Vec::new(),
            dictionary: None,
            stored: false,
        }
    }

    pub(crate) fn column(&self) -> &ColumnDescPtr {
        &self.column
    }

    /// Takes the dictionary: all entries, or those at `ids`. Comes before any data page, and not at all when there are no entries.
    pub(crate) fn dictionary(&mut self, entries: &Values, ids: Option<&[u32]>) -> PageResult<()> {
        let mut raw = Vec::new();
        match ids {
            None => entries.write_plain(0..entries.len(), &mut raw),
            Some(ids) => entries.write_plain_ids(ids, &mut raw),
        }
        let count = ids.map_or(entries.len(), <[u32]>::len);
        let count = u32::try_from(count).map_err(|_| PageFault::TooLarge(format!("{count} dictionary entries")))?;
        self.dictionary = Some((raw, count));
        Ok(())
    }

    /// Writes rows as one or more data pages. `levels`: one byte per row, 1 = not null; `dense`: one entry per row that is not null.
    ///
    /// # Errors
    /// When there are nulls in a column that has none by its type.
    pub(crate) fn rows(
        &mut self,
        rows: usize,
        levels: Option<&[u8]>,
        dense: Dense<'_>,
        scratch: &mut Scratch,
    ) -> PageResult<()> {
        let (mut row, mut value) = (0, 0);
        while row < rows {
            let mut len = (rows - row).min(PAGE_ROWS);
            let held = |len: usize| levels.map_or(len, |levels| count_ones(&levels[row..row + len]));
            let mut dense_len = held(len);
            if let Dense::Plain(values, start) = dense {
                while len > 1 && values.plain_bytes(start + value..start + value + dense_len) > PAGE_BYTES {
                    len = len.div_ceil(2);
                    dense_len = held(len);
                }
            }
            let levels = levels.map(|levels| &levels[row..row + len]);
            self.page(len, levels, dense.cut(value..value + dense_len), dense_len, scratch)?;
            row += len;
            value += dense_len;
        }
        Ok(())
    }

    fn page(
        &mut self,
        rows: usize,
        levels: Option<&[u8]>,
        dense: Dense<'_>,
        dense_len: usize,
        scratch: &mut Scratch,
    ) -> PageResult<()> {
        self.begin(rows, levels)?;
        let encoding = match dense {
            Dense::Ids { ids, width } => {
                self.raw.push(width);
                rle::encode(ids, width, &mut self.raw);
                Encoding::RLE_DICTIONARY
            }
            Dense::Plain(values, start) => {
                values.write_plain(start..start + dense_len, &mut self.raw);
                Encoding::PLAIN
            }
        };
        self.end(rows, rows - dense_len, encoding, scratch)
    }

    /// Writes one page that says `rows` times entry 0 of the dictionary, or `rows` times null when there is none.
    pub(crate) fn repeat(&mut self, rows: usize, null: bool, scratch: &mut Scratch) -> PageResult<()> {
        self.raw.clear();
        let optional = self.column.max_def_level() > 0;
        if null && !optional {
            return Err(PageFault::Null);
        }
        if optional {
            self.level_run(u32::from(!null), rows);
        }
        if null {
            return self.end(rows, rows, Encoding::PLAIN, scratch);
        }
        self.raw.push(1);
        rle::encode_repeat(0, 1, rows, &mut self.raw);
        self.end(rows, 0, Encoding::RLE_DICTIONARY, scratch)
    }

    fn level_run(&mut self, level: u32, rows: usize) {
        let start = self.raw.len();
        self.raw.extend_from_slice(&[0; 4]);
        rle::encode_repeat(level, 1, rows, &mut self.raw);
        self.patch_length(start);
    }

    fn patch_length(&mut self, start: usize) {
        let len = (self.raw.len() - start - 4) as u32;
        self.raw[start..start + 4].copy_from_slice(&len.to_le_bytes());
    }

    fn begin(&mut self, rows: usize, levels: Option<&[u8]>) -> PageResult<()> {
        self.raw.clear();
        if self.column.max_def_level() == 0 {
            return match levels {
                Some(levels) if levels.contains(&0) => Err(PageFault::Null),
                _ => Ok(()),
            };
        }
        match levels {
            None => self.level_run(1, rows),
            Some(levels) => {
                self.raw.extend_from_slice(&[0; 4]);
                rle::encode_bits(levels, &mut self.raw);
                self.patch_length(0);
            }
        }
        Ok(())
    }

    /// Writes the page being built, and the dictionary before the first one.
    fn end(&mut self, rows: usize, nulls: usize, encoding: Encoding, scratch: &mut Scratch) -> PageResult<()> {
        let num_values = u32::try_from(rows).map_err(|_| PageFault::TooLarge(format!("a page of {rows} rows")))?;
        let raw = std::mem::take(&mut self.raw);
        let packed = if self.stored { None } else { Some(scratch.compress(&raw)?) };
        if let (None, Some(packed)) = (self.data_offset, &packed) {
            self.stored = !self.pays(raw.len(), packed.len());
        }
        if let Some((entries, num_values)) = self.dictionary.take() {
            let page = |buf| Page::DictionaryPage { buf, num_values, encoding: Encoding::PLAIN, is_sorted: false };
            let content = if self.stored { None } else { Some(scratch.compress(&entries)?) };
            let raw_bytes = entries.len();
            match content {
                Some(packed) => scratch.keep(self.put(packed, page, raw_bytes, 0)?),
                None => drop(self.put(entries, page, raw_bytes, 0)?),
            }
        }
        let page = |buf| Page::DataPage {
            buf,
            num_values,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        self.nulls += nulls as u64;
        let raw_bytes = raw.len();
        match packed {
            Some(packed) if !self.stored => {
                scratch.keep(self.put(packed, page, raw_bytes, rows)?);
                self.raw = raw;
            }
            _ => self.raw = self.put(raw, page, raw_bytes, rows)?,
        }
        Ok(())
    }

    /// Whether compression pays, as the first data page of the chunk shows: computed doubles and the ids of many different values hold nearly random
    /// bits, and every reader would inflate them for nothing.
    fn pays(&self, raw_bytes: usize, packed_bytes: usize) -> bool {
        let (part, dictionary_bytes) = match &self.dictionary {
            None => (PLAIN_SAVES, 0),
            Some((entries, _)) => (IDS_SAVE, entries.len()),
        };
        let telling = raw_bytes >= TELLING_PAGE_BYTES && dictionary_bytes <= 2 * raw_bytes;
        !telling || packed_bytes <= raw_bytes - raw_bytes / part
    }

    /// Writes a page; gives its buffer back.
    fn put(
        &mut self,
        content: Vec<u8>,
        page: impl FnOnce(Bytes) -> Page,
        raw_bytes: usize,
        rows: usize,
    ) -> PageResult<Vec<u8>> {
        let content = Arc::new(content);
        let page = page(Bytes::from_owner(Lent(content.clone())));
        let (encoding, page_type) = (page.encoding(), page.page_type());
        let spec = SerializedPageWriter::new(&mut self.pages).write_page(CompressedPage::new(page, raw_bytes))?;
        self.raw_bytes += spec.uncompressed_size as i64;
        self.packed_bytes += spec.compressed_size as i64;
        let offset = spec.offset as i64;
        if page_type == PageType::DICTIONARY_PAGE {
            self.dictionary_offset = Some(offset);
        } else {
            self.data_offset.get_or_insert(offset);
            let first_row_index = self.rows as i64;
            self.locations.push(PageLocation {
                offset,
                compressed_page_size: spec.compressed_size as i32,
                first_row_index,
            });
            self.rows += rows;
        }
        if !self.encodings.contains(&encoding) {
            self.encodings.push(encoding);
        }
        match self.page_kinds.iter_mut().find(|kind| kind.page_type == page_type && kind.encoding == encoding) {
            Some(kind) => kind.count += 1,
            None => self.page_kinds.push(PageEncodingStats { page_type, encoding, count: 1 }),
        }
        Ok(Arc::try_unwrap(content).unwrap_or_default())
    }

    /// Ends the chunk. `bounds` saw every value that was written.
    ///
    /// # Errors
    /// When no row was written.
    pub(crate) fn finish(self, bounds: Bounds, scratch: &Scratch) -> PageResult<EncodedChunk> {
        let Some(data_offset) = self.data_offset else {
            return corrupt("a column chunk without rows was to be written");
        };
        let metadata = ColumnChunkMetaData::builder(self.column)
            .set_compression(if self.stored { Compression::UNCOMPRESSED } else { scratch.compression() })
            .set_encodings(self.encodings)
            .set_total_compressed_size(self.packed_bytes)
            .set_total_uncompressed_size(self.raw_bytes)
            .set_num_values(self.rows as i64)
            .set_data_page_offset(data_offset)
            .set_dictionary_page_offset(self.dictionary_offset)
            .set_statistics(bounds.finish(self.nulls))
            .set_page_encoding_stats(self.page_kinds)
            .build()?;
        let bytes = Bytes::from(self.pages.into_inner()?);
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: self.rows as u64,
            metadata,
            bloom_filter: None,
            column_index: None,
            offset_index: Some(OffsetIndexMetaData {
                page_locations: self.locations,
                unencoded_byte_array_data_bytes: None,
            }),
        };
        Ok((bytes, close))
    }
}
