//! `lakehost runs`: what was run here, newest first, or one run in full.

use lakehost_pipeline::Fault;
use serde_json::{Value, json};

use super::run_branches;
use crate::args::{ReportFormat, RunsArguments, RunsCommand};
use crate::config::resolve;
use crate::publish::KEY;
use crate::runs::History;
use crate::table::{Align, TextTable, grouped};
use crate::time::utc;
use crate::{exit_code, memory, runs, warehouse};

/// Lists the runs, or shows one.
pub fn run(arguments: &RunsArguments) -> Result<u8, Fault> {
    match &arguments.command {
        Some(RunsCommand::Waiting(arguments)) => return run_branches::waiting(arguments),
        Some(RunsCommand::Publish(arguments)) => return run_branches::publish(arguments),
        Some(RunsCommand::Discard(arguments)) => return run_branches::discard(arguments),
        None => {}
    }
    let place = resolve::place(&arguments.place, None)?;
    if !warehouse::exists(&place) {
        warehouse::expect_none_yet(&place, arguments.place.warehouse.is_some())?;
    }
    let history = History::of(&place)?;
    if let Some(run_id) = &arguments.run_id {
        // A report is JSON by nature; there is no shorter way to show all of it.
        super::print_json(&history.one(run_id)?)?;
        return Ok(exit_code::SUCCESS);
    }
    let newest = history.newest(arguments.limit)?;
    match arguments.format {
        ReportFormat::Json => {
            let reports: Vec<Value> = newest.into_iter().map(|(_, report)| report).collect();
            super::print_json(&json!({ "runs": reports }))?;
        }
        ReportFormat::Text => super::print(&text(&newest))?,
    }
    Ok(exit_code::SUCCESS)
}

fn text(runs: &[(String, Value)]) -> String {
    if runs.is_empty() {
        return "no runs yet\n".to_owned();
    }
    let mut table = TextTable::new([
        ("run", Align::Left),
        ("started (UTC)", Align::Left),
        ("table", Align::Left),
        ("windows", Align::Left),
        ("status", Align::Left),
        ("rows", Align::Right),
        ("rejected", Align::Right),
        ("bytes", Align::Right),
        ("seconds", Align::Right),
    ]);
    for (id, report) in runs {
        let totals = &report["totals"];
        let count = |key: &str| totals[key].as_u64().unwrap_or_default();
        let rejected: u64 =
            totals["rows_rejected"].as_object().into_iter().flatten().filter_map(|(_, rows)| rows.as_u64()).sum();
        let status = match totals["error"]["code"].as_str().or(report["error"]["code"].as_str()) {
            Some(code) => format!("{} {code}", totals["status"].as_str().unwrap_or_default()),
            None => totals["status"].as_str().unwrap_or_default().to_owned(),
        };
        table.row([
            id.as_str(),
            &runs::started_ms(id).map(utc).unwrap_or_default(),
            report["table"].as_str().unwrap_or("-"),
            &windows(report),
            &match report[KEY]["status"].as_str() {
                Some("pending") | None => status,
                Some(publish) => format!("{status}, {publish}"),
            },
            &grouped(count("rows_written")),
            &grouped(rejected),
            &memory::shown(count("bytes")),
            &format!("{:.2}", totals["seconds"]["total"].as_f64().unwrap_or_default()),
        ]);
    }
    table.render()
}

/// `2024-01` or `2024-01..2024-06`.
fn windows(report: &Value) -> String {
    let windows = report["windows"].as_array().map(Vec::as_slice).unwrap_or_default();
    let label = |window: &Value| window["window"].as_str().unwrap_or("all").to_owned();
    match windows {
        [] => "-".to_owned(),
        [only] => label(only),
        [first, .., last] => format!("{}..{}", label(first), label(last)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_one_line_each() {
        let report = json!({
            "table": "raw.green_trips",
            "windows": [{"window": "2024-01"}, {"window": "2024-02"}],
            "totals": {"status": "failed", "error": {"code": "LH0301"}, "rows_written": 56551, "rows_rejected": {"a": 1, "b": 2},
                       "bytes": 1048576, "seconds": {"total": 1.5}},
        });
        let text = text(&[("018cc251-f400-7000-8000-000000000000".to_owned(), report), ("odd".to_owned(), json!({}))]);
        let line = text.lines().nth(2).unwrap();
        for part in [
            "2024-01-01 00:00:00",
            "raw.green_trips",
            "2024-01..2024-02",
            "failed LH0301",
            "56,551",
            " 3 ",
            "1.0 MiB",
            "1.50",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
        assert_eq!(text.lines().count(), 4);
    }
}
