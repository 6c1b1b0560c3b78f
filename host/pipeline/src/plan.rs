//! What a run was asked to do, with every name resolved.

use lakehost_columnar::{PartitionField, SortKey, Verify};

use crate::checks::Check;
use crate::contract::Contract;
use crate::ports::{TableName, WriteMode};
use crate::window::Window;

/// One run: a configured source, cleaners and a table, over some windows.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Unique among all runs; names the data files.
    pub run_id: String,
    /// Pipeline name from `lakehost.toml`, none for an ad hoc run. Recorded, never part of the load id.
    pub pipeline: Option<String>,
    /// Windows in order; one `None` for a source without windows.
    pub windows: Vec<Option<Window>>,
    /// Table, when it is not the data set's own.
    pub table: Option<TableName>,
    /// `None`: replace-window for windowed sources, full-refresh for others.
    pub mode: Option<WriteMode>,
    /// Key columns of a merge. Empty: those of the data set.
    pub key: Vec<String>,
    /// Of two new rows with one key that with the greater value counts. `None`: the data set's cursor.
    pub order_by: Option<String>,
    /// What the rows of each file are sorted by; empty: they come as the source has them.
    pub sort: Vec<SortKey>,
    /// Partition fields beyond the window. Empty: those of the table.
    pub partition: Vec<PartitionField>,
    pub verify: Verify,
    /// Add `ingested_at` and `source_file`.
    pub metadata_columns: bool,
    /// Let a window end up without rows.
    pub allow_empty: bool,
    /// Leave windows alone that were loaded before, changed upstream or not.
    pub only_missing: bool,
    /// Go on with the next window after a failure.
    pub keep_going: bool,
    /// Load again what is loaded.
    pub force: bool,
    /// Plan only.
    pub dry_run: bool,
    /// What upstream may change.
    pub contract: Contract,
    /// Columns that get another name: (new, old).
    pub renames: Vec<(String, String)>,
    /// What is demanded of a window before it is published.
    pub checks: Vec<Check>,
    /// Keep rejected rows in a table of their own.
    pub quarantine: bool,
    /// Refuse a window when more than this share of its rows is rejected, 0..=1.
    pub max_rejected: Option<f64>,
    /// Store the source files themselves before their rows are committed.
    pub raw_landing: bool,
    /// The branch of the whole catalog that the run is on, which somebody else publishes; `None`: each window is published by its own commit.
    pub run_branch: Option<String>,
    /// Budget of the whole run.
    pub memory_bytes: u64,
    /// Worker threads for columns.
    pub threads: usize,
    /// Take the plain Arrow path, which every fast path must equal.
    pub reference_path: bool,
    /// Source configuration that is identity, canonical JSON.
    pub source_identity: String,
    /// sha256 of the effective configuration of everything, recorded in the snapshot.
    pub config_sha256: String,
    /// What a later run needs to do the same again, as JSON without secrets; recorded in the snapshot where it fits.
    pub config: String,
}
