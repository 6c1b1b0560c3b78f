//! Upkeep by Trino, for profiles that say `maintained_by = "trino"`: the verbs of `lakehost table` as `ALTER TABLE … EXECUTE`, with the same thresholds.
//!
//! Each is sent once. What Trino 476 cannot do is refused by name rather than left out in silence.

use arrow::array::AsArray as _;
use arrow::datatypes::Int64Type;
use lakehost_models::trino::{Statement, Written, literal};
use lakehost_pipeline::ports::TableName;
use lakehost_pipeline::{Fault, Granularity, WINDOW_COLUMN, Window};
use serde_json::{Value, json};

use super::maintenance::age_ms;
use super::trino_tables::History;
use crate::args::{CompactArguments, ExpireArguments, OrphansArguments, ReportFormat};
use crate::config::resolve::Where;
use crate::config::trino::MaintainedBy;
use crate::error::Error;
use crate::table::grouped;
use crate::trino::Connection;
use crate::{exit_code, memory};

/// A file of at least this share of the wanted size is left alone, as by lakehost's own compaction.
const LARGE_ENOUGH: (u64, u64) = (3, 4);
/// A snapshot that is kept stays kept while the statement is on its way.
const MARGIN_MS: i64 = 5_000;

/// Whether the tables of a place are Trino's to keep.
pub fn is_maintainer(place: &Where) -> bool {
    place.maintained_by == MaintainedBy::Trino
}

/// A statement, and what its effect is measured by.
struct Job<'a> {
    verb: &'static str,
    name: &'a TableName,
    statement: Statement,
    dry_run: bool,
}

/// Puts small files together.
pub fn compact(arguments: &CompactArguments, name: &TableName, place: &Where) -> Result<u8, Fault> {
    if !arguments.sort_by.is_empty() {
        return Err(unable("--sort-by", "`lakehost table set-sort` gives the table an order, which Trino keeps"));
    }
    let trino = Connection::open(place)?;
    let target_bytes = memory::parse_size(&arguments.target_size, "--target-size")?.max(1);
    let small_bytes = (target_bytes / LARGE_ENOUGH.1).saturating_mul(LARGE_ENOUGH.0).max(1);
    let window = arguments.window.as_deref().map(window_condition).transpose()?;
    let sql = format!(
        "ALTER TABLE {} EXECUTE optimize(file_size_threshold => '{small_bytes}B'){}",
        trino.table(name, ""),
        window.map(|condition| format!(" WHERE {condition}")).unwrap_or_default()
    );
    let statement =
        Statement::new(&sql).with(format!("{}.target_max_file_size", trino.catalog), format!("{target_bytes}B"));
    carry_out(&trino, &Job { verb: "compact", name, statement, dry_run: arguments.dry_run }, arguments.format)
}

/// Forgets old snapshots. Trino 476 keeps none by count, so that the age is raised until the newest ones are young enough.
pub fn expire(arguments: &ExpireArguments, name: &TableName, place: &Where) -> Result<u8, Fault> {
    let trino = Connection::open(place)?;
    let asked_ms = age_ms(&arguments.older_than)?;
    let kept_ms =
        History::read(&trino, name)?.kept_age_ms(arguments.keep.max(1)).map_or(0, |age| age.saturating_add(MARGIN_MS));
    let seconds = asked_ms.max(kept_ms) / 1_000;
    let sql =
        format!("ALTER TABLE {} EXECUTE expire_snapshots(retention_threshold => '{seconds}s')", trino.table(name, ""));
    // Trino refuses ages below its own least one, seven days, unless the session says that they are meant.
    let least = format!("{}.expire_snapshots_min_retention", trino.catalog);
    let statement = Statement::new(&sql).with(least, format!("{seconds}s"));
    carry_out(&trino, &Job { verb: "expire", name, statement, dry_run: arguments.dry_run }, arguments.format)
}

/// Deletes files that a table does not refer to.
pub fn orphans(arguments: &OrphansArguments, name: Option<&TableName>, place: &Where) -> Result<u8, Fault> {
    let Some(name) = name else {
        return Err(unable("orphans of all tables at once", "name one table"));
    };
    let trino = Connection::open(place)?;
    let seconds = age_ms(&arguments.older_than)? / 1_000;
    let sql = format!(
        "ALTER TABLE {} EXECUTE remove_orphan_files(retention_threshold => '{seconds}s')",
        trino.table(name, "")
    );
    let least = format!("{}.remove_orphan_files_min_retention", trino.catalog);
    let statement = Statement::new(&sql).with(least, format!("{seconds}s"));
    carry_out(&trino, &Job { verb: "orphans", name, statement, dry_run: false }, arguments.format)
}

/// Lists the same files in fewer manifests.
pub fn rewrite_manifests(name: &TableName, place: &Where, format: ReportFormat) -> Result<u8, Fault> {
    let trino = Connection::open(place)?;
    let statement = Statement::new(&format!("ALTER TABLE {} EXECUTE optimize_manifests", trino.table(name, "")));
    carry_out(&trino, &Job { verb: "rewrite-manifests", name, statement, dry_run: false }, format)
}

fn unable(what: &str, hint: &str) -> Fault {
    Error::Usage {
        message: format!("the profile says maintained_by = \"trino\", and Trino does not do {what}"),
        hint: Some(hint.to_owned()),
    }
    .into()
}

/// `"_lakehost_window" = DATE '2024-01-01'` of a window's label.
fn window_condition(label: &str) -> Result<String, Error> {
    let widths = [Granularity::Year, Granularity::Month, Granularity::Day, Granularity::Hour];
    let window = widths.into_iter().find_map(|width| Some((width, Window::parse(width, label).ok()?)));
    let Some((width, window)) = window else {
        return Err(Error::Window {
            message: format!("`{}` is no window", label.escape_debug()),
            hint: Some("write it as 2024-01".to_owned()),
        });
    };
    let start = window.start();
    let value = match width {
        Granularity::Hour => format!("TIMESTAMP {}", literal(&start.replace('T', " "))),
        _ => format!("DATE {}", literal(start.split('T').next().unwrap_or_default())),
    };
    Ok(format!("\"{WINDOW_COLUMN}\" = {value}"))
}

/// What the metadata tables count, before and after.
#[derive(Clone, Copy)]
struct Counts {
    files: i64,
    bytes: i64,
    snapshots: i64,
    manifests: i64,
}

fn counts(trino: &Connection, name: &TableName) -> Result<Counts, Fault> {
    let sql = format!(
        "SELECT count(*), coalesce(sum(file_size_in_bytes), 0), (SELECT count(*) FROM {}), (SELECT count(*) FROM {}) FROM {}",
        trino.table(name, "$snapshots"),
        trino.table(name, "$manifests"),
        trino.table(name, "$files")
    );
    let mut found = [0_i64; 4];
    for batch in trino.query(&Statement::new(&sql))? {
        let batch = batch?;
        for (into, column) in found.iter_mut().zip(batch.columns()) {
            *into =
                column.as_primitive_opt::<Int64Type>().and_then(|column| column.iter().next().flatten()).unwrap_or(0);
        }
    }
    let [files, bytes, snapshots, manifests] = found;
    Ok(Counts { files, bytes, snapshots, manifests })
}

fn carry_out(trino: &Connection, job: &Job<'_>, format: ReportFormat) -> Result<u8, Fault> {
    let before = counts(trino, job.name)?;
    let done = match job.dry_run {
        true => None,
        false => Some(trino.write(&job.statement).map_err(|fault| fault.with("table", job.name))?),
    };
    let after = if done.is_some() { counts(trino, job.name)? } else { before };
    let count = |counts: &Counts| {
        json!({
            "files": counts.files,
            "bytes": counts.bytes,
            "snapshots": counts.snapshots,
            "manifests": counts.manifests,
        })
    };
    match format {
        ReportFormat::Json => super::print_json(&json!({
            "table": job.name.to_string(),
            "verb": job.verb,
            "by": "trino",
            "server": trino.shown(),
            "dry_run": job.dry_run,
            "statement": job.statement.sql,
            "session": job.statement.session.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
            "query_id": done.as_ref().map(|done| done.query_id.clone()),
            "found_later": done.as_ref().map(|done| done.found_later),
            "before": count(&before),
            "after": if done.is_some() { count(&after) } else { Value::Null },
        }))?,
        ReportFormat::Text => super::print(&text(trino, job, done.as_ref(), &before, &after))?,
    }
    Ok(exit_code::SUCCESS)
}

fn text(trino: &Connection, job: &Job<'_>, done: Option<&Written>, before: &Counts, after: &Counts) -> String {
    let Some(done) = done else {
        let session: Vec<String> =
            job.statement.session.iter().map(|(name, value)| format!("  with {name} = {value}\n")).collect();
        return format!("would send to Trino at {}:\n  {}\n{}", trino.shown(), job.statement.sql, session.concat());
    };
    let shown = |count: i64| grouped(u64::try_from(count).unwrap_or_default());
    let parts = [
        ("files", before.files, after.files),
        ("snapshots", before.snapshots, after.snapshots),
        ("manifests", before.manifests, after.manifests),
    ];
    let changed: Vec<String> = (parts.iter())
        .filter(|(_, before, after)| before != after)
        .map(|(what, before, after)| format!("{} {what} instead of {}", shown(*after), shown(*before)))
        .collect();
    let changed = match changed.as_slice() {
        [] => "the table lists the same files, snapshots and manifests as before".to_owned(),
        changed => format!("the table has {}", changed.join(", ")),
    };
    let query = crate::render::line(&done.query_id);
    let later = if done.found_later { "; the connection got lost, and Trino was asked what became of it" } else { "" };
    format!("Trino did `{}` on {} (query {query}{later}): {changed}\n", job.verb, job.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_become_conditions() {
        for (label, expected) in [
            ("2024-01", "\"_lakehost_window\" = DATE '2024-01-01'"),
            ("2024", "\"_lakehost_window\" = DATE '2024-01-01'"),
            ("2024-01-31", "\"_lakehost_window\" = DATE '2024-01-31'"),
            ("2024-01-31T13", "\"_lakehost_window\" = TIMESTAMP '2024-01-31 13:00:00'"),
        ] {
            assert_eq!(window_condition(label).unwrap(), expected);
        }
        assert!(window_condition("2024-13").is_err());
        assert!(window_condition("x' OR true").is_err());
    }
}
