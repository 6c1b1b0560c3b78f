//! Decoded pages to Arrow arrays, for the columns that somebody asks for and only the rows asked for.

use super::arrow::{null_buffer, to_array};
use super::byte_values::{ByteValues, FixedValues};
use super::decode::{Body, Chunk, Segment};
use super::fault::PageResult;
use super::select::count_ones;
use super::values::Values;
use arrow_array::ArrayRef;
use arrow_schema::DataType;
use std::ops::Range;

/// The rows `range` of `chunk` as an array of `data_type`, which is a type that its values make without a cast.
///
/// # Errors
/// When text passes the offsets of `data_type`.
pub(crate) fn array(chunk: &Chunk, range: Range<usize>, data_type: &DataType) -> PageResult<ArrayRef> {
    let mut parts: Vec<Values> = Vec::new();
    let mut valid: Option<Vec<u8>> = None;
    let (mut first, mut done) = (0usize, 0usize);
    for segment in &chunk.segments {
        let (start, end) = (range.start.max(first), range.end.min(first + segment.rows));
        if start < end {
            let rows = start - first..end - first;
            let levels = segment.valid.as_deref();
            // How many values stand before the first wanted row.
            let skipped = levels.map_or(rows.start, |levels| count_ones(&levels[..rows.start]));
            let levels = levels.map(|levels| &levels[rows.clone()]);
            let part = match (&segment.body, &chunk.dictionary) {
                (Body::Ids(ids), Some(dictionary)) => match levels {
                    None => dictionary.picked(&ids[skipped..skipped + rows.len()])?,
                    Some(levels) => spread(dictionary, Some(ids), Some(levels), skipped)?,
                },
                (Body::Ids(_), None) => return super::fault::corrupt("ids without a dictionary"),
                (Body::Plain(values), _) => match levels {
                    None => values.cut(skipped..skipped + rows.len()),
                    Some(levels) => spread(values, None, Some(levels), skipped)?,
                },
            };
            match (&mut valid, levels) {
                (None, None) => {}
                (Some(valid), None) => valid.resize(done + rows.len(), 1),
                (own, Some(levels)) => own.get_or_insert_with(|| vec![1; done]).extend_from_slice(levels),
            }
            done += rows.len();
            parts.push(part);
        }
        first += segment.rows;
    }
    let mut parts = parts.into_iter();
    let mut values = parts.next().unwrap_or_else(|| empty_like(chunk));
    for part in parts {
        values.append(&part, 0..part.len())?;
    }
    to_array(values, null_buffer(valid.as_deref()), data_type)
}

/// The rows `wanted` of `chunk`, ascending, as an array of `data_type`, which is a type that its values make without a cast.
///
/// # Errors
/// When text passes the offsets of `data_type`, or a row is not there.
pub(crate) fn rows(chunk: &Chunk, wanted: &[u32], data_type: &DataType) -> PageResult<ArrayRef> {
    let mut picker = Picker::new(wanted);
    for segment in &chunk.segments {
        picker.segment(segment, chunk.dictionary.as_ref())?;
    }
    let picked = picker.finish()?;
    if picked.segments.is_empty() {
        return to_array(empty_like(chunk), null_buffer(None), data_type);
    }
    array(&picked, 0..wanted.len(), data_type)
}

/// Takes some rows of a column chunk aside while its pages go by.
pub(crate) struct Picker<'w> {
    /// Rows that are still to come, ascending.
    left: &'w [u32],
    wanted: usize,
    /// Rows that have gone by.
    first: usize,
    valid: Option<Vec<u8>>,
    /// The values that are not null.
    values: Option<Values>,
    done: usize,
}

impl<'w> Picker<'w> {
    pub(crate) fn new(wanted: &'w [u32]) -> Self {
        Self { left: wanted, wanted: wanted.len(), first: 0, valid: None, values: None, done: 0 }
    }

    /// The next rows of the chunk.
    pub(crate) fn segment(&mut self, segment: &Segment, dictionary: Option<&Values>) -> PageResult<()> {
        let first = self.first;
        self.first += segment.rows;
        let (here, later) = self.left.split_at(self.left.partition_point(|row| (*row as usize) < self.first));
        self.left = later;
        if here.is_empty() {
            return Ok(());
        }
        // Where the value of each wanted row stands among those that are not null.
        let (mut places, mut at, mut value) = (Vec::with_capacity(here.len()), 0usize, 0u32);
        let mut levels = segment.valid.as_ref().map(|_| Vec::with_capacity(here.len()));
        for row in here.iter().map(|row| *row as usize - first) {
            match (&segment.valid, &mut levels) {
                (Some(valid), Some(levels)) => {
                    value += count_ones(&valid[at..row]) as u32;
                    levels.push(valid[row]);
                    at = row;
                    if valid[row] == 1 {
                        places.push(value);
                    }
                }
                _ => places.push(row as u32),
            }
        }
        let part = match (&segment.body, dictionary) {
            (Body::Ids(ids), Some(dictionary)) => {
                let ids: Vec<u32> = places.iter().map(|place| ids[*place as usize]).collect();
                dictionary.picked(&ids)?
            }
            (Body::Ids(_), None) => return super::fault::corrupt("ids without a dictionary"),
            (Body::Plain(values), _) => values.picked(&places)?,
        };
        match (&mut self.valid, levels) {
            (None, None) => {}
            (Some(valid), None) => valid.resize(self.done + here.len(), 1),
            (own, Some(levels)) => own.get_or_insert_with(|| vec![1; self.done]).extend_from_slice(&levels),
        }
        self.done += here.len();
        match &mut self.values {
            None => self.values = Some(part),
            Some(whole) => whole.append(&part, 0..part.len())?,
        }
        Ok(())
    }

    /// The rows, as a chunk of their own. Without any rows it has no segment.
    ///
    /// # Errors
    /// When a row did not go by.
    pub(crate) fn finish(self) -> PageResult<Chunk> {
        if self.done != self.wanted {
            return super::fault::corrupt(format!("{} of {} rows are there", self.done, self.wanted));
        }
        let segments =
            self.values.map(|values| Segment { rows: self.done, valid: self.valid, body: Body::Plain(values) });
        Ok(Chunk { dictionary: None, segments: segments.into_iter().collect() })
    }
}

fn empty_like(chunk: &Chunk) -> Values {
    let kind = chunk.dictionary.as_ref().or(chunk.segments.iter().find_map(|segment| match &segment.body {
        Body::Plain(values) => Some(values),
        Body::Ids(_) => None,
    }));
    Values::new(kind.map_or(super::values::Kind::Int32, Values::kind))
}

/// One value per level: where the level is 1 the next of the dense values (after `skipped`), else a filler.
pub(crate) fn spread(
    values: &Values,
    ids: Option<&[u32]>,
    levels: Option<&[u8]>,
    skipped: usize,
) -> PageResult<Values> {
    fn numbers<T: Copy + Default>(values: &[T], ids: Option<&[u32]>, levels: &[u8], skipped: usize) -> Vec<T> {
        let mut next = skipped;
        let mut take = |level: &u8| {
            if *level == 0 {
                return T::default();
            }
            let at = ids.map_or(next, |ids| ids[next] as usize);
            next = next.wrapping_add(1);
            values[at]
        };
        levels.iter().map(&mut take).collect()
    }
    let Some(levels) = levels else { return Ok(values.clone()) };
    Ok(match values {
        Values::Boolean(v) => Values::Boolean(numbers(v, ids, levels, skipped)),
        Values::Int32(v) => Values::Int32(numbers(v, ids, levels, skipped)),
        Values::Int64(v) => Values::Int64(numbers(v, ids, levels, skipped)),
        Values::Float(v) => Values::Float(numbers(v, ids, levels, skipped)),
        Values::Double(v) => Values::Double(numbers(v, ids, levels, skipped)),
        Values::Bytes(v) => {
            let (mut out, mut next) = (ByteValues::default(), skipped);
            for level in levels {
                if *level == 0 {
                    out.push(&[])?;
                } else {
                    out.push(v.get(ids.map_or(next, |ids| ids[next] as usize)))?;
                    next += 1;
                }
            }
            Values::Bytes(out)
        }
        Values::Fixed(v) => {
            let (mut data, mut next) = (Vec::with_capacity(levels.len() * v.width), skipped);
            for level in levels {
                if *level == 0 {
                    data.resize(data.len() + v.width, 0);
                } else {
                    data.extend_from_slice(v.get(ids.map_or(next, |ids| ids[next] as usize)));
                    next += 1;
                }
            }
            Values::Fixed(FixedValues { width: v.width, data })
        }
    })
}
