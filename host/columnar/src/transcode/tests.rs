//! The Arrow path against what arrow's own kernels say, and the page path against the Arrow path.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, BooleanArray, Float64Array, RecordBatch};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataWriter};
use parquet::file::properties::WriterVersion;

use super::*;
use crate::mapping::{ColumnMap, Projection, Unlisted};
use crate::observer::NoObserver;
use crate::output::{PartitionField, PartitionValue, Transform};
use crate::steps::BoxError;
use crate::testing::{MemorySinks, file_of, opened, read_back, sample, sample_file};

fn table(fields: &[(&str, DataType)], constants: Vec<(&str, Constant)>) -> OutputSchema {
    let fields: Vec<Field> = fields
        .iter()
        .enumerate()
        .map(|(index, (name, kind))| {
            let id = HashMap::from([("PARQUET:field_id".to_owned(), (index + 1).to_string())]);
            Field::new(*name, kind.clone(), true).with_metadata(id)
        })
        .collect();
    let constants = constants.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    OutputSchema { schema: Arc::new(Schema::new(fields)), constants }
}

fn micros() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

/// All columns of the sample, a narrowed `id`, a derived `half`, and constants.
fn sample_table() -> OutputSchema {
    table(
        &[
            ("id", DataType::Int32),
            ("kind", DataType::Int32),
            ("amount", DataType::Float64),
            ("flag", DataType::Boolean),
            ("name", DataType::Utf8),
            ("day", DataType::Date32),
            ("at", micros()),
            ("half", DataType::Float64),
            ("absent", DataType::Int64),
            ("_lakehost_window", DataType::Date32),
            ("source_file", DataType::Utf8),
        ],
        vec![
            ("_lakehost_window", Constant::Date(19_723)),
            ("source_file", Constant::Utf8("sample.parquet".to_owned())),
        ],
    )
}

/// Rejects null kinds (code 2) and every fifth id (code 3); adds `half`.
struct Halve {
    reads: Vec<String>,
    writes: Vec<FieldRef>,
}

impl Halve {
    fn new() -> Self {
        Self {
            reads: ["id", "kind", "amount"].map(str::to_owned).to_vec(),
            writes: vec![Arc::new(Field::new("half", DataType::Float64, true))],
        }
    }
}

impl RowStep for Halve {
    fn reads(&self) -> &[String] {
        &self.reads
    }

    fn writes(&self) -> &[FieldRef] {
        &self.writes
    }

    fn apply(
        &self,
        batch: &RecordBatch,
        _first_row: u64,
        rejected: &mut [u16],
    ) -> std::result::Result<Vec<ArrayRef>, BoxError> {
        let kind = batch.column(1).as_primitive::<Int32Type>();
        let amount = batch.column(2).as_primitive::<Float64Type>();
        let id = batch.column(0);
        for (row, code) in rejected.iter_mut().enumerate().filter(|(_, code)| **code == 0) {
            let fifth = match id.data_type() {
                DataType::Int64 => id.as_primitive::<Int64Type>().value(row) % 5 == 0,
                _ => id.as_primitive::<Int32Type>().value(row) % 5 == 0,
            };
            *code = if kind.is_null(row) {
                2
            } else if fifth {
                3
            } else {
                0
            };
        }
        let half: Float64Array = amount.iter().map(|amount| amount.map(|amount| amount / 2.0)).collect();
        Ok(vec![Arc::new(half)])
    }

    fn cast_rule(&self, _column: &str) -> u16 {
        9
    }
}

struct Run {
    outcome: Outcome,
    sinks: MemorySinks,
}

impl Run {
    fn of(
        rows: Rows,
        output: &OutputSchema,
        options: &WriteOptions,
        step: Option<&dyn RowStep>,
        path: Path,
    ) -> Result<Self> {
        let sinks = MemorySinks::default();
        let rejects = None;
        let run = Transcoder { output, options, step, sinks: &sinks, observer: &NoObserver, path, rejects };
        let outcome = run.run(rows)?;
        Ok(Self { outcome, sinks })
    }

    /// Rows by partition.
    fn partitions(&self) -> Vec<(Vec<PartitionValue>, RecordBatch)> {
        let mut parts: Vec<(Vec<PartitionValue>, RecordBatch)> = Vec::new();
        for file in &self.outcome.files {
            let bytes = self.sinks.bytes(&file.location);
            assert_eq!(bytes.len() as u64, file.size_bytes);
            let batch = read_back(bytes);
            assert_eq!(batch.num_rows() as u64, file.rows);
            match parts.iter_mut().find(|(values, _)| *values == file.partition) {
                Some((_, all)) => *all = arrow_select::concat::concat_batches(&all.schema(), [&*all, &batch]).unwrap(),
                None => parts.push((file.partition.clone(), batch)),
            }
        }
        parts
    }
}

fn scan(bytes: bytes::Bytes, schema: Option<SchemaRef>) -> ParquetScan {
    let projection =
        schema.map(|schema| Projection { schema, columns: Vec::new(), unlisted: Unlisted::Refuse, batch_rows: 0 });
    ParquetScan::try_new(opened(bytes), projection.as_ref()).unwrap()
}

#[test]
fn kept_rows_arrive_in_order_with_constants_and_derived_columns() {
    let source = sample(5_000);
    let bytes = file_of(
        &source,
        parquet::file::properties::WriterProperties::builder().set_max_row_group_row_count(Some(1_999)).build(),
    );
    for threads in [1, 3] {
        let options = WriteOptions { threads, ..WriteOptions::default() };
        let run =
            Run::of(Rows::Scan(scan(bytes.clone(), None)), &sample_table(), &options, Some(&Halve::new()), Path::Arrow)
                .unwrap();
        let keep: BooleanArray = (0..5_000).map(|row| Some(row % 7 != 0 && row % 5 != 0)).collect();
        let expected = arrow_select::filter::filter_record_batch(&source, &keep).unwrap();
        let [(_, found)] = run.partitions().try_into().unwrap();
        assert_eq!(found.num_rows(), expected.num_rows());
        for column in ["kind", "amount", "flag", "name", "day", "at"] {
            assert_eq!(found.column_by_name(column), expected.column_by_name(column), "{column}");
        }
        let ids: Vec<i32> = expected["id"].as_primitive::<Int64Type>().values().iter().map(|id| *id as i32).collect();
        assert_eq!(found["id"].as_primitive::<Int32Type>().values(), ids.as_slice());
        assert!(
            found["_lakehost_window"]
                .as_primitive::<arrow_array::types::Date32Type>()
                .values()
                .iter()
                .all(|day| *day == 19_723)
        );
        assert_eq!(found["source_file"].as_string::<i32>().value(0), "sample.parquet");
        assert_eq!(found["absent"].null_count(), found.num_rows());
        assert_eq!(found["half"].as_primitive::<Float64Type>().value(0), 0.125);
        assert_eq!(run.outcome.rows_read, 5_000);
        assert_eq!(run.outcome.rejected, BTreeMap::from([(2, 715), (3, 857)]));
        let footer = &run.outcome.files[0].footer;
        assert!(footer.file_metadata().key_value_metadata().is_none(), "no Arrow schema");
        let ids: Vec<i32> =
            footer.file_metadata().schema().get_fields().iter().map(|field| field.get_basic_info().id()).collect();
        assert_eq!(ids, (1..=11).collect::<Vec<_>>());
        let at = footer.row_group(0).column(6);
        assert!(at.dictionary_page_offset().is_none(), "timestamps are plain");
    }
}

/// A file of four rows, and a table that the second's id and the last's amount do not fit.
fn unfit() -> (bytes::Bytes, OutputSchema) {
    let batch = RecordBatch::try_from_iter([
        ("id", Arc::new(arrow_array::Int64Array::from(vec![Some(1), Some(1 << 40), None, Some(4)])) as ArrayRef),
        ("amount", Arc::new(Float64Array::from(vec![1.0, 2.0, 3.0, 4.5])) as ArrayRef),
    ])
    .unwrap();
    let bytes = file_of(&batch, parquet::file::properties::WriterProperties::default());
    let output = table(&[("id", DataType::Int32), ("amount", DataType::Int64)], Vec::new());
    (bytes, output)
}

#[test]
fn a_value_that_does_not_fit_rejects_its_row_and_only_that() {
    let (bytes, output) = unfit();
    // Cast by the promise of the source, and by the table alone: the same.
    for promised in [Some(output.schema.clone()), None] {
        for path in [Path::Arrow, Path::Auto] {
            let rows = Rows::Scan(scan(bytes.clone(), promised.clone()));
            let run = Run::of(rows, &output, &WriteOptions::default(), None, path).unwrap();
            let [(_, found)] = run.partitions().try_into().unwrap();
            assert_eq!(found["id"].as_primitive::<Int32Type>().iter().collect::<Vec<_>>(), [Some(1), None], "{path:?}");
            assert_eq!(run.outcome.rejected, BTreeMap::from([(CAST_CODE, 2)]), "{path:?}");
        }
    }
}

#[test]
fn partitions_roll_over_and_a_small_budget_only_makes_smaller_row_groups() {
    let bytes = sample_file(20_000, |properties| properties.set_max_row_group_row_count(Some(6_000)));
    let partition = vec![PartitionField { column: "day".to_owned(), transform: Transform::Truncate(1) }];
    let refused = WriteOptions { partition, ..WriteOptions::default() };
    let rows = || Rows::Scan(scan(bytes.clone(), None));
    assert!(matches!(Run::of(rows(), &sample_table(), &refused, None, Path::Arrow), Err(Error::Unsupported { .. })));

    let partition = vec![
        PartitionField { column: "at".to_owned(), transform: Transform::Day },
        PartitionField { column: "kind".to_owned(), transform: Transform::Bucket(3) },
    ];
    let base = WriteOptions { partition, ..WriteOptions::default() };
    let reference = Run::of(rows(), &sample_table(), &base, Some(&Halve::new()), Path::Arrow).unwrap();
    let parts = reference.partitions();
    assert_eq!(parts.iter().map(|(_, rows)| rows.num_rows() as u64).sum::<u64>(), reference.outcome.rows_written);
    assert!(parts.len() > 20, "{}", parts.len());
    let variants = [
        WriteOptions { row_group_rows: 97, ..base.clone() },
        WriteOptions { memory_bytes: 1 << 20, ..base.clone() },
        WriteOptions { target_file_bytes: 1, row_group_rows: 200, ..base.clone() },
        WriteOptions { threads: 5, ..base.clone() },
    ];
    for options in variants {
        let run = Run::of(rows(), &sample_table(), &options, Some(&Halve::new()), Path::Arrow).unwrap();
        assert_eq!(run.partitions(), parts, "{options:?}");
        assert_eq!(run.outcome.files.len() > parts.len(), options.target_file_bytes == 1);
    }
}

#[test]
fn the_page_path_writes_what_the_arrow_path_writes() {
    let zstd = Compression::ZSTD(ZstdLevel::default());
    let files = [
        sample_file(70_000, |properties| properties.set_compression(zstd)),
        sample_file(70_000, |properties| properties.set_compression(Compression::SNAPPY).set_dictionary_enabled(false)),
        sample_file(9_000, |properties| properties.set_writer_version(WriterVersion::PARQUET_2_0)),
        sample_file(9_000, |properties| {
            properties.set_compression(Compression::GZIP(Default::default())).set_data_page_row_count_limit(100)
        }),
        sample_file(0, |properties| properties),
    ];
    let day = vec![PartitionField { column: "at".to_owned(), transform: Transform::Day }];
    for (index, bytes) in files.iter().enumerate() {
        for partition in [Vec::new(), day.clone()] {
            for step in [None, Some(&Halve::new() as &dyn RowStep)] {
                let options = WriteOptions { partition: partition.clone(), threads: 2, ..WriteOptions::default() };
                let run = |path| {
                    Run::of(Rows::Scan(scan(bytes.clone(), None)), &sample_table(), &options, step, path).unwrap()
                };
                let (arrow, pages) = (run(Path::Arrow), run(Path::Auto));
                assert_eq!(arrow.outcome.rejected, pages.outcome.rejected, "file {index}");
                assert_eq!(arrow.outcome.rows_written, pages.outcome.rows_written, "file {index}");
                assert_eq!(arrow.partitions(), pages.partitions(), "file {index}");
                if index == 0 {
                    assert!(pages.outcome.page_path_columns >= 6, "{}", pages.outcome.page_path_columns);
                }
            }
        }
    }
}

struct Two(Vec<RecordBatch>);

impl BatchSource for Two {
    fn schema(&self) -> SchemaRef {
        sample(0).schema()
    }

    fn next(&mut self) -> std::result::Result<Option<RecordBatch>, BoxError> {
        Ok(self.0.pop())
    }
}

#[test]
fn batches_take_the_arrow_path() {
    let rows = Rows::Batches(Box::new(Two(vec![sample(70_000), sample(10), sample(0)])));
    let run = Run::of(rows, &sample_table(), &WriteOptions::default(), Some(&Halve::new()), Path::Auto).unwrap();
    assert_eq!(run.outcome.rows_read, 70_010);
    assert_eq!(run.outcome.arrow_path_columns, 8);
}

#[test]
fn a_column_that_cannot_come_from_anywhere_is_named_before_the_first_row() {
    let bytes = sample_file(10, |properties| properties);
    let run = |output: OutputSchema| {
        Run::of(Rows::Scan(scan(bytes.clone(), None)), &output, &WriteOptions::default(), None, Path::Auto)
            .map(|run| run.outcome)
    };
    let error = run(table(&[("name", DataType::Int32)], Vec::new())).unwrap_err();
    assert_eq!(error.to_string(), "column name cannot become Int32 exactly: it is Utf8");
    let error = run(table(&[("day", DataType::Date32)], vec![("day", Constant::Date(1))])).unwrap_err();
    assert!(error.to_string().contains("a column day of its own"), "{error}");
    let mut output = table(&[("missing", DataType::Int32)], Vec::new());
    output.schema = Arc::new(Schema::new(vec![Field::new("missing", DataType::Int32, false)]));
    assert!(matches!(run(output).unwrap_err(), Error::MissingColumn { .. }));
}

#[test]
fn a_row_that_claims_more_than_any_memory_is_refused() {
    let bytes = sample_file(1, |properties| properties);
    let file = opened(bytes.clone());
    let group = &file.metadata().row_groups()[0];
    let claimed = |chunk: &ColumnChunkMetaData| {
        chunk.clone().into_builder().set_total_uncompressed_size(i64::MAX).build().unwrap()
    };
    let group = group.clone().into_builder().set_column_metadata(group.columns().iter().map(claimed).collect());
    let metadata = ParquetMetaData::new(file.metadata().file_metadata().clone(), vec![group.build().unwrap()]);
    let mut forged = bytes[..file.body_bytes() as usize].to_vec();
    ParquetMetaDataWriter::new(&mut forged, &metadata).finish().unwrap();
    let rows = Rows::Scan(scan(forged.into(), None));
    let run = Run::of(rows, &sample_table(), &WriteOptions::default(), None, Path::Auto);
    assert!(matches!(run.map(|run| run.outcome), Err(Error::MemoryBudget { .. })));
}

#[test]
fn nested_columns_pass_through_arrow() {
    let list = arrow_array::ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
    ]);
    let batch = RecordBatch::try_from_iter([("list", Arc::new(list) as ArrayRef)]).unwrap();
    let bytes = file_of(&batch, parquet::file::properties::WriterProperties::default());
    let output = OutputSchema { schema: opened(bytes.clone()).arrow_schema().clone(), constants: Vec::new() };
    let run = Run::of(Rows::Scan(scan(bytes, None)), &output, &WriteOptions::default(), None, Path::Auto).unwrap();
    let [(_, found)] = run.partitions().try_into().unwrap();
    assert_eq!(found["list"].as_list::<i32>().value(0).len(), 2);
    assert_eq!(found["list"].null_count(), 1);
}

#[test]
fn renamed_optional_and_unlisted_columns_are_mapped() {
    let bytes = sample_file(10, |properties| properties);
    let map = |upstream: &[&str], name: &str, optional| ColumnMap {
        upstream: upstream.iter().map(|name| (*name).to_owned()).collect(),
        name: name.to_owned(),
        optional,
    };
    let schema = Arc::new(Schema::new(vec![
        Field::new("trip", DataType::Int64, true),
        Field::new("fee", DataType::Float64, true),
    ]));
    let mut projection = Projection {
        schema,
        columns: vec![map(&["Trip", "id", "kind"], "trip", false), map(&["fee"], "fee", true)],
        unlisted: Unlisted::Pass,
        batch_rows: 0,
    };
    let scan = ParquetScan::try_new(opened(bytes.clone()), Some(&projection)).unwrap();
    let names: Vec<&str> = scan.schema().fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["trip", "fee", "kind", "amount", "flag", "name", "day", "at"]);
    let decoded = scan.read_group(0, &["fee".to_owned(), "trip".to_owned()]).unwrap();
    assert_eq!((decoded.batch.num_rows(), decoded.batch["fee"].null_count()), (10, 10));
    assert_eq!(decoded.batch["trip"].as_primitive::<Int64Type>().value(9), 9);
    assert_eq!(scan.read_group(0, &["fee".to_owned()]).unwrap().batch.num_rows(), 10);

    projection.unlisted = Unlisted::Refuse;
    let error = ParquetScan::try_new(opened(bytes.clone()), Some(&projection)).unwrap_err();
    assert_eq!(error.to_string(), "sample.parquet has a column kind that the source does not list");
    projection.columns[1].optional = false;
    let error = ParquetScan::try_new(opened(bytes), Some(&projection)).unwrap_err();
    assert_eq!(error.to_string(), "sample.parquet has no column fee (looked for: fee)");
}

#[path = "rejects_tests.rs"]
mod dropped;
