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

/// Most rows in a page.
const PAGE_ROWS: usize = 1 << 16;
/// A page of values is cut at about this size.
const PAGE_BYTES: usize = 1 << 20;

/// A page smaller than this says nothing about how a column compresses.
const TELLING_PAGE_BYTES: usize = 64 << 10;

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
    /// Compression saved too little on the first page to pay: the chunk is left uncompressed.
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
            stored: false,
        }
    }

    pub(crate) fn column(&self) -> &ColumnDescPtr {
        &self.column
    }

    /// Writes the dictionary page: all entries, or those at `ids`. Comes before any data page, and not at all when there are no entries.
    pub(crate) fn dictionary(
        &mut self,
        entries: &Values,
        ids: Option<&[u32]>,
        scratch: &mut Scratch,
    ) -> PageResult<()> {
        let mut raw = std::mem::take(&mut scratch.raw);
        raw.clear();
        match ids {
            None => entries.write_plain(0..entries.len(), &mut raw),
            Some(ids) => entries.write_plain_ids(ids, &mut raw),
        }
        let count = ids.map_or(entries.len(), <[u32]>::len);
        let num_values =
            u32::try_from(count).map_err(|_| PageFault::TooLarge(format!("{count} dictionary entries")))?;
        let buf = scratch.compress(&raw)?;
        let page = Page::DictionaryPage { buf, num_values, encoding: Encoding::PLAIN, is_sorted: false };
        let result = self.put(page, raw.len(), 0);
        scratch.raw = raw;
        result
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

    fn end(&mut self, rows: usize, nulls: usize, encoding: Encoding, scratch: &mut Scratch) -> PageResult<()> {
        let buf = self.pack(scratch)?;
        let page = Page::DataPage {
            buf,
            num_values: u32::try_from(rows).map_err(|_| PageFault::TooLarge(format!("a page of {rows} rows")))?,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        self.nulls += nulls as u64;
        self.put(page, self.raw.len(), rows)
    }

    /// The page being built, compressed; or as it is, when the first page of the chunk, without a dictionary, saved less than a sixth: doubles
    /// that were computed hold nearly random bits, and every reader would inflate them for nothing.
    fn pack(&mut self, scratch: &mut Scratch) -> PageResult<Bytes> {
        if self.stored {
            return Ok(Bytes::copy_from_slice(&self.raw));
        }
        let packed = scratch.compress(&self.raw)?;
        let first = self.data_offset.is_none() && self.dictionary_offset.is_none();
        if first && self.raw.len() >= TELLING_PAGE_BYTES && packed.len() > self.raw.len() / 6 * 5 {
            self.stored = true;
            return Ok(Bytes::copy_from_slice(&self.raw));
        }
        Ok(packed)
    }

    fn put(&mut self, page: Page, raw_bytes: usize, rows: usize) -> PageResult<()> {
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
        Ok(())
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
