//! Kept rows of decoded pages as new pages: ids are compacted, never looked up or hashed.
//!
//! Two ways with one result. [`transcode`] goes page in, page out with one partition and keeps the dictionary whole. [`encode_chunk`] takes a decoded
//! chunk to any number of partitions, each with a dictionary of just the entries that it uses.

use super::convert::{AS_IT_IS, Conversion};
use super::decode::{Body, Chunk, ChunkDecoder, Next, Segment};
use super::fault::{PageFault, PageResult, corrupt};
use super::materialise::Picker;
use super::rle;
use super::scratch::{KeptBuffers, Scratch};
use super::select::{Mover, Routing, count_ones};
use super::statistics::Bounds;
use super::values::{Kind, Values};
use super::writer::{ChunkWriter, Dense, EncodedChunk, PAGE_ROWS};
use parquet::schema::types::ColumnDescPtr;
use std::ops::Range;

/// Marks a dictionary entry that a partition has not used yet.
const UNUSED: u32 = u32::MAX;

/// Whether to keep a dictionary whole: one partition, and at least half of the rows stay.
pub(crate) fn keeps_dictionary(routing: &Routing) -> bool {
    routing.partitions() == 1 && routing.kept() * 2 >= routing.rows()
}

/// Copies the kept rows of a column chunk page by page into one partition; `picker` takes others aside. `None`: a page that the page path does not
/// know.
///
/// # Errors
/// When a page is damaged, or a kept value does not fit the wanted type.
pub(crate) fn transcode(
    decoder: &mut ChunkDecoder<'_>,
    conversion: &Conversion,
    routing: &Routing,
    column: &ColumnDescPtr,
    room_bytes: usize,
    scratch: &mut Scratch,
    mut picker: Option<&mut Picker<'_>>,
) -> PageResult<Option<EncodedChunk>> {
    let Some(kind) = Kind::of(column) else { return Ok(None) };
    let mut kept = Kept::new(routing, conversion, column, kind, room_bytes, scratch);
    let mut page = kept.buffers.page.take().unwrap_or_else(|| Segment::new(Body::Ids(Vec::new())));
    loop {
        match decoder.read_page(scratch, &mut page)? {
            Next::End => break,
            Next::Unknown => return Ok(None),
            Next::Ids | Next::Plain => {
                if let Some(picker) = &mut picker {
                    picker.segment(&page, decoder.dictionary())?;
                }
                kept.segment(&page, decoder.dictionary(), scratch)?;
            }
        }
    }
    kept.buffers.page = Some(page);
    kept.finish(scratch).map(Some)
}

/// The kept rows of one partition that keeps the dictionary as it is, on their way into one column chunk.
struct Kept<'a> {
    routing: &'a Routing,
    conversion: &'a Conversion,
    writer: ChunkWriter,
    bounds: Bounds,
    dictionary: Option<KeptDictionary>,
    row: usize,
    buffers: KeptBuffers,
}

impl<'a> Kept<'a> {
    fn new(
        routing: &'a Routing,
        conversion: &'a Conversion,
        column: &ColumnDescPtr,
        kind: Kind,
        room_bytes: usize,
        scratch: &mut Scratch,
    ) -> Self {
        Self {
            routing,
            conversion,
            writer: ChunkWriter::new(column.clone(), room_bytes),
            bounds: Bounds::new(column, kind),
            dictionary: None,
            row: 0,
            buffers: std::mem::take(&mut scratch.kept),
        }
    }

    /// Rows of a page or of many; ids go in steps of a page, which is what a core's cache holds.
    fn segment(&mut self, segment: &Segment, entries: Option<&Values>, scratch: &mut Scratch) -> PageResult<()> {
        let valid = segment.valid.as_deref();
        match &segment.body {
            Body::Plain(values) => self.plain(segment.rows, valid, values, scratch),
            Body::Ids(ids) => {
                let (mut row, mut dense) = (0, 0);
                while row < segment.rows {
                    let rows = (segment.rows - row).min(PAGE_ROWS);
                    let valid = valid.map(|valid| &valid[row..row + rows]);
                    let held = valid.map_or(rows, count_ones);
                    self.ids(rows, valid, &ids[dense..dense + held], entries, scratch)?;
                    row += rows;
                    dense += held;
                }
                Ok(())
            }
        }
    }

    fn ids(
        &mut self,
        rows: usize,
        valid: Option<&[u8]>,
        ids: &[u32],
        entries: Option<&Values>,
        scratch: &mut Scratch,
    ) -> PageResult<()> {
        let Some(moved) = Moved::of(self.routing, &mut self.row, rows, valid, &mut self.buffers.levels)? else {
            return Ok(());
        };
        let dictionary = match &mut self.dictionary {
            Some(dictionary) => dictionary,
            none => {
                let Some(entries) = entries else { return corrupt("ids without a dictionary") };
                none.insert(KeptDictionary::write(entries, self.conversion, &mut self.writer)?)
            }
        };
        let kept = &mut self.buffers.ids;
        moved.mover.apply_into(ids, kept);
        dictionary.mark(kept);
        let levels = valid.map(|_| &self.buffers.levels[..]);
        self.writer.rows(moved.rows, levels, dictionary.dense(kept), scratch)
    }

    fn plain(&mut self, rows: usize, valid: Option<&[u8]>, values: &Values, scratch: &mut Scratch) -> PageResult<()> {
        let Some(moved) = Moved::of(self.routing, &mut self.row, rows, valid, &mut self.buffers.levels)? else {
            return Ok(());
        };
        let kept = if moved.mover.keeps_all() { None } else { Some(values.moved(&moved.mover)) };
        let kept = kept.as_ref().unwrap_or(values);
        let converted = if self.conversion.keeps_values() { None } else { Some(converted(kept, self.conversion)?) };
        let values = converted.as_ref().unwrap_or(kept);
        self.bounds.see(values, 0..values.len());
        let levels = valid.map(|_| &self.buffers.levels[..]);
        self.writer.rows(moved.rows, levels, Dense::Plain(values, 0), scratch)
    }

    fn finish(mut self, scratch: &mut Scratch) -> PageResult<EncodedChunk> {
        if self.row != self.routing.rows() {
            return corrupt(format!("a column has {} of the {} rows of its row group", self.row, self.routing.rows()));
        }
        if let Some(dictionary) = self.dictionary {
            dictionary.see(&mut self.bounds)?;
        }
        scratch.kept = self.buffers;
        self.writer.finish(self.bounds, scratch)
    }
}

/// How the values of some rows move, and how many of the rows stay.
struct Moved<'a> {
    rows: usize,
    mover: Mover<'a>,
}

impl<'a> Moved<'a> {
    /// Takes the next `rows` rows; fills `levels` when there are nulls. `None`: no row stays.
    fn of(
        routing: &'a Routing,
        row: &mut usize,
        rows: usize,
        valid: Option<&[u8]>,
        levels: &mut Vec<u8>,
    ) -> PageResult<Option<Self>> {
        let mover = mover(routing, *row, rows)?;
        *row += rows;
        let rows = mover.range(0).len();
        if rows == 0 {
            return Ok(None);
        }
        let Some(valid) = valid else { return Ok(Some(Self { rows, mover })) };
        mover.apply_into(valid, levels);
        Ok(Some(Self { rows, mover: mover.dense(valid) }))
    }
}

fn converted(values: &Values, conversion: &Conversion) -> PageResult<Values> {
    let converted = conversion.apply(values)?;
    match converted.failed {
        None => Ok(converted.values),
        Some(_) => corrupt(format!("a kept value does not fit {}", conversion.to())),
    }
}

/// A dictionary that is written whole, with a note of the entries that kept rows use.
struct KeptDictionary {
    entries: Values,
    /// 1 = the entry does not fit the wanted type.
    failed: Option<Vec<u8>>,
    used: Vec<u8>,
    width: u8,
}

impl KeptDictionary {
    fn write(entries: &Values, conversion: &Conversion, writer: &mut ChunkWriter) -> PageResult<Self> {
        let converted = conversion.apply(entries)?;
        if converted.values.len() > 0 {
            writer.dictionary(&converted.values, None)?;
        }
        let entries = converted.values;
        Ok(Self {
            failed: converted.failed,
            used: vec![0; entries.len()],
            width: rle::width_for(entries.len()),
            entries,
        })
    }

    fn mark(&mut self, ids: &[u32]) {
        for id in ids {
            self.used[*id as usize] = 1;
        }
    }

    fn dense<'a>(&'a self, ids: &'a [u32]) -> Dense<'a> {
        // Without entries there are only nulls, and no dictionary page that an id page could follow.
        if self.used.is_empty() { Dense::Plain(&self.entries, 0) } else { Dense::Ids { ids, width: self.width } }
    }

    fn see(&self, bounds: &mut Bounds) -> PageResult<()> {
        let failed = self.failed.iter().flatten().zip(&self.used).any(|(failed, used)| *failed & *used == 1);
        if failed {
            return corrupt("a kept value does not fit the wanted type");
        }
        bounds.see_used(&self.entries, &self.used);
        Ok(())
    }
}

/// A segment's kept rows, partition after partition.
struct Routed<'a> {
    rows: Mover<'a>,
    levels: Option<Vec<u8>>,
    /// For the values of rows that are not null, when there are others.
    dense: Option<Mover<'a>>,
    body: Body,
}

impl Routed<'_> {
    /// Where a partition's values stand in the body.
    fn values(&self, partition: usize) -> Range<usize> {
        self.dense.as_ref().unwrap_or(&self.rows).range(partition)
    }
}

fn mover(routing: &Routing, first_row: usize, rows: usize) -> PageResult<Mover<'_>> {
    let more = || PageFault::Corrupt(format!("a column has more than the {} rows of its row group", routing.rows()));
    routing.mover(first_row, rows).ok_or_else(more)
}

fn route<'a>(segment: &Segment, routing: &'a Routing, first_row: usize) -> PageResult<Routed<'a>> {
    let rows = mover(routing, first_row, segment.rows)?;
    let levels = segment.valid.as_ref().map(|valid| rows.apply(valid));
    let dense = segment.valid.as_ref().map(|valid| rows.dense(valid));
    let mover = dense.as_ref().unwrap_or(&rows);
    let body = match &segment.body {
        Body::Ids(ids) => Body::Ids(mover.apply(ids)),
        Body::Plain(values) => Body::Plain(values.moved(mover)),
    };
    Ok(Routed { rows, levels, dense, body })
}

/// Encodes the kept rows of a chunk whose values already have the wanted type: one result per partition, `None` where it has no rows.
///
/// # Errors
/// When the chunk has other rows than `routing`, or nulls where the column has none.
pub(crate) fn encode_chunk(
    chunk: &Chunk,
    routing: &Routing,
    column: &ColumnDescPtr,
    room_bytes: usize,
    scratch: &mut Scratch,
) -> PageResult<Vec<Option<EncodedChunk>>> {
    if keeps_dictionary(routing) {
        let Some(kind) = Kind::of(column) else { return corrupt("a column of INT96 cannot be written") };
        let mut kept = Kept::new(routing, &AS_IT_IS, column, kind, room_bytes, scratch);
        for segment in &chunk.segments {
            kept.segment(segment, chunk.dictionary.as_ref(), scratch)?;
        }
        return Ok(vec![Some(kept.finish(scratch)?)]);
    }
    let mut routed = Vec::with_capacity(chunk.segments.len());
    let mut row = 0;
    for segment in &chunk.segments {
        routed.push(route(segment, routing, row)?);
        row += segment.rows;
    }
    if row != routing.rows() {
        return corrupt(format!("a column has {row} of the {} rows of its row group", routing.rows()));
    }
    let mut places = vec![UNUSED; chunk.dictionary.as_ref().map_or(0, Values::len)];
    let mut out = Vec::with_capacity(routing.partitions());
    for (partition, rows) in routing.counts().iter().enumerate() {
        if *rows == 0 {
            out.push(None);
            continue;
        }
        let room_bytes = room_bytes / routing.rows().max(1) * rows + 1024;
        let mut writer = ChunkWriter::new(column.clone(), room_bytes);
        let entries = chunk.dictionary.as_ref();
        let bounds = encode_used(entries, &mut routed, partition, &mut places, &mut writer, scratch)?;
        out.push(Some(writer.finish(bounds, scratch)?));
    }
    Ok(out)
}

/// One partition with a dictionary of the entries that it uses, in the order of their first use. `places` is all [`UNUSED`] before and after.
fn encode_used(
    entries: Option<&Values>,
    routed: &mut [Routed<'_>],
    partition: usize,
    places: &mut [u32],
    writer: &mut ChunkWriter,
    scratch: &mut Scratch,
) -> PageResult<Bounds> {
    let Some(kind) = Kind::of(writer.column()) else { return corrupt("a column of INT96 cannot be written") };
    let mut bounds = Bounds::new(writer.column(), kind);
    let mut order: Vec<u32> = Vec::new();
    for part in routed.iter_mut() {
        let range = part.values(partition);
        if let Body::Ids(ids) = &mut part.body {
            renumber(&mut ids[range], places, &mut order);
        }
    }
    order.iter().for_each(|id| places[*id as usize] = UNUSED);
    let none = Values::new(kind);
    let entries = entries.unwrap_or(&none);
    if !order.is_empty() {
        writer.dictionary(entries, Some(&order))?;
        let used = entries.picked(&order)?;
        bounds.see(&used, 0..used.len());
    }
    let width = rle::width_for(order.len());
    for part in routed.iter() {
        let range = part.values(partition);
        let dense = match &part.body {
            // Nothing but nulls so far: there may be no dictionary page that ids could follow.
            Body::Ids(_) if order.is_empty() => Dense::Plain(&none, 0),
            Body::Ids(ids) => Dense::Ids { ids: &ids[range], width },
            Body::Plain(values) => {
                bounds.see(values, range.clone());
                Dense::Plain(values, range.start)
            }
        };
        let rows = part.rows.range(partition);
        let levels = part.levels.as_deref().and_then(|levels| levels.get(rows.clone()));
        writer.rows(rows.len(), levels, dense, scratch)?;
    }
    Ok(bounds)
}

/// Gives each id its place in `order`, to which new ones are added.
fn renumber(ids: &mut [u32], places: &mut [u32], order: &mut Vec<u32>) {
    for id in ids {
        let place = &mut places[*id as usize];
        if *place == UNUSED {
            *place = order.len() as u32;
            order.push(*id);
        }
        *id = *place;
    }
}
