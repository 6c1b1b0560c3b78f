//! A source component as the pipeline's [`Source`].

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_schema::SchemaRef;
use lakehost_columnar::{ByteSource, Rows};
use lakehost_fetch::{Fetcher, Spool};
use lakehost_pipeline::ports::{Dataset, PluginId, Source, SourceObject, SourceSpec, Split, TableName};
use lakehost_pipeline::{Fault, Granularity, Window};
use lakehost_wire::decode_schema_hostile;
use wasmtime::component::ResourceAny;

use crate::abi::since_v0_1::{self as abi, SourcePlugin, source};
use crate::error::{Error, Result, Stop, shown};
use crate::grants::Grants;
use crate::plugin::Plugin;
use crate::rows::{PluginRows, RowsDigest};
use crate::running::Running;
use crate::services::blobs::{Gone, SpoolBytes};

/// Data sets of one source.
const DATASETS_LIMIT: usize = 1_000;
/// Longest id or identity of a split.
const SPLIT_TEXT_BYTES: usize = 4096;

/// A configured source component. One instance at a time; after a crash the next call starts a fresh one.
pub struct WasmSource {
    id: PluginId,
    spec: SourceSpec,
    session: Arc<Mutex<Session>>,
    /// What each open split reads, until its objects are asked for.
    open: HashMap<String, OpenSplit>,
    /// The instance that made the last plan: what it will say of it, no other knows.
    planned: u64,
}

/// What a split read: bodies of upstream, and rows of the plugin's own.
struct OpenSplit {
    spools: Arc<Mutex<Vec<Arc<Spool>>>>,
    rows: Option<Arc<Mutex<RowsDigest>>>,
}

/// The plugin with what it is configured by, and the instance that is alive.
pub(crate) struct Session {
    pub plugin: Plugin,
    config: String,
    grants: Grants,
    fetcher: Fetcher,
    live: Option<Live>,
    /// Counts instances: a reader belongs to one of them.
    pub generation: u64,
}

/// A running instance with its connector.
pub(crate) struct Live {
    pub running: Running<SourcePlugin>,
    connector: ResourceAny,
}

/// The session, whatever a panic elsewhere did: an instance in an unknown state counts as spent.
pub(crate) fn lock(session: &Mutex<Session>) -> MutexGuard<'_, Session> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    /// The running instance; a fresh and configured one when there is none, or when it is spent.
    pub fn live(&mut self) -> Result<&mut Live> {
        if self.live.as_ref().is_none_or(|live| live.running.is_spent()) {
            self.live = None;
            self.generation += 1;
            let mut running = self.plugin.start_source(&self.grants, Some(self.fetcher.clone()))?;
            let cpu = self.plugin.around().budgets.cpu_short;
            let connector = running.ask("configure", cpu, |plugin, store| {
                plugin.lakehost_plugin_source().connector().call_configure(store, &self.config)
            })?;
            self.live = Some(Live { running, connector });
        }
        self.live.as_mut().ok_or_else(|| Error::Host { doing: "starting a source".to_owned(), detail: String::new() })
    }

    /// The instance that a reader belongs to; fails when it crashed or was replaced.
    pub fn same(&mut self, generation: u64) -> Result<&mut Live> {
        let live = self.live.as_mut().filter(|live| generation == self.generation && !live.running.is_spent());
        live.ok_or_else(|| Error::Host {
            doing: "reading on".to_owned(),
            detail: "the instance that the reader belongs to is gone".to_owned(),
        })
    }
}

impl WasmSource {
    pub(crate) fn new(plugin: Plugin, config: String, grants: Grants, fetcher: Fetcher) -> Result<Self> {
        let about = plugin.about()?;
        let spec = SourceSpec {
            description: about.description.clone(),
            config_schema: about.config_schema.clone(),
            granularity: about.granularity.unwrap_or(Granularity::None),
        };
        let id = about.id.clone();
        let mut session = Session { plugin, config, grants, fetcher, live: None, generation: 0 };
        session.live()?;
        Ok(Self { id, spec, session: Arc::new(Mutex::new(session)), open: HashMap::new(), planned: 0 })
    }

    /// Whether the source reaches and may read what it needs. Cheap.
    ///
    /// # Errors
    /// What the plugin reports.
    pub fn check(&mut self) -> Result<()> {
        let mut session = lock(&self.session);
        let cpu = session.plugin.around().budgets.cpu_plan;
        let live = session.live()?;
        let connector = live.connector;
        live.running
            .ask("check", cpu, |plugin, store| plugin.lakehost_plugin_source().connector().call_check(store, connector))
    }

    fn datasets(&self) -> Result<Vec<Dataset>> {
        let mut session = lock(&self.session);
        let budgets = session.plugin.around().budgets.clone();
        let live = session.live()?;
        let connector = live.connector;
        let found = live.running.ask("discover", budgets.cpu_plan, |plugin, store| {
            plugin.lakehost_plugin_source().connector().call_discover(store, connector)
        })?;
        let wrong = |detail: String| live.running.contract("discover", detail);
        if found.len() > DATASETS_LIMIT {
            return Err(wrong(format!("{} data sets, the limit is {DATASETS_LIMIT}", found.len())));
        }
        let mut datasets: Vec<Dataset> = Vec::with_capacity(found.len());
        for dataset in found {
            let name = shown(&dataset.name, 80);
            if !crate::plugin::is_word(&dataset.name, "_-.") || datasets.iter().any(|known| known.name == dataset.name)
            {
                return Err(wrong(format!("the data set name `{name}` is no plain word, or there twice")));
            }
            let default_table = TableName::parse(&dataset.default_table)
                .map_err(|reason| wrong(format!("the table of {name}: {}", shown(&reason, 200))))?;
            let schema = decode_schema_hostile(dataset.schema, &budgets.batch).map_err(|source| Error::Batch {
                plugin: self.id.to_string(),
                call: "discover",
                source,
            })?;
            let missing = dataset.key.iter().chain(&dataset.cursor).find(|column| schema.index_of(column).is_err());
            if let Some(column) = missing {
                return Err(wrong(format!("{name} has a key or cursor `{}` and no such column", shown(column, 80))));
            }
            datasets.push(Dataset {
                name: dataset.name,
                default_table,
                schema,
                key: dataset.key,
                cursor: dataset.cursor,
                time_zone: dataset.time_zone.map(|zone| shown(&zone, 64)),
            });
        }
        Ok(datasets)
    }

    fn splits(&mut self, dataset: &str, window: Option<&Window>, state: Option<&str>) -> Result<Vec<Split>> {
        let mut session = lock(&self.session);
        let budgets = session.plugin.around().budgets.clone();
        let live = session.live()?;
        let connector = live.connector;
        let request = plan_request(dataset, window, state);
        let found = live.running.ask("plan", budgets.cpu_plan, |plugin, store| {
            plugin.lakehost_plugin_source().connector().call_plan(store, connector, &request)
        })?;
        let wrong = |detail: String| live.running.contract("plan", detail);
        if found.len() > budgets.splits {
            return Err(wrong(format!("{} splits, the limit is {}", found.len(), budgets.splits)));
        }
        let mut seen = std::collections::HashSet::new();
        for split in &found {
            let id = shown(&split.id, 80);
            if split.id.is_empty() || split.id.len() > SPLIT_TEXT_BYTES || split.id.chars().any(char::is_control) {
                return Err(wrong(format!("the split id `{id}` is empty, too long or holds control characters")));
            }
            if split.identity.as_ref().is_some_and(|identity| identity.len() > SPLIT_TEXT_BYTES) {
                return Err(wrong(format!("the identity of split {id} is longer than {SPLIT_TEXT_BYTES} bytes")));
            }
            if split.description.len() > budgets.json_bytes {
                return Err(wrong(format!(
                    "the description of split {id} is longer than {} bytes",
                    budgets.json_bytes
                )));
            }
            if !seen.insert(split.id.as_str()) {
                return Err(wrong(format!("two splits have the id {id}")));
            }
        }
        self.planned = session.generation;
        Ok(found
            .into_iter()
            .map(|split| Split {
                id: split.id,
                description: split.description,
                identity: split.identity,
                bytes: split.bytes,
            })
            .collect())
    }

    /// The state after the rows of the last plan, as the instance that made the plan tells it.
    fn state_after(&self, dataset: &str, window: Option<&Window>, state: Option<&str>) -> Result<Option<String>> {
        let mut session = lock(&self.session);
        let budgets = session.plugin.around().budgets.clone();
        let live = session.same(self.planned)?;
        let connector = live.connector;
        let request = plan_request(dataset, window, state);
        let found = live.running.ask("checkpoint", budgets.cpu_plan, |plugin, store| {
            plugin.lakehost_plugin_source().connector().call_checkpoint(store, connector, &request)
        })?;
        let Some(text) = found else { return Ok(None) };
        let wrong = |detail: String| live.running.contract("checkpoint", detail);
        if text.len() > budgets.json_bytes {
            return Err(wrong(format!("its state has {} bytes, the limit is {}", text.len(), budgets.json_bytes)));
        }
        serde_json::from_str::<serde_json::Value>(&text)
            .map_err(|error| wrong(format!("its state is no JSON: {error}")))?;
        Ok(Some(text))
    }

    fn rows(&mut self, split: &Split) -> Result<Rows> {
        let mut session = lock(&self.session);
        let budgets = session.plugin.around().budgets.clone();
        let live = session.live()?;
        let connector = live.connector;
        live.running.state().fetched.clear();
        let request = source::Split {
            id: split.id.clone(),
            description: split.description.clone(),
            identity: split.identity.clone(),
            bytes: split.bytes,
        };
        let rows = live.running.ask("read", budgets.cpu_plan, |plugin, store| {
            plugin.lakehost_plugin_source().connector().call_read(store, connector, &request)
        })?;
        let spools = Arc::new(Mutex::new(std::mem::take(&mut live.running.state().fetched)));
        let (rows, digest) = match rows {
            source::Rows::FromHost(reader) => {
                let reader = live.running.state().table.delete(reader);
                let reader = reader.map_err(|error| live.running.contract("read", error.to_string()))?;
                let scan = reader.into_scan().map_err(|detail| live.running.contract("read", detail))?;
                (Rows::Scan(scan), None)
            }
            source::Rows::FromPlugin(reader) => {
                let schema = live.running.call("schema", budgets.cpu_batch, |plugin, store| {
                    plugin.lakehost_plugin_source().reader().call_schema(store, reader)
                })?;
                let schema: SchemaRef = decode_schema_hostile(schema, &budgets.batch)
                    .map_err(|source| Error::Batch { plugin: self.id.to_string(), call: "schema", source })?;
                let digest = Arc::new(Mutex::new(RowsDigest::default()));
                let generation = session.generation;
                drop(session);
                let rows = PluginRows::new(
                    Arc::clone(&self.session),
                    generation,
                    reader,
                    schema,
                    Arc::clone(&spools),
                    Arc::clone(&digest),
                );
                (Rows::Batches(Box::new(rows)), Some(digest))
            }
        };
        self.open.insert(split.id.clone(), OpenSplit { spools, rows: digest });
        Ok(rows)
    }

    /// What the split read. A split without any download is known by the hash of its rows.
    fn read_objects(&mut self, split: &Split) -> Result<Vec<SourceObject>> {
        let Entry::Occupied(open) = self.open.entry(split.id.clone()) else { return Ok(Vec::new()) };
        let open = open.remove();
        let around = Arc::clone(lock(&self.session).plugin.around());
        let spools = std::mem::take(&mut *open.spools.lock().unwrap_or_else(PoisonError::into_inner));
        let mut objects = Vec::with_capacity(spools.len());
        for spool in &spools {
            let summary = match around.wait(spool.complete()) {
                Ok(summary) => summary.map_err(|error| Error::Source { error })?,
                Err(Stop::Cancelled) => return Err(Error::Interrupted),
                Err(stop) => return Err(crate::engine::host_fault("waiting for a download", &stop)),
            };
            objects.push(SourceObject {
                split: split.id.clone(),
                identity: split.identity.clone(),
                url: spool.url().to_owned(),
                etag: spool.etag(),
                length: summary.length,
                sha256: hex::encode(summary.sha256),
                raw: None,
            });
        }
        if objects.is_empty()
            && let Some(rows) = open.rows
        {
            let (length, sha256) = rows.lock().unwrap_or_else(PoisonError::into_inner).finish();
            objects.push(SourceObject {
                split: split.id.clone(),
                identity: split.identity.clone(),
                url: format!("plugin:{}/{}", self.id.name, shown(&split.id, 200)),
                etag: None,
                length,
                sha256,
                raw: None,
            });
        }
        Ok(objects)
    }

    /// The bodies that the split read, whole ones.
    fn bodies(&self, split: &Split) -> Result<Vec<Arc<dyn ByteSource>>> {
        let Some(open) = self.open.get(&split.id) else { return Ok(Vec::new()) };
        let around = Arc::clone(lock(&self.session).plugin.around());
        let spools = open.spools.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let body = |spool: &Arc<Spool>| match SpoolBytes::new(spool, &around) {
            Ok(bytes) => Ok(Arc::new(bytes) as Arc<dyn ByteSource>),
            Err(Gone::Source(error)) => Err(Error::Source { error }),
            Err(Gone::Stop(Stop::Cancelled)) => Err(Error::Interrupted),
            Err(Gone::Stop(stop)) => Err(crate::engine::host_fault("waiting for a download", &stop)),
        };
        spools.iter().map(body).collect()
    }

    fn named<T>(&self, result: Result<T>) -> Result<T, Fault> {
        result.map_err(|error| Fault::from(error).with("plugin", &self.id))
    }
}

fn plan_request(dataset: &str, window: Option<&Window>, state: Option<&str>) -> source::PlanRequest {
    let (window, state) = (window.map(abi::window), state.map(str::to_owned));
    source::PlanRequest { dataset: dataset.to_owned(), window, state }
}

impl Source for WasmSource {
    fn plugin(&self) -> &PluginId {
        &self.id
    }

    fn spec(&self) -> &SourceSpec {
        &self.spec
    }

    fn discover(&mut self) -> Result<Vec<Dataset>, Fault> {
        self.named(self.datasets())
    }

    fn plan(&mut self, dataset: &str, window: Option<&Window>, state: Option<&str>) -> Result<Vec<Split>, Fault> {
        let splits = self.splits(dataset, window, state);
        self.named(splits)
    }

    fn open(&mut self, split: &Split) -> Result<Rows, Fault> {
        let rows = self.rows(split);
        self.named(rows)
    }

    fn objects(&mut self, split: &Split) -> Result<Vec<SourceObject>, Fault> {
        let objects = self.read_objects(split);
        self.named(objects)
    }

    fn contents(&mut self, split: &Split) -> Result<Vec<Arc<dyn ByteSource>>, Fault> {
        let bodies = self.bodies(split);
        self.named(bodies)
    }

    fn checkpoint(
        &mut self,
        dataset: &str,
        window: Option<&Window>,
        state: Option<&str>,
    ) -> Result<Option<String>, Fault> {
        self.named(self.state_after(dataset, window, state))
    }
}
