//! The page path against the Arrow path: the same files row by row, the same counts, whatever the source looks like.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, FieldRef, Schema, TimeUnit};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder, WriterVersion};
use parquet::schema::types::ColumnPath;

use super::super::{Path, RejectSink, Rows, Transcoder};
use crate::error::Error;
use crate::mapping::{ColumnMap, ParquetScan, Projection, Unlisted};
use crate::observer::{Mark, NoObserver, Observer, Stage};
use crate::output::{Constant, OutputSchema, PartitionField, PartitionValue, Transform, WriteOptions};
use crate::page::testing::Random;
use crate::steps::{BoxError, RowStep};
use crate::testing::{MemorySinks, file_of, opened, read_back};

/// Rows with a wide integer, of which one in `bad` does not fit 32 bits.
fn source(rows: usize, bad: usize, random: &mut Random) -> RecordBatch {
    let null = |random: &mut Random| random.below(9) == 0;
    let mut of = |make: &mut dyn FnMut(usize, &mut Random) -> ArrayRef| make(rows, random);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", of(&mut |rows, _| Arc::new((0..rows as i64).map(Some).collect::<Int64Array>()))),
        (
            "wide",
            of(&mut |rows, random| {
                let value =
                    |row: usize, random: &mut Random| if row % bad == 1 { 1 << 33 } else { random.below(300) as i64 };
                Arc::new((0..rows).map(|row| (!null(random)).then(|| value(row, random))).collect::<Int64Array>())
            }),
        ),
        (
            "money",
            of(&mut |rows, random| {
                Arc::new(
                    (0..rows)
                        .map(|_| (!null(random)).then(|| random.below(4000) as f64 / 100.0 - 2.0))
                        .collect::<Float64Array>(),
                )
            }),
        ),
        (
            "unique",
            of(&mut |rows, random| Arc::new((0..rows).map(|_| Some(random.next() as f64)).collect::<Float64Array>())),
        ),
        (
            "word",
            of(&mut |rows, random| {
                Arc::new(
                    (0..rows)
                        .map(|_| (!null(random)).then(|| format!("w{}", random.below(700))))
                        .collect::<StringArray>(),
                )
            }),
        ),
        (
            "at",
            of(&mut |rows, random| {
                let day = 86_400_000_000i64;
                let at = |row: usize, random: &mut Random| {
                    row as i64 * 7 * day / rows.max(1) as i64 + random.below(1 << 30) as i64
                };
                Arc::new((0..rows).map(|row| Some(at(row, random))).collect::<TimestampMicrosecondArray>())
            }),
        ),
        (
            "spare",
            of(&mut |rows, random| Arc::new((0..rows).map(|_| Some(random.below(3) as i64)).collect::<Int64Array>())),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

/// Columns that stand in the same order in the source and in the table.
const CARRIED: [(&str, DataType); 6] = [
    ("wide", DataType::Int32),
    ("money", DataType::Float64),
    ("unique", DataType::Float64),
    ("word", DataType::Utf8),
    ("at", DataType::Timestamp(TimeUnit::Microsecond, None)),
    ("fee", DataType::Float64),
];

/// What the source promises: `wide` in 32 bits, the rest as it is.
fn projection() -> Projection {
    let fields = [("id", DataType::Int64)].into_iter().chain(CARRIED);
    let schema = Schema::new(fields.map(|(name, kind)| Field::new(name, kind, true)).collect::<Vec<_>>());
    let fee = ColumnMap { upstream: Vec::new(), name: "fee".into(), optional: true };
    Projection { schema: Arc::new(schema), columns: vec![fee], unlisted: Unlisted::Pass, batch_rows: 0 }
}

fn output(with_step: bool) -> OutputSchema {
    let mut fields = vec![("_lakehost_window", DataType::Date32)];
    fields.extend(CARRIED);
    fields.extend([("nobody", DataType::Utf8), ("id", DataType::Int64), ("source_file", DataType::Utf8)]);
    if with_step {
        fields.insert(4, ("twice", DataType::Float64));
    }
    let fields = fields.into_iter().enumerate().map(|(at, (name, kind))| {
        Field::new(name, kind, true).with_metadata([("PARQUET:field_id".to_owned(), (at + 1).to_string())].into())
    });
    let constants = vec![
        ("_lakehost_window".to_owned(), Constant::Date(19_723)),
        ("source_file".to_owned(), Constant::Utf8("sample.parquet".into())),
    ];
    OutputSchema { schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())), constants }
}

/// Drops negative money (2) and every `drop`th id (3); doubles the money and rewrites the words.
struct Cleaner {
    reads: Vec<String>,
    writes: Vec<FieldRef>,
    drop: i64,
    calls: AtomicUsize,
    fail_at: usize,
}

impl Cleaner {
    fn new(drop: i64) -> Self {
        Self {
            reads: vec!["money".into(), "id".into(), "word".into()],
            writes: vec![
                Arc::new(Field::new("twice", DataType::Float64, true)),
                Arc::new(Field::new("word", DataType::Utf8, true)),
            ],
            drop,
            calls: AtomicUsize::new(0),
            fail_at: usize::MAX,
        }
    }
}

impl RowStep for Cleaner {
    fn reads(&self) -> &[String] {
        &self.reads
    }

    fn writes(&self) -> &[FieldRef] {
        &self.writes
    }

    fn apply(&self, batch: &RecordBatch, first_row: u64, rejected: &mut [u16]) -> Result<Vec<ArrayRef>, BoxError> {
        match self.calls.fetch_add(1, Ordering::Relaxed) {
            call if call == self.fail_at => return Err("the cleaner gave up".into()),
            call if call > self.fail_at => panic!("the cleaner fell over"),
            _ => {}
        }
        let money = batch.column(0).as_primitive::<arrow_array::types::Float64Type>();
        let id = batch.column(1).as_primitive::<Int64Type>();
        let word = batch.column(2).as_string::<i32>();
        assert_eq!(id.value(0), first_row as i64);
        for (row, code) in rejected.iter_mut().enumerate().filter(|(_, code)| **code == 0) {
            if money.is_valid(row) && money.value(row) < 0.0 {
                *code = 2;
            } else if id.value(row) % self.drop == 0 {
                *code = 3;
            }
        }
        let twice: Float64Array = money.iter().map(|money| money.map(|money| money * 2.0)).collect();
        let words: StringArray = word.iter().map(|word| word.map(|word| word.to_uppercase())).collect();
        Ok(vec![Arc::new(twice), Arc::new(words)])
    }

    fn cast_rule(&self, _column: &str) -> u16 {
        9
    }
}

struct Ran {
    files: Vec<(Vec<PartitionValue>, RecordBatch)>,
    rejected: BTreeMap<u16, u64>,
    rows: (u64, u64),
    columns: (usize, usize),
}

fn run(
    batch: &RecordBatch,
    properties: &WriterProperties,
    step: Option<&dyn RowStep>,
    options: &WriteOptions,
    path: Path,
) -> Result<Ran, Error> {
    let sinks = MemorySinks::default();
    let output = output(step.is_some());
    let scan = ParquetScan::try_new(opened(file_of(batch, properties.clone())), Some(&projection()))?;
    let transcoder =
        Transcoder { output: &output, options, step, sinks: &sinks, observer: &NoObserver, path, rejects: None };
    let outcome = transcoder.run(Rows::Scan(scan))?;
    let files = outcome.files.iter().map(|file| (file.partition.clone(), read_back(sinks.bytes(&file.location))));
    Ok(Ran {
        files: files.collect(),
        rejected: outcome.rejected,
        rows: (outcome.rows_read, outcome.rows_written),
        columns: (outcome.page_path_columns, outcome.arrow_path_columns),
    })
}

fn properties(change: impl FnOnce(WriterPropertiesBuilder) -> WriterPropertiesBuilder) -> WriterProperties {
    let zstd = Compression::ZSTD(ZstdLevel::try_new(1).unwrap());
    change(WriterProperties::builder().set_compression(zstd).set_max_row_group_row_count(Some(75_000))).build()
}

fn by_day() -> Vec<PartitionField> {
    vec![PartitionField { column: "at".into(), transform: Transform::Day }]
}

#[test]
fn both_paths_write_the_same() {
    let mut random = Random::new(1);
    let plain = |builder: WriterPropertiesBuilder| builder.set_dictionary_enabled(false).set_encoding(Encoding::PLAIN);
    let v2 = |builder: WriterPropertiesBuilder| builder.set_writer_version(WriterVersion::PARQUET_2_0);
    let mixed = |builder: WriterPropertiesBuilder| {
        let column = |name: &str| ColumnPath::from(name);
        let builder = builder
            .set_column_dictionary_enabled(column("id"), false)
            .set_column_dictionary_enabled(column("at"), false);
        let builder = builder.set_column_encoding(column("id"), Encoding::DELTA_BINARY_PACKED);
        builder.set_column_encoding(column("at"), Encoding::DELTA_BINARY_PACKED)
    };
    let layouts = [
        ("dictionary", properties(|builder| builder)),
        ("plain", properties(plain)),
        ("version 2", properties(v2)),
        ("some unknown", properties(mixed)),
        (
            "snappy",
            properties(|builder| builder.set_compression(Compression::SNAPPY).set_dictionary_page_size_limit(9000)),
        ),
    ];
    let batch = source(150_000, 1000, &mut random);
    for (name, properties) in layouts {
        for (partition, drop, threads) in [(Vec::new(), 50, 3), (by_day(), 50, 1), (Vec::new(), 1, 1), (by_day(), 2, 3)]
        {
            let options = WriteOptions { partition: partition.clone(), threads, ..WriteOptions::default() };
            let cleaner = Cleaner::new(drop);
            for step in [Some(&cleaner as &dyn RowStep), None] {
                let what =
                    format!("{name}, {} partition fields, {threads} threads, step {}", partition.len(), step.is_some());
                let wanted = run(&batch, &properties, step, &options, Path::Arrow).unwrap();
                let found = run(&batch, &properties, step, &options, Path::Auto).unwrap();
                assert!(found.columns.0 > 0, "{what}: takes the page path");
                assert_eq!((found.rows, &found.rejected), (wanted.rows, &wanted.rejected), "{what}");
                let partitions =
                    |ran: &Ran| ran.files.iter().map(|(partition, _)| partition.clone()).collect::<Vec<_>>();
                assert_eq!(partitions(&found), partitions(&wanted), "{what}");
                for ((partition, found), (_, wanted)) in found.files.iter().zip(&wanted.files) {
                    assert_eq!(found, wanted, "{what}: partition {partition:?}");
                }
            }
        }
    }
}

#[test]
fn columns_are_counted_by_path() {
    let batch = source(70_000, 1000, &mut Random::new(2));
    let options = WriteOptions::default();
    let delta = properties(|builder| {
        let id = ColumnPath::from("id");
        builder.set_column_dictionary_enabled(id.clone(), false).set_column_encoding(id, Encoding::DELTA_BINARY_PACKED)
    });
    let cleaner = Cleaner::new(50);
    // wide, money, unique, at, fee by pages; id by Arrow; twice and word new.
    assert_eq!(run(&batch, &delta, Some(&cleaner), &options, Path::Auto).unwrap().columns, (5, 3));
    assert_eq!(run(&batch, &properties(|builder| builder), None, &options, Path::Auto).unwrap().columns, (7, 0));
}

#[test]
fn an_error_or_a_panic_in_one_worker_ends_the_run() {
    let batch = source(150_000, 1000, &mut Random::new(3));
    for (fail_at, said) in [(0, "the cleaner gave up"), (1, "the cleaner gave up")] {
        let cleaner = Cleaner { fail_at, ..Cleaner::new(50) };
        let error = run(&batch, &properties(|builder| builder), Some(&cleaner), &WriteOptions::default(), Path::Auto);
        let said_so = error.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(said_so.contains(said) || said_so.contains("fell over"), "{said_so}");
    }
}

#[test]
fn a_cancelled_run_ends() {
    struct Impatient(AtomicUsize);
    impl Observer for Impatient {
        fn enter(&self, _stage: Stage) -> Mark {
            self.0.fetch_add(1, Ordering::Relaxed);
            Mark::default()
        }
        fn leave(&self, _stage: Stage, _mark: Mark) {}
        fn cancelled(&self) -> bool {
            self.0.load(Ordering::Relaxed) > 3
        }
    }
    let batch = source(150_000, 1000, &mut Random::new(4));
    let scan =
        ParquetScan::try_new(opened(file_of(&batch, properties(|builder| builder))), Some(&projection())).unwrap();
    let (output, sinks, options) = (output(false), MemorySinks::default(), WriteOptions::default());
    let observer = Impatient(AtomicUsize::new(0));
    let transcoder = Transcoder {
        output: &output,
        options: &options,
        step: None,
        sinks: &sinks,
        observer: &observer,
        path: Path::Auto,
        rejects: None,
    };
    assert!(matches!(transcoder.run(Rows::Scan(scan)), Err(Error::Cancelled)));
    assert!(sinks.files().is_empty());
}

/// Takes dropped rows and looks at all of their values.
struct Nobody;

impl RejectSink for Nobody {
    fn take(&self, _: u64, rows: &[u32], _: &[u16], columns: RecordBatch) -> crate::error::Result<()> {
        assert_eq!(rows.len(), columns.num_rows());
        columns.columns().iter().for_each(|column| column.to_data().validate_full().unwrap());
        Ok(())
    }
}

#[test]
fn damaged_files_are_errors() {
    let mut random = Random::new(5);
    let batch = source(70_000, 1000, &mut random);
    let file = file_of(&batch, properties(|builder| builder));
    let footer = u32::from_le_bytes(file[file.len() - 8..file.len() - 4].try_into().unwrap()) as usize + 8;
    let (output, options) = (output(true), WriteOptions { partition: by_day(), ..WriteOptions::default() });
    let mut refused = 0;
    for _ in 0..150 {
        let mut bytes = file.to_vec();
        for _ in 0..4 {
            let at = random.below(bytes.len() - footer);
            bytes[at] = random.next() as u8;
        }
        let cleaner = Cleaner::new(50);
        let sinks = MemorySinks::default();
        let scan = ParquetScan::try_new(opened(bytes), Some(&projection())).unwrap();
        let transcoder = Transcoder {
            output: &output,
            options: &options,
            step: Some(&cleaner),
            sinks: &sinks,
            observer: &NoObserver,
            path: Path::Auto,
            rejects: Some(&Nobody),
        };
        if let Err(error) = transcoder.run(Rows::Scan(scan)) {
            assert!(!error.to_string().is_empty());
            refused += 1;
        }
    }
    assert!(refused > 20, "{refused} refused");
}
