//! Rejected rows between the split that had them and the table that keeps them.
//!
//! The load id is known only when all rows are read, so they wait here, as narrow as the source gave them. When they are more than their budget
//! they become rows of the table of rejected rows at once, without the id, and wait in the lake's spool; from then on all others follow.

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
    /// Where they go that are too many.
    spool: Option<Arc<dyn RejectWriter>>,
    load: Load,
    held: Mutex<Held>,
    splits: Vec<Split>,
}

#[derive(Default)]
struct Held {
    rows: u64,
    bytes: usize,
    overflow: Overflow,
    parts: Vec<Part>,
}

/// What became of rows that were too many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Overflow {
    #[default]
    None,
    /// They and all later ones are in the spool.
    Spooled,
    /// There is no spool; what was held is gone.
    Lost,
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
    rules: Vec<(u16, RejectRule)>,
}

/// What a reject code means.
#[derive(Clone, Debug)]
pub(crate) struct RejectRule {
    pub name: String,
    /// `name@version` of the cleaner, or of the source for a cast; `lakehost` for the contract.
    pub plugin: String,
    pub reason: String,
}

impl RejectRule {
    /// What `code` means to `step`. `source` stands for casts, which are no plugin's rule.
    pub fn of(code: u16, source: &str, step: &Guarded<'_>) -> Self {
        let (plugin, reason) = step.reason(code);
        let name = step.rule_name(code);
        let host = if name.starts_with("cast:") { source } else { "lakehost" };
        Self { plugin: plugin.unwrap_or_else(|| host.to_owned()), name, reason }
    }
}

/// Says what a reject code means.
pub(crate) type Rules<'r> = dyn Fn(u16) -> RejectRule + Sync + 'r;

/// Whoever keeps the rows that a split drops.
pub(crate) trait Keeper {
    /// Where they go. `rules`: what their codes mean.
    fn sink<'s>(&'s self, rules: &'s Rules<'s>) -> Box<dyn RejectSink + 's>;
}

/// What every rejected row of a load has in common, but for the load's id.
pub(crate) struct Load {
    pub table: TableName,
    pub window: Option<Window>,
    pub granularity: Granularity,
    pub run_id: String,
}

impl Quarantine {
    pub fn new(limit_bytes: usize, spool: Option<Arc<dyn RejectWriter>>, load: Load) -> Self {
        Self { limit_bytes, spool, load, held: Mutex::default(), splits: Vec::new() }
    }

    /// Where the rows of the next split go, which are of this file.
    pub fn shelf<'q>(&'q self, file: &'q str) -> Shelf<'q> {
        Shelf { quarantine: self, split: self.splits.len(), file }
    }

    /// The split is read, and these codes came up in it.
    pub fn close(&mut self, file: &str, rules: Vec<(u16, RejectRule)>) {
        self.splits.push(Split { file: file.to_owned(), rules });
    }

    /// Writes everything that is not spooled as rows of the table of rejected rows, in the order of the source.
    ///
    /// # Errors
    /// LH1002 when there were more than memory holds and no spool, LH0403 when they are not `expected` in number.
    pub fn write(self, writer: &dyn RejectWriter, load_id: &str, expected: u64) -> Result<(), Fault> {
        let held = self.held.into_inner().unwrap_or_else(PoisonError::into_inner);
        if held.overflow == Overflow::Lost {
            let (table, rows) = (self.load.table.to_string(), held.rows);
            return Err(Error::RejectsTooLarge { table, rows, limit_bytes: self.limit_bytes }.into());
        }
        if held.rows != expected {
            return Err(Error::Balance { rows_read: expected, rows_written: 0, rows_rejected: held.rows }.into());
        }
        let mut parts = held.parts;
        parts.sort_by_key(|part| (part.split, part.first_row));
        for part in parts {
            let Some(split) = self.splits.get(part.split) else { continue };
            part.write(writer, &self.load, &split.file, Some(load_id), &split.rules)?;
        }
        Ok(())
    }

    /// Takes a part in; the parts that have to be spooled now.
    fn hold(&self, part: Part) -> Vec<Part> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.rows += part.rows.len() as u64;
        let bytes = part.columns.get_array_memory_size().saturating_add(part.rows.len() * 6);
        held.bytes = held.bytes.saturating_add(bytes);
        if held.overflow == Overflow::None && held.bytes > self.limit_bytes {
            // Without a spool the window cannot be published any more; whether that is what has to be said comes out when all rows are counted.
            held.overflow = if self.spool.is_some() { Overflow::Spooled } else { Overflow::Lost };
        }
        match held.overflow {
            Overflow::None => held.parts.push(part),
            Overflow::Lost => held.parts = Vec::new(),
            Overflow::Spooled => {
                let mut parts = std::mem::take(&mut held.parts);
                parts.push(part);
                return parts;
            }
        }
        Vec::new()
    }
}

impl Part {
    /// `rules`: what the codes mean.
    fn write(
        &self,
        writer: &dyn RejectWriter,
        load: &Load,
        file: &str,
        load_id: Option<&str>,
        rules: &[(u16, RejectRule)],
    ) -> Result<(), Fault> {
        for start in (0..self.rows.len()).step_by(CHUNK_ROWS) {
            let length = CHUNK_ROWS.min(self.rows.len() - start);
            writer.write(&self.batch(start, length, load, file, load_id, rules)?)?;
        }
        Ok(())
    }

    /// The codes that came up here, with their meaning.
    fn rules(&self, rules: &Rules<'_>) -> Vec<(u16, RejectRule)> {
        let mut codes = self.codes.clone();
        codes.sort_unstable();
        codes.dedup();
        codes.into_iter().map(|code| (code, rules(code))).collect()
    }

    fn batch(
        &self,
        start: usize,
        length: usize,
        load: &Load,
        file: &str,
        load_id: Option<&str>,
        rules: &[(u16, RejectRule)],
    ) -> Result<RecordBatch, Fault> {
        let wrong = |error: arrow_schema::ArrowError| {
            Fault::new(Error::Columns {
                source: lakehost_columnar::Error::Encode {
                    what: "rejected rows".to_owned(),
                    detail: error.to_string(),
                },
            })
        };
        let same = |text: Option<&str>| -> ArrayRef {
            match text {
                Some(text) => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, length))),
                None => Arc::new(StringArray::new_null(length)),
            }
        };
        let rules: Vec<Option<&RejectRule>> = self.codes[start..start + length]
            .iter()
            .map(|code| rules.iter().find(|(known, _)| known == code).map(|(_, rule)| rule))
            .collect();
        let of_rule = |text: &dyn for<'r> Fn(&'r RejectRule) -> &'r str| -> ArrayRef {
            Arc::new(rules.iter().map(|rule| rule.map(text)).collect::<StringArray>())
        };
        let schema = rejects::schema(load.granularity);
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
        match (load.granularity, &load.window) {
            (Granularity::None, _) | (_, None) => {}
            (Granularity::Hour, Some(window)) => {
                columns.push(Arc::new(TimestampMicrosecondArray::from_value(window.start_micros(), length)));
            }
            (_, Some(window)) => columns.push(Arc::new(Date32Array::from_value(window.start_days(), length))),
        }
        columns.extend([same(load_id), same(Some(&load.run_id))]);
        columns.extend([of_rule(&|rule| &rule.plugin), of_rule(&|rule| &rule.name), of_rule(&|rule| &rule.reason)]);
        let rows = self.rows[start..start + length].iter();
        let rows = rows.map(|row| i64::try_from(self.first_row + u64::from(*row)).unwrap_or(i64::MAX));
        columns.push(Arc::new(Int64Array::from_iter_values(rows)));
        columns.push(same(Some(file)));
        columns.push(Arc::new(rejects::rows_as_json(&self.columns.slice(start, length)).map_err(wrong)?));
        RecordBatch::try_new(schema, columns).map_err(wrong)
    }
}

/// One split's place in the quarantine.
pub(crate) struct Shelf<'a> {
    quarantine: &'a Quarantine,
    split: usize,
    file: &'a str,
}

impl Keeper for Shelf<'_> {
    fn sink<'s>(&'s self, rules: &'s Rules<'s>) -> Box<dyn RejectSink + 's> {
        Box::new(OnShelf { shelf: self, rules })
    }
}

struct OnShelf<'a> {
    shelf: &'a Shelf<'a>,
    rules: &'a Rules<'a>,
}

impl RejectSink for OnShelf<'_> {
    fn take(&self, first_row: u64, rows: &[u32], codes: &[u16], columns: RecordBatch) -> lakehost_columnar::Result<()> {
        let Shelf { quarantine, split, file } = self.shelf;
        let (rows, codes) = (rows.to_vec(), codes.to_vec());
        let Some(spool) = &quarantine.spool else {
            quarantine.hold(Part { split: *split, first_row, rows, codes, columns });
            return Ok(());
        };
        for part in quarantine.hold(Part { split: *split, first_row, rows, codes, columns }) {
            let written = match quarantine.splits.get(part.split) {
                Some(split) => part.write(spool.as_ref(), &quarantine.load, &split.file, None, &split.rules),
                None => part.write(spool.as_ref(), &quarantine.load, file, None, &part.rules(self.rules)),
            };
            written.map_err(|fault| lakehost_columnar::Error::Step(Box::new(fault)))?;
        }
        Ok(())
    }
}
