//! A replay: rows move from the table of rejected rows into the table that rejected them.
//!
//! Both tables change in one commit or neither does: a row that left one table and did not come to the other would be lost, and one that is in
//! both would come a second time. So a catalog that moves one table at a time is refused. The commit adds to the window and takes nothing away;
//! no property says that a load was made, and the snapshot's summary names the load whose rows these are.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use iceberg::spec::DataContentType;
use lakehost_columnar::{BatchSource, BoxError};
use lakehost_pipeline::ports::{CommitRequest, TableName, Target};

use crate::catalog::{Base, TableState};
use crate::commit::{
    Action, Added, Delta, LoadAction, Manifests, NewSnapshot, On, Removal, Step, data_files, of_replay,
};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::inspect::{LiveFile, live_files};
use crate::lake::IcebergLake;
use crate::load::LakeLoad;
use crate::maintain::{Batches, Reader};
use crate::masked::paths;
use crate::properties;
use crate::rejects::{self, Rejects};

/// The rejected rows of a window as a replay found them.
#[derive(Debug)]
pub struct Replay {
    /// The table of rejected rows.
    state: TableState,
    /// Its files of the window, and their rows.
    files: HashSet<String>,
    rows: u64,
}

impl IcebergLake {
    /// Starts a replay; `None`: the window has no rejected rows.
    pub(crate) fn start_replay(&self, target: &Target, run_id: &str) -> Result<Option<LakeLoad>> {
        let catalog = &self.core.catalog;
        if !catalog.can().many_tables {
            return Err(Error::CatalogUnable {
                catalog: catalog.shown().to_owned(),
                detail: format!(
                    "a replay changes {} and its rejected rows in one commit, and this catalog moves one table at a time; a load with --force \
                     runs the window through the present cleaners",
                    target.table
                ),
            });
        }
        // The main table first: a replay that lands in between then shows as a change of it.
        let mut load = self.start(target, run_id)?;
        let beside = self.core.block_on(rejects::table_of(&self.core, &target.table))?;
        let Some(state) = beside else { return Ok(None) };
        let part = Rejects::begin(&self.core, target, run_id)?;
        let live = self.core.block_on(live_files(&Manifests::new(self.core.io.clone()), &state, state.main()))?;
        let mut found: Vec<LiveFile> = Vec::new();
        for live in live.into_iter().filter(|live| live.file.content_type() == DataContentType::Data) {
            let ours = match &part.plan.window {
                Some(window) => window.holds(&state.name, &live.file, &live.spec)?,
                None => true,
            };
            if ours {
                found.push(live);
            }
        }
        if found.is_empty() {
            return Ok(None);
        }
        let reader = self.core.block_on(Reader::of(&self.core, &state))?;
        let deleted_from = reader.deleted_from();
        let files: HashSet<String> = found.iter().map(|live| live.file.file_path().to_owned()).collect();
        if files.iter().any(|path| deleted_from.contains(path)) {
            return Err(Error::TableShape {
                table: state.name.clone(),
                detail: "has deleted rows that are still in its files".to_owned(),
                hint: Some(format!("`lakehost table compact {}` writes its files anew", state.name)),
            });
        }
        let rows = found.iter().map(|live| live.file.record_count()).sum();
        load.replay(part, Replay { state, files, rows });
        Ok(Some(load))
    }
}

impl Replay {
    /// The rows, in the same order each time.
    pub fn batches(&self, core: &Arc<Core>) -> Result<Kept> {
        let reader = core.block_on(Reader::of(core, &self.state))?;
        let mut files: Vec<String> = self.files.iter().cloned().collect();
        files.sort_unstable();
        let schema = crate::schema::arrow_schema(&self.state.name, self.state.metadata.current_schema())?;
        Ok(Kept { core: Arc::clone(core), state: self.state.clone(), reader, schema, files: files.into(), open: None })
    }

    /// The rows that stay rejected, in the place of all of them. Every row is in one of the two tables.
    pub fn rest(&self, request: &CommitRequest, part: &Rejects) -> Result<CommitRequest> {
        let rest = part.request_of(request, None)?;
        if rest.rows_written.checked_add(request.rows_written) != Some(self.rows) {
            return Err(Error::Balance {
                table: self.state.name.clone(),
                detail: format!(
                    "{} rows were rejected, {} move and {} stay",
                    self.rows, request.rows_written, rest.rows_written
                ),
            });
        }
        Ok(rest)
    }

    /// What the commit does to the main table.
    pub fn coming<'a>(&self, load: LoadAction<'a>) -> Coming<'a> {
        Coming { load }
    }

    /// What the commit does to the table of rejected rows.
    pub fn going<'a>(&'a self, part: &'a Rejects, request: &'a CommitRequest) -> Going<'a> {
        Going { replay: self, part, request }
    }
}

/// Rows that come to a window.
pub struct Coming<'a> {
    load: LoadAction<'a>,
}

#[async_trait]
impl Action for Coming<'_> {
    fn table(&self) -> &TableName {
        &self.load.target.table
    }

    async fn prepare(&self, on: &On<'_>) -> Result<Step> {
        let (target, request) = (self.load.target, self.load.request);
        // Fails when the window got other files meanwhile: then these rows are not rejected by what it holds.
        let plan = self.load.plan_on(on).await?;
        let files = data_files(&target.table, &plan.metadata, plan.window.as_ref(), &target.sort, &request.files)?;
        let mut delta = Delta::on(plan.base.clone());
        delta.schema = plan.new_schema.clone();
        delta.spec = plan.new_spec.clone();
        delta.snapshot = Some(NewSnapshot {
            added: files.into_iter().map(Added::new).collect(),
            ..NewSnapshot::on_main(of_replay(request, target, &properties::key_of(target), &replayed(on.head, target)))
        });
        Ok(Step::Change(Box::new(delta)))
    }
}

/// The load that the window holds, which stays so.
fn replayed(head: Option<&TableState>, target: &Target) -> String {
    let loaded = head.and_then(|head| properties::loaded(head.metadata.properties(), &properties::key_of(target)));
    loaded.map(|(load_id, _)| load_id).unwrap_or_default()
}

/// Rows that leave a table of rejected rows.
pub struct Going<'a> {
    replay: &'a Replay,
    part: &'a Rejects,
    request: &'a CommitRequest,
}

#[async_trait]
impl Action for Going<'_> {
    fn table(&self) -> &TableName {
        &self.part.target.table
    }

    async fn prepare(&self, on: &On<'_>) -> Result<Step> {
        let table = &self.part.target.table;
        let conflict = || Error::Conflict {
            table: table.clone(),
            what: match &self.part.target.window {
                Some(window) => format!("window {window}"),
                None => "the table".to_owned(),
            },
            found: on.head.and_then(TableState::main).map(|snapshot| snapshot.snapshot_id()),
            expected: self.replay.state.main().map(|snapshot| snapshot.snapshot_id()),
        };
        let head = on.head.ok_or_else(conflict)?;
        if head.version() != self.replay.state.version() {
            let live = live_files(on.manifests, head, head.main()).await?;
            let present = paths(&live);
            if !self.replay.files.iter().all(|path| present.contains(path.as_str())) {
                return Err(conflict());
            }
        }
        let plan = &self.part.plan;
        let files = data_files(table, &plan.metadata, plan.window.as_ref(), &[], &self.request.files)?;
        let mut delta = Delta::on(Base::Existing(head.clone()));
        delta.snapshot = Some(NewSnapshot {
            removal: Removal::Files(self.replay.files.clone()),
            added: files.into_iter().map(Added::new).collect(),
            ..NewSnapshot::on_main(of_replay(
                self.request,
                &self.part.target,
                &properties::key_of(&self.part.target),
                "",
            ))
        });
        Ok(Step::Change(Box::new(delta)))
    }
}

/// The rejected rows of a window, file after file.
pub struct Kept {
    core: Arc<Core>,
    state: TableState,
    reader: Reader,
    schema: SchemaRef,
    files: VecDeque<String>,
    open: Option<Batches>,
}

impl BatchSource for Kept {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn next(&mut self) -> Result<Option<RecordBatch>, BoxError> {
        loop {
            if let Some(open) = &mut self.open {
                if let Some(batch) = open.next()? {
                    return Ok(Some(batch));
                }
                self.open = None;
            }
            let Some(path) = self.files.pop_front() else { return Ok(None) };
            let opened = self.reader.batches(&self.core, &self.state, &path, None);
            self.open = Some(opened.map_err(lakehost_pipeline::Fault::from)?);
        }
    }
}
