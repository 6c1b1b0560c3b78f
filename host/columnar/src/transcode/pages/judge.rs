//! Second and third step: the row logic over slices, and where each kept row goes.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, new_null_array};
use arrow_buffer::BooleanBuffer;
use arrow_select::filter::filter;

use super::super::codes::{apply, bug, cast_written, count_codes};
use super::super::constant_array;
use super::column::{OutputSource, chunk};
use super::group::{Decoded, Group, Slice};
use super::locked;
use super::queue::Step;
use super::worker::Worker;
use crate::error::Result;
use crate::mapping::SLICE_ROWS;
use crate::page::select::Routing;
use crate::partition::Codes;

/// Dropped rows of one row group that are looked up column by column; beyond that their values would take as much memory as the row group.
const MANY_ROWS: usize = if cfg!(test) { 15_000 } else { 96 << 10 };

impl Worker<'_> {
    /// Judges one slice: codes, the row logic's columns, and the partition columns of the kept rows.
    pub(super) fn clean(&self, group: &Group, slice: usize) -> Result<Slice> {
        let shared = self.shared;
        let (columns, schema) = (&shared.columns, shared.plan.layout.arrow());
        let start = slice * SLICE_ROWS;
        let range = start..group.rows.min(start + SLICE_ROWS);
        let rows = range.len();
        let early = locked(&group.parts).early.clone();
        let mut codes = vec![0u16; rows];
        // Of several failed casts the first column's counts.
        for (source, early) in columns.sources.iter().zip(&early) {
            let Some(failed) = early.as_ref().and_then(|early| early.failed.as_ref()) else { continue };
            let code = shared.run.cast_code(&source.name);
            for (own, failed) in codes.iter_mut().zip(&failed[range.clone()]) {
                if *failed == 1 && *own == 0 {
                    *own = code;
                }
            }
        }
        let mut written: Vec<Option<ArrayRef>> = vec![None; columns.outputs.len()];
        if let Some(step) = shared.run.step {
            let mut arrays = Vec::with_capacity(columns.reads.len());
            for read in &columns.reads {
                let source = &columns.sources[*read];
                let decoded = early[*read].as_ref().map_or(&Decoded::Nothing, |early| &early.values);
                arrays.push((source.name.as_str(), self.array(source, decoded, range.clone(), &source.scan_type)?));
            }
            let made = apply(step, arrays, rows, group.first_row + start as u64, &mut codes)?;
            for (at, output) in columns.outputs.iter().enumerate() {
                if let OutputSource::Step(field) = output.source {
                    written[at] = Some(cast_written(schema.field(at), &made[field], &codes)?);
                }
            }
        }
        let kept = codes.iter().filter(|code| **code == 0).count();
        let mut keys = Vec::with_capacity(columns.partition.len());
        if kept > 0 {
            let mask = BooleanArray::new(BooleanBuffer::collect_bool(rows, |row| codes[row] == 0), None);
            for output in &columns.partition {
                let kind = schema.field(*output).data_type();
                let array = match columns.outputs[*output].source {
                    OutputSource::Step(_) => written[*output].clone(),
                    OutputSource::Source(source) => match early[source].as_ref() {
                        Some(early) => {
                            let decoded = early.output.as_ref().unwrap_or(&early.values);
                            Some(self.array(&columns.sources[source], decoded, range.clone(), kind)?)
                        }
                        None => None,
                    },
                    OutputSource::Same => {
                        columns.outputs[*output].constant.as_ref().map(|constant| constant_array(constant, kind, rows))
                    }
                };
                let array = array.unwrap_or_else(|| new_null_array(kind, rows));
                let array = if kept == rows {
                    array
                } else {
                    filter(&array, &mask).map_err(|error| bug("partition columns", error))?
                };
                keys.push(array);
            }
        }
        Ok(Slice { codes, kept, written, keys })
    }

    /// All slices are judged: numbers the partitions in row order and starts the encoders.
    pub(super) fn route(&self, group: &Arc<Group>) -> Result<()> {
        let (shared, scan) = (self.shared, self.shared.scan);
        let (outputs, sources) = (&shared.columns.outputs, &shared.columns.sources);
        let mut parts = locked(&group.parts);
        let slices: Vec<Slice> = std::mem::take(&mut parts.slices).into_iter().flatten().collect();
        let dropped = self.dropped(slices.iter().flat_map(|slice| slice.codes.iter().copied()));
        let (dropped, reread) = match dropped {
            Some(dropped) if dropped.rows.len() > MANY_ROWS => (None, Some(dropped)),
            dropped => (dropped, None),
        };
        let gather = if dropped.is_some() { parts.early.clone() } else { Vec::new() };
        // What no output column needs is freed before the encoders take memory.
        for (source, early) in sources.iter().zip(&mut parts.early) {
            if source.output.is_none() {
                *early = None;
            }
        }
        drop(parts);
        let mut codes: Vec<u16> = Vec::with_capacity(group.rows);
        let mut rejected = BTreeMap::new();
        let mut written: Vec<Vec<ArrayRef>> = vec![Vec::new(); outputs.len()];
        let mut partitions = locked(&shared.partitions);
        for slice in slices {
            if slice.kept < slice.codes.len() {
                count_codes(&slice.codes, &mut rejected);
            }
            if slice.kept == 0 {
                codes.resize(codes.len() + slice.codes.len(), 0);
            } else {
                match partitions.assign(&slice.keys)? {
                    Codes::One(partition) => {
                        codes.extend(slice.codes.iter().map(|code| if *code == 0 { partition + 1 } else { 0 }))
                    }
                    Codes::Each(assigned) => {
                        let mut assigned = assigned.into_iter();
                        codes.extend(slice.codes.iter().map(|code| match code {
                            0 => assigned.next().map_or(0, |partition| partition + 1),
                            _ => 0,
                        }));
                    }
                }
            }
            for (all, array) in written.iter_mut().zip(slice.written) {
                all.extend(array);
            }
        }
        let count = partitions.len();
        drop(partitions);
        shared.queue.routed();
        let routing = Routing::new(codes, count);
        // Without a kept row no column is encoded, and each is looked up for itself.
        let apart = |source: &usize| routing.kept() == 0 || !sources[*source].gathers_late();
        let gathers: Vec<usize> =
            if dropped.is_some() { (0..sources.len()).filter(apart).collect() } else { Vec::new() };
        let gathered = if dropped.is_some() { sources.len() } else { 0 };
        if routing.kept() == 0 && dropped.is_none() && reread.is_none() {
            self.finish(group, Vec::new(), rejected);
            return Ok(());
        }
        let size = |output: &usize| match outputs[*output].source {
            OutputSource::Source(source) => sources[source]
                .leaf
                .and_then(|leaf| chunk(scan, group.index, leaf))
                .map_or(0, |chunk| chunk.uncompressed_size()),
            OutputSource::Step(_) => group.rows as i64 * 8,
            OutputSource::Same => 0,
        };
        let mut order: Vec<usize> = if routing.kept() == 0 { Vec::new() } else { (0..outputs.len()).collect() };
        order.sort_by_key(|output| std::cmp::Reverse(size(output)));
        let mut parts = locked(&group.parts);
        parts.left = order.len() + gathers.len() + usize::from(reread.is_some());
        let again = reread.is_some().then_some(Step::Reread);
        (parts.dropped, parts.reread) = (dropped, reread);
        parts.gather = gather;
        parts.gathered = vec![None; gathered];
        parts.routing = Some(Arc::new(routing));
        parts.written = written;
        parts.rejected = rejected;
        parts.encoded = outputs.iter().map(|_| Vec::new()).collect();
        drop(parts);
        // The dropped rows first: what was decoded for them is freed the sooner.
        let steps: Vec<Step> = again
            .into_iter()
            .chain(gathers.into_iter().map(Step::Gather))
            .chain(order.into_iter().map(Step::Encode))
            .collect();
        shared.queue.push(group, steps.into_iter());
        Ok(())
    }
}
