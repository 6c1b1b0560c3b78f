//! `lakehost snapshots TABLE`: what each snapshot brought: rows, growth, run, plugins, source; and the present against an earlier one.

mod page;

use lakehost_lake::SnapshotInfo;
use lakehost_pipeline::Fault;
use serde_json::{Value, json};

use super::table_diff;
use super::trino_tables::History;
use crate::args::{Engine, HistoryFormat, SnapshotsArguments};
use crate::config::resolve;
use crate::error::Error;
use crate::exit_code;
use crate::table::{Align, TextTable, grouped};
use crate::time::utc;
use crate::trino::Connection;
use crate::warehouse::Warehouse;

/// Prints the snapshots, newest first.
pub fn run(arguments: &SnapshotsArguments) -> Result<u8, Fault> {
    let table = resolve::table_name(&arguments.table)?;
    let place = resolve::place(&arguments.place, None)?;
    let (mut snapshots, against) = match (arguments.engine, &arguments.against) {
        (Engine::Embedded, earlier) => {
            let warehouse = Warehouse::open_existing(&place)?;
            let snapshots = warehouse.lake.snapshots(&table).map_err(|error| warehouse.fault(error))?;
            let against = earlier.as_deref().map(|earlier| table_diff::until_now(&warehouse, &table, earlier));
            (snapshots, against.transpose()?)
        }
        (Engine::Trino, None) => (History::read(&Connection::open(&place)?, &table)?.snapshots, None),
        (Engine::Trino, Some(_)) => {
            return Err(Error::Usage {
                message: "--against reads manifests, which Trino does not show".to_owned(),
                hint: Some("leave --engine trino away; the table is the same".to_owned()),
            }
            .into());
        }
    };
    snapshots.reverse();
    snapshots.truncate(if arguments.limit == 0 { usize::MAX } else { arguments.limit });
    match arguments.format {
        HistoryFormat::Json => {
            let all: Vec<Value> = snapshots.iter().map(json_of).collect();
            let mut answer = json!({ "table": table.to_string(), "snapshots": all });
            if let (Some(diff), Some(entries)) = (&against, answer.as_object_mut()) {
                entries.insert("against".to_owned(), table_diff::json_diff(&table, diff, None));
            }
            super::print_json(&answer)?;
        }
        HistoryFormat::Html => super::print(&page::html(&table, &snapshots, against.as_ref()))?,
        HistoryFormat::Text if snapshots.is_empty() => super::print(&format!("{table} has no snapshots yet\n"))?,
        HistoryFormat::Text => {
            let compared = against.map(|diff| format!("\n{}", table_diff::text_diff(&table, &diff, None)));
            super::print(&format!("{}{}", text(&snapshots), compared.unwrap_or_default()))?;
        }
    }
    Ok(exit_code::SUCCESS)
}

/// Rows that a snapshot brought more than it took.
fn growth(snapshot: &SnapshotInfo) -> i128 {
    i128::from(snapshot.rows_added) - i128::from(snapshot.rows_deleted)
}

/// One snapshot as machines read it: ids are text, because readers of JSON round what is above 2^53.
pub fn json_of(snapshot: &SnapshotInfo) -> Value {
    let load = |key: &str| snapshot.load.get(key);
    json!({
        "snapshot_id": snapshot.snapshot_id.to_string(),
        "parent_id": snapshot.parent_id.map(|id| id.to_string()),
        "committed": utc(u64::try_from(snapshot.timestamp_ms).unwrap_or_default()),
        "timestamp_ms": snapshot.timestamp_ms,
        "operation": snapshot.operation,
        "on_main": snapshot.on_main,
        "rows": snapshot.rows,
        "rows_added": snapshot.rows_added,
        "rows_deleted": snapshot.rows_deleted,
        "growth": i64::try_from(growth(snapshot)).unwrap_or_default(),
        "files": snapshot.files,
        "files_added": snapshot.files_added,
        "files_deleted": snapshot.files_deleted,
        "bytes": snapshot.bytes,
        "window": load("window"),
        "run_id": load("run-id"),
        "load_id": load("load-id"),
        "pipeline": load("pipeline"),
        "plugins": load("plugins").map(|plugins| plugins.split(',').collect::<Vec<_>>()),
        // The summary holds the source objects as JSON text.
        "source": load("source").map(|source| serde_json::from_str(source).unwrap_or_else(|_| Value::String(source.clone()))),
        "rows_read": load("rows-read").and_then(|rows| rows.parse::<u64>().ok()),
        "rows_rejected": load("rows-rejected").and_then(|rows| rows.parse::<u64>().ok()),
        "merge": merge(snapshot),
    })
}

/// What became of the rows of a merge; null for other snapshots.
fn merge(snapshot: &SnapshotInfo) -> Value {
    let count = |name: &str| snapshot.load.get(name).and_then(|rows| rows.parse::<u64>().ok());
    let Some(inserted) = count("rows-inserted") else { return Value::Null };
    json!({
        "inserted": inserted,
        "updated": count("rows-updated"),
        "unchanged": count("rows-unchanged"),
        "duplicate_keys": count("rows-duplicate"),
    })
}

/// The same for people, behind the operation.
fn merge_text(snapshot: &SnapshotInfo) -> String {
    let merge = merge(snapshot);
    let parts =
        [("inserted", "new"), ("updated", "updated"), ("unchanged", "unchanged"), ("duplicate_keys", "duplicate")];
    let said: Vec<String> = (parts.iter())
        .filter_map(|(name, word)| Some((merge[*name].as_u64()?, word)))
        .filter(|(rows, _)| *rows > 0)
        .map(|(rows, word)| format!("{} {word}", grouped(rows)))
        .collect();
    if said.is_empty() { String::new() } else { format!(", merge: {}", said.join(", ")) }
}

fn text(snapshots: &[SnapshotInfo]) -> String {
    let mut table = TextTable::new([
        ("snapshot", Align::Right),
        ("committed (UTC)", Align::Left),
        ("operation", Align::Left),
        ("window", Align::Left),
        ("rows", Align::Right),
        ("growth", Align::Right),
        ("run", Align::Left),
        ("plugins", Align::Left),
        ("source", Align::Left),
    ]);
    for snapshot in snapshots {
        let load = |key: &str| snapshot.load.get(key).map_or("", String::as_str);
        let not_on_main = if snapshot.on_main { "" } else { " (not on main)" };
        let operation = format!("{}{not_on_main}{}", snapshot.operation, merge_text(snapshot));
        table.row([
            snapshot.snapshot_id.to_string(),
            utc(u64::try_from(snapshot.timestamp_ms).unwrap_or_default()),
            operation,
            load("window").to_owned(),
            snapshot.rows.map(grouped).unwrap_or_default(),
            signed(growth(snapshot)),
            load("run-id").to_owned(),
            plugins(load("plugins")),
            source(load("source")),
        ]);
    }
    table.render()
}

fn signed(count: i128) -> String {
    let size = grouped(u64::try_from(count.unsigned_abs()).unwrap_or(u64::MAX));
    match count {
        0 => "0".to_owned(),
        count if count < 0 => format!("-{size}"),
        _ => format!("+{size}"),
    }
}

/// `nyc_tlc@0.1.0=9f31…` as `nyc_tlc@0.1.0 (9f31c4d2)`.
fn plugins(recorded: &str) -> String {
    let short = |plugin: &str| match plugin.split_once('=') {
        Some((name, digest)) => format!("{name} ({})", digest.get(..8).unwrap_or(digest)),
        None => plugin.to_owned(),
    };
    recorded.split(',').filter(|plugin| !plugin.is_empty()).map(short).collect::<Vec<_>>().join(", ")
}

/// File name and entity tag of the first source object, and how many more there were.
fn source(recorded: &str) -> String {
    let Ok(Value::Array(objects)) = serde_json::from_str::<Value>(recorded) else { return recorded.to_owned() };
    let Some(first) = objects.first() else { return String::new() };
    let url = first["url"].as_str().unwrap_or_default();
    let mut shown = url.rsplit('/').next().unwrap_or(url).to_owned();
    if let Some(etag) = first["etag"].as_str() {
        shown.push_str(&format!(" (ETag {})", etag.trim_matches('"')));
    }
    if objects.len() > 1 {
        shown.push_str(&format!(" and {} more", objects.len() - 1));
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_snapshot_says_who_brought_what() {
        let load = BTreeMap::from([
            ("window".to_owned(), "2024-01".to_owned()),
            ("plugins".to_owned(), "nyc_tlc@0.1.0=9f31c4d2aabb,trip_cleaner@0.1.0=00112233".to_owned()),
            ("source".to_owned(), r#"[{"url":"https://x/green.parquet","etag":"\"a1\"","length":1}]"#.to_owned()),
        ]);
        let snapshot = SnapshotInfo {
            snapshot_id: 42,
            parent_id: None,
            sequence_number: 1,
            timestamp_ms: 1_706_725_800_000,
            operation: "overwrite".to_owned(),
            on_main: true,
            rows: Some(56_551),
            rows_added: 56_551,
            rows_deleted: 57_000,
            files: Some(1),
            files_added: 1,
            files_deleted: 1,
            bytes: Some(10),
            load,
        };
        let shown = text(std::slice::from_ref(&snapshot));
        for part in [
            "2024-01-31 18:30:00",
            "56,551",
            "-449",
            "nyc_tlc@0.1.0 (9f31c4d2), trip_cleaner@0.1.0 (00112233)",
            "green.parquet (ETag a1)",
        ] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
        let json = json_of(&snapshot);
        assert_eq!((json["snapshot_id"].as_str(), json["parent_id"].is_null()), (Some("42"), true));
        assert_eq!((json["growth"].as_i64(), json["source"][0]["length"].as_u64()), (Some(-449), Some(1)));
    }
}
