//! The dropped rows of a row group, column by column: only their values are looked up, whatever becomes of the rest.

use std::sync::Arc;

use arrow_array::{ArrayRef, UInt32Array, new_null_array};
use arrow_select::concat::concat;
use arrow_select::take::take;

use super::super::codes::bug;
use super::super::rejects::{batch_of, dropped, hand_over};
use super::column::{SourceColumn, chunk};
use super::group::{Decoded as Held, Dropped, Group};
use super::locked;
use super::worker::Worker;
use crate::error::Result;
use crate::mapping::{Decoded, ParquetScan, SLICE_ROWS};
use crate::observer::{Stage, timed};
use crate::page::convert::convert_chunk;
use crate::page::decode::decode_chunk;
use crate::page::materialise;

impl Worker<'_> {
    /// The values of a source column in the dropped rows.
    pub(super) fn gather(&mut self, group: &Group, position: usize) -> Result<ArrayRef> {
        let (shared, observer) = (self.shared, self.shared.run.observer);
        let source = &shared.columns.sources[position];
        let mut parts = locked(&group.parts);
        let early = parts.gather.get_mut(position).and_then(Option::take);
        let Some(dropped) = parts.dropped.clone() else { return Err(bug("a row group", "it dropped no row")) };
        drop(parts);
        let rows = &dropped.rows;
        let Some(leaf) = source.leaf else { return Ok(new_null_array(&source.scan_type, rows.len())) };
        if early.as_ref().is_some_and(|early| early.failed.is_some()) {
            return timed(observer, Stage::Decode, || self.as_found(group, source, rows));
        }
        if let Some(early) = early {
            return timed(observer, Stage::Clean, || match &early.values {
                Held::Nothing => Ok(new_null_array(&source.scan_type, rows.len())),
                Held::Pages(chunk) => {
                    materialise::rows(chunk, rows, &source.scan_type).map_err(|fault| self.fault(source, fault))
                }
                Held::Arrays(slices) => pick(slices, rows),
            });
        }
        if let Some(to_scan) = &source.to_scan {
            let bytes = self.read(group, leaf)?;
            let gathered = timed(observer, Stage::Decode, || {
                let Some(metadata) = chunk(shared.scan, group.index, leaf) else { return Ok(None) };
                let decoded = decode_chunk(bytes, metadata, group.rows, source.text, &mut self.scratch)?;
                let Some(decoded) = decoded else { return Ok(None) };
                let converted = convert_chunk(decoded, to_scan)?.chunk;
                materialise::rows(&converted, rows, &source.scan_type).map(Some)
            });
            if let Some(array) = gathered.map_err(|fault| self.fault(source, fault))? {
                return Ok(array);
            }
        }
        timed(observer, Stage::Decode, || {
            let slices = shared.scan.slices(group.index, std::slice::from_ref(&source.name), SLICE_ROWS)?;
            let slices = slices.map(|slice| slice.map(|slice| slice.batch.column(0).clone()));
            pick(&slices.collect::<Result<Vec<_>>>()?, rows)
        })
    }

    /// The values as the file has them: some did not fit the wanted type.
    fn as_found(&self, group: &Group, source: &SourceColumn, rows: &[u32]) -> Result<ArrayRef> {
        let scan = self.shared.scan;
        let column = scan.columns().iter().find(|column| *column.field.name() == source.name);
        let Some(name) = column.and_then(|column| column.upstream_name.clone()) else {
            return Ok(new_null_array(&source.scan_type, rows.len()));
        };
        let raw = ParquetScan::try_new(scan.file().clone(), None)?;
        let slices = raw.slices(group.index, std::slice::from_ref(&name), SLICE_ROWS)?;
        let slices = slices.map(|slice| slice.map(|slice| slice.batch.column(0).clone()));
        pick(&slices.collect::<Result<Vec<_>>>()?, rows)
    }

    /// Reads a row group again, slice by slice, and hands its dropped rows over: all of them at once would be as large as the row group.
    pub(super) fn reread(&self, group: &Group) -> Result<()> {
        let shared = self.shared;
        let (Some(sink), Some(dropped)) = (shared.run.rejects, locked(&group.parts).reread.take()) else {
            return Err(bug("a row group", "it dropped no row"));
        };
        let names: Vec<String> = shared.columns.sources.iter().map(|source| source.name.clone()).collect();
        let mut left = dropped.rows.iter().zip(&dropped.codes).peekable();
        let mut slices = shared.scan.slices(group.index, &names, SLICE_ROWS)?;
        let mut first = 0usize;
        while let Some(decoded) = timed(shared.run.observer, Stage::Decode, || slices.next()) {
            let Decoded { batch, failed } = decoded?;
            let mut codes = vec![0u16; batch.num_rows()];
            while let Some((row, code)) = left.next_if(|(row, _)| (**row as usize) < first + codes.len()) {
                codes[*row as usize - first] = *code;
            }
            let first_row = group.first_row + first as u64;
            first += codes.len();
            if codes.iter().any(|code| *code != 0) {
                timed(shared.run.observer, Stage::Clean, || hand_over(sink, first_row, &codes, &batch, &failed))?;
            }
        }
        match left.next() {
            None => Ok(()),
            Some(_) => Err(bug("dropped rows", "a row group is shorter than before")),
        }
    }

    /// All columns are gathered: hands the rows over.
    pub(super) fn hand_over(&self, group: &Group, dropped: &Dropped, gathered: Vec<Option<ArrayRef>>) -> Result<()> {
        let Some(sink) = self.shared.run.rejects else { return Ok(()) };
        let sources = &self.shared.columns.sources;
        let columns = sources.iter().zip(gathered).map(|(source, array)| {
            array.map(|array| (source.name.as_str(), array)).ok_or_else(|| bug(&source.name, "it was not gathered"))
        });
        let batch = batch_of(columns.collect::<Result<_>>()?, dropped.rows.len())?;
        sink.take(group.first_row, &dropped.rows, &dropped.codes, batch)
    }

    /// The dropped rows of a row group, when somebody wants them.
    pub(super) fn dropped(&self, codes: impl Iterator<Item = u16>) -> Option<Arc<Dropped>> {
        self.shared.run.rejects?;
        let (rows, codes) = dropped(codes);
        (!rows.is_empty()).then(|| Arc::new(Dropped { rows, codes }))
    }
}

/// Rows of an array that is cut into slices.
fn pick(slices: &[ArrayRef], rows: &[u32]) -> Result<ArrayRef> {
    let (mut parts, mut first, mut left) = (Vec::new(), 0u32, rows);
    for slice in slices {
        let end = first.saturating_add(slice.len() as u32);
        let (here, later) = left.split_at(left.partition_point(|row| *row < end));
        if !here.is_empty() {
            let places: UInt32Array = here.iter().map(|row| row - first).collect();
            parts.push(take(slice, &places, None).map_err(|error| bug("dropped rows", error))?);
        }
        (first, left) = (end, later);
    }
    let parts: Vec<&dyn arrow_array::Array> = parts.iter().map(AsRef::as_ref).collect();
    if parts.iter().map(|part| part.len()).sum::<usize>() != rows.len() {
        return Err(bug("dropped rows", "a column is shorter than its row group"));
    }
    concat(&parts).map_err(|error| bug("dropped rows", error))
}
