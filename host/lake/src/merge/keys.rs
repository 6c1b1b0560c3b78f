//! Keys of rows: hashed, counted, looked up.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_row::{RowConverter, Rows, SortField};
use arrow_schema::{ArrowError, SchemaRef};

/// 128 bits under numbers that nobody knows: that two different rows have the same is as likely as a collision of these.
struct Hashes([RandomState; 2]);

impl Hashes {
    fn new() -> Self {
        Self([RandomState::new(), RandomState::new()])
    }

    fn of(&self, bytes: &[u8]) -> u128 {
        let [high, low] = self.0.each_ref().map(|hash| u128::from(hash.hash_one(bytes)));
        (high << 64) | low
    }
}

fn sort_field(schema: &SchemaRef, position: usize) -> SortField {
    SortField::new(schema.field(position).data_type().clone())
}

/// Makes keys of some columns. Two rows have the same key when all of these are equal.
pub struct Keys {
    converter: RowConverter,
    width: usize,
    order: Option<RowConverter>,
    hashes: Hashes,
}

/// The keys of a batch, and its rows' places in the order, when there is one.
pub struct Keyed {
    /// `None`: some column of the key is null.
    pub keys: Vec<Option<u128>>,
    order: Option<Rows>,
}

impl Keyed {
    /// A row's place in the order.
    pub fn order(&self, row: usize) -> Option<&[u8]> {
        self.order.as_ref().map(|order| order.row(row).data())
    }
}

impl Keys {
    /// For batches whose first columns are the key, the one behind them the order.
    pub fn new(schema: &SchemaRef, width: usize, ordered: bool) -> Result<Self, ArrowError> {
        Ok(Self {
            converter: RowConverter::new((0..width).map(|position| sort_field(schema, position)).collect())?,
            width,
            order: ordered.then(|| RowConverter::new(vec![sort_field(schema, width)])).transpose()?,
            hashes: Hashes::new(),
        })
    }

    /// The key of every row.
    pub fn of(&self, batch: &RecordBatch) -> Result<Keyed, ArrowError> {
        let columns: &[ArrayRef] = batch.columns().get(..self.width).unwrap_or_default();
        let rows = self.converter.convert_columns(columns)?;
        let order = match (&self.order, batch.columns().get(self.width)) {
            (Some(converter), Some(column)) => Some(converter.convert_columns(std::slice::from_ref(column))?),
            _ => None,
        };
        let nulls: Vec<_> = columns.iter().filter_map(|column| column.logical_nulls()).collect();
        let key = |row: usize| {
            let is_null = nulls.iter().any(|nulls| nulls.is_null(row));
            (!is_null).then(|| self.hashes.of(rows.row(row).data()))
        };
        Ok(Keyed { keys: (0..batch.num_rows()).map(key).collect(), order })
    }
}

/// Makes one number of a whole row.
pub struct Wholes {
    converter: RowConverter,
    hashes: Hashes,
}

impl Wholes {
    /// `None`: there are columns whose values cannot be compared so.
    pub fn new(schema: &SchemaRef) -> Result<Option<Self>, ArrowError> {
        let fields: Vec<SortField> = (0..schema.fields().len()).map(|position| sort_field(schema, position)).collect();
        if !RowConverter::supports_fields(&fields) {
            return Ok(None);
        }
        Ok(Some(Self { converter: RowConverter::new(fields)?, hashes: Hashes::new() }))
    }

    /// One number for each row: the same for rows that are equal in every column.
    pub fn of(&self, batch: &RecordBatch) -> Result<Vec<u128>, ArrowError> {
        let rows = self.converter.convert_columns(batch.columns())?;
        Ok(rows.iter().map(|row| self.hashes.of(row.data())).collect())
    }
}

/// The new row that stands for a key.
struct Winner {
    file: u32,
    row: u64,
    order: Option<Box<[u8]>>,
    /// Rows of that key that the table had; more than these are not counted on.
    stored: u8,
    /// One of them may be just like it.
    alike: bool,
    /// One of them is, and stays.
    stays: bool,
    whole: Option<[u64; 2]>,
}

/// What a row of the table has to do with the new ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// It makes way for one.
    Differs,
    /// So far it looks like one.
    Alike,
}

/// What became of the new rows of some keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub inserted: u64,
    pub updated: u64,
    pub unchanged: u64,
}

/// The new rows of some keys, one each.
#[derive(Default)]
pub struct Incoming {
    winners: HashMap<u128, Winner>,
}

impl Incoming {
    /// Adds a row; the one that loses to the other, when there are two of its key: file and row.
    pub fn add(&mut self, key: u128, order: Option<&[u8]>, file: u32, row: u64) -> Option<(u32, u64)> {
        let winner =
            || Winner { file, row, order: order.map(Into::into), stored: 0, alike: false, stays: false, whole: None };
        match self.winners.entry(key) {
            Entry::Vacant(slot) => {
                slot.insert(winner());
                None
            }
            // Rows come in their order, so of equal ones this is the later.
            Entry::Occupied(slot) if slot.get().order.as_deref() > order => Some((file, row)),
            Entry::Occupied(mut slot) => {
                let loser = slot.insert(winner());
                Some((loser.file, loser.row))
            }
        }
    }

    /// Whether a row of the table makes way for a new one, or may be the same.
    pub fn meets(&mut self, key: u128, order: Option<&[u8]>) -> Option<Match> {
        let winner = self.winners.get_mut(&key)?;
        winner.stored = winner.stored.saturating_add(1);
        if winner.order.as_deref() != order {
            return Some(Match::Differs);
        }
        winner.alike = true;
        Some(Match::Alike)
    }

    /// File and row of the new rows that a row of the table may be like.
    pub fn alike(&self) -> impl Iterator<Item = (u32, u64)> {
        self.winners.values().filter(|winner| winner.alike).map(|winner| (winner.file, winner.row))
    }

    /// Says what the whole of a new row is.
    pub fn describe(&mut self, key: u128, whole: u128) {
        if let Some(winner) = self.winners.get_mut(&key) {
            winner.whole = Some(halves(whole));
        }
    }

    /// When this row of the table is just like the new one of its key it stays: file and row of the new one, which goes.
    pub fn settle(&mut self, key: u128, whole: u128) -> Option<(u32, u64)> {
        let winner = self.winners.get_mut(&key)?;
        if winner.stays || winner.whole != Some(halves(whole)) {
            return None;
        }
        winner.stays = true;
        Some((winner.file, winner.row))
    }

    /// What became of them.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for winner in self.winners.values() {
            let count = match (winner.stored, winner.stays) {
                (0, _) => &mut counts.inserted,
                (1, true) => &mut counts.unchanged,
                _ => &mut counts.updated,
            };
            *count += 1;
        }
        counts
    }
}

/// Halves take less room beside what else is known of a row.
fn halves(whole: u128) -> [u64; 2] {
    [whole as u64, (whole >> 64) as u64]
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

    pub fn unmark(&mut self, row: u64) {
        let (word, bit) = (usize::try_from(row / 64).unwrap_or(usize::MAX), row % 64);
        if let Some(word) = self.words.get_mut(word).filter(|word| **word & (1 << bit) != 0) {
            *word &= !(1 << bit);
            self.count -= 1;
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
