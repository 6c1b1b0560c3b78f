//! One row group on its way: what is known of it so far.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow_array::ArrayRef;

use crate::page::decode::Chunk;
use crate::page::select::Routing;
use crate::page::writer::EncodedChunk;

/// A row group whose columns are all encoded.
pub(super) struct Done {
    pub group: usize,
    pub rows: usize,
    pub rejected: BTreeMap<u16, u64>,
    /// The columns of each partition that has rows, in the order of the output.
    pub partitions: Vec<(usize, Vec<EncodedChunk>)>,
}

/// A row group under way.
pub(super) struct Group {
    pub index: usize,
    pub rows: usize,
    /// Rows of the source before it.
    pub first_row: u64,
    pub parts: Mutex<Parts>,
}

/// What is known of a row group so far.
#[derive(Default)]
pub(super) struct Parts {
    /// Tasks of the present step that are not finished.
    pub left: usize,
    /// By source column.
    pub early: Vec<Option<Arc<Early>>>,
    pub slices: Vec<Option<Slice>>,
    pub routing: Option<Arc<Routing>>,
    /// By output column: the row logic's arrays, slice by slice.
    pub written: Vec<Vec<ArrayRef>>,
    /// By output column, then by partition.
    pub encoded: Vec<Vec<Option<EncodedChunk>>>,
    pub rejected: BTreeMap<u16, u64>,
    /// Dropped rows that somebody keeps; `None`: there are none, or nobody does.
    pub dropped: Option<Arc<Dropped>>,
    /// Dropped rows that are too many to be looked up all at once.
    pub reread: Option<Arc<Dropped>>,
    /// By source column: what was decoded, for the dropped rows.
    pub gather: Vec<Option<Arc<Early>>>,
    /// By source column: its values in the dropped rows.
    pub gathered: Vec<Option<ArrayRef>>,
}

/// The dropped rows of a row group.
pub(super) struct Dropped {
    /// Positions in the row group, ascending.
    pub rows: Vec<u32>,
    /// Why, one each.
    pub codes: Vec<u16>,
}

/// A source column that was decoded before the rows were judged.
pub(super) struct Early {
    /// As the row logic sees it.
    pub values: Decoded,
    /// As it is written, when that is something else.
    pub output: Option<Decoded>,
    /// 1 = the row's value could not be cast.
    pub failed: Option<Vec<u8>>,
}

pub(super) enum Decoded {
    /// All null.
    Nothing,
    Pages(Chunk),
    /// Slices of [`SLICE_ROWS`] rows.
    Arrays(Vec<ArrayRef>),
}

/// A judged slice of rows.
pub(super) struct Slice {
    /// 0 = kept.
    pub codes: Vec<u16>,
    pub kept: usize,
    /// By output column: arrays of the row logic.
    pub written: Vec<Option<ArrayRef>>,
    /// The partition columns of the kept rows.
    pub keys: Vec<ArrayRef>,
}
