//! The lake: a warehouse folder and its catalog, as the pipeline sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use iceberg::table::Table;
use lakehost_pipeline::Fault;
use lakehost_pipeline::ports::{Lake, Load, LoadRecord, LoadState, TableInfo, TableName, Target, WriteMode};
use rand::Rng;

use crate::catalog::TableState;
use crate::commit::{Action, Landing, land, open, source_objects};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::intent::Intent;
use crate::layout;
use crate::load::LakeLoad;
use crate::loaded::{self, Found};
use crate::location::check_run_id;
use crate::plan::Plan;
use crate::resolve::{self, Ask, Resolution, Resolved};
use crate::schema;
use crate::source_state;
use crate::store::S3Keys;

/// A warehouse with its catalog. Cheap to clone.
#[derive(Clone, Debug)]
pub struct IcebergLake {
    pub(crate) core: Arc<Core>,
}

impl IcebergLake {
    /// The table as the catalog has it now.
    pub fn state(&self, name: &TableName) -> Result<TableState> {
        if name.namespace.contains('.') {
            let detail = format!("lies in the nested namespace {}, which only others read", name.namespace);
            return Err(Error::shape(name, detail));
        }
        self.core.block_on(self.load(name))
    }

    /// The keys of the warehouse's bucket as they are now, for an engine that cannot look them up: those of a role run out. `None`: a folder.
    ///
    /// # Errors
    /// `LH0501`, `LH0503` when a role or a catalog hands out none.
    pub fn bucket_keys(&self) -> Result<Option<S3Keys>> {
        let root = self.core.warehouse.root();
        self.core.store.keys(root).map_err(Error::store("get keys for", root))
    }

    /// The ids of all loads whose rows the table has, as far back as its snapshots tell.
    pub fn present_loads(&self, name: &TableName) -> Result<BTreeSet<String>> {
        Ok(loaded::present(&self.state(name)?))
    }

    pub(crate) async fn load(&self, name: &TableName) -> Result<TableState> {
        match self.core.catalog.load(name).await? {
            Some(state) => Ok(state),
            None => {
                let known = self.core.catalog.list_tables(None).await?;
                Err(Error::NoTable {
                    table: name.clone(),
                    known: known.into_iter().take(20).map(|entry| entry.table.to_string()).collect(),
                })
            }
        }
    }

    /// The table for the Iceberg library's readers.
    pub fn open_table(&self, name: &TableName) -> Result<Table> {
        self.core.block_on(async {
            let state = self.load(name).await?;
            open(&self.core, name, state.metadata, state.metadata_location)
        })
    }

    /// Carries out one action that no run stands behind.
    pub(crate) fn act(&self, action: &dyn Action, word: &str) -> Result<Landing> {
        self.core.catalog.check_writable()?;
        self.core.block_on(async {
            let state = self.load(action.table()).await?;
            let id = new_snapshot_id(Some(&state));
            let ended = land(&self.core, &[action], &format!("{word}-{id}"), &[id]).await;
            Ok(ended.result?.into_iter().next().unwrap_or(Landing::Nothing))
        })
    }

    /// Finishes runs that ended without saying how: all, or one. Nothing is touched that a living process may be at.
    pub fn resolve(&self, run_id: Option<&str>) -> Result<Vec<Resolved>> {
        self.core.block_on(resolve::resolve(&self.core, Ask::User(run_id)))
    }

    /// Tidies up behind runs whose process is gone. Never in the way of the run that is about to begin.
    async fn sweep(&self) {
        match resolve::resolve(&self.core, Ask::Sweep).await {
            Ok(resolved) => {
                for run in resolved {
                    match run.resolution {
                        Resolution::InUse | Resolution::Waiting { .. } => {}
                        Resolution::Landed { snapshot_id } => {
                            tracing::info!(run_id = %run.run_id, snapshot_id, "an interrupted run had been committed");
                        }
                        Resolution::NotLanded { files_deleted } => {
                            tracing::info!(run_id = %run.run_id, files_deleted, "tidied up behind an interrupted run");
                        }
                        Resolution::Unsure { reason } => {
                            tracing::warn!(run_id = %run.run_id, %reason, "an interrupted run is left as it is");
                        }
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "interrupted runs could not be looked at"),
        }
    }

    fn info(&self, state: &TableState) -> Result<TableInfo> {
        let (name, metadata) = (&state.name, &state.metadata);
        let schema = metadata.current_schema();
        Ok(TableInfo {
            schema: schema::arrow_schema(name, schema)?,
            partition: layout::beyond_window(name, schema, metadata.default_partition_spec())?,
            properties: metadata
                .properties()
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect::<BTreeMap<_, _>>(),
            snapshot_id: state.main().map(|snapshot| snapshot.snapshot_id()),
        })
    }

    pub(crate) fn start(&self, target: &Target, run_id: &str) -> Result<LakeLoad> {
        check_run_id(run_id)?;
        self.core.catalog.check_writable()?;
        let state = self.core.block_on(async {
            self.sweep().await;
            self.core.catalog.load(&target.table).await
        })?;
        let plan = Plan::new(target, state, &self.core.warehouse.table(&target.table))?;
        let plan = plan.placed(&self.core, &target.table)?;
        let intent = Intent::new(&self.core, target, &plan, run_id);
        Ok(LakeLoad::new(Arc::clone(&self.core), target.clone(), plan, intent))
    }

    fn record(&self, name: &TableName, window: &str, owner: &str, mode: WriteMode) -> Result<Option<LoadRecord>> {
        let Some(state) = self.core.block_on(self.core.catalog.load(name))? else { return Ok(None) };
        let Some(Found { load_id, snapshot_id }) = loaded::find(&state, mode, owner, window, |_| true) else {
            return Ok(None);
        };
        let snapshot = state.metadata.snapshot_by_id(snapshot_id);
        let recorded = |key: &str| {
            let properties = &snapshot?.summary().additional_properties;
            properties.get(key).cloned()
        };
        Ok(Some(LoadRecord {
            load_id,
            snapshot_id,
            state: match snapshot {
                None => LoadState::Expired,
                Some(_) if state.is_on_main(snapshot_id) => LoadState::Present,
                Some(_) => LoadState::RolledBack,
            },
            objects: snapshot.map(|snapshot| source_objects(snapshot.summary())).unwrap_or_default(),
            plugins: recorded("lakehost.plugins").unwrap_or_default(),
        }))
    }
}

/// Positive, and not one that the table has.
pub(crate) fn new_snapshot_id(state: Option<&TableState>) -> i64 {
    let mut random = rand::rng();
    loop {
        let id = random.random_range(1..i64::MAX);
        if state.is_none_or(|state| state.metadata.snapshot_by_id(id).is_none()) {
            return id;
        }
    }
}

impl Lake for IcebergLake {
    fn table(&self, name: &TableName) -> Result<Option<TableInfo>, Fault> {
        let state = self.core.block_on(self.core.catalog.load(name))?;
        Ok(state.as_ref().map(|state| self.info(state)).transpose()?)
    }

    fn last_load(&self, name: &TableName, window_key: &str) -> Result<Option<LoadRecord>, Fault> {
        Ok(self.record(name, window_key, "", WriteMode::ReplaceWindow)?)
    }

    fn last_load_by(
        &self,
        name: &TableName,
        window_key: &str,
        owner: &str,
        mode: WriteMode,
    ) -> Result<Option<LoadRecord>, Fault> {
        Ok(self.record(name, window_key, owner, mode)?)
    }

    fn source_state(&self, name: &TableName, owner: &str) -> Result<Option<String>, Fault> {
        let state = self.core.block_on(self.core.catalog.load(name))?;
        Ok(state.and_then(|state| source_state::state(state.metadata.properties(), owner).cloned()))
    }

    fn begin(&self, target: &Target, run_id: &str) -> Result<Box<dyn Load>, Fault> {
        Ok(Box::new(self.start(target, run_id)?))
    }

    fn begin_replay(&self, target: &Target, run_id: &str) -> Result<Option<Box<dyn Load>>, Fault> {
        Ok(self.start_replay(target, run_id)?.map(|load| Box::new(load) as Box<dyn Load>))
    }
}
