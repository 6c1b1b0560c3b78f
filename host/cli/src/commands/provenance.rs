//! `lakehost table provenance`: where the rows of a snapshot came from, and what they come to.

use lakehost_lake::{Content, Provenance};
use lakehost_pipeline::Fault;
use lakehost_pipeline::ports::TableName;
use lakehost_query::AsOf;
use serde_json::{Value, json};

use super::snapshots;
use crate::args::{ProvenanceArguments, ReportFormat};
use crate::config::resolve;
use crate::render::line;
use crate::table::grouped;
use crate::time::utc;
use crate::warehouse::{Warehouse, at_no_time, point};
use crate::{exit_code, progress};

/// Where the rows of a snapshot came from.
pub fn run(arguments: &ProvenanceArguments) -> Result<u8, Fault> {
    let name = resolve::table_name(&arguments.table)?;
    let wanted = AsOf::parse(&arguments.snapshot, progress::now_ms())?;
    let warehouse = Warehouse::open_existing(&resolve::place(&arguments.place, None)?)?;
    let found = warehouse.lake.provenance(&name, &point(&wanted)).map_err(|error| match error {
        lakehost_lake::Error::NoSnapshot { .. } => at_no_time(error, &name, &wanted),
        error => warehouse.fault(error),
    })?;
    let content = match arguments.content_hash {
        true => Some(warehouse.lake.content(&name, &lakehost_lake::AsOf::Snapshot(found.snapshot.snapshot_id))?),
        false => None,
    };
    match arguments.format {
        ReportFormat::Json => {
            let mut answer = json_provenance(&name, &found);
            if let (Some(content), Value::Object(entries)) = (&content, &mut answer) {
                entries.insert("content".to_owned(), json_content(content));
            }
            super::print_json(&answer)?;
        }
        ReportFormat::Text => {
            let mut text = text_provenance(&name, &found);
            for (window, hash) in content.iter().flat_map(|content| &content.windows) {
                text.push_str(&format!("  content    {window}: {} rows, {}\n", grouped(hash.rows), hash.hex()));
            }
            super::print(&text)?;
        }
    }
    Ok(exit_code::SUCCESS)
}

/// Rows and hash of each window.
pub fn json_content(content: &Content) -> Value {
    let windows =
        content.windows.iter().map(|(window, hash)| json!({ "window": window, "rows": hash.rows, "hash": hash.hex() }));
    Value::Array(windows.collect())
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
        if let Some(raw) = &object.raw {
            text.push_str(&format!("             kept as it came at {}\n", line(raw)));
        }
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
