//! A replay: rejected rows through the present cleaners, those that pass into the table.
//!
//! A replay is a load whose source is the table of rejected rows. What passes is added to the rows of its window, what does not stays rejected
//! with its new rule, and both happen in one commit, so that no row is ever in both tables or in none. The window stays the load that it was:
//! running that load again finds it loaded, and any other load of the window replaces the replayed rows with the rest of it.

mod fits;
mod rows;
mod survey;

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow_select::filter::filter;
use lakehost_columnar::{BoxError, RejectSink, RowStep, Rows, Stage};

use self::rows::{UNREADABLE, Verdicts};
use self::survey::{Kept, Sides, Survey, Wanted};
use crate::chain::Chain;
use crate::checks;
use crate::diagnostic::Fault;
use crate::error::{Error, from_columns};
use crate::identity::Identity;
use crate::merge_key::MergeKey;
use crate::plan::Plan;
use crate::ports::{Committed, Load, LoadState, SourceObject, WriteMode};
use crate::progress::Start;
use crate::quarantine::{Keeper, RejectRule, Rules};
use crate::read::{Steps, Tally};
use crate::rejects;
use crate::report::{RunReport, Status, WindowReport};
use crate::run::{OneWindow, Ports, each_window};
use crate::window::Window;

/// Runs the rejected rows of the plan's windows again; `rule`: those of one rule.
///
/// # Errors
/// As for [`run`](crate::run).
pub fn replay(plan: &Plan, rule: Option<&str>, ports: Ports<'_>) -> Result<RunReport, Fault> {
    each_window(plan, ports, |one, ports, report| one.replay(rule, ports, report))
}

/// Keeps the codes of rows that are kept already.
struct Judge<'a>(&'a Verdicts);

impl Keeper for Judge<'_> {
    fn sink<'s>(&'s self, _: &'s Rules<'s>) -> Box<dyn RejectSink + 's> {
        Box::new(self.0)
    }
}

/// What became of the rows of one file.
struct Judged {
    verdicts: Arc<Verdicts>,
    rules: Vec<(u16, RejectRule)>,
}

/// Of all files, or by file where rows record their file.
type ByFile = HashMap<Option<String>, Judged>;

impl OneWindow<'_> {
    fn replay(&self, rule: Option<&str>, ports: &mut Ports<'_>, report: &mut WindowReport) -> Result<(), Fault> {
        let granularity = ports.source.spec().granularity;
        let mode = self.mode(granularity);
        if mode == WriteMode::Merge {
            return Err(Error::ReplayMerge { table: self.table.to_string() }.into());
        }
        let key = self.window.map_or("all", Window::key);
        let record = ports.lake.last_load_by(self.table, key, &self.owner(ports), mode)?;
        let Some(record) = record.filter(|record| record.state != LoadState::RolledBack) else {
            return nothing(report, "the table has no load of this window".to_owned());
        };
        let chain = Chain::bind(ports.cleaners, &self.dataset.schema, self.window)?;
        let steps = Steps { chain: &chain, key: &MergeKey::default() };
        let target = self.target(ports, &steps, granularity)?;
        let Some(mut load) = ports.lake.begin_replay(&target, &self.plan.run_id)? else {
            return nothing(report, "the table has no rejected rows of this window".to_owned());
        };
        let wanted = Wanted { load_id: record.load_id.clone(), rule: rule.map(str::to_owned) };
        checks::check_columns(&self.plan.checks, self.table, load.schema())?;
        let (mut tally, by_file) = self.judge(ports, &wanted, &steps, load.as_mut())?;
        report.count(&tally);
        let (read, passed) = (tally.rows_read, tally.rows_written);
        if passed == 0 {
            return nothing(
                report,
                match (read, rule) {
                    (0, Some(rule)) => format!("the present load of this window has no rows that {rule} rejected"),
                    (0, None) => "the present load of this window has no rejected rows".to_owned(),
                    _ => "no row passes; nothing was changed".to_owned(),
                },
            );
        }
        self.balance(&tally)?;
        if !self.plan.dry_run {
            rest(load.as_mut(), &wanted, by_file, &self.plan.run_id)?;
        }
        let mut notes = std::mem::take(&mut tally.changes);
        let identity = Identity::new(self, ports, steps.key, &Start::default(), None);
        let load_id = identity.of_objects(&tally.objects);
        let mut request = self.request(ports, load_id.clone(), tally, None);
        let stopping = self.examine(ports, load.as_mut(), &mut request, report)?;
        if !stopping.is_empty() {
            // On a branch they would be in two places: there, and among the rejected rows.
            return Err(Error::ChecksFailed {
                table: self.table.to_string(),
                failed: stopping.len(),
                checks: report.checks.len(),
                details: stopping.join("; "),
                branch: None,
                run_id: None,
            }
            .into());
        }
        notes.extend(report.note.take());
        if self.plan.dry_run {
            notes.insert(0, format!("{passed} of {read} rejected rows would move to the table"));
            report.note = Some(notes.join("; "));
            (report.bytes, report.files, report.path) = (0, 0, None);
            return Ok(());
        }
        let mark = ports.meter.enter(Stage::Commit);
        let committed = load.commit(request);
        ports.meter.leave(Stage::Commit, mark);
        let (Committed::Landed { snapshot_id, .. } | Committed::AlreadyLoaded { snapshot_id }) = committed?;
        report.end(Status::Loaded);
        report.load_id = Some(load_id);
        report.snapshot_id = Some(snapshot_id);
        notes.insert(0, format!("{passed} of {read} rejected rows moved to the table"));
        report.note = Some(notes.join("; "));
        Ok(())
    }

    /// Runs the wanted rows through the cleaners, those that pass into data files.
    fn judge(
        &self,
        ports: &mut Ports<'_>,
        wanted: &Wanted,
        steps: &Steps<'_>,
        load: &mut dyn Load,
    ) -> Result<(Tally, ByFile), Fault> {
        let survey = Survey::of(load.rejected()?, wanted)?;
        let (mut tally, mut by_file) = (Tally::default(), ByFile::new());
        if survey.rows == 0 {
            return Ok((tally, by_file));
        }
        let present = load.schema().clone();
        let columns = survey.columns(&Sides {
            table: self.table,
            promised: &self.dataset.schema,
            present: &present,
            reads: steps.chain.reads(),
            contract: &self.plan.contract,
            renames: &self.plan.renames,
        })?;
        let files: Vec<Option<String>> = match self.plan.metadata_columns {
            true => survey.files.iter().cloned().map(Some).collect(),
            false => vec![None],
        };
        for file in files {
            if ports.meter.cancelled() {
                return Err(Error::Interrupted.into());
            }
            let verdicts = Arc::new(Verdicts::default());
            let (source, wanted) = (load.rejected()?, wanted.clone());
            let rows = rows::Rows::new(source, wanted, file.clone(), columns.clone(), Arc::clone(&verdicts));
            let rows = Rows::Batches(Box::new(rows));
            let name = file.as_deref().unwrap_or_else(|| match survey.files.len() {
                1 => survey.files.first().map_or("", String::as_str),
                _ => "the rejected rows",
            });
            let rules = self.read_rows(ports, rows, name, steps, load, &mut tally, Some(&Judge(&verdicts)))?;
            by_file.insert(file, Judged { verdicts, rules });
        }
        let rejected = rejects::table_of(self.table).map_or_else(|_| String::new(), |table| table.to_string());
        tally.objects = vec![SourceObject {
            split: "rejected".to_owned(),
            identity: None,
            url: format!("table:{rejected}"),
            etag: None,
            length: survey.bytes,
            sha256: survey.sha256,
            raw: None,
        }];
        let unreadable = survey.rows.saturating_sub(tally.rows_read);
        if unreadable > 0 {
            *tally.rejected.entry(UNREADABLE_RULE.to_owned()).or_default() += unreadable;
            tally.rows_read += unreadable;
        }
        Ok((tally, by_file))
    }
}

/// What the report calls rows that are no JSON object any more. They stay under the rule that they have.
const UNREADABLE_RULE: &str = "unreadable";

fn nothing(report: &mut WindowReport, note: String) -> Result<(), Fault> {
    report.end(Status::NoData);
    report.note = Some(note);
    Ok(())
}

/// Writes what stays rejected: rows that were not asked for as they are, those that failed again under their new rule.
fn rest(load: &mut dyn Load, wanted: &Wanted, by_file: ByFile, run_id: &str) -> Result<(), Fault> {
    let mut by_file: HashMap<Option<String>, Fates> = by_file
        .into_iter()
        .map(|(file, judged)| (file, Fates { codes: judged.verdicts.codes().into_iter(), rules: judged.rules }))
        .collect();
    let (mut source, writer) = (load.rejected()?, load.rejects()?);
    while let Some(batch) = source.next().map_err(failed)? {
        let kept = Kept::of(&batch)?;
        let mut fates: Vec<Fate> = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            fates.push(match kept.is_wanted(row, wanted) {
                false => Fate::Stays,
                true => {
                    let file = Some(kept.files.value(row).to_owned());
                    let of_file =
                        if by_file.contains_key(&file) { by_file.get_mut(&file) } else { by_file.get_mut(&None) };
                    of_file.map_or(Fate::Stays, Fates::next)
                }
            });
        }
        let staying = staying(&batch, &fates, run_id).map_err(|error| failed(error.into()))?;
        writer.write(&staying)?;
    }
    Ok(())
}

fn failed(error: BoxError) -> Fault {
    from_columns(lakehost_columnar::Error::Step(error))
}

/// What becomes of the rows of a file, one after the other.
struct Fates {
    codes: std::vec::IntoIter<u16>,
    rules: Vec<(u16, RejectRule)>,
}

enum Fate {
    Moves,
    Stays,
    Rejected(RejectRule),
}

impl Fates {
    fn next(&mut self) -> Fate {
        match self.codes.next() {
            Some(0) => Fate::Moves,
            None | Some(UNREADABLE) => Fate::Stays,
            Some(code) => match self.rules.iter().find(|(known, _)| *known == code) {
                Some((_, rule)) => Fate::Rejected(rule.clone()),
                None => Fate::Stays,
            },
        }
    }
}

/// The rows of a batch that stay rejected.
fn staying(batch: &RecordBatch, fates: &[Fate], run_id: &str) -> Result<RecordBatch, arrow_schema::ArrowError> {
    let mask: BooleanArray = fates.iter().map(|fate| Some(!matches!(fate, Fate::Moves))).collect();
    let columns = batch.schema_ref().fields().iter().zip(batch.columns()).map(|(field, column)| {
        let column: ArrayRef = match (field.name().as_str(), column.as_string_opt::<i32>()) {
            (rejects::RUN_ID, Some(column)) => replaced(column, fates, |_| run_id),
            (rejects::PLUGIN, Some(column)) => replaced(column, fates, |rule| &rule.plugin),
            (rejects::RULE, Some(column)) => replaced(column, fates, |rule| &rule.name),
            (rejects::REASON, Some(column)) => replaced(column, fates, |rule| &rule.reason),
            _ => column.clone(),
        };
        filter(&column, &mask)
    });
    RecordBatch::try_new(batch.schema(), columns.collect::<Result<_, _>>()?)
}

/// A column with other values where a row was rejected anew.
fn replaced<'a>(column: &StringArray, fates: &'a [Fate], text: impl Fn(&'a RejectRule) -> &'a str) -> ArrayRef {
    let mut made = StringBuilder::new();
    for (row, fate) in fates.iter().enumerate() {
        match fate {
            Fate::Rejected(rule) => made.append_value(text(rule)),
            Fate::Moves | Fate::Stays => made.append_option(column.is_valid(row).then(|| column.value(row))),
        }
    }
    Arc::new(made.finish())
}
