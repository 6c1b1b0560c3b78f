//! Whole runs in memory: what the pipeline decides, without a file, a component or a clock.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use lakehost_columnar::{
    BatchSource, BoxError, ByteSource, FileSink, Mark, MemoryBytes, Observer, PartitionField, Rows, SinkFactory, Stage,
    Verify,
};

use super::{Ports, run};
use crate::checks::{Check, CheckOutcome};
use crate::codes;
use crate::contract::Contract;
use crate::diagnostic::{Code, Diagnostic, Fault};
use crate::plan::Plan;
use crate::ports::*;
use crate::report::{Meter, RunReport};
use crate::window::{Granularity, Window};

/// Upstream: window label → rows and a version. Absent: not published. No version: no split at all.
type Upstream = BTreeMap<&'static str, (Vec<i64>, Option<&'static str>)>;

#[derive(Debug, thiserror::Error)]
#[error("not there yet")]
struct NotYet;
impl Diagnostic for NotYet {
    fn code(&self) -> Code {
        codes::SOURCE_NOT_PUBLISHED
    }
}

struct MemorySource {
    id: PluginId,
    spec: SourceSpec,
    upstream: Upstream,
    /// Its rows have this column too, with the row's number as text where the row is even.
    extra: Option<&'static str>,
    opened: u32,
}

struct OneBatch(Option<RecordBatch>, SchemaRef);
impl BatchSource for OneBatch {
    fn schema(&self) -> SchemaRef {
        self.1.clone()
    }
    fn next(&mut self) -> Result<Option<RecordBatch>, BoxError> {
        Ok(self.0.take())
    }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]))
}

impl Source for MemorySource {
    fn plugin(&self) -> &PluginId {
        &self.id
    }
    fn spec(&self) -> &SourceSpec {
        &self.spec
    }
    fn discover(&mut self) -> Result<Vec<Dataset>, Fault> {
        let default_table = TableName::parse("raw.memory").unwrap();
        let (key, cursor, time_zone) = (vec![], None, None);
        Ok(vec![Dataset { name: "memory".to_owned(), default_table, schema: schema(), key, cursor, time_zone }])
    }
    fn plan(&mut self, _dataset: &str, window: Option<&Window>, _state: Option<&str>) -> Result<Vec<Split>, Fault> {
        let label = window.unwrap().label();
        let (rows, version) = self.upstream.get(label).ok_or(NotYet)?;
        Ok(version
            .iter()
            .map(|version| Split {
                id: label.to_owned(),
                description: "{}".to_owned(),
                identity: Some((*version).to_owned()),
                bytes: Some(rows.len() as u64 * 8),
            })
            .collect())
    }
    fn open(&mut self, split: &Split) -> Result<Rows, Fault> {
        self.opened += 1;
        let values = self.upstream[split.id.as_str()].0.clone();
        let mut columns: Vec<(&str, ArrayRef, bool)> = Vec::new();
        if let Some(extra) = self.extra {
            let text = values.iter().map(|value| (value % 2 == 0).then(|| value.to_string()));
            columns.push((extra, Arc::new(text.collect::<StringArray>()), true));
        }
        columns.insert(0, ("n", Arc::new(Int64Array::from(values)), true));
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let schema = batch.schema();
        Ok(Rows::Batches(Box::new(OneBatch(Some(batch), schema))))
    }
    fn contents(&mut self, _split: &Split) -> Result<Vec<Arc<dyn ByteSource>>, Fault> {
        Ok(vec![Arc::new(MemoryBytes::new("memory", bytes::Bytes::from_static(b"x")))])
    }
    fn objects(&mut self, split: &Split) -> Result<Vec<SourceObject>, Fault> {
        let (rows, version) = &self.upstream[split.id.as_str()];
        Ok(vec![SourceObject {
            split: split.id.clone(),
            identity: version.map(str::to_owned),
            url: "memory:".to_owned(),
            etag: None,
            length: 1,
            sha256: crate::sha256_hex(format!("{rows:?}").as_bytes()),
            raw: None,
        }])
    }
}

#[derive(Clone, Default)]
struct MemoryLake {
    loads: Arc<Mutex<BTreeMap<String, LoadRecord>>>,
    abandoned: Arc<Mutex<u32>>,
    /// Rows of the table of rejected rows, published or not.
    rejected: Arc<Mutex<Vec<RecordBatch>>>,
    /// Rows that are too many for memory have a place.
    spools: bool,
    /// Branch → load id.
    branches: Arc<Mutex<BTreeMap<String, String>>>,
    /// Source files have a place.
    keeps_raw: bool,
    /// What the commits recorded of checks.
    checked: Arc<Mutex<Vec<String>>>,
}
struct MemoryLoad {
    window: String,
    schema: SchemaRef,
    lake: MemoryLake,
    settled: bool,
}
impl Drop for MemoryLoad {
    fn drop(&mut self) {
        *self.lake.abandoned.lock().unwrap() += u32::from(!self.settled);
    }
}
struct MemoryRejects(MemoryLake);
impl RejectWriter for MemoryRejects {
    fn write(&self, batch: &RecordBatch) -> Result<(), Fault> {
        self.0.rejected.lock().unwrap().push(batch.clone());
        Ok(())
    }
}
struct Nowhere;
impl Write for Nowhere {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
impl FileSink for Nowhere {
    fn finish(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}
impl SinkFactory for Nowhere {
    fn create(&self) -> io::Result<(String, Box<dyn FileSink>)> {
        Ok(("/nowhere".to_owned(), Box::new(Nowhere)))
    }
}

impl Lake for MemoryLake {
    fn table(&self, _name: &TableName) -> Result<Option<TableInfo>, Fault> {
        Ok(None)
    }
    fn last_load(&self, _name: &TableName, window_key: &str) -> Result<Option<LoadRecord>, Fault> {
        Ok(self.loads.lock().unwrap().get(window_key).cloned())
    }
    fn begin(&self, target: &Target, _run_id: &str) -> Result<Box<dyn Load>, Fault> {
        let fields: Vec<_> = (target.schema.fields().iter().zip(1..))
            .map(|(field, id): (_, i32)| {
                let metadata = [("PARQUET:field_id".to_owned(), id.to_string())];
                field.as_ref().clone().with_metadata(metadata.into())
            })
            .collect();
        Ok(Box::new(MemoryLoad {
            window: target.window.as_ref().unwrap().key().to_owned(),
            schema: Arc::new(Schema::new(fields)),
            lake: self.clone(),
            settled: false,
        }))
    }
}

impl Load for MemoryLoad {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }
    fn partition(&self) -> &[PartitionField] {
        &[]
    }
    fn sinks(&self) -> Arc<dyn SinkFactory> {
        Arc::new(Nowhere)
    }
    fn keep_raw(&self, object: &SourceObject, bytes: &dyn ByteSource) -> Result<String, Fault> {
        if !self.lake.keeps_raw {
            return Err(crate::Error::LakeUnable { detail: "no place".to_owned() }.into());
        }
        Ok(format!("kept {}", String::from_utf8_lossy(&bytes.read_at(0, object.length as usize).unwrap())))
    }
    fn commit(mut self: Box<Self>, request: CommitRequest) -> Result<Committed, Fault> {
        self.settled = true;
        let mut loads = self.lake.loads.lock().unwrap();
        self.lake.checked.lock().unwrap().push(crate::checks::summary(&request.checks));
        let snapshot_id = loads.values().map(|load| load.snapshot_id).max().unwrap_or(0) + 1;
        let record = LoadRecord {
            load_id: request.load_id,
            snapshot_id,
            state: LoadState::Present,
            objects: request.objects,
            plugins: "memory@1=00".to_owned(),
        };
        loads.insert(self.window.clone(), record);
        Ok(Committed::Landed { snapshot_id, attempts: 1, merged: None })
    }
    fn evolve(&mut self, found: &Schema, _file: &str) -> Result<(), Fault> {
        let mut fields: Vec<_> = self.schema.fields().iter().cloned().collect();
        let new = found.fields().iter().filter(|field| self.schema.field_with_name(field.name()).is_err());
        for (field, id) in new.zip(fields.len() + 1..) {
            let metadata = [("PARQUET:field_id".to_owned(), id.to_string())];
            fields.push(Arc::new(field.as_ref().clone().with_metadata(metadata.into())));
        }
        self.schema = Arc::new(Schema::new(fields));
        Ok(())
    }
    fn spool_rejects(&mut self) -> Option<Arc<dyn RejectWriter>> {
        self.lake.spools.then(|| Arc::new(MemoryRejects(self.lake.clone())) as Arc<dyn RejectWriter>)
    }
    fn rejects(&mut self) -> Result<Arc<dyn RejectWriter>, Fault> {
        Ok(Arc::new(MemoryRejects(self.lake.clone())))
    }
    fn prepare(&mut self, request: &CommitRequest) -> Result<Staged, Fault> {
        let table = TableName::parse("raw.memory").unwrap();
        Ok(Staged { table, snapshot_id: 7, handle: Arc::new(request.rows_written) })
    }
    fn quarantine(mut self: Box<Self>, request: CommitRequest, branch: &str) -> Result<i64, Fault> {
        self.settled = true;
        self.lake.branches.lock().unwrap().insert(branch.to_owned(), request.load_id);
        Ok(7)
    }
}

struct StoppedClock;
impl Observer for StoppedClock {
    fn enter(&self, _stage: Stage) -> Mark {
        Mark { wall_ns: 0, cpu_ns: 0 }
    }
    fn leave(&self, _stage: Stage, _mark: Mark) {}
}
impl Meter for StoppedClock {
    fn now_ms(&self) -> i64 {
        0
    }
    fn window_begins(&self, _label: &str) {}
    fn window_holds(&self, _bytes: u64) {}
    fn window_ends(&self) -> (Vec<(Stage, Mark)>, u64) {
        (vec![], 0)
    }
    fn peak_rss_bytes(&self) -> Option<u64> {
        None
    }
}

struct World {
    source: MemorySource,
    cleaners: Vec<Box<dyn Cleaner>>,
    lake: MemoryLake,
    plan: Plan,
    /// What the checker finds, when it is asked.
    outcomes: Vec<CheckOutcome>,
}

/// Finds what it was told to, in a snapshot that is staged.
struct Oracle(Vec<CheckOutcome>);
impl Checker for Oracle {
    fn check(&self, staged: &Staged, _: Option<&Window>, checks: &[Check]) -> Result<Vec<CheckOutcome>, Fault> {
        assert_eq!((staged.snapshot_id, checks.len()), (7, self.0.len()));
        assert!(staged.handle.downcast_ref::<u64>().is_some());
        Ok(self.0.clone())
    }
}

fn world(windows: &str) -> World {
    let windows = Window::parse_range(Granularity::Month, windows).unwrap();
    World {
        source: MemorySource {
            id: PluginId { name: "memory".to_owned(), version: "1".to_owned(), sha256: String::new() },
            spec: SourceSpec {
                description: String::new(),
                config_schema: serde_json::json!({}),
                granularity: Granularity::Month,
            },
            upstream: BTreeMap::new(),
            extra: None,
            opened: 0,
        },
        cleaners: Vec::new(),
        outcomes: Vec::new(),
        lake: MemoryLake::default(),
        plan: Plan {
            run_id: "run".to_owned(),
            pipeline: None,
            windows: windows.into_iter().map(Some).collect(),
            table: None,
            mode: None,
            key: Vec::new(),
            order_by: None,
            sort: Vec::new(),
            partition: vec![],
            verify: Verify::Pages,
            metadata_columns: false,
            allow_empty: false,
            only_missing: false,
            raw_landing: false,
            run_branch: None,
            keep_going: false,
            force: false,
            dry_run: false,
            max_rejected: None,
            contract: Contract::default(),
            renames: Vec::new(),
            checks: Vec::new(),
            quarantine: false,
            memory_bytes: 1 << 29,
            threads: 2,
            reference_path: false,
            source_identity: "{}".to_owned(),
            config_sha256: String::new(),
            config: String::new(),
        },
    }
}

impl World {
    fn run(&mut self) -> RunReport {
        let oracle = Oracle(self.outcomes.clone());
        let ports = Ports {
            source: &mut self.source,
            cleaners: &self.cleaners,
            lake: &self.lake,
            meter: &StoppedClock,
            checks: Some(&oracle),
        };
        run(&self.plan, ports).unwrap()
    }
    /// Statuses, and how often a split was opened so far.
    fn check(&mut self, expected: &str, opened: u32) -> RunReport {
        let report = self.run();
        let text = |value: serde_json::Value| value.as_str().unwrap().to_owned();
        let got: Vec<String> =
            report.windows.iter().map(|window| text(serde_json::to_value(window.status).unwrap())).collect();
        assert_eq!(got.join(" "), expected, "{report:#?}");
        assert_eq!(self.source.opened, opened, "splits opened");
        report
    }
}

#[test]
fn a_loaded_window_is_not_opened_again() {
    let mut world = world("2024-01");
    world.source.upstream.insert("2024-01", (vec![1, 2, 3], Some("v1")));
    let report = world.check("loaded", 1);
    assert_eq!((report.totals.rows_read, report.totals.rows_written), (3, 3));
    let again = world.check("already-loaded", 1);
    assert_eq!(again.windows[0].load_id, report.windows[0].load_id);
    // Published again under another version, same bytes: read, but not committed.
    world.source.upstream.insert("2024-01", (vec![1, 2, 3], Some("v2")));
    world.check("already-loaded", 2);
    assert_eq!(*world.lake.abandoned.lock().unwrap(), 1);
    // Other bytes: another load.
    world.source.upstream.insert("2024-01", (vec![1, 2, 4], Some("v3")));
    assert_ne!(world.check("loaded", 3).windows[0].load_id, report.windows[0].load_id);
    world.plan.force = true;
    world.check("loaded", 4);
    world.plan.force = false;
    world.plan.only_missing = true;
    world.source.upstream.insert("2024-01", (vec![5], Some("v4")));
    world.check("skipped", 4);
}

#[test]
fn a_rolled_back_load_is_loaded_again() {
    let mut world = world("2024-01");
    world.source.upstream.insert("2024-01", (vec![1], Some("v1")));
    world.check("loaded", 1);
    for load in world.lake.loads.lock().unwrap().values_mut() {
        load.state = LoadState::RolledBack;
    }
    world.check("loaded", 2);
}

#[test]
fn source_files_are_kept_before_their_rows_are_committed() {
    let mut world = world("2024-01");
    world.source.upstream.insert("2024-01", (vec![1], Some("v1")));
    world.plan.raw_landing = true;
    world.check("failed", 1);
    assert_eq!((world.lake.loads.lock().unwrap().len(), *world.lake.abandoned.lock().unwrap()), (0, 1));
    world.lake.keeps_raw = true;
    world.check("loaded", 2);
    assert_eq!(world.lake.loads.lock().unwrap()["2024-01"].objects[0].raw.as_deref(), Some("kept x"));
}

#[test]
fn a_range_stops_at_the_first_failure_unless_told_to_go_on() {
    let mut world = world("2024-01..2024-03");
    world.source.upstream.insert("2024-01", (vec![1], Some("v1")));
    world.source.upstream.insert("2024-03", (vec![1], Some("v1")));
    let report = world.check("loaded not-published skipped", 1);
    assert_eq!(report.fault().map(|fault| fault.code().exit()), Some(4));
    world.plan.keep_going = true;
    world.check("already-loaded not-published loaded", 2);
}

#[test]
fn nothing_wipes_a_window_in_silence() {
    let mut world = world("2024-01");
    world.source.upstream.insert("2024-01", (vec![], None));
    world.check("no-data", 0);
    world.source.upstream.insert("2024-01", (vec![], Some("v1")));
    let report = world.check("failed", 1);
    assert_eq!(report.fault().map(Fault::code), Some(codes::DATA_EMPTY));
    world.plan.allow_empty = true;
    world.check("loaded", 2);
}

#[test]
fn a_dry_run_opens_nothing() {
    let mut world = world("2024-01");
    world.source.upstream.insert("2024-01", (vec![1], Some("v1")));
    world.plan.dry_run = true;
    let report = world.check("skipped", 0);
    assert!(report.windows[0].note.as_deref().unwrap_or("").contains("raw.memory"));
}

#[path = "publish_tests.rs"]
mod publish;
