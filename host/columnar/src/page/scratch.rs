//! What a worker thread keeps from page to page: compression contexts and buffers.
//!
//! Fresh memory costs page faults, and a fresh zstd context costs more than a small page. zstd and uncompressed pages are handled
//! here; the other codecs go through the parquet crate's own page reader, after the sizes in the header were checked.

use super::decode::Segment;
use super::fault::{PageFault, PageResult, corrupt};
use super::header::PageHeader;
use bytes::{Buf, Bytes};
use parquet::basic::{Compression, ZstdLevel};
use parquet::column::page::{Page, PageReader};
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;
use std::sync::Arc;

/// Most bytes that one page may hold when inflated.
const PAGE_LIMIT_BYTES: usize = 1 << 30;
/// Below this size a page may be larger than the footer says that its whole chunk is: some writers count wrongly.
const PAGE_TRUSTED_BYTES: usize = 64 << 20;
/// A buffer that grew larger is given back after use.
const KEPT_BUFFER_BYTES: usize = 16 << 20;

/// Per-thread contexts and buffers.
pub(crate) struct Scratch {
    compressor: zstd::bulk::Compressor<'static>,
    decompressor: zstd::bulk::Decompressor<'static>,
    compression: Compression,
    /// One inflated page.
    inflated: Vec<u8>,
    /// Definition levels of one page.
    pub levels: Vec<u8>,
    packed: Vec<u8>,
    /// Buffers of the kept rows of one page.
    pub kept: KeptBuffers,
}

/// What the kept rows of one page pass through.
#[derive(Default)]
pub(crate) struct KeptBuffers {
    pub page: Option<Segment>,
    pub ids: Vec<u32>,
    pub levels: Vec<u8>,
}

impl Scratch {
    /// # Errors
    /// When zstd has no such level or no memory.
    pub(crate) fn new(zstd_level: i32) -> PageResult<Self> {
        let codec = |error: std::io::Error| PageFault::Codec(format!("zstd: {error}"));
        let level = ZstdLevel::try_new(zstd_level).map_err(|error| PageFault::Codec(error.to_string()))?;
        Ok(Self {
            compressor: zstd::bulk::Compressor::new(zstd_level).map_err(codec)?,
            decompressor: zstd::bulk::Decompressor::new().map_err(codec)?,
            compression: Compression::ZSTD(level),
            inflated: Vec::new(),
            levels: Vec::new(),
            packed: Vec::new(),
            kept: KeptBuffers::default(),
        })
    }

    /// The compression that [`Scratch::compress`] applies.
    pub(crate) fn compression(&self) -> Compression {
        self.compression
    }

    /// `raw`, compressed, in a buffer that [`Scratch::keep`] takes back.
    pub(crate) fn compress(&mut self, raw: &[u8]) -> PageResult<Vec<u8>> {
        let mut packed = std::mem::take(&mut self.packed);
        packed.clear();
        packed.reserve(zstd::zstd_safe::compress_bound(raw.len()));
        self.compressor
            .compress_to_buffer(raw, &mut packed)
            .map_err(|error| PageFault::Codec(format!("zstd: {error}")))?;
        Ok(packed)
    }

    /// Takes a buffer back for the next page.
    pub(crate) fn keep(&mut self, packed: Vec<u8>) {
        if packed.capacity() <= KEPT_BUFFER_BYTES {
            self.packed = packed;
        }
    }

    fn inflate(&mut self, packed: &[u8], len: usize) -> PageResult<Vec<u8>> {
        let mut inflated = std::mem::take(&mut self.inflated);
        inflated.clear();
        if len > 0 {
            inflated.reserve(len);
            let found = self
                .decompressor
                .decompress_to_buffer(packed, &mut inflated)
                .map_err(|error| PageFault::Corrupt(format!("a page does not inflate: {error}")))?;
            if found != len {
                return corrupt(format!("a page inflates to {found} bytes and not to {len}"));
            }
        }
        Ok(inflated)
    }

    /// Takes back the buffer of a page that is done with.
    pub(crate) fn recycle(&mut self, page: PageBytes) {
        if let Payload::Inflated(buffer) = page.values
            && buffer.capacity() <= KEPT_BUFFER_BYTES
        {
            self.inflated = buffer;
        }
    }
}

/// A page's content: version 2 levels apart, all else inflated.
pub(crate) struct PageBytes {
    pub levels: Bytes,
    values: Payload,
}

enum Payload {
    Inflated(Vec<u8>),
    Shared(Bytes),
}

impl PageBytes {
    pub(crate) fn values(&self) -> &[u8] {
        match &self.values {
            Payload::Inflated(buffer) => buffer,
            Payload::Shared(bytes) => bytes,
        }
    }
}

/// The pages of one column chunk as they lie in the file, inflated one by one.
pub(crate) struct PageSource<'a> {
    chunk: Bytes,
    at: usize,
    metadata: &'a ColumnChunkMetaData,
    /// For codecs other than zstd and none; walks the same pages in step.
    foreign: Option<SerializedPageReader<ChunkBytes>>,
}

impl<'a> PageSource<'a> {
    /// `chunk` holds the bytes of [`ColumnChunkMetaData::byte_range`]. `None`: a codec that nobody here knows.
    pub(crate) fn try_new(chunk: Bytes, metadata: &'a ColumnChunkMetaData, rows: usize) -> PageResult<Option<Self>> {
        let foreign = match metadata.compression() {
            Compression::ZSTD(_) | Compression::UNCOMPRESSED => None,
            Compression::LZO => return Ok(None),
            _ => {
                let reader = ChunkBytes { bytes: chunk.clone(), offset: metadata.byte_range().0 };
                Some(SerializedPageReader::new(Arc::new(reader), metadata, rows, None)?)
            }
        };
        Ok(Some(Self { chunk, at: 0, metadata, foreign }))
    }

    /// The next page's header; the place moves to its content. `None` at the end of the chunk.
    pub(crate) fn header(&mut self) -> PageResult<Option<PageHeader>> {
        let rest = self.chunk.get(self.at..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        let header = super::header::read(rest)?;
        if header.compressed_bytes > rest.len() - header.header_bytes {
            return corrupt(format!("a page of {} bytes reaches beyond its column chunk", header.compressed_bytes));
        }
        let limit = usize::try_from(self.metadata.uncompressed_size()).unwrap_or(0);
        if header.uncompressed_bytes > PAGE_LIMIT_BYTES.min(limit.max(PAGE_TRUSTED_BYTES)) {
            return corrupt(format!("a page claims {} bytes, its column chunk {limit}", header.uncompressed_bytes));
        }
        self.at += header.header_bytes;
        Ok(Some(header))
    }

    /// Steps over the content of a page.
    pub(crate) fn skip(&mut self, header: &PageHeader) {
        self.at += header.compressed_bytes;
    }

    /// Inflates the content of the page whose header was read last. `level_bytes`: what stands uncompressed in front
    /// (version 2 pages), and whether the rest is compressed.
    pub(crate) fn content(
        &mut self,
        header: &PageHeader,
        level_bytes: usize,
        packed: bool,
        scratch: &mut Scratch,
    ) -> PageResult<PageBytes> {
        let body = self.chunk.slice(self.at..self.at + header.compressed_bytes);
        self.at += header.compressed_bytes;
        if level_bytes > body.len() || level_bytes > header.uncompressed_bytes {
            return corrupt("the levels of a page are longer than the page");
        }
        if let Some(reader) = &mut self.foreign {
            let buffer = match reader.get_next_page()? {
                Some(Page::DataPage { buf, .. } | Page::DataPageV2 { buf, .. } | Page::DictionaryPage { buf, .. }) => {
                    buf
                }
                None => return corrupt("a page is missing"),
            };
            if level_bytes > buffer.len() {
                return corrupt("the levels of a page are longer than the page");
            }
            return Ok(PageBytes {
                levels: buffer.slice(..level_bytes),
                values: Payload::Shared(buffer.slice(level_bytes..)),
            });
        }
        let levels = body.slice(..level_bytes);
        let rest = body.slice(level_bytes..);
        let values = match self.metadata.compression() {
            Compression::ZSTD(_) if packed => {
                Payload::Inflated(scratch.inflate(&rest, header.uncompressed_bytes - level_bytes)?)
            }
            _ => Payload::Shared(rest),
        };
        Ok(PageBytes { levels, values })
    }
}

/// The bytes of one column chunk under their offsets in the file.
pub(crate) struct ChunkBytes {
    pub bytes: Bytes,
    pub offset: u64,
}

impl ChunkBytes {
    fn starting_at(&self, start: u64) -> parquet::errors::Result<Bytes> {
        let at = start.checked_sub(self.offset).and_then(|at| usize::try_from(at).ok());
        match at {
            Some(at) if at <= self.bytes.len() => Ok(self.bytes.slice(at..)),
            _ => Err(ParquetError::EOF(format!("offset {start} lies outside of the column chunk"))),
        }
    }
}

impl Length for ChunkBytes {
    fn len(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }
}

impl ChunkReader for ChunkBytes {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(self.starting_at(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let rest = self.starting_at(start)?;
        if length > rest.len() {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} reach beyond the column chunk")));
        }
        Ok(rest.slice(..length))
    }
}
