//! `lakehost table list|show|drop|adopt`.

use std::collections::BTreeMap;

use lakehost_lake::{CLEANERS, GRANULARITY, LOADED, OWNER, TableDetails, TableLine};
use lakehost_pipeline::ports::Owner;
use lakehost_pipeline::{ErrorReport, Fault, Granularity};
use serde_json::{Value, json};

use super::snapshots;
use crate::approve::{Operator, Terminal};
use crate::args::{ReportFormat, TableAdoptArguments, TableDropArguments, TableListArguments, TableShowArguments};
use crate::config::resolve;
use crate::error::Error;
use crate::render::line;
use crate::table::{Align, TextTable, grouped};
use crate::time::utc;
use crate::warehouse::{self, Warehouse};
use crate::{exit_code, memory};

/// Longer values of properties are cut where people read them.
const SHOWN_CHARS: usize = 200;

/// All tables.
pub fn list(arguments: &TableListArguments) -> Result<u8, Fault> {
    let place = resolve::place(&arguments.place, None)?;
    let warehouse = match warehouse::exists(&place) {
        true => Some(Warehouse::open(&place)?),
        false => warehouse::expect_none_yet(&place, arguments.place.warehouse.is_some()).map(|()| None)?,
    };
    let lines = match &warehouse {
        Some(warehouse) => warehouse.lake.list(None)?,
        None => Vec::new(),
    };
    // A table that cannot be read is a line of the list, and the exit code says that there is one.
    let broken = lines.iter().find(|line| line.problem.is_some()).zip(warehouse.as_ref());
    let fault = broken.and_then(|(line, warehouse)| warehouse.lake.describe(&line.table).err()).map(Fault::new);
    match arguments.format {
        ReportFormat::Json => {
            let tables: Vec<Value> = lines.iter().map(json_line).collect();
            let error = fault.as_ref().map(ErrorReport::from);
            super::print_json(&json!({ "warehouse": place.warehouse, "tables": tables, "error": error }))?;
        }
        ReportFormat::Text if lines.is_empty() => {
            super::print(&format!("no tables in {}\n", line(&place.warehouse.display().to_string())))?;
        }
        ReportFormat::Text => super::print(&text_lines(&lines))?,
    }
    Ok(fault.as_ref().map_or(exit_code::SUCCESS, exit_code::of_fault))
}

fn json_line(table: &TableLine) -> Value {
    json!({
        "table": table.table.to_string(),
        "owner": table.owner,
        "rows": table.head.as_ref().and_then(|head| head.rows),
        "files": table.head.as_ref().and_then(|head| head.files),
        "bytes": table.head.as_ref().and_then(|head| head.bytes),
        "snapshots": table.snapshots,
        "branches": table.branches,
        "snapshot_id": table.head.as_ref().map(|head| head.snapshot_id.to_string()),
        "problem": table.problem,
    })
}

fn text_lines(lines: &[TableLine]) -> String {
    let mut text = TextTable::new([
        ("table", Align::Left),
        ("rows", Align::Right),
        ("files", Align::Right),
        ("size", Align::Right),
        ("snapshots", Align::Right),
        ("changed (UTC)", Align::Left),
        ("owner", Align::Left),
    ]);
    for table in lines {
        let head = table.head.as_ref();
        let owner = table.problem.clone().or_else(|| table.owner.clone()).unwrap_or_default();
        let alone = match table.branches.as_slice() {
            [] => None,
            [branch] => Some(format!("nothing published; rows are on branch {branch}")),
            branches => Some(format!("nothing published; rows are on branches {}", branches.join(", "))),
        };
        let owner = alone.map_or(owner.clone(), |alone| format!("{owner} ({alone})"));
        text.row([
            table.table.to_string(),
            head.map_or(table.problem.is_none().then_some(0), |head| head.rows).map(grouped).unwrap_or_default(),
            head.and_then(|head| head.files).map(grouped).unwrap_or_default(),
            head.and_then(|head| head.bytes).map(memory::shown).unwrap_or_default(),
            grouped(table.snapshots as u64),
            head.map(|head| utc(u64::try_from(head.timestamp_ms).unwrap_or_default())).unwrap_or_default(),
            owner,
        ]);
    }
    text.render()
}

/// One table in full.
pub fn show(arguments: &TableShowArguments) -> Result<u8, Fault> {
    let name = resolve::table_name(&arguments.table)?;
    let warehouse = Warehouse::open_existing(&resolve::place(&arguments.place, None)?)?;
    let details = warehouse.lake.describe(&name).map_err(|error| warehouse.fault(error))?;
    match arguments.format {
        ReportFormat::Json => super::print_json(&json_details(&details))?,
        ReportFormat::Text => super::print(&text_details(&details))?,
    }
    Ok(exit_code::SUCCESS)
}

/// Window → load id and snapshot id, from the properties that record them.
fn windows(properties: &BTreeMap<String, String>) -> BTreeMap<&str, &str> {
    properties.iter().filter_map(|(key, value)| Some((key.strip_prefix(LOADED)?, value.as_str()))).collect()
}

fn json_details(details: &TableDetails) -> Value {
    let columns: Vec<Value> = details
        .columns
        .iter()
        .map(|column| {
            json!({ "id": column.field_id, "name": column.name, "type": column.data_type, "required": column.required })
        })
        .collect();
    let windows: Vec<Value> = windows(&details.properties)
        .into_iter()
        .map(|(window, load)| {
            let (load_id, snapshot_id) = load.split_once(':').unwrap_or((load, ""));
            json!({ "window": window, "load_id": load_id, "snapshot_id": Some(snapshot_id).filter(|id| !id.is_empty()) })
        })
        .collect();
    json!({
        "table": details.table.to_string(),
        "uuid": details.uuid.to_string(),
        "format_version": details.format_version,
        "location": details.location,
        "metadata_location": details.metadata_location,
        "columns": columns,
        "partition": details.partition,
        "sort": details.sort,
        "properties": details.properties,
        "windows": windows,
        "snapshots": details.snapshots,
        "head": details.head.as_ref().map(snapshots::json_of),
    })
}

fn text_details(details: &TableDetails) -> String {
    let head = details.head.as_ref();
    let count = |count: Option<u64>| count.map_or_else(|| "unknown".to_owned(), grouped);
    let list = |parts: &[String]| if parts.is_empty() { "none".to_owned() } else { line(&parts.join(", ")) };
    let mut text = format!(
        "{}\n  rows       {}\n  files      {}\n  snapshots  {}\n  location   {}\n  partition  {}\n  sort       {}\n\n",
        details.table,
        head.map_or_else(|| "0".to_owned(), |head| count(head.rows)),
        head.map_or_else(|| "0".to_owned(), |head| count(head.files)),
        grouped(details.snapshots as u64),
        line(&details.location),
        list(&details.partition),
        list(&details.sort),
    );
    let mut columns =
        TextTable::new([("id", Align::Right), ("column", Align::Left), ("type", Align::Left), ("", Align::Left)]);
    for column in &details.columns {
        let required = if column.required { "required" } else { "" };
        columns.row([column.field_id.to_string().as_str(), &column.name, &column.data_type, required]);
    }
    text.push_str(&columns.render());
    let windows = windows(&details.properties);
    if !windows.is_empty() {
        let mut loaded = TextTable::new([("window", Align::Left), ("snapshot", Align::Right), ("load", Align::Left)]);
        for (window, load) in windows {
            let (load_id, snapshot_id) = load.split_once(':').unwrap_or((load, ""));
            loaded.row([window, snapshot_id, load_id]);
        }
        text.push('\n');
        text.push_str(&loaded.render());
    }
    let mut properties = TextTable::new([("property", Align::Left), ("value", Align::Left)]);
    let others = details.properties.iter().filter(|(key, _)| !key.starts_with(LOADED));
    others.for_each(|(key, value)| properties.row([key.as_str(), &shortened(value)]));
    text.push('\n');
    text.push_str(&properties.render());
    text
}

/// A source's state may be long; machines get all of it.
fn shortened(value: &str) -> String {
    match value.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}… ({} bytes)", value.get(..end).unwrap_or_default(), grouped(value.len() as u64)),
        None => value.to_owned(),
    }
}

/// Removes a table and its files, never unasked: --yes, or a person at a terminal who says yes.
pub fn drop(arguments: &TableDropArguments) -> Result<u8, Fault> {
    let name = resolve::table_name(&arguments.table)?;
    let warehouse = Warehouse::open_existing(&resolve::place(&arguments.place, None)?)?;
    let details = warehouse.lake.describe(&name).map_err(|error| warehouse.fault(error))?;
    let mut person = Terminal;
    if !arguments.yes {
        if !person.present() {
            return Err(Error::Usage {
                message: format!("dropping {name} needs a yes"),
                hint: Some("add --yes".to_owned()),
            }
            .into());
        }
        let rows = details.head.as_ref().and_then(|head| head.rows).unwrap_or_default();
        let word = if rows == 1 { "row" } else { "rows" };
        let question =
            format!("Drop {name} with {} {word} and all its snapshots? There is no way back.", grouped(rows));
        if !person.agrees(&question)? {
            return Err(Error::Stopped { what: "the table stays as it is" }.into());
        }
    }
    let dropped = warehouse.lake.drop_table(&name).map_err(|error| warehouse.fault(error))?;
    let files = if dropped.files_deleted {
        "and its files deleted"
    } else {
        "; its files stay, since they are not the warehouse's alone"
    };
    match arguments.format {
        ReportFormat::Json => super::print_json(
            &json!({ "table": name.to_string(), "status": "dropped", "files_deleted": dropped.files_deleted }),
        )?,
        ReportFormat::Text => super::print(&format!("dropped {name} {files}\n"))?,
    }
    Ok(exit_code::SUCCESS)
}

/// Makes a table the property of another load.
pub fn adopt(arguments: &TableAdoptArguments) -> Result<u8, Fault> {
    let name = resolve::table_name(&arguments.table)?;
    let warehouse = Warehouse::open_existing(&resolve::place(&arguments.place, None)?)?;
    let present = warehouse.lake.describe(&name).map_err(|error| warehouse.fault(error))?.properties;
    let value = |flag: &Option<String>, property: &str| flag.clone().or_else(|| present.get(property).cloned());
    let owner = value(&arguments.owner, OWNER).ok_or_else(|| Error::Usage {
        message: format!("{name} has no owner yet, and none is named"),
        hint: Some("add --owner SOURCE/DATASET, such as --owner nyc_tlc/green".to_owned()),
    })?;
    let word = value(&arguments.granularity, GRANULARITY).unwrap_or_else(|| Granularity::None.word().to_owned());
    let owner = Owner {
        owner,
        granularity: granularity(&word)?,
        cleaners: value(&arguments.cleaners, CLEANERS)
            .filter(|names| !names.is_empty())
            .unwrap_or_else(|| "-".to_owned()),
    };
    warehouse.lake.adopt(&name, &owner).map_err(|error| warehouse.fault(error))?;
    match arguments.format {
        ReportFormat::Json => super::print_json(&json!({
            "table": name.to_string(),
            "owner": owner.owner,
            "granularity": owner.granularity.word(),
            "cleaners": owner.cleaners,
        }))?,
        ReportFormat::Text => super::print(&format!(
            "{name} belongs to {} by {} with cleaners {}\n",
            line(&owner.owner),
            owner.granularity,
            line(&owner.cleaners)
        ))?,
    }
    Ok(exit_code::SUCCESS)
}

fn granularity(word: &str) -> Result<Granularity, Error> {
    use Granularity::{Day, Hour, Month, None as Whole, Year};
    [Whole, Hour, Day, Month, Year].into_iter().find(|known| known.word() == word).ok_or_else(|| Error::Usage {
        message: format!("`{}` is not a width of windows", word.escape_debug()),
        hint: Some("write none, hour, day, month or year".to_owned()),
    })
}
