//! The page path: column chunks are the unit of parallel work, and unchanged columns never become Arrow arrays.
//!
//! A row group goes through four steps, each a set of tasks for the workers: **decode** the columns that somebody looks at (the row logic, casts
//! that may fail, partition fields); **clean** slices of 64k rows; **route** the rows, which fixes the partitions in the order of their first row;
//! **encode** one output column per task, the largest first. This thread appends finished row groups to the files, in source order.
//!
//! The next row group starts when the workers run dry, so that they never wait for the last column of the one before; never more than one ahead,
//! and only if the memory budget holds both.
//!
//! # Left to others
//! What happens inside a column (`page`), files (`file_writer`), and everything that [`suits`] says no to: the Arrow path is the reference, and the two
//! give the same rows.

mod column;
mod decode;
mod encode;
mod gather;
mod group;
mod judge;
mod queue;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use self::column::{Columns, Needs};
use self::queue::{Queue, Turn};
use self::worker::Worker;
use super::{Outcome, Plan, Transcoder};
use crate::error::{Error, Result};
use crate::file_writer::FileWriter;
use crate::mapping::ParquetScan;
use crate::output::WriteOptions;
use crate::page::PageFault;
use crate::partition::Partitions;

/// What all workers share.
struct Run<'a> {
    run: &'a Transcoder<'a>,
    plan: &'a Plan,
    scan: &'a ParquetScan,
    columns: Columns,
    partitions: Mutex<Partitions>,
    /// Output columns that became Arrow arrays in some row group.
    arrow_columns: Mutex<HashSet<usize>>,
    queue: Queue,
}

/// Whether the page path knows all columns and every row group fits the memory budget.
pub(super) fn suits(run: &Transcoder<'_>, scan: &ParquetScan, plan: &Plan, options: &WriteOptions) -> bool {
    let Ok(Some(columns)) = Columns::new(run, scan, plan) else { return false };
    (0..scan.group_count())
        .map(|group| columns.needs(scan, group))
        .all(|needs| needs.held_bytes.saturating_add(needs.worker_bytes) <= options.memory_bytes as u64)
}

/// Takes all row groups through the run; a run that [`suits`].
///
/// # Errors
/// The first error or panic of any task.
pub(super) fn run(run: &Transcoder<'_>, plan: &Plan, scan: &ParquetScan) -> Result<Outcome> {
    let Some(columns) = Columns::new(run, scan, plan)? else {
        return Err(Error::unsupported(scan.file().name(), "this table by pages"));
    };
    let needs: Vec<(usize, Needs)> = (0..scan.group_count())
        .filter(|group| scan.group_rows(*group) > 0)
        .map(|group| (group, columns.needs(scan, group)))
        .collect();
    let memory_bytes = run.options.memory_bytes as u64;
    let held_bytes = needs.iter().map(|(_, needs)| needs.held_bytes).max().unwrap_or(0);
    let worker_bytes = needs.iter().map(|(_, needs)| needs.worker_bytes).max().unwrap_or(0).max(1);
    // As many workers as the budget feeds beside one row group, and at least one.
    let fed = memory_bytes.saturating_sub(held_bytes) / worker_bytes;
    let workers = usize::try_from(fed).unwrap_or(usize::MAX).clamp(1, run.options.threads.max(1));
    let groups = needs.into_iter().map(|(group, needs)| (group, needs.held_bytes)).collect();
    let queue = Queue::new(groups, memory_bytes.saturating_sub(worker_bytes.saturating_mul(workers as u64)));
    let partitions = Mutex::new(Partitions::new(&run.options.partition, plan.layout.arrow())?);
    let shared = Run { run, plan, scan, columns, partitions, arrow_columns: Mutex::default(), queue };
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| Worker::run(&shared));
        }
        let outcome = shared.write();
        // Whatever happened here, the workers must not wait for more.
        shared.queue.close(outcome.as_ref().err().map(|_| Error::Cancelled));
        outcome
    })
}

impl Run<'_> {
    /// Appends finished row groups to the files until the last one or the first error.
    fn write(&self) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let mut writers: Vec<FileWriter<'_>> = Vec::new();
        loop {
            let done = match self.queue.next_done(self.run.observer)? {
                Turn::Done(done) => done,
                Turn::End => break,
            };
            let known = locked(&self.partitions);
            for code in writers.len()..known.len() {
                let values = known.values(code as u16).to_vec();
                writers.push(FileWriter::new(&self.plan.layout, self.run.sinks, self.run.observer, values));
            }
            drop(known);
            for (code, chunks) in done.partitions {
                let Some(writer) = writers.get_mut(code) else { continue };
                let rows = chunks.first().map_or(0, |(_, close)| close.rows_written as usize);
                outcome.rows_written += rows as u64;
                writer.append_encoded(chunks, rows)?;
            }
            outcome.rows_read += done.rows as u64;
            for (code, count) in done.rejected {
                *outcome.rejected.entry(code).or_default() += count;
            }
            self.run.observer.progress(done.rows as u64, 0);
            self.queue.written(done.group);
        }
        for writer in writers {
            outcome.files.extend(writer.finish()?);
        }
        outcome.arrow_path_columns = locked(&self.arrow_columns).len();
        outcome.page_path_columns = self.columns.encoded() - outcome.arrow_path_columns;
        Ok(outcome)
    }
}

/// A lock that a panic elsewhere does not spoil: panics end the run by way of the queue.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a fault in an output column means.
fn encode_fault(column: &str, fault: &PageFault) -> Error {
    match fault {
        PageFault::Null => Error::unsupported(&format!("column {column}"), "null in a required column"),
        fault => Error::Encode { what: format!("column {column}"), detail: fault.to_string() },
    }
}
