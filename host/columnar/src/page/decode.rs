//! A column chunk as pages that keep their dictionary: ids stay ids, nothing is looked up.
//!
//! Flat columns only, with PLAIN and dictionary pages of version 1 or 2. Everything else answers `None`, and the column takes the Arrow path.
//! The bytes are a stranger's: every id is checked against the dictionary here, so that later stages may look up freely.

use super::fault::{PageResult, corrupt};
use super::header::{PageEncoding, PageHeader, PageKind};
use super::rle;
use super::scratch::{PageSource, Scratch};
use super::values::{Kind, Values};
use bytes::Bytes;
use parquet::file::metadata::ColumnChunkMetaData;

/// Rows for which room is made before the first page was seen; the footer's row count is not trusted with more.
const FIRST_ROWS: usize = 1 << 20;

/// Rows of one column whose values are all ids, or all values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Segment {
    pub rows: usize,
    /// One byte per row, 1 = not null; `None`: no row is null.
    pub valid: Option<Vec<u8>>,
    /// One entry per row that is not null.
    pub body: Body,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Body {
    /// Places in the dictionary.
    Ids(Vec<u32>),
    Plain(Values),
}

impl Segment {
    pub(crate) fn new(body: Body) -> Self {
        Self { rows: 0, valid: None, body }
    }

    /// Adds `rows` rows; `levels` as [`Segment::valid`].
    pub(crate) fn push_rows(&mut self, rows: usize, levels: Option<&[u8]>) {
        match (&mut self.valid, levels) {
            (None, None) => {}
            (Some(valid), None) => valid.resize(self.rows + rows, 1),
            (Some(valid), Some(levels)) => valid.extend_from_slice(levels),
            (None, Some(levels)) => {
                let mut valid = vec![1; self.rows];
                valid.extend_from_slice(levels);
                self.valid = Some(valid);
            }
        }
        self.rows += rows;
    }

    fn holds_ids(&self) -> bool {
        matches!(self.body, Body::Ids(_))
    }

    /// Empties the segment for rows of the other or the same sort, keeping the buffer where it can.
    fn reset(&mut self, ids: bool, kind: Kind) {
        self.rows = 0;
        self.valid = None;
        match &mut self.body {
            Body::Ids(buffer) if ids => buffer.clear(),
            Body::Plain(values) if !ids && values.kind() == kind => values.clear(),
            body => *body = if ids { Body::Ids(Vec::new()) } else { Body::Plain(Values::new(kind)) },
        }
    }
}

/// A whole column chunk, decoded as far as its pages go.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    pub dictionary: Option<Values>,
    pub segments: Vec<Segment>,
}

/// What stands next in a column chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// A data page whose values are ids.
    Ids,
    /// A data page whose values are PLAIN.
    Plain,
    /// All rows were read.
    End,
    /// Something that the page path does not know.
    Unknown,
}

/// Reads the data pages of one column chunk in order.
pub(crate) struct ChunkDecoder<'a> {
    source: PageSource<'a>,
    kind: Kind,
    optional: bool,
    utf8: bool,
    rows_left: usize,
    data_seen: bool,
    dictionary: Option<Values>,
    pending: Option<(PageHeader, DataPage)>,
}

#[derive(Clone, Copy)]
struct DataPage {
    rows: usize,
    encoding: PageEncoding,
    /// Version 2: bytes of definition levels in front, and whether the values are compressed.
    apart: Option<(usize, bool)>,
}

/// Whether the footer leaves hope that the page path knows this column chunk.
pub(crate) fn may_decode(metadata: &ColumnChunkMetaData) -> bool {
    let column = metadata.column_descr();
    column.max_rep_level() == 0
        && column.max_def_level() <= 1
        && column.path().parts().len() == 1
        && Kind::of(column).is_some()
        && metadata.encodings().all(PageEncoding::known)
        && metadata.crypto_metadata().is_none()
}

impl<'a> ChunkDecoder<'a> {
    /// Starts on `chunk`, the bytes of the chunk's byte range. With `utf8`, byte strings must be text. `None`: the page path does not know it.
    ///
    /// # Errors
    /// When the codec cannot be set up.
    pub(crate) fn try_new(
        chunk: Bytes,
        metadata: &'a ColumnChunkMetaData,
        rows: usize,
        utf8: bool,
    ) -> PageResult<Option<Self>> {
        let (true, Some(kind)) = (may_decode(metadata), Kind::of(metadata.column_descr())) else { return Ok(None) };
        let Some(source) = PageSource::try_new(chunk, metadata, rows)? else { return Ok(None) };
        let optional = metadata.column_descr().max_def_level() == 1;
        Ok(Some(Self {
            source,
            kind,
            optional,
            utf8,
            rows_left: rows,
            data_seen: false,
            dictionary: None,
            pending: None,
        }))
    }

    /// The dictionary, once a data page with ids was announced.
    pub(crate) fn dictionary(&self) -> Option<&Values> {
        self.dictionary.as_ref()
    }

    /// Looks at the next data page; reads the dictionary on the way.
    ///
    /// # Errors
    /// When the chunk ends before its rows do, or a header or the dictionary is damaged.
    pub(crate) fn peek(&mut self, scratch: &mut Scratch) -> PageResult<Next> {
        loop {
            if let Some((_, page)) = &self.pending {
                return Ok(match page.encoding {
                    PageEncoding::Dictionary if self.dictionary.is_some() => Next::Ids,
                    PageEncoding::Dictionary => {
                        return corrupt("a page refers to a dictionary that the column chunk lacks");
                    }
                    PageEncoding::Plain => Next::Plain,
                    PageEncoding::Rle if self.kind == Kind::Boolean => Next::Plain,
                    PageEncoding::Rle | PageEncoding::Other => Next::Unknown,
                });
            }
            if self.rows_left == 0 {
                return Ok(Next::End);
            }
            let Some(header) = self.source.header()? else {
                return corrupt(format!("a column chunk ends {} rows early", self.rows_left));
            };
            let page = match header.kind {
                PageKind::Index => {
                    self.source.skip(&header);
                    continue;
                }
                PageKind::Dictionary { values, encoding } => {
                    if self.data_seen || self.dictionary.is_some() {
                        return corrupt("a column chunk has a dictionary page in the wrong place");
                    }
                    if !matches!(encoding, PageEncoding::Plain | PageEncoding::Dictionary) || self.kind == Kind::Boolean
                    {
                        return Ok(Next::Unknown);
                    }
                    let content = self.source.content(&header, 0, true, scratch)?;
                    let mut dictionary = Values::new(self.kind);
                    dictionary.extend_plain(content.values(), values, self.utf8)?;
                    scratch.recycle(content);
                    self.dictionary = Some(dictionary);
                    continue;
                }
                PageKind::Data { values, encoding, definition } => {
                    if self.optional && definition != PageEncoding::Rle {
                        return Ok(Next::Unknown);
                    }
                    DataPage { rows: values, encoding, apart: None }
                }
                PageKind::DataV2 { values, encoding, definition_bytes, repetition_bytes, compressed, .. } => {
                    if repetition_bytes > 0 {
                        return Ok(Next::Unknown);
                    }
                    DataPage { rows: values, encoding, apart: Some((definition_bytes, compressed)) }
                }
            };
            if page.rows > self.rows_left {
                return corrupt(format!("a page of {} rows stands where {} are left", page.rows, self.rows_left));
            }
            self.data_seen = true;
            self.pending = Some((header, page));
        }
    }

    /// Appends the data page that [`ChunkDecoder::peek`] announced to a segment of the announced sort.
    ///
    /// # Errors
    /// When the page is damaged. The segment is then of no use.
    pub(crate) fn read(&mut self, scratch: &mut Scratch, segment: &mut Segment) -> PageResult<()> {
        let Some((header, page)) = self.pending.take() else { return corrupt("no page is announced") };
        let (level_bytes, packed) = page.apart.unwrap_or((0, true));
        let content = self.source.content(&header, level_bytes, packed, scratch)?;
        let mut values = content.values();
        let mut dense = page.rows;
        scratch.levels.clear();
        if self.optional {
            let levels: &[u8] = if page.apart.is_some() { &content.levels } else { take_prefixed(&mut values)? };
            dense = rle::decode_bits(levels, page.rows, &mut scratch.levels)?;
        }
        let nulls = (dense < page.rows).then_some(&scratch.levels[..]);
        match &mut segment.body {
            Body::Ids(ids) => self.read_ids(values, dense, ids)?,
            Body::Plain(Values::Boolean(bits)) if page.encoding == PageEncoding::Rle => {
                if dense > 0 {
                    rle::decode_bits(take_prefixed(&mut values)?, dense, bits)?;
                }
            }
            Body::Plain(plain) => plain.extend_plain(values, dense, self.utf8)?,
        }
        segment.push_rows(page.rows, nulls);
        self.rows_left -= page.rows;
        scratch.recycle(content);
        Ok(())
    }

    /// Checks the data page that [`ChunkDecoder::peek`] announced as thoroughly as [`ChunkDecoder::read`], and keeps nothing.
    pub(crate) fn check(&mut self, scratch: &mut Scratch) -> PageResult<()> {
        let Some((header, page)) = self.pending.take() else { return corrupt("no page is announced") };
        let (level_bytes, packed) = page.apart.unwrap_or((0, true));
        let content = self.source.content(&header, level_bytes, packed, scratch)?;
        let mut values = content.values();
        let mut dense = page.rows;
        if self.optional {
            let levels: &[u8] = if page.apart.is_some() { &content.levels } else { take_prefixed(&mut values)? };
            dense = rle::count_bits(levels, page.rows)?;
        }
        match page.encoding {
            PageEncoding::Dictionary if dense > 0 => {
                let Some((width, runs)) = values.split_first() else {
                    return corrupt("a page of ids lacks their width");
                };
                self.check_id(rle::highest(runs, *width, dense)?)?;
            }
            PageEncoding::Dictionary => {}
            PageEncoding::Rle if dense > 0 => {
                rle::count_bits(take_prefixed(&mut values)?, dense)?;
            }
            PageEncoding::Rle => {}
            _ => self.kind.check_plain(values, dense, self.utf8)?,
        }
        self.rows_left -= page.rows;
        scratch.recycle(content);
        Ok(())
    }

    fn check_id(&self, highest: u32) -> PageResult<()> {
        let entries = self.dictionary.as_ref().map_or(0, Values::len);
        if highest as usize >= entries {
            return corrupt(format!("a page refers to entry {highest} of a dictionary of {entries}"));
        }
        Ok(())
    }

    fn read_ids(&self, values: &[u8], dense: usize, ids: &mut Vec<u32>) -> PageResult<()> {
        if dense == 0 {
            return Ok(());
        }
        let Some((width, runs)) = values.split_first() else { return corrupt("a page of ids lacks their width") };
        let start = ids.len();
        rle::decode(runs, *width, dense, ids)?;
        self.check_id(ids[start..].iter().fold(0, |highest, id| highest.max(*id)))
    }

    /// Reads the next page into an emptied segment. Gives what [`ChunkDecoder::peek`] gives.
    pub(crate) fn read_page(&mut self, scratch: &mut Scratch, page: &mut Segment) -> PageResult<Next> {
        let next = self.peek(scratch)?;
        if matches!(next, Next::Ids | Next::Plain) {
            page.reset(next == Next::Ids, self.kind);
            self.read(scratch, page)?;
        }
        Ok(next)
    }
}

/// Decodes a whole column chunk; neighbouring pages of one sort become one segment. `None`: the page path does not know it.
///
/// # Errors
/// When the chunk is damaged.
pub(crate) fn decode_chunk(
    chunk: Bytes,
    metadata: &ColumnChunkMetaData,
    rows: usize,
    utf8: bool,
    scratch: &mut Scratch,
) -> PageResult<Option<Chunk>> {
    let Some(mut decoder) = ChunkDecoder::try_new(chunk, metadata, rows, utf8)? else { return Ok(None) };
    let mut segments: Vec<Segment> = Vec::new();
    loop {
        let ids = match decoder.peek(scratch)? {
            Next::Ids => true,
            Next::Plain => false,
            Next::End => return Ok(Some(Chunk { dictionary: decoder.dictionary, segments })),
            Next::Unknown => return Ok(None),
        };
        if segments.last().is_none_or(|last| last.holds_ids() != ids) {
            let room = decoder.rows_left.min(FIRST_ROWS);
            let body = if ids {
                Body::Ids(Vec::with_capacity(room))
            } else {
                Body::Plain(Values::with_room(decoder.kind, room))
            };
            segments.push(Segment::new(body));
        }
        if let Some(segment) = segments.last_mut() {
            decoder.read(scratch, segment)?;
        }
    }
}

/// Cuts a part with a four-byte length in front off `bytes`.
fn take_prefixed<'b>(bytes: &mut &'b [u8]) -> PageResult<&'b [u8]> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<4>() else { return corrupt("a page ends inside a length") };
    let Some((part, rest)) = rest.split_at_checked(u32::from_le_bytes(*prefix) as usize) else {
        return corrupt("levels reach beyond their page");
    };
    *bytes = rest;
    Ok(part)
}
