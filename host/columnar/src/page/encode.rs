//! Kept rows of decoded pages as new pages: ids are compacted, never looked up or hashed.
//!
//! Two ways with one result. [`transcode`] goes page in, page out with one partition and keeps the dictionary whole. [`encode_chunk`] takes a decoded
//! chunk to any number of partitions, each with a dictionary of just the entries that it uses.

use super::convert::Conversion;
use super::decode::{Body, Chunk, ChunkDecoder, Next, Segment};
use super::fault::{PageFault, PageResult, corrupt};
use super::rle;
use super::scratch::Scratch;
use super::select::{Mover, Routing};
use super::statistics::Bounds;
use super::values::{Kind, Values};
use super::writer::{ChunkWriter, Dense, EncodedChunk};
use parquet::schema::types::ColumnDescPtr;
use std::ops::Range;

/// Marks a dictionary entry that a partition has not used yet.
const UNUSED: u32 = u32::MAX;

/// Whether to keep a dictionary whole: one partition, and at least half of the rows stay.
pub(crate) fn keeps_dictionary(routing: &Routing) -> bool {
    routing.partitions() == 1 && routing.kept() * 2 >= routing.rows()
}

/// Copies the kept rows of a column chunk page by page into one partition. `None`: a page that the page path does not know.
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
) -> PageResult<Option<EncodedChunk>> {
    let Some(kind) = Kind::of(column) else { return Ok(None) };
    let mut writer = ChunkWriter::new(column.clone(), room_bytes);
    let mut bounds = Bounds::new(column, kind);
    let mut dictionary: Option<KeptDictionary> = None;
    let mut page = Segment::new(Body::Ids(Vec::new()));
    let (mut kept_ids, mut levels) = (Vec::new(), Vec::new());
    let mut row = 0;
    loop {
        match decoder.read_page(scratch, &mut page)? {
            Next::End => break,
            Next::Unknown => return Ok(None),
            Next::Ids | Next::Plain => {}
        }
        let rows_mover = mover(routing, row, page.rows)?;
        row += page.rows;
        let rows = rows_mover.range(0).len();
        if rows == 0 {
            continue;
        }
        let valid = page.valid.as_deref();
        let kept_levels = valid.map(|valid| {
            rows_mover.apply_into(valid, &mut levels);
            &levels[..]
        });
        let dense_mover = valid.map(|valid| rows_mover.dense(valid));
        let mover = dense_mover.as_ref().unwrap_or(&rows_mover);
        match &page.body {
            Body::Ids(ids) => {
                let dictionary = match &mut dictionary {
                    Some(dictionary) => dictionary,
                    none => {
                        let Some(entries) = decoder.dictionary() else { return corrupt("ids without a dictionary") };
                        none.insert(KeptDictionary::write(entries, conversion, &mut writer, scratch)?)
                    }
                };
                mover.apply_into(ids, &mut kept_ids);
                dictionary.mark(&kept_ids);
                writer.rows(rows, kept_levels, dictionary.dense(&kept_ids), scratch)?;
            }
            Body::Plain(values) => {
                let moved = if mover.keeps_all() { None } else { Some(values.moved(mover)) };
                let moved = moved.as_ref().unwrap_or(values);
                let converted = if conversion.keeps_values() { None } else { Some(converted(moved, conversion)?) };
                let values = converted.as_ref().unwrap_or(moved);
                bounds.see(values, 0..values.len());
                writer.rows(rows, kept_levels, Dense::Plain(values, 0), scratch)?;
            }
        }
    }
    if row != routing.rows() {
        return corrupt(format!("a column has {row} of the {} rows of its row group", routing.rows()));
    }
    if let Some(dictionary) = dictionary {
        dictionary.see(&mut bounds)?;
    }
    Ok(Some(writer.finish(bounds, scratch)?))
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
    fn write(
        entries: &Values,
        conversion: &Conversion,
        writer: &mut ChunkWriter,
        scratch: &mut Scratch,
    ) -> PageResult<Self> {
        let converted = conversion.apply(entries)?;
        if converted.values.len() > 0 {
            writer.dictionary(&converted.values, None, scratch)?;
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
        let bounds = match &chunk.dictionary {
            Some(entries) if keeps_dictionary(routing) => encode_whole(entries, &routed, &mut writer, scratch)?,
            entries => encode_used(entries.as_ref(), &mut routed, partition, &mut places, &mut writer, scratch)?,
        };
        out.push(Some(writer.finish(bounds, scratch)?));
    }
    Ok(out)
}

/// One partition that keeps the dictionary as it is.
fn encode_whole(
    entries: &Values,
    routed: &[Routed<'_>],
    writer: &mut ChunkWriter,
    scratch: &mut Scratch,
) -> PageResult<Bounds> {
    let mut bounds = Bounds::new(writer.column(), entries.kind());
    let mut used = vec![0u8; entries.len()];
    if !used.is_empty() {
        writer.dictionary(entries, None, scratch)?;
    }
    let width = rle::width_for(entries.len());
    for part in routed {
        let dense = match &part.body {
            Body::Ids(_) if used.is_empty() => Dense::Plain(entries, 0),
            Body::Ids(ids) => {
                ids.iter().for_each(|id| used[*id as usize] = 1);
                Dense::Ids { ids, width }
            }
            Body::Plain(values) => {
                bounds.see(values, 0..values.len());
                Dense::Plain(values, 0)
            }
        };
        writer.rows(part.rows.range(0).len(), part.levels.as_deref(), dense, scratch)?;
    }
    bounds.see_used(entries, &used);
    Ok(bounds)
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
        writer.dictionary(entries, Some(&order), scratch)?;
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
