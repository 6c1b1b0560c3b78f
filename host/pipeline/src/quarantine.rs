//! Rejected rows between the split that had them and the table that keeps them.
//!
//! The load id is known only when all rows are read, so they wait here, as narrow as the source gave them, under a budget of their own.

use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::{ArrayRef, Date32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use lakehost_columnar::RejectSink;

use crate::diagnostic::Fault;
use crate::drift::Guarded;
use crate::error::Error;
use crate::ports::{RejectWriter, TableName};
use crate::rejects;
use crate::window::{Granularity, Window};

/// Rows that are made into JSON at a time.
const CHUNK_ROWS: usize = 8 << 10;

/// The rejected rows of one window.
pub(crate) struct Quarantine {
    limit_bytes: usize,
    held: Mutex<Held>,
    splits: Vec<Split>,
}

#[derive(Default)]
struct Held {
    rows: u64,
    bytes: usize,
    /// More came than fit; what was held is gone.
    overflown: bool,
    parts: Vec<Part>,
}

struct Part {
    split: usize,
    first_row: u64,
    rows: Vec<u32>,
    codes: Vec<u16>,
    columns: RecordBatch,
}

/// One split, and what its reject codes mean.
struct Split {
    file: String,
    /// By code.
    rules: Vec<(u16, Rule)>,
}

struct Rule {
    name: String,
    plugin: String,
    reason: String,
}

/// What every rejected row of a load has in common.
pub(crate) struct Load<'a> {
    pub table: &'a TableName,
    pub window: Option<&'a Window>,
    pub granularity: Granularity,
    pub load_id: &'a str,
    pub run_id: &'a str,
}

impl Quarantine {
    pub fn new(limit_bytes: usize) -> Self {
        Self { limit_bytes, held: Mutex::default(), splits: Vec::new() }
    }

    /// Where the next split's rows go.
    pub fn shelf(&self) -> Shelf<'_> {
        Shelf { quarantine: self, split: self.splits.len() }
    }

    /// The split is read: `codes` came up in it. `source` stands for casts, which are no plugin's rule.
    pub fn close(&mut self, file: &str, source: &str, codes: impl Iterator<Item = u16>, step: &Guarded<'_>) {
        let rule = |code: u16| {
            let (plugin, reason) = step.reason(code);
            let name = step.rule_name(code);
            let host = if name.starts_with("cast:") { source } else { "lakehost" };
            (code, Rule { plugin: plugin.unwrap_or_else(|| host.to_owned()), name, reason })
        };
        self.splits.push(Split { file: file.to_owned(), rules: codes.map(rule).collect() });
    }

    /// Writes everything as rows of the table of rejected rows, in the order of the source.
    ///
    /// # Errors
    /// LH1002 when there were more than memory holds, LH0403 when they are not `expected` in number.
    pub fn write(self, writer: &dyn RejectWriter, load: &Load<'_>, expected: u64) -> Result<(), Fault> {
        let held = self.held.into_inner().unwrap_or_else(PoisonError::into_inner);
        if held.overflown {
            let (table, rows) = (load.table.to_string(), held.rows);
            return Err(Error::RejectsTooLarge { table, rows, limit_bytes: self.limit_bytes }.into());
        }
        if held.rows != expected {
            return Err(Error::Balance { rows_read: expected, rows_written: 0, rows_rejected: held.rows }.into());
        }
        let mut parts = held.parts;
        parts.sort_by_key(|part| (part.split, part.first_row));
        for part in parts {
            let Some(split) = self.splits.get(part.split) else { continue };
            for start in (0..part.rows.len()).step_by(CHUNK_ROWS) {
                let length = CHUNK_ROWS.min(part.rows.len() - start);
                writer.write(&part.batch(split, start, length, load)?)?;
            }
        }
        Ok(())
    }
}

impl Part {
    fn batch(&self, split: &Split, start: usize, length: usize, load: &Load<'_>) -> Result<RecordBatch, Fault> {
        let wrong = |error: arrow_schema::ArrowError| {
            Fault::new(Error::Columns {
                source: lakehost_columnar::Error::Encode {
                    what: "rejected rows".to_owned(),
                    detail: error.to_string(),
                },
            })
        };
        let same =
            |text: &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, length))) };
        let rules: Vec<Option<&Rule>> = self.codes[start..start + length]
            .iter()
            .map(|code| split.rules.iter().find(|(known, _)| known == code).map(|(_, rule)| rule))
            .collect();
        let of_rule = |text: &dyn for<'r> Fn(&'r Rule) -> &'r str| -> ArrayRef {
            Arc::new(rules.iter().map(|rule| rule.map(text)).collect::<StringArray>())
        };
        let schema = rejects::schema(load.granularity);
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
        match (load.granularity, load.window) {
            (Granularity::None, _) | (_, None) => {}
            (Granularity::Hour, Some(window)) => {
                columns.push(Arc::new(TimestampMicrosecondArray::from_value(window.start_micros(), length)));
            }
            (_, Some(window)) => columns.push(Arc::new(Date32Array::from_value(window.start_days(), length))),
        }
        columns.extend([same(load.load_id), same(load.run_id)]);
        columns.extend([of_rule(&|rule| &rule.plugin), of_rule(&|rule| &rule.name), of_rule(&|rule| &rule.reason)]);
        let rows = self.rows[start..start + length].iter();
        let rows = rows.map(|row| i64::try_from(self.first_row + u64::from(*row)).unwrap_or(i64::MAX));
        columns.push(Arc::new(Int64Array::from_iter_values(rows)));
        columns.push(same(&split.file));
        columns.push(Arc::new(rejects::rows_as_json(&self.columns.slice(start, length)).map_err(wrong)?));
        RecordBatch::try_new(schema, columns).map_err(wrong)
    }
}

/// One split's place in the quarantine.
pub(crate) struct Shelf<'a> {
    quarantine: &'a Quarantine,
    split: usize,
}

impl RejectSink for Shelf<'_> {
    fn take(&self, first_row: u64, rows: &[u32], codes: &[u16], columns: RecordBatch) -> lakehost_columnar::Result<()> {
        let mut held = self.quarantine.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.rows += rows.len() as u64;
        held.bytes = held.bytes.saturating_add(columns.get_array_memory_size()).saturating_add(rows.len() * 6);
        if held.bytes > self.quarantine.limit_bytes {
            // The window cannot be published any more; whether that is what has to be said comes out when all rows are counted.
            held.overflown = true;
            held.parts = Vec::new();
        }
        if !held.overflown {
            let (rows, codes) = (rows.to_vec(), codes.to_vec());
            held.parts.push(Part { split: self.split, first_row, rows, codes, columns });
        }
        Ok(())
    }
}
