//! `lakehost table compact|expire|orphans|rewrite-manifests`.

use lakehost_columnar::NoObserver;
use lakehost_lake::{CompactOptions, Compacted, ExpireOptions, Expired, Orphan, OrphanOptions, SortKey};
use lakehost_pipeline::ports::TableName;
use lakehost_pipeline::{Fault, typed_span_ms};
use serde_json::{Value, json};

use super::trino_upkeep;
use crate::args::{CompactArguments, ExpireArguments, LogArguments, OrphansArguments, ReportFormat};
use crate::config::resolve;
use crate::config::sort::sort_key;
use crate::error::Error;
use crate::render::line;
use crate::table::{Align, TextTable, grouped};
use crate::time::utc;
use crate::warehouse::Warehouse;
use crate::{exit_code, memory};

/// Puts small files together.
pub fn compact(arguments: &CompactArguments) -> Result<u8, Fault> {
    let name = resolve::table_name(&arguments.table)?;
    let place = resolve::place(&arguments.place, arguments.memory.as_deref())?;
    if trino_upkeep::is_maintainer(&place) {
        return trino_upkeep::compact(arguments, &name, &place);
    }
    let sort: Vec<SortKey> = arguments.sort_by.iter().map(|text| sort_key(text)).collect::<Result<_, _>>()?;
    let options = CompactOptions {
        window: arguments.window.clone(),
        target_bytes: memory::parse_size(&arguments.target_size, "--target-size")?.max(1),
        min_files: arguments.min_files,
        sort: (!sort.is_empty()).then_some(sort),
        memory_bytes: place.memory_bytes,
        dry_run: arguments.dry_run,
        ..CompactOptions::default()
    };
    let warehouse = Warehouse::open_existing(&place)?;
    let done = warehouse.lake.compact(&name, &options, &NoObserver).map_err(|error| warehouse.fault(error))?;
    match arguments.format {
        ReportFormat::Json => super::print_json(&json_compacted(&name, &done, arguments.dry_run))?,
        ReportFormat::Text => super::print(&text_compacted(&name, &done, arguments.dry_run))?,
    }
    Ok(exit_code::SUCCESS)
}

fn json_compacted(name: &TableName, done: &Compacted, dry_run: bool) -> Value {
    json!({
        "table": name.to_string(),
        "dry_run": dry_run,
        "snapshots": ids(&done.snapshots),
        "files_before": done.files_before,
        "files_after": done.files_after,
        "rows": done.rows,
        "bytes_before": done.bytes_before,
        "bytes_after": if dry_run { Value::Null } else { json!(done.bytes_after) },
        "delete_files_dropped": done.deletes_dropped,
        "groups_lost": done.bins_lost,
    })
}

/// Ids are text, because readers of JSON round what is above 2^53.
fn ids(snapshots: &[i64]) -> Vec<String> {
    snapshots.iter().map(ToString::to_string).collect()
}

fn text_compacted(name: &TableName, done: &Compacted, dry_run: bool) -> String {
    let (before, after) = (grouped(done.files_before), grouped(done.files_after));
    let mut text = if done.files_before == 0 && done.deletes_dropped > 0 {
        String::new()
    } else if done.files_before == 0 {
        format!("{name} has nothing to compact\n")
    } else if dry_run {
        format!("would put {before} files ({}) of {name} together into {after}\n", memory::shown(done.bytes_before))
    } else {
        format!(
            "put {before} files ({}) of {name} together into {after} ({}), {} rows\n",
            memory::shown(done.bytes_before),
            memory::shown(done.bytes_after),
            grouped(done.rows)
        )
    };
    if done.deletes_dropped > 0 {
        let (does, count) = (if dry_run { "would drop" } else { "dropped" }, grouped(done.deletes_dropped));
        text.push_str(&format!("{does} {count} delete files of {name}, whose rows are gone from the data files\n"));
    }
    if done.bins_lost > 0 {
        text.push_str(&format!(
            "{} groups of files were changed meanwhile and are left to whoever changed them\n",
            grouped(done.bins_lost)
        ));
    }
    text
}

/// Forgets old snapshots.
pub fn expire(arguments: &ExpireArguments) -> Result<u8, Fault> {
    let name = resolve::table_name(&arguments.table)?;
    let place = resolve::place(&arguments.place, None)?;
    if trino_upkeep::is_maintainer(&place) {
        return trino_upkeep::expire(arguments, &name, &place);
    }
    let options = ExpireOptions {
        older_than_ms: age_ms(&arguments.older_than)?,
        keep: arguments.keep,
        dry_run: arguments.dry_run,
    };
    let warehouse = Warehouse::open_existing(&place)?;
    let expired = warehouse.lake.expire(&name, &options).map_err(|error| warehouse.fault(error))?;
    match arguments.format {
        ReportFormat::Json => super::print_json(&json!({
            "table": name.to_string(),
            "dry_run": arguments.dry_run,
            "snapshots": ids(&expired.snapshots),
            "refs": expired.refs,
            "files_deleted": expired.files_deleted,
            "bytes_deleted": expired.bytes_deleted,
            "files_left": expired.files_left,
        }))?,
        ReportFormat::Text => super::print(&text_expired(&name, &expired, arguments.dry_run))?,
    }
    Ok(exit_code::SUCCESS)
}

fn text_expired(name: &TableName, expired: &Expired, dry_run: bool) -> String {
    if expired.snapshots.is_empty() && expired.refs.is_empty() {
        return format!("{name} has nothing to expire\n");
    }
    let would = if dry_run { "would expire" } else { "expired" };
    let mut text = format!(
        "{would} {} snapshots of {name} with {} files ({})\n",
        grouped(expired.snapshots.len() as u64),
        grouped(expired.files_deleted),
        memory::shown(expired.bytes_deleted)
    );
    if !expired.refs.is_empty() {
        text.push_str(&format!("their time is over: {}\n", line(&expired.refs.join(", "))));
    }
    if expired.files_left > 0 {
        text.push_str(&format!(
            "{} files could not be deleted; `lakehost table orphans {name}` finds them later\n",
            grouped(expired.files_left)
        ));
    }
    text
}

/// `5 days`, `72 hours`, `10d`.
pub fn age_ms(text: &str) -> Result<i64, Error> {
    let wrong = || Error::Usage {
        message: format!("`{}` is not an age", text.escape_debug()),
        hint: Some("write it as \"5 days\", \"72 hours\" or 10d".to_owned()),
    };
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let (count, unit) = trimmed.split_at(digits);
    let unit = match unit.trim() {
        "d" => "days",
        "h" => "hours",
        "w" => "weeks",
        "m" => "minutes",
        "s" => "seconds",
        unit => unit,
    };
    typed_span_ms(&format!("{count} {unit}")).ok_or_else(wrong)
}

/// What the library allows without being told that it is meant.
const LEAST_AGE_MS: i64 = 72 * 3_600_000;

/// Files that no table refers to.
pub fn orphans(arguments: &OrphansArguments) -> Result<u8, Fault> {
    let name = arguments.table.as_deref().map(resolve::table_name).transpose()?;
    let options = OrphanOptions {
        older_than_ms: age_ms(&arguments.older_than)?,
        allow_younger_than_72h: arguments.allow_younger_than_72h,
        delete: arguments.delete,
    };
    if options.older_than_ms < LEAST_AGE_MS && !options.allow_younger_than_72h {
        return Err(Error::Usage {
            message: format!("files of {} may belong to a load that is under way", arguments.older_than.trim()),
            hint: Some("when certainly nobody loads, add --allow-younger-than-72h".to_owned()),
        }
        .into());
    }
    let place = resolve::place(&arguments.place, None)?;
    // Trino deletes at once; what there is to delete is seen here.
    if arguments.delete && trino_upkeep::is_maintainer(&place) {
        return trino_upkeep::orphans(arguments, name.as_ref(), &place);
    }
    let warehouse = Warehouse::open_existing(&place)?;
    let found = warehouse.lake.orphans(name.as_ref(), &options).map_err(|error| warehouse.fault(error))?;
    match arguments.format {
        ReportFormat::Json => {
            let all: Vec<Value> = found.iter().map(json_orphan).collect();
            super::print_json(&json!({ "orphans": all }))?;
        }
        ReportFormat::Text => super::print(&text_orphans(&found, arguments.delete))?,
    }
    Ok(exit_code::SUCCESS)
}

fn json_orphan(orphan: &Orphan) -> Value {
    json!({
        "file": orphan.location,
        "kind": orphan.kind.word(),
        "bytes": orphan.size_bytes,
        "modified": utc(u64::try_from(orphan.modified_ms).unwrap_or_default()),
        "deleted": orphan.deleted,
    })
}

fn text_orphans(found: &[Orphan], delete: bool) -> String {
    if found.is_empty() {
        return "no orphans\n".to_owned();
    }
    let mut table = TextTable::new([
        ("kind", Align::Left),
        ("size", Align::Right),
        ("modified (UTC)", Align::Left),
        ("file", Align::Left),
    ]);
    for orphan in found {
        table.row([
            orphan.kind.word().to_owned(),
            memory::shown(orphan.size_bytes),
            utc(u64::try_from(orphan.modified_ms).unwrap_or_default()),
            orphan.location.clone(),
        ]);
    }
    let bytes: u64 = found.iter().map(|orphan| orphan.size_bytes).sum();
    let done = if delete { "deleted" } else { "--delete deletes them" };
    format!("{}{} files, {}; {done}\n", table.render(), grouped(found.len() as u64), memory::shown(bytes))
}

/// The same files in fewer manifests.
pub fn rewrite_manifests(arguments: &LogArguments) -> Result<u8, Fault> {
    let name = resolve::table_name(&arguments.table)?;
    let place = resolve::place(&arguments.place, None)?;
    if trino_upkeep::is_maintainer(&place) {
        return trino_upkeep::rewrite_manifests(&name, &place, arguments.format);
    }
    let warehouse = Warehouse::open_existing(&place)?;
    let (before, after) = warehouse.lake.rewrite_manifests(&name).map_err(|error| warehouse.fault(error))?;
    match arguments.format {
        ReportFormat::Json => super::print_json(&json!({
            "table": name.to_string(),
            "manifests_before": before,
            "manifests_after": after,
        }))?,
        ReportFormat::Text if before == after => {
            super::print(&format!("the {before} manifests of {name} are as few as can be\n"))?;
        }
        ReportFormat::Text => super::print(&format!("{name} has {after} manifests instead of {before}\n"))?,
    }
    Ok(exit_code::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_understood() {
        for (text, expected) in [
            ("5 days", Some(432_000_000)),
            ("72 hours", Some(LEAST_AGE_MS)),
            ("10d", Some(864_000_000)),
            ("0 days", Some(0)),
            ("90 m", Some(5_400_000)),
            ("days", None),
            ("-1 days", None),
            ("5 fortnights", None),
            ("", None),
        ] {
            assert_eq!(age_ms(text).ok(), expected, "{text:?}");
        }
    }
}
