//! The table side alone, for `cargo xtask bench tables`: grows tables, and times commits and merges in a process of their own.
//!
//! ```text
//! table_jobs grow   WAREHOUSE SNAPSHOTS FILES ROWS   a month a snapshot, each with FILES files of ROWS rows
//! table_jobs again  WAREHOUSE SNAPSHOTS FILES ROWS   the same month with every snapshot, which replaces the files of the one before
//! table_jobs keyed  WAREHOUSE FILES ROWS             one snapshot without a window, ids from 0
//! table_jobs commit WAREHOUSE LOAD FILES ROWS        one month more, the LOADth from 0
//! table_jobs merge  WAREHOUSE PARQUET                the rows of a Parquet file, by key `id`
//! table_jobs rows   PARQUET KEYS OF                  such a file: KEYS rows, every other one with an id below OF, spread evenly over them
//! ```
//!
//! Every verb prints one JSON object. Rows are made up: an id that counts up, a name, a time, an amount.

use std::error::Error;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use arrow_array::{
    ArrayRef, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use lakehost_columnar::WrittenFile;
use lakehost_lake::{IcebergLake, LakeOptions};
use lakehost_pipeline::ports::{CommitRequest, Committed, Lake, Load, Owner, TableName, Target, WriteMode};
use lakehost_pipeline::{Granularity, WINDOW_COLUMN, Window};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The month of the first snapshot is January of this year.
const FIRST_YEAR: usize = 1950;

#[expect(clippy::print_stdout, reason = "what it measured is its answer")]
fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let said = match words.as_slice() {
        [verb @ ("grow" | "again"), warehouse, snapshots, files, rows] => {
            let jobs = Jobs::open(warehouse)?;
            let (snapshots, files, rows) = (snapshots.parse()?, files.parse()?, rows.parse()?);
            let month = |load: usize| if *verb == "grow" { load } else { 0 };
            let said: Result<Vec<Value>> =
                (0..snapshots).map(|load| jobs.month(month(load), load, files, rows)).collect();
            json!(said?.last())
        }
        ["keyed", warehouse, files, rows] => Jobs::open(warehouse)?.keyed(files.parse()?, rows.parse()?)?,
        ["commit", warehouse, load, files, rows] => {
            let load = load.parse()?;
            Jobs::open(warehouse)?.month(load, load, files.parse()?, rows.parse()?)?
        }
        ["merge", warehouse, file] => Jobs::open(warehouse)?.merge(file)?,
        ["rows", file, keys, of] => changes(file, keys.parse()?, of.parse()?)?,
        _ => return Err("see the first lines of host/lake/examples/table_jobs.rs".into()),
    };
    println!("{said}");
    Ok(())
}

/// A lake and the threads that it runs on.
struct Jobs {
    lake: IcebergLake,
    _runtime: Runtime,
}

impl Jobs {
    fn open(warehouse: &str) -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let now = || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        };
        let options = LakeOptions::new(PathBuf::from(warehouse), runtime.handle().clone(), Arc::new(now));
        // As the command line has it, unless somebody wants to know what the disk's own time is.
        let options = LakeOptions { durable: std::env::var_os("NOT_DURABLE").is_none(), ..options };
        Ok(Self { lake: IcebergLake::open(options)?, _runtime: runtime })
    }

    /// Loads a month, the `load`th time that this table is loaded.
    fn month(&self, number: usize, load: usize, files: usize, rows: usize) -> Result<Value> {
        let label = format!("{:04}-{:02}", FIRST_YEAR + number / 12, 1 + number % 12);
        let window = Window::parse(Granularity::Month, &label)?;
        let days = window.start_days();
        self.land(&target(WriteMode::ReplaceWindow, Some(window)), load, |load| {
            let first = number * files * rows;
            (0..files).map(|file| write(load, &counted(load.schema(), first + file * rows, rows, days)?)).collect()
        })
    }

    /// Adds files that belong to no window.
    fn keyed(&self, files: usize, rows: usize) -> Result<Value> {
        self.land(&target(WriteMode::Append, None), 0, |load| {
            (0..files).map(|file| write(load, &counted(load.schema(), file * rows, rows, 0)?)).collect()
        })
    }

    /// Merges the rows of a file.
    fn merge(&self, file: &str) -> Result<Value> {
        let target = Target { key: vec!["id".to_owned()], ..target(WriteMode::Merge, None) };
        self.land(&target, 1, |load| {
            let reader =
                ParquetRecordBatchReaderBuilder::try_new(File::open(file)?)?.with_batch_size(1 << 20).build()?;
            reader
                .map(|batch| write(load, &RecordBatch::try_new(load.schema().clone(), batch?.columns().to_vec())?))
                .collect()
        })
    }

    /// One load: milliseconds of its begin and of its commit, its data files set aside, and what its snapshot says.
    fn land(
        &self,
        target: &Target,
        number: usize,
        files: impl FnOnce(&dyn Load) -> Result<Vec<WrittenFile>>,
    ) -> Result<Value> {
        let begun = Instant::now();
        let run_id = uuid::Uuid::new_v4().to_string();
        let load = self.lake.begin(target, &run_id)?;
        let begin_ms = milliseconds(begun);
        let files = files(load.as_ref())?;
        let rows = files.iter().map(|file| file.rows).sum();
        let request = CommitRequest {
            load_id: format!("load-{number}"),
            run_id,
            config_sha256: "22".repeat(32),
            rows_read: rows,
            rows_written: rows,
            files,
            ..CommitRequest::default()
        };
        let begun = Instant::now();
        let Committed::Landed { snapshot_id, .. } = load.commit(request)? else {
            return Err("this was loaded before".into());
        };
        let commit_ms = milliseconds(begun);
        let snapshots = self.lake.snapshots(&target.table)?;
        let ours = snapshots.iter().find(|snapshot| snapshot.snapshot_id == snapshot_id);
        Ok(json!({
            "begin_ms": begin_ms,
            "commit_ms": commit_ms,
            "snapshots": snapshots.len(),
            "rows": ours.and_then(|snapshot| snapshot.rows),
            "files": ours.and_then(|snapshot| snapshot.files),
        }))
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn target(mode: WriteMode, window: Option<Window>) -> Target {
    let mut fields = vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("amount", DataType::Float64, true),
    ];
    let granularity = if window.is_some() { Granularity::Month } else { Granularity::None };
    if window.is_some() {
        fields.push(Field::new(WINDOW_COLUMN, DataType::Date32, true));
    }
    Target {
        table: TableName { namespace: "raw".to_owned(), name: "events".to_owned() },
        schema: Arc::new(Schema::new(fields)),
        partition: Vec::new(),
        window,
        mode,
        owner: Owner { owner: "bench/events".to_owned(), granularity, cleaners: "-".to_owned() },
        contract: Default::default(),
        renames: Vec::new(),
        key: Vec::new(),
        order: None,
        sort: Vec::new(),
    }
}

/// Rows with ids from `first` on.
fn counted(schema: &SchemaRef, first: usize, rows: usize, window_days: i32) -> Result<RecordBatch> {
    let ids = i64::try_from(first)?..i64::try_from(first + rows)?;
    made_up(schema, &ids.collect::<Vec<_>>(), "event", window_days)
}

fn made_up(schema: &SchemaRef, ids: &[i64], word: &str, window_days: i32) -> Result<RecordBatch> {
    // Cheap and without order, so that columns do not shrink to nothing.
    let mixed = |id: i64| id.wrapping_mul(0x1E37_79B9_7F4A_7C15).rotate_left(17);
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        let ids = ids.iter().copied();
        match field.name().as_str() {
            "id" => Arc::new(Int64Array::from_iter_values(ids)),
            "name" => Arc::new(StringArray::from_iter_values(ids.map(|id| format!("{word} {}", mixed(id) & 0xF_FFFF)))),
            "at" => {
                Arc::new(TimestampMicrosecondArray::from_iter_values(ids.map(|id| (1_700_000_000 + id) * 1_000_000)))
            }
            "amount" => Arc::new(Float64Array::from_iter_values(ids.map(|id| (mixed(id) & 0xFFFF) as f64 / 100.0))),
            _ => Arc::new(Date32Array::from_iter_values(ids.map(|_| window_days))),
        }
    });
    Ok(RecordBatch::try_new(Arc::clone(schema), columns.collect())?)
}

/// A file of changed and of new rows, half of each, in no order.
fn changes(file: &str, keys: usize, of: usize) -> Result<Value> {
    let (keys, of) = (i64::try_from(keys)?, i64::try_from(of)?);
    let step = (of / (keys / 2).max(1)).max(1);
    let mut ids: Vec<i64> = (0..keys).map(|at| if at % 2 == 0 { at / 2 * step } else { of + at / 2 }).collect();
    ids.sort_unstable_by_key(|id| id.wrapping_mul(0x1E37_79B9_7F4A_7C15));
    let batch = made_up(&target(WriteMode::Merge, None).schema, &ids, "changed", 0)?;
    let footer = parquet(&batch, File::create(file)?)?;
    Ok(json!({ "rows": footer.file_metadata().num_rows() }))
}

fn parquet(batch: &RecordBatch, to: impl std::io::Write + Send) -> Result<ParquetMetaData> {
    let level = Compression::ZSTD(ZstdLevel::try_new(1)?);
    let properties = WriterProperties::builder().set_compression(level).build();
    let mut writer = ArrowWriter::try_new(to, batch.schema(), Some(properties))?;
    writer.write(batch)?;
    Ok(writer.finish()?)
}

/// A data file of the load.
fn write(load: &dyn Load, batch: &RecordBatch) -> Result<WrittenFile> {
    let mut bytes = Vec::new();
    let footer = parquet(batch, &mut bytes)?;
    let (location, mut sink) = load.sinks().create()?;
    sink.write_all(&bytes)?;
    sink.finish()?;
    let (size_bytes, rows) = (bytes.len() as u64, batch.num_rows() as u64);
    Ok(WrittenFile { location, size_bytes, footer: Arc::new(footer), partition: Vec::new(), rows })
}
