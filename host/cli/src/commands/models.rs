//! `lakehost models`: builds and tests the models of a dbt project above the tables of a warehouse.

use std::path::{Path, PathBuf};

use lakehost_pipeline::models::{ModelsReport, ModelsRequest, Scope};
use lakehost_pipeline::{Fault, Granularity, Window};
use serde_json::Value;

use crate::args::{ModelsArguments, ReportFormat};
use crate::config::{file, resolve};
use crate::error::Error;
use crate::models::{self, Run, text};
use crate::warehouse::Warehouse;
use crate::{exit_code, report, signals};

/// Where a project lies when nobody says otherwise.
const DEFAULT_PROJECT: &str = "dbt_project";

/// Runs, and prints the report whatever comes of the models.
pub fn run(arguments: &ModelsArguments) -> Result<u8, Fault> {
    let place = resolve::place(&arguments.place, None)?;
    let windows = arguments.windows.as_deref().map(labels).transpose()?.unwrap_or_default();
    let project = project(arguments)?;
    let request = ModelsRequest {
        scope: Scope::Chosen { select: arguments.select.clone(), exclude: arguments.exclude.clone() },
        windows,
        full_refresh: arguments.full_refresh,
    };
    // From now on Ctrl-C ends dbt first.
    signals::stop_flag();
    let warehouse = Warehouse::open_existing(&place)?;
    let run = Run {
        project,
        engine: arguments.engine,
        place: &place,
        typed: &arguments.place,
        docs: arguments.docs.clone(),
        committed: false,
    };
    let built = models::build(run, &warehouse, &request)?;
    if let Some(fault) = &built.fault {
        crate::show(fault);
    }
    match arguments.format {
        ReportFormat::Json => super::print_json(&json(&built)?)?,
        ReportFormat::Text => super::print(&text::report(&built))?,
    }
    Ok(built.fault.as_ref().map_or(exit_code::SUCCESS, exit_code::of_fault))
}

fn json(built: &ModelsReport) -> Result<Value, Error> {
    let mut json = serde_json::to_value(built).map_err(|error| Error::Bug {
        what: "the report cannot be written as JSON".to_owned(),
        cause: error.to_string(),
    })?;
    if let Value::Object(entries) = &mut json {
        entries.entry("error").or_insert(Value::Null);
    }
    report::ids_as_text(&mut json);
    Ok(json)
}

/// The project of the flag, else the one that the pipelines name, else the usual folder.
fn project(arguments: &ModelsArguments) -> Result<PathBuf, Error> {
    if let Some(folder) = &arguments.project_dir {
        return Ok(folder.clone());
    }
    let loaded = file::load(arguments.place.file.as_deref())?;
    let mut named: Vec<&String> =
        loaded.file.pipeline.values().filter_map(|pipeline| pipeline.models.as_ref()).collect();
    named.sort_unstable();
    named.dedup();
    match named.as_slice() {
        [] => Ok(Path::new(".").join(DEFAULT_PROJECT)),
        [one] => Ok(loaded.folder().join(one)),
        several => Err(Error::Usage {
            message: format!("the pipelines of {} name {} dbt projects", loaded.place(), several.len()),
            hint: Some(format!(
                "say which with --project-dir: {}",
                several.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
            )),
        }),
    }
}

/// The windows that a flag names, by label: `2024-01..2024-03,2024-06`. How wide they are is told by the label.
fn labels(text: &str) -> Result<Vec<String>, Error> {
    let mut found: Vec<String> = Vec::new();
    for part in text.split(',').map(str::trim) {
        let width = part.split("..").next().unwrap_or_default().len();
        let granularity = match width {
            4 => Granularity::Year,
            7 => Granularity::Month,
            10 => Granularity::Day,
            _ => Granularity::Hour,
        };
        let windows = Window::parse_range(granularity, part).map_err(|reason| Error::Window {
            message: format!("--windows: {reason}"),
            hint: Some("name them as they were loaded: 2024-01, 2024-01..2024-06, 2024-01-31".to_owned()),
        })?;
        let new = windows.iter().map(|window| window.label().to_owned()).filter(|label| !found.contains(label));
        let new: Vec<String> = new.collect();
        found.extend(new);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_named_as_they_were_loaded() {
        let table = [
            ("2024-01", vec!["2024-01"]),
            ("2024-01..2024-03,2024-02, 2024-06", vec!["2024-01", "2024-02", "2024-03", "2024-06"]),
            ("2024", vec!["2024"]),
            ("2024-01-31", vec!["2024-01-31"]),
            ("2024-01-31T22..2024-01-31T23", vec!["2024-01-31T22", "2024-01-31T23"]),
        ];
        for (text, expected) in table {
            assert_eq!(labels(text).unwrap(), expected, "{text}");
        }
        for text in ["", "2024-13", "yesterday", "2024-02..2024-01", "2024-01,"] {
            assert!(labels(text).is_err(), "{text}");
        }
    }
}
