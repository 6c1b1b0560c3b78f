//! The page path against the parquet crate's own reader and Arrow's filter kernel, over every way in which that crate writes a file.

use super::convert::{Conversion, convert_chunk};
use super::decode::{ChunkDecoder, decode_chunk};
use super::scratch::Scratch;
use super::select::Routing;
use super::testing::Random;
use super::values::Kind;
use super::writer::EncodedChunk;
use super::{encode, materialise, new_column, verify_chunk};
use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, FixedSizeBinaryArray, Float32Array,
    Float64Array, Int16Array, Int32Array, Int64Array, LargeStringArray, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt32Array, UInt64Array,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrow_select::filter::filter_record_batch;
use bytes::Bytes;
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::{BrotliLevel, Compression, Encoding, GzipLevel, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::file::statistics::Statistics;
use parquet::file::writer::SerializedFileWriter;
use std::sync::Arc;

mod hostile;

/// Which rows of the generated columns are null.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Nulls {
    None,
    Some,
    All,
    /// Long stretches, as real files have them.
    Tail,
    /// None, and the column says so.
    Required,
}

/// One array of each type that the page path carries.
fn columns(random: &mut Random, rows: usize, nulls: Nulls, distinct: usize) -> Vec<ArrayRef> {
    let null: Vec<bool> = (0..rows)
        .map(|row| match nulls {
            Nulls::None | Nulls::Required => false,
            Nulls::Some => random.below(5) == 0,
            Nulls::All => true,
            Nulls::Tail => row > rows / 2,
        })
        .collect();
    let picks: Vec<u64> = (0..rows).map(|_| random.below(distinct) as u64).collect();
    fn pick<T>(null: &[bool], picks: &[u64], make: impl Fn(u64) -> T) -> Vec<Option<T>> {
        null.iter().zip(picks).map(|(null, pick)| (!null).then(|| make(*pick))).collect()
    }
    macro_rules! of {
        ($make:expr) => {
            pick(&null, &picks, $make)
        };
    }
    let word =
        |pick: u64| if pick.is_multiple_of(7) { String::new() } else { format!("wört-{}", pick.wrapping_mul(37)) };
    let decimal = |precision: u8| {
        let numbers = Decimal128Array::from(of!(|pick| i128::from(pick) * 7 - 900));
        Arc::new(numbers.with_precision_and_scale(precision, 2).unwrap()) as ArrayRef
    };
    let fixed = of!(|pick| pick.wrapping_mul(0x1234_5678_9abc).to_le_bytes());
    let double = |pick: u64| match pick % 11 {
        0 => f64::NAN,
        1 => -0.0,
        2 => 0.0,
        other => pick as f64 / other as f64,
    };
    vec![
        Arc::new(Int32Array::from(of!(|pick| pick as i32 - 50))),
        Arc::new(Int64Array::from(of!(|pick| (pick as i64).wrapping_mul(1 << 40)))),
        Arc::new(Float32Array::from(of!(|pick| pick as f32 * 0.5))),
        Arc::new(Float64Array::from(of!(double))),
        Arc::new(StringArray::from(of!(word))),
        Arc::new(LargeStringArray::from(of!(word))),
        Arc::new(BooleanArray::from(of!(|pick| pick % 3 == 0))),
        Arc::new(TimestampMicrosecondArray::from(of!(|pick| pick as i64 * 1_000_003))),
        Arc::new(Date32Array::from(of!(|pick| pick as i32))),
        Arc::new(Int16Array::from(of!(|pick| (pick as i16).wrapping_sub(9)))),
        Arc::new(UInt32Array::from(of!(|pick| u32::MAX - pick as u32))),
        Arc::new(UInt64Array::from(of!(|pick| u64::MAX - pick))),
        decimal(8),
        decimal(16),
        decimal(30),
        Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(fixed.into_iter(), 8).unwrap()),
    ]
}

fn batch(random: &mut Random, rows: usize, nulls: Nulls, distinct: usize) -> RecordBatch {
    let columns = columns(random, rows, nulls, distinct);
    let fields: Vec<Field> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| Field::new(format!("c{at}"), column.data_type().clone(), nulls != Nulls::Required))
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn write(batch: &RecordBatch, properties: WriterProperties) -> Bytes {
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    bytes.into()
}

fn open(file: &Bytes) -> ArrowReaderMetadata {
    ArrowReaderMetadata::load(file, ArrowReaderOptions::new().with_skip_arrow_metadata(true)).unwrap()
}

fn read(file: &Bytes, schema: &SchemaRef) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file.clone(), open(file)).build().unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    let read = match batches.first() {
        Some(first) => arrow_select::concat::concat_batches(&first.schema(), &batches).unwrap(),
        None => return RecordBatch::new_empty(schema.clone()),
    };
    let columns = read
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| arrow_cast::cast(column, field.data_type()).unwrap())
        .collect();
    RecordBatch::try_new(schema.clone(), columns).unwrap()
}

fn chunk_bytes(file: &Bytes, metadata: &ArrowReaderMetadata, group: usize, column: usize) -> Bytes {
    let (offset, len) = metadata.metadata().row_group(group).column(column).byte_range();
    file.slice(offset as usize..(offset + len) as usize)
}

/// Puts encoded chunks into a file, one row group for each entry.
fn assemble(groups: Vec<Vec<EncodedChunk>>, schema: &SchemaRef) -> Bytes {
    let parquet = ArrowSchemaConverter::new().convert(schema).unwrap();
    let mut writer =
        SerializedFileWriter::new(Vec::new(), parquet.root_schema_ptr(), Arc::new(WriterProperties::default()))
            .unwrap();
    for chunks in groups {
        let mut group = writer.next_row_group().unwrap();
        for (bytes, close) in chunks {
            group.append_column(&bytes, close).unwrap();
        }
        group.close().unwrap();
    }
    writer.into_inner().unwrap().into()
}

fn filtered(batch: &RecordBatch, codes: &[u16], wanted: u16) -> RecordBatch {
    let mask: BooleanArray = codes.iter().map(|code| Some(*code == wanted)).collect();
    filter_record_batch(batch, &mask).unwrap()
}

fn assert_same(found: &RecordBatch, wanted: &RecordBatch, what: &str) {
    assert_eq!(found.num_rows(), wanted.num_rows(), "{what}");
    for (at, (found, wanted)) in found.columns().iter().zip(wanted.columns()).enumerate() {
        assert_eq!(found, wanted, "{what}: column {at} {}", wanted.data_type());
    }
}

/// The statistics of every chunk against those that the parquet crate writes for the same rows.
fn assert_bounds(file: &Bytes, what: &str) {
    let metadata = open(file);
    let schema = metadata.schema().clone();
    let exact = WriterProperties::builder()
        .set_statistics_truncate_length(None)
        .set_max_row_group_row_count(Some(1 << 30))
        .build();
    for group in 0..metadata.metadata().num_row_groups() {
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file.clone(), metadata.clone());
        let batches: Vec<RecordBatch> =
            builder.with_row_groups(vec![group]).build().unwrap().map(Result::unwrap).collect();
        let rows = arrow_select::concat::concat_batches(&schema, &batches).unwrap();
        let again = open(&write(&rows, exact.clone()));
        for column in 0..schema.fields().len() {
            let bounds = |metadata: &ArrowReaderMetadata, group: usize| -> Option<Statistics> {
                metadata.metadata().row_group(group).column(column).statistics().cloned()
            };
            let (found, wanted) = (bounds(&metadata, group).unwrap(), bounds(&again, 0).unwrap());
            let parts = |s: &Statistics| {
                (s.min_bytes_opt().map(<[u8]>::to_vec), s.max_bytes_opt().map(<[u8]>::to_vec), s.null_count_opt())
            };
            assert_eq!(parts(&found), parts(&wanted), "{what}: statistics of column {column}");
        }
    }
}

fn layouts() -> Vec<(String, WriterProperties)> {
    let mut layouts = Vec::new();
    let codecs = [
        Compression::UNCOMPRESSED,
        Compression::ZSTD(ZstdLevel::try_new(1).unwrap()),
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
        Compression::BROTLI(BrotliLevel::default()),
    ];
    for (at, codec) in codecs.into_iter().enumerate() {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            let common = || {
                WriterProperties::builder()
                    .set_compression(codec)
                    .set_writer_version(version)
                    .set_data_page_row_count_limit(300)
                    .set_write_batch_size(100)
                    .set_max_row_group_row_count(Some(1100))
                    .set_statistics_enabled(EnabledStatistics::Page)
            };
            let name = format!("{codec:?} {version:?}");
            layouts.push((format!("{name} dictionary"), common().build()));
            layouts.push((
                format!("{name} plain"),
                common().set_dictionary_enabled(false).set_encoding(Encoding::PLAIN).build(),
            ));
            if at < 2 {
                layouts.push((format!("{name} fall-back"), common().set_dictionary_page_size_limit(600).build()));
                layouts.push((format!("{name} own choice"), common().set_dictionary_enabled(false).build()));
            }
        }
    }
    layouts
}

struct Case<'a> {
    file: &'a Bytes,
    metadata: ArrowReaderMetadata,
    scratch: Scratch,
}

impl Case<'_> {
    /// The page path for one column; `None`: it does not know it.
    fn column(
        &mut self,
        group: usize,
        column: usize,
        field: &Field,
        routing: &Routing,
        batch: &RecordBatch,
    ) -> Option<Vec<Option<EncodedChunk>>> {
        let metadata = self.metadata.metadata().clone();
        let chunk = metadata.row_group(group).column(column);
        let rows = metadata.row_group(group).num_rows() as usize;
        let bytes = chunk_bytes(self.file, &self.metadata, group, column);
        verify_chunk(bytes.clone(), chunk, rows, &mut self.scratch).unwrap();
        let target = ArrowSchemaConverter::new().convert(&Schema::new(vec![field.clone()])).unwrap().column(0);
        let (from_kind, to_kind) = (Kind::of(chunk.column_descr()).unwrap(), Kind::of(&target).unwrap());
        let from = self.metadata.schema().field(column).data_type().clone();
        let conversion = Conversion::try_new(from_kind, &from, to_kind, field.data_type())?;
        let utf8 = super::verify::is_text(chunk.column_descr());
        let decoded = decode_chunk(bytes.clone(), chunk, rows, utf8, &mut self.scratch).unwrap()?;
        let converted = convert_chunk(decoded, &conversion).unwrap();
        assert!(converted.failed_rows.is_none());
        let first = (0..group).map(|group| metadata.row_group(group).num_rows() as usize).sum::<usize>();
        for (start, end) in [(0, rows), (rows / 3, rows / 2), (rows, rows)] {
            let array = materialise::array(&converted.chunk, start..end, field.data_type()).unwrap();
            assert_eq!(
                &array,
                &batch.column(column).slice(first + start, end - start),
                "column {column}, rows {start}..{end}"
            );
        }
        if encode::keeps_dictionary(routing) {
            let mut decoder = ChunkDecoder::try_new(bytes, chunk, rows, utf8).unwrap().unwrap();
            let streamed =
                encode::transcode(&mut decoder, &conversion, routing, &target, 4096, &mut self.scratch, None)
                    .unwrap()
                    .unwrap();
            return Some(vec![Some(streamed)]);
        }
        Some(encode::encode_chunk(&converted.chunk, routing, &target, 4096, &mut self.scratch).unwrap())
    }
}

/// Filters and partitions a file by pages, and compares every row and every bound.
fn check_file(
    file: &Bytes,
    batch: &RecordBatch,
    random: &mut Random,
    partitions: usize,
    kept_of_ten: usize,
    what: &str,
) -> usize {
    let mut case = Case { file, metadata: open(file), scratch: Scratch::new(1).unwrap() };
    let metadata = case.metadata.metadata().clone();
    let codes: Vec<u16> = (0..batch.num_rows())
        .map(|_| if random.below(10) < kept_of_ten { 1 + random.below(partitions) as u16 } else { 0 })
        .collect();
    let mut groups: Vec<Vec<Vec<EncodedChunk>>> = (0..partitions).map(|_| Vec::new()).collect();
    let (mut first, mut unknown) = (0, 0);
    for group in 0..metadata.num_row_groups() {
        let rows = metadata.row_group(group).num_rows() as usize;
        let routing = Routing::new(codes[first..first + rows].to_vec(), partitions);
        let mut chunks: Vec<Vec<EncodedChunk>> = (0..partitions).map(|_| Vec::new()).collect();
        for (column, field) in batch.schema().fields().iter().enumerate() {
            let encoded = if routing.kept() == 0 {
                Some(vec![None; partitions])
            } else {
                case.column(group, column, field, &routing, batch)
            };
            let encoded = encoded.unwrap_or_else(|| {
                unknown += 1;
                let target =
                    ArrowSchemaConverter::new().convert(&Schema::new(vec![field.as_ref().clone()])).unwrap().column(0);
                let whole = batch.column(column).slice(first, rows);
                let slices: Vec<ArrayRef> =
                    (0..rows).step_by(97).map(|at| whole.slice(at, 97.min(rows - at))).collect();
                new_column::encode_arrays(&slices, &routing, &target, &mut case.scratch).unwrap().unwrap()
            });
            for (part, encoded) in chunks.iter_mut().zip(encoded) {
                part.extend(encoded);
            }
        }
        for (part, chunks) in groups.iter_mut().zip(chunks) {
            if !chunks.is_empty() {
                part.push(chunks);
            }
        }
        first += rows;
    }
    for (partition, groups) in groups.into_iter().enumerate() {
        let out = assemble(groups, &batch.schema());
        assert_same(&read(&out, &batch.schema()), &filtered(batch, &codes, partition as u16 + 1), what);
        assert_bounds(&out, what);
    }
    unknown
}

#[test]
fn every_layout_equals_the_filter_kernel() {
    let mut random = Random::new(2024);
    let mut unknown = 0;
    for (name, properties) in layouts() {
        for nulls in [Nulls::None, Nulls::Some, Nulls::All, Nulls::Tail, Nulls::Required] {
            let distinct = [1, 2, 40, 5000][random.below(4)];
            let batch = batch(&mut random, 2500, nulls, distinct);
            let file = write(&batch, properties.clone());
            let (partitions, kept) = [(1, 9), (1, 3), (1, 10), (4, 8), (31, 9), (1, 0)][random.below(6)];
            let what = format!("{name}, nulls {nulls:?}, {distinct} distinct, {partitions} partitions, {kept}/10 kept");
            unknown += check_file(&file, &batch, &mut random, partitions, kept, &what);
        }
    }
    assert!(unknown > 100, "DELTA and BYTE_STREAM_SPLIT columns take the other path: {unknown}");
}

#[test]
fn encodings_that_are_not_known_say_so() {
    let mut random = Random::new(4);
    let rows = batch(&mut random, 500, Nulls::Some, 100);
    let column = |at: usize| parquet::schema::types::ColumnPath::from(format!("c{at}"));
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_column_encoding(column(0), Encoding::DELTA_BINARY_PACKED)
        .set_column_encoding(column(1), Encoding::DELTA_BINARY_PACKED)
        .set_column_encoding(column(3), Encoding::BYTE_STREAM_SPLIT)
        .set_column_encoding(column(4), Encoding::DELTA_BYTE_ARRAY)
        .set_column_encoding(column(5), Encoding::DELTA_LENGTH_BYTE_ARRAY)
        .build();
    let file = write(&rows, properties);
    assert_eq!(check_file(&file, &rows, &mut random, 3, 8, "mixed encodings"), 5);
}

#[test]
fn casts_go_through_the_dictionary_and_name_the_rows_that_fail() {
    let mut scratch = Scratch::new(1).unwrap();
    let wide: Int64Array =
        (0..3000i64).map(|row| (row % 7 != 3).then_some(if row % 100 == 1 { 1 << 40 } else { row % 50 })).collect();
    let batch = RecordBatch::try_new(
        Arc::new(Schema::new(vec![Field::new("x", DataType::Int64, true)])),
        vec![Arc::new(wide.clone())],
    )
    .unwrap();
    for dictionary in [true, false] {
        let file = write(
            &batch,
            WriterProperties::builder().set_dictionary_enabled(dictionary).set_encoding(Encoding::PLAIN).build(),
        );
        let metadata = open(&file);
        let chunk = metadata.metadata().row_group(0).column(0);
        let bytes = chunk_bytes(&file, &metadata, 0, 0);
        let conversion = Conversion::try_new(Kind::Int64, &DataType::Int64, Kind::Int32, &DataType::Int32).unwrap();
        let decoded = decode_chunk(bytes.clone(), chunk, 3000, false, &mut scratch).unwrap().unwrap();
        let converted = convert_chunk(decoded, &conversion).unwrap();
        let failed = converted.failed_rows.unwrap();
        let wanted: Vec<u8> = wide.iter().map(|value| u8::from(value.is_some_and(|value| value > 100))).collect();
        assert_eq!(failed, wanted);
        let target = ArrowSchemaConverter::new()
            .convert(&Schema::new(vec![Field::new("x", DataType::Int32, true)]))
            .unwrap()
            .column(0);
        let codes: Vec<u16> = failed.iter().map(|failed| 1 - u16::from(*failed)).collect();
        let narrow: Int32Array = wide.iter().map(|value| value.and_then(|value| i32::try_from(value).ok())).collect();
        let schema = Arc::new(Schema::new(vec![Field::new("x", DataType::Int32, true)]));
        let narrow = filtered(&RecordBatch::try_new(schema.clone(), vec![Arc::new(narrow)]).unwrap(), &codes, 1);
        let routing = Routing::new(codes.clone(), 1);
        let mut decoder = ChunkDecoder::try_new(bytes.clone(), chunk, 3000, false).unwrap().unwrap();
        let streamed =
            encode::transcode(&mut decoder, &conversion, &routing, &target, 100, &mut scratch, None).unwrap().unwrap();
        assert_same(&read(&assemble(vec![vec![streamed]], &schema), &schema), &narrow, "streamed");
        let whole = encode::encode_chunk(&converted.chunk, &routing, &target, 100, &mut scratch).unwrap();
        assert_same(&read(&assemble(vec![whole.into_iter().flatten().collect()], &schema), &schema), &narrow, "whole");
        // A row that does not fit must not get through.
        let all = Routing::new(vec![1; 3000], 1);
        let mut decoder = ChunkDecoder::try_new(bytes, chunk, 3000, false).unwrap().unwrap();
        assert!(encode::transcode(&mut decoder, &conversion, &all, &target, 100, &mut scratch, None).is_err());
    }
}

#[test]
fn new_columns_read_back() {
    let mut random = Random::new(77);
    let mut scratch = Scratch::new(1).unwrap();
    for nulls in [Nulls::None, Nulls::Some, Nulls::All, Nulls::Tail] {
        for distinct in [1, 300, 100_000] {
            let rows = 12_000;
            let batch = batch(&mut random, rows, nulls, distinct);
            for partitions in [1, 5] {
                let codes: Vec<u16> = (0..rows).map(|_| random.below(partitions + 1) as u16).collect();
                let routing = Routing::new(codes.clone(), partitions);
                for (at, field) in batch.schema().fields().iter().enumerate() {
                    let schema = Arc::new(Schema::new(vec![field.as_ref().clone()]));
                    let target = ArrowSchemaConverter::new().convert(&schema).unwrap().column(0);
                    let slices: Vec<ArrayRef> =
                        (0..rows).step_by(5000).map(|row| batch.column(at).slice(row, 5000.min(rows - row))).collect();
                    let encoded = new_column::encode_arrays(&slices, &routing, &target, &mut scratch).unwrap().unwrap();
                    for (partition, encoded) in encoded.into_iter().enumerate() {
                        let file = assemble(vec![vec![encoded.unwrap()]], &schema);
                        let wanted = filtered(&batch.project(&[at]).unwrap(), &codes, partition as u16 + 1);
                        assert_same(&read(&file, &schema), &wanted, &format!("{nulls:?} {distinct} distinct"));
                        assert_bounds(&file, "new column");
                    }
                }
            }
        }
    }
}

#[test]
fn constants_read_back() {
    use crate::Constant;
    let mut scratch = Scratch::new(1).unwrap();
    let utc = DataType::Timestamp(arrow_schema::TimeUnit::Microsecond, Some("UTC".into()));
    let local = DataType::Timestamp(arrow_schema::TimeUnit::Microsecond, None);
    let rows = 100_000;
    let cases: [(Option<Constant>, ArrayRef, DataType); 5] = [
        (Some(Constant::Date(19_723)), Arc::new(Date32Array::from(vec![19_723; rows])), DataType::Date32),
        (Some(Constant::TimestampMicros(5)), Arc::new(TimestampMicrosecondArray::from(vec![5; rows])), local),
        (
            Some(Constant::TimestampMicrosUtc(5)),
            Arc::new(TimestampMicrosecondArray::from(vec![5; rows]).with_timezone("UTC")),
            utc,
        ),
        (
            Some(Constant::Utf8("green.parquet".into())),
            Arc::new(StringArray::from(vec!["green.parquet"; rows])),
            DataType::Utf8,
        ),
        (None, Arc::new(Int32Array::new_null(rows)), DataType::Int32),
    ];
    for (constant, wanted, data_type) in cases {
        let schema = Arc::new(Schema::new(vec![Field::new("x", data_type, true)]));
        let target = ArrowSchemaConverter::new().convert(&schema).unwrap().column(0);
        let (bytes, close) = super::constant::encode(constant.as_ref(), rows, &target, &mut scratch).unwrap();
        assert!(bytes.len() < 120, "{} bytes", bytes.len());
        let file = assemble(vec![vec![(bytes, close)]], &schema);
        let wanted = RecordBatch::try_new(schema.clone(), vec![wanted]).unwrap();
        assert_same(&read(&file, &schema), &wanted, "constant");
        assert_bounds(&file, "constant");
        assert!(
            super::constant::encode(Some(&Constant::Utf8("x".into())), 3, &target, &mut scratch).is_ok()
                == (target.physical_type() == parquet::basic::Type::BYTE_ARRAY)
        );
    }
    let required = Arc::new(Schema::new(vec![Field::new("x", DataType::Int32, false)]));
    let target = ArrowSchemaConverter::new().convert(&required).unwrap().column(0);
    assert!(super::constant::encode(None, 3, &target, &mut scratch).is_err());
}
