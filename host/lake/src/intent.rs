//! Intent records: what a run is about to write, where any later process finds it.
//!
//! `<warehouse>/_lakehost/intents/<run-id>-<snapshot-id>.json` is there before the first data file and goes when the outcome is certain. A run
//! writes one per table and window. All files of a load carry its run's id in their name, so the record says where to look instead of listing
//! them. The record need not survive a power cut: without it the files of an unfinished run are orphans like any other.

use lakehost_pipeline::ports::{TableName, Target};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::catalog::TableState;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::lake::new_snapshot_id;
use crate::location::data_folder;
use crate::plan::Plan;
use crate::process::Process;
use crate::properties;

/// What one run is about to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// Of this format: 1.
    pub version: u32,
    pub run_id: String,
    pub namespace: String,
    pub table: String,
    /// The table's folder.
    pub location: String,
    /// The folder of the run's data files.
    pub data_folder: String,
    /// The key of the load's property.
    pub window: String,
    /// The snapshot that the run brings, the same in all attempts.
    pub snapshot_id: i64,
    /// The table when the run began; none: the run makes it.
    pub base_uuid: Option<Uuid>,
    /// The head of `main` then.
    pub base_snapshot_id: Option<i64>,
    pub process: Process,
    pub started_ms: i64,
}

impl Intent {
    /// The present format.
    pub const VERSION: u32 = 1;

    /// What a run is about to do to the table of a plan.
    pub(crate) fn new(core: &Core, target: &Target, plan: &Plan, run_id: &str) -> Self {
        let state = plan.state();
        Self {
            version: Self::VERSION,
            run_id: run_id.to_owned(),
            namespace: target.table.namespace.clone(),
            table: target.table.name.clone(),
            location: plan.location().to_owned(),
            data_folder: data_folder(plan.location(), target.window.as_ref()),
            window: properties::key_of(target),
            snapshot_id: new_snapshot_id(state),
            base_uuid: state.map(|state| state.metadata.uuid()),
            base_snapshot_id: state.and_then(TableState::main).map(|snapshot| snapshot.snapshot_id()),
            process: core.process.clone(),
            started_ms: (core.clock)(),
        }
    }

    /// What an action is about to do that writes some files of a table anew.
    pub(crate) fn rewriting(core: &Core, state: &TableState, word: &str, run_id: &str, snapshot_id: i64) -> Self {
        Self {
            version: Self::VERSION,
            run_id: run_id.to_owned(),
            namespace: state.name.namespace.clone(),
            table: state.name.name.clone(),
            location: state.metadata.location().to_owned(),
            data_folder: format!("{}/data/rewritten", state.metadata.location()),
            window: word.to_owned(),
            snapshot_id,
            base_uuid: Some(state.metadata.uuid()),
            base_snapshot_id: state.main().map(|snapshot| snapshot.snapshot_id()),
            process: core.process.clone(),
            started_ms: (core.clock)(),
        }
    }

    /// The table that the run loads.
    #[must_use]
    pub fn table_name(&self) -> TableName {
        TableName { namespace: self.namespace.clone(), name: self.table.clone() }
    }

    fn record(&self, core: &Core) -> String {
        format!("{}/{}-{}.json", core.warehouse.intents(), self.run_id, self.snapshot_id)
    }

    /// Writes the record.
    pub fn write(&self, core: &Core) -> Result<()> {
        let location = self.record(core);
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::Internal(format!("intent of run {} is no JSON: {error}", self.run_id)))?;
        core.store.note(&location, &text).map_err(Error::store("write", location))
    }

    /// Removes the record: the outcome is certain and everything superfluous is gone.
    pub fn remove(&self, core: &Core) {
        core.forget([self.record(core)]);
    }

    /// All records, unreadable ones as their location and the reason.
    pub fn all(core: &Core) -> Result<Vec<Result<Self, (String, String)>>> {
        let folder = core.warehouse.intents();
        let files = core.store.list(&folder).map_err(Error::store("list", &folder))?;
        Ok(files
            .into_iter()
            .filter(|file| file.name.ends_with(".json") && !file.name.starts_with('.'))
            .filter_map(|file| match core.store.get(&file.location) {
                Ok(bytes) => Some(Self::parse(&bytes).map_err(|reason| (file.location, reason))),
                // Its own run has just removed it.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                Err(error) => Some(Err((file.location, error.to_string()))),
            })
            .collect())
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let intent: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if intent.version != Self::VERSION {
            return Err(format!("it is of format {}, this lakehost reads {}", intent.version, Self::VERSION));
        }
        crate::location::check_run_id(&intent.run_id).map_err(|error| error.to_string())?;
        Ok(intent)
    }
}
