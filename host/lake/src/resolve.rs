//! Runs that ended without saying how: did their snapshot land?
//!
//! A file is deleted only when it is certain that no snapshot has it: the history of `main` reaches back without a gap to where the run
//! began and does not list its snapshot, or, when snapshots have expired or were rolled back, no manifest of any snapshot names the file.
//!
//! A request of a process that is gone may still be under way. A database is asked to wait for the transactions that hold the table's row; of a
//! catalog behind HTTP nobody can ask that, so nothing is deleted until the time is over in which a request can be kept somewhere.

use std::collections::HashSet;

use lakehost_pipeline::ports::TableName;

use crate::catalog::TableState;
use crate::commit::{Landed, Manifests, REQUESTS, Verdict, landed};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::intent::{AGE_MS, Intent, SentNote};
use crate::location::{data_prefix, manifest_prefix, metadata_id};
use crate::process::Life;
use crate::properties;
use crate::show::hide_left;

/// What became of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Its snapshot is in the table.
    Landed { snapshot_id: i64 },
    /// It is not; so many of its files were deleted.
    NotLanded { files_deleted: usize },
    /// Its process is at work, or may be.
    InUse,
    /// It is not in the table, and a request that was sent to the catalog may still arrive until then, in milliseconds since 1970. Everything is
    /// kept.
    Waiting { until_ms: i64 },
    /// Cannot be told; everything is kept.
    Unsure { reason: String },
}

/// A run that left a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    pub run_id: String,
    /// `None`: the record cannot be read.
    pub table: Option<TableName>,
    pub resolution: Resolution,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask<'a> {
    /// A run that is about to begin: only records whose process is gone, or that are old.
    Sweep,
    /// `lakehost resolve`: all, or one run, unless its process is known to be alive.
    User(Option<&'a str>),
}

/// Resolves the records that `ask` is for.
pub async fn resolve(core: &Core, ask: Ask<'_>) -> Result<Vec<Resolved>> {
    let mut resolved = Vec::new();
    for intent in Intent::all(core)? {
        match intent {
            Ok(intent) => {
                if matches!(ask, Ask::User(Some(run_id)) if run_id != intent.run_id) {
                    continue;
                }
                let resolution =
                    if may_touch(core, ask, &intent) { one(core, &intent).await? } else { Resolution::InUse };
                resolved.push(Resolved { run_id: intent.run_id.clone(), table: Some(intent.table_name()), resolution });
            }
            Err((location, reason)) => {
                resolved.push(Resolved { run_id: location, table: None, resolution: Resolution::Unsure { reason } })
            }
        }
    }
    if core.catalog.late().is_some() {
        SentNote::sweep(core)?;
    }
    Ok(resolved)
}

fn may_touch(core: &Core, ask: Ask<'_>, intent: &Intent) -> bool {
    match (intent.process.life(&core.process), ask) {
        (Life::Alive, _) => false,
        (Life::Gone, _) => true,
        (Life::Unknown, Ask::User(run_id)) => run_id.is_some() || is_old(core, intent),
        (Life::Unknown, Ask::Sweep) => is_old(core, intent),
    }
}

fn is_old(core: &Core, intent: &Intent) -> bool {
    (core.clock)().saturating_sub(intent.started_ms) > AGE_MS
}

async fn one(core: &Core, intent: &Intent) -> Result<Resolution> {
    // In this order: what arrives until now is seen by the look after it.
    let waits = intent.may_arrive_until_ms(core)?.map(|until_ms| Resolution::Waiting { until_ms });
    if let Err(error) = core.catalog.settle(&intent.table_name()).await {
        return Ok(Resolution::Unsure { reason: format!("other writers are at the table: {error}") });
    }
    let Some(mut state) = find(core, intent).await? else {
        return Ok(waits.unwrap_or_else(|| without_table(core, intent)));
    };
    // The run died while its rows were checked: nobody looks at them any more, and they must not be missed.
    if hide_left(core, &state, intent.snapshot_id).await?
        && let Some(now) = core.catalog.load(&state.name).await?
    {
        state = now;
    }
    let recorded = properties::loaded(state.metadata.properties(), &intent.window)
        .is_some_and(|(_, snapshot_id)| snapshot_id == intent.snapshot_id);
    let files = files(core, intent, Some(&state))?;
    let names: HashSet<String> = files.iter().cloned().collect();
    let ask = Landed {
        snapshot_id: intent.snapshot_id,
        proof: None,
        base_uuid: intent.base_uuid,
        base_snapshot_id: intent.base_snapshot_id,
        files: &names,
    };
    if recorded || landed(&Manifests::new(core.io.clone()), &state, &ask).await? == Verdict::Yes {
        intent.remove(core);
        return Ok(Resolution::Landed { snapshot_id: intent.snapshot_id });
    }
    // Also where it cannot be told whether it landed: no snapshot has any of its files now.
    Ok(waits.unwrap_or_else(|| not_landed(core, intent, files)))
}

/// The run's table, also when it was renamed.
async fn find(core: &Core, intent: &Intent) -> Result<Option<TableState>> {
    if let Some(state) = core.catalog.load(&intent.table_name()).await?
        && state.metadata.location() == intent.location
    {
        return Ok(Some(state));
    }
    let folder = format!("{}/", intent.location);
    for entry in core.catalog.list_tables(None).await? {
        if let Some(state) = entry.at(&folder, core.catalog.as_ref()).await? {
            return Ok(Some(state));
        }
    }
    Ok(None)
}

/// No table has the folder: a table that the run was to make was never born; one that there was is gone, and its files are its own matter.
fn without_table(core: &Core, intent: &Intent) -> Resolution {
    match files(core, intent, None) {
        Ok(files) if files.is_empty() || intent.base_uuid.is_none() => not_landed(core, intent, files),
        Ok(_) => Resolution::Unsure { reason: format!("table {} is no longer in the catalog", intent.table_name()) },
        Err(error) => Resolution::Unsure { reason: error.to_string() },
    }
}

fn not_landed(core: &Core, intent: &Intent, files: Vec<String>) -> Resolution {
    let files_deleted = files.len();
    core.forget(files);
    give_up_uploads(core, intent);
    intent.remove(core);
    Resolution::NotLanded { files_deleted }
}

/// Data files that a killed run had half sent. A store that does not list them by folder (MinIO) drops them by itself after a day.
fn give_up_uploads(core: &Core, intent: &Intent) {
    let prefix = format!("{}/{}", intent.data_folder, data_prefix(&intent.run_id));
    let given_up = core.store.uploads(&intent.data_folder).and_then(|uploads| {
        let mut ours = uploads.iter().filter(|upload| upload.location.starts_with(&prefix));
        ours.try_for_each(|upload| core.store.abort_upload(upload))
    });
    if let Err(error) = given_up {
        tracing::warn!(run_id = %intent.run_id, %error, "unfinished uploads of an interrupted run could not be given up");
    }
}

/// Every file of the run that is there: data files, manifests, metadata files that are not the table's.
fn files(core: &Core, intent: &Intent, state: Option<&TableState>) -> Result<Vec<String>> {
    let list = |folder: &str| core.store.list(folder).map_err(Error::store("list", folder));
    let metadata_folder = format!("{}/metadata", intent.location);
    let (data, manifests) = (data_prefix(&intent.run_id), manifest_prefix(&intent.run_id, intent.snapshot_id));
    let ids: Vec<String> =
        (1..=REQUESTS).map(|request| format!("-{}.metadata.json", metadata_id(intent.snapshot_id, request))).collect();
    let mut in_use: HashSet<&str> = HashSet::new();
    if let Some(state) = state {
        in_use.insert(&state.metadata_location);
        in_use.extend(state.metadata.metadata_log().iter().map(|entry| entry.metadata_file.as_str()));
    }
    let mut found = Vec::new();
    for file in list(&intent.data_folder)? {
        if file.name.starts_with(&data) {
            found.push(file.location);
        }
    }
    for file in list(&metadata_folder)? {
        let ours = file.name.starts_with(&manifests) || ids.iter().any(|id| file.name.ends_with(id));
        if ours && !in_use.contains(file.location.as_str()) {
            found.push(file.location);
        }
    }
    Ok(found)
}
