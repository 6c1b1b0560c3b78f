//! One row group on its way through decode, clean, route and encode, and the workers that carry it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_buffer::BooleanBuffer;
use arrow_schema::{DataType, Field, Schema};
use arrow_select::concat::concat;
use arrow_select::filter::filter;
use bytes::Bytes;

use super::super::{CAST_CODE, constant_array};
use super::column::{OutputSource, SourceColumn, chunk};
use super::queue::{Step, Work};
use super::{Run, locked};
use crate::error::{Error, Result};
use crate::mapping::{SLICE_ROWS, cast_named};
use crate::observer::{Stage, timed};
use crate::page::convert::convert_chunk;
use crate::page::decode::{Chunk, ChunkDecoder, decode_chunk};
use crate::page::select::Routing;
use crate::page::writer::EncodedChunk;
use crate::page::{PageFault, PageResult, Scratch, constant, encode, materialise, new_column};
use crate::partition::Codes;
use crate::steps::RowStep;

/// A row group whose columns are all encoded.
pub(super) struct Done {
    pub group: usize,
    pub rows: usize,
    pub rejected: BTreeMap<u16, u64>,
    /// The columns of each partition that has rows, in the order of the output.
    pub partitions: Vec<(usize, Vec<EncodedChunk>)>,
}

/// A row group under way.
pub(super) struct Group {
    index: usize,
    rows: usize,
    /// Rows of the source before it.
    first_row: u64,
    parts: Mutex<Parts>,
}

/// What is known of a row group so far.
#[derive(Default)]
struct Parts {
    /// Tasks of the present step that are not finished.
    left: usize,
    /// By source column.
    early: Vec<Option<Arc<Early>>>,
    slices: Vec<Option<Slice>>,
    routing: Option<Arc<Routing>>,
    /// By output column: the row logic's arrays, slice by slice.
    written: Vec<Vec<ArrayRef>>,
    /// By output column, then by partition.
    encoded: Vec<Vec<Option<EncodedChunk>>>,
    rejected: BTreeMap<u16, u64>,
}

/// A source column that was decoded before the rows were judged.
struct Early {
    /// As the row logic sees it.
    values: Decoded,
    /// As it is written, when that is something else.
    output: Option<Decoded>,
    /// 1 = the row's value could not be cast.
    failed: Option<Vec<u8>>,
}

enum Decoded {
    /// All null.
    Nothing,
    Pages(Chunk),
    /// Slices of [`SLICE_ROWS`] rows.
    Arrays(Vec<ArrayRef>),
}

/// A judged slice of rows.
struct Slice {
    /// 0 = kept.
    codes: Vec<u16>,
    kept: usize,
    /// By output column: arrays of the row logic.
    written: Vec<Option<ArrayRef>>,
    /// The partition columns of the kept rows.
    keys: Vec<ArrayRef>,
}

/// A thread of the run, with its contexts and buffers.
pub(super) struct Worker<'a> {
    shared: &'a Run<'a>,
    scratch: Scratch,
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
        let size = |source: &usize| sources[*source].leaf.and_then(|leaf| chunk(scan, index, leaf)).map_or(0, |chunk| chunk.compressed_size());
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
                    let (encoded, rejected) = (std::mem::take(&mut parts.encoded), std::mem::take(&mut parts.rejected));
                    drop(parts);
                    self.finish(group, encoded, rejected);
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

    /// The bytes of a column chunk; waits while they are on their way.
    fn read(&self, group: &Group, leaf: usize) -> Result<Bytes> {
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
    fn fault(&self, source: &SourceColumn, fault: PageFault) -> Error {
        let name = self.shared.scan.file().name();
        match fault {
            PageFault::Corrupt(detail) => Error::corrupt(name, format!("column {}: {detail}", source.name)),
            PageFault::TooLarge(detail) => Error::unsupported(name, format!("column {}: {detail}", source.name)),
            PageFault::Null | PageFault::Codec(_) => encode_fault(&source.name, &fault),
        }
    }

    fn decode(&mut self, group: &Group, position: usize) -> Result<Early> {
        let (shared, observer) = (self.shared, self.shared.run.observer);
        let source = &shared.columns.sources[position];
        let Some(leaf) = source.leaf else { return Ok(Early { values: Decoded::Nothing, output: None, failed: None }) };
        if let (Some(to_scan), true) = (&source.to_scan, source.output.is_none() || source.to_output.is_some()) {
            let bytes = self.read(group, leaf)?;
            let decoded = timed(observer, Stage::Decode, || -> PageResult<Option<Early>> {
                let Some(metadata) = chunk(shared.scan, group.index, leaf) else { return Ok(None) };
                let Some(chunk) = decode_chunk(bytes, metadata, group.rows, source.text, &mut self.scratch)? else { return Ok(None) };
                let scanned = convert_chunk(chunk, to_scan)?;
                let written = match &source.to_output {
                    Some(conversion) if !conversion.keeps_values() => Some(convert_chunk(scanned.chunk.clone(), conversion)?),
                    _ => None,
                };
                let (output, failed) = written.map_or((None, None), |written| (Some(written.chunk), written.failed_rows));
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
    fn decode_arrays(&self, group: &Group, source: &SourceColumn) -> Result<Early> {
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
    fn array(&self, source: &SourceColumn, decoded: &Decoded, range: std::ops::Range<usize>, data_type: &DataType) -> Result<ArrayRef> {
        match decoded {
            Decoded::Nothing => Ok(new_null_array(data_type, range.len())),
            Decoded::Pages(chunk) => materialise::array(chunk, range, data_type).map_err(|fault| self.fault(source, fault)),
            Decoded::Arrays(slices) => match slices.get(range.start / SLICE_ROWS) {
                Some(slice) if range.start % SLICE_ROWS == 0 && slice.len() == range.len() => Ok(slice.clone()),
                _ => {
                    let slices: Vec<&dyn Array> = slices.iter().map(AsRef::as_ref).collect();
                    let whole = concat(&slices).map_err(|error| Error::corrupt(self.shared.scan.file().name(), error))?;
                    Ok(whole.slice(range.start, range.len()))
                }
            },
        }
    }

    fn clean(&self, group: &Group, slice: usize) -> Result<Slice> {
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
            let code = shared.run.step.map_or(CAST_CODE, |step| step.cast_rule(&source.name));
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
                    OutputSource::Same => columns.outputs[*output].constant.as_ref().map(|constant| constant_array(constant, kind, rows)),
                };
                let array = array.unwrap_or_else(|| new_null_array(kind, rows));
                let array = if kept == rows { array } else { filter(&array, &mask).map_err(|error| bug("partition columns", error))? };
                keys.push(array);
            }
        }
        Ok(Slice { codes, kept, written, keys })
    }

    /// All slices are judged: numbers the partitions in row order and starts the encoders.
    fn route(&self, group: &Arc<Group>) -> Result<()> {
        let (shared, scan) = (self.shared, self.shared.scan);
        let (outputs, sources) = (&shared.columns.outputs, &shared.columns.sources);
        let mut parts = locked(&group.parts);
        let slices: Vec<Slice> = std::mem::take(&mut parts.slices).into_iter().flatten().collect();
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
                    Codes::One(partition) => codes.extend(slice.codes.iter().map(|code| if *code == 0 { partition + 1 } else { 0 })),
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
        if routing.kept() == 0 {
            self.finish(group, Vec::new(), rejected);
            return Ok(());
        }
        let size = |output: &usize| match outputs[*output].source {
            OutputSource::Source(source) => {
                sources[source].leaf.and_then(|leaf| chunk(scan, group.index, leaf)).map_or(0, |chunk| chunk.uncompressed_size())
            }
            OutputSource::Step(_) => group.rows as i64 * 8,
            OutputSource::Same => 0,
        };
        let mut order: Vec<usize> = (0..outputs.len()).collect();
        order.sort_by_key(|output| std::cmp::Reverse(size(output)));
        let mut parts = locked(&group.parts);
        parts.left = outputs.len();
        parts.routing = Some(Arc::new(routing));
        parts.written = written;
        parts.rejected = rejected;
        parts.encoded = outputs.iter().map(|_| Vec::new()).collect();
        drop(parts);
        shared.queue.push(group, order.into_iter().map(Step::Encode));
        Ok(())
    }

    /// One output column of a row group, by partition.
    fn encode(&mut self, group: &Group, position: usize) -> Result<Vec<Option<EncodedChunk>>> {
        let (shared, observer) = (self.shared, self.shared.run.observer);
        let output = &shared.columns.outputs[position];
        let mut parts = locked(&group.parts);
        let Some(routing) = parts.routing.clone() else { return Err(bug("a row group", "its rows are not routed")) };
        let written = parts.written.get_mut(position).map(std::mem::take).unwrap_or_default();
        let early = match output.source {
            OutputSource::Source(source) => parts.early.get_mut(source).and_then(Option::take),
            _ => None,
        };
        drop(parts);
        let name = shared.plan.layout.arrow().field(position).name();
        match output.source {
            OutputSource::Same => timed(observer, Stage::Encode, || self.same(position, &routing)),
            OutputSource::Step(_) => {
                locked(&shared.arrow_columns).insert(position);
                timed(observer, Stage::Encode, || self.arrays(position, &written, &routing))
            }
            OutputSource::Source(source) => {
                let source = &shared.columns.sources[source];
                let (Some(leaf), None) = (source.leaf, &early) else {
                    let Some(early) = early else { return timed(observer, Stage::Encode, || self.same(position, &routing)) };
                    return timed(observer, Stage::Encode, || match early.output.as_ref().unwrap_or(&early.values) {
                        Decoded::Nothing => self.same(position, &routing),
                        Decoded::Arrays(slices) => self.arrays(position, slices, &routing),
                        Decoded::Pages(chunk) => encode::encode_chunk(chunk, &routing, &output.descriptor, self.room(group, source), &mut self.scratch)
                            .map_err(|fault| self.fault(source, fault)),
                    });
                };
                if let Some(encoded) = self.late(group, source, leaf, position, &routing)? {
                    return Ok(encoded);
                }
                let early = timed(observer, Stage::Decode, || self.decode_arrays(group, source))?;
                if early.failed.is_some() {
                    return Err(bug(name, "a cast that cannot fail failed"));
                }
                timed(observer, Stage::Encode, || match early.output.as_ref().unwrap_or(&early.values) {
                    Decoded::Arrays(slices) => self.arrays(position, slices, &routing),
                    _ => self.same(position, &routing),
                })
            }
        }
    }

    /// A guess at the size of an encoded column.
    fn room(&self, group: &Group, source: &SourceColumn) -> usize {
        let chunk = source.leaf.and_then(|leaf| chunk(self.shared.scan, group.index, leaf));
        chunk.map_or(0, |chunk| usize::try_from(chunk.compressed_size()).unwrap_or(0)).saturating_add(4096)
    }

    /// A source column that nobody looked at, straight from its pages. `None`: only Arrow can read it.
    fn late(
        &mut self,
        group: &Group,
        source: &SourceColumn,
        leaf: usize,
        position: usize,
        routing: &Routing,
    ) -> Result<Option<Vec<Option<EncodedChunk>>>> {
        let (shared, observer) = (self.shared, self.shared.run.observer);
        let (Some(conversion), Some(metadata)) = (source.conversion(), chunk(shared.scan, group.index, leaf)) else { return Ok(None) };
        let column = &shared.columns.outputs[position].descriptor;
        let room = self.room(group, source);
        let bytes = self.read(group, leaf)?;
        let encoded = timed(observer, Stage::Encode, || {
            let scratch = &mut self.scratch;
            if encode::keeps_dictionary(routing) {
                let decoder = ChunkDecoder::try_new(bytes, metadata, group.rows, source.text)?;
                let Some(mut decoder) = decoder else { return Ok(None) };
                let encoded = encode::transcode(&mut decoder, &conversion, routing, column, room, scratch)?;
                return Ok(encoded.map(|encoded| vec![Some(encoded)]));
            }
            let Some(chunk) = decode_chunk(bytes, metadata, group.rows, source.text, scratch)? else { return Ok(None) };
            let converted = convert_chunk(chunk, &conversion)?;
            if converted.failed_rows.is_some() {
                return Err(PageFault::Corrupt(format!("a value does not fit {}", conversion.to())));
            }
            encode::encode_chunk(&converted.chunk, routing, column, room, scratch).map(Some)
        });
        encoded.map_err(|fault| self.fault(source, fault))
    }

    /// An output column from arrays, slice by slice.
    fn arrays(&mut self, position: usize, slices: &[ArrayRef], routing: &Routing) -> Result<Vec<Option<EncodedChunk>>> {
        let shared = self.shared;
        let name = shared.plan.layout.arrow().field(position).name();
        let column = &shared.columns.outputs[position].descriptor;
        let encoded = new_column::encode_arrays(slices, routing, column, &mut self.scratch);
        encoded.map_err(|fault| encode_fault(name, &fault))?.ok_or_else(|| bug(name, "arrays of this type are not written by pages"))
    }

    /// An output column with one value, or only nulls.
    fn same(&mut self, position: usize, routing: &Routing) -> Result<Vec<Option<EncodedChunk>>> {
        let output = &self.shared.columns.outputs[position];
        let name = self.shared.plan.layout.arrow().field(position).name();
        let encode = |rows: &usize| match rows {
            0 => Ok(None),
            rows => constant::encode(output.constant.as_ref(), *rows, &output.descriptor, &mut self.scratch).map(Some),
        };
        let encoded: PageResult<Vec<_>> = routing.counts().iter().map(encode).collect();
        encoded.map_err(|fault| encode_fault(name, &fault))
    }

    fn finish(&self, group: &Group, encoded: Vec<Vec<Option<EncodedChunk>>>, rejected: BTreeMap<u16, u64>) {
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

/// Asks the row logic, and holds it to its word.
fn apply(step: &dyn RowStep, arrays: Vec<(&str, ArrayRef)>, rows: usize, first_row: u64, codes: &mut [u16]) -> Result<Vec<ArrayRef>> {
    let fields: Vec<Field> = arrays.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let arrays = arrays.into_iter().map(|(_, array)| array).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
        .map_err(|error| bug("the row logic's columns", error))?;
    let written = step.apply(&batch, first_row, codes).map_err(Error::Step)?;
    let promised = step.writes();
    let kept = written.len() == promised.len()
        && written.iter().zip(promised).all(|(array, field)| array.len() == rows && array.data_type() == field.data_type());
    if kept { Ok(written) } else { Err(Error::Step("the row logic answered other columns than it declared".into())) }
}

/// The row logic's array as the output has it; only dropped rows may fail to fit.
fn cast_written(field: &Field, array: &ArrayRef, codes: &[u16]) -> Result<ArrayRef> {
    let (cast, failures) = cast_named(field.name(), array, field.data_type())?;
    if failures.is_some_and(|failures| failures.set_indices().any(|row| codes[row] == 0)) {
        return Err(Error::Schema {
            column: field.name().clone(),
            wanted: field.data_type().to_string(),
            found: format!("{} with values that do not fit, from the row logic", array.data_type()),
        });
    }
    Ok(cast)
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

fn count_codes(codes: &[u16], counts: &mut BTreeMap<u16, u64>) {
    for code in codes.iter().filter(|code| **code != 0) {
        *counts.entry(*code).or_default() += 1;
    }
}

/// What a fault in an output column means.
fn encode_fault(column: &str, fault: &PageFault) -> Error {
    match fault {
        PageFault::Null => Error::unsupported(&format!("column {column}"), "null in a required column"),
        fault => Error::Encode { what: format!("column {column}"), detail: fault.to_string() },
    }
}

fn bug(what: &str, error: impl std::fmt::Display) -> Error {
    Error::Encode { what: what.to_owned(), detail: error.to_string() }
}
