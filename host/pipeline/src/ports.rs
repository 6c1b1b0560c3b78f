//! The traits that the other host crates fulfil, and the values that cross them.
//!
//! The pipeline decides; these act. All calls are synchronous: an implementation that needs an async runtime keeps a handle of its own.
//! A whole run works against in-memory implementations.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{FieldRef, Schema, SchemaRef};
use lakehost_columnar::{BatchSource, ByteSource, PartitionField, Rows, SinkFactory, SortKey, WrittenFile};
use serde::{Deserialize, Serialize};

use crate::checks::{Check, CheckOutcome};
use crate::contract::Contract;
use crate::diagnostic::Fault;
use crate::models::{ModelsReport, ModelsRequest, NodeReport};
use crate::window::{Granularity, Window};

/// A plugin as it is recorded: name and version by its own word, digest by ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PluginId {
    pub name: String,
    pub version: String,
    /// sha256 of the component's bytes, lower-case hex.
    pub sha256: String,
}

impl fmt::Display for PluginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// `namespace.table`, each part of letters, digits, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    pub namespace: String,
    pub name: String,
}

impl TableName {
    /// Parses `raw.green_trips`. Fails with the reason, for the layer that knows where the text came from.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (namespace, name) = text.split_once('.').ok_or_else(|| format!("`{text}` is not NAMESPACE.TABLE"))?;
        for part in [namespace, name] {
            let sound = !part.is_empty()
                && part.len() <= 128
                && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
                && !part.starts_with('-');
            if !sound {
                return Err(format!(
                    "`{}` in `{}` is not a name: letters, digits, `_` and `-`, at most 128",
                    part.escape_debug(),
                    text.escape_debug()
                ));
            }
        }
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.namespace, self.name)
    }
}

/// What a source says of itself without any grant.
#[derive(Clone, Debug)]
pub struct SourceSpec {
    pub description: String,
    /// JSON Schema of the configuration; a property with `"x-identity": false` is not part of the load id.
    pub config_schema: serde_json::Value,
    pub granularity: Granularity,
}

/// A data set that a configured source can read.
#[derive(Clone, Debug)]
pub struct Dataset {
    pub name: String,
    pub default_table: TableName,
    /// The least that its rows hold; creates the table.
    pub schema: SchemaRef,
    pub key: Vec<String>,
    pub cursor: Option<String>,
    pub time_zone: Option<String>,
}

/// A part of a window that can be read alone.
#[derive(Clone, Debug)]
pub struct Split {
    pub id: String,
    /// For the plugin alone.
    pub description: String,
    /// Tells versions of the content apart without reading it, when upstream gives such a thing.
    pub identity: Option<String>,
    pub bytes: Option<u64>,
}

/// One upstream object that a load read, as the snapshot summary records it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceObject {
    /// The split that read it.
    pub split: String,
    /// The split's identity at plan time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Without query and user information.
    pub url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    pub length: u64,
    /// Lower-case hex.
    pub sha256: String,
    /// Where the warehouse keeps it as it came, when it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
}

/// A configured source connector.
pub trait Source: Send {
    fn plugin(&self) -> &PluginId;
    fn spec(&self) -> &SourceSpec;
    /// The data sets under the present configuration.
    fn discover(&mut self) -> Result<Vec<Dataset>, Fault>;
    /// The splits of a window; none: upstream has no data for it. `state`: what the last committed load left, JSON; what it had is left out.
    fn plan(&mut self, dataset: &str, window: Option<&Window>, state: Option<&str>) -> Result<Vec<Split>, Fault>;
    /// Opens a split for reading. Downloads go on in the background while rows are read.
    fn open(&mut self, split: &Split) -> Result<Rows, Fault>;
    /// What the split read, with content hashes; waits for its downloads to end. Called after its rows.
    fn objects(&mut self, split: &Split) -> Result<Vec<SourceObject>, Fault>;
    /// The bytes of what [`Source::objects`] will answer of the split, in the same order; none: its rows are the plugin's own. Called after its
    /// rows and before its objects.
    fn contents(&mut self, split: &Split) -> Result<Vec<Arc<dyn ByteSource>>, Fault> {
        let _ = split;
        Ok(Vec::new())
    }
    /// The state to commit with the rows of the last plan, JSON. Called once, after the last of them; `state`: as in the plan.
    fn checkpoint(
        &mut self,
        dataset: &str,
        window: Option<&Window>,
        state: Option<&str>,
    ) -> Result<Option<String>, Fault> {
        let _ = (dataset, window, state);
        Ok(None)
    }
}

/// One reason to reject a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub id: String,
    pub description: String,
}

/// A configured row cleaner, not yet bound to a schema.
pub trait Cleaner: Send + Sync {
    fn plugin(&self) -> &PluginId;
    /// The effective configuration, as canonical JSON: part of the load id.
    fn config(&self) -> &str;
    fn bind(&self, schema: &SchemaRef, window: Option<&Window>) -> Result<Box<dyn BoundCleaner>, Fault>;
}

/// A cleaner bound to the schema and window of one load.
pub trait BoundCleaner: Send + Sync {
    fn rules(&self) -> &[Rule];
    /// Columns that `clean` takes, in order.
    fn reads(&self) -> &[String];
    /// Columns that `clean` answers, added or in place of the old.
    fn writes(&self) -> &[FieldRef];
    /// Cleans one batch of the `reads` columns. Called from several threads, in any order.
    fn clean(&self, batch: &RecordBatch) -> Result<Patch, Fault>;
}

/// A cleaner's answer, checked: lengths, counts and types fit the batch and the binding.
#[derive(Clone, Debug)]
pub struct Patch {
    /// For each row 0 = kept, else 1 + index into `rules`. `None` keeps all.
    pub codes: Option<Vec<u16>>,
    /// One array per `writes`, for all rows of the batch.
    pub columns: Vec<ArrayRef>,
}

/// How a load changes its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteMode {
    /// The files of the window are replaced by the new ones.
    ReplaceWindow,
    /// The new files are added.
    Append,
    /// All files are replaced by the new ones.
    FullRefresh,
    /// Each new row takes the place of those with the same key.
    Merge,
}

impl WriteMode {
    /// The word that people write.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::ReplaceWindow => "replace-window",
            Self::Append => "append",
            Self::FullRefresh => "full-refresh",
            Self::Merge => "merge",
        }
    }
}

/// Who a replace-window table belongs to. A load that differs is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Source and data set: `nyc_tlc/green`.
    pub owner: String,
    pub granularity: Granularity,
    /// Cleaner names in order, `-` when none.
    pub cleaners: String,
}

/// What a load needs of its table.
#[derive(Clone, Debug)]
pub struct Target {
    pub table: TableName,
    /// Wanted columns without field ids, the window column last (when windowed).
    pub schema: SchemaRef,
    /// Partition fields beyond `identity(_lakehost_window)`. Empty: those of the table, when it exists.
    pub partition: Vec<PartitionField>,
    pub window: Option<Window>,
    pub mode: WriteMode,
    pub owner: Owner,
    /// What upstream may change.
    pub contract: Contract,
    /// Columns that the pipeline names anew: (new, old). They keep their field ids.
    pub renames: Vec<(String, String)>,
    /// What tells rows apart, for [`WriteMode::Merge`].
    pub key: Vec<String>,
    /// Of two new rows with one key the one with the greater value counts; without it, or where they are equal, the later one.
    pub order: Option<String>,
    /// What the rows of each file are sorted by; empty: nothing.
    pub sort: Vec<SortKey>,
}

/// A table as it stands.
#[derive(Clone, Debug)]
pub struct TableInfo {
    /// Every field carries its id as metadata `PARQUET:field_id`.
    pub schema: SchemaRef,
    /// Fields of the default partition spec beyond the window.
    pub partition: Vec<PartitionField>,
    pub properties: BTreeMap<String, String>,
    pub snapshot_id: Option<i64>,
}

/// Whether the snapshot of a recorded load still counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadState {
    /// An ancestor of `main`.
    Present,
    /// Gone from the metadata by expiry.
    Expired,
    /// Listed, but no ancestor of `main`: rolled back.
    RolledBack,
}

/// The last load of a window, from the table's own property and snapshot summary.
#[derive(Clone, Debug)]
pub struct LoadRecord {
    pub load_id: String,
    pub snapshot_id: i64,
    pub state: LoadState,
    /// Empty when the snapshot is gone or read too many objects to list.
    pub objects: Vec<SourceObject>,
    /// `name@version=sha256`, comma-separated; empty when unknown.
    pub plugins: String,
}

/// How far a source is read: when a load begins, and with its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The state that the table has; the commit fails when another load changed it.
    pub before: Option<String>,
    /// The state to commit.
    pub after: Option<String>,
    /// The column that grows with time: the highest value of it is recorded.
    pub cursor: Option<String>,
}

/// Everything that the commit records.
#[derive(Clone, Debug)]
pub struct CommitRequest {
    pub load_id: String,
    pub run_id: String,
    pub pipeline: Option<String>,
    pub objects: Vec<SourceObject>,
    pub plugins: Vec<PluginId>,
    pub config_sha256: String,
    /// See [`Plan::config`](crate::Plan::config).
    pub config: String,
    pub rows_read: u64,
    pub rows_written: u64,
    pub rows_rejected: u64,
    /// Rejected rows by rule; their sum is `rows_rejected`.
    pub rejected_by: BTreeMap<String, u64>,
    /// Values that the contract took out of kept rows, by column.
    pub values_discarded: BTreeMap<String, u64>,
    /// What the checks found; empty: there were none, or they have not run yet.
    pub checks: Vec<CheckOutcome>,
    /// Of a source that is read on, or has a cursor.
    pub progress: Option<Progress>,
    pub files: Vec<WrittenFile>,
}

/// How a commit ended well. Everything else is a [`Fault`], with `LH0651` for an unknown outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// Our snapshot is on `main`, read back. `merged`: what became of the rows of a merge.
    Landed { snapshot_id: i64, attempts: u32, merged: Option<Merged> },
    /// Another run committed the same load id meanwhile; our files are gone again.
    AlreadyLoaded { snapshot_id: i64 },
}

/// What became of the rows of a merge: inserted, updated, unchanged and duplicate keys add up to the rows written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Merged {
    /// Rows whose key the table did not have.
    pub inserted: u64,
    /// Rows that took the place of others.
    pub updated: u64,
    /// Rows that the table had just so; nothing was written for them.
    pub unchanged: u64,
    /// Rows that gave way to another new one of their key.
    pub duplicate_keys: u64,
    /// Data files that came, and their bytes; among them what others had in them beside the rows that went.
    #[serde(skip)]
    pub files: u64,
    #[serde(skip)]
    pub bytes: u64,
}

/// A snapshot that is written but not in the catalog: checks read it before anybody else can.
#[derive(Clone)]
pub struct Staged {
    pub table: TableName,
    pub snapshot_id: i64,
    /// The lake's own view of it, for the [`Checker`] that knows that lake.
    pub handle: Arc<dyn Any + Send + Sync>,
}

/// Where rejected rows go.
pub trait RejectWriter: Send + Sync {
    /// Takes rows of [`rejects::schema`](crate::rejects::schema).
    fn write(&self, batch: &RecordBatch) -> Result<(), Fault>;
}

/// Looks at staged rows.
pub trait Checker: Send + Sync {
    /// One outcome for each check, in order.
    ///
    /// # Errors
    /// A check that cannot be made: a statement that is wrong, a table that cannot be read. Rows that do not pass are no error.
    fn check(&self, staged: &Staged, window: Option<&Window>, checks: &[Check]) -> Result<Vec<CheckOutcome>, Fault>;
}

/// The tables.
pub trait Lake: Send + Sync {
    /// The table, `None` when there is none of that name.
    fn table(&self, name: &TableName) -> Result<Option<TableInfo>, Fault>;
    /// The last load of a window (`Window::key`, or `all` without windows), from table properties and history.
    fn last_load(&self, name: &TableName, window_key: &str) -> Result<Option<LoadRecord>, Fault>;
    /// The same for a load of this owner in this mode. Loads that are added stand side by side, so there each owner has a record of its own.
    fn last_load_by(
        &self,
        name: &TableName,
        window_key: &str,
        _owner: &str,
        _mode: WriteMode,
    ) -> Result<Option<LoadRecord>, Fault> {
        self.last_load(name, window_key)
    }
    /// The state that the last load of this source and data set left in the table, JSON.
    fn source_state(&self, _name: &TableName, _owner: &str) -> Result<Option<String>, Fault> {
        Ok(None)
    }
    /// Starts a load: checks owner, schema and partition against the table, or lays out a new one. Nothing is visible before `commit`.
    fn begin(&self, target: &Target, run_id: &str) -> Result<Box<dyn Load>, Fault>;
    /// Starts a load whose source are the window's rejected rows ([`Load::rejected`]). Its commit adds rows to the window, takes nothing away,
    /// leaves what the table says of its loads, and puts what went to [`Load::rejects`] in the place of all rejected rows of the window, in one.
    /// `None`: there are no rejected rows.
    fn begin_replay(&self, target: &Target, run_id: &str) -> Result<Option<Box<dyn Load>>, Fault> {
        let _ = run_id;
        Err(unable(format!("this lake cannot replay the rejected rows of {}", target.table)))
    }
}

/// One load in progress.
pub trait Load: Send {
    /// The table's columns with field ids, in table order.
    fn schema(&self) -> &SchemaRef;
    /// Partition fields beyond the window, as the table has them.
    fn partition(&self) -> &[PartitionField];
    /// Where new data files go.
    fn sinks(&self) -> Arc<dyn SinkFactory>;
    /// A split brings these columns. Those that the table lacks are added and narrower ones widened, where the contract says `evolve`; its own
    /// data files from now on have the new [`Load::schema`]. Called only between splits.
    ///
    /// # Errors
    /// LH0405 with both types and the file, for a change that is not allowed or would lose something.
    fn evolve(&mut self, found: &Schema, file: &str) -> Result<(), Fault> {
        let _ = found;
        Err(unable(format!("{file} has columns that the table lacks, and this lake cannot change a table's columns")))
    }
    /// Stores a source file as it came, outside the table, unless it is there already; answers where. What is answered was read back.
    fn keep_raw(&self, object: &SourceObject, bytes: &dyn ByteSource) -> Result<String, Fault> {
        let _ = bytes;
        Err(unable(format!("this lake has no place for source files such as {}", object.url)))
    }
    /// Where this load's rejected rows go: the table beside it, made on first use, published together with it.
    fn rejects(&mut self) -> Result<Arc<dyn RejectWriter>, Fault> {
        Err(unable("this lake keeps no rejected rows".to_owned()))
    }
    /// Where rejected rows go that are more than memory holds, before the load has an id: their load id is filled in at the commit. They count once
    /// [`Load::rejects`] is called. `None`: this lake has no such place.
    fn spool_rejects(&mut self) -> Option<Arc<dyn RejectWriter>> {
        None
    }
    /// All rejected rows of the window of a replay, whatever load they are of, in the same order each time.
    fn rejected(&self) -> Result<Box<dyn BatchSource>, Fault> {
        Err(unable("this load is no replay".to_owned()))
    }
    /// Writes the snapshot without publishing it, for checks to read. May be called again with the same files.
    fn prepare(&mut self, request: &CommitRequest) -> Result<Staged, Fault> {
        Err(unable(format!("this lake cannot show the load {} before it is published", request.load_id)))
    }
    /// Publishes nothing: the snapshot goes to the branch `branch`, made for it, where people can look at what the checks found.
    fn quarantine(self: Box<Self>, request: CommitRequest, branch: &str) -> Result<i64, Fault> {
        Err(unable(format!("this lake has no branch {branch} to keep the load {} on", request.load_id)))
    }
    /// One snapshot, exactly once.
    fn commit(self: Box<Self>, request: CommitRequest) -> Result<Committed, Fault>;
    /// Deletes what was written; the table was never touched.
    fn abandon(self: Box<Self>);
}

/// Models above the tables.
pub trait Models {
    /// Builds and tests models; `ended` hears of each as it ends, with its number and how many there are. A report tells of models that failed.
    ///
    /// # Errors
    /// What kept them from being run at all.
    fn build(
        &mut self,
        request: &ModelsRequest,
        ended: &mut dyn FnMut(&NodeReport, (u64, u64)),
    ) -> Result<ModelsReport, Fault>;
}

/// What a lake answers that lacks an ability.
fn unable(detail: String) -> Fault {
    crate::Error::LakeUnable { detail }.into()
}
