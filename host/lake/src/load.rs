//! One load: data files first, then one commit.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_schema::{Schema, SchemaRef};
use lakehost_columnar::{BatchSource, ByteSource, PartitionField, SinkFactory};
use lakehost_pipeline::ports::{
    CommitRequest, Committed, Load, Merged, RejectWriter, SourceObject, Staged, TableName, Target, WriteMode,
};
use lakehost_pipeline::{Fault, Window};

use crate::commit::{Action, Ended, Landing, LoadAction, Prepared, keeps_files, land, open, rehearse};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::fail_point;
use crate::intent::Intent;
use crate::merge::{Merge, MergeAction};
use crate::plan::Plan;
use crate::raw;
use crate::refs;
use crate::reject_spool::Spool;
use crate::rejects::Rejects;
use crate::replay::Replay;
use crate::run_files::RunFiles;

/// How often a merge that others overtake begins anew.
const MERGE_ROUNDS: u32 = 40;

/// A load that has begun.
#[derive(Debug)]
pub struct LakeLoad {
    core: Arc<Core>,
    target: Target,
    plan: Plan,
    files: Arc<RunFiles>,
    /// The part in the table of rejected rows.
    rejects: Option<Rejects>,
    /// Rejected rows that came before the load had an id, when somebody asked where to.
    spool: Option<Arc<Spool>>,
    /// The rows that it takes from there.
    replay: Option<Replay>,
    /// Files that a merge put into the table, and what became of its rows.
    merged: Mutex<(HashSet<String>, Option<Merged>)>,
    /// Manifests of the last rehearsal.
    rehearsed: Vec<String>,
    /// Nothing is left to tidy up.
    settled: bool,
}

impl LakeLoad {
    pub(crate) fn new(core: Arc<Core>, target: Target, plan: Plan, intent: Intent) -> Self {
        let files = RunFiles::new(Arc::clone(&core), intent);
        Self {
            core,
            target,
            plan,
            files: Arc::new(files),
            rejects: None,
            spool: None,
            replay: None,
            merged: Mutex::default(),
            rehearsed: Vec::new(),
            settled: false,
        }
    }

    /// Makes it the replay of rejected rows; `part`: what stays rejected.
    pub(crate) fn replay(&mut self, part: Rejects, replay: Replay) {
        (self.rejects, self.replay) = (Some(part), Some(replay));
    }

    fn try_commit(&mut self, request: &CommitRequest, branch: Option<&str>) -> Result<Committed> {
        let ended = match self.ready(request).and_then(|()| self.ready_rejects(request, branch)) {
            Ok(rejected) => self.land(request, rejected.as_ref(), branch),
            Err(error) => Ended { result: Err(error), stray: false },
        };
        // A killed process tidies nothing up, and an unknown outcome must keep everything.
        self.settled = ended.keeps_files();
        if ended.stray && !ended.result.as_ref().is_err_and(keeps_files) {
            // Certain as things are; but should the table go back to where it was, a request that is still on its way could yet land.
            self.files.settle();
            self.rejects.iter().for_each(|rejects| rejects.files.settle());
        }
        let landings = ended.result?;
        let attempts = match landings.first() {
            Some(Landing::Landed { requests, .. }) => *requests,
            Some(Landing::AlreadyLoaded { snapshot_id }) => {
                self.discard();
                return Ok(Committed::AlreadyLoaded { snapshot_id: *snapshot_id });
            }
            Some(Landing::Nothing) | None => {
                return Err(Error::Internal(format!("a load of {} did nothing", self.target.table)));
            }
        };
        self.settled = true;
        self.core.fail_points.pass(fail_point::BEFORE_CLEANUP)?;
        let kept: HashSet<&str> = request.files.iter().map(|file| file.location.as_str()).collect();
        let (merged_files, merged) = std::mem::take(&mut *self.merged.lock().unwrap_or_else(PoisonError::into_inner));
        let is_kept = |location: &String| match self.target.mode {
            // Some of its files were written anew.
            WriteMode::Merge => merged_files.contains(location),
            _ => kept.contains(location.as_str()),
        };
        self.core.forget(self.files.created().into_iter().filter(|location| !is_kept(location)));
        self.core.forget(std::mem::take(&mut self.rehearsed));
        self.files.settle();
        if let Some(rejects) = &self.rejects {
            match landings.get(1) {
                Some(Landing::Landed { .. }) => rejects.files.settle(),
                // Already there by another run, or left out.
                _ => rejects.discard(),
            }
        }
        Ok(Committed::Landed { snapshot_id: self.files.intent.snapshot_id, attempts, merged })
    }

    /// The commit of the rejected rows that goes with that of the load.
    fn ready_rejects(&mut self, request: &CommitRequest, branch: Option<&str>) -> Result<Option<CommitRequest>> {
        if let (Some(replay), Some(part)) = (&self.replay, &self.rejects) {
            if let Some(branch) = branch {
                return Err(Error::Internal(format!("a replay of {} is to go to branch {branch}", self.target.table)));
            }
            let rest = replay.rest(request, part)?;
            self.settle_folder(&part.files, &rest)?;
            return Ok(Some(rest));
        }
        if branch.is_some() {
            // They are those of the load that counts, which this one is not.
            if let Some(rejects) = self.rejects.take() {
                rejects.discard();
            }
            return Ok(None);
        }
        if self.rejects.is_none() {
            self.rejects = match Rejects::clear(&self.core, &self.target, &request.run_id) {
                Ok(rejects) => rejects,
                Err(error) => {
                    // Readers go by the load id, so rows that stay behind mislead nobody.
                    tracing::warn!(table = %self.target.table, %error, "rejected rows of an earlier load are left");
                    None
                }
            };
        }
        let Some(rejects) = &self.rejects else { return Ok(None) };
        let rejected = rejects.request(request)?;
        self.settle_folder(&rejects.files, &rejected)?;
        Ok(Some(rejected))
    }

    /// The names of a commit's files are durable when this returns.
    fn settle_folder(&self, files: &RunFiles, request: &CommitRequest) -> Result<()> {
        if request.files.is_empty() {
            return Ok(());
        }
        let folder = &files.intent.data_folder;
        self.core.store.settle(folder).map_err(Error::store("sync", folder))
    }

    /// The request is about this run's files, and every row is accounted for. Its files and their names are durable when this returns.
    fn ready(&self, request: &CommitRequest) -> Result<()> {
        let table = &self.target.table;
        if request.run_id != self.files.intent.run_id {
            return Err(Error::Internal(format!("run {} commits the load of another run", request.run_id)));
        }
        let created: HashSet<String> = self.files.created().into_iter().collect();
        if let Some(stranger) = request.files.iter().find(|file| !created.contains(&file.location)) {
            return Err(Error::Internal(format!("{} is not a file of this load", stranger.location)));
        }
        let in_files: u64 = request.files.iter().map(|file| file.rows).sum();
        let unbalanced = if in_files != request.rows_written {
            Some(format!("{} rows are in the files, {} were written", in_files, request.rows_written))
        } else if Some(request.rows_read) != request.rows_written.checked_add(request.rows_rejected) {
            Some(format!(
                "{} rows were read, {} written and {} rejected",
                request.rows_read, request.rows_written, request.rows_rejected
            ))
        } else {
            None
        };
        if let Some(detail) = unbalanced {
            return Err(Error::Balance { table: table.clone(), detail });
        }
        self.files.record()?;
        self.settle_folder(&self.files, request)
    }

    fn action<'a>(&'a self, request: &'a CommitRequest, branch: Option<&'a str>) -> LoadAction<'a> {
        LoadAction { target: &self.target, plan: &self.plan, request, branch, optional: false }
    }

    fn land(&self, request: &CommitRequest, rejected: Option<&CommitRequest>, branch: Option<&str>) -> Ended {
        if let (Some(replay), Some(part), Some(rest)) = (&self.replay, &self.rejects, rejected) {
            let (coming, going) = (replay.coming(self.action(request, branch)), replay.going(part, rest));
            let ids = [self.files.intent.snapshot_id, part.files.intent.snapshot_id];
            return self.core.block_on(land(&self.core, &[&coming, &going], &request.run_id, &ids));
        }
        if self.target.mode == WriteMode::Merge {
            return self.land_merge(request, rejected, branch);
        }
        self.land_action(&self.action(request, branch), request, rejected)
    }

    /// Merges, anew as often as others commit what it has to look at.
    fn land_merge(&self, request: &CommitRequest, rejected: Option<&CommitRequest>, branch: Option<&str>) -> Ended {
        let mut plan = self.plan.clone();
        let mut stray = false;
        for _ in 0..MERGE_ROUNDS {
            let load = LoadAction { plan: &plan, ..self.action(request, branch) };
            let merge = match Merge::work(&self.core, &load, &self.files) {
                Ok(merge) => merge,
                Err(error) => return Ended { result: Err(error), stray },
            };
            if let Err(error) = self.core.fail_points.pass(fail_point::MERGE_WRITTEN) {
                return Ended { result: Err(error), stray };
            }
            let action = MergeAction { load, merge: &merge, moved: AtomicBool::new(false) };
            let ended = self.land_action(&action, request, rejected);
            stray |= ended.stray;
            if action.moved.load(Ordering::Relaxed) && !ended.result.as_ref().is_err_and(keeps_files) {
                match self.on_head() {
                    Ok(now) => plan = now,
                    Err(error) => return Ended { result: Err(error), stray },
                }
                continue;
            }
            if matches!(ended.result.as_deref(), Ok([Landing::Landed { .. }, ..])) {
                let mut merged = self.merged.lock().unwrap_or_else(PoisonError::into_inner);
                merged.0.extend(merge.files().into_iter().map(str::to_owned));
                if stray {
                    // An earlier request may name any of them.
                    merged.0.extend(self.files.created());
                }
                merged.1 = Some(merge.merged);
                return ended;
            }
            return Ended { stray, ..ended };
        }
        let busy = Error::Busy { table: self.target.table.clone(), attempts: MERGE_ROUNDS };
        Ended { result: Err(busy), stray }
    }

    /// The load's plan on the table as it is now.
    fn on_head(&self) -> Result<Plan> {
        let head = self.core.block_on(self.core.catalog.load(&self.target.table))?;
        let mut plan = Plan::new(&self.target, head, self.plan.location())?;
        for (found, file) in &self.plan.evolved {
            plan = plan.evolve(&self.target, found, file)?;
        }
        self.plan.carries_over(&plan, &self.target.table)?;
        Ok(plan)
    }

    fn land_action(&self, main: &dyn Action, request: &CommitRequest, rejected: Option<&CommitRequest>) -> Ended {
        let main_id = self.files.intent.snapshot_id;
        match (&self.rejects, rejected) {
            (Some(rejects), Some(rejected)) => {
                let beside = LoadAction {
                    target: &rejects.target,
                    plan: &rejects.plan,
                    request: rejected,
                    branch: None,
                    optional: true,
                };
                let ids = [main_id, rejects.files.intent.snapshot_id];
                self.core.block_on(land(&self.core, &[main, &beside], &request.run_id, &ids))
            }
            _ => self.core.block_on(land(&self.core, &[main], &request.run_id, &[main_id])),
        }
    }

    fn try_prepare(&mut self, request: &CommitRequest) -> Result<Staged> {
        self.ready(request)?;
        self.core.forget(std::mem::take(&mut self.rehearsed));
        let snapshot_id = self.files.intent.snapshot_id;
        let load = self.action(request, None);
        let merge = match self.target.mode {
            WriteMode::Merge => Some(Merge::work(&self.core, &load, &self.files)?),
            _ => None,
        };
        let action: Box<dyn Action> = match (&merge, &self.replay) {
            (Some(merge), _) => Box::new(MergeAction { load, merge, moved: AtomicBool::new(false) }),
            (None, Some(replay)) => Box::new(replay.coming(load)),
            (None, None) => Box::new(load),
        };
        let prepared = self.core.block_on(async {
            match rehearse(&self.core, action.as_ref(), &request.run_id, snapshot_id).await? {
                Some(prepared) => Ok(prepared),
                // Another run has just committed the same load: that is what there is to see.
                None => present(&self.core, &self.target.table).await,
            }
        })?;
        drop(action);
        self.rehearsed.clone_from(&prepared.scratch);
        Ok(Staged { table: self.target.table.clone(), snapshot_id: prepared.snapshot_id, handle: Arc::new(prepared) })
    }

    /// Deletes everything that this run wrote.
    fn discard(&mut self) {
        if !std::mem::replace(&mut self.settled, true) {
            self.core.forget(std::mem::take(&mut self.rehearsed));
            self.files.discard();
            if let Some(rejects) = &self.rejects {
                rejects.discard();
            }
        }
    }
}

impl Load for LakeLoad {
    fn schema(&self) -> &SchemaRef {
        &self.plan.schema
    }

    fn partition(&self) -> &[PartitionField] {
        &self.plan.partition
    }

    fn sinks(&self) -> Arc<dyn SinkFactory> {
        Arc::clone(&self.files) as Arc<dyn SinkFactory>
    }

    fn evolve(&mut self, found: &Schema, file: &str) -> Result<(), Fault> {
        self.plan = self.plan.evolve(&self.target, found, file)?;
        Ok(())
    }

    fn keep_raw(&self, object: &SourceObject, bytes: &dyn ByteSource) -> Result<String, Fault> {
        let window = self.target.window.as_ref().map(Window::label);
        let folder = raw::folder(self.core.warehouse.root(), &self.target.table, window);
        Ok(raw::keep(self.core.store.as_ref(), &folder, object, bytes)?)
    }

    fn rejects(&mut self) -> Result<Arc<dyn RejectWriter>, Fault> {
        let rejects = match &mut self.rejects {
            Some(rejects) => rejects,
            none => {
                let part = Rejects::begin(&self.core, &self.target, &self.files.intent.run_id)?;
                none.insert(part.with_spooled(self.spool.as_ref()))
            }
        };
        Ok(rejects.writer())
    }

    fn spool_rejects(&mut self) -> Option<Arc<dyn RejectWriter>> {
        Some(Arc::clone(self.spool.get_or_insert_default()) as Arc<dyn RejectWriter>)
    }

    fn changes(&self) -> Vec<String> {
        self.plan.respecified().into_iter().collect()
    }

    fn rejected(&self) -> Result<Box<dyn BatchSource>, Fault> {
        let Some(replay) = &self.replay else {
            return Err(Error::Internal(format!("a load of {} is no replay", self.target.table)).into());
        };
        Ok(Box::new(replay.batches(&self.core)?))
    }

    fn prepare(&mut self, request: &CommitRequest) -> Result<Staged, Fault> {
        Ok(self.try_prepare(request)?)
    }

    fn commit(mut self: Box<Self>, request: CommitRequest) -> Result<Committed, Fault> {
        Ok(self.try_commit(&request, None)?)
    }

    fn quarantine(mut self: Box<Self>, request: CommitRequest, branch: &str) -> Result<i64, Fault> {
        // On the branch of a run nothing is published by a commit.
        let on_run_branch = self.core.warehouse.run().is_some();
        let branch = (!on_run_branch).then_some(branch);
        branch.map_or(Ok(()), |branch| refs::check_name(&self.target.table, branch))?;
        match self.try_commit(&request, branch)? {
            Committed::Landed { snapshot_id, .. } | Committed::AlreadyLoaded { snapshot_id } => Ok(snapshot_id),
        }
    }
}

impl Drop for LakeLoad {
    fn drop(&mut self) {
        self.discard();
    }
}

/// The table as it is, for want of one to come.
async fn present(core: &Core, table: &TableName) -> Result<Prepared> {
    let Some(state) = core.catalog.load(table).await? else {
        return Err(Error::NoTable { table: table.clone(), known: Vec::new() });
    };
    let snapshot_id = state.main().map_or(0, |snapshot| snapshot.snapshot_id());
    let table = open(core, table, state.metadata, state.metadata_location)?;
    Ok(Prepared { table, snapshot_id, scratch: Vec::new(), delta: None })
}
