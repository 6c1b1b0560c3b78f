//! Writing a stream: the arrays' own buffers are listed first and copied once, into a vector of the final length.
//!
//! Slices are written as if they stood alone: offsets are rebased and bit buffers shifted, so the reader never sees rows outside the slice.

use arrow_array::cast::AsArray;
use arrow_array::types::{ByteArrayType, ByteViewType};
use arrow_array::{Array, ArrayRef, GenericByteArray, GenericByteViewArray, OffsetSizeTrait, RecordBatch};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions};
use arrow_ipc::{FieldNode, MessageBuilder, MessageHeader, MetadataVersion, RecordBatchBuilder};
use arrow_schema::{DataType, Schema};
use flatbuffers::FlatBufferBuilder;

use crate::error::{WireError, shown};

/// Buffers and messages start at multiples of this.
const ALIGNMENT: usize = 64;
const CONTINUATION: [u8; 4] = [0xff; 4];
const PREFIX_BYTES: usize = 8;

/// One batch as a stream: schema, record batch, end marker.
///
/// # Errors
/// [`WireError::Unsupported`] for types that do not cross the boundary (dictionaries, unions, run-end encoding, list views).
pub fn encode_batch(batch: &RecordBatch) -> Result<Vec<u8>, WireError> {
    let mut body = Body::default();
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        check_type(field.name(), field.data_type())?;
        body.column(field.name(), column)?;
    }
    let schema = schema_message(batch.schema_ref());
    let message = body.message(batch.num_rows());
    let total = framed_length(&schema) + framed_length(&message) + body.length + PREFIX_BYTES;
    let mut out = Vec::with_capacity(total);
    push_message(&mut out, &schema)?;
    push_message(&mut out, &message)?;
    for piece in &body.pieces {
        out.extend_from_slice(piece.as_slice());
        out.resize(out.len() + padding(piece.len()), 0);
    }
    push_end(&mut out);
    debug_assert_eq!(out.len(), total);
    Ok(out)
}

/// A schema as a stream without a batch.
///
/// # Errors
/// As [`encode_batch`].
pub fn encode_schema(schema: &Schema) -> Result<Vec<u8>, WireError> {
    for field in schema.fields() {
        check_type(field.name(), field.data_type())?;
    }
    let message = schema_message(schema);
    let mut out = Vec::with_capacity(framed_length(&message) + PREFIX_BYTES);
    push_message(&mut out, &message)?;
    push_end(&mut out);
    Ok(out)
}

fn padding(length: usize) -> usize {
    length.next_multiple_of(ALIGNMENT) - length
}

fn framed_length(message: &[u8]) -> usize {
    (PREFIX_BYTES + message.len()).next_multiple_of(ALIGNMENT)
}

fn push_message(out: &mut Vec<u8>, message: &[u8]) -> Result<(), WireError> {
    let length = framed_length(message) - PREFIX_BYTES;
    let metadata_length = i32::try_from(length).map_err(|_| WireError::TooLarge {
        what: "metadata bytes",
        found: length as u64,
        limit: i32::MAX as u64,
    })?;
    out.extend_from_slice(&CONTINUATION);
    out.extend_from_slice(&metadata_length.to_le_bytes());
    out.extend_from_slice(message);
    out.resize(out.len() + length - message.len(), 0);
    Ok(())
}

fn push_end(out: &mut Vec<u8>) {
    out.extend_from_slice(&CONTINUATION);
    out.extend_from_slice(&[0; 4]);
}

fn schema_message(schema: &Schema) -> Vec<u8> {
    let mut tracker = DictionaryTracker::new(false);
    IpcDataGenerator::default()
        .schema_to_bytes_with_dictionary_tracker(schema, &mut tracker, &IpcWriteOptions::default())
        .ipc_message
}

/// Refuses types that the contract does not know, at any depth.
fn check_type(column: &str, data_type: &DataType) -> Result<(), WireError> {
    match data_type {
        DataType::Dictionary(..)
        | DataType::Union(..)
        | DataType::RunEndEncoded(..)
        | DataType::ListView(_)
        | DataType::LargeListView(_) => {
            Err(WireError::Unsupported { column: shown(column, 80), found: data_type.to_string() })
        }
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => check_type(column, field.data_type()),
        DataType::Struct(fields) => fields.iter().try_for_each(|field| check_type(column, field.data_type())),
        _ => Ok(()),
    }
}

/// The buffers of a record batch in the order of the format, with their places in the body.
#[derive(Default)]
struct Body {
    pieces: Vec<Buffer>,
    places: Vec<arrow_ipc::Buffer>,
    nodes: Vec<FieldNode>,
    variadic: Vec<i64>,
    length: usize,
}

impl Body {
    fn push(&mut self, piece: Buffer) {
        self.places.push(arrow_ipc::Buffer::new(self.length as i64, piece.len() as i64));
        self.length += piece.len() + padding(piece.len());
        self.pieces.push(piece);
    }

    /// A node and its validity bits; without nulls the bits are left out.
    fn node(&mut self, length: usize, nulls: Option<&NullBuffer>) {
        let null_count = nulls.map_or(0, NullBuffer::null_count);
        self.nodes.push(FieldNode::new(length as i64, null_count as i64));
        match nulls {
            Some(nulls) if null_count > 0 => self.push(nulls.inner().sliced()),
            _ => self.push(Buffer::default()),
        }
    }

    fn column(&mut self, name: &str, array: &ArrayRef) -> Result<(), WireError> {
        match array.data_type() {
            DataType::Null => self.nodes.push(FieldNode::new(array.len() as i64, array.len() as i64)),
            DataType::Boolean => {
                self.node(array.len(), array.nulls());
                self.push(array.as_boolean().values().sliced());
            }
            DataType::Utf8 => self.byte_array(array.as_string::<i32>()),
            DataType::LargeUtf8 => self.byte_array(array.as_string::<i64>()),
            DataType::Binary => self.byte_array(array.as_binary::<i32>()),
            DataType::LargeBinary => self.byte_array(array.as_binary::<i64>()),
            DataType::Utf8View => self.view_array(array.as_string_view()),
            DataType::BinaryView => self.view_array(array.as_binary_view()),
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                self.node(list.len(), list.nulls());
                self.list(name, list.offsets(), list.values())?;
            }
            DataType::LargeList(_) => {
                let list = array.as_list::<i64>();
                self.node(list.len(), list.nulls());
                self.list(name, list.offsets(), list.values())?;
            }
            DataType::Map(..) => {
                let map = array.as_map();
                self.node(map.len(), map.nulls());
                let entries: ArrayRef = std::sync::Arc::new(map.entries().clone());
                self.list(name, map.offsets(), &entries)?;
            }
            DataType::FixedSizeList(..) => {
                let list = array.as_fixed_size_list();
                self.node(list.len(), list.nulls());
                self.column(name, list.values())?;
            }
            DataType::Struct(_) => {
                let structure = array.as_struct();
                self.node(structure.len(), structure.nulls());
                for child in structure.columns() {
                    self.column(name, child)?;
                }
            }
            other => {
                let width = match other {
                    DataType::FixedSizeBinary(width) => usize::try_from(*width).ok(),
                    _ => other.primitive_width(),
                };
                let data = array.to_data();
                let (Some(width), Some(values)) = (width, data.buffers().first()) else {
                    return Err(WireError::Unsupported { column: shown(name, 80), found: other.to_string() });
                };
                self.node(array.len(), array.nulls());
                self.push(values.slice_with_length(data.offset() * width, array.len() * width));
            }
        }
        Ok(())
    }

    fn byte_array<T: ByteArrayType>(&mut self, array: &GenericByteArray<T>) {
        self.node(array.len(), array.nulls());
        let (offsets, first, last) = rebased(array.offsets());
        self.push(offsets);
        self.push(array.values().slice_with_length(first, last - first));
    }

    /// Views keep all buffers of the array that they were sliced from; what the slice does not name is left behind when it is most of them.
    fn view_array<T: ByteViewType + ?Sized>(&mut self, array: &GenericByteViewArray<T>) {
        let held: usize = array.data_buffers().iter().map(Buffer::len).sum();
        let compacted = (held > 2 * array.total_buffer_bytes_used() + 4096).then(|| array.gc());
        let array = compacted.as_ref().unwrap_or(array);
        self.node(array.len(), array.nulls());
        self.push(array.views().inner().clone());
        self.variadic.push(array.data_buffers().len() as i64);
        for buffer in array.data_buffers() {
            self.push(buffer.clone());
        }
    }

    fn list<O: OffsetSizeTrait>(
        &mut self,
        name: &str,
        offsets: &OffsetBuffer<O>,
        values: &ArrayRef,
    ) -> Result<(), WireError> {
        let (offsets, first, last) = rebased(offsets);
        self.push(offsets);
        self.column(name, &values.slice(first, last - first))
    }

    /// The record batch message, without frame.
    fn message(&self, rows: usize) -> Vec<u8> {
        let mut builder = FlatBufferBuilder::with_capacity(256 + 16 * (self.nodes.len() + self.places.len()));
        let nodes = builder.create_vector(&self.nodes);
        let places = builder.create_vector(&self.places);
        let variadic = (!self.variadic.is_empty()).then(|| builder.create_vector(&self.variadic));
        let mut batch = RecordBatchBuilder::new(&mut builder);
        batch.add_length(rows as i64);
        batch.add_nodes(nodes);
        batch.add_buffers(places);
        if let Some(variadic) = variadic {
            batch.add_variadicBufferCounts(variadic);
        }
        let batch = batch.finish().as_union_value();
        let mut message = MessageBuilder::new(&mut builder);
        message.add_version(MetadataVersion::V5);
        message.add_header_type(MessageHeader::RecordBatch);
        message.add_bodyLength(self.length as i64);
        message.add_header(batch);
        let message = message.finish();
        builder.finish(message, None);
        builder.finished_data().to_vec()
    }
}

/// Offsets that start at zero, and the range of values that they name.
fn rebased<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>) -> (Buffer, usize, usize) {
    let first = offsets.first().copied().unwrap_or_default();
    let last = offsets.last().copied().unwrap_or_default();
    let buffer = if first == O::default() {
        offsets.inner().inner().clone()
    } else {
        Buffer::from_vec(offsets.iter().map(|offset| *offset - first).collect::<Vec<O>>())
    };
    (buffer, first.as_usize(), last.as_usize())
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use arrow_array::RecordBatch;

    use crate::hostile::samples;
    use crate::{Limits, decode_batch, decode_hostile, decode_schema, encode_batch, encode_schema};

    #[expect(clippy::unwrap_used, reason = "a test's own check")]
    fn check(batch: &RecordBatch) {
        let bytes = encode_batch(batch).unwrap();
        assert_eq!(&decode_batch(bytes.clone()).unwrap(), batch);
        assert_eq!(&decode_schema(&bytes).unwrap(), batch.schema_ref());
        let decoded = decode_hostile(bytes, &Limits::DEFAULT, Some(batch.schema_ref())).unwrap();
        assert_eq!(&decoded, batch);
    }

    #[test]
    fn every_type_round_trips_whole_sliced_and_empty() {
        for (name, column) in samples::columns(100) {
            let batch = RecordBatch::try_from_iter_with_nullable([(name, column, true)]).unwrap();
            check(&batch);
            for (offset, length) in [(0, 0), (3, 50), (8, 64), (17, 83), (99, 1), (100, 0)] {
                check(&batch.slice(offset, length));
            }
        }
        check(&samples::wide(1000));
        check(&samples::wide(1000).slice(13, 700));
    }

    #[test]
    fn a_slice_carries_its_own_rows_only() {
        let batch = samples::wide(10_000);
        let whole = encode_batch(&batch).unwrap().len();
        let slice = encode_batch(&batch.slice(5_000, 100)).unwrap().len();
        assert!(slice * 20 < whole, "{slice} of {whole}");
    }

    #[test]
    fn schema_streams_hold_no_rows() {
        let batch = samples::wide(5);
        let bytes = encode_schema(batch.schema_ref()).unwrap();
        assert_eq!(&decode_schema(&bytes).unwrap(), batch.schema_ref());
        assert_eq!(decode_batch(bytes).unwrap().num_rows(), 0);
    }

    #[test]
    fn dictionaries_are_refused() {
        use arrow_array::{ArrayRef, DictionaryArray, types::Int32Type};
        let column: DictionaryArray<Int32Type> = ["a", "b", "a"].into_iter().collect();
        let batch = RecordBatch::try_from_iter([("d", std::sync::Arc::new(column) as ArrayRef)]).unwrap();
        let error = encode_batch(&batch).unwrap_err().to_string();
        assert!(error.contains("does not cross"), "{error}");
    }
}
