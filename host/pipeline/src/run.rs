//! The run: window by window, from splits to one snapshot each.

use std::collections::BTreeMap;

use arrow_schema::{FieldRef, SchemaRef};
use lakehost_columnar::{OutputSchema, Path, Rows, Stage, Transcoder, WriteOptions, WrittenFile, as_is_plan};

use crate::chain::Chain;
use crate::codes;
use crate::diagnostic::Fault;
use crate::error::{Error, from_columns};
use crate::layout;
use crate::load_id::LoadIdentity;
use crate::plan::Plan;
use crate::ports::{
    Cleaner, CommitRequest, Committed, Dataset, Lake, Load, LoadRecord, LoadState, Owner, Source, SourceObject, Split,
    TableName, Target, WriteMode,
};
use crate::report::{ErrorReport, Meter, RunReport, Status, WindowReport};
use crate::window::{Granularity, Window};

/// What a run works with.
pub struct Ports<'a> {
    pub source: &'a mut dyn Source,
    pub cleaners: &'a [Box<dyn Cleaner>],
    pub lake: &'a dyn Lake,
    pub meter: &'a dyn Meter,
}

/// Runs a plan. Every window ends in the report; the first failure skips the rest unless the plan says to go on.
///
/// # Errors
/// Only what makes all windows pointless: a source that cannot say what it reads (LH0104, LH02xx).
pub fn run(plan: &Plan, mut ports: Ports<'_>) -> Result<RunReport, Fault> {
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
        if let Err(fault) = one.load(&mut ports, &mut report) {
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
struct OneWindow<'a> {
    plan: &'a Plan,
    dataset: &'a Dataset,
    table: &'a TableName,
    window: Option<&'a Window>,
}

/// What the splits of a window came to.
#[derive(Default)]
struct Tally {
    files: Vec<WrittenFile>,
    objects: Vec<SourceObject>,
    rows_read: u64,
    rows_written: u64,
    rejected: BTreeMap<String, u64>,
    paths: Vec<&'static str>,
}

impl OneWindow<'_> {
    fn load(&self, ports: &mut Ports<'_>, report: &mut WindowReport) -> Result<(), Fault> {
        let granularity = ports.source.spec().granularity;
        if self.window.is_none() && granularity != Granularity::None {
            return Err(Error::WindowMissing { granularity: granularity.word() }.into());
        }
        let key = self.window.map_or("all", Window::key);
        let record = ports.lake.last_load_by(self.table, key, &self.owner(ports), self.mode(granularity))?;
        let standing = record.as_ref().filter(|record| record.state != LoadState::RolledBack);
        if self.plan.only_missing && standing.is_some() {
            report.note = Some("loaded before, and --only-missing leaves it alone".to_owned());
            return Ok(());
        }
        let splits = self.splits(ports)?;
        if splits.is_empty() {
            report.end(Status::NoData);
            return Ok(());
        }
        let identity = Identity::new(self, ports, standing);
        if let Some(record) = standing.filter(|_| !self.plan.force)
            && let Some(load_id) = identity.of_record(&splits, record)
            && load_id == record.load_id
        {
            already_loaded(report, record);
            return Ok(());
        }
        let chain = Chain::bind(ports.cleaners, &self.dataset.schema, self.window)?;
        let target = self.target(ports, &chain, granularity)?;
        if self.plan.dry_run {
            report.note = Some(describe(&splits, &target));
            return Ok(());
        }
        let load = ports.lake.begin(&target, &self.plan.run_id)?;
        let tally = match self.read_splits(ports, &splits, &chain, load.as_ref(), granularity) {
            Ok(tally) => tally,
            Err(fault) => {
                load.abandon();
                return Err(fault);
            }
        };
        report.rows_read = tally.rows_read;
        report.rows_written = tally.rows_written;
        report.rows_rejected.clone_from(&tally.rejected);
        let load_id = identity.of_objects(&tally.objects);
        if let Some(record) = standing.filter(|record| record.load_id == load_id) {
            load.abandon();
            already_loaded(report, record);
            return Ok(());
        }
        if let Err(error) = self.check(&tally) {
            load.abandon();
            return Err(error.into());
        }
        report.bytes = tally.files.iter().map(|file| file.size_bytes).sum();
        report.files = tally.files.len() as u64;
        report.path = Some(tally.paths.join(","));
        report.load_id = Some(load_id.clone());
        let mark = ports.meter.enter(Stage::Commit);
        let committed = load.commit(self.request(ports, load_id, tally));
        ports.meter.leave(Stage::Commit, mark);
        match committed? {
            Committed::Landed { snapshot_id, .. } => {
                report.end(Status::Loaded);
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

    fn splits(&self, ports: &mut Ports<'_>) -> Result<Vec<Split>, Fault> {
        let mark = ports.meter.enter(Stage::Plan);
        let splits = ports.source.plan(&self.dataset.name, self.window);
        ports.meter.leave(Stage::Plan, mark);
        let splits = splits?;
        if let Some(bytes) = announced_bytes(&splits) {
            ports.meter.window_holds(bytes);
        }
        Ok(splits)
    }

    /// Source and data set.
    fn owner(&self, ports: &Ports<'_>) -> String {
        format!("{}/{}", ports.source.plugin().name, self.dataset.name)
    }

    fn mode(&self, granularity: Granularity) -> WriteMode {
        let default = if granularity == Granularity::None { WriteMode::FullRefresh } else { WriteMode::ReplaceWindow };
        self.plan.mode.unwrap_or(default)
    }

    fn target(&self, ports: &Ports<'_>, chain: &Chain, granularity: Granularity) -> Result<Target, Fault> {
        use lakehost_columnar::RowStep;
        let written: &[FieldRef] = chain.writes();
        let schema = layout::table_schema(&self.dataset.schema, written, self.plan.metadata_columns, granularity)?;
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
        })
    }

    fn read_splits(
        &self,
        ports: &mut Ports<'_>,
        splits: &[Split],
        chain: &Chain,
        load: &dyn Load,
        granularity: Granularity,
    ) -> Result<Tally, Fault> {
        let mut tally = Tally::default();
        for split in splits {
            if ports.meter.cancelled() {
                return Err(Error::Interrupted.into());
            }
            let add_split = |fault: Fault| fault.with("split", &split.id);
            let rows = ports.source.open(split).map_err(add_split)?;
            self.read_split(ports, rows, chain, load, granularity, &mut tally).map_err(add_split)?;
            let mark = ports.meter.enter(Stage::Download);
            let objects = ports.source.objects(split);
            ports.meter.leave(Stage::Download, mark);
            tally.objects.extend(objects.map_err(add_split)?);
        }
        Ok(tally)
    }

    fn read_split(
        &self,
        ports: &Ports<'_>,
        rows: Rows,
        chain: &Chain,
        load: &dyn Load,
        granularity: Granularity,
        tally: &mut Tally,
    ) -> Result<(), Fault> {
        let (name, found): (String, SchemaRef) = match &rows {
            Rows::Scan(scan) => (scan.file().bytes().name().to_owned(), scan.schema().clone()),
            Rows::Batches(batches) => (ports.source.plugin().to_string(), batches.schema()),
        };
        layout::check_rows(&name, &self.dataset.schema, &found)?;
        let now_micros = ports.meter.now_ms() * 1_000;
        let metadata = self.plan.metadata_columns.then_some((now_micros, name.as_str()));
        let output = OutputSchema {
            schema: load.schema().clone(),
            constants: layout::constants(self.window, granularity, metadata),
        };
        let sinks = load.sinks();
        if let (Rows::Scan(scan), true, true) = (&rows, chain.is_empty(), load.partition().is_empty())
            && !self.plan.reference_path
            && let Ok(as_is) = as_is_plan(scan, &output)
        {
            let file =
                as_is.write(sinks.as_ref(), self.plan.verify, self.plan.threads, ports.meter).map_err(from_columns)?;
            tally.rows_read += scan.file().rows();
            tally.rows_written += file.rows;
            tally.files.push(file);
            tally.paths.push("as-is");
            return Ok(());
        }
        let options = WriteOptions {
            partition: load.partition().to_vec(),
            threads: self.plan.threads,
            memory_bytes: usize::try_from(self.plan.memory_bytes / 2).unwrap_or(usize::MAX),
            ..WriteOptions::default()
        };
        let transcoder = Transcoder {
            output: &output,
            options: &options,
            step: Some(chain),
            sinks: sinks.as_ref(),
            observer: ports.meter,
            path: if self.plan.reference_path { Path::Arrow } else { Path::Auto },
        };
        let outcome = transcoder.run(rows).map_err(from_columns)?;
        tally.rows_read += outcome.rows_read;
        tally.rows_written += outcome.rows_written;
        for (code, rows) in outcome.rejected {
            *tally.rejected.entry(chain.rule_name(code).to_owned()).or_default() += rows;
        }
        tally.files.extend(outcome.files);
        tally.paths.push(if outcome.page_path_columns > 0 { "pages" } else { "arrow" });
        Ok(())
    }

    fn check(&self, tally: &Tally) -> Result<(), Error> {
        let rows_rejected: u64 = tally.rejected.values().sum();
        let in_files: u64 = tally.files.iter().map(|file| file.rows).sum();
        if tally.rows_read != tally.rows_written + rows_rejected || in_files != tally.rows_written {
            let rows_written = in_files.min(tally.rows_written);
            return Err(Error::Balance { rows_read: tally.rows_read, rows_written, rows_rejected });
        }
        if tally.rows_written == 0 && !self.plan.allow_empty {
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

    fn request(&self, ports: &Ports<'_>, load_id: String, tally: Tally) -> CommitRequest {
        let mut plugins = vec![ports.source.plugin().clone()];
        plugins.extend(ports.cleaners.iter().map(|cleaner| cleaner.plugin().clone()));
        CommitRequest {
            load_id,
            run_id: self.plan.run_id.clone(),
            pipeline: self.plan.pipeline.clone(),
            objects: tally.objects,
            plugins,
            config_sha256: self.plan.config_sha256.clone(),
            rows_read: tally.rows_read,
            rows_written: tally.rows_written,
            rows_rejected: tally.rejected.values().sum(),
            files: tally.files,
        }
    }
}

/// The load id of this window for any content.
struct Identity<'a> {
    source: String,
    dataset: &'a str,
    window: &'a str,
    source_config: &'a str,
    cleaners: Vec<(String, String)>,
    options: &'static [&'static str],
    forced_over: Option<&'a str>,
}

impl<'a> Identity<'a> {
    fn new(one: &OneWindow<'a>, ports: &Ports<'_>, standing: Option<&'a LoadRecord>) -> Self {
        let cleaners = ports.cleaners.iter().map(|cleaner| (cleaner.plugin().to_string(), cleaner.config().to_owned()));
        Self {
            source: ports.source.plugin().name.clone(),
            dataset: &one.dataset.name,
            window: one.window.map_or("all", Window::key),
            source_config: &one.plan.source_identity,
            cleaners: cleaners.collect(),
            options: if one.plan.metadata_columns { &["metadata-columns"] } else { &[] },
            forced_over: standing.filter(|_| one.plan.force).map(|record| record.load_id.as_str()),
        }
    }

    fn load_id(&self, contents: &[(&str, &str)]) -> String {
        let identity = LoadIdentity {
            source: &self.source,
            dataset: self.dataset,
            window: self.window,
            source_config: self.source_config,
            cleaners: &self.cleaners,
            options: self.options,
            forced_over: self.forced_over,
        };
        identity.load_id(contents)
    }

    /// The load id before any download: only when every split is, by its identity, the one that the last load recorded.
    fn of_record(&self, splits: &[Split], record: &LoadRecord) -> Option<String> {
        let mut contents = Vec::with_capacity(splits.len());
        for split in splits {
            let mut objects = record.objects.iter().filter(|object| object.split == split.id).peekable();
            let first = objects.peek()?;
            if split.identity.is_none() || first.identity != split.identity {
                return None;
            }
            contents.extend(objects.map(|object| (object.split.as_str(), object.sha256.as_str())));
        }
        Some(self.load_id(&contents))
    }

    fn of_objects(&self, objects: &[SourceObject]) -> String {
        let contents: Vec<(&str, &str)> =
            objects.iter().map(|object| (object.split.as_str(), object.sha256.as_str())).collect();
        self.load_id(&contents)
    }
}

fn already_loaded(report: &mut WindowReport, record: &LoadRecord) {
    report.end(Status::AlreadyLoaded);
    report.snapshot_id = Some(record.snapshot_id);
    report.load_id = Some(record.load_id.clone());
    let by: Vec<&str> = record.plugins.split(',').filter_map(|plugin| plugin.split('=').next()).collect();
    let by = if record.plugins.is_empty() { "an earlier run".to_owned() } else { by.join(", ") };
    report.note = Some(format!("already loaded by {by}; --force reloads"));
}

/// Bytes of all splits, when each announced its own.
fn announced_bytes(splits: &[Split]) -> Option<u64> {
    splits.iter().map(|split| split.bytes).sum()
}

fn describe(splits: &[Split], target: &Target) -> String {
    let size = announced_bytes(splits).map_or_else(|| "size unknown".to_owned(), |bytes| format!("{bytes} bytes"));
    let mode = match target.mode {
        WriteMode::ReplaceWindow => "replace-window",
        WriteMode::Append => "append",
        WriteMode::FullRefresh => "full-refresh",
    };
    format!("would load {} splits ({size}) into {} by {mode}", splits.len(), target.table)
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
