//! The splits of one window, read into data files: which path rows take, and what becomes of those that are dropped.

use std::collections::BTreeMap;

use arrow_schema::{FieldRef, Schema, SchemaRef};
use lakehost_columnar::{OutputSchema, Path, RowStep, Rows, Stage, Transcoder, WriteOptions, WrittenFile, as_is_plan};

use crate::chain::Chain;
use crate::diagnostic::Fault;
use crate::drift::{Guarded, Settled, Sides};
use crate::error::{Error, from_columns};
use crate::landing;
use crate::layout;
use crate::merge_key::MergeKey;
use crate::ports::{Load, SourceObject, Split};
use crate::quarantine::{self, Keeper, Quarantine, RejectRule};
use crate::run::{OneWindow, Ports};

/// What happens to rows on their way.
pub(crate) struct Steps<'a> {
    pub chain: &'a Chain,
    /// Of a merge; of any other load it names no column.
    pub key: &'a MergeKey,
}

/// What the splits of a window came to.
#[derive(Default)]
pub(crate) struct Tally {
    pub files: Vec<WrittenFile>,
    pub objects: Vec<SourceObject>,
    pub rows_read: u64,
    pub rows_written: u64,
    /// By rule.
    pub rejected: BTreeMap<String, u64>,
    /// Values that the contract took out, by column.
    pub discarded: BTreeMap<String, u64>,
    pub paths: Vec<&'static str>,
    /// What happened to the table's columns: `new column fee (Float64)`.
    pub changes: Vec<String>,
    /// The rejected rows, when somebody keeps them.
    pub quarantine: Option<Quarantine>,
}

impl OneWindow<'_> {
    pub(crate) fn read_splits(
        &self,
        ports: &mut Ports<'_>,
        splits: &[Split],
        steps: &Steps<'_>,
        load: &mut dyn Load,
    ) -> Result<Tally, Fault> {
        // A quarter of the budget: half is the transcoder's, the rest the components'.
        let limit_bytes = usize::try_from(self.plan.memory_bytes / 4).unwrap_or(usize::MAX);
        let mut quarantine = self.plan.quarantine.then(|| {
            let about = quarantine::Load {
                table: self.table.clone(),
                window: self.window.cloned(),
                granularity: ports.source.spec().granularity,
                run_id: self.plan.run_id.clone(),
            };
            Quarantine::new(limit_bytes, load.spool_rejects(), about)
        });
        let mut tally = Tally { changes: load.changes(), ..Tally::default() };
        for split in splits {
            if ports.meter.cancelled() {
                return Err(Error::Interrupted.into());
            }
            let add_split = |fault: Fault| fault.with("split", &split.id);
            let rows = ports.source.open(split).map_err(add_split)?;
            self.read_split(ports, rows, steps, load, &mut tally, quarantine.as_mut()).map_err(add_split)?;
            let mark = ports.meter.enter(Stage::Download);
            let objects = self.objects(ports, split, load);
            ports.meter.leave(Stage::Download, mark);
            tally.objects.extend(objects.map_err(add_split)?);
        }
        tally.quarantine = quarantine;
        Ok(tally)
    }

    /// What a split read, stored as it came when the plan says so.
    fn objects(&self, ports: &mut Ports<'_>, split: &Split, load: &dyn Load) -> Result<Vec<SourceObject>, Fault> {
        if self.plan.raw_landing { landing::objects(ports, split, load) } else { ports.source.objects(split) }
    }

    fn read_split(
        &self,
        ports: &Ports<'_>,
        rows: Rows,
        steps: &Steps<'_>,
        load: &mut dyn Load,
        tally: &mut Tally,
        quarantine: Option<&mut Quarantine>,
    ) -> Result<(), Fault> {
        let name = match &rows {
            Rows::Scan(scan) => scan.file().bytes().name().to_owned(),
            Rows::Batches(_) => ports.source.plugin().to_string(),
        };
        let Some(quarantine) = quarantine else {
            return self.read_rows(ports, rows, &name, steps, load, tally, None).map(|_| ());
        };
        let shelf = quarantine.shelf(&name);
        let rules = self.read_rows(ports, rows, &name, steps, load, tally, Some(&shelf))?;
        quarantine.close(&name, rules);
        Ok(())
    }

    /// Takes rows into data files of the load; `file`: where they are from. Answers what each reject code means that came up.
    #[expect(clippy::too_many_arguments, reason = "what a split is read with, each its own thing")]
    pub(crate) fn read_rows(
        &self,
        ports: &Ports<'_>,
        rows: Rows,
        file: &str,
        steps: &Steps<'_>,
        load: &mut dyn Load,
        tally: &mut Tally,
        keeper: Option<&dyn Keeper>,
    ) -> Result<Vec<(u16, RejectRule)>, Fault> {
        let source = ports.source.plugin().to_string();
        let found: SchemaRef = match &rows {
            Rows::Scan(scan) => scan.schema().clone(),
            Rows::Batches(batches) => batches.schema(),
        };
        let Steps { chain, key } = steps;
        let mut settled = self.settle(file, &found, chain.writes(), load, tally)?;
        if keeper.is_some() && key.may_be_null(&rows) {
            let comes = |column: &&String| {
                let of_cleaner = chain.writes().iter().any(|field| field.name() == *column);
                of_cleaner || found.field_with_name(column).is_ok()
            };
            settled.key = key.columns.iter().filter(comes).cloned().collect();
        }
        let granularity = ports.source.spec().granularity;
        let now_micros = ports.meter.now_ms() * 1_000;
        let metadata = self.plan.metadata_columns.then_some((now_micros, file));
        let output = OutputSchema {
            schema: load.schema().clone(),
            constants: layout::constants(self.window, granularity, metadata),
        };
        let sinks = load.sinks();
        if let (Rows::Scan(scan), true, true) = (&rows, chain.is_empty(), load.partition().is_empty())
            && !self.plan.reference_path
            && settled == Settled::default()
            && self.plan.sort.is_empty()
            && let Ok(as_is) = as_is_plan(scan, &output)
        {
            let written =
                as_is.write(sinks.as_ref(), self.plan.verify, self.plan.threads, ports.meter).map_err(from_columns)?;
            tally.rows_read += scan.file().rows();
            tally.rows_written += written.rows;
            tally.files.push(written);
            tally.paths.push("as-is");
            return Ok(Vec::new());
        }
        let options = WriteOptions {
            partition: load.partition().to_vec(),
            sort: self.plan.sort.clone(),
            threads: self.plan.threads,
            memory_bytes: usize::try_from(self.plan.memory_bytes / 2).unwrap_or(usize::MAX),
            ..WriteOptions::default()
        };
        let step = Guarded::new(chain, &settled);
        let rule_of = |code: u16| RejectRule::of(code, &source, &step);
        let sink = keeper.map(|keeper| keeper.sink(&rule_of));
        let transcoder = Transcoder {
            output: &output,
            options: &options,
            step: Some(&step),
            sinks: sinks.as_ref(),
            observer: ports.meter,
            path: if self.plan.reference_path { Path::Arrow } else { Path::Auto },
            rejects: sink.as_deref(),
        };
        let outcome = transcoder.run(rows).map_err(from_columns)?;
        tally.rows_read += outcome.rows_read;
        tally.rows_written += outcome.rows_written;
        for (code, rows) in &outcome.rejected {
            *tally.rejected.entry(step.rule_name(*code)).or_default() += rows;
        }
        let rules = outcome.rejected.keys().map(|code| (*code, rule_of(*code))).collect();
        drop(sink);
        for (column, values) in step.into_discarded() {
            *tally.discarded.entry(column).or_default() += values;
        }
        tally.files.extend(outcome.files);
        tally.paths.push(if outcome.page_path_columns > 0 { "pages" } else { "arrow" });
        Ok(rules)
    }

    /// Holds a split's columns against the contract, and lets the table take what it may.
    fn settle(
        &self,
        file: &str,
        found: &Schema,
        written: &[FieldRef],
        load: &mut dyn Load,
        tally: &mut Tally,
    ) -> Result<Settled, Fault> {
        let contract = &self.plan.contract;
        let present = load.schema().clone();
        let (table, promised) = (self.table, self.dataset.schema.as_ref());
        let settled = Sides { table, promised, present: &present, written, found, file }.settle(contract)?;
        if !settled.evolve {
            return Ok(settled);
        }
        load.evolve(found, file)?;
        let now = load.schema().clone();
        for field in now.fields() {
            let kind = field.data_type();
            match present.field_with_name(field.name()) {
                Err(_) => tally.changes.push(format!("new column {} ({kind})", field.name())),
                Ok(before) if before.data_type() != kind => {
                    tally.changes.push(format!(
                        "column {} is {kind} now ({} before)",
                        field.name(),
                        before.data_type()
                    ));
                }
                Ok(_) => {}
            }
        }
        // The table has what it wanted; what is left is for the split alone.
        Ok(Sides { table, promised, present: &now, written, found, file }.settle(contract)?)
    }
}
