//! The reference path: decode, cast, clean, filter, split, encode; 64k rows at a time.
//!
//! One thread decodes ahead by one slice; this thread cleans and splits; columns are encoded in parallel. Memory is bounded by the slice and by
//! the encoded row groups, the largest of which is written early when they outgrow the budget.

use std::sync::mpsc::sync_channel;

use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array, new_null_array};
use arrow_buffer::BooleanBuffer;
use arrow_schema::Field;
use arrow_select::filter::FilterBuilder;
use arrow_select::take::take;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, compute_leaves};

use super::codes::{apply, bug, cast_written, count_codes};
use super::rejects::hand_over;
use super::{Origin, Outcome, Plan, Transcoder, constant_array};
use crate::error::{Error, Result};
use crate::file_writer::{FileLayout, FileWriter};
use crate::mapping::{CastFailure, Decoded, ParquetScan, SLICE_ROWS, ScanSlices, cast_named};
use crate::observer::{Stage, timed};
use crate::output::WriteOptions;
use crate::parallel::parallel;
use crate::partition::{Codes, Partitions};
use crate::sort::sorted;
use crate::steps::BatchSource;

/// The source, a slice at a time.
pub(super) enum Slices {
    Scan { scan: ParquetScan, wanted: Vec<String>, rows: usize, group: usize, open: Option<Box<ScanSlices>> },
    Batches { source: Box<dyn BatchSource>, rest: Option<Decoded> },
}

impl Slices {
    pub(super) fn scan(scan: ParquetScan, plan: &Plan, options: &WriteOptions) -> Result<Self> {
        let rows = slice_rows(&scan, &plan.wanted, options.memory_bytes)?;
        Ok(Self::Scan { scan, wanted: plan.wanted.clone(), rows, group: 0, open: None })
    }

    pub(super) fn batches(source: Box<dyn BatchSource>) -> Self {
        Self::Batches { source, rest: None }
    }

    fn next(&mut self) -> Result<Option<Decoded>> {
        match self {
            Self::Scan { scan, wanted, rows, group, open } => loop {
                if let Some(slices) = open {
                    if let Some(decoded) = slices.next() {
                        return decoded.map(Some);
                    }
                    *open = None;
                    *group += 1;
                }
                if *group >= scan.group_count() {
                    return Ok(None);
                }
                *open = Some(Box::new(scan.slices(*group, wanted, *rows)?));
            },
            Self::Batches { source, rest } => loop {
                let decoded = match rest.take() {
                    Some(decoded) => decoded,
                    None => match source.next().map_err(Error::Step)? {
                        Some(batch) => Decoded { batch, failed: source.failed() },
                        None => return Ok(None),
                    },
                };
                let (rows, all) = (decoded.batch.num_rows().min(SLICE_ROWS), decoded.batch.num_rows());
                if rows == 0 {
                    continue;
                }
                if rows == all {
                    return Ok(Some(decoded));
                }
                *rest = Some(part(&decoded, rows, all - rows));
                return Ok(Some(part(&decoded, 0, rows)));
            },
        }
    }
}

/// Some rows of a decoded slice.
fn part(decoded: &Decoded, start: usize, rows: usize) -> Decoded {
    let failed = decoded.failed.iter().map(|failure| CastFailure {
        column: failure.column.clone(),
        rows: failure.rows.slice(start, rows),
        raw: failure.raw.as_ref().map(|raw| raw.slice(start, rows)),
    });
    Decoded { batch: decoded.batch.slice(start, rows), failed: failed.collect() }
}

/// Rows of a slice: as the source wants it, fewer when they are wide.
fn slice_rows(scan: &ParquetScan, wanted: &[String], memory_bytes: usize) -> Result<usize> {
    let descriptor = scan.file().metadata().file_metadata().schema_descr();
    let roots: Vec<usize> = scan
        .columns()
        .iter()
        .filter(|column| wanted.contains(column.field.name()))
        .filter_map(|column| column.root)
        .collect();
    let mut rows = scan.batch_rows().min(SLICE_ROWS);
    for (group, metadata) in scan.file().metadata().row_groups().iter().enumerate() {
        let group_rows = scan.group_rows(group).max(1) as u64;
        let leaves = metadata
            .columns()
            .iter()
            .enumerate()
            .filter(|(leaf, _)| roots.contains(&descriptor.get_column_root_idx(*leaf)));
        // Sizes are what the footer claims: together they may be more than any number holds.
        let row_bytes = leaves
            .map(|(_, chunk)| (chunk.uncompressed_size().unsigned_abs() / group_rows).max(8))
            .fold(0, u64::saturating_add);
        // Decoded, cast and filtered copies of two slices are alive at once.
        let fitting = memory_bytes as u64 / 8 / row_bytes.max(1);
        if fitting == 0 {
            return Err(Error::MemoryBudget {
                what: format!("a row of {}", scan.file().name()),
                needed_bytes: row_bytes.saturating_mul(8),
                limit_bytes: memory_bytes as u64,
            });
        }
        rows = rows.min(usize::try_from(fitting).unwrap_or(usize::MAX));
    }
    Ok(rows.max(1))
}

/// Take all slices through the run.
pub(super) fn run(run: &Transcoder<'_>, plan: &Plan, mut slices: Slices) -> Result<Outcome> {
    let observer = run.observer;
    let mut sink = Sink::new(run, plan)?;
    let mut decode = move || match observer.cancelled() {
        true => Err(Error::Cancelled),
        false => timed(observer, Stage::Decode, || slices.next()),
    };
    if run.options.threads <= 1 {
        while let Some(decoded) = decode()? {
            sink.take(decoded)?;
        }
        return sink.finish();
    }
    std::thread::scope(|scope| {
        // One slice waits while one is being decoded and one cleaned. A hung-up channel ends the decoder.
        let (sender, receiver) = sync_channel(1);
        scope.spawn(move || {
            loop {
                let decoded = decode().transpose();
                let Some(decoded) = decoded else { break };
                let last = decoded.is_err();
                if sender.send(decoded).is_err() || last {
                    break;
                }
            }
        });
        for decoded in receiver {
            sink.take(decoded?)?;
        }
        sink.finish()
    })
}

/// Everything behind the decoder.
struct Sink<'a> {
    run: &'a Transcoder<'a>,
    plan: &'a Plan,
    partitions: Partitions,
    /// Output positions of the partition columns.
    partition_columns: Vec<usize>,
    /// By partition code.
    files: Vec<PartitionFile<'a>>,
    /// Rows that wait for others to be sorted with, and their bytes.
    held: Vec<RecordBatch>,
    held_bytes: usize,
    outcome: Outcome,
}

/// The file of one partition and its row group in the making.
struct PartitionFile<'a> {
    writer: FileWriter<'a>,
    columns: Vec<ArrowColumnWriter>,
    rows: usize,
}

impl PartitionFile<'_> {
    fn memory_bytes(&self) -> usize {
        self.columns.iter().map(ArrowColumnWriter::memory_size).sum()
    }
}

impl<'a> Sink<'a> {
    fn new(run: &'a Transcoder<'a>, plan: &'a Plan) -> Result<Self> {
        let schema = plan.layout.arrow();
        let partitions = Partitions::new(&run.options.partition, schema)?;
        let partition_columns =
            partitions.fields().iter().filter_map(|field| schema.index_of(&field.column).ok()).collect();
        let encoded =
            plan.origins.iter().filter(|origin| !matches!(origin, Origin::Constant(_) | Origin::Null)).count();
        let outcome = Outcome { arrow_path_columns: encoded, ..Outcome::default() };
        Ok(Self {
            run,
            plan,
            partitions,
            partition_columns,
            files: Vec::new(),
            held: Vec::new(),
            held_bytes: 0,
            outcome,
        })
    }

    /// Clean, split and encode one slice.
    fn take(&mut self, decoded: Decoded) -> Result<()> {
        let rows = decoded.batch.num_rows() as u64;
        let observer = self.run.observer;
        let columns = timed(observer, Stage::Clean, || self.clean(decoded))?;
        if columns.first().is_some_and(|column| !column.is_empty()) {
            match self.run.options.sort.is_empty() {
                true => self.encode(columns)?,
                false => self.hold(columns)?,
            }
        }
        observer.progress(rows, 0);
        Ok(())
    }

    /// The output columns of the kept rows.
    fn clean(&mut self, decoded: Decoded) -> Result<Vec<ArrayRef>> {
        let Decoded { batch, mut failed } = decoded;
        let (rows, schema) = (batch.num_rows(), self.plan.layout.arrow().clone());
        let mut columns: Vec<Option<ArrayRef>> = vec![None; schema.fields().len()];
        for ((field, origin), column) in schema.fields().iter().zip(&self.plan.origins).zip(&mut columns) {
            if let Origin::Source(_) = origin {
                let array = named(&batch, field.name())?;
                let (array, failures) = cast_named(field.name(), array, field.data_type())?;
                failed.extend(failures.map(|rows| CastFailure { column: field.name().clone(), rows, raw: None }));
                *column = Some(array);
            }
        }
        let mut codes = self.cast_codes(rows, &failed);
        if let Some(step) = self.run.step {
            let read = |column: &'a String| named(&batch, column).map(|array| (column.as_str(), array.clone()));
            let read = step.reads().iter().map(read).collect::<Result<_>>()?;
            let written = apply(step, read, rows, self.outcome.rows_read, &mut codes)?;
            for ((field, origin), column) in schema.fields().iter().zip(&self.plan.origins).zip(&mut columns) {
                if let Origin::Step(position) = origin {
                    *column = Some(cast_written(field, &written[*position], &codes)?);
                }
            }
        }
        let first_row = self.outcome.rows_read;
        self.outcome.rows_read += rows as u64;
        let kept = BooleanBuffer::collect_bool(rows, |row| codes[row] == 0);
        let count = kept.count_set_bits();
        self.outcome.rows_written += count as u64;
        if count < rows {
            count_codes(&codes, &mut self.outcome.rejected);
            if let Some(sink) = self.run.rejects {
                hand_over(sink, first_row, &codes, &batch, &failed)?;
            }
            let mask = BooleanArray::new(kept, None);
            let filter = FilterBuilder::new(&mask).optimize().build();
            for column in columns.iter_mut().flatten() {
                *column = filter.filter(column).map_err(|error| bug("filtering", error))?;
            }
        }
        let fields = schema.fields().iter().zip(&self.plan.origins);
        let columns = fields.zip(columns).map(|((field, origin), column)| {
            let column = match (column, origin) {
                (Some(column), _) => column,
                (None, Origin::Constant(value)) => constant_array(value, field.data_type(), count),
                (None, _) => new_null_array(field.data_type(), count),
            };
            required(field, &column).map(|()| column)
        });
        columns.collect()
    }

    /// The codes of rows with failed casts; of several failures the first column's counts.
    fn cast_codes(&self, rows: usize, failed: &[CastFailure]) -> Vec<u16> {
        let mut codes = vec![0; rows];
        let order = |failure: &&CastFailure| self.plan.wanted.iter().position(|column| *column == failure.column);
        let mut failed: Vec<&CastFailure> = failed.iter().collect();
        failed.sort_by_key(order);
        for failure in failed {
            if let Some(step) = self.run.step.filter(|step| step.forgives(&failure.column)) {
                step.forgiven(&failure.column, failure.rows.count_set_bits() as u64);
                continue;
            }
            let code = self.run.cast_code(&failure.column);
            for row in failure.rows.set_indices() {
                if codes[row] == 0 {
                    codes[row] = code;
                }
            }
        }
        codes
    }

    /// Give each partition its rows.
    fn encode(&mut self, columns: Vec<ArrayRef>) -> Result<()> {
        let keys: Vec<ArrayRef> = self.partition_columns.iter().map(|position| columns[*position].clone()).collect();
        let codes = timed(self.run.observer, Stage::Encode, || self.partitions.assign(&keys))?;
        for code in self.files.len()..self.partitions.len() {
            let values = self.partitions.values(code as u16).to_vec();
            let writer = FileWriter::new(&self.plan.layout, self.run.sinks, self.run.observer, values);
            self.files.push(PartitionFile { writer, columns: Vec::new(), rows: 0 });
        }
        let mut parts: Vec<(usize, Vec<ArrayRef>)> = match codes {
            Codes::One(code) => vec![(usize::from(code), columns)],
            Codes::Each(codes) => {
                timed(self.run.observer, Stage::Encode, || split(&codes, self.files.len(), &columns))?
            }
        };
        // More than one round only where a row group is full.
        while !parts.is_empty() {
            parts = self.fill(parts)?;
        }
        self.shrink()
    }

    /// Append to the open row groups; what is left behind full ones.
    fn fill(&mut self, mut parts: Vec<(usize, Vec<ArrayRef>)>) -> Result<Vec<(usize, Vec<ArrayRef>)>> {
        let (layout, limit) = (&self.plan.layout, self.run.options.row_group_rows.max(1));
        let (mut tasks, mut left) = (Vec::new(), Vec::new());
        parts.sort_by_key(|(code, _)| *code);
        let mut parts = parts.into_iter().peekable();
        for (code, file) in self.files.iter_mut().enumerate() {
            let Some((_, columns)) = parts.next_if(|(part, _)| *part == code) else { continue };
            if file.columns.is_empty() {
                file.columns = layout.column_writers()?;
            }
            let rows = columns.first().map_or(0, |column| column.len());
            let taken = rows.min(limit.saturating_sub(file.rows));
            file.rows += taken;
            if taken < rows {
                left.push((code, columns.iter().map(|column| column.slice(taken, rows - taken)).collect()));
            }
            let mut writers = file.columns.as_mut_slice();
            for (index, column) in columns.into_iter().enumerate() {
                let (own, others) = writers.split_at_mut(layout.leaves()[index].min(writers.len()));
                writers = others;
                tasks.push((own, index, if taken < rows { column.slice(0, taken) } else { column }));
            }
        }
        parallel(self.run.options.threads, tasks, |(writers, index, column)| {
            timed(self.run.observer, Stage::Encode, || write_column(layout, writers, index, &column))
        })?;
        let full: Vec<usize> = (0..self.files.len()).filter(|code| self.files[*code].rows >= limit).collect();
        self.flush(&full)?;
        Ok(left)
    }

    /// Write the largest row groups until the rest fits the budget.
    fn shrink(&mut self) -> Result<()> {
        let mut sizes: Vec<(usize, usize)> =
            self.files.iter().enumerate().map(|(code, file)| (file.memory_bytes(), code)).collect();
        let mut total: usize = sizes.iter().map(|(bytes, _)| bytes).sum();
        sizes.sort_unstable();
        let mut full = Vec::new();
        while total > self.run.options.memory_bytes / 2 {
            let Some((bytes, code)) = sizes.pop() else { break };
            total -= bytes;
            full.push(code);
        }
        self.flush(&full)
    }

    /// Close the row groups of some partitions and write them.
    fn flush(&mut self, codes: &[usize]) -> Result<()> {
        let mut columns = Vec::new();
        for code in codes {
            columns.extend(std::mem::take(&mut self.files[*code].columns));
        }
        let leaves: usize = self.plan.layout.leaves().iter().sum();
        let close = |writer: ArrowColumnWriter| {
            let chunk = timed(self.run.observer, Stage::Encode, || writer.close());
            chunk.map_err(|error| Error::encode("a column", error))
        };
        let mut chunks = parallel(self.run.options.threads, columns, close)?.into_iter();
        for code in codes {
            let file = &mut self.files[*code];
            let rows = std::mem::take(&mut file.rows);
            if rows > 0 {
                file.writer.append_arrow(chunks.by_ref().take(leaves).collect(), rows)?;
            }
        }
        Ok(())
    }

    /// Keeps rows until as many are there as the memory lets be sorted: they, their sorted copy and what is encoded of it.
    fn hold(&mut self, columns: Vec<ArrayRef>) -> Result<()> {
        let schema = self.plan.layout.arrow().clone();
        let batch = RecordBatch::try_new(schema, columns).map_err(|error| bug("sorting", error))?;
        // A slice counts as what is in it.
        let bytes = batch.columns().iter().filter_map(|column| column.to_data().get_slice_memory_size().ok());
        self.held_bytes += bytes.sum::<usize>();
        self.held.push(batch);
        if self.held_bytes < self.run.options.memory_bytes / 4 { Ok(()) } else { self.release() }
    }

    /// Writes the rows that were kept, in order, into files of their own.
    fn release(&mut self) -> Result<()> {
        let held = std::mem::take(&mut self.held);
        self.held_bytes = 0;
        if held.is_empty() {
            return Ok(());
        }
        let options = self.run.options;
        let ordered =
            timed(self.run.observer, Stage::Encode, || sorted(self.plan.layout.arrow(), &held, &options.sort));
        let ordered = ordered.map_err(|error| Error::unsupported("the order of rows", error))?;
        drop(held);
        for start in (0..ordered.num_rows()).step_by(SLICE_ROWS) {
            let slice = ordered.slice(start, SLICE_ROWS.min(ordered.num_rows() - start));
            self.encode(slice.columns().to_vec())?;
        }
        drop(ordered);
        let open: Vec<usize> = (0..self.files.len()).filter(|code| self.files[*code].rows > 0).collect();
        self.flush(&open)?;
        self.files.iter_mut().try_for_each(|file| file.writer.roll())
    }

    fn finish(mut self) -> Result<Outcome> {
        self.release()?;
        let open: Vec<usize> = (0..self.files.len()).filter(|code| self.files[*code].rows > 0).collect();
        self.flush(&open)?;
        for file in self.files {
            self.outcome.files.extend(file.writer.finish()?);
        }
        Ok(self.outcome)
    }
}

fn write_column(layout: &FileLayout, writers: &mut [ArrowColumnWriter], index: usize, column: &ArrayRef) -> Result<()> {
    let field = layout.arrow().field(index);
    let fault = |error| Error::encode(&format!("column {}", field.name()), error);
    let leaves = compute_leaves(field, column).map_err(fault)?;
    writers.iter_mut().zip(&leaves).try_for_each(|(writer, leaf)| writer.write(leaf)).map_err(fault)
}

fn named<'a>(batch: &'a RecordBatch, column: &str) -> Result<&'a ArrayRef> {
    batch.column_by_name(column).ok_or_else(|| Error::MissingColumn {
        name: "the batch".to_owned(),
        column: column.to_owned(),
        looked_for: vec![column.to_owned()],
    })
}

fn required(field: &Field, column: &ArrayRef) -> Result<()> {
    if field.is_nullable() || column.logical_null_count() == 0 {
        return Ok(());
    }
    Err(Error::unsupported(&format!("column {}", field.name()), "null in a required column"))
}

/// The rows of each partition, in order.
fn split(codes: &[u16], partitions: usize, columns: &[ArrayRef]) -> Result<Vec<(usize, Vec<ArrayRef>)>> {
    let mut rows: Vec<Vec<u32>> = vec![Vec::new(); partitions];
    for (row, code) in codes.iter().enumerate() {
        rows[usize::from(*code)].push(row as u32);
    }
    let mut parts = Vec::new();
    for (code, rows) in rows.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
        let rows = UInt32Array::from(rows);
        let taken = columns.iter().map(|column| take(column, &rows, None).map_err(|error| bug("partitioning", error)));
        parts.push((code, taken.collect::<Result<_>>()?));
    }
    Ok(parts)
}
