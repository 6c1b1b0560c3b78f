//! `models` of a pipeline: what its runs leave for the models to do, and doing it.
//!
//! Every report in the run history says which windows its models were built for, or still have to be. A run builds those that it changed, and those
//! that earlier runs left: their models failed, were left out with `--no-models`, or the process died before they ran.

use std::path::Path;

use lakehost_models::dbt;
use lakehost_pipeline::models::{Changed, ModelsReport, ModelsRequest, ModelsStatus, Scope};
use lakehost_pipeline::ports::{TableName, WriteMode};
use lakehost_pipeline::{Fault, RunReport};
use serde_json::Value;

use super::Run;
use crate::args::RunArguments;
use crate::config::resolve::{Request, Where};
use crate::publish;
use crate::runs::History;
use crate::warehouse::Warehouse;

/// So many reports are looked through for windows whose models are still to be built.
const LOOKED_THROUGH: usize = 50;
/// The place in the report.
pub const KEY: &str = "models";

/// Models that are to follow a load.
pub struct Next {
    request: ModelsRequest,
    /// What the report says until they have run.
    pub report: ModelsReport,
}

/// What the models of a pipeline have to do after this load; `None`: it has none. `warn` hears of a history that cannot be read.
pub fn next(
    request: &Request,
    arguments: &RunArguments,
    report: &RunReport,
    mode: Option<WriteMode>,
    warehouse: &Warehouse,
    warn: &mut dyn FnMut(String),
) -> Result<Option<Next>, Fault> {
    let Some(project) = &request.models else { return Ok(None) };
    let Some(table) = report.table.as_deref().and_then(|name| TableName::parse(name).ok()) else { return Ok(None) };
    let shown = project.display().to_string();
    let earlier = left(&request.place, &shown, &table, &report.run_id).unwrap_or_else(|sentence| {
        warn(sentence);
        Changed::Nothing
    });
    let new = Changed::by(report, mode);
    let only_earlier = new == Changed::Nothing;
    let Some(windows) = new.clone().and(earlier.clone()).windows() else {
        let mut unchanged = ModelsReport::new(shown, ModelsStatus::Unchanged, Vec::new());
        unchanged.note = Some(format!("no rows of {table} changed"));
        return Ok(Some(Next { request: ModelsRequest::default(), report: unchanged }));
    };
    let status = if arguments.no_models { ModelsStatus::LeftOut } else { ModelsStatus::Pending };
    let mut pending = ModelsReport::new(shown, status, windows.clone());
    pending.note = match (only_earlier, earlier.without(&new)) {
        _ if arguments.no_models => Some("the next run without --no-models builds them".to_owned()),
        (true, _) => Some("models of earlier runs, which were not built".to_owned()),
        (false, Changed::Nothing) => None,
        (false, _) => Some("with windows of earlier runs, whose models were not built".to_owned()),
    };
    let scope = Scope::Downstream { table, present: warehouse.lake.table_names(None)? };
    Ok(Some(Next { request: ModelsRequest { scope, windows, full_refresh: false }, report: pending }))
}

/// What the history says is still to be built of a project's models of this table.
fn left(place: &Where, project: &str, table: &TableName, present: &str) -> Result<Changed, String> {
    let reports = History::of(place).and_then(|history| history.newest(LOOKED_THROUGH));
    let reports = reports.map_err(|error| {
        format!("it is not known whether models of earlier runs are still to be built: {error}; `lakehost models` builds all")
    })?;
    let table = table.to_string();
    let of_project = |(id, report): &&(String, Value)| {
        id != present
            && report["table"] == table.as_str()
            && report[KEY]["project"] == project
            && publish::is_visible(report)
    };
    Ok(add_up(reports.iter().filter(of_project).map(|(_, report)| &report[KEY])))
}

/// Reports of models, newest first: what no later one built.
fn add_up<'a>(reports: impl Iterator<Item = &'a Value>) -> Changed {
    let (mut built, mut left) = (Changed::Nothing, Changed::Nothing);
    for report in reports {
        let labels = report["windows"].as_array().map(Vec::as_slice).unwrap_or_default();
        let labels: Vec<String> = labels.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        let changed = Changed::of_windows(&labels);
        match report["status"].as_str() {
            Some("built") => built = built.and(changed),
            Some("failed" | "interrupted" | "left-out" | "pending") => left = left.and(changed.without(&built)),
            _ => {}
        }
        if built == Changed::All {
            break;
        }
    }
    left
}

impl Next {
    /// Whether there is something to run.
    pub fn is_due(&self) -> bool {
        self.report.status == ModelsStatus::Pending
    }

    /// Runs what is due. Whatever happens, the load stays committed, so that a failure is part of the report.
    pub fn run(
        self,
        arguments: &RunArguments,
        request: &Request,
        warehouse: &Warehouse,
        stopped: bool,
    ) -> ModelsReport {
        let Self { request: models, report: mut pending } = self;
        let project = Path::new(&pending.project).to_owned();
        if stopped {
            pending.fail(dbt::Error::Stopped { what: "models were still to be built" }.into());
            return pending;
        }
        let place = &request.place;
        let committed = place.run.is_none();
        let run = Run { project, engine: None, place, typed: &arguments.place, docs: None, committed };
        match super::build(run, warehouse, &models) {
            Ok(mut report) => {
                let notes: Vec<String> = pending.note.into_iter().chain(report.note.take()).collect();
                report.note = (!notes.is_empty()).then(|| notes.join("; "));
                report.project = pending.project;
                report
            }
            Err(fault) => {
                pending.fail(fault);
                pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    #[test]
    fn what_earlier_runs_left_is_built_once() {
        let windows =
            |labels: &[&str]| Changed::Windows(labels.iter().map(|label| (*label).to_owned()).collect::<BTreeSet<_>>());
        let report = |status: &str, labels: &[&str]| json!({ "status": status, "windows": labels });
        // Newest first.
        let table = [
            (vec![], Changed::Nothing),
            (vec![report("built", &["2024-01"]), report("failed", &["2024-01"])], Changed::Nothing),
            (vec![report("failed", &["2024-01"]), report("built", &["2024-01"])], windows(&["2024-01"])),
            (
                vec![
                    report("built", &["2024-03"]),
                    report("left-out", &["2024-02", "2024-03"]),
                    report("pending", &["2024-01"]),
                ],
                windows(&["2024-01", "2024-02"]),
            ),
            (vec![report("built", &[]), report("failed", &["2024-02"]), report("failed", &[])], Changed::Nothing),
            (vec![report("built", &["2024-03"]), report("interrupted", &[])], Changed::All),
            (vec![report("unchanged", &[]), report("failed", &["2024-02"])], windows(&["2024-02"])),
        ];
        for (reports, expected) in table {
            assert_eq!(add_up(reports.iter()), expected, "{reports:?}");
        }
    }
}
