//! `lakehost rejects replay`: rejected rows through the present cleaners, those that pass into the table.

use std::collections::BTreeSet;

use lakehost_pipeline::ports::TableName;
use lakehost_pipeline::{Fault, Granularity, Window};

use super::rejects::Rejected;
use super::run::{self, RowsFrom};
use crate::args::RejectsReplayArguments;
use crate::config::resolve;
use crate::error::Error;
use crate::warehouse::Warehouse;

/// Replays, and prints the report of a run.
pub fn run(arguments: &RejectsReplayArguments) -> Result<u8, Fault> {
    let table = resolve::table_name(&arguments.table)?;
    let pipeline = match (&arguments.pipeline, &arguments.plugin) {
        (Some(name), _) => Some(name.clone()),
        (None, Some(_)) => None,
        (None, None) => Some(resolve::pipeline_of(&arguments.place, &table)?),
    };
    let place = resolve::place(&arguments.place, arguments.memory.as_deref())?;
    // A warehouse that is not there has no rejected rows, and must not come to be for asking.
    Warehouse::open_existing(&place)?;
    let windows = |warehouse: &Warehouse, granularity: Granularity| -> Result<Vec<Option<Window>>, Fault> {
        match (granularity, &arguments.window) {
            (Granularity::None, None) => Ok(vec![None]),
            (Granularity::None, Some(text)) => Err(Error::Window {
                message: format!("{table} has no windows, and --window {} names one", text.escape_debug()),
                hint: Some("leave --window away".to_owned()),
            }
            .into()),
            (granularity, Some(text)) => {
                let windows = Window::parse_range(granularity, text).map_err(|reason| Error::Window {
                    message: format!("--window: {reason}"),
                    hint: Some(format!("{table} is loaded by the {granularity}: write {}", granularity.example())),
                })?;
                Ok(windows.into_iter().map(Some).collect())
            }
            (granularity, None) => all(warehouse, place.memory_bytes, &table, granularity),
        }
    };
    let rule = arguments.rule.as_deref();
    run::run_from(&arguments.as_run(pipeline), &RowsFrom::Rejected { rule, windows: &windows })
}

/// The windows that have rejected rows of their present load.
fn all(
    warehouse: &Warehouse,
    memory_bytes: u64,
    table: &TableName,
    granularity: Granularity,
) -> Result<Vec<Option<Window>>, Fault> {
    let rejected = Rejected { warehouse, memory_bytes, main: table.clone() };
    let labels: BTreeSet<String> = rejected.windows()?.into_iter().collect();
    let windows = labels.iter().map(|label| {
        let label = label.get(..granularity.example().len()).unwrap_or(label);
        Window::parse(granularity, label).map(Some).map_err(|cause| {
            Fault::new(Error::Bug { what: format!("{table} has rejected rows of window {label}"), cause })
        })
    });
    windows.collect()
}
