//! Arrow arrays as a column chunk: for columns that were added or changed, and those that the page path could not read.

use super::arrow::{from_array, valid_bytes};
use super::fault::{PageResult, corrupt};
use super::rle;
use super::scratch::Scratch;
use super::select::Routing;
use super::statistics::Bounds;
use super::values::{Kind, Values};
use super::writer::{ChunkWriter, Dense, EncodedChunk};
use arrow_array::{Array, ArrayRef};
use parquet::schema::types::ColumnDescPtr;
use std::hash::{BuildHasher, RandomState};

/// Values after which the dictionary has to have shown that it pays.
const SAMPLE: usize = 8192;
/// Most distinct values among the sample for which a dictionary is kept on with.
const SAMPLE_DISTINCT: usize = SAMPLE / 4 * 3;
const MAX_ENTRIES: usize = 1 << 16;
const MAX_DICTIONARY_BYTES: usize = 1 << 20;
/// A slot of the hash table that holds no entry.
const EMPTY: u32 = u32::MAX;

/// Encodes the kept rows of `slices`, which together have the rows of `routing`: one result per partition, `None` where it has no rows.
/// The outer `None`: arrays of this type are not written here.
///
/// # Errors
/// When the number of rows differs, or there are nulls where the column has none.
pub(crate) fn encode_arrays(
    slices: &[ArrayRef],
    routing: &Routing,
    column: &ColumnDescPtr,
    scratch: &mut Scratch,
) -> PageResult<Option<Vec<Option<EncodedChunk>>>> {
    let Some(kind) = Kind::of(column) else { return Ok(None) };
    let mut parts: Vec<Part> = routing
        .counts()
        .iter()
        .map(|rows| Part { rows: 0, room: *rows, levels: None, values: Values::new(kind) })
        .collect();
    let mut row = 0;
    for array in slices {
        let Some(rows_mover) = routing.mover(row, array.len()) else {
            return corrupt(format!("new column {} has more rows than its row group", column.name()));
        };
        row += array.len();
        let Some(dense) = from_array(array, kind)? else { return Ok(None) };
        let valid = valid_bytes(array);
        let levels = valid.as_deref().map(|valid| rows_mover.apply(valid));
        let dense_mover = valid.as_deref().map(|valid| rows_mover.dense(valid));
        let mover = dense_mover.as_ref().unwrap_or(&rows_mover);
        let moved = if mover.keeps_all() { dense } else { dense.moved(mover) };
        for (number, part) in parts.iter_mut().enumerate() {
            let rows = rows_mover.range(number);
            part.push_levels(rows.len(), levels.as_deref().and_then(|levels| levels.get(rows)));
            part.values.append(&moved, mover.range(number))?;
        }
    }
    if row != routing.rows() {
        return corrupt(format!("new column {} has {row} of {} rows", column.name(), routing.rows()));
    }
    let encoded: PageResult<Vec<_>> = parts
        .into_iter()
        .map(|part| if part.rows == 0 { Ok(None) } else { part.encode(column, scratch).map(Some) })
        .collect();
    encoded.map(Some)
}

/// The rows of one partition.
struct Part {
    rows: usize,
    room: usize,
    levels: Option<Vec<u8>>,
    values: Values,
}

impl Part {
    fn push_levels(&mut self, rows: usize, levels: Option<&[u8]>) {
        if let (None, Some(_)) = (&self.levels, levels) {
            let mut all = Vec::with_capacity(self.room);
            all.resize(self.rows, 1);
            self.levels = Some(all);
        }
        match (&mut self.levels, levels) {
            (Some(all), Some(levels)) => all.extend_from_slice(levels),
            (Some(all), None) => all.resize(self.rows + rows, 1),
            (None, _) => {}
        }
        self.rows += rows;
    }

    fn encode(self, column: &ColumnDescPtr, scratch: &mut Scratch) -> PageResult<EncodedChunk> {
        let values = &self.values;
        let mut bounds = Bounds::new(column, values.kind());
        let mut writer = ChunkWriter::new(column.clone(), values.plain_bytes(0..values.len()) / 2 + 1024);
        let dense_dictionary = dictionary(values);
        let dense = match &dense_dictionary {
            Some((entries, ids)) => {
                writer.dictionary(values, Some(entries))?;
                let used = values.picked(entries)?;
                bounds.see(&used, 0..used.len());
                Dense::Ids { ids, width: rle::width_for(entries.len()) }
            }
            None => {
                bounds.see(values, 0..values.len());
                Dense::Plain(values, 0)
            }
        };
        writer.rows(self.rows, self.levels.as_deref(), dense, scratch)?;
        writer.finish(bounds, scratch)
    }
}

/// The place of the first of each distinct value, and one id per value; `None` when a dictionary does not pay.
fn dictionary(values: &Values) -> Option<(Vec<u32>, Vec<u32>)> {
    // A seed of its own per run: the values are a stranger's, who could otherwise choose them to collide.
    let seed = RandomState::new().hash_one(0u8) | 1;
    let len = values.len();
    match values {
        Values::Boolean(_) => None,
        Values::Int32(v) => distinct(len, 4, |at| v[at] as u32 as u64, |a, b| v[a] == v[b], |bits| mix(bits, seed)),
        Values::Int64(v) => distinct(len, 8, |at| v[at] as u64, |a, b| v[a] == v[b], |bits| mix(bits, seed)),
        Values::Float(v) => distinct(
            len,
            4,
            |at| u64::from(v[at].to_bits()),
            |a, b| v[a].to_bits() == v[b].to_bits(),
            |bits| mix(bits, seed),
        ),
        Values::Double(v) => {
            distinct(len, 8, |at| v[at].to_bits(), |a, b| v[a].to_bits() == v[b].to_bits(), |bits| mix(bits, seed))
        }
        Values::Bytes(v) => {
            let mean = v.plain_bytes() / len.max(1);
            distinct(len, mean, |at| hash_bytes(v.get(at), seed), |a, b| v.get(a) == v.get(b), |bits| bits)
        }
        Values::Fixed(v) => {
            distinct(len, v.width, |at| hash_bytes(v.get(at), seed), |a, b| v.get(a) == v.get(b), |bits| bits)
        }
    }
}

fn mix(bits: u64, seed: u64) -> u64 {
    let wide = u128::from(bits ^ seed).wrapping_mul(u128::from(seed.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15) | 1);
    (wide as u64) ^ (wide >> 64) as u64
}

fn hash_bytes(bytes: &[u8], seed: u64) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut tail = [0u8; 8];
    tail[..rest.len()].copy_from_slice(rest);
    let hash =
        words.iter().fold(mix(bytes.len() as u64, seed), |hash, word| mix(hash ^ u64::from_le_bytes(*word), seed));
    mix(hash ^ u64::from_le_bytes(tail), seed)
}

/// Open addressing over `len` values: `key` feeds `hash`, `same` decides.
fn distinct(
    len: usize,
    value_bytes: usize,
    key: impl Fn(usize) -> u64,
    same: impl Fn(usize, usize) -> bool,
    hash: impl Fn(u64) -> u64,
) -> Option<(Vec<u32>, Vec<u32>)> {
    if len == 0 {
        return None;
    }
    let limit = MAX_ENTRIES.min(MAX_DICTIONARY_BYTES / value_bytes.max(1));
    let (mut entries, mut ids): (Vec<u32>, Vec<u32>) = (Vec::new(), Vec::with_capacity(len));
    let mut slots = vec![EMPTY; 1 << 12];
    for at in 0..len {
        if at == SAMPLE && entries.len() > SAMPLE_DISTINCT {
            return None;
        }
        let mask = slots.len() - 1;
        let mut slot = hash(key(at)) as usize & mask;
        let id = loop {
            match slots[slot] {
                EMPTY => {
                    let id = entries.len() as u32;
                    if entries.len() == limit {
                        return None;
                    }
                    slots[slot] = id;
                    entries.push(at as u32);
                    break id;
                }
                id if same(entries[id as usize] as usize, at) => break id,
                _ => slot = (slot + 1) & mask,
            }
        };
        ids.push(id);
        if entries.len() * 2 > slots.len() {
            slots = vec![EMPTY; slots.len() * 4];
            let mask = slots.len() - 1;
            for (id, entry) in entries.iter().enumerate() {
                let mut slot = hash(key(*entry as usize)) as usize & mask;
                while slots[slot] != EMPTY {
                    slot = (slot + 1) & mask;
                }
                slots[slot] = id as u32;
            }
        }
    }
    // A short column has no sample to judge by: it pays when values repeat at all.
    (len >= SAMPLE || entries.len() * 4 <= len * 3).then_some((entries, ids))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dictionary_is_made_when_it_pays() {
        let few: Vec<i64> = (0..20_000).map(|i| i % 50).collect();
        let (entries, ids) = dictionary(&Values::Int64(few.clone())).unwrap();
        assert_eq!(entries.len(), 50);
        assert!(ids.iter().zip(&few).all(|(id, value)| few[entries[*id as usize] as usize] == *value));
        let unique: Vec<i64> = (0..20_000).collect();
        assert!(dictionary(&Values::Int64(unique)).is_none());
        let late: Vec<i64> = (0..200_000).map(|i| if i < 9000 { 1 } else { i }).collect();
        assert!(dictionary(&Values::Int64(late)).is_none(), "too many entries after the sample");
        let nan = Values::Double([f64::NAN, -0.0, 0.0, f64::NAN].repeat(10));
        assert_eq!(dictionary(&nan).unwrap().0.len(), 3, "zeros of both signs stay apart");
    }

    #[test]
    fn text_of_every_length_is_told_apart() {
        let mut values = super::super::byte_values::ByteValues::default();
        for round in 0..3 {
            for len in 0..40usize {
                values.push(&vec![b'x'; len]).unwrap();
                values.push(format!("{len:>width$}", width = len + 1).as_bytes()).unwrap();
            }
            assert!(round < 3);
        }
        let (entries, ids) = dictionary(&Values::Bytes(values)).unwrap();
        assert_eq!((entries.len(), ids.len()), (80, 240));
    }
}
