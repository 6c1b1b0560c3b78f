//! The report of a run: lines for people, one JSON object for machines.

use std::fmt::Write as _;

use lakehost_pipeline::{ErrorReport, Fault, RunReport, Status, WindowReport, codes};
use serde_json::Value;

use crate::error::Error;
use crate::memory;
use crate::render::line;
use crate::screen;
use crate::table::grouped;

/// Rows of a check's sample that people see; machines get all.
const SHOWN_ROWS: usize = 3;
/// Characters of such a row where there is no terminal.
const UNSEEN_WIDTH: usize = 160;

/// The whole report as people read it: a line a window, what was rejected below it, and the sum of several.
pub fn text(report: &RunReport) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{}  run {}", line(report.table.as_deref().unwrap_or("-")), report.run_id);
    for window in &report.windows {
        let _ = writeln!(text, "  {:<13}  {}", window.window.as_deref().unwrap_or("all"), summary(window));
        if !window.rows_rejected.is_empty() {
            let rules: Vec<String> =
                window.rows_rejected.iter().map(|(rule, rows)| format!("{} {}", line(rule), grouped(*rows))).collect();
            let _ = writeln!(text, "  {:<13}  rejected: {}", "", rules.join(", "));
        }
        if !window.values_discarded.is_empty() {
            let columns: Vec<String> = (window.values_discarded.iter())
                .map(|(column, values)| format!("{} {}", line(column), grouped(*values)))
                .collect();
            let _ = writeln!(text, "  {:<13}  values left out: {}", "", columns.join(", "));
        }
        if let Some(merge) = &window.merge {
            let parts = [
                (merge.inserted, "inserted"),
                (merge.updated, "updated"),
                (merge.unchanged, "unchanged"),
                (merge.duplicate_keys, "duplicate keys"),
            ];
            let said: Vec<String> = parts.iter().map(|(rows, word)| format!("{} {word}", grouped(*rows))).collect();
            let _ = writeln!(text, "  {:<13}  merged: {}", "", said.join(", "));
        }
        text.push_str(&checks(window, screen::stdout_columns().unwrap_or(UNSEEN_WIDTH)));
        if let Some(note) = &window.note {
            let _ = writeln!(text, "  {:<13}  {}", "", line(note));
        }
    }
    if report.windows.len() > 1 {
        let _ = writeln!(text, "  {:<13}  {}", "total", summary(&report.totals));
    }
    text
}

/// How the checks came out, with some of the rows that do not pass.
fn checks(window: &WindowReport, width: usize) -> String {
    let mut text = String::new();
    if window.checks.is_empty() {
        return text;
    }
    let _ = writeln!(text, "  {:<13}  checks: {}", "", lakehost_pipeline::checks::summary(&window.checks));
    for outcome in window.checks.iter().filter(|outcome| !outcome.passed()) {
        let word = if outcome.stops() { "failed" } else { "warned" };
        let _ = writeln!(text, "  {:<13}    {word}: {}", "", line(&outcome.to_string()));
        for row in outcome.sample.iter().take(SHOWN_ROWS) {
            let known = outcome.columns.iter().filter_map(|column| Some((column, row.get(column)?)));
            let others = row.iter().filter(|(column, _)| !outcome.columns.contains(column));
            let cells: Vec<String> = (known.chain(others))
                .map(|(column, value)| format!("{}={}", line(column), line(&value.to_string())))
                .collect();
            let _ = writeln!(text, "{}", cut(&format!("  {:<13}      {}", "", cells.join(" ")), width));
        }
    }
    if let Some(branch) = &window.branch {
        let _ = writeln!(text, "  {:<13}  the rows are on branch {}", "", line(branch));
    }
    text
}

/// As much of a line as fits; machines get all of it.
pub fn cut(text: &str, width: usize) -> String {
    match text.char_indices().nth(width.saturating_sub(1)) {
        Some((end, _)) if text.chars().count() > width => format!("{}…", text.get(..end).unwrap_or(text)),
        _ => text.to_owned(),
    }
}

fn summary(window: &WindowReport) -> String {
    let seconds = |map: &std::collections::BTreeMap<String, f64>| map.get("total").copied().unwrap_or_default();
    let mut parts = vec![ending(window).to_owned()];
    if window.rows_read > 0 {
        parts.push(format!("{} rows read", grouped(window.rows_read)));
        parts.push(format!("{} written", grouped(window.rows_written)));
        let rejected: u64 = window.rows_rejected.values().sum();
        if rejected > 0 {
            parts.push(format!("{} rejected", grouped(rejected)));
        }
    }
    if window.files > 0 {
        let files = if window.files == 1 { "file" } else { "files" };
        let path = window.path.as_deref().map(|path| format!(" ({})", line(path))).unwrap_or_default();
        parts.push(format!("{} in {} {files}{path}", memory::shown(window.bytes), grouped(window.files)));
    }
    if let (Some(snapshot), true) = (window.snapshot_id, window.window.is_some() || window.status == Status::Loaded) {
        parts.push(format!("snapshot {snapshot}"));
    }
    if let Some(error) = &window.error {
        parts.push(error.code.to_owned());
    }
    parts.push(format!("{:.2} s", seconds(&window.seconds)));
    let cpu = seconds(&window.cpu_seconds);
    if cpu > 0.0 {
        parts.push(format!("{cpu:.2} s CPU"));
    }
    parts.join(", ")
}

/// The word that JSON has for a status.
pub fn word(status: Status) -> &'static str {
    match status {
        Status::Loaded => "loaded",
        Status::AlreadyLoaded => "already-loaded",
        Status::NoData => "no-data",
        Status::NotPublished => "not-published",
        Status::Failed => "failed",
        Status::Skipped => "skipped",
    }
}

/// How a window, or the whole run, ended: its status, or that a signal stopped it.
pub fn ending(window: &WindowReport) -> &'static str {
    match &window.error {
        Some(error) if error.code == codes::INTERRUPTED.0 => INTERRUPTED,
        _ => word(window.status),
    }
}

/// The status of what a signal stopped, in JSON and in text.
const INTERRUPTED: &str = "interrupted";

/// The whole report as machines read it: `error` is that of the run, as for every verb; `warnings` are sentences.
pub fn json(report: &RunReport, warnings: &[String]) -> Result<Value, Error> {
    let mut json = serde_json::to_value(report).map_err(|error| Error::Bug {
        what: "the report cannot be written as JSON".to_owned(),
        cause: error.to_string(),
    })?;
    let windows = json["windows"].as_array_mut().map(|windows| windows.iter_mut().zip(&report.windows));
    for (part, window) in windows.into_iter().flatten() {
        part["status"] = ending(window).into();
    }
    json["totals"]["status"] = ending(&report.totals).into();
    if let Value::Object(entries) = &mut json {
        entries.insert("error".to_owned(), serde_json::to_value(&report.totals.error).unwrap_or_default());
        entries.insert("warnings".to_owned(), warnings.into());
    }
    ids_as_text(&mut json);
    Ok(json)
}

/// Snapshot ids as text: they are greater than 2^53, and many readers of JSON would round them.
pub fn ids_as_text(json: &mut Value) {
    match json {
        Value::Object(entries) => {
            for (key, value) in entries.iter_mut() {
                match value {
                    Value::Number(id) if key == "snapshot_id" || key == "parent_id" => *value = id.to_string().into(),
                    other => ids_as_text(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(ids_as_text),
        _ => {}
    }
}

/// Puts the CPU time of the whole process beside that of the stages: `windows` has one value for each window that was tried.
pub fn add_process_cpu(report: &mut RunReport, windows: &[f64]) {
    for (window, seconds) in report.windows.iter_mut().zip(windows) {
        window.cpu_seconds.insert("total".to_owned(), *seconds);
    }
    report.totals.cpu_seconds.insert("total".to_owned(), windows.iter().sum());
}

/// The report of a run that failed before its first window.
pub fn failed(run_id: &str, pipeline: Option<&str>, fault: &Fault) -> RunReport {
    let mut totals = WindowReport::new(None, Status::Failed);
    totals.error = Some(ErrorReport::from(fault));
    totals.peak_rss_bytes = memory::peak_rss_bytes();
    RunReport {
        run_id: run_id.to_owned(),
        pipeline: pipeline.map(str::to_owned),
        table: None,
        windows: Vec::new(),
        totals,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> RunReport {
        let fault = Fault::new(Error::usage("wrong"));
        let mut report = failed("018cc251", Some("trips"), &fault);
        report.table = Some("raw.green_trips".to_owned());
        let mut window = failed("x", None, &fault).totals;
        window.window = Some("2024-01".to_owned());
        window.status = Status::Loaded;
        window.error = None;
        (window.rows_read, window.rows_written, window.bytes, window.files) = (56_551, 56_500, 1 << 20, 1);
        window.rows_rejected.insert("negative_amount".to_owned(), 51);
        window.snapshot_id = Some(42);
        window.path = Some("pages".to_owned());
        window.seconds.insert("total".to_owned(), 0.5);
        report.windows.push(window);
        report
    }

    #[test]
    fn people_see_what_happened() {
        let mut report = report();
        add_process_cpu(&mut report, &[0.75]);
        let expected = "\
raw.green_trips  run 018cc251
  2024-01        loaded, 56,551 rows read, 56,500 written, 51 rejected, 1.0 MiB in 1 file (pages), snapshot 42, 0.50 s, 0.75 s CPU
                 rejected: negative_amount 51
";
        assert_eq!(text(&report), expected);
    }

    #[test]
    fn machines_find_the_keys_of_the_contract() {
        let mut report = report();
        report.windows[0].snapshot_id = Some(i64::MAX);
        let json = json(&report, &["odd".to_owned()]).unwrap();
        let window = &json["windows"][0];
        for part in [window, &json["totals"]] {
            for key in [
                "status",
                "error",
                "rows_read",
                "rows_written",
                "rows_rejected",
                "bytes",
                "files",
                "snapshot_id",
                "load_id",
                "seconds",
                "cpu_seconds",
                "peak_rss_bytes",
            ] {
                assert!(part.get(key).is_some(), "{key}");
            }
        }
        assert_eq!((window["status"].as_str(), window["error"].is_null()), (Some("loaded"), true));
        assert_eq!(json["totals"]["error"]["code"], "LH0101");
        assert_eq!(json["totals"]["error"]["message"], "wrong");
        assert_eq!((&json["error"], &json["warnings"][0]), (&json["totals"]["error"], &"odd".into()));
        assert_eq!(window["snapshot_id"], "9223372036854775807", "a number would be rounded by others");
    }

    #[test]
    fn what_a_signal_stopped_says_so() {
        let report = failed("r", None, &Fault::new(Error::Stopped { what: "by a signal" }));
        assert_eq!(json(&report, &[]).unwrap()["totals"]["status"], "interrupted");
        assert!(summary(&report.totals).starts_with("interrupted, LH1099, "), "{}", summary(&report.totals));
    }

    #[test]
    fn words_are_those_of_the_json() {
        use Status::*;
        for status in [Loaded, AlreadyLoaded, NoData, NotPublished, Failed, Skipped] {
            assert_eq!(serde_json::to_value(status).unwrap(), word(status));
        }
    }
}
