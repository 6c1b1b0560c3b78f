//! A warehouse in a temporary folder, loads of made-up rows, and ways to look at what they left.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};

use arrow_array::{Array, ArrayRef, Date32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use futures::TryStreamExt;
use iceberg::spec::ManifestStatus;
use lakehost_columnar::{PartitionField, PartitionValue, WrittenFile};
use lakehost_pipeline::ports::{
    CommitRequest, Committed, Lake, Load, Owner, PluginId, SourceObject, TableName, Target, WriteMode,
};
use lakehost_pipeline::{Fault, Granularity, WINDOW_COLUMN, Window};
use parquet::arrow::ArrowWriter;
use tokio::runtime::{Builder, Runtime};

mod postgres;
mod worlds;

pub use lakehost_server::{RestServer, Trouble};
pub use worlds::*;

use crate::commit::Manifests;
use crate::fail_point::FailPoints;
use crate::maintain::normal;
use crate::{
    CatalogOptions, IcebergLake, LakeOptions, PostgresOptions, Process, RestOptions, S3Options, S3Store, Store,
    TableState,
};

/// 2024-06-01, a second later at each look.
/// What all lakes take for the time, in milliseconds since 1970: a second later with each look.
pub static CLOCK: AtomicI64 = AtomicI64::new(1_717_200_000_000);
static RUNS: AtomicU32 = AtomicU32::new(0);

pub fn table() -> TableName {
    TableName::parse("raw.trips").unwrap()
}

pub fn month(label: &str) -> Window {
    Window::parse(Granularity::Month, label).unwrap()
}

/// Which catalog a world has.
#[derive(Debug)]
pub enum Place {
    Sqlite,
    Postgres(PostgresOptions),
    Rest(RestServer),
}

/// A warehouse and the runtime of its lakes.
pub struct World {
    pub folder: tempfile::TempDir,
    pub runtime: Runtime,
    pub place: Place,
    /// Where the warehouse is, when it is in a bucket.
    pub bucket: Option<(S3Options, String)>,
}

impl World {
    pub fn new() -> Self {
        Self::with(|_| Place::Sqlite)
    }

    pub fn with(place: impl FnOnce(&Path) -> Place) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = place(folder.path());
        Self {
            runtime: Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap(),
            folder,
            place,
            bucket: None,
        }
    }

    /// `postgres`, `rest on s3`: for figures.
    pub fn kind(&self) -> String {
        let catalog = match self.place {
            Place::Sqlite => "sqlite",
            Place::Postgres(_) => "postgres",
            Place::Rest(_) => "rest",
        };
        let store = if self.bucket.is_some() { " on s3" } else { "" };
        format!("{catalog}{store}")
    }

    /// The catalog in PyIceberg's words.
    pub fn for_pyiceberg(&self) -> serde_json::Value {
        let folder = self.folder.path().canonicalize().unwrap();
        let mut properties = match &self.place {
            Place::Sqlite => {
                let file = if self.bucket.is_some() { "catalog.db" } else { "warehouse/catalog.db" };
                serde_json::json!({ "name": "lakehost", "type": "sql", "uri": format!("sqlite:///{}", folder.join(file).display()) })
            }
            Place::Postgres(options) => {
                serde_json::json!({ "name": options.name, "type": "sql", "uri": options.url.expose() })
            }
            Place::Rest(server) => serde_json::json!({ "name": "lakehost", "type": "rest", "uri": server.url() }),
        };
        if let (Some((options, _)), Some(object)) = (&self.bucket, properties.as_object_mut()) {
            let plain =
                |secret: &Option<lakehost_pipeline::Secret>| secret.as_ref().unwrap().expose().to_owned().into();
            object.insert("s3.endpoint".to_owned(), options.endpoint.clone().into());
            object.insert("s3.region".to_owned(), options.region.clone().into());
            object.insert("s3.access-key-id".to_owned(), plain(&options.access_key));
            object.insert("s3.secret-access-key".to_owned(), plain(&options.secret_key));
        }
        properties
    }

    /// The catalog reads and writes metadata files with this process's eyes.
    pub fn has_files_of_its_own(&self) -> bool {
        !matches!(self.place, Place::Rest(_))
    }

    pub fn options(&self) -> LakeOptions {
        let catalog = match &self.place {
            Place::Sqlite if self.bucket.is_some() => {
                let file = self.folder.path().join("catalog.db");
                CatalogOptions::from_uri(file.to_str().unwrap(), "lakehost").unwrap()
            }
            Place::Sqlite => CatalogOptions::default(),
            Place::Postgres(options) => CatalogOptions::Postgres(options.clone()),
            Place::Rest(server) => {
                let uri = server.url().parse().unwrap();
                let timeout = std::time::Duration::from_secs(2);
                CatalogOptions::Rest(Box::new(RestOptions {
                    atomic_transactions: true,
                    timeout,
                    // The server is here: what it was sent it has.
                    late: std::time::Duration::ZERO,
                    ..RestOptions::new(uri)
                }))
            }
        };
        LakeOptions {
            durable: false,
            fail_points: FailPoints::default(),
            catalog,
            s3: self.bucket.as_ref().map(|(options, _)| options.clone()).unwrap_or_default(),
            ..LakeOptions::new(
                match &self.bucket {
                    Some((_, root)) => root.into(),
                    None => self.folder.path().join("warehouse"),
                },
                self.runtime.handle().clone(),
                Arc::new(|| CLOCK.fetch_add(1_000, Ordering::Relaxed)),
            )
        }
    }

    pub fn lake(&self) -> IcebergLake {
        IcebergLake::open(self.options()).unwrap()
    }

    /// A lake of a process that is no longer there, which stops at a fail point.
    pub fn doomed(&self, point: &str, nth: u32) -> IcebergLake {
        let current = Process::current();
        let process = Process { started: current.started.map(|ticks| ticks + 1), ..current };
        let options = LakeOptions { fail_points: FailPoints::failing(point, nth), process, ..self.options() };
        IcebergLake::open(options).unwrap()
    }

    /// Files of the warehouse, relative, without the catalog.
    pub fn files(&self) -> BTreeSet<String> {
        fn walk(root: &Path, folder: &Path, found: &mut BTreeSet<String>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(root, &path, found);
                } else {
                    found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        let mut found = BTreeSet::new();
        if let Some((options, root)) = &self.bucket {
            let mut visit = |file: crate::StoredFile| {
                found.insert(file.location.strip_prefix(&format!("{root}/")).unwrap().to_owned());
                std::ops::ControlFlow::Continue(())
            };
            S3Store::new(options.clone()).unwrap().walk(root, &mut visit).unwrap();
            return found;
        }
        let root = self.folder.path().canonicalize().unwrap().join("warehouse");
        walk(&root, &root, &mut found);
        found.retain(|name| !name.starts_with("catalog.db"));
        found
    }

    /// What is in memory of a table is what its metadata file says.
    pub fn check_metadata(&self, lake: &IcebergLake) {
        for name in lake.table_names(None).unwrap() {
            let state = lake.state(&name).unwrap();
            let read = iceberg::spec::TableMetadata::read_from(&lake.core.io, &state.metadata_location);
            assert_eq!(self.runtime.block_on(read).unwrap(), *state.metadata, "{name}");
        }
    }

    /// Every file there is belongs to the table, and every file of the table is there.
    pub fn check_no_orphans(&self, lake: &IcebergLake) {
        self.check_metadata(lake);
        assert_eq!(self.files(), self.known(lake));
    }

    /// Files that belong to no table.
    pub fn orphans(&self, lake: &IcebergLake) -> BTreeSet<String> {
        let known = self.known(lake);
        let files = self.files();
        assert!(known.is_subset(&files), "missing: {:?}", known.difference(&files));
        files.difference(&known).cloned().collect()
    }

    /// Files that tables refer to.
    fn known(&self, lake: &IcebergLake) -> BTreeSet<String> {
        let root = format!("{}/", lake.core.warehouse.root());
        let mut known = BTreeSet::new();
        for name in lake.table_names(None).unwrap() {
            let state = lake.state(&name).unwrap();
            known.insert(state.metadata_location.clone());
            known.extend(state.metadata.metadata_log().iter().map(|entry| entry.metadata_file.clone()));
            for snapshot in state.metadata.snapshots() {
                known.insert(snapshot.manifest_list().to_owned());
                let manifests = Manifests::new(lake.core.io.clone());
                for manifest in self.runtime.block_on(manifests.list(&state.metadata, Some(snapshot))).unwrap() {
                    known.insert(manifest.manifest_path.clone());
                    let loaded = self.runtime.block_on(manifests.load(&manifest)).unwrap();
                    // What a snapshot deleted is that of older ones, and goes with them.
                    for entry in loaded.entries().iter().filter(|entry| entry.is_alive()) {
                        known.insert(entry.file_path().to_owned());
                    }
                }
            }
        }
        known.iter().map(|path| normal(path).strip_prefix(&root).unwrap().to_owned()).collect()
    }
}

/// A load in the making.
#[derive(Clone)]
pub struct Job {
    pub target: Target,
    pub load_id: String,
    pub run_id: String,
    /// `id`s of its rows, one file for each list.
    pub files: Vec<Vec<i64>>,
}

impl Job {
    /// Replaces a month with rows of these ids, in one file.
    pub fn month(label: &str, ids: std::ops::Range<i64>) -> Self {
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        Self {
            target: Target {
                table: table(),
                schema: schema(),
                partition: Vec::new(),
                window: Some(month(label)),
                mode: WriteMode::ReplaceWindow,
                owner: Owner { owner: "tlc/trips".into(), granularity: Granularity::Month, cleaners: "-".into() },
                contract: Default::default(),
                renames: Vec::new(),
                key: Vec::new(),
                order: None,
                sort: Vec::new(),
            },
            load_id: format!("load-{run}"),
            run_id: format!("run-{run}"),
            files: vec![ids.collect()],
        }
    }

    pub fn mode(mut self, mode: WriteMode) -> Self {
        self.target.mode = mode;
        self
    }

    pub fn partition(mut self, column: &str, transform: lakehost_columnar::Transform) -> Self {
        self.target.partition = vec![PartitionField { column: column.to_owned(), transform }];
        self
    }

    pub fn begin(&self, lake: &IcebergLake) -> Result<Box<dyn Load>, Fault> {
        lake.begin(&self.target, &self.run_id)
    }

    /// Writes the files and asks for the commit.
    pub fn finish(&self, load: Box<dyn Load>) -> Result<Committed, Fault> {
        self.finish_timed(load, &mut 0.0)
    }

    /// The same, with the milliseconds of the commit alone.
    pub fn finish_timed(&self, load: Box<dyn Load>, commit_ms: &mut f64) -> Result<Committed, Fault> {
        let Some(request) = self.request(load.as_ref()) else {
            std::mem::forget(load);
            return Err(crate::Error::FailPoint("file").into());
        };
        let start = std::time::Instant::now();
        let ended = load.commit(request);
        *commit_ms = start.elapsed().as_secs_f64() * 1e3;
        ended
    }

    /// Writes the files; what the commit is told. `None`: the process stopped at a fail point.
    pub fn request(&self, load: &dyn Load) -> Option<CommitRequest> {
        let partitioned = !load.partition().is_empty();
        let mut files = Vec::new();
        for ids in &self.files {
            match write(load, self.target.window.as_ref(), ids, partitioned) {
                Ok(file) => files.push(file),
                Err(error) => {
                    // What a killed process would not do: the lake is told by the error that it may not.
                    assert!(error.to_string().contains("fail point"), "{error}");
                    return None;
                }
            }
        }
        let rows = files.iter().map(|file| file.rows).sum::<u64>();
        Some(CommitRequest {
            load_id: self.load_id.clone(),
            run_id: self.run_id.clone(),
            objects: vec![SourceObject {
                split: "s".into(),
                identity: None,
                url: "https://example.com/a.parquet".into(),
                etag: None,
                length: 1,
                sha256: "00".repeat(32),
                raw: None,
            }],
            plugins: vec![PluginId { name: "tlc".into(), version: "0.1.0".into(), sha256: "11".repeat(32) }],
            config_sha256: "22".repeat(32),
            rows_read: rows + 1,
            rows_written: rows,
            rows_rejected: 1,
            rejected_by: [("rule".to_owned(), 1)].into(),
            files,
            ..CommitRequest::default()
        })
    }

    pub fn run(&self, lake: &IcebergLake) -> Result<Committed, Fault> {
        self.finish(self.begin(lake)?)
    }

    /// The snapshot that must have landed.
    pub fn land(&self, lake: &IcebergLake) -> i64 {
        match self.run(lake).unwrap() {
            Committed::Landed { snapshot_id, .. } => snapshot_id,
            Committed::AlreadyLoaded { .. } => panic!("already loaded"),
        }
    }
}

pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new(WINDOW_COLUMN, DataType::Date32, true),
    ]))
}

fn write(load: &dyn Load, window: Option<&Window>, ids: &[i64], partitioned: bool) -> std::io::Result<WrittenFile> {
    let columns: Vec<ArrayRef> = load
        .schema()
        .fields()
        .iter()
        .map(|field| -> ArrayRef {
            match field.name().as_str() {
                "id" => Arc::new(Int64Array::from_iter_values(ids.iter().copied())),
                "name" => Arc::new(StringArray::from_iter_values(ids.iter().map(|id| format!("name {id}")))),
                "at" => {
                    Arc::new(TimestampMicrosecondArray::from_iter(ids.iter().map(|id| (id % 7 != 0).then_some(*id))))
                }
                _ => Arc::new(Date32Array::from_iter(ids.iter().map(|_| window.map(Window::start_days)))),
            }
        })
        .collect();
    let batch = RecordBatch::try_new(Arc::clone(load.schema()), columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, Arc::clone(load.schema()), None).unwrap();
    writer.write(&batch).unwrap();
    let footer = writer.finish().unwrap();
    drop(writer);
    let (location, mut sink) = load.sinks().create()?;
    sink.write_all(&bytes)?;
    sink.finish()?;
    // The only further field in these tests is identity(id): all rows of a file then have one id.
    let partition = if partitioned { vec![PartitionValue::Long(ids[0])] } else { Vec::new() };
    let rows = ids.len() as u64;
    Ok(WrittenFile { location, size_bytes: bytes.len() as u64, footer: Arc::new(footer), partition, rows })
}

/// Window label by month start, and how many rows a scan of the present table finds there; ids must not repeat.
pub fn rows(world: &World, lake: &IcebergLake) -> BTreeMap<String, usize> {
    rows_of(world, &lake.open_table(&table()).unwrap())
}

/// The same of a table at hand.
pub fn rows_of(world: &World, opened: &iceberg::table::Table) -> BTreeMap<String, usize> {
    let batches: Vec<RecordBatch> = world
        .runtime
        .block_on(async { opened.scan().select(["id", WINDOW_COLUMN]).build()?.to_arrow().await?.try_collect().await })
        .unwrap();
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for batch in batches {
        let ids = batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
        let windows = batch.column(1).as_any().downcast_ref::<Date32Array>().unwrap();
        for row in 0..batch.num_rows() {
            assert!(seen.insert((windows.value(row), ids.value(row))), "row {} is there twice", ids.value(row));
            let label = if windows.is_null(row) {
                "none".to_owned()
            } else {
                windows.value_as_date(row).unwrap().format("%Y-%m").to_string()
            };
            *found.entry(label).or_default() += 1;
        }
    }
    found
}

/// Entries of the head's manifests: status, rows, whether the snapshot is the head.
pub fn entries(world: &World, lake: &IcebergLake, state: &TableState) -> Vec<(ManifestStatus, u64, bool, Option<i64>)> {
    let manifests = Manifests::new(lake.core.io.clone());
    let head = state.main().unwrap();
    let mut found = Vec::new();
    for manifest in world.runtime.block_on(manifests.list(&state.metadata, Some(head))).unwrap() {
        for entry in world.runtime.block_on(manifests.load(&manifest)).unwrap().entries() {
            found.push((
                entry.status(),
                entry.record_count(),
                entry.snapshot_id() == Some(head.snapshot_id()),
                entry.sequence_number(),
            ));
        }
    }
    found.sort_by_key(|(status, rows, ..)| (*status as i32, *rows));
    found
}

/// A counter of the head's summary.
pub fn counter(state: &TableState, name: &str) -> Option<u64> {
    state.main()?.summary().additional_properties.get(name)?.parse().ok()
}

/// Sets its flag at the end of its scope, however that comes.
pub struct Ended<'a>(pub &'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
