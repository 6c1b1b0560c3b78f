//! The run: window by window, from splits to one snapshot each.

use arrow_schema::{FieldRef, Schema};
use lakehost_columnar::Stage;

use crate::chain::Chain;
use crate::checks;
use crate::codes;
use crate::diagnostic::Fault;
use crate::error::Error;
use crate::identity::{Identity, already_loaded, announced_bytes, describe};
use crate::layout;
use crate::merge_key::MergeKey;
use crate::plan::Plan;
use crate::ports::{
    Checker, Cleaner, CommitRequest, Committed, Dataset, Lake, Load, LoadState, Owner, Progress, Source, Split,
    TableName, Target, WriteMode,
};
use crate::progress::Start;
use crate::read::{Steps, Tally};
use crate::rejects;
use crate::report::{ErrorReport, Meter, RunReport, Status, WindowReport};
use crate::window::{Granularity, Window};

/// What a run works with.
pub struct Ports<'a> {
    pub source: &'a mut dyn Source,
    pub cleaners: &'a [Box<dyn Cleaner>],
    pub lake: &'a dyn Lake,
    pub meter: &'a dyn Meter,
    /// Who looks at staged rows; a plan with checks needs one.
    pub checks: Option<&'a dyn Checker>,
}

/// Runs a plan. Every window ends in the report; the first failure skips the rest unless the plan says to go on.
///
/// # Errors
/// Only what makes all windows pointless: a source that cannot say what it reads (LH0104, LH02xx).
pub fn run(plan: &Plan, ports: Ports<'_>) -> Result<RunReport, Fault> {
    each_window(plan, ports, |one, ports, report| one.load(ports, report))
}

/// Does `work` for every window of a plan, one after the other.
pub(crate) fn each_window(
    plan: &Plan,
    mut ports: Ports<'_>,
    work: impl Fn(&OneWindow<'_>, &mut Ports<'_>, &mut WindowReport) -> Result<(), Fault>,
) -> Result<RunReport, Fault> {
    let mut datasets = ports.source.discover()?;
    if datasets.len() != 1 {
        return Err(Error::DatasetCount { found: datasets.len() }.into());
    }
    let dataset = datasets.remove(0);
    let table = plan.table.clone().unwrap_or_else(|| dataset.default_table.clone());
    let mut reports = Vec::with_capacity(plan.windows.len());
    let mut stopped: Option<&str> = None;
    for window in &plan.windows {
        let label = window.as_ref().map(|window| window.label().to_owned());
        if let Some(reason) = stopped {
            let mut report = WindowReport::new(label, Status::Skipped);
            report.note = Some(reason.to_owned());
            reports.push(report);
            continue;
        }
        ports.meter.window_begins(label.as_deref().unwrap_or("all"));
        let mut report = WindowReport::new(label, Status::Skipped);
        let one = OneWindow { plan, dataset: &dataset, table: &table, window: window.as_ref() };
        if let Err(fault) = work(&one, &mut ports, &mut report) {
            let fault = fault.with("window", window.as_ref().map_or("all", Window::label)).with("table", &table);
            let not_published = fault.code() == codes::SOURCE_NOT_PUBLISHED;
            // What was written is gone again, or nobody knows.
            report.end(if not_published { Status::NotPublished } else { Status::Failed });
            report.error = Some(ErrorReport::from(&fault));
            if fault.code() == codes::INTERRUPTED {
                stopped = Some("interrupted before it began");
            } else if !plan.keep_going {
                stopped = Some("an earlier window failed");
            }
            report.fault = Some(fault);
        }
        report.add_stages(ports.meter.window_ends());
        report.peak_rss_bytes = ports.meter.peak_rss_bytes();
        reports.push(report);
    }
    Ok(RunReport::sum(plan.run_id.clone(), plan.pipeline.clone(), Some(table.to_string()), reports))
}

/// One window of a run.
pub(crate) struct OneWindow<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) dataset: &'a Dataset,
    pub(crate) table: &'a TableName,
    pub(crate) window: Option<&'a Window>,
}

impl OneWindow<'_> {
    fn load(&self, ports: &mut Ports<'_>, report: &mut WindowReport) -> Result<(), Fault> {
        let granularity = ports.source.spec().granularity;
        if self.window.is_none() && granularity != Granularity::None {
            return Err(Error::WindowMissing { granularity: granularity.word() }.into());
        }
        let key = self.merge_key(granularity)?;
        let mode = self.mode(granularity);
        let window_key = self.window.map_or("all", Window::key);
        let record = ports.lake.last_load_by(self.table, window_key, &self.owner(ports), mode)?;
        let standing = record.as_ref().filter(|record| record.state != LoadState::RolledBack);
        if self.plan.only_missing && standing.is_some() {
            report.note = Some("loaded before, and --only-missing leaves it alone".to_owned());
            return Ok(());
        }
        let start = Start::of(ports, self.table, &self.owner(ports), mode, self.plan.force)?;
        let splits = self.splits(ports, &start)?;
        if splits.is_empty() {
            report.end(Status::NoData);
            return Ok(());
        }
        let identity = Identity::new(self, ports, &key, &start, standing);
        if let Some(record) = standing.filter(|_| !self.plan.force)
            && let Some(load_id) = identity.of_record(&splits, record)
            && load_id == record.load_id
        {
            already_loaded(report, record);
            return Ok(());
        }
        let chain = Chain::bind(ports.cleaners, &self.dataset.schema, self.window)?;
        let steps = Steps { chain: &chain, key: &key };
        let target = self.target(ports, &steps, granularity)?;
        if self.plan.dry_run {
            report.note = Some(describe(&splits, &target));
            return Ok(());
        }
        let mut load = ports.lake.begin(&target, &self.plan.run_id)?;
        checks::check_columns(&self.plan.checks, self.table, load.schema())?;
        layout::check_sort(&self.plan.sort, self.table, load.schema())?;
        let mut tally = self.read_splits(ports, &splits, &steps, load.as_mut())?;
        let progress = start.progress(ports, self.dataset, self.window)?;
        report.count(&tally);
        let load_id = identity.of_objects(&tally.objects);
        if let Some(record) = standing.filter(|record| record.load_id == load_id) {
            already_loaded(report, record);
            return Ok(());
        }
        self.check(&tally, start.moves_on(progress.as_ref()))?;
        self.keep_rejected(load.as_mut(), &mut tally, &load_id)?;
        report.load_id = Some(load_id.clone());
        report.note = (!tally.changes.is_empty()).then(|| tally.changes.join("; "));
        let mark = ports.meter.enter(Stage::Commit);
        let committed = self.publish(ports, load, self.request(ports, load_id, tally, progress), report);
        ports.meter.leave(Stage::Commit, mark);
        match committed? {
            Committed::Landed { snapshot_id, merged, .. } => {
                report.end(Status::Loaded);
                if let Some(merged) = merged {
                    (report.files, report.bytes) = (merged.files, merged.bytes);
                }
                report.merge = merged;
                report.snapshot_id = Some(snapshot_id);
            }
            Committed::AlreadyLoaded { snapshot_id } => {
                report.end(Status::AlreadyLoaded);
                report.snapshot_id = Some(snapshot_id);
                report.note = Some("another run loaded the same rows meanwhile".to_owned());
            }
        }
        Ok(())
    }

    /// Hands the rejected rows to the table beside the window's own.
    fn keep_rejected(&self, load: &mut dyn Load, tally: &mut Tally, load_id: &str) -> Result<(), Fault> {
        let Some(rows) = tally.quarantine.take() else { return Ok(()) };
        let expected: u64 = tally.rejected.values().sum();
        if expected == 0 {
            return Ok(());
        }
        rows.write(load.rejects()?.as_ref(), load_id, expected)
    }

    /// Publishes the window when its checks pass; else keeps it on a branch where people can look at it.
    fn publish(
        &self,
        ports: &Ports<'_>,
        mut load: Box<dyn Load>,
        mut request: CommitRequest,
        report: &mut WindowReport,
    ) -> Result<Committed, Fault> {
        if self.plan.checks.is_empty() {
            return load.commit(request);
        }
        let stopping = self.examine(ports, load.as_mut(), &mut request, report)?;
        if stopping.is_empty() {
            return load.commit(request);
        }
        let branch = self.branch();
        let kept = load.quarantine(request, &branch);
        match &kept {
            Ok(_) => report.branch = Some(branch.clone()),
            // What the checks found is what has to be said; that the rows are gone comes second.
            Err(fault) => report.note = Some(format!("the rows are not kept on a branch: {fault}")),
        }
        Err(Error::ChecksFailed {
            table: self.table.to_string(),
            failed: stopping.len(),
            checks: report.checks.len(),
            details: stopping.join("; "),
            branch: kept.is_ok().then_some(branch),
            run_id: self.plan.run_branch.as_ref().map(|_| self.plan.run_id.clone()),
        }
        .into())
    }

    /// Makes the checks on the staged rows. Answers those that stop the window; what only warns becomes part of the note.
    pub(crate) fn examine(
        &self,
        ports: &Ports<'_>,
        load: &mut dyn Load,
        request: &mut CommitRequest,
        report: &mut WindowReport,
    ) -> Result<Vec<String>, Fault> {
        if self.plan.checks.is_empty() {
            return Ok(Vec::new());
        }
        let Some(checker) = ports.checks else {
            return Err(Error::LakeUnable { detail: "there is nobody to look at the checks".to_owned() }.into());
        };
        let outcomes = checker.check(&load.prepare(request)?, self.window, &self.plan.checks)?;
        report.checks.clone_from(&outcomes);
        request.checks.clone_from(&outcomes);
        let stopping: Vec<String> =
            outcomes.iter().filter(|outcome| outcome.stops()).map(ToString::to_string).collect();
        let warned = outcomes.iter().filter(|outcome| !outcome.passed()).map(ToString::to_string);
        if stopping.is_empty() {
            let said: Vec<String> = report.note.take().into_iter().chain(warned).collect();
            report.note = (!said.is_empty()).then(|| said.join("; "));
        }
        Ok(stopping)
    }

    /// Where a window stays whose checks failed.
    fn branch(&self) -> String {
        if let Some(branch) = &self.plan.run_branch {
            return branch.clone();
        }
        let run_id = &self.plan.run_id;
        match self.window.filter(|_| self.plan.windows.len() > 1) {
            Some(window) => format!("audit/{run_id}/{}", window.label()),
            None => format!("audit/{run_id}"),
        }
    }

    fn splits(&self, ports: &mut Ports<'_>, start: &Start) -> Result<Vec<Split>, Fault> {
        let mark = ports.meter.enter(Stage::Plan);
        let splits = ports.source.plan(&self.dataset.name, self.window, start.given());
        ports.meter.leave(Stage::Plan, mark);
        let splits = splits?;
        if let Some(bytes) = announced_bytes(&splits) {
            ports.meter.window_holds(bytes);
        }
        Ok(splits)
    }

    /// Source and data set.
    pub(crate) fn owner(&self, ports: &Ports<'_>) -> String {
        format!("{}/{}", ports.source.plugin().name, self.dataset.name)
    }

    pub(crate) fn mode(&self, granularity: Granularity) -> WriteMode {
        let default = if granularity == Granularity::None { WriteMode::FullRefresh } else { WriteMode::ReplaceWindow };
        self.plan.mode.unwrap_or(default)
    }

    fn merge_key(&self, granularity: Granularity) -> Result<MergeKey, Error> {
        let (plan, mode) = (self.plan, self.mode(granularity));
        MergeKey::of(&plan.key, plan.order_by.as_deref(), self.dataset, self.table, mode)
    }

    pub(crate) fn target(
        &self,
        ports: &Ports<'_>,
        steps: &Steps<'_>,
        granularity: Granularity,
    ) -> Result<Target, Fault> {
        use lakehost_columnar::RowStep;
        let Steps { chain, key } = steps;
        let written: &[FieldRef] = chain.writes();
        if self.plan.quarantine && rejects::table_of(self.table).is_err() {
            return Err(Error::RejectsName { table: self.table.to_string() }.into());
        }
        let schema = layout::table_schema(&self.dataset.schema, written, self.plan.metadata_columns, granularity)?;
        if !key.columns.is_empty() {
            // The table may have columns that the source does not promise.
            let mut fields = schema.fields().to_vec();
            if let Some(present) = ports.lake.table(self.table)? {
                let more = present.schema.fields().iter().filter(|field| schema.field_with_name(field.name()).is_err());
                fields.extend(more.cloned());
            }
            key.check(self.table, &Schema::new(fields), self.plan.contract.evolves())?;
        }
        let cleaners: Vec<&str> = ports.cleaners.iter().map(|cleaner| cleaner.plugin().name.as_str()).collect();
        Ok(Target {
            table: self.table.clone(),
            schema,
            partition: self.plan.partition.clone(),
            window: self.window.cloned(),
            mode: self.mode(granularity),
            owner: Owner {
                owner: self.owner(ports),
                granularity,
                cleaners: if cleaners.is_empty() { "-".to_owned() } else { cleaners.join(",") },
            },
            contract: self.plan.contract.clone(),
            renames: self.plan.renames.clone(),
            key: key.columns.clone(),
            order: key.order.clone(),
            sort: self.plan.sort.clone(),
        })
    }

    /// Every row is accounted for.
    pub(crate) fn balance(&self, tally: &Tally) -> Result<(), Error> {
        let rows_rejected: u64 = tally.rejected.values().sum();
        let in_files: u64 = tally.files.iter().map(|file| file.rows).sum();
        if tally.rows_read != tally.rows_written + rows_rejected || in_files != tally.rows_written {
            let rows_written = in_files.min(tally.rows_written);
            return Err(Error::Balance { rows_read: tally.rows_read, rows_written, rows_rejected });
        }
        Ok(())
    }

    fn check(&self, tally: &Tally, moves_on: bool) -> Result<(), Error> {
        self.balance(tally)?;
        let rows_rejected: u64 = tally.rejected.values().sum();
        if tally.rows_written == 0 && !self.plan.allow_empty && !moves_on {
            return Err(Error::Empty {
                table: self.table.to_string(),
                window: self.window.map_or("all", Window::label).to_owned(),
                rows_read: tally.rows_read,
            });
        }
        match self.plan.max_rejected {
            Some(limit) if rows_rejected as f64 > limit * tally.rows_read as f64 => Err(Error::TooManyRejected {
                rejected: rows_rejected,
                read: tally.rows_read,
                limit: format!("{}%", limit * 100.0),
            }),
            _ => Ok(()),
        }
    }

    pub(crate) fn request(
        &self,
        ports: &Ports<'_>,
        load_id: String,
        tally: Tally,
        progress: Option<Progress>,
    ) -> CommitRequest {
        let mut plugins = vec![ports.source.plugin().clone()];
        plugins.extend(ports.cleaners.iter().map(|cleaner| cleaner.plugin().clone()));
        CommitRequest {
            load_id,
            run_id: self.plan.run_id.clone(),
            pipeline: self.plan.pipeline.clone(),
            objects: tally.objects,
            plugins,
            config_sha256: self.plan.config_sha256.clone(),
            config: self.plan.config.clone(),
            rows_read: tally.rows_read,
            rows_written: tally.rows_written,
            rows_rejected: tally.rejected.values().sum(),
            rejected_by: tally.rejected,
            values_discarded: tally.discarded,
            checks: Vec::new(),
            progress,
            files: tally.files,
        }
    }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
