//! `lakehost table diff|provenance`: what changed between two states, and where a state came from.

use lakehost_lake::{Diff, Provenance, WindowDelta};
use lakehost_pipeline::Fault;
use lakehost_pipeline::ports::TableName;
use lakehost_query::{AsOf, OpenTable, Session, Tables};
use serde_json::{Value, json};

use super::snapshots;
use crate::args::{DiffArguments, ProvenanceArguments, ReportFormat};
use crate::batches::json_rows;
use crate::config::resolve;
use crate::error::Error;
use crate::render::line;
use crate::table::{Align, TextTable, grouped};
use crate::time::utc;
use crate::warehouse::{Warehouse, at_no_time, point};
use crate::{exit_code, progress};

/// What changed between two states of a table.
pub fn diff(arguments: &DiffArguments) -> Result<u8, Fault> {
    let name = resolve::table_name(&arguments.table)?;
    let (from, to) = states(&arguments.states)?;
    let place = resolve::place(&arguments.place, arguments.memory.as_deref())?;
    let warehouse = Warehouse::open_existing(&place)?;
    let found = warehouse.lake.diff(&name, &point(&from), &point(&to)).map_err(|error| {
        let early = matches!((&from, &to), (AsOf::TimeMs(_), _) | (_, AsOf::TimeMs(_)));
        match error {
            lakehost_lake::Error::NoSnapshot { .. } if early => {
                at_no_time(error, &name, if matches!(from, AsOf::TimeMs(_)) { &from } else { &to })
            }
            error => warehouse.fault(error),
        }
    })?;
    let sample = match arguments.rows {
        Some(rows) if !found.windows.is_empty() && !found.same_rows => {
            let memory = usize::try_from(place.memory_bytes).ok();
            Some(Sample::take(&warehouse, &name, &found, rows, memory)?)
        }
        _ => None,
    };
    match arguments.format {
        ReportFormat::Json => super::print_json(&json_diff(&name, &found, sample.as_ref()))?,
        ReportFormat::Text => super::print(&text_diff(&name, &found, sample.as_ref()))?,
    }
    Ok(exit_code::SUCCESS)
}

/// `A..B`; an end that is left away is the head of `main`.
fn states(text: &str) -> Result<(AsOf, AsOf), Fault> {
    let (from, to) = text.split_once("..").ok_or_else(|| Error::Usage {
        message: format!("`{}` is not two states of a table", text.escape_debug()),
        hint: Some("write them as A..B, such as v1..main or 2024-01-31..now".to_owned()),
    })?;
    let now = progress::now_ms();
    let parse = |text: &str| -> Result<AsOf, Fault> {
        if text.trim().is_empty() { Ok(AsOf::Reference("main".to_owned())) } else { Ok(AsOf::parse(text, now)?) }
    };
    Ok((parse(from)?, parse(to)?))
}

fn json_window(window: &WindowDelta) -> Value {
    json!({
        "window": window.window,
        "rows_before": window.rows_before,
        "rows_after": window.rows_after,
        "rows_in_new_files": window.rows_added,
        "rows_in_old_files": window.rows_removed,
        "files_added": window.files_added,
        "files_removed": window.files_removed,
        "deletes_before": window.deletes_before,
        "deletes_after": window.deletes_after,
    })
}

fn json_diff(name: &TableName, found: &Diff, sample: Option<&Sample>) -> Value {
    json!({
        "table": name.to_string(),
        "from": found.from.to_string(),
        "to": found.to.to_string(),
        "rows_before": found.rows_before,
        "rows_after": found.rows_after,
        "same_rows": found.same_rows,
        "windows": found.windows.iter().map(json_window).collect::<Vec<_>>(),
        "files_added": found.files_added,
        "files_removed": found.files_removed,
        "sample": sample.map(|sample| json!({ "only_before": sample.before, "only_after": sample.after })),
    })
}

fn signed(before: u64, after: u64) -> String {
    match after.cmp(&before) {
        std::cmp::Ordering::Less => format!("-{}", grouped(before - after)),
        std::cmp::Ordering::Equal => "0".to_owned(),
        std::cmp::Ordering::Greater => format!("+{}", grouped(after - before)),
    }
}

fn text_diff(name: &TableName, found: &Diff, sample: Option<&Sample>) -> String {
    let mut text = format!(
        "{name} from snapshot {} to {}: {} rows ({} → {})\n",
        found.from,
        found.to,
        signed(found.rows_before, found.rows_after),
        grouped(found.rows_before),
        grouped(found.rows_after)
    );
    if found.windows.is_empty() {
        text.push_str("the files are the same\n");
        return text;
    }
    if found.same_rows {
        text.push_str("the rows are the same: compaction put them into other files\n");
    }
    let mut table = TextTable::new([
        ("window", Align::Left),
        ("rows before", Align::Right),
        ("rows after", Align::Right),
        ("change", Align::Right),
        ("files added", Align::Right),
        ("files removed", Align::Right),
    ]);
    for window in &found.windows {
        table.row([
            window.window.clone(),
            grouped(window.rows_before),
            grouped(window.rows_after),
            signed(window.rows_before, window.rows_after),
            grouped(window.files_added),
            grouped(window.files_removed),
        ]);
    }
    text.push('\n');
    text.push_str(&table.render());
    if let Some(sample) = sample {
        for (title, rows) in [("only before", &sample.before), ("only after", &sample.after)] {
            text.push_str(&format!("\nrows {title}: {}\n", if rows.is_empty() { "none" } else { "a sample" }));
            for row in rows {
                text.push_str(&format!("  {}\n", line(&row.to_string())));
            }
        }
    }
    text
}

/// Rows that only one of two states has.
struct Sample {
    before: Vec<Value>,
    after: Vec<Value>,
}

/// The namespaces under which the two states of one table are asked.
const BEFORE: &str = "before";
const AFTER: &str = "after";
/// Differs between any two loads of the same rows.
const NOT_COMPARED: &[&str] = &["ingested_at"];

impl Sample {
    fn take(
        warehouse: &Warehouse,
        name: &TableName,
        found: &Diff,
        rows: usize,
        memory_bytes: Option<usize>,
    ) -> Result<Self, Fault> {
        let session = Session::new(TwoStates { warehouse, name, from: found.from, to: found.to }, memory_bytes)?;
        let columns = |state: &str| -> Result<Vec<String>, Fault> {
            let answer = session.query(&format!("select * from {state}.\"t\" limit 0"))?;
            Ok(answer.schema().fields().iter().map(|field| field.name().clone()).collect())
        };
        let (old, new) = (columns(BEFORE)?, columns(AFTER)?);
        let common: Vec<String> = new
            .iter()
            .filter(|column| old.contains(column) && !NOT_COMPARED.contains(&column.as_str()))
            .map(|column| format!("\"{}\"", column.replace('"', "\"\"")))
            .collect();
        let (list, filter) = (common.join(", "), window_filter(&found.windows));
        let side = |one: &str, other: &str| -> Result<Vec<Value>, Fault> {
            let sql = format!(
                "select {list} from {one}.\"t\"{filter} except select {list} from {other}.\"t\"{filter} limit {rows}"
            );
            let mut objects = Vec::new();
            for batch in session.query(&sql)? {
                objects.extend(json_rows(&batch?, &[])?);
            }
            Ok(objects)
        };
        Ok(Self { before: side(BEFORE, AFTER)?, after: side(AFTER, BEFORE)? })
    }
}

/// Only the changed windows are read, when they can be named in SQL.
fn window_filter(windows: &[WindowDelta]) -> String {
    let literals: Option<Vec<String>> = windows.iter().map(|window| window_literal(&window.window)).collect();
    match literals {
        Some(literals) if literals.len() <= 1_000 => format!(" where _lakehost_window in ({})", literals.join(", ")),
        _ => String::new(),
    }
}

/// `2024`, `2024-01`, `2024-01-31` or `2024-01-31T13` as the value of `_lakehost_window`; `None`: the label is no window.
fn window_literal(label: &str) -> Option<String> {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-' || byte == b'T');
    if !label.is_ascii() || !digits(label) {
        return None;
    }
    match label.len() {
        4 => Some(format!("date '{label}-01-01'")),
        7 => Some(format!("date '{label}-01'")),
        10 => Some(format!("date '{label}'")),
        13 => Some(format!("timestamp '{label}:00:00'")),
        _ => None,
    }
}

/// One table at two snapshots, as `before.t` and `after.t`.
struct TwoStates<'a> {
    warehouse: &'a Warehouse,
    name: &'a TableName,
    from: i64,
    to: i64,
}

impl Tables for TwoStates<'_> {
    fn open(&self, name: &TableName) -> Result<Option<OpenTable>, Fault> {
        let snapshot_id = match name.namespace.as_str() {
            BEFORE => self.from,
            AFTER => self.to,
            _ => return Ok(None),
        };
        let table = self.warehouse.lake.open_table(self.name)?;
        Ok(Some(OpenTable { table, snapshot_id: Some(snapshot_id) }))
    }

    fn names(&self) -> Result<Vec<TableName>, Fault> {
        Ok(Vec::new())
    }
}

/// Where the rows of a snapshot came from.
pub fn provenance(arguments: &ProvenanceArguments) -> Result<u8, Fault> {
    let name = resolve::table_name(&arguments.table)?;
    let wanted = AsOf::parse(&arguments.snapshot, progress::now_ms())?;
    let warehouse = Warehouse::open_existing(&resolve::place(&arguments.place, None)?)?;
    let found = warehouse.lake.provenance(&name, &point(&wanted)).map_err(|error| match error {
        lakehost_lake::Error::NoSnapshot { .. } => at_no_time(error, &name, &wanted),
        error => warehouse.fault(error),
    })?;
    match arguments.format {
        ReportFormat::Json => super::print_json(&json_provenance(&name, &found))?,
        ReportFormat::Text => super::print(&text_provenance(&name, &found))?,
    }
    Ok(exit_code::SUCCESS)
}

fn json_provenance(name: &TableName, found: &Provenance) -> Value {
    json!({
        "table": name.to_string(),
        "snapshot": snapshots::json_of(&found.snapshot),
        "config_sha256": found.snapshot.load.get("config-sha256"),
        "state": read_up_to(found),
        "objects": found.objects,
        "objects_digest": found.objects_digest,
        "plugins": found.plugins,
        "run": found.run,
    })
}

/// How far the source was read; null for one that is not read on.
fn read_up_to(found: &Provenance) -> Value {
    let load = &found.snapshot.load;
    let Some(owner) = load.get("state-owner") else { return Value::Null };
    let json = |key: &str| load.get(key).and_then(|text| serde_json::from_str::<Value>(text).ok());
    let cursor = json("cursor").map(|cursor| json!({ "column": cursor["column"], "value": cursor["value"] }));
    // A long state is a property of the table, not part of the snapshot.
    json!({ "source": owner, "state": json("state"), "sha256": load.get("state-digest"), "cursor": cursor })
}

fn text_provenance(name: &TableName, found: &Provenance) -> String {
    let snapshot = &found.snapshot;
    let load = |key: &str| snapshot.load.get(key).map_or("not recorded", String::as_str);
    let mut text = format!(
        "{name} snapshot {}\n  committed  {} UTC, {}\n  window     {}\n  rows       +{} -{}\n  run        {}\n  load       {}\n  config     {}\n",
        snapshot.snapshot_id,
        utc(u64::try_from(snapshot.timestamp_ms).unwrap_or_default()),
        snapshot.operation,
        line(load("window")),
        grouped(snapshot.rows_added),
        grouped(snapshot.rows_deleted),
        line(load("run-id")),
        line(load("load-id")),
        line(load("config-sha256")),
    );
    if let (Some(owner), Some(state)) = (snapshot.load.get("state-owner"), snapshot.load.get("state")) {
        text.push_str(&format!("  read       {} up to {}\n", line(owner), line(state)));
    }
    for plugin in &found.plugins {
        text.push_str(&format!("  plugin     {} sha256 {}\n", line(&plugin.to_string()), line(&plugin.sha256)));
    }
    for object in &found.objects {
        let etag = object.etag.as_deref().map(|etag| format!(", ETag {etag}")).unwrap_or_default();
        text.push_str(&format!(
            "  object     {} ({} bytes{}) sha256 {}\n",
            line(&object.url),
            grouped(object.length),
            line(&etag),
            line(&object.sha256)
        ));
    }
    if let Some(digest) = &found.objects_digest {
        text.push_str(&format!("  objects    {}\n", line(&digest.to_string())));
    }
    if snapshot.load.is_empty() {
        text.push_str("another program wrote this snapshot; it left no record of where the rows came from\n");
    } else if found.run.is_none() {
        text.push_str("the record of the run is not in this warehouse\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_states_are_named() {
        let snapshot = |id| AsOf::Snapshot(id);
        let reference = |name: &str| AsOf::Reference(name.to_owned());
        for (text, expected) in [
            ("1..2", Some((snapshot(1), snapshot(2)))),
            ("v1.0..main", Some((reference("v1.0"), reference("main")))),
            ("v1..", Some((reference("v1"), reference("main")))),
            ("1", None),
            ("a b..c", None),
        ] {
            assert_eq!(states(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn changed_windows_become_a_filter() {
        let windows = |labels: &[&str]| -> Vec<WindowDelta> {
            labels.iter().map(|label| WindowDelta { window: (*label).to_owned(), ..WindowDelta::default() }).collect()
        };
        assert_eq!(
            window_filter(&windows(&["2024-01", "2024-02-03"])),
            " where _lakehost_window in (date '2024-01-01', date '2024-02-03')"
        );
        assert_eq!(
            window_filter(&windows(&["2024-01-31T13"])),
            " where _lakehost_window in (timestamp '2024-01-31T13:00:00')"
        );
        assert_eq!(window_filter(&windows(&["2024-01", "id=3"])), "");
    }
}
