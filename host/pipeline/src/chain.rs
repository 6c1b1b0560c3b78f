//! Cleaners in a row: each sees the rows still kept, with the columns written before it.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow_schema::{ArrowError, FieldRef, Schema, SchemaRef};
use arrow_select::filter::filter_record_batch;
use arrow_select::take::take;
use lakehost_columnar::{BoxError, RowStep};

use crate::diagnostic::Fault;
use crate::ports::{BoundCleaner, Cleaner, Patch};
use crate::window::Window;

/// The cleaners of one load, bound to its schema, as one step over rows.
///
/// Reject codes: 0 = kept; then the rules of each cleaner in order; then `cast:<column>` for each column of the source.
pub struct Chain {
    cleaners: Vec<Link>,
    /// Columns of the source that any cleaner reads, or written columns start from.
    reads: Vec<String>,
    writes: Vec<FieldRef>,
    rule_names: Vec<String>,
    /// Whose each cleaner's rule is, and what it says.
    reasons: Vec<(String, String)>,
    cast_columns: Vec<String>,
    first_cast_code: u16,
}

struct Link {
    bound: Box<dyn BoundCleaner>,
    schema: SchemaRef,
    /// Added to the cleaner's own 1-based rule index.
    code_offset: u16,
}

impl Chain {
    /// Binds each cleaner to the schema that the ones before it leave.
    pub fn bind(cleaners: &[Box<dyn Cleaner>], source: &SchemaRef, window: Option<&Window>) -> Result<Self, Fault> {
        let mut schema = source.clone();
        let (mut links, mut reads, mut rule_names) = (Vec::new(), Vec::<String>::new(), Vec::new());
        let mut reasons = Vec::new();
        let mut writes: Vec<FieldRef> = Vec::new();
        for cleaner in cleaners {
            let bound = cleaner.bind(&schema, window).map_err(|fault| fault.with("plugin", cleaner.plugin()))?;
            let mut columns = Vec::new();
            for name in bound.reads() {
                let field = schema.field_with_name(name).map_err(|_| {
                    Fault::new(crate::Error::Schema {
                        name: cleaner.plugin().to_string(),
                        column: name.clone(),
                        reason: "the cleaner reads it, and there is no such column".to_owned(),
                    })
                })?;
                columns.push(Arc::new(field.clone()));
                let written_before = writes.iter().any(|field| field.name() == name);
                if !written_before && !reads.contains(name) {
                    reads.push(name.clone());
                }
            }
            let code_offset = u16::try_from(rule_names.len()).unwrap_or(u16::MAX);
            rule_names.extend(bound.rules().iter().map(|rule| rule.id.clone()));
            let plugin = cleaner.plugin().to_string();
            reasons.extend(bound.rules().iter().map(|rule| (plugin.clone(), rule.description.clone())));
            let mut fields: Vec<FieldRef> = schema.fields().iter().cloned().collect();
            for field in bound.writes() {
                for list in [&mut writes, &mut fields] {
                    match list.iter_mut().find(|known| known.name() == field.name()) {
                        Some(known) => *known = field.clone(),
                        None => list.push(field.clone()),
                    }
                }
            }
            schema = Arc::new(Schema::new(fields));
            links.push(Link { bound, schema: Arc::new(Schema::new(columns)), code_offset });
        }
        let first_cast_code = u16::try_from(rule_names.len() + 1).unwrap_or(u16::MAX);
        let cast_columns: Vec<String> = source.fields().iter().map(|field| field.name().clone()).collect();
        rule_names.extend(cast_columns.iter().map(|column| format!("cast:{column}")));
        Ok(Self { cleaners: links, reads, writes, rule_names, reasons, cast_columns, first_cast_code })
    }

    /// No cleaner: only casts can reject rows.
    pub fn is_empty(&self) -> bool {
        self.cleaners.is_empty()
    }

    /// How many reject codes there are.
    pub fn rules(&self) -> usize {
        self.rule_names.len()
    }

    /// The cleaner behind a reject code and its rule in words; no cleaner: the cast of a column.
    pub fn reason(&self, code: u16) -> (Option<String>, String) {
        match self.reasons.get(usize::from(code).wrapping_sub(1)) {
            Some((plugin, reason)) => (Some(plugin.clone()), reason.clone()),
            None => (None, "the value does not fit the column exactly".to_owned()),
        }
    }

    /// Name of the rule behind a reject code.
    pub fn rule_name(&self, code: u16) -> &str {
        let index = usize::from(code).wrapping_sub(1);
        self.rule_names.get(index).map_or("unknown", String::as_str)
    }
}

impl RowStep for Chain {
    fn reads(&self) -> &[String] {
        &self.reads
    }

    fn writes(&self) -> &[FieldRef] {
        &self.writes
    }

    fn cast_rule(&self, column: &str) -> u16 {
        let index = self.cast_columns.iter().position(|known| known == column).unwrap_or(0);
        self.first_cast_code.saturating_add(u16::try_from(index).unwrap_or(u16::MAX))
    }

    fn apply(&self, batch: &RecordBatch, first_row: u64, rejected: &mut [u16]) -> Result<Vec<ArrayRef>, BoxError> {
        let mut written: Vec<(FieldRef, ArrayRef)> = Vec::new();
        for link in &self.cleaners {
            let columns: Vec<ArrayRef> = (link.schema.fields().iter())
                .filter_map(|field| {
                    let before = written.iter().find(|(known, _)| known.name() == field.name());
                    before.map(|(_, array)| array.clone()).or_else(|| batch.column_by_name(field.name()).cloned())
                })
                .collect();
            let rows = batch.num_rows();
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            let input = RecordBatch::try_new_with_options(link.schema.clone(), columns, &options)?;
            // With no row rejected so far, as nearly always before the first cleaner, nothing is narrowed or spread.
            let kept = rejected.iter().filter(|code| **code == 0).count();
            let spread = (kept < rows).then(|| Spread::new(rejected));
            let input = match &spread {
                Some(spread) => filter_record_batch(&input, &spread.keep)?,
                None => input,
            };
            let range = || format!("{first_row}..{}", first_row + rows as u64);
            let mut patch = link.bound.clean(&input).map_err(|fault| fault.with("rows", range()))?;
            if let Some(spread) = &spread {
                patch = spread.apply(patch)?;
            }
            compose(rejected, patch.codes.as_deref().unwrap_or_default(), link.code_offset);
            merge(&mut written, link.bound.writes(), patch.columns);
        }
        let mut answer = Vec::with_capacity(self.writes.len());
        for field in &self.writes {
            let array = written.iter().find(|(known, _)| known.name() == field.name());
            let (_, array) = array.ok_or_else(|| format!("no cleaner wrote {}", field.name()))?;
            debug_assert_eq!(array.len(), batch.num_rows());
            answer.push(array.clone());
        }
        Ok(answer)
    }
}

/// The way back from the rows still kept to all rows of a batch.
struct Spread {
    keep: BooleanArray,
    /// Where each row of the batch stands among the kept ones; none for rows that the cleaner never saw.
    places: UInt32Array,
}

impl Spread {
    fn new(rejected: &[u16]) -> Self {
        let keep = BooleanArray::from(rejected.iter().map(|code| *code == 0).collect::<Vec<bool>>());
        let mut next = 0u32;
        let places: Vec<u32> = (rejected.iter())
            .map(|code| {
                let place = if *code == 0 { next } else { 0 };
                next += u32::from(*code == 0);
                place
            })
            .collect();
        let places = UInt32Array::new(places.into(), Some(keep.values().clone().into()));
        Self { keep, places }
    }

    /// A patch of the kept rows as one of all rows: it says nothing about the others.
    fn apply(&self, patch: Patch) -> Result<Patch, ArrowError> {
        let columns = patch.columns.iter().map(|column| take(column, &self.places, None)).collect::<Result<_, _>>()?;
        let codes = patch.codes.map(|codes| {
            let mut codes = codes.into_iter();
            self.keep.values().iter().map(|kept| if kept { codes.next().unwrap_or(0) } else { 0 }).collect()
        });
        Ok(Patch { codes, columns })
    }
}

/// Gives the rows that a cleaner drops their codes among all rules. Every slot is written, so that no row needs a branch.
fn compose(rejected: &mut [u16], codes: &[u16], code_offset: u16) {
    for (slot, code) in rejected.iter_mut().zip(codes) {
        *slot = if *code == 0 { *slot } else { code.saturating_add(code_offset) };
    }
}

fn merge(written: &mut Vec<(FieldRef, ArrayRef)>, fields: &[FieldRef], columns: Vec<ArrayRef>) {
    for (field, column) in fields.iter().zip(columns) {
        match written.iter_mut().find(|(known, _)| known.name() == field.name()) {
            Some(entry) => *entry = (field.clone(), column),
            None => written.push((field.clone(), column)),
        }
    }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
