//! Keys of rows: hashed, counted, looked up.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};

use arrow_array::{Array, RecordBatch};
use arrow_row::{RowConverter, SortField};
use arrow_schema::{ArrowError, SchemaRef};

/// Makes keys of some columns. Two rows have the same key when all of these are equal; that two others have is as likely as a collision of
/// 128 bits under numbers that nobody knows.
pub struct Keys {
    converter: RowConverter,
    width: usize,
    order: Option<RowConverter>,
    hashes: [RandomState; 2],
}

/// A row's key and its place in the order, when there is one.
pub type Keyed = (u128, Option<Box<[u8]>>);

impl Keys {
    /// For batches whose first columns are the key, the one behind them the order.
    pub fn new(schema: &SchemaRef, width: usize, ordered: bool) -> Result<Self, ArrowError> {
        let sort = |position: usize| SortField::new(schema.field(position).data_type().clone());
        Ok(Self {
            converter: RowConverter::new((0..width).map(sort).collect())?,
            width,
            order: ordered.then(|| RowConverter::new(vec![sort(width)])).transpose()?,
            hashes: [RandomState::new(), RandomState::new()],
        })
    }

    /// The key of every row; `None`: some column of it is null.
    pub fn of(&self, batch: &RecordBatch) -> Result<Vec<Option<Keyed>>, ArrowError> {
        let columns = &batch.columns()[..self.width];
        let rows = self.converter.convert_columns(columns)?;
        let order = match (&self.order, batch.columns().get(self.width)) {
            (Some(converter), Some(column)) => Some(converter.convert_columns(std::slice::from_ref(column))?),
            _ => None,
        };
        let nulls: Vec<_> = columns.iter().filter_map(|column| column.logical_nulls()).collect();
        Ok((0..batch.num_rows())
            .map(|row| {
                if nulls.iter().any(|nulls| nulls.is_null(row)) {
                    return None;
                }
                let bytes = rows.row(row);
                let [high, low] = self.hashes.each_ref().map(|hash| u128::from(hash.hash_one(bytes.as_ref())));
                Some(((high << 64) | low, order.as_ref().map(|order| order.row(row).as_ref().into())))
            })
            .collect())
    }
}

/// The new row that stands for a key.
struct Winner {
    file: u32,
    row: u64,
    order: Option<Box<[u8]>>,
    /// The table had rows of that key.
    hit: bool,
}

/// The new rows of some keys, one each.
#[derive(Default)]
pub struct Incoming {
    winners: HashMap<u128, Winner>,
}

impl Incoming {
    /// Adds a row; the one that loses to the other, when there are two of its key: file and row.
    pub fn add(&mut self, (key, order): Keyed, file: u32, row: u64) -> Option<(u32, u64)> {
        match self.winners.entry(key) {
            Entry::Vacant(slot) => {
                slot.insert(Winner { file, row, order, hit: false });
                None
            }
            // Rows come in their order, so of equal ones this is the later.
            Entry::Occupied(slot) if slot.get().order > order => Some((file, row)),
            Entry::Occupied(mut slot) => {
                let loser = std::mem::replace(slot.get_mut(), Winner { file, row, order, hit: false });
                Some((loser.file, loser.row))
            }
        }
    }

    /// Whether a row of the table makes way for a new one.
    pub fn takes(&mut self, key: u128) -> bool {
        self.winners.get_mut(&key).is_some_and(|winner| {
            winner.hit = true;
            true
        })
    }

    /// Keys that the table did not have, and that it had.
    pub fn counts(&self) -> (u64, u64) {
        let hit = self.winners.values().filter(|winner| winner.hit).count() as u64;
        (self.winners.len() as u64 - hit, hit)
    }
}

/// Rows of a file, by number.
#[derive(Clone, Debug, Default)]
pub struct Marked {
    words: Vec<u64>,
    count: u64,
}

impl Marked {
    pub fn mark(&mut self, row: u64) {
        let (word, bit) = (usize::try_from(row / 64).unwrap_or(usize::MAX), row % 64);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        if let Some(word) = self.words.get_mut(word).filter(|word| **word & (1 << bit) == 0) {
            *word |= 1 << bit;
            self.count += 1;
        }
    }

    pub fn has(&self, row: u64) -> bool {
        let word = usize::try_from(row / 64).ok().and_then(|word| self.words.get(word));
        word.is_some_and(|word| word & (1 << (row % 64)) != 0)
    }

    pub fn count(&self) -> u64 {
        self.count
    }
}
