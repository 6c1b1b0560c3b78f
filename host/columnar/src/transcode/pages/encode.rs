//! Last step: one output column of a row group, for every partition.

use arrow_array::ArrayRef;

use super::super::codes::bug;
use super::column::{OutputSource, SourceColumn, chunk};
use super::group::{Decoded, Group};
use super::worker::Worker;
use super::{encode_fault, locked};
use crate::error::Result;
use crate::observer::{Stage, timed};
use crate::page::convert::convert_chunk;
use crate::page::decode::{ChunkDecoder, decode_chunk};
use crate::page::materialise::{self, Picker};
use crate::page::select::Routing;
use crate::page::writer::EncodedChunk;
use crate::page::{PageFault, PageResult, constant, encode, new_column};

/// An output column by partition, and its source's values in the dropped rows.
type Late = (Vec<Option<EncodedChunk>>, Option<ArrayRef>);

impl Worker<'_> {
    /// One output column of a row group, by partition.
    pub(super) fn encode(&mut self, group: &Group, position: usize) -> Result<Vec<Option<EncodedChunk>>> {
        let (shared, observer) = (self.shared, self.shared.run.observer);
        let output = &shared.columns.outputs[position];
        let mut parts = locked(&group.parts);
        let Some(routing) = parts.routing.clone() else { return Err(bug("a row group", "its rows are not routed")) };
        let written = parts.written.get_mut(position).map(std::mem::take).unwrap_or_default();
        let early = match output.source {
            OutputSource::Source(source) => parts.early.get_mut(source).and_then(Option::take),
            _ => None,
        };
        let dropped = parts.dropped.clone();
        drop(parts);
        let name = shared.plan.layout.arrow().field(position).name();
        match output.source {
            OutputSource::Same => timed(observer, Stage::Encode, || self.same(position, &routing)),
            OutputSource::Step(_) => {
                locked(&shared.arrow_columns).insert(position);
                timed(observer, Stage::Encode, || self.arrays(position, &written, &routing))
            }
            OutputSource::Source(source) => {
                let place = source;
                let source = &shared.columns.sources[source];
                let (Some(leaf), None) = (source.leaf, &early) else {
                    let Some(early) = early else {
                        return timed(observer, Stage::Encode, || self.same(position, &routing));
                    };
                    return timed(observer, Stage::Encode, || match early.output.as_ref().unwrap_or(&early.values) {
                        Decoded::Nothing => self.same(position, &routing),
                        Decoded::Arrays(slices) => self.arrays(position, slices, &routing),
                        Decoded::Pages(chunk) => encode::encode_chunk(
                            chunk,
                            &routing,
                            &output.descriptor,
                            self.room(group, source),
                            &mut self.scratch,
                        )
                        .map_err(|fault| self.fault(source, fault)),
                    });
                };
                // What keeps the dropped rows takes them from the same pages.
                let rows = dropped.as_ref().filter(|_| source.gathers_late()).map(|dropped| dropped.rows.as_slice());
                if let Some((encoded, picked)) = self.late(group, source, leaf, position, &routing, rows)? {
                    if let Some(picked) = picked {
                        locked(&group.parts).gathered[place] = Some(picked);
                    }
                    return Ok(encoded);
                }
                if rows.is_some() {
                    let gathered = self.gather(group, place)?;
                    locked(&group.parts).gathered[place] = Some(gathered);
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

    /// A source column that nobody looked at, straight from its pages, and its values in `dropped` rows. `None`: only Arrow can read it.
    fn late(
        &mut self,
        group: &Group,
        source: &SourceColumn,
        leaf: usize,
        position: usize,
        routing: &Routing,
        dropped: Option<&[u32]>,
    ) -> Result<Option<Late>> {
        let (shared, observer) = (self.shared, self.shared.run.observer);
        let (Some(conversion), Some(metadata)) = (source.conversion(), chunk(shared.scan, group.index, leaf)) else {
            return Ok(None);
        };
        let column = &shared.columns.outputs[position].descriptor;
        let room = self.room(group, source);
        let bytes = self.read(group, leaf)?;
        let encoded = timed(observer, Stage::Encode, || {
            let scratch = &mut self.scratch;
            if encode::keeps_dictionary(routing) {
                let decoder = ChunkDecoder::try_new(bytes, metadata, group.rows, source.text)?;
                let Some(mut decoder) = decoder else { return Ok(None) };
                let mut picker = dropped.map(Picker::new);
                let encoded =
                    encode::transcode(&mut decoder, &conversion, routing, column, room, scratch, picker.as_mut())?;
                let Some(encoded) = encoded else { return Ok(None) };
                let picked = picker.map(|picker| picked(picker, source)).transpose()?;
                return Ok(Some((vec![Some(encoded)], picked)));
            }
            let Some(chunk) = decode_chunk(bytes, metadata, group.rows, source.text, scratch)? else { return Ok(None) };
            let mut picker = dropped.map(Picker::new);
            if let Some(picker) = &mut picker {
                chunk.segments.iter().try_for_each(|segment| picker.segment(segment, chunk.dictionary.as_ref()))?;
            }
            let converted = convert_chunk(chunk, &conversion)?;
            if converted.failed_rows.is_some() {
                return Err(PageFault::Corrupt(format!("a value does not fit {}", conversion.to())));
            }
            let encoded = encode::encode_chunk(&converted.chunk, routing, column, room, scratch)?;
            let picked = picker.map(|picker| picked(picker, source)).transpose()?;
            Ok(Some((encoded, picked)))
        });
        encoded.map_err(|fault| self.fault(source, fault))
    }

    /// An output column from arrays, slice by slice.
    fn arrays(&mut self, position: usize, slices: &[ArrayRef], routing: &Routing) -> Result<Vec<Option<EncodedChunk>>> {
        let shared = self.shared;
        let name = shared.plan.layout.arrow().field(position).name();
        let column = &shared.columns.outputs[position].descriptor;
        let encoded = new_column::encode_arrays(slices, routing, column, &mut self.scratch);
        encoded
            .map_err(|fault| encode_fault(name, &fault))?
            .ok_or_else(|| bug(name, "arrays of this type are not written by pages"))
    }

    /// An output column with one value, or only nulls.
    pub(super) fn same(&mut self, position: usize, routing: &Routing) -> Result<Vec<Option<EncodedChunk>>> {
        let output = &self.shared.columns.outputs[position];
        let name = self.shared.plan.layout.arrow().field(position).name();
        let encode = |rows: &usize| match rows {
            0 => Ok(None),
            rows => constant::encode(output.constant.as_ref(), *rows, &output.descriptor, &mut self.scratch).map(Some),
        };
        let encoded: PageResult<Vec<_>> = routing.counts().iter().map(encode).collect();
        encoded.map_err(|fault| encode_fault(name, &fault))
    }
}

/// The rows that were taken aside, as the scan has them.
fn picked(picker: Picker<'_>, source: &SourceColumn) -> PageResult<ArrayRef> {
    let chunk = picker.finish()?;
    let rows = chunk.segments.first().map_or(0, |segment| segment.rows);
    let chunk = match &source.to_scan {
        Some(to_scan) => convert_chunk(chunk, to_scan)?.chunk,
        None => chunk,
    };
    materialise::array(&chunk, 0..rows, &source.scan_type)
}
