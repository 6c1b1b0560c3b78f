//! Intent records: what a run is about to write, where any later process finds it.
//!
//! `<warehouse>/_lakehost/intents/<run-id>-<snapshot-id>.json` is there before the first data file and goes when the outcome is certain. A run
//! writes one per table and window. All files of a load carry its run's id in their name, so the record says where to look instead of listing
//! them. The record need not survive a power cut: without it the files of an unfinished run are orphans like any other.

use std::collections::HashSet;

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
use crate::store::DRAFT;

/// A record of a process that cannot be asked is left alone for so long.
pub const AGE_MS: i64 = 72 * 3_600_000;
/// A draft is named within a moment. One that was left for so long is nobody's; a process that was asleep meanwhile cannot name it any more, and
/// fails before it wrote anything else.
const DRAFT_MS: i64 = 10 * 60_000;

/// When a run last sent a request to a catalog at which one may arrive late: a note beside the run's record, made before the request. It goes when
/// the outcome is certain.
pub struct SentNote;

impl SentNote {
    fn location(core: &Core, run_id: &str, snapshot_id: i64) -> String {
        format!("{}/{run_id}-{snapshot_id}.sent", core.warehouse.intents())
    }

    /// A request is about to be sent.
    pub fn write(core: &Core, run_id: &str, snapshot_id: i64) -> Result<()> {
        let location = Self::location(core, run_id, snapshot_id);
        core.store.note(&location, (core.clock)().to_string().as_bytes()).map_err(Error::store("write", location))
    }

    /// None is under way.
    pub fn remove(core: &Core, run_id: &str, snapshot_id: i64) {
        core.forget([Self::location(core, run_id, snapshot_id)]);
    }

    /// Removes old notes of actions that left no record and whose process died.
    pub fn sweep(core: &Core) -> Result<()> {
        let folder = core.warehouse.intents();
        let files = core.store.list(&folder).map_err(Error::store("list", &folder))?;
        let records: HashSet<&str> = files.iter().filter_map(|file| file.name.strip_suffix(".json")).collect();
        let left = files.iter().filter(|file| {
            let note = file.name.strip_suffix(".sent").is_some_and(|name| !records.contains(name));
            note && (core.clock)().saturating_sub(file.modified_ms) > AGE_MS
        });
        core.forget(left.map(|file| file.location.clone()));
        Ok(())
    }

    /// When the last one was sent, if one was. A note that cannot be read was made just now.
    fn read(core: &Core, run_id: &str, snapshot_id: i64) -> Result<Option<i64>> {
        let location = Self::location(core, run_id, snapshot_id);
        match core.store.get(&location) {
            Ok(text) => {
                Ok(Some(std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()).unwrap_or((core.clock)())))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::store("read", location)(error)),
        }
    }
}

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
        if core.catalog.late().is_some() {
            SentNote::remove(core, &self.run_id, self.snapshot_id);
        }
    }

    /// Until when, in milliseconds since 1970, a request of this run may still arrive at the catalog; `None`: none is under way.
    pub fn may_arrive_until_ms(&self, core: &Core) -> Result<Option<i64>> {
        let Some(late) = core.catalog.late() else { return Ok(None) };
        let sent_ms = SentNote::read(core, &self.run_id, self.snapshot_id)?;
        let until_ms =
            sent_ms.map(|sent_ms| sent_ms.saturating_add(i64::try_from(late.as_millis()).unwrap_or(i64::MAX)));
        Ok(until_ms.filter(|until_ms| (core.clock)() < *until_ms))
    }

    /// All records, unreadable ones as their location and the reason. Drafts of records whose process was killed before it named them go.
    pub fn all(core: &Core) -> Result<Vec<Result<Self, (String, String)>>> {
        let folder = core.warehouse.intents();
        let files = core.store.list(&folder).map_err(Error::store("list", &folder))?;
        let (drafts, files): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| file.name.starts_with('.'));
        let left = drafts
            .into_iter()
            .filter(|draft| draft.name.ends_with(DRAFT) && (core.clock)().saturating_sub(draft.modified_ms) > DRAFT_MS);
        core.forget(left.map(|draft| draft.location));
        Ok(files
            .into_iter()
            .filter(|file| file.name.ends_with(".json"))
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
