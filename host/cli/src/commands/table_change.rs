//! `lakehost table delete|set-partitioning|set-sort|columns`.

use lakehost_lake::{DeleteOptions, Reshaped};
use lakehost_pipeline::Fault;
use lakehost_query::Condition;
use serde_json::json;

use super::versions::At;
use crate::args::{
    Answer, ChangeCommand, ColumnChange, ColumnsArguments, DeleteArguments, PartitioningArguments, SortArguments,
};
use crate::config::partition;
use crate::config::sort::sort_key;
use crate::error::Error;
use crate::render::line;
use crate::table::grouped;

/// Does what the verb says.
pub fn run(command: &ChangeCommand) -> Result<u8, Fault> {
    match command {
        ChangeCommand::Delete(arguments) => delete(arguments),
        ChangeCommand::SetPartitioning(arguments) => set_partitioning(arguments),
        ChangeCommand::SetSort(arguments) => set_sort(arguments),
        ChangeCommand::Columns(arguments) => columns(arguments),
    }
}

fn delete(arguments: &DeleteArguments) -> Result<u8, Fault> {
    let condition = Condition::parse(&arguments.condition)?;
    let at = At::open(&arguments.table, &arguments.answer.place)?;
    let lake = &at.warehouse.lake;
    // A table that is not there has a better message than its parts.
    lake.describe(&at.name).map_err(|error| at.fault(error))?;
    let branch = arguments.branch.as_deref().unwrap_or("main");
    let on = if branch == "main" { at.name.to_string() } else { format!("{} on branch {}", at.name, line(branch)) };
    let asks = !arguments.dry_run && !arguments.yes;
    let mut changed = lakehost_lake::Changed::default();
    if arguments.dry_run || asks {
        changed = lake.delete_where(&at.name, &condition, &DeleteOptions { branch, dry_run: true })?;
    }
    if asks && changed.rows > 0 {
        let every = if condition.is_all() { "all " } else { "" };
        let question =
            format!("Delete {every}{} of {on}? Older snapshots keep them until they expire.", rows(changed.rows));
        at.agree(false, "deleting rows of", &question)?;
    }
    if !arguments.dry_run && (!asks || changed.rows > 0) {
        changed = lake.delete_where(&at.name, &condition, &DeleteOptions { branch, dry_run: false })?;
    }
    let files = format!(
        "{} files go whole, {} are written anew",
        grouped(changed.files_dropped),
        grouped(changed.files_rewritten)
    );
    let (status, text) = match (changed.snapshot_id, changed.rows) {
        (_, 0) => ("nothing", format!("{on} has no such row")),
        (None, count) => ("would-delete", format!("would delete {} of {on}: {files}", rows(count))),
        (Some(snapshot), count) => {
            ("deleted", format!("deleted {} of {on} in snapshot {snapshot}: {files}", rows(count)))
        }
    };
    at.say(
        arguments.answer.format,
        &text,
        json!({
            "status": status,
            "where": arguments.condition,
            "branch": branch,
            "dry_run": arguments.dry_run,
            "rows_deleted": changed.rows,
            "files_dropped": changed.files_dropped,
            "files_rewritten": changed.files_rewritten,
            "snapshot_id": changed.snapshot_id.map(|id| id.to_string()),
        }),
    )
}

fn rows(count: u64) -> String {
    if count == 1 { "1 row".to_owned() } else { format!("{} rows", grouped(count)) }
}

/// Nothing but the window, or no order.
fn is_none(text: &str) -> bool {
    text.trim().eq_ignore_ascii_case("none")
}

fn set_partitioning(arguments: &PartitioningArguments) -> Result<u8, Fault> {
    let fields = match is_none(&arguments.partition_by) {
        true => Vec::new(),
        false => partition::parse(&arguments.partition_by).map_err(|message| Error::Usage {
            message,
            hint: Some("write --partition-by none to split by nothing but the window".to_owned()),
        })?,
    };
    let at = At::open(&arguments.table, &arguments.answer.place)?;
    let done = at.warehouse.lake.set_partitioning(&at.name, &fields).map_err(|error| at.fault(error))?;
    say_reshaped(&at, "partitioned", "later loads are partitioned by", &done, &arguments.answer)
}

fn set_sort(arguments: &SortArguments) -> Result<u8, Fault> {
    let keys = match is_none(&arguments.order) {
        true => Vec::new(),
        false => arguments.order.split(',').map(sort_key).collect::<Result<Vec<_>, _>>()?,
    };
    let at = At::open(&arguments.table, &arguments.answer.place)?;
    let done = at.warehouse.lake.set_sort_order(&at.name, &keys).map_err(|error| at.fault(error))?;
    say_reshaped(&at, "sorted", "`lakehost table compact` sorts by", &done, &arguments.answer)
}

fn say_reshaped(at: &At, status: &str, what: &str, done: &Reshaped, answer: &Answer) -> Result<u8, Fault> {
    let list = |parts: &[String]| if parts.is_empty() { "nothing".to_owned() } else { line(&parts.join(", ")) };
    let text = match done.changed {
        true => format!("{}: {what} {}, before {}", at.name, list(&done.now), list(&done.before)),
        false => format!("{}: {what} {} already", at.name, list(&done.now)),
    };
    let status = if done.changed { status } else { "nothing" };
    at.say(answer.format, &text, json!({ "status": status, "before": done.before, "now": done.now }))
}

fn columns(arguments: &ColumnsArguments) -> Result<u8, Fault> {
    let (changed, done, answer, open);
    match &arguments.change {
        ColumnChange::Rename(rename) => {
            open = At::open(&arguments.table, &rename.answer.place)?;
            changed = open.warehouse.lake.change_columns(&open.name, &[(rename.new.clone(), rename.old.clone())], &[]);
            done = format!("column {} is {} now", line(&rename.old), line(&rename.new));
            answer = &rename.answer;
        }
        ColumnChange::MakeOptional(column) => {
            open = At::open(&arguments.table, &column.answer.place)?;
            changed = open.warehouse.lake.change_columns(&open.name, &[], std::slice::from_ref(&column.column));
            done = format!("column {} may be null now", line(&column.column));
            answer = &column.answer;
        }
        ColumnChange::Drop(column) => {
            open = At::open(&arguments.table, &column.answer.place)?;
            let shown = line(&column.column);
            let question =
                format!("Drop column {shown} of {}? Older snapshots keep its values until they expire.", open.name);
            open.agree(column.yes, "dropping a column of", &question)?;
            changed = open.warehouse.lake.drop_columns(&open.name, std::slice::from_ref(&column.column));
            done = format!("column {shown} is gone");
            answer = &column.answer;
        }
    }
    let (status, word) = match changed.map_err(|error| open.fault(error))? {
        true => ("changed", ""),
        false => ("nothing", ", as it was before"),
    };
    open.say(answer.format, &format!("{}: {done}{word}", open.name), json!({ "status": status }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_read_well() {
        assert_eq!(rows(1), "1 row");
        assert!(is_none(" None") && !is_none("nothing"));
    }
}
