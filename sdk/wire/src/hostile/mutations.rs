//! Hostile streams: random edits that are replayed by seed, and forged ones that are known to end Arrow's own reader.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array, NullArray, RecordBatch, RecordBatchOptions, StringArray};
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow_ipc::{FieldNode, MessageBuilder, MessageHeader, MetadataVersion, RecordBatchBuilder};
use arrow_schema::{DataType, Field, Schema};
use flatbuffers::FlatBufferBuilder;

use super::samples;
use crate::{Limits, WireError, decode_hostile, decode_schema_hostile, encode_batch, encode_schema};

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// A batch that was accepted must survive everything that a consumer may do with it.
fn consume(batch: &RecordBatch) {
    for column in batch.columns() {
        assert_eq!(column.len(), batch.num_rows());
        column.to_data().validate_full().unwrap();
        assert!(column.logical_null_count() <= column.len());
    }
    if batch.num_columns() == 0 {
        return;
    }
    let rows: Vec<u32> = (0..batch.num_rows() as u32).rev().collect();
    arrow_select::take::take_record_batch(batch, &arrow_array::UInt32Array::from(rows)).unwrap();
    let again = encode_batch(batch).unwrap();
    assert_eq!(&decode_hostile(again, &Limits::DEFAULT, Some(batch.schema_ref())).unwrap(), batch);
}

const WORDS: [u64; 10] =
    [0, 1, u64::MAX, i64::MAX as u64, 1 << 63, 1 << 40, 1 << 32, u32::MAX as u64, i32::MAX as u64, 64 << 20];

#[test]
fn edited_streams_are_refused_or_sound() {
    let limits = Limits::DEFAULT;
    let mut accepted = 0;
    let mut bases: Vec<Vec<u8>> = samples::columns(32)
        .into_iter()
        .map(|(name, column)| encode_batch(&RecordBatch::try_from_iter([(name, column)]).unwrap()).unwrap())
        .collect();
    bases.push(encode_batch(&samples::wide(9)).unwrap());
    bases.push(encode_schema(samples::wide(0).schema_ref()).unwrap());
    for (kind, base) in bases.iter().enumerate() {
        for seed in 0..1500 {
            let mut random = Random(seed + 1_000_000 * kind as u64);
            let mut bytes = base.clone();
            for _ in 0..1 + random.below(4) {
                let at = random.below(bytes.len());
                match random.below(4) {
                    0 => bytes[at] = random.next() as u8,
                    1 => bytes[at] ^= 1 << random.below(8),
                    kind => {
                        let width = if kind == 2 { 4 } else { 8 };
                        let at = (at / width * width).min(bytes.len() - width);
                        let word = WORDS[random.below(WORDS.len())];
                        bytes[at..at + width].copy_from_slice(&word.to_le_bytes()[..width]);
                    }
                }
            }
            // Without the panic guard: the walk alone must suffice.
            if let Ok(batch) = super::decode_walked(bytes, &limits, None) {
                accepted += 1;
                consume(&batch);
            }
        }
    }
    // Edits of plain values and padding pass; the test would be blind if none did.
    assert!(accepted > 1000, "{accepted}");
}

#[test]
fn cut_streams_are_refused() {
    let whole = encode_batch(&samples::wide(9)).unwrap();
    for length in 0..whole.len() {
        assert!(decode_hostile(whole[..length].to_vec(), &Limits::DEFAULT, None).is_err(), "{length}");
    }
    let mut longer = whole;
    longer.push(0);
    assert!(decode_hostile(longer, &Limits::DEFAULT, None).is_err());
}

/// A record batch message with chosen numbers.
struct Forged {
    length: i64,
    nodes: Vec<(i64, i64)>,
    buffers: Vec<(i64, i64)>,
    body_length: i64,
    body: usize,
}

impl Forged {
    fn stream(&self, schema: &Schema) -> Vec<u8> {
        let mut builder = FlatBufferBuilder::new();
        let nodes: Vec<FieldNode> = self.nodes.iter().map(|(length, nulls)| FieldNode::new(*length, *nulls)).collect();
        let places: Vec<arrow_ipc::Buffer> =
            self.buffers.iter().map(|(offset, length)| arrow_ipc::Buffer::new(*offset, *length)).collect();
        let nodes = builder.create_vector(&nodes);
        let places = builder.create_vector(&places);
        let mut batch = RecordBatchBuilder::new(&mut builder);
        batch.add_length(self.length);
        batch.add_nodes(nodes);
        batch.add_buffers(places);
        let batch = batch.finish().as_union_value();
        let mut message = MessageBuilder::new(&mut builder);
        message.add_version(MetadataVersion::V5);
        message.add_header_type(MessageHeader::RecordBatch);
        message.add_bodyLength(self.body_length);
        message.add_header(batch);
        let message = message.finish();
        builder.finish(message, None);
        let mut metadata = builder.finished_data().to_vec();
        metadata.resize(metadata.len().next_multiple_of(8), 0);
        let mut stream = encode_schema(schema).unwrap();
        stream.truncate(stream.len() - 8);
        stream.extend([0xff; 4]);
        stream.extend((metadata.len() as i32).to_le_bytes());
        stream.extend(metadata);
        stream.resize(stream.len() + self.body, 0);
        stream.extend([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        stream
    }
}

#[test]
fn forged_lengths_are_refused_by_name() {
    let number = Schema::new(vec![Field::new("n", DataType::Int64, true)]);
    let text = Schema::new(vec![Field::new("t", DataType::Utf8, true)]);
    let nothing = Schema::new(vec![Field::new("x", DataType::Null, true)]);
    let nested = Schema::new(vec![Field::new_list("l", Field::new("item", DataType::Null, true), true)]);
    let sound = || Forged { length: 4, nodes: vec![(4, 0)], buffers: vec![(0, 0), (0, 32)], body_length: 32, body: 32 };
    assert_eq!(decode_hostile(sound().stream(&number), &Limits::DEFAULT, None).unwrap().num_rows(), 4);
    let check = |schema: &Schema, forged: Forged, wanted: &str| {
        let error = decode_hostile(forged.stream(schema), &Limits::DEFAULT, None).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}, wanted {wanted}");
    };
    check(&number, Forged { length: 1 << 40, ..sound() }, "rows: 1099511627776");
    check(&number, Forged { length: -1, ..sound() }, "row count is negative");
    check(&number, Forged { body_length: -1, ..sound() }, "a body of -1 bytes");
    check(&number, Forged { body_length: i64::MAX, ..sound() }, "does not fit");
    check(&number, Forged { body_length: 1 << 56, ..sound() }, "does not fit");
    check(&number, Forged { nodes: vec![(1 << 40, 0)], ..sound() }, "where 4 belong");
    check(&number, Forged { nodes: vec![(4, 5)], ..sound() }, "5 nulls among 4");
    check(&number, Forged { nodes: vec![(4, -1)], ..sound() }, "negative");
    check(&number, Forged { nodes: vec![(4, 1)], ..sound() }, "validity buffer has 0 bytes");
    check(&number, Forged { nodes: vec![], ..sound() }, "nodes are missing");
    check(&number, Forged { nodes: vec![(4, 0), (4, 0)], ..sound() }, "more nodes");
    check(&number, Forged { buffers: vec![(0, 0)], ..sound() }, "buffers are missing");
    check(&number, Forged { buffers: vec![(0, 0), (0, 31)], ..sound() }, "32 are needed");
    check(&number, Forged { buffers: vec![(0, 0), (8, 32)], ..sound() }, "does not lie in the body");
    check(&number, Forged { buffers: vec![(0, 0), (-8, 32)], ..sound() }, "does not lie in the body");
    check(&number, Forged { buffers: vec![(0, 0), (i64::MAX, i64::MAX)], ..sound() }, "does not lie in the body");
    check(&number, Forged { buffers: vec![(0, 0), (4, 28)], ..sound() }, "no multiple of 8");
    check(&number, Forged { buffers: vec![(0, 8), (0, 32)], ..sound() }, "4 are there");
    check(&number, Forged { buffers: vec![(0, 8), (0, 32)], nodes: vec![(4, 4)], ..sound() }, "buffers overlap");
    check(&text, Forged { buffers: vec![(0, 0), (0, 16), (16, 0)], ..sound() }, "20 are needed");
    let nothing_batch =
        |length| Forged { length, nodes: vec![(length, length)], buffers: vec![], body_length: 0, body: 0 };
    check(&nothing, nothing_batch(1 << 31), "rows:");
    check(
        &nested,
        Forged { nodes: vec![(4, 0), (1 << 40, 1 << 40)], buffers: vec![(0, 0), (0, 20)], ..sound() },
        "values of a list",
    );
}

#[test]
fn what_the_contract_leaves_out_is_refused() {
    let limits = Limits::DEFAULT;
    let refused = |bytes: Vec<u8>, wanted: &str| {
        let error = decode_hostile(bytes, &limits, None).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}, wanted {wanted}");
    };
    let written = |batches: &[RecordBatch], options: IpcWriteOptions| {
        let mut writer = StreamWriter::try_new_with_options(Vec::new(), batches[0].schema_ref(), options).unwrap();
        batches.iter().for_each(|batch| writer.write(batch).unwrap());
        writer.into_inner().unwrap()
    };
    let one = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef)]).unwrap();
    decode_hostile(written(std::slice::from_ref(&one), IpcWriteOptions::default()), &limits, None).unwrap();
    refused(written(&[one.clone(), one.clone()], IpcWriteOptions::default()), "more than one batch");

    use arrow_array::{DictionaryArray, types::Int32Type};
    let keys: DictionaryArray<Int32Type> = ["a", "b", "a"].into_iter().collect();
    let dictionary = RecordBatch::try_from_iter([("d", Arc::new(keys) as ArrayRef)]).unwrap();
    refused(written(&[dictionary], IpcWriteOptions::default()), "dictionaries are not part");

    let names = |fields: Vec<Field>| encode_schema(&Schema::new(fields)).unwrap();
    let field = |name: &str| Field::new(name, DataType::Int64, true);
    refused(names(vec![field("a"), field("a")]), "there twice");
    refused(names(vec![field("")]), "no name");
    refused(names(vec![field("a\u{1b}[31m")]), "control characters");
    refused(names(vec![field("a\u{202e}b")]), "control characters");
    refused(names(vec![field(&"x".repeat(256))]), "bytes of a field name");
    refused(names((0..4097).map(|n| field(&n.to_string())).collect()), "columns: 4097");
    let mut deep = field("leaf");
    for level in 0..40 {
        deep = Field::new_list(format!("l{level}"), deep, true);
    }
    refused(names(vec![deep]), "nesting");
    refused(vec![0; 65 << 20], "bytes:");
    refused(Vec::new(), "ends before");

    let error = decode_schema_hostile(encode_batch(&one).unwrap(), &limits).unwrap_err().to_string();
    assert!(error.contains("there are rows"), "{error}");
}

#[test]
fn a_compressed_batch_is_refused() {
    // arrow-ipc is built without codecs here, so the flag is forged into a sound message.
    let mut builder = FlatBufferBuilder::new();
    let nodes = builder.create_vector(&[FieldNode::new(1, 0)]);
    let places = builder.create_vector(&[arrow_ipc::Buffer::new(0, 0), arrow_ipc::Buffer::new(0, 16)]);
    let codec = arrow_ipc::BodyCompressionBuilder::new(&mut builder).finish();
    let mut batch = RecordBatchBuilder::new(&mut builder);
    batch.add_length(1);
    batch.add_nodes(nodes);
    batch.add_buffers(places);
    batch.add_compression(codec);
    let batch = batch.finish().as_union_value();
    let mut message = MessageBuilder::new(&mut builder);
    message.add_version(MetadataVersion::V5);
    message.add_header_type(MessageHeader::RecordBatch);
    message.add_bodyLength(16);
    message.add_header(batch);
    let message = message.finish();
    builder.finish(message, None);
    let mut metadata = builder.finished_data().to_vec();
    metadata.resize(metadata.len().next_multiple_of(8), 0);
    let mut stream = encode_schema(&Schema::new(vec![Field::new("n", DataType::Int64, true)])).unwrap();
    stream.truncate(stream.len() - 8);
    stream.extend([0xff; 4]);
    stream.extend((metadata.len() as i32).to_le_bytes());
    stream.extend(metadata);
    stream.extend((1i64 << 40).to_le_bytes());
    stream.extend([0; 8]);
    stream.extend([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    let error = decode_hostile(stream, &Limits::DEFAULT, None).unwrap_err().to_string();
    assert!(error.contains("compressed"), "{error}");
}

#[test]
fn another_schema_than_agreed_is_named() {
    let batch = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]).unwrap();
    let bytes = encode_batch(&batch).unwrap();
    let check = |wanted: Field, text: &str| {
        let error = decode_hostile(bytes.clone(), &Limits::DEFAULT, Some(&Schema::new(vec![wanted]))).unwrap_err();
        assert!(matches!(error, WireError::Mismatch { .. }));
        assert_eq!(error.to_string(), text);
    };
    check(Field::new("n", DataType::Int32, false), "column `n`: expected `n` Int32 not null, found `n` Int64 not null");
    check(Field::new("m", DataType::Int64, false), "column `m`: expected `m` Int64 not null, found `n` Int64 not null");
    check(Field::new("n", DataType::Int64, true), "column `n`: expected `n` Int64, found `n` Int64 not null");
}

#[test]
fn views_cannot_multiply_bytes() {
    use arrow_array::StringViewArray;
    use arrow_array::builder::make_view;
    let text = vec![b'x'; 1 << 20];
    let view = make_view(&text, 0, 0);
    let buffer = arrow_buffer::Buffer::from_vec(text);
    let views = vec![view; 300];
    let array = StringViewArray::try_new(views.into(), vec![buffer], None).unwrap();
    let batch = RecordBatch::try_from_iter([("v", Arc::new(array) as ArrayRef)]).unwrap();
    let error = decode_hostile(encode_batch(&batch).unwrap(), &Limits::DEFAULT, None).unwrap_err().to_string();
    assert!(error.contains("decoded bytes"), "{error}");
}

#[test]
fn rows_without_columns_and_metadata() {
    let options = RecordBatchOptions::new().with_row_count(Some(7));
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
    assert_eq!(decode_hostile(encode_batch(&batch).unwrap(), &Limits::DEFAULT, None).unwrap().num_rows(), 7);
    let field =
        Field::new("t", DataType::Utf8, false).with_metadata([("PARQUET:field_id".to_owned(), "1".to_owned())].into());
    let batch = RecordBatch::try_new(
        Arc::new(Schema::new(vec![field, Field::new("x", DataType::Null, true)])),
        vec![Arc::new(StringArray::from(vec!["a", "b"])), Arc::new(NullArray::new(2))],
    )
    .unwrap();
    let decoded = decode_hostile(encode_batch(&batch).unwrap(), &Limits::DEFAULT, None).unwrap();
    assert!(decoded.schema_ref().field(0).metadata().is_empty());
}
