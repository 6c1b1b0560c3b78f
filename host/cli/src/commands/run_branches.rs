//! `lakehost runs waiting|publish|discard`: runs whose changes are on a branch of the whole catalog.

use std::sync::Arc;

use lakehost_lake::{BranchState, Published, RunBranch, RunBranches};
use lakehost_pipeline::Fault;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::approve::{Operator, Terminal};
use crate::args::{Place, ReportFormat, RunDiscardArguments, RunPublishArguments, WaitingArguments};
use crate::config::resolve;
use crate::error::Error;
use crate::publish::{self, KEY};
use crate::render::line;
use crate::runs::History;
use crate::table::{Align, TextTable};
use crate::time::utc;
use crate::{exit_code, warehouse};

/// The branches of a place, and its history.
struct At {
    branches: RunBranches,
    history: History,
    _runtime: Arc<Runtime>,
}

impl At {
    fn open(place: &Place) -> Result<Self, Fault> {
        let place = resolve::place(place, None)?;
        let runtime = warehouse::runtime()?;
        Ok(Self { branches: publish::open(&runtime, &place)?, history: History::of(&place)?, _runtime: runtime })
    }

    /// Writes into the history what became of a run's branch.
    fn note(&self, run: &RunBranch, status: &str) {
        let noted = self.history.one(&run.run_id).and_then(|mut report| {
            if let Some(publish) = report.get_mut(KEY).and_then(Value::as_object_mut) {
                publish.insert("status".to_owned(), status.into());
                publish.remove("error");
            }
            self.history.rewrite(&run.run_id, &report)
        });
        if let Err(error) = noted {
            tracing::warn!(run_id = %run.run_id, %error, "the history does not say what became of the run");
        }
    }
}

/// Why a branch waits.
fn reason(run: &RunBranch) -> String {
    match &run.state {
        BranchState::Open => "the run is at work, or its process died".to_owned(),
        BranchState::Kept { reason } => reason.clone(),
        BranchState::Publishing { .. } => "being published, or its process died meanwhile".to_owned(),
    }
}

/// Lists what waits.
pub fn waiting(arguments: &WaitingArguments) -> Result<u8, Fault> {
    let at = At::open(&arguments.place)?;
    let runs = at.branches.all()?;
    match arguments.format {
        ReportFormat::Json => {
            let runs: Vec<Value> = (runs.iter())
                .map(|run| {
                    json!({
                        "run_id": run.run_id, "branch": run.branch, "onto": run.onto, "pipeline": run.pipeline,
                        "kept": matches!(run.state, BranchState::Kept { .. }), "reason": reason(run), "started_ms": run.started_ms,
                    })
                })
                .collect();
            super::print_json(&json!({ "waiting": runs }))?;
        }
        ReportFormat::Text if runs.is_empty() => super::print("no run waits\n")?,
        ReportFormat::Text => {
            let columns = ["run", "started (UTC)", "pipeline", "branch", "why"];
            let mut table = TextTable::new(columns.map(|column| (column, Align::Left)));
            for run in &runs {
                let started = utc(u64::try_from(run.started_ms).unwrap_or_default());
                let pipeline = run.pipeline.as_deref().unwrap_or("-");
                table.row([run.run_id.as_str(), &started, pipeline, &run.branch, &line(&reason(run))]);
            }
            super::print(&table.render())?;
        }
    }
    Ok(exit_code::SUCCESS)
}

/// Makes everything visible that a run changed.
pub fn publish(arguments: &RunPublishArguments) -> Result<u8, Fault> {
    let at = At::open(&arguments.place)?;
    let run = at.branches.find(&arguments.run_id).map_err(Fault::new)?;
    let published = at.branches.publish(&run).map_err(Fault::new)?;
    let (status, text) = match published {
        Published::Now => ("published", format!("published all at once on {}", line(&run.onto))),
        Published::Before => ("published", format!("had been published on {} before", line(&run.onto))),
        Published::Nothing => ("unchanged", "had changed nothing".to_owned()),
    };
    at.note(&run, status);
    say(arguments.format, &run, status, &text)
}

/// Drops what a run changed.
pub fn discard(arguments: &RunDiscardArguments) -> Result<u8, Fault> {
    let at = At::open(&arguments.place)?;
    let run = at.branches.find(&arguments.run_id).map_err(Fault::new)?;
    if !arguments.yes {
        let mut person = Terminal;
        if !person.present() {
            let message = format!("discarding run {} needs a yes", run.run_id);
            return Err(Error::Usage { message, hint: Some("add --yes".to_owned()) }.into());
        }
        if !person.agrees(&format!("Drop everything that run {} changed?", run.run_id))? {
            return Err(Error::Stopped { what: "the branch stays as it is" }.into());
        }
    }
    let discarded = at.branches.discard(&run)?;
    if discarded.was_published {
        at.note(&run, "published");
        return say(arguments.format, &run, "published", "had been published before; only its branch is dropped");
    }
    at.note(&run, "dropped");
    let files = match (discarded.files_kept, discarded.files_deleted) {
        (true, _) => "dropped; its files stay, because another branch or tag was made from it".to_owned(),
        (false, files) => format!("dropped, and {files} files deleted"),
    };
    say(arguments.format, &run, "dropped", &files)
}

fn say(format: ReportFormat, run: &RunBranch, status: &str, text: &str) -> Result<u8, Fault> {
    match format {
        ReportFormat::Json => {
            super::print_json(
                &json!({ "run_id": run.run_id, "branch": run.branch, "onto": run.onto, "status": status }),
            )?;
        }
        ReportFormat::Text => super::print(&format!("run {} {text}\n", run.run_id))?,
    }
    Ok(exit_code::SUCCESS)
}
