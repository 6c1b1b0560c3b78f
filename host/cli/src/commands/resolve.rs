//! `lakehost resolve`: runs that ended without saying how are looked at, and finished or tidied up.

use lakehost_lake::{Resolution, Resolved};
use lakehost_pipeline::Fault;
use serde_json::{Value, json};

use crate::args::{ReportFormat, ResolveArguments};
use crate::config::resolve::place;
use crate::exit_code;
use crate::runs::History;
use crate::table::{Align, TextTable};
use crate::time::utc;
use crate::warehouse::Warehouse;

/// Resolves all such runs, or one.
pub fn run(arguments: &ResolveArguments) -> Result<u8, Fault> {
    let place = place(&arguments.place, None)?;
    let warehouse = Warehouse::open_existing(&place)?;
    let resolved = warehouse.lake.resolve(arguments.run_id.as_deref())?;
    if let Some(run_id) = &arguments.run_id
        && !resolved.iter().any(|run| run.run_id.contains(run_id.as_str()))
    {
        // A run that ended well left a report and nothing to resolve; of any other name there is no trace.
        History::of(&place)?.one(run_id)?;
    }
    match arguments.format {
        ReportFormat::Json => {
            let runs: Vec<Value> = resolved.iter().map(json_of).collect();
            super::print_json(&json!({ "runs": runs }))?;
        }
        ReportFormat::Text if resolved.is_empty() => super::print("nothing to resolve\n")?,
        ReportFormat::Text => {
            let mut table = TextTable::new([("run", Align::Left), ("table", Align::Left), ("found", Align::Left)]);
            for run in &resolved {
                table.row([run.run_id.clone(), name(run), found(&run.resolution)]);
            }
            super::print(&table.render())?;
        }
    }
    Ok(exit_code::SUCCESS)
}

fn name(run: &Resolved) -> String {
    run.table.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string)
}

fn found(resolution: &Resolution) -> String {
    match resolution {
        Resolution::Landed { snapshot_id } => format!("it had been committed as snapshot {snapshot_id}"),
        Resolution::NotLanded { files_deleted: 1 } => "it had not been committed; 1 file deleted".to_owned(),
        Resolution::NotLanded { files_deleted } => format!("it had not been committed; {files_deleted} files deleted"),
        Resolution::InUse => "its process is still at work".to_owned(),
        Resolution::Waiting { until_ms } => format!(
            "a request may still arrive; look again after {} UTC",
            utc(u64::try_from(*until_ms).unwrap_or_default())
        ),
        Resolution::Unsure { reason } => format!("left as it is: {reason}"),
    }
}

fn json_of(run: &Resolved) -> Value {
    let (status, snapshot_id) = match &run.resolution {
        Resolution::Landed { snapshot_id } => ("landed", Some(snapshot_id.to_string())),
        Resolution::NotLanded { .. } => ("not-landed", None),
        Resolution::InUse => ("in-use", None),
        Resolution::Waiting { .. } => ("waiting", None),
        Resolution::Unsure { .. } => ("unsure", None),
    };
    json!({
        "run_id": run.run_id,
        "table": run.table.as_ref().map(ToString::to_string),
        "status": status,
        "snapshot_id": snapshot_id,
        "note": found(&run.resolution),
    })
}
