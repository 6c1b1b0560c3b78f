//! Which rows of a table new ones meet, and which of them are just the same.
//!
//! First keys alone are looked at, with the order when there is one. Only where a row of the table has the key and the order of a new one are
//! whole rows read, and compared by number: a row that the table has just so stays where it is, and the new one goes.

use std::collections::{HashMap, HashSet};

use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::ArrowError;
use arrow_select::filter::filter_record_batch;

use super::keys::{Counts, Incoming, Keyed, Keys, Marked, Match, Wholes};
use crate::catalog::TableState;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::inspect::LiveFile;
use crate::maintain::Reader;
use crate::masked::each_batch;

/// What looking at rows found, by file.
#[derive(Default)]
pub struct Found {
    /// New rows that give way: to another new one, or to a row of the table that is just the same.
    pub losers: HashMap<String, Marked>,
    /// Rows of the table that give way to new ones.
    pub replaced: HashMap<String, Marked>,
    /// Rows that a file has.
    pub seen: HashMap<String, u64>,
    /// Files of the table with rows for which no new one is written.
    pub relied_on: HashSet<String>,
    pub counts: Counts,
    pub duplicates: u64,
    /// New rows without a key.
    pub keyless: u64,
}

/// How rows are looked at.
pub struct Look<'a> {
    pub core: &'a Core,
    pub state: &'a TableState,
    pub reader: &'a Reader,
    /// Key columns, then the order.
    pub names: &'a [&'a str],
    pub width: usize,
    /// New rows whose keys are in memory at a time.
    pub keys_at_once: u64,
}

impl Look<'_> {
    /// Goes through all keys, a share of them at a time. `rows`: how many new rows there are.
    pub fn find(&self, staged: &[LiveFile], candidates: &[LiveFile], rows: u64) -> Result<Found> {
        let mut found = Found::default();
        if staged.is_empty() {
            return Ok(found);
        }
        let passes = u128::from(rows.div_ceil(self.keys_at_once.max(1)).max(1));
        let mut keys: Option<Keys> = None;
        for pass in 0..passes {
            let mut incoming = Incoming::default();
            for (number, live) in staged.iter().enumerate() {
                let (path, file) = (live.file.file_path(), u32::try_from(number).unwrap_or(u32::MAX));
                let rows = self.each(path, &mut keys, |keyed, start| {
                    for (at, key) in keyed.keys.iter().enumerate() {
                        let row = start + at as u64;
                        match key {
                            None if pass == 0 => found.keyless += 1,
                            Some(key) if key % passes == pass => {
                                if let Some((file, row)) = incoming.add(*key, keyed.order(at), file, row) {
                                    found.duplicates += 1;
                                    found.losers.entry(path_of(staged, file)).or_default().mark(row);
                                }
                            }
                            _ => {}
                        }
                    }
                })?;
                found.seen.insert(path.to_owned(), rows);
            }
            let mut alike: HashMap<&str, Marked> = HashMap::new();
            for live in candidates {
                let path = live.file.file_path();
                let rows = self.each(path, &mut keys, |keyed, start| {
                    for (at, key) in keyed.keys.iter().enumerate() {
                        let Some(key) = key.filter(|key| key % passes == pass) else { continue };
                        let Some(met) = incoming.meets(key, keyed.order(at)) else { continue };
                        found.replaced.entry(path.to_owned()).or_default().mark(start + at as u64);
                        if met == Match::Alike {
                            alike.entry(path).or_default().mark(start + at as u64);
                        }
                    }
                })?;
                found.seen.insert(path.to_owned(), rows);
            }
            if let Some(keys) = keys.as_ref().filter(|_| !alike.is_empty()) {
                self.compare(staged, &alike, keys, &mut incoming, &mut found)?;
            }
            let counts = incoming.counts();
            found.counts.inserted += counts.inserted;
            found.counts.updated += counts.updated;
            found.counts.unchanged += counts.unchanged;
        }
        Ok(found)
    }

    /// Holds whole rows against each other where key and order are the same.
    fn compare(
        &self,
        staged: &[LiveFile],
        alike: &HashMap<&str, Marked>,
        keys: &Keys,
        incoming: &mut Incoming,
        found: &mut Found,
    ) -> Result<()> {
        let mut new: HashMap<String, Marked> = HashMap::new();
        for (file, row) in incoming.alike() {
            new.entry(path_of(staged, file)).or_default().mark(row);
        }
        let mut wholes = None;
        for (path, rows) in &new {
            self.each_whole(path, rows, keys, &mut wholes, |key, whole, _| incoming.describe(key, whole))?;
        }
        for (path, rows) in alike {
            self.each_whole(path, rows, keys, &mut wholes, |key, whole, row| {
                let Some((file, new_row)) = incoming.settle(key, whole) else { return };
                found.losers.entry(path_of(staged, file)).or_default().mark(new_row);
                if let Some(replaced) = found.replaced.get_mut(*path) {
                    replaced.unmark(row);
                }
                found.relied_on.insert((*path).to_owned());
            })?;
        }
        Ok(())
    }

    /// Calls `look` with key, whole and number of the marked rows of a file. Rows that cannot be compared are passed over.
    fn each_whole(
        &self,
        path: &str,
        rows: &Marked,
        keys: &Keys,
        wholes: &mut Option<Option<Wholes>>,
        mut look: impl FnMut(u128, u128, u64),
    ) -> Result<()> {
        if matches!(wholes, Some(None)) {
            return Ok(());
        }
        // Key and order first, where they are looked for.
        let schema = self.state.metadata.current_schema();
        let columns = schema.as_struct().fields().iter().map(|field| field.name.as_str());
        let rest = columns.filter(|name| !self.names.contains(name));
        let names: Vec<&str> = self.names.iter().copied().chain(rest).collect();
        let mut start = 0_u64;
        each_batch(self.core, self.state, self.reader, path, &names, |batch| {
            let numbers: Vec<u64> = (start..start + batch.num_rows() as u64).collect();
            start += batch.num_rows() as u64;
            let marked: BooleanArray = numbers.iter().map(|row| Some(rows.has(*row))).collect();
            if marked.true_count() == 0 {
                return Ok(());
            }
            let batch = filter_record_batch(batch, &marked).map_err(|error| self.wrong(&error))?;
            let made = match &mut *wholes {
                Some(made) => made,
                none => none.insert(Wholes::new(&batch.schema()).map_err(|error| self.wrong(&error))?),
            };
            let Some(made) = made else { return Ok(()) };
            let whole = made.of(&batch).map_err(|error| self.wrong(&error))?;
            let keyed = keys.of(&batch).map_err(|error| self.wrong(&error))?;
            let numbers = numbers.into_iter().filter(|row| rows.has(*row));
            for ((key, whole), row) in keyed.keys.into_iter().zip(whole).zip(numbers) {
                key.into_iter().for_each(|key| look(key, whole, row));
            }
            Ok(())
        })
    }

    /// Calls `look` with the keys of each batch of a file and the number of its first row; how many rows there are.
    fn each(&self, path: &str, keys: &mut Option<Keys>, mut look: impl FnMut(&Keyed, u64)) -> Result<u64> {
        let mut start = 0_u64;
        each_batch(self.core, self.state, self.reader, path, self.names, |batch: &RecordBatch| {
            let keys = match &mut *keys {
                Some(keys) => keys,
                none => {
                    let made = Keys::new(&batch.schema(), self.width, self.names.len() > self.width);
                    none.insert(made.map_err(|error| self.wrong(&error))?)
                }
            };
            look(&keys.of(batch).map_err(|error| self.wrong(&error))?, start);
            start += batch.num_rows() as u64;
            Ok::<(), Error>(())
        })?;
        Ok(start)
    }

    fn wrong(&self, error: &ArrowError) -> Error {
        let detail = format!("rows cannot be told apart by these columns: {error}");
        Error::Key { table: self.state.name.clone(), detail }
    }
}

fn path_of(staged: &[LiveFile], file: u32) -> String {
    staged.get(file as usize).map(|live| live.file.file_path().to_owned()).unwrap_or_default()
}
