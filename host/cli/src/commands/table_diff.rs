//! `lakehost table diff`: what changed between two states.

use lakehost_lake::{Diff, WindowDelta};
use lakehost_pipeline::Fault;
use lakehost_pipeline::ports::TableName;
use lakehost_query::{AsOf, OpenTable, Session, Tables};
use serde_json::{Value, json};

use crate::args::{DiffArguments, ReportFormat};
use crate::batches::json_rows;
use crate::config::resolve;
use crate::error::Error;
use crate::render::line;
use crate::table::{Align, TextTable, grouped};
use crate::warehouse::{Warehouse, at_no_time, point};
use crate::{exit_code, progress};

/// What changed between two states of a table.
pub fn diff(arguments: &DiffArguments) -> Result<u8, Fault> {
    let name = resolve::table_name(&arguments.table)?;
    let (from, to) = states(&arguments.states)?;
    let place = resolve::place(&arguments.place, arguments.memory.as_deref())?;
    let warehouse = Warehouse::open_existing(&place)?;
    let found = between(&warehouse, &name, &from, &to)?;
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

fn between(warehouse: &Warehouse, name: &TableName, from: &AsOf, to: &AsOf) -> Result<Diff, Fault> {
    warehouse.lake.diff(name, &point(from), &point(to)).map_err(|error| {
        let early = matches!((from, to), (AsOf::TimeMs(_), _) | (_, AsOf::TimeMs(_)));
        match error {
            lakehost_lake::Error::NoSnapshot { .. } if early => {
                at_no_time(error, name, if matches!(from, AsOf::TimeMs(_)) { from } else { to })
            }
            error => warehouse.fault(error),
        }
    })
}

/// What changed since an earlier state.
pub fn until_now(warehouse: &Warehouse, name: &TableName, earlier: &str) -> Result<Diff, Fault> {
    let earlier = AsOf::parse(earlier, progress::now_ms())?;
    between(warehouse, name, &earlier, &AsOf::Reference("main".to_owned()))
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

pub fn json_diff(name: &TableName, found: &Diff, sample: Option<&Sample>) -> Value {
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

pub fn text_diff(name: &TableName, found: &Diff, sample: Option<&Sample>) -> String {
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
pub struct Sample {
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
