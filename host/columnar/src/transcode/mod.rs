//! From source rows to data files, by way of the row logic.
//!
//! Two paths give the same rows in the same order: [`arrow`] decodes everything and is the reference; `pages` keeps the pages of unchanged
//! columns. Which columns a file gets and where each comes from is decided once, in [`Plan`], for both.

mod arrow;
mod codes;
pub(crate) mod pages;
mod rejects;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, Date32Array, StringArray, TimestampMicrosecondArray};
use arrow_schema::{DataType, Schema, TimeUnit};

use crate::cast::cast_kind;
use crate::error::{Error, Result};
use crate::file_writer::FileLayout;
use crate::mapping::ParquetScan;
use crate::observer::Observer;
use crate::output::{Constant, OutputSchema, SinkFactory, WriteOptions, WrittenFile};
use crate::steps::{BatchSource, RowStep};

pub use rejects::RejectSink;

/// The code of rows whose cast failed, when there is no row logic to give one.
pub(crate) const CAST_CODE: u16 = 1;

/// The rows of a run.
pub enum Rows {
    /// A mapped Parquet file.
    Scan(ParquetScan),
    /// Batches that only exist in memory.
    Batches(Box<dyn BatchSource>),
}

/// What a run did.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The files, by partition in the order of their first row.
    pub files: Vec<WrittenFile>,
    /// Rows of the source.
    pub rows_read: u64,
    /// Rows in the files.
    pub rows_written: u64,
    /// Dropped rows by code.
    pub rejected: BTreeMap<u16, u64>,
    /// Columns whose pages were kept.
    pub page_path_columns: usize,
    /// Columns that became Arrow arrays.
    pub arrow_path_columns: usize,
}

/// Which path rows take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Path {
    /// Page by page where that pays, else through Arrow.
    #[default]
    Auto,
    /// Through Arrow: the reference.
    Arrow,
}

/// One run: what to write, how, and who is asked on the way.
#[derive(Clone, Copy)]
pub struct Transcoder<'a> {
    /// The table's columns.
    pub output: &'a OutputSchema,
    /// Sizes, threads, partitions.
    pub options: &'a WriteOptions,
    /// The row logic; without it rows are dropped only for failed casts, with code 1.
    pub step: Option<&'a dyn RowStep>,
    /// Makes the files.
    pub sinks: &'a dyn SinkFactory,
    /// Clock and progress.
    pub observer: &'a dyn Observer,
    /// Which path to take.
    pub path: Path,
    /// Keeps the dropped rows; without it they are counted and gone.
    pub rejects: Option<&'a dyn RejectSink>,
}

impl Transcoder<'_> {
    /// Read all rows, write the kept ones.
    ///
    /// A table column comes from, in this order: the constants, the row logic, the source, and is null otherwise. Source columns that the
    /// table does not have are not written: whoever made the [`OutputSchema`] decided that.
    ///
    /// # Shape
    ///
    /// Within a partition rows keep the order of the source, or within a file have the one of [`WriteOptions::sort`].
    ///
    /// # Errors
    ///
    /// The first one stops the run; its files are abandoned, those that a roll-over had finished before stay behind for the caller's record.
    pub fn run(&self, rows: Rows) -> Result<Outcome> {
        let outcome = match rows {
            Rows::Scan(scan) => {
                let plan = Plan::new(self, scan.schema(), scan.file().name())?;
                if self.path == Path::Auto
                    && self.options.sort.is_empty()
                    && !self.forgives(&plan)
                    && pages_pay(&scan, &plan)
                    && pages::suits(self, &scan, &plan, self.options)
                {
                    pages::run(self, &plan, &scan)?
                } else {
                    arrow::run(self, &plan, arrow::Slices::scan(scan, &plan, self.options)?)?
                }
            }
            Rows::Batches(batches) => {
                let plan = Plan::new(self, &batches.schema(), "the source")?;
                arrow::run(self, &plan, arrow::Slices::batches(batches))?
            }
        };
        let dropped: u64 = outcome.rejected.values().sum();
        if outcome.rows_read != outcome.rows_written + dropped {
            let detail =
                format!("{} rows read, {} written, {dropped} rejected", outcome.rows_read, outcome.rows_written);
            return Err(Error::Encode { what: "the load".to_owned(), detail });
        }
        Ok(outcome)
    }

    /// Whether values may become null: pages keep a filler there.
    fn forgives(&self, plan: &Plan) -> bool {
        self.step.is_some_and(|step| plan.wanted.iter().any(|column| step.forgives(column)))
    }

    /// The code of rows whose value in `column` could not be cast: never 0, which would keep them.
    pub(crate) fn cast_code(&self, column: &str) -> u16 {
        self.step.map_or(CAST_CODE, |step| step.cast_rule(column).max(CAST_CODE))
    }
}

/// Where a table column comes from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Origin {
    /// The source column at this position.
    Source(usize),
    /// The row logic's field at this position.
    Step(usize),
    /// The same for all rows.
    Constant(Constant),
    /// Nobody has it.
    Null,
}

/// What both paths agree on before the first row.
pub(crate) struct Plan {
    /// One for each field of the output.
    pub(crate) origins: Vec<Origin>,
    /// Source columns that are written, read by the row logic, or kept with dropped rows, in source order. A row with several failed casts gets the code of the first.
    pub(crate) wanted: Vec<String>,
    pub(crate) layout: FileLayout,
}

impl Plan {
    pub(crate) fn new(run: &Transcoder<'_>, source: &Schema, name: &str) -> Result<Self> {
        let (reads, writes) = run.step.map_or((&[][..], &[][..]), |step| (step.reads(), step.writes()));
        for (constant, value) in &run.output.constants {
            check_constant(run.output, constant, value)?;
            let taken = source.field_with_name(constant).is_ok() || writes.iter().any(|field| field.name() == constant);
            if taken {
                return Err(Error::unsupported(name, format!("a column {constant} of its own")));
            }
        }
        let missing = |column: &str| Error::MissingColumn {
            name: name.to_owned(),
            column: column.to_owned(),
            looked_for: vec![column.to_owned()],
        };
        // Whoever keeps the dropped rows wants them whole.
        let mut wanted = vec![run.rejects.is_some(); source.fields().len()];
        for column in reads {
            let position = source.index_of(column).map_err(|_| missing(column))?;
            wanted[position] = true;
        }
        let mut origins = Vec::with_capacity(run.output.schema.fields().len());
        for field in run.output.schema.fields() {
            let column = field.name();
            let check = |found: &DataType| match cast_kind(found, field.data_type()) {
                Some(_) => Ok(()),
                None => Err(Error::Schema {
                    column: column.clone(),
                    wanted: field.data_type().to_string(),
                    found: found.to_string(),
                }),
            };
            let origin = if let Some(constant) = run.output.constant(column) {
                Origin::Constant(constant.clone())
            } else if let Some(position) = writes.iter().position(|field| field.name() == column) {
                check(writes[position].data_type())?;
                Origin::Step(position)
            } else if let Ok(position) = source.index_of(column) {
                check(source.field(position).data_type())?;
                wanted[position] = true;
                Origin::Source(position)
            } else if field.is_nullable() {
                Origin::Null
            } else {
                return Err(missing(column));
            };
            origins.push(origin);
        }
        let names = source.fields().iter().zip(&wanted).filter(|(_, wanted)| **wanted);
        Ok(Self {
            origins,
            wanted: names.map(|(field, _)| field.name().clone()).collect(),
            layout: FileLayout::new(run.output, run.options)?,
        })
    }
}

fn check_constant(output: &OutputSchema, name: &str, value: &Constant) -> Result<()> {
    let missing = |_| Error::MissingColumn {
        name: "the table".to_owned(),
        column: name.to_owned(),
        looked_for: vec![name.to_owned()],
    };
    let found = output.schema.field_with_name(name).map_err(missing)?.data_type();
    let good = match value {
        Constant::Date(_) => *found == DataType::Date32,
        Constant::TimestampMicros(_) => *found == DataType::Timestamp(TimeUnit::Microsecond, None),
        Constant::TimestampMicrosUtc(_) => matches!(found, DataType::Timestamp(TimeUnit::Microsecond, Some(_))),
        Constant::Utf8(_) => *found == DataType::Utf8,
    };
    if good {
        return Ok(());
    }
    Err(Error::Schema { column: name.to_owned(), wanted: found.to_string(), found: format!("{value:?}") })
}

/// A constant as an array of the output type.
pub(crate) fn constant_array(value: &Constant, kind: &DataType, rows: usize) -> ArrayRef {
    match value {
        Constant::Date(day) => Arc::new(Date32Array::from_value(*day, rows)),
        Constant::TimestampMicros(micros) | Constant::TimestampMicrosUtc(micros) => {
            Arc::new(TimestampMicrosecondArray::from_value(*micros, rows).with_data_type(kind.clone()))
        }
        Constant::Utf8(text) => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, rows))),
    }
}

/// Row groups smaller than this on the average are joined by the Arrow path.
const PAGE_PATH_GROUP_ROWS: usize = 64 << 10;

/// Whether the page path pays: flat columns, and row groups that are large, or one alone.
fn pages_pay(scan: &ParquetScan, plan: &Plan) -> bool {
    let flat =
        scan.columns().iter().filter(|column| plan.wanted.contains(column.field.name())).all(|column| !column.nested);
    let groups = scan.group_count();
    let rows: usize = (0..groups).map(|group| scan.group_rows(group)).sum();
    flat && (groups == 1 || rows >= groups.saturating_mul(PAGE_PATH_GROUP_ROWS))
}

#[cfg(test)]
mod tests;
