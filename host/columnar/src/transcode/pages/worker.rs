//! A thread of the page path: takes tasks, hands out those that follow, and ends the run at the first error or panic.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use super::column::chunk;
use super::group::{Done, Group, Parts};
use super::queue::{Step, Work};
use super::{Run, encode_fault, locked};
use crate::error::{Error, Result};
use crate::mapping::SLICE_ROWS;
use crate::observer::{Stage, timed};
use crate::page::Scratch;
use crate::page::writer::EncodedChunk;

/// A thread of the run, with its contexts and buffers.
pub(super) struct Worker<'a> {
    pub shared: &'a Run<'a>,
    pub scratch: Scratch,
}

impl<'a> Worker<'a> {
    /// Works until the queue ends; an error or a panic ends the queue.
    pub fn run(shared: &'a Run<'a>) {
        let mut worker = match Scratch::new(shared.run.options.zstd_level) {
            Ok(scratch) => Self { shared, scratch },
            Err(fault) => return shared.queue.close(Some(encode_fault("a column", &fault))),
        };
        loop {
            let work = shared.queue.take();
            let clean = matches!(work, Work::Task((_, Step::Clean(_))));
            let result = catch_unwind(AssertUnwindSafe(|| match work {
                Work::End => Ok(false),
                Work::Open(group) => worker.open(group).map(|()| true),
                Work::Task((group, step)) => worker.perform(&group, step).map(|()| true),
            }));
            let failure = match result {
                Ok(Ok(true)) => continue,
                Ok(Ok(false)) => return,
                Ok(Err(error)) => error,
                Err(payload) => {
                    let said = payload.downcast_ref::<String>().map(String::as_str);
                    let said = said.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
                    if clean {
                        Error::Step(format!("the row logic panicked: {said}").into())
                    } else {
                        Error::corrupt(shared.scan.file().name(), format!("the decoder gave up: {said}"))
                    }
                }
            };
            return shared.queue.close(Some(failure));
        }
    }

    fn open(&mut self, index: usize) -> Result<()> {
        let (shared, scan) = (self.shared, self.shared.scan);
        let first_row = (0..index).map(|group| scan.group_rows(group) as u64).sum();
        let sources = &shared.columns.sources;
        let mut early: Vec<usize> = (0..sources.len()).filter(|source| sources[*source].early).collect();
        let size = |source: &usize| {
            sources[*source].leaf.and_then(|leaf| chunk(scan, index, leaf)).map_or(0, |chunk| chunk.compressed_size())
        };
        early.sort_by_key(|source| std::cmp::Reverse(size(source)));
        let parts = Parts { left: early.len(), early: sources.iter().map(|_| None).collect(), ..Parts::default() };
        let group = Arc::new(Group { index, rows: scan.group_rows(index), first_row, parts: Mutex::new(parts) });
        if early.is_empty() {
            self.decoded(&group);
        } else {
            shared.queue.push(&group, early.into_iter().map(Step::Decode));
        }
        Ok(())
    }

    fn perform(&mut self, group: &Arc<Group>, step: Step) -> Result<()> {
        let observer = self.shared.run.observer;
        match step {
            Step::Decode(source) => {
                let early = self.decode(group, source)?;
                let mut parts = locked(&group.parts);
                parts.early[source] = Some(Arc::new(early));
                parts.left -= 1;
                if parts.left == 0 {
                    drop(parts);
                    self.decoded(group);
                }
            }
            Step::Clean(slice) => {
                let judged = timed(observer, Stage::Clean, || self.clean(group, slice))?;
                let mut parts = locked(&group.parts);
                parts.slices[slice] = Some(judged);
                parts.left -= 1;
                if parts.left == 0 {
                    drop(parts);
                    self.shared.queue.push(group, std::iter::once(Step::Route));
                }
            }
            Step::Route => timed(observer, Stage::Clean, || self.route(group))?,
            Step::Encode(output) => {
                let encoded = self.encode(group, output)?;
                let mut parts = locked(&group.parts);
                parts.encoded[output] = encoded;
                parts.left -= 1;
                if parts.left == 0 {
                    drop(parts);
                    self.end(group)?;
                }
            }
            Step::Reread => {
                self.reread(group)?;
                let mut parts = locked(&group.parts);
                parts.left -= 1;
                if parts.left == 0 {
                    drop(parts);
                    self.end(group)?;
                }
            }
            Step::Gather(source) => {
                let gathered = self.gather(group, source)?;
                let mut parts = locked(&group.parts);
                parts.gathered[source] = Some(gathered);
                parts.left -= 1;
                if parts.left == 0 {
                    drop(parts);
                    self.end(group)?;
                }
            }
        }
        Ok(())
    }

    /// All early columns are there: on to the slices.
    fn decoded(&self, group: &Arc<Group>) {
        let slices = group.rows.div_ceil(SLICE_ROWS);
        let mut parts = locked(&group.parts);
        parts.left = slices;
        parts.slices = (0..slices).map(|_| None).collect();
        drop(parts);
        self.shared.queue.push(group, (0..slices).map(Step::Clean));
    }

    /// The last task of a row group is done.
    fn end(&self, group: &Group) -> Result<()> {
        let mut parts = locked(&group.parts);
        let (encoded, rejected) = (std::mem::take(&mut parts.encoded), std::mem::take(&mut parts.rejected));
        let (dropped, gathered) = (parts.dropped.take(), std::mem::take(&mut parts.gathered));
        drop(parts);
        if let Some(dropped) = dropped {
            timed(self.shared.run.observer, Stage::Clean, || self.hand_over(group, &dropped, gathered))?;
        }
        self.finish(group, encoded, rejected);
        Ok(())
    }

    /// All columns are encoded, or no row is left: hands the row group to the writer and frees the rest of it.
    pub(super) fn finish(&self, group: &Group, encoded: Vec<Vec<Option<EncodedChunk>>>, rejected: BTreeMap<u16, u64>) {
        let mut partitions: BTreeMap<usize, Vec<EncodedChunk>> = BTreeMap::new();
        for column in encoded {
            for (partition, chunk) in column.into_iter().enumerate() {
                if let Some(chunk) = chunk {
                    partitions.entry(partition).or_default().push(chunk);
                }
            }
        }
        *locked(&group.parts) = Parts::default();
        let partitions = partitions.into_iter().collect();
        self.shared.queue.finished(Done { group: group.index, rows: group.rows, rejected, partitions });
    }
}
