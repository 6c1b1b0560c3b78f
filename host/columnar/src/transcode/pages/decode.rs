//! First step: the source columns that somebody looks at before rows are judged.

use std::ops::Range;

use arrow_array::{Array, ArrayRef, new_null_array};
use arrow_buffer::BooleanBuffer;
use arrow_schema::DataType;
use arrow_select::concat::concat;
use bytes::Bytes;

use super::column::{SourceColumn, chunk};
use super::group::{Decoded, Early, Group};
use super::worker::Worker;
use super::{encode_fault, locked};
use crate::error::{Error, Result};
use crate::mapping::{SLICE_ROWS, cast_named};
use crate::observer::{Stage, timed};
use crate::page::convert::convert_chunk;
use crate::page::decode::decode_chunk;
use crate::page::{PageFault, PageResult, materialise};

impl Worker<'_> {
    /// The bytes of a column chunk; waits while they are on their way.
    pub(super) fn read(&self, group: &Group, leaf: usize) -> Result<Bytes> {
        let (shared, observer) = (self.shared, self.shared.run.observer);
        let file = shared.scan.file();
        let Some(chunk) = chunk(shared.scan, group.index, leaf) else {
            return Err(Error::corrupt(file.name(), "a row group lacks a column chunk"));
        };
        let (offset, len) = chunk.byte_range();
        let len = usize::try_from(len).map_err(|_| Error::corrupt(file.name(), "a column chunk is too large"))?;
        let bytes = timed(observer, Stage::Download, || file.bytes().read_at(offset, len))?;
        if bytes.len() == len {
            return Ok(bytes);
        }
        Err(Error::corrupt(file.name(), format!("{} of {len} bytes at {offset} can be read", bytes.len())))
    }

    /// What a fault in a source column means.
    pub(super) fn fault(&self, source: &SourceColumn, fault: PageFault) -> Error {
        let name = self.shared.scan.file().name();
        match fault {
            PageFault::Corrupt(detail) => Error::corrupt(name, format!("column {}: {detail}", source.name)),
            PageFault::TooLarge(detail) => Error::unsupported(name, format!("column {}: {detail}", source.name)),
            PageFault::Null | PageFault::Codec(_) => encode_fault(&source.name, &fault),
        }
    }

    pub(super) fn decode(&mut self, group: &Group, position: usize) -> Result<Early> {
        let (shared, observer) = (self.shared, self.shared.run.observer);
        let source = &shared.columns.sources[position];
        let Some(leaf) = source.leaf else { return Ok(Early { values: Decoded::Nothing, output: None, failed: None }) };
        if let (Some(to_scan), true) = (&source.to_scan, source.output.is_none() || source.to_output.is_some()) {
            let bytes = self.read(group, leaf)?;
            let decoded = timed(observer, Stage::Decode, || -> PageResult<Option<Early>> {
                let Some(metadata) = chunk(shared.scan, group.index, leaf) else { return Ok(None) };
                let Some(chunk) = decode_chunk(bytes, metadata, group.rows, source.text, &mut self.scratch)? else {
                    return Ok(None);
                };
                let scanned = convert_chunk(chunk, to_scan)?;
                let written = match &source.to_output {
                    Some(conversion) if !conversion.keeps_values() => {
                        Some(convert_chunk(scanned.chunk.clone(), conversion)?)
                    }
                    _ => None,
                };
                let (output, failed) =
                    written.map_or((None, None), |written| (Some(written.chunk), written.failed_rows));
                let failed = either(scanned.failed_rows, failed);
                Ok(Some(Early { values: Decoded::Pages(scanned.chunk), output: output.map(Decoded::Pages), failed }))
            });
            if let Some(early) = decoded.map_err(|fault| self.fault(source, fault))? {
                return Ok(early);
            }
        }
        timed(observer, Stage::Decode, || self.decode_arrays(group, source))
    }

    /// A source column through Arrow, slice by slice.
    pub(super) fn decode_arrays(&self, group: &Group, source: &SourceColumn) -> Result<Early> {
        let shared = self.shared;
        let output_type = source.output.map(|output| shared.plan.layout.arrow().field(output).data_type());
        if let Some(output) = source.output {
            locked(&shared.arrow_columns).insert(output);
        }
        let (mut values, mut output, mut failed) = (Vec::new(), Vec::new(), None);
        let mut row = 0;
        for slice in shared.scan.slices(group.index, std::slice::from_ref(&source.name), SLICE_ROWS)? {
            let slice = slice?;
            let array = slice.batch.column(0).clone();
            let rows = array.len();
            for failure in &slice.failed {
                mark(&mut failed, group.rows, row, &failure.rows);
            }
            if let Some(to) = output_type.filter(|to| **to != source.scan_type) {
                let (cast, failures) = cast_named(&source.name, &array, to)?;
                failures.iter().for_each(|failures| mark(&mut failed, group.rows, row, failures));
                output.push(cast);
            }
            values.push(array);
            row += rows;
        }
        if row != group.rows {
            let detail = format!("column {} has {row} of {} rows", source.name, group.rows);
            return Err(Error::corrupt(shared.scan.file().name(), detail));
        }
        let output = (!output.is_empty()).then_some(Decoded::Arrays(output));
        Ok(Early { values: Decoded::Arrays(values), output, failed })
    }

    /// Rows `range` of a decoded column as an array of `data_type`, its own type.
    pub(super) fn array(
        &self,
        source: &SourceColumn,
        decoded: &Decoded,
        range: Range<usize>,
        data_type: &DataType,
    ) -> Result<ArrayRef> {
        match decoded {
            Decoded::Nothing => Ok(new_null_array(data_type, range.len())),
            Decoded::Pages(chunk) => {
                materialise::array(chunk, range, data_type).map_err(|fault| self.fault(source, fault))
            }
            Decoded::Arrays(slices) => match slices.get(range.start / SLICE_ROWS) {
                Some(slice) if range.start.is_multiple_of(SLICE_ROWS) && slice.len() == range.len() => {
                    Ok(slice.clone())
                }
                _ => {
                    let slices: Vec<&dyn Array> = slices.iter().map(AsRef::as_ref).collect();
                    let whole =
                        concat(&slices).map_err(|error| Error::corrupt(self.shared.scan.file().name(), error))?;
                    Ok(whole.slice(range.start, range.len()))
                }
            },
        }
    }
}

/// Notes failed rows of a slice that starts at `first`.
fn mark(failed: &mut Option<Vec<u8>>, rows: usize, first: usize, failures: &BooleanBuffer) {
    if failures.count_set_bits() == 0 {
        return;
    }
    let all = failed.get_or_insert_with(|| vec![0; rows]);
    failures.set_indices().for_each(|row| {
        if let Some(flag) = all.get_mut(first + row) {
            *flag = 1;
        }
    });
}

/// Rows that failed in the one or the other cast.
fn either(first: Option<Vec<u8>>, second: Option<Vec<u8>>) -> Option<Vec<u8>> {
    match (first, second) {
        (Some(first), Some(second)) => Some(first.iter().zip(&second).map(|(a, b)| a | b).collect()),
        (first, second) => first.or(second),
    }
}
