//! What a split's columns differ in from the table, and what the contract makes of it: settled once a split, before its first row.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, FieldRef, Schema};
use lakehost_columnar::{BoxError, RowStep, cast_kind};

use crate::chain::Chain;
use crate::contract::{Contract, OnDrift};
use crate::error::Error;
use crate::layout::{INGESTED_AT, SOURCE_FILE, WINDOW_COLUMN};
use crate::merge_key::NULL_KEY;
use crate::ports::TableName;

/// What has to be done so that a split's rows fit the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    /// The table has to take new columns or wider types first.
    pub evolve: bool,
    /// Unknown columns whose values cost their rows.
    pub reject: Vec<String>,
    /// Unknown columns whose values are left out.
    pub discard: Vec<String>,
    /// Columns whose unfit values become null.
    pub forgive: Vec<String>,
    /// Columns whose nulls cost their rows: the key of a merge.
    pub key: Vec<String>,
}

/// The two sides of a split.
pub(crate) struct Sides<'a> {
    pub table: &'a TableName,
    /// What the source promised.
    pub promised: &'a Schema,
    /// The table's columns.
    pub present: &'a Schema,
    /// Columns that cleaners write.
    pub written: &'a [FieldRef],
    /// What the split holds.
    pub found: &'a Schema,
    /// Its file, or the plugin that makes the rows.
    pub file: &'a str,
}

impl Sides<'_> {
    /// Holds the split against the contract.
    ///
    /// # Errors
    /// LH0405 with both types and the file; LH0401 for a name that is the host's.
    pub fn settle(&self, contract: &Contract) -> Result<Settled, Error> {
        let mut settled = Settled::default();
        for field in self.found.fields() {
            let name = field.name();
            if self.written.iter().any(|written| written.name() == name) {
                continue;
            }
            let on_drift = contract.of(name);
            match self.present.field_with_name(name) {
                Ok(_) if [WINDOW_COLUMN, INGESTED_AT, SOURCE_FILE].contains(&name.as_str()) && !self.promises(name) => {
                    return Err(Error::ReservedColumn { column: name.clone() });
                }
                Ok(present) => self.known(field, present, on_drift, &mut settled)?,
                Err(_) if name == WINDOW_COLUMN => return Err(Error::ReservedColumn { column: name.clone() }),
                Err(_) => match on_drift {
                    OnDrift::Freeze => return Err(self.refuse(name, Some(field.data_type()), None, on_drift)),
                    // A column of nulls alone has no type to add and no value to lose.
                    _ if *field.data_type() == DataType::Null => {}
                    OnDrift::Evolve => settled.evolve = true,
                    OnDrift::DiscardRow => settled.reject.push(name.clone()),
                    OnDrift::DiscardValue => settled.discard.push(name.clone()),
                },
            }
        }
        for promised in self.promised.fields().iter().filter(|field| self.found.field_with_name(field.name()).is_err())
        {
            if contract.of(promised.name()) == OnDrift::Freeze {
                return Err(self.refuse(promised.name(), None, Some(promised.data_type()), OnDrift::Freeze));
            }
        }
        Ok(settled)
    }

    /// A column that the table has.
    fn known(&self, found: &Field, present: &Field, on_drift: OnDrift, settled: &mut Settled) -> Result<(), Error> {
        let (from, to) = (found.data_type(), present.data_type());
        let as_promised =
            self.promised.field_with_name(found.name()).is_ok_and(|promised| promised.data_type() == found.data_type());
        match on_drift {
            OnDrift::Freeze if !as_promised && from != to => {
                return Err(self.refuse(found.name(), Some(from), Some(to), on_drift));
            }
            OnDrift::Evolve if widens(to, from) => settled.evolve = true,
            _ if cast_kind(from, to).is_none() => {
                return Err(self.refuse(found.name(), Some(from), Some(to), on_drift));
            }
            OnDrift::DiscardValue => settled.forgive.push(found.name().clone()),
            _ => {}
        }
        Ok(())
    }

    fn promises(&self, name: &str) -> bool {
        self.promised.field_with_name(name).is_ok()
    }

    fn refuse(&self, column: &str, found: Option<&DataType>, wanted: Option<&DataType>, contract: OnDrift) -> Error {
        Error::Drift {
            table: self.table.to_string(),
            column: column.to_owned(),
            file: self.file.to_owned(),
            found: found.map(DataType::to_string),
            wanted: wanted.map(DataType::to_string),
            contract,
        }
    }
}

/// Whether a column of `from` can become one of `to` without a value changing, as Iceberg tables allow.
pub(crate) fn widens(from: &DataType, to: &DataType) -> bool {
    use DataType::{Decimal128, Float32, Float64, Int32, Int64};
    match (from, to) {
        (Int32, Int64) | (Float32, Float64) => true,
        (Decimal128(narrow, scale), Decimal128(wide, same)) => scale == same && narrow < wide,
        _ => false,
    }
}

/// A chain of cleaners behind the contract: rows that it rejects are never seen by a cleaner.
pub(crate) struct Guarded<'a> {
    chain: &'a Chain,
    settled: &'a Settled,
    reads: Vec<String>,
    /// Values that went, by column.
    discarded: Mutex<BTreeMap<String, u64>>,
}

impl<'a> Guarded<'a> {
    pub fn new(chain: &'a Chain, settled: &'a Settled) -> Self {
        let mut reads = chain.reads().to_vec();
        reads.extend(settled.reject.iter().chain(&settled.discard).cloned());
        for column in &settled.key {
            if !reads.contains(column) && !chain.writes().iter().any(|field| field.name() == column) {
                reads.push(column.clone());
            }
        }
        Self { chain, settled, reads, discarded: Mutex::default() }
    }

    /// Name of the rule behind a reject code.
    pub fn rule_name(&self, code: u16) -> String {
        match usize::from(code).checked_sub(1 + self.chain.rules()) {
            Some(index) => match self.settled.reject.get(index) {
                Some(column) => format!("contract:{column}"),
                None => NULL_KEY.to_owned(),
            },
            None => self.chain.rule_name(code).to_owned(),
        }
    }

    /// Who rejects with this code and why, in words; no plugin: the host.
    pub fn reason(&self, code: u16) -> (Option<String>, String) {
        match usize::from(code).checked_sub(1 + self.chain.rules()) {
            Some(index) if index < self.settled.reject.len() => {
                (None, "the table does not have the column, and the contract is discard_row".to_owned())
            }
            Some(_) => (None, format!("a merge needs a value in the key ({})", self.settled.key.join(", "))),
            None => self.chain.reason(code),
        }
    }

    /// Values that went, by column.
    pub fn into_discarded(self) -> BTreeMap<String, u64> {
        self.discarded.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, column: &str, values: u64) {
        if values > 0 {
            let mut discarded = self.discarded.lock().unwrap_or_else(PoisonError::into_inner);
            *discarded.entry(column.to_owned()).or_default() += values;
        }
    }
}

fn present<'b>(batch: &'b RecordBatch, column: &str) -> Result<&'b ArrayRef, BoxError> {
    batch.column_by_name(column).ok_or_else(|| format!("no column {column} to look at").into())
}

impl RowStep for Guarded<'_> {
    fn reads(&self) -> &[String] {
        &self.reads
    }

    fn writes(&self) -> &[FieldRef] {
        self.chain.writes()
    }

    fn apply(&self, batch: &RecordBatch, first_row: u64, rejected: &mut [u16]) -> Result<Vec<ArrayRef>, BoxError> {
        for (column, index) in self.settled.reject.iter().zip(1usize..) {
            let array = present(batch, column)?;
            let code = u16::try_from(self.chain.rules() + index).unwrap_or(u16::MAX);
            let nulls = array.logical_nulls();
            for (row, slot) in rejected.iter_mut().enumerate().filter(|(_, slot)| **slot == 0) {
                if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                    *slot = code;
                }
            }
        }
        let written = self.chain.apply(batch, first_row, rejected)?;
        let no_key = u16::try_from(self.chain.rules() + self.settled.reject.len() + 1).unwrap_or(u16::MAX);
        for column in &self.settled.key {
            let place = self.chain.writes().iter().position(|field| field.name() == column);
            let array = match place.and_then(|place| written.get(place)) {
                Some(array) => array,
                None => present(batch, column)?,
            };
            let Some(nulls) = array.logical_nulls() else { continue };
            for (row, slot) in rejected.iter_mut().enumerate().filter(|(_, slot)| **slot == 0) {
                if nulls.is_null(row) {
                    *slot = no_key;
                }
            }
        }
        for column in &self.settled.discard {
            let nulls = present(batch, column)?.logical_nulls();
            let kept = rejected.iter().enumerate().filter(|(_, code)| **code == 0);
            let values = kept.filter(|(row, _)| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(*row))).count();
            self.count(column, values as u64);
        }
        Ok(written)
    }

    fn cast_rule(&self, column: &str) -> u16 {
        self.chain.cast_rule(column)
    }

    fn forgives(&self, column: &str) -> bool {
        self.settled.forgive.iter().any(|forgiven| forgiven == column)
    }

    fn forgiven(&self, column: &str, values: u64) {
        self.count(column, values);
    }
}

#[cfg(test)]
#[path = "drift_tests.rs"]
mod tests;
